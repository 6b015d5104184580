"""Good records under a flood of bad signatures: `python -m bench.spam --json`.

One real service. First its good clients alone: `--rate` records a second (500 is what 300,000
hotspots on mainnet send), in an open loop, each request timed from when it was due. Then the same
beside spammers that try ten times as many records, all with bad signatures in the names of
registered hotspots and operators: half on connections that they keep, half on a new connection for
every request, since who is refused may come back under another name.

goodput_ratio   good records accepted with the flood, of those accepted without it
spam_refused_at_door_share   of the spammers' requests, refused before their records were read
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import aiohttp

from chain import cbor, draws, wire
from chain.cells import cell_centre
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.io_terminal import Progress
from chain.keys import public_key
from chain.records import Deposit, EpochMessage, Registration

BATCH = 25
HOTSPOTS = 50
FACTOR = 10
CLIENTS = 8  # connections of the good ones, which they keep
CELL = 0x8A1F9E282837FFF
LATITUDE, LONGITUDE = cell_centre(CELL)


@dataclass
class Counted:
    """What one phase brought."""

    accepted: int = 0
    answered: int = 0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def body_of(wires: Sequence[bytes]) -> bytes:
    """A request's body."""
    return json.dumps({"records": [base64.b64encode(raw).decode() for raw in wires]}).encode()


def good_bodies(seed: bytes, network: bytes, count: int, name: str) -> list[bytes]:
    """Requests of deposits that will be accepted."""
    bodies = []
    for first in range(0, count, BATCH):
        wires = [
            wire.seal(
                Deposit(sha256(b"%d" % n).digest(), 1, b"%s %d" % (name.encode(), n), (0,)),
                network,
                [seed],
            ).wire
            for n in range(first, first + BATCH)
        ]
        bodies.append(body_of(wires))
    return bodies


def forge(record: EpochMessage | Deposit, number: int) -> bytes:
    """A record whose signature is noise."""
    noise = sha256(b"noise %d" % number).digest() * 2
    return cbor.encode((record.TYPE, wire.VERSION, wire.body_of(record), (noise,)))


