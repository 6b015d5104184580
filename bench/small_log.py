"""A log with cosigners for the benches of proofs: keys by number, and what they sign."""

from __future__ import annotations

from hashlib import sha256

from chain.keys import public_key
from chain.proofs.checkpoint import (
    Balances,
    Checkpoint,
    Opened,
    Trust,
    open_checkpoint,
    origin_of,
)
from chain.proofs.note import COSIGNATURE, ED25519, Note, VerifierKey, cosign_note, sign_note

TIME_S = 1_800_000_000


class Cosigned:
    """A log's key, and `count` cosigners of which `threshold` sign."""

    def __init__(self, count: int, threshold: int, name: bytes = b"network") -> None:
        self.network_id = sha256(name).digest()
        self.origin = origin_of(self.network_id)
        self.seed = sha256(b"log" + name).digest()
        self.names = [f"witness.example/w{number}" for number in range(count)]
        self.seeds = [sha256(name.encode()).digest() for name in self.names]
        self.key = VerifierKey(self.origin, ED25519, public_key(self.seed))
        cosigners = tuple(
            VerifierKey(name, COSIGNATURE, public_key(seed))
            for name, seed in zip(self.names, self.seeds, strict=True)
        )
        self.trust = Trust(self.origin, (self.key,), cosigners, threshold)

    def sign(self, size: int, root: bytes, balances: Balances) -> Note:
        """A checkpoint with the signatures of the log and of enough cosigners."""
        text = Checkpoint(self.origin, size, root, balances).text
        lines = [sign_note(text, self.origin, self.seed)]
        for number in range(self.trust.threshold):
            own = self.names[number], self.seeds[number]
            lines.append(cosign_note(text, *own, TIME_S))
        return Note(text, tuple(lines))

    def open(self, size: int, root: bytes, balances: Balances) -> Opened:
        """The same, verified."""
        opened = open_checkpoint(self.sign(size, root, balances), self.trust)
        if not isinstance(opened, Opened):
            raise RuntimeError(opened.detail)
        return opened
