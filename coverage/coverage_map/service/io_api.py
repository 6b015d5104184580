"""The map's HTTP service: a thin skin over a view of the store; see openapi.OPERATIONS.

Everything is read only and open. Place names nothing finer than what owners published. An answer is
cached by (snapshot, question) and carries a strong ETag, so a map that polls costs little.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from hashlib import sha256
from typing import Any

import numpy as np
from aiohttp import web

from chain.io_http import problem_middleware
from coverage_map import cells
from coverage_map.bounties import offer_properties, offers_in
from coverage_map.io_ledger import LedgerDown
from coverage_map.io_sync import Sync
from coverage_map.links import Link
from coverage_map.service import features, queries
from coverage_map.service.io_collections import Collections, no_items
from coverage_map.service.io_events import Hub, encode
from coverage_map.service.io_grid import Grid
from coverage_map.service.io_keys import Keys, limiter
from coverage_map.service.io_landing import Landing, negotiate_landing
from coverage_map.service.io_reply import SECURITY, problem
from coverage_map.service.io_service import SERVICE, Handler, Service, Values, answer_json, checked
from coverage_map.service.io_tiles import Tiles
from coverage_map.service.io_web import add_page
from coverage_map.service.openapi import OPERATIONS
from coverage_map.store.view import View


class Api:
    """What is known of one place, one hotspot, and of the map as a whole."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sync = service.sync

    async def get_stats(self, request: web.Request, _: Values) -> web.Response:
        """The figures of the live panel."""
        return answer_json(request, self.service.stats())

    async def get_events(self, request: web.Request, _: Values) -> web.StreamResponse:
        """The stream of events, opened with the present state."""
        first = [encode("stats", self.service.stats())]
        if self.sync.ready:
            first.append(encode("snapshot", {"snapshot": self.sync.keeper.base.identity}))
        return await self.service.hub.serve(request, first)

    async def get_snapshots(self, request: web.Request, _: Values) -> web.Response:
        """What is kept."""
        keeper = self.sync.keeper
        names = reversed(keeper.snapshots.names())
        found = [_about_snapshot(keeper.snapshots.open(name).manifest) for name in names]
        current = keeper.base.identity if self.sync.ready else None
        return answer_json(request, {"current": current, "snapshots": found})

    async def get_snapshot(self, request: web.Request, _: Values) -> web.Response:
        """One snapshot: what it was made from, and the hash of every file."""
        name = request.match_info["id"]
        keeper = self.sync.keeper
        if name not in keeper.snapshots.names():
            return problem(404, "No such snapshot", f"id: {name!r} is not kept")
        manifest = keeper.snapshots.open(name).manifest
        found = _about_snapshot(manifest) | {"rows": manifest["rows"], "files": manifest["files"]}
        return answer_json(request, found)

    async def get_cell(self, request: web.Request, values: Values) -> web.Response:
        """One cell with its evidence."""
        cell = cells.parse(request.match_info["h3"])
        if cell is None:
            return _no_cell("h3")
        document = self._cell(cell, values["threshold_dbm"])
        feed = self.sync.feed
        if feed is not None:
            links = queries.links_in(feed.links, cell)
            document["links"] = [queries.link_properties(feed.links, x, feed.sites) for x in links]
            if document["measured"] is not None:
                document["measured"]["late"] = sum(link.late for link in links)
            document["evidence"] = await self._evidence(links, values["evidence"])
            document["pending_receptions"] = _pending(feed.pending(), cell)
            document["bounties"] = self._bounties(cell)
        ready = self.sync.ready
        document["snapshot"] = self.sync.keeper.base.identity if ready else None
        return answer_json(request, document)

    async def get_evidence(self, request: web.Request, values: Values) -> web.Response:
        """The signed records behind a cell, with their proofs."""
        cell = cells.parse(request.match_info["h3"])
        if cell is None:
            return _no_cell("h3")
        feed = self.sync.feed
        links = queries.links_in(feed.links, cell) if feed else []
        found = await self._evidence(links, values["limit"])
        return answer_json(request, {"h3": cells.text_of(cell), "evidence": found})

    async def get_history(self, request: web.Request, _: Values) -> web.Response:
        """A cell in every snapshot that is kept."""
        cell = cells.parse(request.match_info["h3"])
        if cell is None:
            return _no_cell("h3")
        keeper, found = self.sync.keeper, []
        for name in keeper.snapshots.names() if self.sync.ready else ():
            view = keeper.view_of(name)
            record = _record(view, cell, queries.DEFAULT_THRESHOLD_DBM) if view else None
            if view is not None and record is not None:
                when = {"snapshot": name, "epoch": view.epoch, "time_ms": view.time_ms}
                found.append(when | {n: record[n] for n in HISTORY})
        return answer_json(request, {"h3": cells.text_of(cell), "history": found})

    async def get_hotspot(self, request: web.Request, _: Values) -> web.Response:
        """One hotspot with its links and earnings."""
        feed, text = self.sync.feed, request.match_info["index"]
        index = int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else -1
        if feed is None or index not in feed.sites:
            return problem(404, "No such hotspot", f"index: {text!r} is not registered")
        heard = [x for key, x in sorted(feed.links.links.items()) if key[0] == index]
        hears = [x for key, x in sorted(feed.links.links.items()) if key[1] == index]
        about = {
            "heard_by": len(heard),
            "offset_db": round(self.sync.estimator.offset_db(index), 1),
            "heard": [queries.link_properties(feed.links, x, feed.sites) for x in heard],
            "hears": [queries.link_properties(feed.links, x, feed.sites) for x in hears],
        }
        document = queries.hotspot_feature(feed.sites[index], about)["properties"]
        document |= await self._earnings(index)
        return answer_json(request, document)

    # ---- what handlers share ----

    def _cell(self, cell: int, threshold_dbm: float) -> Values:
        view = self.service.view({})
        found = _record(view, cell, threshold_dbm) if view is not None else None
        record = features.unknown_record(cell) if found is None else found
        return record | {
            "measured": _measured(record),
            "predicted": _predicted(record),
            "threshold_dbm": threshold_dbm,
            "links": [],
            "evidence": [],
            "pending_receptions": 0,
            "bounties": [],
        }

    def _bounties(self, cell: int) -> list[Values]:
        found, clock = offers_in(self.sync.offers, cell), self.sync.keeper.clock
        standing = self.service.standing(found)
        return [offer_properties(offer, clock, standing[offer.cell]) for offer in found]

    async def _evidence(self, links: list[Link], most: int) -> list[Values]:
        entries = sorted(
            ((entry, link) for link in links for entry in link.evidence),
            key=lambda item: (-item[0][0], item[1].beaconer, item[0][2]),
        )[:most]
        wires = self.sync.store.wires(sorted({entry[0] for entry, _ in entries}))
        proofs = dict(
            zip(wires, await asyncio.gather(*(self._proof(w) for w in wires.values())), strict=True)
        )
        return [
            {
                "sequence": sequence,
                "record_id": sha256(b"\x00" + wires[sequence]).hexdigest(),
                "witness": link.witness,
                "beaconer": link.beaconer,
                "epoch": epoch,
                "beacon": beacon,
                "reason": reason,
                "wire": base64.b64encode(wires[sequence]).decode(),
                "proof": proofs[sequence],
            }
            for (sequence, epoch, beacon, reason), link in entries
        ]

    async def _proof(self, wire: bytes) -> Values | None:
        try:
            found = await self.sync.source.proof(sha256(b"\x00" + wire).digest())
        except LedgerDown:
            return None
        if found is None or not isinstance(found.get("proof"), dict):
            return None
        return dict(found["proof"])

    async def _earnings(self, index: int) -> Values:
        try:
            earned = await self.sync.source.get(f"/v1/hotspots/{index}")
            why = await self.sync.source.get(f"/v1/explain/{index}")
        except LedgerDown:
            return {"earnings": None, "why": []}
        lines = queries.why_lines(why) if isinstance(why, dict) else []
        return {"earnings": earned, "why": lines}


