from __future__ import annotations

from dataclasses import fields
from hashlib import sha256
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chain import keys
from chain.io_ledger import DATABASE, DurableLedger
from chain.ledger import Sealed
from chain.params import PRESETS
from chain.records import Genesis, Receipt, Registration
from chain.rules.blocks import process_time
from chain.rules.pairs import PairCache
from chain.state import Account, Assertion, Chain, Hotspot, State, get_genesis_state
from chain.state_root import SlotTree, StateRoot, compute_state_root
from chain.store.hotspot_row import pack_hotspot, unpack_hotspot
from chain.store.io_restore import load_ledger
from chain.store.io_store import Store
from chain.store.tables import SCALARS, TABLES, Codec, compute_state_bytes, row

from .chain_helpers import START_MS, Town, verify

# What follows from tables, is given by the genesis or stands in every header.
NOT_KEPT = {"network_id", "genesis", "params", "time_ms", "index_of", "account_keys", "log"}
NOT_KEPT |= {"touched", "reached"}

u32s = st.integers(0, 0xFFFF_FFFF)
money = st.integers(0, (1 << 63) - 1)
hashes = st.binary(min_size=32, max_size=32)
assertions = st.tuples(
    *(st.integers(1, (1 << 64) - 1), st.integers(-90_000_000, 90_000_000)),
    *(st.integers(-180_000_000, 180_000_000), st.integers(0, 65_535)),
    *(st.integers(-32_768, 32_767), st.integers(-32_768, 32_767)),
    *(st.integers(0, 65_535), st.integers(0, 1), u32s, st.integers(0, 4), st.integers(0, 2)),
)


def empty() -> State:
    return get_genesis_state(Genesis("n", "minimal", START_MS, (bytes(32),), 1, ()), bytes(32))


def test_everything_in_the_state_is_kept_or_follows_from_what_is() -> None:
    names = {field.name for field in fields(State)}
    paths = {path.partition(".")[0] for path in SCALARS}
    assert names - NOT_KEPT == set(TABLES) | paths
    supply = {field.name for field in fields(type(empty().supply))}
    assert {f"supply.{name}" for name in supply} <= set(SCALARS)


@given(
    places=st.lists(assertions, min_size=1, max_size=4),
    owners=st.lists(hashes, min_size=5, max_size=5, unique=True),
    chains=st.lists(
        st.tuples(u32s, u32s, st.binary(min_size=8, max_size=8), u32s, hashes),
        min_size=3,
        max_size=3,
    ),
    retired=st.lists(st.binary(min_size=8, max_size=8), max_size=3),
    numbers=st.tuples(
        *(st.integers(-1, 1 << 31), st.integers(0, (1 << 145) - 1), money, money, money)
    ),
)
def test_a_hotspot_is_the_same_after_packing(
    places: list[tuple[int, ...]],
    owners: list[bytes],
    chains: list[tuple[int, int, bytes, int, bytes]],
    retired: list[bytes],
    numbers: tuple[int, int, int, int, int],
) -> None:
    state, key = empty(), keys.public_key(bytes(32))
    for owner in owners:
        state.account(owner)
    made = [Chain(f, n, anchor, tip_epoch - 1, tip) for f, n, anchor, tip_epoch, tip in chains]
    listed = []
    for *place, bind_epoch, owner, chain in places:
        ends = (made[chain].first_epoch, made[chain].length, made[chain].anchor)
        registration = Registration(key, owners[owner], *place, *ends)
        listed.append(Assertion(7, registration, bind_epoch, made[chain]))
    hotspot = Hotspot(7, key, listed, retired, *numbers)
    packed = pack_hotspot(state, hotspot)
    assert unpack_hotspot(state, 7, packed) == hotspot
    again = unpack_hotspot(state, 7, packed)
    shared = [[a.chain is b.chain for b in listed] for a in listed]
    assert [[a.chain is b.chain for b in again.assertions] for a in again.assertions] == shared


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 20))
def test_seen_epochs_are_remembered_as_long_as_they_must(steps: list[int], kept: int) -> None:
    """Against a set: whatever arrives in time and not twice, in any order."""
    hotspot, model, now = Hotspot(0, bytes(32), []), set(), 100
    for step in steps:
        now += step // 12
        epoch = now - step % (kept + 1)
        assert hotspot.has_seen(epoch) == (epoch in model)
        hotspot.see(epoch, kept)
        model.add(epoch)
        assert hotspot.last_epoch == max(model)
        assert all(
            hotspot.has_seen(e) == (e in model) for e in range(hotspot.last_epoch - kept, now + 3)
        )
        assert hotspot.seen.bit_length() <= kept + 1


