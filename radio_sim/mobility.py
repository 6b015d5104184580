"""Hotspots that move: along a recorded track (GPX, CSV), or by random waypoints from a seed.

Random waypoint (Johnson and Maltz, Dynamic source routing, 1996): go straight to a drawn place at a
drawn speed, pause, go on. Speeds are drawn from half to one and a half times the mean, never near
zero, because a lower end of zero lets the mean decay for ever (Yoon, Liu, Noble: Random waypoint
considered harmful, INFOCOM 2003).
"""

from __future__ import annotations

import bisect
import csv
import io
import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from chain.errors import UserError
from radio_sim.draws import draw_uniform
from radio_sim.faults.aim import EARTH_RADIUS_M

Point = tuple[float, ...]  # seconds, latitude, longitude
CSV_COLUMNS = ("seconds", "lat", "lon")


class Track(Protocol):
    """Where something is, by seconds since the start of the run."""

    def at(self, second: float) -> tuple[float, float]:
        """Latitude and longitude in degrees; asked for in ascending order of time."""


class RecordedTrack:
    """Straight lines between recorded points; it stays at its first before, at its last after."""

    def __init__(self, points: tuple[Point, ...]) -> None:
        if not points:
            raise ValueError("points: a track needs at least one")
        self._points = points
        self._seconds = [point[0] for point in points]

    def at(self, second: float) -> tuple[float, float]:
        """Latitude and longitude at a time."""
        place = bisect.bisect_right(self._seconds, second)
        if place == 0 or place == len(self._points):
            end = self._points[min(place, len(self._points) - 1)]
            return end[1], end[2]
        before, after = self._points[place - 1], self._points[place]
        share = (second - before[0]) / (after[0] - before[0])
        return _between(before[1:], after[1:], share)


class RandomWaypoint:
    """Wanders within `range_m` of where it began; the n-th leg depends on the seed and n alone."""

    def __init__(
        self, seed: int, home: tuple[float, float], speed_mps: float, pause_s: float, range_m: float
    ) -> None:
        self._home = home
        self._legs = self._draw_legs(seed, speed_mps, pause_s, range_m)
        self._leg = next(self._legs)

    def at(self, second: float) -> tuple[float, float]:
        """Latitude and longitude at a time; times must not go back."""
        while second > self._leg[1] + self._leg[4]:
            self._leg = next(self._legs)
        start_s, end_s, origin, goal, _ = self._leg
        share = min(1.0, max(0.0, (second - start_s) / max(1e-9, end_s - start_s)))
        return _between(origin, goal, share)

    def _draw_legs(
        self, seed: int, speed_mps: float, pause_s: float, range_m: float
    ) -> Iterator[tuple[float, float, tuple[float, float], tuple[float, float], float]]:
        """(start, end, from, to, pause afterwards) of each leg."""
        now_s, here, number = 0.0, (0.0, 0.0), 0
        while True:
            radius = range_m * math.sqrt(draw_uniform(seed, "radius", number))
            angle = 2.0 * math.pi * draw_uniform(seed, "angle", number)
            goal = (radius * math.sin(angle), radius * math.cos(angle))
            speed = speed_mps * (0.5 + draw_uniform(seed, "speed", number))
            end_s = now_s + math.dist(here, goal) / speed
            rest_s = 2.0 * pause_s * draw_uniform(seed, "pause", number)
            yield now_s, end_s, self._place(here), self._place(goal), rest_s
            now_s, here, number = end_s + rest_s, goal, number + 1

    def _place(self, offset_m: tuple[float, float]) -> tuple[float, float]:
        """Latitude and longitude so many metres north and east of home."""
        north, east = (math.degrees(part / EARTH_RADIUS_M) for part in offset_m)
        shrink = max(0.01, math.cos(math.radians(self._home[0])))
        return self._home[0] + north, self._home[1] + east / shrink


def parse_track(text: str, name: str) -> tuple[Point, ...]:
    """Read a track: GPX if it begins as XML, else CSV with seconds, lat, lon. Raises UserError."""
    points = _read_gpx(text, name) if text.lstrip("\ufeff \r\n\t").startswith("<") else (
        _read_csv(text, name)
    )
    if not points:
        raise UserError(name, "no point in it", "give at least one with a time")
    for number, (before, after) in enumerate(itertools.pairwise(points), 2):
        if after[0] <= before[0]:
            raise UserError(name, f"point {number} is not later", "sort points by their time")
    if any(abs(point[1]) > 85 or abs(point[2]) > 180 for point in points):
        raise UserError(name, "a point is off the map", "use latitudes to 85, longitudes to 180")
    return points


def _read_csv(text: str, name: str) -> tuple[Point, ...]:
    rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    missing = [column for column in CSV_COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise UserError(name, f"no column {missing[0]!r}", "begin with seconds,lat,lon")
    points = []
    for row in rows:
        try:
            point = tuple(float(row[column]) for column in CSV_COLUMNS)
        except (TypeError, ValueError):
            raise UserError(name, f"line {rows.line_num} is no point", "give 3 numbers") from None
        if not all(map(math.isfinite, point)) or point[0] < 0:
            raise UserError(name, f"line {rows.line_num} is no point", "give finite numbers")
        points.append(point)
    return tuple(points)


def _read_gpx(text: str, name: str) -> tuple[Point, ...]:
    """Track points with times, from the first one's on; GPX 1.0 and 1.1."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(name, "declares entities", "export it as plain GPX")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise UserError(name, f"not valid XML: {error}", "export it again") from None
    elements = [item for item in root.iter() if item.tag.rpartition("}")[2] == "trkpt"]
    found = [_gpx_point(element, name) for element in elements]
    return tuple(
        ((when - found[0][0]).total_seconds(), latitude, longitude)
        for when, latitude, longitude in found
    )


def _gpx_point(element: ET.Element, name: str) -> tuple[datetime, float, float]:
    when = next(
        (child.text for child in element if child.tag.rpartition("}")[2] == "time"), None
    )
    try:
        moment = datetime.fromisoformat((when or "").strip().replace("Z", "+00:00"))
        return moment, float(element.get("lat", "")), float(element.get("lon", ""))
    except ValueError:
        raise UserError(name, "a point without time, lat or lon", "export it with times") from None


def _between(
    one: tuple[float, ...], other: tuple[float, ...], share: float
) -> tuple[float, float]:
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])
