"""Honest networks for the auditors' calibration and tests: a city, a suburb and farmland at once.

Losses are 38.901's with a shadow field that is reciprocal and agrees for neighbours; radios have
offsets, drivers drop frames, lack RSSI or can't set power; lines are cut and hotspots move. What a
liar changes is up to the caller: `simulate` takes losses and claims apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.table import (
    CELL_RADIUS_M,
    METRES_PER_DEGREE,
    NO_RSSI_CDBM,
    Claims,
    Hearings,
    make_claims,
    make_hearings,
)
from radio_sim.links import Radios, compute_links

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DECODES_AT_DBM = -93.0  # half of the beacons at 1 Mb/s; below it as good as none
STEPS_CDB = np.array([0, 300, 600, 900])
SPREAD_DB = 1.5  # of packets: 1.0-2.1 dB cabled (radio.md)
DRIFT_DB = 1.0  # of a link over hours
DRIFT_EPOCHS = 12.0
# Honest owners who carry the antenna to another window half-way, and assert nothing new.
CARRIED_SHARE, CARRIED_M = 0.03, 40.0
# Environment, share of hotspots, mean distance between neighbours in m, longest link in m.
PATCHES = (("umi", 0.6, 170.0, 2e3), ("uma", 0.25, 320.0, 4e3), ("rma", 0.15, 900.0, 2e4))


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A network as it is. `loss_db` [n, n] at full power (inf: too far); the rest per hotspot.

    `carried_db`: what is added in the second half, where antennas were moved.
    """

    positions_m: Floats
    loss_db: Floats
    height_m: Floats
    gain_db: Floats
    eirp_db: Floats
    sent_offset_db: Floats
    heard_offset_db: Floats
    step_scale: Floats
    keeps: Floats  # share of frames that the driver hands over
    has_rssi: Flags
    sets_power: Flags
    present: Flags  # [n, epochs]
    carried_db: Floats


def draw_truth(count: int, epochs: int, seed: int) -> Truth:
    """An honest network: hotspots in three patches far apart, by a seed."""
    rng = np.random.default_rng([seed, 1])
    positions, parts = np.empty((count, 2)), np.empty(count, np.int64)
    loss, later = np.full((count, count), np.inf), np.full((count, count), np.inf)
    carried = np.random.default_rng([seed, 4]).random(count) < CARRIED_SHARE
    height = rng.uniform(3.0, 15.0, count)
    gain, eirp = rng.choice([2.0, 3.0, 5.0, 8.0], count), rng.choice([20.0, 23.0, 27.0], count)
    at = 0
    for number, (environment, share, apart_m, reach_m) in enumerate(PATCHES):
        end = count if number == len(PATCHES) - 1 else at + round(share * count)
        side = apart_m * np.sqrt(end - at)
        place = _scatter(rng, end - at, side, apart_m)
        positions[at:end], parts[at:end] = place + np.array([60_000.0 * number, 0.0]), number
        radio = (height[at:end], seed + number, environment, reach_m)
        loss[at:end, at:end] = _draw_loss(place, *radio)
        moved = place + CARRIED_M * np.array([0.6, 0.8]) * carried[at:end, None]
        later[at:end, at:end] = _draw_loss(moved, *radio)
        at = end
    keeps = np.where(rng.random(count) < 0.1, 0.2, rng.uniform(0.8, 1.0, count))
    return Truth(
        positions, loss, height, gain, eirp,
        sent_offset_db=rng.normal(0.0, 1.0, count),
        heard_offset_db=rng.normal(0.0, 2.0, count),
        step_scale=rng.uniform(0.9, 1.05, count),
        keeps=keeps,
        has_rssi=rng.random(count) > 0.05,
        sets_power=rng.random(count) > 0.15,
        present=_draw_presence(rng, count, epochs, parts),
        carried_db=_subtract(later, loss),
    )


def _subtract(later_db: Floats, loss_db: Floats) -> Floats:
    """What changed, 0 where either is too far."""
    known = np.isfinite(later_db) & np.isfinite(loss_db)
    return np.where(known, later_db, 0.0) - np.where(known, loss_db, 0.0)


def _draw_loss(
    places: Floats, height_m: Floats, seed: int, environment: str, reach_m: float
) -> Floats:
    """Path loss [n, n] between antennas without gain, inf where too far."""
    count = len(places)
    nothing = np.zeros(count)
    radios = Radios(places, height_m, nothing, nothing, np.full(count, 2_437, np.int64))
    links = compute_links(
        radios, seed=seed, environment=environment, max_range_m=reach_m, floor_dbm=-160.0
    )
    loss = np.full((count, count), np.inf)
    loss[np.repeat(np.arange(count), np.diff(links.starts)), links.neighbours] = -links.rssi_dbm
    return loss


def _scatter(rng: np.random.Generator, count: int, side_m: float, apart_m: float) -> Floats:
    """Places no nearer than a third of the mean distance, by rejection."""
    places: list[Floats] = []
    while len(places) < count:
        place = rng.uniform(0.0, side_m, 2)
        if all(np.hypot(*(place - other)) > apart_m / 3.0 for other in places):
            places.append(place)
    return np.array(places)


