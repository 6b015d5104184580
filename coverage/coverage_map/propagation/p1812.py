"""Recommendation ITU-R P.1812-8: basic transmission loss of one path, point to area, 30 MHz-6 GHz.

What is here is the Recommendation read aloud: one formula per function, scalar, in plain Python,
with every intermediate kept, so that a prediction can be explained line by line. Many links at
once go through `compute_losses`, whose compiled kernel (p1812_kernels.py) is held equal to this.

Path geometry and diffraction are in p1812_terrain.py. Internally distances are km, heights m,
frequencies GHz and angles mrad, as in the Recommendation; the doors take metres and Hz. Equation
numbers are those of Annex 1 (edition 8).
The digital maps of N0 and Delta-N are not redistributable: their values are inputs.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.propagation.p1812_terrain import (
    Diffraction1812,
    Geometry1812,
    compute_geometry,
    delta_bullington,
)

if TYPE_CHECKING:
    from coverage_map.propagation.profile import Profile

Floats = NDArray[np.float64]

EARTH_RADIUS_KM = 6371.0
K_BETA = 3.0  # effective earth radius factor exceeded for beta_0 % of time, eq. (7b)
SEA, COASTAL, INLAND = 1, 3, 4  # radio-climatic zones, table 3


class Warnings1812(enum.IntFlag):
    """Inputs outside what the Recommendation was fitted to: the result is an extrapolation."""

    NONE = 0
    FREQUENCY = 1  # below 30 MHz or above 6 GHz
    DISTANCE = 2  # below 0.25 km or above 3,000 km
    TIME_PERCENT = 4  # below 1 %
    LOCATION_PERCENT = 8  # below 1 % or above 99 %
    TRANSMITTER_HEIGHT = 16  # below 1 m or above 3,000 m above ground
    RECEIVER_HEIGHT = 32
    LATITUDE = 64  # beyond 80 degrees


@dataclass(frozen=True, slots=True)
class Link1812:
    """One link's inputs but its terrain.

    `location_sigma_db` None takes section 4.8's value for `resolution_m`; 0 switches location
    variability off. `entry_loss_db` is a building entry loss (ITU-R P.2109), added at the end.
    Coast distances are over land from each terminal, along the path (section 4.5).
    """

    frequency_hz: float
    transmitter_height_m: float
    receiver_height_m: float
    latitude_deg: float
    time_percent: float = 50.0
    vertical: bool = True
    delta_n: float = 45.0
    n0: float = 325.0
    location_percent: float = 50.0
    location_sigma_db: float | None = 0.0
    resolution_m: float = 100.0
    transmitter_coast_m: float = 500e3
    receiver_coast_m: float = 500e3
    entry_loss_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction1812:
    """A loss in dB with every step that led to it; `warnings` names inputs out of range."""

    loss_db: float
    warnings: Warnings1812
    geometry: Geometry1812
    sea_fraction: float
    longest_land_km: float
    longest_inland_km: float
    beta0_percent: float
    effective_radius_km: float
    interpolation_fi: float
    interpolation_fj: float
    interpolation_fk: float
    free_space_db: float
    los_p_db: float
    los_beta_db: float
    median: Diffraction1812
    beta: Diffraction1812
    diffraction_p_db: float
    median_total_db: float
    diffraction_total_db: float
    minimum_los_db: float
    ducting_db: float
    minimum_ducting_db: float
    enhanced_diffraction_db: float
    modified_db: float
    troposcatter_db: float
    combined_db: float
    location_db: float
    field_dbuv_m: float  # for 1 kW e.r.p., eq. (70)


def compute_loss(profile: Profile, link: Link1812) -> Prediction1812:
    """Basic transmission loss not exceeded for `time_percent` of an average year, Annex 1.

    Raises ValueError for a link or profile that no formula describes; what is merely outside the
    validity range sets a flag in `warnings`.
    """
    _refuse_impossible(profile, link)
    ghz = link.frequency_hz / 1e9
    d = [float(x) / 1000.0 for x in profile.distance_m]
    h = [float(x) for x in profile.ground_m]
    g = [float(a) + float(b) for a, b in zip(profile.ground_m, profile.clutter_m, strict=True)]
    g[0], g[-1] = h[0], h[-1]
    zones = [int(z) for z in profile.zones]
    sea = path_fraction(d, [z == SEA for z in zones])
    land_km = longest_section_km(d, [z in (COASTAL, INLAND) for z in zones])
    inland_km = longest_section_km(d, [z == INLAND for z in zones])
    beta0 = beta0_percent(link.latitude_deg, land_km, inland_km)
    radius = median_radius_km(link.delta_n)
    geometry = compute_geometry(
        d, h, link.transmitter_height_m, link.receiver_height_m, radius, ghz
    )
    coasts = (
        0.0 if zones[0] == SEA else link.transmitter_coast_m / 1000.0,
        0.0 if zones[-1] == SEA else link.receiver_coast_m / 1000.0,
    )
    total = d[-1] - d[0]
    p = link.time_percent
    free, los_p, los_beta = line_of_sight_losses_db(geometry, ghz, p, beta0)
    median = delta_bullington(d, g, geometry, radius, ghz, sea, link.vertical)
    beta = delta_bullington(
        d, g, geometry, K_BETA * EARTH_RADIUS_KM, ghz, sea, link.vertical
    )
    fi = time_interpolation(p, beta0)
    diffraction_p = median.loss_db + fi * (beta.loss_db - median.loss_db)  # eq. (41)
    fj = angle_interpolation(geometry.angular_distance_mrad)
    fk = distance_interpolation(total)
    median_total = free + median.loss_db  # eq. (42)
    diffraction_total = los_p + diffraction_p  # eq. (43)
    minimum_los = minimum_los_db(
        p, beta0, fi, los_p, los_beta, diffraction_p, median_total, sea
    )
    ducting = ducting_db(geometry, ghz, p, sea, radius, beta0, inland_km, coasts)
    minimum_ducting = soft_maximum_db(ducting, los_p)
    enhanced = enhanced_diffraction_db(minimum_ducting, diffraction_total, fk)
    modified = enhanced + (minimum_los - enhanced) * fj  # eq. (62)
    scatter = troposcatter_db(total, geometry.angular_distance_mrad, ghz, p, link.n0)
    combined = combine_db(scatter, modified)
    location = 0.0 if zones[-1] == SEA else location_db(link, float(profile.clutter_m[-1]))
    outdoors = max(los_p, combined + location)  # eq. (69)
    return Prediction1812(
        loss_db=outdoors + link.entry_loss_db,
        warnings=get_warnings(link, total),
        geometry=geometry,
        sea_fraction=sea,
        longest_land_km=land_km,
        longest_inland_km=inland_km,
        beta0_percent=beta0,
        effective_radius_km=radius,
        interpolation_fi=fi,
        interpolation_fj=fj,
        interpolation_fk=fk,
        free_space_db=free,
        los_p_db=los_p,
        los_beta_db=los_beta,
        median=median,
        beta=beta,
        diffraction_p_db=diffraction_p,
        median_total_db=median_total,
        diffraction_total_db=diffraction_total,
        minimum_los_db=minimum_los,
        ducting_db=ducting,
        minimum_ducting_db=minimum_ducting,
        enhanced_diffraction_db=enhanced,
        modified_db=modified,
        troposcatter_db=scatter,
        combined_db=combined,
        location_db=location,
        field_dbuv_m=199.36 + 20.0 * math.log10(ghz) - outdoors,
    )


def compute_losses(
    ground_m: ArrayLike,
    links: Sequence[Link1812],
    length_m: ArrayLike,
    clutter_m: ArrayLike | None = None,
    fraction: ArrayLike | None = None,
    zones: ArrayLike | None = None,
) -> Floats:
    """Losses in dB of many links at once, compiled (float64, equal to `compute_loss`).

    `ground_m` is (links, points), `length_m` (links,); `clutter_m` and `zones` are shaped like
    `ground_m`; `fraction` (points,) places the points along every path (default: evenly).
    """
    from coverage_map.propagation import p1812_batch

    return p1812_batch.compute_losses(ground_m, links, length_m, clutter_m, fraction, zones)


def get_warnings(link: Link1812, distance_km: float) -> Warnings1812:
    """Flags for inputs outside section 1's and table 1's ranges."""
    flags = Warnings1812.NONE
    outside = (
        (not 30e6 <= link.frequency_hz <= 6e9, Warnings1812.FREQUENCY),
        (not 0.25 <= distance_km <= 3000.0, Warnings1812.DISTANCE),
        (link.time_percent < 1.0, Warnings1812.TIME_PERCENT),
        (not 1.0 <= link.location_percent <= 99.0, Warnings1812.LOCATION_PERCENT),
        (not 1.0 <= link.transmitter_height_m <= 3000.0, Warnings1812.TRANSMITTER_HEIGHT),
        (not 1.0 <= link.receiver_height_m <= 3000.0, Warnings1812.RECEIVER_HEIGHT),
        (abs(link.latitude_deg) > 80.0, Warnings1812.LATITUDE),
    )
    for is_outside, flag in outside:
        flags |= flag if is_outside else Warnings1812.NONE
    return flags


def refuse_impossible_link(link: Link1812) -> None:
    """Raise ValueError, naming field and remedy, for what no formula describes."""
    rules = (
        (link.frequency_hz > 0.0, "frequency_hz: not positive; give Hz, such as 868e6"),
        (0.0 < link.time_percent <= 50.0, "time_percent: outside (0, 50]; P.1812 stops at 50"),
        (0.0 < link.location_percent < 100.0, "location_percent: outside (0, 100); give percent"),
        (link.transmitter_height_m > 0.0, "transmitter_height_m: not positive; give m above soil"),
        (link.receiver_height_m > 0.0, "receiver_height_m: not positive; give m above soil"),
        (abs(link.latitude_deg) <= 90.0, "latitude_deg: outside -90..90; give degrees north"),
        (link.delta_n < 157.0, "delta_n: 157 or more; give the lapse rate in N-units/km, about 45"),
        (
            link.location_sigma_db is None or link.location_sigma_db >= 0.0,
            "location_sigma_db: negative; give dB, or None for section 4.8",
        ),
        (
            link.transmitter_coast_m >= 0.0 and link.receiver_coast_m >= 0.0,
            "coast distance: negative; give metres over land to the coast",
        ),
    )
    for holds, message in rules:
        if not holds:
            raise ValueError(message)


def _refuse_impossible(profile: Profile, link: Link1812) -> None:
    refuse_impossible_link(link)
    if len(profile.distance_m) < 3:
        raise ValueError("profile: fewer than three points; sample the terrain between the ends")


# --- section 3: climate and path ------------------------------------------------------------


def _sections(inside: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    runs: list[tuple[int, int]] = []
    for i, member in enumerate(inside):
        if member and runs and runs[-1][1] == i - 1:
            runs[-1] = (runs[-1][0], i)
        elif member:
            runs.append((i, i))
    return runs


def _section_km(d: Sequence[float], first: int, last: int) -> float:
    """A run's length: each end reaches half way to the neighbouring point of another zone."""
    length = d[last] - d[first]
    if last < len(d) - 1:
        length += (d[last + 1] - d[last]) / 2.0
    if first > 0:
        length += (d[first] - d[first - 1]) / 2.0
    return length


