"""Opens traces of AI requests in the forms in which they are published, for bench/ai.py.

    Azure 2023, 2024   CSV   TIMESTAMP, ContextTokens, GeneratedTokens
    vidur's Azure      CSV   arrived_at [s], num_prefill_tokens, num_decode_tokens
    BurstGPT           CSV   Timestamp [s], Request tokens, Response tokens
    Mooncake           JSONL timestamp [ms], input_length, output_length, hash_ids of 512 tokens
    Qwen-Bailian       JSONL timestamp [s], chat_id, …, hash_ids of 16 tokens

A form is known by its columns; files may be packed by gzip, xz or bz2. Requests are put in the
order of time, failed ones (no answer) count as an answer of one token, and requests that lack a
time or a prompt are left out unless they are most.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from bench.ai_mesh import BLOCK_TOKENS
from chain.errors import UserError

Row = tuple[float, int, int, tuple[int, ...]]  # seconds, prompt, answer, blocks
_TIME = ("timestamp", "arrived_at", "arrival_time", "arrival_timestamp", "time")
_PROMPT = (
    "num_prefill_tokens", "contexttokens", "request tokens", "request_tokens", "input_length",
    "input_tokens", "prompt_tokens",
)  # fmt: skip
_ANSWER = (
    "num_decode_tokens", "generatedtokens", "response tokens", "response_tokens", "output_length",
    "output_tokens", "completion_tokens",
)  # fmt: skip
_SMALL_BLOCK_TOKENS = 16
_PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"BZh": bz2.decompress,
}
_MS = 1_000.0
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d+))?")


def load_requests(path: Path, count: int = 0) -> list[Row]:
    """Read the first `count` requests of a file (0: all); UserError says what is wrong with it."""
    try:
        data = path.read_bytes()
        packer = next((p for magic, p in _PACKERS.items() if data.startswith(magic)), None)
        text = (packer(data) if packer else data).decode("utf-8-sig")
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        problem = f"{path.name}: {' '.join(str(error).split())}"
        raise UserError("--trace-file", problem, "give CSV or JSON lines of requests") from None
    is_lines = text.lstrip().startswith("{")
    rows = _json_rows(text) if is_lines else _csv_rows(text)
    return _checked(rows, path.name)[: count or None]


def _json_rows(text: str) -> list[Row | None]:
    documents: list[Any] = []
    for line in text.splitlines():
        if line.strip():
            try:
                documents.append(json.loads(line))
            except ValueError:
                documents.append(None)
    maps = [d for d in documents if isinstance(d, dict)]
    # Only Bailian's lines have a chat, whole seconds with a fraction, and blocks of 16 tokens.
    is_chat = any("chat_id" in one for one in maps)
    tokens = _SMALL_BLOCK_TOKENS if is_chat else BLOCK_TOKENS
    unit = 1.0 if is_chat else 1.0 / _MS
    return [_json_row(d, unit, tokens) if isinstance(d, dict) else None for d in documents]


def _json_row(document: dict[str, Any], unit: float, tokens: int) -> Row | None:
    row = _row(document, unit)
    hashes = document.get("hash_ids")
    if row is None or not isinstance(hashes, list):
        return row
    if not all(isinstance(one, int) for one in hashes):
        return None
    # The last of every 512 tokens' hashes stands for all before it, as each is of its whole prefix.
    each = BLOCK_TOKENS // tokens
    return *row[:3], tuple(hashes[each - 1 :: each][: row[1] // BLOCK_TOKENS])


def _csv_rows(text: str) -> list[Row | None]:
    return [_row(row, 1.0) for row in csv.DictReader(io.StringIO(text, newline=""))]


def _row(record: Mapping[str, Any], unit: float) -> Row | None:
    by_name = {str(name).strip().lower(): value for name, value in record.items()}
    try:
        seconds = _seconds(_first_of(by_name, _TIME), unit)
        prompt, answer = (int(float(_first_of(by_name, names))) for names in (_PROMPT, _ANSWER))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (seconds, prompt, max(1, answer), ()) if prompt > 0 and isfinite(seconds) else None


def _first_of(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if name in record:
            return record[name]
    raise KeyError(names[0])


def _seconds(value: Any, unit: float) -> float:
    try:
        return float(value) * unit
    except ValueError:
        # Azure writes seven digits of a second; Python reads six of them.
        found = _STAMP.match(str(value).strip())
        if found is None:
            raise
        when = datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC)
        return when.timestamp() + float(f"0.{found.group(2) or 0}")


def _checked(rows: list[Row | None], name: str) -> list[Row]:
    known = [row for row in rows if row is not None]
    if not rows or len(known) * 2 < len(rows):
        problem = f"{name}: {len(rows) - len(known)} of {len(rows)} requests lack time or tokens"
        remedy = "give a time, the prompt's and the answer's tokens (docs/ai.md has the columns)"
        raise UserError("--trace-file", problem, remedy)
    if len(known) < 100 or max(r[0] for r in known) <= min(r[0] for r in known):
        problem = f"{name}: {len(known)} requests within no time"
        raise UserError("--trace-file", problem, "give at least 100 that come one after another")
    begin = min(row[0] for row in known)
    shifted = [(row[0] - begin, row[1], row[2], row[3]) for row in known]
    return sorted(shifted, key=lambda row: row[0])