def _draw_presence(
    rng: np.random.Generator, count: int, epochs: int, parts: NDArray[np.int64]
) -> Flags:
    """Power cuts of whole patches, weeks offline, wrong clocks that lose every other epoch."""
    present = np.ones((count, epochs), np.bool_)
    for part in range(len(PATCHES)):
        start = rng.integers(0, epochs)
        present[parts == part, start : start + epochs // 40] = False
    for hotspot in np.flatnonzero(rng.random(count) < 0.1):
        start = rng.integers(0, epochs)
        present[hotspot, start : start + epochs // 2] = False
    wrong = np.flatnonzero(rng.random(count) < 0.02)
    present[wrong] &= rng.random((len(wrong), epochs)) < 0.5
    return present


def draw_claims(truth: Truth, seed: int) -> Claims:
    """What honest owners assert: the centre of the cell they stand in, and their data sheet."""
    rng = np.random.default_rng([seed, 2])
    count = len(truth.positions_m)
    resolution = rng.choice([7, 8, 9, 10], count, p=[0.03, 0.07, 0.35, 0.55])
    radius = np.array([CELL_RADIUS_M[int(r)] for r in resolution])
    # A cell's inner circle is 0.87 of its outer one; distorted cells are a fifth smaller.
    away, angle = 0.72 * radius * np.sqrt(rng.random(count)), rng.uniform(0.0, 2 * np.pi, count)
    centre = truth.positions_m + np.column_stack([away * np.cos(angle), away * np.sin(angle)])
    moved = np.where(rng.random(count) < 0.03, truth.present.shape[1] // 2, 0)
    return claims_at(
        centre,
        seed=seed,
        height_m=truth.height_m,
        gain_cdb=np.round(100 * truth.gain_db),
        eirp_cdbm=np.round(100 * truth.eirp_db),
        sets_power=truth.sets_power,
        resolution=resolution,
        first_epoch=moved,
    )


def claims_at(positions_m: Floats, *, seed: int, **columns: object) -> Claims:
    """Claims at places in metres around 47 N 8 E; every twentieth hotspot is a seed of trust."""
    count = len(positions_m)
    latitude = 47.0 + positions_m[:, 1] / METRES_PER_DEGREE
    longitude = 8.0 + positions_m[:, 0] / METRES_PER_DEGREE / np.cos(np.radians(47.0))
    return make_claims(
        [b"%032d" % (seed << 20 | i) for i in range(count)],
        owner=np.arange(count),
        latitude_deg=latitude,
        longitude_deg=longitude,
        trust_ppm=np.full(count, 1_000_000),
        seed=np.arange(count) % 20 == 0,
        **columns,
    )


def simulate(truth: Truth, seed: int, beacons: int = 4) -> Hearings:
    """Every reception of an epoch that is reported, as the ledger would hold it, all counted."""
    rng = np.random.default_rng([seed, 3])
    count, epochs = truth.present.shape
    power = truth.eirp_db + truth.sent_offset_db
    level = power[:, None] - truth.loss_db + truth.gain_db[None, :]
    levels = level, level - truth.carried_db
    beaconer, witness = np.nonzero(np.maximum(*levels) > DECODES_AT_DBM - 6.0)
    means = [level[beaconer, witness] for level in levels]
    drift = rng.normal(0.0, DRIFT_DB, len(witness))
    kept = np.exp(-1.0 / DRIFT_EPOCHS)
    parts = []
    for epoch in range(epochs):
        drift = kept * drift + np.sqrt(1 - kept**2) * rng.normal(0.0, DRIFT_DB, len(witness))
        there = np.flatnonzero(truth.present[beaconer, epoch] & truth.present[witness, epoch])
        link = np.repeat(there, beacons)
        sequence = np.tile(np.arange(beacons), len(there))
        drawn = STEPS_CDB[rng.integers(0, 4, (count, beacons))] * truth.sets_power[:, None]
        step = drawn[beaconer[link], sequence]
        scale = truth.step_scale[beaconer[link]]
        spread = rng.normal(0.0, SPREAD_DB, len(link))
        mean = means[2 * epoch >= epochs]
        true_dbm = mean[link] + drift[link] - 0.01 * step * scale + spread
        chance = truth.keeps[witness[link]] / (1.0 + np.exp(-2.0 * (true_dbm - DECODES_AT_DBM)))
        got = rng.random(len(link)) < chance
        link, sequence, step = link[got], sequence[got], step[got]
        rssi = 100 * np.round(true_dbm[got] + truth.heard_offset_db[witness[link]])
        rssi = np.where(truth.has_rssi[witness[link]], rssi, NO_RSSI_CDBM)
        ends = (witness[link], beaconer[link])
        parts.append((np.full(len(link), epoch), *ends, sequence, step, rssi))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    names = ("epoch", "witness", "beaconer", "sequence", "step_cdb", "rssi_cdbm")
    rows = dict(zip(names, columns, strict=True))
    ones = np.ones(len(columns[0]), np.int64)
    return make_hearings(**rows, frequency_mhz=2_437 * ones, code=0 * ones)


def honest_network(count: int, epochs: int, seed: int) -> tuple[Hearings, Claims, Truth]:
    """Receptions, claims and truth of an honest network."""
    truth = draw_truth(count, epochs, seed)
    return simulate(truth, seed), draw_claims(truth, seed), truth


def with_places(truth: Truth, **changed: Floats) -> Truth:
    """The same network with some columns replaced."""
    return replace(truth, **changed)  # type: ignore[arg-type]
