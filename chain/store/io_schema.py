"""The tables of the ledger's database, and the errors that a database can be at fault for.

`blocks` and `records` are the ledger. `tree` keeps the roots of complete subtrees of the log, 16
times wider from level to level, and `mixes` every R ever: both for proofs and explanations without
a replay. `state` is the live state, row by row as chain/store/tables.py packs it. `verdicts`,
`beacons`, `mapped` (verdicts on reports of mappers) and `payments` are for queries, `balance_files`
for proofs of balances: those of the newest two settlements, as chain/proofs/balances.py cuts them.
Payments name accounts by their slots, the view `paid` by the keys in `owners`. Everything but
`meta` follows from the wires, and the audit derives it again; of `meta` it recomputes the check.
"""

from __future__ import annotations

import sqlite3

from chain.errors import EXIT_FAILED, UserError

# What SQLite raises for a damaged file; its own messages may hold bytes that are no text.
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
SCHEMA_VERSION = 2
APPLICATION_ID = int.from_bytes(b"wvcb", "big")
REGISTRATION = 2  # record type whose history explanations look up
SCHEMA = f"""
CREATE TABLE blocks (height INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    size INTEGER NOT NULL, header BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE records (seq INTEGER PRIMARY KEY, height INTEGER NOT NULL, kind INTEGER NOT NULL,
    id BLOB NOT NULL, wire BLOB NOT NULL, reason TEXT NOT NULL, result_index INTEGER);
CREATE UNIQUE INDEX records_id ON records (id);
CREATE INDEX records_assertions ON records (result_index, seq) WHERE kind = {REGISTRATION};
CREATE TABLE tree (level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (level, position)) WITHOUT ROWID;
CREATE TABLE mixes (epoch INTEGER PRIMARY KEY, mix BLOB NOT NULL);
CREATE TABLE verdicts (epoch INTEGER NOT NULL, witness INTEGER NOT NULL, record_id BLOB NOT NULL,
    codes BLOB NOT NULL, PRIMARY KEY (epoch, witness)) WITHOUT ROWID;
CREATE TABLE beacons (epoch INTEGER NOT NULL, beaconer INTEGER NOT NULL, sequence INTEGER NOT NULL,
    verdict TEXT NOT NULL, power_step_cdb INTEGER, counts TEXT NOT NULL,
    PRIMARY KEY (epoch, beaconer, sequence)) WITHOUT ROWID;
CREATE TABLE mapped (record_id BLOB PRIMARY KEY, epoch INTEGER NOT NULL, cell INTEGER NOT NULL,
    codes BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE owners (slot INTEGER PRIMARY KEY, key BLOB NOT NULL);
CREATE TABLE payments (seq INTEGER PRIMARY KEY, height INTEGER NOT NULL, epoch INTEGER NOT NULL,
    kind TEXT NOT NULL, account INTEGER NOT NULL, hotspot INTEGER NOT NULL, cell INTEGER NOT NULL,
    amount_ucr INTEGER NOT NULL, source INTEGER);
CREATE INDEX payments_hotspot ON payments (hotspot);
CREATE INDEX payments_account ON payments (account);
CREATE VIEW paid AS SELECT seq, height, epoch, kind, account AS slot, a.key AS account, hotspot,
    cell, amount_ucr, coalesce(s.key, x'') AS source
    FROM payments p JOIN owners a ON a.slot = p.account LEFT JOIN owners s ON s.slot = p.source;
CREATE TABLE balance_files (path TEXT PRIMARY KEY, settlement INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE TABLE state (name TEXT NOT NULL, key BLOB NOT NULL, row BLOB NOT NULL,
    PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL, "check" BLOB NOT NULL) WITHOUT ROWID;
"""
# What follows from the wires, and by which columns its rows are told apart.
TABLES = {
    "blocks": ("height",),
    "records": ("seq",),
    "tree": ("level", "position"),
    "mixes": ("epoch",),
    "verdicts": ("epoch", "witness"),
    "beacons": ("epoch", "beaconer", "sequence"),
    "mapped": ("record_id",),
    "owners": ("slot",),
    "payments": ("seq",),
    "balance_files": ("path",),
    "state": ("name", "key"),
}
SCALARS = "numbers"  # name in `state` under which the single numbers of the state are


def storage_error(error: sqlite3.Error, path: str) -> UserError:
    """Whose fault a failed write is, and the remedy."""
    return UserError(
        "database",
        f"{path}: {error}",
        "check free space and the mode of its folder; nothing that was acknowledged is lost",
        exit_code=EXIT_FAILED,
        status=503,
    )


def damaged(path: str, problem: object) -> UserError:
    """The database contradicts itself, or SQLite can't read it."""
    return UserError(
        "database",
        f"{path}: {one_line(problem)}",
        "run wavecomb chain audit, then restore a copy",
        exit_code=EXIT_FAILED,
        status=500,
    )


def one_line(problem: object) -> str:
    """An error's text as one line: SQLite quotes whole statements."""
    return " ".join(str(problem).split())
