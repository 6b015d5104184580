"""The demo's air: a world of shipping nodes and relays, paced by the wall clock.

One process runs all simulated routers beside a real ledger. Hotspots whose gateway is a process
of its own exchange overlay datagrams with it over a loopback UDP socket; the backhaul decides
when and whether each arrives. What nodes must not lose is in one durable queue before anything
leaves this process, so that it may be killed at any moment and started again: epochs follow the
wall clock, keys follow from the master seed, receptions, receipts and signed records come back
from the queue.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient
from chain.io_keys import load_or_create_seed
from chain.io_terminal import Parser, write_json
from chain.keys import public_key
from chain.wire import seal
from hotspot.actions import Action, FetchClaim, FetchMix, FetchSession, FetchStandings, Log
from hotspot.directory import Directory
from hotspot.io_network import learn_network
from hotspot.io_queue import DurableQueue
from hotspot.io_uplink import (
    ClaimKnown,
    DirectoryKnown,
    MixKnown,
    SessionKnown,
    StandingsKnown,
    Submitted,
    Uplink,
)
from hotspot.io_wake import Waker
from hotspot.node import beacon_verifier
from hotspot.overlay.io_link import pack, pack_report, unpack
from hotspot.overlay.linkstate import LinkReport, Memo
from hotspot.overlay.payee import Price
from hotspot.overlay.relay import RelayNode, RelayOptions
from hotspot.secrets import SecretChain
from radio_sim.agents import HotspotAgent, Network, keys_of, make_node, registration_of, world_seed
from radio_sim.assemble import backhaul_of, links_of, medium_of
from radio_sim.io_scenario import load_scenario, note_unused_faults
from radio_sim.scenario import Scenario
from radio_sim.world import ExternalInbox, World

MS = 1_000_000
CHAIN_LENGTH = 20_000
LONGEST_WAIT_S = 0.05
REPORT_S = 1.0
REGISTER_BATCH = 100
RELAY_PRICE_UCR = 1_000  # per MiB, what a gateway's sample settings ask too


class WorldProcess:
    """All simulated routers of a demo."""

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        ledger_url: str,
        air_port: int,
        external: set[str],
        master: bytes,
    ) -> None:
        self._scenario = scenario
        self._folder = folder
        self._client = LedgerClient(ledger_url)
        self._queue = DurableQueue(folder / "world.db", limit_bytes=1 << 30)
        self._master = master
        self._network = self._learn()
        self._external = {scenario.index_of()[name] for name in external}
        self._air = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._air.bind(("127.0.0.1", air_port))
        self._air.setblocking(False)
        self._addresses: dict[int, tuple[str, int]] = {}
        self._outgoing: list[tuple[int, bytes]] = []
        self._batch: list[tuple[int, Action]] = []
        self._senders: dict[bytes, int] = {}
        self._lag_ms = 0
        self._waker = Waker()
        self._uplink = Uplink(LedgerClient(ledger_url), self._waker.ring)
        self._agents = self._make_agents()
        self._world = self._make_world()

    # --- building ----------------------------------------------------------------------------

    def _learn(self) -> Network:
        known = learn_network(self._client, self._queue)
        return Network(
            known.network_id,
            known.start_ms,
            known.params,
            Directory(),
            beacon_verifier(known.network_id),
        )

    def _first_epoch(self) -> int:
        """First epoch of everybody's chain of secrets; fixed when the world first started."""
        kept = self._queue.note("first_epoch")
        if kept is None:
            now_ms = time.time_ns() // MS
            epoch = self._network.params.epoch_at(self._network.start_ms, now_ms)
            kept = str(epoch + 1).encode()
            self._queue.set_note("first_epoch", kept)
        return int(kept)

    def _make_agents(self) -> list[HotspotAgent]:
        first_epoch, agents = self._first_epoch(), []
        for spec in self._scenario.hotspots:
            keys = keys_of(self._master, spec.name)
            chain = SecretChain(keys.hotspot, first_epoch, CHAIN_LENGTH)
            memory = self._queue.memory(public_key(keys.hotspot))
            frequency = spec.frequency_mhz or self._scenario.radio.frequency_mhz
            agents.append(
                HotspotAgent(make_node(spec, keys, chain, self._network, frequency, memory))
            )
        return agents

    def _make_world(self) -> World:
        seed = world_seed(self._master)
        links = links_of(self._scenario, seed)
        backhaul = backhaul_of(self._scenario, links, seed)
        world = World(
            self._agents,
            medium_of(self._scenario, links, seed),
            seed,
            backhaul=backhaul,
            effects=self._effect,
            start_ns=time.time_ns(),
        )
        for index in self._external:
            world.external[index] = self._outbox(index)
        return world

    def register(self) -> None:
        """Put every hotspot on the ledger in the scenario's order; write who got which index."""
        known = {row.key: row for row in self._client.hotspots()}
        missing = [i for i, agent in enumerate(self._agents) if agent.node.key not in known]
        for start in range(0, len(missing), REGISTER_BATCH):
            wires = [self._registration(i) for i in missing[start : start + REGISTER_BATCH]]
            for result in self._client.submit(wires):
                if not result.accepted:
                    raise UserError("registration", result.detail, "see the ledger's log")
        known = {row.key: row for row in self._client.hotspots()}
        now_ns, entries = time.time_ns(), []
        for number, agent in enumerate(self._agents):
            row = known[agent.node.key]
            if row.index != number:
                raise UserError(
                    "--dir", f"hotspot {number} is {row.index} on this ledger", "use a new folder"
                )
            entries.append((row.index, row.key))
            agent.node.receive_registration(row.index, row.bind_epoch, now_ns)
        self._network.directory.update(entries)
        self._start_relays(now_ns)
        rows = [
            {"name": s.name, "index": i, "peers": self._peers(i)}
            for i, s in enumerate(self._scenario.hotspots)
        ]
        write_json(self._folder / "hotspots.json", rows)

    def _registration(self, number: int) -> bytes:
        spec, agent = self._scenario.hotspots[number], self._agents[number]
        keys = keys_of(self._master, spec.name)
        record = registration_of(spec, keys, agent.node.secrets, agent.node.identity.frequency_mhz)
        return seal(record, self._network.network_id, [keys.hotspot, keys.owner]).wire

    def _peers(self, index: int) -> tuple[int, ...]:
        backhaul = self._world.backhaul
        return backhaul.peers(index) if backhaul is not None else ()

    def _start_relays(self, now_ns: int) -> None:
        waiting: dict[bytes, list[bytes]] = {}
        for record in self._queue.undelivered():
            waiting.setdefault(record.hotspot, []).append(record.wire)
            index = self._network.directory.index_of(record.hotspot)
            if index is not None:
                self._senders[record.record_id] = index
        verified: Memo = {}
        for index, agent in enumerate(self._agents):
            if index not in self._external:
                seed = keys_of(self._master, self._scenario.hotspots[index].name).hotspot
                agent.relay = RelayNode(
                    index,
                    seed,
                    self._network.network_id,
                    self._network.params,
                    self._network.directory,
                    self._peers(index),
                    now_ns,
                    start_ms=self._network.start_ms,
                    options=RelayOptions(price=Price(RELAY_PRICE_UCR)),
                    verified=verified,
                )
                key = agent.node.key
                agent.relay.restore(self._queue.receipts(key), waiting.get(key, []), now_ns)
                agent.relay.restore_claims(self._queue.claims(key))
            self._world.settle(index)

    # --- running -----------------------------------------------------------------------------

    def run(self) -> None:
        """Pace the world until told to stop."""
        self._waker.stop_on_signals()
        self._uplink.submit(record.wire for record in self._queue.undelivered())
        self._uplink.start()
        report_at = 0.0
        while not self._waker.stopping:
            now_ns = time.time_ns()
            self._lag_ms = max(0, now_ns - (self._world.next_event_ns() or now_ns)) // MS
            self._world.run_until(now_ns)
            self._commit()
            if time.monotonic() >= report_at:
                report_at = time.monotonic() + REPORT_S
                self._report_links(now_ns)
                self._write_status()
            self._wait()
        self._finish()

    def _wait(self) -> None:
        due = self._world.next_event_ns()
        wait_s = LONGEST_WAIT_S if due is None else (due - time.time_ns()) / 1e9
        wait_s = min(LONGEST_WAIT_S, max(0.0, wait_s))
        air, bell = self._air.fileno(), self._waker.fileno()
        ready, _, _ = select.select([air, bell], [], [], wait_s)
        if air in ready:
            self._take_datagrams()
        if bell in ready:
            self._waker.answer()
            self._take_events()

    def _take_datagrams(self) -> None:
        for _ in range(256):
            try:
                packet, address = self._air.recvfrom(65_536)
            except BlockingIOError:
                return
            parts = unpack(packet)
            if parts is None:
                continue
            source, target, datagram = parts
            if source in self._external and target < len(self._agents):
                self._addresses[source] = address
                self._world.inject_datagram(source, target, datagram, time.time_ns())

    def _take_events(self) -> None:
        for event in self._uplink.drain():
            now_ns = time.time_ns()
            if isinstance(event, MixKnown):
                for index, agent in enumerate(self._agents):
                    agent.node.receive_mix(event.epoch, event.mix, now_ns)
                    self._world.settle(index)
            elif isinstance(event, Submitted):
                self._take_results(event, now_ns)
            elif isinstance(event, DirectoryKnown):
                self._network.directory.update((i, key) for i, key, _ in event.entries)
            elif isinstance(event, SessionKnown):
                for index, agent in enumerate(self._agents):
                    if agent.relay is not None and (
                        event.info is None or event.info.payee == index
                    ):
                        agent.relay.receive_session(event.session, event.info, now_ns)
                        self._world.settle(index)
            elif isinstance(event, StandingsKnown | ClaimKnown):
                self._take_standing(event, now_ns)
            else:
                sys.stderr.write(f"{event}\n")

    def _take_standing(self, event: StandingsKnown | ClaimKnown, now_ns: int) -> None:
        relay = self._agents[event.hotspot].relay
        if relay is None:
            return
        if isinstance(event, StandingsKnown):
            relay.receive_standings(event.standings, now_ns)
        else:
            relay.receive_claim(event.claim, event.standing)
        self._world.settle(event.hotspot)

    def _take_results(self, event: Submitted, now_ns: int) -> None:
        self._queue.settle(event.results)
        for result in event.results:
            if not result.accepted:
                sys.stderr.write(f"refused: {result.reason}: {result.detail}\n")
            index = self._senders.pop(result.record_id, None)
            relay = None if index is None else self._agents[index].relay
            if index is not None and relay is not None:
                relay.receive_result(result, now_ns)
                self._world.settle(index)

    # --- actions -----------------------------------------------------------------------------

    def _effect(self, agent: int, action: Action, now_ns: int) -> None:
        del now_ns
        self._batch.append((agent, action))

    def _outbox(self, index: int) -> ExternalInbox:
        def take(data: bytes, peer: int, now_ns: int) -> None:
            del now_ns
            self._outgoing.append((index, pack(peer, index, data)))

        return take

    def _commit(self) -> None:
        """Store what was asked for; only then let records and datagrams leave this process."""
        batch, self._batch = self._batch, []
        if batch:
            stored = self._queue.store(
                (self._agents[i].node.key, self._agents[i].node.epoch, [action])
                for i, action in batch
            )
            for record in stored:
                index = self._network.directory.index_of(record.hotspot)
                if index is not None:
                    self._senders[record.record_id] = index
            self._uplink.submit(record.wire for record in stored)
        for _, action in batch:
            if isinstance(action, FetchMix):
                self._uplink.fetch_mix(action.epoch)
            elif isinstance(action, FetchSession):
                self._uplink.fetch_session(action.session)
            elif isinstance(action, FetchStandings):
                self._uplink.fetch_standings(action.hotspot, action.sessions)
            elif isinstance(action, FetchClaim):
                self._uplink.fetch_claim(action.hotspot, action.claim)
            elif isinstance(action, Log) and action.level != "debug":
                sys.stderr.write(f"{action.level}: {action.text}\n")
        for index, packet in self._outgoing:
            if index in self._addresses:
                with contextlib.suppress(OSError):
                    self._air.sendto(packet, self._addresses[index])
        self._outgoing.clear()

    def _report_links(self, now_ns: int) -> None:
        """Tell each relay what its driver would: rate, airtime, queue and loss of its links."""
        backhaul = self._world.backhaul
        if backhaul is None:
            return
        for index, agent in enumerate(self._agents):
            reports = [
                LinkReport(
                    row.target,
                    row.rate_kbps,
                    row.busy_permille,
                    row.queue_bytes,
                    row.loss_permille,
                    row.rtt_us,
                )
                for row in backhaul.report(index, now_ns)
            ]
            if agent.relay is None:
                self._outgoing += [(index, pack_report(index, report)) for report in reports]
                continue
            for report in reports:
                agent.relay.receive_link_report(report, now_ns)
            self._world.settle(index)

    def _write_status(self) -> None:
        nodes: Counter[str] = Counter()
        relays: Counter[str] = Counter()
        for agent in self._agents:
            nodes.update(agent.node.counts)
            if agent.relay is not None:
                relays.update(agent.relay.counts)
        counts = self._queue.counts()
        write_json(
            self._folder / "world.json",
            {
                "at_ms": time.time_ns() // MS,
                "lag_ms": self._lag_ms,
                "epoch": max(agent.node.epoch for agent in self._agents),
                "nodes": dict(sorted(nodes.items())),
                "relays": dict(sorted(relays.items())),
                "air": dict(sorted(self._world.medium.counts.items())),
                "overlay": dict(sorted(self._world.counts.items())),
                "queue": {"new": counts.new, "refused": counts.refused, "dropped": counts.dropped},
            },
        )

    def _finish(self) -> None:
        """Submit every receipt that is still open, give the ledger a moment, and close."""
        for index, agent in enumerate(self._agents):
            if agent.relay is not None:
                agent.relay.harvest()
                self._world.settle(index)
        self._commit()
        self._uplink.stop(patience_s=3)
        self._take_events()
        self._write_status()
        self._queue.close()


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb sim world",
        description="Run a scenario's routers in real time beside a ledger (the demo does).",
        examples="wavecomb sim world builtin:city --dir data --ledger unix:data/ledger.sock",
    )
    parser.add_argument(
        "scenario", metavar="SCENARIO", help="builtin:city[:HOTSPOTS[:SEED]] or a TOML file"
    )
    parser.add_argument(
        "--dir", type=Path, required=True, metavar="DIR", help="where queue and keys are kept"
    )
    parser.add_argument(
        "--ledger", required=True, metavar="URL", help="http://HOST:PORT or unix:/PATH"
    )
    parser.add_argument(
        "--air-port", type=int, default=0, metavar="PORT", help="UDP port of the air (0: free)"
    )
    parser.add_argument(
        "--master",
        type=Path,
        metavar="FILE",
        help="key file that all keys are derived from (default: DIR/master.key)",
    )
    parser.add_argument(
        "--external",
        default="",
        metavar="NAMES",
        help="hotspots, parted by commas, whose gateway is another process",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """`wavecomb sim world`: used by the demo."""
    options = _parser().parse_args(argv)
    external = {name for name in options.external.split(",") if name}
    scenario = load_scenario(options.scenario)
    note_unused_faults(scenario, "sim world")
    try:
        process = WorldProcess(
            scenario,
            options.dir,
            options.ledger,
            options.air_port,
            external,
            load_or_create_seed(options.master or options.dir / "master.key"),
        )
        process.register()
    except OSError as error:
        raise UserError(
            "world", str(error), "see that ledger and port are free", exit_code=EXIT_FAILED
        ) from error
    process.run()
    return EXIT_OK
