"""The tables of hotspot/hexagon.py, asked of the h3 package: python tests/hexagon_tables.py."""

from __future__ import annotations

import itertools
from base64 import b64encode

import h3

from hotspot import hexagon

RESOLUTION = 3
PENTAGONS = (hexagon.IS_PENTAGON, hexagon.IS_PENTAGON | hexagon.IS_CLOCKWISE)
CHOICE = [flags | turns << 7 for flags in (0, *PENTAGONS) for turns in range(6)]


def corners() -> tuple[tuple[float, float], ...]:
    """Centres of the twelve pentagons."""
    return tuple(h3.cell_to_latlng(cell) for cell in sorted(h3.get_pentagons(0)))


def faces() -> tuple[tuple[int, int, int], ...]:
    """Three corners each, next to each other, counter-clockwise from outside."""
    points = [hexagon._unit(*corner) for corner in corners()]
    found = []
    for a, b, c in itertools.combinations(range(12), 3):
        near = [hexagon._dot(points[p], points[q]) for p, q in ((a, b), (b, c), (a, c))]
        if min(near) > 0.4:  # neighbours are 63.4 degrees apart
            outside = hexagon._dot(hexagon._cross(points[a], points[b]), points[c]) > 0
            found.append((a, b, c) if outside else (a, c, b))
    return tuple(found)


def entries(resolution: int = RESOLUTION) -> bytes:
    """`TURNS`, from points all over the Earth: the least entry that fits all of a place's."""
    left: dict[int, tuple[int, list[int]]] = {}
    for cell in h3.uncompact_cells(h3.get_res0_cells(), resolution):
        for latitude, longitude in (h3.cell_to_latlng(cell), *near_corners(cell)):
            number = int(h3.latlng_to_cell(latitude, longitude, resolution), 16)
            face, point = hexagon.locate(latitude, longitude, resolution)
            base, digits = hexagon.split(point, resolution)
            wanted = [number >> 3 * (15 - level) & 7 for level in range(1, resolution + 1)]
            at = face * hexagon.PLACES + hexagon.place_of(base)
            pentagon = hexagon.IS_PENTAGON if h3.is_pentagon(h3.cell_to_parent(cell, 0)) else 0
            choice = [one for one in CHOICE if one & hexagon.IS_PENTAGON == pentagon]
            known, fit = left.get(at, (number >> 45 & 0x7F, choice))
            assert known == number >> 45 & 0x7F
            left[at] = known, [one for one in fit if hexagon.settle(digits, one) == wanted]
    table = bytearray(2 * 20 * hexagon.PLACES)
    for at, (base_cell, fit) in left.items():
        table[2 * at : 2 * at + 2] = (base_cell | min(fit)).to_bytes(2, "big")
    return bytes(table)


def near_corners(cell: str) -> list[tuple[float, float]]:
    """Places near the rim of a cell, well inside."""
    latitude, longitude = h3.cell_to_latlng(cell)
    return [
        (latitude + 0.8 * (lat - latitude), longitude + 0.8 * ((lon - longitude + 180) % 360 - 180))
        for lat, lon in h3.cell_to_boundary(cell)
    ]


def main() -> None:
    """Print the tables."""
    hexagon.CORNERS, hexagon.FACES = corners(), faces()
    hexagon.frames.cache_clear()
    print(hexagon.CORNERS)
    print(hexagon.FACES)
    print(b64encode(entries()).decode())


if __name__ == "__main__":
    main()
