"""Reading terrain files: SPLAT's SDF (also gzip, bzip2), SRTM's HGT (also gzip, zip), GeoTIFF.

GeoTIFF goes through tifffile: pure Python over NumPy, a quarter of a megabyte, where rasterio
brings GDAL's 36 MB. It reads what elevation is published in (plain and deflate-compressed tiles
and strips); coordinates must be geographic degrees. For other files convert once with gdalwarp.
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.propagation.terrain import VOID_M, Raster, fill_voids, make_raster, mosaic

SDF_SIDES = (1200, 3600)  # 3 and 1 arcseconds a degree
HGT_SIDES = (1201, 3601)
HGT_NAME = re.compile(r"([NS])(\d{2})([EW])(\d{3})", re.IGNORECASE)
SUFFIXES = (".sdf", ".hgt", ".tif", ".tiff")

# GeoTIFF tags and keys (OGC 19-008r4, requirements classes 7.1 and 7.4).
PIXEL_SCALE, TIE_POINT, GEO_KEYS, NO_DATA = 33550, 33922, 34735, 42113
MODEL_TYPE_KEY, RASTER_TYPE_KEY = 1024, 1025
GEOGRAPHIC, PIXEL_IS_POINT = 2, 2


def read_terrain(path: Path) -> Raster:
    """One tile of any known kind, voids filled. Raises UserError for what can't be read."""
    kind = next((s for s in SUFFIXES if s in [x.lower() for x in path.suffixes]), None)
    if path.suffix.lower() == ".zip" and kind is None:
        kind = ".hgt"
    if kind is None:
        raise UserError(str(path), "unknown kind of file", f"use one of {', '.join(SUFFIXES)}")
    try:
        raster = read_sdf(path) if kind == ".sdf" else _read_binary(path, kind)
    except (OSError, EOFError, zipfile.BadZipFile) as problem:
        raise UserError(str(path), f"can't be read ({problem})", "fetch the tile again") from None
    return fill_voids(raster)


def read_mosaic(folder: Path) -> Raster:
    """All tiles of a folder as one raster, in the order of their names."""
    paths = [
        p for p in sorted(folder.glob("*")) if any(s in p.name.lower() for s in (*SUFFIXES, ".zip"))
    ]
    if not paths:
        raise UserError(str(folder), "no terrain tiles", f"put {', '.join(SUFFIXES)} files there")
    return mosaic([read_terrain(p) for p in paths])


def _read_binary(path: Path, kind: str) -> Raster:
    return read_hgt(path) if kind == ".hgt" else read_geotiff(path)


def _content(path: Path) -> bytes:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if suffix == ".bz2":
        return bz2.decompress(path.read_bytes())
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.lower().endswith(".hgt")]
            if len(names) != 1:
                raise UserError(str(path), f"holds {len(names)} .hgt files", "zip one tile each")
            return archive.read(names[0])
    return path.read_bytes()


def read_sdf(path: Path) -> Raster:
    """SPLAT Data File: four header lines (max west, min north, min west, max north), then heights.

    Heights run from south to north and, in a row, from east to west. A degree has 1200 or 3600
    points, the last one belonging to the next tile.
    """
    try:
        numbers: NDArray[np.int64] = np.array(_content(path).split(), np.int64)
    except (ValueError, OverflowError):
        raise UserError(str(path), "not a list of integers", "use an SDF of srtm2sdf") from None
    count = len(numbers) - 4
    side = math.isqrt(max(count, 0))
    if side not in SDF_SIDES or side * side != count:
        raise UserError(str(path), f"{count} heights", "give a whole tile: 1200 or 3600 squared")
    max_west, min_north = int(numbers[0]), int(numbers[1])
    heights = numbers[4:].reshape(side, side)[::-1, ::-1].astype(np.float32)
    west = -float(max_west) if max_west <= 180 else 360.0 - max_west
    north = min_north + (side - 1) / side
    return make_raster(heights, north, west, 1.0 / side, 1.0 / side)


def read_hgt(path: Path) -> Raster:
    """SRTM height file, 1 or 3 arcseconds: big-endian int16, north to south; the name says where.

    A tile shares its edge points with its neighbours. -32768 marks voids.
    """
    found = HGT_NAME.search(path.name)
    if found is None:
        raise UserError(str(path), "no corner in its name", "name it like N51W001.hgt")
    data = _content(path)
    side = math.isqrt(len(data) // 2)
    if side not in HGT_SIDES or 2 * side * side != len(data):
        raise UserError(str(path), f"{len(data)} bytes", "give a whole tile: 1201 or 3601 squared")
    heights = np.frombuffer(data, ">i2").reshape(side, side).astype(np.float32)
    south = int(found[2]) * (1 if found[1].upper() == "N" else -1)
    west = int(found[4]) * (1 if found[3].upper() == "E" else -1)
    return make_raster(heights, south + 1.0, float(west), 1.0 / (side - 1), 1.0 / (side - 1))


def read_geotiff(path: Path) -> Raster:
    """One band of a GeoTIFF in geographic coordinates; no-data points become voids."""
    try:
        import tifffile
    except ImportError:
        raise UserError(
            "tifffile", "not installed", "pip install 'wavecomb[terrain]', or use .hgt tiles"
        ) from None
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            values = np.asarray(page.asarray(), np.float32)
            tags = {code: page.tags[code].value for code in _known(page.tags)}
    except (tifffile.TiffFileError, ValueError) as problem:
        line = str(problem).splitlines()[0]
        raise UserError(str(path), f"can't be decoded ({line})", "store it deflated") from None
    return _georeference(path, values, tags)


def _known(tags: object) -> list[int]:
    return [t for t in (PIXEL_SCALE, TIE_POINT, GEO_KEYS, NO_DATA) if t in tags]  # type: ignore[operator]


def _georeference(path: Path, values: NDArray[np.float32], tags: dict[int, object]) -> Raster:
    if PIXEL_SCALE not in tags or TIE_POINT not in tags:
        raise UserError(str(path), "no place in it", "convert with gdal_translate -of GTiff")
    keys = _geo_keys(tags.get(GEO_KEYS, ()))
    if keys.get(MODEL_TYPE_KEY, GEOGRAPHIC) != GEOGRAPHIC:
        raise UserError(str(path), "projected coordinates", "gdalwarp it to EPSG:4326")
    if values.ndim != 2:
        raise UserError(str(path), "several bands", "extract the band that holds heights")
    scale = [float(x) for x in _numbers(tags[PIXEL_SCALE])]
    tie = [float(x) for x in _numbers(tags[TIE_POINT])]
    half = 0.0 if keys.get(RASTER_TYPE_KEY) == PIXEL_IS_POINT else 0.5
    if NO_DATA in tags:
        values = np.where(values == np.float32(str(tags[NO_DATA]).strip("\0 ")), VOID_M, values)
    west = tie[3] + (half - tie[0]) * scale[0]
    north = tie[4] - (half - tie[1]) * scale[1]
    return make_raster(values, north, west, scale[1], scale[0])


def _numbers(value: object) -> list[float]:
    return [float(x) for x in np.atleast_1d(np.asarray(value, np.float64))]


def _geo_keys(directory: object) -> dict[int, int]:
    """The short-valued keys of a GeoKeyDirectory: after the header, four numbers a key."""
    flat = [int(x) for x in _numbers(directory)]
    return {flat[i]: flat[i + 3] for i in range(4, len(flat) - 3, 4) if flat[i + 1] == 0}
