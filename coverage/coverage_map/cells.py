"""H3 cells as sorted columns of uint64: parents and ranges by bit operations, geometry through h3.

An H3 index holds its resolution in bits 52 to 55 and one 3-bit digit per resolution below that,
finest lowest, unused digits all ones. So the children of a cell at one resolution form one
contiguous range of integers, and a map tile is two binary searches on a sorted column.
"""

from __future__ import annotations

import functools

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import ArrayLike, NDArray

Cells = NDArray[np.uint64]
Floats = NDArray[np.float64]

MAX_RESOLUTION = 15
EARTH_RADIUS_M = 6_371_008.8  # IUGG mean radius R1
_RESOLUTION_SHIFT = np.uint64(52)
_RESOLUTION_MASK = np.uint64(0xF << 52)


def resolutions(cells: ArrayLike) -> NDArray[np.int64]:
    """Resolution of each cell."""
    indexes = np.asarray(cells, np.uint64)
    return ((indexes & _RESOLUTION_MASK) >> _RESOLUTION_SHIFT).astype(np.int64)


def parents(cells: ArrayLike, resolution: int) -> Cells:
    """Ancestor of each cell at `resolution`, which no cell may be coarser than."""
    indexes = np.asarray(cells, np.uint64)
    unused = np.uint64((1 << 3 * (MAX_RESOLUTION - resolution)) - 1)
    level = np.uint64(resolution << 52)
    return np.asarray((indexes & ~_RESOLUTION_MASK) | level | unused, np.uint64)


def child_range(cell: int, resolution: int) -> tuple[int, int]:
    """Lowest and highest index, inclusive, of descendants of `cell` at `resolution`."""
    own = cell >> 52 & 0xF
    if not own <= resolution <= MAX_RESOLUTION:
        raise ValueError(f"resolution {resolution} is coarser than the cell's {own}")
    unused = (1 << 3 * (MAX_RESOLUTION - resolution)) - 1
    digits = (1 << 3 * (MAX_RESOLUTION - own)) - 1
    level = cell & ~(0xF << 52) | resolution << 52
    return level & ~digits | unused, level


def child_ranges(cells: Cells, resolution: int) -> tuple[Cells, Cells]:
    """Lowest and highest index, inclusive, of each cell's descendants; all of one resolution."""
    own = int(resolutions(cells[:1])[0]) if len(cells) else resolution
    unused = np.uint64((1 << 3 * (MAX_RESOLUTION - resolution)) - 1)
    digits = np.uint64((1 << 3 * (MAX_RESOLUTION - own)) - 1)
    level = cells & ~_RESOLUTION_MASK | np.uint64(resolution << 52)
    return level & ~digits | unused, level


def slice_of(sorted_cells: Cells, cell: int, resolution: int) -> slice:
    """Where the descendants of `cell` lie in a sorted column of cells of one `resolution`."""
    lowest, highest = child_range(cell, resolution)
    start = np.searchsorted(sorted_cells, np.uint64(lowest), side="left")
    stop = np.searchsorted(sorted_cells, np.uint64(highest), side="right")
    return slice(int(start), int(stop))


@functools.lru_cache(maxsize=400_000)
def centre(cell: int) -> tuple[float, float]:
    """Latitude and longitude of the cell's centre, degrees."""
    latitude, longitude = h3.cell_to_latlng(cell)
    return latitude, longitude


def centres(cells: Cells) -> Floats:
    """Centres of cells, shape (n, 2): latitude and longitude in degrees."""
    if not len(cells):
        return np.empty((0, 2))
    return np.array([centre(int(cell)) for cell in cells], np.float64)


def ring(cell: int) -> list[list[float]]:
    """The cell's closed GeoJSON ring, [longitude, latitude], unwrapped at 180 degrees."""
    corners = [[round(lon, 7), round(lat, 7)] for lat, lon in h3.cell_to_boundary(cell)]
    if max(c[0] for c in corners) - min(c[0] for c in corners) > 180.0:
        corners = [[lon + 360.0 if lon < 0 else lon, lat] for lon, lat in corners]
    return [*corners, corners[0]]


def cell_at(latitude: float, longitude: float, resolution: int) -> int:
    """Cell that holds a position in degrees."""
    return int(h3.latlng_to_cell(latitude, longitude, resolution))


def disk(latitude: float, longitude: float, radius_m: float, resolution: int) -> Cells:
    """Sorted cells around a position: at least all whose centre is within `radius_m`."""
    edge_m = h3.average_hexagon_edge_length(resolution, unit="m")
    # Rings of an H3 disk lie at least 1.25 edges apart even where the grid is most distorted.
    steps = int(np.ceil(radius_m / (1.25 * edge_m))) + 1
    found = h3.grid_disk(cell_at(latitude, longitude, resolution), steps)
    return np.sort(np.fromiter(found, np.uint64))


def distance_m(
    latitude_a: ArrayLike, longitude_a: ArrayLike, latitude_b: ArrayLike, longitude_b: ArrayLike
) -> Floats:
    """Great-circle distance by the haversine formula; positions in degrees, arrays broadcast."""
    lat_a, lat_b = np.radians(latitude_a), np.radians(latitude_b)
    half_lat = np.sin((lat_b - lat_a) / 2.0)
    half_lon = np.sin(np.radians(np.subtract(longitude_b, longitude_a)) / 2.0)
    chord = half_lat**2 + np.cos(lat_a) * np.cos(lat_b) * half_lon**2
    return np.asarray(2.0 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))


def parse(text: str) -> int | None:
    """A cell from its hexadecimal form, or None when it names no cell."""
    try:
        cell = int(text, 16)
    except ValueError:
        return None
    return cell if cell < 1 << 64 and h3.is_valid_cell(cell) else None


def text_of(cell: int) -> str:
    """The cell's usual hexadecimal form."""
    return f"{cell:x}"
