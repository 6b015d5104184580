"""What may go wrong in a scenario: one record per kind of fault, as its TOML table says it.

    [[fault.power_cut]]         # who: `hotspots` by name, a `share` of them, or a circle; else all
    share = 0.2
    start_s = 600               # when: once at `start_s`, or `per_hour` times from then on
    duration_s = 120

Times count from the start of the run. A fault that comes `per_hour` times comes to each of its
hotspots at times of its own, except those of a region (noise, partition), which come to all of them
together; its lengths are drawn around `duration_s`. All draws belong to the run's seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from chain.errors import UserError
from radio_sim.toml_rules import (
    Number,
    Numbers,
    Points,
    Rules,
    Text,
    Texts,
    body_of,
    checked,
    refuse_unknown,
    rows_of,
    table_of,
)

LAYERS = ("air", "backhaul", "ledger")
BEHAVIOURS = ("fabricate", "spoof_location", "inflate_rssi")
DAY_S = 86_400.0
# Demand by the hour of the day, mean one: that of `radio_sim.telemetry.demand_of_hour`.
DAY_CURVE = (
    0.72, 0.51, 0.32, 0.19, 0.15, 0.19, 0.32, 0.51, 0.72, 0.95, 1.15, 1.31,
    1.42, 1.49, 1.53, 1.55, 1.55, 1.55, 1.53, 1.49, 1.43, 1.31, 1.15, 0.95,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Aim:
    """Which hotspots: those named, or the share of those in the circle (of all without one)."""

    hotspots: tuple[str, ...] = ()
    share: float = 1.0
    lat: float | None = None
    lon: float | None = None
    radius_m: float | None = None


@dataclass(frozen=True, slots=True)
class Timed(Aim):
    """When: once from `start_s` for `duration_s`, or `per_hour` times between start and end."""

    start_s: float = 0.0
    until_s: float = 31 * DAY_S
    per_hour: float = 0.0
    duration_s: float = 60.0


@dataclass(frozen=True, slots=True)
class PowerCut(Timed):
    """No power: nothing is sent or heard; what was stored durably is there afterwards."""


@dataclass(frozen=True, slots=True)
class Crash(Timed):
    """The daemon dies and comes back after `duration_s`; what it hadn't stored is lost."""

    duration_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Noise(Timed):
    """Rain, a welder, a microwave oven: receivers' noise floor rises by `rise_db`."""

    rise_db: float = 10.0
    frequency_mhz: int | None = None


@dataclass(frozen=True, slots=True)
class Partition(Timed):
    """Its hotspots and all others lose each other on these layers."""

    layers: tuple[str, ...] = LAYERS


@dataclass(frozen=True, slots=True)
class Clock(Timed):
    """Clocks run fast by `drift_ppm`, plus a drawn part of that deviation; they step `jump_ms`."""

    drift_ppm: float = 0.0
    spread_ppm: float = 0.0
    offset_ms: float = 0.0
    jump_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Liar(Aim):
    """Hotspots whose software lies (`radio_sim.faults.behaviours`)."""

    behaviour: str = "fabricate"
    inflate_db: float = 10.0
    distance_m: float = 2_000.0
    per_epoch: int = 4


@dataclass(frozen=True, slots=True)
class Walk(Aim):
    """Hotspots that move: along a track, or from one drawn place to the next around their site."""

    trace: str = ""
    points: tuple[tuple[float, ...], ...] = ()
    speed_mps: float = 1.4
    pause_s: float = 30.0
    range_m: float = 300.0
    step_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Traffic of people's devices: data frames on the air and datagrams over the backhaul."""

    frames_per_hour: float = 0.0
    frame_bytes: int = 400
    datagrams_per_hour: float = 0.0
    datagram_bytes: int = 1_200
    start_hour: float = 0.0
    curve: tuple[float, ...] = DAY_CURVE


@dataclass(frozen=True, slots=True)
class Faults:
    """All that may go wrong in a scenario."""

    power_cut: tuple[PowerCut, ...] = ()
    crash: tuple[Crash, ...] = ()
    noise: tuple[Noise, ...] = ()
    partition: tuple[Partition, ...] = ()
    clock: tuple[Clock, ...] = ()
    liar: tuple[Liar, ...] = ()
    walk: tuple[Walk, ...] = ()
    load: Load = Load()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self != Faults()


