"""`wavecomb map plan | bounty | drive | import` as people type it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from chain.errors import UserError
from coverage_map import io_cli
from coverage_map.cells import parse, resolutions
from coverage_map.mappers_import import match_drive, summarise
from coverage_map.planning.io_world import measured_of_csv
from coverage_map.store.io_keeper import Keeper

from .planner_helpers import site

SITES = "lat,lon,eirp_dbm\n47.380,8.540,20\n47.382,8.545,20\n47.376,8.538,20\n"
CIRCLE = ("--circle", "47.38,8.54,1200")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("sites.csv").write_text(SITES)
    draws = np.random.default_rng(1).uniform(-0.005, 0.005, (60, 2))
    lines = [f"47.38,8.54,{47.38 + a:.6f},{8.54 + b:.6f},2.437e9,-80" for a, b in draws]
    lines += ["48,9,48,9,868e6,-70", "nonsense"]
    header = "tx_lat,tx_lon,rx_lat,rx_lon,frequency_hz,rssi_dbm"
    Path("drive.csv").write_text("\n".join([header, *lines]))
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert io_cli.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_if_agrees_with_itself_in_text_and_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "what-if", "--sites", "sites.csv", "--at", "47.39,8.55", "--remove", "1"]
    found = answer(capsys, *words)
    assert found["gained"]["cells"] > 0
    assert io_cli.main(words) == 0
    text = capsys.readouterr().out
    assert f"gained{found['gained']['cells']:19}" in text
    assert "credits a settlement expected" in text


def test_placing_goes_on_from_what_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("plan", "place", "--sites", "sites.csv", *CIRCLE, "--count", "2", "--keep", "work")
    first = answer(capsys, *words)
    assert list((folder / "work").glob("*.npz"))
    assert answer(capsys, *words) == first
    assert io_cli.main(list(words)) == 0
    assert "of what any 2 of" in capsys.readouterr().out


def test_a_report_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "plan", "report", "--sites", "sites.csv", *CIRCLE, "--title", "Town")
    assert found == {"report": "report.html"}
    assert "<h1>Town</h1>" in (folder / "report.html").read_text()


@pytest.mark.parametrize("question", ["best-server", "interference", "population", "gaps"])
def test_every_question_answers_in_both_forms(
    folder: Path, capsys: pytest.CaptureFixture[str], question: str
) -> None:
    words = ["plan", question, "--sites", "sites.csv", *CIRCLE]
    assert isinstance(answer(capsys, *words), dict)
    assert io_cli.main(words) == 0
    assert capsys.readouterr().out


def test_bounties_go_to_unserved_reward_cells(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("bounty", "--sites", "sites.csv", *CIRCLE, "--dry-run", "--cells", "3")
    cells = answer(capsys, *words)["cells"]
    assert 0 < len(cells) <= 3
    assert set(resolutions([parse(cell) for cell in cells]).tolist()) == {8}
    with pytest.raises(UserError, match=r"^--key: is missing"):
        io_cli.main(["bounty", "--sites", "sites.csv", *CIRCLE])


def test_a_drive_is_planned_as_a_route(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("drive", "--sites", "sites.csv", *CIRCLE, "--count", "3", "--out", "way.gpx")
    found = answer(capsys, *words)
    assert found["mean_sd_after_db"] < found["mean_sd_before_db"]
    route = ElementTree.parse(folder / "way.gpx").getroot()
    points = [x.attrib for x in route.iter() if x.tag.endswith("rtept")]
    assert [float(p["lat"]) for p in points] == [stop["lat"] for stop in found["stops"]]


def test_a_drive_test_becomes_measured_cells(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = answer(capsys, "import", "drive.csv", "--sites", "sites.csv", "--out", "measured.csv")
    assert said == {"readings": 60, "unmatched": 1, "unreadable": 1, "hotspots": 1,
                    "cells": said["cells"]}  # fmt: skip
    rows = list(csv.DictReader(Path("measured.csv").read_text().splitlines()))
    assert sum(int(row["count"]) for row in rows) == 60
    assert {row["dbm"] for row in rows} == {"-80.0"}
    cells, server, level, _ = measured_of_csv(Path("measured.csv"), 9)
    assert len(cells) == said["cells"]
    assert (set(server.tolist()), set(level.tolist())) == ({0}, {-80.0})
    plain = answer(capsys, "plan", "population", "--sites", "sites.csv", *CIRCLE)
    own = answer(
        capsys, "plan", "population", "--sites", "sites.csv", *CIRCLE, "--measured", "measured.csv"
    )
    assert plain["area"]["served_and_measured"]["cells"] == 0
    assert own["area"]["served_and_measured"]["cells"] > 0


def test_an_imported_drive_waits_for_two_other_devices(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.csv").write_text(Path("drive.csv").read_text().replace("-80", "-82"))
    Path("third.csv").write_text(Path("drive.csv").read_text().replace("-80", "-84"))

    def shown() -> int:
        keeper = Keeper(folder / "map")
        try:
            return int(keeper.view.level(9)["count"].sum())
        finally:
            keeper.close()

    for name, expected in (("drive", 0), ("drive", 0), ("other", 0)):
        answer(capsys, "import", f"{name}.csv", "--sites", "sites.csv", "--data", "map")
        assert shown() == expected
    answer(capsys, "import", "third.csv", "--sites", "sites.csv", "--data", "map")
    assert shown() > 100


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("plan", "gaps"), "--url"),
        (("plan", "gaps", "--sites", "none.csv"), "none.csv"),
        (("plan", "gaps", "--sites", "sites.csv", "--circle", "1,2"), "--circle"),
        (("plan", "what-if", "--sites", "sites.csv", "--at", "x"), "--at"),
        (("plan", "what-if", "--sites", "sites.csv", "--move", "9,47,8"), "hotspot"),
        (("plan", "compare", "--a", "x"), "--url"),
        (("plan", "gaps", "--url", "http://127.0.0.1:1"), "--url"),
        (("import", "sites.csv", "--sites", "sites.csv"), "sites.csv header"),
        (("import", "drive.csv"), "--url"),
        (("drive", "--sites", "sites.csv"), "area"),
    ],
)
def test_mistakes_name_their_option(folder: Path, words: tuple[str, ...], field: str) -> None:
    with pytest.raises(UserError) as refused:
        io_cli.main(list(words))
    assert refused.value.field == field
    assert refused.value.remedy


def test_a_reading_belongs_to_the_hotspot_beside_its_transmitter() -> None:
    sites = {3: site(3, 47.0, 8.0), 5: site(5, 47.01, 8.0)}
    tx = np.array([[47.0002, 8.0], [47.0098, 8.0], [47.005, 8.0]])
    rx = np.array([[47.001, 8.0]] * 3)
    drive = match_drive(tx, rx, np.array([-70.0, -80.0, -90.0]), sites)
    assert (drive.hotspot.tolist(), drive.unmatched) == ([3, 5], 1)
    heard = summarise(drive)
    assert heard.median_dbm.tolist() == [-70.0, -80.0]
    assert len(match_drive(tx, rx, np.zeros(3), {}).cell) == 0
