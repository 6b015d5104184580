"""An attack run through the ledger, audited before every settlement, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.rules.payments import Payment
from chain.rules.verdicts import Judgement
from coverage_map.audit.calibrated import THRESHOLD
from coverage_map.audit.scores import compute_scores
from coverage_map.audit.table import Hearings
from radio_sim.attacks.auditors import Auditors
from radio_sim.attacks.books import RulesOff, Unaudited
from radio_sim.attacks.figures import (
    Audit,
    compute_epochs_to_detect,
    compute_rate,
    compute_share,
    compute_wilson,
    count_verdicts,
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


class Run:
    """A town with its auditors and the books beside its ledger."""

    def __init__(self, town: Town) -> None:
        self.town, self.auditors = town, Auditors(town)
        self.auditors.join()
        self.off, self.unaudited = RulesOff(town), Unaudited(town)
        town.on_judgement = self.take

    def take(self, judgement: Judgement) -> None:
        """Keep both books."""
        self.off.take(judgement)
        self.unaudited.take(judgement)

    def look(self, epoch: int) -> None:
        """Audit before the settlement that begins an epoch."""
        self.auditors.look(epoch)

    def pay(self, since: int = 0) -> Ints:
        """Proof-of-coverage pay per hotspot, as the ledger paid it from an epoch on."""
        return sum_pay_ucr(get_since(self.town.payments, since), self.town.count)

    def pay_unaudited(self, since: int = 0) -> Ints:
        """The same had there been no auditors."""
        return sum_pay_ucr(get_since(self.unaudited.payments, since), self.town.count)

    @property
    def lies_since(self) -> int:
        """The epoch from which claims are lies: a settlement after it pays, in part, for them."""
        lies_from = self.town.world.placement.lies_from
        return FIRST_EPOCH + lies_from if lies_from else 0

    def pay_without_rules(self) -> Ints:
        """The same with the rules off and without attackers."""
        return sum_pay_ucr(self.off.payments, self.town.count)

    def escrow(self) -> Ints:
        """What is held of each hotspot at the end, neither paid nor lost yet."""
        held = np.zeros(self.town.count, np.int64)
        for index, hold in self.town.state.holds.items():
            held[index] = hold.pay_ucr
        return held

    def compute_loss_by_kind(self) -> dict[str, float]:
        """What honest hotspots of each kind get less than without rules, or more (below 0)."""
        world = self.town.world
        honest, whole = ~world.placement.attackers, self.pay_without_rules()
        kept = self.pay() + self.escrow()
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
        """Whom the rules never paid for a lie, though it was there half of the time.

        Settlements that paid for epochs before it began to lie don't count.
        """
        since = self.lies_since
        lies = self.pay_unaudited(since + SETTLEMENT_EPOCHS if since else 0)
        there = self.town.world.sites.present.mean(axis=1) >= 0.5
        return np.asarray((lies == 0) & there, np.bool_)

    @property
    def audits(self) -> list[Audit]:
        """In order of time."""
        return self.auditors.audits


def get_since(payments: Iterable[Payment], epoch: int) -> list[Payment]:
    """What was paid from an epoch on."""
    return [payment for payment in payments if payment.epoch >= epoch]


def get_kind(strategy: Strategy) -> str:
    """Presence attacks pretend to be somewhere; others of the radio's side don't."""
    if strategy is HONEST:
        return "baseline"
    return "presence" if strategy.pretends else "radio"


def get_suspects(world: World) -> Flags:
    """Who should be found: liars, or the whole plot where nobody lies about a place."""
    placement = world.placement
    return placement.liars if placement.liars.any() else placement.attackers


def make_town(strategy: Strategy, size: Size) -> Town:
    """A town in which everybody has registered."""
    world = make_world(
        strategy, hotspots=size.hotspots, epochs=size.epochs, share=size.share, seed=size.seed
    )
    town = Town(world)
    town.join()
    return town


def run_town(strategy: Strategy, size: Size, tell: Tell) -> Run:
    """A whole run through the ledger, audited before every settlement and at the end."""
    record = Run(make_town(strategy, size))
    run_epochs(record.town, tell, record.look)
    return record


def run_epochs(town: Town, tell: Tell, look: Tell) -> None:
    """All epochs of a town; `look` is called before every settlement, and at the end."""
    for number in range(town.world.epochs):
        # A settlement falls on the tick that begins its epoch.
        epoch = FIRST_EPOCH + number
        if epoch % SETTLEMENT_EPOCHS == 0:
            look(epoch)
        town.run_epoch(number)
        tell(number + 1)
    look(FIRST_EPOCH + town.world.epochs)
    town.finish()


def run_presence(strategy: Strategy, size: Size, tell: Tell = lambda _: None) -> Measured:
    """One attack that pretends to be somewhere, or nobody's; measured."""
    record = run_town(strategy, size, tell)
    placement = record.town.world.placement
    plot, suspects = placement.attackers, get_suspects(record.town.world)
    pay, alone, escrow = record.pay(), record.pay_unaudited(), record.escrow()
    lying, lying_alone = record.pay(record.lies_since), record.pay_unaudited(record.lies_since)
    whole = int(record.pay_without_rules()[~plot].sum())
    got = int((pay + escrow)[~plot].sum())
    return make_measured(
        strategy,
        size,
        record,
        leaked_share=compute_share(int(lying[suspects].sum()), int(lying.sum())),
        leaked_share_rules=compute_share(int(lying_alone[suspects].sum()), int(lying_alone.sum())),
        honest_loss=1.0 - compute_share(got, whole),
        attacker_return=compute_share(int(pay[plot].sum()), record.bonds_ucr()),
        honest_loss_rules=1.0 - compute_share(int(alone[~plot].sum()), whole),
        more={
            "honest_loss_by_kind": record.compute_loss_by_kind(),
            # What liars got while their claims were still true, too; what is undecided at the end.
            "leaked_share_from_start": compute_share(int(pay[suspects].sum()), int(pay.sum())),
            "pending_share": compute_share(int(escrow[plot].sum()), whole),
            "honest_held_share": compute_share(int(escrow[~plot].sum()), whole),
        },
    )


