"""Attacks through the real ledger: same verdicts as with real signatures, money that adds up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from chain.rules.verdicts import REASONS
from chain.state import is_conserved
from coverage_map.audit.table import Hearings, join_hearings
from radio_sim.attacks.air import Rows, join_rows, make_rows
from radio_sim.attacks.books import RulesOff
from radio_sim.attacks.figures import sum_pay_ucr
from radio_sim.attacks.measure import Measured, Size, run_presence, run_radio
from radio_sim.attacks.presence import HONEST, STRATEGIES, Strategy, place_truly
from radio_sim.attacks.run import make_world, run_hearings
from radio_sim.attacks.signing import Signer
from radio_sim.attacks.town import FIRST_EPOCH, SETTLEMENT_EPOCHS, Town

SMALL = Size(40, 22, 0.2, 2)


def run_town(name: str, signer: Signer, size: Size = SMALL) -> Town:
    strategy = STRATEGIES.get(name, HONEST)
    share = 0.0 if strategy is HONEST else size.share
    world = make_world(
        strategy, hotspots=size.hotspots, epochs=size.epochs, share=share, seed=size.seed
    )
    town = Town(world, signer)
    town.run()
    return town


def reasons_of(hearings: Hearings, kept: np.ndarray | None = None) -> Counter[str]:
    codes = hearings.code if kept is None else hearings.code[kept]
    return Counter(REASONS[int(code)] for code in codes)


@pytest.fixture(scope="module")
def honest() -> Town:
    return run_town("honest", Signer())


def test_stand_in_signatures_change_nothing_but_speed() -> None:
    size = Size(30, 6, 0.2, 2)
    fast, real = (run_town("witness-ring", Signer(real=r), size) for r in (False, True))
    one, other = join_hearings(fast.hearings), join_hearings(real.hearings)
    # Lots and steps follow the network's id, which holds keys: the plot's reports don't.
    assert set(reasons_of(one)) >= {"counted", "not_mutual"}
    assert abs(len(one) - len(other)) < 0.05 * len(one)
    assert reasons_of(other)["wrong_tag"] == reasons_of(one)["wrong_tag"] == 0


def test_no_credit_is_lost_or_made(honest: Town) -> None:
    assert is_conserved(honest.state)
    assert honest.state.settlement >= 1
    assert sum_pay_ucr(honest.payments, honest.count).sum() > 0


def test_honest_receptions_are_refused_for_nothing_that_liars_are(honest: Town) -> None:
    refused = set(reasons_of(join_hearings(honest.hearings)))
    assert refused <= {
        "counted", "not_mutual", "not_drawn", "untrusted_witness", "no_reveal", "no_commit",
        "too_close",
    }


def test_the_ledger_shows_auditors_what_was_heard(honest: Town) -> None:
    hearings = join_hearings(honest.hearings)
    world = honest.world
    open_run = run_hearings(world)
    last = int(hearings.epoch.max()) - FIRST_EPOCH
    # What was heard in an epoch is on the ledger if its witness was still there to report it.
    there = world.sites.present
    delivered = there[open_run.witness, np.minimum(open_run.epoch + 1, world.epochs - 1)]
    delivered &= open_run.epoch <= last
    assert len(hearings) == pytest.approx(np.count_nonzero(delivered), rel=0.02)
    assert set(np.unique(hearings.step_cdb)) <= {0, 300, 600, 900}


def test_the_rules_cost_honest_hotspots_next_to_nothing() -> None:
    measured = run_presence(HONEST, Size(90, 42, 0.0, 4))
    assert measured.outcome.tpr is None
    loss = measured.outcome.honest_loss
    assert loss is not None
    assert -0.01 < loss < 0.02


def test_rules_off_pays_nobody_in_the_plot() -> None:
    world = make_world(
        STRATEGIES["gps-spoof"], hotspots=40, epochs=20, share=0.2, seed=2
    )
    town = Town(world)
    town.join()
    books = RulesOff(town)
    town.on_judgement = books.take
    for number in range(world.epochs):
        town.run_epoch(number)
    town.finish()
    pay = sum_pay_ucr(books.payments, town.count)
    assert pay[world.placement.attackers].sum() == 0
    assert pay[~world.placement.attackers].sum() > 0
    assert is_conserved(books.state)


def test_an_emulated_town_is_never_paid() -> None:
    measured = run_presence(STRATEGIES["emulator"], Size(60, 22, 0.2, 2))
    assert measured.outcome.leaked_share_rules == 0
    assert measured.outcome.tpr == 1.0
    assert measured.outcome.epochs_to_detect == 0
    assert measured.outcome.refused.get("counted", 0) == 0


def test_a_tag_that_nobody_in_the_plot_can_know_is_refused() -> None:
    def report(scene: object, rows: Rows) -> Rows:
        """Attackers claim beacons of whom none of them heard, in another patch."""
        witness = np.array([int(rows.witness[0])]) if len(rows) else np.empty(0, np.int64)
        far = np.full(len(witness), 39)
        zeros = np.zeros(len(witness), np.int64)
        return join_rows([rows, make_rows(witness, far, zeros, np.full(len(witness), -80.0))])

    strategy = Strategy("liar", "", place_truly, report, False)
    world = make_world(strategy, hotspots=40, epochs=8, share=0.05, seed=2)
    world.placement.attackers[39] = False
    town = Town(world)
    town.run()
    hearings = join_hearings(town.hearings)
    about = (hearings.beaconer == 39) & world.placement.attackers[hearings.witness]
    assert about.any()
    assert set(reasons_of(hearings, about)) <= {"wrong_tag", "too_far", "no_reveal"}


def test_a_plot_that_hides_its_reports_gains_nothing() -> None:
    measured = run_radio(STRATEGIES["withheld-witnessing"], Size(60, 42, 0.1, 2))
    assert measured.outcome.attacker_return is not None
    assert measured.outcome.attacker_return < 0
    assert measured.outcome.refused == {}


def test_a_run_is_its_seed() -> None:
    one, same = (run_presence(STRATEGIES["sybil"], Size(30, 21, 0.2, 5)) for _ in range(2))
    assert one.outcome == same.outcome
    assert np.array_equal(one.honest, same.honest)
    assert isinstance(one, Measured)


def test_settlements_fall_where_audits_are_made() -> None:
    measured = run_presence(STRATEGIES["static-fake"], Size(40, 44, 0.2, 2))
    epochs = [epoch for epoch, _ in measured.outcome.details["found_by_epoch"]]
    assert epochs == [SETTLEMENT_EPOCHS - 2, 2 * SETTLEMENT_EPOCHS - 2, 44]
