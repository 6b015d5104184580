"""Signatures of the laboratory: Ed25519, or stand-ins that cost one hash.

A stand-in is refused like a signature when one byte of what was signed, the key or the signature
differs. Nobody here tries to forge one: attacks on signatures run with real ones
(`bookkeeping_keys.py`). The switch changes speed and nothing else; a test compares.
"""

from __future__ import annotations

from hashlib import sha256

from chain import keys, wire
from chain.drafts import encode_wire
from chain.keys import signed_message
from chain.records import Record, Refusal, Signed


class Signer:
    """Makes keys and signatures, and checks them for the ledger."""

    def __init__(self, *, real: bool = False) -> None:
        self.real = real

    def public(self, seed: bytes) -> bytes:
        """The key of a seed."""
        return keys.public_key(seed) if self.real else sha256(b"key of " + seed).digest()

    def sign(self, seed: bytes, name: str, network_id: bytes, body: bytes) -> bytes:
        """64 bytes over a body."""
        if self.real:
            return keys.sign(seed, name, network_id, body)
        return make_stand_in(self.public(seed), name, network_id, body)

    def verify(
        self, key: bytes, name: str, network_id: bytes, body: bytes, signature: bytes
    ) -> bool:
        """What the ledger asks."""
        if self.real:
            return keys.verify(key, name, network_id, body, signature)
        return signature == make_stand_in(key, name, network_id, body)

    def seal(self, record: Record, network_id: bytes, seeds: list[bytes]) -> Signed:
        """A signed record; ValueError for one that no ledger takes."""
        body = wire.body_of(record)
        made = tuple(self.sign(seed, record.NAME, network_id, body) for seed in seeds)
        signed = wire.decode(encode_wire(record, made))
        if isinstance(signed, Refusal):
            raise ValueError(signed.detail)
        return signed


def make_stand_in(key: bytes, name: str, network_id: bytes, body: bytes) -> bytes:
    """A hash in place of a signature."""
    return sha256(key + signed_message(name, network_id, body)).digest() * 2
