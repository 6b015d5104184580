"""Compare our parser with scapy and tshark on every 802.11 capture: python -m bench.captures DIR.

Of each radiotap frame: signal, noise, TSFT, flags, frequency, and what `parse_frame` makes of it;
of each 802.11 frame: transmitter address and elements. `equal` counts frames where both agree on
all of it, or both call the frame malformed. Packets of other link types are `skipped`. Where tshark
is installed, `bench/captures_tshark.py` compares with it too. Exit code 1 if anything differs or
raises.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scapy.layers.dot11 import Dot11, Dot11Action, Dot11Elt, Dot11FCS
from scapy.packet import NoPayload, Raw

from bench import captures_tshark
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Progress, print_json, run_command
from chain.records import Refusal
from hotspot.radio import dot11, pcap, radiotap
from hotspot.radio.frame import parse_frame
from hotspot.radio.layer import PlainElement, dissect_frame, dissect_header

GZIP, GZIP_BITS, CHUNK = b"\x1f\x8b", 31, 1 << 16
LINKS = (pcap.LINK_IEEE802_11, pcap.LINK_RADIOTAP, pcap.LINK_PRISM, pcap.LINK_PPI)
TALLY = ("frames", "equal", "different", "exceptions", "skipped", "damaged_files")
TSHARK_TALLY = ("tshark_frames", "tshark_equal", "tshark_different", "tshark_unread")
SCAPY_ERRORS = (struct.error, IndexError, ValueError, TypeError, AttributeError)


def read_packets(path: Path) -> Iterator[pcap.Packet | Refusal]:
    """Read a capture, gzipped or not; of a damaged one what can be read, and a refusal last."""
    try:
        data = path.read_bytes()
    except OSError as error:
        yield Refusal("unreadable", f"capture: {error.strerror}; check the path and its mode")
        return
    if data[:2] != GZIP:
        yield from pcap.read_capture(data)
        return
    whole, problem = inflate(data)
    for packet in pcap.read_capture(whole):
        if not (problem and isinstance(packet, Refusal)):
            yield packet
    if problem:
        yield Refusal("bad_gzip", f"capture: {problem}; the rest is lost")


def inflate(data: bytes) -> tuple[bytes, str]:
    """(what can be unpacked of a gzip file, why no more; empty where that is all of it)."""
    whole = bytearray()
    while data[:2] == GZIP:  # a file may hold several
        member = zlib.decompressobj(GZIP_BITS)
        for at in range(0, len(data), CHUNK):
            before = member.copy()
            try:
                whole += member.decompress(data[at : at + CHUNK])
            except zlib.error as error:
                whole += _inflate_until_error(before, data[at : at + CHUNK])
                return bytes(whole), str(error).rpartition(": ")[2]
        if not member.eof:
            return bytes(whole), "the gzip file ends early"
        data = member.unused_data
    return bytes(whole), ""


def _inflate_until_error(member: Any, data: bytes) -> bytes:
    """What a chunk with an error in it still gives, byte by byte."""
    whole = bytearray()
    with contextlib.suppress(zlib.error):
        for byte in data:
            whole += member.decompress(bytes((byte,)))
    return bytes(whole)


def ours_of_header(data: bytes) -> tuple[Any, ...] | None:
    """(length, flags, TSFT, frequency, signal, noise) by our walk; None for a malformed header."""
    head = radiotap.parse_radiotap(data)
    if isinstance(head, Refusal):
        return None
    fields = (head.tsft_us, head.frequency_mhz, head.signal_dbm, head.noise_dbm)
    return (head.length, head.flags, *fields)


def scapys_of_header(data: bytes) -> tuple[Any, ...] | None:
    """Return the same by scapy, which is given the header alone so that it can't read past it."""
    length = int.from_bytes(data[2:4], "little")
    if len(data) < max(8, length) or data[0] != 0 or length < 8:
        return None
    head = dissect_header(data, length)
    if head is None:
        return None
    fields = (head.mac_timestamp, head.ChannelFrequency, head.dBm_AntSignal, head.dBm_AntNoise)
    return (head.len, int(head.Flags or 0), *fields)


