"""Bounties and mappers in the small town of the chain tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import sha256

import h3

from chain import draws, keys, wire
from chain.cells import cell_centre
from chain.geo import cell_parent, distance_m
from chain.ledger import Sealed
from chain.records import Bounty, MapperCommit, MapperReport, Reception, Signed
from chain.rules.outcome import Mapped
from chain.rules.payments import Payment

from .chain_helpers import EIRP_CDBM, FREQUENCY_MHZ, Town

SALT = bytes(16)


class Recorder:
    """Keeps what blocks brought forth."""

    def __init__(self) -> None:
        self.payments: list[Payment] = []
        self.mapped: list[Mapped] = []

    def __call__(self, sealed: Sealed) -> None:
        self.payments.extend(sealed.effects.payments)
        self.mapped.extend(sealed.effects.mapped)

    def sum_of(self, *kinds: str) -> int:
        return sum(payment.amount_ucr for payment in self.payments if payment.kind in kinds)


def recorded_town(count: int = 5, **options: object) -> tuple[Town, Recorder]:
    """A town that has joined, and what its blocks bring forth."""
    recorder = Recorder()
    town = Town(count, on_block=recorder, **options)  # type: ignore[arg-type]
    town.join()
    return town, recorder


def reward_cell(town: Town, index: int) -> int:
    return cell_parent(town.places[index][0], 8)


def bounty_of(town: Town, sponsor: int = 0, **changes: object) -> Signed:
    """A bounty of a hotspot's owner on the cell of hotspot 1."""
    values: dict[str, object] = {
        "sponsor": town.owner(sponsor),
        "cells": (reward_cell(town, 1),),
        "amount_ucr": 10_000_000,
        "per_settlement_ucr": 4_000_000,
        "until_epoch": town.ledger.state.epoch + 30,
        "nonce": 1,
    }
    record = Bounty(**{**values, **changes})  # type: ignore[arg-type]
    return wire.seal(record, town.network_id, [town.owner_seeds[sponsor]])


class Mapper:
    """Somebody with a one-time key near a hotspot of the town."""

    def __init__(self, town: Town, name: bytes = b"mapper", near: int = 1, east: float = 0.0):
        self.town = town
        self.seed = sha256(name).digest()
        self.key = keys.public_key(self.seed)
        latitude, longitude = town.places[near][1] * 1e-6, town.places[near][2] * 1e-6
        self.cell = int(h3.latlng_to_cell(latitude, longitude + east, 9), 16)

    def rssi_cdbm(self, beaconer: int) -> int:
        apart = distance_m(*cell_centre(self.cell), *self.town.places[beaconer][1:])
        return EIRP_CDBM - 300 - round(100 * (45 + 33 * math.log10(max(60, apart) / 10)))

    def hear(self, epoch: int, beaconers: list[int]) -> list[Reception]:
        """Receptions of the first beacon of each, at a plausible strength."""
        mix = self.town.ledger.mix(epoch)
        assert mix is not None
        heard = []
        for index in beaconers:
            secret = self.town.secret(index, epoch)
            step = draws.power_step_db(secret, mix, 0)
            tag = draws.tag_of(draws.answer(secret, epoch, 0))
            rssi = self.rssi_cdbm(index) - 100 * step
            heard.append(Reception(index, 0, 0, rssi, FREQUENCY_MHZ, tag))
        return heard

    def pack(self, heard: list[Reception]) -> bytes:
        return b"".join(sorted(map(wire.pack_reception, heard)))

    def commit(self, epoch: int, report: bytes) -> Signed:
        bound = draws.mapper_commit(self.key, epoch, SALT, self.cell, report)
        record = MapperCommit(self.key, epoch, bound)
        return wire.seal(record, self.town.network_id, [self.seed])

    def report(self, epoch: int, report: bytes, **changes: object) -> Signed:
        values: dict[str, object] = {
            "key": self.key,
            "epoch": epoch,
            "cell": self.cell,
            "salt": SALT,
            "report": report,
        }
        record = MapperReport(**{**values, **changes})  # type: ignore[arg-type]
        return wire.seal(record, self.town.network_id, [self.seed])


def run_mapped_epochs(
    town: Town,
    mappers: list[tuple[Mapper, list[int]]],
    epoch: int,
    last: int,
    edit: Callable[[int, list[Reception]], list[Reception]] = lambda _, heard: heard,
) -> None:
    """Run epochs until `last`; mappers commit in the first and report in the next.

    Each mapper comes with the hotspots that it hears; `edit` changes what hotspots hear.
    """
    town.run_epoch(epoch, edit)
    reports = [(mapper, mapper.pack(mapper.hear(epoch, heard))) for mapper, heard in mappers]
    for mapper, report in reports:
        assert town.submit(mapper.commit(epoch, report))[0].accepted
    town.run_epoch(epoch + 1, edit)
    for mapper, report in reports:
        result = town.submit(mapper.report(epoch, report))[0]
        assert result.accepted, result
    for later in range(epoch + 2, last + 1):
        town.run_epoch(later, edit)
    town.ledger.tick(town.time_ms(last + 1))
