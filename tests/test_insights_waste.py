"""What a mesh wastes: each kind found where it is, with its figures, and nowhere else."""

import numpy as np
import pytest

from routing.insights.grid import DAY, GRID_MS, Grid, grid_of
from routing.insights.insight import ADVICE, IMPORTANT, URGENT, Insight, ranked, text_of
from routing.insights.waste import LEAST_STEPS, Usage, far_providers, waste_of
from routing.telemetry.long_history import LongHistory
from routing.telemetry.second import FIELDS, Telemetry

MINUTE = 60_000


def mesh(steps=DAY, **links):
    """A grid of links named a_b, each a dict of fields; the rest as a quiet link has it."""
    quiet = {"rate_kbps": 20_000, "load_kbps": 400, "busy_permille": 60, "rtt_us": 3_000}
    ends = [tuple(int(end) for end in name[1:].split("_")) for name in links]
    values = {name: np.zeros((steps, len(ends))) for name in FIELDS}
    for at, fields in enumerate(links.values()):
        for name, value in (quiet | fields).items():
            values[name][:, at] = value
    return Grid(0, tuple(ends), np.ones((steps, len(ends))), values)


def both(a, b, **fields):
    return {f"l{a}_{b}": fields, f"l{b}_{a}": fields}


QUIET = both(1, 2) | both(2, 3) | both(3, 4) | both(4, 1)


def kinds(grid):
    return [(one.kind, one.hotspot, one.link) for one in waste_of(grid)]


def test_a_quiet_mesh_is_left_in_peace():
    assert waste_of(mesh(**QUIET)) == []


def test_a_few_hours_are_needed():
    full = both(1, 2, load_kbps=9_000, busy_permille=900)
    assert waste_of(mesh(LEAST_STEPS - 1, **full)) == []
    assert kinds(mesh(LEAST_STEPS, **full)) != []


def test_an_overloaded_relay_gets_a_way_round_it():
    heavy = {"load_kbps": 4_200, "busy_permille": 850}
    found = waste_of(mesh(**(QUIET | both(1, 2, **heavy) | both(2, 3, **heavy))))
    (relay,) = [one for one in found if one.kind == "overloaded-relay"]
    assert relay.hotspot == 2
    assert relay.numbers["peak_airtime"] == pytest.approx(0.84)
    # Hotspot 4 has room for half of its time, of which it uses 8 %.
    assert relay.numbers["airtime_freed"] == pytest.approx(0.42)
    assert "over 4" in relay.remedy
    (idle,) = [one for one in found if one.kind == "idle-capacity"]
    assert idle.hotspot == 4
    assert idle.numbers["spare_kbps"] == pytest.approx((0.5 - 0.08) * 10_000)


def test_without_another_way_it_gets_a_cable_to_its_heaviest_neighbour():
    heavy = {"load_kbps": 7_000, "busy_permille": 900}
    found = waste_of(mesh(**(both(1, 2, **heavy) | both(2, 3, load_kbps=2_000))))
    (relay,) = [one for one in found if one.kind == "overloaded-relay"]
    assert "towards hotspot 1" in relay.remedy
    assert relay.numbers["airtime_freed"] == pytest.approx(0.7)


def test_strangers_on_the_channel_are_told_from_the_mesh_s_own_traffic():
    busy = QUIET | both(1, 2, busy_permille=550)
    found = {one.hotspot: one for one in waste_of(mesh(**busy)) if one.kind == "crowded-channel"}
    assert set(found) == {1, 2}
    # Own 8 %, and each of two neighbours 4 % with the hotspot at the far end.
    assert found[1].numbers["strangers"] == pytest.approx(0.55 - 0.16)
    assert found[1].numbers["room_factor"] == pytest.approx(0.92 / 0.53, rel=0.01)
    own = QUIET | both(1, 2, busy_permille=550, load_kbps=5_000)
    assert "crowded-channel" not in [one.kind for one in waste_of(mesh(**own))]


def test_a_link_worse_one_way_names_the_weaker_end():
    slow = QUIET | {"l1_2": {"rate_kbps": 5_000, "load_kbps": 1_000}}
    (one,) = waste_of(mesh(**slow))
    assert (one.kind, one.link) == ("asymmetric-link", (1, 2))
    assert "hotspot 1's power" in one.remedy
    assert one.numbers["airtime_freed"] == pytest.approx(0.2 - 0.05)
    lossy = QUIET | {"l2_1": {"loss_permille": 200, "load_kbps": 1_000}}
    (one,) = waste_of(mesh(**lossy))
    assert (one.link, one.numbers["loss"]) == ((2, 1), 0.2)


