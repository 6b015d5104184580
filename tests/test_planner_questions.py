from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from planner_helpers import MIDDLE, site, world

from chain.errors import UserError
from chain.geo import cell_parent
from coverage_map.cells import cell_at, centres, disk, distance_m
from coverage_map.estimator.core import Estimator
from coverage_map.links import LinkTable
from coverage_map.planning.gaps import connected, find_gaps
from coverage_map.planning.inputs import FIRST_NEW, bbox_cells
from coverage_map.planning.population import make_population, population_of_points, spread_raster
from coverage_map.planning.processes import PROCESSES, Forgetful, execute
from coverage_map.planning.reach import Method, cells_within, reach
from coverage_map.planning.reward import Economy, expected_reward, steps_of
from coverage_map.planning.scene import (
    Scene,
    Service,
    area_km2,
    empty_scene,
    joined,
    on_cells,
    overlaid,
    scene_of,
    scene_of_level,
    without,
)
from coverage_map.planning.world import NEWEST, World
from coverage_map.propagation.pathloss import free_space_db
from coverage_map.propagation.terrain import make_raster
from coverage_map.snapshot import NO_SERVER

AREA = {"lat": MIDDLE[0], "lon": MIDDLE[1], "radius_m": 3_000}


def flat(height_m: float = 400.0) -> Any:
    return make_raster(np.full((500, 500), height_m), 47.2, 7.8, 1 / 1200, 1 / 1200)


# ---- footprints


def test_over_flat_ground_a_footprint_is_free_space() -> None:
    one = site(7, mhz=868)
    found = reach(one, Method("free_space", flat(), radius_m=3_000.0), 9)
    places = centres(found.cells)
    metres = distance_m(*MIDDLE, places[:, 0], places[:, 1])
    far = metres > 1_000.0
    expected = 20.0 - free_space_db(metres, 868e6)
    # A cell takes the loss of the grid cell that holds its middle: within half of it.
    assert np.abs(found.mean_dbm - expected)[far].max() < 1.5
    assert metres.max() <= 3_000.0


def test_a_ridge_casts_a_shadow() -> None:
    ground = flat()
    ridge = ground.heights_m.copy()
    ridge[:, 255:258] += 150.0
    here = Method("p1812", ground, radius_m=5_000.0)
    one = site(7, 47.0, 8.0, 868)
    behind = replace(here, terrain=replace(ground, heights_m=ridge))
    plain, blocked = reach(one, here, 9), reach(one, behind, 9)
    east = cell_at(47.0, 8.05, 9)
    level = {name: dict(zip(p.cells.tolist(), p.mean_dbm, strict=True))
             for name, p in (("plain", plain), ("blocked", blocked))}
    assert level["plain"][east] - level["blocked"].get(east, -200.0) > 6.0


def test_models_need_what_they_need() -> None:
    with pytest.raises(ValueError, match=r"^terrain: .*; "):
        reach(site(1), Method("itm"), 9)
    with pytest.raises(ValueError, match=r"^radius_m: .*; "):
        reach(site(1), Method("p1812", flat(), radius_m=1e6), 10)


# ---- scenes


def test_adding_and_removing_a_hotspot_gives_the_scene_back() -> None:
    prints = [reach(site(k, 47.0 + k / 500, 8.0), Method(), 10) for k in range(3)]
    base, new = scene_of(prints, 10), reach(site(9, 47.003, 8.001), Method(), 10)
    both = joined(base, new)
    assert both.servers.tolist() == scene_of([*prints, new], 10).servers.tolist()
    back = on_cells(without(both, 9, 8.0), base.cells)
    assert back.servers.tolist() == base.servers.tolist()
    assert np.array_equal(back.servers_dbm, base.servers_dbm, equal_nan=True)


def test_a_measured_cell_stays_measured_until_a_stronger_hotspot_comes() -> None:
    base = scene_of([reach(site(1), Method(), 10)], 10)
    cell = base.cells[:1]
    said = overlaid(base, cell, np.array([1]), np.array([-70.0]), np.array([2.0]))
    assert said.measured.tolist()[0]
    assert said.best_dbm()[0] == -70.0
    weak = reach(site(2, 47.002, 8.0), Method(), 10)
    after = on_cells(joined(said, weak), cell)
    assert after.measured[0]
    strong = replace(weak, cells=cell, mean_dbm=np.array([-50.0]), sd_db=np.array([5.0]))
    taken = on_cells(joined(said, strong), cell)
    assert (taken.servers[0, 0], taken.best_dbm()[0], taken.measured[0]) == (2, -50.0, False)
    gone = without(said, 1, 8.0)
    assert gone.servers[0, 0] == NO_SERVER
    assert np.isnan(gone.best_dbm()[0])
    assert not gone.measured.any()


