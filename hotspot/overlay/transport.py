"""Reliable ordered byte streams between two ends of the overlay, over datagrams that get lost.

The scheme is QUIC's in small: every segment has a fresh number, bytes have offsets. An
acknowledgement lists ranges of numbers, so a retransmission is never mistaken for the original
and every round-trip sample is true. A segment is lost when three later ones have arrived, or when
the timer (smoothed round trip plus four deviations, doubled at each expiry, RFC 6298) runs out.
The window grows by slow start, then by one segment a round trip, and halves at most once per
round trip of loss.

When the timer has expired `REROUTE_AFTER` times in a row the stream asks its owner for another
path (`take_reroute`); after `GIVE_UP_AFTER` it fails with a `Refusal`. A stream never reads a
clock.

A segment, big-endian: `flags u8, number u32`; with ACK: `count u8`, count x (`first u32, last
u32`) newest first; with DATA: `offset u64`, then the bytes; FIN says that these are the last;
RESET carries a reason.
"""

from __future__ import annotations

import heapq
import struct
from collections import deque
from dataclasses import dataclass

from chain.records import Refusal

DATA, FIN, ACK, RESET = 1, 2, 4, 8
SEGMENT_DATA = 1_000  # bytes of stream in one segment
MAX_RANGES = 24
WINDOW = 512 * 1024
MAX_WAITING = 2_048  # segments held out of order; more is an attack on memory
INITIAL_SEGMENTS = 10
REORDERING = 3
FIRST_RTO_NS = 1_000_000_000
MIN_RTO_NS = 100_000_000
MAX_RTO_NS = 4_000_000_000
ACK_DELAY_NS = 20_000_000
REROUTE_AFTER = 3
GIVE_UP_AFTER = 10

_HEAD = struct.Struct(">BI")
_RANGE = struct.Struct(">II")
_OFFSET = struct.Struct(">Q")

BAD_SEGMENT = Refusal("bad_segment", "segment: shorter than its flags say")
BEYOND_WINDOW = Refusal("beyond_window", f"offset: over {WINDOW} bytes ahead of what was read")
TIMED_OUT = Refusal("timeout", "the other end stopped answering; try another provider")
CLOSED_BY_PEER = "the other end closed the stream"


@dataclass(frozen=True, slots=True)
class Segment:
    """A parsed segment; `ranges` are (first, last) segment numbers, `offset` is -1 without DATA."""

    flags: int
    number: int
    ranges: tuple[tuple[int, int], ...]
    offset: int
    data: bytes


def parse_segment(raw: bytes) -> Segment | Refusal:
    """Read a segment. Never raises."""
    if len(raw) < _HEAD.size:
        return BAD_SEGMENT
    flags, number = _HEAD.unpack_from(raw)
    at = _HEAD.size
    ranges: tuple[tuple[int, int], ...] = ()
    if flags & ACK:
        count = raw[at] if at < len(raw) else 0
        at += 1
        if len(raw) < at + count * _RANGE.size:
            return BAD_SEGMENT
        ranges = tuple(_RANGE.iter_unpack(raw[at : at + count * _RANGE.size]))
        at += count * _RANGE.size
    offset = -1
    if flags & DATA:
        if len(raw) < at + _OFFSET.size:
            return BAD_SEGMENT
        (offset,) = _OFFSET.unpack_from(raw, at)
        at += _OFFSET.size
    return Segment(flags, number, ranges, offset, raw[at:])


def is_midway(raw: bytes) -> bool:
    """Tell whether a segment can't be of a first flight: its sender was acknowledged before."""
    segment = parse_segment(raw)
    return isinstance(segment, Segment) and segment.offset >= INITIAL_SEGMENTS * SEGMENT_DATA


@dataclass(slots=True)
class _Sent:
    offset: int
    length: int
    is_last: bool
    time_ns: int


