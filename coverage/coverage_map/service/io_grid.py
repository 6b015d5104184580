"""OGC API DGGS over H3, and questions about a point or an area."""

from __future__ import annotations

from typing import Any

import h3.api.basic_int as h3
import numpy as np
from aiohttp import web

from coverage_map import cells
from coverage_map.service import features
from coverage_map.service.io_reply import Body, dump, problem, reply
from coverage_map.service.io_service import (
    JSON,
    Service,
    Values,
    answer_json,
    link,
    no_snapshot,
)
from coverage_map.service.selection import in_polygon
from coverage_map.service.tables_out import ARROW, arrow_of
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.view import take

DGGRS_TITLE = "H3, Uber's hexagonal grid: icosahedron, aperture 7, 16 resolutions"


class Grid:
    """Handlers by zone, point and area."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def get_dggs(self, request: web.Request, _: Values) -> web.Response:
        """The list of grids: one."""
        links = [
            link(request, "self", "/dggs/h3", JSON),
            link(request, "[ogc-rel:dggrs-definition]", "/dggs/h3", JSON),
        ]
        return answer_json(request, {"dggrs": [{"id": "h3", "title": DGGRS_TITLE, "links": links}]})

    async def get_dggrs(self, request: web.Request, _: Values) -> web.Response:
        """Our definition of H3 as a discrete global grid reference system."""
        return answer_json(request, definition(request))

    async def get_zone_info(self, request: web.Request, _: Values) -> web.Response:
        """A zone: its level, centre, outline and area."""
        zone = cells.parse(request.match_info["cell"])
        if zone is None:
            return _no_zone()
        latitude, longitude = cells.centre(zone)
        text = cells.text_of(zone)
        ring = cells.ring(zone)
        document = {
            "id": text,
            "level": zone >> 52 & 0xF,
            "centroid": [round(longitude, 7), round(latitude, 7)],
            "bbox": [
                *(min(corner[axis] for corner in ring) for axis in (0, 1)),
                *(max(corner[axis] for corner in ring) for axis in (0, 1)),
            ],
            "areaMetersSquare": round(h3.cell_area(zone, unit="m^2"), 1),
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "links": [
                link(request, "self", f"/dggs/h3/zones/{text}", JSON),
                link(request, "[ogc-rel:dggrs-zone-data]", f"/dggs/h3/zones/{text}/data", JSON),
            ],
        }
        return answer_json(request, document)

    async def get_zone(self, request: web.Request, values: Values) -> web.Response:
        """Columns of a zone."""
        zone = cells.parse(request.match_info["cell"])
        if zone is None:
            return _no_zone()
        resolution = (zone >> 52 & 0xF) + values["zone-depth"]
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        if not COARSEST <= resolution <= FINEST:
            detail = f"zone-depth: leads to resolution {resolution}; {COARSEST} to {FINEST} exist"
            return problem(400, "Bad parameter", detail)
        as_arrow = values["f"] == "arrow" or (
            values["f"] is None and ARROW in request.headers.get("Accept", "")
        )

        def make() -> Body:
            table = view.under(resolution, zone)
            if as_arrow:
                columns = features.records(table, resolution, DEFAULT_DBM, view.clock)
                return Body(arrow_of(columns), ARROW)
            coarser = list(view.coarser(zone, resolution))
            found = features.zone_columns(table, coarser, zone, resolution, view.clock)
            return Body(dump(found), JSON)

        key = (view.identity, "zone", zone, resolution, as_arrow)
        return reply(request, self.service.bodies.get(key, make))

    async def get_position(self, request: web.Request, values: Values) -> web.Response:
        """The cell at a point."""
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        longitude, latitude = values["coords"]
        cell = cells.cell_at(latitude, longitude, values["res"])
        row = view.cell(cell)
        threshold = values["threshold_dbm"]
        document: Values = {"coords": [longitude, latitude]}
        if row is None:
            document |= features.unknown_record(cell)
        else:
            columns = features.records(row, values["res"], threshold, view.clock)
            document |= features.rows_of(columns)[0]
        document |= {"threshold_dbm": threshold, "snapshot": view.identity}
        return answer_json(request, document)

    async def get_area(self, request: web.Request, values: Values) -> web.Response:
        """Counts and shares inside a polygon."""
        view, threshold = self.service.view(values), values["threshold_dbm"]
        if view is None:
            return no_snapshot(values)
        level, rows = in_polygon(view, values["res"], values["coords"])
        part = take(level, rows)
        measured = part["count"] > 0
        served = features.service_probability(part, threshold) >= features.SERVED
        known = features.value_dbm(part)
        document = {
            "snapshot": view.identity,
            "resolution": values["res"],
            "threshold_dbm": threshold,
            "cells": len(rows),
            "measured": int(measured.sum()),
            "predicted": int((~measured).sum()),
            "served": int(served.sum()),
            "unserved": int((~served).sum()),
            "served_share": round(float(served.mean()), 4) if len(rows) else None,
            "receptions": int(part["count"].sum(dtype=np.int64)),
            "median_dbm": round(float(np.median(known)), 1) if len(rows) else None,
            "cell_area_km2": round(h3.average_hexagon_area(values["res"], unit="km^2"), 6),
        }
        return answer_json(request, document)


DEFAULT_DBM = -82.0


def definition(request: web.Request) -> dict[str, Any]:
    """H3 in the terms of OGC API DGGS, requirements class "DGGRS definition"."""
    return {
        "id": "h3",
        "title": DGGRS_TITLE,
        "uri": "https://h3geo.org",
        "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "defaultDepth": 4,
        "maxRefinementLevel": FINEST,
        "maxRelativeDepth": 5,
        "dggh": {
            "definition": {
                "basePolyhedron": "icosahedron",
                "refinementRatio": 7,
                "spatialDimensions": 2,
                "temporalDimensions": 0,
                "zoneTypes": ["hexagon", "pentagon"],
                "constraints": {"cellEqualArea": False, "cellEqualSized": False},
            }
        },
        "zirs": {
            "textZIRS": "fifteen lower-case hexadecimal digits of the H3 index",
            "uint64ZIRS": "the H3 index, mode 1",
        },
        "subZoneOrder": "ascending H3 index",
        "links": [
            link(request, "self", "/dggs/h3", JSON),
            {
                "rel": "[ogc-rel:dggrs-zone-data]",
                "href": f"{request.scheme}://{request.host}/dggs/h3/zones/{{zoneId}}/data",
                "templated": True,
            },
        ],
    }


def _no_zone() -> web.Response:
    return problem(404, "No such zone", "cell: not an H3 cell; give 15 hexadecimal digits")
