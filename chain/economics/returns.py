"""What the rules come to in money, for an owner and for the network; attacks.py has the rest.

Every figure is the outcome of the real rules (burns, trust, settlement) on drawn networks of preset
mainnet; what is assumed about the world is a constant here, with its reason. Amounts in ucr.
docs/rewards.md, "Why these numbers", holds the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chain.economics.drawn import (
    Drawn,
    Place,
    draw_below,
    get_drawn_state,
    key_of,
    process_drawn_bounty,
    process_drawn_day,
    process_drawn_traffic,
)
from chain.params import CREDIT_UCR, PRESETS
from chain.rules.outcome import Effects
from chain.rules.payments import Payment
from chain.rules.rewards import compute_bootstrap_share_ucr, process_settlement

Tell = Callable[[str], None]
MAINNET: Final = PRESETS["mainnet"]
# Days until trust has settled: each carries it 16 hops on.
DAYS: Final = 6
# Cells covered in the whole network, of which a drawn one is a part that gets its share.
NETWORK_CELLS: Final = (10_000, 100_000, 700_000)


def get_pays(drawn: Drawn, days: int = DAYS) -> Sequence[Payment]:
    """The payments of the last of so many days: by default of one like those that follow."""
    effects = Effects()
    for _ in range(days):
        effects = Effects()
        process_drawn_day(drawn)
        process_settlement(drawn.state, effects)
    return effects.payments


def compute_median(values: Iterable[int]) -> int:
    """The middle value, the lower one of two; 0 of nothing."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0


# ---- an owner: what a hotspot earns per day in an area


@dataclass(frozen=True, slots=True)
class Area:
    """A kind of place: its cells, hotspots in each, and what payers burn per cell and day."""

    name: str
    origin: Place
    size: Place
    per_cell: int
    occupied_percent: int
    traffic_ucr: int


