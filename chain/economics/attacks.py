"""What attacks on the money come to, under the real rules, on drawn networks.

Every attack is tried in a suburb of a network of 700,000 covered cells: 12 by 12 cells with a
hotspot each. The attacker has as many keys as it likes; honest owners all differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from chain.economics.drawn import (
    STEPS_BY_RING,
    Drawn,
    get_drawn_state,
    key_of,
    process_drawn_bounty,
    process_drawn_traffic,
)
from chain.economics.returns import MAINNET, NETWORK_CELLS, Tell, compute_median, get_pays
from chain.rules.outcome import Effects
from chain.state import State

ROWS, COLUMNS = 12, 12
MIDDLE: Final = (106, 106)
REMOTE: Final = (400, 400)  # nobody stands here but who is put here
BUDGET_UCR: Final = 100_000_000
FAINT: Final = 1  # steps of a weak link
STRANGERS: Final = (0, 1, 4)
RING_KEYS: Final = (1, 2, 4, 8, 16, 32, 64)
RING_EDGES: Final = (1, 3, 10)
SITES_TRIED, SITE_NUMBER = 6, 1 << 20
SITE_HOTSPOTS: Final = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class Circle:
    """Money that an attacker pays itself, among strangers who cover the cell too, in ucr."""

    name: str
    strangers: int
    spent_ucr: int
    returned_ucr: int

    @property
    def return_bp(self) -> int:
        """Gain over spending, in basis points: -500 is a loss of 5 %."""
        return 10_000 * (self.returned_ucr - self.spent_ucr) // self.spent_ucr


@dataclass(frozen=True, slots=True)
class Ring:
    """Invented hotspots, one to a cell, behind one radio that honest neighbours hear.

    `earned_ucr` per day, all keys; `unbounded_ucr` what it would be if trust didn't bound the
    bootstrap; `honest_ucr` what the median hotspot of the suburb earns on the bond of one.
    """

    keys: int
    edges: int
    earned_ucr: int
    unbounded_ucr: int
    honest_ucr: int
    bond_ucr: int


@dataclass(frozen=True, slots=True)
class Site:
    """One site with several hotspots among neighbours, `per_cell` of them in every cell."""

    per_cell: int
    hotspots: int
    earned_ucr: int
    bond_ucr: int


def get_suburb(per_cell: int = 1, trust_ppm: int = MAINNET.bootstrap_trust_ppm) -> Drawn:
    """The suburb, with its share of the bootstrap; its first hotspot and a middle one are seeds."""
    share = MAINNET.bootstrap_ucr * ROWS * COLUMNS // NETWORK_CELLS[-1]
    params = replace(MAINNET, bootstrap_ucr=share, bootstrap_trust_ppm=trust_ppm)
    drawn = Drawn(get_drawn_state(params, [0, ROWS * COLUMNS * per_cell // 2]))
    for number in range(ROWS * COLUMNS * per_cell):
        row, column = divmod(number // per_cell, COLUMNS)
        drawn.add((100 + row, 100 + column), key_of("owner", number))
    drawn.hear_around(list(drawn.at))
    return drawn


def compute_gain(drawn: Drawn, owners: Iterable[bytes], spend: Callable[[State], None]) -> int:
    """What accounts have more after a day on which they spend something, than after one without."""
    wealth = []
    for is_spending in (False, True):
        copy = replace(drawn, state=drawn.state.copy())
        if is_spending:
            spend(copy.state)
        get_pays(copy, 1)
        wealth.append(sum(copy.state.balance(owner) for owner in owners))
    return wealth[1] - wealth[0]


def get_remote_place(strangers: int) -> tuple[Drawn, list[bytes]]:
    """Three hotspots of an attacker, each under its own key, and strangers in one remote cell.

    All hear one hotspot of the suburb, so that trust reaches them.
    """
    drawn = get_suburb()
    owners = [key_of("attacker", number) for number in range(3)]
    everybody = [*owners, *(key_of("stranger", number) for number in range(strangers))]
    added = [drawn.add(REMOTE, owner) for owner in everybody]
    for index in added:
        drawn.hear(index, drawn.places[MIDDLE][0], FAINT)
    drawn.hear_around(added)
    get_pays(drawn)
    return drawn, owners


def compute_wash(strangers: int) -> Circle:
    """Burn credits between two of one's hotspots, and cover the cell with a third."""
    drawn, owners = get_remote_place(strangers)
    payer, payee, *_ = drawn.places[REMOTE]
    def spend(state: State) -> None:
        process_drawn_traffic(state, payer, payee, BUDGET_UCR, Effects())

    return Circle("wash traffic", strangers, BUDGET_UCR, compute_gain(drawn, owners, spend))


