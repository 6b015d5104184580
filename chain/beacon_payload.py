"""The signed payload of a beacon, as far as the ledger must read it: 141 bytes, docs/records.md.

The frame around it, and the fast parser of the always-on daemon, are in hotspot/radio/frame.py;
this is the layout for proofs that somebody signed two beacons with one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from chain.records import Refusal

NAME = "beacon"
PAYLOAD_BYTES = 141
SIGNED_BYTES = 77
_VERSION, _KIND = 1, 1
_LAYOUT = Struct(">BB32sII16sQHBQ64s")


@dataclass(frozen=True, slots=True)
class BeaconPayload:
    """The fields of a payload; `signed` are the bytes that the signature covers."""

    signed: bytes
    key: bytes
    epoch: int
    sequence: int
    answer: bytes
    cell: int
    frequency_mhz: int
    flags: int
    time_ns: int
    signature: bytes


def parse_beacon_payload(payload: bytes) -> BeaconPayload | Refusal:
    """A payload's fields; the signature is not checked here."""
    if len(payload) != PAYLOAD_BYTES:
        return Refusal("bad_evidence", f"payload: {len(payload)} bytes, not {PAYLOAD_BYTES}")
    version, kind, *fields = _LAYOUT.unpack(payload)
    if (version, kind) != (_VERSION, _KIND):
        return Refusal("bad_evidence", f"payload: version {version} kind {kind} is no beacon")
    return BeaconPayload(payload[:SIGNED_BYTES], *fields)
