"""Receptions per second through four validators: `python -m bench.consensus --json`.

Four real engines with four of our applications, on this machine. A city of hotspots registers, then
each sends its one signed message an epoch (preset minimal: 10 s) with what it heard of its 20
nearest neighbours: real hash chains, commits and reports that get their verdicts. All four
validators check every signature and commit every message. Records are signed ahead; during the
measurement the client only sends them, evenly over the epoch, as HTTP API clients would.

`receipts_per_s_4_validators` counts receptions of the measured epochs that came in time into all
four ledgers, over the time from when all four were in the first of these epochs until all were in
the one after the last: as many closes with verdicts as epochs, and a settlement every sixth.
Latency is from sending a batch until three of four have its block on disk. The last line is JSON.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import h3

from chain import draws, keys, wire
from chain.abci.transactions import pack_transactions
from chain.consensus.io_testnet import Testnet
from chain.geo import distance_m
from chain.io_client import LedgerClient
from chain.io_ledger import DATABASE, now_ms
from chain.io_terminal import Progress
from chain.params import PRESETS
from chain.records import RECEPTION_BYTES, EpochMessage, Genesis, Registration, Signed
from chain.store.io_store import Store

PRESET = "minimal"
FIRST_EPOCH = 3
# Reports begin with the second message, so the third epoch starts with a whole set of verdicts.
WARM_UP_EPOCHS = 2
# An epoch's messages are sent from the moment when all know it until this long before its end.
TAIL_S = 1.2
PREPARE_S_PER_RECORD = 0.0006
STEP_M = 140
EIRP_CDBM, GAIN_CDB, FREQUENCY_MHZ = 2_000, 300, 2437
NEIGHBOURS = [
    (row, column)
    for row in range(-2, 3)
    for column in range(-2, 3)
    if 0 < row * row + column * column <= 5
]


@dataclass(repr=False)
class City:
    """Hotspots on a grid, their keys and chains, and every record that they will send."""

    count: int
    epochs: int
    start_ms: int

    def __post_init__(self) -> None:
        self.side = math.isqrt(self.count - 1) + 1
        self.seeds = [sha256(b"bench hotspot %d" % i).digest() for i in range(self.count)]
        self.owners = [sha256(b"bench owner %d" % i).digest() for i in range(self.count)]
        self.places = [self._place(i) for i in range(self.count)]
        self.chains = [self._chain(i) for i in range(self.count)]
        self.neighbours = [self._neighbours(i) for i in range(self.count)]
        operator = keys.public_key(self.owners[0])
        record = Genesis("bench", PRESET, self.start_ms, (operator,), 1, ())
        self.genesis = wire.seal(record, b"", [])

    def _place(self, index: int) -> tuple[int, int, int]:
        row, column = divmod(index, self.side)
        latitude = 45 + row * STEP_M / 111_200
        longitude = 7 + column * STEP_M / 78_600
        cell = h3.latlng_to_cell(latitude, longitude, 10)
        latitude, longitude = h3.cell_to_latlng(cell)
        return int(cell, 16), round(latitude * 1e6), round(longitude * 1e6)

    def _chain(self, index: int) -> list[bytes]:
        """Links from the anchor on."""
        links = [sha256(b"bench chain %d" % index).digest()]
        for _ in range(self.epochs + 4):
            links.append(draws.chain_link(links[-1]))
        return links[::-1]

    def _neighbours(self, index: int) -> list[tuple[int, int]]:
        """Who is heard, ascending, and how strong."""
        row, column = divmod(index, self.side)
        heard = []
        for down, right in NEIGHBOURS:
            other = (row + down) * self.side + column + right
            if 0 <= column + right < self.side and 0 <= other < self.count:
                apart = distance_m(*self.places[index][1:], *self.places[other][1:])
                loss_db = 45 + 33 * math.log10(max(1, apart) / 10)
                heard.append((other, EIRP_CDBM + GAIN_CDB - round(100 * loss_db)))
        return sorted(heard)

    def secret(self, index: int, epoch: int) -> bytes:
        """Link of an epoch."""
        return self.chains[index][epoch - FIRST_EPOCH + 1]

    def registrations(self) -> list[bytes]:
        """Everybody's registration: owners of their own, radios that can't set their power."""
        wires = []
        for index, (cell, latitude, longitude) in enumerate(self.places):
            record = Registration(
                *(keys.public_key(self.seeds[index]), keys.public_key(self.owners[index])),
                *(cell, latitude, longitude),
                *(10, GAIN_CDB, EIRP_CDBM, FREQUENCY_MHZ, 0, FIRST_EPOCH),
                *(self.epochs + 4, self.chains[index][0]),
            )
            signed = wire.seal(record, self.genesis.record_id, self.signers(index))
            wires.append(signed.wire)
        return wires

    def signers(self, index: int) -> list[bytes]:
        """Who signs a registration: the hotspot and its owner."""
        return [self.seeds[index], self.owners[index]]

    def report(self, index: int, epoch: int) -> bytes:
        """What a hotspot heard in an epoch: the beacon of each neighbour."""
        if epoch < FIRST_EPOCH:
            return b""
        return b"".join(
            wire.pack_reception_fields(
                *(other, 0, 0, rssi, FREQUENCY_MHZ),
                draws.tag_of(draws.answer(self.secret(other, epoch), epoch, 0)),
            )
            for other, rssi in self.neighbours[index]
        )

    def messages(self, epoch: int) -> list[bytes]:
        """Everybody's signed message of an epoch."""
        wires = []
        for index, seed in enumerate(self.seeds):
            commit = draws.commit(
                index, epoch, self.secret(index, epoch), self.report(index, epoch)
            )
            record = EpochMessage(
                *(index, epoch, commit, self.report(index, epoch - 1)),
                self.secret(index, epoch - 1),
            )
            wires.append(wire.seal(record, self.genesis.record_id, [seed]).wire)
        return wires


