"""A hotspot takes another key while it runs: nothing twice, nothing missing, cut off or not."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doors_helpers import Done, ledger_service, make_ledger, run
from owner_helpers import make_spot, started, wait_for
from test_owner_week import live_until

from chain.draws import chain_link
from chain.io_client import LedgerClient
from chain.io_keys import load_seed, save_seed
from chain.keys import public_key, verify
from chain.records import EpochMessage, KeyRotationObjection, Signed
from chain.wire import decode
from hotspot import io_keyring, io_rotation
from hotspot.io_daemon import Daemon
from hotspot.io_queue import DurableQueue
from hotspot.io_rotation import ACCEPTED, ASKED, KeyChange, Plan, read_plan, write_plan
from radio_sim.io_virtual_machine import (
    NETWORK,
    VirtualMachine,
    VirtualUplink,
    World,
    settings,
)
from radio_sim.io_week import MINUTE

NEXT = bytes(range(32))
NEW = public_key(NEXT)
LENGTH = 500


class Heard:
    """What reached the ledger, by epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: dict[int, list[Signed]] = defaultdict(list)
        inner = VirtualUplink._store

        def store(uplink: VirtualUplink, wire: bytes) -> object:
            signed = decode(wire)
            if isinstance(signed, Signed) and isinstance(signed.record, EpochMessage):
                self.messages[signed.record.epoch].append(signed)
            return inner(uplink, wire)

        monkeypatch.setattr(VirtualUplink, "_store", store)

    def signer(self, epoch: int, keys: list[bytes]) -> bytes:
        """Whose signature the one message of an epoch carries."""
        (signed,) = {signed.record_id: signed for signed in self.messages[epoch]}.values()
        (signature,) = signed.signatures
        (key,) = (k for k in keys if verify(k, EpochMessage.NAME, NETWORK, signed.body, signature))
        return key

    def record(self, epoch: int) -> EpochMessage:
        record = self.messages[epoch][0].record
        assert isinstance(record, EpochMessage)
        return record


def plan_a_change(folder: Path, world: World) -> int:
    """What `key rotate` leaves behind; the epoch from which the new key speaks."""
    save_seed(folder / "hotspot.key.next", NEXT)
    queue = DurableQueue(folder / "queue.db")
    from_epoch = world.true_epoch() + 2
    write_plan(queue, Plan(NEW.hex(), from_epoch, LENGTH, ACCEPTED))
    queue.close()
    return from_epoch


def close(daemon: Daemon) -> None:
    daemon._uplink.stop()
    daemon._queue.close()


def test_a_running_daemon_changes_over_and_reports_every_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, world = Heard(monkeypatch), World(1)
    daemon = Daemon(settings(), tmp_path, VirtualMachine(world))
    old = daemon._node.key
    live_until(daemon, world, 45 * MINUTE)
    from_epoch = plan_a_change(tmp_path, world)
    daemon.run()  # returns when it wants to begin anew
    assert daemon._machine.wants_anew  # type: ignore[attr-defined]
    assert world.true_epoch() == from_epoch
    again = Daemon(settings(), tmp_path, VirtualMachine(world))
    assert again._node.key == NEW
    live_until(again, world, 45 * MINUTE)
    told = sorted(heard.messages)
    assert told == list(range(told[0], world.true_epoch()))
    assert [heard.signer(epoch, [old, NEW]) for epoch in told] == [
        old if epoch < from_epoch else NEW for epoch in told
    ]
    first = heard.record(from_epoch)
    assert chain_link(first.reveal) == heard.record(from_epoch - 1).reveal, "of the old chain"
    assert first.report, "what the old key heard in its last epoch"
    after = heard.record(from_epoch + 1)
    assert chain_link(after.reveal) == again._node.secrets.anchor
    assert public_key(load_seed(tmp_path / f"hotspot.key.{old.hex()[:16]}.old")) == old
    assert not world.kept - world.reported - {
        row for row in world.kept if row[0] >= world.true_epoch() - 1
    }
    close(again)


