"""Real traces as link samples: parsers of text and arrays; files are opened in io_datasets.py.

Abilene has traffic matrices, not link loads: each matrix is routed over the OSPF shortest paths of
the topology file, so that a link's load is the sum of the demands that cross it. UCC's 5G logs give
the download rate of a phone that always wanted more: there, load and rate are the same number.
ServeGen has request rates of AI services by client and ten minutes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chain.errors import UserError
from routing.forecast.features import Array, Series, series_of
from routing.graph import links_of, shortest_path
from routing.telemetry.second import EXTRA_FIELDS, FIELDS, Telemetry
from routing.types import Link, LinkSample

COLUMNS = tuple(LinkSample.__dataclass_fields__)
OPTIONAL = EXTRA_FIELDS
ABILENE_STEP_MS = 300_000
UCC_STEP_MS = 1_000
SERVEGEN_STEP_MS = 600_000
SERVEGEN_CLIENTS = 20


def parse_samples(lines: Iterable[str], name: str = "data") -> list[LinkSample]:
    """Read CSV in the columns of LinkSample and, where given, Telemetry's.

    UserError names the line and the column.
    """
    reader = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{name}: {missing[0]}", "column missing", f"give {','.join(COLUMNS)}")
    return [_parse_row(row, reader.line_num, name) for row in reader]


def _parse_row(row: dict[str, str], line: int, name: str) -> LinkSample:
    values = {}
    for column in (*COLUMNS, *(name for name in OPTIONAL if row.get(name) is not None)):
        text = row[column]
        if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
            problem = f"{text!r} is not a whole number of at most 18 digits"
            raise UserError(f"{name}: line {line}, {column}", problem, "correct or delete the line")
        values[column] = int(text)
    sample = Telemetry(**values) if len(values) > len(COLUMNS) else LinkSample(**values)
    if max(sample.busy_permille, sample.loss_permille) > 1_000:
        raise UserError(f"{name}: line {line}", "more than 1000 permille", "correct the line")
    return sample


def series_of_all(samples: Sequence[LinkSample], step_ms: int | None = None) -> list[Series]:
    """Group samples by link and bring each to an even step (the commonest gap if none is given)."""
    by_link: dict[Link, list[LinkSample]] = {}
    for sample in sorted(samples, key=lambda s: (s.source, s.target, s.time_ms)):
        by_link.setdefault((sample.source, sample.target), []).append(sample)
    step = step_ms or commonest_step_ms(by_link.values())
    return [one for link in sorted(by_link) for one in series_of(by_link[link], step)]


def commonest_step_ms(groups: Iterable[Sequence[LinkSample]]) -> int:
    """Return the commonest time between a link's samples; UserError if no link has two."""
    counts: dict[int, int] = {}
    for group in groups:
        for before, after in pairwise(group):
            step = after.time_ms - before.time_ms
            if step > 0:
                counts[step] = counts.get(step, 0) + 1
    if not counts:
        raise UserError("data", "no link has two samples", "give a longer trace")
    return min(counts, key=lambda step: (-counts[step], step))


def parse_topology(text: str) -> tuple[dict[Link, int], dict[Link, int]]:
    """Read a CFR-RL topology file: OSPF weights and capacities (kbps) by directed link."""
    weights: dict[Link, int] = {}
    capacities: dict[Link, int] = {}
    for number, line in enumerate(text.splitlines()[2:], start=3):
        try:
            _, source, target, weight, capacity = (int(part) for part in line.split())
        except ValueError:
            problem = "not five whole numbers"
            raise UserError(f"topology: line {number}", problem, "give index source ...") from None
        weights[source, target] = weight
        capacities[source, target] = capacity
    return weights, capacities


def routing_matrix(weights: dict[Link, int], nodes: int) -> Array:
    """Return which demand crosses which link: float64 [links ascending, nodes * nodes]."""
    index = {link: row for row, link in enumerate(sorted(weights))}
    matrix = np.zeros((len(index), nodes * nodes))
    for source in range(nodes):
        for target in range(nodes):
            path = shortest_path(weights, source, target) if source != target else None
            for link in links_of(path or ()):
                matrix[index[link], source * nodes + target] = 1.0
    return matrix


def abilene_series(
    demands_mbps: npt.NDArray[np.generic],
    start_ms: int,
    topology: str,
    step_ms: int = ABILENE_STEP_MS,
) -> list[Series]:
    """Route matrices [steps, nodes * nodes] over the topology: one Series per directed link."""
    weights, capacities = parse_topology(topology)
    nodes = 1 + max(max(link) for link in weights)
    loads = routing_matrix(weights, nodes) @ demands_mbps.astype(np.float64).T * 1_000.0
    return [
        _load_series(link, step_ms, start_ms, load, np.full_like(load, capacities[link]))
        for link, load in zip(sorted(weights), loads, strict=True)
    ]


