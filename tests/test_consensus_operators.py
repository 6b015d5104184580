"""How operators start a network together: keys, a genesis that all share, one folder each."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

import wavecomb
from chain.abci.home import (
    Settings,
    config_text,
    genesis_wire_of,
    get_empty_ms,
    rfc3339,
)
from chain.consensus.io_cometbft import DEFAULT_P2P, Home, find_program
from chain.io_ledger import DATABASE
from chain.params import PRESETS
from chain.store.io_store import Store
from chain.wire import record_id_of


def chain(*words: object, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, object]:
    """Run a sub-command; its line of JSON, or its one line of error."""
    assert wavecomb.main(["chain", *map(str, words), "--json"]) == code
    said = capsys.readouterr()
    if code:
        assert said.err.count("\n") == 1
        return {"error": said.err}
    return dict(json.loads(said.out))


def start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """A ledger, two validators with keys, and their genesis."""
    made = chain("init", "--dir", tmp_path / "ledger", capsys=capsys)
    for name in ("anna", "bela"):
        new = chain("validator", "new", "--dir", tmp_path / name, capsys=capsys)
        (tmp_path / f"{name}.json").write_text(json.dumps(new))
    anna = json.loads((tmp_path / "anna.json").read_text())["validator"]
    chain(
        *("validator", "genesis", "--ledger-dir", tmp_path / "ledger"),
        *("--out", tmp_path / "genesis.json"),
        *("--validator", f"{anna}:7:anna", "--validator", tmp_path / "bela.json"),
        capsys=capsys,
    )
    return made


def test_two_operators_share_a_genesis_and_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = start(tmp_path, capsys)
    text = (tmp_path / "genesis.json").read_text()
    assert record_id_of(genesis_wire_of(text)).hex() == made["network_id"]
    validators = json.loads(text)["validators"]
    assert [(v["power"], v["name"]) for v in validators] == [("7", "anna"), ("10", "")]
    for name in ("anna", "bela"):
        joined = chain(
            "validator", "join", "--dir", tmp_path / name, tmp_path / "genesis.json", capsys=capsys
        )
        assert joined == {
            "dir": str(tmp_path / name),
            "network_id": made["network_id"],
            "votes": True,
        }
        store = Store.open(tmp_path / name / DATABASE)
        assert [record_id_of(block.wires[0]).hex() for block in store.blocks()] == [
            made["network_id"]
        ]
        store.close()
    secrets = [
        (tmp_path / name / "engine" / "config" / file).read_text()
        for name in ("anna", "bela")
        for file in ("priv_validator_key.json", "node_key.json")
    ]
    assert len({json.loads(secret)["priv_key"]["value"] for secret in secrets}) == 4


def test_keys_stay_and_nobody_else_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = chain("validator", "new", "--dir", tmp_path / "v", capsys=capsys)
    assert chain("validator", "new", "--dir", tmp_path / "v", capsys=capsys) == first
    home = Home(tmp_path / "v")
    for path in (home.validator_file, home.validator_file.with_name("node_key.json")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.engine.stat().st_mode) == 0o700
    assert home.validator_key().hex() == first["validator"]


def test_one_who_is_not_named_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path, capsys)
    chain("validator", "new", "--dir", tmp_path / "cleo", capsys=capsys)
    joined = chain(
        "validator", "join", "--dir", tmp_path / "cleo", tmp_path / "genesis.json", capsys=capsys
    )
    assert joined["votes"] is False


@pytest.mark.parametrize(
    "validator", ["zz", "00" * 31, "00" * 32 + ":0", "00" * 32 + ":x", "00" * 32 + ":" + "9" * 30]
)
def test_bad_validators_are_one_line(
    validator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain("init", "--dir", tmp_path / "ledger", capsys=capsys)
    words = ("validator", "genesis", "--ledger-dir", tmp_path / "ledger")
    said = chain(
        *(*words, "--out", tmp_path / "g.json", "--validator", validator), capsys=capsys, code=2
    )
    assert "validator" in str(said["error"])
    assert not (tmp_path / "g.json").exists()


def test_a_genesis_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path, capsys)
    words = ("validator", "genesis", "--ledger-dir", tmp_path / "ledger")
    again = (*words, "--out", tmp_path / "genesis.json", "--validator", "00" * 32)
    chain(*again, capsys=capsys, code=2)
    join = ("validator", "join", "--dir", tmp_path / "anna")
    chain(*join, tmp_path / "genesis.json", capsys=capsys)
    other = tmp_path / "other.json"
    chain(*(*words, "--out", other, "--validator", "01" * 32), capsys=capsys)
    said = chain(*join, other, capsys=capsys, code=2)
    assert "another network" in str(said["error"])


@pytest.mark.parametrize("text", ["", "{}", '{"app_state": {"genesis": "00"}}', "\xff"])
def test_what_is_no_genesis_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain("validator", "new", "--dir", tmp_path / "v", capsys=capsys)
    (tmp_path / "g.json").write_text(text)
    join = ("validator", "join", "--dir", tmp_path / "v", tmp_path / "g.json")
    assert "genesis" in str(chain(*join, capsys=capsys, code=2)["error"])


def test_running_without_a_genesis_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "cometbft"
    fake.write_text("#!/bin/sh\necho 0.38.25\n")
    fake.chmod(0o755)
    monkeypatch.setenv("WAVECOMB_COMETBFT", str(fake))
    assert find_program() == str(fake)
    run = ("run", "--dir", tmp_path / "nothing", "--engine", "cometbft")
    said = chain(*run, capsys=capsys, code=2)
    assert "wavecomb chain validator join" in str(said["error"])
    said = chain(*run, "--peer", "nobody", capsys=capsys, code=2)
    assert "ID@HOST:PORT" in str(said["error"])


def test_an_engine_of_another_series_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "cometbft"
    fake.write_text("#!/bin/sh\necho 1.0.1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("WAVECOMB_COMETBFT", str(fake))
    run = ("run", "--dir", tmp_path, "--engine", "cometbft")
    assert "1.0.1" in str(chain(*run, capsys=capsys, code=2)["error"])


def test_the_network_reaches_nothing_but_the_peers_port() -> None:
    text = config_text(Settings("n", "unix:///a", "unix:///r", DEFAULT_P2P))
    listening = [line for line in text.splitlines() if line.startswith("laddr")]
    assert listening == ['laddr = "unix:///r"', 'laddr = "tcp://127.0.0.1:26656"']


def test_odd_names_stay_inside_their_quotes() -> None:
    odd = 'a"\nsend_rate = 1\\'
    text = config_text(Settings(odd, "unix:///a", "unix:///r", "tcp://127.0.0.1:1"))
    assert tomllib.loads(text)["moniker"] == odd


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_two_blocks_of_delay_leave_half_of_the_lead(preset: str) -> None:
    params = PRESETS[preset]
    assert 2 * get_empty_ms(params) <= params.mix_lead_ms // 2


def test_times_are_exact_to_the_millisecond() -> None:
    assert rfc3339(1_795_425_527_086) == "2026-11-23T09:18:47.086Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
