"""Sets of rules: the old ones give what they gave, the new ones bind from a named epoch on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import wire
from chain.io_audit import audit
from chain.io_explain import explain
from chain.io_ledger import DurableLedger
from chain.ledger import Ledger, Sealed
from chain.params import NEWEST_RULES, OLDER_RULES, PRESETS, get_params
from chain.records import Genesis, Reception, Refusal
from chain.rules.blocks import BlockError
from chain.rules.late import GAPS_KEPT, is_taken, process_seen
from chain.rules.moves import is_same_place
from chain.rules.mutual import pack_row, unpack_row
from chain.rules.mutual_arrays import pack_links, unpack_links
from chain.rules.verdicts import REASONS
from chain.state import Assertion, Chain, Hotspot
from chain.state_root import compute_state_root
from chain.store.io_restore import load_ledger, load_params
from chain.store.io_store import Store
from chain.vectors import scenarios, scenarios_admission, scenarios_cells, scenarios_claims
from chain.vectors import scenarios_rules as runs
from chain.vectors.runs import Scenario, make_town, play, record
from chain.vectors.town import PLACES, Town
from chain.wire import iter_receptions

MODULES = (scenarios, scenarios_admission, scenarios_cells, scenarios_claims)
OLD_RUNS = Path(__file__).with_name("rules_1_runs.txt")


def hash_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def get_old_runs() -> Iterator[tuple[str, str, Scenario, str, str]]:
    """Every run of the vectors of before there were sets of rules, with its hashes of then."""
    for line in OLD_RUNS.read_text().splitlines():
        suite, title, given_hash, output_hash = line.split()
        preset, name = title.split("/")
        found = next(getattr(module, name) for module in MODULES if hasattr(module, name))
        yield suite, preset, found, given_hash, output_hash


@pytest.mark.parametrize("suite", ["admission", "epochs", "coverage", "cells", "roles", "fraud"])
def test_the_first_rules_give_what_they_gave(suite: str) -> None:
    """Answers, headers with their roots, balances: all as the software of then wrote them down."""
    for name, preset, scenario, given_hash, output_hash in get_old_runs():
        if name != suite:
            continue
        case = record(make_town(suite, f"{preset}:1", scenario))
        assert hash_of(case) == given_hash, "the run isn't that of then: its town was changed"
        assert hash_of(play(case)) == output_hash, (preset, scenario.__name__)


def test_a_genesis_of_the_first_rules_has_its_bytes_of_then() -> None:
    """Six fields and version 1; later rules are a field more and version 2."""
    old, new = (Town("bytes", rules=rules).genesis for rules in (1, 2))
    assert old.wire[:3] == b"\x84\x01\x01"
    assert new.wire[:3] == b"\x84\x01\x02"
    for signed, rules in ((old, 1), (new, 2)):
        again = wire.decode(signed.wire)
        assert not isinstance(again, Refusal)
        assert isinstance(again.record, Genesis)
        assert again.record.rules == rules
        assert wire.seal(again.record, b"", []).wire == signed.wire


def test_rules_of_the_future_stop_a_ledger_instead_of_forking_it() -> None:
    record = Genesis("n", "minimal", 0, (bytes(32),), 1, (), NEWEST_RULES + 1)
    with pytest.raises(BlockError, match="newer software"):
        Ledger(wire.seal(record, b"", []))


def test_every_older_set_names_constants_of_today() -> None:
    assert set(OLDER_RULES) == set(range(1, NEWEST_RULES))
    for preset in PRESETS:
        assert get_params(preset, NEWEST_RULES) is PRESETS[preset]
        for rules, values in OLDER_RULES.items():
            older = get_params(preset, rules)
            assert {name: getattr(older, name) for name in values} == values


def saved(run: Scenario, path: Path, rules: int) -> Path:
    """The ledger of a run on the disk."""
    town = make_town("saved", f"minimal:{rules}", run)
    store, first = Store.create(str(path)), list[Sealed]()
    ledger = Ledger(town.genesis, on_block=first.append)
    store.append(first)
    durable = DurableLedger(ledger, store)
    for step in town.steps:
        durable.submit(list(step.wires), step.time_ms)
    assert durable.ledger.head == town.ledger.head
    store.close()
    return path


def test_an_audit_goes_by_the_rules_of_each_epoch(tmp_path: Path) -> None:
    """Over an activation; a restart and explanations too."""
    path = saved(runs.activations, tmp_path / "ledger.db", 1)
    result = audit(path)
    assert result.ok, result.problem
    store = Store.open(path, read_only=True)
    ledger = load_ledger(store)
    assert ledger.params.mutual_epochs == 10
    first = min(ledger.state.activations)
    assert [load_params(store, epoch).mutual_epochs for epoch in (first - 1, first)] == [1, 10]
    old, new = (explain(store, f"0:{epoch}:0") for epoch in (4, first + 1))
    verdicts = [
        next(r["verdict"] for r in answer["receptions"] if r["witness"] == 1)
        for answer in (old, new)
    ]
    assert verdicts == ["counted", "counted"]
    one_way = [explain(store, f"2:{epoch}:0")["receptions"] for epoch in (4, first + 1)]
    told = [next(r for r in found if r["witness"] == 0) for found in one_way]
    assert [r["verdict"] for r in told] == ["not_mutual", "counted"]
    assert told[0]["rules"][-1]["inputs"]["epochs"] == 1
    store.close()


# --- mutual hearing ------------------------------------------------------------------------------

stamp = st.integers(0, 10)
rows = st.dictionaries(
    st.integers(8, 2**32 - 1), st.tuples(stamp, stamp).filter(any), min_size=1, max_size=30
)


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 7), rows, max_size=6))
def test_rows_of_hearing_are_read_back(table: dict[int, dict[int, tuple[int, int]]]) -> None:
    """One by one, and all at once over arrays."""
    packed = {low: pack_row(low, row) for low, row in table.items()}
    assert {low: unpack_row(low, row) for low, row in packed.items()} == table
    np = pytest.importorskip("numpy")
    links = unpack_links(np, packed)
    told = zip(*(column.tolist() for column in links), strict=True)
    flat = {(key >> 32, key & 0xFFFFFFFF): (a, b) for key, a, b in told}
    assert flat == {(low, high): both for low, row in table.items() for high, both in row.items()}
    assert pack_links(np, links) == packed


def get_reasons(town: Town, epoch: int) -> set[str]:
    judgement = town.ledger.verdicts(epoch)
    assert judgement is not None
    return {REASONS[code] for codes in judgement.codes.values() for code in codes}


def test_hearing_back_lasts_for_its_epochs_and_no_longer() -> None:
    """Heard both ways in 3, one way from 4 on: counts through 3 + span - 1."""
    town = Town("test/span")
    town.join()
    town.run(2, 3)
    span = town.ledger.params.mutual_epochs
    told = []
    for epoch in range(4, 6 + span):
        town.run_epoch(epoch, lambda witness, heard: runs.deaf_to(witness, 0, heard))
        if epoch > 5:
            told.append("not_mutual" in get_reasons(town, epoch - 2))
    assert told == [epoch - 3 >= span for epoch in range(4, 4 + span)]


def test_nothing_is_remembered_beyond_its_epochs() -> None:
    """A network that falls silent has no row of it left; each link costs it a few bytes before."""
    town = Town("test/silent")
    town.join()
    town.run(2, 4)
    state = town.ledger.state
    size = sum(4 + len(row) for row in state.hearing.values())
    assert 0 < size <= 12 * 2 + 4 * 4
    town.go_to(5 + town.ledger.params.mutual_epochs)
    assert not state.hearing
    assert compute_state_root(state) == compute_state_root(state.copy())


def test_what_was_heard_before_an_assertion_counts_for_nothing() -> None:
    """Another height binds: it must be heard back anew."""
    town = Town("test/anew")
    town.join()
    town.run(2, 3)
    town.submit(town.registration(2, height_m=11))
    bound = town.epoch + 2
    town.run(town.epoch, bound - 1)
    runs.run_one_way(town, bound, bound + 1)
    assert "not_mutual" in get_reasons(town, bound)


def test_a_driver_that_drops_four_frames_of_five_is_heard_back() -> None:
    """Its share of epochs that count, by the first rules and by these: over every arrival."""
    span, beacons = PRESETS["mainnet"].mutual_epochs, PRESETS["mainnet"].beacons_per_epoch
    for arrives, lost_at_most in ((0.2, 0.00014), (0.1, 0.015)):
        silent = (1 - arrives) ** beacons
        assert 1 - silent < 0.6  # what counted before, at most
        assert silent**span < lost_at_most


def play_dropper(rules: int) -> float:
    """What the beacons of a hotspot that drops four frames of five earn, next to a neighbour's."""
    town = Town("test/dropper", preset="mainnet", rules=rules)
    town.count = 7
    town.join()

    def drop(witness: int, heard: list[Reception]) -> list[Reception]:
        if witness != 3:
            return heard
        lots = [sha256(b"%d %d %d" % (town.epoch, r.heard, r.sequence)).digest() for r in heard]
        return [r for r, lot in zip(heard, lots, strict=True) if lot[0] < 51]

    counted = [0] * town.count
    for epoch in range(2, 42):
        town.run_epoch(epoch, drop)
        judgement = town.ledger.verdicts(epoch - 2)
        if epoch < 14 or judgement is None:
            continue
        for witness, message in judgement.reports.items():
            rows = zip(iter_receptions(message.report), judgement.codes[witness], strict=True)
            for reception, code in rows:
                counted[reception[0]] += code == 0
    others = counted[:3] + counted[4:]
    return counted[3] * len(others) / sum(others)


