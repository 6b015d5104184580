"""The report: figures that add up, one self-contained page, names that can't break out of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.io_terminal import run_command
from radio_sim.city import make_city
from radio_sim.faults.specs import Crash, Faults, Liar, Noise, Walk
from radio_sim.fleet import Fleet
from radio_sim.io_cli import main
from radio_sim.report.charts import Axis, nice_step, number, stacked_bars
from radio_sim.report.data import BUCKETS_MAX, RunRecorder, TimeSeries
from radio_sim.report.page import make_page
from radio_sim.scenario import Scenario

FAULTS = Faults(
    noise=(Noise(start_s=30, duration_s=10),),
    crash=(Crash(share=0.5, per_hour=100),),
    liar=(Liar(share=0.2),),
    walk=(Walk(share=0.2),),
)
CITY = replace(make_city(12, 1), faults=FAULTS, name="a <b>town</b> & \"more\"")
VOID = {"meta", "br", "i", "line", "circle", "rect", "polyline", "path"}


def record(scenario: Scenario, seconds: float) -> tuple[Fleet, dict[str, Any]]:
    recorder = RunRecorder()
    fleet = Fleet(scenario, 1, "minimal", [recorder])
    recorder.attach(fleet)
    fleet.run(seconds)
    return fleet, recorder.as_json()


@pytest.fixture(scope="module")
def recorded() -> tuple[Fleet, dict[str, Any]]:
    return record(CITY, 70)


def page_of(scenario: Scenario, fleet: Fleet, report: dict[str, Any]) -> str:
    summary = fleet.summary()
    result = {
        key: getattr(summary, key)
        for key in ("hotspots", "beacons_sent", "verdicts", "cells_covered", "digest",
                    "ledger_root")
    }  # fmt: skip
    run = {"seed": 1, "preset": "minimal", "seconds": 70.0, "result": result, "software": {}}
    return make_page(scenario, run, report | {"links": [[0, 1, 20.0]]})


class Outline(HTMLParser):
    """Checks that tags close in order; gathers what is said and asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert tag not in ("script", "iframe", "link", "img", "b")
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onclick"}
        if tag not in VOID or tag in ("circle", "rect", "i"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_figures_add_up(recorded: tuple[Fleet, dict[str, Any]]) -> None:
    fleet, report = recorded
    medium = fleet.world.medium
    assert report["fates"]["delivered"] == medium.counts["delivered"]
    assert sum(report["beacons_heard"]) == sum(report["delivered"]) == medium.counts["delivered"]
    assert sum(report["sinr_delivered"]) == medium.counts["delivered"]
    raced = sum(report["sinr_delivered"]) + sum(report["sinr_lost"])
    out = sum(report["fates"].get(k, 0) for k in ("sender_down", "receiver_down", "off_channel"))
    assert raced + out == sum(report["fates"].values())
    for pairs, delivered in zip(report["pairs"], report["delivered"], strict=True):
        assert 0 <= delivered <= pairs
    aired = sum(sum(row) for row in report["airtime_s"]["sums"].values())
    assert aired == pytest.approx(medium.airtime_us / 1e6, rel=1e-6)
    flow = {key: sum(row) for key, row in report["flow"]["sums"].items()}
    assert flow["delivered"] == medium.counts["delivered"]
    assert {episode["kind"] for episode in report["episodes"]} >= {"noise", "crash"}
    assert json.loads(json.dumps(report)) == report


def test_near_is_heard_more_than_far(recorded: tuple[Fleet, dict[str, Any]]) -> None:
    _, report = recorded
    pairs, delivered = np.array(report["pairs"]), np.array(report["delivered"])
    assert delivered[:6].sum() / pairs[:6].sum() > 3 * delivered[10:].sum() / pairs[10:].sum()


def test_the_page_is_whole_and_asks_for_nothing(recorded: tuple[Fleet, dict[str, Any]]) -> None:
    page = page_of(CITY, *recorded)
    seen = outline(page)
    assert seen.tags["svg"] == 6
    assert seen.tags["circle"] >= 12
    words = " ".join(seen.words)
    for title in ("Map", "Delivery ratio", "Airtime", "SINR", "Beacons heard", "timeline"):
        assert title in words
    assert 'a <b>town</b> & "more"' in words
    assert "<b>" not in page
    assert re.findall(r"https?:|@import|url\(", page) == []
    assert "nan" not in page.lower().replace("nano", "")
    assert page == page_of(CITY, *recorded)


def test_a_run_without_a_beacon_has_a_page_too() -> None:
    quiet = make_city(2, 1)
    page = page_of(quiet, *record(quiet, 5))
    assert "None in this scenario." in page
    outline(page)


def test_broken_invariants_stand_first(recorded: tuple[Fleet, dict[str, Any]]) -> None:
    _, report = recorded
    run = {"seed": 1, "preset": "minimal", "seconds": 70.0, "software": {}}
    result = {"problems": {"supply": ["<lost>"]}, "hotspots": 12, "beacons_sent": 1}
    result |= {"verdicts": {}, "cells_covered": 0, "digest": "", "ledger_root": ""}
    page = make_page(CITY, run | {"result": result | {"interrupted": True}}, report)
    assert page.index("Broken invariants") < page.index("<h2>Map")
    assert "&lt;lost&gt;" in page
    assert "Interrupted before its end." in page


def test_render_writes_the_page_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kept"
    arguments = ["run", "builtin:city:6", "--preset", "minimal", "--seconds", "40", "--json"]
    assert run_command(main, [*arguments, "--out", str(folder)]) == 0
    capsys.readouterr()
    assert run_command(main, ["render", str(folder), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    page = (folder / "report.html").read_text()
    assert out == {"output": str(folder / "report.html"), "bytes": len(page.encode())}
    outline(page)
    other = tmp_path / "other.html"
    assert run_command(main, ["render", str(folder), "-o", str(other)]) == 0
    assert other.read_text() == page
    capsys.readouterr()
    (folder / "report.json").write_text('{"format": 99}')
    assert run_command(main, ["render", str(folder)]) == 2
    assert "of another version" in capsys.readouterr().err


# --- pieces ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 10**14), st.integers(0, 1000)), max_size=50))
def test_buckets_hold_every_amount_however_long_a_run_is(items: list[tuple[int, int]]) -> None:
    series = TimeSeries(1000)
    for when_ns, amount in items:
        series.add("x", when_ns, amount)
    made = series.as_json()
    row = made["sums"].get("x", [])
    assert sum(row) == sum(amount for _, amount in items)
    assert len(row) <= BUCKETS_MAX
    for place, total in enumerate(row):
        width = series.bucket_ns
        inside = [a for t, a in items if max(0, t - 1000) // width == place]
        assert total == sum(inside)


@given(st.floats(1e-6, 1e9))
def test_steps_are_round_and_just_large_enough(wanted: float) -> None:
    step = nice_step(wanted)
    assert wanted * 0.999999 <= step <= 2.5 * wanted * 1.000001
    assert re.fullmatch(r"[125]0*", f"{step:.0e}".split("e")[0])


def test_ticks_lie_on_the_axis() -> None:
    axis = Axis(-20.0, 43.0, 10.0, 110.0)
    assert axis.ticks() == [-20.0, 0.0, 20.0, 40.0]
    assert axis.at(-20.0) == 10.0
    assert axis.at(43.0) == 110.0
    assert nice_step(0.0) == 1.0
    assert [number(v) for v in (0, 0.5, 123.4, 25_000)] == ["0", "0.5", "123", "25k"]


def test_bars_stack_to_their_sum() -> None:
    drawn = stacked_bars([0, 1, 2], [("a", [1, 3]), ("b", [2, 0])], ("x", "y"))
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', drawn)]
    assert len(heights) == 3
    assert heights[0] + heights[2] == pytest.approx(heights[1], abs=0.05)
