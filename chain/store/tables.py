"""The tables of the state: how each is packed into bytes, kept on the disk, and hashed.

A table is an attribute of State, a dictionary from a key to a row. Registering one takes a line:

    register(Table("bounties", U32, row(Bounty, "<32sQQQI")))

and the rules that change it call `state.touch("bounties", key)`. Everything else follows: rows are
saved with the block, loaded at the start, compared by the audit and committed to by the state root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from struct import Struct
from typing import Any

from chain import cbor
from chain.admission import Appointed, Close, Fault, Found
from chain.holds import OpenHold, PastHold
from chain.params import get_params
from chain.proofs.checkpoint import decode_balances
from chain.rotations import FormerKeys, Rotation
from chain.state import (
    Account,
    BountyCell,
    MapperInbox,
    Mapping,
    OnTime,
    OpenClaim,
    Session,
    State,
    get_rules,
)
from chain.store.hotspot_row import pack_hotspot, unpack_hotspot

Key = Any
Row = Any


@dataclass(frozen=True, slots=True)
class Codec:
    """A value to bytes and back; one value has one packing. Bad bytes raise ValueError."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


def numbers(layout: str) -> Codec:
    """A tuple of integers and bytes, or a single one, of a struct layout.

    For keys the layout must be big-endian, so that packed keys sort as the keys do.
    """
    struct = Struct(layout)
    if len(struct.unpack(bytes(struct.size))) == 1:
        return Codec(struct.pack, lambda raw: _unpack(struct, raw)[0])
    return Codec(lambda value: struct.pack(*value), lambda raw: _unpack(struct, raw))


def _unpack(struct: Struct, raw: bytes) -> tuple[Any, ...]:
    if len(raw) != struct.size:
        raise ValueError(f"{len(raw)} bytes, not {struct.size}")
    return struct.unpack(raw)


def row(kind: type, layout: str) -> Codec:
    """A dataclass of integers and byte strings of fixed length, its fields in order.

    Zero bytes at the end are left out: with a little-endian layout ("<...") and the fields that are
    mostly small or zero last, rows stay short.
    """
    struct, names = Struct(layout), tuple(field.name for field in fields(kind))
    get = attrgetter(*names) if len(names) > 1 else None
    size, pack_fields = struct.size, struct.pack

    def pack(value: Any) -> bytes:
        packed = pack_fields(*get(value)) if get else pack_fields(getattr(value, names[0]))
        return packed.rstrip(b"\0")

    def unpack(raw: bytes) -> Any:
        if len(raw) > size or raw[-1:] == b"\0":
            raise ValueError("no row of this table")
        return kind(*struct.unpack(raw.ljust(size, b"\0")))

    return Codec(pack, unpack)


def coded(kind: type) -> Codec:
    """A record of integers, bytes, text and nested tuples of them, as canonical CBOR.

    Slower than `row`, for what has no fixed length.
    """
    names = getattr(kind, "_fields", ()) or tuple(field.name for field in fields(kind))

    def unpack(raw: bytes) -> Any:
        values = cbor.decode(raw)
        if not isinstance(values, tuple) or len(values) != len(names):
            raise ValueError("no row of this table")
        return kind(*values)

    return Codec(lambda value: cbor.encode([getattr(value, name) for name in names]), unpack)


def _pack_number(value: int) -> bytes:
    return value.to_bytes(value.bit_length() + 7 >> 3, "little")


U32, U64 = numbers(">I"), numbers(">Q")
HASH = numbers("32s")
OCTETS = Codec(bytes, bytes)
TEXT = Codec(str.encode, bytes.decode)
NUMBER = Codec(_pack_number, lambda raw: int.from_bytes(raw, "little"))  # unsigned, any width


