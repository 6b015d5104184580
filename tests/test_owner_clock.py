"""The wall clock: believed for a reason, back-filled when it comes late, followed when it jumps."""

from __future__ import annotations

from node_helpers import MS, START_MS, Bench, make_node, received

from chain.params import PRESETS
from hotspot.actions import KeepReceptions, SubmitRecord
from hotspot.clock import SETTLE_NS, Backlog, Moment, Timekeeper
from hotspot.node import HotspotNode, Memory

SECOND = 1_000_000_000
PARAMS = PRESETS["minimal"]
START_NS = START_MS * MS
EPOCH_NS = PARAMS.epoch_ms * MS


def keeper(
    wall_ns: int, boot_ns: int = SETTLE_NS, synced: bool = False, seen_ms: int = 0
) -> Timekeeper:
    moment = Moment(wall_ns, boot_ns, synced)
    epoch_ms = PARAMS.epoch_ms
    return Timekeeper(moment, epoch_ms=epoch_ms, start_ms=START_MS, seen_ms=seen_ms)


def test_a_clock_of_1970_is_not_believed_even_if_the_kernel_is_content() -> None:
    assert "before the network's start" in keeper(5 * SECOND, synced=True).doubt()


def test_a_clock_behind_what_it_showed_before_the_restart_needs_somebody_to_agree() -> None:
    clock = keeper(START_NS + 50 * EPOCH_NS, seen_ms=START_MS + 90 * PARAMS.epoch_ms)
    assert "400 s behind what it showed" in clock.doubt()
    clock.note_ledger(50)
    assert clock.doubt() == "", "it was the earlier run that ran ahead"


def test_a_fresh_boot_waits_for_the_time_service_but_not_for_ever() -> None:
    clock = keeper(START_NS + 100 * EPOCH_NS, boot_ns=20 * SECOND)
    assert "time service" in clock.doubt()
    clock.observe(Moment(START_NS + 100 * EPOCH_NS, SETTLE_NS, False))
    assert clock.doubt() == ""


def test_the_ledger_ends_the_wait_or_contradicts() -> None:
    agreed = keeper(START_NS + 100 * EPOCH_NS, boot_ns=20 * SECOND)
    agreed.note_ledger(101)
    assert agreed.doubt() == ""
    behind = keeper(START_NS + 100 * EPOCH_NS)
    behind.note_ledger(150)
    assert "50 epochs ahead" in behind.doubt()


def test_a_ledger_that_stands_still_says_nothing_against_a_clock() -> None:
    clock = keeper(START_NS + 100 * EPOCH_NS)
    clock.note_ledger(3)
    assert clock.doubt() == ""


def test_two_neighbours_prove_nothing_and_one_liar_among_four_neither() -> None:
    clock = keeper(START_NS + 100 * EPOCH_NS)
    for index in range(2):
        clock.note_neighbour(index, 140)
    assert clock.doubt() == ""
    clock.note_neighbour(2, 140)
    assert "40 epochs ahead" in clock.doubt()
    calm = keeper(START_NS + 100 * EPOCH_NS, boot_ns=1)
    for index, epoch in enumerate((100, 100, 101, 9_000)):
        calm.note_neighbour(index, epoch)
    assert calm.doubt() == ""


def test_what_was_said_long_ago_is_judged_by_the_time_that_it_was_then() -> None:
    clock = keeper(START_NS + 100 * EPOCH_NS)
    clock.note_ledger(100)
    later = Moment(START_NS + 180 * EPOCH_NS, SETTLE_NS + 80 * EPOCH_NS, False)
    assert clock.observe(later) == 0
    assert clock.doubt() == ""


def test_jumps_are_told_from_slewing_and_from_sleep() -> None:
    clock = keeper(START_NS + 100 * EPOCH_NS, boot_ns=SETTLE_NS)
    wall, boot = START_NS + 100 * EPOCH_NS, SETTLE_NS
    assert clock.observe(Moment(wall + 3600 * SECOND, boot + 3600 * SECOND, False)) == 0
    assert clock.observe(Moment(wall + 3601 * SECOND + 500, boot + 3601 * SECOND, False)) == 0
    jump = clock.observe(Moment(wall + 60 * SECOND, boot + 3602 * SECOND, False))
    assert -3543 * SECOND < jump < -3541 * SECOND


