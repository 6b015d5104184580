"""ITU-R P.1812 against the ITU's validation set, and the compiled kernel against the formulas."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.propagation.p1812 import (
    Link1812,
    Prediction1812,
    Warnings1812,
    compute_loss,
    compute_losses,
    location_sigma_db,
)
from coverage_map.propagation.profile import Profile, make_profile

ARCHIVE = ROOT.parent / "shared" / "ground-truth" / "radio" / "p1812"
TOLERANCE = 1e-6
PLAIN = Link1812(868e6, 20.0, 2.0, 50.0)


@cache
def archive() -> dict[str, list[list[str]]]:
    path = ARCHIVE / "py1812_validation.tar.gz"
    if not path.exists():
        pytest.skip("validation profiles not present: ../shared/ground-truth")
    rows = {}
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            handle = tar.extractfile(member) if member.name.endswith(".csv") else None
            if handle is not None:
                text = io.StringIO(handle.read().decode("utf-8-sig"))
                rows[member.name.rsplit("/", 2)[-2:][0] + "/" + member.name.rsplit("/", 1)[-1]] = (
                    list(csv.reader(text))
                )
    return rows


@cache
def profile(name: str) -> Profile:
    rows = archive()[f"validation_profiles/{name}.csv"]
    start = next(i for i, row in enumerate(rows) if row and row[0].startswith("Number of Points"))
    points = np.array([row[:5] for row in rows[start + 1 : start + 1 + int(rows[start][1])]], float)
    return make_profile(
        points[:, 0] * 1000.0, points[:, 1], points[:, 3], points[:, 4].astype(int)
    )


def cases() -> list[tuple[str, Link1812, dict[str, float]]]:
    found = []
    for name, rows in sorted(archive().items()):
        if name.startswith("validation_results/") and name.endswith("_log.csv"):
            log: dict[str, float] = {}
            for row in rows:
                if len(row) > 3 and row[3] not in ("", "Value"):
                    log.setdefault(f"{row[0].strip()} {row[1]}".strip(), float(row[3]))
            found.append((name.split("/")[1][: -len("_log.csv")].rsplit("_", 1)[0], link(log), log))
    return found


def link(log: dict[str, float]) -> Link1812:
    return Link1812(
        frequency_hz=log["f (GHz)"] * 1e9,
        transmitter_height_m=log["htg (m)"],
        receiver_height_m=log["hrg (m)"],
        latitude_deg=log["phi (deg) Eq (4)"],
        time_percent=log["p (%)"],
        vertical=log["pol"] == 2,
        delta_n=log["DN"],
        n0=log["N0"],
    )


def steps(got: Prediction1812) -> dict[str, float]:
    shape, beta = got.geometry, got.beta
    return {
        "dlt (km) Eq (78)": shape.horizon_transmitter_km,
        "dlr (km) Eq (81a)": shape.horizon_receiver_km,
        "th_t (mrad) Eqs (76-78)": shape.elevation_transmitter_mrad,
        "th_r (mrad) Eqs (79-81)": shape.elevation_receiver_mrad,
        "th (mrad) Eq (82)": shape.angular_distance_mrad,
        "w Table 5": got.sea_fraction,
        "dtm (km) Sec 3.6": got.longest_land_km,
        "dlm (km) Sec 3.6": got.longest_inland_km,
        "b0 (%) Eq (5)": got.beta0_percent,
        "ae (km) Eq (7a)": got.effective_radius_km,
        "hst (m) Eq (85)": shape.smooth_transmitter_m,
        "hsr (m) Eq (86)": shape.smooth_receiver_m,
        "hstd (m) Eq (89)": shape.diffraction_transmitter_m,
        "hsrd (m) Eq (89)": shape.diffraction_receiver_m,
        "hte (m) Eq (92a)": shape.effective_transmitter_m,
        "hre (m) Eq (92b)": shape.effective_receiver_m,
        "hm (m) Eq (93)": shape.roughness_m,
        "Fi Eq (40)": got.interpolation_fi,
        "Fj Eq (57)": got.interpolation_fj,
        "Fk Eq (58)": got.interpolation_fk,
        "Lbfs Eq (8)": got.free_space_db,
        "Lb0p Eq (10)": got.los_p_db,
        "Lb0b Eq (11)": got.los_beta_db,
        "Lbulla (dB) Eq (21)": beta.bullington_actual_db,
        "Lbulls (dB) Eq (21)": beta.bullington_smooth_db,
        "Ldsph (dB) Eq (27)": beta.spherical_db,
        "Ld50 (dB) Eq (39)": got.median.loss_db,
        "Ldb (dB) Eq (39)": beta.loss_db,
        "Ldp (dB) Eq (41)": got.diffraction_p_db,
        "Lbd50 (dB) Eq (42)": got.median_total_db,
        "Lminb0p (dB) Eq (59)": got.minimum_los_db,
        "Lba (dB) Eq (46)": got.ducting_db,
        "Lminbap (dB) Eq (60)": got.minimum_ducting_db,
        "Lbda (dB) Eq (61)": got.enhanced_diffraction_db,
        "Lbam (dB) Eq (62)": got.modified_db,
        "Lbs (dB) Eq (44)": got.troposcatter_db,
        "Lbc (dB) Eq (63)": got.combined_db,
        "Lb (dB) Eq (69)": got.loss_db,
        "Ep (dBuV/m) Eq (70)": got.field_dbuv_m,
    }


def test_all_results_and_every_step_of_them_are_those_of_the_validation_set() -> None:
    # The log prints L_bda under L_bd's name too, so that one step has no figure of its own.
    seen = cases()
    assert len(seen) == 63
    for name, one, log in seen:
        got = steps(compute_loss(profile(name), one))
        wrong = {k: (v, log[k]) for k, v in got.items() if abs(v - log[k]) > TOLERANCE}
        assert wrong == {}, name


def test_the_kernel_gives_the_validation_results_too() -> None:
    for name, one, log in cases():
        path = profile(name)
        total = path.distance_m[-1]
        got = compute_losses(
            path.ground_m[None, :],
            [one],
            [total],
            path.clutter_m[None, :],
            path.distance_m / total,
            path.zones[None, :],
        )
        assert abs(got[0] - log["Lb (dB) Eq (69)"]) <= TOLERANCE, name


heights = st.lists(st.floats(-50.0, 3000.0), min_size=3, max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    heights,
    st.floats(50.0, 500e3),
    st.floats(30e6, 6e9),
    st.floats(1.0, 300.0),
    st.floats(1.0, 300.0),
    st.floats(1.0, 50.0),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_kernel_is_the_formulas(
    ground: list[float],
    length: float,
    hertz: float,
    up: float,
    down: float,
    percent: float,
    vertical: bool,
    seed: int,
) -> None:
    draw = np.random.default_rng(seed)
    count = len(ground)
    x = np.sort(np.concatenate([[0.0], draw.uniform(0.001, 0.999, count - 2), [1.0]]))
    if (np.diff(x) <= 1e-9).any():
        return
    clutter = draw.uniform(0.0, 25.0, count) * draw.integers(0, 2, count)
    zones = draw.choice([1, 3, 4], count)
    one = Link1812(hertz, up, down, 48.0, percent, vertical, location_percent=80.0)
    one = replace(one, location_sigma_db=None, entry_loss_db=3.0)
    want = compute_loss(make_profile(x * length, ground, clutter, zones), one).loss_db
    got = compute_losses([ground], [one], [length], [clutter], x, [zones])[0]
    assert got == pytest.approx(want, abs=1e-8)


def test_a_path_over_level_ground_is_the_same_both_ways() -> None:
    path = make_profile(np.linspace(0.0, 20e3, 101), np.zeros(101))
    there = compute_loss(path, replace(PLAIN, transmitter_height_m=30.0, receiver_height_m=3.0))
    back = compute_loss(path, replace(PLAIN, transmitter_height_m=3.0, receiver_height_m=30.0))
    assert there.loss_db == pytest.approx(back.loss_db, abs=1e-9)


def test_a_ridge_costs_and_more_time_costs_more() -> None:
    x = np.linspace(0.0, 10e3, 101)
    ridge = np.where(np.abs(x - 5e3) < 300.0, 150.0, 0.0)
    level = compute_loss(make_profile(x, np.zeros(101)), PLAIN).loss_db
    assert compute_loss(make_profile(x, ridge), PLAIN).loss_db > level + 15.0
    rarely = compute_loss(make_profile(x, ridge), replace(PLAIN, time_percent=1.0)).loss_db
    assert rarely < compute_loss(make_profile(x, ridge), PLAIN).loss_db


def test_inputs_out_of_range_are_flagged_and_still_answered() -> None:
    path = make_profile(np.linspace(0.0, 100.0, 11), np.zeros(11))
    odd = Link1812(10e9, 0.5, 5000.0, 85.0, 0.5, location_percent=0.5)
    got = compute_loss(path, odd)
    assert got.warnings == ~Warnings1812.NONE
    assert np.isfinite(got.loss_db)
    fine = make_profile(np.linspace(0.0, 9e3, 11), np.zeros(11))
    assert compute_loss(fine, PLAIN).warnings == Warnings1812.NONE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frequency_hz", 0.0),
        ("time_percent", 60.0),
        ("location_percent", 100.0),
        ("transmitter_height_m", 0.0),
        ("receiver_height_m", -1.0),
        ("latitude_deg", 91.0),
        ("delta_n", 157.0),
        ("location_sigma_db", -1.0),
    ],
)
def test_the_impossible_is_an_error_that_names_the_field(field: str, value: float) -> None:
    path = make_profile(np.linspace(0.0, 9e3, 11), np.zeros(11))
    bad = replace(PLAIN, **{field: value})
    with pytest.raises(ValueError, match=rf"^{field}: .*; "):
        compute_loss(path, bad)
    with pytest.raises(ValueError, match=rf"^{field}: .*; "):
        compute_losses([[0.0, 1.0, 0.0]], [bad], [1e3])


def test_location_variability_shrinks_above_the_roofs() -> None:
    assert location_sigma_db(1e9, 1.5, 10.0, 100.0) == pytest.approx(0.544 * 100.0**0.28)
    assert location_sigma_db(1e9, 15.0, 10.0, 100.0) == pytest.approx(0.272 * 100.0**0.28)
    assert location_sigma_db(1e9, 20.0, 10.0, 100.0) == 0.0


def test_a_profile_must_be_in_order_and_whole() -> None:
    for bad in ([0.0, 2.0, 1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="distance_m"):
            make_profile(bad, [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="ground_m"):
        make_profile([0.0, 1.0], [0.0, float("nan")])
    with pytest.raises(ValueError, match="differ in length"):
        make_profile([0.0, 1.0], [0.0])
    with pytest.raises(ValueError, match="zones"):
        make_profile([0.0, 1.0], [0.0, 0.0], zones=[4, 2])
