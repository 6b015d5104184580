"""From the database to a running ledger: the rows of the state are read, no record is replayed."""

from __future__ import annotations

from chain import cbor, wire
from chain.header import Header
from chain.keys import verify as verify_signature
from chain.ledger import Ledger
from chain.params import Params, get_params
from chain.proofs.log import CompactRange
from chain.records import Genesis, Refusal
from chain.rules.outcome import Verify
from chain.state import State, get_genesis_state, is_conserved
from chain.store.io_schema import SCALARS, UNREADABLE, damaged
from chain.store.io_store import Store
from chain.store.tables import NUMBER, TABLES, set_scalar


def load_ledger(store: Store, verify: Verify = verify_signature) -> Ledger:
    """The ledger as it was when its newest block was saved; UserError if the database is damaged.

    Takes time by the size of the live state, not by the number of records.
    """
    try:
        head = load_head(store)
        state = load_state(store, head)
        edge = CompactRange()
        edge.size, edge.peaks = store.log.edge.size, list(store.log.edge.peaks)
    except (*UNREADABLE, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise damaged(store.path, error) from error
    if (edge.size, edge.root()) != (head.record_count, head.log_root):
        raise damaged(store.path, "the newest block is not of this log")
    return Ledger.resume(state, head, edge, verify)


def load_head(store: Store) -> Header:
    """The newest header; ValueError if its block's columns say something else, or there is none."""
    rows = store.rows("SELECT * FROM blocks ORDER BY height DESC LIMIT 1")
    if not rows:
        raise ValueError("it holds no genesis")
    row = rows[0]
    head = Header(*cbor.decode(row["header"]))  # type: ignore[misc]
    columns = (row["height"], row["epoch"], row["time_ms"], row["size"], row["hash"])
    if columns != (head.height, head.epoch, head.time_ms, head.record_count, head.hash()):
        raise ValueError(f"blocks height {row['height']}: its columns disagree")
    return head


def load_genesis(store: Store) -> tuple[Genesis, bytes]:
    """The genesis and its record id; ValueError if there is none."""
    rows = store.rows("SELECT wire FROM records WHERE seq = 0")
    signed = wire.decode(rows[0]["wire"]) if rows else Refusal("", "there is no record")
    if isinstance(signed, Refusal) or not isinstance(signed.record, Genesis):
        raise ValueError("record 0 is no genesis")
    return signed.record, signed.record_id


def load_params(store: Store, epoch: int) -> Params:
    """The constants under the rules of an epoch; ValueError without a genesis."""
    genesis, _ = load_genesis(store)
    rules = genesis.rules
    for key, packed in _rows_of(store, "activations"):
        if int.from_bytes(key, "big") <= epoch:
            rules = max(rules, NUMBER.unpack(packed))
    return get_params(genesis.preset, rules)


def load_state(store: Store, head: Header) -> State:
    """The state after the newest block; ValueError, KeyError or TypeError for damaged rows."""
    state = get_genesis_state(*load_genesis(store))
    state.time_ms = head.time_ms
    for key, packed in _rows_of(store, SCALARS):
        set_scalar(state, key.decode(), NUMBER.unpack(packed))
    for name, table in TABLES.items():
        table.load(state, _rows_of(store, name))
    if state.epoch != head.epoch:
        raise ValueError(f"the state is of epoch {state.epoch}, the newest block of {head.epoch}")
    if not is_conserved(state):
        raise ValueError("state: what is held doesn't add up to what entered")
    return state


def load_table(store: Store, state: State, name: str) -> None:
    """Load one table of the newest state."""
    TABLES[name].load(state, _rows_of(store, name))


def _rows_of(store: Store, name: str) -> list[tuple[bytes, bytes]]:
    sql = "SELECT key, row FROM state WHERE name = ? ORDER BY key"
    return store.connection.execute(sql, (name,)).fetchall()
