"""The frame: our bytes, scapy's bytes, and what both make of bytes that others made."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from hotspot.radio import frame, layer, pcap, radiotap

TRUTH = Path(__file__).parents[1] / ".." / "shared" / "ground-truth" / "hotspot"

# One beacon, all fields distinct: the bytes on the air must never change under version 1.
VECTOR = frame.Beacon(
    key=bytes(range(32)),
    epoch=0x01020304,
    sequence=0x05060708,
    answer=bytes(range(16, 32)),
    cell=0x891F1D48177FFFF,
    frequency_mhz=2437,
    flags=1,
    time_ns=0x1112131415161718,
    signature=bytes(range(64)),
)
VECTOR_HEX = (
    "00000c00068000000002080"  # radiotap: no flags, rate 1 Mb/s, no acknowledgement
    "0d0000000ffffffffffff021122334455ffffffffffff3012"
    "0409525743dd9152574301"
    "0101" + bytes(range(32)).hex() + "0102030405060708" + bytes(range(16, 32)).hex() + ""
    "0891f1d48177ffff0985011112131415161718" + bytes(range(64)).hex()
)

beacons = st.builds(
    frame.Beacon,
    key=st.binary(min_size=32, max_size=32),
    epoch=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**32 - 1),
    answer=st.binary(min_size=16, max_size=16),
    cell=st.integers(0, 2**64 - 1),
    frequency_mhz=st.integers(0, 2**16 - 1),
    flags=st.integers(0, 255),
    time_ns=st.integers(0, 2**64 - 1),
    signature=st.binary(min_size=64, max_size=64),
)
sources = st.binary(min_size=6, max_size=6)


def test_the_bytes_on_the_air_are_those_of_version_1() -> None:
    built = frame.build_frame(frame.pack_beacon(VECTOR), bytes.fromhex("021122334455"), 0x123)
    assert built.hex() == VECTOR_HEX


@given(beacon=beacons)
def test_a_payload_survives_packing(beacon: frame.Beacon) -> None:
    payload = frame.pack_beacon(beacon)
    assert len(payload) == frame.PAYLOAD_BYTES
    assert frame.unpack_beacon(payload) == beacon


@given(
    beacon=beacons, field=st.integers(0, frame.PAYLOAD_BYTES - 1), network=st.binary(max_size=32)
)
def test_the_signature_covers_every_byte_but_itself(
    beacon: frame.Beacon, field: int, network: bytes
) -> None:
    payload = frame.pack_beacon(beacon)
    changed = payload[:field] + bytes((payload[field] ^ 1,)) + payload[field + 1 :]
    same = frame.signing_message(network, payload) == frame.signing_message(network, changed)
    assert same == (field >= frame.SIGNED_BYTES)


@pytest.mark.parametrize("field", ["key", "answer", "signature"])
def test_packing_refuses_a_field_of_a_wrong_length(field: str) -> None:
    with pytest.raises(ValueError, match="32, 16 and 64"):
        frame.pack_beacon(replace(VECTOR, **{field: b"short"}))


@given(beacon=beacons, source=sources, sequence=st.integers(0, 1 << 20), rate=st.integers(1, 108))
def test_scapy_builds_the_same_frame(
    beacon: frame.Beacon, source: bytes, sequence: int, rate: int
) -> None:
    payload = frame.pack_beacon(beacon)
    built = frame.build_frame(payload, source, sequence, rate)
    assert built == layer.craft_frame(payload, source, sequence, rate)


@given(beacon=beacons, source=sources)
def test_scapy_dissects_every_field(beacon: frame.Beacon, source: bytes) -> None:
    built = frame.build_frame(frame.pack_beacon(beacon), source, 7)
    seen = layer.RadioTap(built)[layer.WavecombBeacon]
    names = ("key", "epoch", "sequence", "answer", "cell", "frequency_mhz", "time_ns", "signature")
    assert [getattr(seen, name) for name in names] == [getattr(beacon, name) for name in names]
    assert int(seen.flags) == beacon.flags


# --- What a receiver gets ---------------------------------------------------------------------

PAYLOAD = frame.pack_beacon(VECTOR)
SOURCE = b"\x02\x11\x22\x33\x44\x55"
MPDU = frame.build_frame(PAYLOAD, SOURCE, 5)[12:]
# (bit, format) of fields that drivers send; FHSS (bit 4) is apart: scapy 2.8 does not know it and
# misreads what follows, so it has its own test.
RX_FIELDS = (
    (0, "Q"),
    (1, "B"),
    (2, "B"),
    (3, "HH"),
    (5, "b"),
    (6, "b"),
    (7, "H"),
    (11, "B"),
    (14, "H"),
)


def rx_header(values: dict[int, tuple[int, ...]], fields: tuple[tuple[int, str], ...]) -> bytes:
    """Encode a radiotap header from {bit: values}, aligned as the standard asks."""
    body, present = b"", 0
    for bit, form in fields:
        if bit in values:
            align = struct.calcsize("<" + form[0])
            body += bytes(-(8 + len(body)) % align) + struct.pack("<" + form, *values[bit])
            present |= 1 << bit
    return struct.pack("<BBHI", 0, 0, 8 + len(body), present) + body


@st.composite
def rx_headers(draw: st.DrawFn) -> tuple[dict[int, tuple[int, ...]], bytes]:
    """Draw the driver's fields and the header that says them."""
    values: dict[int, tuple[int, ...]] = {}
    for bit, form in RX_FIELDS:
        if draw(st.booleans()):
            values[bit] = tuple(
                draw(st.integers(-128, 127) if letter == "b" else st.integers(0, 200))
                for letter in form
            )
    if 1 in values:
        values[1] = (draw(st.sampled_from([0x00, 0x02, 0x10, 0x12, 0x40, 0x50])),)
    return values, rx_header(values, RX_FIELDS)


