"""The medium's scatter and losses beside those of real links.

Cabled packets show what a receiver's figure adds by itself. Outdoor links were sampled every few
seconds with retries and rate control in between, so their losses bracket those of single frames:
below them where the link is bad, and none of note where it is good.
"""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from radio_sim.links import Links
from radio_sim.medium import MediumConfig
from radio_sim.medium.batch import broadcasts, run_batch
from radio_sim.medium.config import kind_of
from radio_sim.phy.rates import ofdm_rate

Floats = NDArray[np.float64]

FRAMES = 4000
RECEIVERS = 20


def heard_at(snr_db: float, config: MediumConfig, seed: int = 1) -> tuple[float, Floats]:
    """Share of frames lost at this SNR, and the figures [receiver, frame] of those heard."""
    links = Links(
        np.array([0, RECEIVERS] + [RECEIVERS] * RECEIVERS, np.int64),
        np.arange(1, RECEIVERS + 1, dtype=np.int64),
        np.full(RECEIVERS, config.noise_dbm + snr_db),
        np.full(RECEIVERS + 1, 5180, np.int64),
    )
    ready = np.arange(FRAMES, dtype=np.int64) * 10_000_000
    schedule = broadcasts(ready, np.zeros(FRAMES, np.int64))
    result = run_batch(links, seed, config, [kind_of(ofdm_rate(6000), 1534)], schedule)
    levels = np.full((RECEIVERS, FRAMES), np.nan)
    levels[result.receiver - 1, result.frame] = result.level_dbm
    return 1.0 - result.heard / (FRAMES * RECEIVERS), levels


def cabled_deviations(archive: Path) -> list[float]:
    """Standard deviation of RSSI + min(SNR, 0) of packets over each attenuator."""
    out = []
    with tarfile.open(archive) as bundle:
        for member in bundle.getmembers():
            file = bundle.extractfile(member) if member.name.endswith("dB.csv") else None
            if file is None:
                continue
            rows = list(csv.DictReader(io.StringIO(file.read().decode().split("\n", 1)[1])))
            level = [
                float(row["meta.gateway_stats.rssi"]) + min(float(row["meta.gateway_stats.snr"]), 0)
                for row in rows
            ]
            out.append(float(np.std(level)))
    return out


def outdoor(folder: Path, *columns: str) -> dict[str, Floats]:
    rows = []
    for path in sorted(folder.glob("*.csv.gz")):
        with gzip.open(path, "rt") as file:
            rows.append([[row[name] or "nan" for name in columns] for row in csv.DictReader(file)])
    return {
        name: np.array([float(row[place]) for part in rows for row in part])
        for place, name in enumerate(columns)
    }


def test_one_device_scatters_as_cabled_packets_do(ground_truth: Path) -> None:
    measured = cabled_deviations(
        ground_truth / "radio" / "lora_bonn" / "bonn_gateway_calibration.tar.gz"
    )
    assert len(measured) == 6
    _, levels = heard_at(30.0, MediumConfig())
    ours = np.nanstd(levels, axis=1)
    assert min(measured) < ours.min() < ours.max() < max(measured)
    assert ours.mean() == pytest.approx(np.mean(measured), abs=0.25)


def test_from_sample_to_sample_outdoor_links_scatter_as_ours_with_a_little_fading(
    ground_truth: Path,
) -> None:
    names = ("receiver_sender_RSSI", "sender_receiver_RSSI")
    found = outdoor(ground_truth / "radio" / "wifi_lqe", *names)
    # Differences of neighbours leave out what drifts: weather, and steps of transmit power.
    measured = [np.nanstd(np.diff(found[name])) / np.sqrt(2.0) for name in names]
    low, high = (
        np.nanmean(np.nanstd(heard_at(30.0, MediumConfig(fading_db=fading_db))[1], axis=1))
        for fading_db in (0.0, 1.5)
    )
    assert low - 0.1 < min(measured) < max(measured) < high + 0.1


def test_losses_fall_with_the_signal_and_bracket_the_measured_ones(ground_truth: Path) -> None:
    found = outdoor(
        ground_truth / "radio" / "wifi_lqe",
        "receiver_sender_SNR",
        "sender_receiver_SNR",
        "packet_drop_percentage",
    )
    snr = np.fmin(found["receiver_sender_SNR"], found["sender_receiver_SNR"])
    drop = found["packet_drop_percentage"] / 100.0
    config = MediumConfig(fading_db=1.5)
    ours = {level: heard_at(float(level), config)[0] for level in (0, 1, 2, 3, 15)}
    measured = {level: float(np.nanmean(drop[snr == level])) for level in ours}
    assert measured[1] > 10 * measured[15]
    assert ours[0] > ours[1] > ours[2] > ours[3] > 10 * ours[15]
    # Retries save what single frames lose at the edge; where the link is good nothing is to save.
    assert measured[0] < ours[0] < 1.0
    assert ours[15] <= measured[15] < 0.005