def test_a_backlog_drops_the_oldest_and_counts_them() -> None:
    backlog = Backlog(limit=3)
    for n in range(5):
        backlog.keep(bytes([n]), n)
    assert (backlog.dropped, list(backlog.take()), len(backlog)) == (
        2,
        [(2, b"\x02"), (3, b"\x03"), (4, b"\x04")],
        0,
    )


def test_a_clock_that_was_set_ahead_of_everybody_is_not_followed() -> None:
    clock = keeper(START_NS + 100 * EPOCH_NS)
    clock.note_ledger(100)
    clock.observe(Moment(START_NS + 500 * EPOCH_NS, SETTLE_NS + SECOND, False))
    assert "399 epochs ahead of others" in clock.doubt()
    clock.observe(Moment(START_NS + 500 * EPOCH_NS + SECOND, SETTLE_NS + 2 * SECOND, True))
    assert clock.doubt() == "", "a time service set it"


# --- the node -------------------------------------------------------------------------------------


def heard_by_nobody(epoch: float) -> tuple[Bench, list[tuple[int, bytes]]]:
    """A town of a, b, c, and the frames of a and b with the time at which each was sent."""
    bench = Bench(names=("a", "b", "c"))
    frames: list[tuple[int, bytes]] = []
    times = iter(range(1, int(epoch * 20) + 1))
    for step in times:
        before = {name: len(bench.sent.get(name, [])) for name in "ab"}
        bench.run_until(step / 20)
        for name in "ab":
            new = bench.sent.get(name, [])[before[name] :]
            frames.extend((bench.now_ns, received(sent.frame)) for sent in new)
    return bench, frames


def fresh(bench: Bench) -> HotspotNode:
    """A fourth hotspot that wakes without a clock."""
    return make_node("d", bench.params, bench.directory, Memory())


def test_frames_of_a_night_without_a_clock_reach_the_map_late() -> None:
    bench, frames = heard_by_nobody(7.9)
    node = fresh(bench)
    kept = [node.receive_past(data, at_ns) for at_ns, data in frames]
    assert all(kept)
    assert len(kept) >= 10
    node.receive_registration(3, 2, bench.now_ns)
    node.handle_deadline(bench.now_ns)
    actions = node.take_actions()
    rows = {row for a in actions if isinstance(a, KeepReceptions) for row in a.receptions}
    assert len(rows) == len(frames)
    assert node.counts["late_messages"] >= 4
    assert sum(isinstance(a, SubmitRecord) for a in actions) == node.counts["messages"]


def test_a_past_epoch_that_has_a_message_takes_nothing_more_and_no_frame_counts_twice() -> None:
    bench, frames = heard_by_nobody(6.9)
    node = fresh(bench)
    at_ns, data = frames[0]
    assert node.receive_past(data, at_ns)
    assert not node.receive_past(data, at_ns), "a repeat"
    closed = HotspotNode(
        node.identity, node.secrets, node.directory, memory=Memory(last_message_epoch=50)
    )
    assert not closed.receive_past(data, at_ns)
    assert not node.receive_past(data, at_ns + 3 * EPOCH_NS), "of another epoch"


def test_a_clock_set_back_puts_the_node_into_the_epoch_that_it_names() -> None:
    bench = Bench()
    bench.run_until(6.2)
    node = bench.nodes["a"]
    ahead_ns = START_NS + 500 * EPOCH_NS
    node.handle_jump(ahead_ns)
    assert node.epoch == 500
    last = node.memory.last_message_epoch
    node.take_actions()
    back_ns = bench.now_ns
    node.handle_jump(back_ns)
    assert node.epoch == 6
    deadline = node.next_deadline()
    assert deadline is not None
    assert deadline < back_ns + EPOCH_NS
    before = len(bench.messages["a"])
    bench.run_until(8.95)
    epochs = [message.epoch for message in bench.messages["a"][before:]]
    assert epochs == list(range(last + 1, 9)), "what was signed while ahead is not signed again"


def test_a_neighbours_epoch_counts_only_if_it_signed() -> None:
    bench, frames = heard_by_nobody(3.9)
    node = fresh(bench)
    _, data = frames[0]
    told = node.read_epoch(data)
    assert told is not None
    assert told[0] in (0, 1)
    assert node.read_epoch(data[:-1] + bytes([data[-1] ^ 1])) is None
    assert node.read_epoch(b"\x00") is None
