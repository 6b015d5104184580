"""Streams over a bad channel: exactly the bytes that were sent, or a named failure."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from hotspot.overlay.transport import SEGMENT_DATA, WINDOW, Stream, parse_segment

MS = 1_000_000
Fate = Callable[[int, int], tuple[int, ...]]  # (direction, count) -> delays in ms of each copy


def draw(seed: int, direction: int, count: int) -> bytes:
    return hashlib.sha256(f"{seed}:{direction}:{count}".encode()).digest()


def bad_channel(seed: int, loss_percent: int, spread_ms: int, copies_percent: int) -> Fate:
    def fate(direction: int, count: int) -> tuple[int, ...]:
        d = draw(seed, direction, count)
        if d[0] * 100 < loss_percent * 256:
            return ()
        delays = [5 + d[1] * spread_ms // 256]
        if d[2] * 100 < copies_percent * 256:
            delays.append(5 + d[3] * spread_ms // 256)
        return tuple(delays)

    return fate


class Pipe:
    """Two streams and the channel between them, in virtual time."""

    def __init__(self, fate: Fate) -> None:
        self.ends = (Stream(), Stream())
        self.got = (bytearray(), bytearray())
        self.now_ns = 0
        self.sent = 0
        self._fate = fate
        self._counts = [0, 0]
        self._heap: list[tuple[int, int, int, bytes]] = []

    def flush(self, end: int) -> None:
        for segment in self.ends[end].take_segments(self.now_ns):
            self._counts[end] += 1
            self.sent += 1
            for delay_ms in self._fate(end, self._counts[end]):
                item = (self.now_ns + delay_ms * MS, self.sent, 1 - end, segment)
                heapq.heappush(self._heap, item)
        self.got[end].extend(self.ends[end].read())

    def run(self, until_ns: int = 600_000 * MS) -> None:
        self.flush(0)
        self.flush(1)
        while self.now_ns < until_ns:
            times = [t for t in (e.next_deadline() for e in self.ends) if t is not None]
            arrival = self._heap[0][0] if self._heap else None
            due = min([*times, *([arrival] if arrival is not None else [])], default=None)
            if due is None:
                return
            self.now_ns = max(self.now_ns, due)
            if arrival is not None and arrival <= self.now_ns:
                _, _, end, segment = heapq.heappop(self._heap)
                self.ends[end].receive(segment, self.now_ns)
                self.flush(end)
                continue
            for end in (0, 1):
                self.ends[end].handle_deadline(self.now_ns)
                self.flush(end)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)),
    seed=st.integers(0, 2**32),
    loss=st.integers(0, 25),
    spread=st.integers(0, 200),
    copies=st.integers(0, 30),
)
def test_exactly_the_bytes_sent_arrive_both_ways(
    sizes: tuple[int, int], seed: int, loss: int, spread: int, copies: int
) -> None:
    pipe = Pipe(bad_channel(seed, loss, spread, copies))
    sent = [hashlib.shake_128(bytes([end])).digest(size) for end, size in enumerate(sizes)]
    for end in (0, 1):
        pipe.ends[end].write(sent[end])
        pipe.ends[end].finish()
    pipe.run()
    assert [pipe.ends[0].failure, pipe.ends[1].failure] == [None, None]
    assert bytes(pipe.got[1]) == sent[0]
    assert bytes(pipe.got[0]) == sent[1]
    assert pipe.ends[0].is_done
    assert pipe.ends[1].is_done


def test_no_loss_means_no_retransmission() -> None:
    pipe = Pipe(bad_channel(1, 0, 0, 0))
    pipe.ends[0].write(bytes(200 * SEGMENT_DATA))
    pipe.ends[0].finish()
    pipe.ends[1].finish()
    pipe.run()
    assert len(pipe.got[1]) == 200 * SEGMENT_DATA
    data_segments = pipe._counts[0]
    assert data_segments <= 200 + 5


def test_dead_path_asks_for_another_and_then_gives_up() -> None:
    stream = Stream()
    stream.write(b"anyone there?")
    stream.take_segments(0)
    asked = 0
    while (due := stream.next_deadline()) is not None:
        stream.handle_deadline(due)
        stream.take_segments(due)
        asked += stream.take_reroute()
    assert asked >= 3
    assert stream.failure is not None
    assert stream.failure.reason == "timeout"


def test_reset_carries_its_reason_to_the_other_end() -> None:
    pipe = Pipe(bad_channel(1, 0, 0, 0))
    pipe.ends[0].reset(Refusal("cancelled", "the client went away"))
    pipe.run()
    failure = pipe.ends[1].failure
    assert failure is not None
    assert failure.reason == "cancelled"


def test_bytes_far_ahead_of_the_reader_are_refused() -> None:
    hostile = Stream()
    hostile.write(b"x")
    (segment,) = hostile.take_segments(0)
    far = segment[:5] + (2 * WINDOW).to_bytes(8, "big") + segment[13:]
    refusal = Stream().receive(far, 0)
    assert refusal is not None
    assert refusal.reason == "beyond_window"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_segment_or_a_refusal(raw: bytes) -> None:
    parse_segment(raw)
    stream = Stream()
    stream.receive(raw, 1)
    stream.take_segments(1)
