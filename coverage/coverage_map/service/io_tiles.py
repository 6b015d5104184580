"""Tiles over HTTP: binary ones under an H3 cell, and Mapbox vector tiles."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from coverage_map import cells
from coverage_map.service import openapi
from coverage_map.service.io_reply import IMMUTABLE, REVALIDATE, Body, problem, reply
from coverage_map.service.io_service import JSON, Service, Values, answer_json, link, no_snapshot
from coverage_map.service.parameters import LIVE
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.view import View
from coverage_map.tiles import io_pmtiles, mvt, styles
from coverage_map.tiles.binary import encode

STEPS_MAX = 6  # 7^6 places: a larger tile serves nobody


class Tiles:
    """Handlers of tiles."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._exporting = asyncio.Lock()

    async def get_tile(self, request: web.Request, values: Values) -> web.Response:
        """A binary tile."""
        about = request.match_info
        parent = cells.parse(about["cell"])
        resolution = int(about["res"]) if about["res"].isdecimal() and len(about["res"]) < 3 else -1
        if parent is None:
            return problem(404, "No such cell", "cell: not an H3 cell; give 15 hexadecimal digits")
        if not max(COARSEST, parent >> 52 & 0xF) <= resolution <= FINEST:
            detail = f"res: {about['res']} is not from the cell's own (at least {COARSEST}) to 11"
            return problem(404, "No such resolution", detail)
        if resolution - (parent >> 52 & 0xF) > STEPS_MAX:
            detail = f"res: more than {STEPS_MAX} steps below the cell; ask for smaller tiles"
            return problem(404, "No such resolution", detail)
        view = self.service.view({"snapshot": about["snapshot"]})
        if view is None:
            return no_snapshot({"snapshot": about["snapshot"]})
        names = values["columns"]
        key = (view.identity, parent, resolution, names)
        body = self.service.bodies.find(key)
        if body is None:
            body = self.service.bodies.keep(key, make_tile(view, parent, resolution, names))
        return reply(request, body, _cache(about["snapshot"]))

    async def get_mvt(self, request: web.Request, _: Values) -> web.Response:
        """A vector tile by column and row."""
        about = request.match_info
        return self._vector(request, about["snapshot"], (about["z"], about["x"], about["y"]))

    async def get_ogc_tile(self, request: web.Request, values: Values) -> web.Response:
        """A vector tile by row and column."""
        about = request.match_info
        place = (about["z"], about["col"], about["row"])
        return self._vector(request, values["snapshot"], place)

    def _vector(
        self, request: web.Request, snapshot: str, place: tuple[str, str, str]
    ) -> web.Response:
        numbers = [int(text) if text.isdecimal() and len(text) < 9 else -1 for text in place]
        square = mvt.Square(*numbers)
        if not square.is_valid():
            detail = f"z, x, y: no tile {'/'.join(place)[:60]}; z is 0 to {mvt.ZOOM_MAX}"
            return problem(404, "No such tile", detail)
        view = self.service.view({"snapshot": snapshot})
        if view is None:
            return no_snapshot({"snapshot": snapshot})
        key = (view.identity, square)

        def make() -> Body:
            tag = f"{view.identity}-{square.zoom}-{square.x}-{square.y}"
            return Body(mvt.encode(mvt.rows_for(view, square), square), openapi.MVT, tag)

        return reply(request, self.service.bodies.get(key, make), _cache(snapshot))

    async def get_tilejson(self, request: web.Request, values: Values) -> web.Response:
        """TileJSON 3.0."""
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        path = f"/tiles/{values['snapshot']}/xyz/{{z}}/{{x}}/{{y}}"
        return answer_json(request, styles.tilejson(view, _absolute(request, path)))

    async def get_style(self, request: web.Request, values: Values) -> web.Response:
        """A style for MapLibre and its kin."""
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        path = f"{openapi.MATRIX}/tilejson.json?snapshot={values['snapshot']}"
        return answer_json(request, styles.style(_absolute(request, path), values["threshold_dbm"]))

    async def get_tilesets(self, request: web.Request, _: Values) -> web.Response:
        """The list of tile sets, of the cells or of the whole map: one."""
        links = [link(request, "self", request.path, JSON)]
        return answer_json(request, {"links": links, "tilesets": [_tileset(request)]})

    async def get_dataset_tilesets(self, request: web.Request, values: Values) -> web.Response:
        """The same list where the OGC's standard looks for it first."""
        return await self.get_tilesets(request, values)

    async def get_tileset(self, request: web.Request, _: Values) -> web.Response:
        """One tile set."""
        return answer_json(request, _tileset(request))

    async def get_pmtiles(self, request: web.Request, _: Values) -> web.StreamResponse:
        """The whole snapshot as one archive, made once and kept beside it."""
        name = request.match_info["snapshot"]
        keeper = self.service.sync.keeper
        if name == LIVE:
            name = keeper.base.identity
        view = self.service.view({"snapshot": name})
        if view is None:
            return no_snapshot({"snapshot": name})
        path = keeper.directory / "exports" / f"{name}.pmtiles"
        async with self._exporting:
            if not path.is_file():
                await asyncio.to_thread(io_pmtiles.write_archive, view, path)
        headers = {"Cache-Control": IMMUTABLE, "Access-Control-Allow-Origin": "*"}
        headers["Content-Type"] = "application/vnd.pmtiles"
        return web.FileResponse(path, headers=headers)


def _absolute(request: web.Request, path: str) -> str:
    return f"{request.scheme}://{request.host}{path}"


def _tileset(request: web.Request) -> Values:
    uri = "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad"
    scheme = "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme"
    template = f"{openapi.MATRIX}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}"
    item = link(request, "item", template, openapi.MVT) | {"templated": True}
    return {
        "title": "Cells of the coverage map",
        "dataType": "vector",
        "crs": "http://www.opengis.net/def/crs/EPSG/0/3857",
        "tileMatrixSetId": "WebMercatorQuad",
        "tileMatrixSetURI": uri,
        "tileMatrixSetLimits": [_limits(zoom) for zoom in range(mvt.ZOOM_MAX + 1)],
        "links": [
            link(request, "self", openapi.MATRIX, JSON),
            {"rel": scheme, "href": uri, "type": JSON},
            item,
        ],
    }


def _limits(zoom: int) -> Values:
    """Where tiles are answered: everywhere, for the map grows wherever somebody measures."""
    last = (1 << zoom) - 1
    rows = {"minTileRow": 0, "maxTileRow": last}
    return {"tileMatrix": str(zoom), **rows, "minTileCol": 0, "maxTileCol": last}


def make_tile(view: View, parent: int, resolution: int, names: tuple[str, ...]) -> Body:
    """A binary tile of a view."""
    if view.is_plain(resolution, parent):
        level: Any = view.levels[resolution]
        rows = view.rows(resolution, parent)
    else:
        level = view.under(resolution, parent)
        rows = slice(0, len(level["cells"]))
    content = encode(level, rows, parent, resolution, names, view.epoch)
    tag = f"{view.identity}-{parent:x}-{resolution}-{'.'.join(names)}"
    return Body(content, openapi.TILE, tag)


def _cache(snapshot: str) -> str:
    return REVALIDATE if snapshot == LIVE else IMMUTABLE
