"""Captures of runs: pcapng that we, scapy and tshark read back, and the same every time."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import PcapNgReader

from chain.errors import UserError
from chain.params import PRESETS
from hotspot.radio import pcap, pcapng
from hotspot.radio.frame import Heard, parse_frame
from radio_sim.city import make_city
from radio_sim.fleet import build_fleet
from radio_sim.io_capture import open_capture, record_air
from radio_sim.io_cli import main

names = st.text(max_size=20)
packets = st.tuples(
    st.integers(0, 2), st.integers(0, 2**64 - 1), st.binary(max_size=80), names, st.integers(0, 2)
)


@given(st.lists(names, min_size=3, max_size=3), st.lists(packets, max_size=8))
def test_what_is_written_reads_back(
    devices: list[str], written: list[tuple[int, int, bytes, str, int]]
) -> None:
    head = pcapng.file_head(devices, "test", "a run")
    data = head + b"".join(pcapng.packet_block(*packet) for packet in written)
    read = list(pcap.read_capture(data))
    assert read == [pcap.Packet(127, when, frame) for _, when, frame, _, _ in written]
    for packet, (place, _, _, comment, _) in zip(read, written, strict=True):
        assert isinstance(packet, pcap.Packet)
        assert (packet.interface, packet.comment) == (devices[place], comment)


def test_a_time_that_does_not_fit_is_refused() -> None:
    for time_ns in (-1, 1 << 64):
        with pytest.raises(ValueError, match="time_ns"):
            pcapng.packet_block(0, time_ns, b"")


def test_a_comment_too_long_for_its_field_is_cut_between_characters() -> None:
    data = pcapng.file_head(["a"], "test") + pcapng.packet_block(0, 1, b"x", "é" * 40_000)
    (packet,) = pcap.read_capture(data)
    assert isinstance(packet, pcap.Packet)
    assert packet.comment == "é" * (pcapng.COMMENT_MAX_BYTES // 2)


# --- A virtual run ------------------------------------------------------------------------------


def run_of(seed: int, file: io.BytesIO) -> tuple[Counter[str], dict[str, int]]:
    """Fifty virtual seconds of twelve hotspots, captured; the nodes' and the medium's counts."""
    scenario = make_city(12, 3)
    fleet = build_fleet(scenario, seed, "minimal")
    record_air(fleet.world.medium, [site.name for site in scenario.hotspots], file, "a test")
    fleet.run(5 * PRESETS["minimal"].epoch_ms / 1000)
    nodes: Counter[str] = Counter()
    for agent in fleet.agents:
        nodes.update(agent.node.counts)
    return nodes, dict(fleet.world.medium.counts)


@pytest.fixture(scope="module")
def run() -> tuple[bytes, Counter[str], dict[str, int]]:
    """One captured run."""
    file = io.BytesIO()
    nodes, medium = run_of(7, file)
    return file.getvalue(), nodes, medium


def test_the_same_run_makes_the_same_bytes(run: tuple[bytes, object, object]) -> None:
    again = io.BytesIO()
    run_of(7, again)
    assert again.getvalue() == run[0]
    other = io.BytesIO()
    run_of(8, other)
    assert other.getvalue() != run[0]


def test_a_capture_changes_nothing_of_the_run(run: tuple[bytes, Counter[str], object]) -> None:
    scenario = make_city(12, 3)
    fleet = build_fleet(scenario, 7, "minimal")
    fleet.run(5 * PRESETS["minimal"].epoch_ms / 1000)
    recorded = build_fleet(scenario, 7, "minimal")
    record_air(recorded.world.medium, [site.name for site in scenario.hotspots], io.BytesIO(), "")
    recorded.run(5 * PRESETS["minimal"].epoch_ms / 1000)
    assert fleet.summary() == recorded.summary()


def test_every_frame_sent_and_every_frame_heard_is_in_the_capture_once(
    run: tuple[bytes, Counter[str], dict[str, int]],
) -> None:
    data, nodes, medium = run
    found = [item for item in pcap.read_capture(data) if isinstance(item, pcap.Packet)]
    sent = [item for item in found if item.comment.startswith("sent")]
    heard = [item for item in found if item.comment.startswith("from")]
    assert len(sent) == medium["sent"] == nodes["beacons"] > 0
    assert len(heard) == medium["delivered"] > len(sent)
    assert len({(item.interface, item.comment) for item in found}) == len(found)
    times = [item.time_ns for item in found]
    assert times == sorted(times)
    for item in heard:
        seen = parse_frame(item.data)
        assert isinstance(seen, Heard)
        assert seen.rssi_dbm is not None
        assert seen.noise_dbm is not None
        sinr_db = float(item.comment.split("SINR ")[1].split(" dB")[0])
        assert seen.rssi_dbm - seen.noise_dbm == pytest.approx(sinr_db, abs=1.1)


def test_scapy_and_tshark_read_the_run(
    run: tuple[bytes, object, object], tmp_path: Path
) -> None:
    path = tmp_path / "run.pcapng"
    path.write_bytes(run[0])
    found = [item for item in pcap.read_capture(run[0]) if isinstance(item, pcap.Packet)]
    with PcapNgReader(str(path)) as reader:
        assert [bytes(frame) for frame in reader] == [item.data for item in found]
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed: make system")
    shown = ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"]
    done = subprocess.run(
        [program, "-n", "-r", str(path), *shown], capture_output=True, text=True, check=True,
        timeout=120,
    )  # fmt: skip
    rows = [tuple(line.split("\t")) for line in done.stdout.splitlines()]
    assert rows == [(item.interface, item.comment) for item in found]
    bad = [program, "-n", "-r", str(path), "-Y", "_ws.malformed || wlan.fcs.status == 0"]
    done = subprocess.run(bad, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == ""


# --- The command --------------------------------------------------------------------------------


def test_the_command_writes_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.pcapng"
    arguments = ["run", "builtin:city:6", "--preset", "minimal", "--seconds", "40", "--json"]
    assert main([*arguments, "--pcapng", str(path)]) == 0
    assert "digest" in capsys.readouterr().out
    assert len(list(pcap.read_capture(path.read_bytes()))) > 10


def test_a_path_that_cannot_be_written_is_one_line_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--pcapng"), open_capture(tmp_path / "no" / "run.pcapng"):
        pass
