"""Faults in a running network: what each kind does to the air, the clocks and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.ledger import Sealed
from chain.records import SubmitResult
from chain.rules.verdicts import REASONS, get_reason_counts
from hotspot.actions import Action, SubmitRecord
from hotspot.radio.frame import build_frame, parse_frame
from hotspot.radio.radiotap import parse_radiotap
from radio_sim.agents import published_place
from radio_sim.assemble import links_at
from radio_sim.city import make_city
from radio_sim.fates import FATES, Fate, Hearing
from radio_sim.faults.aim import distance_m, occurrences, targets_of
from radio_sim.faults.behaviours import Behaviour, with_signal
from radio_sim.faults.casting import places_of
from radio_sim.faults.clocks import Clock
from radio_sim.faults.injector import FOREVER_NS
from radio_sim.faults.load import factor_at
from radio_sim.faults.specs import (
    Aim,
    Crash,
    Faults,
    Liar,
    Load,
    Noise,
    Partition,
    PowerCut,
    Timed,
    Walk,
)
from radio_sim.faults.specs import Clock as ClockFault
from radio_sim.fleet import START_MS, Fleet
from radio_sim.medium import Transmission

CITY = make_city(16, 1)
NAMES = tuple(site.name for site in CITY.hotspots)
SECOND = 1_000_000_000
START = START_MS * 1_000_000


class Ear:
    """Keeps what became of every frame: (time, sender, receiver, fate, SINR, body)."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, int, str, float]] = []
        self.bodies: list[tuple[int, bytes]] = []

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        self.bodies.append((sent.start_ns, sent.body))
        for receiver, sinr, fate in zip(
            hearing.receivers.tolist(), hearing.sinr_db.tolist(), hearing.fates.tolist(),
            strict=True,
        ):
            self.heard.append((sent.end_ns, sent.sender, receiver, FATES[fate], sinr))

    def fates(self, start_s: float, end_s: float) -> Counter[str]:
        low, high = START + start_s * SECOND, START + end_s * SECOND
        return Counter(item[3] for item in self.heard if low <= item[0] < high)


