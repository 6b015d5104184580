"""The abstract tests of OGC API Features (17-069r4, annex A) and Tiles (20-057, annex A), in code.

The OGC's own suites run outside of the project (docs/map-page.md); what they ask is asked here, so
that it stays true: over HTTP, of every collection, from nothing but the landing page's address.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import openapi_spec_validator
import pytest
from map_helpers import Town
from map_server import running_map
from shapely.geometry import box, shape

from coverage_map.service.limits import Rate

START_MS = 1_700_000_000_000
SPEC = "http://www.opengis.net/spec"
REL = "http://www.opengis.net/def/rel/ogc/1.0"
OAS30 = "application/vnd.oai.openapi+json;version=3.0"
COLLECTIONS = ("cells", "hotspots", "gaps", "beacons", "outline", "bounties")
# Around the town, beside it, over the edge of the world's maps, at the poles, and with heights.
BOXES = ("8.53,47.36,8.55,47.38", "8.5385,47.369,8.5405,47.3705", "177,65,-177,70",
         "-180,85,180,90", "8.53,47.36,-10,8.55,47.38,900")  # fmt: skip
BAD = {
    "bbox": ("1,2,3", "1,2,3,x", "0,10,1,5", "200,0,210,1"),
    "datetime": ("yesterday", "2023-11-14T22:00:00Z/2022-01-01T00:00:00Z", "1/2/3", "2023-13-45"),
    "limit": ("0", "-1", "many"),
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    town = Town(9, START_MS)
    town.offer(2, (town.reward_cell(4),), 1)
    town.run_to(5)
    with pytest.MonkeyPatch.context() as patch, running_map(town) as (address, _):
        patch.setattr("coverage_map.service.io_keys.ANYBODY", Rate(1e9, 1e9))  # no 429s
        yield address
    town.close()


def ask(address: str, accept: str = "application/json") -> tuple[int, Any, str]:
    """Status, body (parsed where it is JSON) and media type."""
    request = urllib.request.Request(address, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, body, media = answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as refused:
        status, body, media = refused.code, refused.read(), refused.headers["Content-Type"]
    return status, json.loads(body) if "json" in media else body, media


def items(url: str, name: str, **query: str | int) -> Any:
    """A page of features; the status must be 200."""
    tail = f"?{urlencode(query)}" if query else ""
    status, page, media = ask(f"{url}/collections/{name}/items{tail}", "application/geo+json")
    assert (status, media.split(";")[0]) == (200, "application/geo+json")
    return page


def linked(document: Any, rel: str) -> list[Any]:
    return [link for link in document["links"] if link["rel"] == rel]


@pytest.fixture(scope="module")
def landing(url: str) -> Any:
    return ask(f"{url}/")[1]


@pytest.fixture(scope="module")
def definition(landing: Any) -> Any:
    """The OpenAPI 3.0 document that the landing page names."""
    (found,) = [link for link in linked(landing, "service-desc") if link["type"] == OAS30]
    status, document, media = ask(found["href"], OAS30)
    assert (status, media) == (200, OAS30)
    return document


# ---- what the service says of itself ----


@pytest.mark.parametrize("rel", ["self", "service-desc", "service-doc", "conformance", "data"])
def test_the_landing_page_leads_everywhere(landing: Any, rel: str) -> None:
    for link in linked(landing, rel):
        assert ask(link["href"], link["type"])[0] == 200
    assert linked(landing, rel)


def test_the_definition_is_valid_openapi_3_0(definition: Any) -> None:
    openapi_spec_validator.validate(definition)
    assert definition["openapi"].startswith("3.0")


@pytest.mark.parametrize(
    "name",
    ["ogcapi-features-1/1.0/conf/core", "ogcapi-features-1/1.0/conf/oas30",
     "ogcapi-features-1/1.0/conf/geojson", "ogcapi-tiles-1/1.0/conf/core",
     "ogcapi-tiles-1/1.0/conf/oas30", "ogcapi-tiles-1/1.0/conf/dataset-tilesets"],
)  # fmt: skip
def test_conformance_is_declared(landing: Any, name: str) -> None:
    status, declared, _ = ask(linked(landing, "conformance")[0]["href"])
    assert status == 200
    assert f"{SPEC}/{name}" in declared["conformsTo"]


@pytest.mark.parametrize("name", COLLECTIONS)
@pytest.mark.parametrize(
    ("parameter", "schema"),
    [("bbox", {"type": "array", "minItems": 4, "maxItems": 6}),
     ("limit", {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1_000}),
     ("datetime", {"type": "string"})],
)  # fmt: skip
def test_standard_parameters_are_defined_as_the_standard_writes_them(
    definition: Any, name: str, parameter: str, schema: dict[str, Any]
) -> None:
    operation = definition["paths"][f"/collections/{name}/items"]["get"]
    (found,) = [one for one in operation["parameters"] if one["name"] == parameter]
    assert (found["in"], found.get("required", False)) == ("query", False)
    assert (found["style"], found["explode"]) == ("form", False)
    assert found["schema"].items() >= schema.items()


# ---- collections ----


def test_collections_are_listed_with_links_and_extent(url: str) -> None:
    listed = ask(f"{url}/collections")[1]
    assert linked(listed, "self")
    assert linked(listed, "alternate")
    assert {one["id"] for one in listed["collections"]} == set(COLLECTIONS)
    for one in listed["collections"]:
        (west, south, east, north), *_ = one["extent"]["spatial"]["bbox"]
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
        assert one["extent"]["temporal"]["interval"]
        assert all(link["type"] and link["rel"] for link in one["links"])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_says_what_the_list_says_and_leads_to_its_items(url: str, name: str) -> None:
    status, one, _ = ask(f"{url}/collections/{name}")
    assert status == 200
    listed = ask(f"{url}/collections")[1]["collections"]
    assert one == next(other for other in listed if other["id"] == name)
    for link in linked(one, "items"):
        status, _, media = ask(link["href"], link["type"])
        assert (status, media.split(";")[0]) == (200, link["type"])


def test_an_unknown_collection_and_an_unknown_feature_are_404(url: str) -> None:
    assert ask(f"{url}/collections/roads")[0] == 404
    assert ask(f"{url}/collections/cells/items/8a2a1072b59ffff0")[0] == 404


# ---- features ----


@pytest.mark.parametrize("name", COLLECTIONS)
def test_items_say_when_and_how_many_and_of_what_type_their_links_are(url: str, name: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    page = items(url, name)
    stamp = datetime.fromisoformat(page["timeStamp"])
    assert before <= stamp <= datetime.now(UTC) + timedelta(seconds=2)
    assert page["type"] == "FeatureCollection"
    assert page["numberReturned"] == len(page["features"])
    assert linked(page, "self")
    assert linked(page, "alternate")
    assert all(link["type"] for link in page["links"])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_pages_add_up_to_what_was_matched_and_none_is_over_the_limit(url: str, name: str) -> None:
    page = items(url, name, limit=7)
    matched, seen = page["numberMatched"], list(page["features"])
    while linked(page, "next"):
        (following,) = linked(page, "next")
        page = ask(following["href"], following["type"])[1]
        assert len(page["features"]) <= 7
        seen += page["features"]
    identities = [one["id"] for one in seen]
    assert len(identities) == matched == len(set(identities))


@pytest.mark.parametrize("name", COLLECTIONS)
@pytest.mark.parametrize("wanted", BOXES)
def test_a_box_holds_what_it_is_asked_for_and_nothing_else(
    url: str, name: str, wanted: str
) -> None:
    found = items(url, name, bbox=wanted, limit=10_000)["features"]
    edges = [float(edge) for edge in wanted.split(",")]
    west, south, east, north = edges if len(edges) == 4 else (*edges[:2], *edges[3:5])
    parts = [box(west, south, east, north)]
    if west > east:
        parts = [box(west, south, 180, north), box(-180, south, east, north)]
    for feature in found:
        place = shape(feature["geometry"])
        # A link counts where one of its hotspots stands in the box.
        assert any(part.buffer(1e-6).intersects(place) for part in parts), feature["id"]
    if wanted == BOXES[0]:
        assert found


@pytest.mark.parametrize("name", COLLECTIONS)
@pytest.mark.parametrize(
    "when", ["2023-11-14T22:13:20Z", "2023-11-14T00:00:00Z/2023-11-16T00:00:00Z",
             "../2023-11-16T00:00:00Z", "2023-11-14T00:00:00Z/..", "/2023-11-16T00:00:00Z",
             "2023-11-14T00:00:00Z/", "2023-11-14T23:13:20.5%2B01:00"],
)  # fmt: skip
def test_instants_and_intervals_open_and_closed_are_read(url: str, name: str, when: str) -> None:
    said = when if "%" in when else quote(when)
    assert ask(f"{url}/collections/{name}/items?datetime={said}")[0] == 200


@pytest.mark.parametrize("name", COLLECTIONS)
@pytest.mark.parametrize("parameter", BAD)
def test_what_cannot_be_read_is_400(url: str, name: str, parameter: str) -> None:
    for value in BAD[parameter]:
        status, answer, media = ask(
            f"{url}/collections/{name}/items?{parameter}={quote(value)}"
        )
        assert (status, media.split(";")[0]) == (400, "application/problem+json"), value
        assert parameter in answer["detail"]
    assert ask(f"{url}/collections/{name}/items?colour=red")[0] == 400


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_feature_stands_at_its_own_address(url: str, name: str) -> None:
    for feature in items(url, name, limit=4)["features"]:
        status, alone, media = ask(f"{url}/collections/{name}/items/{feature['id']}")
        assert (status, media.split(";")[0]) == (200, "application/geo+json")
        assert (alone["type"], alone["id"]) == ("Feature", feature["id"])
        assert shape(alone["geometry"]).equals(shape(feature["geometry"]))
        assert linked(alone, "self")
        (home,) = linked(alone, "collection")
        assert home["href"].endswith(f"/collections/{name}")


# ---- tiles ----


@pytest.fixture(scope="module")
def tileset(url: str, landing: Any) -> Any:
    """The map's one tile set, found from the landing page."""
    (found,) = linked(landing, f"{REL}/tilesets-vector")
    (only,) = ask(found["href"])[1]["tilesets"]
    (own,) = linked(only, "self")
    assert ask(own["href"])[1] == only
    return only


