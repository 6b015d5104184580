"""A relay dies silently, until its pair is restored: `python -m bench.failover --json` (root).

The same live namespaces: netd over babeld, then babeld alone with hello intervals of 1 s and 4 s.
The mesh is a ladder, `--rungs` hotspots long on either side; a probe every 2 ms goes from one end
to the other and back. The hotspot that carries it is silenced: its carriers stay, no packet gets in
or out. Measured is the longest silence of the probe, less one probe interval.

    ours_s      median over the trials with netd         babeld_s    with hello 4 s (its default)
    ours_max_s  the worst of them                        babeld_1s_s with hello 1 s
"""

from __future__ import annotations

import argparse
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from bench.kernel_bed import Bed, Link, address_of, babel, base_plan, report
from chain.io_terminal import Parser, Progress, run_command
from radio_sim.live.io_tap import inside
from routing.kernel.nodeplan import MULTIPATH, SEGMENTS, NodePlan
from routing.kernel.steer import node_plans

PROBE_S = 0.002
PORT = 9_000
EXAMPLES = """
  python -m bench.failover --json
  python -m bench.failover --trials 10 --only ours
"""


def ladder(rungs: int) -> tuple[int, list[Link]]:
    """Two rails of relays between hotspot 0 and the last one, joined by rungs."""
    nodes = 2 + 2 * rungs
    last = nodes - 1
    links = []
    for rung in range(rungs):
        left, right = 1 + 2 * rung, 2 + 2 * rung
        links.append((left, right))
        if rung == 0:
            links += [(0, left), (0, right)]
        if rung == rungs - 1:
            links += [(left, last), (right, last)]
        else:
            links += [(left, left + 2), (right, right + 2)]
    return nodes, links


class Probe:
    """Packets between two hotspots, both ends in this process, each in its own namespace."""

    def __init__(self, bed: Bed, source: int, target: int) -> None:
        self._to = (address_of(target), PORT)
        self._near = self._open(bed, source)
        self._far = self._open(bed, target)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._near, selectors.EVENT_READ)
        self._selector.register(self._far, selectors.EVENT_READ)
        self.arrivals: list[float] = []

    @staticmethod
    def _open(bed: Bed, node: int) -> socket.socket:
        with inside(bed.name(node)):
            end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        end.bind((address_of(node), PORT))
        end.setblocking(False)
        return end

    def run(self, seconds: float) -> None:
        """Send and answer for so long; arrivals at the source are noted."""
        until = time.monotonic() + seconds
        due = 0.0
        while (now := time.monotonic()) < until:
            if now >= due:
                due = now + PROBE_S
                self._send(self._near, self._to)
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                self._answer(key.fileobj)

    def _answer(self, end: Any) -> None:
        data, sender = end.recvfrom(64)
        if end is self._far:
            self._send(end, sender, data)
        else:
            self.arrivals.append(time.monotonic())

    @staticmethod
    def _send(end: socket.socket, to: Any, data: bytes = b"probe") -> None:
        try:
            end.sendto(data, to)
        except OSError:
            return  # no route at the moment: this probe is lost

    def longest_gap(self, since: float) -> float:
        """The longest silence that began at `since` or later, to the last arrival."""
        times = [since, *(at for at in self.arrivals if at > since)]
        gaps = [b - a for a, b in pairwise(times)]
        return max(gaps, default=float("inf"))

    def is_flowing(self) -> bool:
        """Whether anything came in the last 100 ms."""
        return bool(self.arrivals) and time.monotonic() - self.arrivals[-1] < 0.1

    def close(self) -> None:
        """Close both ends."""
        self._selector.close()
        self._near.close()
        self._far.close()


def transmitted(bed: Bed, node: int) -> int:
    """Packets that a hotspot has sent on all its devices."""
    with inside(bed.name(node)), open("/proc/net/dev") as table:
        return sum(int(line.split(":")[1].split()[9]) for line in table if ":" in line)


def carrier_of(bed: Bed, probe: Probe, relays: Sequence[int]) -> int:
    """The relay through which the probe goes now."""
    before = {node: transmitted(bed, node) for node in relays}
    probe.run(0.3)
    return max(relays, key=lambda node: transmitted(bed, node) - before[node])


