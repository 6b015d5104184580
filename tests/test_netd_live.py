"""netd in real namespaces: what is ours comes and goes, and what is anybody else's stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bench.kernel_bed import Bed, address_of, base_plan, host_address, host_prefix, sid_of
from chain.errors import UserError
from hotspot.netd.io_client import NetdClient
from hotspot.netd.io_kernel import Kernel
from radio_sim.live.io_tap import can_make_radios, inside
from routing.kernel.nodeplan import MULTIPATH, SEGMENTS, NodePlan, Table
from routing.kernel.state import (
    PROTOCOL,
    TABLE_SOURCE,
    KernelState,
    colour_table,
    compute_operations,
)
from routing.kernel.steer import node_plans

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not can_make_radios(), reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    ),
]
DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]
SPLITS = {
    (0, 3): {(0, 1, 3): 2 / 3, (0, 2, 3): 1 / 3},
    (3, 0): {(3, 1, 0): 2 / 3, (3, 2, 0): 1 / 3},
}
FOREIGN_TABLE, FOREIGN_PRIORITY = 77, 50
Door = tuple[Bed, NetdClient]


@pytest.fixture
def bed() -> Iterator[Bed]:
    with Bed(4, DIAMOND) as made:
        yield made


@pytest.fixture
def clients(bed: Bed) -> dict[int, NetdClient]:
    """netd on all four."""
    for node in range(4):
        bed.start_netd(node)
    return bed.await_netd()


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[Bed, NetdClient]]:
    """One netd for everything that only talks to it."""
    with Bed(2, [(0, 1)]) as made:
        made.start_netd(0)
        client = made.await_netd()[0]
        yield made, client


def wait_until(ready: Callable[[], object], timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def apply_all(clients: dict[int, NetdClient], mode: str, version: int = 1) -> dict[int, NodePlan]:
    plans = node_plans(base_plan(4, mode), SPLITS, {}, version)
    for node, plan in plans.items():
        clients[node].apply(plan)
    return plans


def routes_of(client: NetdClient, table: int) -> dict[str, int]:
    """How many next hops each prefix of a table has."""
    kernel = client.read("kernel")["kernel"]
    return {r["to"]: len(r["hops"]) for r in kernel["routes"] if r["table"] == table}


def wait_for_both_ways(clients: dict[int, NetdClient], table: int) -> None:
    for node, other in ((0, 3), (3, 0)):
        prefix = f"{address_of(other)}/128"
        wait_until(lambda n=node, p=prefix: routes_of(clients[n], table).get(p) == 2)  # type: ignore[misc]


def echoes(bed: Bed, source: str, target: str, address: str, count: int = 24) -> int:
    """Packets that come back, each from a port of its own."""
    with inside(target):
        far = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    far.bind((address, 9_000))
    heard = 0
    for _ in range(count):
        with inside(source):
            near = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        near.settimeout(5.0)
        far.settimeout(5.0)
        try:
            near.sendto(b"hello", (address, 9_000))
            data, sender = far.recvfrom(64)
            far.sendto(data, sender)
            heard += near.recv(64) == b"hello"
        except OSError:
            pass
        near.close()
    far.close()
    return heard


def sent_by(bed: Bed, node: int, device: str) -> int:
    with inside(bed.name(node)), IPRoute() as route:
        (link,) = route.get_links(route.link_lookup(ifname=device)[0])
        return int(link.get_attr("IFLA_STATS64")["tx_packets"])


BOTH_MODES = [(SEGMENTS, TABLE_SOURCE), (MULTIPATH, colour_table(1))]


@pytest.mark.parametrize(("mode", "table"), BOTH_MODES)
def test_peoples_packets_take_both_paths_there_and_back(bed: Bed, mode: str, table: int) -> None:
    for node in (0, 3):
        bed.attach_host(node)
    for node in range(4):
        bed.start_netd(node)
    clients = bed.await_netd()
    apply_all(clients, mode)
    wait_for_both_ways(clients, table)
    before = {via: sent_by(bed, via, "m3") for via in (1, 2)}
    assert echoes(bed, bed.hosts[0], bed.hosts[3], host_address(3), 60) >= 50  # busy machines
    carried = {via: sent_by(bed, via, "m3") - before[via] for via in (1, 2)}
    # Two thirds and one third of sixty flows; hashes are luck: five standard deviations.
    assert carried[1] >= 22
    assert carried[2] >= 2
    demand = clients[0].read("demand")["demand"]
    assert demand[host_address(3)] >= 60 * 53
    devices = clients[0].read("devices")["devices"]
    (row,) = [row for row in devices.values() if row["up_packets"] >= 60]
    assert row["down_packets"] >= 50
    for way in ("up", "down"):  # IPv6, UDP, five bytes; finding each other's address takes 72
        assert 53 <= row[f"{way}_bytes"] / row[f"{way}_packets"] <= 57


def test_what_others_made_stays_through_apply_restart_and_clear(
    bed: Bed, clients: dict[int, NetdClient]
) -> None:
    with inside(bed.name(0)), IPRoute() as route:
        index = route.link_lookup(ifname="m1")[0]
        route.route("add", dst="fd99::/64", oif=index, table=FOREIGN_TABLE, family=10)
        route.route("add", dst="fd98::/64", oif=index, table=TABLE_SOURCE, family=10, proto=4)
        route.rule("add", priority=FOREIGN_PRIORITY, table=FOREIGN_TABLE, family=10)
        route.tc("add", kind="tbf", index=index, rate=125_000_000, burst=50_000, limit=100_000)
    before = foreign(bed)
    plan = replace(apply_all(clients, SEGMENTS)[0], version=2, rates_kbps=(("m2", 8_000),))
    clients[0].apply(plan)
    wait_for_both_ways(clients, TABLE_SOURCE)
    assert foreign(bed) == before
    refused = replace(plan, version=3, rates_kbps=(("m1", 8_000),))
    with pytest.raises(UserError, match="somebody else's"):
        clients[0].apply(refused)
    restarted = restart(bed, clients, 0)
    restarted.apply(replace(plan, version=4))
    wait_until(lambda: routes_of(restarted, TABLE_SOURCE).get(f"{address_of(3)}/128") == 2)
    assert foreign(bed) == before
    clear(bed, 0)
    assert foreign(bed) == before
    with inside(bed.name(0)), closing(Kernel()) as kernel:
        left = compute_operations(kernel.read(("any",)), KernelState())
        assert [step.kind for step in left] == ["demand"]  # a netd that runs goes on counting


def foreign(bed: Bed) -> tuple[list[str], list[int], list[str]]:
    """Routes, rules and queues that aren't ours."""
    with inside(bed.name(0)), IPRoute() as route:
        tables = (FOREIGN_TABLE, TABLE_SOURCE)
        routes = [
            str(row.get_attr("RTA_DST"))
            for table in tables
            for row in route.get_routes(family=10, table=table)
            if row["proto"] != PROTOCOL
        ]
        rules = [
            int(row.get_attr("FRA_PRIORITY") or 0)
            for row in route.get_rules(family=10)
            if row.get_attr("FRA_PROTOCOL") != PROTOCOL
        ]
        queues = [str(row.get_attr("TCA_KIND")) for row in route.get_qdiscs()]
    return routes, rules, [kind for kind in queues if kind == "tbf"]


