"""Learning beside everything else: one fit of the whole network at a time, in a thread of its own.

It works on copies, so the map goes on being built meanwhile; a service that stops doesn't wait.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Mapping

from coverage_map.estimator.core import Estimator, Lesson
from coverage_map.links import LinkTable
from coverage_map.observations import Site
from coverage_map.predict import Footprint

EVERY_S = 60.0  # at least between two fits, and before the first
REST = 10  # a fit that took a minute isn't followed by another one for ten
GROWTH = 1.2  # by how much links must have multiplied


class Learning:
    """Fits the estimator's one model when enough is new; `step` is called again and again."""

    def __init__(self, estimator: Estimator, every_s: float = EVERY_S) -> None:
        self.estimator = estimator
        self.fits = 0
        self._every_s = every_s
        self._due_at = time.monotonic() + every_s
        self._links = 0
        self._under_way: _Fit | None = None

    def step(self, sites: Mapping[int, Site], table: LinkTable) -> bool:
        """Begin a fit that is due, or take over one that has ended; whether the map changes.

        Call it where nothing else uses the estimator.
        """
        fit = self._under_way
        if fit is not None:
            if fit.is_alive():
                return False
            self._under_way = None
            self._due_at = time.monotonic() + max(self._every_s, REST * fit.took_s)
            self.fits += bool(fit.made)
            return self.estimator.adopt(fit.lesson, fit.made) > 0
        count = len(table.links)
        if time.monotonic() < self._due_at or count < max(1, GROWTH * self._links):
            return False
        self._links = count
        self._under_way = _Fit(self.estimator.plan_learning(sites, table))
        self._under_way.start()
        return False


class _Fit(threading.Thread):
    def __init__(self, lesson: Lesson) -> None:
        super().__init__(name="learning", daemon=True)
        self.lesson = lesson
        self.made: Mapping[int, Footprint] = {}
        self.took_s = 0.0

    def run(self) -> None:
        """Fit; a fault leaves the map as it was, with a word on stderr."""
        started = time.monotonic()
        try:
            self.made = self.lesson.make()
        except Exception:
            sys.stderr.write(f"wavecomb: learning failed: {traceback.format_exc()}")
        self.took_s = time.monotonic() - started
