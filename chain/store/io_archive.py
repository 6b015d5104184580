"""Archived records: bundles of 256 (C2SP tile/entries/...) that the database no longer holds.

A reader of the database sees pruned records as if they were there: a temporary view stands before
the table and takes what is missing from the archive, its hash checked against the id that stayed.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.proofs.tiles import TILE_WIDTH, Tile, decode_bundle
from chain.records import Refusal
from chain.store.io_schema import UNREADABLE
from chain.store.io_store import Store
from chain.wire import record_id_of

PRUNED = "pruned"  # in the store's `meta`: how many records of the log's beginning were looked at
BUNDLES_CACHED = 64
VIEW = """
CREATE TEMP VIEW records AS SELECT seq, height, kind, id,
    CASE length(wire) WHEN 0 THEN archived(seq, id) ELSE wire END AS wire, reason, result_index
FROM main.records
"""


class Archive:
    """Reads records from a folder of bundles; None for a folder means that nothing is there.

    `lacks` is the last record that was asked for in vain.
    """

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self.directory = None if directory is None else Path(directory)
        self.lacks: int | None = None
        self._bundles: OrderedDict[int, list[bytes]] = OrderedDict()

    def find(self, seq: int, record_id: bytes) -> bytes | None:
        """A record's wire; None if the archive lacks it, or holds something else there."""
        entries = self._bundle(seq // TILE_WIDTH)
        at = seq % TILE_WIDTH
        if at < len(entries) and record_id_of(entries[at]) == record_id:
            return entries[at]
        self.lacks = seq
        return None

    def _bundle(self, number: int) -> list[bytes]:
        found = self._bundles.get(number)
        if found is None:
            found = self._bundles[number] = self._read(number)
            if len(self._bundles) > BUNDLES_CACHED:
                self._bundles.popitem(last=False)
        return found

    def _read(self, number: int) -> list[bytes]:
        if self.directory is None:
            return []
        try:
            entries = decode_bundle((self.directory / Tile(None, number).path).read_bytes())
        except FileNotFoundError:
            return []
        return [] if isinstance(entries, Refusal) else entries

    def problem(self) -> UserError:
        """What to tell somebody who asked for what isn't here."""
        where = "moved to an archive" if self.directory is None else f"not in {self.directory}"
        return UserError(
            "archive",
            f"record {self.lacks} was pruned and is {where}",
            "give the folder that wavecomb chain prune wrote: --archive DIR",
            exit_code=EXIT_FAILED,
            status=410,
        )


def count_pruned(store: Store) -> int:
    """Records at the beginning of the log whose bytes were archived, but for those that stay."""
    return int.from_bytes(store.meta().get(PRUNED, b""), "big")


def attach(store: Store, directory: str | os.PathLike[str] | None) -> Archive:
    """Have a read-only store show archived records; without pruned ones it stays as it is."""
    archive = Archive(directory)

    def archived(seq: int, record_id: bytes) -> bytes:
        wire = archive.find(seq, record_id)
        if wire is None:
            raise LookupError(seq)
        return wire

    if count_pruned(store):
        store.connection.create_function("archived", 2, archived)
        store.connection.execute(VIEW)
    return archive


@contextmanager
def open_with_archive(
    path: str | os.PathLike[str], directory: str | os.PathLike[str] | None
) -> Iterator[Store]:
    """A read-only store that shows archived records.

    UserError that says which record is missing, where one is.
    """
    store = Store.open(path, read_only=True)
    archive = Archive(None)
    try:
        store.hold_still()
        archive = attach(store, directory)
        yield store
    except (UserError, *UNREADABLE) as error:
        if archive.lacks is not None:
            raise archive.problem() from error
        raise
    finally:
        store.close()
