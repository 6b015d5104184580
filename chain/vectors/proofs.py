"""Vectors of everything that is proved by hashes: the log, claims, balances, notes."""

from __future__ import annotations

from typing import Any

from chain.claims.tree import ClaimTree, compute_root, leaf_node
from chain.keys import public_key
from chain.packed import Entry, PackedError, pack_entries, unpack_entries, unpack_receipts, varint
from chain.proofs import log
from chain.proofs.balances import ACCOUNTS, HOTSPOTS, BalanceTree
from chain.proofs.checkpoint import Balances, Checkpoint, parse_checkpoint
from chain.proofs.note import COSIGNATURE, ED25519, Note, VerifierKey, cosign_note, sign_note
from chain.records import Refusal
from chain.vectors.suite import Cases, Draws, Json, Suite


def _log_of(given: dict[str, Any]) -> log.MerkleLog:
    tree = log.MerkleLog()
    for record in given["records"]:
        tree.append(log.leaf_hash(bytes.fromhex(record)))
    return tree


def _consistency(given: dict[str, Any]) -> Json:
    return [node.hex() for node in _log_of(given).consistency_proof(given["old"])]


def _log_cases() -> Cases:
    draw = Draws("log")
    records = [draw.octets(number % 5).hex() for number in range(40)]
    for size in (0, 1, 2, 3, 4, 7, 8, 9, 31, 40):
        yield f"root of {size}", "root", {"records": records[:size]}
    for index, size in ((0, 1), (0, 2), (1, 3), (2, 3), (4, 7), (6, 7), (0, 40), (39, 40)):
        given = {"records": records[:size], "index": index}
        yield f"inclusion of {index} in {size}", "inclusion", given
    for old, size in ((1, 1), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (8, 8), (31, 40), (32, 40)):
        given = {"records": records[:size], "old": old}
        yield f"consistency of {old} and {size}", "consistency", given


LOG = Suite(
    "log",
    "The log of records (hex): roots, inclusion and consistency proofs as RFC 6962 gives them.",
    {
        "root": lambda given: _log_of(given).root().hex(),
        "inclusion": lambda given: [
            node.hex() for node in _log_of(given).inclusion_proof(given["index"])
        ],
        "consistency": _consistency,
    },
    _log_cases,
)


def _leaves(given: dict[str, Any]) -> list[bytes]:
    return [
        leaf_node(Entry(*leaf["entry"]), bytes.fromhex(leaf["receipt_hash"]), leaf["due_ucr"])
        for leaf in given["leaves"]
    ]


def _claim_tree(given: dict[str, Any]) -> Json:
    leaves = _leaves(given)
    tree = ClaimTree(leaves)
    root = tree.root()
    return {
        "entries": pack_entries([Entry(*leaf["entry"]) for leaf in given["leaves"]]).hex(),
        "root": root.hash.hex(),
        "total_ucr": root.total_ucr,
        "paths": [tree.path(position).hex() for position in range(len(leaves))],
    }


def _claim_path(given: dict[str, Any]) -> Json:
    leaf, path = _leaves({"leaves": [given["leaf"]]})[0], bytes.fromhex(given["path"])
    root = compute_root(given["position"], given["count"], leaf, path)
    return None if root is None else {"root": root.hash.hex(), "total_ucr": root.total_ucr}


def _unpack(given: dict[str, Any]) -> Json:
    raw = bytes.fromhex(given["packed"])
    try:
        if given["what"] == "entries":
            return [list(entry) for entry in unpack_entries(raw)]
        return [
            [r.session, r.sequence, r.relayed_bytes, r.ai_tokens, r.ai_requests]
            for r in unpack_receipts(raw)
        ]
    except PackedError:
        return {"error": True}


PACKED: tuple[tuple[str, str], ...] = (
    ("one entry", "0000000000"),
    ("two entries", "00010203040501020304"),
    ("the widest numbers", "ffffffff0f" * 2 + "ffffffffffffffffff01" * 2 + "ffffffff0f"),
    ("a session twice", "00000000000000000000"),
    ("a longer form of 0", "8000000000" + "00"),
    ("beyond 64 bits", "0000ffffffffffffffffff020000"),
    ("a sequence beyond 32 bits", "00ffffffff1f000000"),
    ("a count beyond 32 bits", "00000000ffffffff1f"),
    ("a number of ten bytes", "0000ffffffffffffffffff010000"),
    ("a number of eleven bytes", "0000" + "80" * 10 + "010000"),
    ("a number without end", "80" * 40),
    ("cut short", "00000000"),
    ("cut within a number", "0000000080"),
)


def _claim_cases() -> Cases:
    draw = Draws("claims")
    for number in range(20):
        bits = 1 << draw.between(0, 64)
        yield f"varint {number}", "varint", {"number": draw.between(0, bits - 1)}
    for name, packed in PACKED:
        yield f"unpack: {name}", "unpack", {"what": "entries", "packed": packed}
    one = "0300808040f40301" + "11" * 32 + "22" * 64 + "33" * 64
    for name, packed in (("a receipt", one), ("a receipt cut short", one[:-2])):
        yield f"unpack: {name}", "unpack", {"what": "receipts", "packed": packed}
    leaves = [
        {
            "entry": [session * 3, session + 1, draw.between(0, 1 << 40), 7 * session, session],
            "receipt_hash": draw.octets(32).hex(),
            "due_ucr": draw.between(0, 10**9),
        }
        for session in range(7)
    ]
    for count in (1, 2, 3, 5, 7):
        yield f"tree of {count}", "tree", {"leaves": leaves[:count]}
    path = ClaimTree(_leaves({"leaves": leaves})).path(4).hex()
    given = {"leaf": leaves[4], "position": 4, "count": 7, "path": path}
    yield "path", "path", given
    yield "path of another place", "path", {**given, "position": 5}
    yield "path of a smaller tree", "path", {**given, "count": 5}
    yield "path with a node too few", "path", {**given, "path": path[:-80]}
    yield "path beyond 64 bits", "path", {**given, "path": path[:64] + "ff" * 8 + path[80:]}


