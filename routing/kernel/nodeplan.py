"""One hotspot's part of a plan, as it travels: read strictly, since root carries it out.

    {"version": 7, "lease_ms": 30000, "node": 3, "mode": "segments",
     "nodes":    [[index, address, sid], ...],            every hotspot that a path may name
     "prefixes": [[prefix, index], ...],                  networks behind hotspots
     "paths":    [[weight, [3, 5, 9]], ...],              our own source routes; multipath: of
                                                          which the first hop alone is steered
     "tables":   [[colour, version, [[target, [[neighbour, weight], ...]], ...]], ...],
     "stamp":    1,                                       multipath: colour of what enters here
     "rates":    [[device, kbps], ...],                   devices to shape into classes
     "trusted":  [device, ...]}                           whose own DSCP chooses a class

`address` is where a hotspot is reached, `sid` (segment identifier) where segment lists send packets
through it; both are IPv6, and no two are alike. Unknown keys, wrong types and figures out of range
are refused with the name of the field.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.errors import UserError
from routing.kernel.state import COLOURS

SEGMENTS, MULTIPATH = "segments", "multipath"
NODES_MAX = 4096
PATHS_MAX = 16_384
PATHS_PER_TARGET_MAX = 16  # next hops of one route
HOPS_MAX = 24  # a segment is 16 bytes of every packet
WEIGHT_MAX = 256  # a next hop's weight is one byte in the kernel
LEASE_MIN_MS, LEASE_MAX_MS = 1_000, 3_600_000
RATE_MAX_KBPS = 100_000_000
_DEVICE = re.compile(r"[A-Za-z0-9_.:-]{1,15}\Z")

Hops = tuple[int, ...]
Choices = tuple[tuple[int, int], ...]  # (neighbour, weight)


@dataclass(frozen=True, slots=True)
class Table:
    """A version of per-target splits under its colour: target > (neighbour, weight)s."""

    colour: int
    version: int
    splits: Mapping[int, Choices]


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What hotspot `node` does with packets for `lease_ms` from when it hears of it."""

    version: int
    lease_ms: int
    node: int
    mode: str
    addresses: Mapping[int, str]
    sids: Mapping[int, str]
    prefixes: tuple[tuple[str, int], ...] = ()
    paths: tuple[tuple[int, Hops], ...] = ()
    tables: tuple[Table, ...] = ()
    stamp: int = 0
    rates_kbps: tuple[tuple[str, int], ...] = ()
    trusted: tuple[str, ...] = ()


_KEYS = {
    "version", "lease_ms", "node", "mode", "nodes", "prefixes", "paths", "tables", "stamp",
    "rates", "trusted",
}  # fmt: skip


def plan_to_json(plan: NodePlan) -> dict[str, Any]:
    """Return the plan as `parse_node_plan` reads it."""
    return {
        "version": plan.version,
        "lease_ms": plan.lease_ms,
        "node": plan.node,
        "mode": plan.mode,
        "nodes": [[n, plan.addresses[n], plan.sids[n]] for n in sorted(plan.addresses)],
        "prefixes": [list(row) for row in plan.prefixes],
        "paths": [[weight, list(hops)] for weight, hops in plan.paths],
        "tables": [
            [t.colour, t.version, [[n, [list(c) for c in t.splits[n]]] for n in sorted(t.splits)]]
            for t in plan.tables
        ],
        "stamp": plan.stamp,
        "rates": [list(row) for row in plan.rates_kbps],
        "trusted": list(plan.trusted),
    }


def parse_node_plan(value: object) -> NodePlan:
    """Read a plan; UserError names the first field that is wrong."""
    if not isinstance(value, dict):
        raise _wrong("plan", "is no object")
    if unknown := sorted(map(str, value.keys() - _KEYS)):
        raise _wrong(f"plan.{unknown[0]}", "is no field of a plan")
    mode = value.get("mode")
    if mode not in (SEGMENTS, MULTIPATH):
        raise _wrong("plan.mode", "is neither segments nor multipath")
    addresses, sids = _nodes(value.get("nodes"))
    node = _number(value.get("node"), "plan.node", 0, 2**32 - 1)
    if node not in addresses:
        raise _wrong("plan.node", "is not among plan.nodes")
    tables = _tables(value.get("tables", []), addresses, node)
    stamp = _number(value.get("stamp", 0), "plan.stamp", 0, max(COLOURS))
    if stamp and stamp not in {table.colour for table in tables}:
        raise _wrong("plan.stamp", "is the colour of no table")
    paths = _paths(value.get("paths", []), addresses, node)
    if mode == MULTIPATH and paths and tables:
        raise _wrong("plan.tables", "stand beside plan.paths, and both would steer")
    return NodePlan(
        version=_number(value.get("version"), "plan.version", 1, 2**63 - 1),
        lease_ms=_number(value.get("lease_ms"), "plan.lease_ms", LEASE_MIN_MS, LEASE_MAX_MS),
        node=node,
        mode=mode,
        addresses=addresses,
        sids=sids,
        prefixes=_prefixes(value.get("prefixes", []), addresses),
        paths=paths,
        tables=tables,
        stamp=stamp,
        rates_kbps=_rates(value.get("rates", [])),
        trusted=tuple(check_device(d, "plan.trusted") for d in _rows(value, "trusted", 64)),
    )


def _wrong(field: str, problem: str) -> UserError:
    return UserError(field, problem, "see docs/kernel.md")


