from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs_helpers import (
    COSIGNER_KEYS,
    LOG_KEY,
    LOG_SEED,
    ORIGIN,
    TIME_S,
    TRUST,
    make_checkpoint,
    make_log,
    sign,
)

from chain.keys import public_key
from chain.proofs.checkpoint import (
    Balances,
    Checkpoint,
    Opened,
    Trust,
    decode_balances,
    open_checkpoint,
    parse_checkpoint,
)
from chain.proofs.log import leaf_hash
from chain.proofs.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    Note,
    VerifierKey,
    cosign_note,
    parse_note,
    parse_verifier_key,
    sign_note,
    verify_note,
)
from chain.proofs.tiles import Tile, TileLog, decode_bundle, is_bundle_of
from chain.records import Refusal

TEXT = "ledger of the comb\n\nsecond part\n"
SEED = sha256(b"seed").digest()
NAME = "comb.example/log"
KEY = VerifierKey(NAME, ED25519, public_key(SEED))


def signed(text: str = TEXT) -> bytes:
    return Note(text, (sign_note(text, NAME, SEED),)).encode()


def opened_note(raw: bytes) -> Note:
    note = parse_note(raw)
    assert isinstance(note, Note), note
    return note


# --- third-party vectors --------------------------------------------------------------------------


def test_the_note_of_the_go_checksum_database_verifies(ground_truth: Path) -> None:
    vectors = json.loads((ground_truth / "chain/sumdb/note_tlog_vectors.json").read_text())
    key = parse_verifier_key(vectors["good_vkey"])
    assert isinstance(key, VerifierKey)
    assert str(key) == vectors["good_vkey"]
    note = opened_note(vectors["signed_note"].encode())
    assert note.encode().decode() == vectors["signed_note"]
    verified = verify_note(note, [key])
    assert not isinstance(verified, Refusal)
    assert [item.key for item in verified] == [key]
    for bad in vectors["bad_vkeys"]:
        assert isinstance(parse_verifier_key(bad), Refusal)
    assert isinstance(verify_note(replace(note, text=note.text + "\n"), [key]), Refusal)


def test_tree_notes_of_the_checksum_database_are_checkpoints(ground_truth: Path) -> None:
    vectors = json.loads((ground_truth / "chain/sumdb/note_tlog_vectors.json").read_text())
    tree = parse_checkpoint(vectors["tree_note"]["text"])
    assert isinstance(tree, Checkpoint)
    assert (tree.size, tree.root) == (
        vectors["tree_note"]["n"],
        leaf_hash(vectors["tree_note"]["leaf"].encode()),
    )
    assert tree.text == vectors["tree_note"]["text"]
    good_origin, *bad = vectors["tree_note_bad"]
    assert isinstance(parse_checkpoint(good_origin), Checkpoint), "only its origin is another one"
    for text in bad:
        assert isinstance(parse_checkpoint(text), Refusal)


TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"


def test_tesseras_sample_log_verifies_from_checkpoint_to_records(ground_truth: Path) -> None:
    site = ground_truth / "chain/tlog-log/testdata/log"
    key = parse_verifier_key(TESSERA_KEY)
    assert isinstance(key, VerifierKey)
    trust = Trust(key.name, (key,))
    checked = 0
    for file in sorted(site.glob("checkpoint.*")):
        note = parse_note(file.read_bytes())
        if isinstance(note, Refusal):
            continue  # checkpoint.0 was never signed
        opened = open_checkpoint(note, trust)
        assert isinstance(opened, Opened), opened
        size, root = opened.checkpoint.size, opened.checkpoint.root
        log = TileLog(size, lambda path: read(site, path))
        if size:
            assert log.root(size) == root
            bundle = Tile(None, 0, size)
            entries = decode_bundle((site / bundle.path).read_bytes())
            assert not isinstance(entries, Refusal)
            assert len(entries) == size
            assert is_bundle_of(entries, (site / Tile(0, 0, size).path).read_bytes())
        checked += 1
    assert checked >= 15


