"""Why a reception or a beacon was paid or not: every rule with its inputs, margin and outcome.

The same predicates that decided are run again; this file only adds the numbers they looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from chain.explain_words import get_power_words, get_words
from chain.rules.regions import get_region
from chain.rules.verdicts import (
    COUNTED,
    HELD,
    LINK_RULES,
    NO_RSSI,
    PAIR_RULES,
    PLAUSIBLE,
    REASONS,
    REPLAY_EPOCHS,
    REPORT_REASONS,
    SIGNAL_RULES,
    Case,
    Judgement,
    get_beacon_verdicts,
    get_report_reason,
    iter_cases,
)

Inputs = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule applied to one reception; `margin`: by how much it passed (negative: failed)."""

    rule: str
    passed: bool
    inputs: Inputs
    margin: int | None
    words: str = field(init=False)

    def __post_init__(self) -> None:
        words = get_words(self.rule, self.passed, self.inputs, self.margin)
        object.__setattr__(self, "words", words)


def _owners(case: Case) -> Inputs:
    registered = case.registered
    return {} if registered is None else {"owner": registered.registration.owner.hex()}


def _regions(case: Case) -> Inputs:
    registered, own = case.registered, case.judgement.assertions.get(case.witness)
    ends = {"witness_region": own, "beaconer_region": registered}
    return {
        name: get_region(end.registration) for name, end in ends.items() if end is not None
    }


def _tag(case: Case) -> Inputs:
    tags = case.beaconer.tags if case.beaconer else ()
    expected = tags[case.sequence].hex() if case.sequence < len(tags) else "none"
    return {"heard_tag": case.tag.hex(), "expected_tag": expected}


def _frequency(case: Case) -> Inputs:
    registered = case.registered.registration.frequency_mhz if case.registered else 0
    return {"heard_mhz": case.frequency_mhz, "registered_mhz": registered}


def _signal(case: Case) -> Inputs:
    if case.flags & NO_RSSI:
        return {"skipped": "the driver gave no RSSI"}
    return {
        "rssi_cdbm": case.rssi_cdbm,
        "full_power_rssi_cdbm": case.full_power_rssi_cdbm(),
        "lowest_cdbm": case.pair.rssi_low_cdbm,
        "highest_cdbm": case.pair.rssi_high_cdbm,
    }


def _distance(case: Case) -> Inputs:
    params = case.judgement.params
    return {
        "distance_m": case.pair.distance_m,
        "at_least_m": params.min_distance_m,
        "at_most_m": params.max_distance_m,
    }


def _link(case: Case) -> Inputs:
    return {"witness": case.witness, "beaconer": case.heard}


INPUTS: dict[str, Callable[[Case], Inputs]] = {
    "unknown_beaconer": lambda case: {"beaconer": case.heard, "epoch": case.judgement.epoch},
    "self": _link,
    "no_reveal": lambda case: {"beaconer": case.heard, "epoch": case.judgement.epoch},
    "too_close": _distance,
    "too_far": _distance,
    "same_owner": _owners,
    "foreign_region": _regions,
    "malformed": lambda case: {
        "flags": case.flags,
        "rssi_cdbm": case.rssi_cdbm,
        "sequence": case.sequence,
        "beacons_per_epoch": case.judgement.beacons,
    },
    "replayed": lambda case: {"heard_tag": case.tag.hex(), "epochs_searched": REPLAY_EPOCHS},
    "wrong_tag": _tag,
    "wrong_frequency": _frequency,
    "duplicate": lambda case: {"beaconer": case.heard, "sequence": case.sequence},
    "rssi_too_high": _signal,
    "rssi_too_low": _signal,
    "not_mutual": lambda case: {**_link(case), "epochs": case.judgement.params.mutual_epochs},
    "untrusted_witness": lambda case: {"witness": case.witness},
    "power_blind": lambda case: {
        "witness": case.witness,
        "slope_at_least_permille": 10 * case.judgement.params.slope_cut_percent,
    },
    "held_witness": lambda case: {"witness": case.witness},
    "not_drawn": lambda case: {
        "drawn_at_most": case.judgement.params.witnesses_drawn,
        "drawn_by": case.judgement.lots.by,
    },
}
MARGINS: dict[str, Callable[[Case], int | None]] = {
    "too_close": lambda case: case.pair.distance_m - case.judgement.params.min_distance_m,
    "too_far": lambda case: case.judgement.params.max_distance_m - case.pair.distance_m,
    "rssi_too_high": lambda case: _rssi_margin(case, 1),
    "rssi_too_low": lambda case: _rssi_margin(case, -1),
}


def _rssi_margin(case: Case, side: int) -> int | None:
    if case.flags & NO_RSSI:
        return None
    bound = case.pair.rssi_high_cdbm if side > 0 else case.pair.rssi_low_cdbm
    return side * (bound - case.full_power_rssi_cdbm())


def explain_case(case: Case, code: int) -> list[Finding]:
    """The rules that a reception went through, the last of them the one that decided."""
    decided = REASONS[code]
    reason = get_report_reason(case.judgement, case.witness)
    findings = [Finding("report", not reason, {"reason": reason or "ok"}, None)]
    if decided in REPORT_REASONS:
        return findings
    for name, fails in (*PAIR_RULES, *SIGNAL_RULES, *LINK_RULES):
        margin = MARGINS[name](case) if name in MARGINS else None
        findings.append(Finding(name, not fails(case), INPUTS[name](case), margin))
        if name == decided:
            break
    return findings


def explain_receptions(
    judgement: Judgement, wanted: Callable[[Case], bool]
) -> Iterator[dict[str, Any]]:
    """The receptions of an epoch that are wanted, each with its verdict and the rules in order."""
    for witness, codes in judgement.codes.items():
        for number, case in enumerate(iter_cases(judgement, witness)):
            code = codes[number]
            case.drawn = code in (COUNTED, HELD)
            if wanted(case):
                yield {
                    "epoch": judgement.epoch,
                    "witness": witness,
                    "beaconer": case.heard,
                    "sequence": case.sequence,
                    "verdict": REASONS[code],
                    "rules": [asdict(finding) for finding in explain_case(case, code)],
                }
            if REASONS[code] in PLAUSIBLE:
                case.last = (case.heard, case.sequence)


def explain_power(judgement: Judgement, beaconer: int) -> dict[str, Any]:
    """Whether a beaconer counts weaker than it was heard, and why (chain/rules/loudness.py)."""
    cut = (judgement.cuts or {}).get(beaconer, 0)
    return {"cut_cdb": cut, "words": get_power_words(cut, judgement.params.loud_least_cdb)}


def explain_beacon(judgement: Judgement, beaconer: int, sequence: int) -> dict[str, Any]:
    """A beacon's verdict, and every reception of it with its rules."""
    heard = explain_receptions(
        judgement, lambda case: case.heard == beaconer and case.sequence == sequence
    )
    verdict = next(
        (
            v
            for v in get_beacon_verdicts(judgement)
            if (v.beaconer, v.sequence) == (beaconer, sequence)
        ),
        None,
    )
    return {
        "kind": "beacon",
        "id": f"{beaconer}:{judgement.epoch}:{sequence}",
        "verdict": verdict.verdict if verdict else "unrevealed",
        "counts": dict(verdict.counts) if verdict else {},
        "power": explain_power(judgement, beaconer),
        "lots": {**judgement.lots._asdict(), "words": judgement.lots.words},
        "receptions": list(heard),
    }
