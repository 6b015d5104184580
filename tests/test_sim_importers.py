"""Importers: each published format, what is repaired, what is dropped and why."""

from __future__ import annotations

import gzip
import json
import lzma
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.errors import UserError
from radio_sim.assemble import links_of, noise_dbm_of
from radio_sim.importers import meshnet_lab
from radio_sim.importers.convert import ImportReport, convert
from radio_sim.importers.io_files import read_network
from radio_sim.importers.network import LINK_KINDS, RawLink, RawNetwork, RawNode
from radio_sim.scenario import Scenario, format_scenario, parse_scenario

FLAT = {
    "timestamp": "2026-01-01T00:00:00+0000",
    "nodes": [
        {"node_id": "aa", "hostname": "roof", "is_online": True,
         "location": {"latitude": 51.31, "longitude": 12.37}},
        {"node_id": "bb", "hostname": "cellar", "is_online": True},
        {"node_id": "cc", "hostname": "off", "is_online": False},
        {"node_id": "dd", "hostname": "roof", "is_online": True,
         "location": {"latitude": 51.312, "longitude": 12.37}},
    ],
    "links": [
        {"source": "aa", "target": "bb", "source_tq": 0.9, "target_tq": 0.8, "type": "wifi"},
        {"source": "aa", "target": "dd", "source_tq": 1, "target_tq": 1, "type": "other"},
        {"source": "aa", "target": "cc", "source_tq": 1, "target_tq": 1, "type": "wifi"},
        {"source": "dd", "target": "aa", "source_tq": 1, "target_tq": 1, "type": "vpn"},
    ],
}
OLD_NODES = {
    "nodes": {
        "aa": {"nodeinfo": {"node_id": "aa", "hostname": "a",
                            "location": {"latitude": 51.31, "longitude": 12.37}},
               "flags": {"online": True}},
        "bb": {"nodeinfo": {"node_id": "bb", "hostname": "b",
                            "location": {"latitude": 51.32, "longitude": 12.37}},
               "flags": {"online": True}},
    }
}
OLD_GRAPH = {
    "batadv": {
        "nodes": [{"id": "x", "node_id": "aa"}, {"id": "y", "node_id": "bb"}],
        "links": [{"source": 0, "target": 1, "tq": 1.25, "vpn": False},
                  {"source": 0, "target": 7, "tq": 1.0}],
    }
}
NETJSON = {
    "type": "NetworkGraph", "protocol": "olsr", "version": "0.6", "metric": "ETX",
    "nodes": [
        {"id": "10.0.0.1", "label": "hill", "properties": {"lat": 45.1, "lng": 8.1}},
        {"id": "10.0.0.2", "properties": {"location": {"latitude": 45.11, "longitude": 8.1}}},
    ],
    "links": [{"source": "10.0.0.1", "target": "10.0.0.2", "cost": 2.0}],
}
NYC_NODES = [
    {"id": 3, "status": "Installed", "coordinates": [-73.98, 40.72, 27]},
    {"id": 4, "status": "Interested", "coordinates": [-73.98, 40.73, 30]},
    {"id": 5, "status": "NN assigned", "coordinates": [-73.97, 40.72, 90]},
    {"id": 6, "status": "Powered Off", "coordinates": [-73.97, 40.73, 9]},
]
NYC_LINKS = [
    {"from": 3, "to": 5, "status": "60GHz"},
    {"from": 3, "to": 6, "status": "active"},
    {"from": 3, "to": 4, "status": "planned"},
]


def write(folder: Path, name: str, document: Any) -> Path:
    path = folder / name
    text = json.dumps(document).encode()
    if name.endswith("gz"):
        text = gzip.compress(text)
    elif name.endswith("xz"):
        text = lzma.compress(text)
    path.write_bytes(text)
    return path


def load(folder: Path, *documents: Any, **options: Any) -> tuple[Scenario, ImportReport]:
    suffixes = ("json", "json.gz", "json.xz")
    paths = [
        write(folder, f"part{n}.{suffixes[n % 3]}", document)
        for n, document in enumerate(documents)
    ]
    return convert(read_network(paths), name="test", **options)


def test_flat_meshviewer(tmp_path: Path) -> None:
    scenario, report = load(tmp_path, FLAT)
    assert [site.name for site in scenario.hotspots] == ["roof", "cellar", "roof-2"]
    assert {(link.a, link.b, link.kind, link.quality) for link in scenario.links} == {
        ("roof", "cellar", "wireless", 0.8),
        ("roof", "roof-2", "wired", 1.0),
    }
    assert report.placed == 1
    assert report.dropped["node offline"] == 1
    assert report.dropped["link to an unknown node"] == 1
    assert report.dropped["link listed twice"] == 1


def test_meshviewer_before_the_flat_form_takes_both_files(tmp_path: Path) -> None:
    scenario, report = load(tmp_path, OLD_GRAPH, OLD_NODES)
    (link,) = scenario.links
    assert (link.a, link.b, link.quality) == ("a", "b", 0.8)
    assert report.dropped["link to an unknown node"] == 1


def test_netjson_cost_is_the_inverse_of_quality(tmp_path: Path) -> None:
    scenario, _ = load(tmp_path, NETJSON)
    assert [site.name for site in scenario.hotspots] == ["hill", "10.0.0.2"]
    assert scenario.links[0].quality == 0.5


