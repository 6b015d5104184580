"""Mappers' reports from ledger to map: believed as far as physics goes, shown as a crowd."""

from __future__ import annotations

import asyncio

import h3.api.basic_int as h3
import pytest
from aiohttp.test_utils import TestServer
from map_helpers import FIRST_EPOCH, Town, ledger_app, seed_of

from chain.draws import answer, mapper_commit, power_step_db, tag_of
from chain.keys import public_key
from chain.records import MapperCommit, MapperReport, Reception
from chain.wire import pack_reception, seal
from coverage_map.feed import HOUR_EPOCHS, Entry, Feed
from coverage_map.io_ledger import LedgerSource
from coverage_map.io_store import Store
from coverage_map.io_sync import Sync
from coverage_map.observations import strongest_cdbm

START_MS = 1_700_000_000_000
EPOCH = FIRST_EPOCH + 2
SALT = bytes(16)
PLACE = h3.latlng_to_cell(47.37, 8.54, 9)


def heard_by(town: Town, tag_flip: int = 0, stronger_db: int = 0) -> bytes:
    """What a device in PLACE hears of three hotspots in EPOCH."""
    mix = town.ledger.mix(EPOCH)
    assert mix is not None
    entries = []
    for site in town.sites[:3]:
        secret = town.secret(site.index, EPOCH)
        step = power_step_db(secret, mix, 0)
        tag = tag_of(answer(secret, EPOCH, 0))
        tag = bytes([tag[0] ^ tag_flip]) + tag[1:]
        rssi = -8_000 - 100 * step + 100 * stronger_db
        entries.append(
            pack_reception(Reception(site.index, 0, 0, rssi, site.frequency_mhz, tag))
        )
    return b"".join(sorted(entries))


def drive(town: Town, devices: int, **faults: int) -> None:
    """So many devices commit in EPOCH and report in the next one; two more epochs follow."""
    for epoch in range(FIRST_EPOCH, EPOCH):
        town.run_epoch(epoch)
    town.run_epoch(EPOCH)
    seeds = [seed_of(900_000 + k) for k in range(devices)]
    report = heard_by(town, **faults)
    for seed in seeds:
        key = public_key(seed)
        commit = mapper_commit(key, EPOCH, SALT, PLACE, report)
        town.submit([seal(MapperCommit(key, EPOCH, commit), town.network_id, [seed]).wire])
    town.run_epoch(EPOCH + 1)
    for seed in seeds:
        record = MapperReport(public_key(seed), EPOCH, PLACE, SALT, report)
        town.submit([seal(record, town.network_id, [seed]).wire])
    for epoch in (EPOCH + 2, EPOCH + 3):
        town.run_epoch(epoch)
    town.skip_to(EPOCH + 4)


def followed(town: Town) -> Sync:
    async def run() -> Sync:
        async with TestServer(ledger_app(town)) as server:
            store = Store(None)
            sync = Sync(LedgerSource(str(server.make_url("/"))), store)
            try:
                await sync.step()
                await sync.build()
            finally:
                await sync.source.close()
                store.close()
            return sync

    return asyncio.run(run())


def people_at(sync: Sync) -> tuple[int, int]:
    """Receptions and devices shown in PLACE at resolution 9, hotspots' own left out."""
    assert isinstance(sync.feed, Feed)
    own = sum(
        link.count
        for link in sync.feed.links.links.values()
        if h3.cell_to_parent(link.cell, 9) == PLACE
    )
    row = sync.keeper.view.cell(PLACE)
    hotspots = {
        link.witness
        for link in sync.feed.links.links.values()
        if link.count and h3.cell_to_parent(link.cell, 9) == PLACE
    }
    count, devices = (0, 0) if row is None else (int(row["count"][0]), int(row["devices"][0]))
    return count - own, devices - len(hotspots)


@pytest.mark.parametrize(("devices", "shown"), [(3, (9, 3)), (2, (0, 0))])
def test_a_crowd_shows_and_a_pair_does_not(devices: int, shown: tuple[int, int]) -> None:
    town = Town(9, START_MS + devices)
    drive(town, devices)
    sync = followed(town)
    assert people_at(sync) == shown
    assert len(sync.keeper.pool) == (0 if devices == 3 else 6)
    town.close()


@pytest.mark.parametrize("faults", [{"tag_flip": 1}, {"stronger_db": 90}])
def test_what_cannot_have_been_heard_measures_nothing(faults: dict[str, int]) -> None:
    town = Town(9, START_MS + 10 + len(str(faults)))
    drive(town, 3, **faults)
    sync = followed(town)
    assert people_at(sync) == (0, 0)
    assert len(sync.keeper.pool) == 0
    town.close()


def test_the_bound_of_physics_falls_with_distance() -> None:
    town = Town(4, START_MS + 99)
    site = town.sites[0]
    near = h3.latlng_to_cell(site.latitude_deg, site.longitude_deg, 9)
    far = h3.latlng_to_cell(site.latitude_deg + 0.3, site.longitude_deg, 9)
    assert strongest_cdbm(site, near) > strongest_cdbm(site, far) + 5_000
    assert strongest_cdbm(site, near) < site.eirp_cdbm
    town.close()


def test_reports_of_one_hour_enter_the_map_together() -> None:
    """Who watches /events or snapshots sees hours, not one cell of a drive after another."""
    town = Town(4, START_MS + 77)
    feed = Feed(town.genesis.record, town.network_id)
    hour = range(HOUR_EPOCHS, 2 * HOUR_EPOCHS)
    heard = pack_reception(Reception(0, 0, 0, -8_000, 2_412, tag_of(bytes(16))))
    for number, epoch in enumerate((*hour, hour.stop)):
        seed = seed_of(number)
        report = MapperReport(public_key(seed), epoch, PLACE, SALT, heard)
        feed.receive(Entry(number, seal(report, town.network_id, [seed]), epoch, 0, "ok"))
    waiting = {}
    for judged in (hour.stop - 2, hour.stop - 1):
        feed.receive_verdicts(judged, {})
        waiting[judged] = [report.epoch for _, report in feed.held()["mapped"]]
    assert waiting == {hour.stop - 2: [*hour, hour.stop], hour.stop - 1: [hour.stop]}
    town.close()