# Per cell and day, burned by an access hotspot's clients; about 20 people at a credit each in a
# town's cell, two in a village's, and a passer-by who spends half a credit in the outback.
AREAS: Final = (
    Area("dense", (100, 100), (9, 9), 5, 100, 20 * CREDIT_UCR),
    Area("sparse", (100, 109), (18, 18), 1, 50, 2 * CREDIT_UCR),
    Area("outpost", (300, 300), (1, 1), 2, 100, CREDIT_UCR // 2),
    Area("empty", (400, 400), (1, 1), 1, 100, CREDIT_UCR // 2),
)
# One hotspot in a hundred is appointed a seed, and one of the two of the outpost.
SEED_SHARE: Final = 100
BOUNTY_UCR: Final = 2 * CREDIT_UCR  # per cell and day, where a planner offers one
SCENARIOS: Final = ("bootstrap alone", "with traffic", "with traffic and a bounty")


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """What the median hotspot of an area earns per day, by kind, in ucr."""

    area: str
    scenario: str
    network_cells: int
    hotspots: int
    earned_ucr: dict[str, int]

    @property
    def total_ucr(self) -> int:
        """All kinds together."""
        return sum(self.earned_ucr.values())


def get_area_network(network_cells: int) -> tuple[Drawn, dict[str, list[int]]]:
    """A network of all areas, and the hotspots of each."""
    wanted = [(area, place) for area in AREAS for place in get_area_places(area)]
    outpost = sum(area.name in ("dense", "sparse") for area, _ in wanted)
    cells = {place for _, place in wanted}
    share = MAINNET.bootstrap_ucr * len(cells) // network_cells
    params = replace(MAINNET, bootstrap_ucr=share)
    drawn = Drawn(get_drawn_state(params, [*range(0, outpost, SEED_SHARE), outpost]))
    areas: dict[str, list[int]] = {area.name: [] for area in AREAS}
    for number, (area, place) in enumerate(wanted):
        areas[area.name].append(drawn.add(place, key_of("owner", number)))
    drawn.hear_around(drawn.at)
    return drawn, areas


def get_area_places(area: Area) -> list[Place]:
    """Where the hotspots of an area stand."""
    row, column = area.origin
    return [
        (row + down, column + right)
        for down in range(area.size[0])
        for right in range(area.size[1])
        if draw_below(100, row, column, down, right) < area.occupied_percent
        for _ in range(area.per_cell)
    ]


def process_area_traffic(drawn: Drawn, areas: dict[str, list[int]], effects: Effects) -> None:
    """Clients of the first hotspot of every cell pay for what another of its area relays."""
    for area in AREAS:
        members, seen = areas[area.name], set[Place]()
        for payer in members:
            if drawn.at[payer] in seen:
                continue
            seen.add(drawn.at[payer])
            others = [index for index in members if index != payer]
            payee = others[draw_below(len(others), payer)] if others else payer
            process_drawn_traffic(drawn.state, payer, payee, area.traffic_ucr, effects)


def process_area_bounties(drawn: Drawn) -> None:
    """A planner offers a bounty in every cell."""
    for place in sorted(drawn.places):
        process_drawn_bounty(drawn.state, drawn.cell(place), key_of("planner", 0), BOUNTY_UCR)


def compute_owner_rows(tell: Tell = lambda _: None) -> list[OwnerRow]:
    """The owner's view: by size of the network, scenario and area."""
    rows = []
    for network_cells in NETWORK_CELLS:
        for number, scenario in enumerate(SCENARIOS):
            tell(f"{scenario}, {network_cells} cells")
            drawn, areas = get_area_network(network_cells)
            get_pays(drawn, DAYS - 1)
            relayed = Effects()
            if number > 0:
                process_area_traffic(drawn, areas, relayed)
            if number > 1:
                process_area_bounties(drawn)
            payments = [*relayed.payments, *get_pays(drawn, 1)]
            rows += get_owner_rows(areas, scenario, network_cells, payments)
    return rows


def get_owner_rows(
    areas: dict[str, list[int]], scenario: str, network_cells: int, payments: list[Payment]
) -> list[OwnerRow]:
    """The median of every area, by kind; relays are told by their mean, since few relay at once."""
    earned: dict[int, dict[str, int]] = {}
    for payment in payments:
        kinds = earned.setdefault(payment.hotspot, {})
        kinds[payment.kind] = kinds.get(payment.kind, 0) + payment.amount_ucr
    rows = []
    for name, members in areas.items():
        kinds = {
            kind: compute_median(earned.get(index, {}).get(kind, 0) for index in members)
            for kind in ("bootstrap", "coverage", "bounty", "witness")
        }
        relayed = sum(earned.get(index, {}).get("relay", 0) for index in members)
        rows.append(
            OwnerRow(
                *(name, scenario, network_cells, len(members)),
                {**kinds, "relay": relayed // len(members)},
            )
        )
    return rows


# ---- the network: what is minted and what is destroyed, over years


@dataclass(frozen=True, slots=True)
class Demand:
    """How a network might grow: hotspots double until there are enough; each brings burns."""

    name: str
    start_hotspots: int
    final_hotspots: int
    doubling_days: int
    burned_ucr: int  # per hotspot and day


# Helium's networks had 970,000 hotspots at their peak and doubled in months while they grew; the
# three paths end at a twentieth, a third and all of that. What one hotspot's clients burn per day
# ranges from a coffee a month to a small plan, if a credit is worth some cents.
DEMANDS: Final = (
    Demand("low", 5_000, 50_000, 365, CREDIT_UCR // 10),
    Demand("base", 5_000, 300_000, 270, CREDIT_UCR // 2),
    Demand("high", 5_000, 1_000_000, 180, 2 * CREDIT_UCR),
)
YEARS: Final = 20
DAYS_PER_YEAR: Final = 365
CELLS_PER_HOTSPOT_PERCENT: Final = 70  # covered cells, as in the drawn million of bench.settlement


@dataclass(frozen=True, slots=True)
class NetworkYear:
    """The last day of a year, and the supply at its end less what was deposited, in ucr."""

    year: int
    hotspots: int
    minted_ucr: int
    destroyed_ucr: int
    issued_ucr: int


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """Years of a demand path; on `crossing_day` more is destroyed than minted, the first time."""

    demand: Demand
    years: tuple[NetworkYear, ...]
    crossing_day: int | None
    peak_ucr: int


def compute_hotspots(demand: Demand, day: int) -> int:
    """Hotspots on a day: doubling, along a straight line between two doublings, up to the end."""
    doublings, part = divmod(day, demand.doubling_days)
    at = demand.start_hotspots << min(doublings, 40)
    return min(demand.final_hotspots, at + at * part // demand.doubling_days)


def compute_network_path(demand: Demand) -> NetworkPath:
    """Every day of all years: the bootstrap as far as cells take it, the fee of all burns."""
    state = get_drawn_state(MAINNET, [])
    years, crossing, issued, peak = [], None, 0, 0
    for day in range(YEARS * DAYS_PER_YEAR):
        state.settlement = day
        hotspots = compute_hotspots(demand, day)
        covered = hotspots * CELLS_PER_HOTSPOT_PERCENT // 100
        minted = covered * compute_bootstrap_share_ucr(state, covered)
        destroyed = hotspots * demand.burned_ucr * MAINNET.fee_bp // 10_000
        issued += minted - destroyed
        peak = max(peak, issued)
        if crossing is None and destroyed > minted:
            crossing = day
        if day % DAYS_PER_YEAR == DAYS_PER_YEAR - 1:
            years.append(
                NetworkYear(day // DAYS_PER_YEAR + 1, hotspots, minted, destroyed, issued)
            )
    return NetworkPath(demand, tuple(years), crossing, peak)
