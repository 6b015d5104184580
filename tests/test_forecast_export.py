"""An exported model: the model's own numbers for a router that has nothing but Python."""

import json
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from conftest import ROOT

from chain.errors import UserError
from chain.io_terminal import run_command
from routing.forecast.datasets import COLUMNS
from routing.forecast.export import router_model_from_bytes
from routing.forecast.features import FEATURES
from routing.forecast.model import TARGETS, dump_model, export_model, load_model
from routing.forecast.tables import build_table
from routing.forecast.training import TrainOptions, apply_model, train
from routing.io_cli import main
from routing.replay import FluidLinks, World, replay_series


@cache
def model():
    return train(replay_series(1, 320), "replay", TrainOptions(horizons=(5, 10), rounds=12))


@cache
def blob():
    return export_model(model()).to_bytes()


@pytest.mark.parametrize("horizon", [5, 10])
def test_an_export_says_what_the_model_says_to_the_last_bit(horizon):
    small = router_model_from_bytes(blob())
    table = build_table(replay_series(2, 200), horizon)
    rows = table.select(np.arange(table.length) % 11 == 0)
    expected = apply_model(model(), rows)
    for index, row in enumerate(rows.matrix.tolist()):
        link = rows.links[rows.link[index]]
        answer = small.predict(row, link, horizon)
        for target in TARGETS:
            scale = (rows.load_scale if target.field == "load" else rows.rate_scale)[index]
            assert answer[target.name] * float(scale) == expected[target.name][index]


def test_an_export_carries_its_provenance_and_the_same_model_gives_the_same_bytes():
    small = router_model_from_bytes(blob())
    assert small.features == FEATURES
    assert small.header["data"]["sha256"] == model().data["sha256"]
    assert small.to_bytes() == blob() == export_model(load_model(dump_model(model()))).to_bytes()


@pytest.mark.parametrize("cut", [0, 3, 8, 500, -1])
def test_cut_off_exports_are_refused(cut):
    with pytest.raises(UserError, match=r"(router model|booster): "):
        router_model_from_bytes(blob()[:cut])
    with pytest.raises(UserError, match="router model: not a whole export"):
        router_model_from_bytes(blob() + b"x")


@pytest.mark.parametrize("change", [{"horizons": [7]}, {"features": ["a"]}, {"offsets": {}}])
def test_headers_that_do_not_fit_the_tables_are_refused(change):
    small = router_model_from_bytes(blob())
    small.header.update(change)
    with pytest.raises(UserError, match="router model: not a whole export"):
        router_model_from_bytes(small.to_bytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "model.json").write_text(dump_model(model()))
    links = FluidLinks(World(1))
    rows = [
        ",".join(str(getattr(sample, column)) for column in COLUMNS)
        for second in range(100)
        for sample in links.step(second, {})
    ]
    (folder / "newest.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))
    return folder


def test_export_and_refresh_from_the_command_line(files, capsys):
    source, target = files / "model.json", files / "model.wce"
    assert main(["export", "--model", str(source), "-o", str(target), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == len(target.read_bytes())
    assert target.read_bytes() == blob()
    assert main(["export", "--model", str(source), "-o", str(target)]) == 0
    assert "6 tables" in capsys.readouterr().out
    arguments = ["refresh", "--data", str(files / "newest.csv"), "--model", str(source), "-o"]
    fresh = files / "fresh.json"
    assert main([*arguments, str(fresh), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["boosters"]) == {f"{t.name}@{h}" for t in TARGETS for h in (5, 10)}
    assert load_model(fresh.read_text()).data["refreshed"] == report["data"]
    assert sorted(path.name for path in files.iterdir()) == [
        "fresh.json", "model.json", "model.wce", "newest.csv"
    ]


def test_an_output_nowhere_is_one_clear_line(files, capsys):
    arguments = ["export", "--model", str(files / "model.json"), "-o", "/no/such/folder/m"]
    assert run_command(main, arguments) == 2
    assert capsys.readouterr().err.startswith("wavecomb: --output: /no/such/folder/m: no such")


def test_an_export_is_read_without_numpy_or_lightgbm(tmp_path):
    path = tmp_path / "model.wce"
    path.write_bytes(blob())
    code = (
        "import sys; from routing.forecast.export import router_model_from_bytes as read\n"
        f"small = read(open({str(path)!r}, 'rb').read())\n"
        "print(sorted(small.predict([0.5] * len(small.features), (0, 1), 5)))\n"
        "print({name.split('.')[0] for name in sys.modules} & {'numpy', 'lightgbm'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["['load_p50', 'load_p90', 'rate_p10']", "set()"]
