"""netd beside babeld on FFGraz-50 at overload: `python -m bench.sidebyside --json` (root).

The 50 hotspots nearest by hops to the hub of FFGraz's first snapshot (102 links; files in
`../shared/ground-truth/routing`), as live namespaces; tbf shapes each direction of a link to
`--full-kbps` / ETX. Every hotspot sends to every other, by gravity (more links, more traffic), 5
flows a pair on average, in UDP datagrams of 1,200 bytes that don't slow down. The load is scaled to
`--overload` times what any routing could carry (the least maximum utilisation of the edge program).

Babeld alone is measured first, while netd without a plan counts what enters, by destination. From
those counts alone the plan is made (routing/plan: edge program, paths by decomposition), rolled out
by colours, and the same load measured again. Delivered is what arrives at its target's socket.
netd shapes the devices to the same rates itself, with classes, so that hellos aren't dropped.

All sockets are this process's, and every netd is a fork of it, so that two cores carry fifty
hotspots. Whether they did is asked each time: under a load that every link can bear, all that is
offered has to arrive, and at overload all that was planned has to be sent. Where it isn't so the
processor was the limit, and there is no figure (exit code 1).

    ratio       delivered with netd / delivered by babeld alone, the same namespaces and load
    idle_share  of the processors, by phase; other work on the machine counts as busy
    calm_share  delivered / offered under the light load, by phase
    sent_share  sent / planned, by phase
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import selectors
import socket
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.kernel_bed import Bed, Link, address_of, babel, base_plan, report
from bench.kernel_fork import warm_up
from chain.errors import EXIT_FAILED, UserError
from chain.io_terminal import Parser, Progress, run_command
from hotspot.netd.io_client import NetdClient
from radio_sim.live.io_tap import inside
from routing.kernel.nodeplan import MULTIPATH, SEGMENTS, NodePlan
from routing.kernel.rollout import STEADY, Rollout
from routing.kernel.steer import node_plans, splits_by_node
from routing.plan.network import Array, Network, Pair, wired
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import decompose, plan_of

ARCHIVE = "netcommons_ffgraz107_ffwien30_ninux1_graphml.tar.xz"
SNAPSHOT = "testdata/xml/FFGraz/FFGraz0.xml"
TRUTH = Path(__file__).parents[2] / "shared" / "ground-truth" / "routing" / "mesh" / ARCHIVE
PORT = 9_200
BYTES = 1_200
HEADERS = 48  # IPv6, UDP
FLOWS = 5
# Light: no path that anybody would choose has a link that is a third full.
CALM_LOAD, CALM_S = 0.05, 4.0
CALM_LEAST, SENT_LEAST = 0.97, 0.97
WARM_S = 3.0
EXAMPLES = """
  python -m bench.sidebyside --json
  python -m bench.sidebyside --nodes 12 --seconds 5
