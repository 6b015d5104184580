"""A day of a mesh as link telemetry, to train the congestion forecast on where no trace is at hand.

A fluid model over the backhaul: every hotspot's people draw traffic from the nearest gateway and
send a fifth of it back; some hotspots talk to each other. Demand follows the hour (least at four,
most at twenty), wanders (an autoregressive process with a memory of two minutes), and surges
(downloads that start at random and last for minutes). Links fade, so their rates move along the
802.11n table. A radio whose airtime is asked for more than it has builds a queue, up to 200 ms,
then drops, and senders back off to a little above what fits. Everything is a function of the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra

from radio_sim.backhaul import (
    DELAY_NS,
    FRAME_OVERHEAD_US,
    HT_RATES,
    PROBE_BYTES,
    QUEUE_LIMIT_NS,
    STREAMS,
    LinkSpec,
)
from radio_sim.draws import draw_below, draw_u64, draws_u64, normals, uniforms
from routing.types import LinkSample

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

COLUMNS = tuple(LinkSample.__dataclass_fields__)
GATEWAY_EVERY = 15
UPLINK_SHARE = 0.2
PEER_FLOWS_SHARE = 0.25
WANDER_MEMORY_S, WANDER_SIGMA = 120.0, 0.5
BURST_SIGMA = 0.3  # web pages and video segments, from one sample to the next
ELASTIC_EXCESS = 0.25  # senders with congestion control overbook a full radio by this at most
FADE_MEMORY_S, FADE_SIGMA_DB = 300.0, 1.5
SURGE_S, SURGE_CHANCE, SURGE_FACTOR = 180, 0.06, 4.0
MEAN_BUSIEST = 0.45  # mean use of the busiest radio: full in the evening and under surges
LEAST_HOUR = 4.0
PACKET_BYTES = 1400
_CHUNK_ROWS = 200_000

_HT_SNR_DB = np.array([snr for snr, _ in HT_RATES])
_HT_KBPS = np.array([rate for _, rate in HT_RATES])


@dataclass(frozen=True, slots=True)
class Trouble:
    """What ails links, [steps, links]: dB off the SNR, share lost, us on top of the probe."""

    snr_db: Floats
    loss: Floats
    rtt_us: Floats


@dataclass(frozen=True, slots=True)
class Measured:
    """Some steps: rows [steps, links, 9] in the order of COLUMNS, and each link's SNR in dB."""

    rows: Integers
    snr_db: Floats


