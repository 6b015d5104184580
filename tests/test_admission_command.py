"""What an owner does with `wavecomb hotspot register`: move, sell, come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from chain.cli.io_cli import main as chain_main
from chain.errors import UserError
from chain.io_keys import save_seed
from hotspot.io_cli import main as hotspot_main

from .admission_helpers import seed_of
from .ops_helpers import Running, town_on_disk

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    running = Running(tmp_path, town_on_disk(tmp_path, 4), monkeypatch)
    clock = SimpleNamespace(time_ns=lambda: running.now_ms * 1_000_000)
    monkeypatch.setattr("hotspot.io_register.time", clock)
    yield running
    running.close()


@pytest.fixture
def spot(service: Running, tmp_path: Path, capsys: Shown) -> Path:
    """The folder of hotspot 0, with settings that say where it stands now: elsewhere."""
    folder = tmp_path / "spot"
    folder.mkdir()
    save_seed(folder / "hotspot.key", service.town.keys[0])
    save_seed(folder / "owner.key", service.town.owner_seeds[0])
    place = ["--lat", "45.2", "--lon", "7.3", "--height", "22"]
    assert hotspot_main(["init", "--dir", str(folder), *place, "--ledger", service.url]) == 0
    capsys.readouterr()
    return folder / "hotspot.toml"


def register(spot: Path, *options: str) -> int:
    return hotspot_main(["register", "--config", str(spot), *options])


def hotspot_0(service: Running) -> dict[str, object]:
    answer: dict[str, object] = service.json("GET", "/v1/hotspots/0")[1]
    return answer


def test_a_move_is_asserted_and_binds_later(service: Running, spot: Path, capsys: Shown) -> None:
    before = hotspot_0(service)
    assert register(spot, "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["reason"], result["index"]) == ("ok", 0)
    after = hotspot_0(service)
    assert (before["height_m"], after["height_m"]) == (10, 22)
    assert after["owner"] == before["owner"]
    assert after["bind_epoch"] >= service.durable.ledger.state.epoch + 2  # type: ignore[operator]
    assert register(spot, "--json") == 0
    (again,) = json.loads(capsys.readouterr().out)["results"]
    assert again["reason"] == "already"


def test_a_sale_is_signed_by_seller_and_buyer_on_a_draft(
    service: Running, spot: Path, tmp_path: Path, capsys: Shown
) -> None:
    town = service.town
    buyer, draft = town.owner(1).hex(), tmp_path / "sale.json"
    with pytest.raises(UserError, match="must sign too"):
        register(spot, "--owner", buyer)
    assert register(spot, "--owner", buyer, "--out", str(draft)) == 0
    assert buyer in capsys.readouterr().out
    save_seed(tmp_path / "buyer.key", town.owner_seeds[1])
    sign = ["sign", str(draft), "--key", str(tmp_path / "buyer.key"), "--ledger", service.url]
    assert chain_main(sign) == 0
    assert hotspot_0(service)["owner"] == buyer


def test_a_hotspot_returns_after_its_retirement_with_new_secrets(
    service: Running, spot: Path, capsys: Shown
) -> None:
    key = str(spot.parent / "owner.key")
    assert register(spot) == 0
    retire = ["retire", "--key", key, "--hotspot", "0", "--ledger", service.url]
    assert chain_main(retire) == 0
    shown = hotspot_0(service)
    end = service.durable.ledger.state.ended[0]
    assert (shown["slashed"], shown["ends_epoch"]) == (False, end)
    assert shown["bond_returns_epoch"] == end + service.town.params.appeal_epochs
    capsys.readouterr()
    register(spot)
    assert "already nothing changed; after a retirement add --new-chain" in capsys.readouterr().out
    assert 0 in service.durable.ledger.state.ended
    service.now_ms += 10 * service.town.params.epoch_ms
    service.on_loop(lambda: service.durable.tick(service.now_ms))
    assert register(spot, "--new-chain") == 0
    assert 0 not in service.durable.ledger.state.ended


def test_a_first_registration_needs_no_other_signature(
    service: Running, spot: Path, capsys: Shown
) -> None:
    (spot.parent / "hotspot.key").unlink()
    save_seed(spot.parent / "hotspot.key", seed_of("another hotspot"))
    assert register(spot, "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["reason"], result["index"]) == ("ok", 3)


def test_a_ledger_that_is_away_is_named(service: Running, spot: Path) -> None:
    service.close()
    with pytest.raises(UserError, match=r"ledger\.url"):
        register(spot)
