"""Bounties on the map: what the ledger says is left, and what the records say was offered.

The ledger's list (`GET /v1/bounties`) knows what a cell's bounty still holds; what it held at
first, and since when, stands in the sponsor's record alone, which the feed has read. Both together
say what was paid so far.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coverage_map import cells
from coverage_map.observations import Site
from coverage_map.service.features import feature, polygon
from coverage_map.store.view import Clock

JsonObject = dict[str, Any]
Terms = tuple[int, int]  # micro-credits per cell at first, epoch of the offer


@dataclass(frozen=True, slots=True)
class Offer:
    """What one bounty holds for one cell; amounts in micro-credits."""

    cell: int
    number: int
    sponsor: str
    left_ucr: int
    per_settlement_ucr: int
    until_epoch: int
    amount_ucr: int | None  # None where the map has not read the record
    since_epoch: int | None

    @property
    def due_ucr(self) -> int:
        """The most that the next settlement takes out of it."""
        return min(self.per_settlement_ucr, self.left_ucr)

    @property
    def paid_ucr(self) -> int | None:
        """What settlements took out of it so far, the fee included."""
        return None if self.amount_ucr is None else self.amount_ucr - self.left_ucr

    @property
    def identity(self) -> str:
        """Its name as a feature."""
        return f"{self.cell:x}-{self.number}"


def offers_of(document: Mapping[str, Any], terms: Mapping[int, Terms]) -> tuple[Offer, ...]:
    """Offers of the ledger's list, by cell and number; KeyError, TypeError, ValueError for others.

    `terms` are those of the sponsors' records, by number of the bounty.
    """
    found = [_offer(row, terms) for row in document["bounties"]]
    return tuple(sorted(found, key=lambda offer: (offer.cell, offer.number)))


def _offer(row: Mapping[str, Any], terms: Mapping[int, Terms]) -> Offer:
    number = int(row["number"])
    amount_ucr, since = terms.get(number, (None, None))
    return Offer(
        int(row["cell"], 16),
        number,
        str(row["sponsor"]),
        int(row["left_ucr"]),
        int(row["per_settlement_ucr"]),
        int(row["until_epoch"]),
        amount_ucr,
        since,
    )


def due_by_cell(offers: Iterable[Offer]) -> dict[int, int]:
    """What the next settlement offers in each cell, micro-credits."""
    found: dict[int, int] = {}
    for offer in offers:
        found[offer.cell] = found.get(offer.cell, 0) + offer.due_ucr
    return found


def offers_in(offers: Iterable[Offer], cell: int) -> list[Offer]:
    """Offers that concern a cell: for the cell around it, or for cells inside it."""
    return [offer for offer in offers if _touches(offer.cell, cell)]


def _touches(offered: int, cell: int) -> bool:
    its, own = offered >> 52 & 0xF, cell >> 52 & 0xF
    if own >= its:
        return int(cells.parents(cell, its)) == offered
    return int(cells.parents(offered, own)) == cell


def standing_in(sites: Collection[Site], offers: Collection[Offer]) -> dict[int, int]:
    """How many hotspots stand in each cell with an offer, as far as owners published it."""
    counts = dict.fromkeys((offer.cell for offer in offers), 0)
    levels = {cell >> 52 & 0xF for cell in counts}
    own = np.array([site.cell for site in sites] if counts else [], np.uint64)
    for level in sorted(levels):
        fine = own[cells.resolutions(own) >= level]
        found, numbers = np.unique(cells.parents(fine, level), return_counts=True)
        for cell, number in zip(found.tolist(), numbers.tolist(), strict=True):
            if cell in counts:
                counts[cell] = number
    return counts


def offer_properties(offer: Offer, clock: Clock, standing: int) -> JsonObject:
    """One offer, flat; `standing` hotspots are in its cell."""
    return {
        "h3": cells.text_of(offer.cell),
        "bounty": offer.number,
        "sponsor": offer.sponsor,
        "left_ucr": offer.left_ucr,
        "per_settlement_ucr": offer.per_settlement_ucr,
        "amount_ucr": offer.amount_ucr,
        "paid_ucr": offer.paid_ucr,
        "since_epoch": offer.since_epoch,
        "until_epoch": offer.until_epoch,
        "until_ms": clock.end_ms(offer.until_epoch),
        "hotspots_in_cell": standing,
    }


def offer_feature(offer: Offer, clock: Clock, standing: int) -> JsonObject:
    """One offer with its cell's hexagon."""
    about = offer_properties(offer, clock, standing)
    return feature(offer.identity, polygon(offer.cell), about)
