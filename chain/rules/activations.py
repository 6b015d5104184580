"""Sets of rules: a network changes them in an epoch that its operators named, and only forwards.

What a set changes are constants (chain/params.py): rules read them from the state, so the same code
applies the old ones to what came before, and an audit derives every epoch by the rules of its time.
"""

from __future__ import annotations

from chain.params import NEWEST_RULES, get_params
from chain.records import Activation, Refusal, Signed
from chain.rules.appointments import get_operators_refusal
from chain.rules.outcome import Accepted, Verdict, Verify
from chain.state import State, get_rules


def process_activation(
    state: State, signed: Signed, activation: Activation, verify: Verify
) -> Verdict:
    """Name the epoch from which a newer set of rules binds."""
    if refusal := get_activation_refusal(state, activation):
        return refusal
    if refusal := get_operators_refusal(state, signed, activation.operators, verify):
        return refusal
    state.activations[activation.from_epoch] = activation.rules
    state.touch("activations", activation.from_epoch)
    return Accepted(detail=f"rules {activation.rules} bind from epoch {activation.from_epoch} on")


def get_activation_refusal(state: State, activation: Activation) -> Refusal | None:
    """Why rules can't be activated, if so."""
    rules, start = activation.rules, activation.from_epoch
    newest = max([state.genesis.rules, *state.activations.values()])
    if not newest < rules <= NEWEST_RULES:
        known = f"{newest} are set already, this software knows them up to {NEWEST_RULES}"
        return Refusal("unknown_rules", f"rules: {rules} can't follow: {known}")
    first = state.epoch + state.params.bind_epochs
    first = max([first, *(epoch + 1 for epoch in state.activations)])
    last = state.epoch + state.params.appointment_epochs_max
    if not first <= start <= last:
        return Refusal("wrong_epoch", f"from_epoch: must be from {first} to {last}")
    return None


def process_rules(state: State) -> None:
    """Go by the rules that bind from the epoch on that has just begun."""
    if state.epoch in state.activations:
        state.params = get_params(state.genesis.preset, get_rules(state))