def tile(tileset: Any, matrix: str, row: int, column: int) -> int:
    (template,) = linked(tileset, "item")
    address = template["href"].replace("{tileMatrix}", matrix)
    address = address.replace("{tileRow}", str(row)).replace("{tileCol}", str(column))
    return ask(address, "*/*")[0]


def test_the_tile_set_names_a_registered_matrix_set_with_its_limits(tileset: Any) -> None:
    assert tileset["tileMatrixSetId"] == "WebMercatorQuad"
    assert tileset["tileMatrixSetURI"].endswith("/def/tilematrixset/OGC/1.0/WebMercatorQuad")
    limits = tileset["tileMatrixSetLimits"]
    assert [one["tileMatrix"] for one in limits] == [str(k) for k in range(len(limits))]


@pytest.mark.parametrize("matrix", [0, 4, 16])
def test_tiles_are_answered_up_to_the_limits_and_refused_beyond(tileset: Any, matrix: int) -> None:
    limits = tileset["tileMatrixSetLimits"][matrix]
    row, column = limits["maxTileRow"], limits["maxTileCol"]
    assert tile(tileset, str(matrix), row, limits["minTileCol"]) in (200, 204)
    assert tile(tileset, str(matrix), limits["minTileRow"], column) in (200, 204)
    assert tile(tileset, str(matrix), row + 1, column) in (400, 404)
    assert tile(tileset, str(matrix), row, column + 1) in (400, 404)
    assert tile(tileset, str(len(tileset["tileMatrixSetLimits"])), 0, 0) in (400, 404)


def test_a_collection_with_tiles_leads_to_the_same_list(url: str, tileset: Any) -> None:
    cells = ask(f"{url}/collections/cells")[1]
    (found,) = linked(cells, f"{REL}/tilesets-vector")
    assert found["href"].endswith("/tiles")
    assert ask(found["href"])[1]["tilesets"] == [tileset]


@pytest.mark.parametrize(
    ("path", "suffix"),
    [("/tiles", ".dataset.vector.getTileSetsList"),
     ("/collections/cells/tiles", ".collection.vector.getTileSetsList"),
     ("/collections/cells/tiles/WebMercatorQuad", ".collection.vector.getTileSet"),
     ("/collections/cells/tiles/WebMercatorQuad/{z}/{row}/{col}", ".collection.vector.getTile")],
)  # fmt: skip
def test_operations_on_tiles_have_the_standard_names(
    definition: Any, path: str, suffix: str
) -> None:
    assert definition["paths"][path]["get"]["operationId"].endswith(suffix)
