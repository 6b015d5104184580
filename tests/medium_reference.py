"""The medium once more, plainly: lists of frames, sums over them, one rule after the other.

No state is kept that could be computed: the energy at an antenna is the sum over what is on the
air, and whether a channel is busy is asked again each time. Slow, and equal to the kernels to the
last bit: same seed, same frames, same receptions and levels.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np

from radio_sim.draws import draw_u64, draws_u64, mix64, normal_table, normals
from radio_sim.links import Links
from radio_sim.medium.config import US, FrameKind, MediumConfig

MASK, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15
FINISH, ANSWER, TRY = 0, 1, 2


def counter(key: int, number: int) -> int:
    return mix64(((key ^ (number & MASK)) + GOLDEN) & MASK)


def zeptowatt(dbm: float) -> float:
    return min(float(np.float64(10.0) ** ((np.float64(dbm) + 180.0) / 10.0)), 1e17)


def ratio(decibel: float) -> float:
    return float(10.0 ** (decibel / 10.0))


@dataclass(eq=False)
class Sent:
    number: int
    frame: int
    sender: int
    kind: FrameKind
    start: int
    end: int
    power: dict[int, int]
    sensed: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Lock:
    sent: Sent
    start: int
    last: int
    cost: int = 0
    hit: bool = False


@dataclass(eq=False)
class Radio:
    lock: Lock | None = None
    sending: Sent | None = None
    busy_since: int = 0
    busy_until: int = 0
    idle_since: int = -(2**61)
    extra: int = 0
    slots: int | None = None


class Reference:
    """One channel; broadcasts and unicast frames with acknowledgements."""

    def __init__(self, links: Links, seed: int, config: MediumConfig) -> None:
        self.config, self.links = config, links
        own = draw_u64(seed, "medium")
        self.keys = draw_u64(own), draw_u64(own, "backoff"), draw_u64(own, "fading")
        count = len(links.starts) - 1
        indexes = np.arange(count, dtype=np.uint64)
        self.offset = config.device_offset_db * normals(draws_u64(draw_u64(own, "device"), indexes))
        self.radios = [Radio() for _ in range(count)]
        self.on_air: list[Sent] = []
        self.noise = int(zeptowatt(config.noise_dbm))
        self.sense = int(zeptowatt(max(config.sense_dbm, config.noise_dbm)))
        self.detect = int(zeptowatt(config.energy_detect_dbm))
        self.difs = (config.sifs_us + 2 * config.slot_us) * US
        self.slot = config.slot_us * US
        self.eifs = (config.sifs_us + config.ack_us) * US if config.eifs else 0

    # --- what is there -------------------------------------------------------------------------

    def energy(self, radio: int) -> int:
        return sum(sent.power.get(radio, 0) for sent in self.on_air)

    def is_busy(self, radio: int) -> bool:
        me = self.radios[radio]
        sensed = any(radio in sent.sensed for sent in self.on_air)
        return me.sending is not None or sensed or self.energy(radio) >= self.detect

    def is_sensed(self, radio: int) -> bool:
        me = self.radios[radio]
        return me.sending is not None or any(radio in sent.sensed for sent in self.on_air)

    def cost(self, kind: FrameKind, signal_to_noise: float) -> int:
        place = (10.0 * math.log10(signal_to_noise) + 20.0) * 20.0 + 0.5
        success = kind.success[int(min(max(place, 0.0), len(kind.success) - 1.0))]
        return round(float(np.clip(-1e6 * np.log(max(success, 1e-30)), 0.0, 5e7)))

    def floor(self, kind: FrameKind) -> float:
        return kind.bandwidth_mhz / 20.0 * self.noise

    def arriving(self, sender: int, number: int, step_db: float) -> dict[int, int]:
        low, high = self.links.starts[sender : sender + 2]
        factor = float(10.0 ** (-np.float64(step_db) / 10.0))
        out = {}
        for link in range(low, high):
            receiver = int(self.links.neighbours[link])
            strength = zeptowatt(self.links.rssi_dbm[link]) * factor * 1.0
            if self.config.fading_db:
                quantiles, steps = normal_table()
                cell = counter(counter(self.keys[2], number), receiver) >> 52
                strength *= float(
                    10.0 ** (self.config.fading_db * (quantiles + steps / 2.0)[cell] / 10.0)
                )
            out[receiver] = int(min(strength, 1e17))
        return out

    # --- receiving -----------------------------------------------------------------------------

    def charge(self, radio: int, now: int) -> None:
        """End a piece of what a radio receives."""
        lock = self.radios[radio].lock
        if lock is None or now == lock.last:
            return
        power = lock.sent.power[radio]
        other = self.energy(radio) - power
        lock.hit = lock.hit or other > 0
        noise = self.floor(lock.sent.kind) + lock.sent.kind.interference_weight * float(other)
        lock.cost += (now - lock.last) * self.cost(lock.sent.kind, power / noise)
        lock.last = now

    def meets(self, sent: Sent, radio: int, now: int) -> bool:
        """Whether a radio locks on a frame that begins."""
        me, power, kind, config = self.radios[radio], sent.power[radio], sent.kind, self.config
        least = ratio(kind.least_snr_db)
        if me.sending is not None or power < least * self.floor(kind):
            return False
        if me.lock is not None:
            held = me.lock.sent.power[radio]
            early = now - me.lock.start <= config.capture_window_us * US
            margin = config.preamble_capture_db if early else config.late_capture_db
            if power < ratio(margin) * held:
                if early and power * ratio(config.training_db) > held:
                    me.lock.cost += 2**55
                    me.lock.hit = True
                return False
        noise = self.floor(kind) + kind.interference_weight * float(self.energy(radio))
        return not power < least * noise

    def begin(
        self, sender: int, number: int, frame: int, kind: FrameKind, step_db: float, now: int
    ) -> Sent:
        me, end = self.radios[sender], now + kind.airtime_ns
        me.lock = None
        if not self.is_busy(sender):
            me.busy_since = now
        me.extra, me.busy_until = 0, max(me.busy_until, end)
        power = self.arriving(sender, number, step_db)
        me.sending = sent = Sent(number, frame, sender, kind, now, end, power)
        for radio in power:
            self.charge(radio, now)
        busy = {radio: self.is_busy(radio) for radio in power}
        for radio in power:
            if self.meets(sent, radio, now):
                self.radios[radio].lock = Lock(sent, now, now)
                sent.sensed.add(radio)
            if power[radio] >= min(self.sense, self.detect):
                sent.sensed.add(radio)
        self.on_air.append(sent)
        for radio in power:
            if radio in sent.sensed or self.energy(radio) >= self.detect:
                other = self.radios[radio]
                other.busy_since = other.busy_since if busy[radio] else now
                other.busy_until = max(other.busy_until, end)
        return sent

    def end(self, sent: Sent, window: int | None) -> list[tuple[int, int]]:
        """Who got a frame, at which level. `window` is that of the sender's next backoff."""
        now, heard = sent.end, []
        for radio in sent.power:
            self.charge(radio, now)
        busy = {radio: self.is_busy(radio) for radio in sent.power}
        self.on_air.remove(sent)
        for radio, power in sorted(sent.power.items()):
            other, lock = self.radios[radio], self.radios[radio].lock
            if busy[radio] and not self.is_busy(radio):
                self.turns_idle(other, now)
            if lock is None or lock.sent is not sent:
                continue
            other.lock = None
            word = counter(counter(self.keys[0], sent.number), radio)
            got = (word >> 11) * 2.0**-53 < math.exp(-lock.cost / sent.kind.airtime_ns / 1e6)
            self.leaves_room(radio, 0 if got else self.eifs, now)
            if got:
                deviation = float(normals(np.array([word], np.uint64))[0])
                level = 10.0 * math.log10(power) - 180.0
                level = level + self.offset[radio] + self.config.rssi_noise_db * deviation
                heard.append((radio, round(min(max(level, -110.0), -10.0))))
        me = self.radios[sent.sender]
        me.sending = None
        if window is not None:
            me.idle_since = me.busy_since
            me.slots = self.drawn(sent.number, now, window)
        if not self.is_busy(sent.sender):
            self.turns_idle(me, now)
        return heard

    # --- channel access ------------------------------------------------------------------------

    def drawn(self, number: int, now: int, window: int) -> int:
        word = counter(counter(self.keys[1], number), now)
        return ((word >> 32) * (window + 1)) >> 32

    def turns_idle(self, me: Radio, now: int) -> None:
        if me.slots is not None:
            run = me.busy_since - me.idle_since - self.difs
            if run >= me.slots * self.slot:
                me.slots = None
            elif run > 0:
                me.slots -= run // self.slot
        me.idle_since, me.extra = now + me.extra, 0

    def leaves_room(self, radio: int, extra: int, now: int) -> None:
        if self.is_busy(radio):
            self.radios[radio].extra = extra
        else:
            self.radios[radio].idle_since = now + extra

    def asks(self, radio: int, number: int, now: int, window: int) -> int | None:
        """When a radio may ask again to send; None: now."""
        me = self.radios[radio]
        if me.sending is not None:
            return me.sending.end + self.difs
        busy = self.is_busy(radio) and now >= me.busy_since + self.config.cca_us * US
        since = me.idle_since + self.difs
        if me.slots is None and not busy and now >= since:
            return None
        if me.slots is None or (busy and me.busy_since - since >= me.slots * self.slot):
            me.slots = self.drawn(number, now, window)
            if busy:
                me.idle_since = me.busy_since
                since = me.idle_since + self.difs
        if not busy:
            due = since + me.slots * self.slot
            return due if now < due else None
        if not self.is_sensed(radio):
            return now + self.slot
        left = me.slots - max(me.busy_since - since, 0) // self.slot
        return max(me.busy_until, now) + self.difs + left * self.slot


