"""The air of the laboratory: what is really received, epoch by epoch, as columns.

Mean power of every pair of radios by 38.901 with shadow fields by position (reciprocal, alike for
neighbours); per link a slow drift, per packet a deviation; frames near the sensitivity are lost by
a logistic curve, others by drivers that drop them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.table import NO_RSSI_CDBM
from radio_sim.attacks.placement import NO_RADIO, Placement
from radio_sim.attacks.sites import PATCH_APART_M, PATCHES
from radio_sim.draws import draw_u64, draws_u64, normals, uniforms
from radio_sim.links import Radios, compute_links

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FREQUENCY_MHZ = 2_437
DECODES_AT_DBM = -93.0  # half of the beacons at 1 Mb/s
MARGIN_DB = 6.0  # below that, as good as none
STEEPNESS_PER_DB = 2.0
SPREAD_DB = 1.5  # of packets: 1.0 to 2.1 dB were measured over cables
DRIFT_DB, DRIFT_EPOCHS = 1.0, 12.0  # of a link over hours
SAME_RADIO_LOSS_DB = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Receptions of one epoch; columns of equal length. `forged`: not from the air."""

    witness: Ints
    beaconer: Ints
    sequence: Ints
    rssi_cdbm: Ints
    forged: Flags

    def __len__(self) -> int:
        return len(self.witness)

    def take(self, kept: Flags | Ints) -> Rows:
        """Some of the rows."""
        return Rows(*(getattr(self, name)[kept] for name in ROW_COLUMNS))


ROW_COLUMNS = ("witness", "beaconer", "sequence", "rssi_cdbm", "forged")


def join_rows(parts: list[Rows]) -> Rows:
    """All rows of some tables."""
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in ROW_COLUMNS))


def make_rows(witness: Ints, beaconer: Ints, sequence: Ints, level_dbm: Floats) -> Rows:
    """Forged rows, with the whole dBm that a driver would give."""
    rssi = 100 * np.round(np.clip(level_dbm, -127.0, 0.0)).astype(np.int64)
    return Rows(witness, beaconer, sequence, rssi, np.ones(len(witness), np.bool_))


def compute_radio_loss(placement: Placement) -> Floats:
    """Path loss in dB between radios [m, m], antennas left out; inf where too far."""
    height = np.resize(placement.sites.height_m, len(placement.radio_patch))
    return compute_loss(
        placement.radio_m, placement.radio_patch, height, placement.sites.seed
    )


def compute_loss(places_m: Floats, patches: Ints, height_m: Floats, seed: int) -> Floats:
    """Path loss in dB between places [m, m] by the physics of their patches; inf where too far."""
    count = len(patches)
    loss = np.full((count, count), np.inf)
    for number, patch in enumerate(PATCHES):
        members = np.flatnonzero(patches == number)
        nothing = np.zeros(len(members))
        radios = Radios(
            *(places_m[members], height_m[members], nothing, nothing),
            np.full(len(members), FREQUENCY_MHZ, np.int64),
        )
        links = compute_links(
            radios,
            seed=draw_u64(seed, "patch", number),
            environment=patch.environment,
            max_range_m=patch.reach_m,
            floor_dbm=-160.0,
        )
        senders = np.repeat(np.arange(len(members)), np.diff(links.starts))
        loss[members[senders], members[links.neighbours]] = -links.rssi_dbm
    return loss


