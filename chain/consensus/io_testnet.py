"""`wavecomb chain testnet`: several validators on loopback, each with its engine and HTTP API.

Every validator is a process of its own, as several operators would run them; this one makes their
keys and their common genesis, starts them, shows where they stand, and stops them by process id.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from chain import wire
from chain.abci.home import COMMIT_MS, Member, genesis_text
from chain.cli.io_common import add
from chain.consensus.io_cometbft import Home, find_program, write_secret
from chain.consensus.io_links import Link, Links
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable
from chain.io_keyring import OPERATOR_KEY
from chain.io_keys import load_or_create_seed
from chain.io_ledger import now_ms
from chain.io_ports import free_ports
from chain.io_terminal import print_json
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Genesis, Signed
from chain.service.io_verify import count_cores

START_S = 60.0
MAX_VALIDATORS = 16
# The engine lists at most this many headers at once.
HEADERS_AT_ONCE = 20

EXAMPLES = """
  wavecomb chain testnet
  wavecomb chain testnet --validators 4 --dir net --seconds 30 --json
"""


@dataclass(slots=True)
class Validator:
    """One validator of a test network: its folder, ports, and process while it runs."""

    home: Home
    p2p_port: int
    peers: tuple[str, ...] = ()
    commit_ms: int = COMMIT_MS
    threads: int = 1
    rpc_port: int | None = None
    more: tuple[str, ...] = ()
    child: subprocess.Popen[str] | None = None
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self.child is not None and self.child.poll() is None

    def launch(self) -> None:
        """Start its process without waiting for it."""
        command = [
            *(sys.executable, "-m", "chain.consensus.io_cometbft", "--dir", str(self.home.folder)),
            *("--port", "0", "--listen", f"tcp://127.0.0.1:{self.p2p_port}", "--json"),
            *("--commit-ms", str(self.commit_ms), "--threads", str(self.threads)),
        ]
        if self.rpc_port is not None:
            command += ["--rpc", f"tcp://127.0.0.1:{self.rpc_port}"]
        command += self.more
        command += [word for peer in self.peers for word in ("--peer", peer)]
        with (self.home.folder / "validator.log").open("ab") as log:
            self.child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def wait_ready(self) -> None:
        """Wait for its HTTP API; UserError with its last words if it ends instead."""
        child = self.child
        if child is None or child.stdout is None:
            raise UserError("testnet", f"{self.home.folder.name} was not started", "launch it")
        line = child.stdout.readline()
        child.stdout.close()
        if not line:
            words = (self.home.folder / "validator.log").read_text(errors="replace").splitlines()
            problem = words[-1] if words else "it said nothing"
            raise UserError(
                "testnet",
                f"{self.home.folder.name} did not start: {problem}",
                f"see {self.home.folder}/validator.log",
                exit_code=EXIT_FAILED,
            )
        self.said = json.loads(line)

    def start(self) -> None:
        """Start it and wait for its HTTP API."""
        self.launch()
        self.wait_ready()

    def signal(self, number: int) -> None:
        """Send a signal to the ledger process and to its engine."""
        pids = [self.said.get("engine_pid")]
        if self.child is not None and self.child.poll() is None:
            pids.append(self.child.pid)
        for pid in pids:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def kill(self) -> None:
        """Kill -9 for both processes at once, as when the power fails."""
        self.signal(signal.SIGKILL)
        if self.child is not None:
            self.child.wait()
        self.said = {}

    def stop(self) -> None:
        """Ask it to stop, insist after a while."""
        if self.child is None:
            return
        if self.is_running:
            self.child.terminate()
            try:
                self.child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.said = {}

    @property
    def url(self) -> str:
        """Its HTTP API."""
        return str(self.said["urls"][0])

    @contextmanager
    def client(self) -> Iterator[LedgerClient]:
        """A client of its HTTP API."""
        with LedgerClient(self.url) as client:
            yield client

    def ask_engine(self, path: str) -> dict[str, Any]:
        """A JSON-RPC method of its engine by its URI, as "status"; LedgerUnavailable if down."""
        if not self.said:
            raise LedgerUnavailable(f"{self.home.folder.name} is not running")
        address = self.said["rpc"].replace("unix://", "unix:").replace("tcp://", "http://")
        with LedgerClient(address) as client:
            answer = client.get(f"/{path}")
        return dict(answer["result"])

    def height(self) -> int:
        """The engine's newest block; 0 while it can't be asked."""
        try:
            return int(self.ask_engine("status")["sync_info"]["latest_block_height"])
        except (LedgerUnavailable, LedgerRefused):
            return 0

    def app_hashes(self, first: int = 1) -> dict[int, str]:
        """The application hash in every header from a height on."""
        found: dict[int, str] = {}
        last = self.height()
        for low in range(first, last + 1, HEADERS_AT_ONCE):
            high = min(last, low + HEADERS_AT_ONCE - 1)
            page = self.ask_engine(f"blockchain?minHeight={low}&maxHeight={high}")
            for meta in page["block_metas"]:
                found[int(meta["header"]["height"])] = meta["header"]["app_hash"]
        return found


class Testnet:
    """Validators on loopback that share a genesis; use it as a context, so that all are stopped.

    A `genesis` of one's own takes the place of `preset` and `start_ms`. Validator i dials those
    before it, over links of `links` if given: net.cut(i), net.heal(i), net.slow(i, s) act on them.
    """

    __test__ = False  # to pytest a class called Test... is a test

    def __init__(
        self,
        folder: Path,
        count: int = 4,
        preset: str = "minimal",
        start_ms: int | None = None,
        commit_ms: int = COMMIT_MS,
        links: Links | None = None,
        genesis: Signed | None = None,
    ) -> None:
        self.folder = folder
        self._links = links
        self._pairs: dict[tuple[int, int], Link] = {}
        self.operator_seed = load_or_create_seed(folder / OPERATOR_KEY)
        threads = max(1, count_cores() // count)
        self.validators = [
            Validator(Home(folder / f"validator{i}"), port, commit_ms=commit_ms, threads=threads)
            for i, port in enumerate(free_ports(count))
        ]
        self.others: list[Validator] = []
        self.genesis = genesis or self._genesis(preset, now_ms() if start_ms is None else start_ms)
        self._make_homes()
        if genesis is None:
            self._share_operator_key()
        for number, validator in enumerate(self.validators):
            validator.peers = tuple(self._dial(number, other) for other in range(number))

    def _dial(self, number: int, other: int) -> str:
        """How a validator reaches another: through their link, if there are links."""
        if self._links is None:
            return self.peer(other)
        link = self._pairs[number, other] = self._links.add(self.validators[other].p2p_port)
        return self.peer(other, link.port)

    def link(self, number: int, other: int) -> Link:
        """The link over which a validator dials one before it; KeyError without `links`."""
        return self._pairs[number, other]

    def links_of(self, number: int) -> list[Link]:
        """The links that end at a validator; none without `links`."""
        return [link for ends, link in self._pairs.items() if number in ends]

    def cut(self, number: int) -> None:
        """Take a validator off the network."""
        for link in self.links_of(number):
            link.cut()

    def heal(self, number: int) -> None:
        """Put it back."""
        for link in self.links_of(number):
            link.heal()

    def slow(self, number: int, delay_s: float) -> None:
        """Delay everything to and from a validator by so long, each way."""
        for link in self.links_of(number):
            link.delay_s = delay_s

    def _genesis(self, preset: str, start_ms: int) -> Signed:
        """A network whose only operator is the one of this folder."""
        operator = public_key(self.operator_seed)
        return wire.seal(Genesis("testnet", preset, start_ms, (operator,), 1, ()), b"", [])

    def _make_homes(self) -> None:
        """Keys for each, one genesis for all."""
        for validator in self.validators:
            validator.home.make_keys()
        members = [
            Member(v.home.validator_key(), name=v.home.folder.name) for v in self.validators
        ]
        text = genesis_text(self.genesis, members)
        for validator in self.validators:
            if not validator.home.genesis.exists():
                validator.home.genesis.write_text(text)

    def _share_operator_key(self) -> None:
        """The first validator holds the operator's key: it signs the log's checkpoints."""
        key = self.validators[0].home.folder / OPERATOR_KEY
        if not key.exists():
            write_secret(key, self.operator_seed.hex() + "\n")

    def add_twin(self, of: int) -> Validator:
        """A second node that votes with a validator's key: what no operator must ever do."""
        original = self.validators[of]
        twin = Validator(
            Home(self.folder / f"twin{of}"), free_ports(1)[0], commit_ms=original.commit_ms
        )
        twin.home.make_keys()
        write_secret(twin.home.validator_file, original.home.validator_file.read_text())
        twin.home.genesis.write_text(original.home.genesis.read_text())
        others = [n for n in range(len(self.validators)) if n != of]
        twin.peers = tuple(self.peer(other) for other in others)
        self.others.append(twin)
        return twin

    def add_follower(self, name: str, *more: str) -> Validator:
        """A node that nobody appointed, with further options of `chain run`; it dials everybody."""
        follower = Validator(Home(self.folder / name), free_ports(1)[0], more=more)
        follower.home.make_keys()
        follower.home.genesis.write_text(self.validators[0].home.genesis.read_text())
        follower.peers = tuple(self.peer(n) for n in range(len(self.validators)))
        self.others.append(follower)
        return follower

    def peer(self, number: int, port: int | None = None) -> str:
        """How others dial a validator, perhaps over another port."""
        validator = self.validators[number]
        return f"{validator.home.node_id()}@127.0.0.1:{port or validator.p2p_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all; UserError if one doesn't."""
        for validator in self.validators:
            validator.launch()
        for validator in self.validators:
            validator.wait_ready()

    def stop(self) -> None:
        """Stop all, together."""
        for validator in (*self.validators, *self.others):
            if validator.is_running and validator.child is not None:
                validator.child.terminate()
        for validator in (*self.validators, *self.others):
            validator.stop()

    def wait_height(self, height: int, among: Sequence[int], timeout_s: float = START_S) -> None:
        """Wait until these validators have a block; UserError after a while."""
        deadline = time.monotonic() + timeout_s
        while min(self.validators[i].height() for i in among) < height:
            if time.monotonic() > deadline:
                heights = [v.height() for v in self.validators]
                raise UserError(
                    "testnet",
                    f"no block {height} within {timeout_s:.0f} s; heights are {heights}",
                    f"see {self.folder}/*/engine/engine.log",
                    exit_code=EXIT_FAILED,
                )
            time.sleep(0.1)

    def forks(self) -> list[int]:
        """Heights at which two running validators have different application hashes."""
        seen: dict[int, set[str]] = {}
        for validator in self.validators:
            if validator.is_running:
                for height, app_hash in validator.app_hashes().items():
                    seen.setdefault(height, set()).add(app_hash)
        return [height for height, hashes in sorted(seen.items()) if len(hashes) > 1]


