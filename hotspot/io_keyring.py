"""`wavecomb hotspot key`: show, back up, restore and rotate the keys of a hotspot and its owner.

A rotation is a few records and one change of files, and may be cut off anywhere: the new key waits
in FILE.next, every step asks the ledger whether it was done before, and running the command again
goes on. The old key stays beside the new one, because late pay may still reach it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chain.errors import EXIT_OK, UserError
from chain.io_cli_common import show
from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable
from chain.io_keys import load_or_create_seed, load_seed, save_seed
from chain.io_terminal import print_json
from chain.keys import public_key
from chain.records import Record, Refusal, Retirement, Transfer
from chain.wire import seal
from hotspot.config import HotspotConfig
from hotspot.io_membership import assertion
from hotspot.io_network import learn_network
from hotspot.io_queue import DurableQueue
from hotspot.phrase import make_phrase, read_phrase
from hotspot.secrets import SecretChain

KINDS = ("hotspot", "owner")
ALREADY = "already"
RUNNING_S = 15


def key(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Do what `options.action` says: show, backup, restore or rotate."""
    actions = {"show": show_keys, "backup": backup, "restore": restore, "rotate": rotate}
    return actions[options.action](options, config, base)


def path_of(config: HotspotConfig, base: Path, kind: str) -> Path:
    """The file of a key."""
    return base / (
        config.hotspot.key_file if kind == "hotspot" else config.hotspot.owner_key_file
    )


