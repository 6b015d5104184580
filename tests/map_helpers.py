"""A small town on a real in-memory ledger, and the ledger's HTTP face, for the map's tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256

import numpy as np
from aiohttp import web

from chain.draws import answer, chain_link, commit, power_step_db, tag_of
from chain.io_ledger import DurableLedger
from chain.keys import public_key, sign
from chain.ledger import Ledger, Sealed
from chain.records import (
    Bounty,
    Deposit,
    EpochMessage,
    Genesis,
    Receipt,
    Reception,
    Registration,
    SessionClaim,
    SessionOpen,
    SubmitResult,
)
from chain.service.io_service import build
from chain.store.io_store import Store
from chain.wire import pack_reception, receipt_body, receipt_hash, seal
from coverage_map import cells
from coverage_map.observations import Site
from coverage_map.predict import baseline_dbm

OPERATOR = sha256(b"operator").digest()
CHAIN = 512
FIRST_EPOCH = 2


async def until(done: Callable[[], object], seconds: float = 200.0) -> None:
    """Wait for a condition, as long as a busy machine that compiles everything first may take."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.05)


def seed_of(index: int) -> bytes:
    return sha256(b"hotspot" + index.to_bytes(4)).digest()


class Town:
    """Hotspots on a jittered grid; `run_epoch` makes every one of them report."""

    def __init__(
        self,
        size: int,
        start_ms: int,
        spacing_m: float = 170.0,
        preset: str = "minimal",
        latitude: float = 47.37,
        longitude: float = 8.54,
        resolution: int = 10,
        salt: int = 1,
    ) -> None:
        self.draws = np.random.default_rng(salt)
        seeds = tuple(public_key(seed_of(k)) for k in range(min(4, size)))
        record = Genesis("testtown", preset, start_ms, (public_key(OPERATOR),), 1, seeds)
        self.genesis = seal(record, b"", [])
        self.network_id = self.genesis.record_id
        first: list[Sealed] = []
        ledger = Ledger(self.genesis, on_block=first.append)
        store = Store.create(":memory:")
        store.append(first)
        self.durable = DurableLedger(ledger, store)
        self.ledger = ledger
        self.start_ms, self.now_ms = start_ms, start_ms
        self.chains = [self._chain(k) for k in range(size)]
        self.sites = self._sites(size, spacing_m, latitude, longitude, resolution)
        self.heard: dict[int, dict[int, bytes]] = {}
        self.receipts: dict[int, tuple[int, Receipt]] = {}
        self._register()

    def _chain(self, index: int) -> list[bytes]:
        links = [sha256(b"chain" + index.to_bytes(4)).digest()]
        for _ in range(CHAIN):
            links.append(chain_link(links[-1]))
        return links[::-1]  # links[0] is the anchor

    def secret(self, index: int, epoch: int) -> bytes:
        return self.chains[index][epoch - FIRST_EPOCH + 1]

    def _sites(
        self, size: int, spacing_m: float, latitude: float, longitude: float, resolution: int
    ) -> list[Site]:
        side = int(np.ceil(np.sqrt(size)))
        found, taken = [], set()
        for k in range(size):
            while True:
                north, east = (
                    np.array([k // side, k % side]) - side / 2
                ) * spacing_m + self.draws.normal(0, 0.42 * spacing_m, 2)
                lat = latitude + north / 111_195
                lon = longitude + east / (111_195 * np.cos(np.radians(latitude)))
                own = resolution - (k % 11 == 5)
                cell = cells.cell_at(lat, lon, own)
                if cell not in taken:
                    break
            taken.add(cell)
            lat, lon = cells.centre(cell)
            key, owner = public_key(seed_of(k)), public_key(seed_of(100_000 + k))
            eirp = 2000 - 300 * (k % 3)
            found.append(
                Site(
                    k,
                    key,
                    owner,
                    cell,
                    round(lat, 6),
                    round(lon, 6),
                    8 + k % 7,
                    200,
                    eirp,
                    2412,
                    True,
                )
            )
        return found

    def _register(self) -> None:
        wires = []
        for site, links in zip(self.sites, self.chains, strict=True):
            owner_seed = seed_of(100_000 + site.index)
            deposit = Deposit(site.owner, 50_000_000, b"d%d" % site.index, (0,))
            wires.append(seal(deposit, self.network_id, [OPERATOR]).wire)
            assertion = Registration(
                site.key,
                site.owner,
                site.cell,
                round(site.latitude_deg * 1e6),
                round(site.longitude_deg * 1e6),
                site.height_m,
                site.gain_cdb,
                site.eirp_cdbm,
                site.frequency_mhz,
                flags=1,
                first_epoch=FIRST_EPOCH,
                chain_length=CHAIN,
                anchor=links[0],
            )
            seeds = [seed_of(site.index), owner_seed]
            wires.append(seal(assertion, self.network_id, seeds).wire)
        self.submit(wires)

    def close(self) -> None:
        self.durable.store.close()

    def submit(self, wires: list[bytes]) -> list[SubmitResult]:
        results = self.durable.submit(wires, self.now_ms)
        refused = [r for r in results if not r.accepted]
        if refused:
            raise AssertionError(refused[0])
        return results

    def skip_to(self, epoch: int) -> None:
        self.now_ms = self.start_ms + epoch * self.ledger.params.epoch_ms
        self.durable.tick(self.now_ms)

    def report_of(self, witness: int, epoch: int) -> bytes:
        """What a witness hears in an epoch, from the same physics with shadowing on top."""
        mix, here, entries = self.ledger.mix(epoch), self.sites[witness], []
        assert mix is not None
        for site in self.sites:
            if site.index == witness:
                continue
            metres = float(
                cells.distance_m(
                    here.latitude_deg, here.longitude_deg, site.latitude_deg, site.longitude_deg
                )
            )
            if metres > 900:
                continue
            mean = float(baseline_dbm(site, metres, here.height_m)[0])
            shadow = 5.0 * np.sin(1.7 * site.index * (witness + 1)) + 5.0 * np.sin(
                1.7 * witness * (site.index + 1)
            )
            secret = self.secret(site.index, epoch)
            for number in range(self.ledger.params.beacons_per_epoch):
                step = power_step_db(secret, mix, number)
                got = mean + shadow + here.gain_cdb / 100 - step + self.draws.normal(0, 1.5)
                if got < -96:
                    continue
                tag = tag_of(answer(secret, epoch, number))
                rssi = round(min(got, -20.0)) * 100
                entries.append(
                    pack_reception(Reception(site.index, number, 0, rssi, site.frequency_mhz, tag))
                )
        return b"".join(sorted(entries))

    def message(self, hotspot: int, epoch: int) -> bytes:
        if epoch not in self.heard:
            self.heard[epoch] = {}
        report = self.report_of(hotspot, epoch)
        self.heard[epoch][hotspot] = report
        before = self.heard.get(epoch - 1, {}).get(hotspot, b"")
        record = EpochMessage(
            hotspot,
            epoch,
            commit(hotspot, epoch, self.secret(hotspot, epoch), report),
            before,
            self.secret(hotspot, epoch - 1),
        )
        return seal(record, self.network_id, [seed_of(hotspot)]).wire

    def run_epoch(self, epoch: int, absent: tuple[int, ...] = ()) -> None:
        self.skip_to(epoch)
        present = [site.index for site in self.sites if site.index not in absent]
        self.submit([self.message(k, epoch) for k in present])

    def run_to(self, epoch: int) -> None:
        """Run every epoch from the first to `epoch`, then enter the one after."""
        for one in range(FIRST_EPOCH, epoch + 1):
            self.run_epoch(one)
        self.skip_to(epoch + 1)

    def offer(
        self, hotspot: int, cells: tuple[int, ...], nonce: int,
        amount_ucr: int = 4_000_000, most_ucr: int = 500_000, until: int = 90,
    ) -> int:  # fmt: skip
        """A hotspot's owner puts a bounty on cells; its number."""
        owner = self.sites[hotspot].owner
        record = Bounty(owner, tuple(sorted(cells)), amount_ucr, most_ucr, until, nonce)
        wire = seal(record, self.network_id, [seed_of(100_000 + hotspot)]).wire
        number = self.submit([wire])[0].index
        assert number is not None
        return number

    def reward_cell(self, hotspot: int) -> int:
        """The cell of resolution 8 that a hotspot stands in."""
        return int(cells.parents(self.sites[hotspot].cell, 8))

    def open_session(self, payer: int, payee: int, nonce: int) -> int:
        expiry = self.ledger.state.epoch + 100
        terms = SessionOpen(payer, payee, nonce, 2_000, 500, 1_000_000, expiry)
        index = self.submit([seal(terms, self.network_id, [seed_of(payer)]).wire])[0].index
        assert index is not None
        self.receipts[index] = (payee * 1_000_000 + payer, Receipt(index, 0, 0, 0, 0, bytes(32)))
        return index

    def pay(self, session: int, tokens: int, moved: int = 0) -> None:
        ends, old = self.receipts[session]
        payee, payer = divmod(ends, 1_000_000)
        previous = receipt_hash(old) if old.sequence else bytes(32)
        new = Receipt(
            *(session, old.sequence + 1, old.relayed_bytes + moved, old.ai_tokens + tokens),
            *(old.ai_requests + (tokens > 0), previous),
        )
        signatures = [
            sign(seed_of(k), Receipt.NAME, self.network_id, receipt_body(new))
            for k in (payer, payee)
        ]
        signed = Receipt(
            *(new.session, new.sequence, new.relayed_bytes, new.ai_tokens, new.ai_requests),
            *(new.previous, *signatures),
        )
        self.receipts[session] = (ends, new)
        self.submit([seal(SessionClaim((signed,)), self.network_id, []).wire])


def ledger_app(town: Town) -> web.Application:
    """The real ledger service over a town's ledger, without its wall clock."""
    app = build(town.durable)
    app.on_startup.clear()
    app.on_cleanup.clear()
    return app