def get_claimed_patch(placement: Placement) -> Ints:
    """Between which others each key claims to stand."""
    east = placement.claimed_m[:, 0] + PATCH_APART_M / 2
    number = (east // PATCH_APART_M).astype(np.int64)
    return np.asarray(np.clip(number, 0, len(PATCHES) - 1), np.int64)


def compute_model_dbm(placement: Placement) -> Floats:
    """What a perfect simulator of everybody's claims says, [beaconer, witness] at full power.

    The same physics as the world's own, reciprocal and rough; what stands where it can't know, so
    that its shadows are others.
    """
    seed = draw_u64(placement.sites.seed, "plot", "model")
    patch = get_claimed_patch(placement)
    loss = compute_loss(placement.claimed_m, patch, placement.claimed_height_m, seed)
    eirp = placement.sites.eirp_dbm
    return np.asarray(eirp[:, None] - loss + placement.claimed_gain_db[None, :], np.float64)


def compute_key_loss(radio_loss_db: Floats, radio_of: Ints) -> Floats:
    """Path loss between keys [n, n]; keys on one radio hear each other at arm's length."""
    loss = radio_loss_db[np.ix_(radio_of, radio_of)]
    same = radio_of[:, None] == radio_of[None, :]
    loss[same] = SAME_RADIO_LOSS_DB
    none = radio_of == NO_RADIO
    loss[none, :] = loss[:, none] = np.inf
    np.fill_diagonal(loss, np.inf)
    return loss


class Air:
    """What is received in each epoch. `level_dbm` [beaconer, witness]: mean at full power."""

    def __init__(self, placement: Placement, beacons: int) -> None:
        self.placement = placement
        self.beacons = beacons
        self._loss = compute_radio_loss(placement)
        self._first = -1
        self._epoch = -1
        self.level_dbm = np.empty((0, 0))
        self.model_dbm = compute_model_dbm(placement) if placement.attackers.any() else None

    def _tune(self, epoch: int) -> None:
        """Lay out the links of the phase that holds an epoch."""
        first = max(start for start, _ in self.placement.radio_of if start <= epoch)
        if first == self._first:
            return
        self._first = first
        sites = self.placement.sites
        loss = compute_key_loss(self._loss, self.placement.radios_at(epoch))
        sent = sites.eirp_dbm + sites.sent_offset_db + self.placement.boost_db
        self.level_dbm = sent[:, None] - loss + sites.gain_db[None, :]
        near = self.level_dbm > DECODES_AT_DBM - MARGIN_DB
        self._beaconer, self._witness = np.nonzero(near)
        self._mean = self.level_dbm[near]
        # Packets are named by keys; what drifts is the path between two radios.
        self._names = (self._beaconer << 32 | self._witness).astype(np.uint64)
        radios = self.placement.radios_at(epoch)
        path = radios[self._beaconer] << 32 | radios[self._witness]
        self._paths = path.astype(np.uint64)
        self._drift = DRIFT_DB * self._normals("drift", -1, self._paths)

    def _normals(self, name: str, epoch: int, names: NDArray[np.uint64]) -> Floats:
        return normals(draws_u64(draw_u64(self.placement.sites.seed, name, epoch + 1), names))

    def hear(self, epoch: int, steps_cdb: Ints) -> Rows:
        """Receptions of an epoch; `steps_cdb` [n, beacons]. Epochs must come in order."""
        self._tune(epoch)
        sites, beacons = self.placement.sites, self.beacons
        kept = np.exp(-1.0 / DRIFT_EPOCHS)
        fresh = DRIFT_DB * self._normals("drift", epoch, self._paths)
        self._drift = kept * self._drift + np.sqrt(1 - kept**2) * fresh
        present = sites.present[:, epoch]
        sends = present & ~self.placement.silent
        there = np.flatnonzero(sends[self._beaconer] & present[self._witness])
        link, sequence = np.repeat(there, beacons), np.tile(np.arange(beacons), len(there))
        witness, beaconer = self._witness[link], self._beaconer[link]
        names = self._names[link] | sequence.astype(np.uint64) << np.uint64(24)
        words = draws_u64(draw_u64(sites.seed, "packet", epoch), names)
        step = 0.01 * steps_cdb[beaconer, sequence] * sites.step_scale[beaconer]
        level = self._mean[link] + self._drift[link] - step + SPREAD_DB * normals(words)
        above = np.clip(STEEPNESS_PER_DB * (level - DECODES_AT_DBM), -50.0, 50.0)
        lucky = uniforms(draws_u64(1, words)) < sites.keeps[witness] / (1.0 + np.exp(-above))
        return self._report(witness[lucky], beaconer[lucky], sequence[lucky], level[lucky])

    def _report(self, witness: Ints, beaconer: Ints, sequence: Ints, level: Floats) -> Rows:
        """As drivers give it: whole dBm, with the receiver's own offset."""
        sites = self.placement.sites
        measured = np.round(np.clip(level + sites.heard_offset_db[witness], -127.0, 0.0))
        rssi = np.where(sites.has_rssi[witness], 100 * measured.astype(np.int64), NO_RSSI_CDBM)
        forged = np.zeros(len(witness), np.bool_)
        return Rows(witness, beaconer, sequence, np.asarray(rssi, np.int64), forged)
