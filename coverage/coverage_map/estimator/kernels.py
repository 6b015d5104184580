"""How alike two links' errors are: the covariances of the learned residual.

Six causes, each with a deviation in dB and most with a length, scaled to the data (`Scales`):
the law of distance (a common one, one per world and per transmitter), walls that were counted, the
clutter around a receiver, shadowing of one transmitter's ground (Gudmundson 1991), the obstruction
collected along the path, and what stands in one direction from a mast.

The obstruction along a path is the line integral of a random loss field, so paths that cross the
same ground err alike whoever sent (Agrawal and Patwari, IEEE Trans. Wireless Comm. 8(10), 2009,
eqs. 5 to 9). The field's covariance is a product of exponentials in x and y, whose square root is
two small matrices; links become rows of features, never pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.estimator.links import OBSTACLE_DB, Ints, Links

Floats = NDArray[np.float64]

PATH_POINTS = 48
GRID_CELLS = 36  # a side, of a world's loss field
FEATURE_ROWS = 4_000  # at once: 40 MB


@dataclass(frozen=True, slots=True)
class Scales:
    """Deviations in dB, lengths in units of the data's own (`unit_m`), exponents without a unit."""

    offset: float = 10.0  # dB, everything together
    slope: float = 0.7  # of the path-loss exponent
    world_offset: float = 6.0
    world_slope: float = 0.5
    transmitter_offset: float = 3.0
    transmitter_slope: float = 0.2
    wall: float = 1.0  # dB a wall, beside OBSTACLE_DB
    world_wall: float = 0.7
    place: float = 4.0  # around a receiver, for all transmitters
    shadow: float = 3.0  # of one transmitter
    path: float = 6.0
    ray: float = 4.0
    noise: float = 5.0
    place_length: float = 0.5
    shadow_length: float = 0.3
    path_length: float = 0.14
    ray_width: float = 0.1  # radians
    ray_length: float = 1.0  # of the logarithm of distance


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What lengths are measured in, and where each world's loss field lies."""

    unit_m: float
    low_m: Floats  # [worlds, 2]
    pitch_m: Floats  # [worlds]


def make_frame(links: Links) -> Frame:
    """Frame of a training table: the unit is its median path length."""
    low, pitch = [], []
    for world in range(int(links.world.max()) + 1):
        mine = links.world == world
        if not mine.any():
            low.append(np.zeros(2))
            pitch.append(1.0)
            continue
        ends = np.concatenate((links.tx_m[mine], links.rx_m[mine]))
        low.append(ends.min(axis=0))
        pitch.append(max(float(np.ptp(ends, axis=0).max()) / (GRID_CELLS - 1), 0.25))
    unit_m = max(float(np.median(links.distance_m())), 2.0)
    return Frame(unit_m, np.array(low), np.array(pitch))


def decades(links: Links) -> Floats:
    """Ten times the decimal logarithm of distance, from 10 m on: what an exponent multiplies."""
    return np.asarray(10.0 * np.log10(links.distance_m()) - 10.0)


def covariance(one: Links, other: Links, scales: Scales, frame: Frame) -> Floats:
    """Covariance [n, m] in dB^2 of the errors of two sets of links, without noise."""
    same_world = one.world[:, None] == other.world
    same_mast = one.mast[:, None] == other.mast
    same_transmitter = one.transmitter[:, None] == other.transmitter
    near, far = decades(one), decades(other)
    slopes = np.outer(near, far)
    walls = one.obstacles @ other.obstacles.T
    apart = np.sqrt(_squares(one.rx_m, other.rx_m)) / frame.unit_m
    total = scales.offset**2 + scales.slope**2 * slopes + scales.wall**2 * walls
    total += same_transmitter * (
        scales.transmitter_offset**2
        + scales.transmitter_slope**2 * slopes
        + scales.shadow**2 * np.exp(-apart / scales.shadow_length)
    )
    total += same_world * (
        scales.world_offset**2
        + scales.world_slope**2 * slopes
        + scales.world_wall**2 * walls
        + scales.place**2 * np.exp(-apart / scales.place_length)
    )
    total += same_mast * scales.ray**2 * _rays(one, other, scales)
    total += scales.path**2 * _along(one, other, scales, frame)
    return np.asarray(total)


def weighted(one: Links, other: Links, weights: Floats, scales: Scales, frame: Frame) -> Floats:
    """`covariance(one, other) @ weights` without the matrix, for many rows of `one`.

    Masts and transmitters of one world are told apart by number, as make_links does it.
    """
    from coverage_map.estimator.sums import add_places

    s = scales
    scale = (s.offset, s.slope, s.world_offset, s.world_slope, s.transmitter_offset,
             s.transmitter_slope, s.place, s.shadow, s.ray)  # fmt: skip
    lengths = (s.place_length, s.shadow_length, s.ray_width, s.ray_length)
    total = s.wall**2 * one.obstacles @ (other.obstacles.T @ weights)
    for world in np.intersect1d(one.world, other.world):
        rows, columns = one.world == world, other.world == world
        mine, theirs = one.take(rows), other.take(columns)
        walls = theirs.obstacles.T @ weights[columns]
        total[rows] += s.world_wall**2 * mine.obstacles @ walls
        summed = path_features(theirs, int(world), s, frame).T @ weights[columns]
        for start in range(0, len(mine), FEATURE_ROWS):
            part = np.flatnonzero(rows)[start : start + FEATURE_ROWS]
            features = path_features(one.take(part), int(world), s, frame)
            total[part] += s.path**2 * (features @ summed)
    add_places(
        _who(one), _who(other), one.rx_m, other.rx_m, decades(one), decades(other),
        _bearing(one), _bearing(other), weights, frame.unit_m, np.array(scale),
        np.array(lengths), total,
    )  # fmt: skip
    return np.asarray(total)


