"""One run without a ledger: receptions of all epochs as auditors read them. For large numbers.

Every reception that the rules would find true is taken as counted; a tag that nobody in the plot
can know isn't. `town.py` runs the same world through the real ledger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chain.params import PRESETS
from chain.rules.trust import FULL_PPM, TOTAL, compute_trust
from coverage_map.audit.table import Claims, Hearings, join_hearings, make_claims, make_hearings
from radio_sim.attacks.air import FREQUENCY_MHZ, Air, Rows, join_rows
from radio_sim.attacks.forging import Scene
from radio_sim.attacks.placement import (
    Placement,
    get_claimed_cells,
    get_honest_placement,
    pick_attackers,
)
from radio_sim.attacks.presence import Strategy
from radio_sim.attacks.sites import Sites, draw_sites
from radio_sim.draws import draw_u64, draws_u64

Ints = NDArray[np.int64]

BEACONS = 4
STEPS_CDB = np.array([0, 300, 600, 900])
SETTLEMENTS = 10  # of trust, as in a run of 200 epochs through the ledger
SEED_EVERY = 20  # a twentieth of the honest hotspots are seeds of trust


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """An attack laid out: who lies how, the air, and what is asserted."""

    strategy: Strategy
    placement: Placement
    cells: list[tuple[int, int, int]]

    @property
    def sites(self) -> Sites:
        """The hotspots as they are."""
        return self.placement.sites

    @property
    def epochs(self) -> int:
        """Length of the run."""
        return int(self.sites.present.shape[1])


def make_world(
    strategy: Strategy, *, hotspots: int, epochs: int, share: float, seed: int
) -> World:
    """A network of so many hotspots, a share of them in the plot."""
    sites = draw_sites(hotspots, epochs, seed)
    keys = pick_attackers(sites, share)
    placement = get_honest_placement(sites)
    if len(keys):
        # Who lies asserts a fine cell: it pays most, and a coarse one would make the lie true.
        sites.resolution[keys] = np.maximum(sites.resolution[keys], 9)
        placement = strategy.place(placement, keys)
        # Who wants to be paid stays on the air, with a driver that gives RSSI.
        sites.present[keys] = True
        sites.has_rssi[keys] = True
        sites.keeps[keys] = 1.0
    return World(strategy, placement, get_claimed_cells(placement))


def get_seeds(world: World) -> Ints:
    """Hotspots where trust starts: honest ones, some of every patch, or trust never gets there."""
    honest = np.flatnonzero(~world.placement.attackers)
    patch = world.sites.patch[honest]
    return np.concatenate([honest[patch == number][::SEED_EVERY] for number in np.unique(patch)])


def hear_epoch(world: World, air: Air, epoch: int, steps_cdb: Ints) -> Rows:
    """What is reported of an epoch, sorted by witness and beacon."""
    rows = air.hear(epoch, steps_cdb)
    plot = world.placement.attackers
    if air.model_dbm is not None:
        scene = Scene(world.placement, epoch, air.level_dbm, air.model_dbm, steps_cdb, rows)
        own = plot[rows.witness]
        reported = world.strategy.report(scene, rows.take(own))
        rows = join_rows([rows.take(~own), reported])
    order = np.lexsort((rows.sequence, rows.beaconer, rows.witness))
    return rows.take(order)


def draw_steps_cdb(world: World, epoch: int) -> Ints:
    """Power steps where there is no ledger to draw them from."""
    count = len(world.sites)
    words = draws_u64(
        draw_u64(world.sites.seed, "step", epoch), np.arange(count * BEACONS, dtype=np.uint64)
    )
    steps = STEPS_CDB[(words >> np.uint64(62)).astype(np.int64)].reshape(count, BEACONS)
    return np.asarray(steps * world.sites.sets_power[:, None], np.int64)


def run_hearings(world: World) -> Hearings:
    """All receptions of a run."""
    air, parts = Air(world.placement, BEACONS), []
    for epoch in range(world.epochs):
        steps = draw_steps_cdb(world, epoch)
        parts.append(make_epoch(hear_epoch(world, air, epoch, steps), epoch, steps))
    return join_hearings(parts)


def make_epoch(rows: Rows, epoch: int, steps_cdb: Ints) -> Hearings:
    """Columns for the auditors, all counted."""
    ones = np.ones(len(rows), np.int64)
    return make_hearings(
        epoch=epoch * ones,
        witness=rows.witness,
        beaconer=rows.beaconer,
        sequence=rows.sequence,
        step_cdb=steps_cdb[rows.beaconer, rows.sequence],
        rssi_cdbm=rows.rssi_cdbm,
        frequency_mhz=FREQUENCY_MHZ * ones,
        code=0 * ones,
    )


def get_mutual_pairs(hearings: Hearings, count: int) -> tuple[Ints, Ints]:
    """Pairs that ever heard each other, the lower index first."""
    keys = np.unique(hearings.witness.astype(np.int64) * count + hearings.beaconer)
    back = keys % count * count + keys // count
    mutual = keys[np.isin(keys, back) & (keys < back)]
    return mutual // count, mutual % count


def compute_open_trust_ppm(world: World, hearings: Hearings) -> Ints:
    """Trust by the ledger's rule over all mutual hearing of a run, after SETTLEMENTS of it."""
    count, params = len(world.sites), PRESETS["mainnet"]
    one, other = get_mutual_pairs(hearings, count)
    pairs = zip(one.tolist(), other.tolist(), strict=True)
    links = dict.fromkeys(pairs, params.trust_edge_cap)
    trust, seeds = [0] * count, [int(seed) for seed in get_seeds(world)]
    for _ in range(SETTLEMENTS):
        trust = compute_trust(links, seeds, trust, params)
    reached = sum(1 for value in trust if value)
    return np.array([min(FULL_PPM, FULL_PPM * reached * t // TOTAL) for t in trust], np.int64)


def get_claims(world: World, trust_ppm: Ints | None = None) -> Claims:
    """What everybody asserts, with everybody's trust; full trust where none is given."""
    placement, count = world.placement, len(world.sites)
    seed = np.zeros(count, np.bool_)
    seed[get_seeds(world)] = True
    return make_claims(
        [b"%032d" % index for index in range(count)],
        owner=np.arange(count),
        latitude_deg=[1e-6 * latitude for _, latitude, _ in world.cells],
        longitude_deg=[1e-6 * longitude for _, _, longitude in world.cells],
        height_m=placement.claimed_height_m,
        gain_cdb=np.round(100 * placement.claimed_gain_db),
        eirp_cdbm=np.round(100 * placement.sites.eirp_dbm),
        sets_power=placement.sites.sets_power,
        resolution=placement.sites.resolution,
        first_epoch=np.zeros(count),
        trust_ppm=np.full(count, 1_000_000) if trust_ppm is None else trust_ppm,
        seed=seed,
    )
