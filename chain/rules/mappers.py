"""Mappers: people who pass by and tell what they heard, each report under a one-time key.

A mapper binds itself to its report of epoch e while e is running, when nobody knows yet what the
beacons of e carry, and shows the report in e+1. When e+1 closes, every reception is judged beside
the hotspots' own: tag, channel, strength (for a phone, whose antenna nobody knows), and whether the
hotspot heard has trust. chain/rules/mappings.py says what it is worth.
"""

from __future__ import annotations

from typing import Final

from chain.cells import cell_centre
from chain.draws import mapper_commit, u32
from chain.envelope import band_of, loss_bounds_cdb
from chain.geo import cell_resolution, distance_m
from chain.params import Params
from chain.records import (
    RECEPTION_BYTES,
    MapperCommit,
    MapperReport,
    Refusal,
    Registration,
    Signed,
)
from chain.rules.outcome import LATE, Accepted, Effects, Mapped, Verdict, Verify
from chain.rules.pairs import CELL_RADIUS_M, Pair
from chain.rules.treasury import get_account_refusal
from chain.rules.verdicts import (
    CODES,
    COUNTED,
    Case,
    Judgement,
    Rule,
    get_first_failing,
    is_duplicate,
    is_malformed,
    is_replayed,
    is_too_close,
    is_too_far,
    is_too_strong,
    is_too_weak,
    is_unknown_beaconer,
    is_unrevealed,
    is_wrong_frequency,
    is_wrong_tag,
)
from chain.state import MapperInbox, Mapping, State
from chain.wire import iter_receptions

MAPPER_RESOLUTION = 9
NOBODY = -1  # a mapper is no hotspot


def process_mapper_commit(
    state: State, signed: Signed, commit: MapperCommit, verify: Verify
) -> Verdict:
    """Keep a mapper's commit until its report comes."""
    place = (commit.epoch, commit.key)
    if commit.epoch != state.epoch:
        return Refusal("wrong_epoch", f"epoch: must be {state.epoch}, the current one")
    if place in state.mapper_commits:
        return Refusal("duplicate", "key: has a commit in this epoch; take another key")
    if state.mapper_commits_now >= state.params.mapper_commits_max:
        most = state.params.mapper_commits_max
        return Refusal("over_cap", f"epoch: has {most} commits, as many as fit; try the next epoch")
    if refusal := get_account_refusal(state, signed, commit.key, "mapper", verify):
        return refusal
    state.mapper_commits[place] = commit.commit
    state.mapper_commits_now += 1
    state.touch("mapper_commits", place)
    return Accepted()


