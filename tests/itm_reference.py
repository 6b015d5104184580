"""ITM in plain Python, written for reading rather than for speed: what the kernels must agree with.

Straight from the algorithm (Hufford 1995) with lists, sorting and complex numbers, none of which
the kernels use.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

from coverage_map.propagation import itm


@dataclass
class Path:
    """What is known of a path before its loss."""

    angles: list[float]
    horizons: list[float]
    effective: list[float]
    roughness: float
    heights: list[float]
    metres: float
    refractivity: float
    radius: float
    area: bool = False


def read_profile(
    profile: list[float], spacing: float, heights: list[float], n_0: float
) -> Path:
    last = len(profile) - 1
    tenth = int(0.1 * last)
    inner = profile[tenth : last - tenth + 1]
    refractivity = n_0 * math.exp(-sum(inner) / len(inner) / 9460.0)
    radius = 1.0 / (157e-9 * (1.0 - 0.04665 * math.exp(refractivity / 179.3)))
    metres = last * spacing
    path = Path([], [], [], 0.0, heights, metres, refractivity, radius)
    find_horizons(path, profile, spacing)
    start = min(15.0 * heights[0], 0.1 * path.horizons[0])
    end = metres - min(15.0 * heights[1], 0.1 * path.horizons[1])
    path.roughness = delta_h(profile, start / spacing, end / spacing, end - start)
    if sum(path.horizons) <= 1.5 * metres:
        tx = line(profile, start / spacing, 0.9 * path.horizons[0] / spacing)[0]
        rx = line(profile, (metres - 0.9 * path.horizons[1]) / spacing, end / spacing)[1]
        path.effective = [
            heights[0] + max(profile[0] - tx, 0.0),
            heights[1] + max(profile[-1] - rx, 0.0),
        ]
        return path
    fit = line(profile, start / spacing, end / spacing)
    path.effective = [
        heights[k] + max(profile[-k] - fit[k], 0.0) for k in range(2)
    ]
    smooth_horizons(path)
    if sum(path.horizons) <= metres:
        scale = (metres / sum(path.horizons)) ** 2
        path.effective = [scale * high for high in path.effective]
        smooth_horizons(path)
    smooth_angles(path)
    return path


def find_horizons(path: Path, profile: list[float], spacing: float) -> None:
    for here, there, ground in (
        (0, 1, profile),
        (1, 0, profile[::-1]),
    ):
        top, other = ground[0] + path.heights[here], ground[-1] + path.heights[there]
        candidates = [((other - top) / path.metres - path.metres / (2 * path.radius), path.metres)]
        steps = []
        walked = 0.0 if here == 0 else path.metres
        for _ in range(1, len(profile) - 1):
            walked += spacing if here == 0 else -spacing
            steps.append(walked)
        for height, metres in zip(ground[1:-1], steps if here == 0 else steps[::-1], strict=True):
            candidates.append(((height - top) / metres - metres / (2 * path.radius), metres))
        angle, far = candidates[0]
        for other_angle, metres in candidates[1:] if here == 0 else candidates[:0:-1]:
            if other_angle > angle:
                angle, far = other_angle, metres
        path.angles.append(angle)
        path.horizons.append(far)


def smooth_horizons(path: Path) -> None:
    path.horizons = []
    for high in path.effective:
        shorter = math.exp(-0.07 * math.sqrt(path.roughness / max(high, 5)))
        path.horizons.append(math.sqrt(2 * high * path.radius) * shorter)


def smooth_angles(path: Path) -> None:
    path.angles = []
    for high, far in zip(path.effective, path.horizons, strict=True):
        smooth = math.sqrt(2 * high * path.radius)
        path.angles.append((0.65 * path.roughness * (smooth / far - 1) - 2 * high) / smooth)


def line(profile: list[float], start: float, end: float) -> tuple[float, float]:
    """Least squares between two indexes: values at the profile's two ends."""
    last = len(profile) - 1
    a, b = int(max(start, 0.0)), last - int(max(last - end, 0.0))
    if b <= a:
        a, b = max(a - 1, 0), last - max(last - b - 1, 0)
    span = b - a
    weights = [0.5 if k in (a, b) else 1.0 for k in range(a, b + 1)]
    mean = sum(w * y for w, y in zip(weights, profile[a : b + 1], strict=True)) / span
    centre = (a + b) / 2
    moment = sum(
        w * (k - centre) * profile[k] for k, w in zip(range(a, b + 1), weights, strict=True)
    )
    slope = 12 * moment / ((span**2 + 2) * span)
    return mean - slope * centre, mean + slope * (last - centre)


