"""The world in virtual time: agents, the medium between them, backhaul, faults; one seed, one run.

Everything that happens is an event on a heap of (time_ns, sequence); the sequence is the order in
which events were made, so that ties have one order. Agents are sans-IO machines: the world calls
them with bytes and the time, takes their actions, and turns those it knows into events. All others
go to the `effects` callback of whoever built the world.

The digest is SHA-256 over every event: time, kind, agent, and the bytes that moved. Same seed, same
agents: same digest.
"""

from __future__ import annotations

import hashlib
import heapq
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Protocol

from chain.records import Refusal
from hotspot.actions import Action, Machine, SendDatagram, SendFrame
from radio_sim.backhaul import Backhaul
from radio_sim.medium import Medium, Reach, Transmission

_TRACE = struct.Struct(">QBIi")
_FLUSH_BYTES = 1 << 16

_SPINS_MAX = 10_000
NO_BACKHAUL = Refusal("no_backhaul", "world: built without backhaul; give it one")

Effects = Callable[[int, Action, int], None]
Reader = Callable[[bytes], Any]
Ear = Callable[[Any, int | None, int, int], bool]
ExternalInbox = Callable[[bytes, int, int], None]


class Agent(Machine, Protocol):
    """A machine with ears: what lives at a hotspot."""

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        """Take a frame with its receive radiotap header."""

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        """Take an overlay datagram from a neighbour."""


class Kind(IntEnum):
    """Kinds of events; their numbers are part of the digest."""

    DEADLINE = 1
    ATTEMPT = 2
    FINISH = 3
    DATAGRAM = 4
    CALL = 5
    HEARD = 6
    LOST = 7
    CRASH = 8
    RESTART = 9


_DEADLINE, _HEARD = int(Kind.DEADLINE), int(Kind.HEARD)  # of an enum, looked up a million times


