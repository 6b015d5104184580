"""Regions: where a radio may send how much, by whose rules. A hotspot asserts one; 0 is none.

| number | region | limits of radiated power (EIRP) |
|---|---|---|
| 1 | FCC | 47 CFR 15.247, 15.407: 1 W and 6 dBi, a quarter of it from 5,250 to 5,725 MHz |
| 2 | ETSI | EN 300 328, EN 301 893, EN 300 440: 20, 23, 30 and, above 5,725 MHz, 14 dBm |

Evidence doesn't cross from one region to another: a radio that obeys one of them isn't where the
other rules, so one of both ends says something untrue.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.records import Refusal, Registration

REGION_SHIFT, REGION_MASK = 1, 0b111


@dataclass(frozen=True, slots=True)
class Band:
    """Frequencies of centres of channels from `low_mhz` up to, exclusive, `high_mhz`."""

    low_mhz: int
    high_mhz: int
    eirp_cdbm: int


@dataclass(frozen=True, slots=True)
class Region:
    """A regulator's name and where its rules let beacons be sent."""

    name: str
    bands: tuple[Band, ...]

    def limit_cdbm(self, frequency_mhz: int) -> int | None:
        """The most that may be radiated on a frequency; None where nothing may."""
        for band in self.bands:
            if band.low_mhz <= frequency_mhz < band.high_mhz:
                return band.eirp_cdbm
        return None


REGIONS: dict[int, Region] = {
    # Channels 1 to 11; 1 W into an antenna of 6 dBi; 250 mW from 5,250 to 5,725 MHz.
    1: Region(
        "FCC",
        (
            Band(2_400, 2_473, 3_600),
            *(Band(5_150, 5_250, 3_600), Band(5_250, 5_350, 3_000)),
            *(Band(5_470, 5_725, 3_000), Band(5_725, 5_850, 3_600)),
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
}


def get_region(registration: Registration) -> int:
    """The number of the region that a hotspot asserts; 0 for none."""
    return registration.flags >> REGION_SHIFT & REGION_MASK


def get_region_refusal(registration: Registration) -> Refusal | None:
    """Why a radio breaks the rules of its own region, if so."""
    number = get_region(registration)
    if not number:
        return None
    region = REGIONS.get(number)
    if region is None:
        known = ", ".join(f"{key} {one.name}" for key, one in sorted(REGIONS.items()))
        return Refusal("unknown_region", f"flags: region {number} is none; known are {known}")
    limit = region.limit_cdbm(registration.frequency_mhz)
    if limit is None:
        return Refusal(
            "wrong_region",
            f"frequency_mhz: {registration.frequency_mhz} isn't free in {region.name}; change it",
        )
    if registration.eirp_cdbm > limit:
        return Refusal(
            "over_cap", f"eirp_cdbm: at most {limit} on this channel in {region.name}; lower it"
        )
    return None
