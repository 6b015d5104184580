"""The daemon's side of `hotspot/voice.py`: the mark beside the key, and the word of the ledger."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, UserError
from chain.io_client import LedgerClient, LedgerRefused
from chain.records import EpochMessage
from hotspot.actions import Action, SubmitRecord
from hotspot.io_network import Network
from hotspot.io_queue import TYPE_BYTE, DurableQueue
from hotspot.io_rotation import read_plan
from hotspot.io_uplink import OwnerKnown, is_former
from hotspot.node import Memory
from hotspot.secrets import SecretChain
from hotspot.voice import (
    SILENT_EPOCHS,
    Hold,
    Mark,
    Whose,
    compute_speech,
    follow,
    judge,
    parse_mark,
)

HOLD = "hold"
Ask = Callable[[bytes], None]  # finds out whether the ledger has the record of this id


def mark_file(key_file: Path) -> Path:
    """Where the mark of a key is kept."""
    return key_file.with_name(f"{key_file.name}.mark")


class Voice:
    """What this key has signed as far as anybody knows, and whether this process may speak."""

    def __init__(self, queue: DurableQueue, key_file: Path, network: Network, key: bytes) -> None:
        self.is_open = False  # whether messages may leave
        self.is_over = False  # whether all that is known changed: the daemon starts anew
        self._queue = queue
        self._path = mark_file(key_file)
        self._key = key
        self._begun = False
        self._speech = ""
        self._asked: tuple[bytes, int] | None = None  # record id, the ledger's newest epoch
        self._epoch = network.epoch or 0  # the ledger's, when it was last heard
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        self._mark = parse_mark(text, network.network_id, key)
        kept = queue.note(HOLD)
        self.hold = Hold(**json.loads(kept)) if kept else None
        self._memory = queue.memory(key)
        self._last_epoch = self._memory.last_message_epoch
        self.older = self._compare()

    def _compare(self) -> str | None:
        """What to say where the queue is older than the mark, which then tells what was sent."""
        marked, kept = self._mark.message_epoch, self._last_epoch
        if marked <= kept:
            return None
        with contextlib.suppress(UserError):  # a full disk: the same is found at the next start
            self._queue.note_settled(self._key, marked)
        self._last_epoch = marked
        return f"the queue here ends with epoch {kept}, but this key signed up to epoch {marked}"

    # --- the start

    def meet(self, client: LedgerClient, network: Network) -> None:
        """Ask the ledger, if it just answered, what it has of this key; take up its chain.

        Raises UserError where the key was replaced by another.
        """
        if network.epoch is None:
            return
        try:
            spot = client.find(f"/v1/hotspots/{self._key.hex()}")
            if spot is not None:
                self._refuse_former(spot)
                self._take_chain(spot, network.epoch)
            last = -1 if spot is None or spot["last_epoch"] is None else spot["last_epoch"]
            self.hear(last, network.epoch, lambda one: self.know(one, _has(client, one)))
        except (OSError, LedgerRefused):
            return
        if self.is_over:  # it has only begun: what was learnt is known to all that follows
            self.is_over = False
            self.is_open = self.hold is None

    def _refuse_former(self, spot: dict[str, Any]) -> None:
        if read_plan(self._queue) is None and is_former(spot, self._key):
            problem = f"{self._key.hex()[:16]} gave way to {spot['key'][:16]}: this is an old copy"
            remedy = "put back the newer one from its paper: wavecomb hotspot key restore"
            raise UserError("key_file", problem, remedy, exit_code=EXIT_FAILED)

    def _take_chain(self, spot: dict[str, Any], epoch: int) -> None:
        """Use the secrets that the ledger knows, where they are newer: it needs no others."""
        if read_plan(self._queue) is not None:  # the change of keys brings its own
            return
        kept = self._queue.note("chain")
        newest = json.loads(kept)[0] if kept else -1
        first_epoch, length = spot["first_epoch"], spot["chain_length"]
        if first_epoch > newest and first_epoch + length > epoch + SILENT_EPOCHS:
            with contextlib.suppress(UserError):
                self._queue.set_note("chain", json.dumps([first_epoch, length]).encode())

    def remember(self, secrets: SecretChain, cell: int) -> Memory:
        """What the node must know: up to which epoch all is signed, and where it stays silent."""
        self._speech = compute_speech(secrets.first_epoch, secrets.length, cell)
        settled = self._queue.settled_epoch(self._key)
        self._memory.last_message_epoch = max(self._last_epoch, settled)
        if self._mark.speaks != self._speech:
            self._memory.quiet_epoch = self._mark.beacon_epoch
        return self._memory

    # --- what the daemon asks

    def troubles(self) -> tuple[str | None, str | None]:
        """(why what is kept here is old, who else signs), where that is so."""
        if self.hold is None:
            return self.older, None
        return (None, self.hold.detail) if self.hold.is_twin else (self.hold.detail, None)

    @property
    def told(self) -> str:
        """What the log says when the daemon starts anew because of this."""
        return self.hold.detail if self.hold else "nobody else signs with this key: it goes on"

    def may_begin(self) -> bool:
        """Whether messages may leave since now; True once."""
        begins, self._begun = self.is_open and not self._begun, self._begun or self.is_open
        return begins

    # --- the ledger's word

    def hear_owner(self, known: OwnerKnown, ask: Ask) -> None:
        """What the ledger tells each minute."""
        if known.is_former and read_plan(self._queue) is None:
            self.is_over = True  # `meet` says why it can't go on
            return
        self.hear(-1 if known.last_epoch is None else known.last_epoch, known.epoch, ask)

    def hear(self, last_epoch: int, epoch: int, ask: Ask) -> None:
        """In this epoch the ledger's newest message of the key is for `last_epoch`, -1: none."""
        self._epoch, last_epoch = epoch, min(last_epoch, epoch)
        if self.hold is not None:
            hold = follow(self.hold, last_epoch, epoch)
            if hold != self.hold:
                self._keep(hold)
            if hold is None:
                self._settle(last_epoch)
                self.is_over = True
            return
        waiting = None if self.is_open else self._queue.find_message(self._key, last_epoch)
        signed = self._last_epoch if self.is_open else -1
        whose = judge(last_epoch, max(signed, self._queue.settled_epoch(self._key)), waiting)
        if whose is Whose.OURS:
            self._open(last_epoch)
        elif whose is Whose.UNKNOWN and waiting is not None:
            self._asked = waiting, last_epoch
            ask(waiting)
        else:
            self._be_silent(Hold(epoch, last_epoch))

    def know(self, record_id: bytes, is_known: bool) -> None:
        """Whether the ledger has the record that was asked for."""
        if self._asked is None or self._asked[0] != record_id:
            return
        _, last_epoch = self._asked
        self._asked = None
        if is_known:
            self._open(last_epoch)
        else:
            self._be_silent(Hold(self._epoch, last_epoch))

    def note_fork(self) -> None:
        """The ledger refused a message: it has another one for that epoch."""
        if self.hold is None:
            epoch = max(self._epoch, self._last_epoch)
            self._be_silent(Hold(epoch, self._last_epoch, is_twin=True))

    def _open(self, last_epoch: int) -> None:
        if not self.is_open:
            self._settle(last_epoch)
            self.is_open = True

    def _settle(self, last_epoch: int) -> None:
        with contextlib.suppress(UserError):  # they are sent once more, as ever: harmless
            self._queue.note_settled(self._key, last_epoch)

    def _be_silent(self, hold: Hold) -> None:
        self._keep(hold)
        self.is_open, self.is_over = False, True

    def _keep(self, hold: Hold | None) -> None:
        self.hold = hold
        with contextlib.suppress(UserError):  # the ledger says the same after the next start
            told = json.dumps(asdict(hold)).encode() if hold else b""
            self._queue.set_note(HOLD, told)

    # --- the mark

    def note_signed(self, actions: Sequence[Action]) -> None:
        """These are stored and about to leave: keep the newest epoch of messages among them."""
        epochs = [
            action.epoch
            for action in actions
            if isinstance(action, SubmitRecord)
            and action.epoch is not None
            and action.wire[TYPE_BYTE] == EpochMessage.TYPE
        ]
        if epochs and max(epochs) > self._last_epoch:
            self._last_epoch, self.older = max(epochs), None
            self._write(replace(self._mark, message_epoch=self._last_epoch))

    def note_beacon(self, epoch: int) -> None:
        """A beacon is about to leave: keep what those of this epoch say."""
        if epoch != self._mark.beacon_epoch:
            self._write(replace(self._mark, beacon_epoch=epoch, speaks=self._speech))

    def _write(self, mark: Mark) -> None:
        """Keep a mark; where that can't be done, the ledger's word has to do."""
        self._mark = mark
        draft = self._path.with_name(f"{self._path.name}.draft")
        with contextlib.suppress(OSError):
            draft.write_text(mark.encode(), encoding="utf-8")
            os.replace(draft, self._path)


def _has(client: LedgerClient, record_id: bytes) -> bool:
    return client.find_record(record_id) is not None
