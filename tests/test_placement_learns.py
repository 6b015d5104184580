"""Placement: prefixes, slots, busy providers, and what is learned of those who boast."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from routing.placement import BLOCK_TOKENS, PlacementParams, Placer
from routing.placement_turns import ASIDE_TURN, Turn, in_time, is_hopeless, next_turn
from routing.types import AiRequest, Path, Placement, ProviderState

SECOND = 1_000_000


def state(
    hotspot: int, *, speed: int = 1_000, queued: int = 0, running: int = 0, slots: int = 0
) -> ProviderState:
    """A provider that has just reported; it computes `speed` tokens of prompt per second."""
    counts = (running, 0, 50, 0, 0, 0)
    return ProviderState(hotspot, ("m",), *counts, slots, queued, speed, 0)


def placer_of(*states: ProviderState, params: PlacementParams | None = None) -> Placer:
    placer = Placer(params)
    placer.refresh([(s, Path((99, s.hotspot), 1_000, "", "")) for s in states], 1_000)
    return placer


def place(
    placer: Placer, tokens: int = 500, prefix: tuple[int, ...] = (), goal_us: int = 0
) -> Placement:
    request = AiRequest(99, "m", tokens, 100, 0, goal_us, 0, prefix)
    placed = placer.place(request, 1_000)
    assert isinstance(placed, Placement)
    return placed


def serve(placer: Placer, placed: Placement, ttft_us: int) -> None:
    placer.began(placed.ticket, ttft_us)
    placer.ended(placed.ticket, ttft_us + SECOND)


def test_a_prompt_goes_where_its_beginning_was_computed() -> None:
    placer = placer_of(state(1), state(2), state(3))
    shared = tuple(range(10))
    first = place(placer, 6_000, shared)
    serve(placer, first, 6 * SECOND)
    again = place(placer, 6_000, (*shared, 77))
    assert again.provider == first.provider
    assert again.expected_ttft_us < first.expected_ttft_us // 3
    other = place(placer, 6_000, tuple(range(100, 110)))
    assert other.provider != first.provider


def test_memory_of_prompts_is_bounded_and_the_oldest_goes_first() -> None:
    placer = placer_of(state(1), params=PlacementParams(memory_blocks=8))
    for n in range(40):
        serve(placer, place(placer, 2 * BLOCK_TOKENS, (2 * n, 2 * n + 1)), SECOND)
    newest = place(placer, 2 * BLOCK_TOKENS, (78, 79))
    oldest = place(placer, 2 * BLOCK_TOKENS, (0, 1))
    assert newest.expected_ttft_us < oldest.expected_ttft_us


def test_a_provider_without_a_free_slot_is_left_alone() -> None:
    placer = placer_of(state(1, speed=9_000, running=4, slots=4), state(2, speed=1_000, slots=4))
    assert place(placer).provider == 2


def test_a_boaster_loses_its_place_and_is_tried_ever_more_rarely() -> None:
    """Truth: 1 takes ten times what it says. Regret grows like the logarithm of the requests."""
    placer = placer_of(state(1, speed=4_000), state(2, speed=1_000))
    chosen: list[int] = []
    for _ in range(4_000):
        placed = place(placer)
        chosen.append(placed.provider)
        serve(placer, placed, (1_252_000 if placed.provider == 1 else 502_000))
    tries = [chosen[:n].count(1) for n in (125, 500, 2_000, 4_000)]
    assert tries[0] >= 1
    assert tries[3] <= 60
    assert tries[3] - tries[2] <= tries[0] + 5  # two thousand more requests cost as few tries


def test_a_provider_that_got_better_is_found_again() -> None:
    placer = placer_of(state(1, speed=4_000), state(2, speed=1_000))
    for _ in range(200):
        placed = place(placer)
        serve(placer, placed, 1_252_000 if placed.provider == 1 else 502_000)
    chosen = []
    for n in range(3_000):
        if n % 50 == 0:  # a minute has passed
            minute = [(state(1, speed=4_000), 1), (state(2, speed=1_000), 2)]
            ways = [(s, Path((99, hop), 1_000, "", "")) for s, hop in minute]
            placer.refresh(ways, 61_000 + 1_200 * n)
        placed = place(placer)
        chosen.append(placed.provider)
        serve(placer, placed, 127_000 if placed.provider == 1 else 502_000)
    assert chosen[-500:].count(1) > 400


def test_who_is_busy_is_passed_over_until_it_reports_again() -> None:
    placer = placer_of(state(1, speed=4_000), state(2, speed=1_000))
    request = AiRequest(99, "m", 500, 100, 0, 3 * SECOND)
    placed = placer.place(request, 1_000)
    assert isinstance(placed, Placement)
    assert placed.provider == 1
    placer.busy(placed.ticket, request)
    assert place(placer, goal_us=3 * SECOND).provider == 2


def test_requests_of_which_nothing_is_heard_are_forgotten() -> None:
    placer = placer_of(state(1), state(2, speed=900))
    for _ in range(50):
        place(placer)
    assert sum(row["waiting"] for row in placer.summary()) == 50
    late = placer.place(AiRequest(99, "m", 500, 100, 0), 1_000 + placer.params.forget_ms + 1)
    assert not isinstance(late, Refusal)
    assert sum(row["waiting"] for row in placer.summary()) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=120))
def test_counts_never_go_below_zero_whatever_is_told(steps: list[tuple[int, int]]) -> None:
    placer = placer_of(state(1, slots=2), state(2), state(3, queued=400))
    for what, number in steps:
        if what == 0:
            place(placer, 100 + number, (number % 5, number))
        elif what == 1:
            placer.began(number, 1_000 * number)
        else:
            placer.ended(number, 1_000 * number)
    for row in placer.summary():
        assert row["waiting"] >= 0
        assert row["running"] >= 0
        assert row["queue_ms"] >= 0


# --- turns ---------------------------------------------------------------------------------------

TURNS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), min_size=1, max_size=7)


@settings(max_examples=150, deadline=None)
@given(TURNS)
def test_as_many_are_in_time_as_any_order_can_keep(rows: list[tuple[int, int]]) -> None:
    turns = [Turn(n, due, work) for n, (due, work) in enumerate(rows)]
    kept, aside = in_time(turns, 0)
    assert sorted(t.number for t in (*kept, *aside)) == list(range(len(turns)))
    end = 0
    for turn in kept:
        end += turn.work_us
        assert end <= turn.due_us
    best = 0
    for chosen in range(1 << len(turns)):
        some = sorted((t for t in turns if chosen >> t.number & 1), key=lambda t: t.due_us)
        ends = [sum(t.work_us for t in some[: n + 1]) for n in range(len(some))]
        if all(e <= t.due_us for e, t in zip(ends, some, strict=True)):
            best = max(best, len(some))
    assert len(kept) == best


def test_those_aside_get_every_sixteenth_turn() -> None:
    late, soon = Turn(0, 1, 50), Turn(1, 1_000, 5)
    picks = [next_turn([late, soon], 0, count).number for count in range(2 * ASIDE_TURN)]
    assert picks.count(0) == 2
    assert is_hopeless(late, [soon], 0)
    assert not is_hopeless(soon, [late], 0)
