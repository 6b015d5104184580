"""Who may do what: roles, and the rows of the state that remember appointments and offences.

Rules: chain/rules/appointments.py, bonds.py, findings.py, cosignatures.py, validators.py; the page
is docs/admission.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

ADDRESS_BYTES = 20


class Role(IntEnum):
    """What a key may be appointed for; the numbers of docs/records.md, type 7."""

    SEED = 1
    COSIGNER = 2
    SEQUENCER = 3
    VALIDATOR = 4
    OPERATOR = 5
    AUDITOR = 6


class Offence(IntEnum):
    """What a finding proves; the numbers of docs/records.md, type 19."""

    EPOCH_FORK = 1
    CLAIM_FORK = 2
    BEACON_FORK = 3
    LOG_FORK = 4


@dataclass(frozen=True, slots=True)
class Appointed:
    """One appointment of a key in a role; `until_epoch` 0 revokes the key from `from_epoch` on."""

    from_epoch: int
    until_epoch: int
    weight: int
    name: str
    record_id: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """Who holds a role; `until_epoch` 0: until an appointment says otherwise."""

    key: bytes
    name: str
    weight: int
    until_epoch: int


@dataclass(frozen=True, slots=True)
class Found:
    """A proven fraud: whose and when, who reported it in which epoch, and what it cost."""

    subject: int
    epoch: int
    found_epoch: int
    reporter: bytes
    record_id: bytes
    slashed_ucr: int
    reward_ucr: int


@dataclass(slots=True)
class Close:
    """The text of the checkpoint made when an epoch closed, and who cosigned it.

    Bit k of `cosigned` is the k-th cosigner of that epoch, ascending by key.
    """

    text: str
    cosigned: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What a consensus engine found out about a validator, and in which epoch it said so."""

    epoch: int
    time_ms: int
    power: int


def address_of(key: bytes) -> bytes:
    """How a consensus engine names a validator: the first 20 bytes of SHA-256 of its key."""
    return sha256(key).digest()[:ADDRESS_BYTES]
