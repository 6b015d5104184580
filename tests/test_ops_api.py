"""The table of routes is the API: every route answers as its schema says, and nothing else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from chain.io_client import LedgerClient
from chain.openapi import JSON, PROBLEM, Route
from chain.packed import Entry, pack_entries
from chain.service.api import ROUTES, get_api_document
from chain.state import BountyCell, OpenClaim, State

from .ops_helpers import Running, town_on_disk, with_checkpoint


def open_claim_and_bounty(state: State) -> None:
    """Rows as the rules leave them; this town has neither by itself."""
    hashed = bytes(range(32))
    entries = pack_entries([Entry(session, 1, 2, 0, 0) for session in (0, 4, 9)])
    state.claims[0] = OpenClaim(0, 1, 11, 12, 18, hashed, 77, entries, b"\x05", b"\x04", b"\x01")
    state.bounties[0x881F1D4887FFFFF, 0] = BountyCell(hashed, 900, 100, 80)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        service = Running(folder, town_on_disk(folder, 12), patch, with_checkpoint)
        service.on_loop(lambda: open_claim_and_bounty(service.durable.ledger.state))
        yield service
        service.close()


def examples(running: Running, route: Route) -> Iterator[tuple[str, bytes | None]]:
    """Good requests to a route: every value that a path may hold, the query's required ones."""
    state = running.durable.ledger.state
    newest = running.durable.store.rows("SELECT id FROM records ORDER BY seq DESC LIMIT 1")[0]
    values: dict[str, list[str]] = {
        "key": [running.town.owner(0).hex(), "ab" * 32],
        "epoch": ["3"] if "mix" not in route.path else ["12"],
        "index": ["0"],
        "old": ["3"],
        "number": ["0"],
        "id": ["0", state.hotspots[1].key.hex()],
        "path": ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/9", "balances/1/top"],
    }
    if route.path == "/v1/records/{id}":
        values["id"] = [newest["id"].hex(), newest["id"].hex().upper()]
    if route.handler == "get_account_proof":
        values["key"] = [running.town.owner(0).hex()]
    if route.path == "/v1/promises/{id}":
        wire = running.town.deposit(0, reference=b"promised").wire
        with LedgerClient(running.url) as client:
            values["id"] = [client.submit_promised([wire])[0].record_id.hex()]
    if route.handler == "get_explain":
        values["id"] += ["0:3:0", newest["id"].hex(), running.town.owner(0).hex()]
    body = None
    if route.body is not None:
        wire = running.town.deposit(0, reference=b"contract").wire
        body = json.dumps({"records": [base64.b64encode(wire).decode(), "AAAA"]}).encode()
    for number in range(max([len(values[name]) for name in route.path_names] or [1])):
        path = route.path
        for name in route.path_names:
            path = path.replace(f"{{{name}}}", values[name][number % len(values[name])])
        required = [p.name for p in route.parameters if p.required and p.name in values]
        query = [f"{name}={values[name][0]}" for name in required if name not in route.path_names]
        yield path + ("?" + "&".join(query) if query else ""), body


def check(route: Route, schema: Any, value: Any) -> None:
    problems = list(Draft202012Validator(dict(schema)).iter_errors(value))
    assert not problems, (route.path, [p.message for p in problems[:3]])


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_every_route_answers_as_its_schema_says(running: Running, route: Route) -> None:
    for path, body in examples(running, route):
        status, headers, raw = running.ask(route.method, path, body)
        assert status == 200, (path, raw)
        media = "text/plain" if path.endswith("checkpoint") else route.media.split(";")[0]
        assert headers["Content-Type"].split(";")[0] == media
        if route.media == JSON:
            check(route, route.answer or {"type": "object"}, json.loads(raw))


def test_claims_are_shown_as_one_finds_them_in_the_state(running: Running) -> None:
    _, listed = running.json("GET", "/v1/claims")
    _, one = running.json("GET", "/v1/claims/0")
    assert listed == {"claims": [one]}
    assert (one["sessions"], one["drawn"], one["disputed"], one["opened"]) == (3, [0, 2], [2], [0])


def bad_requests(route: Route) -> Iterator[tuple[str, bytes | None, set[str]]]:
    """Requests that the table forbids, and the fields that may be blamed."""
    path = re.sub(r"{\w+}", "~", route.path)
    if route.handler not in ("get_log",):
        for parameter in route.parameters:
            if parameter.name in route.path_names and parameter.parse("~") is None:
                yield path, None, {parameter.name}
    plain = re.sub(r"{\w+}", "0", route.path)
    if not route.path_names:
        body = b'{"records": []}' if route.body else None
        yield f"{plain}?nonsense=1", body, {"nonsense"}
        for parameter in route.parameters:
            yield f"{plain}?{parameter.name}=1&{parameter.name}=1", body, {parameter.name}
            if parameter.schema.get("type") == "integer":
                for text in ("-1", "x", "1.5", "9" * 30, "%00"):
                    yield f"{plain}?{parameter.name}={text}", body, {parameter.name}
    if route.body is not None:
        for raw in (b"", b"[]", b"{}", b'{"records": [1]}', b'{"records": "AA=="}', b"[" * 9000):
            yield plain, raw, {"body", "records"}
        yield plain, b'{"records": [], "more": 1}', {"more"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_every_route_refuses_what_the_table_forbids(running: Running, route: Route) -> None:
    for path, body, fields in bad_requests(route):
        status, headers, raw = running.ask(route.method, path, body)
        problem = json.loads(raw)
        assert (status, headers["Content-Type"].split(";")[0]) == (400, PROBLEM), (path, raw)
        assert problem["field"] in fields, (path, problem)
        assert re.fullmatch(r"\S+: .+; .+", problem["detail"]), problem


def test_the_document_is_valid_openapi_and_is_what_is_served(running: Running) -> None:
    status, document = running.json("GET", "/openapi.json")
    assert status == 200
    assert document == json.loads(json.dumps(get_api_document()))
    validate(document)
    assert set(document["paths"]) == {route.path for route in ROUTES}


def test_every_documented_answer_of_a_route_is_a_status_that_it_may_give() -> None:
    for path, item in get_api_document()["paths"].items():
        for operation in item.values():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert "200" in operation["responses"]
            assert "404" in operation["responses"] or not named
            if operation["parameters"]:
                assert "400" in operation["responses"]


def test_the_service_has_no_route_beside_the_table(running: Running) -> None:
    served = {
        (route.method, re.sub(r":[^}]*}", "}", route.resource.canonical))
        for route in running.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert served == {(route.method, route.path) for route in ROUTES}


def test_the_maps_document_is_valid_too() -> None:
    from coverage_map.service.openapi import OPERATIONS, document

    validate(document(OPERATIONS, "1"))


def test_a_body_beyond_the_limit_is_413_before_it_is_read(running: Running) -> None:
    huge = {"Content-Length": str(1 << 30)}
    assert running.port is not None
    status, _, raw = running.ask("POST", "/v1/records", b"{" + b" " * (1 << 24), huge and {})
    assert (status, json.loads(raw)["status"]) == (413, 413)


def test_the_folder_stays_as_it_was(running: Running) -> None:
    assert Path(running.durable.store.path).is_file()
