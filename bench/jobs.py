"""Deadline jobs kept and promises broken: `python -m bench.jobs --json`.

A gateway at the hub of FFGraz's first snapshot sends files to the thirty hotspots nearest to it.
What a link leaves for jobs fluctuates as a measured 5G download does (UCC, 1 Hz; half of its
spread, since a roof doesn't drive), around the rate of its ETX. Jobs come at random: 20 MB in the
median, due in half a minute to ten. All policies know what each link did until now, and send in
steps of a second; where a link is asked for too much, all on it get the same share less.

    edf        takes every job, by the shortest way; earliest due time first
    greedy     takes a job if its shortest way has the rate that it needs, free at this moment
    greedy_sure   the same over four ways, on the 10th percentile, with a tenth of the time spare
    ours       routing/jobs/schedule.py on the 10th percentile of the mean until then

`kept` is the share of all jobs that were there in time, `broken` of those promised that were not.
The second greedy is a peer made as strong as it gets. `hindsight` bounds what could be kept by who
knew everything beforehand (bench/jobs_bound.py). Loads are jobs per second; the top keys are of the
middle one.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from time import process_time
from typing import Any

import numpy as np

from bench.jobs_bound import most_in_time
from bench.te_meshes import GRAPHML
from chain.errors import UserError
from chain.io_terminal import Progress, print_json
from routing.forecast.io_datasets import TRACES, load_series
from routing.graph import alternatives
from routing.jobs.plan import Lane, Resource, Room, Task
from routing.jobs.schedule import Schedule
from routing.plan.io_networks import graphml_meshes
from routing.telemetry.second import FIELDS

NODES, WAYS = 30, 4
PAST_S, LAST_S = 600, 600  # known before the first job; given to the last ones
WINDOWS_S = (1, 5, 15, 60, 120)
HEADROOM, RESERVE, MARGIN = 0.05, 0.1, 0.15
LOADS = (1.0, 1.5, 2.5)
Rates = dict[str, tuple[Lane, float]]


@dataclass(slots=True)
class Job:
    """A file on its way: times in s."""

    name: str
    target: int
    kbits: float
    came_s: int
    due_s: int
    done: float = 0.0

    @property
    def left(self) -> float:
        """Kbits to go."""
        return self.kbits - self.done


class World:
    """Links, what each carries in every second, and the jobs."""

    def __init__(self, seed: int, load: float, seconds: int) -> None:
        self.seed, self.seconds = seed, seconds
        self.capacity, self.nodes = self._capacity()
        self._sums = {k: np.concatenate(([0.0], np.cumsum(c))) for k, c in self.capacity.items()}
        self._sure: dict[tuple[Resource, int], list[float]] = {}
        self.jobs = list(self._jobs(load))

    def _draw(self, *what: object) -> float:
        return int.from_bytes(sha256(repr((self.seed, *what)).encode()).digest()[:8]) / 2**64

    def _capacity(self) -> tuple[dict[Resource, np.ndarray], list[int]]:
        archive = TRACES / "mesh" / GRAPHML
        if not archive.is_file():
            raise UserError("traces", f"{archive.name} is not there", "put it into mesh/")
        mesh = next(iter(graphml_meshes(archive)))
        rates = dict(zip(mesh.links, mesh.rates_kbps, strict=True))
        order = [0]
        for node in order:
            order += sorted({b for a, b in rates if a == node} - set(order))
        nodes = order[:NODES]
        logs = [row.values[FIELDS.index("rate_kbps")] for row in load_series("ucc5g")]
        traces = [log for log in logs if len(log) > PAST_S]
        total = PAST_S + self.seconds + LAST_S
        result: dict[Resource, np.ndarray] = {}
        for a, b in (link for link in sorted(rates) if set(link) <= set(nodes)):
            trace = traces[int(self._draw("trace", min(a, b), max(a, b)) * len(traces))]
            shift = int(self._draw("shift", a, b) * len(trace))
            shape = np.resize(np.roll(trace, -shift), total) / trace.mean()
            result[a, b] = rates[a, b] * (0.5 + 0.5 * shape)
        return result, nodes

    def _jobs(self, load: float) -> Iterator[Job]:
        when, number = 0.0, 0
        while True:
            when -= math.log(1 - self._draw("gap", number)) / load
            if when >= self.seconds:
                return
            target = self.nodes[1 + int(self._draw("to", number) * (len(self.nodes) - 1))]
            radius = math.sqrt(-2 * math.log(1 - self._draw("size", number)))
            size = 160_000 * math.exp(radius * math.cos(math.tau * self._draw("turn", number)))
            span = 30 * 20 ** self._draw("due", number)
            yield Job(f"j{number}", target, size, int(when) + 1, int(when + span) + 1)
            number += 1

    def measured(self, link: Resource, now_s: int) -> float:
        """What the link carried in the second before."""
        return float(self.capacity[link][PAST_S + now_s - 1])

    def sure_kbits(self, link: Resource, now_s: int, ahead_s: float) -> float:
        """What it surely carries until then: the 10th percentile of sums as long in the past."""
        sums = self._sums_ahead(link, now_s // 10 * 10)
        if ahead_s >= WINDOWS_S[-1]:
            return sums[-1] * ahead_s / WINDOWS_S[-1]
        return float(np.interp(ahead_s, (0, *WINDOWS_S), (0.0, *sums)))

    def _sums_ahead(self, link: Resource, now_s: int) -> list[float]:
        key = (link, now_s)
        if key not in self._sure:
            past = self._sums[link][now_s : now_s + PAST_S + 1]
            sums = [past[h:] - past[:-h] for h in WINDOWS_S]
            tenths = [float(np.partition(s, len(s) // 10)[len(s) // 10]) for s in sums]
            self._sure[key] = np.maximum.accumulate(tenths).tolist()
        return self._sure[key]


class Policy:
    """What all share: ways to a target, and the jobs that were taken."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken: dict[str, tuple[Job, Lane]] = {}
        self._costs = {
            (a, b): int(1e9 / c[:PAST_S].mean()) + 200 for (a, b), c in world.capacity.items()
        }
        self._ways: dict[int, list[Lane]] = {}

    def ways(self, target: int) -> list[Lane]:
        """Up to four ways, shortest first; each relay asks the same."""
        if target not in self._ways:
            found = alternatives(self._costs, self.world.nodes[0], target, WAYS)
            self._ways[target] = [
                Lane(hops, dict.fromkeys(pairwise(hops), 1.0), 1_000 * (len(hops) - 2))
                for hops in found
            ]
        return self._ways[target]

    def take(self, job: Job, now_s: int) -> bool:
        """Promise a job or not."""
        raise NotImplementedError

    def tick(self, now_s: int) -> None:
        """A second has passed."""

    def ended(self, job: Job) -> None:
        """A job is done, or too late."""
        self.taken.pop(job.name, None)

    def share(self, now_s: int, wishes: Iterable[tuple[Job, Lane, float]], rates: Rates) -> None:
        """Give each its wish, in this order, as far as the measured links go."""
        left = {k: self.world.measured(k, now_s) for k in self.world.capacity}
        for lane, rate in rates.values():
            for link in lane.uses:
                left[link] -= rate
        for job, lane, wish in wishes:
            got = max(0.0, min(wish, min(left[link] for link in lane.uses)))
            for link in lane.uses:
                left[link] -= got
            rates[job.name] = (lane, rates.get(job.name, (lane, 0.0))[1] + got)

    def by_due(self) -> list[tuple[Job, Lane]]:
        """Jobs taken, the one due first before others."""
        return sorted(self.taken.values(), key=lambda row: (row[0].due_s, row[0].name))

    def rates(self, now_s: int) -> Rates:
        """How fast each job sends in this second."""
        rates: Rates = {}
        self.share(now_s, ((job, lane, math.inf) for job, lane in self.by_due()), rates)
        return rates


