"""Publishes checkpoints: when an epoch closes its checkpoint is signed, cosigned, and served.

Records don't wait for it: signing is 20 us, and cosignatures are gathered in a thread of their own.
What came in time is on the note that is served; cosignatures of appointed cosigners also go on the
ledger, as records.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from chain import io_ledger, wire
from chain.admission import Close, Role
from chain.cli.io_light import write_whole
from chain.errors import UserError
from chain.io_keyring import Keyring
from chain.io_metrics import Metrics
from chain.proofs.checkpoint import Checkpoint, parse_checkpoint
from chain.proofs.io_cosign import Cosigner, Gathered, Gatherer
from chain.proofs.io_site import CHECKPOINT
from chain.proofs.note import (
    ED25519,
    TIMESTAMP_BYTES,
    Note,
    VerifierKey,
    parse_note,
    sign_note,
)
from chain.records import Cosignature, Randomness, Refusal
from chain.rules.appointments import get_first_members, get_keys, get_rows
from chain.service.io_sequencer import Engine
from chain.state import State
from chain.store.io_store import Store

POLL_S = 0.1
Published = Callable[[Note], Awaitable[None]]


def get_sequencer_names(state: State) -> dict[bytes, str]:
    """Key names of notes by key: sequencers in office first, then those that were before.

    A reader that has not heard of a new key yet still finds the old one's signature, as long as
    that key is in the ledger's folder.
    """
    names = {m.key: m.name for m in get_keys(state, Role.SEQUENCER, state.epoch)}
    for member in get_first_members(state, Role.SEQUENCER, [], state.epoch):
        names.setdefault(member.key, member.name)
    for key, row in get_rows(state, Role.SEQUENCER):
        if row.from_epoch <= state.epoch:
            names.setdefault(key, row.name)
    return {key: name for key, name in names.items() if name}


class Publisher:
    """Signs and serves the checkpoint of the newest epoch close."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        keyring: Keyring,
        cosigners: Sequence[Cosigner] = (),
        published: Published | None = None,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._keyring = keyring
        self._gatherer = Gatherer(cosigners)
        self.witnesses = tuple(cosigner.key for cosigner in cosigners)
        self._published = published
        self._task: asyncio.Task[None] | None = None
        self.note: Note | None = self._load()
        self.cosigned = 0
        self.problems: tuple[str, ...] = ()

    def _load(self) -> Note | None:
        """What was served before a restart."""
        path = self._keyring.directory / CHECKPOINT
        note = parse_note(path.read_bytes()) if path.is_file() else None
        return None if isinstance(note, Refusal) else note

    def start(self) -> None:
        """Start publishing; needs a running loop."""
        self._task = asyncio.create_task(self._publish())

    async def stop(self) -> None:
        """Stop; the newest note stays on the disk."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._gatherer.close()

    async def _publish(self) -> None:
        done = -1
        while True:
            state = self._engine.durable.ledger.state
            epoch = max(state.closes, default=-1)
            if epoch > done:  # even of an unchanged log: signers and times are new
                done = epoch
                with contextlib.suppress(UserError):  # the disk: the next close tries again
                    await self.publish(epoch, state.closes[epoch])
            await asyncio.sleep(POLL_S)

    async def publish(self, epoch: int, close: Close) -> None:
        """Sign one checkpoint, gather cosignatures, serve it."""
        began = time.perf_counter()
        note = self.sign(close.text)
        if note is None:
            return
        if self.note is None:
            self.note = note  # something signed is better than nothing while witnesses are asked
        gathered = await asyncio.to_thread(self._gather, note)
        self.problems, self.cosigned = gathered.problems, len(gathered.signatures)
        self.note = Note(note.text, (*note.signatures, *gathered.signatures))
        path = self._keyring.directory / CHECKPOINT
        await asyncio.to_thread(write_whole, path, self.note.encode())
        self._metrics.checkpoint.observe(time.perf_counter() - began)
        await self._record(epoch, gathered)
        if self._published is not None:
            await self._published(self.note)

    def sign(self, text: str) -> Note | None:
        """A checkpoint with the log's signatures; None if no sequencer's key is here."""
        signatures = []
        for key, name in get_sequencer_names(self._engine.durable.ledger.state).items():
            if (seed := self._keyring.seed(key)) is not None:
                signatures.append(sign_note(text, name, seed))
        return Note(text, tuple(signatures)) if signatures else None

    def _gather(self, note: Note) -> Gathered:
        """Ask all witnesses; proofs come from a connection of this thread's own."""
        store = Store.open(self._engine.durable.store.path, read_only=True)
        try:
            return self._gatherer.gather(note, store.log)
        finally:
            store.close()

    async def _record(self, epoch: int, gathered: Gathered) -> None:
        """Put what appointed cosigners gave on the ledger: signatures, and random outputs."""
        state = self._engine.durable.ledger.state
        members = {m.name: m.key for m in get_keys(state, Role.COSIGNER, epoch)}
        wires = []
        for signature in gathered.signatures:
            if signature.name in members:
                time_s = int.from_bytes(signature.blob[:TIMESTAMP_BYTES], "big")
                raw = signature.blob[TIMESTAMP_BYTES:]
                record = Cosignature(epoch, members[signature.name], time_s, raw)
                wires.append(wire.seal(record, state.network_id, []).wire)
        for name, proof in gathered.proofs.items():
            if name in members:  # late or wrong ones are refused, which harms nobody
                output = Randomness(epoch, members[name], proof)
                wires.append(wire.seal(output, state.network_id, []).wire)
        if wires:
            await self._engine.submit(wires)

    @property
    def age_s(self) -> int:
        """Seconds since the close that the newest checkpoint fixed; -1 if that is long ago."""
        ledger = self._engine.durable.ledger
        text = None if self.note is None else self.note.text
        closed = [epoch for epoch, close in ledger.state.closes.items() if close.text == text]
        if not closed:
            return -1
        end_ms = ledger.state.genesis.start_ms + (max(closed) + 1) * ledger.params.epoch_ms
        return (io_ledger.now_ms() - end_ms) // 1_000

    @property
    def size(self) -> int:
        """Records under the newest checkpoint."""
        checkpoint = None if self.note is None else parse_checkpoint(self.note.text)
        return checkpoint.size if isinstance(checkpoint, Checkpoint) else 0

    @property
    def keys(self) -> list[VerifierKey]:
        """The log's keys, as readers trust them."""
        names = get_sequencer_names(self._engine.durable.ledger.state)
        return [VerifierKey(name, ED25519, key) for key, name in names.items()]
