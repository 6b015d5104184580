"""Statistical path loss with shadowing and SNR for many links at once, in one compiled pass.

A `Law` is what free space, log-distance, two-ray and 38.901's street, roof-top and indoor models
have in common: straight lines over the logarithm of distance, one before a break point and one
after, and one for an obstructed path below which the loss never falls. `law_of` makes one from
pathloss.py's formulas; the kernel turns positions into SNR by one logarithm and one look at a
shadow field per link.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation import pathloss
from coverage_map.propagation.link_budget import noise_floor_dbm
from coverage_map.propagation.shadow_field import LEVEL, ShadowField
from coverage_map.propagation.validity import InvalidInputError

Floats = NDArray[np.float64]

DB_PER_OCTAVE_SQUARED = 0.5 * math.log10(2.0)  # of slope: lg d = this times log2 d^2
LAWS = ("free_space", "log_distance", "two_ray")
MODELS = ("umi_los", "umi_nlos", "uma_los", "uma_nlos", "inh_los", "inh_nlos")


class Law(NamedTuple):
    """Lines of loss over log2 of the squared slant distance: dB at 1 m, and dB per unit."""

    near_db: float
    near_slope: float
    far_db: float
    far_slope: float
    blocked_db: float
    blocked_slope: float
    break_squared_m2: float  # horizontal distance at which far begins
    rise_squared_m2: float  # difference of heights


def law_of(
    model: str,
    frequency_hz: float,
    base_height_m: float = 10.0,
    terminal_height_m: float = 1.5,
    exponent: float = 3.0,
) -> Law:
    """The law of `free_space`, `log_distance`, `two_ray` or a 38.901 model such as `umi_nlos`.

    `exponent` is log-distance's. The three classic models take distance along the ground.
    """
    if not frequency_hz > 0.0:
        raise InvalidInputError("frequency_hz", "not above zero", "give Hz, such as 868e6")
    if model in LAWS:
        return _classic(model, frequency_hz, base_height_m, terminal_height_m, exponent)
    if model not in MODELS:
        raise InvalidInputError("model", f"unknown: {model}", f"use {', '.join(LAWS + MODELS)}")
    ghz_db = 20.0 * math.log10(frequency_hz / 1e9)
    rise = (base_height_m - terminal_height_m) ** 2
    near, far, break_m = _clear_lines(model, frequency_hz, base_height_m, terminal_height_m)
    blocked = (-math.inf, 0.0)
    if model == "umi_nlos":
        blocked = (22.4 + 1.065 * ghz_db - 0.3 * (terminal_height_m - 1.5), 35.3)
    elif model == "uma_nlos":
        blocked = (13.54 + ghz_db - 0.6 * (terminal_height_m - 1.5), 39.08)
    elif model == "inh_nlos":
        blocked = (17.3 + 1.245 * ghz_db, 38.3)
    return _law((near[0] + ghz_db, near[1]), (far[0] + ghz_db, far[1]), blocked, break_m**2, rise)


def _classic(
    model: str, frequency_hz: float, base_m: float, terminal_m: float, exponent: float
) -> Law:
    one_m = float(pathloss.free_space_db(1.0, frequency_hz))
    never = (-math.inf, 0.0)
    if model == "free_space":
        return _law((one_m, 20.0), (one_m, 20.0), never, math.inf, 0.0)
    if model == "log_distance":
        slope = 10.0 * exponent
        return _law((one_m, slope), (one_m, slope), never, math.inf, 0.0)
    break_m = max(4.0 * base_m * terminal_m * frequency_hz / pathloss.SPEED_OF_LIGHT_M_S, 1.0)
    far_db = one_m - 20.0 * math.log10(break_m)
    return _law((one_m, 20.0), (far_db, 40.0), never, break_m**2, 0.0)


def _clear_lines(
    model: str, frequency_hz: float, base_m: float, terminal_m: float
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Lines before and after the break point (dB at 1 m, dB a decade), and its distance."""
    if model.startswith("inh"):
        return (32.4, 17.3), (32.4, 17.3), math.inf
    street = model.startswith("umi")
    break_m = float(pathloss.effective_breakpoint_m(frequency_hz, base_m, terminal_m))
    corner = (9.5 if street else 9.0) * math.log10(break_m**2 + (base_m - terminal_m) ** 2)
    if street:
        return (32.4, 21.0), (32.4 - corner, 40.0), break_m
    return (28.0, 22.0), (28.0 - corner, 40.0), break_m


