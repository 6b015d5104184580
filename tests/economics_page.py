"""The tables of docs/rewards.md that come from `wavecomb chain economics`, as the page has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chain.cli.io_economics import KINDS, credits_of
from chain.economics.attacks import AttackerView, Circle, Ring, Site
from chain.economics.returns import NetworkPath, OwnerRow

YEARS = (1, 2, 4, 8, 12, 20)
RING_KEYS = (1, 4, 16, 64)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def owner_lines(rows: list[OwnerRow]) -> list[str]:
    return table(
        ("area", "with", *KINDS, "all"),
        (
            (
                *(row.area, row.scenario),
                *(credits_of(row.earned_ucr[kind]) for kind in KINDS),
                credits_of(row.total_ucr),
            )
            for row in rows
            if row.network_cells == 100_000
        ),
    )


def network_lines(paths: list[NetworkPath]) -> list[str]:
    head = [f"{path.demand.name}: {what}" for path in paths for what in ("minted", "destroyed")]
    rows = []
    for year in YEARS:
        cells: list[object] = [year]
        for path in paths:
            at = path.years[year - 1]
            cells += [credits_of(at.minted_ucr), credits_of(at.destroyed_ucr)]
        rows.append(cells)
    days = [f"{path.demand.name}: day {path.crossing_day}" for path in paths]
    first = f"More is destroyed than minted from then on: {', '.join(days)}."
    return [*table(("last day of year", *head), rows), "", first]


def circle_lines(circles: Iterable[Circle]) -> list[str]:
    return table(
        ("paying oneself", "strangers in the cell", "return"),
        ((one.name, one.strangers, f"{one.return_bp / 100:.2f} %") for one in circles),
    )


def ring_lines(rings: Iterable[Ring]) -> list[str]:
    return table(
        ("honest neighbours", "keys", "credits a day", "a day of the bond", "without the bound"),
        (
            (
                *(one.edges, one.keys, credits_of(one.earned_ucr)),
                f"{100 * one.earned_ucr / one.bond_ucr:.2f} %",
                credits_of(one.unbounded_ucr),
            )
            for one in rings
            if one.keys in RING_KEYS
        ),
    )


def site_lines(sites: list[Site]) -> list[str]:
    counts = sorted({one.hotspots for one in sites})
    rows = []
    for density in sorted({one.per_cell for one in sites}):
        earned = {one.hotspots: one.earned_ucr for one in sites if one.per_cell == density}
        rows.append((f"{density} per cell", *(credits_of(earned[count]) for count in counts)))
    return table(("others", *(f"{count} at the site" for count in counts)), rows)


def attacker_lines(view: AttackerView) -> dict[str, list[str]]:
    return {
        "CIRCLES": circle_lines(view.circles),
        "RINGS": ring_lines(view.rings),
        "SITES": site_lines(list(view.sites)),
    }
