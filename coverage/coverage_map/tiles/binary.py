"""The binary tile of docs/map-api.md: ids in a bit or two, values in a byte, made to be compressed.

All rows of one resolution under one cell. What a row is called follows from its H3 digits below
that cell, so a dense tile names its rows with a bitmap.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coverage_map.store.tables import (
    NOBODY,
    NONE_CDB,
    NONE_CDBM,
    NONE_CODE,
    SD_STEP_DB,
    VALUE_OFFSET_DBM,
    VALUE_STEP_DB,
)

Array = NDArray[Any]
Table = Mapping[str, Array]

MAGIC = b"WCT1"
HEAD = struct.Struct("<4sQBBBBII")
COLUMN = struct.Struct("<BBBBff")
GAPS = 1
MEDIA = "application/vnd.wavecomb.tile"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of tiles: its code and width on the wire, its scale, and how it follows from rows.

    `codes` gets the table's columns and the epoch of the snapshot, and gives whole numbers.
    """

    code: int
    width: int
    offset: float
    scale: float
    unit: str
    text: str
    codes: Callable[[Table, int], Array]


def _dbm(name: str) -> Callable[[Table, int], Array]:
    def codes(table: Table, _: int) -> Array:
        column = np.asarray(table[name]).astype(np.int64)
        known = (column != NONE_CDBM) & (np.asarray(table["count"]) > 0)
        return np.where(known, column - NONE_CDBM, (1 << 16) - 1)

    return codes


def _plain(name: str) -> Callable[[Table, int], Array]:
    return lambda table, _: np.asarray(table[name]).astype(np.int64)


def _measured(name: str) -> Callable[[Table, int], Array]:
    def codes(table: Table, _: int) -> Array:
        return np.where(np.asarray(table["count"]) > 0, table[name], (1 << 32) - 1)

    return codes


def _age(table: Table, epoch: int) -> Array:
    last = np.asarray(table["last"]).astype(np.int64)
    return np.where(np.asarray(table["count"]) > 0, np.maximum(epoch - last, 0), (1 << 32) - 1)


def _server(table: Table, _: int) -> Array:
    server = np.asarray(table["server"]).astype(np.int64)
    return np.where(server == NOBODY, (1 << 32) - 1, server)


def confidence_of(sd_cdb: Array, within_db: float = 6.0) -> Array:
    """Probability in % that a value with this uncertainty is right within 6 dB; 255 for unknown."""
    from scipy.special import ndtr

    known = np.asarray(sd_cdb) != NONE_CDB
    sd_db = np.maximum(np.where(known, sd_cdb, 100) / 100.0, 0.01)
    share = 100.0 * (2.0 * ndtr(within_db / sd_db) - 1.0)
    return np.where(known, np.round(share).astype(np.int64), NONE_CODE)


COLUMNS: dict[str, Column] = {
    "value": Column(
        *(1, 1, VALUE_OFFSET_DBM, VALUE_STEP_DB, "dBm", "signal of the best server"),
        _plain("value"),
    ),
    "sd": Column(2, 1, 0.0, SD_STEP_DB, "dB", "uncertainty of the value", _plain("sd")),
    "count": Column(3, 4, 0.0, 1.0, "", "usable receptions", _plain("count")),
    "hotspots": Column(4, 4, 0.0, 1.0, "", "distinct hotspots heard", _plain("hotspots")),
    "devices": Column(5, 4, 0.0, 1.0, "", "distinct devices that heard", _plain("devices")),
    "age": Column(6, 4, 0.0, 1.0, "epochs", "since the newest reception", _age),
    "confidence": Column(
        *(7, 1, 0.0, 1.0, "%", "that the value is right within 6 dB"),
        lambda table, _: confidence_of(np.asarray(table["sd_cdb"])),
    ),
    "min": Column(8, 2, -327.68, 0.01, "dBm", "weakest reception", _dbm("low_cdbm")),
    "max": Column(9, 2, -327.68, 0.01, "dBm", "strongest reception", _dbm("high_cdbm")),
    "mean": Column(10, 2, -327.68, 0.01, "dBm", "mean of all receptions", _dbm("mean_cdbm")),
    "p10": Column(11, 2, -327.68, 0.01, "dBm", "one in ten is weaker", _dbm("p10_cdbm")),
    "p50": Column(12, 2, -327.68, 0.01, "dBm", "half are weaker", _dbm("p50_cdbm")),
    "p90": Column(13, 2, -327.68, 0.01, "dBm", "nine in ten are weaker", _dbm("p90_cdbm")),
    "server": Column(14, 4, 0.0, 1.0, "", "hotspot behind the value", _server),
    "overlap": Column(15, 1, 0.0, 1.0, "", "hotspots predicted above -82 dBm", _plain("overlap")),
    "first": Column(16, 4, 0.0, 1.0, "epoch", "of the first reception", _measured("first")),
    "last": Column(17, 4, 0.0, 1.0, "epoch", "of the newest reception", _measured("last")),
}
USUAL = ("value", "sd")
_USUAL_DESCRIPTORS = tuple(
    tuple(COLUMN.pack(c.code, c.width, steps, 0, c.offset, c.scale) for steps in (0, 1))
    for c in (COLUMNS["value"], COLUMNS["sd"])
)


