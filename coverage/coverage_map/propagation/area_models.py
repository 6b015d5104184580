"""The radials of an area, one loop for each model (imports Numba). See area.py."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.area_kernels import free_space_db, trace
from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.itm_regions import Radio
from coverage_map.propagation.itm_sweep import Radial, link_to, open_radial
from coverage_map.propagation.p1812_area import Work
from coverage_map.propagation.p1812_area import sweep_radial as p1812_radial
from coverage_map.propagation.sweep_kernels import loss_db, prepare, sweep_radial
from coverage_map.propagation.terrain_kernels import Grid, Heights

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
LIGHT_M_S_GHZ = 0.2998  # P.1812's own rounding, times 1e9


@compiled
def read_radial(
    heights: Heights, top: Heights, same: bool, grid: Grid, site: tuple[float, float], turn: float,
    step_m: float, latitude: Floats, ground: Floats, raised: Floats,
) -> int:  # fmt: skip
    """Ground and, where it differs, ground with clutter along a radial: samples filled."""
    azimuth = 2.0 * math.pi * turn
    count = trace(heights, grid, site, azimuth, step_m, latitude, ground)
    if same:
        raised[:count] = ground[:count]
    else:
        trace(top, grid, site, azimuth, step_m, latitude, raised)
    return count


@compiled
def reach_of(wanted: Flags) -> int:
    """One past the last wanted sample."""
    last: int = wanted.shape[0]
    while last > 0 and not wanted[last - 1]:
        last -= 1
    return last


@compiled
def near_db(
    ground: Floats, step_m: float, antennas: tuple[float, float], wave_m: float, out: Floats
) -> None:
    """The first two samples have no terrain before them: free space."""
    for k in range(min(2, ground.shape[0])):
        rise = ground[0] + antennas[0] - ground[k] - antennas[1]
        out[k] = free_space_db(step_m * k, rise, wave_m)


@compiled
def p1812_area(
    heights: Heights, top: Heights, same: bool, grid: Grid, site: tuple[float, float],
    step_m: float, wanted: Flags, row: Floats, work: Work, out: Floats,
) -> None:  # fmt: skip
    """P.1812 losses of all wanted samples (radials, samples)."""
    size = wanted.shape[1]
    latitude, ground, raised = np.empty(size), np.empty(size), np.empty(size)
    antennas, wave_m = (row[6], row[7]), LIGHT_M_S_GHZ / row[1]
    for r in range(wanted.shape[0]):
        last = reach_of(wanted[r])
        turn = r / wanted.shape[0]
        count = read_radial(
            heights, top, same, grid, site, turn, step_m, latitude, ground[:last], raised
        )
        near_db(ground[:count], step_m, antennas, wave_m, out[r])
        if count > 2:
            p1812_radial(
                ground[:count], raised[:count], same, latitude, wanted[r], step_m / 1e3, row,
                work, out[r],
            )  # fmt: skip


@compiled
def itm_area(
    heights: Heights, top: Heights, grid: Grid, site: tuple[float, float], step_m: float,
    wanted: Flags, radio: Radio, antennas: tuple[float, float], radial: Radial, out: Floats,
) -> None:  # fmt: skip
    """ITM losses of all wanted samples; NaN where ITM refuses the path."""
    size = wanted.shape[1]
    latitude, ground, raised = np.empty(size), np.empty(size), np.empty(size)
    wave_m = 299.792458 / radio.frequency_mhz
    for r in range(wanted.shape[0]):
        last = reach_of(wanted[r])
        turn = r / wanted.shape[0]
        count = read_radial(
            heights, top, False, grid, site, turn, step_m, latitude, ground[:last], raised
        )
        near_db(ground[:count], step_m, antennas, wave_m, out[r])
        raised[0] = ground[0]
        open_radial(radial, raised[:count], step_m, antennas[0])
        for k in range(2, count):
            if wanted[r, k]:
                out[r, k] = link_to(radio, radial, k, ground[k], step_m, antennas).loss_db


@compiled
def bullington_area(
    heights: Heights, top: Heights, grid: Grid, site: tuple[float, float], step_m: float,
    wanted: Flags, antennas: tuple[float, float], wave: tuple[float, float, bool],
    blocks: tuple[Floats, Floats, Floats], stack: tuple[NDArray[np.int64], Floats, Floats],
    out: Floats,
) -> None:  # fmt: skip
    """Free space with (or, by the third of `wave`, without) Bullington diffraction.

    `wave`: wavelength and effective earth radius in m, whether terrain diffracts.
    """
    size = wanted.shape[1]
    latitude, ground, raised, y = (np.empty(size), np.empty(size), np.empty(size), np.empty(size))
    bend = step_m * step_m / (2.0 * wave[1])
    for r in range(wanted.shape[0]):
        last = reach_of(wanted[r])
        turn = r / wanted.shape[0]
        count = read_radial(
            heights, top, False, grid, site, turn, step_m, latitude, ground[:last], raised
        )
        for i in range(count):
            y[i] = raised[i] - bend * i * i
        y[count:] = -np.inf
        near_db(ground[:count], step_m, antennas, wave[0], out[r])
        if wave[2]:
            prepare(y, blocks)
            sweep_radial(ground[:count], y, blocks, stack, step_m, antennas, wave[0], bend, out[r])
        for k in range(2, count):
            rise = ground[0] + antennas[0] - ground[k] - antennas[1]
            extra = loss_db(out[r, k], step_m * k) if wave[2] else 0.0
            out[r, k] = free_space_db(step_m * k, rise, wave[0]) + extra