@given(header=rx_headers())
def test_a_received_frame_says_what_the_driver_said(
    header: tuple[dict[int, tuple[int, ...]], bytes],
) -> None:
    values, head = header
    flags = values.get(1, (0,))[0]
    heard = frame.parse_frame(head + MPDU + (b"\xfc\xfc\xfc\xfc" if flags & 0x10 else b""))
    if flags & 0x40:
        assert heard == frame.BAD_FCS
        return
    assert heard == frame.Heard(
        PAYLOAD,
        SOURCE,
        values.get(5, (None,))[0],
        values.get(6, (None,))[0],
        values.get(0, (None,))[0],
        values.get(3, (None,))[0],
    )


def test_the_frame_hopping_field_does_not_shift_the_signal() -> None:
    fields = ((1, "B"), (3, "HH"), (4, "H"), (5, "b"), (6, "b"))
    head = rx_header({1: (0,), 3: (2412, 160), 4: (0x5A5A,), 5: (-67,), 6: (-95,)}, fields)
    heard = frame.parse_frame(head + MPDU)
    assert isinstance(heard, frame.Heard)
    assert (heard.rssi_dbm, heard.noise_dbm, heard.frequency_mhz) == (-67, -95, 2412)


def test_of_signals_per_antenna_the_first_counts() -> None:
    words = (1 << 5 | 1 << 29 | 1 << 31, 1 << 5 | 1 << 11)
    body = struct.pack("<bbB", -60, -75, 1)
    head = struct.pack("<BBHII", 0, 0, 12 + len(body), *words) + body
    heard = frame.parse_frame(head + MPDU)
    assert isinstance(heard, frame.Heard)
    assert heard.rssi_dbm == -60


ELEMENT = MPDU[29:]
CASES = {
    "truncated": [
        b"",
        b"\0" * 7,
        b"\0\0\x09" + bytes(5),
        rx_header({}, ()) + MPDU[:28],
        rx_header({}, ()) + MPDU[:-1],
    ],
    "bad_radiotap": [
        b"\1" + rx_header({}, ())[1:] + MPDU,
        struct.pack("<BBHI", 0, 0, 7, 0) + MPDU,
        struct.pack("<BBHI", 0, 0, 8, 1) + MPDU,  # says TSFT, has no room for it
        struct.pack("<BBHI", 0, 0, 8, 1 << 31) + MPDU,  # says another present word, has none
    ],
    "bad_fcs": [rx_header({1: (0x50,)}, RX_FIELDS) + MPDU + bytes(4)],
    "not_action": [
        rx_header({}, ()) + b"\x80" + MPDU[1:],
        rx_header({}, ()) + b"\xd0\x40" + MPDU[2:],
        rx_header({}, ()) + MPDU[:24] + b"\x04\x08" + MPDU[26:],
        rx_header({}, ()) + MPDU[:24] + b"\x7f\x09" + MPDU[26:],
    ],
    "other_vendor": [rx_header({}, ()) + MPDU[:26] + b"\x00\x50\xf2" + MPDU[29:]],
    "no_element": [
        rx_header({}, ()) + MPDU[:29],
        rx_header({}, ()) + MPDU[:29] + b"\xdd\x04\x00\x50\xf2\x01",
        rx_header({}, ()) + MPDU[:29] + b"\xdd\x04" + frame.OUI + b"\x02",
    ],
    "bad_length": [
        rx_header({}, ()) + MPDU[:29] + b"\xdd\x05" + frame.OUI + b"\x01\x00",
        rx_header({}, ()) + MPDU[:29] + b"\xdd\x92" + ELEMENT[2:] + b"\x00",
    ],
}


