"""ITU-R P.1812-8 compiled: the formulas of p1812.py fused for many links (imports Numba).

Terrain enters as what a profile does to a path: a handful of maxima and two weighted sums. A path
of its own gets them by one scan (`scan_profile`), the cells of a radial sweep from running hulls
(p1812_area.py); `loss_of` then knows nothing of points. Distances are fractions x of the path, so
that one table serves every link of a batch; slopes are multiplied by the path length accordingly.

Heights m, distances km, frequencies GHz, angles mrad; equation numbers are those of p1812.py.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import njit

Floats = NDArray[np.float64]
# What a profile does to a path: smooth surface at both ends, h_obs and its two slopes (eq. 89),
# horizon distances km, elevation angles mrad, h_m, Bullington's nu for a_e and for a_beta.
Terrain = tuple[
    float, float, float, float, float, float, float, float, float, float, float, float
]

EARTH_RADIUS_KM = 6371.0
BETA_RADIUS_KM = 3.0 * EARTH_RADIUS_KM
WAVELENGTH_M_GHZ = 0.2998
LOWEST = -1e300
COLUMNS = (
    "length_km", "ghz", "p", "vertical", "radius_km", "n0", "transmitter_m", "receiver_m",
    "latitude_deg", "sea", "land_km", "inland_km", "coast_t_km", "coast_r_km", "location_db",
    "entry_db",
    # of frequency and time alone, computed once by p1812_batch
    "log_ghz", "cube_ghz", "log_p_50", "normal_p", "scatter_p_db",
)  # fmt: skip


@njit(cache=True)
def knife_edge_db(nu: float) -> float:
    """J(nu), eq. (12)."""
    if nu <= -0.78:
        return 0.0
    return 6.9 + 20.0 * math.log10(math.sqrt((nu - 0.1) ** 2 + 1.0) + nu - 0.1)


@njit(cache=True)
def bullington_db(nu: float, length_km: float) -> float:
    """Bullington loss from its diffraction parameter, eq. (21)."""
    edge = knife_edge_db(nu)
    if edge == 0.0:
        return 0.0
    return edge + (1.0 - math.exp(-edge / 6.0)) * (10.0 + 0.02 * length_km)


@njit(cache=True)
def bullington_point_nu(
    rising: float, falling: float, hts: float, hrs: float, scale: float
) -> float:
    """Parameter of the Bullington point from both slopes times length, eq. (18) to (20)."""
    x = (hrs - hts + falling) / (rising + falling)
    return (hts + rising * x - (hts * (1.0 - x) + hrs * x)) * scale / math.sqrt(x * (1.0 - x))


@njit(cache=True)
def nu_scale(length_km: float, ghz: float) -> float:
    """What turns clearance / sqrt(x (1 - x)) into nu, eq. (15)."""
    return math.sqrt(0.002 / (WAVELENGTH_M_GHZ / ghz * length_km))


@njit(cache=True)
def locate(x: Floats, first: int, last: int, value: float) -> int:
    """Index i in first..last-1 with x[i] <= value < x[i+1], by a guess that even steps hit."""
    span = x[last] - x[first]
    i = first + int((value - x[first]) / span * (last - first))
    i = min(max(i, first), last - 1)
    while i < last - 1 and x[i + 1] <= value:
        i += 1
    while i > first and x[i] > value:
        i -= 1
    return i


@njit(cache=True)
def smooth_rising(x: Floats, last: int, unit: float, bulge: float, height: float) -> float:
    """Steepest slope to a smooth earth: max over points of bulge (1 - x) - height / x.

    Unimodal in x with its top at sqrt(height / bulge), so two neighbours decide (eq. 13, g = 0).
    """
    top = math.sqrt(height / bulge) / unit
    i = locate(x, 1, last - 1, top) if last > 2 else 1
    here: float = bulge * (1.0 - x[i] * unit) - height / (x[i] * unit)
    if i + 1 < last:
        y = x[i + 1] * unit
        here = max(here, bulge * (1.0 - y) - height / y)
    return here


@njit(cache=True)
def smooth_falling(x: Floats, last: int, unit: float, bulge: float, height: float) -> float:
    """The same seen from the receiver, eq. (17) with g = 0."""
    top = (1.0 - math.sqrt(height / bulge)) / unit
    i = locate(x, 1, last - 1, top) if last > 2 else 1
    y = x[i] * unit
    here: float = bulge * y - height / (1.0 - y)
    if i + 1 < last:
        y = x[i + 1] * unit
        here = max(here, bulge * y - height / (1.0 - y))
    return here


@njit(cache=True)
def smooth_clear(
    x: Floats, last: int, unit: float, bulge: float, hte: float, hre: float
) -> float:
    """Largest clearance ratio of a smooth earth in line of sight, eq. (15) with g = 0.

    (bulge x (1-x) - line) / sqrt(x (1-x)) has one maximum only (its derivative, in t^2 = x/(1-x),
    is a cubic with one change of sign), so halving finds the best point.
    """
    low, high = 1, last - 1
    while low < high:
        middle = (low + high) // 2
        left = _clear_at(x[middle] * unit, bulge, hte, hre)
        right = _clear_at(x[middle + 1] * unit, bulge, hte, hre)
        if left < right:
            low = middle + 1
        else:
            high = middle
    return _clear_at(x[low] * unit, bulge, hte, hre)


@njit(cache=True)
def _clear_at(x: float, bulge: float, hte: float, hre: float) -> float:
    product = x * (1.0 - x)
    return (bulge * product - (hte * (1.0 - x) + hre * x)) / math.sqrt(product)


@njit(cache=True)
def smooth_nu(
    x: Floats, last: int, unit: float, bulge: float, hte: float, hre: float, scale: float
) -> float:
    """Bullington's nu over a smooth earth at the profile's own points (L_bulls)."""
    rising = smooth_rising(x, last, unit, bulge, hte)
    if rising < hre - hte:
        return smooth_clear(x, last, unit, bulge, hte, hre) * scale
    falling = smooth_falling(x, last, unit, bulge, hre)
    return bullington_point_nu(rising, falling, hte, hre, scale)


@njit(cache=True)
def height_gain_db(b: float, floor: float) -> float:
    """G(Y), eq. (34) and (35)."""
    if b > 2.0:
        gain = 17.6 * math.sqrt(b - 1.1) - 5.0 * math.log10(b - 1.1) - 8.0
    else:
        gain = 20.0 * math.log10(b + 0.1 * b * b * b)
    return max(gain, floor)


@njit(cache=True)
def first_term_db(
    permittivity: float, conductivity: float, d: float, hte: float, hre: float, radius: float,
    ghz: float, cube: float, vertical: bool,
) -> float:  # fmt: skip
    """First term of spherical-earth diffraction, eq. (29) to (36)."""
    loss = (18.0 * conductivity / ghz) ** 2
    cube_radius: float = np.cbrt(radius)
    k: float = 0.036 / (cube_radius * cube)
    k /= math.sqrt(math.sqrt((permittivity - 1.0) ** 2 + loss))
    if vertical:
        k *= math.sqrt(permittivity**2 + loss)
    k2 = k * k
    beta = (1.0 + 1.6 * k2 + 0.67 * k2 * k2) / (1.0 + 4.5 * k2 + 1.53 * k2 * k2)
    x: float = 21.88 * beta * cube / (cube_radius * cube_radius) * d
    y: float = 0.9575 * beta * beta * cube * cube / cube_radius
    if x >= 1.6:
        fx = 11.0 + 10.0 * math.log10(x) - 17.6 * x
    else:
        fx = -20.0 * math.log10(x) - 5.6488 * math.pow(x, 1.425)
    floor = 2.0 + 20.0 * math.log10(k)
    return -fx - height_gain_db(y * hte, floor) - height_gain_db(y * hre, floor)


@njit(cache=True)
def mixed_first_term_db(
    d: float, hte: float, hre: float, radius: float, wave: tuple[float, float], sea: float,
    vertical: bool,
) -> float:  # fmt: skip
    """First term over land and sea by their shares, eq. (28); `wave` is f and its cube root."""
    mixed = 0.0
    ghz, cube = wave
    if sea < 1.0:
        mixed = (1.0 - sea) * first_term_db(22.0, 0.003, d, hte, hre, radius, ghz, cube, vertical)
    if sea > 0.0:
        mixed += sea * first_term_db(80.0, 5.0, d, hte, hre, radius, ghz, cube, vertical)
    return mixed


@njit(cache=True)
def spherical_db(
    d: float, hte: float, hre: float, radius: float, wave: tuple[float, float], sea: float,
    vertical: bool,
) -> float:  # fmt: skip
    """Spherical-earth diffraction loss, eq. (22) to (27)."""
    root_t, root_r = math.sqrt(hte), math.sqrt(hre)
    if d >= math.sqrt(0.002 * radius) * (root_t + root_r):
        return mixed_first_term_db(d, hte, hre, radius, wave, sea, vertical)
    c = (hte - hre) / (hte + hre)
    m = 250.0 * d * d / (radius * (hte + hre))
    turn = math.acos(1.5 * c * math.sqrt(3.0 * m / (m + 1.0) ** 3))
    b = 2.0 * math.sqrt((m + 1.0) / (3.0 * m)) * math.cos((math.pi + turn) / 3.0)
    d1 = d / 2.0 * (1.0 + b)
    d2 = d - d1
    clearance = (hte - 500.0 * d1 * d1 / radius) * d2 + (hre - 500.0 * d2 * d2 / radius) * d1
    clearance /= d
    required = 17.456 * math.sqrt(d1 * d2 * (WAVELENGTH_M_GHZ / wave[0]) / d)
    if clearance > required:
        return 0.0
    grazing = 500.0 * (d / (root_t + root_r)) ** 2
    first = mixed_first_term_db(d, hte, hre, grazing, wave, sea, vertical)
    return (1.0 - clearance / required) * max(first, 0.0)


@njit(cache=True)
def inverse_normal(x: float) -> float:
    """I(x), Attachment 2, eq. (96)."""
    tail = min(max(x, 1e-6), 0.999999)
    sign = 1.0
    if tail > 0.5:
        tail, sign = 1.0 - tail, -1.0
    t = math.sqrt(-2.0 * math.log(tail))
    top = (0.010328 * t + 0.802853) * t + 2.515516698
    return sign * (t - top / (((0.001308 * t + 0.189269) * t + 1.432788) * t + 1.0))


@njit(cache=True)
def land_factor(inland_km: float) -> float:
    """tau, eq. (3)."""
    return 1.0 - math.exp(-(4.12e-4 * math.pow(inland_km, 2.41)))


@njit(cache=True)
def beta0_percent(latitude_deg: float, land_km: float, tau: float) -> float:
    """beta_0, eq. (2) to (5); powers of ten as exponentials."""
    ln10 = math.log(10.0)
    mu1 = math.exp(-ln10 * land_km / (16.0 - 6.6 * tau))
    log_mu1 = min(0.2 * math.log(mu1 + math.exp(-5.0 * ln10 * (0.496 + 0.354 * tau))), 0.0)
    latitude = abs(latitude_deg)
    if latitude > 70.0:
        return 4.17 * math.exp(1.3 * log_mu1)
    power = 1.0 - 0.935 + 0.0176 * latitude
    return math.exp(ln10 * (-0.015 * latitude + 1.67) + power * log_mu1)


@njit(cache=True)
def ducting_db(
    row: Floats, dlt: float, dlr: float, theta_t: float, theta_r: float, roughness: float,
    hts: float, hrs: float, hte: float, hre: float, beta0: float, tau: float,
) -> float:  # fmt: skip
    """L_ba, eq. (46) to (56)."""
    d, ghz, p = float(row[0]), float(row[1]), float(row[2])
    radius, sea = float(row[4]), float(row[9])
    cube = float(row[17])
    fixed: float = 102.45 + 20.0 * (row[16] + math.log10(dlt + dlr))
    if ghz < 0.5:
        fixed += 45.375 - 137.0 * ghz + 92.5 * ghz * ghz
    fixed += _terminal_db(theta_t - 0.1 * dlt, dlt, ghz, cube, row[12], sea, hts)
    fixed += _terminal_db(theta_r - 0.1 * dlr, dlr, ghz, cube, row[13], sea, hrs)
    angle = 1000.0 * d / radius + min(theta_t, 0.1 * dlt) + min(theta_r, 0.1 * dlr)
    log_d = math.log(d)
    alpha = max(-0.6 - 3.5e-9 * math.exp(3.1 * log_d) * tau, -3.4)
    mu2 = math.log(500.0 / radius * (d / (math.sqrt(hte) + math.sqrt(hre))) ** 2) * alpha
    log_beta = math.log(beta0) + min(mu2, 0.0)
    if roughness > 10.0:
        log_beta -= 4.6e-5 * (roughness - 10.0) * (43.0 + 6.0 * min(d - dlt - dlr, 40.0))
    ratio = math.log(p) - log_beta
    log_beta *= 1.0 / math.log(10.0)
    decay = (9.51 - 4.8 * log_beta + 0.198 * log_beta * log_beta) * 1e-6 * math.exp(1.13 * log_d)
    gamma = 1.076 * math.exp(-1.012 * math.log(2.0058 - log_beta) - decay)
    over_time = (1.2 + 3.7e-3 * d) * ratio / math.log(10.0) + 12.0 * math.exp(gamma * ratio)
    return fixed + 5e-5 * radius * cube * angle - 12.0 + over_time


@njit(cache=True)
def _terminal_db(
    excess: float, horizon: float, ghz: float, cube: float, coast: float, sea: float, amsl: float
) -> float:
    """Site shielding, eq. (48), and coupling to sea ducts, eq. (49), of one terminal."""
    loss = 0.0
    if excess > 0.0:
        loss = 20.0 * math.log10(1.0 + 0.361 * excess * math.sqrt(ghz * horizon))
        loss += 0.264 * excess * cube
    if coast <= 5.0 and coast <= horizon and sea >= 0.75:
        loss -= 3.0 * math.exp(-0.25 * coast**2) * (1.0 + math.tanh(0.07 * (50.0 - amsl)))
    return loss


@njit(cache=True)
def diffraction_heights(
    terrain: Terrain, hts: float, hrs: float, ground_t: float, ground_r: float
) -> tuple[float, float]:
    """h_te and h_re for the diffraction model, eq. (37) and (89) to (91)."""
    st, sr, highest, towards_t, towards_r = terrain[0:5]
    if highest > 0.0:
        st -= highest * towards_t / (towards_t + towards_r)
        sr -= highest * towards_r / (towards_t + towards_r)
    return hts - min(st, ground_t), hrs - min(sr, ground_r)


@njit(cache=True)
def diffraction_db(
    terrain: Terrain, row: Floats, beta: bool, heights: tuple[float, float],
    x: Floats, last: int, unit: float,
) -> float:  # fmt: skip
    """Delta-Bullington loss for the median radius or that of beta_0 %, eq. (39)."""
    d, ghz = row[0], row[1]
    radius = BETA_RADIUS_KM if beta else row[4]
    hte, hre = heights
    nu = terrain[11] if beta else terrain[10]
    actual = bullington_db(nu, d)
    sphere = spherical_db(d, hte, hre, radius, (ghz, row[17]), row[9], row[3] > 0.5)
    if sphere <= 0.0:
        return actual
    bulge = 500.0 * d * d / radius
    smooth = smooth_nu(x, last, unit, bulge, hte, hre, nu_scale(d, ghz))
    return actual + max(sphere - bullington_db(smooth, d), 0.0)


@njit(cache=True)
def loss_of(
    terrain: Terrain, row: Floats, ground_t: float, ground_r: float, x: Floats, last: int,
    unit: float,
) -> float:  # fmt: skip
    """Basic transmission loss from a path's terrain figures and its row of inputs, section 4."""
    d, p, sea = row[0], row[2], row[9]
    hts, hrs = ground_t + row[6], ground_r + row[7]
    dlt, dlr, theta_t, theta_r, roughness = terrain[5:10]
    tau = land_factor(row[11])
    beta0 = beta0_percent(row[8], row[10], tau)
    free = 92.4 + 20.0 * row[16] + 10.0 * math.log10(d * d + ((hts - hrs) / 1e3) ** 2)
    depth = 2.6 * (1.0 - math.exp(-0.1 * (dlt + dlr)))
    los_p, los_beta = free + depth * row[18], free + depth * math.log10(beta0 / 50.0)
    heights = diffraction_heights(terrain, hts, hrs, ground_t, ground_r)
    median = diffraction_db(terrain, row, False, heights, x, last, unit)
    fi = 1.0 if p < beta0 else row[19] / inverse_normal(beta0 / 100.0)
    diffraction = median
    if p < 50.0:
        beta = diffraction_db(terrain, row, True, heights, x, last, unit)
        diffraction += fi * (beta - median)
    minimum = los_p + (1.0 - sea) * diffraction
    if p >= beta0:
        minimum = free + median
        minimum += (los_beta + (1.0 - sea) * diffraction - minimum) * fi
    hte, hre = hts - min(terrain[0], ground_t), hrs - min(terrain[1], ground_r)
    duct = ducting_db(
        row, dlt, dlr, theta_t, theta_r, roughness, hts, hrs, hte, hre, beta0, tau
    )
    angle = 1000.0 * d / row[4] + theta_t + theta_r
    modified = _combine_modes(d, angle, minimum, duct, los_p, los_p + diffraction)
    scatter = troposcatter_db(d, angle, row)
    low = min(scatter, modified)
    apart = math.exp(-0.2 * math.log(10.0) * abs(scatter - modified))
    combined: float = low - 5.0 * math.log10(1.0 + apart) + row[14]
    total: float = max(los_p, combined) + row[15]
    return total


