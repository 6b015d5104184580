"""Keys that nobody knows yet: their first words count, and invented keys cost nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotspot.strangers import ASK_AGAIN_NS, ASKED_MAX, FRAMES_MAX, UNKNOWN_MAX, Strangers


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_a_stranger_said_is_handed_over_with_its_times_once_the_ledger_knows_it() -> None:
    strangers = Strangers()
    assert strangers.keep(key_of(1), b"one", 10), "the ledger is asked"
    assert not strangers.keep(key_of(1), b"two", 20), "once"
    assert strangers.answer(key_of(1), 30, known=True) == [(10, b"one"), (20, b"two")]
    assert strangers.answer(key_of(1), 30, known=True) == []


def test_a_key_that_the_ledger_does_not_know_is_asked_for_again_after_a_minute() -> None:
    strangers = Strangers()
    strangers.keep(key_of(1), b"one", 0)
    assert strangers.answer(key_of(1), 5, known=False) == []
    assert not strangers.keep(key_of(1), b"two", 5 + ASK_AGAIN_NS - 1)
    again_ns = 5 + ASK_AGAIN_NS
    assert strangers.keep(key_of(1), b"three", again_ns)
    assert strangers.answer(key_of(1), again_ns + 4, known=True) == [(again_ns, b"three")]


@given(st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), max_size=400))
def test_memory_is_bounded_whatever_keys_are_invented(story: list[tuple[int, bool]]) -> None:
    strangers = Strangers()
    for now_ns, (number, answered) in enumerate(story):
        for _ in range(3):
            strangers.keep(key_of(number), b"frame", now_ns)
        if answered:
            strangers.answer(key_of(number), now_ns, known=False)
    assert len(strangers._frames) <= ASKED_MAX
    assert all(len(frames) <= FRAMES_MAX for frames in strangers._frames.values())


def test_a_flood_of_invented_keys_forgets_the_oldest_first() -> None:
    strangers = Strangers()
    for number in range(UNKNOWN_MAX + 10):
        assert strangers.keep(key_of(number), b"frame", number)
        strangers.answer(key_of(number), number, known=False)
    assert len(strangers._unknown) == UNKNOWN_MAX
    assert strangers.keep(key_of(0), b"frame", UNKNOWN_MAX + 11), "forgotten, so asked again"
    assert not strangers.keep(key_of(UNKNOWN_MAX), b"frame", UNKNOWN_MAX + 12)
