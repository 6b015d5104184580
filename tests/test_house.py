"""What must hold across the whole house: imports, integers in the ledger, small pieces."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import wavecomb

SOURCES = ("chain", "hotspot", "routing", "radio_sim", "coverage/coverage_map")
IO_MODULES = {"asyncio", "socket", "time", "sqlite3", "duckdb", "aiohttp", "pyroute2", "scapy"}
TOO_MUCH_FOR_A_ROUTER = {
    "numpy",
    "scapy",
    "asyncio",
    "aiohttp",
    "h3",
    "pyroute2",
    "lightgbm",
    "scipy",
}


def sources() -> list[Path]:
    return [
        path
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "node_modules" not in path.parts
    ]


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_coverage_is_a_source_root_and_never_a_package() -> None:
    assert not (ROOT / "coverage" / "__init__.py").exists()


def test_only_io_files_touch_the_outside_world() -> None:
    guilty = {}
    for path in sources():
        if path.name.startswith("io_"):
            continue
        banned = imported(ast.parse(path.read_text())) & IO_MODULES
        if path == ROOT / "hotspot" / "radio" / "layer.py":
            banned -= {"scapy"}
        if banned:
            guilty[str(path.relative_to(ROOT))] = sorted(banned)
    assert guilty == {}


def test_the_ledger_knows_integers_only() -> None:
    guilty = []
    for path in sorted((ROOT / "chain").rglob("*.py")):
        if path.name.startswith("io_"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            is_division = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            if is_float or is_division:
                guilty.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert guilty == []


def test_functions_stay_small() -> None:
    lengths = []
    for path in sources():
        lengths.extend(
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
    assert statistics.median(lengths) <= 11
    assert statistics.quantiles(lengths, n=20)[-1] <= 45


def test_files_stay_readable() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in sources()
        if (n := len(p.read_text().splitlines())) > 600
    }
    assert long == {}


def test_the_always_on_daemon_imports_only_what_a_router_can_carry() -> None:
    code = "import sys, hotspot.io_daemon; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert set(done.stdout.split()) & TOO_MUCH_FOR_A_ROUTER == set()


def test_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == wavecomb.__version__


@pytest.mark.parametrize("command", sorted(wavecomb.COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wavecomb", command, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0
    assert "example" in done.stdout.lower()


def test_an_unknown_command_is_one_clear_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wavecomb", "nonsense"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "wavecomb --help" in done.stderr
