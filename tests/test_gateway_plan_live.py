"""Four real hotspots in namespaces: their gateways steer the kernel, and when one dies babeld does.

Each has babeld, netd and a gateway; they gossip over link-local addresses and share a ledger. A
device behind hotspot 0 sends more to one behind hotspot 3 than a single relay's radio can carry.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_helpers import Town, seed_of, wait_for
from pyroute2 import IPRoute

from bench.kernel_bed import Bed, host_address, host_prefix
from hotspot.netd.io_client import NetdClient
from radio_sim.live.io_tap import can_make_radios, inside
from routing.kernel.state import PROTOCOL, TABLE_SOURCE

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not can_make_radios(), reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    ),
]
DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]
FOREIGN_TABLE = 77
RATE_KBPS, LOAD_KBPS = 4_000, 2_600
TARGET = f"{host_prefix(3)}/64"


class Mesh:
    """The bed with everything running."""

    def __init__(self, bed: Bed, town: Town) -> None:
        self.bed, self.town = bed, town
        bed.attach_host(0)
        bed.attach_host(3)
        for node in range(4):
            bed.start_babeld(node, 1)
            bed.start_netd(node)
        self.clients: dict[int, NetdClient] = bed.await_netd()
        self.urls: dict[int, int] = {}
        for node in range(4):
            self.start_gateway(node)
        self.sent = 0
        with inside(bed.hosts[0]):
            self.ends = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(24)]
        with inside(bed.hosts[3]):
            self.far = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.far.bind((host_address(3), 9_000))
        self.far.setblocking(False)

    def start_gateway(self, node: int) -> None:
        folder = self.bed.folder / f"gateway-{node}"
        folder.mkdir(exist_ok=True)
        (folder / "hotspot.key").write_text(seed_of(node).hex())
        (folder / "hotspot.key").chmod(0o600)
        peers = [f"{p}=[{link_local(self.bed, p, node)}%m{p}]:9000" for p in near(node)]
        rates = [f"m{p}={RATE_KBPS}" for p in near(node)]
        (folder / "gateway.toml").write_text(
            f'[ledger]\nurl = "{self.town.url}"\n[gateway]\nlisten = "127.0.0.1:8300"\n'
            f'[routing]\ntelemetry = ""\nplanner = false\n[relay]\nrate_kbps = {RATE_KBPS}\n'
            f'[kernel]\nnetd = "{self.bed.socket(node)}"\nlease_ms = 3000\nplan_ms = 1000\n'
            f'rates = {json.dumps(rates)}\n[link]\nlisten = "[::]:9000"\n'
            f"peers = {json.dumps(peers)}\n"
        )
        config = str(folder / "gateway.toml")
        command = ["-m", "hotspot.gateway.io_main", "--config", config, "--json"]
        self.bed.start(f"gateway-{node}", node, [sys.executable, *command])

    def status(self, node: int) -> dict[str, Any]:
        """What a gateway says of the kernel; OSError while it doesn't answer."""
        connection = http.client.HTTPConnection("127.0.0.1", 8_300, timeout=60)
        with inside(self.bed.name(node)):
            connection.connect()
        try:
            connection.request("GET", "/json")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found

    def load(self, seconds: float) -> int:
        """Send at LOAD_KBPS for so long; packets that arrived."""
        arrived, until = 0, time.monotonic() + seconds
        gap_s = 1_248 * 8 / LOAD_KBPS / 1e3
        due = time.monotonic()
        while time.monotonic() < until:
            while due <= time.monotonic():
                self.sent += 1
                self.ends[self.sent % 24].sendto(bytes(1_200), (host_address(3), 9_000))
                due += gap_s
            time.sleep(0.005)
            arrived += self._drain()
        return arrived

    def _drain(self) -> int:
        count = 0
        try:
            while self.far.recv(2_048):
                count += 1
        except BlockingIOError:
            return count
        return count

    def close(self) -> None:
        for end in (*self.ends, self.far):
            end.close()


def near(node: int) -> list[int]:
    return sorted({a + b - node for a, b in DIAMOND if node in (a, b)})


