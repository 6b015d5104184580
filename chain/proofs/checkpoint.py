"""Checkpoints: what the log and all balances were when an epoch closed, as a C2SP signed note.

The text is that of c2sp.org/tlog-checkpoint with one extension line (docs/records.md, Checkpoint).
Logs of others have other extension lines or none; they are kept as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.proofs.log import HASH_BYTES
from chain.proofs.note import Note, Verified, VerifierKey, decode_base64, encode_base64, verify_note
from chain.records import Refusal

BALANCES = "balances"
NAME = "wavecomb"
NETWORK_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Balances:
    """The balance tree of a settlement: how many there were, its root, and its two sums in ucr."""

    settlement: int = 0
    root: bytes = bytes(HASH_BYTES)
    issued_ucr: int = 0
    spent_ucr: int = 0

    @property
    def supply_ucr(self) -> int:
        """Every credit that exists: deposited + minted - destroyed - withdrawn."""
        return self.issued_ucr - self.spent_ucr

    def __str__(self) -> str:
        root = encode_base64(self.root)
        return f"{BALANCES} {self.settlement} {root} {self.issued_ucr} {self.spent_ucr}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's name, size and root, and what its extension lines say."""

    origin: str
    size: int
    root: bytes
    balances: Balances | None = None
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note text that log and cosigners sign."""
        own = () if self.balances is None else (str(self.balances),)
        lines = (self.origin, str(self.size), encode_base64(self.root), *own, *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def origin_of(network_id: bytes) -> str:
    """The name of a network's log; also the key name of its sequencer."""
    return f"{NAME}/{network_id.hex()[:NETWORK_DIGITS]}"


def parse_size(text: str) -> int | None:
    """A decimal without leading zeroes; None for anything else."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 39
    return int(text) if plain and str(int(text)) == text else None


def parse_checkpoint(text: str) -> Checkpoint | Refusal:
    """A checkpoint from a note text; its signatures are another matter."""
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines):
        return Refusal("bad_checkpoint", "checkpoint: needs three lines or more, none empty")
    size, root = parse_size(lines[1]), decode_base64(lines[2])
    if size is None or size >= 1 << 63:
        return Refusal("bad_checkpoint", "size: no decimal below 2^63; fetch the checkpoint again")
    if root is None or len(root) != HASH_BYTES:
        return Refusal("bad_checkpoint", "root: no hash of 32 bytes; fetch the checkpoint again")
    if len(lines) == 3 or not lines[3].startswith(f"{BALANCES} "):
        return Checkpoint(lines[0], size, root, None, tuple(lines[3:]))
    balances = _parse_balances(lines[3])
    if balances is None:
        return Refusal("bad_checkpoint", "balances: malformed line; fetch the checkpoint again")
    return Checkpoint(lines[0], size, root, balances, tuple(lines[4:]))


def decode_balances(raw: bytes) -> Balances:
    """Balances from the bytes of their line; ValueError for anything else."""
    found = _parse_balances(raw.decode())
    if found is None:
        raise ValueError("no line of balances")
    return found


def _parse_balances(line: str) -> Balances | None:
    words = line.split(" ")
    root = decode_base64(words[2]) if len(words) == 5 else None
    if root is None or len(root) != HASH_BYTES or words[0] != BALANCES:
        return None
    settlement, issued, spent = (parse_size(words[i]) for i in (1, 3, 4))
    if settlement is None or issued is None or spent is None or spent > issued:
        return None
    return Balances(settlement, root, issued, spent)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a reader trusts: a log's name and keys, cosigners' keys, how many of them must sign.

    A log has more than one key while its operators change it; one signature is enough.
    """

    origin: str
    logs: tuple[VerifierKey, ...]
    cosigners: tuple[VerifierKey, ...] = ()
    threshold: int = 0


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint whose log signature holds, with the cosignatures that do."""

    checkpoint: Checkpoint
    log: Verified
    cosignatures: tuple[Verified, ...]


def open_checkpoint(note: Note, trust: Trust) -> Opened | Refusal:
    """The checkpoint in a note that the log and enough cosigners signed."""
    verified = verify_note(note, (*trust.logs, *trust.cosigners))
    if isinstance(verified, Refusal):
        return verified
    log = [item for item in verified if item.key in trust.logs]
    if not log:
        return Refusal("not_signed", f"log: {trust.origin} did not sign it; fetch it from the log")
    cosignatures = tuple(item for item in verified if item.key not in trust.logs)
    if len(cosignatures) < trust.threshold:
        detail = f"{len(cosignatures)} of {trust.threshold} that must sign"
        return Refusal("too_few", f"cosigners: {detail}; wait for them, or ask why they refuse")
    checkpoint = parse_checkpoint(note.text)
    if isinstance(checkpoint, Refusal):
        return checkpoint
    if checkpoint.origin != trust.origin:
        said = f"origin: {checkpoint.origin[:80]!r} is not {trust.origin!r}"
        return Refusal("other_log", f"{said}; take a checkpoint of this network")
    return Opened(checkpoint, log[0], cosignatures)
