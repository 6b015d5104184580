"""Frames that are read once for all who hear them: the same as everybody reading for himself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node_helpers import MS, NETWORK, START_MS, make_node, mix_of, received

from bench import world as bench_world
from chain.params import PRESETS
from chain.records import Refusal
from hotspot.actions import Action, FetchMix, SendFrame
from hotspot.directory import Directory
from hotspot.node import HotspotNode, beacon_verifier, read_spoken
from hotspot.overlay.relay import RelayNode
from hotspot.radio.frame import SIGNED_BYTES, build_frame, parse_frame
from radio_sim import fleet as fleets
from radio_sim.agents import HotspotAgent, make_reader
from radio_sim.assemble import links_of, medium_of
from radio_sim.city import make_city
from radio_sim.fleet import Fleet, get_beacons
from radio_sim.world import World

PARAMS = PRESETS["testbed"]
EPOCHS = 4
END_NS = (START_MS + EPOCHS * PARAMS.epoch_ms) * MS
HEAD_BYTES = 22  # of `received`: where its body starts


def beacons_of(name: str, directory: Directory, index: int) -> list[tuple[int, bytes]]:
    """(time_ns, received frame) of everything that a node on its own puts on the air."""
    node, sent = make_node(name, PARAMS, directory), []
    node.receive_registration(index, PARAMS.bind_epochs, START_MS * MS)
    while (due_ns := node.next_deadline()) is not None and due_ns < END_NS:
        node.handle_deadline(due_ns)
        for action in node.take_actions():
            if isinstance(action, FetchMix):
                node.receive_mix(action.epoch, mix_of(action.epoch), due_ns)
            elif isinstance(action, SendFrame):
                sent.append((due_ns, received(action.frame)))
    return sent


def broken(frame: bytes) -> bytes:
    """The same frame with a signature that doesn't hold."""
    return frame[:-1] + bytes((frame[-1] ^ 1,))


def hear_shared(node: HotspotNode, frame: bytes, now_ns: int) -> bool:
    """Hand over what reading the body alone comes to, as a world does; whether that matters."""
    spoken = make_reader(node.directory)(frame[HEAD_BYTES:])
    heard = parse_frame(frame)
    assert not isinstance(heard, Refusal)
    assert spoken is not None
    return node.receive_spoken(spoken, heard.rssi_dbm, heard.frequency_mhz, now_ns)


def view_of(node: HotspotNode) -> tuple[object, ...]:
    """What can be seen of a node from outside."""
    return (dict(node.counts), node.last_heard, node.next_deadline(), node.take_actions())


