"""`wavecomb routing insights`: what ails a mesh, and what to do about it."""

from __future__ import annotations

import argparse
import http.client
import io
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, add_command, print_json
from routing.telemetry.io_telemetry import read_telemetry
from routing.telemetry.long_history import KEEP_ROWS, LongHistory
from routing.types import LinkSample

if TYPE_CHECKING:
    from routing.insights.failures import FailureModel
    from routing.insights.grid import Grid
    from routing.insights.insight import Insight

MAX_LINKS = 100_000
MODEL_FILE = "failures.json"
TIMEOUT_S = 30.0
LEAST_H = 3  # what the rules need, routing/insights/waste.py
Ways = Iterable[tuple[str, int, tuple[int, ...], int]]


def add_insights(commands: Any) -> Parser:
    """Describe the sub-command."""
    parser: Parser = add_command(
        commands, "insights", "find hotspots about to fail and what the mesh wastes, with remedies"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="CSV", help="link samples (docs/insights.md)")
    source.add_argument("--folder", type=Path, metavar="DIR", help="a gateway's telemetry folder")
    source.add_argument("--gateway", metavar="URL", help="ask a running gateway")
    parser.add_argument("--model", type=Path, metavar="FILE", help="another failure model")
    parser.add_argument("--hotspot", type=int, metavar="N", help="only what concerns this hotspot")
    parser.add_argument(
        "--top", type=int, default=20, metavar="N", help="at most so many (default: %(default)s)"
    )
    return parser


def load_failure_model(path: Path | None = None) -> FailureModel:
    """Read a model, by default the one that comes with Wavecomb; UserError if there is none."""
    from routing.insights.failures import failure_model

    if path is not None:
        return failure_model(path.read_text(encoding="utf-8", errors="replace"))
    file = resources.files("routing.insights").joinpath("models", MODEL_FILE)
    if not file.is_file():
        raise UserError("failure model", "none came with this installation", "give --model FILE")
    return failure_model(file.read_text(encoding="utf-8"))


def look(grid: Grid, model: FailureModel, ways: Ways = (), here: int = 0) -> list[Insight]:
    """Return what a grid shows, most urgent first; see waste.far_providers for `ways`."""
    from routing.insights.insight import ranked
    from routing.insights.outlook import outlook_of
    from routing.insights.waste import far_providers, waste_of

    if not grid.links or grid.steps == 0:
        return []
    found = [*outlook_of(grid, model), *waste_of(grid), *far_providers(here, ways)]
    return ranked(found)


def history_of(samples: Sequence[LinkSample]) -> LongHistory:
    """Gather samples of any order into minutes."""
    history = LongHistory(KEEP_ROWS, MAX_LINKS)
    bar = Progress("read", len(samples))
    for number, sample in enumerate(sorted(samples, key=lambda one: one.time_ms)):
        history.add(sample)
        if number % 10_000 == 0:
            bar.update(number)
    bar.close()
    history.finish_before(1 << 62)
    return history


def _read_csv(name: str) -> LongHistory:
    from routing.forecast.datasets import parse_samples

    path = Path(name)
    if not path.is_file():
        raise UserError("--data", f"{name}: no such file", "give a CSV of link samples")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("--data", f"{name}: not UTF-8 text", "give a CSV file") from None
    return history_of(parse_samples(io.StringIO(text, newline=""), path.name))


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname:
            return parts.hostname, parts.port or 80
    except ValueError:  # a port that is none
        pass
    raise UserError("--gateway", f"{url!r} is no address", "like http://127.0.0.1:8300")


def _ask(url: str) -> list[dict[str, Any]]:
    """Fetch a gateway's insights."""
    host, port = _address(url)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/insights")
        answer = connection.getresponse()
        content = json.loads(answer.read())
        rows: list[dict[str, Any]] = content["insights"]
    except OSError as error:
        raise UserError("--gateway", f"{url}: {error}", "is the gateway running?") from None
    except (ValueError, KeyError, TypeError, http.client.HTTPException):
        raise UserError("--gateway", f"{url} gave no insights", "is that a gateway?") from None
    finally:
        connection.close()
    return rows


def insight_from(row: dict[str, Any]) -> Insight:
    """Read one insight of `Insight.as_json`."""
    from routing.insights.insight import Insight

    link = row["link"]
    return Insight(**{**row, "link": tuple(link) if link else None})


def run_insights(options: argparse.Namespace) -> int:
    """Print what was found."""
    from routing.insights.insight import text_of

    if options.top < 1:
        raise UserError("--top", f"{options.top} is none", "give 1 or more")
    known_h: float | None = None  # a gateway doesn't say how much it looks back on
    if options.gateway:
        found = [insight_from(row) for row in _ask(options.gateway)]
    else:
        model = load_failure_model(options.model)
        history = read_telemetry(options.folder) if options.folder else _read_csv(options.data)
        found, known_h = _look_back(history, model)
    wanted = options.hotspot
    if wanted is not None:
        found = [one for one in found if wanted == one.hotspot or wanted in (one.link or ())]
    shown = found[: options.top]
    if options.json:
        print_json({"insights": [one.as_json() for one in shown], "found": len(found)})
    elif shown:
        print(text_of(shown))
    else:
        print(_nothing(known_h))
    return EXIT_OK


def _look_back(history: LongHistory, model: FailureModel) -> tuple[list[Insight], float]:
    """Return what a history shows, and how many hours of it there are."""
    from routing.insights.grid import GRID_MS, grid_of

    grid = grid_of(history)
    return look(grid, model), grid.steps * GRID_MS / 3_600_000


def _nothing(known_h: float | None) -> str:
    if known_h is not None and known_h < LEAST_H:
        return f"too little to judge: {known_h:.1f} hours of telemetry; give {LEAST_H} or more"
    return "nothing found: no hotspot looks like failing, and nothing much is wasted"
