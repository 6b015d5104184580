"""Neighbouring and wide channels, and what changes while a frame is on the air."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hotspot.radio.frame import build_frame
from radio_sim.links import Links
from radio_sim.medium import US, Medium, MediumConfig, Transmission
from radio_sim.medium.batch import Schedule, broadcasts, run_batch
from radio_sim.medium.channels import Channel, decodes, entering_share, whole_channel
from radio_sim.medium.config import kind_of
from radio_sim.phy.rates import mcs_rate

FRAME = build_frame(bytes(141), bytes([2, 0, 0, 0, 0, 1]), 7)
QUIET = MediumConfig(rssi_noise_db=0.0, device_offset_db=0.0)


def two(level_dbm: float, frequencies: tuple[int, int] = (2437, 2437)) -> Links:
    return Links(
        np.array([0, 1, 2], np.int64),
        np.array([1, 0], np.int64),
        np.full(2, level_dbm),
        np.array(frequencies, np.int64),
    )


def begun(medium: Medium, sender: int, frequency_mhz: int, at_ns: int) -> Transmission | None:
    queued = medium.queue(sender, FRAME, 0, frequency_mhz, at_ns)
    assert isinstance(queued, Transmission)
    return queued if medium.begin(queued, at_ns) else None


def test_neighbouring_channels_get_less_the_farther_they_are() -> None:
    shares = [
        entering_share(Channel(2437, family=family), Channel(2437 + apart))
        for family in ("dsss", "ofdm")
        for apart in (0, 5, 10, 15, 20, 25)
    ]
    for part in (shares[:6], shares[6:]):
        assert part[0] == 1.0
        assert all(near > far for near, far in pairwise(part))
        assert part[-1] < 2e-3


def test_wide_channels_are_the_blocks_of_the_band() -> None:
    assert whole_channel(5200, 40).middle_mhz == 5190.0  # channels 36 and 40
    assert whole_channel(5200, 80).middle_mhz == 5210.0
    assert whole_channel(5785, 80).middle_mhz == 5775.0  # channels 149 to 161
    assert whole_channel(5200, 160).middle_mhz == 5250.0
    assert decodes(Channel(5200), whole_channel(5200, 80))
    assert not decodes(whole_channel(5200, 80), Channel(5200))
    assert not decodes(Channel(5180), whole_channel(5200, 80))


def test_a_wide_frame_needs_a_wide_receiver_and_hears_more_noise() -> None:
    kinds = [kind_of(mcs_rate("he", 0, width), 1000) for width in (20, 80)]
    ready = np.arange(2000, dtype=np.int64) * 10_000_000
    heard = {}
    for width in (20, 80):
        for kind in (0, 1):
            schedule = Schedule(
                ready, ready * 0, np.full(2000, kind), np.full(2000, -1), np.zeros(2000)
            )
            config = MediumConfig(bandwidth_mhz=width)
            heard[width, kind] = run_batch(
                two(-91.0, (5180, 5180)), 1, config, kinds, schedule
            ).heard
    assert heard[20, 0] == heard[80, 0] > 1900  # 3 dB above the noise of 20 MHz
    assert heard[20, 1] == 0
    assert heard[80, 1] < 200  # 3 dB below the noise of 80 MHz


def test_a_strong_neighbour_channel_is_sensed_as_energy_and_a_weak_one_is_not() -> None:
    for level_dbm, waits in ((-40.0, True), (-70.0, False)):
        medium = Medium(two(level_dbm, (2437, 2447)), 1)
        assert begun(medium, 0, 2437, 0)
        assert (begun(medium, 1, 2447, 100 * US) is None) == waits


def test_a_radio_that_sends_elsewhere_listens_there_first() -> None:
    medium = Medium(two(-60.0, (2437, 2462)), 1)
    assert begun(medium, 1, 2462, 0)
    assert begun(medium, 0, 2462, 100 * US) is None
    assert begun(medium, 0, 2412, 100 * US) is not None


def test_half_a_frame_under_a_noise_burst_is_lost() -> None:
    medium = Medium(two(-90.0), 1, QUIET)
    for round_, (rise_db, heard) in enumerate(((0.0, [1]), (30.0, []))):
        sent = begun(medium, 0, 2437, round_ * 10**9)
        assert sent is not None
        middle_ns = (sent.start_ns + sent.end_ns) // 2
        medium.set_noise_rise(np.array([0.0, rise_db]), middle_ns)
        assert medium.end(sent).receivers == heard


def test_a_link_that_fades_on_the_way_takes_the_frame_with_it() -> None:
    medium = Medium(two(-60.0), 1, QUIET)
    for round_, (level_dbm, heard) in enumerate(((-60.0, [1]), (-101.0, []))):
        sent = begun(medium, 0, 2437, round_ * 10**9)
        assert sent is not None
        medium.set_links(two(level_dbm), sent.start_ns + 500 * US)
        assert medium.end(sent).receivers == heard
    medium.set_links(two(-60.0))
    sent = begun(medium, 0, 2437, 3 * 10**9)
    assert sent is not None
    assert medium.end(sent) == ([1], [-60])


def test_nothing_stays_on_the_air_after_any_schedule() -> None:
    rng = np.arange(500, dtype=np.int64)
    links = two(-60.0)
    result = run_batch(
        links, 3, MediumConfig(), [kind_of(mcs_rate("ht", 3, 20), 300)],
        broadcasts(rng * 150_000, rng * 5 % 2),
    )
    assert result.sent == 500
    assert sum(result.fates.values()) == 500


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_that_begin_together_spoil_each_other_unless_one_is_much_stronger(
    order: tuple[int, int],
) -> None:
    for second_dbm, heard in ((-60.0, [[], []]), (-40.0, [[], [2]])):
        links = Links(
            np.array([0, 1, 2, 2], np.int64),
            np.array([2, 2], np.int64),
            np.array([-60.0, second_dbm]),
            np.full(3, 2437, np.int64),
        )
        medium = Medium(links, 1)
        sent = {sender: begun(medium, sender, 2437, 10**9) for sender in order}
        found = []
        for sender in (0, 1):
            one = sent[sender]
            assert one is not None
            found.append(medium.end(one).receivers)
        assert found == heard
