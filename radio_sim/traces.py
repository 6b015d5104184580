"""Arrivals of AI requests: published traces of real services, or synthetic ones from a seed.

azure      CSV: arrived_at [s], num_prefill_tokens, num_decode_tokens
mooncake   JSON lines: timestamp [ms], input_length, output_length
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from chain.errors import UserError
from radio_sim.draws import draw_normal, draw_u64, draw_uniform

MAX_TOKENS = 10_000_000
AZURE_COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")

# Medians of the Azure conversation trace of 2023; its logarithms scatter by about one.
PROMPT_MEDIAN, OUTPUT_MEDIAN, LOG_DEVIATION = 930, 129, 1.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: milliseconds after the start, tokens in and out."""

    offset_ms: int
    prompt_tokens: int
    output_tokens: int


def parse_azure(lines: Iterable[str], place: str = "trace") -> Iterator[Arrival]:
    """Read the CSV form. A bad row raises UserError with its line."""
    reader = csv.DictReader(lines)
    missing = [name for name in AZURE_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(place, f"no column {missing[0]!r}", f"give {','.join(AZURE_COLUMNS)}")
    last_ms = 0
    for row in reader:
        at = f"{place} line {reader.line_num}"
        seconds, prompt, output = (_number(at, name, row[name]) for name in AZURE_COLUMNS)
        arrival = _arrival(at, 1000.0 * seconds, prompt, output, last_ms)
        last_ms = arrival.offset_ms
        yield arrival


def parse_mooncake(lines: Iterable[str], place: str = "trace") -> Iterator[Arrival]:
    """Read the JSON lines form. A bad row raises UserError with its line."""
    last_ms = 0
    for number, line in enumerate(lines, 1):
        at = f"{place} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(at, f"not valid JSON: {error}", "mend or remove it") from None
        if not isinstance(row, dict):
            raise UserError(at, "not an object", "mend or remove it")
        offset, prompt, output = (_number(at, key, row.get(key)) for key in MOONCAKE_KEYS)
        arrival = _arrival(at, offset, prompt, output, last_ms)
        last_ms = arrival.offset_ms
        yield arrival


PARSERS: dict[str, Callable[[Iterable[str], str], Iterator[Arrival]]] = {
    "azure": parse_azure,
    "mooncake": parse_mooncake,
}


def synthetic(seed: int, requests_per_hour: float) -> Iterator[Arrival]:
    """Poisson arrivals without end, with log-normal lengths; nothing at a rate of 0."""
    time_ms, number = 0.0, 0
    root = draw_u64(seed, "arrivals")
    while requests_per_hour > 0:
        number += 1
        gap = -math.log(1.0 - draw_uniform(root, "gap", number))
        time_ms += gap * 3_600_000.0 / requests_per_hour
        prompt = PROMPT_MEDIAN * math.exp(LOG_DEVIATION * draw_normal(root, "prompt", number))
        output = OUTPUT_MEDIAN * math.exp(LOG_DEVIATION * draw_normal(root, "output", number))
        yield Arrival(round(time_ms), max(1, round(prompt)), max(1, round(output)))


def window(
    arrivals: Iterable[Arrival],
    *,
    start_ms: int = 0,
    duration_ms: int | None = None,
    speedup: float = 1.0,
    tokens_scale: float = 1.0,
) -> Iterator[Arrival]:
    """Cut [start, start + duration) out of a trace, then run it `speedup` times as fast."""
    for arrival in arrivals:
        offset = arrival.offset_ms - start_ms
        if offset < 0:
            continue
        if duration_ms is not None and offset >= duration_ms:
            return
        yield replace(
            arrival,
            offset_ms=int(offset / speedup),
            prompt_tokens=max(1, round(arrival.prompt_tokens * tokens_scale)),
            output_tokens=max(1, round(arrival.output_tokens * tokens_scale)),
        )


def _number(place: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise UserError(f"{place}.{name}", f"{value!r} is no number from 0 up", "mend the row")
    return number


def _arrival(place: str, offset: float, prompt: float, output: float, last_ms: int) -> Arrival:
    if max(prompt, output) > MAX_TOKENS or prompt != int(prompt) or output != int(output):
        raise UserError(place, "token counts must be whole and below 10 million", "mend the row")
    if round(offset) < last_ms:
        raise UserError(place, "arrives before the row above it", "sort the trace by time")
    return Arrival(round(offset), int(prompt), int(output))