class World:
    """Drives agents in virtual time. Index i of `agents` is hotspot i; None lives elsewhere.

    `external[i]` takes the datagrams (data, peer, now_ns) of a hotspot that lives elsewhere, and
    `external_frames[i]` the frames (data, now_ns) that it hears;
    `effects(agent, action, now_ns)` takes the actions that the world itself doesn't carry out.

    All who get a frame get the same body, so what reading it comes to is a function of bytes that
    needs to be computed once: `read(body)` does. An agent with a method `receive_shared(what,
    rssi_dbm, frequency_mhz, now_ns)` gets that, and says whether it has to be settled. All others,
    and everybody where `read` gives None, get the bytes with the header of their own driver.
    """

    def __init__(
        self,
        agents: Sequence[Agent | None],
        medium: Medium,
        seed: int,
        *,
        backhaul: Backhaul | None = None,
        effects: Effects | None = None,
        read: Reader | None = None,
        start_ns: int = 0,
    ) -> None:
        self.agents = list(agents)
        self.medium = medium
        self.backhaul = backhaul
        self.seed = seed
        self.now_ns = start_ns
        self.external: dict[int, ExternalInbox] = {}
        self.external_frames: dict[int, Callable[[bytes, int], None]] = {}
        self.counts: Counter[str] = Counter()
        self._effects = effects or _ignore
        self._read = read or _read_nothing
        self._heap: list[tuple[int, int, int, int, Any]] = []
        self._sequence = 0
        self._spins = 0
        self._due: list[int | None] = [None] * len(self.agents)
        self._queued: list[set[int]] = [set() for _ in self.agents]  # deadlines on the heap
        self._life = [0] * len(self.agents)
        self._ears = [_ear_of(machine) for machine in self.agents]
        self._tells_signal = [medium.tells_signal(node) for node in range(len(self.agents))]
        self._digest = hashlib.sha256()
        self._trace = bytearray()
        for index in range(len(self.agents)):
            self.settle(index)

    # --- running -----------------------------------------------------------------------------

    def next_event_ns(self) -> int | None:
        """Time of the next event, or None when nothing will ever happen."""
        return self._heap[0][0] if self._heap else None

    def run_until(self, time_ns: int) -> None:
        """Carry out every event up to and including `time_ns`; afterwards now is `time_ns`."""
        heap, pop, deadline = self._heap, heapq.heappop, self._deadline
        while heap and heap[0][0] <= time_ns:
            self.now_ns, _, kind, agent, load = pop(heap)
            if kind == _DEADLINE:
                deadline(agent)
            else:
                self._carry_out(kind, agent, load)
        self.now_ns = max(self.now_ns, time_ns)

    @property
    def waiting(self) -> int:
        """Events that have not happened yet."""
        return len(self._heap)

    def digest(self) -> str:
        """Hex digest of everything that has happened so far."""
        self._digest.update(self._trace)
        self._trace.clear()
        return self._digest.hexdigest()

    # --- what the outside may do -------------------------------------------------------------

    def call_at(self, time_ns: int, callback: Callable[[int], None]) -> None:
        """Call back with the time at `time_ns`, in order with everything else."""
        self._push(time_ns, Kind.CALL, -1, callback)

    def inject_datagram(self, source: int, target: int, data: bytes, now_ns: int) -> None:
        """Send a datagram from a hotspot to its neighbour."""
        self._send_datagram(source, SendDatagram(target, data), now_ns)

    def inject_frame(self, source: int, action: SendFrame, now_ns: int) -> None:
        """Send a frame from a hotspot's radio, as one of the devices of its access point would."""
        self._send_frame(source, action, now_ns)

    def settle(self, agent: int) -> None:
        """Take an agent's actions and next deadline; call it after touching an agent directly."""
        machine = self.agents[agent]
        if machine is None:
            return
        for action in machine.take_actions():
            self._act(agent, action)
        due = machine.next_deadline()
        if due == self._due[agent]:
            return
        if due is not None and due < self.now_ns:
            due = self.now_ns
        self._due[agent] = due
        if due is not None and due not in self._queued[agent]:
            self._queued[agent].add(due)
            self._sequence += 1
            heapq.heappush(self._heap, (due, self._sequence, _DEADLINE, agent, None))

    def crash(self, agent: int) -> None:
        """Cut a hotspot's power now: its frame on the air is lost, and it hears nothing more."""
        self.agents[agent] = self._ears[agent] = None
        self._due[agent] = None
        self._life[agent] += 1
        self._set_down(agent, True)
        self._note(Kind.CRASH, agent, 0)
        self.counts["crashes"] += 1

    def restart(self, agent: int, machine: Agent) -> None:
        """Give a hotspot its power back, with the machine that its storage makes of it."""
        self.agents[agent], self._ears[agent] = machine, _ear_of(machine)
        self._set_down(agent, False)
        self._note(Kind.RESTART, agent, 0)
        self.settle(agent)

    # --- events ------------------------------------------------------------------------------

    def _carry_out(self, kind: int, agent: int, load: Any) -> None:
        if kind is Kind.FINISH:
            self._finish(agent, load)
        elif kind is Kind.ATTEMPT:
            self._attempt(agent, load)
        elif kind is Kind.DATAGRAM:
            self._arrive(agent, *load)
        else:
            self._note(Kind.CALL, -1, 0)
            load(self.now_ns)

    def _deadline(self, agent: int) -> None:
        machine, now_ns = self.agents[agent], self.now_ns
        self._queued[agent].discard(now_ns)
        if machine is None or self._due[agent] != now_ns:
            return  # it has moved since
        self._due[agent] = None
        self._note(_DEADLINE, agent, 0)
        machine.handle_deadline(now_ns)
        self.settle(agent)
        if self._due[agent] != now_ns:
            self._spins = 0
            return
        self._spins += 1
        if self._spins > _SPINS_MAX:
            raise RuntimeError(f"agent {agent} is due at {now_ns} ns for ever")

    def _attempt(self, agent: int, load: tuple[Transmission, int]) -> None:
        sent, life = load
        if life != self._life[agent]:
            return
        if self.medium.begin(sent, self.now_ns):
            self._note(Kind.ATTEMPT, agent, sent.power_step_db, sent.body)
            self._push(sent.end_ns, Kind.FINISH, agent, sent)
        else:
            self._push(sent.next_ns, Kind.ATTEMPT, agent, load)

    def _finish(self, agent: int, sent: Transmission) -> None:
        now_ns, trace = self.now_ns, self._trace
        reach = self.medium.end(sent)
        self._note(Kind.FINISH, agent, len(reach.receivers))
        what = self._read(sent.body) if reach.receivers else None
        ears, tells, frequency_mhz = self._ears, self._tells_signal, sent.frequency_mhz
        for receiver, level_dbm in zip(*reach, strict=True):
            trace += _TRACE.pack(now_ns, _HEARD, receiver, level_dbm)
            share = ears[receiver]
            if what is None or share is None:
                self._hand_over(sent, receiver, level_dbm)
                continue
            rssi_dbm = level_dbm if tells[receiver] else None
            if share(what, rssi_dbm, frequency_mhz, now_ns):
                self.settle(receiver)

    def _hand_over(self, sent: Transmission, receiver: int, level_dbm: int) -> None:
        """Give a receiver the bytes as its driver does."""
        machine, external = self.agents[receiver], self.external_frames.get(receiver)
        if machine is None and external is None:
            return
        ((_, frame, _),) = self.medium.deliver(sent, Reach([receiver], [level_dbm]))
        if machine is not None:
            machine.receive_frame(frame, self.now_ns)
            self.settle(receiver)
        elif external is not None:
            external(frame, self.now_ns)

    def _arrive(self, agent: int, data: bytes, peer: int, life: int) -> None:
        self._note(Kind.DATAGRAM, agent, peer, data)
        inbox, machine = self.external.get(agent), self.agents[agent]
        if inbox is not None:
            inbox(data, peer, self.now_ns)
        elif machine is not None and life == self._life[agent]:
            machine.receive_datagram(data, peer, self.now_ns)
            self.settle(agent)

    def _act(self, agent: int, action: Action) -> None:
        if isinstance(action, SendFrame):
            self._send_frame(agent, action, self.now_ns)
        elif isinstance(action, SendDatagram):
            self._send_datagram(agent, action, self.now_ns)
        else:
            self._effects(agent, action, self.now_ns)

    def _send_frame(self, agent: int, action: SendFrame, now_ns: int) -> None:
        now_ns = max(now_ns, self.now_ns)
        sent = self.medium.queue(
            agent, action.frame, action.power_step_db, action.frequency_mhz, now_ns
        )
        if isinstance(sent, Refusal):
            self.counts[sent.reason] += 1
            return
        self._push(sent.next_ns, Kind.ATTEMPT, agent, (sent, self._life[agent]))

    def _send_datagram(self, agent: int, action: SendDatagram, now_ns: int) -> None:
        now_ns = max(now_ns, self.now_ns)
        arrival: int | Refusal = NO_BACKHAUL
        if self.backhaul is not None:
            arrival = self.backhaul.send(agent, action.peer, len(action.data), now_ns)
        if isinstance(arrival, Refusal):
            self.counts[arrival.reason] += 1
            self._note(Kind.LOST, agent, action.peer, action.data)
            return
        self.counts["datagrams"] += 1
        load = (action.data, agent, self._life[action.peer])
        self._push(arrival, Kind.DATAGRAM, action.peer, load)

    def _set_down(self, agent: int, down: bool) -> None:
        self.medium.set_down(agent, down)
        if self.backhaul is not None:
            self.backhaul.set_down(agent, down)

    def _push(self, time_ns: int, kind: int, agent: int, load: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (max(time_ns, self.now_ns), self._sequence, kind, agent, load))

    def _note(self, kind: int, agent: int, value: int, data: bytes = b"") -> None:
        self._trace += _TRACE.pack(self.now_ns, kind, agent & 0xFFFFFFFF, value)
        self._trace += data
        if len(self._trace) > _FLUSH_BYTES:
            self._digest.update(self._trace)
            self._trace.clear()


def _ignore(_agent: int, _action: Action, _now_ns: int) -> None:
    """Drop an action."""


def _ear_of(machine: Agent | None) -> Ear | None:
    """How a machine takes what was read for all, if it does."""
    ear: Ear | None = getattr(machine, "receive_shared", None)
    return ear


def _read_nothing(_body: bytes) -> None:
    """Share nothing: everybody gets bytes."""
