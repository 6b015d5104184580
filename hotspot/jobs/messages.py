"""A bandwidth job between two hotspots: what is said on its stream, and what each end keeps.

The sender's stream carries a hello (see `seal.py`), then sealed: the offer, and blocks of the file.
The receiver answers in sealed messages on the same stream:

    sender                                  receiver
      OFFER signed by the sender    ─────►  may this hotspot send, is there room?
                                    ◄─────  HAVE offset: so much is already here
      blocks from that offset on    ─────►  on disk
                                    ◄─────  GOT offset, now and then
      the last block                ─────►  all here: is the hash right?
                                    ◄─────  DONE, or REFUSED with a reason at any time

A block says where it belongs, so a repeated stream can write nothing twice, and a new stream goes
on where the old one ended, whichever end was killed. The offer binds name, size, hash and both
ends, so nobody can offer in another's name or send an offer on to somebody else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chain import cbor
from chain.keys import sign, verify
from chain.params import MIB
from chain.records import Refusal
from hotspot.overlay.seal import BUCKETS
from hotspot.overlay.sessions import fits, mean_flight_bytes
from routing.types import Job, JobPromise, Path

OFFER_NAME = "job-offer"
HAVE, GOT, DONE, REFUSED = 1, 2, 3, 4
RUNNING, PAUSED, COMPLETE, CANCELLED, EXPIRED, FAILED = (
    *("running", "paused", "done", "cancelled", "expired", "failed"),
)
GOING = frozenset({RUNNING, PAUSED})  # not ended
MAX_NAME = 200
# Headers, acknowledgements and sealing: measured 11 % over three hops; the rest is for repeats.
WIRE_PERMILLE = 1_150
WIRE_FIXED = 4_096
_OFFSET = struct.Struct(">Q")
BLOCK_SIZES = tuple(bucket - 4 - _OFFSET.size for bucket in BUCKETS[1:])  # each fills its bucket

BAD_OFFER = Refusal("bad_offer", "offer: not a job of this version, signed by its sender")
BAD_REPLY = Refusal("bad_reply", "reply: not a message of a job")
BAD_BLOCK = Refusal("bad_block", "block: not where the file goes on")


def wire_bytes(size: int) -> int:
    """Return what a relay will carry, both ways, for so many bytes of a file."""
    return size * WIRE_PERMILLE // 1_000


def block_size(rate_kbps: int) -> int:
    """Return the block to send at once: about 50 ms of a rate, so that no burst fills a queue."""
    fitting = [size for size in BLOCK_SIZES if size * 8 <= rate_kbps * 50]
    return fitting[-1] if fitting else BLOCK_SIZES[0]


@dataclass(frozen=True, slots=True)
class Offer:
    """What the sender offers; `job_id` has 16 bytes, `sha256` is the file's."""

    job_id: bytes
    source: int
    target: int
    size: int
    sha256: bytes
    name: str
    deadline_ms: int

    @property
    def key(self) -> str:
        """The name under which the receiver keeps it: senders can't disturb each other."""
        return f"in-{self.source}-{self.job_id.hex()}"

    def values(self) -> tuple[cbor.Value, ...]:
        """Return the fields in order."""
        head = (self.job_id, self.source, self.target, self.size)
        return (*head, self.sha256, self.name, self.deadline_ms)


OFFER_SHAPE = (bytes, 32, 32, 48, bytes, str, 64)


def read_offer(values: object) -> Offer | Refusal:
    """Check the fields of an offer. Never raises."""
    if not fits(values, OFFER_SHAPE):
        return BAD_OFFER
    offer = Offer(*values)
    is_sound = len(offer.job_id) == 16 and len(offer.sha256) == 32 and offer.size > 0
    return offer if is_sound and 0 < len(offer.name) <= MAX_NAME else BAD_OFFER


def job_of(offer: Offer, budget_ucr: int, chunk_bytes: int) -> Job:
    """Return the job as routing counts it: in bytes over the air.

    A relay asks for a receipt at half a chunk and stops where its credit ends: what it carries
    while it asks must stay below that, or the promise would lean on nothing ever being lost.
    """
    size = wire_bytes(offer.size) + WIRE_FIXED
    ends = (offer.source, offer.target)
    flight = mean_flight_bytes(size, chunk_bytes)
    return Job(offer.job_id.hex(), *ends, size, offer.deadline_ms, budget_ucr, flight)


def pack_offer(offer: Offer, seed: bytes, network_id: bytes) -> bytes:
    """Sign an offer: CBOR [body, signature]."""
    body = cbor.encode(offer.values())
    return cbor.encode((body, sign(seed, OFFER_NAME, network_id, body)))


