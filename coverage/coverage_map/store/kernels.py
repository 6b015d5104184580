"""The store's compiled loops: rows to aggregates, aggregates to coarser or joined aggregates.

Distinct hotspots and devices are exact and cost one array access per row: `seen[id]` holds the
number of the last group that met the id, so a first meeting is a comparison, not a set. What is met
is written out beside the counts; so a later join of two aggregates is exact as well.
"""

# numba compiles these: the types live in aggregates.py, which calls them.
# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from coverage_map.propagation.compiled import njit

BINS = 256
BIN_CDB = 50
LOWEST_CDBM = -14_000
MIDDLE_CDBM = -9_000  # squares are taken from here, so that they stay small
FEW = 3  # receptions below which another server's mean is preferred



def released(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop that other threads needn't wait for."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


@released
def bin_of(signal_cdbm):
    """Bin of a signal: 0.5 dB wide, centred on multiples of 0.5 dB from -140 dBm."""
    return min(max((signal_cdbm - LOWEST_CDBM + BIN_CDB // 2) // BIN_CDB, 0), BINS - 1)


@released
def flush_bins(dense, low, high, bins, bin_n, at):
    """Write the bins that are not empty, empty them, and say where the next may go."""
    for b in range(low, high + 1):
        if dense[b]:
            bins[at] = b
            bin_n[at] = dense[b]
            dense[b] = 0
            at += 1
    return at


@released
def aggregate_rows(
    packed, hotspot, device, signal, epoch, seen_h, slot_h, seen_d, stamp, dense,
    keys, count, total, low, high, first, last,
    bins_n, hotspots, devices,
    bins, bin_n, member, member_n, member_total, member_square, device_id,
):
    """Aggregate rows sorted by key; `packed` holds key << 24 | row. Returns (groups, bins, ...)."""
    group, at_bin, at_member, at_device = -1, 0, 0, 0
    before = np.uint64(0xFFFFFFFFFFFFFFFF)
    low_bin, high_bin, bin_start, member_start, device_start = BINS, -1, 0, 0, 0
    for i in range(len(packed)):
        key = packed[i] >> np.uint64(24)
        row = np.int64(packed[i] & np.uint64(0xFFFFFF))
        if key != before:
            if group >= 0:
                at_bin = flush_bins(dense, low_bin, high_bin, bins, bin_n, at_bin)
                bins_n[group] = at_bin - bin_start
                hotspots[group] = at_member - member_start
                devices[group] = at_device - device_start
            group += 1
            stamp += 1
            before = key
            low_bin, high_bin = BINS, -1
            bin_start, member_start, device_start = at_bin, at_member, at_device
            keys[group] = key
            count[group] = 0
            total[group] = 0
            low[group] = 32767
            high[group] = -32768
            first[group] = 0xFFFFFFFF
            last[group] = 0
        value = np.int64(signal[row])
        b = bin_of(value)
        dense[b] += 1
        low_bin, high_bin = min(low_bin, b), max(high_bin, b)
        count[group] += 1
        total[group] += value
        low[group] = min(low[group], value)
        high[group] = max(high[group], value)
        first[group] = min(first[group], epoch[row])
        last[group] = max(last[group], epoch[row])
        h = hotspot[row]
        if seen_h[h] != stamp:
            seen_h[h] = stamp
            slot_h[h] = at_member
            member[at_member] = h
            member_n[at_member] = 0
            member_total[at_member] = 0
            member_square[at_member] = 0.0
            at_member += 1
        slot = slot_h[h]
        member_n[slot] += 1
        member_total[slot] += value
        apart = (value - MIDDLE_CDBM) / 100.0
        member_square[slot] += apart * apart
        d = device[row]
        if seen_d[d] != stamp:
            seen_d[d] = stamp
            device_id[at_device] = d
            at_device += 1
    if group >= 0:
        at_bin = flush_bins(dense, low_bin, high_bin, bins, bin_n, at_bin)
        bins_n[group] = at_bin - bin_start
        hotspots[group] = at_member - member_start
        devices[group] = at_device - device_start
    return group + 1, at_bin, at_member, at_device, stamp


@released
def combine(
    order, starts, seen_h, slot_h, seen_d, stamp, dense,
    # of the sources, with their three lists as rows of variable length
    s_count, s_total, s_low, s_high, s_first, s_last, s_bin_at, s_member_at, s_device_at,
    s_bins, s_bin_n, s_member, s_member_n, s_member_total, s_member_square, s_device,
    # of the groups
    count, total, low, high, first, last, bins_n, hotspots, devices,
    bins, bin_n, member, member_n, member_total, member_square, device_id,
):
    """Join groups of aggregates: group g is order[starts[g]:starts[g + 1]]."""
    at_bin, at_member, at_device = 0, 0, 0
    for g in range(len(starts) - 1):
        stamp += 1
        low_bin, high_bin = BINS, -1
        bin_start, member_start, device_start = at_bin, at_member, at_device
        count[g], total[g], low[g], high[g] = 0, 0, 32767, -32768
        first[g], last[g] = 0xFFFFFFFF, 0
        for i in range(starts[g], starts[g + 1]):
            s = order[i]
            count[g] += s_count[s]
            total[g] += s_total[s]
            low[g] = min(low[g], s_low[s])
            high[g] = max(high[g], s_high[s])
            first[g] = min(first[g], s_first[s])
            last[g] = max(last[g], s_last[s])
            for j in range(s_bin_at[s], s_bin_at[s + 1]):
                b = np.int64(s_bins[j])
                dense[b] += s_bin_n[j]
                low_bin, high_bin = min(low_bin, b), max(high_bin, b)
            for j in range(s_member_at[s], s_member_at[s + 1]):
                h = s_member[j]
                if seen_h[h] != stamp:
                    seen_h[h] = stamp
                    slot_h[h] = at_member
                    member[at_member] = h
                    member_n[at_member] = s_member_n[j]
                    member_total[at_member] = s_member_total[j]
                    member_square[at_member] = s_member_square[j]
                    at_member += 1
                else:
                    slot = slot_h[h]
                    member_n[slot] += s_member_n[j]
                    member_total[slot] += s_member_total[j]
                    member_square[slot] += s_member_square[j]
            for j in range(s_device_at[s], s_device_at[s + 1]):
                d = s_device[j]
                if seen_d[d] != stamp:
                    seen_d[d] = stamp
                    device_id[at_device] = d
                    at_device += 1
        at_bin = flush_bins(dense, low_bin, high_bin, bins, bin_n, at_bin)
        bins_n[g] = at_bin - bin_start
        hotspots[g] = at_member - member_start
        devices[g] = at_device - device_start
    return at_bin, at_member, at_device, stamp


@released
def describe(
    count, low, high, devices, bin_at, bins, bin_n, member_at, member, member_n, member_total,
    member_square, place_sigma_db, quantiles, server, server_cdbm, sd_cdb,
):
    """Quantiles of each cell from its bins, and its best server with level and uncertainty."""
    for c in range(len(count)):
        reached, j = np.int64(0), bin_at[c]
        for q in range(3):
            # Nearest rank, in whole numbers: 1 of 10, 5 of 10, 9 of 10, rounded up.
            wanted = (np.int64(count[c]) * (1 + 4 * q) + 9) // 10
            while reached + bin_n[j] < wanted:
                reached += bin_n[j]
                j += 1
            value = LOWEST_CDBM + BIN_CDB * np.int64(bins[j])
            quantiles[q, c] = min(max(value, np.int64(low[c])), np.int64(high[c]))
        best, best_mean, best_many = -1, 0.0, False
        for m in range(member_at[c], member_at[c + 1]):
            mean, many = member_total[m] / member_n[m], member_n[m] >= FEW
            better = best < 0 or (many and not best_many)
            if many == best_many and best >= 0:
                tie = mean == best_mean and member[m] < member[best]
                better = mean > best_mean or tie
            if better:
                best, best_mean, best_many = m, mean, many
        server[c] = member[best]
        server_cdbm[c] = np.int64(np.floor(best_mean + 0.5))
        apart = (best_mean - MIDDLE_CDBM) / 100.0
        variance = max(member_square[best] / member_n[best] - apart * apart, 0.0)
        variance += place_sigma_db * place_sigma_db / max(devices[c], 1)
        sd_cdb[c] = min(np.int64(np.sqrt(variance) * 100.0 + 0.5), 65_535)
