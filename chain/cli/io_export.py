"""`wavecomb chain export`: the ledger as a folder of small files that any web server can host.

Files are written beside their place and renamed into it; the checkpoint comes last. So readers see
the old log or the new one, and an export that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Progress, add_command, print_json
from chain.proofs.checkpoint import Checkpoint, parse_checkpoint
from chain.proofs.io_site import CHECKPOINT, Site
from chain.proofs.note import parse_note
from chain.proofs.tiles import ENTRIES, TILE_WIDTH, Tile, TileLog, new_tiles, tiles_at
from chain.records import Refusal

EXAMPLES = """
  wavecomb chain export --dir ledger site
  wavecomb chain export --dir ledger site --json    # again: only what is new
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: the log's size before and after, files written and left as they were."""

    old_size: int
    size: int
    settlement: int
    written: int
    kept: int
    removed: int


def export(
    site: Site, out: Path, note: Callable[[int, int], None] = lambda *_: None
) -> Exported:
    """Write what a folder lacks of the ledger's published checkpoint.

    UserError if nothing is published yet, or if the folder holds another log or another history.
    """
    raw = site.read(CHECKPOINT)
    if raw is None:
        problem = "no checkpoint was published yet"
        remedy = "run the ledger until an epoch closes"
        raise UserError("dir", problem, remedy, exit_code=EXIT_FAILED)
    new, old = _parse(raw, "dir"), _read_old(out)
    _check_history(site, new, old)
    size = 0 if old is None else old.size
    tiles = [*new_tiles(new.size, size), *tiles_at(None, new.size, size)]
    settlement = 0 if new.balances is None else new.balances.settlement
    balances = [] if old == new else list(site.balance_paths(settlement))
    paths = [*(tile.path for tile in tiles), *balances]
    written = 0
    for done, path in enumerate(paths):
        note(done, len(paths))
        written += _write(site, out, path)
    _put(out / CHECKPOINT, raw)
    removed = _remove_old(out, tiles, settlement)
    return Exported(size, new.size, settlement, written, len(paths) - written, removed)


def _parse(raw: bytes, field: str) -> Checkpoint:
    note = parse_note(raw)
    checkpoint = note if isinstance(note, Refusal) else parse_checkpoint(note.text)
    if isinstance(checkpoint, Refusal):
        raise UserError(field, checkpoint.detail, "take another one", exit_code=EXIT_FAILED)
    return checkpoint


def _read_old(out: Path) -> Checkpoint | None:
    file = out / CHECKPOINT
    if file.is_file():
        return _parse(file.read_bytes(), "out")
    if out.is_dir() and any(out.iterdir()) and not (out / "tile").is_dir():
        raise UserError("out", f"{out} holds something else", "name an empty folder")
    return None


def _check_history(site: Site, new: Checkpoint, old: Checkpoint | None) -> None:
    """What the folder shows must be a prefix of what it will show."""
    if old is None:
        return
    if old.origin != new.origin or old.size > new.size:
        problem = f"it holds {old.size} records of {old.origin}"
        raise UserError("out", problem, "name another folder", exit_code=EXIT_FAILED)
    if old.size and TileLog(old.size, site.read).root() != old.root:
        problem = f"its first {old.size} records are not those of this ledger"
        raise UserError("out", problem, "name another folder", exit_code=EXIT_FAILED)


def _write(site: Site, out: Path, path: str) -> bool:
    """Write a file unless it is there; False where there is nothing to write."""
    file = out / path
    if file.is_file():
        return False
    data = site.read(path)
    if data is None:
        if path.startswith("tile/") and f"/{ENTRIES}/" not in path:
            raise UserError("dir", f"{path} is missing", "run wavecomb chain audit")
        return False  # no key begins so, or the records were pruned
    _put(file, data)
    return True


def _put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_bytes(data)
    draft.replace(file)


def _remove_old(out: Path, tiles: list[Tile], settlement: int) -> int:
    """Drop partial tiles that a full one replaced, and balances that no reader needs any more."""
    gone = [
        out / f"{tile.path}.p" for tile in tiles if tile.width == TILE_WIDTH
    ] + list(_old_balances(out, settlement))
    present = [folder for folder in gone if folder.is_dir()]
    for folder in present:
        shutil.rmtree(folder)
    return len(present)


def _old_balances(out: Path, settlement: int) -> Iterator[Path]:
    folders = out.glob("balances/*")
    return (f for f in folders if f.name.isdecimal() and int(f.name) < settlement - 1)


def add_commands(commands: Any) -> None:
    """`wavecomb chain export`."""
    command = add_command(
        commands, "export", "write the ledger as static files: log, records, balances, proofs"
    )
    command.add_argument(
        "out", type=Path, metavar="OUT", help="the folder to write, or to bring up to date"
    )
    command.add_argument(
        "--dir", type=Path, required=True, metavar="DIR", help="the ledger's folder"
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Bring a folder up to date."""
    progress = Progress("export", 1, quiet=options.json)

    def note(done: int, total: int) -> None:
        progress.total = max(1, total)
        progress.update(done)

    site = Site(options.dir)
    try:
        done = export(site, options.out, note)
    finally:
        site.close()
    progress.close()
    value = {name: getattr(done, name) for name in Exported.__slots__}
    text = (
        f"{options.out}: {done.size} records ({done.size - done.old_size} new), settlement "
        f"{done.settlement}; {done.written} files written"
    )
    print_json(value) if options.json else print(text, flush=True)
    return EXIT_OK
