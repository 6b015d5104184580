"""3GPP TR 38.901 by scenario: loss, line-of-sight probability, shadowing, walls and cars.

The formulas themselves are in pathloss.py; here are their validity ranges (table 7.4.1-1, section
7.4.3) and what joins them. Inputs outside a range give a `RangeWarning` bit and a loss that is an
extrapolation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation import pathloss
from coverage_map.propagation.validity import InvalidInputError, RangeWarning

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GHZ = 1e9
LOW_LOSS, HIGH_LOSS = "low", "high"
INDOOR_SLOPE_DB_M = 0.5  # PL_in, table 7.4.3-2
O2I_SIGMA_DB = {LOW_LOSS: 4.4, HIGH_LOSS: 6.5}
# Share of glass in the facade, table 7.4.3-2; the rest is concrete.
GLASS_SHARE = {LOW_LOSS: 0.3, HIGH_LOSS: 0.7}
NON_NORMAL_INCIDENCE_DB = 5.0
CAR_LOSS_DB = 9.0  # eq. (7.4-4): mean, and for metallised windows
CAR_METALLISED_DB = 20.0
CAR_SIGMA_DB = 5.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A column of table 7.4.1-1: formulas, default heights in m, validity ranges (low, high)."""

    name: str
    los_db: Callable[..., Floats]
    nlos_db: Callable[..., Floats]
    los_probability: Callable[..., Floats]
    base_height_m: float
    frequency_hz: tuple[float, float]
    los_distance_m: tuple[float, float]
    nlos_distance_m: tuple[float, float]
    base_heights_m: tuple[float, float]
    terminal_heights_m: tuple[float, float]
    extras: dict[str, tuple[float, float]] = field(default_factory=dict)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "rma",
            pathloss.rma_los_db,
            pathloss.rma_nlos_db,
            pathloss.rma_los_probability,
            35.0,
            (0.5e9, 30e9),
            (10.0, 10_000.0),
            (10.0, 5_000.0),
            (10.0, 150.0),
            (1.0, 10.0),
            {"building_height_m": (5.0, 50.0), "street_width_m": (5.0, 50.0)},
        ),
        Scenario(
            "uma",
            pathloss.uma_los_db,
            pathloss.uma_nlos_db,
            pathloss.uma_los_probability,
            25.0,
            (0.5e9, 100e9),
            (10.0, 5_000.0),
            (10.0, 5_000.0),
            (25.0, 25.0),
            (1.5, 22.5),
        ),
        Scenario(
            "umi",
            pathloss.umi_los_db,
            pathloss.umi_nlos_db,
            pathloss.umi_los_probability,
            10.0,
            (0.5e9, 100e9),
            (10.0, 5_000.0),
            (10.0, 5_000.0),
            (10.0, 10.0),
            (1.5, 22.5),
        ),
        Scenario(
            "inh",
            pathloss.inh_los_db,
            pathloss.inh_nlos_db,
            pathloss.inh_los_probability,
            3.0,
            (0.5e9, 100e9),
            (1.0, 150.0),
            (1.0, 150.0),
            (0.0, np.inf),
            (0.0, np.inf),
        ),
    )
}
EXTRA_WARNINGS = {
    "building_height_m": RangeWarning.BUILDING_HEIGHT,
    "street_width_m": RangeWarning.STREET_WIDTH,
}


def scenario_of(name: str) -> Scenario:
    """The scenario of this name, in any case; raises InvalidInputError."""
    if name.lower() not in SCENARIOS:
        raise InvalidInputError("scenario", f"unknown: {name}", f"use {', '.join(SCENARIOS)}")
    return SCENARIOS[name.lower()]


def path_loss(
    name: str,
    is_los: bool,
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    terminal_height_m: ArrayLike = 1.5,
    base_height_m: ArrayLike | None = None,
    **extras: float,
) -> tuple[Floats, Integers]:
    """Median loss in dB over horizontal distances, and `RangeWarning` bits, broadcast alike.

    `extras` are RMa's `building_height_m` and, without line of sight, `street_width_m`.
    """
    scenario = scenario_of(name)
    base = scenario.base_height_m if base_height_m is None else base_height_m
    _require_positive(distance_m, frequency_hz)
    unknown = sorted(set(extras) - set(scenario.extras))
    if unknown:
        raise InvalidInputError(unknown[0], f"not an input of {scenario.name}", "leave it out")
    formula = scenario.los_db if is_los else scenario.nlos_db
    used = {key: extras[key] for key in extras if not is_los or key != "street_width_m"}
    loss = formula(distance_m, frequency_hz, base, terminal_height_m, **used)
    flags = range_warnings(scenario, is_los, distance_m, frequency_hz, terminal_height_m, base)
    for key, value in extras.items():
        flags = flags | _outside(value, scenario.extras[key], EXTRA_WARNINGS[key])
    return loss, np.broadcast_to(flags, loss.shape)


