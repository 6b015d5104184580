"""The router's side of plans: what our traffic is, when to plan, and what the plan says of a pair.

Standard library only; without a planner it holds nothing and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chain.records import Refusal
from routing.graph import LinkGraph, links_of
from routing.guard import NO_PLANNER
from routing.mesh_plan import FULL, FlowMeter, Hops, MeshPlan, MeshView, Pair, PathPlanner
from routing.types import FlowClass, Forecast, Link

Split = tuple[tuple[Hops, int], ...]


class PlanDesk:
    """A planner, if any, its newest plan, and the traffic that it is made for."""

    def __init__(self, planner: PathPlanner | None, every_ms: int) -> None:
        self._planner = planner
        self._every_ms = every_ms
        self._meter = FlowMeter()
        self._own: dict[Link, int] = {}
        self._plan: MeshPlan | Refusal | None = None
        self._next_ms = 0
        self.demands: dict[Pair, int] = {}

    @property
    def is_there(self) -> bool:
        """Tell whether there is a planner at all."""
        return self._planner is not None

    def carry(self, hops: Hops, size_bytes: int) -> None:
        """Count bytes of ours that took a path."""
        if self._planner is not None:
            self._meter.carry(hops, size_bytes)

    def measure(self, now_ms: int) -> None:
        """Bring demands and own loads up to date."""
        self.demands, self._own = self._meter.rates(now_ms)

    def plan(
        self,
        now_ms: int,
        pairs: Iterable[Pair],
        graph: LinkGraph,
        forecasts: Mapping[Link, Forecast],
        problem: str | None,
        job_kbps: Mapping[Pair, int],
    ) -> None:
        """Plan the pairs and whatever else we send, if it is time; see MeshView for the rest."""
        if self._planner is None or now_ms < self._next_ms:
            return
        asked = {pair: self.demands.get(pair, 0) for pair in pairs} | self.demands
        if not asked:
            return
        self._next_ms = now_ms + self._every_ms
        quick = {link: graph.quick(link) for link in graph.alive(now_ms)}
        view = MeshView(
            now_ms,
            {link: max(1, state.rate_kbps) for link, state in quick.items()},
            {link: state.load_kbps for link, state in quick.items()},
            asked,
            self._own,
            forecasts,
            problem,
            job_kbps,
        )
        self._plan = self._planner.plan(view)

    def problem(self) -> str | None:
        """Return why there is no plan, or None."""
        if self._planner is None:
            return NO_PLANNER
        if not isinstance(self._plan, MeshPlan):
            return f"no plan: {self._plan.reason}" if self._plan else "no plan yet"
        return None

    def split(self, pair: Pair) -> Split:
        """Return the paths of a pair with their permille; () where there is no plan for it."""
        return self._plan.splits.get(pair, ()) if isinstance(self._plan, MeshPlan) else ()

    def fair_permille(self, flow: FlowClass, pair: Pair) -> int:
        """Return the share of a class's demand that fits."""
        return self._plan.fair.get((flow, pair), FULL) if isinstance(self._plan, MeshPlan) else FULL

    def shift_kbps(
        self, used: Mapping[Pair, Split], plan: Mapping[Pair, Split]
    ) -> dict[Link, int]:
        """Return the kbps that each link would carry more, had a plan been used.

        Samples show links with our traffic where it was. Where it is metered it is moved in mind,
        or every path that it isn't on would look better than the one that it is on.
        """
        shift: dict[Link, int] = {}
        for sign, splits in ((-1, used), (1, plan)):
            for pair, split in splits.items():
                kbps = self.demands.get(pair, 0)
                for hops, share in split if kbps else ():
                    for link in links_of(hops):
                        shift[link] = shift.get(link, 0) + sign * kbps * share // FULL
        return {link: kbps for link, kbps in shift.items() if kbps}

    def summary(self) -> dict[str, object]:
        """Return the plan's state for people."""
        if not isinstance(self._plan, MeshPlan):
            return {"problem": self.problem()}
        plan = self._plan
        return {"expert": plan.expert, "reason": plan.reason, "version": plan.version}
