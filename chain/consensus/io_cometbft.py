"""The consensus engine as a child process: find its program, write its folder, run it.

    DIR/ledger.db            the ledger, as with the embedded engine
    DIR/engine/config/       keys (mode 0600), genesis.json, config.toml
    DIR/engine/data/         the engine's own blocks and votes
    DIR/engine/engine.log    what it says

The engine talks to this process over a unix socket in its folder, and takes transactions over
another; only its peers' port is on the network, and on loopback unless told otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from chain import wire
from chain.abci.application import Application
from chain.abci.home import (
    COMMIT_MS,
    Settings,
    Sync,
    config_text,
    genesis_wire_of,
    get_empty_ms,
    key_files,
    node_id_of,
    powers_of,
    signing_state_text,
    validator_key_of,
)
from chain.abci.validators import Powers
from chain.consensus.io_consensus import ConsensusEngine, NodeRpc
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_abci import AbciServer, DurableBooks
from chain.io_collector import spare_state
from chain.io_guard import Limits
from chain.io_http import bound_port, serve
from chain.io_keyring import Keyring
from chain.io_ledger import DATABASE, DurableLedger
from chain.io_terminal import Parser, print_json, run_command
from chain.ledger import Ledger, Sealed
from chain.proofs.io_cosign import Cosigner
from chain.proofs.io_publisher import Published
from chain.records import Refusal, Signed
from chain.rules.blocks import BlockError
from chain.service.io_service import build
from chain.service.io_verify import VerifyPool
from chain.store.io_store import Store

PROGRAM = "cometbft"
SERIES = "0.38."
PROGRAM_VARIABLE = "WAVECOMB_COMETBFT"
# The engine writes its log in a storm when its peers are gone; this much is kept of a run before.
LOG_BYTES = 10 << 20
STOP_S = 10.0
# A unix socket's path has 107 characters at most.
MAX_SOCKET_PATH = 100
DEFAULT_P2P = "tcp://127.0.0.1:26656"
MAX_COMMIT_MS = 60_000
MAX_THREADS = 256
PEER = re.compile(r"[0-9a-f]{40}@[^@,\s]+:[0-9]{1,5}")


def find_program() -> str:
    """The engine's program: $WAVECOMB_COMETBFT, beside this Python, or on the path.

    UserError if there is none or it is of another series than the one whose messages we speak.
    """
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = os.environ.get(PROGRAM_VARIABLE) or shutil.which(PROGRAM, path=beside)
    if found is None:
        raise UserError(
            "engine", f"{PROGRAM} is not installed", "run: make system", exit_code=EXIT_FAILED
        )
    try:
        done = subprocess.run([found, "version"], capture_output=True, text=True, timeout=20)
        version = done.stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError("engine", f"{found}: {error}", "run: make system") from error
    if not version.removeprefix("v").startswith(SERIES):
        raise UserError("engine", f"{found} is version {version!r}", f"install {SERIES}25 or newer")
    return found


@dataclass(frozen=True, slots=True)
class Home:
    """The engine's folder inside a ledger's folder."""

    folder: Path

    @property
    def engine(self) -> Path:
        """What the engine calls its home."""
        return self.folder / "engine"

    @property
    def genesis(self) -> Path:
        """The file that all operators share."""
        return self.engine / "config" / "genesis.json"

    @property
    def validator_file(self) -> Path:
        """The key that votes."""
        return self.engine / "config" / "priv_validator_key.json"

    def make_keys(self) -> None:
        """Make the keys that are not there yet, for this user's eyes only."""
        if self.validator_file.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in (self.engine, self.engine / "config", self.engine / "data"):
            part.mkdir(exist_ok=True, mode=0o700)
        seeds = secrets.token_bytes(32), secrets.token_bytes(32)
        for name, text in key_files(*seeds).items():
            write_secret(self.engine / "config" / name, text)
        write_secret(self.engine / "data" / "priv_validator_state.json", signing_state_text())

    def validator_key(self) -> bytes:
        """The public key of this node's validator; UserError if there is none."""
        try:
            return validator_key_of(self.validator_file.read_text())
        except (OSError, ValueError) as error:
            raise _no_home(self.folder, f"{self.validator_file}: {error}") from error

    def node_id(self) -> str:
        """What peers call this node; UserError if it has no key."""
        try:
            return node_id_of((self.engine / "config" / "node_key.json").read_text())
        except (OSError, ValueError) as error:
            raise _no_home(self.folder, f"node_key.json: {error}") from error

    def genesis_record(self) -> Signed:
        """The ledger's genesis in the engine's; UserError if it is missing or another file."""
        try:
            signed = wire.decode(genesis_wire_of(self.genesis.read_text()))
        except (OSError, ValueError) as error:
            raise _no_home(self.folder, f"{self.genesis.name}: {error}") from error
        if isinstance(signed, Refusal):
            raise _no_home(self.folder, f"{self.genesis.name}: {signed.detail}")
        return signed


    def first_powers(self) -> Powers:
        """The validators of the shared genesis."""
        try:
            return powers_of(self.genesis.read_text())
        except (OSError, ValueError) as error:
            raise _no_home(self.folder, f"{self.genesis.name}: {error}") from error