def test_a_snapshots_level_becomes_the_same_scene_that_its_sites_predict() -> None:
    sites = {k: replace(site(k, 47.0 + k / 300, 8.0), cell=cell_at(47.0 + k / 300, 8.0, 10))
             for k in range(3)}
    snapshot = Estimator().build(sites, LinkTable(), 0, 0)
    scene = scene_of_level(snapshot.levels[10])
    assert scene.cells.tolist() == snapshot.levels[10].cells.tolist()
    assert scene.best_dbm() == pytest.approx(snapshot.levels[10].value_dbm())
    assert not scene.measured.any()


def test_interference_is_the_sum_of_the_others_on_the_channel() -> None:
    cells = disk(*MIDDLE, 10.0, 10)[:1]
    servers = np.array([[1, 2, 3, NO_SERVER, NO_SERVER, NO_SERVER]])
    level = np.array([[-60.0, -70.0, -65.0, np.nan, np.nan, np.nan]])
    scene = Scene(10, cells, servers, level, np.array([5.0]), np.array([False]))
    same = scene.sinr_db({1: 2_437, 2: 2_437, 3: 2_412}, noise_dbm=-200.0)
    assert same[0] == pytest.approx(10.0, abs=1e-6)
    alone = scene.sinr_db({1: 2_437, 2: 2_412, 3: 2_412}, noise_dbm=-95.0)
    assert alone[0] == pytest.approx(35.0, abs=1e-6)


# ---- people


@pytest.mark.parametrize("resolution", [7, 8, 9, 10])
def test_people_are_neither_lost_nor_made_between_resolutions(resolution: int) -> None:
    cells = disk(*MIDDLE, 4_000.0, 9)
    layer = make_population(cells, np.arange(len(cells)))
    wanted = np.unique(
        np.concatenate([children(int(c), resolution) for c in cells])
        if resolution > 9 else np.array([cell_parent(int(c), resolution) for c in cells], np.uint64)
    )
    assert layer.at(wanted).sum() == pytest.approx(layer.total())


def children(cell: int, resolution: int) -> Any:
    import h3.api.basic_int as h3

    return np.array(h3.cell_to_children(cell, resolution), np.uint64)


def test_a_rasters_people_land_where_it_says() -> None:
    lat, lon = 47.0 - np.arange(3) * 0.01, 8.0 + np.arange(3) * 0.01
    people = np.zeros((3, 3))
    people[1, 2] = 90.0
    layer = spread_raster(lat, lon, people, 10)
    places = centres(layer.cells)
    assert layer.total() == pytest.approx(90.0)
    assert np.abs(places[:, 0] - 46.99).max() < 0.0062
    assert np.abs(places[:, 1] - 8.02).max() < 0.0065
    assert len(layer.cells) > 20


def test_points_in_one_cell_add_up() -> None:
    layer = population_of_points([47.0, 47.0, 47.0], [8.0, 8.0, 9.0], [3, 4, 0])
    assert layer.people.tolist() == [7.0]


# ---- gaps


def test_gaps_are_connected_and_hold_every_unserved_cell_once() -> None:
    scene = scene_of([reach(site(1), Method(), 9)], 9)
    area = cells_within(*MIDDLE, 2_000.0, 9)
    people = make_population(area, np.ones(len(area)))
    gaps = find_gaps(scene, area, Service(-82.0), people)
    missing = area[~on_cells(scene, area).served(Service(-82.0))]
    assert sorted(int(c) for gap in gaps for c in gap.cells) == missing.tolist()
    assert sum(gap.people for gap in gaps) == pytest.approx(len(missing))
    assert all(g.measured == 0 for g in gaps)
    for gap in gaps:
        assert len(connected(gap.cells, np.arange(len(gap.cells)))) == 1


def test_two_islands_are_two_gaps() -> None:
    cells = np.union1d(disk(47.0, 8.0, 200.0, 10), disk(47.1, 8.0, 200.0, 10)).astype(np.uint64)
    assert len(connected(cells, np.arange(len(cells)))) == 2


# ---- rewards by the ledger's rules


def test_a_lonely_site_earns_nothing_and_one_among_others_does() -> None:
    near = [site(k, 47.0 + k / 2_000, 8.0) for k in range(6)]
    alone = expected_reward(site(FIRST_NEW, 47.5, 8.5), near, Economy())
    among = expected_reward(site(FIRST_NEW, 47.001, 8.001), near, Economy())
    assert (alone.total_ucr, alone.links) == (0, 0)
    assert among.total_ucr > 0
    assert among.links >= 2


