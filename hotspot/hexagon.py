"""H3 cells of places, without the h3 package: routers for which it has no wheel name theirs, too.

H3 lays a lattice of hexagons on each face of an icosahedron, in the gnomonic projection about the
face's centre (h3geo.org/docs/core-library/overview). Here a hexagon's place is an Eisenstein
integer a + b*w, w = exp(2*pi*i/3). A finer resolution multiplies by one of norm 7, in turns by
2 - w and by 3 + w, and what remains of the division is the cell's next digit. What geometry doesn't
tell is how H3 numbers the 122 cells of resolution 0 and turns their digits: `TURNS`, per face and
place on it; tests/hexagon_tables.py asks the h3 package for both tables and a test compares them.
"""

from __future__ import annotations

from base64 import b64decode
from cmath import exp
from functools import cache
from math import asin, atan2, cos, degrees, hypot, pi, radians, sin, sqrt

Vector = tuple[float, float, float]
Eisenstein = tuple[int, int]

UNIT = 0.38196601125010515  # gnomonic length of a step at resolution 0: tan(37.377 deg) / 2
TILT = asin(sqrt(3 / 28))  # by which odd resolutions lie turned against even ones
DIGITS = {(0, 0): 0, (1, 0): 4, (1, 1): 6, (0, 1): 2, (-1, 0): 3, (-1, -1): 1, (0, -1): 5}
RING = (4, 6, 2, 3, 1, 5)  # digits in counter-clockwise order
MISSING = 1  # the digit that a pentagon's children lack
PLACES = 3**3  # on a face at resolution 0: i, j, k of 0 to 2, one of them 0
IS_PENTAGON, IS_CLOCKWISE = 0x800, 0x400

