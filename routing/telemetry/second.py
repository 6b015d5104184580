"""A second of a hotspot's link in full: what LinkSample gossips, and what only its sender knows.

    field                     unit       what it counts
    packets                   1          packets sent since the sample before
    drops                     1          packets dropped at the queue since the sample before
    nominal_kbps              kbit/s     the rate that the link was set up for; 0: not known
    snr_cdb                   0.01 dB    signal above noise at the receiver, as last reported
    neighbour_busy_permille   permille   largest busy share that a neighbour's radio reports
    flows                     1          flows with a packet since the sample before
    job_bytes                 bytes      bytes of admitted jobs that wait for this link
    ai_running, ai_waiting    1          AI requests at the far end: being answered, in its queue

A Telemetry is a LinkSample, so histories, costs and the router take it as it is; forecasts read the
rest. A plain LinkSample counts as zero in all of these.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter

from routing.types import LinkSample


@dataclass(frozen=True, slots=True)
class Telemetry(LinkSample):
    """A link sample with the sender's own counters; see the module's table."""

    packets: int = 0
    drops: int = 0
    nominal_kbps: int = 0
    snr_cdb: int = 0
    neighbour_busy_permille: int = 0
    flows: int = 0
    job_bytes: int = 0
    ai_running: int = 0
    ai_waiting: int = 0


BASE_FIELDS = (
    "load_kbps", "rate_kbps", "busy_permille", "queue_bytes", "loss_permille", "rtt_us",
)  # fmt: skip
_KEYS = tuple(field.name for field in fields(LinkSample))
EXTRA_FIELDS = tuple(field.name for field in fields(Telemetry) if field.name not in _KEYS)
FIELDS = BASE_FIELDS + EXTRA_FIELDS
_BASE_OF = attrgetter(*BASE_FIELDS)
_ALL_OF = attrgetter(*FIELDS)
_NOTHING = (0,) * len(EXTRA_FIELDS)


def numbers_of(sample: LinkSample) -> tuple[int, ...]:
    """Return a sample's measurements in the order of FIELDS."""
    numbers: tuple[int, ...] = (
        _ALL_OF(sample) if isinstance(sample, Telemetry) else (*_BASE_OF(sample), *_NOTHING)
    )
    return numbers
