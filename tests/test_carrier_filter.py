"""The kernel's filter: what it passes of both carriers, asked of the kernel itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from hotspot.carriers.bpf import carrier_filter
from hotspot.carriers.hostapd import element_of
from hotspot.radio.frame import PAYLOAD_BYTES, build_frame, parse_frame
from hotspot.radio.io_radio import attach_filter
from hotspot.radio.layer import dissect_frame
from hotspot.radio.radiotap import build_received

PAYLOAD = bytes(range(PAYLOAD_BYTES))
AP = b"\x02\xaa\xbb\xcc\xdd\xee"
RADIOTAP = build_received(2437, -61)
RADIOTAP_FCS = bytes.fromhex("00000900020000001" + "0")  # flags only: a checksum stands behind
SSID, VENDOR = b"\x00\x08wavecomb", bytes.fromhex("dd050050f20100")
FIXED = bytes(8) + b"\x64\x00\x01\x04"


def announcement(kind: int, elements: bytes) -> bytes:
    """A beacon (0x80) or probe response (0x50) of an access point, without radiotap and FCS."""
    head = bytes((kind, 0, 0, 0)) + b"\xff" * 6 + AP + AP + b"\x10\x00"
    return head + FIXED + elements


OURS = announcement(0x80, SSID + VENDOR + element_of(PAYLOAD))
ACTION = build_frame(PAYLOAD, AP, 7)


@pytest.fixture(scope="module")
def kernel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a socket pair; the second has our filter, run by the kernel."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    attach_filter(ends[1], carrier_filter())
    ends[1].setblocking(False)
    yield ends
    for end in ends:
        end.close()


def passes(kernel: tuple[socket.socket, socket.socket], frame: bytes) -> bool:
    """Whether the kernel hands this frame up."""
    try:
        kernel[0].send(frame)  # EPERM would mean: filtered
        return kernel[1].recv(4096) == frame
    except (BlockingIOError, PermissionError):
        return False


@pytest.mark.parametrize(
    "frame",
    [
        ACTION,
        RADIOTAP + ACTION[12:],
        RADIOTAP + OURS,
        RADIOTAP_FCS + OURS + b"FCS!",
        RADIOTAP + announcement(0x50, SSID + element_of(PAYLOAD)),
    ],
)
def test_both_carriers_pass_and_are_heard(
    kernel: tuple[socket.socket, socket.socket], frame: bytes
) -> None:
    assert passes(kernel, frame)
    for parse in (parse_frame, dissect_frame):
        heard = parse(frame)
        assert not isinstance(heard, Refusal), heard
        assert (heard.payload, heard.source) == (PAYLOAD, AP)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        RADIOTAP,
        RADIOTAP + OURS[:40],
        RADIOTAP + announcement(0x80, SSID + VENDOR),
        RADIOTAP + announcement(0x80, SSID + element_of(PAYLOAD)[:-1]),
        RADIOTAP + announcement(0x40, SSID + element_of(PAYLOAD)),  # a probe request
        RADIOTAP + b"\xd0" + OURS[1:],
    ],
)
def test_strangers_and_stumps_never_wake_the_daemon(
    kernel: tuple[socket.socket, socket.socket], frame: bytes
) -> None:
    assert not passes(kernel, frame)
    assert isinstance(parse_frame(frame), Refusal)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_the_filter_passes_all_that_the_parser_takes(
    kernel: tuple[socket.socket, socket.socket], data: st.DataObject
) -> None:
    """Frames as hostapd and the kernel make them, broken anywhere: none that is ours is lost."""
    base = data.draw(st.sampled_from([RADIOTAP + OURS, RADIOTAP + ACTION[12:]]))
    broken = bytearray(base)
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(len(RADIOTAP), len(broken) - 1))
        broken[at] ^= 1 << data.draw(st.integers(0, 7))
    frame = bytes(broken)
    heard = parse_frame(frame)
    reference = dissect_frame(frame)
    assert isinstance(heard, Refusal) == isinstance(reference, Refusal)
    if not isinstance(heard, Refusal):
        assert heard == reference
        ends_with_ours = frame.endswith(heard.payload)
        assert passes(kernel, frame) or not ends_with_ours


def test_of_two_elements_the_first_of_ours_counts_and_a_long_one_is_nothing() -> None:
    other = element_of(bytes(PAYLOAD_BYTES))
    heard = parse_frame(RADIOTAP + announcement(0x80, other + element_of(PAYLOAD)))
    assert not isinstance(heard, Refusal)
    assert heard.payload == bytes(PAYLOAD_BYTES)
    long = announcement(0x80, element_of(PAYLOAD + b"x"))
    assert isinstance(parse_frame(RADIOTAP + long), Refusal)
    assert isinstance(dissect_frame(RADIOTAP + long), Refusal)


def test_a_bad_checksum_is_refused_in_either_carrier() -> None:
    bad = bytes.fromhex("000009000200000050")
    for body in (OURS, ACTION[12:]):
        refusal = parse_frame(bad + body + b"FCS!")
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "bad_fcs"
        assert dissect_frame(bad + body + b"FCS!") == refusal
