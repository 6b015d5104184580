"""Attacks that pretend to be somewhere, and others on the radio's side of the proof.

Each is a placement (what is true and what is claimed) and a way to report. Attackers hear honest
neighbours where they really are; what they write down is theirs to choose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radio_sim.attacks.air import Rows, join_rows
from radio_sim.attacks.forging import (
    Scene,
    expected,
    fitted,
    forge_rows,
    free_space,
    get_known_beacons,
    mirrored,
)
from radio_sim.attacks.placement import (
    NO_RADIO,
    Placement,
    add_radios,
    groups_of,
    places_away,
    with_plot,
)
from radio_sim.attacks.sites import PATCHES, Sites, uniform_column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Place = Callable[[Placement, Ints], Placement]
Report = Callable[[Scene, Rows], Rows]

RING_KEYS, SYBIL_KEYS = 8, 5
ROOM_M = 3.0
# In typical spacings: far enough for another reward cell, near enough to stay plausible.
AROUND = (3.0, 6.0)
IMPLAUSIBLE_DB = 10.0  # what a careful liar leaves out: a deviation and a half of shadowing
BOOST_DB, GAIN_LIE_DB = 9.0, 6.0
MOVES_AFTER = 4  # the part of a run after which hotspots are carried away


@dataclass(frozen=True, slots=True)
class Strategy:
    """One attack. `pretends`: it claims a place where it isn't; then being found is the figure."""

    name: str
    summary: str
    place: Place
    report: Report
    pretends: bool = True


def report_truly(_: Scene, rows: Rows) -> Rows:
    """Write down what was heard."""
    return rows


def report_plausibly(scene: Scene, rows: Rows) -> Rows:
    """Leave out what contradicts the claimed place most."""
    natural = expected(scene, rows.beaconer, rows.witness)
    real = scene.level_dbm[rows.beaconer, rows.witness]
    lying = scene.placement.liars[rows.witness]
    return rows.take(~(lying & (np.abs(real - natural) > 2 * IMPLAUSIBLE_DB)))


def report_ring(scene: Scene, rows: Rows) -> Rows:
    """The truth about strangers, and inventions that fit the claims about each other."""
    plot = scene.placement.attackers
    strangers = rows.take(~plot[rows.beaconer])
    own = get_known_beacons(scene, honest=False)
    return join_rows([strangers, forge_rows(scene, np.flatnonzero(plot), own, fitted)])


def report_forged(model: Callable[[Scene, Ints, Ints], Floats]) -> Report:
    """Liars forge by a model whatever accomplices heard; accomplices add the liars' beacons."""

    def report(scene: Scene, rows: Rows) -> Rows:
        liars = scene.placement.liars
        known = get_known_beacons(scene)
        forged = forge_rows(scene, np.flatnonzero(liars), known, model)
        helpers = np.flatnonzero(scene.placement.attackers & ~liars)
        own = get_known_beacons(scene, honest=False)
        added = forge_rows(scene, helpers, own, fitted if model is mirrored else model)
        added = added.take(liars[added.beaconer] & (model is not mirrored))
        return join_rows([rows.take(~liars[rows.witness]), forged, added])

    return report


def report_handed_over(scene: Scene, rows: Rows) -> Rows:
    """Secrets were handed out beforehand: the plot reports its own beacons without any air."""
    own = get_known_beacons(scene, honest=False)
    forged = forge_rows(scene, np.flatnonzero(scene.placement.attackers), own, fitted)
    about_liars = scene.placement.liars[forged.beaconer] | scene.placement.liars[forged.witness]
    return join_rows([rows, forged.take(about_liars)])


def report_friends(scene: Scene, rows: Rows) -> Rows:
    """Only accomplices were heard."""
    return rows.take(scene.placement.attackers[rows.beaconer])


def report_nothing(_: Scene, rows: Rows) -> Rows:
    """An empty report."""
    return rows.take(np.zeros(len(rows), np.bool_))


def spacing_m(sites: Sites, keys: Ints) -> Floats:
    """The typical distance between neighbours around each key."""
    return np.array([patch.apart_m for patch in PATCHES])[sites.patch[keys]]


