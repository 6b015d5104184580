"""The physics of the air in compiled form: who senses, who locks on, who gets a frame.

One implementation serves both users: `Medium` calls `begin` and `take_off` event by event, and
`run` does the same in a loop of its own for `run_batch`. All state lies in arrays (`layout`):
a line per radio, what arrives and what becomes of it per link (a radio has at most one frame on the
air, so one place is enough), and a row per kind of frame (airtime, cost of every SINR).

Powers are integers in zeptowatt (1e-18 mW; the noise of 20 MHz is 4e8 of them): sums are exact, so
taking a frame away leaves exactly what was there before, in any order. Costs are negative logs of
success rates in millionths: costs of the pieces of a frame add up, weighted by their time.

A receiver that is up, silent and not locked locks on a frame whose signal to noise and interference
reaches the least that its kind needs. Locked, it stays until the frame ends or a stronger one
captures it: by `PREAMBLE_CAPTURE` in the first microseconds, while it trains, by `LATE_CAPTURE`
later; one that falls into its training, too weak for that, may still spoil it (`TRAINING`).
Whenever the energy at a locked receiver changes, one piece of the frame ends and another begins. At
the end one draw of (seed, frame, receiver) is held against the product of the pieces' success.

Channel access is that of DCF (IEEE 802.11-2020, 10.3): idle for DIFS, then slots that are counted
down while idle and frozen while busy; a frame that meets an idle channel and no running count goes
at once; every frame is followed by a new count. A transmission younger than the CCA time can't be
sensed: radios whose count ends meanwhile collide. Counts are settled when a channel turns idle, not
slot by slot.
"""

from __future__ import annotations

import math

import numpy as np

from radio_sim.medium.compiled import compiled, inlined
from radio_sim.medium.layout import Air, Bytes, Floats, Ints, Load

# Columns of a radio.
ENERGY, NOISE, SENSE, SENSED = 0, 1, 2, 3
LOCK, ON_AIR, UP, TUNING = 4, 5, 6, 7
LOCK_POWER, LOCK_LINK, LOCK_START, PIECE_START = 8, 9, 10, 11
COST, PEAK, BUSY_SINCE, BUSY_UNTIL = 12, 13, 14, 15
IDLE_SINCE, SLOTS, EXTRA, END = 16, 17, 18, 19
ROW, NUMBER, AIR_TUNING, HIT = 20, 21, 22, 23
NODE_COLUMNS = 24

# Columns of a kind of frame.
AIRTIME, WEIGHT = 0, 1
ROW_COLUMNS = 2

# Places of the access parameters and of the counts.
CCA, DIFS, SLOT, ENERGY_DETECT, EIFS, WINDOW, WINDOW_MAX, SIFS, CAPTURE_TIME, RETRIES = range(10)
PARAMETERS = 10
PREAMBLE_CAPTURE, LATE_CAPTURE, TRAINING, RSSI_SD = range(4)

# Fates of a frame at a receiver: those of radio_sim.fates, then one for "still on the way".
DELIVERED, SENDER_DOWN, RECEIVER_DOWN, OFF_CHANNEL = 0, 1, 2, 3
HALF_DUPLEX, LOCKED, INTERFERENCE, TOO_NOISY, ON_THE_WAY = 4, 5, 6, 7, 8
SENSED_MARK = 16  # added to the fate while the receiver senses the frame

RUNG_FLOOR_DB, RUNGS_PER_DB = -20.0, 20.0
COST_SCALE = 1e6
ZEPTOWATT_DB = 180.0  # dBm of 1e-18 mW, negated
STRONGEST = 1e17  # -10 dBm: receivers take no more, and 90 of them add up in 64 bits
SPOILED = 2**55  # the cost of a frame whose training another one fell into
NEVER = 2**62

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MULTIPLY_1, MULTIPLY_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT_1, SHIFT_2, SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
SHIFT_UNIT, SHIFT_HALF, SHIFT_CELL, SHIFT_FADE = map(np.uint64, (11, 32, 20, 52))
LOW_HALF, LOW_FRACTION = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFF)


