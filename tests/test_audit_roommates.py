"""Roommates: a whole group against one claim, and who of them may be the honest host."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from audit_helpers import move_claims, network
from scipy.stats import norm

from bench.audit_networks import Truth, simulate
from coverage_map.audit import roommates_kernels as kernels
from coverage_map.audit.colocation import compute_colocation
from coverage_map.audit.links import compute_evidence
from coverage_map.audit.network import build_network
from coverage_map.audit.roommates import MATES, MEMBERS, find_rooms
from coverage_map.audit.surroundings import find_surroundings
from coverage_map.audit.table import Claims, Hearings

COUNT, EPOCHS, SEED = 160, 24, 6
LAW = np.array([100.0, 33.0, 8.0, 82.0, 22.0, 4.0, -1.0, -2.5])
NAN = np.nan


def test_a_profile_knows_no_power() -> None:
    """Members of 3, 0 and -3 dB: what is left is how well each witness hears the room."""
    true = np.array([100.0, 110.0, 95.0, 120.0])
    loss = true + np.array([[3.0], [0.0], [-3.0]])
    loss[0, 3] = loss[1, 0] = NAN
    profile, heard = kernels.fit_profile(loss)
    np.testing.assert_allclose(profile, true, atol=0.2)
    np.testing.assert_array_equal(heard, [2, 3, 3, 2])


def near_of(loss: list[float], heard: list[float], ear: float = 0.9) -> np.ndarray:
    """Rows of surroundings 100 m apart in a line, all asked, floor at 130 dB."""
    count = len(loss)
    near = np.zeros((count, 8))
    near[:, 0] = 100.0 * np.arange(1, count + 1)
    near[:, 2], near[:, 3], near[:, 4], near[:, 5] = loss, 130.0, 1.0, ear
    near[:, 6], near[:, 7] = heard, 1.0
    return near


def test_a_room_against_numpy() -> None:
    near = near_of([100.0, 108.0, NAN, NAN, 125.0], [1, 1, 0, 1, 1])
    profile = np.array([101.0, 104.0, 112.0, 118.0, NAN])
    heard, silent = np.array([3, 1, 2, 2, 0]), np.array([0, 1, 0, 0, 2])
    claim = kernels.tell_claim(0.0, 0.0, 2.0, near, LAW)
    told = kernels.tell_room(near, profile, heard, silent, claim, 8.0, 1.0)
    sigma = np.sqrt((4.0 + kernels.MEAN_VAR_DB2) * (1 + 1 / np.maximum(heard, 1)))
    hears = 1 / (1 + np.exp(-1.702 * (129.0 - profile) / sigma))
    density, chance = claim
    last = min(chance[4], 1 / 4)
    rooms = np.array([
        norm.pdf(100.0, 102.0, sigma[0]), norm.pdf(108.0, 105.0, sigma[1]),
        1 - 0.9 * hears[2], hears[3], last / kernels.HEARD_SPAN_DB,
    ])
    claims = np.array([density[0], density[1], 1 - 0.9 * chance[2], chance[3], density[4]])
    gains = np.log((1 - kernels.PLOT) * rooms / claims + kernels.PLOT)
    assert told == pytest.approx(np.minimum(gains, kernels.MOST_NATS).sum(), abs=1e-9)


def test_whom_nobody_of_the_room_was_there_with_says_nothing() -> None:
    near = near_of([100.0, 90.0], [1, 1])
    claim = kernels.tell_claim(0.0, 0.0, 0.0, near, LAW)
    nothing, none = np.array([100.0, NAN]), np.zeros(2, np.int64)
    told = [
        kernels.tell_room(near[:n], nothing[:n], np.array([2, 0])[:n], none[:n],
                          (claim[0][:n], claim[1][:n]), 8.0, 0.0)
        for n in (1, 2)
    ]
    assert told[0] == told[1]


def test_who_is_heard_loudly_where_the_room_is_silent_is_elsewhere() -> None:
    """Near the floor it may be luck; 40 dB above it isn't."""
    for loss, least, most in ((125.0, -2.5, 1.0), (90.0, -4.0, -3.0)):
        near = near_of([loss], [1])
        near[0, 0] = 500.0
        claim = kernels.tell_claim(0.0, 0.0, 0.0, near, LAW)
        told = kernels.tell_room(
            near, np.array([NAN]), np.array([0]), np.array([4]), claim, 8.0, 0.0
        )
        assert least < told < most


def make_net(apart_m: float, owners: list[int]) -> Any:
    count = len(owners)
    positions = np.column_stack([apart_m * np.arange(count), np.zeros(count)])
    claims = SimpleNamespace(owner=np.array(owners))
    return SimpleNamespace(positions_m=positions, blur_m=np.full(count, 92.0), claims=claims)


