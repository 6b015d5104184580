"""Snapshots: the live state for an operator who joins late, checked against the root it commits to.

A block that settles carries no transactions (chain/abci/application.py sees to it), so the state
after it is the very one whose root its header holds. A snapshot is that header, the right edge of
the log, and the state's rows; records and verdicts from before are not in it. The engine's light
client vouches for the application hash, that hash for the header, the header for log and state.

    metadata = CBOR [header, [peaks of the log], [SHA-256 of each chunk]]
    chunk    = CBOR [[table, key, row], ...]      tables and rows as store/tables.py packs them
    hash     = SHA-256(metadata)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from chain import cbor
from chain.header import Header
from chain.proofs.log import CompactRange
from chain.records import Refusal, Signed
from chain.rules.blocks import get_first_state
from chain.state import State, is_conserved
from chain.state_root import compute_state_root
from chain.store.tables import NUMBER, TABLES, set_scalar

FORMAT = 1
# The engine sends chunks of at most 16 MB; a lost one of this size costs little.
CHUNK_BYTES = 1 << 20
MAX_CHUNKS = 1 << 14
NUMBERS = "numbers"  # the name under which the single numbers of the state travel
Row = tuple[str, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot holds, and how to check it."""

    header: Header
    peaks: tuple[bytes, ...]
    chunks: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The snapshot's metadata."""
        return cbor.encode((self.header.encode(), self.peaks, self.chunks))

    def edge(self) -> CompactRange:
        """The right edge of the log."""
        edge = CompactRange()
        edge.size, edge.peaks = self.header.record_count, list(self.peaks)
        return edge


def decode_manifest(data: bytes, app_hash: bytes) -> Manifest | Refusal:
    """The manifest in a snapshot's metadata if it belongs to this application hash; or why not."""
    try:
        header, peaks, chunks = cast(
            "tuple[bytes, tuple[bytes, ...], tuple[bytes, ...]]", cbor.decode(data)
        )
        manifest = Manifest(Header(*cbor.decode(header)), peaks, chunks)  # type: ignore[misc]
        size = manifest.header.record_count
        right = manifest.header.hash() == app_hash
        whole = len(peaks) == size.bit_count()
        whole = whole and manifest.edge().root() == manifest.header.log_root
    except (cbor.CborError, ValueError, TypeError, AttributeError, IndexError) as error:
        return Refusal("bad_shape", f"snapshot: {error}; take one of another node")
    if not right or not whole or not 0 < len(chunks) <= MAX_CHUNKS:
        return Refusal("wrong_root", "snapshot: not of this application hash; take another")
    return manifest


def count_chunks(metadata: bytes) -> int:
    """How many chunks a manifest of our own names; ValueError if it is none."""
    value = cbor.decode(metadata)
    if not isinstance(value, tuple) or len(value) != 3 or not isinstance(value[2], tuple):
        raise ValueError("no manifest")
    return len(value[2])


def cut_rows(rows: Iterable[Row]) -> Iterator[bytes]:
    """The chunks of a state's rows, in order."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row[1]) + len(row[2]) + 32
        if size >= CHUNK_BYTES:
            yield cbor.encode(held)
            held, size = [], 0
    if held:
        yield cbor.encode(held)


def read_chunk(data: bytes) -> list[Row]:
    """The rows of a chunk; ValueError for anything else."""
    rows = cbor.decode(data)
    if not isinstance(rows, tuple):
        raise ValueError("no rows")
    for row in rows:
        shape = tuple(map(type, row)) if isinstance(row, tuple) else ()
        if shape != (str, bytes, bytes):
            raise ValueError("no row of a state")
    return cast("list[Row]", list(rows))


def is_carried(name: str) -> bool:
    """Whether rows of a table are in snapshots: only what the root commits to."""
    return name == NUMBERS or (name in TABLES and TABLES[name].rooted)


def build_state(genesis: Signed, header: Header, rows: Iterable[Row]) -> State | Refusal:
    """The state of a snapshot if its root is the header's; or why not."""
    by_table: dict[str, list[tuple[bytes, bytes]]] = {}
    for name, key, packed in rows:
        if not is_carried(name):
            return Refusal("bad_shape", "snapshot: rows of an unknown table; take another")
        by_table.setdefault(name, []).append((key, packed))
    try:
        state = get_first_state(genesis)
        state.mixes.clear()
        state.time_ms = header.time_ms
        for key, packed in by_table.pop(NUMBERS, []):
            set_scalar(state, key.decode(), NUMBER.unpack(packed))
        for name, table in TABLES.items():
            table.load(state, sorted(by_table.get(name, [])))
        right = compute_state_root(state) == header.state_root and is_conserved(state)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, struct.error) as error:
        return Refusal("bad_shape", f"snapshot: {error}; take another")
    if not right or state.epoch != header.epoch:
        return Refusal("wrong_root", "snapshot: its rows have another root; take another")
    return state


class Restoring:
    """Collects the chunks of one accepted snapshot, whose senders nobody trusts."""

    def __init__(self, manifest: Manifest, height: int) -> None:
        self.manifest = manifest
        self.height = height
        self.rows: list[Row] = []
        self._next = 0

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is there."""
        return self._next == len(self.manifest.chunks)

    def add(self, index: int, chunk: bytes) -> bool:
        """Take the next chunk; False if it is another one, or not what the manifest says."""
        if index != self._next or sha256(chunk).digest() != self.manifest.chunks[index]:
            return False
        try:
            self.rows += read_chunk(chunk)
        except ValueError:  # CborError is one: whoever made the manifest made it wrong
            return False
        self._next += 1
        return True
