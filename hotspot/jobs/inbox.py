"""The receiving end of jobs: who may send, how much, and where each file goes on.

Bytes are gathered to `FLUSH_BYTES` or for a second, then handed to the driver (`KeepPart`); only
what it has stored is acknowledged. A newer stream of the same job replaces an older one, so a
sender that was killed goes on at once. What came of a job that ended early stays until removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chain import cbor
from chain.records import Refusal
from hotspot.actions import CheckFile, DropFile, DropJob, Emit, KeepJob, KeepPart
from hotspot.jobs.messages import (
    BAD_BLOCK,
    BAD_OFFER,
    COMPLETE,
    Done,
    Got,
    Have,
    Offer,
    Reply,
    is_offer_signed,
    pack_reply,
    read_offer,
    unpack_block,
    unpack_offer,
)
from hotspot.overlay.seal import Greeting
from hotspot.overlay.sessions import KeyBook, fits
from hotspot.overlay.streams import Flow, StreamTable

PARTIAL = "partial"
FLUSH_BYTES = 64 * 1024
FLUSH_NS = 1_000_000_000
KEEP_PARTIAL_MS = 7 * 86_400_000  # after the deadline

NO_STORAGE = Refusal("no_storage", "this hotspot takes no files")
NOT_ACCEPTED = Refusal("not_accepted", "this hotspot takes no files from the sender")
TOO_LARGE = Refusal("too_large", "the file is larger than this hotspot takes")
STORAGE_FULL = Refusal("storage_full", "this hotspot has no room left for received files")
OFFER_EXPIRED = Refusal("offer_expired", "the job's deadline has passed")
OFFER_CHANGED = Refusal("offer_changed", "the job was offered before with another size or hash")
BAD_HASH = Refusal("bad_hash", "the file that arrived has another hash; it was removed")
REMOVED = Refusal("removed", "the receiver removed the file")
REPLACED = Refusal("replaced", "a newer stream of this job took over")


@dataclass(frozen=True, slots=True)
class InboxPolicy:
    """Whose files are taken (nobody named: everybody's), and how many bytes."""

    accept: tuple[int, ...] = ()
    max_file_bytes: int = 256 << 20
    max_stored_bytes: int = 1 << 30


@dataclass(slots=True)
class Received:
    """A file that has arrived, or part of it."""

    offer: Offer
    since_ms: int
    state: str = PARTIAL
    stored: int = 0

    def pack(self) -> bytes:
        """Encode for `KeepJob`; how much is stored, the file itself says."""
        return cbor.encode((self.offer.values(), self.since_ms, self.state))


@dataclass(slots=True)
class _Arrival:
    flow: Flow
    greeting: Greeting
    file: Received | None = None
    pending: bytearray = field(default_factory=bytearray)
    start: int = 0  # where `pending` belongs
    flush_ns: int | None = None
    is_closed: bool = False

    @property
    def position(self) -> int:
        return self.start + len(self.pending)


class Inbox:
    """All files that others send to this hotspot."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        keys: KeyBook,
        streams: StreamTable,
        policy: InboxPolicy | None,
        emit: Emit,
    ) -> None:
        self.files: dict[str, Received] = {}
        self.refused: dict[str, int] = {}
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._keys = keys
        self._streams = streams
        self._policy = policy
        self._emit = emit
        self._by_flow: dict[tuple[int, int], _Arrival] = {}

    # --- from the network -----------------------------------------------------------------------

    def receive(self, flow: Flow, now_ns: int) -> None:
        """Look at an accepted job flow on which something happened."""
        key = (flow.initiator, flow.number)
        arrival = self._by_flow.get(key)
        if arrival is None:
            if flow.closed_ns is not None:
                return
            arrival = self._by_flow[key] = _Arrival(flow, Greeting(self._seed))
        data = flow.stream.read()
        if data and not arrival.is_closed:
            refusal = self._feed(arrival, data, now_ns)
            if refusal is not None:
                self._refuse(arrival, refusal, now_ns)
        if flow.stream.failure is not None:
            self._drop(arrival)

    def _feed(self, arrival: _Arrival, data: bytes, now_ns: int) -> Refusal | None:
        chunks = arrival.greeting.feed(data)
        if isinstance(chunks, Refusal):
            return chunks
        for chunk in chunks:
            if arrival.file is None:
                refusal = self._accept(arrival, chunk, now_ns)
            else:
                refusal = self._take_block(arrival, arrival.file, chunk, now_ns)
            if refusal is not None or arrival.is_closed:
                return refusal
        return None

    def _accept(self, arrival: _Arrival, chunk: bytes, now_ns: int) -> Refusal | None:
        read = unpack_offer(chunk)
        if isinstance(read, Refusal):
            return read
        offer, body, signature = read
        key = self._keys.key_of(offer.source)
        ends = (arrival.flow.initiator, self._index)
        if (offer.source, offer.target) != ends or not is_offer_signed(
            key, self._network_id, body, signature
        ):
            return BAD_OFFER
        refusal = self._objection(offer, now_ns)
        if refusal is not None:
            return refusal
        self._begin(arrival, offer, now_ns)
        return None

    def _objection(self, offer: Offer, now_ns: int) -> Refusal | None:
        policy, known = self._policy, self.files.get(offer.key)
        if policy is None:
            return NO_STORAGE
        if policy.accept and offer.source not in policy.accept:
            return NOT_ACCEPTED
        if known is not None:
            is_same = (known.offer.size, known.offer.sha256) == (offer.size, offer.sha256)
            return None if is_same else OFFER_CHANGED
        if offer.deadline_ms <= now_ns // 1_000_000:
            return OFFER_EXPIRED
        if offer.size > policy.max_file_bytes:
            return TOO_LARGE
        stored = sum(file.offer.size for file in self.files.values())
        return STORAGE_FULL if stored + offer.size > policy.max_stored_bytes else None

    def _begin(self, arrival: _Arrival, offer: Offer, now_ns: int) -> None:
        for other in list(self._by_flow.values()):
            if other is not arrival and other.file is self.files.get(offer.key, offer):
                self._close(other, REPLACED, now_ns)
        file = self.files.get(offer.key)
        if file is None:
            file = self.files[offer.key] = Received(offer, now_ns // 1_000_000)
            self._emit(KeepJob(offer.key, file.pack()))
        arrival.file, arrival.start = file, file.stored
        if file.state == COMPLETE:
            self._close(arrival, Done(), now_ns)
        else:
            self._reply(arrival, Have(file.stored), now_ns)
            self._look_if_whole(file)

    def _take_block(
        self, arrival: _Arrival, file: Received, chunk: bytes, now_ns: int
    ) -> Refusal | None:
        block = unpack_block(chunk)
        if isinstance(block, Refusal):
            return block
        offset, data = block
        if offset > arrival.position or offset + len(data) > file.offer.size:
            return BAD_BLOCK
        arrival.pending += data[arrival.position - offset :]
        if arrival.pending and arrival.flush_ns is None:
            arrival.flush_ns = now_ns + FLUSH_NS
        if len(arrival.pending) >= FLUSH_BYTES or arrival.position == file.offer.size:
            self._flush(arrival)
        return None

    def _flush(self, arrival: _Arrival) -> None:
        arrival.flush_ns = None
        if arrival.file is None or not arrival.pending:
            return
        data, at = bytes(arrival.pending), arrival.start
        arrival.pending.clear()
        arrival.start += len(data)
        self._emit(KeepPart(arrival.file.offer.key, at, data))

    # --- from the driver ------------------------------------------------------------------------

    def stored(self, name: str, size: int, now_ns: int) -> None:
        """The file's first `size` bytes are on disk."""
        file = self.files.get(name)
        if file is None:
            return
        file.stored = size
        arrival = self._arrival_of(file)
        if arrival is not None:
            self._reply(arrival, Got(size), now_ns)
        self._look_if_whole(file)

    def _look_if_whole(self, file: Received) -> None:
        if file.stored == file.offer.size:
            self._emit(CheckFile(file.offer.key, file.offer.sha256))

    def checked(self, name: str, now_ns: int, *, is_right: bool) -> None:
        """The whole file is there, and its hash is right or wrong."""
        file = self.files.get(name)
        if file is None:
            return
        arrival = self._arrival_of(file)
        if is_right:
            file.state = COMPLETE
            self._emit(KeepJob(name, file.pack()))
        else:
            file.stored = 0
            self._emit(DropFile(name))
        if arrival is not None:
            self._close(arrival, Done() if is_right else BAD_HASH, now_ns)

    def fail(self, name: str, refusal: Refusal, now_ns: int) -> None:
        """The disk took no more; what it has taken stays."""
        file = self.files.get(name)
        arrival = None if file is None else self._arrival_of(file)
        if arrival is not None:
            self._refuse(arrival, refusal, now_ns)

    def restore(self, name: str, data: bytes, stored: int) -> None:
        """Take back a file after a restart; `stored` is its length on disk."""
        values = cbor.decode(data)
        if not fits(values, (tuple, 64, str)):
            raise ValueError("kept file: another shape")
        offer = read_offer(values[0])
        if isinstance(offer, Refusal) or offer.key != name:
            raise ValueError("kept file: its offer has another shape")
        self.files[name] = Received(offer, values[1], values[2], min(stored, offer.size))

    def remove(self, name: str, now_ns: int) -> bool:
        """Forget a file and free its room; False if there is none of that name."""
        file = self.files.get(name)
        if file is None:
            return False
        arrival = self._arrival_of(file)
        if arrival is not None:
            arrival.pending.clear()
            self._refuse(arrival, REMOVED, now_ns)
        del self.files[name]
        self._emit(DropFile(name))
        self._emit(DropJob(name))
        return True

    # --- ends and time --------------------------------------------------------------------------

    def _arrival_of(self, file: Received) -> _Arrival | None:
        found = (a for a in self._by_flow.values() if a.file is file and not a.is_closed)
        return next(found, None)

    def _reply(self, arrival: _Arrival, reply: Reply, now_ns: int, *, final: bool = False) -> None:
        sealer = arrival.greeting.sealer
        if sealer is None or arrival.is_closed:
            return
        arrival.flow.stream.write(sealer.seal(pack_reply(reply), final=final))
        if final:
            arrival.flow.stream.finish()
        self._streams.pump(arrival.flow, now_ns)

    def _refuse(self, arrival: _Arrival, refusal: Refusal, now_ns: int) -> None:
        self.refused[refusal.reason] = self.refused.get(refusal.reason, 0) + 1
        self._flush(arrival)
        self._close(arrival, refusal, now_ns)

    def _close(self, arrival: _Arrival, last: Reply, now_ns: int) -> None:
        self._reply(arrival, last, now_ns, final=True)
        arrival.is_closed = True
        arrival.flush_ns = None
        if arrival.greeting.sealer is None and isinstance(last, Refusal):
            arrival.flow.stream.reset(last)
            self._streams.pump(arrival.flow, now_ns)

    def _drop(self, arrival: _Arrival) -> None:
        if not arrival.is_closed:
            self._flush(arrival)
        self._by_flow.pop((arrival.flow.initiator, arrival.flow.number), None)

    def next_deadline(self) -> int | None:
        """When `handle_deadline` has work."""
        times = [a.flush_ns for a in self._by_flow.values() if a.flush_ns is not None]
        return min(times, default=None)

    def handle_deadline(self, now_ns: int) -> None:
        """Store what has waited for a second."""
        for arrival in self._by_flow.values():
            if arrival.flush_ns is not None and arrival.flush_ns <= now_ns:
                self._flush(arrival)

    def sweep(self, gone: Sequence[Flow], now_ns: int) -> None:
        """Forget idle flows, closed ones whose stream is done, and parts that nobody fetched."""
        now_ms = now_ns // 1_000_000
        for name, file in list(self.files.items()):
            if file.state == PARTIAL and file.offer.deadline_ms + KEEP_PARTIAL_MS < now_ms:
                self.remove(name, now_ns)
        for arrival in list(self._by_flow.values()):
            if arrival.flow in gone or arrival.flow.closed_ns is not None:
                self._drop(arrival)
