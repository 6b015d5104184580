"""Antenna patterns, link budgets, and how devices report RSSI against measured gateways."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverage_map.propagation import antennas, seeded
from coverage_map.propagation.antennas import (
    Antenna,
    Collinear,
    Dipole,
    Isotropic,
    Mounted,
    Parabolic,
    Sector,
    Table,
)
from coverage_map.propagation.link_budget import Receiver, RssiDevice, Transmitter, budget
from coverage_map.propagation.validity import InvalidInputError

EVERY: dict[str, Antenna] = {
    "isotropic": Isotropic(),
    "dipole": Dipole(),
    "sector": Sector(),
    "collinear": Collinear(8.0),
    "small dish": Parabolic(0.6, 5.8e9),
    "large dish": Parabolic(3.0, 11e9),
    "table": Table(5.0, np.array([0.0, 3.0, 12.0, 3.0]), np.array([0.0, 10.0, 20.0, 10.0])),
}
azimuths = st.floats(-180.0, 180.0)
elevations = st.floats(-90.0, 90.0)


def integral_over_sphere(antenna: Antenna) -> float:
    """Mean gain over all directions: 1 for a lossless antenna, less for a lossy one."""
    azimuth = np.arange(0.5, 360.0)[:, None]
    elevation = np.arange(-89.75, 90.0, 0.5)[None, :]
    gain = 10.0 ** (antenna.gain_dbi(azimuth, elevation) / 10.0)
    weight = np.cos(np.radians(elevation)) * np.ones_like(azimuth)
    return float((gain * weight).sum() / weight.sum())


@pytest.mark.parametrize("name", sorted(EVERY))
@given(azimuth=azimuths, elevation=elevations)
def test_nowhere_more_than_straight_ahead(name: str, azimuth: float, elevation: float) -> None:
    antenna = EVERY[name]
    ahead = antenna.gain_dbi(0.0, 0.0)
    there = antenna.gain_dbi(azimuth, elevation)
    assert there <= ahead + 1e-9
    assert antenna.gain_dbi(azimuth + 360.0, elevation) == pytest.approx(float(there), abs=1e-6)
    assert antenna.gain_dbi(-azimuth, elevation) == pytest.approx(float(there), abs=1e-6)


def test_a_dipole_radiates_what_it_is_given() -> None:
    assert integral_over_sphere(Dipole()) == pytest.approx(1.0, abs=0.005)
    assert integral_over_sphere(Isotropic()) == pytest.approx(1.0)


def test_sector_widths_are_half_power() -> None:
    assert Sector().gain_dbi(32.5, 0.0) == pytest.approx(5.0)
    assert Sector().gain_dbi(0.0, -32.5) == pytest.approx(5.0)
    assert Sector().gain_dbi(180.0, 90.0) == pytest.approx(-22.0)


def test_collinear_half_power_width() -> None:
    # theta_3 = 107.6 10^(-0.1 G0) is the full width: 3 dB down at half of it.
    stick = Collinear(10.0)
    assert stick.gain_dbi(77.0, 5.38) == pytest.approx(7.0)
    assert stick.gain_dbi(77.0, 90.0) == pytest.approx(-2.0 + 10 * np.log10(0.0411 + 0.7), abs=0.01)


def test_dish_by_hand() -> None:
    # 3 m at 11 GHz: D / lambda 110, so 32 - 25 lg 10 = 7 dBi at 10 degrees and -10 behind.
    dish = Parabolic(3.0, 11e9)
    assert dish.gain_dbi(0.0, 0.0) == pytest.approx(20.0 * np.log10(110.0) + 7.7)
    assert dish.gain_dbi(10.0, 0.0) == pytest.approx(7.0)
    assert dish.gain_dbi(180.0, 0.0) == pytest.approx(-10.0)


def test_tables_are_read_between_samples() -> None:
    table = EVERY["table"]
    assert table.gain_dbi(45.0, 0.0) == pytest.approx(3.5)
    assert table.gain_dbi(-90.0, 0.0) == pytest.approx(2.0)
    assert table.gain_dbi(0.0, -45.0) == pytest.approx(0.0)
    with pytest.raises(InvalidInputError, match="samples"):
        antennas.around([1.0], 5.0)


def test_impossible_elevations_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="elevation_deg"):
        Sector().gain_dbi(0.0, 91.0)


@given(azimuths, elevations)
def test_mounting_straight_changes_nothing(azimuth: float, elevation: float) -> None:
    straight = Mounted(Sector(), 0.0, 0.0).gain_dbi(azimuth, elevation)
    assert straight == pytest.approx(float(Sector().gain_dbi(azimuth, elevation)), abs=1e-5)


@given(st.floats(0.0, 360.0), st.floats(-20.0, 20.0))
def test_a_mounted_antenna_looks_where_it_points(bearing: float, tilt: float) -> None:
    mounted = Mounted(Parabolic(0.6, 5.8e9), bearing, tilt)
    ahead = mounted.antenna.gain_dbi(0.0, 0.0)
    assert mounted.gain_dbi(bearing, -tilt) == pytest.approx(float(ahead), abs=1e-4)
    assert mounted.gain_dbi(bearing + 30.0, -tilt) < ahead - 15.0


def test_a_budget_by_hand() -> None:
    sender = Transmitter(20.0, Mounted(Sector(), 90.0), cable_loss_db=2.0)
    receiver = Receiver(125e3, 6.0, Mounted(Isotropic(3.0)), cable_loss_db=1.0)
    got = budget(sender, receiver, 120.0, bearing_deg=90.0)
    assert got.eirp_dbm == pytest.approx(26.0)
    assert got.received_dbm == pytest.approx(-92.0)
    assert got.noise_dbm == pytest.approx(-117.03, abs=0.01)
    assert got.snr_db == pytest.approx(25.03, abs=0.01)


def test_the_receiver_sees_the_sender_from_the_other_side() -> None:
    receiver = Receiver(antenna=Mounted(Parabolic(0.6, 5.8e9), 270.0, 10.0))
    facing = budget(Transmitter(20.0), receiver, 100.0, bearing_deg=90.0, elevation_deg=10.0)
    away = budget(Transmitter(20.0), receiver, 100.0, bearing_deg=270.0, elevation_deg=10.0)
    assert facing.snr_db > away.snr_db + 25.0


def gateway_rows(ground_truth: Path) -> dict[str, np.ndarray]:
    """Per file, RSSI + min(SNR, 0) less what the cable let through, in dB."""
    archive = ground_truth / "radio" / "lora_bonn" / "bonn_gateway_calibration.tar.gz"
    errors = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = Path(member.name).name
            file = tar.extractfile(member)
            if "rpp-gateway-verification" not in member.name or not name.endswith("dB.csv"):
                continue
            if name.startswith("._") or file is None:
                continue
            text = io.StringIO(file.read().decode("utf-8-sig").split("\n", 1)[1])
            rows = list(csv.DictReader(text))
            rssi = np.array([float(row["meta.gateway_stats.rssi"]) for row in rows])
            snr = np.array([float(row["meta.gateway_stats.snr"]) for row in rows])
            sent = 14.0 - 80.0 - float(name.removesuffix("dB.csv"))
            errors[name] = rssi + np.minimum(snr, 0.0) - sent
    return errors


def test_reported_rssi_is_as_noisy_as_measured_gateways(ground_truth: Path) -> None:
    errors = gateway_rows(ground_truth)
    assert len(errors) == 6
    for k, (name, measured) in enumerate(sorted(errors.items())):
        assert -8.7 < measured.mean() < -7.6, name
        assert 1.0 < measured.std() < 2.1, name
        device = RssiDevice(offset_db=-8.0, sigma_db=1.5)
        deviates = seeded.normals(k, np.arange(measured.size, dtype=np.uint64))
        sent = np.full(measured.size, -90.0)
        modelled = device.reported_dbm(sent, deviates) - sent
        assert modelled.mean() == pytest.approx(measured.mean(), abs=1.0), name
        assert modelled.std() == pytest.approx(measured.std(), rel=0.6), name


@given(st.floats(-130.0, -20.0), st.floats(-4.0, 4.0), st.sampled_from([0.5, 1.0, 2.0]))
def test_reports_are_whole_steps_near_the_truth(true_dbm: float, z: float, step: float) -> None:
    device = RssiDevice(offset_db=1.0, sigma_db=1.5, step_db=step)
    reported = float(device.reported_dbm(true_dbm, z))
    assert reported / step == pytest.approx(round(reported / step))
    assert reported == pytest.approx(true_dbm + 1.0 + 1.5 * z, abs=step / 2 + 1e-9)


def test_reports_stop_at_floor_and_ceiling() -> None:
    device = RssiDevice(floor_dbm=-120.0, ceiling_dbm=-10.0)
    assert device.reported_dbm([-200.0, 0.0], 0.0).tolist() == [-120.0, -10.0]
