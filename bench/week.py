"""A hotspot's weeks under faults: `python -m bench.week --days 7 --seed 1 --json`.

The shipping daemon lives on a machine whose clocks this program turns (`radio_sim/io_week.py`):
troubles of radio, ledger, disk, clock and process come and go as the seed draws them.

    named_slowest_s   the longest that it took to name a fault, from when it could be seen
    unnamed           faults that were not named within five minutes
    stuck             times at which nothing was wrong for 25 minutes, and it still didn't beacon
    leaks             what grew between a quarter of the time and its end
    lost              receptions that were on the disk and reached the map with no report
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, print_json, run_command
from radio_sim.io_week import Episode, Life, Outcome

EXAMPLES = """
  python -m bench.week --days 7 --seed 1 --json
  python -m bench.week --days 1 --seed 5 --runs 10
"""


def live(seed: int, days: float, bar: Progress) -> tuple[Outcome, str]:
    """One life; what it was, and what the daemon wrote to its log."""
    log = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="wavecomb-week-") as folder:
        life = Life(seed, Path(folder))

        def tell(share: float) -> None:
            bar.update(round(100 * share), f"seed {seed}")

        with contextlib.redirect_stderr(log):
            outcome = life.run(days, tell)
    return outcome, log.getvalue()


def describe(episode: Episode) -> dict[str, Any]:
    """A fault as JSON; times in hours of the network and seconds."""
    took_ns = episode.took_ns
    return {
        "kind": episode.kind,
        "fault": str(episode.fault),
        "begin_h": round(episode.begin_ns / 3.6e12, 3),
        "end_h": None if episode.end_ns is None else round(episode.end_ns / 3.6e12, 3),
        "named_s": None if took_ns is None else round(took_ns / 1e9, 1),
    }


def figures(outcomes: dict[int, Outcome]) -> dict[str, Any]:
    """All lives together."""
    lives = list(outcomes.values())
    episodes = [episode for one in lives for episode in one.episodes]
    return {
        "days": sum(one.days for one in lives),
        "seeds": list(outcomes),
        "faults": dict(sorted(Counter(str(e.fault) for e in episodes).items())),
        "kills": sum(one.kills for one in lives),
        "power_cuts": sum(one.power_cuts for one in lives),
        "updates": sum(one.updates for one in lives),
        "restarts_by_itself": sum(one.restarts for one in lives),
        "named_slowest_s": round(max((one.slowest_s() for one in lives), default=0.0), 1),
        "unnamed": [describe(e) for one in lives for e in one.unnamed()],
        "stuck": [line for one in lives for line in one.stuck],
        "leaks": [line for one in lives for line in one.leaks],
        "receptions_kept": sum(one.kept for one in lives),
        "lost": sum(one.lost for one in lives),
        "messages": sum(one.messages for one in lives),
        "messages_twice": sum(one.messages_twice for one in lives),
        "beacons_twice": sum(one.beacons_twice for one in lives),
        "bad_seeds": [seed for seed, one in outcomes.items() if not one.is_good()],
    }


def main(argv: Sequence[str]) -> int:
    """Live and print; exit code 1 where a life was not a good one."""
    parser = Parser(prog="python -m bench.week", description=__doc__, examples=EXAMPLES)
    parser.add_argument("--days", type=float, default=7.0, help="of each life (7)")
    parser.add_argument("--seed", type=int, default=1, help="of the first life (1)")
    parser.add_argument("--runs", type=int, default=1, help="lives, each with the next seed (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    if not 0.25 <= options.days <= 400 or not 1 <= options.runs <= 10_000:
        raise UserError("--days, --runs", "out of range", "use 0.25 to 400, and 1 to 10000")
    outcomes: dict[int, Outcome] = {}
    began_s = time.process_time()
    bar = Progress("days", 100, quiet=options.json)
    with contextlib.suppress(KeyboardInterrupt):
        for seed in range(options.seed, options.seed + options.runs):
            outcomes[seed], _ = live(seed, options.days, bar)
    bar.close()
    result = figures(outcomes) | {"cpu_s": round(time.process_time() - began_s, 1)}
    if options.json:
        print_json(result)
    else:
        print("\n".join(f"{name:<20} {value}" for name, value in result.items()))
    return EXIT_OK if outcomes and not result["bad_seeds"] else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
