"""A real gateway process: its telemetry is there after kill -9, and insights come over HTTP."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_helpers import Air, GatewayProcess, Town, wait_for

from routing.io_cli import main as routing_main
from routing.telemetry.io_telemetry import TelemetryFolder
from routing.telemetry.long_history import LongHistory, Row
from routing.telemetry.second import FIELDS

MINUTE = 60_000
HEAVY = {"rate_kbps": 20_000, "load_kbps": 4_500, "busy_permille": 900, "rtt_us": 3_000}


def remember(folder: Path, minutes: int) -> int:
    """Write minutes until now of a full relay, hotspot 1 between 0 and 2; rows written."""
    history, now = LongHistory(), time.time_ns() // 1_000_000
    first = now // MINUTE - minutes
    numbers = tuple(HEAVY.get(name, 0) for name in FIELDS)
    rows = [
        Row(MINUTE * (first + minute), link, numbers)
        for minute in range(minutes)
        for link in ((0, 1), (1, 0), (1, 2), (2, 1))
    ]
    assert all(history.restore(row) for row in rows)
    return TelemetryFolder(folder).write(rows, now)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    town = Town(tmp_path_factory.mktemp("town"))
    town.open(2)
    air = Air(town, {1: {0}}, {frozenset((0, 1))}, 0)
    try:
        process = GatewayProcess(town, 0, [1], air.address)
        remember(process.folder / "telemetry", 240)
        process.kill_and_restart()
        yield process
    finally:
        air.close()
        town.close()


def get(gateway: GatewayProcess, path: str) -> Any:
    connection = http.client.HTTPConnection(gateway.url.split("/")[2], timeout=120)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())
    finally:
        connection.close()


def test_what_was_kept_is_there_and_the_plan_s_state_is_told(gateway: GatewayProcess) -> None:
    routing = get(gateway, "/json")["routing"]
    assert routing["telemetry"]["links"] == 4
    assert routing["telemetry"]["minutes"] >= 960
    assert "problem" in routing["plan"] or "version" in routing["plan"]
    assert routing["expert"] in ("shortest_path", "no_model", "plan")
    wait_for("links", lambda: get(gateway, "/json")["routing"]["links"] >= 2)


def test_insights_come_over_http_and_from_the_command(
    gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {row["kind"]: row for row in get(gateway, "/insights")["insights"]}
    assert kinds["overloaded-relay"]["hotspot"] == 1
    assert "cable" in kinds["overloaded-relay"]["remedy"]
    url = "http://" + gateway.url.split("/")[2]
    assert routing_main(["insights", "--gateway", url, "--hotspot", "1"]) == 0
    assert "overloaded-relay, hotspot 1" in capsys.readouterr().out