def trial(bed: Bed, probe: Probe, patience_s: float, settle_s: float) -> float:
    """Silence the relay in use; seconds until the pair is restored. Then bring it back."""
    rungs = (bed.nodes - 2) // 2
    middle = 1 + 2 * (rungs // 2)
    probe.run(0.5)
    if not probe.is_flowing():
        return float("inf")
    relay = carrier_of(bed, probe, [middle, middle + 1])
    since = time.monotonic()
    bed.silence(relay)
    silenced = time.monotonic()
    while time.monotonic() - silenced < patience_s:
        probe.run(0.25)
        if probe.longest_gap(since) > 0.02 and probe.is_flowing():
            break
    probe.run(0.5)
    gap = probe.longest_gap(since) - PROBE_S
    bed.wake(relay)
    probe.run(settle_s)
    return gap if probe.arrivals and probe.arrivals[-1] > silenced else float("inf")


def one_path(bed: Bed, mode: str) -> dict[int, NodePlan]:
    """Plans for the pair at the ends: along the left rail and back (repair is not in the plan)."""
    left = tuple(range(1, bed.nodes - 1, 2))
    there = (0, *left, bed.nodes - 1)
    splits = {(0, bed.nodes - 1): {there: 1.0}, (bed.nodes - 1, 0): {there[::-1]: 1.0}}
    plans = node_plans(base_plan(bed.nodes, mode), splits, {}, version=1)
    return {node: replace(plan, version=1) for node, plan in plans.items()}


def measure_ours(
    bed: Bed, trials: int, mode: str, hello_ms: int, progress: Progress
) -> list[float]:
    """Gaps with netd over babeld (hello 4 s)."""
    with babel(bed, 4):
        for node in range(bed.nodes):
            bed.start_netd(node, "--hello-ms", str(hello_ms))
        clients = bed.await_netd()
        for node, plan in one_path(bed, mode).items():
            clients[node].apply(plan)
        probe = Probe(bed, 0, bed.nodes - 1)
        probe.run(2.0)
        gaps = []
        for number in range(trials):
            gaps.append(trial(bed, probe, 30, 2.0))
            progress.update(number + 1, f"{gaps[-1]:.3f} s")
        probe.close()
        for node, client in clients.items():
            client.apply(None)  # netd that stops leaves its routes, and babeld is next
            bed.stop(f"netd-{node}")
    return gaps


def measure_babeld(bed: Bed, hello_s: int, trials: int) -> list[float]:
    """Gaps with babeld alone."""
    gaps = []
    for _ in range(trials):
        # Begun anew each time: what it remembers of a dead neighbour would delay the next trial.
        with babel(bed, hello_s):
            probe = Probe(bed, 0, bed.nodes - 1)
            gaps.append(trial(bed, probe, 60, 0.0))
            probe.close()
    return gaps


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All of it, in one bed."""
    nodes, links = ladder(options.rungs)
    result: dict[str, Any] = {"hotspots": nodes, "hello_ms": options.hello_ms}
    with Bed(nodes, links) as bed:
        if options.only in ("all", "ours"):
            progress = Progress("netd", options.trials, quiet=options.json)
            gaps = measure_ours(bed, options.trials, options.mode, options.hello_ms, progress)
            progress.close()
            result["ours_s"] = round(statistics.median(gaps), 3)
            result["ours_max_s"] = round(max(gaps), 3)
            result["ours_all_s"] = [round(gap, 3) for gap in gaps]
        if options.only in ("all", "babeld"):
            for key, hello_s in (("babeld_1s_s", 1), ("babeld_s", 4)):
                progress = Progress(f"babeld, hello {hello_s} s", 1, quiet=options.json)
                gaps = measure_babeld(bed, hello_s, options.babeld_trials)
                progress.close(f"{statistics.median(gaps):.1f} s")
                result[key] = round(statistics.median(gaps), 2)
    return result


def main(argv: Sequence[str]) -> int:
    """`python -m bench.failover`."""
    parser = Parser(prog="python -m bench.failover", description=__doc__, examples=EXAMPLES)
    parser.add_argument("--trials", type=int, default=9, help="with netd (default: %(default)s)")
    each = "of each (default: %(default)s)"
    parser.add_argument("--babeld-trials", type=int, default=3, help=each)
    parser.add_argument("--rungs", type=int, default=3, help="of the ladder (default: %(default)s)")
    parser.add_argument("--hello-ms", type=int, default=50, help="netd's (default: %(default)s)")
    parser.add_argument("--mode", choices=(SEGMENTS, MULTIPATH), default=SEGMENTS, help="steering")
    parser.add_argument("--only", choices=("all", "ours", "babeld"), default="all", help="a part")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return report(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