@pytest.mark.parametrize("cut", ["keep_old", "take_over", "finish_move", "write_plan"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_change_that_is_cut_off_anywhere_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str, late: bool
) -> None:
    path = tmp_path / "hotspot.key"
    save_seed(path, bytes(32))
    save_seed(tmp_path / "hotspot.key.next", NEXT)
    queue = DurableQueue(tmp_path / "queue.db")
    queue.set_note("chain", json.dumps([1, 100]).encode())
    plan = Plan(NEW.hex(), 9, LENGTH, ACCEPTED)
    write_plan(queue, plan)
    with monkeypatch.context() as patch:
        place = queue if cut == "take_over" else io_rotation
        patch.setattr(place, cut, cutting(getattr(place, cut), late))
        with pytest.raises(KeyboardInterrupt):
            io_rotation.change_over(queue, path, plan)
    assert load_seed(path) in (bytes(32), NEXT), "there is a key at every moment"
    if not io_rotation.finish_move(queue, path) and load_seed(path) == bytes(32):
        left = read_plan(queue)
        assert left == plan, "it is still to be done"
        io_rotation.change_over(queue, path, plan)
    assert load_seed(path) == NEXT
    assert load_seed(tmp_path / f"hotspot.key.{public_key(bytes(32)).hex()[:16]}.old") == bytes(32)
    assert queue.note("chain") == json.dumps([9, LENGTH]).encode()
    assert read_plan(queue) is None
    link = io_rotation.link_before(queue, path, 9, 9)
    assert link is not None
    assert link == io_rotation.SecretChain(bytes(32), 1, 100).link(8)
    assert io_rotation.link_before(queue, path, 9, 12) is None, "nobody asks for it any more"
    queue.close()


def cutting(inner: Callable[..., object], late: bool) -> Callable[..., object]:
    def cut(*values: object) -> object:
        if late:
            inner(*values)
        raise KeyboardInterrupt

    return cut


class Node:
    """As much of a node as an objection needs."""

    index = 4

    class identity:  # noqa: N801 - an attribute of the node
        seed = bytes(32)


def test_a_key_that_isnt_lost_objects_once_to_a_change_that_the_owner_alone_asked_for(
    tmp_path: Path,
) -> None:
    queue = DurableQueue(tmp_path / "queue.db")
    change = KeyChange(queue, tmp_path / "hotspot.key")
    foreign = {"id": "ab" * 32, "new_key": "cd" * 32, "from_epoch": 90, "by": "owner"}
    wire = change.hear(foreign, Node(), NETWORK)  # type: ignore[arg-type]
    assert wire is not None
    signed = decode(wire)
    assert isinstance(signed, Signed)
    assert signed.record == KeyRotationObjection(4, bytes.fromhex("ab" * 32))
    assert change.hear(foreign, Node(), NETWORK) is None  # type: ignore[arg-type]
    for harmless in (None, {**foreign, "id": "ef" * 32, "by": "keys"}):
        assert change.hear(harmless, Node(), NETWORK) is None  # type: ignore[arg-type]
    queue.close()


def test_an_answer_that_was_lost_is_learnt_from_the_ledger(tmp_path: Path) -> None:
    queue = DurableQueue(tmp_path / "queue.db")
    write_plan(queue, Plan(NEW.hex(), 9, LENGTH, ASKED))
    change = KeyChange(queue, tmp_path / "hotspot.key")
    assert not change.is_due(9)
    told = {"id": "ab" * 32, "new_key": NEW.hex(), "from_epoch": 9, "by": "owner"}
    assert change.hear(told, Node(), NETWORK) is None  # type: ignore[arg-type]
    assert not change.is_due(8)
    assert change.is_due(9)
    assert read_plan(queue) == Plan(NEW.hex(), 9, LENGTH, ACCEPTED)
    queue.close()


# --- with a ledger --------------------------------------------------------------------------------


def rotate(folder: Path, *rest: object) -> Done:
    config = ("--config", folder / "hotspot.toml", "--json")
    return run("hotspot", "key", "rotate", "--which", "hotspot", *config, *rest)


def status(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "status.json").read_text()))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Path]]]:
    """A ledger, and the folders of two hotspots that it knows; their daemons were stopped."""
    folder = tmp_path_factory.mktemp("rotation")
    place = make_ledger(folder)
    with ledger_service(place) as (url, _), contextlib.ExitStack() as daemons:
        spots = [make_spot(folder / name, url).parent for name in ("planned", "lost")]
        refused = rotate(spots[0])
        assert (refused.code, "register it first" in refused.err) == (2, True)
        for spot in spots:
            words = ["hotspot", "run", "--config", spot / "hotspot.toml"]
            daemons.enter_context(started(words, spot / "log"))
        for spot in spots:
            wait_for("registration", lambda s=spot: int(str(status(s)["index"])) >= 0, 30)  # type: ignore[misc]
        daemons.close()
        yield url, spots


