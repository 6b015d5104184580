"""Footprints: what a path crosses stands on it, what covers a grid point stands there."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.propagation.buildings import (
    CLUTTER_HEIGHT_M,
    clutter_on,
    footprints_of_geojson,
    height_of,
    make_footprints,
    raise_profile,
    refine,
)
from coverage_map.propagation.p1812 import Link1812, compute_loss
from coverage_map.propagation.terrain import extract_profile, heights_at_m, make_raster

FLAT = make_raster(np.full((41, 41), 50.0), 51.02, 0.0, 0.0005, 0.0005)
START, END = (51.01, 0.002), (51.01, 0.018)


def block(west: float, east: float, south: float = 51.009, north: float = 51.011) -> object:
    return shapely.box(west, south, east, north)


def test_a_building_stands_on_the_points_that_it_covers() -> None:
    path = extract_profile(FLAT, START, END, 20.0)
    raised = raise_profile(path, START, END, make_footprints([block(0.008, 0.012)], [18.0]))
    share = path.distance_m / path.distance_m[-1]
    inside = (share > 0.38) & (share < 0.62)
    assert (raised.clutter_m[inside] == 18.0).all()
    assert (raised.clutter_m[(share < 0.37) | (share > 0.63)] == 0.0).all()
    link = Link1812(868e6, 10.0, 1.5, 51.0)
    assert compute_loss(raised, link).loss_db > compute_loss(path, link).loss_db + 10.0


def test_a_house_between_two_points_still_counts() -> None:
    path = extract_profile(FLAT, START, END, 200.0)
    thin = make_footprints([block(0.01001, 0.01003)], [9.0])
    raised = raise_profile(path, START, END, thin)
    assert sorted(set(raised.clutter_m.tolist())) == [0.0, 9.0]
    assert int((raised.clutter_m == 9.0).sum()) == 1


def test_the_highest_counts_and_the_ends_stay() -> None:
    path = extract_profile(FLAT, START, END, 20.0)
    both = make_footprints([block(0.0, 0.02), block(0.008, 0.009)], [5.0, 30.0])
    raised = raise_profile(path, START, END, both)
    assert raised.clutter_m[0] == raised.clutter_m[-1] == 0.0
    assert raised.clutter_m.max() == 30.0
    assert (raised.clutter_m[1:-1] >= 5.0).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(51.0, 51.02), st.floats(0.001, 0.019), st.floats(0.0002, 0.004))
def test_the_grid_and_the_polygons_agree(lat: float, lon: float, size: float) -> None:
    shape = shapely.Point(lon, lat).buffer(size)
    clutter = clutter_on(FLAT, make_footprints([shape], [12.0]))
    rows, cols = np.indices(FLAT.heights_m.shape)
    covered = shapely.intersects_xy(shape, cols * 0.0005, 51.02 - rows * 0.0005)
    assert ((clutter.heights_m == 12.0) == covered).all()


def test_a_base_stays_where_nothing_higher_stands() -> None:
    woods = make_raster(np.full((41, 41), CLUTTER_HEIGHT_M["trees"]), 51.02, 0.0, 0.0005, 0.0005)
    low_and_high = make_footprints([block(0.0, 0.01), block(0.012, 0.015)], [4.0, 40.0])
    got = clutter_on(FLAT, low_and_high, woods)
    assert sorted(set(got.heights_m.ravel().tolist())) == [15.0, 40.0]
    with pytest.raises(ValueError, match="base"):
        clutter_on(FLAT, low_and_high, make_raster(np.zeros((3, 3)), 51.0, 0.0, 0.1, 0.1))


def test_footprints_outside_the_terrain_do_nothing() -> None:
    far = make_footprints([shapely.box(5.0, 5.0, 6.0, 6.0), shapely.box(-2.0, 60.0, -1.0, 61.0)],
                          [10.0, 10.0])
    assert clutter_on(FLAT, far).heights_m.max() == 0.0


def test_geojson_heights_are_metres_floors_or_the_default() -> None:
    ring = [[0.0, 51.0], [0.001, 51.0], [0.001, 51.001], [0.0, 51.0]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    said = [{"height": "12.5 m"}, {"building:levels": "4"}, {"height": "tall"}, None]
    collection = {
        "type": "FeatureCollection",
        "features": [
            *({"type": "Feature", "geometry": polygon, "properties": p} for p in said),
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}},
            {"type": "Feature", "geometry": None},
        ],
    }
    assert footprints_of_geojson(collection).heights_m.tolist() == [12.5, 12.0, 6.0, 6.0]
    with pytest.raises(ValueError, match="features"):
        footprints_of_geojson({"type": "Feature"})
    assert height_of({"height": -3}, 7.0) == 7.0


def test_bad_heights_are_refused_and_broken_outlines_mended() -> None:
    with pytest.raises(ValueError, match="heights_m"):
        make_footprints([block(0.0, 1.0)], [float("nan")])
    with pytest.raises(ValueError, match="one per shape"):
        make_footprints([block(0.0, 1.0)], [])
    bow = shapely.Polygon([(0.0, 51.0), (0.01, 51.01), (0.01, 51.0), (0.0, 51.01)])
    mended = make_footprints([bow], [8.0])
    assert bool(shapely.is_valid(mended.shapes[0]))
    assert clutter_on(FLAT, mended).heights_m.max() == 8.0
    assert clutter_on(FLAT, make_footprints([], [])).heights_m.max() == 0.0


def test_a_finer_grid_is_the_same_terrain() -> None:
    slope = make_raster(np.add.outer(np.arange(5.0), 2.0 * np.arange(7.0)), 10.0, 20.0, 0.1, 0.1)
    fine = refine(slope, 4)
    assert fine.heights_m.shape == (17, 25)
    assert fine.heights_m[4, 8] == slope.heights_m[1, 2]
    assert float(heights_at_m(fine, 9.87, 20.31)) == pytest.approx(
        float(heights_at_m(slope, 9.87, 20.31)), abs=1e-4
    )
    with pytest.raises(ValueError, match="factor"):
        refine(slope, 0)
