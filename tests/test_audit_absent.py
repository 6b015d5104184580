"""Who isn't where it claims, and says that it hears everybody there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import network, rows_of

from bench.audit_networks import Truth, simulate
from coverage_map.audit.network import build_network
from coverage_map.audit.scores import TESTS, Scores, compute_scores
from coverage_map.audit.surroundings import compute_ears, find_surroundings
from coverage_map.audit.table import Claims, Hearings

COUNT, EPOCHS, SEED = 160, 24, 6


@pytest.fixture(scope="module")
def town() -> tuple[Truth, Claims, Hearings]:
    truth, claims = network(COUNT, EPOCHS, SEED)
    claims = replace(claims, first_epoch=np.zeros(COUNT, np.uint32))
    return truth, claims, simulate(truth, SEED)


def pick(truth: Truth) -> int:
    """Somebody in the city who hears many others, always there, with a good driver."""
    steady = truth.has_rssi & (truth.keeps > 0.8) & (truth.present.mean(axis=1) > 0.9)
    heard = (truth.loss_db < 110.0).sum(axis=1) * steady
    heard[96:] = 0
    return int(np.argmax(heard))


def silence(hearings: Hearings, absent: int, accomplices: np.ndarray) -> Hearings:
    """Nobody hears the absent but accomplices; what it reports stays."""
    true = (hearings.beaconer != absent) | np.isin(hearings.witness, accomplices)
    return rows_of(hearings, true)


def surprise(scores: Scores, test: str, hotspot: int) -> float:
    return float(scores.surprise[hotspot, TESTS.index(test)])


def test_saying_that_one_hears_everybody_is_not_being_heard(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    """Perfect reports, as if it stood there: only what others say of it gives it away."""
    truth, claims, hearings = town
    absent = pick(truth)
    hearers = np.unique(rows_of(hearings, hearings.beaconer == absent).witness)
    # Accomplices are anywhere. The two nearest hotspots may hear a radio with a broken antenna.
    order = np.argsort(truth.loss_db[absent, hearers])
    friends = hearers[order[len(order) // 2 :][:2]]
    scores = compute_scores(silence(hearings, absent, friends), claims)
    assert surprise(scores, "one_way", absent) > 10.0
    assert surprise(scores, "opportunity", absent) > 4.0
    assert scores.combined[absent] > scores.threshold
    rest = np.delete(scores.combined, absent)
    assert np.count_nonzero(rest > scores.threshold) <= 1


def test_a_radio_that_nobody_hears_may_be_broken(town: tuple[Truth, Claims, Hearings]) -> None:
    """The test of two directions abstains: nobody pays for it either."""
    truth, claims, hearings = town
    absent = pick(truth)
    scores = compute_scores(silence(hearings, absent, np.empty(0, np.int64)), claims)
    assert np.isnan(surprise(scores, "one_way", absent))


def test_a_witness_that_keeps_quiet_accuses_nobody(town: tuple[Truth, Claims, Hearings]) -> None:
    _, claims, hearings = town
    quiet = np.arange(1, 96, 4)  # no seeds of trust among them
    kept = rows_of(hearings, ~np.isin(hearings.witness, quiet))
    scores = compute_scores(kept, claims)
    assert np.count_nonzero(scores.combined[:96] > scores.threshold) <= 1
    network_ = build_network(scores.network.evidence, claims, np.zeros(COUNT, np.bool_))
    ears = compute_ears(network_, find_surroundings(network_)[0])
    loud = np.setdiff1d(np.arange(96), quiet)
    # With few neighbours to judge by, an ear stays near what is usual.
    assert ears[quiet].min() < 0.4
    assert np.median(ears[quiet]) < np.median(ears[loud]) - 0.2
    assert np.median(ears[loud]) > 0.8


def test_a_weak_sender_is_not_an_absent_one(town: tuple[Truth, Claims, Hearings]) -> None:
    """10 dB less on the air than claimed, a bad cable: neighbours hear it, fewer and weaker."""
    truth, claims, _ = town
    weak = pick(truth)
    sent = truth.sent_offset_db.copy()
    sent[weak] -= 10.0
    scores = compute_scores(simulate(replace(truth, sent_offset_db=sent), SEED), claims)
    assert not surprise(scores, "one_way", weak) > 7.0
