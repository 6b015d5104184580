"""The map's HTTP service: a thin skin over snapshot queries; see openapi.OPERATIONS for its table.

Everything is read only and open. Place names nothing finer than what owners published. An answer is
cached by (snapshot, question) and carries a strong ETag, so a map that polls costs little.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
from aiohttp import web

from chain.io_http import problem_middleware
from chain.openapi import read
from chain.records import Refusal
from coverage_map import cells, openapi, queries
from coverage_map.io_events import Hub, encode
from coverage_map.io_ledger import LedgerDown
from coverage_map.io_reply import SECURITY, Body, Remembered, dump, problem, reply
from coverage_map.io_sync import Sync
from coverage_map.io_web import add_page
from coverage_map.links import Link
from coverage_map.openapi import OPERATIONS, Operation
from coverage_map.snapshot import Snapshot

VERSION = "0.1.0"
STATS_EVERY_S = 0.5
REMEMBERED = 512

Values = dict[str, Any]
Handler = Callable[[web.Request, Values], Any]


class Api:
    """Handlers by the names in openapi.OPERATIONS; `sync` is where the data comes from."""

    def __init__(self, sync: Sync, hub: Hub) -> None:
        self.sync = sync
        self.hub = hub
        self._bodies = Remembered(REMEMBERED)
        self._stats_at = 0.0

    def routes(self, app: web.Application) -> None:
        """Register every operation."""
        for operation in OPERATIONS:
            handler: Handler = getattr(self, "get_" + operation.handler)
            app.router.add_get(operation.path, checked(operation, handler))

    def publish(self, event: str, data: Any) -> None:
        """Pass news on; figures at most twice a second."""
        if event != "stats":
            self.hub.publish(event, data)
        elif len(self.hub) and time.monotonic() - self._stats_at >= STATS_EVERY_S:
            self._stats_at = time.monotonic()
            self.hub.publish("stats", self.stats())

    # ---- handlers ----

    async def get_api(self, request: web.Request, _: Values) -> web.Response:
        """The OpenAPI document."""
        document = openapi.document(OPERATIONS, VERSION)
        return reply(request, Body(dump(document), "application/json"))

    async def get_stats(self, request: web.Request, _: Values) -> web.Response:
        """The figures of the live panel."""
        return reply(request, Body(dump(self.stats()), "application/json"))

    async def get_events(self, request: web.Request, _: Values) -> web.StreamResponse:
        """The stream of events, opened with the present state."""
        first = [encode("stats", self.stats())]
        if self.sync.snapshot is not None:
            first.append(encode("snapshot", {"snapshot": self.sync.snapshot.identity}))
        return await self.hub.serve(request, first)

    async def get_collections(self, request: web.Request, _: Values) -> web.Response:
        """The list of collections."""
        found = [
            {
                "id": operation.path.split("/")[2],
                "title": operation.summary,
                "itemType": "feature",
                "links": [_link("items", operation.path, openapi.GEOJSON)],
            }
            for operation in OPERATIONS
            if operation.path.endswith("/items")
        ]
        return reply(request, Body(dump({"collections": found}), "application/json"))

    async def get_cells(self, request: web.Request, values: Values) -> web.Response:
        """A page of cells."""
        snapshot = self._snapshot(values)
        if snapshot is None:
            return _no_snapshot(values)
        level, threshold = snapshot.levels[values["res"]], values["threshold_dbm"]
        rows = queries.select(level, values["bbox"], values["min_obs"], values["cursor"])
        shown = rows[: values["limit"]]
        page = _collection(queries.cell_features(level, shown, threshold), len(rows))
        page["snapshot"], page["numberMatched"] = snapshot.identity, len(rows)
        if len(rows) > len(shown):
            after = cells.text_of(int(level.cells[shown[-1]]))
            page["links"].append(_next(request, cursor=after, snapshot=snapshot.identity))
        return reply(request, Body(dump(page), openapi.GEOJSON))

    async def get_gaps(self, request: web.Request, values: Values) -> web.Response:
        """Cells without service."""
        snapshot = self._snapshot(values)
        if snapshot is None:
            return _no_snapshot(values)
        level = snapshot.levels[values["res"]]
        found = queries.gap_features(level, values["bbox"], values["threshold_dbm"])
        page = _collection(found[: values["limit"]], len(found))
        page["snapshot"] = snapshot.identity
        return reply(request, Body(dump(page), openapi.GEOJSON))

    async def get_hotspots(self, request: web.Request, values: Values) -> web.Response:
        """A page of hotspots."""
        feed = self.sync.feed
        sites = [feed.sites[i] for i in sorted(feed.sites)] if feed else []
        if values["cursor"] is not None:
            sites = [site for site in sites if site.index > values["cursor"]]
        if values["bbox"] is not None and sites:
            west, south, east, north = values["bbox"]
            sites = [
                site
                for site in sites
                if south <= site.latitude_deg <= north
                and (
                    west <= site.longitude_deg <= east
                    if west <= east
                    else not east < site.longitude_deg < west
                )
            ]
        heard = self._heard_by()
        shown = sites[: values["limit"]]
        found = [queries.hotspot_feature(x, {"heard_by": heard.get(x.index, 0)}) for x in shown]
        page = _collection(found, len(sites))
        if len(sites) > len(shown):
            page["links"].append(_next(request, cursor=str(shown[-1].index)))
        return reply(request, Body(dump(page), openapi.GEOJSON))

    async def get_cell(self, request: web.Request, values: Values) -> web.Response:
        """One cell with its evidence."""
        cell = cells.parse(request.match_info["h3"])
        if cell is None:
            return problem(404, "No such cell", "h3: not an H3 cell; give 15 hexadecimal digits")
        document = self._cell(cell, values["threshold_dbm"])
        feed, snapshot = self.sync.feed, self.sync.snapshot
        if feed is not None:
            links = queries.links_in(feed.links, cell)
            document["links"] = [queries.link_properties(feed.links, x, feed.sites) for x in links]
            document["evidence"] = await self._evidence(links, values["evidence"])
            document["pending_receptions"] = _pending(feed.pending(), cell)
        document["snapshot"] = snapshot.identity if snapshot else None
        return reply(request, Body(dump(document), "application/json"))

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
        return reply(request, Body(dump(document), "application/json"))

    async def get_zone(self, request: web.Request, values: Values) -> web.Response:
        """Columns of a zone."""
        zone = cells.parse(request.match_info["cell"])
        if zone is None:
            return problem(404, "No such zone", "cell: not an H3 cell; give 15 hexadecimal digits")
        resolution = int(cells.resolutions([zone])[0]) + values["zone-depth"]
        snapshot = self._snapshot(values)
        if snapshot is None:
            return _no_snapshot(values)
        if resolution not in snapshot.levels:
            low, high = min(snapshot.levels), max(snapshot.levels)
            detail = f"zone-depth: leads to resolution {resolution}; {low} to {high} exist"
            return problem(400, "Bad parameter", detail)
        body = self._bodies.get(
            (snapshot.identity, zone, resolution),
            lambda: Body(
                dump(queries.zone_columns(snapshot, zone, resolution)), "application/json"
            ),
        )
        return reply(request, body)

    # ---- what handlers share ----

    def stats(self) -> Values:
        """Figures of the network, the ledger and the map, in one object."""
        feed, ledger = self.sync.feed, self.sync.ledger
        found: Values = {
            "now_ms": time.time_ns() // 1_000_000,
            "network": feed.genesis.network if feed else "no network yet",
            "preset": feed.genesis.preset if feed else "-",
            "epoch": int(ledger.head.get("epoch", 0)),
            "epoch_ms": feed.params.epoch_ms if feed else 1,
            "epoch_end_ms": 0,
            "hotspots": len(feed.sites) if feed else 0,
            "receptions": feed.totals.receptions if feed else 0,
            "late_reports": feed.totals.late_reports if feed else 0,
            "pending_receptions": sum(feed.pending().values()) if feed else 0,
            "verdicts": dict(sorted(feed.totals.verdicts.items())) if feed else {},
            "beacons_judged": int(ledger.stats.get("beacons_judged", 0)),
            "ai_requests": int(ledger.stats.get("ai_requests", 0)),
            "ai_tokens": int(ledger.stats.get("ai_tokens", 0)),
            "credits_paid_ucr": int(ledger.stats.get("credits_paid_ucr", 0)),
            "ledger": {
                "state": ledger.state,
                "detail": ledger.detail,
                "records": feed.next_sequence if feed else 0,
                "log_root": str(ledger.head.get("log_root", "")),
            },
        }
        if feed is not None:
            found["epoch_end_ms"] = feed.epoch_end_ms(found["epoch"])
        return found | self._cells_counted()

    def _cells_counted(self) -> Values:
        snapshot = self.sync.snapshot
        if snapshot is None:
            return {"snapshot": None, "cells": {"resolution": 0, "measured": 0, "predicted": 0}}
        level = snapshot.levels[max(snapshot.levels)]
        # An owner's coarser cell counts once, at the resolution that the owner published.
        own = sum(int(x.own_precision.sum()) for x in snapshot.levels.values())
        counted = {
            "resolution": level.resolution,
            "measured": own,
            "predicted": int((~level.measured).sum()),
        }
        return {"snapshot": snapshot.identity, "cells": counted}

    def _snapshot(self, values: Values) -> Snapshot | None:
        wanted = values.get("snapshot")
        if wanted is None:
            return self.sync.snapshot
        return next((x for x in self.sync.snapshots if x.identity == wanted), None)

    def _heard_by(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for beaconer, _ in self.sync.feed.links.links if self.sync.feed else ():
            counts[beaconer] = counts.get(beaconer, 0) + 1
        return counts

    def _cell(self, cell: int, threshold_dbm: float) -> Values:
        snapshot, resolution = self.sync.snapshot, cell >> 52 & 0xF
        if snapshot is not None and resolution in snapshot.levels:
            level = snapshot.levels[resolution]
            row = level.row_of(cell)
            if row is not None:
                return queries.cell_properties(level, row, threshold_dbm)
        return _unknown(cell, threshold_dbm)

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


def checked(operation: Operation, handler: Handler) -> Callable[[web.Request], Any]:
    """The handler behind its parameter table: what it isn't told in the table it never sees."""

    async def handle(request: web.Request) -> web.StreamResponse:
        values = read(list(request.query.items()), operation.parameters)
        if isinstance(values, Refusal):
            return problem(400, "Bad parameter", values.detail)
        response: web.StreamResponse = await handler(request, values)
        return response

    return handle


