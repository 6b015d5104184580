"""Traces of AI requests: read whole, cut and scaled; a bad row is named."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import UserError
from radio_sim.io_traces import arrivals_of, read_trace
from radio_sim.scenario import TrafficSettings
from radio_sim.traces import Arrival, parse_azure, parse_mooncake, synthetic, window

AZURE = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
arrivals = st.lists(
    st.builds(Arrival, st.integers(0, 10**7), st.integers(1, 9999), st.integers(1, 9999))
).map(lambda rows: sorted(rows, key=lambda row: row.offset_ms))


def test_both_forms_read_alike() -> None:
    azure = parse_azure((AZURE + "0.0,374,44\n4.3145,396,109\n").splitlines())
    mooncake = parse_mooncake(
        [
            '{"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": []}',
            "",
            '{"timestamp": 4314, "input_length": 396, "output_length": 109}',
        ]
    )
    assert list(azure) == list(mooncake) == [Arrival(0, 374, 44), Arrival(4314, 396, 109)]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a,b\n1,2\n", "trace"),
        (AZURE + "0,1,1\nx,1,1\n", "trace line 3.arrived_at"),
        (AZURE + "0,-1,1\n", "trace line 2.num_prefill_tokens"),
        (AZURE + "0,1\n", "trace line 2.num_decode_tokens"),
        (AZURE + "5,1,1\n4,1,1\n", "trace line 3"),
        (AZURE + "0,1.5,1\n", "trace line 2"),
        (AZURE + "0,nan,1\n", "trace line 2.num_prefill_tokens"),
    ],
)
def test_a_bad_azure_row_is_named(text: str, field: str) -> None:
    with pytest.raises(UserError) as caught:
        list(parse_azure(text.splitlines()))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("{", "trace line 2"),
        ("[]", "trace line 2"),
        ('{"timestamp": 1}', "trace line 2.input_length"),
        ('{"timestamp": true, "input_length": 1, "output_length": 1}', "trace line 2.timestamp"),
    ],
)
def test_a_bad_mooncake_row_is_named(line: str, field: str) -> None:
    good = '{"timestamp": 0, "input_length": 1, "output_length": 1}'
    with pytest.raises(UserError) as caught:
        list(parse_mooncake([good, line]))
    assert caught.value.field == field


@given(arrivals, st.integers(0, 10**7), st.integers(1, 10**7), st.sampled_from([0.5, 1.0, 10.0]))
def test_a_window_keeps_what_falls_in_it(
    rows: list[Arrival], start: int, length: int, speedup: float
) -> None:
    cut = list(window(rows, start_ms=start, duration_ms=length, speedup=speedup))
    inside = [row for row in rows if start <= row.offset_ms < start + length]
    assert [row.prompt_tokens for row in cut] == [row.prompt_tokens for row in inside]
    assert all(0 <= row.offset_ms <= length / speedup for row in cut)


def test_synthetic_arrivals_come_at_their_rate_from_their_seed() -> None:
    rows = list(islice(synthetic(1, 3600.0), 4000))
    assert rows[-1].offset_ms / 4000 == pytest.approx(1000.0, rel=0.06)
    assert rows == list(islice(synthetic(1, 3600.0), 4000))
    assert rows != list(islice(synthetic(2, 3600.0), 4000))
    middle = sorted(row.prompt_tokens for row in rows)[2000]
    assert middle == pytest.approx(930, rel=0.1)
    assert list(synthetic(1, 0.0)) == []


def test_published_traces_read_to_the_end(ground_truth: Path) -> None:
    folder = ground_truth / "routing" / "llm"
    azure = list(read_trace(folder / "azure2023_splitwise_conv.csv.gz", "azure"))
    mooncake = list(read_trace(folder / "mooncake_conversation_trace.jsonl.gz", "mooncake"))
    assert (len(azure), len(mooncake)) == (19_366, 12_031)
    assert azure[1] == Arrival(4315, 396, 109)
    traffic = TrafficSettings("azure", "azure2023_splitwise_conv.csv.gz", speedup=10.0)
    assert sum(1 for _ in arrivals_of(traffic, 1, folder)) == len(azure)


def test_a_missing_trace_and_an_unknown_format_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"traffic\.file"):
        next(arrivals_of(TrafficSettings("azure", "gone.csv"), 1, tmp_path))
    with pytest.raises(UserError, match="format"):
        read_trace(tmp_path, "parquet")
