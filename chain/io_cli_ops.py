"""`wavecomb chain backup|restore|…`: what whoever runs a ledger does beside running it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain.errors import EXIT_OK
from chain.io_backup import Copy, backup, restore
from chain.io_cli_ask import audit_with_progress
from chain.io_cli_common import add, add_dir, show
from chain.io_ledger import DATABASE
from chain.io_terminal import Progress

EXAMPLES = """
  wavecomb chain backup --dir ledger monday.db     # while the service runs
  wavecomb chain restore monday.db --dir ledger2
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


def run_backup(options: argparse.Namespace) -> int:
    """Copy a ledger while it runs."""
    progress = Progress("backup", 1, quiet=options.json)
    copy = backup(options.dir / DATABASE, options.out, _note(progress))
    progress.close()
    return _show_copy(options, "backed up", copy)


def run_restore(options: argparse.Namespace) -> int:
    """Restore a ledger, audited before."""
    progress = Progress("copy", 1, quiet=options.json)
    copy = restore(
        options.backup,
        options.dir,
        check=None
        if options.no_audit
        else lambda path: audit_with_progress(str(path), quiet=options.json),
        note=_note(progress),
    )
    progress.close()
    return _show_copy(options, "restored" if options.no_audit else "audited and restored", copy)


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
