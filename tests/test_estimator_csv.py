from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import estimator as bench
from coverage_map.cells import distance_m
from coverage_map.estimator.csv_links import parse_table, to_plane
from coverage_map.estimator.diagram import STATED, draw, held_shares
from coverage_map.estimator.holdout import score, world_splits
from coverage_map.estimator.kernels import Scales

HEADER = "tx_lat,tx_lon,rx_lat,rx_lon,frequency_hz,rssi_dbm"


def test_degrees_become_metres() -> None:
    table = parse_table([HEADER, "47.0,8.0,47.01,8.02,868e6,-90", "47.0,8.0,46.99,8.0,868e6,-80"])
    expected = [float(distance_m(47.0, 8.0, *place)) for place in ((47.01, 8.02), (46.99, 8.0))]
    assert table.links.distance_m() == pytest.approx(expected, rel=1e-3)
    assert table.links.mast.tolist() == [0, 0]


@given(st.floats(-60.0, 60.0), st.floats(-180.0, 180.0))
@settings(max_examples=50, deadline=None)
def test_the_plane_keeps_distances_everywhere(latitude: float, longitude: float) -> None:
    east = (longitude + 0.03 + 180.0) % 360.0 - 180.0
    tx, rx = np.array([[latitude, longitude]]), np.array([[latitude + 0.02, east]])
    a, b = to_plane(tx, rx)
    real = float(distance_m(latitude, longitude, latitude + 0.02, east))
    assert float(np.hypot(*(a - b)[0])) == pytest.approx(real, rel=5e-3)


def test_metres_worlds_walls_heights_and_marks_are_read() -> None:
    lines = [
        "\ufefftx_x_m, tx_y_m,rx_x,rx_y,frequency_hz,rssi_dbm,site,brick,tx_height_m,rx_height_m",
        "0,0,3,4,2.4e9,-50,a,2,13,1",
        "0,0,3,4,2.4e9,-55,b,,13,1",
    ]
    links = parse_table(lines).links
    assert links.distance_m() == pytest.approx([13.0, 13.0])
    assert links.obstacles[:, 0].tolist() == [2.0, 0.0]
    assert links.world.tolist() == [0, 1]


def test_bad_rows_are_counted_and_nothing_else_is_lost() -> None:
    good = "47,8,47.01,8.02,868e6,-90"
    bad = ["47,8,47.01,8.02,868e6,NP", "47,8,97.01,8,868e6,-90", "47,8,47,8,0,-90",
           "47,8,47,8,868e6,300", "47,8"]  # fmt: skip
    table = parse_table([HEADER, bad[0], good, *bad[1:], good])
    assert (len(table.links), table.refused) == (2, 5)
    assert table.first_problem.startswith("line 2: ")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "header: the file is empty; "),
        ([HEADER + ",rssi_dbm", "1,2,3,4,2.4e9,6,7"], "header: rssi_dbm stands twice; "),
        ([HEADER, "1,2,3,4,2437,-70"], "frequency_hz: 2437 is no radio's; give hertz"),
        ([HEADER, "1,2,3,4,2.4e9,"], "rssi_dbm: nothing is no number"),
        (["a,b"], "header: positions are missing; "),
        (["tx_x,tx_y,rx_x,rx_y,rssi_dbm", "1,2,3,4,5"], "header: no frequency_hz; "),
        ([HEADER, "1,2,3,x,5,6"], "rows: none can be read; "),
    ],
)
def test_a_hopeless_table_says_why(lines: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_table(lines)


@given(st.lists(st.text(alphabet="0123456789.,-eExnaif\"' ", max_size=40), max_size=8))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_a_table_or_a_value_error(lines: list[str]) -> None:
    try:
        table = parse_table([HEADER, *lines])
    except ValueError as problem:
        said = str(problem)
    else:
        said = f"{len(table.links)} and {table.refused}; read"
        assert len(table.links) + table.refused <= len(lines)
    assert "; " in said


def test_normal_errors_lie_on_the_diagonal() -> None:
    errors = np.random.default_rng(1).standard_normal(40_000)
    assert held_shares(3.0 * errors, np.full(40_000, 3.0)) == pytest.approx(STATED, abs=0.01)


def test_the_diagram_is_a_picture_with_every_curve() -> None:
    picture = ElementTree.fromstring(draw({"a<b": STATED, "c": STATED**2}))
    lines = [x for x in picture if x.tag.endswith("polyline")]
    assert len(lines) == 3
    assert any("a<b: 90 % holds 90.0%" in (x.text or "") for x in picture)


def test_the_bench_scores_anybodys_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draws = np.random.default_rng(3)
    rows = [
        f"0,0,{x:.1f},{y:.1f},868e6,{-30 - 30 * math.log10(math.hypot(x, y) + 5) + e:.1f}"
        for x, y, e in zip(*draws.uniform(-300, 300, (2, 56)), draws.normal(0, 3, 56), strict=True)
    ]
    path, picture = tmp_path / "mine.csv", tmp_path / "mine.svg"
    path.write_text("\n".join(["tx_x,tx_y,rx_x,rx_y,frequency_hz,rssi_dbm", *rows]))
    asked = ["--dataset", str(path), "--block", "60", "--svg", str(picture), "--json"]
    assert bench.main(asked) == 0
    found = json.loads(capsys.readouterr().out)["mine"]
    assert 2.0 < found["rmse_db"] < 4.5
    assert found["rows"] == 56
    assert {"best_baseline_db", "improvement", "interval90"} <= set(found)
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("arguments", [["--dataset", "/nowhere.csv"], ["--block", "0"]])
def test_the_bench_says_what_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_building_never_seen(ground_truth: Path) -> None:
    archive = ground_truth / "radio" / "indoor35" / "indoor35ghz.tar.gz"
    if not archive.exists():
        pytest.skip("indoor35 is not present: ../shared/ground-truth")
    links = bench.read_indoor(archive)
    assert len(links) == 2_289
    every_third = links.take(np.arange(0, len(links), 3))
    result = score(every_third, world_splits(every_third), Scales())
    assert result.rmse_db() <= 9.2
    assert result.baselines_db["log_distance_walls"] > 9.5


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("end", ["", "\r\n"])
def test_tables_of_spreadsheets_are_read_as_those_with_commas(separator: str, end: str) -> None:
    rows = ["47.1,8.2,47.1001,8.2001,2437000000,-71.5", "47.1,8.2,47.1002,8.2002,2.437e9,-80.25"]
    plain = parse_table([HEADER, *rows])
    lines = [line.replace(",", separator).replace(".", ",") + end for line in [HEADER, *rows]]
    found = parse_table(["\ufeff" + lines[0], *lines[1:]])
    assert (found.refused, len(found.links)) == (0, 2)
    for name in ("tx_m", "rx_m", "rssi_dbm", "frequency_hz"):
        assert np.array_equal(getattr(found.links, name), getattr(plain.links, name))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_bench_says_where_all_readings_are_in_one_place(
    tmp_path: Path, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spot.csv"
    path.write_text("\n".join([HEADER, *["47,8,47.0001,8,2.4e9,-70"] * 20]), encoding=encoding)
    assert bench.main(["--dataset", str(path), "--json"]) == 2
    said = capsys.readouterr()
    assert "all readings lie in one block of 50 m; give a smaller --block" in said.out + said.err
