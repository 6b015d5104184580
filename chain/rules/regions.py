"""Regions: where a radio may send how much, by whose rules. A hotspot asserts one; 0 is none.

1 FCC: 47 CFR 15.247 (b)(3) and (b)(4), 1 W into the antenna, less whatever its gain has above 6
  dBi, so 36 dBm radiated (EIRP). The same for access points from 5,150 to 5,250 MHz by 15.407
  (a)(1)(i) and (ii), and above 5,725 MHz by (a)(3); a quarter of it between, (a)(2).
2 ETSI: 20 dBm EIRP by EN 300 328 V2.2.2, 4.3.2.2.3; 23 and, from 5,470 MHz on, 30 dBm by EN 301 893
  V2.2.1, table 2; 14 dBm (25 mW, as a short-range device) above 5,725 MHz by EN 300 440.
3 Japan: as Linux's regulatory database has it (wireless-regdb, country JP), 20 dBm EIRP, 23 from
  5,490 MHz on, nothing above 5,730 MHz.

These are the most that anybody may send there; a ledger sees no more. Who can't lower its power
(TPC) may send 3 dB less from 5,250 MHz on in Europe, an access point outdoors no more than 21 dBm
upwards from 5,150 to 5,250 MHz in the FCC's reach, and radar has to be looked for where the rules
say so: that is the radio's and its owner's business.

More gain than 6 dBi without less power is allowed in the FCC's bands for fixed point-to-point links
alone, 15.247 (c)(1): a beacon is for everybody around, so that never applies here. An assertion
says gain and EIRP; what goes into the antenna is the difference.

Evidence doesn't cross from one region to another: a radio that obeys one of them isn't where the
other rules, so one of both ends says something untrue.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.params import Params
from chain.records import Refusal, Registration

REGION_SHIFT, REGION_MASK = 1, 0b111
MAX_CDBM = 1 << 15  # beyond any power: no limit
OF_THE_FIRST_RULES = (1, 2)


@dataclass(frozen=True, slots=True)
class Band:
    """Frequencies of centres of channels from `low_mhz` up to, exclusive, `high_mhz`.

    Limits of what is radiated, and of what goes into the antenna.
    """

    low_mhz: int
    high_mhz: int
    eirp_cdbm: int
    conducted_cdbm: int = MAX_CDBM


@dataclass(frozen=True, slots=True)
class Region:
    """A regulator's name and where its rules let beacons be sent."""

    name: str
    bands: tuple[Band, ...]

    def find_band(self, frequency_mhz: int) -> Band | None:
        """The limits on a frequency; None where nothing may be sent."""
        for band in self.bands:
            if band.low_mhz <= frequency_mhz < band.high_mhz:
                return band
        return None


REGIONS: dict[int, Region] = {
    # Channels 1 to 11; 1 W into an antenna of 6 dBi; 250 mW from 5,250 to 5,725 MHz.
    1: Region(
        "FCC",
        (
            Band(2_400, 2_473, 3_600, 3_000),
            *(Band(5_150, 5_250, 3_600, 3_000), Band(5_250, 5_350, 3_000, 2_400)),
            *(Band(5_470, 5_725, 3_000, 2_400), Band(5_725, 5_850, 3_600, 3_000)),
        ),
    ),
    # Channels 1 to 13 with 100 mW; 200 mW indoors, 1 W outdoors; 25 mW for short-range devices.
    2: Region(
        "ETSI",
        (
            Band(2_400, 2_484, 2_000),
            *(Band(5_150, 5_350, 2_300), Band(5_470, 5_725, 3_000), Band(5_725, 5_875, 1_400)),
        ),
    ),
    # Channels 1 to 13; indoors below 5,350 MHz.
    3: Region(
        "Japan",
        (Band(2_402, 2_482, 2_000), Band(5_170, 5_330, 2_000), Band(5_490, 5_730, 2_300)),
    ),
}


def get_region(registration: Registration) -> int:
    """The number of the region that a hotspot asserts; 0 for none."""
    return registration.flags >> REGION_SHIFT & REGION_MASK


def get_region_refusal(params: Params, registration: Registration) -> Refusal | None:
    """Why a radio breaks the rules of its own region, if so."""
    number = get_region(registration)
    if not number:
        return None
    region = REGIONS.get(number)
    if region is None or not (params.conducted_limits or number in OF_THE_FIRST_RULES):
        known = ", ".join(f"{key} {one.name}" for key, one in sorted(REGIONS.items()))
        return Refusal("unknown_region", f"flags: region {number} is none; known are {known}")
    band = region.find_band(registration.frequency_mhz)
    if band is None:
        return Refusal(
            "wrong_region",
            f"frequency_mhz: {registration.frequency_mhz} isn't free in {region.name}; change it",
        )
    limit = band.eirp_cdbm
    if params.conducted_limits:
        limit = min(limit, band.conducted_cdbm + registration.gain_cdb)
    if registration.eirp_cdbm > limit:
        return Refusal(
            "over_cap",
            f"eirp_cdbm: at most {limit} on this channel and with this gain in {region.name};"
            " lower it",
        )
    return None
