"""What a file of vectors is: cases, each the name of a function, its input and its output.

Input and output are JSON values: integers (64 bits and more: never read them as floats), text,
true and false, null, arrays, objects; bytes are lower-case hexadecimal text. A case is checked by
handing its input to the function of its name and comparing what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

Json = Any
Compute = Callable[[dict[str, Any]], Json]
# What a suite's generator yields: the name of a case, its function, its input.
Cases = Iterator[tuple[str, str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Suite:
    """One file: what it is about, its functions by name, and how its cases are made."""

    name: str
    about: str
    functions: Mapping[str, Compute]
    generate: Callable[[], Cases]


class Draws:
    """Numbers that look random and never change: a counter hash of a name."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._count = 0

    def octets(self, length: int) -> bytes:
        """So many bytes."""
        out = b""
        while len(out) < length:
            out += sha256(self._name + b"/" + self._count.to_bytes(8, "big")).digest()
            self._count += 1
        return out[:length]

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int.from_bytes(self.octets(16), "big") % (high - low + 1)


def make_suite(suite: Suite) -> dict[str, Json]:
    """The content of a suite's file."""
    cases = [
        {
            "name": name,
            "function": function,
            "input": values,
            "output": suite.functions[function](values),
        }
        for name, function, values in suite.generate()
    ]
    names = [case["name"] for case in cases]
    if len(set(names)) != len(names):
        raise ValueError(f"suite {suite.name} has two cases of one name")
    return {"suite": suite.name, "about": suite.about, "cases": cases}


def get_file_problem(suite: Suite, content: Json) -> str:
    """The first thing in a suite's file that this implementation sees otherwise; empty if none."""
    cases = content.get("cases") if isinstance(content, dict) else None
    if not isinstance(cases, list) or not cases or content.get("suite") != suite.name:
        return f"{suite.name}: is no file of this suite, or has no cases"
    for number, case in enumerate(cases):
        if problem := get_case_problem(suite, case):
            name = case.get("name") if isinstance(case, dict) else None
            return f"{suite.name}: case {number if name is None else name}: {problem}"
    return ""


def get_case_problem(suite: Suite, case: Json) -> str:
    """What is wrong with one case, in words; empty if nothing is."""
    if not isinstance(case, dict) or not {"function", "input", "output"} <= case.keys():
        return "must be an object with name, function, input and output"
    function = suite.functions.get(str(case["function"]))
    if function is None:
        return f"function {case['function']} is not one of {', '.join(sorted(suite.functions))}"
    try:
        output = function(case["input"])
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError) as error:
        return f"input can't be used: {type(error).__name__}: {error}"
    return get_difference(case["output"], output, "output")


def get_difference(there: Json, here: Json, where: str) -> str:
    """The first place where two JSON values differ, and how; empty if they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            if (name in there) != (name in here):
                side = "is missing" if name in here else "should not exist"
                return f"{where}.{name}: {side}"
            if problem := get_difference(there[name], here[name], f"{where}.{name}"):
                return problem
        return ""
    if isinstance(there, list) and isinstance(here, list):
        for number, (left, right) in enumerate(zip(there, here, strict=False)):
            if problem := get_difference(left, right, f"{where}[{number}]"):
                return problem
        same = len(there) == len(here)
        return "" if same else f"{where}: {len(there)} items, this implementation gives {len(here)}"
    if type(there) is type(here) and there == here:
        return ""
    return f"{where}: is {_short(there)}, this implementation gives {_short(here)}"


def _short(value: Json) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
