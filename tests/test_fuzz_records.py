"""20,000 bent records here, a million in the soak: no exception, and a refusal changes nothing."""

from __future__ import annotations

import re
import subprocess
import sys

import fuzz_records
import pytest
from conftest import ROOT

from chain import wire
from chain.io_terminal import Progress
from chain.packed import PackedError, unpack_receipts
from chain.rules.outcome import Accepted

CASES, SOAK_CASES = 20_000, 1_000_000


@pytest.fixture(scope="module")
def outcome() -> fuzz_records.Outcome:
    return fuzz_records.run(seed=1, cases=CASES)


def test_twenty_thousand_bent_records_break_no_promise(outcome: fuzz_records.Outcome) -> None:
    assert outcome.cases == CASES


def test_fuzzing_reaches_the_rules_of_every_type(outcome: fuzz_records.Outcome) -> None:
    """Not all stopped at the door: each type got past its shape to the reasons of its own rules."""
    for cls, _ in wire.LAYOUT.values():
        reasons = {reason for name, reason in outcome.reasons if name == cls.NAME}
        assert reasons - {"bad_shape", "unknown_type", "bad_signature"}, cls.NAME


def test_a_case_that_breaks_a_promise_is_told_with_the_command_that_plays_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from chain.rules import blocks

    real = blocks.process_deposit

    def careless(state, signed, deposit, verify):  # type: ignore[no-untyped-def]
        verdict = real(state, signed, deposit, verify)
        if not isinstance(verdict, Accepted):
            state.stats["refused"] += 1
        return verdict

    monkeypatch.setattr(blocks, "process_deposit", careless)
    with pytest.raises(fuzz_records.Finding, match="a refused record changed something") as found:
        fuzz_records.run(seed=1, cases=1_000)
    command = re.search(r"--seed 1 --case (\d+)", str(found.value))
    assert command
    live, number = fuzz_records.make_live(), int(command[1])
    first = number // fuzz_records.CHUNK * fuzz_records.CHUNK
    with pytest.raises(fuzz_records.Finding):
        fuzz_records.run_chunk(live, 1, first, number, fuzz_records.Outcome())
    monkeypatch.undo()
    assert fuzz_records.run_chunk(live, 1, first, number, fuzz_records.Outcome())


def test_an_exception_in_a_rule_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from chain.rules import blocks

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    live = fuzz_records.make_live()
    monkeypatch.setattr(blocks, "process_deposit", broken)
    with pytest.raises(fuzz_records.Finding, match=r"deposit .* ZeroDivisionError"):
        fuzz_records.run_chunk(live, 1, 0, fuzz_records.CHUNK - 1, fuzz_records.Outcome())


def test_the_command_plays_a_case_again() -> None:
    command = [sys.executable, "-m", "tests.fuzz_records", "--seed", "1", "--case", "777"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert " -> " in done.stdout


def test_an_endless_number_is_refused_where_it_leaves_64_bits() -> None:
    """Found by fuzzing: 65 kB of 0xff were read to their end, in time that grows by the square."""
    with pytest.raises(PackedError, match="beyond 64 bits"):
        unpack_receipts(b"\xff" * 65_000)


@pytest.mark.slow
@pytest.mark.soak
def test_a_million_bent_records_break_no_promise() -> None:
    progress = Progress("fuzz", SOAK_CASES)
    assert fuzz_records.run(seed=2, cases=SOAK_CASES, progress=progress).cases == SOAK_CASES
