"""Outdoor drive tests with a truth that the estimator does not have: `make_scene("town")`.

Signal = EIRP of each hotspot (unknown to the estimator, 4 dB apart) - ITM over rolling ground with
buildings on it - correlated shadowing - fading and reading noise. The estimator sees positions and
RSSI alone. Readings are taken while driving a grid of streets, and only what a receiver can hear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from coverage_map.estimator.links import Links, make_links
from coverage_map.propagation.area import Transmitter, compute_coverage
from coverage_map.propagation.buildings import clutter_on, make_footprints
from coverage_map.propagation.shadow_field import make_field
from coverage_map.propagation.terrain import EARTH_RADIUS_M, Raster, make_raster

LATITUDE_DEG, LONGITUDE_DEG = 47.0, 8.0
DEGREES_A_METRE = math.degrees(1.0 / EARTH_RADIUS_M)
NARROWING = math.cos(math.radians(LATITUDE_DEG))
EIRP_DBM, EIRP_SIGMA_DB, READING_SIGMA_DB = 20.0, 4.0, 2.5


@dataclass(frozen=True, slots=True)
class Scene:
    """What a place looks like; lengths in metres."""

    seed: int
    half_m: float  # of the square that is driven
    frequency_hz: float
    hotspots: int
    antenna_m: float
    relief_m: float
    street_m: float  # between parallel streets
    buildings: float  # share of lots that are built on
    storeys: int
    shadow_db: float
    shadow_m: float
    sensitivity_dbm: float
    grid_m: float = 15.0
    kept: float = 1.0  # share of the readings, drawn: a sparse drive test


SCENES = {
    "town": Scene(11, 1_200.0, 868e6, 6, 12.0, 25.0, 120.0, 0.7, 4, 4.0, 40.0, -135.0),
    "suburb": Scene(12, 1_000.0, 3.55e9, 8, 9.0, 40.0, 150.0, 0.5, 2, 4.0, 30.0, -135.0),
    "hills": Scene(13, 4_000.0, 868e6, 4, 15.0, 160.0, 500.0, 0.1, 2, 4.0, 80.0, -138.0, 40.0),
    # Tall blocks on both sides of every street, many hotspots low between them.
    "canyon": Scene(14, 700.0, 2.437e9, 10, 6.0, 5.0, 110.0, 0.95, 9, 4.0, 25.0, -130.0),
    # Few readings: what a first evening's drive brings.
    "sparse": Scene(15, 1_000.0, 868e6, 8, 9.0, 40.0, 150.0, 0.5, 2, 4.0, 30.0, -135.0, kept=0.06),
    # Flat and empty: next to nothing to learn beyond the law, where a model can only do harm.
    "plain": Scene(16, 2_000.0, 868e6, 3, 20.0, 1.0, 400.0, 0.0, 1, 2.0, 60.0, -138.0, 40.0, 0.3),
}


# Other grounds of the sparse kind: one ground says little, gains differ by 20 % between them.
SPARSE_SEEDS = range(115, 1_016, 100)


def make_scene(name: str, seed: int | None = None) -> Links:
    """The drive test of a named scene, or of another ground of its kind; the same every time."""
    links, kept = make_drive(name, seed)
    return links.take(kept)


def make_drive(name: str, seed: int | None = None) -> tuple[Links, NDArray[np.bool_]]:
    """Every reading that could have been taken on a scene's streets, and which the scene keeps."""
    scene = SCENES[name] if seed is None else replace(SCENES[name], seed=seed)
    draws = np.random.default_rng(scene.seed)
    ground = rolling_ground(scene)
    clutter = clutter_on(ground, make_footprints(*town(scene, draws)))
    places = draws.uniform(-0.75, 0.75, (scene.hotspots, 2)) * scene.half_m
    eirp = EIRP_DBM + EIRP_SIGMA_DB * draws.standard_normal(scene.hotspots)
    receivers = drive(scene, draws)
    field = make_field(scene.seed, scene.shadow_m)
    parts = []
    for k, (east, north) in enumerate(places):
        loss = losses_db(scene, ground, clutter, (float(east), float(north)), receivers)
        shadow = scene.shadow_db * field.at(receivers[:, 0], receivers[:, 1], k)
        noise = READING_SIGMA_DB * draws.standard_normal(len(receivers))
        rssi = eirp[k] - loss + shadow + noise
        heard = np.isfinite(rssi) & (rssi >= scene.sensitivity_dbm)
        tx = np.broadcast_to((east, north), receivers.shape)
        parts.append(np.column_stack((tx, receivers, rssi))[heard])
    rows = np.concatenate(parts)
    kept = draws.random(len(rows)) < scene.kept
    return make_links(rows[:, :2], rows[:, 2:4], scene.frequency_hz, rows[:, 4]), kept


