"""Odd capture files: what is whole in them is compared, what isn't costs one line and no more."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest

from bench import captures, captures_tshark
from hotspot.radio import pcap
from hotspot.radio.frame import Heard, parse_frame
from hotspot.radio.layer import dissect_frame
from hotspot.radio.radiotap import parse_radiotap

FRAME = (
    bytes.fromhex("80000000ffffffffffff020000000001020000000001a0b1")
    + bytes(8)
    + bytes.fromhex("64003104" + "000474657374" + "030106")
)
FIELDS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5
HEADER = struct.pack("<BBHIBBHHb", 0, 0, 15, FIELDS, 0, 12, 2437, 160, -50)
PACKETS = [(1_700_000_000_000_000_000 + n, HEADER + FRAME) for n in range(40)]
WHOLE = pcap.write_pcap(PACKETS)


def block(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def enhanced(interface: int, data: bytes) -> bytes:
    head = struct.pack("<IIIII", interface, 0, 0, len(data), len(data))
    return block(6, head + data + b"\0" * (-len(data) % 4))


def several_interfaces() -> bytes:
    """A section with two interfaces, a custom block before the packets and statistics between."""
    section = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    interfaces = [block(1, struct.pack("<HHI", link, 0, 0)) for link in (127, 105)]
    custom = block(0xBAD, struct.pack("<I", 32473) + b"xyz")
    packets = [enhanced(0, HEADER + FRAME), block(5, bytes(12)), enhanced(1, FRAME)]
    return b"".join([section, *interfaces, custom, *packets])


BROKEN = {
    "cut.pcap": (WHOLE[:-7], 39, "ends inside a packet"),
    "cut.pcap.gz": (gzip.compress(WHOLE)[:-60], None, "the gzip file ends early"),
    "crc.pcap.gz": (gzip.compress(WHOLE)[:-8] + bytes(8), 40, "incorrect data check"),
    "end.pcap.gz": (gzip.compress(WHOLE)[:-8], 40, "the gzip file ends early"),
    "head.cap.gz": (b"\x1f\x8b", 0, "the gzip file ends early"),
    "text.cap": (b"hello", 0, "neither pcap nor pcapng"),
    "EMPTY.PCAPNG": (b"", 0, "neither pcap nor pcapng"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_of_a_broken_file_the_whole_packets_are_read_and_one_line_names_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, count, problem = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    tally, packets = captures.compare_all(captures.find_captures(tmp_path), quiet=True)
    assert tally["damaged_files"] == 1
    assert tally["equal"] == tally["frames"] == len(packets)
    assert count is None or len(packets) == count
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: ")
    assert problem in line


def test_a_broken_file_among_good_ones_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pcap.gz").write_bytes(b"\x1f\x8b\x08" + bytes(40))
    (tmp_path / "b.pcap.gz").write_bytes(gzip.compress(WHOLE) + gzip.compress(b""))
    (tmp_path / "c.pcap").mkdir()
    (tmp_path / "d.pcap").symlink_to("nowhere")
    assert captures.main([str(tmp_path), "--json", "--seconds", "0"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["frames"], told["equal"], told["damaged_files"]) == (40, 40, 2)


def test_several_interfaces_and_blocks_that_are_no_packets(tmp_path: Path) -> None:
    path = tmp_path / "many.pcapng"
    path.write_bytes(several_interfaces())
    tally, packets = captures.compare_all([path], quiet=True)
    assert (tally["equal"], [one.link_type for one in packets]) == (2, [127, 105])
    if captures_tshark.find_tshark() is not None:
        tally = captures.compare_with_tshark([path], quiet=True)
        assert (tally["tshark_frames"], tally["tshark_equal"]) == (2, 2)


def odd_mcs(size: int) -> bytes:
    """Flags, channel, signal and, at an odd offset, MCS; with the last bytes left out."""
    fields = struct.pack("<BxHHbBBB", 0, 2437, 0x480, -50, 0x27, 0, 7)[:size]
    present = 1 << 1 | 1 << 3 | 1 << 5 | 1 << 19
    return struct.pack("<BBHI", 0, 0, 8 + len(fields), present) + fields


def test_scapy_reads_an_mcs_field_behind_an_odd_one(our_frame: bytes) -> None:
    heard = parse_frame(odd_mcs(10) + our_frame)
    assert isinstance(heard, Heard)
    assert dissect_frame(odd_mcs(10) + our_frame) == heard
    assert captures.scapys_of_header(odd_mcs(10)) == captures.ours_of_header(odd_mcs(10))


@pytest.mark.parametrize("size", range(7, 10))
def test_one_that_is_cut_is_refused_by_both(size: int, our_frame: bytes) -> None:
    assert captures.scapys_of_header(odd_mcs(size)) is None
    assert captures.ours_of_header(odd_mcs(size)) is None
    assert parse_frame(odd_mcs(size) + our_frame) == dissect_frame(odd_mcs(size) + our_frame)
    assert parse_radiotap(odd_mcs(size)) is not None


@pytest.fixture
def our_frame() -> bytes:
    """A beacon of ours as an MPDU."""
    from hotspot.radio.frame import Beacon, build_frame, pack_beacon

    beacon = Beacon(bytes(32), 1, 2, bytes(16), 0x891F1D48177FFFF, 2437, 1, 3)
    frame = build_frame(pack_beacon(beacon), b"\x02\x11\x22\x33\x44\x55", 1)
    return frame[int.from_bytes(frame[2:4], "little") :]
