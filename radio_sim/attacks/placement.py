"""What an attack changes of an honest network: radios, claims, and who is in the plot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import h3
import numpy as np
from numpy.typing import NDArray

from chain.cells import cell_centre
from coverage_map.audit.table import METRES_PER_DEGREE
from radio_sim.attacks.sites import PATCH_APART_M, Sites, side_m, uniform_column
from radio_sim.draws import draw_u64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

LATITUDE_DEG, LONGITUDE_DEG = 47.0, 8.0
NO_RADIO = -1  # in `radio_of`: nothing is on the air, and nothing is heard


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Keys, the radios they really use, and what they claim.

    `attackers` collude; `liars` are those of them that pretend (the others are accomplices whose
    claims are true). `radio_of`: radio of every key from an epoch on, by that epoch; `radio_m` and
    `radio_patch` describe radios, of which the first are the hotspots' own. `boost_db`: power on
    the air beyond what was asserted. `silent`: sends no beacons, though it reveals what they were.
    """

    sites: Sites
    attackers: Flags
    liars: Flags
    radio_m: Floats
    radio_patch: Ints
    radio_of: tuple[tuple[int, Ints], ...]
    claimed_m: Floats
    claimed_gain_db: Floats
    claimed_height_m: Floats
    boost_db: Floats
    silent: Flags

    @property
    def lies_from(self) -> int:
        """The epoch from which claims are lies: later than 0 for who is carried away."""
        return self.radio_of[-1][0]

    def radios_at(self, epoch: int) -> Ints:
        """The radio of every key in an epoch."""
        return next(radios for first, radios in reversed(self.radio_of) if first <= epoch)


def get_honest_placement(sites: Sites) -> Placement:
    """Everybody where he says, with his own radio."""
    count = len(sites)
    nobody = np.zeros(count, np.bool_)
    return Placement(
        *(sites, nobody, nobody, sites.positions_m, sites.patch),
        ((0, np.arange(count)),),
        *(sites.positions_m.copy(), sites.gain_db.copy(), sites.height_m.copy(), np.zeros(count)),
        nobody,
    )


def pick_attackers(sites: Sites, share: float) -> Ints:
    """So many hotspots, spread over all patches, ascending; at least one, none at a share of 0."""
    if share <= 0:
        return np.empty(0, np.int64)
    order = np.argsort(uniform_column(sites.seed, "attackers", len(sites)), kind="stable")
    return np.sort(order[: max(1, round(share * len(sites)))])


def with_plot(placement: Placement, attackers: Ints, liars: Ints) -> Placement:
    """The same network with some in the plot, some of whom lie about their place."""
    plot, lies = np.zeros(len(placement.sites), np.bool_), np.zeros(len(placement.sites), np.bool_)
    plot[attackers], lies[liars] = True, True
    return replace(placement, attackers=plot, liars=lies)


def add_radios(placement: Placement, positions_m: Floats, patch: Ints) -> tuple[Placement, Ints]:
    """More radios; their numbers."""
    first = len(placement.radio_patch)
    added = replace(
        placement,
        radio_m=np.concatenate([placement.radio_m, positions_m]),
        radio_patch=np.concatenate([placement.radio_patch, patch]),
    )
    return added, np.arange(first, first + len(patch))


def places_away(sites: Sites, keys: Ints, near_m: float, far_m: float, name: str) -> Floats:
    """A place for each key, from `near_m` to `far_m` away, inside its patch as far as it can."""
    numbers = np.arange(len(sites))
    angle = 2 * np.pi * uniform_column(sites.seed, f"{name} angle", len(sites))[numbers]
    length = near_m + (far_m - near_m) * uniform_column(sites.seed, f"{name} far", len(sites))
    best = sites.positions_m.copy()
    for turn in range(4):  # of four directions, the one that stays deepest inside the patch
        bent = angle + turn * np.pi / 2
        tried = sites.positions_m + length[:, None] * np.column_stack([np.cos(bent), np.sin(bent)])
        better = _outside_m(sites, tried) < _outside_m(sites, best) if turn else slice(None)
        best[better] = tried[better]
    return best[keys]


def _outside_m(sites: Sites, places: Floats) -> Floats:
    """How far places lie outside of their patch."""
    members = np.bincount(sites.patch, minlength=3)
    side = np.array([side_m(p, int(members[p])) for p in range(3)])[sites.patch]
    local = places - np.column_stack([PATCH_APART_M * sites.patch, np.zeros(len(sites))])
    beyond = np.maximum(np.maximum(-local, local - side[:, None]), 0.0)
    return np.asarray(np.hypot(beyond[:, 0], beyond[:, 1]), np.float64)


def groups_of(keys: Ints, sites: Sites, size: int) -> list[Ints]:
    """Keys in groups of neighbours of at most `size`, none across patches."""
    groups = []
    for patch in np.unique(sites.patch[keys]):
        members = keys[sites.patch[keys] == patch]
        order = members[np.argsort(sites.positions_m[members, 0], kind="stable")]
        groups += [order[start : start + size] for start in range(0, len(order), size)]
    return groups


def degrees_of(positions_m: Floats) -> tuple[Floats, Floats]:
    """Latitude and longitude of places in metres."""
    latitude = LATITUDE_DEG + positions_m[:, 1] / METRES_PER_DEGREE
    narrow = np.cos(np.radians(LATITUDE_DEG))
    return latitude, LONGITUDE_DEG + positions_m[:, 0] / METRES_PER_DEGREE / narrow


def get_claimed_cells(placement: Placement) -> list[tuple[int, int, int]]:
    """Cell and its centre in micro-degrees, per key: what goes into a registration."""
    latitude, longitude = degrees_of(placement.claimed_m)
    found = []
    for lat, lon, resolution in zip(
        latitude, longitude, placement.sites.resolution, strict=True
    ):
        cell = int(h3.latlng_to_cell(float(lat), float(lon), int(resolution)), 16)
        found.append((cell, *cell_centre(cell)))
    return found


def seed_of(placement: Placement, name: str) -> int:
    """A seed for draws of the attackers' own."""
    return draw_u64(placement.sites.seed, "plot", name)
