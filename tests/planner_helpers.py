"""Small worlds for the planner's tests."""

from __future__ import annotations

import numpy as np

from coverage_map.observations import Site
from coverage_map.planning.placement import Problem, make_problem
from coverage_map.planning.world import World

MIDDLE = (47.0, 8.0)


def site(index: int, latitude: float = 47.0, longitude: float = 8.0, mhz: int = 2_437) -> Site:
    return Site(index, b"", b"", 0, latitude, longitude, 8, 300, 2_000, mhz)


def world(count: int = 12, seed: int = 1) -> World:
    draws = np.random.default_rng(seed).uniform(-0.02, 0.02, (count, 2))
    return World({k: site(k, 47.0 + a, 8.0 + b) for k, (a, b) in enumerate(draws)})


def drawn_problem(candidates: int = 30, cells: int = 400, seed: int = 1) -> Problem:
    """Discs over a square, and weights by chance."""
    draws = np.random.default_rng(seed)
    places = draws.uniform(0.0, 1.0, (cells, 2))
    middles = draws.uniform(0.0, 1.0, (candidates, 2))
    reach = draws.uniform(0.1, 0.2, candidates)
    rows = [
        np.flatnonzero(np.hypot(*(places - middle).T) < radius)
        for middle, radius in zip(middles, reach, strict=True)
    ]
    return make_problem(rows, draws.integers(0, 20, cells).astype(float))
