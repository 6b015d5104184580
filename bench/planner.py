"""The planner's speed, and how close to the best its choice of sites is.

    python -m bench.planner --json

what_if_s: one site over a 20 km disc of resolution-10 hexagons, P.1812 over hills, compared with
what some 200 hotspots serve there, sums included. placement_s: 20 sites among 5,000 candidates for
200,000 hexagons, footprints given; placement_optimum_share: people covered as a share of the bound
that no 20 sites exceed (Lagrange's, at or above the linear relaxation's). `greedy_share` and
`drawn_share` are the peers: the greedy choice alone, and the best of 100 drawn ones. CPU time, one
core, the best of three runs; compilation is excluded. `--exact` asks HiGHS for the linear bound
and the proven best of a smaller problem.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chain.io_terminal import Progress, print_json, run_command
from coverage_map.cells import centres, disk, distance_m
from coverage_map.observations import Site
from coverage_map.planning.placement import (
    Problem,
    linear_bound,
    make_problem,
    place,
    place_exactly,
    place_greedily,
    upper_bound,
)
from coverage_map.planning.population import make_population
from coverage_map.planning.reach import Method, reach
from coverage_map.planning.scene import Service, scene_of
from coverage_map.planning.what_if import summary, what_if
from coverage_map.propagation.seeded import uniforms
from coverage_map.propagation.shadow_field import make_field
from coverage_map.propagation.terrain import Raster, make_raster

RUNS = 3
LATITUDE, LONGITUDE = 47.0, 8.0
CELLS, CANDIDATES, SITES = 200_000, 5_000, 20
RESOLUTION = 10
TOWNS = 60
THRESHOLD_DBM = -105.0
SHADOW_DB, SHADOW_M = 6.0, 60.0  # of the rough problem
SMALL_CELLS, SMALL_CANDIDATES, SMALL_SITES = 6_000, 80, 5
DRAWN = 100


def site(index: int, latitude: float, longitude: float, height_m: int = 15) -> Site:
    """A hotspot at 868 MHz with 27 dBm."""
    return Site(index, b"", b"", 0, latitude, longitude, height_m, 300, 2_700, 868)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the best of some runs after one that compiles, and what came out."""
    found, best = work(), float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        found = work()
        best = min(best, time.process_time() - started)
    return best, found


