"""Other people's programs read all of it: GDAL, OWSLib, geopandas, schemathesis, OpenAPI's own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import geopandas
import openapi_spec_validator
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from map_helpers import Town
from map_server import running_map
from owslib.ogcapi.features import Features
from schemathesis.specs.openapi.checks import positive_data_acceptance

from coverage_map.planning.openapi import ROUTES
from coverage_map.service.limits import Rate

START_MS = 1_700_000_000_000
QUIET = "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
pytestmark = [pytest.mark.filterwarnings(one) for one in QUIET]

@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    town = Town(9, START_MS)
    town.offer(2, (town.reward_cell(4),), 1)
    town.run_to(5)
    with pytest.MonkeyPatch.context() as patch, running_map(town) as (address, _):
        patch.setattr("coverage_map.service.io_keys.ANYBODY", Rate(1e9, 1e9))  # no 429s
        yield address
    town.close()


def fetch(url: str, **headers: str) -> tuple[bytes, Any]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        return answer.read(), answer.headers


def matched(url: str, name: str, query: str = "") -> int:
    body, _ = fetch(f"{url}/collections/{name}/items?limit=1{query}")
    return int(json.loads(body)["numberMatched"])


# GDAL keeps Python's lock while it waits for the network, so it needs a process of its own.
READ = """
import json, sys, pyogrio
url, box = sys.argv[1], tuple(map(float, sys.argv[2].split(",")))
found = {}
for name in sys.argv[3].split(","):
    frame = pyogrio.read_dataframe(f"OAPIF:{url}/collections/{name}", PAGE_SIZE=50)
    bounds = [float(edge) for edge in frame.total_bounds]
    found[name] = [len(frame), bool(frame.geometry.is_valid.all()), bounds]
frame = pyogrio.read_dataframe(f"OAPIF:{url}/collections/cells", PAGE_SIZE=20, bbox=box)
found["box"] = [len(frame), bool(frame.geometry.is_valid.all()), []]
print(json.dumps(found))
"""
NAMES = ("cells", "hotspots", "gaps", "beacons", "outline", "bounties")
BOX = "8.535,47.368,8.542,47.373"


def test_gdal_reads_every_feature(url: str) -> None:
    """GDAL's OAPIF driver pages through everything, with pages far smaller than the answer."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, url, BOX, ",".join(NAMES)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in NAMES:
        size, is_valid, (west, south, east, north) = found[name]
        assert size == matched(url, name) > 0, name
        assert is_valid, name
        assert 8.3 < west <= east < 8.8
        assert 47.2 < south <= north < 47.6
    assert 0 < matched(url, "cells", f"&bbox={BOX}") <= found["box"][0] < found["cells"][0]


def test_owslib_finds_its_way(url: str) -> None:
    client = Features(url)
    assert sorted(client.feature_collections()) == sorted(NAMES)
    assert "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core" in client.conformance()[
        "conformsTo"
    ]
    page = client.collection_items("cells", limit=3, bbox=[8.4, 47.3, 8.7, 47.5])
    assert page["numberReturned"] == len(page["features"]) == 3


def test_geoparquet_arrow_and_csv_say_the_same(url: str) -> None:
    items = f"{url}/collections/cells/items?res=10&limit=10000"
    page = json.loads(fetch(items)[0])
    wanted = {f["id"]: f["properties"] for f in page["features"]}
    frame = geopandas.read_parquet(io.BytesIO(fetch(f"{items}&f=parquet")[0]))
    assert frame.crs.to_string() in ("OGC:CRS84", "EPSG:4326")
    assert set(frame["h3"]) == set(wanted)
    assert frame.geometry.is_valid.all()
    table = pa.ipc.open_stream(
        fetch(items, Accept="application/vnd.apache.arrow.stream")[0]
    ).read_all()
    assert table.column("value_dbm").to_pylist() == [p["value_dbm"] for p in wanted.values()]
    lines, headers = fetch(f"{items}&f=csv")
    assert headers["OGC-NumberMatched"] == str(len(wanted))
    assert len(lines.decode().splitlines()) == len(wanted) + 1


def test_a_zone_comes_as_arrow_too(url: str) -> None:
    zone = f"{url}/dggs/h3/zones/861f8ed97ffffff/data?zone-depth=4"
    plain = json.loads(fetch(zone)[0])
    table = pa.ipc.open_stream(fetch(f"{zone}&f=arrow")[0]).read_all()
    assert table.column("h3").to_pylist() == plain["h3"]


def test_both_openapi_documents_are_valid(url: str) -> None:
    whole = json.loads(fetch(f"{url}/api")[0])
    part = json.loads(fetch(f"{url}/api/3.0")[0])
    assert whole["openapi"].startswith("3.1")
    assert part["openapi"].startswith("3.0")
    openapi_spec_validator.validate(whole)
    openapi_spec_validator.validate(part)
    assert set(part["paths"]) < set(whole["paths"])
    assert {route.path for route in ROUTES} < set(part["paths"])


def test_the_landing_page_leads_everywhere(url: str) -> None:
    page = json.loads(fetch(f"{url}/", Accept="application/json")[0])
    for link in page["links"]:
        _, headers = fetch(link["href"], Accept=link["type"])
        assert headers.get_content_type() == link["type"].split(";")[0], link


def probe(url: str, examples: int) -> None:
    """Every operation with generated questions: answers that the document allows, no 500.

    Left out is the check that takes every schema-valid question for a good one: that a box's south
    lies below its north, or that digits name a cell, no schema can say.
    """
    api = schemathesis.openapi.from_url(f"{url}/api")

    for operation in api.exclude(path_regex="^/events$|pmtiles").get_all_operations():
        strategy = operation.ok().as_strategy()
        run_one(strategy, examples)


def run_one(strategy: Any, examples: int) -> None:
    @given(case=strategy)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.validate_response(case.call(timeout=60), excluded_checks=[positive_data_acceptance])

    ask()


def test_no_generated_question_finds_a_fault(url: str) -> None:
    probe(url, 15)


@pytest.mark.slow
@pytest.mark.soak
def test_hundreds_of_generated_questions_find_no_fault(url: str) -> None:
    probe(url, 150)
