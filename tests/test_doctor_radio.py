"""Does anybody hear me: test frames, the neighbours' answers, and what the doctor says of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.keys import public_key
from chain.records import Refusal
from hotspot.config import HotspotConfig, HotspotSection, LedgerSection, RadioSection
from hotspot.doctor import BAD, DOUBT, GOOD, judge_radio
from hotspot.node import mac_of
from hotspot.radio.codec import FAST, Codec, get_codec
from hotspot.radio.frame import Heard, describe_frame, parse_frame
from hotspot.radio.io_probe import pick_codec, probe
from hotspot.radio.io_radio import MockRadio
from hotspot.radio.layer import dissect_line
from hotspot.radio.probe import (
    ANSWERS_MAX,
    MINUTE_NS,
    MS,
    SPREAD_MS,
    Answerer,
    Confirmation,
    RadioTest,
    make_confirmation,
    make_test,
    read_confirmation,
)
from hotspot.radio.radiotap import build_received

ME, PEER, OTHER = (bytes((n,)) * 32 for n in (1, 2, 3))
CELL = 0x891E35A3393FFFF
CONFIG = HotspotConfig(HotspotSection(cell=f"{CELL:x}"), RadioSection(), LedgerSection())
SCAPY = get_codec("scapy")


def a_test(number: int = 0, seed: bytes = ME, noise: bytes = bytes(16)) -> bytes:
    """The payload of a test frame."""
    return make_test(seed, number, noise, CELL, 2437, 5)





def on_air(payload: bytes, level_dbm: int | None = -70, seed: bytes = ME) -> bytes:
    """The frame as a neighbour's driver hands it up."""
    frame = FAST.build(payload, mac_of(public_key(seed)), 1)
    return build_received(2437, level_dbm) + frame[12:]


def answerer(seed: bytes, codec: Codec = FAST) -> Answerer:
    return Answerer(seed, CELL, 2437, codec.parse, codec.build, mac_of(public_key(seed)))


def answer_to(payload: bytes, *, level_dbm: int | None = -70, codec: Codec = FAST) -> Heard:
    """What we hear of a neighbour's answer, at -64 dBm."""
    peer = answerer(PEER, codec)
    assert peer.receive_frame(on_air(payload, level_dbm), 0)
    (frame,) = peer.handle_deadline(SPREAD_MS * MS)
    heard = parse_frame(build_received(2437, -64) + frame[12:])
    assert not isinstance(heard, Refusal)
    return heard


@pytest.mark.parametrize("codec", [FAST, SCAPY], ids=["fast", "scapy"])
@pytest.mark.parametrize("level_dbm", [-70, None])
def test_a_neighbour_says_how_loud_it_heard_us(codec: Codec, level_dbm: int | None) -> None:
    payload = a_test(2)
    heard = answer_to(payload, level_dbm=level_dbm, codec=codec)
    said = read_confirmation(heard, {payload: 2}, public_key(ME))
    assert said == Confirmation(public_key(PEER), 2, level_dbm, -64)


@settings(max_examples=60)
@given(at=st.integers(0, 140), bit=st.integers(0, 7))
def test_a_changed_bit_makes_an_answer_worthless(at: int, bit: int) -> None:
    payload = a_test()
    heard = answer_to(payload)
    broken = bytearray(heard.payload)
    broken[at] ^= 1 << bit
    said = read_confirmation(
        heard._replace(payload=bytes(broken)), {payload: 0}, public_key(ME)
    )
    assert said is None


def test_answers_to_others_and_our_own_words_confirm_nothing() -> None:
    payload = a_test()
    heard = answer_to(payload)
    assert read_confirmation(heard, {a_test(noise=b"x" * 16): 0}, public_key(ME)) is None
    assert read_confirmation(heard, {payload: 0}, public_key(PEER)) is None
    forged = make_confirmation(OTHER, payload, -10, CELL, 2437, 5)
    swapped = forged[:2] + public_key(PEER) + forged[34:]
    assert read_confirmation(heard._replace(payload=swapped), {payload: 0}, public_key(ME)) is None


