"""Backhaul: the links that carry datagrams between neighbouring hotspots.

A wireless link's rate follows from its signal by the 802.11n rate table, or from the quality its
owners published. All wireless links of a hotspot share its one backhaul radio, and a transmission
keeps the radios of both ends busy, so a busy neighbour slows a link down: the queue of a radio is
the time until which it is taken. Wired and tunnelled links have a queue each. A full queue drops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chain.records import Refusal
from radio_sim.draws import draw_below, draw_u64
from routing.types import LinkSample

US = 1000
MS = 1_000_000
QUEUE_LIMIT_NS = 200 * MS
HEADER_BYTES = 60  # UDP, IP, LLC and MAC around a datagram
FRAME_OVERHEAD_US = 120  # DIFS, mean backoff, preamble, SIFS and acknowledgement of one exchange
PROBE_BYTES = 1500

# 802.11n, 20 MHz, 800 ns guard interval, one stream: lowest SNR in dB for 10 % packet errors at
# 1,458 bytes (AWGN, BCC) and rate in kb/s, MCS 0 to 7.
HT_RATES = (
    (0.92, 6_500), (3.94, 13_000), (6.43, 19_500), (9.70, 26_000),
    (12.80, 39_000), (17.04, 52_000), (18.38, 58_500), (19.63, 65_000),
)  # fmt: skip
STREAMS = 2
FADE_MARGIN_DB = 3.0
QUALITY_SPAN_DB = (1.0, 25.0)  # SNR that a published quality of 0 and of 1 stands for
WIRED_KBPS = 940_000
VPN_KBPS = 20_000
DELAY_NS = {"wireless": 300 * US, "wired": 200 * US, "vpn": 15 * MS}

NO_LINK = Refusal("no_link", "peer: not a neighbour of this hotspot; route over one that is")
QUEUE_FULL = Refusal("queue_full", "link: its queue is full; send less or over another link")
LOST = Refusal("lost", "link: the datagram was lost on the way; the sender's timer repeats it")


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One backhaul link between hotspots a < b, alike in both directions."""

    a: int
    b: int
    kind: str
    rate_kbps: int
    loss_permille: int


@dataclass(slots=True)
class _Direction:
    """State of one direction; `radio` indexes are those of the two ends, or its own queue."""

    spec: LinkSpec
    resources: tuple[int, ...]
    sent_bits: int = 0


def rate_from_snr_kbps(snr_db: float) -> int:
    """Best HT rate that holds at this SNR with a margin for fading; 0 where none does."""
    fitting = [rate for least, rate in HT_RATES if snr_db - FADE_MARGIN_DB >= least]
    return STREAMS * fitting[-1] if fitting else 0


def rate_from_quality_kbps(quality: float) -> int:
    """Rate of a link whose published quality (share of probes that arrive) is 0 to 1."""
    low, high = QUALITY_SPAN_DB
    return max(rate_from_snr_kbps(low + quality * (high - low)), STREAMS * HT_RATES[0][1])


def loss_from_quality_permille(quality: float) -> int:
    """Datagrams lost after link-layer retries: what four tries in a row lose."""
    return round(1000 * (1.0 - quality) ** 4)


def airtime_ns(rate_kbps: int, size_bytes: int) -> int:
    """Time that one datagram keeps the radios busy."""
    return FRAME_OVERHEAD_US * US + 8 * (size_bytes + HEADER_BYTES) * MS // max(1, rate_kbps)


