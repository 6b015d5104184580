"""An attack run through the ledger, audited before every settlement, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chain.rules.verdicts import Judgement
from coverage_map.audit.calibrated import THRESHOLD
from coverage_map.audit.scores import compute_scores
from coverage_map.audit.table import Hearings, join_hearings
from radio_sim.attacks.books import FindingsHeld, RulesOff
from radio_sim.attacks.figures import (
    Audit,
    compute_epochs_to_detect,
    compute_rate,
    compute_share,
    count_verdicts,
    make_audit,
    sum_pay_ucr,
)
from radio_sim.attacks.outcome import Outcome
from radio_sim.attacks.presence import HONEST, Strategy, place_truly, report_truly
from radio_sim.attacks.run import (
    World,
    compute_open_trust_ppm,
    get_claims,
    get_mutual_pairs,
    make_world,
    run_hearings,
)
from radio_sim.attacks.sites import get_kinds
from radio_sim.attacks.town import FIRST_EPOCH, SETTLEMENT_EPOCHS, Town

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is; `is_open`: without a ledger."""

    hotspots: int = 300
    epochs: int = 200
    share: float = 0.1
    seed: int = 1
    is_open: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """An outcome with the scores behind it, for ROC plots."""

    outcome: Outcome
    honest: Floats
    liars: Floats


class Auditor:
    """Audits a town whenever a settlement is about to come, and pays by what it found."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.by_settlement: dict[int, Audit] = {}
        self.held, self.off = FindingsHeld(town), RulesOff(town)

    def take(self, judgement: Judgement) -> None:
        """Keep both books."""
        self.held.take(judgement)
        self.off.take(judgement)

    def audit(self, epoch: int) -> None:
        """Scores from everything judged before an epoch."""
        hearings = join_hearings(self.town.hearings)
        claims = get_claims(self.town.world, self.town.trust_ppm())
        scores = compute_scores(hearings, claims)
        audit = make_audit(epoch - FIRST_EPOCH, scores)
        self.by_settlement[epoch], self.held.found[epoch] = audit, audit.found

    def pay_by_rules(self) -> Ints:
        """Proof-of-coverage pay per hotspot, as the ledger paid it."""
        return sum_pay_ucr(self.town.payments, self.town.count)

    def pay_held(self) -> Ints:
        """The same where settlements leave out who is accused."""
        return sum_pay_ucr(self.held.payments, self.town.count)

    def pay_without_rules(self) -> Ints:
        """The same with the rules off and without attackers."""
        return sum_pay_ucr(self.off.payments, self.town.count)

    def compute_loss_by_kind(self) -> dict[str, float]:
        """What honest hotspots of each kind get less than without rules, or more (below 0)."""
        world = self.town.world
        honest, kept, whole = ~world.placement.attackers, self.pay_held(), self.pay_without_rules()
        return {
            kind: 1.0 - compute_share(int(kept[of & honest].sum()), int(whole[of & honest].sum()))
            for kind, of in get_kinds(world.sites).items()
            if whole[of & honest].any()
        }

    def bonds_ucr(self) -> int:
        """What the plot has locked."""
        plot = int(self.town.world.placement.attackers.sum())
        return plot * self.town.ledger.params.bond_ucr

    def find_unpaid(self) -> Flags:
        """Whom the rules never paid anything, though it was there half of the time."""
        there = self.town.world.sites.present.mean(axis=1) >= 0.5
        return np.asarray((self.pay_by_rules() == 0) & there, np.bool_)

    @property
    def audits(self) -> list[Audit]:
        """In order of time."""
        return [self.by_settlement[epoch] for epoch in sorted(self.by_settlement)]


def get_kind(strategy: Strategy) -> str:
    """Presence attacks pretend to be somewhere; others of the radio's side don't."""
    if strategy is HONEST:
        return "baseline"
    return "presence" if strategy.pretends else "radio"


def get_suspects(world: World) -> Flags:
    """Who should be found: liars, or the whole plot where nobody lies about a place."""
    placement = world.placement
    return placement.liars if placement.liars.any() else placement.attackers


def run_town(strategy: Strategy, size: Size, tell: Tell) -> Auditor:
    """A whole run through the ledger, audited before every settlement and at the end."""
    world = make_world(
        strategy, hotspots=size.hotspots, epochs=size.epochs, share=size.share, seed=size.seed
    )
    town = Town(world)
    town.join()
    auditor = Auditor(town)
    town.on_judgement = auditor.take
    for number in range(world.epochs):
        # A settlement falls on the tick that begins its epoch.
        epoch = FIRST_EPOCH + number
        if epoch % SETTLEMENT_EPOCHS == 0 and town.hearings:
            auditor.audit(epoch)
        town.run_epoch(number)
        tell(number + 1)
    auditor.audit(FIRST_EPOCH + world.epochs)
    town.finish()
    return auditor


def run_presence(strategy: Strategy, size: Size, tell: Tell = lambda _: None) -> Measured:
    """One attack that pretends to be somewhere, or nobody's; measured."""
    auditor = run_town(strategy, size, tell)
    placement = auditor.town.world.placement
    plot, suspects = placement.attackers, get_suspects(auditor.town.world)
    kept, pay = auditor.pay_held(), auditor.pay_by_rules()
    whole = int(auditor.pay_without_rules()[~plot].sum())
    return make_measured(
        strategy,
        size,
        auditor,
        leaked_share=compute_share(int(kept[suspects].sum()), int(kept.sum())),
        leaked_share_rules=compute_share(int(pay[suspects].sum()), int(pay.sum())),
        honest_loss=1.0 - compute_share(int(kept[~plot].sum()), whole),
        attacker_return=compute_share(int(kept[plot].sum()), auditor.bonds_ucr()),
        honest_loss_rules=1.0 - compute_share(int(pay[~plot].sum()), whole),
        loss_by_kind=auditor.compute_loss_by_kind(),
    )


