"""Other predictions laid over a snapshot say what a whole snapshot says, to every reader."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import make_rows

from chain.io_http import bound_port, problem_middleware
from coverage_map.cells import centre, parents
from coverage_map.service.io_api import add_routes, secured
from coverage_map.service.io_events import Hub
from coverage_map.service.io_front import serve_front
from coverage_map.service.io_service import SERVICE, Service
from coverage_map.store.aggregates import Rows
from coverage_map.store.figures import count_cells
from coverage_map.store.forecasts import with_ancestors
from coverage_map.store.io_keeper import Keeper
from coverage_map.store.io_layers import fold, share_of
from coverage_map.store.io_snapshots import Published
from coverage_map.store.io_sql import open_sql
from coverage_map.store.io_upkeep import Chores
from coverage_map.store.tables import (
    COLUMNS,
    JOIN_COLUMNS,
    LIST_COLUMNS,
    NONE_CDB,
    NONE_CDBM,
    Predicted,
)
from coverage_map.tiles.io_pmtiles import write_archive

SHARE = "coverage_map.store.io_layers.LAYER_SHARE"
ALWAYS, NEVER = 1e-9, 1e12  # shares at which a layer is folded
STEPS = ("rows", "some", "all", "fewer", "more", "figures", "none", "keep", "fold", "reopen")


class Guess:
    """Predictions that change: of cells of two resolutions, some with an estimator's figure."""

    def __init__(self, seed: int) -> None:
        self.draws = np.random.default_rng(seed)
        around = make_rows(150, seed, (11,), 0.01)
        self.cells = {r: np.unique(parents(around.cell, r)) for r in (9, 10)}
        self.shown = {r: self.draws.random(len(self.cells[r])) < 0.6 for r in self.cells}
        self.values = {r: self._draw(len(cells)) for r, cells in self.cells.items()}

    def _draw(self, size: int) -> np.ndarray:
        lows, highs = (-11_000, 100, 0, 0, -11_000, 100, 0), (-5_000, 900, 40, 5, -5_000, 900, 40)
        found = self.draws.integers(lows, highs, (size, 7))
        found[self.draws.random(size) < 0.5, 4] = NONE_CDBM
        return found

    def step(self, name: str) -> None:
        for r, values in self.values.items():
            some = self.draws.random(len(values)) < (1.0 if name == "all" else 0.1)
            if name in ("some", "all"):
                values[some] = self._draw(int(some.sum()))
            elif name == "figures":  # the estimator takes back what it said of measured cells
                values[some, 4] = NONE_CDBM
            elif name in ("fewer", "more"):
                self.shown[r][some] = name == "more"
            elif name == "none":
                self.shown[r][:] = False

    def levels(self) -> dict[int, Predicted]:
        found = {}
        for r, cells in self.cells.items():
            values = self.values[r][self.shown[r]]
            bare = values[:, 4] == NONE_CDBM
            values[bare, 5], values[bare, 6] = NONE_CDB, -1
            kinds = (np.int16, np.uint16, np.int32, np.uint8, np.int16, np.uint16, np.int32)
            columns = [values[:, k].astype(kind) for k, kind in enumerate(kinds)]
            found[r] = Predicted(cells[self.shown[r]], *columns)
        return with_ancestors(found)


def same(found: Published, wanted: Published, *, lists: bool = False) -> None:
    for resolution in range(3, 12):
        here, there = found.view().level(resolution), wanted.view().level(resolution)
        for name in COLUMNS:
            assert here[name].dtype == there[name].dtype
            assert np.array_equal(here[name], there[name]), (resolution, name)
        if lists:
            one, two = found.levels[resolution], wanted.levels[resolution]
            for name in (*JOIN_COLUMNS, *LIST_COLUMNS):
                if name not in ("bins", "member", "device", "member_n", "member_total", "bin_n"):
                    continue
                assert np.array_equal(np.sort(one[name]), np.sort(two[name])), (resolution, name)
            assert np.array_equal(one["total_cdbm"], two["total_cdbm"])
            assert np.array_equal(one["fitted"], two["fitted"])
        assert found.manifest["rows"][str(resolution)] == len(there["cells"])


def take(keeper: Keeper, rows: Rows) -> None:
    keeper.receive(rows, np.zeros(len(rows), np.uint8), 2_000)


