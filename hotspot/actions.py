"""What a sans-IO state machine asks of the world: values that a driver turns into effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Put a frame (radiotap and MPDU) on the air, `power_step_db` below full power."""

    frame: bytes
    power_step_db: int
    frequency_mhz: int


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send an overlay datagram to the neighbour with this hotspot index."""

    peer: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SubmitRecord:
    """Deliver a signed record to the ledger, at least once; it is already in the durable queue.

    `epoch` is what it is about, where that needn't be the epoch in which it leaves.
    """

    wire: bytes
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class KeepReceptions:
    """Store these 14-byte receptions of an epoch durably before they count as heard."""

    epoch: int
    receptions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FetchMix:
    """Ask the ledger for the public randomness of an epoch and hand it to `receive_mix`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class FetchSession:
    """Ask the ledger for a session and hand it to `receive_session`."""

    session: int


@dataclass(frozen=True, slots=True)
class FetchStandings:
    """Ask the ledger where sessions of a hotspot stand, and hand that to `receive_standings`."""

    hotspot: int
    sessions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FetchClaim:
    """Ask the ledger what became of a claim of a hotspot, and hand it to `receive_claim`."""

    hotspot: int
    claim: int


@dataclass(frozen=True, slots=True)
class KeepClaim:
    """Store this durably as the claim of this epoch, before any later action."""

    epoch: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DropClaim:
    """Forget the claim of this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class KeepReceipt:
    """Store this durably under the session, replacing what was there, before any later action."""

    session: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DropReceipt:
    """Forget what was stored under this session: its escrow has gone back."""

    session: int


@dataclass(frozen=True, slots=True)
class KeepJob:
    """Store this durably under the name, replacing what was there, before any later action."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DropJob:
    """Forget what `KeepJob` stored under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class DropFile:
    """Remove the file of the job with this name."""

    name: str


@dataclass(frozen=True, slots=True)
class ReadPart:
    """Hand these bytes of an outgoing job's file to `JobDesk.provide`, or call its `fail`."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class KeepPart:
    """Write these bytes of an incoming file durably, then call `Inbox.stored`, or its `fail`."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CheckFile:
    """Compare an incoming file with this SHA-256, then call `Inbox.checked`."""

    name: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class DeliverRequest:
    """Answer this AI request with the model, then call `provide_chunk` and `finish_request`.

    `path` is the end of OpenAI's path (`embeddings`, `chat/completions`), `body` the client's JSON.
    """

    request_id: bytes
    payer: int
    path: str
    model: str
    max_tokens: int
    body: bytes


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The payer went away: stop working on this AI request."""

    request_id: bytes


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The provider began to answer our AI request."""

    request_id: bytes
    provider: int
    status: int
    content_type: str


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """Bytes of the answer, in order."""

    request_id: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The answer is complete and its hash chain agrees; `tokens` is the smaller of both counts."""

    request_id: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """No (further) answer will come: a stable reason, and one line for the person."""

    request_id: bytes
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the owner: a state change, or a fault with its remedy."""

    level: str
    text: str


Action = (
    SendFrame
    | SendDatagram
    | SubmitRecord
    | KeepReceptions
    | FetchMix
    | FetchSession
    | FetchStandings
    | FetchClaim
    | KeepClaim
    | DropClaim
    | KeepReceipt
    | DropReceipt
    | KeepJob
    | DropJob
    | DropFile
    | ReadPart
    | KeepPart
    | CheckFile
    | DeliverRequest
    | CancelRequest
    | AnswerHead
    | AnswerChunk
    | AnswerEnd
    | RequestFailed
    | Log
)


Emit = Callable[[Action], None]


class Machine(Protocol):
    """A sans-IO machine: bytes and the time go in, actions come out."""

    def next_deadline(self) -> int | None:
        """Time in ns at which `handle_deadline` wants to be called, or None."""

    def handle_deadline(self, now_ns: int) -> None:
        """Do what has become due."""

    def take_actions(self) -> list[Action]:
        """Hand over and forget the actions that have gathered."""
