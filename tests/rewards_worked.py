"""The worked table of docs/rewards.md as a state: what goes in is here, what comes out there."""

from __future__ import annotations

from chain.economics.drawn import cell_of, get_drawn_state, key_of, process_drawn_hotspot
from chain.params import PRESETS
from chain.rules.mappings import compute_agreed, process_mapping_work, process_new_mappings
from chain.rules.payday import PlainPayday
from chain.rules.rewards import process_bootstrap, process_bounties, process_pools
from chain.rules.trust import TOTAL, compute_trust_ppm
from chain.state import BountyCell, Mapping, State

CELL, PART = cell_of(7), cell_of(49, 9)
PAYER, SPONSOR, MAPPER = (key_of(name, 0) for name in ("payer", "sponsor", "mapper"))
POOL_UCR, OFFER_UCR = 12_345_679, 4_000_000
# (quality, trust ppm, corroborated receptions) of hotspots A to D.
HOTSPOTS = (
    (960, 1_000_000, 0),
    (640, 900_000, 1_200),
    (500, 1_000_000, 400),
    (120, 250_000, 0),
)


def make_worked_state() -> State:
    """One covered cell; its part of resolution 9 was never mapped; A and C were heard there."""
    state = get_drawn_state(PRESETS["mainnet"], [])
    for index, (quality, ppm, measured) in enumerate(HOTSPOTS):
        process_drawn_hotspot(state, CELL, key_of("owner", index))
        state.hotspots[index].trust = -(-ppm * TOTAL // (1_000_000 * len(HOTSPOTS)))
        state.quality[CELL, index] = quality
        if measured:
            state.measured[CELL, index] = measured
    assert compute_trust_ppm(state) == [ppm for _, ppm, _ in HOTSPOTS]
    state.pools[CELL, PAYER] = POOL_UCR
    state.bounties[CELL, 0] = BountyCell(SPONSOR, 3 * OFFER_UCR, OFFER_UCR, 9_999)
    state.mappings[PART, 1, MAPPER] = Mapping(bytes(4) + (2).to_bytes(4, "big"))
    state.supply.deposited += POOL_UCR + 3 * OFFER_UCR
    return state


def settle_worked() -> tuple[State, PlainPayday]:
    """Pay it, trust being what it is."""
    state = make_worked_state()
    day = PlainPayday(state)
    agreed = compute_agreed(day)
    places = process_mapping_work(day, agreed)
    process_pools(day)
    process_bounties(day)
    process_bootstrap(day)
    process_new_mappings(day, places, agreed)
    return state, day


def make_worked_rows() -> list[str]:
    """The table's lines, as the page has them."""
    state, day = settle_worked()
    work, rows = day.work[CELL], []
    sources = {PAYER: "coverage", SPONSOR: "bounty", b"": "bootstrap"}
    for index, (quality, ppm, measured) in enumerate(HOTSPOTS):
        paid = {
            (sources.get(p.source), p.kind): p.amount_ucr
            for p in day.payments
            if p.hotspot == index
        }
        covers = [paid.get((name, name), 0) for name in ("coverage", "bounty", "bootstrap")]
        measures = sum(paid.get((name, "witness"), 0) for name in sources.values())
        numbers = [quality, ppm, work.coverage[index], measured, *covers, measures]
        rows.append(f"| {'ABCD'[index]} | " + " | ".join(map(str, numbers)) + " |")
    mapper = sum(p.amount_ucr for p in day.payments if p.account == MAPPER)
    sums = [sum(int(row.split("|")[k]) for row in rows) for k in range(6, 10)]
    total = sum(sums) + mapper
    rows.append(f"| mapper | | | | | | | | {mapper} |")
    rows.append(f"| all | | | | | {' | '.join(map(str, sums[:3]))} | {sums[3] + mapper} |")
    rows.append(f"paid {total}, destroyed {state.supply.destroyed}, minted {state.supply.minted}")
    return rows


if __name__ == "__main__":
    print("\n".join(make_worked_rows()))
