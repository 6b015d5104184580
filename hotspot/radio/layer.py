"""The beacon as a scapy layer: dissect, craft and sniff it with the field's own tool.

    RadioTap / Dot11 / Dot11Action(category=4) / PublicAction / WavecombBeacon

Importing this module teaches scapy the format. It is the reference that `frame.py` is tested
against, and what `--codec scapy` runs on; the always-on daemon never imports it (54 MiB, 1,000
frames/s).
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from scapy.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FlagsField,
    IntField,
    LongField,
    OUIField,
    ShortField,
    XLongField,
    XStrFixedLenField,
)
from scapy.layers.dot11 import (
    Dot11,
    Dot11Action,
    Dot11Beacon,
    Dot11Elt,
    Dot11EltVendorSpecific,
    Dot11FCS,
    Dot11ProbeResp,
    RadioTap,
)
from scapy.packet import Packet, bind_layers

from chain.records import Refusal
from hotspot.radio.frame import (
    BAD_FCS,
    BAD_LENGTH,
    ELEMENT_TYPE,
    KIND_BEACON,
    KINDS,
    NO_ELEMENT,
    NOT_ACTION,
    OTHER_VENDOR,
    OUI,
    PAYLOAD_BYTES,
    VERSION,
    Heard,
)
from hotspot.radio.radiotap import (
    BAD_RADIOTAP,
    FLAG_BAD_FCS,
    FLAG_FCS_AT_END,
    MCS,
    TRUNCATED,
    present_bytes,
    walk,
)

_OUI_NUMBER = int.from_bytes(OUI, "big")
_VENDOR_SPECIFIC = 9
_FORBIDDEN_CONTROL = 0xC7  # DS bits, more fragments, protected, +HTC: as in frame.py
_ELEMENT_BYTES = PAYLOAD_BYTES + 4
_ANNOUNCEMENT_FIXED = 12  # of a beacon or probe response: carrier B's elements stand behind them


class PublicAction(Packet):
    """A Public Action frame's body after the category (IEEE 802.11-2020, 9.6.7)."""

    name = "802.11 Public Action"
    fields_desc: ClassVar[list[Any]] = [
        ByteEnumField("action", _VENDOR_SPECIFIC, {_VENDOR_SPECIFIC: "Vendor Specific"}),
        ConditionalField(OUIField("oui", _OUI_NUMBER), lambda pkt: pkt.action == _VENDOR_SPECIFIC),
    ]

    def guess_payload_class(self, payload: bytes) -> Any:
        """Elements follow where the vendor is ours; another's content is opaque."""
        if self.action == _VENDOR_SPECIFIC and self.oui == _OUI_NUMBER:
            return Dot11Elt
        return Packet.guess_payload_class(self, payload)


class WavecombBeacon(Dot11EltVendorSpecific):
    """Our vendor element with a beacon inside. Fields: docs/records.md, "The beacon on the air"."""

    name = "Wavecomb beacon"
    match_subclass = True
    ID = 221
    oui = _OUI_NUMBER
    fields_desc: ClassVar[list[Any]] = [
        *Dot11EltVendorSpecific.fields_desc[:3],
        ByteField("element_type", ELEMENT_TYPE),
        ByteField("version", VERSION),
        ByteEnumField("kind", KIND_BEACON, KINDS),
        XStrFixedLenField("key", bytes(32), 32),
        IntField("epoch", 0),
        IntField("sequence", 0),
        XStrFixedLenField("answer", bytes(16), 16),
        XLongField("cell", 0),
        ShortField("frequency_mhz", 0),
        FlagsField("flags", 0, 8, ["clock_synchronised"]),
        LongField("time_ns", 0),
        XStrFixedLenField("signature", bytes(64), 64),
    ]

    @classmethod
    def dispatch_hook(cls, _pkt: bytes | None = None, *_args: Any, **_kwargs: Any) -> Any:
        """Choose this class for an element of the right length and type, else the plain one."""
        if _pkt is None or is_beacon_element(_pkt):
            return cls
        return Dot11EltVendorSpecific


class PlainElement(Packet):
    """Any element as (ID, len, info): its dissection can't fail over what a vendor put inside."""

    name = "802.11 element"
    fields_desc = Dot11Elt.fields_desc


bind_layers(Dot11Action, PublicAction, category=4)


def is_beacon_element(element: bytes) -> bool:
    """Tell whether these bytes begin with a whole vendor element that holds one of our payloads."""
    head = bytes((221, _ELEMENT_BYTES)) + OUI + bytes((ELEMENT_TYPE,))
    return element[:6] == head and len(element) >= 2 + _ELEMENT_BYTES


def beacon_layer(payload: bytes) -> WavecombBeacon:
    """Make the element's layer from the 141 bytes of a payload; ValueError for another length."""
    if len(payload) != PAYLOAD_BYTES:
        raise ValueError(f"payload: {len(payload)} bytes instead of {PAYLOAD_BYTES}")
    return WavecombBeacon(bytes((221, _ELEMENT_BYTES)) + OUI + bytes((ELEMENT_TYPE,)) + payload)


