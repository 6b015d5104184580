"""What a run's report shows, gathered while it runs, in bins: memory doesn't grow with its length.

Distances are binned by 50 m, SINR by 1 dB, time by buckets that double in width whenever there are
too many. The delivery ratio at a distance is over all pairs of hotspots that far apart whose
receiver had power and listened there, those out of reach included: a ratio over links alone would
flatter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.ledger import Sealed
from chain.rules.verdicts import get_reason_counts
from hotspot.radio.frame import MAC_HEADER_BYTES, PUBLIC_VENDOR_ACTION
from radio_sim.checkers.base import Checker
from radio_sim.fates import FATES, Fate, Hearing
from radio_sim.medium import Transmission

DISTANCE_BIN_M, DISTANCE_BINS = 50.0, 60
SINR_LOW_DB, SINR_BINS = -20, 80
BUCKETS_MAX = 240
FIRST_BUCKET_NS = 1_000_000_000
FORMAT = 1

SENDERS_KEPT = 2_048  # of 2 bytes per hotspot each

Mask = NDArray[np.bool_]
Bins = NDArray[np.int16]

_OUT_OF_THE_RACE = (Fate.SENDER_DOWN, Fate.RECEIVER_DOWN, Fate.OFF_CHANNEL)


class TimeSeries:
    """Sums per bucket of time, by key; never more than BUCKETS_MAX buckets."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self.bucket_ns = FIRST_BUCKET_NS
        self._rows: dict[str, list[float]] = {}

    def add(self, key: str, now_ns: int, amount: float) -> None:
        """Add to the bucket of a time; times before the start count to the first."""
        place = max(0, now_ns - self._start_ns) // self.bucket_ns
        while place >= BUCKETS_MAX:
            self._halve()
            place = max(0, now_ns - self._start_ns) // self.bucket_ns
        row = self._rows.setdefault(key, [])
        if len(row) <= place:
            row += [0.0] * (place + 1 - len(row))
        row[place] += amount

    def _halve(self) -> None:
        self.bucket_ns *= 2
        for key, row in self._rows.items():
            even = row if len(row) % 2 == 0 else [*row, 0.0]
            self._rows[key] = [a + b for a, b in zip(even[::2], even[1::2], strict=True)]

    def as_json(self) -> dict[str, Any]:
        """Bucket length in seconds and the sums."""
        return {
            "bucket_s": self.bucket_ns / 1e9,
            "sums": {key: [round(part, 6) for part in row] for key, row in self._rows.items()},
        }


