"""Traces and the command line."""

import io
import json
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path

from chain.errors import UserError
from chain.io_terminal import run_command
from routing.forecast.datasets import (
    COLUMNS,
    abilene_series,
    parse_samples,
    parse_topology,
    routing_matrix,
    series_of_all,
    ucc_samples,
)
from routing.forecast.features import build_rows
from routing.forecast.io_datasets import load_series
from routing.io_cli import main
from routing.replay import FluidLinks, World

HEADER = ",".join(COLUMNS)
ROW = "1,2,1000,10000,500,50,0,0,1200"


def test_csv_rows_become_samples():
    (sample,) = parse_samples(io.StringIO(f"{HEADER}\n{ROW}\n"))
    assert (sample.source, sample.target, sample.rate_kbps, sample.rtt_us) == (1, 2, 10_000, 1_200)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEADER}\n{ROW}\n1,2,2000,x,500,50,0,0,1200\n", "line 3, rate_kbps: 'x'"),
        (f"{HEADER}\n1,2,2000,-5,500,50,0,0,1200\n", "line 2, rate_kbps: '-5'"),
        (f"{HEADER}\n1,2,2000\n", "line 2, rate_kbps: None"),
        (f"{HEADER}\n{ROW[:-4]}{'9' * 30}\n", "line 2, rtt_us"),
        (f"{HEADER}\n1,2,0,1,1,1001,0,0,0\n", "line 2: more than 1000 permille"),
        ("source,target\n1,2\n", "time_ms: column missing"),
        ("", "source: column missing"),
    ],
)
def test_bad_csv_names_line_and_column(text, says):
    with pytest.raises(UserError, match=r"; (correct|give)") as caught:
        parse_samples(io.StringIO(text))
    assert says in str(caught.value)


def test_a_trace_without_two_samples_is_refused():
    with pytest.raises(UserError, match="no link has two samples"):
        series_of_all(parse_samples(io.StringIO(f"{HEADER}\n{ROW}\n")))


def abilene(ground_truth):
    folder = ground_truth / "routing" / "abilene"
    if not folder.is_dir():
        pytest.skip("Abilene is not present: ../shared/ground-truth")
    topology = (folder / "abilene_topology_caps_ospf.txt").read_text()
    with np.load(folder / "abilene_5min_4032tm_mbps.npz", allow_pickle=False) as archive:
        return topology, archive["tm"]


def test_abilene_demands_follow_ospf_paths_of_scipys_length(ground_truth):
    weights, _ = parse_topology(abilene(ground_truth)[0])
    links = sorted(weights)
    dense = np.zeros((12, 12))
    for link in links:
        dense[link] = weights[link]
    lengths = shortest_path(csr_matrix(dense), method="D").ravel()
    ours = np.array([weights[link] for link in links]) @ routing_matrix(weights, 12)
    assert np.array_equal(ours, lengths)


def test_abilene_traffic_that_enters_a_node_leaves_it(ground_truth):
    topology, matrices = abilene(ground_truth)
    start_ms = 1_078_099_200_000
    series = abilene_series(matrices[:5], start_ms, topology)
    assert [len(series), series[0].start_ms] == [30, start_ms]
    demand = matrices[:5].reshape(5, 12, 12).astype(float) * 1_000
    for node in range(12):
        others = [n for n in range(12) if n != node]
        entering = sum(one.load for one in series if one.link[1] == node)
        leaving = sum(one.load for one in series if one.link[0] == node)
        terminated = demand[:, others, node].sum(axis=1)
        originated = demand[:, node, others].sum(axis=1)
        assert np.allclose(entering - terminated, leaving - originated)


def test_ucc_traces_become_one_second_series(ground_truth):
    if not (ground_truth / "routing" / "cellular").is_dir():
        pytest.skip("UCC 5G is not present: ../shared/ground-truth")
    series = load_series("ucc5g", ground_truth / "routing")
    assert len({one.link for one in series}) == 10
    assert {one.step_ms for one in series} == {1_000}
    assert sum(len(build_rows(one).steps) for one in series) > 20_000


def test_abilene_loads_from_its_folder_with_the_times_of_its_matrices(ground_truth):
    topology, matrices = abilene(ground_truth)
    series = load_series("abilene", ground_truth / "routing")
    direct = abilene_series(matrices, 1_078_099_200_000, topology)  # 2004-03-01 00:00 UTC
    assert [(one.link, one.start_ms, one.step_ms) for one in series] == [
        (one.link, one.start_ms, one.step_ms) for one in direct
    ]
    assert np.allclose(series[3].load[:500], direct[3].load[:500])


def ucc_log(count, minute):
    rows = [f"2020.01.16_10.{minute}.{n % 60:02d},{100 + n},-" for n in range(count)]
    return "\n".join(["Timestamp,DL_bitrate,PINGAVG", *rows, ""])


