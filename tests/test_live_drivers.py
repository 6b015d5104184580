"""The live air as devices see it: what drivers leave out, drop, echo and queue; and the account."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from chain.records import Refusal
from hotspot.radio import pcap, radiotap
from hotspot.radio.frame import BAD_FCS, Beacon, Heard, build_frame, pack_beacon, parse_frame
from radio_sim.links import Links
from radio_sim.live import drivers
from radio_sim.live.account import Account, Delays
from radio_sim.live.drivers import PROFILES, DriverProfile
from radio_sim.live.io_air import LiveAir
from radio_sim.live.io_tap import Tap
from radio_sim.live.recorder import Recorder
from radio_sim.medium import Medium

FREQUENCY_MHZ = 2437


def links_of(levels: list[list[float | None]]) -> Links:
    """Links from a matrix sender x receiver; None where nothing arrives."""
    rows = [[(n, level) for n, level in enumerate(row) if level is not None] for row in levels]
    return Links(
        np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
        np.array([node for row in rows for node, _ in row], np.int64),
        np.array([level for row in rows for _, level in row], np.float64),
        np.full(len(levels), FREQUENCY_MHZ, np.int64),
    )


def frame_of(node: int, sequence: int, rate_500kbps: int = 12) -> bytes:
    payload = pack_beacon(Beacon(bytes(32), 1, sequence, bytes(16), 0, FREQUENCY_MHZ, 0, 0))
    return build_frame(payload, bytes((2, 0, 0, 0, 0, node)), sequence, rate_500kbps)


PAIR = links_of([[None, -50.0], [-50.0, None]])


class Bench:
    """An air over socket pairs: like devices, they keep frames apart, and need no root."""

    def __init__(self, air: LiveAir, owners: list[socket.socket]) -> None:
        self.air = air
        self.owners = owners

    def send(self, node: int, frame: bytes) -> None:
        self.owners[node].send(frame)

    def settle(self) -> None:
        """Step until nothing waits and several looks have found nothing more to read."""
        idle = 0
        while idle < 3:
            before = self.air.account.frames["injected"]
            self.air.step(0.002)
            still = not self.air.busy and self.air.account.frames["injected"] == before
            idle = idle + 1 if still else 0

    def heard(self, node: int) -> list[bytes]:
        frames = []
        while True:
            try:
                frames.append(self.owners[node].recv(4096))
            except BlockingIOError:
                return frames


@contextmanager
def opened(links: Links, profiles: list[DriverProfile], capture: io.BytesIO | None = None,
           seed: int = 1) -> Iterator[Bench]:  # fmt: skip
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in profiles]
    for end, other in pairs:
        end.setblocking(False)
        other.setblocking(False)
    names = [f"node-{number}" for number in range(len(profiles))]
    recorder = None if capture is None else Recorder(names, capture.write)
    taps = [Tap(f"pair-{n}", far.fileno()) for n, (_, far) in enumerate(pairs)]
    air = LiveAir(taps, Medium(links, seed), drivers=profiles, recorder=recorder, seed=seed)
    try:
        yield Bench(air, [near for near, _ in pairs])
    finally:
        air.close()
        for pair in pairs:
            for end in pair:
                end.close()


def two(name: str, **changes: object) -> list[DriverProfile]:
    """A sender of the usual kind and a receiver of this one."""
    return [PROFILES["mac80211"], replace(PROFILES[name], **changes)]  # type: ignore[arg-type]


# --- Receivers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, p in PROFILES.items() if not p.drops_silently])
def test_each_driver_hands_over_its_own_header_and_the_whole_frame(name: str) -> None:
    with opened(PAIR, two(name)) as bench:
        bench.send(0, frame_of(0, 3))
        bench.settle()
        (data,) = bench.heard(1)
        seen, head = parse_frame(data), radiotap.parse_radiotap(data)
        assert isinstance(seen, Heard)
        assert isinstance(head, radiotap.Radiotap)
        words = radiotap.present_bytes(data, head.length)
        assert words is not None
        assert words[:4] == drivers.compile_words(PROFILES[name].words)[0][4:8]
        gives_signal = any(radiotap.DBM_SIGNAL in word for word in PROFILES[name].words)
        assert (seen.rssi_dbm is not None) == gives_signal
        body = data[head.length :]
        if PROFILES[name].keeps_fcs:
            assert drivers.checksum_of(body[:-4]) == body[-4:]
            body = body[:-4]
        assert body == frame_of(0, 3)[12:]
        assert bench.air.imbalances() == []


def test_a_monitor_that_wants_bad_checksums_gets_damaged_frames_with_the_flag() -> None:
    # -92 dBm is 2 dB over the noise: 54 Mb/s never comes through, the preamble always does.
    weak = links_of([[None, -90.0], [None, None]])
    with opened(weak, two("fcsfail")) as bench:
        for sequence in range(20):
            bench.send(0, frame_of(0, sequence, 108))
            bench.settle()
        damaged = bench.heard(1)
        account = bench.air.account
        assert account.bad_fcs == len(damaged) == account.fates["noise"] == 20
        for data in damaged:
            head = radiotap.parse_radiotap(data)
            assert isinstance(head, radiotap.Radiotap)
            assert head.flags & radiotap.FLAG_BAD_FCS
            assert drivers.checksum_of(data[head.length : -4]) != data[-4:]
            assert isinstance(parse_frame(data), Refusal)
        assert BAD_FCS in [parse_frame(data) for data in damaged]
    with opened(weak, two("mac80211")) as bench:  # other drivers don't hand them up
        bench.send(0, frame_of(0, 0, 108))
        bench.settle()
        assert bench.heard(1) == []


# --- Senders ------------------------------------------------------------------------------------


def test_the_sender_gets_one_echo_with_transmit_flags_and_no_signal() -> None:
    with opened(PAIR, two("mac80211")) as bench:
        bench.send(0, frame_of(0, 9))
        bench.settle()
        (echo,) = bench.heard(0)
        assert echo == drivers.echo_header(6000) + frame_of(0, 9)[12:]
        seen = parse_frame(echo)
        assert isinstance(seen, Heard)
        assert seen.rssi_dbm is None


def test_silent_drop_takes_the_frame_and_puts_nothing_on_the_air() -> None:
    with opened(PAIR, [PROFILES["silent-drop"], PROFILES["mac80211"]]) as bench:
        for sequence in range(5):
            bench.send(0, frame_of(0, sequence))  # succeeds, as with real drivers
        bench.settle()
        assert bench.heard(0) == bench.heard(1) == []
        assert bench.air.account.frames == {"injected": 5, "silent_drop": 5}
        assert bench.air.imbalances() == []
        bench.send(1, frame_of(1, 0))
        bench.settle()
        assert len(bench.heard(0)) == 1  # it hears as well as any


def test_a_full_driver_queue_stops_reading_and_loses_nothing_that_it_took() -> None:
    sender = replace(PROFILES["mac80211"], queue_frames=4)
    with opened(PAIR, [sender, PROFILES["mac80211"]]) as bench:
        for sequence in range(40):
            bench.send(0, frame_of(0, sequence))
        bench.air.step(0.0)
        assert bench.air.account.frames["injected"] == 4
        assert bench.air.imbalances() == []
        bench.settle()
        assert bench.air.account.frames["finished"] == 40
        assert [sequence_of(data) for data in bench.heard(0)] == list(range(40))  # in their order
        assert [sequence_of(data) for data in bench.heard(1)] == list(range(40))


def sequence_of(data: bytes) -> int:
    seen = parse_frame(data)
    assert isinstance(seen, Heard)
    return int.from_bytes(seen.payload[38:42], "big")


def test_a_header_that_no_driver_would_take_is_counted_by_its_reason() -> None:
    with opened(PAIR, two("mac80211")) as bench:
        bench.send(0, b"\0" * 20)
        bench.send(0, b"\1" + frame_of(0, 0)[1:])
        bench.send(0, frame_of(0, 0, 7))
        bench.settle()
        assert bench.air.account.refused.total() == 3
        assert bench.air.account.refused["bad_rate"] == 1
        assert bench.heard(1) == []
        assert bench.air.imbalances() == []


# --- The account --------------------------------------------------------------------------------


def test_every_frame_of_ten_busy_radios_is_accounted_for() -> None:
    levels: list[list[float | None]] = [
        [None if abs(a - b) in (0, 5) else -55.0 - 7.0 * abs(a - b) for b in range(10)]
        for a in range(10)
    ]
    profiles = [*drivers.drivers_of("mix", 9, 3), PROFILES["fcsfail"]]
    with opened(links_of(levels), profiles) as bench:
        heard: list[int] = [0] * 10
        for sequence in range(30):
            for node in range(10):
                bench.send(node, frame_of(node, sequence, 2))
            bench.settle()
            for node in range(10):
                heard[node] += len(bench.heard(node))
        account = bench.air.account
        assert bench.air.imbalances() == []
        assert account.frames["injected"] == account.frames["finished"] == 300
        assert account.fates.total() == 300 * 8  # each has eight in reach
        assert account.device_full == 0
        assert sum(heard) == account.written + account.echoes + account.bad_fcs
        assert account.echoes == 300
        assert account.fates["delivered"] > 300
        assert set(account.fates) > {"delivered"}  # they did collide


@pytest.mark.parametrize(
    "spoil",
    [
        lambda account: account.frames.update(injected=1),
        lambda account: account.frames.update(finished=1),
        lambda account: account.fates.update(delivered=1),
        lambda account: setattr(account, "written", 1),
    ],
)
def test_the_account_notices_a_frame_that_went_missing(spoil: Callable[[Account], None]) -> None:
    account = Account()
    assert account.imbalances(0, 0) == []
    spoil(account)
    assert len(account.imbalances(0, 0)) == 1


def test_percentiles_are_the_least_delay_that_so_many_do_not_exceed() -> None:
    delays = Delays()
    assert delays.percentile_us(99) is None
    for delay_us in range(1, 101):
        delays.add_ns(1000 * delay_us + 999)
    delays.add_ns(-5)
    assert [delays.percentile_us(p) for p in (0.1, 50, 99, 100)] == [0, 50, 99, 100]


# --- The capture --------------------------------------------------------------------------------


def test_the_capture_holds_what_each_device_was_handed_with_sender_and_sinr() -> None:
    file = io.BytesIO()
    before_ns = time.time_ns()
    with opened(PAIR, two("mac80211-chains"), capture=file) as bench:
        bench.send(0, frame_of(0, 1))
        bench.settle()
        handed = bench.heard(1) + bench.heard(0)
    packets = list(pcap.read_capture(file.getvalue()))
    assert all(isinstance(item, pcap.Packet) for item in packets)
    received, echo = (item for item in packets if isinstance(item, pcap.Packet))
    assert [received.data, echo.data] == handed
    assert received.interface == "node-1"
    assert received.comment == "from node-0, frame 0, SINR 44.0 dB"
    assert (echo.interface, echo.comment) == ("node-0", "sent, frame 0")
    assert before_ns < received.time_ns < time.time_ns() + 10**7
