"""A small honest town for the chain tests: keys, chains, places, and the records that they sign."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

import h3
import pytest

from chain import draws, keys, wire
from chain.geo import distance_m
from chain.ledger import Ledger, Sealed
from chain.params import PRESETS
from chain.records import (
    Deposit,
    EpochMessage,
    Genesis,
    Receipt,
    Reception,
    Registration,
    SessionClaim,
    SessionOpen,
    Signed,
    SubmitResult,
)
from chain.store.tables import TABLES, get_scalars

START_MS = 1_000_000_000
FIRST_EPOCH = 2
CHAIN_LENGTH = 200
FREQUENCY_MHZ = 2437
EIRP_CDBM, GAIN_CDB = 2_000, 300
OPERATOR = sha256(b"operator").digest()

verify = lru_cache(maxsize=None)(keys.verify)


def ground_truth(*parts: str) -> Path:
    """A file of the third-party vectors; skips the test where they are absent."""
    path = Path(__file__).resolve().parents[2].joinpath("shared", "ground-truth", *parts)
    if not path.exists():
        pytest.skip("vectors not present: ../shared/ground-truth")
    return path


@cache
def chain_of(name: bytes, length: int = CHAIN_LENGTH) -> tuple[bytes, ...]:
    """Links from the anchor x_(first-1) on."""
    links = [sha256(b"last" + name).digest()]
    for _ in range(length):
        links.append(draws.chain_link(links[-1]))
    return tuple(reversed(links))


class SavedRows:
    """What a database would hold: every block's rows on top of those before.

    After each block of a small town it must equal the whole state, packed anew: a rule that changes
    a row and doesn't say so is found by whatever test runs it.
    """

    def __init__(self, town: Town) -> None:
        self.town = town
        self.rows: dict[tuple[str, bytes], bytes] = {}

    def note(self, sealed: Sealed) -> None:
        """Save a block's rows, compare, and hand the block on."""
        for name, key, packed in sealed.rows:
            if packed is None:
                self.rows.pop((name, key), None)
            else:
                self.rows[name, key] = packed
        if sealed.header.height and self.town.count <= 9:
            state = self.town.ledger.state
            whole = {
                (name, key): packed
                for name, table in TABLES.items()
                for key, packed in table.pack_all(state)
            }
            assert self.rows == whole, {k for k, _ in self.rows.items() ^ whole.items()}
            assert sealed.scalars == get_scalars(state)
        if self.town.on_block is not None:
            self.town.on_block(sealed)


