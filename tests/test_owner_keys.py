"""Keys on paper and new keys: slips are mended or named, rotations go on after a cut."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from doors_helpers import Done, check_clear, ledger_service, make_ledger, run
from hypothesis import given, settings
from hypothesis import strategies as st
from owner_helpers import make_spot, started, wait_for

from chain.io_client import LedgerClient
from chain.io_keys import load_seed, save_seed
from chain.keys import public_key
from chain.records import Refusal
from hotspot.io_queue import DurableQueue
from hotspot.phrase import ALPHABET, make_phrase, read_phrase

SEED = bytes(range(32))
seeds = st.binary(min_size=32, max_size=32)
kinds = st.sampled_from(["hotspot", "owner"])


# --- the phrase -----------------------------------------------------------------------------------


def test_a_phrase_is_always_the_same_rows() -> None:
    """What hangs on somebody's wall must restore for ever."""
    assert make_phrase(SEED, "owner") == [
        "000G 40R4 0M30 FNQ4",
        "104G M2RC 1M70 YF2K",
        "208H 44RM 2MB1 FVQH",
        "30CH M6RW 3MF1 ZZ8Q",
    ]


@given(seed=seeds, kind=kinds)
def test_a_phrase_restores_its_key_however_it_is_typed(seed: bytes, kind: str) -> None:
    rows = make_phrase(seed, kind)
    for text in ("\n".join(rows), "".join(rows).lower(), "-".join(rows).replace("0", "o")):
        assert read_phrase(text, kind) == (seed, "")
    assert read_phrase("\n".join(rows).replace("1", "l"), kind) == (seed, "")


@settings(max_examples=150, deadline=None)
@given(seed=seeds, kind=kinds, at=st.integers(0, 63), letter=st.sampled_from(ALPHABET))
def test_one_wrong_character_is_mended_and_said(
    seed: bytes, kind: str, at: int, letter: str
) -> None:
    plain = "".join(make_phrase(seed, kind)).replace(" ", "")
    found = read_phrase(plain[:at] + letter + plain[at + 1 :], kind)
    assert not isinstance(found, Refusal)
    assert found[0] == seed
    assert found[1].startswith(f"row {at // 16 + 1}:") or letter == plain[at]


@settings(max_examples=100, deadline=None)
@given(seed=seeds, at=st.integers(0, 62))
def test_two_swapped_neighbours_are_mended_or_named(seed: bytes, at: int) -> None:
    plain = "".join(make_phrase(seed, "owner")).replace(" ", "")
    found = read_phrase(plain[:at] + plain[at + 1] + plain[at] + plain[at + 2 :], "owner")
    if at % 16 == 15 and plain[at] != plain[at + 1]:  # across two rows: two slips
        assert isinstance(found, Refusal)
    else:
        assert not isinstance(found, Refusal)
        assert found[0] == seed


@settings(max_examples=200, deadline=None)
@given(seed=seeds, text=st.text(alphabet=ALPHABET, min_size=64, max_size=64))
def test_random_rows_restore_nothing(seed: bytes, text: str) -> None:
    assert isinstance(read_phrase(text, "owner"), Refusal)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:3], "bad_length"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "bad_row"),
        (lambda rows: [rows[0].replace("40", "!!"), *rows[1:]], "bad_letter"),
        (lambda rows: make_phrase(SEED, "hotspot"), "other_key"),
    ],
)
def test_what_is_wrong_is_named(change: object, reason: str) -> None:
    rows = change(make_phrase(SEED, "owner"))  # type: ignore[operator]
    found = read_phrase("\n".join(rows), "owner")
    assert isinstance(found, Refusal)
    assert found.reason == reason


def test_a_second_slip_in_a_row_names_the_row() -> None:
    rows = make_phrase(SEED, "owner")
    rows[2] = "ZZZ" + rows[2][3:]
    found = read_phrase("\n".join(rows), "owner")
    assert isinstance(found, Refusal)
    assert "row 3" in found.detail


# --- the command ----------------------------------------------------------------------------------


