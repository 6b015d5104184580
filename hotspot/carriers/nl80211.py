"""The requests that a hotspot makes of nl80211, and what it reads from the answers. Pure.

Carrier A without monitor mode: `NL80211_CMD_FRAME` sends a broadcast Public Action frame from an
ordinary access point or station (cfg80211 asks for no association where the category is public,
net/wireless/mlme.c), and `NL80211_CMD_REGISTER_FRAME` hands us the frames that begin with
`04 09 OUI`. The driver's own word of each frame sent comes as `NL80211_CMD_FRAME_TX_STATUS`.
Frames of this door have no radiotap header; `frame_heard` and `frame_echoed` put one before them,
so that all above sees one kind of frame. Numbers: include/uapi/linux/nl80211.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chain.records import Refusal
from hotspot.carriers.netlink import (
    F_ACK,
    F_DUMP,
    Generic,
    number,
    pack_message,
    read_attributes,
    u32,
)
from hotspot.radio.frame import OUI, PUBLIC_VENDOR_ACTION
from hotspot.radio.radiotap import build_received

FAMILY = "nl80211"
CMD_SET_WIPHY, CMD_GET_INTERFACE, CMD_NEW_INTERFACE = 2, 5, 7
CMD_GET_STATION, CMD_NEW_STATION = 17, 19
CMD_GET_SURVEY, CMD_NEW_SURVEY = 50, 51
CMD_REGISTER_FRAME, CMD_FRAME, CMD_FRAME_TX_STATUS = 58, 59, 60

ATTR_WIPHY, ATTR_IFINDEX, ATTR_IFNAME, ATTR_IFTYPE, ATTR_MAC = 1, 3, 4, 5, 6
ATTR_STA_INFO, ATTR_WIPHY_FREQ, ATTR_FRAME, ATTR_SURVEY_INFO = 21, 38, 51, 84
ATTR_COOKIE, ATTR_FRAME_MATCH, ATTR_ACK = 88, 91, 92
ATTR_TX_POWER_SETTING, ATTR_TX_POWER_LEVEL = 97, 98
ATTR_FRAME_TYPE, ATTR_DONT_WAIT_FOR_ACK, ATTR_RX_SIGNAL_DBM = 101, 142, 151

ACTION_FRAME_TYPE = 0x00D0  # frame control of a management frame, subtype action
POWER_AUTOMATIC, POWER_FIXED = 0, 2
_LIKE_KERNEL = struct.Struct("=H")

NO_FRAME = Refusal("no_frame", "nl80211: the event holds no frame")


@dataclass(frozen=True, slots=True)
class Interface:
    """A wireless interface: its radio, its own address, its channel (None while it has none)."""

    index: int
    wiphy: int
    name: str
    kind: int
    mac: bytes
    frequency_mhz: int | None
    power_cdbm: int | None


@dataclass(frozen=True, slots=True)
class Survey:
    """How busy a channel was; times in ms since the driver began to count, None where unknown."""

    frequency_mhz: int
    in_use: bool
    noise_dbm: int | None
    active_ms: int | None
    busy_ms: int | None
    receive_ms: int | None
    transmit_ms: int | None


@dataclass(frozen=True, slots=True)
class Station:
    """What the driver counts of one peer; signal in dBm, bit rate in kb/s, None where unknown."""

    mac: bytes
    signal_dbm: int | None
    receive_bytes: int
    transmit_bytes: int
    transmit_retries: int
    transmit_failed: int
    transmit_kbps: int | None
    inactive_ms: int | None


# --- requests -------------------------------------------------------------------------------------


def interface_request(family: int, ifindex: int, sequence: int) -> bytes:
    """Ask for one interface."""
    rows = [(ATTR_IFINDEX, u32(ifindex))]
    return pack_message(family, CMD_GET_INTERFACE, rows, flags=F_ACK, sequence=sequence)


def register_request(family: int, ifindex: int, sequence: int, oui: bytes = OUI) -> bytes:
    """Ask for the Public Action frames of our vendor; they come as events to this socket."""
    rows = [
        (ATTR_IFINDEX, u32(ifindex)),
        (ATTR_FRAME_TYPE, _LIKE_KERNEL.pack(ACTION_FRAME_TYPE)),
        (ATTR_FRAME_MATCH, PUBLIC_VENDOR_ACTION + oui),
    ]
    return pack_message(family, CMD_REGISTER_FRAME, rows, flags=F_ACK, sequence=sequence)


def frame_request(
    family: int, ifindex: int, mpdu: bytes, sequence: int, frequency_mhz: int | None = None
) -> bytes:
    """Send a management frame (no radiotap, no FCS). On its own channel an interface names none."""
    rows = [(ATTR_IFINDEX, u32(ifindex)), (ATTR_FRAME, mpdu), (ATTR_DONT_WAIT_FOR_ACK, b"")]
    if frequency_mhz is not None:
        rows.insert(1, (ATTR_WIPHY_FREQ, u32(frequency_mhz)))
    return pack_message(family, CMD_FRAME, rows, flags=F_ACK, sequence=sequence)


def power_request(family: int, ifindex: int, power_cdbm: int | None, sequence: int) -> bytes:
    """Fix the transmit power of the interface's radio, in hundredths of a dBm; None: automatic."""
    setting = POWER_AUTOMATIC if power_cdbm is None else POWER_FIXED
    rows = [(ATTR_IFINDEX, u32(ifindex)), (ATTR_TX_POWER_SETTING, u32(setting))]
    if power_cdbm is not None:
        rows.append((ATTR_TX_POWER_LEVEL, u32(power_cdbm)))
    return pack_message(family, CMD_SET_WIPHY, rows, flags=F_ACK, sequence=sequence)


