"""What all checkers share: they watch a run from outside and say what must not be.

A checker sees every frame (`on_air`), every answer and block of the ledger, every reception that a
hotspot stored, and is asked to `look` after each slice of a run and to `finish` at its end. It
never touches what it watches, so a run with checkers has the digest of one without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chain.ledger import Sealed
from chain.records import SubmitResult
from radio_sim.fates import Hearing
from radio_sim.medium import Transmission

if TYPE_CHECKING:
    from radio_sim.fleet import Fleet

PROBLEMS_MAX = 10  # of one checker: the first ones tell the most


class Checker:
    """Watches one invariant; `problems` holds its first few violations, in words."""

    name = "checker"

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.violations = 0

    def attach(self, fleet: Fleet) -> None:
        """Learn which fleet it is, before it runs."""
        self.fleet = fleet

    def fail(self, text: str) -> None:
        """Note a violation."""
        self.violations += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """A frame left the air."""

    def on_answers(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        """The ledger answered."""

    def on_block(self, sealed: Sealed) -> None:
        """The ledger sealed a block."""

    def on_kept(self, agent: int, epoch: int, rows: Sequence[bytes]) -> None:
        """A hotspot stored receptions."""

    def look(self) -> None:
        """A slice of the run is over."""

    def finish(self) -> None:
        """The run is over."""


class Panel(Checker):
    """Several checkers as one: give it to a fleet as a watcher, then attach it."""

    name = "panel"

    def __init__(self, checkers: Iterable[Checker]) -> None:
        super().__init__()
        self.checkers = tuple(checkers)

    def attach(self, fleet: Fleet) -> None:
        """Have all checkers watch a fleet."""
        super().attach(fleet)
        fleet.world.medium.observers.append(self)
        for checker in self.checkers:
            checker.attach(fleet)

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Pass it on."""
        for checker in self.checkers:
            checker.on_air(sent, hearing)

    def on_answers(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        """Pass it on."""
        for checker in self.checkers:
            checker.on_answers(wires, results)

    def on_block(self, sealed: Sealed) -> None:
        """Pass it on."""
        for checker in self.checkers:
            checker.on_block(sealed)

    def on_kept(self, agent: int, epoch: int, rows: Sequence[bytes]) -> None:
        """Pass it on."""
        for checker in self.checkers:
            checker.on_kept(agent, epoch, rows)

    def look(self) -> None:
        """Have all look."""
        for checker in self.checkers:
            checker.look()

    def finish(self) -> None:
        """Have all finish."""
        for checker in self.checkers:
            checker.finish()

    def verdicts(self) -> dict[str, list[str]]:
        """Problems by the name of their checker; empty lists where all is well."""
        return {checker.name: list(checker.problems) for checker in self.checkers}
