"""The terminal, once for all commands: errors as one line, JSON beside text, progress, Ctrl-C."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from chain.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, UserError

Command = Callable[[Sequence[str]], int]


class Parser(argparse.ArgumentParser):
    """Options of a command: a mistake is one line; help ends with the command's own examples.

    `examples` holds command lines; each (sub-)command shows those that begin with its own name.
    """

    def __init__(self, *, prog: str, examples: str = "", **rest: Any) -> None:
        rest.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        own = [line.strip() for line in examples.splitlines() if _is_of(line, prog)]
        if own:
            rest["epilog"] = "\n  ".join(["examples:", *own])
        super().__init__(prog=prog, **rest)
        self._examples = examples
        self._given: Sequence[str] = ()

    def add_commands(self, dest: str = "command") -> Any:
        """Begin the list of sub-commands, of which one must be named; see `add_command`."""
        kind = cast("type[Parser]", functools.partial(type(self), examples=self._examples))
        return self.add_subparsers(
            dest=dest, required=True, metavar=dest.upper(), parser_class=kind
        )

    def parse_known_args(  # type: ignore[override]  # of argparse's overloads one is enough
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's; what nobody knows is a mistake of the command that it was given to."""
        self._given = sys.argv[1:] if args is None else list(args)
        found, unknown = super().parse_known_args(self._given, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, []

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong with the command line, and exit."""
        remedy = f"see {self.prog} --help"
        _print_error(self._given, "command line", message, remedy, EXIT_USAGE)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; {remedy}\n")


def add_command(commands: Any, name: str, text: str) -> Parser:
    """Add a sub-command; `text` says what it does, small letter first, without a full stop."""
    command: Parser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    return command


def _is_of(line: str, prog: str) -> bool:
    words = prog.split()
    return line.split()[: len(words)] == words


def run_command(command: Command, argv: Sequence[str]) -> int:
    """Run a command and turn what people can mend into one line on stderr and an exit code.

    With `--json` among its words stdout gets the same as a document: `{"error": {...}}`.
    """
    try:
        return command(argv)
    except UserError as error:
        said = (error.field, error.problem, error.remedy, error.exit_code)
    except KeyboardInterrupt:
        said = ("", "interrupted", "everything acknowledged is kept", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        problem, remedy = error.strerror or str(error), "check the path, its mode and free space"
        said = (str(error.filename or ""), problem, remedy, EXIT_FAILED)
    field, problem, remedy, code = said
    sys.stderr.write(f"wavecomb: {field}{': ' if field else ''}{problem}; {remedy}\n")
    try:
        _print_error(argv, *said)
    except BrokenPipeError:  # who read the first answer and left asked for no other
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _print_error(
    argv: Sequence[str], field: str, problem: str, remedy: str, exit_code: int
) -> None:
    """For a program that asked for JSON: what went wrong as a document, like any other answer."""
    if "--json" in argv:
        error = {"field": field, "problem": problem, "remedy": remedy, "exit_code": exit_code}
        print_json({"error": error})


def write_json(path: Path, value: Any) -> None:
    """Replace a file by one JSON document: a reader sees the old one or the new one, whole."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    print(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")), flush=True)


def get_credits(ucr: int) -> str:
    """Micro-credits as credits, with all six places."""
    whole, rest = divmod(abs(ucr), 1_000_000)
    return f"{'-' if ucr < 0 else ''}{whole}.{rest:06}"


class Progress:
    """A bar on stderr: redrawn on a terminal, a line at each tenth elsewhere, silent if asked."""

    def __init__(self, label: str, total: int, *, quiet: bool = False) -> None:
        self.label = label
        self.total = max(1, total)
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._shown = -1
        self._started = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of `total` steps are behind us."""
        percent = min(100, 100 * done // self.total)
        step = 1 if self._terminal else 10
        if self._quiet or (percent // step == self._shown // step and self._shown >= 0):
            return
        self._shown = percent
        seconds = time.monotonic() - self._started
        bar = "#" * (percent // 5)
        line = f"{self.label:<24} [{bar:<20}] {percent:3d} % {seconds:6.1f} s {note}"
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def close(self, note: str = "") -> None:
        """Finish the bar."""
        self._shown = -1
        self.update(self.total, note)
        if self._terminal and not self._quiet:
            sys.stderr.write("\n")
