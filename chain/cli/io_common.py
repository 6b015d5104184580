"""What the sub-commands of `wavecomb chain` share: options, answers, keys, reports."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, add_command, print_json
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
    """Nested values as indented text; rules one a line."""
    lines: list[str] = []
    for name, item in value.items():
        if name == "rules":
            lines += [f"{indent}{_rule_line(rule)}" for rule in item]
        elif isinstance(item, dict):
            lines += [f"{indent}{name}:", *get_lines(item, indent + "  ")]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{indent}{name}:")
            for number, entry in enumerate(item):
                lines += [f"{indent}  [{number}]", *get_lines(entry, indent + "    ")]
        else:
            lines.append(f"{indent}{name}: {item}")
    return lines


def _rule_line(rule: dict[str, Any]) -> str:
    inputs = ", ".join(f"{name} {value}" for name, value in rule["inputs"].items())
    margin = "" if rule["margin"] is None else f", margin {rule['margin']}"
    return f"{'pass' if rule['passed'] else 'FAIL'} {rule['rule']}: {inputs}{margin}"
