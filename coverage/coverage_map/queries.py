"""What the API answers, as plain values made from a snapshot: features, columns, gaps, one cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from coverage_map import cells
from coverage_map.links import Link, LinkTable
from coverage_map.observations import Site
from coverage_map.parameters import Bbox
from coverage_map.snapshot import NO_SERVER, Level, Snapshot

JsonObject = dict[str, Any]
Rows = NDArray[np.intp]


def _number(value: float, digits: int = 1) -> float | None:
    return None if np.isnan(value) else round(float(value), digits)


def _numbers(values: NDArray[np.float64], digits: int = 1) -> list[float | None]:
    rounded = np.round(values, digits).tolist()
    return [None if value != value else value for value in rounded]


def _inside(places: NDArray[np.float64], bbox: Bbox) -> NDArray[np.bool_]:
    west, south, east, north = bbox
    latitude, longitude = places[:, 0], places[:, 1]
    if west <= east:
        across = (longitude >= west) & (longitude <= east)
    else:
        across = (longitude >= west) | (longitude <= east)
    return np.asarray(across & (latitude >= south) & (latitude <= north))


def select(level: Level, bbox: Bbox | None, min_obs: int, after: int | None) -> Rows:
    """Rows of a level whose centre lies in the box, with enough samples, after a cell."""
    keep = level.count >= min_obs
    if after is not None:
        keep &= level.cells > np.uint64(after)
    rows = np.flatnonzero(keep)
    if bbox is not None:
        rows = rows[_inside(cells.centres(level.cells[rows]), bbox)]
    return rows


def cell_properties(level: Level, row: int, threshold_dbm: float) -> JsonObject:
    """Everything that is known about one cell; measured and predicted under names of their own."""
    measured = bool(level.count[row])
    one = _single(level, row)
    return {
        "h3": cells.text_of(int(level.cells[row])),
        "resolution": level.resolution,
        "state": "measured" if measured else "predicted",
        "value_dbm": _number(one.value_dbm()[0]),
        "uncertainty_db": _number(one.sd_db()[0]),
        "count": int(level.count[row]),
        "newest_ms": int(level.newest_ms[row]) or None,
        "measured": _measured_properties(level, row) if measured else None,
        "predicted": _predicted_properties(level, row),
        "best_server": _server(one.best_server()[0]),
        "overlap": int(one.overlap(threshold_dbm)[0]),
        "service_probability": _number(one.probability(threshold_dbm)[0], 3),
        "confidence": _number(one.confidence()[0], 3),
        "threshold_dbm": threshold_dbm,
    }


def _single(level: Level, row: int) -> Level:
    columns = {
        name: getattr(level, name)[row : row + 1]
        for name in level.__dataclass_fields__
        if name != "resolution"
    }
    return Level(resolution=level.resolution, **columns)


def _server(index: int) -> int | None:
    return None if index == NO_SERVER else int(index)


def _measured_properties(level: Level, row: int) -> JsonObject:
    return {
        "p10_dbm": _number(level.measured_p10_dbm[row]),
        "p50_dbm": _number(level.measured_p50_dbm[row]),
        "p90_dbm": _number(level.measured_p90_dbm[row]),
        "count": int(level.count[row]),
        "late": int(level.late[row]),
        "hotspots_heard": int(level.hotspots[row]),
        "witnesses": int(level.witnesses[row]),
        "newest_ms": int(level.newest_ms[row]),
    }


def _predicted_properties(level: Level, row: int) -> JsonObject | None:
    if np.isnan(level.predicted_dbm[row]):
        return None
    servers = [
        {"hotspot": int(server), "mean_dbm": _number(level.servers_dbm[row, k])}
        for k, server in enumerate(level.servers[row])
        if server != NO_SERVER
    ]
    return {
        "mean_dbm": _number(level.predicted_dbm[row]),
        "sd_db": _number(level.predicted_sd_db[row]),
        "servers": servers,
    }


def polygon(cell: int) -> JsonObject:
    """GeoJSON geometry of a cell."""
    return {"type": "Polygon", "coordinates": [cells.ring(cell)]}


def feature(identity: str, geometry: JsonObject, properties: JsonObject) -> JsonObject:
    """A GeoJSON feature."""
    return {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}


def cell_features(level: Level, rows: Rows, threshold_dbm: float) -> list[JsonObject]:
    """Features of cells, in the order of the column."""
    return [
        feature(
            cells.text_of(int(level.cells[row])),
            polygon(int(level.cells[row])),
            cell_properties(level, int(row), threshold_dbm),
        )
        for row in rows
    ]


def zone_columns(snapshot: Snapshot, zone: int, resolution: int) -> JsonObject:
    """Compact columns of all cells of a resolution inside a zone, for clients that draw by cell id.

    `coarser` holds measured cells inside the zone whose owners published no finer place.
    """
    level = snapshot.levels[resolution]
    rows = np.arange(len(level))[level.under(zone)]
    coarser: JsonObject = _columns(level, rows[:0])
    for other in sorted(snapshot.levels):
        if int(cells.resolutions([zone])[0]) <= other < resolution:
            above = snapshot.levels[other]
            inside = np.arange(len(above))[above.under(zone)]
            own = inside[above.own_precision[inside]]
            for name, column in _columns(above, own).items():
                coarser[name] += column
    return {
        "dggrs": "H3",
        "zone": cells.text_of(zone),
        "resolution": resolution,
        **_columns(level, rows),
        "coarser": coarser,
    }


def _columns(level: Level, rows: Rows) -> JsonObject:
    return {
        "h3": [cells.text_of(cell) for cell in level.cells[rows].tolist()],
        "measured": level.measured[rows].astype(int).tolist(),
        "value_dbm": _numbers(level.value_dbm()[rows]),
        "sd_db": _numbers(level.sd_db()[rows]),
        "count": level.count[rows].tolist(),
        "hotspots": level.hotspots[rows].tolist(),
        "newest_ms": level.newest_ms[rows].tolist(),
        "server": level.best_server()[rows].tolist(),
    }


def gap_features(level: Level, bbox: Bbox | None, threshold_dbm: float) -> list[JsonObject]:
    """Where service is missing, most promising first: next to served cells, but not served itself.

    `why` tells a measured hole from a predicted one and from a place that nobody knows about.
    """
    served = level.probability(threshold_dbm) >= 0.5
    near: dict[int, int] = {}
    for cell in level.cells[served].tolist():
        for other in h3.grid_disk(cell, 1):
            near[other] = near.get(other, 0) + 1
    known = dict(zip(level.cells.tolist(), range(len(level)), strict=True))
    found = [
        (count, cell)
        for cell, count in near.items()
        if cell not in known or not served[known[cell]]
    ]
    if bbox is not None and found:
        places = np.array([cells.centre(cell) for _, cell in found])
        found = [item for item, ok in zip(found, _inside(places, bbox), strict=True) if ok]
    found.sort(key=lambda item: (-item[0], item[1]))
    return [_gap(level, known.get(cell), cell, count, threshold_dbm) for count, cell in found]


def _gap(level: Level, row: int | None, cell: int, count: int, threshold: float) -> JsonObject:
    why, value = "unknown", None
    if row is not None:
        why = "measured_below" if level.count[row] else "predicted_below"
        value = _number(float(level.value_dbm()[row]))
    properties = {
        "h3": cells.text_of(cell),
        "why": why,
        "value_dbm": value,
        "served_neighbours": count,
        "threshold_dbm": threshold,
    }
    return feature(cells.text_of(cell), polygon(cell), properties)


def hotspot_feature(site: Site, table: Mapping[str, Any]) -> JsonObject:
    """A hotspot at the place its owner published, with what the map knows of it."""
    point = {
        "type": "Point",
        "coordinates": [round(site.longitude_deg, 6), round(site.latitude_deg, 6)],
    }
    properties = {
        "hotspot": site.index,
        "key": site.key.hex(),
        "owner": site.owner.hex(),
        "cell": cells.text_of(site.cell),
        "height_m": site.height_m,
        "eirp_dbm": site.eirp_cdbm / 100,
        "gain_dbi": site.gain_cdb / 100,
        "frequency_mhz": site.frequency_mhz,
        **table,
    }
    return feature(str(site.index), point, properties)


def link_properties(table: LinkTable, link: Link, sites: Mapping[int, Site]) -> JsonObject:
    """One link: who heard whom, how well, how often, and with which verdicts."""
    samples = table.samples(link)
    median = float(np.median(samples)) / 100.0 if len(samples) else float("nan")
    a, b = sites[link.beaconer], sites[link.witness]
    metres = cells.distance_m(a.latitude_deg, a.longitude_deg, b.latitude_deg, b.longitude_deg)
    return {
        "beaconer": link.beaconer,
        "witness": link.witness,
        "median_dbm": _number(median),
        "count": link.count,
        "late": link.late,
        "newest_ms": link.last_ms or None,
        "distance_m": round(float(metres)),
        "verdicts": dict(sorted(link.reasons.items())),
    }


def links_in(table: LinkTable, cell: int) -> list[Link]:
    """Links whose witness stands in a cell, by (beaconer, witness)."""
    resolution = cell >> 52 & 0xF
    keys = sorted(table.links)
    if not keys:
        return []
    own = np.array([table.links[key].cell for key in keys], np.uint64)
    inside = (cells.resolutions(own) >= resolution) & (
        cells.parents(own, resolution) == np.uint64(cell)
    )
    return [table.links[keys[i]] for i in np.flatnonzero(inside)]


def why_lines(explanation: Mapping[str, Any]) -> list[str]:
    """The ledger's explanation of a hotspot (GET /v1/explain/INDEX) in sentences, newest first."""
    lines = []
    about = explanation.get("as_beaconer", {})
    if about.get("beacons"):
        lines.append("Its newest beacons: " + _counts(about["beacons"]))
    if about.get("receptions"):
        lines.append("Verdicts on who heard them: " + _counts(about["receptions"]))
    if explanation.get("as_witness"):
        lines.append("Verdicts on what it heard: " + _counts(explanation["as_witness"]))
    for payment in explanation.get("payments", [])[:8]:
        paid = f"{payment['amount_ucr'] / 1e6:.6f}".rstrip("0").rstrip(".")
        where = f" in cell {payment['cell']}" if payment["cell"].strip("0") else ""
        kind = str(payment["kind"]).replace("_", " ")
        lines.append(f"Epoch {payment['epoch']}: {paid} credits, {kind}{where}")
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in ordered)
