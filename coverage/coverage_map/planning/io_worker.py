"""The process that carries out one planning job: `python -m coverage_map.planning.io_worker DIR`.

It reads the request and the world from the job's folder, and writes progress and the result there.
It ends when its standard input closes, so that none outlives the service that started it; started
again, it goes on from the parts that are kept.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import write_json
from coverage_map.planning.io_memory import DiskMemory
from coverage_map.planning.io_world import load_world, with_layers
from coverage_map.planning.processes import execute

TELL_EVERY_S = 0.2


def work(folder: Path) -> int:
    """Do the job in a folder; the exit code says whether it came to a result."""
    request = json.loads((folder / "request.json").read_text())
    started = 0.0

    def tell(share: float, note: str) -> None:
        nonlocal started
        if time.monotonic() - started >= TELL_EVERY_S:
            started = time.monotonic()
            write_json(folder / "progress.json", {"percent": int(100 * share), "note": note})

    try:
        world = load_world(folder / "world.npz")
        terrain = request.get("terrain")
        world = with_layers(world, None, Path(terrain) if terrain else None, None)
        memory = DiskMemory(folder / "parts")
        result = execute(request["process"], request["inputs"], world, tell, memory)
    except UserError as error:
        about = {"field": error.field, "title": error.problem, "detail": str(error)}
        write_json(folder / "problem.json", about)
        return EXIT_FAILED
    except Exception:
        detail = traceback.format_exc().splitlines()[-1]
        sys.stderr.write(traceback.format_exc())
        write_json(folder / "problem.json", {"title": "A fault of ours", "detail": detail})
        return EXIT_FAILED
    write_json(folder / "result.json", result)
    return EXIT_OK


def end_with_parent() -> None:
    """Leave at once when standard input closes."""
    sys.stdin.buffer.read()
    os._exit(EXIT_FAILED)


def main() -> int:
    """Entry point."""
    if not sys.stdin.isatty():
        threading.Thread(target=end_with_parent, daemon=True).start()
    os.nice(10)
    return work(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
