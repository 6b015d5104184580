"""Every suite of vectors, in the order of docs/vectors.md, and the check of a whole directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chain.vectors.encoding import CBOR, SIGNING, WIRE
from chain.vectors.money import SHARING, TRUST, WORK
from chain.vectors.physics import BOUNDS, DRAWS, GEO
from chain.vectors.proofs import BALANCES, CLAIMS, LOG
from chain.vectors.scenarios import ADMISSION, COVERAGE, EPOCHS, TRAFFIC
from chain.vectors.scenarios_admission import FRAUD, ROLES, TREASURY
from chain.vectors.scenarios_cells import CELLS
from chain.vectors.scenarios_claims import RELAYS
from chain.vectors.scenarios_holds import HOLDS
from chain.vectors.scenarios_rotations import ROTATIONS
from chain.vectors.scenarios_rules import RULES
from chain.vectors.suite import Json, Suite, get_file_problem

FORMAT = 1
INDEX = "index"
SUITES: tuple[Suite, ...] = (
    *(CBOR, WIRE, SIGNING, DRAWS, GEO, BOUNDS, SHARING, WORK, TRUST, LOG, CLAIMS, BALANCES),
    *(ADMISSION, EPOCHS, COVERAGE, TRAFFIC, RELAYS, CELLS, ROLES, TREASURY, FRAUD, HOLDS, RULES),
    ROTATIONS,
)
Read = Callable[[str], Json]
Note = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check: the first difference in words, or none; and how much agreed."""

    problem: str
    files: int = 0
    cases: int = 0


def make_index(cases: dict[str, int]) -> Json:
    """The content of the index: how many cases each suite's file has."""
    return {"format": FORMAT, "suites": cases}


def check_files(read: Read, note: Note | None = None) -> Checked:
    """Run every case of every file; `read` gives the content of a file by its suite's name.

    A suite that the index lists must have its file; one that it doesn't list is not looked for.
    """
    index = read(INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        return Checked(f"{INDEX}: format: must be {FORMAT}")
    listed = index.get("suites")
    if not isinstance(listed, dict) or not listed:
        return Checked(f"{INDEX}: suites: must list the files")
    known = {suite.name: suite for suite in SUITES}
    cases = 0
    for number, (name, expected) in enumerate(listed.items()):
        if name not in known:
            return Checked(f"{INDEX}: suites: {name} is unknown here", number, cases)
        content = read(name)
        if problem := get_file_problem(known[name], content):
            return Checked(problem, number, cases)
        if len(content["cases"]) != expected:
            found = len(content["cases"])
            problem = f"{name}: has {found} cases, the index says {expected}"
            return Checked(problem, number, cases)
        cases += expected
        if note:
            note(number + 1, len(listed))
    return Checked("", len(listed), cases)
