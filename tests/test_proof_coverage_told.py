"""Why coverage earns what it does: the ranks that an owner is told are those of the settlement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chain_helpers import Town

from chain.cli.io_common import get_lines
from chain.explain_words import get_coverage_words
from chain.io_explain import explain
from chain.io_explain_coverage import count_reached
from chain.io_terminal import get_credits
from chain.ledger import Sealed
from chain.rules.cell_work import get_cell_work
from chain.rules.trust import get_reached, get_trust_ppm
from chain.store.io_store import Store

COUNT = 12


@pytest.fixture(scope="module")
def town() -> Town:
    """Twelve hotspots within a few reward cells, in which no more than eight count each."""
    blocks: list[Sealed] = []
    town = Town(COUNT, on_block=blocks.append)
    town.join()
    town.run(2, 10)
    town.ledger.tick(town.time_ms(11))
    BLOCKS.extend(blocks)
    return town


BLOCKS: list[Sealed] = []


@pytest.fixture(scope="module")
def store(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.create(str(tmp_path_factory.mktemp("told") / "ledger.db"))
    store.append(BLOCKS)
    yield store
    store.close()


def told(store: Store, index: int) -> dict[str, Any]:
    return explain(store, str(index), reached=count_reached(store))


def test_shares_are_those_by_which_the_settlement_splits(town: Town, store: Store) -> None:
    work = get_cell_work(town.ledger.state)
    assert any(len(cell.coverage) < COUNT - 1 for cell in work.values()), "nobody is left out"
    for index in range(COUNT):
        found = {int(c["cell"], 16): c for c in told(store, index)["coverage"]["cells"]}
        assert {cell for cell, of in work.items() if index in of.coverage} <= found.keys()
        for cell, standing in found.items():
            weights = work[cell].coverage
            share = 1_000 * weights.get(index, 0) // sum(weights.values())
            assert standing["share_permille"] == share
            assert 1 <= standing["rank"] <= standing["of"] <= COUNT
            assert (standing["rank"] > 8) <= (share == 0)


def test_a_service_counts_trust_as_a_copy_of_its_database_does(town: Town, store: Store) -> None:
    state = town.ledger.state
    assert get_reached(state) == count_reached(store) == COUNT
    for index, hotspot in enumerate(state.hotspots):
        assert told(store, index)["coverage"]["trust_ppm"] == get_trust_ppm(state, hotspot)


def test_who_does_not_ask_for_coverage_is_not_told(store: Store) -> None:
    answer = told(store, 3)
    assert answer.pop("coverage")["cells"]
    assert explain(store, "3") == answer


def test_each_reason_for_earning_nothing_has_its_sentence() -> None:
    left_out = {"cell": "881f", "rank": 9, "of": 9, "share_permille": 0}
    sharing = {"cell": "881e", "rank": 2, "of": 4, "share_permille": 266}
    assert "no reception of it counted" in get_coverage_words([], 9, 8)
    assert "trust hasn't reached it" in get_coverage_words([left_out], 0, 8)
    assert "8 or more others are heard better" in get_coverage_words([left_out], 9, 8)
    words = get_coverage_words([left_out, sharing], 9, 8)
    assert "1 of them pay: most in 881e, as number 2 of 4, with 26.6 %" in words


def test_what_was_earned_adds_up(town: Town, store: Store) -> None:
    for index, hotspot in enumerate(town.ledger.state.hotspots):
        assert sum(told(store, index)["earned_ucr"].values()) == hotspot.earned_ucr
    assert any(hotspot.earned_ucr for hotspot in town.ledger.state.hotspots)


def test_a_hotspot_that_nobody_heard_is_told_so(tmp_path: Path) -> None:
    blocks: list[Sealed] = []
    town = Town(2, on_block=blocks.append)
    town.join()
    store = Store.create(str(tmp_path / "ledger.db"))
    store.append(blocks)
    coverage = told(store, 0)["coverage"]
    store.close()
    assert coverage["cells"] == []
    assert "no reception of it counted" in coverage["words"]


def test_rows_of_one_shape_are_a_table_for_people() -> None:
    first = {"epoch": 6, "kind": "witness", "source": ""}
    rows = [first, {"epoch": 12, "kind": "ai", "source": ""}]
    assert get_lines({"payments": rows, "nothing": [], "spent_ucr": 1_500_000}) == [
        "payments:",
        "  epoch  kind",
        "  6      witness",
        "  12     ai",
        "spent_ucr: 1500000 (1.500000 credits)",
    ]
    assert get_lines({"newest": ["3:1:0", "3:0:0"]}) == ["newest: 3:1:0, 3:0:0"]
    assert get_credits(-25) == "-0.000025"


def test_a_rule_is_a_sentence_and_shows_its_numbers_where_it_failed() -> None:
    rule = {"rule": "too_close", "words": "They stand 9 m apart.", "inputs": {"distance_m": 9}}
    passed, failed = get_lines(
        {"rules": [rule | {"passed": True, "margin": 4}, rule | {"passed": False, "margin": -41}]}
    )
    assert passed == "pass too_close: They stand 9 m apart."
    assert failed == "FAIL too_close: They stand 9 m apart. [distance_m 9, margin -41]"
