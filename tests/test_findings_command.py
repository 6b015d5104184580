from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import keys
from chain.admission import Offence
from chain.cli.io_cli import main
from chain.errors import UserError
from chain.evidence import Charge, get_charge, get_common_charge, read_piece
from chain.io_keys import save_seed
from chain.records import Refusal
from hotspot.radio.frame import Beacon, pack_beacon, signing_message

from .admission_helpers import joined, key_of, seed_of
from .chain_helpers import Town
from .ops_helpers import Running, town_on_disk
from .test_findings_proofs import beacon, claims, note

PAIRS = {
    Offence.EPOCH_FORK: lambda town: town.two_messages(0, 2),
    Offence.CLAIM_FORK: lambda town: claims(town, 0, 2),
    Offence.BEACON_FORK: lambda town: [beacon(town, 0, 2), beacon(town, 0, 2, answer=b"x" * 16)],
    Offence.LOG_FORK: lambda town: [note(town, 9, 1), note(town, 9, 2)],
}


@pytest.mark.parametrize("kind", list(Offence))
def test_a_pair_tells_its_kind_and_becomes_a_finding_that_the_rules_accept(kind: Offence) -> None:
    town = joined()
    first, second = PAIRS[kind](town)
    charge = get_common_charge((first, second))
    assert isinstance(charge, Charge)
    assert charge.kind == kind
    if charge.subject is None:
        assert charge.key == keys.public_key(town.keys[0])
    town.accept(town.finding(kind, charge.subject or 0, charge.epoch, (first, second)))


@pytest.mark.parametrize("kind", list(Offence))
def test_files_may_hold_bytes_hexadecimal_or_base64(kind: Offence) -> None:
    for piece in PAIRS[kind](joined()):
        for form in (piece, piece.hex().encode() + b"\n", base64.b64encode(piece) + b"\n"):
            assert read_piece(form) == piece


def test_pieces_that_make_no_pair_are_refused() -> None:
    town = joined()
    message = town.two_messages(0, 2)[0]
    cases = {
        (message, message): "same_evidence",
        (message, claims(town, 0, 2)[0]): "other_evidence",
        (message, town.two_messages(1, 2)[0]): "other_evidence",
        (message, b"junk"): "bad_evidence",
        (town.deposit(0).wire, message): "bad_evidence",
    }
    for pair, reason in cases.items():
        refusal = get_common_charge(pair)
        assert isinstance(refusal, Refusal)
        assert refusal.reason == reason


@given(st.binary(max_size=300))
def test_arbitrary_pieces_are_read_without_an_exception(piece: bytes) -> None:
    assert isinstance(read_piece(piece), bytes)
    assert isinstance(get_charge(piece), Charge | Refusal)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    running = Running(tmp_path, town_on_disk(tmp_path, 4), monkeypatch)
    yield running
    running.close()


def aired(town: Town, index: int, answer: bytes) -> bytes:
    """A payload of epoch 4 that this hotspot signed."""
    key = keys.public_key(town.keys[index])
    unsigned = Beacon(key, 4, 0, answer, town.places[index][0], 2437, 0, 5)
    message = signing_message(town.network_id, pack_beacon(unsigned))
    return pack_beacon(replace(unsigned, signature=keys.sign_message(town.keys[index], message)))


def test_two_beacons_off_the_air_are_reported_by_a_command(
    service: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_seed(tmp_path / "me.key", seed_of("reporter"))
    for name, answer in (("a", bytes(16)), ("b", b"x" * 16)):
        (tmp_path / name).write_bytes(aired(service.town, 1, answer))
    options = [*map(str, (tmp_path / "a", tmp_path / "b")), "--key", str(tmp_path / "me.key")]
    command = ["finding", *options, "--ledger", service.url, "--json"]
    assert main([*command, "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["fields"]["subject"] == 1
    assert shown["fields"]["reporter"] == key_of("reporter").hex()
    assert main(command) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["accepted"], result["reason"]) == (True, "ok")
    with pytest.raises(UserError, match="both pieces are the same"):
        main(["finding", options[0], options[0], *options[2:], "--ledger", service.url])
