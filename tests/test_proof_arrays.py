"""Judging by arrays gives the verdicts, work and slopes of the rules, to the bit."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from chain_helpers import Town
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import draws
from chain.computed import Computed
from chain.records import Reception
from chain.rules import verdict_arrays
from chain.rules.blocks import process_mix
from chain.rules.judging import ARRAYS, PLAIN, Steps, get_steps
from chain.rules.pairs import PairCache
from chain.rules.verdicts import Judgement, get_judgement, get_mutual_links
from chain.state import Assertion, State

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


@given(
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=60)), max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_all_commits_are_each(said: list[tuple[bytes, bytes]], epoch: int) -> None:
    messages = [(number << 20, *each) for number, each in enumerate(said)]
    each = [draws.commit(index, epoch, *rest) for index, *rest in messages]
    assert draws.all_commits(epoch, messages) == each


lots = st.lists(
    st.tuples(
        st.integers(0, 3),  # a group
        st.sampled_from([0, 1, 2**63, 2**64 - 1]),  # how a lot begins: often like others
        st.integers(0, 2**64 - 1),
    ),
    max_size=30,
)


@given(lots, st.booleans())
def test_lots_that_begin_alike_are_told_apart(
    drawn: list[tuple[int, int, int]], many_groups: bool
) -> None:
    """Whether or not the key has room for what tells them apart."""
    ranks = {name: rank for rank, name in enumerate(sorted({group for group, _, _ in drawn}))}
    rows = sorted(((ranks[g], first, rest) for g, first, rest in drawn), key=lambda row: row[0])
    if many_groups:
        rows += [(group + len(ranks), 7, group) for group in range(300)]
    group = np.array([row[0] for row in rows], np.int64)
    table = np.array([[*row[1:], 0, 0] for row in rows], np.uint64).reshape(-1, 4)
    found = [rows[at] for at in verdict_arrays.sort_lots(np, table, group).tolist()]
    assert found == sorted(rows)


def test_facts_follow_assertions_that_come_and_go() -> None:
    """What is kept of the epoch before is what would be found anew."""
    state = get_town([], frozenset(), doubled=False).ledger.state
    pairs = PairCache()
    judgement = get_judgement(state, 5, pairs)
    everyone = dict(judgement.assertions)
    elsewhere = replace(everyone[2].registration, frequency_mhz=5_180)
    moved = replace(everyone[2], registration=elsewhere, bind_epoch=4)
    rounds: list[dict[int, Assertion]] = [
        {n: a for n, a in everyone.items() if n < 6}, everyone, {**everyone, 2: moved}, everyone,
        {n: a for n, a in everyone.items() if n != 3}, {}, everyone,
    ]  # fmt: skip
    for assertions in rounds:
        judgement.assertions = assertions
        expected = [
            (a.registration.frequency_mhz, a.bind_epoch, a.registration.cell, a.registration.flags)
            for a in assertions.values()
        ]
        found = verdict_arrays.get_facts(np, judgement)
        assert found.T.tolist() == [list(row) for row in expected]


def test_beaconers_are_worked_out_when_asked_for() -> None:
    """In the order of the reports, each once; nobody else is one."""
    asked: list[int] = []

    def square(index: int) -> int:
        asked.append(index)
        return index * index

    computed = Computed((3, 1, 2), square)
    assert (list(computed), len(computed)) == ([3, 1, 2], 3)
    assert 4 not in computed
    assert computed.get(4) is None
    assert not asked
    assert [computed[1], computed.get(1), computed[2]] == [1, 1, 4]
    assert asked == [1, 2]
    computed[2], computed[9] = 5, 6
    del computed[3]
    assert dict(computed.items()) == {1: 1, 2: 5, 9: 6}
    with pytest.raises(KeyError):
        computed[3]
