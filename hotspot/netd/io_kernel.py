"""The door to the kernel: reads what is ours in it, and carries out one operation at a time.

pyroute2 0.9.7 is given finished attributes where its friendly forms fall short: it drops segment
lists inside multipath, and has no plugin for bfifo. It keeps segment lists last one first. The
reduced encapsulation would save 16 bytes a packet, but a plain address as a segment, which needs no
further configuration on relays, takes only whole headers (net/ipv6/exthdrs.c, ipv6_srh_rcv).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import nla
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.tcmsg import plugins

from hotspot.netd.io_nft import Nftables
from hotspot.netd.nft import CLASS_MINORS, HTB_MAJOR
from routing.kernel.state import (
    AI,
    BEST_EFFORT,
    CONTROL,
    JOBS,
    OUR_TABLES,
    PROTOCOL,
    KernelState,
    Marking,
    NextHop,
    Operation,
    Route,
    Rule,
    Shaping,
    routes_by_key,
)

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_SEG6, _RTA_METRICS_MTU = 5, "RTAX_MTU"
_MAIN_TABLE_LIMIT = 255
_HTB_HANDLE = HTB_MAJOR << 16
_ROOT_MINOR = 0x1
# Of two classes that both want what is left, the smaller number is served first.
_CLASS_ORDER = {CONTROL: 0, AI: 0, JOBS: 1, BEST_EFFORT: 2}
# How long a queue may take to drain at its device's rate: what waits longer was better dropped.
_QUEUE_MS = {CONTROL: 50, AI: 50, JOBS: 200, BEST_EFFORT: 100}
_KBPS_BYTES = 125  # bytes per second
_DEFAULT_QDISCS = {"noqueue", "pfifo_fast", "mq", "fq_codel", "pfifo", "fq"}
_SYSCTL = Path("/proc/sys/net")
_HASH_BY_PORTS = "1"


class _ByteQueue:
    """pyroute2 has no plugin for bfifo, and would put it at the root of the device."""

    class options(nla):  # type: ignore[misc]  # noqa: N801 - pyroute2 looks for this name
        """struct tc_fifo_qopt."""

        fields = (("limit", "I"),)

    @staticmethod
    def get_parameters(wanted: dict[str, Any]) -> dict[str, int]:
        """Return its options, of what `tc` was called with."""
        return {"limit": wanted["limit"]}


plugins["bfifo"] = _ByteQueue


@dataclass(frozen=True, slots=True)
class Device:
    """A network device; `has_carrier`: it is up, and something is at its other end."""

    index: int
    mtu: int
    has_carrier: bool


class Kernel:
    """The kernel of the network namespace in which it was opened."""

    def __init__(self) -> None:
        self._route = IPRoute()
        self._nft = Nftables()
        self.has_segments = (_SYSCTL / "ipv6/conf/all/seg6_enabled").exists()

    def close(self) -> None:
        """Close both sockets."""
        self._route.close()
        self._nft.close()

    # --- devices ----------------------------------------------------------------------------------

    def index_of(self, device: str) -> int:
        """A device's number; OSError where there is none such."""
        return socket.if_nametoindex(device)

    def links(self) -> dict[str, Device]:
        """All devices by name."""
        return {
            link.get_attr("IFLA_IFNAME"): Device(
                int(link["index"]),
                int(link.get_attr("IFLA_MTU")),
                bool(link["flags"] & 1) and link.get_attr("IFLA_CARRIER") != 0,
            )
            for link in self._route.get_links()
        }

    def counters(self, devices: Iterable[str]) -> dict[str, dict[str, int]]:
        """Bytes, packets and drops of devices, both ways."""
        result = {}
        wanted = set(devices)
        for link in self._route.get_links():
            name = link.get_attr("IFLA_IFNAME")
            if name in wanted:
                stats = link.get_attr("IFLA_STATS64")
                result[name] = {
                    field: int(stats[field])
                    for field in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_dropped",
                                  "tx_dropped")
                }  # fmt: skip
        return result

    def class_counters(self, device: str) -> dict[str, dict[str, int]]:
        """Bytes, packets, drops and backlog of each class of a shaped device."""
        names = {CLASS_MINORS[BEST_EFFORT]: "best-effort", CLASS_MINORS[JOBS]: "jobs",
                 CLASS_MINORS[AI]: "ai", CLASS_MINORS[CONTROL]: "control"}  # fmt: skip
        result = {}
        for row in self._route.get_classes(index=self.index_of(device)):
            name = names.get(row["handle"] & 0xFFFF)
            stats = row.get_attr("TCA_STATS2")
            if row["handle"] >> 16 == HTB_MAJOR and name and stats:
                basic, queue = stats.get_attr("TCA_STATS_BASIC"), stats.get_attr("TCA_STATS_QUEUE")
                result[name] = {
                    "bytes": int(basic["bytes"]),
                    "packets": int(basic["packets"]),
                    "drops": int(queue["drops"]),
                    "backlog_bytes": int(queue["backlog"]),
                }
        return result

    def devices(self) -> dict[str, dict[str, int]]:
        """What people's devices sent and got, by MAC address."""
        return self._nft.read_devices()

    def demand(self) -> dict[str, int]:
        """Bytes that entered the mesh here since counting began, by destination address."""
        return self._nft.read_demand()

    def prepare(self, mesh: Iterable[str], seed: int) -> list[str]:
        """Set what forwarding needs; return what could not be set, for people.

        The seed differs by hotspot: with the same one everywhere every relay would divide the same
        half of the flows the same way. Kernels before 6.11 draw one at boot themselves.
        """
        wanted = {
            "ipv6/conf/all/forwarding": "1",
            "ipv4/ip_forward": "1",
            "ipv6/fib_multipath_hash_policy": _HASH_BY_PORTS,
            "ipv4/fib_multipath_hash_policy": _HASH_BY_PORTS,
            "ipv6/conf/all/seg6_enabled": "1",
            **{f"ipv6/conf/{device}/seg6_enabled": "1" for device in mesh},
        }
        failed = [name for name, value in wanted.items() if not _write_sysctl(name, value)]
        _write_sysctl("ipv4/fib_multipath_hash_seed", str(seed))
        _grant_echoes(os.getegid())
        return failed

    # --- reading ----------------------------------------------------------------------------------

    def read(self, access: tuple[str, ...] = ()) -> KernelState:
        """Return what is ours now; nothing that somebody else made is in it."""
        names = {row["index"]: row.get_attr("IFLA_IFNAME") for row in self._route.get_links()}
        return KernelState(
            addresses=frozenset(self._read_addresses()),
            routes=routes_by_key([*self._read_routes(4, names), *self._read_routes(6, names)]),
            rules=frozenset(self._read_rules()),
            shaping=dict(self._read_shaping(names)),
            marking=self._nft.marking(),
            access=access if access and self._nft.counted_devices() else (),
            demand=self._nft.counted_demand(),
        )

    def _read_addresses(self) -> Iterable[str]:
        for row in self._route.get_addr(family=socket.AF_INET6, index=self.index_of("lo")):
            if row.get_attr("IFA_PROTO") == PROTOCOL:
                yield f"{row.get_attr('IFA_ADDRESS')}/{row['prefixlen']}"

    def _read_routes(self, family: int, names: dict[int, str]) -> Iterable[Route]:
        for row in self._route.get_routes(family=_FAMILY[family]):
            table = row.get_attr("RTA_TABLE") or row["table"]
            if row["proto"] == PROTOCOL and table in OUR_TABLES:
                target = row.get_attr("RTA_DST") or ("::" if family == 6 else "0.0.0.0")
                metrics = row.get_attr("RTA_METRICS")
                mtu = metrics.get_attr(_RTA_METRICS_MTU) if metrics else None
                hops = row.get_attr("RTA_MULTIPATH") or [row]
                yield Route(
                    int(table),
                    f"{target}/{row['dst_len']}",
                    tuple(sorted(_hop(hop, names) for hop in hops)),
                    int(mtu or 0),
                )

    def _read_rules(self) -> Iterable[Rule]:
        for family in (4, 6):
            for row in self._route.get_rules(family=_FAMILY[family]):
                if row.get_attr("FRA_PROTOCOL") == PROTOCOL:
                    mark = int(row.get_attr("FRA_FWMARK") or 0)
                    mask = int(row.get_attr("FRA_FWMASK") or 0) if mark else 0
                    is_own = row.get_attr("FRA_IIFNAME") == "lo"
                    priority, table = row.get_attr("FRA_PRIORITY"), row.get_attr("FRA_TABLE")
                    yield Rule(family, int(priority or 0), mark, mask, int(table or 0), is_own)

    def _read_shaping(self, names: dict[int, str]) -> Iterable[tuple[str, Shaping]]:
        for row in self._route.get_qdiscs():
            if row.get_attr("TCA_KIND") == "htb" and row["handle"] == _HTB_HANDLE:
                rates = {}
                for one in self._route.get_classes(index=row["index"]):
                    kbps = _class_rate_kbps(one)
                    if kbps is not None:
                        rates[one["handle"] & 0xFFFF] = kbps
                minors = [CLASS_MINORS[kind] for kind in (BEST_EFFORT, JOBS, AI, CONTROL)]
                best, jobs, ai, control = (rates.get(minor, 0) for minor in minors)
                sure = (best, jobs, ai, control)
                yield names[row["index"]], Shaping(rates.get(_ROOT_MINOR, 0), sure)

    # --- changing ---------------------------------------------------------------------------------

    def carry_out(self, operation: Operation) -> None:
        """Make one change; OSError if the kernel refuses it. What is gone already is no error."""
        act = getattr(self, f"_{operation.verb}_{operation.kind}")
        try:
            act(operation.thing)
        except NetlinkError as error:
            gone = operation.verb == "drop" and error.code in (2, 3, 19, 99)
            if not gone:
                raise OSError(error.code, f"{operation.kind}: {error.args[-1]}") from error

    def _put_address(self, address: str) -> None:
        host, _, length = address.partition("/")
        with _suppress(17):
            self._route.addr("add", index=self.index_of("lo"), address=host,
                             prefixlen=int(length), proto=PROTOCOL)  # fmt: skip

    def _drop_address(self, address: str) -> None:
        """Where the owner had given the same address before us, it stays."""
        if address not in set(self._read_addresses()):
            return
        host, _, length = address.partition("/")
        index = self.index_of("lo")
        self._route.addr("del", index=index, address=host, prefixlen=int(length))

    def _put_route(self, route: Route) -> None:
        hops = [self._next_hop(hop, route.family) for hop in route.hops]
        whole: dict[str, Any] = {
            "dst": route.to, "table": route.table, "proto": PROTOCOL,
            "family": _FAMILY[route.family], "multipath": hops,
        }  # fmt: skip
        if ipaddress.ip_network(route.to).prefixlen == 0:
            whole["dst"] = "default"
        if route.mtu:
            whole["metrics"] = {"mtu": route.mtu}
        self._route.route("replace", **whole)

    def _next_hop(self, hop: NextHop, family: int) -> dict[str, Any]:
        via = {"family": socket.AF_INET6, "addr": hop.via}  # IPv4 has IPv6 neighbours, too
        attrs: list[list[Any]] = [["RTA_GATEWAY", hop.via] if family == 6 else ["RTA_VIA", via]]
        if hop.segments:
            header = {"mode": "encap", "segs": list(reversed(hop.segments))}
            attrs.append(["RTA_ENCAP_TYPE", _SEG6])
            attrs.append(["RTA_ENCAP", {"attrs": [["SEG6_IPTUNNEL_SRH", header]]}])
        return {
            "oif": self.index_of(hop.device), "hops": hop.weight - 1, "flags": 0, "attrs": attrs,
        }  # fmt: skip

    def _drop_route(self, route: Route) -> None:
        dst = "default" if ipaddress.ip_network(route.to).prefixlen == 0 else route.to
        family = _FAMILY[route.family]
        self._route.route("del", dst=dst, table=route.table, proto=PROTOCOL, family=family)

    def _rule(self, verb: str, rule: Rule) -> None:
        whole: dict[str, Any] = {
            "priority": rule.priority, "table": rule.table, "family": _FAMILY[rule.family],
            "protocol": PROTOCOL,
        }  # fmt: skip
        if rule.mask:
            whole |= {"fwmark": rule.mark, "fwmask": rule.mask}
        if rule.is_own:
            whole["iifname"] = "lo"
        self._route.rule(verb, **whole)

    def _put_rule(self, rule: Rule) -> None:
        with _suppress(17):
            self._rule("add", rule)

    def _drop_rule(self, rule: Rule) -> None:
        self._rule("del", rule)

    def _put_marking(self, marking: Marking) -> None:
        self._nft.put_marking(marking)

    def _drop_marking(self, _: None) -> None:
        self._nft.drop_marking()

    def _put_access(self, devices: tuple[str, ...]) -> None:
        self._nft.put_devices(devices)

    def _drop_access(self, _: tuple[str, ...]) -> None:
        self._nft.drop_devices()

    def _put_demand(self, mesh: tuple[str, ...]) -> None:
        self._nft.put_demand(mesh)

    def _drop_demand(self, _: tuple[str, ...]) -> None:
        self._nft.drop_demand()

    # --- classes ----------------------------------------------------------------------------------

    def _put_shaping(self, thing: tuple[str, Shaping]) -> None:
        device, shaping = thing
        index = self.index_of(device)
        if not self._is_ours(index):
            self._check_free(device, index)
            default = CLASS_MINORS[BEST_EFFORT]
            self._route.tc("replace", kind="htb", index=index, handle=_HTB_HANDLE, default=default)
        rate = shaping.rate_kbps
        self._class(index, _ROOT_MINOR, 0, rate, rate, 0)
        for kind, sure in enumerate(shaping.sure_kbps):
            minor = CLASS_MINORS[kind]
            self._class(index, minor, _ROOT_MINOR, sure, rate, _CLASS_ORDER[kind])
            room = max(4 * 1514, rate * _KBPS_BYTES * _QUEUE_MS[kind] // 1000)
            parent = _HTB_HANDLE | minor
            self._route.tc("replace", kind="bfifo", index=index, parent=parent, limit=room)

    def _drop_shaping(self, device: str) -> None:
        with contextlib.suppress(OSError):
            index = self.index_of(device)
            if self._is_ours(index):
                self._route.tc("del", index=index, handle=_HTB_HANDLE, root=True)

    def _class(
        self, index: int, minor: int, parent: int, rate_kbps: int, ceil_kbps: int, order: int
    ) -> None:
        burst = max(3_028, ceil_kbps * _KBPS_BYTES // 250)  # 4 ms, two packets at least
        self._route.tc(
            "replace-class", kind="htb", index=index, handle=_HTB_HANDLE | minor,
            parent=_HTB_HANDLE | parent, rate=rate_kbps * _KBPS_BYTES,
            ceil=ceil_kbps * _KBPS_BYTES, burst=burst, cburst=burst, prio=order,
        )  # fmt: skip

    def _is_ours(self, index: int) -> bool:
        return any(row["handle"] == _HTB_HANDLE for row in self._route.get_qdiscs(index))

    def _check_free(self, device: str, index: int) -> None:
        """Refuse to replace a queueing discipline that somebody chose."""
        for row in self._route.get_qdiscs(index):
            kind, parent = row.get_attr("TCA_KIND"), row["parent"]
            if parent == 0xFFFF_FFFF and row["handle"] and kind not in _DEFAULT_QDISCS:
                raise OSError(16, f"{device} has a {kind} of somebody else's; remove it first")


def _hop(row: Any, names: dict[int, str]) -> NextHop:
    index = row.get("oif") if "oif" in row else None
    via = row.get_attr("RTA_GATEWAY")
    if via is None:
        via = (row.get_attr("RTA_VIA") or {}).get("addr", "")
    encap = row.get_attr("RTA_ENCAP")
    segments: tuple[str, ...] = ()
    if encap is not None and row.get_attr("RTA_ENCAP_TYPE") == _SEG6:
        segments = tuple(reversed(encap.get_attr("SEG6_IPTUNNEL_SRH")["segs"]))
    weight = row["hops"] + 1 if "hops" in row else 1
    device = names.get(index if index is not None else row.get_attr("RTA_OIF"), "?")
    return NextHop(device, via, weight, segments)


def _class_rate_kbps(row: Any) -> int | None:
    options = row.get_attr("TCA_OPTIONS")
    parameters = options.get_attr("TCA_HTB_PARMS") if options is not None else None
    if row.get_attr("TCA_KIND") != "htb" or parameters is None:
        return None
    return int(parameters["rate"]) // _KBPS_BYTES


def _suppress(code: int) -> contextlib.AbstractContextManager[None]:
    """Pass over one refusal: "it is there already"."""
    return _Suppressed(code)


class _Suppressed(contextlib.AbstractContextManager[None]):
    def __init__(self, code: int) -> None:
        self._code = code

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, NetlinkError) and error.code == self._code


def _grant_echoes(group: int) -> None:
    """Let a group open sockets for echoes, unless it may already; others keep what they have."""
    path = _SYSCTL / "ipv4/ping_group_range"
    try:
        first, last = map(int, path.read_text().split())
    except (OSError, ValueError):
        return
    if not first <= group <= last:
        wider = (min(first, group), max(last, group)) if first <= last else (group, group)
        _write_sysctl("ipv4/ping_group_range", f"{wider[0]} {wider[1]}")


def _write_sysctl(name: str, value: str) -> bool:
    path = _SYSCTL / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError:
        return False
    return True
