"""The quick look at a reception decides as the list of rules does, whatever the reception says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chain.params import PRESETS
from chain.rules.pairs import Pair
from chain.rules.verdicts import (
    PAIR_RULES,
    SIGNAL_RULES,
    Beaconer,
    Case,
    get_first_failing,
    judge_pair,
    judge_signal,
)

PARAMS = PRESETS["minimal"]
SMALL = st.integers(0, 2)
NEAR, FAR = PARAMS.min_distance_m, PARAMS.max_distance_m
EDGES = st.sampled_from([0, NEAR - 1, NEAR, FAR, FAR + 1])
REGISTERED: Any = SimpleNamespace(registration=SimpleNamespace(frequency_mhz=2437))
BEACONER = Beaconer(REGISTERED, b"", (b"tag0", b"tag1"), (0, 300), 1)
OTHER_TAGS = {heard: frozenset({b"tag0"}) for heard in range(3)}
JUDGEMENT: Any = SimpleNamespace(params=PARAMS, beacons=2, other_tags=OTHER_TAGS)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    case = Case()
    case.judgement = JUDGEMENT
    case.witness, case.heard, case.sequence = draw(SMALL), draw(SMALL), draw(SMALL)
    case.flags, case.rssi_cdbm = draw(SMALL), draw(st.just(0) | st.integers(-9_001, -8_399))
    case.frequency_mhz = draw(st.sampled_from([2437, 2412]))
    case.tag = draw(st.sampled_from([b"tag0", b"tag1"]))
    case.registered = draw(st.sampled_from([None, REGISTERED]))
    case.beaconer = draw(st.sampled_from([None, BEACONER]))
    case.pair = Pair(draw(EDGES), 1, 1, -9_000, -8_700, draw(st.booleans()), draw(st.booleans()))
    case.last = draw(st.tuples(SMALL, SMALL))
    return case


@given(cases())
def test_a_pair_is_judged_as_its_rules_say(case: Case) -> None:
    assert judge_pair(case) == get_first_failing(PAIR_RULES, case)


@given(cases())
def test_a_signal_is_judged_as_its_rules_say(case: Case) -> None:
    assert judge_signal(case) == get_first_failing(SIGNAL_RULES, case)
