"""Judging by arrays gives the verdicts, work and slopes of the rules, to the bit."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from chain_helpers import Town
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import draws
from chain.records import Reception
from chain.rules import verdict_arrays
from chain.rules.blocks import process_mix
from chain.rules.judging import ARRAYS, PLAIN, Steps, get_steps
from chain.rules.pairs import PairCache
from chain.rules.verdicts import Judgement, get_judgement, get_mutual_links
from chain.state import State

np = pytest.importorskip("numpy")
COUNT = 9
LIES: tuple[dict[str, object], ...] = (
    {"tag": b"liar"}, {"sequence": 5}, {"sequence": 6}, {"sequence": 255}, {"frequency_mhz": 2_412},
    {"rssi_cdbm": 0}, {"rssi_cdbm": -30_000}, {"rssi_cdbm": 0, "flags": 1}, {"flags": 1},
    {"flags": 255}, {"heard": 77}, {"heard": 1}, {"heard": 2**32 - 1}, {"rssi_cdbm": -6_600},
)  # fmt: skip
Edits = list[tuple[int, int, int]]  # (witness, place in its report, lie)


def get_town(edits: Edits, absent: frozenset[int], doubled: bool) -> Town:
    """A town whose epoch 5 was reported and waits to be judged."""
    town = Town(COUNT, "testbed", owners={8: b"o" * 32, 7: b"o" * 32})
    town.join()
    for hotspot in (3, 4, 5, 6):
        town.ledger.state.hotspots[hotspot].spread_db2 = 9_000
        town.ledger.state.hotspots[hotspot].slope_db2 = 9_000 if hotspot < 5 else 0
        town.ledger.state.touch("hotspots", hotspot)

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        heard = [r for r in heard if (witness + r.heard) % 5 or r.sequence % 2]
        for who, place, lie in edits:
            if who == witness and heard:
                at = place % len(heard)
                heard[at] = replace(heard[at], **LIES[lie])  # type: ignore[arg-type]
        return heard + heard[:2] if doubled and witness == 2 else heard

    for epoch in range(2, 5):
        town.run_epoch(epoch)
    town.run_epoch(5, edit)
    town.run_epoch(6, absent=absent)
    process_mix(town.ledger.state)
    return town


def judge(state: State, steps: Steps, trusted: frozenset[int]) -> tuple[Judgement, State]:
    """The judgement on epoch 5 one way, and a state with what it adds."""
    after = deepcopy(state)
    judgement = get_judgement(after, 5, PairCache())
    steps.process_signals(judgement)
    steps.process_hearing(after, judgement)
    assert steps.get_mutual_links(judgement) == get_mutual_links(judgement)
    steps.process_links(judgement, trusted)
    steps.process_counted(after, judgement)
    steps.process_slopes(after, judgement)
    return judgement, after


edits = st.lists(
    st.tuples(st.integers(0, COUNT - 1), st.integers(0, 60), st.integers(0, len(LIES) - 1)),
    max_size=12,
)
some = st.frozensets(st.integers(0, COUNT - 1), max_size=3)


@settings(max_examples=25, deadline=None)
@given(edits, some, some, st.booleans())
def test_both_ways_judge_alike(
    lies: Edits, absent: frozenset[int], untrusted: frozenset[int], doubled: bool
) -> None:
    """Codes, plausible pairs, work and slopes of any mixture of lies, gaps and silence."""
    state = get_town(lies, absent, doubled).ledger.state
    trusted = frozenset(range(COUNT)) - untrusted
    plain, after_plain = judge(state, PLAIN, trusted)
    arrays, after_arrays = judge(state, ARRAYS, trusted)
    assert arrays.codes == plain.codes
    assert arrays.plausible == plain.plausible
    assert arrays.recent == plain.recent
    for name in ("quality", "measured", "hotspots", "hearing"):
        assert getattr(after_arrays, name) == getattr(after_plain, name)
        assert after_arrays.touched.get(name) == after_plain.touched.get(name)


def test_large_epochs_take_the_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their number of receptions, if numpy is there; a whole run ends in the same root."""
    town = get_town([], frozenset(), doubled=False)
    judgement = get_judgement(town.ledger.state, 5, PairCache())
    assert get_steps(judgement) is PLAIN
    monkeypatch.setattr(verdict_arrays, "ARRAYS_FROM", 100)
    assert get_steps(judgement) is ARRAYS
    monkeypatch.setattr(verdict_arrays, "get_numpy", lambda: None)
    assert get_steps(judgement) is PLAIN


def test_a_run_by_arrays_ends_in_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Header after header, over two settlements."""
    heads = []
    for arrays_from in (1_000_000, 1):
        monkeypatch.setattr(verdict_arrays, "ARRAYS_FROM", arrays_from)
        town = Town(6, "testbed")
        town.join()
        town.run(2, 21)
        heads.append(town.ledger.head)
    assert heads[0] == heads[1]


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_all_beacons_at_once_are_each(secret: bytes, mix: bytes) -> None:
    """Tags and steps by a shared prefix are those of the formulas."""
    tags = tuple(draws.tag_of(draws.answer(secret, 9, n)) for n in range(6))
    assert draws.all_tags(secret, 9, 6) == tags
    steps = tuple(100 * draws.power_step_db(secret, mix, n) for n in range(6))
    assert draws.all_power_steps_cdb(secret, mix, 6) == steps
