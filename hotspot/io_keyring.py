"""`wavecomb hotspot key`: show, back up, restore and rotate the keys of a hotspot and its owner.

A rotation may be cut off anywhere: the new key waits in FILE.next, every step asks the ledger
whether it was done before, and running the command again goes on. A hotspot's key is one record,
and the daemon changes over in the epoch that it names (hotspot/io_rotation.py); an owner's is a few
records and one change of files. The old key stays beside the new one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chain.cli.io_common import show
from chain.errors import EXIT_OK, UserError
from chain.io_client import LedgerClient, LedgerRefused, LedgerUnavailable
from chain.io_keys import load_or_create_seed, load_seed, save_seed
from chain.io_terminal import print_json
from chain.keys import public_key
from chain.records import KeyRotation, Record, Refusal, Transfer
from chain.wire import seal
from hotspot.config import HotspotConfig
from hotspot.io_membership import assertion
from hotspot.io_network import learn_network
from hotspot.io_queue import DurableQueue
from hotspot.io_rotation import (
    ACCEPTED,
    WHOSE,
    Plan,
    keep_old,
    next_file,
    read_plan,
    write_plan,
)
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
    """Replace a key: the hotspot's, which stays the hotspot that it is, or the owner's."""
    if options.which == "both":
        raise UserError("--which", "one key at a time", "add --which hotspot or --which owner")
    if options.lost and options.which != "hotspot":
        remedy = "an owner's key comes from paper alone: wavecomb hotspot key restore"
        raise UserError("--lost", "is for the hotspot's key", remedy)
    path = path_of(config, base, options.which)
    if options.which == "owner":
        _check_stopped(config, base)
    old = None if options.lost else load_seed(path)
    new = load_or_create_seed(next_file(path))
    steps: list[str] = []
    queue = DurableQueue(base / config.hotspot.queue)
    try:
        with LedgerClient(config.ledger.url) as client:
            job = Rotation(config, base, client, queue, old or b"", new, _teller(options, steps))
            rows = _rotate(options, job, path)
    except (LedgerUnavailable, LedgerRefused) as error:
        remedy = "run it again when the ledger answers: it goes on from here"
        raise UserError("ledger.url", str(error), remedy, exit_code=1) from error
    finally:
        queue.close()
    _show_rotation(options, rows | {"steps": steps})
    return EXIT_OK


def _rotate(options: argparse.Namespace, job: Rotation, path: Path) -> dict[str, Any]:
    """What was done, as rows."""
    rows: dict[str, Any] = {"key": public_key(job.new).hex()}
    if options.which == "hotspot":
        return rows | _rotate_hotspot(job, path)
    _rotate_owner(job)
    kept = _swap(path, public_key(job.old).hex()[:16])
    return rows | {"kept": str(kept), "phrase": make_phrase(job.new, "owner")}


def _show_rotation(options: argparse.Namespace, rows: dict[str, Any]) -> None:
    """The new key, when it speaks, where the old one is; and the new one's rows for paper."""
    lines = [f"new key   {rows['key']}"]
    if "kept" in rows:
        lines.append(f"old key   {rows['kept']}")
    if "note" in rows:
        lines.append(f"then      {rows['note']}")
    if "phrase" in rows:
        lines.append("paper     write this down now; it is shown once:")
        lines += [f"  {number}  {row}" for number, row in enumerate(rows["phrase"], 1)]
    show(options, rows, "\n".join(lines))


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


def _rotate_hotspot(job: Rotation, path: Path) -> dict[str, Any]:
    """Have the ledger take the new key for the old one from an epoch on."""
    name = public_key(job.old).hex() if job.old else str(_index_of_lost(job))
    spot = job.client.find(f"/v1/hotspots/{name}")
    if spot is None:
        raise UserError("ledger", "knows no such hotspot", "let the daemon register it first")
    plan, new, pending = read_plan(job.queue), public_key(job.new).hex(), spot["rotation"]
    if plan is not None and plan.new_key != new:
        plan = None
    if spot["key"] == new:
        return _put_in_place(job, path, plan)
    is_told = plan is not None and plan.state == ACCEPTED
    if pending is not None and pending["new_key"] == new:
        length = plan.chain_length if plan else job.config.hotspot.chain_length
        plan = Plan(new, pending["from_epoch"], length, ACCEPTED)
        write_plan(job.queue, plan)
    else:
        plan = _ask_for_key(job, spot)
    head = job.client.head()
    minutes = max(0, plan.from_epoch - head.epoch) * head.epoch_ms // 60_000
    who = "the daemon changes over by itself" if job.old else "then run this once more"
    note = f"{who}: epoch {plan.from_epoch}, in about {minutes} minutes"
    phrase = {} if is_told else {"phrase": make_phrase(job.new, "hotspot")}
    return {"from_epoch": plan.from_epoch, "note": note} | phrase


def _ask_for_key(job: Rotation, spot: dict[str, Any]) -> Plan:
    """Sign the change with all that must, and keep the plan before and after the answer."""
    owner_seed = load_seed(path_of(job.config, job.base, "owner"))
    network = learn_network(job.client, job.queue)
    ahead = network.params.bind_epochs if job.old else network.params.rotation_delay_epochs
    # An epoch may end while this is under way.
    from_epoch = max(job.client.head().epoch + ahead + 1, spot["bind_epoch"] + 1)
    length = job.config.hotspot.chain_length
    chain = SecretChain(job.new, from_epoch, length)
    plan = Plan(public_key(job.new).hex(), from_epoch, length)
    write_plan(job.queue, plan)
    record = KeyRotation(
        spot["index"], public_key(job.new), from_epoch, length, chain.anchor
    )
    seeds = [*([job.old] if job.old else []), job.new, owner_seed]
    try:
        job.submit(record, seeds, "named the new key to the ledger")
    except UserError:
        write_plan(job.queue, None)
        raise
    plan = replace(plan, state=ACCEPTED)
    write_plan(job.queue, plan)
    return plan


def _index_of_lost(job: Rotation) -> int:
    """Which hotspot it was, by what the daemon last kept."""
    kept = job.queue.note("peers")
    if kept is None:
        raise UserError("--lost", "the queue names no hotspot", "keep queue.db, or begin anew")
    return int(json.loads(kept)[0][0])


def _put_in_place(job: Rotation, path: Path, plan: Plan | None) -> dict[str, Any]:
    """The new key speaks already; what the daemon has not done, because it lacked the old one."""
    if plan is not None and not path.exists():
        chain = json.dumps([plan.from_epoch, plan.chain_length]).encode()
        job.queue.set_note("chain", chain)
        job.queue.set_note(WHOSE, plan.new_key.encode())
        next_file(path).replace(path)
        write_plan(job.queue, None)
        job.said("put the new key in its place")
    return {"note": "the new key speaks; start the daemon: wavecomb hotspot run"}


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


def _swap(path: Path, name: str) -> Path:
    """Put the new key in its place; there is a key file at every moment."""
    kept = keep_old(path, name)
    next_file(path).replace(path)
    return kept
