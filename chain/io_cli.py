"""`wavecomb chain`: make and run a ledger, put records in, ask why, audit."""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import os
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chain import wire
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_audit import Audit, audit
from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable
from chain.io_explain import explain
from chain.io_http import bound_port, run_until, serve
from chain.io_keys import load_or_create_seed, load_seed
from chain.io_ledger import DATABASE, DurableLedger, now_ms
from chain.io_service import build
from chain.io_store import Store
from chain.io_terminal import Parser, Progress, add_command, print_json
from chain.keys import public_key
from chain.ledger import Ledger, Sealed
from chain.params import PRESETS
from chain.records import Deposit, Genesis, Signed, SubmitResult
from chain.rules.blocks import BlockError

OPERATOR_KEY = "operator.key"
DAY_MS = 86_400_000
DEFAULT_URL = "http://127.0.0.1:8700"

EXAMPLES = """
  wavecomb chain init --dir ledger --preset minimal
  wavecomb chain run --dir ledger
  wavecomb chain run --dir ledger --unix /run/wavecomb/ledger.sock
  wavecomb chain deposit --dir ledger --account KEYHEX --amount-ucr 5000000
  wavecomb chain submit records.txt
  wavecomb chain explain 3                          # hotspot 3: what it earned, and why
  wavecomb chain explain 3:120:0                    # its first beacon of epoch 120
  wavecomb chain explain 3:120:0 --db ledger/ledger.db
  wavecomb chain audit ledger/ledger.db
  wavecomb chain stats --json
"""


def parser() -> Parser:
    """The options of every sub-command."""
    top = Parser(
        prog="wavecomb chain",
        description="The ledger: what was proved, what was paid, and why.",
        examples=EXAMPLES,
    )
    commands = top.add_commands()
    _add_init(commands)
    _add_run(commands)
    _add_deposit(commands)
    submit = _add(commands, "submit", run_submit, "submit signed records from a file")
    submit.add_argument(
        "file",
        metavar="FILE",
        help="one record in base64 per line, or one record's bytes; - reads standard input",
    )
    _add_ledger(submit)
    why = _add(commands, "explain", run_explain, "say why something was or wasn't paid")
    why.add_argument(
        "id",
        metavar="ID",
        help="hotspot index or key, beacon as HOTSPOT:EPOCH:SEQUENCE, record id, or account key",
    )
    _add_ledger(why)
    why.add_argument("--db", metavar="FILE", help="ask a database file instead of a service")
    check = _add(
        commands,
        "audit",
        run_audit,
        "derive every block, verdict, payment and balance again and compare",
    )
    check.add_argument("db", metavar="FILE", help="a ledger database, or a copy of one")
    totals = _add(commands, "stats", run_stats, "show totals: supply, payments, verdicts, traffic")
    _add_ledger(totals)
    return top


def _add(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command = add_command(commands, name, text)
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run)
    return command


def _add_ledger(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ledger",
        default=DEFAULT_URL,
        metavar="URL",
        help="the service: http://HOST:PORT or unix:/PATH (default: %(default)s)",
    )


def _add_init(commands: Any) -> None:
    init = _add(commands, "init", run_init, "make a network: operator key, genesis, database")
    init.add_argument(
        "--dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the ledger, made if missing",
    )
    init.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="minimal",
        help="rules: epochs of 10 s (minimal) to 10 minutes (mainnet) (default: %(default)s)",
    )
    init.add_argument(
        "--network",
        default="wavecomb",
        metavar="NAME",
        help="name for people (default: %(default)s)",
    )
    init.add_argument(
        "--seed-key",
        action="append",
        default=[],
        metavar="KEYHEX",
        help="a hotspot key where trust starts; repeatable",
    )
    init.add_argument(
        "--start-ms", type=int, metavar="MS", help="start of epoch 0, ms since 1970 (default: now)"
    )


def _add_run(commands: Any) -> None:
    run = _add(commands, "run", run_run, "run the ledger service")
    run.add_argument(
        "--dir", type=Path, required=True, metavar="DIR", help="the folder that init made"
    )
    run.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    run.add_argument(
        "--port",
        type=int,
        help="TCP port, 0 takes a free one (default: 8700, or none beside --unix)",
    )
    run.add_argument("--unix", metavar="PATH", help="listen on a unix socket")


