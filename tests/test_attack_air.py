"""The laboratory's air and placements: what is physical must be so whoever lies about it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coverage_map.audit.table import CELL_RADIUS_M, NO_RSSI_CDBM
from radio_sim.attacks.air import Air, compute_key_loss, compute_radio_loss
from radio_sim.attacks.forging import Scene, get_known_beacons
from radio_sim.attacks.placement import (
    NO_RADIO,
    get_claimed_cells,
    get_honest_placement,
    pick_attackers,
)
from radio_sim.attacks.presence import HONEST, STRATEGIES
from radio_sim.attacks.run import (
    BEACONS,
    World,
    draw_steps_cdb,
    get_seeds,
    hear_epoch,
    make_world,
    run_hearings,
)
from radio_sim.attacks.signing import Signer
from radio_sim.attacks.sites import PATCHES, Sites, draw_sites

HOTSPOTS, EPOCHS, SEED = 80, 12, 3


def world_of(name: str, share: float = 0.2) -> World:
    strategy = STRATEGIES.get(name, HONEST)
    return make_world(strategy, hotspots=HOTSPOTS, epochs=EPOCHS, share=share, seed=SEED)


def test_a_seed_is_one_network_and_another_seed_another() -> None:
    one, same, other = (draw_sites(HOTSPOTS, EPOCHS, seed) for seed in (1, 1, 2))
    for name in Sites.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(same, name)), name
    assert not np.array_equal(one.positions_m, other.positions_m)


def test_sites_of_a_patch_keep_their_distance() -> None:
    sites = draw_sites(HOTSPOTS, EPOCHS, SEED)
    for number, patch in enumerate(PATCHES):
        here = sites.positions_m[sites.patch == number]
        apart = np.hypot(*(here[:, None] - here[None, :]).transpose(2, 0, 1))
        assert apart[np.triu_indices(len(here), 1)].min() > patch.apart_m / 3.0


def test_a_tiny_network_is_refused() -> None:
    with pytest.raises(ValueError, match="hotspots"):
        draw_sites(3, EPOCHS, SEED)


def test_paths_lose_the_same_both_ways() -> None:
    loss = compute_radio_loss(get_honest_placement(draw_sites(HOTSPOTS, EPOCHS, SEED)))
    assert np.array_equal(loss, loss.T)
    assert np.isfinite(loss).any()


def test_keys_without_a_radio_hear_nothing_and_are_not_heard() -> None:
    world = world_of("emulator")
    air = Air(world.placement, BEACONS)
    rows = air.hear(0, draw_steps_cdb(world, 0))
    absent = np.flatnonzero(world.placement.radios_at(0) == NO_RADIO)
    assert len(absent)
    assert not np.isin(rows.witness, absent).any()
    assert not np.isin(rows.beaconer, absent).any()


def test_keys_on_one_radio_have_one_path_to_everybody_else() -> None:
    world = world_of("sybil")
    radios = world.placement.radios_at(0)
    loss = compute_key_loss(compute_radio_loss(world.placement), radios)
    shared = next(r for r in radios if np.count_nonzero(radios == r) > 1)
    keys = np.flatnonzero(radios == shared)
    others = np.flatnonzero(radios != shared)
    assert np.array_equal(loss[keys[0], others], loss[keys[1], others])


def test_a_lower_power_step_is_heard_that_much_weaker() -> None:
    world = world_of("honest", 0.0)
    full = Air(world.placement, BEACONS).hear(0, np.zeros((HOTSPOTS, BEACONS), np.int64))
    low = Air(world.placement, BEACONS).hear(0, np.full((HOTSPOTS, BEACONS), 600))
    at_full = dict(zip(zip(full.witness, full.beaconer, full.sequence, strict=True),
                       full.rssi_cdbm, strict=True))
    apart = [at_full[key] - rssi for key, rssi in
             zip(zip(low.witness, low.beaconer, low.sequence, strict=True), low.rssi_cdbm,
                 strict=True)
             if rssi != NO_RSSI_CDBM and key in at_full]
    assert 500 < np.mean(apart) < 650
    assert len(low) < len(full)


def test_who_is_away_is_silent_and_deaf() -> None:
    world = world_of("honest", 0.0)
    hearings = run_hearings(world)
    for column in (hearings.witness, hearings.beaconer):
        assert world.sites.present[column, hearings.epoch].all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_nobody_edits_what_honest_witnesses_report(name: str) -> None:
    world = world_of(name)
    steps = draw_steps_cdb(world, 0)
    real = Air(world.placement, BEACONS).hear(0, steps)
    said = hear_epoch(world, Air(world.placement, BEACONS), 0, steps)
    honest = ~world.placement.attackers
    assert len(real.take(honest[real.witness])) == len(said.take(honest[said.witness]))
    assert not said.forged[honest[said.witness]].any()


def test_a_perfect_model_is_reciprocal_and_knows_no_shadow_of_the_world() -> None:
    world = world_of("forge-own-model")
    model = Air(world.placement, BEACONS).model_dbm
    assert model is not None
    sites = world.sites
    loss = sites.eirp_dbm[:, None] + world.placement.claimed_gain_db[None, :] - model
    assert np.allclose(loss, loss.T, equal_nan=True)
    honest = np.flatnonzero(~world.placement.attackers)
    true = compute_radio_loss(world.placement)[np.ix_(honest, honest)]
    mine = loss[np.ix_(honest, honest)]
    both = np.isfinite(true) & np.isfinite(mine) & (true < 125.0)
    assert abs(np.mean(mine[both] - true[both])) < 6.0
    assert np.std(mine[both] - true[both]) > 6.0


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_plot_is_as_large_as_asked_and_holds_no_seed_of_trust(name: str) -> None:
    world = world_of(name)
    assert np.count_nonzero(world.placement.attackers) == round(0.2 * HOTSPOTS)
    assert not world.placement.attackers[get_seeds(world)].any()
    assert not (world.placement.liars & ~world.placement.attackers).any()


@pytest.mark.parametrize("name", ["static-fake", "gps-spoof", "witness-ring", "sybil", "wormhole"])
def test_a_lie_is_larger_than_the_cell_that_is_asserted(name: str) -> None:
    world = make_world(STRATEGIES[name], hotspots=300, epochs=20, share=0.1, seed=SEED)
    placement = world.placement
    liars = np.flatnonzero(placement.liars)
    radio_m = placement.radio_m[placement.radios_at(0)]
    apart = np.hypot(*(placement.claimed_m - radio_m)[liars].T)
    radius = np.array([CELL_RADIUS_M[int(r)] for r in world.sites.resolution[liars]])
    lies = np.mean(apart > radius)
    # The first of a ring may claim to stand in its room; nobody else does.
    assert lies > 0.85


def test_claims_are_centres_of_cells_near_the_claimed_place() -> None:
    world = world_of("gps-spoof")
    from chain.cells import cell_centre
    from chain.geo import cell_resolution

    for (cell, *centre), resolution in zip(
        get_claimed_cells(world.placement), world.sites.resolution, strict=True
    ):
        assert cell_centre(cell) == tuple(centre)
        assert cell_resolution(cell) == resolution


def test_the_plot_knows_its_own_beacons_and_what_its_receivers_heard() -> None:
    world = world_of("forge-free-space")
    steps = draw_steps_cdb(world, 0)
    air = Air(world.placement, BEACONS)
    rows = air.hear(0, steps)
    assert air.model_dbm is not None
    scene = Scene(world.placement, 0, air.level_dbm, air.model_dbm, steps, rows)
    known = get_known_beacons(scene)
    mine = scene.attackers_rows()
    heard = set(zip(mine.beaconer.tolist(), mine.sequence.tolist(), strict=True))
    for beaconer, sequence in zip(known.beaconer, known.sequence, strict=True):
        assert world.placement.attackers[beaconer] or (int(beaconer), int(sequence)) in heard


@given(share=st.floats(0.001, 0.45), count=st.integers(10, 200))
@settings(max_examples=20, deadline=None)
def test_attackers_are_a_share_of_all(share: float, count: int) -> None:
    keys = pick_attackers(draw_sites(count, 1, SEED), share)
    assert len(keys) == max(1, round(share * count))
    assert len(set(keys.tolist())) == len(keys)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 63), st.integers(1, 255))
def test_a_stand_in_holds_for_what_was_signed_alone(body: bytes, at: int, flip: int) -> None:
    signer = Signer()
    key = signer.public(b"seed")
    signature = signer.sign(b"seed", "epoch", bytes(32), body)
    assert signer.verify(key, "epoch", bytes(32), body, signature)
    spoiled = signature[:at] + bytes((signature[at] ^ flip,)) + signature[at + 1 :]
    assert not signer.verify(key, "epoch", bytes(32), body, spoiled)
    assert not signer.verify(key, "epoch", bytes(32), body + b"\0", signature)
    assert not signer.verify(key, "epoch", b"\1" * 32, body, signature)
    assert not signer.verify(signer.public(b"other"), "epoch", bytes(32), body, signature)