def test_a_bounty_on_the_cell_raises_the_reward_and_nothing_else_changes_it() -> None:
    near = [site(k, 47.0 + k / 2_000, 8.0) for k in range(6)]
    one = site(FIRST_NEW, 47.001, 8.001)
    cell = cell_parent(cell_at(47.0, 8.0, 10), 8)
    poor = expected_reward(one, near, Economy())
    rich = expected_reward(one, near, Economy(bounties_ucr={cell: 50_000_000}))
    far = Economy(bounties_ucr={cell_at(48.0, 9.0, 8): 50_000_000})
    elsewhere = expected_reward(one, near, far)
    assert rich.total_ucr > poor.total_ucr
    assert elsewhere == poor
    assert rich.total_ucr + rich.neighbours_change_ucr < poor.total_ucr + 50_000_000


def test_untrusted_neighbours_make_no_pay() -> None:
    near = [site(k, 47.0 + k / 2_000, 8.0) for k in range(6)]
    one = site(FIRST_NEW, 47.001, 8.001)
    assert expected_reward(one, near, Economy(), trusted=(99,)).total_ucr == 0


def test_quality_steps_are_the_ledgers() -> None:
    assert [steps_of(x) for x in (-60.0, -94.9, -89.9, -120.0)] == [8, 1, 2, 1]


# ---- the questions


def test_what_a_new_site_gains_is_what_was_not_served() -> None:
    around = world()
    asked = {"sites": [{"lat": 47.03, "lon": 8.03}], "res": 10}
    found = execute("what-if", asked, around)
    more = found["served_after"]["cells"] - found["served_before"]["cells"]
    assert found["gained"]["cells"] == more
    assert found["lost"]["cells"] == 0
    assert found["gained"]["cells"] == found["cells"]["change"].count("gained")
    assert found["sites"][0]["reward"]["preset"] == "mainnet"


def test_moving_a_hotspot_onto_itself_changes_nothing() -> None:
    around = world()
    here = around.sites[3]
    move = {"hotspot": 3, "lat": here.latitude_deg, "lon": here.longitude_deg}
    found = execute("what-if", {"move": move}, around)
    assert (found["gained"]["cells"], found["lost"]["cells"]) == (0, 0)


def test_removing_what_was_added_loses_what_was_gained() -> None:
    around = world(5)
    new = site(50, 47.03, 8.03)
    asked = {"sites": [{"lat": 47.03, "lon": 8.03}], "radio": {"gain_dbi": 3.0}}
    gained = execute("what-if", asked, around)
    richer = World({**around.sites, 50: new})
    lost = execute("what-if", {"remove": [50]}, richer)
    assert lost["lost"]["cells"] == gained["gained"]["cells"] > 0


def test_placed_sites_cover_what_they_say_and_a_rerun_is_equal() -> None:
    people = make_population(disk(*MIDDLE, 3_000.0, 9), np.arange(len(disk(*MIDDLE, 3_000.0, 9))))
    around = replace(world(3), population=people)
    asked = {"area": AREA, "count": 3, "res": 10, "candidate_res": 9, "seed": 5}
    found = execute("place-sites", asked, around)
    assert found["share_of_bound"] > 0.8
    assert sum(row["adds"] for row in found["sites"]) == pytest.approx(found["covered"], abs=0.5)
    assert json.dumps(found) == json.dumps(execute("place-sites", asked, around))


class Dying(Forgetful):
    """A memory whose process is killed after some parts."""

    def __init__(self, parts: int) -> None:
        self.left, self.kept = parts, dict[str, Any]()

    def get(self, name: str) -> Any:
        return self.kept.get(name)

    def put(self, name: str, arrays: Any) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.kept[name] = dict(arrays)


def test_the_best_site_of_a_grid_is_no_worse_than_where_anybody_drops_a_pin() -> None:
    """A radio that doesn't reach the next cell's centre serves three cells from a corner."""
    weak = {"radio": {"eirp_dbm": 20, "height_m": 8}, "threshold_dbm": -82, "res": 10}
    empty = World(sites={}, scenes={(NEWEST, 10): empty_scene(10)})
    found = execute("place-sites", {"area": AREA, "count": 1, "candidate_res": 10, **weak}, empty)
    site = found["sites"][0]
    assert site["adds"] >= 3.0
    there = {"lat": site["lat"], "lon": site["lon"]}
    change = execute("what-if", {"sites": [there], **weak}, empty)
    assert change["gained"]["cells"] == site["adds"]


