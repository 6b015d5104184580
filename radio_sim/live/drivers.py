"""What drivers put before a frame: named profiles after the headers of real captures.

A profile says which radiotap fields a driver gives and in which present words, whether the frame
keeps its checksum, whether frames with a bad one are handed up, how coarse its signal figure is,
and what it does with an injected frame. The words are those of recorded frames; the shares of
`MIX` are chosen so that the fields come as often as over 6,485 captured frames of old and new
drivers: antenna 93 %, checksum kept 86 %, signal 79 %, TSFT 10 %, chained present words 3 %, noise
0.4 % (channel 99.7 % and rate 97 %, which all of ours give). A share there is one of frames; here
it is one of devices, because a driver gives the same fields with every frame.

The echo of a sent frame is what mac80211 gives monitors: rate, TX_FLAGS, and DATA_RETRIES.
Format: radiotap.org; the words of each profile are read back by `hotspot.radio.radiotap` and by
scapy and tshark in the tests. Pure.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

from hotspot.radio.radiotap import (
    ANTENNA,
    CHANNEL,
    DBM_NOISE,
    DBM_SIGNAL,
    EXTENDED,
    FIELDS,
    FLAG_BAD_FCS,
    FLAG_FCS_AT_END,
    FLAGS,
    RADIOTAP_NAMESPACE,
    RATE,
    TSFT,
)
from radio_sim.draws import draw_below

RX_FLAGS, TX_FLAGS, DATA_RETRIES = 14, 15, 17
TX_FLAG_FAILED = 0x0001
CHANNEL_2GHZ, CHANNEL_5GHZ, CHANNEL_CCK, CHANNEL_OFDM = 0x0080, 0x0100, 0x0020, 0x0040
CCK_RATES_KBPS = (1000, 2000, 5500, 11_000)
SIGNAL_MIN_DBM, SIGNAL_MAX_DBM = -110, -10
CHAIN_SPREAD_MAX_DB = 6  # by how much one antenna may hear worse than the other
BAD_FCS_LEAST_SINR_DB = 0.0  # below it the preamble isn't found, and no driver gets anything
DAMAGED_BYTES_MAX = 8

_HEAD = (TSFT, FLAGS, RATE, CHANNEL, DBM_SIGNAL)
_PLAIN = (FLAGS, RATE, CHANNEL, DBM_SIGNAL, ANTENNA, RX_FLAGS)
_CHAIN = (DBM_SIGNAL, ANTENNA)
_CODES = {TSFT: "Q", CHANNEL: "HH", DBM_SIGNAL: "b", DBM_NOISE: "b", RX_FLAGS: "H", TX_FLAGS: "H"}


@dataclass(frozen=True, slots=True)
class DriverProfile:
    """How one driver behaves. `words` lists the fields of each present word, in bit order."""

    name: str
    words: tuple[tuple[int, ...], ...]
    keeps_fcs: bool = True
    gives_bad_fcs: bool = False
    signal_step_db: int = 1
    signal_offset_db: int = 0
    echoes: bool = True
    drops_silently: bool = False  # injection reports success and nothing goes on the air
    queue_frames: int = 64  # waiting for the air; then the device takes no more


@dataclass(frozen=True, slots=True)
class Reading:
    """What a receiver's hardware knows of one frame, before a driver leaves things out."""

    tsft_us: int
    rate_kbps: int
    frequency_mhz: int
    signal_dbm: int
    noise_dbm: int
    chain_spread_db: int = 0
    bad_fcs: bool = False


