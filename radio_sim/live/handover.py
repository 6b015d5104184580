"""What each device is handed when a frame has left the air: receivers' copies, and the echo.

The medium says who got a frame and what the hardware measured; each device's driver (see
`drivers`) then leaves out, rounds and adds what it does. A device whose driver hands up frames
with a bad checksum gets those too that noise or interference damaged, as long as the preamble
could be found. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from chain.records import Refusal
from hotspot.radio.radiotap import parse_radiotap
from radio_sim.fates import Fate, Hearing
from radio_sim.live.drivers import (
    BAD_FCS_LEAST_SINR_DB,
    DriverProfile,
    Reading,
    chain_spread_db,
    checksum_of,
    damaged,
    echo_header,
    receive_header,
)
from radio_sim.medium import Delivery, Transmission

_DAMAGED = (Fate.INTERFERENCE, Fate.NOISE)
_PLAIN_PROFILE = "lab"


class Kind(IntEnum):
    """What a handed frame is to its device."""

    DELIVERED = 0
    BAD_FCS = 1
    ECHO = 2


class Handed(NamedTuple):
    """A frame for a device, with the header its driver gives, and the SINR it arrived with."""

    kind: Kind
    node: int
    frame: bytes
    sinr_db: float | None


class Handover:
    """The drivers of all devices of a run."""

    def __init__(self, drivers: Sequence[DriverProfile], seed: int) -> None:
        self.drivers = list(drivers)
        self._seed = seed
        self._damages = any(driver.gives_bad_fcs for driver in drivers)

    def frames(
        self, sent: Transmission, deliveries: Sequence[Delivery], hearing: Hearing | None
    ) -> Iterator[Handed]:
        """List what is written to whom; `hearing` is the medium's word on this frame."""
        sinr_db = {} if hearing is None else _sinr_by_receiver(hearing)
        checksum = checksum_of(sent.body)
        for delivery in deliveries:
            frame = self._received(sent, delivery, checksum)
            yield Handed(
                Kind.DELIVERED, delivery.receiver, frame, sinr_db.get(delivery.receiver)
            )
        if self._damages and hearing is not None:
            yield from self._damaged(sent, hearing)
        if self.drivers[sent.sender].echoes:
            yield Handed(Kind.ECHO, sent.sender, echo_header(sent.rate_kbps) + sent.body, None)

    def _received(self, sent: Transmission, delivery: Delivery, checksum: bytes) -> bytes:
        driver = self.drivers[delivery.receiver]
        if driver.name == _PLAIN_PROFILE:
            return delivery.frame
        head = parse_radiotap(delivery.frame)
        if isinstance(head, Refusal):  # the medium made it
            raise ValueError(f"medium: {head.detail}")
        reading = Reading(
            head.tsft_us or 0,
            sent.rate_kbps,
            sent.frequency_mhz,
            delivery.rssi_dbm,
            -95 if head.noise_dbm is None else head.noise_dbm,
            chain_spread_db(self._seed, sent.number, delivery.receiver),
        )
        tail = checksum if driver.keeps_fcs else b""
        return receive_header(driver, reading) + sent.body + tail

    def _damaged(self, sent: Transmission, hearing: Hearing) -> Iterator[Handed]:
        found = np.isin(hearing.fates, _DAMAGED) & (hearing.sinr_db >= BAD_FCS_LEAST_SINR_DB)
        for place in np.flatnonzero(found).tolist():
            receiver = int(hearing.receivers[place])
            driver = self.drivers[receiver]
            if not driver.gives_bad_fcs:
                continue
            signal, sinr = float(hearing.signal_dbm[place]), float(hearing.sinr_db[place])
            reading = Reading(
                sent.start_ns // 1000,
                sent.rate_kbps,
                sent.frequency_mhz,
                round(signal),
                round(signal - sinr),
                bad_fcs=True,
            )
            body = damaged(sent.body, self._seed, sent.number, receiver)
            tail = body if driver.keeps_fcs else body[:-4]
            yield Handed(Kind.BAD_FCS, receiver, receive_header(driver, reading) + tail, sinr)


def _sinr_by_receiver(hearing: Hearing) -> dict[int, float]:
    return dict(zip(hearing.receivers.tolist(), hearing.sinr_db.tolist(), strict=True))
