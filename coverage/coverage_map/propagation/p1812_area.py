"""P.1812 for every wanted point of a radial, in one sweep (imports Numba).

Section 4 of the Recommendation needs of a path: sums that grow by a term a step, maxima seen from
the transmitter (running), maxima seen from the receiver (tangents to running hulls, one for each
earth radius), and a highest point between the horizons (by blocks). See sweep_kernels.py. The
result equals p1812.compute_loss over the same points; distances here are in steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from coverage_map.propagation.p1812_kernels import (
    BETA_RADIUS_KM,
    LOWEST,
    horizon_angles,
    loss_of,
    nu_scale,
)
from coverage_map.propagation.sweep_kernels import (
    BLOCK,
    hidden_nu,
    nearest_to_ray,
    new_blocks,
    new_stack,
    prepare,
    push,
    support,
    tangent,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Stack = tuple[NDArray[np.int64], Floats, Floats]
Blocks = tuple[Floats, Floats, Floats]
FLAT, MEDIAN, TOP, BETA = 0, 1, 2, 3  # ground; lowered for a_e; with clutter: for a_e, for a_beta


class Work(NamedTuple):
    """Room for a radial: heights lowered, blocks and hull for each of the four surfaces."""

    y: Floats
    flat: Blocks
    median: Blocks
    top: Blocks
    beta: Blocks
    hull_flat: Stack
    hull_median: Stack
    hull_top: Stack
    hull_beta: Stack
    places: Floats
    row: Floats


def new_work(points: int, columns: int) -> Work:
    """Room for radials of at most so many points."""
    return Work(
        y=np.empty((4, points)),
        flat=new_blocks(points),
        median=new_blocks(points),
        top=new_blocks(points),
        beta=new_blocks(points),
        hull_flat=new_stack(points),
        hull_median=new_stack(points),
        hull_top=new_stack(points),
        hull_beta=new_stack(points),
        places=np.arange(float(points)),
        row=np.empty(columns),
    )


@compiled
def lower(ground: Floats, top: Floats, bend: tuple[float, float], work: Work) -> None:
    """Heights lowered by the earth's curvature, for all four surfaces, and their blocks."""
    for i in range(ground.shape[0]):
        square = float(i * i)
        work.y[FLAT, i] = ground[i]
        work.y[MEDIAN, i] = ground[i] - bend[0] * square
        work.y[TOP, i] = top[i] - bend[0] * square
        work.y[BETA, i] = top[i] - bend[1] * square
    prepare(work.y[FLAT], work.flat)
    prepare(work.y[MEDIAN], work.median)
    prepare(work.y[TOP], work.top)
    prepare(work.y[BETA], work.beta)


@compiled
def ray_ratio(
    y: Floats, blocks: Blocks, stack: Stack, size: int, last: int, start: float, slope: float
) -> tuple[float, int]:
    """Point nearest to a clear ray, in Fresnel zones; the hull's nearest point is a first bound."""
    i = stack[0][support(stack[1], size, slope)]
    root = blocks[2]
    ratio = (y[i] - (start + slope * i)) * root[i] * root[last - i]
    better, at = nearest_to_ray(y, blocks, last, start, slope, ratio)
    return (better, at) if at > 0 else (ratio, i)


@compiled
def path_nu(
    y: Floats, blocks: Blocks, stack: Stack, size: int, last: int, rising: float, start: float,
    end: float,
) -> float:  # fmt: skip
    """Bullington's nu (without its constant) of the path to `last`."""
    slope = (end - start) / last
    if rising < slope:
        return ray_ratio(y, blocks, stack, size, last, start, slope)[0]
    j = stack[0][tangent(stack[1], stack[2], size, float(last), end)]
    return hidden_nu(rising, (y[j] - end) / (last - j), float(last), start, end)


@compiled
def obstacle(
    h: Floats, stack: Stack, size: int, last: int, rising: float, hts: float, hrs: float
) -> tuple[float, float, float]:
    """h_obs and its slopes from both ends over a flat earth, eq. (89); h_obs -1 when clear."""
    slope = (hrs - hts) / last
    if rising <= slope:
        return -1.0, 0.0, 0.0
    i = stack[0][support(stack[1], size, slope)]
    j = stack[0][tangent(stack[1], stack[2], size, float(last), hrs)]
    return h[i] - (hts + slope * i), rising - slope, (h[j] - hrs) / (last - j) + slope