@inlined
def mixed(key: np.uint64, counter: np.uint64) -> np.uint64:
    """The counter hash of `radio_sim.draws`: 64 bits of (key, counter)."""
    word = (key ^ counter) + GOLDEN
    word = (word ^ (word >> SHIFT_1)) * MULTIPLY_1
    word = (word ^ (word >> SHIFT_2)) * MULTIPLY_2
    return word ^ (word >> SHIFT_3)


@compiled
def drawn_slots(air: Air, number: int, now: int, window: int) -> int:
    """Backoff in 0..window for this frame at this time."""
    key = mixed(air.keys[1], np.uint64(number))
    high = mixed(key, np.uint64(now)) >> SHIFT_HALF
    return int((high * np.uint64(window + 1)) >> SHIFT_HALF)


@inlined
def cost_of(cost: Ints, row: int, ratio: float) -> int:
    """Cost of a whole frame at a linear SINR."""
    rungs = cost.shape[1] - 1
    place = (10.0 * math.log10(ratio) - RUNG_FLOOR_DB) * RUNGS_PER_DB + 0.5
    return int(cost[row, int(min(max(place, 0.0), float(rungs)))])


@inlined
def end_piece(node: Ints, rows: Ints, wider: Floats, cost: Ints, receiver: int, now: int) -> None:
    """Charge a locked receiver for the time since the energy at its antenna last changed."""
    took = now - node[receiver, PIECE_START]
    if took <= 0:
        return
    row = node[node[receiver, LOCK], ROW]
    power = node[receiver, LOCK_POWER]
    other = node[receiver, ENERGY] - power
    if other > 0:
        node[receiver, HIT] = 1
        node[receiver, PEAK] = max(node[receiver, PEAK], other)
    noise = wider[row] * node[receiver, NOISE] + rows[row, WEIGHT] * float(other)
    node[receiver, COST] += took * cost_of(cost, row, power / noise)
    node[receiver, PIECE_START] = now


@inlined
def settle(node: Ints, parameters: Ints, radio: int, now: int) -> None:
    """The channel turns idle at a radio: take off the slots counted before it was busy."""
    slots = node[radio, SLOTS]
    if slots >= 0:
        since = node[radio, IDLE_SINCE] + parameters[DIFS]
        run = node[radio, BUSY_SINCE] - since
        if run >= slots * parameters[SLOT]:
            node[radio, SLOTS] = -1  # it ran out with nothing to send
        elif run > 0:
            node[radio, SLOTS] = slots - run // parameters[SLOT]
    node[radio, IDLE_SINCE] = now + node[radio, EXTRA]
    node[radio, EXTRA] = 0


@inlined
def is_busy(node: Ints, parameters: Ints, radio: int) -> bool:
    """Whether anything is sensed at a radio, its own frame included, however young."""
    return bool(node[radio, SENSED] > 0 or node[radio, ENERGY] >= parameters[ENERGY_DETECT])


@inlined
def leave_room(node: Ints, parameters: Ints, radio: int, extra: int, now: int) -> None:
    """Something went wrong: from when the channel is idle, leave time for an acknowledgement."""
    if is_busy(node, parameters, radio):
        node[radio, EXTRA] = extra
    else:
        node[radio, IDLE_SINCE] = now + extra


@inlined
def lock_on(node: Ints, receiver: int, sender: int, link: int, power: int, now: int) -> None:
    """Begin to receive."""
    node[receiver, LOCK] = sender
    node[receiver, LOCK_LINK] = link
    node[receiver, LOCK_POWER] = power
    node[receiver, LOCK_START] = now
    node[receiver, PIECE_START] = now
    node[receiver, COST] = 0
    node[receiver, PEAK] = 0
    node[receiver, HIT] = 0


