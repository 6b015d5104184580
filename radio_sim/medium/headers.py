"""What a driver puts before a frame it hands over, and what it reads from one it is given."""

from __future__ import annotations

import struct

import numpy as np

from chain.records import Refusal
from hotspot.radio.radiotap import (
    HEADER_BYTES,
    RATE,
    TRUNCATED,
    parse_radiotap,
    present_bytes,
    walk,
)
from radio_sim import phy
from radio_sim.draws import draw_below, draw_u64, draws_u64, uniforms

US = 1000

# What a driver tells per frame, over 6,485 captured frames: signal 79 %, TSFT 10 %, noise 0.4 %.
FIELD_TSFT, FIELD_SIGNAL, FIELD_NOISE = 1, 2, 4
FIELDS_ALL = FIELD_TSFT | FIELD_SIGNAL | FIELD_NOISE
FIELD_SHARES = ((FIELD_TSFT, 0.10), (FIELD_SIGNAL, 0.79), (FIELD_NOISE, 0.004))

# The header with all four fields: version, pad, length, present, TSFT, channel, signal, noise.
_HEADER = struct.Struct("<BBHIQHHbb")
_FIXED = struct.Struct("<BBHI")
_CHANNEL_FLAGS = {True: 0x00A0, False: 0x0140}  # 2 GHz CCK, 5 GHz OFDM
_PRESENT_CHANNEL, _PRESENT_TSFT, _PRESENT_SIGNAL, _PRESENT_NOISE = 1 << 3, 1 << 0, 1 << 5, 1 << 6
_PRESENT_ALL = _PRESENT_CHANNEL | _PRESENT_TSFT | _PRESENT_SIGNAL | _PRESENT_NOISE
_VLAN_HIGH = (0x0081, 0xA888)  # bits 32 to 47 of a TSFT whose bytes 4, 5 are 81 00 or 88 A8
_DAY_HIGH = 21  # how far those bits move in a day
_RATES_MAX = 4096  # agents may craft headers without end

NO_RATE = Refusal(
    "bad_rate", "radiotap: the rate is none that the medium carries; use 1, 2 or 6 to 54 Mb/s"
)


class Drivers:
    """The devices' clocks, and which fields each driver gives."""

    def __init__(self, seed: int, nodes: int, *, real_fields: bool) -> None:
        indexes = np.arange(nodes, dtype=np.uint64)
        # Device clocks: when they started, and up to 20 ppm of skew.
        clocks = uniforms(draws_u64(draw_u64(seed, "clock"), indexes))
        skews = uniforms(draws_u64(draw_u64(seed, "skew"), indexes))
        self._clock_us: list[int] = (clocks * 1e12).astype(np.int64).tolist()
        self._skew_ppb: list[int] = ((skews * 40_001).astype(np.int64) - 20_000).tolist()
        self._fields = [_drawn_fields(seed, n) if real_fields else FIELDS_ALL for n in range(nodes)]
        self.noise_dbm: list[int] = []

    def keep_clear_of_vlan(self, start_ns: int) -> None:
        """Set forward the clocks that a TAP's kernel would take for a VLAN tag within a day.

        A TAP looks for an Ethernet type at bytes 12 and 13, the middle of TSFT: where they read
        0x8100 the kernel takes four bytes out, and the receiver is deaf for 71 minutes.
        """
        for node, clock_us in enumerate(self._clock_us):
            high = (start_ns // US + clock_us) >> 32 & 0xFFFF
            if any(0 <= tag - high <= _DAY_HIGH for tag in _VLAN_HIGH):
                self._clock_us[node] = clock_us + ((_DAY_HIGH + 2) << 32)

    def tells_signal(self, node: int) -> bool:
        """Whether a node's driver gives the signal with each frame."""
        return bool(self._fields[node] & FIELD_SIGNAL)

    def header(self, node: int, start_ns: int, frequency_mhz: int, level_dbm: int) -> bytes:
        """What a driver puts before a frame that began at `start_ns`."""
        start_us = start_ns // US
        skew_us = start_us // 1000 * self._skew_ppb[node] // 1_000_000
        tsft_us = start_us + self._clock_us[node] + skew_us
        flags = _CHANNEL_FLAGS[frequency_mhz < 3000]
        head = (0, 0, _HEADER.size, _PRESENT_ALL, tsft_us, frequency_mhz, flags)
        return _trimmed(_HEADER.pack(*head, level_dbm, self.noise_dbm[node]), self._fields[node])


class RateReader:
    """Reads the rate from transmit headers, remembered by header."""

    def __init__(self, default_kbps: int) -> None:
        self._default_kbps = default_kbps
        self._known: dict[bytes, int | Refusal] = {}

    def rate_of(self, frame: bytes) -> int | Refusal:
        """Rate in the transmit header; the default where it names none."""
        length = frame[2] | frame[3] << 8 if len(frame) >= HEADER_BYTES else 0
        header = frame[:length]
        if header not in self._known:
            if len(self._known) > _RATES_MAX:
                self._known.clear()
            self._known[header] = _read_rate(frame, self._default_kbps)
        return self._known[header]


def _drawn_fields(seed: int, node: int) -> int:
    scale = 1 << 32
    return sum(
        bit
        for bit, share in FIELD_SHARES
        if draw_below(scale, seed, "fields", bit, node) < share * scale
    )


def _trimmed(header: bytes, fields: int) -> bytes:
    """A header of all fields with those left out that a driver doesn't give."""
    if fields == FIELDS_ALL:
        return header
    present, parts = _PRESENT_CHANNEL, [header[16:20]]
    if fields & FIELD_TSFT:
        present |= _PRESENT_TSFT
        parts.insert(0, header[8:16])
    if fields & FIELD_SIGNAL:
        present |= _PRESENT_SIGNAL
        parts.append(header[20:21])
    if fields & FIELD_NOISE:
        present |= _PRESENT_NOISE
        parts.append(header[21:22])
    tail = b"".join(parts)
    return _FIXED.pack(0, 0, _FIXED.size + len(tail), present) + tail


def _read_rate(frame: bytes, default_kbps: int) -> int | Refusal:
    head = parse_radiotap(frame)
    if isinstance(head, Refusal):
        return head
    words = present_bytes(frame, head.length)
    if words is None or len(frame) <= head.length:
        return TRUNCATED
    for item in walk(words, frame[: head.length]):
        if item.bit == RATE and item.offset < head.length:
            rate = 500 * frame[item.offset]
            return rate if rate in phy.RATES_KBPS else NO_RATE
    return default_kbps
