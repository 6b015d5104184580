"""Kill a ledger again and again, and time how soon it answers: `python -m bench.ledger_restart`.

A child opens the ledger, answers, and goes on submitting whatever four hotspots have to say while
epochs close and settle in its own time; at a random moment it gets SIGKILL, the opening included.
At the end no acknowledged record may be missing, none may be accepted twice, and the audit must
derive every payment and balance again. SIGKILL is a crash of the process, not of the machine.

ready_ms_p50, ready_ms_max   from opening the database to the first answer, without the interpreter
lost, double_paid            acknowledged records that are gone; records accepted or paid twice
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from chain import bits
from chain.claims.builder import ClaimBook, make_leaf
from chain.draws import u32
from chain.errors import UserError
from chain.io_audit import audit
from chain.io_ledger import DATABASE, DurableLedger
from chain.io_terminal import Progress, print_json
from chain.keys import verify
from chain.ledger import Ledger, Sealed
from chain.packed import unpack_entries
from chain.records import Receipt, Signed
from chain.state import OpenClaim, Session
from chain.store.io_store import Store
from chain.vectors.town import Town

RELAY = 1  # the hotspot that claims by sum tree; others claim receipt by receipt
SESSIONS = ((0, 1), (2, 1), (3, 2), (1, 0))
STEP_MS = 700  # of ledger time between submissions: a close every 14, a settlement every 86
OPENING_KILLS = 4  # one kill in so many hits the opening


class Writer:
    """Four hotspots, their payers and an operator, all of whom remember nothing but their keys."""

    def __init__(self, durable: DurableLedger) -> None:
        self.durable = durable
        self.town = Town("restart")
        self.town.ledger = durable.ledger

    def step(self) -> list[bytes]:
        """Submit what is due a moment later; the ids of what was accepted."""
        state = self.durable.ledger.state
        now_ms = state.time_ms + STEP_MS
        self.durable.tick(now_ms)
        wires = [signed.wire for signed in self.records()]
        results = self.durable.submit(wires, now_ms)
        return [r.record_id for r in results if r.accepted and r.reason != "already"]

    def records(self) -> list[Signed]:
        """What everybody has to say now."""
        state = self.durable.ledger.state
        reference = u32(state.log.size)
        said = [self.town.deposit(state.log.size % 4, 1_000, reference)]
        if not state.hotspots:
            deposits = [self.town.deposit(number) for number in range(4)]
            return [*deposits, *(self.town.registration(number) for number in range(4))]
        said += self.messages()
        wanted = SESSIONS[state.next_session % len(SESSIONS)]
        if len(state.sessions) < len(SESSIONS):
            said.append(self.town.opening(*wanted, nonce=state.next_session, cap_ucr=2_000_000))
        for claim in state.claims.values():
            said += self.openings(claim)
        return [*said, *self.claims()]

    def messages(self) -> list[Signed]:
        """Epoch messages that are due and were not sent yet."""
        state, params = self.durable.ledger.state, self.durable.ledger.params
        offset = state.time_ms - self.town.time_ms(state.epoch)
        if state.epoch < 2 or offset < params.epoch_ms // 2:
            return []
        for epoch in (state.epoch - 1, state.epoch):
            self.town.hear(epoch)
        due = [h.index for h in state.hotspots if not h.has_seen(state.epoch)]
        return [self.town.message(index, state.epoch) for index in due]

    def receipt(self, session: Session, sequence: int, grown: int) -> Receipt:
        """The receipt after so many more bytes; made again, it is the same."""
        totals = (session.index, sequence, session.relayed_bytes + grown)
        return self.town.receipt(session.payer, session.payee, *totals)

    def claims(self) -> list[Signed]:
        """Receipts one by one, and the relay's in a sum tree."""
        state = self.durable.ledger.state
        busy = {e.session for c in state.claims.values() for e in unpack_entries(c.entries)}
        free = [s for s in state.sessions.values() if s.index not in busy]
        direct = [self.receipt(s, s.sequence + 2, 5_000) for s in free if s.payee != RELAY]
        leaves = [
            make_leaf(s, self.receipt(s, s.sequence + 2, 9_000)) for s in free if s.payee == RELAY
        ]
        said = [self.town.receipts(*direct)] if direct else []
        if leaves and (RELAY, state.epoch) not in state.claim_of:
            record = ClaimBook(leaves).record(RELAY, state.epoch)
            said.append(self.town.seal(record, ("hotspot", RELAY)))
        return said

    def openings(self, claim: OpenClaim) -> list[Signed]:
        """The leaves of a claim that were drawn and not shown yet."""
        asked = bits.members(bits.without(claim.drawn, claim.opened))
        if not asked:
            return []
        sessions = self.durable.ledger.state.sessions
        leaves = [
            make_leaf(sessions[e.session], self.receipt(sessions[e.session], *e[1:3]))
            for e in unpack_entries(claim.entries)
        ]
        return [self.town.seal(r) for r in ClaimBook(leaves).open(claim.index, asked)]


