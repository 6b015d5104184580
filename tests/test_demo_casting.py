"""Who plays what in a demo follows from the network, not from luck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from radio_sim.casting import WISHED_HOPS, cast, distances, largest_part
from radio_sim.scenario import HotspotSite, Scenario


def network(count: int, links: list[tuple[int, int]]) -> tuple[Scenario, list[list[int]]]:
    sites = tuple(HotspotSite(name=f"h{i}", lat=1.0, lon=1.0 + i / 1000) for i in range(count))
    peers: list[list[int]] = [[] for _ in range(count)]
    for a, b in links:
        peers[a].append(b)
        peers[b].append(a)
    return Scenario("test", sites), peers


def test_on_a_line_the_consumer_stands_at_the_wished_distance() -> None:
    scenario, peers = network(9, [(i, i + 1) for i in range(8)])
    chosen = cast(scenario, peers, providers=1, consumers=1)
    assert chosen.hops == (WISHED_HOPS,)


def test_islands_take_no_part() -> None:
    scenario, peers = network(7, [(0, 1), (2, 3), (3, 4), (4, 5), (5, 2)])
    chosen = cast(scenario, peers)
    assert set(chosen.providers) | set(chosen.consumers) <= {2, 3, 4, 5}


@given(
    st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda p: p[0] != p[1]),
        min_size=1,
        max_size=40,
        unique_by=lambda p: (min(p), max(p)),
    )
)
def test_every_consumer_reaches_a_provider_in_the_hops_that_are_told(
    links: list[tuple[int, int]],
) -> None:
    scenario, peers = network(12, links)
    chosen = cast(scenario, peers)
    assert not set(chosen.providers) & set(chosen.consumers)
    away = distances(peers, chosen.providers)
    assert chosen.hops == tuple(away[i] for i in chosen.consumers)
    assert all(hop > 0 for hop in chosen.hops)
    assert len(largest_part(peers)) >= len(chosen.providers) + len(chosen.consumers)
