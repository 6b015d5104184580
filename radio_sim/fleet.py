"""A whole network in virtual time: simulated air, shipping nodes, a ledger in memory.

The world moves in short steps. After each step the records that nodes signed go to the ledger in
one block, the ledger's clock is moved on, and mixes that nodes wait for are handed to them. Same
scenario, preset and seed: same trace digest and same ledger root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chain.draws import digest, u64
from chain.keys import public_key
from chain.ledger import Ledger, Sealed
from chain.params import PRESETS, Params
from chain.records import Deposit, Genesis, SubmitResult
from chain.wire import seal
from hotspot.actions import Action, FetchMix, KeepReceptions, SubmitRecord
from hotspot.directory import Directory
from hotspot.node import Memory, beacon_verifier
from hotspot.secrets import SecretChain
from radio_sim.agents import (
    HotspotAgent,
    Network,
    Router,
    keys_of,
    make_node,
    make_reader,
    registration_of,
)
from radio_sim.assemble import backhaul_of, links_of, medium_of
from radio_sim.faults.behaviours import Behaviour
from radio_sim.faults.casting import Dresser
from radio_sim.faults.injector import Injector
from radio_sim.scenario import Scenario
from radio_sim.tally import Tally
from radio_sim.world import World

MS = 1_000_000
START_MS = 1_767_225_600_000  # 2026-01-01; a run's clock is an argument, not today
SEED_SHARE = 20  # every 20th hotspot is a trust seed
STEPS_PER_EPOCH = 40
DEPOSIT_UCR = 100_000_000

Progress = Callable[[int, str], None]


def trust_seeds(count: int) -> list[int]:
    """Which hotspots of a scenario the operators vouch for: every 20th, at least one."""
    return list(range(0, count, SEED_SHARE))


def genesis_of(
    scenario: Scenario, master: bytes, preset: str, start_ms: int, operator: bytes
) -> Genesis:
    """The first record of a scenario's network."""
    names = [scenario.hotspots[i].name for i in trust_seeds(len(scenario.hotspots))]
    return Genesis(
        network=scenario.name[:64],
        preset=preset,
        start_ms=start_ms,
        operators=(public_key(operator),),
        threshold=1,
        seeds=tuple(public_key(keys_of(master, name).hotspot) for name in names),
    )


def get_beacons(params: Params, wished: int | None) -> int:
    """Beacons that a hotspot sends per epoch; ValueError for more than count, or for none."""
    if wished is None:
        return params.beacons_per_epoch
    if not 1 <= wished <= params.beacons_per_epoch:
        raise ValueError(f"beacons: {wished} per epoch; use 1 to {params.beacons_per_epoch}")
    return wished


@dataclass(frozen=True, slots=True)
class Summary:
    """A virtual run in figures."""

    hotspots: int
    seconds: int
    beacons_sent: int
    receptions: int
    messages: int
    records_refused: int
    verdicts: dict[str, int]
    cells_covered: int
    credits_paid_ucr: int
    digest: str
    ledger_root: str


