"""Validators: what a consensus engine found out about one, and the changes that an engine is told.

The records come out of the engine itself, which checked the evidence; nobody can submit one. In the
log they are there for everybody to see, and the power of the validator is zero from then on.
"""

from __future__ import annotations

from chain.admission import Fault, Role, address_of
from chain.records import Refusal, Signed, ValidatorFault
from chain.rules.appointments import get_keys, process_revocation
from chain.rules.outcome import Accepted, Verdict
from chain.state import State


def process_validator_fault(state: State, signed: Signed, fault: ValidatorFault) -> Verdict:
    """Note a fault and take the validator's power, if it was appointed."""
    key = (fault.validator, fault.height, fault.kind)
    if signed.signatures:
        return Refusal("bad_signature", "signatures: the engine signs nothing; send none")
    if key in state.faults:
        return Refusal("duplicate", "validator-fault: is known already; nothing to do")
    state.faults[key] = Fault(state.epoch, fault.time_ms, fault.power)
    state.touch("faults", key)
    for member in get_keys(state, Role.VALIDATOR, state.epoch):
        if address_of(member.key) == fault.validator:
            process_revocation(state, Role.VALIDATOR, member.key, signed.record_id)
    return Accepted()


def get_powers(state: State, epoch: int) -> dict[bytes, int]:
    """Voting power of every validator of an epoch, by key."""
    return {member.key: member.weight for member in get_keys(state, Role.VALIDATOR, epoch)}


def compute_power_changes(known: dict[bytes, int], wanted: dict[bytes, int]) -> dict[bytes, int]:
    """What an engine that knows some powers must be told: new ones, 0 for who is none any more."""
    gone = {key: 0 for key, power in known.items() if power and key not in wanted}
    changed = {key: power for key, power in wanted.items() if known.get(key, 0) != power}
    return dict(sorted({**gone, **changed}.items()))
