from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_helpers import drawn_problem

from coverage_map.planning.placement import (
    Search,
    linear_bound,
    make_problem,
    place,
    place_exactly,
    place_greedily,
    upper_bound,
)


@pytest.mark.parametrize("seed", range(6))
def test_small_problems_are_solved_as_well_as_by_trying_all(seed: int) -> None:
    problem = drawn_problem(14, 150, seed)
    best = max(problem.value(c) for c in itertools.combinations(range(14), 4))
    found = place(problem, 4)
    assert found.covered == pytest.approx(best)
    assert found.bound >= best
    assert problem.value(found.chosen) == pytest.approx(found.covered)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_solver_agrees_and_the_bounds_are_in_order(seed: int) -> None:
    problem = drawn_problem(40, 500, seed)
    found, proven = place(problem, 6), place_exactly(problem, 6)
    linear = linear_bound(problem, 6)
    assert found.covered >= 0.995 * proven.covered
    assert proven.covered <= linear + 1e-6
    bound, price = upper_bound(problem, 6, found.covered)
    assert linear - 1e-6 <= bound <= 1.01 * linear
    # Anybody can check the prices: no choice covers more than this sum.
    sums = [price[problem.covered_by(j)].sum() for j in range(problem.candidates)]
    coverable = problem.weight[np.diff(problem.back) > 0].sum() - price.sum()
    assert coverable + np.sort(sums)[-6:].sum() == pytest.approx(bound, rel=1e-9)


@given(st.integers(0, 10_000), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_never_worse_than_greedy_nor_better_than_the_bound(seed: int, size: int) -> None:
    problem = drawn_problem(20, 200, seed)
    found = place(problem, size, rounds=5)
    assert found.covered >= place_greedily(problem, size).covered - 1e-9
    assert found.covered <= found.bound + 1e-9
    assert np.all(np.diff(found.gains) <= 1e-9)
    assert found.gains.sum() == pytest.approx(found.covered)
    assert len(set(found.chosen.tolist())) == len(found.chosen)


def test_a_seed_gives_one_answer() -> None:
    problem = drawn_problem(60, 800)
    one, other = place(problem, 7, seed=3), place(problem, 7, seed=3)
    assert one.chosen.tolist() == other.chosen.tolist()
    assert one.bound == other.bound


def test_gains_and_holders_stay_exact_through_swaps() -> None:
    problem = drawn_problem(50, 600)
    search = Search(problem, 8)
    for turn in range(6):
        search.improve()
        search.drop(5, turn)
    held = np.zeros(len(problem.weight), np.int64)
    for candidate in search.chosen[search.chosen >= 0]:
        held[problem.covered_by(int(candidate))] += 1
    assert search.held.tolist() == held.tolist()
    fresh = [problem.weight[(c := problem.covered_by(j))][held[c] == 0].sum() for j in range(50)]
    assert search.gain == pytest.approx(fresh, abs=1e-6)


def test_sites_that_add_nothing_are_not_chosen() -> None:
    problem = make_problem([[0, 1], [1], [0, 1], [2]], [1.0, 1.0, 3.0])
    found = place(problem, 4)
    assert sorted(found.gains.tolist()) == [2.0, 3.0]
    assert found.share == pytest.approx(1.0)


def test_cells_without_weight_and_empty_candidates_do_no_harm() -> None:
    problem = make_problem([[], [0], []], [0.0, 5.0])
    found = place(problem, 1)
    assert found.covered == 0.0
    assert found.chosen.tolist() == []


@pytest.mark.parametrize(
    ("covered", "weight", "said"),
    [([], [1.0], "candidates: "), ([[0]], [-1.0], "weight: "), ([[3]], [1.0], "covered: ")],
)
def test_impossible_problems_name_the_input(
    covered: list[list[int]], weight: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=f"^{said}.*; "):
        make_problem(covered, weight)
    with pytest.raises(ValueError, match=r"^sites: .*; "):
        place(make_problem([[0]], [1.0]), 2)
