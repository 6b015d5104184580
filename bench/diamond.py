"""TCP over a diamond of 40 and 20 Mbit/s: `python -m bench.diamond --json` (root).

Hotspot 0 reaches 3 through 1 (40 Mbit/s) or 2 (20 Mbit/s); tbf shapes every device, Ethernet
headers included. With the MTU of 802.11, 2,304 (--mtu), 0.963 of the 60 can be TCP's own payload
over IPv6, with Ethernet's 1,500 0.943. The same live namespaces, the same flows between devices
behind 0 and 3: babeld alone, then netd above it with a plan for 60 Mbit/s of demand, as weighted
next hops (`multipath`) and as segment lists (`segments`, 80 bytes of every packet). Meanwhile the
relays' bytes are claimed and co-signed over the same links (bench/diamond_receipts.py). netd shapes
the devices to the same rates itself, in classes: claims don't wait behind what they are for.

A flow keeps to one path, so that its packets stay in order: one flow gets the better path at most
when it is lucky, few share unevenly, many fill both.

    goodput_mbps   multipath, --flows flows     babeld_mbps   the same flows by babeld alone
    receipts       of the multipath rows: how many, the share of what was relayed that both ends
                   have signed at the end, and what was ever forwarded beyond a relay's credit
"""

from __future__ import annotations

import argparse
import contextlib
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.diamond_receipts import Receipts
from bench.kernel_bed import Bed, Link, babel, base_plan, host_address, report
from chain.io_terminal import Parser, Progress, run_command
from radio_sim.live.io_tap import inside
from routing.kernel.nodeplan import MULTIPATH, SEGMENTS
from routing.kernel.steer import node_plans
from routing.plan.network import wired
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import decompose

LINKS: list[Link] = [(0, 1), (1, 3), (0, 2), (2, 3)]
FAST_KBPS, SLOW_KBPS = 40_000.0, 20_000.0
PORT = 9_100
CHUNK = bytes(1 << 16)
EXAMPLES = """
  python -m bench.diamond --json
  python -m bench.diamond --flows 4 --seconds 20
"""


def rates() -> dict[Link, float]:
    """Kbps of each direction."""
    fast = {(0, 1), (1, 3)}
    result = {}
    for a, b in LINKS:
        result[a, b] = result[b, a] = FAST_KBPS if (a, b) in fast else SLOW_KBPS
    return result


def planned_splits(demand_kbps: float) -> tuple[dict[Any, Any], dict[Link, float]]:
    """The optimal paths for so much from 0 to 3, and as much back for the acknowledgements."""
    shaped = rates()
    pairs = [(0, 3), (3, 0)]
    network = wired(list(shaped), list(shaped.values()))
    demand = np.array([demand_kbps, demand_kbps / 40])
    flow = EdgeProgram(network, pairs).solve(demand)
    if flow is None:
        raise RuntimeError("the diamond has no path")
    amounts = decompose(network, flow, pairs, demand)
    splits = {
        pair: {hops: kbps / sum(paths.values()) for hops, kbps in paths.items()}
        for pair, paths in amounts.items()
    }
    return splits, dict(zip(pairs, demand.tolist(), strict=True))


class Flows:
    """TCP flows from a device behind hotspot 0 to one behind 3, both ends in this process."""

    def __init__(self, bed: Bed, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._ends: list[socket.socket] = []
        self.received = 0
        with inside(bed.hosts[3]):
            listener = socket.create_server(
                (host_address(3), PORT), family=socket.AF_INET6, backlog=count
            )
        for _ in range(count):
            with inside(bed.hosts[0]):
                near = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            near.settimeout(10)
            near.connect((host_address(3), PORT))
            far, _ = listener.accept()
            for end, event in ((near, selectors.EVENT_WRITE), (far, selectors.EVENT_READ)):
                end.setblocking(False)
                self._selector.register(end, event)
                self._ends.append(end)
        listener.close()

    def run(self, seconds: float) -> float:
        """Send for so long; return the goodput in Mbit/s."""
        before, started = self.received, time.monotonic()
        while (now := time.monotonic()) < started + seconds:
            for key, event in self._selector.select(0.1):
                end: Any = key.fileobj
                try:
                    if event & selectors.EVENT_WRITE:
                        end.send(CHUNK)
                    else:
                        self.received += len(end.recv(1 << 18))
                except BlockingIOError:
                    continue
        return (self.received - before) * 8 / 1e6 / (now - started)

    def close(self) -> None:
        """Abort all flows."""
        self._selector.close()
        for end in self._ends:
            end.close()


def goodput(bed: Bed, flows: int, seconds: float, repeats: int) -> float:
    """Median goodput over fresh sets of flows, Mbit/s; two seconds of each to get going."""
    found = []
    for _ in range(repeats):
        running = Flows(bed, flows)
        running.run(2.0)
        found.append(running.run(seconds))
        running.close()
        time.sleep(0.5)
    return round(statistics.median(found), 1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    counts = sorted({1, 4, options.flows})
    rows: dict[str, dict[str, float]] = {}
    signed: dict[str, dict[str, float]] = {}
    progress = Progress("diamond", 3 * len(counts), quiet=options.json)
    splits, demand = planned_splits(FAST_KBPS + SLOW_KBPS)

    def all_counts(bed: Bed, name: str) -> None:
        rows[name] = {}
        for count in counts:
            rows[name][str(count)] = goodput(bed, count, options.seconds, options.repeats)
            note = f"{name} {count}: {rows[name][str(count)]}"
            progress.update(sum(map(len, rows.values())), note)

    with Bed(4, LINKS, rates(), mtu=options.mtu) as bed, contextlib.ExitStack() as stack:
        for node in (0, 3):
            bed.attach_host(node)
        stack.enter_context(babel(bed, 4))
        time.sleep(5)  # the networks of devices come a little later than the hotspots' addresses
        all_counts(bed, "babeld")
        for node in range(4):
            bed.start_netd(node)
        clients = bed.await_netd()
        bed.unshape()
        for version, mode in ((1, MULTIPATH), (2, SEGMENTS)):
            for node, plan in node_plans(base_plan(4, mode), splits, demand, version).items():
                clients[node].apply(bed.shaped_by_netd(plan))
            time.sleep(1.5)
            receipts = None if options.no_receipts else Receipts(bed, 0, [1, 2], 3)
            if receipts is not None:
                receipts.start()
            all_counts(bed, mode)
            signed[mode] = receipts.stop() if receipts is not None else {}
    progress.close()
    many = str(options.flows)
    return {
        "goodput_mbps": rows[MULTIPATH][many],
        "segments_mbps": rows[SEGMENTS][many],
        "babeld_mbps": rows["babeld"][many],
        "receipts": signed[MULTIPATH],
        "segments_receipts": signed[SEGMENTS],
        "flows": options.flows,
        "mtu": options.mtu,
        "by_flows": rows,
    }


def main(argv: Sequence[str]) -> int:
    """`python -m bench.diamond`."""
    parser = Parser(prog="python -m bench.diamond", description=__doc__, examples=EXAMPLES)
    parser.add_argument("--flows", type=int, default=24, help="how many (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each (default: %(default)g)")
    parser.add_argument("--repeats", type=int, default=3, help="of each (default: %(default)s)")
    sizes = "of all devices (default: %(default)s, 802.11's)"
    parser.add_argument("--mtu", type=int, default=2304, help=sizes)
    parser.add_argument("--no-receipts", action="store_true", help="nobody is paid")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return report(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