_FULL = (TSFT, FLAGS, RATE, CHANNEL, DBM_SIGNAL, DBM_NOISE, ANTENNA)
PROFILES = {
    profile.name: profile
    for profile in (
        # All that the simulator knows, in its own order; no real driver gives this much.
        DriverProfile("lab", ((TSFT, CHANNEL, DBM_SIGNAL, DBM_NOISE),), keeps_fcs=False),
        # Present word 0x0000482e, as most mac80211 drivers give it; with and without checksum.
        DriverProfile("mac80211", (_PLAIN,)),
        DriverProfile("mac80211-nofcs", (_PLAIN,), keeps_fcs=False),
        # 0x0000482f: the same with the hardware's clock.
        DriverProfile("mac80211-clock", ((TSFT, *_PLAIN),)),
        # 0xa000402f 0xa0000820 0x00000820: a figure for both antennas and one for each.
        DriverProfile("mac80211-chains", ((*_HEAD, RX_FLAGS), _CHAIN, _CHAIN)),
        # 0x0000000e and an antenna: drivers that know no dBm.
        DriverProfile("no-signal", ((FLAGS, RATE, CHANNEL, ANTENNA),)),
        DriverProfile("no-signal-nofcs", ((FLAGS, RATE, CHANNEL),), keeps_fcs=False),
        # 0x0000086f: signal and noise, as the older BSD and Atheros drivers measure them.
        DriverProfile("noise", (_FULL,)),
        # A monitor with `fcsfail`: frames with a bad checksum are handed up with flag 0x40.
        DriverProfile("fcsfail", (_PLAIN,), gives_bad_fcs=True),
        # A driver whose figure is three steps coarse and reads 5 dB low.
        DriverProfile("coarse", (_PLAIN,), signal_step_db=3, signal_offset_db=-5),
        # NO-IR channels and broken drivers: `send` succeeds, and nothing goes on the air.
        DriverProfile("silent-drop", (_PLAIN,), drops_silently=True, echoes=False),
    )
}
# In thousandths of all devices; what follows for each field is held by a test.
MIX = (
    ("mac80211", 620),
    ("mac80211-clock", 66),
    ("mac80211-chains", 30),
    ("noise", 4),
    ("mac80211-nofcs", 70),
    ("no-signal", 140),
    ("no-signal-nofcs", 70),
)
MIX_NAME = "mix"


def driver_names() -> tuple[str, ...]:
    """All names that `drivers_of` knows."""
    return (*PROFILES, MIX_NAME)


def drivers_of(name: str, count: int, seed: int) -> list[DriverProfile]:
    """Profiles of so many devices: all of one name, or drawn by the measured shares.

    Raises KeyError for an unknown name.
    """
    if name != MIX_NAME:
        return [PROFILES[name]] * count
    return [_drawn(draw_below(1000, seed, "driver", node)) for node in range(count)]


def _drawn(permille: int) -> DriverProfile:
    for name, share in MIX:
        if permille < share:
            return PROFILES[name]
        permille -= share
    raise ValueError("MIX does not add up to 1000")


# --- Headers ------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def compile_words(words: tuple[tuple[int, ...], ...]) -> tuple[bytes, struct.Struct]:
    """Return the fixed start of a header (version to present words) and a Struct for its fields.

    Each field is aligned to its natural size from the start of the header, as radiotap wants.
    """
    offset = 4 + 4 * len(words)
    code, present = "<", []
    for number, bits in enumerate(words):
        word = sum(1 << bit for bit in bits)
        if number + 1 < len(words):
            word |= 1 << RADIOTAP_NAMESPACE | 1 << EXTENDED
        present.append(word)
        for bit in bits:
            align, size = FIELDS[bit]
            pad = -offset % align
            code += "x" * pad + _CODES.get(bit, "B")
            offset += pad + size
    start = struct.pack(f"<BBH{len(words)}I", 0, 0, offset, *present)
    return start, struct.Struct(code)


