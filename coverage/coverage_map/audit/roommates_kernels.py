"""Where a hotspot's roommates hear and are heard, against what its claim promises: compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coverage_map.audit.place_kernels import (
    NEAREST_M,
    OUTLIER,
    OUTLIER_SPAN_DB,
    ROOT,
    chance_below,
    climb,
    search,
)
from coverage_map.audit.room_kernels import ROOM_VARS_DB2
from coverage_map.propagation.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MEAN_VAR_DB2 = 1.0  # what drivers' scales, roundings and slow drifts leave of a mean
# By how much a radio's data sheet is off against its roommates'.
OFFSETS_DB = np.arange(-12.0, 13.0)
OFFSET_SIGMA_DB = 4.0
# So many of the witnesses are the plot's own, and say what suits the claim.
PLOT = 0.03
MOST_NATS = 3.0  # what one witness says against a claim: its own antenna may be odd
HEARD_SPAN_DB = 10.0  # who is heard where no roommate is, is heard near the floor
FIT_ROUNDS = 12
LEAST_COMMON, LEAST_ALONE = 3, 4  # witnesses of a group, and of a single other
# Of all rooms one in ten is where an honest hotspot stands: then the others are the liars.
HOST_NATS = math.log(10.0)


@compiled
def gather(
    others: Ints, anchors: Ints, keys: Ints, rows: Ints, near: Floats, count: int
) -> tuple[Floats, Ints]:
    """What each of `anchors` heard of `others`, losses [others, anchors], NaN: none known.

    And how many of the others it was there with and heard nothing of. `keys`, ascending: subject *
    count + anchor of `near[rows]`.
    """
    loss = np.full((len(others), len(anchors)), np.nan)
    silent = np.zeros(len(anchors), np.int64)
    for m in range(len(others)):
        for k in range(len(anchors)):
            key = others[m] * count + anchors[k]
            at = np.searchsorted(keys, key)
            if at == len(keys) or keys[at] != key:
                continue
            row = near[rows[at]]
            if row[4] == 0.0:
                continue
            if row[6] > 0.0:
                loss[m, k] = row[2]
            else:
                silent[k] += 1
    return loss, silent


@compiled
def fit_profile(loss: Floats) -> tuple[Floats, Ints]:
    """How well each witness hears a room, whatever power each member asserts; and by how many.

    Members' offsets and the profile in turns; offsets add up to nothing.
    """
    members, count = loss.shape
    offset, profile = np.zeros(members), np.full(count, np.nan)
    heard = np.zeros(count, np.int64)
    for _ in range(FIT_ROUNDS):
        for k in range(count):
            total, number = 0.0, 0
            for m in range(members):
                if not math.isnan(loss[m, k]):
                    total += loss[m, k] - offset[m]
                    number += 1
            heard[k] = number
            profile[k] = total / number if number else math.nan
        for m in range(members):
            total, number = 0.0, 0
            for k in range(count):
                if not math.isnan(loss[m, k]):
                    total += loss[m, k] - profile[k]
                    number += 1
            offset[m] = total / number if number else 0.0
        offset -= offset.mean()
    return profile, heard


@compiled
def tell_claim(
    x: float, y: float, offset_db: float, near: Floats, law: Floats
) -> tuple[Floats, Floats]:
    """Each witness's density at what it heard, and its chance to hear anything, from a place.

    By the law of loss; the chance as if its ear were perfect.
    """
    density, chance = np.full(len(near), np.nan), np.zeros(len(near))
    for k in range(len(near)):
        squared = max((near[k, 0] - x) ** 2 + (near[k, 1] - y) ** 2, NEAREST_M * NEAREST_M)
        reach = 0.5 * math.log10(squared) - 2.0
        obstructed = law[0] + law[1] * reach + offset_db
        clear = law[3] + law[4] * reach + offset_db
        share = 1.0 / (1.0 + math.exp(-law[6] - law[7] * reach))
        one = (near[k, 2] - obstructed) / law[2]
        other = (near[k, 2] - clear) / law[5]
        told = share * math.exp(-0.5 * other * other) / law[5]
        told += (1.0 - share) * math.exp(-0.5 * one * one) / law[2]
        density[k] = (1.0 - OUTLIER) * told * ROOT + OUTLIER / OUTLIER_SPAN_DB
        heard = share * chance_below((near[k, 3] - clear) / law[5])
        chance[k] = heard + (1.0 - share) * chance_below((near[k, 3] - obstructed) / law[2])
    return density, chance


@compiled
def tell_room(
    near: Floats, profile: Floats, heard: Ints, silent: Ints, claim: tuple[Floats, Floats],
    variance_db2: float, offset_db: float,
) -> float:
    """Nats for standing where the profile was taken, with a data sheet that is off by so much."""
    density, chance = claim
    total = 0.0
    for k in range(len(near)):
        if near[k, 4] == 0.0 or heard[k] + silent[k] == 0:
            continue
        known = not math.isnan(near[k, 2])
        if heard[k]:
            more = 1.0 + 1.0 / heard[k]
            sigma = math.sqrt((0.5 * variance_db2 + MEAN_VAR_DB2) * more)
            hears = chance_below((near[k, 3] - profile[k] - offset_db) / sigma)
            rest = (near[k, 2] - profile[k] - offset_db) / sigma if known else 0.0
            told = math.exp(-0.5 * rest * rest) * ROOT / sigma
        else:
            hears = min(chance[k], 1.0 / (silent[k] + 2.0))
            above = near[k, 3] - near[k, 2] if known else 0.0
            told = hears / HEARD_SPAN_DB if above < HEARD_SPAN_DB else 0.0
        if known:
            room, claimed = told, density[k]
        elif near[k, 6] > 0.0:
            room, claimed = hears, chance[k]
        else:
            room, claimed = 1.0 - near[k, 5] * hears, 1.0 - near[k, 5] * chance[k]
        gain = math.log((1.0 - PLOT) * max(room, 1e-12) / max(claimed, 1e-12) + PLOT)
        total += near[k, 4] * min(gain, MOST_NATS)
    return total


@compiled
def judge_room(
    near: Floats, profile: Floats, heard: Ints, silent: Ints, claim: tuple[Floats, Floats]
) -> float:
    """`tell_room` over all offsets, as likely as they are, and all kinds of rooms alike."""
    likely = np.exp(-0.5 * (OFFSETS_DB / OFFSET_SIGMA_DB) ** 2)
    likely /= likely.sum()
    told = np.empty((len(ROOM_VARS_DB2), len(OFFSETS_DB)))
    for v in range(len(ROOM_VARS_DB2)):
        for k in range(len(OFFSETS_DB)):
            told[v, k] = tell_room(
                near, profile, heard, silent, claim, ROOM_VARS_DB2[v], OFFSETS_DB[k]
            )
    top = told.max()
    total = 0.0
    for v in range(len(ROOM_VARS_DB2)):
        total += (np.exp(told[v] - top) * likely).sum() / len(ROOM_VARS_DB2)
    return float(top + math.log(total))


@compiled
def tell_host(
    near: Floats, profile: Floats, heard: Ints, silent: Ints, law: Floats, mean_offset_db: float,
    claim_m: Floats, blur_m: float, spread_m: float,
) -> float:
    """Nats for a room that stands elsewhere than in the claimed cell, by the law of loss."""
    room = near.copy()
    for k in range(len(room)):
        room[k, 2], room[k, 6] = profile[k], 1.0 if heard[k] else 0.0
        if heard[k] == 0 and silent[k] == 0:
            room[k, 4] = 0.0
    return float(search(room, law, mean_offset_db, claim_m, blur_m, spread_m)[0])


@compiled
def compute_rms(near: Floats, profile: Floats) -> tuple[float, int]:
    """By how many dB a hotspot's losses differ from a profile, but for an offset; and how many."""
    total, squares, number = 0.0, 0.0, 0
    for k in range(len(near)):
        if near[k, 4] > 0.0 and not math.isnan(near[k, 2]) and not math.isnan(profile[k]):
            rest = near[k, 2] - profile[k]
            total += rest
            squares += rest * rest
            number += 1
    if number == 0:
        return math.nan, 0
    return math.sqrt(max(squares / number - (total / number) ** 2, 0.0)), number