def process_mapper_report(
    state: State, signed: Signed, report: MapperReport, verify: Verify, effects: Effects
) -> Verdict:
    """Take what a mapper heard: in time it will be judged, later it is for the map alone."""
    if refusal := get_report_refusal(state, signed, report, verify):
        return refusal
    place = (report.epoch, report.key)
    del state.mapper_commits[place]
    state.touch("mapper_commits", place)
    if report.epoch < state.epoch - 1:
        codes = bytes([CODES["late"]]) * (len(report.report) // RECEPTION_BYTES)
        effects.mapped.append(
            Mapped(report.epoch, signed.record_id, report.cell, report.report, codes)
        )
        return Accepted(reason=LATE, detail=f"epoch: {report.epoch} is judged; used for the map")
    state.mapper_inbox[place] = MapperInbox(signed.record_id, report.cell, report.report)
    state.touch("mapper_inbox", place)
    return Accepted()


def get_report_refusal(
    state: State, signed: Signed, report: MapperReport, verify: Verify
) -> Refusal | None:
    """Why a mapper's report can't be taken, if so."""
    first = max(0, state.epoch - state.params.late_epochs)
    if not first <= report.epoch < state.epoch:
        return Refusal("wrong_epoch", f"epoch: must be from {first} to {state.epoch - 1}")
    committed = state.mapper_commits.get((report.epoch, report.key))
    if committed is None:
        return Refusal(
            "no_commit", "key: has no commit of this epoch, or has reported; commit first"
        )
    expected = mapper_commit(report.key, report.epoch, report.salt, report.cell, report.report)
    if committed != expected:
        return Refusal("commit_mismatch", "report: isn't what the commit binds; send it unchanged")
    return get_account_refusal(state, signed, report.key, "mapper", verify)


def is_untrusted_beaconer(case: Case) -> bool:
    """Trust has not reached the hotspot heard."""
    return case.heard not in case.judgement.trusted


MAPPER_RULES: Final[tuple[Rule, ...]] = (
    ("unknown_beaconer", is_unknown_beaconer),
    ("no_reveal", is_unrevealed),
    ("too_close", is_too_close),
    ("too_far", is_too_far),
    ("malformed", is_malformed),
    ("replayed", is_replayed),
    ("wrong_tag", is_wrong_tag),
    ("wrong_frequency", is_wrong_frequency),
    ("duplicate", is_duplicate),
    ("rssi_too_high", is_too_strong),
    ("rssi_too_low", is_too_weak),
    ("untrusted_beaconer", is_untrusted_beaconer),
)


def compute_mapper_pair(params: Params, cell: int, beaconer: Registration) -> Pair:
    """The facts about somebody in a cell hearing a beaconer with an antenna that nobody knows."""
    apart = distance_m(*cell_centre(cell), beaconer.latitude_udeg, beaconer.longitude_udeg)
    blur = CELL_RADIUS_M[MAPPER_RESOLUTION] + CELL_RADIUS_M[cell_resolution(beaconer.cell)]
    nearest, farthest = max(1, apart - blur), apart + blur
    low, high = 1, 0  # without a band no strength is plausible
    if (band := band_of(beaconer.frequency_mhz)) is not None:
        least, most = loss_bounds_cdb(band, nearest, farthest)
        low = beaconer.eirp_cdbm - params.mapper_gain_down_cdb - most
        high = beaconer.eirp_cdbm + params.mapper_gain_up_cdb - least
    return Pair(apart, nearest, farthest, low, high, same_owner=False)


def compute_codes(judgement: Judgement, inbox: MapperInbox) -> tuple[bytes, list[int]]:
    """The verdict code of every reception of a report, and the hotspots it plausibly heard."""
    case, codes, heard = Case(), bytearray(), set()
    case.judgement, case.witness, case.last, case.drawn = judgement, NOBODY, (-1, -1), False
    pairs: dict[int, Pair] = {}
    for values in iter_receptions(inbox.report):
        case.heard, case.sequence, case.flags, case.rssi_cdbm, case.frequency_mhz, case.tag = values
        case.registered = judgement.assertions.get(case.heard)
        case.beaconer = judgement.beaconers.get(case.heard)
        if case.registered:
            if case.heard not in pairs:
                registration = case.registered.registration
                pairs[case.heard] = compute_mapper_pair(judgement.params, inbox.cell, registration)
            case.pair = pairs[case.heard]
        code = get_first_failing(MAPPER_RULES, case)
        if code == COUNTED:
            case.last = (case.heard, case.sequence)
            heard.add(case.heard)
        codes.append(code)
    return bytes(codes), sorted(heard)


def process_mapper_inbox(state: State, judgement: Judgement, effects: Effects) -> None:
    """Judge the mappers' reports of an epoch and keep what is plausible until the settlement."""
    for place, inbox in sorted(state.mapper_inbox.items()):
        if place[0] != judgement.epoch:
            continue  # its lots wait
        del state.mapper_inbox[place]
        state.touch("mapper_inbox", place)
        codes, heard = compute_codes(judgement, inbox)
        effects.mapped.append(
            Mapped(judgement.epoch, inbox.record_id, inbox.cell, inbox.report, codes)
        )
        state.add("stats", "mapper_reports", 1)
        state.add("stats", "mapper_receptions", codes.count(COUNTED))
        if heard:
            mapping = (inbox.cell, judgement.epoch, place[1])
            state.mappings[mapping] = Mapping(b"".join(map(u32, heard)))
            state.touch("mappings", mapping)


def process_old_commits(state: State) -> None:
    """Forget commits whose report could not even be late any more; the oldest come first."""
    state.mapper_commits_now = 0
    forget_before = state.epoch - state.params.late_epochs
    old = []
    for place in state.mapper_commits:
        if place[0] >= forget_before:
            break
        old.append(place)
    for place in old:
        del state.mapper_commits[place]
        state.touch("mapper_commits", place)
