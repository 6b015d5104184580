"""From what entered the mesh here to a plan for netd: the gateway's part of steering. Pure.

    netd's counters > demand by hotspot > a planner's splits > this hotspot's document > netd

Only what enters the mesh *here* is steered, so gateways agree on nothing and need no rollout: with
segments a packet carries its whole path. Where the kernel has none, the plan steers the first hop
alone, towards hotspots that are nearer to the target than we are; from there on it is the base
protocol's, so a packet is diverted once at most and can't go round in a circle.

A planner thinks in the mesh's links as gossip has them (routing/plan/own.py). Its demand is what
was counted, never what anybody promised, and what a plan carries is metered along its own paths, so
that the load of links less our own is what others send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from chain.records import Refusal
from hotspot.gateway.kernel_settings import KernelSettings
from routing.graph import LinkGraph, shortest_path, shortest_paths
from routing.kernel.nodeplan import HOPS_MAX, MULTIPATH, NODES_MAX, SEGMENTS, NodePlan
from routing.kernel.steer import paths_of
from routing.mesh_plan import FULL, FlowMeter, Hops, MeshPlan, MeshView, Pair, PathPlanner
from routing.types import Link, LinkSample

Split = tuple[tuple[Hops, int], ...]
# Below it a demand is chatter: hellos, a name looked up. Shortest path, by the base protocol.
QUIET_KBPS = 8
# A target stays in the plan so long after its traffic went quiet: pauses aren't an end.
LINGER_MS = 60_000
UNPLANNED = Refusal("no-plan-yet", "nothing entered the mesh here that a plan would steer")


@dataclass(frozen=True, slots=True)
class Reading:
    """What netd says of itself: the version in force, and whether its kernel has segments."""

    version: int | None
    has_segments: bool


class KernelDesk:
    """Demand and links in, documents out; see the module's text."""

    def __init__(
        self, index: int, settings: KernelSettings, planner: PathPlanner | None
    ) -> None:
        self.index, self.settings = index, settings
        self._planner = planner
        self._graph = LinkGraph()
        self._meter = FlowMeter()
        self._before: dict[str, int] | None = None
        self._nodes: set[int] = {index}
        self._busy_ms: dict[int, int] = {}
        self._next_plan_ms = 0
        self.outcome: MeshPlan | Refusal = UNPLANNED
        self.demands: dict[Pair, int] = {}
        self._own: dict[Link, int] = {}

    # --- what comes in ----------------------------------------------------------------------------

    def take_links(self, samples: Iterable[LinkSample], now_ms: int) -> None:
        """Take the mesh's links as gossip has them; what is old already is known."""
        for sample in samples:
            link = (sample.source, sample.target)
            known = self._graph.newest(link, sample.time_ms)
            if known is None or known.time_ms < sample.time_ms:
                self._graph.observe(sample)
        self._nodes = {self.index} | {n for link in self._graph.alive(now_ms) for n in link}

    def take_demand(self, counters: Mapping[str, int], now_ms: int) -> None:
        """Take netd's counters; what came since the last is metered along the plan's paths.

        The first reading only says where counting stands; a counter that fell began anew.
        """
        before, self._before = self._before, dict(counters)
        for address, octets in counters.items() if before is not None else ():
            counted = (before or {}).get(address, 0)
            fresh = octets - counted if octets >= counted else octets
            target = self.settings.mesh.target_of(address)
            if fresh > 0 and target is not None and target != self.index:
                self._meter_target(target, fresh, now_ms)
        self.demands, self._own = self._meter.rates(now_ms)
        for (_, target), kbps in self.demands.items():
            if kbps >= QUIET_KBPS:
                self._busy_ms[target] = now_ms
        self._busy_ms = {t: at for t, at in self._busy_ms.items() if now_ms - at < LINGER_MS}

    def _meter_target(self, target: int, octets: int, now_ms: int) -> None:
        split = self.splits().get((self.index, target))
        if not split:
            way = shortest_path(self._graph.costs(now_ms, lambda _: 1), self.index, target)
            split = ((way, FULL),) if way else ()
        for hops, share in split:
            self._meter.carry(hops, octets * share // FULL)

    # --- what goes out ----------------------------------------------------------------------------

    def splits(self) -> dict[Pair, Split]:
        """Return the newest plan's paths with their permille, by pair."""
        return dict(self.outcome.splits) if isinstance(self.outcome, MeshPlan) else {}

    def plan(self, now_ms: int) -> None:
        """Plan anew if it is time: what enters here, around what others send."""
        if now_ms < self._next_plan_ms:
            return
        demands = {
            pair: kbps for pair, kbps in self.demands.items() if pair[1] in self._busy_ms
        }
        if self._planner is None or not demands:
            self.outcome = UNPLANNED
            return
        self._next_plan_ms = now_ms + self.settings.plan_ms
        links = {link: self._graph.quick(link) for link in self._graph.alive(now_ms)}
        rates = {link: max(1, state.rate_kbps) for link, state in links.items()}
        loads = {link: state.load_kbps for link, state in links.items()}
        self.outcome = self._planner.plan(MeshView(now_ms, rates, loads, demands, self._own))

    def document(self, reading: Reading, held: NodePlan | None, now_ms: int) -> NodePlan:
        """Return what netd should hold: `held` itself where nothing changed, else a newer version.

        A version is above any that netd has, also after our own restart.
        """
        mode = SEGMENTS if reading.has_segments else MULTIPATH
        fresh = self._document(mode, now_ms)
        if held is not None and replace(fresh, version=held.version) == held:
            return held
        newest = max(reading.version or 0, held.version if held else 0)
        return replace(fresh, version=newest + 1)

    def _document(self, mode: str, now_ms: int) -> NodePlan:
        splits = self.splits()
        alive = frozenset(self._graph.alive(now_ms))
        if mode == MULTIPATH:
            splits = nearer_only(splits, alive, self.index)
        shares = {p: {hops: s / FULL for hops, s in split} for p, split in splits.items()}
        paths = paths_of(shares, self.index)
        nodes = self._nearest({node for _, hops in paths for node in hops}, alive)
        mesh, settings = self.settings.mesh, self.settings
        return NodePlan(
            version=1,
            lease_ms=settings.lease_ms,
            node=self.index,
            mode=mode,
            addresses={node: mesh.address_of(node) for node in nodes},
            sids={node: mesh.sid_of(node) for node in nodes},
            prefixes=mesh.prefixes_of(nodes),
            paths=paths,
            rates_kbps=settings.rates_kbps,
            trusted=settings.trusted,
        )

    def _nearest(self, needed: set[int], alive: Iterable[Link]) -> list[int]:
        """Hotspots that a document names: those of its paths, and as many of the rest as may be."""
        near = {n for link in alive if self.index in link for n in link} | needed | {self.index}
        rest = sorted(self._nodes - near)
        return sorted([*near, *rest[: max(0, NODES_MAX - len(near))]])

    def summary(self) -> dict[str, object]:
        """Return demand and plan, for people."""
        outcome = self.outcome
        rows: dict[str, object] = {
            "demand_kbps": {str(pair[1]): kbps for pair, kbps in sorted(self.demands.items())},
            "targets": len(self.splits()),
            "paths": sum(len(split) for split in self.splits().values()),
        }
        if isinstance(outcome, Refusal):
            return rows | {"unplanned": outcome.detail}
        return rows | {"expert": outcome.expert, "reason": outcome.reason}


def nearer_only(
    splits: Mapping[Pair, Split], links: Iterable[Link], index: int
) -> dict[Pair, Split]:
    """Keep paths whose first hop has fewer hops to go than we have: the rest may lead back here."""
    back = {(head, tail): 1 for tail, head in links}
    result = {}
    for pair, split in splits.items():
        hops_left = {node: len(way) - 1 for node, way in shortest_paths(back, pair[1]).items()}
        ours = hops_left.get(index, HOPS_MAX)
        kept = tuple(row for row in split if hops_left.get(row[0][1], HOPS_MAX) < ours)
        if kept:
            result[pair] = kept
    return result
