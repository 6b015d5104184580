"""Money under the real rules: what the page says of owners, the network and attackers is so."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from chain.cli.io_economics import STEPS, compute_view, draw_view, make_attacker_table
from chain.economics import attacks
from chain.economics import returns as economics
from chain.economics.drawn import Drawn, get_drawn_state, key_of
from chain.io_plot import BarPlot, Line, LinePlot, make_svg
from chain.params import CREDIT_UCR, PRESETS
from chain.rules.outcome import Effects
from chain.state import is_conserved

from .economics_page import circle_lines, network_lines, owner_lines, ring_lines, site_lines
from .rewards_worked import make_worked_rows, settle_worked

PAGE = (ROOT / "docs" / "rewards.md").read_text().splitlines()


TOLD: list[str] = []


@cache
def owner_rows() -> list[economics.OwnerRow]:
    return economics.compute_owner_rows(TOLD.append)


@cache
def paths() -> list[economics.NetworkPath]:
    return [economics.compute_network_path(demand) for demand in economics.DEMANDS]


def test_the_worked_table_is_what_the_rules_pay_to_the_unit() -> None:
    *rows, total = make_worked_rows()
    assert [row for row in rows if row not in PAGE] == []
    assert f"In all: {total}." in PAGE
    state, day = settle_worked()
    paid = sum(payment.amount_ucr for payment in day.payments)
    assert paid == 12_345_679 + 3_800_000 + state.supply.minted


def test_the_tables_of_owners_and_the_network_are_those_of_the_page() -> None:
    assert [line for line in owner_lines(owner_rows()) if line not in PAGE] == []
    assert [line for line in network_lines(paths()) if line not in PAGE] == []


@pytest.mark.parametrize("strangers", attacks.STRANGERS)
def test_paying_oneself_always_loses_more_than_the_fee(strangers: int) -> None:
    circles = [attacks.compute_wash(strangers), attacks.compute_own_bounty(strangers)]
    assert all(circle.return_bp <= -economics.MAINNET.fee_bp for circle in circles)
    assert [line for line in circle_lines(circles) if line not in PAGE] == []


@pytest.mark.parametrize("edges", [1, 10])
def test_inventing_hotspots_earns_little_behind_few_neighbours(edges: int) -> None:
    few, many = (attacks.compute_ring(keys, edges) for keys in (4, 64))
    assert many.earned_ucr < many.unbounded_ucr // 2
    assert many.earned_ucr < 16 * few.earned_ucr
    if edges == 1:
        assert many.earned_ucr < 2 * many.honest_ucr
        assert 10 * many.earned_ucr < many.unbounded_ucr
    assert [line for line in ring_lines([few, many]) if line not in PAGE] == []


def test_eight_hotspots_at_a_site_earn_less_than_eight_sites() -> None:
    one, eight = (attacks.compute_site(1, count) for count in (1, 8))
    assert one.earned_ucr < eight.earned_ucr < 4 * one.earned_ucr
    shown = [f"{site.earned_ucr / 1e6:.3f}" for site in (one, eight)]
    line = next(line for line in PAGE if line.startswith("| 1 per cell |"))
    assert [line.split(" | ")[k].strip(" |") for k in (1, 6)] == shown
    assert site_lines([one])[2] == f"| 1 per cell | {shown[0]} |"


def test_an_owner_earns_where_demand_is_and_nothing_for_existing() -> None:
    by = {(row.area, row.scenario, row.network_cells): row.total_ucr for row in owner_rows()}
    for cells in economics.NETWORK_CELLS:
        alone, traffic, bounty = (
            {area: by[area, scenario, cells] for area in ("dense", "sparse", "outpost", "empty")}
            for scenario in economics.SCENARIOS
        )
        assert alone["empty"] == 0
        assert all(bounty[area] >= traffic[area] >= alone[area] for area in alone)
        assert alone["sparse"] > alone["dense"]
        assert bounty["sparse"] > traffic["sparse"]
        assert traffic["empty"] == 3 * CREDIT_UCR // 8


def test_emission_halves_until_burns_exceed_it() -> None:
    low, base, high = paths()
    assert high.crossing_day is not None
    assert base.crossing_day is not None
    assert high.crossing_day < base.crossing_day
    for path in (low, base, high):
        assert path.peak_ucr < 2 * 730 * economics.MAINNET.bootstrap_ucr
        minted = [year.minted_ucr for year in path.years]
        assert minted[3:] == sorted(minted[3:], reverse=True)


def test_a_drawn_day_conserves_every_credit_and_is_the_same_again() -> None:
    payments = []
    for _ in range(2):
        drawn, areas = economics.get_area_network(10_000)
        relayed = Effects()
        economics.process_area_traffic(drawn, areas, relayed)
        economics.process_area_bounties(drawn)
        payments.append(economics.get_pays(drawn, 2))
        assert is_conserved(drawn.state)
    assert payments[0] == payments[1]


def test_hearing_is_mutual_and_alike_for_hotspots_of_one_site() -> None:
    drawn = Drawn(get_drawn_state(PRESETS["mainnet"], [0]))
    for place in ((5, 5), (5, 6), (6, 6), (9, 9)):
        drawn.add(place, key_of("owner", place[1]))
    twins = [drawn.add((5, 5), key_of("twin", number), site=77) for number in range(2)]
    drawn.hear_around(drawn.at)
    for one, heard in drawn.heard.items():
        assert all(drawn.heard[other][one] == steps for other, steps in heard.items())
    assert drawn.heard[twins[0]] == drawn.heard[twins[1]]
    assert twins[1] not in drawn.heard[twins[0]]
    assert 3 not in drawn.heard


def test_views_are_drawn_and_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wavecomb", "chain", "economics", "--view", "network"]
    svg = tmp_path / "network.svg"
    done = subprocess.run(
        [*command, "--json", "--svg", str(svg)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert [path["demand"]["name"] for path in value["paths"]] == ["low", "base", "high"]
    assert svg.read_text() == draw_view("network", value)
    assert "<polyline" in svg.read_text()
    text = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "base: more is destroyed than minted from year 9 on (day 2920)" in text.stdout
    wrong = subprocess.run(
        [*command[:5], "--svg", str(svg)], capture_output=True, text=True, cwd=ROOT
    )
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_the_owners_view_has_a_bar_for_every_area_and_scenario() -> None:
    rows = owner_rows()
    assert len(TOLD) == STEPS["owner"]
    value = {"rows": [{**vars_of(row), "total_ucr": row.total_ucr} for row in rows]}
    assert draw_view("owner", value).count("credits a day") == 1


def vars_of(row: economics.OwnerRow) -> dict[str, object]:
    return {
        "area": row.area,
        "scenario": row.scenario,
        "network_cells": row.network_cells,
        "earned_ucr": row.earned_ucr,
    }


def test_the_attackers_view_counts_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "RING_KEYS", (1, 2))
    monkeypatch.setattr(attacks, "RING_EDGES", (1,))
    monkeypatch.setattr(attacks, "SITE_HOTSPOTS", (1,))
    monkeypatch.setattr(attacks, "SITES_TRIED", 1)
    monkeypatch.setattr(attacks, "STRANGERS", (0,))
    value = compute_view("attacker", quiet=True)
    assert (len(value["circles"]), len(value["rings"]), len(value["sites"])) == (2, 2, 2)
    assert "a day of the bond" in make_attacker_table(value)
    drawn = draw_view("attacker", value)
    assert drawn.startswith("<svg")
    assert drawn.count("<polyline") == 5
    full = len((0, 1, 4)) + 3 * 7 + 2 * 6
    assert STEPS["attacker"] == full


def test_plots_hold_what_they_were_given() -> None:
    line = LinePlot("a < b", "x", "y", [Line("l", [(0, -1), (1, 0), (2, 10)], 0)])
    log = LinePlot("log", "x", "y", [Line("l", [(1, 0), (10, 5), (100, 500)], 1, True)], True, True)
    bars = BarPlot("bars", "z", ("one", "two"), [("up", (1, 2)), ("down", (-3, 0))])
    svg = make_svg("t", [line, log, bars], per_row=2)
    assert "a &lt; b" in svg
    points = [part.split('"')[1] for part in svg.split("<polyline ")[1:]]
    assert [len(listed.split()) for listed in points] == [3, 2]
    assert svg.count("<rect") == 1 + 4 + 2
    empty = LinePlot("none", "x", "y", [Line("l", [], 0)]).draw()
    assert 'points=""' in empty
