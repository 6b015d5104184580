"""What auditors read: receptions on the ledger as columns, and what every hotspot claims to be.

Only what is public goes in: reports, revealed secrets, assertions and verdicts. `io_read.py` builds
both from a ledger's database; the attack laboratory builds them in memory. Scores come from
`coverage_map.audit.scores.compute_scores(hearings, claims)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.validity import InvalidInputError

# In `rssi_cdbm`: the driver gave no signal strength. No receiver measures -327 dBm.
NO_RSSI_CDBM = -32_768
METRES_PER_DEGREE = np.pi / 180.0 * 6_371_007.18  # H3's sphere, as in chain/geo.py
# The farthest that a point of an H3 cell lies from its centre (chain/rules/pairs.py).
CELL_RADIUS_M = {7: 1_690.0, 8: 640.0, 9: 242.0, 10: 92.0}


@dataclass(frozen=True, slots=True, eq=False)
class Hearings:
    """Receptions, one row each, epochs ascending; columns of equal length.

    `step_cdb`: how far below full power the revealed secret says that the beacon was sent, from 0
    up. `rssi_cdbm`: as reported, or NO_RSSI_CDBM. `code`: the verdict, an index into
    `chain.rules.verdicts.REASONS`. Hotspots by their ledger index.
    """

    epoch: NDArray[np.uint32]
    witness: NDArray[np.uint32]
    beaconer: NDArray[np.uint32]
    sequence: NDArray[np.uint8]
    step_cdb: NDArray[np.int16]
    rssi_cdbm: NDArray[np.int16]
    frequency_mhz: NDArray[np.uint16]
    code: NDArray[np.uint8]

    def __post_init__(self) -> None:
        _check_lengths(self, len(self.epoch))

    def __len__(self) -> int:
        return len(self.epoch)

    def blocks(self, rows: int) -> Iterator[Self]:
        """The same rows in pieces of at most so many; views, nothing is copied."""
        for start in range(0, len(self), rows):
            yield self.take(slice(start, start + rows))

    def take(self, part: slice) -> Self:
        """Some of the rows, as views."""
        return type(self)(*(getattr(self, f.name)[part] for f in fields(self)))


HEARING_TYPES: dict[str, Any] = {
    "epoch": np.uint32,
    "witness": np.uint32,
    "beaconer": np.uint32,
    "sequence": np.uint8,
    "step_cdb": np.int16,
    "rssi_cdbm": np.int16,
    "frequency_mhz": np.uint16,
    "code": np.uint8,
}


def make_hearings(**columns: Any) -> Hearings:
    """Hearings from columns of any integer type, by name; OverflowError if one doesn't fit."""
    return Hearings(**{n: np.asarray(columns[n], kind) for n, kind in HEARING_TYPES.items()})


def join_hearings(parts: Iterable[Hearings]) -> Hearings:
    """One table from many, in their order."""
    kept = [part for part in parts if len(part)]
    return make_hearings(
        **{
            name: np.concatenate([getattr(part, name) for part in kept]) if kept else []
            for name in HEARING_TYPES
        }
    )


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """What hotspots assert, by ledger index; columns of equal length.

    Position is the centre of the cell (degrees), `resolution` that of the cell; `owner` numbers
    accounts, equal for one owner. `first_epoch`: from when the assertion binds; receptions before
    it were made elsewhere and are left out. `trust_ppm`: the ledger's trust against the mean, at
    most a million; `seed`: trust starts here.
    """

    keys: tuple[bytes, ...]
    owner: NDArray[np.int64]
    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    height_m: NDArray[np.float64]
    gain_cdb: NDArray[np.int16]
    eirp_cdbm: NDArray[np.int16]
    sets_power: NDArray[np.bool_]
    resolution: NDArray[np.uint8]
    first_epoch: NDArray[np.uint32]
    trust_ppm: NDArray[np.int64]
    seed: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check_lengths(self, len(self.keys))

    def __len__(self) -> int:
        return len(self.keys)

    def positions_m(self) -> NDArray[np.float64]:
        """Claimed places [n, 2], metres east and north of their middle."""
        if not len(self):
            return np.empty((0, 2))
        latitude, longitude = self.latitude_deg, self.longitude_deg
        middle = (latitude.min() + latitude.max()) / 2.0
        east = (longitude - longitude.mean()) * np.cos(np.radians(middle))
        plane = np.column_stack([east, latitude - latitude.mean()])
        return np.asarray(plane * METRES_PER_DEGREE, np.float64)

    def blur_m(self) -> NDArray[np.float64]:
        """How far from the centre of its cell each may stand."""
        return np.array([CELL_RADIUS_M[int(r)] for r in self.resolution], np.float64)


CLAIM_TYPES: dict[str, Any] = {
    "owner": np.int64,
    "latitude_deg": np.float64,
    "longitude_deg": np.float64,
    "height_m": np.float64,
    "gain_cdb": np.int16,
    "eirp_cdbm": np.int16,
    "sets_power": np.bool_,
    "resolution": np.uint8,
    "first_epoch": np.uint32,
    "trust_ppm": np.int64,
    "seed": np.bool_,
}


def make_claims(keys: Iterable[bytes], **columns: Any) -> Claims:
    """Claims from columns by name; InvalidInputError for a cell coarser or finer than allowed."""
    claims = Claims(
        tuple(keys), **{n: np.asarray(columns[n], kind) for n, kind in CLAIM_TYPES.items()}
    )
    if not np.isin(claims.resolution, list(CELL_RADIUS_M)).all():
        raise InvalidInputError("resolution", "not from 7 to 10", "use the asserted cell's")
    return claims


def check_indexes(hearings: Hearings, claims: Claims) -> None:
    """InvalidInputError if a reception names a hotspot that claims nothing."""
    for name in ("witness", "beaconer"):
        column = getattr(hearings, name)
        if len(column) and int(column.max()) >= len(claims):
            raise InvalidInputError(name, f"{column.max()} claims nothing", "leave its rows out")


def _check_lengths(table: Any, length: int) -> None:
    for each in fields(table):
        if len(getattr(table, each.name)) != length:
            raise InvalidInputError(each.name, f"not {length} rows", "give all columns one length")
