"""The packaging folder: what it installs is what the command prints, and names what exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_docs import check_wavecomb

import wavecomb
from hotspot.config import parse_config
from hotspot.services import procd_script, systemd_unit
from hotspot.uci import uci_to_toml

FOLDER = ROOT / "packaging"
RECIPE = (FOLDER / "openwrt" / "Makefile").read_text()


def test_units_and_scripts_are_those_that_the_command_prints() -> None:
    unit = (FOLDER / "systemd" / "wavecomb.service").read_text()
    assert unit == systemd_unit("/usr/bin/wavecomb")
    script = (FOLDER / "openwrt" / "files" / "wavecomb.init").read_text()
    assert script == procd_script("/usr/bin/wavecomb")


def test_the_update_unit_calls_commands_that_exist_and_systemd_accepts_it(tmp_path: Path) -> None:
    text = (FOLDER / "systemd" / "wavecomb-update.service").read_text()
    lines = re.findall(r"^Exec\w+=\S+/start (.+)$", text, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        check_wavecomb(shlex.split(line.replace("${RELEASES}", "URL")))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    for name in ("wavecomb-update.service", "wavecomb-update.timer"):
        body = (FOLDER / "systemd" / name).read_text()
        (tmp_path / name).write_text(re.sub(r"=/var\S+/start", "=/bin/true", body))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "wavecomb-update.timer")],
        capture_output=True,
        text=True,
    )
    assert [line for line in done.stderr.splitlines() if "wavecomb-update" in line] == []


def test_the_recipe_installs_files_that_exist_and_this_version() -> None:
    assert f"PKG_VERSION:={wavecomb.__version__}\n" in RECIPE
    for name in re.findall(r"\./files/(\S+)", RECIPE):
        assert (FOLDER / "openwrt" / "files" / name).is_file(), name
    for name in re.findall(r"\$\(WAVECOMB_SOURCE\)/(\S+)", RECIPE):
        assert (ROOT / name).exists(), name
    assert "scapy" not in RECIPE.split("DEPENDS")[1].splitlines()[0]
    for shell in sorted((FOLDER / "openwrt" / "files").glob("wavecomb.[is]*")):
        assert subprocess.run(["sh", "-n", shell]).returncode == 0


def test_the_routers_settings_lack_only_the_cell() -> None:
    text = (FOLDER / "openwrt" / "files" / "wavecomb.config").read_text()
    toml = uci_to_toml(text, "wavecomb").replace('cell = ""', 'cell = "891e35a3393ffff"')
    assert parse_config(toml, "wavecomb").hotspot.page == "0.0.0.0:8710"


def test_the_core_imports_only_what_the_recipe_asks_for() -> None:
    """OpenWrt splits the standard library; these parts of it come as packages of their own."""
    code = (
        "import sys, hotspot.io_daemon, hotspot.io_owner, hotspot.io_keyring, hotspot.io_update\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    # lzma is one of them too, and zipfile does without.
    apart = {"asyncio", "ctypes", "dbm", "decimal", "email", "multiprocessing", "pydoc"}
    apart |= {"readline", "sqlite3", "unittest", "urllib", "uuid", "venv", "xml"}
    wanted = set(re.findall(r"\+python3-(\w+)", RECIPE)) - {"light", "pynacl"}
    assert set(done.stdout.split()) & apart <= wanted
