"""Anyone's matrices and topology: odd input is one clear line, odd but sound input is planned."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.te import main
from chain.errors import UserError
from routing.io_cli import main as routing_main
from routing.plan.io_matrices import load_matrices

RING = "\n".join(
    f"{row} {a} {b} 1 1000000"
    for row, (a, b) in enumerate([(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)])
)
HEAD = "Node_num: 3 Edge_num: 6\nindex source target weight capacity\n"


def stamps(count: int) -> list[str]:
    return [f"20240101-{n // 12:02d}{n % 12 * 5:02d}" for n in range(count)]


def files(
    folder: Path, topology: str = HEAD + RING, **changed: Any
) -> tuple[Path, Path]:
    rows = {"tm": np.arange(1.0, 361.0).reshape(40, 9), "ts": stamps(40)} | changed
    np.savez(folder / "m.npz", **{key: value for key, value in rows.items() if value is not None})
    (folder / "t.txt").write_text(topology)
    return folder / "m.npz", folder / "t.txt"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tm": None}, "tm"),
        ({"tm": np.ones((40, 7))}, "[steps, n * n]"),
        ({"tm": np.ones((39, 9))}, "not a ts each"),
        ({"tm": np.full((40, 9), np.nan)}, "no demand is finite"),
        ({"tm": -np.ones((40, 9))}, "negative"),
        ({"tm": np.zeros((40, 9))}, "no demand at all"),
        ({"tm": np.array([["x"] * 9] * 40)}, "could not convert"),
        ({"ts": ["soon"] * 40}, "is no time"),
        ({"ts": ["20240101-0000"] * 40}, "does not ascend"),
        ({"topology": ""}, "no links"),
        ({"topology": HEAD + "0 0 1 1 0"}, "capacity 0"),
        ({"topology": HEAD + "0 0 1 1 100\n1 1 0 1 100"}, "no way from node 0 to 2"),
        ({"topology": HEAD + "0 0 1 1"}, "line 3"),
        ({"topology": HEAD + "0 0 7 1 100"}, "nodes"),
        ({"topology": "<a><b></a>"}, "mismatched tag"),
    ],
)
def test_odd_input_is_one_line_that_names_the_field(
    tmp_path: Path, changed: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    matrices, topology = files(tmp_path, **changed)
    with pytest.raises(UserError, match=r"(?i)matrices|topology"):
        load_matrices(matrices, topology)
    arguments = ["te", "--matrices", str(matrices), "--topology", str(topology), "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert words in said.err


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04junk", b"{}"])
def test_a_file_that_is_no_archive_is_said_to_be_none(tmp_path: Path, junk: bytes) -> None:
    _, topology = files(tmp_path)
    (tmp_path / "junk.npz").write_bytes(junk)
    with pytest.raises(UserError, match="--matrices"):
        load_matrices(tmp_path / "junk.npz", topology)


@pytest.mark.parametrize(
    "times",
    [
        [f"2024-01-01T{n // 12:02d}:{n % 12 * 5:02d}:00Z" for n in range(40)],
        [f"2024-01-01T{n // 12:02d}:{n % 12 * 5:02d}:00" for n in range(40)],
        1_704_067_200 + 300 * np.arange(40),
        1_704_067_200.0 + 300.0 * np.arange(40),
    ],
)
def test_times_in_any_of_three_forms_are_the_same(tmp_path: Path, times: Any) -> None:
    usual = load_matrices(*files(tmp_path))
    other = load_matrices(*files(tmp_path, ts=times))
    assert (other.start_s, other.step_s) == (usual.start_s, usual.step_s) == (1_704_067_200, 300)


def test_a_node_without_links_or_demand_is_left_out(tmp_path: Path) -> None:
    demand = np.ones((40, 4, 4))
    demand[:, 3], demand[:, :, 3] = 0, 0
    data = load_matrices(*files(tmp_path, tm=demand.reshape(40, 16)))
    assert len(data.pairs) == 6
    assert not any(3 in pair for pair in data.pairs)
    assert data.demands_kbps.shape == (40, 6)


FULL = np.arange(1.0, 361.0).reshape(40, 9)
OFF = FULL[:, ~np.eye(3, dtype=bool).ravel()]


def save(folder: Path, name: str, **arrays: Any) -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


@pytest.mark.parametrize(
    "arrays",
    [
        {"tm": FULL.reshape(40, 3, 3)},
        {"X": FULL.astype(np.float32)},
        {"traffic_matrices": np.moveaxis(FULL.reshape(40, 3, 3), 0, 2)},
        {"tm": OFF},
        {"tm": np.repeat(FULL, 5, axis=1), "nodes": np.array([b"a", b"b", b"c"])},
        {"tm": FULL, "time": np.array(stamps(40))},
        {"tm": FULL, "time": np.datetime64("2024-01-01") + 300 * np.arange(40, dtype="m8[s]")},
        {"tm": FULL, "timestamps": 1_000 * (1_704_067_200 + 300 * np.arange(40))},
    ],
)
def test_arrays_of_other_names_and_shapes_are_the_same_matrices(
    tmp_path: Path, arrays: dict[str, Any]
) -> None:
    _, topology = files(tmp_path)
    data = load_matrices(save(tmp_path, "o.npz", **arrays), topology)
    assert np.allclose(data.demands_kbps, 1_000.0 * OFF)
    assert data.step_s == 300
    assert bool(data.notes) == (len(arrays) == 1 or "nodes" in arrays)  # no times: said so


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_lines_of_numbers_are_matrices(tmp_path: Path, separator: str) -> None:
    _, topology = files(tmp_path)
    lines = "\n".join(separator.join(map(str, row)) for row in FULL)
    (tmp_path / "m.csv").write_text(lines)
    (tmp_path / "m.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("m.csv", "m.gz"):
        assert np.allclose(load_matrices(tmp_path / name, topology).demands_kbps, 1_000.0 * OFF)


def sndlib_xml(demands: dict[tuple[str, str], float]) -> str:
    rows = "".join(
        f"<demand id='{a}_{b}'><source>{a}</source><target>{b}</target>"
        f"<demandValue>{value}</demandValue></demand>"
        for (a, b), value in demands.items()
    )
    return f"<network xmlns='http://sndlib.zib.de/network'><demands>{rows}</demands></network>"


def sndlib_native(demands: dict[tuple[str, str], float]) -> str:
    rows = [f"  {a}_{b} ( {a} {b} ) 1 {value} UNLIMITED" for (a, b), value in demands.items()]
    return "\n".join(["?SNDlib native format", "DEMANDS (", *rows, ")"])


SNDLIB_TOPOLOGY = """?SNDlib native format; type: network; version: 1.0
NODES (
  x ( 1.0 2.0 )
  y ( 1.0 2.0 )
  z ( 1.0 2.0 )
)
LINKS (
  L1 ( x y ) 1000.00 0.00 0.00 0.00 ( 40000.00 1.00 )
  L2 ( y z ) 0.00 0.00 0.00 0.00 ( 2000.00 1.00 )
)
"""


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
@pytest.mark.parametrize("write", [sndlib_xml, sndlib_native])
def test_sndlib_demand_files_are_matrices(tmp_path: Path, form: str, write: Any) -> None:
    folder = tmp_path / "directed-15min"
    folder.mkdir()
    for step in range(4):
        name = f"demandMatrix-20050504-{15 + step // 4}{step % 4 * 15:02d}.xml"
        (folder / name).write_text(write({("y", "x"): 1.0 + step, ("x", "z"): 2.0}))
    path = folder
    if form != "folder":
        path = Path(shutil.make_archive(str(tmp_path / "m"), form, folder))
    (tmp_path / "t").write_text(SNDLIB_TOPOLOGY)
    data = load_matrices(path, tmp_path / "t")
    by_pair = dict(zip(data.pairs, data.demands_kbps.T.tolist(), strict=True))
    assert (data.step_s, data.start_s) == (900, 1_115_218_800)
    assert by_pair[1, 0] == [1_000, 2_000, 3_000, 4_000]
    assert by_pair[0, 2] == [2_000] * 4
    assert data.network.links == ((0, 1), (1, 0), (1, 2), (2, 1))
    assert data.network.utilisation(np.ones(4)).tolist() == [1e-6, 1e-6, 5e-7, 5e-7]


RING_NAMES = [("a", "b"), ("b", "c"), ("c", "a"), ("b", "a"), ("c", "b"), ("a", "c")]


@pytest.mark.parametrize(
    "topology",
    [
        "\n".join(f"{a},{b},1000000" for a, b in RING_NAMES),
        "source target capacity\n" + "\n".join(f"{a} {b} 1e6" for a, b in RING_NAMES),
        json.dumps(
            {
                "directed": True,
                "nodes": [{"id": name} for name in "abc"],
                "links": [{"source": a, "target": b, "capacity": 1e6} for a, b in RING_NAMES],
            }
        ),
        "NODES 3\nlabel x y\na 0 0\nb 0 0\nc 0 0\n\nEDGES 6\nlabel src dest weight bw delay\n"
        + "\n".join(f"e {'abc'.index(a)} {'abc'.index(b)} 1 1000000 9" for a, b in RING_NAMES),
        HEAD
        + "\n".join(f"0 {1 + 'abc'.index(a)} {1 + 'abc'.index(b)} 1 1e6" for a, b in RING_NAMES),
    ],
)  # fmt: skip
def test_topologies_of_other_forms_are_the_same_network(tmp_path: Path, topology: str) -> None:
    usual = load_matrices(*files(tmp_path))
    other = load_matrices(*files(tmp_path, topology, names=np.array(["a", "b", "c"])))
    assert other.network.links == usual.network.links
    assert other.network.usage.toarray().tolist() == usual.network.usage.toarray().tolist()


def test_a_node_that_only_passes_traffic_on_has_no_demand(tmp_path: Path) -> None:
    lines = "a t 9\nt a 9\nb t 9\nt b 9\nc t 9\nt c 9"
    data = load_matrices(*files(tmp_path, lines, names=np.array(["a", "b", "c"])))
    assert data.network.nodes == 4
    passing = [column for column, pair in enumerate(data.pairs) if 3 in pair]
    assert not data.demands_kbps[:, passing].any()


def test_what_was_not_measured_is_held_said_and_not_scored(tmp_path: Path) -> None:
    holes = FULL.copy()
    holes[10] = np.nan
    holes[20] = 0.0
    holes[30, 1] = np.inf
    data = load_matrices(*files(tmp_path, tm=holes))
    assert np.flatnonzero(~data.is_known).tolist() == [10, 20, 30]
    assert data.demands_kbps[10].tolist() == data.demands_kbps[9].tolist()
    assert data.demands_kbps[30, 1] == 1_000.0 * FULL[30, 2]
    assert any("3 matrices have gaps" in note for note in data.notes)


def test_a_hole_in_time_is_filled_if_short_and_never_scored(tmp_path: Path) -> None:
    times = 300 * np.arange(40)
    times[10:] += 600
    times[20:] += 86_400 * 7
    data = load_matrices(*files(tmp_path, ts=times))
    assert len(data.demands_kbps) == 42  # two steps held, the week jumped over
    assert np.flatnonzero(~data.is_known).tolist() == [10, 11, 12, 22]
    assert data.demands_kbps[12, 0] == 1_000.0 * FULL[10, 1]


def test_matrices_out_of_order_or_twice_are_put_right(tmp_path: Path) -> None:
    order = np.r_[np.arange(20, 40), np.arange(20), 5]
    data = load_matrices(*files(tmp_path, tm=FULL[order], ts=np.array(stamps(40))[order]))
    assert np.allclose(data.demands_kbps, 1_000.0 * OFF)
    assert len(data.notes) == 2
    assert data.is_known.all()


def test_matrices_with_gaps_are_planned_to_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waves = 5.0 + np.sin(np.arange(120)[:, None] * (1 + np.arange(9)) / 7.0)
    waves[[3, 60, 110]] = np.nan
    matrices, topology = files(tmp_path, tm=waves, ts=stamps(120))
    options = ["--matrices", str(matrices), "--topology", str(topology), "--poison-steps", "20"]
    monkeypatch.setattr("sys.argv", ["te", *options, "--most-steps", "30", "--json"])
    assert main() == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["steps"], len(said["notes"])) == (29, 1)
    assert 1.0 <= said["mlu_ratio_mean"] < 1.3


def test_too_few_matrices_say_how_many_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices, topology = files(tmp_path)
    arguments = ["te", "--matrices", str(matrices), "--topology", str(topology)]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 2
    assert "give at least 86" in capsys.readouterr().err


COLUMNS = "source,target,time_ms,rate_kbps,load_kbps,busy_permille,queue_bytes,loss_permille,rtt_us"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "short.csv", "--top", "0"], "--top"),
        (["--gateway", "http://x:abc"], "is no address"),
        (["--gateway", "http://"], "is no address"),
    ],
)
def test_insights_from_nowhere_name_the_option(
    tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.csv").write_text(f"{COLUMNS}\n1,2,0,1,1,1,1,1,1\n")
    with pytest.raises(UserError, match=words):
        routing_main(["insights", *arguments])


def test_insights_of_too_little_say_so_instead_of_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.csv").write_text(f"{COLUMNS}\n1,2,0,1,1,1,1,1,1\n")
    assert routing_main(["insights", "--data", str(tmp_path / "short.csv")]) == 0
    assert "too little to judge: 0.0 hours" in capsys.readouterr().out
