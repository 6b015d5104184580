"""Radio devices that the kernel takes for real ones: real namespaces, real AF_PACKET sockets."""

from __future__ import annotations

import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.errors import UserError
from hotspot.radio import pcap
from hotspot.radio.frame import Beacon, Heard, build_frame, pack_beacon, parse_frame
from hotspot.radio.io_radio import MockRadio, MonitorRadio, Radio, ReplayRadio, open_radio
from radio_sim.live import io_tap

BEACON = pack_beacon(Beacon(bytes(32), 1, 2, bytes(16), 0x891F1D48177FFFF, 2437, 1, 3))
FRAME = build_frame(BEACON, b"\x02\x11\x22\x33\x44\x55", 1)
RX_HEADER = bytes.fromhex("00000f002a00000000008509a000c5")  # 2437 MHz, -59 dBm
FOREIGN = RX_HEADER + b"\x80" + FRAME[13:-147] + bytes(147)  # somebody's beacon: no element of ours

needs_root = pytest.mark.skipif(
    not io_tap.can_make_radios(),
    reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun",
)


def wait_for(radio: Radio, frames: int, timeout_s: float = 60.0) -> list[bytes]:
    """Receive until so many frames have come or the time is up."""
    heard: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(radio, selectors.EVENT_READ)
        while len(heard) < frames and time.monotonic() < deadline:
            if selector.select(0.1):
                heard += radio.receive()
    return heard


@pytest.fixture
def taps() -> Iterator[list[io_tap.Tap]]:
    """Three radios in three namespaces."""
    names = [io_tap.radio_name(number) for number in range(3)]
    made = []
    try:
        for name in names:
            made.append(io_tap.open_radio_tap(name))  # noqa: PERF401 - what was made must be undone
        yield made
    finally:
        for tap in made:
            tap.close()
        for name in names:
            io_tap.remove_namespace(name)


@pytest.fixture
def radios(taps: list[io_tap.Tap]) -> Iterator[list[MonitorRadio]]:
    """The shipping radio opened on each of them, inside its namespace."""
    opened = []
    for tap in taps:
        with io_tap.inside(tap.interface):
            opened.append(MonitorRadio(tap.interface))
    yield opened
    for radio in opened:
        radio.close()


def read_frame(tap: io_tap.Tap) -> bytes | None:
    """Wait a moment for an injected frame."""
    with selectors.DefaultSelector() as selector:
        selector.register(tap, selectors.EVENT_READ)
        return tap.read() if selector.select(60.0) else None


@pytest.mark.root
@needs_root
def test_a_frame_sent_in_one_namespace_is_heard_in_the_two_others(
    taps: list[io_tap.Tap], radios: list[MonitorRadio]
) -> None:
    radios[0].send(FRAME, 0)
    injected = read_frame(taps[0])
    assert injected == FRAME
    for tap in taps[1:]:
        assert tap.write(RX_HEADER + injected[12:])
    for radio in radios[1:]:
        (heard,) = wait_for(radio, 1)
        parsed = parse_frame(heard)
        assert isinstance(parsed, Heard)
        assert (parsed.payload, parsed.rssi_dbm, parsed.frequency_mhz) == (BEACON, -59, 2437)
    assert radios[0].receive() == []


@pytest.mark.root
@needs_root
def test_the_kernel_passes_only_our_frames(
    taps: list[io_tap.Tap], radios: list[MonitorRadio]
) -> None:
    other_vendor = RX_HEADER + FRAME[12:38] + b"\0\x50\xf2" + FRAME[41:]
    for _ in range(100):
        for frame in (FOREIGN, other_vendor, RX_HEADER, RX_HEADER + b"\xd0" * 20):
            assert taps[1].write(frame)
    assert taps[1].write(RX_HEADER + FRAME[12:])
    assert wait_for(radios[1], 1) == [RX_HEADER + FRAME[12:]]
    assert radios[1].dropped() == 0


@pytest.mark.root
@needs_root
def test_a_burst_is_heard_whole(taps: list[io_tap.Tap], radios: list[MonitorRadio]) -> None:
    for _ in range(4000):
        assert taps[0].write(RX_HEADER + FRAME[12:])
    assert len(wait_for(radios[0], 4000)) == 4000
    assert radios[0].dropped() == 0


@pytest.mark.root
@needs_root
def test_a_radio_that_vanishes_is_counted_not_raised(taps: list[io_tap.Tap]) -> None:
    spare = io_tap.open_radio_tap(io_tap.radio_name(9))
    try:
        with io_tap.inside(spare.interface):
            radio = MonitorRadio(spare.interface)
    finally:
        spare.close()
        io_tap.remove_namespace(spare.interface)
    radio.send(FRAME, 0)
    assert wait_for(radio, 1, 0.3) == []
    assert radio.counts["send_failed"] == 1
    radio.close()