class Clock:
    """When things happen in a run."""

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.epoch_ms = PRESETS[PRESET].epoch_ms

    def wait(self, epoch: int, offset_s: float = 0.0) -> None:
        """Sleep until so long after the start of an epoch."""
        due_ms = self.start_ms + epoch * self.epoch_ms + round(1_000 * offset_s)
        time.sleep(max(0.0, (due_ms - now_ms()) / 1_000))

    def left_s(self, epoch: int) -> float:
        """Until the end of an epoch."""
        return (self.start_ms + (epoch + 1) * self.epoch_ms - now_ms()) / 1_000


class Client:
    """Broadcasts transactions to the engines in turn, and remembers when."""

    def __init__(self, net: Testnet) -> None:
        self.net = net
        self.sent_ms: dict[bytes, int] = {}
        self.bytes = 0
        self.refused: list[str] = []
        self._turn = 0
        addresses = [v.said["rpc"].removeprefix("unix://") for v in net.validators]
        self._doors = [LedgerClient(f"unix:{address}") for address in addresses]

    def send(self, tx: bytes, number: int | None = None) -> None:
        """Give a transaction to an engine, the next one in turn."""
        door = self._doors[self._turn % len(self._doors) if number is None else number]
        self._turn += 1
        self.sent_ms[sha256(tx).digest()] = now_ms()
        self.bytes += len(tx)
        question = {"tx": base64.b64encode(tx).decode()}
        call = {"jsonrpc": "2.0", "id": 1, "method": "broadcast_tx_async", "params": question}
        answer = door._call("POST", "/", call)
        if "error" in answer:
            self.refused.append(str(answer["error"]))

    def wait_epoch(self, epoch: int) -> float:
        """Wait until every ledger is in an epoch; seconds since it began by the clock."""
        for validator in self.net.validators:
            with validator.client() as client:
                while (head := client.head()).epoch < epoch:
                    time.sleep(0.05)
        return (now_ms() - head.epoch_start_ms) / 1_000

    def spread(self, txs: Sequence[bytes], seconds: float) -> None:
        """Send evenly over a time."""
        began = time.monotonic()
        for number, tx in enumerate(txs):
            time.sleep(max(0.0, began + seconds * number / len(txs) - time.monotonic()))
            self.send(tx)


def cpu_seconds(net: Testnet) -> dict[str, float]:
    """Processor time of all applications and of all engines so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = {"apps": 0.0, "engines": 0.0}
    for validator in net.validators:
        pids = {"apps": validator.child.pid if validator.child else 0}
        pids["engines"] = validator.said["engine_pid"]
        for name, pid in pids.items():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            used[name] += (int(fields[11]) + int(fields[12])) / ticks
    return used


@dataclass
class Blocks:
    """The engine's blocks that were decided during a run: when, and with which transactions."""

    time_ms: dict[int, int] = field(default_factory=dict)
    txs: dict[int, list[bytes]] = field(default_factory=dict)


def read_blocks(net: Testnet, first: int) -> Blocks:
    """Every block from a height on."""
    blocks, validator = Blocks(), net.validators[0]
    for height in range(first, validator.height() + 1):
        block = validator.ask_engine(f"block?height={height}")["block"]
        blocks.time_ms[height] = _ms(block["header"]["time"])
        blocks.txs[height] = [
            sha256(base64.b64decode(tx)).digest() for tx in block["data"]["txs"] or []
        ]
    return blocks


