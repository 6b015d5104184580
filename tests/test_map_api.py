"""The map's HTTP API over a real ledger service on loopback, and its command line."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h3.api.basic_str as h3
import pytest
from aiohttp.test_utils import TestClient, TestServer
from map_helpers import Town, ledger_app, until
from yarl import URL

from chain.openapi import read
from chain.proofs.log import verify_inclusion
from chain.wire import record_id_of
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.service.io_api import make_app
from coverage_map.service.io_events import Hub
from coverage_map.service.openapi import OPERATIONS, document
from coverage_map.service.parameters import LIMIT, RES

START_MS = 1_700_000_000_000
Client = TestClient[Any, Any]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    town = Town(16, START_MS)
    town.run_to(6)
    yield town
    town.close()


@asynccontextmanager
async def running(town: Town) -> AsyncIterator[tuple[Client, Sync]]:
    async with TestServer(ledger_app(town)) as ledger:
        sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None))
        async with TestClient(TestServer(make_app(sync, Hub()))) as client:
            await until(lambda: sync.snapshot and sync.snapshot.levels[10].measured.any())
            yield client, sync


def ask(town: Town, scenario: Callable[[Client, Sync], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(town) as (client, sync):
            await scenario(client, sync)

    asyncio.run(run())


async def fetch(client: Client, path: str, status: int = 200) -> Any:
    relative = str(URL(path).relative()) if URL(path).absolute else path
    async with client.get(relative) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json(content_type=None)


def test_pages_of_cells_add_up_to_all_cells(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        whole = await fetch(client, "/collections/cells/items?res=10&limit=10000")
        found, path = [], "/collections/cells/items?res=10&limit=37"
        while path:
            page = await fetch(client, path)
            assert page["numberReturned"] <= 37
            found += page["features"]
            path = next((x["href"] for x in page["links"] if x["rel"] == "next"), "")
        assert found == whole["features"]
        assert len(found) == whole["numberMatched"] > 100
        assert {f["properties"]["state"] for f in found} == {"measured", "predicted"}

    ask(town, scenario)


def test_a_measured_cell_says_so_and_a_guess_never_does(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        page = await fetch(client, "/collections/cells/items?res=10&limit=10000")
        stands = {f"{site.cell:x}" for site in town.sites}
        for feature in page["features"]:
            about = feature["properties"]
            if about["state"] == "measured":
                assert about["h3"] in stands
                assert about["count"] > 0
                assert about["devices"] > 0
            else:
                assert about["p50_dbm"] is None
                assert about["count"] == about["devices"] == 0
                assert about["value_dbm"] == about["predicted_dbm"]
        only = await fetch(client, "/collections/cells/items?res=10&min_obs=1&limit=10000")
        assert {f["properties"]["state"] for f in only["features"]} == {"measured"}

    ask(town, scenario)


def test_a_box_holds_exactly_the_centres_inside_it(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        whole = await fetch(client, "/collections/cells/items?res=10&limit=10000")
        box = (8.535, 47.368, 8.542, 47.373)
        text = ",".join(str(x) for x in box)
        part = await fetch(client, f"/collections/cells/items?res=10&limit=10000&bbox={text}")
        inside = []
        for feature in whole["features"]:
            latitude, longitude = h3.cell_to_latlng(feature["id"])
            if box[0] <= longitude <= box[2] and box[1] <= latitude <= box[3]:
                inside.append(feature["id"])
        assert [f["id"] for f in part["features"]] == inside
        assert inside

    ask(town, scenario)


def test_evidence_is_signed_and_proved_into_the_log(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        page = await fetch(client, "/collections/cells/items?res=10&min_obs=1&limit=3")
        for feature in page["features"]:
            cell = await fetch(client, f"/cells/{feature['id']}?evidence=5")
            assert 0 < len(cell["evidence"]) <= 5
            for item in cell["evidence"]:
                wire = base64.b64decode(item["wire"])
                proof = item["proof"]
                assert record_id_of(wire).hex() == item["record_id"]
                verify_inclusion(
                    proof["leaf_index"],
                    proof["tree_size"],
                    record_id_of(wire),
                    [bytes.fromhex(node) for node in proof["path"]],
                    bytes.fromhex(proof["root"]),
                )

    ask(town, scenario)


def test_a_zone_holds_the_cells_under_it(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        page = await fetch(client, "/collections/cells/items?res=10&limit=10000")
        wanted: dict[str, set[str]] = {}
        for feature in page["features"]:
            wanted.setdefault(h3.cell_to_parent(feature["id"], 6), set()).add(feature["id"])
        for zone, cells in wanted.items():
            data = await fetch(client, f"/dggs/h3/zones/{zone}/data?zone-depth=4")
            assert set(data["h3"]) == cells
            assert len({len(data[k]) for k in ("h3", "value_dbm", "count", "server")}) == 1
            assert all(h3.get_resolution(cell) < 10 for cell in data["coarser"]["h3"])

    ask(town, scenario)


def test_gaps_lie_beside_service_and_say_why(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        gaps = await fetch(client, "/collections/gaps/items?res=10&threshold_dbm=-75")
        cells = await fetch(client, "/collections/cells/items?res=10&limit=10000&threshold_dbm=-75")
        served = {
            f["id"] for f in cells["features"] if f["properties"]["service_probability"] >= 0.5
        }
        known = {f["id"]: f["properties"]["state"] for f in cells["features"]}
        assert gaps["features"]
        for gap in gaps["features"]:
            around = set(h3.grid_disk(gap["id"], 1))
            assert gap["id"] not in served
            assert len(around & served) == gap["properties"]["served_neighbours"] > 0
            assert gap["properties"]["why"].split("_")[0] == known.get(gap["id"], "unknown")

    ask(town, scenario)


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("/collections/cells/items?colour=red", 400, "colour"),
        ("/collections/cells/items?res=12", 400, "res"),
        ("/collections/cells/items?res=9&res=8", 400, "res"),
        ("/collections/cells/items?bbox=1,2,3", 400, "bbox"),
        ("/collections/cells/items?bbox=0,9,1,8", 400, "bbox"),
        ("/collections/cells/items?limit=-1", 400, "limit"),
        ("/collections/cells/items?threshold_dbm=nan", 400, "threshold_dbm"),
        ("/collections/cells/items?snapshot=0123456789abcdef", 404, "snapshot"),
        ("/collections/hotspots/items?cursor=x", 400, "cursor"),
        ("/collections/cellz/items", 404, "no 'cellz'; there are cells, hotspots"),
        ("/collections/cells/items?min_confidence=2", 400, "give a number from 0 to 1"),
        ("/collections/cells/items?f=xml", 400, "give one of json, csv, arrow, parquet"),
        ("/collections/cells/items?limit=0", 400, "from 1 on"),
        ("/cells/nonsense", 404, "h3"),
        ("/hotspots/99999", 404, "index"),
        ("/dggs/h3/zones/8a1f8ed90127fff/data?zone-depth=3", 400, "zone-depth"),
        ("/nowhere", 404, "/nowhere"),
    ],
)
def test_bad_questions_get_a_problem_that_names_the_parameter(
    town: Town, path: str, status: int, named: str
) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        async with client.get(path) as answer:
            assert answer.status == status
            assert answer.content_type == "application/problem+json"
            problem = await answer.json()
            assert problem["status"] == status
            assert named in problem["detail"]

    ask(town, scenario)


def test_a_client_that_has_it_gets_304(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        path = "/dggs/h3/zones/861f8ed97ffffff/data?zone-depth=4"
        async with client.get(path) as first:
            tag = first.headers["ETag"]
            assert first.headers["Access-Control-Allow-Origin"] == "*"
        async with client.get(path, headers={"If-None-Match": tag}) as again:
            assert again.status == 304
        async with client.get(path, headers={"If-None-Match": '"other"'}) as other:
            assert other.status == 200

    ask(town, scenario)


def test_hotspots_show_no_more_than_owners_published(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        page = await fetch(client, "/collections/hotspots/items")
        assert page["numberReturned"] == len(town.sites)
        for feature, site in zip(page["features"], town.sites, strict=True):
            longitude, latitude = feature["geometry"]["coordinates"]
            centre = h3.cell_to_latlng(f"{site.cell:x}")
            assert (latitude, longitude) == pytest.approx(centre, abs=2e-6)
        one = await fetch(client, "/hotspots/5")
        assert {link["beaconer"] for link in one["heard"]} == {5}
        assert one["earnings"]["index"] == 5

    ask(town, scenario)


def test_a_new_record_is_told(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        async with client.get("/events") as stream:
            session = town.open_session(1, 2, 77)
            town.pay(session, tokens=4_000)
            seen = b""
            async with asyncio.timeout(60):
                while b'"kind":"payment"' not in seen:
                    seen += await stream.content.readany()
            assert b"event: stats" in seen

    ask(town, scenario)


def test_a_ledger_that_goes_away_is_a_state_not_an_end(town: Town) -> None:
    async def scenario() -> None:
        ledger = TestServer(ledger_app(town))
        await ledger.start_server()
        sync = Sync(LedgerSource(str(ledger.make_url("/"))), Store(None))
        async with TestClient(TestServer(make_app(sync, Hub()))) as client:
            for wanted in ("ok", "unreachable"):
                await until(lambda state=wanted: sync.ledger.state == state)  # type: ignore[misc]
                stats = await fetch(client, "/stats")
                assert stats["ledger"]["state"] == wanted
                assert stats["hotspots"] == len(town.sites)
                await ledger.close()
            page = await fetch(client, "/collections/cells/items?limit=1")
            assert page["features"]

    asyncio.run(scenario())


def test_every_operation_is_served_and_documented(town: Town) -> None:
    async def scenario(client: Client, sync: Sync) -> None:
        served = await fetch(client, "/api")
        assert served == document(OPERATIONS, "0.1.0")
        assert served["openapi"] == "3.1.0"
        measured = await fetch(client, "/collections/cells/items?res=10&min_obs=1&limit=1")
        names = {"h3": "8a1f8ed90127fff", "cell": "861f8ed97ffffff", "index": "3", "res": "10"}
        names |= {"snapshot": sync.keeper.base.identity, "collection": "cells"}
        names |= {"z": "9", "x": "268", "y": "179", "row": "179", "col": "268"}
        coords = {"/position": "POINT(8.54 47.37)", "/area": "POLYGON((8 47,9 47,9 48))"}
        for path in served["paths"]:
            place = names | {"id": measured["features"][0]["id"]}
            if path.startswith("/snapshots"):
                place["id"] = names["snapshot"]
            asked = path
            for name, value in place.items():
                asked = asked.replace("{" + name + "}", value)
            query = {"coords": coords[path]} if path in coords else {}
            async with client.get(asked, params=query) as answer:
                assert answer.status == 200, asked
                media = served["paths"][path]["get"]["responses"]["200"]["content"]
                assert answer.content_type in [name.split(";")[0] for name in media], asked

    ask(town, scenario)


def test_parameters_have_defaults_and_refuse_by_name() -> None:
    assert read([], [RES, LIMIT]) == {"res": 9, "limit": 1_000}
    # More than the maximum is no error (OGC API Features, requirement 21).
    for text in ("10000", "10001", "9" * 40):
        assert read([("limit", text)], [LIMIT]) == {"limit": 10_000}
    refused = read([("res", "x")], [RES])
    assert getattr(refused, "reason", "") == "bad_parameter"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coverage_map.io_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'coverage'}", "PATH": "/usr/bin:/bin"},
    )


def test_a_busy_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = command("serve", "--ledger", "http://127.0.0.1:9", "--port", port)
    lines = [x for x in done.stderr.splitlines() if "not built" not in x]
    assert done.returncode == 1
    assert len(lines) == 1
    assert port in lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("serve", "--ledger", "ftp://x"), 2, "--ledger"),
        (("cells", "--url", "http://127.0.0.1:9"), 1, "--url"),
        (("cells", "--url", "nonsense"), 2, "--url"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: tuple[str, ...], code: int, named: str) -> None:
    done = command(*arguments)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr


def test_the_help_shows_examples() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / "coverage/coverage_map/web/package-lock.json").read_text())
    assert len(lock["packages"]) > 20
    for name, package in lock["packages"].items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")
