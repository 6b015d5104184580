"""What a daemon learnt of one radio doesn't accuse the next; heard is heard, counted or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from node_helpers import Bench
from test_owner_daemon import Mocked, beacon_of_a, faults, prepare, settings

from hotspot.io_daemon import Daemon
from hotspot.io_uplink import OwnerKnown


def open_daemon(folder: Path, kind: str, interface: str) -> Daemon:
    config = settings()
    radio = replace(config.radio, kind=kind, interface=interface)
    return Daemon(replace(config, radio=radio), folder, Mocked())


def close(daemon: Daemon) -> None:
    daemon._radio.close()
    daemon._loop.close()
    daemon._queue.close()


def test_an_echo_is_expected_of_the_radio_that_gave_one(tmp_path: Path) -> None:
    prepare(tmp_path, Bench())
    first = open_daemon(tmp_path, "monitor", "mon0")
    assert not first._health.echoes
    first._note_echo(1)
    close(first)
    for kind, name, expected in (("monitor", "mon0", True), ("nl80211", "wlan0", False)):
        again = open_daemon(tmp_path, kind, name)
        assert again._health.echoes == expected
        close(again)


@pytest.mark.parametrize(("reason", "is_dead"), [("too_close", False), ("", True)])
def test_receptions_that_dont_count_still_left_the_antenna(
    tmp_path: Path, reason: str, is_dead: bool
) -> None:
    prepare(tmp_path, Bench())
    daemon = open_daemon(tmp_path, "monitor", "mon0")
    daemon._take_frames([beacon_of_a(daemon._node.epoch)])  # a neighbour is there
    receptions = {reason: 12} if reason else {}
    why = {"as_beaconer": {"beacons": {"unheard": 4}, "receptions": receptions}}
    known = OwnerKnown(
        epoch=3, earned_ucr=0, bond_ucr=0, trust_ppm=0, balance_ucr=0, why=why
    )
    daemon._judge_beacons(known, daemon._boot_ns())
    assert ("TX_DEAD" in faults(daemon)) == is_dead
    close(daemon)
