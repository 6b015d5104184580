"""`wavecomb sim`: what each command prints, its files, and one line for each mistake."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import world
from chain.io_terminal import run_command
from radio_sim.assemble import backhaul_of, links_of
from radio_sim.city import make_city
from radio_sim.io_cli import main
from radio_sim.io_scenario import load_scenario
from radio_sim.io_telemetry import gateways_of
from radio_sim.telemetry import COLUMNS, Telemetry
from routing.types import LinkSample

MESH = {
    "nodes": [
        {"id": "0", "x": 51.30, "y": 12.37},
        {"id": "1", "x": 51.301, "y": 12.37},
        {"id": "2"},
    ],
    "links": [
        {"source": "0", "target": "1", "source_tq": 0.9, "target_tq": 1, "type": "wifi"},
        {"source": "1", "target": "2", "source_tq": 1, "target_tq": 1, "type": "other"},
    ],
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(main, list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def rows_of(seed: int, seconds: int = 1200) -> np.ndarray:
    city = make_city(20, 3)
    backhaul = backhaul_of(city, links_of(city, 1), 1)
    model = Telemetry(20, backhaul.links, gateways_of(city), seed)
    return np.vstack(list(model.samples(seconds)))


def test_a_run_prints_figures_and_repeats_itself(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("run", "builtin:city:12:1", "--minutes", "3", "--json")
    code, first, err = run(capsys, *arguments)
    _, second, _ = run(capsys, *arguments)
    one, other = json.loads(first), json.loads(second)
    assert (code, err) == (0, "")
    assert one["digest"] == other["digest"]
    assert one["ledger_root"] == other["ledger_root"]
    assert one["beacons_sent"] == 12 * 6  # registrations bind in the third epoch
    _, text, progress = run(capsys, *arguments[:-1])
    assert one["digest"] in text
    assert "100 %" in progress


def test_an_import_writes_a_scenario_that_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, target = tmp_path / "mesh.json", tmp_path / "mesh.toml"
    source.write_text(json.dumps(MESH))
    code, out, _ = run(capsys, "import", str(source), "-o", str(target), "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["hotspots"], report["placed_beside_a_neighbour"]) == (3, 1)
    assert len(load_scenario(str(target)).hotspots) == 3
    _, text, _ = run(capsys, "import", str(source), "-o", str(target))
    assert "3 hotspots, links: 1 wired, 1 wireless" in text
    assert run(capsys, "run", str(target), "--seconds", "30", "--json")[0] == 0


def test_telemetry_is_a_table_of_link_samples(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "links.csv"
    arguments = ["telemetry", "builtin:city:12:1", "--seconds", "60", "-o", str(target), "--json"]
    code, out, _ = run(capsys, *arguments)
    lines = target.read_text().splitlines()
    assert code == 0
    assert json.loads(out)["rows"] == len(lines) - 1
    assert tuple(lines[0].split(",")) == COLUMNS
    sample = LinkSample(*map(int, lines[1].split(",")))
    assert sample.time_ms == 5000
    assert sample.rate_kbps > 0
    before = target.read_bytes()
    run(capsys, *arguments)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.toml"], "no file 'nowhere.toml'"),
        (["run", "builtin:city", "--hours", "-1"], "--hours: -1 is out of range"),
        (["run", "builtin:city", "--preset", "x"], "--preset: no 'x'"),
        (["import", "nowhere.json", "-o", "x.toml"], "no file 'nowhere.json'"),
        (["import", __file__, "-o", "x.toml"], "neither JSON nor CSV"),
        (["import", __file__, "-o", "x.toml", "--largest", "0"], "--largest: 0 is too few"),
        (["telemetry", "builtin:city", "--step", "0", "-o", "x.csv"], "--step: 0"),
        (["telemetry", "builtin:city", "-o", "/nowhere/x.csv", "--json"], "/nowhere/x.csv"),
        (["telemetry", "builtin:city:900", "--seconds", "99999999", "-o", "x"], "rows"),
    ],
)
def test_each_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code in (1, 2)
    assert bool(out) == ("--json" in arguments)
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "5,5,4,6"])
def test_a_bad_box_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, box: str
) -> None:
    source = tmp_path / "mesh.json"
    source.write_text(json.dumps(MESH))
    code, _, err = run(capsys, "import", str(source), "-o", str(tmp_path / "x"), "--bbox", box)
    assert code == 2
    assert "--bbox" in err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "wavecomb sim run builtin:city" in capsys.readouterr().out


def test_live_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Live:
        @staticmethod
        def main(argv: Sequence[str]) -> int:
            asked.append(list(argv))
            return 0

    monkeypatch.setitem(sys.modules, "radio_sim.live.io_live", Live)
    assert main(["live", "--seconds", "5"]) == 0
    assert asked == [["--seconds", "5"]]


def test_telemetry_stays_within_what_links_can_do() -> None:
    rows = rows_of(1)
    columns = dict(zip(COLUMNS, rows.T, strict=True))
    assert np.all(columns["rate_kbps"] > 0)
    assert np.all(rows >= 0)
    assert np.all(columns["load_kbps"] <= columns["rate_kbps"])
    assert np.all(columns["busy_permille"] <= 1000)
    assert np.all(columns["loss_permille"] <= 1000)
    # Directions of a link stand next to each other; a queue needs a busy radio at either end.
    busy = columns["busy_permille"].reshape(-1, 2).max(axis=1)
    queued = columns["queue_bytes"].reshape(-1, 2).max(axis=1)
    assert np.mean(queued[busy < 900] == 0) > 0.95


def test_telemetry_follows_its_seed() -> None:
    np.testing.assert_array_equal(rows_of(1), rows_of(1))
    assert not np.array_equal(rows_of(1), rows_of(2))


def test_evening_is_busier_than_night_and_full_radios_queue() -> None:
    city = make_city(20, 3)
    backhaul = backhaul_of(city, links_of(city, 1), 1)
    model = Telemetry(20, backhaul.links, gateways_of(city), 1)
    night = np.vstack(list(model.samples(3600, 10, start_hour=3.5)))
    evening = np.vstack(list(model.samples(3600, 10, start_hour=19.5)))
    assert evening[:, 4].mean() > 2 * night[:, 4].mean()
    full = evening[evening[:, 5] == 1000]
    assert len(full) > 0
    assert np.mean(full[:, 6] > 0) > 0.3


def test_the_world_bench_ends_with_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bench.world", "--hotspots", "12", "--preset", "testbed", "--minutes", "3"]
    arguments.append("--json")
    monkeypatch.setattr(sys, "argv", arguments)
    assert world.main() == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert world.main() == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["digest"] == second["digest"]
    assert first["realtime_factor"] > 0
    assert first["transmissions"] == 12 * 6
