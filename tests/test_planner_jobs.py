from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from planner_helpers import world

from chain.errors import UserError
from chain.io_http import application
from coverage_map.cells import disk
from coverage_map.planning.inputs import Radio
from coverage_map.planning.io_jobs import Jobs
from coverage_map.planning.io_memory import DiskMemory
from coverage_map.planning.io_population import read_population
from coverage_map.planning.io_routes import add_routes
from coverage_map.planning.io_world import load_world, save_world, sites_of_csv
from coverage_map.planning.population import make_population
from coverage_map.planning.processes import PROCESSES, execute
from coverage_map.planning.reward import Economy
from coverage_map.planning.world import NEWEST, World

AREA = {"lat": 47.0, "lon": 8.0, "radius_m": 2_500}
PLACING = {"area": AREA, "count": 2, "res": 9, "candidate_res": 9}


def full_world() -> World:
    around = world(4)
    scenes = {(NEWEST, 9): around.scene(9)}
    economy = Economy("testbed", {5: 7}, {6: 8}, 44, 3)
    people = make_population(disk(47.0, 8.0, 2_000.0, 8), np.ones(len(disk(47.0, 8.0, 2_000.0, 8))))
    return replace(around, scenes=scenes, economy=economy, population=people, trusted=(1, 2))


def test_a_world_comes_back_from_its_file(tmp_path: Path) -> None:
    before = full_world()
    save_world(tmp_path / "world.npz", before)
    after = load_world(tmp_path / "world.npz")
    assert (after.sites, after.economy, after.trusted) == (
        before.sites, before.economy, before.trusted,
    )  # fmt: skip
    asked = {"area": AREA, "res": 9}
    assert execute("gap-analysis", asked, after) == execute("gap-analysis", asked, before)


def serve(folder: Path, ask: Callable[[TestClient[Any, Any], Jobs], Awaitable[None]]) -> None:
    """A service with the planner's routes only, asked over loopback."""

    async def run() -> None:
        app = application()
        jobs = Jobs(folder)

        async def world_of(_snapshots: Sequence[str], _resolution: int) -> World:
            return full_world()

        add_routes(app, jobs, world_of)
        async with TestClient(TestServer(app)) as client:
            await ask(client, jobs)

    asyncio.run(run())


async def finished(client: TestClient[Any, Any], job: str) -> dict[str, Any]:
    for _ in range(2_000):
        answer = await client.get(f"/jobs/{job}")
        status: dict[str, Any] = await answer.json()
        if status["status"] not in ("accepted", "running"):
            return status
        await asyncio.sleep(0.1)
    raise AssertionError("the job doesn't end")


def test_a_job_from_execution_to_results(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], _: Jobs) -> None:
        listed = await (await client.get("/processes")).json()
        assert [p["id"] for p in listed["processes"]] == list(PROCESSES)
        told = await client.post("/processes/place-sites/execution", json={"inputs": PLACING})
        assert told.status == 201
        job = (await told.json())["jobID"]
        assert told.headers["Location"] == f"/jobs/{job}"
        early = await client.get(f"/jobs/{job}/results")
        assert early.status in (200, 404)
        status = await finished(client, job)
        assert (status["status"], status["progress"]) == ("successful", 100)
        result = (await (await client.get(f"/jobs/{job}/results")).json())["result"]
        assert result == json.loads(json.dumps(execute("place-sites", PLACING, full_world())))
        gone = await (await client.delete(f"/jobs/{job}")).json()
        assert gone["status"] == "dismissed"
        assert (await client.get(f"/jobs/{job}/results")).status == 404

    serve(tmp_path, ask)


def test_what_is_wrong_is_said_before_a_job_begins(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], jobs: Jobs) -> None:
        where = "/processes/place-sites/execution"
        for body, field in (
            ({"inputs": {**PLACING, "count": -1}}, "count"),
            ({"inputs": {**PLACING, "wings": 1}}, "wings"),
            ({"inputs": {**PLACING, "model": "itm"}}, "model"),
            ({"inputs": []}, "inputs"),
            ([], "inputs"),
        ):
            refused = await client.post(where, json=body)
            assert refused.status == 400
            assert refused.content_type == "application/problem+json"
            assert (await refused.json())["field"] == field
        assert (await client.post(where, data=b"{")).status == 400
        assert (await client.post("/processes/nonesuch/execution", json={})).status == 404
        assert (await client.get("/processes/nonesuch")).status == 404
        assert (await client.get("/jobs/../../etc")).status == 404
        assert (await client.get("/jobs/0123456789abcdef")).status == 404
        assert (await client.get("/jobs?limit=x")).status == 400
        assert jobs.all() == []

    serve(tmp_path, ask)


def test_every_description_names_its_inputs(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], _: Jobs) -> None:
        for name, process in PROCESSES.items():
            found = await (await client.get(f"/processes/{name}")).json()
            assert set(found["inputs"]) == set(process.inputs)
            assert "async-execute" in found["jobControlOptions"]

    serve(tmp_path, ask)


def test_a_job_of_a_killed_service_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    async def begin() -> str:
        jobs = Jobs(tmp_path)
        job = jobs.submit("place-sites", PLACING, full_world())
        await asyncio.sleep(0.3)
        await jobs.close()
        return job.name

    name = asyncio.run(begin())
    assert Jobs(tmp_path).get(name).state in ("accepted", "successful")

    async def ask(client: TestClient[Any, Any], _: Jobs) -> None:
        assert (await finished(client, name))["status"] == "successful"
        result = (await (await client.get(f"/jobs/{name}/results")).json())["result"]
        assert result == json.loads(json.dumps(execute("place-sites", PLACING, full_world())))

    serve(tmp_path, ask)