# The twelve corners: centres of the pentagons, degrees north and east.
CORNERS = (
    (64.70000012793487, 10.536199075467685),
    (50.103201482241346, -143.47849001502516),
    (39.10000003397593, 122.30000040778704),
    (23.71792527122296, -67.13232636643566),
    (10.44734518751103, 58.157705839572586),
    (2.3008821116267475, -5.245390296777324),
    (-2.3008821116267475, 174.75460970322268),
    (-10.447345187511027, -121.8422941604274),
    (-23.717925271222967, 112.86767363356435),
    (-39.10000003397592, -57.69999959221297),
    (-50.10320148224133, 36.521509984974834),
    (-64.70000012793491, -169.4638009245324),
)
# Corners of each face, counter-clockwise as seen from outside.
FACES = (
    *((0, 2, 1), (0, 1, 3), (0, 4, 2), (0, 3, 5), (0, 5, 4)),
    *((1, 2, 6), (1, 7, 3), (1, 6, 7), (2, 4, 8), (2, 8, 6)),
    *((3, 9, 5), (3, 7, 9), (4, 5, 10), (4, 10, 8), (5, 9, 10)),
    *((6, 11, 7), (6, 8, 11), (7, 11, 9), (8, 10, 11), (9, 11, 10)),
)
# Two bytes for each place of each face: base cell (7 bits), turns (3), clockwise, pentagon.
TURNS = b64decode(
    "AAIABggOAAoACwGRDJgBlwAAAAACgQKJAAUAAAAAAJIAAAAACIQCgwAAAIgAAAAAAAAAAAAAAAcAFQgmAAkAEwGi"
    "DI4BlAAAAAMCjQKdAAEAAAAAAIYAAAAACQQCjAAAAIAAAAAAAAAAAAAAABAAEggYACEAHgGgDLEBsAAAAAgChQKK"
    "ABYAAAAAAKkAAAAACAQCgAAAAI8AAAAAAAAAAAAAABoAKgg6AB0AKwG+DKYBrwAAAAwCnAKsAA0AAAAAAJUAAAAA"
    "CYQCjwAAAIMAAAAAAAAAAAAAAB8AKQgxACwANQG9DLoBwQAAAA8ClgKhABwAAAAAAKoAAAAACgQCiAAAAIwAAAAA"
    "AAAAAAAAARkBLQk/ARcBJwK7DBgCpQAAARECowK4AosAAAAAAooAAAAACg4CmwAAAoYAAAAAAAAAAAAAAiQCIgim"
    "AjcAtgCzDkgAyQAAAhQAkwCVAigAAAAAALwAAAAACI4AiQAAAJsAAAAAAAAAAAAAAC4APAnIADgBxAHQDb8BzQAA"
    "ABsBqAG3ACMAAAAAAa0AAAAACA4BlAAAAZEAAAAAAAAAAAAAATIBRglTATABQwLXDDECwgAAASACtALKAp4AAAAA"
    "AqEAAAAAChgCpQAAApIAAAAAAAAAAAAAADkAOwm/AEoBzgHPDdMB3AAAACUBpwGtADQAAAAAAcYAAAAACBgBlwAA"
    "AaAAAAAAAAAAAAAAAkACPgi6AlQA0gDMDmEA4gAAAi8AqwCqAkUAAAAAANkAAAAACKYAnQAAALMAAAAAAAAAAAAA"
    "AEcAWQnhAEkB2wHnDcgB2AAAADMBxQHUADYAAAAAAbcAAAAACCYBrwAAAaIAAAAAAAAAAAAAAUsBXglrAUEBVgLo"
    "DDoCzAAAAT0C0QLlArUAAAAAAqwAAAAACjECwgAAAqkAAAAAAAAAAAAAAFUAVwnTAGUB5gHkDesB8AAAAEIBwwHG"
    "AFEAAAAAAd4AAAAACDEBsAAAAb0AAAAAAAAAAAAAAGAAaAnrAGIB7gHzDeEB7wAAAEwB1gHeAFIAAAAAAdQAAAAA"
    "CDoBwQAAAb4AAAAAAAAAAAAAAloCUApIAmoC4wLYDXUC8QAAAk0CRAC8Al0AAAAAAe0AAAAACb8AuAAAAc8AAAAA"
    "AAAAAAAAAV8BbQj1AVwBbAD2DVMA5AAAAU8B3QHqAU4AAAAAAsoAAAAACT8BzQAAArsAAAAAAAAAAAAAAmkCZwph"
    "AnEC9ALvDPUC+QAAAlgCWwDZAmMAAAAAAeoAAAAACcgAyQAAAdAAAAAAAAAAAAAAAXIBdgl1AXABeAD5DWsA8wAA"
    "AWQB7AHtAWYAAAAAAuUAAAAACVMB3AAAAtcAAAAAAAAAAAAAAncCcwprAnkC+ALwDHUC9gAAAm8CbgDoAnQAAAAA"
    "AfEAAAAACeEA4gAAAecAAAAAAAAAAAAA"
)


def _unit(latitude_deg: float, longitude_deg: float) -> Vector:
    north, east = radians(latitude_deg), radians(longitude_deg)
    return cos(north) * cos(east), cos(north) * sin(east), sin(north)


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _normal(x: float, y: float, z: float) -> Vector:
    length = sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


@cache
def frames() -> tuple[tuple[Vector, Vector, Vector], ...]:
    """Of each face: its centre, the direction to its first corner, and that turned left."""
    made = []
    for face in FACES:
        corners = [_unit(*CORNERS[corner]) for corner in face]
        centre = _normal(*(sum(axis) for axis in zip(*corners, strict=True)))
        up = _dot(centre, corners[0])
        first = _normal(*(c - up * n for c, n in zip(corners[0], centre, strict=True)))
        made.append((centre, first, _cross(centre, first)))
    return tuple(made)


def _cross(one: Vector, other: Vector) -> Vector:
    (a, b, c), (d, e, f) = one, other
    return b * f - c * e, c * d - a * f, a * e - b * d


def _scale(resolution: int) -> complex:
    """What a step of resolution 0 is at another: longer by the root of 7 each, odd ones tilted."""
    length: float = sqrt(7) ** resolution / UNIT
    return length * exp(-1j * TILT) if resolution % 2 else complex(length)


def nearest(place: complex) -> Eisenstein:
    """The lattice point next to a place: rounded so that its three coordinates still add to 0."""
    b = place.imag * 2 / sqrt(3)
    a = place.real + b / 2
    rounded = [round(a - b), round(b), round(-a)]
    errors = [abs(rounded[0] - (a - b)), abs(rounded[1] - b), abs(rounded[2] + a)]
    worst = errors.index(max(errors))
    rounded[worst] -= sum(rounded)
    return -rounded[2], rounded[1]


