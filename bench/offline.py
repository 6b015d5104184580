"""A month without the ledger, killed a thousand times: `python -m bench.offline --json`.

A hotspot's node and its durable queue, as shipped and with every fsync, hear each of 30 neighbours
once an epoch on the main network's rules. Nothing leaves. The process that does this is killed with
SIGKILL wherever it happens to be; the next one goes on ten seconds later by the network's clock.
Then the ledger is back: a real one that went on without this hotspot, and takes all of it, twice.

    kept            receptions that were on the disk, as the process said before it went on
    lost            of these, how many are in no report that the ledger took for the map
    messages        epochs that were reported; all_late: each only for the map
    messages_twice  epochs with two different messages: those prove a cloned key
    taken_twice     messages that counted again when they came again
    paid_ucr        what the ledger paid for any of it, days later
    peak_bytes      the most that the queue's files took
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chain.draws import digest, u32
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, print_json, run_command
from chain.keys import public_key
from chain.ledger import Ledger
from chain.params import PRESETS
from chain.records import RECEPTION_BYTES, Deposit, EpochMessage, Genesis, Registration, Signed
from chain.rules.outcome import LATE
from chain.wire import decode, seal
from hotspot.actions import Action, KeepReceptions
from hotspot.directory import Directory
from hotspot.io_queue import DurableQueue
from hotspot.node import HotspotNode, Identity, Spoken
from hotspot.secrets import SecretChain

EXAMPLES = """
  python -m bench.offline --json
  python -m bench.offline --days 2 --kills 100 --seed 7
"""
MS, SECOND = 1_000_000, 1_000_000_000
PARAMS = PRESETS["mainnet"]
START_MS = 1_700_000_000_000
EPOCH_NS = PARAMS.epoch_ms * MS
EPOCHS_A_DAY = 86_400_000 // PARAMS.epoch_ms
NEIGHBOURS = 30
RESTART_NS = 10 * SECOND
SEED, OWNER, OPERATOR = (digest(f"offline-{who}") for who in ("hotspot", "owner", "operator"))
TRUSTED = public_key(digest("offline-seed"))  # a network needs one that trust begins with
GENESIS = seal(
    Genesis("offline", "mainnet", START_MS, (public_key(OPERATOR),), 1, (TRUSTED,)), b"", []
)
NETWORK = GENESIS.record_id
BATCH = 64
PEERS = [digest("offline-peer", u32(n)) for n in range(NEIGHBOURS)]
FIRST_EPOCH = 2
HEAD = struct.Struct(">qIH")  # time, epoch, receptions that follow


@dataclass(slots=True)
class Tally:
    """What the processes said before they were killed."""

    kills: int = 0
    kept: set[tuple[int, bytes]] = field(default_factory=set)
    now_ns: int = 0
    peak_bytes: int = 0


def spoken_at(epoch: int, peer: int) -> int:
    """When a neighbour's beacon of an epoch is heard, ns."""
    start_ns = START_MS * MS + epoch * EPOCH_NS
    word = int.from_bytes(digest("offline-slot", u32(epoch), u32(peer))[:4], "big")
    room_ns = EPOCH_NS - (PARAMS.mix_lead_ms + PARAMS.message_lead_ms) * MS
    return start_ns + PARAMS.mix_lead_ms * MS + (word * room_ns >> 32)


