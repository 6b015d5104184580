"""The airtime half of bench/te.py: measured meshes, and how long plans take."""

from __future__ import annotations

from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from chain.io_terminal import Progress
from routing.plan.blocks import BlockPlanner
from routing.plan.io_networks import Mesh, freifunk_mesh, graphml_meshes
from routing.plan.network import Array, Network, Pair, half_duplex, with_gateways
from routing.plan.optimum import EdgeProgram
from routing.plan.paths import Plan, utilisation_of
from routing.plan.planner import Planner, PlannerParams

GRAPHML = "netcommons_ffgraz107_ffwien30_ninux1_graphml.tar.xz"
_GATEWAY_EVERY = 20
_STEPS = 3
_BLOCK_NODES = 60


def all_meshes(folder: Path) -> list[Mesh]:
    """Return every measured mesh of the folder, by name."""
    meshes = [freifunk_mesh(path) for path in sorted(folder.glob("freifunk-*.json.gz"))]
    archive = folder / GRAPHML
    return meshes + (list(graphml_meshes(archive)) if archive.is_file() else [])


def to_gateways(mesh: Mesh) -> tuple[Network, list[Pair]]:
    """Every hotspot sends to the nearest by price of the best-connected twentieth."""
    gateways = list(range(max(1, mesh.nodes // _GATEWAY_EVERY)))
    network, sink = with_gateways(half_duplex(mesh.links, mesh.rates_kbps), gateways)
    return network, [(node, sink) for node in range(len(gateways), mesh.nodes)]


def demands(pairs: int, steps: int, seed: int) -> Array:
    """Lognormal demands [steps, pairs] in kbps that wander by a tenth per step."""
    draws = np.random.default_rng(seed)
    base = draws.lognormal(4.0, 1.0, pairs)
    wander: Array = base * np.exp(0.1 * draws.standard_normal((steps, pairs)))
    return wander


def share_of_optimum(mesh: Mesh, seed: int) -> dict[str, float]:
    """Compare plans with the optimum of the demand that was to be carried: the known and the next.

    `known`: the plan for a matrix, carrying it. `next`: the plan with scenarios, on the matrix
    after. `shortest_path` on that one, for comparison.
    """
    network, pairs = to_gateways(mesh)
    kbps = demands(len(pairs), _STEPS + 1, seed)
    edges = EdgeProgram(network, pairs)
    planner = Planner(network, pairs)
    for row in kbps[:_STEPS]:
        planner.step(row)
    known = Planner(network, pairs)
    known.step(kbps[-1])

    def share(plan: Plan) -> float:
        flow = edges.solve(kbps[-1])
        top = float(utilisation_of(network, plan, kbps[-1:]).max())
        return flow.utilisation / top if flow else 0.0

    return {
        "known": share(known.plan),
        "next": share(planner.plan),
        "shortest_path": share(planner.shortest),
    }


def measure_meshes(folder: Path, quiet: bool) -> dict[str, Any]:
    """Return the least and the mean share of the optimum over all graphs, and the worst ones."""
    meshes = all_meshes(folder)
    if not meshes:
        return {"skipped": "not there: name the folder with --traces"}
    bar = Progress("meshes", len(meshes), quiet=quiet)
    shares: dict[str, dict[str, float]] = {}
    for index, mesh in enumerate(meshes):
        shares[mesh.name] = share_of_optimum(mesh, index)
        bar.update(index + 1, mesh.name)
    bar.close()
    worst = sorted(shares, key=lambda name: shares[name]["known"])[:3]
    result: dict[str, Any] = {"graphs": len(shares)}
    for key in ("known", "next", "shortest_path"):
        values = [row[key] for row in shares.values()]
        result[f"{key}_share_min"] = round(min(values), 4)
        result[f"{key}_share_mean"] = round(float(np.mean(values)), 4)
    result["worst"] = {name: round(shares[name]["known"], 4) for name in worst}
    return result


def grid_mesh(nodes: int, seed: int) -> Mesh:
    """Hotspots at random places, linked to those within reach; rates fall with distance."""
    draws = np.random.default_rng(seed)
    places = draws.random((nodes, 2)) * nodes**0.5
    apart = np.linalg.norm(places[:, None] - places[None, :], axis=2)
    order = np.argsort(apart, axis=1, kind="stable")
    edges = {(int(a), int(b)) for a in range(nodes) for b in order[a, 1:5]}
    # A chain through all, so that nobody is cut off.
    edges |= {(int(order[0, i - 1]), int(order[0, i])) for i in range(1, nodes)}
    links = sorted(edges | {(b, a) for a, b in edges})
    rates = [60_000.0 / (1.0 + float(apart[link])) for link in links]
    return Mesh(f"random-{nodes}", nodes, tuple(links), tuple(rates))


def time_plan(network: Network, pairs: list[Pair], steps: int, warm: int) -> float:
    """Return the median processor time of a step, seconds, once scenarios are full."""
    kbps = demands(len(pairs), warm + steps, 3)
    planner = Planner(network, pairs, PlannerParams())
    for row in kbps[:warm]:
        planner.step(row)
    times = []
    for row in kbps[warm:]:
        begin = process_time()
        planner.step(row)
        times.append(process_time() - begin)
    return round(float(np.median(times)), 4)


def measure_times(folder: Path) -> dict[str, Any]:
    """Plan time of one step: all four experts' worth of work but the model's, 24 scenarios."""
    archive = folder / GRAPHML
    meshes = list(graphml_meshes(archive)) if archive.is_file() else []
    graz = next((mesh for mesh in meshes if mesh.name == "FFGraz0"), None)
    small = first_nodes(graz, 50) if graz else grid_mesh(50, 1)
    network = half_duplex(small.links, small.rates_kbps)
    pairs = [(a, b) for a in range(small.nodes) for b in range(small.nodes) if a != b]
    return {
        "mesh": small.name,
        "all_pairs_50_s": time_plan(network, pairs, 3, 26),
        "gateways_50_s": time_plan(*to_gateways(small), 5, 26),
        "gateways_1000_s": time_plan(*to_gateways(grid_mesh(1_000, 1)), 3, 26),
        **time_blocks(grid_mesh(_BLOCK_NODES, 1)),
    }


def time_blocks(mesh: Mesh) -> dict[str, float]:
    """All pairs of a known matrix in blocks, each planned four times: time, share of optimum."""
    network = half_duplex(mesh.links, mesh.rates_kbps)
    pairs = [(a, b) for a in range(mesh.nodes) for b in range(mesh.nodes) if a != b]
    kbps = demands(len(pairs), 1, 3)
    begin = process_time()
    plan = BlockPlanner(network, pairs).step(kbps[0], sweeps=4)
    spent_s = process_time() - begin
    flow = EdgeProgram(network, pairs).solve(kbps[0])
    top = float(utilisation_of(network, plan, kbps).max())
    return {
        f"all_pairs_{mesh.nodes}_blocks_s": round(spent_s, 4),
        f"all_pairs_{mesh.nodes}_blocks_share": round(flow.utilisation / top, 4) if flow else 0.0,
    }


def first_nodes(mesh: Mesh, count: int) -> Mesh:
    """Return the `count` nodes nearest by hops to the hub (node 0)."""
    near: dict[int, list[int]] = {}
    for a, b in mesh.links:
        near.setdefault(a, []).append(b)
    order, seen = [0], {0}
    for node in order:
        for other in sorted(near[node]):
            if other not in seen:
                seen.add(other)
                order.append(other)
    number = {node: index for index, node in enumerate(order[:count])}
    rates = {
        (number[a], number[b]): rate
        for (a, b), rate in zip(mesh.links, mesh.rates_kbps, strict=True)
        if a in number and b in number
    }
    return Mesh(f"{mesh.name}-{count}", len(number), tuple(rates), tuple(rates.values()))