def padded_root(entries: list[bytes]) -> bytes:
    """The root as docs/records.md has it, level by level."""
    nodes = [sha256(b"\x00" + entry).digest() for entry in entries]
    while len(nodes) > 1:
        nodes += [bytes(32)] * (len(nodes) % 2)
        pairs = zip(nodes[::2], nodes[1::2], strict=True)
        nodes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return nodes[0] if nodes else bytes(32)


@given(
    st.lists(
        st.dictionaries(st.integers(0, 40), st.binary(max_size=3), max_size=12), max_size=12
    )
)
def test_a_tree_that_changes_in_places_is_the_tree_made_at_once(
    rounds: list[dict[int, bytes]],
) -> None:
    tree, leaves = SlotTree(), list[bytes]()
    for changes in rounds:
        updates: dict[int, bytes] = {}
        for wanted, entry in sorted(changes.items()):
            slot = min(wanted, len(leaves))  # the next free one at most
            leaves[slot : slot + 1] = [entry]
            updates[slot] = entry
        tree.update(sorted(updates.items()))
        assert (tree.root(), len(tree)) == (padded_root(leaves), len(leaves))


@given(st.data())
def test_keys_sort_as_their_packed_bytes_do(data: st.DataObject) -> None:
    """The audit and the root go by packed keys, the rules by keys: both must mean one order."""
    name = data.draw(st.sampled_from(sorted(set(TABLES) - {"stats", "references"})))
    table = TABLES[name]
    size = len(table.key.pack(_example_key(table.key)))
    raws = data.draw(st.lists(st.binary(min_size=size, max_size=size), max_size=5))
    unpacked = [table.key.unpack(raw) for raw in raws]
    assert [table.key.pack(key) for key in unpacked] == raws
    assert [table.key.pack(key) for key in sorted(unpacked)] == sorted(raws)


def _example_key(codec: Codec) -> object:
    """Any key: of the few sizes that tables use, the one that unpacks."""
    for size in range(1, 80):
        try:
            return codec.unpack(bytes(size))
        except ValueError:
            continue
    raise AssertionError("no size fits")


def test_rows_of_fixed_fields_leave_out_zeros_and_refuse_what_is_not_theirs() -> None:
    codec = row(Account, "<IQQI")
    assert codec.pack(Account(0)) == b""
    assert codec.unpack(b"\x01") == Account(1)
    for wrong in (b"\x01\x00", bytes(25), b"\x01" * 25):
        try:
            codec.unpack(wrong)
        except ValueError:
            continue
        raise AssertionError(wrong)


def busy_town(blocks: list[Sealed], preset: str = "minimal", count: int = 4) -> Town:
    """Something of everything that six record types bring about."""
    town = Town(count, preset, on_block=blocks.append)
    town.join()
    town.run(2, 3)
    town.submit(town.open_session(0, 1), town.open_session(1, 2))
    town.submit(town.claim(town.receipt(0, 1, Receipt(0, 1, 1 << 21, 40, 1, bytes(32)))))
    town.submit(town.sealed_registration(3, height_m=20))
    town.run_epoch(4)
    town.run_epoch(5, absent=frozenset({2}))
    town.submit(town.message(2, 5))
    return town


def save(path: Path, blocks: list[Sealed]) -> None:
    store = Store.create(str(path))
    store.append(blocks)
    store.close()


def test_a_loaded_state_is_the_saved_one_in_every_field(tmp_path: Path) -> None:
    blocks: list[Sealed] = []
    town = busy_town(blocks)
    save(tmp_path / DATABASE, blocks)
    store = Store.open(tmp_path / DATABASE)
    loaded, state = load_ledger(store).state, town.ledger.state
    for field in fields(State):
        if field.name == "log":
            assert (loaded.log.size, loaded.log.peaks) == (state.log.size, state.log.peaks)
        elif field.name != "touched":
            assert getattr(loaded, field.name) == getattr(state, field.name), field.name
    assert compute_state_root(loaded) == compute_state_root(state)
    assert not loaded.touched
    store.close()


