"""Observations: what a hotspot's signed report says about the signal in the cell where it stands.

A report of epoch e holds raw receptions. An observation takes out what is not the place: the secret
power step of the beaconer (known once its secret is revealed) and the gain of the witness's own
antenna, so that a value is what an isotropic antenna in that cell would get from a beacon at full
power. The cell is the one that the witness's owner published; nothing finer is known or guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import h3.api.basic_int as h3

from chain.records import EpochMessage, MapperReport, Registration
from chain.wire import iter_receptions
from coverage_map import cells
from coverage_map.propagation.pathloss import free_space_db

FINEST_RESOLUTION = 10
FLAG_NO_RSSI = 1  # of a reception
FLAG_SETS_POWER = 1  # of a registration
CDB = 100
KIND_WITNESS = "witness"
KIND_MAPPER = "mapper"
# Nothing is received stronger than through free space at this distance: a phone beside the mast.
NEAREST_M = 1.0


class Standing(IntEnum):
    """What an observation may be used for."""

    REFUSED = 0  # a rule speaks against it: evidence only
    PENDING = 1  # no verdict yet: shown as news, never as a measurement
    HINT = 2  # plausible, but nobody else confirms it
    LATE = 3  # arrived after its epoch: unpaid, but it measures
    MEASURED = 4  # every check on the signal passed


# Rules that come before the draw speak about the signal; the draw only decides who is paid.
STANDING_OF_REASON: Mapping[str, Standing] = {
    "counted": Standing.MEASURED,
    "not_drawn": Standing.MEASURED,
    "mapped": Standing.MEASURED,
    "late": Standing.LATE,
    "not_mutual": Standing.HINT,
    "same_owner": Standing.HINT,
    "untrusted_witness": Standing.HINT,
    "pending": Standing.PENDING,
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a hotspot stands and what it radiates, as its owner published it."""

    index: int
    key: bytes
    owner: bytes
    cell: int
    latitude_deg: float
    longitude_deg: float
    height_m: int
    gain_cdb: int
    eirp_cdbm: int
    frequency_mhz: int
    sets_power: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """One reception; `rssi_cdbm` is None while the driver or the secret is silent."""

    cell: int
    beaconer: int
    witness: int
    epoch: int
    sequence: int
    rssi_cdbm: int | None
    time_ms: int
    ledger_sequence: int
    reason: str
    standing: Standing
    kind: str = KIND_WITNESS


# (beaconer, epoch, beacon number) -> (tag it carried, dB below full power), None while secret
Beaconed = Callable[[int, int, int], tuple[bytes, int] | None]
# (witness, beaconer, beacon number) -> reason of the verdict
Reasons = Mapping[tuple[int, int, int], str]


def site_of(index: int, assertion: Registration) -> Site:
    """The site that a registration asserts."""
    return Site(
        index=index,
        key=assertion.key,
        owner=assertion.owner,
        cell=assertion.cell,
        latitude_deg=assertion.latitude_udeg / 1e6,
        longitude_deg=assertion.longitude_udeg / 1e6,
        height_m=assertion.height_m,
        gain_cdb=assertion.gain_cdb,
        eirp_cdbm=assertion.eirp_cdbm,
        frequency_mhz=assertion.frequency_mhz,
        sets_power=bool(assertion.flags & FLAG_SETS_POWER),
    )


def standing_of(reason: str) -> Standing:
    """What a verdict's reason lets the map do; a reason that is not known here refuses."""
    return STANDING_OF_REASON.get(reason, Standing.REFUSED)


def observations_of(
    message: EpochMessage,
    ledger_sequence: int,
    witness: Site,
    time_ms: int,
    reasons: Reasons,
    default_reason: str,
    beaconed: Beaconed,
) -> list[Observation]:
    """Observations in the report of `message`, which speaks of the epoch before its own.

    `default_reason` stands for receptions without a verdict, as in a late report; these are at
    least held against the tag that the beaconer's secret gives. A second reception of the same
    beacon is a duplicate, as it is to the ledger.
    """
    heard_in = message.epoch - 1
    found = []
    before = (-1, -1)
    for heard, sequence, flags, rssi_cdbm, _, tag in iter_receptions(message.report):
        sent = beaconed(heard, heard_in, sequence)
        reason = reasons.get((message.hotspot, heard, sequence), default_reason)
        if reason == "late" and (sent is None or sent[0] != tag):
            reason = "no_reveal" if sent is None else "wrong_tag"
        if before == (heard, sequence):
            reason = "duplicate"
        before = (heard, sequence)
        full_cdbm = None
        if sent is not None and not flags & FLAG_NO_RSSI:
            full_cdbm = rssi_cdbm + sent[1] * CDB - witness.gain_cdb
        found.append(
            Observation(
                cell=witness.cell,
                beaconer=heard,
                witness=message.hotspot,
                epoch=heard_in,
                sequence=sequence,
                rssi_cdbm=full_cdbm,
                time_ms=time_ms,
                ledger_sequence=ledger_sequence,
                reason=reason,
                standing=standing_of(reason),
            )
        )
    return found


def mapped_of(
    report: MapperReport,
    ledger_sequence: int,
    mapper: int,
    time_ms: int,
    sites: Mapping[int, Site],
    beaconed: Beaconed,
) -> list[Observation]:
    """Observations in a mapper's report: of known hotspots, with the tag that their secret gives.

    A signal stronger than free space could bring it from the near edge of the cell is refused.
    """
    found: list[Observation] = []
    before = (-1, -1)
    for heard, sequence, flags, rssi_cdbm, _, tag in iter_receptions(report.report):
        sent, site = beaconed(heard, report.epoch, sequence), sites.get(heard)
        full_cdbm = None
        if sent is not None and not flags & FLAG_NO_RSSI:
            full_cdbm = rssi_cdbm + sent[1] * CDB
        reason = "mapped"
        if site is None or sent is None or sent[0] != tag:
            reason = "no_reveal" if sent is None else "wrong_tag"
        elif full_cdbm is not None and full_cdbm > strongest_cdbm(site, report.cell):
            reason = "too_strong"
        elif before == (heard, sequence):
            reason = "duplicate"
        before = (heard, sequence)
        found.append(
            Observation(
                *(report.cell, heard, mapper, report.epoch, sequence, full_cdbm, time_ms),
                *(ledger_sequence, reason, standing_of(reason), KIND_MAPPER),
            )
        )
    return found


def strongest_cdbm(site: Site, cell: int) -> int:
    """What free space would bring from a site to the nearest place in a cell, in cdBm."""
    latitude, longitude = cells.centre(cell)
    metres = float(cells.distance_m(site.latitude_deg, site.longitude_deg, latitude, longitude))
    # The radius of the mapper's cell and that of the site's, whose owner chose how coarse it is.
    near = h3.average_hexagon_edge_length(cell >> 52 & 0xF, unit="m")
    near += h3.average_hexagon_edge_length(site.cell >> 52 & 0xF, unit="m")
    loss_db = free_space_db(max(metres - 1.35 * near, NEAREST_M), site.frequency_mhz * 1e6)
    return site.eirp_cdbm - round(100.0 * float(loss_db))
