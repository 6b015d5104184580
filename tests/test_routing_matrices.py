"""Anyone's matrices and topology: odd input is one clear line, odd but sound input is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.te import main
from chain.errors import UserError
from routing.io_cli import main as routing_main
from routing.plan.io_networks import load_matrices

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
        ({"ts": None}, "ts"),
        ({"tm": np.ones((40, 8))}, "[steps, n * n]"),
        ({"tm": np.ones((39, 9))}, "with a ts each"),
        ({"tm": np.full((40, 9), np.nan)}, "not finite"),
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
