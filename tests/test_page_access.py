"""The page for those who can't see it or have no mouse: axe-core's rules, and tools on a phone."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from map_helpers import Town, ledger_app
from test_map_page import CHROMIUM, DESKTOP, FLAGS, PATIENCE_MS, PHONE

from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.io_web_build import is_current
from coverage_map.planning.io_provider import add_planning
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.io_web import WEB

AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
RULES = """async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await axe.run(document, {runOnly: {type: "tag", values: tags}});
  return found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target)}`);
}"""
EDGES = """() => [...document.querySelectorAll("#tools button")].map((button) => {
  const {left, right, height} = button.getBoundingClientRect();
  return [left, innerWidth - right, height];
})"""
PIN = """() => {
  const pin = document.querySelector(".pin");
  const {left, top, width} = pin.getBoundingClientRect();
  const panel = document.querySelector("#detail").getBoundingClientRect();
  const isBeside = panel.left >= innerWidth / 2;
  return [getComputedStyle(pin).zIndex, isBeside ? left + width < panel.left : top < panel.top];
}"""


async def look(browser: Any, url: str, size: tuple[int, int], scheme: str) -> dict[str, Any]:
    """What axe says of the page in several states, and where its tools and the pin are."""
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    )
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_function("() => window.__wavecomb?.measured > 0")
    await page.evaluate(AXE.read_text())
    seen = {"edges": await page.evaluate(EDGES), "open": await page.evaluate(RULES)}
    await page.focus(".maplibregl-canvas")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#detail h2")
    seen["cell"] = await page.evaluate(RULES)
    await page.keyboard.press("Escape")
    await page.click("#try")
    await page.focus(".maplibregl-canvas")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#detail .facts")
    await page.wait_for_function(f"() => ({PIN})()[1]")  # the map moves from under the panel
    await page.click(".apikey summary")  # with its form open
    seen["pin"], seen["plan"] = await page.evaluate(PIN), await page.evaluate(RULES)
    await page.click("#close")
    await page.click("#when")
    await page.click("#beside")
    await page.wait_for_function("() => window.__wavecomb.before > 0")
    seen["beside"] = await page.evaluate(RULES)
    seen["time"] = await page.inner_text("#time")
    seen["stopped"] = await stop_by_closing(page)
    await page.click("#bounties")
    await page.click("#choose")
    await page.focus(".maplibregl-canvas")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#offer pre")
    seen["offer"] = await page.evaluate(RULES)
    await page.click(".offers button")
    await page.wait_for_selector("#detail .bounty")
    seen["bounty"] = await page.evaluate(RULES)
    await context.close()
    return seen


async def stop_by_closing(page: Any) -> bool:
    """Start a job, close the panel at once: whether it stays closed."""
    await page.click("#best")
    await page.click("#close")
    await page.wait_for_timeout(600)
    return bool(await page.evaluate("() => document.querySelector('#detail').hidden"))


async def tour(folder: Path) -> dict[str, Any]:
    from playwright.async_api import async_playwright

    town = Town(16, time.time_ns() // 1_000_000 - 70_000)
    town.offer(3, (town.reward_cell(5),), 1)
    town.run_to(6)
    async with TestServer(ledger_app(town)) as ledger:
        sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None))
        app = make_app(sync, Hub())
        add_planning(app, sync, folder / "jobs", None, None)
        async with TestServer(app) as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=list(FLAGS), timeout=PATIENCE_MS
            )
            url = str(server.make_url("/"))
            try:
                return {
                    "desktop": await look(browser, url, DESKTOP, "light"),
                    "phone": await look(browser, url, PHONE, "dark"),
                }
            finally:
                await browser.close()
                town.close()


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `make system` installs it")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the package playwright is not installed")
    if not is_current() or not AXE.is_file():
        pytest.skip("the page is not built here: python -m coverage_map.io_web_build")
    return asyncio.run(tour(tmp_path_factory.mktemp("access")))


@pytest.fixture(params=["desktop", "phone"])
def seen(request: pytest.FixtureRequest, looks: dict[str, Any]) -> Any:
    return looks[str(request.param)]


@pytest.mark.parametrize("state", ["open", "cell", "plan", "beside", "offer", "bounty"])
def test_axe_finds_nothing_to_mend(seen: Any, state: str) -> None:
    assert seen[state] == []


def test_every_tool_is_on_the_screen_and_large_enough_to_touch(seen: Any) -> None:
    assert len(seen["edges"]) == 6
    assert all(left >= 0 and right >= 0 and height >= 32 for left, right, height in seen["edges"])


def test_the_candidate_is_above_the_cells_and_beside_the_panel(seen: Any) -> None:
    level, is_clear = seen["pin"]
    assert level == "3"  # the overlay that draws cells has 2
    assert is_clear


def test_beside_now_shows_an_earlier_time_at_once(seen: Any) -> None:
    assert seen["time"].startswith("Epoch")


def test_a_job_that_ends_by_closing_does_not_open_the_panel_again(seen: Any) -> None:
    assert seen["stopped"]
