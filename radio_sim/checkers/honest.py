"""Honest hotspots aren't slashed, refused as forgers, or accused of what only a liar does.

Noise, cuts, crashes, wrong clocks and movement cost an honest owner pay. They must never cost a
bond, nor look like a forged answer.
"""

from __future__ import annotations

from chain.ledger import Sealed
from chain.rules.verdicts import REASONS
from radio_sim.checkers.base import Checker

# Of a reception: that its witness made it up. No fault of an honest radio brings these forth.
ACCUSING = frozenset(
    REASONS.index(reason)
    for reason in (
        *("wrong_tag", "duplicate", "self", "commit_mismatch", "wrong_frequency"),
        *("malformed", "replayed", "power_blind", "foreign_region"),
    )
)


class HonestChecker(Checker):
    """Watches bonds, findings and verdicts of hotspots without a behaviour."""

    name = "honest"

    def on_block(self, sealed: Sealed) -> None:
        """Look for accusations among the verdicts."""
        for judgement in sealed.effects.verdicts:
            for witness, codes in judgement.codes.items():
                agent = self.fleet.agent_of(witness)
                accused = ACCUSING.intersection(codes)
                if accused and agent not in self.fleet.dresser.behaviours:
                    reasons = ", ".join(sorted(REASONS[code] for code in accused))
                    self.fail(f"epoch {judgement.epoch}: honest hotspot {agent}: {reasons}")

    def look(self) -> None:
        """Look for findings and for bonds that shrank."""
        state = self.fleet.ledger.state
        for found in state.findings.values():
            agent = self.fleet.agent_of(found.subject)
            if agent not in self.fleet.dresser.behaviours:
                self.fail(f"honest hotspot {agent} was slashed {found.slashed_ucr}")
        for row in state.hotspots:
            if row.bond_ucr != self.fleet.params.bond_ucr:
                self.fail(f"hotspot {self.fleet.agent_of(row.index)}: bond is {row.bond_ucr}")

    def finish(self) -> None:
        """Once more."""
        self.look()