def key(folder: Path, *rest: object) -> Done:
    return run("hotspot", "key", *rest, "--config", folder / "hotspot.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = ("--lat", "40.7", "--lon", "-74.0")
    assert run("hotspot", "init", "--dir", tmp_path / "spot", *where).code == 0
    return tmp_path / "spot"


def test_paper_brings_both_keys_back(folder: Path, tmp_path: Path) -> None:
    paper = tmp_path / "paper.txt"
    assert key(folder, "backup", "--file", paper).code == 0
    assert stat.S_IMODE(paper.stat().st_mode) == 0o600
    check_clear(key(folder, "backup", "--file", paper), "exists")
    before = {name: load_seed(folder / f"{name}.key") for name in ("hotspot", "owner")}
    shown = key(folder, "backup")
    assert make_phrase(before["owner"], "owner")[0] in shown.out
    assert json.loads(key(folder, "backup", "--json", "--which", "owner").out) == {
        "owner": make_phrase(before["owner"], "owner")
    }
    for name in before:
        (folder / f"{name}.key").unlink()
        assert key(folder, "restore", "--which", name, "--file", paper).code == 0
        assert load_seed(folder / f"{name}.key") == before[name]
    assert key(folder, "restore", "--which", "owner", "--file", paper).code == 0, "the same key"


def test_the_printout_itself_can_be_typed_in_again(folder: Path, tmp_path: Path) -> None:
    numbered = key(folder, "backup", "--which", "owner").out
    (tmp_path / "typed").write_text(
        "\n".join(line for line in numbered.splitlines() if line.strip()[:1].isdigit())
    )
    seed = load_seed(folder / "owner.key")
    (folder / "owner.key").unlink()
    done = key(folder, "restore", "--which", "owner", "--file", tmp_path / "typed", "--json")
    assert json.loads(done.out)["key"] == public_key(seed).hex()


def test_a_key_that_stands_there_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("\n".join(make_phrase(SEED, "owner")))
    before = load_seed(folder / "owner.key")
    done = key(folder, "restore", "--which", "owner", "--file", tmp_path / "other")
    check_clear(done, "holds another key")
    assert load_seed(folder / "owner.key") == before
    check_clear(key(folder, "restore", "--file", tmp_path / "other"), "--which")


# --- rotation -------------------------------------------------------------------------------------


def test_an_owner_gets_a_new_key_with_everything(tmp_path: Path) -> None:
    place = make_ledger(tmp_path)
    with ledger_service(place) as (url, _):
        config = make_spot(tmp_path / "spot", url)
        folder = config.parent
        registered(config, tmp_path / "log")
        old = public_key(load_seed(folder / "owner.key"))
        paid = run("chain", "deposit", "--dir", place, "--account", old.hex(), "--amount-ucr",
                   5_000_000, "--reference", "aa", "--ledger", url)  # fmt: skip
        assert paid.code == 0, paid
        # Cut off before anything was sent: the new key waits, and the next run goes on with it.
        save_seed(folder / "owner.key.next", SEED)
        assert key(folder, "rotate", "--which", "owner").code == 0
        with LedgerClient(url) as client:
            spot = client.hotspot(public_key(load_seed(folder / "hotspot.key")))
            balances = [client.account(account).balance_ucr for account in (old, public_key(SEED))]
        assert spot is not None
        assert spot.owner == public_key(SEED)
        assert balances == [0, 5_000_000]
        assert load_seed(folder / "owner.key") == SEED


def test_a_rotation_that_the_ledger_cant_hear_changes_nothing(folder: Path) -> None:
    before = load_seed(folder / "hotspot.key")
    check_clear(key(folder, "rotate", "--which", "hotspot"), "ledger")
    assert load_seed(folder / "hotspot.key") == before
    check_clear(key(folder, "rotate"), "--which")


def test_a_daemon_that_runs_keeps_its_key(tmp_path: Path) -> None:
    place = make_ledger(tmp_path)
    with ledger_service(place) as (url, _):
        config = make_spot(tmp_path / "spot", url)
        with started(["hotspot", "run", "--config", config], tmp_path / "log"):
            wait_for("status", (config.parent / "status.json").exists)
            check_clear(key(config.parent, "rotate", "--which", "owner"), "stop it first")


def registered(config: Path, log: Path, index: int | None = None) -> None:
    """Let the daemon run until the ledger knows it, and stop it."""
    with started(["hotspot", "run", "--config", config], log) as process:

        def known() -> bool:
            status = json.loads((config.parent / "status.json").read_text())
            is_new = status["pid"] == process.pid
            return is_new and (status["index"] >= 0 if index is None else status["index"] == index)

        wait_for("registration", known, 30)
        process.terminate()
        process.wait(20)
    queue = DurableQueue(config.parent / "queue.db")
    assert queue.note("chain") is not None
    queue.close()
