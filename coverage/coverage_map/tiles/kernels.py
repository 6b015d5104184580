"""Compiled loops of the binary tile: names of rows, and bytes in the order that packs best."""

# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

import numpy as np

from coverage_map.store.kernels import released

HEADER, DESCRIPTOR = 24, 12


@released
def write_names(cells, parent_resolution, resolution, out):
    """Write the name plane at the start of `out`; returns (coding, bytes): 0 bitmap, 1 gaps.

    The bitmap costs a bit per possible place, gaps at least a byte per row: the shorter one wins.
    """
    depth = resolution - parent_resolution
    room = np.int64(1)
    for _ in range(depth):
        room *= 7
    size = (room + 7) // 8
    as_bitmap = size <= len(cells)
    if as_bitmap:
        out[:size] = 0
    at, before = 0, np.int64(-1)
    for i in range(len(cells)):
        place = np.int64(0)
        for step in range(depth):
            shift = np.uint64(3 * (15 - parent_resolution - step - 1))
            place = place * 7 + np.int64((cells[i] >> shift) & np.uint64(7))
        if as_bitmap:
            out[place >> 3] |= np.uint8(1 << (place & 7))
        else:
            gap = place - before - 1
            before = place
            while gap > 127:
                out[at] = np.uint8(gap & 127 | 128)
                gap >>= 7
                at += 1
            out[at] = np.uint8(gap)
            at += 1
    return (0, size) if as_bitmap else (1, at)


@released
def write_measured(count, out):
    """One bit per row that has a count."""
    size = (len(count) + 7) // 8
    out[:size] = 0
    for i in range(len(count)):
        if count[i]:
            out[i >> 3] |= np.uint8(1 << (i & 7))
    return size


@released
def write_bytes(codes, out):
    """Write one-byte codes, as differences where those are more alike; returns 1 if so."""
    plain, steps = np.zeros(256, np.int64), np.zeros(256, np.int64)
    before = np.uint8(0)
    for i in range(len(codes)):
        plain[codes[i]] += 1
        steps[np.uint8(codes[i] - before)] += 1
        before = codes[i]
    # The sum of squares falls with entropy: enough to choose, and no logarithms.
    spread_plain, spread_steps = np.int64(0), np.int64(0)
    for b in range(256):
        spread_plain += plain[b] * plain[b]
        spread_steps += steps[b] * steps[b]
    if spread_steps <= spread_plain:
        out[: len(codes)] = codes
        return 0
    before = np.uint8(0)
    for i in range(len(codes)):
        out[i] = np.uint8(codes[i] - before)
        before = codes[i]
    return 1


@released
def write_tile(cells, count, value, sd, parent_resolution, resolution, out):
    """Planes of the usual tile after its header; returns (coding, name bytes, d1, d2, end)."""
    at = HEADER + 2 * DESCRIPTOR
    coding, names = write_names(cells, parent_resolution, resolution, out[at:])
    at += names
    at += write_measured(count, out[at:])
    first = write_bytes(value, out[at:])
    at += len(cells)
    second = write_bytes(sd, out[at:])
    return coding, names, first, second, at + len(cells)
