"""Tracks: recorded ones are followed, drawn ones keep range and speed, files are checked."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from radio_sim.faults.aim import distance_m
from radio_sim.io_scenario import load_scenario
from radio_sim.mobility import RandomWaypoint, RecordedTrack, parse_track

HOME = (45.0, -30.0)
GPX = """<?xml version="1.0"?>
<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1"><trk><trkseg>
<trkpt lat="45.0" lon="-30.0"><ele>3</ele><time>2026-01-01T10:00:00Z</time></trkpt>
<trkpt lat="45.001" lon="-30.0"><time>2026-01-01T10:01:00Z</time></trkpt>
<trkpt lat="45.001" lon="-29.999"><time>2026-01-01T10:01:30.5+00:00</time></trkpt>
</trkseg></trk></gpx>"""
CSV = "seconds,lat,lon,note\n0,45,-30,a\n60,45.001,-30,b\n"


def test_a_recorded_track_is_followed_and_its_ends_held() -> None:
    track = RecordedTrack(((10.0, 45.0, 8.0), (20.0, 46.0, 9.0), (30.0, 46.0, 9.0)))
    assert track.at(0) == (45.0, 8.0)
    assert track.at(15) == (45.5, 8.5)
    assert track.at(20) == track.at(25) == track.at(99) == (46.0, 9.0)
    with pytest.raises(ValueError, match="points"):
        RecordedTrack(())


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**64 - 1), st.floats(0.5, 20), st.floats(0, 60), st.floats(20, 2000)
)
def test_a_walker_keeps_its_range_and_its_speed(
    seed: int, speed: float, pause: float, reach: float
) -> None:
    walk = RandomWaypoint(seed, HOME, speed, pause, reach)
    before = walk.at(0.0)
    assert before == HOME
    for second in range(1, 400):
        here = walk.at(float(second))
        assert distance_m(*HOME, *here) <= reach * 1.001
        assert distance_m(*before, *here) <= 1.5 * speed * 1.001 + 1e-6
        before = here


def test_a_walk_belongs_to_its_seed_and_not_to_how_often_it_is_asked() -> None:
    often, seldom, other = (RandomWaypoint(seed, HOME, 5, 10, 500) for seed in (1, 1, 2))
    for second in range(1000):
        often.at(float(second))
    assert often.at(1000.0) == seldom.at(1000.0) != other.at(1000.0)


def test_the_mean_speed_does_not_decay() -> None:
    walk = RandomWaypoint(3, HOME, 10.0, 0.0, 1000.0)
    spots = [walk.at(float(second)) for second in range(0, 20_000, 5)]
    steps = [distance_m(*a, *b) for a, b in pairwise(spots)]
    early, late = sum(steps[:1500]), sum(steps[-1500:])
    assert late == pytest.approx(early, rel=0.15)
    # Legs of equal length at speeds of 5 to 15 m/s: the harmonic mean, 10 / ln 3, less corners cut.
    assert sum(steps) / 20_000 == pytest.approx(10 / math.log(3), rel=0.08)


def test_gpx_and_csv_say_the_same() -> None:
    points = parse_track(GPX, "walk.gpx")
    assert points == ((0.0, 45.0, -30.0), (60.0, 45.001, -30.0), (90.5, 45.001, -29.999))
    assert parse_track("\ufeff" + CSV, "walk.csv") == points[:2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column 'seconds'"),
        ("", "no column"),
        ("seconds,lat,lon\n", "no point in it"),
        ("seconds,lat,lon\n0,x,8\n", "line 2 is no point"),
        ("seconds,lat,lon\n0,45\n", "line 2 is no point"),
        ("seconds,lat,lon\n-1,45,8\n", "line 2 is no point"),
        ("seconds,lat,lon\n0,nan,8\n", "line 2 is no point"),
        ("seconds,lat,lon\n0,45,8\n0,45,8\n", "point 2 is not later"),
        ("seconds,lat,lon\n0,89,8\n", "off the map"),
        ("<gpx", "not valid XML"),
        ("<gpx></gpx>", "no point in it"),
        ("<!DOCTYPE x><gpx></gpx>", "declares entities"),
        ("<gpx><trkpt lat='1' lon='2'/></gpx>", "without time"),
        (GPX.replace("10:01:00", "09:59:00"), "point 2 is not later"),
    ],
)
def test_each_mistake_in_a_track_is_named(text: str, words: str) -> None:
    with pytest.raises(UserError, match="walk") as caught:
        parse_track(text, "walk")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


TOWN = """
[[hotspot]]
name = "a"
lat = 45.0
lon = -30.0
[[hotspot]]
name = "b"
lat = 45.001
lon = -30.0
[[fault.walk]]
hotspots = ["a"]
trace = "walk.csv"
"""


def test_a_scenario_reads_the_track_beside_it(tmp_path: Path) -> None:
    (tmp_path / "town.toml").write_text(TOWN)
    with pytest.raises(UserError, match=r"fault\.walk\.trace"):
        load_scenario(str(tmp_path / "town.toml"))
    (tmp_path / "walk.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        load_scenario(str(tmp_path / "town.toml"))
    (tmp_path / "walk.csv").write_text(CSV)
    (walk,) = load_scenario(str(tmp_path / "town.toml")).faults.walk
    assert walk.points == ((0.0, 45.0, -30.0), (60.0, 45.001, -30.0))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[city]\nhotspots = 1\n", "city.hotspots"),
        ("[city]\nhotspot = 9\n", "city.hotspot"),
        ("city = 3\n", "city"),
        ("[city]\n" + TOWN, "hotspot"),
        ("[city\n", "town.toml"),
    ],
)
def test_each_mistake_about_a_city_is_named(tmp_path: Path, text: str, field: str) -> None:
    (tmp_path / "town.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_scenario(str(tmp_path / "town.toml"))
    assert caught.value.field == field


def test_a_city_with_faults_is_that_city(tmp_path: Path) -> None:
    (tmp_path / "town.toml").write_text("[city]\nhotspots = 9\nseed = 4\n[[fault.crash]]\n")
    read, plain = load_scenario(str(tmp_path / "town.toml")), load_scenario("builtin:city:9:4")
    assert read.hotspots == plain.hotspots
    assert read.links == plain.links
    assert len(read.faults.crash) == 1
