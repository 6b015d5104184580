"""What other people's tools see of both carriers: tshark no fault, airodump-ng every hotspot."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors_helpers import wait_for
from test_frame_captures import tshark

from hotspot.carriers.hostapd import element_of
from hotspot.node import mac_of
from hotspot.radio.frame import OUI, Beacon, build_frame, pack_beacon
from hotspot.radio.pcap import write_pcap
from hotspot.radio.radiotap import build_received
from radio_sim.live import io_tap

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not io_tap.can_make_radios(),
    reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun",
)
KEYS = [bytes((n,)) * 32 for n in range(5)]
RATES, CHANNEL = b"\x01\x04\x82\x84\x8b\x96", b"\x03\x01\x06"
FIXED = bytes(8) + b"\x64\x00\x01\x04"


def payload_of(key: bytes) -> bytes:
    return pack_beacon(Beacon(key, 5, 0, bytes(16), 0x891F1D48177FFFF, 2437, 1, 3))


def carrier_a(key: bytes, number: int) -> bytes:
    """A Public Action frame, as a neighbour's monitor hears it."""
    frame = build_frame(payload_of(key), mac_of(key), number)
    return build_received(2437, -50 - key[0]) + frame[12:]


def carrier_b(key: bytes, number: int) -> bytes:
    """An access point's beacon with our element in it."""
    mac = mac_of(key)
    head = b"\x80\0\0\0" + b"\xff" * 6 + mac + mac + (number << 4 & 0xFFFF).to_bytes(2, "little")
    body = b"\x00\x05spot%d" % key[0] + RATES + CHANNEL + element_of(payload_of(key))
    return build_received(2437, -50 - key[0]) + head + FIXED + body


@pytest.mark.parametrize("carrier", [carrier_a, carrier_b])
def test_tshark_finds_nothing_malformed_and_our_element(tmp_path: Path, carrier: object) -> None:
    path = tmp_path / "both.pcap"
    frames = [carrier(key, n) for n, key in enumerate(KEYS)]  # type: ignore[operator]
    path.write_bytes(write_pcap([(n, frame) for n, frame in enumerate(frames)]))
    assert tshark(path, "-Y", "_ws.malformed || _ws.expert") == ""
    number = int.from_bytes(OUI, "big")
    shown = tshark(path, "-Y", f"wlan.tag.oui == {number}", "-T", "fields", "-e", "wlan.ta")
    assert shown.split() == [mac_of(key).hex(":") for key in KEYS]


@pytest.fixture
def tap() -> Iterator[io_tap.Tap]:
    made = io_tap.open_radio_tap(io_tap.radio_name(61))
    try:
        yield made
    finally:
        made.close()
        io_tap.netns.remove(made.interface)


def airodump(tap: io_tap.Tap, folder: Path, carrier: object) -> list[list[str]]:
    """The lines of airodump-ng's table of what it heard on the device."""
    program = shutil.which("airodump-ng", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("airodump-ng is not installed; run: make system")
    table = folder / "seen-01.csv"
    words = ["--background", "1", "--write", str(folder / "seen"), "--output-format", "csv"]
    with (folder / "log").open("w") as log, io_tap.inside(tap.interface):
        process = subprocess.Popen(
            [program, *words, "--write-interval", "1", tap.interface],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    number = 0

    def everyone_listed() -> list[list[str]]:
        nonlocal number
        for key in KEYS:
            tap.write(carrier(key, number))  # type: ignore[operator]
        number += 1
        time.sleep(0.05)
        rows = [row for row in csv.reader(table.read_text().splitlines()) if len(row) > 3]
        macs = {row[0].strip().lower() for row in rows}
        return rows if {mac_of(key).hex(":") for key in KEYS} <= macs else []

    try:
        rows: list[list[str]] = wait_for("airodump-ng", everyone_listed, 30)
        return rows
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(120)


@pytest.mark.root
@needs_root
def test_airodump_lists_the_hotspots_of_carrier_a_as_stations(
    tap: io_tap.Tap, tmp_path: Path
) -> None:
    rows = airodump(tap, tmp_path, carrier_a)
    power = {row[0].strip().lower(): int(row[3]) for row in rows if row[3].strip().startswith("-")}
    for key in KEYS:  # its average moves by a dB or two
        assert abs(power[mac_of(key).hex(":")] - (-50 - key[0])) <= 3


@pytest.mark.root
@needs_root
def test_airodump_lists_the_hotspots_of_carrier_b_as_access_points(
    tap: io_tap.Tap, tmp_path: Path
) -> None:
    rows = airodump(tap, tmp_path, carrier_b)
    names = {row[0].strip().lower(): row[13].strip() for row in rows if len(row) > 13}
    for key in KEYS:
        assert names[mac_of(key).hex(":")] == f"spot{key[0]}"
