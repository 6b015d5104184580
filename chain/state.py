"""The live state of the ledger: all that rules read and write. Integers and bytes only.

`touched` lists what changed since the last state root, so that a block of one record costs a few
hashes. Everything in `LIVE` tables is committed to by the root; caches and statistics are not,
since they follow from the records.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

from chain.params import PRESETS, Params
from chain.records import Genesis, Registration

Touched = tuple[str, int | bytes]


@dataclass(slots=True)
class Chain:
    """A hotspot's hash chain, and the newest link that it has shown."""

    first_epoch: int
    length: int
    anchor: bytes
    tip_epoch: int
    tip: bytes


@dataclass(slots=True)
class Assertion:
    """A registration and the epoch from which it binds."""

    registration: Registration
    record_id: bytes
    bind_epoch: int
    chain: Chain


@dataclass(slots=True)
class Hotspot:
    """One registered hotspot. `history` hashes every message that it ever got accepted."""

    index: int
    key: bytes
    assertions: list[Assertion]
    retired: list[bytes] = field(default_factory=list)
    seen: dict[int, bytes] = field(default_factory=dict)
    history: bytes = bytes(32)
    bond_ucr: int = 0
    trust: int = 0
    earned_ucr: int = 0

    def assertion_at(self, epoch: int) -> Assertion | None:
        """The assertion that binds in an epoch, if one does yet."""
        for assertion in reversed(self.assertions):
            if assertion.bind_epoch <= epoch:
                return assertion
        return None

    @property
    def newest(self) -> Assertion:
        """The newest assertion, bound or not."""
        return self.assertions[-1]

    @property
    def owner(self) -> bytes:
        """The account that pays and is paid for this hotspot."""
        return self.newest.registration.owner


@dataclass(slots=True)
class Session:
    """A bilateral session; `claimed_ucr` has left its escrow already."""

    index: int
    record_id: bytes
    payer: int
    payee: int
    nonce: int
    relay_price_ucr: int
    ai_price_ucr: int
    cap_ucr: int
    expiry_epoch: int
    account: bytes
    claimed_ucr: int = 0
    sequence: int = -1  # nothing claimed: a session may number its receipts from 0 or 1
    relayed_bytes: int = 0
    ai_tokens: int = 0
    ai_requests: int = 0
    last_hash: bytes = bytes(32)

    @property
    def escrow_ucr(self) -> int:
        """What is still locked."""
        return self.cap_ucr - self.claimed_ucr


@dataclass(frozen=True, slots=True)
class OnTime:
    """What an epoch message that arrived within its epoch said."""

    record_id: bytes
    commit: bytes
    report: bytes
    reveal: bytes


@dataclass(slots=True)
class Supply:
    """What entered and left the network, in ucr."""

    deposited: int = 0
    minted: int = 0
    destroyed: int = 0


@dataclass(slots=True)
class State:
    """Everything that the rules know."""

    network_id: bytes
    genesis: Genesis
    params: Params
    time_ms: int
    epoch: int = 0
    settlement: int = 0
    mixes: dict[int, bytes] = field(default_factory=dict)
    hotspots: list[Hotspot] = field(default_factory=list)
    index_of: dict[bytes, int] = field(default_factory=dict)
    accounts: dict[bytes, int] = field(default_factory=dict)
    account_slots: dict[bytes, int] = field(default_factory=dict)
    references: dict[bytes, bytes] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    next_session: int = 0
    openings: dict[tuple[int, int, int], int] = field(default_factory=dict)
    inbox: dict[int, dict[int, OnTime]] = field(default_factory=dict)
    pools: dict[tuple[int, bytes], int] = field(default_factory=dict)
    quality: dict[tuple[int, int], int] = field(default_factory=dict)
    measured: dict[tuple[int, int], int] = field(default_factory=dict)
    links: dict[tuple[int, int], int] = field(default_factory=dict)
    supply: Supply = field(default_factory=Supply)
    stats: Counter[str] = field(default_factory=Counter)
    touched: set[Touched] = field(default_factory=set)

    def copy(self) -> State:
        """A state that shares nothing that changes."""
        return deepcopy(self)

    def credit(self, account: bytes, amount_ucr: int) -> None:
        """Add to a balance; a negative amount takes, and never below zero (ValueError: a bug)."""
        balance = self.accounts.get(account, 0) + amount_ucr
        if balance < 0:
            raise ValueError("a rule spent more than an account holds")
        self.account_slots.setdefault(account, len(self.account_slots))
        self.accounts[account] = balance
        self.touched.add(("account", account))

    def touch(self, table: str, key: int | bytes = 0) -> None:
        """Note that an entry must be hashed again."""
        self.touched.add((table, key))


def get_genesis_state(genesis: Genesis, network_id: bytes) -> State:
    """The state before any record but the genesis; KeyError for an unknown preset."""
    return State(network_id, genesis, PRESETS[genesis.preset], genesis.start_ms)


def compute_held_ucr(state: State) -> int:
    """Every credit that somebody holds: balances, escrow, bonds, pools."""
    return (
        sum(state.accounts.values())
        + sum(session.escrow_ucr for session in state.sessions.values())
        + sum(hotspot.bond_ucr for hotspot in state.hotspots)
        + sum(state.pools.values())
    )


def is_conserved(state: State) -> bool:
    """Whether deposits and minted credits equal what is held and what was destroyed."""
    supply = state.supply
    return supply.deposited + supply.minted == compute_held_ucr(state) + supply.destroyed
