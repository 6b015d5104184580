"""The bookkeeping of a live run: what was due, what came, and that neither hides the other."""

from __future__ import annotations

import pytest

from chain.errors import EXIT_USAGE, UserError
from chain.records import Reception
from chain.wire import pack_reception
from hotspot.radio.frame import Beacon, build_frame, pack_beacon
from radio_sim.live.io_live import main
from radio_sim.live.watch import Watch, beacon_of, beacons_due, judge

MAC = b"\x02\0\0\0\0\x01"


def entry(index: int, sequence: int) -> bytes:
    return pack_reception(Reception(index, sequence, 0, -7000, 2437, b"\0\0\0\0"))


def test_a_beacon_is_due_in_every_whole_epoch_from_the_bound_one_on() -> None:
    due = beacons_due({0: 3, 1: 5, 2: 7}, last_epoch=5, per_epoch=2)
    assert due == {(0, e, s) for e in (3, 4, 5) for s in (0, 1)} | {(1, 5, 0), (1, 5, 1)}


def test_a_beacon_is_named_by_node_epoch_and_sequence() -> None:
    payload = pack_beacon(Beacon(bytes(32), 9, 4, bytes(16), 0, 2437, 0, 0))
    assert beacon_of(7, build_frame(payload, MAC, 1)) == (7, 9, 4)
    assert beacon_of(7, b"noise") is None


def test_all_is_counted_where_all_went_well() -> None:
    watch = Watch(sent={(0, 3, 0), (1, 3, 0)}, delivered={(1, (0, 3, 0)), (0, (1, 3, 0))})
    watch.note_receptions(1, 3, [entry(10, 0)], {10: 0, 11: 1})
    watch.note_receptions(0, 3, [entry(11, 0), entry(99, 0)], {10: 0, 11: 1})
    outcome = judge(watch, {0: 3, 1: 3}, last_epoch=3, per_epoch=1)
    assert (outcome.beacons_due, outcome.beacons_sent) == (2, 2)
    assert (outcome.heard_expected, outcome.heard) == (2, 2)
    assert outcome.missing_sent == outcome.missing_heard == []


def test_a_beacon_of_another_epoch_does_not_stand_in_for_a_missing_one() -> None:
    watch = Watch(sent={(0, 2, 0), (0, 4, 0)}, delivered={(1, (0, 4, 0)), (1, (0, 2, 0))})
    watch.note_receptions(1, 2, [entry(10, 0)], {10: 0})
    outcome = judge(watch, {0: 3, 1: 3}, last_epoch=4, per_epoch=1)
    assert (outcome.beacons_due, outcome.beacons_sent) == (4, 1)
    assert outcome.missing_sent == [(0, 3, 0), (1, 3, 0), (1, 4, 0)]
    assert (outcome.heard_expected, outcome.heard) == (1, 0)
    assert outcome.missing_heard == [(1, (0, 4, 0))]


def test_a_receiver_owes_nothing_before_its_own_first_epoch() -> None:
    watch = Watch(sent={(0, 3, 0)}, delivered={(1, (0, 3, 0)), (2, (0, 3, 0))})
    assert judge(watch, {0: 3, 1: 4}, last_epoch=3, per_epoch=1).heard_expected == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--hotspots", "0"], "scenario"),
        (["--hotspots", "6", "builtin:city"], "--hotspots"),
        (["--seconds", "0"], "--seconds"),
        (["--dir", "/tmp"], "--dir"),
        (["--dir", "/tmp/" + "x" * 120], "--dir"),
        (["absent.toml"], "scenario"),
    ],
)
def test_bad_input_names_the_field(arguments: list[str], field: str) -> None:
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert (caught.value.field, caught.value.exit_code) == (field, EXIT_USAGE)
