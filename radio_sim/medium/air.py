"""The air between radios, as a pure machine: frames go in, what each receiver gets comes out.

    queue    the frame waits for its driver's latency, then tries to leave
    begin    the channel is idle where the sender stands and its backoff has run out: on the air
             until end_ns; otherwise: try again at next_ns
    end      every receiver in reach either gets the frame or not; `finish` makes the bytes too

The physics is in `kernels`, shared with `run_batch`. All draws are counter hashes of (seed, frame,
receiver). Propagation delay (under 10 us) is taken as zero.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chain.records import Refusal
from radio_sim import phy
from radio_sim.draws import draw_below, draw_u64
from radio_sim.fates import FATES, Hearing, Observer
from radio_sim.links import Floats, Links
from radio_sim.medium.channels import Channel, whole_channel
from radio_sim.medium.config import DSSS_KBPS_MAX, US, MediumConfig, legacy_kind
from radio_sim.medium.headers import Drivers, RateReader
from radio_sim.medium.layout import Ints

ABORTED_STEP_DB = 1000  # of a frame whose sender lost power: nothing arrives
ROWS_MAX = 256
LATENCY_US = 500  # from the driver's queue to the air, drawn uniformly


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


def channel_of(sent: Transmission) -> Channel:
    """The channel that a frame occupies."""
    family = "dsss" if sent.rate_kbps <= DSSS_KBPS_MAX else "ofdm"
    return whole_channel(sent.frequency_mhz, 20, family)


class Delivery(NamedTuple):
    """A frame with its receive radiotap header, as a monitor-mode device hands it over."""

    receiver: int
    frame: bytes
    rssi_dbm: int


class Reach(NamedTuple):
    """Who got a frame, ascending, and the level in dBm that each one measured."""

    receivers: list[int]
    levels_dbm: list[int]


class Medium:
    """All radios of a world. `links` are directed and sparse (`radio_sim.links`)."""

    def __init__(self, links: Links, seed: int, config: MediumConfig | None = None) -> None:
        # Compiled code is loaded by whoever needs it, not by whoever imports this.
        from radio_sim.medium import kernels, state

        self._kernels, self._state = kernels, state
        self.links = links
        self.config = config or MediumConfig()
        self.airtime_us = 0
        self.observers: list[Observer] = []
        self._seed = draw_u64(seed, "medium")
        self._number = 0
        self._now_ns = 0
        # Frames sent, deferred and refused; receptions delivered, and lost to other frames.
        self.counts: Counter[str] = Counter()
        self._on_air: dict[int, Transmission] = {}
        self._rates = RateReader(self.config.default_rate_kbps)
        self._rows: dict[tuple[int, int], int] = {}
        nodes = len(links.starts) - 1
        self._air = state.make_air(links, self._seed, self.config)
        self._heard, self._levels = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
        self._drivers = Drivers(self._seed, nodes, real_fields=self.config.real_fields)
        self._channels: list[Channel] = []
        self._tune_all()
        self.set_noise_rise(np.zeros(nodes))

    def fates(self) -> dict[str, int]:
        """What became of all frames so far at receivers in reach, by `radio_sim.fates`."""
        return dict(zip(FATES, self._air.counts.tolist(), strict=False))

    @property
    def active(self) -> int:
        """Frames on the air now."""
        return len(self._on_air)

    # --- changes while it runs ---------------------------------------------------------------

    def set_links(self, links: Links, now_ns: int | None = None) -> None:
        """Let the same radios hear each other differently from now on: they moved, or a wall did.

        A frame on the air is received piece by piece: what has passed is as it was. Without
        `now_ns` the change is as old as the last frame's begin or end.
        """
        self._now_ns = max(self._now_ns, now_ns or 0)
        self.links = links
        self._air = self._state.moved(self._air, links, self._now_ns)
        self._tune_all()

    def set_noise_rise(self, rise_db: Floats, now_ns: int | None = None) -> None:
        """Raise every receiver's noise floor above its own by so much [nodes], from now on."""
        self._now_ns = max(self._now_ns, now_ns or 0)
        self._kernels.end_pieces(self._air, self._now_ns)
        self._state.with_noise(self._air, self.config, rise_db)
        self._noise_dbm = self.config.noise_dbm + rise_db
        self._drivers.noise_dbm = np.rint(self._noise_dbm).astype(int).tolist()

    def set_down(self, node: int, down: bool) -> None:
        """Switch a radio off or on."""
        radios, kernels = self._air.node, self._kernels
        radios[node, kernels.UP] = not down
        if not down:
            return
        if radios[node, kernels.LOCK] >= 0:
            kernels.let_go(radios, self._air.fate, node, kernels.RECEIVER_DOWN)
        self.abort(node)

    def abort(self, sender: int) -> None:
        """Cut off what a node has on the air: nobody gets a frame whose sender lost power."""
        sent = self._on_air.get(sender)
        if sent is not None and sent.power_step_db != ABORTED_STEP_DB:
            sent.power_step_db = ABORTED_STEP_DB
            self._kernels.withdraw(self._air, sender, self._now_ns, self._kernels.SENDER_DOWN)

    # --- a frame's way -----------------------------------------------------------------------

    def queue(
        self, sender: int, frame: bytes, power_step_db: int, frequency_mhz: int, now_ns: int
    ) -> Transmission | Refusal:
        """Take a frame with its transmit radiotap header; refuse what no radio could send."""
        rate = self._rates.rate_of(frame)
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
        """Put a frame on the air if its sender may send now; else set `next_ns`."""
        self._now_ns = max(self._now_ns, now_ns)
        sender, home = sent.sender, int(self.links.frequency_mhz[sent.sender])
        row = self._row_of(len(sent.body) + phy.FCS_BYTES, sent.rate_kbps)
        tuning = self._tuning_of(channel_of(sent))
        # Links were computed at the sender's own frequency.
        factor = 10.0 ** (-sent.power_step_db / 10.0) * (home / sent.frequency_mhz) ** 2
        window = self.config.window
        if sent.frequency_mhz == home:
            again = self._kernels.begin(
                self._air, sender, sent.number, row, tuning, factor, now_ns, window
            )
        else:
            there = whole_channel(sent.frequency_mhz, self.config.bandwidth_mhz)
            again = self._busy_elsewhere(
                sent, self._tuning_of(there), now_ns
            ) or -self._kernels.put_on(
                self._air, sender, sent.number, row, tuning, factor, now_ns
            )
        if again > 0:
            sent.next_ns = again
            sent.deferrals += 1
            self.counts["deferred"] += 1
            return False
        sent.start_ns, sent.end_ns = now_ns, -again
        self._on_air[sender] = sent
        self.counts["sent"] += 1
        self.airtime_us += (sent.end_ns - now_ns) // US
        if not self._air.node[sender, self._kernels.UP]:
            self.abort(sender)
        return True

    def finish(self, sent: Transmission) -> list[Delivery]:
        """Take a frame off the air and say who got it, in ascending order of receivers."""
        return self.deliver(sent, self.end(sent))

    def end(self, sent: Transmission) -> Reach:
        """Take a frame off the air and say who got it; `deliver` makes the bytes, where wanted."""
        self._now_ns = max(self._now_ns, sent.end_ns)
        del self._on_air[sent.sender]
        low, high = self._air.starts[sent.sender : sent.sender + 2]
        told = bool(self.observers)
        arrived = self._air.arriving[low:high].copy() if told else None
        if told:
            self._kernels.note_sinrs(self._air, sent.sender)
        count = self._kernels.take_off(
            self._air, sent.sender, sent.end_ns, self._heard, self._levels, self.config.window
        )
        self.counts["delivered"] += count
        lost = self._air.counts[self._kernels.LOCKED : self._kernels.INTERFERENCE + 1]
        self.counts["collided"] = int(lost.sum())
        if arrived is not None:
            self._tell(sent, slice(low, high), arrived)
        return Reach(self._heard[:count].tolist(), self._levels[:count].tolist())

    def deliver(self, sent: Transmission, reach: Reach) -> list[Delivery]:
        """What the drivers of these receivers hand over: each its own header before the frame."""
        header, start_ns, frequency_mhz = self._drivers.header, sent.start_ns, sent.frequency_mhz
        return [
            Delivery(receiver, header(receiver, start_ns, frequency_mhz, level) + sent.body, level)
            for receiver, level in zip(*reach, strict=True)
        ]

    def keep_clear_of_vlan(self, start_ns: int) -> None:
        """Choose device clocks that TAP devices carry unharmed (`Drivers.keep_clear_of_vlan`)."""
        self._drivers.keep_clear_of_vlan(start_ns)

    def tells_signal(self, node: int) -> bool:
        """Whether a node's driver gives the signal with each frame."""
        return self._drivers.tells_signal(node)

    # --- parts -------------------------------------------------------------------------------

    def _tell(self, sent: Transmission, part: slice, arrived: Ints) -> None:
        """Tell the observers what became of a frame that was just taken off the air."""
        with np.errstate(divide="ignore"):
            signal_dbm = 10.0 * np.log10(arrived) - self._kernels.ZEPTOWATT_DB
        hearing = Hearing(
            self._air.neighbours[part],
            signal_dbm,
            self._air.sinr[part].copy(),
            self._air.fate[part] & (self._kernels.SENSED_MARK - 1),
        )
        for observer in self.observers:
            observer.on_air(sent, hearing)

    def _busy_elsewhere(self, sent: Transmission, tuning: int, now_ns: int) -> int:
        """When to ask again on a channel that isn't the sender's own, 0 if it is idle there.

        It doesn't follow what goes on there: it looks when it comes, and draws anew each time.
        """
        config, until_ns, energy_mw = self.config, 0, 0.0
        detect_mw = 10.0 ** (config.energy_detect_dbm / 10.0)
        own = np.array([sent.sender], np.int64)
        for other in self._on_air.values():
            if other.sender == sent.sender:
                until_ns = max(until_ns, other.end_ns)
                continue
            channel = self._channels.index(channel_of(other))
            share = float(self._air.reject[channel, tuning])
            if not share or now_ns - other.start_ns < config.cca_us * US:
                continue
            power_dbm = float(self.links.rssi_of(other.sender, own)[0]) - other.power_step_db
            power_dbm += 10.0 * float(np.log10(share))
            energy_mw += 10.0 ** (power_dbm / 10.0)
            is_known = self._air.decodes[channel, tuning] and power_dbm >= config.sense_dbm
            if is_known or energy_mw >= detect_mw:
                until_ns = max(until_ns, other.end_ns)
        if not until_ns:
            return 0
        key = (sent.number, sent.deferrals)
        slots = draw_below(config.window + 1, self._seed, "elsewhere", *key)
        return until_ns + (config.sifs_us + (2 + slots) * config.slot_us) * US

    def _row_of(self, mpdu_bytes: int, rate_kbps: int) -> int:
        row = self._rows.get((mpdu_bytes, rate_kbps))
        if row is None:
            if len(self._rows) >= ROWS_MAX and not self._on_air:  # agents may send any length
                self._rows.clear()
                self._air = self._state.without_kinds(self._air)
            row = self._rows[mpdu_bytes, rate_kbps] = len(self._rows)
            self._air = self._state.with_kind(self._air, legacy_kind(mpdu_bytes, rate_kbps))
        return row

    def _tuning_of(self, channel: Channel) -> int:
        if channel not in self._channels:
            self._channels.append(channel)
            self._air = self._state.with_channels(self._air, self._channels)
        return self._channels.index(channel)

    def _tune_all(self) -> None:
        width_mhz = self.config.bandwidth_mhz
        home = [
            self._tuning_of(whole_channel(mhz, width_mhz))
            for mhz in self.links.frequency_mhz.tolist()
        ]
        self._air.node[:, self._kernels.TUNING] = home
