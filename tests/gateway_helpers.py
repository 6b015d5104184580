"""Real processes for gateway tests: a ledger, gateways, and an air with relays and loss between."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay_helpers import spot_of

from chain.draws import digest, u32
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Deposit
from chain.wire import seal
from hotspot.actions import (
    FetchClaim,
    FetchSession,
    FetchStandings,
    KeepReceipt,
    SendDatagram,
    SubmitRecord,
)
from hotspot.directory import Directory
from hotspot.io_uplink import (
    ClaimKnown,
    DirectoryKnown,
    SessionKnown,
    StandingsKnown,
    Submitted,
    Uplink,
)
from hotspot.overlay.io_link import pack, unpack
from hotspot.overlay.payee import Price
from hotspot.overlay.relay import RelayNode, RelayOptions

ROOT = Path(__file__).resolve().parent.parent
PATIENCE, LONGEST_S = 4, 200.0  # of `wait_for`; a test is given up after 300 s
FUNDS_UCR = 5_000_000_000


def seed_of(index: int) -> bytes:
    return digest("gateway-hotspot", u32(index))


def owner_of(index: int) -> bytes:
    return digest("gateway-owner", u32(index))


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Poll until `ready` returns something true; OSError counts as not yet.

    `seconds` are those of a quiet machine: on a busy one everything takes several times as long.
    """
    deadline = time.monotonic() + min(PATIENCE * seconds, LONGEST_S)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            value = ready()
            if value:
                return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE} times {seconds} s")


@dataclass
class Program:
    """A child process; killed by its own pid at the end."""

    arguments: list[str]
    output: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        with self.output.open("ab") as log:
            command = [sys.executable, *self.arguments]
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def stop(self, *, kill: bool = False) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
        self.process.wait(timeout=120)

    def said(self) -> str:
        return self.output.read_text()