@compiled
def drop_rows(near: Floats, anchors: Ints, others: Ints) -> None:
    """What a roommate says proves nothing: weight 0."""
    for k in range(len(near)):
        for m in range(len(others)):
            if anchors[k] == others[m]:
                near[k, 4] = 0.0


@compiled
def add_member(loss: Floats, own: Floats) -> Floats:
    """Losses of a group with one more."""
    whole = np.empty((len(loss) + 1, len(own)))
    whole[: len(loss)], whole[len(loss)] = loss, own
    return whole


@compiled
def judge_one(
    near: Floats, loss: Floats, silent: Ints, law: Floats, mean_offset_db: float,
    claim_m: Floats, blur_m: float, spread_m: float, looked: float,
) -> tuple[float, int, float]:
    """(nats, common witnesses, rms in dB) of a hotspot against one group; NaN below the least.

    `looked`: of how many mates it might have been any, for each that is in the group.
    """
    profile, heard = fit_profile(loss)
    rms, common = compute_rms(near, profile)
    if common < (LEAST_COMMON if len(loss) > 1 else LEAST_ALONE):
        return math.nan, common, rms
    start = np.empty(4)
    start[0], start[1], start[2], start[3] = claim_m[0], claim_m[1], mean_offset_db, blur_m
    _, x, y, offset = climb(start, near, law, mean_offset_db, claim_m, blur_m)
    claim = tell_claim(x, y, offset, near, law)
    nats = judge_room(near, profile, heard, silent, claim) - math.log(max(1.0, looked))
    if nats <= 0.0:
        return nats, common, rms
    profile, heard = fit_profile(add_member(loss, near[:, 2]))
    host = HOST_NATS + tell_host(
        near, profile, heard, silent, law, mean_offset_db, claim_m, blur_m, spread_m
    )
    low = min(nats, host)
    return low - math.log(math.exp(low - nats) + math.exp(low - host)), common, rms