@njit(cache=True)
def _combine_modes(
    d: float, angle: float, minimum: float, duct: float, los_p: float, diffraction: float
) -> float:
    """L_bam, eq. (57) to (62)."""
    high, low = max(duct, los_p), min(duct, los_p)
    minimum_duct = high + 2.5 * math.log1p(math.exp((low - high) / 2.5))
    enhanced = diffraction
    if minimum_duct <= diffraction:
        fk = 0.5 - 0.5 * math.tanh(1.5 * (d - 20.0) / 20.0)
        enhanced = minimum_duct + (diffraction - minimum_duct) * fk
    fj = 0.5 - 0.5 * math.tanh(2.4 * (angle - 0.3) / 0.3)
    return enhanced + (minimum - enhanced) * fj


@njit(cache=True)
def troposcatter_db(d: float, angle: float, row: Floats) -> float:
    """L_bs, eq. (44) and (45)."""
    log_f = float(row[16])
    loss: float = 190.1 + 25.0 * log_f - 2.5 * (log_f - math.log10(2.0)) ** 2
    loss += 20.0 * math.log10(d) + 0.573 * angle - 0.15 * row[5]
    return loss - float(row[20])


@njit(cache=True)
def clear_nu(
    h: Floats, x: Floats, inverse_root: Floats, bulge: float, hts: float, hrs: float
) -> tuple[float, int]:
    """(largest clearance / sqrt(x (1-x)), its last index): eq. (15) without its constant."""
    best, at = LOWEST, 1
    rise = hrs - hts
    for i in range(1, h.shape[0] - 1):
        clearance = h[i] + bulge * x[i] * (1.0 - x[i]) - (hts + rise * x[i])
        value = clearance * inverse_root[i]
        if value >= best:
            best, at = value, i
    return best, at


