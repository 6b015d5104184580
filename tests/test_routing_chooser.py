"""Who is in use stays until it may not, or another is clearly better; the reason is said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing.chooser import Chooser

NAMES = ("floor", "plain", "clever")
ROUNDS = st.lists(
    st.tuples(
        st.tuples(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200)),
        st.tuples(st.just(None), *(st.sampled_from([None, "ill"]),) * 2),
    ),
    min_size=1,
    max_size=20,
)


def chooser(start: str = "plain", allowed: tuple[str, ...] = NAMES) -> Chooser:
    return Chooser(start, allowed, "floor", "costs less than")


def choose(
    chooser: Chooser, costs: tuple[int, ...], ills: tuple[str | None, ...] = (None,) * 3
) -> str:
    cost = dict(zip(NAMES, costs, strict=True))
    return chooser.choose(
        dict(zip(NAMES, ills, strict=True)),
        lambda name: (cost[name], NAMES.index(name)),
        lambda name, than: cost[name] * 10 <= cost[than] * 9,
    )


@given(ROUNDS)
def test_nobody_in_use_is_obstructed_or_clearly_beaten(
    rounds: list[tuple[tuple[int, ...], tuple[str | None, ...]]],
) -> None:
    one = chooser()
    for costs, ills in rounds:
        before = one.in_use
        name = choose(one, costs, ills)
        fit = [cost for cost, ill in zip(costs, ills, strict=True) if ill is None]
        cost = costs[NAMES.index(name)]
        assert ills[NAMES.index(name)] is None
        assert min(fit) * 10 > cost * 9 or min(fit) == cost
        if name != before and ills[NAMES.index(before)] is None:
            assert cost * 10 <= costs[NAMES.index(before)] * 9


def test_a_small_gain_changes_nothing_and_a_large_one_is_named() -> None:
    one = chooser()
    assert choose(one, (300, 100, 95)) == "plain"
    assert one.reason == "nothing measured yet"
    assert choose(one, (300, 100, 80)) == "clever"
    assert one.reason == "clever costs less than plain"


def test_an_obstacle_is_the_reason_even_where_the_one_in_use_is_best() -> None:
    one = chooser()
    assert choose(one, (300, 100, 200), (None, "forecast stale", None)) == "clever"
    assert one.reason == "plain: forecast stale"


def test_who_may_not_start_leaves_the_start_to_the_floor() -> None:
    assert chooser("clever", ("floor", "plain")).in_use == "floor"
