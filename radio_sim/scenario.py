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
Faults are tables [[fault.power_cut]] and others (`radio_sim.faults.specs`, docs/simulator.md).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chain.errors import UserError
from radio_sim.faults.specs import Faults, check_faults, faults_from, format_faults
from radio_sim.toml_rules import (
    Flag,
    Number,
    Rules,
    Text,
    Texts,
    body_of,
    checked,
    refuse_unknown,
    rows_of,
    table_of,
    text_of,
    toml_of,
)

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
    faults: Faults = field(default_factory=Faults)

    def index_of(self) -> dict[str, int]:
        """Number of each hotspot by name."""
        return {site.name: index for index, site in enumerate(self.hotspots)}


_FREQUENCY = Number(500, 7_200, whole=True)  # where 38.901 and Wi-Fi channels overlap
RULES: dict[str, Rules] = {
    "radio": {
        "environment": Text(ENVIRONMENT_NAMES),
        "frequency_mhz": _FREQUENCY,
        "noise_figure_db": Number(0, 20),
        "max_range_m": Number(10, 20_000),
        "real_fields": Flag(),
    },
    "traffic": {
        "format": Text(TRAFFIC_FORMATS),
        "file": Text(),
        "requests_per_hour": Number(0, 1e6),
        "speedup": Number(1e-3, 1e6),
    },
    "hotspot": {
        "name": Text(),
        "lat": Number(-85, 85),
        "lon": Number(-180, 180),
        "height_m": Number(0, 1_000),
        "eirp_dbm": Number(-20, 40),
        "gain_dbi": Number(-10, 35),
        "frequency_mhz": _FREQUENCY,
        "roles": Texts(ROLES),
    },
    "link": {
        "a": Text(),
        "b": Text(),
        "kind": Text(LINK_KINDS),
        "quality": Number(0, 1),
        "rate_mbps": Number(0.001, 400_000),
    },
}
_TOP = ("name", "description", "source", "radio", "traffic", "hotspot", "link", "fault")


def parse_scenario(text: str, origin: str = "scenario") -> Scenario:
    """Read a scenario from TOML. Raises UserError naming the field that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(origin, f"not valid TOML: {error}", "mend that line") from None
    return scenario_from(document, origin)


def scenario_from(document: Mapping[str, Any], origin: str = "scenario") -> Scenario:
    """Check a parsed document and make the scenario."""
    refuse_unknown(origin, document, _TOP)
    texts = {key: text_of(key, document.get(key, "")) for key in ("name", "description", "source")}
    radio = RadioSettings(**checked("radio", RULES["radio"], table_of("radio", document)))
    traffic = TrafficSettings(**checked("traffic", RULES["traffic"], table_of("traffic", document)))
    if traffic.format != "synthetic" and not traffic.file:
        raise UserError(
            "traffic.file", f"missing for format {traffic.format!r}", "name the trace file"
        )
    hotspots = tuple(
        _site(place, row) for place, row in rows_of("hotspot", document, ("name", "lat", "lon"))
    )
    if not hotspots:
        raise UserError("hotspot", "there is none", "add at least one [[hotspot]]")
    _check_names(hotspots)
    _check_span(hotspots)
    links = tuple(
        PublishedLink(**checked(place, RULES["link"], row))
        for place, row in rows_of("link", document, ("a", "b"))
    )
    _check_links(links, {site.name for site in hotspots})
    faults = faults_from(table_of("fault", document))
    check_faults(faults, {site.name for site in hotspots})
    texts["name"] = texts["name"] or origin
    return Scenario(
        hotspots=hotspots, links=links, radio=radio, traffic=traffic, faults=faults, **texts
    )


def format_scenario(scenario: Scenario) -> str:
    """Write a scenario as TOML that `parse_scenario` reads back equal. Defaults are left out."""
    blocks = ["".join(
        f"{key} = {toml_of(getattr(scenario, key))}\n"
        for key in ("name", "description", "source")
        if getattr(scenario, key)
    )]
    for key, settings in (("radio", scenario.radio), ("traffic", scenario.traffic)):
        body = body_of(settings)
        if body:
            blocks.append(f"[{key}]\n{body}")
    blocks += [f"[[hotspot]]\n{body_of(site)}" for site in scenario.hotspots]
    blocks += [f"[[link]]\n{body_of(link)}" for link in scenario.links]
    return "\n".join(blocks + format_faults(scenario.faults))


def _site(place: str, row: Mapping[str, Any]) -> HotspotSite:
    return HotspotSite(**checked(place, RULES["hotspot"], row))


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