def _link(rel: str, href: str, media: str) -> Values:
    return {"rel": rel, "href": href, "type": media}


def _next(request: web.Request, **changes: str) -> Values:
    return _link("next", str(request.rel_url.update_query(changes)), openapi.GEOJSON)


def _collection(features: list[queries.JsonObject], matched: int) -> Values:
    return {
        "type": "FeatureCollection",
        "numberReturned": len(features),
        "numberMatched": matched,
        "features": features,
        "links": [],
    }


def _no_snapshot(values: Values) -> web.Response:
    if values.get("snapshot"):
        detail = f"snapshot: {values['snapshot']} is not kept any more; ask without it"
        return problem(404, "No such snapshot", detail)
    return problem(503, "No map yet", "nothing has come from the ledger yet; try again soon")


def _pending(waiting: dict[int, int], cell: int) -> int:
    resolution = cell >> 52 & 0xF
    own = np.array(sorted(waiting), np.uint64)
    inside = (cells.resolutions(own) >= resolution) & (
        cells.parents(own, resolution) == np.uint64(cell)
    )
    return sum(waiting[found] for found in own[inside].tolist())


def _unknown(cell: int, threshold_dbm: float) -> Values:
    return {
        "h3": cells.text_of(cell),
        "resolution": cell >> 52 & 0xF,
        "state": "unknown",
        "value_dbm": None,
        "uncertainty_db": None,
        "count": 0,
        "newest_ms": None,
        "measured": None,
        "predicted": None,
        "best_server": None,
        "overlap": 0,
        "service_probability": None,
        "confidence": None,
        "threshold_dbm": threshold_dbm,
        "links": [],
        "evidence": [],
        "pending_receptions": 0,
    }


@web.middleware
async def secured(request: web.Request, handler: Any) -> web.StreamResponse:
    """The page's security headers on every answer, problems included."""
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        response.headers.update(SECURITY)
    return response


def make_app(sync: Sync, hub: Hub) -> web.Application:
    """The application: API, page, and the task that follows the ledger."""
    app = web.Application(middlewares=[secured, problem_middleware])
    api = Api(sync, hub)
    sync.on_news(api.publish)
    api.routes(app)
    add_page(app)

    async def follow(_: web.Application) -> Any:
        task = asyncio.create_task(sync.run())
        yield
        hub.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await sync.source.close()
        sync.store.close()

    app.cleanup_ctx.append(follow)
    return app