def restart(bed: Bed, clients: dict[int, NetdClient], node: int) -> NetdClient:
    """Kill -9 and start again."""
    clients[node].close()
    process = bed.processes.pop(f"netd-{node}")
    process.kill()
    process.wait()
    bed.start_netd(node)
    fresh = bed.client(node)

    def answers() -> bool:
        try:
            return bool(fresh.read("status")["ok"])
        except UserError:
            return False

    wait_until(answers)
    clients[node] = fresh
    return fresh


def clear(bed: Bed, node: int) -> None:
    """As a person would."""
    command = [sys.executable, "-m", "wavecomb", "hotspot", "netd", "clear", "--json"]
    with inside(bed.name(node)):
        done = subprocess.run(
            [*command, "--socket", str(bed.socket(node))], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["through"] in ("netd", "kernel")


def test_a_restart_keeps_what_is_right_and_repairs_what_is_not(
    bed: Bed, clients: dict[int, NetdClient]
) -> None:
    plan = apply_all(clients, MULTIPATH)[0]
    wait_for_both_ways(clients, colour_table(1))
    clients[0].close()
    bed.processes["netd-0"].send_signal(signal.SIGSTOP)
    wait_until(lambda: routes_of(clients[1], colour_table(1)) == {})
    with inside(bed.name(0)), IPRoute() as route:
        prefix = f"{address_of(3)}/128"
        route.route("del", dst=prefix, table=colour_table(1), family=10)
        # Something of ours that no plan wants.
        index = route.link_lookup(ifname="m1")[0]
        made = {"dst": "fd57::77/128", "oif": index, "proto": PROTOCOL, "family": 10}
        route.route("add", table=colour_table(2), **made)
    bed.processes["netd-0"].kill()
    fresh = restart(bed, clients, 0)
    fresh.apply(plan)
    wait_until(lambda: routes_of(fresh, colour_table(1)).get(prefix) == 2)
    assert routes_of(fresh, colour_table(2)) == {}


def test_without_a_controller_the_plan_expires_and_the_base_remains(bed: Bed) -> None:
    if shutil.which("babeld") is None:
        pytest.skip("babeld is not installed: apt-get install babeld")
    for node in range(4):
        bed.start_babeld(node, 1)
        bed.start_netd(node)
    clients = bed.await_netd()
    for node, plan in node_plans(base_plan(4, SEGMENTS), SPLITS, {}, 1).items():
        clients[node].apply(replace(plan, lease_ms=4_000))
    bed.await_base_routes()
    assert echoes(bed, bed.name(0), bed.name(3), address_of(3), 5) == 5
    wait_until(lambda: clients[0].read("status")["status"]["version"] is None)
    kernel = clients[0].read("kernel")["kernel"]
    assert (kernel["routes"], kernel["rules"], kernel["marking"]) == ([], [], None)
    assert echoes(bed, bed.name(0), bed.name(3), address_of(3), 5) == 5


def test_it_holds_one_capability_and_can_get_no_other(door: Door) -> None:
    bed, _ = door
    status = Path(f"/proc/{bed.processes['netd-0'].pid}/status").read_text()
    rows = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(rows[name], 16) == 1 << 12, name
    for name in ("CapInh", "CapAmb"):
        assert int(rows[name], 16) == 0, name
    assert rows["NoNewPrivs"] == "1"
    assert bed.socket(0).stat().st_mode & 0o777 == 0o660


def test_strangers_are_not_served(door: Door) -> None:
    bed, client = door
    os.chmod(bed.folder, 0o755)
    os.chmod(bed.socket(0), 0o666)  # even where the file's mode would let them
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(60);"
        "s.connect(sys.argv[1]); s.sendall(bytes(4) + b'x'); sys.exit(len(s.recv(64)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bed.socket(0))], capture_output=True, text=True
    )
    assert done.returncode == 0 or "ConnectionReset" in done.stderr or "BrokenPipe" in done.stderr
    assert client.read("status")["ok"]


