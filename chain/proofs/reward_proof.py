"""What a hotspot earned or an account holds, proved in about a kilobyte (docs/proofs.md).

A proof carries a leaf of the balance tree, its path, and the checkpoint's fields and signatures.
Neither the balance root nor its sums are in it: the path leads to them, they are put into the
checkpoint's text, and the signatures hold for that text or they don't. So one look at the trusted
keys answers everything: whose, how much, as of which settlement, out of which supply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chain.keys import KEY_BYTES, SIGNATURE_BYTES
from chain.packed import varint
from chain.proofs.balances import ACCOUNTS, HOTSPOTS, BalanceTree, Entry, Top, combine
from chain.proofs.checkpoint import NAME, Balances, Checkpoint, Opened, Trust, open_checkpoint
from chain.proofs.note import KEY_ID_BYTES, TIMESTAMP_BYTES, Note, Signature, Verified
from chain.proofs.sum_tree import (
    HASH_BYTES,
    SUM_BYTES,
    SUM_LIMIT,
    account_node,
    climb,
    decode_node,
    hotspot_node,
    path_places,
)
from chain.records import Refusal

VERSION = 1
KINDS = (ACCOUNTS, HOTSPOTS)
NETWORK_BYTES = 8
MAX_COSIGNATURES = 64
MAX_PROOF_BYTES = 8_192
_SUM_GROUPS = 19  # seven bits each: 128 bits


@dataclass(frozen=True, slots=True)
class RewardProof:
    """A leaf, its path (nodes of 64 bytes), and what is needed to write the checkpoint again.

    `others` are the root of the other tree and that of what is held. A signature is a key id, which
    finds the name among the trusted keys, and what follows it in the note.
    """

    kind: str
    index: int
    size: int
    entry: Entry
    path: tuple[bytes, ...]
    others: tuple[bytes, bytes]
    network: bytes
    log_size: int
    log_root: bytes
    settlement: int
    log_signature: tuple[bytes, bytes]
    cosignatures: tuple[tuple[bytes, bytes], ...]

    @property
    def origin(self) -> str:
        """The log that it speaks of."""
        return f"{NAME}/{self.network.hex()}"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a proof shows, once verified; `supply_ucr` is issued less spent over everybody."""

    kind: str
    index: int
    entry: Entry
    opened: Opened
    balances: Balances

    @property
    def balance_ucr(self) -> int:
        """What an account holds; 0 for a hotspot, whose pay is its owner's."""
        return self.entry.issued_ucr - self.entry.spent_ucr


def make_proof(
    kind: str, index: int, entry: Entry, path: Sequence[bytes], top: Top, opened: Opened
) -> RewardProof | Refusal:
    """A proof from a leaf, its path, the tree's top and a checkpoint that was opened."""
    checkpoint = opened.checkpoint
    said = Balances() if checkpoint.balances is None else checkpoint.balances
    network = _network_of(checkpoint.origin)
    if decode_node(top.root()).hash != said.root or checkpoint.extensions or network is None:
        return Refusal("other_tree", "balances: not those of this checkpoint; fetch both again")
    other = top.hotspots_root if kind == ACCOUNTS else top.accounts_root
    return RewardProof(
        *(kind, index, top.size(kind), entry, tuple(path), (other, top.held_root())),
        *(network, checkpoint.size, checkpoint.root, said.settlement),
        _short(opened.log),
        tuple(map(_short, opened.cosignatures)),
    )


def _short(verified: Verified) -> tuple[bytes, bytes]:
    return verified.signature.key_id, verified.signature.blob


def _network_of(origin: str) -> bytes | None:
    """The 8 bytes in a network's log name; None for a name that no network has."""
    try:
        network = bytes.fromhex(origin.removeprefix(f"{NAME}/"))
    except ValueError:
        return None
    whole = len(network) == NETWORK_BYTES and origin == f"{NAME}/{network.hex()}"
    return network if whole else None


def prove(tree: BalanceTree, kind: str, index: int, opened: Opened) -> RewardProof | Refusal:
    """A proof from a whole balance tree; Refusal for a leaf that it hasn't."""
    if not 0 <= index < len(tree.trees[kind]):
        return Refusal("unknown", f"{kind}: no {index} at settlement {tree.settlement}; check it")
    node = decode_node(tree.trees[kind].node(0, index))
    entry = Entry(tree.key(kind, index), node.issued_ucr, node.spent_ucr)
    return make_proof(kind, index, entry, tree.path(kind, index), tree.top(), opened)


def verify_proof(proof: RewardProof, trust: Trust) -> Statement | Refusal:
    """What a proof shows to somebody who has the trusted keys and nothing else."""
    balances = _get_balances(proof)
    if balances is None:
        return Refusal("bad_proof", "path: leads to no root; ask for another proof")
    checkpoint = Checkpoint(proof.origin, proof.log_size, proof.log_root, balances)
    opened = open_checkpoint(Note(checkpoint.text, _signatures(proof, trust)), trust)
    if isinstance(opened, Refusal):
        return opened
    return Statement(proof.kind, proof.index, proof.entry, opened, balances)