class Backhaul:
    """All backhaul links of a world, as a pure machine: datagram in, time of arrival out."""

    def __init__(self, hotspots: int, links: Sequence[LinkSpec], seed: int) -> None:
        self.hotspots = hotspots
        self.links = tuple(links)
        self._seed = draw_u64(seed, "backhaul")
        self._sent = 0
        self._directions: dict[tuple[int, int], _Direction] = {}
        self._peers: list[list[int]] = [[] for _ in range(hotspots)]
        self._free_ns = [0] * hotspots  # the hotspots' radios, then one queue per cable direction
        for spec in self.links:
            self._add(spec, spec.a, spec.b)
            self._add(spec, spec.b, spec.a)
        self._busy_ns = [0] * len(self._free_ns)
        self._reported: dict[int, tuple[int, list[int]]] = {}
        self._down: set[int] = set()
        self._apart: tuple[frozenset[int], ...] = ()

    def peers(self, hotspot: int) -> tuple[int, ...]:
        """Neighbours over backhaul links, ascending."""
        return tuple(sorted(self._peers[hotspot]))

    def set_down(self, hotspot: int, down: bool) -> None:
        """Switch a hotspot off or on; a datagram to it is lost."""
        (self._down.add if down else self._down.discard)(hotspot)

    def set_partitions(self, groups: Iterable[Iterable[int]]) -> None:
        """Cut each of these groups off from all others; a datagram across is lost."""
        self._apart = tuple(frozenset(group) for group in groups)

    def send(self, source: int, target: int, size_bytes: int, now_ns: int) -> int | Refusal:
        """Send a datagram to a neighbour; its arrival time in ns, or why it will not arrive."""
        direction = self._directions.get((source, target))
        if direction is None:
            return NO_LINK
        if source in self._down or target in self._down:
            return LOST
        if any((source in group) != (target in group) for group in self._apart):
            return LOST
        start = max([now_ns, *(self._free_ns[taken] for taken in direction.resources)])
        if start - now_ns > QUEUE_LIMIT_NS:
            return QUEUE_FULL
        took = airtime_ns(direction.spec.rate_kbps, size_bytes)
        for taken in direction.resources:
            self._free_ns[taken] = start + took
            self._busy_ns[taken] += took
        direction.sent_bits += 8 * size_bytes
        self._sent += 1
        loss = direction.spec.loss_permille
        if loss and draw_below(1000, self._seed, self._sent) < loss:
            return LOST
        return start + took + DELAY_NS[direction.spec.kind]

    def report(self, hotspot: int, now_ns: int) -> tuple[LinkSample, ...]:
        """State of a hotspot's outgoing links, with busy share and load since its last report."""
        peers = self.peers(hotspot)
        then, before = self._reported.get(hotspot, (0, [0] * (2 * len(peers))))
        elapsed = max(1, now_ns - then)
        after: list[int] = []
        samples = []
        for place, peer in enumerate(peers):
            direction = self._directions[hotspot, peer]
            taken = direction.resources[0]
            backlog_ns = max(0, max(self._free_ns[r] for r in direction.resources) - now_ns)
            busy_ns = self._busy_ns[taken] - max(0, self._free_ns[taken] - now_ns)
            after += [busy_ns, direction.sent_bits]
            spent, bits = busy_ns - before[2 * place], direction.sent_bits - before[2 * place + 1]
            spec = direction.spec
            probe_ns = airtime_ns(spec.rate_kbps, PROBE_BYTES) + DELAY_NS[spec.kind]
            samples.append(
                LinkSample(
                    source=hotspot,
                    target=peer,
                    time_ms=now_ns // MS,
                    rate_kbps=spec.rate_kbps,
                    load_kbps=bits * MS // elapsed,
                    busy_permille=min(1000, max(0, 1000 * spent // elapsed)),
                    queue_bytes=backlog_ns * spec.rate_kbps // (8 * MS),
                    loss_permille=spec.loss_permille,
                    rtt_us=(backlog_ns + 2 * probe_ns) // US,
                )
            )
        self._reported[hotspot] = (now_ns, after)
        return tuple(samples)

    def _add(self, spec: LinkSpec, source: int, target: int) -> None:
        if spec.kind == "wireless":
            resources: tuple[int, ...] = (source, target)
        else:
            resources = (len(self._free_ns),)
            self._free_ns.append(0)
        self._directions[source, target] = _Direction(spec, resources)
        self._peers[source].append(target)