@njit(cache=True)
def profile_nu(
    g: Floats, tables: tuple[Floats, Floats, Floats, Floats], rising: float, falling: float,
    bulge: float, hts: float, hrs: float, scale: float,
) -> float:  # fmt: skip
    """Bullington's nu of a profile from its extreme slopes, eq. (13) to (20)."""
    if rising < hrs - hts:
        x, _, _, inverse_root = tables
        return clear_nu(g, x, inverse_root, bulge, hts, hrs)[0] * scale
    return bullington_point_nu(rising, falling, hts, hrs, scale)


@njit(cache=True)
def scan_slopes(
    h: Floats, tables: tuple[Floats, Floats, Floats, Floats], hts: float, hrs: float,
    bulge: float, bulge_beta: float,
) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
    """Steepest slopes over a flat, the median and the beta earth, from both ends; and h_obs."""
    x, inverse, inverse_rest, _ = tables
    flat_t = flat_r = median_t = median_r = beta_t = beta_r = over = LOWEST
    rise = hrs - hts
    for i in range(1, h.shape[0] - 1):
        xi = x[i]
        above = h[i] - hts
        up = above * inverse[i]
        back = (h[i] - hrs) * inverse_rest[i]
        rest = 1.0 - xi
        flat_t, flat_r = max(flat_t, up), max(flat_r, back)
        median_t, median_r = max(median_t, up + bulge * rest), max(median_r, back + bulge * xi)
        beta_t = max(beta_t, up + bulge_beta * rest)
        beta_r = max(beta_r, back + bulge_beta * xi)
        over = max(over, above - rise * xi)
    return flat_t, flat_r, median_t, median_r, beta_t, beta_r, over