class Telemetry:
    """The fluid model of one mesh; `samples` makes its rows."""

    def __init__(
        self, hotspots: int, links: Sequence[LinkSpec], gateways: Sequence[int], seed: int
    ) -> None:
        self._seed = draw_u64(seed, "telemetry")
        self._hotspots = hotspots
        self._specs = [spec for spec in links for _ in (0, 1)]
        ends = [pair for spec in links for pair in ((spec.a, spec.b), (spec.b, spec.a))]
        self._ends = np.array(ends, np.int64).reshape(-1, 2)
        self._rates = np.array([spec.rate_kbps for spec in self._specs], np.float64)
        self._wireless = np.array([spec.kind == "wireless" for spec in self._specs], bool)
        self._delay_us = np.array([DELAY_NS[spec.kind] / 1000 for spec in self._specs])
        self._loss = np.array([spec.loss_permille for spec in self._specs], np.float64)
        self._uses = self._resource_matrix()
        self._carries = self._route_matrix(sorted(set(gateways)) or list(range(0, hotspots, 15)))
        self._base_kbps = self._base_demand()

    def samples(
        self, seconds: int, step_s: int = 5, start_hour: float = 17.0, start_ms: int = 0
    ) -> Iterator[Integers]:
        """Rows [n, 9] in the order of COLUMNS, link by link within each step of `step_s`."""
        for part in self.measure(seconds, step_s, start_hour, start_ms):
            yield part.rows.reshape(-1, len(COLUMNS))

    def measure(
        self,
        seconds: int,
        step_s: int,
        start_hour: float,
        start_ms: int = 0,
        trouble: Trouble | None = None,
    ) -> Iterator[Measured]:
        """Measure link by link; `trouble` holds as many steps as `seconds` have."""
        steps = seconds // step_s
        flows = self._base_kbps.size
        wander = WANDER_SIGMA * self._wander(steps, flows, step_s, "wander", WANDER_MEMORY_S)
        wander += BURST_SIGMA * self._wander(steps, flows, step_s, "burst", 1e-3)
        fade = self._wander(steps, len(self._specs), step_s, "fade", FADE_MEMORY_S)
        backlog_s = np.zeros(self._uses.shape[0])
        chunk = max(1, _CHUNK_ROWS // len(self._specs))
        for first in range(0, steps, chunk):
            part = np.arange(first, min(first + chunk, steps))
            hours = start_hour + part * step_s / 3600.0
            demand = self._base_kbps * demand_of_hour(hours)[:, None]
            demand = demand * np.exp(wander[part]) * self._surges(part * step_s)
            off_db = FADE_SIGMA_DB * fade[part]
            if trouble is not None:
                off_db = off_db - trouble.snr_db[part]
            snr_db, rates = self._faded(off_db)
            rows, backlog_s = self._step_rows(demand, rates, backlog_s, float(step_s))
            rows[:, :, 2] = (start_ms + 1000 * step_s * (part + 1))[:, None]
            if trouble is not None:
                kept = (1.0 - rows[:, :, 7] / 1000.0) * (1.0 - trouble.loss[part])
                rows[:, :, 7] = np.rint(1000.0 * (1.0 - kept))
                rows[:, :, 8] += np.rint(trouble.rtt_us[part]).astype(np.int64)
            yield Measured(rows, snr_db)

    def _step_rows(
        self, demand_kbps: Floats, rates: Floats, backlog_s: Floats, step_s: float
    ) -> tuple[NDArray[np.int64], Floats]:
        """Rows [steps, links, 9] and the queues left at the end."""
        offered = np.asarray((self._carries @ demand_kbps.T).T)
        cost = 1.0 / rates + FRAME_OVERHEAD_US / 1e6 * self._wireless / (8e-3 * PACKET_BYTES)
        used = np.asarray((self._uses @ (offered * cost).T).T)
        excess = np.maximum(used - 1.0, 0.0)
        offered_use = np.minimum(used, 1.0) + ELASTIC_EXCESS * -np.expm1(-excess)
        queue_s, dropped = _queues(offered_use, backlog_s, step_s)
        at = self._resource_of()
        share = np.minimum(1.0, 1.0 / np.maximum(used[:, at].max(axis=2), 1e-9))
        wait_s = queue_s[:, at].max(axis=2)
        lost = 1.0 - (1.0 - self._loss / 1000.0) * (1.0 - dropped[:, at].max(axis=2))
        probe_us = self._delay_us + 8000.0 * PROBE_BYTES / rates + FRAME_OVERHEAD_US
        rows = np.zeros((*offered.shape, len(COLUMNS)), np.int64)
        rows[:, :, :2] = self._ends
        rows[:, :, 3] = np.rint(rates)
        rows[:, :, 4] = np.rint(offered * share)
        rows[:, :, 5] = np.rint(1000.0 * np.minimum(1.0, used[:, at[:, 0]]))
        rows[:, :, 6] = np.rint(wait_s * rates * 125.0)
        rows[:, :, 7] = np.rint(1000.0 * lost)
        rows[:, :, 8] = np.rint(2.0 * probe_us + 1e6 * wait_s)
        return rows, queue_s[-1]

    def _resource_of(self) -> Integers:
        """The radios [links, 2] that a link keeps busy; a cable's own queue, twice."""
        own = self._hotspots + np.arange(len(self._specs))
        return np.where(self._wireless[:, None], self._ends, own[:, None])

    def _resource_matrix(self) -> csr_matrix:
        """Resources x links: one where a link keeps a radio or its own cable busy."""
        at, links = self._resource_of(), np.arange(len(self._specs))
        rows = np.concatenate([at[:, 0], at[self._wireless, 1]])
        columns = np.concatenate([links, links[self._wireless]])
        shape = (self._hotspots + len(self._specs), len(self._specs))
        return coo_matrix((np.ones(rows.size), (rows, columns)), shape).tocsr()

    def _route_matrix(self, gateways: Sequence[int]) -> csr_matrix:
        """Links x flows: what share of a flow a link carries, along paths of least airtime."""
        link_at = {tuple(ends): index for index, ends in enumerate(self._ends.tolist())}
        weights = coo_matrix(
            (1.0 / self._rates + 1e-7, (self._ends[:, 0], self._ends[:, 1])),
            (self._hotspots, self._hotspots),
        ).tocsr()
        _, before, _ = dijkstra(weights, indices=gateways, min_only=True, return_predecessors=True)
        paths: list[list[int]] = []
        for node in range(self._hotspots):
            down = _walk(before, node, link_at)
            if down:
                paths.append(down)
        peers = self._peer_pairs()
        _, trees = dijkstra(
            weights, indices=[a for a, _ in peers] or [0], return_predecessors=True
        )
        for (_, target), tree in zip(peers, trees, strict=False):
            direct = _walk(tree, target, link_at)
            if direct:
                paths.append(direct)
        entries = [(link, flow, 1.0) for flow, path in enumerate(paths) for link in path]
        # Links come in pairs, forth and back: the answer takes the same way home.
        entries += [(link ^ 1, flow, UPLINK_SHARE) for link, flow, _ in entries]
        links, flows, shares = (np.array(column) for column in zip(*entries, strict=True))
        return coo_matrix((shares, (links, flows)), (len(self._specs), len(paths))).tocsr()

    def _peer_pairs(self) -> list[tuple[int, int]]:
        count = int(PEER_FLOWS_SHARE * self._hotspots)
        pairs = [
            (
                draw_below(self._hotspots, self._seed, "peer a", number),
                draw_below(self._hotspots, self._seed, "peer b", number),
            )
            for number in range(count)
        ]
        return [(a, b) for a, b in pairs if a != b]

    def _base_demand(self) -> Floats:
        """Mean demand of each flow, scaled so that the busiest radio is MEAN_BUSIEST used."""
        flows = self._carries.shape[1]
        key = draw_u64(self._seed, "households")
        demand = np.exp(0.8 * normals(draws_u64(key, np.arange(flows, dtype=np.uint64))))
        used = self._uses @ ((self._carries @ demand) / self._rates)
        return np.asarray(demand * MEAN_BUSIEST / used.max(), np.float64)

    def _wander(self, steps: int, series: int, step_s: int, name: str, memory_s: float) -> Floats:
        """Unit-variance autoregressive processes [steps, series]."""
        key = draw_u64(self._seed, name)
        noise = normals(draws_u64(key, np.arange(steps * series, dtype=np.uint64)))
        keep = float(np.exp(-step_s / memory_s))
        shocks = np.sqrt(1.0 - keep * keep) * noise.reshape(steps, series)
        shocks[:1] /= np.sqrt(1.0 - keep * keep)  # start in equilibrium
        return np.asarray(lfilter([1.0], [1.0, -keep], shocks, axis=0), np.float64)

    def _surges(self, seconds: Integers) -> Floats:
        """Factors [steps, flows]: a surge fills one slot of SURGE_S with a drawn height."""
        flows = self._base_kbps.size
        slots, place = np.unique(seconds // SURGE_S, return_inverse=True)
        counters = slots[:, None] * flows + np.arange(flows)
        words = draws_u64(draw_u64(self._seed, "surge"), counters.astype(np.uint64))
        height = 1.0 + SURGE_FACTOR * np.abs(normals(words))
        return np.asarray(np.where(uniforms(words) < SURGE_CHANCE, height, 1.0)[place], np.float64)

    def _faded(self, fade_db: Floats) -> tuple[Floats, Floats]:
        """SNR and rates [steps, links] after fading: along the HT table from the usual rate."""
        usual = np.searchsorted(_HT_KBPS * STREAMS, np.minimum(self._rates, 130_000.0))
        snr = _HT_SNR_DB[np.minimum(usual, len(HT_RATES) - 1)] + 1.0 + fade_db
        index = np.clip(np.searchsorted(_HT_SNR_DB, snr, side="right") - 1, 0, len(HT_RATES) - 1)
        scale = _HT_KBPS[index] / _HT_KBPS[np.minimum(usual, len(HT_RATES) - 1)]
        return snr, np.asarray(np.where(self._wireless, scale, 1.0) * self._rates, np.float64)


def _walk(before: Integers, node: int, link_at: dict[tuple[int, ...], int]) -> list[int]:
    """Links of the path that ends at a node, from a tree of predecessors."""
    path = []
    while before[node] >= 0:
        path.append(link_at[int(before[node]), node])
        node = int(before[node])
    return path


def demand_of_hour(hours: Floats) -> Floats:
    """Demand by the hour of the day, mean one: a fifth at its least, nearly twice at its most."""
    angle = 2.0 * np.pi * (hours - LEAST_HOUR) / 24.0
    return np.asarray(1.0 - 0.7 * np.cos(angle) - 0.15 * np.cos(2.0 * angle), np.float64)


def _queues(used: Floats, backlog_s: Floats, step_s: float) -> tuple[Floats, Floats]:
    """Backlog in seconds and share dropped, both [steps, resources], at the end of each step."""
    limit = QUEUE_LIMIT_NS / 1e9
    queue, dropped = np.empty_like(used), np.empty_like(used)
    for step, asked in enumerate(used):
        wanted = np.maximum(backlog_s + (asked - 1.0) * step_s, 0.0)
        backlog_s = np.minimum(wanted, limit)
        queue[step] = backlog_s
        dropped[step] = (wanted - backlog_s) / np.maximum(asked * step_s, 1e-9)
    return queue, np.clip(dropped, 0.0, 1.0)