@settings(
    max_examples=4, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=3, max_size=5),
    seed=st.integers(0, 1 << 20),
    precisions=st.sampled_from([(9,), (6, 8, 9, 10, 11)]),
)
def test_any_chain_of_predictions_laid_says_what_whole_snapshots_say(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    steps: list[str], seed: int, precisions: tuple[int, ...],
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("chain")
    laid, whole, guess = Keeper(folder / "laid"), Keeper(folder / "whole"), Guess(seed)
    rows = make_rows(80, seed, precisions, 0.01)
    for number, step in enumerate(("rows", *steps)):
        guess.step(step)
        if step == "rows":
            rows = make_rows(30, seed + number, precisions, 0.01)
            take(laid, rows)
            take(whole, rows)
            shown, wanted = laid.view, whole.view
            for resolution in range(3, 12):
                for name in COLUMNS:
                    one, two = (x.level(resolution)[name] for x in (shown, wanted))
                    assert np.array_equal(one, two), (resolution, name)
            assert laid.figures() == count_cells(laid.view)
        predicted = None if step == "keep" else guess.levels()
        monkeypatch.setattr(SHARE, ALWAYS)
        laid.publish(predicted, number)
        assert bool(laid.base.layer) == (number > 0 and laid.base.base != laid.base.identity)
        monkeypatch.setattr(SHARE, NEVER)
        whole.publish(predicted, number)
        assert not whole.base.layer
        same(laid.base, whole.base)
        assert laid.figures() == whole.figures() == count_cells(whole.view)
        assert laid.snapshots.check(laid.base.identity) == []
        if step == "fold" and laid.base.layer:
            laid.replace_base(laid.base, fold(laid.snapshots, laid.base))
            same(laid.base, whole.base, lists=True)
        elif step == "reopen":
            laid.close()
            laid = Keeper(folder / "laid")
    laid.close()
    whole.close()


Pair = tuple[Keeper, Keeper]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two maps of the same: one as a layer whose predictions changed, one whole; with overlays."""
    found = []
    for name, share in (("laid", ALWAYS), ("whole", NEVER)):
        monkeypatch.setattr(SHARE, share)
        keeper, guess = Keeper(tmp_path / name), Guess(5)
        take(keeper, make_rows(120, 1, (8, 9, 10, 11), 0.01))
        for number, step in enumerate(("more", "some", "fewer", "figures", "more", "fewer")):
            guess.step(step)
            if number == 3:
                take(keeper, make_rows(40, 2, (9, 10), 0.01))
            keeper.publish(guess.levels(), 1_000 + number)
        take(keeper, make_rows(20, 3, (9, 10), 0.01))
        found.append(keeper)
    assert found[0].base.layer
    assert not found[1].base.layer
    cells = {
        r: (len(found[0].base.levels[r]["cells"]), found[1].base.manifest["rows"][str(r)])
        for r in (9, 10)
    }
    gone = [np.count_nonzero(found[0].base.layer[r]["value"] == 255) for r in (9, 10)]
    assert min(gone) > 3, (cells, gone)
    yield found[0], found[1]
    for keeper in found:
        keeper.close()


async def ask_all(keeper: Keeper, paths: list[str]) -> list[bytes]:
    sync: Any = SimpleNamespace(keeper=keeper, ready=True, feed=None)
    app = web.Application(middlewares=[secured, problem_middleware])
    app[SERVICE] = Service(sync, Hub())
    add_routes(app, app[SERVICE])
    runner = await serve_front(app, "127.0.0.1", 0)
    root = f"http://127.0.0.1:{bound_port(runner)}"
    found = []
    async with aiohttp.ClientSession() as session:
        for path in paths:
            name = keeper.base.identity
            async with session.get(root + path.replace("ID", name)) as answer:
                content = await answer.read()
                assert answer.status == 200, (path, answer.status, content)
                content = content.replace(name.encode(), b"ID").replace(root.encode(), b"ROOT")
                content = re.sub(rb'"timeStamp":"[^"]+",', b"", content)
                found.append(content)
    await runner.cleanup()
    return found


def test_every_reader_of_the_service_sees_what_a_whole_snapshot_says(pair: Pair) -> None:
    cells = pair[1].view.level(9)["cells"]
    gone = np.setdiff1d(pair[0].base.levels[9]["cells"], cells)
    at = [centre(int(cell)) for cell in (cells[0], cells[-1], gone[0], gone[-1])]
    tiles = [f"h3/{int(p):x}/{r}" for r in (9, 10) for p in np.unique(parents(cells, 6))]
    paths = [f"/tiles/{name}/{tile}" for name in ("live", "ID") for tile in tiles]
    for kind in ("json", "csv", "arrow", "parquet"):
        paths += [f"/collections/cells/items?f={kind}&limit=1000&res={r}" for r in (8, 9, 10)]
    paths += ["/collections/cells/items?snapshot=ID&limit=1000", "/collections/outline/items"]
    paths += ["/collections/gaps/items?res=9&limit=500"]
    paths += [f"/position?coords=POINT({lon}%20{lat})" for lat, lon in at]
    paths += [f"/cells/{int(cell):x}" for cell in (cells[0], gone[0])]
    paths += [f"/dggs/h3/zones/{int(parents(cells, 7)[0]):x}/data?zone-depth=2"]
    found, wanted = (asyncio.run(ask_all(keeper, paths)) for keeper in pair)
    for path, one, two in zip(paths, found, wanted, strict=True):
        assert one == two, path
    assert sum(map(len, wanted)) > 100_000


def test_archives_sql_and_vector_tiles_of_a_layer_are_those_of_a_whole_snapshot(
    pair: Pair, tmp_path: Path
) -> None:
    archives, answers = [], []
    for number, keeper in enumerate(pair):
        path = tmp_path / f"{number}.pmtiles"
        write_archive(keeper.base.view(), path)
        archives.append(path.read_bytes().replace(keeper.base.identity.encode(), b"ID" * 8))
        sql = open_sql(keeper.directory)
        answers.append([sql.execute(f"SELECT * FROM r{r}").fetchall() for r in range(3, 12)])
        sql.close()
    assert archives[0] == archives[1]
    assert answers[0] == answers[1]
    assert sum(map(len, answers[0])) > 200


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    keeper, guess = Keeper(tmp_path), Guess(3)
    take(keeper, make_rows(4_000, 1, (9, 10), 0.2))
    guess.shown = {r: np.ones(len(shown), np.bool_) for r, shown in guess.shown.items()}
    first = keeper.publish(guess.levels(), 1)
    again = keeper.publish(guess.levels(), 2)
    assert (again.identity, again.layer) == (first.identity, {}), "nothing changed"
    guess.values[10][0] = [-7_777, 333, 3, 2, NONE_CDBM, NONE_CDB, -1]
    guess.shown[9][0] = False
    made = keeper.publish(guess.levels(), 3)
    assert made.base == first.identity
    # One cell of resolution 10; one of 9 that vanished, and its ancestors, whose means changed.
    rows = {r: len(made.layer[r]["cells"]) for r in range(3, 12)}
    assert (rows[10], rows[9], rows[11]) == (1, 1, 0)
    assert all(rows[r] <= 1 for r in range(3, 9))
    assert not made.view().cell(int(guess.cells[9][0])) or made.layer[9]["count"][0] > 0
    assert share_of(made) < 0.005
    folders = [keeper.snapshots.directory / x.identity for x in (first, made)]
    sizes = [sum(path.stat().st_size for path in x.glob("*/*.npy")) for x in folders]
    assert sizes[1] - 128 * len(made.manifest["files"]) < sizes[0] / 1_000
    keeper.close()


def test_most_predicted_otherwise_is_a_whole_snapshot(tmp_path: Path) -> None:
    keeper, guess = Keeper(tmp_path), Guess(4)
    take(keeper, make_rows(10, 1, (9,), 0.01))
    keeper.publish(guess.levels(), 1)
    guess.step("all")
    made = keeper.publish(guess.levels(), 2)
    assert (made.base, made.layer) == (made.identity, {})
    keeper.close()


def test_a_layer_of_predictions_is_folded_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SHARE, ALWAYS)
    keeper, guess = Keeper(tmp_path), Guess(6)
    take(keeper, make_rows(100, 1, (9, 10), 0.01))
    keeper.publish(guess.levels(), 1)
    for number, step in enumerate(("some", "fewer")):
        guess.step(step)
        keeper.publish(guess.levels(), 2 + number)
    before = keeper.base
    chores = Chores.of(keeper, 10, everything=True)
    assert chores is not None
    chores.adopt(chores.make())
    assert not keeper.base.layer
    same(keeper.base, before)
    assert keeper.figures() == count_cells(keeper.view)
    keeper.close()


def test_a_snapshot_from_before_the_column_fitted_is_read_and_refreshed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers = [Keeper(tmp_path / name) for name in ("old", "new")]
    guess = [Guess(8), Guess(8)]
    for keeper, said in zip(keepers, guess, strict=True):
        take(keeper, make_rows(120, 1, (9, 10), 0.01))
        keeper.publish(said.levels(), 1)
    for path in (tmp_path / "old" / "snapshots").glob("*/*/fitted.npy"):
        path.unlink()
    keepers[0].close()
    keepers[0] = Keeper(tmp_path / "old")
    for keeper, said, share in zip(keepers, guess, (ALWAYS, NEVER), strict=True):
        monkeypatch.setattr(SHARE, share)
        said.step("figures")
        keeper.publish(said.levels(), 2)
    same(keepers[0].base, keepers[1].base)
    for keeper in keepers:
        keeper.close()
