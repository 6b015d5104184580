"""Who a fault hits and when: pure functions of the scenario, the seed and the fault's number."""

from __future__ import annotations

import math
from collections.abc import Iterator

from radio_sim.draws import draw_uniform
from radio_sim.faults.specs import Aim, Timed

EARTH_RADIUS_M = 6_371_007.18  # H3's sphere, as in radio_sim.links
HOUR_S = 3_600.0
SHORTEST_S = 0.001

Place = tuple[str, float, float]  # name, latitude, longitude


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance by the haversine formula."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_lat, half_lon = (phi2 - phi1) / 2.0, math.radians(lon2 - lon1) / 2.0
    chord = math.sin(half_lat) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_lon) ** 2
    return 2.0 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, chord)))


def targets_of(aim: Aim, places: list[Place], seed: int) -> tuple[int, ...]:
    """Numbers of the hotspots that a fault is aimed at, ascending; `seed` is the fault's own."""
    chosen = [
        number
        for number, place in enumerate(places)
        if (not aim.hotspots or place[0] in aim.hotspots) and _is_inside(aim, place)
    ]
    return tuple(n for n in chosen if draw_uniform(seed, "share", n) < aim.share)


def _is_inside(aim: Aim, place: Place) -> bool:
    if aim.lat is None or aim.lon is None or aim.radius_m is None:
        return True
    return distance_m(aim.lat, aim.lon, place[1], place[2]) <= aim.radius_m


def occurrences(timed: Timed, seed: int, who: int = 0) -> Iterator[tuple[float, float]]:
    """(start, length) in seconds of each time a fault comes to somebody; never overlapping.

    Gaps and lengths are exponential, so that the mean is what the scenario says and the past tells
    nothing. The n-th is the same however long the run is.
    """
    if timed.per_hour <= 0.0:
        yield timed.start_s, timed.duration_s
        return
    now_s, count = timed.start_s, 0
    while True:
        now_s += _exponential(HOUR_S / timed.per_hour, seed, "gap", who, count)
        if now_s >= timed.until_s:
            return
        length_s = max(SHORTEST_S, _exponential(timed.duration_s, seed, "length", who, count))
        yield now_s, length_s
        now_s, count = now_s + length_s, count + 1


def _exponential(mean: float, seed: int, *name: int | str) -> float:
    return -mean * math.log(1.0 - draw_uniform(seed, *name))
