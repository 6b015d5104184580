"""Makes a scenario's faults happen in a running world, each at its time, and keeps a diary.

Every series of a fault (of one hotspot, or of a whole region) plans its next time only when the one
before is over, so a run may be as long as it likes. A hotspot that two faults hold down comes back
when both are over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from radio_sim.agents import Router
from radio_sim.draws import draw_u64
from radio_sim.faults.aim import occurrences, targets_of
from radio_sim.faults.air import AirFaults
from radio_sim.faults.casting import Dresser, fault_seed, places_of
from radio_sim.faults.load import LoadSource
from radio_sim.faults.specs import Timed
from radio_sim.mobility import RandomWaypoint, RecordedTrack, Track
from radio_sim.scenario import Scenario
from radio_sim.world import World

SECOND_NS = 1_000_000_000
MS = 1_000_000
EPISODES_MAX = 20_000
FOREVER_NS = -1

Nodes = tuple[int, ...]
Change = Callable[[int, Nodes], None]  # (episode, hotspots)


class Host(Protocol):
    """The fleet, as far as faults touch it."""

    scenario: Scenario
    seed: int
    world: World
    agents: list[Router]
    offline: set[int]

    def crash(self, number: int) -> None:
        """Cut a hotspot's power."""

    def restart(self, number: int) -> None:
        """Start a hotspot from its durable queue."""


@dataclass(slots=True)
class Episode:
    """One fault that happened; `end_ns` is FOREVER_NS while it lasts."""

    kind: str
    start_ns: int
    end_ns: int
    hotspots: Nodes
    text: str


