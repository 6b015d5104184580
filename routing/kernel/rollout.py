"""Bringing a new version to all hotspots while packets fly: one colour per version, four phases.

    phase     every hotspot is told                              over when
    install   hold the new table beside the old, stamp the old   all have it, or have let go
    stamp     stamp what enters with the new colour              all do, or have let go
    drain     nothing                                            `drain_ms` have passed
    remove    hold the new table alone                           all do, or have let go

A packet keeps the colour that it was stamped with, so it sees one version from end to end
(Reitblatt et al., Abstractions for Network Update, SIGCOMM 2012), and each version is acyclic.
Where its colour isn't known, it loses it, for good, and goes on by the base protocol. So no order
of arrival, loss or crash can make a loop; `loops.py` checks that and tests try all orders.

A hotspot that doesn't answer has let go once its lease has run out by our clock and the margin: by
then its own clock has told it to fall back. A colour is used again only when all have dropped it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from routing.kernel.nodeplan import Choices, NodePlan, Table
from routing.kernel.state import COLOURS

INSTALL, STAMP, DRAIN, REMOVE, STEADY = "install", "stamp", "drain", "remove", "steady"
_NEXT = {INSTALL: STAMP, STAMP: DRAIN, DRAIN: REMOVE, REMOVE: STEADY}
RESEND_MS = 500
DRAIN_MS = 1_000  # far longer than a packet lives in queues of 100 ms
LEASE_MARGIN_MS = 2_000  # clocks of crystals differ by far less during a lease


@dataclass(slots=True)
class _Contact:
    """What one hotspot was told and said: newest serial sent and when, newest acknowledged."""

    sent: int = 0
    sent_ms: int = 0
    acked: int = 0
    acked_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    colour: int
    by_node: Mapping[int, Mapping[int, Choices]] = field(default_factory=dict)

    def table(self, node: int) -> Table:
        return Table(self.colour, self.number, self.by_node.get(node, {}))


class Rollout:
    """Sends documents (`poll`), takes acknowledgements (`acknowledge`), one version at a time."""

    def __init__(self, base: NodePlan, *, first_serial: int = 1, drain_ms: int = DRAIN_MS) -> None:
        self._base, self._drain_ms = base, drain_ms
        self._serial = first_serial
        self._contacts = {node: _Contact() for node in base.addresses}
        self._current: _Version | None = None
        self._coming: _Version | None = None
        self._since_ms = 0
        self.phase = STEADY

    @property
    def colour(self) -> int:
        """Return the colour of the version in use, 0 for none."""
        return self._current.colour if self._current else 0

    def begin(self, by_node: Mapping[int, Mapping[int, Choices]], now_ms: int) -> bool:
        """Begin with a version's splits (`steer.splits_by_node`); False while one is under way."""
        if self.phase != STEADY:
            return False
        number = self._current.number + 1 if self._current else 1
        colour = next(c for c in COLOURS if c != self.colour)
        self._coming = _Version(number, colour, by_node)
        self._enter(INSTALL, now_ms)
        return True

    def poll(self, now_ms: int) -> list[tuple[int, NodePlan]]:
        """Return the documents to send now: news, repeats, and leases that need renewing."""
        self._advance(now_ms)
        if self._current is None and self._coming is None:
            return []
        result = []
        for node, contact in sorted(self._contacts.items()):
            waits = contact.acked < self._serial and now_ms - contact.sent_ms >= RESEND_MS
            renew = now_ms - contact.sent_ms >= self._base.lease_ms // 3
            if contact.sent < self._serial or waits or renew:
                contact.sent, contact.sent_ms = self._serial, now_ms
                result.append((node, self._document(node)))
        return result

    def acknowledge(self, node: int, serial: int, now_ms: int) -> None:
        """Hear that a hotspot carried out the document with this version."""
        contact = self._contacts[node]
        if serial > contact.acked:
            contact.acked, contact.acked_ms = serial, now_ms
        self._advance(now_ms)

    def _document(self, node: int) -> NodePlan:
        old, new = self._current, self._coming
        if self.phase == INSTALL or new is None:
            held = [v for v in (old, new) if v is not None]
            stamp = old.colour if old else 0
        else:
            held = [v for v in (old, new) if v is not None and (self.phase != REMOVE or v is new)]
            stamp = new.colour
        tables = tuple(version.table(node) for version in held)
        return replace(self._base, version=self._serial, node=node, tables=tables, stamp=stamp)

    def _enter(self, phase: str, now_ms: int) -> None:
        self.phase, self._since_ms = phase, now_ms
        if phase == STEADY:
            self._current, self._coming = self._coming, None
        elif phase != DRAIN:
            self._serial += 1

    def _advance(self, now_ms: int) -> None:
        if self.phase == DRAIN:
            if now_ms - self._since_ms >= self._drain_ms:
                self._enter(REMOVE, now_ms)
        elif self.phase != STEADY and all(self._is_done(node, now_ms) for node in self._contacts):
            self._enter(_NEXT[self.phase], now_ms)

    def _is_done(self, node: int, now_ms: int) -> bool:
        """It did what it was told, or its lease of anything it was told before has run out."""
        contact = self._contacts[node]
        if contact.acked >= self._serial:
            return True
        # Whatever was sent may have arrived late: the lease counts from the phase's last sending
        # of an earlier document, which the renewals would push on, so silence begins at the phase.
        return now_ms - self._since_ms >= self._base.lease_ms + LEASE_MARGIN_MS