def receive_header(profile: DriverProfile, reading: Reading) -> bytes:
    """Return the radiotap header that this driver puts before a received frame."""
    start, fields = compile_words(profile.words)
    flags = (FLAG_FCS_AT_END if profile.keeps_fcs else 0) | (
        FLAG_BAD_FCS if reading.bad_fcs else 0
    )
    signal = reported_signal_dbm(profile, reading.signal_dbm)
    values = {
        TSFT: (reading.tsft_us & 0xFFFF_FFFF_FFFF_FFFF,),
        FLAGS: (flags,),
        RATE: (reading.rate_kbps // 500,),
        CHANNEL: (reading.frequency_mhz, channel_flags(reading.frequency_mhz, reading.rate_kbps)),
        DBM_SIGNAL: (signal,),
        DBM_NOISE: (reading.noise_dbm,),
        ANTENNA: (0,),
        RX_FLAGS: (0,),
    }
    listed = [value for bit in profile.words[0] for value in values[bit]]
    for chain, level in enumerate(chain_signals_dbm(signal, reading.chain_spread_db)):
        if chain + 1 < len(profile.words):
            listed += (level, chain)
    return start + fields.pack(*listed)


def reported_signal_dbm(profile: DriverProfile, signal_dbm: int) -> int:
    """Signal as a driver's scale shows it: shifted, in its steps, within a receiver's range."""
    step = profile.signal_step_db
    shown = step * round((signal_dbm + profile.signal_offset_db) / step)
    return min(max(shown, SIGNAL_MIN_DBM), SIGNAL_MAX_DBM)


def chain_signals_dbm(signal_dbm: int, spread_db: int) -> tuple[int, int]:
    """Split a signal over two antennas, the second `spread_db` weaker (negative: stronger)."""
    apart = abs(spread_db)
    better = round(signal_dbm - 10.0 * math.log10(1.0 + 10.0 ** (-apart / 10.0)))
    worse = max(better - apart, -127)
    return (better, worse) if spread_db >= 0 else (worse, better)


def channel_flags(frequency_mhz: int, rate_kbps: int) -> int:
    """Flags of radiotap's channel field: the band, and the modulation that the rate tells."""
    band = CHANNEL_2GHZ if frequency_mhz < 3000 else CHANNEL_5GHZ
    return band | (CHANNEL_CCK if rate_kbps in CCK_RATES_KBPS else CHANNEL_OFDM)


_ECHO = ((RATE, TX_FLAGS, DATA_RETRIES),)


def echo_header(rate_kbps: int, retries: int = 0, *, failed: bool = False) -> bytes:
    """Return what mac80211 puts before the copy of a sent frame that monitors get (13 bytes).

    `failed` marks a frame that wanted an acknowledgement and got none.
    """
    start, fields = compile_words(_ECHO)
    flags = TX_FLAG_FAILED if failed else 0
    return start + fields.pack(rate_kbps // 500, flags, min(retries, 255))


# --- Bodies -------------------------------------------------------------------------------------


def checksum_of(body: bytes) -> bytes:
    """Return the four bytes that end an MPDU on the air (IEEE 802.11-2020, 9.2.4.8)."""
    return zlib.crc32(body).to_bytes(4, "little")


def damaged(body: bytes, seed: int, number: int, receiver: int) -> bytes:
    """Return the MPDU and its checksum with a few bytes hit, never so that it still fits.

    The MAC header's first two bytes are left, so that analysers still know a frame when they see
    one; which bytes are hit is a draw of (seed, transmission, receiver).
    """
    hit = bytearray(body + checksum_of(body))
    name = ("damage", number, receiver)
    for index in range(1 + draw_below(DAMAGED_BYTES_MAX, seed, *name)):
        place = 2 + draw_below(len(hit) - 2, seed, *name, "place", index)
        hit[place] ^= 1 + draw_below(255, seed, *name, "bits", index)
    if checksum_of(bytes(hit[:-4])) == hit[-4:]:
        hit[-1] ^= 0xFF
    return bytes(hit)


def chain_spread_db(seed: int, number: int, receiver: int) -> int:
    """Draw by how much the second antenna hears a frame worse (negative: better)."""
    span = 2 * CHAIN_SPREAD_MAX_DB + 1
    return draw_below(span, seed, "chains", number, receiver) - CHAIN_SPREAD_MAX_DB
