"""The gateway's settings for hotspot-netd, and who has which address in a mesh. Pure.

Addresses follow from a hotspot's index on the ledger, so nobody hands them out and every hotspot
knows all of them: hotspot 0 has the first of each network, hotspot 1 the second, and so on.

    addresses   where a hotspot is reached
    segments    its segment identifier
    devices     a network of 64 bits for the devices of its people
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from chain.errors import UserError
from routing.kernel.nodeplan import LEASE_MAX_MS, LEASE_MIN_MS, RATE_MAX_KBPS, check_device

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
# Room for every index (u32) behind a prefix of hosts, and before the 64 bits of a device network.
_HOSTS_LENGTH, _DEVICES_LENGTH = 96, 32
RATE_MIN_KBPS = 64
PLAN_MIN_MS, PLAN_MAX_MS = 500, 600_000
# What a status says where there is no netd.
KERNEL_OFF: dict[str, object] = {
    "state": "off", "problem": "", "netd": "", "version": None, "mode": None,
    "lease_left_ms": None, "neighbours": [], "demand_kbps": {}, "targets": 0, "paths": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelSection:
    """What reaches netd; `netd` is its socket, empty for none. See docs/netd.md."""

    netd: str = ""
    lease_ms: int = 30_000
    plan_ms: int = 10_000
    addresses: str = "fd57::/64"
    segments: str = "fd57:1::/64"
    devices: str = "fd57:2::/32"
    networks: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshAddresses:
    """Addresses of all hotspots of a mesh; `networks`: others behind hotspots, with whose."""

    hotspots: ipaddress.IPv6Network
    segments: ipaddress.IPv6Network
    devices: ipaddress.IPv6Network
    networks: tuple[tuple[IpNetwork, int], ...] = ()

    def address_of(self, index: int) -> str:
        """Where a hotspot is reached."""
        return str(self.hotspots.network_address + index + 1)

    def sid_of(self, index: int) -> str:
        """Its segment identifier."""
        return str(self.segments.network_address + index + 1)

    def devices_of(self, index: int) -> str:
        """The network of its people's devices."""
        first = self.devices.network_address + ((index + 1) << 64)
        return f"{first}/64"

    def prefixes_of(self, indexes: Iterable[int]) -> tuple[tuple[str, int], ...]:
        """Networks behind these hotspots, as a plan names them."""
        known = set(indexes)
        rows = [(self.devices_of(index), index) for index in known]
        rows += [(str(network), index) for network, index in self.networks if index in known]
        return tuple(sorted(rows))

    def target_of(self, text: str) -> int | None:
        """Whose an address is, or behind whom; None for nobody's."""
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address):
            if address in self.hotspots:
                return _index(int(address) - int(self.hotspots.network_address))
            if address in self.devices:
                return _index((int(address) - int(self.devices.network_address)) >> 64)
        inside = [(n.prefixlen, index) for n, index in self.networks if address in n]
        return max(inside)[1] if inside else None


def _index(number: int) -> int | None:
    return number - 1 if 0 < number <= 1 << 32 else None


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """The same, read."""

    lease_ms: int
    plan_ms: int
    mesh: MeshAddresses
    rates_kbps: tuple[tuple[str, int], ...] = ()
    trusted: tuple[str, ...] = ()


def parse_kernel(section: KernelSection) -> KernelSettings:
    """Read the section; UserError names the key and what it takes."""
    for name, value, least, most in (
        ("lease_ms", section.lease_ms, 3 * LEASE_MIN_MS, LEASE_MAX_MS),
        ("plan_ms", section.plan_ms, PLAN_MIN_MS, PLAN_MAX_MS),
    ):
        if not least <= value <= most:
            raise UserError(f"kernel.{name}", f"{value} is out of range", f"use {least} to {most}")
    mesh = MeshAddresses(
        _network(section.addresses, "addresses", _HOSTS_LENGTH),
        _network(section.segments, "segments", _HOSTS_LENGTH),
        _network(section.devices, "devices", _DEVICES_LENGTH),
        tuple(_owned(text) for text in section.networks),
    )
    _check_apart(mesh)
    rates = tuple(sorted(_rate(text) for text in section.rates))
    trusted = tuple(check_device(name, "kernel.trusted") for name in section.trusted)
    return KernelSettings(section.lease_ms, section.plan_ms, mesh, rates, trusted)


def _network(text: str, name: str, longest: int) -> ipaddress.IPv6Network:
    remedy = f"use an IPv6 network of at most /{longest}, such as {getattr(KernelSection(), name)}"
    try:
        network = ipaddress.IPv6Network(text)
    except ValueError as error:
        raise UserError(f"kernel.{name}", str(error), remedy) from error
    if network.prefixlen > longest:
        problem = f"{text} hasn't room for every hotspot of a ledger"
        raise UserError(f"kernel.{name}", problem, remedy)
    return network


def _check_apart(mesh: MeshAddresses) -> None:
    rows = (
        ("addresses", mesh.hotspots), ("segments", mesh.segments), ("devices", mesh.devices),
    )  # fmt: skip
    for place, (name, network) in enumerate(rows):
        for other, beside in rows[:place]:
            if network.overlaps(beside):
                problem = f"{network} overlaps kernel.{other}"
                raise UserError(f"kernel.{name}", problem, "give each a network of its own")


def _owned(text: object) -> tuple[IpNetwork, int]:
    network, _, index = text.partition("=") if isinstance(text, str) else ("", "", "")
    try:
        found = ipaddress.ip_network(network)
    except ValueError:
        found = None
    if found is None or not index.isdecimal() or int(index) >= 1 << 32:
        problem = f"{text!r} is no network behind a hotspot"
        raise UserError("kernel.networks", problem, 'write it like "10.57.3.0/24=3"')
    return found, int(index)


def _rate(text: object) -> tuple[str, int]:
    device, _, rate = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not rate.isdecimal() or not RATE_MIN_KBPS <= int(rate) <= RATE_MAX_KBPS:
        problem = f"{text!r} is no device and its rate in kbps"
        raise UserError("kernel.rates", problem, 'write it like "mesh0=40000"')
    return check_device(device, "kernel.rates"), int(rate)