@dataclass(frozen=True, slots=True)
class Table:
    """One attribute of State.

    `tree`: rows have dense slots and are never deleted; they are hashed as a Merkle tree that
    changes one leaf at a time. The slot is the key, or `slot` of the row if the key is no integer.
    Other tables are hashed whole when they changed. `rooted` False: not part of the state root, for
    what follows from the rest or decides nothing. `sparse`: left out of the state root while empty,
    so that states of before the table keep their root.
    """

    name: str
    key: Codec
    row: Codec
    tree: bool = False
    rooted: bool = True
    sparse: bool = False

    def get(self, state: State, key: Key) -> Row | None:
        """The row of a key, None if there is none."""
        return getattr(state, self.name).get(key)

    def keys(self, state: State) -> Iterable[Key]:
        """Every key, in no order that means anything."""
        rows = getattr(state, self.name)
        return range(len(rows)) if isinstance(rows, list) else list(rows)

    def count(self, state: State) -> int:
        """How many rows there are."""
        return len(getattr(state, self.name))

    def slot(self, state: State, key: Key) -> int:
        """The number of a key in the tree."""
        if isinstance(key, int):
            return key
        number: int = getattr(state, self.name)[key].slot
        return number

    def pack_row(self, state: State, key: Key) -> bytes | None:
        """The bytes of a key's row, None if there is none."""
        found = self.get(state, key)
        return None if found is None else self.row.pack(found)

    def pack_rows(self, state: State, keys: Iterable[Key]) -> list[tuple[bytes, bytes | None]]:
        """(packed key, packed row or None) of some keys, ascending by packed key."""
        pack_key, pack, get = self.key.pack, self.row.pack, getattr(state, self.name).get
        rows = [(key, get(key)) for key in keys]
        return sorted([(pack_key(k), None if row is None else pack(row)) for k, row in rows])

    def pack_all(self, state: State) -> list[tuple[bytes, bytes]]:
        """(packed key, packed row) of every row, ascending by packed key."""
        pack_key, pack = self.key.pack, self.row.pack
        rows = getattr(state, self.name)
        return sorted([(pack_key(key), pack(value)) for key, value in rows.items()])

    def load(self, state: State, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load all packed rows, ascending by key, into an empty table; ValueError for bad bytes."""
        unpack_key, unpack = self.key.unpack, self.row.unpack
        loaded = {unpack_key(key): unpack(packed) for key, packed in rows}
        getattr(state, self.name).update(loaded)


# Sums of an account are 128 bits wide: whoever sends the same credits to and fro for long enough
# passes 64. Their high halves come last, since they are nearly always zero.
_ACCOUNT = Struct("<IQQIQQ")
_LOW = (1 << 64) - 1


def _pack_account(account: Account) -> bytes:
    issued, spent = account.issued_ucr, account.spent_ucr
    low = (account.slot, issued & _LOW, spent & _LOW, account.nonce)
    return _ACCOUNT.pack(*low, issued >> 64, spent >> 64).rstrip(b"\0")


def _unpack_account(raw: bytes) -> Account:
    if len(raw) > _ACCOUNT.size or raw[-1:] == b"\0":
        raise ValueError("no account")
    slot, issued, spent, nonce, *high = _ACCOUNT.unpack(raw.ljust(_ACCOUNT.size, b"\0"))
    return Account(slot, issued | high[0] << 64, spent | high[1] << 64, nonce)


class AccountTable(Table):
    """Accounts; once all are loaded their keys are put in the order of their slots."""

    def load(self, state: State, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load all accounts; ValueError for bad bytes, or slots that are missing or taken twice."""
        Table.load(self, state, rows)
        by_slot = sorted((account.slot, key) for key, account in state.accounts.items())
        if any(slot != number for number, (slot, _) in enumerate(by_slot)):
            raise ValueError("accounts: their slots are not those of this many")
        state.account_keys = [key for _, key in by_slot]


class HotspotTable(Table):
    """Hotspots; their rows name owners by the slots of their accounts."""

    def pack_row(self, state: State, key: Key) -> bytes | None:
        """The bytes of a hotspot."""
        return pack_hotspot(state, state.hotspots[key])

    def pack_rows(self, state: State, keys: Iterable[Key]) -> list[tuple[bytes, bytes | None]]:
        """Some hotspots, by index."""
        pack_key, hotspots = self.key.pack, state.hotspots
        return [(pack_key(key), pack_hotspot(state, hotspots[key])) for key in sorted(keys)]

    def pack_all(self, state: State) -> list[tuple[bytes, bytes]]:
        """Every hotspot, by index."""
        pack_key = self.key.pack
        return [(pack_key(h.index), pack_hotspot(state, h)) for h in state.hotspots]

    def load(self, state: State, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load all hotspots, after the accounts."""
        for index, (key, packed) in enumerate(rows):
            if self.key.unpack(key) != index:
                raise ValueError(f"hotspots: row {self.key.unpack(key)} after {index} rows")
            hotspot = unpack_hotspot(state, index, packed)
            state.hotspots.append(hotspot)
            state.index_of[hotspot.key] = index


class ActivationTable(Table):
    """Sets of rules by epoch; once they are loaded the state goes by those of its epoch."""

    def load(self, state: State, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load all, after the single numbers; KeyError for rules that nobody here knows."""
        Table.load(self, state, rows)
        if state.activations:
            state.params = get_params(state.genesis.preset, get_rules(state))


class RotationTable(Table):
    """Next keys by hotspot, which the index knows already."""

    def load(self, state: State, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load all, after the hotspots."""
        Table.load(self, state, rows)
        state.index_of.update((r.new_key, index) for index, r in state.rotations.items())


class FormerKeyTable(Table):
    """Keys that hotspots had, which the index still knows."""

    def load(self, state: State, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load all, after the hotspots."""
        Table.load(self, state, rows)
        for index, former in state.former_keys.items():
            state.index_of.update((key, index) for _, key in former.keys)


TABLES: dict[str, Table] = {}


def register(table: Table) -> None:
    """Make a table part of the state: saved, loaded, audited, hashed."""
    TABLES[table.name] = table


register(AccountTable("accounts", HASH, Codec(_pack_account, _unpack_account), tree=True))
register(HotspotTable("hotspots", U32, OCTETS, tree=True))
register(Table("sessions", U32, row(Session, "<I32sIIIQQQI32sQqQQI32sI")))
register(Table("claims", U32, coded(OpenClaim)))
register(Table("claim_of", numbers(">II"), NUMBER))
register(Table("claiming", U32, NUMBER))
register(Table("openings", numbers(">III"), NUMBER))
register(Table("references", OCTETS, HASH))
register(Table("mixes", U32, HASH))
register(Table("inbox", U32, coded(OnTime)))
register(Table("commits", U32, HASH))
register(Table("pools", numbers(">Q32s"), NUMBER))
register(Table("quality", numbers(">QI"), NUMBER))
register(Table("measured", numbers(">QI"), NUMBER))
register(Table("links", numbers(">II"), NUMBER))
register(Table("appointments", numbers(">B32sI"), coded(Appointed)))
register(Table("operators", U32, HASH))
register(Table("ended", U32, NUMBER))
register(Table("releases", U32, NUMBER))
register(Table("forfeits", U32, NUMBER))
register(Table("findings", numbers(">B32s"), coded(Found)))
register(Table("closes", U32, coded(Close)))
register(Table("settled", U32, Codec(lambda line: str(line).encode(), decode_balances)))
register(Table("faults", numbers(">20sQB"), coded(Fault)))
register(Table("bounties", numbers(">QI"), row(BountyCell, "<32sQQI")))
register(Table("mapper_commits", numbers(">I32s"), HASH))
register(Table("mapper_inbox", numbers(">I32s"), coded(MapperInbox)))
register(Table("waiting", numbers(">II"), coded(OnTime)))
register(Table("outputs", numbers(">I32s"), HASH))
register(Table("mappings", numbers(">QI32s"), coded(Mapping)))
register(Table("mapped", U64, NUMBER))
register(ActivationTable("activations", U32, NUMBER, sparse=True))
register(Table("moves", U32, NUMBER, sparse=True))
register(Table("hearing", U32, OCTETS, sparse=True))
register(Table("holds", U32, coded(OpenHold), sparse=True))
register(Table("past_holds", U32, coded(PastHold), sparse=True))
register(Table("hold_new", HASH, NUMBER, sparse=True))
register(Table("hold_open", HASH, NUMBER, sparse=True))
register(RotationTable("rotations", U32, coded(Rotation), sparse=True))
register(FormerKeyTable("former_keys", U32, coded(FormerKeys), sparse=True))
register(Table("stats", TEXT, NUMBER, rooted=False))

# Single numbers of the state, by the path of their attribute; all but the time are in the root.
SCALARS: list[str] = [
    *("epoch", "settlement", "next_session", "next_claim", "next_bounty", "mapper_commits_now"),
    *("supply.deposited", "supply.minted", "supply.destroyed", "supply.withdrawn"),
]


def get_scalars(state: State) -> dict[str, int]:
    """The single numbers of the state by name."""
    return {name: attrgetter(name)(state) for name in SCALARS}


def set_scalar(state: State, name: str, value: int) -> None:
    """Load one of the single numbers; ValueError if there is none of this name."""
    if name not in SCALARS:
        raise ValueError(f"no number of the state is called {name}")
    path, _, last = name.rpartition(".")
    setattr(attrgetter(path)(state) if path else state, last, value)


def compute_state_bytes(state: State) -> dict[str, int]:
    """Bytes of every table as it is kept: packed keys and rows."""
    return {
        name: sum(len(key) + len(packed) for key, packed in table.pack_all(state))
        for name, table in TABLES.items()
    }
