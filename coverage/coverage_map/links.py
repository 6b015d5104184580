"""The link table: for each (beaconer, witness) what was measured, bounded, newest first to survive.

A link keeps its newest `RING` usable samples, so quantiles are exact over what is recent and memory
is bounded by the number of links (two bytes a sample), not by the age of the network. Counts are of
all time. Which ledger records stand behind a link is kept beside the samples: the evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from coverage_map.observations import Observation, Site, Standing

RING = 64
EVIDENCE = 16
EMPTY_CDBM = np.int16(-32768)
USABLE = (Standing.MEASURED, Standing.LATE)


@dataclass(slots=True)
class Link:
    """What one witness knows of one beaconer, without the samples."""

    beaconer: int
    witness: int
    cell: int
    row: int
    count: int = 0
    late: int = 0
    hints: int = 0
    first_ms: int = 0
    last_ms: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    evidence: list[tuple[int, int, int, str]] = field(default_factory=list)


class LinkTable:
    """All links, with their samples as one array of shape (capacity, RING), int16 cdBm."""

    def __init__(self) -> None:
        self.links: dict[tuple[int, int], Link] = {}
        self.changed: set[tuple[int, int]] = set()
        self._samples = np.full((256, RING), EMPTY_CDBM, np.int16)

    def __len__(self) -> int:
        return len(self.links)

    def add(self, observations: Iterable[Observation]) -> None:
        """Count observations; those that measure also enter the samples."""
        for observation in observations:
            link = self._link(observation)
            _count(link, observation)
            if observation.standing in USABLE and observation.rssi_cdbm is not None:
                value = max(-32_767, min(32_767, observation.rssi_cdbm))
                self._samples[link.row, link.count % RING] = value
                link.count += 1
                link.late += observation.standing is Standing.LATE
                link.first_ms = link.first_ms or observation.time_ms
                link.last_ms = max(link.last_ms, observation.time_ms)
                self.changed.add((link.beaconer, link.witness))

    def move(self, site: Site) -> None:
        """Forget what a hotspot measured and radiated elsewhere: its site has changed."""
        for key, link in self.links.items():
            if site.index in key and (link.beaconer == site.index or link.cell != site.cell):
                self._samples[link.row] = EMPTY_CDBM
                fresh = Link(link.beaconer, link.witness, link.cell, link.row)
                fresh.cell = site.cell if link.witness == site.index else link.cell
                self.links[key] = fresh
                self.changed.add(key)

    def samples(self, link: Link) -> NDArray[np.int16]:
        """The link's newest samples in cdBm, unordered; empty if nothing was measured."""
        row = self._samples[link.row]
        return np.asarray(row[row != EMPTY_CDBM], np.int16)

    def measured(self) -> list[Link]:
        """Links with at least one sample, by (beaconer, witness)."""
        return [self.links[key] for key in sorted(self.links) if self.links[key].count]

    def matrix(self, links: list[Link]) -> NDArray[np.int16]:
        """Samples of links in cdBm, shape (links, RING), EMPTY_CDBM where there is none."""
        return self._samples[np.array([link.row for link in links], np.intp)]

    def saved(self) -> tuple[list[Link], NDArray[np.int16]]:
        """All links in the order of their rows, and the samples of those rows."""
        ordered = sorted(self.links.values(), key=lambda link: link.row)
        return ordered, self._samples[: len(ordered)]

    def restore(self, links: Iterable[Link], samples: NDArray[np.int16]) -> None:
        """Take over what `saved` gave."""
        self.links = {(link.beaconer, link.witness): link for link in links}
        grown = np.full((max(256, len(samples)), RING), EMPTY_CDBM, np.int16)
        grown[: len(samples)] = samples
        self._samples = grown

    def _link(self, observation: Observation) -> Link:
        key = (observation.beaconer, observation.witness)
        link = self.links.get(key)
        if link is None:
            if len(self.links) == len(self._samples):
                grown = np.full((2 * len(self._samples), RING), EMPTY_CDBM, np.int16)
                grown[: len(self._samples)] = self._samples
                self._samples = grown
            link = Link(*key, observation.cell, len(self.links))
            self.links[key] = link
        return link


def _count(link: Link, observation: Observation) -> None:
    link.reasons[observation.reason] += 1
    link.hints += observation.standing is Standing.HINT
    entry = (
        observation.ledger_sequence,
        observation.epoch,
        observation.sequence,
        observation.reason,
    )
    link.evidence.append(entry)
    del link.evidence[:-EVIDENCE]
