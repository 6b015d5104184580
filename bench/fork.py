"""A sequencer that forks, and who sees it: `python -m bench.fork --json`.

For every seed the embedded engine runs twice from one key: one history until some epoch, then two
that differ in a record. Both ask the same witnesses for cosignatures, as the service does, in an
order drawn from the seed. Counted per witness and seed:

checkpoints_until_seen  checkpoints of the second history that a witness was shown until it refused
                        one: 1 means that it never signed two histories (the most over all runs)
proved_share            refusals that came with proof that convinces anybody: two signed notes of
                        one size, or two whose consistency proof contradicts the first
both_cosigned           runs in which both histories got a quorum of cosignatures: must be 0
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field

from bench.small_log import Cosigned
from chain import wire
from chain.draws import digest
from chain.io_terminal import Progress
from chain.keys import public_key
from chain.ledger import Ledger
from chain.params import PRESETS
from chain.proofs.checkpoint import Checkpoint, parse_checkpoint
from chain.proofs.log import MerkleLog, ProofError
from chain.proofs.note import Note, sign_note
from chain.proofs.witness import (
    CONFLICT,
    OK,
    Fork,
    Request,
    Witness,
    encode_request,
    find_prefix_fork,
    process_add_checkpoint,
    verify_fork,
)
from chain.records import Deposit, Genesis

EPOCHS = 12
START_MS = 1_000_000_000
TIME_S = 1_800_000_000


def draw(seed: int, *parts: int) -> int:
    """A number from a seed."""
    words = b"".join(part.to_bytes(8, "big") for part in (seed, *parts))
    return int.from_bytes(digest("fork-bench", words)[:6], "big")


class History:
    """One run of the embedded engine, its log, and the note of every close."""

    def __init__(self, seed: int, fork_epoch: int, name: int) -> None:
        operator = digest("fork-operator", seed.to_bytes(8, "big"))
        keys = (public_key(operator),)
        genesis = wire.seal(Genesis("fork", "minimal", START_MS, keys, 1, ()), b"", [])
        self.origin = Cosigned(0, 0).origin
        self.log = MerkleLog()
        self.notes: list[Note] = []
        ledger = Ledger(genesis, on_block=lambda sealed: self._grow(sealed.results))
        epoch_ms = PRESETS["minimal"].epoch_ms
        for epoch in range(EPOCHS):
            mine = name if epoch >= fork_epoch else 0
            count = 1 + draw(seed, epoch, mine) % 5
            for number in range(count):
                words = digest("deposit", bytes((epoch, number, mine)))
                record = Deposit(keys[0], 1 + epoch, words[:16], (0,))
                raw = wire.seal(record, ledger.network_id, [operator]).wire
                ledger.submit([raw], START_MS + epoch * epoch_ms)
            ledger.tick(START_MS + (epoch + 1) * epoch_ms)
            text = ledger.state.closes[epoch].text
            self.origin = text.partition("\n")[0]
            self.notes.append(Note(text, (sign_note(text, self.origin, operator),)))
        self.seed = operator

    def _grow(self, results) -> None:  # type: ignore[no-untyped-def]
        for result in results:
            self.log.append(result.record_id)


@dataclass
class Watcher:
    """A witness in memory, what it signed, and what it refused."""

    witness: Witness
    signed: dict[int, Note] = field(default_factory=dict)
    forks: list[Fork] = field(default_factory=list)
    doubts: list[Note] = field(default_factory=list)

    def show(self, history: History, epoch: int) -> bool:
        """The sequencer asks for a cosignature, once more if the witness names another size."""
        note = history.notes[epoch]
        size = size_of(note)
        old = max((s for s in self.signed if s <= size), default=0)
        for _ in range(2):
            proof = history.log.consistency_proof(old, size) if 0 < old < size else []
            body = encode_request(Request(old, tuple(proof), note))
            answer = process_add_checkpoint(self.witness, body, TIME_S)
            self.forks += [answer.fork] if answer.fork else []
            self.doubts += [answer.doubt] if answer.doubt else []
            if answer.kept is not None:
                self.signed[size] = answer.kept
            if answer.status != CONFLICT or int(answer.body) > size:
                return answer.status == OK
            old = int(answer.body)
        return False


def size_of(note: Note) -> int:
    """The log's size in a checkpoint."""
    checkpoint = parse_checkpoint(note.text)
    if not isinstance(checkpoint, Checkpoint):
        raise RuntimeError(checkpoint.detail)
    return checkpoint.size


@dataclass
class Run:
    """What one seed showed."""

    until_seen: int = 0
    refusals: int = 0
    proved: int = 0
    both_cosigned: bool = False


def run(seed: int, witnesses: int, quorum: int) -> Run:
    """Fork at some epoch; every witness meets both histories, in an order of its own."""
    fork_epoch = 1 + draw(seed, 1_000) % (EPOCHS - 3)
    histories = [History(seed, fork_epoch, name) for name in (1, 2)]
    keys = Cosigned(0, 0).key
    log_key = type(keys)(histories[0].origin, keys.kind, public_key(histories[0].seed))
    result, cosigned = Run(), {0: 0, 1: 0}
    for number in range(witnesses):
        watcher = make_watcher(number, log_key)
        for epoch in range(fork_epoch):
            watcher.show(histories[0], epoch)
        first = draw(seed, 2_000, number) % 2
        shown = 0
        if watcher.show(histories[first], fork_epoch):
            cosigned[first] += 1
        for epoch in range(fork_epoch, EPOCHS):
            shown += 1
            if not watcher.show(histories[1 - first], epoch):
                break
            cosigned[1 - first] += 1
        result.until_seen = max(result.until_seen, shown)
        result.refusals += 1
        result.proved += is_proved(watcher, histories[first].log, log_key)
    result.both_cosigned = min(cosigned.values()) >= quorum
    return result


def make_watcher(number: int, log_key) -> Watcher:  # type: ignore[no-untyped-def]
    """An honest witness."""
    signed: dict[int, Note] = {}
    name = f"witness.example/w{number}"
    witness = Witness(
        name,
        digest("fork-witness", bytes((number,))),
        {log_key.name: (log_key,)},
        lambda _: signed[max(signed)] if signed else None,
        lambda _, size: signed.get(size),
    )
    return Watcher(witness, signed)


def is_proved(watcher: Watcher, log: MerkleLog, log_key) -> bool:  # type: ignore[no-untyped-def]
    """Whether the witness can convince anybody, after a look into the log that it knows."""
    found = list(watcher.forks)
    latest = watcher.signed[max(watcher.signed)]
    for doubt in watcher.doubts:
        try:
            fork = find_prefix_fork(doubt, latest, log)
        except (ProofError, IndexError):
            continue
        found += [fork] if fork else []
    return any(verify_fork(fork, [log_key]) is None for fork in found)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--witnesses", type=int, default=5)
    parser.add_argument("--quorum", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    progress = Progress("forking", options.seeds, quiet=options.json)
    runs = []
    for seed in range(options.seeds):
        progress.update(seed)
        runs.append(run(seed, options.witnesses, options.quorum))
    progress.close()
    refusals = sum(one.refusals for one in runs)
    result = {
        "checkpoints_until_seen": max(one.until_seen for one in runs),
        "witnesses": options.witnesses,
        "seeds": options.seeds,
        "proved_share": round(sum(one.proved for one in runs) / refusals, 4),
        "both_cosigned": sum(one.both_cosigned for one in runs),
    }
    print(json.dumps(result))
    return 0 if result["checkpoints_until_seen"] == 1 and not result["both_cosigned"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