def add_commands(commands: Any) -> None:
    """Add `testnet` to the sub-commands of `wavecomb chain`."""
    command = add(commands, "testnet", run, "start several validators on loopback")
    command.add_argument(
        "--validators",
        type=int,
        default=4,
        metavar="N",
        help="how many; 4 stand one fault, 7 two (default: %(default)s)",
    )
    command.add_argument(
        "--dir", type=Path, metavar="DIR", help="folder for keys and ledgers (default: a new one)"
    )
    command.add_argument(
        "--preset",
        choices=sorted(name for name, params in PRESETS.items() if params.may_lack_seeds),
        default="minimal",
        help="rules (default: %(default)s)",
    )
    command.add_argument(
        "--seconds", type=float, metavar="N", help="stop after so long (default: run until Ctrl-C)"
    )


def run(options: argparse.Namespace) -> int:
    """Run a test network until told to stop."""
    if not 1 <= options.validators <= MAX_VALIDATORS:
        raise UserError("validators", f"{options.validators}", f"give 1 to {MAX_VALIDATORS}")
    find_program()
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell may have started us deaf to the second
        signal.signal(number, _interrupt)
    folder = options.dir or Path(tempfile.mkdtemp(prefix="wavecomb-testnet-"))
    if (folder / "validator0").exists():
        raise UserError("dir", f"{folder} holds a test network", "take another folder")
    with Testnet(folder, options.validators, options.preset) as net:
        net.start()
        _announce(net, options.json)
        with suppress(KeyboardInterrupt):
            _watch(net, options)
        return _finish(net, options.json)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _announce(net: Testnet, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "dir": str(net.folder),
                "network_id": net.genesis.record_id.hex(),
                "urls": [validator.url for validator in net.validators],
            }
        )
        return
    print(f"network {net.genesis.record_id.hex()} in {net.folder}")
    for validator in net.validators:
        print(f"  {validator.home.folder.name}  {validator.url}", flush=True)
    url = net.validators[0].url
    print(f"credits: wavecomb chain deposit --dir {net.folder} --ledger {url} ...", flush=True)


