"""Receptions into links: the compiled passes against plain Python, block by block or at once."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from audit_helpers import network, rows_of

from bench.audit_networks import simulate
from chain.rules.verdicts import CODES
from coverage_map.audit import links as audit_links
from coverage_map.audit.links import PHYSICAL, Evidence, compute_evidence
from coverage_map.audit.table import (
    NO_RSSI_CDBM,
    Claims,
    Hearings,
    join_hearings,
    make_hearings,
)
from coverage_map.propagation.validity import InvalidInputError


@pytest.fixture(scope="module")
def town() -> tuple[Hearings, Claims]:
    truth, claims = network(40, 12, 3)
    hearings = simulate(truth, 3)
    code = hearings.code.copy()
    for k, reason in enumerate(("late", "wrong_tag", "not_drawn", "rssi_too_low", "same_owner")):
        code[k::11] = CODES[reason]
    return replace(hearings, code=code), claims


def reference(hearings: Hearings, claims: Claims) -> dict[tuple[int, int], dict[str, float]]:
    """The same sums from whole lists, two passes."""
    names = {code: reason for reason, code in CODES.items()}
    groups: dict[tuple[int, int], dict[int, list[tuple[float, float]]]] = defaultdict(dict)
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for row in range(len(hearings)):
        w, b, e = (int(x[row]) for x in (hearings.witness, hearings.beaconer, hearings.epoch))
        if names[int(hearings.code[row])] not in PHYSICAL:
            continue
        if e < claims.first_epoch[w] or e < claims.first_epoch[b]:
            continue
        counts[b, w] += 1
        packets = groups[b, w].setdefault(e, [])
        if hearings.rssi_cdbm[row] != NO_RSSI_CDBM:
            packets.append((hearings.step_cdb[row] / 100, hearings.rssi_cdbm[row] / 100))
    found = {}
    for key, epochs in groups.items():
        packets = [packet for each in epochs.values() for packet in each]
        full = [step + rssi for step, rssi in packets]
        sums = np.zeros(4)
        for each in epochs.values():
            if len(each) > 1:
                p, r = np.array(each).T
                p, r = p - p.mean(), r - r.mean()
                sums += [p @ p, p @ r, r @ r, len(each) - 1]
        found[key] = {
            "count": counts[key],
            "measured": len(full),
            "epochs": len(epochs),
            "full_db": float(np.mean(full)) if full else math.nan,
            "full_var_db2": float(np.var(full, ddof=1)) if len(full) > 1 else math.nan,
            "step_step": sums[0],
            "step_rssi": sums[1],
            "rssi_rssi": sums[2],
            "freedom": sums[3],
            "weakest_db": min((rssi for _, rssi in packets), default=math.nan),
        }
    return found


def test_links_equal_plain_python(town: tuple[Hearings, Claims]) -> None:
    hearings, claims = town
    links = compute_evidence([hearings], claims).links
    expected = reference(hearings, claims)
    keys = list(zip(links.beaconer.tolist(), links.witness.tolist(), strict=True))
    assert keys == sorted(expected)
    for name in next(iter(expected.values())):
        want = np.array([expected[key][name] for key in keys])
        np.testing.assert_allclose(getattr(links, name), want, rtol=1e-9, atol=1e-7, err_msg=name)


def same(one: Evidence, other: Evidence) -> None:
    for name in audit_links.Links.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one.links, name), getattr(other.links, name))
    np.testing.assert_array_equal(one.active, other.active)
    np.testing.assert_array_equal(one.pairs.correlation, other.pairs.correlation)


def test_blocks_of_whole_epochs_change_nothing(town: tuple[Hearings, Claims]) -> None:
    hearings, claims = town
    epochs = [rows_of(hearings, hearings.epoch == e) for e in range(12)]
    same(compute_evidence([hearings], claims), compute_evidence(epochs, claims))


def test_tables_that_grow_change_nothing(
    town: tuple[Hearings, Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    hearings, claims = town
    at_once = compute_evidence([hearings], claims)
    whole = audit_links._Table.__init__
    monkeypatch.setattr(
        audit_links._Table, "__init__", lambda self, columns: whole(self, columns, 64)
    )
    same(at_once, compute_evidence([hearings], claims))


def test_pairs_know_their_correlation() -> None:
    """Two witnesses among eighteen, one beaconer that changes its power as it likes."""
    _, claims = network(20, 2, 1)
    epochs, rng = 400, np.random.default_rng(5)
    common = rng.normal(0.0, 2.0, epochs)
    for mixed, expected in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)):
        other = np.sqrt(mixed) * common + np.sqrt(1.0 - mixed) * rng.normal(0.0, 2.0, epochs)
        one = np.sqrt(mixed) * common + np.sqrt(1.0 - mixed) * rng.normal(0.0, 2.0, epochs)
        power = rng.normal(0.0, 4.0, epochs)
        others = [(w, rng.normal(0.0, 2.0, epochs)) for w in range(3, 19)]
        columns = [
            make_hearings(
                epoch=np.arange(epochs),
                witness=np.full(epochs, w),
                beaconer=np.full(epochs, 2),
                sequence=np.zeros(epochs),
                step_cdb=np.zeros(epochs),
                rssi_cdbm=np.round(100 * (value + power)) - 7_000,
                frequency_mhz=np.full(epochs, 2437),
                code=np.zeros(epochs),
            )
            for w, value in ((0, one), (1, other), *others)
        ]
        both = join_hearings(columns)
        both = rows_of(both, np.argsort(both.epoch, kind="stable"))
        claims_now = replace(claims, first_epoch=np.zeros(20, np.uint32))
        pairs = compute_evidence([both], claims_now, pair_every=1).pairs
        assert (pairs.first[0], pairs.second[0]) == (0, 1)
        assert abs(pairs.correlation[0] - expected) < 0.15
        assert np.abs(pairs.correlation[1:]).max() < 0.3


def test_a_hotspot_that_claims_nothing_is_refused(town: tuple[Hearings, Claims]) -> None:
    hearings, claims = town
    stranger = replace(hearings, witness=hearings.witness + np.uint32(1_000))
    with pytest.raises(InvalidInputError, match="witness"):
        compute_evidence([stranger], claims)


def test_nothing_reported_is_no_evidence() -> None:
    _, claims = network(20, 2, 1)
    evidence = compute_evidence([], claims)
    assert len(evidence.links) == 0
    assert evidence.active.shape == (20, 0)
