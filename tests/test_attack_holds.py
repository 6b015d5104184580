"""The laboratory's auditors on its ledger: findings hold pay, re-runs confirm."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from chain.rules.payments import NOBODY
from chain.state import is_conserved
from radio_sim.attacks.figures import compute_wilson, sum_pay_ucr
from radio_sim.attacks.measure import Run, Size, run_town
from radio_sim.attacks.presence import STRATEGIES
from radio_sim.attacks.town import FIRST_EPOCH, HOLD_APPEAL_EPOCHS, SETTLEMENT_EPOCHS

SIZE = Size(60, 104, 0.2, 3)


@pytest.fixture(scope="module")
def run() -> Run:
    return run_town(STRATEGIES["static-fake"], SIZE, lambda _: None)


def test_who_is_accused_is_held_and_gets_nothing_meanwhile(run: Run) -> None:
    town = run.town
    kept = Counter(p.hotspot for p in town.payments if p.account == NOBODY and p.kind != "forfeit")
    held = {index for index in range(town.count) if index in kept}
    liars = set(np.flatnonzero(town.world.placement.liars).tolist())
    assert held
    assert len(held & liars) > 0.8 * len(held)
    assert is_conserved(town.state)


def test_nothing_is_confirmed_before_the_owner_could_appeal(run: Run) -> None:
    forfeits = [p for p in run.town.payments if p.kind == "forfeit"]
    assert forfeits
    first = FIRST_EPOCH + SETTLEMENT_EPOCHS - 3 + HOLD_APPEAL_EPOCHS
    assert min(p.epoch for p in forfeits) >= first
    liars = run.town.world.placement.liars
    assert liars[[p.hotspot for p in forfeits]].all()
    assert run.auditors.confirmed[liars].any()
    assert not run.auditors.confirmed[~run.town.world.placement.attackers].any()


def test_what_is_held_is_neither_paid_nor_lost(run: Run) -> None:
    town, pay = run.town, run.pay()
    for index, hold in town.state.holds.items():
        lines = [p for p in town.payments if p.hotspot == index and p.account == NOBODY]
        kept = [p for p in lines if p.kind != "forfeit"]
        since = [p.amount_ucr for p in kept if p.epoch >= hold.opened_epoch]
        assert hold.pay_ucr == sum(since)
    assert run.escrow().sum() == town.state.stats.get("held_ucr", 0) - sum(
        p.amount_ucr for p in town.payments if p.kind in ("release", "forfeit")
    )
    assert pay.sum() == sum_pay_ucr(town.payments, town.count).sum()


def test_who_is_confirmed_is_held_again_at_once(run: Run) -> None:
    """Or what it forfeited, back in its cells' pools, would be shared by its accomplices."""
    always = run.auditors.confirmed.copy()
    for audit in run.audits:
        always &= audit.found
    assert always.any()
    assert run.pay()[always].sum() == 0
    assert run.pay_unaudited()[always].sum() > 0


def test_auditors_leave_liars_less_than_the_rules_alone(run: Run) -> None:
    liars = run.town.world.placement.liars
    with_them, alone = run.pay(), run.pay_unaudited()
    assert with_them[liars].sum() / with_them.sum() < 0.7 * alone[liars].sum() / alone.sum()


def test_the_interval_of_a_share() -> None:
    """Wilson's, as Brown, Cai and DasGupta (2001) print it for 0 and 1 of 10."""
    assert compute_wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert compute_wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert compute_wilson(0, 0) == (0.0, 1.0)
    low, high = compute_wilson(5_000, 10_000)
    assert low + high == pytest.approx(1.0)