def delta_h(profile: list[float], start: float, end: float, metres: float) -> float:
    if end - start < 2.0:
        return 0.0
    tenth = min(max(4, int(0.1 * (end - start + 8.0))), 25)
    count = 10 * tenth - 5
    samples = []
    for k in range(count):
        at = start + k * (end - start) / (count - 1)
        low = min(int(at), len(profile) - 2)
        samples.append(profile[low] + (profile[low + 1] - profile[low]) * (at - low))
    first, last = line(samples, 0, count - 1)
    rest = sorted(
        (y - first - (last - first) * k / (count - 1) for k, y in enumerate(samples)), reverse=True
    )
    return (rest[tenth - 1] - rest[count - tenth]) / (1 - 0.8 * math.exp(-metres / 50e3))


def area_path(
    settings: itm.Settings, heights: list[float], roughness: float, metres: float, care: list[int]
) -> Path:
    n_s = settings.refractivity
    radius = 1.0 / (157e-9 * (1.0 - 0.04665 * math.exp(n_s / 179.3)))
    path = Path([], [], [], roughness, heights, metres, n_s, radius, area=True)
    for high, siting in zip(heights, care, strict=True):
        gain = {0: -1.0, 1: 4.0, 2: 9.0}[siting]
        if siting and high < 5.0:
            gain *= math.sin(0.1 * math.pi * high)
        decay = math.exp(-min(20.0, 2.0 * high / max(1e-3, roughness)))
        path.effective.append(high + (1.0 + gain) * decay)
    smooth_horizons(path)
    smooth_angles(path)
    return path


def loss_db(path: Path, settings: itm.Settings) -> float:
    mhz = settings.frequency_mhz
    free = 32.45 + 20 * math.log10(mhz) + 20 * math.log10(path.metres / 1000)
    reference = max(Regions(path, settings).reference(), 0.0)
    return free + vary(path, settings, reference)