def place_elsewhere(near: float, far: float) -> Place:
    """Claims so many spacings away from where the radio stands."""

    def place(placement: Placement, keys: Ints) -> Placement:
        placed = with_plot(placement, keys, keys)
        claimed = placement.claimed_m.copy()
        claimed[keys] = scatter_around(placement.sites, keys, keys, near, far)
        return replace(placed, claimed_m=claimed)

    return place


def scatter_around(sites: Sites, keys: Ints, around: Ints, near: float, far: float) -> Floats:
    """A claim for each key, some spacings away from another's place, another one for each key."""
    at = np.zeros((len(keys), 2))
    apart = spacing_m(sites, around)
    for number, (key, centre) in enumerate(zip(keys, around, strict=True)):
        reach = near * apart[number], far * apart[number]
        at[number] = places_away(sites, np.array([centre]), *reach, f"scatter {key}")[0]
    return at


def place_moved(placement: Placement, keys: Ints) -> Placement:
    """Honest for a while; then the boxes are carried away and the claims stay."""
    sites = placement.sites
    placed = with_plot(placement, keys, keys)
    there = scatter_around(sites, keys, keys, 5.0, 12.0)
    placed, radios = add_radios(placed, there, sites.patch[keys])
    moved = np.arange(len(sites))
    moved[keys] = radios
    after = max(1, sites.present.shape[1] // MOVES_AFTER)
    return replace(placed, radio_of=(*placed.radio_of, (after, moved)))


def place_ring(placement: Placement, keys: Ints) -> Placement:
    """Groups in one room each, claims all around it."""
    sites = placement.sites
    placed = with_plot(placement, keys, keys)
    claimed, radio_of = placed.claimed_m.copy(), np.arange(len(sites))
    for group in groups_of(keys, sites, RING_KEYS):
        jitter = ROOM_M * uniform_column(sites.seed, f"room {group[0]}", 2 * len(group))
        room = sites.positions_m[group[0]] + jitter.reshape(-1, 2)
        placed, radios = add_radios(placed, room, sites.patch[group])
        radio_of[group] = radios
        centre = np.full(len(group), group[0])
        claimed[group] = scatter_around(sites, group, centre, *AROUND)
    return replace(placed, claimed_m=claimed, radio_of=((0, radio_of),))


def place_sybils(placement: Placement, keys: Ints) -> Placement:
    """Groups of keys on the radio of their first, which tells the truth about its place."""
    sites = placement.sites
    claimed, radio_of, liars = placement.claimed_m.copy(), np.arange(len(sites)), []
    for group in groups_of(keys, sites, SYBIL_KEYS):
        radio_of[group] = group[0]
        centre = np.full(len(group) - 1, group[0])
        claimed[group[1:]] = scatter_around(sites, group[1:], centre, *AROUND)
        liars += list(group[1:])
    placed = with_plot(placement, keys, np.array(liars, np.int64))
    return replace(placed, claimed_m=claimed, radio_of=((0, radio_of),))


def place_wormhole(placement: Placement, keys: Ints) -> Placement:
    """Every second has no radio of its own: an accomplice's, over the Internet, speaks for it."""
    sites = placement.sites
    helpers, liars = split_plot(keys)
    speaks = helpers[np.arange(len(liars)) % len(helpers)]
    claimed, radio_of = placement.claimed_m.copy(), np.arange(len(sites))
    radio_of[liars] = speaks
    claimed[liars] = scatter_around(sites, liars, speaks, *AROUND)
    placed = with_plot(placement, keys, liars)
    return replace(placed, claimed_m=claimed, radio_of=((0, radio_of),))


def split_plot(keys: Ints) -> tuple[Ints, Ints]:
    """Accomplices who are where they say, and liars; one alone helps itself."""
    return (keys[::2], keys[1::2]) if len(keys) > 1 else (keys, keys)


def place_absent(placement: Placement, keys: Ints) -> Placement:
    """Every second claims a place where nothing stands; the others' receivers serve it."""
    _, liars = split_plot(keys)
    radio_of = np.arange(len(placement.sites))
    radio_of[liars] = NO_RADIO
    return replace(with_plot(placement, keys, liars), radio_of=((0, radio_of),))


def place_nowhere(placement: Placement, keys: Ints) -> Placement:
    """Nobody has a radio; all claim one empty stretch of land, with the spacing of a town."""
    sites = placement.sites
    placed = with_plot(placement, keys, keys)
    claimed, radio_of = placed.claimed_m.copy(), np.arange(len(sites))
    side = 170.0 * np.sqrt(len(keys))
    places = side * uniform_column(sites.seed, "nowhere", 2 * len(keys)).reshape(-1, 2)
    claimed[keys] = places + np.array([0.0, 12_000.0])
    radio_of[keys] = NO_RADIO
    return replace(placed, claimed_m=claimed, radio_of=((0, radio_of),))


def place_silent(placement: Placement, keys: Ints) -> Placement:
    """Claims elsewhere, and never a beacon that a challenger could measure."""
    placed = place_elsewhere(*AROUND)(placement, keys)
    return replace(placed, silent=placed.attackers.copy())


def place_boosted(placement: Placement, keys: Ints) -> Placement:
    """More power on the air than asserted."""
    placed = with_plot(placement, keys, keys)
    boost = placed.boost_db.copy()
    boost[keys] = BOOST_DB
    return replace(placed, boost_db=boost)


def place_gain_lie(placement: Placement, keys: Ints) -> Placement:
    """An antenna better and higher than the real one is asserted."""
    placed = with_plot(placement, keys, keys)
    gain, height = placed.claimed_gain_db.copy(), placed.claimed_height_m.copy()
    gain[keys] += GAIN_LIE_DB
    height[keys] *= 3.0
    return replace(placed, claimed_gain_db=gain, claimed_height_m=height)


def place_truly(placement: Placement, keys: Ints) -> Placement:
    """All claims are true; the lie is in the reports."""
    return with_plot(placement, keys, np.empty(0, np.int64))


PRESENCE = (
    Strategy(
        "static-fake", "a real radio, claimed 5 to 12 blocks away",
        place_elsewhere(5.0, 12.0), report_plausibly,
    ),
    Strategy(
        "move-after-assertion", "honest at first, then carried away",
        place_moved, report_plausibly,
    ),
    Strategy(
        "gps-spoof", "a real radio, claimed 3 to 6 blocks away",
        place_elsewhere(*AROUND), report_truly,
    ),
    Strategy("witness-ring", "eight radios in one room, claimed around", place_ring, report_ring),
    Strategy("sybil", "five keys on one radio, claimed around it", place_sybils, report_ring),
    Strategy(
        "wormhole", "an accomplice's radio sends and hears for a key elsewhere",
        place_wormhole, report_truly,
    ),
    Strategy(
        "forge-free-space", "no radio; RSSI by free space, tags and steps from accomplices",
        place_absent, report_forged(free_space),
    ),
    Strategy(
        "forge-own-model", "no radio; RSSI by the auditors' own law with shadowing of its own",
        place_absent, report_forged(fitted),
    ),
    Strategy(
        "forge-mirror", "a wormhole that mirrors what others publicly report of it",
        place_wormhole, report_forged(mirrored),
    ),
    Strategy(
        "precomputed-beacon", "no radio; accomplices report beacons handed over beforehand",
        place_absent, report_handed_over,
    ),
    Strategy("emulator", "no radio at all; a perfect town of its own", place_nowhere, report_ring),
    Strategy(
        "challenge-denial", "claimed elsewhere, never sends what could be measured",
        place_silent, report_truly,
    ),
)
RADIO = (
    Strategy("power-boost", "9 dB more than asserted", place_boosted, report_truly, False),
    Strategy(
        "gain-height-lie", "6 dB more gain and thrice the height than real",
        place_gain_lie, report_truly, False,
    ),
    Strategy(
        "selective-witnessing", "reports accomplices only", place_truly, report_friends, False
    ),
    Strategy("withheld-witnessing", "reports nothing", place_truly, report_nothing, False),
)
STRATEGIES = {strategy.name: strategy for strategy in (*PRESENCE, *RADIO)}
HONEST = Strategy("honest", "nobody lies", lambda placement, _: placement, report_truly, False)
