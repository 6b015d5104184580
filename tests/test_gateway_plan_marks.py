"""Every hop's kernel may tell AI requests, jobs and control apart: DSCPs of overlay packets."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotspot.overlay.datagrams import (
    AI_FLOW,
    CONTROL,
    DATA,
    FROM_INITIATOR,
    JOB_FLOW,
    PLAIN_FLOW,
    Probe,
    Routed,
    class_of,
    dscp_of,
    forward,
    pack_gossip,
    pack_probe,
    pack_routed,
    parse,
    with_class,
)
from hotspot.overlay.io_link import UdpLink, pack, scoped
from hotspot.overlay.neighbours import KernelLoad, Neighbourhood

SECOND = 1_000_000_000


@given(st.sampled_from([0, FROM_INITIATOR]), st.sampled_from([PLAIN_FLOW, JOB_FLOW, AI_FLOW]))
def test_a_class_survives_every_hop_and_changes_nothing_else(flags: int, wish: int) -> None:
    plain = pack_routed(DATA, flags, 7, (1, 2, 3), b"sealed", (9, 9, 9))
    data = forward(with_class(plain, wish))
    packet, before = parse(data), parse(forward(plain))
    assert isinstance(packet, Routed)
    assert isinstance(before, Routed)
    assert class_of(packet.flags) == wish
    assert packet.flags & FROM_INITIATOR == flags
    assert (packet.payer, packet.payload) == (before.payer, b"sealed")
    assert with_class(data, PLAIN_FLOW) == forward(plain)


def test_each_class_has_the_dscp_that_netd_reads() -> None:
    data = pack_routed(DATA, 0, 7, (1, 2), b"", (9, 9))
    assert [dscp_of(with_class(data, c)) for c in (PLAIN_FLOW, JOB_FLOW, AI_FLOW)] == [0, 10, 46]
    control = (
        pack_routed(CONTROL, 0, 7, (1, 2), b""), pack_gossip(b"x"), pack_probe(Probe(True, 1, 2)),
    )  # fmt: skip
    assert {dscp_of(one) for one in control} == {48}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_packets_leave_with_their_mark(family: int) -> None:
    is_ipv6 = family == socket.AF_INET6
    host = "::1" if is_ipv6 else "127.0.0.1"
    wanted = [(pack_routed(DATA, 0, 7, (1, 2), b"", (9, 9)), AI_FLOW), (pack_gossip(b"x"), None)]

    async def send_all(port: int) -> None:
        link = UdpLink(1, lambda *_: None, lambda *_: None, peers={2: (host, port)})
        await link.open((host, 0))
        for data, wish in wanted:
            link.send(2, data if wish is None else with_class(data, wish))
        link.close()
        await asyncio.sleep(0)

    with socket.socket(family, socket.SOCK_DGRAM) as far:
        far.bind((host, 0))
        far.settimeout(60)
        option = socket.IPV6_RECVTCLASS if is_ipv6 else socket.IP_RECVTOS
        far.setsockopt(socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP, option, 1)
        asyncio.run(send_all(far.getsockname()[1]))
        seen = [far.recvmsg(2_048, 64)[1][0][2] for _ in wanted]
    assert [data[0] >> 2 for data in seen] == [46, 48]


def test_a_neighbour_s_link_local_address_holds_for_one_device_alone() -> None:
    heard: list[int] = []
    link = UdpLink(1, lambda _, peer: heard.append(peer), lambda _: None,
                   peers={2: ("fe80::2%lo", 9_000), 3: ("fe80::3%none0", 9_000)})  # fmt: skip
    lo = socket.if_nametoindex("lo")
    link.datagram_received(pack(2, 1, b"xx"), ("fe80::2", 9_000, 0, lo))
    link.datagram_received(pack(2, 1, b"xx"), ("fe80::2", 9_000, 0, lo + 1))
    link.datagram_received(pack(2, 1, b"xx"), ("fe80::2", 9_001, 0, lo))
    link.datagram_received(pack(3, 1, b"xx"), ("fe80::3", 9_000, 0, 0))
    assert heard == [2]
    assert link.counts["unknown_sender"] == 3
    assert scoped(("fe80::3%none0", 9_000)) is None


# --- what the kernel counted ----------------------------------------------------------------------


def row_of(links: Neighbourhood, now_ns: int) -> tuple[int, int, int]:
    (row,) = links.rows(now_ns)
    return row.rate_kbps, row.load_kbps, row.busy_permille


def near() -> Neighbourhood:
    links = Neighbourhood([7], 20_000)
    links.rows(0)
    links.links[7].heard_ns = 0
    return links


def test_a_link_s_load_is_what_its_device_carried_not_what_the_overlay_sent() -> None:
    links = near()
    links.take_load(7, KernelLoad(0, 0, 0, 1, 4_000))
    links.rows(1)
    links.count_sent(7, 12_500)
    links.take_load(7, KernelLoad(SECOND, 125_000, 125_000, 1, 4_000))
    assert row_of(links, SECOND) == (4_000, 1_000, 500)  # both ways take the radio's time
    assert row_of(links, 2 * SECOND)[1] == 0  # nothing new since


def test_neighbours_of_one_device_share_its_load_and_a_restart_is_no_flood() -> None:
    links = near()
    links.take_load(7, KernelLoad(0, 10**9, 0, 2))
    links.rows(1)
    links.take_load(7, KernelLoad(SECOND, 10**9 + 250_000, 0, 2))
    assert row_of(links, SECOND)[:2] == (20_000, 1_000)
    links.take_load(7, KernelLoad(2 * SECOND, 5, 5, 2))
    assert row_of(links, 2 * SECOND)[1] == 0
