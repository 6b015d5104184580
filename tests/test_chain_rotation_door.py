"""Another key, and who is too loud, through the doors: disk, audit, explanations, service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain import draws, keys, wire
from chain.cli.io_cli import main as chain_main
from chain.errors import UserError
from chain.explain import explain_beacon
from chain.io_audit import audit
from chain.io_explain import explain
from chain.io_keys import save_seed
from chain.io_ledger import DurableLedger
from chain.ledger import Ledger, Sealed
from chain.records import KeyRotation, Reception
from chain.store.io_restore import load_ledger
from chain.store.io_store import Store
from chain.vectors import scenarios_rotations as runs
from chain.vectors.runs import make_town
from chain.vectors.town import Town

from .ops_helpers import Running, town_on_disk

Shown = pytest.CaptureFixture[str]
NEW_SEED = bytes(range(32))


def save(town: Town, path: Path) -> Path:
    """A town's ledger on the disk."""
    store, first = Store.create(str(path)), list[Sealed]()
    ledger = Ledger(town.genesis, on_block=first.append)
    store.append(first)
    durable = DurableLedger(ledger, store)
    for step in town.steps:
        durable.submit(list(step.wires), step.time_ms)
    assert durable.ledger.head == town.ledger.head
    store.close()
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Town]:
    """The ledger of a planned rotation, on the disk, and its town."""
    town = make_town("doors", "minimal", runs.planned)
    return save(town, tmp_path_factory.mktemp("rotation") / "ledger.db"), town


def test_a_ledger_with_a_rotation_is_read_again_and_audited(saved: tuple[Path, Town]) -> None:
    path, town = saved
    result = audit(path)
    assert result.ok, result.problem
    store = Store.open(path, read_only=True)
    state = load_ledger(store).state
    store.close()
    assert state.former_keys == town.ledger.state.former_keys
    assert state.index_of == town.ledger.state.index_of
    assert state.hotspots[1].key == town.key("next", 1)


def test_an_explanation_is_found_by_every_key_and_names_them_all(
    saved: tuple[Path, Town],
) -> None:
    path, town = saved
    store = Store.open(path, read_only=True)
    names = ("1", town.key("hotspot", 1).hex(), town.key("next", 1).hex())
    answers = [explain(store, name) for name in names]
    store.close()
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["key"] == town.key("next", 1).hex()
    (former,) = answers[0]["former_keys"]
    assert former["key"] == town.key("hotspot", 1).hex()
    assert "rotation" not in answers[0]


def test_a_cut_of_long_ago_is_explained_from_the_disk(tmp_path: Path) -> None:
    """Who was too loud: what the judgement says at hand, the database says for good."""

    def edit(_: int, heard: list[Reception]) -> list[Reception]:
        return [replace(r, rssi_cdbm=r.rssi_cdbm + 1_500 * (r.heard == 2)) for r in heard]

    town = Town("loud")
    town.join()
    for epoch in range(2, 5):
        town.run_epoch(epoch, edit)
    town.go_to(5)
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    told = explain_beacon(judgement, 2, 0)
    assert told["power"]["cut_cdb"] > 1_000
    path = save(town, tmp_path / "ledger.db")
    assert audit(path).ok
    store = Store.open(path, read_only=True)
    assert explain(store, "2:3:0") == told
    assert "weaker_cdb" not in str(explain(store, "2"))
    store.close()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    running = Running(tmp_path, town_on_disk(tmp_path, 4), monkeypatch)
    yield running
    running.close()


def ask_for_lost_key(service: Running) -> str:
    """Hotspot 0's owner says its key is lost; the record's id."""
    town, state = service.town, service.durable.ledger.state
    first = state.epoch + town.params.rotation_delay_epochs
    record = KeyRotation(0, keys.public_key(NEW_SEED), first, 100, draws.chain_link(NEW_SEED))
    sealed = wire.seal(record, state.network_id, [NEW_SEED, town.owner_seeds[0]])
    (result,) = service.on_loop(lambda: service.durable.submit([sealed.wire], service.now_ms))
    assert result.accepted, result.detail
    return sealed.record_id.hex()


def test_a_hotspot_objects_to_the_rotation_of_a_key_that_is_not_lost(
    service: Running, tmp_path: Path, capsys: Shown
) -> None:
    record_id = ask_for_lost_key(service)
    shown = service.json("GET", f"/v1/hotspots/{keys.public_key(NEW_SEED).hex()}")[1]
    assert (shown["index"], shown["rotation"]["id"]) == (0, record_id)
    assert shown["rotation"]["by"] == "owner"
    save_seed(tmp_path / "hotspot.key", service.town.keys[0])
    command = ["object", "--hotspot", "0", "--key", str(tmp_path / "hotspot.key")]
    options = [*command, "--ledger", service.url, "--json"]
    assert chain_main(options) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["reason"] == "ok"
    assert service.json("GET", "/v1/hotspots/0")[1]["rotation"] is None
    with pytest.raises(UserError, match="take no other key"):
        chain_main(options)