@njit(cache=True)
def horizon_indices(
    h: Floats, tables: tuple[Floats, Floats, Floats, Floats], hts: float, hrs: float,
    bulge: float, median_t: float, median_r: float,
) -> tuple[int, int]:  # fmt: skip
    """First point at the transmitter's and last at the receiver's horizon, eq. (80) and (83)."""
    x, inverse, inverse_rest, _ = tables
    last = h.shape[0] - 2
    lt, lr = 1, last
    while lt < last and (h[lt] - hts) * inverse[lt] + bulge * (1.0 - x[lt]) < median_t:
        lt += 1
    while lr > 1 and (h[lr] - hrs) * inverse_rest[lr] + bulge * x[lr] < median_r:
        lr -= 1
    return lt, lr


@njit(cache=True)
def scan_profile(
    h: Floats, g: Floats, same: bool, row: Floats,
    tables: tuple[Floats, Floats, Floats, Floats], weights: tuple[Floats, Floats],
) -> Terrain:  # fmt: skip
    """All that section 4 needs of a profile: Attachment 1 and Bullington's two nu."""
    d = row[0]
    n = h.shape[0]
    hts, hrs = h[0] + row[6], h[n - 1] + row[7]
    bulge, bulge_beta = 500.0 * d * d / row[4], 500.0 * d * d / BETA_RADIUS_KM
    flat_t, flat_r, median_t, median_r, beta_t, beta_r, over = scan_slopes(
        h, tables, hts, hrs, bulge, bulge_beta
    )
    st = sr = 0.0
    for i in range(n):
        st += weights[0][i] * h[i]
        sr += weights[1][i] * h[i]
    if median_t > hrs - hts:
        lt, lr = horizon_indices(h, tables, hts, hrs, bulge, median_t, median_r)
        angles = horizon_angles(median_t - bulge, median_r - bulge, d, 0.0)
    else:
        _, lt = clear_nu(h, tables[0], tables[3], bulge, hts, hrs)
        lr = lt
        angles = horizon_angles(hrs - hts, hts - hrs, d, d / (2.0 * row[4]))
    if not same:
        _, _, median_t, median_r, beta_t, beta_r, _ = scan_slopes(
            g, tables, hts, hrs, bulge, bulge_beta
        )
    scale = nu_scale(d, row[1])
    nu = profile_nu(g, tables, median_t, median_r, bulge, hts, hrs, scale)
    nu_beta = profile_nu(g, tables, beta_t, beta_r, bulge_beta, hts, hrs, scale)
    rise, x = hrs - hts, tables[0]
    rough = roughness_m(h, x, lt, lr, min(st, h[0]), min(sr, h[n - 1]))
    return (
        st, sr, over, flat_t - rise, flat_r + rise,
        d * x[lt], d * (1.0 - x[lr]), angles[0], angles[1], rough, nu, nu_beta,
    )  # fmt: skip


