"""Keys and limits: reading is free, what costs is limited, and a key widens the limit."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import UserError
from coverage_map.service.io_keys import Keys, kind_of, limiter
from coverage_map.service.io_reply import CALLER
from coverage_map.service.limits import ANYBODY, COSTS, NS, WITH_KEY, Buckets, Rate


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3 * NS)), max_size=50))
def test_nobody_gets_more_than_a_bucket_and_what_came_back(asked: list[tuple[float, int]]) -> None:
    buckets, rate, now, given_out = Buckets(), Rate(10.0, 2.0), 0, 0.0
    for cost, pause in asked:
        now += pause
        wait_s = buckets.take("a", rate, cost, now)
        given_out += 0.0 if wait_s else cost
        assert given_out <= rate.units + rate.per_s * now / NS + 1e-6
        if wait_s:
            now += round(wait_s * NS) + 1
            assert buckets.take("a", rate, cost, now) == 0.0
            given_out += cost


def test_callers_have_buckets_of_their_own() -> None:
    buckets = Buckets()
    assert buckets.take("a", Rate(1.0, 1.0), 1.0, 0) == 0.0
    assert buckets.take("a", Rate(1.0, 1.0), 1.0, 0) == 1.0
    assert buckets.take("b", Rate(1.0, 1.0), 1.0, 0) == 0.0


def test_a_key_is_kept_as_a_hash_that_only_its_owner_may_read(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    key = keys.create("office")
    assert key not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert Keys(tmp_path).owner_of(key) == "office"
    assert keys.owner_of(key[:-1]) is None
    keys.revoke("office")
    assert keys.owner_of(key) is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65])
def test_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="name"):
        Keys(tmp_path).create(name)


def test_a_name_has_one_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.create("office")
    with pytest.raises(UserError, match="has a key"):
        keys.create("office")
    with pytest.raises(UserError, match="there are: office"):
        keys.revoke("home")


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/collections/cells/items", ""),
        ("GET", "/tiles/live/h3/851f8d93fffffff/9", ""),
        ("GET", "/collections/gaps/items", "gaps"),
        ("GET", "/exports/0123456789abcdef.pmtiles", "pmtiles"),
        ("POST", "/processes/place/execution", "job"),
        ("GET", "/jobs/0123456789abcdef", ""),
        ("GET", "/jobs/0123456789abcdef/results", ""),
        ("DELETE", "/jobs/0123456789abcdef", "dismissal"),
    ],
)
def test_only_what_costs_costs(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind
    assert not kind or COSTS[kind] > 0


def test_where_there_are_keys_jobs_need_one_and_reading_none(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=str(request.get(CALLER)))

    async def scenario() -> None:
        app = web.Application(middlewares=[limiter(Keys(tmp_path))])
        app.router.add_get("/jobs/{job}", handler)
        app.router.add_delete("/jobs/{job}", handler)
        app.router.add_post("/processes/{process}/execution", handler)
        job, ask = "/jobs/0123456789abcdef", "/processes/what-if/execution"
        async with TestClient(TestServer(app)) as client:
            assert (await client.post(ask)).status == 200  # no keys yet: open to all
            key = Keys(tmp_path).create("office")
            for refused in (await client.post(ask), await client.delete(job)):
                assert refused.status == 401
                assert refused.headers["WWW-Authenticate"].startswith("Bearer")
                assert "operator" in (await refused.json(content_type=None))["detail"]
            assert (await client.get(job)).status == 200
            known = await client.post(ask, headers={"X-API-Key": key})
            assert await known.text() == "office"

    asyncio.run(scenario())


def test_too_much_is_429_and_a_key_goes_further(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    key = keys.create("office")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def scenario() -> None:
        app = web.Application(middlewares=[limiter(keys)])
        app.router.add_get("/area", handler)
        app.router.add_get("/exports/x.pmtiles", handler)
        async with TestClient(TestServer(app)) as client:
            seen = [(await client.get("/exports/x.pmtiles")).status for _ in range(6)]
            assert seen[:4] == [200] * int(ANYBODY.units // 30)
            assert seen[-1] == 429
            refused = await client.get("/exports/x.pmtiles")
            assert 1 <= int(refused.headers["Retry-After"]) <= 15
            assert refused.headers["Access-Control-Expose-Headers"] == "Retry-After"
            assert refused.content_type == "application/problem+json"
            for name, value in (("X-API-Key", key), ("Authorization", f"Bearer {key}")):
                assert (await client.get("/area", headers={name: value})).status == 200
            assert WITH_KEY.units > ANYBODY.units
            assert (await client.get("/area", headers={"X-API-Key": "wcm_x"})).status == 401

    asyncio.run(scenario())
