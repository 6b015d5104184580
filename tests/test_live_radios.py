"""Real radio devices under the live air: channels, levels, full queues, and the bench's slice."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from conftest import ROOT

from hotspot.radio.frame import Beacon, Heard, build_frame, pack_beacon, parse_frame
from hotspot.radio.io_radio import MonitorRadio
from radio_sim.links import Links
from radio_sim.live import io_tap
from radio_sim.live.drivers import PROFILES
from radio_sim.live.io_air import LiveAir
from radio_sim.medium import Medium

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not io_tap.can_make_radios(),
        reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun",
    ),
]
CHANNELS_MHZ = (2412, 2412, 2462, 2462)


def frame_of(node: int, sequence: int) -> bytes:
    payload = pack_beacon(Beacon(bytes(32), 1, sequence, bytes(16), 0, 2437, 0, 0))
    return build_frame(payload, bytes((2, 0, 0, 0, 0, node)), sequence, 12)


def everyone_near(level_dbm: float) -> Links:
    count = len(CHANNELS_MHZ)
    return Links(
        np.arange(0, count * count, count - 1, dtype=np.int64)[: count + 1],
        np.array([b for a in range(count) for b in range(count) if a != b], np.int64),
        np.full(count * (count - 1), level_dbm),
        np.array(CHANNELS_MHZ, np.int64),
    )


@pytest.fixture
def live() -> Iterator[tuple[LiveAir, list[MonitorRadio]]]:
    """Four radios in one place, two on each of two channels, and the air between them."""
    with contextlib.ExitStack() as stack:
        taps, radios = [], []
        for number in range(len(CHANNELS_MHZ)):
            name = io_tap.radio_name(200 + number)
            stack.callback(io_tap.remove_namespace, name)
            taps.append(io_tap.open_radio_tap(name))
            stack.callback(taps[-1].close)
            with io_tap.inside(name):
                radios.append(MonitorRadio(name))
            stack.callback(radios[-1].close)
        drivers = [PROFILES["mac80211"]] * len(taps)
        air = LiveAir(taps, Medium(everyone_near(-60.0), 1), drivers=drivers)
        stack.callback(air.close)
        yield air, radios


def settle(air: LiveAir) -> None:
    """Step until nothing waits and several looks have found nothing more to read."""
    idle = 0
    while idle < 3:
        before = air.account.frames["injected"]
        air.step(0.002)
        idle = idle + 1 if not air.busy and air.account.frames["injected"] == before else 0


def heard(radio: MonitorRadio) -> list[Heard]:
    seen = [parse_frame(data) for data in radio.receive()]
    return [one for one in seen if isinstance(one, Heard) and one.rssi_dbm is not None]


def test_channels_share_a_place_without_hearing_each_other_and_every_frame_has_its_level(
    live: tuple[LiveAir, list[MonitorRadio]],
) -> None:
    air, radios = live
    for sequence in range(40):
        for node in (0, 2):
            radios[node].send(frame_of(node, sequence), 0)
        settle(air)
    assert air.account.frames["finished"] == 80
    assert air.account.fates == {"delivered": 80, "off_channel": 160}
    assert air.imbalances() == []
    low, high = heard(radios[1]), heard(radios[3])
    assert {one.source[5] for one in low} == {0}
    assert {one.source[5] for one in high} == {2}
    assert {one.frequency_mhz for one in low} == {2412}
    assert len(low) == len(high) == 40
    levels = [one.rssi_dbm for one in low if one.rssi_dbm is not None]
    assert 0.8 < np.std(levels) < 2.3  # per frame: 1.5 dB and a rounding


def test_a_full_device_drops_without_a_word_and_counts_it_and_the_rest_goes_out(
    live: tuple[LiveAir, list[MonitorRadio]],
) -> None:
    air, radios = live
    flood = 1300
    for sequence in range(flood):
        radios[0].send(frame_of(0, sequence), 0)
    assert (radios[0].counts["sent"], radios[0].counts["send_failed"]) == (flood, 0)
    dropped = io_tap.refused_by_device(io_tap.radio_name(200))
    assert 0 < dropped < flood
    air.step(0.001)
    assert air.account.frames["injected"] <= PROFILES["mac80211"].queue_frames
    assert air.imbalances() == []
    settle_most(air, flood - dropped)
    assert air.account.frames["injected"] == air.account.frames["finished"] == flood - dropped
    assert air.imbalances() == []


def settle_most(air: LiveAir, frames: int) -> None:
    deadline = time.monotonic() + 200.0
    while air.account.frames["finished"] < frames and time.monotonic() < deadline:
        air.step(0.05)


def test_ten_radio_programs_lose_nothing_but_to_physics() -> None:
    command = [sys.executable, "-m", "bench.live", "--kind", "injectors", "--drivers", "mix",
               "--daemons", "10", "--hz", "4", "--seconds", "3", "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    account = result["account"]
    assert (result["unaccounted"], result["imbalances"], result["dropped_by_kernel"]) == (0, [], 0)
    assert account["frames"] == {"injected": 120, "queued": 120, "finished": 120}
    assert sum(account["fates"].values()) == account["receptions_possible"] == 120 * 8
    assert result["heard"] == account["fates"]["delivered"] > 500
