"""What a hotspot says of itself, as one JSON document; every value that can grow old has its age.

The status file, the page, `/json`, `/metrics`, `wavecomb hotspot status` and `top` all show this.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hotspot.clock import Timekeeper
from hotspot.health import Health, Standing
from hotspot.node import HotspotNode
from hotspot.readings import Readings

if TYPE_CHECKING:
    from hotspot.io_knock import GatewayKnown
    from hotspot.io_queue import QueueCounts
    from hotspot.io_uplink import OwnerKnown

SECOND = 1_000_000_000
MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a status is made of; `last_frame_ns` and the ledger's time are of the boot clock."""

    wall_ns: int
    boot_ns: int
    boot_id: str
    started_ns: int
    pid: int
    node: HotspotNode
    index: int  # on the ledger, also while the node is silent; -1: not registered
    owner: bytes
    radio: str
    radio_counts: dict[str, int]
    radio_dropped: int
    last_frame_ns: int | None
    health: Health
    clock: Timekeeper
    backlog: int
    backlog_dropped: int
    queue: QueueCounts
    readings: Readings
    ledger: tuple[OwnerKnown, int] | None
    ledger_url: str
    gateway: tuple[GatewayKnown, int] | None = None


def status_json(seen: Snapshot) -> dict[str, Any]:
    """The status; ages are in seconds, times in milliseconds of the wall clock."""
    node = seen.node
    return {
        "at_ms": seen.wall_ns // MS,
        "started_ms": seen.started_ns // MS,
        "pid": seen.pid,
        "key": node.key.hex(),
        "owner": seen.owner.hex(),
        "index": seen.index,
        "epoch": node.epoch,
        "state": _state(seen.health.standing, seen.boot_ns),
        "faults": _faults(seen),
        "clock": _clock(seen),
        "radio": seen.radio,
        "radio_counts": {**dict(sorted(seen.radio_counts.items())), "dropped": seen.radio_dropped},
        "last_frame_age_s": _age(seen.last_frame_ns, seen.boot_ns),
        "next": _upcoming(seen),
        "counts": dict(sorted(node.counts.items())),
        "queue": asdict(seen.queue),
        "heard": {str(row.index): asdict(row) for row in seen.readings.rows(seen.boot_ns)},
        "ledger": _ledger(seen),
        "gateway": _gateway(seen),
    }


def failure_json(wall_ns: int, standing: Standing, problem: str, pid: int) -> dict[str, Any]:
    """The status of a daemon that could not start: how far it came, and what stopped it."""
    return {
        "at_ms": wall_ns // MS,
        "pid": pid,
        "index": -1,
        "epoch": -1,
        "radio": "not open",
        "state": {"name": standing.state.value, "reason": problem, "age_s": 0},
        "faults": {},
        "counts": {},
        "queue": {},
        "heard": {},
        "stopped": problem,
    }


def _age(then_ns: int | None, now_ns: int) -> int | None:
    return None if then_ns is None else max(0, now_ns - then_ns) // SECOND


def _state(standing: Standing, now_ns: int) -> dict[str, Any]:
    age_s = _age(standing.since_ns, now_ns)
    return {"name": standing.state.value, "reason": standing.reason, "age_s": age_s}


def _faults(seen: Snapshot) -> dict[str, Any]:
    return {
        trouble.fault.value: {
            "detail": trouble.detail,
            "since_ms": (seen.wall_ns - (seen.boot_ns - trouble.since_ns)) // MS,
            "age_s": _age(trouble.since_ns, seen.boot_ns),
            "remedy": trouble.remedy,
        }
        for trouble in seen.health.troubles()
    }


def _clock(seen: Snapshot) -> dict[str, Any]:
    doubt = seen.clock.doubt()
    return {
        "synchronised": seen.clock.moment.is_synchronised,
        "believed": not doubt,
        "doubt": doubt,
        "boot_id": seen.boot_id,
        "boot_s": seen.boot_ns // SECOND,
        "waiting_frames": seen.backlog,
        "dropped_frames": seen.backlog_dropped,
    }


def _upcoming(seen: Snapshot) -> dict[str, int | None]:
    beacon_ns, message_ns = seen.node.upcoming
    times = {"beacon_in_s": beacon_ns, "report_in_s": message_ns}
    return {
        name: None if due_ns is None else max(0, due_ns - seen.wall_ns) // SECOND
        for name, due_ns in times.items()
    }


def _ledger(seen: Snapshot) -> dict[str, Any]:
    if seen.ledger is None:
        return {"url": seen.ledger_url, "age_s": None}
    known, at_ns = seen.ledger
    return {"url": seen.ledger_url, "age_s": _age(at_ns, seen.boot_ns), **asdict(known)}


def _gateway(seen: Snapshot) -> dict[str, Any] | None:
    """None while no gateway is named in the settings or none was asked yet."""
    if seen.gateway is None:
        return None
    known, at_ns = seen.gateway
    insights = None if known.insights is None else list(known.insights)
    return {"answers": known.answers, "insights": insights, "age_s": _age(at_ns, seen.boot_ns)}
