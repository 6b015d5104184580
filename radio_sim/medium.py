"""The air between radios, as a pure machine: frames go in, what each receiver gets comes out.

    queue    the frame waits for its driver's latency, then tries to leave
    begin    the channel is idle where the sender stands: on the air until end_ns; busy: try again
             after the sensed transmission, DIFS and a drawn number of slots (the counter is drawn
             anew at each deferral instead of frozen: between few contenders the same thing)
    finish   every receiver in reach either gets the frame or not

A receiver gets a frame if it is up, on that channel, did not transmit meanwhile, was not locked on
an earlier frame (unless this one is CAPTURE_DB stronger), and a draw falls under the success rate
of the signal to interference and noise. Interference is the sum of all that overlapped in time and
frequency, and counts for the share of the frame that it covered. What the driver reports differs
from what arrived by a constant of the device, by noise per packet, and by rounding to 1 dB (cabled
radios show 1.0 to 2.1 dB). All draws are counter hashes of (seed, transmission, receiver).

Propagation delay (under 10 us) is taken as zero.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chain.records import Refusal
from hotspot.radiotap import HEADER_BYTES, RATE, TRUNCATED, parse_radiotap, present_bytes, walk
from radio_sim import phy
from radio_sim.draws import draw_below, draw_u64, draws_u64, normals, uniforms
from radio_sim.fates import Fate, Hearing, Observer
from radio_sim.links import Floats, Indexes, Links

US = 1000
CAPTURE_DB = 10.0  # a stronger frame re-locks a receiver
CHANNEL_WIDTH_MHZ = 22
SLOT_US = 20  # long slots: a 1 Mb/s network has DSSS stations
DIFS_US = 50
CONTENTION_SLOTS = 31
CCA_US = 15  # a transmission younger than this can't be sensed yet
RUNGS_MAX = 8
ABORTED_STEP_DB = 1000  # of a frame whose sender lost power: nothing arrives
LATENCY_US = 500  # from the driver's queue to the air, drawn uniformly

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

NO_RATE = Refusal(
    "bad_rate", "radiotap: the rate is none that the medium carries; use 1, 2 or 6 to 54 Mb/s"
)


@dataclass(frozen=True, slots=True)
class MediumConfig:
    """Receivers and channel access; the defaults are those of an ordinary 2.4 GHz radio."""

    noise_dbm: float = -94.0
    sense_dbm: float = -85.0
    rssi_noise_db: float = 1.5
    device_offset_db: float = 2.0
    default_rate_kbps: int = 1000
    real_fields: bool = False  # give TSFT, signal and noise as seldom as real drivers do


@dataclass(slots=True, eq=False)
class Transmission:
    """One frame on its way: `next_ns` is when to `begin` it, `end_ns` when to `finish` it."""

    number: int
    sender: int
    body: bytes
    rate_kbps: int
    power_step_db: int
    frequency_mhz: int
    next_ns: int
    start_ns: int = 0
    end_ns: int = 0
    deferrals: int = 0
    overlaps: list[Transmission] = field(default_factory=list)


class Delivery(NamedTuple):
    """A frame with its receive radiotap header, as a monitor-mode device hands it over."""

    receiver: int
    frame: bytes
    rssi_dbm: int


class Reach(NamedTuple):
    """Who got a frame, ascending, and the level in dBm that each one measured."""

    receivers: list[int]
    levels_dbm: list[int]


NOBODY = Reach([], [])


class Medium:
    """All radios of a world. `links` are directed and sparse (`radio_sim.links`)."""

    def __init__(self, links: Links, seed: int, config: MediumConfig | None = None) -> None:
        self.links = links
        self.config = config or MediumConfig()
        self.counts: Counter[str] = Counter()
        self.airtime_us = 0
        self.observers: list[Observer] = []
        self._seed = draw_u64(seed, "medium")
        self._number = 0
        self._active: list[Transmission] = []
        self._rates: dict[bytes, int | Refusal] = {}
        self._rungs: dict[float, NDArray[np.intp]] = {}  # SNR of all links, by power step
        nodes = len(links.starts) - 1
        self.set_noise_rise(np.zeros(nodes))
        self._down = np.zeros(nodes, bool)
        self._any_down = False
        self.set_links(links)
        devices = draws_u64(draw_u64(self._seed, "device"), np.arange(nodes, dtype=np.uint64))
        self._offset_db = self.config.device_offset_db * normals(devices)
        # Device clocks: when they started, and up to 20 ppm of skew.
        clocks = uniforms(draws_u64(draw_u64(self._seed, "clock"), np.arange(nodes, dtype="u8")))
        skews = uniforms(draws_u64(draw_u64(self._seed, "skew"), np.arange(nodes, dtype="u8")))
        self._clock_us: list[int] = (clocks * 1e12).astype(np.int64).tolist()
        self._skew_ppb: list[int] = ((skews * 40_001).astype(np.int64) - 20_000).tolist()
        self._fields = [self._drawn_fields(node) for node in range(nodes)]

    def set_links(self, links: Links) -> None:
        """Let the same radios hear each other differently from now on: they moved, or a wall did.

        A frame on the air is heard over the links that hold when it ends.
        """
        self.links = links
        self._rungs.clear()
        self._one_channel = len(set(links.frequency_mhz.tolist())) <= 1
        self._starts: list[int] = links.starts.tolist()
        self._receiver_words = links.neighbours.astype(np.uint64)

    def set_noise_rise(self, rise_db: Floats) -> None:
        """Raise every receiver's noise floor above its own by so much [nodes], from now on."""
        self._noise_dbm = self.config.noise_dbm + rise_db
        self._noise_field: list[int] = np.rint(self._noise_dbm).astype(int).tolist()
        self._rungs.clear()

    def queue(
        self, sender: int, frame: bytes, power_step_db: int, frequency_mhz: int, now_ns: int
    ) -> Transmission | Refusal:
        """Take a frame with its transmit radiotap header; refuse what no radio could send."""
        rate = self._rate_of(frame)
        if isinstance(rate, Refusal):
            self.counts[rate.reason] += 1
            return rate
        number, self._number = self._number, self._number + 1
        latency_ns = draw_below(LATENCY_US * US, self._seed, "latency", number)
        body = frame[frame[2] | frame[3] << 8 :]
        return Transmission(
            number, sender, body, rate, power_step_db, frequency_mhz, now_ns + latency_ns
        )

    def begin(self, sent: Transmission, now_ns: int) -> bool:
        """Put a frame on the air if its sender senses an idle channel; else set `next_ns`."""
        busy_ns = self._busy_until(sent.sender, sent.frequency_mhz, now_ns)
        if busy_ns:
            sent.deferrals += 1
            slots = draw_below(
                CONTENTION_SLOTS + 1, self._seed, "backoff", sent.number, sent.deferrals
            )
            sent.next_ns = busy_ns + (DIFS_US + slots * SLOT_US) * US
            self.counts["deferred"] += 1
            return False
        airtime_us = phy.airtime_us(len(sent.body) + phy.FCS_BYTES, sent.rate_kbps)
        sent.start_ns, sent.end_ns = now_ns, now_ns + airtime_us * US
        for other in self._active:
            if abs(other.frequency_mhz - sent.frequency_mhz) < CHANNEL_WIDTH_MHZ:
                other.overlaps.append(sent)
                sent.overlaps.append(other)
        self._active.append(sent)
        self.counts["sent"] += 1
        self.airtime_us += airtime_us
        return True

    def finish(self, sent: Transmission) -> list[Delivery]:
        """Take a frame off the air and say who got it, in ascending order of receivers."""
        return self.deliver(sent, self.end(sent))

    def end(self, sent: Transmission) -> Reach:
        """Take a frame off the air and say who got it; `deliver` makes the bytes, where wanted."""
        self._active.remove(sent)
        reach = self._reach(sent)
        sent.overlaps.clear()  # frames that hold each other would be a cycle
        return reach

    def deliver(self, sent: Transmission, reach: Reach) -> list[Delivery]:
        """What the drivers of these receivers hand over: each its own header before the frame."""
        receivers, levels = reach
        headers = self._headers(sent, receivers, levels)
        return [
            Delivery(receiver, header + sent.body, level)
            for receiver, header, level in zip(receivers, headers, levels, strict=True)
        ]

    def tells_signal(self, node: int) -> bool:
        """Whether a node's driver gives the signal with each frame."""
        return bool(self._fields[node] & FIELD_SIGNAL)

    def _reach(self, sent: Transmission) -> Reach:
        low, high = self._starts[sent.sender], self._starts[sent.sender + 1]
        cut = self._any_down and bool(self._down[sent.sender])
        if (low == high or cut) and not self.observers:
            return NOBODY
        receivers = self.links.neighbours[low:high]
        step_db = self._step_db(sent)
        signal = self.links.rssi_dbm[low:high] - step_db
        words = draws_u64(draw_u64(self._seed, sent.number), self._receiver_words[low:high])
        table = phy.success_table(len(sent.body) + phy.FCS_BYTES, sent.rate_kbps)
        alone = success = table[self._rungs_at(step_db)[low:high]]
        if sent.overlaps:
            success = self._interfered(sent, receivers, signal, success)
        if self._any_down:
            success = np.where(self._down[receivers] | cut, 0.0, success)
        if not self._one_channel or sent.frequency_mhz != self.links.frequency_mhz[0]:
            tuned = self.links.frequency_mhz[receivers] == sent.frequency_mhz
            success = np.where(tuned, success, 0.0)
        draws = uniforms(words)
        heard = np.flatnonzero(draws < success)
        if self.observers:
            hearing = self._hearing(sent, receivers, signal, (draws < alone, draws < success))
            for observer in self.observers:
                observer.on_air(sent, hearing)
        return self._measured(receivers[heard], signal[heard], words[heard])

    def _hearing(
        self,
        sent: Transmission,
        receivers: Indexes,
        signal: Floats,
        passed: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    ) -> Hearing:
        """Why each receiver got the frame or not; `passed`: by the draw, alone and as it was."""
        noise_mw, blocked = self._interference(sent, receivers, signal)
        meanwhile = np.isin(receivers, [other.sender for other in sent.overlaps])
        alone, heard = passed
        fates = np.select(
            [
                heard,
                np.full(len(receivers), sent.power_step_db >= ABORTED_STEP_DB),
                self._down[receivers],
                self.links.frequency_mhz[receivers] != sent.frequency_mhz,
                meanwhile,
                blocked,
                alone,
            ],
            [Fate(code) for code in range(len(Fate) - 1)],
            Fate.NOISE,
        )
        sinr_db = signal - 10.0 * np.log10(noise_mw)
        return Hearing(receivers, signal, sinr_db, fates.astype(np.int8))

    @property
    def active(self) -> int:
        """Frames on the air now."""
        return len(self._active)

    def abort(self, sender: int) -> None:
        """Cut off what a node has on the air: nobody gets a frame whose sender lost power."""
        for sent in self._active:
            if sent.sender == sender:
                sent.power_step_db = ABORTED_STEP_DB

    def set_down(self, node: int, down: bool) -> None:
        """Switch a radio off or on."""
        self._down[node] = down
        self._any_down = bool(self._down.any())
        if down:
            self.abort(node)

    def _busy_until(self, sender: int, frequency_mhz: int, now_ns: int) -> int:
        """End of the last transmission that the sender senses now (its own included), or 0."""
        until, sense_dbm = 0, self.config.sense_dbm
        own = np.array([sender], np.int64)
        for other in self._active:
            if other.end_ns <= max(now_ns, until):
                continue
            if other.sender == sender:
                until = other.end_ns
                continue
            apart = abs(other.frequency_mhz - frequency_mhz)
            if apart >= CHANNEL_WIDTH_MHZ or now_ns - other.start_ns < CCA_US * US:
                continue
            power = float(self.links.rssi_of(other.sender, own)[0]) - self._step_db(other)
            # A preamble below the noise can't be sensed.
            if power - _separation_db(apart) >= max(sense_dbm, float(self._noise_dbm[sender])):
                until = other.end_ns
        return until

    def _rungs_at(self, step_db: float) -> NDArray[np.intp]:
        """Where every link stands in a success table at a power step, remembered by step."""
        rungs = self._rungs.get(step_db)
        if rungs is None:
            if len(self._rungs) >= RUNGS_MAX:  # agents may ask for steps without end
                self._rungs.clear()
            snr_db = self.links.rssi_dbm - step_db - self._noise_dbm[self.links.neighbours]
            rungs = self._rungs[step_db] = phy.table_index(snr_db)
        return rungs

    def _step_db(self, sent: Transmission) -> float:
        """Power step, and what it changes that the links were computed at another frequency."""
        home = int(self.links.frequency_mhz[sent.sender])
        if sent.frequency_mhz == home:
            return float(sent.power_step_db)
        return sent.power_step_db + 20.0 * float(np.log10(sent.frequency_mhz / home))

    def _interfered(
        self, sent: Transmission, receivers: Indexes, signal: Floats, success: Floats
    ) -> Floats:
        """Success rates with what overlapped: half duplex, capture, SINR over the covered share."""
        noise_mw, blocked = self._interference(sent, receivers, signal)
        sinr = signal - 10.0 * np.log10(noise_mw)
        table = phy.success_table(len(sent.body) + phy.FCS_BYTES, sent.rate_kbps)
        share = _covered_share(sent)
        mixed = success ** (1.0 - share) * table[phy.table_index(sinr)] ** share
        mixed = np.where(blocked, 0.0, mixed)
        self.counts["collided"] += int(np.count_nonzero((success > 0.5) & (mixed < 0.5)))
        return mixed

    def _interference(
        self, sent: Transmission, receivers: Indexes, signal: Floats
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Noise and all that overlapped, in mW; and who can't receive, whatever its SINR."""
        noise_mw = 10.0 ** (self._noise_dbm[receivers] / 10.0)
        interference_mw = np.zeros(len(receivers))
        blocked = np.zeros(len(receivers), bool)
        for other in sent.overlaps:
            apart = abs(other.frequency_mhz - sent.frequency_mhz)
            power = self.links.rssi_of(other.sender, receivers) - self._step_db(other)
            power -= _separation_db(apart)
            interference_mw += 10.0 ** (power / 10.0)
            blocked |= receivers == other.sender
            if other.start_ns < sent.start_ns and not apart:
                locked = power >= self._noise_dbm[receivers]
                blocked |= locked & (signal < power + CAPTURE_DB)
        return noise_mw + interference_mw, blocked

    def _measured(self, receivers: Indexes, signal: Floats, words: NDArray[np.uint64]) -> Reach:
        measured = signal + self._offset_db[receivers] + self.config.rssi_noise_db * normals(words)
        # Clipped to what the field's signed byte and an ordinary receiver's scale hold.
        levels = np.minimum(np.maximum(np.rint(measured), -110.0), -10.0).astype(np.int8).tolist()
        self.counts["delivered"] += len(levels)
        return Reach(receivers.tolist(), levels)

    def _headers(self, sent: Transmission, receivers: list[int], levels: list[int]) -> list[bytes]:
        """What each driver puts before the frame; each device has a clock of its own."""
        start_us, frequency_mhz = sent.start_ns // US, sent.frequency_mhz
        start_ms, flags = start_us // 1000, _CHANNEL_FLAGS[frequency_mhz < 3000]
        headers = []
        for receiver, level in zip(receivers, levels, strict=True):
            skew_us = start_ms * self._skew_ppb[receiver] // 1_000_000
            tsft_us = start_us + self._clock_us[receiver] + skew_us
            head = (0, 0, _HEADER.size, _PRESENT_ALL, tsft_us, frequency_mhz, flags)
            header = _HEADER.pack(*head, level, self._noise_field[receiver])
            headers.append(_trimmed(header, self._fields[receiver]))
        return headers

    def _drawn_fields(self, node: int) -> int:
        if not self.config.real_fields:
            return FIELDS_ALL
        scale = 1 << 32
        return sum(
            bit
            for bit, share in FIELD_SHARES
            if draw_below(scale, self._seed, "fields", bit, node) < share * scale
        )

    def _rate_of(self, frame: bytes) -> int | Refusal:
        """Rate in the transmit header, remembered by header; the default where it names none."""
        length = frame[2] | frame[3] << 8 if len(frame) >= HEADER_BYTES else 0
        header = frame[:length]
        if header not in self._rates:
            if len(self._rates) > 4096:  # agents may craft headers without end
                self._rates.clear()
            self._rates[header] = _read_rate(frame, self.config.default_rate_kbps)
        return self._rates[header]


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


def _separation_db(apart_mhz: int) -> float:
    """Part of a flat 22 MHz spectrum that falls into a channel `apart_mhz` away, as a loss."""
    if apart_mhz == 0:
        return 0.0
    inside = max(CHANNEL_WIDTH_MHZ - apart_mhz, 0) / CHANNEL_WIDTH_MHZ
    return 1000.0 if inside == 0 else -10.0 * float(np.log10(inside))


def _covered_share(sent: Transmission) -> float:
    """Share of a frame's time during which something else was on the air."""
    covered, reached = 0, sent.start_ns
    for other in sorted(sent.overlaps, key=lambda item: item.start_ns):
        start, end = max(other.start_ns, reached), min(other.end_ns, sent.end_ns)
        if end > start:
            covered, reached = covered + end - start, end
    return covered / (sent.end_ns - sent.start_ns)
