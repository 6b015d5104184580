"""Records as CSV, Arrow and GeoParquet 1.1, for GIS programs and notebooks."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
CSV = "text/csv"
WKB_TYPES = {"Point": 1, "LineString": 2, "Polygon": 3}
JsonObject = Mapping[str, Any]
# Where every value of a page is missing, its column still has the type that other pages have.
_MISSING = {
    **dict.fromkeys(("epoch", "ms", "server"), pa.int64()),
    **dict.fromkeys(("dbm", "db", "probability", "confidence"), pa.float64()),
}

CRS84 = {
    "$schema": "https://proj.org/schemas/v0.7/projjson.schema.json",
    "type": "GeographicCRS",
    "name": "WGS 84 (CRS84)",
    "datum_ensemble": {
        "name": "World Geodetic System 1984 ensemble",
        "members": [
            {"name": "World Geodetic System 1984 (Transit)"},
            {"name": "World Geodetic System 1984 (G2139)"},
        ],
        "ellipsoid": {
            "name": "WGS 84",
            "semi_major_axis": 6378137,
            "inverse_flattening": 298.257223563,
        },
        "accuracy": "2.0",
        "id": {"authority": "EPSG", "code": 6326},
    },
    "coordinate_system": {
        "subtype": "ellipsoidal",
        "axis": [
            {
                "name": "Geodetic longitude",
                "abbreviation": "Lon",
                "direction": "east",
                "unit": "degree",
            },
            {
                "name": "Geodetic latitude",
                "abbreviation": "Lat",
                "direction": "north",
                "unit": "degree",
            },
        ],
    },
    "id": {"authority": "OGC", "code": "CRS84"},
}


def arrow_of(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """An Arrow IPC stream of columns."""
    return _stream(_table_of(columns))


def _table_of(columns: Mapping[str, Sequence[Any]]) -> Any:
    kinds = {name: _MISSING.get(name.rpartition("_")[2]) for name in columns}
    empty = {name for name, values in columns.items() if all(value is None for value in values)}
    return pa.table(
        {n: pa.array(v, kinds[n] if n in empty else None) for n, v in columns.items()}
    )


def features_arrow(found: Sequence[JsonObject]) -> bytes:
    """An Arrow IPC stream of features; `geometry` is WKB with GeoArrow's name for it."""
    return _stream(_geometry_table(found))


def _stream(table: Any) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def features_csv(found: Sequence[JsonObject]) -> bytes:
    """CSV of features: id, properties, and the geometry as WKT in the last column."""
    out = io.StringIO()
    names = list(found[0]["properties"]) if found else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", *names, "wkt"])
    for one in found:
        values = [one["properties"][name] for name in names]
        writer.writerow([one["id"], *values, wkt_of(one["geometry"])])
    return out.getvalue().encode()


def features_parquet(found: Sequence[JsonObject]) -> bytes:
    """GeoParquet 1.1 of features: WKB, CRS84, with a bounding box per row."""
    table = _geometry_table(found)
    boxes = [_box_of(one["geometry"]) for one in found]
    kind = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
    table = table.append_column("bbox", pa.array(boxes, kind))
    covering = {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}
    kinds = sorted({one["geometry"]["type"] for one in found})
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": kinds,
                "crs": CRS84,
                "orientation": "counterclockwise",
                "covering": {"bbox": covering},
            }
        },
    }
    if boxes:
        lows = [min(box[name] for box in boxes) for name in ("xmin", "ymin")]
        geo["columns"]["geometry"]["bbox"] = lows + [  # type: ignore[index]
            max(box[name] for box in boxes) for name in ("xmax", "ymax")
        ]
    table = table.replace_schema_metadata({"geo": json.dumps(geo)})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _geometry_table(found: Sequence[JsonObject]) -> Any:
    names = list(found[0]["properties"]) if found else []
    columns: dict[str, Any] = {"id": [one["id"] for one in found]}
    columns |= {name: [one["properties"][name] for one in found] for name in names}
    table = _table_of(columns)
    shapes = pa.array([wkb_of(one["geometry"]) for one in found], pa.binary())
    field = pa.field("geometry", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    return table.append_column(field, shapes)


def wkb_of(geometry: JsonObject) -> bytes:
    """Well-known binary, little-endian, of a Point, LineString or Polygon."""
    kind, places = geometry["type"], geometry["coordinates"]
    head = struct.pack("<BI", 1, WKB_TYPES[kind])
    if kind == "Point":
        return head + struct.pack("<2d", *places)
    if kind == "LineString":
        return head + _ring_bytes(places)
    return head + struct.pack("<I", len(places)) + b"".join(_ring_bytes(ring) for ring in places)


def _ring_bytes(places: Sequence[Sequence[float]]) -> bytes:
    flat = [value for place in places for value in place]
    return struct.pack(f"<I{len(flat)}d", len(places), *flat)


def wkt_of(geometry: JsonObject) -> str:
    """Well-known text of a Point, LineString or Polygon."""
    kind, places = geometry["type"], geometry["coordinates"]
    if kind == "Point":
        return f"POINT ({places[0]} {places[1]})"
    if kind == "LineString":
        return f"LINESTRING {_line_text(places)}"
    return f"POLYGON ({', '.join(_line_text(ring) for ring in places)})"


def _line_text(places: Sequence[Sequence[float]]) -> str:
    return "(" + ", ".join(f"{x} {y}" for x, y in places) + ")"


def _box_of(geometry: JsonObject) -> dict[str, float]:
    places = geometry["coordinates"]
    if geometry["type"] == "Point":
        places = [places]
    elif geometry["type"] == "Polygon":
        places = places[0]
    across, up = [place[0] for place in places], [place[1] for place in places]
    return {"xmin": min(across), "ymin": min(up), "xmax": max(across), "ymax": max(up)}
