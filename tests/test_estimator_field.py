from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimator_helpers import made_links
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.estimator.field import (
    absorb,
    fit_field,
    noise_variance,
    physics_dbm,
    predict_field,
    search_scales,
)
from coverage_map.estimator.kernels import (
    Scales,
    covariance,
    make_frame,
    path_features,
    variance,
    weighted,
)
from coverage_map.estimator.links import blocks_of, make_links

SCALES = Scales()


@given(st.integers(0, 1_000))
@settings(max_examples=10, deadline=None)
def test_covariance_is_one(seed: int) -> None:
    links = made_links(60, seed)
    frame = make_frame(links)
    matrix = covariance(links, links, SCALES, frame)
    assert np.allclose(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > -1e-6 * np.trace(matrix)
    assert np.allclose(np.diag(matrix), variance(links, SCALES, frame))


def test_covariance_of_parts_is_a_part_of_the_covariance() -> None:
    links = made_links(50)
    frame = make_frame(links)
    whole = covariance(links, links, SCALES, frame)
    part = covariance(links.take(np.arange(7)), links.take(np.arange(20, 50)), SCALES, frame)
    assert np.allclose(part, whole[:7, 20:])


def test_paths_over_the_same_ground_err_alike_whoever_sent() -> None:
    tx = np.array([[0.0, 0.0], [0.0, 20.0], [0.0, 900.0]])
    rx = np.array([[1000.0, 0.0], [1000.0, 20.0], [1000.0, 900.0]])
    links = make_links(tx, rx, 868e6, [-80.0] * 3)
    features = path_features(links, 0, SCALES, make_frame(links))
    alike = features @ features.T / np.sqrt(np.outer(*[(features**2).sum(axis=1)] * 2))
    assert alike[0, 1] > 0.9
    assert alike[0, 2] < 0.1


def test_the_variance_of_a_path_hardly_depends_on_its_length() -> None:
    rx = np.column_stack((np.linspace(100.0, 1000.0, 30), np.full(30, 333.0)))
    links = make_links([0.0, 333.0], rx, 868e6, np.full(30, -80.0))
    spread = (path_features(links, 0, SCALES, make_frame(links)) ** 2).sum(axis=1)
    assert spread.max() < 2.0 * spread.min()


def test_unknown_worlds_share_only_what_all_worlds_share() -> None:
    links = made_links(20)
    other = replace(links, world=links.world + 9, mast=links.mast + 9,
                    transmitter=links.transmitter + 9)  # fmt: skip
    frame = make_frame(links)
    found = covariance(links, other, SCALES, frame)
    near = np.log10(links.distance_m()) * 10.0 - 10.0
    expected = SCALES.offset**2 + SCALES.slope**2 * np.outer(near, near)
    assert np.allclose(found, expected)


def test_left_out_errors_are_those_of_a_fit_without_the_block() -> None:
    links = made_links(150)
    blocks = blocks_of(links, 200.0)
    field = fit_field(links, blocks, SCALES)
    frame = field.frame
    for block in np.unique(blocks)[:6]:
        out = blocks == block
        train, test = links.take(~out), links.take(out)
        matrix = covariance(train, train, SCALES, frame) + np.diag(noise_variance(train, SCALES))
        cross = covariance(test, train, SCALES, frame)
        solved = np.linalg.solve(matrix, np.column_stack((train.rssi_dbm - physics_dbm(train),
                                                          cross.T)))  # fmt: skip
        mean = physics_dbm(test) + cross @ solved[:, 0]
        sd = np.sqrt(
            variance(test, SCALES, frame) + SCALES.noise**2 - (cross * solved[:, 1:].T).sum(axis=1)
        )
        assert np.allclose(field.left_out_error_db[out], test.rssi_dbm - mean, atol=1e-6)
        assert np.allclose(field.left_out_sd_db[out], sd, atol=1e-6)


def test_growing_is_the_same_as_fitting_everything_at_once() -> None:
    links = made_links(200)
    blocks = blocks_of(links, 200.0)
    first, rest = links.take(np.arange(140)), links.take(np.arange(140, 200))
    begun = fit_field(first, blocks[:140], SCALES)
    grown = absorb(begun, rest, blocks[140:])
    wanted = made_links(90, seed=4)
    matrix = covariance(links, links, SCALES, begun.frame)
    matrix += np.diag(noise_variance(links, SCALES))
    weights = np.linalg.solve(matrix, links.rssi_dbm - physics_dbm(links))
    assert np.allclose(grown.weights, weights, atol=1e-8)
    before, _ = predict_field(begun, rest)
    assert np.array_equal(grown.left_out_error_db[140:], rest.rssi_dbm - before)
    assert predict_field(grown, wanted)[1].mean() < predict_field(begun, wanted)[1].mean()


def test_predictions_far_from_any_reading_are_unsure() -> None:
    links = made_links(200)
    field = fit_field(links, blocks_of(links, 100.0), SCALES)
    away = replace(links, rx_m=links.rx_m + 20_000.0)
    assert predict_field(field, away)[1].min() > predict_field(field, links)[1].max()


def test_many_readings_of_one_place_count_for_less_than_as_many_places() -> None:
    links = made_links(3)
    heavy = replace(links, weight=np.array([1.0, 4.0, 1e9]))
    assert np.all(np.diff(noise_variance(heavy, SCALES)) < 0.0)
    assert noise_variance(heavy, SCALES)[2] > 0.0


def test_searched_scales_make_left_out_blocks_likelier() -> None:
    links = made_links(250, shadow_db=9.0)
    blocks = blocks_of(links, 120.0)
    frame = make_frame(links)
    found = search_scales(links, blocks, frame)

    def surprise(scales: Scales) -> float:
        field = fit_field(links, blocks, scales)
        sd = field.left_out_sd_db
        return float(np.mean(0.5 * (field.left_out_error_db / sd) ** 2 + np.log(sd)))

    assert surprise(found) < surprise(SCALES) - 0.01


@pytest.mark.parametrize("exponent", [2.2, 3.8])
def test_the_exponent_is_learned(exponent: float) -> None:
    rx = np.column_stack((np.linspace(20.0, 2_000.0, 120), np.zeros(120)))
    rssi = 20.0 - 60.0 - 10.0 * exponent * np.log10(rx[:, 0] / 10.0)
    links = make_links([0.0, 0.0], rx, 868e6, rssi)
    field = fit_field(links, blocks_of(links, 50.0), SCALES)
    ends = links.take([10, 110])
    mean, _ = predict_field(field, ends)
    fall = -np.diff(mean)[0] / (10.0 * np.diff(np.log10(ends.rx_m[:, 0]))[0])
    assert fall == pytest.approx(exponent, abs=0.15)


def test_sums_without_the_matrix_are_the_matrix_times_weights() -> None:
    links = made_links(120, masts=3)
    other = links.take(np.arange(0, 120, 2))
    frame, scales = make_frame(links), Scales()
    weights = np.random.default_rng(1).standard_normal(len(other))
    expected = covariance(links, other, scales, frame) @ weights
    assert np.allclose(weighted(links, other, weights, scales, frame), expected)


def test_many_rows_are_predicted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    links = made_links(300, masts=2)
    field = fit_field(links.take(np.arange(200)), blocks_of(links, 150.0)[:200], Scales())
    wanted = links.take(np.arange(200, 300))
    mean, sd = predict_field(field, wanted)
    monkeypatch.setattr("coverage_map.estimator.field.DENSE_ROWS", 10)
    many, alike = predict_field(field, wanted)
    assert np.allclose(mean, many)
    assert np.allclose(sd, alike)
    monkeypatch.setattr("coverage_map.estimator.field.ALIKE_ROWS", 60)
    _, merged = predict_field(field, wanted)
    assert np.abs(merged - sd).mean() < 0.5
    assert len(np.unique(merged)) < len(np.unique(sd))