_SECONDS = Number(0, 31 * DAY_S)
_FREQUENCY = Number(500, 7_200, whole=True)
_AIM: Rules = {
    "hotspots": Texts(example='["pier-1", ...]'),
    "share": Number(0, 1),
    "lat": Number(-85, 85),
    "lon": Number(-180, 180),
    "radius_m": Number(0, 500_000),
}
_TIMED: Rules = {
    **_AIM,
    "start_s": _SECONDS,
    "until_s": _SECONDS,
    "per_hour": Number(0, 3_600),
    "duration_s": Number(0.001, 31 * DAY_S),
}
KINDS: dict[str, tuple[type[Aim], Rules]] = {
    "power_cut": (PowerCut, _TIMED),
    "crash": (Crash, _TIMED),
    "noise": (Noise, {**_TIMED, "rise_db": Number(0, 80), "frequency_mhz": _FREQUENCY}),
    "partition": (Partition, {**_TIMED, "layers": Texts(LAYERS, '["air", ...]')}),
    "clock": (
        Clock,
        {
            **_TIMED,
            "drift_ppm": Number(-10_000, 10_000),
            "spread_ppm": Number(0, 10_000),
            "offset_ms": Number(-86_400_000, 86_400_000),
            "jump_ms": Number(-86_400_000, 86_400_000),
        },
    ),
    "liar": (
        Liar,
        {
            **_AIM,
            "behaviour": Text(BEHAVIOURS),
            "inflate_db": Number(-60, 60),
            "distance_m": Number(1, 100_000),
            "per_epoch": Number(0, 255, whole=True),
        },
    ),
    "walk": (
        Walk,
        {
            **_AIM,
            "trace": Text(),
            "points": Points(),
            "speed_mps": Number(0.1, 60),
            "pause_s": Number(0, DAY_S),
            "range_m": Number(1, 20_000),
            "step_s": Number(0.1, 3_600),
        },
    ),
}
LOAD_RULES: Rules = {
    "frames_per_hour": Number(0, 360_000),
    "frame_bytes": Number(30, 2_304, whole=True),
    "datagrams_per_hour": Number(0, 360_000),
    "datagram_bytes": Number(1, 1_400, whole=True),
    "start_hour": Number(0, 24),
    "curve": Numbers(24, 0, 100),
}


def faults_from(table: Mapping[str, Any]) -> Faults:
    """Check the `fault` table of a document. Raises UserError naming the field that is wrong."""
    refuse_unknown("fault", table, (*KINDS, "load"))
    read: dict[str, Any] = {}
    for kind, (record, rules) in KINDS.items():
        rows = rows_of(kind, table, place=f"fault.{kind}")
        read[kind] = tuple(record(**checked(place, rules, row)) for place, row in rows)
    load = checked("fault.load", LOAD_RULES, table_of("load", table, "fault.load"))
    return Faults(**read, load=Load(**load))


def format_faults(faults: Faults) -> list[str]:
    """Blocks of TOML that `faults_from` reads back equal."""
    blocks = [
        f"[[fault.{kind}]]\n{body_of(record)}"
        for kind in KINDS
        for record in getattr(faults, kind)
    ]
    load = body_of(faults.load)
    return blocks + ([f"[fault.load]\n{load}"] if load else [])


def check_faults(faults: Faults, names: set[str]) -> None:
    """Refuse what no single key shows: unknown hotspots, half a circle, an end before the start."""
    for kind in KINDS:
        for number, record in enumerate(getattr(faults, kind), 1):
            place = f"fault.{kind} number {number}"
            _check_aim(place, record, names)
            if isinstance(record, Timed):
                _check_times(place, record)
    for number, walk in enumerate(faults.walk, 1):
        if walk.trace and walk.points:
            raise UserError(f"fault.walk number {number}.trace", "points are given too", "keep one")


def _check_aim(place: str, aim: Aim, names: set[str]) -> None:
    for name in aim.hotspots:
        if name not in names:
            raise UserError(f"{place}.hotspots", f"no hotspot {name!r}", "name those that exist")
    circle = (aim.lat, aim.lon, aim.radius_m)
    if any(part is not None for part in circle) and None in circle:
        missing = ("lat", "lon", "radius_m")[circle.index(None)]
        raise UserError(f"{place}.{missing}", "missing", "a circle has lat, lon and radius_m")


def _check_times(place: str, times: Timed) -> None:
    if times.until_s <= times.start_s:
        raise UserError(
            f"{place}.until_s", f"{times.until_s:g} is not after start_s", "let it end later"
        )


def names_of_keys(kind: str) -> Sequence[str]:
    """Keys of a table of faults, for the documentation's table."""
    return tuple(LOAD_RULES if kind == "load" else KINDS[kind][1])


def default_of(kind: str, key: str) -> Any:
    """Default of a key."""
    record = Load if kind == "load" else KINDS[kind][0]
    return next(field.default for field in fields(record) if field.name == key)
