"""Which neighbours are alive, and which links of the mesh: hellos and adjacency notes. Pure.

    hello  each device, every `interval_ms`: who I am, my count, whom I hear on this device
    note   when my neighbours change, and now and then: the hotspots that I have a live link with;
           passed on by everyone who hears it for the first time, and told to every new neighbour,
           who would else know the mesh by halves until all have spoken again

A neighbour is *up* while its hellos come and name us: a link that works one way only is none. How
long it may be silent adapts to the link. With a share p of hellos lost, k in a row are lost by
chance with p^k, so k is the smallest for which that is under one in a million, 3 at least; each may
take the interval that the neighbour announces, and on top comes what arrivals jitter. A busy
machine is late without losing anything (its numbers go on where they stopped): such a gap is kept
and halved every minute, and half as long again is waited before the next verdict. After a death
by lateness it is up at the next hello; else it must be heard for a while, twice as long each time.
Where the neighbour's kernel answers echoes none of that patience is needed: a late hello is only a
doubt, which echoes settle (netd_asking.py).

A link of the mesh is *alive* while the notes of both ends name the other.

All datagrams go to link-local addresses, which no router passes on. With a secret they carry a
keyed hash (BLAKE2b, 16 bytes); a restart is a new boot number, and within a boot numbers only rise.
"""

from __future__ import annotations

import hmac
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from hotspot.netd.asking import CHANCE, LEARN_MS, MS, Asking, Ping

PORT = 5743
MAGIC = b"WCn1"
HELLO, NOTE = 1, 2
NEIGHBOURS_MAX = 128
TAG_BYTES = 16
_HEAD = struct.Struct(">4sBIQI")  # magic, kind, hotspot, boot, number
_INTERVAL = struct.Struct(">HH")  # ms, how many hotspots follow
_NODE = struct.Struct(">I")
DATAGRAM_MAX = _HEAD.size + _INTERVAL.size + NEIGHBOURS_MAX * _NODE.size + TAG_BYTES

