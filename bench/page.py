"""First paint and weight of the map's page, in headless Chromium: `python -m bench.page --json`.

Every visit is a browser context of its own, so nothing is cached. `first_paint_s` is the browser's
own first contentful paint, `first_cells_s` the moment from which cells of the network are on the
map; both count from the start of the navigation, and the median of the visits is given. Weight is
what came over the wire until then and three seconds more, headers included: `weight_kb` as a
browser asks over TLS or from this machine (Brotli), `weight_gzip_kb` as over plain HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer

from chain.errors import UserError
from chain.io_http import bound_port
from chain.io_terminal import Progress, print_json, run_command
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.io_web_build import build
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.io_front import serve_front

TESTS = Path(__file__).resolve().parents[1] / "tests"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
WAIT_S, AFTER_S = 60.0, 3.0
PAINT = """() => {
  const paints = performance.getEntriesByType("paint");
  return paints.find((one) => one.name === "first-contentful-paint")?.startTime ?? 0;
}"""
# Of everything that the page loaded, its worker's script included.
BYTES = """() => ["navigation", "resource"]
  .flatMap((kind) => performance.getEntriesByType(kind))
  .reduce((sum, one) => sum + one.transferSize, 0)"""
CELLS = """() => window.__wavecomb?.ready && window.__wavecomb.cells > 0 ? performance.now() : 0"""


@asynccontextmanager
async def town_map(hotspots: int) -> AsyncIterator[str]:
    """The address of a map of the tests' town, with as many hotspots."""
    sys.path.insert(0, str(TESTS))
    helpers = importlib.import_module("map_helpers")
    town = helpers.Town(hotspots, time.time_ns() // 1_000_000 - 70_000)
    town.run_to(6)
    async with TestServer(helpers.ledger_app(town)) as ledger:
        sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None))
        runner = await serve_front(make_app(sync, Hub()), "127.0.0.1", 0)
        try:
            await until_measured(sync)
            yield f"http://127.0.0.1:{bound_port(runner)}/"
        finally:
            await runner.cleanup()
            town.close()


async def until_measured(sync: Sync) -> None:
    """Wait for the first cells."""
    for _ in range(round(WAIT_S / 0.05)):
        if sync.snapshot is not None and sync.keeper.view.level(10)["count"].any():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the town's map has no cells")


async def visit(browser: Any, url: str, size: tuple[int, int], accepts: str) -> dict[str, float]:
    """One cold visit: seconds to paint and to cells, and bytes that came."""
    context = await browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = await context.new_page()
    if accepts:
        await context.set_extra_http_headers({"Accept-Encoding": accepts})
    try:
        await page.goto(url, wait_until="commit")
        shown = await page.wait_for_function(CELLS, timeout=1000 * WAIT_S)
        cells_ms = float(await shown.json_value())
        await asyncio.sleep(AFTER_S)  # the outline of the land comes after the cells
        paint_ms = float(await page.evaluate(PAINT))
        got = float(await page.evaluate(BYTES))
    finally:
        await context.close()
    return {"paint_s": paint_ms / 1e3, "cells_s": cells_ms / 1e3, "kb": got / 1e3}


async def measure(url: str, visits: int, progress: Progress) -> dict[str, float]:
    """All visits of all sizes, boiled down."""
    from playwright.async_api import async_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise UserError("chromium", "isn't installed", "install it: make system")
    found: dict[str, float] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            for name, size in SIZES.items():
                seen = []
                for number in range(visits):
                    progress.update(number, name)
                    seen.append(await visit(browser, url, size, ""))
                found |= boiled(seen, "" if name == "desktop" else f"{name}_")
            plain = await visit(browser, url, SIZES["desktop"], "gzip")
            found["weight_gzip_kb"] = round(plain["kb"], 1)
        finally:
            await browser.close()
    return found


def boiled(seen: list[dict[str, float]], prefix: str) -> dict[str, float]:
    """Medians of visits under the names that the bars have."""
    middle = {key: statistics.median(one[key] for one in seen) for key in seen[0]}
    return {
        f"{prefix}first_paint_s": round(middle["paint_s"], 3),
        f"{prefix}first_cells_s": round(middle["cells_s"], 3),
        f"{prefix}weight_kb": round(middle["kb"], 1),
    }


async def run(wanted: argparse.Namespace) -> dict[str, float]:
    """Measure the map that was named, or a town's."""
    progress = Progress("visits", wanted.visits)
    try:
        if wanted.url:
            return await measure(wanted.url, wanted.visits, progress)
        async with town_map(wanted.hotspots) as url:
            return await measure(url, wanted.visits, progress)
    finally:
        progress.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build the page if need be, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a running map's address, instead of a town of our own")
    parser.add_argument("--hotspots", type=int, default=40, help="of the town (default: 40)")
    parser.add_argument("--visits", type=int, default=5, help="of each size (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object")

    def work(rest: Sequence[str]) -> int:
        wanted = parser.parse_args(rest)
        if wanted.visits < 1 or wanted.hotspots < 1:
            raise UserError("--visits, --hotspots", "below one", "give a whole number from 1")
        build()
        found = asyncio.run(run(wanted))
        if wanted.json:
            print_json(found)
        else:
            for name, value in found.items():
                print(f"{name:22} {value}")
        return 0

    return run_command(work, list(argv if argv is not None else sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
