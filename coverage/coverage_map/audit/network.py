"""The network as the tests see it: losses between claimed places, a law of loss, anchors.

The law of loss (law.py) is fitted to anchors, and only they speak about others: hotspots that trust
has reached and that aren't under suspicion themselves. City, suburb and farmland have laws of their
own; which is which shows in how far apart anchors stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from coverage_map.audit.law import Law, Sound, fit_laws, get_reach, make_columns
from coverage_map.audit.links import Evidence, Links
from coverage_map.audit.table import Claims

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# A twentieth of the mean trust: rings behind one honest friend share less among themselves.
ANCHOR_TRUST_PPM = 50_000
LEAST_MEASURED = 3  # packets before a link's mean says anything
NEIGHBOURS = 80  # nearest anchors whose silence is asked for
# Who was there together for five epochs, 20 beacons, and has a link is heard, even by a driver
# that keeps a fifth of all frames: 0.8^20 = 1 %.
JOINT_EPOCHS = 5
CROWD = 5
KIND_EDGES_M = (300.0, 700.0)  # to the fifth nearest anchor: city, suburb, farmland


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of hotspots, first < second, that hear each other or stand near enough to.

    `loss_db`: mean of both directions, NaN where neither was measured; `most_db`: loss beyond
    which neither would hear the other; `first_told`, `second_told`: the other end reports it;
    `kind`: whose law holds, an index into `Network.laws`.
    `near`: one is among the other's nearest anchors. Beyond those nobody asked about silence, so
    that links there say nothing about the law.
    """

    first: Ints
    second: Ints
    loss_db: Floats
    most_db: Floats
    heard: Flags
    mutual: Flags
    first_told: Flags
    second_told: Flags
    distance_m: Floats
    kind: Ints
    near: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Everything that tests share.

    `loss_db` per directed link; `offset_db` and `kind`, an index into `laws`, per hotspot.
    """

    claims: Claims
    evidence: Evidence
    positions_m: Floats
    blur_m: Floats
    anchor: Flags
    loss_db: Floats
    floor_dbm: float
    pairs: Pairs
    laws: tuple[Law, ...]
    kind: Ints
    offset_db: Floats

    def __len__(self) -> int:
        return len(self.claims)

    def law_columns(self, kind: Ints) -> Floats:
        """The law of each kind, [n, 8], as `make_columns` gives it."""
        return make_columns(self.laws, kind)


def get_anchors(claims: Claims, suspects: Flags) -> Flags:
    """Who may speak about others: everybody without suspicion where no trust is known."""
    trusted = (claims.trust_ppm >= ANCHOR_TRUST_PPM) | claims.seed
    anchors = trusted & ~suspects
    return anchors if anchors.any() else ~suspects


def build_network(evidence: Evidence, claims: Claims, suspects: Flags) -> Network:
    """Lay out the network and fit the law of loss to its anchors."""
    links = evidence.links
    positions = claims.positions_m()
    anchor = get_anchors(claims, suspects)
    gain, eirp = 0.01 * claims.gain_cdb, 0.01 * claims.eirp_cdbm
    full = np.where(links.measured >= LEAST_MEASURED, links.full_db, np.nan)
    loss = eirp[links.beaconer] + gain[links.witness] - full
    floor_dbm = compute_floor_dbm(full[anchor[links.beaconer] & anchor[links.witness]])
    kind = find_kinds(positions, anchor)
    pairs = find_pairs(evidence, claims, positions, anchor, loss, floor_dbm, kind)
    laws, offset = fit_laws(get_sound(pairs, anchor), len(claims), len(KIND_EDGES_M) + 1)
    return Network(
        claims=claims,
        evidence=evidence,
        positions_m=positions,
        blur_m=claims.blur_m(),
        anchor=anchor,
        loss_db=loss,
        floor_dbm=floor_dbm,
        pairs=pairs,
        laws=laws,
        kind=kind,
        offset_db=offset,
    )


def find_kinds(positions_m: Floats, anchor: Flags) -> Ints:
    """Which law holds at each claimed place, by the distance of the CROWD-th nearest anchor."""
    anchors = np.flatnonzero(anchor)
    if len(anchors) <= CROWD:
        return np.zeros(len(positions_m), np.int64)
    apart, _ = cKDTree(positions_m[anchors]).query(positions_m, k=CROWD + 1)
    return np.asarray(np.searchsorted(KIND_EDGES_M, apart[:, CROWD]), np.int64)


def compute_floor_dbm(full_db: Floats) -> float:
    """The level at which links appear: only the strongest packets of weaker ones arrive."""
    known = full_db[~np.isnan(full_db)]
    return float(np.quantile(known, 0.02)) if len(known) >= 20 else -94.0


def find_pairs(
    evidence: Evidence,
    claims: Claims,
    positions_m: Floats,
    anchor: Flags,
    loss_db: Floats,
    floor_dbm: float,
    kind: Ints,
) -> Pairs:
    """Pairs with a link, and pairs of neighbours without one that were there together."""
    links, count = evidence.links, len(claims)
    keys = _key(links.beaconer, links.witness, count)
    near = _near_keys(positions_m, anchor, count)
    silent = np.setdiff1d(near, keys)
    silent = silent[are_together(evidence.active, silent // count, silent % count)]
    heard, mean, told = _fold(keys, loss_db, links)
    everyone = np.concatenate([heard, silent])
    order = np.argsort(everyone)
    first, second = everyone[order] // count, everyone[order] % count
    apart = positions_m[first] - positions_m[second]
    told = np.concatenate([told, np.zeros((len(silent), 2), np.bool_)])[order]
    return Pairs(
        first=first,
        second=second,
        loss_db=np.concatenate([mean, np.full(len(silent), np.nan)])[order],
        most_db=_most_db(claims, first, second, floor_dbm),
        heard=(np.arange(len(everyone)) < len(heard))[order],
        mutual=told[:, 0] & told[:, 1],
        first_told=told[:, 0],
        second_told=told[:, 1],
        distance_m=np.hypot(apart[:, 0], apart[:, 1]),
        kind=np.maximum(kind[first], kind[second]),
        near=np.isin(everyone[order], near),
    )


def _key(one: Ints, other: Ints, count: int) -> Ints:
    return np.asarray(np.minimum(one, other) * count + np.maximum(one, other), np.int64)


def _near_keys(positions_m: Floats, anchor: Flags, count: int) -> Ints:
    """Keys of everybody with its nearest anchors."""
    anchors = np.flatnonzero(anchor)
    wanted = min(NEIGHBOURS + 1, len(anchors))
    if wanted < 2:
        return np.empty(0, np.int64)
    _, near = cKDTree(positions_m[anchors]).query(positions_m, k=wanted)
    other = anchors[np.asarray(near).reshape(count, wanted)]
    own = np.repeat(np.arange(count), wanted)
    keys = _key(own, other.ravel(), count)
    return np.unique(keys[own != other.ravel()])


def are_together(active: Flags, one: Ints, other: Ints) -> Flags:
    """Whether both were there in enough epochs."""
    together = np.empty(len(one), np.bool_)
    for start in range(0, len(one), 1 << 16):
        part = slice(start, start + (1 << 16))
        both = (active[one[part]] & active[other[part]]).sum(axis=1)
        together[part] = both >= JOINT_EPOCHS
    return together


def _fold(keys: Ints, loss_db: Floats, links: Links) -> tuple[Ints, Floats, Flags]:
    """Both directions of a pair as one: keys, mean loss, who of both is reported by the other."""
    pairs, place = np.unique(keys, return_inverse=True)
    known = ~np.isnan(loss_db)
    weight = np.bincount(place, known, len(pairs))
    total = np.bincount(place, np.where(known, loss_db, 0.0), len(pairs))
    told = np.zeros((len(pairs), 2), np.bool_)
    there = links.count > 0
    told[place[there], (links.beaconer > links.witness)[there].astype(np.int64)] = True
    with np.errstate(invalid="ignore"):
        return pairs, total / weight, told


def _most_db(claims: Claims, one: Ints, other: Ints, floor_dbm: float) -> Floats:
    gain, eirp = 0.01 * claims.gain_cdb, 0.01 * claims.eirp_cdbm
    return np.maximum(eirp[one] + gain[other], eirp[other] + gain[one]) - floor_dbm


def get_sound(pairs: Pairs, anchor: Flags) -> Sound:
    """The pairs among anchors that say something about the law."""
    told = pairs.heard == ~np.isnan(pairs.loss_db)  # a link without RSSI says neither
    rows = np.flatnonzero(anchor[pairs.first] & anchor[pairs.second] & told & pairs.near)
    return Sound(
        first=pairs.first[rows],
        second=pairs.second[rows],
        reach=get_reach(pairs.distance_m[rows]),
        heard=pairs.heard[rows],
        loss_db=pairs.loss_db[rows],
        most_db=pairs.most_db[rows],
        kind=pairs.kind[rows],
    )
