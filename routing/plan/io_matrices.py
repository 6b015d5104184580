"""Opens traffic matrices, in the forms in which they are published, with their topology.

    matrices    NPZ or NPY      [steps, n * n], [steps, n, n], [n, n, steps] or, without the
                                diagonal, [steps, n * (n - 1)], row-major by source; Mbit/s
                text, CSV       a matrix a line, n * n numbers; of five figures per pair (Abilene's
                                X01 to X24) the first is the measured one; may be gzipped
                SNDlib          a folder, tar or zip of demand files, XML or native, one a step,
                                whose names hold the time (…20050504-1500.xml)
    times       in an NPZ under ts, times, timestamps, …: YYYYMMDD-HHMM, ISO 8601, seconds or
                milliseconds since 1970; without any a step is `STEP_S`, which the notes say

What was not measured (not a number, or a matrix of nothing but zeros amid traffic) is held from the
step before and isn't scored; nor is a step that follows a hole in time. The notes say how much.
Topologies are read in routing/plan/io_topologies.py.
"""

from __future__ import annotations

import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chain.errors import UserError
from routing.plan.io_topologies import demands_of, load_topology
from routing.plan.network import Array, Network, Pair

MBIT_KBPS = 1_000.0
STEP_S = 300
# Holes up to this long are filled, so that "a day ago" still is; longer ones are jumped over.
MAX_HOLE_STEPS = 12
_TM_NAMES = ("tm", "tms", "matrices", "matrix", "demands", "demand", "traffic", "x", "data")
_TS_NAMES = ("ts", "times", "time", "timestamps", "timestamp", "stamps", "dates", "datetime")
_NODE_NAMES = ("names", "nodes", "node_names", "labels")
_X01_FIGURES = 5
_MOST_MISSING = 0.5
_MOST_FILLED = 0.1
_STAMP = re.compile(r"(\d{8})[-_T]?(\d{4})(?!\d)")
_BROKEN = (
    OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, tarfile.TarError,
    lzma.LZMAError, zlib.error,
)  # fmt: skip
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Matrices:
    """Demands [steps, pairs] in kbps every `step_s` from `start_s`, over a wired network.

    `is_known` [steps]: really measured, one step after the matrix before; `notes` are for people.
    """

    name: str
    network: Network
    pairs: tuple[Pair, ...]
    demands_kbps: Array
    step_s: int
    start_s: int
    is_known: Flags
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Raw:
    """What a file said: [steps, n, n] in Mbit/s; times in s and names of nodes may be empty."""

    demands: Array
    times: list[int]
    names: list[str]


def load_matrices(matrices: Path, topology: Path) -> Matrices:
    """Read matrices and their topology; UserError says what is wrong with either."""
    try:
        raw = _read(matrices)
    except UserError:
        raise
    except _BROKEN as error:
        problem = f"{matrices.name}: {' '.join(str(error).split())}"
        remedy = "give an NPZ with tm [steps, n * n] and ts, a text or SNDlib files"
        raise UserError("--matrices", problem, remedy) from None
    network, names = load_topology(topology, raw.names, raw.demands.shape[1])
    demands = _padded(raw.demands, max(len(names), network.nodes))
    return _joined(matrices.stem, network, demands, raw.times)


def _padded(demands: Array, nodes: int) -> Array:
    """Give nodes that only pass traffic on (the topology names them) an empty row and column."""
    more = nodes - demands.shape[1]
    if more < 0:
        return demands
    return np.pad(demands, ((0, 0), (0, more), (0, more)))


def _joined(name: str, network: Network, demands: Array, times: list[int]) -> Matrices:
    if (demands < 0).any():
        raise UserError("--matrices", "a demand is negative", "mend the data")
    if not np.isfinite(demands).any():
        raise UserError("--matrices", "no demand is finite", "give measured demands")
    if not (demands > 0).any():
        raise UserError("--matrices", "no demand at all", "give matrices of a network in use")
    pairs = _pairs_in_reach(network, demands)
    flat = np.stack([demands[:, a, b] for a, b in pairs], axis=1)
    order, times, notes = _in_order(times, len(flat))
    flat, share = _held(flat[order], notes)
    step_s, gaps = _clock(times)
    flat, known = _evened(flat, share <= _MOST_FILLED, gaps, notes)
    if not known[1:].any():
        raise UserError("--matrices", "hardly a matrix is whole", "give data with fewer gaps")
    start_s = times[0]
    kbps = flat * MBIT_KBPS
    return Matrices(name, network, tuple(pairs), kbps, step_s, start_s, known, tuple(notes))


def _in_order(times: list[int], count: int) -> tuple[list[int], list[int], list[str]]:
    """Return the order of time, without repeats; without times the order of the file."""
    if not times:
        note = f"no times: taken as one matrix every {STEP_S} s; give ts to say otherwise"
        return list(range(count)), [STEP_S * k for k in range(count)], [note]
    first: dict[int, int] = {}
    for index, at in enumerate(times):
        first.setdefault(at, index)
    if len(first) < 2:
        raise UserError("--matrices", "ts does not ascend", "give each matrix its own time")
    notes = []
    if len(first) < len(times):
        notes.append(f"{len(times) - len(first)} matrices repeat a time and are left out")
    ordered = sorted(first)
    if [first[at] for at in ordered] != sorted(first.values()):
        notes.append("the matrices were not in the order of time: sorted")
    return [first[at] for at in ordered], ordered, notes