class RoundTrip:
    """Round-trip estimate and retransmission timer after RFC 6298, in ns."""

    def __init__(self) -> None:
        self.smoothed_ns = 0
        self.deviation_ns = 0
        self.backoff = 0

    def sample(self, rtt_ns: int) -> None:
        """Take a measured round trip."""
        self.backoff = 0
        if self.smoothed_ns == 0:
            self.smoothed_ns, self.deviation_ns = rtt_ns, rtt_ns // 2
            return
        self.deviation_ns += (abs(self.smoothed_ns - rtt_ns) - self.deviation_ns) // 4
        self.smoothed_ns += (rtt_ns - self.smoothed_ns) // 8

    def timeout_ns(self) -> int:
        """How long to wait for an acknowledgement now."""
        base = self.smoothed_ns + 4 * self.deviation_ns + ACK_DELAY_NS
        if self.smoothed_ns == 0:
            base = FIRST_RTO_NS
        return min(MAX_RTO_NS, max(MIN_RTO_NS, base) << self.backoff)


class Sender:
    """The sending half: bytes in, segments out, acknowledgements in."""

    def __init__(self) -> None:
        self.rtt = RoundTrip()
        self.expiries = 0
        self._buffer = bytearray()
        self._base = 0  # stream offset of _buffer[0]; all before it is acknowledged
        self._next = 0  # offset of the first byte never sent
        self._ended = False
        self._last_sent = False
        self._last_acked = False
        self._number = 0
        self._flying: dict[int, _Sent] = {}
        self._flying_bytes = 0
        self._lost: deque[_Sent] = deque()
        self._acked: list[tuple[int, int]] = []
        self._window = INITIAL_SEGMENTS * SEGMENT_DATA
        self._threshold = WINDOW
        self._recovery_from = 0
        self._timer_ns: int | None = None

    @property
    def is_done(self) -> bool:
        """True when everything up to the end of the stream is acknowledged."""
        return self._last_acked and self._base == self._next and not self._buffer

    @property
    def backlog(self) -> int:
        """Bytes written and not yet acknowledged."""
        return len(self._buffer)

    def write(self, data: bytes) -> None:
        """Append to the stream."""
        if self._ended:
            raise ValueError("write after finish")
        self._buffer += data

    def finish(self) -> None:
        """No more bytes will come."""
        self._ended = True

    def ping(self) -> None:
        """Ask for a sign of life: an empty segment that is repeated until acknowledged."""
        if not self._flying and not self._lost:
            self._lost.append(_Sent(self._next, 0, False, 0))

    def deadline(self) -> int | None:
        """When the retransmission timer runs out."""
        return self._timer_ns

    # --- what comes back
    # ---------------------------------------------------------------------------

    def receive_ranges(self, ranges: tuple[tuple[int, int], ...], now_ns: int) -> None:
        """Take an acknowledgement."""
        if not ranges or not self._flying:
            return
        hits = [n for n in self._flying if any(first <= n <= last for first, last in ranges)]
        if not hits:
            return
        self.expiries = 0
        self.rtt.sample(max(1, now_ns - self._flying[hits[-1]].time_ns))
        for number in hits:
            self._acknowledge(self._flying.pop(number), number)
        self._declare_lost([n for n in self._flying if n + REORDERING <= hits[-1]])
        self._timer_ns = now_ns + self.rtt.timeout_ns() if self._flying or self._lost else None

    def _acknowledge(self, sent: _Sent, number: int) -> None:
        self._flying_bytes -= sent.length
        self._last_acked |= sent.is_last
        if number >= self._recovery_from:
            is_slow_start = self._window < self._threshold
            grown = sent.length if is_slow_start else SEGMENT_DATA * sent.length // self._window
            self._window = min(WINDOW, self._window + grown)
        if sent.length:
            heapq.heappush(self._acked, (sent.offset, sent.length))
        while self._acked and self._acked[0][0] <= self._base:
            offset, length = heapq.heappop(self._acked)
            done = max(0, offset + length - self._base)
            del self._buffer[:done]
            self._base += done

    def _declare_lost(self, numbers: list[int]) -> None:
        for number in numbers:
            sent = self._flying.pop(number)
            self._flying_bytes -= sent.length
            self._lost.append(sent)
            if number >= self._recovery_from:
                self._recovery_from = self._number
                self._threshold = self._window = max(2 * SEGMENT_DATA, self._window // 2)

    def handle_deadline(self, now_ns: int) -> None:
        """The timer ran out: everything in flight is taken as lost."""
        if self._timer_ns is None or now_ns < self._timer_ns:
            return
        self.expiries += 1
        self.rtt.backoff = min(6, self.rtt.backoff + 1)
        self._declare_lost(list(self._flying))
        self._threshold = max(2 * SEGMENT_DATA, self._window // 2)
        self._window = 2 * SEGMENT_DATA
        self._timer_ns = now_ns + self.rtt.timeout_ns()

    # --- what goes out
    # -----------------------------------------------------------------------------

    def next_segment(self, now_ns: int) -> tuple[int, int, bytes] | None:
        """(flags, number, offset and bytes) of the next segment that may leave now, or None."""
        sent = self._choose(now_ns)
        if sent is None:
            return None
        self._number += 1
        self._flying[self._number] = sent
        self._flying_bytes += sent.length
        if self._timer_ns is None:
            self._timer_ns = now_ns + self.rtt.timeout_ns()
        start = sent.offset - self._base
        data = bytes(self._buffer[max(0, start) : max(0, start + sent.length)])
        offset = max(sent.offset, self._base) if sent.length else sent.offset
        return DATA | (FIN if sent.is_last else 0), self._number, _OFFSET.pack(offset) + data

    def _choose(self, now_ns: int) -> _Sent | None:
        if self._flying and self._flying_bytes >= self._window:
            return None
        while self._lost:
            old = self._lost.popleft()
            is_ping = old.length == 0 and not old.is_last
            is_end = old.is_last and not self._last_acked
            if is_ping or is_end or old.offset + old.length > self._base:
                return _Sent(old.offset, old.length, old.is_last, now_ns)
        end = self._base + len(self._buffer)
        length = min(SEGMENT_DATA, end - self._next, self._base + WINDOW - self._next)
        is_last = self._ended and self._next + length == end
        if length <= 0 and not (is_last and not self._last_sent):
            return None
        self._next += length
        self._last_sent |= is_last
        return _Sent(self._next - length, length, is_last, now_ns)


class Receiver:
    """The receiving half: segments in any order in, bytes in order out."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._waiting: list[tuple[int, bytes]] = []
        self._ready = bytearray()
        self._next = 0
        self._end: int | None = None
        self._unacked = 0
        self._ack_at: int | None = None

    @property
    def at_end(self) -> bool:
        """True when every byte of the stream has arrived (some may still wait to be read)."""
        return self._end is not None and self._next >= self._end

    def read(self) -> bytes:
        """Bytes that have arrived in order since the last call."""
        data = bytes(self._ready)
        self._ready.clear()
        return data

    def peek(self, size: int) -> bytes:
        """The first bytes that wait to be read."""
        return bytes(self._ready[:size])

    def receive(self, segment: Segment, now_ns: int) -> Refusal | None:
        """Take a DATA segment."""
        is_far = segment.offset + len(segment.data) > self._next + WINDOW
        if is_far or len(self._waiting) >= MAX_WAITING:
            return BEYOND_WINDOW
        in_order = not self._ranges or segment.number == self._ranges[0][1] + 1
        self._note_number(segment.number)
        if segment.flags & FIN:
            self._end = segment.offset + len(segment.data)
        heapq.heappush(self._waiting, (segment.offset, segment.data))
        self._drain()
        self._owe_ack(now_ns, in_order=in_order)
        return None

    def _owe_ack(self, now_ns: int, *, in_order: bool) -> None:
        self._unacked += 1 if in_order else 2
        is_urgent = self._unacked >= 2 or self.at_end
        due_ns = now_ns if is_urgent else now_ns + ACK_DELAY_NS
        self._ack_at = due_ns if self._ack_at is None else min(self._ack_at, due_ns)

    def _drain(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._next:
            offset, data = heapq.heappop(self._waiting)
            fresh = data[self._next - offset :]
            self._ready += fresh
            self._next += len(fresh)

    def _note_number(self, number: int) -> None:
        merged = sorted([*self._ranges, (number, number)], reverse=True)
        joined: list[tuple[int, int]] = []
        for first, last in merged:
            if joined and last + 1 >= joined[-1][0]:
                joined[-1] = (min(first, joined[-1][0]), joined[-1][1])
            else:
                joined.append((first, last))
        self._ranges = joined[:MAX_RANGES]

    def ack_deadline(self) -> int | None:
        """When an acknowledgement must leave, if one is owed."""
        return self._ack_at

    def take_ack(self, now_ns: int, *, riding: bool) -> bytes | None:
        """The acknowledgement block if one is due, or if one is owed and a segment can carry it."""
        if self._ack_at is None or (not riding and now_ns < self._ack_at):
            return None
        self._ack_at, self._unacked = None, 0
        return bytes((len(self._ranges),)) + b"".join(_RANGE.pack(*r) for r in self._ranges)


class Stream:
    """One end of a stream: both halves, reset, and the request for another path."""

    def __init__(self) -> None:
        self.sender = Sender()
        self.receiver = Receiver()
        self.failure: Refusal | None = None
        self._reset_to_send: Refusal | None = None
        self._asked_at = 0
        self._asking = False

    @property
    def is_done(self) -> bool:
        """True when both directions have ended and nothing more needs to be sent."""
        both = self.sender.is_done and self.receiver.at_end and self.receiver.ack_deadline() is None
        return self._reset_to_send is None and (self.failure is not None or both)

    @property
    def at_end(self) -> bool:
        """True when the other end has finished and all its bytes are here."""
        return self.receiver.at_end

    def write(self, data: bytes) -> None:
        """Send bytes, reliably and in order."""
        self.sender.write(data)

    def ping(self) -> None:
        """Ask the other end for a sign of life, which also shows it our newest route."""
        self.sender.ping()

    def finish(self) -> None:
        """End our direction."""
        self.sender.finish()

    def read(self) -> bytes:
        """Bytes that arrived."""
        return self.receiver.read()

    def reset(self, refusal: Refusal) -> None:
        """Give up, and tell the other end why."""
        if self.failure is None:
            self.failure = self._reset_to_send = refusal

    def receive(self, raw: bytes, now_ns: int) -> Refusal | None:
        """Take a segment from the other end."""
        segment = parse_segment(raw)
        if isinstance(segment, Refusal):
            return segment
        if self.failure is not None:
            # It goes on because our RESET got lost: who hung up must be heard, or it pays for more.
            if self.failure.detail != CLOSED_BY_PEER and not segment.flags & RESET:
                self._reset_to_send = self.failure
            return self.failure
        if segment.flags & RESET:
            reason = segment.data[:64].decode("ascii", "replace")
            self.failure = Refusal(reason, CLOSED_BY_PEER)
            return None
        self.sender.receive_ranges(segment.ranges, now_ns)
        return self.receiver.receive(segment, now_ns) if segment.flags & DATA else None

    def next_deadline(self) -> int | None:
        """When `handle_deadline` and then `take_segments` want to be called."""
        if self.failure is not None:
            return None
        times = [t for t in (self.sender.deadline(), self.receiver.ack_deadline()) if t is not None]
        return min(times, default=None)

    def handle_deadline(self, now_ns: int) -> None:
        """Retransmit, ask for another path, or give up."""
        self.sender.handle_deadline(now_ns)
        expiries = self.sender.expiries
        if expiries >= GIVE_UP_AFTER:
            self.reset(TIMED_OUT)
        elif expiries >= REROUTE_AFTER and expiries != self._asked_at:
            self._asking = True
        self._asked_at = expiries

    def take_reroute(self) -> bool:
        """True once each time that the stream wants another path."""
        asking, self._asking = self._asking, False
        return asking

    def take_segments(self, now_ns: int) -> list[bytes]:
        """Segments that may leave now."""
        if self._reset_to_send is not None:
            reason, self._reset_to_send = self._reset_to_send.reason, None
            return [_HEAD.pack(RESET, 0) + reason.encode("ascii", "replace")[:64]]
        if self.failure is not None:
            return []
        segments = []
        while (chosen := self.sender.next_segment(now_ns)) is not None:
            flags, number, rest = chosen
            ack = self.receiver.take_ack(now_ns, riding=True)
            segments.append(_HEAD.pack(flags | (ACK if ack else 0), number) + (ack or b"") + rest)
        ack = self.receiver.take_ack(now_ns, riding=False)
        if ack is not None:
            segments.append(_HEAD.pack(ACK, 0) + ack)
        return segments
