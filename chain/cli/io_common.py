"""What the sub-commands of `wavecomb chain` share: options, answers, keys, reports."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, add_command, get_credits, print_json
from chain.records import SubmitResult
from chain.service.views import result_json

DEFAULT_URL = "http://127.0.0.1:8700"
Run = Callable[[argparse.Namespace], int]


def add(commands: Any, name: str, run: Run, text: str) -> Parser:
    """A sub-command with --json."""
    command = add_command(commands, name, text)
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run)
    return command


def add_ledger(command: argparse.ArgumentParser) -> None:
    """The option that names the service."""
    command.add_argument(
        "--ledger",
        default=DEFAULT_URL,
        metavar="URL",
        help="the service: http://HOST:PORT or unix:/PATH (default: %(default)s)",
    )


def add_archive(command: argparse.ArgumentParser) -> None:
    """The option that names the folder of pruned records."""
    command.add_argument(
        "--archive", type=Path, metavar="DIR", help="the folder that wavecomb chain prune wrote"
    )


def add_dir(command: argparse.ArgumentParser, text: str = "the folder that init made") -> None:
    """The option that names the folder of a ledger."""
    command.add_argument("--dir", type=Path, required=True, metavar="DIR", help=text)


def show(options: argparse.Namespace, value: Mapping[str, Any], text: str) -> None:
    """Print an answer as JSON or as text."""
    print_json(value) if options.json else print(text, flush=True)


def parse_hex(text: str, field: str, low: int = 32, high: int = 32) -> bytes:
    """Bytes from hexadecimal; UserError that names the option."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = None
    if value is None or not low <= len(value) <= high:
        digits = f"{2 * low}" if low == high else f"{2 * low} to {2 * high}"
        problem = f"{text!r} is no key" if (low, high) == (32, 32) else f"{text!r} is no such text"
        raise UserError(field, problem, f"give {digits} hexadecimal digits")
    return value


def report(options: argparse.Namespace, results: Sequence[SubmitResult]) -> int:
    """Say what became of records; the exit code."""
    if options.json:
        print_json({"results": [result_json(result) for result in results]})
    for result in results if not options.json else []:
        word = "accepted" if result.accepted else "refused"
        index = "" if result.index is None else f" index {result.index}"
        print(f"{word} {result.record_id.hex()}{index} {result.reason} {result.detail}".rstrip())
    return EXIT_OK if all(result.accepted for result in results) else EXIT_FAILED


def get_lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """Nested values as indented text: rules one a line, rows of one shape as a table."""
    lines: list[str] = []
    for name, item in value.items():
        if item in ("", [], {}, None):
            continue
        if name == "rules":
            lines += [f"{indent}{_rule_line(rule)}" for rule in item]
        elif isinstance(item, dict):
            lines += [f"{indent}{name}:", *get_lines(item, indent + "  ")]
        elif isinstance(item, list) and isinstance(item[0], dict):
            lines += [f"{indent}{name}:", *_row_lines(item, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_scalar(name, item)}")
    return lines


def _scalar(name: str, item: object) -> str:
    """A value for people: micro-credits as credits too, a list without brackets."""
    if isinstance(item, list):
        return ", ".join(map(str, item))
    if name.endswith("_ucr") and isinstance(item, int):
        return f"{item} ({get_credits(item)} credits)"
    return str(item)


def _row_lines(rows: list[dict[str, Any]], indent: str) -> list[str]:
    """Rows as a table, or one after the other where they hold more than plain values."""
    names = [name for name in rows[0] if any(row.get(name) not in ("", None) for row in rows)]
    if any(isinstance(item, dict | list) for row in rows for item in row.values()):
        return [
            line
            for number, row in enumerate(rows)
            for line in (f"{indent}[{number}]", *get_lines(row, indent + "  "))
        ]
    table = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        indent + "  ".join(map(str.ljust, line, widths)).rstrip() for line in table
    ]


def _rule_line(rule: dict[str, Any]) -> str:
    """A rule in words; where it failed, with the numbers that it looked at."""
    if rule["passed"]:
        return f"pass {rule['rule']}: {rule['words']}"
    inputs = ", ".join(f"{name} {value}" for name, value in rule["inputs"].items())
    margin = "" if rule["margin"] is None else f", margin {rule['margin']}"
    return f"FAIL {rule['rule']}: {rule['words']} [{inputs}{margin}]"
