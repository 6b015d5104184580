"""Stations that contend for the air, simulated frame by frame to the nanosecond.

The check of channel access: who is right about 802.11 gets Bianchi's throughput where all hear
all, and the known collapse where they don't. What the rules are:

- A counter counts down over slots of idle channel after DIFS, and stands still (`DCF`) while the
  channel is busy; the station sends at zero. With `EDCA` it also goes down by one at each busy
  period, as 802.11e counts at the slot's beginning (802.11-2020, 10.23.2.4).
- Who begins within `sense_ns` of another hasn't noticed it. Who hears two frames at once
  understands neither, and waits EIFS or DIFS (`extended`) afterwards; who understood a frame
  keeps silent for its ACK too.
- A frame arrives if nothing else that its receiver hears is on the air meanwhile, nor the receiver
  itself; its ACK likewise. The window doubles at each failure, unless nobody answers (broadcast).
- Draws are counter hashes of (seed, station, attempt): no order of events changes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radio_sim.dcf import Access, Exchange, failure_ifs_ns
from radio_sim.draws import draw_u64

DCF, EDCA = "dcf", "edca"
UNLIMITED = -1
SENSE_NS = 4_000  # aCCATime of OFDM


@dataclass(frozen=True, slots=True)
class Rules:
    """How stations contend. `retries` is the number of repeats before a frame is given up."""

    access: Access
    exchange: Exchange
    extended: bool = False
    counting: str = DCF
    retries: int = UNLIMITED
    sense_ns: int = SENSE_NS
    # No station may send twice in a row without a slot between: Bianchi's chain of 2000.
    immediate_access: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Contention:
    """What came out of a run; the arrays have one number for each station."""

    seconds: float
    attempts: NDArray[np.int64]
    delivered: NDArray[np.int64]
    lost: NDArray[np.int64]
    given_up: NDArray[np.int64]
    payload_bits: int

    @property
    def throughput_bps(self) -> float:
        """Payload that arrived, all stations together."""
        return float(self.delivered.sum()) * self.payload_bits / self.seconds

    @property
    def loss_share(self) -> float:
        """Share of the finished attempts that failed."""
        finished = int(self.delivered.sum() + self.lost.sum())
        return int(self.lost.sum()) / finished if finished else 0.0


def simulate(
    rules: Rules,
    seed: int,
    seconds: float,
    receivers: NDArray[np.int64],
    hears: NDArray[np.uint8],
    warm_seconds: float = 0.5,
) -> Contention:
    """Let saturated stations send to `receivers`; -1 is a station that only listens and answers.

    `hears` (stations, stations): row i, column k is 1 where i senses k. ValueError for receivers
    that are no station, or don't hear their sender.
    """
    from radio_sim import slots_kernel

    count = len(receivers)
    _check(receivers, hears, seconds)
    data_ns = np.full(count, rules.exchange.data_ns, np.int64)
    begin_ns = round(warm_seconds * 1e9)
    end_ns = begin_ns + round(seconds * 1e9)
    key = np.uint64(draw_u64(seed, "slots"))
    numbers = _numbers(rules)
    tally = slots_kernel.run(hears, receivers, data_ns, numbers, key, begin_ns, end_ns)
    attempts, delivered, lost, given_up = tally
    bits = rules.exchange.payload_bits
    return Contention(seconds, attempts, delivered, lost, given_up, bits)


def simulate_ring(rules: Rules, stations: int, seed: int, seconds: float) -> Contention:
    """Let stations that all hear each other send, each to the next one."""
    receivers = (np.arange(stations, dtype=np.int64) + 1) % max(stations, 1)
    hears = 1 - np.eye(stations, dtype=np.uint8)
    return simulate(rules, seed, seconds, receivers, hears)


def hidden_groups(sizes: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Receivers and hearing of groups around an access point (station 0) that hear only their own.

    Everybody hears the access point, and it everybody.
    """
    count = 1 + sum(sizes)
    receivers = np.zeros(count, np.int64)
    receivers[0] = -1
    group = np.concatenate([[0], np.repeat(np.arange(1, len(sizes) + 1), sizes)])
    hears = (group[:, None] == group[None, :]) | (group == 0)[:, None] | (group == 0)[None, :]
    hears &= ~np.eye(count, dtype=bool)
    return receivers, hears.astype(np.uint8)


def _numbers(rules: Rules) -> NDArray[np.int64]:
    access, exchange = rules.access, rules.exchange
    if rules.counting not in (DCF, EDCA):
        raise ValueError(f"counting: {rules.counting} is unknown; use {DCF} or {EDCA}")
    if not 0 <= rules.sense_ns < access.slot_ns:
        raise ValueError(f"sense_ns: {rules.sense_ns} is no part of a slot; use less than a slot")
    numbers = (
        access.sifs_ns,
        access.difs_ns,
        failure_ifs_ns(access, exchange, rules.extended),
        access.slot_ns,
        rules.sense_ns,
        exchange.ack_ns,
        access.cw_min,
        access.cw_max,
        rules.retries,
        int(rules.counting == EDCA),
        int(not rules.immediate_access),
    )
    return np.array(numbers, np.int64)


def _check(receivers: NDArray[np.int64], hears: NDArray[np.uint8], seconds: float) -> None:
    count = len(receivers)
    if hears.shape != (count, count):
        raise ValueError(f"hears: shape {hears.shape} is not of {count} stations; use a square")
    if seconds <= 0:
        raise ValueError(f"seconds: {seconds} is no time to simulate; use more than 0")
    for station, receiver in enumerate(receivers.tolist()):
        if receiver >= count or receiver == station:
            raise ValueError(f"receivers: {station} sends to {receiver}; name another station")
        if receiver >= 0 and not hears[receiver, station]:
            raise ValueError(f"receivers: {receiver} doesn't hear {station}; name one that does")
