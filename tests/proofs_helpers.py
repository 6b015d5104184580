"""A log, its cosigners and a balance tree with made-up people, for the tests of proofs."""

from __future__ import annotations

from hashlib import sha256

from chain.keys import public_key
from chain.proofs.balances import BalanceTree
from chain.proofs.checkpoint import Balances, Checkpoint, Opened, Trust, open_checkpoint, origin_of
from chain.proofs.log import MerkleLog, leaf_hash
from chain.proofs.note import COSIGNATURE, ED25519, Note, VerifierKey, cosign_note, sign_note

NETWORK_ID = sha256(b"network").digest()
ORIGIN = origin_of(NETWORK_ID)
LOG_SEED = sha256(b"log").digest()
LOG_KEY = VerifierKey(ORIGIN, ED25519, public_key(LOG_SEED))
COSIGNER_NAMES = tuple(f"witness.example/w{i}" for i in range(5))
COSIGNER_SEEDS = tuple(sha256(name.encode()).digest() for name in COSIGNER_NAMES)
COSIGNER_KEYS = tuple(
    VerifierKey(name, COSIGNATURE, public_key(seed))
    for name, seed in zip(COSIGNER_NAMES, COSIGNER_SEEDS, strict=True)
)
TRUST = Trust(ORIGIN, (LOG_KEY,), COSIGNER_KEYS, 3)
TIME_S = 1_800_000_000
HELD = {"bonds": 5_000_000, "bounties": 7, "escrow": 0, "mappers": 90, "pools": 1 << 70}


def key_of(name: str, number: int) -> bytes:
    return sha256(f"{name} {number}".encode()).digest()


def make_log(records: list[bytes]) -> MerkleLog:
    log = MerkleLog()
    for record in records:
        log.append(leaf_hash(record))
    return log


def make_tree(accounts: int, hotspots: int, settlement: int = 3) -> BalanceTree:
    """Accounts that spent a part of what they got, hotspots with earnings of all sizes."""
    return BalanceTree(
        settlement,
        [(key_of("account", i), 1_000_000 * i**2 + 3, 7_919 * i) for i in range(accounts)],
        [(key_of("hotspot", i), 999 * i**3) for i in range(hotspots)],
        HELD,
    )


def sign(checkpoint: Checkpoint, cosigners: int = 3, seed: bytes = LOG_SEED) -> Note:
    """The checkpoint as a note by the log and its first cosigners."""
    text = checkpoint.text
    signatures = [sign_note(text, checkpoint.origin, seed)]
    for number in range(cosigners):
        name, own = COSIGNER_NAMES[number], COSIGNER_SEEDS[number]
        signatures.append(cosign_note(text, name, own, TIME_S + number))
    return Note(text, tuple(signatures))


def make_checkpoint(log: MerkleLog, balances: Balances | None = None) -> Checkpoint:
    return Checkpoint(ORIGIN, len(log), log.root(), balances or Balances())


def opened(checkpoint: Checkpoint, cosigners: int = 3) -> Opened:
    result = open_checkpoint(sign(checkpoint, cosigners), TRUST)
    assert isinstance(result, Opened), result
    return result
