"""Routing in a running gateway: a router with what it can get of forecasts, plans and a memory.

A hotspot without LightGBM, NumPy or HiGHS routes by what it measures; what is missing is said once
and costs nothing else. The driver calls `tick` once a second and writes the rows that it returns,
in a thread if it likes; after a restart the telemetry of the last days is there again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.errors import UserError
from routing.graph import links_of
from routing.io_telemetry import TelemetryFolder, take_rows
from routing.mesh_plan import PathPlanner
from routing.recorder import OwnLinks, Recorder
from routing.router import Predictor, Router
from routing.telemetry_history import STEP_MS, LongHistory, Row
from routing.types import Link, ProviderState

# 783 kB a link once eight days are full: a gateway knows its surroundings, not a whole city.
MAX_LINKS = 64
Flow = tuple[int, tuple[int, ...], int]


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

    def tick(
        self, now_ms: int, flows: Iterable[Flow], providers: Sequence[ProviderState] = ()
    ) -> list[Row]:
        """Take a second's worth of news; return rows to write, once a minute.

        `flows`: of this hotspot's own, (number, hops, bytes carried so far).
        """
        self._recorder.take(self.router.history, providers, self._meter(flows))
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
        return {**self.router.summary(now_ms), "telemetry": kept}

    def close(self, now_ms: int) -> None:
        """Write what is finished."""
        self.write(take_rows(self.long, now_ms), now_ms)


def load_forecaster(settings: RoutingSettings, base: Path, long: LongHistory) -> Predictor | None:
    """Load the trained models; imported late, for hotspots that have none need no LightGBM."""
    if not settings.forecaster:
        return None
    from routing.forecast import Forecaster
    from routing.forecast_far import FarForecaster
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


def read_telemetry(folder: Path) -> LongHistory:
    """Read a gateway's folder as it is; UserError where there is none."""
    if not folder.is_dir():
        raise UserError("--folder", f"{folder}: no such folder", "name a gateway's telemetry")
    history = LongHistory()
    if TelemetryFolder(folder).load(history, mend=False) == 0:
        raise UserError("--folder", f"{folder} holds no minute yet", "wait a few minutes")
    return history