@inlined
def let_go(node: Ints, fate: Bytes, receiver: int, why: int) -> None:
    """Stop receiving before the end, for this reason."""
    link = node[receiver, LOCK_LINK]
    fate[link] = (fate[link] & SENSED_MARK) | why
    node[receiver, LOCK] = -1


@inlined
def meet(
    node: Ints, rows: Ints, least: Floats, wider: Floats, parameters: Ints, ratios: Floats,
    receiver: int, row: int, power: int, now: int,
) -> int:
    """Fate of a frame of the receiver's channel as it reaches the antenna: ON_THE_WAY to lock on.

    Its own energy isn't added yet.
    """
    if node[receiver, UP] == 0:
        return RECEIVER_DOWN
    if node[receiver, ON_AIR]:
        return HALF_DUPLEX
    noise = wider[row] * node[receiver, NOISE]
    if power < least[row] * noise:
        return TOO_NOISY
    locked = node[receiver, LOCK] >= 0
    if locked:
        early = now - node[receiver, LOCK_START] <= parameters[CAPTURE_TIME]
        margin = ratios[PREAMBLE_CAPTURE] if early else ratios[LATE_CAPTURE]
        if power < margin * node[receiver, LOCK_POWER]:
            if early and power * ratios[TRAINING] > node[receiver, LOCK_POWER]:
                node[receiver, COST] += SPOILED
                node[receiver, HIT] = 1
            return LOCKED
    if power < least[row] * (noise + rows[row, WEIGHT] * float(node[receiver, ENERGY])):
        return LOCKED if locked else INTERFERENCE
    return ON_THE_WAY


@inlined
def add_energy(
    node: Ints, fate: Bytes, parameters: Ints, receiver: int, link: int, power: int, known: bool,
    end: int, now: int,
) -> None:
    """Put what arrives over a link onto the receiver's antenna; it may turn busy by that.

    `known` says that the receiver can make sense of the frame.
    """
    was_busy = is_busy(node, parameters, receiver)
    node[receiver, ENERGY] += power
    sensed = power >= parameters[ENERGY_DETECT] or fate[link] == ON_THE_WAY
    if sensed or (known and power >= node[receiver, SENSE]):
        node[receiver, SENSED] += 1
        fate[link] |= SENSED_MARK
    elif node[receiver, ENERGY] < parameters[ENERGY_DETECT]:
        return
    if not was_busy:
        node[receiver, BUSY_SINCE] = now
    node[receiver, BUSY_UNTIL] = max(node[receiver, BUSY_UNTIL], end)


@inlined
def take_energy(
    node: Ints, fate: Bytes, parameters: Ints, receiver: int, link: int, power: int, now: int
) -> None:
    """Take away what arrives over a link; the receiver's channel may turn idle by that."""
    was_busy = is_busy(node, parameters, receiver)
    node[receiver, ENERGY] -= power
    if fate[link] & SENSED_MARK:
        fate[link] -= SENSED_MARK
        node[receiver, SENSED] -= 1
    if was_busy and not is_busy(node, parameters, receiver):
        settle(node, parameters, receiver, now)


