"""Live namespaces for the kernel's benches: hotspots joined by veth pairs, netd and babeld in each.

Hotspot i has the address fd57::(i+1) on its loopback and a device `m<j>` to each neighbour j. All
is made in namespaces of our own and removed at the end, processes by their ids.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns

from bench.kernel_fork import Forked, fork_netd
from chain.errors import EXIT_FAILED, UserError
from chain.io_terminal import Parser, print_json
from hotspot.netd.io_client import NetdClient
from hotspot.netd.io_nft import Batch, Nftables
from hotspot.netd.io_privileges import has_net_admin
from hotspot.netd.nft import verdict
from radio_sim.io_processes import die_with_parent
from radio_sim.live.io_tap import inside, remove_namespace
from routing.kernel.nodeplan import NodePlan

PREFIX = "wvk-"
DROP = 0
TBF_HANDLE = 0x1_0000  # 1:, so that it can be named again
Link = tuple[int, int]


def address_of(node: int) -> str:
    """Where a hotspot of a bed is reached."""
    return f"fd57::{node + 1:x}"


def sid_of(node: int) -> str:
    """Its segment identifier."""
    return f"fd57:1::{node + 1:x}"


def host_prefix(node: int) -> str:
    """The network of people's devices behind a hotspot, without its last part."""
    return f"fd57:2:0:{node + 1:x}::"


def host_address(node: int) -> str:
    """Address of the device behind a hotspot."""
    return f"{host_prefix(node)}2"


def base_plan(nodes: int, mode: str, lease_ms: int = 600_000) -> NodePlan:
    """A plan of a bed's addresses, without a path."""
    addresses = {node: address_of(node) for node in range(nodes)}
    sids = {node: sid_of(node) for node in range(nodes)}
    prefixes = tuple((f"{host_prefix(node)}/64", node) for node in range(nodes))
    return NodePlan(1, lease_ms, 0, mode, addresses, sids, prefixes)


def report(
    parser: Parser, measure: Callable[[argparse.Namespace], dict[str, Any]], argv: Sequence[str]
) -> int:
    """Read the options (`--json` among them), measure, print a line of JSON or a row per figure."""
    options = parser.parse_args(argv)
    result = measure(options)
    if options.json:
        print_json(result)
    else:
        width = 2 + max(map(len, result))
        print("\n".join(f"{name:<{width}}{value}" for name, value in result.items()))
    return 0


def check_ready() -> None:
    """UserError where this machine can't carry a bed."""
    if not has_net_admin():
        raise UserError("bench", "needs root and namespaces", "run with sudo",
                        exit_code=EXIT_FAILED)  # fmt: skip