def craft_frame(payload: bytes, source: bytes, mac_sequence: int, rate_500kbps: int = 2) -> bytes:
    """Do with scapy what `frame.build_frame` does: transmit radiotap header and MPDU."""
    frame = (
        RadioTap(present="Flags+Rate+TXFlags", Flags=0, Rate=rate_500kbps / 2, TXFlags="NOACK")
        / Dot11(
            type=0,
            subtype=13,
            addr1="ff:ff:ff:ff:ff:ff",
            addr2=source.hex(":"),
            addr3="ff:ff:ff:ff:ff:ff",
            SC=(mac_sequence & 0xFFF) << 4,
        )
        / Dot11Action(category=4)
        / PublicAction()
        / beacon_layer(payload)
    )
    return bytes(frame)


def dissect_frame(data: bytes) -> Heard | Refusal:
    """Do with scapy what `frame.parse_frame` does. Never raises."""
    if len(data) < 8:
        return TRUNCATED
    length = int.from_bytes(data[2:4], "little")
    if data[0] != 0 or length < 8:
        return BAD_RADIOTAP
    if len(data) < length:
        return TRUNCATED
    # Each part apart: scapy reads fields that overrun the header out of the frame behind it.
    header = dissect_header(data, length)
    if header is None:
        return BAD_RADIOTAP
    flags = int(header.Flags or 0)
    mac = _dissect(Dot11FCS if flags & FLAG_FCS_AT_END else Dot11, data[length:])
    announces = mac is not None and isinstance(mac.payload, Dot11Beacon | Dot11ProbeResp)
    refusal = _refuse_control(mac) if announces else _refuse_action(mac)
    if mac is None or refusal is not None:
        return refusal or TRUNCATED
    if flags & FLAG_BAD_FCS:
        return BAD_FCS
    if announces:
        payload = _first_payload(bytes(mac.payload.original)[_ANNOUNCEMENT_FIXED:])
        return NOT_ACTION if isinstance(payload, Refusal) else _heard(header, mac, payload)
    payload = _first_payload(bytes(mac[PublicAction].payload.original))
    return payload if isinstance(payload, Refusal) else _heard(header, mac, payload)


def dissect_header(data: bytes, length: int) -> Packet | None:
    """A radiotap header of `length` bytes by scapy; None where that can't read it.

    scapy pads the MCS field to two bytes, which has none by radiotap.org: behind an odd field it
    looks for one byte more than there is.
    """
    words = present_bytes(data, length)
    fields = [] if words is None else list(walk(words, data[:length]))
    is_whole = bool(fields) and fields[-1].offset + fields[-1].size <= length
    is_odd = any(field.bit == MCS and field.offset % 2 for field in fields)
    spare = b"\0" if is_whole and is_odd else b""
    return _dissect(RadioTap, data[:length] + spare)


def _dissect(kind: type[Packet], data: bytes) -> Packet | None:
    """Dissect with scapy, which raises where the outermost layer is cut short."""
    try:
        return kind(data)
    except (struct.error, IndexError, ValueError, TypeError):
        return None


def _refuse_control(mac: Packet | None) -> Refusal | None:
    if mac is None:
        return TRUNCATED
    return NOT_ACTION if mac.proto or int(mac.FCfield) & _FORBIDDEN_CONTROL else None


def _refuse_action(mac: Packet | None) -> Refusal | None:
    refusal = _refuse_control(mac)
    if mac is None or refusal is not None:
        return refusal
    if (mac.type, mac.subtype) != (0, 13):
        return NOT_ACTION
    body = mac.payload.payload
    if not isinstance(body, PublicAction) or body.action != _VENDOR_SPECIFIC:
        return NOT_ACTION
    return None if body.oui == _OUI_NUMBER else OTHER_VENDOR


def _first_payload(elements: bytes) -> bytes | Refusal:
    mark = OUI + bytes((ELEMENT_TYPE,))
    while len(elements) >= 2:
        element = PlainElement(elements)
        if len(element.info) < element.len:
            return TRUNCATED
        if element.ID == 221 and element.info[:4] == mark:
            return element.info[4:] if element.len == _ELEMENT_BYTES else BAD_LENGTH
        elements = bytes(element.payload)
    return NO_ELEMENT


def _heard(header: Packet, mac: Packet, payload: bytes) -> Heard:
    return Heard(
        payload,
        bytes.fromhex(mac.addr2.replace(":", "")),
        header.dBm_AntSignal,
        header.dBm_AntNoise,
        header.mac_timestamp,
        header.ChannelFrequency,
    )


def dissect_line(data: bytes) -> dict[str, str | int | None] | None:
    """Say in one row what a received beacon is, as scapy reads it; None for any other frame."""
    heard = dissect_frame(data)
    if isinstance(heard, Refusal):
        return None
    beacon = beacon_layer(heard.payload)
    return {
        "kind": KINDS.get(beacon.kind, f"kind {beacon.kind}"),
        "key": beacon.key.hex(),
        "epoch": beacon.epoch,
        "sequence": beacon.sequence,
        "cell": f"{beacon.cell:x}",
        "rssi_dbm": heard.rssi_dbm,
        "frequency_mhz": heard.frequency_mhz,
        "source": heard.source.hex(":"),
    }
