"""What a live run owes and what came of it: beacons due, sent and heard, counted by their ids.

A beacon is known by (node, epoch, sequence). It is *due* in every whole epoch from the one that
binds its hotspot's secrets on; *sent* when its frame came out of the node's device; *expected* at
a receiver when the medium handed it that frame; *heard* when it stands in the receiver's durable
receptions, named by the ledger's index of the sender. All four are sets, so that one beacon
counted twice can't hide another that is missing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chain.records import Refusal
from chain.wire import unpack_receptions
from hotspot.radio.frame import parse_frame, unpack_beacon

Beacon = tuple[int, int, int]  # node, epoch, sequence
Hearing = tuple[int, Beacon]  # receiver, beacon


def beacon_of(node: int, frame: bytes) -> Beacon | None:
    """Name the beacon in a frame that this node injected; None for any other frame."""
    heard = parse_frame(frame)
    beacon = heard if isinstance(heard, Refusal) else unpack_beacon(heard.payload)
    return None if isinstance(beacon, Refusal) else (node, beacon.epoch, beacon.sequence)


@dataclass(slots=True)
class Watch:
    """The observations of a run, by node number."""

    sent: set[Beacon] = field(default_factory=set)
    delivered: set[Hearing] = field(default_factory=set)
    received: set[Hearing] = field(default_factory=set)

    def note_receptions(
        self, receiver: int, epoch: int, entries: Iterable[bytes], node_of: Mapping[int, int]
    ) -> None:
        """Note receptions as a hotspot stores them; `node_of` maps ledger indexes to nodes."""
        for reception in unpack_receptions(b"".join(entries)):
            node = node_of.get(reception.heard)
            if node is not None:
                self.received.add((receiver, (node, epoch, reception.sequence)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts over the whole epochs of a run, and the first few beacons that are missing.

    `missing_last` counts, of what was not heard, beacons of an epoch's last slot: one may reach a
    receiver that has closed its report already, which then counts it as too late.
    """

    beacons_due: int
    beacons_sent: int
    heard_expected: int
    heard: int
    missing_last: int
    missing_sent: list[Beacon]
    missing_heard: list[Hearing]


def beacons_due(bound: Mapping[int, int], last_epoch: int, per_epoch: int) -> set[Beacon]:
    """List what must be sent: `bound` maps nodes to their first epoch, `last_epoch` is over."""
    return {
        (node, epoch, sequence)
        for node, first in bound.items()
        for epoch in range(first, last_epoch + 1)
        for sequence in range(per_epoch)
    }


def judge(watch: Watch, bound: Mapping[int, int], last_epoch: int, per_epoch: int) -> Outcome:
    """Compare what was due with what happened. A receiver counts from its own first epoch on."""
    due = beacons_due(bound, last_epoch, per_epoch)
    expected = {
        (receiver, beacon)
        for receiver, beacon in watch.delivered
        if beacon in due and bound.get(receiver, last_epoch + 1) <= beacon[1]
    }
    missing = expected - watch.received
    return Outcome(
        beacons_due=len(due),
        beacons_sent=len(due & watch.sent),
        heard_expected=len(expected),
        heard=len(expected & watch.received),
        missing_last=sum(beacon[2] == per_epoch - 1 for _, beacon in missing),
        missing_sent=sorted(due - watch.sent)[:5],
        missing_heard=sorted(missing)[:5],
    )
