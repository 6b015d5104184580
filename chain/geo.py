"""Where things are, in integers: metres between micro-degrees, and H3 cells by their bits.

Distance is equirectangular at the mean latitude, on the sphere that H3 uses. Up to 50 km and
latitude 70 it differs from the great circle by less than 0.1 % + 1 m; farther apart it only has to
be far.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

_SCALE_BITS = 40
_PI = 3_454_217_652_358  # pi * 2^40
_METRES_PER_100_DEGREES = 11_119_508  # pi / 180 * 6,371,007.18 m (H3's sphere), times 100
_FULL_CIRCLE_UDEG = 360_000_000

_RESOLUTION_SHIFT = 52
_BASE_CELL_SHIFT = 45
_MAX_RESOLUTION = 15
_PENTAGONS = frozenset((4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117))


def _cosine(degrees: int) -> int:
    """Cosine of 0 to 90 degrees, times 2^40, by its Taylor series."""
    angle = _PI * degrees // 180
    square = angle * angle >> _SCALE_BITS
    total = term = 1 << _SCALE_BITS
    for n in range(1, 16):
        term = -(term * square >> _SCALE_BITS) // ((2 * n - 1) * (2 * n))
        total += term
    return max(0, total)


_COSINES = (*(_cosine(degrees) for degrees in range(91)), 0)


def _cosine_at(latitude_udeg: int) -> int:
    """Cosine, times 2^40, between two whole degrees by a straight line: 4e-5 too small at most."""
    degree, part = divmod(abs(latitude_udeg), 1_000_000)
    low, high = _COSINES[degree], _COSINES[degree + 1]
    return low + (high - low) * part // 1_000_000


def distance_m(
    latitude1_udeg: int, longitude1_udeg: int, latitude2_udeg: int, longitude2_udeg: int
) -> int:
    """Metres between two positions, rounded down."""
    east = abs(longitude1_udeg - longitude2_udeg) % _FULL_CIRCLE_UDEG
    east = min(east, _FULL_CIRCLE_UDEG - east)
    cosine = _cosine_at((latitude1_udeg + latitude2_udeg) // 2)
    north = abs(latitude1_udeg - latitude2_udeg) << _SCALE_BITS
    apart = isqrt(north * north + (east * cosine) ** 2)  # micro-degrees, times 2^40
    return apart * _METRES_PER_100_DEGREES // 10**8 >> _SCALE_BITS


def cell_resolution(cell: int) -> int:
    """The resolution of an H3 cell, 0 to 15."""
    return cell >> _RESOLUTION_SHIFT & 0xF


def _digit(cell: int, resolution: int) -> int:
    return cell >> 3 * (_MAX_RESOLUTION - resolution) & 7


def is_cell(cell: int) -> bool:
    """Whether the bits are a valid H3 cell: mode 1, base cell, digits, no deleted pentagon part."""
    base = cell >> _BASE_CELL_SHIFT & 0x7F
    if not 0 <= cell < 1 << 64 or cell >> 56 != 0x08 or base > 121:
        return False
    resolution = cell_resolution(cell)
    digits = [_digit(cell, level) for level in range(1, _MAX_RESOLUTION + 1)]
    if 7 in digits[:resolution] or any(digit != 7 for digit in digits[resolution:]):
        return False
    first = next((digit for digit in digits[:resolution] if digit), 0)
    return not (base in _PENTAGONS and first == 1)


def cell_parent(cell: int, resolution: int) -> int:
    """The cell of a coarser resolution that holds this one; itself if it is as coarse already."""
    if resolution >= cell_resolution(cell):
        return cell
    unused = (1 << 3 * (_MAX_RESOLUTION - resolution)) - 1
    return cell & ~(0xF << _RESOLUTION_SHIFT) | resolution << _RESOLUTION_SHIFT | unused


def cell_parents(np: Any, cells: Any, resolution: int) -> Any:
    """`cell_parent` of an int64 array of cells."""
    added = resolution << _RESOLUTION_SHIFT | (1 << 3 * (_MAX_RESOLUTION - resolution)) - 1
    coarser = cells & ~(0xF << _RESOLUTION_SHIFT) | added
    return np.where(cells >> _RESOLUTION_SHIFT & 0xF > resolution, coarser, cells)