def beacons(from_ns: int) -> Iterator[tuple[int, int, int]]:
    """(time, epoch, peer) of all that is heard from then on, in order of time."""
    epoch = max(0, (from_ns // MS - START_MS) // PARAMS.epoch_ms)
    while True:
        rows = sorted((spoken_at(epoch, peer), epoch, peer) for peer in range(1, NEIGHBOURS + 1))
        yield from (row for row in rows if row[0] >= from_ns)
        epoch += 1


class Life:
    """One process: from a time on, until the end or a kill."""

    def __init__(self, path: Path, now_ns: int, tell: int, secrets: SecretChain) -> None:
        self._queue, self._tell = DurableQueue(path), tell
        directory = Directory(enumerate(PEERS, start=1))
        identity = Identity(SEED, NETWORK, START_MS, PARAMS, 0x8928308280FFFFF, 2437)
        key = HotspotNode(identity, secrets, directory).key
        self._node = HotspotNode(
            identity, secrets, directory, lambda *_: True, self._queue.memory(key)
        )
        self._node.receive_registration(0, FIRST_EPOCH, now_ns)

    def run(self, now_ns: int, end_ns: int) -> None:
        """Hear, and do what is due, in the order of time."""
        for at_ns, epoch, peer in beacons(now_ns):
            while (due := self._node.next_deadline()) is not None and due <= min(at_ns, end_ns):
                self._node.handle_deadline(due)
                self._carry(due)
            if at_ns > end_ns:
                break
            key = PEERS[peer - 1]
            said = Spoken(key + bytes(109), key, epoch, (peer, epoch % 4), bytes(4))
            self._node.receive_spoken(said, -40 - peer, 2437, at_ns)
            self._carry(at_ns)

    def _carry(self, now_ns: int) -> None:
        """Store, then say what was stored."""
        actions = self._node.take_actions()
        self._queue.store([(self._node.key, self._node.epoch, actions)])
        self._say(now_ns, actions)

    def _say(self, now_ns: int, actions: Sequence[Action]) -> None:
        told = b"".join(
            HEAD.pack(now_ns, action.epoch, len(action.receptions)) + b"".join(action.receptions)
            for action in actions
            if isinstance(action, KeepReceptions)
        )
        os.write(self._tell, told or HEAD.pack(now_ns, 0, 0))


def spawn(path: Path, now_ns: int, end_ns: int, secrets: SecretChain) -> tuple[int, int]:
    """(process id, descriptor of what it says)."""
    hears, tells = os.pipe()
    with warnings.catch_warnings():  # other threads hold nothing that this child takes
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.close(tells)
        return child, hears
    code = 1
    try:
        os.close(hears)
        Life(path, now_ns, tells, secrets).run(now_ns, end_ns)
        code = 0
    finally:
        os._exit(code)


def take(tally: Tally, data: bytearray) -> None:
    """Note what was said; a sentence that the kill cut off stays unsaid."""
    while len(data) >= HEAD.size:
        now_ns, epoch, count = HEAD.unpack_from(data)
        end = HEAD.size + count * RECEPTION_BYTES
        if len(data) < end:
            return
        rows = range(HEAD.size, end, RECEPTION_BYTES)
        tally.kept.update((epoch, bytes(data[at : at + RECEPTION_BYTES])) for at in rows)
        tally.now_ns = max(tally.now_ns, now_ns)
        del data[:end]


def live_until(tally: Tally, path: Path, kill_ns: int, end_ns: int, secrets: SecretChain) -> bool:
    """Let a process live until it has passed that time; True if it came to the end by itself."""
    child, hears = spawn(path, tally.now_ns, end_ns, secrets)
    data = bytearray()
    killed = False
    with open(hears, "rb", buffering=0) as said:
        while chunk := said.read(1 << 16):
            data += chunk
            take(tally, data)
            if tally.now_ns >= kill_ns and not killed:
                os.kill(child, signal.SIGKILL)  # it is somewhere after this, and goes no further
                killed = True
    _, status = os.waitpid(child, 0)
    if killed and os.WIFSIGNALED(status):
        tally.kills += 1
        return False
    if status:
        raise UserError("bench.offline", f"a process ended with {status}", "see what it wrote")
    return True


def live(path: Path, days: float, kills: int, seed: int, bar: Progress) -> Tally:
    """All lives of a hotspot; kills are spread over its time as the seed draws them."""
    start_ns = START_MS * MS + FIRST_EPOCH * EPOCH_NS
    end_ns = start_ns + int(days * EPOCHS_A_DAY) * EPOCH_NS
    secrets = SecretChain(SEED, 1, int(days * EPOCHS_A_DAY) + 100)
    draws = (digest("offline-kill", u32(seed), u32(n))[:8] for n in range(kills))
    moments = sorted(
        start_ns + (int.from_bytes(word, "big") * (end_ns - start_ns) >> 64) for word in draws
    )
    tally = Tally(now_ns=start_ns)
    for kill_ns in [*moments, end_ns + EPOCH_NS]:
        if live_until(tally, path, kill_ns, end_ns, secrets):
            break
        tally.now_ns += RESTART_NS
        files = path.parent.glob(f"{path.name}*")
        tally.peak_bytes = max(tally.peak_bytes, sum(file.stat().st_size for file in files))
        bar.update(tally.kills, "kills")
    return tally


def registered(secrets: SecretChain) -> Ledger:
    """A ledger that knows the hotspot since its first epoch."""
    ledger = Ledger(GENESIS)
    place = (0x8928308280FFFFF, 37_776_702, -122_418_459, 6, 200, 2_000, 2_437, 0)
    chain = (secrets.first_epoch, secrets.length, secrets.anchor)
    record = Registration(public_key(SEED), public_key(OWNER), *place, *chain)
    deposit = Deposit(public_key(OWNER), 10 * PARAMS.bond_ucr, b"offline", (0,))
    records = [seal(deposit, NETWORK, [OPERATOR]), seal(record, NETWORK, [SEED, OWNER])]
    for answer in ledger.submit(records, START_MS):
        if not answer.accepted:
            raise UserError("bench.offline", f"{answer.reason}: {answer.detail}", "mend the bench")
    return ledger


def deliver(queue: DurableQueue, ledger: Ledger, now_ms: int) -> tuple[list[Signed], Counter[str]]:
    """Bring all that waits, oldest first, to the ledger; (what it took, answers by reason)."""
    wires = [item.wire for item in queue.undelivered()]
    taken: list[Signed] = []
    reasons: Counter[str] = Counter()
    for at in range(0, len(wires), BATCH):
        batch = wires[at : at + BATCH]
        for wire, answer in zip(batch, ledger.submit(batch, now_ms), strict=True):
            signed = decode(wire)
            reasons[answer.reason] += 1
            if answer.accepted and isinstance(signed, Signed):
                taken.append(signed)
    return taken, reasons


def reported_by(taken: Sequence[Signed]) -> Counter[tuple[int, bytes]]:
    """(epoch, reception) of all reports."""
    return Counter(
        (one.record.epoch - 1, one.record.report[at : at + RECEPTION_BYTES])
        for one in taken
        if isinstance(one.record, EpochMessage)
        for at in range(0, len(one.record.report), RECEPTION_BYTES)
    )


def judge(path: Path, tally: Tally, last_epoch: int) -> dict[str, Any]:
    """What the ledger takes of what was kept, and what it pays for that."""
    queue = DurableQueue(path)
    ledger = registered(SecretChain(SEED, 1, last_epoch + 98))
    now_ms = START_MS + (last_epoch + 1) * PARAMS.epoch_ms
    ledger.tick(now_ms)
    taken, reasons = deliver(queue, ledger, now_ms)
    _, again = deliver(queue, ledger, now_ms)
    ledger.tick(now_ms + 3 * 86_400_000)
    counts = queue.counts()
    queue.close()
    epochs = Counter(one.record.epoch for one in taken if isinstance(one.record, EpochMessage))
    due = {row for row in tally.kept if row[0] < last_epoch - 1}
    return {
        "kept": len(tally.kept),
        "lost": len(due - reported_by(taken).keys()),
        "messages": len(epochs),
        "all_late": reasons == Counter({LATE: len(taken)}),
        "messages_twice": sum(count > 1 for count in epochs.values()) + reasons["fork"],
        "taken_twice": sum(count for reason, count in again.items() if reason != "already"),
        "paid_ucr": ledger.state.hotspots[0].earned_ucr,
        "dropped": counts.dropped,
        "peak_bytes": max(tally.peak_bytes, counts.bytes),
    }


def measure(days: float, kills: int, seed: int, bar: Progress) -> dict[str, Any]:
    """A life, and what came of it."""
    with tempfile.TemporaryDirectory(prefix="wavecomb-offline-") as folder:
        path = Path(folder) / "queue.db"
        began_s = time.monotonic()
        tally = live(path, days, kills, seed, bar)
        last_epoch = FIRST_EPOCH + int(days * EPOCHS_A_DAY)
        found = judge(path, tally, last_epoch)
    return {
        "days": days,
        "neighbours": NEIGHBOURS,
        "seed": seed,
        "kills": tally.kills,
        **found,
        "seconds": round(time.monotonic() - began_s, 1),
    }


def is_good(result: dict[str, Any]) -> bool:
    """Nothing lost, twice or paid, and no more than 40 MB."""
    none = ("lost", "messages_twice", "taken_twice", "paid_ucr", "dropped")
    small = result["peak_bytes"] <= 40_000_000
    return not any(result[name] for name in none) and result["all_late"] and small


def main(argv: Sequence[str]) -> int:
    """Live and print; exit code 1 where something was lost or signed twice."""
    parser = Parser(prog="python -m bench.offline", description=__doc__, examples=EXAMPLES)
    parser.add_argument("--days", type=float, default=30.0, help="without the ledger (30)")
    parser.add_argument("--kills", type=int, default=1_000, help="kill -9 on the way (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    if not 0.05 <= options.days <= 60 or not 0 <= options.kills <= 100_000:
        raise UserError("--days, --kills", "out of range", "use 0.05 to 60, and 0 to 100000")
    bar = Progress("offline", max(1, options.kills), quiet=options.json)
    result: dict[str, Any] = {}
    with contextlib.suppress(KeyboardInterrupt):
        result = measure(options.days, options.kills, options.seed, bar)
    bar.close()
    if options.json:
        print_json(result)
    else:
        print("\n".join(f"{name:<16} {value}" for name, value in result.items()))
    return EXIT_OK if result and is_good(result) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
