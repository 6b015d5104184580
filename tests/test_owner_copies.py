"""Old copies of a hotspot's state and second machines with its key: nothing is ever signed twice.

The shipping daemon lives on a virtual machine whose ledger counts different messages for one epoch,
and notes what each beacon says that can be said in one way only.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from doors_helpers import ledger_service, make_ledger, started, wait_for
from owner_helpers import make_spot

from chain.errors import UserError
from chain.io_client import LedgerClient
from chain.params import PRESETS
from hotspot.config import HotspotConfig
from hotspot.health import Fault, State
from hotspot.io_daemon import Daemon
from hotspot.io_queue import DurableQueue
from hotspot.io_voice import mark_file
from hotspot.voice import Hold, Mark, Whose, compute_speech, follow, judge, parse_mark
from radio_sim.io_virtual_machine import VirtualMachine, World, settings

SECOND = 1_000_000_000
EPOCH_NS = PRESETS["testbed"].epoch_ms * 1_000_000
NETWORK, KEY = b"n" * 32, b"k" * 32


class Over(Exception):
    """The time of the test is over."""


@dataclass
class Home:
    """A hotspot's folder and world; `live` lets a process run for so long, then kills it."""

    folder: Path
    world: World = field(default_factory=lambda: World(1, preset="testbed"))
    config: HotspotConfig = field(default_factory=settings)

    def start(self) -> Daemon:
        return Daemon(self.config, self.folder, VirtualMachine(self.world))

    def live(self, epochs: float, daemon: Daemon | None = None) -> Daemon:
        """Until then, new processes follow those that end by themselves."""
        end_ns = self.world.boot_ns + round(epochs * EPOCH_NS)
        daemon = daemon or self.start()
        over = False

        def end() -> None:
            nonlocal over
            over = True
            raise Over

        self.world.at(end_ns, end)
        while not over:
            try:
                daemon.run()
                daemon = self.start()
            except Over:
                daemon._uplink.stop()
                daemon._queue.close()
        return daemon

    def copy(self, name: str) -> Path:
        """A backup of the whole folder."""
        place = self.folder.parent / name
        shutil.copytree(self.folder, place)
        return place

    def put_back(self, backup: Path, *, queue_only: bool) -> None:
        if queue_only:
            for file in self.folder.glob("queue.db*"):
                file.unlink()
            for file in backup.glob("queue.db*"):
                shutil.copy(file, self.folder / file.name)
        else:
            shutil.rmtree(self.folder)
            shutil.copytree(backup, self.folder)

    def expect_one_voice(self) -> None:
        assert max(self.world.messages.values()) == 1
        assert max(len(said) for said in self.world.said.values()) == 1


@pytest.fixture
def home(tmp_path: Path) -> Home:
    folder = tmp_path / "hotspot"
    folder.mkdir()
    return Home(folder)


def names(daemon: Daemon) -> set[Fault]:
    return {trouble.fault for trouble in daemon._health.troubles()}


@pytest.mark.slow
@pytest.mark.soak
def test_an_old_image_beside_a_real_ledger_is_silent_and_then_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "spot"

    def told() -> dict[str, Any]:
        return dict(json.loads((folder / "status.json").read_text()))

    with ledger_service(make_ledger(tmp_path)) as (url, _), LedgerClient(url) as client:
        argv = ["hotspot", "run", "--config", make_spot(folder, url)]

        def newest() -> int:
            spots = client.hotspots()
            return (spots[0].last_epoch or -1) if spots else -1

        with started(argv, tmp_path / "first.log"):
            wait_for("two reports", lambda: newest() >= 4, 120)
            shutil.copytree(folder, tmp_path / "backup")
            before = newest()
            wait_for("two more", lambda: newest() >= before + 2, 60)
        last = newest()
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "backup", folder)
        with started(argv, tmp_path / "second.log"):
            wait_for("the hold", lambda: "RESTORED" in told()["faults"], 60)
            assert told()["state"]["name"] == "LISTEN"
            assert told()["index"] == 0
            wait_for("its end", lambda: newest() > last + 2, 180)
            assert not told()["faults"]
        assert not client.get("/v1/findings")["findings"]


POINTS = (0.2, 0.6, 0.93, 0.999)  # of an epoch: listening, speaking, signing, signed


@pytest.mark.parametrize("queue_only", [True, False])
@pytest.mark.parametrize("away", [False, True])
def test_a_copy_put_back_signs_nothing_twice(home: Home, queue_only: bool, away: bool) -> None:
    put_copies_back(home, POINTS[2:], queue_only=queue_only, away=away)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("queue_only", [True, False])
