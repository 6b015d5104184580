"""OGC API Features: the collections, their items, and single features."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from aiohttp import web

from coverage_map import cells, gaps
from coverage_map.bounties import Offer, offer_feature
from coverage_map.observations import Site
from coverage_map.service import features, queries, tables_out
from coverage_map.service.io_reply import Body, dump, problem, reply
from coverage_map.service.io_service import (
    GEOJSON,
    JSON,
    Service,
    Values,
    answer_json,
    link,
    no_snapshot,
    this,
)
from coverage_map.service.selection import Wanted, page, select
from coverage_map.store.view import Clock, View, take

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
EARTH = [-180.0, -90.0, 180.0, 90.0]
TITLES = {
    "cells": "Cells with their measured and predicted signal",
    "hotspots": "Hotspots at the precision that their owners published",
    "gaps": "Cells without service beside served ones",
    "beacons": "Links between hotspots: who heard whom",
    "outline": "Polygons around what is served",
    "bounties": "Cells whose coverage somebody pays for: what is left, until when, from whom",
}
MEDIA = {
    "json": GEOJSON,
    "csv": tables_out.CSV,
    "arrow": tables_out.ARROW,
    "parquet": tables_out.PARQUET,
}
WRITERS: dict[str, Callable[[Sequence[Any]], bytes]] = {
    "csv": tables_out.features_csv,
    "arrow": tables_out.features_arrow,
    "parquet": tables_out.features_parquet,
}
NEAR_GAPS_MAX = 200_000  # cells that a question about gaps or outlines may go through

Features = list[features.JsonObject]


class Collections:
    """Handlers of collections; each gathers features, `_answer` gives them their form."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sync = service.sync

    async def get_collections(self, request: web.Request, _: Values) -> web.Response:
        """The list of collections."""
        document = {
            "links": [
                link(request, "self", "/collections", JSON),
                link(request, "alternate", "/collections?f=json", JSON),
            ],
            "collections": [self._about(request, name) for name in TITLES],
        }
        return answer_json(request, document)

    async def get_collection(self, request: web.Request, _: Values) -> web.Response:
        """One collection."""
        name = request.match_info["collection"]
        if name not in TITLES:
            return _no_collection(name)
        return answer_json(request, self._about(request, name))

    async def get_cells(self, request: web.Request, values: Values) -> web.Response:
        """A page of cells."""
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        resolution = values["res"]
        level, rows = select(view, resolution, self._wanted(values, view))
        shown, more = page(level, rows, values["cursor"], values["limit"])
        found = features.cell_features(
            take(level, shown), resolution, values["threshold_dbm"], view.clock
        )
        after = {}
        if more:
            pinned = view.snapshot if values["snapshot"] != "live" else "live"
            after = {"cursor": cells.text_of(int(level["cells"][shown[-1]])), "snapshot": pinned}
        return self._answer(request, values, found, len(rows), after, view)

    async def get_gaps(self, request: web.Request, values: Values) -> web.Response:
        """Cells without service."""
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        box, wanted = values["bbox"], self._wanted(values, view)
        near = Wanted(_wider(box, values["res"]), epochs=wanted.epochs)
        level, rows = select(view, values["res"], near)
        if len(rows) > NEAR_GAPS_MAX:
            return _too_much(len(rows))
        found = gaps.gap_features(level, rows, box, values["threshold_dbm"])
        return self._page(request, values, found, view)

    async def get_outline(self, request: web.Request, values: Values) -> web.Response:
        """The edge of what is served."""
        view = self.service.view(values)
        if view is None:
            return no_snapshot(values)
        level, rows = select(view, values["res"], self._wanted(values, view))
        if len(rows) > NEAR_GAPS_MAX:
            return _too_much(len(rows))
        found = gaps.outline_features(level, rows, values["threshold_dbm"])
        return self._page(request, values, found, view)

    async def get_hotspots(self, request: web.Request, values: Values) -> web.Response:
        """A page of hotspots."""
        sites = self._sites(values)
        heard = self._heard_by()
        after = values["cursor"]
        rest = sites if after is None else [site for site in sites if site.index > after]
        shown = rest[: values["limit"]]
        found = [queries.hotspot_feature(x, {"heard_by": heard.get(x.index, 0)}) for x in shown]
        more = {"cursor": str(shown[-1].index)} if len(rest) > len(shown) else {}
        return self._answer(request, values, found, len(sites), more, None)

    async def get_beacons(self, request: web.Request, values: Values) -> web.Response:
        """A page of links."""
        feed = self.sync.feed
        if feed is None:
            return self._page(request, values, [], None)
        inside = {site.index for site in self._sites({**values, "datetime": None})}
        links = [
            link
            for key, link in sorted(feed.links.links.items())
            if key[0] in feed.sites
            and key[1] in feed.sites
            and (key[0] in inside or key[1] in inside)
            and _overlaps(values["datetime"], link.first_ms, link.last_ms)
        ]
        start = values["cursor"] or 0
        shown = links[start : start + values["limit"]]
        found = [queries.link_feature(feed.links, x, feed.sites) for x in shown]
        end = start + len(shown)
        more = {"cursor": str(end)} if end < len(links) else {}
        return self._answer(request, values, found, len(links), more, None)

    async def get_bounties(self, request: web.Request, values: Values) -> web.Response:
        """A page of bounties, by cell."""
        offers, clock, span = self.sync.offers, self.sync.keeper.clock, values["datetime"]
        if values["bbox"] is not None and offers:
            places = cells.centres(np.array([offer.cell for offer in offers], np.uint64))
            keep = features.inside(places, values["bbox"])
            offers = tuple(offer for offer, kept in zip(offers, keep, strict=True) if kept)
        offers = tuple(offer for offer in offers if _overlaps(span, *_open_ms(offer, clock)))
        return self._page(request, values, self._offered(offers), None)

    async def get_item(self, request: web.Request, _: Values) -> web.Response:
        """One feature."""
        name, identity = request.match_info["collection"], request.match_info["id"]
        if name not in TITLES:
            return _no_collection(name)
        found = self._find(name, identity)
        if found is None:
            return problem(404, "No such feature", f"id: {identity[:40]!r} is not in {name}")
        here = f"/collections/{name}"
        document = found | {
            "links": [
                link(request, "self", f"{here}/items/{identity}", GEOJSON),
                link(request, "collection", here, JSON),
            ]
        }
        return answer_json(request, document, GEOJSON)

    # ---- one feature ----

    def _find(self, name: str, identity: str) -> features.JsonObject | None:
        finders = {
            "cells": self._find_cell,
            "hotspots": self._find_hotspot,
            "beacons": self._find_link,
            "bounties": self._find_offer,
        }
        if name in finders:
            return finders[name](identity)
        view = self.service.view({})
        if view is None:
            return None
        return self._find_drawn(view, name, identity)

    def _find_cell(self, identity: str) -> features.JsonObject | None:
        cell, view = cells.parse(identity), self.service.view({})
        row = view.cell(cell) if view is not None and cell is not None else None
        if row is None or view is None or cell is None:
            return None
        threshold = queries.DEFAULT_THRESHOLD_DBM
        return features.cell_features(row, cell >> 52 & 0xF, threshold, view.clock)[0]

    def _find_hotspot(self, identity: str) -> features.JsonObject | None:
        feed = self.sync.feed
        fits = identity.isascii() and identity.isdecimal() and len(identity) < 11
        if feed is None or not fits or int(identity) not in feed.sites:
            return None
        site = feed.sites[int(identity)]
        return queries.hotspot_feature(site, {"heard_by": self._heard_by().get(site.index, 0)})

    def _find_link(self, identity: str) -> features.JsonObject | None:
        feed, ends = self.sync.feed, identity.split("-")
        fits = all(end.isascii() and end.isdecimal() and len(end) < 11 for end in ends)
        if feed is None or len(ends) != 2 or not fits:
            return None
        found = feed.links.links.get((int(ends[0]), int(ends[1])))
        if found is None or not {found.beaconer, found.witness} <= set(feed.sites):
            return None
        return queries.link_feature(feed.links, found, feed.sites)

    def _find_offer(self, identity: str) -> features.JsonObject | None:
        found = tuple(offer for offer in self.sync.offers if offer.identity == identity)
        return next(iter(self._offered(found)), None)

    def _offered(self, offers: Sequence[Offer]) -> Features:
        standing, clock = self.service.standing(offers), self.sync.keeper.clock
        return [offer_feature(offer, clock, standing[offer.cell]) for offer in offers]

    def _find_drawn(self, view: View, name: str, identity: str) -> features.JsonObject | None:
        cell = cells.parse(identity) if name == "gaps" else None
        resolution = cell >> 52 & 0xF if cell is not None else 9
        if name == "gaps" and cell is None:
            return None
        level, rows = select(view, resolution, Wanted())
        if len(rows) > NEAR_GAPS_MAX:
            return None
        threshold = queries.DEFAULT_THRESHOLD_DBM
        if name == "gaps":
            found = gaps.gap_features(level, rows, None, threshold)
        else:
            found = gaps.outline_features(level, rows, threshold)
        return next((one for one in found if one["id"] == identity), None)

    # ---- what handlers share ----

    def _about(self, request: web.Request, name: str) -> Values:
        here = f"/collections/{name}"
        links = [
            link(request, "self", here, JSON),
            *(link(request, "items", f"{here}/items?f={f}", m, f) for f, m in MEDIA.items()),
        ]
        links[1] = link(request, "items", f"{here}/items", GEOJSON, TITLES[name])
        if name == "cells":
            rel = "http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector"
            links.append(link(request, rel, f"{here}/tiles", JSON))
        return {
            "id": name,
            "title": TITLES[name],
            "itemType": "feature",
            "extent": {
                "spatial": {"bbox": [EARTH], "crs": CRS84},
                "temporal": {
                    "interval": [[_start_of(self.sync), None]],
                    "trs": "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian",
                },
            },
            "crs": [CRS84],
            "links": links,
        }

    def _wanted(self, values: Values, view: View) -> Wanted:
        span, epochs, clock = values.get("datetime"), None, view.clock
        if span is not None and clock.epoch_ms:
            first, last = span
            low = 0 if first is None else max((first - clock.start_ms) // clock.epoch_ms, 0)
            high = 1 << 40 if last is None else (last - clock.start_ms) // clock.epoch_ms
            epochs = (low, high)
        return Wanted(
            values["bbox"], values.get("min_obs", 0), values.get("min_confidence", 0.0), epochs
        )

    def _sites(self, values: Values) -> list[Site]:
        feed = self.sync.feed
        sites = [feed.sites[i] for i in sorted(feed.sites)] if feed else []
        if values["bbox"] is not None and sites:
            places = np.array([(site.latitude_deg, site.longitude_deg) for site in sites])
            keep = features.inside(places, values["bbox"])
            sites = [site for site, kept in zip(sites, keep, strict=True) if kept]
        return sites

    def _heard_by(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for beaconer, _ in self.sync.feed.links.links if self.sync.feed else ():
            counts[beaconer] = counts.get(beaconer, 0) + 1
        return counts

    def _page(
        self, request: web.Request, values: Values, found: Features, view: View | None
    ) -> web.Response:
        start = values["cursor"] or 0
        shown = found[start : start + values["limit"]]
        end = start + len(shown)
        more = {"cursor": str(end)} if end < len(found) else {}
        return self._answer(request, values, shown, len(found), more, view)

    def _answer(
        self,
        request: web.Request,
        values: Values,
        found: Features,
        matched: int,
        after: dict[str, str],
        view: View | None,
    ) -> web.Response:
        """Features in the form that was asked for, with what links to the rest."""
        form = values["f"] or _accepted(request)
        links = [link(request, "self", this(request), MEDIA[form])]
        links += [
            link(request, "alternate", this(request, f=other), media)
            for other, media in MEDIA.items()
            if other != form
        ]
        if after:
            links.append(link(request, "next", this(request, **after), MEDIA[form]))
        if form != "json":
            told = {"Link": ", ".join(f'<{x["href"]}>; rel="{x["rel"]}"' for x in links)}
            told |= {"OGC-NumberMatched": str(matched), "OGC-NumberReturned": str(len(found))}
            return reply(request, Body(WRITERS[form](found), MEDIA[form]), headers=told)
        document: Values = {
            "type": "FeatureCollection",
            "timeStamp": datetime.fromtimestamp(int(time.time()), UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
            "numberMatched": matched,
            "numberReturned": len(found),
            "features": found,
            "links": links,
        }
        tag = None
        if view is not None:
            document["snapshot"] = view.identity
        # The time stamp changes every second; what is answered doesn't: neither does the tag.
        tag = Body(dump({**document, "timeStamp": ""}), GEOJSON).tag
        return reply(request, Body(dump(document), GEOJSON, tag))


def _accepted(request: web.Request) -> str:
    accepted = request.headers.get("Accept", "")
    return next((form for form, media in MEDIA.items() if media in accepted), "json")


def _start_of(sync: Any) -> str | None:
    if sync.feed is None:
        return None
    start = datetime.fromtimestamp(sync.feed.genesis.start_ms // 1000, UTC)
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")


def _open_ms(offer: Offer, clock: Clock) -> tuple[int, int]:
    """When an offer came (0: long ago) and when it ends, ms since 1970."""
    first = clock.end_ms((offer.since_epoch or 0) - 1) or 0
    return first, clock.end_ms(offer.until_epoch) or 1 << 62


def _overlaps(span: tuple[int | None, int | None] | None, first_ms: int, last_ms: int) -> bool:
    if span is None:
        return True
    first, last = span
    return (first is None or last_ms >= first) and (last is None or first_ms <= last)


def _wider(bbox: Any, resolution: int) -> Any:
    """A box with room for the neighbours of what lies in it."""
    if bbox is None:
        return None
    west, south, east, north = bbox
    room = 3.0 * 0.35 / 7 ** ((resolution - 5) / 2) ** 1.0
    aside = room / max(np.cos(np.radians(min(max(abs(south), abs(north)) + room, 89.0))), 0.02)
    if east - west + 2 * aside >= 360.0 or (west > east and west - east <= 2 * aside):
        return (-180.0, max(south - room, -90.0), 180.0, min(north + room, 90.0))
    west, east = (west - aside + 540.0) % 360.0 - 180.0, (east + aside + 540.0) % 360.0 - 180.0
    return (west, max(south - room, -90.0), east, min(north + room, 90.0))


def _too_much(size: int) -> web.Response:
    detail = f"bbox: {size} cells lie in it; ask for a smaller box or a coarser res"
    return problem(400, "Too much at once", detail)


async def no_items(request: web.Request) -> web.Response:
    """Items of a collection that there isn't; each that there is has a route of its own."""
    return _no_collection(request.match_info["collection"])


def _no_collection(name: str) -> web.Response:
    known = ", ".join(TITLES)
    return problem(404, "No such collection", f"collection: no {name[:40]!r}; there are {known}")


