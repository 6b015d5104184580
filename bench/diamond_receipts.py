"""Receipts for what kernels relay, co-signed while it flows: the books of gateways, kernel counts.

Each relay of the diamond is paid by hotspot 0 in a session of its own. What it forwarded it takes
from its devices' counters, what the payer sent and got by it from the payer's; claims and receipts
are datagrams over the same mesh. PayeeBook and PayerBook (hotspot/) decide who signs what, as in a
running gateway. They can't stop a kernel in the middle of a datagram, so what was forwarded beyond
the credit of an unpaid relay is counted: with receipts on, that has to be nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

from bench.kernel_bed import Bed, address_of
from chain.draws import digest, u32
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Receipt
from hotspot.overlay.payee import PayeeBook, Price
from hotspot.overlay.payer import PayerBook
from hotspot.overlay.sessions import Claim, Kept, SessionInfo, pack_control, parse_control, work_of
from radio_sim.live.io_tap import inside

PORT = 9_300
STEP_S = 0.003
SLICE_BYTES = 1 << 14
NETWORK = digest("diamond", u32(1))
PARAMS = PRESETS["mainnet"]
_CONTROL = 0xC0  # CS6, as gateways send claims and receipts


def seed_of(node: int) -> bytes:
    """A hotspot's key."""
    return digest("diamond-hotspot", u32(node))


class Keys:
    """Everybody's public key."""

    def key_of(self, index: int) -> bytes | None:
        """Return a hotspot's key."""
        return public_key(seed_of(index))


class Counters:
    """A hotspot's device counters, read through a file that stays open."""

    def __init__(self, bed: Bed, node: int) -> None:
        with inside(bed.name(node)):
            # Open for good: which namespace it tells of is settled when it is opened.
            self._file: TextIO = open("/proc/thread-self/net/dev")  # noqa: SIM115

    def read(self) -> dict[str, tuple[int, int]]:
        """(received, sent) bytes by device."""
        self._file.seek(0)
        rows = [line.split(":") for line in self._file if ":" in line]
        words = {name.strip(): rest.split() for name, rest in rows}
        return {name: (int(row[0]), int(row[8])) for name, row in words.items()}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class _Relay:
    """One relay's side: its book, what it forwarded, what of that isn't in the book yet."""

    node: int
    session: int
    book: PayeeBook
    counters: Counters
    door: socket.socket
    before: int
    waiting: int = 0
    beyond: int = 0
    relayed: int = 0
    receipts: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class Receipts(threading.Thread):
    """Both ends of all sessions, until `stop`; the flows don't wait for it."""

    def __init__(self, bed: Bed, payer: int, relays: list[int], target: int) -> None:
        super().__init__(name="receipts", daemon=True)
        self._payer, self._target = payer, target
        self._book = PayerBook(payer, seed_of(payer), NETWORK, lambda _: None)
        self._counters = Counters(bed, payer)
        self._door = _open(bed, payer)
        self._ending = threading.Event()
        self._relays = [self._add(bed, number, node) for number, node in enumerate(relays, 1)]
        self._seen = {relay.node: self._count(relay) for relay in self._relays}

    def _add(self, bed: Bed, session: int, node: int) -> _Relay:
        info = SessionInfo(session, self._payer, node, 1_000, 0, 1 << 60, 1 << 30)
        book = PayeeBook(node, seed_of(node), NETWORK, PARAMS, Keys(), Price(1_000, 0), 0,
                         lambda _: None)  # fmt: skip
        book.receive_session(session, info, 0)
        self._book.restore(Kept(info, None))
        counters = Counters(bed, node)
        relay = _Relay(node, session, book, counters, _open(bed, node), 0)
        relay.before = self._forwarded(relay)
        return relay

    def _forwarded(self, relay: _Relay) -> int:
        """Bytes that came from one side and left by the other."""
        rows = relay.counters.read()
        near, far = rows[f"m{self._payer}"], rows[f"m{self._target}"]
        return min(near[0], far[1]) + min(far[0], near[1])

    def _count(self, relay: _Relay) -> tuple[int, int]:
        return self._counters.read()[f"m{relay.node}"]

    def run(self) -> None:
        """Count, claim, sign, countersign."""
        while not self._ending.wait(STEP_S):
            now_ns = time.monotonic_ns()
            for relay in self._relays:
                self._step(relay, now_ns)
            self._answer_claims()
            for relay in self._relays:
                self._take_receipts(relay, time.monotonic_ns())

    def _step(self, relay: _Relay, now_ns: int) -> None:
        got, sent = self._count(relay)
        got_before, sent_before = self._seen[relay.node]
        self._seen[relay.node] = got, sent
        self._book.count_sent(relay.session, sent - sent_before)
        self._book.count_received(relay.session, got - got_before)
        forwarded = self._forwarded(relay)
        fresh, relay.before = forwarded - relay.before, forwarded
        relay.relayed += fresh
        relay.waiting += fresh
        session = relay.book.sessions[relay.session]
        while relay.waiting > 0:
            size = min(SLICE_BYTES, relay.waiting)
            refusal = relay.book.relay(session, size, now_ns)
            if refusal is not None:
                relay.refused[refusal.reason] = relay.refused.get(refusal.reason, 0) + 1
                break
            relay.waiting -= size
        relay.beyond = max(relay.beyond, relay.waiting)
        for due in relay.book.take_claims(now_ns):
            _send(relay.door, self._payer, pack_control(due.claim()))

    def _answer_claims(self) -> None:
        for data, node in _received(self._door):
            claim = parse_control(data)
            receipt = self._book.receive_claim(claim) if isinstance(claim, Claim) else None
            if receipt is not None:
                _send(self._door, node, pack_control(receipt))

    def _take_receipts(self, relay: _Relay, now_ns: int) -> None:
        for data, _ in _received(relay.door):
            receipt = parse_control(data)
            if isinstance(receipt, Receipt) and relay.book.receive_receipt(receipt, now_ns) is None:
                relay.receipts += 1

    def stop(self) -> dict[str, float]:
        """End; what was signed. Every receipt has both signatures, or it isn't counted."""
        self._ending.set()
        self.join(5)
        signed = sum(work_of(r.book.sessions[r.session].receipt).relayed_bytes
                     for r in self._relays)  # fmt: skip
        for relay in self._relays:
            relay.counters.close()
            relay.door.close()
        self._counters.close()
        self._door.close()
        relayed = sum(relay.relayed for relay in self._relays)
        return {
            "receipts": sum(relay.receipts for relay in self._relays),
            "signed_share": round(signed / max(1, relayed), 4),
            "beyond_credit_bytes": max(relay.beyond for relay in self._relays),
        }


def _open(bed: Bed, node: int) -> socket.socket:
    with inside(bed.name(node)):
        door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    door.bind((address_of(node), PORT))
    door.setblocking(False)
    door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CONTROL)
    return door


def _send(door: socket.socket, node: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # its queue is full: the claim comes again
        door.sendto(data, (address_of(node), PORT))


def _received(door: socket.socket) -> list[tuple[bytes, int]]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, sender = door.recvfrom(2_048)
            found.append((data, int(sender[0].rpartition(":")[2], 16) - 1))
    return found
