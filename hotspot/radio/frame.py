"""The beacon on the air: an 802.11 Public Action frame that carries one vendor element.

    radiotap | MAC header 24 | 04 09 OUI | dd length OUI type payload | FCS (if the driver keeps it)

Category 4 (public) action 9 (vendor specific) also leaves an ordinary access point through nl80211,
with no monitor mode; the vendor element makes analysers show no malformed field. The same element
may also stand in an access point's own beacons and probe responses (carrier B). Layout of the
payload: docs/records.md, "The beacon on the air". scapy's view of the same bytes is
`hotspot/radio/layer.py`; tests hold both equal. `parse_frame` meets every frame of the channel, so
it rejects a stranger's after a few comparisons, with refusals made in advance, and it never raises,
whatever the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from chain.records import Refusal
from hotspot.radio.radiotap import (
    BAD_RADIOTAP,
    FLAG_BAD_FCS,
    FLAG_FCS_AT_END,
    TRUNCATED,
    Layout,
    locate,
)

# An administratively assigned identifier (IEEE 802c: low nibble 2 is never handed out to a
# vendor). A network that has bought a CID passes it as `oui` to `build_frame` and `parse_frame`.
# The OUI only sorts frames; the signature decides.
OUI = b"\x52\x57\x43"
ELEMENT_TYPE = 1  # of our vendor elements: a signed payload
VENDOR_ELEMENT = 221

VERSION = 1
KIND_BEACON, KIND_TEST, KIND_CONFIRM = 1, 2, 3  # the last two: hotspot/radio/probe.py
FLAG_CLOCK_SYNCHRONISED = 0x01
KINDS = {KIND_BEACON: "proof of coverage", KIND_TEST: "test", KIND_CONFIRM: "test heard"}
PAYLOAD_BYTES = 141
SIGNED_BYTES = 77
SIGNATURE_BYTES = 64

BROADCAST = b"\xff" * 6
MAC_HEADER_BYTES = 24
FCS_BYTES = 4
PUBLIC_VENDOR_ACTION = b"\x04\x09"

# Head of our element as it nearly always comes: first, and holding one payload.
_OUR_ELEMENT = bytes((VENDOR_ELEMENT, PAYLOAD_BYTES + 4)) + OUI + bytes((ELEMENT_TYPE,))
_ELEMENT_SPAN = len(_OUR_ELEMENT) + PAYLOAD_BYTES

_DOMAIN = b"wavecomb:beacon:v1\n"
_PAYLOAD = struct.Struct(">BB32sII16sQHBQ64s")
# Transmit radiotap: FLAGS (none: no FCS behind, and analysers learn that the preamble is long),
# RATE, TX_FLAGS (no acknowledgement expected).
_TX_RADIOTAP = struct.Struct("<BBHIBBH")
_TX_PRESENT = 1 << 1 | 1 << 2 | 1 << 15
_TX_NO_ACK = 0x0008
_ACTION_FRAME = 0xD0
# Carrier B: beacons and probe responses, with 12 bytes of fixed fields before the elements.
_ANNOUNCEMENTS = (0x80, 0x50)
_ANNOUNCEMENT_FIXED = 12
# Of the second frame control byte an action frame of ours may carry retry, power management and
# more data. Any other (DS bits, fragments, protected, +HTC) moves or hides the body.
_FORBIDDEN_CONTROL = 0xC7

NOT_ACTION = Refusal("not_action", "frame: not a public vendor action frame; nothing to do")
OTHER_VENDOR = Refusal(
    "other_vendor", "frame: the OUI is another vendor's; check the network's oui setting"
)
BAD_FCS = Refusal("bad_fcs", "frame: the driver marks a bad checksum; the signal may be too weak")
NO_ELEMENT = Refusal(
    "no_element", "frame: no element of ours in the body; the sender may be of another version"
)
BAD_LENGTH = Refusal(
    "bad_length", f"payload: not {PAYLOAD_BYTES} bytes; the sender may be of another version"
)
BAD_VERSION = Refusal("bad_version", f"payload: not version {VERSION}; update this hotspot")
BAD_KIND = Refusal("bad_kind", f"payload: not of kind {KIND_BEACON} (beacon); update this hotspot")


@dataclass(frozen=True, slots=True)
class Beacon:
    """What a beacon says; all of it but the signature is signed. Fields: docs/records.md."""

    key: bytes
    epoch: int
    sequence: int
    answer: bytes
    cell: int
    frequency_mhz: int
    flags: int
    time_ns: int
    signature: bytes = bytes(SIGNATURE_BYTES)


class Heard(NamedTuple):
    """A payload off the air, and what the driver said about it; None where it said nothing."""

    payload: bytes
    source: bytes
    rssi_dbm: int | None
    noise_dbm: int | None
    tsft_us: int | None
    frequency_mhz: int | None


def pack_beacon(beacon: Beacon, kind: int = KIND_BEACON) -> bytes:
    """Encode a payload (141 bytes); of another kind than a beacon, the fields mean other things.

    Raises ValueError for a key, answer or signature of a wrong length, struct.error for an integer
    that does not fit its field.
    """
    if (len(beacon.key), len(beacon.answer), len(beacon.signature)) != (32, 16, SIGNATURE_BYTES):
        raise ValueError("beacon: key, answer and signature have 32, 16 and 64 bytes")
    return _PAYLOAD.pack(
        VERSION,
        kind,
        beacon.key,
        beacon.epoch,
        beacon.sequence,
        beacon.answer,
        beacon.cell,
        beacon.frequency_mhz,
        beacon.flags,
        beacon.time_ns,
        beacon.signature,
    )


def signing_message(network_id: bytes, payload: bytes) -> bytes:
    """Return the bytes that a beacon's signature covers; of `payload` only the first 77 count."""
    return _DOMAIN + network_id + payload[:SIGNED_BYTES]


