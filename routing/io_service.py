"""Routing in a running gateway: a router with what it can get of forecasts, plans and a memory.

A hotspot without LightGBM, NumPy or HiGHS routes by what it measures; what is missing is said once
and costs nothing else. The driver calls `tick` once a second and writes the rows that it returns,
in a thread if it likes; after a restart the telemetry of the last days is there again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chain.errors import UserError
from chain.records import Refusal
from routing.forecast.ttft import LEARN_EVERY, LEAST_ROWS, Outcome, TtftModel
from routing.graph import links_of, path_cost, shortest_paths
from routing.mesh_plan import PathPlanner
from routing.router import Predictor, Router
from routing.telemetry.io_telemetry import TelemetryFolder, take_rows
from routing.telemetry.long_history import STEP_MS, LongHistory, Row
from routing.telemetry.recorder import OwnLinks, Recorder
from routing.types import Link, ProviderState

# 783 kB a link once eight days are full: a gateway knows its surroundings, not a whole city.
MAX_LINKS = 64
INSIGHTS_MS = 600_000
Flow = tuple[int, tuple[int, ...], int]
Way = tuple[str, int, tuple[int, ...], int]


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Files beside the gateway's settings; empty for none. `planner`: plan where it can be."""

    forecaster: str = ""
    far_forecaster: str = ""
    telemetry: str = ""
    planner: bool = False


class RoutingService:
    """A router and its memory; UserError where a named file can't be used."""

    def __init__(
        self, settings: RoutingSettings, base: Path, say: Callable[[str], None] = print
    ) -> None:
        self._say = say
        self.long = LongHistory(max_links=MAX_LINKS)
        self._folder = TelemetryFolder(base / settings.telemetry) if settings.telemetry else None
        self.restored = self._folder.load(self.long) if self._folder else 0
        self._recorder = Recorder(self.long)
        forecaster = load_forecaster(settings, base, self.long)
        planner = load_planner(say) if settings.planner else None
        self.router = Router(forecaster, planner=planner)
        self._carried: dict[int, int] = {}
        self._saved_ms = 0
        self._insights: list[dict[str, Any]] = []
        self._insights_ms = -INSIGHTS_MS
        self._learner = TtftLearner(self.router, say)

    def tick(
        self, now_ms: int, flows: Iterable[Flow], providers: Sequence[ProviderState] = ()
    ) -> list[Row]:
        """Take a second's worth of news; return rows to write, once a minute.

        `flows`: of this hotspot's own, (number, hops, bytes carried so far).
        """
        self._recorder.take(self.router.history, providers, self._meter(flows))
        self._learner.tick()
        if self._folder is None or now_ms - self._saved_ms < STEP_MS:
            return []
        self._saved_ms = now_ms
        return take_rows(self.long, now_ms)

    def _meter(self, flows: Iterable[Flow]) -> OwnLinks:
        before, self._carried = self._carried, {}
        counts: dict[Link, int] = {}
        for number, hops, carried in flows:
            self._carried[number] = carried
            fresh = carried - before.get(number, 0)
            if fresh > 0:
                self.router.carried(hops, fresh)
                for link in links_of(hops)[:1]:
                    counts[link] = counts.get(link, 0) + 1
        return OwnLinks(flows=counts)

    def write(self, rows: Sequence[Row], now_ms: int) -> None:
        """Append rows to the folder; a disk that fails loses them and nothing else."""
        try:
            if self._folder is not None:
                self._folder.write(rows, now_ms)
        except OSError as error:
            self._say(f"telemetry: {error.strerror}; a minute of it is not kept")

    def status(self, now_ms: int) -> dict[str, object]:
        """Return the router's state and how much is remembered, for people and programs."""
        links = self.long.links()
        kept = {"links": len(links), "minutes": sum(self.long.count(link) for link in links)}
        learned = self._learner.status()
        return {**self.router.summary(now_ms), "telemetry": kept, "ttft": learned}

    def insights(
        self, here: int, now_ms: int, providers: Sequence[ProviderState] = ()
    ) -> Callable[[], list[dict[str, Any]]]:
        """Return who finds what the memory shows (docs/insights.md); a thread may call it.

        It looks anew every ten minutes. Without NumPy or the failure model it finds nothing, and
        that is said.
        """
        if now_ms - self._insights_ms < INSIGHTS_MS:
            return lambda: self._insights
        self._insights_ms = now_ms
        try:
            from routing.insights.grid import grid_of
            from routing.io_insights import load_failure_model, look

            # Copied here, since the history goes on while the thread looks.
            grid, model = grid_of(self.long, now_ms=now_ms), load_failure_model()
        except (ImportError, UserError) as error:
            self._say(f"no insights: {error}")
            return list
        ways = self._ways(here, now_ms, providers)

        def find() -> list[dict[str, Any]]:
            self._insights = [one.as_json() for one in look(grid, model, ways, here)]
            return self._insights

        return find

    def _ways(self, here: int, now_ms: int, providers: Sequence[ProviderState]) -> list[Way]:
        """Return each model of each provider with the path to it, from what is known already."""
        trees = shortest_paths(self.router.costs_us(now_ms), here)
        return [
            (name, state.hotspot, trees[state.hotspot], path_cost(costs, trees[state.hotspot]) or 0)
            for costs in [self.router.costs_us(now_ms)]
            for state in providers
            if state.hotspot in trees
            for name in state.models
        ]

    def close(self, now_ms: int) -> None:
        """Write what is finished."""
        self._learner.close()
        self.write(take_rows(self.long, now_ms), now_ms)


