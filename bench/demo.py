"""The whole path as figures: `python -m bench.demo [--scenario FILE] --json`.

Runs `wavecomb demo --headless` and repeats its last line: first_picture_s, beacons_sent,
witness_receipts, cells_covered, ai_requests_ok, credits_paid, audit_ok and more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

DEFAULT_SECONDS = 120


def main() -> int:
    """Run the demo and pass its figures on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenario", default="builtin:city")
    parser.add_argument("--seconds", type=int, default=DEFAULT_SECONDS)
    parser.add_argument(
        "--json", action="store_true", help="accepted for uniformity; output is JSON"
    )
    options = parser.parse_args()
    command = [sys.executable, "-m", "wavecomb", "demo", "--headless", "--json"]
    command += ["--scenario", options.scenario, "--seconds", str(options.seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if lines:
        print(lines[-1])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
