"""A bounded memory of link samples: what forecasts, costs and the guard look back on.

Standard library only. Gossip may deliver a sample twice or out of order; a sample that is not newer
than the link's newest is dropped, so every reader sees each link's samples in strict time order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from routing.types import Link, LinkSample


class History:
    """The newest `keep` samples of each directed link, at most `max_links` links."""

    def __init__(self, keep: int = 64, max_links: int = 4_096) -> None:
        self._keep = keep
        self._max_links = max_links
        self._samples: dict[Link, deque[LinkSample]] = {}

    def add(self, sample: LinkSample) -> bool:
        """Remember a sample; False if it is old news, or of one link too many."""
        link = (sample.source, sample.target)
        known = self._samples.get(link)
        if known is None:
            if len(self._samples) >= self._max_links:
                return False
            known = self._samples[link] = deque(maxlen=self._keep)
        if known and sample.time_ms <= known[-1].time_ms:
            return False
        known.append(sample)
        return True

    def extend(self, samples: Iterable[LinkSample]) -> None:
        """Remember several samples."""
        for sample in samples:
            self.add(sample)

    def links(self) -> list[Link]:
        """Every link known, ascending."""
        return sorted(self._samples)

    def of(self, link: Link) -> list[LinkSample]:
        """Return the samples of a link, oldest first; empty if unknown."""
        return list(self._samples.get(link, ()))

    def newest(self, link: Link) -> LinkSample | None:
        """Return the newest sample of a link."""
        known = self._samples.get(link)
        return known[-1] if known else None

    def forget_before(self, time_ms: int) -> None:
        """Drop links of which nothing newer than `time_ms` was heard."""
        for link in [k for k, v in self._samples.items() if v[-1].time_ms < time_ms]:
            del self._samples[link]
