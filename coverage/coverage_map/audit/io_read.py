"""Receptions and claims from a ledger's database, read only, a block of epochs at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from chain.admission import Role
from chain.errors import EXIT_FAILED, UserError
from chain.geo import cell_resolution
from chain.io_judgement import load_assertion
from chain.io_ledger import DATABASE
from chain.params import Params
from chain.records import EpochMessage, Registration
from chain.rules.appointments import get_keys
from chain.rules.verdicts import CAN_SET_POWER, NO_RSSI
from chain.state import State
from chain.store.io_archive import open_with_archive
from chain.store.io_restore import load_ledger
from chain.store.io_schema import UNREADABLE, damaged
from chain.store.io_store import Store
from chain.wire import decode
from coverage_map.audit.table import (
    NO_RSSI_CDBM,
    Claims,
    Hearings,
    join_hearings,
    make_claims,
    make_hearings,
)

# As packed in epoch messages: docs/records.md, type 4.
RECEPTION = np.dtype(
    [
        ("heard", ">u4"),
        ("sequence", "u1"),
        ("flags", "u1"),
        ("rssi_cdbm", ">i2"),
        ("frequency_mhz", ">u2"),
        ("tag", "V4"),
    ]
)
BEACON_BITS = 8


class LedgerFolder:
    """A ledger's folder as an auditor reads it; `state` is the newest."""

    def __init__(self, store: Store) -> None:
        self.store = store
        ledger = load_ledger(store)
        self.state: State = ledger.state

    @property
    def params(self) -> Params:
        """The network's constants."""
        return self.state.params

    def epochs(self) -> tuple[int, int]:
        """First and last epoch with verdicts; UserError if there are none."""
        row = self.store.rows("SELECT min(epoch) AS low, max(epoch) AS high FROM verdicts")[0]
        if row["low"] is None:
            problem = "no epoch was judged yet"
            remedy = "wait until two epochs have closed"
            raise UserError("ledger", problem, remedy, exit_code=EXIT_FAILED)
        return int(row["low"]), int(row["high"])

    def mix(self, epoch: int) -> bytes | None:
        """The public randomness of an epoch; None before it is known."""
        rows = self.store.rows("SELECT mix FROM mixes WHERE epoch = ?", (epoch,))
        return bytes(rows[0]["mix"]) if rows else None

    def claims(self, epoch: int) -> Claims:
        """What hotspots asserted in an epoch, and who were seeds; trust is left to the evidence.

        Hotspots that came after it are left out, so that an audit doesn't change as they come. Who
        was not bound yet, before the last that was, is shown with its newest assertion.
        """
        found = [self._assertion(index, epoch) for index in range(len(self.state.hotspots))]
        while found and found[-1][1] > epoch:
            found.pop()
        registrations = [registration for registration, _ in found]
        owners: dict[bytes, int] = {}
        seeds = {member.key for member in get_keys(self.state, Role.SEED, epoch)}
        of = [(r, owners.setdefault(r.owner, len(owners))) for r in registrations]
        return make_claims(
            [r.key for r in registrations],
            owner=[owner for _, owner in of],
            latitude_deg=[1e-6 * r.latitude_udeg for r in registrations],
            longitude_deg=[1e-6 * r.longitude_udeg for r in registrations],
            height_m=[r.height_m for r in registrations],
            gain_cdb=[r.gain_cdb for r in registrations],
            eirp_cdbm=[r.eirp_cdbm for r in registrations],
            sets_power=[bool(r.flags & CAN_SET_POWER) for r in registrations],
            resolution=[cell_resolution(r.cell) for r in registrations],
            first_epoch=[bind for _, bind in found],
            trust_ppm=np.zeros(len(found), np.int64),
            seed=[r.key in seeds for r in registrations],
        )

    def _assertion(self, index: int, epoch: int) -> tuple[Registration, int]:
        """The registration that bound in an epoch, and since when its place has been the same."""
        hotspot = self.state.hotspots[index]
        if len(hotspot.assertions) == 1 and not hotspot.retired:
            assertion = hotspot.newest
        else:
            assertion = load_assertion(self.store, index, epoch) or hotspot.newest
        return assertion.registration, assertion.bind_epoch

    def hearings(self, first: int, last: int) -> Iterator[Hearings]:
        """Receptions of every epoch from first to last, an epoch at a time.

        Between hotspots of `claims(last)` only. UserError if the database is damaged, or if
        messages were pruned and no archive holds them.
        """
        known = len(self.claims(last))
        try:
            for epoch in range(first, last + 1):
                yield self._epoch(epoch, known)
        except (*UNREADABLE, ValueError, KeyError, TypeError, OverflowError) as error:
            raise damaged(self.store.path, error) from error

    def _epoch(self, epoch: int, known: int) -> Hearings:
        steps = self._steps(epoch)
        sql = (
            "SELECT v.witness, v.codes, r.wire FROM verdicts v JOIN records r"
            " ON r.id = v.record_id WHERE v.epoch = ? AND r.reason = 'ok' ORDER BY v.witness"
        )
        rows = self.store.rows(sql, (epoch,))
        return join_hearings(
            _read_report(epoch, row["witness"], row["codes"], row["wire"], steps, known)
            for row in rows
            if row["witness"] < known
        )

    def _steps(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int16]]:
        """Power step by beaconer and number, as an array over both; 0 where none is known."""
        steps = np.zeros(len(self.state.hotspots) << BEACON_BITS, np.int16)
        sql = "SELECT beaconer, sequence, power_step_cdb AS step FROM beacons WHERE epoch = ?"
        for row in self.store.rows(sql, (epoch,)):
            place = row["beaconer"] << BEACON_BITS | row["sequence"]
            if row["step"] is not None and place < len(steps):
                steps[place] = row["step"]
        return steps


