"""Size and speed of reward proofs: `python -m bench.proofs --json`.

Builds real balance trees with as many accounts as hotspots, signs a checkpoint by the log and three
of five cosigners, and measures proofs of hotspots drawn from all over the tree: how many bytes, how
long they take to verify. Times are processor time of one core. `--large 0` leaves out the tree of
10 million hotspots and as many accounts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from hashlib import sha256

from bench.small_log import Cosigned
from chain.io_terminal import Progress
from chain.proofs.balances import ACCOUNTS, HOTSPOTS, BalanceTree
from chain.proofs.reward_proof import Statement, decode_proof, encode_proof, prove, verify_proof
from chain.records import Refusal

DRAWN = 2_000
DAY_UCR = 2_000_000  # two credits a day for ten years: what an ordinary hotspot's sum looks like
DAYS = 3_650
HELD = {"bonds": 10_000_000 * 10**6, "escrow": 10**9, "pools": 10**12}


def key_of(kind: bytes, number: int) -> bytes:
    """A made-up key."""
    return sha256(kind + number.to_bytes(4, "big")).digest()


def earned_ucr(number: int) -> int:
    """Earnings between nothing and twice the ordinary, by a hash of the number."""
    share = int.from_bytes(sha256(b"earned" + number.to_bytes(4, "big")).digest()[:4], "big")
    return 2 * DAY_UCR * DAYS * share >> 32


def accounts(count: int) -> Iterator[tuple[bytes, int, int]]:
    """Accounts that spent half of what they got."""
    return ((key_of(b"a", i), earned_ucr(i), earned_ucr(i) // 2) for i in range(count))


def hotspots(count: int) -> Iterator[tuple[bytes, int]]:
    """Hotspots with their earnings."""
    return ((key_of(b"h", i), earned_ucr(i)) for i in range(count))


def measure(count: int) -> dict[str, float]:
    """Build one tree and prove from it."""
    rows, spots = list(accounts(count)), list(hotspots(count))
    started = time.process_time()
    tree = BalanceTree(DAYS, rows, spots, HELD)
    built = time.process_time() - started
    del rows, spots
    log = Cosigned(5, 3)
    opened = log.open(525_600 * 300, sha256(b"log").digest(), tree.balances())
    sizes: dict[str, list[int]] = {HOTSPOTS: [], ACCOUNTS: []}
    took = 0.0
    for drawn in range(DRAWN):
        index = (drawn * 0x9E3779B1 + count - 1) % count
        for kind, found in sizes.items():
            proof = prove(tree, kind, index, opened)
            if isinstance(proof, Refusal):
                raise RuntimeError(proof.detail)
            raw = encode_proof(proof)
            found.append(len(raw))
            began = time.process_time()
            decoded = decode_proof(raw)
            shown = decoded if isinstance(decoded, Refusal) else verify_proof(decoded, log.trust)
            took += time.process_time() - began
            if not isinstance(shown, Statement):
                raise RuntimeError(shown.detail)
    return {
        "build_s": round(built, 2),
        "bytes_max": max(sizes[HOTSPOTS]),
        "bytes_mean": round(sum(sizes[HOTSPOTS]) / DRAWN),
        "account_bytes_max": max(sizes[ACCOUNTS]),
        "verify_us": round(took / DRAWN / len(sizes) * 1e6),
        "balanced": tree.balances().supply_ucr
        == sum(HELD.values()) + sum(earned_ucr(i) - earned_ucr(i) // 2 for i in range(count)),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000, help="0: not at all")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    progress = Progress("proofs", 11, quiet=options.json)
    small = measure(options.hotspots)
    progress.update(1, f"{options.hotspots} hotspots")
    large = measure(options.large) if options.large else None
    progress.close()
    result = {
        "hotspots": options.hotspots,
        "proof_bytes_1m": small["bytes_max"],
        "proof_bytes_10m": None if large is None else large["bytes_max"],
        "verify_us": small["verify_us"],
        "tree_build_s_1m": small["build_s"],
        "of_1m": small,
        "of_10m": large,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