@compiled
def radiate(air: Air, sender: int, now: int, anew: bool) -> None:
    """Let a frame arrive over all links; `anew` unless it already was on the air."""
    node, fate, arriving, gain, fade = air.node, air.fate, air.arriving, air.gain, air.fade
    rows, least, wider, cost = air.rows, air.least, air.wider, air.cost
    parameters, ratios, neighbours = air.parameters, air.ratios, air.neighbours
    row, factor, end = node[sender, ROW], air.factor[sender], node[sender, END]
    shares, decodes = air.reject[node[sender, AIR_TUNING]], air.decodes[node[sender, AIR_TUNING]]
    key = mixed(air.keys[2], np.uint64(node[sender, NUMBER]))
    for link in range(air.starts[sender], air.starts[sender + 1]):
        receiver = neighbours[link]
        strength = gain[link] * factor * shares[node[receiver, TUNING]]
        if len(fade):
            strength *= fade[mixed(key, np.uint64(receiver)) >> SHIFT_FADE]
        power = int(min(strength, STRONGEST))
        arriving[link] = power
        known = decodes[node[receiver, TUNING]]
        if node[receiver, LOCK] >= 0:
            end_piece(node, rows, wider, cost, receiver, now)
        if not anew:
            if node[receiver, LOCK] == sender:
                node[receiver, LOCK_LINK], node[receiver, LOCK_POWER] = link, power
        elif known:
            why = meet(node, rows, least, wider, parameters, ratios, receiver, row, power, now)
            if why == ON_THE_WAY:
                if node[receiver, LOCK] >= 0:
                    let_go(node, fate, receiver, INTERFERENCE)
                lock_on(node, receiver, sender, link, power, now)
            fate[link] = why
        else:
            fate[link] = OFF_CHANNEL if node[receiver, UP] else RECEIVER_DOWN
        add_energy(node, fate, parameters, receiver, link, power, known, end, now)


@compiled
def put_on(
    air: Air, sender: int, number: int, row: int, tuning: int, factor: float, now: int
) -> int:
    """Put a frame on the air, whatever its sender senses; returns when it ends."""
    node = air.node
    if node[sender, LOCK] >= 0:
        let_go(node, air.fate, sender, HALF_DUPLEX)
    if not is_busy(node, air.parameters, sender):
        node[sender, BUSY_SINCE] = now
    end = now + air.rows[row, AIRTIME]
    node[sender, SENSED] += 1  # its own
    node[sender, ON_AIR] = 1
    node[sender, EXTRA], node[sender, END] = 0, end
    node[sender, ROW], node[sender, NUMBER], node[sender, AIR_TUNING] = row, number, tuning
    air.factor[sender] = factor
    node[sender, BUSY_UNTIL] = max(node[sender, BUSY_UNTIL], end)
    radiate(air, sender, now, True)
    return int(end)


@inlined
def judged(
    node: Ints, wider: Floats, cost: Ints, row: int, airtime: int, receiver: int, word: np.uint64
) -> int:
    """Fate of a frame that a receiver stayed locked on to its end."""
    draw = (word >> SHIFT_UNIT) * 2.0**-53
    if draw < math.exp(-node[receiver, COST] / airtime / COST_SCALE):
        return DELIVERED
    if not node[receiver, HIT]:
        return TOO_NOISY
    alone = node[receiver, LOCK_POWER] / (wider[row] * node[receiver, NOISE])
    passes = draw < math.exp(-cost_of(cost, row, alone) / COST_SCALE)
    return INTERFERENCE if passes else TOO_NOISY


@inlined
def level_of(
    quantiles: Floats, steps: Floats, offset_db: float, sd_db: float, power: int, word: np.uint64
) -> int:
    """Signal figure in whole dBm: offset of the device, deviation of the packet, clipped."""
    low = word & LOW_HALF
    cell = int(low >> SHIFT_CELL)
    normal = quantiles[cell] + (low & LOW_FRACTION) * 2.0**-20 * steps[cell]
    level = 10.0 * math.log10(power) - ZEPTOWATT_DB + offset_db + sd_db * normal
    return int(np.rint(min(max(level, -110.0), -10.0)))


@compiled
def note_sinrs(air: Air, sender: int) -> None:
    """Write down the SINR of a frame about to end: at its worst where it is being received."""
    node, row = air.node, air.node[sender, ROW]
    for link in range(air.starts[sender], air.starts[sender + 1]):
        receiver, power = air.neighbours[link], air.arriving[link]
        other = node[receiver, ENERGY] - power
        if node[receiver, LOCK] == sender:
            other = max(other, node[receiver, PEAK])
        noise = air.wider[row] * node[receiver, NOISE] + float(other)
        air.sinr[link] = 10.0 * math.log10(max(power, 1) / noise)


