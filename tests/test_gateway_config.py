"""The gateway's settings and files: every mistake is one clear line that names the key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chain.errors import UserError
from hotspot.gateway.config import SAMPLE, GatewayConfig, parse_gateway_config
from hotspot.gateway.io_http import load_or_create_keys
from hotspot.overlay.io_link import parse_address

ROOT = Path(__file__).resolve().parent.parent


def test_the_sample_is_the_defaults_and_names_every_key() -> None:
    assert parse_gateway_config(SAMPLE, "sample") == GatewayConfig()
    for name, section in vars_of(GatewayConfig()):
        text = SAMPLE.split(f"[{name}]")[1].split("\n[")[0]
        assert re.findall(r"^(\w+) =", text, re.MULTILINE) == section


def vars_of(config: GatewayConfig) -> list[tuple[str, list[str]]]:
    sections = GatewayConfig.__dataclass_fields__
    return [(n, list(type(getattr(config, n)).__dataclass_fields__)) for n in sections]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[gateway\n", "FILE"),
        ("[gatway]\n", "[gatway]"),
        ("gateway = 3\n", "[gateway]"),
        ("[gateway]\nlisten = 3\n", "gateway.listen"),
        ("[gateway]\nport = 3\n", "gateway.port"),
        ("[gateway]\nbudget_tokens = -1\n", "gateway.budget_tokens"),
        ('[provider]\nbackend = "magic"\n', "provider.backend"),
        ('[provider]\nbackend = "openai"\n', "provider.url"),
        ("[provider]\nmodels = [3]\n", "provider.models"),
        ("[link]\nneighbours = [-3]\n", "link.neighbours"),
        ('[link]\npeers = ["one"]\n', "link.peers"),
        ("[spending]\nescrow_ucr = 0\n", "spending.escrow_ucr"),
    ],
)
def test_a_mistake_is_named(text: str, field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_gateway_config(text, "FILE")
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hotspot.gateway.io_main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "--config"),
        ({"g.toml": "[gateway\n"}, "not valid TOML"),
        ({"g.toml": '[ledger]\nurl = "unix:/nowhere/ledger.sock"\n'}, "ledger.url"),
        ({"g.toml": "", "hotspot.key": "ab" * 32}, "chmod 600"),
    ],
)
def test_the_command_fails_in_one_line(tmp_path: Path, files: dict[str, str], says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    done = run("--config", str(tmp_path / "g.toml"))
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("wavecomb: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_prints_help_and_sample() -> None:
    assert "examples:" in run("--help").stdout
    assert run("--sample").stdout == SAMPLE


def test_keys_are_made_once_and_must_stay_private(tmp_path: Path) -> None:
    path = tmp_path / "gateway.key"
    keys = load_or_create_keys(path)
    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_keys(path) == keys
    path.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        load_or_create_keys(path)


@pytest.mark.parametrize("text", ["", "127.0.0.1", "127.0.0.1:x", ":80", "h:70000"])
def test_an_address_needs_host_and_port(text: str) -> None:
    with pytest.raises(UserError, match=r"HOST:PORT"):
        parse_address(text, "link.air")