def path_fraction(d: Sequence[float], inside: Sequence[bool]) -> float:
    """Share of the path within a zone (omega over sea), eq. (1)."""
    covered = sum(_section_km(d, a, b) for a, b in _sections(inside))
    return covered / (d[-1] - d[0])


def longest_section_km(d: Sequence[float], inside: Sequence[bool]) -> float:
    """Longest continuous section within a zone (d_tm, d_lm), section 3.6."""
    return max((_section_km(d, a, b) for a, b in _sections(inside)), default=0.0)


def land_factor(inland_km: float) -> float:
    """tau, eq. (3)."""
    return 1.0 - math.exp(-(4.12e-4 * math.pow(inland_km, 2.41)))


def beta0_percent(latitude_deg: float, land_km: float, inland_km: float) -> float:
    """Time for which the lapse rate exceeds 100 N-units/km near the ground, eq. (2) to (5)."""
    tau = land_factor(inland_km)
    mu1 = math.pow(10.0, -land_km / (16.0 - 6.6 * tau))
    mu1 = min(math.pow(mu1 + math.pow(10.0, -5.0 * (0.496 + 0.354 * tau)), 0.2), 1.0)
    latitude = abs(latitude_deg)
    if latitude > 70.0:
        return 4.17 * mu1 * math.pow(mu1, 0.3)
    mu4 = math.pow(mu1, -0.935 + 0.0176 * latitude)
    return math.pow(10.0, -0.015 * latitude + 1.67) * mu1 * mu4


