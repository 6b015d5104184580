from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.draws import digest, u32
from chain.errors import UserError
from chain.io_audit import audit
from chain.io_explain import explain
from chain.io_keys import load_or_create_seed, load_seed
from chain.io_ledger import DATABASE, DurableLedger
from chain.ledger import Ledger, Sealed
from chain.records import Receipt
from chain.store.io_restore import load_ledger
from chain.store.io_schema import TABLES
from chain.store.io_store import Store

from .chain_helpers import Town, verify

ALL_TABLES = {**TABLES, "meta": ("name",)}


def build(path: Path, deposits: int = 0) -> Town:
    """A small closed ledger with something in every table."""
    blocks: list[Sealed] = []
    town = Town(3, on_block=blocks.append)
    town.join()
    town.run(2, 3)
    town.submit(town.open_session(0, 1))
    receipt = town.receipt(0, 1, Receipt(0, 1, 1 << 21, 40, 1, bytes(32)))
    town.submit(town.claim(receipt))
    town.run_epoch(4)
    town.run_epoch(5, absent=frozenset({2}))
    town.run_epoch(6)
    town.submit(town.message(2, 5))  # late
    town.submit(*(town.deposit(0, 1, reference=u32(i)) for i in range(deposits)))
    town.ledger.tick(town.time_ms(7))
    store = Store.create(str(path))
    store.append(blocks)
    store.close()
    BLOCKS[town.network_id, deposits] = blocks
    return town


BLOCKS: dict[tuple[bytes, int], list[Sealed]] = {}


def town_blocks(town: Town) -> list[Sealed]:
    """The blocks of the sample."""
    return BLOCKS[town.network_id, 0]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Town]:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    return path, build(path)


@pytest.fixture(scope="module")
def sound(sample: tuple[Path, Town]) -> Path:
    """The database of the sample alone: hypothesis prints what it is given."""
    return sample[0]


def test_every_table_of_the_sample_has_rows(sample: tuple[Path, Town]) -> None:
    store = Store.open(sample[0], read_only=True)
    counts = {t: store.rows(f"SELECT count(*) AS n FROM {t}")[0]["n"] for t in ALL_TABLES}
    store.close()
    assert all(n for table, n in counts.items() if table not in ("mapped", "tree")), counts


def test_the_stored_subtrees_of_a_longer_log_are_audited(tmp_path: Path) -> None:
    build(tmp_path / DATABASE, 260)
    assert audit(tmp_path / DATABASE, verify).ok
    for column in ("level", "position", "hash"):
        copy = tmp_path / f"{column}.db"
        shutil.copy(tmp_path / DATABASE, copy)
        assert change_one_value(copy, ("tree", 16, column), 7, 3)
        assert audit(copy, verify).where.startswith("tree"), column
    (tmp_path / "none.db").write_bytes((tmp_path / DATABASE).read_bytes())
    connection = sqlite3.connect(tmp_path / "none.db")
    with connection:
        connection.execute("DELETE FROM tree")
    connection.close()
    assert audit(tmp_path / "none.db", verify).where == "tree level 4 position 0"


def test_the_audit_of_a_copy_reaches_the_same_root(
    sample: tuple[Path, Town], tmp_path: Path
) -> None:
    path, town = sample
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    copy.chmod(0o400)
    result = audit(copy, verify)
    assert result.ok, result
    assert result.state_root == town.ledger.head.state_root.hex()
    assert result.records == town.ledger.log.size
    assert [file.name for file in tmp_path.iterdir()] == ["copy.db"]


def test_a_ledger_loaded_from_disk_is_the_one_that_was_saved(sample: tuple[Path, Town]) -> None:
    store = Store.open(sample[0], read_only=True)
    assert load_ledger(store).head == sample[1].ledger.head
    store.close()


def cells(path: Path) -> list[tuple[str, int, str]]:
    """(table, row number, column) of every value."""
    connection = sqlite3.connect(path)
    found = []
    for table in ALL_TABLES:
        names = [f'"{row[1]}"' for row in connection.execute(f"PRAGMA table_info({table})")]
        count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        found += [(table, row, name) for row in range(count) for name in names]
    connection.close()
    return found