def _held(flat: Array, notes: list[str]) -> tuple[Array, Array]:
    """Hold what is missing from the step before; return demands and each step's missing share."""
    missing = ~np.isfinite(flat)
    nothing = ~np.where(missing, 0.0, flat).any(axis=1)
    missing[nothing] = True
    dead: Flags = np.logical_and.reduce(missing, axis=0)
    if dead.any():
        notes.append(f"{int(dead.sum())} pairs were never measured: taken as without demand")
    missing[:, dead] = False
    share = missing.mean(axis=1)
    if share.mean() > _MOST_MISSING:
        problem = f"{share.mean():.0%} of the demands are missing (not finite, or all zero)"
        raise UserError("--matrices", problem, "give data with fewer gaps")
    last = np.where(missing, -1, np.arange(len(flat))[:, None])
    last = np.maximum.accumulate(last, axis=0)
    # Before its first measurement a demand is taken as that.
    begin = np.argmax(~missing, axis=0)
    last = np.where(last < 0, begin[None, :], last)
    held = np.take_along_axis(flat, last, axis=0)
    held[:, dead] = 0.0
    if share.any():
        notes.append(f"{int((share > 0).sum())} matrices have gaps, filled from the one before")
    return held, share


def _clock(times: list[int]) -> tuple[int, list[int]]:
    """Return the step in s and how many steps each matrix is after the one before."""
    apart = np.diff(times)
    step_s = int(np.median(apart))
    return step_s, [1, *np.maximum(1, np.rint(apart / step_s)).astype(int).tolist()]


def _evened(flat: Array, whole: Flags, gaps: list[int], notes: list[str]) -> tuple[Array, Flags]:
    """Repeat the matrix before a short hole; a step after a long one is not scored."""
    repeat = [gap if gap <= MAX_HOLE_STEPS + 1 else 1 for gap in gaps]
    holes = sum(gap > 1 for gap in gaps)
    if holes:
        notes.append(f"{holes} holes in time: not scored")
    # A hole of k steps before matrix i: i - 1 is there k more times.
    source = np.repeat(np.arange(len(flat)), [*repeat[1:], 1])
    fresh = np.append(True, np.diff(source) > 0)
    after_hole = np.append(False, ~fresh[:-1]) | np.isin(source, _long(gaps))
    return flat[source], fresh & whole[source] & ~after_hole


def _long(gaps: list[int]) -> list[int]:
    return [index for index, gap in enumerate(gaps) if gap > MAX_HOLE_STEPS + 1]


# --- files ---------------------------------------------------------------------------------------


def _read(path: Path) -> _Raw:
    if path.is_dir() or (zipfile.is_zipfile(path) and not _is_numpy_zip(path)):
        return _sndlib(path)
    if not path.is_file():
        raise UserError("--matrices", f"{path.name}: no such file", "name a file or folder")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith((b"PK", b"\x93NUMPY")):
        return _numpy(path)
    if tarfile.is_tarfile(path):
        return _sndlib(path)
    return _text(path)


