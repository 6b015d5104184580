"""Traces of AI requests in all published forms: read alike, or refused in one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.ai import terms_of
from bench.ai_traces import Row, load_requests
from chain.errors import UserError

COUNT = 120
EXPECTED: list[Row] = [(0.5 * n, 600 + n, 20, ()) for n in range(COUNT)]


def csv_of(head: str, line: Callable[[int], str]) -> str:
    return "\n".join([head, *(line(n) for n in range(COUNT)), ""])


def azure_stamp(n: int) -> str:
    minutes, seconds = divmod(0.5 * n, 60)
    return f"2024-05-10 00:{int(minutes):02d}:{int(seconds):02d}.{int(seconds % 1 * 1e7):07d}"


FORMS = {
    "azure": csv_of(
        "TIMESTAMP,ContextTokens,GeneratedTokens", lambda n: f"{azure_stamp(n)},{600 + n},20"
    ),
    "azure with zone": csv_of(
        "TIMESTAMP,ContextTokens,GeneratedTokens", lambda n: f"{azure_stamp(n)}+00:00,{600 + n},20"
    ),
    "vidur": csv_of(
        "arrived_at,num_prefill_tokens,num_decode_tokens", lambda n: f"{9 + n / 2},{600 + n},20"
    ),
    "burst": csv_of(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        lambda n: f"{5 + n / 2},GPT-4,{600 + n},20,{620 + n},Conversation log",
    ),
    "mooncake": "\n".join(
        json.dumps({"timestamp": 500 * n, "input_length": 600 + n, "output_length": 20})
        for n in range(COUNT)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_requests(tmp_path: Path, form: str) -> None:
    (tmp_path / "t").write_text(FORMS[form])
    (tmp_path / "t.gz").write_bytes(gzip.compress(FORMS[form].encode()))
    for name in ("t", "t.gz"):
        rows = load_requests(tmp_path / name)
        assert [row[1:] for row in rows] == [row[1:] for row in EXPECTED]
        assert [row[0] for row in rows] == pytest.approx([row[0] for row in EXPECTED])


def test_small_blocks_stand_for_their_whole_prefix(tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {
                "chat_id": n,
                "timestamp": n / 4,
                "input_length": 1_030,
                "output_length": 9,
                "hash_ids": list(range(65)),
            }
        )
        for n in range(COUNT)
    ]
    (tmp_path / "t").write_text("\n".join(lines))
    rows = load_requests(tmp_path / "t", 7)
    assert len(rows) == 7
    assert rows[4] == (1.0, 1_030, 9, (31, 63))  # 512 tokens are 32 blocks


def test_requests_come_in_order_and_few_broken_ones_are_left_out(tmp_path: Path) -> None:
    lines = FORMS["vidur"].splitlines()
    broken = [*lines[60:], "x,,", "1,nan,3", *lines[1:60]]
    (tmp_path / "t").write_text("\n".join([lines[0], *broken]))
    assert [row[1] for row in load_requests(tmp_path / "t")] == [row[1] for row in EXPECTED]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 of 0 requests"),
        ("a,b\n1,2\n", "1 of 1 requests lack time or tokens"),
        ("\n".join(FORMS["vidur"].splitlines()[:50]), "49 requests within no time"),
        ("{\n{", "2 of 2 requests"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_requests(tmp_path / "t")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--trace-file"):
        load_requests(tmp_path / "nowhere")


def test_speeds_to_search_follow_from_the_tokens_that_a_trace_asks_for() -> None:
    goal_us, (low, high) = terms_of("mine", EXPECTED)
    twice = [(row[0] / 2, *row[1:]) for row in EXPECTED]
    assert goal_us == 2_000_000
    assert high > 16 * low
    assert terms_of("mine", twice)[1] == pytest.approx((low / 2, high / 2))