def test_answers_are_few_and_spread() -> None:
    peer = answerer(PEER)
    frames = [on_air(a_test(n)) for n in range(2 * ANSWERS_MAX)]
    answered = [peer.receive_frame(frame, n) for n, frame in enumerate(frames)]
    assert answered == [True] * ANSWERS_MAX + [False] * ANSWERS_MAX
    assert not peer.receive_frame(frames[0], MINUTE_NS + 1), "the same test is answered once"
    assert peer.receive_frame(frames[-1], MINUTE_NS + 1)
    due = peer.next_deadline()
    assert due is not None
    assert len(peer.handle_deadline(due)) >= 1
    later = peer.handle_deadline(2 * MINUTE_NS)
    assert peer.answered == ANSWERS_MAX + 1
    assert later
    assert peer.next_deadline() is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: on_air(a_test(seed=PEER), seed=PEER),  # its own
        lambda: on_air(make_confirmation(ME, a_test(), -1, CELL, 2437, 5)),  # an answer
        lambda: on_air(a_test()[:-1] + b"\0"),  # a bad signature
        lambda: on_air(b"\x01\x01" + a_test()[2:]),  # says that it is a beacon
        lambda: b"nonsense",
    ],
)
def test_nothing_else_is_answered(make: Callable[[], bytes]) -> None:
    peer = answerer(PEER)
    assert not peer.receive_frame(make(), 0)
    assert peer.next_deadline() is None


# --- the doctor's side ----------------------------------------------------------------------------


class Air(MockRadio):
    """Hands each sent frame back as an echo, if asked to, and to neighbours, who answer."""

    def __init__(self, *peers: Answerer, echoes: bool) -> None:
        super().__init__()
        self._peers, self._echoes = peers, echoes

    def send(self, frame: bytes, power_step_db: int) -> None:
        super().send(frame, power_step_db)
        if self._echoes:
            self.feed(frame)
        heard = build_received(2437, -77) + frame[12:]
        for peer in self._peers:
            peer.receive_frame(heard, len(self.sent))
            for answer in peer.handle_deadline(len(self.sent) + SPREAD_MS * MS):
                self.feed(build_received(2437, -80) + answer[12:])


@pytest.mark.parametrize("codec", [FAST, SCAPY], ids=["fast", "scapy"])
def test_three_frames_are_sent_echoed_and_confirmed(codec: Codec) -> None:
    radio = Air(answerer(PEER), answerer(OTHER), echoes=True)
    test = probe(radio, ME, CONFIG, 3, codec, 0.05)
    radio.close()
    assert (test.wanted, test.sent, test.refused, test.echoed) == (3, 3, 0, 3)
    assert set(test.peers) == {public_key(PEER), public_key(OTHER)}
    assert [one.heard_dbm for one in test.confirmed] == [-77] * 6
    found = judge_radio(test, {public_key(PEER): 17})
    assert (found.verdict, "hotspot 17 at -77 dBm" in found.seen) == (GOOD, True)
    assert "the ledger is away" in judge_radio(test).seen


def test_the_doctor_tells_silence_from_refusal() -> None:
    lonely = judge_radio(RadioTest(3, 3, 0, 3), {})
    assert (lonely.verdict, "no neighbour answered" in lonely.seen) == (GOOD, True)
    silent = judge_radio(RadioTest(3, 3, 0, 0), {})
    assert (silent.verdict, bool(silent.remedy)) == (DOUBT, True)
    said = (Confirmation(PEER, 0, None, None),)
    assert judge_radio(RadioTest(3, 3, 0, 0, said), {}).verdict == DOUBT, "nobody's word"
    assert judge_radio(RadioTest(3, 3, 0, 0, said), {PEER: 4}).verdict == GOOD
    assert judge_radio(RadioTest(3, 1, 2, 1), {}).verdict == BAD


def test_both_codecs_describe_a_frame_alike() -> None:
    for payload in (a_test(), make_confirmation(PEER, a_test(), -1, CELL, 2437, 5)):
        row = describe_frame(on_air(payload))
        assert row == dissect_line(on_air(payload))
        assert row is not None
        assert str(row["kind"]).startswith("test")
    assert describe_frame(b"") is None


def test_scapy_is_taken_where_it_is_installed() -> None:
    assert pick_codec(None).name == "scapy"
    assert pick_codec("fast") is FAST