class Edf(Policy):
    """Every job, earliest due time first."""

    def take(self, job: Job, now_s: int) -> bool:
        """Take it."""
        del now_s
        self.taken[job.name] = (job, self.ways(job.target)[0])
        return True


class Greedy(Policy):
    """A job whose shortest way has the rate free now; then what it needs, and what is left."""

    is_sure = False

    def needed(self, job: Job, now_s: int) -> float:
        """The constant rate that brings it in time."""
        spare = RESERVE if self.is_sure else 0.0
        return job.left / max(1.0, (job.due_s - now_s) * (1 - spare))

    def free(self, link: Resource, now_s: int) -> float:
        """What others don't need of a link."""
        room = self.world.measured(link, now_s)
        if self.is_sure:
            room = self.world.sure_kbits(link, now_s, 60) / 60 * (1 - HEADROOM)
        taken = self.taken.values()
        return room - sum(self.needed(j, now_s) for j, lane in taken if link in lane.uses)

    def take(self, job: Job, now_s: int) -> bool:
        """Take it by the first way that has the rate."""
        for lane in self.ways(job.target)[: WAYS if self.is_sure else 1]:
            if min(self.free(link, now_s) for link in lane.uses) >= self.needed(job, now_s):
                self.taken[job.name] = (job, lane)
                return True
        return False

    def rates(self, now_s: int) -> Rates:
        """What each needs first."""
        rates: Rates = {}
        rows = self.by_due()
        self.share(now_s, ((j, lane, self.needed(j, now_s)) for j, lane in rows), rates)
        self.share(now_s, ((j, lane, math.inf) for j, lane in rows), rates)
        return rates