class Watcher(Protocol):
    """Is told what the ledger answers and seals; it must not touch either."""

    def on_answers(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        """Take note of records and the ledger's answers to them."""

    def on_block(self, sealed: Sealed) -> None:
        """Take note of a block."""

    def on_kept(self, agent: int, epoch: int, rows: Sequence[bytes]) -> None:
        """Take note of receptions that a hotspot stored."""


class Fleet:
    """A running virtual network.

    `offline` holds the hotspots whose way to the ledger is cut, `down` those without power: what
    they signed waits in their durable queues, and what they asked for stays unanswered.
    `beacons` is how many each hotspot sends per epoch (by default all that the preset counts).
    `verify_every` makes each receiver read each frame and check its signature by itself; otherwise
    those who hear the same bytes share that, since its outcome is a function of these bytes.
    `behaviours` makes hotspots lie, beside those that the scenario's faults do.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        preset: str,
        watchers: Sequence[Watcher] = (),
        *,
        beacons: int | None = None,
        verify_every: bool = False,
        behaviours: Mapping[int, Behaviour] | None = None,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.params = PRESETS[preset]
        self._beacons = get_beacons(self.params, beacons)
        self._verify_every = verify_every
        self.offline: set[int] = set()
        self.down: set[int] = set()
        self._watchers = tuple(watchers)
        self._master = digest("sim-master", u64(seed))
        operator = digest("sim-operator", self._master)
        genesis = genesis_of(scenario, self._master, preset, START_MS, operator)
        self.tally = Tally()
        self.ledger = Ledger(seal(genesis, b"", []), on_block=self._note_block)
        self.ledger.packs_rows = False
        self.directory = Directory()
        epoch_ns, start_ns = self.params.epoch_ms * MS, START_MS * MS
        self.dresser = Dresser(scenario, seed, epoch_ns, start_ns, self._wake, behaviours)
        self.agents = self._make_agents()
        links = links_of(scenario, seed)
        self.world = World(
            self.agents,
            medium_of(scenario, links, seed),
            seed,
            backhaul=backhaul_of(scenario, links, seed),
            effects=self._effect,
            read=None if verify_every else make_reader(self.directory),
            start_ns=START_MS * MS,
        )
        self._pending: list[tuple[int, bytes]] = []  # (agent, record), oldest first
        self._asked: list[tuple[int, int]] = []  # (agent, epoch)
        self.refused: Counter[str] = Counter()
        self._former: Counter[str] = Counter()  # what machines that crashed had counted
        self._fund(operator)
        self._register()
        self.faults = Injector(self, self.dresser)
        if scenario.faults or behaviours:
            self.faults.start()

    def _wake(self, number: int) -> None:
        self.world.settle(number)

    def _make_agents(self) -> list[Router]:
        network_id = self.ledger.network_id
        verifier = beacon_verifier(network_id, remembers=not self._verify_every)
        params = replace(self.params, beacons_per_epoch=self._beacons)
        self._network = Network(network_id, START_MS, params, self.directory, verifier)
        length = 2 + self.params.late_epochs + 20_000_000 // self.params.epoch_ms
        agents = []
        for number, spec in enumerate(self.scenario.hotspots):
            keys = keys_of(self._master, spec.name)
            agents.append(self._make_agent(number, SecretChain(keys.hotspot, 1, length)))
        return agents

    def _make_agent(
        self, number: int, chain: SecretChain, memory: Memory | None = None
    ) -> Router:
        claimed, dresser = self.dresser.site(number), self.dresser
        keys, channel_mhz = keys_of(self._master, claimed.name), self.scenario.radio.frequency_mhz
        network = replace(
            self._network, verifier=dresser.verifier(number, self._network.verifier)
        )
        node = make_node(claimed, keys, chain, network, channel_mhz, memory)
        return dresser.dress(number, HotspotAgent(node))

    def _fund(self, operator: bytes) -> None:
        wires = []
        for spec in self.scenario.hotspots:
            owner = public_key(keys_of(self._master, spec.name).owner)
            deposit = Deposit(owner, DEPOSIT_UCR, digest("sim-deposit", owner), (0,))
            wires.append(seal(deposit, self.ledger.network_id, [operator]).wire)
        self._submit(wires, START_MS)

    def _register(self) -> None:
        wires = []
        self._indexes: list[int] = []  # on the ledger, by agent
        for number, agent in enumerate(self.agents):
            spec = self.dresser.site(number)
            keys = keys_of(self._master, spec.name)
            record = registration_of(
                spec, keys, agent.node.secrets, self.scenario.radio.frequency_mhz
            )
            wires.append(seal(record, self.ledger.network_id, [keys.hotspot, keys.owner]).wire)
        for number, result in enumerate(self._submit(wires, START_MS)):
            if result is None:
                raise ValueError(
                    f"registration of {self.scenario.hotspots[number].name} was refused"
                )
            self._indexes.append(result)
            self._tell_registration(number)
            self.world.settle(number)

    def _tell_registration(self, number: int) -> None:
        index, now_ns = self._indexes[number], self.world.now_ns
        self.agents[number].receive_registration(index, self.params.bind_epochs, now_ns)

    def _submit(self, wires: list[bytes], time_ms: int) -> list[int | None]:
        results = self.ledger.submit(wires, time_ms)
        self.refused.update(r.reason for r in results if not r.accepted)
        for watcher in self._watchers:
            watcher.on_answers(wires, results)
        return [r.index for r in results]

    def _note_block(self, sealed: Sealed) -> None:
        self.tally.note(sealed)
        for watcher in self._watchers:
            watcher.on_block(sealed)

    # --- crashes ------------------------------------------------------------------------------

    def crash(self, number: int) -> None:
        """Cut a hotspot's power: its durable queue stays, all else of it is gone."""
        self._asked = [(agent, epoch) for agent, epoch in self._asked if agent != number]
        self.down.add(number)
        self.world.crash(number)

    def restart(self, number: int) -> None:
        """Start a hotspot's daemon from its durable queue."""
        self.down.discard(number)
        node = self.agents[number].node
        self._former.update(node.counts)
        self.agents[number] = self._make_agent(number, node.secrets, node.memory)
        self._tell_registration(number)
        self.world.restart(number, self.agents[number])

    # --- running ------------------------------------------------------------------------------

    def run(self, seconds: float, progress: Progress | None = None) -> None:
        """Advance by simulated seconds."""
        end_ms = self.world.now_ns // MS + round(seconds * 1000)
        step_ms = max(50, self.params.epoch_ms // STEPS_PER_EPOCH)
        start_ms = now_ms = self.world.now_ns // MS
        while now_ms < end_ms:
            now_ms = min(end_ms, now_ms + step_ms)
            self.world.run_until(now_ms * MS)
            self._settle(now_ms)
            if progress is not None:
                progress((now_ms - start_ms) // 1000, f"epoch {self.ledger.state.epoch}")

    def _effect(self, agent: int, action: Action, now_ns: int) -> None:
        del now_ns
        if isinstance(action, SubmitRecord):
            self._pending.append((agent, action.wire))
        elif isinstance(action, FetchMix):
            self._asked.append((agent, action.epoch))
        elif isinstance(action, KeepReceptions):
            for watcher in self._watchers:
                watcher.on_kept(agent, action.epoch, action.receptions)

    def _settle(self, now_ms: int) -> None:
        """Give the ledger what was signed, move its clock, answer who asked for mixes."""
        if self._pending:
            pending, apart = self._pending, self.offline | self.down
            self._pending = [item for item in pending if item[0] in apart] if apart else []
            self._submit([wire for agent, wire in pending if agent not in apart], now_ms)
        self.ledger.tick(now_ms)
        asked, self._asked = self._asked, []
        for agent, epoch in asked:
            mix = None if agent in self.offline else self.ledger.mix(epoch)
            if mix is None:
                self._asked.append((agent, epoch))
            else:
                self.agents[agent].receive_mix(epoch, mix, now_ms * MS)
                self.world.settle(agent)

    def ledger_index(self, number: int) -> int:
        """The ledger's index of a hotspot of the scenario."""
        return self._indexes[number]

    def agent_of(self, index: int) -> int:
        """The number of the hotspot with an index on the ledger."""
        return self._indexes.index(index) if self._indexes[index] != index else index

    @property
    def waiting(self) -> int:
        """Records that the ledger has not seen yet."""
        return len(self._pending)

    def counts(self) -> Counter[str]:
        """What all nodes counted, those that crashed included."""
        counts = self._former.copy()
        for agent in self.agents:
            counts.update(agent.node.counts)
        return counts

    def summary(self) -> Summary:
        """Figures of the run so far."""
        counts = self.counts()
        head = self.ledger.head
        return Summary(
            hotspots=len(self.agents),
            seconds=(self.world.now_ns // MS - START_MS) // 1000,
            beacons_sent=counts["beacons"],
            receptions=counts["heard"],
            messages=counts["messages"],
            records_refused=sum(self.refused.values()),
            verdicts=dict(sorted(self.tally.verdicts.items())),
            cells_covered=self.tally.cells_covered(self.ledger.state),
            credits_paid_ucr=sum(self.tally.paid_ucr.values()),
            digest=self.world.digest(),
            ledger_root=head.state_root.hex() if head else "",
        )


def build_fleet(scenario: Scenario, seed: int, preset: str) -> Fleet:
    """A fleet at the start of its run."""
    return Fleet(scenario, seed, preset)
