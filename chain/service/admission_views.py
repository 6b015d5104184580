"""Who may do what, what was found, and who cosigned, as JSON values; keys are hexadecimal."""

from __future__ import annotations

from typing import Any

from chain.admission import Appointed, Member, Offence, Role
from chain.proofs.checkpoint import parse_checkpoint
from chain.records import Refusal
from chain.rules.appointments import (
    get_keys,
    get_newest,
    get_operator_keys,
    get_operators,
    get_rows,
)
from chain.rules.cosignatures import get_cosigned
from chain.state import State

Json = dict[str, Any]


def appointments_json(state: State) -> Json:
    """Who holds which role now, every appointment that was made, and the operators by number."""
    keys, valid = get_operator_keys(state), get_operators(state)
    return {
        "epoch": state.epoch,
        "threshold": state.genesis.threshold,
        "operators": [
            {"number": n, "key": key.hex(), "valid": n in valid} for n, key in enumerate(keys)
        ],
        "holders": [
            {"role": role.name.lower(), **member_json(member)}
            for role in Role
            for member in get_keys(state, role, state.epoch)
        ],
        "appointments": [row for role in Role for row in _role_json(state, role)],
    }


def member_json(member: Member) -> Json:
    """Who holds a role; `until_epoch` 0 where no appointment ends it."""
    return {
        "key": member.key.hex(),
        "name": member.name,
        "weight": member.weight,
        "until_epoch": member.until_epoch,
    }


def _role_json(state: State, role: Role) -> list[Json]:
    rows = get_rows(state, role)
    newest = get_newest(rows, state.epoch)
    return [
        {
            "role": role.name.lower(),
            "key": key.hex(),
            "name": row.name,
            "weight": row.weight,
            "from_epoch": row.from_epoch,
            "until_epoch": row.until_epoch,
            "state": _standing(row, newest.get(key), state.epoch),
            "record_id": row.record_id.hex(),
        }
        for key, row in rows
    ]


def _standing(row: Appointed, newest: Appointed | None, epoch: int) -> str:
    """One word for an appointment: pending, valid, revokes, ended or replaced."""
    if row.from_epoch > epoch:
        return "pending"
    if row is not newest:
        return "replaced"
    if not row.until_epoch:
        return "revokes"
    return "valid" if epoch < row.until_epoch else "ended"


def findings_json(state: State) -> list[Json]:
    """Every fraud that was proven, newest first."""
    rows = sorted(state.findings.items(), key=lambda item: (-item[1].found_epoch, item[0]))
    return [
        {
            "kind": Offence(kind).name.lower(),
            "key": key.hex(),
            "subject": None if kind == Offence.LOG_FORK else found.subject,
            "epoch": None if kind == Offence.LOG_FORK else found.epoch,
            "found_epoch": found.found_epoch,
            "reporter": found.reporter.hex(),
            "slashed_ucr": found.slashed_ucr,
            "reward_ucr": found.reward_ucr,
            "record_id": found.record_id.hex(),
        }
        for (kind, key), found in rows
    ]


def faults_json(state: State) -> list[Json]:
    """What consensus engines found out about validators, newest first."""
    rows = sorted(state.faults.items(), key=lambda item: (-item[1].epoch, item[0]))
    return [
        {
            "validator": address.hex(),
            "kind": {1: "duplicate_vote", 2: "light_client_attack"}[kind],
            "height": height,
            "epoch": fault.epoch,
            "time_ms": fault.time_ms,
            "power": fault.power,
        }
        for (address, height, kind), fault in rows
    ]


def checkpoints_json(state: State) -> list[Json]:
    """The checkpoints that may still be cosigned, newest first, and who did."""
    return [checkpoint_json(state, epoch) for epoch in sorted(state.closes, reverse=True)]


def checkpoint_json(state: State, epoch: int) -> Json:
    """The checkpoint of an epoch's close; KeyError for one that isn't kept."""
    text = state.closes[epoch].text
    checkpoint = parse_checkpoint(text)
    if isinstance(checkpoint, Refusal):
        raise ValueError(f"the state holds no checkpoint for epoch {epoch}: {checkpoint.detail}")
    cosigned = get_cosigned(state, epoch)
    return {
        "epoch": epoch,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "text": text,
        "cosigned": [member_json(member) for member in cosigned],
        "missing": [
            member_json(member)
            for member in get_keys(state, Role.COSIGNER, epoch)
            if member not in cosigned
        ],
    }


def hotspot_end_json(state: State, hotspot: int) -> Json:
    """Whether a hotspot goes on: what an owner must know about retirement, bond and fraud."""
    end, release = state.ended.get(hotspot), state.releases.get(hotspot)
    slashed = end == 0
    return {
        "slashed": slashed,
        "ends_epoch": None if slashed else end,
        "bond_returns_epoch": release,
    }