def _read_report(
    epoch: int,
    witness: int,
    codes: bytes,
    wire: bytes,
    steps: np.ndarray[Any, np.dtype[np.int16]],
    known: int,
) -> Hearings:
    """The receptions in one epoch message; those of hotspots that don't exist are left out."""
    message = getattr(decode(wire), "record", None)
    if not isinstance(message, EpochMessage):
        raise ValueError("a verdict names a record that is no epoch message")
    rows = np.frombuffer(message.report, RECEPTION)
    code = np.frombuffer(codes, np.uint8)
    if len(code) != len(rows):
        raise ValueError(f"epoch {epoch}, witness {witness}: verdicts don't match the report")
    keep = rows["heard"] < known
    rows, code = rows[keep], code[keep]
    heard, sequence = rows["heard"].astype(np.int64), rows["sequence"].astype(np.int64)
    silent = (rows["flags"] & NO_RSSI) > 0
    return make_hearings(
        epoch=np.full(len(rows), epoch),
        witness=np.full(len(rows), witness),
        beaconer=heard,
        sequence=sequence,
        step_cdb=steps[heard << BEACON_BITS | sequence],
        rssi_cdbm=np.where(silent, NO_RSSI_CDBM, rows["rssi_cdbm"]),
        frequency_mhz=rows["frequency_mhz"],
        code=code,
    )


class _Opened(AbstractContextManager[LedgerFolder]):
    def __init__(self, directory: Path, archive: Path | None) -> None:
        self._store = open_with_archive(directory / DATABASE, archive)

    def __enter__(self) -> LedgerFolder:
        return LedgerFolder(self._store.__enter__())

    def __exit__(self, *error: Any) -> None:
        self._store.__exit__(*error)


def open_ledger(
    directory: Path, archive: Path | None = None
) -> AbstractContextManager[LedgerFolder]:
    """A ledger's folder, read only, while a service may write to it; UserError as Store.open."""
    return _Opened(directory, archive)
