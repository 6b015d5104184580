"""The gateway's loop to hotspot-netd: read what entered, plan, hand the document over, renew.

Once a second netd is asked; a document goes there when it changed, and again each third of its
lease. A gateway that dies says nothing more: the lease ends, and the base mesh protocol carries on
alone. One that stops leaves its document for the rest of the lease, since it may be a restart.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chain.errors import UserError
from hotspot.gateway.kernel_desk import KernelDesk, Reading
from hotspot.gateway.kernel_settings import KernelSettings
from hotspot.netd.io_client import NetdClient
from hotspot.overlay.neighbours import KernelLoad
from routing.kernel.nodeplan import NodePlan
from routing.mesh_plan import PathPlanner
from routing.types import LinkSample

TICK_S = 1.0
AWAY, REFUSED, BASE, STEERED = "away", "refused", "base", "steered"
Counted = tuple[int, KernelLoad]  # of the way to a neighbour


@dataclass(frozen=True, slots=True)
class _Held:
    """What netd has of us: the document, and when it was last renewed, by our clock."""

    plan: NodePlan | None = None
    renewed_ms: int = 0


class KernelSteering:
    """One gateway's tie to its netd; `run` until it is cancelled."""

    def __init__(
        self,
        path: Path,
        index: int,
        settings: KernelSettings,
        planner: PathPlanner | None,
        say: Callable[[str, str], None],
    ) -> None:
        self.state, self.problem = AWAY, "not asked yet"
        self.desk = KernelDesk(index, settings, planner)
        self._path, self._settings, self._say = path, settings, say
        self._client = NetdClient(path)
        self._held = _Held()
        self._status: dict[str, Any] = {}

    async def run(
        self,
        samples: Callable[[], Sequence[LinkSample]],
        take_counted: Callable[[Sequence[Counted]], None],
        now_ns: Callable[[], int],
    ) -> None:
        """Go round once a second; `samples` gives the mesh's links as gossip has them."""
        while True:
            known = samples()
            take_counted(await asyncio.to_thread(self.step, known, now_ns() // 1_000_000))
            await asyncio.sleep(TICK_S)

    def step(self, samples: Sequence[LinkSample], now_ms: int) -> list[Counted]:
        """Do one round, in a thread; what the kernel counted on the way to neighbours."""
        try:
            return self._round(samples, now_ms)
        except UserError as error:
            self._fail(error)
        except Exception as error:  # a planner's bug must not end the loop that renews the lease
            self._enter(REFUSED, f"our own fault: {type(error).__name__}: {error}")
        return []

    def _round(self, samples: Sequence[LinkSample], now_ms: int) -> list[Counted]:
        self._status = self._client.read("status")["status"]
        demand = self._client.read("demand")["demand"]
        links = self._client.read("links")["links"]
        counted = counted_of(self._status, links, self._settings, now_ms * 1_000_000)
        self.desk.take_links(samples, now_ms)
        self.desk.take_demand(demand, now_ms)
        self.desk.plan(now_ms)
        in_force = self._status["version"]
        self._hand_over(Reading(in_force, bool(self._status["segments"])), now_ms)
        return counted

    def _hand_over(self, reading: Reading, now_ms: int) -> None:
        held = self._held.plan
        if held is not None and reading.version != held.version:
            held = None  # its lease ran out, it was cleared, or somebody else gave it another
        plan = self.desk.document(reading, held, now_ms)
        due_ms = self._held.renewed_ms + self._settings.lease_ms // 3
        if plan != held or now_ms >= due_ms:
            self._client.apply(plan)
            self._held = _Held(plan, now_ms)
        self._enter(STEERED if plan.paths else BASE, "")

    def _fail(self, error: UserError) -> None:
        """Nothing is lost: what is in force stays for its lease, and we try again."""
        self._held = replace(self._held, renewed_ms=0)
        self._enter(AWAY if error.field == "netd" else REFUSED, str(error))

    def _enter(self, state: str, problem: str) -> None:
        if (state, problem) != (self.state, self.problem):
            level = "warning" if problem else "info"
            said = f"{state}: {problem}" if problem else _WORDS[state]
            self._say(level, f"kernel {said}")
        self.state, self.problem = state, problem

    def status(self) -> dict[str, object]:
        """What people and programs may know."""
        held = self._held.plan
        return {
            "state": self.state,
            "problem": self.problem,
            "netd": str(self._path),
            "version": held.version if held and self.state in (BASE, STEERED) else None,
            "mode": held.mode if held else None,
            "lease_left_ms": self._status.get("lease_left_ms"),
            "neighbours": [row["node"] for row in self._status.get("neighbours", ())],
            **self.desk.summary(),
        }

    def close(self) -> None:
        """Let netd go; what it holds stays for its lease."""
        self._client.close()


_WORDS = {
    BASE: "has our neighbours; the base mesh protocol leads the way",
    STEERED: "follows our plan",
}


def counted_of(
    status: dict[str, Any], links: dict[str, Any], settings: KernelSettings, now_ns: int
) -> list[Counted]:
    """Return what netd counted on the way to each neighbour that is up."""
    rows = [row for row in status["neighbours"] if row["device"] in links]
    rates, sharers = dict(settings.rates_kbps), Counter(row["device"] for row in rows)
    found = []
    for row in rows:
        device = row["device"]
        classes = links[device].get("classes", {}).values()
        backlog = sum(kind["backlog_bytes"] for kind in classes)
        both = (links[device]["tx_bytes"], links[device]["rx_bytes"])
        load = KernelLoad(now_ns, *both, sharers[device], rates.get(device, 0), backlog)
        found.append((int(row["node"]), load))
    return found
