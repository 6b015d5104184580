"""Which channel a frame is sent on and a receiver listens on, and how much of one enters the other.

A radio decodes frames on its primary 20 MHz channel that aren't wider than its own channel. Power
that enters from elsewhere is interference, and sensed as energy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radio_sim.phy.interference import rejection_db

PRIMARY_MHZ = 20
BLOCKS_MHZ = (5180, 5500, 5745)  # first primaries of channels 36, 100, 149 (802.11-2020, annex E)


class Channel(NamedTuple):
    """Centre of the primary 20 MHz, width, and centre of the whole, all MHz; family of the PHY."""

    primary_mhz: int
    width_mhz: int = 20
    center_mhz: float = 0.0  # 0: that of the primary
    family: str = "ofdm"

    @property
    def middle_mhz(self) -> float:
        """Centre of the whole channel."""
        return self.center_mhz or float(self.primary_mhz)


def whole_channel(primary_mhz: int, width_mhz: int, family: str = "ofdm") -> Channel:
    """The channel of this width that holds a primary: 5 GHz by its fixed blocks, else centred."""
    starts = [start for start in BLOCKS_MHZ if start <= primary_mhz]
    if width_mhz <= PRIMARY_MHZ or not starts:
        return Channel(primary_mhz, width_mhz, float(primary_mhz), family)
    block = (primary_mhz - starts[-1]) // width_mhz
    center_mhz = starts[-1] + block * width_mhz + (width_mhz - PRIMARY_MHZ) / 2.0
    return Channel(primary_mhz, width_mhz, center_mhz, family)


def decodes(sent: Channel, heard: Channel) -> bool:
    """Whether a radio on channel `heard` can make sense of a frame on `sent`."""
    return sent.primary_mhz == heard.primary_mhz and sent.width_mhz <= heard.width_mhz


def entering_share(sent: Channel, heard: Channel) -> float:
    """Share of a frame's power that enters a receiver's channel, by the mask of its spectrum."""
    if decodes(sent, heard):
        return 1.0
    apart_mhz = abs(sent.middle_mhz - heard.middle_mhz)
    loss_db = rejection_db(sent.family, sent.width_mhz, heard.width_mhz, apart_mhz)
    return float(10.0 ** (-loss_db / 10.0))


def tables(channels: list[Channel]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`entering_share` and `decodes` of every pair [sent, heard]."""
    shares = [[entering_share(sent, heard) for heard in channels] for sent in channels]
    known = [[decodes(sent, heard) for heard in channels] for sent in channels]
    return np.array(shares, np.float64), np.array(known, np.bool_)