def test_who_drops_four_frames_of_five_loses_next_to_nothing() -> None:
    """Its beacons are heard by everybody; it hears everybody back, now and then."""
    assert play_dropper(1) < 0.7
    assert play_dropper(2) > 0.98


# --- moves ---------------------------------------------------------------------------------------


def play_moves(preset: str, rules: int, blind: bool = False) -> list[tuple[int, int, int]]:
    """(trust, spread, links) of the mover before its new place binds, after, and at the end."""
    town = Town("test/moves", preset=preset, rules=rules)
    town.join()
    every, told = town.ledger.params.settlement_epochs, []
    town.run(2, 4)
    town.go_to(every)
    town.run(every, every + 1)
    mover = town.ledger.state.hotspots[1]
    mover.spread_db2 = 9_000
    mover.slope_db2 = 0 if blind else 9_000

    def note() -> None:
        links = sum(1 in link for link in town.ledger.state.links)
        told.append((mover.trust, mover.spread_db2, links))

    cell, latitude, longitude = PLACES[5]
    place = {"latitude_udeg": latitude, "longitude_udeg": longitude}
    town.submit(town.registration(1, cell=cell, **place))
    bound = town.epoch + 2
    town.run_epoch(bound - 2)
    town.run_epoch(bound - 1)
    note()
    town.place_of[1] = PLACES[5]
    town.go_to(bound)
    note()
    for epoch in range(bound, (bound // every + 1) * every):
        if epoch < bound + 3:
            town.run_epoch(epoch)
    town.go_to((bound // every + 1) * every)
    note()
    return told


def test_trust_stays_behind_and_comes_back_with_new_neighbours() -> None:
    before, after, settled = play_moves("mainnet", 2)
    assert before[0] > 0
    assert before[2] == 3
    assert after == (0, 0, 0)
    assert settled[0] > before[0] // 2


def test_a_bad_name_comes_along() -> None:
    _, after, _ = play_moves("mainnet", 2, blind=True)
    assert after == (0, 9_000, 0)


def test_by_the_first_rules_trust_moved_along() -> None:
    before, after, _ = play_moves("mainnet", 1)
    assert after[0] == before[0] > 0
    assert after[1] == 9_000


def test_another_precision_is_no_move() -> None:
    coarse, fine = PLACES[10][0], PLACES[0][0]
    assert is_same_place(coarse, fine)
    assert is_same_place(fine, coarse)
    assert is_same_place(fine, fine)
    assert not is_same_place(fine, PLACES[5][0])


# --- a month late --------------------------------------------------------------------------------


def test_a_hotspot_that_was_offline_for_a_month_delivers_it_all_and_is_paid_for_none() -> None:
    """Current messages first, then 30 days of backlog in order; twice is refused, or `already`."""
    town = Town("test/month", preset="mainnet")
    town.count = 2
    town.chain_length = 5_000
    town.join()
    town.run(2, 3)
    back = 4 + 30 * 144
    for epoch in range(800, back, 800):  # the others go on; no gap of a chain is too long
        town.go_to(epoch)
        town.submit(town.message(0, epoch))
    town.go_to(back)
    fresh = town.message(1, back, reveal=town.secret(1, back - 1))
    assert town.submit(fresh)[0].reason == "bad_reveal"  # its secrets fell silent for too long
    backlog = [town.message(1, epoch) for epoch in range(4, back)]
    results = [result for signed in backlog for result in town.submit(signed)]
    assert {result.reason for result in results} == {"late"}
    assert town.submit(fresh)[0].reason == "ok"
    state = town.ledger.state
    assert state.hotspots[1].gaps == ()
    assert state.inbox.keys() == {1}
    earned = state.hotspots[1].earned_ucr
    again = [town.submit(signed)[0].reason for signed in backlog[::500]]
    assert set(again) == {"already"}
    forks = [town.message(1, epoch, commit=bytes(32)) for epoch in (4, 900, back - 9)]
    other = [town.submit(signed)[0].reason for signed in forks]
    assert other == ["too_late", "too_late", "fork"]
    town.go_to(back + 146)
    assert state.hotspots[1].earned_ucr == earned


def hotspot() -> Hotspot:
    town = Town("test/gaps")
    chain = Chain(2, 400, bytes(8), 1, bytes(32))
    return Hotspot(0, bytes(32), [Assertion(0, town.assertion(0), 2, chain)])


@settings(deadline=None)
@given(st.lists(st.integers(2, 400), min_size=1, max_size=60))
def test_no_epoch_is_taken_twice_and_rows_stay_small(epochs: list[int]) -> None:
    """Whatever comes in whatever order, against a set of all that was taken."""
    one, taken = hotspot(), set[int]()
    for epoch in epochs:
        said = is_taken(one, epoch, 20)
        assert said or epoch not in taken
        if epoch > one.last_epoch:
            assert not said
        if not said:
            process_seen(one, epoch, 20, 300)
            taken.add(epoch)
        assert len(one.gaps) <= GAPS_KEPT
        assert all(first <= last < one.last_epoch - 20 for first, last in one.gaps)
        runs_of = [epoch for run in one.gaps for epoch in run]
        assert runs_of == sorted(runs_of)
    if epochs == sorted(set(epochs)):
        assert taken == set(epochs)


@settings(deadline=None)
@given(st.sets(st.integers(3, 300), max_size=6), st.integers(330, 350))
def test_a_backlog_in_order_is_taken_whole(missing: set[int], now: int) -> None:
    """Some epochs were missed; after a current message all of them are delivered, ascending."""
    one = hotspot()
    for epoch in [*sorted(set(range(2, 301)) - missing), now]:
        process_seen(one, epoch, 20, 400)
    for epoch in [*sorted(missing), *range(301, now)]:
        assert not is_taken(one, epoch, 20)
        process_seen(one, epoch, 20, 400)
        assert is_taken(one, epoch, 20)
    assert one.gaps == ()
