"""What all handlers share: the data, answers that are remembered, and how a question is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from chain.openapi import read
from chain.records import Refusal
from coverage_map.bounties import Offer, standing_in
from coverage_map.io_sync import Sync
from coverage_map.service.io_events import Hub
from coverage_map.service.io_reply import Body, Remembered, dump, problem, reply
from coverage_map.service.openapi import GEOJSON, JSON, Operation
from coverage_map.store.figures import NO_FIGURES
from coverage_map.store.view import View

REMEMBERED = 20_000
STATS_EVERY_S = 0.5
SAME_STATS_EVERY_S = 5.0

Values = dict[str, Any]
Handler = Callable[[web.Request, Values], Any]


class Service:
    """The source of all answers; `sync` keeps it in step with the ledger."""

    def __init__(self, sync: Sync, hub: Hub) -> None:
        self.sync = sync
        self.hub = hub
        self.has_planner = False  # whether /processes and /jobs are served too
        self.bodies = Remembered(REMEMBERED)
        self._stats_at = 0.0
        self._figures = ("", NO_FIGURES)
        self._told: Values = {}

    def view(self, values: Values) -> View | None:
        """The view that a question names, None when it isn't kept or nothing is known yet."""
        wanted = values.get("snapshot") or "live"
        if wanted == "live" and not self.sync.ready:
            return None
        return self.sync.keeper.view_of(wanted)

    def standing(self, offers: Sequence[Offer]) -> dict[int, int]:
        """How many hotspots stand in each cell with one of these offers."""
        sites = self.sync.feed.sites.values() if self.sync.feed else ()
        return standing_in(sites, offers)

    def publish(self, event: str, data: Any) -> None:
        """Pass news on; figures at most twice a second, and seldom while they stay the same."""
        if event != "stats":
            self.hub.publish(event, data)
            return
        since_s = time.monotonic() - self._stats_at
        if not len(self.hub) or since_s < STATS_EVERY_S:
            return
        found = self.stats()
        told = {name: value for name, value in found.items() if name != "now_ms"}
        if told != self._told or since_s >= SAME_STATS_EVERY_S:
            self._stats_at, self._told = time.monotonic(), told
            self.hub.publish("stats", found)

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
        return found | self._bounties_counted() | self._cells_counted()

    def _bounties_counted(self) -> Values:
        """What is offered in all, and what the network's rules ask of an offer."""
        offers, feed = self.sync.offers, self.sync.feed
        params = feed.params if feed else None
        return {
            "settlement_epochs": params.settlement_epochs if params else 0,
            "bounties": {
                "open": len(offers),
                "left_ucr": sum(offer.left_ucr for offer in offers),
                "resolution": params.reward_resolution if params else 0,
                "min_ucr": params.bounty_min_ucr if params else 0,
                "epochs_max": params.bounty_epochs_max if params else 0,
            },
        }

    def _cells_counted(self) -> Values:
        if not self.sync.ready:
            return {"snapshot": None, "cells": {"resolution": 0, "measured": 0, "predicted": 0}}
        keeper = self.sync.keeper
        if self._figures[0] != keeper.view.identity:
            self._figures = (keeper.view.identity, keeper.figures())
        figures = self._figures[1]
        counted = {
            "resolution": figures.resolution,
            "measured": figures.own,
            "predicted": figures.predicted,
        }
        return {"snapshot": keeper.view.snapshot, "cells": counted}


SERVICE = web.AppKey("service", Service)


def checked(operation: Operation, handler: Handler) -> Callable[[web.Request], Any]:
    """The handler behind its parameter table: what it isn't told in the table it never sees."""

    async def handle(request: web.Request) -> web.StreamResponse:
        values = read(list(request.query.items()), operation.parameters)
        if isinstance(values, Refusal):
            return problem(400, "Bad parameter", values.detail)
        response: web.StreamResponse = await handler(request, values)
        return response

    return handle


def link(request: web.Request, rel: str, path: str, media: str, title: str = "") -> Values:
    """A link with an absolute URL, as the OGC's clients want it."""
    found = {"rel": rel, "href": f"{request.scheme}://{request.host}{path}", "type": media}
    return found | ({"title": title} if title else {})


def this(request: web.Request, **changes: str) -> str:
    """Path and query of this request, with some parameters set."""
    return str(request.rel_url.update_query(changes)) if changes else str(request.rel_url)


def answer_json(request: web.Request, document: Any, media: str = JSON) -> web.Response:
    """A JSON document."""
    return reply(request, Body(dump(document), media))


def no_snapshot(values: Values) -> web.Response:
    """Why there is no view."""
    name = values.get("snapshot") or "live"
    if name != "live":
        return problem(404, "No such snapshot", f"snapshot: {name} is not kept; ask without it")
    return problem(503, "No map yet", "nothing has come from the ledger yet; try again soon")


__all__ = ["GEOJSON", "JSON", "Service", "Values", "answer_json", "checked", "link", "this"]
