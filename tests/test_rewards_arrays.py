"""Settlements over arrays pay to the unit, and in the order, what the rule pays cell by cell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.economics.drawn import cell_of, get_drawn_state, key_of, process_drawn_hotspot
from chain.geo import cell_parent, cell_parents
from chain.params import PRESETS
from chain.rules import rewards
from chain.rules.outcome import Effects
from chain.rules.payday_arrays import (
    MAX_TOTAL_BITS,
    ArrayPayday,
    compute_shares,
    fits_arrays,
    sort_within,
)
from chain.rules.rewards import process_settlement
from chain.rules.split import compute_split
from chain.state import BountyCell, Mapping, State, is_conserved
from chain.state_root import compute_state_root

np = pytest.importorskip("numpy")
HOTSPOTS, CELLS = 8, 4
hotspots = st.integers(0, HOTSPOTS - 1)
cells = st.integers(0, CELLS - 1)
amounts = st.integers(1, 3_000_000_000)
qualities = st.one_of(st.integers(0, 3), st.integers(1, 368_640))


@st.composite
def states(draw: st.DrawFn, last_lapse: int = 0) -> State:
    """A small network before a settlement: seeds, links, work, pools, bounties, mappings.

    Some of these wait for somebody who agrees, until settlement `last_lapse` at most.
    """
    seeds = draw(st.sets(hotspots, min_size=1, max_size=3))
    state = get_drawn_state(PRESETS["mainnet"], seeds)
    for index in range(HOTSPOTS):
        owner = key_of("owner", draw(st.integers(0, 3)))
        process_drawn_hotspot(state, cell_of(draw(cells)), owner)
        state.hotspots[index].trust = 0
    pairs = st.tuples(hotspots, hotspots).filter(lambda pair: pair[0] < pair[1])
    state.links = draw(st.dictionaries(pairs, st.integers(1, 144), max_size=12))
    places = st.tuples(cells.map(cell_of), hotspots)
    state.quality = draw(st.dictionaries(places, qualities, max_size=20))
    state.measured = draw(st.dictionaries(places, st.integers(1, 3_000), max_size=12))
    sources = st.integers(0, 5).map(lambda number: key_of("owner", number))
    state.pools = draw(st.dictionaries(st.tuples(cells.map(cell_of), sources), amounts, max_size=5))
    for number, (cell, source, amount) in enumerate(
        draw(st.lists(st.tuples(cells.map(cell_of), sources, amounts), max_size=3))
    ):
        state.bounties[cell, number] = BountyCell(source, amount, amount // 2 + 1, 10_000)
    mappings = st.tuples(cells, hotspots, st.integers(0, last_lapse), amounts)
    for number, (cell, heard, lapse, held) in enumerate(draw(st.lists(mappings, max_size=3))):
        part = cell_of(7 * cell + number, 9)
        mapping = Mapping(heard.to_bytes(4, "big"), held if lapse else 0, lapse)
        state.mappings[part, 9, key_of("mapper", number)] = mapping
        state.supply.deposited += mapping.held_ucr
    state.supply.deposited += sum(state.pools.values())
    state.supply.deposited += sum(bounty.left_ucr for bounty in state.bounties.values())
    return state


def settle(state: State, arrays_from: int) -> tuple[State, Effects]:
    state, effects = state.copy(), Effects()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewards, "ARRAYS_FROM", arrays_from)
        process_settlement(state, effects)
    return state, effects


@given(states(last_lapse=2))
@settings(max_examples=250, deadline=None)
def test_both_ways_lead_to_the_same_state_and_the_same_payments(state: State) -> None:
    assert fits_arrays(state)
    plain, arrays = settle(state, 1 << 60), settle(state, 0)
    assert plain[1].payments == arrays[1].payments
    assert plain[0].stats == arrays[0].stats
    assert plain[0].supply == arrays[0].supply
    assert compute_state_root(plain[0]) == compute_state_root(arrays[0])
    assert is_conserved(arrays[0])
    kinds = {type(value) for payment in arrays[1].payments for value in payment}
    assert kinds <= {int, str, bytes}


@given(
    st.lists(
        st.tuples(
            st.integers(0, (1 << 62) - 1),
            st.lists(st.integers(1, (1 << MAX_TOTAL_BITS) // 5 - 1), min_size=1, max_size=5),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=300, deadline=None)
def test_shares_by_digits_are_those_of_the_split_up_to_the_largest_numbers(
    jobs: list[tuple[int, list[int]]],
) -> None:
    job = np.array([k for k, (_, weights) in enumerate(jobs) for _ in weights], np.int64)
    weights = np.array([w for _, listed in jobs for w in listed], np.int64)
    given_amounts = np.array([amount for amount, _ in jobs], np.int64)
    shares, dust_ucr = compute_shares(np, job, given_amounts, weights)
    expected = [compute_split(amount, listed) for amount, listed in jobs]
    assert shares.tolist() == [share for split in expected for share in split.shares]
    assert dust_ucr == sum(split.dust_ucr for split in expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": {(cell_of(0), 0): 1 << 40}},
        {"measured": {(cell_of(0), 0): 1 << MAX_TOTAL_BITS}},
        {"pools": {(cell_of(0), bytes(32)): 1 << 62}},
        {"params": replace(PRESETS["mainnet"], overlap_permille=(1_000, 500))},
    ],
)
def test_numbers_that_could_overflow_take_the_long_way(changes: dict[str, Any]) -> None:
    state = get_drawn_state(PRESETS["mainnet"], [])
    assert fits_arrays(state)
    for name, value in changes.items():
        setattr(state, name, value)
    assert not fits_arrays(state)


@pytest.mark.parametrize("top", [5, 1 << 40, 1 << 60])
def test_one_sort_and_a_mend_rank_as_three(top: int) -> None:
    random = np.random.default_rng(1)
    group, value, tie = (random.integers(0, high, 999) for high in (9, top, 7))
    group, value[::3] = group * (top // 5), value[0] ^ (np.arange(333) & 1)
    order = sort_within(np, group, value, tie)
    rows = list(zip(group.tolist(), value.tolist(), tie.tolist(), strict=True))
    assert [rows[k] for k in order.tolist()] == sorted(rows)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, (1 << 52) - 1))), st.integers(0, 15))
def test_parents_of_many_cells_are_those_of_each(drawn: list[tuple[int, int]], to: int) -> None:
    given_cells = [1 << 59 | resolution << 52 | digits for resolution, digits in drawn]
    parents = cell_parents(np, np.array(given_cells, np.int64), to)
    assert parents.tolist() == [cell_parent(cell, to) for cell in given_cells]


def test_a_network_without_any_work_pays_nothing() -> None:
    state = get_drawn_state(PRESETS["mainnet"], [0])
    assert ArrayPayday(state).get_covered() == {}
    assert not settle(state, 0)[1].payments
