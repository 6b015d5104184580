"""What a candidate site would earn: the ledger's own rules, run on the network around it.

The hotspots around are put into a state of the ledger (chain/economics/drawn.py) with the candidate
among them; who hears whom how well is predicted; then chain.rules settles, as it does for
everybody. Nothing of the rules is repeated here. What is assumed: hotspots that the ledger trusts
count as seeds, every beacon that can be heard is heard, and money in a cell stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from chain.economics.drawn import Drawn, Place, get_drawn_state, process_drawn_bounty
from chain.economics.returns import DAYS, get_pays
from chain.geo import cell_parent
from chain.params import PRESETS, Params
from chain.rules.payments import Payment
from chain.rules.quality import compute_quality
from chain.rules.verdicts import Beaconer
from chain.state import Assertion, Chain
from coverage_map.cells import cell_at, distance_m
from coverage_map.observations import Site
from coverage_map.predict import baseline_dbm

Floats = NDArray[np.float64]

AROUND_M = 15_000.0  # a link and the links of those linked
NEIGHBOURS_MAX = 200
HEARD_DBM = -92.0  # a beacon at 1 Mb/s, with 3 dB in hand
NETWORK_CELLS = 10_000
SPONSOR = b"\x01" * 32


@dataclass(frozen=True, slots=True)
class Economy:
    """Money around the candidate, per settlement: what cells of resolution 8 pay.

    bounties_ucr and demand_ucr by cell; network_cells: covered in the whole network, which share
    the bootstrap. `settlement` says how far the bootstrap has shrunk.
    """

    preset: str = "mainnet"
    bounties_ucr: Mapping[int, int] = field(default_factory=dict)
    demand_ucr: Mapping[int, int] = field(default_factory=dict)
    network_cells: int = NETWORK_CELLS
    settlement: int = 0


@dataclass(frozen=True, slots=True)
class Reward:
    """Micro-credits per settlement of the candidate by kind, and how its neighbours' change."""

    earned_ucr: dict[str, int]
    neighbours: int
    links: int
    neighbours_change_ucr: int

    @property
    def total_ucr(self) -> int:
        """All kinds together."""
        return sum(self.earned_ucr.values())


class _Around(Drawn):
    """A drawn network whose places are real cells of resolution 8: (cell above 2^32, below)."""

    def cell(self, place: Place) -> int:
        return place[0] << 32 | place[1]


def place_of(site: Site, resolution: int) -> Place:
    """The reward cell that a site stands in, as a place."""
    cell = cell_at(site.latitude_deg, site.longitude_deg, 10)
    above = cell_parent(cell, resolution)
    return above >> 32, above & 0xFFFFFFFF


def levels_dbm(sites: Sequence[Site]) -> Floats:
    """Predicted level [sender, hearer] at each other's antenna, gain included."""
    lat = np.array([s.latitude_deg for s in sites])
    lon = np.array([s.longitude_deg for s in sites])
    height = np.array([float(s.height_m) for s in sites])
    gain = np.array([s.gain_cdb / 100.0 for s in sites])
    found = np.empty((len(sites), len(sites)))
    for k, sender in enumerate(sites):
        metres = np.maximum(distance_m(lat[k], lon[k], lat, lon), 1.0)
        found[k] = baseline_dbm(sender, metres, height)[0] + gain
    return found


def steps_of(level_dbm: float) -> int:
    """Quality steps of a reception at full power, by the ledger's rule."""
    none = Chain(0, 1, bytes(32), 0, bytes(32))
    beaconer = Beaconer(Assertion(0, None, 0, none), b"", (), (0,), 1)  # type: ignore[arg-type]
    return compute_quality(beaconer, 0, 0, round(level_dbm * 100.0))


def nearest(candidate: Site, sites: Iterable[Site]) -> list[Site]:
    """Those near enough to matter, nearest first, at most NEIGHBOURS_MAX."""
    others = [site for site in sites if site.index != candidate.index]
    if not others:
        return []
    places = np.array([(site.latitude_deg, site.longitude_deg) for site in others])
    metres = distance_m(
        candidate.latitude_deg, candidate.longitude_deg, places[:, 0], places[:, 1]
    )  # fmt: skip
    order = np.argsort(metres, kind="stable")[:NEIGHBOURS_MAX]
    return [others[k] for k in order if metres[k] <= AROUND_M]


def expected_reward(
    candidate: Site, sites: Iterable[Site], economy: Economy, trusted: Sequence[int] | None = None
) -> Reward:
    """What the candidate earns in a settlement once trust has settled.

    `trusted`: indexes of hotspots that the ledger trusts; None for all of them.
    """
    around = nearest(candidate, sites)
    seeds = [k for k, site in enumerate(around) if trusted is None or site.index in set(trusted)]
    own = len(around)
    with_it, links = _settled([*around, candidate], seeds, economy)
    before, _ = _settled(around, seeds, economy) if around else ([], 0)
    earned: dict[str, int] = {}
    for payment in with_it:
        if payment.hotspot == own:
            earned[payment.kind] = earned.get(payment.kind, 0) + payment.amount_ucr
    theirs = sum(p.amount_ucr for p in with_it if p.hotspot != own)
    change = theirs - sum(p.amount_ucr for p in before)
    return Reward(dict(sorted(earned.items())), own, links, change)


def _settled(
    sites: Sequence[Site], seeds: Sequence[int], economy: Economy
) -> tuple[Sequence[Payment], int]:
    """Payments of one settlement, and the links of the last site."""
    params = PRESETS[economy.preset]
    places = [place_of(site, params.reward_resolution) for site in sites]
    # Without any seed a trial network would trust everybody: one that never registers prevents it.
    seeds = seeds or [len(sites)]
    drawn = _Around(get_drawn_state(_shared(params, len(set(places)), economy), seeds))
    for k, place in enumerate(places):
        drawn.add(place, b"%032d" % k)
    level = np.minimum(levels := levels_dbm(sites), levels.T)
    for low, high in zip(*np.nonzero(np.triu(level >= HEARD_DBM, 1)), strict=True):
        drawn.hear(int(low), int(high), steps_of(float(level[low, high])))
    drawn.state.settlement = economy.settlement
    get_pays(drawn, DAYS - 1)
    process_money(drawn, economy)
    return get_pays(drawn, 1), len(drawn.heard.get(len(sites) - 1, {}))


def _shared(params: Params, cells: int, economy: Economy) -> Params:
    """The bootstrap's part for cells so few."""
    part = params.bootstrap_ucr * min(cells, economy.network_cells) // economy.network_cells
    return replace(params, bootstrap_ucr=part)


def process_money(drawn: Drawn, economy: Economy) -> None:
    """Bounties and what payers burned, of the cells where somebody stands."""
    state, cells = drawn.state, {drawn.cell(place) for place in drawn.places}
    for cell, ucr in sorted(economy.bounties_ucr.items()):
        if cell in cells and ucr > 0:
            process_drawn_bounty(state, cell, SPONSOR, ucr)
    for cell, ucr in sorted(economy.demand_ucr.items()):
        if cell in cells and ucr > 0:
            state.supply.deposited += ucr
            state.add("pools", (cell, SPONSOR), ucr)