def _no_home(folder: Path, problem: str) -> UserError:
    return UserError("dir", problem, f"run: wavecomb chain validator join --dir {folder} ...")


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody else may read; it is never there with another mode."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    draft.replace(path)


def create_ledger(home: Home) -> None:
    """Make the ledger's database from the genesis that the engine carries, unless it is there."""
    database = home.folder / DATABASE
    if database.exists():
        return
    first: list[Sealed] = []
    try:
        Ledger(home.genesis_record(), on_block=first.append)
    except BlockError as error:
        raise UserError("genesis", str(error), "take the software that made it") from error
    draft = database.with_suffix(".draft")  # no half-made ledger is ever found
    draft.unlink(missing_ok=True)
    store = Store.create(str(draft))
    store.append(first)
    store.close()
    draft.replace(database)


class EngineProcess:
    """The child: started with its folder, stopped by its process id, its log kept in a file."""

    def __init__(self, program: str, home: Home) -> None:
        self._program = program
        self._home = home
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self) -> None:
        """Start the program; its output goes to engine.log."""
        log_path = self._home.engine / "engine.log"
        if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
            log_path.replace(log_path.with_suffix(".log.1"))
        with log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._program, "start", "--home", str(self._home.engine)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop it after its last block
            )

    async def wait(self) -> int:
        """Its exit code, once it ended."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self) -> None:
        """Ask it to stop, insist after ten seconds."""
        if self._process is None or self._process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_S)
                return

    def last_words(self) -> str:
        """The last line of its log, for an error message."""
        lines = (self._home.engine / "engine.log").read_bytes()[-4_096:].splitlines()
        return lines[-1].decode(errors="replace")[:300] if lines else "it said nothing"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `wavecomb chain run --engine cometbft` was told.

    `port` and `unix` are where the ledger's HTTP API listens, `p2p` and `rpc` where the engine
    does ("tcp://HOST:PORT"; an empty `rpc` is a unix socket), `peers` ID@HOST:PORT, `threads` how
    many cores verify signatures (None: all). Where this
    folder holds the sequencer's key, checkpoints are signed here: see
    chain.service.io_service.build.
    """

    dir: Path
    host: str = "127.0.0.1"
    port: int | None = None
    unix: str | None = None
    p2p: str = DEFAULT_P2P
    rpc: str = ""
    peers: tuple[str, ...] = ()
    external: str = ""
    exchange_peers: bool = False
    commit_ms: int = COMMIT_MS
    threads: int | None = None
    sync: Sync | None = None
    json: bool = False
    cosigners: tuple[Cosigner, ...] = ()
    published: Published | None = None
    limits: Limits | None = None


