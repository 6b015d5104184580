"""A small ledger in the middle of its life: sessions, pools, links, claims, everything under way.

Fuzzing bends its records, and state machines start from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from chain import keys, wire
from chain.ledger import Ledger
from chain.records import Refusal, Signed
from chain.rules.outcome import Verify
from chain.vectors.town import Town, get_samples

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
    """Play a few epochs of everything; the last epoch stays open."""
    town = Town("live", verify=lru_cache(maxsize=1 << 16)(verify))
    town.join()
    town.run(2, 7)
    town.submit(town.opening(0, 1), town.opening(2, 3), town.opening(1, 0))
    town.submit(town.claim(town.receipt(0, 1, 0, 1, 2 * MIB, ai_tokens=900, ai_requests=1)))
    town.run_epoch(8, absent=(3,))
    taken = [wire.decode(raw) for step in town.steps for raw in step.wires]
    records = [signed for signed in taken if not isinstance(signed, Refusal)]
    records += [*get_samples(town), *get_next(town)]
    seeds = {
        town.key(role, number): town.seed(role, number) for role in PEOPLE for number in range(9)
    }
    return Live(town.ledger, town, records, seeds)


def get_next(town: Town) -> list[Signed]:
    """Records that the ledger would take now."""
    return [
        town.deposit(3, reference=b"next"),
        town.registration(4),
        town.registration(0, height_m=33),
        town.message(3, 8),
        town.opening(3, 2, 7),
        town.claim(
            town.receipt(0, 1, 0, 2, 3 * MIB, ai_tokens=1_000, ai_requests=2),
            town.receipt(2, 3, 1, 1, MIB),
        ),
        town.receipts(town.receipt(0, 1, 0, 2, 3 * MIB), town.receipt(1, 0, 2, 4, MIB)),
    ]