def unpack_offer(data: bytes) -> tuple[Offer, bytes, bytes] | Refusal:
    """Read an offer: (offer, signed body, signature). Never raises; checks no signature."""
    try:
        outer = cbor.decode(data)
        if not fits(outer, (bytes, bytes)):
            return BAD_OFFER
        offer = read_offer(cbor.decode(outer[0]))
    except cbor.CborError:
        return BAD_OFFER
    return offer if isinstance(offer, Refusal) else (offer, outer[0], outer[1])


def is_offer_signed(key: bytes | None, network_id: bytes, body: bytes, signature: bytes) -> bool:
    """Tell whether the offer is this hotspot's."""
    return key is not None and verify(key, OFFER_NAME, network_id, body, signature)


def pack_block(offset: int, data: bytes) -> bytes:
    """Encode a block for sealing."""
    return _OFFSET.pack(offset) + data


def unpack_block(chunk: bytes) -> tuple[int, bytes] | Refusal:
    """Read a block: (offset, data)."""
    if len(chunk) < _OFFSET.size:
        return BAD_BLOCK
    return _OFFSET.unpack_from(chunk)[0], chunk[_OFFSET.size :]


# --- the receiver's replies ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Have:
    """The receiver begins with this much of the file."""

    offset: int


@dataclass(frozen=True, slots=True)
class Got:
    """So much of the file is on the receiver's disk."""

    offset: int


@dataclass(frozen=True, slots=True)
class Done:
    """The whole file is there and its hash is right."""


Reply = Have | Got | Done | Refusal


def pack_reply(reply: Reply) -> bytes:
    """Encode a reply for sealing."""
    if isinstance(reply, Have | Got):
        return cbor.encode((HAVE if isinstance(reply, Have) else GOT, reply.offset))
    if isinstance(reply, Done):
        return cbor.encode((DONE,))
    return cbor.encode((REFUSED, reply.reason, reply.detail))


def unpack_reply(data: bytes) -> tuple[bool, Reply]:
    """Read a reply: (was it readable, the reply); unreadable is (False, BAD_REPLY)."""
    try:
        values = cbor.decode(data)
    except cbor.CborError:
        return False, BAD_REPLY
    if fits(values, (8, 48)) and values[0] in (HAVE, GOT):
        return True, Have(values[1]) if values[0] == HAVE else Got(values[1])
    if fits(values, (8,)) and values[0] == DONE:
        return True, Done()
    if fits(values, (8, str, str)) and values[0] == REFUSED:
        return True, Refusal(values[1][:64], values[2][:300])
    return False, BAD_REPLY


# --- what the sender keeps ----------------------------------------------------------------------


@dataclass(slots=True)
class JobRecord:
    """An outgoing job; `spent` counts bytes relayed times their price, in ucr per MiB."""

    offer: Offer
    budget_ucr: int
    promise: JobPromise
    created_ms: int
    delivered: int = 0
    spent: int = 0
    state: str = RUNNING
    reason: str = ""
    detail: str = ""
    ended_ms: int = 0

    @property
    def key(self) -> str:
        """The name of its row and its file."""
        return f"out-{self.offer.job_id.hex()}"

    @property
    def job_id(self) -> str:
        """The id that people see."""
        return self.offer.job_id.hex()

    @property
    def spent_ucr(self) -> int:
        """What relays have been owed for it so far."""
        return self.spent // MIB

    def pack(self) -> bytes:
        """Encode for `KeepJob`."""
        p = self.promise
        promise = (p.price_ucr, p.finish_ms, p.rate_kbps, p.path.hops)
        numbers = (self.budget_ucr, self.created_ms, self.delivered, self.spent, self.ended_ms)
        words = (self.state, self.reason, self.detail)
        return cbor.encode((self.offer.values(), promise, *numbers, *words))


def unpack_record(data: bytes) -> JobRecord:
    """Decode what `JobRecord.pack` wrote; ValueError if the store gave back something else."""
    values = cbor.decode(data)
    if not fits(values, (tuple, tuple, 64, 64, 64, 64, 64, str, str, str)):
        raise ValueError("kept job: another shape")
    offer, promise = read_offer(values[0]), values[1]
    if isinstance(offer, Refusal) or not fits(promise, (64, 64, 64, tuple)):
        raise ValueError("kept job: its offer or promise has another shape")
    budget, created, delivered, spent, ended, state, reason, detail = values[2:]
    price, finish, rate, hops = promise
    path = Path(hops, 0, "kept", "as promised before a restart")
    kept = JobPromise(offer.job_id.hex(), price, finish, rate, path)
    words = (state, reason, detail)
    return JobRecord(offer, budget, kept, created, delivered, spent, *words, ended)
