"""Liars for the auditors' tests: what each changes of an honest network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.audit_networks import Truth, draw_claims, draw_truth, simulate
from coverage_map.audit.scores import Scores, compute_scores
from coverage_map.audit.table import (
    METRES_PER_DEGREE,
    NO_RSSI_CDBM,
    Claims,
    Hearings,
    join_hearings,
    make_hearings,
)


def pick_liars(count: int, share: float, seed: int) -> np.ndarray:
    """Some hotspots of the city and the suburb, by a seed."""
    rng = np.random.default_rng([seed, 9])
    return np.sort(rng.choice(int(0.85 * count), round(share * count), replace=False))


def move_claims(claims: Claims, liars: np.ndarray, seed: int, apart_m: float) -> Claims:
    """Liars claim to stand somewhere else in their town, `apart_m` away in some direction."""
    angle = np.random.default_rng([seed, 8]).uniform(0.0, 2 * np.pi, len(liars))
    latitude, longitude = claims.latitude_deg.copy(), claims.longitude_deg.copy()
    latitude[liars] += apart_m * np.sin(angle) / METRES_PER_DEGREE
    narrow = np.cos(np.radians(47.0))
    longitude[liars] += apart_m * np.cos(angle) / METRES_PER_DEGREE / narrow
    return replace(claims, latitude_deg=latitude, longitude_deg=longitude)


def rows_of(hearings: Hearings, keep: np.ndarray) -> Hearings:
    """Some rows."""
    names = Hearings.__dataclass_fields__
    return make_hearings(**{name: getattr(hearings, name)[keep] for name in names})


def with_rssi(hearings: Hearings, rssi_cdbm: np.ndarray) -> Hearings:
    """The same receptions with other RSSI."""
    return replace(hearings, rssi_cdbm=rssi_cdbm.astype(np.int16))


def forge(
    hearings: Hearings, claims: Claims, liars: np.ndarray, seed: int, *, sigma_db: float,
    knows_steps: bool, spread_db: float = 1.5,
) -> Hearings:
    """Liars report what free space (0 dB) or log-distance with shadowing of their own says."""
    rng = np.random.default_rng([seed, 7])
    rows = np.flatnonzero(np.isin(hearings.witness, liars))
    witness = hearings.witness[rows].astype(np.int64)
    beaconer = hearings.beaconer[rows].astype(np.int64)
    places = claims.positions_m()
    apart = np.maximum(np.hypot(*(places[witness] - places[beaconer]).T), 10.0)
    exponent, at_100m = (2.0, 80.2) if sigma_db == 0 else (3.5, 95.0)
    loss = at_100m + 10 * exponent * np.log10(apart / 100.0)
    own = rng.normal(0.0, 1.0, (len(claims), len(claims))) * sigma_db
    level = 0.01 * (claims.eirp_cdbm[beaconer] + claims.gain_cdb[witness]) - loss
    level += own[witness, beaconer] + rng.normal(0.0, spread_db, len(rows))
    if knows_steps:
        level -= 0.01 * hearings.step_cdb[rows]
    rssi = hearings.rssi_cdbm.astype(np.int64)
    rssi[rows] = 100 * np.round(np.maximum(level, -120.0))
    return with_rssi(hearings, rssi)


def one_radio(truth: Truth, keys: np.ndarray) -> Truth:
    """Several keys on the radio of the first: same place, same offsets, same losses."""
    loss = truth.loss_db.copy()
    first = keys[0]
    loss[keys, :], loss[:, keys] = loss[first], loss[:, [first]]
    loss[np.ix_(keys, keys)] = 40.0
    np.fill_diagonal(loss, np.inf)
    carried = truth.carried_db.copy()
    carried[keys, :], carried[:, keys] = carried[first], carried[:, [first]]
    columns = {
        name: _same(getattr(truth, name), keys)
        for name in ("positions_m", "gain_db", "eirp_db", "sent_offset_db", "heard_offset_db",
                     "step_scale", "keeps", "has_rssi", "sets_power", "height_m")
    }
    return replace(truth, loss_db=loss, carried_db=carried, **columns)


def _same(column: np.ndarray, keys: np.ndarray) -> np.ndarray:
    changed = column.copy()
    changed[keys] = column[keys[0]]
    return changed


def copy_reports(hearings: Hearings, source: int, copier: int, noise_db: float) -> Hearings:
    """The copier's own reports are replaced by the source's, with noise."""
    mine = (hearings.witness == copier) | (
        (hearings.witness == source) & (hearings.beaconer == copier)
    )
    rest = rows_of(hearings, ~mine)
    rows = np.flatnonzero((hearings.witness == source) & (hearings.beaconer != copier))
    copied = rows_of(hearings, rows)
    rng = np.random.default_rng([source, copier])
    noise = 100 * np.round(rng.normal(0.0, noise_db, len(rows)))
    copied = replace(
        with_rssi(copied, copied.rssi_cdbm + noise), witness=np.full(len(rows), copier, np.uint32)
    )
    both = join_hearings([rest, copied])
    return rows_of(both, np.argsort(both.epoch, kind="stable"))


def ring(truth: Truth, members: np.ndarray) -> Truth:
    """Members sit in one room far from everybody: only they hear each other."""
    loss = truth.loss_db.copy()
    loss[members, :] = loss[:, members] = np.inf
    loss[np.ix_(members, members)] = 50.0
    np.fill_diagonal(loss, np.inf)
    return replace(truth, loss_db=loss)


def score(truth: Truth, claims: Claims, seed: int) -> Scores:
    """Simulate and audit."""
    return compute_scores(simulate(truth, seed), claims)


def network(count: int, epochs: int, seed: int) -> tuple[Truth, Claims]:
    """Truth and honest claims."""
    truth = draw_truth(count, epochs, seed)
    return truth, draw_claims(truth, seed)


def is_measured(hearings: Hearings) -> np.ndarray:
    """Rows with RSSI."""
    return hearings.rssi_cdbm != NO_RSSI_CDBM
