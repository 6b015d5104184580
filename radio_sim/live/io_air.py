"""The medium in wall-clock time between TAP devices.

What a daemon injects comes out of its device's descriptor with a transmit header; when the medium
has carried it, those who got it hear it with the receive header of their driver, and the sender
gets the echo that mac80211 gives monitors. Events are done in the order of their times, however
late the loop comes round, so that the medium never sees time run backwards; by how much it came
late is counted (`delays`).

One loop, one epoll set: all devices, and a timer with the resolution of the kernel's clock
(epoll's own timeout is in milliseconds). A driver whose queue is full stops reading its device, as
hardware does; then the kernel's queue fills (a thousand frames), and what comes on top is dropped
there while the sender's `send` succeeds: the device counts it (`io_tap.refused_by_device`).
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
import select
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence

from chain.records import Refusal
from hotspot.radio.frame import PAYLOAD_BYTES, build_frame
from radio_sim.live.account import Account, Delays
from radio_sim.live.drivers import PROFILES, DriverProfile
from radio_sim.live.handover import Handed, Handover, Kind
from radio_sim.live.io_tap import Tap
from radio_sim.live.recorder import Recorder
from radio_sim.live.watch import Beacon, Watch, beacon_of
from radio_sim.medium import Medium, Transmission

BURST_FRAMES = 64
_TIMER_NODE = -1
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC, _TFD_ABSTIME = 0o4000, 0o2000000, 1
_TIMER_SPEC = struct.Struct("qqqq")  # interval, then expiry, in seconds and nanoseconds


class Alarm:
    """A kernel timer that makes a descriptor readable (timerfd; Python has it from 3.13 on)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(
            _CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC
        )
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._at_ns: int | None = None

    def fileno(self) -> int:
        """Return the descriptor, readable from the set time on."""
        return int(self._descriptor)

    def set(self, at_ns: int | None) -> None:
        """Ring at a time of the monotonic clock, or not at all."""
        if at_ns == self._at_ns:
            return
        self._at_ns = at_ns
        seconds, rest_ns = divmod(0 if at_ns is None else max(1, at_ns), 1_000_000_000)
        spec = _TIMER_SPEC.pack(0, 0, seconds, rest_ns)
        self._libc.timerfd_settime(self._descriptor, _TFD_ABSTIME, spec, None)

    def answer(self) -> None:
        """Take note of a ring, so that the descriptor is quiet again."""
        self._at_ns = None
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class LiveAir:
    """Carries frames between devices; step it often. Times are those of the monotonic clock.

    `medium` must give all receive fields (no `real_fields`): what is left out is the drivers' part.
    """

    def __init__(
        self,
        taps: Sequence[Tap],
        medium: Medium,
        watch: Watch | None = None,
        *,
        drivers: Sequence[DriverProfile] | None = None,
        recorder: Recorder | None = None,
        seed: int = 0,
    ) -> None:
        self._taps = list(taps)
        self._medium = medium
        medium.keep_clear_of_vlan(time.monotonic_ns())
        self._watch = watch
        self._recorder = recorder
        self._handover = Handover(drivers or [PROFILES["lab"]] * len(taps), seed)
        self._wall_minus_ns = time.time_ns() - time.monotonic_ns()
        self._frequency = [int(value) for value in medium.links.frequency_mhz]
        self._due: list[tuple[int, int, bool, Transmission]] = []  # time, number, on air?
        self._beacons: dict[int, Beacon] = {}
        # Each driver's queue, first come first served: its head contends for the air or is on it.
        self._queues: list[deque[Transmission]] = [deque() for _ in self._taps]
        self._on_air: set[int] = set()  # nodes
        self._paused: set[int] = set()
        self.account = Account()
        self.delays = Delays()  # from a frame's end to the write into a receiver's device
        self.lateness = Delays()  # of the loop behind the events' times
        warm_up(medium)
        medium.observers.append(self.account)
        self._alarm = Alarm()
        self._poll = select.epoll(len(self._taps) + 1)
        self._poll.register(self._alarm, select.EPOLLIN)
        self._nodes = {tap.fileno(): node for node, tap in enumerate(self._taps)}
        for tap in self._taps:
            self._poll.register(tap, select.EPOLLIN)

    @property
    def undelivered(self) -> int:
        """Frames that a receiver's device did not take."""
        return self.account.device_full

    @property
    def busy(self) -> bool:
        """Whether frames wait for the air or are on it."""
        return bool(self._due)

    def step(self, longest_s: float) -> None:
        """Wait for the next frame or event, at most so long, and carry what is due."""
        self._alarm.set(self._due[0][0] if self._due else None)
        for descriptor, _ in self._poll.poll(longest_s):
            node = self._nodes.get(descriptor, _TIMER_NODE)
            if node == _TIMER_NODE:
                self._alarm.answer()
            else:
                self._read(node)
        self._advance(time.monotonic_ns())

    def measure_from_now(self) -> None:
        """Forget the delays so far: starting a process takes time that no running one does."""
        self.delays, self.lateness = Delays(), Delays()

    def imbalances(self) -> list[str]:
        """List what does not add up in the account so far; empty when every frame is accounted."""
        waiting = sum(map(len, self._queues)) - len(self._on_air)
        return self.account.imbalances(waiting, len(self._on_air))

    def close(self) -> None:
        """Stop watching the devices."""
        self._medium.observers.remove(self.account)
        self._poll.close()
        self._alarm.close()

    # --- from the devices -----------------------------------------------------------------------

    def _read(self, node: int) -> None:
        driver = self._handover.drivers[node]
        for _ in range(BURST_FRAMES):
            if len(self._queues[node]) >= driver.queue_frames:
                self._poll.unregister(self._taps[node])
                self._paused.add(node)
                return
            frame = self._taps[node].read()
            if frame is None:
                return
            self.account.frames["injected"] += 1
            if driver.drops_silently:
                self.account.frames["silent_drop"] += 1
            else:
                self._queue(node, frame)

    def _queue(self, node: int, frame: bytes) -> None:
        now_ns = time.monotonic_ns()
        sent = self._medium.queue(node, frame, 0, self._frequency[node], now_ns)
        if isinstance(sent, Refusal):
            self.account.refused[sent.reason] += 1
            return
        self.account.frames["queued"] += 1
        beacon = None if self._watch is None else beacon_of(node, frame)
        if self._watch is not None and beacon is not None:
            self._beacons[sent.number] = beacon
            self._watch.sent.add(beacon)
        self.on_queued(sent, now_ns)
        self._queues[node].append(sent)
        if len(self._queues[node]) == 1:
            self._push(sent, sent.next_ns, False)

    def on_queued(self, sent: Transmission, now_ns: int) -> None:
        """Take note of a frame that was read from a device just now: for who measures."""

    def _push(self, sent: Transmission, at_ns: int, on_air: bool) -> None:
        heapq.heappush(self._due, (at_ns, sent.number, on_air, sent))

    # --- on the air -----------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> None:
        """Do in order of their times what was due until now: begin and finish transmissions."""
        while self._due and self._due[0][0] <= now_ns:
            at_ns, _, on_air, sent = heapq.heappop(self._due)
            self.lateness.add_ns(time.monotonic_ns() - at_ns)
            if on_air:
                self._deliver(sent)
            elif self._medium.begin(sent, at_ns):
                self._on_air.add(sent.sender)
                self._push(sent, sent.end_ns, True)
            else:
                self._push(sent, sent.next_ns, False)

    def _next(self, node: int, now_ns: int) -> None:
        """Take a frame that has left the air off its driver's queue, and let the next contend."""
        self._on_air.remove(node)
        queue = self._queues[node]
        queue.popleft()
        if queue:
            queue[0].next_ns = max(queue[0].next_ns, now_ns)
            self._push(queue[0], queue[0].next_ns, False)
        if node in self._paused:
            self._paused.remove(node)
            self._poll.register(self._taps[node], select.EPOLLIN)

    def _deliver(self, sent: Transmission) -> None:
        self.account.hearing = None
        deliveries = self._medium.finish(sent)
        self.account.frames["finished"] += 1
        self._next(sent.sender, sent.end_ns)
        beacon = self._beacons.pop(sent.number, None)
        for handed in self._handover.frames(sent, deliveries, self.account.hearing):
            self._hand(sent, handed, beacon)

    def _hand(self, sent: Transmission, handed: Handed, beacon: Beacon | None) -> None:
        taken = self._taps[handed.node].write(handed.frame)
        if handed.kind is Kind.ECHO:
            self.account.echoes += taken
        elif handed.kind is Kind.BAD_FCS:
            self.account.bad_fcs += taken
        elif taken:
            self.account.written += 1
            self.delays.add_ns(time.monotonic_ns() - sent.end_ns)
            if self._watch is not None and beacon is not None:
                self._watch.delivered.add((handed.node, beacon))
        else:
            self.account.device_full += 1
        if taken and self._recorder is not None:
            self._recorder.note(sent, handed, sent.end_ns + self._wall_minus_ns)


def warm_up(medium: Medium) -> None:
    """Send a frame over another medium like this one: what compiles at first use has done so then.

    Compiling takes seconds the first time, which would be added to somebody's first frame.
    """
    twin = Medium(medium.links, 0, medium.config)
    frame = build_frame(bytes(PAYLOAD_BYTES), bytes(6), 0)
    for at_ns in (0, 1_000_000_000):
        sent = twin.queue(0, frame, 0, int(medium.links.frequency_mhz[0]), at_ns)
        if not isinstance(sent, Refusal) and twin.begin(sent, sent.next_ns):
            twin.finish(sent)


@contextlib.contextmanager
def prompt_scheduling() -> Iterator[bool]:
    """Let this thread run before ordinary processes meanwhile; yields whether the kernel allowed.

    The air has no queue for a busy CPU: a medium that waits behind the daemons that it serves
    would add delays that no radio has. Children started meanwhile don't inherit it.
    """
    former = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, *former)
