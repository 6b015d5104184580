"""The treasury: deposits and withdrawals across the border, transfers inside, and nonces.

A deposit takes the signatures of `threshold` operators of the current epoch. What an account signs
itself carries a nonce above all that it used before, so that nothing is ever played back.
"""

from __future__ import annotations

from chain.records import Deposit, Refusal, Signed, Transfer, Withdrawal
from chain.rules.appointments import get_operators_refusal
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
    return get_operators_refusal(state, signed, deposit.operators, verify)


def process_transfer(state: State, signed: Signed, transfer: Transfer, verify: Verify) -> Verdict:
    """Move credits between two accounts, which may be the same."""
    refusal = get_payment_refusal(state, signed, transfer, verify)
    if refusal is not None:
        return refusal
    process_nonce(state, transfer.account, transfer.nonce)
    state.debit(transfer.account, transfer.amount_ucr)
    state.credit(transfer.to, transfer.amount_ucr)
    return Accepted()


def process_withdrawal(
    state: State, signed: Signed, withdrawal: Withdrawal, verify: Verify
) -> Verdict:
    """Take credits out of the network."""
    refusal = get_payment_refusal(state, signed, withdrawal, verify)
    if refusal is not None:
        return refusal
    process_nonce(state, withdrawal.account, withdrawal.nonce)
    state.debit(withdrawal.account, withdrawal.amount_ucr)
    state.supply.withdrawn += withdrawal.amount_ucr
    return Accepted()


def get_payment_refusal(
    state: State, signed: Signed, payment: Transfer | Withdrawal, verify: Verify
) -> Refusal | None:
    """Why an account can't give what it wants to give, if so."""
    account = payment.account
    return (
        get_nonce_refusal(state, account, payment.nonce)
        or get_account_refusal(state, signed, account, "account", verify)
        or get_balance_refusal(state, account, payment.amount_ucr, "amount_ucr")
    )


def get_nonce_refusal(state: State, account: bytes, nonce: int) -> Refusal | None:
    """Why a nonce can't be used, if so."""
    row = state.accounts.get(account)
    used = 0 if row is None else row.nonce
    if nonce > used:
        return None
    return Refusal("stale_nonce", f"nonce: {nonce} is not above {used}; sign with {used + 1}")


def process_nonce(state: State, account: bytes, nonce: int) -> None:
    """Use a nonce up, and with it all below."""
    state.account(account).nonce = nonce


def get_account_refusal(
    state: State, signed: Signed, account: bytes, field: str, verify: Verify
) -> Refusal | None:
    """Why a record isn't signed by an account alone, if so; `field` names whose key it is."""
    if len(signed.signatures) == 1 and verify(
        account, signed.record.NAME, state.network_id, signed.body, signed.signatures[0]
    ):
        return None
    return Refusal("bad_signature", f"signatures: the key of the {field} must sign, once")


def get_balance_refusal(
    state: State, account: bytes, amount_ucr: int, field: str
) -> Refusal | None:
    """Why an account can't give an amount, if so."""
    held = state.balance(account)
    if held >= amount_ucr:
        return None
    return Refusal(
        "insufficient_balance",
        f"{field}: takes {amount_ucr} ucr, the account holds {held}; deposit or lower it",
    )