def _add_deposit(commands: Any) -> None:
    deposit = _add(commands, "deposit", run_deposit, "credit an account, signed by this operator")
    deposit.add_argument(
        "--dir", type=Path, required=True, metavar="DIR", help="the folder with operator.key"
    )
    deposit.add_argument("--account", required=True, metavar="KEYHEX", help="the owner's key")
    deposit.add_argument(
        "--amount-ucr", type=int, required=True, metavar="UCR", help="micro-credits"
    )
    deposit.add_argument(
        "--reference", metavar="HEX", help="at most 32 bytes; a random one if left out"
    )
    _add_ledger(deposit)


def main(argv: Sequence[str]) -> int:
    """Run a sub-command; the exit code."""
    options = parser().parse_args(list(argv))
    try:
        code: int = options.run(options)
    except LedgerUnavailable as error:
        raise UserError(
            "ledger", str(error), "start it with: wavecomb chain run", exit_code=EXIT_FAILED
        ) from error
    except LedgerRefused as error:
        raise UserError("ledger", "refused", str(error), exit_code=EXIT_FAILED) from error
    return code


def _show(options: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    print_json(value) if options.json else print(text, flush=True)


def _key(text: str, field: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UserError(field, f"{text!r} is no key", "give 64 hexadecimal digits")
    return key


def run_init(options: argparse.Namespace) -> int:
    """Make the folder of a ledger."""
    seeds = tuple(_key(text, "seed-key") for text in options.seed_key)
    start_ms = _start_ms(options.start_ms)
    database = options.dir / DATABASE
    if database.exists():
        raise UserError(
            "dir", f"{database} exists", "take another folder; a ledger is never replaced"
        )
    operator = public_key(load_or_create_seed(options.dir / OPERATOR_KEY))
    genesis = _seal_genesis(
        Genesis(options.network, options.preset, start_ms, (operator,), 1, seeds)
    )
    first: list[Sealed] = []
    try:
        ledger = Ledger(genesis, on_block=first.append)
    except BlockError as error:
        raise UserError("init", str(error), "give --seed-key KEYHEX") from error
    _create_database(database, first)
    value = {
        "dir": str(options.dir),
        "network_id": ledger.network_id.hex(),
        "preset": options.preset,
        "operator": operator.hex(),
    }
    _show(options, value, f"network {value['network_id']} ({options.preset}) in {options.dir}")
    return EXIT_OK


def _start_ms(wanted: int | None) -> int:
    """When epoch 0 starts: a ledger closes every epoch since, so it can't be long ago."""
    now = now_ms()
    if wanted is not None and abs(wanted - now) > DAY_MS:
        raise UserError("start-ms", f"{wanted} is more than a day from now", f"now is {now}")
    return now if wanted is None else wanted


def _seal_genesis(genesis: Genesis) -> Signed:
    try:
        return wire.seal(genesis, b"", [])
    except (ValueError, OverflowError) as error:
        raise UserError("genesis", str(error), "see wavecomb chain init --help") from error


def _create_database(database: Path, first: list[Sealed]) -> None:
    """Write block 0 under another name first, so that no half-made ledger is ever found."""
    draft = database.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    store = Store.create(str(draft))
    store.append(first)
    store.close()
    os.rename(draft, database)


def run_run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    code = asyncio.run(_serve(options))
    if options.unix:
        Path(options.unix).unlink(missing_ok=True)
    return code


async def _serve(options: argparse.Namespace) -> int:
    durable = DurableLedger.open(options.dir)
    port = 8700 if options.port is None and options.unix is None else options.port
    runner = await serve(build(durable), options.host, port, options.unix)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    urls = [f"http://{options.host}:{bound_port(runner)}"] if port is not None else []
    urls += [f"unix:{options.unix}"] if options.unix else []
    head = durable.ledger.head
    value = {"urls": urls, "network_id": durable.ledger.network_id.hex(), "height": head.height}
    _show(options, value, f"ledger at {' and '.join(urls)}, {head.record_count} records")
    await run_until(stop, runner)
    durable.store.close()
    return EXIT_OK


def run_deposit(options: argparse.Namespace) -> int:
    """Sign and submit a deposit."""
    seed = load_seed(options.dir / OPERATOR_KEY)
    account = _key(options.account, "account")
    reference = _reference(options.reference)
    with LedgerClient(options.ledger) as client:
        operators = client.get("/v1/genesis")["operators"]
        if public_key(seed).hex() not in operators:
            raise UserError("dir", "its key is no operator of this network", "take another --dir")
        index = operators.index(public_key(seed).hex())
        record = Deposit(account, options.amount_ucr, reference, (index,))
        try:
            signed = wire.seal(record, client.head().network_id, [seed])
        except ValueError as error:
            raise UserError("amount-ucr", str(error), "give a whole number above 0") from error
        return _report(options, client.submit([signed.wire]))


def _reference(text: str | None) -> bytes:
    try:
        reference = secrets.token_bytes(16) if text is None else bytes.fromhex(text)
    except ValueError as error:
        raise UserError(
            "reference", f"{text!r} is not hexadecimal", "give at most 32 bytes"
        ) from error
    return reference


def _report(options: argparse.Namespace, results: list[SubmitResult]) -> int:
    from chain.views import result_json

    if options.json:
        print_json({"results": [result_json(result) for result in results]})
    for result in results if not options.json else []:
        word = "accepted" if result.accepted else "refused"
        index = "" if result.index is None else f" index {result.index}"
        print(f"{word} {result.record_id.hex()}{index} {result.reason} {result.detail}".rstrip())
    return EXIT_OK if all(result.accepted for result in results) else EXIT_FAILED


def run_submit(options: argparse.Namespace) -> int:
    """Submit what a file holds."""
    wires = _read_wires(options.file)
    results: list[SubmitResult] = []
    with LedgerClient(options.ledger) as client:
        for start in range(0, len(wires), 100):
            results += client.submit(wires[start : start + 100])
    return _report(options, results)


def _read_wires(name: str) -> list[bytes]:
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    if data[:1] == b"\x84":  # a CBOR array of four: the bytes of one envelope
        return [data]
    wires = []
    for number, line in enumerate(data.split(), start=1):
        try:
            wires.append(base64.b64decode(line, validate=True))
        except binascii.Error as error:
            raise UserError(
                "file", f"{name} line {number} is no base64", "give one record per line"
            ) from error
    if not wires:
        raise UserError("file", f"{name} holds no record", "give one record per line in base64")
    return wires


def run_explain(options: argparse.Namespace) -> int:
    """Explain an id from a service or a database."""
    if options.db:
        store = Store.open(options.db, read_only=True)
        answer = explain(store, options.id)
    else:
        with LedgerClient(options.ledger) as client:
            answer = client.get(f"/v1/explain/{options.id}")
    _show(options, answer, "\n".join(_lines(answer)))
    return EXIT_OK


def _lines(value: Any, indent: str = "") -> list[str]:
    """Nested values as indented text; rules one a line."""
    lines: list[str] = []
    for name, item in value.items():
        if name == "rules":
            lines += [f"{indent}{_rule_line(rule)}" for rule in item]
        elif isinstance(item, dict):
            lines += [f"{indent}{name}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{indent}{name}:")
            for number, entry in enumerate(item):
                lines += [f"{indent}  [{number}]", *_lines(entry, indent + "    ")]
        else:
            lines.append(f"{indent}{name}: {item}")
    return lines


def _rule_line(rule: dict[str, Any]) -> str:
    inputs = ", ".join(f"{name} {value}" for name, value in rule["inputs"].items())
    margin = "" if rule["margin"] is None else f", margin {rule['margin']}"
    return f"{'pass' if rule['passed'] else 'FAIL'} {rule['rule']}: {inputs}{margin}"


def run_audit(options: argparse.Namespace) -> int:
    """Audit a database; exit code 1 and the place of the first difference if it fails."""
    progress = Progress("audit", 1, quiet=options.json)

    def note(done: int, total: int) -> None:
        progress.total = max(1, total)
        progress.update(done)

    result = audit(options.db, note=note)
    progress.close() if result.ok else None
    _show(options, _audit_json(result), _audit_text(result))
    return EXIT_OK if result.ok else EXIT_FAILED


def _audit_json(result: Audit) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "where": result.where,
        "problem": result.problem,
        "blocks": result.blocks,
        "records": result.records,
        "epoch": result.epoch,
        "log_root": result.log_root,
        "state_root": result.state_root,
    }


def _audit_text(result: Audit) -> str:
    if not result.ok:
        return f"audit FAILED at {result.where}: {result.problem}"
    return (
        f"audit ok: {result.records} records in {result.blocks} blocks to epoch {result.epoch}\n"
        f"log root   {result.log_root}\nstate root {result.state_root}"
    )


def run_stats(options: argparse.Namespace) -> int:
    """Show the totals of a service."""
    with LedgerClient(options.ledger) as client:
        stats = client.stats()
    _show(options, stats, "\n".join(_lines(stats)))
    return EXIT_OK
