"""The compiled medium against its plain twin, and the two doors to it against each other."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medium_reference import run_reference

from hotspot.radio.frame import build_frame
from radio_sim import phy
from radio_sim.draws import draw_u64, draws_u64, uniforms
from radio_sim.links import Links
from radio_sim.medium import Medium, MediumConfig, Transmission
from radio_sim.medium.batch import Schedule, run_batch
from radio_sim.medium.config import FrameKind, legacy_kind

CHANNEL = 2437
RATES = (1000, 6000, 54000)


def random_links(nodes: int, seed: int, low_dbm: float = -105.0, high_dbm: float = -45.0) -> Links:
    """A mesh with links of any strength; both directions alike, as radio is."""
    key = draw_u64(seed, "level")
    levels = uniforms(draws_u64(key, np.arange(nodes * nodes, dtype=np.uint64)))
    matrix = low_dbm + (high_dbm - low_dbm) * levels.reshape(nodes, nodes)
    matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    np.fill_diagonal(matrix, -np.inf)
    sender, receiver = np.nonzero(matrix >= low_dbm + 5.0)
    starts = np.concatenate([[0], np.cumsum(np.bincount(sender, minlength=nodes))])
    return Links(
        starts.astype(np.int64),
        receiver.astype(np.int64),
        matrix[sender, receiver],
        np.full(nodes, CHANNEL, np.int64),
    )


def kinds() -> list[FrameKind]:
    return [legacy_kind(180, rate) for rate in RATES]


FRAMES = st.lists(
    st.tuples(
        st.integers(0, 3_000_000),  # ready, ns
        st.integers(0, 5),  # sender
        st.integers(0, 2),  # kind
        st.integers(-6, 5),  # target, broadcast below 0
        st.sampled_from([0.0, 3.0, 9.0]),
    ),
    min_size=1,
    max_size=30,
)
CONFIGS = st.builds(
    MediumConfig,
    eifs=st.booleans(),
    fading_db=st.sampled_from([0.0, 3.0]),
    sense_dbm=st.sampled_from([-95.0, -82.0]),
    energy_detect_dbm=st.sampled_from([-62.0, -75.0]),
    late_capture_db=st.sampled_from([10.0, float("inf")]),
    slot_us=st.sampled_from([9, 20]),
    cca_us=st.sampled_from([4, 15]),
    window=st.sampled_from([3, 31]),
    retries=st.sampled_from([0, 4]),
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**40), CONFIGS, FRAMES)
def test_the_kernels_do_what_the_plain_rules_say(
    seed: int, config: MediumConfig, frames: list[tuple[int, int, int, int, float]]
) -> None:
    links = random_links(6, seed)
    frames = [
        (ready, sender, kind, -1 if target < 0 or target == sender else target, step_db)
        for ready, sender, kind, target, step_db in frames
    ]
    ack = legacy_kind(14, 1000)
    columns = list(zip(*frames, strict=True))
    schedule = Schedule(
        *(np.array(column, np.int64) for column in columns[:4]), np.array(columns[4], np.float64)
    )
    result = run_batch(links, seed, config, kinds(), schedule, ack=ack)
    found = zip(
        result.frame.tolist(), result.receiver.tolist(), result.level_dbm.tolist(), strict=True
    )
    assert list(found) == run_reference(links, seed, config, kinds(), frames, ack)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**40),
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 7)), min_size=1, max_size=30),
)
def test_event_by_event_is_the_same_as_in_a_batch(seed: int, frames: list[tuple[int, int]]) -> None:
    links, config = random_links(8, seed), MediumConfig()
    data = build_frame(bytes(141), bytes([2, 0, 0, 0, 0, 1]), 7)
    medium = Medium(links, seed, config)
    queues: list[list[Transmission]] = [[] for _ in range(8)]
    queued = []
    for ready_ns, sender in frames:
        sent = medium.queue(sender, data, 0, CHANNEL, ready_ns)
        assert isinstance(sent, Transmission)
        queued.append(sent)
    for sent in sorted(queued, key=lambda one: one.next_ns):
        queues[sent.sender].append(sent)
    schedule = Schedule(
        np.array([sent.next_ns for sent in queued], np.int64),
        np.array([sent.sender for sent in queued], np.int64),
        np.zeros(len(queued), np.int64),
        np.full(len(queued), -1, np.int64),
        np.zeros(len(queued)),
    )
    kind = legacy_kind(len(queued[0].body) + phy.FCS_BYTES, 1000)
    result = run_batch(links, seed, config, [kind], schedule)
    heap = [(queue[0].next_ns, 1, node) for node, queue in enumerate(queues) if queue]
    heapq.heapify(heap)
    found: list[tuple[int, int, int]] = []
    while heap:
        now_ns, begins, node = heapq.heappop(heap)
        sent = queues[node][0]
        if begins and not medium.begin(sent, now_ns):
            heapq.heappush(heap, (sent.next_ns, 1, node))
        elif begins:
            heapq.heappush(heap, (sent.end_ns, 0, node))
        else:
            found += [(sent.number, *pair) for pair in zip(*medium.end(sent), strict=True)]
            queues[node].pop(0)
            if queues[node]:
                heapq.heappush(heap, (max(queues[node][0].next_ns, now_ns), 1, node))
    expected = zip(
        result.frame.tolist(), result.receiver.tolist(), result.level_dbm.tolist(), strict=True
    )
    assert found == list(expected)
    assert medium.counts["sent"] == result.sent == len(frames)
    assert medium.fates() == result.fates


def test_every_frame_meets_every_receiver_in_reach_with_one_fate() -> None:
    links = random_links(30, 4)
    rounds = np.arange(3000, dtype=np.int64)
    sender = rounds * 7 % 30
    schedule = Schedule(
        rounds * 400_000, sender, np.ones(3000, np.int64), np.full(3000, -1), np.zeros(3000)
    )
    result = run_batch(links, 4, MediumConfig(), kinds(), schedule)
    degree = np.diff(links.starts)
    assert result.sent == 3000
    assert sum(result.fates.values()) == degree[sender].sum()
    assert result.fates["delivered"] == result.heard == len(result.frame)
    assert min(result.fates[name] for name in ("interference", "locked", "half_duplex")) > 0


@pytest.mark.parametrize(
    ("name", "value"), [("sender", 6), ("sender", -1), ("target", 6), ("kind", 3), ("ready_ns", -1)]
)
def test_a_schedule_out_of_range_is_refused_by_field(name: str, value: int) -> None:
    columns = {"ready_ns": 0, "sender": 0, "kind": 0, "target": -1} | {name: value}
    schedule = Schedule(
        **{key: np.array([number]) for key, number in columns.items()}, power_step_db=np.zeros(1)
    )
    with pytest.raises(ValueError, match=rf"schedule\.{name}: .*; use"):
        run_batch(random_links(6, 1), 1, MediumConfig(), kinds(), schedule, ack=kinds()[0])


def test_a_frame_with_a_target_needs_an_acknowledgement() -> None:
    one = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="ack: "):
        run_batch(
            random_links(6, 1), 1, MediumConfig(), kinds(), Schedule(one, one, one, one + 1, one)
        )
