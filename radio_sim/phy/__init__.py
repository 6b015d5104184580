"""The physical layer: rates, airtime, error rates. What the medium needs of it by its speed.

`airtime_us`, `success_table` and the rest of this page know DSSS and legacy OFDM of the 2.4 GHz
band, by kb/s; all other PHYs are in the modules of this package.
"""

from __future__ import annotations

from radio_sim.phy.airtime import FCS_BYTES, frame_ns
from radio_sim.phy.packet_errors import (
    RATES_KBPS,
    TABLE_FLOOR_DB,
    TABLE_STEPS_PER_DB,
    packet_success_rate,
    success_table,
    table_index,
)
from radio_sim.phy.rates import DSSS_SYMBOLS, US, Rate, dsss_rate, ofdm_rate

__all__ = [
    "FCS_BYTES",
    "RATES_KBPS",
    "TABLE_FLOOR_DB",
    "TABLE_STEPS_PER_DB",
    "airtime_us",
    "legacy_rate",
    "packet_success_rate",
    "success_table",
    "table_index",
]


def legacy_rate(rate_kbps: int) -> Rate:
    """Return the DSSS, CCK or ERP rate of a speed."""
    return dsss_rate(rate_kbps) if rate_kbps in DSSS_SYMBOLS else ofdm_rate(rate_kbps, erp=True)


def airtime_us(mpdu_bytes: int, rate_kbps: int) -> int:
    """Time on the air of an MPDU (FCS included), whole microseconds.

    DSSS with the long preamble; OFDM with the signal extension of the 2.4 GHz band.
    """
    return frame_ns(legacy_rate(rate_kbps), mpdu_bytes) // US