FAST_MS, SLOW_MS = 50, 500
INTERVAL_MIN_MS, INTERVAL_MAX_MS = 10, 10_000
MISSES_MIN, MISSES_MAX = 3, 20
LOSS_MEMORY = 0.98  # per hello: about the last 50
LOSSLESS = 0.03
UP_AFTER = 3  # hellos in a row, at first
UP_AFTER_MAX = 600  # 30 s of fast hellos
FLAP_MEMORY_MS = 60_000
LATE_HALVES_MS = 60_000
LATE_HELLOS = 10  # of an answering machine: its kernel forwards, its netd alone is slow
LATE_MAX_MS = 2_000  # a neighbour that is later than this is of no use as a relay
NOTE_REPEAT_MS = 40  # once more, for the one that was lost
NOTE_REFRESH_MS, NOTE_LIFE_MS = 5_000, 20_000
NOTES_MAX = 4096
TOLD_AT_ONCE = 16  # notes that a new neighbour is told per hello of ours


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A datagram for everybody on a device of the mesh."""

    device: str
    data: bytes


@dataclass(slots=True)
class Peer:
    """What is known of one hotspot heard on one device."""

    node: int
    device: str
    address: str
    boot: int
    number: int
    heard_ns: int
    interval_ms: int
    names_us: bool = False
    is_up: bool = False
    in_a_row: int = 1
    up_after: int = UP_AFTER
    died_ns: int = 0
    loss: float = 0.0
    jitter_ns: float = 0.0
    late_ns: float = 0.0  # the longest gap without loss, fading
    asking: Asking = field(default_factory=Asking)

    def misses(self) -> int:
        """How many hellos may be missing before chance explains them no more."""
        if self.loss < 1e-3:
            return MISSES_MIN
        needed = math.ceil(math.log(CHANCE) / math.log(min(self.loss, 0.99)))
        return max(MISSES_MIN, min(MISSES_MAX, needed))

    def doubt_ns(self) -> int:
        """When its next hello is late, and its kernel is asked; an answer puts it off."""
        interval = self.interval_ms * MS
        slack = min(max(4 * self.jitter_ns, interval / 4), interval)
        return self.word_ns() + round(interval + slack)

    def missed_ns(self) -> int:
        """When echoes may end it: a link that loses much loses several in a row, hellos or not."""
        if self.loss < LOSSLESS:
            return self.heard_ns
        return self.heard_ns + self.misses() * self.interval_ms * MS

    def gone_ns(self) -> int:
        """When it counts as dead whatever its kernel answers."""
        late_ms = max(LATE_MAX_MS, LATE_HELLOS * self.interval_ms)
        return max(self.heard_ns + late_ms * MS, self.silent_until_ns())

    def word_ns(self) -> int:
        """When anything at all came from it."""
        return max(self.heard_ns, self.asking.answered_ns or 0)

    def silent_until_ns(self) -> int:
        """When it counts as dead by its hellos, if nothing more is heard."""
        interval = self.interval_ms * MS
        slack = min(max(4 * self.jitter_ns, interval / 5), 2 * interval)
        patience = max(self.misses() * interval + slack, 1.5 * self.late_ns)
        return self.heard_ns + round(patience)


@dataclass(slots=True)
class Note:
    """The newest word of a hotspot on its own links."""

    boot: int
    number: int
    near: frozenset[int]
    heard_ns: int
    data: bytes


@dataclass(slots=True)
class Links:
    """The machine: datagrams and times in, datagrams out; `changes` counts what plans care for.

    `can_ask`: the driver has a socket for echoes.
    """

    node: int
    boot: int
    devices: tuple[str, ...]
    secret: bytes = b""
    fast_ms: int = FAST_MS
    is_fast: bool = False
    can_ask: bool = False
    changes: int = 0
    refused: int = 0
    peers: dict[tuple[int, str], Peer] = field(default_factory=dict)
    notes: dict[int, Note] = field(default_factory=dict)
    _hello_ns: int = 0
    _hellos: int = 0
    _pings: int = 0
    _note_number: int = 0
    _note_ns: int = 0
    _repeat_ns: int | None = None
    _said: frozenset[int] = frozenset()
    _owed: dict[str, dict[int, None]] = field(default_factory=dict)

    # --- what others ask --------------------------------------------------------------------------

    def up(self) -> dict[int, Peer]:
        """Neighbours that are alive, by hotspot; of two devices the one with less loss."""
        best: dict[int, Peer] = {}
        for _, peer in sorted(self.peers.items()):
            known = best.get(peer.node)
            if peer.is_up and (known is None or peer.loss < known.loss):
                best[peer.node] = peer
        return best

    def alive(self) -> Mapping[int, frozenset[int]]:
        """Links that both ends vouch for, by hotspot."""
        return {
            node: frozenset(
                other
                for other in note.near
                if other in self.notes and node in self.notes[other].near
            )
            for node, note in self.notes.items()
        }

    def next_ns(self, now_ns: int) -> int:
        """When `tick` and `ask` want to be called at the latest."""
        due = [self._hello_ns, self._note_ns]
        due += [self._due_ns(peer, now_ns) for peer in self.peers.values() if peer.is_up]
        if self._repeat_ns is not None:
            due.append(self._repeat_ns)
        return min(due)

    # --- what happens -----------------------------------------------------------------------------

    def receive(self, data: bytes, device: str, address: str, now_ns: int) -> list[Outgoing]:
        """Take a datagram; answer with what to pass on. Anything odd is counted and dropped."""
        read = _read(data, self.secret)
        if read is None or not address.startswith("fe80:") or device not in self.devices:
            self.refused += 1
            return []
        kind, node, boot, number, interval_ms, near = read
        if node == self.node:
            return []
        if kind == NOTE:
            return self._take_note(data, node, boot, number, near, now_ns)
        self._take_hello(node, device, address, boot, number, interval_ms, near, now_ns)
        return self._say_if_changed(now_ns)

    def tick(self, now_ns: int) -> list[Outgoing]:
        """Do what is due: bury the silent, say hello, say what changed."""
        for peer in self.peers.values():
            if peer.is_up and self._is_dead(peer, now_ns):
                self._bury(peer, now_ns)
        self._forget(now_ns)
        out = self._say_if_changed(now_ns)
        if now_ns >= self._hello_ns:
            self._hello_ns = now_ns + self._interval_ms() * MS
            self._hellos += 1
            out += [Outgoing(device, self._hello(device)) for device in self.devices]
            out += self._tell_owed()
        due = now_ns >= self._note_ns or (self._repeat_ns is not None and now_ns >= self._repeat_ns)
        return out + (self._say(now_ns, is_news=False) if due else [])

    def ask(self, now_ns: int) -> list[Ping]:
        """Return the echo requests that are due: in doubt, and now and then without."""
        if not self.can_ask:
            return []
        pings = []
        for peer in self.peers.values():
            if peer.is_up and now_ns >= self._ask_ns(peer, now_ns):
                self._pings = (self._pings + 1) & 0xFFFF_FFFF
                peer.asking.ask(self._pings, now_ns)
                pings.append(Ping(peer.device, peer.address, self._pings))
        return pings

    def take_answer(self, device: str, address: str, number: int, now_ns: int) -> None:
        """Take a kernel's answer to one of them; any other is counted and dropped."""
        for peer in self.peers.values():
            if (peer.device, peer.address) == (device, address):
                self.refused += not peer.asking.take(number, now_ns)

    def _ask_ns(self, peer: Peer, now_ns: int) -> int:
        asking = peer.asking
        if asking.answers(now_ns) and now_ns >= peer.doubt_ns():
            return asking.due_ns(peer.word_ns(), peer.loss)
        return now_ns if asking.asked_ns is None else asking.asked_ns + LEARN_MS * MS

    def _is_dead(self, peer: Peer, now_ns: int) -> bool:
        asking = peer.asking
        if not (self.can_ask and asking.answers(now_ns)):
            return now_ns >= peer.silent_until_ns()
        if now_ns >= peer.gone_ns():
            return True
        is_late = now_ns >= max(peer.doubt_ns(), peer.missed_ns())
        return is_late and asking.is_dead(peer.word_ns(), peer.loss, now_ns)

    def _due_ns(self, peer: Peer, now_ns: int) -> int:
        """When to look at a neighbour again: to ask, to ask once more, or to bury it."""
        asking = peer.asking
        if not (self.can_ask and asking.answers(now_ns)):
            return peer.silent_until_ns()
        due_ns = max(peer.doubt_ns(), asking.due_ns(peer.word_ns(), peer.loss))
        if asking.is_asked_out(peer.word_ns(), peer.loss):
            due_ns = max(due_ns, peer.missed_ns())
        return min(due_ns, peer.gone_ns())

    def lose_device(self, device: str, now_ns: int) -> list[Outgoing]:
        """The carrier of a device is gone: so is everybody on it, at once."""
        for peer in self.peers.values():
            if peer.device == device and peer.is_up:
                self._bury(peer, now_ns)
        return self._say_if_changed(now_ns)

    # --- hellos -----------------------------------------------------------------------------------

    def _interval_ms(self) -> int:
        return self.fast_ms if self.is_fast else max(self.fast_ms, SLOW_MS)

    def _hello(self, device: str) -> bytes:
        heard = [p.node for p in self.peers.values() if p.device == device and p.in_a_row > 0]
        number, interval = self._hellos, self._interval_ms()
        return _write(HELLO, self.node, self.boot, number, interval, sorted(heard), self.secret)

    def _take_hello(
        self, node: int, device: str, address: str, boot: int, number: int, interval_ms: int,
        near: frozenset[int], now_ns: int,
    ) -> None:  # fmt: skip
        peer = self.peers.get((node, device))
        if peer is None or boot > peer.boot:
            if peer is not None and peer.is_up:
                self._bury(peer, now_ns)
            elif peer is None and len(self.peers) >= NEIGHBOURS_MAX:
                self.refused += 1
                return
            fresh = Peer(node, device, address, boot, number, now_ns, interval_ms)
            self.peers[node, device] = fresh
            fresh.names_us = self.node in near
            return
        if boot < peer.boot or number <= peer.number:
            self.refused += 1
            return
        self._measure(peer, number, now_ns)
        if peer.address != address:
            peer.address, self.changes = address, self.changes + peer.is_up
        peer.number, peer.heard_ns, peer.interval_ms = number, now_ns, interval_ms
        peer.names_us = self.node in near
        self._judge(peer, now_ns)

    def _measure(self, peer: Peer, number: int, now_ns: int) -> None:
        missed = min(number - peer.number - 1, MISSES_MAX)
        # So many in a row is an outage and says nothing of how many a link that works loses.
        counted = missed if missed < MISSES_MAX // 2 else 0
        for lost in (*([1.0] * counted), 0.0):
            peer.loss = LOSS_MEMORY * peer.loss + (1 - LOSS_MEMORY) * lost
        peer.in_a_row = 1 if missed > MISSES_MIN else peer.in_a_row + 1
        gap = now_ns - peer.heard_ns
        peer.late_ns *= 0.5 ** (gap / (LATE_HALVES_MS * MS))
        if missed:
            return
        peer.jitter_ns += (abs(gap - peer.interval_ms * MS) - peer.jitter_ns) / 16
        peer.late_ns = min(max(peer.late_ns, gap), LATE_MAX_MS * MS)
        if peer.died_ns and not peer.is_up and gap < LATE_MAX_MS * MS:
            peer.in_a_row = max(peer.in_a_row, peer.up_after)

    def _judge(self, peer: Peer, now_ns: int) -> None:
        if peer.is_up and not peer.names_us:
            self._bury(peer, now_ns)
        elif not peer.is_up and peer.names_us and peer.in_a_row >= peer.up_after:
            peer.is_up = True
            self.changes += 1
            if not peer.died_ns or now_ns - peer.died_ns > NOTE_REFRESH_MS * MS:
                self._owed[peer.device] = dict.fromkeys(sorted(self.notes))

    def _bury(self, peer: Peer, now_ns: int) -> None:
        is_flapping = peer.died_ns and now_ns - peer.died_ns < FLAP_MEMORY_MS * MS
        peer.up_after = min(UP_AFTER_MAX, 2 * peer.up_after) if is_flapping else 2 * UP_AFTER
        peer.is_up, peer.in_a_row, peer.died_ns = False, 0, now_ns
        self.changes += 1

    def _forget(self, now_ns: int) -> None:
        for key in [k for k, p in self.peers.items()
                    if not p.is_up and now_ns - p.heard_ns > FLAP_MEMORY_MS * MS]:  # fmt: skip
            del self.peers[key]
        for node in [n for n, note in self.notes.items()
                     if n != self.node and now_ns - note.heard_ns > NOTE_LIFE_MS * MS]:  # fmt: skip
            del self.notes[node]
            self.changes += 1

    # --- notes ------------------------------------------------------------------------------------

    def _take_note(
        self, data: bytes, node: int, boot: int, number: int, near: frozenset[int], now_ns: int
    ) -> list[Outgoing]:
        known = self.notes.get(node)
        if known is not None and (boot, number) <= (known.boot, known.number):
            return []
        if known is None and len(self.notes) >= NOTES_MAX:
            self.refused += 1
            return []
        self.notes[node] = Note(boot, number, near, now_ns, data)
        self.changes += known is None or known.near != near
        return [Outgoing(device, data) for device in self.devices]

    def _say_if_changed(self, now_ns: int) -> list[Outgoing]:
        return self._say(now_ns, is_news=True) if frozenset(self.up()) != self._said else []

    def _say(self, now_ns: int, *, is_news: bool) -> list[Outgoing]:
        near = frozenset(self.up())
        self._said, self._note_number = near, self._note_number + 1
        self._note_ns = now_ns + NOTE_REFRESH_MS * MS
        self._repeat_ns = now_ns + NOTE_REPEAT_MS * MS if is_news else None
        number, near_list = self._note_number, sorted(near)[:NEIGHBOURS_MAX]
        data = _write(NOTE, self.node, self.boot, number, 0, near_list, self.secret)
        self.notes[self.node] = Note(self.boot, number, near, now_ns, data)
        return [Outgoing(device, data) for device in self.devices]

    def _tell_owed(self) -> list[Outgoing]:
        """Tell new neighbours what we know, a part of it at a time."""
        out = []
        for device, owed in self._owed.items():
            for node in list(owed)[:TOLD_AT_ONCE]:
                del owed[node]
                if node in self.notes:
                    out.append(Outgoing(device, self.notes[node].data))
        self._owed = {device: owed for device, owed in self._owed.items() if owed}
        return out


