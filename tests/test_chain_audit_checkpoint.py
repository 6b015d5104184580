"""The audit holds a ledger against the checkpoint that outsiders were told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from chain.cli.io_cli import main
from chain.io_audit import audit
from chain.io_ledger import DATABASE
from chain.io_terminal import run_command
from chain.proofs.checkpoint import BALANCES
from chain.proofs.io_site import CHECKPOINT
from chain.proofs.note import encode_base64

from .ops_helpers import Running, town_on_disk, with_checkpoint


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A ledger's folder after a settlement, with its signed checkpoint."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        service = Running(folder, town_on_disk(folder, 12), patch, with_checkpoint)
        service.close()
    return folder, (folder / CHECKPOINT).read_bytes()


def changed(signed: bytes, line: int, text: str) -> bytes:
    """The note with another line; its signatures are not the audit's concern."""
    lines = signed.decode().split("\n")
    lines[line] = text
    return "\n".join(lines).encode()


def test_a_ledger_agrees_with_its_own_checkpoint(ledger: tuple[Path, bytes]) -> None:
    folder, signed = ledger
    assert f"\n{BALANCES} " in signed.decode()
    assert audit(folder / DATABASE).ok
    assert audit(folder / DATABASE, checkpoint=folder / CHECKPOINT).ok


def test_a_checkpoint_of_anything_else_is_named(ledger: tuple[Path, bytes], tmp_path: Path) -> None:
    folder, signed = ledger
    lines = signed.decode().split("\n")
    words = lines[3].split(" ")
    spent = str(int(words[4]) - 1)
    wrong = {
        "another network": changed(signed, 0, "elsewhere.example/log"),
        "rest is missing": changed(signed, 1, "1000"),
        "its root of": changed(signed, 2, encode_base64(bytes(32))),
        "balances of settlement": changed(signed, 3, " ".join([*words[:4], spent])),
        "is of settlement": changed(signed, 3, " ".join([words[0], "99", *words[2:]])),
        "note": b"no note at all",
    }
    for problem, raw in wrong.items():
        path = tmp_path / "said"
        path.write_bytes(raw)
        result = audit(folder / DATABASE, checkpoint=path)
        assert (result.ok, result.where) == (False, "checkpoint"), problem
        assert problem in result.problem


def test_records_cut_off_at_the_end_are_missed(
    ledger: tuple[Path, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shorter ledger is whole in itself: only the checkpoint tells."""
    signed = ledger[1]
    short = town_on_disk(tmp_path, 9)
    assert short.ledger.head.record_count < int(signed.decode().split("\n")[1])
    assert audit(tmp_path / DATABASE).ok
    (tmp_path / CHECKPOINT).write_bytes(signed)
    assert not audit(tmp_path / DATABASE).ok
    assert run_command(main, ["audit", str(tmp_path / DATABASE)]) == 1
    assert "the rest is missing" in capsys.readouterr().out
    copy = tmp_path / "monday.db"
    with sqlite3.connect(tmp_path / DATABASE) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    assert audit(copy).ok  # a copy may be older than the checkpoint of the folder that it is in


def test_a_checkpoint_that_is_not_there_is_one_clear_line(ledger: tuple[Path, bytes]) -> None:
    result = audit(ledger[0] / DATABASE, checkpoint=ledger[0] / "nowhere")
    assert (result.ok, result.where) == (False, "checkpoint")
    assert "No such file" in result.problem