def _ms(rfc3339: str) -> int:
    """Milliseconds of a time as the engine writes it."""
    whole, _, fraction = rfc3339.rstrip("Z").partition(".")
    seconds = int(time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    return 1_000 * seconds + int(f"{fraction:0<3}"[:3] or 0)


def get_latencies(client: Client, blocks: Blocks) -> list[float]:
    """Seconds from sending a transaction until three of four had executed and saved its block.

    Nobody votes for block H+1 before having saved H, and the time of block H+2 is that of the
    votes for H+1.
    """
    return sorted(
        (blocks.time_ms[height + 2] - client.sent_ms[tx]) / 1_000
        for height, txs in blocks.txs.items()
        for tx in txs
        if height + 2 in blocks.time_ms and tx in client.sent_ms
    )


def read_committed(folder: Path, epochs: range) -> dict[str, int]:
    """Receptions in a validator's ledger that came in time, in messages of some epochs."""
    store = Store.open(folder / DATABASE, read_only=True)
    found = {"receptions": 0, "messages": 0, "late": 0}
    for row in store.rows("SELECT wire, reason FROM records"):
        signed = wire.decode(row["wire"])
        record = signed.record if isinstance(signed, Signed) else None
        if not isinstance(record, EpochMessage) or record.epoch not in epochs:
            continue
        if row["reason"] == "ok":
            found["receptions"] += len(record.report) // RECEPTION_BYTES
            found["messages"] += 1
        else:
            found["late"] += 1
    found["judged"] = store.rows(
        "SELECT coalesce(sum(length(codes)), 0) AS n FROM verdicts WHERE epoch >= ?",
        (FIRST_EPOCH,),
    )[0]["n"]
    store.close()
    return found


def run(folder: Path, hotspots: int, epochs: int, quiet: bool) -> dict[str, Any]:
    """Make a city, run it through four validators, count."""
    total = WARM_UP_EPOCHS + epochs
    progress = Progress("consensus", total + 2, quiet=quiet)
    prepare_s = 10 + hotspots * (total + 1) * PREPARE_S_PER_RECORD
    city = City(hotspots, total, now_ms() + round(1_000 * prepare_s))
    joining = pack_transactions(city.registrations())
    every = [pack_transactions(city.messages(FIRST_EPOCH + n)) for n in range(total)]
    progress.update(1, "signed")
    clock = Clock(city.start_ms)
    measured = range(FIRST_EPOCH + WARM_UP_EPOCHS, FIRST_EPOCH + total)
    with Testnet(folder, 4, genesis=city.genesis) as net:
        net.start()
        client = Client(net)
        clock.wait(0, 0.5)
        for tx in joining:
            client.send(tx, 0)
        first_height, before, lags = 0, {}, []
        for number, txs in enumerate(every):
            epoch = FIRST_EPOCH + number
            clock.wait(epoch)
            if epoch == measured[0]:
                first_height, before = net.validators[0].height(), cpu_seconds(net)
                load = os.getloadavg()[0]
                client.sent_ms.clear()
                client.bytes = 0
            lags.append(client.wait_epoch(epoch))
            progress.update(2 + number, f"epoch {epoch}, {lags[-1]:.1f} s late")
            client.spread(txs, max(0.5, clock.left_s(epoch) - TAIL_S))
        clock.wait(measured[-1] + 1)
        lags.append(client.wait_epoch(measured[-1] + 1))
        window_s = len(measured) * clock.epoch_ms / 1_000 + lags[-1] - lags[WARM_UP_EPOCHS]
        after = cpu_seconds(net)
        blocks = read_blocks(net, first_height)
        forks = net.forks()
    folders = [validator.home.folder for validator in net.validators]
    return {
        **report(folders, measured, window_s),
        "latency_s": quantiles(get_latencies(client, blocks)),
        "epoch_lag_s_max": round(max(lags[WARM_UP_EPOCHS:]), 2),
        "offered_per_s": round(offered(city, measured) / (len(measured) * clock.epoch_ms / 1_000)),
        "blocks": sum(1 for txs in blocks.txs.values() if txs),
        "tx_bytes_mean": round(client.bytes / max(1, len(client.sent_ms))),
        "cpu_s": {name: round(after[name] - before[name], 1) for name in after},
        "engine_refusals": client.refused[:3],
        "forks": forks,
        "load_before": round(load, 2),
    }


def offered(city: City, measured: range) -> int:
    """Receptions that were sent in the measured epochs."""
    return len(measured) * sum(map(len, city.neighbours))


def report(folders: list[Path], measured: range, window_s: float) -> dict[str, Any]:
    """What all four ledgers hold; the figure is that of the one that holds least."""
    found = [read_committed(folder, measured) for folder in folders]
    least = min(found, key=lambda counts: counts["receptions"])
    return {
        "receipts_per_s_4_validators": round(least["receptions"] / window_s),
        "window_s": round(window_s, 1),
        **least,
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=20)
    return {"p50": round(cuts[9], 2), "p95": round(cuts[18], 2), "max": round(values[-1], 2)}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=5_500, help="20 receptions each in 10 s")
    parser.add_argument("--epochs", type=int, default=6, help="measured ones, of 10 s")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wavecomb-consensus-") as folder:
        found = run(Path(folder), options.hotspots, options.epochs, options.json)
    found |= {"hotspots": options.hotspots, "epochs": options.epochs}
    print(json.dumps(found, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