class Regions:
    """Line of sight, diffraction and troposcatter of one path."""

    def __init__(self, path: Path, settings: itm.Settings) -> None:
        self.path, self.mhz, self.k = path, settings.frequency_mhz, settings.frequency_mhz / 47.7
        self.z = itm.ground_impedance(settings)
        self.smooth = sum(math.sqrt(2 * high * path.radius) for high in path.effective)
        self.far = sum(path.horizons)
        self.theta = -max(sum(path.angles), -self.far / path.radius)
        step = (path.radius**2 / self.mhz) ** (1 / 3)
        self.step = step
        d_3 = max(self.smooth, self.far + 5 * step)
        d_4 = d_3 + 10 * step
        a_3, a_4 = self.diffraction(d_3), self.diffraction(d_4)
        self.slope = (a_4 - a_3) / (d_4 - d_3)
        self.start = a_3 - self.slope * d_3

    def rough(self, metres: float) -> float:
        return self.path.roughness * (1 - 0.8 * math.exp(-metres / 50e3))

    def spread(self, metres: float) -> float:
        rough = self.rough(metres)
        return 0.78 * rough * math.exp(-0.5 * rough**0.25)

    def diffraction(self, metres: float) -> float:
        path = self.path
        product = path.heights[0] * path.heights[1]
        floor = product if path.area else product + 10.0
        lift = math.sqrt(1 + (path.effective[0] * path.effective[1] - product) / floor)
        lift += (self.far - self.theta * path.radius) / metres
        weight = 25.1 / (25.1 + math.sqrt(lift * min(self.rough(metres) * self.k, 6283.2)))
        clutter = 5 * math.log10(1 + 1e-5 * product * self.mhz * self.spread(self.smooth))
        edges = sum(self.edge(metres, horizon) for horizon in path.horizons)
        return weight * self.rounded(metres) + (1 - weight) * edges + min(15.0, clutter)

    def edge(self, metres: float, horizon: float) -> float:
        bend, rest = metres / self.path.radius - self.theta, metres - self.far
        v_2 = 0.0795775 * self.k * bend**2 * horizon * rest / (rest + horizon)
        if v_2 < 5.76:
            return 6.02 + 9.11 * math.sqrt(v_2) - 1.27 * v_2
        return 12.953 + 10 * math.log10(v_2)

    def rounded(self, metres: float) -> float:
        path = self.path
        bend = metres / path.radius - self.theta
        radii = [(metres - self.far) / bend]
        radii += [0.5 * d**2 / h for d, h in zip(path.horizons, path.effective, strict=True)]
        arcs = [radii[0] * bend, *path.horizons]
        xs, grounds = [], []
        for radius, arc in zip(radii, arcs, strict=True):
            c_0 = (4 / 3 * 6370e3 / radius) ** (1 / 3)
            ground = 0.017778 * c_0 * self.mhz ** (-1 / 3) / abs(self.z)
            grounds.append(ground)
            xs.append((1.607 - ground) * c_0**2 * self.mhz ** (1 / 3) * arc / 1000)
        x = sum(xs)
        gains = sum(height_gain(*pair) for pair in zip(xs[1:], grounds[1:], strict=True))
        return 0.05751 * x - 10 * math.log10(x) - gains - 20

    def two_ray(self, metres: float) -> float:
        a, b = self.path.effective
        sine = (a + b) / math.hypot(metres, a + b)
        damp = math.exp(-min(10.0, self.k * self.spread(metres) * sine))
        reflection = (sine - self.z) / (sine + self.z) * damp
        q = abs(reflection) ** 2
        if q < 0.25 or q < sine:
            reflection *= math.sqrt(sine / q)
        phase = 2 * self.k * a * b / metres
        if phase > math.pi / 2:
            phase = math.pi - (math.pi / 2) ** 2 / phase
        return -20 * math.log10(abs(cmath.exp(-1j * phase) + reflection))

    def sight(self, metres: float) -> float:
        weight = 1 / (1 + self.mhz * self.path.roughness / max(10e3, self.smooth))
        extended = self.slope * metres + self.start
        return weight * self.two_ray(metres) + (1 - weight) * extended

    def reference(self) -> float:
        if self.path.metres < self.smooth:
            return self.line_of_sight()
        return self.beyond()

    def line_of_sight(self) -> float:
        at_smooth = self.smooth * self.slope + self.start
        d_0 = 0.04 * self.mhz * self.path.effective[0] * self.path.effective[1]
        if self.start >= 0:
            d_0 = min(d_0, 0.5 * self.far)
            d_1 = d_0 + 0.25 * (self.far - d_0)
        else:
            d_1 = max(-self.start / self.slope, 0.25 * self.far)
        a_1 = self.sight(d_1)
        k_1, k_2, done = 0.0, 0.0, False
        if d_0 < d_1:
            a_0, q = self.sight(d_0), math.log(self.smooth / d_0)
            span, part = self.smooth - d_0, d_1 - d_0
            k_2 = max(
                0.0,
                (span * (a_1 - a_0) - part * (at_smooth - a_0))
                / (span * math.log(d_1 / d_0) - part * q),
            )
            done = self.start > 0 or k_2 > 0
            k_1 = (at_smooth - a_0 - k_2 * q) / span
            if k_1 < 0:
                k_1, k_2 = 0.0, max(at_smooth - a_0, 0.0) / q
                k_1 = self.slope if k_2 == 0 else k_1
        if not done:
            k_2, k_1 = 0.0, max(at_smooth - a_1, 0.0) / (self.smooth - d_1)
            k_1 = self.slope if k_1 == 0 else k_1
        d = self.path.metres
        return at_smooth + k_1 * (d - self.smooth) + k_2 * math.log(d / self.smooth)

    def beyond(self) -> float:
        d = self.path.metres
        diffracted = self.slope * d + self.start
        d_5, d_6 = self.far + 200e3, self.far + 400e3
        h_6 = self.gain(d_6)
        h_5 = self.gain(d_5) if h_6 is None or h_6 <= 15 else h_6
        if h_5 is not None and h_5 > 15 and h_6 is not None:
            h_5 = h_6
        if h_5 is None or h_6 is None or self.scatter(d_5, h_5) >= 1000:
            return diffracted
        a_5, a_6 = self.scatter(d_5, h_5), self.scatter(d_6, h_6)
        slope = (a_6 - a_5) / 200e3
        cross = max(
            self.smooth,
            self.far + 1.088 * self.step * math.log(self.mhz),
            (a_5 - self.start - slope * d_5) / (self.slope - slope),
        )
        return slope * (d - cross) + self.slope * cross + self.start if d > cross else diffracted

    def gain(self, metres: float) -> float | None:
        path = self.path
        skew, ratio = path.horizons[0] - path.horizons[1], path.effective[1] / path.effective[0]
        if skew < 0:
            skew, ratio = -skew, 1 / ratio
        theta = sum(path.angles) + metres / path.radius
        r = [2 * self.k * theta * high for high in path.effective]
        if max(r) < 0.2:
            return None
        s = (metres - skew) / (metres + skew)
        q, s = min(max(0.1, ratio / s), 10.0), max(0.1, s)
        cross = (metres**2 - skew**2) * theta / 4 / metres
        air = 0.031 - path.refractivity * 2.32e-3 + path.refractivity**2 * 5.67e-6
        eta = cross / 1755.6 * (1 + air * math.exp(-(min(1.7, cross / 8e3) ** 6)))
        mean = sum(h_curve(x, eta) for x in r) / 2
        skewed = 6 * (0.6 - math.log10(max(eta, 1))) * math.log10(s) * math.log10(q)
        h_0 = max(mean + min(mean, skewed), 0.0)
        if eta < 1:
            root = math.sqrt(2)
            zero = ((1 + root / r[0]) * (1 + root / r[1])) ** 2 * sum(r) / (sum(r) + 2 * root)
            h_0 = eta * h_0 + (1 - eta) * 10 * math.log10(zero)
        return h_0

    def scatter(self, metres: float, h_0: float) -> float:
        theta = metres / self.path.radius - self.theta
        x = theta * metres
        a, b, c = (133.4, 0.332e-3, -10) if x <= 10e3 else (104.6, 0.212e-3, -2.5)
        if x > 70e3:
            a, b, c = 71.8, 0.157e-3, 5
        base = a + b * x + c * math.log10(x) + 10 * math.log10(self.mhz * theta**4)
        return base - 0.1 * (self.path.refractivity - 301) * math.exp(-x / 40e3) + h_0


