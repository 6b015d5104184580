"""Mappers: bound before the secrets are out, judged like witnesses, paid when others agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import h3
import pytest

from chain import wire
from chain.cells import cell_centre
from chain.params import PRESETS
from chain.records import Reception
from chain.rules.mappings import compute_units
from chain.rules.payday import compute_full_mapper_units
from chain.rules.payments import NO_HOTSPOT
from chain.rules.verdicts import REASONS
from chain.state import is_conserved

from .chain_helpers import Town
from .rewards_helpers import Mapper, Recorder, bounty_of, recorded_town, run_mapped_epochs


def reasons_of(recorder: Recorder) -> list[str]:
    return [REASONS[code] for mapped in recorder.mapped for code in mapped.codes]


def judged(edit: object = None, heard: tuple[int, ...] = (0, 2)) -> tuple[Town, list[str]]:
    """Verdicts on one mapper's receptions, in the order of the report, after an edit of them."""
    town, recorder = recorded_town()
    mapper = Mapper(town)
    town.run(2, 3)
    town.run_epoch(4)
    receptions = mapper.hear(4, list(heard))
    report = mapper.pack(edit(receptions) if edit else receptions)  # type: ignore[operator]
    assert town.submit(mapper.commit(4, report))[0].accepted
    town.run_epoch(5)
    assert town.submit(mapper.report(4, report))[0].accepted
    town.ledger.tick(town.time_ms(6))
    return town, reasons_of(recorder)


def test_what_a_mapper_honestly_heard_counts() -> None:
    town, reasons = judged()
    assert reasons == ["counted", "counted"]
    assert town.ledger.state.stats["mapper_receptions"] == 2


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("wrong_tag", {"tag": b"oops"}),
        ("wrong_frequency", {"frequency_mhz": 2412}),
        ("rssi_too_high", {"rssi_cdbm": 0}),
        ("rssi_too_low", {"rssi_cdbm": -20_000}),
        ("unknown_beaconer", {"heard": 77}),
        ("malformed", {"sequence": 9}),
    ],
)
def test_what_it_could_not_have_heard_does_not(reason: str, changes: dict[str, object]) -> None:
    def edit(heard: list[Reception]) -> list[Reception]:
        return [replace(heard[0], **changes), heard[1]]  # type: ignore[arg-type]

    _, reasons = judged(edit)
    assert sorted(reasons) == sorted([reason, "counted"])


def test_a_beacon_counts_once_per_report() -> None:
    _, reasons = judged(lambda heard: [heard[0], heard[0]])
    assert reasons == ["counted", "duplicate"]


def test_no_rssi_is_no_fault_and_far_hotspots_are_not_heard() -> None:
    _, reasons = judged(lambda heard: [replace(heard[0], flags=1, rssi_cdbm=0)])
    assert reasons == ["counted"]
    town, recorder = recorded_town()
    mapper = Mapper(town, east=1.0)  # 79 km away
    run_mapped_epochs(town, [(mapper, [0])], 4, 5)
    assert reasons_of(recorder) == ["too_far"]


def test_a_mapper_at_a_hotspots_own_door_maps_others_but_not_it() -> None:
    town, recorder = recorded_town()
    mapper = Mapper(town, near=1)
    # The middle one of a cell's seven parts has its centre.
    middle = int(h3.cell_to_center_child(f"{mapper.cell:x}", 10), 16)
    town.places[1] = (middle, *cell_centre(middle))
    moved = town.sealed_registration(1, height_m=11)
    assert town.submit(moved)[0].accepted
    town.run(2, 3)
    run_mapped_epochs(town, [(mapper, [0, 1])], 4, 5)
    assert reasons_of(recorder) == ["counted", "too_close"]


def unheard(*silent: int) -> Callable[[int, list[Reception]], list[Reception]]:
    """Nobody hears these hotspots, nor they anybody."""
    return lambda witness, heard: [
        r for r in heard if witness not in silent and r.heard not in silent
    ]


def test_hotspots_that_trust_has_not_reached_are_not_mapped() -> None:
    town, recorder = recorded_town()
    run_mapped_epochs(town, [(Mapper(town), [0, 2, 4])], 2, 3, unheard(4))
    assert reasons_of(recorder) == ["counted", "counted", "untrusted_beaconer"]


