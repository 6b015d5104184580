"""Traffic of people's devices over a day: data frames that take air, datagrams that take backhaul.

Arrivals are Poisson with a rate that follows the hour (thinning: Lewis and Shedler, Simulation of
nonhomogeneous Poisson processes, 1979): gaps are drawn at the day's peak rate, and an arrival is
kept with the chance that the hour's factor is of the peak's. The n-th gap of a hotspot depends on
the seed, the hotspot and n alone.
"""

from __future__ import annotations

import math
import struct

from hotspot.actions import SendFrame
from radio_sim.agents import Router
from radio_sim.draws import draw_below, draw_u64, draw_uniform
from radio_sim.faults.specs import Load
from radio_sim.world import World

SECOND_NS = 1_000_000_000
HOUR_S = 3_600.0
OFDM_6_MBPS = 12  # in units of 500 kb/s
_TX_RADIOTAP = struct.Struct("<BBHIB")
_RATE_PRESENT = 1 << 2
_DATA_FROM_AP = b"\x08\x02\x00\x00"
_DEVICE = b"\x02\x00\x00\x00\x00\x01"
MAC_HEADER_BYTES = 24


def factor_at(load: Load, second: float) -> float:
    """Demand at a time since the start, straight between the curve's hours."""
    hour = (load.start_hour + second / HOUR_S) % 24.0
    low = int(hour) % 24
    share = hour - int(hour)
    return load.curve[low] + share * (load.curve[(low + 1) % 24] - load.curve[low])


def data_frame(mac: bytes, size_bytes: int, number: int) -> bytes:
    """A data frame from an access point to one of its devices, ready for injection."""
    header = _TX_RADIOTAP.pack(0, 0, _TX_RADIOTAP.size, _RATE_PRESENT, OFDM_6_MBPS)
    sequence = ((number & 0xFFF) << 4).to_bytes(2, "little")
    body = _DATA_FROM_AP + _DEVICE + mac + mac + sequence
    return header + body + bytes(max(0, size_bytes - MAC_HEADER_BYTES))


class LoadSource:
    """Schedules arrivals in a world; `agents` is the fleet's own list, by hotspot."""

    def __init__(
        self, load: Load, world: World, agents: list[Router], frequency_mhz: list[int], seed: int
    ) -> None:
        self._load = load
        self._world = world
        self._agents = agents
        self._frequency_mhz = frequency_mhz
        self._seed = draw_u64(seed, "load")
        self._start_ns = world.now_ns
        self._peak = max(load.curve)
        self.sent = {"frames": 0, "datagrams": 0}

    def start(self) -> None:
        """Schedule the first arrival everywhere."""
        for what, per_hour in (
            ("frames", self._load.frames_per_hour),
            ("datagrams", self._load.datagrams_per_hour),
        ):
            peak_per_s = per_hour * self._peak / HOUR_S
            for node in range(len(self._agents) if peak_per_s > 0 else 0):
                self._plan(what, peak_per_s, node, 0, self._world.now_ns)

    def _plan(self, what: str, peak_per_s: float, node: int, number: int, now_ns: int) -> None:
        draw = draw_uniform(self._seed, what, "gap", node, number)
        gap_ns = 1 + round(-math.log(1.0 - draw) / peak_per_s * SECOND_NS)
        when_ns = now_ns + gap_ns

        def arrive(time_ns: int) -> None:
            second = (time_ns - self._start_ns) / SECOND_NS
            keep = draw_uniform(self._seed, what, "keep", node, number)
            if keep * self._peak < factor_at(self._load, second):
                self._send(what, node, number, time_ns)
            self._plan(what, peak_per_s, node, number + 1, time_ns)

        self._world.call_at(when_ns, arrive)

    def _send(self, what: str, node: int, number: int, now_ns: int) -> None:
        if self._world.agents[node] is None:
            return  # no power, no access point
        if what == "frames":
            frame = data_frame(self._agents[node].node.mac, self._load.frame_bytes, number)
            self._world.inject_frame(node, SendFrame(frame, 0, self._frequency_mhz[node]), now_ns)
        else:
            peers = self._world.backhaul.peers(node) if self._world.backhaul else ()
            if not peers:
                return
            peer = peers[draw_below(len(peers), self._seed, "peer", node, number)]
            self._world.inject_datagram(node, peer, bytes(self._load.datagram_bytes), now_ns)
        self.sent[what] += 1
