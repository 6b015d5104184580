"""A small ledger in the middle of its life: sessions, pools, links, claims, everything under way.

Fuzzing bends its records, and state machines start from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from chain import keys, wire
from chain.admission import Role
from chain.ledger import Ledger
from chain.records import Bond, Bounty, Dispute, Finding, Refusal, Retirement, Signed, Withdrawal
from chain.rules.outcome import Verify
from chain.vectors.scenarios_admission import cosignature
from chain.vectors.scenarios_cells import map_commit, map_report, observe
from chain.vectors.scenarios_claims import make_book, open_sessions, seal_claim, seal_openings
from chain.vectors.town import RES_8_CELL, RES_9_CELL, Town, get_samples

MIB = 1 << 20
PEOPLE = ("hotspot", "owner", "operator", "cosigner", "mapper", "validator", "sequencer")


@dataclass(frozen=True, slots=True)
class Live:
    """A ledger, records that it took or would take, and everybody's secret keys by public key."""

    ledger: Ledger
    town: Town
    records: list[Signed]
    seeds: dict[bytes, bytes]

    @property
    def known_keys(self) -> list[bytes]:
        """Public keys, in a fixed order."""
        return list(self.seeds)

    def by_type(self) -> list[list[Signed]]:
        """The records, those of one type together."""
        groups: dict[int, list[Signed]] = {}
        for signed in self.records:
            groups.setdefault(signed.record.TYPE, []).append(signed)
        return [group for _, group in sorted(groups.items())]


def make_live(verify: Verify = keys.verify) -> Live:
    """Play a few epochs of everything; the last epoch stays open, and so do two relay claims."""
    town = Town("live", verify=lru_cache(maxsize=1 << 16)(verify))
    town.join()
    for number in range(2):
        town.submit(appoint(town, Role.COSIGNER, town.key("cosigner", number)))
    town.submit(appoint(town, Role.VALIDATOR, town.key("validator", 0), 10))
    town.submit(town.seal(Bond(1, 2_000_000, town.nonce(town.owner(1))), ("owner", 1)))
    town.run(2, 5)
    open_sessions(town, 4)
    town.submit(town.opening(0, 3, 9), town.opening(2, 3, 9), town.opening(1, 0, 9))
    town.submit(town.claim(town.receipt(0, 3, 4, 1, MIB, ai_tokens=900, ai_requests=1)))
    until = town.epoch + 40
    sponsor, nonce = town.owner(2), town.nonce(town.owner(2))
    bounty = Bounty(sponsor, (RES_8_CELL,), 2_000_000, 500_000, until, nonce)
    town.submit(town.seal(bounty, ("owner", 2)))
    town.run_epoch(6)
    town.submit(seal_claim(town, make_book(town, (0, 1), 1, MIB // 8), 6))
    seen = [observe(town, 6, ids, RES_9_CELL) for ids in ((0, 1), (1, 2))]
    town.submit(*(map_commit(town, n, 6, report, RES_9_CELL) for n, report in enumerate(seen)))
    town.run_epoch(7)
    town.submit(map_report(town, 0, 6, seen[0], RES_9_CELL))
    late = [map_report(town, 1, 6, seen[1], RES_9_CELL)]
    town.run_epoch(8, absent=(3,))
    town.submit(cosignature(town, 7, 0))
    late.append(seal_claim(town, make_book(town, (2, 3), 1, MIB // 8), 8))
    late.append(seal_openings(town, make_book(town, (0, 1), 1, MIB // 8), 0, [0, 1]))
    taken = [wire.decode(raw) for step in town.steps for raw in step.wires]
    records = [signed for signed in taken if not isinstance(signed, Refusal)]
    records += [*get_samples(town), *get_next(town), *late]
    seeds = {
        town.key(role, number): town.seed(role, number) for role in PEOPLE for number in range(9)
    }
    return Live(town.ledger, town, records, seeds)


def appoint(town: Town, role: Role, key: bytes, weight: int = 0) -> Signed:
    """A role for a hundred epochs."""
    first = town.epoch + 2
    return town.appointment(role, key, first, first + 100, weight)


def get_next(town: Town) -> list[Signed]:
    """Records that the ledger would take now."""
    epoch = town.epoch
    first, second = town.message(3, 7), town.message(3, 7, commit=bytes(32))
    report = observe(town, epoch, (0, 1, 2), RES_9_CELL)
    bounty = Bounty(town.owner(3), (RES_8_CELL,), 1_000_000, 500_000, epoch + 9, 1)
    return [
        town.deposit(3, reference=b"next"),
        town.registration(4),
        town.registration(0, height_m=33),
        town.message(3, epoch),
        town.opening(3, 2, 7),
        town.claim(
            town.receipt(0, 3, 4, 2, 2 * MIB, ai_tokens=1_000, ai_requests=2),
            town.receipt(2, 3, 5, 1, MIB),
        ),
        town.receipts(town.receipt(0, 3, 4, 2, 2 * MIB, ai_tokens=900, ai_requests=1)),
        town.receipts(town.receipt(2, 3, 5, 1, MIB), town.receipt(1, 0, 6, 4, MIB)),
        appoint(town, Role.OPERATOR, town.key("operator", 3)),
        appoint(town, Role.SEQUENCER, town.key("sequencer", 0)),
        town.transfer(3, town.owner(0), 5),
        town.seal(Withdrawal(town.owner(3), 5, 2, b""), ("owner", 3)),
        town.seal(Bond(0, 5, 1), ("owner", 0)),
        town.seal(Retirement(2, 9), ("owner", 2)),
        town.seal(bounty, ("owner", 3)),
        map_commit(town, 3, epoch, report, RES_9_CELL),
        town.seal(Dispute(0, 1), ("hotspot", 2)),
        town.seal(Finding(1, 3, 7, (first.wire, second.wire), town.owner(0)), ("owner", 0)),
        cosignature(town, epoch - 1, 1),
    ]
