"""Opens traces: the named public ones of the ground-truth folder, the replay's, or anyone's CSV."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from chain.errors import UserError
from routing.datasets import (
    UCC_STEP_MS,
    abilene_series,
    parse_samples,
    series_of_all,
    ucc_samples,
)
from routing.features import Series
from routing.replay import replay_series

TRACES = Path(__file__).resolve().parents[2] / "shared" / "ground-truth" / "routing"
NAMES = ("abilene", "ucc5g", "replay")
HORIZONS = {"abilene": (1, 12), "ucc5g": (5, 30), "replay": (10, 60)}
_NEAR_MS, _FAR_MS = 10_000, 60_000


def horizons_for(name: str, step_ms: int) -> tuple[int, ...]:
    """Return the default horizons in steps: 10 s and 60 s where the data is that fine."""
    if name in HORIZONS:
        return HORIZONS[name]
    return tuple(sorted({max(1, _NEAR_MS // step_ms), max(2, _FAR_MS // step_ms)}))


def load_series(name: str, traces: Path = TRACES) -> list[Series]:
    """Load `abilene`, `ucc5g`, `replay` or a CSV file; UserError says what is wrong with it."""
    if name == "abilene":
        return _load_abilene(_existing(traces / "abilene"))
    if name == "ucc5g":
        return _load_ucc(_existing(traces / "cellular" / "ucc_5g_half.zip"))
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
    topology = (folder / "abilene_topology_caps_ospf.txt").read_text(encoding="utf-8")
    with np.load(folder / "abilene_5min_4032tm_mbps.npz", allow_pickle=False) as archive:
        stamps = [str(stamp) for stamp in archive["ts"][:1]]
        return abilene_series(archive["tm"], stamps, topology)


def _load_ucc(path: Path) -> list[Series]:
    samples = []
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if "/Download/" in name)
        for trace, name in enumerate(names):
            text = io.StringIO(archive.read(name).decode("utf-8"), newline="")
            samples += ucc_samples(text, trace, name)
    return series_of_all(samples, UCC_STEP_MS)
