from __future__ import annotations

import numpy as np
import pytest

from coverage_map import cells
from coverage_map.estimator.cells import LINKS_MIN, learn, predict_cells
from coverage_map.estimator.core import Estimator
from coverage_map.links import LinkTable
from coverage_map.observations import Observation, Site, Standing
from coverage_map.propagation.pathloss import log_distance_db
from coverage_map.propagation.shadow_field import make_field

LATITUDE, LONGITUDE = 48.1, 11.5
EXPONENT, OFFSETS_DB = 2.9, 5.0


def town(count: int = 12, span_m: float = 700.0) -> dict[int, Site]:
    draws = np.random.default_rng(4)
    sites = {}
    for index in range(1, count + 1):
        east, north = draws.uniform(-span_m, span_m, 2)
        latitude = LATITUDE + north / 111_195.0
        longitude = LONGITUDE + east / (111_195.0 * np.cos(np.radians(LATITUDE)))
        cell = cells.cell_at(latitude, longitude, 10)
        place = cells.centre(cell)
        sites[index] = Site(
            index, bytes([index]) * 32, bytes(32), cell, *place, 8, 200, 2000 + index, 868
        )
    return sites


def level_dbm(a: Site, latitude: float, longitude: float) -> float:
    """The truth: log-distance, an offset a hotspot, shadowing by place."""
    metres = float(cells.distance_m(a.latitude_deg, a.longitude_deg, latitude, longitude))
    shadow = make_field(7, 150.0, 256).at((longitude - LONGITUDE) * 74_000.0,
                                          (latitude - LATITUDE) * 111_195.0)  # fmt: skip
    loss = float(log_distance_db(metres, 868e6, EXPONENT))
    return a.eirp_cdbm / 100.0 - loss - OFFSETS_DB * (a.index % 3) + 4.0 * float(shadow)


def heard(sites: dict[int, Site]) -> LinkTable:
    table = LinkTable()
    for a in sites.values():
        table.add(
            Observation(
                b.cell, a.index, b.index, 3, 0,
                round(100 * level_dbm(a, b.latitude_deg, b.longitude_deg)),
                5, 7, "counted", Standing.MEASURED,
            )
            for b in sites.values()
            if b.index != a.index
        )
    return table


@pytest.fixture(scope="module")
def network() -> tuple[dict[int, Site], LinkTable]:
    sites = town()
    return sites, heard(sites)


def test_few_links_leave_the_processes_of_single_hotspots() -> None:
    sites = town(4)
    table = heard(sites)
    assert len(table) < LINKS_MIN
    estimator = Estimator(9)
    before = estimator.build(sites, table, 1, 1).identity
    assert not estimator.learn(sites, table)
    assert estimator.build(sites, table, 1, 1).identity == before


def test_the_learned_map_is_nearer_to_the_truth(
    network: tuple[dict[int, Site], LinkTable],
) -> None:
    """Where no hotspot stands: right under an antenna everything is guesswork, and measured."""
    sites, table = network
    estimator = Estimator(9)
    errors = []
    for _ in range(2):
        level = estimator.build(sites, table, 1, 1).levels[9]
        places = cells.centres(level.cells)
        apart = np.array([cells.distance_m(s.latitude_deg, s.longitude_deg, *places.T)
                          for s in sites.values()])  # fmt: skip
        wanted = (apart.min(axis=0) > 50.0) & (
            cells.distance_m(LATITUDE, LONGITUDE, *places.T) < 700.0
        )
        best = [max(level_dbm(s, *place) for s in sites.values()) for place in places[wanted]]
        errors.append(float(np.sqrt(np.mean((level.predicted_dbm[wanted] - best) ** 2))))
        assert estimator.learn(sites, table)
    assert errors[1] < 0.85 * errors[0]


def test_a_changed_hotspot_leaves_the_learned_map_until_the_next_learning(
    network: tuple[dict[int, Site], LinkTable],
) -> None:
    sites, _ = network
    table = heard(sites)
    estimator = Estimator(9)
    assert estimator.learn(sites, table)
    first = estimator.build(sites, table, 1, 1)
    assert estimator.refitted == 0
    table.add([Observation(sites[2].cell, 1, 2, 4, 0, -12_000, 9, 9, "late", Standing.LATE)] * 3)
    second = estimator.build(sites, table, 1, 1)
    assert estimator.refitted == 1
    assert second.identity != first.identity


def test_levels_are_compared_at_one_power(network: tuple[dict[int, Site], LinkTable]) -> None:
    sites, table = network
    links = table.measured()
    medians = np.array([np.median(table.samples(x)) / 100.0 for x in links])
    learned = learn(sites, links, medians)
    assert learned is not None
    wanted = np.array([sites[5].cell, sites[9].cell], np.uint64)
    quiet = predict_cells(learned, sites[1], wanted)
    louder = Site(**{n: getattr(sites[1], n) for n in Site.__slots__} | {"eirp_cdbm": 3001})
    assert predict_cells(learned, louder, wanted).mean_dbm - quiet.mean_dbm == pytest.approx(10.0)
