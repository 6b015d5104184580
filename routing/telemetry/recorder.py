"""Gossip in, full telemetry out: fills the columns that a link's neighbours and far end know.

A link sample says what its sender measured. What its neighbours measured is in the same gossip, and
what goes on at the far end is in the provider's advert; joined, they make the rows that forecasts
and insights read (routing/telemetry/second.py), kept by minutes
(routing/telemetry/long_history.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from routing.telemetry.history import History
from routing.telemetry.long_history import LongHistory
from routing.telemetry.second import Telemetry
from routing.types import Link, LinkSample, ProviderState

_FRESH_MS = 90_000


@dataclass(frozen=True, slots=True)
class OwnLinks:
    """What only this hotspot knows of its links: flows that leave on them, job bytes that wait."""

    flows: Mapping[Link, int] = field(default_factory=dict)
    job_bytes: Mapping[Link, int] = field(default_factory=dict)


NOTHING_OWN = OwnLinks()


class Recorder:
    """Carries what is new in a router's history over into a long one."""

    def __init__(self, long: LongHistory) -> None:
        self.long = long
        self._seen: dict[Link, int] = {}

    def take(
        self,
        history: History,
        providers: Iterable[ProviderState] = (),
        own: OwnLinks = NOTHING_OWN,
    ) -> int:
        """Add the samples that came since the last call; return how many."""
        links = history.links()
        newest = {link: sample for link in links if (sample := history.newest(link))}
        heard = _neighbour_busy(newest.values())
        asked = {state.hotspot: state for state in providers}
        taken = 0
        for link in links:
            before = self._seen.get(link, -1)
            for sample in newer_than(history, link, before):
                full = _filled(sample, heard.get(link[0], 0), asked.get(link[1]), own)
                taken += self.long.add(full)
            self._seen[link] = newest[link].time_ms
        self._seen = {link: at for link, at in self._seen.items() if link in newest}
        return taken


def newer_than(history: History, link: Link, time_ms: int) -> list[LinkSample]:
    """Return a link's samples that are newer than a time, oldest first."""
    return [sample for sample in history.of(link) if sample.time_ms > time_ms]


def _neighbour_busy(newest: Iterable[LinkSample]) -> dict[int, int]:
    """Return for each hotspot the largest busy share that a neighbour of it reports lately."""
    samples = list(newest)
    now_ms = max((sample.time_ms for sample in samples), default=0)
    busy: dict[int, int] = {}
    for sample in samples:
        if now_ms - sample.time_ms <= _FRESH_MS:
            # The sender of a link tells its busy share; the hotspot at the other end neighbours it.
            busy[sample.target] = max(busy.get(sample.target, 0), sample.busy_permille)
    return busy


def _filled(
    sample: LinkSample, neighbour_busy: int, provider: ProviderState | None, own: OwnLinks
) -> Telemetry:
    link = (sample.source, sample.target)
    known = sample if isinstance(sample, Telemetry) else None
    return Telemetry(
        *link,
        sample.time_ms,
        sample.rate_kbps,
        sample.load_kbps,
        sample.busy_permille,
        sample.queue_bytes,
        sample.loss_permille,
        sample.rtt_us,
        packets=known.packets if known else 0,
        drops=known.drops if known else 0,
        nominal_kbps=known.nominal_kbps if known else 0,
        snr_cdb=known.snr_cdb if known else 0,
        neighbour_busy_permille=neighbour_busy,
        flows=own.flows.get(link, 0),
        job_bytes=own.job_bytes.get(link, 0),
        ai_running=provider.requests_running if provider else 0,
        ai_waiting=provider.requests_waiting if provider else 0,
    )
