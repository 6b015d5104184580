"""The planner's routes: documented, served and described in docs by one table."""

from __future__ import annotations

import re
from pathlib import Path

import openapi_spec_validator

from coverage_map.planning.io_routes import Planning
from coverage_map.planning.openapi import ROUTES
from coverage_map.planning.processes import PROCESSES
from coverage_map.service.openapi import OPERATIONS, document, document_3_0

DOCS = Path(__file__).parent.parent / "docs"


def test_the_planners_page_lists_every_route_with_its_parameters() -> None:
    rows = re.findall(
        r"^\| `(GET|POST|DELETE) (/[^`]*)` \|([^|]*)\|",
        (DOCS / "planner.md").read_text(), re.MULTILINE,
    )  # fmt: skip
    listed = {(method, path): re.findall(r"`(\w+)`", names) for method, path, names in rows}
    wanted = {
        (route.method, route.path): [
            p.name for p in route.parameters if p.name not in route.path_names
        ]
        for route in ROUTES
    }
    assert listed == wanted


def test_the_apis_page_leads_to_the_planners() -> None:
    assert "](planner.md)" in (DOCS / "map-api.md").read_text()


def test_every_route_has_its_handler() -> None:
    assert all(callable(getattr(Planning, route.handler)) for route in ROUTES)


def test_both_documents_hold_the_planner_only_where_it_is_served() -> None:
    for make in (document, document_3_0):
        with_it, without = make(OPERATIONS, "1", planner=True), make(OPERATIONS, "1")
        openapi_spec_validator.validate(with_it)
        added = set(with_it["paths"]) - set(without["paths"])
        assert added == {route.path for route in ROUTES}


def test_asking_is_documented_with_all_that_may_be_answered() -> None:
    execute = document(OPERATIONS, "1", planner=True)["paths"]["/processes/{process}/execution"]
    post = execute["post"]
    assert set(post["responses"]) == {"201", "400", "401", "404", "413", "429", "503"}
    assert post["parameters"][0]["schema"]["enum"] == list(PROCESSES)
    assert post["security"] == [{"key": []}, {}]
