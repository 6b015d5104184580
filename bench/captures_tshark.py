"""What tshark makes of a capture, beside our readers: `python -m bench.captures DIR` uses it.

Compared are, of the radiotap header, length, TSFT, frequency, signal and noise (the first of each);
of the frame the transmitter; of a management frame the elements by number and length. tshark also
lists an element that is cut short, and stops where it calls a packet malformed: up to there both
must agree. Frames that it doesn't take for 802.11 are `tshark_unread`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from chain.records import Refusal
from hotspot.radio import dot11, pcap, radiotap

HEADER = {
    "radiotap.length": "length",
    "radiotap.mactime": "tsft_us",
    "radiotap.channel.freq": "frequency_mhz",
    "radiotap.dbm_antsignal": "signal_dbm",
    "radiotap.dbm_antnoise": "noise_dbm",
}
KIND, TRANSMITTER, MALFORMED = "wlan.fc.type_subtype", "wlan.ta", "_ws.malformed"
TAGS, LENGTHS = "wlan.tag.number", "wlan.tag.length"
LINK = "frame.encap_type"  # what tshark lists without one is no packet: a custom block of pcapng
FIELDS = (*HEADER, KIND, TRANSMITTER, TAGS, LENGTHS, MALFORMED, LINK)
SECONDS = 300
# tshark shows the length of extension elements (255) elsewhere, and reads the fields of SAE
# (authentication algorithm 3) by name where scapy and we see elements.
EXTENSION, AUTHENTICATION = 255, 11

Row = dict[str, list[str]]


def find_tshark() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("tshark", path="/usr/bin:/usr/local/bin:/bin")


def read_rows(program: str, path: Path) -> list[Row] | None:
    """Each packet's fields as tshark shows them; None where it can't open the file."""
    command = [program, "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [word for name in FIELDS for word in ("-e", name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    if not rows:
        return None
    listed = [
        {name: cell.split(",") if cell else [] for name, cell in zip(FIELDS, row, strict=True)}
        for row in rows
    ]
    return [row for row in listed if row[LINK]]


def compare_row(packet: pcap.Packet, start: int, row: Row) -> Iterator[str]:
    """Name what differs between us and tshark on one packet; nothing where all is equal.

    `start` is where the frame begins behind a Prism or PPI header.
    """
    data, end = packet.data, len(packet.data)
    if packet.link_type == pcap.LINK_RADIOTAP:
        head = radiotap.parse_radiotap(data)
        if isinstance(head, Refusal):
            return
        for name, field in HEADER.items():
            shown = int(row[name][0], 0) if row[name] else None
            if shown != getattr(head, field):
                yield f"{name}: {shown} there, {getattr(head, field)} here"
        start, end = head.length, end - (4 if head.flags & radiotap.FLAG_FCS_AT_END else 0)
    if not row[KIND]:
        return
    header = dot11.read_mac(data, start, end)
    if isinstance(header, Refusal):
        if not row[MALFORMED] and row[TRANSMITTER]:
            yield f"frame: refused here ({header.reason}), read there"
        return
    yield from _compare_mac(header, row)
    yield from _compare_elements(data, end, header, row)


def _compare_mac(header: dot11.MacHeader, row: Row) -> Iterator[str]:
    ours = None if header.transmitter is None else header.transmitter.hex(":")
    theirs = row[TRANSMITTER][0] if row[TRANSMITTER] else None
    if ours != theirs:
        yield f"transmitter: {theirs} there, {ours} here"


def _compare_elements(
    data: bytes, end: int, header: dot11.MacHeader, row: Row
) -> Iterator[str]:
    offset = dot11.element_start(header)
    if offset is None:
        return
    ours = [(kind, len(body)) for kind, body in dot11.read_elements(data, offset, end)]
    kinds = [int(kind) for kind in row[TAGS]]
    if header.subtype == AUTHENTICATION and not kinds:
        return
    shared = min(len(ours), len(kinds))
    is_cut = len(kinds) == len(ours) + 1 or bool(row[MALFORMED])
    if [kind for kind, _ in ours[:shared]] != kinds[:shared] or (
        len(ours) != len(kinds) and not is_cut
    ):
        yield f"elements: {kinds} there, {ours} here"
    lengths = [length for kind, length in ours if kind != EXTENSION]
    shown = [int(length) for length in row[LENGTHS]]
    both = min(len(lengths), len(shown))
    if lengths[:both] != shown[:both] or (len(shown) < len(lengths) and not is_cut):
        yield f"lengths: {shown} there, {lengths} here"
