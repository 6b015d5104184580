"""Attacks on the money: paying oneself, alone or in rings, by the real burns and settlements."""

from __future__ import annotations

from dataclasses import replace

from chain.economics.attacks import (
    BUDGET_UCR,
    FAINT,
    MIDDLE,
    REMOTE,
    STRANGERS,
    compute_gain,
    compute_own_bounty,
    compute_wash,
    get_suburb,
)
from chain.economics.drawn import key_of, process_drawn_traffic
from chain.economics.returns import get_pays
from chain.rules.outcome import Effects
from chain.state import State
from radio_sim.attacks.outcome import Outcome

RING_SIZES = (2, 3, 5, 10, 20)


def compute_ring_return(size: int, strangers: int) -> float:
    """Every key of a ring pays the next for traffic, round after round; gain over spending.

    All stand in one remote cell that they cover, and may collect each other's coverage pay.
    """
    drawn = get_suburb()
    owners = [key_of("ring", number) for number in range(size)]
    everybody = [*owners, *(key_of("stranger", number) for number in range(strangers))]
    added = [drawn.add(REMOTE, owner) for owner in everybody]
    for index in added:
        drawn.hear(index, drawn.places[MIDDLE][0], FAINT)
    drawn.hear_around(added)
    get_pays(drawn)
    members = added[:size]

    def spend(state: State) -> None:
        for payer, payee in zip(members, [*members[1:], members[0]], strict=True):
            process_drawn_traffic(state, payer, payee, BUDGET_UCR // size, Effects())

    spent = BUDGET_UCR // size * size
    return (compute_gain(drawn, owners, spend) - spent) / spent


def wash(_: int) -> Outcome:
    """Two of one's hotspots, and a bounty of one's own, with and without strangers around."""
    circles = [compute_wash(n) for n in STRANGERS] + [compute_own_bounty(n) for n in STRANGERS]
    returns = {f"{c.name}, {c.strangers} strangers": c.return_bp / 1e4 for c in circles}
    return make_outcome("wash-traffic", "paying between one's own hotspots", returns)


def ring(_: int) -> Outcome:
    """Rings of every size."""
    returns = {
        f"{size} keys, {strangers} strangers": compute_ring_return(size, strangers)
        for size in RING_SIZES
        for strangers in STRANGERS[:2]
    }
    return make_outcome("traffic-ring", "keys that pay each other round and round", returns)


def inflate_together(_: int) -> Outcome:
    """Payer and relay both sign bytes that never flowed: that is wash traffic, and loses alike."""
    returns = {f"{n} strangers": compute_wash(n).return_bp / 1e4 for n in STRANGERS}
    return make_outcome("inflated-collusive", "both ends sign bytes that never flowed", returns)


def make_outcome(name: str, summary: str, returns: dict[str, float]) -> Outcome:
    """The best that the attacker can do."""
    best = max(returns.values())
    plain = Outcome(name, "money", summary, 0.0, leaked_share=0.0, attacker_return=best)
    return replace(plain, details={"returns": returns})