def run_reference(
    links: Links,
    seed: int,
    config: MediumConfig,
    kinds: list[FrameKind],
    frames: list[tuple[int, int, int, int, float]],
    ack: FrameKind | None = None,
) -> list[tuple[int, int, int]]:
    """Receptions (frame, receiver, level) of frames (ready_ns, sender, kind, target, step_db)."""
    air = Reference(links, seed, config)
    count = len(links.starts) - 1
    queues: list[list[int]] = [[] for _ in range(count)]
    for index in sorted(range(len(frames)), key=lambda place: frames[place][0]):
        queues[frames[index][1]].append(index)
    tries, answers = [0] * count, [-1] * count
    numbers = iter(range(len(frames), 1 << 60))
    spare = next(numbers)
    heap = [(frames[q[0]][0], TRY, radio) for radio, q in enumerate(queues) if q]
    heapq.heapify(heap)
    out = []

    def window(sender: int) -> int:
        return min(((config.window + 1) << tries[sender]) - 1, config.window_max)

    def through(sender: int, now: int) -> None:
        tries[sender] = 0
        queues[sender].pop(0)
        if queues[sender]:
            ready = max(frames[queues[sender][0]][0], now)
            heapq.heappush(heap, (ready, TRY, sender))

    def redraw(sender: int, number: int, now: int, widest: int) -> None:
        me = air.radios[sender]
        me.slots = air.drawn(number, now, widest)
        if air.is_sensed(sender):
            me.idle_since = me.busy_since

    def failed(sender: int, number: int, now: int) -> None:
        tries[sender] += 1
        if 0 <= config.retries < tries[sender]:
            through(sender, now)
        else:
            heapq.heappush(heap, (now, TRY, sender))
        redraw(sender, number, now, window(sender))
        air.leaves_room(sender, air.eifs, now)

    last: dict[int, int] = {}
    while heap:
        now, what, radio = heapq.heappop(heap)
        me = air.radios[radio]
        if what == TRY:
            frame = queues[radio][0]
            number = spare if tries[radio] else frame
            again = air.asks(radio, number, now, window(radio))
            if again is not None:
                heapq.heappush(heap, (again, TRY, radio))
                continue
            spare = next(numbers) if number == spare else spare
            me.slots = None
            last[radio] = number
            sent = air.begin(radio, number, frame, kinds[frames[frame][2]], frames[frame][4], now)
            heapq.heappush(heap, (sent.end, FINISH, radio))
        elif what == ANSWER:
            assert ack is not None
            if me.sending is not None:
                failed(answers[radio], last[answers[radio]], now)
                answers[radio] = -1
                continue
            last[radio] = spare
            sent = air.begin(radio, spare, -1, ack, 0.0, now)
            spare = next(numbers)
            heapq.heappush(heap, (sent.end, FINISH, radio))
        else:
            sent = me.sending
            assert sent is not None
            if sent.frame < 0:
                asker, answers[radio] = answers[radio], -1
                got = any(hearer == asker for hearer, _ in air.end(sent, None))
                if got:
                    through(asker, now)
                else:
                    failed(asker, last[asker], now)
                continue
            target = frames[sent.frame][3]
            heard = air.end(sent, config.window if target < 0 else None)
            out += [(sent.frame, hearer, level) for hearer, level in heard]
            if target < 0:
                through(radio, now)
            elif any(hearer == target for hearer, _ in heard):
                redraw(radio, sent.number, now, config.window)
                answers[target] = radio
                heapq.heappush(heap, (now + config.sifs_us * US, ANSWER, target))
            else:
                failed(radio, sent.number, now)
    return out