def compute_own_bounty(strangers: int) -> Circle:
    """Sponsor a bounty on a cell that one covers under other keys."""
    drawn, owners = get_remote_place(strangers)
    sponsor = key_of("sponsor", 0)

    def spend(state: State) -> None:
        process_drawn_bounty(state, drawn.cell(REMOTE), sponsor, BUDGET_UCR)

    gain = compute_gain(drawn, [*owners, sponsor], spend)
    return Circle("own bounty", strangers, BUDGET_UCR, gain)


def compute_ring_earned(keys: int, edges: int, trust_ppm: int) -> tuple[int, int]:
    """What a ring earns in a day, and the median hotspot of the suburb."""
    drawn = get_suburb(trust_ppm=trust_ppm)
    honest = list(drawn.at)
    ring = [drawn.add((500, 3 * number), key_of("attacker", number)) for number in range(keys)]
    for number, index in enumerate(ring):
        for other in ring[number + 1 :]:
            drawn.hear(index, other, STEPS_BY_RING[0])  # they say what they like
    middle = honest.index(drawn.places[MIDDLE][0])
    for number in range(edges):
        drawn.hear(ring[0], honest[middle + number], FAINT)
    earned: dict[int, int] = {}
    for payment in get_pays(drawn):
        earned[payment.hotspot] = earned.get(payment.hotspot, 0) + payment.amount_ucr
    median = compute_median(earned.get(index, 0) for index in honest)
    return sum(earned.get(index, 0) for index in ring), median


def compute_ring(keys: int, edges: int) -> Ring:
    """Invented hotspots that all vouch for each other, behind real links to honest ones."""
    earned, honest = compute_ring_earned(keys, edges, MAINNET.bootstrap_trust_ppm)
    unbounded, _ = compute_ring_earned(keys, edges, 1)
    return Ring(keys, edges, earned, unbounded, honest, keys * MAINNET.bond_ucr)


def compute_site(per_cell: int, hotspots: int) -> Site:
    """Several hotspots, each with its own key, at one site of the suburb: the mean of some sites.

    They stand nearer than two sites can, so they don't witness each other.
    """
    earned = 0
    for number in range(SITES_TRIED):
        drawn, place = get_suburb(per_cell), (104 + number % 3, 103 + number)
        site = {
            drawn.add(place, key_of("attacker", key), SITE_NUMBER + number)
            for key in range(hotspots)
        }
        drawn.hear_around(site)
        earned += sum(p.amount_ucr for p in get_pays(drawn) if p.hotspot in site)
    return Site(per_cell, hotspots, earned // SITES_TRIED, hotspots * MAINNET.bond_ucr)


@dataclass(frozen=True, slots=True)
class AttackerView:
    """All attacks."""

    circles: tuple[Circle, ...]
    rings: tuple[Ring, ...]
    sites: tuple[Site, ...]


def compute_attacker_view(tell: Tell = lambda _: None) -> AttackerView:
    """The attacker's view."""
    circles, rings, sites = [], [], []
    for strangers in STRANGERS:
        tell(f"paying oneself among {strangers} strangers")
        circles += [compute_wash(strangers), compute_own_bounty(strangers)]
    for edges in RING_EDGES:
        for keys in RING_KEYS:
            tell(f"{keys} invented keys behind {edges} neighbours")
            rings.append(compute_ring(keys, edges))
    for per_cell in (1, 3):
        for hotspots in SITE_HOTSPOTS:
            tell(f"{hotspots} hotspots at one site")
            sites.append(compute_site(per_cell, hotspots))
    circles.sort(key=lambda circle: (circle.name, circle.strangers))
    return AttackerView(tuple(circles), tuple(rings), tuple(sites))
