"""Opens traces: the named public ones of the ground-truth folder, the replay's, or anyone's CSV."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from chain.errors import UserError
from routing.forecast.datasets import (
    UCC_STEP_MS,
    abilene_series,
    parse_samples,
    series_of_all,
    servegen_rates,
    servegen_series,
    ucc_rows,
    ucc_samples,
)
from routing.forecast.features import Series
from routing.replay import replay_series

T = TypeVar("T")

TRACES = Path(__file__).resolve().parents[3] / "shared" / "ground-truth" / "routing"
NAMES = ("abilene", "ucc5g", "ucc5g-rows", "servegen", "replay")
HORIZONS = {
    "abilene": (1, 12),
    "ucc5g": (5, 30),
    "ucc5g-rows": (5,),
    "servegen": (1, 6),
    "replay": (10, 60),
}
SPANS = {"servegen": 1}
_AHEAD_MS = (10_000, 60_000, 900_000, 3_600_000)


def horizons_for(name: str, step_ms: int) -> tuple[int, ...]:
    """Return the default horizons in steps: of 10 s, 60 s, 15 min and 60 min what the step allows.

    A horizon is 1 to 60 steps, because features reach 36 steps back: seconds say little of an hour.
    """
    if name in HORIZONS:
        return HORIZONS[name]
    steps = {ahead // step_ms for ahead in _AHEAD_MS if 1 <= ahead // step_ms <= 60}
    return tuple(sorted(steps)) or (1,)


def load_series(name: str, traces: Path = TRACES) -> list[Series]:
    """Load a data set of NAMES or a CSV file; UserError says what is wrong with it."""
    if name == "abilene":
        return _load_abilene(_existing(traces / "abilene"))
    if name == "ucc5g":
        return series_of_all([row for log in _ucc(ucc_samples, traces) for row in log], UCC_STEP_MS)
    if name == "ucc5g-rows":
        return list(_ucc(ucc_rows, traces))
    if name == "servegen":
        return _load_servegen(_existing(traces / "llm"))
    if name == "replay":
        return replay_series()
    path = Path(name)
    if not path.is_file():
        known = ", ".join(NAMES)
        raise UserError("--data", f"{name}: no such file or data set", f"give a CSV or {known}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("--data", f"{name}: not UTF-8 text", "give a CSV file") from None
    return series_of_all(parse_samples(io.StringIO(text, newline=""), path.name))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UserError("--traces", f"{path.name} is not there", "name the folder of the traces")
    return path


def _load_abilene(folder: Path) -> list[Series]:
    """Load every archive of the folder; weeks apart become series apart."""
    # Here, because it brings SciPy, which other data does without.
    from routing.plan.io_matrices import MBIT_KBPS, load_matrices

    text = folder / "abilene_topology_caps_ospf.txt"
    topology = _existing(text).read_text(encoding="utf-8")
    series: list[Series] = []
    for path in sorted(folder.glob("*.npz")):
        data = load_matrices(path, text)
        nodes = data.network.nodes
        mbps = np.zeros((len(data.demands_kbps), nodes * nodes))
        mbps[:, [a * nodes + b for a, b in data.pairs]] = data.demands_kbps / MBIT_KBPS
        series += abilene_series(mbps, 1_000 * data.start_s, topology, 1_000 * data.step_s)
    if not series:
        raise UserError("--traces", f"{folder.name} has no NPZ of matrices", "put one there")
    return series


def _ucc(read: Callable[[Iterable[str], int, str], T], traces: Path) -> Iterator[T]:
    """Read the logs of every archive and CSV in the folder, each as a link of its own.

    Of an archive that has folders by use (as UCC's) only downloads: they alone fill the link.
    """
    trace = 0
    for name, data in _ucc_logs(_existing(traces / "cellular")):
        text = data.decode("utf-8-sig", "replace")
        yield read(io.StringIO(text, newline=""), trace, name)
        trace += 1
    if not trace:
        raise UserError("--traces", "cellular has no logs", "put UCC's zip or its CSV files there")


def _ucc_logs(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".csv"))
            for name in [name for name in names if "/Download/" in f"/{name}"] or names:
                yield name, archive.read(name)
    for path in sorted(folder.rglob("*.csv")):
        yield path.name, path.read_bytes()


def _load_servegen(folder: Path) -> list[Series]:
    """Load the small model's clients, or those of the first archive where that one isn't there."""
    usual = folder / "servegen_language-m-small-traces.tar.xz"
    path = usual if usual.is_file() else min(folder.glob("servegen*.tar*"), default=usual)
    _existing(path)
    clients = []
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                lines = content.read().decode("utf-8").splitlines()
                clients.append(servegen_rates(lines, member.name))
    return servegen_series(clients)