def hills(half_deg: float = 0.3, step_deg: float = 1 / 1200) -> Raster:
    """Rolling ground around the middle: some hundred metres of relief, 90 m between points."""
    side = 2 * int(half_deg / step_deg) + 1
    along = (np.arange(side) - side // 2) * step_deg
    lat, lon = np.meshgrid(along, along, indexing="ij")
    height = 500.0 + 80.0 * np.sin(lat * 150.0) * np.cos(lon * 110.0)
    height += 40.0 * np.sin(lon * 420.0 + lat * 300.0)
    return make_raster(
        height, LATITUDE + half_deg, LONGITUDE - half_deg, step_deg, step_deg
    )  # fmt: skip


def time_what_if() -> dict[str, Any]:
    """One site in a town that has hotspots."""
    draws = uniforms(3, np.arange(400)).reshape(-1, 2)
    places = np.array([LATITUDE, LONGITUDE]) + (draws - 0.5) * 0.2
    sites = [site(k, lat, lon) for k, (lat, lon) in enumerate(places)]
    scene = scene_of([reach(s, Method(), RESOLUTION) for s in sites], RESOLUTION)
    method, service = Method("p1812", hills()), Service(THRESHOLD_DBM)
    near = disk(LATITUDE, LONGITUDE, 20_000.0, 8)
    people = make_population(near, np.round(400.0 * uniforms(5, np.arange(len(near)))))

    def ask() -> dict[str, Any]:
        new = site(999, LATITUDE, LONGITUDE, 30)
        return summary(what_if(scene, sites, [new], [], method, service, people)[0])

    spent, found = seconds(ask)
    return {
        "what_if_s": round(spent, 4),
        "what_if_cells": found["cells_compared"],
        "what_if_people_gained": found["gained"]["people"],
    }


def towns(cells: int, candidates: int, seed: int = 7) -> list[Problem]:
    """People in drawn towns; candidates' footprints as the planner predicts them, and rough ones.

    Rough: through correlated shadowing, which leaves holes that linear programs share out in
    parts: their bound is farther above any real choice.
    """
    area = disk(LATITUDE, LONGITUDE, 1.02 * (cells * 0.0150 / np.pi) ** 0.5 * 1e3, RESOLUTION)
    places = centres(area)
    metres = distance_m(LATITUDE, LONGITUDE, places[:, 0], places[:, 1])
    kept = np.sort(np.argsort(metres, kind="stable")[:cells])
    area, places = area[kept], places[kept]
    half = float(np.abs(places[:, 0] - LATITUDE).max())
    draws = (uniforms(seed, np.arange(2 * (TOWNS + candidates))) - 0.5).reshape(-1, 2) * 1.6 * half
    spots = np.array([LATITUDE, LONGITUDE]) + draws * np.array([1.0, 1.0 / np.cos(np.radians(47))])
    people = np.zeros(cells)
    for k, (lat, lon) in enumerate(spots[:TOWNS]):
        apart = distance_m(lat, lon, places[:, 0], places[:, 1])
        size = float(uniforms(seed + 1, [k])[0])
        people += 30.0 * size**2 * np.exp(-0.5 * (apart / (400.0 + 2_500.0 * size)) ** 2)
    people = np.floor(people + uniforms(seed + 2, np.arange(cells)))
    smooth, rough = covered(area, places, spots[TOWNS:], seed)
    return [make_problem(smooth, people), make_problem(rough, people)]


def covered(area: Any, places: Any, spots: Any, seed: int) -> tuple[list[Any], list[Any]]:
    """Hexagons (rows of `area`) that each candidate covers, without and with shadowing."""
    field = make_field(seed, SHADOW_M, 512)
    east = np.radians(places[:, 1] - LONGITUDE) * 6.371e6 * np.cos(np.radians(LATITUDE))
    north = np.radians(places[:, 0] - LATITUDE) * 6.371e6
    smooth, rough = [], []
    for k, (lat, lon) in enumerate(spots):
        footprint = reach(site(k, lat, lon), Method(floor_dbm=THRESHOLD_DBM - 15.0), RESOLUTION)
        row = np.minimum(np.searchsorted(area, footprint.cells), len(area) - 1)
        inside = area[row] == footprint.cells
        row, level = row[inside], footprint.mean_dbm[inside]
        smooth.append(row[level >= THRESHOLD_DBM])
        level = level + SHADOW_DB * field.at(east[row], north[row], k)
        rough.append(row[level >= THRESHOLD_DBM])
    return smooth, rough


def time_placement(cells: int, candidates: int, sites: int) -> dict[str, Any]:
    """The placement, the bound, and the peers."""
    started = time.process_time()
    problem, rough = towns(cells, candidates)
    footprints_s = time.process_time() - started
    spent, found = seconds(lambda: place(problem, sites, bound_rounds=0))
    bound_s, (bound, _) = seconds(lambda: upper_bound(problem, sites, found.covered))
    greedy = place_greedily(problem, sites).covered
    picks = (uniforms(9, np.arange(DRAWN * sites)) * candidates).astype(int).reshape(DRAWN, -1)
    drawn = max(problem.value(pick) for pick in picks)
    other_s, other = seconds(lambda: place(rough, sites))
    return {
        "placement_s": round(spent, 4),
        "placement_optimum_share": round(found.covered / bound, 4),
        "bound_s": round(bound_s, 3),
        "rough_optimum_share": round(other.share, 4),
        "rough_placement_and_bound_s": round(other_s, 3),
        "greedy_share": round(greedy / bound, 4),
        "drawn_share": round(drawn / bound, 4),
        "people_covered": found.covered,
        "people": float(problem.weight.sum()),
        "footprints_s": round(footprints_s, 2),
        "entries": len(problem.cells),
    }


def ask_highs() -> dict[str, Any]:
    """A smaller problem, proven: our choice and our bound beside HiGHS's."""
    problem = towns(SMALL_CELLS, SMALL_CANDIDATES)[0]
    found = place(problem, SMALL_SITES)
    best = place_exactly(problem, SMALL_SITES).covered
    linear = linear_bound(problem, SMALL_SITES)
    return {
        "small_share_of_proven_best": round(found.covered / best, 5),
        "small_share_of_linear_bound": round(found.covered / linear, 5),
        "small_bound_over_linear": round(found.bound / linear, 5),
    }


def run(wanted: argparse.Namespace) -> int:
    """Measure and print."""
    progress = Progress("planner", 3)
    progress.update(0, "what-if")
    results = time_what_if()
    progress.update(1, "placement")
    results |= time_placement(CELLS, CANDIDATES, SITES)
    if wanted.exact:
        progress.update(2, "HiGHS")
        results |= ask_highs()
    progress.close()
    if wanted.json:
        print_json(results)
    else:
        print("\n".join(f"{name:32}{value}" for name, value in results.items()))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exact", action="store_true", help="also a small problem by HiGHS")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return run_command(lambda rest: run(parser.parse_args(rest)), list(argv or sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