def locate(latitude_deg: float, longitude_deg: float, resolution: int) -> tuple[int, Eisenstein]:
    """(face, lattice point on it) of the hexagon that holds a place."""
    place = _unit(latitude_deg, longitude_deg)
    face = max(range(len(FACES)), key=lambda n: _dot(frames()[n][0], place))
    centre, first, left = frames()[face]
    flat = complex(_dot(first, place), _dot(left, place)) / _dot(centre, place)
    return face, nearest(flat * _scale(resolution))


def split(point: Eisenstein, resolution: int) -> tuple[Eisenstein, list[int]]:
    """(lattice point at resolution 0, digits from resolution 1 on) of a lattice point."""
    (a, b), found = point, []
    for level in range(resolution, 0, -1):
        p, q = (2, -1) if level % 2 else (3, 1)
        # Division by p + q*w is multiplication by its conjugate, and by 1/7.
        up_a = round((a * (p - q) + b * q) / 7)
        up_b = round((b * p - a * q) / 7)
        down = (up_a * p - up_b * q, up_a * q + up_b * (p - q))
        found.append(DIGITS[(a - down[0], b - down[1])])
        a, b = up_a, up_b
    return (a, b), found[::-1]


def turned(digits: list[int], turns: int) -> list[int]:
    """Digits of a cell that is turned by so many sixths, counter-clockwise."""
    return [RING[(RING.index(digit) + turns) % 6] if digit else 0 for digit in digits]


def _leads_missing(digits: list[int]) -> bool:
    return next((digit for digit in digits if digit), 0) == MISSING


def settle(digits: list[int], entry: int) -> list[int]:
    """Digits as H3 writes them, by an entry of `TURNS`."""
    turns = entry >> 7 & 7
    if not entry & IS_PENTAGON:
        return turned(digits, turns)
    if _leads_missing(digits):
        digits = turned(digits, -1 if entry & IS_CLOCKWISE else 1)
    for _ in range(turns):
        digits = turned(digits, 1)
        if _leads_missing(digits):
            digits = turned(digits, 1)
    return digits


def place_of(point: Eisenstein) -> int:
    """Number of a lattice point of resolution 0 among the places of a face."""
    low = min(*point, 0)
    return (point[0] - low) * 9 + (point[1] - low) * 3 - low


def cell_at(latitude_deg: float, longitude_deg: float, resolution: int) -> int:
    """The H3 cell, of resolution 0 to 15, that holds a place: as `h3.latlng_to_cell` says."""
    face, point = locate(latitude_deg, longitude_deg, resolution)
    base, digits = split(point, resolution)
    at = 2 * (face * PLACES + place_of(base))
    entry = int.from_bytes(TURNS[at : at + 2], "big")
    cell = 1 << 59 | resolution << 52 | (entry & 0x7F) << 45 | (1 << 45) - 1
    for level, digit in enumerate(settle(digits, entry), start=1):
        cell &= ~((7 ^ digit) << 3 * (15 - level))
    return cell


def centre_of(latitude_deg: float, longitude_deg: float, resolution: int) -> tuple[float, float]:
    """Degrees of the centre of the cell that holds a place: as `h3.cell_to_latlng` says.

    A hexagon on an edge of the icosahedron is seen from two faces; its centre's own face counts.
    """
    face, point = locate(latitude_deg, longitude_deg, resolution)
    centre = _centre(face, point, resolution)
    return _centre(*locate(*centre, resolution), resolution)


def _centre(face: int, point: Eisenstein, resolution: int) -> tuple[float, float]:
    a, b = point
    flat = complex(a - b / 2, b * sqrt(3) / 2) / _scale(resolution)
    x, y, z = (
        n + flat.real * first + flat.imag * left
        for n, first, left in zip(*frames()[face], strict=True)
    )
    return degrees(atan2(z, hypot(x, y))), degrees(atan2(y, x) % (2 * pi) + pi) % 360 - 180
