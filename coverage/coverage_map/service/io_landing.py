"""The front of the API: landing page, conformance, and the two OpenAPI documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from coverage_map.planning.openapi import CONFORMANCE
from coverage_map.service import openapi
from coverage_map.service.io_reply import Body, dump, reply
from coverage_map.service.io_service import JSON, SERVICE, Service, Values, answer_json, link

VERSION = "0.1.0"
_CORE = "http://www.opengis.net/spec"
CONFORMS_TO = [
    f"{_CORE}/ogcapi-common-1/1.0/conf/core",
    f"{_CORE}/ogcapi-common-2/1.0/conf/collections",
    f"{_CORE}/ogcapi-features-1/1.0/conf/core",
    f"{_CORE}/ogcapi-features-1/1.0/conf/oas30",
    f"{_CORE}/ogcapi-features-1/1.0/conf/geojson",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/core",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/tileset",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/tilesets-list",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/dataset-tilesets",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/geodata-tilesets",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/mvt",
    f"{_CORE}/ogcapi-tiles-1/1.0/conf/oas30",
    f"{_CORE}/ogcapi-dggs-1/1.0/conf/core",
    f"{_CORE}/ogcapi-dggs-1/1.0/conf/data-retrieval",
    f"{_CORE}/ogcapi-dggs-1/1.0/conf/data-custom-depths",
]
_FIND = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Landing:
    """Handlers of documents about the API itself."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def get_api(self, request: web.Request, _: Values) -> web.Response:
        """OpenAPI 3.1 of everything."""
        planner = self.service.has_planner
        document = openapi.document(openapi.OPERATIONS, VERSION, planner=planner)
        return reply(request, Body(dump(document), JSON))

    async def get_api_ogc(self, request: web.Request, _: Values) -> web.Response:
        """OpenAPI 3.0 of what the OGC's standards speak of."""
        planner = self.service.has_planner
        document = openapi.document_3_0(openapi.OPERATIONS, VERSION, planner=planner)
        return reply(request, Body(dump(document), openapi.OPENAPI_3_0))

    async def get_conformance(self, request: web.Request, _: Values) -> web.Response:
        """Conformance classes."""
        planner = CONFORMANCE if self.service.has_planner else ()
        return answer_json(request, {"conformsTo": [*CONFORMS_TO, *planner]})


def landing_page(request: web.Request) -> web.Response:
    """The OGC landing page."""
    tilesets = "http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector"
    dggrs = "http://www.opengis.net/def/rel/ogc/1.0/dggrs-list"
    links = [
        link(request, "self", "/?f=json", JSON, "this document"),
        link(request, "alternate", "/", "text/html", "the map"),
        link(request, "service-desc", "/api/3.0", openapi.OPENAPI_3_0, "OpenAPI 3.0, the OGC part"),
        link(request, "service-desc", "/api", JSON, "OpenAPI 3.1, all of it"),
        link(request, "service-doc", "/", "text/html", "the map"),
        link(request, "conformance", "/conformance", JSON, "conformance classes"),
        link(request, "data", "/collections", JSON, "the collections"),
        link(request, tilesets, "/tiles", JSON, "vector tiles"),
        link(request, dggrs, "/dggs", JSON, "discrete global grids"),
    ]
    service = request.app.get(SERVICE)
    if service is not None and service.has_planner:
        rel = "http://www.opengis.net/def/rel/ogc/1.0"
        links.append(link(request, f"{rel}/processes", "/processes", JSON, "planning"))
        links.append(link(request, f"{rel}/job-list", "/jobs", JSON, "planning jobs"))
    document = {
        "title": "Wavecomb coverage map",
        "description": "Measured and predicted coverage per H3 cell, with proof.",
        "links": links,
    }
    return answer_json(request, document)


@web.middleware
async def negotiate_landing(request: web.Request, handler: _FIND) -> web.StreamResponse:
    """At `/` programs get the landing page and people the map."""
    if request.path == "/":
        form, accepted = request.query.get("f"), request.headers.get("Accept", "")
        # A browser names HTML; a program that names nothing wants what programs read.
        if form == "json" or (form is None and "html" not in accepted):
            return landing_page(request)
    return await handler(request)
