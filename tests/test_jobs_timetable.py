"""Timetables: what fits is found, nobody is promised twice, urgent goes first; pause and resume."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_helpers import JobOverlay, content

from chain.records import Refusal
from hotspot.overlay.sessions import (
    MOST_CREDIT_CHUNKS,
    credit_bytes,
    flight_bytes,
    mean_flight_bytes,
)
from routing.jobs.plan import Lane, Task, edges, fill, rooms_of
from routing.jobs.program import price_of_kbit, solve
from routing.jobs.schedule import KBIT_PER_MIB, Schedule
from routing.types import JobPromise

LINE = ((0, 1), (1, 2), (2, 3))
KBPS = 1_000.0


def flat(_resource: object, _from_ms: int, _to_ms: int) -> float:
    return KBPS


def lane(*resources: int, price: int = 100) -> Lane:
    return Lane(resources, {(r,): 1.0 for r in resources}, price)


TASKS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 3), min_size=1, max_size=3),
        st.integers(100, 40_000),
        st.integers(1_000, 60_000),
    ),
    min_size=1,
    max_size=7,
)


def tasks_of(rows: list[tuple[set[int], int, int]]) -> list[Task]:
    return [
        Task(f"j{n}", lane(*sorted(where)), float(kbits), due)
        for n, (where, kbits, due) in enumerate(rows)
    ]


@settings(max_examples=25, deadline=None)
@given(TASKS)
def test_a_timetable_keeps_to_every_room_and_due_time(
    rows: list[tuple[set[int], int, int]],
) -> None:
    tasks = tasks_of(rows)
    cuts = edges(0, [t.due_ms for t in tasks])
    rooms = rooms_of([t.lane for t in tasks], cuts, flat)
    for timetable in (fill(tasks, cuts, rooms), solve(tasks, cuts, rooms)):
        for resource, room in rooms.items():
            for slot, most in enumerate(room):
                users = [t for t in tasks if resource in t.lane.uses]
                assert sum(timetable.kbits[t.job_id][slot] for t in users) <= most * 1.000_001
        for task in tasks:
            row = timetable.kbits[task.job_id]
            assert all(n == 0 for n, start in zip(row, cuts, strict=False) if start >= task.due_ms)
            total = sum(row) + timetable.short.get(task.job_id, 0.0)
            assert total == pytest.approx(task.kbits, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(TASKS)
def test_on_one_radio_due_times_first_finds_what_the_program_finds(
    rows: list[tuple[set[int], int, int]],
) -> None:
    tasks = tasks_of([({0}, kbits, due) for _, kbits, due in rows])
    cuts = edges(0, [t.due_ms for t in tasks])
    rooms = rooms_of([t.lane for t in tasks], cuts, flat)
    quick, best = fill(tasks, cuts, rooms), solve(tasks, cuts, rooms)
    assert quick.is_feasible == best.is_feasible


def test_an_urgent_job_is_let_in_where_a_lazy_one_can_wait() -> None:
    schedule = Schedule()
    lazy = Task("lazy", lane(0), 60_000.0, 100_000)  # constant: 600 of 1,000 kbps for 100 s
    urgent = Task("urgent", lane(0), 8_000.0, 10_000)  # 800 kbps for 10 s
    assert schedule.admit(lazy, [lane(0)], 0, flat) is not None
    assert schedule.admit(urgent, [lane(0)], 0, flat) is not None
    rates = schedule.rates_kbps(0, flat)
    assert rates["urgent"] >= 800
    assert rates["urgent"] + rates["lazy"] <= KBPS
    assert schedule.admit(Task("more", lane(0), 40_000.0, 100_000), [lane(0)], 0, flat) is None


def test_a_job_moves_aside_for_one_that_has_no_other_way() -> None:
    schedule = Schedule()
    free = Task("free", lane(0), 50_000.0, 60_000)
    bound = Task("bound", lane(0), 30_000.0, 60_000)
    assert schedule.admit(free, [lane(0), lane(1, price=200)], 0, flat) is not None
    assert schedule.lane_of("free").hops == (0,)
    assert schedule.admit(bound, [lane(0)], 0, flat) is not None
    assert schedule.lane_of("free").hops == (1,)


def test_the_price_is_the_ways_own_until_room_is_scarce() -> None:
    schedule = Schedule(solve, price_of_kbit)
    cheap, dear = lane(0, price=100), lane(1, price=900)
    mib = KBIT_PER_MIB
    first = schedule.admit(Task("a", cheap, 4 * mib, 60_000), [cheap, dear], 0, flat)
    second = schedule.admit(Task("b", cheap, 4 * mib, 60_000), [cheap, dear], 0, flat)
    assert first is not None
    assert second is not None
    assert (first.lane.hops, first.price_ucr) == ((0,), 400)
    assert (second.lane.hops, second.price_ucr) == ((1,), 3_600)


def test_a_job_that_fell_short_keeps_nobody_else_out() -> None:
    schedule = Schedule()
    assert schedule.admit(Task("a", lane(0), 9_000.0, 10_000), [lane(0)], 0, flat) is not None
    assert schedule.update({}, 9_000, flat) == ["a"]  # a second is left for nine
    assert schedule.admit(Task("b", lane(1), 900.0, 20_000), [lane(1)], 9_000, flat) is not None


# --- through hotspots ----------------------------------------------------------------------------


def test_a_paused_job_sends_nothing_frees_its_room_and_goes_on_where_it_was() -> None:
    overlay = JobOverlay(4, LINE, rate_kbps=6_000)
    overlay.run(15_000)
    data = content(1_500_000)
    assert isinstance(overlay.submit(0, 3, data, 60_000), JobPromise)
    overlay.run(30_000, until=lambda: overlay.job(0).delivered > 300_000)
    jobs, name = overlay.nodes[0].jobs, overlay.job(0).key
    assert jobs.pause(name, overlay.now_ns) is None
    overlay.run(2_000)
    before = overlay.nodes[1].counts["forwarded_bytes"]
    overlay.run(5_000)
    assert overlay.nodes[1].counts["forwarded_bytes"] - before < 2_000
    assert (overlay.job(0).state, overlay.job(0).reason) == ("paused", "paused")
    overlay.restart(0)  # a pause survives a kill
    jobs = overlay.nodes[0].jobs
    assert overlay.job(0).state == "paused"
    assert isinstance(jobs.pause(name, overlay.now_ns), Refusal)
    overlay.run(12_000)  # links are heard of again
    assert jobs.resume(name, overlay.now_ns) is None
    record = overlay.run_job()
    assert record.state == "done"
    assert overlay.arrived(3) == [data]


def test_a_paused_job_ends_at_its_deadline() -> None:
    overlay = JobOverlay(4, LINE)
    overlay.run(15_000)
    overlay.submit(0, 3, content(3_000_000), 20_000)
    overlay.run(2_000)
    assert overlay.nodes[0].jobs.pause(overlay.job(0).key, overlay.now_ns) is None
    overlay.run(30_000)
    assert (overlay.job(0).state, overlay.job(0).reason) == ("expired", "deadline")


@given(st.integers(0, 1 << 40), st.integers(1 << 10, 1 << 20))
def test_credit_is_a_chunk_then_a_quarter_of_what_was_paid(paid: int, chunk: int) -> None:
    credit = credit_bytes(paid, chunk)
    assert chunk <= credit <= MOST_CREDIT_CHUNKS * chunk
    assert credit == chunk or credit <= paid // 4
    assert chunk // 4 <= flight_bytes(paid, chunk) <= credit // 2
    assert chunk // 4 <= mean_flight_bytes(paid + 1, chunk) <= MOST_CREDIT_CHUNKS * chunk // 2