def median_radius_km(delta_n: float) -> float:
    """Median effective earth radius a_e, eq. (6) and (7a)."""
    return EARTH_RADIUS_KM * 157.0 / (157.0 - delta_n)


# --- section 4.2: line of sight -------------------------------------------------------------


def line_of_sight_losses_db(
    geometry: Geometry1812, ghz: float, p: float, beta0: float
) -> tuple[float, float, float]:
    """L_bfs, L_b0p and L_b0beta, eq. (8) to (11)."""
    rise_km = (geometry.transmitter_amsl_m - geometry.receiver_amsl_m) / 1000.0
    slant2 = geometry.distance_km**2 + rise_km**2
    free = 92.4 + 20.0 * math.log10(ghz) + 10.0 * math.log10(slant2)
    horizons = geometry.horizon_transmitter_km + geometry.horizon_receiver_km
    depth = 2.6 * (1.0 - math.exp(-0.1 * horizons))
    return free, free + depth * math.log10(p / 50.0), free + depth * math.log10(beta0 / 50.0)


def inverse_normal(x: float) -> float:
    """I(x): inverse complementary cumulative normal distribution, Attachment 2, eq. (96)."""
    tail = min(max(x, 1e-6), 0.999999)
    upper = tail > 0.5
    t = math.sqrt(-2.0 * math.log(1.0 - tail if upper else tail))
    top = (0.010328 * t + 0.802853) * t + 2.515516698
    bottom = ((0.001308 * t + 0.189269) * t + 1.432788) * t + 1.0
    return -(t - top / bottom) if upper else t - top / bottom


