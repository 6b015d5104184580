"""Many P.1812 links at once: arrays in, one compiled call, arrays out (imports Numba)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation import p1812
from coverage_map.propagation import p1812_kernels as kernels
from coverage_map.propagation.p1812 import COASTAL, INLAND, SEA, Link1812

Floats = NDArray[np.float64]
Tables = tuple[Floats, Floats, Floats, Floats]


def compute_losses(
    ground_m: ArrayLike,
    links: Sequence[Link1812],
    length_m: ArrayLike,
    clutter_m: ArrayLike | None = None,
    fraction: ArrayLike | None = None,
    zones: ArrayLike | None = None,
) -> Floats:
    """See p1812.compute_losses."""
    ground = np.ascontiguousarray(ground_m, np.float64)
    if ground.ndim != 2 or ground.shape[1] < 3:
        raise ValueError("ground_m: not (links, 3 or more points); one row per link")
    if len(links) != len(ground):
        raise ValueError("links: not one per row of ground_m; repeat a link that serves several")
    clutter = None if clutter_m is None else np.asarray(clutter_m, np.float64)
    x = even_fraction(ground.shape[1]) if fraction is None else np.asarray(fraction, np.float64)
    rows = make_rows(links, np.asarray(length_m, np.float64) / 1e3)
    if zones is not None:
        fill_zones(rows, x, np.asarray(zones, np.int64))
    if clutter is not None:
        fill_location(rows, links, clutter[:, -1], zones)
    return run_batch(ground, clutter, rows, x)


def run_batch(ground: Floats, clutter: Floats | None, rows: Floats, x: Floats) -> Floats:
    """Losses in dB from rows that `make_rows` built; for callers that reuse them."""
    top = ground if clutter is None else ground + clutter
    out = np.empty(len(ground))
    tables, weights = make_tables(x)
    kernels.compute_batch(ground, top, clutter is None, rows, tables, weights, out)
    return out


def even_fraction(points: int) -> Floats:
    """Evenly spaced places along a path, 0 to 1."""
    return np.linspace(0.0, 1.0, points)


def make_tables(x: Floats) -> tuple[Tables, tuple[Floats, Floats]]:
    """What depends on the points' places only: reciprocals, and the weights of eq. (85) to (88)."""
    if x[0] != 0.0 or x[-1] != 1.0 or not bool(np.all(np.diff(x) > 0.0)):
        raise ValueError("fraction: not rising from 0 to 1; give each point's share of the path")
    inner = x[1:-1]
    inverse, rest, root = (np.zeros(len(x)) for _ in range(3))
    inverse[1:-1], rest[1:-1] = 1.0 / inner, 1.0 / (1.0 - inner)
    root[1:-1] = 1.0 / np.sqrt(inner * (1.0 - inner))
    step, low, high = np.diff(x), x[:-1], x[1:]
    first, second = np.zeros(len(x)), np.zeros(len(x))
    first[1:] += step
    first[:-1] += step
    second[1:] += step * (2.0 * high + low)
    second[:-1] += step * (high + 2.0 * low)
    return (x, inverse, rest, root), (2.0 * first - second, second - first)


def make_rows(links: Sequence[Link1812], length_km: Floats) -> Floats:
    """One row of kernel inputs per link, columns as `p1812_kernels.COLUMNS`, all inland."""
    rows = np.empty((len(links), len(kernels.COLUMNS)))
    last: Link1812 | None = None
    for j, link in enumerate(links):
        if link is not last:
            p1812.refuse_impossible_link(link)
            rows[j] = _row(link)
            last = link
        else:
            rows[j] = rows[j - 1]
    if not bool(np.all(length_km > 0.0)):
        raise ValueError("length_m: not positive; transmitter and receiver must differ in place")
    rows[:, 0] = rows[:, 10] = rows[:, 11] = length_km
    return rows


def _row(link: Link1812) -> list[float]:
    radius = p1812.median_radius_km(link.delta_n)
    return [
        0.0, link.frequency_hz / 1e9, link.time_percent, float(link.vertical), radius, link.n0,
        link.transmitter_height_m, link.receiver_height_m, link.latitude_deg, 0.0, 0.0, 0.0,
        link.transmitter_coast_m / 1e3, link.receiver_coast_m / 1e3,
        p1812.location_db(link, 0.0), link.entry_loss_db, *_constants(link),
    ]  # fmt: skip


def _constants(link: Link1812) -> list[float]:
    """What depends on frequency and time alone, the last five columns."""
    ghz, p = link.frequency_hz / 1e9, link.time_percent
    scatter = 10.125 * math.pow(math.log10(50.0 / p), 0.7)
    normal = p1812.inverse_normal(p / 100.0)
    return [math.log10(ghz), math.cbrt(ghz), math.log10(p / 50.0), normal, scatter]


def fill_location(
    rows: Floats, links: Sequence[Link1812], clutter_m: Floats, zones: ArrayLike | None
) -> None:
    """Location variability by the clutter at each receiver, none over sea."""
    at_sea = np.zeros(len(links), bool)
    if zones is not None:
        at_sea = np.asarray(zones)[:, -1] == SEA
    for j, link in enumerate(links):
        if link.location_percent != 50.0:
            rows[j, 14] = p1812.location_db(link, float(clutter_m[j]))
        rows[j, 14] = 0.0 if at_sea[j] else rows[j, 14]


def fill_zones(rows: Floats, x: Floats, zones: NDArray[np.int64]) -> None:
    """Sea share and longest land sections of every path, from its points' zones."""
    d = [float(v) for v in x]
    for row, kinds in zip(rows, zones, strict=True):
        sea = [bool(z == SEA) for z in kinds]
        land = [bool(z in (COASTAL, INLAND)) for z in kinds]
        row[9] = p1812.path_fraction(d, sea)
        row[10] = row[0] * p1812.longest_section_km(d, land)
        row[11] = row[0] * p1812.longest_section_km(d, [bool(z == INLAND) for z in kinds])
        row[12] = 0.0 if sea[0] else row[12]
        row[13] = 0.0 if sea[-1] else row[13]
        row[14] = 0.0 if sea[-1] else row[14]
