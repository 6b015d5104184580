"""Docs are tests: commands in them run, links resolve, tables name what exists and all of it."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from doors_helpers import environment

import wavecomb
from chain.rules.verdicts import REASONS
from chain.service.api import ROUTES
from coverage_map.service.openapi import OPERATIONS
from hotspot.gateway.config import GatewayConfig, parse_gateway_config
from radio_sim.scenario import (
    HotspotSite,
    PublishedLink,
    RadioSettings,
    TrafficSettings,
    parse_scenario,
)
from radio_sim.scenario import __doc__ as scenario_doc

DOCS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "bench").glob("*.md")],
    key=str,
)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
RUN_SECONDS = 120


@dataclass(frozen=True)
class Block:
    """A fenced block: its file, tag and text."""

    file: Path
    tag: str
    text: str


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    return [Block(path, tag.strip(), text) for tag, text in FENCE.findall(path.read_text())]


ALL_BLOCKS = [block for path in DOCS for block in blocks(path)]
RUNNABLE = [p for p in DOCS if any(block.tag == "sh" for block in blocks(p))]


# --- commands -------------------------------------------------------------------------------------


def commands_in(text: str) -> Iterator[list[str]]:
    """Every `wavecomb ...`, `python -m bench...` and `make ...` in code, as words."""
    fenced = [line for tag, body in FENCE.findall(text) if "sh" in tag for line in lines_of(body)]
    rest = FENCE.sub("", text)
    indented = re.findall(r"^ {4}((?:wavecomb|python -m|make) .*)$", rest, re.MULTILINE)
    inline = re.findall(r"`((?:wavecomb|python -m|make) [^`\n]*)`", rest)
    for line in [*fenced, *indented, *inline]:
        words = shlex.split(line.replace("…", ""), comments=True)
        while words and words[0] in ("sudo", "exec"):
            words.pop(0)
        if words:
            words[0] = words[0].rsplit("/", 1)[-1]
            yield words


def lines_of(body: str) -> list[str]:
    return [line for line in body.replace("\\\n", " ").splitlines() if line.strip()]


@cache
def help_of(*words: str) -> str:
    """What `wavecomb WORDS --help` prints; empty if there is no such command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = wavecomb.main([*words, "--help"])
        except SystemExit as left:
            code = int(left.code or 0)
    return said.getvalue() if code == 0 else ""


def verbs_of(*words: str) -> list[str]:
    """Sub-commands of a command, from its help."""
    return re.findall(r"^    (\w[\w-]*)(?= |$)", help_of(*words), re.MULTILINE)


def check_wavecomb(words: list[str]) -> None:
    """A `wavecomb` command line names a command, a verb and options that exist."""
    if words[:1] in ([], ["--version"], ["--help"]) or words[0].isupper():
        return
    command = words[0]
    assert command in wavecomb.COMMANDS, f"wavecomb {command}: no such command"
    place = [command]
    for word in words[1:]:
        verbs = verbs_of(*place)
        if not verbs or word.startswith("-") or word.isupper():
            break
        assert word in verbs, f"wavecomb {' '.join(place)} {word}: no such sub-command"
        place.append(word)
    known = set(re.findall(r"--?[a-z][a-z-]*", help_of(*place)))
    for word in words:
        if re.match(r"--?[a-z]", word):
            option = word.split("=")[0]
            assert option in known, f"wavecomb {' '.join(place)}: no option {option}"


def check_bench(words: list[str]) -> None:
    path = ROOT / (words[2].replace(".", "/") + ".py")
    if words[2].startswith("bench."):
        assert path.is_file(), f"{words[2]} is no module"
        for word in words[3:]:
            if word.startswith("--"):
                assert f'"{word}"' in path.read_text(), f"{words[2]}: no option {word}"


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_commands_in_docs_exist(path: Path) -> None:
    for words in commands_in(path.read_text()):
        if words[0] == "wavecomb":
            check_wavecomb(words[1:])
        elif words[:2] == ["python", "-m"]:
            check_bench(words)
        elif words[0] == "make":
            named = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
            assert set(named) <= make_targets(), words