def _degrees(east_m: np.ndarray, north_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    latitude = LATITUDE_DEG + np.asarray(north_m) * DEGREES_A_METRE
    return latitude, LONGITUDE_DEG + np.asarray(east_m) * DEGREES_A_METRE / NARROWING


def rolling_ground(scene: Scene) -> Raster:
    """Smooth hills: a shadowing field over long distances, as heights."""
    reach = 2.0 * scene.half_m
    side = 2 * math.ceil(reach / scene.grid_m) + 1
    east = (np.arange(side) - side // 2) * scene.grid_m
    hills = make_field(scene.seed + 100, scene.half_m, 256)
    coarse = hills.at(*np.meshgrid(east, -east))
    window = np.hanning(21) / np.hanning(21).sum()
    for axis in (0, 1):
        coarse = np.apply_along_axis(lambda row: np.convolve(row, window, "same"), axis, coarse)
    step = scene.grid_m * DEGREES_A_METRE
    corner = _degrees(east[:1], -east[:1])
    heights = 400.0 + scene.relief_m * coarse
    return make_raster(
        heights, float(corner[0][0]), float(corner[1][0]), step, step / NARROWING
    )  # fmt: skip


def town(scene: Scene, draws: np.random.Generator) -> tuple[list[shapely.Polygon], list[float]]:
    """Boxes on the lots between streets, with heights by storeys."""
    shapes, heights = [], []
    count = int(scene.half_m // scene.street_m)
    for i in range(-count, count):
        for j in range(-count, count):
            if draws.random() > scene.buildings:
                continue
            low = (np.array([i, j]) + draws.uniform(0.12, 0.3, 2)) * scene.street_m
            high = (np.array([i + 1, j + 1]) - draws.uniform(0.12, 0.3, 2)) * scene.street_m
            south_west, north_east = (_degrees(p[0], p[1]) for p in (low, high))
            shapes.append(
                shapely.box(south_west[1], south_west[0], north_east[1], north_east[0])
            )  # fmt: skip
            heights.append(3.0 * float(draws.integers(1, 2 * scene.storeys + 1)))
    return shapes, heights


def drive(scene: Scene, draws: np.random.Generator) -> np.ndarray:
    """Receivers [n, 2] in metres: two of three streets are driven, four readings a block."""
    lines = np.arange(-scene.half_m, scene.half_m + 1.0, scene.street_m)
    step = max(scene.street_m / 4.0, 12.0)
    along = np.arange(-scene.half_m, scene.half_m, step)
    found = []
    for line in lines:
        for turned in (False, True):
            if draws.random() < 0.67:
                pair = (np.full(len(along), line), along)
                found.append(np.column_stack(pair[::-1] if turned else pair))
    return np.concatenate(found) + draws.normal(0.0, 2.0, (sum(map(len, found)), 2))


def losses_db(
    scene: Scene, ground: Raster, clutter: Raster, tx_m: tuple[float, float], rx_m: np.ndarray
) -> np.ndarray:
    """ITM's loss at each receiver, of the grid cell it stands in; NaN beyond the grid."""
    latitude, longitude = _degrees(np.array(tx_m[0]), np.array(tx_m[1]))
    sender = Transmitter(float(latitude), float(longitude), scene.frequency_hz, scene.antenna_m)
    grid = compute_coverage(sender, ground, "itm", 1.8 * scene.half_m, scene.grid_m, 1.5, clutter)
    lat, lon = _degrees(rx_m[:, 0], rx_m[:, 1])
    row = np.rint((grid.north_deg - lat) / grid.step_lat_deg).astype(int)
    column = np.rint((lon - grid.west_deg) / grid.step_lon_deg).astype(int)
    shape = grid.loss_db.shape
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    loss = np.full(len(rx_m), np.nan)
    loss[inside] = grid.loss_db[row[inside], column[inside]]
    return loss