@compiled
def take_off(air: Air, sender: int, now: int, heard: Ints, levels: Ints, window: int) -> int:
    """End a frame: who got it goes to `heard` and `levels`; returns how many.

    `window` is what the sender's next backoff is drawn from; below 0: it keeps the one it has.
    """
    node, fate, arriving, neighbours = air.node, air.fate, air.arriving, air.neighbours
    rows, wider, cost, parameters = air.rows, air.wider, air.cost, air.parameters
    quantiles, steps, offset, counts = air.quantiles, air.steps, air.offset, air.counts
    sd_db, row, count = air.ratios[RSSI_SD], node[sender, ROW], 0
    airtime, number = rows[row, AIRTIME], node[sender, NUMBER]
    key = mixed(air.keys[0], np.uint64(number))
    for link in range(air.starts[sender], air.starts[sender + 1]):
        receiver, power = neighbours[link], arriving[link]
        if node[receiver, LOCK] >= 0:
            end_piece(node, rows, wider, cost, receiver, now)
        arriving[link] = 0
        if node[receiver, LOCK] != sender:
            counts[fate[link] & (SENSED_MARK - 1)] += 1
            take_energy(node, fate, parameters, receiver, link, power, now)
            continue
        word = mixed(key, np.uint64(receiver))
        why = judged(node, wider, cost, row, airtime, receiver, word)
        let_go(node, fate, receiver, why)
        counts[why] += 1
        take_energy(node, fate, parameters, receiver, link, power, now)
        leave_room(node, parameters, receiver, parameters[EIFS] if why else 0, now)
        if why == DELIVERED:
            heard[count] = receiver
            levels[count] = level_of(quantiles, steps, offset[receiver], sd_db, power, word)
            count += 1
    fall_silent(air, sender, number, now, window)
    return count


@compiled
def fall_silent(air: Air, sender: int, number: int, now: int, window: int) -> None:
    """The sender's own part of a frame's end: it may contend again."""
    node, parameters = air.node, air.parameters
    node[sender, ON_AIR] = 0
    node[sender, SENSED] -= 1
    if window >= 0:
        node[sender, IDLE_SINCE] = node[sender, BUSY_SINCE]  # nothing is taken off the new count
        node[sender, SLOTS] = drawn_slots(air, number, now, window)
    if not is_busy(node, parameters, sender):
        settle(node, parameters, sender, now)


@compiled
def attempt(air: Air, sender: int, number: int, now: int, window: int) -> int:
    """May a radio send now? 0 if so, otherwise the earliest time to ask again."""
    node, parameters = air.node, air.parameters
    difs, slot = parameters[DIFS], parameters[SLOT]
    if node[sender, ON_AIR]:
        return int(node[sender, END] + difs)
    busy = is_busy(node, parameters, sender) and now >= node[sender, BUSY_SINCE] + parameters[CCA]
    slots = node[sender, SLOTS]
    since = node[sender, IDLE_SINCE] + difs
    if slots < 0 and not busy and now >= since:
        return 0
    spent = busy and slots >= 0 and node[sender, BUSY_SINCE] - since >= slots * slot
    if slots < 0 or spent:
        slots = drawn_slots(air, number, now, window)
        node[sender, SLOTS] = slots
        if busy:
            node[sender, IDLE_SINCE] = node[sender, BUSY_SINCE]
            since = node[sender, IDLE_SINCE] + difs
    if not busy:
        due = since + slots * slot
        return int(due) if now < due else 0
    if node[sender, SENSED] == 0:
        return int(now + slot)  # a sum of weak frames: nobody knows when it will end
    counted = max(node[sender, BUSY_SINCE] - since, 0) // slot
    return int(max(node[sender, BUSY_UNTIL], now) + difs + (slots - counted) * slot)


