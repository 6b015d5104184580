"""The ledger as an application of a consensus engine: a pure machine from request to response.

| request | what it does here |
|---|---|
| Info, InitChain | where the books stand; engine and ledger must be of one network |
| CheckTx | shape, size, signatures, known records, in the committed state; changes nothing |
| PrepareProposal | drop what is malformed or known, keep order and size |
| ProcessProposal | refuse what no honest proposer sends; shape and time alone decide: all agree |
| FinalizeBlock | run the rules at the block's time: validator faults, then transactions in order |
| Commit | make durable what FinalizeBlock did, with the engine's height beside it |
| ListSnapshots, LoadSnapshotChunk | what a settlement left on the disk; chain/abci/snapshots.py |
| OfferSnapshot, ApplySnapshotChunk | start from one, once all its rows have the header's root |

A block of the engine becomes one block of the ledger, or none if it changes nothing, and the
application hash is the hash of the newest ledger header. A block whose time closes a settlement
carries no transactions, so that the state after it has the root that its header names. What is
executed is in memory only until Commit; after a crash in between the engine shows the block again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chain import cbor, wire
from chain.abci import messages as m
from chain.abci.protobuf import Message
from chain.abci.snapshots import FORMAT, Restoring, build_state, decode_manifest
from chain.abci.transactions import Batch, Batches
from chain.abci.validators import (
    Powers,
    Standing,
    get_faults,
    get_updates,
    get_wanted_powers,
)
from chain.ledger import Ledger
from chain.records import Refusal, Signed, SubmitResult
from chain.rules.signatures import get_signature_checks
from chain.state import State

APP_VERSION = 1
VERSION = "wavecomb 1"
MAX_QUERY_BYTES = 256


class Books(Protocol):
    """What the machine needs of a durable ledger."""

    @property
    def ledger(self) -> Ledger:
        """The rules and their state."""

    @property
    def genesis(self) -> Signed:
        """The record that the ledger begins with."""

    def save(self, standing: Standing) -> None:
        """Make every block so far durable, with the standing; UserError if the disk refuses."""

    def is_known(self, record_id: bytes) -> bool:
        """Whether the log holds a record."""

    def take_snapshot(self, height: int) -> None:
        """Begin to keep the state as it is on the disk now, for others; a failure is no harm."""

    def list_snapshots(self) -> Sequence[m.Snapshot]:
        """The snapshots that are whole."""

    def load_chunk(self, height: int, number: int) -> bytes:
        """A chunk of one of them; empty if there is none."""

    def restore(self, restoring: Restoring, state: State, standing: Standing) -> None:
        """Make a snapshot the ledger, durably; UserError if the disk refuses."""


class Verifier(Protocol):
    """What checks signatures on all cores and remembers them: `io_verify.VerifyPool`."""

    def prefetch(self, state: State, records: Iterable[Signed]) -> int:
        """Verify ahead what the rules will ask about these records."""

    def verify(
        self, key: bytes, name: str, network_id: bytes, body: bytes, signature: bytes
    ) -> bool:
        """As chain.keys.verify."""


@dataclass(frozen=True, slots=True)
class Executed:
    """A transaction that a block holds, and what became of each of its records."""

    tx_hash: bytes
    results: tuple[SubmitResult, ...]


class ChainError(Exception):
    """The engine asks for something that can't be: it must stop before states differ."""


