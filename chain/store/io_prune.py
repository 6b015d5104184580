"""Pruning: old records move to an archive; the database keeps ids, proofs, verdicts and state.

Bundles of 256 records are written as C2SP says, flushed, read again and hashed up to the root of
their subtree of the log; only then do their bytes leave the database. A process that is killed
between the two leaves a record in both places, never in neither. Registrations stay: explanations
of new beacons need them, however old they are. So does the genesis.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.params import PRESETS
from chain.proofs.log import node_hash
from chain.proofs.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, decode_bundle, encode_bundle
from chain.records import Genesis, Refusal, Registration
from chain.store.io_archive import PRUNED, Archive, count_pruned
from chain.store.io_backup import sync_folder
from chain.store.io_restore import load_genesis
from chain.store.io_schema import storage_error
from chain.store.io_store import Store, compute_check
from chain.wire import record_id_of

KEPT_KINDS = (Genesis.TYPE, Registration.TYPE)
BUNDLES_PER_COMMIT = 16
Note = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did: records archived before and now, the epoch before which they lie, bytes."""

    before: int
    records: int
    epoch: int
    freed_bytes: int


def prune(
    database: Path, archive: Path, keep_settlements: int = 1, note: Note = lambda *_: None
) -> Pruned:
    """Move what is older than some settlements plus the time for appeals to an archive.

    The ledger may run meanwhile. UserError if the archive can't be written or contradicts the log.
    """
    store = Store.open(database)
    try:
        archive = archive.resolve()
        before = count_pruned(store)
        epoch = get_first_kept_epoch(store, keep_settlements)
        target = _count_until(store, epoch)
        freed = 0
        for start in range(before, target, BUNDLES_PER_COMMIT * TILE_WIDTH):
            end = min(target, start + BUNDLES_PER_COMMIT * TILE_WIDTH)
            write_bundles(store, archive, start, end)
            freed += _forget(store, start, end)
            note(end - before, target - before)
        return Pruned(before, max(before, target), epoch, freed)
    except sqlite3.Error as error:
        raise storage_error(error, str(database)) from error
    except OSError as error:
        raise UserError(
            "archive", f"{archive}: {error.strerror or error}", "check free space and its mode"
        ) from error
    finally:
        store.close()


def get_first_kept_epoch(store: Store, keep_settlements: int) -> int:
    """The epoch from which on everything stays: settlements to keep, plus the time for appeals."""
    params = PRESETS[load_genesis(store)[0].preset]
    newest = store.rows("SELECT epoch FROM blocks ORDER BY height DESC LIMIT 1")[0]["epoch"]
    settled = newest - newest % params.settlement_epochs
    kept = keep_settlements * params.settlement_epochs + params.appeal_epochs
    return int(max(0, settled - kept))


def _count_until(store: Store, epoch: int) -> int:
    """Records accepted before an epoch, in whole bundles."""
    rows = store.rows("SELECT max(size) AS size FROM blocks WHERE epoch < ?", (epoch,))
    return (rows[0]["size"] or 0) // TILE_WIDTH * TILE_WIDTH


def write_bundles(store: Store, archive: Path, start: int, end: int) -> None:
    """Write the bundles of some records, on the disk and checked when this returns."""
    folders = {archive.parent}
    for number in range(start // TILE_WIDTH, end // TILE_WIDTH):
        path = archive / Tile(None, number).path
        if not _is_bundle(store, path, number):
            _write(path, _bundle_of(store, Archive(archive), number))
        folders |= {path.parent, *path.parent.parents} - set(archive.parents)
        if not _is_bundle(store, path, number):
            problem = f"{path} is not what the log holds there"
            raise UserError("archive", problem, "nothing was pruned", exit_code=EXIT_FAILED)
    for folder in sorted(folders, reverse=True):
        sync_folder(folder)


def _bundle_of(store: Store, archive: Archive, number: int) -> bytes:
    first = number * TILE_WIDTH
    sql = "SELECT seq, id, wire FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq"
    wires = []
    for row in store.rows(sql, (first, first + TILE_WIDTH - 1)):
        wire = row["wire"] or archive.find(row["seq"], row["id"])
        if wire is None:
            raise archive.problem()
        wires.append(wire)
    return encode_bundle(wires)


def _write(path: Path, data: bytes) -> None:
    """Write a file whole, flushed, under another name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, path)


def _is_bundle(store: Store, path: Path, number: int) -> bool:
    """Whether a file holds the records of a bundle: their root is the log's own."""
    try:
        entries = decode_bundle(path.read_bytes())
    except FileNotFoundError:
        return False
    if isinstance(entries, Refusal) or len(entries) != TILE_WIDTH:
        return False
    nodes = [record_id_of(entry) for entry in entries]
    while len(nodes) > 1:
        nodes = [node_hash(*nodes[i : i + 2]) for i in range(0, len(nodes), 2)]
    return nodes[0] == store.log.node(TILE_HEIGHT, number)


def _forget(store: Store, start: int, end: int) -> int:
    """Take the bytes of archived records out of the database; how many they were."""
    connection, span = store.connection, (start, end - 1, *KEPT_KINDS)
    which = "seq BETWEEN ? AND ? AND kind NOT IN (?, ?)"
    value = end.to_bytes(8, "big")
    try:
        connection.execute("BEGIN IMMEDIATE")
        sql = f"SELECT coalesce(sum(length(wire)), 0) FROM records WHERE {which}"
        freed = connection.execute(sql, span).fetchone()[0]
        connection.execute(f"UPDATE records SET wire = x'' WHERE {which}", span)
        row = (PRUNED, value, compute_check(PRUNED, value))
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", row)
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return int(freed)
