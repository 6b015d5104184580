"""A scenario: where hotspots stand, which links their owners published, what traffic there is.

As TOML:

    name = "harbour"
    [radio]                     # every key has a default
    environment = "umi"         # 38.901: umi, uma, rma or inh
    frequency_mhz = 2437
    [traffic]
    format = "synthetic"        # or azure, mooncake with `file`
    [[hotspot]]
    name = "pier-1"
    lat = 45.001
    lon = -30.002
    roles = ["access", "relay"]
    [[link]]                    # published backhaul; without any, links follow from the radio
    a = "pier-1"
    b = "mole-3"
    kind = "wireless"           # or wired, vpn
    quality = 0.9               # share of probes that arrive, if known

Every mistake is a `UserError` that names the field and the remedy; nothing is guessed.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from chain.errors import UserError

ENVIRONMENT_NAMES = ("umi", "uma", "rma", "inh")
LINK_KINDS = ("wireless", "wired", "vpn")
ROLES = ("access", "relay", "provider", "gateway")
TRAFFIC_FORMATS = ("synthetic", "azure", "mooncake")
MAX_SPAN_DEG = 5.0  # the local plane that positions are laid on bends beyond some 500 km
NAME_MAX = 64


@dataclass(frozen=True, slots=True)
class RadioSettings:
    """What all radios share."""

    environment: str = "umi"
    frequency_mhz: int = 2437
    noise_figure_db: float = 7.0
    max_range_m: float = 1500.0
    real_fields: bool = False


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """AI requests: a published trace (file, format) scaled in time, or synthetic arrivals."""

    format: str = "synthetic"
    file: str = ""
    requests_per_hour: float = 60.0
    speedup: float = 1.0


@dataclass(frozen=True, slots=True)
class HotspotSite:
    """One hotspot: WGS 84 degrees, antenna height above ground, full power and antenna gain."""

    name: str
    lat: float
    lon: float
    height_m: float = 8.0
    eirp_dbm: float = 20.0
    gain_dbi: float = 3.0
    frequency_mhz: int | None = None
    roles: tuple[str, ...] = ("access", "relay")


@dataclass(frozen=True, slots=True)
class PublishedLink:
    """A backhaul link between two hotspots by name; quality None: it follows from the radio."""

    a: str
    b: str
    kind: str = "wireless"
    quality: float | None = None
    rate_mbps: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A network to simulate; hotspots are numbered in the order given."""

    name: str
    hotspots: tuple[HotspotSite, ...]
    links: tuple[PublishedLink, ...] = ()
    radio: RadioSettings = field(default_factory=RadioSettings)
    traffic: TrafficSettings = field(default_factory=TrafficSettings)
    description: str = ""
    source: str = ""

    def index_of(self) -> dict[str, int]:
        """Number of each hotspot by name."""
        return {site.name: index for index, site in enumerate(self.hotspots)}


@dataclass(frozen=True, slots=True)
class _Number:
    low: float
    high: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class _Text:
    choices: tuple[str, ...] = ()


class _Flag:
    pass


class _Roles:
    pass


_Rule = _Number | _Text | _Flag | _Roles
_FREQUENCY = _Number(500, 7_200, whole=True)  # where 38.901 and Wi-Fi channels overlap
_RULES: dict[str, dict[str, _Rule]] = {
    "radio": {
        "environment": _Text(ENVIRONMENT_NAMES),
        "frequency_mhz": _FREQUENCY,
        "noise_figure_db": _Number(0, 20),
        "max_range_m": _Number(10, 20_000),
        "real_fields": _Flag(),
    },
    "traffic": {
        "format": _Text(TRAFFIC_FORMATS),
        "file": _Text(),
        "requests_per_hour": _Number(0, 1e6),
        "speedup": _Number(1e-3, 1e6),
    },
    "hotspot": {
        "name": _Text(),
        "lat": _Number(-85, 85),
        "lon": _Number(-180, 180),
        "height_m": _Number(0, 1_000),
        "eirp_dbm": _Number(-20, 40),
        "gain_dbi": _Number(-10, 35),
        "frequency_mhz": _FREQUENCY,
        "roles": _Roles(),
    },
    "link": {
        "a": _Text(),
        "b": _Text(),
        "kind": _Text(LINK_KINDS),
        "quality": _Number(0, 1),
        "rate_mbps": _Number(0.001, 400_000),
    },
}
_TOP = ("name", "description", "source", "radio", "traffic", "hotspot", "link")


