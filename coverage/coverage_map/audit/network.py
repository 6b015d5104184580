"""The network as the tests see it: losses between claimed places, a law of loss, anchors.

The law is L(d) = A + 10 n lg(d / 100 m) + a_i + a_j + S: two sites' offsets (height, clutter,
gain) and shadowing S of deviation sigma. It is fitted by maximum likelihood to pairs that hear each
other and to pairs that don't though both were there: leaving the silent ones out would make far
links look better than they are (Tobin 1958, "Estimation of relationships for limited dependent
variables"). City, suburb and farmland have laws of their own; which is which shows in how far
apart anchors stand. Only anchors enter the fit and speak about others: hotspots that trust has
reached and that aren't under suspicion themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import log_ndtr

from coverage_map.audit.links import Evidence, Links
from coverage_map.audit.table import Claims

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# A twentieth of the mean trust: rings behind one honest friend share less among themselves.
ANCHOR_TRUST_PPM = 50_000
LEAST_MEASURED = 3  # packets before a link's mean says anything
NEAREST_M = 30.0  # the law is not believed below
NEIGHBOURS = 48  # nearest anchors whose silence is asked for
# Who was there together for five epochs, 20 beacons, and has a link is heard, even by a driver
# that keeps a fifth of all frames: 0.8^20 = 1 %.
JOINT_EPOCHS = 5
OFFSET_SIGMA_DB = 6.0
CROWD = 5
KIND_EDGES_M = (300.0, 700.0)  # to the fifth nearest anchor: city, suburb, farmland
KIND_LEAST = 100  # heard pairs for a law of its own
ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Law:
    """Median loss `at_100m_db` and its exponent; `sigma_db` of shadowing; loss of the weakest."""

    at_100m_db: float = 80.0
    exponent: float = 3.5
    sigma_db: float = 7.5


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of hotspots, first < second, that hear each other or stand near enough to.

    `loss_db`: mean of both directions, NaN where neither was measured; `most_db`: loss beyond
    which neither would hear the other; `kind`: whose law holds, an index into `Network.laws`.
    `near`: one is among the other's nearest anchors. Beyond those nobody asked about silence, so
    that links there say nothing about the law.
    """

    first: Ints
    second: Ints
    loss_db: Floats
    most_db: Floats
    heard: Flags
    mutual: Flags
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

    def law_columns(self, kind: Ints) -> tuple[Floats, Floats, Floats]:
        """DB at 100 m, exponent and sigma of the law of each kind."""
        return columns_of(self.laws, kind)


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
    laws, offset = fit_laws(pairs, anchor, len(claims))
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
    silent = silent[_are_together(evidence.active, silent // count, silent % count)]
    heard, mean, ways = _fold(keys, loss_db, links)
    everyone = np.concatenate([heard, silent])
    order = np.argsort(everyone)
    first, second = everyone[order] // count, everyone[order] % count
    apart = positions_m[first] - positions_m[second]
    return Pairs(
        first=first,
        second=second,
        loss_db=np.concatenate([mean, np.full(len(silent), np.nan)])[order],
        most_db=_most_db(claims, first, second, floor_dbm),
        heard=(np.arange(len(everyone)) < len(heard))[order],
        mutual=np.concatenate([ways == 2, np.zeros(len(silent), np.bool_)])[order],
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


def _are_together(active: Flags, one: Ints, other: Ints) -> Flags:
    """Whether both were there in enough epochs."""
    together = np.empty(len(one), np.bool_)
    for start in range(0, len(one), 1 << 16):
        part = slice(start, start + (1 << 16))
        both = (active[one[part]] & active[other[part]]).sum(axis=1)
        together[part] = both >= JOINT_EPOCHS
    return together


def _fold(keys: Ints, loss_db: Floats, links: Links) -> tuple[Ints, Floats, Ints]:
    """Both directions of a pair as one: keys, mean loss, number of directions heard."""
    pairs, place = np.unique(keys, return_inverse=True)
    known = ~np.isnan(loss_db)
    weight = np.bincount(place, known, len(pairs))
    total = np.bincount(place, np.where(known, loss_db, 0.0), len(pairs))
    ways = np.bincount(place[links.count > 0], minlength=len(pairs))
    with np.errstate(invalid="ignore"):
        return pairs, total / weight, ways


def _most_db(claims: Claims, one: Ints, other: Ints, floor_dbm: float) -> Floats:
    gain, eirp = 0.01 * claims.gain_cdb, 0.01 * claims.eirp_cdbm
    return np.maximum(eirp[one] + gain[other], eirp[other] + gain[one]) - floor_dbm


def columns_of(laws: tuple[Law, ...], kind: Ints) -> tuple[Floats, Floats, Floats]:
    """DB at 100 m, exponent and sigma of the law of each kind."""
    table = np.array([[law.at_100m_db, law.exponent, law.sigma_db] for law in laws])
    return table[kind, 0], table[kind, 1], table[kind, 2]


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """The pairs that a fit rests on; `reach`: decades of distance from 100 m."""

    first: Ints
    second: Ints
    reach: Floats
    heard: Flags
    loss_db: Floats
    most_db: Floats
    kind: Ints


def fit_laws(pairs: Pairs, anchor: Flags, count: int) -> tuple[tuple[Law, ...], Floats]:
    """The laws of loss among anchors, and every site's offset in dB against them.

    Alternates the lines, by Gauss-Newton steps on the censored likelihood, with the offsets. A kind
    with few pairs takes the law of all.
    """
    sound = _get_sound(pairs, anchor)
    offset, kinds = np.zeros(count), len(KIND_EDGES_M) + 1
    laws = (Law(),) * (kinds + 1)
    if np.count_nonzero(sound.heard) < 10:
        return laws[:kinds], offset
    heard = np.bincount(sound.kind[sound.heard], minlength=kinds)
    own = [kind for kind in range(kinds) if heard[kind] >= KIND_LEAST]
    place = np.where(np.isin(sound.kind, own), sound.kind, kinds)
    for _ in range(ROUNDS):
        gap = offset[sound.first] + offset[sound.second]
        laws = tuple(_step_law(law, sound, gap, place == k) for k, law in enumerate(laws))
        at_100m, exponent, sigma = columns_of(laws, place)
        median = at_100m + 10.0 * exponent * sound.reach + gap
        offset = _step_offsets(offset, sound, median, sigma)
    return tuple(laws[k] if k in own else laws[kinds] for k in range(kinds)), offset


def _get_sound(pairs: Pairs, anchor: Flags) -> _Sound:
    told = pairs.heard == ~np.isnan(pairs.loss_db)  # a link without RSSI says neither
    rows = np.flatnonzero(anchor[pairs.first] & anchor[pairs.second] & told & pairs.near)
    reach = np.log10(np.maximum(pairs.distance_m[rows], NEAREST_M) / 100.0)
    return _Sound(
        *(pairs.first[rows], pairs.second[rows], reach, pairs.heard[rows]),
        *(pairs.loss_db[rows], pairs.most_db[rows], pairs.kind[rows]),
    )


def _scores(sound: _Sound, median_db: Floats, sigma_db: Floats | float) -> tuple[Floats, Floats]:
    """First derivative of each pair's log-likelihood by its median loss, and minus the second."""
    rest = np.where(sound.heard, sound.loss_db - median_db, 0.0) / sigma_db
    rest = np.clip(rest, -3.0, 3.0)  # an outlier pulls no more than three deviations do
    above = (median_db - sound.most_db) / sigma_db
    ratio = np.exp(-0.5 * above**2 - log_ndtr(above)) / np.sqrt(2 * np.pi)
    score = np.where(sound.heard, rest, ratio) / sigma_db
    curvature = np.where(sound.heard, 1.0, ratio * (ratio + above)) / sigma_db**2
    return score, np.maximum(curvature, 1e-9)


def _step_offsets(offset: Floats, sound: _Sound, median_db: Floats, sigma_db: Floats) -> Floats:
    """Half a Newton step of every site's offset: both ends of a pair move at once."""
    score, curvature = _scores(sound, median_db, sigma_db)
    ends = np.concatenate([sound.first, sound.second])
    slope = np.bincount(ends, np.concatenate([score, score]), len(offset))
    bend = np.bincount(ends, np.concatenate([curvature, curvature]), len(offset))
    prior = 1.0 / OFFSET_SIGMA_DB**2
    return offset + 0.5 * (slope - prior * offset) / (bend + prior)


def _step_law(law: Law, sound: _Sound, gap_db: Floats, of_kind: Flags) -> Law:
    """One Gauss-Newton step of A and n; a weak prior keeps n near 3.5 where distances are alike."""
    if not of_kind.any():
        return law
    part = _Sound(
        *(getattr(sound, name)[of_kind] for name in _Sound.__dataclass_fields__)
    )
    gap = gap_db[of_kind]
    median = law.at_100m_db + 10.0 * law.exponent * part.reach + gap
    score, curvature = _scores(part, median, law.sigma_db)
    basis = np.column_stack([np.ones(len(median)), 10.0 * part.reach])
    normal = basis.T @ (basis * curvature[:, None]) + np.diag([1e-4, 4.0])
    pull = basis.T @ score + np.array([0.0, 4.0 * (3.5 - law.exponent)])
    step = np.clip(np.linalg.solve(normal, pull), [-20.0, -1.0], [20.0, 1.0])
    exponent = float(np.clip(law.exponent + step[1], 1.8, 5.5))
    fresh = Law(law.at_100m_db + float(step[0]), exponent, law.sigma_db)
    return _step_sigma(fresh, part, gap)


def _step_sigma(law: Law, part: _Sound, gap_db: Floats) -> Law:
    """Sigma from the residuals of links well above the floor, robustly.

    Links near the floor show only the lucky half of their residuals.
    """
    median = law.at_100m_db + 10.0 * law.exponent * part.reach + gap_db
    clear = part.heard & (median < part.most_db - 8.0)
    if np.count_nonzero(clear) < 30:
        return law
    rest = part.loss_db[clear] - median[clear]
    width = np.quantile(rest, 0.841) - np.quantile(rest, 0.159)
    return Law(law.at_100m_db, law.exponent, float(np.clip(width / 2.0, 4.0, 12.0)))