@pytest.mark.root
@needs_root
def test_the_interface_must_be_there_be_radiotap_and_be_up(taps: list[io_tap.Tap]) -> None:
    with pytest.raises(UserError, match="No such device"):
        MonitorRadio("wvc-absent")
    with pytest.raises(UserError, match="link type 772, not 803"):
        MonitorRadio("lo")
    with io_tap.inside(taps[0].interface):
        with io_tap.IPRoute() as route:
            index = route.link_lookup(ifname=taps[0].interface)[0]
            route.link("set", index=index, state="down")
        with pytest.raises(UserError, match="is down"):
            MonitorRadio(taps[0].interface)


@pytest.mark.root
@needs_root
def test_tshark_captures_from_the_device_as_from_a_monitor(taps: list[io_tap.Tap]) -> None:
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed: make system")
    fields = ("radiotap.dbm_antsignal", "wlan.sa", "wlan.tag.vendor.oui.type", "_ws.malformed")
    shown = [part for name in fields for part in ("-e", name)]
    command = [program, "-l", "-n", "-i", taps[0].interface, "-c", "1", "-T", "fields", *shown]
    with io_tap.inside(taps[0].interface):
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60.0
    while watcher.poll() is None and time.monotonic() < deadline:
        taps[0].write(RX_HEADER + FRAME[12:])
        time.sleep(0.05)
    watcher.kill()
    out, _ = watcher.communicate(timeout=60)
    assert out.decode().split() == ["-59", "02:11:22:33:44:55", "1"]


KILLED = """
import os, signal, sys
from radio_sim.live import io_tap
name = io_tap.radio_name(0)
io_tap.open_radio_tap(name)
print(name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.root
@needs_root
def test_cleanup_removes_what_a_killed_run_left_and_nothing_else(taps: list[io_tap.Tap]) -> None:
    for _ in range(5):  # another run that starts just then may clean up first
        left, child = leave_a_namespace()
        cleaned = io_tap.cleanup()
        assert child is None or child.wait(timeout=60) != 0
        remaining = io_tap.our_namespaces()
        assert left not in remaining
        assert {tap.interface for tap in taps} <= set(remaining)
        if child is not None and left in cleaned:
            return
    raise AssertionError("it never cleaned up by itself")


def leave_a_namespace() -> tuple[str, subprocess.Popen[bytes] | None]:
    """The namespace of a run that was killed, and a program in it, if it was still there."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=Path(__file__).parents[1],
    )
    left = done.stdout.strip()
    assert left, done.stderr
    try:
        with io_tap.inside(left):
            return left, subprocess.Popen(["sleep", "600"])
    except FileNotFoundError:
        return left, None


def test_without_permission_the_radio_says_what_to_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(UserError, match="CAP_NET_RAW"):
        open_radio("monitor", "mon0")


def test_a_process_without_capabilities_is_told_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_: "CapEff:\t00000000a80425fb\n")
    with pytest.raises(UserError, match="CAP_NET_ADMIN"):
        io_tap.check_permission()


# --- Radios without a device ------------------------------------------------------------------


def test_a_replay_gives_the_frames_of_its_capture_once(tmp_path: Path) -> None:
    frames = [RX_HEADER + FRAME[12:] + bytes([number % 256]) for number in range(300)]
    path = tmp_path / "heard.pcap"
    path.write_bytes(pcap.write_pcap((number, frame) for number, frame in enumerate(frames)))
    radio = open_radio("replay", str(path))
    assert wait_for(radio, 300) == frames
    assert wait_for(radio, 1, 0.2) == []
    radio.close()


@pytest.mark.parametrize("content", [None, b"text", pcap.write_pcap([(0, b"x")], 1)])
def test_a_replay_without_radiotap_frames_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.pcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"radio.interface: .*bad.pcap"):
        ReplayRadio(path)


def test_a_mock_is_readable_exactly_while_frames_wait() -> None:
    radio = MockRadio()
    assert wait_for(radio, 1, 0.05) == []
    radio.feed(b"a")
    radio.feed(b"b")
    assert wait_for(radio, 2) == [b"a", b"b"]
    assert wait_for(radio, 1, 0.05) == []
    radio.send(FRAME, 3)
    assert radio.sent == [(FRAME, 3)]
    radio.close()


def test_an_unknown_kind_of_radio_is_refused() -> None:
    with pytest.raises(UserError, match=r"radio\.kind"):
        open_radio("lora", "x")
