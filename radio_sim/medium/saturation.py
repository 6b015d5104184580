"""Stations that always have a frame and all hear each other: the medium held against Bianchi.

What comes out must be his throughput (`radio_sim.dcf`): the same counters, windows and collisions,
but nothing here knows of his formula.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from radio_sim.dcf import Access, Exchange
from radio_sim.links import Links
from radio_sim.medium.batch import Schedule, run_batch
from radio_sim.medium.config import US, MediumConfig, kind_of
from radio_sim.phy.rates import Rate

_LEVEL_DBM = -50.0
_CHANNEL_MHZ = 5180
_CCA_NS = {20 * US: 15}  # of long slots, us


def simulate_saturation(
    rate: Rate,
    access: Access,
    exchange: Exchange,
    stations: int,
    seconds: float,
    *,
    seed: int = 1,
    extended: bool = False,
) -> float:
    """Throughput in bit/s of stations in a ring, each sending to the next one.

    `extended`: after a collision all leave time for an acknowledgement (EIFS). ValueError for
    fewer than two stations.
    """
    if stations < 2:
        raise ValueError(f"stations: {stations} have nobody to send to; use 2 or more")
    config = MediumConfig(
        bandwidth_mhz=max(20, rate.bandwidth_mhz // 20 * 20),
        slot_us=access.slot_ns // US,
        sifs_us=access.sifs_ns // US,
        cca_us=_CCA_NS.get(access.slot_ns, 4),
        window=access.cw_min,
        window_max=access.cw_max,
        retries=-1,
        eifs=extended,
        ack_us=exchange.ack_ns // US,
    )
    if rate.family == "he":
        rate = replace(rate, coding="ldpc")  # airtimes may be those of a code that it hasn't
    data = kind_of(rate, exchange.payload_bits // 8)
    nodes = np.arange(stations, dtype=np.int64)
    schedule = Schedule(
        ready_ns=np.zeros(stations, np.int64),
        sender=nodes,
        kind=np.zeros(stations, np.int64),
        target=(nodes + 1) % stations,
        power_step_db=np.zeros(stations),
    )
    result = run_batch(
        _all_hear_all(stations),
        seed,
        config,
        [replace(data, airtime_ns=exchange.data_ns)],
        schedule,
        keep_receptions=False,
        saturated_ns=round(seconds * 1e9),
        ack=replace(data, airtime_ns=exchange.ack_ns),
    )
    return result.acknowledged * exchange.payload_bits / seconds


def _all_hear_all(stations: int) -> Links:
    nodes = np.arange(stations, dtype=np.int64)
    others = np.broadcast_to(nodes, (stations, stations))[~np.eye(stations, dtype=bool)]
    return Links(
        np.arange(stations + 1, dtype=np.int64) * (stations - 1),
        others.astype(np.int64),
        np.full(len(others), _LEVEL_DBM),
        np.full(stations, _CHANNEL_MHZ, np.int64),
    )