def range_warnings(
    scenario: Scenario,
    is_los: bool,
    distance_m: ArrayLike,
    frequency_hz: ArrayLike,
    terminal_height_m: ArrayLike,
    base_height_m: ArrayLike,
) -> Integers:
    """`RangeWarning` bits of inputs outside the ranges of table 7.4.1-1."""
    near, far = scenario.los_distance_m if is_los else scenario.nlos_distance_m
    metres = np.asarray(distance_m, np.float64)
    return np.asarray(
        np.where(metres < near, RangeWarning.DISTANCE_SMALL, 0)
        | np.where(metres > far, RangeWarning.DISTANCE_LARGE, 0)
        | _outside(frequency_hz, scenario.frequency_hz, RangeWarning.FREQUENCY)
        | _outside(terminal_height_m, scenario.terminal_heights_m, RangeWarning.TERMINAL_HEIGHT)
        | _outside(base_height_m, scenario.base_heights_m, RangeWarning.BASE_HEIGHT),
        np.int64,
    )


def los_probability(
    name: str, distance_m: ArrayLike, terminal_height_m: float = 1.5
) -> Floats:
    """Probability of line of sight at a horizontal distance, table 7.4.2-1."""
    scenario = scenario_of(name)
    if scenario.name == "uma":
        return scenario.los_probability(distance_m, terminal_height_m)
    return scenario.los_probability(distance_m)


def open_office_los_probability(distance_m: ArrayLike) -> Floats:
    """Probability of line of sight in an open office (the mixed one is `inh`), table 7.4.2-1."""
    metres = np.asarray(distance_m, np.float64)
    middle = np.exp(-(metres - 5.0) / 70.8)
    far = 0.54 * np.exp(-(metres - 49.0) / 211.7)
    return np.asarray(np.where(metres <= 5.0, 1.0, np.where(metres <= 49.0, middle, far)))


def expected_loss_db(
    name: str, distance_m: ArrayLike, frequency_hz: ArrayLike, terminal_height_m: float = 1.5
) -> Floats:
    """Mean of both cases' losses in dB, weighted by the probability of line of sight."""
    clear, _ = path_loss(name, True, distance_m, frequency_hz, terminal_height_m)
    blocked, _ = path_loss(name, False, distance_m, frequency_hz, terminal_height_m)
    share = los_probability(name, distance_m, terminal_height_m)
    return np.asarray(share * clear + (1.0 - share) * blocked)


def material_loss_db(material: str, frequency_hz: ArrayLike) -> Floats:
    """Penetration loss of glass, coated (IRR) glass, concrete or wood, table 7.4.3-1."""
    offsets = {
        "glass": (2.0, 0.2),
        "coated_glass": (23.0, 0.3),
        "concrete": (5.0, 4.0),
        "wood": (4.85, 0.12),
    }
    if material not in offsets:
        raise InvalidInputError("material", f"unknown: {material}", f"use {', '.join(offsets)}")
    offset, slope = offsets[material]
    return np.asarray(offset + slope * np.asarray(frequency_hz, np.float64) / GHZ)


def building_entry_db(
    frequency_hz: ArrayLike, indoor_m: ArrayLike = 0.0, facade: str = LOW_LOSS
) -> Floats:
    """Median loss from outside to `indoor_m` behind a facade, eq. (7.4-2) and table 7.4.3-2."""
    if facade not in GLASS_SHARE:
        raise InvalidInputError("facade", f"unknown: {facade}", "use low or high")
    glass = material_loss_db("glass" if facade == LOW_LOSS else "coated_glass", frequency_hz)
    concrete = material_loss_db("concrete", frequency_hz)
    share = GLASS_SHARE[facade]
    through = share * 10.0 ** (-glass / 10.0) + (1.0 - share) * 10.0 ** (-concrete / 10.0)
    inside = INDOOR_SLOPE_DB_M * np.asarray(indoor_m, np.float64)
    return np.asarray(NON_NORMAL_INCIDENCE_DB - 10.0 * np.log10(through) + inside)


def _outside(value: ArrayLike, bounds: tuple[float, float], flag: RangeWarning) -> Integers:
    number = np.asarray(value, np.float64)
    low, high = bounds
    return np.where((number < low) | (number > high), int(flag), 0)


def _require_positive(distance_m: ArrayLike, frequency_hz: ArrayLike) -> None:
    if not np.all(np.asarray(distance_m, np.float64) >= 0.0):
        raise InvalidInputError("distance_m", "below zero or not a number", "give metres")
    if not np.all(np.asarray(frequency_hz, np.float64) > 0.0):
        raise InvalidInputError("frequency_hz", "not above zero", "give Hz, such as 868e6")
