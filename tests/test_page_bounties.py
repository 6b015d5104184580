"""Bounties and keys on the page, in headless Chromium: the layer, the command, 401 and 429."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shlex
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestServer
from map_helpers import Town, ledger_app
from test_map_page import CHROMIUM, DESKTOP, FLAGS, PATIENCE_MS

from coverage_map import cells, io_cli
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.io_web_build import is_current
from coverage_map.planning.io_provider import add_planning
from coverage_map.service import io_keys
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.limits import Rate
from coverage_map.store.io_keeper import Keeper

STATE = "() => window.__wavecomb"
KEPT = "() => [sessionStorage.getItem('wavecomb-key'), localStorage.length, document.cookie]"


@dataclass
class Seen:
    """What one tour of the page saw."""

    said: dict[str, str] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)
    keyed: set[str] = field(default_factory=set)  # paths asked with a key
    kept: list[Any] = field(default_factory=list)
    offered: tuple[int, ...] = ()


async def try_a_site(page: Any) -> None:
    await page.click("#try")
    await page.focus(".maplibregl-canvas")
    await page.keyboard.press("Enter")


async def give_key(page: Any, key: str) -> None:
    await page.fill("#key", key)
    await page.keyboard.press("Enter")


async def be_refused(page: Any, seen: Seen, key: str) -> None:
    """Without a key, with a wrong one, with the right one, and then too often."""
    await try_a_site(page)
    await page.wait_for_selector("#key:visible")
    seen.said["no key"] = await page.inner_text("#detail")
    await give_key(page, "wcm_wrong")
    await page.wait_for_selector("#detail .note:has-text('not known')")
    await give_key(page, key)
    await page.wait_for_selector("#detail .facts")
    seen.said["with key"] = await page.inner_text("#detail")
    seen.kept = await page.evaluate(KEPT)
    enough, io_keys.WITH_KEY = io_keys.WITH_KEY, Rate(0.0, 2.0)
    await page.click("#close")
    await try_a_site(page)
    await page.wait_for_selector("#detail button:disabled")
    seen.said["too often"] = await page.inner_text("#detail")
    io_keys.WITH_KEY = enough
    await page.click("#detail button:has-text('Ask again')")  # waits until it can be clicked
    await page.wait_for_selector("#detail .facts")
    await page.click("#close")


async def offer(page: Any, seen: Seen) -> None:
    """The layer, an offer's card, cells that are chosen, the command, and all of it put away."""
    await page.click("#bounties")
    await page.wait_for_selector(".offers button")
    seen.states["on"] = await page.evaluate(STATE)
    await page.click("#choose")
    await page.focus(".maplibregl-canvas")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#offer pre")
    seen.said["command"] = await page.inner_text("#offer code")
    seen.states["chosen"] = await page.evaluate(STATE)
    await page.click("#gaps")
    await page.wait_for_selector(".gaps button")
    await page.click(".gaps button")
    seen.said["gap"] = await page.inner_text("#offer code")
    await page.fill("[name=amount]", "0.5")
    seen.said["wrong"] = await page.inner_text("#offer")
    await page.fill("[name=most]", "0.25")
    await page.fill("[name=until]", "77")
    await page.fill("[name=file]", "my keys/own.key")
    seen.said["terms"] = await page.inner_text("#offer code")
    await page.click(".offers button")
    await page.wait_for_selector("#detail .bounty")
    seen.said["card"] = await page.inner_text("#detail .bounty")
    await page.click("#bounties")
    await page.wait_for_function("() => window.__wavecomb.offers === 0")
    seen.states["off"] = await page.evaluate(STATE)