def run_radio(strategy: Strategy, size: Size, tell: Tell = lambda _: None) -> Measured:
    """An attack from where the attackers really are, against the same hotspots being honest."""
    auditor, twin = run_town(strategy, size, tell), run_town(TWIN, size, tell)
    plot = auditor.town.world.placement.attackers
    kept, pay = auditor.pay_held(), auditor.pay_by_rules()
    fair = twin.pay_by_rules()
    fair_share = compute_share(int(fair[plot].sum()), int(fair.sum()))
    honest = int(fair[~plot].sum())
    gained = int(kept[plot].sum()) - int(fair[plot].sum())
    return make_measured(
        strategy,
        size,
        auditor,
        leaked_share=max(
            0.0, compute_share(int(kept[plot].sum()), int(kept.sum())) - fair_share
        ),
        leaked_share_rules=max(
            0.0, compute_share(int(pay[plot].sum()), int(pay.sum())) - fair_share
        ),
        honest_loss=1.0 - compute_share(int(kept[~plot].sum()), honest),
        attacker_return=compute_share(gained, auditor.bonds_ucr()),
        honest_loss_rules=1.0 - compute_share(int(pay[~plot].sum()), honest),
    )


TWIN = Strategy("twin", "the plot does nothing", place_truly, report_truly, False)


def make_measured(
    strategy: Strategy,
    size: Size,
    auditor: Auditor,
    *,
    leaked_share: float,
    leaked_share_rules: float,
    honest_loss: float,
    attacker_return: float,
    honest_loss_rules: float,
    loss_by_kind: dict[str, float] | None = None,
) -> Measured:
    """An outcome from its money, with who was found."""
    town, placement = auditor.town, auditor.town.world.placement
    plot, suspects, last = placement.attackers, get_suspects(town.world), auditor.audits[-1]
    unpaid = auditor.find_unpaid()
    outcome = Outcome(
        strategy.name,
        get_kind(strategy),
        strategy.summary,
        size.share if plot.any() else 0.0,
        tpr=compute_rate(last.found | unpaid, suspects) if plot.any() else None,
        fpr=compute_rate(last.found | unpaid, ~plot),
        epochs_to_detect=compute_epochs_to_detect(auditor.audits, suspects, unpaid),
        leaked_share=leaked_share,
        leaked_share_rules=leaked_share_rules,
        honest_loss=honest_loss,
        attacker_return=attacker_return,
        refused=count_verdicts(town.hearings, plot),
        details={
            "honest_loss_rules": honest_loss_rules,
            "honest_loss_by_kind": loss_by_kind or {},
            "accused": compute_rate(last.found, suspects),
            "never_paid": compute_rate(unpaid, suspects),
            "honest_never_paid": compute_rate(unpaid, ~plot),
            "receptions": sum(len(part) for part in town.hearings),
            "attackers": int(plot.sum()),
            "liars": int(placement.liars.sum()),
            "found_by_epoch": [
                [audit.epochs, compute_rate(audit.found, suspects)] for audit in auditor.audits
            ],
        },
    )
    return Measured(outcome, last.combined[~plot], last.combined[suspects])


def run_open(strategy: Strategy, size: Size) -> tuple[World, Hearings, Floats, Flags]:
    """A run without records: world, receptions, combined scores (0 where tests abstain), unpaid.

    The rules never pay whom no trusted hotspot hears and is heard by.
    """
    world = make_world(
        strategy, hotspots=size.hotspots, epochs=size.epochs, share=size.share, seed=size.seed
    )
    hearings = run_hearings(world)
    trust = compute_open_trust_ppm(world, hearings)
    scores = compute_scores(hearings, get_claims(world, trust))
    one, other = get_mutual_pairs(hearings, len(trust))
    unpaid = np.ones(len(trust), np.bool_)
    unpaid[one[trust[other] > 0]] = unpaid[other[trust[one] > 0]] = False
    unpaid &= world.sites.present.mean(axis=1) >= 0.5
    return world, hearings, np.nan_to_num(scores.combined), unpaid


def run_without_ledger(strategy: Strategy, size: Size) -> Measured:
    """Who is found, by auditors alone: no records and no money, for large networks."""
    world, hearings, combined, unpaid = run_open(strategy, size)
    plot, suspects = world.placement.attackers, get_suspects(world)
    accused = combined > THRESHOLD
    found = accused | unpaid
    outcome = Outcome(
        strategy.name,
        get_kind(strategy),
        strategy.summary,
        size.share if plot.any() else 0.0,
        tpr=compute_rate(found, suspects) if plot.any() else None,
        fpr=compute_rate(found, ~plot),
        details={
            "accused": compute_rate(accused, suspects),
            "never_paid": compute_rate(unpaid, suspects),
            "honest_never_paid": compute_rate(unpaid, ~plot),
            "receptions": len(hearings),
            "attackers": int(plot.sum()),
        },
    )
    return Measured(outcome, combined[~plot], combined[suspects])


def pool_network(size: Size) -> Floats:
    """Scores of one honest network, by a seed far from those that people type."""
    one = Size(size.hotspots, size.epochs, 0.0, POOL_SEED + size.seed)
    return run_open(HONEST, one)[2]


POOL_SEED = 1 << 32
