"""How seldom an honest receiver looks as if it heard nothing, near the end of its hearing too."""

from __future__ import annotations

from math import erf, sqrt
from typing import Any

import pytest

from chain.params import PRESETS, get_params

np = pytest.importorskip("numpy")
PARAMS, BEFORE = PRESETS["mainnet"], get_params("mainnet", 1)
STEPS_DB = (0.0, 3.0, 6.0, 9.0)
PACKET_DB = 4.0  # deviation of a packet's strength; cabled receivers have 1.0 to 2.1
SHOWN = 0.9  # of a step
NOISE_DBM = -95.0  # adds to what a receiver notes
LEAST_DBM = -82.0  # the most that the standard lets a receiver need for 6 Mb/s
LINKS = 40_000
SELDOM_DB2 = 0.06  # spread of a link and epoch: a month of ten such neighbours


def hear(mean_dbm: float, sensitivity_dbm: float, seed: int) -> tuple[Any, Any, Any]:
    """(power sent, strength noted, whether it arrived), four beacons of each of many links."""
    rng = np.random.default_rng(seed)
    power = -np.array(STEPS_DB)[rng.integers(0, 4, (LINKS, PARAMS.beacons_per_epoch))]
    true = mean_dbm + SHOWN * power + PACKET_DB * rng.standard_normal(power.shape)
    arrives = rng.random(power.shape) < 1 / (1 + np.exp(sensitivity_dbm - true))
    noted = 10 * np.log10(10 ** (true / 10) + 10 ** (NOISE_DBM / 10))
    return power, noted, arrives


def compute_sums(heard: tuple[Any, Any, Any], params: Any) -> tuple[Any, Any]:
    """Slope and spread of each link that tells, as chain/rules/slopes.py sums them."""
    power, noted, arrives = heard
    count = np.maximum(1, arrives.sum(axis=1))
    full = np.where(arrives, noted - power, 0).sum(axis=1) / count
    is_strong = (arrives.sum(axis=1) > 1) & (100 * full >= params.slope_floor_cdbm)
    told = arrives & (100 * (full[:, None] + power) >= params.slope_reach_cdbm)
    count = np.maximum(1, told.sum(axis=1))
    means = [np.where(told, values, 0).sum(axis=1) / count for values in (power, noted)]
    centred = np.where(told, power - means[0][:, None], 0)
    slope = (centred * (noted - means[1][:, None])).sum(axis=1)
    tells = is_strong & (told.sum(axis=1) > 1)
    return slope * tells, (centred**2).sum(axis=1) * tells


def compute_deviations(mean_dbm: float, sensitivity_dbm: float, params: Any) -> float:
    """By how many deviations the slope of an honest witness lies above the cut, when it tells."""
    slope, spread = compute_sums(hear(mean_dbm, sensitivity_dbm, 7), params)
    if spread.mean() < SELDOM_DB2:
        return float("inf")
    shown = slope.sum() / spread.sum()
    links = params.slope_spread_min_db2 / spread.mean()
    deviation = sqrt(links * float((slope - shown * spread).var())) / params.slope_spread_min_db2
    return float(shown - params.slope_cut_percent / 100) / deviation


def chance(deviations: float) -> float:
    """Of a normal value below so many deviations."""
    return 0.5 * (1 - erf(deviations / sqrt(2)))


def worst(sensitivity_dbm: float, params: Any) -> float:
    """Over links from well below the floor to well above it."""
    return min(compute_deviations(mean, sensitivity_dbm, params) for mean in range(-84, -62, 2))


@pytest.mark.parametrize("sensitivity_dbm", [-92.0, -88.0, -85.0, LEAST_DBM])
def test_an_honest_receiver_goes_blind_less_than_once_in_a_million_looks(
    sensitivity_dbm: float,
) -> None:
    """Down to the least sensitive that the standard allows, at whatever strength its links are."""
    assert chance(worst(sensitivity_dbm, PARAMS)) < 1e-6


def test_by_the_first_rules_the_least_sensitive_went_blind() -> None:
    """Below -75 dBm at full power nothing told, but of what did the lowest steps got lost."""
    assert chance(worst(LEAST_DBM, BEFORE)) > 0.5
    assert chance(worst(-85.0, BEFORE)) > 1e-3


def test_who_hears_nothing_passes_as_seldom() -> None:
    """Its numbers have nothing to do with the steps: the slope is noise around zero."""
    deviation = PACKET_DB / sqrt(PARAMS.slope_spread_min_db2)
    assert chance(PARAMS.slope_cut_percent / 100 / deviation) < 1e-6
