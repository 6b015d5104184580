"""The figures of docs/rewards.md, "Why these numbers": `python -m bench.economics --json`.

Every view of `wavecomb chain economics` once, under the real rules; returns in basis points, pay in
micro-credits a day, days since the start of the network. The same on every machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from chain.cli.io_economics import compute_view
from chain.io_terminal import print_json


def get_figures(views: dict[str, Any]) -> dict[str, Any]:
    """What the page claims, by name."""
    owner = {
        f"{row['area']}, {row['scenario']}": row["total_ucr"]
        for row in views["owner"]["rows"]
        if row["network_cells"] == 100_000
    }
    returns: dict[str, list[int]] = {}
    for circle in views["attacker"]["circles"]:
        returns.setdefault(circle["name"], []).append(circle["return_bp"])
    rings = {(ring["keys"], ring["edges"]): ring for ring in views["attacker"]["rings"]}
    sites = {(site["per_cell"], site["hotspots"]): site for site in views["attacker"]["sites"]}
    return {
        "owner_ucr_per_day": owner,
        "crossing_day": {
            path["demand"]["name"]: path["crossing_day"] for path in views["network"]["paths"]
        },
        "peak_issued_ucr": {
            path["demand"]["name"]: path["peak_ucr"] for path in views["network"]["paths"]
        },
        "wash_best_return_bp": max(returns["wash traffic"]),
        "own_bounty_best_return_bp": max(returns["own bounty"]),
        "ring_64_behind_1_ucr": rings[64, 1]["earned_ucr"],
        "ring_64_behind_10_ucr": rings[64, 10]["earned_ucr"],
        "ring_64_unbounded_ucr": rings[64, 1]["unbounded_ucr"],
        "honest_hotspot_ucr": rings[1, 1]["honest_ucr"],
        "site_of_8_to_site_of_1": round(
            sites[1, 8]["earned_ucr"] / sites[1, 1]["earned_ucr"], 2
        ),
    }


def main() -> int:
    """Compute and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    started = time.perf_counter()
    names = ("owner", "network", "attacker")
    views = {view: compute_view(view, quiet=options.json) for view in names}
    print_json({**get_figures(views), "seconds": round(time.perf_counter() - started, 1)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
