"""Centres and corners of many H3 cells at once, from the geometry of the grid.

H3 lays one hexagonal lattice over an icosahedron whose corners are the twelve pentagons. On a face
the lattice is plane and becomes a place on the sphere by the gnomonic projection; across an edge it
goes on as if the two faces were unfolded. So a cell is a complex number: the sum of its digits'
sixth roots of unity, shrunk by the square root of 7 and turned by 19.1 degrees from one resolution
to the next. Where that number lies on which face is one affine map per base cell (and per first
digit, for the twelve base cells that are pentagons). These maps are not written down here: they
are fitted to h3's own centres of a few cells when first used, and a fit that isn't exact raises.

Pentagons, and cells that cross an edge of the icosahedron (where h3 adds corners at
odd resolutions) are left to h3 itself.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

BASE_CELLS, FACES, DIGITS = 122, 20, 7
FIT_RESOLUTION = 3
EXACT = 1e-9
# Sixth root of unity of each digit: 1 is the k axis, 2 the j axis, 4 the i axis.
_ANGLES_DEG = (240.0, 120.0, 180.0, 0.0, 300.0, 60.0)
TURN = math.asin(math.sqrt(3.0 / 28.0))  # of odd resolutions against even ones: 19.1 degrees


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The icosahedron as h3 lays it, and where base cells lie on it.

    axes (20, 3, 3): centre and two axes of each face, unit vectors. corners (20, 3): a face's
    corners in its own plane, counter-clockwise. across (20, 3) and unfold (20, 3, 2): the face
    beyond the edge from corner k to k + 1, and the map a + b * z onto its plane. face, shift, scale
    (122, 7): the face and the map from lattice to plane, by base cell and first digit.
    """

    axes: Floats
    corners: Complex
    across: NDArray[np.int64]
    unfold: Complex
    face: NDArray[np.int64]
    shift: Complex
    scale: Complex


def steps() -> Complex:
    """The complex step of digit d at resolution r, shape (16, 7)."""
    roots = np.array([0.0, *np.exp(1j * np.radians(_ANGLES_DEG))])
    found = np.zeros((16, DIGITS), np.complex128)
    for resolution in range(1, 16):
        turned = np.exp(1j * TURN) if resolution % 2 else 1.0
        found[resolution] = roots * 7.0 ** (-resolution / 2.0) * turned
    return found


def _vector(latitude_deg: float, longitude_deg: float) -> Floats:
    lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
    return np.array(
        [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)]
    )


def _faces() -> tuple[Floats, NDArray[np.int64], Floats]:
    """Axes and corner numbers of the faces: triples of neighbouring pentagons."""
    points = np.array([_vector(*h3.cell_to_latlng(cell)) for cell in sorted(h3.get_pentagons(0))])
    near = points @ points.T > 0.4  # neighbours are 63.4 degrees apart
    triples = [
        (a, b, c)
        for a in range(12)
        for b in range(a + 1, 12)
        for c in range(b + 1, 12)
        if near[a, b] and near[b, c] and near[a, c]
    ]
    axes, corners = [], []
    for a, b, c in triples:
        if np.dot(points[a], np.cross(points[b], points[c])) < 0:
            b, c = c, b
        centre = points[a] + points[b] + points[c]
        centre /= np.linalg.norm(centre)
        east = points[a] - centre * np.dot(points[a], centre)
        east /= np.linalg.norm(east)
        axes.append((centre, east, np.cross(centre, east)))
        corners.append((a, b, c))
    return np.array(axes), np.array(corners), points


def _to_plane(axes: Floats, point: Floats) -> Any:
    depth = point @ axes[0]
    return (point @ axes[1] + 1j * (point @ axes[2])) / depth


def _lattice(cell: int, table: Complex) -> complex:
    resolution = cell >> 52 & 0xF
    digits = [cell >> 3 * (15 - r) & 7 for r in range(1, resolution + 1)]
    return complex(sum(table[r + 1, d] for r, d in enumerate(digits)))


def first_digit(cell: int) -> int:
    """The first digit of a cell that isn't 0; 0 if there is none."""
    for resolution in range(1, (cell >> 52 & 0xF) + 1):
        digit = cell >> 3 * (15 - resolution) & 7
        if digit:
            return digit
    return 0


@functools.cache
def frame() -> Frame:
    """The frame, fitted once. RuntimeError if this h3 lays its grid otherwise than described."""
    axes, corners, points = _faces()
    plane = np.array(
        [[_to_plane(axes[f], points[k]) for k in corners[f]] for f in range(FACES)]
    )
    across = np.zeros((FACES, 3), np.int64)
    unfold = np.zeros((FACES, 3, 2), np.complex128)
    for f in range(FACES):
        for k in range(3):
            ends = (corners[f][k], corners[f][(k + 1) % 3])
            g = next(g for g in range(FACES) if g != f and set(ends) <= set(corners[g].tolist()))
            there = [plane[g][corners[g].tolist().index(end)] for end in ends]
            scale = (there[1] - there[0]) / (plane[f][(k + 1) % 3] - plane[f][k])
            across[f, k], unfold[f, k] = g, (there[0] - scale * plane[f][k], scale)
    face, shift, scale_of = _base_cells(axes)
    return Frame(axes, plane, across, unfold, face, shift, scale_of)