@pytest.mark.parametrize("path", RUNNABLE, ids=name_of)
def test_commands_in_docs_run(path: Path, tmp_path: Path) -> None:
    (tmp_path / "wavecomb").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wavecomb "$@"\n')
    (tmp_path / "wavecomb").chmod(0o755)
    place = tmp_path / "scratch"
    place.mkdir()
    variables = {**environment(), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    for block in blocks(path):
        for line in lines_of(block.text) if block.tag == "sh" else []:
            if line.startswith("make "):
                continue
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=place,
                env=variables,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def all_commands() -> list[tuple[str, ...]]:
    return [
        place
        for command in wavecomb.COMMANDS
        for place in [(command,), *((command, verb) for verb in verbs_of(command))]
    ]


def test_every_help_has_examples_that_exist() -> None:
    for place in all_commands():
        text = help_of(*place)
        assert "examples:" in text, f"{place} shows no example"
        for line in text.split("examples:")[1].strip().splitlines():
            words = shlex.split(line, comments=True)
            assert words[: len(place) + 1] == ["wavecomb", *place]
            check_wavecomb(words[1:])


def test_every_option_is_explained() -> None:
    mute = []
    for place in all_commands():
        options = help_of(*place).split("options:")[1].split("examples:")[0]
        for entry in re.split(r"\n(?=  -)", options.strip("\n")):
            words = [w for w in entry.split() if not re.fullmatch(r"-.*|[A-Z=-]+,?|\{.*\}", w)]
            mute += [] if words else [f"wavecomb {' '.join(place)}: {entry.strip()}"]
    assert mute == []


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_links_resolve(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if not target.startswith(("http:", "https:", "#", "mailto:")):
            assert (path.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_files_that_docs_name_exist(path: Path) -> None:
    pattern = r"`((?:chain|hotspot|routing|radio_sim|tests|docs|bench|coverage_map)/[\w./-]+)`"
    for name in re.findall(pattern, path.read_text()):
        inside = ROOT / "coverage" / name if name.startswith("coverage_map") else ROOT / name
        assert inside.exists(), name


# --- tables and samples ---------------------------------------------------------------------------


def test_settings_in_docs_are_accepted() -> None:
    samples = [
        block for block in ALL_BLOCKS if block.tag == "toml" and "[[hotspot]]" not in block.text
    ]
    assert samples
    for block in samples:
        config = parse_gateway_config(block.text, name_of(block.file))
        assert config != GatewayConfig(), "a sample that changes nothing shows nothing"


def test_the_scenario_page_shows_every_key() -> None:
    (sample,) = [
        block.text for block in blocks(ROOT / "docs" / "scenarios.md") if block.tag == "toml"
    ]
    table = tomllib.loads(sample)
    parse_scenario(sample)
    for kind, shown in (
        (RadioSettings, table["radio"]),
        (TrafficSettings, table["traffic"]),
        (HotspotSite, table["hotspot"][0]),
        (PublishedLink, table["link"][0]),
    ):
        assert set(shown) == {field.name for field in fields(kind)}


def test_the_scenario_modules_own_sample_is_accepted() -> None:
    assert scenario_doc is not None
    sample = scenario_doc.split("As TOML:\n")[1].split("\nEvery mistake")[0]
    hotspots = '\n[[hotspot]]\nname = "mole-3"\nlat = 45.0\nlon = -30.0\n'
    assert len(parse_scenario(sample.replace("    ", "") + hotspots).links) == 1


def test_the_ledgers_page_lists_every_path_and_no_other() -> None:
    text = (ROOT / "docs" / "ledger-api.md").read_text()
    listed = set(re.findall(r"^\| `(GET|POST) (/[^?` ]*)", text, re.MULTILINE))
    assert listed == {(route.method, route.path) for route in ROUTES}


def test_the_ledgers_page_lists_every_query_parameter() -> None:
    text = (ROOT / "docs" / "ledger-api.md").read_text()
    listed = {
        (method, path): set(re.findall(r"(\w+)=", query))
        for method, path, query in re.findall(
            r"^\| `(GET|POST) (/[^?` ]*)\??([^`]*)`", text, re.MULTILINE
        )
    }
    for route in ROUTES:
        names = {p.name for p in route.parameters} - set(route.path_names)
        assert listed[route.method, route.path] == names, route.path


def test_the_ledgers_page_lists_every_verdict() -> None:
    text = (ROOT / "docs" / "ledger-api.md").read_text()
    assert [reason for reason in REASONS if f"`{reason}`" not in text] == []


def test_the_maps_page_lists_every_path_with_its_parameters() -> None:
    text = (ROOT / "docs" / "map-api.md").read_text()
    rows = re.findall(r"^\| `(/[^`]*)` \|([^|]*)\|", text, re.MULTILINE)
    listed = {path: tuple(parameters.strip(" `").split()) for path, parameters in rows}
    served = {op.path: tuple(p.name for p in op.parameters) for op in OPERATIONS}
    served.pop("/api")  # it is the document itself, named in the text
    assert {path: set(names) for path, names in listed.items()} == {
        path: set(names) for path, names in served.items()
    }