"""


def ffgraz(path: Path, count: int) -> dict[Link, float]:
    """ETX by link of the hotspots nearest to the hub, numbered by their distance from it."""
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(SNAPSHOT)
            graph = ElementTree.fromstring(file.read() if file else b"")
    except OSError as error:
        raise UserError("--graphs", f"{path}: {error.strerror}", "name the archive") from error
    etx: dict[tuple[str, str], float] = {}
    near: dict[str, list[str]] = {}
    for edge in graph.findall(".//{*}edge"):
        a, b = str(edge.get("source")), str(edge.get("target"))
        said = next((float(str(d.text)) for d in edge.findall("{*}data") if d.text), 1.0)
        if a != b and (a, b) not in etx:
            etx[a, b] = etx[b, a] = max(1.0, said)
            near.setdefault(a, []).append(b)
            near.setdefault(b, []).append(a)
    order = [max(near, key=lambda node: len(near[node]))]
    for node in order:
        order += [other for other in near[node] if other not in order]
    number = {node: index for index, node in enumerate(order[:count])}
    return {(number[a], number[b]): e for (a, b), e in etx.items() if a in number and b in number}


def gravity(links: dict[Link, float], nodes: int) -> dict[Pair, float]:
    """Demand of all pairs, by how many links their ends have; any unit."""
    degree = [sum(1 for a, _ in links if a == node) for node in range(nodes)]
    ends = range(nodes)
    return {(a, b): float(degree[a] * degree[b]) for a in ends for b in ends if a != b}


class Load:
    """Datagrams of every hotspot to every other, paced; all sockets in this process."""

    def __init__(self, bed: Bed, demand_kbps: dict[Pair, float]) -> None:
        self._bed = bed
        self.received = 0
        self._selector = selectors.DefaultSelector()
        self._senders = [[self._socket(node) for _ in range(FLOWS)] for node in range(bed.nodes)]
        for node in range(bed.nodes):
            sink = self._socket(node, PORT)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self._selector.register(sink, selectors.EVENT_READ)
        # (when, pair, count): the next datagram of each pair; pairs begin spread over their period.
        self._period = {p: (BYTES + HEADERS) * 8 / kbps / 1e3 for p, kbps in demand_kbps.items()}
        self.offered = self.failed = 0
        self.planned = 0.0

    def _socket(self, node: int, port: int = 0) -> socket.socket:
        with inside(self._bed.name(node)):
            end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        end.setblocking(False)
        end.bind((address_of(node), port))
        return end

    def run(self, seconds: float, load: float = 1.0) -> float:
        """Send and receive for so long; delivered Mbit/s, headers included.

        `load`: which part of the demand. A datagram that is more than a period late isn't sent any
        more: who is behind must not send bursts that no queue was made for.
        """
        periods = {pair: period / load for pair, period in self._period.items()}
        started = time.monotonic()
        spread = np.random.default_rng(5).random(len(periods))
        queue = [
            (started + period * float(part), pair, 0)
            for (pair, period), part in zip(sorted(periods.items()), spread, strict=True)
        ]
        heapq.heapify(queue)
        self.received = self.offered = self.failed = 0
        data = bytes(BYTES)
        while (now := time.monotonic()) < started + seconds:
            while queue[0][0] <= now:
                when, pair, count = heapq.heappop(queue)
                self._send(pair, count, data)
                heapq.heappush(queue, (max(when + periods[pair], now), pair, count + 1))
            self._receive(max(0.0, min(queue[0][0] - time.monotonic(), 0.01)))
        took = time.monotonic() - started
        self.planned = took * sum(1 / period for period in periods.values())
        return self.received * (BYTES + HEADERS) * 8 / 1e6 / took

    def drain(self, seconds: float) -> None:
        """Take what is still under way, without sending."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._receive(0.05)

    def _send(self, pair: Pair, count: int, data: bytes) -> None:
        self.offered += 1
        try:
            self._senders[pair[0]][count % FLOWS].sendto(data, (address_of(pair[1]), PORT))
        except OSError:
            self.failed += 1  # its own queue is full, or no route

    def _receive(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            sink: Any = key.fileobj
            with contextlib.suppress(BlockingIOError):
                while True:
                    sink.recv(2_048)
                    self.received += 1

    def close(self) -> None:
        """Close all sockets."""
        for sockets in self._senders:
            for end in sockets:
                end.close()
        for key in list(self._selector.get_map().values()):
            end_of_key: Any = key.fileobj
            end_of_key.close()
        self._selector.close()


@dataclass(frozen=True, slots=True)
class Phase:
    """What was measured of one way to route: Mbit/s at overload, and whether it can be believed."""

    mbps: float
    offered_mbps: float
    calm_share: float
    sent_share: float
    idle_share: float

    @property
    def is_believable(self) -> bool:
        """Whether the links were the limit, and not the processors."""
        return self.calm_share >= CALM_LEAST and self.sent_share >= SENT_LEAST


def cpu_ticks() -> tuple[int, int]:
    """(idle, all) ticks of all processors since boot."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = [int(word) for word in words]
    return ticks[3] + ticks[4], sum(ticks)


def run_phase(load: Load, seconds: float) -> Phase:
    """Light load first, then all of it."""
    load.drain(1.0)  # what came of the phase before
    load.run(CALM_S, CALM_LOAD)
    load.drain(0.5)
    calm_share = load.received / max(1, load.offered - load.failed)
    load.run(WARM_S)
    idle, all_ticks = cpu_ticks()
    mbps = load.run(seconds)
    idle_after, all_after = cpu_ticks()
    return Phase(
        mbps,
        load.offered * (BYTES + HEADERS) * 8 / 1e6 / seconds,
        calm_share,
        load.offered / load.planned,
        (idle_after - idle) / max(1, all_after - all_ticks),
    )


def counted(clients: dict[int, NetdClient]) -> dict[Pair, int]:
    """Bytes that netd counted so far, by source and target hotspot."""
    node_of = {address_of(node): node for node in clients}
    return {
        (source, node_of[address]): octets
        for source, client in clients.items()
        for address, octets in client.read("demand")["demand"].items()
        if address in node_of and node_of[address] != source
    }


def make_plan(network: Network, demand: dict[Pair, float]) -> tuple[Any, float, float]:
    """(splits, least maximum utilisation, seconds) for demands in kbps."""
    started = time.process_time()
    pairs = sorted(demand)
    wanted: Array = np.array([demand[pair] for pair in pairs])
    flow = EdgeProgram(network, pairs).solve(wanted)
    if flow is None:
        raise UserError("plan", "some hotspot is out of reach", "check the graph")
    plan = plan_of(pairs, decompose(network, flow, pairs, wanted), "edge program")
    return plan.splits(), flow.utilisation, time.process_time() - started


def roll_out(
    clients: dict[int, NetdClient], bed: Bed, mode: str, splits: Any, demand: dict[Pair, float]
) -> float:
    """Put a plan in force on all hotspots; seconds that took."""
    started = time.monotonic()
    base = replace(base_plan(len(clients), mode), prefixes=())  # nobody's devices are here
    if mode == SEGMENTS:
        for node, plan in node_plans(base, splits, demand, version=2).items():
            clients[node].apply(bed.shaped_by_netd(plan))
        return time.monotonic() - started
    rollout = Rollout(base)
    rollout.begin(splits_by_node(splits, demand), 0)
    while rollout.phase != STEADY:
        now_ms = round((time.monotonic() - started) * 1e3)
        for node, plan in rollout.poll(now_ms):
            clients[node].apply(bed.shaped_by_netd(plan))
            rollout.acknowledge(node, plan.version, round((time.monotonic() - started) * 1e3))
        time.sleep(0.02)
    return time.monotonic() - started


def settle(clients: dict[int, NetdClient], bed: Bed, base: NodePlan) -> None:
    """Let neighbours find each other: a plan without a path, until all are up."""
    bed.unshape()
    for node, client in clients.items():
        client.apply(bed.shaped_by_netd(replace(base, node=node)))
    deadline = time.monotonic() + 120
    for node, client in clients.items():
        wanted = len(bed.devices(node))
        while len(client.read("status")["status"]["neighbours"]) < wanted:
            if time.monotonic() > deadline:
                raise UserError(f"netd-{node}", "doesn't hear all its neighbours", "less load")
            time.sleep(0.2)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Babeld, then netd above it."""
    etx = ffgraz(options.graphs, options.nodes)
    rates = {link: options.full_kbps / value for link, value in etx.items()}
    links = [(a, b) for a, b in sorted(rates) if a < b]
    # A datagram of 1,248 bytes has 14 more on the wire.
    network = wired(sorted(rates), [rates[link] * 1248 / 1262 for link in sorted(rates)])
    shape = gravity(rates, options.nodes)
    _, unit, _ = make_plan(network, shape)
    demand = {pair: kbps * options.overload / unit for pair, kbps in shape.items()}
    progress = Progress("side by side", 6, quiet=options.json)
    with Bed(options.nodes, links, rates) as bed, babel(bed, 4) as converged_s:
        progress.update(1, f"babeld has all routes after {converged_s:.0f} s")
        warm_up([f"m{node}" for node in range(bed.nodes)])
        for node in range(bed.nodes):
            bed.start_netd(node, "--hello-ms", str(options.hello_ms), is_fork=True)
        clients = bed.await_netd(180)
        load = Load(bed, demand)
        before, since = counted(clients), time.monotonic()
        babeld = run_phase(load, options.seconds)
        counts, took = counted(clients), time.monotonic() - since
        progress.update(2, f"babeld alone: {babeld.mbps:.1f} Mbit/s")
        seen = {p: (c - before.get(p, 0)) * 8 / 1e3 / took for p, c in counts.items()}
        splits, utilisation, plan_s = make_plan(network, {p: k for p, k in seen.items() if k > 0})
        settle(clients, bed, replace(base_plan(bed.nodes, options.mode), prefixes=()))
        progress.update(4, f"plan in {plan_s:.1f} s")
        rollout_s = roll_out(clients, bed, options.mode, splits, seen)
        ours = run_phase(load, options.seconds)
        progress.update(6, f"with netd: {ours.mbps:.1f} Mbit/s")
        load.close()
    progress.close()
    check_believable({"babeld": babeld, "netd": ours})
    return {
        "ratio": round(ours.mbps / babeld.mbps, 3),
        "ours_mbps": round(ours.mbps, 2),
        "babeld_mbps": round(babeld.mbps, 2),
        "offered_mbps": round(babeld.offered_mbps, 2),
        "calm_share": [round(phase.calm_share, 3) for phase in (babeld, ours)],
        "sent_share": [round(phase.sent_share, 3) for phase in (babeld, ours)],
        "idle_share": [round(phase.idle_share, 3) for phase in (babeld, ours)],
        "seen_utilisation": round(utilisation, 3),
        "links": len(links),
        "mode": options.mode,
        "plan_s": round(plan_s, 2),
        "rollout_s": round(rollout_s, 2),
        "babeld_converged_s": round(converged_s, 1),
    }


def check_believable(phases: dict[str, Phase]) -> None:
    """UserError where the processors were the limit: then there is no figure."""
    for name, phase in phases.items():
        if not phase.is_believable:
            said = (
                f"{name}: {phase.calm_share:.1%} arrived under a light load, at overload "
                f"{phase.sent_share:.1%} was sent in time, processors {phase.idle_share:.0%} idle"
            )
            remedy = "a quiet machine, a smaller --full-kbps, or fewer --nodes"
            raise UserError("the processor", f"was the limit: {said}", remedy,
                            exit_code=EXIT_FAILED)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """`python -m bench.sidebyside`."""
    parser = Parser(prog="python -m bench.sidebyside", description=__doc__, examples=EXAMPLES)
    parser.add_argument("--nodes", type=int, default=50, help="hotspots (default: %(default)s)")
    each = "of each (default: %(default)g)"
    parser.add_argument("--seconds", type=float, default=20.0, help=each)
    parser.add_argument("--overload", type=float, default=1.2, metavar="X",
                        help="load over what could be carried (default: %(default)g)")  # fmt: skip
    parser.add_argument("--full-kbps", type=float, default=1_000.0, metavar="KBPS",
                        help="rate of a link without loss (default: %(default)g)")  # fmt: skip
    parser.add_argument("--hello-ms", type=int, default=1000, help="netd's (default: %(default)s)")
    parser.add_argument("--mode", choices=(MULTIPATH, SEGMENTS), default=MULTIPATH, help="steering")
    parser.add_argument("--graphs", type=Path, default=TRUTH, metavar="FILE", help="the archive")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return report(parser, measure, argv)


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