def test_a_change_is_named_to_the_ledger_once_and_the_phrase_is_shown_once(
    town: tuple[str, list[Path]],
) -> None:
    url, (folder, _) = town
    said, again = (json.loads(rotate(folder).out) for _ in range(2))
    with LedgerClient(url) as client:
        row = client.get(f"/v1/hotspots/{status(folder)['index']}")
    assert row["rotation"]["new_key"] == said["key"] == again["key"]
    assert row["rotation"]["from_epoch"] == said["from_epoch"] == again["from_epoch"]
    assert row["rotation"]["by"] == "keys"
    assert row["key"] == public_key(load_seed(folder / "hotspot.key")).hex()
    assert ("phrase" in said, "phrase" in again) == (True, False)
    queue = DurableQueue(folder / "queue.db")
    plan = read_plan(queue)
    assert plan is not None
    assert (plan.state, plan.new_key) == (ACCEPTED, said["key"])
    queue.close()


def test_a_lost_key_takes_the_owners_word_and_days(town: tuple[str, list[Path]]) -> None:
    url, (_, folder) = town
    (folder / "hotspot.key").unlink()
    said = json.loads(rotate(folder, "--lost").out)
    with LedgerClient(url) as client:
        rotation = client.get(f"/v1/hotspots/{status(folder)['index']}")["rotation"]
        assert rotation["by"] == "owner"
        assert rotation["from_epoch"] > client.head().epoch + 25
    assert said["from_epoch"] == rotation["from_epoch"]
    assert "run this once more" in said["note"]
    bad = rotate(folder, "--lost", "--which", "owner")
    assert (bad.code, "--lost" in bad.err) == (2, True)


def test_the_new_key_is_put_in_its_place_once_it_speaks(
    tmp_path: Path,
) -> None:
    """The days that a lost key takes are over: what `--lost` does when it is run once more."""
    path = tmp_path / "hotspot.key"
    save_seed(tmp_path / "hotspot.key.next", NEXT)
    queue = DurableQueue(tmp_path / "queue.db")
    plan = Plan(NEW.hex(), 9, LENGTH, ACCEPTED)
    write_plan(queue, plan)
    told: list[str] = []

    class Client:
        def find(self, place: str) -> dict[str, object]:
            return {"key": NEW.hex(), "rotation": None, "index": 4}

    queue.set_note("peers", json.dumps([[4, 2], []]).encode())
    job = io_keyring.Rotation(settings(), tmp_path, Client(), queue, b"", NEXT, told.append)  # type: ignore[arg-type]
    for _ in range(2):
        assert "start the daemon" in io_keyring._rotate_hotspot(job, path)["note"]
    assert told == ["put the new key in its place"]
    assert load_seed(path) == NEXT
    assert queue.note("chain") == json.dumps([9, LENGTH]).encode()
    queue.close()


@pytest.mark.slow
@pytest.mark.soak
def test_a_live_hotspot_keeps_its_index_and_reports_under_the_new_key(tmp_path: Path) -> None:
    place = make_ledger(tmp_path)
    with ledger_service(place) as (url, _):
        config = make_spot(tmp_path / "spot", url)
        folder = config.parent
        with started(["hotspot", "run", "--config", config], tmp_path / "log"):
            wait_for("registration", lambda: status(folder)["index"] == 0, 30)
            said = json.loads(rotate(folder).out)
            wait_for("the change", lambda: status(folder)["key"] == said["key"], 90)
            with LedgerClient(url) as client:
                until = int(said["from_epoch"]) + 2

                def reported() -> bool:
                    return int(client.get("/v1/hotspots/0")["last_epoch"] or 0) >= until

                wait_for("reports", reported, 90)
                row = client.get("/v1/hotspots/0")
        assert row["key"] == said["key"]
        assert status(folder)["index"] == 0
        assert "refused" not in (tmp_path / "log").read_text()