class GreedySure(Greedy):
    """The same, over four ways, on the 10th percentile, with time in reserve."""

    is_sure = True


class Ours(Policy):
    """The timetable, made again every five seconds."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._schedule = Schedule()

    def _room(self, now_s: int) -> Room:
        def room(link: Resource, start_ms: int, end_ms: int) -> float:
            first, last = (t / 1_000 - now_s for t in (start_ms, end_ms))
            kbits = self.world.sure_kbits(link, now_s, last)
            kbits -= self.world.sure_kbits(link, now_s, first) if first > 0 else 0.0
            return (1 - MARGIN) * kbits / (last - first)

        return room

    def take(self, job: Job, now_s: int) -> bool:
        """Ask the schedule."""
        self._progress()
        due_ms = int(1_000 * (now_s + (job.due_s - now_s) * (1 - RESERVE)))
        ways = self.ways(job.target)
        task = Task(job.name, ways[0], job.kbits, due_ms)
        admitted = self._schedule.admit(task, ways, 1_000 * now_s, self._room(now_s))
        if admitted is not None:
            self.taken[job.name] = (job, admitted.lane)
        return admitted is not None

    def _progress(self) -> None:
        for job, _ in self.taken.values():
            self._schedule.progress(job.name, job.left)

    def tick(self, now_s: int) -> None:
        """Plan again now and then."""
        if now_s % 5 == 0:
            self._progress()
            self._schedule.update({}, 1_000 * now_s, self._room(now_s))

    def ended(self, job: Job) -> None:
        """Free its room."""
        super().ended(job)
        self._schedule.remove(job.name)

    def rates(self, now_s: int) -> Rates:
        """As the schedule says, within what was measured."""
        self._progress()
        rates = self._schedule.rates_kbps(
            1_000 * now_s, lambda link, _a, _b: self.world.measured(link, now_s)
        )
        return {name: (self._schedule.lane_of(name), rate) for name, rate in rates.items()}


POLICIES: dict[str, type[Policy]] = {
    "edf": Edf, "greedy": Greedy, "greedy_sure": GreedySure, "ours": Ours,
}  # fmt: skip


def run(world: World, policy: Policy) -> dict[str, int]:
    """Play one world with one policy."""
    counts = {"jobs": len(world.jobs), "promised": 0, "kept": 0, "broken": 0}
    coming = world.jobs[::-1]
    live: dict[str, Job] = {}
    for now_s in range(world.seconds + LAST_S):
        while coming and coming[-1].came_s <= now_s:
            job = coming.pop()
            if policy.take(job, now_s):
                live[job.name] = job
                counts["promised"] += 1
        policy.tick(now_s)
        send(world, policy.rates(now_s), live, now_s)
        for job in list(live.values()):
            if job.left > 1e-6 and now_s + 1 < job.due_s:
                continue
            counts["broken" if job.left > 1e-6 else "kept"] += 1
            del live[job.name]
            policy.ended(job)
    counts["broken"] += len(live)
    return counts


def send(world: World, rates: Rates, live: dict[str, Job], now_s: int) -> None:
    """Carry a second's bytes: a link asked for too much gives all the same share less."""
    asked: dict[Resource, float] = {}
    for lane, rate in rates.values():
        for link in lane.uses:
            asked[link] = asked.get(link, 0.0) + rate
    for name, (lane, rate) in rates.items():
        there = {link: world.capacity[link][PAST_S + now_s] for link in lane.uses}
        shares = [room / max(1e-9, asked[link]) for link, room in there.items()]
        live[name].done += rate * min(1.0, *shares)


