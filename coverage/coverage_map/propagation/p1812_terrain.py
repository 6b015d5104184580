"""P.1812's terrain: path geometry (Attachment 1 to Annex 1) and delta-Bullington (section 4.3).

Scalar and in plain Python, one formula per function; p1812.py says the rest. Distances km, heights
m, frequencies GHz, angles mrad; equation numbers are those of Annex 1 (edition 8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WAVELENGTH_M_GHZ = 0.2998  # the Recommendation's own rounding of the speed of light
LAND_GROUND = (22.0, 0.003)  # relative permittivity, conductivity in S/m, section 4.3.3
SEA_GROUND = (80.0, 5.0)


@dataclass(frozen=True, slots=True)
class Geometry1812:
    """What the terrain says (Attachment 1 to Annex 1): km, m, mrad."""

    distance_km: float
    transmitter_amsl_m: float
    receiver_amsl_m: float
    smooth_transmitter_m: float  # h_st before limits, eq. (87)
    smooth_receiver_m: float
    diffraction_transmitter_m: float  # h_std, eq. (91)
    diffraction_receiver_m: float
    effective_transmitter_m: float  # h_te, eq. (94)
    effective_receiver_m: float
    roughness_m: float  # h_m, eq. (95)
    horizon_transmitter_km: float
    horizon_receiver_km: float
    elevation_transmitter_mrad: float
    elevation_receiver_mrad: float
    angular_distance_mrad: float
    line_of_sight: bool


@dataclass(frozen=True, slots=True)
class Diffraction1812:
    """The delta-Bullington result and its parts in dB (section 4.3)."""

    bullington_actual_db: float
    bullington_smooth_db: float
    spherical_db: float
    loss_db: float


# --- Attachment 1: what the terrain says ----------------------------------------------------


def smooth_surface_m(d: Sequence[float], h: Sequence[float]) -> tuple[float, float]:
    """Least-squares smooth earth at both ends, h_st and h_sr, eq. (85) to (88)."""
    v1 = v2 = 0.0
    for i in range(1, len(d)):
        step = d[i] - d[i - 1]
        v1 += step * (h[i] + h[i - 1])
        v2 += step * (h[i] * (2.0 * d[i] + d[i - 1]) + h[i - 1] * (d[i] + 2.0 * d[i - 1]))
    total = d[-1]
    return (2.0 * v1 * total - v2) / total**2, (v2 - v1 * total) / total**2


def diffraction_surface_m(
    d: Sequence[float], h: Sequence[float], smooth: tuple[float, float], hts: float, hrs: float
) -> tuple[float, float]:
    """Smooth surface lowered for the diffraction model, h_std and h_srd, eq. (89) to (91)."""
    total = d[-1]
    over = [
        h[i] - (hts * (total - d[i]) + hrs * d[i]) / total for i in range(1, len(d) - 1)
    ]
    highest = max(over)
    st, sr = smooth
    if highest > 0.0:
        towards_t = max(o / x for o, x in zip(over, d[1:-1], strict=True))
        towards_r = max(o / (total - x) for o, x in zip(over, d[1:-1], strict=True))
        st -= highest * towards_t / (towards_t + towards_r)
        sr -= highest * towards_r / (towards_t + towards_r)
    return min(st, h[0]), min(sr, h[-1])


def _horizons(
    d: Sequence[float], h: Sequence[float], hts: float, hrs: float, radius_km: float, ghz: float
) -> tuple[bool, int, int, float, float]:
    """(line of sight, index of each horizon, elevation angles in mrad), eq. (76) to (83)."""
    total = d[-1]
    inner = range(1, len(d) - 1)
    up = [elevation_mrad(h[i] - hts, d[i], radius_km) for i in inner]
    direct = elevation_mrad(hrs - hts, total, radius_km)
    if max(up) > direct:
        back = [elevation_mrad(h[i] - hrs, total - d[i], radius_km) for i in inner]
        first = up.index(max(up)) + 1
        last = len(back) - back[::-1].index(max(back))
        return False, first, last, max(up), max(back)
    nu = [
        knife_edge_nu(h[i], d[i], total, hts, hrs, 1.0 / radius_km, ghz) for i in inner
    ]
    point = len(nu) - nu[::-1].index(max(nu))
    return True, point, point, direct, elevation_mrad(hts - hrs, total, radius_km)


def elevation_mrad(rise_m: float, distance_km: float, radius_km: float) -> float:
    """Elevation angle over a curved earth, eq. (77)."""
    return 1000.0 * math.atan(rise_m / (1000.0 * distance_km) - distance_km / (2.0 * radius_km))


def knife_edge_nu(
    height_m: float, x_km: float, total_km: float, hts: float, hrs: float, ce: float, ghz: float
) -> float:
    """Diffraction parameter of a point at height_m over curvature ce, eq. (15)."""
    rest = total_km - x_km
    clearance = height_m + 500.0 * ce * x_km * rest - (hts * rest + hrs * x_km) / total_km
    return clearance * math.sqrt(0.002 * total_km / (WAVELENGTH_M_GHZ / ghz * x_km * rest))


def compute_geometry(
    d: Sequence[float],
    h: Sequence[float],
    transmitter_height_m: float,
    receiver_height_m: float,
    radius_km: float,
    ghz: float,
) -> Geometry1812:
    """Path profile parameters, Attachment 1 to Annex 1."""
    total = d[-1]
    hts, hrs = h[0] + transmitter_height_m, h[-1] + receiver_height_m
    smooth = smooth_surface_m(d, h)
    std, srd = diffraction_surface_m(d, h, smooth, hts, hrs)
    los, lt, lr, theta_t, theta_r = _horizons(d, h, hts, hrs, radius_km, ghz)
    low_t, low_r = min(smooth[0], h[0]), min(smooth[1], h[-1])  # eq. (92)
    slope = (low_r - low_t) / total  # eq. (93)
    return Geometry1812(
        distance_km=total,
        transmitter_amsl_m=hts,
        receiver_amsl_m=hrs,
        smooth_transmitter_m=smooth[0],
        smooth_receiver_m=smooth[1],
        diffraction_transmitter_m=std,
        diffraction_receiver_m=srd,
        effective_transmitter_m=hts - low_t,
        effective_receiver_m=hrs - low_r,
        roughness_m=max(h[i] - (low_t + slope * d[i]) for i in range(lt, max(lt, lr) + 1)),
        horizon_transmitter_km=d[lt],
        horizon_receiver_km=total - d[lr],
        elevation_transmitter_mrad=theta_t,
        elevation_receiver_mrad=theta_r,
        angular_distance_mrad=1000.0 * total / radius_km + theta_t + theta_r,  # eq. (84)
        line_of_sight=los,
    )


# --- section 4.3: diffraction ---------------------------------------------------------------


def knife_edge_db(nu: float) -> float:
    """J(nu), eq. (12)."""
    if nu <= -0.78:
        return 0.0
    return 6.9 + 20.0 * math.log10(math.sqrt((nu - 0.1) ** 2 + 1.0) + nu - 0.1)


def bullington_db(
    d: Sequence[float], g: Sequence[float], hts: float, hrs: float, radius_km: float, ghz: float
) -> float:
    """Bullington diffraction loss of a profile, eq. (13) to (21)."""
    total, ce = d[-1], 1.0 / radius_km
    inner = range(1, len(d) - 1)
    raised = [g[i] + 500.0 * ce * d[i] * (total - d[i]) for i in inner]
    rising = max((r - hts) / d[i] for r, i in zip(raised, inner, strict=True))
    direct = (hrs - hts) / total
    if rising < direct:
        nu = max(knife_edge_nu(g[i], d[i], total, hts, hrs, ce, ghz) for i in inner)
    else:
        falling = max((r - hrs) / (total - d[i]) for r, i in zip(raised, inner, strict=True))
        x = (hrs - hts + falling * total) / (rising + falling)  # eq. (18)
        nu = knife_edge_nu(hts + rising * x, x, total, hts, hrs, 0.0, ghz)
    edge = knife_edge_db(nu)
    return edge + (1.0 - math.exp(-edge / 6.0)) * (10.0 + 0.02 * total)


def first_term_db(
    ground: tuple[float, float], d: float, hte: float, hre: float, radius: float, ghz: float,
    vertical: bool,
) -> float:
    """First term of spherical-earth diffraction over one kind of ground, eq. (29) to (36)."""
    permittivity, conductivity = ground
    loss_term = (18.0 * conductivity / ghz) ** 2
    k = 0.036 * math.pow(radius * ghz, -1.0 / 3.0)
    k *= math.pow((permittivity - 1.0) ** 2 + loss_term, -0.25)
    if vertical:
        k *= math.sqrt(permittivity**2 + loss_term)
    beta = (1.0 + 1.6 * k**2 + 0.67 * k**4) / (1.0 + 4.5 * k**2 + 1.53 * k**4)
    x = 21.88 * beta * math.pow(ghz / radius**2, 1.0 / 3.0) * d
    y = 0.9575 * beta * math.pow(ghz**2 / radius, 1.0 / 3.0)
    if x >= 1.6:
        fx = 11.0 + 10.0 * math.log10(x) - 17.6 * x
    else:
        fx = -20.0 * math.log10(x) - 5.6488 * math.pow(x, 1.425)
    return -fx - height_gain_db(beta * y * hte, k) - height_gain_db(beta * y * hre, k)


def height_gain_db(b: float, k: float) -> float:
    """G(Y), eq. (34) and (35), not below 2 + 20 lg K."""
    if b > 2.0:
        gain = 17.6 * math.sqrt(b - 1.1) - 5.0 * math.log10(b - 1.1) - 8.0
    else:
        gain = 20.0 * math.log10(b + 0.1 * b**3)
    return max(gain, 2.0 + 20.0 * math.log10(k))


def mixed_first_term_db(
    d: float, hte: float, hre: float, radius: float, ghz: float, sea: float, vertical: bool
) -> float:
    """First term over land and sea by their shares, eq. (28)."""
    land = first_term_db(LAND_GROUND, d, hte, hre, radius, ghz, vertical)
    water = first_term_db(SEA_GROUND, d, hte, hre, radius, ghz, vertical)
    return sea * water + (1.0 - sea) * land


def spherical_db(
    d: float, hte: float, hre: float, radius: float, ghz: float, sea: float, vertical: bool
) -> float:
    """Spherical-earth diffraction loss, eq. (22) to (27)."""
    if d >= math.sqrt(2.0 * radius) * (math.sqrt(0.001 * hte) + math.sqrt(0.001 * hre)):
        return mixed_first_term_db(d, hte, hre, radius, ghz, sea, vertical)
    c = (hte - hre) / (hte + hre)
    m = 250.0 * d * d / (radius * (hte + hre))
    turn = math.acos(1.5 * c * math.sqrt(3.0 * m / (m + 1.0) ** 3))
    b = 2.0 * math.sqrt((m + 1.0) / (3.0 * m)) * math.cos((math.pi + turn) / 3.0)
    d1 = d / 2.0 * (1.0 + b)
    d2 = d - d1
    clearance = (hte - 500.0 * d1 * d1 / radius) * d2 + (hre - 500.0 * d2 * d2 / radius) * d1
    clearance /= d
    required = 17.456 * math.sqrt(d1 * d2 * (WAVELENGTH_M_GHZ / ghz) / d)
    if clearance > required:
        return 0.0
    grazing = 500.0 * (d / (math.sqrt(hte) + math.sqrt(hre))) ** 2
    first = max(mixed_first_term_db(d, hte, hre, grazing, ghz, sea, vertical), 0.0)
    return (1.0 - clearance / required) * first


def delta_bullington(
    d: Sequence[float],
    g: Sequence[float],
    geometry: Geometry1812,
    radius_km: float,
    ghz: float,
    sea: float,
    vertical: bool,
) -> Diffraction1812:
    """Complete delta-Bullington diffraction loss for one earth radius, eq. (37) to (39)."""
    hts, hrs = geometry.transmitter_amsl_m, geometry.receiver_amsl_m
    hte = hts - geometry.diffraction_transmitter_m
    hre = hrs - geometry.diffraction_receiver_m
    actual = bullington_db(d, g, hts, hrs, radius_km, ghz)
    smooth = bullington_db(d, [0.0] * len(d), hte, hre, radius_km, ghz)
    sphere = spherical_db(d[-1], hte, hre, radius_km, ghz, sea, vertical)
    return Diffraction1812(actual, smooth, sphere, actual + max(sphere - smooth, 0.0))
