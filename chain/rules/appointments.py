"""Appointments: which key holds which role in which epoch, by the signatures of k of n operators.

Every appointment stays in the state under (role, key, serial), so what was said can't be said
again. In an epoch the newest one that has begun decides about its key. Three roles begin with the
genesis: its operators hold theirs without end, its seeds and its operator 0 (as sequencer) until
somebody else is appointed to that role, all of them until an appointment of the same key.
"""

from __future__ import annotations

from chain.admission import Appointed, Member, Offence, Role
from chain.proofs.checkpoint import origin_of
from chain.proofs.note import is_key_name
from chain.records import Appointment, Refusal, Signed
from chain.rules.outcome import ALREADY, Accepted, Verdict, Verify
from chain.state import State

# (key, appointment) of one role, each key's in the order of their acceptance.
Rows = list[tuple[bytes, Appointed]]
OPERATOR_NUMBERS = 256  # a deposit names its signers by a byte each
NAMED_ROLES = (Role.COSIGNER, Role.SEQUENCER)


def process_appointment(
    state: State, signed: Signed, appointment: Appointment, verify: Verify
) -> Verdict:
    """Give a key a role, or take it away."""
    if any(row.record_id == signed.record_id for row in state.appointments.values()):
        return Accepted(reason=ALREADY)
    if refusal := get_appointment_refusal(state, signed, appointment, verify):
        return refusal
    if appointment.role == Role.OPERATOR:
        process_operator_number(state, appointment.key)
    process_appointed(state, Role(appointment.role), appointment.key, get_row(signed, appointment))
    return Accepted(detail=f"binds in epoch {appointment.from_epoch}")


def get_row(signed: Signed, appointment: Appointment) -> Appointed:
    """An appointment as the state keeps it."""
    return Appointed(
        *(appointment.from_epoch, appointment.until_epoch, appointment.weight),
        *(appointment.name, signed.record_id),
    )


def process_appointed(state: State, role: Role, key: bytes, row: Appointed) -> None:
    """Add the newest word about a key in a role."""
    serial = sum(1 for r, k, _ in state.appointments if (r, k) == (role, key))
    state.appointments[int(role), key, serial] = row
    state.touch("appointments", (int(role), key, serial))


def process_revocation(state: State, role: Role, key: bytes, record_id: bytes) -> None:
    """End a key's role from the current epoch on: what a proof of fraud does, without operators."""
    process_appointed(state, role, key, Appointed(state.epoch, 0, 0, "", record_id))


def process_operator_number(state: State, key: bytes) -> None:
    """Give an operator that is new the next number, for good."""
    known = get_operator_keys(state)
    if key not in known:
        state.operators[len(known)] = key
        state.touch("operators", len(known))


def get_operator_keys(state: State) -> list[bytes]:
    """Every key that ever was an operator, by number."""
    return [*state.genesis.operators, *(key for _, key in sorted(state.operators.items()))]


def get_rows(state: State, role: int) -> Rows:
    """What was said about a role, each key's appointments in order."""
    return [
        (key, row) for (kind, key, _), row in sorted(state.appointments.items()) if kind == role
    ]


def get_newest(rows: Rows, epoch: int) -> dict[bytes, Appointed]:
    """The appointment that decides about each key in an epoch."""
    return {key: row for key, row in rows if row.from_epoch <= epoch}


def get_in_term(state: State, role: int, rows: Rows, epoch: int) -> dict[bytes, Member]:
    """Who holds a role by its appointments `rows` and the genesis, by key."""
    newest = get_newest(rows, epoch)
    members = {
        key: Member(key, row.name, row.weight, row.until_epoch)
        for key, row in newest.items()
        if epoch < row.until_epoch
    }
    first = (m for m in get_first_members(state, role, rows, epoch) if m.key not in newest)
    return {member.key: member for member in (*members.values(), *first)}


def get_first_members(state: State, role: int, rows: Rows, epoch: int) -> list[Member]:
    """Whom the genesis put into a role, as long as that counts."""
    genesis = state.genesis
    if role == Role.OPERATOR:
        return [Member(key, "", 0, 0) for key in genesis.operators]
    if any(row.from_epoch <= epoch and row.until_epoch for _, row in rows):
        return []
    if role == Role.SEQUENCER:
        return [Member(genesis.operators[0], origin_of(state.network_id), 0, 0)]
    return [Member(key, "", 0, 0) for key in genesis.seeds] if role == Role.SEED else []


def get_keys(state: State, role: int, epoch: int) -> tuple[Member, ...]:
    """Who holds a role in an epoch, ascending by key.

    The terms of operators may end before anybody thought of it. Then those whose terms ended last
    stay on, up to the threshold, until successors are appointed: a network can't lock itself out.
    """
    rows = get_rows(state, role)
    members = get_in_term(state, role, rows, epoch)
    missing = state.genesis.threshold - len(members)
    if role == Role.OPERATOR and missing > 0:
        ended = [(k, r) for k, r in get_newest(rows, epoch).items() if 0 < r.until_epoch <= epoch]
        ended.sort(key=lambda pair: (-pair[1].until_epoch, pair[0]))
        for key, row in ended[:missing]:
            members[key] = Member(key, row.name, 0, row.until_epoch)
    return tuple(members[key] for key in sorted(members))