def time_interpolation(p: float, beta0: float) -> float:
    """F_i, eq. (40)."""
    if p == 50.0:
        return inverse_normal(0.5) / inverse_normal(beta0 / 100.0) if beta0 <= p else 1.0
    return inverse_normal(p / 100.0) / inverse_normal(beta0 / 100.0) if p > beta0 else 1.0


# --- sections 4.4 to 4.7: the other mechanisms and their combination ------------------------


def troposcatter_db(d_km: float, angle_mrad: float, ghz: float, p: float, n0: float) -> float:
    """L_bs, eq. (44) and (45)."""
    frequency = 25.0 * math.log10(ghz) - 2.5 * math.log10(ghz / 2.0) ** 2
    loss = 190.1 + frequency + 20.0 * math.log10(d_km) + 0.573 * angle_mrad - 0.15 * n0
    return loss - 10.125 * math.pow(math.log10(50.0 / p), 0.7)


def ducting_db(
    geometry: Geometry1812,
    ghz: float,
    p: float,
    sea: float,
    radius: float,
    beta0: float,
    inland_km: float,
    coasts_km: tuple[float, float],
) -> float:
    """L_ba: ducting and layer reflection, eq. (46) to (56)."""
    dlt, dlr = geometry.horizon_transmitter_km, geometry.horizon_receiver_km
    fixed = 102.45 + 20.0 * math.log10(ghz) + 20.0 * math.log10(dlt + dlr)
    fixed += 45.375 - 137.0 * ghz + 92.5 * ghz * ghz if ghz < 0.5 else 0.0
    angle = 1000.0 * geometry.distance_km / radius
    terminals = (
        (dlt, geometry.elevation_transmitter_mrad, coasts_km[0], geometry.transmitter_amsl_m),
        (dlr, geometry.elevation_receiver_mrad, coasts_km[1], geometry.receiver_amsl_m),
    )
    for horizon, elevation, coast, amsl in terminals:
        fixed += site_shielding_db(elevation - 0.1 * horizon, horizon, ghz)
        fixed += sea_duct_coupling_db(coast, horizon, sea, amsl)
        angle += min(elevation, 0.1 * horizon)  # eq. (52)
    angular = 5e-5 * radius * math.pow(ghz, 1.0 / 3.0) * angle
    beta = beta0 * duct_geometry_factor(geometry, radius, inland_km)
    beta *= roughness_factor(geometry)
    return fixed + angular + duct_time_db(geometry.distance_km, p, beta)


def site_shielding_db(excess_mrad: float, horizon_km: float, ghz: float) -> float:
    """A_st or A_sr, eq. (48)."""
    if excess_mrad <= 0.0:
        return 0.0
    shield = 20.0 * math.log10(1.0 + 0.361 * excess_mrad * math.sqrt(ghz * horizon_km))
    return shield + 0.264 * excess_mrad * math.pow(ghz, 1.0 / 3.0)