def _is_numpy_zip(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _numpy(path: Path) -> _Raw:
    with path.open("rb") as file:
        loaded: Any = np.load(file, allow_pickle=False)
        arrays = {"tm": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    by_name = {name.lower(): value for name, value in arrays.items()}
    values = _first_of(by_name, _TM_NAMES)
    if values is None:
        numeric = [v for v in by_name.values() if v.dtype.kind in "fiu" and v.ndim in (2, 3)]
        values = max(numeric, key=lambda v: v.size, default=None)
    if values is None:
        have = ", ".join(arrays) or "nothing"
        raise UserError("--matrices", f"{path.name} holds {have}, but no tm", "name them tm")
    stamps = _first_of(by_name, _TS_NAMES)
    names = _first_of(by_name, _NODE_NAMES)
    demands = _as_matrices(np.asarray(values, dtype=np.float64))
    times = [] if stamps is None else _times_of(stamps.ravel())
    if times and len(times) != len(demands):
        problem = f"{len(demands)} matrices with {len(times)} times: not a ts each"
        raise UserError("--matrices", problem, "give as many times as matrices")
    return _Raw(demands, times, [] if names is None else [_name_of(n) for n in names.ravel()])


def _first_of(arrays: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((arrays[name] for name in names if name in arrays), None)


def _name_of(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _as_matrices(values: Array) -> Array:
    """Bring an array to [steps, n, n]."""
    shape = values.shape
    if values.ndim == 3 and shape[0] == shape[1] != shape[2]:
        values = np.moveaxis(values, 2, 0)
    elif values.ndim == 2:
        values = _square(values)
    if values.ndim != 3 or values.shape[1] != values.shape[2] or values.shape[1] < 2:
        problem = f"tm is {list(shape)}, not [steps, n * n] or [steps, n, n]"
        raise UserError("--matrices", problem, "see the help")
    if len(values) < 2:
        raise UserError("--matrices", "only one matrix", "give a series of them")
    return values


def _square(values: Array) -> Array:
    steps, width = values.shape
    nodes = round(width**0.5)
    if nodes * nodes == width:
        return values.reshape(steps, nodes, nodes)
    nodes = round(0.5 + (0.25 + width) ** 0.5)
    if nodes * (nodes - 1) == width:
        full = np.zeros((steps, nodes, nodes))
        full[:, ~np.eye(nodes, dtype=bool)] = values
        return full
    nodes = round((width / _X01_FIGURES) ** 0.5)
    if _X01_FIGURES * nodes * nodes == width:
        return values[:, ::_X01_FIGURES].reshape(steps, nodes, nodes)
    return values


def _times_of(stamps: npt.NDArray[Any]) -> list[int]:
    if stamps.dtype.kind == "M":
        return [int(at) for at in stamps.astype("datetime64[s]").astype(np.int64)]
    try:
        return [_time_of(_name_of(stamp)) for stamp in stamps]
    except (ValueError, OverflowError):
        problem = "ts is no time: neither YYYYMMDD-HHMM, nor ISO 8601, nor seconds since 1970"
        raise UserError("--matrices", problem, "write 20040301-0005") from None


def _time_of(stamp: str) -> int:
    if stamp.replace(".", "", 1).isdecimal():
        seconds = float(stamp)
        return int(seconds / 1_000 if seconds > 1e11 else seconds)
    if found := _STAMP.fullmatch(stamp):
        return _stamp_s(found)
    when = datetime.fromisoformat(stamp)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _stamp_s(found: re.Match[str]) -> int:
    when = datetime.strptime("".join(found.groups()) + "+0000", "%Y%m%d%H%M%z")
    return int(when.timestamp())


def _text(path: Path) -> _Raw:
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    rows = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        parts = line.replace(",", " ").replace(";", " ").split()
        if not parts or line.startswith("#"):
            continue
        try:
            rows.append([float(part) for part in parts])
        except ValueError:
            if rows:
                problem = f"{path.name}: line {number} holds something that is no number"
                raise UserError("--matrices", problem, "give n * n numbers a line") from None
    if not rows or len({len(row) for row in rows}) != 1:
        problem = f"{path.name}: neither an NPZ nor lines of equally many numbers"
        raise UserError("--matrices", problem, "give an NPZ with tm and ts")
    return _Raw(_as_matrices(np.array(rows)), [], [])


def _sndlib(path: Path) -> _Raw:
    found: dict[int, dict[tuple[str, str], float]] = {}
    for name, data in sorted(_members(path)):
        stamps = list(_STAMP.finditer(name))
        demands = demands_of(data) if stamps else None
        if demands is not None:
            found[_stamp_s(stamps[-1])] = demands
    if len(found) < 2:
        problem = f"{path.name}: no SNDlib demand files named by their time"
        raise UserError("--matrices", problem, "name them like demandMatrix-20050504-1500.xml")
    names = sorted({node for demands in found.values() for pair in demands for node in pair})
    number = {name: index for index, name in enumerate(names)}
    matrices = np.zeros((len(found), len(names), len(names)))
    for step, at in enumerate(sorted(found)):
        for (a, b), mbps in found[at].items():
            matrices[step, number[a], number[b]] += mbps
    return _Raw(_as_matrices(matrices), sorted(found), names)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix in (".xml", ".txt"):
                yield file.name, file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith((".xml", ".txt")):
                    yield name.rsplit("/", 1)[-1], archive.read(name)
    else:
        with tarfile.open(path) as tar:
            for member in tar:
                file_of = tar.extractfile(member) if member.isfile() else None
                if file_of is not None and member.name.endswith((".xml", ".txt")):
                    yield member.name.rsplit("/", 1)[-1], file_of.read()


def _pairs_in_reach(network: Network, demands: Array) -> list[Pair]:
    """Return all pairs of nodes that links connect; UserError where others have demand."""
    nodes = demands.shape[1]
    near: dict[int, list[int]] = {}
    for a, b in network.links:
        near.setdefault(a, []).append(b)
    reach = {node: _reached_from(node, near) for node in range(nodes)}
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    has: Flags = np.asarray(np.nan_to_num(demands, posinf=0.0).any(axis=0))
    lost = [(a, b) for a, b in pairs if b not in reach[a] and has[a, b]]
    if lost:
        problem = f"no way from node {lost[0][0]} to {lost[0][1]}, which have demand"
        raise UserError("--topology", problem, "give the topology that these matrices are of")
    return [(a, b) for a, b in pairs if b in reach[a]]


def _reached_from(node: int, near: dict[int, list[int]]) -> set[int]:
    seen, edge = {node}, [node]
    while edge:
        fresh = [other for other in near.get(edge.pop(), ()) if other not in seen]
        seen.update(fresh)
        edge += fresh
    return seen
