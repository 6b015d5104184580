"""Go's own packages for notes and transparency logs read what we write, and we what they write."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from proofs_helpers import (
    COSIGNER_KEYS,
    LOG_KEY,
    TRUST,
    make_checkpoint,
    make_log,
    make_tree,
    sign,
)

from chain.proofs.checkpoint import Opened
from chain.proofs.log import leaf_hash
from chain.proofs.note import Note, VerifierKey, parse_note, parse_verifier_key, verify_note
from chain.proofs.record_proof import (
    RecordProof,
    encode_record_proof,
    parse_record_proof,
    verify_record_proof,
)
from chain.proofs.tiles import Tile, encode_bundle, hash_tile, new_tiles, tiles_at
from chain.records import Refusal

SOURCE = ROOT / "tests" / "go" / "noteverify"
RECORDS = [b"record %d" % i * (i % 7) for i in range(600)]
LOG = make_log(RECORDS)


@pytest.fixture(scope="module")
def noteverify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built once."""
    own = ROOT / ".venv" / "bin" / "go"
    go = shutil.which("go") or (str(own) if own.exists() else None)
    if go is None:
        pytest.skip("Go is not installed: no `go` in PATH")
    program = tmp_path_factory.mktemp("go") / "noteverify"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    built = subprocess.run(
        [go, "build", "-o", program, "."],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
    )
    if "no required module" in built.stderr or "dial tcp" in built.stderr:
        pytest.skip("golang.org/x/mod is neither cached nor to be had")
    assert built.returncode == 0, built.stderr
    return program


def run(program: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True)


def test_go_opens_our_checkpoint_with_all_its_cosignatures(
    noteverify: Path, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(LOG, make_tree(5, 5).balances())
    note = sign(checkpoint, 3)
    file = tmp_path / "checkpoint"
    file.write_bytes(note.encode())
    opened = run(noteverify, "open", file, str(LOG_KEY), *map(str, COSIGNER_KEYS))
    assert opened.returncode == 0, opened.stderr
    signers = [signature.name for signature in note.signatures]
    assert opened.stdout == checkpoint.text + "".join(f"signed by {name}\n" for name in signers)
    file.write_bytes(note.encode().replace(b"balances 3", b"balances 4"))
    for keys in ([LOG_KEY], COSIGNER_KEYS[:1]):
        refused = run(noteverify, "open", file, *map(str, keys))
        assert refused.returncode == 1
        assert "invalid signature" in refused.stderr


def test_go_proves_records_and_history_from_our_tiles(noteverify: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(LOG)
    (tmp_path / "checkpoint").write_bytes(sign(checkpoint).encode())
    for tile in new_tiles(len(LOG)):
        write(tmp_path / tile.path, hash_tile(tile, LOG))
    for tile in tiles_at(None, len(LOG)):
        write(tmp_path / tile.path, encode_bundle(RECORDS[tile.start : tile.start + tile.width]))
    done = run(noteverify, "site", tmp_path, str(LOG_KEY), "300", "0", "255", "256", "599")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("record") == 4
    last = tmp_path / Tile(0, 2, 88).path
    last.write_bytes(bytes(32) + last.read_bytes()[32:])
    assert run(noteverify, "site", tmp_path, str(LOG_KEY), "300", "599").returncode == 1


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_go_and_we_check_the_same_record_proof(noteverify: Path, tmp_path: Path) -> None:
    note = sign(make_checkpoint(LOG))
    proof = RecordProof(300, tuple(LOG.inclusion_proof(300)), note)
    raw = encode_record_proof(proof)
    assert parse_record_proof(raw) == proof
    assert isinstance(verify_record_proof(proof, leaf_hash(RECORDS[300]), TRUST), Opened)
    write(tmp_path / "p.tlog-proof", raw)
    write(tmp_path / "record", RECORDS[300])
    done = run(noteverify, "proof", tmp_path / "p.tlog-proof", tmp_path / "record", str(LOG_KEY))
    assert (done.returncode, done.stdout) == (0, "record 300 of 600\n"), done.stderr
    write(tmp_path / "record", RECORDS[301])
    wrong = run(noteverify, "proof", tmp_path / "p.tlog-proof", tmp_path / "record", str(LOG_KEY))
    assert wrong.returncode == 1


@pytest.mark.parametrize("text", ["hello\n", "two\n\nparts\n", "ünïcode — line\n", "\n"])
def test_we_accept_what_go_signed(noteverify: Path, text: str) -> None:
    done = run(noteverify, "sign", "go.example/signer", text)
    vkey, _, raw = done.stdout.partition("\n")
    key, note = parse_verifier_key(vkey), parse_note(raw.encode())
    assert isinstance(key, VerifierKey)
    assert isinstance(note, Note)
    assert str(key) == vkey
    assert note.text == text
    assert not isinstance(verify_note(note, [key]), Refusal)


def test_record_proofs_of_another_form_or_record_are_refused() -> None:
    proof = RecordProof(300, tuple(LOG.inclusion_proof(300)), sign(make_checkpoint(LOG)))
    raw = encode_record_proof(proof)
    extra = raw.replace(b"index", b"extra AAAA\nindex", 1)
    assert parse_record_proof(extra) == proof
    for bad in (b"", raw[5:], raw.replace(b"index 300", b"index 0300"), raw[:60]):
        assert isinstance(parse_record_proof(bad), Refusal)
    assert isinstance(verify_record_proof(proof, leaf_hash(b"other"), TRUST), Refusal)
    few = RecordProof(300, proof.path, sign(make_checkpoint(LOG), 2))
    assert isinstance(verify_record_proof(few, leaf_hash(RECORDS[300]), TRUST), Refusal)
