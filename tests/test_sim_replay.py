"""Run folders: a replay comes to the same bytes, says what differs, and ends where the run did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from chain.io_terminal import run_command
from hotspot.radio.pcap import Packet, read_capture
from radio_sim.checkers.every import make_panel
from radio_sim.fleet import Fleet
from radio_sim.io_cli import main
from radio_sim.io_scenario import load_scenario, shipped_scenarios

SHORT = ("--preset", "minimal", "--seconds", "60", "--json")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(main, list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


STORM = """
[city]
hotspots = 10
[[fault.crash]]
per_hour = 200
[[fault.noise]]
start_s = 30
duration_s = 10
[[fault.liar]]
share = 0.2
[[fault.walk]]
share = 0.2
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short stormy run, kept; nobody may change it."""
    place = tmp_path_factory.mktemp("storm")
    (place / "storm.toml").write_text(STORM)
    arguments = ["run", str(place / "storm.toml"), *SHORT, "--check", "--out", str(place / "kept")]
    assert run_command(main, arguments) == 0
    return place / "kept"


@pytest.fixture
def storm(kept: Path, tmp_path: Path) -> Path:
    """A copy of that run, to do with as one likes."""
    return Path(shutil.copytree(kept, tmp_path / "kept"))


def test_a_replay_comes_to_the_same_digest_root_and_packets(
    storm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "replay", str(storm), "--json")
    saved = json.loads((storm / "run.json").read_text())["result"]
    again = json.loads(out)
    assert code == 0
    assert again["same"] is True
    for key in ("digest", "ledger_root", "packets_sha256"):
        assert again[key] == saved[key]
    assert saved["problems"] == {}


def test_the_kept_packets_are_a_capture_of_what_was_heard(storm: Path) -> None:
    packets = list(read_capture((storm / "air.pcapng").read_bytes()))
    assert packets
    assert all(isinstance(packet, Packet) for packet in packets)
    times = [packet.time_ns for packet in packets if isinstance(packet, Packet)]
    assert times == sorted(times)
    fates = json.loads((storm / "report.json").read_text())["fates"]
    assert len(packets) > fates["delivered"] > 0  # and an echo at each sender


@pytest.mark.parametrize(
    ("key", "value"), [("digest", "0" * 64), ("packets_sha256", "1" * 64)]
)
def test_a_replay_says_what_differs_and_whether_the_software_does(
    storm: Path, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    saved = json.loads((storm / "run.json").read_text())
    saved["result"][key] = value
    saved["software"]["sources_sha256"] = "older"
    (storm / "run.json").write_text(json.dumps(saved))
    code, out, _ = run(capsys, "replay", str(storm), "--json")
    assert code == 1
    assert json.loads(out)["differs"] == [key]
    assert json.loads(out)["software_differs"] == ["sources_sha256"]


def test_another_seed_in_the_folder_is_noticed(
    storm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = json.loads((storm / "run.json").read_text())
    saved["seed"] += 1
    (storm / "run.json").write_text(json.dumps(saved))
    code, out, _ = run(capsys, "replay", str(storm))
    assert code == 1
    assert "['digest', 'ledger_root', 'packets_sha256']" in out
    assert "software_differs     []" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "run.json").unlink(), "no run.json in it"),
        (lambda folder: (folder / "scenario.toml").unlink(), "no scenario.toml in it"),
        (lambda folder: (folder / "run.json").write_text("{"), "can't be read"),
        (lambda folder: (folder / "run.json").write_text("{}"), "can't be read"),
    ],
)
def test_a_folder_that_is_no_run_is_told_in_one_line(
    storm: Path, capsys: pytest.CaptureFixture[str], change: object, words: str
) -> None:
    assert callable(change)
    change(storm)
    for command in ("replay", "render"):
        code, out, err = run(capsys, command, str(storm))
        assert code == 2
        assert out == ""
        assert words in err
        assert err.count("\n") == 1


def test_a_run_never_writes_over_another(
    storm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (storm / "run.json").read_bytes()
    code, _, err = run(capsys, "run", "builtin:city:5", *SHORT, "--out", str(storm))
    assert code == 2
    assert "--out" in err
    assert (storm / "run.json").read_bytes() == before


def test_ctrl_c_keeps_what_there_is_and_it_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal comes while the world runs; what is kept is a run of the time it had."""
    folder = tmp_path / "kept"
    arguments = ["sim", "run", "builtin:city:5:1", "--hours", "400", "--out", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "wavecomb", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'coverage'}"},
    )
    assert process.stderr is not None
    assert "0 %" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert "interrupted          True" in out
    saved = json.loads((folder / "run.json").read_text())
    assert 0 < saved["seconds"] < 400 * 3600
    code, out, _ = run(capsys, "replay", str(folder), "--json")
    assert code == 0
    assert json.loads(out)["digest"] == saved["result"]["digest"]


@pytest.mark.parametrize("name", shipped_scenarios())
def test_scenarios_that_come_along_run_and_break_nothing(name: str) -> None:
    panel = make_panel()
    fleet = Fleet(load_scenario(f"builtin:{name}"), 1, "minimal", [panel])
    panel.attach(fleet)
    fleet.run(40)
    panel.look()
    panel.finish()
    assert {key: texts for key, texts in panel.verdicts().items() if texts} == {}
    assert fleet.scenario.faults
    assert fleet.scenario.description


def test_signatures_checked_at_every_receiver_change_nothing(
    capsys: pytest.CaptureFixture[str]
) -> None:
    digests = [
        json.loads(run(capsys, "run", "builtin:city:6", *SHORT, "--verify", how)[1])["digest"]
        for how in ("shared", "every")
    ]
    assert digests[0] == digests[1]


def test_fewer_beacons_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("builtin:city:6", "--minutes", "4", "--beacons", "1", "--json")
    code, out, _ = run(capsys, "run", *arguments)
    assert code == 0
    assert json.loads(out)["beacons_sent"] == 6 * 2
    code, _, err = run(capsys, "run", "builtin:city:6", "--beacons", "7")
    assert code == 2
    assert "--beacons: 7 is out of range" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "SCENARIO: missing"),
        (("run", "builtin:city:5", "--runs", "3"), "--runs: only a swarm"),
        (("run", "builtin:rain"), "builtin:storm"),
        (("bench", "--hotspots", "1"), "--hotspots: 1 is out of range"),
        (("bench", "--minutes", "0"), "--minutes: 0 is out of range"),
        (("run", "builtin:city:5", "--pcapng", "/nowhere/x"), "--pcapng"),
    ],
)
def test_each_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_bench_says_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "bench", "--hotspots", "8", "--minutes", "3", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["transmissions"] == 8 * 6
    assert result["realtime_factor"] > 0


def test_help_needs_nothing_heavy() -> None:
    code = "import sys, radio_sim.io_cli as c; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert {"numpy", "numba", "scipy", "h3"} & set(done.stdout.split()) == set()


def test_faults_that_a_command_leaves_out_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "links.csv"
    arguments = ("--seconds", "10", "-o", str(target), "--json")
    code, _, err = run(capsys, "telemetry", "builtin:split", *arguments)
    assert code == 0
    assert "no partition, load here" in err
    _, _, err = run(capsys, "telemetry", "builtin:city:5", *arguments)
    assert err == ""
