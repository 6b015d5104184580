"""Cells, links, predictions and snapshots of the coverage map."""

from __future__ import annotations

import h3.api.basic_int as h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map import cells
from coverage_map.estimator.core import Estimator, group_quantiles, merge_footprints, roll_up
from coverage_map.links import EMPTY_CDBM, RING, LinkTable
from coverage_map.observations import Observation, Site, Standing
from coverage_map.predict import (
    FLOOR_DBM,
    LinkSample,
    baseline_dbm,
    calibration,
    fit,
    footprint,
    predict,
)
from coverage_map.snapshot import Snapshot

LATITUDE, LONGITUDE = 47.0, 8.0
PENTAGONS = h3.get_pentagons(4)


def site(index: int, east_m: float = 0.0, north_m: float = 0.0, resolution: int = 10) -> Site:
    latitude = LATITUDE + north_m / 111_195.0
    longitude = LONGITUDE + east_m / (111_195.0 * np.cos(np.radians(LATITUDE)))
    cell = cells.cell_at(latitude, longitude, resolution)
    centre = cells.centre(cell)
    return Site(
        index, bytes([index]) * 32, bytes(32), cell, centre[0], centre[1], 10, 200, 2000, 2412
    )


def observation(
    beaconer: int,
    witness: Site,
    rssi_dbm: float,
    standing: Standing = Standing.MEASURED,
    at: int = 5,
) -> Observation:
    reason = {Standing.MEASURED: "counted", Standing.LATE: "late"}.get(standing, "not_mutual")
    value = round(rssi_dbm * 100)
    return Observation(witness.cell, beaconer, witness.index, 3, 0, value, at, 7, reason, standing)


positions = st.tuples(st.floats(-89.9, 89.9), st.floats(-180, 180))


@given(positions, st.integers(0, 15), st.integers(0, 15))
def test_parents_by_bits_are_h3s(position: tuple[float, float], fine: int, coarse: int) -> None:
    fine, coarse = max(fine, coarse), min(fine, coarse)
    cell = cells.cell_at(*position, fine)
    assert cells.parents([cell], coarse)[0] == h3.cell_to_parent(cell, coarse)
    assert cells.resolutions([cell])[0] == fine


