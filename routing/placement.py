"""Where an AI request should be answered: path there and back, queue, prefill.

    expected TTFT = 2 x path + prompt's transfer + prefill + queue + doubt

Queue is the provider's own report plus what this router sent there since, which keeps a burst from
one gateway off a single provider. Doubt grows with the age of the report. Providers whose estimates
can't be told apart within that doubt are drawn from by power of two choices (Mitzenmacher 2001),
with a hash for a coin, so that many gateways don't all pick the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from chain.records import Refusal
from routing.types import AiRequest, Path, Placement, ProviderState

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class PlacementParams:
    """`stale_ms`: age at which doubt equals queue; `prefill_ratio`: prefill over decode speed."""

    stale_ms: int = 10_000
    max_age_ms: int = 60_000
    tie_permille: int = 50
    bytes_per_token: int = 5
    prefill_ratio: int = 8
    default_tokens_per_s: int = 50


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider with a path to it, its expected TTFT and how far off that may be."""

    state: ProviderState
    path: Path
    ttft_us: int
    doubt_us: int


def service_us(request: AiRequest, state: ProviderState, params: PlacementParams) -> int:
    """Return the time from the head of the queue to the first token."""
    speed = (state.tokens_per_s or params.default_tokens_per_s) * params.prefill_ratio
    return request.prompt_tokens * _US // max(1, speed)


def candidate(
    request: AiRequest, state: ProviderState, path: Path, sent: int, params: PlacementParams
) -> Candidate:
    """Estimate one provider; `sent` requests went there from here since it reported."""
    service = service_us(request, state, params)
    turn = max(service, state.ttft_us_ewma)
    queue = turn * (state.requests_waiting + sent) + turn * state.requests_running // 2
    packets = request.prompt_tokens * params.bytes_per_token // 1_500
    transfer = packets * path.cost_us // max(1, len(path.hops) - 1)
    doubt = (queue + service) * max(0, state.age_ms) // params.stale_ms
    total = 2 * path.cost_us + transfer + service + queue + doubt // 2
    return Candidate(state, path, total, doubt)


def _rank(one: Candidate) -> tuple[int, int, int]:
    return (one.ttft_us, one.state.ai_price_ucr, one.state.hotspot)


def pick(candidates: Sequence[Candidate], draw: int, params: PlacementParams) -> Candidate:
    """Scan all; among those within doubt of the best, draw two and take the better of them."""
    ranked = sorted(candidates, key=_rank)
    best = ranked[0]
    margin = best.ttft_us * params.tie_permille // 1_000 + best.doubt_us // 2
    close = [one for one in ranked if one.ttft_us <= best.ttft_us + margin]
    if len(close) < 3:
        return best
    coin = sha256(f"{draw}:{best.path.hops[0]}".encode()).digest()
    first = int.from_bytes(coin[:8]) % len(close)
    second = int.from_bytes(coin[8:16]) % len(close)
    return close[min(first, second)]


def decide(
    request: AiRequest,
    candidates: Sequence[Candidate],
    draw: int,
    now_ms: int,
    params: PlacementParams,
) -> Placement | Refusal:
    """Choose among candidates; refuse when not even the best can keep the request's deadline."""
    if not candidates:
        detail = f"model {request.model}: no provider within reach offers it"
        return Refusal("ai-no-provider", f"{detail}; see the models that are listed")
    chosen = pick(candidates, draw, params)
    if request.deadline_ms:
        left_us = (request.deadline_ms - now_ms) * 1_000
        if chosen.ttft_us > left_us:
            chosen = min(candidates, key=_rank)
        if chosen.ttft_us > left_us:
            detail = f"first token expected in {chosen.ttft_us // 1_000} ms"
            return Refusal("ai-deadline", f"{detail}; give a later deadline_ms or none")
    reason = f"least expected time to first token of {len(candidates)}"
    return Placement(chosen.state.hotspot, chosen.path, chosen.ttft_us, reason)
