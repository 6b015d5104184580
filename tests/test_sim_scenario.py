"""Scenarios: round trips, one clear error for each mistake, and the built-in city."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from radio_sim.city import make_city
from radio_sim.io_scenario import load_scenario
from radio_sim.scenario import (
    ROLES,
    HotspotSite,
    PublishedLink,
    RadioSettings,
    Scenario,
    TrafficSettings,
    format_scenario,
    parse_scenario,
)

ONE = '[[hotspot]]\nname = "a"\nlat = 45.0\nlon = 8.0\n'
TWO = ONE + '[[hotspot]]\nname = "b"\nlat = 45.001\nlon = 8.0\n'

names = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=64
).filter(str.isprintable)
sites = st.builds(
    HotspotSite,
    name=names,
    lat=st.floats(45.0, 46.0),
    lon=st.floats(8.0, 9.0),
    height_m=st.floats(0, 200),
    eirp_dbm=st.floats(0, 36),
    gain_dbi=st.floats(0, 24),
    frequency_mhz=st.none() | st.integers(2412, 2472),
    roles=st.lists(st.sampled_from(ROLES), unique=True).map(tuple),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    hotspots = draw(st.lists(sites, min_size=2, max_size=8, unique_by=lambda site: site.name))
    pairs = [(a.name, b.name) for n, a in enumerate(hotspots) for b in hotspots[n + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True))
    links = [
        PublishedLink(a, b, draw(st.sampled_from(["wireless", "wired", "vpn"])),
                      draw(st.none() | st.floats(0, 1)))
        for a, b in chosen
    ]
    return Scenario(
        draw(names), tuple(hotspots), tuple(links),
        RadioSettings(environment=draw(st.sampled_from(["umi", "rma"]))),
        TrafficSettings(requests_per_hour=draw(st.floats(0, 1000))),
        draw(st.text(st.characters(exclude_categories=["C"]))),
    )


@settings(deadline=None)
@given(scenarios())
def test_what_is_written_reads_back_equal(scenario: Scenario) -> None:
    assert parse_scenario(format_scenario(scenario)) == scenario


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("name = ", "scenario", "TOML"),
        ("", "hotspot", "none"),
        ("hotspot = 3\n", "hotspot", "tables"),
        ("nane = 'x'\n" + ONE, "scenario.nane", "did you mean 'name'"),
        ("[radio]\nenvironment = 'sea'\n" + ONE, "radio.environment", "'sea'"),
        ("[radio]\nfrequency_mhz = 2437.5\n" + ONE, "radio.frequency_mhz", "whole"),
        ("[radio]\nreal_fields = 1\n" + ONE, "radio.real_fields", "true or false"),
        ("radio = 1\n" + ONE, "radio", "table"),
        ("[traffic]\nformat = 'azure'\n" + ONE, "traffic.file", "missing"),
        (ONE.replace("lat = 45.0\n", ""), "hotspot 'a'.lat", "missing"),
        (ONE.replace("45.0", "95.0"), "hotspot 'a'.lat", "out of range"),
        (ONE.replace("45.0", "nan"), "hotspot 'a'.lat", "no number"),
        (ONE.replace("45.0", '"45"'), "hotspot 'a'.lat", "no number"),
        (ONE.replace('"a"', "7"), "hotspot number 1.name", "no text"),
        (ONE.replace('"a"', '""'), "hotspot.name", "no name"),
        (ONE + "roles = ['king']\n", "hotspot 'a'.roles", "'king'"),
        (ONE + "roles = 'relay'\n", "hotspot 'a'.roles", "list"),
        (ONE + "heigth_m = 3\n", "hotspot 'a'.heigth_m", "did you mean 'height_m'"),
        (ONE + ONE, "hotspot.name", "stands twice"),
        (ONE + TWO.split("\n\n")[0].replace('"a"', '"c"').replace("8.0", "20.0"),
         "hotspot.lon", "spread"),
        (TWO + '[[link]]\na = "a"\nb = "z"\n', "link number 1.b", "no hotspot 'z'"),
        (TWO + '[[link]]\na = "a"\nb = "a"\n', "link number 1", "itself"),
        (TWO + '[[link]]\na = "a"\nb = "b"\nquality = 1.2\n', "link number 1.quality", "range"),
        (TWO + 2 * '[[link]]\na = "a"\nb = "b"\n', "link number 2", "twice"),
        (TWO + '[[link]]\na = "a"\n', "link number 1.b", "missing"),
    ],
)
def test_each_mistake_names_its_field(text: str, field: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_scenario(text)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_thousand_hotspots_load() -> None:
    city = make_city(2000)
    assert parse_scenario(format_scenario(city)) == city
    assert len(city.hotspots) == 2000


@pytest.mark.parametrize("hotspots", [2, 5, 60, 300])
def test_the_city_is_seeded_spaced_and_one_mesh(hotspots: int) -> None:
    city = make_city(hotspots, seed=3)
    assert city == make_city(hotspots, seed=3)
    assert city != make_city(hotspots, seed=4)
    index = city.index_of()
    metres = [
        (site.lat * 111_195.08, site.lon * 111_195.08 * math.cos(math.radians(45.0)))
        for site in city.hotspots
    ]
    nearest = min(
        math.dist(a, b) for n, a in enumerate(metres) for b in metres[n + 1 :]
    )
    assert nearest >= 89.0
    reached, frontier = {0}, [0]
    neighbours: dict[int, list[int]] = {}
    for link in city.links:
        neighbours.setdefault(index[link.a], []).append(index[link.b])
        neighbours.setdefault(index[link.b], []).append(index[link.a])
    while frontier:
        fresh = [n for n in neighbours[frontier.pop()] if n not in reached]
        reached.update(fresh)
        frontier += fresh
    assert len(reached) == hotspots


def test_builtin_names(tmp_path: Path) -> None:
    assert load_scenario("builtin:city") == make_city(60, 1)
    assert load_scenario("builtin:city:80:5") == make_city(80, 5)
    file = tmp_path / "town.toml"
    file.write_text(TWO)
    assert load_scenario(str(file)).name == "town.toml"


BAD_NAMES = ["builtin:town", "builtin:city:1", "builtin:city:x", "nowhere.toml"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_told_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match="scenario"):
        load_scenario(name)


def test_a_binary_file_is_no_scenario(tmp_path: Path) -> None:
    file = tmp_path / "blob.toml"
    file.write_bytes(bytes(range(128, 256)))
    with pytest.raises(UserError, match="UTF-8"):
        load_scenario(str(file))
