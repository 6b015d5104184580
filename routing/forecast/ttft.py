"""The time to first token, learned: what a gateway remembers of its requests, and trees over it.

The formula of `routing/placement.py` says what a first token should take. What it can't know (an
engine's batches, others' prompts behind a report, a path that is busy) shows in the ratio of
measured to expected, and that ratio depends on what is known at the time:

    feature     unit         what
    prompt      bucket       the request's tokens: 0 below 128, then by factors of four
    queue       log2 us      the provider's queue by the formula
    token       log2 us      what 1,000 tokens of a prompt take there
    path        log2 us      the way there and back
    running, waiting         the provider's own count of others' answers and of prompts that wait
    tokens      log2         of others' prompts that wait
    own         requests     of this gateway's that wait there
    fullness    permille     of its slots
    factor      permille     measured over expected lately; also its 90th percentile over the mean
    lately      log2 us      EWMA (0.3) of the first tokens that came from there
    swing       permille     the same of measured over expected
    age         s            of the report

All but the prompt are taken when a report comes, and the trees are asked then, once per bucket, so
a decision costs a look into a small table. `routing/forecast/ttft_training.py` makes the trees
where LightGBM is; walking them needs nothing but this. Without a model the running quantile of each
provider is the answer; with one it follows as a correction. A judge compares both in service.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp2, isfinite
from typing import NamedTuple

from routing.forecast.table import TreeTable

FEATURES = (
    *("prompt", "queue", "token", "path", "running", "waiting", "tokens", "own", "fullness"),
    *("factor", "margin", "lately", "swing", "age"),
)
BUCKETS = 6
KEEP_ROWS = 4_096
LEAST_ROWS = 400  # of which a model is made
LEARN_EVERY = 500  # outcomes, after which a gateway makes its model anew
MOST_LOG = 4.0  # a ratio of sixteen, and one sixteenth
LEVEL = 0.9
EVIDENCE, MEMORY = 50, 0.02  # outcomes before a model is believed; weight of a new one
NO_RATIOS = (1_000,) * BUCKETS
Ratios = tuple[tuple[int, ...], tuple[int, ...]]


def bucket_of(tokens: int) -> int:
    """Return the bucket of a prompt's length: below 128, 512, 2,048, 8,192, 32,768, and above."""
    return min(BUCKETS - 1, max(0, tokens.bit_length() - 6) // 2)


class Outcome(NamedTuple):
    """One request, us: its features when it was placed, what the formula and what all expected.

    `said_us`: median and 90th percentile as the placement had them, from model or running quantile.
    """

    features: tuple[float, ...]
    expected_us: int
    said_us: tuple[int, int]
    measured_us: int


class TtftLog:
    """The newest outcomes of this gateway, `keep` at most, and how many there ever were."""

    def __init__(self, keep: int = KEEP_ROWS) -> None:
        self._rows: deque[Outcome] = deque(maxlen=keep)
        self.total = 0

    def add(self, outcome: Outcome) -> None:
        """Remember an outcome."""
        self._rows.append(outcome)
        self.total += 1

    def rows(self) -> list[Outcome]:
        """Return the outcomes kept, oldest first."""
        return list(self._rows)


@dataclass(frozen=True, slots=True)
class TtftModel:
    """Trees for log2 of measured over expected: the median and the 90th percentile."""

    median: TreeTable
    high: TreeTable

    def ratios(self, known: Sequence[float]) -> Ratios | None:
        """Return median and p90 in permille by bucket, for features after the first; None if odd.

        A broken model answers nothing rather than nonsense.
        """
        rows = [(float(bucket), *known) for bucket in range(BUCKETS)]
        medians = [self.median.predict(row) for row in rows]
        highs = [self.high.predict(row) for row in rows]
        if not all(isfinite(value) for value in (*medians, *highs)):
            return None
        low = tuple(_permille(value) for value in medians)
        return low, tuple(max(a, _permille(b)) for a, b in zip(low, highs, strict=True))


def _permille(log_ratio: float) -> int:
    return round(1_000 * exp2(max(-MOST_LOG, min(MOST_LOG, log_ratio))))


class Judge:
    """Whether a model is believed: its smoothed loss against the running quantile's, in service.

    Median and 90th percentile are judged apart. A model is scored before it is believed, so one
    that is bad, or goes bad, costs the time to notice it and no more.
    """

    def __init__(self) -> None:
        self._losses = [[0.0, 0.0], [0.0, 0.0]]  # by quantile: of the model, of the running one
        self._count = 0
        self.believes = (False, False)

    def settle(self, model: tuple[int, int], running: tuple[int, int], measured: int) -> bool:
        """Take an outcome and what both had said of it, one unit; True if a belief has changed."""
        self._count += 1
        weight = max(MEMORY, 1.0 / self._count)
        for at, level in enumerate((0.5, LEVEL)):
            for who, said in enumerate((model[at], running[at])):
                error = measured - said
                loss = max(level * error, (level - 1.0) * error)
                self._losses[at][who] += (loss - self._losses[at][who]) * weight
        before = self.believes
        ready = self._count >= EVIDENCE
        median, high = (ready and mine < theirs for mine, theirs in self._losses)
        self.believes = (median, high)
        return before != self.believes