class Town:
    """A ledger process with `count` funded hotspots, and the folder that holds everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self.url = f"unix:{folder}/ledger.sock"
        self.client = LedgerClient(self.url)

    def open(self, count: int) -> None:
        """Start the ledger and register `count` hotspots."""
        folder = self.folder
        chain = ["wavecomb.py", "chain"]
        subprocess.run(
            [sys.executable, *chain, "init", "--dir", f"{folder}/ledger", "--preset", "minimal"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        run = ["run", "--dir", f"{folder}/ledger", "--unix", f"{folder}/ledger.sock"]
        self.start("ledger", [*chain, *run])
        head = wait_for("ledger", self.client.head)
        self.network_id, self.start_ms = head.network_id, head.start_ms
        self.register(count)

    def register(self, count: int) -> None:
        operator = load_seed(self.folder / "ledger" / "operator.key")
        for index in range(count):
            owner = public_key(owner_of(index))
            spot = spot_of(public_key(seed_of(index)), owner)
            deposit = Deposit(owner, FUNDS_UCR, f"d{index}".encode(), (0,))
            wires = [
                seal(spot, self.network_id, [seed_of(index), owner_of(index)]).wire,
                seal(deposit, self.network_id, [operator]).wire,
            ]
            for result in self.client.submit(wires):
                assert result.accepted, result

    def start(self, name: str, arguments: list[str]) -> Program:
        program = Program(arguments, self.folder / f"{name}.log")
        self.programs.append(program)
        return program

    def close(self) -> None:
        self.client.close()
        for program in reversed(self.programs):
            program.stop()

    def sessions(self) -> list[Any]:
        """Sessions that the ledger has, ascending."""
        rows = []
        while (row := self.client.session(len(rows))) is not None:
            rows.append(row)
        return rows


class Air(threading.Thread):
    """The medium's process: carries packets with loss and delay; some relays live inside it."""

    def __init__(
        self, town: Town, relays: dict[int, set[int]], edges: set[frozenset[int]], loss: int
    ) -> None:
        super().__init__(name="air", daemon=True)
        self.address = ""
        self.kept: dict[int, dict[int, bytes]] = {index: {} for index in relays}
        self.nodes: dict[int, RelayNode] = {}
        self._town = town
        self._relays = relays
        self._edges = edges
        self._loss_permille = loss
        self._where: dict[int, tuple[str, int]] = {}
        self._carried = 0
        self._ready = threading.Event()
        self._directory = Directory()
        self._ledgers: dict[int, Uplink] = {}
        self.start()
        assert self._ready.wait(120)

    def run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        transport, _ = await self._loop.create_datagram_endpoint(
            lambda: _Ear(self), local_addr=("127.0.0.1", 0)
        )
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        self.address = f"{host}:{port}"
        for index, neighbours in self._relays.items():
            self._add(index, neighbours)
        self._ready.set()
        while not self._closing.is_set():
            for index, node in self.nodes.items():
                if (node.next_deadline() or 0) <= time.time_ns():
                    node.handle_deadline(time.time_ns())
                self._perform(index)
            await asyncio.sleep(0.005)
        for ledger in self._ledgers.values():
            await asyncio.to_thread(ledger.stop)
        transport.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self.join(timeout=120)

    def _add(self, index: int, neighbours: set[int]) -> None:
        self.nodes[index] = RelayNode(
            *(index, seed_of(index), self._town.network_id, PRESETS["minimal"], self._directory),
            *(neighbours, time.time_ns()),
            start_ms=self._town.start_ms,
            options=RelayOptions(Price(1_000, 0), claim_ms=2_000),
        )

        def wake() -> None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._take, index)

        self._ledgers[index] = Uplink(LedgerClient(self._town.url), wake)
        self._ledgers[index].start()

    def _take(self, index: int) -> None:
        node, now_ns = self.nodes[index], time.time_ns()
        for event in self._ledgers[index].drain():
            if isinstance(event, Submitted):
                for result in event.results:
                    node.receive_result(result, now_ns)
            elif isinstance(event, SessionKnown):
                node.receive_session(event.session, event.info, now_ns)
            elif isinstance(event, StandingsKnown):
                node.receive_standings(event.standings, now_ns)
            elif isinstance(event, ClaimKnown):
                node.receive_claim(event.claim, event.standing)
            elif isinstance(event, DirectoryKnown):
                self._directory.update((i, key) for i, key, _ in event.entries)

    def _perform(self, index: int) -> None:
        for action in self.nodes[index].take_actions():
            if isinstance(action, SendDatagram):
                self.carry(index, action.peer, action.data)
            elif isinstance(action, KeepReceipt):
                self.kept[index][action.session] = action.data
            elif isinstance(action, SubmitRecord):
                self._ledgers[index].submit([action.wire])
            elif isinstance(action, FetchSession):
                self._ledgers[index].fetch_session(action.session)
            elif isinstance(action, FetchStandings):
                self._ledgers[index].fetch_standings(action.hotspot, action.sessions)
            elif isinstance(action, FetchClaim):
                self._ledgers[index].fetch_claim(action.hotspot, action.claim)

    def carry(self, source: int, target: int, data: bytes) -> None:
        self._carried += 1
        luck = hashlib.sha256(str(self._carried).encode()).digest()
        lost = int.from_bytes(luck[:4], "big") % 1_000 < self._loss_permille
        if not lost and frozenset((source, target)) in self._edges:
            self._loop.call_later(0.003, self._arrive, source, target, data)

    def _arrive(self, source: int, target: int, data: bytes) -> None:
        if target in self.nodes:
            self.nodes[target].receive_datagram(data, source, time.time_ns())
            self._perform(target)
        elif target in self._where and not self._transport.is_closing():
            self._transport.sendto(pack(source, target, data), self._where[target])

    def heard(self, data: bytes, address: tuple[str, int]) -> None:
        packet = unpack(data)
        if packet is not None:
            self._where[packet[0]] = address
            self.carry(*packet)


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, air: Air) -> None:
        self._air = air

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._air.heard(data, addr)


@dataclass
class GatewayProcess:
    """A gateway as its owner runs it."""

    town: Town
    index: int
    neighbours: list[int]
    air: str
    provider: str = ""
    gateway: str = ""
    program: Program = field(init=False)
    url: str = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.town.folder / f"gateway{self.index}"
        self.folder.mkdir()
        key = self.folder / "hotspot.key"
        key.write_text(seed_of(self.index).hex())
        key.chmod(0o600)
        self.config = self.folder / "gateway.toml"
        self.config.write_text(
            f'[ledger]\nurl = "{self.town.url}"\n'
            f'[gateway]\nlisten = "127.0.0.1:0"\n{self.gateway}\n'
            f"[provider]\n{self.provider}\n"
            "[relay]\nclaim_ms = 2000\n"
            f'[link]\nair = "{self.air}"\nneighbours = {self.neighbours}\n'
        )
        arguments = ["-m", "hotspot.gateway.io_main", "--config", str(self.config), "--json"]
        self.program = self.town.start(f"gateway{self.index}", arguments)
        self.await_address()

    def await_address(self) -> None:
        def lines() -> list[str]:
            return [row for row in self.program.said().splitlines() if row.startswith("{")]

        line = wait_for(f"gateway {self.index}: {self.program.said()}", lines)[-1]
        self.url = json.loads(line)["url"]
        self.key = (self.folder / "gateway.key").read_text().strip()

    def kill_and_restart(self) -> None:
        self.program.stop(kill=True)
        self.program.output.write_text("")
        self.program.start()
        self.await_address()
