"""Compiled loops of the vector tile: varints, polygons and tags straight into bytes."""

# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

import numpy as np

from coverage_map.store.kernels import released

MOVE_ONE, CLOSE = 9, 15  # commands of the Mapbox Vector Tile Specification 2.1, section 4.3.3
FEATURE, ID, TAGS, KIND, GEOMETRY = 0x12, 0x08, 0x12, 0x18, 0x22  # field keys of its protobuf
POLYGON = 3
MOST = 6 * 12 + 64  # bytes that one hexagon with four tags can need, twice over


@released
def put(value, out, at):
    """A varint."""
    value = np.uint64(value)
    while value > np.uint64(127):
        out[at] = np.uint8(value & np.uint64(127) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@released
def zigzag(value):
    """Signed to unsigned, small to small."""
    return np.uint64((value << 1) ^ (value >> 63))


@released
def put_ring(x, y, size, out, at):
    """One exterior ring in tile coordinates: clockwise as seen on the screen."""
    left, top = np.int64(0), np.int64(0)
    at = put(MOVE_ONE, out, at)
    for k in range(size):
        # h3 gives corners counter-clockwise as seen from above.
        i = size - 1 - k
        if k == 1:
            at = put((size - 1) << 3 | 2, out, at)
        at = put(zigzag(x[i] - left), out, at)
        at = put(zigzag(y[i] - top), out, at)
        left, top = x[i], y[i]
    return put(CLOSE, out, at)


@released
def put_features(ids, tags, x, y, sizes, out, room):
    """Features of polygons; tags (n, t) are key and value numbers in turns. Returns their bytes."""
    at = 0
    for i in range(len(ids)):
        inner = put(ID, room, 0)
        inner = put(ids[i], room, inner)
        # The length of the tags is known only once they are written: behind, then moved.
        room[inner] = TAGS
        start = inner + 2
        end = start
        for t in range(tags.shape[1]):
            end = put(tags[i, t], room, end)
        room[inner + 1] = np.uint8(end - start)
        end = put(KIND, room, end)
        end = put(POLYGON, room, end)
        room[end] = GEOMETRY
        start = end + 3  # a geometry of up to 16,383 bytes: two bytes of length
        stop = put_ring(x[i], y[i], sizes[i], room, start)
        size = stop - start
        room[end + 1] = np.uint8(size & 127 | 128)
        room[end + 2] = np.uint8(size >> 7)
        out[at] = FEATURE
        at = put(stop, out, at + 1)
        out[at : at + stop] = room[:stop]
        at += stop
    return at