class RunRecorder(Checker):
    """Gathers figures for the report; a checker that finds nothing wrong."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self._pairs = np.zeros(DISTANCE_BINS, np.int64)
        self._delivered = np.zeros(DISTANCE_BINS, np.int64)
        self._sinr = {True: np.zeros(SINR_BINS, np.int64), False: np.zeros(SINR_BINS, np.int64)}
        self._fates: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._bins: dict[int, Bins] = {}

    def attach(self, fleet: Any) -> None:
        """Lay out what is counted per hotspot."""
        super().attach(fleet)
        fleet.world.medium.observers.append(self)
        count = len(fleet.agents)
        self._sent, self._heard = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._start_ns = fleet.world.now_ns
        self._airtime = TimeSeries(self._start_ns)
        self._flow = TimeSeries(self._start_ns)
        self._positions = self._now_at()

    def _now_at(self) -> NDArray[np.float64]:
        return self.fleet.faults.air.positions_m()

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Count one frame."""
        sender, fates = sent.sender, hearing.fates
        heard = fates == Fate.DELIVERED
        self._fates.update(FATES[code] for code in fates.tolist())
        seconds = (sent.end_ns - sent.start_ns) / 1e9
        self._airtime.add(str(sent.frequency_mhz), sent.start_ns, seconds)
        self._flow.add("delivered", sent.end_ns, int(heard.sum()))
        self._flow.add("lost", sent.end_ns, int((~heard).sum()))
        if is_beacon(sent.body):
            self._sent[sender] += 1
            self._heard[hearing.receivers[heard]] += 1
        if not fates.size or fates[0] != Fate.SENDER_DOWN:
            self._count_distances(sent, hearing, heard)
        self._count_sinr(hearing, heard)

    def on_block(self, sealed: Sealed) -> None:
        """Count verdicts."""
        for judgement in sealed.effects.verdicts:
            self._verdicts.update(get_reason_counts(judgement))

    def _count_distances(self, sent: Transmission, hearing: Hearing, got: Mask) -> None:
        """All who could have heard it, by distance, and those who did."""
        sender = sent.sender
        could = self.fleet.world.medium.links.frequency_mhz == sent.frequency_mhz
        could[[sender, *self.fleet.down]] = False
        bins = self._bins_of(sender)
        self._pairs += _binned(bins[could])
        self._delivered += _binned(bins[hearing.receivers[got]])

    def _bins_of(self, sender: int) -> Bins:
        """Distance bin of everybody from a sender, remembered until somebody moves."""
        positions = self._now_at()
        if positions is not self._positions or len(self._bins) >= SENDERS_KEPT:
            self._positions = positions
            self._bins.clear()
        if sender not in self._bins:
            apart = np.hypot(*(positions - positions[sender]).T)
            bins = np.minimum(apart / DISTANCE_BIN_M, DISTANCE_BINS)
            self._bins[sender] = bins.astype(np.int16)
        return self._bins[sender]

    def _count_sinr(self, hearing: Hearing, heard: Mask) -> None:
        raced = ~np.isin(hearing.fates, _OUT_OF_THE_RACE)
        for got in (True, False):
            levels = hearing.sinr_db[raced & (heard == got)]
            places = np.clip(np.floor(levels) - SINR_LOW_DB, 0, SINR_BINS - 1).astype(np.int64)
            self._sinr[got] += np.bincount(places, minlength=SINR_BINS)

    def as_json(self) -> dict[str, Any]:
        """All figures; times in seconds from the start of the run."""
        fleet = self.fleet
        return {
            "format": FORMAT,
            "fates": dict(sorted(self._fates.items())),
            "verdicts": dict(sorted(self._verdicts.items())),
            "distance_bin_m": DISTANCE_BIN_M,
            "pairs": self._pairs.tolist(),
            "delivered": self._delivered.tolist(),
            "sinr_low_db": SINR_LOW_DB,
            "sinr_delivered": self._sinr[True].tolist(),
            "sinr_lost": self._sinr[False].tolist(),
            "airtime_s": self._airtime.as_json(),
            "flow": self._flow.as_json(),
            "beacons_sent": self._sent.tolist(),
            "beacons_heard": self._heard.tolist(),
            "positions_m": np.round(self._now_at(), 1).tolist(),
            "liars": sorted(fleet.dresser.behaviours),
            "episodes": self._episodes(),
            "episodes_in_all": dict(sorted(fleet.faults.counts.items())),
        }

    def _episodes(self) -> list[dict[str, Any]]:
        def second(time_ns: int) -> float:
            return round(float(time_ns - self._start_ns) / 1e9, 3)

        return [
            {
                "kind": episode.kind,
                "start_s": second(episode.start_ns),
                "end_s": second(episode.end_ns) if episode.end_ns >= 0 else None,
                "hotspots": list(episode.hotspots),
                "text": episode.text,
            }
            for episode in self.fleet.faults.episodes
        ]


def _binned(bins: Bins) -> NDArray[np.int64]:
    return np.bincount(bins, minlength=DISTANCE_BINS + 1)[:DISTANCE_BINS]


def is_beacon(body: bytes) -> bool:
    """Whether a frame is a public action frame of a vendor, as beacons are."""
    return body[MAC_HEADER_BYTES : MAC_HEADER_BYTES + 2] == PUBLIC_VENDOR_ACTION


def add_links(data: dict[str, Any], links: Sequence[tuple[int, int, float]]) -> dict[str, Any]:
    """The same figures with the air's links as (one end, other end, mean SNR in dB)."""
    return data | {"links": [[a, b, round(snr_db, 1)] for a, b, snr_db in links]}
