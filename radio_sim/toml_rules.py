"""Rules for the tables of a TOML document: every mistake is one line with its field and remedy.

A kind of table is a dictionary from key to rule; `checked` turns a table into the arguments of its
record, and `body_of` writes a record back, leaving defaults out.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from chain.errors import UserError

POINTS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`; whole ones become integers."""

    low: float
    high: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A text, one of `choices` if there are any."""

    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts, each one of `choices` if there are any; `example` is for the remedy."""

    choices: tuple[str, ...] = ()
    example: str = '["relay", ...]'


@dataclass(frozen=True, slots=True)
class Numbers:
    """A list of exactly `count` numbers from `low` to `high`."""

    count: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Points:
    """A track: rows of (seconds, latitude, longitude), seconds ascending."""


Rule = Number | Text | Flag | Texts | Numbers | Points
Rules = Mapping[str, Rule]


def table_of(key: str, document: Mapping[str, Any], place: str = "") -> Mapping[str, Any]:
    """One table of a document, empty if it isn't there."""
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise UserError(place or key, "not a table", f"write it as [{place or key}]")
    return value


def rows_of(
    key: str, document: Mapping[str, Any], required: Sequence[str] = (), place: str = ""
) -> list[tuple[str, Mapping[str, Any]]]:
    """(place, table) of each row of an array of tables; `required` keys must be there."""
    title = place or key
    rows = document.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(title, "not a list of tables", f"write each as [[{title}]]")
    found = []
    for number, row in enumerate(rows, 1):
        name = row.get("name")
        where = f"{title} {name!r}" if isinstance(name, str) else f"{title} number {number}"
        for need in required:
            if need not in row:
                raise UserError(f"{where}.{need}", "missing", f"add {need} = ...")
        found.append((where, row))
    return found


def checked(place: str, rules: Rules, row: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one table, each by its rule. Raises UserError."""
    if not rules.keys() >= row.keys():
        refuse_unknown(place, row, tuple(rules))
    return {key: _value(f"{place}.{key}", value, rules[key]) for key, value in row.items()}


def refuse_unknown(place: str, row: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise for the first key that is none of those known, with the nearest that is."""
    for key in row:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UserError(f"{place}.{key}", "no such setting", hint)


def text_of(place: str, value: Any) -> str:
    """A text, or UserError."""
    if not isinstance(value, str):
        raise UserError(place, f"{value!r} is no text", 'put it in "quotes"')
    return value


def body_of(record: Any) -> str:
    """A record's fields as TOML lines, without those at their default."""
    lines = []
    for item in fields(record):
        value = getattr(record, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if value is not None and value != default:
            lines.append(f"{item.name} = {toml_of(value)}\n")
    return "".join(lines)


def toml_of(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_of(part) for part in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(place: str, value: Any, rule: Rule) -> Any:
    if isinstance(rule, Number):
        return _number(place, value, rule)
    if isinstance(rule, Text):
        return _choice(place, text_of(place, value), rule.choices)
    if isinstance(rule, Texts):
        return _texts(place, value, rule)
    if isinstance(rule, Numbers):
        return _numbers(place, value, rule)
    if isinstance(rule, Points):
        return _points(place, value)
    if not isinstance(value, bool):
        raise UserError(place, f"{value!r} is no truth value", "use true or false")
    return value


def _number(place: str, value: Any, rule: Number) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(place, f"{value!r} is no number", f"use {rule.low:g} to {rule.high:g}")
    if rule.whole and value != int(value):
        raise UserError(place, f"{value!r} is not whole", "use a whole number")
    if not rule.low <= value <= rule.high:
        raise UserError(place, f"{value:g} is out of range", f"use {rule.low:g} to {rule.high:g}")
    return int(value) if rule.whole else float(value)


def _choice(place: str, value: str, choices: tuple[str, ...]) -> str:
    if choices and value not in choices:
        raise UserError(place, f"{value!r} is not known", f"use one of {', '.join(choices)}")
    return value


def _texts(place: str, value: Any, rule: Texts) -> tuple[str, ...]:
    if not isinstance(value, list):
        key = place.rpartition(".")[2]
        raise UserError(place, f"{value!r} is no list", f"write {key} = {rule.example}")
    return tuple(_choice(place, text_of(place, text), rule.choices) for text in value)


def _numbers(place: str, value: Any, rule: Numbers) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != rule.count:
        raise UserError(place, "not a list of that length", f"give {rule.count} numbers")
    each = Number(rule.low, rule.high)
    return tuple(float(_number(place, number, each)) for number in value)


_POINT = (("seconds", Number(0, 1e9)), ("lat", Number(-85, 85)), ("lon", Number(-180, 180)))


def _points(place: str, value: Any) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise UserError(place, "no list of points", "write [[seconds, lat, lon], ...]")
    if len(value) > POINTS_MAX:
        raise UserError(place, f"{len(value)} points", f"keep a track to {POINTS_MAX}")
    track: list[tuple[float, ...]] = []
    for number, row in enumerate(value, 1):
        if len(row) != len(_POINT):
            raise UserError(place, f"point {number} has {len(row)} parts", "write 3 numbers")
        named = zip(row, _POINT, strict=True)
        point = tuple(
            float(_number(f"{place} point {number} {name}", part, rule))
            for part, (name, rule) in named
        )
        if track and point[0] <= track[-1][0]:
            raise UserError(place, f"point {number} is not later", "sort points by their seconds")
        track.append(point)
    return tuple(track)