def run_radio(strategy: Strategy, size: Size, tell: Tell = lambda _: None) -> Measured:
    """An attack from where the attackers really are, against the same hotspots being honest."""
    record, fair = run_town(strategy, size, tell), run_twin(size)
    plot = record.town.world.placement.attackers
    pay, alone = record.pay(), record.pay_unaudited()
    honest = int(fair[~plot].sum())
    fair_share = compute_share(int(fair[plot].sum()), int(fair.sum()))
    got = int((pay + record.escrow())[~plot].sum())

    def compute_leak(paid: Ints) -> float:
        return max(0.0, compute_share(int(paid[plot].sum()), int(paid.sum())) - fair_share)

    return make_measured(
        strategy,
        size,
        record,
        leaked_share=compute_leak(pay),
        leaked_share_rules=compute_leak(alone),
        honest_loss=1.0 - compute_share(got, honest),
        attacker_return=compute_share(int((pay - fair)[plot].sum()), record.bonds_ucr()),
        honest_loss_rules=1.0 - compute_share(int(alone[~plot].sum()), honest),
    )


TWIN = Strategy("twin", "the plot does nothing", place_truly, report_truly, False)


@lru_cache(maxsize=4)
def run_twin(size: Size) -> Ints:
    """What everybody gets where the plot does nothing and nobody audits, the same for all attacks.

    Auditors act on pay by holds alone: a town where they are appointed and keep quiet is the books
    of one where they don't, but for the lots that their records would change.
    """
    town = make_town(TWIN, size)
    Auditors(town).join()
    run_epochs(town, lambda _: None, lambda _: None)
    return sum_pay_ucr(town.payments, town.count)


def make_measured(
    strategy: Strategy,
    size: Size,
    record: Run,
    *,
    leaked_share: float,
    leaked_share_rules: float,
    honest_loss: float,
    attacker_return: float,
    honest_loss_rules: float,
    more: dict[str, Any] | None = None,
) -> Measured:
    """An outcome from its money, with who was found."""
    town, placement = record.town, record.town.world.placement
    plot, suspects, last = placement.attackers, get_suspects(town.world), record.audits[-1]
    unpaid, confirmed = record.find_unpaid(), record.auditors.confirmed
    found = last.found | unpaid | confirmed
    wilson = compute_wilson(int((last.found | confirmed)[~plot].sum()), int((~plot).sum()))
    outcome = Outcome(
        strategy.name,
        get_kind(strategy),
        strategy.summary,
        size.share if plot.any() else 0.0,
        tpr=compute_rate(found, suspects) if plot.any() else None,
        fpr=compute_rate(last.found | confirmed, ~plot),
        epochs_to_detect=compute_epochs_to_detect(record.audits, suspects, unpaid),
        leaked_share=leaked_share,
        leaked_share_rules=leaked_share_rules,
        honest_loss=honest_loss,
        attacker_return=attacker_return,
        refused=count_verdicts(town.hearings, plot),
        details={
            "honest_loss_rules": honest_loss_rules,
            **(more or {}),
            "fpr_interval": list(wilson),
            "accused": compute_rate(last.found, suspects),
            "confirmed": compute_rate(confirmed, suspects),
            "honest_confirmed": compute_rate(confirmed, ~plot),
            "never_paid": compute_rate(unpaid, suspects),
            "honest_never_paid": compute_rate(unpaid, ~plot),
            "held_share": compute_share(int(record.escrow().sum()), int(record.pay().sum())),
            "receptions": sum(len(part) for part in town.hearings),
            "attackers": int(plot.sum()),
            "liars": int(placement.liars.sum()),
            "found_by_epoch": [
                [audit.epochs, compute_rate(audit.found, suspects)] for audit in record.audits
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
    one, other = get_mutual_pairs(get_lying_time(world, hearings), len(trust))
    unpaid = np.ones(len(trust), np.bool_)
    unpaid[one[trust[other] > 0]] = unpaid[other[trust[one] > 0]] = False
    unpaid &= world.sites.present.mean(axis=1) >= 0.5
    return world, hearings, np.nan_to_num(scores.combined), unpaid


def get_lying_time(world: World, hearings: Hearings) -> Hearings:
    """The epochs in which the plot's claims are lies."""
    first = int(np.searchsorted(hearings.epoch, world.placement.lies_from))
    return hearings.take(slice(first, len(hearings)))


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
        fpr=compute_rate(accused, ~plot),
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
