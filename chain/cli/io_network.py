"""`wavecomb chain init|run`: make a network, and serve it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from chain import io_ledger, wire
from chain.admission import Role
from chain.cli.io_common import add, add_archive, add_dir, parse_hex, show
from chain.cli.io_export import export
from chain.cli.io_light import TRUST_FILE
from chain.consensus import io_cometbft
from chain.consensus.io_cometbft import add_run_options, check_threads
from chain.errors import EXIT_OK, UserError
from chain.io_collector import spare_state
from chain.io_guard import Limits
from chain.io_http import bound_port, run_until, serve
from chain.io_keyring import OPERATOR_KEY, Keyring
from chain.io_keys import load_or_create_seed, load_seed
from chain.io_ledger import DATABASE, DurableLedger
from chain.io_terminal import write_json
from chain.keys import public_key
from chain.ledger import Ledger, Sealed
from chain.params import PRESETS
from chain.proofs.checkpoint import Trust, origin_of
from chain.proofs.io_cosign import Cosigner
from chain.proofs.io_publisher import Published
from chain.proofs.io_site import Site
from chain.proofs.io_witness import parse_log_option
from chain.proofs.note import COSIGNATURE, ED25519, Note, VerifierKey, parse_verifier_key
from chain.proofs.trust_file import trust_json
from chain.records import Appointment, Genesis, Refusal, Signed
from chain.rules.blocks import BlockError
from chain.service.io_sequencer import Sequencer
from chain.service.io_service import build
from chain.store.io_store import Store

DAY_MS = 86_400_000
DEFAULT_LIMITS = Limits()
MAX_CONNECTIONS = 1 << 16
MAX_HEADER_S = 3_600

EXAMPLES = """
  wavecomb chain init --dir ledger --preset minimal
  wavecomb chain init --dir ledger --operator KEYHEX --operator KEYHEX --threshold 2
  wavecomb chain run --dir ledger
  wavecomb chain init --dir ledger --cosigner VKEY --cosigner VKEY --cosigner VKEY
  wavecomb chain run --dir ledger --unix /run/wavecomb/ledger.sock
  wavecomb chain run --dir ledger --witness VKEY@http://witness.example:8701 --publish /srv/www/log
  wavecomb chain run --dir ledger --engine cometbft
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
        "--cosigner",
        action="append",
        default=[],
        metavar="VKEY",
        help="a witness who cosigns checkpoints, as `wavecomb chain witness` shows it; repeatable",
    )
    init.add_argument(
        "--cosigners-needed",
        type=int,
        metavar="K",
        help="how many of them a light client asks for (default: more than half)",
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
    run.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="VKEY@URL",
        help="a witness to ask for cosignatures of every checkpoint; repeatable",
    )
    run.add_argument(
        "--publish",
        type=Path,
        metavar="OUT",
        help="bring a static export up to date after every checkpoint",
    )
    add_archive(run)
    run.add_argument(
        "--max-connections",
        type=int,
        default=DEFAULT_LIMITS.connections,
        metavar="N",
        help="HTTP connections at once; more get 503 (default: %(default)s)",
    )
    run.add_argument(
        "--header-timeout",
        type=float,
        default=DEFAULT_LIMITS.header_s,
        metavar="S",
        help="seconds until a connection must have asked something (default: %(default)s)",
    )
    run.add_argument(
        "--engine",
        choices=("embedded", "cometbft"),
        default="embedded",
        help="who orders records: this process, or validators (default: %(default)s)",
    )
    add_run_options(run)


def run_init(options: argparse.Namespace) -> int:
    """Make the folder of a ledger."""
    database = options.dir / DATABASE
    if database.exists():
        raise UserError(
            "dir", f"{database} exists", "take another folder; a ledger is never replaced"
        )
    cosigners = tuple(map(_parse_cosigner, options.cosigner))
    record = _genesis(options)
    first: list[Sealed] = []
    try:
        ledger = Ledger(_seal_genesis(record), on_block=first.append)
    except BlockError as error:
        raise UserError("init", str(error), "give --seed-key KEYHEX") from error
    trust = get_trust(ledger.network_id, record, cosigners, options.cosigners_needed)
    waiting = _appoint(ledger, options.dir, cosigners)
    _create_database(database, first)
    write_json(options.dir / TRUST_FILE, trust_json(trust))
    value = {
        "dir": str(options.dir),
        "network_id": ledger.network_id.hex(),
        "preset": options.preset,
        "operator": record.operators[0].hex(),
        "trust": trust_json(trust),
        "cosigners_to_appoint": waiting,
    }
    lines = [
        f"network {value['network_id']} ({options.preset}) in {options.dir}",
        f"light clients trust {options.dir / TRUST_FILE}: {trust.logs[0]}",
    ]
    if waiting:
        lines.append("appoint the cosigners with wavecomb chain appoint: other operators must sign")
    show(options, value, "\n".join(lines))
    return EXIT_OK


