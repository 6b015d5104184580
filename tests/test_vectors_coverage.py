"""The runs reach every place in the rules that refuses, and every record type is accepted once."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import chain.ledger
import chain.rules
from chain import wire
from chain.records import Genesis, Refusal, ValidatorFault
from chain.vectors.suite import make_suite
from chain.vectors.suites import SUITES

Site = tuple[str, str, str]  # file, function, reason
# Lines that refused, by file; answers by record type, reason and acceptance.
Played = tuple[set[tuple[str, int]], Counter[tuple[int, str, bool]]]

# Places that no run of a few hundred kilobytes can reach, each with the reason why.
UNREACHABLE: dict[Site, str] = {
    ("admission.py", "process_admission", "unknown_type"): "hands over what blocks.py chose",
    ("blocks.py", "process_record", "unknown_type"): "every type of the layout has its rule",
    ("blocks.py", "get_state_of_genesis_block", "bad_shape"): "block 0 has no answers",
    ("appointments.py", "get_fields_refusal", "over_cap"): "takes 253 operators, one after another",
    ("mappers.py", "process_mapper_commit", "over_cap"): "takes 4,096 commits",
}

RUNS = [suite for suite in SUITES if "run" in suite.functions]


def modules() -> list[Any]:
    names = [module.name for module in pkgutil.iter_modules(chain.rules.__path__, "chain.rules.")]
    return [*(importlib.import_module(name) for name in names), chain.ledger]


def get_sites() -> dict[tuple[str, int], Site]:
    """Every `Refusal(...)` in the rules, by file and line."""
    sites: dict[tuple[str, int], Site] = {}
    for module in modules():
        path = Path(module.__file__)
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Refusal":
                    continue
                if isinstance(call.args[0], ast.Constant):  # others pass on a refusal
                    site = (path.name, function.name, str(call.args[0].value))
                    sites[path.name, call.lineno] = site
    return sites


class Anything(type):
    """Whatever a rule of another module refused with is a refusal too."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Refusal)


@pytest.fixture(scope="module")
def played() -> Played:
    """Lines that refused while all runs were played, and the answers by record type."""
    reached: set[tuple[str, int]] = set()
    answers: Counter[tuple[int, str, bool]] = Counter()

    class Spy(Refusal, metaclass=Anything):
        __slots__ = ()

        def __init__(self, reason: str, detail: str) -> None:
            super().__init__(reason, detail)
            frame = sys._getframe(1)
            reached.add((Path(frame.f_code.co_filename).name, frame.f_lineno))

    with pytest.MonkeyPatch.context() as patch:
        for module in modules():
            if hasattr(module, "Refusal"):
                patch.setattr(module, "Refusal", Spy)
        for suite in RUNS:
            for case in make_suite(suite)["cases"]:
                count_answers(case, answers)
    return reached, answers


def count_answers(case: Any, answers: Counter[tuple[int, str, bool]]) -> None:
    steps = zip(case["input"]["steps"], case["output"]["steps"], strict=True)
    for step, said in steps:
        for raw, result in zip(step["wires"], said["results"], strict=True):
            signed = wire.decode(bytes.fromhex(raw))
            kind = 0 if isinstance(signed, Refusal) else signed.record.TYPE
            answers[kind, result["reason"], result["accepted"]] += 1


def test_every_place_that_refuses_is_reached(played: Played) -> None:
    reached, _ = played
    sites = get_sites()
    assert len(sites) > 60
    missed = {site for line, site in sites.items() if line not in reached}
    assert missed - UNREACHABLE.keys() == set()
    assert UNREACHABLE.keys() - missed == set(), "reached after all: take it off the list"


def test_every_record_type_is_accepted_and_refused(played: Played) -> None:
    _, answers = played
    kinds = {kind: {a for k, _, a in answers if k == kind} for kind in wire.LAYOUT}
    never_accepted = {kind for kind, seen in kinds.items() if True not in seen}
    assert never_accepted == {Genesis.TYPE, ValidatorFault.TYPE}
    assert all(False in seen for seen in kinds.values())
    again = {kind for kind, reason, _ in answers if reason == "already"}
    assert again == kinds.keys() - never_accepted


@pytest.mark.parametrize("preset", ["minimal", "mainnet"])
def test_both_presets_are_played(preset: str) -> None:
    names = [name for suite in RUNS for name, _, _ in suite.generate()]
    assert sum(name.startswith(f"{preset}/") for name in names) > 20