def test_rooms_are_groups_without_the_hotspot_itself() -> None:
    mates, nats = np.full((5, MATES), -1), np.full((5, MATES), -np.inf)
    for one, other, value in ((0, 1, 5.0), (1, 2, 4.0), (2, 0, 3.0), (3, 1, 2.0), (4, 3, -1.0)):
        mates[one, 0], nats[one, 0] = other, value
    rooms, sizes = find_rooms(make_net(500.0, [0, 1, 2, 3, 4]), mates, nats)
    assert rooms[0, 0, : sizes[0, 0]].tolist() == [1, 2, 3]
    assert rooms[3, 0, : sizes[3, 0]].tolist() == [1, 0, 2]
    assert rooms[4, 0, : sizes[4, 0]].tolist() == [3, 1], "who looks like nobody is no link"
    assert sizes.max() <= MEMBERS
    for own in range(5):
        assert own not in rooms[own, 0, : sizes[own, 0]]
    assert not find_rooms(make_net(100.0, [0, 1, 2, 3, 4]), mates, nats)[1][0].any(), "touching"
    assert not find_rooms(make_net(500.0, [7] * 5), mates, nats)[1].any(), "one owner's"


@pytest.fixture(scope="module")
def town() -> tuple[Truth, Claims]:
    truth, claims = network(COUNT, EPOCHS, SEED)
    return truth, replace(
        claims,
        first_epoch=np.zeros(COUNT, np.uint32),
        resolution=np.maximum(claims.resolution, 10),
    )


def share_room(truth: Truth, keys: np.ndarray, sigma_db: float) -> Truth:
    """Radios of their own beside the first: losses like its own, give or take."""
    loss, rng = truth.loss_db.copy(), np.random.default_rng(2)
    for key in keys[1:]:
        loss[key] = loss[keys[0]] + rng.normal(0.0, sigma_db, len(loss))
        loss[:, key] = loss[key]
    loss[np.ix_(keys, keys)] = 45.0
    np.fill_diagonal(loss, np.inf)
    return replace(truth, loss_db=loss)


def pick(truth: Truth, claims: Claims, among: range, number: int) -> np.ndarray:
    """Good radios of a patch, those with the nearest neighbours first."""
    steady = truth.has_rssi & (truth.keeps > 0.8) & (truth.present.mean(axis=1) > 0.9)
    heard = (truth.loss_db < 115.0).sum(axis=1) * (steady & ~claims.seed)
    inside = np.zeros(COUNT, np.bool_)
    inside[among] = True
    return np.argsort(-np.where(inside, heard, -1), kind="stable")[:number]


def hear(truth: Truth) -> Hearings:
    return simulate(truth, SEED)


def test_the_more_roommates_the_surer(town: tuple[Truth, Claims]) -> None:
    """In a suburb, where half a dozen neighbours hear a room: six tell more than two."""
    truth, claims = town
    keys = pick(truth, claims, range(96, 136), 6)
    found = []
    for group in (keys[:2], keys):
        lies = move_claims(claims, group[1:], SEED, 1_500.0)
        evidence = compute_evidence([hear(share_room(truth, group, 1.5))], lies)
        net = build_network(evidence, lies, np.zeros(COUNT, np.bool_))
        found.append(compute_colocation(net, find_surroundings(net)[0]).nats)
    assert found[0][keys[1]] < 6.0
    assert np.nanmin(found[1][keys[1:]]) > 8.0
    assert (found[1] > 8.0).sum() == len(keys), "nobody else, but who tells the truth of them"


def test_a_room_that_stands_where_its_host_claims_accuses_the_host_of_little() -> None:
    """The law alone decides then: neighbours in a circle hear the room as the claim promises."""
    count = 12
    angle = 2 * np.pi * np.arange(count) / count
    near = near_of([NAN] * count, [1.0] * count)
    apart = np.where(np.arange(count) % 2 == 0, 150.0, 300.0)
    near[:, 0], near[:, 1] = apart * np.cos(angle), apart * np.sin(angle)
    near[:, 2] = LAW[0] + LAW[1] * np.log10(apart / 100.0) + 3.0 * np.cos(5.0 * angle)
    profile, silent = near[:, 2].copy(), np.zeros(count, np.int64)
    heard = np.full(count, 4)
    told = [
        kernels.tell_host(
            near, profile, heard, silent, LAW, 0.0, np.array([x, 0.0]), 92.0, 200.0
        )
        for x in (0.0, 700.0)
    ]
    assert told[0] < 1.5
    assert told[1] > 4.0
    loss = profile + np.zeros((4, 1))
    here, there = (
        kernels.judge_one(near, loss, silent, LAW, 0.0, np.array([x, 0.0]), 92.0, 200.0, 1.0)
        for x in (0.0, 700.0)
    )
    assert here[1] == there[1] == count
    assert here[0] < kernels.HOST_NATS + 1.5
    assert there[0] > 4.0