def measure(load: float, seeds: int, seconds: int, bar: Progress) -> dict[str, Any]:
    """All policies at one load."""
    rows: dict[str, Any] = {}
    for name, kind in POLICIES.items():
        began_s, total = process_time(), dict.fromkeys(("jobs", "promised", "kept", "broken"), 0)
        for seed in range(1, seeds + 1):
            world = World(seed, load, seconds)
            for key, count in run(world, kind(world)).items():
                total[key] += count
        rows[name] = total | {
            "kept_share": round(total["kept"] / total["jobs"], 4),
            "broken_share": round(total["broken"] / max(1, total["promised"]), 4),
            "cpu_s": round(process_time() - began_s, 2),
        }
        bar.update(len(rows), f"{load} jobs/s {name}")
    worlds = [World(seed, load, seconds) for seed in range(1, seeds + 1)]
    bound = sum(hindsight(world) for world in worlds)
    rows["hindsight"] = {"kept_share": round(bound / sum(len(w.jobs) for w in worlds), 4)}
    return rows


def hindsight(world: World) -> float:
    """The most jobs that could be in time over their ways."""
    policy = Policy(world)
    jobs = [(job.kbits, job.came_s, job.due_s, policy.ways(job.target)) for job in world.jobs]
    return most_in_time(jobs, {k: c[PAST_S:] for k, c in world.capacity.items()})


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="worlds per load")
    parser.add_argument("--seconds", type=int, default=600, metavar="S", help="of arrivals")
    parser.add_argument("--load", type=float, metavar="X", help="jobs per second: this one only")
    options = parser.parse_args()
    loads = [options.load] if options.load else list(LOADS)
    table = {}
    for load in loads:
        bar = Progress(f"{load} jobs/s", len(POLICIES), quiet=options.json)
        table[str(load)] = measure(load, options.seeds, options.seconds, bar)
    middle = table[str(loads[len(loads) // 2])]
    result = {
        "kept": middle["ours"]["kept_share"],
        "broken": middle["ours"]["broken_share"],
        "greedy_kept": middle["greedy"]["kept_share"],
        "edf_kept": middle["edf"]["kept_share"],
        "greedy_sure_kept": middle["greedy_sure"]["kept_share"],
        "hindsight_kept": middle["hindsight"]["kept_share"],
        "loads": table,
    }
    print_json(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
