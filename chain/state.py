"""The live state of the ledger: all that rules read and write. Integers and bytes only.

Every table is a dictionary from a key to a row (`hotspots` is a list); chain/store/tables.py says
how each is packed, kept on the disk and hashed. A rule that changes, adds or deletes a row says so
with `touch(table, key)`: what is touched is saved with the block and hashed when the epoch closes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chain.admission import Appointed, Close, Fault, Found
from chain.holds import OpenHold, PastHold
from chain.params import Params, get_params
from chain.proofs.checkpoint import Balances
from chain.proofs.log import CompactRange
from chain.records import Genesis, Registration
from chain.rotations import FormerKeys, Rotation

Touched = dict[str, set[Any]]
# Of an anchor this much is kept: it only tells the chains of one hotspot apart, so whoever made two
# of them collide would lock out nobody but itself.
ANCHOR_BYTES = 8


@dataclass(slots=True)
class Chain:
    """A hotspot's hash chain, by the start of its anchor, and the newest link that it has shown."""

    first_epoch: int
    length: int
    anchor: bytes
    tip_epoch: int
    tip: bytes


@dataclass(slots=True)
class Assertion:
    """A registration, its anchor cut to ANCHOR_BYTES, and the epoch from which it binds."""

    index: int
    registration: Registration
    bind_epoch: int
    chain: Chain

    @property
    def serial(self) -> int:
        """Tells an assertion from all that ever bind elsewhere or at another time."""
        return self.index << 32 | self.bind_epoch


@dataclass(slots=True)
class Hotspot:
    """One registered hotspot.

    `last_epoch` is the newest epoch that it sent a message for, -1 before the first; bit k of
    `seen` tells whether there was one for the epoch k before, `gaps` for which epochs before those
    there was none (chain/rules/late.py). `retired` holds the ids of assertions
    that were replaced (`chain.rules.registration.compute_assertion_id`).
    """

    index: int
    key: bytes
    assertions: list[Assertion]
    retired: list[bytes] = field(default_factory=list)
    last_epoch: int = -1
    seen: int = 0
    bond_ucr: int = 0
    trust: int = 0
    earned_ucr: int = 0
    slope_db2: int = 0  # how what it reports goes with the power steps, and how these vary:
    spread_db2: int = 0  # sums over its links, see chain/rules/slopes.py
    gaps: tuple[tuple[int, int], ...] = ()  # (first, last) epochs without a message, before `seen`

    def has_seen(self, epoch: int) -> bool:
        """Whether a message for this epoch, not older than `see` keeps them, was accepted."""
        return epoch <= self.last_epoch and bool(self.seen >> self.last_epoch - epoch & 1)

    def see(self, epoch: int, kept: int) -> None:
        """Note a message for an epoch; the newest one's epoch and `kept` before it are known."""
        newest = max(epoch, self.last_epoch)
        bits = self.seen << newest - self.last_epoch | 1 << newest - epoch
        self.last_epoch, self.seen = newest, bits & (1 << kept + 1) - 1

    def assertion_at(self, epoch: int) -> Assertion | None:
        """The assertion that binds in an epoch, if one does yet."""
        newest = self.assertions[-1]
        if newest.bind_epoch <= epoch:  # nearly always
            return newest
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
class Account:
    """What an account ever got and ever gave; it holds the difference. Never deleted.

    `slot` numbers accounts in order of appearance; `nonce` is the highest that a record used.
    """

    slot: int
    issued_ucr: int = 0
    spent_ucr: int = 0
    nonce: int = 0

    @property
    def balance_ucr(self) -> int:
        """What it holds."""
        return self.issued_ucr - self.spent_ucr


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
    claim: int = 0  # one more than the number of the relay's open claim that holds it

    @property
    def escrow_ucr(self) -> int:
        """What is still locked."""
        return self.cap_ucr - self.claimed_ucr


@dataclass(slots=True)
class OpenClaim:
    """A relay's claim whose leaves may still be asked for.

    `drawn`, `disputed` and `opened` are sets of positions, a bit each; `drawn` is empty before the
    draw.
    """

    index: int
    relay: int
    epoch: int
    accepted_epoch: int
    deadline_epoch: int
    root: bytes
    total_ucr: int
    entries: bytes
    drawn: bytes = b""
    disputed: bytes = b""
    opened: bytes = b""


@dataclass(slots=True)
class BountyCell:
    """What a bounty still holds for one cell."""

    sponsor: bytes
    left_ucr: int
    per_settlement_ucr: int
    until_epoch: int


@dataclass(frozen=True, slots=True)
class MapperInbox:
    """A mapper's report that arrived in time, until it is judged."""

    record_id: bytes
    cell: int
    report: bytes