@given(positions, st.integers(2, 8), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_children_are_one_range(position: tuple[float, float], resolution: int, depth: int) -> None:
    cell = cells.cell_at(*position, resolution)
    lowest, highest = cells.child_range(cell, resolution + depth)
    children = h3.cell_to_children(cell, resolution + depth)
    assert min(children) >= lowest
    assert max(children) <= highest
    neighbours = [
        x for c in h3.grid_ring(cell, 1) for x in h3.cell_to_children(c, resolution + depth)
    ]
    assert not [x for x in neighbours if lowest <= x <= highest]


@pytest.mark.parametrize("pentagon", PENTAGONS)
def test_children_of_pentagons_are_one_range(pentagon: int) -> None:
    children = np.sort(np.fromiter(h3.cell_to_children(pentagon, 6), np.uint64))
    around = np.fromiter(
        (x for c in h3.grid_disk(pentagon, 2) for x in h3.cell_to_children(c, 6)), np.uint64
    )
    found = np.sort(around)[cells.slice_of(np.sort(around), pentagon, 6)]
    assert np.array_equal(found, children)


@given(positions, st.integers(7, 10), st.floats(1, 2_000))
@settings(max_examples=30, deadline=None)
def test_a_disk_holds_every_centre_in_its_radius(
    position: tuple[float, float], resolution: int, radius_m: float
) -> None:
    inside = cells.disk(*position, radius_m, resolution)
    wider = cells.disk(*position, 2 * radius_m + 1_000, resolution)
    places = cells.centres(wider)
    near = cells.distance_m(*position, places[:, 0], places[:, 1]) <= radius_m
    assert set(wider[near].tolist()) <= set(inside.tolist())


def test_a_link_keeps_the_newest_samples_and_counts_all() -> None:
    table, witness = LinkTable(), site(2)
    table.add(observation(1, witness, -60 - k / 100, at=k + 1) for k in range(RING + 10))
    link = table.links[1, 2]
    assert link.count == RING + 10
    expected = {-6000 - k for k in range(10, RING + 10)}
    assert set(table.samples(link).tolist()) == expected
    assert (link.first_ms, link.last_ms) == (1, RING + 10)


def test_only_usable_standings_measure() -> None:
    table, witness = LinkTable(), site(2)
    table.add([observation(1, witness, -60, standing) for standing in Standing])
    link = table.links[1, 2]
    assert (link.count, link.late, link.hints) == (2, 1, 1)


def test_a_hotspot_that_moves_loses_what_it_measured_elsewhere() -> None:
    table = LinkTable()
    table.add([observation(1, site(2), -60), observation(1, site(3), -60)])
    table.move(site(2, east_m=5_000))
    assert [x.witness for x in table.measured()] == [3]


def test_links_grow_past_their_first_array() -> None:
    table = LinkTable()
    table.add(observation(1, site(2 + k % 200, k * 10.0), -50 - k % 40) for k in range(200))
    table.add(
        Observation(site(2).cell, b, 1_000 + b, 1, 0, -5000 - b, 1, 1, "counted", Standing.MEASURED)
        for b in range(600)
    )
    assert len(table) == 800
    assert table.samples(table.links[599, 1_599]).tolist() == [-5599]


def test_the_fit_learns_a_constant_offset() -> None:
    station = site(1)
    samples = []
    for k in range(24):
        witness = site(2, 150 + 37 * k, 40 * (k % 5))
        metres = cells.distance_m(
            station.latitude_deg, station.longitude_deg, witness.latitude_deg, witness.longitude_deg
        )
        mean, _ = baseline_dbm(station, metres, 10)
        samples.append(
            LinkSample(witness.latitude_deg, witness.longitude_deg, 10, float(mean) - 9.0)
        )
    learned = fit(station, samples)
    assert -9.0 <= learned.offset_db <= -5.0
    here = np.array([LATITUDE + 0.002]), np.array([LONGITUDE + 0.002])
    before, sd_before = predict(station, fit(station, []), *here)
    after, sd_after = predict(station, learned, *here)
    assert after[0] < before[0] - 4.0
    assert sd_after[0] < sd_before[0]


def test_a_prediction_at_a_sample_is_the_sample() -> None:
    station, witness = site(1), site(2, 200)
    sample = LinkSample(witness.latitude_deg, witness.longitude_deg, 1.5, -55.0)
    at = np.array([witness.latitude_deg]), np.array([witness.longitude_deg])
    mean, sd = predict(station, fit(station, [sample]), *at)
    assert abs(mean[0] + 55.0) < 1.0
    assert sd[0] < 2.0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_calibration_follows_the_spread_of_the_errors(seed: int) -> None:
    draws = np.random.default_rng(seed)
    station = site(1)
    fits = []
    for _ in range(40):
        places = draws.uniform(-1_500, 1_500, (10, 2))
        samples = []
        for east, north in places:
            w = site(2, east, north)
            metres = cells.distance_m(
                station.latitude_deg, station.longitude_deg, w.latitude_deg, w.longitude_deg
            )
            mean, sigma = baseline_dbm(station, metres, 10)
            value = float(mean + 2.0 * sigma * draws.standard_normal())
            samples.append(LinkSample(w.latitude_deg, w.longitude_deg, 10, value))
        fits.append(fit(station, samples))
    assert 1.3 < calibration(fits) <= 2.0


def test_a_footprint_stops_at_the_floor() -> None:
    made = footprint(site(1), fit(site(1), []), 10)
    assert len(made.cells) > 50
    assert made.mean_dbm.min() >= FLOOR_DBM
    assert np.all(np.diff(made.cells.astype(np.int64)) > 0)


def build(sites: dict[int, Site], table: LinkTable, estimator: Estimator | None = None) -> Snapshot:
    return (estimator or Estimator()).build(sites, table, 4, 1_000)


def test_measured_and_predicted_are_never_confused() -> None:
    sites = {1: site(1), 2: site(2, 300), 3: site(3, 300, 700, resolution=8)}
    table = LinkTable()
    table.add(observation(1, sites[2], -61 - k % 3) for k in range(9))
    table.add([observation(1, sites[3], -80), observation(2, sites[3], -70)])
    snapshot = build(sites, table)
    fine, coarse = snapshot.levels[10], snapshot.levels[8]
    row = fine.row_of(sites[2].cell)
    assert row is not None
    assert fine.measured.sum() == 1
    assert fine.measured[row]
    assert fine.value_dbm()[row] == pytest.approx(-62.0)
    guesses = ~fine.measured
    assert np.all(fine.count[guesses] == 0)
    assert np.all(np.isnan(fine.measured_p50_dbm[guesses]))
    assert np.array_equal(fine.value_dbm()[guesses], fine.predicted_dbm[guesses])
    row8 = coarse.row_of(sites[3].cell)
    assert row8 is not None
    assert coarse.own_precision[row8]
    assert coarse.measured_server[row8] == 2


def test_a_coarse_owner_is_never_placed_finer() -> None:
    sites = {1: site(1), 3: site(3, 300, 700, resolution=8)}
    table = LinkTable()
    table.add([observation(1, sites[3], -80)])
    snapshot = build(sites, table)
    assert not snapshot.levels[10].measured.any()
    assert not snapshot.levels[9].measured.any()
    assert snapshot.levels[8].measured.sum() == 1
    assert snapshot.levels[7].measured.sum() == 1


def test_the_best_server_wins_a_measured_cell() -> None:
    sites = {1: site(1), 2: site(2, 300), 4: site(4, -300)}
    table = LinkTable()
    table.add([observation(1, sites[2], -70), observation(4, sites[2], -64)])
    level = build(sites, table).levels[10]
    row = level.row_of(sites[2].cell)
    assert row is not None
    assert (level.measured_server[row], level.hotspots[row], level.count[row]) == (4, 2, 2)


def test_equal_inputs_make_equal_snapshots_in_any_order() -> None:
    sites = {k: site(k, 250.0 * k) for k in range(1, 6)}
    seen = [observation(a, sites[b], -60 - 5 * abs(a - b)) for a in sites for b in sites if a != b]
    one, other = LinkTable(), LinkTable()
    one.add(seen)
    other.add(reversed(seen))
    first = build(sites, one)
    again = build(dict(reversed(sites.items())), other)
    assert first.identity == again.identity


def test_only_changed_hotspots_are_predicted_again() -> None:
    sites = {k: site(k, 250.0 * k) for k in range(1, 6)}
    table, estimator = LinkTable(), Estimator()
    table.add([observation(1, sites[2], -60), observation(2, sites[3], -60)])
    first = build(sites, table, estimator)
    assert estimator.refitted == 5
    table.add([observation(1, sites[2], -60)])
    build(sites, table, estimator)
    assert estimator.refitted == 0
    table.add([observation(2, sites[3], -75) for _ in range(5)])
    second = build(sites, table, estimator)
    assert estimator.refitted == 1
    fresh = build(sites, table)
    assert second.identity == fresh.identity != first.identity


def test_roll_up_keeps_every_cell_and_the_mean() -> None:
    made = footprint(site(1), fit(site(1), []), 10)
    fine = merge_footprints([made], 1.0)
    coarse = roll_up(fine, 8)
    above = cells.parents(fine.cells, 8)
    assert set(coarse.cells.tolist()) == set(above.tolist())
    for cell, mean in zip(coarse.cells, coarse.servers_dbm[:, 0], strict=True):
        assert mean == pytest.approx(fine.servers_dbm[above == cell, 0].mean())


def test_probability_and_confidence_stay_probabilities() -> None:
    sites = {k: site(k, 250.0 * k) for k in range(1, 4)}
    table = LinkTable()
    table.add([observation(1, sites[2], -60)])
    level = build(sites, table).levels[9]
    for column in (level.probability(-80.0), level.confidence()):
        assert np.all((column >= 0) & (column <= 1))
    assert np.all(level.probability(-90.0) >= level.probability(-70.0))


def test_an_empty_network_has_an_empty_map() -> None:
    snapshot = build({}, LinkTable())
    assert all(len(level) == 0 for level in snapshot.levels.values())


@given(st.lists(st.lists(st.integers(-12_000, -1_000), min_size=1, max_size=9), min_size=1))
@settings(max_examples=60, deadline=None)
def test_group_quantiles_are_numpys(rows: list[list[int]]) -> None:
    samples = np.full((len(rows), 9), EMPTY_CDBM, np.int16)
    for k, row in enumerate(rows):
        samples[k, : len(row)] = row
    groups = np.array([k // 2 for k in range(len(rows))])
    found = group_quantiles(groups, samples)
    for group in range(groups[-1] + 1):
        members = [x / 100.0 for k in np.flatnonzero(groups == group) for x in rows[k]]
        assert found[group] == pytest.approx(np.quantile(members, (0.1, 0.5, 0.9)))
