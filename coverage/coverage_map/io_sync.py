"""Keeps the map in step with the ledger: polls, stores, rebuilds, and tells those who watch.

One task owns the feed and the estimator. A ledger that is away is a state that the page shows, not
an error that ends the map; what was mirrored stays served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chain.errors import UserError
from chain.records import Genesis, Refusal, Signed
from chain.wire import decode
from coverage_map import feed_state
from coverage_map.bounties import Offer, offers_of
from coverage_map.estimator.core import Estimator
from coverage_map.feed import Entry, Feed, News
from coverage_map.io_learning import Learning
from coverage_map.io_ledger import PAGE, LedgerDown, LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_upkeep import Upkeep
from coverage_map.observations import Standing
from coverage_map.snapshot import Snapshot
from coverage_map.store.forecasts import predicted_of, with_ancestors
from coverage_map.store.intake import kinds_of, rows_of
from coverage_map.store.io_keeper import Keeper
from coverage_map.store.view import Clock

POLL_S = 0.25
RETRY_S = 1.0
BUILD_EVERY_S = 1.0
BUILD_SHARE = 10  # a snapshot that took a second isn't followed by another one for ten

Publish = Callable[[str, Any], None]


@dataclass(slots=True)
class LedgerState:
    """What the map knows of the ledger service."""

    state: str = "waiting"
    detail: str = ""
    head: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)


class Sync:
    """The task that follows the ledger, and tells `on_news` what is new."""

    def __init__(self, source: LedgerSource, store: Store, keeper: Keeper | None = None) -> None:
        self.source = source
        self.store = store
        self.keeper = keeper or Keeper(None)
        self.ledger = LedgerState()
        self.feed: Feed | None = None
        self.estimator = Estimator()
        self.learning = Learning(self.estimator)
        self.upkeep = Upkeep(self.keeper)
        self.snapshot: Snapshot | None = None
        self.offers: tuple[Offer, ...] = ()
        self._offers_due = True
        self._publish: Publish = _tell_nobody
        self._epoch = -1
        self._dirty = True
        self._built_at = 0.0
        self._took_s = 0.0

    def on_news(self, publish: Publish) -> None:
        """Have `publish` called from now on."""
        self._publish = publish

    @property
    def ready(self) -> bool:
        """Whether there is a map to serve: one that was built, or one from before a restart."""
        kept = bool(self.keeper.segments) or self.keeper.pending > 0
        return self.snapshot is not None or kept

    def close(self) -> None:
        """Close what it keeps."""
        self.upkeep.stop()
        self.store.close()
        self.keeper.close()

    async def run(self) -> None:
        """Follow the ledger until cancelled."""
        while True:
            pause = POLL_S
            try:
                await self.step()
                self._set_state("ok", "")
            except LedgerDown as error:
                self._set_state("unreachable", str(error))
                pause = RETRY_S
            except UserError as error:
                self._set_state("fault", str(error))
                pause = RETRY_S
            except (KeyError, TypeError, ValueError) as error:
                self._set_state("unreachable", f"the ledger's answer can't be read: {error!r}")
                pause = RETRY_S
            if self.feed is not None:
                self._dirty |= self.learning.step(self.feed.sites, self.feed.links)
            await self._build_if_due()
            self._look_after_store()
            await asyncio.sleep(pause)

    async def step(self) -> None:
        """Take over whatever the ledger has beyond what is known; LedgerDown when it is away."""
        feed = self.feed or await self._open()
        # The head first: of every epoch that it calls closed, all records are in what follows.
        self.ledger.head = dict(await self.source.head())
        more = True
        while more:
            entries = await self.source.entries(feed.next_sequence)
            self._take(feed, entries)
            more = len(entries) == PAGE
        self.ledger.stats = dict(await self.source.stats())
        await self._take_verdicts(feed, int(self.ledger.head["epoch"]))
        await self._take_offers(feed)
        self._publish("stats", None)

    async def build(self) -> None:
        """Estimate and publish a snapshot now."""
        if self.feed is None:
            return
        feed, self._dirty = self.feed, False
        started, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        made = await asyncio.to_thread(
            self.estimator.build, feed.sites, feed.links, self._epoch, now_ms
        )
        levels = {r: predicted_of(level) for r, level in made.levels.items()}
        self._show(feed)
        state = feed_state.encode(feed) if self.keeper.is_kept else b""
        plan = self.keeper.plan(with_ancestors(levels), now_ms, state)
        before = self.keeper.base.identity
        self.keeper.adopt(plan, *await asyncio.to_thread(plan.make))
        self.snapshot = made
        self._built_at = time.monotonic()
        self._took_s = self._built_at - started
        if self.keeper.base.identity != before:
            self._publish("snapshot", {"snapshot": self.keeper.base.identity})

    async def _build_if_due(self) -> None:
        pause = max(BUILD_EVERY_S, BUILD_SHARE * self._took_s if self.snapshot else 0.0)
        if self._dirty and time.monotonic() - self._built_at >= pause and not self.upkeep.running:
            await self.build()

    def _look_after_store(self) -> None:
        """Take in what `wavecomb map import` has handed over, and tidy while nothing else is due.

        During a tidying no snapshot is made; what arrives is shown all the same.
        """
        try:
            count, changed = self.keeper.take_inbox(max(self._epoch, 0))
            self._dirty |= count > 0
            if changed:
                self._publish("cells", {"cells": [f"{cell:x}" for cell in changed]})
            self.upkeep.start_if_due(busy=self._dirty and self.feed is not None)
        except (UserError, OSError) as error:
            self._set_state("fault", str(error))

    def _show(self, feed: Feed) -> None:
        """Lay what was just measured over the map."""
        found = feed.take_usable()
        if found:
            rows = rows_of(found)
            changed = self.keeper.receive(rows, kinds_of(found), max(self._epoch, 0))
            if changed:
                self._publish("cells", {"cells": [f"{cell:x}" for cell in changed]})

    async def _open(self) -> Feed:
        genesis = await self.source.genesis()
        self.store.bind(genesis.wire)
        self.feed = await asyncio.to_thread(replay, self.store, genesis, self.keeper.state)
        self._dirty = True
        self.keeper.clock = Clock(self.feed.genesis.start_ms, self.feed.params.epoch_ms)
        self._show(self.feed)
        return self.feed

    def _take(self, feed: Feed, entries: list[Entry]) -> None:
        rows = [(e.sequence, e.epoch, e.index, e.reason, e.signed.wire) for e in entries]
        self.store.append(rows)
        news = [item for entry in entries for item in feed.receive(entry)]
        self._offers_due |= any(item.kind == "bounty" for item in news)
        self._dirty |= feed.changed_sites
        feed.changed_sites = False
        self._show(feed)
        self._tell(news)

    async def _take_verdicts(self, feed: Feed, epoch: int) -> None:
        news = []
        for judged in feed.awaiting_verdicts(epoch):
            reasons = await self.source.verdicts(judged)
            self.store.keep_verdicts(judged, feed.next_sequence, reasons)
            found = feed.receive_verdicts(judged, reasons)
            self._dirty = True
            counted = sum(x.standing is Standing.MEASURED for x in found)
            about = {"epoch": judged, "receptions": len(found), "counted": counted}
            news.append(News("verdicts", about))
        news += self._new_epoch(feed, epoch)
        self._show(feed)
        self._tell(news)

    async def _take_offers(self, feed: Feed) -> None:
        """Ask what bounties hold, where a record or a new epoch may have changed it."""
        if not self._offers_due:
            return
        found = offers_of(await self.source.bounties(), feed.bounties)
        still = {offer.number for offer in found}
        feed.bounties = {n: terms for n, terms in feed.bounties.items() if n in still}
        self._offers_due = False
        if found != self.offers:
            self.offers = found
            self._publish("bounties", {"cells": sorted({f"{offer.cell:x}" for offer in found})})

    def _new_epoch(self, feed: Feed, epoch: int) -> list[News]:
        if epoch == self._epoch:
            return []
        self._offers_due = True
        first, self._epoch = self._epoch < 0, epoch
        news = [News("epoch", {"epoch": epoch, "end_ms": feed.epoch_end_ms(epoch)})]
        if not first and epoch % feed.params.settlement_epochs == 0:
            news.append(News("settlement", {"epoch": epoch}))
        return news

    def _tell(self, news: list[News]) -> None:
        if news:
            self._publish("news", [{"kind": item.kind, **item.data} for item in news])

    def _set_state(self, state: str, detail: str) -> None:
        changed = state != self.ledger.state
        self.ledger.state, self.ledger.detail = state, detail
        if changed:
            self._publish("stats", None)


def replay(store: Store, genesis: Signed, state: bytes = b"") -> Feed:
    """A feed rebuilt from what is stored: from the state at the last snapshot, and rows after it.

    Without a state it is rebuilt from the rows alone, in the order in which they first came.
    """
    record = genesis.record
    if not isinstance(record, Genesis):
        raise LedgerDown("the ledger's first record is no genesis")
    found = feed_state.decode(state, record, genesis.record_id) if state else None
    feed = found or Feed(record, genesis.record_id)
    for epoch, after, reasons in store.verdicts():
        if epoch > feed.judged:
            _replay_records(store, feed, after)
            feed.receive_verdicts(epoch, reasons)
    _replay_records(store, feed, None)
    return feed


def _replay_records(store: Store, feed: Feed, stop: int | None) -> None:
    for sequence, epoch, index, reason, wire in store.records(feed.next_sequence, stop):
        signed = decode(wire)
        if isinstance(signed, Refusal):
            raise LedgerDown(
                f"stored record {sequence} is damaged; remove the map's data directory"
            )
        feed.receive(Entry(sequence, signed, epoch, index, reason))


def _tell_nobody(_event: str, _data: Any) -> None:
    pass