@dataclass(slots=True)
class Mapping:
    """A mapper's plausible observations: the hotspots heard, 4 bytes each, ascending.

    Until its first settlement `lapse` is 0; afterwards `held_ucr` waits for somebody who agrees,
    and returns to the cell at the settlement `lapse`.
    """

    heard: bytes
    held_ucr: int = 0
    lapse: int = 0


class OnTime(NamedTuple):
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
    withdrawn: int = 0


@dataclass(slots=True)
class State:
    """Everything that the rules know.

    `inbox` holds the messages of the current epoch by hotspot, `commits` those of the one before;
    `waiting` the reports of epochs whose lots wait for the cosigners' outputs, by (epoch, hotspot),
    each with the commit to that report. `outputs` are kept by (epoch that closed, cosigner).
    Bounties are kept by (cell, number), mappings by (cell, epoch, key); `mapped` is the settlement
    in which a cell of resolution 9 was mapped last, with somebody agreeing.
    `ended` tells from which epoch a hotspot proves nothing, 0 if it was slashed; `releases` when
    the bond of a retired one returns, `forfeits` in which epoch of this settlement one was
    slashed; `closes` what the checkpoints of the newest closes say.
    `activations` are sets of rules by the epoch from which they bind; `moves` says when an
    assertion of another place binds; `hearing` who heard whom lately, by the lower index of both
    (chain/rules/mutual.py).
    `holds` are open, by hotspot, `past_holds` the newest that ended; `hold_new` counts by auditor
    those of this settlement, `hold_open` those that are open.
    `index_of` knows the keys that hotspots had and will have, too: `former_keys`, `rotations`.
    `claims` holds open claims, `claim_of` their numbers by relay and epoch, `claiming` what each
    relay's open claims ask for in all.
    """

    network_id: bytes
    genesis: Genesis
    params: Params
    time_ms: int
    epoch: int = 0
    settlement: int = 0
    mixes: dict[int, bytes] = field(default_factory=dict)
    hotspots: list[Hotspot] = field(default_factory=list)
    index_of: dict[bytes, int] = field(default_factory=dict)
    accounts: dict[bytes, Account] = field(default_factory=dict)
    account_keys: list[bytes] = field(default_factory=list)  # by slot; follows from accounts
    references: dict[bytes, bytes] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    next_session: int = 0
    claims: dict[int, OpenClaim] = field(default_factory=dict)
    next_claim: int = 0
    claim_of: dict[tuple[int, int], int] = field(default_factory=dict)
    claiming: dict[int, int] = field(default_factory=dict)
    openings: dict[tuple[int, int, int], int] = field(default_factory=dict)
    inbox: dict[int, OnTime] = field(default_factory=dict)
    commits: dict[int, bytes] = field(default_factory=dict)
    waiting: dict[tuple[int, int], OnTime] = field(default_factory=dict)
    outputs: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    pools: dict[tuple[int, bytes], int] = field(default_factory=dict)
    quality: dict[tuple[int, int], int] = field(default_factory=dict)
    measured: dict[tuple[int, int], int] = field(default_factory=dict)
    links: dict[tuple[int, int], int] = field(default_factory=dict)
    bounties: dict[tuple[int, int], BountyCell] = field(default_factory=dict)
    next_bounty: int = 0
    mapper_commits: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    mapper_commits_now: int = 0
    mapper_inbox: dict[tuple[int, bytes], MapperInbox] = field(default_factory=dict)
    mappings: dict[tuple[int, int, bytes], Mapping] = field(default_factory=dict)
    mapped: dict[int, int] = field(default_factory=dict)
    appointments: dict[tuple[int, bytes, int], Appointed] = field(default_factory=dict)
    operators: dict[int, bytes] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    releases: dict[int, int] = field(default_factory=dict)
    forfeits: dict[int, int] = field(default_factory=dict)
    findings: dict[tuple[int, bytes], Found] = field(default_factory=dict)
    closes: dict[int, Close] = field(default_factory=dict)
    faults: dict[tuple[bytes, int, int], Fault] = field(default_factory=dict)
    activations: dict[int, int] = field(default_factory=dict)
    moves: dict[int, int] = field(default_factory=dict)
    hearing: dict[int, bytes] = field(default_factory=dict)
    holds: dict[int, OpenHold] = field(default_factory=dict)
    past_holds: dict[int, PastHold] = field(default_factory=dict)
    hold_new: dict[bytes, int] = field(default_factory=dict)
    hold_open: dict[bytes, int] = field(default_factory=dict)
    rotations: dict[int, Rotation] = field(default_factory=dict)
    former_keys: dict[int, FormerKeys] = field(default_factory=dict)
    settled: dict[int, Balances] = field(default_factory=dict)  # of the newest settlement
    supply: Supply = field(default_factory=Supply)
    stats: Counter[str] = field(default_factory=Counter)
    log: CompactRange = field(default_factory=CompactRange)  # of every record so far
    touched: Touched = field(default_factory=dict)
    # How many hotspots trust reaches, once somebody asked; rules that change trust forget it.
    reached: int | None = field(default=None, compare=False)

    def copy(self) -> State:
        """A state that shares nothing that changes."""
        return deepcopy(self)

    def account(self, key: bytes) -> Account:
        """An account to change; it gets the next slot if it is new."""
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = Account(len(self.accounts))
            self.account_keys.append(key)
        self.touch("accounts", key)
        return account

    def balance(self, key: bytes) -> int:
        """What an account holds, in ucr; 0 if there is none."""
        account = self.accounts.get(key)
        return 0 if account is None else account.issued_ucr - account.spent_ucr

    def credit(self, key: bytes, ucr: int) -> None:
        """Give to an account; ValueError for a negative amount (a bug)."""
        if ucr < 0:
            raise ValueError("a rule credited a negative amount")
        self.account(key).issued_ucr += ucr

    def debit(self, key: bytes, ucr: int) -> None:
        """Take from an account; ValueError beyond its balance or below zero (a bug)."""
        if not 0 <= ucr <= self.balance(key):
            raise ValueError("a rule spent more than an account holds")
        self.account(key).spent_ucr += ucr

    def is_ended(self, hotspot: int, epoch: int) -> bool:
        """Whether a hotspot has retired or was slashed, as far as an epoch is concerned."""
        end = self.ended.get(hotspot)
        return end is not None and epoch >= end

    def touch(self, table: str, key: Any) -> None:
        """Note that a row was added, changed or deleted."""
        keys = self.touched.get(table)
        if keys is None:
            keys = self.touched[table] = set()
        keys.add(key)

    def touch_all(self, table: str, keys: Iterable[Any]) -> None:
        """Note that these rows were added, changed or deleted."""
        self.touched.setdefault(table, set()).update(keys)

    def add(self, table: str, key: Any, amount: int) -> None:
        """Add to the number in a row of a table of numbers; a new row starts at 0."""
        rows = getattr(self, table)
        rows[key] = rows.get(key, 0) + amount
        self.touch(table, key)

    def add_all(self, table: str, amounts: Iterable[tuple[Any, int]]) -> None:
        """`add` each (key, amount)."""
        rows = getattr(self, table)
        keys = self.touched.setdefault(table, set())
        for key, amount in amounts:
            rows[key] = rows.get(key, 0) + amount
            keys.add(key)

    def clear(self, table: str) -> None:
        """Delete every row of a table."""
        rows = getattr(self, table)
        if rows:
            self.touch_all(table, rows)
            rows.clear()

    def take_touched(self) -> Touched:
        """What was touched since the last call."""
        touched, self.touched = self.touched, {}
        return touched


