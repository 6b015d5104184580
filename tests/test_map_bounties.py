"""Bounties on the map: what is left, what settlements took, and the command that offers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from map_helpers import Town, until
from map_server import running_map

from chain.errors import UserError
from coverage_map import cells, feed_state, io_cli
from coverage_map.bounties import due_by_cell, offers_in, offers_of
from coverage_map.io_client import Map
from coverage_map.io_sync import Sync

START_MS = 1_700_000_000_000
AMOUNT, MOST, UNTIL = 4_000_000, 500_000, 90  # as Town.offer says


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """One offer where many stand and settlements have paid, one where nobody stands."""
    town = Town(16, START_MS)
    town.offer(3, (town.reward_cell(5),), 1)
    town.offer(3, (cells.cell_at(47.5, 8.9, 8),), 2)
    town.run_to(13)
    yield town
    town.close()


@pytest.fixture(scope="module")
def served(town: Town) -> Iterator[tuple[str, Sync]]:
    with running_map(town) as found:
        yield found


def properties(url: str, tail: str = "") -> list[dict[str, Any]]:
    found = Map(url)._json(f"collections/bounties/items?limit=100{tail}")
    return [one["properties"] for one in found["features"]]


def test_what_is_left_and_paid_is_what_the_ledger_has(
    town: Town, served: tuple[str, Sync]
) -> None:
    state = {key: bounty.left_ucr for key, bounty in town.ledger.state.bounties.items()}
    rows = {(int(row["h3"], 16), row["bounty"]): row for row in properties(served[0])}
    assert {key: row["left_ucr"] for key, row in rows.items()} == state
    assert all(row["paid_ucr"] == AMOUNT - row["left_ucr"] for row in rows.values())
    paid = sorted(row["paid_ucr"] for row in rows.values())
    assert paid[0] == 0  # where nobody stands nothing is paid
    assert paid[1] > 0
    assert paid[1] % MOST == 0


def test_an_offer_says_who_pays_until_when_and_who_stands_there(
    town: Town, served: tuple[str, Sync]
) -> None:
    here = town.reward_cell(5)
    for row in properties(served[0]):
        cell = int(row["h3"], 16)
        inside = [site for site in town.sites if int(cells.parents(site.cell, 8)) == cell]
        assert row["hotspots_in_cell"] == len(inside)
        assert (len(inside) > 0) == (cell == here)
        assert row["sponsor"] == town.sites[3].owner.hex()
        assert (row["since_epoch"], row["until_epoch"]) == (0, UNTIL)
        assert row["until_ms"] == START_MS + (UNTIL + 1) * town.ledger.params.epoch_ms


def test_boxes_times_and_pages_choose_among_offers(served: tuple[str, Sync]) -> None:
    url = served[0]
    assert len(properties(url, "&bbox=8.5,47.3,8.6,47.4")) == 1
    assert len(properties(url, "&datetime=2023-11-14T22:13:30Z/..")) == 2
    assert properties(url, "&datetime=2022-01-01T00:00:00Z") == []
    assert properties(url, "&datetime=2040-01-01T00:00:00Z/..") == []
    page = Map(url)._json("collections/bounties/items?limit=1")
    assert (page["numberMatched"], page["numberReturned"]) == (2, 1)
    (following,) = [link["href"] for link in page["links"] if link["rel"] == "next"]
    assert Map(url)._json(following)["features"][0]["id"] != page["features"][0]["id"]


def test_one_offer_and_its_cell_tell_the_same(served: tuple[str, Sync]) -> None:
    here = Map(served[0])
    for row in properties(served[0]):
        one = here._json(f"collections/bounties/items/{row['h3']}-{row['bounty']}")
        assert one["properties"] == row
        assert one["geometry"]["coordinates"] == [cells.ring(int(row["h3"], 16))]
        assert here.cell(row["h3"])["bounties"] == [row]
        inside = cells.cell_at(*cells.centre(int(row["h3"], 16)), 10)
        assert here.cell(f"{inside:x}")["bounties"] == [row]
    assert here.cell(f"{cells.cell_at(10.0, 10.0, 10):x}")["bounties"] == []
    with pytest.raises(UserError, match="is not in bounties"):
        here._json("collections/bounties/items/881f8ed901fffff-99")


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_offers_come_in_every_form(served: tuple[str, Sync], form: str) -> None:
    body, _ = Map(served[0])._open(f"collections/bounties/items?f={form}")
    assert b"sponsor" in body


def test_the_client_gives_a_frame(served: tuple[str, Sync]) -> None:
    frame = Map(served[0]).bounties()
    assert sorted(frame.index) == sorted(row["h3"] for row in properties(served[0]))
    assert frame.left_ucr.sum() == sum(row["left_ucr"] for row in properties(served[0]))
    assert Map(served[0]).bounties((0.0, 0.0, 1.0, 1.0)).empty


def test_the_command_lists_them(
    served: tuple[str, Sync], capsys: pytest.CaptureFixture[str]
) -> None:
    assert io_cli.main(["bounties", "--url", served[0], "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["bounties"]
    assert [row["left_ucr"] for row in rows] == sorted((r["left_ucr"] for r in rows), reverse=True)
    assert io_cli.main(["bounties", "--url", served[0], "--bbox", "0,0,1,1"]) == 0
    assert capsys.readouterr().out == "nobody offers anything here\n"
    assert io_cli.main(["bounties", "--url", served[0]]) == 0
    assert "4.00" in capsys.readouterr().out


def test_a_new_offer_is_news_and_shows_without_a_new_epoch() -> None:
    town = Town(9, START_MS)
    town.run_to(4)
    told: list[tuple[str, Any]] = []
    with running_map(town) as (url, sync):
        publish = sync._publish
        sync.on_news(lambda event, data: (told.append((event, data)), publish(event, data))[1])
        before = len(properties(url))
        number = town.offer(3, (town.reward_cell(2),), 1)
        asyncio.run(until(lambda: len(properties(url)) > before))
        assert [row["bounty"] for row in properties(url)] == [number]
        assert feed_state.decode(
            feed_state.encode(sync.feed), town.genesis.record, town.network_id
        ).bounties == {number: (AMOUNT, town.ledger.state.epoch)}
    town.close()
    cell = f"{town.reward_cell(2):x}"
    news = [item for event, data in told if event == "news" for item in data]
    assert [item["cells"] for item in news if item["kind"] == "bounty"] == [[cell]]
    assert ("bounties", {"cells": [cell]}) in told


def test_named_cells_are_offered_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = [f"{cells.cell_at(47.4, 8.5 + k / 10, 8):x}" for k in range(3)]
    words = [word for cell in reversed(wanted) for word in ("--cell", cell)]
    assert io_cli.main(["bounty", *words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == sorted(wanted)


@pytest.mark.parametrize("cell", ["nonsense", "8a1f8ed90127fff"])
def test_a_cell_that_nothing_is_paid_for_is_refused(cell: str) -> None:
    with pytest.raises(UserError, match="resolution 8"):
        io_cli.main(["bounty", "--cell", cell, "--dry-run"])


def rows(*places: tuple[int, int, int, int]) -> dict[str, Any]:
    names = ("cell", "number", "left_ucr", "per_settlement_ucr")
    found = [dict(zip(names, place, strict=True)) for place in places]
    tail = {"sponsor": "ab", "until_epoch": 9}
    return {"bounties": [{**row, "cell": f"{row['cell']:x}", **tail} for row in found]}


def test_the_next_settlement_takes_no_more_than_is_left() -> None:
    cell = cells.cell_at(47.4, 8.5, 8)
    offers = offers_of(rows((cell, 2, 10, 30), (cell, 1, 50, 20)), {2: (70, 5)})
    assert due_by_cell(offers) == {cell: 30}
    assert [(one.number, one.paid_ucr) for one in offers] == [(1, None), (2, 60)]


def test_offers_concern_cells_around_and_inside() -> None:
    cell, far = cells.cell_at(47.4, 8.5, 8), cells.cell_at(10.0, 8.5, 8)
    offers = offers_of(rows((cell, 1, 5, 5), (far, 2, 5, 5)), {})
    for resolution in range(12):
        finer = cells.cell_at(*cells.centre(cell), resolution)
        near = finer if resolution > 8 else int(cells.parents(cell, resolution))
        assert [one.number for one in offers_in(offers, near)] == [1]