CLAIMS = Suite(
    "claims",
    "Packed receipts and entries, and the sum tree of a relay's claim (paths: 40 bytes a node).",
    {
        "varint": lambda given: varint(given["number"]).hex(),
        "unpack": _unpack,
        "tree": _claim_tree,
        "path": _claim_path,
    },
    _claim_cases,
)


def _balances(given: dict[str, Any]) -> Json:
    accounts = [(bytes.fromhex(key), issued, spent) for key, issued, spent in given["accounts"]]
    hotspots = [(bytes.fromhex(key), earned) for key, earned in given["hotspots"]]
    tree = BalanceTree(given["settlement"], accounts, hotspots, given["held"])
    balances = tree.balances()
    return {
        "root": balances.root.hex(),
        "issued_ucr": balances.issued_ucr,
        "spent_ucr": balances.spent_ucr,
        "paths": {
            kind: [[node.hex() for node in tree.path(kind, n)] for n in range(len(rows))]
            for kind, rows in ((ACCOUNTS, accounts), (HOTSPOTS, hotspots))
        },
    }


def _checkpoint_of(given: dict[str, Any]) -> Checkpoint:
    settlement, root, issued, spent = given["balances"]
    balances = Balances(settlement, bytes.fromhex(root), issued, spent)
    return Checkpoint(given["origin"], given["size"], bytes.fromhex(given["root"]), balances)


def _signed_checkpoint(given: dict[str, Any]) -> Json:
    """The note, line by line, and the keys that verify it."""
    text, seed = _checkpoint_of(given).text, bytes.fromhex(given["log_seed"])
    signatures = [sign_note(text, given["origin"], seed)]
    keys = [VerifierKey(given["origin"], ED25519, public_key(seed))]
    for name, cosigner, time_s in given["cosigners"]:
        signatures.append(cosign_note(text, name, bytes.fromhex(cosigner), time_s))
        keys.append(VerifierKey(name, COSIGNATURE, public_key(bytes.fromhex(cosigner))))
    note = Note(text, tuple(signatures)).encode().decode()
    return {"note": note.split("\n"), "keys": [str(key) for key in keys]}


def _parsed(given: dict[str, Any]) -> Json:
    found = parse_checkpoint("\n".join(given["text"]))
    if isinstance(found, Refusal):
        return {"refused": found.reason}
    return {"origin": found.origin, "size": found.size, "root": found.root.hex()}


def _balance_cases() -> Cases:
    draw = Draws("balances")
    held = {"bonds": 5, "bounties": 0, "escrow": 1 << 40, "mappers": 9, "pools": 10**12}
    for accounts, hotspots in ((0, 0), (1, 0), (0, 1), (2, 1), (3, 4), (7, 5)):
        yield f"tree of {accounts} accounts and {hotspots} hotspots", "tree", {
            "settlement": 3,
            "accounts": [
                [draw.octets(32).hex(), (1 << 60) + draw.between(0, 99), draw.between(0, 1 << 59)]
                for _ in range(accounts)
            ],
            "hotspots": [
                [draw.octets(32).hex(), draw.between(0, 1 << 50)] for _ in range(hotspots)
            ],
            "held": held,
        }
    checkpoint: dict[str, Any] = {
        "origin": "wavecomb/0123456789abcdef",
        "size": 12_345,
        "root": draw.octets(32).hex(),
        "balances": [17, draw.octets(32).hex(), 10**15, 10**14],
    }
    seeds = [draw.octets(32).hex() for _ in range(4)]
    cosigners = [[f"witness.example/w{n}", seeds[n], 1_700_000_000 + n] for n in range(1, 4)]
    yield "checkpoint with three cosigners", "checkpoint", {
        **checkpoint, "log_seed": seeds[0], "cosigners": cosigners
    }
    lines = _checkpoint_of(checkpoint).text.split("\n")
    broken: tuple[tuple[str, int, str], ...] = (
        ("size with a zero in front", 1, "012345"),
        ("negative size", 1, "-1"),
        ("short root", 2, "AAAA"),
        ("root that is no base64", 2, "!" * 44),
        ("root in another form of base64", 2, lines[2].rstrip("=")),
        ("balances cut short", 3, "balances 17"),
        ("more spent than issued", 3, f"balances 17 {lines[2]} 1 2"),
        ("empty line", 0, ""),
    )
    yield "parse a checkpoint", "parse", {"text": lines}
    yield "parse one without an end of line", "parse", {"text": lines[:-1]}
    for name, number, line in broken:
        text = [*lines[:number], line, *lines[number + 1 :]]
        yield f"parse: {name}", "parse", {"text": text}


BALANCES = Suite(
    "balances",
    "The balance tree of a settlement, and checkpoints as signed notes (given line by line).",
    {"tree": _balances, "checkpoint": _signed_checkpoint, "parse": _parsed},
    _balance_cases,
)
