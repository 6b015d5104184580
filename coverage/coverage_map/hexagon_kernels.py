"""Compiled loops of hexagons.py: digits to lattice, lattice to faces, faces to the earth."""

# mypy: disable-error-code="no-untyped-def,assignment"

from __future__ import annotations

import math

import numpy as np

from coverage_map.store.kernels import released

EDGE = 1e-12  # a point this near to an edge is on both faces, and both give the same place
HOPS = 4  # faces that an unfolding may cross
DEGREES = 180.0 / math.pi


@released
def place_of(cell, steps):
    """Base cell, first digit that isn't 0, resolution, and place in the lattice."""
    resolution = np.int64((cell >> np.uint64(52)) & np.uint64(15))
    base = np.int64((cell >> np.uint64(45)) & np.uint64(127))
    lead, spot = 0, 0.0 + 0.0j
    for r in range(1, resolution + 1):
        digit = np.int64((cell >> np.uint64(3 * (15 - r))) & np.uint64(7))
        if lead == 0:
            lead = digit
        spot += steps[r, digit]
    return base, lead, resolution, spot


@released
def fold(face, z, corners, across, unfold):
    """The face that holds a point, and the point in its plane; crossed edges are unfolded."""
    hops = 0
    for _ in range(HOPS):
        beyond = -1
        for k in range(3):
            start, end = corners[face, k], corners[face, (k + 1) % 3]
            along, to = end - start, z - start
            if along.real * to.imag - along.imag * to.real < -EDGE:
                beyond = k
                break
        if beyond < 0:
            return face, z, hops
        z = unfold[face, beyond, 0] + unfold[face, beyond, 1] * z
        face = across[face, beyond]
        hops += 1
    return face, z, hops


@released
def point_of(face, z, axes):
    """The unit vector of a point in a face's plane: the inverse gnomonic projection."""
    x = axes[face, 0, 0] + z.real * axes[face, 1, 0] + z.imag * axes[face, 2, 0]
    y = axes[face, 0, 1] + z.real * axes[face, 1, 1] + z.imag * axes[face, 2, 1]
    w = axes[face, 0, 2] + z.real * axes[face, 1, 2] + z.imag * axes[face, 2, 2]
    return x, y, w / math.sqrt(x * x + y * y + w * w)


@released
def write_centres(
    cells, steps, _, axes, corners, across, unfold, face, shift, scale, out, odd
):
    """Latitude and longitude of every cell; `odd` marks those that have no place in the lattice."""
    for i in range(len(cells)):
        base, lead, _, spot = place_of(cells[i], steps)
        if scale[base, lead] == 0:
            odd[i] = True
            continue
        z = shift[base, lead] + scale[base, lead] * spot
        on, z, _ = fold(face[base, lead], z, corners, across, unfold)
        x, y, up = point_of(on, z, axes)
        out[i, 0] = math.asin(up) * DEGREES
        out[i, 1] = math.atan2(y, x) * DEGREES


@released
def write_corners(
    cells, steps, spans, axes, corners, across, unfold, face, shift, scale, mercator, out_x, out_y,
    odd,
):
    """Six corners of every cell; `odd` marks cells that h3 gives other corners.

    An edge of the icosahedron between two corners is a corner more for odd resolutions, and shows
    as corners on different faces.
    """
    for i in range(len(cells)):
        base, lead, resolution, spot = place_of(cells[i], steps)
        if scale[base, lead] == 0:
            odd[i] = True
            continue
        centre = shift[base, lead] + scale[base, lead] * spot
        home, centre, hops = fold(face[base, lead], centre, corners, across, unfold)
        turned = scale[base, lead]
        if hops:
            # The same edges, crossed by a point a little aside, tell how the lattice is turned.
            step = 1e-3 * spans[resolution, 0]
            aside = shift[base, lead] + scale[base, lead] * (spot + step)
            near, moved, _ = fold(face[base, lead], aside, corners, across, unfold)
            if near != home:
                odd[i] = True
                continue
            turned = (moved - centre) / step
        for k in range(6):
            z = centre + turned * spans[resolution, k]
            on, z, crossed = fold(home, z, corners, across, unfold)
            if crossed:
                odd[i] = True
            x, y, up = point_of(on, z, axes)
            longitude = math.atan2(y, x)
            if mercator:
                out_x[i, k] = longitude / (2.0 * math.pi) + 0.5
                out_y[i, k] = 0.5 - math.log((1.0 + up) / (1.0 - up)) / (4.0 * math.pi)
            else:
                out_x[i, k] = longitude * DEGREES
                out_y[i, k] = math.asin(up) * DEGREES