@pytest.mark.parametrize("away", [False, True])
def test_a_copy_put_back_at_any_point_signs_nothing_twice(
    home: Home, queue_only: bool, away: bool
) -> None:
    put_copies_back(home, tuple(n / 20 for n in range(20)), queue_only=queue_only, away=away)


def put_copies_back(
    home: Home, points: tuple[float, ...], *, queue_only: bool, away: bool
) -> None:
    home.live(3.0)
    for number, point in enumerate(points):
        home.live(1 + point)
        backup = home.copy(f"backup{number}")
        home.live(2.4 + point)
        home.put_back(backup, queue_only=queue_only)
        home.world.switches.ledger = not away
        home.live(2.5)  # what is signed meanwhile waits, and meets what the ledger has
        home.world.switches.ledger = True
        before = len(home.world.messages)
        daemon = home.live(7.0)
        assert daemon._health.standing.state is State.BEACON, daemon._health.standing
        assert not names(daemon)
        assert len(home.world.messages) > before
        home.expect_one_voice()


def test_an_old_queue_beside_its_mark_goes_on_at_once_and_says_so(home: Home) -> None:
    home.live(4.0)
    backup = home.copy("backup")
    home.live(3.0)
    newest = max(home.world.messages)
    home.put_back(backup, queue_only=True)
    daemon = home.start()
    assert daemon._voice.older is not None
    assert daemon._node.memory.last_message_epoch == newest
    daemon._look_after()
    assert names(daemon) == {Fault.RESTORED}
    home.live(2.0, daemon)
    assert max(home.world.messages) >= newest + 2
    home.expect_one_voice()


def test_an_old_image_is_silent_for_a_whole_epoch_and_then_goes_on_as_who_it_was(
    home: Home,
) -> None:
    home.live(4.0)
    backup = home.copy("backup")
    home.live(3.0)
    newest, said = max(home.world.messages), len(home.world.said)
    home.put_back(backup, queue_only=False)
    daemon = home.live(0.9)
    assert daemon._health.standing.state is State.LISTEN
    assert "which this copy didn't send" in daemon._health.standing.reason
    assert names(daemon) == {Fault.RESTORED}
    assert (max(home.world.messages), len(home.world.said)) == (newest, said)
    daemon = home.live(5.0)
    assert daemon._health.standing.state is State.BEACON
    assert max(home.world.messages) > newest + 2
    home.expect_one_voice()


def test_a_new_machine_with_the_keys_takes_up_the_chain_that_the_ledger_knows(home: Home) -> None:
    home.live(4.0)
    key = next(iter(home.world.registered))
    chain = home.world.registered[key]
    backup = home.copy("backup")
    home.put_back(backup, queue_only=False)
    for name in ("queue.db", "queue.db-wal", "queue.db-shm", "hotspot.key.mark"):
        (home.folder / name).unlink(missing_ok=True)
    daemon = home.live(6.0)
    assert daemon._health.standing.state is State.BEACON
    assert (daemon._node.secrets.first_epoch, daemon._node.secrets.length) == chain
    assert home.world.registered == {key: chain}
    home.expect_one_voice()


def test_beside_a_machine_that_signs_with_the_same_key_this_one_stays_silent(home: Home) -> None:
    home.live(4.0)
    other = True

    def sign() -> None:
        if other:
            home.world.messages[home.world.true_epoch()] += 1
            home.world.at(home.world.boot_ns + EPOCH_NS, sign)

    shutil.rmtree(home.folder)
    home.folder.mkdir()
    shutil.copytree(home.copy("empty"), home.folder, dirs_exist_ok=True)
    sign()
    daemon = home.live(6.0)
    assert names(daemon) == {Fault.TWIN}
    assert "another machine signs with this key" in daemon._health.standing.reason
    assert max(home.world.messages.values()) == 1
    other = False
    daemon = home.live(6.0)
    assert not names(daemon)
    assert daemon._health.standing.state is State.BEACON
    assert max(home.world.messages.values()) == 1


def test_a_second_machine_that_comes_later_silences_this_one(home: Home) -> None:
    daemon = home.live(4.0)
    assert daemon._voice.is_open
    ahead = home.world.true_epoch() + 1
    home.world.messages[ahead] += 1  # signed elsewhere a moment before us
    daemon = home.live(1.5)
    assert names(daemon) == {Fault.RESTORED} or names(daemon) == {Fault.TWIN}
    assert max(home.world.messages.values()) == 1


def test_what_was_refused_as_a_fork_silences_it(home: Home) -> None:
    daemon = home.live(4.0)
    daemon = home.start()
    daemon._voice.note_fork()
    daemon._deliver()
    assert daemon._waker.stopping
    daemon._queue.close()
    daemon = home.start()
    assert daemon._voice.hold is not None
    assert daemon._voice.hold.is_twin
    assert daemon._node.index < 0
    daemon._queue.close()