def _get_balances(proof: RewardProof) -> Balances | None:
    """The balances line that the leaf and its path lead to."""
    entry = proof.entry
    if proof.kind == ACCOUNTS:
        leaf = account_node(entry.key, entry.issued_ucr, entry.spent_ucr)
    else:
        leaf = hotspot_node(entry.key, proof.index, entry.issued_ucr)
    root = climb(proof.index, proof.size, leaf, proof.path)
    whole = None if root is None else combine(proof.kind, root, proof.others)
    if whole is None:
        return None
    node = decode_node(whole)
    return Balances(proof.settlement, node.hash, node.issued_ucr, node.spent_ucr)


def _signatures(proof: RewardProof, trust: Trust) -> tuple[Signature, ...]:
    """The note's signatures with their names, as far as the keys are trusted."""
    names = {key.key_id: key.name for key in (*trust.logs, *trust.cosigners)}
    found = (proof.log_signature, *proof.cosignatures)
    known = [(key_id, blob) for key_id, blob in found if key_id in names]
    return tuple(Signature(names[key_id], key_id, blob) for key_id, blob in known)


# --- the compact form -----------------------------------------------------------------------------


def encode_proof(proof: RewardProof) -> bytes:
    """The bytes of a proof: fixed fields as they are, numbers and sums as LEB128 varints.

    In the tree of hotspots issued and spent are one number, and what is held was never spent, so
    each is written once.
    """
    parts = [bytes((VERSION, KINDS.index(proof.kind))), proof.entry.key]
    parts += map(varint, (proof.index, proof.size, proof.entry.issued_ucr))
    if proof.kind == ACCOUNTS:
        parts.append(varint(proof.entry.spent_ucr))
    parts += [_encode_node(node, proof.kind) for node in proof.path]
    parts.append(_encode_node(proof.others[0], _other(proof.kind)))
    parts.append(_encode_node(proof.others[1], "held"))
    parts += (proof.network, varint(proof.log_size), proof.log_root, varint(proof.settlement))
    parts += (*proof.log_signature, bytes((len(proof.cosignatures),)))
    parts += [key_id + blob for key_id, blob in proof.cosignatures]
    return b"".join(parts)


def _other(kind: str) -> str:
    return HOTSPOTS if kind == ACCOUNTS else ACCOUNTS


def _encode_node(raw: bytes, kind: str) -> bytes:
    node = decode_node(raw)
    spent = varint(node.spent_ucr) if kind == ACCOUNTS else b""
    return node.hash + varint(node.issued_ucr) + spent


class _Reader:
    """Reads fields off the front; ValueError where they end too soon or have another form."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._raw[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("it is cut short")
        self._at += count
        return taken

    def number(self, limit: int) -> int:
        value = 0
        for group in range(_SUM_GROUPS):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * group
            if byte < 0x80:
                if value >= limit or (group and not byte):
                    raise ValueError("a number is too large or not in its shortest form")
                return value
        raise ValueError("a number is too long")

    def node(self, kind: str) -> bytes:
        node, issued = self.take(HASH_BYTES), self.number(SUM_LIMIT)
        spent = self.number(SUM_LIMIT) if kind == ACCOUNTS else issued if kind == HOTSPOTS else 0
        return node + issued.to_bytes(SUM_BYTES, "big") + spent.to_bytes(SUM_BYTES, "big")

    def end(self) -> None:
        if self._at != len(self._raw):
            raise ValueError("bytes follow its end")


def decode_proof(raw: bytes) -> RewardProof | Refusal:
    """A proof from its bytes; a proof has one encoding."""
    try:
        if len(raw) > MAX_PROOF_BYTES:
            raise ValueError(f"it has over {MAX_PROOF_BYTES} bytes")
        return _decode(_Reader(raw))
    except ValueError as error:
        return Refusal("bad_proof", f"proof: {error}; fetch it again")


def _decode(reader: _Reader) -> RewardProof:
    version, number = reader.take(2)
    if version != VERSION or number >= len(KINDS):
        raise ValueError("it is none of version 1")
    kind, key = KINDS[number], reader.take(KEY_BYTES)
    index, size = reader.number(1 << 32), reader.number(1 << 32)
    if index >= size:
        raise ValueError(f"leaf {index} can't be among {size}")
    issued = reader.number(SUM_LIMIT)
    spent = reader.number(SUM_LIMIT) if kind == ACCOUNTS else issued
    path = tuple(reader.node(kind) for _ in path_places(index, size))
    others = (reader.node(_other(kind)), reader.node("held"))
    proof = RewardProof(
        *(kind, index, size, Entry(key, issued, spent), path, others),
        *(reader.take(NETWORK_BYTES), reader.number(1 << 63), reader.take(HASH_BYTES)),
        reader.number(1 << 32),
        (reader.take(KEY_ID_BYTES), reader.take(SIGNATURE_BYTES)),
        _read_cosignatures(reader),
    )
    reader.end()
    return proof


def _read_cosignatures(reader: _Reader) -> tuple[tuple[bytes, bytes], ...]:
    count = reader.take(1)[0]
    if count > MAX_COSIGNATURES:
        raise ValueError(f"{count} cosignatures; {MAX_COSIGNATURES} at most")
    size = TIMESTAMP_BYTES + SIGNATURE_BYTES
    return tuple((reader.take(KEY_ID_BYTES), reader.take(size)) for _ in range(count))
