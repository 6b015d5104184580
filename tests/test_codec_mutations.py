"""Frames that nobody meant, by the hundred thousand: no reader raises, and scapy agrees.

Mutations are drawn from counter hashes: a failure's number is its seed. CI makes 100,000, the soak
2,000,000; WAVECOMB_MUTATIONS asks for another number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from bench import captures
from chain.records import Refusal
from hotspot.carriers.hostapd import element_of
from hotspot.radio import dot11, frame, pcap, radiotap
from hotspot.radio.layer import dissect_frame

TRUTH = Path(__file__).parents[1] / ".." / "shared" / "ground-truth" / "hotspot"
PAYLOAD = frame.pack_beacon(
    frame.Beacon(bytes(range(32)), 5, 2, bytes(16), 0x891F1D48177FFFF, 2437, 1, 3)
)
SOURCE = b"\x02\x11\x22\x33\x44\x55"
MPDU = frame.build_frame(PAYLOAD, SOURCE, 5)[12:]
# TSFT, flags (checksum behind), rate, channel, signal, noise; and two words with two antennas.
FULL = struct.pack("<BBHIQBBHHbb", 0, 0, 24, 0x6F, 77, 0x10, 2, 2437, 160, -61, -95)
CHAINED = struct.pack("<BBHIIbbBB", 0, 0, 16, 0xA0000020, 0x00000820, -60, -66, 1, 0)
BEACON = b"\x80\0\0\0" + b"\xff" * 6 + SOURCE + SOURCE + bytes(2) + bytes(12)
EDGES = bytes((0, 1, 4, 9, 0x10, 0x40, 0x50, 0x7F, 0x80, 0xD0, 0xDD, 0xFF))


def seeds() -> list[bytes]:
    """Frames of ours in both carriers, and all captured ones where they are present."""
    made = [
        frame.build_frame(PAYLOAD, SOURCE, 5),
        FULL + MPDU + b"FCS!",
        CHAINED + MPDU,
        radiotap.build_received(2437, -70) + BEACON + b"\0\3net" + element_of(PAYLOAD),
        FULL + BEACON + element_of(PAYLOAD) + element_of(bytes(141)) + b"FCS!",
    ]
    for path in sorted(TRUTH.glob("*/*.*cap")):
        for packet in pcap.read_capture(path.read_bytes()):
            if isinstance(packet, pcap.Packet) and packet.link_type == pcap.LINK_RADIOTAP:
                made.append(packet.data[:400])  # noqa: PERF401 - reads better as it stands
    return made


def mutated(pool: list[bytes], number: int) -> bytes:
    """Mutation `number`: one to three changes, two in three of them within the headers."""
    draws = blake2b(number.to_bytes(8, "big"), digest_size=32).digest()
    ours = draws[0] & 1
    data = bytearray(pool[draws[1] % 5 if ours else int.from_bytes(draws[2:4], "big") % len(pool)])
    for change in range(1 + draws[4] % 3):
        kind, place, head, value = struct.unpack_from(">BHBB", draws, 5 + 5 * change)
        at = place % (min(len(data), 72) if head % 3 else len(data)) if data else 0
        if kind % 5 == 0 and data:
            data[at] ^= 1 << value % 8
        elif kind % 5 == 1 and data:
            data[at] = EDGES[value % len(EDGES)]
        elif kind % 5 == 2:
            del data[at : at + 1 + value % 8]
        elif kind % 5 == 3:
            data[at:at] = draws[24 : 24 + value % 8]
        else:
            del data[at + (value << 1) :]
    return bytes(data)


def read_all(data: bytes) -> None:
    """Every reader of foreign bytes; whatever they are, none may raise."""
    heard = frame.parse_frame(data)
    if isinstance(heard, frame.Heard):
        for kind in (frame.KIND_BEACON, frame.KIND_TEST, frame.KIND_CONFIRM):
            frame.unpack_beacon(heard.payload, kind)
        frame.describe_frame(data)
    head = radiotap.parse_radiotap(data)
    start = 0 if isinstance(head, Refusal) else head.length
    header = dot11.read_mac(data, start, len(data))
    if not isinstance(header, Refusal):
        offset = dot11.element_start(header)
        if offset is not None:
            list(dot11.read_elements(data, offset, len(data)))


def mutations(count: int) -> Iterator[tuple[int, bytes]]:
    pool = seeds()
    for number in range(count):
        yield number, mutated(pool, number)


def run(count: int, every: int) -> tuple[int, int]:
    """(frames that were heard, frames compared with scapy); AssertionError names the number."""
    heard = compared = 0
    for number, data in mutations(count):
        try:
            read_all(data)
        except Exception as error:
            raise AssertionError(f"mutation {number}: {data.hex()}") from error
        is_heard = isinstance(frame.parse_frame(data), frame.Heard)
        heard += is_heard
        if number % every == 0:
            compared += scapy_agrees(number, data, is_heard)
    return heard, compared


# scapy 2.8 places these radiotap fields; it takes others for absent, or misreads what follows.
SCAPY_BITS = sum(1 << bit for bit in (0, 1, 2, 3, 5, 6, 7, 11, 14, 15, 18, 19, 20, 21, 22, 23))


def scapy_agrees(number: int, data: bytes, is_heard: bool) -> bool:
    """Hold scapy's reading against ours, where it can place the header's fields."""
    if len(data) >= 8 and int.from_bytes(data[4:8], "little") & ~SCAPY_BITS:
        return False
    reference = dissect_frame(data)
    said = f"mutation {number}: {data.hex()}"
    assert is_heard == isinstance(reference, frame.Heard), said
    assert not is_heard or frame.parse_frame(data) == reference, said
    return True


def test_a_hundred_thousand_mutations_raise_nothing_and_scapy_agrees() -> None:
    heard, compared = run(100_000, every=50)
    assert heard > 15_000, "mutations that break everything test nothing"
    assert compared > 500


@pytest.mark.slow
@pytest.mark.soak
def test_two_million_mutations() -> None:
    heard, compared = run(int(os.environ.get("WAVECOMB_MUTATIONS", "2000000")), every=100)
    assert heard > 0
    assert compared > 0


def test_tshark_reads_every_capture_as_we_do() -> None:
    if captures.captures_tshark.find_tshark() is None:
        pytest.skip("tshark is not installed: make system")
    if not TRUTH.is_dir():
        pytest.skip("captures not present: ../shared/ground-truth")
    tally = captures.compare_with_tshark(captures.find_captures(TRUTH), quiet=True)
    assert tally["tshark_different"] == 0
    assert tally["tshark_frames"] == 760
    assert tally["tshark_unread"] == 3  # tshark doesn't take them for 802.11


def test_tsharks_other_opinion_would_be_noticed() -> None:
    """The comparison itself: a wrong level, transmitter or element is named."""
    packet = pcap.Packet(pcap.LINK_RADIOTAP, 0, FULL + BEACON + b"\0\3net" + b"FCS!")
    row = {
        "radiotap.length": ["24"],
        "radiotap.mactime": ["77"],
        "radiotap.channel.freq": ["2437"],
        "radiotap.dbm_antsignal": ["-61", "-61"],
        "radiotap.dbm_antnoise": ["-95"],
        "wlan.fc.type_subtype": ["0x0008"],
        "wlan.ta": [SOURCE.hex(":")],
        "wlan.tag.number": ["0"],
        "wlan.tag.length": ["3"],
        "_ws.malformed": [],
    }
    assert list(captures.captures_tshark.compare_row(packet, 0, row)) == []
    for name, cell in (
        ("radiotap.dbm_antsignal", ["-62"]),
        ("radiotap.mactime", []),
        ("wlan.ta", ["00:00:00:00:00:00"]),
        ("wlan.tag.number", ["1"]),
        ("wlan.tag.length", []),
    ):
        assert len(list(captures.captures_tshark.compare_row(packet, 0, {**row, name: cell}))) == 1