def survey_request(family: int, ifindex: int, sequence: int) -> bytes:
    """Ask how busy the channels are."""
    rows = [(ATTR_IFINDEX, u32(ifindex))]
    return pack_message(family, CMD_GET_SURVEY, rows, flags=F_DUMP, sequence=sequence)


def stations_request(family: int, ifindex: int, sequence: int) -> bytes:
    """Ask for the peers of an interface."""
    rows = [(ATTR_IFINDEX, u32(ifindex))]
    return pack_message(family, CMD_GET_STATION, rows, flags=F_DUMP, sequence=sequence)


# --- answers --------------------------------------------------------------------------------------


def read_interface(reply: Generic) -> Interface | None:
    """The interface that an answer describes; None for another answer."""
    rows = reply.attributes
    index, wiphy = number(rows.get(ATTR_IFINDEX)), number(rows.get(ATTR_WIPHY))
    if reply.command != CMD_NEW_INTERFACE or index is None or wiphy is None:
        return None
    return Interface(
        index=index,
        wiphy=wiphy,
        name=rows.get(ATTR_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
        kind=number(rows.get(ATTR_IFTYPE)) or 0,
        mac=rows.get(ATTR_MAC, b""),
        frequency_mhz=number(rows.get(ATTR_WIPHY_FREQ)),
        power_cdbm=number(rows.get(ATTR_TX_POWER_LEVEL), signed=True),
    )


def read_survey(reply: Generic) -> Survey | None:
    """One channel of a survey; None for another answer."""
    rows = dict(read_attributes(reply.attributes.get(ATTR_SURVEY_INFO, b"")))
    frequency_mhz = number(rows.get(1))
    if reply.command != CMD_NEW_SURVEY or frequency_mhz is None:
        return None
    return Survey(
        frequency_mhz=frequency_mhz,
        in_use=3 in rows,
        noise_dbm=number(rows.get(2), signed=True),
        active_ms=number(rows.get(4)),
        busy_ms=number(rows.get(5)),
        receive_ms=number(rows.get(7)),
        transmit_ms=number(rows.get(8)),
    )


def read_station(reply: Generic) -> Station | None:
    """One peer; None for another answer."""
    mac = reply.attributes.get(ATTR_MAC)
    if reply.command != CMD_NEW_STATION or mac is None:
        return None
    rows = dict(read_attributes(reply.attributes.get(ATTR_STA_INFO, b"")))
    rate = dict(read_attributes(rows.get(8, b"")))
    units = number(rate.get(5)) or number(rate.get(1))  # the 32-bit figure, else the 16-bit one
    return Station(
        mac=mac,
        signal_dbm=number(rows.get(7), signed=True),
        receive_bytes=number(rows.get(23)) or number(rows.get(2)) or 0,
        transmit_bytes=number(rows.get(24)) or number(rows.get(3)) or 0,
        transmit_retries=number(rows.get(11)) or 0,
        transmit_failed=number(rows.get(12)) or 0,
        transmit_kbps=None if units is None else 100 * units,
        inactive_ms=number(rows.get(1)),
    )


def frame_heard(event: Generic) -> bytes | Refusal:
    """A frame that a neighbour sent, behind a radiotap header with its channel and level."""
    return _with_header(event, number(event.attributes.get(ATTR_RX_SIGNAL_DBM), signed=True))


def frame_echoed(event: Generic) -> bytes | Refusal:
    """A frame of ours that the driver says it sent: an echo, without a level."""
    return _with_header(event, None)


def _with_header(event: Generic, signal_dbm: int | None) -> bytes | Refusal:
    mpdu = event.attributes.get(ATTR_FRAME)
    if not mpdu:
        return NO_FRAME
    frequency_mhz = number(event.attributes.get(ATTR_WIPHY_FREQ))
    return build_received(frequency_mhz, signal_dbm) + mpdu