def sea_duct_coupling_db(coast_km: float, horizon_km: float, sea: float, amsl_m: float) -> float:
    """A_ct or A_cr, eq. (49)."""
    if coast_km > 5.0 or coast_km > horizon_km or sea < 0.75:
        return 0.0
    return -3.0 * math.exp(-0.25 * coast_km**2) * (1.0 + math.tanh(0.07 * (50.0 - amsl_m)))


def duct_geometry_factor(geometry: Geometry1812, radius: float, inland_km: float) -> float:
    """mu_2, eq. (55)."""
    d = geometry.distance_km
    alpha = max(-0.6 - 3.5e-9 * math.pow(d, 3.1) * land_factor(inland_km), -3.4)
    root = math.sqrt(geometry.effective_transmitter_m) + math.sqrt(geometry.effective_receiver_m)
    return min(math.pow(500.0 / radius * d**2 / root**2, alpha), 1.0)


def roughness_factor(geometry: Geometry1812) -> float:
    """mu_3, eq. (56)."""
    between = geometry.distance_km - geometry.horizon_transmitter_km
    between = min(between - geometry.horizon_receiver_km, 40.0)
    excess = geometry.roughness_m - 10.0
    return math.exp(-4.6e-5 * excess * (43.0 + 6.0 * between)) if excess > 0.0 else 1.0


def duct_time_db(d: float, p: float, beta: float) -> float:
    """A(p), eq. (53)."""
    log_beta = math.log10(beta)
    decay = (9.51 - 4.8 * log_beta + 0.198 * log_beta**2) * 1e-6 * math.pow(d, 1.13)
    gamma = 1.076 / math.pow(2.0058 - log_beta, 1.012) * math.exp(-decay)
    ratio = p / beta
    return -12.0 + (1.2 + 3.7e-3 * d) * math.log10(ratio) + 12.0 * math.pow(ratio, gamma)


def angle_interpolation(angle_mrad: float) -> float:
    """F_j, eq. (57)."""
    return 1.0 - 0.5 * (1.0 + math.tanh(3.0 * 0.8 * (angle_mrad - 0.3) / 0.3))


def distance_interpolation(d_km: float) -> float:
    """F_k, eq. (58)."""
    return 1.0 - 0.5 * (1.0 + math.tanh(3.0 * 0.5 * (d_km - 20.0) / 20.0))


def minimum_los_db(
    p: float, beta0: float, fi: float, los_p: float, los_beta: float, diffraction_p: float,
    median_total: float, sea: float,
) -> float:
    """L_minb0p, eq. (59)."""
    if p < beta0:
        return los_p + (1.0 - sea) * diffraction_p
    return median_total + (los_beta + (1.0 - sea) * diffraction_p - median_total) * fi


def soft_maximum_db(ducting: float, los_p: float) -> float:
    """L_minbap, eq. (60), written so that large losses don't overflow."""
    high, low = max(ducting, los_p), min(ducting, los_p)
    return high + 2.5 * math.log1p(math.exp((low - high) / 2.5))


def enhanced_diffraction_db(minimum_ducting: float, diffraction: float, fk: float) -> float:
    """L_bda, eq. (61)."""
    if minimum_ducting > diffraction:
        return diffraction
    return minimum_ducting + (diffraction - minimum_ducting) * fk


def combine_db(first: float, second: float) -> float:
    """L_bc: two mechanisms' powers joined with exponent 0.2, eq. (63), without overflow."""
    low = min(first, second)
    return low - 5.0 * math.log10(1.0 + math.pow(10.0, -0.2 * abs(first - second)))


def location_sigma_db(
    frequency_hz: float, receiver_height_m: float, clutter_m: float, resolution_m: float
) -> float:
    """Standard deviation over places within a square of resolution_m, sections 4.8 and 4.10."""
    sigma = (0.52 + 0.024 * frequency_hz / 1e9) * math.pow(resolution_m, 0.28)
    return sigma * min(max(1.0 - (receiver_height_m - clutter_m) / 10.0, 0.0), 1.0)


def location_db(link: Link1812, clutter_m: float) -> float:
    """L_loc not exceeded at location_percent of places, eq. (67)."""
    sigma = link.location_sigma_db
    if sigma is None:
        sigma = location_sigma_db(
            link.frequency_hz, link.receiver_height_m, clutter_m, link.resolution_m
        )
    return -inverse_normal(link.location_percent / 100.0) * sigma