def test_another_cell_is_not_said_under_a_number_that_was_used(home: Home) -> None:
    home.live(3.5)
    place = "891e35a33d7ffff"
    home.config = replace(home.config, hotspot=replace(home.config.hotspot, cell=place))
    daemon = home.start()
    assert daemon._node.memory.quiet_epoch == home.world.true_epoch()
    said = len(home.world.said)
    home.live(0.4, daemon)
    assert len(home.world.said) == said
    home.live(2.0)
    assert len(home.world.said) > said
    home.expect_one_voice()


def test_a_key_that_gave_way_to_another_ends_the_start_with_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = home.live(3.0)
    row = {"last_epoch": 3, "first_epoch": 1, "chain_length": 9, "key": "ab" * 32}
    row["former_keys"] = [{"key": daemon._node.key.hex(), "until_epoch": 3}]
    monkeypatch.setattr("radio_sim.io_virtual_machine._Client.find", lambda *_: row)
    with pytest.raises(UserError, match=r"gave way to abababababababab: this is an old copy"):
        home.start()
    assert "old copy" in json.loads((home.folder / "status.json").read_text())["stopped"]


def test_a_key_put_back_beside_a_daemon_that_ran_with_another_is_itself_again(home: Home) -> None:
    home.live(4.0)
    key = next(iter(home.world.registered))
    paper = (home.folder / "hotspot.key").read_bytes()
    shutil.rmtree(home.folder)
    home.folder.mkdir()
    home.world.registered.clear()  # as if the new key had a hotspot of its own
    home.live(1.0)
    home.world.registered[key] = (1, 6_000)
    (home.folder / "hotspot.key").write_bytes(paper)
    daemon = home.start()
    assert daemon._node.key == key
    assert daemon._member.registration is None
    assert daemon._node.secrets.first_epoch == 1
    daemon._queue.close()


def test_another_network_is_refused_with_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.live(2.0)
    monkeypatch.setattr("radio_sim.io_virtual_machine.NETWORK", b"other".ljust(32))
    with pytest.raises(UserError, match="that ledger is of network 6f74686572"):
        home.start()
    assert "network" in json.loads((home.folder / "status.json").read_text())["stopped"]


def test_a_full_disk_and_a_folder_that_takes_no_mark_stop_nothing(home: Home) -> None:
    home.live(3.0)
    (home.folder / "hotspot.key.mark").unlink()
    (home.folder / "hotspot.key.mark.draft").mkdir()
    before = len(home.world.messages)
    daemon = home.live(3.0)
    assert daemon._health.standing.state is State.BEACON
    assert len(home.world.messages) >= before + 2
    assert not mark_file(home.folder / "hotspot.key").exists()


def test_settled_epochs_only_rise_and_survive_the_rows(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "queue.db")
    assert queue.settled_epoch(KEY) == -1
    queue.note_settled(KEY, 7)
    queue.note_settled(KEY, 5)
    assert (queue.settled_epoch(KEY), queue.settled_epoch(NETWORK)) == (7, -1)
    queue.close()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "\x00", '{"network":1}', "[1,2,3,4,5]"]
    + [Mark(NETWORK.hex(), KEY.hex(), epoch).encode() for epoch in (-2, 1 << 32)]
    + [Mark(NETWORK.hex(), "00" * 32, 5).encode(), Mark("00" * 32, KEY.hex(), 5).encode()]
    + [f'{{"network":"{NETWORK.hex()}","key":"{KEY.hex()}","message_epoch":"5"}}'],
)
def test_a_mark_that_is_damaged_or_of_another_key_says_nothing(text: str) -> None:
    assert parse_mark(text, NETWORK, KEY) == Mark(NETWORK.hex(), KEY.hex())


def test_a_mark_comes_back_as_it_was_kept() -> None:
    mark = Mark(NETWORK.hex(), KEY.hex(), 5, 6, compute_speech(1, 400, 0x891E35A3393FFFF))
    assert parse_mark(mark.encode(), NETWORK, KEY) == mark


def test_a_hold_ends_after_a_whole_silent_epoch_and_begins_anew_with_each_message() -> None:
    hold = Hold(10, 9)
    assert follow(hold, 9, 11) == hold
    assert follow(hold, 9, 12) is None
    twin = follow(hold, 11, 11)
    assert twin == Hold(11, 11, is_twin=True)
    assert twin is not None
    assert follow(twin, 11, 12) == twin
    assert follow(twin, 11, 13) is None


def test_whose_the_newest_message_is() -> None:
    assert judge(-1, -1, None) is Whose.OURS
    assert judge(4, 4, None) is Whose.OURS
    assert judge(5, 4, b"id") is Whose.UNKNOWN
    assert judge(5, 4, None) is Whose.ELSEWHERE