@compiled
def begin(
    air: Air, sender: int, number: int, row: int, tuning: int, factor: float, now: int, window: int
) -> int:
    """`attempt`, and `put_on` if it may: the end as a negative number, or when to ask again."""
    again = attempt(air, sender, number, now, window)
    if again:
        return again
    air.node[sender, SLOTS] = -1
    return -put_on(air, sender, number, row, tuning, factor, now)


@compiled
def withdraw(air: Air, sender: int, now: int, why: int) -> None:
    """Take a frame's energy off the air before its end; receivers on it let go for this reason.

    With ON_THE_WAY they stay locked: the links are about to change under them.
    """
    node, fate = air.node, air.fate
    for link in range(air.starts[sender], air.starts[sender + 1]):
        receiver = air.neighbours[link]
        if node[receiver, LOCK] >= 0:
            end_piece(node, air.rows, air.wider, air.cost, receiver, now)
        if why != ON_THE_WAY:
            if node[receiver, LOCK] == sender:
                let_go(node, fate, receiver, why)
            fate[link] = (fate[link] & SENSED_MARK) | why
        take_energy(node, fate, air.parameters, receiver, link, air.arriving[link], now)
        air.arriving[link] = 0


@compiled
def end_pieces(air: Air, now: int) -> None:
    """Charge every locked receiver: noise is about to change."""
    for receiver in range(len(air.node)):
        if air.node[receiver, LOCK] >= 0:
            end_piece(air.node, air.rows, air.wider, air.cost, receiver, now)


# --- many frames in one loop ---------------------------------------------------------------------

SENT, ACKED, DROPPED, RECORDS, NEXT_NUMBER, EVENTS, HEARD, AIRTIME_SUM = range(8)
TOTALS = 8


@inlined
def set_time(times: Ints, winner: Ints, leaf: int, time: int) -> None:
    """Move an event; the tournament's inner places hold the leaf that comes first."""
    times[leaf] = time
    place = (leaf + len(times)) >> 1
    while place:
        one, other = winner[2 * place], winner[2 * place + 1]
        first = one if times[one] <= times[other] else other
        if winner[place] == first and first != leaf:
            return
        winner[place] = first
        place >>= 1


@compiled
def window_of(air: Air, tries: int) -> int:
    """Contention window after so many failures."""
    widened = ((air.parameters[WINDOW] + 1) << min(tries, 12)) - 1
    return int(min(widened, air.parameters[WINDOW_MAX]))


@compiled
def new_count(air: Air, radio: int, number: int, now: int, window: int) -> None:
    """Draw a backoff after a frame of one's own."""
    node = air.node
    node[radio, SLOTS] = drawn_slots(air, number, now, window)
    if node[radio, SENSED] > 0:
        node[radio, IDLE_SINCE] = node[radio, BUSY_SINCE]


@compiled
def next_frame(load: Load, sender: int, now: int) -> None:
    """The sender is through with a frame: set when it tries the next."""
    load.tries[sender] = 0
    load.head[sender] += 1
    if load.head[sender] == load.first[sender + 1]:
        if not load.again:
            return
        load.head[sender] = load.first[sender]
    frame = load.order[load.head[sender]]
    leaf = 2 * len(load.head) + sender
    set_time(load.time, load.winner, leaf, now if load.again else max(load.at[frame], now))


@compiled
def failed(air: Air, load: Load, sender: int, now: int) -> None:
    """No acknowledgement: double the window and try again, or give up."""
    load.tries[sender] += 1
    if 0 <= air.parameters[RETRIES] < load.tries[sender]:
        load.totals[DROPPED] += 1
        next_frame(load, sender, now)
    else:
        set_time(load.time, load.winner, 2 * len(load.head) + sender, now)
    new_count(air, sender, air.node[sender, NUMBER], now, window_of(air, load.tries[sender]))
    leave_room(air.node, air.parameters, sender, air.parameters[EIFS], now)