def test_a_dismissed_job_stops_and_the_next_one_runs(tmp_path: Path) -> None:
    long = {**PLACING, "area": {**AREA, "radius_m": 20_000}, "res": 10, "candidate_res": 9}

    async def ask(client: TestClient[Any, Any], jobs: Jobs) -> None:
        first = jobs.submit("place-sites", long, full_world())
        second = jobs.submit("population-covered", {"area": AREA}, full_world())
        assert second.state == "accepted"
        await asyncio.sleep(0.5)
        assert jobs.dismiss(first.name).state == "dismissed"
        assert (await finished(client, second.name))["status"] == "successful"
        assert jobs.get(first.name).state == "dismissed"

    serve(tmp_path, ask)


def test_a_job_is_dismissed_by_whose_key_asked_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        jobs = Jobs(tmp_path)
        mine = jobs.submit("population-covered", {"area": AREA}, full_world(), "office").name
        anybodys = jobs.submit("population-covered", {"area": AREA}, full_world()).name
        for caller in ("", "home"):
            with pytest.raises(UserError, match="X-API-Key") as refused:
                jobs.dismiss(mine, caller)
            assert refused.value.status == 403
        assert jobs.get(mine).state != "dismissed"
        assert jobs.dismiss(mine, "office").state == "dismissed"
        assert jobs.dismiss(anybodys, "home").state == "dismissed"
        await jobs.close()

    asyncio.run(run())


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], jobs: Jobs) -> None:
        job = jobs.submit("place-sites", {**PLACING, "count": 900}, full_world())
        assert (await finished(client, job.name))["status"] == "failed"
        refused = await client.get(f"/jobs/{job.name}/results")
        assert refused.status == 400
        assert (await refused.json())["field"] == "count"

    serve(tmp_path, ask)


def test_a_report_is_a_page(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], jobs: Jobs) -> None:
        job = jobs.submit("report", {"area": AREA, "title": "Town"}, full_world())
        assert (await finished(client, job.name))["status"] == "successful"
        page = await client.get(f"/jobs/{job.name}/results?f=html")
        assert page.content_type == "text/html"
        content = await page.text()
        assert "<h1>Town</h1>" in content
        # Its own style is all that its policy lets in, so nothing may be styled in any other way.
        style = content.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in page.headers["Content-Security-Policy"]
        assert " style=" not in content

    serve(tmp_path, ask)


def test_a_full_queue_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coverage_map.planning.io_jobs.WAITING_MAX", 1)

    async def run() -> None:
        jobs = Jobs(tmp_path, running_max=0)
        jobs.submit("population-covered", {"area": AREA}, full_world())
        with pytest.raises(UserError) as refused:
            jobs.submit("population-covered", {"area": AREA}, full_world())
        assert refused.value.status == 429

    asyncio.run(run())


def test_a_damaged_part_counts_as_none(tmp_path: Path) -> None:
    memory = DiskMemory(tmp_path)
    memory.put("one", {"rows": np.arange(3)})
    found = memory.get("one")
    assert found is not None
    assert found["rows"].tolist() == [0, 1, 2]
    (tmp_path / "one.npz").write_bytes(b"PK broken")
    assert memory.get("one") is None
    assert memory.get("two") is None


# ---- layers and tables


def test_people_from_csv_parquet_and_geotiff_are_alike(tmp_path: Path) -> None:
    import pandas
    import tifffile

    table = pandas.DataFrame({"lat": [47.005, 47.015], "lon": [8.005, 8.015], "people": [30, 12]})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    counts = np.array([[0.0, 12.0], [30.0, -200.0]], np.float32)
    tifffile.imwrite(
        tmp_path / "a.tif", counts,
        extratags=[(33550, "d", 3, (0.01, 0.01, 0.0), True),
                   (33922, "d", 6, (0.0, 0.0, 0.0, 8.0, 47.02, 0.0), True)],
    )  # fmt: skip
    area = disk(47.01, 8.01, 3_000.0, 8)
    layers = [read_population(tmp_path / f"a.{kind}") for kind in ("csv", "parquet", "tif")]
    assert [layer.at(area).sum() for layer in layers] == pytest.approx([42.0, 42.0, 42.0])


def test_people_by_cell(tmp_path: Path) -> None:
    cells = disk(47.0, 8.0, 500.0, 9)
    lines = ["h3,population", *(f"{int(cell):x},2" for cell in cells)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert read_population(tmp_path / "a.csv").total() == 2.0 * len(cells)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "lat,lon\n1,2\n"), ("a.csv", "people\n3\n"), ("a.csv", "h3,people\nzz,3\n"),
     ("a.csv", "lat,lon,people\n1,2,many\n"), ("a.docx", ""),
     ("a.csv", "lat,lon,people\n99,2,3\n")],
)  # fmt: skip
def test_a_layer_that_can_not_be_read_says_why(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as refused:
        read_population(tmp_path / name)
    assert refused.value.remedy


def test_sites_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "sites.csv"
    path.write_text("Latitude,Longitude,eirp_dbm,height_m,colour\n47,8,27,12,red\n47.1,8.1,,,\n")
    sites = sites_of_csv(path, Radio(eirp_dbm=14.0))
    assert [s.eirp_cdbm for s in sites.values()] == [2_700, 1_400]
    assert [s.height_m for s in sites.values()] == [12, 8]
    path.write_text("lat,lon\n47,8\n47,x\n")
    with pytest.raises(UserError, match="line 3 lon"):
        sites_of_csv(path, Radio())