def _law(
    near: tuple[float, float],
    far: tuple[float, float],
    blocked: tuple[float, float],
    break_squared_m2: float,
    rise_squared_m2: float,
) -> Law:
    scale = DB_PER_OCTAVE_SQUARED
    return Law(
        near[0],
        near[1] * scale,
        far[0],
        far[1] * scale,
        blocked[0],
        blocked[1] * scale,
        break_squared_m2,
        rise_squared_m2,
    )


def loss_db(law: Law, distance_m: ArrayLike) -> Floats:
    """Median loss at horizontal distances, in plain NumPy: what the kernel must agree with."""
    flat = np.asarray(distance_m, np.float64) ** 2
    log = np.log2(np.maximum(flat + law.rise_squared_m2, 1.0))
    near = law.near_db + law.near_slope * log
    far = law.far_db + law.far_slope * log
    clear = np.where(flat <= law.break_squared_m2, near, far)
    return np.asarray(np.maximum(clear, law.blocked_db + law.blocked_slope * log))


def snr_db(
    transmitter_m: tuple[float, float],
    x_m: Floats,
    y_m: Floats,
    law: Law,
    field: ShadowField,
    sigma_db: float,
    eirp_dbm: float,
    *,
    transmitter: int = 0,
    bandwidth_hz: float = 20e6,
    noise_figure_db: float = 7.0,
    gain_dbi: float = 0.0,
    out: Floats | None = None,
) -> Floats:
    """SNR in dB at receivers [n] of one transmitter: path loss and shadowing, no interference.

    Positions are metres in a plane. `transmitter` is its number, which selects its view of the
    field. Writes to `out` where given.
    """
    from coverage_map.propagation.statistical_kernels import snr_over_field

    x = np.ascontiguousarray(x_m, np.float64)
    y = np.ascontiguousarray(y_m, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise InvalidInputError("x_m", "not as many as y_m", "give two arrays [n] of metres")
    snr = np.empty(x.size) if out is None else out
    budget = eirp_dbm + gain_dbi - float(noise_floor_dbm(bandwidth_hz, noise_figure_db))
    grid = (1.0 / field.step_m, *field.offset(transmitter))
    flat = field.values.reshape(-1)
    place = (float(transmitter_m[0]), float(transmitter_m[1]))
    snr_over_field(place, x, y, law, flat, field.size, grid, sigma_db * LEVEL, budget, snr)
    return snr


def snr_matrix_db(
    transmitters_m: Floats,
    receivers_m: Floats,
    law: Law,
    field: ShadowField,
    sigma_db: float,
    eirp_dbm: ArrayLike,
    bandwidth_hz: float = 20e6,
    noise_figure_db: float = 7.0,
) -> Floats:
    """SNR in dB [transmitters, receivers] between positions [n, 2] and [m, 2] in metres."""
    eirp = np.broadcast_to(np.asarray(eirp_dbm, np.float64), (len(transmitters_m),))
    x = np.ascontiguousarray(receivers_m[:, 0], np.float64)
    y = np.ascontiguousarray(receivers_m[:, 1], np.float64)
    out = np.empty((len(transmitters_m), len(receivers_m)))
    for k, (east_m, north_m) in enumerate(transmitters_m):
        snr_db(
            (east_m, north_m),
            x,
            y,
            law,
            field,
            sigma_db,
            float(eirp[k]),
            transmitter=k,
            bandwidth_hz=bandwidth_hz,
            noise_figure_db=noise_figure_db,
            out=out[k],
        )
    return out