class Injector:
    """The faults of one run. `episodes` is their diary, its first EPISODES_MAX entries."""

    def __init__(self, host: Host, dresser: Dresser) -> None:
        self._host = host
        self._world = host.world
        self._dresser = dresser
        self._faults = host.scenario.faults
        self._places = places_of(host.scenario)
        self._holds: Counter[int] = Counter()
        self._cuts: Counter[int] = Counter()
        self._groups: dict[int, Nodes] = {}
        self._numbers = 0
        self.episodes: list[Episode] = []
        self.counts: Counter[str] = Counter()
        self._start_ns = host.world.now_ns
        movers = {node for count in range(len(self._faults.walk)) for node in self._walkers(count)}
        self.air = AirFaults(host.scenario, host.world.medium, host.seed, movers)
        self._spots: dict[int, tuple[float, float]] = {}

    def start(self) -> None:
        """Plan the first of everything."""
        for count in range(len(self._faults.power_cut)):
            self._start_each("power_cut", count, self._hold, self._release)
        for count in range(len(self._faults.crash)):
            self._start_each("crash", count, self._hold, self._release)
        for count in range(len(self._faults.noise)):
            self._start_noise(count)
        for count in range(len(self._faults.partition)):
            self._start_partition(count)
        for count in range(len(self._faults.clock)):
            self._start_clock(count)
        for count in range(len(self._faults.walk)):
            self._start_walk(count)
        self._note_liars()
        self._start_load()

    # --- series -----------------------------------------------------------------------------

    def _start_each(self, kind: str, count: int, begin: Change, end: Change) -> None:
        """Plan a fault that comes to each of its hotspots at times of its own."""
        spec = getattr(self._faults, kind)[count]
        seed = fault_seed(self._host.seed, kind, count)
        for node in targets_of(spec, self._places, seed):
            self._plan(kind, occurrences(spec, seed, node), (node,), (begin, end), "")

    def _start_all(
        self, kind: str, count: int, spec: Timed, changes: tuple[Change, Change], text: str
    ) -> None:
        """Plan a fault that comes to all of its hotspots together."""
        seed = fault_seed(self._host.seed, kind, count)
        nodes = targets_of(spec, self._places, seed)
        if nodes:
            self._plan(kind, occurrences(spec, seed), nodes, changes, text)

    def _plan(
        self,
        kind: str,
        times: Iterator[tuple[float, float]],
        nodes: Nodes,
        changes: tuple[Change, Change],
        text: str,
    ) -> None:
        following = next(times, None)
        if following is None:
            return
        start_ns = self._start_ns + round(following[0] * SECOND_NS)
        end_ns = start_ns + max(1, round(following[1] * SECOND_NS))

        def begin(now_ns: int) -> None:
            number = self._begin(kind, now_ns, nodes, text)
            changes[0](number, nodes)

            def end(later_ns: int) -> None:
                self._end(number, later_ns)
                changes[1](number, nodes)
                self._plan(kind, times, nodes, changes, text)

            self._world.call_at(end_ns, end)

        self._world.call_at(start_ns, begin)

    def _begin(self, kind: str, now_ns: int, nodes: Nodes, text: str) -> int:
        number, self._numbers = self._numbers, self._numbers + 1
        self.counts[kind] += 1
        if number < EPISODES_MAX:
            self.episodes.append(Episode(kind, now_ns, FOREVER_NS, nodes, text))
        return number

    def _end(self, number: int, now_ns: int) -> None:
        if number < EPISODES_MAX:
            self.episodes[number].end_ns = now_ns

    # --- power ------------------------------------------------------------------------------

    def _hold(self, _number: int, nodes: Nodes) -> None:
        for node in nodes:
            self._holds[node] += 1
            if self._holds[node] == 1:
                self._host.crash(node)

    def _release(self, _number: int, nodes: Nodes) -> None:
        for node in nodes:
            self._holds[node] -= 1
            if not self._holds[node]:
                self._host.restart(node)

    # --- noise and walls ----------------------------------------------------------------------

    def _start_noise(self, count: int) -> None:
        spec = self._faults.noise[count]

        def begin(number: int, nodes: Nodes) -> None:
            self.air.begin_noise(number, nodes, spec.rise_db, spec.frequency_mhz)

        def end(number: int, _nodes: Nodes) -> None:
            self.air.end_noise(number)

        channel = f" at {spec.frequency_mhz} MHz" if spec.frequency_mhz else ""
        text = f"noise up {spec.rise_db:g} dB{channel}"
        self._start_all("noise", count, spec, (begin, end), text)

    def _start_partition(self, count: int) -> None:
        spec = self._faults.partition[count]

        def begin(number: int, nodes: Nodes) -> None:
            self._split(spec.layers, number, nodes)

        def end(number: int, nodes: Nodes) -> None:
            self._join(spec.layers, number, nodes)

        self._start_all("partition", count, spec, (begin, end), " and ".join(spec.layers))

    def _split(self, layers: tuple[str, ...], number: int, nodes: Nodes) -> None:
        if "air" in layers:
            self.air.begin_wall(number, nodes)
        if "backhaul" in layers:
            self._groups[number] = nodes
            self._tell_backhaul()
        if "ledger" in layers:
            self._cuts.update(nodes)
            self._host.offline.update(nodes)

    def _join(self, layers: tuple[str, ...], number: int, nodes: Nodes) -> None:
        if "air" in layers:
            self.air.end_wall(number)
        if "backhaul" in layers:
            del self._groups[number]
            self._tell_backhaul()
        if "ledger" in layers:
            self._cuts.subtract(nodes)
            self._host.offline.difference_update(n for n in nodes if not self._cuts[n])

    def _tell_backhaul(self) -> None:
        if self._world.backhaul is not None:
            self._world.backhaul.set_partitions(self._groups.values())

    # --- clocks, liars, walks, load -------------------------------------------------------------

    def _start_clock(self, count: int) -> None:
        spec = self._faults.clock[count]
        jump_ns = round(spec.jump_ms * MS)
        if not jump_ns:
            return

        def jump(_number: int, nodes: Nodes) -> None:
            for node in nodes:
                self._dresser.clocks[node].step(jump_ns)
                self._world.settle(node)

        def stay(_number: int, _nodes: Nodes) -> None:
            """A clock that stepped stays where it is."""

        self._start_each("clock", count, jump, stay)

    def _note_liars(self) -> None:
        for node, behaviour in sorted(self._dresser.behaviours.items()):
            self._begin("liar", self._start_ns, (node,), type(behaviour).__name__)

    def _walkers(self, count: int) -> Nodes:
        seed = fault_seed(self._host.seed, "walk", count)
        return targets_of(self._faults.walk[count], self._places, seed)

    def _start_walk(self, count: int) -> None:
        spec, seed = self._faults.walk[count], fault_seed(self._host.seed, "walk", count)
        tracks: dict[int, Track] = {}
        for node in self._walkers(count):
            home = self._places[node][1:]
            tracks[node] = RecordedTrack(spec.points) if spec.points else RandomWaypoint(
                draw_u64(seed, node), home, spec.speed_mps, spec.pause_s, spec.range_m
            )
        step_ns = round(spec.step_s * SECOND_NS)

        def step(now_ns: int) -> None:
            second = (now_ns - self._start_ns) / SECOND_NS
            self._spots.update({node: track.at(second) for node, track in tracks.items()})
            self.air.move(self._spots)
            self._world.call_at(now_ns + step_ns, step)

        if tracks:
            how = "on its track" if spec.points else "wandering"
            self._begin("walk", self._start_ns, tuple(tracks), how)
            self._world.call_at(self._start_ns, step)

    def _start_load(self) -> None:
        load, scenario = self._faults.load, self._host.scenario
        if load.frames_per_hour or load.datagrams_per_hour:
            channel = [s.frequency_mhz or scenario.radio.frequency_mhz for s in scenario.hotspots]
            source = LoadSource(load, self._world, self._host.agents, channel, self._host.seed)
            source.start()
