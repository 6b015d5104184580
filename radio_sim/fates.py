"""What became of a frame at each receiver in reach, by physical reason: for counts and reports.

A frame that isn't heard has exactly one reason, the first of these that holds:

    sender_down     the sender lost power while its frame was on the air
    receiver_down   the receiver had no power when the frame ended
    off_channel     the receiver listened elsewhere
    half_duplex     the receiver sent meanwhile
    locked          the receiver was on an earlier frame, and this one wasn't strong enough
    interference    without the others on the air, the same draw would have let it through
    noise           the signal to noise ratio didn't carry it
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from radio_sim.medium import Transmission


class Fate(IntEnum):
    """Why a receiver in reach got a frame or not."""

    DELIVERED = 0
    SENDER_DOWN = 1
    RECEIVER_DOWN = 2
    OFF_CHANNEL = 3
    HALF_DUPLEX = 4
    LOCKED = 5
    INTERFERENCE = 6
    NOISE = 7


FATES = tuple(fate.name.lower() for fate in Fate)


@dataclass(frozen=True, slots=True, eq=False)
class Hearing:
    """One frame at all receivers in reach: arrays of equal length, receivers ascending.

    `signal_dbm` is the mean power that arrives, `sinr_db` with the mean interference of all that
    overlapped; `fates` holds `Fate` codes.
    """

    receivers: NDArray[np.int64]
    signal_dbm: NDArray[np.float64]
    sinr_db: NDArray[np.float64]
    fates: NDArray[np.int8]


class Observer(Protocol):
    """Is told of every frame when it leaves the air; it must not touch the world."""

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Take note of a frame and what became of it."""
