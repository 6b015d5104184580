"""The values that routing takes and gives: link samples, requests, jobs, paths, placements.

Standard library only: router daemons gossip these types without NumPy or LightGBM. Hotspots are the
dense u32 indexes of the ledger. All times named `*_ms` without "age" are on the caller's one clock
(the demo uses virtual milliseconds, a daemon milliseconds since 1970); routing never reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class LinkSample:
    """State of the directed link source > target, as its sender measured it at `time_ms`.

    `rate_kbps` is what the link could carry, `load_kbps` what it carried since the sample before,
    `busy_permille` the share of airtime that its sender senses as busy, `queue_bytes` the backlog,
    `loss_permille` frames lost after retries, `rtt_us` the probe's round trip (0: not probed).
    """

    source: int
    target: int
    time_ms: int
    rate_kbps: int
    load_kbps: int
    busy_permille: int
    queue_bytes: int
    loss_permille: int
    rtt_us: int


class FlowClass(Enum):
    """What a flow wants: time to first token, bytes by a deadline, or whatever is left."""

    AI = "ai"
    JOB = "job"
    BEST_EFFORT = "best-effort"


@dataclass(frozen=True, slots=True)
class Path:
    """A loop-free source route, source and target included.

    `cost_us` is the expected one-way time of a 1,500-byte packet, `expert` who chose the path
    (`shortest_path`, `no_model` or `model`), `reason` why that expert, for people.
    """

    hops: tuple[int, ...]
    cost_us: int
    expert: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What a provider of AI models last said about itself, `age_ms` ago; price per 1,000 tokens.

    `slots`: answers at a time, `queued_tokens`: of prompts that wait, `prefill_tokens_per_s`: of
    prompts computed, `context_tokens`: of the longest prompt with its answer; each 0 if not said.
    """

    hotspot: int
    models: tuple[str, ...]
    requests_running: int
    requests_waiting: int
    tokens_per_s: int
    ttft_us_ewma: int
    age_ms: int
    ai_price_ucr: int
    slots: int = 0
    queued_tokens: int = 0
    prefill_tokens_per_s: int = 0
    context_tokens: int = 0


@dataclass(frozen=True, slots=True)
class AiRequest:
    """An AI request at `source`; it is refused if no first token is expected by `deadline_ms`.

    `goal_us` (to the first token) and `tpot_us` (between tokens) are wishes: who keeps them is
    preferred. `prefix`: hashes of the prompt's blocks of 512 tokens, each with all before it. Zero
    and empty: none.
    """

    source: int
    model: str
    prompt_tokens: int
    max_tokens: int
    deadline_ms: int
    goal_us: int = 0
    tpot_us: int = 0
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """The provider chosen for a request, the path to it, and the time to first token to expect.

    `ticket` names the choice when the router is told what came of it.
    """

    provider: int
    path: Path
    expected_ttft_us: int
    reason: str
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """`size_bytes` from source to target until `deadline_ms`; `budget_ucr` 0 means any price.

    `flight_bytes`: how much a relay carries before it wants to hear from the payer; 0 for no limit.
    """

    job_id: str
    source: int
    target: int
    size_bytes: int
    deadline_ms: int
    budget_ucr: int = 0
    flight_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobPromise:
    """An admitted job: what it costs, when its last byte arrives, over which path and how fast."""

    job_id: str
    price_ucr: int
    finish_ms: int
    rate_kbps: int
    path: Path


Link = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a link is expected to do, one entry per horizon of the model, nearest horizon first.

    Means over (time_ms, time_ms + horizon]: the median and the 90th percentile of the load, and the
    10th percentile of the rate. Floats, so that a broken model's NaN reaches the guard and is seen.
    """

    time_ms: int
    horizons_ms: tuple[int, ...]
    load_p50_kbps: tuple[float, ...]
    load_p90_kbps: tuple[float, ...]
    rate_p10_kbps: tuple[float, ...]