async def tour(folder: Path) -> Seen:
    from playwright.async_api import async_playwright

    town, seen = Town(16, time.time_ns() // 1_000_000 - 70_000), Seen()
    seen.offered = (town.reward_cell(5), cells.cell_at(47.372, 8.56, 8))
    town.offer(3, seen.offered[:1], 1)
    town.offer(3, seen.offered[1:], 2, amount_ucr=7_500_000)
    town.run_to(6)
    key = io_keys.Keys(folder).create("office")
    async with TestServer(ledger_app(town)) as ledger:
        sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None), Keeper(folder))
        app = make_app(sync, Hub())
        add_planning(app, sync, folder / "jobs", None, None)
        async with TestServer(app) as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=list(FLAGS), timeout=PATIENCE_MS
            )
            try:
                context = await browser.new_context(
                    viewport={"width": DESKTOP[0], "height": DESKTOP[1]}
                )
                context.set_default_timeout(PATIENCE_MS)
                page = await context.new_page()
                page.on("request", lambda request: seen.keyed.add(urlsplit(request.url).path)
                        if "x-api-key" in request.headers else None)  # fmt: skip
                await page.goto(str(server.make_url("/")))
                await page.wait_for_function("() => window.__wavecomb?.measured > 0")
                await be_refused(page, seen, key)
                await offer(page, seen)
                other = await context.new_page()
                await other.goto(str(server.make_url("/icon.svg")))
                seen.kept += await other.evaluate("() => [sessionStorage.length]")
            finally:
                await browser.close()
                town.close()
    seen.said["key"] = key
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `make system` installs it")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the package playwright is not installed")
    if not is_current():
        pytest.skip("the page is not built: python -m coverage_map.io_web_build")
    return asyncio.run(tour(tmp_path_factory.mktemp("bounties")))


def cells_of(command: str) -> list[str]:
    """The cells that a command of the page names, as the command itself reads them."""
    words = shlex.split(command)
    return [after for word, after in pairwise(words) if word == "--cell"]


def test_without_a_key_the_page_asks_for_one(seen: Seen) -> None:
    assert "This needs a key" in seen.said["no key"]
    assert "planning jobs need a key" in seen.said["no key"]


def test_with_the_key_the_same_question_goes_on(seen: Seen) -> None:
    assert "Would earn" in seen.said["with key"]


def test_the_key_stays_in_its_tab_and_goes_to_planning_only(seen: Seen) -> None:
    assert seen.kept == [seen.said["key"], 0, "", 0]
    assert seen.keyed
    assert all(path.startswith(("/processes/", "/jobs/")) for path in seen.keyed)


def test_too_many_questions_say_when_to_ask_again(seen: Seen) -> None:
    assert "Too many questions" in seen.said["too often"]
    assert "In 5 s" in seen.said["too often"]


def test_the_layer_comes_and_goes(seen: Seen) -> None:
    assert seen.states["on"]["offers"] == 2
    assert (seen.states["off"]["offers"], seen.states["off"]["picked"]) == (0, 0)


def test_the_card_says_what_is_paid_and_what_to_do(seen: Seen) -> None:
    assert f"cell {seen.offered[1]:x}" in seen.said["card"]
    assert "7.5 credits" in seen.said["card"]
    assert "Nobody stands in this cell yet" in seen.said["card"]
    latitude, longitude = cells.centre(seen.offered[1])
    assert f"--lat {latitude:.5f} --lon {longitude:.5f}" in seen.said["card"]


@pytest.mark.parametrize("name", ["command", "gap", "terms"])
def test_the_command_is_one_that_the_command_line_takes(
    seen: Seen, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program, part, *words = shlex.split(seen.said[name])
    assert (program, part) == ("wavecomb", "map")
    assert io_cli.main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == cells_of(seen.said[name])


def test_cells_are_chosen_on_the_map_and_by_gaps(seen: Seen) -> None:
    assert seen.states["chosen"]["picked"] == len(cells_of(seen.said["command"])) == 1
    assert set(cells_of(seen.said["gap"])) > set(cells_of(seen.said["command"]))


def test_terms_that_the_ledger_would_refuse_are_named_first(seen: Seen) -> None:
    assert "no more than the whole" in seen.said["wrong"]
    words = shlex.split(seen.said["terms"])
    given = dict(zip(words[-8::2], words[-7::2], strict=True))
    assert given == {
        "--key": "my keys/own.key", "--amount-ucr": "500000",
        "--per-settlement-ucr": "250000", "--until-epoch": "77",
    }  # fmt: skip