def _base_cells(axes: Floats) -> tuple[NDArray[np.int64], Complex, Complex]:
    table = steps()
    face = np.zeros((BASE_CELLS, DIGITS), np.int64)
    shift, scale = (np.zeros((BASE_CELLS, DIGITS), np.complex128) for _ in range(2))
    for base in h3.get_res0_cells():
        number = base >> 45 & 0x7F
        groups: dict[int, list[int]] = {}
        for cell in h3.cell_to_children(base, FIT_RESOLUTION):
            groups.setdefault(first_digit(cell) if h3.is_pentagon(base) else 0, []).append(cell)
        for lead, cells in groups.items():
            if lead == 0 and h3.is_pentagon(base):
                continue
            best, fitted = _fit(cells, axes, table)
            chosen = slice(None) if lead == 0 else lead
            face[number, chosen], shift[number, chosen], scale[number, chosen] = best, *fitted
    return face, shift, scale


def _fit(
    cells: list[int], axes: Floats, table: Complex
) -> tuple[int, tuple[complex, complex]]:
    """The face that holds most of the cells, and the map from lattice to its plane."""
    points = np.array([_vector(*h3.cell_to_latlng(cell)) for cell in cells])
    nearest = np.argmax(points @ axes[:, 0].T, axis=1)
    best = int(np.bincount(nearest, minlength=FACES).argmax())
    inside = np.flatnonzero(nearest == best)
    spots = np.array([_to_plane(axes[best], points[i]) for i in inside])
    places = np.array([_lattice(cells[i], table) for i in inside])
    design = np.stack((np.ones(len(places)), places), axis=1)
    fitted = np.linalg.lstsq(design, spots, rcond=None)[0]
    if len(inside) < 3 or np.abs(design @ fitted - spots).max() > EXACT:
        raise RuntimeError(f"base cell of {cells[0]:x}: h3 lays its grid otherwise than expected")
    return best, (complex(fitted[0]), complex(fitted[1]))


@functools.cache
def _constants() -> tuple[Any, ...]:
    made = frame()
    corners = np.exp(1j * np.radians(30.0 + 60.0 * np.arange(6))) / math.sqrt(3.0)
    spans = np.array([7.0 ** (-r / 2.0) * (np.exp(1j * TURN) if r % 2 else 1) for r in range(16)])
    return (
        *(steps(), spans[:, None] * corners, made.axes, made.corners),
        *(made.across, made.unfold, made.face, made.shift, made.scale),
    )


def centres(cells: NDArray[np.uint64]) -> Floats:
    """Latitude and longitude of cells' centres in degrees, shape (n, 2)."""
    from coverage_map.hexagon_kernels import write_centres

    cells = np.ascontiguousarray(cells, np.uint64)
    out, odd = np.empty((len(cells), 2)), np.zeros(len(cells), np.bool_)
    write_centres(cells, *_constants(), out, odd)
    for row in np.flatnonzero(odd):
        out[row] = h3.cell_to_latlng(int(cells[row]))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """Corners of cells, counter-clockwise: x, y (n, 6), and those of cells that have not six.

    x is longitude in degrees and y latitude, or both in Web Mercator's square from 0 to 1. `others`
    maps rows to their own corners (k, 2); x and y of such rows mean nothing.
    """

    x: Floats
    y: Floats
    others: dict[int, Floats]


def boundaries(cells: NDArray[np.uint64], *, mercator: bool = False) -> Boundaries:
    """Corners of cells as h3 gives them, to a nanodegree."""
    from coverage_map.hexagon_kernels import write_corners

    cells = np.ascontiguousarray(cells, np.uint64)
    x, y = np.empty((len(cells), 6)), np.empty((len(cells), 6))
    odd = np.zeros(len(cells), np.bool_)
    write_corners(cells, *_constants(), mercator, x, y, odd)
    others = {}
    for row in np.flatnonzero(odd).tolist():
        corners = np.array(h3.cell_to_boundary(int(cells[row])))[:, ::-1]
        others[row] = _mercator(corners) if mercator else corners
    return Boundaries(x, y, others)


def _mercator(places: Floats) -> Floats:
    """Web Mercator's square, x to the east and y to the south (OGC 17-083r4, annex D)."""
    up = np.sin(np.radians(places[:, 1]))
    return np.stack((places[:, 0] / 360.0 + 0.5, 0.5 - np.arctanh(up) / (2.0 * np.pi)), axis=1)
