"""ABCI 2.0, the messages between the consensus engine and an application, with field numbers.

Source of the numbers: CometBFT v0.38.25, proto/tendermint/abci/types.proto and what it imports.
Fields that this application neither reads nor writes are left out; the decoder skips them.
"""

# ruff: noqa: RUF009 -- `one` makes a dataclass field, not a shared default.
from __future__ import annotations

from dataclasses import dataclass

from chain.abci.protobuf import (
    Message,
    ProtobufError,
    encode_varint,
    integer,
    iter_fields,
    many,
    octets,
    one,
    text,
    unsigned,
)
from chain.records import Refusal

# CheckTx and ExecTxResult: 0 is success, anything else a refusal.
CODE_OK, CODE_REFUSED = 0, 1
ACCEPT, REJECT = 1, 2  # of proposals and vote extensions
SNAPSHOT_ACCEPT, SNAPSHOT_ABORT, SNAPSHOT_REJECT, SNAPSHOT_REJECT_FORMAT = 1, 2, 3, 4
CHUNK_ACCEPT, CHUNK_ABORT, CHUNK_RETRY, CHUNK_REJECT_SNAPSHOT = 1, 2, 3, 5
DUPLICATE_VOTE, LIGHT_CLIENT_ATTACK = 1, 2


@dataclass(frozen=True, slots=True)
class Timestamp(Message):
    """Seconds since 1970 UTC and nanoseconds."""

    seconds: int = integer(1)
    nanos: int = integer(2)

    @property
    def ms(self) -> int:
        """Whole milliseconds since 1970 UTC."""
        return self.seconds * 1_000 + self.nanos // 1_000_000


@dataclass(frozen=True, slots=True)
class PublicKey(Message):
    """A validator's key; only Ed25519 is used here."""

    ed25519: bytes = octets(1)
    secp256k1: bytes = octets(2)


@dataclass(frozen=True, slots=True)
class ValidatorUpdate(Message):
    """A validator's power from now on; 0 removes it."""

    pub_key: PublicKey | None = one(1, PublicKey)
    power: int = integer(2)


@dataclass(frozen=True, slots=True)
class Validator(Message):
    """A validator by its address, the first 20 bytes of SHA-256 of its key."""

    address: bytes = octets(1)
    power: int = integer(3)


@dataclass(frozen=True, slots=True)
class Misbehavior(Message):
    """Evidence that the engine has checked: who signed two things, when, and at which height."""

    kind: int = unsigned(1)
    validator: Validator | None = one(2, Validator)
    height: int = integer(3)
    time: Timestamp | None = one(4, Timestamp)
    total_voting_power: int = integer(5)


@dataclass(frozen=True, slots=True)
class Snapshot(Message):
    """A state that can be fetched in chunks."""

    height: int = unsigned(1)
    format: int = unsigned(2)
    chunks: int = unsigned(3)
    hash: bytes = octets(4)
    metadata: bytes = octets(5)


@dataclass(frozen=True, slots=True)
class EchoRequest(Message):
    """Say it back."""

    message: str = text(1)


@dataclass(frozen=True, slots=True)
class FlushRequest(Message):
    """Send what is waiting."""


@dataclass(frozen=True, slots=True)
class InfoRequest(Message):
    """Ask which block was committed last."""

    version: str = text(1)
    block_version: int = unsigned(2)
    p2p_version: int = unsigned(3)
    abci_version: str = text(4)


@dataclass(frozen=True, slots=True)
class InitChainRequest(Message):
    """The engine's genesis; `app_state_bytes` is its JSON member app_state."""

    time: Timestamp | None = one(1, Timestamp)
    chain_id: str = text(2)
    validators: tuple[ValidatorUpdate, ...] = many(4, ValidatorUpdate)
    app_state_bytes: bytes = octets(5)
    initial_height: int = integer(6)


@dataclass(frozen=True, slots=True)
class QueryRequest(Message):
    """A question about the committed state."""

    data: bytes = octets(1)
    path: str = text(2)
    height: int = integer(3)
    prove: int = unsigned(4)


@dataclass(frozen=True, slots=True)
class CheckTxRequest(Message):
    """May this transaction wait in the mempool? `kind` 1 asks again after a block."""

    tx: bytes = octets(1)
    kind: int = unsigned(2)


@dataclass(frozen=True, slots=True)
class CommitRequest(Message):
    """Keep what the last FinalizeBlock did."""


@dataclass(frozen=True, slots=True)
class ListSnapshotsRequest(Message):
    """Ask which snapshots there are."""


@dataclass(frozen=True, slots=True)
class OfferSnapshotRequest(Message):
    """A peer has this snapshot; a light client checked `app_hash` of its height."""

    snapshot: Snapshot | None = one(1, Snapshot)
    app_hash: bytes = octets(2)