def test_a_weak_link_matters_only_where_it_carries_something():
    lost = {"loss_permille": 200, "load_kbps": 3_000}
    (there, back) = waste_of(mesh(**(QUIET | both(1, 2, **lost))))
    assert {there.kind, back.kind} == {"weak-link"}
    assert there.numbers["airtime_freed"] == pytest.approx(0.15 / 0.8 * 0.2)
    assert waste_of(mesh(**(QUIET | both(1, 2, loss_permille=200)))) == []
    slow = {"nominal_kbps": 120_000, "load_kbps": 3_000}
    found = waste_of(mesh(**(QUIET | both(1, 2, **slow))))
    assert [one.kind for one in found] == ["weak-link", "weak-link"]


def test_requests_that_wait_call_for_another_provider():
    queue = {"ai_waiting": 6, "ai_running": 2}
    (one,) = waste_of(mesh(**(QUIET | {"l1_2": queue})))
    assert (one.kind, one.hotspot, one.numbers) == (
        "busy-provider", 2, {"waiting": 6.0, "running": 2.0},
    )  # fmt: skip


def test_a_far_provider_is_one_that_is_nearest_and_still_far():
    ways = [
        ("small", 9, (1, 2, 3, 9), 240_000),
        ("small", 8, (1, 2, 4, 5, 8), 300_000),
        ("near", 3, (1, 2, 3), 40_000),
    ]
    (one,) = far_providers(1, ways)
    assert one.numbers == {"path_ms": 240.0, "hops": 3.0, "saved_ms": 320.0}
    assert "hotspot 9" in one.what
    assert "here or at hotspot 2" in one.remedy


def test_airtime_counts_repeats_and_silence_is_no_load():
    grid = mesh(**both(1, 2, load_kbps=5_000, loss_permille=500))
    assert Usage(grid).peak[1] == pytest.approx(2 * 0.25 / 0.5)
    gone = Grid(0, grid.links, np.zeros_like(grid.heard), grid.values)
    assert Usage(gone).peak[1] == 0.0
    assert waste_of(gone) == []


def test_the_most_urgent_come_first_and_people_can_read_them():
    def one(urgency, weight):
        return Insight("k", urgency, 1, None, "w", "r", "g", weight, {"n": 0.123456})

    rows = ranked([one(ADVICE, 1.0), one(URGENT, 0.1), one(IMPORTANT, 0.5), one(URGENT, 0.2)])
    assert [(row.urgency, row.weight) for row in rows] == [
        (URGENT, 0.2), (URGENT, 0.1), (IMPORTANT, 0.5), (ADVICE, 1.0),
    ]  # fmt: skip
    assert text_of(rows[:1]).splitlines()[0] == "1. urgent: k, hotspot 1"
    assert rows[0].as_json()["numbers"] == {"n": 0.1235}


# The grid.


def filled(minutes, every=1, gap=range(0)):
    history = LongHistory()
    for minute in range(minutes):
        if minute % every == 0 and minute not in gap:
            history.add(Telemetry(1, 2, MINUTE * minute, 1_000 + minute, 10, 5, 0, 0, 900))
    history.finish_before(1 << 60)
    return history


def test_a_grid_holds_means_of_what_was_heard_and_how_much_that_was():
    grid = grid_of(filled(40, gap=range(12, 16)))
    assert grid.links == ((1, 2),)
    assert grid.heard[:, 0].tolist() == [1.0, 0.6, 1.0, 1.0]
    assert grid.values["rate_kbps"][0, 0] == pytest.approx(1_004.5)
    silent = grid_of(filled(60, gap=range(20, 30)))
    assert silent.heard[2, 0] == 0.0
    assert np.isnan(silent.values["rate_kbps"][2, 0])


def test_a_mesh_that_speaks_seldom_is_not_taken_for_a_failing_one():
    assert grid_of(filled(120, every=5)).heard.min() == 1.0


def test_a_grid_keeps_to_its_days_and_its_end():
    grid = grid_of(filled(3 * 24 * 60), days=2)
    assert grid.steps == 2 * DAY
    assert grid.start_ms == 24 * 3_600_000
    cut = grid_of(filled(60), now_ms=35 * MINUTE)
    assert cut.steps == 3
    assert grid_of(LongHistory()).steps == 0
    assert grid.last(6).start_ms + 6 * GRID_MS == grid.start_ms + grid.steps * GRID_MS
