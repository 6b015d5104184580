"""LoRa: time on the air, the signal it needs, and the chance that a packet is lost.

Semtech SX1276 datasheet, section 4.1.1; AN1200.13. Elshabrawy, Robert: Closed-form approximation
of LoRa modulation BER performance, IEEE Communications Letters 22(9), 2018.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

Floats = NDArray[np.float64]

SPREADING_FACTORS = range(6, 13)
# Least SNR in the signal's own bandwidth, datasheet table 13.
SNR_LIMIT_DB = {6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
THERMAL_NOISE_DBM_HZ = -174.0
NOISE_FIGURE_DB = 6.0
OPTIMISED_SYMBOL_US = 16_000  # from here on the crystals' drift asks for the low data rate mode
PREAMBLE_EXTRA_QUARTERS = 17  # synchronisation: 4.25 symbols


@dataclass(frozen=True, slots=True)
class LoraRate:
    """`coding` 1 to 4 is the rate 4/5 to 4/8; `low_data_rate` None: where the symbol is long."""

    spreading: int
    bandwidth_hz: int = 125_000
    coding: int = 1
    preamble_symbols: int = 8
    explicit_header: bool = True
    crc: bool = True
    low_data_rate: bool | None = None

    def __post_init__(self) -> None:
        if self.spreading not in SPREADING_FACTORS:
            raise ValueError(f"spreading: {self.spreading} is no spreading factor; use 6 to 12")
        if not 1 <= self.coding <= 4:
            raise ValueError(f"coding: {self.coding} is no code rate; use 1 (4/5) to 4 (4/8)")
        if self.bandwidth_hz <= 0:
            raise ValueError(f"bandwidth_hz: {self.bandwidth_hz} is no width; use e.g. 125000")


def is_low_data_rate(rate: LoraRate) -> bool:
    """Say whether two bits less ride on each symbol."""
    if rate.low_data_rate is not None:
        return rate.low_data_rate
    return (1_000_000 << rate.spreading) >= OPTIMISED_SYMBOL_US * rate.bandwidth_hz


def payload_symbols(rate: LoraRate, payload_bytes: int) -> int:
    """Symbols after the preamble, datasheet 4.1.1.7."""
    spare = 0 if rate.explicit_header else 20
    bits = 8 * payload_bytes - 4 * rate.spreading + 28 + 16 * rate.crc - spare
    bits_each = 4 * (rate.spreading - 2 * is_low_data_rate(rate))
    return 8 + max(-(-bits // bits_each) * (rate.coding + 4), 0)


def lora_airtime_ns(rate: LoraRate, payload_bytes: int) -> int:
    """Time on the air of a packet, nanoseconds, rounded to the nearest."""
    if not 0 <= payload_bytes <= 255:
        raise ValueError(f"payload_bytes: {payload_bytes} fit no packet; use 0 to 255")
    symbols = rate.preamble_symbols + payload_symbols(rate, payload_bytes)
    quarters = 4 * symbols + PREAMBLE_EXTRA_QUARTERS
    scaled = (quarters * 1_000_000_000) << rate.spreading
    return (scaled + 2 * rate.bandwidth_hz) // (4 * rate.bandwidth_hz)


def lora_sensitivity_dbm(rate: LoraRate, noise_figure_db: float = NOISE_FIGURE_DB) -> float:
    """Weakest level that is received: thermal noise, noise figure, and the least SNR."""
    noise_dbm = THERMAL_NOISE_DBM_HZ + 10.0 * math.log10(rate.bandwidth_hz) + noise_figure_db
    return noise_dbm + SNR_LIMIT_DB[rate.spreading]


def lora_bit_error_rate(snr_db: Floats, spreading: int) -> Floats:
    """Bit error rate without channel code in white noise (Elshabrawy, Robert, eq. 21)."""
    snr = 10.0 ** (np.asarray(snr_db, np.float64) / 10.0)
    root = np.sqrt(snr * 2.0 ** (spreading + 1)) - math.sqrt(1.386 * spreading + 1.154)
    return np.asarray(0.25 * erfc(root / math.sqrt(2.0)), np.float64)


def lora_packet_error_rate(snr_db: Floats, rate: LoraRate, payload_bytes: int) -> Floats:
    """Chance that a packet is lost: any code word with more wrong bits than its code mends.

    Codes 4/5 and 4/6 mend none of a word's bits, 4/7 and 4/8 one (Hamming distance 3 and 4); the
    interleaver spreads a wrong symbol over words, so bits err independently.
    """
    errors = lora_bit_error_rate(snr_db, rate.spreading)
    words = math.ceil((8 * payload_bytes + 16 * rate.crc + 20 * rate.explicit_header) / 4)
    length = 4 + rate.coding
    good = (1.0 - errors) ** length
    if rate.coding >= 3:
        good = good + length * errors * (1.0 - errors) ** (length - 1)
    return np.asarray(-np.expm1(words * np.log(good)), np.float64)
