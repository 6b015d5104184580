"""Which code reads and writes frames: our own parser, or scapy for those who change the format.

Both are held equal by tests (`hotspot/radio/layer.py` is the reference). scapy is imported only
where it was asked for: it takes 54 MiB and a millisecond a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chain.errors import UserError
from chain.records import Refusal
from hotspot.radio.frame import Heard, build_frame, parse_frame


@dataclass(frozen=True, slots=True)
class Codec:
    """`parse` reads a frame with its radiotap header; `build` takes payload, source, sequence."""

    name: str
    parse: Callable[[bytes], Heard | Refusal]
    build: Callable[[bytes, bytes, int], bytes]


FAST = Codec("fast", parse_frame, build_frame)


def get_codec(name: str) -> Codec:
    """The codec of the settings. ModuleNotFoundError where scapy is asked for and absent."""
    if name == FAST.name:
        return FAST
    from hotspot.radio.layer import craft_frame, dissect_frame

    return Codec("scapy", dissect_frame, craft_frame)


def need_codec(name: str) -> Codec:
    """The codec of the settings. UserError where scapy is asked for and absent."""
    try:
        return get_codec(name)
    except ModuleNotFoundError as error:
        remedy = "install it: pip install 'wavecomb[scapy]', or use fast"
        raise UserError("radio.codec", "scapy isn't installed", remedy) from error