def _who(links: Links) -> Ints:
    return np.ascontiguousarray(np.column_stack((links.world, links.mast, links.transmitter)))


def variance(links: Links, scales: Scales, frame: Frame) -> Floats:
    """The diagonal of `covariance(links, links)`."""
    slopes = decades(links) ** 2
    walls = (links.obstacles**2).sum(axis=1)
    s = scales
    flat = s.offset**2 + s.world_offset**2 + s.transmitter_offset**2
    flat += s.shadow**2 + s.place**2 + s.ray**2
    sloped = s.slope**2 + s.world_slope**2 + s.transmitter_slope**2
    along = np.zeros(len(links))
    for world in np.unique(links.world):
        mine = links.world == world
        features = path_features(links.take(mine), int(world), scales, frame)
        along[mine] = (features**2).sum(axis=1)
    wall = (s.wall**2 + s.world_wall**2) * walls
    return np.asarray(flat + sloped * slopes + wall + s.path**2 * along)


def _squares(a: Floats, b: Floats) -> Floats:
    return (a[:, 0, None] - b[:, 0]) ** 2 + (a[:, 1, None] - b[:, 1]) ** 2


def _rays(one: Links, other: Links, scales: Scales) -> Floats:
    a, b = _bearing(one), _bearing(other)
    turn = _squares(a, b) / (2.0 * scales.ray_width**2)
    stretch = np.abs(decades(one)[:, None] - decades(other)) / (10.0 * scales.ray_length)
    return np.exp(-turn - stretch)


def _bearing(links: Links) -> Floats:
    """Unit vectors from mast to receiver; shorter right beside the mast, where all rays meet."""
    path = links.rx_m - links.tx_m
    length = np.hypot(*path.T)
    return np.asarray(path / np.maximum(length, 0.5)[:, None])


def _along(one: Links, other: Links, scales: Scales, frame: Frame) -> Floats:
    total = np.zeros((len(one), len(other)))
    for world in np.intersect1d(one.world, other.world):
        rows, columns = np.flatnonzero(one.world == world), np.flatnonzero(other.world == world)
        a = path_features(one.take(rows), int(world), scales, frame)
        same = one is other
        b = a if same else path_features(other.take(columns), int(world), scales, frame)
        total[np.ix_(rows, columns)] = a @ b.T
    return total


def path_features(links: Links, world: int, scales: Scales, frame: Frame) -> Floats:
    """Rows whose products are the covariance of the obstruction along two paths of a world.

    Of mean square about one whatever the length, as shadowing is (Agrawal and Patwari, eq. 8).
    """
    if world >= len(frame.pitch_m):
        return np.zeros((len(links), 1))
    crossed = crossings(links, frame.low_m[world], float(frame.pitch_m[world]))
    root = _root(scales.path_length * frame.unit_m / float(frame.pitch_m[world]))
    features = np.einsum("nxy,xa,yb->nab", crossed, root, root, optimize=True)
    return np.asarray(features.reshape(len(links), -1))


def crossings(links: Links, low_m: Floats, pitch_m: float) -> Floats:
    """Share of each path in each grid cell [n, x, y], by points spaced evenly along it.

    A point's share falls on the four grid points around it. Shares are scaled by the square root
    of the path's length in pitches, which makes variance nearly independent of length.
    """
    count = len(links)
    share = (np.arange(PATH_POINTS) + 0.5) / PATH_POINTS
    path = links.rx_m - links.tx_m
    places = (links.tx_m[:, None, :] + path[:, None, :] * share[:, None] - low_m) / pitch_m
    places = np.clip(places, 0.0, GRID_CELLS - 1.001)
    below = np.floor(places).astype(np.int64)
    right, up = (places - below)[..., 0], (places - below)[..., 1]
    row: Ints = np.arange(count)[:, None] * GRID_CELLS**2
    at = row + below[..., 0] * GRID_CELLS + below[..., 1]
    found = np.zeros(count * GRID_CELLS**2)
    for step, part in (
        (0, (1 - right) * (1 - up)),
        (1, (1 - right) * up),
        (GRID_CELLS, right * (1 - up)),
        (GRID_CELLS + 1, right * up),
    ):
        found += np.bincount((at + step).ravel(), part.ravel(), len(found))
    length = np.hypot(*path.T) / pitch_m
    scaled = found.reshape(count, -1) * (np.sqrt(length + 0.25) / PATH_POINTS / 2.0)[:, None]
    return np.asarray(scaled.reshape(count, GRID_CELLS, GRID_CELLS))


def _root(length: float) -> Floats:
    """Square root of the covariance exp(-|i - j| / length) of GRID_CELLS points."""
    place = np.arange(GRID_CELLS)
    matrix = np.exp(-np.abs(place[:, None] - place) / max(length, 0.2))
    return np.asarray(np.linalg.cholesky(matrix))


def wall_prior_db() -> Floats:
    """Loss of each kind of wall before anything is learned."""
    return np.array(list(OBSTACLE_DB.values()))
