"""Deposits: how credits enter the network, under the signatures of a threshold of operators."""

from __future__ import annotations

from chain.records import Deposit, Refusal, Signed
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.state import State

MAX_SUPPLY_UCR = (1 << 63) - 1  # sums of amounts must never leave 64 bits, signed ones neither


def process_deposit(state: State, signed: Signed, deposit: Deposit, verify: Verify) -> Verdict:
    """Credit an account."""
    if state.references.get(deposit.reference) == signed.record_id:
        return Accepted(reason=ALREADY)
    if refusal := get_deposit_refusal(state, signed, deposit, verify):
        return refusal
    state.references[deposit.reference] = signed.record_id
    state.touch("references", deposit.reference)
    state.supply.deposited += deposit.amount_ucr
    state.credit(deposit.account, deposit.amount_ucr)
    return Accepted()


def get_deposit_refusal(
    state: State, signed: Signed, deposit: Deposit, verify: Verify
) -> Refusal | None:
    """Why a deposit can't be taken, if so."""
    if deposit.reference in state.references:
        return Refusal("duplicate", "reference: was used by another deposit; take a new one")
    if state.supply.deposited + state.supply.minted + deposit.amount_ucr > MAX_SUPPLY_UCR:
        return Refusal("over_cap", f"amount_ucr: supply would exceed {MAX_SUPPLY_UCR}; lower it")
    threshold = state.genesis.threshold
    if len(deposit.operators) < threshold or len(deposit.operators) != len(signed.signatures):
        return Refusal(
            "bad_signature", f"operators: {threshold} must sign, each index with one signature"
        )
    for operator, signature in zip(deposit.operators, signed.signatures, strict=True):
        if not is_operator_signature(state, signed, operator, signature, verify):
            return Refusal("bad_signature", f"operators: number {operator} did not sign this")
    return None


def is_operator_signature(
    state: State, signed: Signed, operator: int, signature: bytes, verify: Verify
) -> bool:
    """Whether the operator with this index of the genesis signed the record."""
    keys = state.genesis.operators
    return operator < len(keys) and verify(
        keys[operator], signed.record.NAME, state.network_id, signed.body, signature
    )
