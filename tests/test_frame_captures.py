"""Frames and headers that others recorded: our readers against scapy, the vectors and tshark."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from bench import captures
from chain.records import Refusal
from hotspot.radio import frame, pcap, radiotap

TRUTH = Path(__file__).parents[1] / ".." / "shared" / "ground-truth" / "hotspot"
SOURCE = b"\x02\x11\x22\x33\x44\x55"
BEACON = frame.Beacon(bytes(32), 1, 2, bytes(16), 0x891F1D48177FFFF, 2437, 1, 3)


@pytest.fixture
def truth() -> Path:
    """The folder of captures and vectors."""
    if not TRUTH.is_dir():
        pytest.skip("captures not present: ../shared/ground-truth")
    return TRUTH


def test_parser_and_scapy_agree_on_every_captured_frame(truth: Path) -> None:
    tally, _ = captures.compare_all(captures.find_captures(truth), quiet=True)
    assert tally["frames"] == 760
    assert tally["equal"] == tally["frames"]
    assert tally["skipped"] == 19  # netlink


# The fields that the radiotap library's own check prints; bit 30 is a vendor's data.
VECTORS: dict[str, list[tuple[int, bytes]]] = {
    "0": [(0, bytes.fromhex("1122334455667788"))],
    "00": [(0, bytes.fromhex("1122334455667788")), (0, bytes.fromhex("aabbccddeeff0011"))],
    "0v0": [
        (0, bytes.fromhex("1122334455667788")),
        (30, bytes.fromhex("ffeeddcc")),
        (0, bytes.fromhex("aabbccddeeff0011")),
    ],
    "1": [(1, b"\x33")],
    "unparsed-vendor": [
        (1, b"\x10"),
        (2, b"\x02"),
        (3, bytes.fromhex("9e09a000")),
        (5, b"\xe3"),
        (11, b"\x05"),
        (14, b"\0\0"),
        (30, b"\xde\xad"),
        (2, b"\x04"),
    ],
}
VECTORS |= dict.fromkeys(("0v0-2", "0v0-3", "0v0-4"), VECTORS["0v0"])


def walked(data: bytes) -> list[tuple[int, bytes]]:
    """List the fields of a header with their bytes; of a vendor namespace its data alone."""
    words = radiotap.present_bytes(data, len(data))
    assert words is not None
    return [
        (bit, data[offset + (6 if bit == 30 else 0) : offset + size])
        for bit, offset, size in radiotap.walk(words, data)
    ]


@pytest.mark.parametrize("name", VECTORS)
def test_the_walk_finds_the_fields_of_the_radiotap_librarys_vectors(truth: Path, name: str) -> None:
    assert walked((truth / "radiotap" / f"{name}.bin").read_bytes()) == VECTORS[name]


def test_the_first_of_repeated_fields_is_the_value(truth: Path) -> None:
    head = radiotap.parse_radiotap((truth / "radiotap" / "00.bin").read_bytes())
    assert isinstance(head, radiotap.Radiotap)
    assert head.tsft_us == 9833440827789222417


def test_a_vendor_namespace_that_overruns_the_header_is_refused(truth: Path) -> None:
    data = (truth / "radiotap" / "malformed-vendor.bin").read_bytes()
    assert radiotap.parse_radiotap(data) == radiotap.BAD_RADIOTAP


# --- Capture files ----------------------------------------------------------------------------

PACKETS = [(1_700_000_000_123_456_789, b"first"), (1_700_000_001_000_000_001, b"")]


def test_a_written_capture_reads_back() -> None:
    read = list(pcap.read_capture(pcap.write_pcap(PACKETS)))
    assert read == [pcap.Packet(127, when, data) for when, data in PACKETS]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_microsecond_capture_of_either_byte_order_reads(order: str) -> None:
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 0x3000_0069)
    data = head + struct.pack(order + "IIII", 5, 6, 2, 2) + b"ab"
    assert list(pcap.read_capture(data)) == [pcap.Packet(105, 5_000_006_000, b"ab")]


def pcapng(order: str) -> bytes:
    """Make a pcapng file: microseconds on interface 0, 2^-10 s with an offset on interface 1."""

    def block(kind: int, body: bytes) -> bytes:
        length = 12 + len(body)
        return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)

    def enhanced(interface: int, ticks: int, data: bytes) -> bytes:
        head = struct.pack(
            order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), 9
        )
        return block(6, head + data + bytes(-len(data) % 4))

    options = struct.pack(order + "HHBxxx", 9, 1, 0x8A) + struct.pack(order + "HHq", 14, 8, 100)
    return (
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        + block(1, struct.pack(order + "HHI", 127, 0, 0))
        + block(1, struct.pack(order + "HHI", 105, 0, 0) + options)
        + enhanced(0, 7_000_001, b"abcde")
        + enhanced(1, 512, b"fg")
        + block(3, struct.pack(order + "I", 3) + b"hij\0")
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pcapng_file_reads(order: str) -> None:
    assert list(pcap.read_capture(pcapng(order))) == [
        pcap.Packet(127, 7_000_001_000, b"abcde"),
        pcap.Packet(105, 100_500_000_000, b"fg"),
        pcap.Packet(127, 0, b"hij"),
    ]


@pytest.mark.parametrize("whole", [pcap.write_pcap(PACKETS[:1] * 2), pcapng("<")])
def test_a_capture_cut_anywhere_keeps_what_came_before(whole: bytes) -> None:
    complete = list(pcap.read_capture(whole))
    for cut in range(4, len(whole)):
        packets = list(pcap.read_capture(whole[:cut]))
        kept = [packet for packet in packets if isinstance(packet, pcap.Packet)]
        assert kept == complete[: len(kept)]
        assert all(isinstance(packet, Refusal) for packet in packets[len(kept) :])


def test_a_file_that_is_no_capture_is_refused() -> None:
    assert list(pcap.read_capture(b"GIF89a")) == [pcap.NOT_A_CAPTURE]


def test_the_bench_reads_gzipped_captures_and_counts_damage(tmp_path: Path) -> None:
    built = frame.build_frame(frame.pack_beacon(BEACON), SOURCE, 1)
    whole = pcap.write_pcap([(0, built), (1, built)])
    (tmp_path / "a.pcap.gz").write_bytes(gzip.compress(whole[:-1]))
    tally, _ = captures.compare_all(captures.find_captures(tmp_path), quiet=True)
    assert (tally["frames"], tally["equal"], tally["damaged_files"]) == (1, 1, 1)


# --- A third party's view ---------------------------------------------------------------------


def tshark(path: Path, *arguments: str) -> str:
    """Run tshark on a capture; skips where it is not installed."""
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed: make system")
    command = [program, "-r", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def test_tshark_reads_our_frame_without_complaint(tmp_path: Path) -> None:
    built = frame.build_frame(frame.pack_beacon(BEACON), SOURCE, 1)
    path = tmp_path / "ours.pcap"
    path.write_bytes(pcap.write_pcap([(1_700_000_000_000_000_000, built)]))
    assert tshark(path, "-Y", "_ws.malformed || _ws.expert") == ""
    fields = ("wlan.fixed.publicact", "wlan.tag.oui", "wlan.tag.vendor.oui.type", "wlan.sa")
    shown = tshark(path, "-T", "fields", *(part for name in fields for part in ("-e", name)))
    action, vendor, kind, source = shown.split()
    assert int(action, 0) == 9
    assert set(vendor.split(",")) == {str(int.from_bytes(frame.OUI, "big"))}
    assert (int(kind, 0), source) == (1, SOURCE.hex(":"))
