"""`wavecomb chain backup|restore|…`: what whoever runs a ledger does beside running it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain.cli.io_ask import audit_with_progress
from chain.cli.io_common import add, add_archive, add_dir, show
from chain.errors import EXIT_OK, UserError
from chain.io_ledger import DATABASE
from chain.io_terminal import Progress
from chain.store.io_backup import Copy, backup, restore
from chain.store.io_prune import prune

EXAMPLES = """
  wavecomb chain backup --dir ledger monday.db     # while the service runs
  wavecomb chain restore monday.db --dir ledger2
  wavecomb chain prune --dir ledger --archive archive
  wavecomb chain prune --dir ledger --archive archive --keep-settlements 7
"""


def add_commands(commands: Any) -> None:
    """Add the sub-commands."""
    keep = add(commands, "backup", run_backup, "copy the ledger to a file, running or not")
    add_dir(keep)
    keep.add_argument("out", type=Path, metavar="OUT", help="file to write, which must not exist")
    back = add(commands, "restore", run_restore, "make a ledger's folder from a backup")
    back.add_argument("backup", type=Path, metavar="FILE", help="a file that backup wrote")
    add_dir(back, "folder to make; its keys are yours to copy, a backup has none")
    back.add_argument(
        "--no-audit", action="store_true", help="don't derive everything again before"
    )
    add_archive(back)
    less = add(commands, "prune", run_prune, "move old records from the database to an archive")
    add_dir(less)
    less.add_argument(
        *("--archive",), type=Path, required=True, metavar="DIR", help="folder for the records"
    )
    less.add_argument(
        *("--keep-settlements",),
        type=int,
        default=1,
        metavar="N",
        help="settlements to keep beside the time for appeals (default: %(default)s)",
    )


def run_backup(options: argparse.Namespace) -> int:
    """Copy a ledger while it runs."""
    progress = Progress("backup", 1, quiet=options.json)
    copy = backup(options.dir / DATABASE, options.out, _note(progress))
    progress.close()
    return _show_copy(options, "backed up", copy)


def run_restore(options: argparse.Namespace) -> int:
    """Restore a ledger, audited before."""
    if not Path(options.backup).is_file():
        problem = f"{options.backup}: no such file"
        raise UserError("FILE", problem, "name what wavecomb chain backup wrote")
    progress = Progress("copy", 1, quiet=options.json)
    copy = restore(
        options.backup,
        options.dir,
        check=None
        if options.no_audit
        else lambda path: audit_with_progress(
            str(path), quiet=options.json, archive=options.archive
        ),
        note=_note(progress),
    )
    progress.close()
    return _show_copy(options, "restored" if options.no_audit else "audited and restored", copy)


def run_prune(options: argparse.Namespace) -> int:
    """Move old records to an archive."""
    if options.keep_settlements < 1:
        raise UserError("keep-settlements", f"{options.keep_settlements}", "keep at least 1")
    progress = Progress("prune", 1, quiet=options.json)
    done = prune(
        options.dir / DATABASE, options.archive, options.keep_settlements, _note(progress)
    )
    progress.close()
    count = done.records - done.before
    value = {
        "archived": count,
        "archived_in_all": done.records,
        "before_epoch": done.epoch,
        "freed_bytes": done.freed_bytes,
        "archive": str(options.archive),
    }
    text = (
        f"{count} records from before epoch {done.epoch} moved to {options.archive}, "
        f"{done.records} in all; {done.freed_bytes:,} bytes of the database are free for new ones"
    )
    show(options, value, text)
    return EXIT_OK


def _note(progress: Progress) -> Any:
    def note(done: int, total: int) -> None:
        progress.total = max(1, total)
        progress.update(done)

    return note


def _show_copy(options: argparse.Namespace, word: str, copy: Copy) -> int:
    value = {
        "path": copy.path,
        "height": copy.height,
        "epoch": copy.epoch,
        "records": copy.records,
        "hash": copy.hash.hex(),
        "size_bytes": copy.size_bytes,
    }
    text = (
        f"{word}: {copy.records} records to block {copy.height}, epoch {copy.epoch}, "
        f"{copy.size_bytes:,} bytes in {copy.path}"
    )
    show(options, value, text)
    return EXIT_OK
