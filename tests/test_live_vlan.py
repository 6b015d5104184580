"""No device clock of a live run reads as a VLAN tag where a TAP's kernel looks for one."""

from __future__ import annotations

from radio_sim.medium.headers import Drivers

DAY_NS = 86_400 * 1_000_000_000
TAGS = (b"\x81\x00", b"\x88\xa8")


def tagged(drivers: Drivers, nodes: int, at_ns: int) -> list[int]:
    headers = [drivers.header(node, at_ns, 2437, -60) for node in range(nodes)]
    return [node for node, header in enumerate(headers) if header[12:14] in TAGS]


def test_clocks_keep_clear_for_a_day_and_would_not_by_themselves() -> None:
    nodes, start_ns = 4_000, 43_000 * 1_000_000_000
    drivers = Drivers(1, nodes, real_fields=False)
    drivers.noise_dbm = [-95] * nodes
    assert tagged(drivers, nodes, start_ns)
    drivers.keep_clear_of_vlan(start_ns)
    for part in range(25):
        assert tagged(drivers, nodes, start_ns + part * DAY_NS // 24) == []