def show_keys(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Show the public keys."""
    rows = {kind: public_key(load_seed(path_of(config, base, kind))).hex() for kind in KINDS}
    show(options, rows, "\n".join(f"{name:<10}{value}" for name, value in rows.items()))
    return EXIT_OK


# --- on paper -------------------------------------------------------------------------------------


def backup(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Print the keys as rows to write down, or write them to a file that only you may read."""
    kinds = KINDS if options.which == "both" else (options.which,)
    rows = {kind: make_phrase(load_seed(path_of(config, base, kind)), kind) for kind in kinds}
    if options.file is not None:
        lines = [f"{kind}\n" + "\n".join(phrase) + "\n" for kind, phrase in rows.items()]
        _write_secret(options.file, "\n".join(lines))
        show(options, {"file": str(options.file), "keys": list(rows)}, f"written {options.file}")
    elif options.json:
        print_json(rows)
    else:
        print("Whoever reads this has your keys. Write it on paper, keep it away from the hotspot.")
        for kind, phrase in rows.items():
            numbered = [f"  {number}  {row}" for number, row in enumerate(phrase, 1)]
            print("\n".join([f"\n{kind} ({public_name(config, base, kind)})", *numbered]))
    return EXIT_OK


def public_name(config: HotspotConfig, base: Path, kind: str) -> str:
    """The first digits of a public key, by which people tell keys apart."""
    return public_key(load_seed(path_of(config, base, kind))).hex()[:16]


def _write_secret(path: Path, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UserError("--file", f"{path} exists", "name a file that doesn't") from error
    with open(fd, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def restore(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Make a key file from its rows: typed, or from a file. A key that stands there stays."""
    if options.which == "both":
        raise UserError("--which", "one key at a time", "add --which hotspot or --which owner")
    kind = options.which
    if options.file is not None:
        text = _section(options.file.read_text(encoding="utf-8"), kind)
    else:
        sys.stderr.write(f"Type the four rows of the {kind}'s key, then Ctrl-D:\n")
        text = sys.stdin.read()
    found = read_phrase(_unnumbered(text), kind)
    if isinstance(found, Refusal):
        field, _, problem = found.detail.partition(": ")
        said, _, remedy = problem.partition("; ")
        raise UserError(field, said, remedy or "read it again")
    seed, mended = found
    path = path_of(config, base, kind)
    save_seed(path, seed)
    rows = {"file": str(path), "key": public_key(seed).hex(), "mended": mended}
    note = f"\nmended    {mended}" if mended else ""
    show(options, rows, f"file      {path}\nkey       {rows['key']}{note}")
    return EXIT_OK


def _section(text: str, kind: str) -> str:
    """The rows of one key in a backup file; all of a file that names none."""
    lines = [line.strip() for line in text.splitlines()]
    if kind not in lines:
        return "\n".join(line for line in lines if line not in KINDS)
    after = lines[lines.index(kind) + 1 :]
    ends = [at for at, line in enumerate(after) if line in KINDS]
    return "\n".join(after[: ends[0]] if ends else after)


def _unnumbered(text: str) -> str:
    """Without the row numbers that the print-out has."""
    lines = [line.split() for line in text.splitlines()]
    return "\n".join(
        " ".join(words[1:] if words and words[0] in "1234" else words) for words in lines
    )


# --- a new key ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation works with: settings, ledger, queue, and the seeds old and new."""

    config: HotspotConfig
    base: Path
    client: LedgerClient
    queue: DurableQueue
    old: bytes
    new: bytes
    said: Callable[[str], None]

    @property
    def network_id(self) -> bytes:
        """The network's id, part of everything that is signed."""
        return learn_network(self.client, self.queue).network_id

    def submit(self, record: Record, seeds: list[bytes], what: str) -> None:
        """Submit a record; UserError with the ledger's reason. Done before is as good."""
        (result,) = self.client.submit([seal(record, self.network_id, seeds).wire])
        if not result.accepted and result.reason != ALREADY:
            said = f"the ledger refused {what}: {result.reason}: {result.detail}"
            raise UserError("ledger", said, "mend that, then run it again: it goes on from here")
        self.said(what)

    def nonce(self, account: bytes) -> int:
        """The next number of an account."""
        return int(self.client.get(f"/v1/accounts/{account.hex()}")["nonce"]) + 1

    def chain(self, seed: bytes) -> SecretChain:
        """Secrets for a hotspot key, from the next epoch on; kept for the daemon's next start."""
        network = learn_network(self.client, self.queue)
        now_ms = time.time_ns() // 1_000_000
        first = network.params.epoch_at(network.start_ms, now_ms) + 1
        return SecretChain(seed, first, self.config.hotspot.chain_length)


def rotate(options: argparse.Namespace, config: HotspotConfig, base: Path) -> int:
    """Replace a key: the hotspot's (a new hotspot at the same place) or the owner's."""
    if options.which == "both":
        raise UserError("--which", "one key at a time", "add --which hotspot or --which owner")
    _check_stopped(config, base)
    path = path_of(config, base, options.which)
    waiting = path.with_name(f"{path.name}.next")
    old, new = load_seed(path), load_or_create_seed(waiting)
    steps: list[str] = []
    queue = DurableQueue(base / config.hotspot.queue)
    try:
        with LedgerClient(config.ledger.url) as client:
            job = Rotation(config, base, client, queue, old, new, _teller(options, steps))
            (_rotate_hotspot if options.which == "hotspot" else _rotate_owner)(job)
    except (LedgerUnavailable, LedgerRefused) as error:
        remedy = "run it again when the ledger answers: it goes on from here"
        raise UserError("ledger.url", str(error), remedy, exit_code=1) from error
    finally:
        queue.close()
    kept = _swap(path, waiting, public_key(old).hex()[:16])
    rows = {"key": public_key(new).hex(), "kept": str(kept), "steps": steps}
    text = f"new key   {rows['key']}\nold key   {kept}\nnext      wavecomb hotspot key backup"
    show(options, rows, text)
    return EXIT_OK


def _teller(options: argparse.Namespace, steps: list[str]) -> Callable[[str], None]:
    def tell(what: str) -> None:
        steps.append(what)
        if not options.json:
            print(f"done      {what}", flush=True)

    return tell


def _check_stopped(config: HotspotConfig, base: Path) -> None:
    """A daemon that runs would go on signing with the old key."""
    try:
        status = json.loads((base / config.hotspot.status_file).read_text(encoding="utf-8"))
        fresh = time.time() - int(status["at_ms"]) / 1000 <= RUNNING_S
        os.kill(int(status["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return
    if fresh:
        raise UserError("daemon", f"runs as process {status['pid']}", "stop it first", exit_code=1)


def _rotate_hotspot(job: Rotation) -> None:
    """Register the new key with the owner we have, retire the old one, start new secrets."""
    owner_seed = load_seed(path_of(job.config, job.base, "owner"))
    owner = public_key(owner_seed)
    chain = job.chain(job.new)
    if job.client.hotspot(public_key(job.new)) is None:
        record = assertion(job.config, public_key(job.new), owner, chain)
        job.submit(record, [job.new, owner_seed], "registered the new key")
        kept = json.dumps([chain.first_epoch, chain.length]).encode()
        job.queue.set_note("chain", kept)
    spot = job.client.hotspot(public_key(job.new))
    if spot is not None:  # whom the daemon takes itself for, while the ledger is away
        job.queue.set_note("peers", json.dumps([[spot.index, spot.bind_epoch], []]).encode())
    before = job.client.find(f"/v1/hotspots/{public_key(job.old).hex()}")
    if before is not None and before["ends_epoch"] is None and not before["slashed"]:
        retirement = Retirement(before["index"], job.nonce(owner))
        job.submit(retirement, [owner_seed], "retired the old key; its bond returns later")


def _rotate_owner(job: Rotation) -> None:
    """Give the new owner the bond, the hotspot, and what is left in the account."""
    spot_seed = load_seed(path_of(job.config, job.base, "hotspot"))
    old, new = public_key(job.old), public_key(job.new)
    spot = job.client.hotspot(public_key(spot_seed))
    if spot is not None and spot.owner == old:
        lacking = spot.bond_ucr - job.client.account(new).balance_ucr
        if lacking > 0:
            bond = Transfer(old, new, lacking, job.nonce(old), "bond")
            job.submit(bond, [job.old], "sent the bond to the new account")
        chain = _known_chain(job, spot_seed)
        record = assertion(job.config, public_key(spot_seed), new, chain)
        job.submit(record, [spot_seed, job.new, job.old], "gave the hotspot to the new owner")
    left = job.client.account(old).balance_ucr
    if left > 0:
        rest = Transfer(old, new, left, job.nonce(old), "rest")
        job.submit(rest, [job.old], "sent the rest to the new account")


def _known_chain(job: Rotation, seed: bytes) -> SecretChain:
    kept = job.queue.note("chain")
    return SecretChain(seed, *json.loads(kept)) if kept else job.chain(seed)


def _swap(path: Path, waiting: Path, name: str) -> Path:
    """Put the new key in its place; there is a key file at every moment."""
    kept = path.with_name(f"{path.name}.{name}.old")
    if not kept.exists():
        os.link(path, kept)
    waiting.replace(path)
    return kept
