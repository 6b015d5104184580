"""Datagrams: what is packed is parsed; what is not is refused by name and never raises."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.records import Refusal
from hotspot.overlay.datagrams import (
    CONTROL,
    DATA,
    FROM_INITIATOR,
    MAX_DATAGRAM,
    MAX_HOPS,
    MAX_PAYLOAD,
    NO_SESSION,
    Gossip,
    Probe,
    Routed,
    forward,
    pack_gossip,
    pack_probe,
    pack_routed,
    parse,
)

U32 = st.integers(0, 2**32 - 1)
ROUTES = st.lists(U32, min_size=2, max_size=MAX_HOPS, unique=True)


@given(ROUTES, U32, st.binary(max_size=MAX_PAYLOAD), st.data())
def test_data_round_trip(route: list[int], flow: int, payload: bytes, data: st.DataObject) -> None:
    sessions = data.draw(st.lists(U32, min_size=len(route), max_size=len(route)))
    wire = pack_routed(DATA, FROM_INITIATOR, flow, route, payload, sessions)
    assert len(wire) <= MAX_DATAGRAM
    assert parse(wire) == Routed(
        DATA, FROM_INITIATOR, 1, flow, tuple(route), tuple(sessions), payload
    )


@given(ROUTES, st.binary(max_size=100))
def test_forwarding_walks_the_route_and_changes_nothing_else(
    route: list[int], payload: bytes
) -> None:
    wire = pack_routed(CONTROL, 0, 0, route, payload)
    for position in range(1, len(route)):
        packet = parse(wire)
        assert isinstance(packet, Routed)
        assert (packet.position, packet.route, packet.payload) == (position, tuple(route), payload)
        assert packet.is_at_end == (position == len(route) - 1)
        wire = forward(wire)
    assert isinstance(parse(wire), Refusal)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: b"\x02" + w[1:], "bad_version"),
        (lambda w: w[:1] + b"\x09" + w[2:], "bad_kind"),
        (lambda w: w[:3] + b"\x00" + w[4:], "bad_position"),
        (lambda w: w[:3] + b"\x03" + w[4:], "bad_position"),
        (lambda w: w[:4] + b"\x01" + w[5:], "bad_route"),
        (lambda w: w[:4] + b"\xff" + w[5:], "bad_route"),
        (lambda w: w[:9] + struct.pack(">II", 5, 5) + w[17:], "bad_route"),
        (lambda w: w[:20], "truncated"),
        (lambda w: w + bytes(MAX_DATAGRAM), "too_long"),
        (lambda w: b"", "truncated"),
    ],
)
def test_refusals_name_what_is_wrong(change: object, reason: str) -> None:
    wire = pack_routed(DATA, 0, 7, (1, 2, 3), b"hello", (NO_SESSION, 9, NO_SESSION))
    assert callable(change)
    refusal = parse(change(wire))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


@given(st.binary(max_size=MAX_DATAGRAM + 10))
def test_any_bytes_are_a_packet_or_a_refusal(data: bytes) -> None:
    assert isinstance(parse(data), Routed | Gossip | Probe | Refusal)


@given(st.binary(min_size=1, max_size=40), st.sampled_from([1, 2, 3, 4, 5]))
def test_any_bytes_behind_a_true_header_too(data: bytes, kind: int) -> None:
    assert isinstance(parse(bytes((1, kind)) + data), Routed | Gossip | Probe | Refusal)


def test_probe_and_gossip_round_trip() -> None:
    probe = Probe(True, 5, 1 << 60)
    assert parse(pack_probe(probe)) == probe
    assert parse(pack_gossip(b"news")) == Gossip(b"news")
