"""That a record is in the log, as text anyone can check offline (c2sp.org/tlog-proof)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain.proofs.checkpoint import Opened, Trust, open_checkpoint, parse_size
from chain.proofs.log import HASH_BYTES, ProofError, verify_inclusion
from chain.proofs.note import Note, decode_base64, encode_base64, parse_note
from chain.records import Refusal

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63


@dataclass(frozen=True, slots=True)
class RecordProof:
    """A record's place in the log, its audit path, and a signed checkpoint that covers it."""

    index: int
    path: tuple[bytes, ...]
    note: Note


def encode_record_proof(proof: RecordProof) -> bytes:
    """The text of a proof; conventional file name extension: .tlog-proof."""
    lines = [HEADER, f"index {proof.index}", *map(encode_base64, proof.path), "", ""]
    return "\n".join(lines).encode() + proof.note.encode()


def parse_record_proof(raw: bytes) -> RecordProof | Refusal:
    """A proof from its text; extra data is skipped, since nothing vouches for it."""
    head, _, rest = raw.partition(b"\n\n")
    lines = head.decode("utf-8", "replace").split("\n")
    if lines.pop(0) != HEADER:
        return Refusal("bad_proof", f"proof: does not begin with {HEADER}; give a .tlog-proof")
    if lines and lines[0].startswith("extra ") and decode_base64(lines[0][6:]) is not None:
        lines.pop(0)
    index = parse_size(lines[0][6:]) if lines and lines[0].startswith("index ") else None
    path = _parse_path(lines[1:])
    if index is None or path is None:
        return Refusal("bad_proof", "proof: its index or path is malformed; fetch it again")
    note = parse_note(rest)
    return note if isinstance(note, Refusal) else RecordProof(index, path, note)


def _parse_path(lines: Sequence[str]) -> tuple[bytes, ...] | None:
    nodes = [decode_base64(line) for line in lines]
    path = tuple(node for node in nodes if node is not None and len(node) == HASH_BYTES)
    return path if len(path) == len(nodes) <= MAX_PATH else None


def verify_record_proof(proof: RecordProof, record_id: bytes, trust: Trust) -> Opened | Refusal:
    """The checkpoint that covers a record; the record id is its leaf hash."""
    opened = open_checkpoint(proof.note, trust)
    if isinstance(opened, Refusal):
        return opened
    head = opened.checkpoint
    try:
        verify_inclusion(proof.index, head.size, record_id, list(proof.path), head.root)
    except ProofError as error:
        return Refusal("bad_proof", f"path: {error}; fetch the proof again")
    return opened