def test_nonsense_and_endless_messages_are_let_go(door: Door) -> None:
    bed, client = door
    for data in (b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"\0\0\0\x05" + b"\xff" * 5):
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(60)
        caller.connect(str(bed.socket(0)))
        caller.sendall(data)
        answer = caller.recv(4_096)
        assert answer == b"" or b'"ok":false' in answer
        caller.close()
    assert client.read("status")["ok"]


def test_a_radio_that_is_none_is_named(door: Door) -> None:
    _, client = door
    with pytest.raises(UserError) as caught:
        client.set_power("m1", 1_700)
    assert caught.value.remedy


def test_classes_get_what_they_are_sure_of_when_all_want_everything(bed: Bed) -> None:
    bed.attach_host(0)
    for node in (0, 1):
        bed.start_netd(node)
    clients = bed.await_netd()
    for node, plan in node_plans(base_plan(4, MULTIPATH), SPLITS, {}, 1).items():
        if node in clients:
            table = Table(1, 1, {3: ((1, 1),)} if node == 0 else {})
            shaped = (("m1", 4_000),) if node == 0 else ()
            trusted = ("ap0",) if node == 0 else ()
            clients[node].apply(
                replace(plan, rates_kbps=shaped, trusted=trusted, tables=(table,))
            )
    prefix = f"{address_of(3)}/128"
    wait_until(lambda: routes_of(clients[0], colour_table(1)).get(prefix) == 1)
    seen = []
    for _ in range(10):  # where the senders are kept from sending there is no flood
        got = flooded(bed, clients[0])
        seen.append(got)
        # 45 : 30 : 20 of what is sure, and the rest goes to the first in order.
        in_order = got["ai"] > 1.2 * got["jobs"] > 1.2 * got["best-effort"]
        if in_order and got["best-effort"] > 0.1 * sum(got.values()):
            return
    raise AssertionError(seen)


def flooded(bed: Bed, client: NetdClient) -> dict[str, int]:
    """Bytes that each class got of two seconds of everybody's wanting all."""
    before = client.read("links")["links"]["m1"]["classes"]
    flood(bed, 2.0)
    after = client.read("links")["links"]["m1"]["classes"]
    return {name: after[name]["bytes"] - before[name]["bytes"] for name in after}


def flood(bed: Bed, seconds: float) -> None:
    """Three senders behind hotspot 0, AI, jobs and best effort, each beyond 4 Mbit/s."""
    with inside(bed.hosts[0]):
        ends = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(3)]
    for end, dscp in zip(ends, (46, 10, 0), strict=True):
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for end in ends:
            for _ in range(3):
                try:
                    end.sendto(bytes(1_200), (address_of(3), 9_999))
                except OSError:
                    continue  # its queue is full
        time.sleep(0.002)
    for end in ends:
        end.close()


def test_addresses_of_a_plan_are_given_and_taken_away(door: Door) -> None:
    bed, client = door
    client.apply(base_plan(2, SEGMENTS))
    kernel = client.read("kernel")["kernel"]
    assert f"{sid_of(0)}/128" in kernel["addresses"]
    client.apply(None)
    assert client.read("kernel")["kernel"]["addresses"] == []
    with inside(bed.name(0)), IPRoute() as route:
        kept = {row.get_attr("IFA_ADDRESS") for row in route.get_addr(family=10, index=1)}
    assert address_of(0) in kept  # that one was the owner's, not the plan's
    assert host_prefix(0) not in kept