def unpack_beacon(payload: bytes, wanted: int = KIND_BEACON) -> Beacon | Refusal:
    """Read a payload of the kind that is wanted; the signature is not checked here."""
    if len(payload) != PAYLOAD_BYTES:
        return BAD_LENGTH
    version, kind, *fields = _PAYLOAD.unpack(payload)
    if version != VERSION:
        return BAD_VERSION
    if kind != wanted:
        return BAD_KIND
    return Beacon(*fields)


def build_frame(
    payload: bytes, source: bytes, mac_sequence: int, rate_500kbps: int = 2, *, oui: bytes = OUI
) -> bytes:
    """Make a frame ready for injection: transmit radiotap header (12 bytes) and MPDU, no FCS.

    `source` is the sender's own MAC address (the kernel picks the interface by it); `mac_sequence`
    counts frames and wraps at 4,096; the rate is in units of 500 kb/s. Raises ValueError for a
    payload over 251 bytes and for addresses of a wrong length.
    """
    if len(source) != 6 or len(oui) != 3 or len(payload) > 251:
        raise ValueError("frame: source has 6 bytes, oui 3, payload at most 251")
    return b"".join(
        (
            _TX_RADIOTAP.pack(0, 0, _TX_RADIOTAP.size, _TX_PRESENT, 0, rate_500kbps, _TX_NO_ACK),
            bytes((_ACTION_FRAME, 0, 0, 0)),
            BROADCAST,
            source,
            BROADCAST,
            ((mac_sequence & 0xFFF) << 4).to_bytes(2, "little"),
            PUBLIC_VENDOR_ACTION,
            oui,
            bytes((VENDOR_ELEMENT, len(payload) + 4)),
            oui,
            bytes((ELEMENT_TYPE,)),
            payload,
        )
    )


