"""Metrics for Prometheus, in its text exposition format 0.0.4.

Nearly all of them are read from the live state when somebody asks, so a client library would only
do the formatting; these lines do it, and the tests hold them against the library's own parser.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chain.records import SubmitResult
from chain.service.io_verify import Tally
from chain.wire import LAYOUT

Labels = Mapping[str, str]
# From what a cached page costs to what a stalled disk does.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
CBOR_ARRAY_OF_4 = 0x84


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples are (suffix of the name, labels, value)."""

    name: str
    kind: str
    text: str
    samples: Sequence[tuple[str, Labels, float]]


def gauge(name: str, text: str, value: float) -> Family:
    """A family of one gauge without labels."""
    return Family(name, "gauge", text, [("", {}, value)])


def by_label(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Family:
    """A family with one label, sorted by it."""
    return Family(name, kind, text, [("", {label: key}, values[key]) for key in sorted(values)])


def render(families: Iterable[Family]) -> str:
    """The exposition's text."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escape(family.text)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            inside = ",".join(f'{key}="{_quote(text)}"' for key, text in labels.items())
            shown = f"{{{inside}}}" if inside else ""
            lines.append(f"{family.name}{suffix}{shown} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(text: str) -> str:
    return _escape(text).replace('"', '\\"')


def _number(value: float) -> str:
    """Integers whole: a supply of 10^15 must not lose its last digits."""
    return str(value) if isinstance(value, int) else repr(float(value))


@dataclass(slots=True)
class Histogram:
    """Durations in seconds, counted by bucket."""

    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def family(self, name: str, text: str) -> Family:
        """As cumulative buckets, the way Prometheus wants them."""
        samples: list[tuple[str, Labels, float]] = []
        below = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            below += count
            samples.append(("_bucket", {"le": "+Inf" if bound is None else repr(bound)}, below))
        samples += [("_sum", {}, self.total_s), ("_count", {}, below)]
        return Family(name, "histogram", text, samples)


@dataclass(slots=True)
class Metrics:
    """What happened since this process began; what stands is read from the state when asked.

    `signatures` is the tally of the pool that verifies for this process.
    """

    started_s: float = field(default_factory=time.time)
    records: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused_at_door: Counter[str] = field(default_factory=Counter)
    promises: Counter[str] = field(default_factory=Counter)
    commit: Histogram = field(default_factory=Histogram)
    checkpoint: Histogram = field(default_factory=Histogram)
    signatures: Tally = field(default_factory=Tally)

    def count_results(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        """Count answers by type of record and reason."""
        for raw, result in zip(wires, results, strict=True):
            self.records[type_name(raw), result.reason] += 1

    def families(self) -> list[Family]:
        """All that this object counted."""
        records: list[tuple[str, Labels, float]] = [
            ("", {"type": kind, "result": reason}, count)
            for (kind, reason), count in sorted(self.records.items())
        ]
        tally = self.signatures
        return [
            gauge("wavecomb_start_time_seconds", "When this process began.", self.started_s),
            Family("wavecomb_records_total", "counter", "Records answered.", records),
            by_label(
                *("wavecomb_refused_at_door_total", "counter"),
                *("Records refused before anything was checked.", "cause"),
                self.refused_at_door,
            ),
            by_label(
                *("wavecomb_promises_total", "counter", "Intake promises by what became of them."),
                "state",
                self.promises,
            ),
            Family(
                *("wavecomb_signatures_checked_total", "counter", "Signatures checked."),
                [
                    ("", {"result": "good"}, tally.checked - tally.failed),
                    ("", {"result": "bad"}, tally.failed),
                ],
            ),
            Family(
                *("wavecomb_verification_seconds_total", "counter", "CPU time for signatures."),
                [("", {}, tally.cpu_ns / 1e9)],
            ),
            self.commit.family("wavecomb_commit_seconds", "Time to process and save a batch."),
            self.checkpoint.family(
                "wavecomb_checkpoint_seconds", "Time to sign a checkpoint and gather cosignatures."
            ),
        ]


def type_name(raw: bytes) -> str:
    """The name of a wire's type from its first bytes, without decoding it."""
    if len(raw) > 1 and raw[0] == CBOR_ARRAY_OF_4 and raw[1] in LAYOUT:
        return str(LAYOUT[raw[1]][0].NAME)
    return "unknown"


def get_file_bytes(path: str) -> int:
    """Size of a database with its write-ahead log; 0 where there is no file."""
    return sum(
        os.stat(name).st_size for name in (path, path + "-wal") if name and os.path.exists(name)
    )