@njit(cache=True)
def horizon_angles(
    slope_t: float, slope_r: float, d: float, drop: float
) -> tuple[float, float]:
    """Elevation angles in mrad from slopes times length, eq. (77) to (82).

    A horizon's slope less the bulge d^2 / 2a has the earth's drop in it already: drop is 0 then.
    """
    return 1e3 * math.atan(slope_t / (1e3 * d) - drop), 1e3 * math.atan(slope_r / (1e3 * d) - drop)


@njit(cache=True)
def roughness_m(h: Floats, x: Floats, lt: int, lr: int, low_t: float, low_r: float) -> float:
    """h_m: highest point above the smooth earth between the horizons, eq. (95)."""
    highest = LOWEST
    for i in range(lt, max(lt, lr) + 1):
        highest = max(highest, h[i] - (low_t + (low_r - low_t) * x[i]))
    return highest


@njit(cache=True)
def compute_batch(
    ground: Floats, top: Floats, same: bool, rows: Floats,
    tables: tuple[Floats, Floats, Floats, Floats], weights: tuple[Floats, Floats], out: Floats,
) -> None:  # fmt: skip
    """Loss in dB of every link: ground and top (links, points), rows (links, COLUMNS)."""
    last = ground.shape[1] - 1
    for j in range(ground.shape[0]):
        h = ground[j]
        terrain = scan_profile(h, top[j], same, rows[j], tables, weights)
        out[j] = loss_of(terrain, rows[j], h[0], h[last], tables[0], last, 1.0)