def flipped(value: object, position: int, bit: int) -> object:
    if isinstance(value, int):
        return value ^ 1 << bit
    if isinstance(value, str):
        value = value or "x"
        at = position % len(value)
        return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
    if isinstance(value, bytes):
        raw = bytearray(value or b"x")
        raw[position % len(raw)] ^= 1 << bit
        return bytes(raw)
    return 7


def change_one_value(path: Path, where: tuple[str, int, str], position: int, bit: int) -> bool:
    """Change a value through SQLite itself, so that the file stays sound; False if it refuses."""
    table, row, column = where
    connection = sqlite3.connect(path)
    key = ", ".join(ALL_TABLES[table])
    select = f"SELECT {column}, {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {row}"
    value, *keys = connection.execute(select).fetchone()
    same = " AND ".join(f"{name} = ?" for name in ALL_TABLES[table])
    try:
        with connection:
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE {same}",
                (flipped(value, position, bit), *keys),
            )
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return True


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), position=st.integers(0, 1 << 16), bit=st.integers(0, 7))
def test_any_changed_value_fails_the_audit_and_is_named(
    sound: Path, tmp_path: Path, data: st.DataObject, position: int, bit: int
) -> None:
    where = data.draw(st.sampled_from(cells(sound)))
    copy = tmp_path / "flipped.db"
    copy.unlink(missing_ok=True)
    shutil.copy(sound, copy)
    if change_one_value(copy, where, position, bit):
        result = audit(copy, verify)
        assert not result.ok
        assert result.problem
        assert any(table in result.where for table in ALL_TABLES), result


def test_a_change_in_each_column_is_traced_to_its_table(
    sample: tuple[Path, Town], tmp_path: Path
) -> None:
    """For derived tables and block columns the very column is named."""
    exact = {"verdicts": ["codes", "record_id"], "beacons": ["verdict", "counts"]}
    exact |= {"payments": ["kind", "account", "amount_ucr", "source"], "state": ["row"]}
    exact |= {"blocks": ["epoch", "time_ms", "size", "hash"], "records": ["reason", "result_index"]}
    exact |= {"mixes": ["mix"], "owners": ["key"]}
    for table, columns in exact.items():
        for column in columns:
            copy = tmp_path / f"{table}-{column}.db"
            shutil.copy(sample[0], copy)
            assert change_one_value(copy, (table, 1, column), 0, 0)
            result = audit(copy, verify)
            assert result.where.startswith(table), result
            assert result.where.endswith(f"column {column}"), result


def test_missing_and_added_rows_are_named(sample: tuple[Path, Town], tmp_path: Path) -> None:
    statements = {
        "DELETE FROM mixes WHERE epoch = 1": "mixes epoch 1",
        "DELETE FROM meta": "meta name log",
        "DELETE FROM state WHERE name = 'numbers'": "state name 'numbers'",
        "DELETE FROM payments WHERE seq = 0": "payments seq 0",
        "DELETE FROM records WHERE seq = 3": "records seq 4",
        "INSERT INTO state VALUES ('accounts', x'00', x'05')": "state name 'accounts' key 00",
        "DROP INDEX records_assertions": "schema",
        "CREATE TABLE extra (a)": "schema",
        "DELETE FROM blocks WHERE height = 0": "blocks height 1",
    }
    for number, (statement, where) in enumerate(statements.items()):
        copy = tmp_path / f"{number}.db"
        shutil.copy(sample[0], copy)
        connection = sqlite3.connect(copy)
        try:
            with connection:
                connection.execute(statement)
        except sqlite3.OperationalError:
            continue  # a table without row ids has none to delete by
        finally:
            connection.close()
        assert where in audit(copy, verify).where, statement


