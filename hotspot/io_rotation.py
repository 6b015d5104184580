"""A hotspot's next key: from the owner's word by the ledger's to the daemon's change-over.

    asked      FILE.next holds the new seed, the record is on its way
    accepted   the ledger names the epoch from which the new key speaks; until then the old one does
    moved      that epoch has begun: what the queue keeps belongs to the new key; files are changed

Each step is kept before the next, so that whatever is cut off goes on at the next start. The old
key stays as FILE.NAME.old: the first message of the new one still reveals a secret of its chain.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chain.errors import UserError
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.records import KeyRotationObjection
from chain.wire import seal
from hotspot.io_links import load_chain
from hotspot.io_network import Network
from hotspot.io_queue import DurableQueue
from hotspot.node import HotspotNode
from hotspot.secrets import SecretChain

PLAN, BRIDGE, WHOSE = "rotation", "bridge", "whose"
OF_ONE_KEY = ("peers", "index", "chain", BRIDGE, "hold")  # notes that mean nothing to another
ASKED, ACCEPTED, MOVED = "asked", "accepted", "moved"
OBJECTED = (
    "the owner's key alone asked for another key of this hotspot; it isn't lost, so this one"
    " objected. Who else has your owner.key?"
)
BRIDGED_EPOCHS = 2  # after these nothing of the old chain is revealed any more


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of keys: to which, from which epoch, with how long a chain, and how far it is."""

    new_key: str
    from_epoch: int
    chain_length: int
    state: str = ASKED


def read_plan(queue: DurableQueue) -> Plan | None:
    """The plan that the queue keeps, if there is one."""
    kept = queue.note(PLAN)
    return Plan(**json.loads(kept)) if kept else None


def write_plan(queue: DurableQueue, plan: Plan | None) -> None:
    """Keep a plan, or none."""
    queue.set_note(PLAN, json.dumps(asdict(plan)).encode() if plan else b"")


def next_file(path: Path) -> Path:
    """Where the seed that follows waits."""
    return path.with_name(f"{path.name}.next")


def keep_old(path: Path, name: str) -> Path:
    """Give the key file a second name, under which it stays."""
    kept = path.with_name(f"{path.name}.{name}.old")
    if not kept.exists():
        os.link(path, kept)
    return kept


def change_over(queue: DurableQueue, path: Path, plan: Plan) -> None:
    """Make the next key the key: there is a whole key file at every moment."""
    old = public_key(load_seed(path))
    kept = keep_old(path, old.hex()[:16])
    chain = queue.note("chain")
    first, length = json.loads(chain) if chain else (0, 0)
    notes = {
        PLAN: json.dumps(asdict(replace(plan, state=MOVED))).encode(),
        BRIDGE: json.dumps([plan.from_epoch, first, length, kept.name]).encode(),
        "chain": json.dumps([plan.from_epoch, plan.chain_length]).encode(),
        WHOSE: plan.new_key.encode(),
    }
    queue.take_over(old, bytes.fromhex(plan.new_key), notes)
    finish_move(queue, path)


def finish_move(queue: DurableQueue, path: Path) -> bool:
    """Do what is left of a change-over; True if the key file is another now."""
    plan = read_plan(queue)
    if plan is None or plan.state != MOVED:
        return False
    if next_file(path).exists():
        next_file(path).replace(path)
    write_plan(queue, None)
    return True


def take_queue(queue: DurableQueue, key: bytes) -> bool:
    """Make a queue this key's; True if it was another hotspot's, whose place and secrets go.

    So it is where a key was put back from paper beside a daemon that ran with a new one before.
    """
    whose, own = queue.note(WHOSE), key.hex().encode()
    is_others = whose not in (None, own)
    if is_others:
        queue.drop_notes(OF_ONE_KEY)
    if whose != own:
        with contextlib.suppress(UserError):  # a full disk is told of later, and is no end
            queue.set_note(WHOSE, own)
    return is_others


def link_before(queue: DurableQueue, path: Path, first_epoch: int, epoch: int) -> bytes | None:
    """The old chain's link that the new key's first message reveals, while that may be due."""
    kept = queue.note(BRIDGE)
    if not kept:
        return None
    since, first, length, name = json.loads(kept)
    if since != first_epoch or epoch > since + BRIDGED_EPOCHS or not length:
        return None
    try:
        chain = SecretChain(load_seed(path.with_name(name)), first, length)
    except UserError:  # without the old key there is no first message: the second is
        return None
    return chain.link(since - 1) if chain.covers(since - 1) else None


def own_chain(
    queue: DurableQueue, path: Path, seed: bytes, network: Network, length: int, wall_ns: int
) -> SecretChain:
    """The secrets of a hotspot: those that its queue names, else new ones from the next epoch."""
    epoch = network.params.epoch_at(network.start_ms, wall_ns // 1_000_000)
    kept = queue.note("chain")
    if kept is None:
        kept = json.dumps([epoch + 1, length]).encode()
        queue.set_note("chain", kept)
    first_epoch, length = json.loads(kept)
    chain = load_chain(path.with_name(f"{path.name}.links"), seed, first_epoch, length)
    chain.before = link_before(queue, path, first_epoch, epoch)
    return chain


class KeyChange:
    """The daemon's part: it learns of a plan while it runs, and of one that is none of its own."""

    def __init__(self, queue: DurableQueue, path: Path) -> None:
        self._queue = queue
        self._path = path
        self._plan: Plan | None = None
        self._objected = b""
        self.look()

    def look(self) -> None:
        """See whether the owner planned something meanwhile."""
        self._plan = read_plan(self._queue)

    def is_due(self, epoch: int) -> bool:
        """Whether the new key speaks in this epoch."""
        plan = self._plan
        return plan is not None and plan.state == ACCEPTED and epoch >= plan.from_epoch

    def carry_out(self) -> None:
        """Change over; then the daemon has to start anew."""
        if self._plan is not None:
            change_over(self._queue, self._path, self._plan)

    def hear(
        self, rotation: dict[str, Any] | None, node: HotspotNode, network_id: bytes
    ) -> bytes | None:
        """What the ledger says of a next key; an objection to submit if it isn't of our making."""
        if rotation is None or node.index < 0:
            return None
        plan, identifier = self._plan, bytes.fromhex(rotation["id"])
        if plan is not None and rotation["new_key"] == plan.new_key:
            if plan.state == ASKED:  # the answer was lost on its way to who asked
                plan = replace(plan, state=ACCEPTED, from_epoch=rotation["from_epoch"])
                write_plan(self._queue, plan)
                self._plan = plan
            return None
        if rotation["by"] != "owner" or identifier == self._objected:
            return None
        self._objected = identifier
        record = KeyRotationObjection(node.index, identifier)
        return seal(record, network_id, [node.identity.seed]).wire
