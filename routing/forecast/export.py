"""A whole model as one small file for routers: tables and offsets, standard library only.

    file        bytes               content, little-endian
    magic       4                   "WCE1"
    header      u32 n, n bytes      JSON: schema, features, step_ms, horizons, span, data, offsets
                                    and the length of each table, by "target@horizon" ascending
    tables      as said             routing/forecast/table.py

`predict` gives the same bits as LightGBM and routing.forecast.model.calibrated do for the same row.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.errors import UserError
from routing.forecast.table import TreeTable, table_from_bytes
from routing.types import Link

_MAGIC = b"WCE1"
_HEAD = struct.Struct("<4sI")
# The unit of offsets; routing/forecast/model.py, which needs NumPy, takes them from here.
WIDTH_SHARE, LEAST_WIDTH = 0.2, 0.001


@dataclass(frozen=True, slots=True)
class RouterModel:
    """An exported model; keys of `tables` and `offsets` are such as "load_p90@10"."""

    header: Mapping[str, Any]
    tables: Mapping[str, TreeTable]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of a row's columns, in order."""
        return tuple(self.header["features"])

    def predict(self, row: Sequence[float], link: Link, horizon: int) -> dict[str, float]:
        """Return calibrated ratios of one row by target: `load_p50`, `load_p90`, `rate_p10`."""
        names = [key.split("@")[0] for key in self.tables if key.endswith(f"@{horizon}")]
        raw = {name: self.tables[f"{name}@{horizon}"].predict(row) for name in names}
        return {name: self._calibrated(raw, name, link, horizon) for name in names}

    def _calibrated(
        self, raw: Mapping[str, float], name: str, link: Link, horizon: int
    ) -> float:
        offsets = self.header["offsets"][f"{name}@{horizon}"]
        shift = offsets["own"].get(f"{link[0]}-{link[1]}", offsets["pooled"])
        value = raw[name]
        of_load = name.startswith("load")
        spread = abs(value - raw["load_p50"]) if of_load else 0.0
        moved = value + shift * (spread + WIDTH_SHARE * abs(value) + LEAST_WIDTH)
        floor = raw["load_p50"] if name == "load_p90" else 0.0
        return float(max(moved, floor, 0.0))

    def to_bytes(self) -> bytes:
        """Return the file; equal models give equal bytes."""
        blobs = {key: self.tables[key].to_bytes() for key in sorted(self.tables)}
        lengths = {key: len(blob) for key, blob in blobs.items()}
        header = json.dumps({**self.header, "tables": lengths}, sort_keys=True).encode()
        return _HEAD.pack(_MAGIC, len(header)) + header + b"".join(blobs.values())


def router_model_from_bytes(blob: bytes) -> RouterModel:
    """Read `to_bytes`; UserError unless it is a whole export and nothing follows."""
    try:
        magic, size = _HEAD.unpack_from(blob)
        start = _HEAD.size + size
        header: dict[str, Any] = json.loads(blob[_HEAD.size : start]) if magic == _MAGIC else {}
        tables = {}
        for key in sorted(header["tables"]):
            length = int(header["tables"][key])
            tables[key] = table_from_bytes(blob[start : start + length])
            start += length
        _check(header, tables)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unfit() from None
    if start != len(blob):
        raise _unfit()
    return RouterModel({k: v for k, v in header.items() if k != "tables"}, tables)


def _check(header: dict[str, Any], tables: Mapping[str, TreeTable]) -> None:
    names = ("load_p50", "load_p90", "rate_p10")
    keys = {f"{name}@{int(h)}" for h in header["horizons"] for name in names}
    offsets = [header["offsets"][key] for key in keys]
    numbers = [x for one in offsets for x in (one["pooled"], *one["own"].values())]
    sized = all(table.features == len(header["features"]) for table in tables.values())
    if keys != set(tables) or not sized or not all(isinstance(x, float | int) for x in numbers):
        raise ValueError("header: does not fit the tables")


def _unfit() -> UserError:
    return UserError("router model", "not a whole export", "write it: wavecomb routing export")