@dataclass(frozen=True, slots=True)
class LoadSnapshotChunkRequest(Message):
    """Give a chunk to a peer."""

    height: int = unsigned(1)
    format: int = unsigned(2)
    chunk: int = unsigned(3)


@dataclass(frozen=True, slots=True)
class ApplySnapshotChunkRequest(Message):
    """A chunk that a peer sent."""

    index: int = unsigned(1)
    chunk: bytes = octets(2)
    sender: str = text(3)


@dataclass(frozen=True, slots=True)
class PrepareProposalRequest(Message):
    """Choose the transactions of the block that this validator proposes."""

    max_tx_bytes: int = integer(1)
    txs: tuple[bytes, ...] = many(2, "bytes")
    misbehavior: tuple[Misbehavior, ...] = many(4, Misbehavior)
    height: int = integer(5)
    time: Timestamp | None = one(6, Timestamp)


@dataclass(frozen=True, slots=True)
class ProcessProposalRequest(Message):
    """Ask whether a proposed block is acceptable."""

    txs: tuple[bytes, ...] = many(1, "bytes")
    misbehavior: tuple[Misbehavior, ...] = many(3, Misbehavior)
    hash: bytes = octets(4)
    height: int = integer(5)
    time: Timestamp | None = one(6, Timestamp)


@dataclass(frozen=True, slots=True)
class ExtendVoteRequest(Message):
    """Add something to a precommit; not enabled."""

    hash: bytes = octets(1)
    height: int = integer(2)


@dataclass(frozen=True, slots=True)
class VerifyVoteExtensionRequest(Message):
    """Check what another validator added."""

    hash: bytes = octets(1)
    validator_address: bytes = octets(2)
    height: int = integer(3)
    vote_extension: bytes = octets(4)


@dataclass(frozen=True, slots=True)
class FinalizeBlockRequest(Message):
    """Execute a decided block."""

    txs: tuple[bytes, ...] = many(1, "bytes")
    misbehavior: tuple[Misbehavior, ...] = many(3, Misbehavior)
    hash: bytes = octets(4)
    height: int = integer(5)
    time: Timestamp | None = one(6, Timestamp)
    proposer_address: bytes = octets(8)


@dataclass(frozen=True, slots=True)
class ExceptionResponse(Message):
    """The application can't go on; the engine stops."""

    error: str = text(1)


@dataclass(frozen=True, slots=True)
class EchoResponse(Message):
    """What was said."""

    message: str = text(1)


@dataclass(frozen=True, slots=True)
class FlushResponse(Message):
    """Everything before it was answered."""


@dataclass(frozen=True, slots=True)
class InfoResponse(Message):
    """Where the application stands; the engine replays what is missing."""

    data: str = text(1)
    version: str = text(2)
    app_version: int = unsigned(3)
    last_block_height: int = integer(4)
    last_block_app_hash: bytes = octets(5)


@dataclass(frozen=True, slots=True)
class InitChainResponse(Message):
    """The state before the first block."""

    app_hash: bytes = octets(3)


@dataclass(frozen=True, slots=True)
class QueryResponse(Message):
    """An answer from the state after block `height`."""

    code: int = unsigned(1)
    log: str = text(3)
    key: bytes = octets(6)
    value: bytes = octets(7)
    height: int = integer(9)


@dataclass(frozen=True, slots=True)
class CheckTxResponse(Message):
    """Code 0 lets the transaction wait; `log` says why not."""

    code: int = unsigned(1)
    log: str = text(3)
    codespace: str = text(8)


@dataclass(frozen=True, slots=True)
class CommitResponse(Message):
    """Blocks below `retain_height` may be dropped; 0 keeps all."""

    retain_height: int = integer(3)


@dataclass(frozen=True, slots=True)
class ListSnapshotsResponse(Message):
    """The snapshots that peers may fetch."""

    snapshots: tuple[Snapshot, ...] = many(1, Snapshot)


@dataclass(frozen=True, slots=True)
class OfferSnapshotResponse(Message):
    """Whether to fetch the offered snapshot."""

    result: int = unsigned(1)


@dataclass(frozen=True, slots=True)
class LoadSnapshotChunkResponse(Message):
    """A chunk."""

    chunk: bytes = octets(1)


@dataclass(frozen=True, slots=True)
class ApplySnapshotChunkResponse(Message):
    """What became of a chunk, and whose chunks to fetch again or refuse."""

    result: int = unsigned(1)
    refetch_chunks: tuple[int, ...] = many(2, "uint")
    reject_senders: tuple[str, ...] = many(3, "text")


@dataclass(frozen=True, slots=True)
class PrepareProposalResponse(Message):
    """The transactions to propose."""

    txs: tuple[bytes, ...] = many(1, "bytes")


@dataclass(frozen=True, slots=True)
class ProcessProposalResponse(Message):
    """ACCEPT or REJECT."""

    status: int = unsigned(1)


@dataclass(frozen=True, slots=True)
class ExtendVoteResponse(Message):
    """Nothing is added."""

    vote_extension: bytes = octets(1)