def _parse_cosigner(text: str) -> VerifierKey:
    key = parse_verifier_key(text)
    if isinstance(key, Refusal):
        raise UserError("cosigner", key.detail, "wavecomb chain witness shows it")
    if key.kind != COSIGNATURE:
        raise UserError("cosigner", f"{key.name} is a log's key", "give a witness's")
    return key


def get_trust(
    network_id: bytes, genesis: Genesis, cosigners: tuple[VerifierKey, ...], needed: int | None
) -> Trust:
    """What a light client of a new network trusts; UserError for more than there are."""
    threshold = len(cosigners) // 2 + 1 if needed is None and cosigners else needed or 0
    if not 0 <= threshold <= len(cosigners):
        problem = f"{threshold} of {len(cosigners)} can't sign"
        raise UserError("cosigners-needed", problem, "give more --cosigner VKEY, or less")
    origin = origin_of(network_id)
    log = VerifierKey(origin, ED25519, genesis.operators[0])
    return Trust(origin, (log,), cosigners, threshold)


def _appoint(ledger: Ledger, directory: Path, cosigners: tuple[VerifierKey, ...]) -> int:
    """Appoint cosigners where this operator alone may; how many are left for others to sign."""
    genesis, params = ledger.state.genesis, ledger.params
    if genesis.threshold > 1:
        return len(cosigners)
    seed, first = load_seed(directory / OPERATOR_KEY), params.bind_epochs
    last = first + params.appointment_epochs_max
    wires = [
        wire.seal(
            Appointment(Role.COSIGNER, key.key, key.name, 0, first, last, (0,)),
            ledger.network_id,
            [seed],
        ).wire
        for key in cosigners
    ]
    for result in ledger.submit(wires, genesis.start_ms) if wires else ():
        if not result.accepted:
            raise UserError("cosigner", result.detail, "nothing was made")
    return 0


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
    now = io_ledger.now_ms()
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
    cosigners = [parse_witness(text) for text in options.witness]
    published = None if options.publish is None else partial(_export, options.dir, options.publish)
    check_threads(options.threads)
    limits = get_limits(options)
    if options.engine == "cometbft":
        return io_cometbft.run(io_cometbft.get_run_options(options, cosigners, published, limits))
    code = asyncio.run(_serve(options, cosigners, published))
    if options.unix:
        Path(options.unix).unlink(missing_ok=True)
    return code


def get_limits(options: argparse.Namespace) -> Limits:
    """Limits of connections from a command line; UserError for what can't be."""
    if not 1 <= options.max_connections <= MAX_CONNECTIONS:
        problem = f"{options.max_connections}"
        raise UserError("max-connections", problem, f"give 1 to {MAX_CONNECTIONS}")
    if not 0 < options.header_timeout <= MAX_HEADER_S:
        raise UserError("header-timeout", f"{options.header_timeout}", f"give up to {MAX_HEADER_S}")
    return Limits(options.max_connections, options.header_timeout)


def parse_witness(text: str) -> Cosigner:
    """`VKEY@URL`; UserError for anything else."""
    watched = parse_log_option(text)
    if watched.url is None or watched.key.kind != COSIGNATURE:
        raise UserError("witness", f"{text!r} is no VKEY@URL", "wavecomb chain witness shows both")
    return Cosigner(watched.key, watched.url)


async def _export(directory: Path, out: Path, _: Note) -> None:
    """Bring the static export up to date, in a thread of its own."""
    site = Site(directory)
    try:
        await asyncio.to_thread(export, site, out)
    except (UserError, OSError) as error:
        sys.stderr.write(f"wavecomb: publish: {error}\n")
    finally:
        site.close()


async def _serve(
    options: argparse.Namespace, cosigners: list[Cosigner], published: Published | None
) -> int:
    durable = DurableLedger.open(options.dir)
    spare_state()
    port = 8700 if options.port is None and options.unix is None else options.port
    engine = Sequencer(durable, threads=options.threads)
    app = build(
        durable, engine, Keyring(options.dir), cosigners, published, archive=options.archive
    )
    runner = await serve(app, options.host, port, options.unix, get_limits(options))
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
