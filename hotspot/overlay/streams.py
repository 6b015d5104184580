"""Flows: streams over the overlay, each with its source route and the sessions that pay for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chain.records import Refusal
from hotspot.overlay.datagrams import (
    DATA,
    FROM_INITIATOR,
    MAX_HOPS,
    NO_SESSION,
    PLAIN_FLOW,
    Routed,
    class_of,
    pack_routed,
)
from hotspot.overlay.transport import Stream, is_midway

LINGER_NS = 15_000_000_000  # a closed flow still answers retransmissions this long
IDLE_NS = 180_000_000_000
MAX_ACCEPTED = 4_096

TOO_MANY = Refusal("too_many_flows", "flow: this hotspot serves no more at a time; try later")
FORGOTTEN = Refusal("forgotten", "flow: this hotspot has restarted and knows it no more")


@dataclass(slots=True)
class Flow:
    """One stream and its way: `route` starts at this hotspot; `sessions` runs beside it.

    `purpose` is what an accepted flow opened with, once that is here; `carried_bytes` counts the
    datagrams of a flow of ours in both directions, as relays count them. `flow_class` of an
    accepted flow is what its initiator says that it wants.
    """

    initiator: int
    number: int
    is_ours: bool
    route: tuple[int, ...]
    sessions: tuple[int, ...]
    touched_ns: int
    stream: Stream = field(default_factory=Stream)
    closed_ns: int | None = None
    purpose: bytes = b""
    carried_bytes: int = 0
    flow_class: int = PLAIN_FLOW

    @property
    def peer(self) -> int:
        """The other end."""
        return self.route[-1]


Send = Callable[[Flow, bytes], None]


class StreamTable:
    """All flows that begin or end at this hotspot."""

    def __init__(self, index: int, first_number: int, send: Send) -> None:
        self._index = index
        self._number = first_number
        self._send = send
        self._flows: dict[tuple[int, int], Flow] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def own_flows(self) -> list[Flow]:
        """Return the flows that this hotspot opened."""
        return [flow for flow in self._flows.values() if flow.is_ours]

    def open(self, route: Sequence[int], sessions: Sequence[int], now_ns: int) -> Flow:
        """Open a flow along a route of 2 to 16 hotspots."""
        if not 2 <= len(route) <= MAX_HOPS:
            raise ValueError(f"route of {len(route)} hotspots")
        self._number = (self._number + 1) & 0xFFFF_FFFF
        flow = Flow(self._index, self._number, True, tuple(route), tuple(sessions), now_ns)
        self._flows[self._index, self._number] = flow
        return flow

    def receive(self, packet: Routed, now_ns: int) -> Flow | Refusal | None:
        """Take a DATA datagram that ends here; return its flow, None if the flow is gone."""
        from_initiator = bool(packet.flags & FROM_INITIATOR)
        initiator = packet.route[0] if from_initiator else self._index
        flow = self._flows.get((initiator, packet.flow))
        if flow is None and from_initiator:
            if len(self._flows) >= MAX_ACCEPTED:
                return TOO_MANY
            if is_midway(packet.payload):
                return self._disown(packet, now_ns)
            flow = Flow(initiator, packet.flow, False, (), (), now_ns)
            self._flows[initiator, packet.flow] = flow
        if flow is None:
            return None
        if not flow.is_ours:  # the payer chooses the way, and may have changed it
            flow.route = packet.route[::-1]
            flow.sessions = packet.sessions[::-1]
            flow.flow_class = class_of(packet.flags)
        flow.touched_ns = now_ns
        refusal = flow.stream.receive(packet.payload, now_ns)
        return refusal if refusal is not None and flow.stream.failure is None else flow

    def _disown(self, packet: Routed, now_ns: int) -> Refusal:
        """Tell the initiator of a flow from before our restart to begin anew."""
        back, sessions = packet.route[::-1], packet.sessions[::-1]
        flow = Flow(packet.route[0], packet.flow, False, back, sessions, now_ns)
        flow.stream.reset(FORGOTTEN)
        self.pump(flow, now_ns)
        return FORGOTTEN

    def pump(self, flow: Flow, now_ns: int) -> None:
        """Send what may leave now."""
        flags = FROM_INITIATOR if flow.is_ours else 0
        for segment in flow.stream.take_segments(now_ns):
            data = pack_routed(DATA, flags, flow.number, flow.route, segment, flow.sessions)
            self._send(flow, data)
        if flow.closed_ns is None and flow.stream.is_done:
            flow.closed_ns = now_ns

    def next_deadline(self) -> int | None:
        """When `handle_deadline` has work."""
        times = [t for f in self._flows.values() if (t := f.stream.next_deadline()) is not None]
        return min(times, default=None)

    def handle_deadline(self, now_ns: int) -> list[Flow]:
        """Let timers run; return flows whose owner should look: failed, or asking for a path."""
        due = [f for f in self._flows.values() if _is_due(f, now_ns)]
        for flow in due:
            flow.stream.handle_deadline(now_ns)
            self.pump(flow, now_ns)
        return due

    def sweep(self, now_ns: int) -> list[Flow]:
        """Forget flows that are closed long enough; return idle ones that were still open."""
        idle = [f for f in self._flows.values() if now_ns - f.touched_ns > IDLE_NS]
        closed = [f for f in self._flows.values() if now_ns - (f.closed_ns or now_ns) > LINGER_NS]
        for flow in [*idle, *closed]:
            self._flows.pop((flow.initiator, flow.number), None)
        return [f for f in idle if f.closed_ns is None]


def _is_due(flow: Flow, now_ns: int) -> bool:
    due_ns = flow.stream.next_deadline()
    return due_ns is not None and due_ns <= now_ns


def sessions_beside(route: Sequence[int], paid: dict[int, int]) -> tuple[int, ...]:
    """Return the session that pays each hop of a route: NO_SESSION for the ends."""
    return tuple(
        paid.get(hop, NO_SESSION) if 0 < i < len(route) - 1 else NO_SESSION
        for i, hop in enumerate(route)
    )
