"""Two stories of the same numbers: heard by those who can, or by those who are asked to say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import network, rows_of

from bench.audit_networks import Truth, simulate
from coverage_map.audit.carried import compute_carried
from coverage_map.audit.links import compute_evidence, get_window_ends
from coverage_map.audit.network import Network, build_network
from coverage_map.audit.surroundings import find_surroundings
from coverage_map.audit.table import Claims, Hearings, join_hearings
from coverage_map.audit.vouched import compute_vouched

COUNT, EPOCHS, SEED = 160, 80, 6
CITY = 96
HALF = EPOCHS // 2


@pytest.fixture(scope="module")
def town() -> tuple[Truth, Claims, Hearings]:
    truth, claims = network(COUNT, EPOCHS, SEED)
    truth = replace(truth, carried_db=np.zeros_like(truth.carried_db))
    claims = replace(claims, first_epoch=np.zeros(COUNT, np.uint32))
    return truth, claims, simulate(truth, SEED)


def pick(truth: Truth) -> int:
    """Somebody in the city whom many hear, always there, with a good driver."""
    steady = truth.has_rssi & (truth.keeps > 0.8) & (truth.present.mean(axis=1) > 0.9)
    heard = (truth.loss_db < 110.0).sum(axis=1) * steady
    heard[CITY:] = 0
    return int(np.argmax(heard))


def lay_out(hearings: Hearings, claims: Claims) -> Network:
    return build_network(compute_evidence([hearings], claims), claims, np.zeros(COUNT, np.bool_))


def vouch(hearings: Hearings, claims: Claims, hotspot: int) -> float:
    network_ = lay_out(hearings, claims)
    return float(compute_vouched(network_, find_surroundings(network_)[0]).nats[hotspot])


def carry(hearings: Hearings, claims: Claims) -> np.ndarray:
    network_ = lay_out(hearings, claims)
    return compute_carried(network_, find_surroundings(network_)).nats


def hearers_of(hearings: Hearings, hotspot: int) -> np.ndarray:
    return np.unique(hearings.witness[hearings.beaconer == hotspot]).astype(np.int64)


def moved(truth: Truth, hotspot: int, to: int) -> Hearings:
    """Half of the time where it says, then where another hotspot stands, heard as that one is."""
    loss = truth.loss_db.copy()
    loss[hotspot], loss[:, hotspot] = truth.loss_db[to], truth.loss_db[:, to]
    loss[hotspot, to] = loss[to, hotspot] = 60.0
    before, after = truth.present.copy(), truth.present.copy()
    before[:, HALF:], after[:, :HALF] = False, False
    parts = replace(truth, present=before), replace(truth, present=after, loss_db=loss)
    return join_hearings([simulate(part, SEED + i) for i, part in enumerate(parts)])


def test_few_who_hear_it_well_among_many_who_hear_nothing(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    """The same hotspot, honest and with two accomplices at the strengths of its true place."""
    truth, claims, hearings = town
    absent = pick(truth)
    hearers = hearers_of(hearings, absent)
    friends = hearers[np.argsort(truth.loss_db[absent, hearers])[:2]]
    told = (hearings.beaconer != absent) | np.isin(hearings.witness, friends)
    assert vouch(hearings, claims, absent) < -5.0
    assert vouch(rows_of(hearings, told), claims, absent) > 3.0


def test_a_cellar_is_heard_faintly_by_who_stands_best(town: tuple[Truth, Claims, Hearings]) -> None:
    """12 dB of walls on all paths leave half of the hearers, and accuse nobody."""
    truth, claims, hearings = town
    cellar = pick(truth)
    sent = truth.sent_offset_db.copy()
    sent[cellar] -= 12.0
    muffled = simulate(replace(truth, sent_offset_db=sent), SEED)
    before, after = hearers_of(hearings, cellar), hearers_of(muffled, cellar)
    assert 0 < len(after) < 0.6 * len(before)
    assert vouch(muffled, claims, cellar) < 1.0


def test_an_invented_half_of_a_neighbourhood_is_beyond_it(
    town: tuple[Truth, Claims, Hearings],
) -> None:
    """What the page says that it doesn't catch: most of those around tell the same lie."""
    truth, claims, hearings = town
    absent = pick(truth)
    hearers = hearers_of(hearings, absent)
    friends = hearers[np.arange(len(hearers)) % 4 != 0]
    told = (hearings.beaconer != absent) | np.isin(hearings.witness, friends)
    assert vouch(rows_of(hearings, told), claims, absent) < 1.5


def test_who_is_carried_away_has_other_hearers(town: tuple[Truth, Claims, Hearings]) -> None:
    truth, claims, hearings = town
    mover = pick(truth)
    far = np.hypot(*(truth.positions_m[:CITY] - truth.positions_m[mover]).T)
    to = int(np.argmax(far))
    assert carry(hearings, claims)[mover] < -5.0
    nats = carry(moved(truth, mover, to), claims)
    assert nats[mover] > 10.0
    rest = np.delete(nats, [mover, to])
    assert np.nanmax(rest) < 4.0


def test_a_broken_antenna_is_no_move(town: tuple[Truth, Claims, Hearings]) -> None:
    """All paths lose 15 dB more from half-time on."""
    truth, claims, _ = town
    broken = pick(truth)
    weaker = np.zeros_like(truth.carried_db)
    weaker[broken], weaker[:, broken] = 15.0, 15.0
    assert carry(simulate(replace(truth, carried_db=weaker), SEED), claims)[broken] < 0.0


def test_silence_says_nothing_of_a_move_if_it_is_off(town: tuple[Truth, Claims, Hearings]) -> None:
    truth, claims, _ = town
    absent = pick(truth)
    there = truth.present.copy()
    there[absent, HALF - 5 :] = False
    nats = carry(simulate(replace(truth, present=there), SEED), claims)[absent]
    assert np.isnan(nats) or nats < 0.0


@pytest.mark.parametrize(
    ("ends", "windows"),
    [
        ([0, 18], []),
        ([0, 20, 36], [(20, 36)]),
        ([0, 20, 40, 56], [(0, 40), (20, 56), (40, 56)]),
    ],
)
def test_windows_overlap_and_the_newest_stride_stands_alone(
    ends: list[int], windows: list[tuple[int, int]]
) -> None:
    assert get_window_ends(ends) == windows
