"""From the ledger's records to the map: the feed, its news, and its replay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from map_helpers import FIRST_EPOCH, Town, ledger_app, seed_of

from chain.draws import commit
from chain.errors import UserError
from chain.params import NEWEST_RULES, get_params
from chain.records import (
    Activation,
    EpochMessage,
    Genesis,
    KeyRotation,
    KeyRotationObjection,
    Registration,
)
from chain.service.views import stats_json
from chain.wire import seal
from coverage_map import feed_state
from coverage_map.feed import Entry, Feed
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync, replay
from coverage_map.observations import Standing, standing_of
from coverage_map.store.io_keeper import Keeper

START_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    town = Town(16, START_MS)
    town.run_to(6)
    yield town
    town.close()


@pytest.fixture
def small() -> Iterator[Town]:
    """Nine hotspots, three epochs old."""
    town = Town(9, START_MS + 1)
    for epoch in range(FIRST_EPOCH, FIRST_EPOCH + 3):
        town.run_epoch(epoch)
    yield town
    town.close()


async def follow(town: Town, store: Store, keeper: Keeper | None = None) -> Sync:
    async with TestServer(ledger_app(town)) as server:
        sync = Sync(LedgerSource(str(server.make_url("/"))), store, keeper)
        try:
            await sync.step()
            await sync.build()
        finally:
            await sync.source.close()
        return sync


def synced(town: Town, store: Store | None = None) -> Sync:
    """A map that has taken over all that the town's ledger holds; a store of its own is closed."""
    own = store or Store(None)
    try:
        return asyncio.run(follow(town, own))
    finally:
        if store is None:
            own.close()


def test_mixes_follow_from_the_records_alone(town: Town) -> None:
    feed = synced(town).feed
    assert feed is not None
    both = [e for e in range(8) if feed.mix(e) is not None and town.ledger.mix(e) is not None]
    assert both
    assert [feed.mix(e) for e in both] == [town.ledger.mix(e) for e in both]


def test_what_the_map_measures_is_what_the_ledger_judged(town: Town) -> None:
    feed = synced(town).feed
    assert feed is not None
    assert dict(feed.totals.verdicts) == stats_json(town.ledger)["verdicts"]
    measured = sum(
        n for x, n in feed.totals.verdicts.items() if standing_of(x) is Standing.MEASURED
    )
    assert sum(link.count for link in feed.links.links.values()) == measured > 50


