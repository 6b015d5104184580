"""Tiles: what is encoded is what is read, in our form and in Mapbox's, and small on the wire."""

from __future__ import annotations

from pathlib import Path

import h3.api.basic_int as h3
import mapbox_vector_tile
import numpy as np
import pytest
import zstandard
from store_helpers import make_rows

from coverage_map.cells import parents, slice_of
from coverage_map.store.aggregates import aggregate, levels_of
from coverage_map.store.tables import COLUMNS, Table, nothing_predicted, table_of
from coverage_map.store.view import View, blank_level
from coverage_map.tiles import binary, mvt
from coverage_map.tiles.io_pmtiles import write_archive

WHOLE = (3, 4, 5, 6, 7, 8, 9, 10, 11)


@pytest.fixture(scope="module")
def view() -> View:
    own = aggregate(make_rows(20_000, 1, (9, 9, 10), spread=0.2))
    levels = {r: table_of(x, nothing_predicted()) for r, x in levels_of(own, 3).items()}
    return View("0123456789abcdef", 1_000, 0, levels)


def tile(view: View, parent: int, resolution: int, names: tuple[str, ...]) -> binary.Tile:
    rows = view.rows(resolution, parent)
    content = binary.encode(view.levels[resolution], rows, parent, resolution, names, view.epoch)
    return binary.decode(content)


def busiest(view: View, level: int, under: int = 9) -> int:
    found, counts = np.unique(parents(view.levels[under]["cells"], level), return_counts=True)
    return int(found[np.argmax(counts)])


@pytest.mark.parametrize("level", [3, 5, 6, 8, 9])
@pytest.mark.parametrize("names", [("value", "sd"), ("sd", "count", "age"), tuple(binary.COLUMNS)])
def test_a_tile_gives_back_its_rows(view: View, level: int, names: tuple[str, ...]) -> None:
    parent = busiest(view, level)
    table, rows = view.levels[9], view.rows(9, parent)
    found = tile(view, parent, 9, names)
    assert (found.cells == table["cells"][rows]).all()
    assert (found.measured == (table["count"][rows] > 0)).all()
    assert list(found.values) == list(names)
    wanted = {
        "value": (table["value_cdbm"][rows] / 100, 0.25),
        "sd": (table["sd_cdb"][rows] / 100, 0.125),
        "count": (table["count"][rows], 0),
        "devices": (table["devices"][rows], 0),
        "age": (1_000 - table["last"][rows].astype(int), 0),
        "p50": (table["p50_cdbm"][rows] / 100, 1e-4),
        "min": (table["low_cdbm"][rows] / 100, 1e-4),
        "server": (table["server"][rows], 0),
    }
    for name in set(names) & set(wanted):
        exact, tolerance = wanted[name]
        assert np.abs(found.values[name] - exact).max() <= tolerance + 1e-9, name


def test_every_way_to_name_rows_is_used_and_read(view: View) -> None:
    dense, sparse = busiest(view, 8, under=9), busiest(view, 3)
    codings = set()
    for parent in (dense, sparse):
        rows = view.rows(9, parent)
        content = binary.encode(view.levels[9], rows, parent, 9)
        codings.add(content[13])
        assert (binary.decode(content).cells == view.levels[9]["cells"][rows]).all()
    assert codings == {0, 1}


def test_a_tile_under_a_pentagon_holds_its_cells() -> None:
    pentagon = sorted(h3.get_pentagons(5))[3]
    cells = np.array(sorted(h3.cell_to_children(pentagon, 9)), np.uint64)
    level = blank_level()
    table: Table = {name: np.zeros(len(cells), column.dtype) for name, column in level.items()}
    table["cells"] = cells
    content = binary.encode(table, slice_of(cells, pentagon, 9), pentagon, 9)
    assert (binary.decode(content).cells == cells).all()


def test_an_empty_tile_is_a_tile(view: View) -> None:
    nowhere = h3.latlng_to_cell(-40.0, -100.0, 5)
    found = tile(view, nowhere, 9, ("value", "sd"))
    assert len(found.cells) == len(found.values["value"]) == 0


NO_NAMES = binary.HEAD.pack(b"WCT1", 0x851F8D93FFFFFFF, 9, 0, 0, 0, 5, 0)


@pytest.mark.parametrize("content", [b"", b"WCT2" + bytes(40), NO_NAMES])
def test_what_is_no_tile_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="tile"):
        binary.decode(content)


def test_id_and_two_values_take_less_than_two_bytes_on_the_wire() -> None:
    """A full tile whose values change smoothly with noise of 3 dB, as fields of signal do."""
    parent = h3.latlng_to_cell(47.0, 8.0, 5)
    cells = np.array(sorted(h3.cell_to_children(parent, 9)), np.uint64)
    draws = np.random.default_rng(1)
    table: Table = {name: np.zeros(len(cells), c.dtype) for name, c in blank_level().items()}
    table["cells"], table["count"] = cells, draws.integers(0, 3, len(cells)).astype(np.uint32)
    table["value"] = np.round(90 + draws.normal(0, 6, len(cells))).astype(np.uint8)
    table["sd"] = np.round(16 + draws.normal(0, 2, len(cells))).astype(np.uint8)
    content = binary.encode(table, slice(0, len(cells)), parent, 9)
    packed = zstandard.ZstdCompressor(level=3).compress(content)
    assert len(packed) / len(cells) < 2.0


