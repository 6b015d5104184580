"""Sort keys: H3 cells of mixed resolutions in the order of the ground, 40 bits each.

A key is the cell's base cell and its digits down to resolution 11, without the resolution bits. An
unused digit is 7, so a coarse cell sorts directly after all that lies inside it, the resolution can
be read back from the trailing sevens, and 24 bits remain beside the key for a row number: one sort
of plain integers orders a table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coverage_map.cells import Cells

FINEST = 11
COARSEST = 3
KEY_SHIFT = np.uint64(12)  # digits of resolutions 12 to 15 stand below
_DIGITS = np.uint64((1 << 52) - 1)
_MODE = np.uint64(1 << 59)  # an H3 index of mode 1: a cell
_BELOW = np.uint64((1 << 12) - 1)

Keys = NDArray[np.uint64]
Ints = NDArray[np.int64]


def keys_of(cells: ArrayLike) -> Keys:
    """Key of each cell; cells finer than FINEST have the key of their ancestor there."""
    indexes = np.asarray(cells, np.uint64)
    return np.asarray((indexes & _DIGITS) >> KEY_SHIFT, np.uint64)


def resolutions_of(keys: Keys) -> Ints:
    """Resolution of each key: FINEST less the sevens at its end."""
    found = np.full(len(keys), FINEST, np.int64)
    unused = np.ones(len(keys), np.bool_)
    for level in range(FINEST):
        unused &= ((keys >> np.uint64(3 * level)) & np.uint64(7)) == 7
        found -= unused
    return found


def cells_of(keys: Keys) -> Cells:
    """The cells of keys."""
    levels = resolutions_of(keys).astype(np.uint64) << np.uint64(52)
    return np.asarray(_MODE | levels | (keys << KEY_SHIFT) | _BELOW, np.uint64)


def parents_of(keys: Keys, resolution: int) -> Keys:
    """Keys of the ancestors at `resolution`; a coarser key stays itself."""
    return np.asarray(keys | np.uint64((1 << 3 * (FINEST - resolution)) - 1), np.uint64)
