"""Compiled passes over receptions: sums per link, and products of deviations per pair of witnesses.

Both keep their rows in tables found by open addressing, so that one pass over 160 million
receptions needs memory for the links alone. `slots` holds the number of a row plus one, or 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of a link's sums, in dB; full = RSSI with the power step taken out, less REFERENCE.
COUNT, MEASURED, REFERENCE, FULL, FULL_FULL = range(5)
STEP_STEP, STEP_RSSI, RSSI_RSSI, FREEDOM, EPOCHS = range(5, 10)  # within epochs, centred
EPOCH, NOW, NOW_STEP, NOW_RSSI, NOW_STEPS, NOW_CROSS, NOW_SQUARES = range(10, 17)  # of this epoch
WEAKEST, LEVEL, LAST = 17, 18, 19  # least raw RSSI; slowly following mean of full; last deviation
COLUMNS = 20
PAIR_COLUMNS = 4  # of a pair of witnesses: count, squares of one, of the other, products

LEVEL_SHARE = 1.0 / 16.0  # of a new packet in the level: follows what changes over hours
LEAST_RECEIVERS = 4
LEVEL_FROM = 4.0  # packets before a deviation means anything
JUMP_DB = 4.5  # twice in a row: somebody carried an antenna, and the level is another one now


@compiled
def find_slot(slots: Ints, keys: Ints, key: int | np.int64) -> int:
    """Where in `slots` a key is or belongs."""
    mask = len(slots) - 1
    mixed = key * -7046029254386353131
    place = (mixed ^ (mixed >> 29)) & mask
    while slots[place] != 0 and keys[slots[place] - 1] != key:
        place = (place + 1) & mask
    return int(place)


@compiled
def fill_slots(slots: Ints, keys: Ints, used: int) -> None:
    """Find every key's place anew, after the table grew."""
    for row in range(used):
        slots[find_slot(slots, keys, keys[row])] = row + 1


@compiled
def close_epoch(sums: Floats) -> None:
    """Move one link's sums of an epoch, centred on their means, to those of all epochs."""
    n = sums[NOW]
    if n > 1.0:
        sums[STEP_STEP] += sums[NOW_STEPS] - sums[NOW_STEP] ** 2 / n
        sums[STEP_RSSI] += sums[NOW_CROSS] - sums[NOW_STEP] * sums[NOW_RSSI] / n
        sums[RSSI_RSSI] += sums[NOW_SQUARES] - sums[NOW_RSSI] ** 2 / n
        sums[FREEDOM] += n - 1.0
    for column in range(NOW, NOW_SQUARES + 1):
        sums[column] = 0.0


@compiled
def add_packet(sums: Floats, raw_db: float, step_db: float) -> float:
    """Add a measured packet to a link; its deviation from the link's level, NaN in the first."""
    if sums[MEASURED] == 0.0:
        sums[REFERENCE] = sums[LEVEL] = raw_db + step_db
        sums[WEAKEST] = raw_db
    full = raw_db + step_db - sums[REFERENCE]
    rssi = raw_db - sums[REFERENCE]
    sums[FULL] += full
    sums[FULL_FULL] += full * full
    sums[NOW] += 1.0
    sums[NOW_STEP] += step_db
    sums[NOW_RSSI] += rssi
    sums[NOW_STEPS] += step_db * step_db
    sums[NOW_CROSS] += step_db * rssi
    sums[NOW_SQUARES] += rssi * rssi
    sums[WEAKEST] = min(sums[WEAKEST], raw_db)
    deviation = raw_db + step_db - sums[LEVEL]
    known = sums[MEASURED] >= LEVEL_FROM
    share = LEVEL_SHARE if known else 1.0 / (sums[MEASURED] + 1.0)
    if known and abs(deviation) > JUMP_DB and deviation * sums[LAST] > JUMP_DB * JUMP_DB:
        known, share = False, 0.5
    sums[LAST] = deviation
    sums[LEVEL] += share * deviation
    sums[MEASURED] += 1.0
    return deviation if known else math.nan


@compiled
def add_rows(
    rows: tuple[Ints, Ints, Ints, Ints, Ints, NDArray[np.bool_]],
    start: int,
    no_rssi: int,
    slots: Ints,
    keys: Ints,
    sums: Floats,
    used: int,
    deviations: NDArray[np.float32],
) -> tuple[int, int]:
    """Add rows from `start` on until all are in or the table is half full.

    `rows`: epoch, witness, beaconer, step, RSSI (cdB, cdBm), whether the row counts as physics.
    Returns the row to go on with and the links in use.
    """
    epoch, witness, beaconer, step, rssi, physical = rows
    for row in range(start, len(epoch)):
        deviations[row] = math.nan
        if not physical[row]:
            continue
        key = (np.int64(beaconer[row]) << 32) | np.int64(witness[row])
        place = find_slot(slots, keys, key)
        if slots[place] == 0:
            if used == len(keys):
                return row, used
            keys[used] = key
            sums[used, EPOCH] = -1.0
            used += 1
            slots[place] = used
        link = sums[slots[place] - 1]
        if link[EPOCH] != epoch[row]:
            close_epoch(link)
            link[EPOCH] = epoch[row]
            link[EPOCHS] += 1.0
        link[COUNT] += 1.0
        if rssi[row] != no_rssi:
            deviations[row] = add_packet(link, 0.01 * rssi[row], 0.01 * step[row])
    return len(epoch), used


@compiled
def close_all(sums: Floats, used: int) -> None:
    """Close the epoch that every link is in."""
    for link in range(used):
        close_epoch(sums[link])


@compiled
def add_pairs(
    beacon: Ints,
    witness: Ints,
    deviation: NDArray[np.float32],
    start: int,
    slots: Ints,
    keys: Ints,
    sums: Floats,
    used: int,
) -> tuple[int, int]:
    """Add the products of deviations of all pairs that received one beacon.

    What is common to all, the sender's doing, is taken out first: their median. Beacons that fewer
    than LEAST_RECEIVERS measured are left out. Rows are sorted by beacon. Returns the row to go on
    with, always a beacon's first, and the pairs in use; a beacon that wouldn't fit waits for a
    larger table.
    """
    row = start
    while row < len(beacon):
        end = row
        while end < len(beacon) and beacon[end] == beacon[row]:
            end += 1
        if used + (end - row) * (end - row - 1) // 2 > len(keys):
            return row, used
        if end - row < LEAST_RECEIVERS:
            row = end
            continue
        common = np.median(deviation[row:end])
        for i in range(row, end):
            one = deviation[i] - common
            for j in range(i + 1, end):
                other = deviation[j] - common
                low, high = min(witness[i], witness[j]), max(witness[i], witness[j])
                key = (np.int64(low) << 32) | np.int64(high)
                place = find_slot(slots, keys, key)
                if slots[place] == 0:
                    keys[used] = key
                    used += 1
                    slots[place] = used
                pair = sums[slots[place] - 1]
                pair[0] += 1.0
                pair[1] += (one * one) if witness[i] == low else (other * other)
                pair[2] += (other * other) if witness[i] == low else (one * one)
                pair[3] += one * other
        row = end
    return row, used