def parse_scenario(text: str, origin: str = "scenario") -> Scenario:
    """Read a scenario from TOML. Raises UserError naming the field that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(origin, f"not valid TOML: {error}", "mend that line") from None
    return scenario_from(document, origin)


def scenario_from(document: Mapping[str, Any], origin: str = "scenario") -> Scenario:
    """Check a parsed document and make the scenario."""
    _refuse_unknown(origin, document, _TOP)
    texts = {key: _text(key, document.get(key, "")) for key in ("name", "description", "source")}
    radio = RadioSettings(**_checked("radio", "radio", _table("radio", document)))
    traffic = TrafficSettings(**_checked("traffic", "traffic", _table("traffic", document)))
    if traffic.format != "synthetic" and not traffic.file:
        raise UserError(
            "traffic.file", f"missing for format {traffic.format!r}", "name the trace file"
        )
    hotspots = tuple(
        _site(place, row) for place, row in _rows("hotspot", document, ("name", "lat", "lon"))
    )
    if not hotspots:
        raise UserError("hotspot", "there is none", "add at least one [[hotspot]]")
    _check_names(hotspots)
    _check_span(hotspots)
    links = tuple(
        PublishedLink(**_checked(place, "link", row))
        for place, row in _rows("link", document, ("a", "b"))
    )
    _check_links(links, {site.name for site in hotspots})
    texts["name"] = texts["name"] or origin
    return Scenario(hotspots=hotspots, links=links, radio=radio, traffic=traffic, **texts)


def format_scenario(scenario: Scenario) -> str:
    """Write a scenario as TOML that `parse_scenario` reads back equal. Defaults are left out."""
    blocks = ["".join(
        f"{key} = {_toml(getattr(scenario, key))}\n"
        for key in ("name", "description", "source")
        if getattr(scenario, key)
    )]
    for key, settings in (("radio", scenario.radio), ("traffic", scenario.traffic)):
        body = _body(settings)
        if body:
            blocks.append(f"[{key}]\n{body}")
    blocks += [f"[[hotspot]]\n{_body(site)}" for site in scenario.hotspots]
    blocks += [f"[[link]]\n{_body(link)}" for link in scenario.links]
    return "\n".join(blocks)


def _body(record: Any) -> str:
    lines = []
    for item in fields(record):
        value = getattr(record, item.name)
        if value is not None and value != item.default:
            lines.append(f"{item.name} = {_toml(value)}\n")
    return "".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(key: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise UserError(key, "not a table", f"write it as [{key}]")
    return value


def _rows(
    key: str, document: Mapping[str, Any], required: Sequence[str]
) -> list[tuple[str, Mapping[str, Any]]]:
    rows = document.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(key, "not a list of tables", f"write each as [[{key}]]")
    found = []
    for number, row in enumerate(rows, 1):
        name = row.get("name")
        place = f"{key} {name!r}" if isinstance(name, str) else f"{key} number {number}"
        for need in required:
            if need not in row:
                raise UserError(f"{place}.{need}", "missing", f"add {need} = ...")
        found.append((place, row))
    return found


def _site(place: str, row: Mapping[str, Any]) -> HotspotSite:
    return HotspotSite(**_checked(place, "hotspot", row))


def _checked(place: str, kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one table, each by its rule."""
    rules = _RULES[kind]
    if not rules.keys() >= row.keys():
        _refuse_unknown(place, row, tuple(rules))
    return {key: _value(place, key, value, rules[key]) for key, value in row.items()}


def _value(place: str, key: str, value: Any, rule: _Rule) -> Any:
    if isinstance(rule, _Number):
        return _number(f"{place}.{key}", value, rule)
    if isinstance(rule, _Text):
        return _choice(f"{place}.{key}", _text(f"{place}.{key}", value), rule.choices)
    if isinstance(rule, _Flag):
        if not isinstance(value, bool):
            raise UserError(f"{place}.{key}", f"{value!r} is no truth value", "use true or false")
        return value
    return _roles(f"{place}.{key}", value)


def _number(place: str, value: Any, rule: _Number) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(place, f"{value!r} is no number", f"use {rule.low:g} to {rule.high:g}")
    if rule.whole and value != int(value):
        raise UserError(place, f"{value!r} is not whole", "use a whole number")
    if not rule.low <= value <= rule.high:
        raise UserError(place, f"{value:g} is out of range", f"use {rule.low:g} to {rule.high:g}")
    return int(value) if rule.whole else float(value)


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(place, f"{value!r} is no text", 'put it in "quotes"')
    return value


def _choice(place: str, value: str, choices: tuple[str, ...]) -> str:
    if choices and value not in choices:
        raise UserError(place, f"{value!r} is not known", f"use one of {', '.join(choices)}")
    return value


def _roles(place: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UserError(place, f"{value!r} is no list", 'write roles = ["relay", ...]')
    return tuple(_choice(place, _text(place, role), ROLES) for role in value)


def _refuse_unknown(place: str, row: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in row:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UserError(f"{place}.{key}", "no such setting", hint)


def _check_names(hotspots: Sequence[HotspotSite]) -> None:
    seen: set[str] = set()
    for site in hotspots:
        if not site.name or len(site.name) > NAME_MAX or not site.name.isprintable():
            raise UserError(
                "hotspot.name", f"{site.name!r} is no name", f"use 1 to {NAME_MAX} characters"
            )
        if site.name in seen:
            raise UserError("hotspot.name", f"{site.name!r} stands twice", "rename one of them")
        seen.add(site.name)


def _check_span(hotspots: Sequence[HotspotSite]) -> None:
    for key in ("lat", "lon"):
        values = [getattr(site, key) for site in hotspots]
        if max(values) - min(values) > MAX_SPAN_DEG:
            raise UserError(
                f"hotspot.{key}",
                f"hotspots spread from {min(values):g} to {max(values):g} degrees",
                f"keep a scenario within {MAX_SPAN_DEG:g} degrees; importers take --bbox",
            )


def _check_links(links: Sequence[PublishedLink], names: set[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for number, link in enumerate(links, 1):
        for key, end in (("a", link.a), ("b", link.b)):
            if end not in names:
                raise UserError(
                    f"link number {number}.{key}", f"no hotspot {end!r}", "name one that exists"
                )
        pair = (min(link.a, link.b), max(link.a, link.b))
        if link.a == link.b:
            raise UserError(f"link number {number}", f"{link.a!r} to itself", "remove it")
        if pair in seen:
            raise UserError(
                f"link number {number}", f"{pair[0]!r} to {pair[1]!r} stands twice", "remove one"
            )
        seen.add(pair)