class TtftLearner:
    """Learns the time to first token of this gateway's own requests, beside its work.

    After every `LEARN_EVERY` first tokens a thread makes a model of the newest ones (0.1 s), and
    the placer believes it while it loses less than running quantiles do. Without LightGBM those are
    all there is.
    """

    def __init__(self, router: Router, say: Callable[[str], None]) -> None:
        self._placer = router.placer
        self._say = say
        self._pool: ThreadPoolExecutor | None = None
        self._making: Future[TtftModel | Refusal] | None = None
        self._trained = 0
        self._made = 0
        self._is_able = find_spec("lightgbm") is not None

    def tick(self) -> None:
        """Begin to learn when there is enough that is new; take what was learned."""
        if self._making is not None:
            if self._making.done():
                self._take(self._making)
                self._making = None
            return
        log = self._placer.log
        if self._is_able and log.total >= max(LEAST_ROWS, self._trained + LEARN_EVERY):
            self._trained = log.total
            self._pool = self._pool or ThreadPoolExecutor(1, "ttft")
            self._making = self._pool.submit(_learn_ttft, log.rows())

    def _take(self, making: Future[TtftModel | Refusal]) -> None:
        fault = making.exception()
        if fault is not None:
            self._is_able = False
            self._say(f"time to first token: no model ({fault}); running quantiles are used")
            self._placer.use_model(None)
            return
        model = making.result()
        if isinstance(model, TtftModel):
            self._made = self._trained
            self._placer.use_model(model)

    def status(self) -> dict[str, object]:
        """Return how many first tokens were seen and learned of, and what choices use now."""
        median, high = self._placer.believes
        return {
            "can_learn": self._is_able,
            "requests": self._placer.log.total,
            "learned_of": self._made,
            "median_by_model": median,
            "p90_by_model": high,
        }

    def close(self) -> None:
        """End the thread; a model half made is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _learn_ttft(rows: Sequence[Outcome]) -> TtftModel | Refusal:
    from routing.forecast.ttft_training import train_ttft

    return train_ttft(rows)


def load_forecaster(settings: RoutingSettings, base: Path, long: LongHistory) -> Predictor | None:
    """Load the trained models; imported late, for hotspots that have none need no LightGBM."""
    if not settings.forecaster:
        return None
    from routing.forecast.far import FarForecaster
    from routing.forecast.live import Forecaster
    from routing.io_cli import read_model

    near = Forecaster(read_model(str(base / settings.forecaster)))
    if not settings.far_forecaster:
        return near
    far = Forecaster(read_model(str(base / settings.far_forecaster)))
    return FarForecaster(near, far, long, gathers=False)


def load_planner(say: Callable[[str], None]) -> PathPlanner | None:
    """Return a planner where its libraries are; else say what is missing."""
    try:
        import highspy  # noqa: F401

        from routing.plan.own import OwnPlanner
    except ImportError as error:
        say(f"no plans: {error.name} is not installed; pip install 'wavecomb[routing]'")
        return None
    return OwnPlanner()
