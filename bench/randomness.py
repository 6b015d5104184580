"""What choosing the randomness buys: `python -m bench.randomness --json`; the last line is JSON.

Whoever may choose between T draws takes the one that gives its hotspots most lots. Without
cosigners' random outputs the last to reveal chooses: hotspots by withholding secrets (2^h ways with
h of them), the sequencer by leaving them out, both as far as they can compute (`--grinds`). With
outputs nobody foresees them: hotspots have one draw, colluding cosigners may hold back their own,
and a sequencer that colludes with none may drop outputs as long as a majority is left, or fewer.

Per share of attackers among hotspots and per number of beacons that they care about in an epoch:

fair              share of all lots without any choice: the share of attackers
<who>             expected share of lots with the best of that one's draws, exact
<who>_draws_log2  the draws it chooses from, as a power of two
simulated         the same as `cosigners_vrf`, from real draws of chain/draws.py
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from hashlib import sha256
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain import draws
from chain.io_terminal import Progress, print_json
from chain.params import PRESETS
from chain.rules.split import compute_split

CANDIDATES = 20
DRAWN = PRESETS["mainnet"].witnesses_drawn
SHARES = (0.01, 0.1, 0.3, 0.45)
BEACONS = (1, 40, 1_000)  # one hotspot that must look heard; ten of them for an epoch; a town
Pmf = NDArray[np.float64]


def compute_beacon_pmf(attackers: int) -> Pmf:
    """Chance of 0 to DRAWN lots for this many of CANDIDATES, all lots alike."""
    others = CANDIDATES - attackers
    ways = [math.comb(attackers, k) * math.comb(others, DRAWN - k) for k in range(DRAWN + 1)]
    return np.array(ways, np.float64) / math.comb(CANDIDATES, DRAWN)


def compute_composition(share: float) -> list[float]:
    """Chance that 0 to CANDIDATES of a beacon's candidates are attackers."""
    return [
        math.comb(CANDIDATES, n) * share**n * (1 - share) ** (CANDIDATES - n)
        for n in range(CANDIDATES + 1)
    ]


def compute_sum_pmf(share: float, beacons: int) -> Pmf:
    """Distribution of the lots over beacons whose candidates are what they are: only lots vary.

    Of the beacons as many have n attackers among their candidates as is expected.
    """
    counts = compute_split(beacons, [round(1e9 * c) for c in compute_composition(share)]).shares
    total = np.ones(1)
    for attackers, count in enumerate(counts):
        for _ in range(count):  # never by Fourier: tails must keep their relative accuracy
            total = np.convolve(total, compute_beacon_pmf(attackers))
    return total


def compute_best_share(pmf: Pmf, draws_log2: float) -> float:
    """Expected share of lots of the best of 2^draws_log2 independent draws."""
    at_least = np.clip(np.cumsum(pmf[::-1])[::-1][1:], 0, 1 - 1e-16)
    reached = -np.expm1(np.exp2(draws_log2) * np.log1p(-at_least))
    return float(reached.sum() / (len(pmf) - 1))


def compute_expected(share: float, beacons: int, draws_log2: float) -> float:
    """Share of lots; of a single beacon, over what its candidates may be."""
    if beacons > 1:
        return compute_best_share(compute_sum_pmf(share, beacons), draws_log2)
    bests = [
        compute_best_share(compute_beacon_pmf(n), draws_log2) for n in range(CANDIDATES + 1)
    ]
    return float(np.dot(bests, compute_composition(share)))


def compute_draws(share: float, hotspots: int, cosigners: int, grinds: float) -> dict[str, float]:
    """How many draws each attacker chooses from, as powers of two."""
    most = math.log2(grinds)
    majority = cosigners // 2 + 1
    liars = math.floor(share * cosigners)
    kept = sum(math.comb(cosigners, k) for k in range(majority, cosigners + 1))
    return {
        "hotspots_mix": min(share * hotspots, most),
        "sequencer_mix": min(float(hotspots), most),
        "hotspots_vrf": 0.0,
        "cosigners_vrf": float(liars),
        "sequencer_vrf": math.log2(kept + 1),
    }


def simulate(share: float, cosigners: int, beacons: int, rounds: int) -> float:
    """Share of lots of colluding cosigners who show the best subset of their outputs, drawn."""
    liars = math.floor(share * cosigners)
    won = 0
    for number in range(rounds):
        mix = sha256(b"mix %d" % number).digest()
        outputs = [sha256(b"output %d %d" % (number, n)).digest() for n in range(cosigners)]
        held = outputs[liars:]
        every = [
            list(shown) + held
            for size in range(liars + 1)
            for shown in combinations(outputs[:liars], size)
        ]
        won += max(count_lots(draws.lots(mix, some), number, share, beacons) for some in every)
    return won / (rounds * beacons * DRAWN)


def count_lots(seed: bytes, number: int, share: float, beacons: int) -> int:
    """Lots of attackers among the witnesses of some beacons."""
    total = 0
    for beacon in range(beacons):
        lots = sorted((draws.draw(seed, beacon, number, 0, w), w) for w in range(CANDIDATES))
        total += sum(is_attacker(number, beacon, w, share) for _, w in lots[:DRAWN])
    return total


def is_attacker(number: int, beacon: int, witness: int, share: float) -> bool:
    """Whether a candidate is one, by a hash, the same under every draw."""
    seed = sha256(b"who %d %d %d" % (number, beacon, witness)).digest()
    return int.from_bytes(seed[:4], "big") < share * (1 << 32)


def measure(options: argparse.Namespace, note: Callable[[], None]) -> list[dict[str, Any]]:
    """A row per share and number of beacons."""
    rows = []
    for share in SHARES:
        tries = compute_draws(share, options.hotspots, options.cosigners, options.grinds)
        for beacons in BEACONS:
            row: dict[str, Any] = {"share": share, "beacons": beacons, "fair": share}
            for who, log2 in tries.items():
                row[who] = round(compute_expected(share, beacons, log2), 4)
                row[f"{who}_draws_log2"] = round(log2, 1)
            if beacons == BEACONS[0]:
                got = simulate(share, options.cosigners, beacons, options.rounds)
                row["simulated"] = round(got, 4)
            rows.append(row)
            note()
    return rows


def main() -> int:
    """Compute, simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--cosigners", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--grinds", type=float, default=1e12, help="hashes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2_000, help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    if not (1 <= options.cosigners <= 32 and options.hotspots >= 1 and options.rounds >= 1):
        parser.error("--cosigners: 1 to 32, --hotspots and --rounds: at least 1")
    if not options.grinds >= 1:
        parser.error("--grinds: at least 1")
    rows = len(SHARES) * len(BEACONS)
    progress, steps = Progress("randomness", rows, quiet=options.json), iter(range(1, rows + 1))
    found = measure(options, lambda: progress.update(next(steps)))
    progress.close()
    print_json({"candidates": CANDIDATES, "drawn": DRAWN, "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