class Node:
    """One validator: the ledger, the machine around it, its HTTP API and its engine."""

    def __init__(self, options: RunOptions, program: str) -> None:
        self.options = options
        self.home = Home(options.dir)
        create_ledger(self.home)
        self.durable = DurableLedger.open(options.dir)
        spare_state()
        self.books = DurableBooks(self.durable, self.home.genesis_record())
        self.pool = VerifyPool(options.threads)
        self.durable.set_verify(self.pool.verify)
        self._sockets = _socket_folder(self.home)
        self.rpc_address = options.rpc or f"unix://{self._sockets}/rpc.sock"
        self.engine = ConsensusEngine(self.books, NodeRpc(self.rpc_address), self.pool)
        self.application = Application(
            self.books,
            self.books.load_standing(),
            self.pool,
            self.engine.note_commit,
            self.home.first_powers(),
        )
        self.engine.application = self.application
        self.server = AbciServer(self.application)
        self.process = EngineProcess(program, self.home)

    async def start(self) -> list[str]:
        """Open the sockets and start the engine; the URLs of the HTTP API."""
        options = self.options
        abci = await self.server.start(f"unix://{self._sockets}/abci.sock")
        settings = Settings(
            name=options.dir.name,
            abci=abci,
            rpc=self.rpc_address,
            p2p=options.p2p,
            peers=options.peers,
            external=options.external,
            exchange_peers=options.exchange_peers,
            empty_ms=get_empty_ms(self.durable.ledger.params),
            commit_ms=options.commit_ms,
            sync=options.sync,
        )
        (self.home.engine / "config" / "config.toml").write_text(config_text(settings))
        port = 8700 if options.port is None and options.unix is None else options.port
        keyring = Keyring(options.dir)
        app = build(self.durable, self.engine, keyring, options.cosigners, options.published)
        self.runner = await serve(app, options.host, port, options.unix, options.limits)
        _remove_socket(self.rpc_address)
        await self.process.start()
        urls = [f"http://{options.host}:{bound_port(self.runner)}"] if port is not None else []
        return urls + ([f"unix:{options.unix}"] if options.unix else [])

    async def stop(self) -> None:
        """Engine first, so that nothing is asked of a closed ledger."""
        await self.process.stop()
        await self.server.stop()
        await self.runner.cleanup()
        self.pool.close()
        self.books.close()
        self.durable.store.close()
        if self._sockets != self.home.engine:
            shutil.rmtree(self._sockets, ignore_errors=True)


def _socket_folder(home: Home) -> Path:
    """Where the unix sockets go: the engine's folder, unless its path is too long for one."""
    folder = home.engine.resolve()
    if len(str(folder)) + len("/abci.sock") <= MAX_SOCKET_PATH:
        return folder
    return Path(tempfile.mkdtemp(prefix="wavecomb-"))


def _remove_socket(address: str) -> None:
    """Remove what a killed engine left: it listens on no path that exists."""
    if address.startswith("unix://"):
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def run(options: RunOptions) -> int:
    """Run a validator until SIGTERM or Ctrl-C; the exit code."""
    program = find_program()
    return asyncio.run(_run(options, program))


async def _run(options: RunOptions, program: str) -> int:
    node = Node(options, program)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        urls = await node.start()
        _announce(node, urls)
        ended = await _wait(stop, node)
    finally:
        await node.stop()
    if node.server.failed is not None:
        raise node.server.failed
    if ended:
        problem = f"{PROGRAM} ended: {node.process.last_words()}"
        raise UserError("engine", problem, f"see {node.home.engine}/engine.log", exit_code=1)
    return EXIT_OK


def _announce(node: Node, urls: list[str]) -> None:
    ledger = node.durable.ledger
    value = {
        "urls": urls,
        "network_id": ledger.network_id.hex(),
        "height": ledger.head.height,
        "engine_height": node.application.standing.height,
        "engine_pid": node.process.pid,
        "rpc": node.rpc_address,
        "p2p": f"{node.home.node_id()}@{urlsplit(node.options.p2p).netloc}",
    }
    if node.options.json:
        print_json(value)
    else:
        print(f"ledger at {' and '.join(urls)}, peers reach it as {value['p2p']}", flush=True)


