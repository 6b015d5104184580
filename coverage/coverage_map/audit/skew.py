"""Clock skew: two keys whose clocks drift alike by parts in ten million run on one crystal.

Where a receiver's driver stamps frames with its own microsecond counter (radiotap's TSFT) and a
beacon carries its sender's clock, their difference is a line over time: its slope is the sender's
skew against the receiver, in ppm. Crystals of one lot differ by several ppm. Delays only ever add,
so the line is the one below all points with the least gap to them (Moon, Skelly and Towsley 1999,
"Estimation and removal of clock skew from network delay measurements"); that is an edge of the
points' lower hull.

This is evidence that a hotspot's owner brings, from its own captures: it isn't on the ledger.
Needs: TSFT, ten minutes and 20 beacons of each key at one receiver, and senders that let their
clock run free. A clock that NTP steers says nothing: abstain where beacons flag it as synchronised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.records import Refusal

Floats = NDArray[np.float64]

LEAST_STAMPS = 20
LEAST_SPAN_S = 600.0
CRYSTAL_SIGMA_PPM = 8.0  # of honest senders among each other: +-20 ppm parts
SAME_SIGMA_PPM = 0.05  # what temperature does to one crystal between two measurements


@dataclass(frozen=True, slots=True)
class Stamp:
    """One beacon at one receiver: the receiver's counter in us, the sender's clock in ns."""

    key: bytes
    tsft_us: int
    sent_ns: int
    synchronised: bool = False


@dataclass(frozen=True, slots=True)
class Skew:
    """A sender's clock against the receiver's counter, in ppm, and how well it is known."""

    key: bytes
    ppm: float
    error_ppm: float
    stamps: int


@dataclass(frozen=True, slots=True)
class Twins:
    """Two keys and the evidence, in nats, that one crystal drives both."""

    first: bytes
    second: bytes
    apart_ppm: float
    nats: float


def parse_stamps(lines: Iterable[Mapping[str, Any]]) -> list[Stamp] | Refusal:
    """Stamps from an evidence file's JSON lines: key (hex), tsft_us, sent_ns, synchronised."""
    stamps = []
    for number, line in enumerate(lines):
        try:
            key = bytes.fromhex(str(line["key"]))
            tsft_us, sent_ns = int(line["tsft_us"]), int(line["sent_ns"])
        except (KeyError, TypeError, ValueError):
            detail = f"line {number}: needs key, tsft_us and sent_ns; take it as captured"
            return Refusal("malformed", detail)
        stamps.append(Stamp(key, tsft_us, sent_ns, bool(line.get("synchronised", False))))
    return stamps


def compute_skews(stamps: Iterable[Stamp]) -> list[Skew]:
    """Skew per key with enough stamps of a free-running clock, ascending by key."""
    by_key: dict[bytes, list[Stamp]] = {}
    for stamp in stamps:
        if not stamp.synchronised:
            by_key.setdefault(stamp.key, []).append(stamp)
    found = (_compute_skew(key, by_key[key]) for key in sorted(by_key))
    return [skew for skew in found if skew is not None]


def _compute_skew(key: bytes, stamps: list[Stamp]) -> Skew | None:
    stamps = sorted(stamps, key=lambda stamp: stamp.tsft_us)
    start = stamps[0]
    # Differences in integers first: nanoseconds since 1970 don't fit into a float.
    time_s = np.array([1e-6 * (s.tsft_us - start.tsft_us) for s in stamps])
    sent_us = np.array([1e-3 * (s.sent_ns - start.sent_ns) for s in stamps])
    span_s = float(time_s[-1])
    if len(stamps) < LEAST_STAMPS or span_s < LEAST_SPAN_S:
        return None
    # A delayed beacon was stamped too late by the receiver: receiver less sender lies too high.
    gap_us = 1e6 * time_s - sent_us
    slope, height = fit_below(time_s, gap_us)
    spread_us = float(np.median(gap_us - (height + slope * time_s)))
    # The touching points lie within the spread over their number of the true line.
    error = 2.0 * (spread_us + 0.5) / math.sqrt(len(stamps)) / span_s
    return Skew(key, -slope, error, len(stamps))


def fit_below(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and height of the line below all points that is nearest to them in the mean.

    `x` ascends. It touches the lower hull along the edge above which the mean of x lies.
    """
    hull: list[int] = []
    for k in range(len(x)):
        while len(hull) > 1 and _turns_down(x, y, hull[-2], hull[-1], k):
            hull.pop()
        if hull and x[k] == x[hull[-1]]:
            if y[k] >= y[hull[-1]]:
                continue
            hull.pop()
        hull.append(k)
    middle = float(x.mean())
    right = next((i for i in range(1, len(hull)) if x[hull[i]] >= middle), len(hull) - 1)
    one, other = hull[max(0, right - 1)], hull[right]
    slope = 0.0 if x[one] == x[other] else float((y[other] - y[one]) / (x[other] - x[one]))
    return slope, float(y[one] - slope * x[one])


def _turns_down(x: Floats, y: Floats, a: int, b: int, c: int) -> bool:
    cross = (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])
    return bool(cross <= 0.0)


def compute_twins(skews: list[Skew]) -> list[Twins]:
    """Every pair of keys at one receiver, strongest evidence first.

    One crystal: differences of SAME_SIGMA_PPM and the errors; two: of two crystals.
    """
    found = []
    for i, one in enumerate(skews):
        for other in skews[i + 1 :]:
            apart = one.ppm - other.ppm
            error = one.error_ppm**2 + other.error_ppm**2
            same, two = error + 2 * SAME_SIGMA_PPM**2, error + 2 * CRYSTAL_SIGMA_PPM**2
            nats = 0.5 * (math.log(two / same) + apart**2 / two - apart**2 / same)
            pairs = max(1, len(skews) * (len(skews) - 1) // 2)
            found.append(Twins(one.key, other.key, apart, nats - math.log(pairs)))
    return sorted(found, key=lambda twins: (-twins.nats, twins.first, twins.second))