def ours_of_mac(data: bytes, start: int, end: int) -> tuple[Any, ...] | None:
    """(transmitter, elements) by our reader; None for a MAC header cut short."""
    header = dot11.read_mac(data, start, end)
    if isinstance(header, Refusal):
        return None
    offset = dot11.element_start(header)
    elements = [] if offset is None else list(dot11.read_elements(data, offset, end))
    return header.transmitter, elements


def scapys_of_mac(data: bytes, with_fcs: bool) -> tuple[Any, ...] | None:
    """Return the same by scapy, from the MPDU (and its FCS)."""
    if not data:
        return None
    try:
        frame = (Dot11FCS if with_fcs else Dot11)(data)
    except SCAPY_ERRORS:
        return None
    address = getattr(frame, "addr2", None)
    transmitter = None if address is None else bytes.fromhex(address.replace(":", ""))
    return transmitter, scapys_elements(frame)


def scapys_elements(frame: Any) -> list[tuple[int, bytes]]:
    """List the whole elements; where scapy stumbles over one's contents, by its plain element."""
    elements: list[tuple[int, bytes]] = []
    first, layer, rest = b"", frame, None
    while not isinstance(layer, NoPayload):
        raw = bytes(layer.original)
        if isinstance(layer, Dot11Elt):
            if len(raw) < 2:
                break
            first = first or raw
            if rest not in (None, raw):  # the one before took more or less than its length
                return plain_elements(first)
            rest = raw[2 + raw[1] :]
            if len(raw) >= 2 + raw[1]:
                elements.append((raw[0], raw[2 : 2 + raw[1]]))
        elif isinstance(layer, Raw) and takes_elements(layer):
            return plain_elements(first or raw)
        if isinstance(layer, Dot11Action):  # each vendor's own; `beacon` compares ours
            break
        layer = layer.payload
    return elements


def takes_elements(layer: Any) -> bool:
    """Tell whether scapy meant elements where it left raw bytes: it could not read the first."""
    parent = layer.underlayer
    return parent is not None and (Dot11Elt in [kind for _, kind in parent.payload_guess])


def plain_elements(data: bytes) -> list[tuple[int, bytes]]:
    """Split bytes into (id, contents) with scapy's definition of an element."""
    elements: list[tuple[int, bytes]] = []
    while len(data) >= 2:
        element = PlainElement(data)
        if len(element.info) < element.len:
            break
        elements.append((element.ID, bytes(element.info)))
        data = bytes(element.payload)
    return elements


def mac_start(packet: pcap.Packet) -> int:
    """Say where the 802.11 frame begins behind a Prism or PPI header; 0 for others."""
    if packet.link_type == pcap.LINK_PRISM:
        return int.from_bytes(packet.data[4:8], "little")
    if packet.link_type == pcap.LINK_PPI:
        return int.from_bytes(packet.data[2:4], "little")
    return 0


def compare_packet(packet: pcap.Packet) -> list[str]:
    """Name what differs between us and scapy on one packet; empty where all is equal."""
    data, end = packet.data, len(packet.data)
    start = mac_start(packet)
    differences = []
    with_fcs = False
    if packet.link_type == pcap.LINK_RADIOTAP:
        ours = ours_of_header(data)
        if ours != scapys_of_header(data):
            differences.append("radiotap")
        fast, reference = parse_frame(data), dissect_frame(data)
        both_refuse = isinstance(fast, Refusal) and isinstance(reference, Refusal)
        if fast != reference and not both_refuse:
            differences.append("beacon")
        if ours is None:
            return differences
        start, with_fcs = ours[0], bool(ours[1] & radiotap.FLAG_FCS_AT_END)
        end -= 4 if with_fcs else 0
    if ours_of_mac(data, start, end) != scapys_of_mac(data[start:], with_fcs):
        differences.append("mac")
    return differences


def compare_all(paths: Sequence[Path], *, quiet: bool) -> tuple[Counter[str], list[pcap.Packet]]:
    """Compare every packet of the files; returns the tally and the packets that were compared."""
    tally: Counter[str] = Counter(dict.fromkeys(TALLY, 0))
    packets = []
    progress = Progress("captures", len(paths), quiet=quiet)
    for done, path in enumerate(paths):
        progress.update(done, path.name)
        for number, packet in enumerate(read_packets(path)):
            if isinstance(packet, Refusal):
                tally["damaged_files"] += 1
                sys.stderr.write(f"{path.name}: {packet.detail.partition(': ')[2]}\n")
            elif packet.link_type not in LINKS:
                tally["skipped"] += 1
            else:
                packets.append(packet)
                tally["frames"] += 1
                tally[judge(packet, f"{path.name}:{number}")] += 1
    progress.close()
    return tally, packets


