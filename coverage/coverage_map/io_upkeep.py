"""`wavecomb map compact`, and the same beside a map that is served: off the loop, now and then."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, print_json
from coverage_map.store.io_keeper import Keeper
from coverage_map.store.io_upkeep import Chores, Stopped

LOOK_EVERY_S = 30.0
EXAMPLES = """
  wavecomb map compact --data /var/lib/wavecomb/map
  wavecomb map compact --data /var/lib/wavecomb/map --json"""


class Upkeep:
    """Tidies a keeper's store in a thread; one thing at a time, never while a snapshot is made."""

    def __init__(self, keeper: Keeper, every_s: float = LOOK_EVERY_S) -> None:
        self.keeper = keeper
        self.every_s = every_s
        self.done = 0
        self._looked_at = 0.0
        self._chores: Chores | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it is at work now."""
        return self._task is not None and not self._task.done()

    def start_if_due(self, busy: bool) -> None:
        """Begin what is due, unless something else is about to begin."""
        if busy or self.running or time.monotonic() - self._looked_at < self.every_s:
            return
        self._looked_at = time.monotonic()
        if self._task is not None:
            self._task.result()  # a fault of the last run is a fault of the map
            self._task = None
        self._chores = Chores.of(self.keeper, time.time_ns() // 1_000_000)
        if self._chores is not None:
            self._task = asyncio.get_running_loop().create_task(self._carry_out(self._chores))

    async def finish(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await self._task

    def stop(self) -> None:
        """Break off what is under way; nothing of it is left."""
        if self._chores is not None:
            self._chores.stop.set()

    async def _carry_out(self, chores: Chores) -> None:
        try:
            done = await asyncio.to_thread(chores.make)
        except Stopped:
            return
        if not chores.stop.is_set():
            chores.adopt(done)
            self.done += 1


# --- command line ---------------------------------------------------------------------------------


def add_options(parser: Parser) -> None:
    """Options of `wavecomb map compact`."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR",
        help="the data directory of a map that isn't running: a running one does this by itself",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def run(options: argparse.Namespace) -> int:
    """`wavecomb map compact`."""
    if not (options.data / "checkpoint.json").is_file():
        remedy = "give a map's data directory"
        raise UserError("--data", f"{options.data} holds no map", remedy)
    keeper = Keeper(options.data)
    try:
        found = compact(keeper, options.json)
    finally:
        keeper.close()
    print_json(found) if options.json else print(
        "\n".join(f"{name:18}{value}" for name, value in found.items())
    )
    return EXIT_OK


def compact(keeper: Keeper, quiet: bool) -> dict[str, Any]:
    """Do all that can be done; what was there before and is now."""
    before = _figures(keeper)
    started, progress = time.monotonic(), Progress("compact", 100, quiet=quiet)
    chores = Chores.of(keeper, time.time_ns() // 1_000_000, everything=True)
    if chores is not None:
        chores.adopt(chores.make(lambda share: progress.update(int(100 * share))))
    progress.close()
    after = _figures(keeper)
    found = {f"{name}_before": value for name, value in before.items()} | after
    return found | {"seconds": round(time.monotonic() - started, 1)}


def _figures(keeper: Keeper) -> dict[str, Any]:
    paths = [path for path in keeper.directory.rglob("*") if path.is_file()]
    return {
        "segments": len(keeper.segments),
        "layered": bool(keeper.base.layer),
        "snapshot": keeper.base.identity,
        "bytes": sum(path.stat().st_size for path in paths),
    }
