"""The end of a settlement: all balances under one root, whose two sums tell the supply."""

from __future__ import annotations

from chain.proofs.balances import HELD_NAMES, BalanceTree
from chain.proofs.checkpoint import Balances
from chain.rules.outcome import Effects
from chain.state import State, compute_holdings

NOTHING = Balances()


def compute_balance_tree(state: State) -> BalanceTree:
    """The balance tree of a state as it is (docs/records.md, Balance tree).

    ValueError for a holder of credits without a leaf: a bug, since the root would miss its part.
    """
    held = compute_holdings(state)
    del held["accounts"]
    if unknown := sorted(set(held) - set(HELD_NAMES)):
        raise ValueError(f"holders without a leaf in the balance tree: {unknown}")
    accounts = state.accounts
    rows = [(key, accounts[key].issued_ucr, accounts[key].spent_ucr) for key in state.account_keys]
    spots = [(hotspot.key, hotspot.earned_ucr) for hotspot in state.hotspots]
    return BalanceTree(state.settlement, rows, spots, held)


def process_settled(state: State, effects: Effects) -> None:
    """Fix all balances of the settlement that just ended; only the newest stays in the state."""
    tree = compute_balance_tree(state)
    state.clear("settled")
    state.settled[state.settlement] = tree.balances()
    state.touch("settled", state.settlement)
    effects.balance_trees.append(tree)


def get_balances(state: State) -> Balances:
    """The balances that checkpoints cite: those of the newest settlement."""
    return state.settled.get(state.settlement, NOTHING)