def get_genesis_state(genesis: Genesis, network_id: bytes) -> State:
    """The state before any record but the genesis; KeyError for an unknown preset or rules."""
    params = get_params(genesis.preset, genesis.rules)
    return State(network_id, genesis, params, genesis.start_ms)


def get_rules(state: State) -> int:
    """The number of the set of rules that binds in the current epoch."""
    begun = [rules for epoch, rules in state.activations.items() if epoch <= state.epoch]
    return max([state.genesis.rules, *begun])


# Everything that holds credits, as (name, state -> ucr); a table that holds some adds its line.
HOLDERS: list[tuple[str, Callable[[State], int]]] = [
    ("accounts", lambda state: sum(a.issued_ucr - a.spent_ucr for a in state.accounts.values())),
    ("bonds", lambda state: sum(hotspot.bond_ucr for hotspot in state.hotspots)),
    ("escrow", lambda state: sum(session.escrow_ucr for session in state.sessions.values())),
    ("pools", lambda state: sum(state.pools.values())),
    ("bounties", lambda state: sum(bounty.left_ucr for bounty in state.bounties.values())),
    ("mappers", lambda state: sum(mapping.held_ucr for mapping in state.mappings.values())),
    ("holds", lambda state: sum(h.pay_ucr + h.deposit_ucr for h in state.holds.values())),
]


def compute_holdings(state: State) -> dict[str, int]:
    """What every kind of holder holds, in ucr."""
    held: dict[str, int] = {}
    for name, compute in HOLDERS:
        held[name] = held.get(name, 0) + compute(state)
    return held


def compute_held_ucr(state: State) -> int:
    """Every credit that somebody holds: balances, escrow, bonds, pools, and what else holds any."""
    return sum(compute_holdings(state).values())


def is_conserved(state: State) -> bool:
    """Whether what entered equals what is held, what was destroyed and what left."""
    supply = state.supply
    gone = supply.destroyed + supply.withdrawn
    return supply.deposited + supply.minted == compute_held_ucr(state) + gone
