"""Which rule takes which record about who may do what: types 7 to 11, 19 and 20."""

from __future__ import annotations

from chain.records import (
    Appointment,
    Bond,
    Cosignature,
    Finding,
    Randomness,
    Refusal,
    Retirement,
    Signed,
    Transfer,
    Withdrawal,
)
from chain.rules.appointments import process_appointment
from chain.rules.bonds import process_bond, process_retirement
from chain.rules.cosignatures import process_cosignature
from chain.rules.findings import process_finding
from chain.rules.outcome import Effects, Verdict, Verify
from chain.rules.randomness import process_randomness
from chain.rules.treasury import process_transfer, process_withdrawal
from chain.state import State


def process_admission(state: State, signed: Signed, verify: Verify, effects: Effects) -> Verdict:
    """Hand a record to the rules of its type."""
    match signed.record:
        case Appointment() as appointment:
            return process_appointment(state, signed, appointment, verify)
        case Transfer() as transfer:
            return process_transfer(state, signed, transfer, verify)
        case Withdrawal() as withdrawal:
            return process_withdrawal(state, signed, withdrawal, verify)
        case Bond() as bond:
            return process_bond(state, signed, bond, verify)
        case Retirement() as retirement:
            return process_retirement(state, signed, retirement, verify)
        case Finding() as finding:
            return process_finding(state, signed, finding, verify, effects)
        case Cosignature() as cosignature:
            return process_cosignature(state, signed, cosignature)
        case Randomness() as randomness:
            return process_randomness(state, signed, randomness)
        case _:
            return Refusal("unknown_type", f"type: no rule takes a {signed.record.NAME} here")