@settings(max_examples=12, deadline=None)
@given(stops=st.sets(st.integers(2, 9), max_size=4))
def test_a_ledger_restarted_at_any_time_goes_on_as_if_it_never_stopped(stops: set[int]) -> None:
    """One ledger runs through, another is saved and loaded again and again: same headers."""
    town = Town(3)
    first: list[Sealed] = []
    other = Town(3, on_block=first.append)
    store = Store.create(":memory:")
    store.append(first)
    durable = DurableLedger(other.ledger, store)
    for ledger in (town.ledger, durable):
        ledger.submit([town.deposit(i).wire for i in range(3)], START_MS)
        ledger.submit([town.sealed_registration(i).wire for i in range(3)], START_MS)
    for epoch in range(2, 11):
        if epoch in stops:
            durable = DurableLedger(load_ledger(store, verify), store)
        wires = [town.message(i, epoch).wire for i in range(3) if epoch % 3 or i]
        for ledger in (town.ledger, durable):
            ledger.tick(town.time_ms(epoch))
            ledger.submit(wires, town.time_ms(epoch, 5_000))
        assert durable.ledger.head == town.ledger.head
    town.ledger.tick(town.time_ms(11))
    durable.tick(town.time_ms(11))
    assert durable.ledger.head == town.ledger.head
    assert compute_state_root(durable.ledger.state) == town.ledger.head.state_root
    store.close()


def test_headers_commit_to_the_state_right_after_the_newest_close() -> None:
    town = Town(3)
    town.join()
    root = town.ledger.head.state_root
    town.submit(town.deposit(0, reference=b"more"))
    assert town.ledger.head.state_root == root  # records cost no state hashing
    town.ledger.tick(town.time_ms(1))
    closed = town.ledger.head.state_root
    assert root != closed == compute_state_root(town.ledger.state)
    # A record that comes with the close is not in the root of the close.
    wires = [town.deposit(1, reference=b"with the close").wire]
    expected = town.ledger.state.copy()
    town.ledger.submit(wires, town.time_ms(2))
    assert town.ledger.head.state_root != compute_state_root(town.ledger.state)
    process_time(expected, town.time_ms(2), PairCache())
    assert compute_state_root(expected) == town.ledger.head.state_root


def test_a_root_kept_up_to_date_is_the_root_from_nothing_through_every_change() -> None:
    blocks: list[Sealed] = []
    state, kept = busy_town(blocks).ledger.state, StateRoot()
    kept.update(state, {})
    state.touched = {}
    state.credit(bytes(32), 5)
    state.add("pools", (1, bytes(32)), 7)
    state.clear("links")
    state.sessions.pop(0)
    state.touch("sessions", 0)
    assert kept.update(state, state.take_touched()) == compute_state_root(state)


def test_bytes_seen_again_are_known_by_their_id_from_memory_and_from_the_disk(
    tmp_path: Path,
) -> None:
    blocks: list[Sealed] = []
    town = busy_town(blocks)
    save(tmp_path / DATABASE, blocks)
    durable = DurableLedger.open(tmp_path)
    again = [w for item in blocks[1:] for w in item.block.wires]
    head = durable.ledger.head
    results = durable.submit(again, town.ledger.state.time_ms)
    assert {result.reason for result in results} == {"already"}
    indexes = [r.index for item in blocks[1:] for r in item.results]
    assert [result.index for result in results] == indexes
    assert durable.ledger.head == head
    durable.store.close()


def test_a_hotspot_on_the_main_network_keeps_200_bytes_at_most() -> None:
    town = Town(9, "mainnet", seeds=3)
    town.join()
    town.run(2, 40)
    kept = compute_state_bytes(town.ledger.state)
    live = kept["hotspots"] + kept["accounts"]  # keys and rows, each with an account of its own
    assert live <= 200 * town.count, live / town.count
    hotspot = town.ledger.state.hotspots[0]
    assert hotspot.seen.bit_length() == 39
    state = town.ledger.state
    for index in range(town.count):  # the worst that a day of gaps does to the bitmap
        state.hotspots[index].seen = int("01" * 72, 2)
    gaps = sum(len(packed) for _, packed in TABLES["hotspots"].pack_all(state))
    assert gaps + kept["accounts"] <= 220 * town.count


def test_presets_keep_few_enough_epochs_for_a_byte_to_count_assertions() -> None:
    for params in PRESETS.values():
        assert params.late_epochs + params.bind_epochs + 2 < 256
