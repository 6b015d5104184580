"""Coverage as SPLAT! 1.4.2 computes it: the same walk over the terrain, the same model (ITM).

What people compare with; a planner's own area prediction is area.py. The walk's peculiarities are
listed in splat_kernels.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coverage_map.propagation.itm import Settings, check_settings, prepare, refuse
from coverage_map.propagation.terrain import Raster

Floats = NDArray[np.float64]

FEET_PER_METRE = 3.28084
MILES_PER_KM = 1.0 / 1.609344
DIPOLE_DB = 2.14  # EIRP over ERP


@dataclass(frozen=True, slots=True)
class SplatSite:
    """A transmitter as SPLAT is told of it; antenna heights and clutter above ground."""

    latitude_deg: float
    longitude_deg: float
    height_m: float
    receiver_height_m: float
    clutter_m: float = 0.0
    radius_m: float = 30_000.0


def compute_loss_raster(terrain: Raster, site: SplatSite, settings: Settings) -> Floats:
    """ITM loss in dB per terrain cell (rows from the north), NaN where no radial came.

    Raises InvalidInputError for impossible settings; cells with impossible paths are infinite.
    """
    from coverage_map.propagation import splat_kernels
    from coverage_map.propagation.itm_sweep import new_radial

    refuse(int(check_settings(settings)[1]))
    per_degree = 1.0 / terrain.step_lat_deg
    corner = (terrain.south_deg, -terrain.west_deg, per_degree)
    loss = np.full(terrain.heights_m.shape, np.nan)
    splat_kernels.sweep(
        terrain.heights_m,
        (round(corner[0]), float(round(corner[1])), float(round(corner[2]))),
        (site.latitude_deg, -site.longitude_deg % 360.0),
        perimeter(terrain),
        prepare(settings),
        (site.height_m, site.receiver_height_m),
        site.clutter_m * FEET_PER_METRE,
        site.radius_m / 1e3 * MILES_PER_KM,
        new_radial(splat_kernels.LONGEST),
        loss,
    )
    return loss


def perimeter(terrain: Raster) -> Floats:
    """Ends of the radials in SPLAT's order: north edge, east edge, south edge, west edge.

    (latitude, longitude westwards) in degrees; the mosaic must consist of whole degrees.
    """
    rows, cols = terrain.heights_m.shape
    side = round(1.0 / terrain.step_lat_deg)
    if rows % side or cols % side:
        raise ValueError("terrain: not whole degrees; SPLAT's tiles are 1200 or 3600 points wide")
    pixel = 1.0 / side
    south, max_west = round(terrain.south_deg), round(-terrain.west_deg)
    north, min_west = south + rows // side, max_west - cols // side
    west_to_east = [min_west + pixel + pixel * k for k in range(cols)]
    edges = [(float(north), lon) for lon in west_to_east]
    edges += [(north - pixel - pixel * k, float(min_west)) for k in range(rows)]
    edges += [(float(south), lon) for lon in west_to_east]
    edges += [(south + pixel * k, float(max_west)) for k in range(rows)]
    return np.array([(lat, lon % 360.0) for lat, lon in edges])


def level_raster(loss_db: Floats, erp_dbm: float) -> NDArray[np.uint8]:
    """SPLAT's 8-bit levels: 200 + received dBm of a 0 dBi antenna, 0 where nothing was computed."""
    with np.errstate(invalid="ignore"):
        level = np.rint(erp_dbm + DIPOLE_DB - loss_db) + 200.0
    return np.nan_to_num(np.clip(level, 0.0, 255.0), nan=0.0).astype(np.uint8)