class Application:
    """Answers every request of the engine, in the order in which they come.

    `on_commit` is told what became of the transactions of a block once it is durable.
    """

    def __init__(
        self,
        books: Books,
        standing: Standing,
        verifier: Verifier,
        on_commit: Callable[[int, Sequence[Executed]], None] | None = None,
        first_powers: Powers | None = None,
    ) -> None:
        self.books = books
        self.standing = standing
        self._verifier = verifier
        self._on_commit = on_commit
        self._first_powers = first_powers or {}
        self._batches = Batches()
        self._executed: list[Executed] = []
        self._settled = False
        self._restoring: Restoring | None = None

    def handle(self, request: Message) -> Message:
        """The response; an ExceptionResponse, after which the engine stops, where none is right."""
        try:
            return self._respond(request)
        except ChainError as error:
            return m.ExceptionResponse(str(error))

    def _respond(self, request: Message) -> Message:
        match request:
            case m.CheckTxRequest():
                return self._check_tx(request)
            case m.FinalizeBlockRequest():
                return self._finalize_block(request)
            case m.CommitRequest():
                return self._commit()
            case m.PrepareProposalRequest():
                return self._prepare_proposal(request)
            case m.ProcessProposalRequest():
                return self._process_proposal(request)
            case m.EchoRequest():
                return m.EchoResponse(request.message)
            case m.FlushRequest():
                return m.FlushResponse()
            case m.InfoRequest():
                return self._info()
            case m.InitChainRequest():
                return self._init_chain(request)
            case m.QueryRequest():
                return self._query(request)
            case m.ExtendVoteRequest():
                return m.ExtendVoteResponse()
            case m.VerifyVoteExtensionRequest():
                return _verify_vote_extension(request)
            case m.OfferSnapshotRequest():
                return self._offer_snapshot(request)
            case m.ApplySnapshotChunkRequest():
                return self._apply_chunk(request)
            case m.LoadSnapshotChunkRequest():
                chunk = self.books.load_chunk(request.height, request.chunk)
                return m.LoadSnapshotChunkResponse(chunk if request.format == FORMAT else b"")
            case _:
                return m.ListSnapshotsResponse(tuple(self.books.list_snapshots()))

    # Handshake

    def _info(self) -> Message:
        head = self.books.ledger.head.hash() if self.standing.height else b""
        return m.InfoResponse("wavecomb", VERSION, APP_VERSION, self.standing.height, head)

    def _init_chain(self, request: m.InitChainRequest) -> Message:
        """The engine's genesis must carry our genesis record, and name Ed25519 validators."""
        ledger = self.books.ledger
        if get_genesis_id(request.app_state_bytes) != ledger.network_id:
            raise ChainError("genesis: app_state is of another network; take the network's file")
        keys = [(v.pub_key.ed25519 if v.pub_key else b"", v.power) for v in request.validators]
        if any(len(key) != 32 for key, _ in keys):
            raise ChainError("genesis: a validator has no Ed25519 key; make the file anew")
        if self.standing.height:
            raise ChainError("genesis: this ledger has blocks already; take an empty folder")
        self.standing = Standing(genesis=dict(keys), powers=dict(keys))
        self.books.save(self.standing)
        return m.InitChainResponse(ledger.head.hash())

    # Mempool

    def _check_tx(self, request: m.CheckTxRequest) -> Message:
        refusal = self.screen(request.tx)
        if refusal is None:
            return m.CheckTxResponse()
        return m.CheckTxResponse(m.CODE_REFUSED, refusal.detail, refusal.reason)

    def screen(self, tx: bytes) -> Refusal | None:
        """Why a transaction may not wait for a block, if so."""
        batch = self._batches.get(tx)
        if isinstance(batch, Refusal):
            return batch
        if all(self.books.is_known(signed.record_id) for signed in batch.records):
            return Refusal("already", "transaction: all its records are on the ledger; drop it")
        self._verify_ahead([batch])
        for number, signed in enumerate(batch.records):
            if refusal := self.screen_record(signed):
                return Refusal(refusal.reason, f"record {number}: {refusal.detail}")
        return None

    def screen_record(self, signed: Signed) -> Refusal | None:
        """Why a record can't be taken in the committed state, as far as its signatures say."""
        state = self.books.ledger.state
        checks = get_signature_checks(state, signed)
        for key, name, body, signature in checks:
            if not self._verifier.verify(key, name, state.network_id, body, signature):
                return Refusal("bad_signature", f"{signed.record.NAME}: sign it with its own keys")
        if signed.signatures and not checks:
            return Refusal("unknown_signer", f"{signed.record.NAME}: who signs is not known yet")
        return None

    # Proposals

    def _prepare_proposal(self, request: m.PrepareProposalRequest) -> Message:
        """What this validator proposes: known and malformed transactions stay out."""
        kept: list[bytes] = []
        seen: set[bytes] = set()
        room = request.max_tx_bytes
        for tx in () if self._settles(request.time) else request.txs:
            batch = self._batches.get(tx)
            size = tx_overhead(tx) + len(tx)
            if isinstance(batch, Refusal) or size > room:
                continue
            fresh = {
                signed.record_id
                for signed in batch.records
                if signed.record_id not in seen and not self.books.is_known(signed.record_id)
            }
            if fresh:
                seen |= fresh
                kept.append(tx)
                room -= size
        return m.PrepareProposalResponse(tuple(kept))

    def _process_proposal(self, request: m.ProcessProposalRequest) -> Message:
        """Only what every node computes alike may decide here, or honest nodes would split."""
        if request.time is None or request.time.ms < self.books.ledger.state.time_ms:
            return m.ProcessProposalResponse(m.REJECT)
        decoded = [self._batches.get(tx) for tx in request.txs]
        batches = [batch for batch in decoded if isinstance(batch, Batch)]
        twice = len({batch.tx_hash for batch in batches}) < len(decoded)
        if twice or (request.txs and self._settles(request.time)):
            return m.ProcessProposalResponse(m.REJECT)
        self._verify_ahead(batches)
        return m.ProcessProposalResponse(m.ACCEPT)

    def _settles(self, time: m.Timestamp | None) -> bool:
        """Whether a block of this time closes a settlement."""
        state = self.books.ledger.state
        epoch = state.params.epoch_at(state.genesis.start_ms, time.ms if time else 0)
        every = state.params.settlement_epochs
        return epoch // every > state.epoch // every

    def _verify_ahead(self, batches: Iterable[Batch]) -> None:
        """Verify what this node has not seen in its mempool, all of it together."""
        fresh = [batch for batch in batches if not self._batches.is_verified(batch)]
        records = [signed for batch in fresh for signed in batch.records]
        self._verifier.prefetch(self.books.ledger.state, records)
        for batch in fresh:
            self._batches.note_verified(batch)

    # Execution

    def _finalize_block(self, request: m.FinalizeBlockRequest) -> Message:
        if request.height != self.standing.height + 1 and self.standing.height:
            raise ChainError(
                f"height: block {request.height} after {self.standing.height};"
                " restore a copy of the folder"
            )
        if request.time is None:
            raise ChainError("time: the block has none; use an engine that speaks ABCI 2.0")
        decoded = [self._batches.get(tx) for tx in request.txs]
        batches = [batch for batch in decoded if isinstance(batch, Batch)]
        ledger = self.books.ledger
        self._verify_ahead(batches)
        faults = [wire.seal(f, b"", []).wire for f in get_faults(request.misbehavior)]
        records = [signed for batch in batches for signed in batch.records]
        self._settled = self._settles(request.time) and not records and not faults
        results = ledger.submit(records, request.time.ms, faults)
        self._executed = _share_out(batches, results)
        updates = self._move_on(request.height)
        of = {executed.tx_hash: executed for executed in self._executed}
        return m.FinalizeBlockResponse(
            tuple(
                _tx_result(of[batch.tx_hash]) if isinstance(batch, Batch) else _malformed(batch)
                for batch in decoded
            ),
            tuple(updates),
            ledger.head.hash(),
        )

    def _move_on(self, height: int) -> list[m.ValidatorUpdate]:
        """Take the new height and powers into the standing; what the engine must be told."""
        before = self.standing
        powers = get_wanted_powers(before, self.books.ledger.state)
        self.standing = replace(before, height=height, powers=powers)
        return get_updates(before.powers, powers)

    def _commit(self) -> Message:
        self.books.save(self.standing)
        executed, self._executed = self._executed, []
        if self._settled:
            self.books.take_snapshot(self.standing.height)
        if self._on_commit is not None:
            self._on_commit(self.standing.height, executed)
        return m.CommitResponse()

    # Starting late

    def _offer_snapshot(self, request: m.OfferSnapshotRequest) -> Message:
        """Take a snapshot whose header has the hash that the engine's light client vouches for."""
        offered = request.snapshot
        if offered is None or offered.format != FORMAT:
            return m.OfferSnapshotResponse(m.SNAPSHOT_REJECT_FORMAT)
        manifest = decode_manifest(offered.metadata, request.app_hash)
        if isinstance(manifest, Refusal) or len(manifest.chunks) != offered.chunks:
            return m.OfferSnapshotResponse(m.SNAPSHOT_REJECT)
        if self.standing.height:
            return m.OfferSnapshotResponse(m.SNAPSHOT_ABORT)
        self._restoring = Restoring(manifest, offered.height)
        return m.OfferSnapshotResponse(m.SNAPSHOT_ACCEPT)

    def _apply_chunk(self, request: m.ApplySnapshotChunkRequest) -> Message:
        """Take a chunk; after the last the state must have the header's root."""
        restoring = self._restoring
        if restoring is None:
            return m.ApplySnapshotChunkResponse(m.CHUNK_ABORT)
        if not restoring.add(request.index, request.chunk):
            return m.ApplySnapshotChunkResponse(
                m.CHUNK_RETRY, (request.index,), (request.sender,) if request.sender else ()
            )
        if not restoring.is_complete:
            return m.ApplySnapshotChunkResponse(m.CHUNK_ACCEPT)
        self._restoring = None
        state = build_state(self.books.genesis, restoring.manifest.header, restoring.rows)
        if isinstance(state, Refusal):
            return m.ApplySnapshotChunkResponse(m.CHUNK_REJECT_SNAPSHOT)
        first = Standing(restoring.height, self._first_powers, self._first_powers)
        self.standing = replace(first, powers=get_wanted_powers(first, state))
        self.books.restore(restoring, state, self.standing)
        return m.ApplySnapshotChunkResponse(m.CHUNK_ACCEPT)

    # Questions

    def _query(self, request: m.QueryRequest) -> Message:
        """`/head`: the newest header; `/record`: whether the log holds the record id in `data`."""
        height = self.standing.height
        if len(request.data) > MAX_QUERY_BYTES:
            return m.QueryResponse(m.CODE_REFUSED, "data: too long; at most 256 bytes")
        if request.path == "/head":
            return m.QueryResponse(value=self.books.ledger.head.encode(), height=height)
        if request.path == "/record":
            known = self.books.is_known(request.data)
            return m.QueryResponse(key=request.data, value=bytes([known]), height=height)
        return m.QueryResponse(m.CODE_REFUSED, "path: unknown; ask for /head or /record")


