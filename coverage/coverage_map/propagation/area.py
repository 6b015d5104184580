"""Predicted loss over an area: every grid cell around a transmitter, by a sweep of radials.

    grid = compute_coverage(Transmitter(51.5, -0.13, 868e6, 20.0), terrain, "p1812", 10e3, 90.0)
    grid.loss_db, h3_losses(grid, 9)

The terrain along a radial is read once and serves every cell on it. A cell takes the loss of the
radial and sample nearest to its centre, at most about 0.7 of a cell away; each distinct sample is
computed once, by the full model over its own profile (P.1812 and Bullington with running hulls,
ITM with running sums: equal to the point-to-point functions within rounding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.diffraction import MEDIAN_EARTH_RADIUS_M, SPEED_OF_LIGHT_M_S
from coverage_map.propagation.itm import Settings, check_settings, prepare, refuse
from coverage_map.propagation.p1812 import Link1812, refuse_impossible_link
from coverage_map.propagation.terrain import EARTH_RADIUS_M, Raster, heights_at_m, spacing_of

if TYPE_CHECKING:
    from coverage_map.propagation.area_kernels import Flags, Integers

Floats = NDArray[np.float64]
Model = Literal["free_space", "bullington", "p1812", "itm"] | Link1812 | Settings

SAMPLES_MAX = 20_000  # of a radial
RADIALS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Transmitter:
    """Where a station stands and what it sends; height above ground."""

    latitude_deg: float
    longitude_deg: float
    frequency_hz: float
    height_m: float


@dataclass(frozen=True, slots=True)
class CoverageGrid:
    """Basic transmission loss in dB per cell [rows, columns], NaN beyond radius or terrain.

    The centre of row r, column c lies at (north_deg - r step_lat_deg, west_deg + c step_lon_deg).
    """

    loss_db: NDArray[np.float32]
    north_deg: float
    west_deg: float
    step_lat_deg: float
    step_lon_deg: float

    def received_dbm(self, eirp_dbm: float, gain_dbi: float = 0.0) -> NDArray[np.float32]:
        """Power at a receiver's input per cell."""
        return np.asarray(eirp_dbm + gain_dbi - self.loss_db, np.float32)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which radial and sample serves which cell."""

    grid: tuple[float, float, float, float]
    site: tuple[float, float]
    step_m: float
    radial: Integers
    sample: Integers
    wanted: Flags
    cells: int


def compute_coverage(
    transmitter: Transmitter,
    terrain: Raster,
    model: Model,
    radius_m: float,
    resolution_m: float,
    receiver_height_m: float = 1.5,
    clutter: Raster | None = None,
) -> CoverageGrid:
    """Loss of every cell within `radius_m`, cells `resolution_m` wide.

    `model` is a name, or a Link1812 (P.1812) or Settings (ITM) whose site, heights and frequency
    are replaced by the transmitter's. `clutter` has heights above ground on the terrain's grid and
    stands on every point of a path but its ends. Raises ValueError for impossible inputs.
    """
    _refuse_impossible(transmitter, terrain, radius_m, resolution_m, clutter)
    plan = _plan(transmitter, terrain, radius_m, resolution_m)
    heights = (transmitter.height_m, receiver_height_m)
    if isinstance(model, Link1812) or model == "p1812":
        base = model if isinstance(model, Link1812) else None
        polar = _p1812(transmitter, terrain, clutter, plan, heights, base)
    elif isinstance(model, Settings) or model == "itm":
        chosen = model if isinstance(model, Settings) else Settings(868.0)
        polar = _itm(transmitter, terrain, clutter, plan, heights, chosen)
    else:
        polar = _bullington(transmitter, terrain, clutter, plan, heights, model == "bullington")
    return _gather(plan, polar)


def _refuse_impossible(
    transmitter: Transmitter, terrain: Raster, radius_m: float, resolution_m: float,
    clutter: Raster | None,
) -> None:  # fmt: skip
    if not 0.0 < resolution_m <= radius_m:
        raise ValueError("resolution_m: not between 0 and radius_m; give the cell width in m")
    if radius_m / min(resolution_m, spacing_of(terrain)) > SAMPLES_MAX:
        raise ValueError(f"radius_m: over {SAMPLES_MAX} samples; take coarser cells or terrain")
    if transmitter.frequency_hz <= 0.0 or transmitter.height_m <= 0.0:
        raise ValueError("transmitter: frequency or height not positive; give Hz and m")
    place = heights_at_m(terrain, transmitter.latitude_deg, transmitter.longitude_deg)
    if np.isnan(place):
        raise ValueError("transmitter: outside the terrain; load the tile it stands on")
    if clutter is not None and clutter.heights_m.shape != terrain.heights_m.shape:
        raise ValueError("clutter: not on the terrain's grid; build it with buildings.clutter_on")


def _plan(
    transmitter: Transmitter, terrain: Raster, radius_m: float, resolution_m: float
) -> _Plan:
    from coverage_map.propagation import area_kernels

    half = math.ceil(radius_m / resolution_m)
    step_lat = math.degrees(resolution_m / EARTH_RADIUS_M)
    step_lon = step_lat / math.cos(math.radians(transmitter.latitude_deg))
    grid = (
        transmitter.latitude_deg + half * step_lat,
        transmitter.longitude_deg - half * step_lon,
        step_lat,
        step_lon,
    )
    step_m = resolution_m / math.ceil(resolution_m / spacing_of(terrain) - 1e-6)
    radials = min(max(math.ceil(2.0 * math.pi * radius_m / resolution_m), 8), RADIALS_MAX)
    wanted = np.zeros((radials, math.ceil(radius_m / step_m) + 2), bool)
    radial, sample = (np.zeros((2 * half + 1, 2 * half + 1), np.int64) for _ in range(2))
    site = (transmitter.latitude_deg, transmitter.longitude_deg)
    cells = area_kernels.assign(grid, site, radius_m, step_m, radial, sample, wanted)
    here = (math.radians(site[0]), math.radians(site[1]))
    return _Plan(grid, here, step_m, radial, sample, wanted, cells)


def _gather(plan: _Plan, polar: Floats) -> CoverageGrid:
    from coverage_map.propagation import area_kernels

    loss = np.empty(plan.radial.shape, np.float32)
    area_kernels.gather(polar, plan.radial, plan.sample, loss)
    return CoverageGrid(loss, *plan.grid)


def _grid(raster: Raster) -> tuple[float, float, float, float]:
    return raster.north_deg, raster.west_deg, raster.step_lat_deg, raster.step_lon_deg


def _layers(terrain: Raster, clutter: Raster | None) -> tuple[NDArray[np.float32], bool]:
    """What stands above the sea with clutter on it, and whether that is the ground itself."""
    if clutter is None:
        return terrain.heights_m, True
    return terrain.heights_m + clutter.heights_m, False


def _p1812(
    transmitter: Transmitter, terrain: Raster, clutter: Raster | None, plan: _Plan,
    heights: tuple[float, float], base: Link1812 | None,
) -> Floats:  # fmt: skip
    from coverage_map.propagation import area_models, p1812_area, p1812_batch

    link = base or Link1812(1.0, 1.0, 1.0, 0.0)
    link = replace(
        link,
        frequency_hz=transmitter.frequency_hz,
        transmitter_height_m=heights[0],
        receiver_height_m=heights[1],
        latitude_deg=transmitter.latitude_deg,
    )
    refuse_impossible_link(link)
    row = p1812_batch.make_rows([link], np.array([1.0]))[0]
    polar = np.full(plan.wanted.shape, np.nan)
    top, same = _layers(terrain, clutter)
    area_models.p1812_area(
        terrain.heights_m,
        top,
        same,
        _grid(terrain),
        plan.site,
        plan.step_m,
        plan.wanted,
        row,
        p1812_area.new_work(plan.wanted.shape[1], len(row)),
        polar,
    )
    return polar


def _itm(
    transmitter: Transmitter, terrain: Raster, clutter: Raster | None, plan: _Plan,
    heights: tuple[float, float], settings: Settings,
) -> Floats:  # fmt: skip
    from coverage_map.propagation import area_models, itm_kernels, itm_sweep

    settings = replace(settings, frequency_mhz=transmitter.frequency_hz / 1e6)
    refuse(int(itm_kernels.height_check(*heights)[1]) or int(check_settings(settings)[1]))
    polar = np.full(plan.wanted.shape, np.nan)
    top, _ = _layers(terrain, clutter)
    area_models.itm_area(
        terrain.heights_m,
        top,
        _grid(terrain),
        plan.site,
        plan.step_m,
        plan.wanted,
        prepare(settings),
        heights,
        itm_sweep.new_radial(plan.wanted.shape[1]),
        polar,
    )
    return polar


def _bullington(
    transmitter: Transmitter, terrain: Raster, clutter: Raster | None, plan: _Plan,
    heights: tuple[float, float], diffraction: bool,
) -> Floats:  # fmt: skip
    from coverage_map.propagation import area_models, sweep_kernels

    points = plan.wanted.shape[1]
    polar = np.full(plan.wanted.shape, np.nan)
    area_models.bullington_area(
        terrain.heights_m,
        _layers(terrain, clutter)[0],
        _grid(terrain),
        plan.site,
        plan.step_m,
        plan.wanted,
        heights,
        (SPEED_OF_LIGHT_M_S / transmitter.frequency_hz, MEDIAN_EARTH_RADIUS_M, diffraction),
        sweep_kernels.new_blocks(points),
        sweep_kernels.new_stack(points),
        polar,
    )
    return polar


def h3_losses(grid: CoverageGrid, resolution: int) -> dict[int, float]:
    """Median loss in dB of each H3 cell (integer index) that holds centres of computed cells.

    Raises ValueError for a resolution that H3 doesn't have.
    """
    import h3.api.basic_int as h3

    if not 0 <= resolution <= 15:
        raise ValueError("resolution: outside 0 to 15; hotspots use 7 to 10")
    rows, cols = np.nonzero(np.isfinite(grid.loss_db))
    lat = grid.north_deg - rows * grid.step_lat_deg
    lon = grid.west_deg + cols * grid.step_lon_deg
    found: dict[int, list[float]] = {}
    values = grid.loss_db[rows, cols]
    for at, east, value in zip(lat, lon, values, strict=True):
        found.setdefault(h3.latlng_to_cell(float(at), float(east), resolution), []).append(value)
    return {cell: float(np.median(losses)) for cell, losses in sorted(found.items())}
