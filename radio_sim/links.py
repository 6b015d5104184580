"""Who can hear whom: mean received power of every pair of radios that matters, in sparse form.

A pair's loss is 38.901's for its environment: line of sight or not is a field by position held
against the model's probability (its state decorrelates over 50 m, 38.901 table 7.6.3.1-2), and
each state has its own shadowing field. A published wireless link is different: its owners found a
clear line and aimed antennas along it, so its loss is free space's. The gain of those antennas is
the hotspots' own, in the scenario and on the ledger; importers choose what the link needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ndtr

from coverage_map.propagation import pathloss
from radio_sim.draws import draw_u64
from radio_sim.shadowing import ShadowingField

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]

LOS_DECORRELATION_M = 50.0
TERMINAL_HEIGHT_MAX_M = 22.5  # upper end of 38.901's UMi and UMa terminals
TERMINAL_HEIGHT_MIN_M = 1.5
_CHUNK = 16_384

Loss = Callable[..., Floats]
ENVIRONMENTS: dict[str, tuple[Loss, Loss, Loss]] = {
    "umi": (pathloss.umi_los_db, pathloss.umi_nlos_db, pathloss.umi_los_probability),
    "uma": (pathloss.uma_los_db, pathloss.uma_nlos_db, pathloss.uma_los_probability),
    "rma": (pathloss.rma_los_db, pathloss.rma_nlos_db, pathloss.rma_los_probability),
    "inh": (pathloss.inh_los_db, pathloss.inh_nlos_db, pathloss.inh_los_probability),
}


@dataclass(frozen=True, slots=True)
class Radios:
    """Where radios stand and what they radiate, arrays of equal length; positions [n, 2] in m."""

    positions_m: Floats
    height_m: Floats
    eirp_dbm: Floats
    gain_dbi: Floats
    frequency_mhz: Indexes


@dataclass(frozen=True, slots=True)
class Links:
    """Directed links above a floor: receivers of node i are neighbours[starts[i]:starts[i+1]].

    `rssi_dbm` is the mean power at the receiver when the sender is at power step 0. Receivers of
    a node ascend. `frequency_mhz` is where each radio sends and listens.
    """

    starts: Indexes
    neighbours: Indexes
    rssi_dbm: Floats
    frequency_mhz: Indexes

    def rssi_of(self, sender: int, receivers: Indexes) -> Floats:
        """Mean power from `sender` at receivers, -inf where it is under the floor."""
        low, high = self.starts[sender], self.starts[sender + 1]
        known = self.neighbours[low:high]
        place = np.searchsorted(known, receivers)
        inside = np.minimum(place, max(0, len(known) - 1))
        if not len(known):
            return np.full(len(receivers), -np.inf)
        power = self.rssi_dbm[low:high][inside]
        return np.where(known[inside] == receivers, power, -np.inf)


def local_metres(latitude_deg: Floats, longitude_deg: Floats) -> Floats:
    """Positions [n, 2] in metres east and north of their centre, on H3's sphere."""
    metres_per_degree = np.pi / 180.0 * 6_371_007.18
    middle = (latitude_deg.min() + latitude_deg.max()) / 2.0
    east = (longitude_deg - longitude_deg.mean()) * np.cos(np.radians(middle))
    north = latitude_deg - latitude_deg.mean()
    return np.asarray(np.column_stack([east, north]) * metres_per_degree, np.float64)


def compute_links(
    radios: Radios,
    *,
    seed: int,
    environment: str = "umi",
    max_range_m: float = 1500.0,
    floor_dbm: float = -102.0,
    aimed: Sequence[tuple[int, int]] = (),
    touching: Collection[int] | None = None,
) -> Links:
    """Mean power of all links above `floor_dbm`; `aimed` pairs are published wireless links.

    With `touching`, only links that have one of these nodes at an end.
    """
    pairs = _near_pairs(radios.positions_m, max_range_m)
    if touching is not None:
        pairs = pairs[np.isin(pairs, sorted(touching)).any(axis=1)]
    loss = _pair_loss_db(radios, pairs, environment, seed)
    if aimed:
        published = np.unique(np.sort(np.asarray(aimed, np.int64), axis=1), axis=0)
        pairs, loss = _replace(pairs, loss, published, _aimed_loss_db(radios, published))
    return _sparse(radios, pairs, loss, floor_dbm)


