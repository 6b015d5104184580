"""Faults in a scenario's TOML: round trips, and one clear error for each mistake."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from radio_sim.checkers.every import CHECKERS
from radio_sim.fates import FATES
from radio_sim.faults.specs import (
    BEHAVIOURS,
    DAY_CURVE,
    KINDS,
    LAYERS,
    LOAD_RULES,
    Faults,
    Load,
    default_of,
)
from radio_sim.io_scenario import CITY_RULES, read_scenario, shipped_scenarios
from radio_sim.scenario import Scenario, format_scenario, parse_scenario
from radio_sim.telemetry import demand_of_hour
from radio_sim.toml_rules import Number, Numbers, Points, Rule, Text, Texts

TWO = (
    '[[hotspot]]\nname = "a"\nlat = 45.0\nlon = 8.0\n'
    '[[hotspot]]\nname = "b"\nlat = 45.001\nlon = 8.0\n'
)


def valid(key: str, rule: Rule) -> st.SearchStrategy[object]:
    """Values that a rule takes, as the record holds them."""
    if isinstance(rule, Number):
        if rule.whole:
            return st.integers(int(rule.low), int(rule.high))
        return st.floats(rule.low, rule.high)
    if isinstance(rule, Texts):
        names = st.sampled_from(rule.choices or ("a", "b"))
        return st.lists(names, unique=True).map(tuple)
    if isinstance(rule, Numbers):
        one = st.floats(rule.low, rule.high)
        return st.lists(one, min_size=rule.count, max_size=rule.count).map(tuple)
    if isinstance(rule, Points):
        rows = st.lists(st.integers(0, 1000), max_size=4, unique=True).map(sorted)
        return rows.map(lambda times: tuple((float(t), 45.0, 8.0) for t in times))
    assert isinstance(rule, Text)
    return st.sampled_from(rule.choices) if rule.choices else st.just("")


@st.composite
def faults(draw: st.DrawFn) -> Faults:
    parts: dict[str, object] = {}
    for kind, (record, rules) in KINDS.items():
        made = []
        for _ in range(draw(st.integers(0, 2))):
            values = {key: draw(valid(key, rule)) for key, rule in rules.items()}
            if "until_s" in values:
                values["start_s"], values["until_s"] = 5.0, 7.5
            made.append(record(**values))  # type: ignore[arg-type]
        parts[kind] = tuple(made)
    values = {key: draw(valid(key, rule)) for key, rule in LOAD_RULES.items()}
    return Faults(**parts, load=Load(**values))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(faults())
def test_what_is_written_reads_back_equal(made: Faults) -> None:
    scenario = parse_scenario(TWO)
    scenario = Scenario("x", scenario.hotspots, faults=made)
    assert parse_scenario(format_scenario(scenario)) == scenario


def test_every_field_of_every_record_has_a_rule() -> None:
    for kind, (record, rules) in KINDS.items():
        assert [field.name for field in fields(record)] == [*rules], kind
    assert [field.name for field in fields(Load)] == [*LOAD_RULES]


def test_every_default_obeys_its_rule() -> None:
    for kind, rules in {**{k: r for k, (_, r) in KINDS.items()}, "load": LOAD_RULES}.items():
        for key, rule in rules.items():
            value = default_of(kind, key)
            if isinstance(rule, Number) and value is not None:
                assert rule.low <= value <= rule.high, (kind, key)
            if isinstance(rule, Text) and rule.choices:
                assert value in rule.choices
            if isinstance(rule, Texts) and rule.choices:
                assert set(value) <= set(rule.choices)
    assert default_of("partition", "layers") == LAYERS
    assert default_of("liar", "behaviour") in BEHAVIOURS


def test_the_day_curve_is_the_one_of_the_telemetry() -> None:
    hours = np.arange(24.0)
    np.testing.assert_allclose(DAY_CURVE, demand_of_hour(hours), atol=0.006)
    assert np.mean(DAY_CURVE) == pytest.approx(1.0, abs=0.002)


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("[fault]\nrain = 3\n", "fault.rain", "no such setting"),
        ("fault = 3\n", "fault", "table"),
        ("[fault]\nnoise = 3\n", "fault.noise", "[[fault.noise]]"),
        ("[[fault.noise]]\nrise = 3\n", "fault.noise number 1.rise", "'rise_db'"),
        ("[[fault.noise]]\nrise_db = 90\n", "fault.noise number 1.rise_db", "0 to 80"),
        ("[[fault.noise]]\nlat = 45\n", "fault.noise number 1.lon", "a circle has"),
        ("[[fault.crash]]\nhotspots = ['z']\n", "fault.crash number 1.hotspots", "'z'"),
        ("[[fault.crash]]\nhotspots = 'a'\n", "fault.crash number 1.hotspots", "pier-1"),
        ("[[fault.crash]]\nshare = 1.2\n", "fault.crash number 1.share", "0 to 1"),
        ("[[fault.crash]]\nduration_s = 0\n", "fault.crash number 1.duration_s", "range"),
        (
            "[[fault.power_cut]]\nstart_s = 9\nuntil_s = 9\n",
            "fault.power_cut number 1.until_s",
            "later",
        ),
        ("[[fault.partition]]\nlayers = ['sea']\n", "fault.partition number 1.layers", "air"),
        ("[[fault.liar]]\nbehaviour = 'x'\n", "fault.liar number 1.behaviour", "spoof_location"),
        ("[[fault.walk]]\npoints = [[0, 1]]\n", "fault.walk number 1.points", "3 numbers"),
        ("[[fault.walk]]\npoints = 3\n", "fault.walk number 1.points", "[[seconds, lat, lon]"),
        (
            "[[fault.walk]]\npoints = [[1, 45, 8], [1, 45, 8]]\n",
            "fault.walk number 1.points",
            "not later",
        ),
        (
            "[[fault.walk]]\ntrace = 'x.csv'\npoints = [[1, 45, 8]]\n",
            "fault.walk number 1.trace",
            "keep one",
        ),
        ("[fault.load]\ncurve = [1, 2]\n", "fault.load.curve", "24 numbers"),
        ("[fault.load]\nframe_bytes = 3\n", "fault.load.frame_bytes", "30 to 2304"),
    ],
)
def test_each_mistake_names_its_field(text: str, field: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_scenario(text + TWO)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# --- docs/simulator.md ----------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parent.parent / "docs" / "simulator.md"


def documented() -> dict[str, dict[str, str]]:
    """Keys and defaults by kind of table, as the page lists them."""
    listed: dict[str, dict[str, str]] = {}
    kind = ""
    table = PAGE.read_text().split("| table | key |")[1].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        title, keys, default, _ = (cell.strip() for cell in line.strip("|").split("|"))
        if title:
            kind = re.sub(r"[`\[\]]", "", title).removeprefix("fault.")
            listed[kind] = dict(listed["power_cut"]) if keys.startswith("the same") else {}
        for key in re.findall(r"`(\w+)`", keys):
            known = listed["power_cut"] if kind in ("liar", "walk") else {}
            listed[kind][key] = default.strip("`") or known[key]
    return listed


def test_the_page_lists_every_key_with_its_default() -> None:
    listed = documented()
    assert set(listed) == {*KINDS, "load", "city"}
    for kind, rules in {**{k: r for k, (_, r) in KINDS.items()}, "load": LOAD_RULES}.items():
        assert [*listed[kind]] == [*rules], kind
        for key in rules:
            shown, value = listed[kind][key], default_of(kind, key)
            if (kind, key) in (("crash", "duration_s"), ("load", "curve")):
                continue  # told in words
            if value is None:
                assert shown == "none", (kind, key)
            else:
                given = list(value) if isinstance(value, tuple) else value
                assert tomllib.loads(f"x = {shown}")["x"] == given, (kind, key)
    assert [*listed["city"]] == [*CITY_RULES]


def test_the_pages_samples_are_scenarios_with_faults() -> None:
    samples = re.findall(r"^```toml scenario\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert samples
    for sample in samples:
        assert read_scenario(sample, "docs").faults


def test_the_page_names_every_checker_fate_and_scenario() -> None:
    text = PAGE.read_text()
    words = [*(kind.name for kind in CHECKERS), *FATES, *BEHAVIOURS]
    words += [f"builtin:{name}" for name in shipped_scenarios()]
    assert [word for word in words if f"`{word}`" not in text and f'`"{word}"`' not in text] == []