def test_nyc_mesh_counts_hubs_and_leaves_out_what_is_off_or_wished_for(tmp_path: Path) -> None:
    scenario, report = load(tmp_path, NYC_NODES, NYC_LINKS)
    assert [(site.name, site.height_m) for site in scenario.hotspots] == [
        ("nn3", 27.0), ("nn5", 90.0)
    ]
    assert len(scenario.links) == 1
    assert report.dropped["node powered off"] == 1
    assert report.dropped["node interested"] == 1
    assert report.dropped["link planned"] == 1


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(50.8, 6.3), (50.6, 6.4)], "lat-lon"),
        ([(6.3, 50.8), (6.4, 50.6)], "lon-lat"),
        ([(-73.9, 40.7), (-74.0, 40.8)], "lat-lon"),  # both may be latitudes: the sets' own order
        ([(-122.4, 37.7)], "lon-lat"),
        ([(37.7, -122.4)], "lat-lon"),
    ],
)
def test_axes_by_plausibility(pairs: list[tuple[float, float]], expected: str) -> None:
    assert meshnet_lab.guess_axis(pairs) == expected


def test_the_axis_can_be_told() -> None:
    document = {"nodes": [{"id": "0", "x": 50.8, "y": 6.3}], "links": []}
    assert meshnet_lab.read([document], "lon-lat").nodes["0"].position == (6.3, 50.8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b\x08broken", "broken archive"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"{}", "format is not known"),
        (b"[]", "format is not known"),
        (b"a,b\n1,2\n", "neither JSON nor CSV"),
        (b"", "neither JSON nor CSV"),
        (b'{"nodes": 5, "type": "NetworkGraph"}', "not a list"),
        (b'{"nodes": [{"id": 1, "x": 5000, "y": 7000}]}', "no degrees"),
        (b'{"nodes": [{"node_id": "a"}], "links": []}', "no node with a position"),
    ],
)
def test_bad_files_give_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        convert(read_network([file]), name="x")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_networks_are_not_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one network at a time"):
        load(tmp_path, FLAT, NETJSON)


def test_a_box_and_a_number_cut_out(tmp_path: Path) -> None:
    boxed, report = load(tmp_path, FLAT, bbox=(51.311, 12.0, 52.0, 13.0))
    assert [site.name for site in boxed.hotspots] == ["roof"]
    assert report.dropped["node outside the box"] == 2
    fewer, _ = load(tmp_path, FLAT, largest=2)
    assert len(fewer.hotspots) == 2
    assert len(fewer.links) == 1


def test_shared_positions_are_spread_apart_and_the_same_each_time() -> None:
    network = RawNetwork("x")
    for n in range(12):
        network.add(RawNode(str(n), f"n{n}", (50.0, 8.0)))
    scenario, report = convert(network, name="x")
    assert report.spread == 11
    metres = [(site.lat * 111_195, site.lon * 71_475) for site in scenario.hotspots]
    apart = min(math.dist(a, b) for n, a in enumerate(metres) for b in metres[n + 1 :])
    assert apart > 50.0
    assert convert(network, name="x")[0] == scenario


keys = st.sampled_from([str(n) for n in range(12)])
text = st.text(max_size=80)
raw_nodes = st.builds(
    RawNode, keys, text,
    st.none() | st.tuples(st.floats(-84, 84), st.floats(-179, 179))
    | st.just((50.0, 8.0)) | st.just((50.0, 8.001)),
    st.none() | st.floats(-100, 9000),
)
raw_links = st.builds(
    RawLink, keys, keys, st.sampled_from(sorted(set(LINK_KINDS.values()))),
    st.none() | st.floats(0, 1),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(raw_nodes, max_size=12), st.lists(raw_links, max_size=20))
def test_whatever_was_published_the_scenario_is_valid_and_nothing_is_lost_silently(
    nodes: list[RawNode], links: list[RawLink]
) -> None:
    network = RawNetwork("x")
    for node in nodes:
        network.add(node)
    network.links.extend(links)
    try:
        scenario, report = convert(network, name="x")
    except UserError:
        assert not any(node.position for node in network.nodes.values())
        return
    assert parse_scenario(format_scenario(scenario)) == scenario
    lost = sum(count for why, count in report.dropped.items() if why.startswith("node"))
    assert report.hotspots + lost == len(nodes)


@pytest.mark.parametrize(
    ("files", "hotspots", "wireless"),
    [
        (["nycmesh_nodes_min.csv.xz", "nycmesh_links.json.xz"], 1700, 1000),
        (["freifunk-leipzig.json.gz"], 190, 250),
        (["freifunk-bielefeld.json.gz"], 230, 190),
        (["freifunk-bremen.json.gz"], 800, 700),
    ],
)
def test_real_networks_arrive_and_their_published_links_carry_beacons(
    ground_truth: Path, files: list[str], hotspots: int, wireless: int
) -> None:
    folder = ground_truth / "routing" / "mesh"
    scenario, report = convert(read_network([folder / name for name in files]), name=files[0])
    assert report.hotspots >= hotspots
    assert report.links["wireless"] >= wireless
    assert parse_scenario(format_scenario(scenario)) == scenario
    links, index = links_of(scenario, 1), scenario.index_of()
    noise = noise_dbm_of(scenario)
    snr = [
        float(links.rssi_of(index[link.a], np.array([index[link.b]]))[0]) - noise
        for link in scenario.links
        if link.kind == "wireless"
    ]
    # 0 dB is where 1 Mb/s loses nothing yet.
    assert np.mean(np.array(snr) >= 0.0) == 1.0
