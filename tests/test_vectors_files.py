"""The vectors as files: written, checked, and a change of one value found and named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h3
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.cli.io_cli import main
from chain.vectors.suite import get_file_problem, make_suite
from chain.vectors.suites import INDEX, SUITES, check_files
from chain.vectors.town import PLACES, RES_8_CELL, RES_9_CELL

Files = dict[str, Any]
MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the command writes them, in another process."""
    path = tmp_path_factory.mktemp("vectors")
    command = [sys.executable, "-m", "wavecomb", "chain", "vectors", "--out", str(path), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    value = json.loads(done.stdout)
    assert value["files"] == len(SUITES)
    assert value["bytes"] == sum(file.stat().st_size for file in path.iterdir()) < MOST_BYTES
    return path


@pytest.fixture(scope="module")
def files(directory: Path) -> Files:
    return {path.stem: json.loads(path.read_bytes()) for path in directory.iterdir()}


def test_they_are_the_same_bytes_every_time(directory: Path, tmp_path: Path) -> None:
    assert main(["vectors", "--out", str(tmp_path), "--json"]) == 0
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_check_of_all_passes(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "--check", str(directory), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["files"]) == (True, len(SUITES))
    assert result["cases"] > 1_000


def test_every_case_says_what_it_is_about(files: Files) -> None:
    for suite in SUITES:
        content = files[suite.name]
        assert content["about"].endswith(".")
        assert {case["function"] for case in content["cases"]} == set(suite.functions)


def leaves(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every plain value in a JSON document."""
    if isinstance(value, dict):
        return [leaf for name in value for leaf in leaves(value[name], (*where, name))]
    if isinstance(value, list):
        return [leaf for n, item in enumerate(value) for leaf in leaves(item, (*where, n))]
    return [where]


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + 1
    flipped = "1" if value[-1:] == "0" else "0"
    return value[:-1] + flipped if value else "00"


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_one_changed_output_is_found_and_named(suite: Any, files: Files, data: Any) -> None:
    cases = files[suite.name]["cases"]
    number = data.draw(st.integers(0, len(cases) - 1))
    path = data.draw(st.sampled_from(leaves(cases[number]["output"], ("output",)) or [()]))
    if not path:
        return  # an empty list has no value to change
    case = json.loads(json.dumps(cases[number]))
    at(case, path[:-1])[path[-1]] = changed(at(case, path))
    problem = get_file_problem(suite, {"suite": suite.name, "about": "", "cases": [case]})
    place = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path)
    assert problem.startswith(f"{suite.name}: case {case['name']}: {place[1:]}: is ")


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_changed_inputs_are_found_where_they_matter_and_never_break_the_check(
    suite: Any, files: Files
) -> None:
    """A changed input may give the same output: a distance is rounded down."""
    cases = files[suite.name]["cases"]
    found = tried = 0
    for case in cases[:: max(1, len(cases) // 20)]:
        paths = leaves(case["input"])
        for path in paths[:: max(1, len(paths) // 3)]:
            copy = json.loads(json.dumps(case))
            at(copy["input"], path[:-1])[path[-1]] = changed(at(copy["input"], path))
            content = {"suite": suite.name, "about": "", "cases": [copy]}
            found += bool(get_file_problem(suite, content))
            tried += 1
    assert found > tried // 10


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("cbor", "cases"), [], "has no cases"),
        (("cbor", "suite"), "wire", "no file of this suite"),
        (("cbor", "cases", 0, "function"), "unknown", "is not one of"),
        (("cbor", "cases", 0), 5, "must be an object"),
        (("cbor", "cases", 0, "input"), {}, "input can't be used"),
        (("cbor", "cases", 0, "input"), None, "input can't be used"),
        ((INDEX, "suites", "cbor"), 3, "the index says 3"),
        ((INDEX, "suites"), {}, "must list the files"),
        ((INDEX, "suites", "music"), 1, "unknown here"),
        ((INDEX, "format"), 2, "must be 1"),
        ((INDEX,), [], "must be 1"),
    ],
)
def test_what_is_no_vector_is_said_so(
    files: Files, where: tuple[Any, ...], value: Any, said: str
) -> None:
    copy = json.loads(json.dumps({name: files[name] for name in (INDEX, "cbor")}))
    copy[INDEX]["suites"] = {"cbor": copy[INDEX]["suites"]["cbor"]}
    at(copy, where[:-1])[where[-1]] = value
    assert said in check_files(copy.__getitem__).problem


def test_a_mutated_file_fails_the_command_by_name(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    trust = json.loads((tmp_path / "trust.json").read_bytes())
    trust["cases"][4]["output"][1] += 1
    (tmp_path / "trust.json").write_text(json.dumps(trust))
    assert main(["vectors", "--check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"vectors FAILED at trust: case {trust['cases'][4]['name']}: output[1]: is " in said


def test_missing_and_broken_files_are_one_clear_line(directory: Path, tmp_path: Path) -> None:
    def run(path: Path) -> str:
        command = [sys.executable, "-m", "wavecomb", "chain", "vectors", "--check", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "index.json is missing" in run(tmp_path)
    (tmp_path / "index.json").write_text("{")
    assert "is no JSON" in run(tmp_path)
    (tmp_path / "index.json").write_bytes(directory.joinpath("index.json").read_bytes())
    assert "cbor.json is missing" in run(tmp_path)


def test_the_places_of_the_town_are_h3_s() -> None:
    for cell, latitude, longitude in PLACES.values():
        centre = h3.cell_to_latlng(f"{cell:x}")
        assert (latitude, longitude) == tuple(round(degrees * 1e6) for degrees in centre)
    first = f"{PLACES[4][0]:x}"
    assert h3.cell_to_parent(first, 8) == f"{RES_8_CELL:x}"
    assert h3.cell_to_parent(first, 9) == f"{RES_9_CELL:x}"


def test_two_cases_of_one_name_are_refused() -> None:
    from chain.vectors.suite import Suite

    def generate() -> Any:
        yield from (("same", "f", {}), ("same", "f", {}))

    with pytest.raises(ValueError, match="two cases"):
        make_suite(Suite("twice", "Twice.", {"f": lambda _: 0}, generate))
