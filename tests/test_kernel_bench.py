"""What the live benches refuse to say, and netds that are forks of a bench."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest
from pyroute2 import IPRoute

from bench.diamond_receipts import Receipts
from bench.kernel_bed import Bed, address_of, base_plan
from bench.sidebyside import Phase, check_believable
from chain.errors import UserError
from radio_sim.live.io_tap import can_make_radios, inside
from routing.kernel.nodeplan import SEGMENTS

GOOD = Phase(10.0, 12.0, 1.0, 0.99, 0.3)
needs_root = pytest.mark.skipif(
    not can_make_radios(), reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN"
)


@pytest.mark.parametrize("bad", [replace(GOOD, calm_share=0.9), replace(GOOD, sent_share=0.5)])
def test_a_figure_that_processors_limited_is_none(bad: Phase) -> None:
    check_believable({"babeld": GOOD, "netd": GOOD})
    for phases in ({"babeld": bad, "netd": GOOD}, {"babeld": GOOD, "netd": bad}):
        with pytest.raises(UserError, match="was the limit") as caught:
            check_believable(phases)
        assert caught.value.remedy


@needs_root
@pytest.mark.root
def test_forked_netds_serve_shape_and_end() -> None:
    with Bed(2, [(0, 1)], {(0, 1): 4_000.0, (1, 0): 2_000.0}) as bed:
        for node in range(2):
            bed.start_netd(node, is_fork=True)
        clients = bed.await_netd()
        bed.unshape()
        for node, client in clients.items():
            plan = bed.shaped_by_netd(replace(base_plan(2, SEGMENTS), node=node))
            client.apply(plan)
            shaping = client.read("kernel")["kernel"]["shaping"]
            assert shaping[f"m{1 - node}"]["rate_kbps"] == (4_000, 2_000)[node]
        processes = list(bed.processes.values())
        bed.stop("netd-0")
        assert processes[0].poll() == 0
        assert processes[1].poll() is None
    assert processes[1].poll() == 0


@needs_root
@pytest.mark.root
def test_receipts_for_what_a_kernel_relayed_have_both_signatures() -> None:
    with Bed(3, [(0, 1), (1, 2)]) as bed:
        for here, via, target in ((0, 1, 2), (0, 1, 1), (1, 2, 2), (1, 0, 0)):
            lead(bed, here, via, target)
        receipts = Receipts(bed, 0, [1], 2)
        receipts.start()
        with inside(bed.name(0)):
            end = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        for _ in range(200):
            end.sendto(bytes(1_200), (address_of(2), 9_000))
            time.sleep(0.005)
        time.sleep(1.5)  # what is less than half a chunk is claimed after a second
        end.close()
        said = receipts.stop()
    assert said["receipts"] >= 2
    assert said["signed_share"] > 0.95
    assert said["beyond_credit_bytes"] < 64 << 10


def lead(bed: Bed, here: int, via: int, target: int) -> None:
    """A route from one hotspot to another by a neighbour."""
    with inside(bed.name(via)), IPRoute() as route:
        index = route.link_lookup(ifname=f"m{here}")[0]
        rows = route.get_addr(family=socket.AF_INET6, index=index)
        gateway = str(rows[0].get_attr("IFA_ADDRESS"))
    with inside(bed.name(here)), IPRoute() as route:
        index = route.link_lookup(ifname=f"m{via}")[0]
        to = f"{address_of(target)}/128"
        route.route("add", dst=to, gateway=gateway, oif=index, family=socket.AF_INET6)
