"""The Python client and its example notebook against a running map."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from map_helpers import Town, ledger_app, until

from chain.errors import UserError
from coverage_map.client import cells_query, cells_url, next_link, next_url, rows
from coverage_map.io_client import Map
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.planning.io_provider import add_planning
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "coverage.ipynb"


class Served:
    """A map of a small town in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self.ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.stop = asyncio.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(240)

    def _run(self) -> None:
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        town = Town(16, 1_700_000_000_000)
        town.run_to(6)
        async with TestServer(ledger_app(town)) as ledger:
            sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None))
            app = make_app(sync, Hub())
            add_planning(app, sync, self.folder / "jobs")
            async with TestServer(app) as server:
                await until(lambda: sync.snapshot and sync.snapshot.levels[10].measured.any())
                self.url = str(server.make_url("/"))
                self.ready.set()
                await self.stop.wait()
        town.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    served = Served(tmp_path_factory.mktemp("map"))
    yield served.url
    served.close()


def test_frames_tables_and_rows_say_the_same(url: str) -> None:
    city = Map(url)
    frame, table, plain = city.cells(res=9), city.cells_arrow(res=9), city.rows(res=9)
    assert len(frame) == table.num_rows == len(plain) > 20
    assert frame.index.tolist() == [row["h3"] for row in plain] == table.column("h3").to_pylist()
    assert frame["value_dbm"].tolist() == table.column("value_dbm").to_pylist()
    assert frame.crs.to_epsg() == 4326
    assert set(frame.geometry.geom_type) == {"Polygon"}
    measured = city.cells(res=10, measured_only=True)
    assert 0 < len(measured) < len(city.cells(res=10))
    assert (measured["count"] > 0).all()


def test_pages_are_followed_to_the_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    city = Map(url)
    whole, table = city.rows(res=9), city.cells_arrow(res=9)
    monkeypatch.setattr("coverage_map.client.PAGE", 7)
    assert city.rows(res=9) == whole
    again = city.cells_arrow(res=9)
    assert again.column("h3").to_pylist() == table.column("h3").to_pylist()


def test_hotspots_are_points_and_a_box_cuts(url: str) -> None:
    city = Map(url)
    hotspots = city.hotspots()
    assert len(hotspots) == 16
    assert set(hotspots.geometry.geom_type) == {"Point"}
    west, south, east, north = hotspots.total_bounds
    half = city.hotspots((west - 0.001, south - 0.001, (west + east) / 2, north + 0.001))
    assert 0 < len(half) < 16
    assert len(city.cells(bbox=(0.0, 0.0, 0.01, 0.01))) == 0


def test_mistakes_are_one_line(url: str) -> None:
    with pytest.raises(UserError, match=r"^url: .*; "):
        Map("map.example")
    with pytest.raises(UserError, match=r"no map answers"):
        Map("http://127.0.0.1:1").rows()
    with pytest.raises(UserError, match=r"res"):
        Map(url).rows(res=77)
    with pytest.raises(UserError, match=r"count"):
        Map(url).plan("place-sites", area={"lat": 47, "lon": 8, "radius_m": 500}, count=0)


def test_a_plan_tells_how_far_it_is(url: str) -> None:
    told: list[int] = []
    asked = {"area": {"lat": 47.37, "lon": 8.54, "radius_m": 900}, "threshold_dbm": -80}
    found = Map(url).plan("gap-analysis", lambda percent, _: told.append(percent), **asked)
    assert found["area"]["served"]["cells"] > 0
    assert all(0 <= percent <= 100 for percent in told)


def test_the_notebook_runs_from_top_to_bottom(url: str, tmp_path: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    script = tmp_path / "notebook.py"
    code.append("assert len(measured) and placed['share_of_bound'] > 0.5\n")
    script.write_text("\n\n".join(code))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "WAVECOMB_MAP": url, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of the best possible" in done.stdout


def test_pure_parts() -> None:
    assert "bbox=1.000000%2C2" in cells_url("http://a/", (1.0, 2.0, 3.0, 4.0))
    assert cells_query(threshold_dbm=-85.0, snapshot="ab")["threshold_dbm"] == "-85"
    page: dict[str, Any] = {
        "features": [{"properties": {"h3": "a", "measured": {"p50": 1}, "count": 2}}],
        "links": [{"rel": "next", "href": "/x"}],
    }
    assert list(rows(page)) == [{"h3": "a", "count": 2}]
    assert next_url(page) == "/x"
    assert next_link('<http://a/1>; rel="self", <http://a/2?c=x>; rel="next"') == "http://a/2?c=x"
    assert next_link('<http://a/1>; rel="self"') is None