def _number(value: object, field: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _wrong(field, f"is no whole number from {least} to {most}")
    return value


def _list(value: object, field: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise _wrong(field, f"is no list of at most {most}")
    return value


def _rows(value: Mapping[str, Any], name: str, most: int) -> list[Any]:
    return _list(value.get(name, []), f"plan.{name}", most)


def _row(value: object, field: str, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise _wrong(field, f"has a row that is no list of {length}")
    return value


def check_device(value: object, field: str) -> str:
    """Return a network device's name; UserError if the kernel could have none such."""
    if not isinstance(value, str) or not _DEVICE.match(value) or value in (".", "..", "lo"):
        raise _wrong(field, "names no network device")
    return value


def _address(value: object, field: str) -> str:
    try:
        address = ipaddress.IPv6Address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None or address.scope_id:
        raise _wrong(field, "has something that is no IPv6 address")
    if address.is_multicast or address.is_link_local or address.is_loopback:
        raise _wrong(field, f"has {value}, which no hotspot can have for others")
    if address.is_unspecified or address.ipv4_mapped:
        raise _wrong(field, f"has {value}, which no hotspot can have for others")
    return str(address)


def _nodes(value: object) -> tuple[dict[int, str], dict[int, str]]:
    addresses: dict[int, str] = {}
    sids: dict[int, str] = {}
    for row in _list(value, "plan.nodes", NODES_MAX):
        index, address, sid = _row(row, "plan.nodes", 3)
        number = _number(index, "plan.nodes", 0, 2**32 - 1)
        if number in addresses:
            raise _wrong("plan.nodes", f"has {number} twice")
        addresses[number] = _address(address, "plan.nodes")
        sids[number] = _address(sid, "plan.nodes")
    everything = [*addresses.values(), *sids.values()]
    if len(set(everything)) != len(everything):
        raise _wrong("plan.nodes", "has an address twice")
    return addresses, sids


def _prefixes(value: object, nodes: Mapping[int, str]) -> tuple[tuple[str, int], ...]:
    result: dict[str, int] = {}
    for row in _list(value, "plan.prefixes", PATHS_MAX):
        text, index = _row(row, "plan.prefixes", 2)
        try:
            prefix = ipaddress.ip_network(text) if isinstance(text, str) else None
        except ValueError:
            prefix = None
        if prefix is None or prefix.is_multicast or prefix.is_link_local or prefix.is_loopback:
            raise _wrong("plan.prefixes", f"has {text!r}, which is no network behind a hotspot")
        if index not in nodes or type(index) is not int or str(prefix) in result:
            raise _wrong("plan.prefixes", f"has {text} twice, or behind nobody in plan.nodes")
        result[str(prefix)] = index
    return tuple(sorted(result.items()))


def _paths(
    value: object, nodes: Mapping[int, str], node: int
) -> tuple[tuple[int, Hops], ...]:
    result: list[tuple[int, Hops]] = []
    per_target: dict[int, int] = {}
    for row in _list(value, "plan.paths", PATHS_MAX):
        weight, hops = _row(row, "plan.paths", 2)
        path = tuple(_list(hops, "plan.paths", HOPS_MAX))
        if len(path) < 2 or len(set(path)) != len(path) or path[0] != node:
            raise _wrong("plan.paths", f"has {list(path)}, which is no path from {node}")
        if any(type(hop) is not int or hop not in nodes for hop in path):
            raise _wrong("plan.paths", "goes through a hotspot that plan.nodes doesn't have")
        per_target[path[-1]] = per_target.get(path[-1], 0) + 1
        if per_target[path[-1]] > PATHS_PER_TARGET_MAX:
            raise _wrong("plan.paths", f"has over {PATHS_PER_TARGET_MAX} paths to {path[-1]}")
        result.append((_number(weight, "plan.paths", 1, WEIGHT_MAX), path))
    if len({path for _, path in result}) != len(result):
        raise _wrong("plan.paths", "has a path twice")
    return tuple(result)


def _tables(value: object, nodes: Mapping[int, str], node: int) -> tuple[Table, ...]:
    result: list[Table] = []
    for row in _list(value, "plan.tables", len(COLOURS)):
        colour, version, splits = _row(row, "plan.tables", 3)
        number = _number(colour, "plan.tables", 1, max(COLOURS))
        if number in {table.colour for table in result}:
            raise _wrong("plan.tables", f"has colour {number} twice")
        version = _number(version, "plan.tables", 1, 2**63 - 1)
        result.append(Table(number, version, _splits(splits, nodes, node)))
    return tuple(result)


def _splits(value: object, nodes: Mapping[int, str], node: int) -> dict[int, Choices]:
    result: dict[int, Choices] = {}
    for row in _list(value, "plan.tables", NODES_MAX):
        target, choices = _row(row, "plan.tables", 2)
        if type(target) is not int or target not in nodes or target in result or target == node:
            raise _wrong("plan.tables", f"has the target {target!r}, unknown, own or twice")
        listed = _list(choices, "plan.tables", PATHS_PER_TARGET_MAX)
        rows = [_row(one, "plan.tables", 2) for one in listed]
        ends = {hop for hop, _ in rows}
        if not rows or len(ends) != len(rows) or not ends <= nodes.keys() - {node}:
            raise _wrong("plan.tables", f"has next hops for {target} that are none, or not known")
        result[target] = tuple(
            (hop, _number(weight, "plan.tables", 1, WEIGHT_MAX)) for hop, weight in rows
        )
    return result


def _rates(value: object) -> tuple[tuple[str, int], ...]:
    result: dict[str, int] = {}
    for row in _list(value, "plan.rates", 64):
        device, rate = _row(row, "plan.rates", 2)
        name = check_device(device, "plan.rates")
        if name in result:
            raise _wrong("plan.rates", f"has {name} twice")
        result[name] = _number(rate, "plan.rates", 64, RATE_MAX_KBPS)
    return tuple(sorted(result.items()))
