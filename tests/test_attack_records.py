"""Attacks on records, money and chance: all refused by their reason, all below zero, all fair."""

from __future__ import annotations

import json

import pytest
from chain_helpers import ground_truth

from radio_sim.attacks import lots, money
from radio_sim.attacks.bookkeeping import (
    RECORDS,
    RecordAttack,
    count_reasons,
    get_town,
    measure_records,
    resign,
)
from radio_sim.attacks.outcome import Outcome


@pytest.mark.parametrize("attack", RECORDS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_attack_on_records_is_refused_by_its_reason(attack: RecordAttack, seed: int) -> None:
    outcome = measure_records(attack, seed)
    assert outcome.refused_share == 1.0, outcome.refused
    assert outcome.leaked_share == 0.0
    assert outcome.attacker_return is not None
    assert outcome.attacker_return <= 0.0
    assert sum(outcome.refused.values()) > 0


@pytest.mark.parametrize("name", ["key-clone", "double-claim", "inflated-one-sided"])
def test_proven_fraud_costs_the_whole_bond(name: str) -> None:
    attack = next(attack for attack in RECORDS if attack.name == name)
    outcome = measure_records(attack, 1)
    assert outcome.refused["slashed"] >= 1
    assert outcome.attacker_return == -1.0


def test_what_is_taken_shows() -> None:
    """The measure itself can fail: an honest record counts as an attack that got through."""
    town = get_town(1)
    town.go_to(town.epoch + 1)
    town.hear(town.epoch)
    assert count_reasons(town.submit(town.message(0, town.epoch))) == {"taken": 1}


def test_paying_oneself_loses_at_any_size_of_the_ring() -> None:
    for outcome in (money.wash(0), money.ring(0), money.inflate_together(0)):
        assert outcome.attacker_return is not None
        assert outcome.attacker_return <= -0.05 + 1e-9, outcome.name
        assert max(outcome.details["returns"].values()) == outcome.attacker_return


def test_lots_know_nothing_of_latency_and_processors() -> None:
    outcome = lots.race(1)
    assert outcome.details["witnesses"] >= 10_000
    assert abs(outcome.details["rho_latency"]) < 0.02
    assert abs(outcome.details["rho_cpu"]) < 0.02


def test_luck_of_ground_keys_does_not_last() -> None:
    outcome = lots.grind(1)
    assert outcome.details["luck_before"] > 1.3
    deviation = outcome.details["deviation"]
    assert abs(outcome.details["won"] - outcome.details["fair"]) < 4 * deviation


@pytest.fixture(scope="module")
def revised() -> list[Outcome]:
    return [lots.revise(seed) for seed in (1, 2, 3)]


def test_withholding_one_of_thirty_secrets_buys_little_of_the_mix(revised: list[Outcome]) -> None:
    alone = [outcome.details["alone"] for outcome in revised]
    assert all(0.0 <= gain < 0.15 for gain in alone)
    assert sum(alone) / len(alone) > 0.02  # the measure sees the bias where there is one


def test_cosigners_outputs_leave_the_last_revealer_nothing_to_choose(
    revised: list[Outcome],
) -> None:
    returns = [outcome.attacker_return or 0.0 for outcome in revised]
    assert sum(returns) / len(returns) < 0.02


def test_no_signature_of_the_cctv_vectors_carries_a_message() -> None:
    cases = json.loads(ground_truth("chain", "cctv", "ed25519vectors.json").read_text())
    town = get_town(1)
    town.go_to(town.epoch + 1)
    town.hear(town.epoch)
    message = town.message(0, town.epoch)
    wires = [resign(message, bytes.fromhex(case["sig"])) for case in cases]
    answers = count_reasons(town.submit(*wires))
    assert answers == {"bad_signature": len(cases)}
    assert count_reasons(town.submit(message)) == {"taken": 1}