def encode(
    table: Table,
    rows: slice,
    parent: int,
    resolution: int,
    names: Sequence[str] = USUAL,
    epoch: int = 0,
) -> bytes:
    """The tile of the rows of a table that lie under `parent`, in the order of cells."""
    cells, count = table["cells"][rows], table["count"][rows]
    if tuple(names) == USUAL:
        value, sd = table["value"][rows], table["sd"][rows]
        return _encode_usual(cells, count, value, sd, parent, resolution)
    chosen = {name: column[rows] for name, column in _needed(table).items()}
    from coverage_map.tiles.kernels import write_measured, write_names

    own = parent >> 52 & 0xF
    room = np.empty(10 * len(cells) + (7 ** (resolution - own) + 7) // 8 + 8, np.uint8)
    coding, size = write_names(cells, own, resolution, room)
    planes = [room[: size + write_measured(count, room[size:])].tobytes()]
    descriptors = []
    for name in names:
        steps, content = _plane(COLUMNS[name], COLUMNS[name].codes(chosen, epoch))
        column = COLUMNS[name]
        descriptors.append(
            COLUMN.pack(column.code, column.width, steps, 0, column.offset, column.scale)
        )
        planes.append(content)
    head = HEAD.pack(MAGIC, parent, resolution, coding, len(names), 0, len(cells), size)
    return b"".join((head, *descriptors, *planes))


def _needed(table: Table) -> Table:
    from coverage_map.store.tables import COLUMNS as STORED

    return {name: table[name] for name in STORED}


def _plane(column: Column, codes: Array) -> tuple[int, bytes]:
    from coverage_map.tiles.kernels import write_bytes

    whole = np.asarray(codes).astype("<u4").view(np.uint8).reshape(-1, 4)[:, : column.width]
    if column.width > 1:
        return 0, np.ascontiguousarray(whole.T).tobytes()
    out = np.empty(len(whole), np.uint8)
    steps = write_bytes(np.ascontiguousarray(whole[:, 0]), out)
    return int(steps), out.tobytes()


def _encode_usual(
    cells: Array, count: Array, value: Array, sd: Array, parent: int, resolution: int
) -> bytes:
    from coverage_map.tiles.kernels import write_tile

    own = parent >> 52 & 0xF
    size = len(cells)
    out = np.empty(64 + 13 * size + (7 ** (resolution - own) + 7) // 8, np.uint8)
    coding, names, *steps, end = write_tile(cells, count, value, sd, own, resolution, out)
    head = HEAD.pack(MAGIC, parent, resolution, coding, 2, 0, size, names)
    head += _USUAL_DESCRIPTORS[0][steps[0]] + _USUAL_DESCRIPTORS[1][steps[1]]
    out[: len(head)] = np.frombuffer(head, np.uint8)
    return bytes(out[:end].data)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A tile that was read: cells u64, measured, and values by column name, NaN for none."""

    parent: int
    resolution: int
    cells: Array
    measured: Array
    values: dict[str, Array]


def decode(content: bytes) -> Tile:
    """Read a tile. ValueError when the bytes are no tile of this version."""
    if len(content) < HEAD.size or content[:4] != MAGIC:
        raise ValueError("no WCT1 tile")
    _, parent, resolution, coding, columns, _, size, names = HEAD.unpack_from(content)
    at = HEAD.size + columns * COLUMN.size
    places = _places(content[at : at + names], coding)
    if len(places) != size:
        raise ValueError(f"the tile says {size} rows and names {len(places)}")
    at += names
    bits = np.frombuffer(content, np.uint8, (size + 7) // 8, at)
    measured = np.unpackbits(bits, count=size, bitorder="little").astype(np.bool_)
    at += len(bits)
    values, by_code = {}, {column.code: name for name, column in COLUMNS.items()}
    for number in range(columns):
        code, width, steps, _, offset, scale = COLUMN.unpack_from(
            content, HEAD.size + number * COLUMN.size
        )
        codes = np.zeros(size, np.int64)
        for byte in range(width):
            codes |= np.frombuffer(content, np.uint8, size, at).astype(np.int64) << 8 * byte
            at += size
        codes = np.cumsum(codes) % (1 << 8 * width) if steps else codes
        values[by_code[code]] = np.where(
            codes == (1 << 8 * width) - 1, np.nan, offset + scale * codes
        )
    return Tile(parent, resolution, _cells(parent, resolution, places), measured, values)


def _places(content: bytes, coding: int) -> NDArray[np.int64]:
    if coding != GAPS:
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        return np.flatnonzero(bits).astype(np.int64)
    gaps, value, shift = [], 0, 0
    for byte in content:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            gaps.append(value + 1)
            value = shift = 0
    return np.cumsum(gaps, dtype=np.int64) - 1


def _cells(parent: int, resolution: int, places: NDArray[np.int64]) -> Array:
    own = parent >> 52 & 0xF
    found = np.full(len(places), parent & ~(0xF << 52) | resolution << 52, np.uint64)
    for level in range(resolution, own, -1):
        shift = np.uint64(3 * (15 - level))
        digit = (places % 7).astype(np.uint64)
        found = found & ~(np.uint64(7) << shift) | digit << shift
        places = places // 7
    return found
