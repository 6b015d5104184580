"""The `ttft` rows of bench/forecast.py: time to first token before it comes, by three ways.

Requests of bench/ai.py's traces are played against its mesh. Each of four gateways knows its own
outcomes until then: `model` is what its placement went by, trees made anew after every 500 of them
(routing/forecast/ttft_training.py) where the judge believes them and the running quantile where
not; all rows speak of the same requests of the same run. `running` is the formula with each
provider's running factor and quantile, `ewma` the provider's smoothed time to first token with a
quantile that runs likewise. WAPE of the median, pinball loss of p90 over the mean, coverage of p90.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.ai import GOAL_US, TPOT_US, asks_of, load
from bench.ai_mesh import GATEWAYS, MESH, Ask, World
from bench.ai_peers import Ours
from routing.forecast.ttft import FEATURES, LEARN_EVERY, LEVEL, Outcome
from routing.placement import PlacementParams

SPEEDS = {"azure": 9.0, "mooncake": 1.2}  # a busy network that still keeps nearly all goals
REQUESTS = 8_000
_EWMA, _STEP = 0.3, 0.01
_MARGIN = FEATURES.index("margin")
Said = tuple[float, float]


class Listener(Ours):
    """Our policy, that keeps what came of every request, and of which provider."""

    def __init__(self, gateway: int) -> None:
        super().__init__(gateway, TPOT_US, PlacementParams())
        self.seen: list[tuple[int, Outcome]] = []

    def began(self, ask: Ask, now_us: int) -> None:
        """Remember the outcome."""
        super().began(ask, now_us)
        self.seen.append((ask.provider, self.placer.log.rows()[-1]))


def by_ewma(seen: Sequence[tuple[int, Outcome]]) -> list[Said]:
    """Median and p90 by a provider's smoothed time, each before its outcome."""
    known: dict[int, Said] = {}
    result = []
    for provider, outcome in seen:
        mean, margin = known.get(provider, (float(outcome.expected_us), 1.0))
        result.append((mean, mean * margin))
        is_above = outcome.measured_us > mean * margin
        margin = max(1.0, margin + _STEP * (9 if is_above else -1))
        known[provider] = (mean + _EWMA * (outcome.measured_us - mean), margin)
    return result


def by_formula(seen: Sequence[tuple[int, Outcome]]) -> list[Said]:
    """The formula and the provider's running quantile."""
    rows = (outcome for _, outcome in seen)
    return [(o.expected_us, o.expected_us * o.features[_MARGIN] / 1_000) for o in rows]


def in_service(seen: Sequence[tuple[int, Outcome]]) -> list[Said]:
    """What the placement went by."""
    return [(float(o.said_us[0]), float(o.said_us[1])) for _, o in seen]


def line(said: Sequence[Said], came: Sequence[int]) -> dict[str, float]:
    """Score one way."""
    median, high = np.array(said, dtype=np.float64).T
    truth = np.array(came, dtype=np.float64)
    over = truth - high
    pinball = np.maximum(LEVEL * over, (LEVEL - 1.0) * over)
    return {
        "wape": round(float(np.abs(truth - median).sum() / truth.sum()), 4),
        "pinball90": round(float(pinball.mean() / truth.mean()), 4),
        "coverage90": round(float(np.mean(truth <= high)), 4),
    }


def measure_ttft(name: str, requests: int = REQUESTS) -> dict[str, Any]:
    """Play one trace and score the three ways on all outcomes after each gateway's first 1,000."""
    made: list[Listener] = []

    def make(gateway: int) -> Listener:
        made.append(Listener(gateway))
        return made[-1]

    asks = asks_of(load(name, requests), SPEEDS[name], GOAL_US[name], GATEWAYS)
    World(MESH, make, 7, desks=True).run(asks)
    rows: dict[str, list[Said]] = {"model": [], "running": [], "ewma": []}
    came: list[int] = []
    for one in made:
        later = one.seen[2 * LEARN_EVERY :]
        rows["model"] += in_service(later)
        rows["running"] += by_formula(later)
        rows["ewma"] += by_ewma(one.seen)[2 * LEARN_EVERY :]
        came += [outcome.measured_us for _, outcome in later]
    result: dict[str, Any] = {way: line(said, came) for way, said in rows.items()}
    believed = [one.placer.believes for one in made]
    return {**result.pop("model"), **result, "rows": len(came), "believed_at_end": believed}
