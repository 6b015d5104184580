"""What is true of two hotspots as long as neither moves: distance, and plausible strength."""

from __future__ import annotations

from dataclasses import dataclass

from chain.envelope import band_of, loss_bounds_cdb
from chain.geo import cell_resolution, distance_m
from chain.records import Registration
from chain.rules.regions import get_region
from chain.state import Assertion

# The farthest that a point of an H3 cell lies from its centre, in m, by resolution: the edge of a
# hexagon (h3geo.org, averages 1,406 / 531 / 201 / 76 m) and a fifth more for the distorted ones.
CELL_RADIUS_M = {7: 1_690, 8: 640, 9: 242, 10: 92}
MAX_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Facts about a link; RSSI bounds are for full power, in centi-dBm."""

    distance_m: int
    nearest_m: int
    farthest_m: int
    rssi_low_cdbm: int
    rssi_high_cdbm: int
    same_owner: bool
    foreign: bool = False  # in two regions, each with its own limits


def compute_pair(witness: Registration, beaconer: Registration) -> Pair:
    """The facts about a witness hearing a beaconer."""
    apart = distance_m(
        *(witness.latitude_udeg, witness.longitude_udeg),
        *(beaconer.latitude_udeg, beaconer.longitude_udeg),
    )
    blur = sum(CELL_RADIUS_M[cell_resolution(end.cell)] for end in (witness, beaconer))
    nearest, farthest = max(1, apart - blur), apart + blur
    loudest = beaconer.eirp_cdbm + witness.gain_cdb
    # Without a band there is no plausible strength: bounds that nothing meets.
    low, high = 1, 0
    if (band := band_of(beaconer.frequency_mhz)) is not None:
        least, most = loss_bounds_cdb(band, nearest, farthest)
        low, high = loudest - most, loudest - least
    same_owner = witness.owner == beaconer.owner
    foreign = get_region(witness) != get_region(beaconer)
    return Pair(apart, nearest, farthest, low, high, same_owner, foreign)


class PairCache:
    """Pairs by the assertions of both ends; forgets them all rather than grow without bound."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[int, int], Pair] = {}
        # What chain/rules/verdict_arrays.py keeps: bounds of links, and facts about assertions.
        self.runs: object = None
        self.asserted: object = None

    def known(self, witness: int, beaconer: int) -> Pair | None:
        """A pair by the serials of both assertions, if it was computed before."""
        return self._pairs.get((witness, beaconer))

    def get(self, witness: Assertion, beaconer: Assertion) -> Pair:
        """The facts about a pair, computed once."""
        key = (witness.serial, beaconer.serial)
        pair = self._pairs.get(key)
        if pair is None:
            if len(self._pairs) >= MAX_PAIRS:
                self._pairs.clear()
            pair = self._pairs[key] = compute_pair(witness.registration, beaconer.registration)
        return pair
