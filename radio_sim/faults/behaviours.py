"""Hotspots whose software lies: what a liar changes of what its node hears, says and claims to be.

A `Behaviour` stands between the world and the shipping node. The node itself stays honest code; a
liar feeds it other frames (`incoming`, `due_frames`), changes what it asks for (`outgoing`), or
registers another place (`site`). So a liar can do what an owner with an editor can, and no more: it
has no key but its own and can't foresee a draw.

The first three: `InflateRssi` reports stronger signals than it got, `SpoofLocation` claims to stand
elsewhere, `Fabricate` shares what one liar heard with its whole ring and makes up beacons that
nobody heard. An attack lab subclasses `Behaviour` for others.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from chain.records import Refusal
from hotspot.actions import Action
from hotspot.node import HotspotNode, mac_of
from hotspot.radio.frame import Beacon, build_frame, pack_beacon, parse_frame
from hotspot.radio.radiotap import DBM_SIGNAL, HEADER_BYTES, parse_radiotap, present_bytes, walk
from radio_sim.agents import Router
from radio_sim.draws import draw_below, draw_normal, draw_u64, draw_uniform
from radio_sim.faults.aim import EARTH_RADIUS_M
from radio_sim.scenario import HotspotSite

MS = 1_000_000
INBOX_MAX = 256
# What a liar writes where it heard nothing: the level of a street in sight, and its spread.
INVENTED_DBM, INVENTED_SPREAD_DB = -78.0, 6.0
_RECEIVED = struct.Struct("<BBHIHHb")
_PRESENT = 1 << 3 | 1 << DBM_SIGNAL
_CHANNEL_FLAGS = 0x00A0


class Behaviour:
    """Honest: everything passes. A liar overrides what it lies about.

    `trusts_frames`: its node skips the check of signatures, as patched software may.
    """

    trusts_frames = False

    def site(self, site: HotspotSite) -> HotspotSite:
        """The place and antenna that its owner registers."""
        return site

    def incoming(self, frame: bytes, now_ns: int) -> list[bytes]:
        """What its node gets to hear for a frame off the air."""
        del now_ns
        return [frame]

    def outgoing(self, action: Action, now_ns: int) -> list[Action]:
        """What leaves it for an action of its node."""
        del now_ns
        return [action]

    def next_due_ns(self) -> int | None:
        """When it wants `due_frames` to be asked for, if at all."""
        return None

    def due_frames(self, node: HotspotNode, now_ns: int) -> list[bytes]:
        """Frames that its node gets to hear though none is on the air."""
        del node, now_ns
        return []


class InflateRssi(Behaviour):
    """Reports every signal stronger (or weaker) than it was."""

    def __init__(self, inflate_db: float) -> None:
        self._inflate_db = round(inflate_db)

    def incoming(self, frame: bytes, now_ns: int) -> list[bytes]:
        """The frame with another level in its header."""
        del now_ns
        head = parse_radiotap(frame)
        if isinstance(head, Refusal) or head.signal_dbm is None:
            return [frame]
        return [with_signal(frame, head.signal_dbm + self._inflate_db)]


class SpoofLocation(Behaviour):
    """Registers a place `distance_m` away, in a drawn direction; its radio stays where it is."""

    def __init__(self, distance_m: float, seed: int) -> None:
        self._distance_m = distance_m
        self._bearing = 2.0 * math.pi * draw_uniform(seed, "bearing")

    def site(self, site: HotspotSite) -> HotspotSite:
        """The same antenna elsewhere."""
        turn = math.degrees(self._distance_m / EARTH_RADIUS_M)
        north, east = turn * math.cos(self._bearing), turn * math.sin(self._bearing)
        shrink = max(0.01, math.cos(math.radians(site.lat)))
        longitude = (site.lon + east / shrink + 180.0) % 360.0 - 180.0
        return replace(site, lat=min(85.0, max(-85.0, site.lat + north)), lon=longitude)


class Ring:
    """Liars who tell each other what they heard; `wake` has the world look at a member again."""

    def __init__(self, wake: Callable[[int], None]) -> None:
        self.members: dict[int, Fabricate] = {}
        self._wake = wake

    def tell(self, number: int, body: bytes, frequency_mhz: int) -> None:
        """Pass a beacon on to all members but the one that heard it."""
        for other, member in sorted(self.members.items()):
            if other != number:
                member.take(body, frequency_mhz)
                self._wake(other)


class Fabricate(Behaviour):
    """Hears by proxy, and invents `per_epoch` beacons of drawn strangers in every epoch."""

    trusts_frames = True

    def __init__(
        self, number: int, seed: int, per_epoch: int, epoch_ns: int, ring: Ring
    ) -> None:
        self._number = number
        self._seed = draw_u64(seed, "fabricate", number)
        self._ring = ring
        self._period_ns = epoch_ns // per_epoch if per_epoch else None
        self._due_ns: int | None = 0 if per_epoch else None
        self._inbox: deque[tuple[bytes, int]] = deque(maxlen=INBOX_MAX)
        self._made = 0
        ring.members[number] = self

    def take(self, body: bytes, frequency_mhz: int) -> None:
        """A beacon that an accomplice heard."""
        self._inbox.append((body, frequency_mhz))

    def incoming(self, frame: bytes, now_ns: int) -> list[bytes]:
        """The frame itself; beacons go to the ring as well."""
        del now_ns
        heard = parse_frame(frame)
        if not isinstance(heard, Refusal):
            length = frame[2] | frame[3] << 8
            self._ring.tell(self._number, frame[length:], heard.frequency_mhz or 0)
        return [frame]

    def next_due_ns(self) -> int | None:
        """At once if there is something to relay, else when the next invention is due."""
        return 0 if self._inbox else self._due_ns

    def due_frames(self, node: HotspotNode, now_ns: int) -> list[bytes]:
        """What the ring heard, and an invention if it is time for one."""
        frames = [self._received(body, channel) for body, channel in self._inbox]
        self._inbox.clear()
        if self._due_ns is not None and self._period_ns is not None and now_ns >= self._due_ns:
            self._due_ns = now_ns + self._period_ns
            frames += self._invention(node, now_ns)
        return frames

    def _invention(self, node: HotspotNode, now_ns: int) -> list[bytes]:
        """A beacon of a drawn hotspot of this epoch, with an answer that can only be guessed."""
        index = draw_below(max(1, len(node.directory)), self._seed, "who", self._made)
        key = node.directory.key_of(index)
        if key is None or key == node.key or node.epoch < 0:
            return []
        identity, beacons = node.identity, node.identity.params.beacons_per_epoch
        words = [draw_u64(self._seed, "answer", self._made, part) for part in (0, 1)]
        beacon = Beacon(
            key=key,
            epoch=node.epoch,
            sequence=draw_below(beacons, self._seed, "beacon", self._made),
            answer=struct.pack(">QQ", *words),
            cell=identity.cell,
            frequency_mhz=identity.frequency_mhz,
            flags=0,
            time_ns=max(0, now_ns),
        )
        sent = build_frame(pack_beacon(beacon), mac_of(key), self._made)
        return [self._received(sent[sent[2] | sent[3] << 8 :], identity.frequency_mhz)]

    def _received(self, body: bytes, frequency_mhz: int) -> bytes:
        """A frame as a driver would have handed it over, at an invented level."""
        self._made += 1
        drawn = draw_normal(self._seed, "level", self._made)
        level = max(-110, min(-10, round(INVENTED_DBM + INVENTED_SPREAD_DB * drawn)))
        head = (0, 0, _RECEIVED.size, _PRESENT, frequency_mhz, _CHANNEL_FLAGS, level)
        return _RECEIVED.pack(*head) + body


class LyingRouter:
    """A router with a behaviour between it and the world."""

    def __init__(self, inner: Router, behaviour: Behaviour) -> None:
        self.inner = inner
        self.behaviour = behaviour
        self._now_ns = 0

    @property
    def node(self) -> HotspotNode:
        """The shipping node inside."""
        return self.inner.node

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        """A frame came from the air."""
        self._now_ns = now_ns
        for frame in self.behaviour.incoming(data, now_ns):
            self.inner.receive_frame(frame, now_ns)

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        """A datagram came from a neighbour."""
        self._now_ns = now_ns
        self.inner.receive_datagram(data, peer, now_ns)

    def receive_mix(self, epoch: int, mix: bytes, now_ns: int) -> None:
        """The ledger answered with the public randomness of an epoch."""
        self._now_ns = now_ns
        self.inner.receive_mix(epoch, mix, now_ns)

    def receive_registration(self, index: int, bound_epoch: int, now_ns: int) -> None:
        """The ledger knows this hotspot by an index, and its secrets bind from an epoch on."""
        self._now_ns = now_ns
        self.inner.receive_registration(index, bound_epoch, now_ns)

    def next_deadline(self) -> int | None:
        """The node's deadline or the liar's, whichever is sooner."""
        deadlines = (self.inner.next_deadline(), self.behaviour.next_due_ns())
        return min((due for due in deadlines if due is not None), default=None)

    def handle_deadline(self, now_ns: int) -> None:
        """Let the node and the liar do what is due."""
        self._now_ns = now_ns
        due_ns = self.inner.next_deadline()
        if due_ns is not None and now_ns >= due_ns:
            self.inner.handle_deadline(now_ns)
        wants_ns = self.behaviour.next_due_ns()
        if wants_ns is not None and now_ns >= wants_ns:
            for frame in self.behaviour.due_frames(self.node, now_ns):
                self.inner.receive_frame(frame, now_ns)

    def take_actions(self) -> list[Action]:
        """The node's actions as the liar lets them out."""
        return [
            changed
            for action in self.inner.take_actions()
            for changed in self.behaviour.outgoing(action, self._now_ns)
        ]


def with_signal(frame: bytes, signal_dbm: int) -> bytes:
    """A received frame with another level in its header, if its header has one."""
    length = frame[2] | frame[3] << 8 if len(frame) >= HEADER_BYTES else 0
    words = present_bytes(frame, length) if length >= HEADER_BYTES else None
    for item in walk(words, frame[:length]) if words is not None else ():
        if item.bit == DBM_SIGNAL and item.offset < length:
            level = struct.pack("b", max(-128, min(127, signal_dbm)))
            return frame[: item.offset] + level + frame[item.offset + 1 :]
    return frame
