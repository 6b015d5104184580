"""Neighbours come and go, links are judged by both ends, and nobody else is believed."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from hotspot.netd.asking import MS, needed
from hotspot.netd.links import FAST_MS, HELLO, NOTE, Links, Outgoing, _write

Wire = dict[tuple[int, str], list[tuple[int, str]]]


@dataclass
class Air:
    """Hotspots joined by devices `m<j>`; what is silenced neither sends nor hears."""

    links: list[tuple[int, int]]
    secret: bytes = b""
    now_ns: int = 0
    silent: set[int] = field(default_factory=set)
    spots: dict[int, Links] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in sorted({end for link in self.links for end in link}):
            near = {b for a, b in self.links if a == node} | {a for a, b in self.links if b == node}
            devices = tuple(f"m{other}" for other in sorted(near))
            spot = Links(node, 1, devices, self.secret)
            spot.is_fast = True
            self.spots[node] = spot

    def carry(self, sender: int, out: list[Outgoing]) -> None:
        queue = [(sender, one) for one in out]
        while queue:
            source, one = queue.pop(0)
            target = int(one.device[1:])
            if source in self.silent or target in self.silent:
                continue
            address = f"fe80::{source + 1:x}"
            heard = self.spots[target].receive(one.data, f"m{source}", address, self.now_ns)
            queue += [(target, more) for more in heard]

    def run(self, seconds: float, step_ms: int = 5) -> None:
        end = self.now_ns + round(seconds * 1e9)
        while self.now_ns < end:
            self.now_ns += step_ms * MS
            for node, spot in self.spots.items():
                self.carry(node, spot.tick(self.now_ns))


def is_alive(spot: Links, a: int, b: int) -> bool:
    return b in spot.alive().get(a, ())


DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


def test_all_become_neighbours_and_know_every_link() -> None:
    air = Air(DIAMOND)
    air.run(1.0)
    assert sorted(air.spots[0].up()) == [1, 2]
    assert air.spots[0].alive() == {
        0: frozenset({1, 2}), 1: frozenset({0, 3}), 2: frozenset({0, 3}), 3: frozenset({1, 2})
    }  # fmt: skip


def test_a_silent_relay_is_known_dead_everywhere_within_200_ms() -> None:
    air = Air([*DIAMOND, (3, 4)])
    air.run(3.0)
    air.silent.add(1)
    died_ns = air.now_ns
    while is_alive(air.spots[4], 0, 1) or is_alive(air.spots[0], 1, 3):
        air.run(0.005)
        assert air.now_ns - died_ns < 200 * MS
    assert is_alive(air.spots[0], 0, 2)
    assert sorted(air.spots[0].up()) == [2]


def test_a_relay_that_is_back_is_used_again() -> None:
    air = Air(DIAMOND)
    air.run(1.0)
    air.silent.add(1)
    air.run(1.0)
    air.silent.clear()
    air.run(2.0)
    assert sorted(air.spots[0].up()) == [1, 2]
    assert is_alive(air.spots[3], 0, 1)


def test_a_lost_carrier_is_a_death_at_once() -> None:
    air = Air(DIAMOND)
    air.run(1.0)
    out = air.spots[0].lose_device("m1", air.now_ns)
    assert sorted(air.spots[0].up()) == [2]
    air.carry(0, out)
    assert not is_alive(air.spots[3], 0, 1)


def test_a_link_that_works_one_way_only_is_none() -> None:
    air = Air([(0, 1)])
    air.spots[0].devices = ()  # it hears nothing, and so it says
    air.run(1.0)
    talk = Links(0, 1, ("m1",))
    talk.is_fast = True
    for _ in range(20):
        air.now_ns += FAST_MS * MS
        air.carry(0, talk.tick(air.now_ns))
    assert air.spots[1].up() == {}


def test_loss_makes_it_more_patient() -> None:
    air = Air([(0, 1)])
    air.run(1.0)
    peer = air.spots[0].peers[1, "m1"]
    assert peer.misses() == 3
    for number in range(200):
        air.now_ns += FAST_MS * MS
        if number % 5:
            data = _write(HELLO, 1, 1, 1_000 + number, FAST_MS, [0], b"")
            air.spots[0].receive(data, "m1", "fe80::2", air.now_ns)
    assert 0.1 < peer.loss < 0.3
    assert peer.misses() > 6


def test_a_machine_that_was_late_is_up_with_its_next_hello_and_more_is_allowed_it() -> None:
    air = Air([(0, 1)])
    air.run(1.0)
    air.spots[1].tick(air.now_ns)
    before = air.spots[0].peers[1, "m1"]
    number = before.number
    air.now_ns += 400 * MS
    air.spots[0].tick(air.now_ns)
    assert air.spots[0].up() == {}
    data = _write(HELLO, 1, 1, number + 1, FAST_MS, [0], b"")
    air.spots[0].receive(data, "m1", "fe80::2", air.now_ns)
    assert sorted(air.spots[0].up()) == [1]
    assert before.silent_until_ns() - air.now_ns >= 600 * MS


def test_who_flaps_waits_longer_each_time() -> None:
    air = Air([(0, 1)])
    waits = []
    for _ in range(3):
        air.run(3.0)
        waits.append(air.spots[0].peers[1, "m1"].up_after)
        air.silent.add(1)
        air.run(0.6)
        air.silent.clear()
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]


def test_only_who_has_the_secret_is_heard() -> None:
    air = Air(DIAMOND, secret=b"sixteen bytes or more")
    air.spots[1] = Links(1, 1, ("m0", "m3"), b"another secret, no less long")
    air.spots[1].is_fast = True
    air.run(1.0)
    assert sorted(air.spots[0].up()) == [2]
    assert air.spots[0].refused > 0


def test_old_datagrams_are_not_heard_again() -> None:
    air = Air([(0, 1)])
    air.run(1.0)
    kept = _write(HELLO, 1, 1, 3, FAST_MS, [0], b"")
    refused = air.spots[0].refused
    air.spots[0].receive(kept, "m1", "fe80::2", air.now_ns)
    assert air.spots[0].refused == refused + 1
    note = _write(NOTE, 1, 1, 1, 0, [], b"")
    assert air.spots[0].receive(note, "m1", "fe80::2", air.now_ns) == []
    assert is_alive(air.spots[0], 0, 1)


def test_a_restart_is_a_new_neighbour() -> None:
    air = Air([(0, 1)])
    air.run(1.0)
    air.spots[1] = Links(1, 2, ("m0",))
    air.spots[1].is_fast = True
    air.run(0.06)
    assert air.spots[0].up() == {}
    air.run(1.0)
    assert sorted(air.spots[0].up()) == [1]


def test_addresses_that_routers_pass_on_are_refused() -> None:
    air = Air([(0, 1)])
    data = _write(HELLO, 1, 1, 1, FAST_MS, [0], b"")
    air.spots[0].receive(data, "m1", "fd57::2", 0)
    assert air.spots[0].peers == {}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), st.booleans())
def test_no_datagram_breaks_it(data: bytes, is_ours: bool) -> None:
    spot = Links(0, 1, ("m1",))
    spot.receive((b"WCn1" if is_ours else b"") + data, "m1", "fe80::2", 1)
    spot.tick(2)
    assert spot.up() == {}


def test_who_comes_later_is_told_the_whole_mesh_at_once() -> None:
    chain = [(n, n + 1) for n in range(40)]
    air = Air(chain)
    late = air.spots.pop(0)
    air.spots[0] = Links(0, 1, ())  # hotspot 0 is there, and deaf
    air.run(6.0)
    air.spots[0] = Links(0, 2, late.devices)
    air.spots[0].is_fast = True
    came_ns = air.now_ns
    while len(air.spots[0].alive()) < 41:
        air.run(0.005)
        assert air.now_ns - came_ns < 500 * MS
    assert is_alive(air.spots[0], 39, 40)
    assert is_alive(air.spots[40], 0, 1)


# --- echoes ---------------------------------------------------------------------------------------


def asked(air: Air, seconds: float, *, answering: bool = True, hellos: bool = True) -> None:
    """Let time pass between hotspots 0 and 1, where 1's kernel answers echoes or doesn't."""
    spot, end = air.spots[0], air.now_ns + round(seconds * 1e9)
    spot.can_ask = True
    while air.now_ns < end:
        air.now_ns += MS
        for node, one in air.spots.items():
            if hellos or node == 0:
                air.carry(node, one.tick(air.now_ns))
        for ping in spot.ask(air.now_ns):
            if answering:
                spot.take_answer(ping.device, ping.address, ping.number, air.now_ns + MS // 2)


def test_a_busy_machine_whose_kernel_answers_is_not_dead() -> None:
    air = Air([(0, 1)])
    asked(air, 1.0)
    asked(air, 1.5, hellos=False)
    assert sorted(air.spots[0].up()) == [1]
    asked(air, 0.6, hellos=False)  # but whose netd is gone for two seconds is
    assert air.spots[0].up() == {}


def test_a_silent_machine_is_dead_soon_however_late_it_used_to_be() -> None:
    air = Air([(0, 1)])
    asked(air, 1.0)
    for _ in range(3):
        asked(air, 0.8, hellos=False)
        asked(air, 0.5)
    peer = air.spots[0].peers[1, "m1"]
    assert peer.silent_until_ns() - peer.heard_ns > 1_000 * MS  # by hellos alone
    began_ns = air.now_ns
    while air.spots[0].up():
        asked(air, 0.001, hellos=False, answering=False)
        assert air.now_ns - began_ns < 250 * MS


def test_who_never_answers_echoes_is_judged_by_hellos() -> None:
    air = Air([(0, 1)])
    asked(air, 7.0, answering=False)
    assert sorted(air.spots[0].up()) == [1]
    asked(air, 0.09, answering=False, hellos=False)
    assert sorted(air.spots[0].up()) == [1]
    asked(air, 0.2, answering=False, hellos=False)
    assert air.spots[0].up() == {}


def test_an_answer_that_nobody_asked_for_is_counted_and_changes_nothing() -> None:
    air = Air([(0, 1)])
    asked(air, 1.0)
    refused = air.spots[0].refused
    air.spots[0].take_answer("m1", "fe80::2", 4_000_000, air.now_ns)
    air.spots[0].take_answer("m1", "fe80::99", 1, air.now_ns)
    assert air.spots[0].refused == refused + 1


def test_lossy_links_are_asked_more_often_before_they_are_given_up() -> None:
    assert needed(0.0) == 5
    assert [needed(p) for p in (0.05, 0.1, 0.3, 0.9)] == sorted(
        needed(p) for p in (0.05, 0.1, 0.3, 0.9)
    )
    assert (1 - (1 - 0.1) ** 2) ** needed(0.1) < 1e-6 * 10
    assert needed(0.9) == 20


def test_time_goes_on_whatever_is_answered() -> None:
    """Whoever is told to look again at some time must find something done then: no spinning."""
    air = Air([(0, 1)])
    spot = air.spots[0]
    asked(air, 1.0)
    looks, end = 0, air.now_ns + 40_000 * MS
    while air.now_ns < end:
        air.now_ns = max(spot.next_ns(air.now_ns), air.now_ns + 1)
        looks += 1
        spot.tick(air.now_ns)
        spot.ask(air.now_ns)
        if looks % 3 == 0 and air.now_ns % 7 < 5:
            data = _write(HELLO, 1, 1, 10_000 + looks, FAST_MS, [0], b"")
            spot.receive(data, "m1", "fe80::2", air.now_ns)
    assert looks < 40 * 150  # hellos, and echoes in every doubt