def read(site: Path, path: str) -> bytes | None:
    file = site / path
    return file.read_bytes() if file.is_file() else None


def test_the_example_of_the_specification_verifies() -> None:
    key = parse_verifier_key(
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    )
    assert isinstance(key, VerifierKey)
    note = opened_note(
        "This is an example message.\n\n— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
        "\n".encode().decode().encode()
    )
    assert not isinstance(verify_note(note, [key]), Refusal)


# --- notes ----------------------------------------------------------------------------------------


def test_a_note_has_one_form_and_its_text_may_hold_empty_lines() -> None:
    note = opened_note(signed())
    assert note.text == TEXT
    assert note.encode() == signed()
    verified = verify_note(note, [KEY])
    assert not isinstance(verified, Refusal)
    assert [item.time_s for item in verified] == [0]


BROKEN = {
    "empty": b"",
    "no signature": TEXT.encode() + b"\n",
    "no blank line": signed().replace(b"\n\n", b"\n"),
    "no final newline": signed()[:-1],
    "bytes after": signed() + b"x",
    "an empty line after": signed() + b"\n",
    "not UTF-8": b"\xff" + signed(),
    "a carriage return": signed().replace(b"part", b"par\r"),
    "a null": signed().replace(b"part", b"par\0"),
    "a hyphen": signed().replace("\N{EM DASH}".encode(), b"-"),
    "a name with a plus": signed().replace(NAME.encode(), b"comb+example"),
    "a name with a wide space": signed().replace(NAME.encode(), "comb\u2003x".encode()),
    "no name": signed().replace(NAME.encode() + b" ", b" "),
    "base64 with spaces": signed().replace(b"= ", b"=").replace(b"=\n", b" =\n"),
    "base64 in another form": signed()[:-4] + b"B" + signed()[-3:],
    "101 signatures": signed() + signed().rsplit(b"\n\n", 1)[1] * 100,
    "too large": b"x" * MAX_NOTE_BYTES + signed(),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_notes_of_another_form_are_refused(name: str) -> None:
    note = parse_note(BROKEN[name])
    verdict = note if isinstance(note, Refusal) else verify_note(note, [KEY])
    assert isinstance(verdict, Refusal)


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=300)
def test_no_bytes_break_the_parser(noise: bytes, at: int) -> None:
    raw = signed()
    for candidate in (noise, raw[:at] + noise + raw[at + 1 :]):
        note = parse_note(candidate)
        if isinstance(note, Note):
            assert note.encode() == candidate
            if candidate != raw and note.text != TEXT:
                assert isinstance(verify_note(note, [KEY]), Refusal)


def test_unknown_keys_are_ignored_and_known_ones_must_hold() -> None:
    other = sha256(b"other").digest()
    same_name = sign_note(TEXT, NAME, other)
    note = Note(TEXT, (same_name, sign_note(TEXT, NAME, SEED)))
    assert not isinstance(verify_note(note, [KEY]), Refusal)
    assert isinstance(verify_note(replace(note, signatures=(same_name,)), [KEY]), Refusal)
    forged = replace(same_name, key_id=KEY.key_id)
    for signatures in [(forged,), (forged, note.signatures[1]), (note.signatures[1], forged)]:
        refusal = verify_note(replace(note, signatures=signatures), [KEY])
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "bad_signature"


def test_a_key_counts_once_however_often_it_signs() -> None:
    twice = tuple(cosign_note(TEXT, NAME, SEED, TIME_S + i) for i in range(2))
    key = VerifierKey(NAME, COSIGNATURE, public_key(SEED))
    verified = verify_note(Note(TEXT, twice), [key])
    assert not isinstance(verified, Refusal)
    assert [item.time_s for item in verified] == [TIME_S]


