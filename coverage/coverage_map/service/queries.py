"""What the API answers about hotspots and links, as plain values made from the feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coverage_map import cells
from coverage_map.links import Link, LinkTable
from coverage_map.observations import Site
from coverage_map.service.features import feature
from coverage_map.snapshot import DEFAULT_THRESHOLD_DBM

JsonObject = dict[str, Any]
__all__ = [
    "DEFAULT_THRESHOLD_DBM",
    "hotspot_feature",
    "link_feature",
    "link_properties",
    "links_in",
    "why_lines",
]


def _number(value: float, digits: int = 1) -> float | None:
    return None if np.isnan(value) else round(float(value), digits)


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


def link_feature(table: LinkTable, link: Link, sites: Mapping[int, Site]) -> JsonObject:
    """A link as a line from beaconer to witness, between the places their owners published."""
    ends = [sites[link.beaconer], sites[link.witness]]
    line = [[round(x.longitude_deg, 6), round(x.latitude_deg, 6)] for x in ends]
    about = link_properties(table, link, sites)
    about["verdicts"] = ", ".join(f"{name} {n}" for name, n in about["verdicts"].items())
    identity = f"{link.beaconer}-{link.witness}"
    return feature(identity, {"type": "LineString", "coordinates": line}, about)


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
