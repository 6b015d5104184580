"""Supply conserved: what was deposited and minted is what is held, destroyed and withdrawn."""

from __future__ import annotations

from chain.state import is_conserved
from radio_sim.checkers.base import Checker


class SupplyChecker(Checker):
    """Adds up all accounts after each slice; never may a credit appear or vanish."""

    name = "supply"

    def look(self) -> None:
        """Compare both sums."""
        state = self.fleet.ledger.state
        if not is_conserved(state):
            self.fail(f"epoch {state.epoch}: {state.supply} is not what accounts hold")

    def finish(self) -> None:
        """Once more."""
        self.look()