async def _wait(stop: asyncio.Event, node: Node) -> bool:
    """Until asked to stop, or something broke; whether the engine ended by itself."""
    ended = asyncio.create_task(node.process.wait())
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(node.server.stopped.wait())]
    await asyncio.wait([ended, *waits], return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    broke = ended.done() and not stop.is_set() and not node.server.stopped.is_set()
    if not ended.done():
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
    return broke


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add what `wavecomb chain run --engine cometbft` takes beside where to listen."""
    command.add_argument(
        "--listen",
        dest="p2p",
        default=DEFAULT_P2P,
        metavar="ADDRESS",
        help="where other validators reach this one (default: %(default)s, this machine only)",
    )
    command.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="ID@HOST:PORT",
        help="another validator; repeatable",
    )
    command.add_argument(
        "--external",
        default="",
        metavar="HOST:PORT",
        help="the address to tell others, if it differs from --listen",
    )
    command.add_argument(
        "--exchange-peers", action="store_true", help="learn of further validators from peers"
    )
    command.add_argument(
        "--rpc",
        default="",
        metavar="ADDRESS",
        help="tcp://HOST:PORT of the engine's own RPC (default: a unix socket in DIR)",
    )
    command.add_argument(
        "--commit-ms",
        type=int,
        default=COMMIT_MS,
        metavar="MS",
        help="rest between two blocks (default: %(default)s)",
    )
    command.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="cores that verify signatures (default: all; fewer where validators share a machine)",
    )
    command.add_argument(
        "--sync-from",
        action="append",
        default=[],
        metavar="URL",
        help="http://HOST:PORT of another node's --rpc: start from its snapshot; twice at least",
    )
    command.add_argument(
        "--trust", metavar="HEIGHT:HASH", help="with --sync-from: a block that you know is right"
    )


def _sync(servers: list[str], trust: str | None) -> Sync | None:
    """Where a node that has no block yet fetches a snapshot from, and what it trusts; or None."""
    if not servers and trust is None:
        return None
    height, _, block_hash = (trust or "").partition(":")
    if not height.isdecimal() or not re.fullmatch("[0-9a-fA-F]{64}", block_hash):
        raise UserError("trust", f"{trust!r} is no block", "give HEIGHT:HASH of one that is right")
    if len(servers) < 2:
        raise UserError("sync-from", f"{len(servers)} named", "name two that must agree")
    return Sync(tuple(servers), int(height), block_hash.upper())


def check_threads(threads: int | None) -> None:
    """UserError for a number of cores that can't be."""
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise UserError("threads", f"{threads}", f"give 1 to {MAX_THREADS}")


def get_run_options(
    options: argparse.Namespace,
    cosigners: Sequence[Cosigner] = (),
    published: Published | None = None,
    limits: Limits | None = None,
) -> RunOptions:
    """The options of a command line that `add_run_options` was added to; UserError for bad ones."""
    if not 0 <= options.commit_ms <= MAX_COMMIT_MS:
        raise UserError("commit-ms", f"{options.commit_ms}", f"give 0 to {MAX_COMMIT_MS}")
    check_threads(options.threads)
    for peer in options.peer:
        if not PEER.fullmatch(peer):
            raise UserError("peer", f"{peer!r} is no peer", "give ID@HOST:PORT, ID of 40 digits")
    return RunOptions(
        dir=options.dir,
        host=options.host,
        port=options.port,
        unix=options.unix,
        p2p=options.p2p,
        rpc=options.rpc,
        peers=tuple(options.peer),
        external=options.external,
        exchange_peers=options.exchange_peers,
        commit_ms=options.commit_ms,
        threads=options.threads,
        sync=_sync(options.sync_from, options.trust),
        json=options.json,
        cosigners=tuple(cosigners),
        published=published,
        limits=limits,
    )


def main(argv: Sequence[str]) -> int:
    """Run one validator: what `wavecomb chain run --engine cometbft` does, without the rest."""
    command = Parser(prog="python -m chain.consensus.io_cometbft", description=__doc__)
    command.add_argument("--dir", type=Path, required=True)
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int)
    command.add_argument("--unix")
    command.add_argument("--json", action="store_true")
    add_run_options(command)
    return run(get_run_options(command.parse_args(list(argv))))


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