def content(path: Path) -> object:
    """Everything that a database says; None if SQLite can't read it."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
        connection.text_factory = bytes
        rows = [connection.execute("SELECT * FROM sqlite_master ORDER BY name").fetchall()]
        orders = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in ALL_TABLES]
        rows += [connection.execute(order).fetchall() for order in orders]
        connection.close()
    except sqlite3.Error:
        return None
    return [[tuple((type(value), value) for value in row) for row in table] for table in rows]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(offset=st.integers(0, 1 << 30), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changes_nothing_that_it_says(
    sound: Path, tmp_path: Path, offset: int, bit: int
) -> None:
    raw = bytearray(sound.read_bytes())
    raw[offset % len(raw)] ^= 1 << bit
    copy = tmp_path / "bit.db"
    copy.write_bytes(raw)
    result = audit(copy, verify)
    if result.ok:
        # Row ids of the schema's root pages may move unseen, what the tables say may not.
        assert content(copy) == content(sound)
    else:
        assert result.where
        assert "\n" not in result.problem


@pytest.mark.parametrize("kind", ["empty", "garbage", "half", "page", "text", "folder"])
def test_damaged_files_get_one_line_and_never_a_traceback(
    sample: tuple[Path, Town], tmp_path: Path, kind: str
) -> None:
    raw = sample[0].read_bytes()
    damaged = {
        "empty": b"",
        "garbage": bytes(digest("noise", u32(i))[0] for i in range(9_000)),
        "half": raw[: len(raw) // 2 + 3],
        "page": raw[: len(raw) - 4096],
        "text": b"not a database, but long enough to look at" * 100,
    }
    path = tmp_path / "damaged.db"
    path.mkdir() if kind == "folder" else path.write_bytes(damaged[kind])
    result = audit(path, verify)
    assert not result.ok
    assert result.where
    assert "\n" not in result.problem


def test_an_audit_from_a_trusted_copy_derives_only_what_came_later(
    sample: tuple[Path, Town], tmp_path: Path
) -> None:
    path, town = sample
    earlier, other = tmp_path / "earlier.db", tmp_path / "other.db"
    store = Store.create(str(earlier))
    store.append(town_blocks(town)[:-3])
    store.close()
    checked: list[bytes] = []

    def count(*item: bytes) -> bool:
        checked.append(item[-1])
        return verify(*item)

    whole = audit(path, count)
    all_of_it = len(checked)
    checked.clear()
    later = audit(path, count, since=earlier)
    assert later == whole
    assert len(checked) < all_of_it // 3
    assert "trusted copy" in audit(earlier, verify, since=path).problem  # the copy is newer
    build(other, 3)
    assert not audit(other, verify, since=path).ok
    assert change_one_value(earlier, ("meta", 0, "value"), 0, 0)
    assert audit(path, verify, since=earlier).where == "since"
    damaged = tmp_path / "damaged.db"
    for table, row in (("payments", 0), ("verdicts", 0), ("state", 3)):
        shutil.copy(path, damaged)  # what the copy holds already is compared all the same
        column = {"payments": "amount_ucr", "verdicts": "codes", "state": "row"}[table]
        assert change_one_value(damaged, (table, row, column), 0, 0)
        store = Store.create(str(tmp_path / f"{table}.db"))
        store.append(town_blocks(town)[:-3])
        store.close()
        assert audit(damaged, verify, since=tmp_path / f"{table}.db").where.startswith(table)


def test_explanations_name_the_rule_and_its_numbers(sample: tuple[Path, Town]) -> None:
    path, town = sample
    store = Store.open(path, read_only=True)
    beacon = explain(store, "0:3:0")
    assert beacon["verdict"] == "paid"
    rules = beacon["receptions"][0]["rules"]
    assert next(rule["rule"] for rule in rules) == "report"
    assert all(rule["passed"] for rule in rules)
    strength = next(rule for rule in rules if rule["rule"] == "rssi_too_high")
    assert strength["margin"] == (
        strength["inputs"]["highest_cdbm"] - strength["inputs"]["full_power_rssi_cdbm"]
    )
    hotspot = explain(store, "1")
    assert explain(store, town.registration(1).key.hex()) == hotspot
    assert hotspot["hotspot"] == 1
    assert {payment["kind"] for payment in hotspot["payments"]} >= {"ai", "bootstrap"} - {"ai"}
    assert explain(store, town.owner(1).hex())["kind"] == "account"
    record = explain(store, town.message(2, 5).record_id.hex())
    assert (record["result"], record["verdicts"]) == ("late", {"late": 2})
    for nonsense in ("x", "1:2", "77", "ab" * 32, "0:9999:0"):
        with pytest.raises(UserError):
            explain(store, nonsense)
    store.close()


def test_unrevealed_and_failed_receptions_are_explained(sample: tuple[Path, Town]) -> None:
    store = Store.open(sample[0], read_only=True)
    hidden = explain(store, "2:4:0")  # hotspot 2 was late in 5, so it hid x_4
    store.close()
    assert hidden["verdict"] == "unrevealed"
    last = hidden["receptions"][0]["rules"][-1]
    assert (last["rule"], last["passed"]) == ("no_reveal", False)


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path) -> None:
    town = Town(2)
    blocks: list[Sealed] = []
    ledger = Ledger(town.genesis, verify, blocks.append)
    store = Store.create(str(tmp_path / DATABASE))
    store.append(blocks)
    durable = DurableLedger(ledger, store)
    pages = store.rows("PRAGMA page_count")[0]["page_count"]
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    wires = [town.deposit(0, reference=u32(i)).wire for i in range(200)]
    with pytest.raises(UserError, match="full") as caught:
        durable.submit(wires, town.time_ms(0))
    assert caught.value.status == 503
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="full"):
        durable.tick(town.time_ms(1))
    store.connection.execute(f"PRAGMA max_page_count = {pages * 1000}")
    results = durable.submit(wires, town.time_ms(1))
    assert {result.reason for result in results} == {"already"}
    assert len(store.rows("SELECT seq FROM records")) == 201
    store.close()
    assert audit(tmp_path / DATABASE, verify).ok


def test_a_second_process_and_damaged_or_missing_ledgers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        DurableLedger.open(tmp_path)
    build(tmp_path / DATABASE)
    first = DurableLedger.open(tmp_path)
    with pytest.raises(UserError, match="in use"):
        DurableLedger.open(tmp_path)
    first.store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE blocks SET time_ms = time_ms + 1 WHERE height = (SELECT max(height) FROM blocks)",
        "DELETE FROM blocks WHERE height = (SELECT max(height) FROM blocks)",
        "UPDATE records SET wire = x'00' WHERE seq = 0",
        "UPDATE meta SET value = x'00'",
        "DELETE FROM meta",
        "UPDATE state SET row = substr(row, 2) WHERE name = 'hotspots'",
        "UPDATE state SET row = x'ffffffffff' WHERE name = 'accounts'",
        "DELETE FROM state WHERE name = 'accounts'",
        "UPDATE state SET row = x'ff' WHERE name = 'numbers' AND key = CAST('epoch' AS BLOB)",
        "UPDATE state SET row = 'text' WHERE name = 'sessions'",
        "PRAGMA user_version = 1",
    ],
)
def test_a_ledger_that_contradicts_itself_is_not_opened(
    sound: Path, tmp_path: Path, damage: str
) -> None:
    shutil.copy(sound, tmp_path / DATABASE)
    connection = sqlite3.connect(tmp_path / DATABASE)
    with connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(UserError, match=r"audit|software") as caught:
        DurableLedger.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_key_files_are_made_private_and_refused_when_open_or_broken(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "a.key"
    seed = load_or_create_seed(path)
    assert (len(seed), path.stat().st_mode & 0o777) == (32, 0o600)
    assert load_or_create_seed(path) == seed == load_seed(path)
    path.chmod(0o644)
    with pytest.raises(UserError, match=f"mode 0644 lets others read it; run: chmod 600 {path}"):
        load_seed(path)
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(UserError, match="5 bytes"):
        load_seed(path)
    with pytest.raises(UserError, match="No such file"):
        load_seed(tmp_path / "none.key")
    raw = tmp_path / "raw.key"
    raw.write_bytes(bytes(range(32)))
    raw.chmod(0o600)
    assert load_seed(raw) == bytes(range(32))


def test_a_ledger_that_runs_while_it_is_audited_passes(
    sample: tuple[Path, Town], tmp_path: Path
) -> None:
    """The rows that a service adds meanwhile are of another state than the one that is audited."""
    blocks = town_blocks(sample[1])
    running = Store.create(str(tmp_path / DATABASE))
    running.append(blocks[:-3])
    during = iter(blocks[-3:])

    def add_one(done: int, total: int) -> None:
        running.append([block] if (block := next(during, None)) else [])

    result = audit(tmp_path / DATABASE, verify, add_one)
    assert next(during, None) is None, "nothing was written meanwhile"
    assert result.ok, result
    assert result.blocks == len(blocks) - 3
    assert audit(tmp_path / DATABASE, verify).blocks == len(blocks)
    running.close()
