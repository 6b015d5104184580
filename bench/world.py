"""The virtual testbed's speed: `python -m bench.world --hotspots 1000 --json`.

Runs a seeded city of shipping hotspot nodes with a ledger in memory (preset testbed: a beacon per
hotspot every 10 s, an epoch a minute) for one simulated hour and says how many times faster than
real time that was. The last line is JSON; the same arguments give the same digest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from chain.io_terminal import Progress
from radio_sim.city import make_city
from radio_sim.fleet import build_fleet
from radio_sim.io_memory import resident_mib, without_collector

RSS_SAMPLES = 6  # beside the one at the start: memory that only grows shows as a slope


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60.0, help="simulated time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--preset", default="testbed")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    started = time.perf_counter()
    fleet = build_fleet(make_city(options.hotspots, options.seed), options.seed, options.preset)
    built = time.perf_counter()
    rss_mib = [resident_mib()]
    cpu = time.process_time()
    seconds = 60.0 * options.minutes
    progress = Progress("simulating", round(seconds), quiet=options.json)

    def note(done: int, text: str) -> None:
        progress.update(done, text)
        if done * RSS_SAMPLES >= len(rss_mib) * seconds:
            rss_mib.append(resident_mib())

    with without_collector():
        fleet.run(seconds, note)
    progress.close()
    took, cpu_took = time.perf_counter() - built, time.process_time() - cpu
    summary, medium = fleet.summary(), fleet.world.medium
    result = {
        "hotspots": options.hotspots,
        "minutes": options.minutes,
        "seed": options.seed,
        "realtime_factor": round(seconds / took, 2),
        "realtime_factor_cpu": round(seconds / cpu_took, 2),
        "build_s": round(built - started, 2),
        "run_s": round(took, 2),
        "transmissions": medium.counts["sent"],
        "heard_by": round(medium.counts["delivered"] / max(1, medium.counts["sent"]), 2),
        "rss_mib": rss_mib,
        "us_per_transmission": round(1e6 * cpu_took / max(1, medium.counts["sent"]), 1),
        "verdicts": summary.verdicts,
        "ledger_root": summary.ledger_root,
        "digest": summary.digest,
    }
    print(json.dumps(result, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
