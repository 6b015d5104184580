"""`wavecomb chain promise-check`: was a promise of the sequencer kept? Anyone may ask."""

from __future__ import annotations

import argparse
import base64
import binascii
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.cli.io_common import add, add_archive, add_ledger, show
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient, LogEntry
from chain.io_terminal import Progress
from chain.proofs.promise import Promise, parse_promise, promise_json
from chain.proofs.promise_ruling import Kept, Logged, Ruling, compute_ruling, get_early_ruling
from chain.records import Refusal
from chain.rules.blocks import Block
from chain.store.io_archive import open_with_archive
from chain.store.io_store import Store

PAGE = 1_000
EXAMPLES = """
  wavecomb chain promise-check promises.json
  wavecomb chain promise-check promises.json --db copy-of-ledger.db
"""


def add_commands(commands: Any) -> None:
    """Add the sub-command."""
    check = add(commands, "promise-check", run_check, "say whether promises of intake were kept")
    check.add_argument(
        "file", metavar="FILE", help="promises with their records, as submit --promise wrote them"
    )
    check.add_argument("--db", metavar="FILE", help="ask a database file instead of a service")
    add_archive(check)
    add_ledger(check)


def write_promises(path: Path, promises: list[Promise], wires: list[bytes]) -> None:
    """Keep promises beside the records that they are about: together they are evidence."""
    rows = [
        {"promise": promise_json(promise), "wire": base64.b64encode(raw).decode()}
        for promise, raw in zip(promises, wires, strict=True)
    ]
    path.write_text(json.dumps({"promises": rows}, indent=1) + "\n")


def read_promises(path: Path) -> list[tuple[Promise, bytes]]:
    """Promises with their records; UserError for a file that holds something else."""
    try:
        rows = json.loads(path.read_text())["promises"]
        pairs = [(row["promise"], base64.b64decode(row["wire"], validate=True)) for row in rows]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        problem = f"{path} holds no promises"
        raise UserError("file", problem, "give what submit --promise wrote") from error
    found = []
    for value, raw in pairs:
        promise = parse_promise(value)
        if isinstance(promise, Refusal):
            raise UserError("file", f"{path}: {promise.detail}", "nothing was decided")
        found.append((promise, raw))
    return found


@dataclass(slots=True)
class Source:
    """A ledger to ask: where a record is, which epoch it is, and all blocks."""

    find: Callable[[bytes], Logged | None]
    epoch: int
    height: int
    blocks: Callable[[], Iterator[Block]]


def run_check(options: argparse.Namespace) -> int:
    """Rule on every promise; exit code 1 if one was broken."""
    pairs = read_promises(Path(options.file))
    if options.db:
        with open_with_archive(options.db, options.archive) as store:
            rulings = [_rule(options, store_source(store), *pair) for pair in pairs]
    else:
        with LedgerClient(options.ledger) as client:
            rulings = [_rule(options, client_source(client), *pair) for pair in pairs]
    rows = [
        {"record_id": promise.record_id.hex(), "state": ruling.kept.value, "detail": ruling.detail}
        | ({} if ruling.seq is None else {"seq": ruling.seq, "block": ruling.block})
        for (promise, _), ruling in zip(pairs, rulings, strict=True)
    ]
    lines = [
        f"{_word(ruling)} {row['record_id']}: {ruling.detail}"
        for row, ruling in zip(rows, rulings, strict=True)
    ]
    show(options, {"promises": rows}, "\n".join(lines))
    broken = any(ruling.kept is Kept.BROKEN for ruling in rulings)
    return EXIT_FAILED if broken else EXIT_OK


def _word(ruling: Ruling) -> str:
    return "BROKEN" if ruling.kept is Kept.BROKEN else ruling.kept.value


def _rule(options: argparse.Namespace, source: Source, promise: Promise, raw: bytes) -> Ruling:
    logged = source.find(promise.record_id)
    ruling = get_early_ruling(promise, logged, source.epoch)
    if ruling is not None:
        return ruling
    progress = Progress("replay", source.height, quiet=options.json)
    answer = compute_ruling(promise, raw, logged, source.blocks(), note=progress.update)
    progress.close()
    if isinstance(answer, Refusal):
        field, _, problem = answer.detail.partition(": ")
        raise UserError(field, problem, "it proves nothing here", exit_code=EXIT_FAILED)
    return answer


def store_source(store: Store) -> Source:
    """A database, or a copy of one."""

    def find(record_id: bytes) -> Logged | None:
        sql = (
            "SELECT seq, height, epoch, reason FROM records JOIN blocks USING (height) WHERE id = ?"
        )
        rows = store.rows(sql, (record_id,))
        return Logged(*rows[0].values()) if rows else None

    (last,) = store.rows("SELECT height, epoch FROM blocks ORDER BY height DESC LIMIT 1")
    return Source(find, last["epoch"], last["height"], store.blocks)


def client_source(client: LedgerClient) -> Source:
    """A running service."""
    head = client.head()

    def find(record_id: bytes) -> Logged | None:
        row = client.find_record(record_id)
        return None if row is None else Logged(row.seq, row.block, row.epoch, row.reason)

    return Source(find, head.epoch, head.height, lambda: _blocks(client))


def _blocks(client: LedgerClient) -> Iterator[Block]:
    """Blocks with records, page by page; those without follow from the clock."""
    for _, group in itertools.groupby(_entries(client), key=lambda entry: entry.block):
        entries = list(group)
        first = entries[0]
        if not all(entry.wire for entry in entries):
            problem = f"the service pruned records of block {first.block}"
            remedy = "ask its database: --db FILE --archive DIR"
            raise UserError("ledger", problem, remedy, exit_code=EXIT_FAILED)
        yield Block(first.block, first.epoch, first.time_ms, tuple(e.wire for e in entries))


def _entries(client: LedgerClient) -> Iterator[LogEntry]:
    start = 0
    while page := client.records(start, PAGE):
        yield from page
        start += len(page)
