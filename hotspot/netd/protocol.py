"""What may be asked of netd over its socket: four verbs, read strictly. Pure.

    {"verb": "apply", "plan": {...} | null}                    docs/kernel.md; null: clear
    {"verb": "read",  "what": WHAT, "device": NAME}            WHAT: one of READABLE
    {"verb": "power", "device": NAME, "cdbm": 1700 | null}     null: as the driver likes
    {"verb": "frame", "device": NAME, "mhz": 2437 | null, "frame": HEX}

A message is its length (u32, big-endian) and as much JSON, at most MESSAGE_MAX bytes. The answer is
{"ok": true, ...} or {"ok": false, "field": ..., "problem": ..., "remedy": ...}. A frame has to be
a broadcast Public Action frame of our vendor: whoever talks to netd may not send any other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain.errors import UserError
from hotspot.radio.frame import OUI
from routing.kernel.nodeplan import NodePlan, check_device, parse_node_plan

MESSAGE_MAX = 4 << 20
LENGTH = struct.Struct(">I")
READABLE = ("status", "devices", "demand", "links", "kernel", "stations", "survey")
POWER_MAX_CDBM = 3_600  # EIRP limits are below it anywhere that people may transmit
FREQUENCY_MHZ = range(2_400, 7_200)
FRAME_MAX_BYTES = 512
_REMEDY = "see docs/netd.md"
# Frame control of an action frame; then to whom, and which network: everybody, any.
_ACTION, _EVERYBODY = b"\xd0\x00", b"\xff" * 6
_HEADER_BYTES = 24
_PUBLIC_VENDOR = b"\x04\x09"


@dataclass(frozen=True, slots=True)
class Apply:
    """Carry out a plan, or none."""

    plan: NodePlan | None


@dataclass(frozen=True, slots=True)
class Read:
    """Tell something; `device` where it is about one."""

    what: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class Power:
    """Set the transmit power, hundredths of a dBm; None: as the driver likes."""

    device: str
    cdbm: int | None


@dataclass(frozen=True, slots=True)
class Frame:
    """Send a management frame (no radiotap, no checksum)."""

    device: str
    mhz: int | None
    mpdu: bytes


Request = Apply | Read | Power | Frame


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as it goes over the socket."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """Read a message's JSON; UserError if it is none."""
    try:
        message = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise UserError("message", "is no JSON object", _REMEDY)
    return message


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def parse_request(body: bytes) -> Request:
    """Read a request; UserError names what is wrong with it."""
    message = decode(body)
    verb = message.get("verb")
    if not isinstance(verb, str) or verb not in _VERBS:
        raise UserError("verb", "is none of apply, read, power, frame", _REMEDY)
    keys, read = _VERBS[verb]
    if odd := sorted(map(str, message.keys() - keys - {"verb"})):
        raise UserError(odd[0], f"is no field of {verb}", _REMEDY)
    return read(message)


def _apply(message: dict[str, Any]) -> Apply:
    if "plan" not in message:
        raise UserError("plan", "is missing", _REMEDY)
    return Apply(None if message["plan"] is None else parse_node_plan(message["plan"]))


def _read(message: dict[str, Any]) -> Read:
    what = message.get("what")
    if what not in READABLE:
        raise UserError("what", f"is none of {', '.join(READABLE)}", _REMEDY)
    if what in ("stations", "survey"):
        return Read(what, check_device(message.get("device"), "device"))
    if "device" in message:
        raise UserError("device", f"has nothing to do with {what}", _REMEDY)
    return Read(what)


def _power(message: dict[str, Any]) -> Power:
    cdbm = message.get("cdbm")
    if "cdbm" not in message or not (cdbm is None or type(cdbm) is int):
        raise UserError("cdbm", "is no whole number of hundredths of a dBm, nor null", _REMEDY)
    if cdbm is not None and not 0 <= cdbm <= POWER_MAX_CDBM:
        raise UserError("cdbm", f"is not from 0 to {POWER_MAX_CDBM}", _REMEDY)
    return Power(check_device(message.get("device"), "device"), cdbm)


def _frame(message: dict[str, Any]) -> Frame:
    mhz, text = message.get("mhz"), message.get("frame")
    if mhz is not None and (type(mhz) is not int or mhz not in FREQUENCY_MHZ):
        raise UserError("mhz", "is no frequency of Wi-Fi, nor null", _REMEDY)
    try:
        mpdu = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        mpdu = b""
    if not is_our_frame(mpdu):
        problem = "is no broadcast Public Action frame of this network's vendor, in hex"
        raise UserError("frame", problem, _REMEDY)
    return Frame(check_device(message.get("device"), "device"), mhz, mpdu)


def is_our_frame(mpdu: bytes) -> bool:
    """Whether an MPDU is one of the only kind that netd sends for others."""
    everybody = mpdu[4:10] == _EVERYBODY and mpdu[16:22] == _EVERYBODY
    body = mpdu[_HEADER_BYTES:]
    ours = body.startswith(_PUBLIC_VENDOR + OUI + b"\xdd") and len(body) >= 7
    whole = ours and len(body) == 7 + body[6] and body[7:10] == OUI
    return mpdu.startswith(_ACTION) and everybody and whole and len(mpdu) <= FRAME_MAX_BYTES


_VERBS: dict[str, tuple[frozenset[str], Callable[[dict[str, Any]], Request]]] = {
    "apply": (frozenset({"plan"}), _apply),
    "read": (frozenset({"what", "device"}), _read),
    "power": (frozenset({"device", "cdbm"}), _power),
    "frame": (frozenset({"device", "mhz", "frame"}), _frame),
}


def refusal(error: UserError) -> dict[str, Any]:
    """The answer to a request that can't be met."""
    return {"ok": False, "field": error.field, "problem": error.problem, "remedy": error.remedy}