def test_cellular_logs_come_from_any_archive_and_from_loose_files(tmp_path):
    folder = tmp_path / "cellular"
    folder.mkdir()
    with zipfile.ZipFile(folder / "other_half.zip", "w") as archive:
        archive.writestr("5G/Download/Static/a.csv", ucc_log(50, 10))
        archive.writestr("5G/Netflix/Static/b.csv", ucc_log(40, 20))
    with zipfile.ZipFile(folder / "plain.zip", "w") as archive:
        archive.writestr("c.csv", ucc_log(45, 30))
    (folder / "d.csv").write_text(ucc_log(42, 40))
    assert [one.length for one in load_series("ucc5g-rows", tmp_path)] == [50, 45, 42]


def test_an_empty_folder_of_logs_is_said_to_be_empty(tmp_path):
    (tmp_path / "cellular").mkdir()
    with pytest.raises(UserError, match="cellular has no logs"):
        load_series("ucc5g-rows", tmp_path)


LOG = [
    "Timestamp,DL_bitrate,PINGAVG\n",
    "2020.01.16_10.43.34,5,-\n",
    "2020.01.16_10.43.35,-,-\n",
    "2020.01.16_10.43.36,7,91.5\n",
]


def test_ucc_rows_without_a_rate_are_left_out_unless_they_are_most():
    assert [(s.load_kbps, s.rtt_us) for s in ucc_samples(LOG, 0, "x")] == [(5, 0), (7, 91_500)]
    with pytest.raises(UserError, match="x: line 3"):
        ucc_samples([*LOG[:3], LOG[2]], 0, "x")


@pytest.mark.parametrize("stamp", ["1579171414", "2020-01-16 10:43:34", "2020-01-16T10:43:34Z"])
def test_ucc_like_logs_may_spell_time_and_columns_their_own_way(stamp):
    (sample,) = ucc_samples(["timestamp, dl_bitrate ,CQI\n", f"{stamp},5,3\n"], 0, "x")
    (usual,) = ucc_samples(LOG[:2], 0, "x")
    assert sample == usual


@pytest.mark.parametrize("lost", ["Timestamp", "DL_bitrate"])
def test_a_ucc_log_without_a_column_names_it(lost):
    with pytest.raises(UserError, match=f"x: {lost}: column missing"):
        ucc_samples([LOG[0].replace(lost, "other"), LOG[1]], 0, "x")


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory):
    """A CSV like the one that `wavecomb sim telemetry` writes."""
    links = FluidLinks(World(1))
    path = tmp_path_factory.mktemp("telemetry") / "telemetry.csv"
    rows = [
        ",".join(str(getattr(sample, column)) for column in COLUMNS)
        for second in range(260)
        for sample in links.step(second, {})
    ]
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


@pytest.fixture(scope="module")
def model(telemetry):
    path = telemetry.with_name("model.json")
    arguments = ["train", "--data", str(telemetry), "-o", str(path), "--rounds", "10", "--json"]
    assert main([*arguments, "--horizons", "5"]) == 0
    return path


def test_train_evaluate_and_explain_from_the_command_line(telemetry, model, capsys):
    assert main(["evaluate", "--data", str(telemetry), "--model", str(model), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    trained = json.loads(model.read_text())["metrics"]
    assert report["metrics"] == trained
    assert main(["evaluate", "--data", str(telemetry), "--model", str(model)]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("model", "persistence", "ewma", "seasonal", "WAPE"))
    svg = model.with_suffix(".svg")
    assert main(["explain", "--model", str(model), "--top", "5", "--svg", str(svg)]) == 0
    assert "data sha256" in capsys.readouterr().out
    assert len(ET.parse(svg).getroot()) == 2 + 3 * 5
    assert main(["explain", "--model", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"][0]["gain"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--data", "nowhere.csv", "-o", "m.json"], "--data: nowhere.csv: no such file"),
        (["train", "--data", "replay", "-o", "/no/such/folder/m"], "--output"),
        (["train", "--data", "replay", "-o", "m", "--horizons", "9,1"], "--horizons"),
        (["train", "--data", "replay", "-o", "m", "--horizons", "x"], "--horizons"),
        (["train", "--data", "replay", "-o", "m", "--rounds", "0"], "--rounds"),
        (["train", "--data", "abilene", "--traces", "nowhere", "-o", "m"], "--traces"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_code_2(arguments, says, capsys):
    assert run_command(main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"wavecomb: {says}")
    assert error.count("\n") == 1


def test_a_model_for_another_step_is_refused(model, tmp_path, capsys):
    slow = tmp_path / "slow.csv"
    slow.write_text(f"{HEADER}\n1,2,0,9,1,0,0,0,0\n1,2,5000,9,1,0,0,0,0\n")
    assert run_command(main, ["evaluate", "--data", str(slow), "--model", str(model)]) == 2
    assert "sampled every 5000 ms, the model every 1000 ms" in capsys.readouterr().err
