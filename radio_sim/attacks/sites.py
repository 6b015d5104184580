"""Where the laboratory's hotspots stand and what their radios and drivers are like.

Three patches far apart: a city, a suburb, farmland. A tenth of the drivers drops 80 % of all
frames, some give no RSSI or can't set their power, lines are cut, boxes go offline, clocks are
wrong. Every draw is a counter hash of the seed and of what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radio_sim.draws import draw_u64, draws_u64, normals, uniforms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

PATCH_APART_M = 60_000.0  # beyond the longest link that the rules take
DROPPING_SHARE, DROPPING_KEEPS = 0.1, 0.2
NO_RSSI_SHARE, FIXED_POWER_SHARE = 0.05, 0.15
OFFLINE_SHARE, WRONG_CLOCK_SHARE = 0.1, 0.02
HEARD_OFFSET_DB, SENT_OFFSET_DB = 2.0, 1.0  # deviations of receivers and of data sheets
CUT_PART = 40  # a power cut of a patch lasts this part of a run
RESOLUTIONS = ((7, 0.03), (8, 0.10), (9, 0.45), (10, 1.0))  # cumulative shares


@dataclass(frozen=True, slots=True)
class Patch:
    """A kind of place: its 38.901 environment, its share, typical spacing, longest link."""

    name: str
    environment: str
    share: float
    apart_m: float
    reach_m: float


PATCHES = (
    Patch("city", "umi", 0.6, 170.0, 2_000.0),
    Patch("suburb", "uma", 0.25, 320.0, 4_000.0),
    Patch("farmland", "rma", 0.15, 900.0, 20_000.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """Hotspots as they are; columns of equal length but `present` [hotspots, epochs].

    `keeps`: share of the frames that the driver hands over; `step_scale`: dB that a power step of
    one dB really takes away; `resolution` of the cell that the owner asserts.
    """

    seed: int
    patch: Ints
    positions_m: Floats
    height_m: Floats
    gain_db: Floats
    eirp_dbm: Floats
    sent_offset_db: Floats
    heard_offset_db: Floats
    step_scale: Floats
    keeps: Floats
    has_rssi: Flags
    sets_power: Flags
    resolution: Ints
    present: Flags

    def __len__(self) -> int:
        return len(self.patch)


def get_kinds(sites: Sites) -> dict[str, Flags]:
    """Hotspots by what makes an honest life hard."""
    there = sites.present.mean(axis=1)
    turns = np.abs(np.diff(sites.present.astype(np.int64), axis=1)).sum(axis=1)
    wrong = turns > sites.present.shape[1] // 10
    kinds = {patch.name: sites.patch == number for number, patch in enumerate(PATCHES)}
    return kinds | {
        "drops 80 % of frames": sites.keeps <= DROPPING_KEEPS,
        "no RSSI": ~sites.has_rssi,
        "fixed power": ~sites.sets_power,
        "wrong clock": wrong,
        "offline for long": (there < 0.9) & ~wrong,
    }


def uniform_column(seed: int, name: str, count: int) -> Floats:
    """One number in [0, 1) per index."""
    return uniforms(draws_u64(draw_u64(seed, name), np.arange(count, dtype=np.uint64)))


def normal_column(seed: int, name: str, count: int) -> Floats:
    """One standard normal number per index."""
    return normals(draws_u64(draw_u64(seed, name), np.arange(count, dtype=np.uint64)))


def choose(part: Floats, values: tuple[float, ...]) -> Floats:
    """One of some values, evenly, by a number in [0, 1)."""
    return np.asarray(values)[(part * len(values)).astype(np.int64)]


def draw_sites(count: int, epochs: int, seed: int) -> Sites:
    """An honest network; ValueError for fewer than ten hotspots or no epochs."""
    if count < 10 or epochs < 1:
        raise ValueError(f"hotspots: {count} over {epochs} epochs prove nothing; use 10 or more")
    patch = get_patches(count)

    def part(name: str) -> Floats:
        return uniform_column(seed, name, count)

    return Sites(
        seed,
        patch,
        draw_positions(patch, seed),
        height_m=3.0 + 12.0 * part("height"),
        gain_db=choose(part("gain"), (2.0, 3.0, 5.0, 8.0)),
        eirp_dbm=choose(part("eirp"), (20.0, 23.0, 27.0)),
        sent_offset_db=SENT_OFFSET_DB * normal_column(seed, "sent", count),
        heard_offset_db=HEARD_OFFSET_DB * normal_column(seed, "heard", count),
        step_scale=0.9 + 0.15 * part("scale"),
        keeps=np.where(
            part("dropping") < DROPPING_SHARE, DROPPING_KEEPS, 0.8 + 0.2 * part("keeps")
        ),
        has_rssi=part("rssi") >= NO_RSSI_SHARE,
        sets_power=part("power") >= FIXED_POWER_SHARE,
        resolution=draw_resolutions(part("resolution")),
        present=draw_presence(patch, epochs, seed),
    )


def get_patches(count: int) -> Ints:
    """The patch of every hotspot, ascending."""
    ends = np.round(count * np.cumsum([patch.share for patch in PATCHES])).astype(np.int64)
    return np.asarray(np.searchsorted(ends, np.arange(count), side="right"), np.int64)


def draw_resolutions(part: Floats) -> Ints:
    """Resolutions by their shares."""
    at = np.searchsorted([share for _, share in RESOLUTIONS], part, side="right")
    return np.asarray([resolution for resolution, _ in RESOLUTIONS], np.int64)[at]


def side_m(patch: int, count: int) -> float:
    """Length of the square that so many hotspots of a patch fill."""
    return PATCHES[patch].apart_m * float(np.sqrt(max(1, count)))


def draw_positions(patch: Ints, seed: int) -> Floats:
    """Places in metres, within a patch no nearer than a third of the typical spacing."""
    placed = np.zeros((len(patch), 2))
    for number, kind in enumerate(PATCHES):
        members = np.flatnonzero(patch == number)
        placed[members] = _scatter(len(members), kind, draw_u64(seed, "place", number))
        placed[members, 0] += PATCH_APART_M * number
    return placed


def _scatter(count: int, kind: Patch, key: int) -> Floats:
    """By rejection: a third of the spacing leaves nine tenths of the square free."""
    side = kind.apart_m * np.sqrt(max(1, count))
    kept = np.empty((count, 2))
    held = tried = 0
    while held < count:
        numbers = np.arange(2 * tried, 2 * tried + 2, dtype=np.uint64)
        place = side * uniforms(draws_u64(key, numbers))
        tried += 1
        if (np.hypot(*(kept[:held] - place).T) > kind.apart_m / 3.0).all():
            kept[held] = place
            held += 1
    return kept


def draw_presence(patch: Ints, epochs: int, seed: int) -> Flags:
    """Power cuts of patches, long times offline, and clocks that lose every other epoch."""
    count = len(patch)
    present = np.ones((count, epochs), np.bool_)
    for number in range(len(PATCHES)):
        start = draw_u64(seed, "cut", number) % epochs
        present[patch == number, start : start + epochs // CUT_PART] = False
    for hotspot in np.flatnonzero(uniform_column(seed, "offline", count) < OFFLINE_SHARE):
        start = draw_u64(seed, "offline from", int(hotspot)) % epochs
        present[hotspot, start : start + epochs // 2] = False
    for hotspot in np.flatnonzero(uniform_column(seed, "clock", count) < WRONG_CLOCK_SHARE):
        present[hotspot] &= uniform_column(seed + int(hotspot), "ticks", epochs) < 0.5
    return present
