"""A report is frozen only after the last beacon that belongs into it can have been read."""

from __future__ import annotations

import pytest
from node_helpers import MS, START_MS, Bench, make_node, received

from chain.params import PRESETS
from hotspot.directory import Directory
from hotspot.node import FREEZE_GUARD_NS, HotspotNode

AIR_NS = 2_512_000  # the longest frame of ours at 1 Mb/s
READ_LATE_NS = 20 * MS


def message_times(node: HotspotNode, epochs: int) -> list[int]:
    """Nanoseconds from the end of the beacons' last part to the message, epoch by epoch."""
    params = node.identity.params
    times = []
    for epoch in range(epochs):
        end_ms = START_MS + (epoch + 1) * params.epoch_ms - params.message_lead_ms
        times.append(node._message_time_ns(epoch) - end_ms * MS)
    return times


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_report_freezes_within_the_guard_and_none_later_than_before(preset: str) -> None:
    params = PRESETS[preset]
    node = make_node("a", params, Directory())
    times = message_times(node, 20_000)
    assert min(times) == FREEZE_GUARD_NS, "20,000 draws hold one that the guard moves"
    assert max(times) < params.message_lead_ms * MS * 2 // 5
    assert len(set(times)) > 19_000, "a storm"


def test_a_beacon_of_the_last_instant_is_kept_by_the_receiver_that_freezes_first() -> None:
    bench = Bench(params=PRESETS["minimal"])
    params, receiver = bench.params, bench.nodes["b"]
    times = message_times(receiver, 190)
    epoch = next(e for e in range(3, 190) if times[e] == FREEZE_GUARD_NS)
    bench.run_until(epoch + (params.epoch_ms - params.message_lead_ms - 1) / params.epoch_ms)
    (frame,) = [sent.frame for sent in bench.sent["a"]][-1:]
    receiver._seen.clear()  # as if its beacon had been due in the part's last instant
    end_ns = (START_MS + (epoch + 1) * params.epoch_ms - params.message_lead_ms) * MS
    read_ns = end_ns + AIR_NS + READ_LATE_NS
    receiver.handle_deadline(read_ns)
    before = receiver.counts["heard"]
    receiver.receive_frame(received(frame), read_ns)
    assert (receiver.counts["heard"], receiver.counts["too_late"]) == (before + 1, 0)
