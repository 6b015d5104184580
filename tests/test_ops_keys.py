"""Keys of a ledger: shown, rotated while it runs, used by several operators, by commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain import keys
from chain.admission import Role
from chain.cli.io_cli import main
from chain.drafts import parse_draft
from chain.io_client import LedgerClient
from chain.io_keyring import Keyring
from chain.io_keys import load_seed, save_seed
from chain.io_terminal import run_command
from chain.proofs.checkpoint import Trust, open_checkpoint
from chain.proofs.note import ED25519, Note, VerifierKey, parse_note
from chain.proofs.trust_file import parse_trust
from chain.records import Refusal
from chain.rules.appointments import get_keys
from chain.service.io_service import SERVICE

from .chain_helpers import OPERATOR
from .ops_helpers import Running, town_on_disk, with_keys
from .test_ops_promises import pass_epochs, wait_for


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    service = Running(tmp_path, town_on_disk(tmp_path), monkeypatch, with_keys)
    yield service
    service.close()


def command(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any, str]:
    """Exit code, JSON answer, error line."""
    try:
        code = run_command(main, [*argv, "--json"])
    except SystemExit as left:
        code = int(left.code or 0)
    said = capsys.readouterr()
    return code, json.loads(said.out.splitlines()[0]) if said.out else None, said.err


def sequencers(running: Running) -> set[bytes]:
    state = running.durable.ledger.state
    return {member.key for member in get_keys(state, Role.SEQUENCER, state.epoch)}


def test_the_keys_of_a_folder_are_shown_as_others_need_them(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = command(capsys, "key", "--dir", str(running.folder))
    assert code == 0
    (row,) = said["keys"]
    key = keys.public_key(OPERATOR)
    assert row["key"] == key.hex()
    assert row["log_vkey"] == str(VerifierKey(said["origin"], ED25519, key))
    assert OPERATOR.hex() not in json.dumps(said)


def test_a_rotated_sequencer_signs_from_the_epoch_that_binds_it(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    old = keys.public_key(OPERATOR)
    place = ("--dir", str(running.folder), "--ledger", running.url)
    code, said, err = command(capsys, "rotate", *place, "--role", "sequencer")
    assert (code, err) == (0, "")
    assert [result["accepted"] for result in said["results"]] == [True, True]
    keyring = Keyring(running.folder)
    (new,) = set(keyring.files) - {old}
    assert keyring.files[new].stat().st_mode & 0o777 == 0o600
    assert sequencers(running) == {old}
    pass_epochs(running, 1)
    assert sequencers(running) == {old}
    pass_epochs(running, 3)
    assert sequencers(running) == {new}
    publisher = running.app[SERVICE].publisher
    assert publisher is not None
    state = running.durable.ledger.state
    note = publisher.sign(state.closes[max(state.closes)].text)
    assert isinstance(note, Note)
    name = note.signatures[0].name
    for key in (old, new):  # readers who know either key believe it
        opened = open_checkpoint(note, Trust(name, (VerifierKey(name, ED25519, key),)))
        assert not isinstance(opened, Refusal), opened


def test_a_rotated_operator_makes_deposits_and_the_old_one_no_more(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--dir", str(running.folder), "--ledger", running.url)
    assert command(capsys, "rotate", *place, "--role", "operator")[0] == 0
    deposit = ("deposit", *place, "--account", "ab" * 32, "--amount-ucr", "5")
    assert command(capsys, *deposit)[0] == 0
    pass_epochs(running, 4)
    assert command(capsys, *deposit)[0] == 0
    with LedgerClient(running.url) as client:
        said = client.get("/v1/appointments")
        assert [row["valid"] for row in said["operators"]] == [False, True]
        assert client.account(bytes.fromhex("ab" * 32)).balance_ucr == 10
    newest = running.durable.store.rows("SELECT wire FROM records ORDER BY seq DESC LIMIT 1")
    assert b"\x81\x01" in newest[0]["wire"]  # signed as operator number 1


def test_records_of_several_operators_travel_as_drafts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_seed(tmp_path / "second" / "operator.key", b"2" * 32)
    second = keys.public_key(b"2" * 32).hex()
    folder = tmp_path / "ledger"
    made = ("init", "--dir", str(folder), "--operator", second, "--threshold")
    assert command(capsys, *made, "3")[0] == 2
    assert command(capsys, *made, "2")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        service = Running.__new__(Running)
        service = start(folder, patch)
        try:
            sign_together(service, tmp_path, capsys)
        finally:
            service.close()


def start(folder: Path, patch: pytest.MonkeyPatch) -> Running:
    """A service on a ledger that init made, at its own time."""
    from types import SimpleNamespace

    from chain.io_ledger import now_ms

    town = SimpleNamespace(ledger=SimpleNamespace(state=SimpleNamespace(time_ms=now_ms())))
    return Running(folder, town, patch, with_keys)  # type: ignore[arg-type]


def sign_together(
    service: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft, where = tmp_path / "draft.json", ("--ledger", service.url)
    deposit = ("deposit", "--dir", str(service.folder), "--account", "cd" * 32, *where)
    alone = command(capsys, *deposit, "--amount-ucr", "7")
    assert alone[0] == 1  # the ledger wants two
    both = ("--amount-ucr", "7", "--signers", "0,1")
    code, _, err = command(capsys, *deposit, *both)
    assert (code, "--out FILE" in err) == (2, True)
    code, said, _ = command(capsys, *deposit, *both, "--out", str(draft))
    assert (code, len(said["missing"])) == (0, 1)
    parsed = parse_draft(draft.read_text())
    assert not isinstance(parsed, Refusal)
    stranger = tmp_path / "stranger.key"
    save_seed(stranger, b"3" * 32)
    assert command(capsys, "sign", str(draft), "--key", str(stranger), *where)[0] == 2
    forged = draft.read_text().replace('"amount_ucr": 7', '"amount_ucr": 8')
    (tmp_path / "forged.json").write_text(forged)
    other = str(tmp_path / "second" / "operator.key")
    code, _, err = command(capsys, "sign", str(tmp_path / "forged.json"), "--key", other, *where)
    assert (code, "fields" in err) == (2, True)
    code, said, _ = command(capsys, "sign", str(draft), "--key", other, *where)
    assert (code, said["results"][0]["reason"]) == (0, "ok")
    with LedgerClient(service.url) as client:
        assert client.account(bytes.fromhex("cd" * 32)).balance_ucr == 7


def test_owners_move_credits_with_the_next_nonce(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, where = tmp_path / "owner.key", ("--ledger", running.url)
    save_seed(key, running.town.owner_seeds[0])
    base = ("transfer", "--key", str(key), "--to", "ef" * 32, "--amount-ucr", "3", *where)
    code, said, _ = command(capsys, *base, "--dry-run", "--memo", "rent")
    assert (code, said["fields"]["nonce"], said["fields"]["memo"]) == (0, 1, "rent")
    for _ in range(2):
        assert command(capsys, *base)[0] == 0
    code, said, _ = command(capsys, *base, "--nonce", "1", "--memo", "another record")
    assert (code, said["results"][0]["accepted"]) == (1, False)
    withdraw = ("withdraw", "--key", str(key), "--amount-ucr", "2", "--destination", "01", *where)
    assert command(capsys, *withdraw)[0] == 0
    assert command(capsys, *base[:-4], "--amount-ucr", "0", *where)[0] == 2
    with LedgerClient(running.url) as client:
        assert client.account(bytes.fromhex("ef" * 32)).balance_ucr == 6
        assert client.get(f"/v1/accounts/{running.town.owner(0).hex()}")["nonce"] == 3
        assert client.stats()["supply"]["withdrawn_ucr"] == 2


def test_bonds_retirements_and_bounties_are_made_by_their_owners(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, where = tmp_path / "owner.key", ("--ledger", running.url)
    save_seed(key, running.town.owner_seeds[1])
    own = ("--key", str(key), *where)
    bond = command(capsys, "bond", *own, "--hotspot", "1", "--amount-ucr", "9")
    assert (bond[0], bond[1]["results"][0]["reason"]) == (0, "ok")
    foreign = command(capsys, "bond", *own, "--hotspot", "0", "--amount-ucr", "9")
    assert foreign[0] == 1
    cell = "881f9e2829fffff"
    amounts = ("--amount-ucr", "100000", "--per-settlement-ucr", "10000")
    bounty = ("bounty", *own, "--cell", cell, *amounts)
    code, said, _ = command(capsys, *bounty, "--until-epoch", "60")
    assert (code, said["results"]) == (0, said["results"])
    assert command(capsys, "retire", *own, "--hotspot", "1")[0] == 0
    with LedgerClient(running.url) as client:
        (row,) = client.get("/v1/bounties")["bounties"]
        assert (row["cell"], row["left_ucr"]) == (cell, 100_000)
    assert command(capsys, *bounty[:4], "--cell", "zz", *bounty[7:], "--until-epoch", "9")[0] == 2


def test_init_appoints_cosigners_and_tells_light_clients_whom_to_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from chain.proofs.note import COSIGNATURE

    witnesses = [
        str(VerifierKey(f"w{i}.example", COSIGNATURE, keys.public_key(bytes([i]) * 32)))
        for i in range(3)
    ]
    options = [part for vkey in witnesses for part in ("--cosigner", vkey)]
    folder = tmp_path / "ledger"
    code, said, _ = command(capsys, "init", "--dir", str(folder), *options)
    assert (code, said["cosigners_to_appoint"]) == (0, 0)
    trust = parse_trust(json.loads((folder / "trust.json").read_text()))
    assert isinstance(trust, Trust)
    assert ([str(key) for key in trust.cosigners], trust.threshold) == (witnesses, 2)
    assert trust.logs[0].key == keys.public_key(load_seed(folder / "operator.key"))
    code, _, err = command(capsys, "init", "--dir", str(tmp_path / "b"), "--cosigner", "nonsense")
    assert (code, err.count("\n")) == (2, 1)
    too_many = ("--cosigners-needed", "4")
    assert command(capsys, "init", "--dir", str(tmp_path / "c"), *options, *too_many)[0] == 2


def test_the_service_publishes_what_a_light_client_verifies(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher = running.app[SERVICE].publisher
    assert publisher is not None
    pass_epochs(running, 8)
    text = running.durable.ledger.state.closes
    newest = text[max(text)].text
    file = running.folder / "checkpoint"  # an earlier one lies there; light clients read it
    wait_for(lambda: file.is_file() and file.read_bytes().startswith(newest.encode()))
    note = parse_note(running.ask("GET", "/v1/checkpoint")[2])
    assert isinstance(note, Note)
    assert note == publisher.note
    assert note.text == newest
    trust = tmp_path / "trust"
    trust.mkdir()
    vkey = str(publisher.keys[0])
    value = {"origin": publisher.keys[0].name, "log": [vkey], "cosigners": [], "threshold": 0}
    (trust / "trust.json").write_text(json.dumps(value))
    where = ("--dir", str(trust), "--hotspot", "1")
    code, said, err = command(capsys, "light", *where, "--url", f"{running.url}/log")
    assert (code, err) == (0, "")
    earned = running.durable.ledger.state.hotspots[1].earned_ucr
    assert said["earned_ucr"] == earned > 0
    status, proof = running.json("GET", "/v1/proof/hotspot/1")
    assert (status, proof["issued_ucr"]) == (200, earned)
    import base64

    (tmp_path / "proof").write_bytes(base64.b64decode(proof["proof"]))
    code, again, _ = command(capsys, "light", *where, "--proof", str(tmp_path / "proof"))
    assert (code, again["earned_ucr"]) == (0, earned)