def get_operators(state: State) -> dict[int, bytes]:
    """The keys that may sign as operators now, by number."""
    valid = {member.key for member in get_keys(state, Role.OPERATOR, state.epoch)}
    return {n: key for n, key in enumerate(get_operator_keys(state)) if key in valid}


def get_operators_refusal(
    state: State, signed: Signed, numbers: tuple[int, ...], verify: Verify
) -> Refusal | None:
    """Why a record isn't signed by enough operators of the current epoch, if so."""
    threshold = state.genesis.threshold
    if len(numbers) < threshold or len(numbers) != len(signed.signatures):
        return Refusal(
            "bad_signature", f"operators: {threshold} must sign, each index with one signature"
        )
    operators, name = get_operators(state), signed.record.NAME
    for number, signature in zip(numbers, signed.signatures, strict=True):
        key = operators.get(number)
        if key is None:
            return Refusal(
                "not_appointed",
                f"operators: number {number} is none in epoch {state.epoch};"
                f" let others sign, now {', '.join(map(str, sorted(operators)))}",
            )
        if not verify(key, name, state.network_id, signed.body, signature):
            return Refusal("bad_signature", f"operators: number {number} did not sign this")
    return None


def get_appointment_refusal(
    state: State, signed: Signed, appointment: Appointment, verify: Verify
) -> Refusal | None:
    """Why an appointment can't be taken, if so; cheap checks first, signatures last."""
    return (
        get_term_refusal(state, appointment)
        or get_fields_refusal(state, appointment)
        or get_limit_refusal(state, signed, appointment)
        or get_operators_refusal(state, signed, appointment.operators, verify)
    )


def get_term_refusal(state: State, appointment: Appointment) -> Refusal | None:
    """Why an appointment can't begin or end when it wants to, if so."""
    params = state.params
    first, span = state.epoch + params.bind_epochs, params.appointment_epochs_max
    if not first <= appointment.from_epoch <= first + span:
        return Refusal("wrong_epoch", f"from_epoch: must be from {first} to {first + span}")
    last = appointment.from_epoch + span
    if appointment.until_epoch and not appointment.from_epoch < appointment.until_epoch <= last:
        return Refusal(
            "wrong_epoch",
            f"until_epoch: must be from {appointment.from_epoch + 1} to {last}, or 0 to revoke",
        )
    return None


def get_fields_refusal(state: State, appointment: Appointment) -> Refusal | None:
    """Why an appointment's name, weight or key can't stand in its role, if so."""
    role, key, revokes = appointment.role, appointment.key, not appointment.until_epoch
    if revokes and not is_known(state, role, key):
        return Refusal("not_appointed", "key: never had this role; nothing is there to revoke")
    if bool(appointment.weight) != (role == Role.VALIDATOR and not revokes):
        return Refusal(
            "bad_weight", "weight: 1 or more for a validator, 0 for others and to revoke"
        )
    if role in NAMED_ROLES and not revokes and not is_key_name(appointment.name):
        return Refusal(
            "bad_name", "name: of a key of notes, so neither empty nor with spaces or plus"
        )
    if role == Role.SEQUENCER and (int(Offence.LOG_FORK), key) in state.findings:
        return Refusal("slashed", "key: signed two logs; appoint another")
    numbers = len(get_operator_keys(state))
    if role == Role.OPERATOR and numbers >= OPERATOR_NUMBERS and not is_known(state, role, key):
        return Refusal("over_cap", f"key: all {OPERATOR_NUMBERS} numbers are used; keep old keys")
    return None


def is_known(state: State, role: int, key: bytes) -> bool:
    """Whether a key ever was put into a role, by an appointment or by the genesis."""
    said = any(key == other for other, _ in get_rows(state, role))
    return said or any(key == first.key for first in get_first_members(state, role, [], 0))


def get_limit_refusal(
    state: State, signed: Signed, appointment: Appointment
) -> Refusal | None:
    """Why a role would have too many holders, or too few operators, if so."""
    role, start = appointment.role, appointment.from_epoch
    before = get_rows(state, role)
    after = [*before, (appointment.key, get_row(signed, appointment))]
    limit = state.params.role_limits[role - 1]
    later = (row.from_epoch for _, row in before if row.from_epoch > start)
    for epoch in (start, *later):
        if len(get_in_term(state, role, after, epoch)) > limit and appointment.until_epoch:
            return Refusal(
                "over_cap", f"role: epoch {epoch} has {limit} holders already; revoke one first"
            )
    if role != Role.OPERATOR:
        return None
    left, threshold = len(get_in_term(state, role, after, start)), state.genesis.threshold
    if left < threshold and left < len(get_in_term(state, role, before, start)):
        return Refusal(
            "too_few_operators",
            f"operators: {left} would be left in epoch {start}, {threshold} must sign;"
            " appoint others first",
        )
    return None