def _near_pairs(positions_m: Floats, max_range_m: float) -> Indexes:
    pairs = cKDTree(positions_m).query_pairs(max_range_m, output_type="ndarray").astype(np.int64)
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.int64)


def _lengths_m(radios: Radios, pairs: Indexes) -> Floats:
    delta = radios.positions_m[pairs[:, 0]] - radios.positions_m[pairs[:, 1]]
    return np.asarray(np.hypot(delta[:, 0], delta[:, 1]), np.float64)


def _pair_loss_db(radios: Radios, pairs: Indexes, environment: str, seed: int) -> Floats:
    """Loss of every pair: the obstructed or the clear formula, each with its shadowing."""
    los_db, nlos_db, los_probability = ENVIRONMENTS[environment]
    length = _lengths_m(radios, pairs)
    height = radios.height_m[pairs]
    upper, lower = height.max(axis=1), height.min(axis=1)
    if environment != "inh":
        upper = np.maximum(upper, TERMINAL_HEIGHT_MIN_M)
        lower = np.clip(lower, TERMINAL_HEIGHT_MIN_M, TERMINAL_HEIGHT_MAX_M)
    hertz = 1e6 * radios.frequency_mhz[pairs[:, 0]].astype(np.float64)
    values = {
        state: _field(radios, pairs, length, draw_u64(seed, state), distance_m)
        for state, distance_m in (
            ("state", LOS_DECORRELATION_M),
            ("los", pathloss.DECORRELATION_M[f"{environment}_los"]),
            ("nlos", pathloss.DECORRELATION_M[f"{environment}_nlos"]),
        )
    }
    clear = los_db(length, hertz, upper, lower)
    clear = clear + pathloss.SHADOWING_SIGMA_DB[f"{environment}_los"] * values["los"]
    blocked = nlos_db(length, hertz, upper, lower)
    blocked = blocked + pathloss.SHADOWING_SIGMA_DB[f"{environment}_nlos"] * values["nlos"]
    return np.where(ndtr(values["state"]) < los_probability(length), clear, blocked)


def _field(
    radios: Radios, pairs: Indexes, length_m: Floats, seed: int, decorrelation_m: float
) -> Floats:
    field = ShadowingField(seed, decorrelation_m)
    first, second = field.factors(radios.positions_m)
    values = np.empty(len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        part = slice(start, start + _CHUNK)
        one, other = pairs[part, 0], pairs[part, 1]
        values[part] = field.between(
            (first[one], second[one]), (first[other], second[other]), length_m[part]
        )
    return values


def _aimed_loss_db(radios: Radios, pairs: Indexes) -> Floats:
    """Free space over the slant distance."""
    length = np.hypot(
        _lengths_m(radios, pairs), np.abs(np.diff(radios.height_m[pairs], axis=1))[:, 0]
    )
    hertz = 1e6 * radios.frequency_mhz[pairs[:, 0]].astype(np.float64)
    return pathloss.free_space_db(length, hertz)


def _replace(
    pairs: Indexes, loss: Floats, published: Indexes, published_loss: Floats
) -> tuple[Indexes, Floats]:
    """Give published pairs their own loss, adding those that were out of range."""
    span = int(max(pairs.max(initial=0), published.max(initial=0))) + 1
    keys, wanted = pairs @ [span, 1], published @ [span, 1]
    keep = ~np.isin(keys, wanted)
    return (
        np.concatenate([pairs[keep], published]),
        np.concatenate([loss[keep], published_loss]),
    )


def _sparse(radios: Radios, pairs: Indexes, loss_db: Floats, floor_dbm: float) -> Links:
    senders = np.concatenate([pairs[:, 0], pairs[:, 1]])
    receivers = np.concatenate([pairs[:, 1], pairs[:, 0]])
    both = np.concatenate([loss_db, loss_db])
    rssi = radios.eirp_dbm[senders] - both + radios.gain_dbi[receivers]
    order = np.lexsort((receivers, senders))
    order = order[rssi[order] >= floor_dbm]
    counts = np.bincount(senders[order], minlength=len(radios.height_m))
    return Links(
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        neighbours=receivers[order],
        rssi_dbm=rssi[order],
        frequency_mhz=radios.frequency_mhz,
    )
