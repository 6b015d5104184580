"""The medium: who hears what, at which level, and why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.records import Refusal
from hotspot.radio.frame import build_frame, parse_frame
from hotspot.radio.radiotap import parse_radiotap
from radio_sim.links import Links, Radios, compute_links
from radio_sim.medium import US, Delivery, Medium, MediumConfig, Transmission

FRAME = build_frame(bytes(141), bytes([2, 0, 0, 0, 0, 1]), 7)
QUIET = MediumConfig(rssi_noise_db=0.0, device_offset_db=0.0)
CHANNEL = 2437


def links_of(power_dbm: list[list[float | None]], frequency_mhz: int = CHANNEL) -> Links:
    """Links from a matrix sender x receiver; None where nothing arrives."""
    starts, neighbours, rssi = [0], [], []
    for row in power_dbm:
        present = [(node, level) for node, level in enumerate(row) if level is not None]
        neighbours += [node for node, _ in present]
        rssi += [level for _, level in present]
        starts.append(len(neighbours))
    return Links(
        np.array(starts, np.int64),
        np.array(neighbours, np.int64),
        np.array(rssi, np.float64),
        np.full(len(power_dbm), frequency_mhz, np.int64),
    )


def send(medium: Medium, sender: int, at_ns: int, step_db: int = 0) -> Transmission:
    queued = medium.queue(sender, FRAME, step_db, CHANNEL, at_ns)
    assert isinstance(queued, Transmission)
    assert medium.begin(queued, at_ns)
    return queued


def receivers(deliveries: list[Delivery]) -> list[int]:
    return [delivery.receiver for delivery in deliveries]


def grid(nodes: int, spacing_m: float = 150.0) -> Radios:
    side = int(nodes**0.5)
    x, y = np.divmod(np.arange(nodes), side)
    return Radios(
        np.column_stack([x, y]) * spacing_m,
        np.full(nodes, 10.0),
        np.full(nodes, 20.0),
        np.full(nodes, 3.0),
        np.full(nodes, CHANNEL, np.int64),
    )


def test_a_received_frame_carries_level_channel_noise_and_time() -> None:
    medium = Medium(links_of([[None, -60.0], [-60.0, None]]), 1, QUIET)
    sent = send(medium, 0, 5_000_000_000)
    (delivery,) = medium.finish(sent)
    head = parse_radiotap(delivery.frame)
    assert not isinstance(head, Refusal)
    assert (head.length, head.signal_dbm, head.noise_dbm) == (22, -60, -94)
    assert head.frequency_mhz == CHANNEL
    assert head.tsft_us is not None
    assert delivery.frame[22:] == FRAME[12:]
    assert not isinstance(parse_frame(delivery.frame), Refusal)


def test_a_power_step_lowers_what_arrives_by_as_much() -> None:
    medium = Medium(links_of([[None, -60.0], [-60.0, None]]), 1, QUIET)
    levels = [medium.finish(send(medium, 0, n * 10**10, step))[0].rssi_dbm
              for n, step in enumerate((0, 3, 6, 9))]
    assert levels == [-60, -63, -66, -69]


def test_far_below_the_noise_nothing_arrives() -> None:
    medium = Medium(links_of([[None, -101.0], [-101.0, None]]), 1)
    assert medium.finish(send(medium, 0, 0)) == []


def test_delivery_ratio_is_the_published_success_rate() -> None:
    # 1 Mb/s, 180 bytes, SNR -4 dB: (1 - exp(-10^-0.4 * 22) / 2)^1440 = 0.882.
    medium = Medium(links_of([[None, -98.0], [-98.0, None]]), 3)
    trials = 3000
    got = sum(len(medium.finish(send(medium, 0, n * 10**10))) for n in range(trials))
    expected = (1 - 0.5 * np.exp(-(10**-0.4) * 22)) ** (8 * (len(FRAME) - 12 + 4))
    assert got / trials == pytest.approx(expected, abs=4 * (0.25 / trials) ** 0.5)


def test_reported_level_scatters_by_device_and_by_packet() -> None:
    nodes = 400
    row: list[list[float | None]] = [[-60.0] * nodes] + [[None] * nodes] * (nodes - 1)
    row[0][0] = None
    medium = Medium(links_of(row), 5)
    rounds = [medium.finish(send(medium, 0, n * 10**10)) for n in range(40)]
    levels = np.array([[delivery.rssi_dbm for delivery in one] for one in rounds])
    assert levels.std(axis=0).mean() == pytest.approx(1.5, abs=0.2)
    assert levels.mean(axis=0).std() == pytest.approx(2.0, abs=0.3)


def test_carrier_sense_defers_what_it_can_hear() -> None:
    medium = Medium(links_of([[None, -60.0], [-60.0, None]]), 1)
    first = send(medium, 0, 0)
    second = medium.queue(1, FRAME, 0, CHANNEL, 0)
    assert isinstance(second, Transmission)
    assert not medium.begin(second, 100 * US)
    assert first.end_ns < second.next_ns <= first.end_ns + (50 + 31 * 20) * US
    assert receivers(medium.finish(first)) == [1]
    assert medium.begin(second, second.next_ns)


def test_a_transmission_younger_than_the_sensing_time_is_not_sensed() -> None:
    medium = Medium(links_of([[None, -60.0], [-60.0, None]]), 1)
    first, second = send(medium, 0, 0), send(medium, 1, 5 * US)
    assert medium.finish(first) == medium.finish(second) == []  # both were sending


def test_hidden_senders_collide() -> None:
    # The first drowns (SINR -7 dB); the second is not strong enough to take the receiver over.
    hidden = [[None, -77.0, None], [None, None, None], [None, -70.0, None]]
    medium = Medium(links_of(hidden), 1)
    first, second = send(medium, 0, 0), send(medium, 2, 100 * US)
    assert medium.finish(first) == []
    assert medium.finish(second) == []
    assert medium.counts["collided"] == 2


def test_a_much_stronger_frame_captures_the_receiver() -> None:
    hidden = [[None, -80.0, None], [None, None, None], [None, -60.0, None]]
    medium = Medium(links_of(hidden), 1)
    weak, strong = send(medium, 0, 0), send(medium, 2, 100 * US)
    assert medium.finish(weak) == []
    assert receivers(medium.finish(strong)) == [1]


def test_interference_above_the_sensing_threshold_counts_too() -> None:
    # The strong frame starts first and is far stronger: the weak one is lost, the strong one isn't.
    hidden = [[None, -50.0, None], [None, None, None], [None, -75.0, None]]
    medium = Medium(links_of(hidden), 1)
    strong, weak = send(medium, 0, 0), send(medium, 2, 100 * US)
    assert receivers(medium.finish(strong)) == [1]
    assert medium.finish(weak) == []


def test_channels_far_apart_do_not_meet() -> None:
    medium = Medium(links_of([[None, -60.0, -60.0], [-60.0, None, -60.0], [None] * 3]), 1)
    first = send(medium, 0, 0)
    other = medium.queue(1, FRAME, 0, 2462, 0)
    assert isinstance(other, Transmission)
    assert medium.begin(other, 100 * US)
    assert 2 in receivers(medium.finish(first))
    assert medium.finish(other) == []  # nobody listens there


def test_a_radio_without_power_neither_hears_nor_is_heard() -> None:
    medium = Medium(links_of([[None, -60.0, -60.0], [-60.0, None, None], [None] * 3]), 1)
    medium.set_down(1, True)
    assert receivers(medium.finish(send(medium, 0, 0))) == [2]
    medium.set_down(1, False)
    sent = send(medium, 0, 10**10)
    medium.set_down(0, True)
    assert medium.finish(sent) == []


@pytest.mark.parametrize("frame", [b"", b"\x00\x00\x08", FRAME[:12], b"\x01" + FRAME[1:]])
def test_frames_that_no_driver_would_take_are_refused(frame: bytes) -> None:
    medium = Medium(links_of([[None]]), 1)
    assert isinstance(medium.queue(0, frame, 0, CHANNEL, 0), Refusal)


def test_real_drivers_leave_fields_out_at_the_measured_shares() -> None:
    nodes = 1000
    row: list[list[float | None]] = [[-50.0] * nodes] + [[None] * nodes] * (nodes - 1)
    medium = Medium(links_of(row), 2, MediumConfig(real_fields=True))
    heads = [parse_radiotap(one.frame) for one in medium.finish(send(medium, 0, 0))]
    parsed = [head for head in heads if not isinstance(head, Refusal)]
    assert len(parsed) == len(heads) > 900
    with_signal = np.mean([head.signal_dbm is not None for head in parsed])
    with_time = np.mean([head.tsft_us is not None for head in parsed])
    assert with_signal == pytest.approx(0.79, abs=0.05)
    assert with_time == pytest.approx(0.10, abs=0.04)


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    def run(seed: int) -> list[bytes]:
        medium = Medium(compute_links(grid(49), seed=seed), seed)
        out = []
        for n in range(49):
            out += [delivery.frame for delivery in medium.finish(send(medium, n, n * 10**10))]
        return out

    assert run(4) == run(4)
    assert run(4) != run(5)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 4000)), max_size=30),
)
def test_any_schedule_delivers_each_frame_at_most_once_and_never_to_a_sender(
    seed: int, schedule: list[tuple[int, int]]
) -> None:
    medium = Medium(compute_links(grid(25), seed=seed), seed)
    pending: list[Transmission] = []
    for sender, offset_us in sorted(schedule, key=lambda item: item[1]):
        queued = medium.queue(sender, FRAME, 0, CHANNEL, offset_us * US)
        assert isinstance(queued, Transmission)
        pending.append(queued)
    live: list[Transmission] = []
    flown: list[Transmission] = []
    while pending or live:
        soonest = min([t.next_ns for t in pending] + [t.end_ns for t in live])
        for sent in [t for t in live if t.end_ns == soonest]:
            live.remove(sent)
            got = receivers(medium.finish(sent))
            assert len(set(got)) == len(got)
            met = [t for t in flown if t.start_ns < sent.end_ns and t.end_ns > sent.start_ns]
            assert not {t.sender for t in met} & set(got)
        for sent in [t for t in pending if t.next_ns == soonest]:
            if medium.begin(sent, soonest):
                pending.remove(sent)
                live.append(sent)
                flown.append(sent)


def test_a_link_is_as_strong_both_ways_and_a_published_one_loses_what_free_space_does() -> None:
    radios = grid(36, 400.0)
    far = Radios(
        np.vstack([radios.positions_m, [[3_000.0, 0.0]]]),
        *(np.append(values, values[-1])
          for values in (radios.height_m, radios.eirp_dbm, radios.gain_dbi, radios.frequency_mhz)),
    )
    links = compute_links(far, seed=1, aimed=[(0, 36)])
    for sender in range(37):
        low, high = links.starts[sender : sender + 2]
        levels = links.rssi_dbm[low:high]
        for receiver, level in zip(links.neighbours[low:high], levels, strict=True):
            back = float(links.rssi_of(int(receiver), np.array([sender]))[0])
            assert back == pytest.approx(float(level), abs=1e-3)
    free_space = 20 * np.log10(4 * np.pi * 3_000.0 * 2437e6 / 3.0e8)
    assert links.rssi_of(0, np.array([36]))[0] == pytest.approx(23.0 - free_space, abs=1e-6)


def test_path_loss_is_taken_at_the_true_frequency() -> None:
    low = compute_links(grid(2, 100.0), seed=1, aimed=[(0, 1)])
    high = replace(grid(2, 100.0), frequency_mhz=np.array([5180, 5180]))
    drop = low.rssi_dbm[0] - compute_links(high, seed=1, aimed=[(0, 1)]).rssi_dbm[0]
    assert drop == pytest.approx(20 * np.log10(5180 / 2437), abs=1e-6)
