"""The owner's screen: the page answers from the daemon's loop, alone, on a phone, with ages."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import select
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doors_helpers import wait_for
from owner_helpers import Running, running_hotspot

from chain.rules.verdicts import REASONS
from hotspot.io_page import CONNECTIONS_MAX, REQUEST_MAX_BYTES, Page, answer, is_local_name
from hotspot.io_wake import Loop
from hotspot.readings import KEPT, NEIGHBOURS_MAX, Readings
from hotspot.screen import REPORTED, age_text, main_html, metrics_text, page_html, terminal_lines

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECOND = 1_000_000_000
REFRESHED = "() => performance.getEntriesByType('resource').some(e => e.name.endsWith('/main'))"


def sample_status() -> dict[str, Any]:
    """A status with everything in it: a fault, neighbours with and without levels, earnings."""
    row = {"best_dbm": -50, "median_dbm": -60, "worst_dbm": -80, "readings": 9, "age_s": 7}
    return {
        "at_ms": 2_000_000, "started_ms": 1_000_000, "pid": 1, "key": "ab" * 32,
        "owner": "cd" * 32, "index": 4, "epoch": 17, "radio": "monitor interface <mon0>",
        "state": {"name": "BEACON", "reason": "beacons in epoch 17", "age_s": 7_300},
        "faults": {"LEDGER_DOWN": {"detail": "refused & away", "age_s": 90, "since_ms": 1,
                                   "remedy": "check the internet connection"}},
        "clock": {"synchronised": False, "believed": True, "doubt": "", "boot_id": "x",
                  "boot_s": 99, "waiting_frames": 0, "dropped_frames": 0},
        "radio_counts": {"received": 5, "dropped": 3}, "last_frame_age_s": 7,
        "next": {"beacon_in_s": 12, "report_in_s": None},
        "counts": {"beacons": 8, "heard": 31, "messages": 2},
        "queue": {"new": 5, "delivered": 1, "refused": 0, "receptions": 3, "dropped": 2,
                  "bytes": 4_096, "limit_bytes": 40 << 20},
        "heard": {"2": {"index": 2, "rssi_dbm": -61, **row},
                  "9": {**row, "index": 9, "rssi_dbm": None}},
        "ledger": {"url": "unix:x", "age_s": 33, "epoch": 17, "earned_ucr": 1_500_000,
                   "bond_ucr": 0, "trust_ppm": 2_500, "balance_ucr": 7,
                   "why": {"as_beaconer": {"beacons": {"paid": 3, "unheard": 1}},
                           "as_witness": {"counted": 5},
                           "payments": [{"epoch": 12, "kind": "coverage",
                                         "amount_ucr": 250_000}]}},
    }  # fmt: skip


def ask(text: str) -> tuple[int, str]:
    reply = answer(text.encode(), sample_status).decode()
    head, body = reply.split("\r\n\r\n", 1)
    return int(head.split()[1]), body


def test_every_verdict_on_a_report_has_words_for_people() -> None:
    assert set(REPORTED) == set(REASONS)
    assert all("_" not in words for words in REPORTED.values())


def test_the_screen_names_fault_remedy_age_and_reason_of_pay() -> None:
    page = main_html(sample_status())
    for words in (
        *("LEDGER_DOWN", "refused &amp; away", "since 90 s", "check the internet connection"),
        *("-61", "-80 to -50", "counted and paid", "0.250\u00a0credits", "33 s ago"),
        *("&lt;mon0&gt;", "for 2 h"),
    ):
        assert words in page, words
    assert "<mon0>" not in page


def test_terminal_lines_fit_and_say_the_same() -> None:
    lines = terminal_lines(sample_status(), 3, width=72)
    assert max(map(len, lines)) <= 72
    text = "\n".join(lines)
    for words in ("LEDGER_DOWN", "to do: check the internet", "-61", "1.500 credits", "no level"):
        assert words in text, words


def test_metrics_are_prometheus_text() -> None:
    lines = metrics_text(sample_status()).splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["wavecomb_hotspot_beacons_heard_total"] == "31"
    assert values['wavecomb_hotspot_fault{fault="LEDGER_DOWN"}'] == "1"
    assert values['wavecomb_hotspot_neighbour_rssi_dbm{hotspot="2"}'] == "-61"
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {name.split("{")[0] for name in values} <= typed
    assert float(values["wavecomb_hotspot_queue_dropped_total"]) == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:8710\r\n\r\n", 200),
        ("GET /json?x=1 HTTP/1.0\r\nhost: router.lan\r\n\r\n", 200),
        ("HEAD / HTTP/1.1\r\nHost: [::1]:8710\r\n\r\n", 200),
        ("GET /secret HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\x00\xff\r\n\r\n", 400),
    ],
)
def test_answers(text: str, code: int) -> None:
    assert ask(text)[0] == code


def test_names_of_the_outside_world_are_refused() -> None:
    good = ("127.0.0.1", "192.168.1.1:8710", "openwrt", "openwrt.lan:80", "[fe80::1]", "x.local")
    assert all(is_local_name(name) for name in good)
    assert not any(is_local_name(name) for name in ("a.example", "127.0.0.1.nip.io", "1.2.3"))


def test_slow_and_greedy_visitors_are_cut_off_and_the_page_goes_on() -> None:
    loop = Loop()
    page = Page(("127.0.0.1", 0), loop, sample_status)

    def turn_until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, "it never came"
            loop.wait(0.002)

    def is_open(caller: socket.socket) -> bool:
        return caller.getsockname() in {peer.getpeername() for peer in page._open}

    def answered(caller: socket.socket) -> bytes:
        news = select.poll()  # files of any number, unlike select
        news.register(caller, select.POLLIN)
        turn_until(lambda: bool(news.poll(0)))
        return caller.recv(1 << 16)

    idle = []
    for _ in range(CONNECTIONS_MAX + 4):
        idle.append(socket.create_connection(("127.0.0.1", page.port), timeout=60))
        turn_until(lambda: is_open(idle[-1]))
    assert len(page._open) == CONNECTIONS_MAX
    assert [answered(oldest) for oldest in idle[:4]] == [b""] * 4
    greedy = socket.create_connection(("127.0.0.1", page.port))
    greedy.sendall(b"x" * (REQUEST_MAX_BYTES + 1))
    assert answered(greedy) == b""
    good = socket.create_connection(("127.0.0.1", page.port))
    good.sendall(b"GET /json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answered(good).startswith(b"HTTP/1.1 200 OK")
    for each in (*idle, greedy, good):
        each.close()
    page.close()
    assert not loop._readers
    loop.close()


def test_ages_are_short() -> None:
    assert [age_text(s) for s in (None, 0, 119, 120, 7_200, 172_800)] == [
        *("-", "0 s", "119 s", "2 min", "2 h", "2 d"),
    ]


def test_readings_keep_the_newest_and_forget_who_is_silent_longest() -> None:
    readings = Readings()
    for n in range(NEIGHBOURS_MAX + 1):
        readings.note(n, -40 - n % 50, n * SECOND)
    assert 0 not in readings.indexes()
    for level in [None, *[-70] * KEPT]:
        readings.note(5, level, 400 * SECOND)
    row = next(row for row in readings.rows(405 * SECOND) if row.index == 5)
    assert (row.readings, row.median_dbm, row.age_s) == (KEPT, -70, 5)
    assert readings.heard_since(300 * SECOND) == 1
    levels = [row.rssi_dbm for row in readings.rows(405 * SECOND)]
    assert levels == sorted(levels, key=lambda level: -(level or -999))


# --- the daemon as shipped ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_hotspot(tmp_path_factory.mktemp("owner")) as running:
        yield running


def test_the_running_hotspot_says_why_it_does_not_beacon_yet(spot: Running) -> None:
    wait_for("the ledger's word", lambda: spot.status()["ledger"]["age_s"] is not None)
    status = spot.status()
    assert status["state"]["name"] in ("LISTEN", "BEACON")
    assert "epoch" in status["state"]["reason"]
    assert status["faults"] == {}
    assert status["clock"]["believed"] is True
    assert len(status["clock"]["boot_id"]) == 36
    assert status["radio_counts"]["received"] == 1
    assert status["ledger"]["balance_ucr"] == 0


def test_json_metrics_and_policy(spot: Running) -> None:
    code, text, headers = spot.get("/metrics")
    assert code == 200
    assert "wavecomb_hotspot_epoch" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert spot.get("/", host="evil.example")[0] == 403
    assert json.loads(spot.get("/json")[1])["key"]


async def photograph(url: str, shot: Path) -> dict[str, Any]:
    from playwright.async_api import async_playwright

    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        await page.goto(url)
        await page.wait_for_selector(".state")
        async with asyncio.timeout(60):
            while not await page.evaluate(REFRESHED):
                await page.wait_for_timeout(100)
        seen = await page.evaluate(
            "() => ({overflow: document.documentElement.scrollWidth - window.innerWidth,"
            " text: document.body.innerText, font: getComputedStyle(document.body).fontSize,"
            " lost: getComputedStyle(document.getElementById('lost')).display,"
            " files: performance.getEntriesByType('resource').map(e => e.name)})"
        )
        await page.screenshot(path=shot, full_page=True)
        await browser.close()
    return {**seen, "errors": errors}


def test_the_page_reads_well_on_a_phone(spot: Running, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `make system` installs it")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the package playwright is not installed")
    url = f"http://127.0.0.1:{spot.port}/"
    seen = asyncio.run(photograph(url, tmp_path / "phone.png"))
    assert seen["errors"] == []
    assert seen["overflow"] <= 0
    assert seen["lost"] == "none"
    assert seen["font"] == "16px"
    for heading in ("Neighbours heard", "Earnings, and why", "Work", "Machine"):
        assert heading in seen["text"]
    assert all(name.startswith((url, "data:")) for name in seen["files"])
    assert any(name.endswith("/main") for name in seen["files"]), "the script refreshed it"
    assert (tmp_path / "phone.png").stat().st_size > 10_000
    assert "refresh" in page_html(spot.status()), "without script it refreshes too"
