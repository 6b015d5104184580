"""The world: order, determinism, datagrams, crashes; and the backhaul under load."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.records import Refusal
from hotspot.actions import Action, Log, SendDatagram, SendFrame
from hotspot.radio.frame import build_frame
from radio_sim import backhaul as bh
from radio_sim.assemble import backhaul_of, links_of, medium_of
from radio_sim.backhaul import Backhaul, LinkSpec
from radio_sim.city import make_city
from radio_sim.scenario import HotspotSite, PublishedLink, Scenario
from radio_sim.world import World

MS = 1_000_000
SECOND = 1000 * MS
SCENARIO = make_city(30, seed=2)


class Beaconer:
    """Sends a numbered frame every `period_ns`, counts what it hears, answers a datagram once."""

    def __init__(
        self, index: int, period_ns: int = 10 * SECOND, first_ns: int | None = None
    ) -> None:
        self.index = index
        self.period_ns = period_ns
        self.due_ns = index * 7 * MS if first_ns is None else first_ns
        self.heard: list[tuple[int, int]] = []
        self.datagrams: list[tuple[bytes, int, int]] = []
        self.actions: list[Action] = []
        self.sent = 0

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        sender, number = struct.unpack_from(">II", data, 22 + 38)
        self.heard.append((sender, number))

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        self.datagrams.append((data, peer, now_ns))
        if data == b"ping":
            self.actions.append(SendDatagram(peer, b"pong"))

    def next_deadline(self) -> int | None:
        return self.due_ns

    def handle_deadline(self, now_ns: int) -> None:
        payload = struct.pack(">II", self.index, self.sent) + bytes(133)
        frame = build_frame(payload, bytes(6), self.sent)
        self.actions += [SendFrame(frame, 0, 2437), Log("debug", "beacon")]
        self.sent += 1
        self.due_ns += self.period_ns

    def take_actions(self) -> list[Action]:
        actions, self.actions = self.actions, []
        return actions


def make_world(seed: int = 1, **options: object) -> tuple[World, list[Beaconer]]:
    links = links_of(SCENARIO, seed)
    agents = [Beaconer(index) for index in range(len(SCENARIO.hotspots))]
    world = World(
        agents,
        medium_of(SCENARIO, links, seed),
        seed,
        backhaul=backhaul_of(SCENARIO, links, seed),
        **options,  # type: ignore[arg-type]
    )
    return world, agents


def test_every_beacon_due_is_sent_and_most_are_heard_by_several() -> None:
    logs: list[tuple[int, Action]] = []
    world, agents = make_world(effects=lambda agent, action, now: logs.append((agent, action)))
    world.run_until(59 * SECOND)
    assert all(agent.sent == 6 for agent in agents)
    assert world.medium.counts["sent"] == 6 * len(agents) == len(logs)
    heard = sum(len(agent.heard) for agent in agents)
    assert heard == world.medium.counts["delivered"]
    assert heard / world.medium.counts["sent"] > 4
    assert all(len(set(agent.heard)) == len(agent.heard) for agent in agents)


def test_same_seed_same_digest_however_the_run_is_cut() -> None:
    def digest(seed: int, step_ns: int) -> str:
        world, _ = make_world(seed)
        for time_ns in range(step_ns, 30 * SECOND + 1, step_ns):
            world.run_until(time_ns)
        return world.digest()

    assert digest(1, 30 * SECOND) == digest(1, SECOND)
    assert digest(1, 30 * SECOND) != digest(2, 30 * SECOND)


def test_whatever_happens_next_shows_in_the_digest() -> None:
    world, _ = make_world(1)
    world.run_until(30 * SECOND)
    first = world.digest()
    world.run_until(40 * SECOND)
    assert world.digest() != first


def test_a_datagram_and_its_answer_take_the_time_of_their_link() -> None:
    world, agents = make_world()
    peer = world.backhaul.peers(0)[0] if world.backhaul else -1
    for agent in agents:
        agent.due_ns = 100 * SECOND
    for index in range(len(agents)):
        world.settle(index)
    world.inject_datagram(0, peer, b"ping", 0)
    world.run_until(SECOND)
    assert [(data, source) for data, source, _ in agents[peer].datagrams] == [(b"ping", 0)]
    assert [(data, source) for data, source, _ in agents[0].datagrams] == [(b"pong", peer)]
    there, back = agents[peer].datagrams[0][2], agents[0].datagrams[0][2]
    assert 0 < there < back < 50 * MS


def test_datagrams_for_a_hotspot_elsewhere_reach_its_callback_on_arrival() -> None:
    world, _ = make_world()
    peer = world.backhaul.peers(0)[0] if world.backhaul else -1
    got: list[tuple[bytes, int, int]] = []
    world.external[peer] = lambda data, source, now: got.append((data, source, now))
    world.inject_datagram(0, peer, b"hello", 5 * SECOND)
    world.run_until(4 * SECOND)
    assert got == []
    world.run_until(6 * SECOND)
    assert [(data, source) for data, source, _ in got] == [(b"hello", 0)]
    assert got[0][2] > 5 * SECOND


def test_a_crash_silences_and_deafens_and_a_restart_heals() -> None:
    world, agents = make_world()
    world.call_at(15 * SECOND, lambda now: world.crash(3))
    world.call_at(
        35 * SECOND, lambda now: world.restart(3, Beaconer(3, first_ns=now + 5 * SECOND))
    )
    world.run_until(60 * SECOND)
    assert agents[3].sent == 2
    reborn = world.agents[3]
    assert isinstance(reborn, Beaconer)
    assert reborn.sent == 3
    assert reborn.heard
    numbers = {number for agent in agents for sender, number in agent.heard if sender == 3}
    assert numbers <= {0, 1, 2}


def test_pacing_by_next_event_runs_everything() -> None:
    world, _ = make_world()
    paced, _ = make_world()
    world.run_until(20 * SECOND)
    while (soonest := paced.next_event_ns()) is not None and soonest <= 20 * SECOND:
        paced.run_until(soonest)
    assert paced.digest() == world.digest()


def test_an_agent_that_never_gets_past_its_deadline_is_a_bug_that_shows() -> None:
    world, agents = make_world()
    agents[0].period_ns = 0
    with pytest.raises(RuntimeError, match="agent 0"):
        world.run_until(SECOND)


def test_a_datagram_to_a_stranger_is_refused() -> None:
    net = Backhaul(3, [LinkSpec(0, 1, "wireless", 50_000, 0)], 1)
    assert net.send(0, 2, 100, 0) is bh.NO_LINK
    assert isinstance(net.send(1, 0, 100, 0), int)


def test_two_links_of_one_radio_share_its_airtime() -> None:
    star = [LinkSpec(0, 1, "wireless", 50_000, 0), LinkSpec(0, 2, "wireless", 50_000, 0)]
    alone, shared = Backhaul(3, star, 1), Backhaul(3, star, 1)
    last_alone = [alone.send(0, 1, 1400, 0) for _ in range(20)][-1]
    last_shared = [shared.send(0, 1 + n % 2, 1400, 0) for n in range(40)][-1]
    assert isinstance(last_alone, int)
    assert isinstance(last_shared, int)
    assert last_shared - bh.DELAY_NS["wireless"] == 2 * (last_alone - bh.DELAY_NS["wireless"])


def test_cables_do_not_share() -> None:
    star = [LinkSpec(0, 1, "wired", 50_000, 0), LinkSpec(0, 2, "wired", 50_000, 0)]
    net = Backhaul(3, star, 1)
    assert net.send(0, 1, 1400, 0) == net.send(0, 2, 1400, 0)


@given(st.integers(1_000, 100_000), st.integers(20, 1400))
def test_throughput_never_exceeds_the_rate_and_a_full_queue_drops(rate: int, size: int) -> None:
    net = Backhaul(2, [LinkSpec(0, 1, "wireless", rate, 0)], 1)
    arrivals = []
    while isinstance(sent := net.send(0, 1, size, 0), int):
        arrivals.append(sent)
    assert sent is bh.QUEUE_FULL
    assert arrivals == sorted(arrivals)
    # bits per ms are kb/s
    assert len(arrivals) * size * 8 * MS <= rate * (arrivals[-1] - bh.DELAY_NS["wireless"])


def test_losses_come_at_the_stated_share() -> None:
    net = Backhaul(2, [LinkSpec(0, 1, "wireless", 50_000, 250)], 1)
    results = [net.send(0, 1, 100, n * SECOND) for n in range(2000)]
    lost = sum(isinstance(result, Refusal) for result in results)
    assert lost / 2000 == pytest.approx(0.25, abs=0.04)


def test_reports_say_what_was_carried() -> None:
    net = Backhaul(2, [LinkSpec(0, 1, "wireless", 50_000, 0)], 1)
    net.report(0, 0)
    for n in range(1000):
        net.send(0, 1, 1250, n * MS)  # 10 Mb/s for a second
    (sample,) = net.report(0, SECOND)
    assert sample.load_kbps == 10_000
    expected = bh.airtime_ns(50_000, 1250) * 1000 / SECOND
    assert sample.busy_permille == pytest.approx(1000 * expected, abs=2)
    (idle,) = net.report(0, 2 * SECOND)
    assert (idle.load_kbps, idle.busy_permille, idle.queue_bytes) == (0, 0, 0)


def test_rates_follow_signal_and_quality() -> None:
    by_snr = [bh.rate_from_snr_kbps(float(snr)) for snr in np.arange(-5, 40)]
    assert by_snr == sorted(by_snr)
    assert (by_snr[0], by_snr[-1]) == (0, 130_000)
    by_quality = [bh.rate_from_quality_kbps(float(q)) for q in np.linspace(0, 1, 21)]
    assert by_quality == sorted(by_quality)
    assert by_quality[0] > 0


def test_published_links_decide_and_without_them_the_radio_does() -> None:
    sites = tuple(HotspotSite(f"h{n}", 45.0 + 0.001 * n, 8.0) for n in range(4))
    published = Scenario(
        "p", sites, (PublishedLink("h0", "h3", "wired"), PublishedLink("h0", "h1", quality=0.5))
    )
    net = backhaul_of(published, links_of(published, 1), 1)
    assert net.peers(0) == (1, 3)
    assert net.peers(2) == ()
    bare = Scenario("b", sites)
    assert backhaul_of(bare, links_of(bare, 1), 1).peers(1)