def compare_with_tshark(paths: Sequence[Path], *, quiet: bool) -> Counter[str]:
    """Compare every packet of the files with tshark; empty where it is not installed."""
    tally: Counter[str] = Counter()
    program = captures_tshark.find_tshark()
    if program is None:
        return tally
    progress = Progress("tshark", len(paths), quiet=quiet)
    for done, path in enumerate(paths):
        progress.update(done, path.name)
        packets = [packet for packet in read_packets(path) if not isinstance(packet, Refusal)]
        rows = captures_tshark.read_rows(program, path) or []
        for number, (packet, row) in enumerate(zip(packets, rows, strict=False)):
            if packet.link_type in LINKS:
                tally["tshark_frames"] += 1
                tally["tshark_" + judge_row(packet, row, f"{path.name}:{number}")] += 1
    progress.close()
    return tally


def judge_row(packet: pcap.Packet, row: captures_tshark.Row, label: str) -> str:
    """Say `equal`, `different` or `unread`, and print what differs."""
    differences = list(captures_tshark.compare_row(packet, mac_start(packet), row))
    if differences:
        sys.stderr.write(f"{label}: {'; '.join(differences)}\n")
        return "different"
    return "equal" if row[captures_tshark.KIND] else "unread"


def judge(packet: pcap.Packet, label: str) -> str:
    """Say `equal`, `different` or `exceptions`, and print what is wrong."""
    try:
        differences = compare_packet(packet)
    except Exception as error:  # whatever it is, a parser that raises is the finding
        sys.stderr.write(f"{label}: raised {error!r}\n")
        return "exceptions"
    if differences:
        sys.stderr.write(f"{label}: differs in {', '.join(differences)}\n")
    return "different" if differences else "equal"


def frames_per_second(parse: Any, packets: Sequence[pcap.Packet], seconds: float) -> int:
    """Measure a parser on these packets, over and over for about `seconds`."""
    started, parsed = time.perf_counter(), 0
    while packets and time.perf_counter() - started < seconds:
        for packet in packets:
            parse(packet.data)
        parsed += len(packets)
    return int(parsed / (time.perf_counter() - started))


def find_captures(folder: Path) -> list[Path]:
    """List the captures under a folder, by name."""
    suffixes = (".pcap", ".pcapng", ".cap", ".pcap.gz", ".pcapng.gz", ".cap.gz")
    named = (path for path in folder.rglob("*") if path.name.lower().endswith(suffixes))
    return sorted(path for path in named if not path.is_dir())


def main(argv: Sequence[str]) -> int:
    """Run the comparison; the last line with --json is the tally."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.captures",
        description="Compare the frame parser with scapy on every capture in a folder.",
        epilog="example: python -m bench.captures ../shared/ground-truth/hotspot --json",
    )
    parser.add_argument("folder", type=Path, help="folder with pcap, pcapng or cap files (.gz too)")
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to time each parser")
    options = parser.parse_args(argv)
    logging.getLogger("scapy").setLevel(logging.CRITICAL)  # it warns about every odd frame
    if not options.folder.is_dir():
        raise UserError("folder", f"{options.folder} is not a folder", "name one with captures")
    tally, packets = compare_all(find_captures(options.folder), quiet=options.json)
    tally += compare_with_tshark(find_captures(options.folder), quiet=options.json)
    heads = [packet for packet in packets if packet.link_type == pcap.LINK_RADIOTAP]
    names = (*TALLY, *TSHARK_TALLY) if tally["tshark_frames"] else TALLY
    result: dict[str, int] = {name: tally[name] for name in names}
    result["parser_frames_per_s"] = frames_per_second(parse_frame, heads, options.seconds)
    result["scapy_frames_per_s"] = frames_per_second(dissect_frame, heads, options.seconds)
    if options.json:
        print_json(result)
    else:
        print("\n".join(f"{name:<20} {value:>12,}" for name, value in result.items()))
    is_good = tally["equal"] == tally["frames"] and not tally["tshark_different"]
    return EXIT_OK if is_good else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