HISTORY = ("state", "value_dbm", "uncertainty_db", "count", "hotspots", "devices", "best_server")
MEASURED = ("p10_dbm", "p50_dbm", "p90_dbm", "min_dbm", "mean_dbm", "max_dbm", "count", "newest_ms")


def _record(view: View, cell: int, threshold_dbm: float) -> Values | None:
    row = view.cell(cell)
    if row is None:
        return None
    columns = features.records(row, cell >> 52 & 0xF, threshold_dbm, view.clock)
    return features.rows_of(columns)[0]


def _measured(record: Values) -> Values | None:
    if record["state"] != "measured":
        return None
    found = {name: record[name] for name in MEASURED}
    return found | {"hotspots_heard": record["hotspots"], "witnesses": record["devices"], "late": 0}


def _predicted(record: Values) -> Values | None:
    if record["predicted_dbm"] is None:
        return None
    mean, server = record["predicted_dbm"], record["predicted_server"]
    servers = [] if server is None else [{"hotspot": server, "mean_dbm": mean}]
    return {"mean_dbm": mean, "sd_db": record["predicted_sd_db"], "servers": servers}


def _about_snapshot(manifest: Any) -> Values:
    return {
        "id": manifest["snapshot"],
        "epoch": manifest["epoch"],
        "time_ms": manifest["time_ms"],
        "cells": sum(manifest["rows"].values()),
    }


def _no_cell(name: str) -> web.Response:
    return problem(404, "No such cell", f"{name}: not an H3 cell; give 15 hexadecimal digits")


def _pending(waiting: dict[int, int], cell: int) -> int:
    resolution = cell >> 52 & 0xF
    own = np.array(sorted(waiting), np.uint64)
    inside = (cells.resolutions(own) >= resolution) & (
        cells.parents(own, resolution) == np.uint64(cell)
    )
    return sum(waiting[found] for found in own[inside].tolist())


@web.middleware
async def secured(request: web.Request, handler: Any) -> web.StreamResponse:
    """The page's security headers on every answer, problems included.

    An answer that is a page of its own, such as a report, says what that one needs.
    """
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
    return response


def make_app(sync: Sync, hub: Hub) -> web.Application:
    """The application: API, page, and the task that follows the ledger."""
    keys = Keys(sync.keeper.directory) if sync.keeper.is_kept else None
    limited = limiter(keys)
    app = web.Application(middlewares=[secured, problem_middleware, limited, negotiate_landing])
    service = Service(sync, hub)
    app[SERVICE] = service
    sync.on_news(service.publish)
    add_routes(app, service)
    add_page(app)

    async def follow(_: web.Application) -> Any:
        task = asyncio.create_task(sync.run())
        yield
        hub.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await sync.source.close()
        sync.close()

    app.cleanup_ctx.append(follow)
    return app


def add_routes(app: web.Application, service: Service) -> None:
    """Register every operation of the table with the handler of its name."""
    owners = (Api(service), Collections(service), Grid(service), Landing(service), Tiles(service))
    for operation in OPERATIONS:
        name = "get_" + operation.handler
        handler: Handler = next(getattr(x, name) for x in owners if hasattr(x, name))
        app.router.add_get(operation.path, checked(operation, handler))
    app.router.add_get("/collections/{collection}/items", no_items)
