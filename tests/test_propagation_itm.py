"""ITM against NTIA's vectors, its published examples, and a plain reference on random links."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import itm_reference
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from coverage_map.propagation import itm, itm_area
from coverage_map.propagation.itm import ItmCode, ItmWarning, Mode, Percentages, Settings
from coverage_map.propagation.validity import InvalidInputError, names

MEDIAN = Settings(868.0)
HILLS = 200.0 + 40.0 * np.sin(np.arange(80) / 5.0) + 15.0 * np.cos(np.arange(80) / 1.7)


@pytest.fixture(scope="session")
def vectors(ground_truth: Path) -> Path:
    return ground_truth / "radio" / "ntia_itm"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def settings_of(row: dict[str, str]) -> Settings:
    return Settings(
        float(row["f__mhz"]),
        int(row["climate"]),
        float(row["N_0"]),
        int(row["pol"]),
        float(row["epsilon"]),
        float(row["sigma"]),
        int(row["mdvar"]),
        Percentages(*(float(row[key]) for key in ("time", "location", "situation"))),
    )


def test_point_to_point_vectors(vectors: Path) -> None:
    profiles = [[float(x) for x in r.split(",")] for r in lines(vectors / "pfls.csv") if r]
    rows = list(csv.DictReader(lines(vectors / "p2p.csv")))
    assert len(rows) == len(profiles) == 5
    for row, pfl in zip(rows, profiles, strict=True):
        heights = pfl[2 : 3 + int(pfl[0])]
        tx_m, rx_m = float(row["h_tx__meter"]), float(row["h_rx__meter"])
        got = itm.point_to_point(heights, pfl[1], tx_m, rx_m, settings_of(row))
        assert got.loss_db == pytest.approx(float(row["A__db"]), abs=0.01), row


def test_area_vectors(vectors: Path) -> None:
    rows = list(csv.DictReader(lines(vectors / "area.csv")))
    assert len(rows) == 5
    for row in rows:
        got = itm_area.area(
            float(row["d__km"]),
            float(row["h_tx__meter"]),
            float(row["h_rx__meter"]),
            float(row["delta_h__meter"]),
            settings_of(row),
            int(row["tx_siting_criteria"]),
            int(row["rx_siting_criteria"]),
        )
        assert got.loss_db == pytest.approx(float(row["A__db"]), abs=0.05), row  # given to 0.1


def test_published_area_example_with_its_intermediate_values() -> None:
    # NTIA/itm cmd_examples/o_areatls.txt, version 1.4.
    got = itm_area.area(10.0, 15.0, 3.0, 20.0, Settings(3500.0, mode_of_variability=1))
    assert (got.mode, got.warnings, got.code) == (Mode.LINE_OF_SIGHT, 0, ItmCode.OK)
    assert got.loss_db == pytest.approx(134.5, abs=0.05)
    assert got.free_space_db == pytest.approx(123.3, abs=0.05)
    assert got.reference_db == pytest.approx(11.2, abs=0.05)
    assert got.horizons_m == pytest.approx((14722, 6206), abs=0.5)
    assert got.horizon_angles_rad == pytest.approx((-1.811e-3, -0.567e-3), abs=5e-7)


def test_published_area_example_by_confidence() -> None:
    percentages = Percentages.of_confidence(77.0, 90.0)  # cmd_examples/o_areacr.txt
    given_settings = Settings(10_000.0, mode_of_variability=3, percentages=percentages)
    got = itm_area.area(1.0, 3.0, 3.0, 0.0, given_settings)
    assert got.loss_db == pytest.approx(118.3, abs=0.05)
    assert got.horizons_m == pytest.approx((7138, 7138), abs=0.5)


percentages = st.floats(0.1, 99.9)
all_settings = st.builds(
    Settings,
    st.floats(20.0, 20_000.0),
    st.integers(1, 7),
    st.floats(255.0, 395.0),
    st.integers(0, 1),
    st.sampled_from([4.0, 15.0, 25.0, 81.0]),
    st.sampled_from([0.001, 0.005, 0.02]),
    st.sampled_from(itm.MODES_OF_VARIABILITY),
    st.builds(Percentages, percentages, percentages, percentages),
)
heights = st.one_of(st.floats(0.5, 40.0), st.floats(0.5, 3000.0))


@settings(max_examples=150, deadline=None)  # the first call compiles
@given(
    all_settings,
    heights,
    heights,
    st.integers(0, 2**32),
    st.sampled_from([2, 3, 4, 11, 60, 100, 101, 300]),
    st.floats(1.0, 2000.0),
    st.sampled_from([0.0, 0.3, 3.0, 40.0]),
)
def test_point_to_point_kernel_is_the_reference(
    given_settings: Settings,
    tx_m: float,
    rx_m: float,
    seed: int,
    points: int,
    spacing_m: float,
    scale: float,
) -> None:
    walk = np.random.default_rng(seed).normal(size=points).cumsum()
    profile = 500.0 + scale * walk
    try:
        got = itm.point_to_point(profile, spacing_m, tx_m, rx_m, given_settings)
    except InvalidInputError:
        reject()  # ground or air that the model doesn't have: 1013, 1016, 1021, 1022
    path = itm_reference.read_profile(
        profile.tolist(), spacing_m, [tx_m, rx_m], given_settings.refractivity
    )
    assert got.roughness_m == pytest.approx(path.roughness, abs=1e-9)
    assert got.horizons_m == pytest.approx(path.horizons, rel=1e-12)
    try:
        expected = itm_reference.loss_db(path, given_settings)
    except (ValueError, ZeroDivisionError):
        reject()  # the model itself breaks down: a logarithm of a negative distance
    assert got.loss_db == pytest.approx(expected, abs=1e-7)


@settings(max_examples=150, deadline=None)  # the first call compiles
@given(
    all_settings,
    heights,
    heights,
    st.floats(0.1, 3000.0),
    st.one_of(st.just(0.0), st.floats(0.01, 1000.0)),
    st.lists(st.integers(0, 2), min_size=2, max_size=2),
)
def test_area_kernel_is_the_reference(
    given_settings: Settings,
    tx_m: float,
    rx_m: float,
    distance_km: float,
    roughness_m: float,
    care: list[int],
) -> None:
    try:
        got = itm_area.area(distance_km, tx_m, rx_m, roughness_m, given_settings, *care)
        path = itm_reference.area_path(
            given_settings, [tx_m, rx_m], roughness_m, 1000.0 * distance_km, care
        )
        expected = itm_reference.loss_db(path, given_settings)
    except (ValueError, ZeroDivisionError):
        reject()  # as above
    assert got.loss_db == pytest.approx(expected, abs=1e-7)


def test_many_links_are_the_single_ones_whatever_their_lengths() -> None:
    profiles = [HILLS[:40], HILLS, HILLS[10:13], HILLS[20:75]]
    spacings = [30.0, 90.0, 500.0, 30.0]
    many = itm.many_point_to_point(profiles, spacings, [10.0, 0.9, 3.0, 30.0], 1.5, MEDIAN)
    for k, profile in enumerate(profiles):
        tx_m = [10.0, 0.9, 3.0, 30.0][k]
        one = itm.point_to_point(profile, spacings[k], tx_m, 1.5, MEDIAN)
        assert many.loss_db[k] == one.loss_db
        assert many.warnings[k] == one.warnings
        assert many.codes[k] == one.code


def test_a_matrix_of_profiles_is_its_rows() -> None:
    matrix = np.stack([HILLS, HILLS[::-1], HILLS + 7.0])
    got = itm.many_point_to_point(matrix, 30.0, 10.0, 3.0, MEDIAN)
    again = itm.many_point_to_point(list(matrix), 30.0, 10.0, 3.0, MEDIAN)
    assert np.array_equal(got.loss_db, again.loss_db)
    assert len(set(got.loss_db)) == 3


def test_a_bad_link_costs_only_itself() -> None:
    tx_m = [10.0, 0.4, 10.0, 3001.0]
    got = itm.many_point_to_point(np.stack(4 * [HILLS]), 90.0, tx_m, [3.0, 3.0, 0.1, 3.0], MEDIAN)
    assert got.codes.tolist() == [1, 1000, 1001, 1000]
    assert got.loss_db[0] == itm.point_to_point(HILLS, 90.0, 10.0, 3.0, MEDIAN).loss_db
    assert np.isnan(got.loss_db[1:]).all()
    assert got.warnings[1] == ItmWarning.TX_HEIGHT
    assert got.warnings[2] == ItmWarning.RX_HEIGHT


IMPOSSIBLE = {
    1002: replace(MEDIAN, climate=8),
    1003: replace(MEDIAN, percentages=Percentages(time_percent=0.0)),
    1004: replace(MEDIAN, percentages=Percentages(location_percent=100.0)),
    1005: replace(MEDIAN, percentages=Percentages(situation_percent=-1.0)),
    1006: replace(MEDIAN, percentages=Percentages.of_confidence(100.0, 50.0)),
    1007: replace(MEDIAN, percentages=Percentages.of_confidence(50.0, 0.0)),
    1008: replace(MEDIAN, refractivity=249.9),
    1009: replace(MEDIAN, frequency_mhz=19.9),
    1010: replace(MEDIAN, polarization=2),
    1011: replace(MEDIAN, permittivity=0.9),
    1012: replace(MEDIAN, conductivity_s_m=0.0),
    1013: replace(MEDIAN, permittivity=1.0, polarization=0),
    1014: replace(MEDIAN, mode_of_variability=4),
}


@pytest.mark.parametrize("code", sorted(IMPOSSIBLE))
def test_impossible_settings_are_refused_by_name(code: int) -> None:
    with pytest.raises(ValueError, match=itm.PROBLEMS[code][0]) as refused:
        itm.point_to_point(HILLS, 90.0, 10.0, 3.0, IMPOSSIBLE[code])
    assert isinstance(refused.value, InvalidInputError)
    assert refused.value.code == code
    many = itm.many_point_to_point(np.stack([HILLS]), 90.0, 10.0, 3.0, IMPOSSIBLE[code])
    assert many.codes.tolist() == [code]
    assert np.isnan(many.loss_db[0])
    with pytest.raises(InvalidInputError) as refused_too:
        itm_area.area(5.0, 10.0, 3.0, 90.0, IMPOSSIBLE[code])
    assert refused_too.value.code == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((0.0, 10.0, 3.0, 90.0), 1017), ((5.0, 10.0, 3.0, -1.0), 1018), ((5.0, 0.4, 3.0, 9.0), 1000)],
)
def test_impossible_areas_are_refused(
    arguments: tuple[float, float, float, float], code: int
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        itm_area.area(*arguments, MEDIAN)
    assert refused.value.code == code


@pytest.mark.parametrize(("sitings", "code"), [((3, 0), 1019), ((0, -1), 1020)])
def test_unknown_sitings_are_refused(sitings: tuple[int, int], code: int) -> None:
    with pytest.raises(InvalidInputError) as refused:
        itm_area.area(5.0, 10.0, 3.0, 90.0, MEDIAN, *sitings)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("profile", "spacing_m", "field"),
    [
        ([1.0], 30.0, "heights_m"),
        ([1.0, np.nan, 2.0], 30.0, "heights_m"),
        ([1.0, 2.0, 3.0], 0.0, "spacing_m"),
        ([1.0, 2.0, 3.0], np.inf, "spacing_m"),
    ],
)
def test_impossible_profiles_are_refused(
    profile: list[float], spacing_m: float, field: str
) -> None:
    with pytest.raises(InvalidInputError, match=field):
        itm.point_to_point(profile, spacing_m, 10.0, 3.0, MEDIAN)


def test_profiles_above_the_air_are_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        itm.point_to_point(np.full(50, 9_000.0), 90.0, 10.0, 3.0, MEDIAN)
    assert refused.value.code == 1021


def test_warnings_have_names() -> None:
    odd = replace(MEDIAN, frequency_mhz=30.0, percentages=Percentages(99.95, 50.0, 50.0))
    got = itm.point_to_point(np.full(20, 10.0), 10.0, 0.8, 1500.0, odd)
    assert {"TX_HEIGHT", "RX_HEIGHT", "FREQUENCY", "DISTANCE_VERY_SMALL"} <= set(
        names(got.warnings)
    )
    assert "EXTREME_VARIABILITY" in names(got.warnings)
    assert got.code == ItmCode.OK_WITH_WARNINGS


def test_confidence_is_situation_and_reliability_is_time() -> None:
    by_confidence = replace(MEDIAN, percentages=Percentages.of_confidence(90.0, 70.0))
    by_situation = replace(MEDIAN, percentages=Percentages(70.0, 50.0, 90.0))
    one = itm.point_to_point(HILLS, 90.0, 10.0, 3.0, by_confidence)
    assert one == itm.point_to_point(HILLS, 90.0, 10.0, 3.0, by_situation)


@settings(deadline=None)
@given(st.floats(1.0, 98.0), st.sampled_from(range(1, 8)))
def test_more_certainty_costs_more_loss(percent: float, climate: int) -> None:
    less, more = (
        itm.point_to_point(
            HILLS,
            300.0,
            10.0,
            3.0,
            replace(MEDIAN, climate=climate, percentages=Percentages.of_confidence(p, p)),
        ).loss_db
        for p in (percent, percent + 1.0)
    )
    assert less < more


def test_modules_import_without_the_compiler() -> None:
    code = (
        "import sys\n"
        "from coverage_map.propagation import itm, itm_area, statistical, link_budget, tr38901\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'coverage'}", "PATH": ""},
    )
    assert done.stdout.strip() == "False"
