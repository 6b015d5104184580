"""TileJSON and a style, so that a map program shows the cells without further work."""

from __future__ import annotations

from typing import Any

import numpy as np

from coverage_map.cells import centres
from coverage_map.store.keys import COARSEST
from coverage_map.store.view import View
from coverage_map.tiles.mvt import LAYER, ZOOM_MAX

JsonObject = dict[str, Any]
FIELDS = {
    "h3": "H3 index in hexadecimal",
    "value": "signal of the best server, dBm",
    "sd": "its uncertainty, dB",
    "count": "usable receptions",
    "measured": "whether it was measured, and not predicted",
}
# Okabe and Ito's colours, told apart by colour-blind people too.
SERVED, UNSERVED = "#0072b2", "#d55e00"


def bounds(view: View) -> list[float]:
    """West, south, east, north of all that is known, in degrees."""
    coarse = np.asarray(view.level(COARSEST)["cells"])
    if not len(coarse):
        return [-180.0, -85.0, 180.0, 85.0]
    places = centres(coarse)
    low, high = places.min(axis=0) - 1.0, places.max(axis=0) + 1.0
    west, east = max(low[1], -180.0), min(high[1], 180.0)
    return [round(float(x), 4) for x in (west, max(low[0], -85.0), east, min(high[0], 85.0))]


def tilejson(view: View, template: str) -> JsonObject:
    """TileJSON 3.0.0."""
    west, south, east, north = box = bounds(view)
    return {
        "tilejson": "3.0.0",
        "name": "Wavecomb coverage",
        "version": "1.0.0",
        "scheme": "xyz",
        "tiles": [template],
        "minzoom": 0,
        "maxzoom": ZOOM_MAX,
        "bounds": box,
        "center": [(west + east) / 2, (south + north) / 2, 9],
        "vector_layers": [{"id": LAYER, "fields": FIELDS, "minzoom": 0, "maxzoom": ZOOM_MAX}],
    }


def style(tilejson_url: str, threshold_dbm: float) -> JsonObject:
    """A MapLibre style: served and unserved in two colours, predictions paler than measurements."""
    return {
        "version": 8,
        "name": "Wavecomb coverage",
        "sources": {"cells": {"type": "vector", "url": tilejson_url}},
        "layers": [
            {"id": "ground", "type": "background", "paint": {"background-color": "#f4f4f0"}},
            {
                "id": "cells",
                "type": "fill",
                "source": "cells",
                "source-layer": LAYER,
                "paint": {
                    "fill-color": [
                        *("case", [">=", ["get", "value"], threshold_dbm], SERVED, UNSERVED)
                    ],
                    "fill-opacity": ["case", ["get", "measured"], 0.7, 0.3],
                },
            },
        ],
    }
