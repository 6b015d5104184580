"""How long a frame is on the air, in whole nanoseconds; no aggregation.

Equations of IEEE 802.11-2020: 16.3.4 (DSSS, CCK), (17-29) OFDM, 18.5.3.2 (ERP), 19.4.3 (HT),
21.4.3 (VHT); 802.11ax-2021 27.4.3 (HE); LDPC lengths by 19.3.11.7.5, 21.3.10.5.4, 27.3.12.5.2.
"""

from __future__ import annotations

from fractions import Fraction

from radio_sim.phy.rates import US, Rate, dsss_rate, encoders, ofdm_rate, reference_kbps

FCS_BYTES = 4
ACK_BYTES = 14  # FCS included; CTS is as long
RTS_BYTES = 20
PSDU_BYTES_MAX = 6_500_631  # the longest of HE
SERVICE_BITS, TAIL_BITS = 16, 6
DSSS_LONG_PREAMBLE_US, DSSS_SHORT_PREAMBLE_US = 192, 96
OFDM_PREAMBLE_US = 20  # L-STF, L-LTF, L-SIG
SIGNAL_EXTENSION_US = 6  # time for a slow decoder, 2.4 GHz only
HT_SIGNAL_US, VHT_SIGNAL_A_US, VHT_SIGNAL_B_US = 8, 8, 4
SHORT_TRAINING_US = LONG_TRAINING_US = 4
HE_SIGNAL_US = 4 + 8  # RL-SIG, HE-SIG-A
TRAINING_SYMBOLS = (1, 2, 4, 4, 6, 6, 8, 8)  # LTFs for 1 to 8 streams
# Data subcarriers of a quarter of an HE symbol, by bandwidth (table 27-31).
HE_QUARTER_SUBCARRIERS = {20: 60, 40: 120, 80: 240, 160: 492}
BASIC_OFDM_KBPS = (6000, 12000, 24000)