def test_an_overlay_shows_in_tiles_and_replaces_rows(view: View) -> None:
    parent = busiest(view, 6)
    base = view.under(9, parent)
    row = {name: column[:1].copy() for name, column in base.items()}
    row["value"][:] = 7
    new = {name: column.copy() for name, column in row.items()}
    new["cells"][:] = busiest_gap(base["cells"], parent)
    over = {n: np.concatenate((row[n], new[n])) for n in row}
    order = np.argsort(over["cells"])
    over = {n: column[order] for n, column in over.items()}
    laid = View("0123456789abcdef", 1_000, 0, view.levels, {9: over}, 1)
    found = laid.under(9, parent)
    assert len(found["cells"]) == len(base["cells"]) + 1
    assert (np.diff(found["cells"].astype(np.int64)) > 0).all()
    at = np.searchsorted(found["cells"], base["cells"][0])
    assert found["value"][at] == 7
    assert laid.identity != view.identity
    assert not laid.is_plain(9, parent)
    assert laid.is_plain(9, h3.latlng_to_cell(-40.0, -100.0, 6))


def busiest_gap(known: np.ndarray, parent: int) -> int:
    return next(c for c in sorted(h3.cell_to_children(parent, 9)) if c not in set(known.tolist()))


def test_a_vector_tile_says_to_others_what_we_know(view: View) -> None:
    latitude, longitude = h3.cell_to_latlng(busiest(view, 7))
    zoom = 11
    x = int((longitude + 180) / 360 * 2**zoom)
    up = np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    square = mvt.Square(zoom, x, int((0.5 - up / (2 * np.pi)) * 2**zoom))
    rows = mvt.rows_for(view, square)
    read = mapbox_vector_tile.decode(
        mvt.encode(rows, square), default_options={"y_coord_down": True}
    )["cells"]
    assert read["extent"] == 4_096
    assert len(read["features"]) == len(rows["cells"]) > 30
    for number, feature in enumerate(read["features"]):
        cell = int(rows["cells"][number])
        assert feature["id"] == cell
        about = feature["properties"]
        assert about["h3"] == h3.int_to_str(cell)
        assert about["value"] == pytest.approx(rows["value_cdbm"][number] / 100, abs=0.051)
        assert about["sd"] == pytest.approx(rows["sd_cdb"][number] / 100, abs=0.0051)
        assert about["count"] == rows["count"][number]
        assert about["measured"] is True
        ring = np.array(feature["geometry"]["coordinates"][0])
        theirs = on_tile(h3.cell_to_boundary(cell), square)
        assert {tuple(p) for p in ring.tolist()} == {tuple(p) for p in theirs.tolist()}
        assert area(ring) > 0  # an exterior ring, by the specification's formula


def on_tile(corners: tuple[tuple[float, float], ...], square: mvt.Square) -> np.ndarray:
    both = in_square(corners) * 2**square.zoom
    return np.round((both - (square.x, square.y)) * 4_096).astype(int)


def in_square(corners: tuple[tuple[float, float], ...]) -> np.ndarray:
    places = np.array(corners)
    up = np.arctanh(np.sin(np.radians(places[:, 0]))) / (2 * np.pi)
    return np.stack((places[:, 1] / 360 + 0.5, 0.5 - up), axis=1)


def area(ring: np.ndarray) -> float:
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_every_cell_is_in_the_tiles_that_it_touches(view: View) -> None:
    for zoom in (8, 11):
        side = 2**zoom
        resolution = mvt.resolution_for(zoom)
        found: set[int] = set()
        cells = view.levels[resolution]["cells"].tolist()
        for cell in cells[:40]:
            for place in h3.cell_to_boundary(cell):
                both = in_square((place,))[0] * side
                square = mvt.Square(zoom, int(both[0]), int(both[1]))
                shown = mvt.rows_for(view, square)["cells"].tolist()
                assert cell in shown
                found.add(cell)
        assert len(found) == min(len(cells), 40)


def test_an_archive_holds_the_tiles(view: View, tmp_path: Path) -> None:
    from pmtiles.reader import MmapSource, Reader

    path = tmp_path / "all.pmtiles"
    small = View("0123456789abcdef", 0, 0, {r: head(view.levels[r], r) for r in WHOLE})
    count = write_archive(small, path)
    with path.open("rb") as file:
        archive = Reader(MmapSource(file))
        assert archive.header()["tile_entries_count"] <= count
        assert archive.header()["max_zoom"] == 11
        assert archive.metadata()["vector_layers"][0]["id"] == "cells"
        assert archive.get(0, 0, 0) is not None
    assert not list(tmp_path.glob("*.part"))


def head(level: Table, resolution: int) -> Table:
    rows = slice(0, 30 if resolution == 9 else 10)
    return {name: level[name][rows] for name in COLUMNS}