@dataclass(repr=False)
class Town:
    """`count` hotspots on a grid of res-10 cells about 200 m apart, who all hear each other."""

    count: int = 9
    preset: str = "minimal"
    seeds: int = 1
    on_block: Callable[[Sealed], None] | None = None
    start_ms: int = START_MS
    owners: dict[int, bytes] = field(default_factory=dict)
    heard: dict[int, dict[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = [sha256(b"hotspot%d" % i).digest() for i in range(self.count)]
        self.owner_seeds = [
            self.owners.get(i, sha256(b"owner%d" % i).digest()) for i in range(self.count)
        ]
        self.params = PRESETS[self.preset]
        self.places = [self._place(i) for i in range(self.count)]
        seeds = tuple(keys.public_key(seed) for seed in self.keys[: self.seeds])
        operator = keys.public_key(OPERATOR)
        self.genesis = wire.seal(
            Genesis("town", self.preset, self.start_ms, (operator,), 1, seeds), b"", []
        )
        self.network_id = self.genesis.record_id
        self.saved = SavedRows(self)
        self.ledger = Ledger(self.genesis, verify, self.saved.note)

    def _place(self, index: int) -> tuple[int, int, int]:
        row, column = divmod(index, 3)
        cell = h3.latlng_to_cell(45.0 + 0.0025 * row, 7.0 + 0.0035 * column, 10)
        latitude, longitude = h3.cell_to_latlng(cell)
        return int(cell, 16), round(latitude * 1e6), round(longitude * 1e6)

    def owner(self, index: int) -> bytes:
        return keys.public_key(self.owner_seeds[index])

    def secret(self, index: int, epoch: int) -> bytes:
        return chain_of(b"%d" % index)[epoch - FIRST_EPOCH + 1]

    def registration(self, index: int, **changes: object) -> Registration:
        values: dict[str, object] = {
            "key": keys.public_key(self.keys[index]),
            "owner": self.owner(index),
            "cell": self.places[index][0],
            "latitude_udeg": self.places[index][1],
            "longitude_udeg": self.places[index][2],
            "height_m": 10,
            "gain_cdb": GAIN_CDB,
            "eirp_cdbm": EIRP_CDBM,
            "frequency_mhz": FREQUENCY_MHZ,
            "flags": 1,
            "first_epoch": FIRST_EPOCH,
            "chain_length": CHAIN_LENGTH,
            "anchor": chain_of(b"%d" % index)[0],
        }
        return Registration(**{**values, **changes})  # type: ignore[arg-type]

    def sealed_registration(self, index: int, **changes: object) -> Signed:
        seeds = [self.keys[index], self.owner_seeds[index]]
        return wire.seal(self.registration(index, **changes), self.network_id, seeds)

    def deposit(self, index: int, amount_ucr: int = 50_000_000, reference: bytes = b"") -> Signed:
        record = Deposit(self.owner(index), amount_ucr, reference or b"first %d" % index, (0,))
        return wire.seal(record, self.network_id, [OPERATOR])

    def join(self) -> None:
        """Everybody gets credits and registers, in epoch 0."""
        wires = [self.deposit(i).wire for i in range(self.count)]
        wires += [self.sealed_registration(i).wire for i in range(self.count)]
        refused = [r for r in self.ledger.submit(wires, self.start_ms) if not r.accepted]
        assert not refused, refused

    def time_ms(self, epoch: int, offset_ms: int = 0) -> int:
        return self.start_ms + epoch * self.params.epoch_ms + offset_ms

    def rssi_cdbm(self, witness: int, beaconer: int) -> int:
        """Full-power RSSI at the end of a link that loses 33 dB a decade: between both bounds."""
        apart = distance_m(*self.places[witness][1:], *self.places[beaconer][1:])
        loss_db = 45 + 33 * math.log10(max(1, apart) / 10)
        return EIRP_CDBM + GAIN_CDB - round(100 * loss_db)

    def reception(self, witness: int, beaconer: int, epoch: int, sequence: int = 0) -> Reception:
        secret, mix = self.secret(beaconer, epoch), self.ledger.mix(epoch)
        assert mix is not None
        step = draws.power_step_db(secret, mix, sequence)
        tag = draws.tag_of(draws.answer(secret, epoch, sequence))
        rssi = self.rssi_cdbm(witness, beaconer) - 100 * step
        return Reception(beaconer, sequence, 0, rssi, FREQUENCY_MHZ, tag)

    def report(self, witness: int, epoch: int) -> list[Reception]:
        """What an honest witness hears: every beacon of everybody else."""
        return [
            self.reception(witness, beaconer, epoch, sequence)
            for beaconer in range(self.count)
            for sequence in range(self.params.beacons_per_epoch)
            if beaconer != witness
        ]

    def hear(self, epoch: int, edit: Callable[[int, list[Reception]], list[Reception]]) -> None:
        """Note what everybody hears in an epoch, after an attacker's edit."""
        self.heard[epoch] = {
            witness: b"".join(
                sorted(map(wire.pack_reception, edit(witness, self.report(witness, epoch))))
            )
            for witness in range(self.count)
        }

    def message(self, index: int, epoch: int, **changes: object) -> Signed:
        report = self.heard.get(epoch, {}).get(index, b"")
        values: dict[str, object] = {
            "hotspot": index,
            "epoch": epoch,
            "commit": draws.commit(index, epoch, self.secret(index, epoch), report),
            "report": self.heard.get(epoch - 1, {}).get(index, b""),
            "reveal": self.secret(index, epoch - 1),
        }
        record = EpochMessage(**{**values, **changes})  # type: ignore[arg-type]
        return wire.seal(record, self.network_id, [self.keys[index]])

    def run_epoch(
        self,
        epoch: int,
        edit: Callable[[int, list[Reception]], list[Reception]] = lambda _, heard: heard,
        absent: frozenset[int] = frozenset(),
    ) -> list[SubmitResult]:
        """One epoch of hearing and messages; afterwards the epoch is still open."""
        self.ledger.tick(self.time_ms(epoch))
        self.hear(epoch, edit)
        wires = [self.message(i, epoch).wire for i in range(self.count) if i not in absent]
        return self.ledger.submit(wires, self.time_ms(epoch, self.params.epoch_ms - 1_000))

    def run(self, first: int, last: int) -> None:
        """Honest epochs from first to last, then close the last."""
        for epoch in range(first, last + 1):
            refused = [r for r in self.run_epoch(epoch) if not r.accepted]
            assert not refused, refused
        self.ledger.tick(self.time_ms(last + 1))

    def open_session(self, payer: int, payee: int, nonce: int = 0, **changes: object) -> Signed:
        values: dict[str, object] = {
            "payer": payer,
            "payee": payee,
            "nonce": nonce,
            "relay_price_ucr": 1_000_000,
            "ai_price_ucr": 2_000_000,
            "cap_ucr": 10_000_000,
            "expiry_epoch": self.ledger.state.epoch + 20,
        }
        record = SessionOpen(**{**values, **changes})  # type: ignore[arg-type]
        return wire.seal(record, self.network_id, [self.keys[payer]])

    def receipt(self, payer: int, payee: int, unsigned: Receipt) -> Receipt:
        body = wire.receipt_body(unsigned)
        signatures = [
            keys.sign(self.keys[end], Receipt.NAME, self.network_id, body) for end in (payer, payee)
        ]
        values = [getattr(unsigned, name) for name in wire.RECEIPT_NAMES[:6]]
        return Receipt(*values, *signatures)

    def claim(self, *receipts: Receipt) -> Signed:
        return wire.seal(SessionClaim(receipts), self.network_id, [])

    def submit(self, *signed: Signed) -> list[SubmitResult]:
        """Submit at the ledger's own time."""
        return self.ledger.submit([item.wire for item in signed], self.ledger.state.time_ms)
