"""What a hotspot's signal should be where nobody measured it: physics, corrected by its own links.

For one hotspot the error of the physics is modelled as a Gaussian process over the ground: a
constant that all places share (antenna, mounting, calibration: the hotspot's offset) plus shadowing
that is alike at places near each other (exponential in distance, Gudmundson 1991) plus noise of the
measurement. Its links are the samples. Mean and variance at a cell follow in closed form (Rasmussen
and Williams, Gaussian Processes for Machine Learning, eqs. 2.25 and 2.26), leave-one-out errors too
(eqs. 5.10 and 5.11); these scale all deviations so that intervals hold what they say.

Known bias: a link exists only where a beacon was heard at all, so far places look too good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.cells import Cells, centres, disk, distance_m
from coverage_map.observations import Site
from coverage_map.propagation.pathloss import (
    SHADOWING_SIGMA_DB,
    umi_los_db,
    umi_los_probability,
    umi_nlos_db,
)

Floats = NDArray[np.float64]

DEVICE_HEIGHT_M = 1.5  # a phone in a hand, 38.901's lowest terminal
TERMINAL_HEIGHT_MAX_M = 22.5  # 38.901's highest
# Some 15 dB below what 1 Mb/s needs: far enough to draw where service surely ends.
FLOOR_DBM = -110.0
RANGE_MAX_M = 3_000.0
OFFSET_SIGMA_DB = 4.0  # spread of hotspots' offsets: antenna patterns, cables, drivers
NOISE_SIGMA_DB = 1.5  # a link's median: fading averaged out, 1 dB steps of the driver left
# Shadowing and the change between clear and blocked together: longer than table 7.5-6's 13 m,
# because a street that is blocked stays so for a house or two.
CORRELATION_M = 60.0
LINKS_MAX = 96
CALIBRATION_LINKS = 50
Z_90 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class LinkSample:
    """The typical signal at one witness: median in dBm at an isotropic antenna."""

    latitude_deg: float
    longitude_deg: float
    height_m: float
    median_dbm: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A hotspot's Gaussian process: sample positions, K^-1 and K^-1 times the residuals."""

    latitudes: Floats
    longitudes: Floats
    sigmas_db: Floats
    precision: Floats
    weights: Floats
    offset_db: float
    loo_scores: Floats


@dataclass(frozen=True, slots=True)
class Footprint:
    """A hotspot's predicted signal: sorted cells of a resolution, mean dBm, deviation dB."""

    server: int
    cells: Cells
    mean_dbm: Floats
    sd_db: Floats


def baseline_dbm(
    site: Site, metres: ArrayLike, terminal_height_m: ArrayLike = DEVICE_HEIGHT_M
) -> tuple[Floats, Floats]:
    """Mean signal in dBm at a horizontal distance, and its standard deviation in dB.

    UMi street canyon, clear and blocked path weighed by the probability of line of sight; the
    deviation holds both shadowings and the gap between the two means (law of total variance).
    """
    frequency_hz = site.frequency_mhz * 1e6
    height_m = max(float(site.height_m), DEVICE_HEIGHT_M)
    terminal_m = np.clip(terminal_height_m, DEVICE_HEIGHT_M, TERMINAL_HEIGHT_MAX_M)
    clear = umi_los_db(metres, frequency_hz, height_m, terminal_m)
    blocked = umi_nlos_db(metres, frequency_hz, height_m, terminal_m)
    share = umi_los_probability(metres)
    loss_db = share * clear + (1.0 - share) * blocked
    variance = share * SHADOWING_SIGMA_DB["umi_los"] ** 2
    variance = variance + (1.0 - share) * SHADOWING_SIGMA_DB["umi_nlos"] ** 2
    variance = variance + share * (1.0 - share) * (blocked - clear) ** 2
    return site.eirp_cdbm / 100.0 - loss_db, np.sqrt(variance)


def fit(site: Site, samples: list[LinkSample]) -> Fit:
    """Learn a hotspot's offset and residual field from its links; with none, the prior remains."""
    table = np.array(
        [(s.latitude_deg, s.longitude_deg, s.height_m, s.median_dbm) for s in samples], np.float64
    ).reshape(-1, 4)
    metres = distance_m(site.latitude_deg, site.longitude_deg, table[:, 0], table[:, 1])
    nearest = np.argsort(metres, kind="stable")[:LINKS_MAX]
    table, metres = table[nearest], metres[nearest]
    mean, sigma = baseline_dbm(site, metres, table[:, 2])
    residual = table[:, 3] - mean
    between = distance_m(table[:, 0, None], table[:, 1, None], table[None, :, 0], table[None, :, 1])
    covariance = OFFSET_SIGMA_DB**2 + np.outer(sigma, sigma) * np.exp(-between / CORRELATION_M)
    noise = NOISE_SIGMA_DB**2 * np.eye(len(table))
    precision = np.asarray(np.linalg.inv(covariance + noise), np.float64)
    weights = precision @ residual
    scores = weights / np.sqrt(np.diag(precision)) if len(table) > 1 else np.empty(0)
    offset_db = float(OFFSET_SIGMA_DB**2 * weights.sum())
    return Fit(table[:, 0], table[:, 1], sigma, precision, weights, offset_db, scores)


def predict(
    site: Site, learned: Fit, latitudes: Floats, longitudes: Floats
) -> tuple[Floats, Floats]:
    """Mean dBm and standard deviation dB at positions on the ground, before calibration."""
    metres = distance_m(site.latitude_deg, site.longitude_deg, latitudes, longitudes)
    mean, sigma = baseline_dbm(site, metres)
    prior = OFFSET_SIGMA_DB**2 + sigma**2
    if not len(learned.weights):
        return mean, np.sqrt(prior)
    apart = distance_m(
        latitudes[:, None], longitudes[:, None], learned.latitudes, learned.longitudes
    )
    cross = sigma[:, None] * learned.sigmas_db * np.exp(-apart / CORRELATION_M)
    cross += OFFSET_SIGMA_DB**2
    explained = ((cross @ learned.precision) * cross).sum(axis=1)
    return mean + cross @ learned.weights, np.sqrt(np.maximum(prior - explained, 1.0))


def range_m(site: Site, offset_db: float) -> float:
    """Distance at which the mean falls below the floor for good, at most RANGE_MAX_M."""
    metres = np.arange(10.0, RANGE_MAX_M + 10.0, 10.0)
    audible = np.flatnonzero(baseline_dbm(site, metres)[0] + offset_db >= FLOOR_DBM)
    return float(metres[audible[-1]]) if len(audible) else 0.0


def footprint(site: Site, learned: Fit, resolution: int) -> Footprint:
    """Predicted signal in every cell where the hotspot's mean is above the floor."""
    cells = disk(
        site.latitude_deg, site.longitude_deg, range_m(site, learned.offset_db), resolution
    )
    places = centres(cells)
    mean, sd = predict(site, learned, places[:, 0], places[:, 1])
    audible = mean >= FLOOR_DBM
    return Footprint(site.index, cells[audible], mean[audible], sd[audible])


def calibration(fits: list[Fit]) -> float:
    """Factor on all deviations that puts 90 % of the leave-one-out errors inside their 90 %.

    Drawn towards 1 while there are few links.
    """
    scores = np.concatenate([f.loo_scores for f in fits]) if fits else np.empty(0)
    if not len(scores):
        return 1.0
    found = float(np.quantile(np.abs(scores), 0.9)) / Z_90
    drawn = len(scores) / (len(scores) + CALIBRATION_LINKS)
    return float(np.clip(found, 0.5, 2.0) ** drawn)