def frame_ns(
    rate: Rate,
    psdu_bytes: int,
    *,
    is_2ghz: bool = False,
    short_preamble: bool = False,
    packet_extension_ns: int = 0,
) -> int:
    """Time on the air of a PSDU (FCS included), nanoseconds.

    `is_2ghz` adds the signal extension to OFDM of every kind (ERP always has it).
    `short_preamble` is of DSSS from 2 Mb/s on, `packet_extension_ns` of HE. ValueError for a PSDU
    of no or too many bytes, and for a short preamble at 1 Mb/s.
    """
    if not 0 < psdu_bytes <= PSDU_BYTES_MAX:
        raise ValueError(f"psdu_bytes: {psdu_bytes} fit no frame; use 1 to {PSDU_BYTES_MAX}")
    if rate.family in ("dsss", "cck"):
        return _dsss_ns(rate, psdu_bytes, short_preamble)
    extension_ns = SIGNAL_EXTENSION_US * US if is_2ghz or rate.family == "erp" else 0
    data_ns = get_symbols(rate, psdu_bytes) * rate.symbol_ns
    if rate.family in ("ht", "vht"):
        data_ns = -(-data_ns // (4 * US)) * 4 * US  # a short guard's frame still ends on 4 us
    if rate.family == "he":
        extension_ns += packet_extension_ns
    return preamble_ns(rate) + data_ns + extension_ns


def _dsss_ns(rate: Rate, psdu_bytes: int, short_preamble: bool) -> int:
    if short_preamble and rate.kbps == 1000:
        raise ValueError("short_preamble: 1 Mb/s has none; use the long one")
    preamble_us = DSSS_SHORT_PREAMBLE_US if short_preamble else DSSS_LONG_PREAMBLE_US
    return (preamble_us + -(-8 * psdu_bytes * 1000 // rate.kbps)) * US


def preamble_ns(rate: Rate) -> int:
    """Duration of all that precedes the data: training and signal fields (HT: mixed format)."""
    legacy_ns = OFDM_PREAMBLE_US * US
    trainings = TRAINING_SYMBOLS[rate.streams - 1]
    if rate.family == "ht":
        return legacy_ns + (HT_SIGNAL_US + SHORT_TRAINING_US + LONG_TRAINING_US * trainings) * US
    if rate.family == "vht":
        signals_us = VHT_SIGNAL_A_US + VHT_SIGNAL_B_US
        return legacy_ns + (signals_us + SHORT_TRAINING_US + LONG_TRAINING_US * trainings) * US
    if rate.family == "he":
        return legacy_ns + (HE_SIGNAL_US + SHORT_TRAINING_US) * US + rate.training_ns * trainings
    if rate.family in ("dsss", "cck"):
        return DSSS_LONG_PREAMBLE_US * US
    return legacy_ns * (20 // rate.bandwidth_mhz)


def get_symbols(rate: Rate, psdu_bytes: int) -> int:
    """Data symbols of a PSDU, the one that LDPC may add included."""
    tail_bits = TAIL_BITS * encoders(rate) if rate.coding == "bcc" else 0
    payload_bits = 8 * psdu_bytes + SERVICE_BITS + tail_bits
    symbols = -(-payload_bits // rate.bits_per_symbol)
    if rate.coding != "ldpc":
        return symbols
    if rate.family == "he":
        return _he_ldpc_symbols(rate, payload_bits, symbols)
    filled_bits = symbols * rate.bits_per_symbol if rate.family == "vht" else payload_bits
    return symbols + is_punctured_too_much(
        filled_bits, symbols * rate.coded_bits_per_symbol, _code(rate)
    )


def _he_ldpc_symbols(rate: Rate, payload_bits: int, symbols: int) -> int:
    """HE pads and grows by quarters of a symbol: one more only where the last was full."""
    carriers = HE_QUARTER_SUBCARRIERS[rate.bandwidth_mhz]
    coded_quarter = carriers * rate.streams * (rate.points.bit_length() - 1)
    data_quarter = coded_quarter * rate.code_numerator // rate.code_denominator
    excess_bits = payload_bits % rate.bits_per_symbol
    quarters = min(-(-excess_bits // data_quarter), 4) if excess_bits else 4
    if quarters < 4:
        return symbols  # the extra quarter still fits into the last symbol
    filled_bits = symbols * rate.bits_per_symbol
    return symbols + is_punctured_too_much(
        filled_bits, symbols * rate.coded_bits_per_symbol, _code(rate)
    )


def _code(rate: Rate) -> Fraction:
    return Fraction(rate.code_numerator, rate.code_denominator)


def is_punctured_too_much(payload_bits: int, available_bits: int, code: Fraction) -> bool:
    """Say whether LDPC would lose too many parity bits, so that a symbol is added (19.3.11.7.5)."""
    words, length = get_codewords(payload_bits, available_bits, code)
    parity_bits = words * length * (1 - code)
    shortened = max(Fraction(0), words * length * code - payload_bits)
    punctured = max(Fraction(0), words * length - available_bits - shortened)
    scarcely_shortened = shortened < Fraction(6, 5) * punctured * code / (1 - code)
    return bool(
        (10 * punctured > parity_bits and scarcely_shortened) or 10 * punctured > 3 * parity_bits
    )


def get_codewords(payload_bits: int, available_bits: int, code: Fraction) -> tuple[int, int]:
    """Number and length of the LDPC code words (table 19-16)."""
    spare_bits = available_bits - payload_bits
    if available_bits <= 648:
        return 1, 1296 if spare_bits >= 912 * (1 - code) else 648
    if available_bits <= 1296:
        return 1, 1944 if spare_bits >= 1464 * (1 - code) else 1296
    if available_bits <= 1944:
        return 1, 1944
    if available_bits <= 2592:
        return 2, 1944 if spare_bits >= 2916 * (1 - code) else 1296
    return int(-(-payload_bits // (1944 * code))), 1944


def ack_rate(rate: Rate, *, basic_kbps: tuple[int, ...] = BASIC_OFDM_KBPS) -> Rate:
    """Return the rate of the ACK: the highest basic one not above the data's (10.6.6.5.2).

    DSSS answers 1 Mb/s with 1, and all else with 2; HT, VHT and HE go by their non-HT reference.
    """
    if rate.family in ("dsss", "cck"):
        return dsss_rate(min(rate.kbps, 2000))
    slower = 20 // rate.bandwidth_mhz if rate.family == "ofdm" else 1
    limit_kbps = reference_kbps(rate) * slower
    chosen = max((kbps for kbps in basic_kbps if kbps <= limit_kbps), default=6000)
    bandwidth_mhz = rate.bandwidth_mhz if rate.family == "ofdm" else 20
    return ofdm_rate(chosen // slower, bandwidth_mhz, erp=rate.family == "erp")


def ack_ns(rate: Rate, *, is_2ghz: bool = False) -> int:
    """Time on the air of the ACK that answers a frame of this rate, nanoseconds."""
    return frame_ns(ack_rate(rate), ACK_BYTES, is_2ghz=is_2ghz)
