"""What we keep in a kernel, as values; and the shortest safe way from one state to another.

Everything ours is recognisable by its protocol number, its tables or its names, so that a restart
can read back what is there, compare, and change nothing that somebody else made:

    routes      in our tables, protocol 87
    rules       protocol 87, priorities 100 to 105, above the base mesh protocol's main table
    addresses   on `lo`, protocol 87
    classes     an htb with handle 5743: as the root of a mesh device
    marking     nftables tables `wavecomb` (ip and ip6), known by a digest in their names

Changes go make-before-break: what packets will need is there before anything points to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

# Not registered with IANA, and free in iproute2's rt_protos (42 is babel, 12 bird).
PROTOCOL = 87
TABLE_ADJACENT, TABLE_SOURCE = 5743, 5744
COLOURS = (1, 2, 3)
PRIORITY_FIRST = 100


def colour_table(colour: int) -> int:
    """Return the routing table of a plan's colour, 1 to 3."""
    return TABLE_SOURCE + colour


OUR_TABLES = frozenset({TABLE_ADJACENT, TABLE_SOURCE, *map(colour_table, COLOURS)})

# A packet's mark: class in bits 24-25, colour in 26-27, "it entered the mesh here" in bit 28.
# The other bits belong to others and are kept.
CLASS_SHIFT, COLOUR_SHIFT = 24, 26
CLASS_MASK, COLOUR_MASK, SOURCE_MARK = 3 << CLASS_SHIFT, 3 << COLOUR_SHIFT, 1 << 28
MARK_MASK = CLASS_MASK | COLOUR_MASK | SOURCE_MARK

BEST_EFFORT, JOBS, AI, CONTROL = range(4)


def dscp_of(traffic_class: int, colour: int) -> int:
    """Return the DSCP that carries class and colour inside the mesh.

    xxxx11 is the pool for local use (RFC 2474, section 6): nobody else's marking is mistaken.
    """
    return traffic_class << 4 | colour << 2 | 0b11


@dataclass(frozen=True, slots=True, order=True)
class NextHop:
    """A way out: `via` is the neighbour's link-local address, `segments` in the order travelled."""

    device: str
    via: str
    weight: int = 1
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route of ours; `mtu` leaves room for the segments, 0: the device's."""

    table: int
    to: str
    hops: tuple[NextHop, ...]
    mtu: int = 0

    @property
    def family(self) -> int:
        """Return 4 or 6."""
        return 6 if ":" in self.to else 4


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """Look into `table` for packets with this mark, of one family; `is_own`: that we send."""

    family: int
    priority: int
    mark: int
    mask: int
    table: int
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Shaping:
    """Classes of a device: its rate, and what each class is sure to get of it, kbps."""

    rate_kbps: int
    sure_kbps: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Marking:
    """Who is marked how: devices of the mesh, live colours, the colour to stamp, what is shaped.

    `trusted`: devices of people whose own DSCP may choose a class; else they are best effort. TCP
    that enters here is told to keep its packets within `mtu`, 0: any; a relay can't say so itself,
    since a packet gets its segments before anybody looks at its size.
    """

    mesh: tuple[str, ...]
    colours: tuple[int, ...] = ()
    stamp: int = 0
    trusted: tuple[str, ...] = ()
    shaped: tuple[str, ...] = ()
    mtu: int = 0

    @property
    def digest(self) -> str:
        """Name these rules, so that a restart knows them without reading each back."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class KernelState:
    """All that is ours in one kernel; `marking` is the digest where only that is known."""

    addresses: frozenset[str] = frozenset()
    routes: Mapping[Key, Route] = field(default_factory=dict)
    rules: frozenset[Rule] = frozenset()
    shaping: Mapping[str, Shaping] = field(default_factory=dict)
    marking: Marking | str | None = None
    access: tuple[str, ...] = ()
    demand: tuple[str, ...] = ()  # devices of the mesh: what comes from elsewhere is counted


def routes_by_key(routes: list[Route]) -> dict[Key, Route]:
    """Return routes by table and prefix."""
    return {(route.table, route.to): route for route in routes}


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: `verb` is put or drop, `thing` what; an address is a text, shaping a pair."""

    verb: str
    thing: Route | Rule | Marking | str | tuple[str, Shaping] | tuple[str, ...] | None
    kind: str


def _digest(marking: Marking | str | None) -> str | None:
    return marking.digest if isinstance(marking, Marking) else marking


def compute_operations(have: KernelState, want: KernelState) -> list[Operation]:
    """Return the changes from one state to the other, in a safe order; none if they are equal."""
    return _puts(have, want) + _drops(have, want)


def _puts(have: KernelState, want: KernelState) -> list[Operation]:
    """Addresses, routes, rules, classes, then the marks that send packets there."""
    found = [Operation("put", a, "address") for a in sorted(want.addresses - have.addresses)]
    found += [
        Operation("put", route, "route")
        for key, route in sorted(want.routes.items())
        if have.routes.get(key) != route
    ]
    found += [Operation("put", rule, "rule") for rule in sorted(want.rules - have.rules)]
    found += [
        Operation("put", (device, shaping), "shaping")
        for device, shaping in sorted(want.shaping.items())
        if have.shaping.get(device) != shaping
    ]
    if want.access and want.access != have.access:
        found.append(Operation("put", want.access, "access"))
    if want.demand and want.demand != have.demand:
        found.append(Operation("put", want.demand, "demand"))
    if isinstance(want.marking, Marking) and _digest(have.marking) != want.marking.digest:
        found.append(Operation("put", want.marking, "marking"))
    return found


def _drops(have: KernelState, want: KernelState) -> list[Operation]:
    """The other way round: first what sends packets, last what they would have used."""
    found = []
    if have.marking is not None and want.marking is None:
        found.append(Operation("drop", None, "marking"))
    if have.access and not want.access:
        found.append(Operation("drop", have.access, "access"))
    if have.demand and not want.demand:
        found.append(Operation("drop", have.demand, "demand"))
    gone = sorted(have.shaping.keys() - want.shaping.keys())
    found += [Operation("drop", device, "shaping") for device in gone]
    found += [Operation("drop", rule, "rule") for rule in sorted(have.rules - want.rules)]
    for key in sorted(have.routes.keys() - want.routes.keys()):
        found.append(Operation("drop", have.routes[key], "route"))
    found += [Operation("drop", a, "address") for a in sorted(have.addresses - want.addresses)]
    return found
