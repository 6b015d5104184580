"""Trust over arrays gives the very integers of the rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.params import PRESETS
from chain.rules import trust as rule
from chain.rules.trust import TOTAL, compute_trust, compute_trust_by_rounds
from chain.rules.trust_arrays import INT64_END, compute_trust_by_arrays, fits_arrays

pytest.importorskip("numpy")
PARAMS = PRESETS["mainnet"]
COUNT = 12
places = st.integers(0, COUNT - 1)
graphs = st.dictionaries(
    st.tuples(places, places).filter(lambda pair: pair[0] < pair[1]),
    st.integers(1, 200),
    min_size=1,
    max_size=40,
)
starts = st.lists(st.integers(0, TOTAL), min_size=COUNT, max_size=COUNT).map(
    lambda shares: [share // COUNT for share in shares]
)
parameters = st.builds(
    lambda damping, cap, rounds: replace(
        PARAMS, trust_damping_permille=damping, trust_edge_cap=cap, trust_rounds=rounds
    ),
    st.integers(0, 1_000),
    st.integers(1, 64),
    st.integers(1, 20),
)


@given(graphs, starts, st.sets(places, min_size=1), parameters)
@settings(max_examples=300, deadline=None)
def test_arrays_and_the_rule_agree_on_every_graph(
    links: dict[tuple[int, int], int],
    before: list[int],
    seeds: set[int],
    params: object,
) -> None:
    source = [TOTAL // len(seeds) if i in seeds else 0 for i in range(COUNT)]
    assert fits_arrays(TOTAL, before, params)  # type: ignore[arg-type]
    for start in (before, source):
        arrays = compute_trust_by_arrays(links, source, start, params)  # type: ignore[arg-type]
        assert arrays == compute_trust_by_rounds(links, source, start, params)  # type: ignore[arg-type]
        assert all(type(value) is int for value in arrays)


@pytest.mark.parametrize("size", [2, 5_000])
def test_arrays_agree_where_numbers_are_largest(size: int) -> None:
    """All trust at one hotspot, passed over the heaviest edges or one to each of thousands."""
    links = {(0, i): 10**9 for i in range(1, size)}
    source, before = [TOTAL, *[0] * (size - 1)], [0, TOTAL, *[0] * (size - 2)]
    for start in (source, before):
        arrays = compute_trust_by_arrays(links, source, start, PARAMS)
        assert arrays == compute_trust_by_rounds(links, source, start, PARAMS)


def test_parameters_that_could_overflow_take_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = INT64_END // TOTAL
    assert fits_arrays(TOTAL, [TOTAL], replace(PARAMS, trust_edge_cap=largest - 1))
    assert not fits_arrays(TOTAL, [TOTAL], replace(PARAMS, trust_edge_cap=largest))
    assert not fits_arrays(TOTAL, [TOTAL, 1], PARAMS)
    assert not fits_arrays(TOTAL, [0], replace(PARAMS, trust_damping_permille=1_001))
    monkeypatch.setattr(rule, "ARRAYS_FROM", 1)
    huge = replace(PARAMS, trust_edge_cap=largest)
    links = {(0, 1): INT64_END, (1, 2): 3}
    assert sum(compute_trust(links, [0], [0] * 3, huge)) <= TOTAL


def test_large_networks_take_the_arrays_and_small_ones_need_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = {(i, i + 1): 1 + i % 7 for i in range(rule.ARRAYS_FROM)}
    before = [0] * (rule.ARRAYS_FROM + 1)
    fast = compute_trust(ring, [0, 7], before, PARAMS)
    monkeypatch.setattr(rule, "get_numpy", lambda: None)
    assert compute_trust(ring, [0, 7], before, PARAMS) == fast