# --- bytes ----------------------------------------------------------------------------------------


def _tag(data: bytes, secret: bytes) -> bytes:
    return blake2b(data, digest_size=TAG_BYTES, key=secret[:64]).digest()


def _write(
    kind: int, node: int, boot: int, number: int, interval_ms: int, near: list[int], secret: bytes
) -> bytes:
    head = _HEAD.pack(MAGIC, kind, node, boot, number) + _INTERVAL.pack(interval_ms, len(near))
    data = head + b"".join(_NODE.pack(one) for one in near)
    return data + _tag(data, secret) if secret else data


def _read(data: bytes, secret: bytes) -> tuple[int, int, int, int, int, frozenset[int]] | None:
    """(kind, hotspot, boot, number, interval_ms, hotspots), or None for what isn't ours."""
    if secret:
        data, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
        if not hmac.compare_digest(tag, _tag(data, secret)):
            return None
    start = _HEAD.size + _INTERVAL.size
    if len(data) < start or data[:4] != MAGIC:
        return None
    _, kind, node, boot, number = _HEAD.unpack_from(data)
    interval_ms, count = _INTERVAL.unpack_from(data, _HEAD.size)
    if count > NEIGHBOURS_MAX or len(data) != start + count * _NODE.size or kind not in (1, 2):
        return None
    if kind == HELLO and not INTERVAL_MIN_MS <= interval_ms <= INTERVAL_MAX_MS:
        return None
    near = frozenset(row[0] for row in _NODE.iter_unpack(data[start:]))
    return kind, node, boot, number, interval_ms, near
