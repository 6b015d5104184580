"""States, faults and repairs: named within five minutes, cleared by evidence, no restart loops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hotspot.health import (
    JUMP_SHOWN_NS,
    LADDER_AGAIN_NS,
    MINUTE,
    SECOND,
    Fault,
    Health,
    Repair,
    State,
)

FIVE_MINUTES = 5 * MINUTE


def names(health: Health) -> set[str]:
    return {trouble.fault.value for trouble in health.troubles()}


def live_until(health: Health, until_ns: int, start_ns: int = 0) -> list[tuple[int, Repair]]:
    done = []
    for now_ns in range(start_ns, until_ns, 5 * SECOND):
        health.handle_time(now_ns)
        done += [(now_ns, repair) for repair in health.take_repairs()]
    return done


def test_a_state_keeps_its_age_while_its_reason_changes() -> None:
    health = Health(0)
    health.enter(State.LISTEN, "not registered yet", 10)
    health.enter(State.LISTEN, "bound from epoch 7", 20)
    assert (health.standing.reason, health.standing.since_ns) == ("bound from epoch 7", 10)
    health.enter(State.BEACON, "epoch 7", 30)
    assert health.standing.since_ns == 30


def test_silence_is_named_within_five_minutes_with_a_remedy() -> None:
    health = Health(0)
    health.note_received(MINUTE)
    live_until(health, MINUTE + FIVE_MINUTES)
    (trouble,) = health.troubles()
    assert trouble.fault is Fault.RX_DEAD
    assert trouble.since_ns < MINUTE + FIVE_MINUTES
    assert "doctor" in trouble.remedy
    health.note_received(MINUTE + FIVE_MINUTES)
    assert names(health) == set()


def test_strangers_frames_count_as_life() -> None:
    health = Health(0)
    for minute in range(60):
        health.note_device(1_000 + minute, minute * MINUTE)
        health.handle_time(minute * MINUTE)
    assert names(health) == set()
    health.note_device(1_059, 61 * MINUTE)
    health.handle_time(64 * MINUTE)
    assert names(health) == {"RX_DEAD"}


def test_the_ladder_climbs_from_mild_to_harsh_and_then_rests_an_hour() -> None:
    health = Health(0)
    health.note_received(0)
    done = live_until(health, 4 * MINUTE + LADDER_AGAIN_NS + 5 * SECOND)
    order = [repair for _, repair in done]
    assert order[:3] == [Repair.REOPEN_RADIO, Repair.RESET_INTERFACE, Repair.RESTART]
    assert order[3:] == [Repair.REOPEN_RADIO]
    assert done[3][0] - done[0][0] == LADDER_AGAIN_NS


def test_a_lonely_hotspot_never_restarts_for_silence() -> None:
    repairs = [repair for _, repair in live_until(Health(0), 24 * 60 * MINUTE)]
    assert Repair.RESTART not in repairs
    assert Repair.REOPEN_RADIO in repairs


def test_three_beacons_without_an_echo_are_a_fault_only_where_echoes_are_known() -> None:
    silent, echoing = Health(0), Health(0, echoes=True)
    for n in range(3):
        silent.note_sent(n)
        echoing.note_sent(n)
    assert (names(silent), names(echoing)) == (set(), {"TX_DEAD"})
    echoing.note_echo(4)
    assert names(echoing) == set()


def test_refused_beacons_are_a_fault_until_one_is_taken() -> None:
    health = Health(0)
    for n in range(3):
        health.note_send_failed(n)
    assert names(health) == {"TX_DEAD"}
    health.note_sent(4)
    assert names(health) == set()


def test_what_peers_never_heard_is_not_excused_by_an_echo() -> None:
    health = Health(0, echoes=True)
    health.note_verdicts(heard=0, unheard=3, neighbours=0, now_ns=1)
    assert names(health) == set(), "nobody is there to hear it"
    health.note_verdicts(heard=0, unheard=3, neighbours=2, now_ns=2)
    health.note_echo(3)
    assert names(health) == {"TX_DEAD"}
    health.note_verdicts(heard=1, unheard=3, neighbours=2, now_ns=4)
    assert names(health) == set()


def test_ledger_disk_and_clock_are_raised_and_cleared() -> None:
    health = Health(0)
    health.note_ledger("connection refused", 1)
    health.note_ledger("still refused", 2)
    health.note_disk("disk is full", 3)
    health.note_jump(-90 * SECOND, 4)
    assert names(health) == {"LEDGER_DOWN", "DISK_FULL", "CLOCK_JUMP"}
    ledger, disk, clock = health.troubles()
    assert (ledger.since_ns, ledger.detail) == (1, "still refused")
    assert clock.detail == "was set back by 90.0 s"
    assert disk.remedy
    health.note_ledger(None, 5)
    health.note_disk(None, 5)
    health.note_received(5)
    health.handle_time(4 + JUMP_SHOWN_NS)
    assert names(health) - {"RX_DEAD"} == set()


EVENTS = st.sampled_from(
    ["rx", "sent", "failed", "echo", "heard", "unheard", "away", "back", "full", "space", "jump"]
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 10 * MINUTE)), max_size=60))
def test_whatever_happens_every_fault_has_a_past_and_a_remedy(
    events: list[tuple[str, int]],
) -> None:
    health, now_ns = Health(0), 0
    calls = {
        "rx": lambda: health.note_received(now_ns),
        "sent": lambda: health.note_sent(now_ns),
        "failed": lambda: health.note_send_failed(now_ns),
        "echo": lambda: health.note_echo(now_ns),
        "heard": lambda: health.note_verdicts(1, 0, 1, now_ns),
        "unheard": lambda: health.note_verdicts(0, 5, 1, now_ns),
        "away": lambda: health.note_ledger("away", now_ns),
        "back": lambda: health.note_ledger(None, now_ns),
        "full": lambda: health.note_disk("full", now_ns),
        "space": lambda: health.note_disk(None, now_ns),
        "jump": lambda: health.note_jump(5 * SECOND, now_ns),
    }
    for name, wait_ns in events:
        now_ns += wait_ns
        calls[name]()
        health.handle_time(now_ns)
        for trouble in health.troubles():
            assert 0 <= trouble.since_ns <= now_ns
            assert trouble.remedy
            assert trouble.detail
        assert len(health.take_repairs()) <= len(Repair)
    calls["rx"]()
    assert "RX_DEAD" not in names(health), "one frame ends the silence"