@compiled
def judge_all(
    starts: Ints, near: Floats, anchors: Ints, keys: Ints, rows: Ints, law: Floats,
    mean_offsets_db: Floats, claims_m: Floats, blur_m: Floats, spread_m: Floats,
    rooms: Ints, sizes: Ints, looked: Ints, out: Floats, partner: Ints,
) -> None:
    """The strongest room for every hotspot: `out` [n, 3], nats, common witnesses, rms in dB.

    `rooms` [n, rooms, members], of which `sizes` [n, rooms] are filled; the first is its partner.
    """
    count = len(starts) - 1
    for i in range(count):
        first, stop = starts[i], starts[i + 1]
        for r in range(rooms.shape[1]):
            size = sizes[i, r]
            if size == 0:
                continue
            part, others = near[first:stop].copy(), rooms[i, r, :size]
            drop_rows(part, anchors[first:stop], others)
            loss, silent = gather(others, anchors[first:stop], keys, rows, near, count)
            nats, common, rms = judge_one(
                part, loss, silent, law[i], mean_offsets_db[i],
                claims_m[i], blur_m[i], spread_m[i], looked[i] / size,
            )
            if not math.isnan(nats) and (math.isnan(out[i, 0]) or nats > out[i, 0]):
                out[i, 0], out[i, 1], out[i, 2], partner[i] = nats, common, rms, others[0]