def create(folder: Path) -> None:
    """A ledger with its genesis."""
    blocks: list[Sealed] = []
    Ledger(Town("restart").genesis, verify, blocks.append)
    store = Store.create(str(folder / DATABASE))
    store.append(blocks)
    store.close()


def run_child(folder: Path, out: int) -> None:
    """Open, answer, and write until killed; every line that is written is an acknowledgement."""
    start = time.perf_counter()
    durable = DurableLedger.open(folder)
    (known,) = durable.submit([Town("restart").genesis.wire], durable.ledger.state.time_ms)
    ready_ms = 1_000 * (time.perf_counter() - start)
    os.write(out, f"{known.reason} {ready_ms:.3f}\n".encode())
    writer = Writer(durable)
    while True:
        for record_id in writer.step():
            os.write(out, f"{record_id.hex()}\n".encode())


def run_and_kill(folder: Path, number: int) -> list[str]:
    """Fork a child, kill it at a moment drawn from its number; the whole lines that it got out."""
    draw = sha256(b"kill" + u32(number)).digest()
    lines = 0 if draw[0] % OPENING_KILLS == 0 else 1 + draw[1] % 24
    come, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(come)
        try:
            run_child(folder, go)
        finally:
            os._exit(3)
    os.close(go)
    data = b""
    while data.count(b"\n") < lines and (more := os.read(come, 65_536)):
        data += more
    time.sleep(draw[2] % 16 / 1_000)
    os.kill(child, signal.SIGKILL)
    while more := os.read(come, 65_536):
        data += more
    os.close(come)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise UserError("ledger", f"{folder}: the child ended by itself", "see its error above")
    return data.decode().split("\n")[:-1]


def check(folder: Path, acknowledged: list[str]) -> dict[str, Any]:
    """What is missing, what was taken twice, and whether all follows from the records."""
    durable = DurableLedger.open(folder)
    rows = durable.store.rows("SELECT id, wire FROM records ORDER BY seq")
    kept = [row["id"].hex() for row in rows]
    head = durable.ledger.head
    again = durable.submit([row["wire"] for row in rows], durable.ledger.state.time_ms)
    twice = sum(result.reason != "already" for result in again)
    unchanged = durable.ledger.head == head
    settlements, epochs = durable.ledger.state.settlement, durable.ledger.state.epoch
    paid = durable.store.rows("SELECT kind, count(*) AS n FROM payments GROUP BY kind")
    durable.store.close()
    verdict = audit(folder / DATABASE)
    return {
        "records": len(kept),
        "acknowledged": len(acknowledged),
        "lost": len(set(acknowledged) - set(kept)),
        "double_paid": twice + len(kept) - len(set(kept)) + (not unchanged),
        "audit_ok": verdict.ok,
        "audit": f"{verdict.where} {verdict.problem}".strip(),
        "epochs": epochs,
        "settlements": settlements,
        "payments": {row["kind"]: row["n"] for row in paid},
    }


def run(kills: int, folder: Path, quiet: bool) -> dict[str, Any]:
    """Kill so many times; the result."""
    create(folder)
    acknowledged: list[str] = []
    ready: list[float] = []
    progress = Progress("kills", kills, quiet=quiet)
    for number in range(kills):
        first, *lines = [*run_and_kill(folder, number), ""][:-1] or [""]
        if first:
            ready.append(float(first.split()[1]))
        acknowledged += lines
        progress.update(number + 1)
    progress.close()
    return {
        "kills": kills,
        **check(folder, acknowledged),
        "ready_ms_p50": round(median(ready), 2) if ready else None,
        "ready_ms_max": round(max(ready), 2) if ready else None,
    }


def main() -> int:
    """Run it; exit code 1 if anything was lost or paid twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger_restart", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="no progress bar; JSON at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.kills, Path(folder), options.json)
    print_json(result)
    return 0 if result["audit_ok"] and not result["lost"] and not result["double_paid"] else 1


if __name__ == "__main__":
    sys.exit(main())
