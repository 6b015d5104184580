"""Neighbours: who they are, how their links do (by probes or driver), what we sent them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hotspot.overlay.datagrams import Probe
from hotspot.overlay.linkstate import LinkReport, LinkRow

PROBE_NS = 2_000_000_000
DEAD_NS = 9_000_000_000
REPORT_LIFETIME_NS = 15_000_000_000
MAX_NEIGHBOURS = 64
LOSS_WEIGHT = 8


@dataclass(frozen=True, slots=True)
class KernelLoad:
    """What a neighbour's device carried, ours and everybody's, as netd counts; `time_ns` when.

    Sums since counting began; `sharers` neighbours are behind the same device. 0 kbps: not known.
    """

    time_ns: int
    tx_bytes: int
    rx_bytes: int
    sharers: int
    rate_kbps: int = 0
    queue_bytes: int = 0


@dataclass(slots=True)
class Neighbour:
    """One link, as seen from this end."""

    peer: int
    heard_ns: int | None = None
    sequence: int = 0
    awaited: dict[int, int] = field(default_factory=dict)
    rtt_us: int = 0
    loss_permille: int = 0
    sent_bytes: int = 0
    report: LinkReport | None = None
    report_ns: int = 0
    kernel: KernelLoad | None = None
    counted: KernelLoad | None = None  # as of the last announcement

    def has_report(self, now_ns: int) -> bool:
        """Tell whether the driver spoke recently."""
        return self.report is not None and now_ns - self.report_ns < REPORT_LIFETIME_NS

    def is_alive(self, now_ns: int) -> bool:
        """Tell whether the link may be announced."""
        heard = self.heard_ns is not None and now_ns - self.heard_ns < DEAD_NS
        return heard or self.has_report(now_ns)


class Neighbourhood:
    """All links of this hotspot."""

    def __init__(self, peers: Iterable[int], default_rate_kbps: int) -> None:
        self.links: dict[int, Neighbour] = {peer: Neighbour(peer) for peer in sorted(set(peers))}
        self._default_rate_kbps = default_rate_kbps
        self._since_ns = 0

    def __contains__(self, peer: int) -> bool:
        return peer in self.links

    def add(self, peer: int) -> bool:
        """Add a neighbour that made itself heard; False if it is known or there are too many."""
        if peer in self.links or len(self.links) >= MAX_NEIGHBOURS:
            return False
        self.links[peer] = Neighbour(peer)
        return True

    def alive(self, now_ns: int) -> list[int]:
        """Return the peers whose links may be announced, ascending."""
        return [peer for peer, link in sorted(self.links.items()) if link.is_alive(now_ns)]

    def count_sent(self, peer: int, size: int) -> None:
        """Count bytes that left for a neighbour."""
        if peer in self.links:
            self.links[peer].sent_bytes += size

    def take_report(self, report: LinkReport, now_ns: int) -> None:
        """Take what a driver measured; while it speaks, it is believed over probes."""
        self.add(report.peer)
        if report.peer in self.links:
            self.links[report.peer].report, self.links[report.peer].report_ns = report, now_ns

    def take_load(self, peer: int, load: KernelLoad) -> None:
        """Take what the kernel counted on the way to a neighbour."""
        if peer in self.links:
            self.links[peer].kernel = load

    def take_echo(self, peer: int, echo: Probe, now_ns: int) -> None:
        """Take the echo of a probe: the link is alive, and this is its round trip."""
        link = self.links.get(peer)
        sent_ns = link.awaited.pop(echo.sequence, None) if link else None
        if link is None or sent_ns is None:
            return
        link.heard_ns = now_ns
        rtt_us = (now_ns - sent_ns) // 1_000
        link.rtt_us = rtt_us if link.rtt_us == 0 else (7 * link.rtt_us + rtt_us) // 8
        link.loss_permille -= link.loss_permille // LOSS_WEIGHT

    def make_probes(self, now_ns: int) -> list[tuple[int, Probe]]:
        """Return probes for the links that no driver speaks for; unanswered ones count as lost."""
        probes = []
        for peer, link in sorted(self.links.items()):
            if link.has_report(now_ns):
                continue
            for sequence in [s for s, t in link.awaited.items() if now_ns - t >= PROBE_NS]:
                del link.awaited[sequence]
                link.loss_permille += (1_000 - link.loss_permille) // LOSS_WEIGHT
            link.sequence = (link.sequence + 1) & 0xFFFF_FFFF
            link.awaited[link.sequence] = now_ns
            probes.append((peer, Probe(False, link.sequence, now_ns & (1 << 64) - 1)))
        return probes

    def rows(self, now_ns: int) -> list[LinkRow]:
        """Return the links to announce, with the load since the last call."""
        elapsed_ms = max(1, (now_ns - self._since_ns) // 1_000_000)
        self._since_ns = now_ns
        rows = []
        for peer in self.alive(now_ns):
            link = self.links[peer]
            load_kbps = 8 * link.sent_bytes // elapsed_ms
            link.sent_bytes = 0
            rows.append(self._row(link, load_kbps, now_ns))
            link.counted = link.kernel
        return rows

    def _row(self, link: Neighbour, load_kbps: int, now_ns: int) -> LinkRow:
        report = link.report
        sent_kbps, both_kbps = _kernel_kbps(link.counted, link.kernel)
        load_kbps = max(load_kbps, sent_kbps)  # the overlay's own bytes are among the kernel's
        if report is not None and link.has_report(now_ns):
            state = (report.busy_permille, report.queue_bytes, report.loss_permille, report.rtt_us)
            return LinkRow(link.peer, report.rate_kbps, load_kbps, *state)
        kernel = link.kernel
        rate = kernel.rate_kbps if kernel and kernel.rate_kbps else self._default_rate_kbps
        queue_bytes = kernel.queue_bytes if kernel else 0
        busy = min(1_000, 1_000 * max(load_kbps, both_kbps) // max(1, rate))
        state = (busy, queue_bytes, link.loss_permille, link.rtt_us)
        return LinkRow(link.peer, rate, load_kbps, *state)


def _kernel_kbps(before: KernelLoad | None, now: KernelLoad | None) -> tuple[int, int]:
    """(sent to a neighbour, the device's both ways) since the last announcement.

    Which of a device's neighbours got what isn't counted: each is taken to get the same.
    """
    if before is None or now is None or now.time_ns <= before.time_ns:
        return 0, 0
    elapsed_ms = max(1, (now.time_ns - before.time_ns) // 1_000_000)
    sent = 8 * max(0, now.tx_bytes - before.tx_bytes) // elapsed_ms
    heard = 8 * max(0, now.rx_bytes - before.rx_bytes) // elapsed_ms
    return sent // max(1, now.sharers), sent + heard
