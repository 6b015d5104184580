"""Contending stations: equal to a plain reference, and to theory where some are hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from radio_sim.dcf import OFDM_ACCESS, Access, Exchange, failure_ifs_ns
from radio_sim.draws import draw_below, draw_u64
from radio_sim.slots import DCF, EDCA, Rules, hidden_groups, simulate, simulate_ring

ACCESS = Access(16_000, 9_000, 15, 1023)
LONG_WINDOW = Access(10_000, 20_000, 31, 31)
RINGS = st.integers(2, 12)


class Reference:
    """All hear all, slot by slot in plain Python: counters, windows, attempts."""

    def __init__(self, rules: Rules, stations: int, seed: int) -> None:
        self.rules, self.seed = rules, seed
        self.window = [rules.access.cw_min] * stations
        self.attempt, self.retries = [0] * stations, [0] * stations
        self.counter = [self.drawn(station) for station in range(stations)]
        self.tally = np.zeros((4, stations), np.int64)

    def drawn(self, station: int) -> int:
        least = 0
        if not self.rules.immediate_access and self.attempt[station] and not self.retries[station]:
            least = 1
        name = ("slots", station, self.attempt[station])
        self.attempt[station] += 1
        return least + draw_below(self.window[station] + 1 - least, self.seed, *name)

    def finish(self, station: int, is_done: bool) -> None:
        access, answers = self.rules.access, self.rules.exchange.ack_ns > 0
        self.tally[1 if is_done else 2, station] += 1
        given_up = not is_done and 0 <= self.rules.retries <= self.retries[station]
        self.tally[3, station] += given_up and answers
        if is_done or given_up or not answers:
            self.window[station], self.retries[station] = access.cw_min, 0
        else:
            self.window[station] = min(2 * self.window[station] + 1, access.cw_max)
            self.retries[station] += 1
        self.counter[station] = self.drawn(station)

    def run(self, begin_ns: int, end_ns: int) -> np.ndarray:
        access, exchange = self.rules.access, self.rules.exchange
        answer_ns = access.sifs_ns + exchange.ack_ns if exchange.ack_ns else 0
        failure_ns = failure_ifs_ns(access, exchange, self.rules.extended)
        idle_ns = access.difs_ns
        while True:
            least = min(self.counter)
            start_ns = idle_ns + least * access.slot_ns
            if start_ns >= end_ns:
                return self.tally
            senders = [i for i, left in enumerate(self.counter) if left == least]
            elapsed = least + (self.rules.counting == EDCA)
            self.counter = [max(left - elapsed, 0) for left in self.counter]
            alone = len(senders) == 1
            done_ns = start_ns + exchange.data_ns + (answer_ns if alone else 0)
            if start_ns >= begin_ns:
                self.tally[0, senders] += 1
            if done_ns < end_ns:
                before = self.tally.copy()
                for station in senders:
                    self.finish(station, alone)
                if done_ns < begin_ns:
                    self.tally = before
            is_clean = alone or not exchange.ack_ns
            idle_ns = done_ns + (access.difs_ns if is_clean else failure_ns)


@given(
    RINGS,
    st.integers(0, 2**32),
    st.booleans(),
    st.sampled_from([DCF, EDCA]),
    st.booleans(),
    st.sampled_from([-1, 0, 2, 7]),
    st.integers(50_000, 2_000_000),
)
@settings(max_examples=40, deadline=None)
def test_the_compiled_kernel_does_what_the_reference_does(
    stations: int,
    seed: int,
    extended: bool,
    counting: str,
    immediate: bool,
    retries: int,
    data_ns: int,
) -> None:
    rules = Rules(
        ACCESS,
        Exchange(8_000, data_ns, 28_000),
        extended,
        counting,
        retries,
        immediate_access=immediate,
    )
    found = simulate_ring(rules, stations, seed, 0.2)
    expected = Reference(rules, stations, seed).run(500_000_000, 700_000_000)
    assert found.attempts.tolist() == expected[0].tolist()
    assert found.delivered.tolist() == expected[1].tolist()
    assert found.lost.tolist() == expected[2].tolist()
    assert found.given_up.tolist() == expected[3].tolist()


@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(0, 2**40), st.integers(1, 2048))
@settings(deadline=None)
def test_the_kernels_draw_is_the_draw(seed: int, station: int, attempt: int, limit: int) -> None:
    from radio_sim.slots_kernel import draw_slots

    key = np.uint64(draw_u64(seed, "slots"))
    expected = draw_below(limit, seed, "slots", station, attempt)
    assert draw_slots(key, station, attempt, limit) == expected


def test_the_same_seed_repeats_and_another_does_not() -> None:
    rules = Rules(ACCESS, Exchange(8_000, 300_000, 28_000))
    first, second = (simulate_ring(rules, 10, 7, 1.0) for _ in range(2))
    assert first.delivered.tolist() == second.delivered.tolist()
    assert simulate_ring(rules, 10, 8, 1.0).delivered.tolist() != first.delivered.tolist()


def test_stations_share_the_air_evenly() -> None:
    rules = Rules(ACCESS, Exchange(8_000, 300_000, 28_000))
    delivered = simulate_ring(rules, 5, 3, 60.0).delivered
    assert delivered.max() / delivered.min() < 1.05


@given(st.integers(2, 9), st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_on_any_hearing_every_attempt_comes_to_an_end(
    stations: int, seed: int, places: int
) -> None:
    """Random, even one-sided, hearing: nothing is lost from the books, and no time twice."""
    hears = np.zeros((stations, stations), np.uint8)
    for i in range(stations):
        for k in range(stations):
            near = draw_below(2, places, "hears", i, k) or k == (i + 1) % stations
            hears[i, k] = i != k and near
    receivers = (np.arange(stations, dtype=np.int64) - 1) % stations
    rules = Rules(ACCESS, Exchange(8_000, 300_000, 28_000), retries=4)
    found = simulate(rules, seed, 0.5, receivers, hears)
    open_attempts = found.attempts - found.delivered - found.lost
    assert np.all(np.abs(open_attempts) <= 1)
    air_s = found.attempts.max() * 300e-6
    assert air_s <= 0.5 + 300e-6
    assert np.all(found.given_up <= found.lost)


def hidden_success(data_ns: int, access: Access) -> float:
    """Chance that a broadcast meets a hidden station silent, from start to end.

    That station alternates frames with DIFS and 0 to W - 1 slots and knows nothing of ours, so
    ours begins anywhere in its cycle: what is left of its silence must outlast the frame (renewal
    theory: E[(silence - frame)+] / E[cycle]).
    """
    slots_drawn = np.arange(access.cw_min + 1)
    silence_ns = access.difs_ns + slots_drawn * access.slot_ns
    spare_ns = np.maximum(silence_ns - data_ns, 0)
    return float(spare_ns.mean() / (silence_ns.mean() + data_ns))


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("data_ns", [50_123, 131_071, 307_123])
def test_hidden_broadcasters_collapse_as_theory_says(groups: int, data_ns: int) -> None:
    receivers, hears = hidden_groups((1,) * groups)
    rules = Rules(LONG_WINDOW, Exchange(800, data_ns))
    found = simulate(rules, 1, 60.0, receivers, hears)
    expected = hidden_success(data_ns, LONG_WINDOW) ** (groups - 1)
    assert 1.0 - found.loss_share == pytest.approx(expected, rel=0.03)
    cycle_ns = data_ns + LONG_WINDOW.difs_ns + 15.5 * LONG_WINDOW.slot_ns
    offered = groups * 60.0 / cycle_ns * 1e9
    assert found.attempts.sum() == pytest.approx(offered, rel=0.003)


def test_frames_longer_than_any_silence_never_pass_a_hidden_station() -> None:
    longest_ns = LONG_WINDOW.difs_ns + 31 * LONG_WINDOW.slot_ns
    receivers, hears = hidden_groups((1, 1))
    rules = Rules(LONG_WINDOW, Exchange(8_000, longest_ns + 1))
    found = simulate(rules, 1, 5.0, receivers, hears)
    assert found.delivered.sum() == 0
    assert found.attempts.sum() > 5_000
    visible, all_hear = hidden_groups((2,))
    assert simulate(rules, 1, 5.0, visible, all_hear).loss_share < 0.1


def test_hidden_stations_lose_most_of_what_visible_ones_get() -> None:
    """With answers and growing windows too, and more so the longer the frames."""
    shares = []
    for data_ns in (300_000, 1_000_000, 2_100_000):
        rules = Rules(OFDM_ACCESS, Exchange(12_000, data_ns, 44_000))
        receivers, hears = hidden_groups((5, 5))
        apart = simulate(rules, 1, 20.0, receivers, hears).throughput_bps
        receivers, hears = hidden_groups((10,))
        together = simulate(rules, 1, 20.0, receivers, hears).throughput_bps
        shares.append(apart / together)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] < 0.8
    assert shares[-1] < 0.5


def test_groups_hear_their_own_and_the_access_point() -> None:
    receivers, hears = hidden_groups((1, 2))
    assert receivers.tolist() == [-1, 0, 0, 0]
    assert hears.tolist() == [[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0]]


def test_impossible_scenes_are_refused() -> None:
    rules = Rules(ACCESS, Exchange(8_000, 300_000, 28_000))
    receivers, hears = hidden_groups((1, 1))
    cases = [
        ("hears", lambda: simulate(rules, 1, 1.0, receivers, hears[:2])),
        ("seconds", lambda: simulate(rules, 1, 0.0, receivers, hears)),
        ("receivers", lambda: simulate(rules, 1, 1.0, np.array([-1, 2, 0]), hears)),
        ("receivers", lambda: simulate(rules, 1, 1.0, np.array([-1, 9, 0]), hears)),
        ("receivers", lambda: simulate_ring(rules, 1, 1, 1.0)),
        ("counting", lambda: simulate_ring(replace(rules, counting="tdma"), 2, 1, 1.0)),
        ("sense_ns", lambda: simulate_ring(replace(rules, sense_ns=9_000), 2, 1, 1.0)),
    ]
    for field, call in cases:
        with pytest.raises(ValueError, match=f"^{field}: "):
            call()


def test_the_compiler_is_not_imported_before_it_is_used() -> None:
    code = "import sys, radio_sim.slots, radio_sim.dcf; print('numba' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'coverage'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "False"