@dataclass(frozen=True, slots=True)
class VerifyVoteExtensionResponse(Message):
    """ACCEPT or REJECT."""

    status: int = unsigned(1)


@dataclass(frozen=True, slots=True)
class ExecTxResult(Message):
    """Outcome of one transaction. Code and data are hashed into the next header; log is not."""

    code: int = unsigned(1)
    data: bytes = octets(2)
    log: str = text(3)


@dataclass(frozen=True, slots=True)
class FinalizeBlockResponse(Message):
    """Outcome of a block; the next header carries `app_hash`."""

    tx_results: tuple[ExecTxResult, ...] = many(2, ExecTxResult)
    validator_updates: tuple[ValidatorUpdate, ...] = many(3, ValidatorUpdate)
    app_hash: bytes = octets(5)


REQUESTS: dict[int, type[Message]] = {
    1: EchoRequest,
    2: FlushRequest,
    3: InfoRequest,
    5: InitChainRequest,
    6: QueryRequest,
    8: CheckTxRequest,
    11: CommitRequest,
    12: ListSnapshotsRequest,
    13: OfferSnapshotRequest,
    14: LoadSnapshotChunkRequest,
    15: ApplySnapshotChunkRequest,
    16: PrepareProposalRequest,
    17: ProcessProposalRequest,
    18: ExtendVoteRequest,
    19: VerifyVoteExtensionRequest,
    20: FinalizeBlockRequest,
}
RESPONSES: dict[int, type[Message]] = {
    1: ExceptionResponse,
    2: EchoResponse,
    3: FlushResponse,
    4: InfoResponse,
    6: InitChainResponse,
    7: QueryResponse,
    9: CheckTxResponse,
    12: CommitResponse,
    13: ListSnapshotsResponse,
    14: OfferSnapshotResponse,
    15: LoadSnapshotChunkResponse,
    16: ApplySnapshotChunkResponse,
    17: PrepareProposalResponse,
    18: ProcessProposalResponse,
    19: ExtendVoteResponse,
    20: VerifyVoteExtensionResponse,
    21: FinalizeBlockResponse,
}
_NUMBER_OF = {kind: number for table in (REQUESTS, RESPONSES) for number, kind in table.items()}
LENGTH_DELIMITED = 2
# The engine's largest block is 100 MB; this application's are far smaller (chain/params.py).
MAX_FRAME_BYTES = 32 << 20
MAX_PREFIX_BYTES = 5


def encode_frame(message: Message) -> bytes:
    """A request or response as the socket carries it: length, then the wrapping one-of."""
    body = message.encode()
    number = _NUMBER_OF[type(message)]
    wrapped = encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(body)) + body
    return encode_varint(len(wrapped)) + wrapped


def decode_request(frame: bytes) -> Message | Refusal:
    """The request in a frame without its length, or why it is none. Never raises."""
    return _unwrap(frame, REQUESTS)


def decode_response(frame: bytes) -> Message | Refusal:
    """The response in a frame without its length, or why it is none. Never raises."""
    return _unwrap(frame, RESPONSES)


def _unwrap(frame: bytes, table: dict[int, type[Message]]) -> Message | Refusal:
    try:
        wrapped = list(iter_fields(frame))
        if len(wrapped) != 1:
            return _bad(f"{len(wrapped)} values in a one-of")
        ((number, _, raw),) = wrapped
        if number not in table or not isinstance(raw, bytes):
            return _bad(f"method {number} is unknown")
        return table[number].decode(raw)
    except ProtobufError as error:
        return _bad(str(error))


def _bad(problem: str) -> Refusal:
    return Refusal("bad_shape", f"message: {problem}; use an engine that speaks ABCI 2.0")


class Deframer:
    """Cuts the bytes of a socket into frames, however they arrive; bounded in memory."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes] | Refusal:
        """The frames that are whole now; a Refusal for a length that no frame has: hang up."""
        self._held += data
        frames: list[bytes] = []
        at = 0
        while (span := self._span(at)) is not None:
            if isinstance(span, Refusal):
                return span
            start, end = span
            if end > len(self._held):
                break
            frames.append(bytes(self._held[start:end]))
            at = end
        del self._held[:at]
        return frames

    def _span(self, at: int) -> tuple[int, int] | Refusal | None:
        """Where the frame at a place starts and ends; None if its length isn't all there."""
        value = 0
        for position in range(at, min(at + MAX_PREFIX_BYTES, len(self._held))):
            byte = self._held[position]
            value |= (byte & 0x7F) << 7 * (position - at)
            if byte < 0x80:
                if value > self._max_bytes:
                    return _bad(f"a frame of {value} bytes, at most {self._max_bytes}")
                return position + 1, position + 1 + value
        return None if len(self._held) - at < MAX_PREFIX_BYTES else _bad("a frame without length")