def tx_overhead(tx: bytes) -> int:
    """Bytes that the engine's encoding of a list of transactions adds to one: tag and length."""
    return 1 + max(1, len(tx).bit_length() + 6 >> 3 if len(tx) < 1 << 56 else 10) + 1


def get_genesis_id(app_state: bytes) -> bytes:
    """The record id of the genesis in the engine's app_state, {"genesis": HEX}; empty if none."""
    try:
        value = json.loads(app_state)
        return wire.record_id_of(bytes.fromhex(value["genesis"]))
    except (ValueError, KeyError, TypeError):
        return b""


def _verify_vote_extension(request: m.VerifyVoteExtensionRequest) -> Message:
    """Extensions are not enabled, so the only one that is right is none."""
    return m.VerifyVoteExtensionResponse(m.REJECT if request.vote_extension else m.ACCEPT)


def _share_out(batches: Sequence[Batch], results: Sequence[SubmitResult]) -> list[Executed]:
    """The results of a block, transaction by transaction."""
    executed, at = [], 0
    for batch in batches:
        end = at + len(batch.records)
        executed.append(Executed(batch.tx_hash, tuple(results[at:end])))
        at = end
    return executed


def _tx_result(executed: Executed) -> m.ExecTxResult:
    """Code and data are hashed by the engine, so they hold what can't be worded differently."""
    data = [
        (int(result.accepted), 0 if result.index is None else result.index + 1, result.reason)
        for result in executed.results
    ]
    refused = [result for result in executed.results if not result.accepted]
    code = m.CODE_REFUSED if refused else m.CODE_OK
    return m.ExecTxResult(code, cbor.encode(data), refused[0].detail if refused else "")


def _malformed(refusal: Refusal) -> m.ExecTxResult:
    """A transaction that got into a block though it holds no records: it changes nothing."""
    return m.ExecTxResult(m.CODE_REFUSED, cbor.encode([]), refusal.detail)