def _load_series(link: Link, step_ms: int, start_ms: int, load: Array, rate: Array) -> Series:
    values = np.zeros((len(FIELDS), len(load)))
    values[0], values[1] = load, rate
    values[2] = np.minimum(1_000.0, 1_000.0 * load / np.maximum(rate, 1.0))
    return Series(link, step_ms, start_ms, values)


def ucc_rows(lines: Iterable[str], trace: int, name: str) -> Series:
    """Read one UCC 5G log row by row: a step is a row, whatever its time says.

    The logger writes a row per second and a second one at times; published errors of forecasts of
    these traces count rows, so this is how to compare with them. See ucc_samples for even seconds.
    """
    samples = ucc_samples(lines, trace, name)
    rate = np.array([sample.rate_kbps for sample in samples], dtype=np.float64)
    series = _load_series((trace, trace), UCC_STEP_MS, samples[0].time_ms, rate, rate)
    series.values[FIELDS.index("rtt_us")] = [sample.rtt_us for sample in samples]
    clock = np.array([sample.time_ms for sample in samples], dtype=np.int64)
    return replace(series, clock_ms=clock)


def servegen_rates(lines: Iterable[str], name: str) -> Array:
    """Read one client of a ServeGen trace: requests per second of every 600 s window, [n].

    Columns without a header: start of the window in s, rate, and the family of its arrivals.
    """
    rates = []
    for number, line in enumerate(lines):
        parts = line.split(",")
        try:
            start, rate = float(parts[0]), float(parts[1])
        except (IndexError, ValueError):
            start, rate = -1.0, 0.0
        if start != number * SERVEGEN_STEP_MS / 1_000 or not 0.0 <= rate < float("inf"):
            problem = "not the next window's start and a rate"
            raise UserError(f"{name}: line {number + 1}", problem, "give a ServeGen trace")
        rates.append(rate)
    return np.array(rates)


def servegen_series(clients: Sequence[Array]) -> list[Series]:
    """Return the SERVEGEN_CLIENTS largest clients as series, in requests per 1,000 s.

    Demand has no capacity; as in UCC's logs, load and rate are the same number.
    """
    largest = sorted(clients, key=lambda rates: -float(rates.mean()))[:SERVEGEN_CLIENTS]
    return [
        _load_series((index, index), SERVEGEN_STEP_MS, 0, 1_000.0 * rates, 1_000.0 * rates)
        for index, rates in enumerate(largest)
    ]


def ucc_samples(lines: Iterable[str], trace: int, name: str) -> list[LinkSample]:
    """Read one UCC log (about 1 Hz, DL_bitrate in kbps) as samples of the link (trace, trace).

    The mean of a ping is taken where the log has one. Rows without a time or a rate are left out;
    UserError names the first of them where they are more than half, or if there is no other.
    """
    reader = csv.DictReader(lines)
    column = {str(field).strip().lower(): field for field in reader.fieldnames or ()}
    time_of, rate_of = column.get("timestamp"), column.get("dl_bitrate")
    if time_of is None or rate_of is None:
        lost = "Timestamp" if time_of is None else "DL_bitrate"
        raise UserError(f"{name}: {lost}", "column missing", "give a UCC 5G log")
    samples: list[LinkSample] = []
    bad: list[int] = []
    for row in reader:
        try:
            time_ms = _log_time_ms(row[time_of])
            rate = int(float(row[rate_of]))
        except (TypeError, ValueError, OverflowError):
            bad.append(reader.line_num)
            continue
        rtt = _milliseconds(row.get(column.get("pingavg", "")))
        samples.append(LinkSample(trace, trace, time_ms, max(0, rate), max(0, rate), 0, 0, 0, rtt))
    if len(bad) > len(samples) or not samples:
        field = f"{name}: line {bad[0] if bad else 2}"
        raise UserError(field, "no Timestamp or DL_bitrate", "give a UCC 5G log")
    return samples


def _log_time_ms(text: str) -> int:
    """Read 2020.01.16_10.43.34, ISO 8601 or seconds since 1970, in ms."""
    text = text.strip()
    if text.replace(".", "", 1).isdecimal():
        return int(float(text) * 1_000)
    if "_" in text:
        when = datetime.strptime(text + "+0000", "%Y.%m.%d_%H.%M.%S%z")
    else:
        when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1_000)


def _milliseconds(text: str | None) -> int:
    """Read a round trip in ms as us; 0 where there is none."""
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return 0
    return int(1_000 * value) if 0.0 < value < 1e6 else 0
