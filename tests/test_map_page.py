"""The page in headless Chromium: loads alone, draws what the API has, obeys the keyboard."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestServer
from map_helpers import Town, ledger_app

from chain.errors import UserError
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.io_web_build import build, is_current, source_hash
from coverage_map.planning.io_provider import add_planning
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.io_web import WEB

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DESKTOP, PHONE = (1440, 900), (390, 844)
DRAWN_BYTES = 60_000  # a drawn map is a large PNG; an empty one compresses to a fraction of it
PATIENCE_MS = 120_000  # of everything in the browser: a busy machine draws in software


@dataclass
class Visit:
    """What one visit of the page saw."""

    state: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    after: dict[str, Any] = field(default_factory=dict)
    overflow: int = 0
    tools: dict[str, Any] = field(default_factory=dict)
    screenshot: Path = Path()


async def visit(browser: Any, url: str, size: tuple[int, int], scheme: str, shot: Path) -> Visit:
    seen = Visit(screenshot=shot)
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    )
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc))
    await page.goto(url)
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        while not (seen.state.get("measured") and seen.state.get("hotspots")):
            await asyncio.sleep(0.2)
            seen.state = await page.evaluate("() => window.__wavecomb")
    await page.focus("#threshold")
    for _ in range(7):
        await page.keyboard.press("ArrowRight")
    await page.focus("#find")
    await page.keyboard.type("#3")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#detail h2")
    seen.after = await page.evaluate(
        "() => ({...window.__wavecomb, title: document.querySelector('#detail h2').textContent,"
        " output: document.querySelector('#threshold-value').textContent,"
        " canvases: document.querySelectorAll('canvas').length})"
    )
    await page.keyboard.press("Escape")
    seen.after["closed"] = await page.evaluate("() => document.querySelector('#detail').hidden")
    seen.overflow = await page.evaluate(
        "() => document.documentElement.scrollWidth - window.innerWidth"
    )
    await drawn(page, shot)
    seen.tools = await use_tools(page, shot.with_suffix(".tools.png"))
    await context.close()
    return seen


async def drawn(page: Any, shot: Path) -> None:
    """A picture as soon as cells are in it: they are counted before they are drawn."""
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        while len(await page.screenshot(path=shot)) <= DRAWN_BYTES:
            continue


async def use_tools(page: Any, shot: Path) -> dict[str, Any]:
    """A site tried in the middle, two times side by side, a link to that, and what to take away."""
    told: dict[str, Any] = {}
    await page.click("#try")
    await page.focus(".maplibregl-canvas")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#detail .facts")
    told["plan"] = await page.inner_text("#detail")
    told["changes"] = (await page.evaluate("() => window.__wavecomb"))["changes"]
    await page.click("#close")
    told["pins"] = await page.evaluate("() => document.querySelectorAll('.pin').length")
    await page.click("#when")
    await page.wait_for_selector("#times:not([max='0'])")
    await page.click("#beside")
    async with asyncio.timeout(PATIENCE_MS / 1_000):
        while not told.get("before"):
            await asyncio.sleep(0.2)
            told["before"] = (await page.evaluate("() => window.__wavecomb"))["before"]
    line = page.locator("#swipe")
    told["from"] = await line.get_attribute("aria-valuenow")
    await line.press("ArrowRight")
    told["to"] = await line.get_attribute("aria-valuenow")
    await page.click("#share")
    told["link"] = page.url
    await page.click("#export")
    links = "() => [...document.querySelectorAll('.exports a')].map((a) => a.href)"
    told["exports"] = await page.evaluate(links)
    answers = [(await page.request.get(link)).status for link in told["exports"]]
    told["answers"] = answers
    await page.screenshot(path=shot)
    return told


async def tour(folder: Path) -> dict[str, Visit]:
    from playwright.async_api import async_playwright

    town = Town(16, time.time_ns() // 1_000_000 - 70_000)
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
                    "desktop": await visit(browser, url, DESKTOP, "dark", folder / "desktop.png"),
                    "phone": await visit(browser, url, PHONE, "light", folder / "phone.png"),
                }
            finally:
                await browser.close()
                town.close()


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Visit]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `make system` installs it")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the package playwright is not installed")
    if not is_current():
        pytest.skip("the page is not built: python -m coverage_map.io_web_build")
    return asyncio.run(tour(tmp_path_factory.mktemp("page")))


@pytest.fixture(params=["desktop", "phone"])
def seen(request: pytest.FixtureRequest, visits: dict[str, Visit]) -> Visit:
    return visits[str(request.param)]


def test_the_page_draws_measured_and_predicted_cells(seen: Visit) -> None:
    assert seen.state["measured"] >= 14
    assert seen.state["predicted"] > seen.state["measured"]
    assert seen.state["hotspots"] == 16


def test_the_page_logs_no_error_and_breaks_no_policy(seen: Visit) -> None:
    assert seen.errors == []


def test_the_page_asks_nobody_but_its_own_server(seen: Visit) -> None:
    assert {host.split(":")[0] for host in seen.hosts if host} == {"127.0.0.1"}


def test_the_slider_obeys_the_keyboard(seen: Visit) -> None:
    assert seen.after["threshold"] == -75
    assert seen.after["output"] == "\N{MINUS SIGN}75 dBm"


def test_a_hotspot_opens_and_closes_by_keyboard(seen: Visit) -> None:
    assert seen.after["title"] == "#3"
    assert seen.after["closed"]


def test_nothing_is_wider_than_the_screen(seen: Visit) -> None:
    assert seen.overflow <= 0


def test_the_picture_has_cells_in_it(seen: Visit) -> None:
    assert seen.screenshot.stat().st_size > DRAWN_BYTES


def test_a_site_can_be_tried_by_keyboard_and_taken_away(seen: Visit) -> None:
    assert "Would earn" in seen.tools["plan"]
    assert seen.tools["changes"] >= 0
    assert seen.tools["pins"] == 0


def test_two_times_stand_side_by_side_and_the_line_obeys_the_keyboard(seen: Visit) -> None:
    assert seen.tools["before"] > 0
    assert int(seen.tools["to"]) == int(seen.tools["from"]) + 2


def test_the_link_shows_the_same_and_what_is_exported_exists(seen: Visit) -> None:
    assert "beside=" in seen.tools["link"]
    assert "threshold=-75" in seen.tools["link"]
    assert len(seen.tools["exports"]) == 7
    assert seen.tools["answers"] == [200] * 7


# ---- without a browser ----


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def schemes() -> list[dict[str, str]]:
    css = (WEB / "src" / "style.css").read_text()
    found = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    pairs = [re.findall(r"--([\w-]+): #([0-9a-f]{3}|[0-9a-f]{6});", block) for block in found]
    return [{name: "#" + (c if len(c) == 6 else expand(c)) for name, c in x} for x in pairs]


def expand(short: str) -> str:
    return "".join(2 * digit for digit in short)


@pytest.mark.parametrize("name", ["ink", "soft", "accent-ink", "bad", "good"])
@pytest.mark.parametrize("scheme", [0, 1])
def test_text_contrast_is_wcag_aa(name: str, scheme: int) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[name], colours["card-solid"]) >= 4.5


def test_a_build_without_sources_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sources"):
        build(tmp_path)


def test_any_changed_source_makes_the_build_stale(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc", "build.mjs"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.ts").write_text("1")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "sources.sha256").write_text(source_hash(tmp_path))
    assert is_current(tmp_path)
    (tmp_path / "src" / "main.ts").write_text("2")
    assert not is_current(tmp_path)


def test_the_built_page_is_light_enough() -> None:
    """The bar is 900 kB for whoever takes gzip only; over TLS the page weighs a fifth less."""
    if not is_current():
        pytest.skip("the page is not built: python -m coverage_map.io_web_build")
    code = [x for x in (WEB / "dist").rglob("*") if x.suffix in (".js", ".css")]
    for way, most in ((".gz", 800_000), (".br", 650_000)):
        assert sum(x.with_name(x.name + way).stat().st_size for x in code) < most
