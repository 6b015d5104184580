"""Who votes: the genesis of the engine, then what appointments and faults on the ledger say.

The engine hands over its first validators once; from then on their powers follow from the records
alone, so every node computes the same updates. `Standing` is what the application keeps beside the
ledger: it is saved with each block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from chain import cbor
from chain.abci.messages import Misbehavior, PublicKey, ValidatorUpdate
from chain.admission import Role, address_of
from chain.records import ValidatorFault
from chain.rules.appointments import get_newest, get_rows
from chain.rules.validators import compute_power_changes
from chain.state import State

MAX_TOTAL_POWER = (1 << 60) - 1  # the engine's own limit is 2^63 / 8
Powers = dict[bytes, int]
_Pairs = tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the application stands with its engine.

    `height` is the engine's; `genesis` the validators that it started with, `powers` those that it
    was last told.
    """

    height: int = 0
    genesis: Powers = field(default_factory=dict)
    powers: Powers = field(default_factory=dict)

    def encode(self) -> bytes:
        """Canonical CBOR."""
        genesis, powers = sorted(self.genesis.items()), sorted(self.powers.items())
        return cbor.encode((self.height, genesis, powers))

    @classmethod
    def decode(cls, data: bytes) -> Standing:
        """What `encode` wrote; ValueError for anything else."""
        value = cbor.decode(data)
        if not isinstance(value, tuple) or len(value) != 3:
            raise ValueError("not the standing of an application")
        height, genesis, powers = cast("tuple[int, _Pairs, _Pairs]", value)
        return cls(height, dict(genesis), dict(powers))


def get_wanted_powers(standing: Standing, state: State) -> Powers:
    """The power of every validator in the current epoch, after appointments and faults.

    Whoever signed two things never votes again. If nothing were left, or more than the engine can
    count, everything stays as it is: a network that voted itself away could never vote again.
    """
    newest = get_newest(get_rows(state, Role.VALIDATOR), state.epoch)
    wanted = dict(standing.genesis)
    for key, row in newest.items():
        wanted[key] = row.weight if state.epoch < row.until_epoch else 0
    faulty = {address for address, _, _ in state.faults}
    kept = {k: power for k, power in wanted.items() if power and address_of(k) not in faulty}
    return kept if 0 < sum(kept.values()) <= MAX_TOTAL_POWER else standing.powers


def get_updates(before: Powers, after: Powers) -> list[ValidatorUpdate]:
    """What the engine must be told to get from one set of powers to another, by key."""
    changes = compute_power_changes(before, after)
    return [ValidatorUpdate(PublicKey(ed25519=key), power) for key, power in changes.items()]


def get_faults(misbehavior: Iterable[Misbehavior]) -> list[ValidatorFault]:
    """The records of what the engine found, each once, in its order."""
    faults = {
        ValidatorFault(found.kind, *_whose(found), found.time.ms, found.validator.power): None
        for found in misbehavior
        if found.validator is not None and found.time is not None
    }
    return list(faults)


def _whose(found: Misbehavior) -> tuple[bytes, int]:
    """Address of the validator, and the height of its fault."""
    return found.validator.address if found.validator else b"", found.height