@compiled
def roughness_m(
    h: Floats, maxima: Floats, lt: int, lr: int, start: float, slope: float
) -> float:
    """h_m: highest point above the smooth earth from lt to lr, eq. (95), block by block."""
    highest = LOWEST
    lr = max(lt, lr)
    for b in range(lt // BLOCK, lr // BLOCK + 1):
        first, end = max(b * BLOCK, lt), min((b + 1) * BLOCK - 1, lr)
        if maxima[b] - (start + min(slope * first, slope * end)) <= highest:
            continue
        for i in range(first, end + 1):
            highest = max(highest, h[i] - (start + slope * i))
    return highest


@compiled
def horizons(
    work: Work, size: int, last: int, rising: float, at: int, bend: float, hts: float, hrs: float,
    step_km: float,
) -> tuple[int, int, float, float]:  # fmt: skip
    """(both horizons' points, elevation angles in mrad) of the path to `last`, eq. (76) to (83)."""
    y, stack = work.y[MEDIAN], work.hull_median
    end = hrs - bend * last * last
    slope = (end - hts) / last
    length = step_km * last
    if rising > slope:
        j = stack[0][tangent(stack[1], stack[2], size, float(last), end)]
        back = (y[j] - end) / (last - j) - 2.0 * bend * last
        up, down = horizon_angles(rising * last, back * last, length, 0.0)
        return at, j, up, down
    i = ray_ratio(y, work.median, stack, size, last, hts, slope)[1]
    drop = bend * last / (1e3 * step_km)  # d / 2a, as bend = 500 step^2 / a
    up, down = horizon_angles(hrs - hts, hts - hrs, length, drop)
    return i, i, up, down


@compiled
def sweep_radial(
    ground: Floats, top: Floats, same: bool, latitude: Floats, wanted: Flags, step_km: float,
    template: Floats, work: Work, out: Floats,
) -> None:  # fmt: skip
    """Losses in dB of the wanted points from 2 on; `template` is a row of p1812_kernels.COLUMNS."""
    row = work.row
    row[:] = template
    bend, bend_beta = 500.0 * step_km**2 / row[4], 500.0 * step_km**2 / BETA_RADIUS_KM
    lower(ground, top, (bend, bend_beta), work)
    y, h = work.y, ground
    hts = h[0] + row[6]
    flat = median = raised = beta = LOWEST
    at = sizes_f = sizes_m = sizes_t = sizes_b = 0
    v1, v2 = h[0] + h[1], 2.0 * h[1] + h[0]
    for k in range(2, ground.shape[0]):
        i = k - 1
        v1 += h[k] + h[i]
        v2 += h[k] * (2.0 * k + i) + h[i] * (k + 2.0 * i)
        sizes_f = push(*work.hull_flat, sizes_f, y[FLAT], i)
        sizes_m = push(*work.hull_median, sizes_m, y[MEDIAN], i)
        sizes_b = push(*work.hull_beta, sizes_b, y[BETA], i)
        flat, beta = max(flat, (h[i] - hts) / i), max(beta, (y[BETA, i] - hts) / i)
        if (y[MEDIAN, i] - hts) / i > median:
            median, at = (y[MEDIAN, i] - hts) / i, i
        if not same:
            sizes_t = push(*work.hull_top, sizes_t, y[TOP], i)
            raised = max(raised, (y[TOP, i] - hts) / i)
        if not wanted[k]:
            continue
        hrs = h[k] + row[7]
        length = step_km * k
        st, sr = (2.0 * v1 * k - v2) / (k * k), (v2 - v1 * k) / (k * k)
        lt, lr, up, down = horizons(work, sizes_m, k, median, at, bend, hts, hrs, step_km)
        over, toward_t, toward_r = obstacle(h, work.hull_flat, sizes_f, k, flat, hts, hrs)
        low_t, low_r = min(st, h[0]), min(sr, h[k])
        rough = roughness_m(h, work.flat[0], lt, lr, low_t, (low_r - low_t) / k)
        scale = nu_scale(length, row[1]) * k
        end = hrs - bend * k * k
        if same:
            nu = path_nu(y[MEDIAN], work.median, work.hull_median, sizes_m, k, median, hts, end)
        else:
            nu = path_nu(y[TOP], work.top, work.hull_top, sizes_t, k, raised, hts, end)
        nu_beta = 0.0
        if row[2] < 50.0:
            end = hrs - bend_beta * k * k
            nu_beta = path_nu(y[BETA], work.beta, work.hull_beta, sizes_b, k, beta, hts, end)
        row[0] = row[10] = row[11] = length
        row[8] = 0.5 * (latitude[k // 2] + latitude[(k + 1) // 2])
        terrain = (
            st, sr, over, toward_t, toward_r, step_km * lt, step_km * (k - lr), up, down, rough,
            nu * scale, nu_beta * scale,
        )  # fmt: skip
        out[k] = loss_of(terrain, row, h[0], h[k], work.places, k, 1.0 / k)