def parse_frame(data: bytes, *, oui: bytes = OUI) -> Heard | Refusal:
    """Read a frame that starts with radiotap. Never raises; a stranger's frame costs under 1 us."""
    size = len(data)
    if size < 8:
        return TRUNCATED
    start = data[2] | data[3] << 8
    if data[0] != 0 or start < 8:
        return BAD_RADIOTAP
    if size <= start + 1:
        return TRUNCATED
    if data[start + 1] & _FORBIDDEN_CONTROL:
        return NOT_ACTION
    if data[start] != _ACTION_FRAME:
        announces = data[start] in _ANNOUNCEMENTS
        return _parse_announcement(data, start, oui) if announces else NOT_ACTION
    body = start + MAC_HEADER_BYTES
    if size < body + 5:
        return TRUNCATED
    if data[body : body + 2] != PUBLIC_VENDOR_ACTION:
        return NOT_ACTION
    if data[body + 2 : body + 5] != oui:
        return OTHER_VENDOR
    layout = locate(data, start)
    if layout is None:
        return BAD_RADIOTAP
    flags = 0 if layout.flags < 0 else data[layout.flags]
    if flags & FLAG_BAD_FCS:
        return BAD_FCS
    end = size - FCS_BYTES if flags & FLAG_FCS_AT_END else size
    first = body + 5
    payload: bytes | Refusal
    if data[first : first + 6] == _OUR_ELEMENT and oui == OUI and first + _ELEMENT_SPAN <= end:
        payload = data[first + 6 : first + _ELEMENT_SPAN]
    else:
        payload = find_payload(data, first, end, oui)
        if isinstance(payload, Refusal):
            return payload
    return _heard(data, layout, payload, data[start + 10 : start + 16])


def _parse_announcement(data: bytes, start: int, oui: bytes) -> Heard | Refusal:
    """Read a beacon or probe response; one without an element of ours is nothing to do."""
    first = start + MAC_HEADER_BYTES + _ANNOUNCEMENT_FIXED
    if data.find(oui + bytes((ELEMENT_TYPE,)), first) < 0:  # nearly every beacon there is
        return NOT_ACTION
    layout = locate(data, start)
    if layout is None:
        return BAD_RADIOTAP
    flags = 0 if layout.flags < 0 else data[layout.flags]
    if flags & FLAG_BAD_FCS:
        return BAD_FCS
    end = len(data) - FCS_BYTES if flags & FLAG_FCS_AT_END else len(data)
    payload = find_payload(data, first, end, oui)
    if isinstance(payload, Refusal):
        return NOT_ACTION
    return _heard(data, layout, payload, data[start + 10 : start + 16])


def find_payload(data: bytes, offset: int, end: int, oui: bytes = OUI) -> bytes | Refusal:
    """Find the payload of our first vendor element among the elements in `data[offset:end]`."""
    mark = oui + bytes((ELEMENT_TYPE,))
    while offset + 2 <= end:
        following = offset + 2 + data[offset + 1]
        if following > end:
            return TRUNCATED
        if data[offset] == VENDOR_ELEMENT and data[offset + 2 : offset + 6] == mark:
            payload = data[offset + 6 : following]
            return payload if len(payload) == PAYLOAD_BYTES else BAD_LENGTH
        offset = following
    return NO_ELEMENT


def _heard(data: bytes, layout: Layout, payload: bytes, source: bytes) -> Heard:
    tsft, _, channel, signal, noise, _ = layout
    return Heard(
        payload,
        source,
        None if signal < 0 else (data[signal] ^ 0x80) - 0x80,
        None if noise < 0 else (data[noise] ^ 0x80) - 0x80,
        None if tsft < 0 else int.from_bytes(data[tsft : tsft + 8], "little"),
        None if channel < 0 else data[channel] | data[channel + 1] << 8,
    )


def describe_frame(data: bytes) -> dict[str, str | int | None] | None:
    """Say in one row what a received frame of ours is; None for any other. As `layer.py` does."""
    heard = parse_frame(data)
    if isinstance(heard, Refusal):
        return None
    _, kind, *fields = _PAYLOAD.unpack(heard.payload)
    said = Beacon(*fields)
    return {
        "kind": KINDS.get(kind, f"kind {kind}"),
        "key": said.key.hex(),
        "epoch": said.epoch,
        "sequence": said.sequence,
        "cell": f"{said.cell:x}",
        "rssi_dbm": heard.rssi_dbm,
        "frequency_mhz": heard.frequency_mhz,
        "source": heard.source.hex(":"),
    }
