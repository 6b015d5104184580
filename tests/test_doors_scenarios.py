"""A scenario or a published network that is not what it should be: one line says where and why."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors_helpers import Nursery, check_clear, run

SPOTS = """
[[hotspot]]
name = "pier"
lat = 45.0
lon = 7.0
[[hotspot]]
name = "mole"
lat = 45.001
lon = 7.001
"""
BROKEN = {
    "bad TOML": (SPOTS + "[[hotspot]\n", "not valid TOML"),
    "unknown key": (SPOTS + "colour = 3\n", "hotspot 'mole'.colour"),
    "misspelt section": (SPOTS + "[radios]\n", "did you mean 'radio'?"),
    "duplicate name": (SPOTS.replace("mole", "pier"), "'pier' stands twice"),
    "link to nobody": (SPOTS + '[[link]]\na = "pier"\nb = "moon"\n', "no hotspot 'moon'"),
    "link to itself": (SPOTS + '[[link]]\na = "pier"\nb = "pier"\n', "'pier' to itself"),
    "empty": ("", "add at least one [[hotspot]]"),
    "binary": (b"\x00\xff\xfe\x80" * 300, "not UTF-8 text"),
    "latitude of no place": (SPOTS.replace("45.001", "145.0"), "hotspot 'mole'.lat"),
    "not a number": (SPOTS.replace("45.001", "nan"), "hotspot 'mole'.lat"),
    "text for a number": (SPOTS.replace("45.001", '"45"'), "hotspot 'mole'.lat"),
    "missing position": (SPOTS.replace("lon = 7.001\n", ""), "hotspot 'mole'.lon"),
    "a world apart": (SPOTS.replace("45.001", "60.0"), "--bbox"),
    "trace without file": (SPOTS + '[traffic]\nformat = "azure"\n', "traffic.file"),
}
COMMANDS = {
    "sim run": ["sim", "run", "town.toml", "--seconds", "10"],
    "sim telemetry": ["sim", "telemetry", "town.toml", "-o", "links.csv"],
    "demo": ["demo", "--scenario", "town.toml", "--headless"],
    "sim live": ["sim", "live", "town.toml", "--seconds", "5"],
    "sim world": ["sim", "world", "town.toml", "--dir", "w", "--ledger", "unix:nowhere"],
}

LEAVES = ("io_cli", "io_demo", "live.io_live", "io_world", "io_demand")
OWNERS = [f"radio_sim.{leaf}" for leaf in LEAVES]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("said"), *OWNERS)
    yield nursery
    nursery.close()


def write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_scenario_is_named(
    nursery: Nursery, tmp_path: Path, case: str, command: str
) -> None:
    content, words = BROKEN[case]
    write(tmp_path / "town.toml", content)
    check_clear(nursery.run(*COMMANDS[command], cwd=tmp_path), words)
    assert [path.name for path in tmp_path.iterdir()] == ["town.toml"], "nothing was left behind"


def test_the_same_as_a_person_types_it(tmp_path: Path) -> None:
    write(tmp_path / "town.toml", BROKEN["duplicate name"][0])
    check_clear(run("sim", "run", "town.toml", cwd=tmp_path), "'pier' stands twice")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_scenario_that_is_not_there_is_named(
    nursery: Nursery, tmp_path: Path, command: str
) -> None:
    check_clear(nursery.run(*COMMANDS[command], cwd=tmp_path), "town.toml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sim", "run", "builtin:city:1"], "hotspots"),
        (["sim", "run", "builtin:village"], "builtin:village"),
        (["sim", "run", "builtin:city", "--preset", "grand"], "--preset"),
        (["sim", "run", "builtin:city", "--seconds", "0"], "--seconds"),
        (["sim", "run", "builtin:city", "--seconds", "nan"], "--seconds"),
        (["sim", "run", "builtin:city", "--seed", "-1"], "--seed"),
        (["sim", "run", "builtin:city", "--seed", "x"], "--seed"),
        (["sim", "telemetry", "builtin:city", "-o", "/dev/full", "--seconds", "60"], "space"),
        (["sim", "telemetry", "builtin:city", "-o", ".", "--seconds", "60"], "directory"),
        (["sim", "telemetry", "builtin:city", "-o", "x", "--start-hour", "nan"], "--start-hour"),
        (["demo", "--port", "99999"], "--port"),
        (["demo", "--seconds", "-1"], "--seconds"),
        (["demo", "--trace", "nowhere.csv"], "--trace"),
        (["demo", "--speedup", "0"], "--speedup"),
        (["demo", "--rate", "-5"], "--rate"),
        (["demo", "--dir", "/dev/null/x"], "/dev/null"),
        (["sim", "demand", "builtin:city", "--gateway", "x", "--status", "s"], "--gateway"),
    ],
)
def test_bad_options_are_named(
    nursery: Nursery, tmp_path: Path, arguments: list[str], words: str
) -> None:
    check_clear(nursery.run(*arguments, cwd=tmp_path), words)


GOOD = {
    "meshviewer": {
        "nodes": [
            {"node_id": "a", "hostname": "a", "is_online": True,
             "location": {"latitude": 50.0, "longitude": 8.0}},
            {"node_id": "b", "hostname": "b", "is_online": True,
             "location": {"latitude": 50.001, "longitude": 8.0}},
        ],
        "links": [{"source": "a", "target": "b", "type": "wifi", "source_tq": 0.9}],
    },
    "meshnet-lab": {
        "nodes": [{"id": "a", "x": 50.0, "y": 8.0}, {"id": "b", "x": 50.001, "y": 8.0}],
        "links": [{"source": "a", "target": "b"}],
    },
    "netjson": {
        "type": "NetworkGraph",
        "protocol": "olsr",
        "version": "1",
        "metric": "ETX",
        "nodes": [
            {"id": "a", "properties": {"lat": 50.0, "lon": 8.0}},
            {"id": "b", "properties": {"lat": 50.001, "lon": 8.0}},
        ],
        "links": [{"source": "a", "target": "b", "cost": 1.2}],
    },
    "nyc-mesh": [
        {"id": 1, "status": "Installed", "coordinates": [-74.0, 40.7, 20]},
        {"id": 2, "status": "Installed", "coordinates": [-74.001, 40.7, 20]},
    ],
}  # fmt: skip


def spoilt(form: str) -> dict[str, tuple[bytes, str]]:
    """Ways in which a file of this format goes wrong on its way here."""
    text = json.dumps(GOOD[form])
    document = json.loads(text)
    is_list = isinstance(document, list)
    nobody: object = [] if is_list else {**document, "nodes": [], "links": []}
    nowhere = text.replace("50.0", "null").replace("40.7", "null")
    if is_list:
        nodes: object = [3, 4]
    else:
        nodes = {**document, "nodes": [*document["nodes"][:1], 3], "links": 5}
    return {
        "cut short": (text[: len(text) // 2].encode(), "not valid JSON"),
        "empty": (b"", "net.json"),
        "binary": (b"\x00\x80" * 100, "no UTF-8 text"),
        "broken archive": (gzip.compress(text.encode())[:-9], "broken archive"),
        "no nodes": (json.dumps(nobody).encode(), ""),
        "no positions": (nowhere.encode(), ""),
        "wrong types": (json.dumps(nodes).encode(), ""),
        "a number": (b"42", "net.json"),
    }


@pytest.mark.parametrize("case", spoilt("netjson"))
@pytest.mark.parametrize("form", GOOD)
def test_a_spoilt_export_is_named(nursery: Nursery, tmp_path: Path, form: str, case: str) -> None:
    content, words = spoilt(form)[case]
    write(tmp_path / "net.json", content)
    done = nursery.run(
        "sim", "import", "net.json", "--format", form, "-o", "town.toml", cwd=tmp_path
    )
    check_clear(done, words)
    assert not (tmp_path / "town.toml").exists()


@pytest.mark.parametrize("form", GOOD)
def test_the_good_export_is_taken(nursery: Nursery, tmp_path: Path, form: str) -> None:
    write(tmp_path / "net.json", json.dumps(GOOD[form]))
    done = nursery.run(
        "sim", "import", "net.json", "--format", form, "-o", "town.toml", "--json", cwd=tmp_path
    )
    assert done.code == 0, done
    assert json.loads(done.out)["hotspots"] == 2


def test_a_failed_import_leaves_the_older_scenario(nursery: Nursery, tmp_path: Path) -> None:
    write(tmp_path / "net.json", "{")
    write(tmp_path / "town.toml", SPOTS)
    check_clear(nursery.run("sim", "import", "net.json", "-o", "town.toml", cwd=tmp_path))
    assert (tmp_path / "town.toml").read_text() == SPOTS