def test_refusals_name_their_reason() -> None:
    town, _ = recorded_town()
    mapper, other = Mapper(town), Mapper(town, b"other")
    town.run(2, 3)
    town.run_epoch(4)
    report = mapper.pack(mapper.hear(4, [0]))
    assert town.submit(mapper.commit(5, report))[0].reason == "wrong_epoch"
    assert town.submit(mapper.commit(3, report))[0].reason == "wrong_epoch"
    forged = wire.seal(mapper.commit(4, report).record, town.network_id, [other.seed])
    assert town.submit(forged)[0].reason == "bad_signature"
    assert town.submit(mapper.commit(4, report))[0].accepted
    assert town.submit(mapper.commit(4, b"x"))[0].reason == "duplicate"
    assert town.submit(mapper.report(4, report))[0].reason == "wrong_epoch"
    town.run_epoch(5)
    assert town.submit(other.report(4, report))[0].reason == "no_commit"
    assert town.submit(mapper.report(4, report, salt=bytes(15) + b"\1"))[0].reason == (
        "commit_mismatch"
    )
    assert town.submit(mapper.report(4, mapper.pack(mapper.hear(4, [2]))))[0].reason == (
        "commit_mismatch"
    )
    forged = wire.seal(mapper.report(4, report).record, town.network_id, [other.seed])
    assert town.submit(forged)[0].reason == "bad_signature"
    assert town.submit(mapper.report(4, report))[0].accepted
    assert town.submit(mapper.report(4, report, salt=bytes(15) + b"\2"))[0].reason == (
        "no_commit"
    )


def test_a_copycat_earns_nothing() -> None:
    """Another key can't show a report that it did not bind itself to while the epoch ran."""
    town, recorder = recorded_town()
    mapper, copycat = Mapper(town), Mapper(town, b"copycat")
    town.run(2, 3)
    town.run_epoch(4)
    report = mapper.pack(mapper.hear(4, [0, 2]))
    town.submit(mapper.commit(4, report))
    town.run_epoch(5)
    town.submit(mapper.report(4, report))
    assert town.submit(copycat.commit(5, report))[0].accepted
    town.run_epoch(6)
    assert town.submit(copycat.report(5, report))[0].accepted
    recorder.mapped.clear()
    town.ledger.tick(town.time_ms(7))
    assert reasons_of(recorder) == ["replayed", "replayed"]
    assert copycat.key not in {key for _, _, key in town.ledger.state.mappings}


def test_commits_are_capped_and_old_ones_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "minimal", replace(PRESETS["minimal"], mapper_commits_max=2))
    town, _ = recorded_town(2)
    town.run(2, 3)
    town.ledger.tick(town.time_ms(4))
    for number, reason in enumerate(["ok", "ok", "over_cap"]):
        commit = Mapper(town, b"%d" % number).commit(4, b"")
        assert town.submit(commit)[0].reason == reason
    town.ledger.tick(town.time_ms(5))
    assert town.submit(Mapper(town, b"next").commit(5, b""))[0].accepted
    town.ledger.tick(town.time_ms(5 + town.params.late_epochs))
    assert [epoch for epoch, _ in town.ledger.state.mapper_commits] == [5]
    town.ledger.tick(town.time_ms(6 + town.params.late_epochs))
    assert not town.ledger.state.mapper_commits


def test_late_reports_are_for_the_map_alone() -> None:
    town, recorder = recorded_town()
    mapper = Mapper(town)
    town.run(2, 3)
    town.run_epoch(4)
    report = mapper.pack(mapper.hear(4, [0, 2]))
    town.submit(mapper.commit(4, report))
    town.run(5, 6)
    (result,) = town.submit(mapper.report(4, report))
    assert (result.accepted, result.reason) == (True, "late")
    assert reasons_of(recorder) == ["late", "late"]
    assert recorder.mapped[0].cell == mapper.cell
    assert not town.ledger.state.mappings


def paid_town(*silent: int) -> tuple[Town, Recorder]:
    """A town after its first settlement, with a bounty on the cell of hotspot 1.

    Nobody hears the silent ones in the epoch that counts for the second settlement already.
    """
    town, recorder = recorded_town()
    town.run(2, 3)
    terms = {"amount_ucr": 20_000_000, "per_settlement_ucr": 5_000_000}
    assert town.submit(bounty_of(town, **terms))[0].accepted
    town.run_epoch(4)
    town.run_epoch(5, unheard(*silent))
    town.ledger.tick(town.time_ms(6))
    recorder.payments.clear()
    return town, recorder


def test_a_mapper_that_witnesses_agree_with_is_paid_at_the_settlement() -> None:
    town, recorder = paid_town()
    mapper = Mapper(town)
    run_mapped_epochs(town, [(mapper, [0, 2, 3])], 6, 11)
    paid = [p for p in recorder.payments if p.kind == "mapper"]
    assert {(p.account, p.hotspot) for p in paid} == {(mapper.key, NO_HOTSPOT)}
    state = town.ledger.state
    assert state.balance(mapper.key) == sum(p.amount_ucr for p in paid) > 0
    assert state.mapped == {mapper.cell: 1}
    assert not state.mappings
    assert is_conserved(state)