def test_power_steps_are_taken_out(town: Town) -> None:
    """Samples of one link differ by noise only, though beacons left at four power levels."""
    feed = synced(town).feed
    assert feed is not None
    spreads = [
        int(feed.links.samples(link).max()) - int(feed.links.samples(link).min())
        for link in feed.links.measured()
        if link.count >= 3
    ]
    assert spreads
    assert sorted(spreads)[len(spreads) // 2] < 500


def test_a_cell_is_measured_only_where_a_witness_stands(town: Town) -> None:
    sync = synced(town)
    assert sync.snapshot is not None
    published = {site.cell for site in town.sites}
    for level in sync.snapshot.levels.values():
        own = level.cells[level.own_precision].tolist()
        assert set(own) <= published


def test_a_restart_replays_to_the_same_snapshot(town: Town, tmp_path: Path) -> None:
    path = tmp_path / "map.sqlite"
    first = synced(town, Store(path))
    first.store.close()
    store = Store(path)
    feed = replay(store, town.genesis)
    feed.take_usable()
    assert first.feed is not None
    assert feed.totals == first.feed.totals
    assert feed.sites == first.feed.sites
    again = synced(town, store)
    store.close()
    assert again.snapshot is not None
    assert first.snapshot is not None
    assert again.snapshot.identity == first.snapshot.identity


def test_a_restart_goes_on_from_its_last_snapshot_without_the_records_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town(9, START_MS + 2)
    town.run_to(5)
    store = Store(tmp_path / "map.sqlite")
    first = asyncio.run(follow(town, store, Keeper(tmp_path)))
    first.close()
    assert first.feed is not None
    town.run_epoch(6)
    town.run_epoch(7)
    town.skip_to(8)
    read: list[int] = []
    original = Feed.receive
    monkeypatch.setattr(
        Feed, "receive", lambda self, e: (read.append(e.sequence), original(self, e))[1]
    )
    store = Store(tmp_path / "map.sqlite")
    again = asyncio.run(follow(town, store, Keeper(tmp_path)))
    monkeypatch.undo()
    assert min(read) == first.feed.next_sequence > 0
    fresh = synced(town)
    assert again.feed is not None
    assert fresh.feed is not None
    assert again.feed.totals == fresh.feed.totals
    assert again.feed.sites == fresh.feed.sites
    assert again.feed.links.links == fresh.feed.links.links
    assert feed_state.encode(again.feed) == feed_state.encode(fresh.feed)
    for resolution in range(3, 12):
        ours, theirs = (x.keeper.view.level(resolution) for x in (again, fresh))
        for name in ours:
            assert (ours[name] == theirs[name]).all(), (resolution, name)
    store.close()
    town.close()


def test_a_state_of_another_network_or_form_is_no_state(town: Town, small: Town) -> None:
    feed = synced(town).feed
    assert feed is not None
    state = feed_state.encode(feed)
    record = town.genesis.record
    assert isinstance(record, Genesis)
    assert feed_state.decode(state, record, town.network_id) is not None
    assert feed_state.decode(state, record, small.network_id) is None
    assert feed_state.decode(state[:-1], record, town.network_id) is None
    assert feed_state.decode(b"\x80", record, town.network_id) is None


def test_what_hotspots_measured_is_in_the_store_once(town: Town) -> None:
    sync = synced(town)
    assert sync.feed is not None
    level = sync.keeper.view.level(5)
    measured = sum(link.count for link in sync.feed.links.links.values())
    assert int(level["count"].sum()) == measured > 50


def test_one_data_directory_serves_one_network(town: Town, small: Town, tmp_path: Path) -> None:
    store = Store(tmp_path / "map.sqlite")
    synced(town, store)
    with pytest.raises(UserError, match="another network"):
        synced(small, store)
    store.close()


def test_a_late_report_measures_but_is_marked(small: Town) -> None:
    town, missed = small, FIRST_EPOCH + 3
    town.run_epoch(missed, absent=(4,))
    late = town.message(4, missed)
    town.run_epoch(missed + 1, absent=(4,))
    assert [r.reason for r in town.submit([late])] == ["late"]
    for epoch in (missed + 2, missed + 3):
        town.run_epoch(epoch, absent=(4,))
    town.skip_to(missed + 4)
    feed = synced(town).feed
    assert feed is not None
    assert feed.totals.late_reports == 1
    links = [link for link in feed.links.links.values() if link.witness == 4]
    assert sum(link.late for link in links) > 0
    assert sum(link.late for link in feed.links.links.values()) == sum(x.late for x in links)


def test_a_late_report_with_invented_tags_measures_nothing(small: Town) -> None:
    town, missed = small, FIRST_EPOCH + 3
    town.run_epoch(missed, absent=(4,))
    report = bytearray(town.heard[missed - 1][4])
    for start in range(0, len(report), 14):
        report[start + 10] ^= 0xFF
    entries = sorted(bytes(report[i : i + 14]) for i in range(0, len(report), 14))
    town.run_epoch(missed + 1, absent=(4,))
    secret = town.secret(4, missed)
    record = EpochMessage(
        *(4, missed, commit(4, missed, secret, b""), b"".join(entries)), town.secret(4, missed - 1)
    )
    assert town.submit([seal(record, town.network_id, [seed_of(4)]).wire])[0].reason == "late"
    for epoch in (missed + 2, missed + 3):
        town.run_epoch(epoch, absent=(4,))
    town.skip_to(missed + 4)
    feed = synced(town).feed
    assert feed is not None
    assert feed.totals.verdicts["wrong_tag"] == len(entries) > 0
    assert sum(link.late for link in feed.links.links.values()) == 0


def test_payments_become_news_with_what_was_paid(small: Town) -> None:
    town = small
    told: list[dict[str, object]] = []

    def listen(event: str, data: list[dict[str, object]]) -> None:
        if event == "news":
            told.extend(data)

    async def scenario() -> None:
        async with TestServer(ledger_app(town)) as server:
            store = Store(None)
            sync = Sync(LedgerSource(str(server.make_url("/"))), store)
            sync.on_news(listen)
            session = town.open_session(0, 3, 1)
            town.pay(session, tokens=2_000)
            town.pay(session, tokens=0, moved=1 << 20)
            await sync.step()
            await sync.source.close()
            store.close()

    asyncio.run(scenario())
    paid = [x for x in told if x["kind"] == "payment"]
    assert [(x["payer"], x["payee"], x["for"], x["amount_ucr"]) for x in paid] == [
        (0, 3, "ai", 1_000),
        (0, 3, "relay", 2_000),
    ]
    assert [x["ai_requests"] for x in paid] == [1, 0]


def test_a_reason_that_is_not_known_measures_nothing() -> None:
    assert standing_of("something_new") is Standing.REFUSED


def test_an_unusable_data_path_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--data"):
        Store(tmp_path / "file" / "map.sqlite")
    (tmp_path / "garbage").write_bytes(b"no database" * 500)
    with pytest.raises(UserError, match="--data"):
        Store(tmp_path / "garbage")


def entry_of(sequence: int, record: object, epoch: int, index: int | None = None) -> Entry:
    signed: Any = SimpleNamespace(record=record, record_id=bytes(32))
    return Entry(sequence, signed, epoch, index, "ok")


def first_site(town: Town) -> tuple[Feed, Registration]:
    """A feed of the town's network under its first set of rules, with one hotspot."""
    said = town.genesis.record
    assert isinstance(said, Genesis)
    feed = Feed(replace(said, rules=1), town.network_id)
    place = (0x8A1F8ED9012FFFF, 47_370_000, 8_540_000)
    asserted = Registration(
        b"k" * 32, b"o" * 32, *place, 10, 200, 2_000, 5_180, 1, FIRST_EPOCH, 100, bytes(32)
    )
    feed.receive(entry_of(0, asserted, 1, 0))
    return feed, asserted


def test_rules_are_those_of_the_epoch_that_the_network_named(small: Town) -> None:
    feed, asserted = first_site(small)
    assert feed.params == get_params(feed.genesis.preset, 1)
    feed.receive(entry_of(1, Activation(2, 9, (0,)), 5))
    feed.receive(entry_of(2, asserted, 8, 0))
    assert feed.rules == 1
    kept = feed_state.decode(feed_state.encode(feed), feed.genesis, feed.network_id)
    assert kept is not None
    for one in (feed, kept):
        one.receive(entry_of(3, asserted, 9, 0))
        assert (one.rules, one.params) == (2, get_params(feed.genesis.preset, 2))
    again = feed_state.decode(feed_state.encode(kept), feed.genesis, feed.network_id)
    assert again is not None
    assert again.params == kept.params


def test_rules_newer_than_the_map_say_so(small: Town) -> None:
    feed, asserted = first_site(small)
    feed.receive(entry_of(1, Activation(NEWEST_RULES + 1, 6, (0,)), 5))
    with pytest.raises(UserError, match="update this map"):
        feed.receive(entry_of(2, asserted, 6, 0))


@pytest.mark.parametrize("objected", [False, True])
def test_a_hotspot_goes_by_its_next_key_from_the_named_epoch_on(
    small: Town, objected: bool
) -> None:
    feed, asserted = first_site(small)
    before = feed.sites[0].key
    feed.receive(entry_of(1, KeyRotation(0, b"n" * 32, 9, 100, bytes(32)), 5))
    if objected:
        feed.receive(entry_of(2, KeyRotationObjection(0, bytes(32)), 6))
    feed.changed_sites = False
    feed.receive(entry_of(3, Activation(2, 90, (0,)), 8))
    assert feed.sites[0].key == before
    feed.receive(entry_of(4, Activation(2, 91, (0,)), 9))
    assert feed.sites[0].key == (before if objected else b"n" * 32)
    assert feed.changed_sites is not objected
    assert feed.sites[0].cell == asserted.cell
