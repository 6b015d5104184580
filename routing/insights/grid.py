"""Link telemetry on an even grid of ten minutes: what insights look at.

A `Grid` is a few days of a mesh as arrays [steps, links]. `heard` is the share of each step's
minutes that brought a sample, so that a hotspot which restarts leaves a mark; where a link was not
heard at all its values are NaN. Rates, losses and delays are means of what was heard.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.telemetry.long_history import STEP_MS, LongHistory
from routing.telemetry.second import FIELDS
from routing.types import Link

Array = npt.NDArray[np.float64]
GRID_MS = 600_000
HOUR, DAY = 6, 144  # in steps


@dataclass(frozen=True, slots=True)
class Grid:
    """`values[name]` [steps, links] for the fields of routing/telemetry/second.py.

    Step t ends at `start_ms` + (t + 1) x GRID_MS. A field that nobody measured is all zero.
    """

    start_ms: int
    links: tuple[Link, ...]
    heard: Array
    values: Mapping[str, Array]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.heard.shape[0])

    @property
    def hotspots(self) -> list[int]:
        """All ends of links, ascending."""
        return sorted({end for link in self.links for end in link})

    def columns_of(self, hotspot: int) -> list[int]:
        """Columns of the links that begin or end at a hotspot."""
        return [at for at, link in enumerate(self.links) if hotspot in link]

    def measured(self, name: str) -> bool:
        """Tell whether a field holds anything."""
        return bool(np.nan_to_num(self.values[name]).any())

    def last(self, steps: int) -> Grid:
        """Return the newest steps alone."""
        cut = max(0, self.steps - steps)
        start_ms = self.start_ms + cut * GRID_MS
        values = {name: column[cut:] for name, column in self.values.items()}
        return Grid(start_ms, self.links, self.heard[cut:], values)


def grid_of(history: LongHistory, days: int = 4, now_ms: int | None = None) -> Grid:
    """Gather the newest days of a history; only whole steps before `now_ms` count.

    Without `now_ms` the newest minute is the end.
    """
    links = history.links()
    columns = {link: history.columns(link) for link in links}
    spans = [(times[0], times[-1]) for times, _ in columns.values() if times]
    newest = max((last for _, last in spans), default=0)
    end = (newest + STEP_MS if now_ms is None else now_ms) // GRID_MS
    oldest = min((first for first, _ in spans), default=0)
    first = max(end - days * DAY, oldest // GRID_MS)
    steps = max(0, end - first)
    heard = np.zeros((steps, len(links)))
    sums = np.zeros((len(FIELDS), steps, len(links)))
    for at, link in enumerate(links):
        _add_link(*columns[link], first, heard[:, at], sums[:, :, at])
    with np.errstate(invalid="ignore"):
        means = sums / np.where(heard > 0, heard, np.nan)
    values = {name: means[at] for at, name in enumerate(FIELDS)}
    # A large mesh speaks less often than once a minute, and a trace may be coarser still.
    usual = float(np.quantile(heard[heard > 0], 0.9)) if heard.any() else 1.0
    return Grid(first * GRID_MS, tuple(links), np.minimum(1.0, heard / usual), values)


def _add_link(
    times: array[int], fields: Sequence[array[int]], first: int, heard: Array, sums: Array
) -> None:
    """Add one link's minutes into its columns of `heard` [steps] and `sums` [fields, steps]."""
    step = np.array(times, dtype=np.int64) // GRID_MS - first
    inside = (step >= 0) & (step < len(heard))
    at = step[inside]
    heard += np.bincount(at, minlength=len(heard))
    for row, column in zip(sums, fields, strict=True):
        row += np.bincount(at, np.array(column)[inside], minlength=len(heard))