def spam_bodies(epoch: int, count: int) -> list[bytes]:
    """Requests of records that are fine but for their signatures."""
    records: list[EpochMessage | Deposit] = []
    for n in range(count):
        key = sha256(b"spam %d" % n).digest()
        if n % 2:
            records.append(Deposit(key, 1, b"spam %d" % n, (0,)))
        else:
            records.append(EpochMessage(n // 2 % HOTSPOTS, epoch, key, b"", key))
    forged = [forge(record, n) for n, record in enumerate(records)]
    return [body_of(forged[i : i + BATCH]) for i in range(0, count, BATCH)]


async def send(
    url: str, bodies: Sequence[bytes], rate: float, fresh: bool, limit: int = 0
) -> Counted:
    """Post bodies in an open loop at a rate of requests; each timed from when it was due.

    At most `limit` connections; 0: as many as there are requests under way.
    """
    counted, pending = Counted(), set()
    connector = aiohttp.TCPConnector(limit=limit, force_close=fresh)
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        begin = time.monotonic()
        for number, body in enumerate(bodies):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            pending.add(asyncio.create_task(_post(session, url, body, due, counted)))
        await asyncio.gather(*pending)
    return counted


async def _post(
    session: aiohttp.ClientSession, url: str, body: bytes, due: float, counted: Counted
) -> None:
    try:
        async with session.post(f"{url}/v1/records", data=body) as response:
            answer = await response.read()
            counted.statuses[response.status] += 1
    except (aiohttp.ClientError, TimeoutError):
        counted.statuses[0] += 1
        return
    counted.latencies_s.append(time.monotonic() - due)
    if response.status == 200:
        results = json.loads(answer)["results"]
        counted.answered += len(results)
        counted.accepted += sum(result["accepted"] for result in results)


def flood(url: str, epoch: int, rate: float, seconds: float, out: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """The spammers, in a process of their own: half keep their connections, half never do."""
    os.nice(5)  # they stand for other machines: this one's clients and service go first
    bodies = spam_bodies(epoch, int(rate * seconds))
    kept, fresh = bodies[::2], bodies[1::2]

    async def run() -> tuple[Counted, Counted]:
        share = rate / BATCH / 2
        return await asyncio.gather(
            send(url, kept, share, False), send(url, fresh, share, True)
        )

    out.put("ready")
    first, second = asyncio.run(run())
    out.put(first.statuses + second.statuses)


def prepare(client: LedgerClient, network: bytes) -> None:
    """Register hotspots whose names the spammers use."""
    links = [sha256(b"link").digest()]
    links.append(draws.chain_link(links[0]))
    wires = []
    for n in range(HOTSPOTS):
        seeds = [sha256(b"hotspot %d" % n).digest(), sha256(b"owner %d" % n).digest()]
        record = Registration(
            *(public_key(seeds[0]), public_key(seeds[1]), CELL, LATITUDE, LONGITUDE),
            *(10, 300, 2_000, 2_437, 1, client.head().epoch + 2, 1_000),
            anchor=links[1],
        )
        wires.append(wire.seal(record, network, seeds).wire)
    refused = [r for r in client.submit(wires) if not r.accepted]
    if refused:
        raise SystemExit(f"bench: a registration was refused: {refused[0].detail}")


def measure(folder: Path, rate: int, seconds: int, progress: Progress) -> dict[str, object]:
    """Both phases against one service."""
    service = subprocess.Popen(
        [*_wavecomb(), "run", "--dir", str(folder), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
    )
    try:
        assert service.stdout is not None
        url = json.loads(service.stdout.readline())["urls"][0]
        with LedgerClient(url) as client:
            network, seed = client.head().network_id, load_seed(folder / "operator.key")
            prepare(client, network)
            quiet = good_bodies(seed, network, rate * seconds, "quiet")
            loud = good_bodies(seed, network, rate * seconds, "loud")
            progress.update(1)
            alone = asyncio.run(send(url, quiet, rate / BATCH, False, CLIENTS))
            progress.update(2)
            out: multiprocessing.Queue[object] = multiprocessing.Queue()
            spam = (url, client.head().epoch, FACTOR * rate, seconds + 1, out)
            spammers = multiprocessing.Process(target=flood, args=spam)
            spammers.start()
            out.get()
            beside = asyncio.run(send(url, loud, rate / BATCH, False, CLIENTS))
            statuses = out.get()
            spammers.join()
            progress.close()
        assert isinstance(statuses, Counter), "the second thing that the spammers say"
        return report(alone, beside, statuses, rate)
    finally:
        service.terminate()
        service.wait(20)
        if service.stdout is not None:
            service.stdout.close()


def report(
    alone: Counted, beside: Counted, spam: Counter[int], rate: int
) -> dict[str, object]:
    """The figures."""
    requests = sum(spam.values())
    return {
        "goodput_ratio": round(beside.accepted / max(1, alone.accepted), 4),
        "good_per_s_offered": rate,
        "good_accepted_alone": alone.accepted,
        "good_accepted_beside_spam": beside.accepted,
        "good_p95_ms_alone": _p95_ms(alone),
        "good_p95_ms_beside_spam": _p95_ms(beside),
        "good_statuses_beside_spam": {str(k): v for k, v in sorted(beside.statuses.items())},
        "spam_factor": FACTOR,
        "spam_requests": requests,
        "spam_refused_at_door_share": round((spam[429] + spam[503]) / max(1, requests), 4),
        "spam_unanswered": spam[0],
    }


def _p95_ms(counted: Counted) -> int:
    ordered = sorted(counted.latencies_s)
    return round(1_000 * ordered[int(0.95 * (len(ordered) - 1))]) if ordered else -1


def _wavecomb() -> list[str]:
    return [sys.executable, "-m", "wavecomb", "chain"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=500, help="good records per second")
    parser.add_argument("--seconds", type=int, default=15, help="length of each phase")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    progress = Progress("spam", 3, quiet=options.json)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "ledger"
        subprocess.run(
            [*_wavecomb(), "init", "--dir", str(folder)], check=True, stdout=subprocess.DEVNULL
        )
        result = measure(folder, options.rate, options.seconds, progress)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
