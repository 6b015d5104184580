"""Which channel a frame is sent on and a receiver listens on, and how much of one enters the other.

A radio decodes frames on its primary 20 MHz channel that aren't wider than its own channel. Power
that enters from elsewhere is interference, and sensed as energy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SPECTRUM_WIDTH_MHZ = 22  # of a 20 MHz channel, to where its skirts are 20 dB down


class Channel(NamedTuple):
    """Centre of the primary 20 MHz, width, and centre of the whole, all MHz."""

    primary_mhz: int
    width_mhz: int = 20
    center_mhz: float = 0.0  # 0: that of the primary

    @property
    def middle_mhz(self) -> float:
        """Centre of the whole channel."""
        return self.center_mhz or float(self.primary_mhz)


def decodes(sent: Channel, heard: Channel) -> bool:
    """Whether a radio on channel `heard` can make sense of a frame on `sent`."""
    return sent.primary_mhz == heard.primary_mhz and sent.width_mhz <= heard.width_mhz


def entering_share(sent: Channel, heard: Channel) -> float:
    """Share of a frame's power that enters a receiver's channel: that of its flat spectrum."""
    if decodes(sent, heard):
        return 1.0
    half_sent = sent.width_mhz * SPECTRUM_WIDTH_MHZ / 40.0
    half_heard = heard.width_mhz * SPECTRUM_WIDTH_MHZ / 40.0
    low = max(sent.middle_mhz - half_sent, heard.middle_mhz - half_heard)
    high = min(sent.middle_mhz + half_sent, heard.middle_mhz + half_heard)
    return max(high - low, 0.0) / (2.0 * half_sent)


def tables(channels: list[Channel]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`entering_share` and `decodes` of every pair [sent, heard]."""
    shares = [[entering_share(sent, heard) for heard in channels] for sent in channels]
    known = [[decodes(sent, heard) for heard in channels] for sent in channels]
    return np.array(shares, np.float64), np.array(known, np.bool_)