class Blocks:
    """Verdict reasons by witness."""

    def __init__(self) -> None:
        self.by_witness: dict[int, Counter[str]] = {}
        self.all: Counter[str] = Counter()

    def on_answers(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        del wires, results

    def on_kept(self, agent: int, epoch: int, rows: Sequence[bytes]) -> None:
        del agent, epoch, rows

    def on_block(self, sealed: Sealed) -> None:
        for judgement in sealed.effects.verdicts:
            self.all.update(get_reason_counts(judgement))
            for witness, codes in judgement.codes.items():
                reasons = self.by_witness.setdefault(witness, Counter())
                reasons.update(REASONS[code] for code in codes)


def run(faults: Faults, seconds: float = 90, seed: int = 1) -> tuple[Fleet, Ear, Blocks]:
    blocks, ear = Blocks(), Ear()
    fleet = Fleet(replace(CITY, faults=faults), seed, "minimal", [blocks])
    fleet.world.medium.observers.append(ear)
    fleet.run(seconds)
    return fleet, ear, blocks


# --- who and when ---------------------------------------------------------------------------------


def test_aim_by_name_by_circle_by_share() -> None:
    places = places_of(CITY)
    assert targets_of(Aim(hotspots=(NAMES[3], NAMES[1])), places, 1) == (1, 3)
    near = targets_of(Aim(lat=places[0][1], lon=places[0][2], radius_m=400.0), places, 1)
    assert 0 in near
    assert near == tuple(
        n for n, p in enumerate(places) if distance_m(*places[0][1:], *p[1:]) <= 400.0
    )
    many = [("x", 45.0, 8.0)] * 4000
    assert len(targets_of(Aim(share=0.3), many, 1)) / 4000 == pytest.approx(0.3, abs=0.03)
    assert targets_of(Aim(share=0.3), many, 1) != targets_of(Aim(share=0.3), many, 2)


def test_a_rate_is_kept_and_lengths_have_their_mean() -> None:
    timed = Timed(per_hour=12.0, duration_s=60.0, until_s=2_000_000.0)
    times = list(occurrences(timed, 7))
    # A gap of 300 s in the mean, then 60 s.
    assert len(times) == pytest.approx(2_000_000 / 360, rel=0.05)
    assert np.mean([length for _, length in times]) == pytest.approx(60, rel=0.05)
    ends = [start + length for start, length in times]
    assert all(end < start for end, (start, _) in zip(ends, times[1:], strict=False))
    assert list(occurrences(Timed(start_s=5, duration_s=2), 7)) == [(5, 2)]


@given(st.integers(-900_000_000, 10**9), st.integers(-(10**13), 10**13), st.integers(0, 10**15))
def test_a_clock_and_its_inverse(drift_ppb: int, offset_ns: int, passed: int) -> None:
    clock = Clock(START, drift_ppb, offset_ns)
    true_ns = START + passed
    local = clock.local_ns(true_ns)
    first = clock.true_ns(local)
    assert clock.local_ns(first) >= local > clock.local_ns(first - 1)
    assert first <= true_ns


def test_a_clock_cannot_run_backwards() -> None:
    with pytest.raises(ValueError, match="drift_ppb"):
        Clock(0, -1_000_000_000)


# --- the air --------------------------------------------------------------------------------------


def test_noise_deafens_its_region_for_its_time_only() -> None:
    _, ear, _ = run(Faults(noise=(Noise(start_s=40, duration_s=20, rise_db=60),)), 90)
    during, after = ear.fates(41, 60), ear.fates(61, 90)
    assert during["delivered"] == 0
    assert during["noise"] > 0
    assert after["delivered"] > 20


def test_noise_powers_add() -> None:
    fleet, _, _ = run(Faults(), 1)
    for number in (1, 2):
        fleet.faults.air.begin_noise(number, (0, 1), 10.0, None)
    fleet.faults.air.begin_noise(3, (0,), 10.0, 5180)  # nobody listens there
    raised = fleet.world.medium._noise_dbm - fleet.world.medium.config.noise_dbm
    assert raised[0] == raised[1] == pytest.approx(10 * np.log10(19))
    assert raised[2] == pytest.approx(0)
    for number in (1, 2, 3):
        fleet.faults.air.end_noise(number)
    assert np.all(fleet.world.medium._noise_dbm == fleet.world.medium.config.noise_dbm)


@pytest.mark.parametrize("layers", [("air",), ("backhaul",), ("ledger",)])
def test_a_partition_cuts_its_layer_and_no_other(layers: tuple[str, ...]) -> None:
    cut = Partition(hotspots=NAMES[:8], start_s=35, duration_s=30, layers=layers)
    fleet, ear, blocks = run(
        Faults(partition=(cut,), load=Load(datagrams_per_hour=3600)), 110
    )
    low, high = START + 35 * SECOND, START + 65 * SECOND
    across = [h for h in ear.heard if low <= h[0] < high and (h[1] < 8) != (h[2] < 8)]
    later = [h for h in ear.heard if h[0] > high and (h[1] < 8) != (h[2] < 8)]
    assert bool(across) == (layers != ("air",))
    assert later
    assert (fleet.world.counts["lost"] > 100) == (layers == ("backhaul",))
    # Messages of epochs that nobody could send are late: their commits weren't there.
    assert (blocks.all["no_commit"] + blocks.all["late"] > 0) == (layers == ("ledger",))
    assert not fleet.offline


def test_a_walker_walks_and_others_stay() -> None:
    walk = Walk(hotspots=NAMES[:1], speed_mps=20, pause_s=0, range_m=800, step_s=5)
    fleet, _, _ = run(Faults(walk=(walk,)), 60)
    before = fleet.faults.air._homes_m
    after = fleet.faults.air.positions_m()
    assert np.linalg.norm(after[0] - before[0]) > 20
    np.testing.assert_array_equal(after[1:], before[1:])
    still = Fleet(CITY, 1, "minimal").world.medium.links
    moved = fleet.world.medium.links
    # Links among those who stay are what they were.
    for node in range(1, len(NAMES)):
        old = {
            int(k): float(still.rssi_of(node, np.array([k]))[0])
            for k in still.neighbours[still.starts[node] : still.starts[node + 1]]
        }
        new = {
            int(k): float(moved.rssi_of(node, np.array([k]))[0])
            for k in moved.neighbours[moved.starts[node] : moved.starts[node + 1]]
        }
        old.pop(0, None), new.pop(0, None)
        assert old == new


def test_links_of_walkers_alone_are_those_of_all_worked_out_anew() -> None:
    walk = Walk(share=0.3, speed_mps=15, pause_s=0, range_m=600, step_s=7)
    scenario = replace(CITY, faults=Faults(walk=(walk,)))
    fleet = Fleet(scenario, 1, "minimal")
    fleet.run(40)
    air = fleet.faults.air
    assert len(air._movers) > 1
    anew = links_at(scenario, air._radios, 1, air._movers)
    joined = fleet.world.medium.links
    np.testing.assert_array_equal(joined.starts, anew.starts)
    np.testing.assert_array_equal(joined.neighbours, anew.neighbours)
    np.testing.assert_allclose(joined.rssi_dbm, anew.rssi_dbm, rtol=0, atol=1e-9)


def test_load_follows_the_hours_and_takes_air() -> None:
    quiet = Load(frames_per_hour=1200, start_hour=4)
    busy = Load(frames_per_hour=1200, start_hour=16)
    night, ear, _ = run(Faults(load=quiet), 60)
    evening, _, _ = run(Faults(load=busy), 60)
    counts = [fleet.world.medium.counts["sent"] for fleet in (night, evening)]
    assert counts[1] > 3 * counts[0]
    assert factor_at(quiet, 0) == quiet.curve[4]
    assert factor_at(quiet, 1800) == pytest.approx((quiet.curve[4] + quiet.curve[5]) / 2)
    assert factor_at(Load(start_hour=23.5), 1800) == Load().curve[0]
    data = [body for _, body in ear.bodies if body[0] == 0x08]
    assert data
    assert len(data[0]) == quiet.frame_bytes


# --- power, clocks, liars -------------------------------------------------------------------------


def test_two_faults_hold_a_hotspot_until_both_are_over() -> None:
    one = PowerCut(hotspots=NAMES[:1], start_s=10, duration_s=30)
    two = Crash(hotspots=NAMES[:1], start_s=20, duration_s=40)
    fleet, ear, _ = run(Faults(power_cut=(one,), crash=(two,)), 100)
    sent = [when for when, sender, *_ in ear.heard if sender == 0]
    assert not [w for w in sent if 10 * SECOND < w - START < 60 * SECOND]
    assert [w for w in sent if w - START > 60 * SECOND]
    assert fleet.world.counts["crashes"] == 1
    ends = {e.kind: (e.end_ns - e.start_ns) // SECOND for e in fleet.faults.episodes}
    assert ends == {"power_cut": 30, "crash": 40}


def test_what_lasts_has_no_end_in_the_diary() -> None:
    fleet, _, _ = run(Faults(power_cut=(PowerCut(start_s=5, duration_s=500),)), 10)
    assert {episode.end_ns for episode in fleet.faults.episodes} == {FOREVER_NS}
    assert len(fleet.down) == len(NAMES)


def test_a_clock_that_is_an_epoch_off_makes_a_hotspot_unheard() -> None:
    off = ClockFault(hotspots=NAMES[:1], offset_ms=25_000)
    fleet, _, _ = run(Faults(clock=(off,)), 90)
    assert fleet.agents[0].node.counts["other_epoch"] > 0
    assert fleet.agents[0].node.counts["heard"] == 0
    assert sum(agent.node.counts["other_epoch"] for agent in fleet.agents[1:]) > 0


@pytest.mark.parametrize("jump_ms", [-12_000, 12_000])
def test_a_clock_that_steps_never_forks_its_key(jump_ms: float) -> None:
    steps = ClockFault(share=0.5, start_s=33, per_hour=200, jump_ms=jump_ms)
    fleet, _, blocks = run(Faults(clock=(steps,)), 120)
    assert fleet.faults.counts["clock"] > 10
    assert set(fleet.refused) <= {"future", "late", "wrong_epoch", "early", "not_yet"}
    assert blocks.all["counted"] > 0


def test_an_inflated_signal_is_too_high_for_its_distance() -> None:
    liar = Liar(hotspots=NAMES[:1], behaviour="inflate_rssi", inflate_db=45)
    fleet, _, blocks = run(Faults(liar=(liar,)), 120)
    caught = blocks.by_witness[fleet.ledger_index(0)]
    assert caught["rssi_too_high"] > 0
    honest, _, plain = run(Faults(), 120)
    assert plain.by_witness[honest.ledger_index(0)]["rssi_too_high"] == 0


def test_a_spoofed_place_is_registered_and_caught_by_physics() -> None:
    liar = Liar(hotspots=NAMES[:1], behaviour="spoof_location", distance_m=4000)
    fleet, _, blocks = run(Faults(liar=(liar,)), 120)
    index = fleet.ledger_index(0)
    row = fleet.ledger.state.hotspots[index].newest.registration
    site = CITY.hotspots[0]
    away = distance_m(site.lat, site.lon, row.latitude_udeg / 1e6, row.longitude_udeg / 1e6)
    assert away == pytest.approx(4000, abs=150)
    assert row.cell != published_place(site)[0]
    caught = blocks.by_witness[index]
    # What arrives weaker than free space over 4 km can't be told from the truth.
    assert caught["rssi_too_high"] > 3 * caught["counted"]


def test_a_ring_hears_by_proxy_and_inventions_carry_wrong_answers() -> None:
    liars = Liar(hotspots=(NAMES[0], NAMES[9], NAMES[12]), per_epoch=6)
    fleet, _, blocks = run(Faults(liar=(liars,)), 120)
    honest, _, plain = run(Faults(), 120)
    index = fleet.ledger_index(0)
    assert blocks.by_witness[index]["wrong_tag"] > 0
    assert plain.by_witness[index]["wrong_tag"] == 0
    lying, true = (f.agents[0].node.counts["heard"] for f in (fleet, honest))
    assert lying > true
    assert all(
        counts["wrong_tag"] == 0 for witness, counts in blocks.by_witness.items()
        if witness not in {fleet.ledger_index(n) for n in (0, 9, 12)}
    )


@pytest.fixture(scope="module")
def received() -> list[bytes]:
    """One beacon as all who heard it got it from their drivers."""
    medium = Fleet(CITY, 1, "minimal").world.medium
    sent = medium.queue(0, build_frame(bytes(141), bytes(6), 1), 0, 2437, START)
    assert isinstance(sent, Transmission)
    assert medium.begin(sent, START)
    return [delivery.frame for delivery in medium.finish(sent)]


@given(st.integers(-128, 127))
def test_a_level_can_be_rewritten_and_nothing_else(received: list[bytes], level: int) -> None:
    assert received
    for frame in received:
        changed = with_signal(frame, level)
        head = parse_radiotap(changed)
        assert getattr(head, "signal_dbm", None) == level
        assert len(changed) == len(frame)
        assert sum(a != b for a, b in zip(frame, changed, strict=True)) <= 1
    assert with_signal(b"\x00", 3) == b"\x00"
    assert parse_frame(with_signal(b"", 3)) == parse_frame(b"")


class Mute(Behaviour):
    """A liar of a test's own: it signs, and keeps it to itself."""

    def outgoing(self, action: Action, now_ns: int) -> list[Action]:
        return [] if isinstance(action, SubmitRecord) else super().outgoing(action, now_ns)


def test_a_behaviour_of_ones_own_stands_between_a_node_and_the_world() -> None:
    fleet = Fleet(CITY, 1, "minimal", behaviours={3: Mute()})
    fleet.run(70)
    index = fleet.ledger_index(3)
    epochs = [row.last_epoch for row in fleet.ledger.state.hotspots]
    assert epochs[index] == -1
    assert min(epoch for n, epoch in enumerate(epochs) if n != index) >= 5
    assert fleet.agents[3].node.counts["messages"] > 0
    assert [(e.kind, e.hotspots, e.text) for e in fleet.faults.episodes] == [("liar", (3,), "Mute")]


# --- repeatability --------------------------------------------------------------------------------

EVERYTHING = Faults(
    power_cut=(PowerCut(share=0.5, per_hour=30, duration_s=15),),
    crash=(Crash(per_hour=60),),
    noise=(Noise(share=0.5, per_hour=300, duration_s=20, rise_db=15),),
    partition=(Partition(share=0.4, per_hour=300, duration_s=20),),
    clock=(ClockFault(share=0.4, spread_ppm=50), ClockFault(share=0.2, per_hour=30, jump_ms=-900)),
    liar=(Liar(share=0.2), Liar(share=0.1, behaviour="inflate_rssi")),
    walk=(Walk(share=0.2),),
    load=Load(frames_per_hour=600, datagrams_per_hour=600),
)


def test_same_seed_same_faults_same_digest_however_the_run_is_cut() -> None:
    def digest(seed: int, parts: int) -> tuple[str, str]:
        fleet = Fleet(replace(CITY, faults=EVERYTHING), seed, "minimal")
        for _ in range(parts):
            fleet.run(60 / parts)
        summary = fleet.summary()
        assert len(fleet.faults.counts) >= 5
        return summary.digest, summary.ledger_root

    assert digest(3, 1) == digest(3, 4)
    assert digest(3, 1) != digest(4, 1)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**64 - 1))
def test_every_receiver_in_reach_has_exactly_one_fate(seed: int) -> None:
    fleet, ear, _ = run(EVERYTHING, 40, seed)
    counts = Counter(item[3] for item in ear.heard)
    assert set(counts) <= {fate.name.lower() for fate in Fate}
    assert counts["delivered"] == fleet.world.medium.counts["delivered"]
    assert 0 < len(ear.bodies) <= fleet.world.medium.counts["sent"]