def test_of_places_that_serve_as_much_the_one_near_the_network_is_chosen() -> None:
    weak = {"radio": {"eirp_dbm": 20, "height_m": 8}, "threshold_dbm": -82, "res": 10}
    there = site(3, MIDDLE[0] + 0.015, MIDDLE[1] + 0.015)
    lonely = World(sites={3: there}, scenes={(NEWEST, 10): empty_scene(10)})
    asked = {"area": AREA, "count": 3, "candidate_res": 10, **weak}
    for row in execute("place-sites", asked, lonely)["sites"]:
        away = distance_m(row["lat"], row["lon"], there.latitude_deg, there.longitude_deg)
        assert away < 500.0
        assert row["adds"] >= 3.0


def test_a_killed_placement_goes_on_from_its_parts_to_the_same_answer() -> None:
    around = world(3)
    asked = {"area": {**AREA, "radius_m": 6_000}, "count": 2, "candidate_res": 9, "res": 9}
    memory = Dying(1)
    with pytest.raises(KeyboardInterrupt):
        execute("place-sites", asked, around, memory=memory)
    assert list(memory.kept) == ["footprints-0"]
    memory.left = 99
    again = execute("place-sites", asked, around, memory=memory)
    assert again == execute("place-sites", asked, around)


def test_comparing_a_scene_with_itself_finds_nothing_and_with_less_finds_what_is_lost() -> None:
    few, many = world(4), world(8)
    scenes = {("a", 9): many.scene(9), ("b", 9): few.scene(9)}
    both = World(many.sites, scenes)
    same = execute("compare", {"a": "a", "b": "a"}, both)
    assert all(same[k]["cells"] == 0 for k in ("newly_served", "lost", "better", "worse"))
    less = execute("compare", {"a": "a", "b": "b"}, both)
    assert less["lost"]["cells"] == less["transitions"]["served"]["unserved"] + less[
        "transitions"]["served"]["unknown"]
    with pytest.raises(UserError, match=r"^snapshot: "):
        execute("compare", {"a": "a", "b": "nonesuch"}, both)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "circle", "path"):
            self.open.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") or "url(" in (v or "")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("circle", "path"):
            assert self.open.pop() == tag


def test_the_report_is_one_page_that_needs_nothing_from_elsewhere() -> None:
    asked = {"area": AREA, "count": 2, "title": "A <b> & co", "threshold_dbm": -90}
    found = execute("report", asked, world())
    reader = Tags()
    reader.feed(found["html"])
    assert reader.open == []
    assert reader.outside == []
    assert "<script" not in found["html"]
    assert "A &lt;b&gt; &amp; co" in found["html"]
    assert found["html"].count("<svg") == 1


@pytest.mark.parametrize(
    ("name", "asked", "field"),
    [
        ("nonesuch", {}, "process"),
        ("what-if", {}, "sites"),
        ("what-if", {"sites": [{"lat": 1}]}, "sites[0].lon"),
        ("what-if", {"sites": [{"lat": 47, "lon": 8, "wings": 2}]}, "sites[0].wings"),
        ("what-if", {"remove": [99]}, "hotspot"),
        ("what-if", {"sites": [{"lat": 47, "lon": 8}], "model": "itm"}, "model"),
        ("what-if", {"sites": [{"lat": 47, "lon": 8}], "res": 11}, "res"),
        ("place-sites", {"count": 3}, "area"),
        ("place-sites", {"area": AREA, "count": 0}, "count"),
        ("place-sites", {"area": {"bbox": [1, 2, 3]}, "count": 1}, "bbox"),
        ("place-sites", {"area": {"h3": ["zz"]}, "count": 1}, "h3"),
        ("gap-analysis", {"area": {"lat": 47, "lon": 8, "radius_m": 190_000}, "res": 10}, "area"),
        ("gap-analysis", {"threshold_dbm": "loud"}, "threshold_dbm"),
        ("gap-analysis", {"probability": True}, "probability"),
    ],
)
def test_what_can_not_be_asked_is_named(name: str, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as refused:
        execute(name, asked, world(2))
    assert refused.value.field == field
    assert refused.value.remedy


@pytest.mark.parametrize("name", [n for n in PROCESSES if n not in ("what-if", "place-sites")])
def test_an_empty_map_is_no_error(name: str) -> None:
    found = execute(name, {"area": AREA} if name != "compare" else {}, World({}))
    assert json.dumps(found)


def test_a_box_across_the_date_line() -> None:
    cells = bbox_cells([179.95, -17.0, 180.05, -16.9], 8)
    longitudes = centres(cells)[:, 1]
    assert (longitudes > 0).any()
    assert (longitudes < 0).any()
    assert np.all((longitudes % 360.0 >= 179.94) & (longitudes % 360.0 <= 180.06))


def test_an_area_is_as_large_as_it_is() -> None:
    cells = cells_within(*MIDDLE, 3_000.0, 9)
    assert area_km2(cells) == pytest.approx(np.pi * 9.0, rel=0.03)
