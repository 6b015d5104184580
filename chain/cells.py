"""Where H3 cells are, in integers: the centre of a cell from its bits.

H3 lays a hexagonal grid over an icosahedron. Take a point of the plane of one face as a weighted
sum of the face's three corners, with weights that add up to 1; its direction from the centre of the
earth is where it lies on the globe (the gnomonic projection). All weights of cell centres are
integers over a common divisor, so a centre is an integer combination of corner vectors. A point
with a negative weight lies beyond an edge, where the grid continues on the neighbouring face,
unfolded: with corners A, B and the far corner C, a A + b B + c C becomes
(a + c) A + (b + c) B - c D, where D is the far corner of the neighbour.

Centres agree with the H3 library's to a micro-degree at resolutions 0 to 10 (a test compares).
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Final

from chain.geo import cell_resolution, distance_m

Vector = tuple[int, int, int]

# The corners of the icosahedron, times 2^48: the centres of the twelve pentagons, ascending by base
# cell. The other six lie opposite.
_HALF: Final[tuple[Vector, ...]] = (
    (118262394522760, 21995932255697, 254476614878873),
    (-145087954320618, -107443755055435, 215947881501325),
    (-116722669714364, 184637002792826, 177519458338227),
    (100143561992045, -237446661547743, 113218869565287),
    (146039556585528, 235149932110571, 51040374753331),
    (280070258792199, -25712118548002, 11300425395024),
)
CORNERS: Final = (*_HALF, *((-x, -y, -z) for x, y, z in reversed(_HALF)))
# Corner 0 and its five neighbours have a positive product, and likewise at every corner.
_NEAR: Final = tuple(
    frozenset(
        other
        for other, vector in enumerate(CORNERS)
        if other != corner and sum(x * y for x, y in zip(CORNERS[corner], vector, strict=True)) > 0
    )
    for corner in range(12)
)
# Per base cell: the corners that the axes i, j, k of a face point at, and its place (i, j, k) in
# the grid of resolution 0, where a corner is two steps from the centre of its face.
_CODES: Final = (
    "021100 013110 021000 013100 350002 021110 021001 013000 042100 013010 021010 021011 "
    "035100 035110 021002 054100 042000 612010 042001 013011 731001 013001 042110 612001 "
    "042002 612000 035000 167100 054110 035010 042011 054000 824010 042010 731010 167110 "
    "731000 286100 013002 612101 731101 054001 035001 035011 054010 612100 167000 953001 "
    "824001 054002 824000 379100 286110 054011 379110 731100 167010 286000 035002 286001 "
    "167001 a45010 953010 b76002 953000 a45001 4a8100 824101 b76011 953101 824100 379000 "
    "b97002 379010 286010 a45000 59a100 b76001 b68011 b68010 b76010 4a8110 59a110 b68002 "
    "953100 4a8000 a45101 4a8001 b97001 379001 b76000 b97011 b68001 b76101 a45100 b68000 "
    "59a000 ba9002 59a010 b97101 b8a010 4a8010 b8a011 b97010 59a001 b97000 b76100 b8a002 "
    "b68101 b68100 ba9011 ba9001 b8a001 b97100 b8a000 ba9010 ba9101 76b002 b8a100 ba9000 "
    "b8a101 ba9100 "
)
_BASE_CELLS: Final = tuple(tuple(int(x, 16) for x in code) for code in _CODES.split())
# A digit is one step of the grid: bits of i, j, k.
_STEPS: Final = tuple((digit >> 2, digit >> 1 & 1, digit & 1) for digit in range(7))
_CORNER_STEPS = 2
_MICRO_DEGREES = 1_000_000


def _turns() -> tuple[int, ...]:
    """atan(2^-n) for n = 0, 1, ... in micro-degrees times 2^24, by the arc tangent's series."""
    one, pi = 1 << 80, 3_454_217_652_358 << 40
    angles = [45 * _MICRO_DEGREES << 24]
    for shift in range(1, 44):
        terms = ((one >> shift * n) // n * (2 - n % 4) for n in range(1, 80, 2))
        angles.append((sum(terms) * 180 * _MICRO_DEGREES << 24) // pi)
    return tuple(angles)


_TURNS: Final = _turns()


def angle_udeg(across: int, along: int) -> int:
    """Direction of a vector in micro-degrees, -180e6 to 180e6 from `along` towards `across`.

    By rotating it onto the axis in ever smaller steps (CORDIC); its length must be 2^40 or more.
    """
    turned = 0
    if along < 0:
        turned = (180 if across >= 0 else -180) * _MICRO_DEGREES << 24
        across, along = -across, -along
    for shift, step in enumerate(_TURNS):
        if across > 0:
            along, across = along + (across >> shift), across - (along >> shift)
            turned += step
        elif across < 0:
            along, across = along - (across >> shift), across + (along >> shift)
            turned -= step
    return (turned + (1 << 23)) >> 24


def _grid_place(cell: int) -> tuple[list[int], list[int], int]:
    """The corners of a face, a cell's place (i, j, k) in its grid, and the steps to a corner.

    The grid is that of the cell's resolution, or of the next if that is odd.
    """
    *corners, i, j, k = _BASE_CELLS[cell >> 45 & 0x7F]
    corner_steps, resolution = _CORNER_STEPS, cell_resolution(cell)
    for level in range(1, resolution + resolution % 2 + 1):
        if level % 2:
            i, j, k = 3 * i + j, 3 * j + k, 3 * k + i
        else:
            i, j, k = 3 * i + k, 3 * j + i, 3 * k + j
            corner_steps *= 7
        if level <= resolution:
            di, dj, dk = _STEPS[cell >> 3 * (15 - level) & 7]
            i, j, k = i + di, j + dj, k + dk
    return corners, [i, j, k], corner_steps


def _fold(corners: list[int], weights: list[int]) -> None:
    """Move a point that lies beyond an edge of its face onto the face where it really is."""
    while (beyond := min(weights)) < 0:
        far = weights.index(beyond)
        near = [n for n in range(3) if n != far]
        shared = _NEAR[corners[near[0]]] & _NEAR[corners[near[1]]]
        (corners[far],) = shared - {corners[far]}
        for n in near:
            weights[n] += beyond
        weights[far] = -beyond


@lru_cache(maxsize=1 << 16)
def cell_centre(cell: int) -> tuple[int, int]:
    """Latitude and longitude of the centre of a valid H3 cell, in micro-degrees."""
    corners, place, corner_steps = _grid_place(cell)
    total = sum(place)
    weights = [3 * step + corner_steps - total for step in place]  # over 3 * corner_steps
    _fold(corners, weights)
    x, y, z = (
        sum(weight * CORNERS[corner][axis] for weight, corner in zip(weights, corners, strict=True))
        for axis in range(3)
    )
    return angle_udeg(z, isqrt(x * x + y * y)), angle_udeg(y, x)


def cells_apart_m(one: int, other: int) -> int:
    """Metres between the centres of two cells."""
    return distance_m(*cell_centre(one), *cell_centre(other))


# Centres of neighbouring cells of resolution 8 are 670 to 1,014 m apart, those of the next ring
# at least 1,202 m (measured over the globe with the H3 library).
NEIGHBOURS_APART_M: Final = 1_100


def is_same_or_neighbour(one: int, other: int) -> bool:
    """Whether two cells of resolution 8 are the same or touch."""
    return one == other or cells_apart_m(one, other) <= NEIGHBOURS_APART_M
