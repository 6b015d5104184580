"""Dual-signed receipts through the real service: HTTP, verified ahead, applied, on the disk.

`wavecomb chain run` in a process that may use one core, then in one that may use all; clients in
this process keep a few requests under way. The clients share the machine with the service, so "all
cores" is what is left of them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp

from chain import draws, keys, wire
from chain.cells import cell_centre
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.packed import pack_receipts, receipt_body
from chain.records import Deposit, Receipt, Receipts, Registration, SessionOpen

WAVECOMB = [sys.executable, "-m", "wavecomb", "chain"]
LANES = 4  # requests under way
SESSIONS = 370  # of a lane: one record's worth, 64 kB
CELL = 0x8A1F9E282837FFF
CHUNK_BYTES = 1 << 16
FUNDS_UCR = 1 << 40
CAP_UCR = 1 << 24


def seed_of(number: int) -> bytes:
    """The key of a hotspot, which owns itself."""
    return sha256(b"bench hotspot %d" % number).digest()


class Town:
    """Hotspots and sessions of a fresh network, made over HTTP; lane n pays hotspot n."""

    def __init__(self, client: LedgerClient, operator: bytes) -> None:
        self.client = client
        head = client.head()
        self.network_id, self.epoch = head.network_id, head.epoch
        place = (CELL, *cell_centre(CELL))
        for number in range(LANES + 1):
            key = keys.public_key(seed_of(number))
            asserted = Registration(
                *(key, key, *place, 10, 300, 2_000, 2_437, 1, head.epoch + 2, 100),
                draws.chain_link(key),
            )
            deposit = Deposit(key, FUNDS_UCR, b"%d" % number, (0,))
            self.put(self.seal(deposit, operator), self.seal(asserted, *[seed_of(number)] * 2))
        self.lanes = [self._open(lane) for lane in range(LANES)]

    def seal(self, record: Any, *seeds: bytes) -> bytes:
        """A record's wire."""
        return wire.seal(record, self.network_id, seeds).wire

    def put(self, *wires: bytes) -> list[int]:
        """Submit; SystemExit if one is refused, since nothing would be measured."""
        results = self.client.submit(list(wires))
        for result in results:
            if not result.accepted:
                raise SystemExit(f"bench: a record was refused: {result.detail}")
        return [-1 if result.index is None else result.index for result in results]

    def _open(self, lane: int) -> list[int]:
        terms = (1_000, 1_000, CAP_UCR, self.epoch + 1_000)
        opened = (SessionOpen(LANES, lane, nonce, *terms) for nonce in range(SESSIONS))
        return self.put(*(self.seal(record, seed_of(LANES)) for record in opened))

    def body(self, lane: int, rounds: Sequence[int]) -> bytes:
        """A request with a record for each round: the next receipt of all sessions of a lane."""
        wires = [
            self.seal(Receipts(pack_receipts(self._receipt(lane, s, n) for s in self.lanes[lane])))
            for n in rounds
        ]
        return json.dumps({"records": [base64.b64encode(raw).decode() for raw in wires]}).encode()

    def _receipt(self, lane: int, session: int, number: int) -> Receipt:
        terms = (session, number, number * CHUNK_BYTES, 0, 0, bytes(32))
        body = receipt_body(Receipt(*terms))
        ends = (seed_of(LANES), seed_of(lane))
        return Receipt(*terms, *(keys.sign(s, Receipt.NAME, self.network_id, body) for s in ends))


async def post_all(url: str, lanes: Sequence[Sequence[bytes]]) -> None:
    """Every lane's requests one after another, the lanes side by side."""
    async with aiohttp.ClientSession() as session:

        async def post(bodies: Sequence[bytes]) -> None:
            for body in bodies:
                async with session.post(f"{url}/v1/records", data=body) as response:
                    answer = json.loads(await response.read())
                if not all(result["accepted"] for result in answer.get("results", [{}])):
                    raise SystemExit(f"bench: receipts were refused: {answer}")

        await asyncio.gather(*map(post, lanes))


def measure_service(cores: Sequence[int], requests: int, records: int) -> dict[str, Any]:
    """Receipts a second, and the service's CPU seconds for each thousand, on some cores."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "ledger"
        subprocess.run(
            [*WAVECOMB, "init", "--dir", str(folder)], check=True, stdout=subprocess.DEVNULL
        )
        service = subprocess.Popen(
            [*WAVECOMB, "run", "--dir", str(folder), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            if service.stdout is None:
                raise RuntimeError("the service has no output")
            url = json.loads(service.stdout.readline())["urls"][0]
            with LedgerClient(url) as client:
                town = Town(client, load_seed(folder / "operator.key"))
            starts = range(1, requests * records, records)
            lanes = [
                [town.body(lane, range(at, at + records)) for at in starts]
                for lane in range(LANES)
            ]
            count, before = LANES * SESSIONS * requests * records, _cpu_s(service.pid)
            began = time.perf_counter()
            asyncio.run(post_all(url, lanes))
            took_s = time.perf_counter() - began
            spent_s = _cpu_s(service.pid) - before
        finally:
            service.terminate()
            service.communicate(timeout=20)
    return {
        "receipts_per_s": round(count / took_s),
        "service_cpu_us_per_receipt": round(1e6 * spent_s / count, 1),
        "receipts": count,
    }


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
