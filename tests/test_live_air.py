"""The medium in wall-clock time: what shipping radios in their namespaces inject and hear."""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np
import pytest

from hotspot.radio.frame import Beacon, Heard, build_frame, pack_beacon, parse_frame
from hotspot.radio.io_radio import MonitorRadio
from radio_sim.links import Links
from radio_sim.live import io_tap
from radio_sim.live.io_air import LiveAir
from radio_sim.live.watch import Watch
from radio_sim.medium import Medium

RADIOS, ROUNDS = 4, 10

needs_root = pytest.mark.skipif(
    not io_tap.can_make_radios(),
    reason="needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and /dev/net/tun",
)


def chain_links() -> Links:
    """A row of radios in which only next neighbours hear each other, strongly."""
    neighbours = [[n for n in (i - 1, i + 1) if 0 <= n < RADIOS] for i in range(RADIOS)]
    return Links(
        starts=np.cumsum([0] + [len(row) for row in neighbours]),
        neighbours=np.array([n for row in neighbours for n in row], np.int64),
        rssi_dbm=np.full(sum(map(len, neighbours)), -50.0),
        frequency_mhz=np.full(RADIOS, 2437, np.int64),
    )


@pytest.mark.root
@needs_root
def test_every_frame_reaches_the_neighbours_the_medium_names_and_nobody_else() -> None:
    watch = Watch()
    with contextlib.ExitStack() as stack:
        taps, radios = [], []
        for number in range(RADIOS):
            name = io_tap.radio_name(number)
            stack.callback(io_tap.remove_namespace, name)
            taps.append(io_tap.open_radio_tap(name))
            stack.callback(taps[-1].close)
            with io_tap.inside(name):
                radios.append(MonitorRadio(name))
            stack.callback(radios[-1].close)
        air = LiveAir(taps, Medium(chain_links(), 1), watch)
        stack.callback(air.close)
        heard: Counter[tuple[int, int, int]] = Counter()
        own: Counter[int] = Counter()
        for sequence in range(ROUNDS):
            for node, radio in enumerate(radios):
                radio.send(frame_of(node, sequence), 0)
                settle(air)
        for receiver, radio in enumerate(radios):
            for data in radio.receive():
                seen = parse_frame(data)
                assert isinstance(seen, Heard)
                sender, sequence = seen.source[5], int.from_bytes(seen.payload[38:42], "big")
                if sender == receiver:
                    own[receiver] += 1
                    assert seen.rssi_dbm is None  # an echo was not received
                else:
                    assert seen.frequency_mhz == 2437
                    heard[receiver, sender, sequence] += 1
    assert watch.sent == {(n, 1, s) for n in range(RADIOS) for s in range(ROUNDS)}
    expected = {(r, *beacon[::2]) for r, beacon in watch.delivered}
    assert set(heard) == expected
    assert set(heard.values()) == {1}
    assert {(r, s) for r, s, _ in expected} == {
        (a, b) for a in range(RADIOS) for b in range(RADIOS) if abs(a - b) == 1
    }
    assert own == dict.fromkeys(range(RADIOS), ROUNDS)


def frame_of(node: int, sequence: int) -> bytes:
    payload = pack_beacon(Beacon(bytes(32), 1, sequence, bytes(16), 0, 2437, 0, 0))
    return build_frame(payload, bytes((2, 0, 0, 0, 0, node)), sequence)


def settle(air: LiveAir) -> None:
    """Step until nothing waits and several looks have found nothing more to read."""
    idle = 0
    while idle < 3:
        before = air.account.frames["injected"]
        air.step(0.002)
        idle = idle + 1 if not air.busy and air.account.frames["injected"] == before else 0
