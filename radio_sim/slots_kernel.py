"""The distributed coordination function, station by station: compiled, one event at a time.

Import this module where it is used, not before: it brings the compiler. What it computes, and the
rules it follows, are told in `slots`. All times are nanoseconds in int64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled
from radio_sim.draws import GOLDEN, MULTIPLY_1, MULTIPLY_2

Times = NDArray[np.int64]

_GOLDEN, _MULTIPLY_1, _MULTIPLY_2 = map(np.uint64, (GOLDEN, MULTIPLY_1, MULTIPLY_2))
_30, _27, _31, _32 = map(np.uint64, (30, 27, 31, 32))
_LOW = np.uint64(0xFFFFFFFF)
NEVER = 1 << 62

# Rows of the table of times, one column a station.
EVENT, AIR_END, NAV, NAV_BEFORE, IFS, SENDING = range(6)
# Rows of the table of states.
PHASE, COUNTER, WINDOW, ATTEMPT, RETRIES, CLEAN, TARGET = range(7)
CONTENDS, SENDS, AWAITS, ANSWERED = range(4)
# Columns of the parameters, see `slots.Rules`.
SIFS, DIFS, FAILURE, SLOT, SENSE, ACK, CW_MIN, CW_MAX, RETRY_MAX, DECREMENT, AFTER = range(11)
# Rows of the tally.
TRIED, DONE, LOST, DROPPED = range(4)


@compiled
def draw_slots(key: np.uint64, station: int, attempt: int, slots: int) -> int:
    """`draws.draw_below(slots, seed, ..., station, attempt)` where key = draw_u64(seed, ...)."""
    word = key
    for number in (np.uint64(station), np.uint64(attempt)):
        word = (word ^ number) + _GOLDEN
        word = (word ^ (word >> _30)) * _MULTIPLY_1
        word = (word ^ (word >> _27)) * _MULTIPLY_2
        word = word ^ (word >> _31)
    limit = np.uint64(slots)
    high, low = word >> _32, word & _LOW
    return np.int64((high * limit + ((low * limit) >> _32)) >> _32)  # type: ignore[return-value]


@compiled
def plan(i: int, times: Times, states: Times, rules: Times) -> None:
    """Set when a contending station sends if nothing else happens."""
    idle = max(times[AIR_END, i], times[NAV, i])
    times[EVENT, i] = idle + times[IFS, i] + states[COUNTER, i] * rules[SLOT]


@compiled
def contend(i: int, slots: int, times: Times, states: Times, rules: Times, key: np.uint64) -> None:
    """Draw a new counter and wait for an idle channel."""
    least = rules[AFTER] if states[RETRIES, i] == 0 and states[ATTEMPT, i] else 0
    drawn = draw_slots(key, i, states[ATTEMPT, i], slots - least)
    states[COUNTER, i] = least + drawn
    states[ATTEMPT, i] += 1
    states[PHASE, i] = CONTENDS
    plan(i, times, states, rules)


@compiled
def sense(
    i: int, now: int, end: int, reserved: int, times: Times, states: Times, rules: Times
) -> None:
    """A station hears a transmission begin: its counter stands still until the channel is idle."""
    if times[SENDING, i] > now:
        times[AIR_END, i] = max(times[AIR_END, i], end)
        return
    contends = states[PHASE, i] == CONTENDS
    if contends and times[EVENT, i] <= now + rules[SENSE]:
        times[AIR_END, i] = max(times[AIR_END, i], end)  # too late to notice
        return
    began = max(times[AIR_END, i], times[NAV, i]) + times[IFS, i]
    if contends and times[EVENT, i] < NEVER and now >= began:
        counted = (now - began) // rules[SLOT] + rules[DECREMENT]
        states[COUNTER, i] = max(states[COUNTER, i] - counted, 0)
    if times[AIR_END, i] > now:  # two at once: neither is understood
        times[NAV, i] = times[NAV_BEFORE, i]
        times[IFS, i] = rules[FAILURE]
    else:
        times[NAV_BEFORE, i] = times[NAV, i]
        times[NAV, i] = max(times[NAV, i], end + reserved)
        times[IFS, i] = rules[DIFS]
    times[AIR_END, i] = max(times[AIR_END, i], end)
    if contends and times[EVENT, i] < NEVER:
        plan(i, times, states, rules)


@compiled
def send(
    k: int,
    target: int,
    now: int,
    end: int,
    reserved: int,
    hears: NDArray[np.uint8],
    times: Times,
    states: Times,
    rules: Times,
) -> None:
    """Put a transmission on the air: who is disturbed by it, who hears it."""
    states[CLEAN, k], states[TARGET, k] = 1, target
    for other in range(len(hears)):
        if other == k or times[SENDING, other] <= now:
            continue
        there = states[TARGET, other]
        if there == k or hears[there, k]:
            states[CLEAN, other] = 0
        if target == other or hears[target, other]:
            states[CLEAN, k] = 0
    times[SENDING, k] = end
    times[AIR_END, k] = max(times[AIR_END, k], end)
    for i in range(len(hears)):
        if i != k and hears[i, k]:
            sense(i, now, end, reserved, times, states, rules)


@compiled
def finish(
    i: int,
    now: int,
    is_done: bool,
    times: Times,
    states: Times,
    tally: Times,
    rules: Times,
    key: np.uint64,
) -> None:
    """Count an exchange, choose the next window, contend again."""
    tally[DONE if is_done else LOST, i] += 1
    if is_done or rules[ACK] == 0:
        states[RETRIES, i], states[WINDOW, i] = 0, rules[CW_MIN]
    elif 0 <= rules[RETRY_MAX] <= states[RETRIES, i]:
        states[RETRIES, i], states[WINDOW, i] = 0, rules[CW_MIN]
        tally[DROPPED, i] += 1
    else:
        states[RETRIES, i] += 1
        states[WINDOW, i] = min(2 * states[WINDOW, i] + 1, rules[CW_MAX])
    times[IFS, i] = rules[DIFS] if is_done or rules[ACK] == 0 else rules[FAILURE]
    times[AIR_END, i] = max(times[AIR_END, i], now)
    contend(i, states[WINDOW, i] + 1, times, states, rules, key)


@compiled
def next_event(times: Times, states: Times) -> int:
    """Station whose event is first; at the same time ends come before answers before starts."""
    chosen, best, order = 0, NEVER, 3
    for i in range(times.shape[1]):
        at = times[EVENT, i]
        if at > best:
            continue
        phase = states[PHASE, i]
        rank = 2 if phase == CONTENDS else 1 if phase == AWAITS else 0
        if at < best or rank < order:
            chosen, best, order = i, at, rank
    return chosen


@compiled
def step(
    i: int,
    hears: NDArray[np.uint8],
    receivers: Times,
    data_ns: Times,
    times: Times,
    states: Times,
    tally: Times,
    rules: Times,
    key: np.uint64,
) -> None:
    """Do what a station's event is: begin its frame, end it, begin its answer, end that."""
    now, phase, receiver = times[EVENT, i], states[PHASE, i], receivers[i]
    if phase == CONTENDS:
        end = now + data_ns[i]
        reserved = rules[SIFS] + rules[ACK] if rules[ACK] else 0
        tally[TRIED, i] += 1
        states[PHASE, i], times[EVENT, i] = SENDS, end
        send(i, receiver, now, end, reserved, hears, times, states, rules)
    elif phase == SENDS and states[CLEAN, i] and rules[ACK]:
        states[PHASE, i], times[EVENT, i] = AWAITS, now + rules[SIFS]
    elif phase == AWAITS and times[SENDING, receiver] <= now:
        end = now + rules[ACK]
        states[PHASE, i], times[EVENT, i] = ANSWERED, end
        send(receiver, i, now, end, 0, hears, times, states, rules)
        if states[PHASE, receiver] == CONTENDS and times[EVENT, receiver] < NEVER:
            plan(receiver, times, states, rules)
    else:
        is_done = phase == SENDS and states[CLEAN, i] == 1
        is_done = is_done or (phase == ANSWERED and states[CLEAN, receiver] == 1)
        finish(i, now, is_done, times, states, tally, rules, key)


@compiled
def run(
    hears: NDArray[np.uint8],
    receivers: Times,
    data_ns: Times,
    rules: Times,
    key: np.uint64,
    begin_ns: int,
    end_ns: int,
) -> Times:
    """Let stations contend until `end_ns`; count what happens from `begin_ns` on.

    hears[i, k]: i senses k; receivers[i] < 0: i never sends of itself. Returns int64 (4, stations):
    frames begun, exchanges done, lost, frames given up.
    """
    count = len(receivers)
    times, states = np.zeros((6, count), np.int64), np.zeros((7, count), np.int64)
    tally = np.zeros((4, count), np.int64)
    for i in range(count):
        times[IFS, i], states[WINDOW, i] = rules[DIFS], rules[CW_MIN]
        if receivers[i] >= 0:
            contend(i, rules[CW_MIN] + 1, times, states, rules, key)
        else:
            times[EVENT, i] = NEVER
    counts = False
    while True:
        i = next_event(times, states)
        if not counts and times[EVENT, i] >= begin_ns:
            tally[:] = 0
            counts = True
        if times[EVENT, i] >= end_ns:
            return tally
        step(i, hears, receivers, data_ns, times, states, tally, rules, key)
