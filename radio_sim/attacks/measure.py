"""An attack run through the ledger, audited before every settlement, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.scores import compute_scores
from coverage_map.audit.table import Hearings, join_hearings
from radio_sim.attacks.figures import (
    Audit,
    compute_epochs_to_detect,
    compute_rate,
    compute_share,
    count_verdicts,
    make_audit,
    sum_held_ucr,
    sum_pay_ucr,
)
from radio_sim.attacks.outcome import Outcome
from radio_sim.attacks.presence import HONEST, Strategy
from radio_sim.attacks.rules_off import RulesOff
from radio_sim.attacks.run import (
    World,
    compute_open_trust_ppm,
    get_claims,
    make_world,
    run_hearings,
)
from radio_sim.attacks.town import FIRST_EPOCH, SETTLEMENT_EPOCHS, Town

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is."""

    hotspots: int = 300
    epochs: int = 200
    share: float = 0.1
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """An outcome with the scores behind it, for ROC plots."""

    outcome: Outcome
    honest: Floats
    liars: Floats


class Auditor:
    """Audits a town whenever a settlement is about to come."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.by_settlement: dict[int, Audit] = {}

    def audit(self, epoch: int) -> None:
        """Scores from everything judged before an epoch."""
        hearings = join_hearings(self.town.hearings)
        claims = get_claims(self.town.world, self.town.trust_ppm())
        scores = compute_scores(hearings, claims)
        self.by_settlement[epoch] = make_audit(epoch - FIRST_EPOCH, scores)

    @property
    def audits(self) -> list[Audit]:
        """In order of time."""
        return [self.by_settlement[epoch] for epoch in sorted(self.by_settlement)]


def get_suspects(world: World) -> Flags:
    """Who should be found: liars, or the whole plot where nobody lies about a place."""
    placement = world.placement
    return placement.liars if placement.liars.any() else placement.attackers


def run_presence(strategy: Strategy, size: Size, tell: Tell = lambda _: None) -> Measured:
    """One attack of the radio's side, measured."""
    world = make_world(
        strategy, hotspots=size.hotspots, epochs=size.epochs, share=size.share, seed=size.seed
    )
    town = Town(world)
    town.join()
    books, auditor = RulesOff(town), Auditor(town)
    town.on_judgement = books.take
    for number in range(world.epochs):
        # A settlement falls on the tick that begins its epoch.
        epoch = FIRST_EPOCH + number
        if epoch % SETTLEMENT_EPOCHS == 0 and town.hearings:
            auditor.audit(epoch)
        town.run_epoch(number)
        tell(number + 1)
    town.finish()
    auditor.audit(FIRST_EPOCH + world.epochs)
    return make_measured(strategy, size, town, books, auditor)


def make_measured(
    strategy: Strategy, size: Size, town: Town, books: RulesOff, auditor: Auditor
) -> Measured:
    """All figures of a finished run."""
    placement, last = town.world.placement, auditor.audits[-1]
    honest, suspects = ~placement.attackers, get_suspects(town.world)
    pay = sum_pay_ucr(town.payments, town.count)
    kept = pay - sum_held_ucr(town.payments, auditor.by_settlement, town.count)
    open_pay = sum_pay_ucr(books.payments, town.count)
    whole = int(open_pay[honest].sum())
    bonds = int(placement.attackers.sum()) * town.ledger.params.bond_ucr
    has_liars = bool(placement.attackers.any())
    outcome = Outcome(
        strategy.name,
        "presence" if strategy.pretends else "radio",
        strategy.summary,
        size.share if has_liars else 0.0,
        tpr=compute_rate(last.found, suspects) if has_liars else None,
        fpr=compute_rate(last.found, honest),
        epochs_to_detect=compute_epochs_to_detect(auditor.audits, suspects),
        leaked_share=compute_share(int(kept[suspects].sum()), int(kept.sum())),
        leaked_share_rules=compute_share(int(pay[suspects].sum()), int(pay.sum())),
        honest_loss=1.0 - compute_share(int(kept[honest].sum()), whole),
        attacker_return=compute_share(int(kept[placement.attackers].sum()), bonds),
        refused=count_verdicts(town.hearings, placement.attackers),
        details={
            "honest_loss_rules": 1.0 - compute_share(int(pay[honest].sum()), whole),
            "receptions": sum(len(part) for part in town.hearings),
            "attackers": int(placement.attackers.sum()),
            "liars": int(placement.liars.sum()),
            "found_by_epoch": [
                [audit.epochs, compute_rate(audit.found, suspects)] for audit in auditor.audits
            ],
        },
    )
    return Measured(outcome, last.combined[honest], last.combined[suspects])


def run_open(strategy: Strategy, size: Size) -> tuple[World, Hearings, Floats]:
    """A run without records: world, receptions, and combined scores (0 where tests abstain)."""
    world = make_world(
        strategy, hotspots=size.hotspots, epochs=size.epochs, share=size.share, seed=size.seed
    )
    hearings = run_hearings(world)
    claims = get_claims(world, compute_open_trust_ppm(world, hearings))
    return world, hearings, np.nan_to_num(compute_scores(hearings, claims).combined)


def pool_network(size: Size) -> Floats:
    """Scores of one honest network, by a seed far from those that people type."""
    one = Size(size.hotspots, size.epochs, 0.0, POOL_SEED + size.seed)
    return run_open(HONEST, one)[2]


POOL_SEED = 1 << 32