def _watch(net: Testnet, options: argparse.Namespace) -> None:
    """Show where everybody stands once a second; until the time is over, if one was given."""
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    while deadline is None or time.monotonic() < deadline:
        if not options.json:
            print("  ".join(map(_standing, net.validators)), flush=True)
        left = 1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic()))
        time.sleep(left)


def _standing(validator: Validator) -> str:
    """Engine height, ledger height and the start of the ledger's head."""
    try:
        with validator.client() as client:
            head = client.get("/v1/head")
        return f"{validator.height():>6} {head['height']:>5} {head['hash'][:12]}"
    except (LedgerUnavailable, LedgerRefused):
        return f"{'down':>25}"


def _finish(net: Testnet, as_json: bool) -> int:
    """Say what came out; exit code 1 after a fork."""
    forks = net.forks()
    heights = [validator.height() for validator in net.validators]
    hashes = [_head_hash(validator) for validator in net.validators]
    if as_json:
        print_json({"heights": heights, "app_hashes": hashes, "forks": forks})
    else:
        print(f"heights {heights}, forks at {forks or 'none'}")
    return EXIT_FAILED if forks else EXIT_OK


def _head_hash(validator: Validator) -> str:
    """The newest application hash of a validator; empty if it is down."""
    hashes = validator.app_hashes()
    return hashes[max(hashes)] if hashes else ""