def test_a_cosignature_holds_for_its_time_and_type_only() -> None:
    key = VerifierKey(NAME, COSIGNATURE, public_key(SEED))
    line = cosign_note(TEXT, NAME, SEED, TIME_S)
    later = replace(line, blob=(TIME_S + 1).to_bytes(8, "big") + line.blob[8:])
    for wrong in (later, replace(line, blob=line.blob[8:]), replace(line, blob=line.blob + b"x")):
        assert isinstance(verify_note(Note(TEXT, (wrong,)), [key]), Refusal)
    plain = replace(sign_note(TEXT, NAME, SEED), key_id=key.key_id)
    assert isinstance(verify_note(Note(TEXT, (plain,)), [key]), Refusal)
    far = replace(line, blob=(1 << 63).to_bytes(8, "big") + line.blob[8:])
    assert isinstance(verify_note(Note(TEXT, (far,)), [key]), Refusal)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b", "a+00000000+AA==", f"{KEY}x", str(KEY).replace("comb", "c mb"), f"x{KEY}"],
)
def test_keys_of_another_form_are_refused(text: str) -> None:
    assert isinstance(parse_verifier_key(text), Refusal)


def test_notes_that_nobody_may_sign() -> None:
    for text, name in [("no newline", NAME), ("a\tb\n", NAME), ("a\n", "a b"), ("a\n", "")]:
        with pytest.raises(ValueError, match=r"note's text|key name"):
            sign_note(text, name, SEED)


# --- checkpoints ----------------------------------------------------------------------------------

LOG = make_log([b"a", b"b", b"c"])
BALANCES = Balances(7, sha256(b"root").digest(), 1 << 70, 12)


def test_a_checkpoint_is_what_its_text_says() -> None:
    checkpoint = make_checkpoint(LOG, BALANCES)
    assert parse_checkpoint(checkpoint.text) == checkpoint
    assert checkpoint.text.split("\n")[0] == ORIGIN
    assert decode_balances(str(BALANCES).encode()) == BALANCES
    assert BALANCES.supply_ucr == (1 << 70) - 12


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ORIGIN, ""),
        ("\n3\n", "\n03\n"),
        ("\n3\n", "\n-3\n"),
        ("\n3\n", f"\n{1 << 63}\n"),
        ("=\nbalances", "\nbalances"),
        ("balances 7", "balances 07"),
        ("balances 7", "balances"),
        (" 12\n", " 12 \n"),
        (" 12\n", f" {1 << 71}\n"),
        (" 12\n", " 12\n\n"),
        (" 12\n", " 12"),
    ],
)
def test_checkpoints_of_another_form_are_refused(old: str, new: str) -> None:
    text = make_checkpoint(LOG, BALANCES).text
    assert old in text
    assert isinstance(parse_checkpoint(text.replace(old, new, 1)), Refusal)


def test_extension_lines_of_other_logs_are_kept() -> None:
    text = Checkpoint("other.example", 3, LOG.root(), None, ("a line", "another")).text
    checkpoint = parse_checkpoint(text)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.text == text
    assert checkpoint.extensions == ("a line", "another")


@pytest.mark.parametrize("count", range(6))
def test_a_checkpoint_opens_with_the_log_and_enough_cosigners(count: int) -> None:
    result = open_checkpoint(sign(make_checkpoint(LOG), count), TRUST)
    assert isinstance(result, Opened) == (count >= 3)
    if isinstance(result, Opened):
        assert [item.key for item in result.cosignatures] == list(COSIGNER_KEYS[:count])


def test_a_checkpoint_of_another_log_or_without_the_logs_signature_does_not_open() -> None:
    note = sign(make_checkpoint(LOG), 5)
    without = replace(note, signatures=note.signatures[1:])
    assert isinstance(open_checkpoint(without, TRUST), Refusal)
    other = replace(make_checkpoint(LOG), origin="wavecomb/0000000000000000")
    lines = (sign_note(other.text, ORIGIN, LOG_SEED), *sign(other, 5).signatures[1:])
    refusal = open_checkpoint(Note(other.text, lines), TRUST)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "other_log"
    assert TRUST.logs == (LOG_KEY,)
