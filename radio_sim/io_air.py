"""The medium in wall-clock time between TAP devices.

What a daemon injects comes out of its device's descriptor with a transmit header; when the medium
has carried it, those who got it hear it with a receive header, and the sender gets the echo that
mac80211 gives monitors. Events are done in the order of their times, however late the loop comes
round, so that the medium never sees time run backwards.
"""

from __future__ import annotations

import heapq
import selectors
import struct
import time
from collections.abc import Sequence

from chain.records import Refusal
from radio_sim.io_tap import Tap
from radio_sim.live_watch import Beacon, Watch, beacon_of
from radio_sim.medium import Medium, Transmission

BURST_FRAMES = 64
_ECHO = struct.Struct("<BBHIH")  # what mac80211 gives monitors of a frame it has sent
_PRESENT_TX_FLAGS = 1 << 15


class LiveAir:
    """Carries frames between devices; step it often."""

    def __init__(self, taps: Sequence[Tap], medium: Medium, watch: Watch) -> None:
        self._taps = taps
        self._medium = medium
        self._watch = watch
        self._frequency = [int(value) for value in medium.links.frequency_mhz]
        self._due: list[tuple[int, int, bool, Transmission]] = []  # time, number, on air?
        self._beacons: dict[int, Beacon] = {}
        self._selector = selectors.DefaultSelector()
        self.undelivered = 0
        for node, tap in enumerate(taps):
            self._selector.register(tap, selectors.EVENT_READ, node)

    def step(self, longest_s: float) -> None:
        """Wait for the next frame or event, at most so long, and carry what is due."""
        wait_s = longest_s
        if self._due:
            wait_s = min(wait_s, max(0.0, (self._due[0][0] - time.time_ns()) / 1e9))
        for key, _ in self._selector.select(wait_s):
            self._read(int(key.data))
        self._advance(time.time_ns())

    def close(self) -> None:
        """Stop watching the devices."""
        self._selector.close()

    def _read(self, node: int) -> None:
        for _ in range(BURST_FRAMES):
            frame = self._taps[node].read()
            if frame is None:
                return
            sent = self._medium.queue(node, frame, 0, self._frequency[node], time.time_ns())
            if isinstance(sent, Refusal):
                continue
            beacon = beacon_of(node, frame)
            if beacon is not None:
                self._beacons[sent.number] = beacon
                self._watch.sent.add(beacon)
            self._push(sent, sent.next_ns, False)

    def _push(self, sent: Transmission, at_ns: int, on_air: bool) -> None:
        heapq.heappush(self._due, (at_ns, sent.number, on_air, sent))

    def _advance(self, now_ns: int) -> None:
        """Do in order of their times what was due until now: begin and finish transmissions."""
        while self._due and self._due[0][0] <= now_ns:
            at_ns, _, on_air, sent = heapq.heappop(self._due)
            if on_air:
                self._deliver(sent)
            elif self._medium.begin(sent, at_ns):
                self._push(sent, sent.end_ns, True)
            else:
                self._push(sent, sent.next_ns, False)

    def _deliver(self, sent: Transmission) -> None:
        beacon = self._beacons.pop(sent.number, None)
        for delivery in self._medium.finish(sent):
            if not self._taps[delivery.receiver].write(delivery.frame):
                self.undelivered += 1
            elif beacon is not None:
                self._watch.delivered.add((delivery.receiver, beacon))
        echo = _ECHO.pack(0, 0, _ECHO.size, _PRESENT_TX_FLAGS, 0) + sent.body
        self._taps[sent.sender].write(echo)
