"""How liars invent signal strengths: what they know, and the models that they have.

They know every claim, every public report, the rules and the auditors' law of loss fitted to both,
all secrets of their own, and what their accomplices' receivers hear in this very epoch: which tags
were on the air, and by how much each packet was stronger or weaker than usual, power step included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.table import NO_RSSI_CDBM
from radio_sim.attacks.air import (
    DECODES_AT_DBM,
    SPREAD_DB,
    STEEPNESS_PER_DB,
    Rows,
    get_claimed_patch,
    make_rows,
)
from radio_sim.attacks.placement import Placement, seed_of
from radio_sim.attacks.sites import PATCHES
from radio_sim.draws import draw_u64, draws_u64, normals, uniforms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Model = Callable[["Scene", Ints, Ints], Floats]

FREE_SPACE_100M_DB = 80.2  # 20 lg(4 pi d / lambda) at 2,437 MHz
NEAREST_M = 30.0


@dataclass(slots=True, eq=False)
class Scene:
    """What the plot knows in one epoch. `level_dbm` [beaconer, witness]: public means.

    `model_dbm` likewise, by a perfect simulator of what everybody claims.
    `rows`: everything received by anybody; only attackers' own rows are looked at. `steps_cdb`
    [n, beacons] of everybody; only attackers' own are looked at.
    """

    placement: Placement
    epoch: int
    level_dbm: Floats
    model_dbm: Floats
    steps_cdb: Ints
    rows: Rows

    def attackers_rows(self) -> Rows:
        """What the plot's receivers heard."""
        return self.rows.take(self.placement.attackers[self.rows.witness])

    def apart_m(self, one: Ints, other: Ints) -> Floats:
        """Between claimed places."""
        delta = self.placement.claimed_m[one] - self.placement.claimed_m[other]
        return np.maximum(np.hypot(delta[:, 0], delta[:, 1]), NEAREST_M)

    def loudest_dbm(self, beaconer: Ints, witness: Ints) -> Floats:
        """Asserted power and gain of a link together."""
        return self.placement.sites.eirp_dbm[beaconer] + self.placement.claimed_gain_db[witness]


@dataclass(frozen=True, slots=True, eq=False)
class Beacons:
    """Beacons whose tags the plot knows. `relative_db`: against a usual packet at full power."""

    beaconer: Ints
    sequence: Ints
    relative_db: Floats


def get_known_beacons(scene: Scene, honest: bool = True) -> Beacons:
    """The plot's own beacons, and honest ones that its receivers hear in this epoch."""
    placement, (count, beacons) = scene.placement, scene.steps_cdb.shape
    sends = placement.attackers & placement.sites.present[:, scene.epoch]
    own = np.flatnonzero(sends)
    known = [(np.repeat(own, beacons), np.tile(np.arange(beacons), len(own)))]
    relative = [-0.01 * scene.steps_cdb[known[0]]]
    if honest:
        mine = scene.attackers_rows()
        mine = mine.take(~placement.attackers[mine.beaconer])
        deviation = 0.01 * mine.rssi_cdbm - scene.level_dbm[mine.beaconer, mine.witness]
        deviation = deviation - placement.sites.heard_offset_db[mine.witness]
        measured = mine.rssi_cdbm != NO_RSSI_CDBM
        key = mine.beaconer * beacons + mine.sequence
        heard = np.unique(key)
        number = np.bincount(key[measured], minlength=count * beacons)[heard]
        total = np.bincount(key[measured], deviation[measured], count * beacons)[heard]
        known.append((heard // beacons, heard % beacons))
        relative.append(total / np.maximum(number, 1))
    return Beacons(
        np.concatenate([one for one, _ in known]),
        np.concatenate([number for _, number in known]),
        np.concatenate(relative),
    )


def forge_rows(scene: Scene, witnesses: Ints, beacons: Beacons, model: Model) -> Rows:
    """What witnesses would report of some beacons, were they where they claim, by a model."""
    there = witnesses[scene.placement.sites.present[witnesses, scene.epoch]]
    witness = np.repeat(there, len(beacons.beaconer))
    at = np.tile(np.arange(len(beacons.beaconer)), len(there))
    beaconer = beacons.beaconer[at]
    patch = get_claimed_patch(scene.placement)
    near = patch[witness] == patch[beaconer]
    kept = np.flatnonzero(near & (witness != beaconer))
    witness, at, beaconer = witness[kept], at[kept], beaconer[kept]
    names = (beaconer << 32 | beacons.sequence[at] << 24 | witness).astype(np.uint64)
    words = draws_u64(draw_u64(seed_of(scene.placement, "packets"), scene.epoch), names)
    mean = model(scene, beaconer, witness)
    level = mean + beacons.relative_db[at] + SPREAD_DB * normals(words)
    above = np.clip(STEEPNESS_PER_DB * (level - DECODES_AT_DBM), -50.0, 50.0)
    lucky = uniforms(draws_u64(2, words)) < 1.0 / (1.0 + np.exp(-above))
    heard = at[lucky]
    return make_rows(witness[lucky], beaconer[lucky], beacons.sequence[heard], level[lucky])


def free_space(scene: Scene, beaconer: Ints, witness: Ints) -> Floats:
    """Friis, the simulator that everybody has; none beyond what others hear, lest it show."""
    apart = scene.apart_m(beaconer, witness)
    loss = FREE_SPACE_100M_DB + 20.0 * np.log10(apart / 100.0)
    audible = fitted(scene, beaconer, witness) > DECODES_AT_DBM
    return np.where(audible, scene.loudest_dbm(beaconer, witness) - loss, -np.inf)


def fitted(scene: Scene, beaconer: Ints, witness: Ints) -> Floats:
    """The victims' own model, with shadows like theirs, the same both ways: reciprocity holds."""
    return np.asarray(scene.model_dbm[beaconer, witness], np.float64)


def expected(scene: Scene, beaconer: Ints, witness: Ints) -> Floats:
    """The median by a law that is fitted to public reports: what looks natural."""
    patch = get_claimed_patch(scene.placement)[witness]
    at_100m, exponent = fit_public_law(scene)[patch].T
    reach = np.log10(scene.apart_m(beaconer, witness) / 100.0)
    loss = at_100m + 10 * exponent * reach
    return np.asarray(scene.loudest_dbm(beaconer, witness) - loss, np.float64)


def mirrored(scene: Scene, beaconer: Ints, witness: Ints) -> Floats:
    """What the other end publicly reports of the liar, turned around: perfect reciprocity."""
    back = scene.level_dbm[witness, beaconer]
    turned = back - scene.loudest_dbm(witness, beaconer) + scene.loudest_dbm(beaconer, witness)
    return np.where(np.isfinite(back), turned, -np.inf)


def fit_public_law(scene: Scene) -> Floats:
    """Per patch: loss at 100 m and exponent, by least squares over what honest ones report."""
    honest = np.flatnonzero(~scene.placement.attackers)
    level = scene.level_dbm[np.ix_(honest, honest)]
    one, other = np.nonzero(level > DECODES_AT_DBM)
    beaconer, witness = honest[one], honest[other]
    loss = scene.loudest_dbm(beaconer, witness) - level[one, other]
    reach = np.log10(scene.apart_m(beaconer, witness) / 100.0)
    laws = np.tile([85.0, 3.5], (len(PATCHES), 1))
    patch = get_claimed_patch(scene.placement)[witness]
    for number in range(len(PATCHES)):
        here = patch == number
        if np.count_nonzero(here) >= 10:
            slope, start = np.polyfit(10.0 * reach[here], loss[here], 1)
            laws[number] = start, slope
    return laws