def link_local(bed: Bed, node: int, towards: int) -> str:
    with inside(bed.name(node)), IPRoute() as route:
        index = route.link_lookup(ifname=f"m{towards}")[0]
        rows = route.get_addr(family=socket.AF_INET6, index=index)
        return next(a for row in rows if (a := str(row.get_attr("IFA_ADDRESS"))).startswith("fe80"))


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    if shutil.which("babeld") is None:
        pytest.skip("babeld is not installed: apt-get install babeld")
    town = Town(tmp_path)
    try:
        town.open(4)
        with Bed(4, DIAMOND) as bed:
            running = Mesh(bed, town)
            yield running
            running.close()
    finally:
        town.close()


def ways(mesh: Mesh) -> set[str]:
    """Devices by which hotspot 0's own routes lead to hotspot 3's people."""
    kernel = mesh.clients[0].read("kernel")["kernel"]
    rows = [r for r in kernel["routes"] if (r["table"], r["to"]) == (TABLE_SOURCE, TARGET)]
    return {hop["device"] for row in rows for hop in row["hops"]}


def carried(mesh: Mesh, relay: int) -> int:
    rows = mesh.clients[relay].read("links")["links"]
    return int(rows["m3"]["tx_packets"])


def foreign(mesh: Mesh) -> list[str]:
    with inside(mesh.bed.name(0)), IPRoute() as route:
        rows = route.get_routes(family=socket.AF_INET6, table=FOREIGN_TABLE)
        return [str(row.get_attr("RTA_DST")) for row in rows if row["proto"] != PROTOCOL]


def test_a_gateway_steers_both_ways_round_and_a_dead_one_leaves_plain_babel(mesh: Mesh) -> None:
    with inside(mesh.bed.name(0)), IPRoute() as route:
        index = route.link_lookup(ifname="m1")[0]
        route.route("add", dst="fd99::/64", oif=index, table=FOREIGN_TABLE, family=10)
    wait_for("gateways", lambda: all(knows_all(mesh.status(node)) for node in range(4)), 60)
    assert ways(mesh) == set()  # nothing is steered before anything is asked for

    deadline = time.monotonic() + 60
    while ways(mesh) != {"m1", "m2"}:
        mesh.load(1.0)
        assert time.monotonic() < deadline, json.dumps(mesh.status(0))
    deadline = time.monotonic() + 90
    while problems := look_at_load(mesh):  # a starved sender's bursts are more than queues hold
        assert time.monotonic() < deadline, problems

    mesh.bed.processes["gateway-0"].kill()
    wait_for("the lease's end", lambda: mesh.clients[0].read("status")["status"]["version"] is None)
    kernel = mesh.clients[0].read("kernel")["kernel"]
    assert (kernel["routes"], kernel["rules"], kernel["marking"]) == ([], [], None)
    assert foreign(mesh) == ["fd99::"]
    mesh.load(0.5)
    assert mesh.load(1.0) > 0  # by babeld's route, at whatever its one way carries
    assert mesh.status(1)["kernel"]["state"] == "base"  # the others go on


def look_at_load(mesh: Mesh) -> list[Any]:
    """Two seconds of load that both ways carry, and what of it is not as it should be."""
    before = {relay: carried(mesh, relay) for relay in (1, 2)}
    arrived = mesh.load(2.0)
    sent = {relay: carried(mesh, relay) - before[relay] for relay in (1, 2)}
    kernel = mesh.status(0)["kernel"]
    is_right = (
        arrived > 0.8 * 2.0 * LOAD_KBPS * 1e3 / 8 / 1_248
        and min(sent.values()) > 0.15 * arrived
        and (kernel["state"], kernel["mode"]) == ("steered", "segments")
        and int(kernel["demand_kbps"].get("3", 0)) > 0.5 * LOAD_KBPS
    )
    return [] if is_right else [arrived, sent, kernel]


def knows_all(status: dict[str, Any]) -> bool:
    kernel = status["kernel"]
    return kernel["state"] == "base" and len(kernel["neighbours"]) == 2 and len(
        status["known"]
    ) == 4  # fmt: skip
