"""`wavecomb chain init|run`: make a network, and serve it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from chain import wire
from chain.errors import EXIT_OK, UserError
from chain.io_cli_common import add, add_dir, parse_hex, show
from chain.io_http import bound_port, run_until, serve
from chain.io_keyring import OPERATOR_KEY, Keyring
from chain.io_keys import load_or_create_seed
from chain.io_ledger import DATABASE, DurableLedger, now_ms
from chain.io_service import build
from chain.io_store import Store
from chain.keys import public_key
from chain.ledger import Ledger, Sealed
from chain.params import PRESETS
from chain.records import Genesis, Signed
from chain.rules.blocks import BlockError

DAY_MS = 86_400_000

EXAMPLES = """
  wavecomb chain init --dir ledger --preset minimal
  wavecomb chain init --dir ledger --operator KEYHEX --operator KEYHEX --threshold 2
  wavecomb chain run --dir ledger
  wavecomb chain run --dir ledger --unix /run/wavecomb/ledger.sock
"""


def add_commands(commands: Any) -> None:
    """Add the sub-commands."""
    _add_init(commands)
    _add_run(commands)


def _add_init(commands: Any) -> None:
    init = add(commands, "init", run_init, "make a network: operator key, genesis, database")
    add_dir(init, "folder for the ledger, made if missing")
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
        "--operator",
        action="append",
        default=[],
        metavar="KEYHEX",
        help="another operator's key; repeatable (this folder's own key is operator 0)",
    )
    init.add_argument(
        "--threshold",
        type=int,
        default=1,
        metavar="N",
        help="how many operators must sign a deposit or an appointment (default: %(default)s)",
    )
    init.add_argument(
        "--start-ms", type=int, metavar="MS", help="start of epoch 0, ms since 1970 (default: now)"
    )


def _add_run(commands: Any) -> None:
    run = add(commands, "run", run_run, "run the ledger service")
    add_dir(run)
    run.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    run.add_argument(
        "--port",
        type=int,
        help="TCP port, 0 takes a free one (default: 8700, or none beside --unix)",
    )
    run.add_argument("--unix", metavar="PATH", help="listen on a unix socket")


def run_init(options: argparse.Namespace) -> int:
    """Make the folder of a ledger."""
    database = options.dir / DATABASE
    if database.exists():
        raise UserError(
            "dir", f"{database} exists", "take another folder; a ledger is never replaced"
        )
    record = _genesis(options)
    first: list[Sealed] = []
    try:
        ledger = Ledger(_seal_genesis(record), on_block=first.append)
    except BlockError as error:
        raise UserError("init", str(error), "give --seed-key KEYHEX") from error
    _create_database(database, first)
    value = {
        "dir": str(options.dir),
        "network_id": ledger.network_id.hex(),
        "preset": options.preset,
        "operator": record.operators[0].hex(),
    }
    show(options, value, f"network {value['network_id']} ({options.preset}) in {options.dir}")
    return EXIT_OK


def _genesis(options: argparse.Namespace) -> Genesis:
    seeds = tuple(parse_hex(text, "seed-key") for text in options.seed_key)
    others = tuple(parse_hex(text, "operator") for text in options.operator)
    start_ms = _start_ms(options.start_ms)
    if not 1 <= options.threshold <= 1 + len(others):
        problem = f"{options.threshold} of {1 + len(others)} operators can't sign"
        raise UserError("threshold", problem, "give more --operator KEYHEX, or a smaller number")
    own = public_key(load_or_create_seed(options.dir / OPERATOR_KEY))
    if len({own, *others}) != 1 + len(others):
        raise UserError("operator", "one key is named twice", "name every operator once")
    operators = (own, *others)
    return Genesis(options.network, options.preset, start_ms, operators, options.threshold, seeds)


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
    app = build(durable, keyring=Keyring(options.dir))
    runner = await serve(app, options.host, port, options.unix)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    urls = [f"http://{options.host}:{bound_port(runner)}"] if port is not None else []
    urls += [f"unix:{options.unix}"] if options.unix else []
    head = durable.ledger.head
    value = {"urls": urls, "network_id": durable.ledger.network_id.hex(), "height": head.height}
    show(options, value, f"ledger at {' and '.join(urls)}, {head.record_count} records")
    await run_until(stop, runner)
    durable.store.close()
    return EXIT_OK