def test_what_a_mapper_gets_is_the_fee_as_far_as_it_made_the_map_surer() -> None:
    town, recorder = paid_town()
    units = compute_units(town.params, 3, 30)
    full = compute_full_mapper_units(town.ledger.state)
    run_mapped_epochs(town, [(Mapper(town), [0, 2, 3])], 6, 11)
    mapper = recorder.sum_of("mapper")
    cell = next(p for p in recorder.payments if p.kind == "mapper").cell
    total = sum(p.amount_ucr for p in recorder.payments if p.cell == cell)
    exact = total * town.params.mapper_fee_bp * units / (10_000 * full)
    assert exact - 4 <= mapper <= exact


def test_more_keys_for_one_place_share_what_one_would_get() -> None:
    town, recorder = paid_town()
    run_mapped_epochs(town, [(Mapper(town), [0, 2])], 6, 11)
    alone = recorder.sum_of("mapper")
    town, recorder = paid_town()
    many = [(Mapper(town, b"%d" % n), [0, 2]) for n in range(5)]
    run_mapped_epochs(town, many, 6, 11)
    assert recorder.sum_of("mapper") == alone
    shares = [p.amount_ucr for p in recorder.payments if p.kind == "mapper"]
    assert max(shares) - min(shares) <= 3


def test_a_place_mapped_lately_is_worth_nothing_again() -> None:
    town, recorder = paid_town()
    run_mapped_epochs(town, [(Mapper(town), [0, 2])], 6, 11)
    assert recorder.sum_of("mapper")
    recorder.payments.clear()
    run_mapped_epochs(town, [(Mapper(town, b"again"), [0, 2])], 12, 17)
    assert not recorder.sum_of("mapper")
    assert not town.ledger.state.mappings


def test_without_mappers_coverage_keeps_the_fee() -> None:
    town, recorder = paid_town()
    town.run(6, 11)
    without = recorder.sum_of("bounty", "coverage", "witness", "bootstrap")
    town, recorder = paid_town()
    run_mapped_epochs(town, [(Mapper(town), [0, 2])], 6, 11)
    assert recorder.sum_of("bounty", "coverage", "witness", "bootstrap", "mapper") == without


def waiting_town() -> tuple[Town, Recorder, Mapper]:
    """A mapping of hotspots 3 and 4, whom no witness heard until the settlement that came."""
    town, recorder = paid_town(3, 4)
    mapper = Mapper(town)
    run_mapped_epochs(town, [(mapper, [3, 4])], 6, 11, unheard(3, 4))
    return town, recorder, mapper


def test_pay_waits_until_somebody_agrees() -> None:
    town, recorder, mapper = waiting_town()
    state = town.ledger.state
    (mapping,) = state.mappings.values()
    assert mapping.held_ucr > 0
    assert not recorder.sum_of("mapper")
    assert is_conserved(state)
    town.run(12, 17)
    assert town.ledger.state.balance(mapper.key) == mapping.held_ucr == recorder.sum_of("mapper")
    assert not state.mappings
    assert state.mapped == {mapper.cell: 2}
    assert is_conserved(state)


def test_pay_that_nobody_agrees_with_returns_to_the_cell_after_a_while() -> None:
    town, recorder, mapper = waiting_town()
    state = town.ledger.state
    ((place, mapping),) = state.mappings.items()
    recorder.payments.clear()
    last = 12 + 6 * town.params.mapper_lapse_settlements
    for epoch in range(12, last):
        assert place in state.mappings
        town.run_epoch(epoch, unheard(3, 4))
    town.ledger.tick(town.time_ms(last))
    assert not state.mappings
    assert not state.mapped
    returned = [p for p in recorder.payments if p.kind in ("coverage", "witness") and not p.source]
    witnessed = sum(p.amount_ucr for p in returned if p.kind == "witness")
    covered = sum(p.amount_ucr for p in returned if p.kind == "coverage")
    assert covered == mapping.held_ucr - mapping.held_ucr // 10
    assert witnessed >= mapping.held_ucr // 10
    assert state.balance(mapper.key) == 0
    assert is_conserved(state)


def test_one_that_others_agree_with_leaves_nothing_to_those_nobody_agrees_with() -> None:
    town, recorder = paid_town(3, 4)
    sure, lone = Mapper(town), Mapper(town, b"lone")
    run_mapped_epochs(town, [(sure, [0, 2]), (lone, [3, 4])], 6, 11, unheard(3, 4))
    assert {p.account for p in recorder.payments if p.kind == "mapper"} == {sure.key}
    assert not town.ledger.state.mappings


def test_an_age_and_more_hotspots_are_worth_what_the_derivation_says() -> None:
    params = PRESETS["mainnet"]
    for least, units in params.mapper_age_units:
        variance = 61 * least // 30
        assert units == variance * variance // (variance + 36)
    total, expected = 0, []
    for permille in params.overlap_permille[:4]:
        total += permille
        expected.append(total)
    assert list(params.mapper_heard_permille) == expected
    assert compute_units(params, 1, 3) == 0
    assert compute_units(params, 1, 30) == 38
    assert compute_units(params, 9, 99) == 71
