"""A run as a pcapng file: an interface for each hotspot, a comment with sender and SINR.

`Recorder` writes what devices were really handed (live). `AirRecorder` watches the medium of a
virtual run and writes what a monitor at each receiver would have shown that leaves nothing out:
the level that arrived, before a device's own offset and rounding. Frames bear the time at which
they left the air, in nanoseconds. The same run makes the same bytes. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hotspot.radio import pcapng
from radio_sim.fates import Fate, Hearing
from radio_sim.live.drivers import PROFILES, Reading, checksum_of, echo_header, receive_header
from radio_sim.live.handover import Handed, Kind
from radio_sim.medium import Transmission

APPLICATION = "wavecomb sim"
_MONITOR = PROFILES["noise"]  # gives every field

Write = Callable[[bytes], object]


class Recorder:
    """Writes packets to `write` (a file's, say); the head is written at once."""

    def __init__(self, names: Sequence[str], write: Write, comment: str = "") -> None:
        self._names = list(names)
        self._write = write
        self.packets = 0
        write(pcapng.file_head(self._names, APPLICATION, comment))

    def note(self, sent: Transmission, handed: Handed, time_ns: int) -> None:
        """Write a frame that a device was handed at this time since 1970."""
        if handed.kind is Kind.ECHO:
            comment, direction = f"sent, frame {sent.number}", pcapng.OUTBOUND
        else:
            comment, direction = self._heard(sent, handed.sinr_db), pcapng.INBOUND
            comment += ", checksum bad" if handed.kind is Kind.BAD_FCS else ""
        self._write(pcapng.packet_block(handed.node, time_ns, handed.frame, comment, direction))
        self.packets += 1

    def _heard(self, sent: Transmission, sinr_db: float | None) -> str:
        text = f"from {self._names[sent.sender]}, frame {sent.number}"
        return text if sinr_db is None else f"{text}, SINR {sinr_db:.1f} dB"


class AirRecorder:
    """An observer of a virtual medium: add it to `medium.observers`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Write a frame at its sender and at every receiver that got it."""
        echo = echo_header(sent.rate_kbps) + sent.body
        self._recorder.note(sent, Handed(Kind.ECHO, sent.sender, echo, None), sent.end_ns)
        tail = sent.body + checksum_of(sent.body)
        for place in np.flatnonzero(hearing.fates == Fate.DELIVERED).tolist():
            signal, sinr = float(hearing.signal_dbm[place]), float(hearing.sinr_db[place])
            reading = Reading(
                sent.end_ns // 1000,
                sent.rate_kbps,
                sent.frequency_mhz,
                round(signal),
                max(round(signal - sinr), -127),
            )
            frame = receive_header(_MONITOR, reading) + tail
            handed = Handed(Kind.DELIVERED, int(hearing.receivers[place]), frame, sinr)
            self._recorder.note(sent, handed, sent.end_ns)