@dataclass
class Bed:
    """Namespaces of `nodes` hotspots with `links` between them; a rate in kbps shapes one way."""

    nodes: int
    links: Sequence[Link]
    rates_kbps: Mapping[Link, float] = field(default_factory=dict)
    mtu: int = 1500
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="wvk-")))
    processes: dict[str, subprocess.Popen[bytes] | Forked] = field(default_factory=dict)
    hosts: dict[int, str] = field(default_factory=dict)
    _clients: list[NetdClient] = field(default_factory=list)

    def name(self, node: int) -> str:
        """A hotspot's namespace."""
        return f"{PREFIX}{self.folder.name[-6:]}-{node}"

    def __enter__(self) -> Bed:
        check_ready()
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, _leave)
        try:
            for node in range(self.nodes):
                netns.create(self.name(node))
            for a, b in self.links:
                if a < b:
                    self._join(a, b)
            for node in range(self.nodes):
                self._bring_up(node)
            # Duplicate address detection takes a second or two of link-local addresses' time.
            self._await_addresses()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        for name in list(self.processes):
            self.stop(name)
        for name in [*self.hosts.values(), *(self.name(node) for node in range(self.nodes))]:
            with contextlib.suppress(Exception):
                remove_namespace(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _join(self, a: int, b: int) -> None:
        with inside(self.name(a)), IPRoute() as route:
            far = {"ifname": f"m{a}", "net_ns_fd": self.name(b), "mtu": self.mtu}
            route.link("add", ifname=f"m{b}", kind="veth", mtu=self.mtu, peer=far)

    def _bring_up(self, node: int) -> None:
        with inside(self.name(node)), IPRoute() as route:
            for knob in ("forwarding", "accept_dad"):
                value = "1" if knob == "forwarding" else "0"
                for which in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{which}/{knob}").write_text(value)
            route.addr("add", index=1, address=address_of(node), prefixlen=128)
            for link in route.get_links():
                name, index = link.get_attr("IFLA_IFNAME"), link["index"]
                if name.startswith("m"):
                    Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
                    rate = self.rates_kbps.get((node, int(name[1:])))
                    if rate:
                        octets = round(rate * 125)
                        burst = max(3_200, octets // 200)
                        route.tc("add", kind="tbf", index=index, handle=TBF_HANDLE, rate=octets,
                                 burst=burst, limit=max(15_000, octets // 20))  # fmt: skip
                route.link("set", index=index, state="up")

    def _await_addresses(self) -> None:
        deadline = time.monotonic() + 10
        for node in range(self.nodes):
            with inside(self.name(node)):
                while time.monotonic() < deadline:
                    rows = Path("/proc/net/if_inet6").read_text().splitlines()
                    # Flag 0x40: tentative.
                    if all(not int(row.split()[4], 16) & 0x40 for row in rows):
                        break
                    time.sleep(0.05)

    def attach_host(self, node: int) -> str:
        """Put somebody's device behind a hotspot, on its device `ap0`; return the namespace.

        What a hotspot forwards is hashed by ports; what it sends itself the kernel may not hash so:
        an IPv6 connection looks its route up before it has a port.
        """
        name = f"{self.name(node)}h"
        netns.create(name)
        self.hosts[node] = name
        with inside(self.name(node)), IPRoute() as route:
            far = {"ifname": "up0", "net_ns_fd": name, "mtu": self.mtu}
            route.link("add", ifname="ap0", kind="veth", mtu=self.mtu, peer=far)
            index = route.link_lookup(ifname="ap0")[0]
            Path("/proc/sys/net/ipv6/conf/ap0/accept_dad").write_text("0")
            route.link("set", index=index, state="up")
            route.addr("add", index=index, address=f"{host_prefix(node)}1", prefixlen=64)
        with inside(name), IPRoute() as route:
            index = route.link_lookup(ifname="up0")[0]
            Path("/proc/sys/net/ipv6/conf/up0/accept_dad").write_text("0")
            route.link("set", index=index, state="up")
            route.addr("add", index=index, address=host_address(node), prefixlen=64)
            gateway = f"{host_prefix(node)}1"
            route.route("add", dst="default", gateway=gateway, oif=index, family=10)
        return name

    def devices(self, node: int) -> list[str]:
        """A hotspot's devices to others."""
        ends = {b for a, b in self.links if a == node} | {a for a, b in self.links if b == node}
        return [f"m{other}" for other in sorted(ends)]

    def shaped_by_netd(self, plan: NodePlan) -> NodePlan:
        """The same plan, in which netd's classes have the rates that tbf had (`unshape`)."""
        rates = [(f"m{b}", max(64, round(kbps))) for (a, b), kbps in self.rates_kbps.items()
                 if a == plan.node]  # fmt: skip
        return replace(plan, rates_kbps=tuple(sorted(rates)))

    def unshape(self) -> None:
        """Take tbf away from all devices, for netd to shape them."""
        for node in range(self.nodes):
            with inside(self.name(node)), IPRoute() as route:
                for device in self.devices(node):
                    (index,) = route.link_lookup(ifname=device)
                    route.tc("del", index=index, handle=TBF_HANDLE, root=True)

    # --- processes --------------------------------------------------------------------------------

    def start(self, name: str, node: int, command: Sequence[str]) -> None:
        """Run a program in a hotspot's namespace; its output goes to a file of its name."""
        with inside(self.name(node)), (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    def stop(self, name: str) -> None:
        """End a program and wait for it."""
        process = self.processes.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_netd(self, node: int, *options: str, is_fork: bool = False) -> None:
        """Run netd on a hotspot; as a fork of this process where there are many."""
        mesh = [word for device in self.devices(node) for word in ("--mesh", device)]
        access = ["--access", "ap0"] if node in self.hosts else []
        words = ["run", *mesh, *access, "--socket", str(self.socket(node)), *options]
        name = f"netd-{node}"
        if is_fork:
            log = self.folder / f"{name}.log"
            self.processes[name] = fork_netd(self.name(node), words, log)
        else:
            self.start(name, node, [sys.executable, "-m", "hotspot.netd.io_main", *words])

    def socket(self, node: int) -> Path:
        """Where a hotspot's netd listens."""
        return self.folder / f"{node}.sock"

    def await_netd(self, timeout_s: float = 60) -> dict[int, NetdClient]:
        """Wait for every netd that was started, and return clients to them."""
        deadline = time.monotonic() + timeout_s
        clients = {}
        for node in range(self.nodes):
            if f"netd-{node}" in self.processes:
                while not self.socket(node).exists():
                    if time.monotonic() > deadline or self.processes[f"netd-{node}"].poll():
                        said = (self.folder / f"netd-{node}.log").read_text()[-300:]
                        raise UserError(f"netd-{node}", f"did not start: {said}", "see above")
                    time.sleep(0.02)
                clients[node] = self.client(node)
        return clients

    def client(self, node: int) -> NetdClient:
        """A client of a hotspot's netd, closed with the bed."""
        self._clients.append(NetdClient(self.socket(node), 60.0))
        return self._clients[-1]

    def start_babeld(self, node: int, hello_s: int) -> None:
        """Run Debian's babeld; pid and state files of its own, since a stale one stops it."""
        if shutil.which("babeld") is None:
            raise UserError("babeld", "is not installed", "apt-get install babeld")
        config = self.folder / f"babeld-{node}.conf"
        lines = [f"interface {device} type wired hello-interval {hello_s}"
                 for device in self.devices(node)]  # fmt: skip
        lines += ["redistribute local ip fd57::/16 ge 128 allow", "redistribute local deny"]
        lines += ["redistribute ip fd57:2::/32 allow", "redistribute deny"]
        config.write_text("\n".join(lines) + "\n")
        mine = self.folder / f"babeld-{node}"
        command = ["babeld", "-c", str(config), "-I", f"{mine}.pid", "-S", f"{mine}.state"]
        self.start(f"babeld-{node}", node, [*command, *self.devices(node)])

    def await_base_routes(self, timeout_s: float = 120) -> float:
        """Wait until every hotspot has a base route to every other; seconds that it took."""
        started = time.monotonic()
        for node in range(self.nodes):
            with inside(self.name(node)), IPRoute() as route:
                while True:
                    found = {
                        row.get_attr("RTA_DST")
                        for row in route.get_routes(family=10, table=254)
                        if row["dst_len"] == 128
                    }
                    if all(address_of(n) in found for n in range(self.nodes) if n != node):
                        break
                    if time.monotonic() - started > timeout_s:
                        raise UserError("babeld", f"has not all routes at {node}", "see its log")
                    time.sleep(0.1)
        return time.monotonic() - started

    # --- faults -----------------------------------------------------------------------------------

    def silence(self, node: int) -> None:
        """Let a hotspot die without a word: carriers stay, nothing gets in or out any more."""
        with inside(self.name(node)):
            door = Nftables()
            batch = Batch()
            batch.replace_table(6, "dead", "")
            for name, hook in (("in", 0), ("out", 4)):
                batch.chain(6, "dead", name, (hook, "filter", -400))
                batch.rule(6, "dead", name, [verdict(DROP)])
            door.commit(batch)
            door.close()

    def wake(self, node: int) -> None:
        """Bring it back."""
        with inside(self.name(node)):
            door = Nftables()
            door.drop_table(6, "dead")
            door.close()


def _leave(*_: object) -> None:
    """Told to stop, a bench takes its namespaces with it."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def babel(bed: Bed, hello_s: int) -> Iterator[float]:
    """Run babeld on all hotspots of a bed, converged; yields the seconds that took."""
    for node in range(bed.nodes):
        bed.start_babeld(node, hello_s)
    try:
        yield bed.await_base_routes()
    finally:
        for node in range(bed.nodes):
            bed.stop(f"babeld-{node}")