@pytest.mark.parametrize("reason", CASES)
def test_every_refusal_has_its_reason(reason: str) -> None:
    for data in CASES[reason]:
        refusal = frame.parse_frame(bytes(data))
        assert isinstance(refusal, Refusal)
        assert refusal.reason == reason, data.hex()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "bad_length"),
        (b"\2" + PAYLOAD[1:], "bad_version"),
        (b"\1\2" + PAYLOAD[2:], "bad_kind"),
    ],
)
def test_a_foreign_payload_is_refused(payload: bytes, reason: str) -> None:
    refusal = frame.unpack_beacon(payload)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


def test_our_element_is_found_behind_others() -> None:
    body = MPDU[:29] + b"\x00\x03net" + b"\xdd\x05\x00\x50\xf2\x01\x00" + ELEMENT
    heard = frame.parse_frame(rx_header({}, ()) + body)
    assert isinstance(heard, frame.Heard)
    assert heard.payload == PAYLOAD


def test_another_oui_makes_another_network() -> None:
    other = b"\x0a\x0b\x0c"
    built = frame.build_frame(PAYLOAD, SOURCE, 1, oui=other)
    assert frame.parse_frame(built) == frame.OTHER_VENDOR
    assert isinstance(frame.parse_frame(built, oui=other), frame.Heard)


# --- Bytes that nobody meant ------------------------------------------------------------------


def captured_frames() -> list[bytes]:
    """All radiotap frames of the captures, or none where the folder is absent."""
    return [
        packet.data
        for path in sorted(TRUTH.glob("*/*.*cap"))
        for packet in pcap.read_capture(path.read_bytes())
        if isinstance(packet, pcap.Packet) and packet.link_type == pcap.LINK_RADIOTAP
    ]


SEEDS = [frame.build_frame(PAYLOAD, SOURCE, 9)]
SEEDS += [rx_header({1: (0x10,), 3: (2412, 160), 5: (-70,)}, RX_FIELDS) + MPDU + b"FCS!"]
SEEDS += [rx_header({0: (5,), 1: (0,), 2: (2,), 5: (-70,), 6: (-91,)}, RX_FIELDS) + MPDU]
SEEDS += [data for reason in CASES for data in CASES[reason]]
SEEDS += captured_frames()
OUR_SEEDS = 3


@st.composite
def mutated_frames(draw: st.DrawFn) -> bytes:
    """Draw a frame of ours or of a capture, and break it where the format bends."""
    ours = draw(st.booleans())
    pool = SEEDS[:OUR_SEEDS] if ours else SEEDS
    data = bytearray(draw(st.sampled_from(pool)))
    for _ in range(draw(st.integers(0, 3))):
        if not data:
            break
        head = draw(st.booleans())
        at = draw(st.integers(0, min(len(data), 70 if head else 400) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[at] = draw(st.sampled_from([0, 1, 0x04, 0x09, 0x7F, 0x80, 0xD0, 0xDD, 0xFF]))
            case 2:
                del data[at : at + draw(st.integers(1, 8))]
            case 3:
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case _:
                del data[at:]
    return bytes(data)


# scapy 2.8 places these radiotap fields; it takes others (FHSS among them) for absent.
SCAPY_BITS = sum(1 << bit for bit in (0, 1, 2, 3, 5, 6, 7, 11, 14, 15, 18, 19, 20, 21, 22, 23))


def scapy_reads_radiotap(data: bytes) -> bool:
    """Tell whether the header asks for nothing that scapy can't place."""
    return len(data) < 8 or not int.from_bytes(data[4:8], "little") & ~SCAPY_BITS


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=mutated_frames())
def test_the_fast_parser_and_scapy_agree_on_broken_frames(data: bytes) -> None:
    fast, reference = frame.parse_frame(data), layer.dissect_frame(data)
    if isinstance(fast, frame.Heard) and isinstance(reference, frame.Heard):
        assert (fast.payload, fast.source) == (reference.payload, reference.source)
        if scapy_reads_radiotap(data):
            assert fast == reference
    elif scapy_reads_radiotap(data):
        assert isinstance(fast, Refusal)
        assert isinstance(reference, Refusal)


@settings(max_examples=2000, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), mutated_frames()))
def test_no_bytes_make_the_parsers_raise(data: bytes) -> None:
    assert isinstance(frame.parse_frame(data), frame.Heard | Refusal)
    assert isinstance(radiotap.parse_radiotap(data), radiotap.Radiotap | Refusal)
    assert isinstance(frame.unpack_beacon(data), frame.Beacon | Refusal)
    for packet in pcap.read_capture(data):
        assert isinstance(packet, pcap.Packet | Refusal)
