"""Clocks that are wrong: a router that lives in its own time, drifting and stepping.

The machine inside gets local times only and gives local deadlines; the world outside keeps true
time. Local time is linear between steps, in integers: rate in parts per billion, so that a run
repeats bit for bit.
"""

from __future__ import annotations

from hotspot.actions import Action
from hotspot.node import HotspotNode
from radio_sim.agents import Router

GIGA = 1_000_000_000


class Clock:
    """Local time as a function of true time, both in ns."""

    def __init__(self, start_ns: int, drift_ppb: int = 0, offset_ns: int = 0) -> None:
        if drift_ppb <= -GIGA:
            raise ValueError(f"drift_ppb: {drift_ppb} runs backwards; use more than -10^9")
        self._start_ns = start_ns
        self._drift_ppb = drift_ppb
        self.offset_ns = offset_ns

    def local_ns(self, true_ns: int) -> int:
        """What the clock shows at a true time."""
        passed = true_ns - self._start_ns
        return true_ns + self.offset_ns + passed * self._drift_ppb // GIGA

    def true_ns(self, local_ns: int) -> int:
        """The first true time at which the clock shows `local_ns` or later."""
        passed = local_ns - self._start_ns - self.offset_ns
        guess = self._start_ns + -(-passed * GIGA // (GIGA + self._drift_ppb))
        while self.local_ns(guess) < local_ns:  # flooring may leave it a few ns short
            guess += 1
        while self.local_ns(guess - 1) >= local_ns:
            guess -= 1
        return guess

    def step(self, jump_ns: int) -> None:
        """Set it forward, or back."""
        self.offset_ns += jump_ns


class ClockedRouter:
    """A router whose every time is its own clock's."""

    def __init__(self, inner: Router, clock: Clock) -> None:
        self.inner = inner
        self.clock = clock

    @property
    def node(self) -> HotspotNode:
        """The shipping node inside."""
        return self.inner.node

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        """A frame came from the air."""
        self.inner.receive_frame(data, self.clock.local_ns(now_ns))

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        """A datagram came from a neighbour."""
        self.inner.receive_datagram(data, peer, self.clock.local_ns(now_ns))

    def receive_mix(self, epoch: int, mix: bytes, now_ns: int) -> None:
        """The ledger answered with the public randomness of an epoch."""
        self.inner.receive_mix(epoch, mix, self.clock.local_ns(now_ns))

    def receive_registration(self, index: int, bound_epoch: int, now_ns: int) -> None:
        """The ledger knows this hotspot by an index, and its secrets bind from an epoch on."""
        self.inner.receive_registration(index, bound_epoch, self.clock.local_ns(now_ns))

    def next_deadline(self) -> int | None:
        """True time of the soonest deadline."""
        due_ns = self.inner.next_deadline()
        return None if due_ns is None else self.clock.true_ns(due_ns)

    def handle_deadline(self, now_ns: int) -> None:
        """Do what is due by the local clock."""
        self.inner.handle_deadline(self.clock.local_ns(now_ns))

    def take_actions(self) -> list[Action]:
        """Actions of the router inside."""
        return self.inner.take_actions()
