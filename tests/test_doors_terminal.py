"""A program that asked for JSON gets JSON, whatever went wrong; a mistake is its command's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import wavecomb
from chain.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, UserError
from chain.io_terminal import Parser, run_command


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """A command in this process: exit code, stdout, stderr."""
    try:
        code = wavecomb.main(words)
    except SystemExit as stop:
        code = int(str(stop.code))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    "words",
    [
        ("chain", "audit", "/nowhere/ledger.db"),
        ("chain", "audit", "x", "--nonsense"),
        ("chain", "explain", "3", "--ledger", "ftp://x"),
        ("chain", "nonsense"),
        ("hotspot", "status", "--config", "/nowhere"),
        ("map", "serve", "--port", "x"),
        ("routing", "train", "/nowhere"),
        ("sim", "run", "/nowhere.toml"),
        ("demo", "--port", "99999999"),
        ("job", "status"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_a_line_for_people_and_a_document_for_programs(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, plain, line = run(capsys, *words)
    assert code in (EXIT_FAILED, EXIT_USAGE)
    assert (plain, line.count("\n")) == ("", 1)
    again, out, same_line = run(capsys, *words, "--json")
    error = json.loads(out)["error"]
    assert (again, same_line) == (code, line)
    assert error["exit_code"] == code
    assert error["field"]
    assert f"{error['problem']}; {error['remedy']}" in line


def test_an_option_that_nobody_knows_is_told_by_the_command_it_was_given_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, _, line = run(capsys, "chain", "audit", "x", "--nonsense")
    assert line.startswith("wavecomb chain audit: unrecognized arguments: --nonsense; ")
    assert line.endswith("see wavecomb chain audit --help\n")


def fail_with(error: BaseException) -> Sequence[str]:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        (UserError("file", "is empty", "give another"), EXIT_USAGE, "file"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, ""),
        (PermissionError(13, "Permission denied", "/x/y"), EXIT_FAILED, "/x/y"),
        (OSError(28, "No space left on device"), EXIT_FAILED, ""),
    ],
    ids=["ours", "ctrl-c", "file", "disk"],
)
def test_whatever_ends_a_command_has_its_code_and_its_document(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, field: str
) -> None:
    assert run_command(lambda _: len(fail_with(error)), ["--json"]) == code
    said = capsys.readouterr()
    document = json.loads(said.out)["error"]
    assert (document["exit_code"], document["field"]) == (code, field)
    assert said.err.count("\n") == 1
    assert "; " in said.err


def test_a_folder_is_taken_for_the_ledger_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "chain", "init", "--dir", str(tmp_path), "--preset", "minimal")[0] == 0
    by_folder = run(capsys, "chain", "audit", str(tmp_path), "--json")[:2]
    assert by_folder == run(capsys, "chain", "audit", str(tmp_path / "ledger.db"), "--json")[:2]
    assert json.loads(by_folder[1])["ok"] is True


def test_words_of_the_parser_itself_are_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="wavecomb x")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--number", type=int)
    assert parser.parse_args(["--number", "3"]).number == 3
    with pytest.raises(SystemExit):
        parser.parse_args(["--number", "three", "--json"])
    assert "three" in json.loads(capsys.readouterr().out)["error"]["problem"]