def height_gain(x: float, ground: float) -> float:
    if x < 200:
        w = -math.log(ground)
        if ground < 1e-5 or x * w**3 > 5495:
            return -117.0 + (17.372 * math.log(x) if x > 1 else 0.0)
        return 2.5e-5 * x**2 / ground - 8.686 * w - 15
    far = 0.05751 * x - 4.343 * math.log(x)
    if x >= 2000:
        return far
    w = 0.0134 * x * math.exp(-0.005 * x)
    return (1 - w) * far + w * (17.372 * math.log(x) - 117)


def h_curve(r: float, eta: float) -> float:
    table = ((25, 24), (80, 45), (177, 68), (395, 80), (705, 105), (0, 0))
    eta = min(max(eta, 1.0), 5.0)
    whole = int(eta)
    low, high = (
        10 * math.log10(1 + a / r**4 + b / r**2) for a, b in table[whole - 1 : whole + 1]
    )
    return low + (eta - whole) * (high - low)


def vary(path: Path, settings: itm.Settings, reference: float) -> float:
    k, d, mdvar = settings.frequency_mhz / 47.7, path.metres, settings.mode_of_variability
    d_ex = sum(math.sqrt(18e6 * high) for high in path.effective) + (575.7e12 / k) ** (1 / 3)
    d_e = 130e3 * d / d_ex if d < d_ex else 130e3 + d - d_ex
    percent = settings.percentages
    z_t, z_l, z_s = (
        itm.upper_deviate(p / 100)
        for p in (percent.time_percent, percent.location_percent, percent.situation_percent)
    )
    single = mdvar % 10
    z_t, z_l = {0: (z_s, z_s), 1: (z_t, z_s), 2: (z_t, z_t), 3: (z_t, z_l)}[single]
    sigma_s = 0.0 if mdvar >= 20 else 5 + 3 * math.exp(-d_e / 100e3)
    rough = k * path.roughness * (1 - 0.8 * math.exp(-d / 50e3))
    sigma_l = 0.0 if mdvar // 10 in (1, 3) else 10 * rough / (rough + 13)
    column = settings.climate - 1

    def curve(rows: tuple[tuple[float, ...], ...]) -> float:
        c_1, c_2, x_1, x_2, x_3 = (row[column] for row in rows)
        rise, bump = (d_e / x_1 / 1e3) ** 2, ((d_e / 1e3 - x_2) / x_3) ** 2
        return (c_1 + c_2 / (1 + bump)) * rise / (1 + rise)

    def factor(constants: tuple[float, float, float]) -> float:
        a, b, c = constants
        return a + b / ((c * math.log(0.133 * k)) ** 2 + 1)

    above = curve(itm.ABOVE_CURVES) * factor(itm.ABOVE_FACTORS[column])
    c_d, z_d = itm.DUCT_RATIOS[column], itm.DUCT_DEVIATES[column]
    if z_t < 0:
        sigma_t = curve(itm.BELOW_CURVES) * factor(itm.BELOW_FACTORS[column])
    else:
        sigma_t = above if z_t <= z_d else above * (c_d + (1 - c_d) * z_d / z_t)
    y_t, y_l = sigma_t * z_t, sigma_l * z_l
    rest = sigma_s**2 + y_t**2 / (7.8 + z_s**2) + y_l**2 / (24 + z_s**2)
    known = (0.0, y_t, math.hypot(sigma_t, sigma_l) * z_t, y_t + y_l)[single]
    rest += (sigma_t**2 + sigma_l**2, sigma_l**2, 0.0, 0.0)[single]
    loss = reference - curve(itm.MEDIAN_CURVES) - known - math.sqrt(rest) * z_s
    return loss * (29 - loss) / (29 - 10 * loss) if loss < 0 else loss