STEPS = st.lists(
    st.tuples(
        st.integers(0, 59),  # which beacon of the three neighbours
        st.integers(-40_000, 40_000),  # ms too early or too late: other epochs, after the freeze
        st.sampled_from(["whole", "broken", "own"]),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=30, deadline=None)
def test_what_was_read_for_all_is_heard_as_if_one_had_read_it_oneself(
    steps: list[tuple[int, int, str]],
) -> None:
    directory = Directory()
    air = [beacon for n in (1, 2) for beacon in beacons_of(f"n{n}", directory, n)]
    air += beacons_of("stranger", Directory(), 7)  # no key of this directory
    own = beacons_of("me", directory, 0)
    alone, shared = (make_node("me", PARAMS, directory) for _ in range(2))
    for node in (alone, shared):
        node.receive_registration(0, PARAMS.bind_epochs, START_MS * MS)
    told = sorted((air[place % len(air)][0] + ms * MS, place, kind) for place, ms, kind in steps)
    for now_ns, place, kind in told:
        frame = (own if kind == "own" else air)[place % len(own)][1]
        frame = broken(frame) if kind == "broken" else frame
        for node in (alone, shared):
            while (due_ns := node.next_deadline()) is not None and due_ns <= now_ns:
                node.handle_deadline(due_ns)
        before = view_of(shared)
        assert before == view_of(alone)
        alone.receive_frame(frame, now_ns)
        matters = hear_shared(shared, frame, now_ns)
        due_ns, after = shared.next_deadline(), view_of(shared)
        assert after == view_of(alone)
        assert matters or (due_ns, after[3]) == (before[2], [])


def test_each_check_is_made_once_or_every_time_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def count(key: bytes, name: str, network: bytes, body: bytes, signature: bytes) -> bool:
        made.append(body)
        return True

    monkeypatch.setattr("hotspot.node.verify", count)
    payload = bytes(141)
    once, every = (beacon_verifier(NETWORK, remembers=remembers) for remembers in (True, False))
    assert all(once(bytes(32), payload) for _ in range(3))
    assert made == [payload[:SIGNED_BYTES]]
    assert all(every(bytes(32), payload) for _ in range(3))
    assert len(made) == 4


def test_a_shared_answer_is_that_of_its_bytes_and_no_others() -> None:
    """A bad signature stays bad, also right after the good one and the other way round."""
    directory = Directory()
    frame = beacons_of("n1", directory, 1)[0][1]
    good, bad = (read_spoken(f[-141:], directory) for f in (frame, broken(frame)))
    check = beacon_verifier(NETWORK)
    answers = [check(s.key, s.payload) for s in (good, bad, good, bad)]
    assert answers == [True, False, True, False]


def test_a_fleet_runs_the_same_whoever_reads_and_checks() -> None:
    city = make_city(40, 2, per_km2=28.0)
    runs = [Fleet(city, 2, "testbed", verify_every=every) for every in (False, True)]
    for fleet in runs:
        fleet.run(5 * 60)
    assert runs[0].summary() == runs[1].summary()
    assert runs[0].summary().verdicts["counted"] > 100


@dataclass
class Ears:
    """An agent that only listens; `shares` gives it a method for what was read for all."""

    frames: list[bytes] = field(default_factory=list)

    def receive_frame(self, data: bytes, now_ns: int) -> None:
        self.frames.append(data)

    def receive_datagram(self, data: bytes, peer: int, now_ns: int) -> None:
        raise AssertionError("nobody sends datagrams here")

    def next_deadline(self) -> int | None:
        return None

    def handle_deadline(self, now_ns: int) -> None:
        raise AssertionError("nothing is due")

    def take_actions(self) -> list[Action]:
        return []


class SharingEars(Ears):
    """Takes what was read for all, too."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: list[tuple[object, int | None, int, int]] = []

    def receive_shared(
        self, what: object, rssi_dbm: int | None, frequency_mhz: int, now_ns: int
    ) -> bool:
        self.shared.append((what, rssi_dbm, frequency_mhz, now_ns))
        return False


def listen(read: Callable[[bytes], object] | None) -> tuple[World, list[SharingEars], list[Ears]]:
    """Frames cross a small city: even hotspots share, odd ones don't, the last is elsewhere."""
    city = make_city(20, 3, per_km2=40.0)
    sharing = [SharingEars() for _ in range(10)]
    plain = [Ears() for _ in range(10)]
    agents = [ears for pair in zip(sharing, plain, strict=True) for ears in pair]
    world = World([*agents[:-1], None], medium_of(city, links_of(city, 3), 3), 3, read=read)
    world.external_frames[19] = plain[9].receive_frame
    body = build_frame(bytes(141), bytes(6), 0)
    for sender in range(19):
        world.inject_frame(sender, SendFrame(body, 0, 2437), sender * 10**8)
    world.run_until(10**10)
    return world, sharing, plain


def test_who_shares_gets_what_was_read_and_all_others_bytes_with_their_drivers_header() -> None:
    _, sharing, plain = listen(len)
    mine, bytes_only = listen(None)[1:]
    assert [len(one.shared) for one in sharing] == [len(one.frames) for one in mine]
    assert sum(len(one.shared) for one in sharing) > 50
    for one, other in zip(sharing, mine, strict=True):
        assert not one.frames
        assert not other.shared
        heard = [parse_frame(frame) for frame in other.frames]
        levels = [entry.rssi_dbm for entry in heard if not isinstance(entry, Refusal)]
        assert [rssi for _, rssi, _, _ in one.shared] == levels
        assert {(what, mhz) for what, _, mhz, _ in one.shared} <= {(24 + 5 + 6 + 141, 2437)}
    assert [one.frames for one in plain] == [one.frames for one in bytes_only]
    assert plain[9].frames


def test_reading_for_all_changes_no_event() -> None:
    assert listen(len)[0].digest() == listen(None)[0].digest()


class Asked:
    """A relay that says when it was asked."""

    def next_deadline(self) -> int | None:
        return 5

    def handle_deadline(self, now_ns: int) -> None:
        self.at_ns = now_ns

    def take_actions(self) -> list[Action]:
        return [SendFrame(b"", 0, 1)]


def test_an_agent_asks_both_machines_from_its_relay_on() -> None:
    agent = HotspotAgent(make_node("a", PARAMS, Directory()))
    assert (agent.next_deadline(), agent.take_actions()) == (None, [])
    relay: object = Asked()
    assert not isinstance(relay, RelayNode)
    agent.relay = relay  # type: ignore[assignment]
    agent.handle_deadline(5)
    assert (agent.next_deadline(), len(agent.take_actions())) == (5, 1)
    assert relay.at_ns == 5  # type: ignore[attr-defined]
    agent.relay = None
    assert (agent.next_deadline(), agent.take_actions()) == (None, [])


@pytest.mark.parametrize(("preset", "seconds"), [("mainnet", 50), ("testbed", 5)])
def test_a_reception_waits_a_twelfth_of_an_epoch_for_storage(preset: str, seconds: int) -> None:
    params, directory = PRESETS[preset], Directory()
    node, start_ns = make_node("me", params, directory), START_MS * MS
    node.receive_registration(0, 0, start_ns)
    begins_ns = start_ns + params.bind_epochs * params.epoch_ms * MS
    node.handle_deadline(begins_ns)
    node.receive_mix(params.bind_epochs, mix_of(params.bind_epochs), begins_ns)
    node.take_actions()
    other = make_node("n1", params, directory)
    other.receive_registration(1, 0, start_ns)
    other.handle_deadline(begins_ns)
    other.receive_mix(params.bind_epochs, mix_of(params.bind_epochs), begins_ns)
    sent_ns = other.next_deadline()
    assert sent_ns is not None
    other.handle_deadline(sent_ns)
    frames = [a.frame for a in other.take_actions() if isinstance(a, SendFrame)]
    node.receive_frame(received(frames[0]), begins_ns + 1)
    assert node.kept(params.bind_epochs) == 0
    due_ns = node.next_deadline()
    assert due_ns is not None
    assert due_ns <= begins_ns + 1 + seconds * 1000 * MS
    node.handle_deadline(begins_ns + 1 + seconds * 1000 * MS)
    assert node.kept(params.bind_epochs) == 1


def test_hotspots_may_beacon_less_often_than_counts() -> None:
    fleet = Fleet(make_city(12, 1, per_km2=28.0), 1, "testbed", beacons=1)
    fleet.run(5 * 60)
    summary = fleet.summary()
    assert summary.beacons_sent == 12 * 3
    assert summary.receptions > 12 * 3
    assert summary.verdicts["counted"]
    assert fleet.ledger.params.beacons_per_epoch == 6


@pytest.mark.parametrize("wished", [0, 7, -1])
def test_more_beacons_than_count_or_none_are_refused(wished: int) -> None:
    with pytest.raises(ValueError, match="use 1 to 6"):
        get_beacons(PARAMS, wished)


def test_a_denser_city_hears_more() -> None:
    heard = []
    for per_km2 in (11.0, 28.0):
        links = links_of(make_city(300, 1, per_km2=per_km2), 1)
        heard.append(len(links.neighbours) / 300)
    assert heard[1] > 1.8 * heard[0]
    with pytest.raises(ValueError, match="per_km2"):
        make_city(10, per_km2=61.0)
    assert make_city(50, 1, per_km2=60.0).name == "city-50-1-60"


def run_bench(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench as its command runs it, among eight hotspots."""
    monkeypatch.setattr(sys, "argv", ["bench.world", "--json", "--hotspots", "8", *arguments])
    assert bench_world.main() == 0


def test_the_bench_measures_each_cadence_by_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for verify in ("once", "every"):
        run_bench(["--verify", verify], monkeypatch)
        outcomes.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    first, second = outcomes
    assert first["digest"] == second["digest"]
    assert (first["verify"], second["verify"], first["workers"]) == ("once", "every", 1)
    epoch, minute = first["runs"]["epoch"], first["runs"]["minute"]
    assert (epoch["transmissions"], epoch["simulated_s"]) == (8 * 6, 3600)
    assert (minute["transmissions"], minute["simulated_s"]) == (8 * 10, 600)
    assert first["realtime_factor"] == epoch["realtime_factor"]
    assert first["realtime_factor_minute"] == minute["realtime_factor"]
    assert first["degree"] == {"epoch": epoch["heard_by"], "minute": minute["heard_by"]}


def test_the_bench_names_an_unknown_cadence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        run_bench(["--cadence", "epoch,hour"], monkeypatch)
    assert "'hour'" in capsys.readouterr().err


def test_a_summary_counts_the_cells_of_witnesses_that_counted() -> None:
    fleet = Fleet(make_city(12, 1, per_km2=28.0), 1, "testbed")
    assert asdict(fleet.summary())["cells_covered"] == 0
    fleet.run(5 * 60)
    assert 0 < fleet.summary().cells_covered <= 12
    assert fleets.trust_seeds(12) == [0]