@compiled
def try_frame(air: Air, load: Load, sender: int, now: int) -> None:
    """An attempt is due."""
    radios = len(load.head)
    frame = load.order[load.head[sender]]
    number = load.totals[NEXT_NUMBER] if load.again or load.tries[sender] else frame
    row, tuning, factor = load.row[frame], load.tuning[frame], load.factor[frame]
    window = window_of(air, load.tries[sender])
    again = begin(air, sender, number, row, tuning, factor, now, window)
    if again > 0:
        set_time(load.time, load.winner, 2 * radios + sender, again)
        return
    if number == load.totals[NEXT_NUMBER]:
        load.totals[NEXT_NUMBER] += 1
    load.on_air[sender] = frame
    load.totals[SENT] += 1
    load.totals[AIRTIME_SUM] += air.rows[row, AIRTIME]
    set_time(load.time, load.winner, 2 * radios + sender, NEVER)
    set_time(load.time, load.winner, sender, -again)


@compiled
def acknowledge(air: Air, load: Load, radio: int, now: int) -> None:
    """SIFS after a frame for this radio: its acknowledgement goes out without contention."""
    set_time(load.time, load.winner, len(load.head) + radio, NEVER)
    if air.node[radio, ON_AIR]:
        failed(air, load, load.acks[radio], now)
        load.acks[radio] = -1
        return
    load.on_air[radio] = -1
    number = load.totals[NEXT_NUMBER]
    load.totals[NEXT_NUMBER] += 1
    end = put_on(air, radio, number, load.ack_row, air.node[radio, TUNING], 1.0, now)
    set_time(load.time, load.winner, radio, end)


@compiled
def acknowledged(air: Air, load: Load, radio: int, now: int, heard: Ints, levels: Ints) -> None:
    """An acknowledgement ends: the sender of the frame heard it, or tries again."""
    sender = load.acks[radio]
    load.acks[radio] = -1
    count = take_off(air, radio, now, heard, levels, -1)
    for place in range(count):
        if heard[place] == sender:
            load.totals[ACKED] += 1
            next_frame(load, sender, now)
            return
    failed(air, load, sender, now)


@compiled
def ended(air: Air, load: Load, sender: int, now: int, heard: Ints, levels: Ints) -> None:
    """A frame of a radio's own ends: note who heard it, and what comes next."""
    frame = load.on_air[sender]
    target, window = load.target[frame], air.parameters[WINDOW]
    count = take_off(air, sender, now, heard, levels, window if target < 0 else -1)
    load.totals[HEARD] += count
    answered = False
    for place in range(count):
        answered = answered or heard[place] == target
        if len(load.record):
            record = load.record[load.totals[RECORDS]]
            record[0], record[1], record[2] = frame, heard[place], levels[place]
            load.totals[RECORDS] += 1
    if target < 0:
        next_frame(load, sender, now)
    elif answered:
        new_count(air, sender, air.node[sender, NUMBER], now, window)
        load.acks[target] = sender
        set_time(load.time, load.winner, len(load.head) + target, now + air.parameters[SIFS])
    else:
        failed(air, load, sender, now)


@compiled
def run(air: Air, load: Load, until: int, heard: Ints, levels: Ints) -> bool:
    """Carry out all events up to `until`; False if `record` is full and must be emptied first."""
    radios = len(load.head)
    while True:
        leaf = load.winner[1]
        now = load.time[leaf]
        if now > until or now == NEVER:
            return True
        if len(load.record) and load.totals[RECORDS] + radios > len(load.record):
            return False
        load.totals[EVENTS] += 1
        radio = leaf % radios
        if leaf >= 2 * radios:
            try_frame(air, load, radio, now)
        elif leaf >= radios:
            acknowledge(air, load, radio, now)
        else:
            set_time(load.time, load.winner, leaf, NEVER)
            if load.on_air[radio] < 0:
                acknowledged(air, load, radio, now, heard, levels)
            else:
                ended(air, load, radio, now, heard, levels)
