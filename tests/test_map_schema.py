"""Every answer of a running map against the schema that its own OpenAPI documents give for it."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from map_helpers import Town
from map_server import running_map
from openapi_schema_validator import OAS30Validator

from coverage_map import cells
from coverage_map.planning.openapi import ROUTES
from coverage_map.service import models
from coverage_map.service.limits import Rate
from coverage_map.service.openapi import OPERATIONS

START_MS = 1_700_000_000_000
SEEN_ELSEWHERE = {"api", "api_ogc", "events"}  # documents themselves, and a stream
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Served:
    """A map's address, and what stands in the paths of its API."""

    def __init__(self, url: str, town: Town, snapshot: str) -> None:
        self.url = url
        here = town.sites[0].cell
        cell = f"{here:x}"
        zone = f"{int(cells.parents(here, 6)):x}"
        self.unknown = "8a2a1072b59ffff"
        self.places = {
            "h3": [cell, self.unknown], "cell": [zone], "index": ["0", "1"],
            "snapshot": ["live", snapshot], "id": [snapshot], "res": ["9"],
            "z": ["10"], "x": ["536"], "y": ["358"], "row": ["358"], "col": ["536"],
            "collection": ["cells", "bounties"],
        }  # fmt: skip
        self.documents = {name: self.json(name) for name in ("/api", "/api/3.0")}

    def get(self, path: str, body: Any = None, accept: str = "*/*") -> tuple[Any, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read(), answer.headers["Content-Type"].split(";")[0]

    def json(self, path: str, body: Any = None) -> Any:
        return json.loads(self.get(path, body)[0])

    def paths(self, template: str) -> list[str]:
        """A template with each of the things that may stand in it."""
        found = [template]
        for name in re.findall(r"{(\w+)}", template):
            found = [x.replace("{" + name + "}", one) for x in found for one in self.places[name]]
        return found

    def schema(self, document: str, template: str, method: str, status: str, media: str) -> Any:
        operation = self.documents[document]["paths"][template][method]
        return operation["responses"][status]["content"][media]["schema"]

    def check(self, document: str, schema: Any, answer: Any) -> None:
        components = {"components": self.documents[document]["components"]}
        kind = OAS30Validator if document.endswith("3.0") else jsonschema.Draft202012Validator
        kind({**schema, **components}).validate(answer)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    town = Town(9, START_MS)
    town.offer(2, (town.reward_cell(4),), 1)
    town.run_to(5)
    with pytest.MonkeyPatch.context() as patch, running_map(town) as (url, sync):
        patch.setattr("coverage_map.service.io_keys.ANYBODY", Rate(1e9, 1e9))  # no 429s
        yield Served(url, town, sync.keeper.base.identity)
    town.close()


QUERIES = {
    "cells": ["?res=10&limit=400", "?limit=2&min_obs=1"],
    "position": [f"?coords={quote(x)}" for x in ("POINT(8.54 47.37)", "POINT(0 0)")],
    "area": [f"?coords=POLYGON(({quote(x)}))"
             for x in ("8.5 47.3,8.6 47.3,8.6 47.4", "0 0,1 0,1 1")],
    "gaps": ["?res=10"],
    "cell": ["?evidence=3"],
}  # fmt: skip
ROUTED = [operation for operation in OPERATIONS if operation.handler not in SEEN_ELSEWHERE]


@pytest.mark.parametrize("operation", ROUTED, ids=lambda operation: operation.handler)
def test_answers_are_what_the_document_says(served: Served, operation: Any) -> None:
    paths = served.paths(operation.path) if operation.handler != "item" else items(served)
    for path in paths:
        for query in QUERIES.get(operation.handler, [""]):
            answer, media = served.get(path + query)
            for name, document in served.documents.items():
                if operation.path not in document["paths"]:
                    continue
                schema = served.schema(name, operation.path, "get", "200", media)
                if "json" in media:
                    served.check(name, schema, json.loads(answer))
                else:
                    assert schema == {"type": "string", "format": "binary"}


def items(served: Served) -> list[str]:
    """One feature of every collection."""
    found = []
    for name in ("cells", "hotspots", "gaps", "beacons", "outline", "bounties"):
        first = served.json(f"/collections/{name}/items?limit=1")["features"][0]["id"]
        found.append(f"/collections/{name}/items/{first}")
    return found


def test_planning_answers_are_what_the_document_says(served: Served) -> None:
    inputs = {"inputs": {"area": {"lat": 47.37, "lon": 8.54, "radius_m": 600}}}
    job = served.json("/processes/gap-analysis/execution", inputs)
    asked = {
        ("/processes", "get", "200"): served.json("/processes"),
        ("/processes/{process}", "get", "200"): served.json("/processes/gap-analysis"),
        ("/processes/{process}/execution", "post", "201"): job,
        ("/jobs", "get", "200"): served.json("/jobs"),
        ("/jobs/{job}", "get", "200"): served.json(f"/jobs/{job['jobID']}"),
    }
    done = {"/jobs/{job}/results"}
    assert {route.path for route in ROUTES} - done == {path for path, *_ in asked}
    for (path, method, status), answer in asked.items():
        for name in served.documents:
            schema = served.schema(name, path, method, status, "application/json")
            served.check(name, schema, answer)


def test_every_json_answer_has_a_model_and_every_model_an_answer() -> None:
    spoken = {x.handler for x in ROUTED if "json" in x.media}
    assert spoken == set(models.ANSWERS)


@pytest.mark.parametrize("name", ["/api", "/api/3.0"])
def test_a_member_that_may_be_null_says_so_and_others_do_not(served: Served, name: str) -> None:
    record = served.documents[name]["components"]["schemas"]["CellRecord"]["properties"]
    null = {"3.1": {"type": ["integer", "null"], "minimum": 0},
            "3.0": {"type": "integer", "nullable": True, "minimum": 0}}  # fmt: skip
    assert record["best_server"] == null["3.0" if name.endswith("3.0") else "3.1"]
    assert record["count"] == {"type": "integer", "minimum": 0}
    assert '"null"' not in json.dumps(served.documents["/api/3.0"])  # a type that 3.0 lacks


@pytest.mark.parametrize("name", ["/api", "/api/3.0"])
@pytest.mark.parametrize(
    "change", [{"count": None}, {"count": -1}, {"state": "guessed"}, {"colour": "red"}, {"h3": 7}]
)
def test_the_schema_refuses_what_is_not_so(
    served: Served, name: str, change: dict[str, Any]
) -> None:
    page = served.json("/collections/cells/items?limit=1")
    page["features"][0]["properties"] |= change
    path = "/collections/cells/items"
    schema = served.schema(name, path, "get", "200", "application/geo+json")
    with pytest.raises(jsonschema.ValidationError):
        served.check(name, schema, page)


def test_an_unknown_cell_has_the_members_of_a_known_one(served: Served) -> None:
    known, unknown = (served.json(f"/cells/{cell}") for cell in served.places["h3"])
    assert set(known) == set(unknown)
    assert (unknown["state"], unknown["value_dbm"], unknown["count"]) == ("unknown", None, 0)
