"""Where an AI request should be answered: path there and back, queue, prefill, what came of it.

    expected TTFT = 2 x path + prompt's transfer + (prompts ahead + own prompt) / prefill speed
                    + wait for a slot + doubt

The prompts ahead are those this gateway sent and saw no token of, which it knows exactly, and those
of others by the providers' reports. A report is seconds old and everybody reads it: gateways that
believed the last one would all run to the same idle provider, so reports are smoothed. What a
prompt shares with prompts sent there before (its leading blocks) is cached and costs nothing.

**Goal.** Among providers that keep the goal at the 90th percentile, the one with the shortest queue
in seconds plus half of the request's own work: fast machines are left to those who need them, and
used while nobody does. If none keeps it, the least expected time. The percentile is learned per
provider: a running quantile of measured over expected, moved up by nine parts for a miss and down
by one for a hit (the pinball loss's gradient), so a provider that boasts loses its place. Where a
model was learned of this gateway's own requests (`routing/forecast/ttft.py`), it says both by the
state of the provider and the length of the prompt, and the running quantile corrects it.

**Exploration.** What a provider says is believed until it was tried. Its factor (measured over
expected) is lowered by a confidence width that shrinks with the tries, as UCB1 does (Auer,
Cesa-Bianchi, Fischer 2002): a provider that once did badly is tried again ever more rarely, about
log T times in T requests. Machines change: the factor of one that wasn't tried for a minute goes
a tenth of the way back to one, so that it is tried again after some minutes, once.

Providers order and refuse by `placement_turns.py`; a refusal for lack of time says how full they
are, and the request goes elsewhere. Standard library only: small gateways have no NumPy.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from chain.records import Refusal
from routing.forecast.ttft import NO_RATIOS, Judge, Outcome, Ratios, TtftLog, TtftModel, bucket_of
from routing.types import AiRequest, Path, Placement, ProviderState

_US = 1_000_000
BLOCK_TOKENS = 512  # of a prompt, hashed together with all before it
AGE_MS = 60_000
SAME_REPORT_MS = 500  # ages are rounded and a list of providers is used for a while


@dataclass(frozen=True, slots=True)
class PlacementParams:
    """`stale_ms`: age at which doubt equals queue; `prefill_ratio`: prefill over decode speed.

    `smooth_permille`: weight of a new report. `work_permille`: of its own work that a request adds
    to a queue's length when queues are compared. `width_permille`: confidence width after one try.
    """

    stale_ms: int = 10_000
    max_age_ms: int = 60_000
    bytes_per_token: int = 5
    prefill_ratio: int = 8
    default_tokens_per_s: int = 50
    smooth_permille: int = 150
    work_permille: int = 500
    width_permille: int = 150
    quantile_step_permille: int = 10
    answer_us: int = 10_000_000  # how long an answer holds its slot, until measured
    us_per_kucr: int = 200  # what a price of 1,000 ucr per 1,000 tokens weighs
    memory_blocks: int = 4_096  # of prompts, per provider
    forget_ms: int = 300_000  # a request of which nothing was heard


@dataclass(slots=True)
class _Sent:
    """A request on its way: where, what it adds, what was expected of it."""

    ticket: int
    known: _Known
    tokens: int
    expected_us: int  # by the formula
    said_us: tuple[int, int]
    model: tuple[int, int]  # median and 90th percentile over the formula, permille; 0: no model
    features: tuple[float, ...]
    time_ms: int
    has_begun: bool = False


class _Known:
    """One provider as this gateway knows it; `ready_us` and `token_us` are kept up to date."""

    __slots__ = (
        *("aged_ms", "aged_trials", "answer_us", "bit", "factor", "hotspot", "margin"),
        *("correction", "features", "lately_us", "learned", "margins", "ratios", "swing"),
        *("memory", "mine_running", "mine_tokens", "mine_waiting", "others_running", "path"),
        *("others_tokens", "queue_us", "ready_us", "reported_ms", "slots", "state", "token_us"),
        *("others_waiting", "tpot_us", "transfer_us", "trials"),
    )

    def __init__(self, state: ProviderState, path: Path, bit: int, params: PlacementParams) -> None:
        self.hotspot, self.bit = state.hotspot, bit
        self.mine_waiting = self.mine_running = self.mine_tokens = 0
        self.others_running = self.others_waiting = self.others_tokens = 0
        self.factor = 1_000  # measured over expected, permille
        self.margin = 1_000  # its 90th percentile over its mean
        self.ratios = self.margins = NO_RATIOS  # by length of the prompt, permille: see `_choose`
        self.learned: Ratios | None = None  # a model's median and 90th percentile over the formula
        self.correction = 1_000  # of the latter, by what came
        self.features: tuple[float, ...] = ()
        self.lately_us, self.swing = 0, 1_000  # EWMAs of first tokens, and of them over expected
        self.trials = self.aged_trials = self.aged_ms = 0
        self.answer_us = params.answer_us
        self.reported_ms = -1
        self.memory: OrderedDict[int, None] = OrderedDict()
        self.state, self.path = state, path
        self.queue_us = self.ready_us = self.token_us = self.transfer_us = self.tpot_us = 0


class Placer:
    """Chooses providers for one gateway, and learns from what it is told of its choices."""

    def __init__(self, params: PlacementParams | None = None) -> None:
        self.params = params or PlacementParams()
        self._known: dict[int, _Known] = {}
        self._pools: dict[str, list[_Known]] = {}
        self._holders: dict[int, int] = {}  # block of a prompt: bits of who has it
        self._sent: dict[int, _Sent] = {}
        self._order: deque[tuple[int, int]] = deque()  # (time, ticket), oldest first
        self._tickets = 0
        self._moved: dict[_Known, None] = {}  # whose figures are to be worked out again
        self._trials = 1
        self.log = TtftLog()
        self._model: TtftModel | None = None
        self._judge = Judge()

    def use_model(self, model: TtftModel | None) -> None:
        """Take a model of the time to first token, or go back to running quantiles.

        The next one inherits what its kind has earned of belief: it was made by the same steps.
        """
        self._model = model
        if model is None:
            self._judge = Judge()
        for known in self._known.values():
            known.correction = 1_000
            self._ask_model(known)
            self._moved[known] = None

    @property
    def believes(self) -> tuple[bool, bool]:
        """Whether choices use a model's median, and its 90th percentile."""
        return self._judge.believes if self._model is not None else (False, False)

    # --- what is known of providers -------------------------------------------------------------

    def refresh(self, options: Sequence[tuple[ProviderState, Path]], now_ms: int) -> None:
        """Take who is in reach now, with the newest report and the path to each."""
        self._pools = {}
        for state, path in options:
            if state.age_ms > self.params.max_age_ms:
                continue
            known = self._known.get(state.hotspot)
            if known is None:
                bit = 1 << len(self._known)
                known = self._known[state.hotspot] = _Known(state, path, bit, self.params)
            reported_ms = now_ms - state.age_ms
            is_news = reported_ms > known.reported_ms + SAME_REPORT_MS or known.reported_ms < 0
            if is_news:
                self._take_report(known, state, reported_ms)
            known.state, known.path = state, path
            self._age(known, now_ms)
            self._update(known)
            if is_news:
                known.features = _features_of(known)
                self._ask_model(known)
            for model in state.models:
                self._pools.setdefault(model, []).append(known)

    def _ask_model(self, known: _Known) -> None:
        """Let the model say what a provider's state means, for every length of a prompt."""
        known.learned = self._model.ratios(known.features) if self._model else None
        self._set_ratios(known)

    def _set_ratios(self, known: _Known) -> None:
        """Work out what a decision reads of the quantiles: model's or running, as is believed."""
        if known.learned is None:
            known.ratios, known.margins = NO_RATIOS, (known.margin,) * len(NO_RATIOS)
            return
        by_median, by_high = self._judge.believes
        known.ratios = known.learned[0] if by_median else NO_RATIOS
        known.margins = tuple(
            max(1_000, (high * known.correction if by_high else 1_000 * known.margin) // ratio)
            for ratio, high in zip(known.ratios, known.learned[1], strict=True)
        )

    def _age(self, known: _Known, now_ms: int) -> None:
        if now_ms - known.aged_ms < AGE_MS:
            return
        if known.trials == known.aged_trials:
            known.factor += (1_000 - known.factor) // 10
        known.aged_ms, known.aged_trials = now_ms, known.trials

    def _take_report(self, known: _Known, state: ProviderState, reported_ms: int) -> None:
        first = known.reported_ms < 0
        weight = 1_000 if first else self.params.smooth_permille
        known.reported_ms = reported_ms
        waiting = max(0, state.requests_waiting - known.mine_waiting)
        running = max(0, state.requests_running - known.mine_running)
        tokens = max(0, state.queued_tokens - known.mine_tokens)
        known.others_waiting += (waiting * 1_000 - known.others_waiting) * weight // 1_000
        known.others_running += (running * 1_000 - known.others_running) * weight // 1_000
        known.others_tokens += (tokens - known.others_tokens) * weight // 1_000

    def _update(self, known: _Known) -> None:
        """Work out what a decision reads: when the queue is done, and what a token takes."""
        params, state = self.params, known.state
        speed = state.prefill_tokens_per_s or params.prefill_ratio * (
            state.tokens_per_s or params.default_tokens_per_s
        )
        token_us = _US * self._optimism(known) // max(1, speed)  # of 1,000 tokens
        hops = len(known.path.hops) - 1
        transfer_us = known.path.cost_us * params.bytes_per_token * 1_000 // 1_500 // max(1, hops)
        waiting = (known.mine_tokens + known.others_tokens) * token_us // 1_000
        if not state.queued_tokens:  # an engine that counts requests only
            turn = max(state.ttft_us_ewma, 400 * token_us // 1_000)
            waiting += turn * known.others_waiting // 1_000
            waiting += turn * known.others_running // 2_000 if not state.slots else 0
        waiting += self._slot_us(known)
        doubt = (waiting + 400 * token_us // 1_000) * state.age_ms // params.stale_ms // 2
        known.queue_us = waiting + doubt + state.ai_price_ucr * params.us_per_kucr // 1_000
        known.ready_us = 2 * known.path.cost_us + known.queue_us
        known.token_us, known.transfer_us = token_us + transfer_us, transfer_us
        known.tpot_us = _US // state.tokens_per_s if state.tokens_per_s else 0

    def _optimism(self, known: _Known) -> int:
        """The factor less its confidence width, in permille; below a third it is no machine."""
        if not known.trials:
            return known.factor
        # log2 by bits: integers, the same on every machine
        spread = self._trials.bit_length() * 1_000_000 // known.trials
        width = self.params.width_permille * _root(spread) // 1_000
        return max(known.factor // 3, known.factor - known.factor * width // 1_000)

    def _slot_us(self, known: _Known) -> int:
        slots = known.state.slots
        there = known.mine_running + known.mine_waiting
        over = 1_000 * (there + 1 - slots) + known.others_running + known.others_waiting
        return known.answer_us * over // (1_000 * slots) if slots and over > 0 else 0

    # --- decisions ------------------------------------------------------------------------------

    def place(
        self, request: AiRequest, now_ms: int, without: frozenset[int] = frozenset()
    ) -> Placement | Refusal:
        """Choose among those last refreshed; refuse when a deadline can't be kept."""
        self._forget(now_ms)
        for known in self._moved:
            self._update(known)
        self._moved.clear()
        pool = self._pools.get(request.model)
        if pool and without:
            pool = [known for known in pool if known.hotspot not in without]
        if pool and request.prompt_tokens + request.max_tokens > 4_096:
            pool = [known for known in pool if _holds(known.state, request)]
        if not pool:
            detail = f"model {request.model}: no provider within reach offers it"
            return Refusal("ai-no-provider", f"{detail}; see the models that are listed")
        saved = self._saved(request.prefix) if request.prefix else {}
        chosen, ttft_us = self._choose(pool, request, saved)
        if request.deadline_ms:
            chosen, ttft_us = self._in_time(pool, request, saved, chosen, ttft_us)
            if ttft_us > (request.deadline_ms - now_ms) * 1_000:
                detail = f"first token expected in {ttft_us // 1_000} ms"
                return Refusal("ai-deadline", f"{detail}; give a later deadline_ms or none")
        return self._send(chosen, request, ttft_us, saved.get(chosen.bit, 0), now_ms, len(pool))

    def _choose(
        self, pool: Sequence[_Known], request: AiRequest, saved: dict[int, int]
    ) -> tuple[_Known, int]:
        """The hot loop: shortest queue among those who keep the goal, else least time."""
        prompt, goal = request.prompt_tokens, request.goal_us * 1_000 or 1 << 62
        share, pace = self.params.work_permille, request.tpot_us or 1 << 62
        best = quick = pool[0]
        least = soonest = best_us = 1 << 62
        bucket, is_learned = bucket_of(prompt), self.believes[0]
        for known in pool:
            tokens = prompt - saved[known.bit] if saved and known.bit in saved else prompt
            work = known.token_us * tokens // 1_000
            ttft = known.ready_us + work
            if is_learned:
                ttft = ttft * known.ratios[bucket] // 1_000
            if ttft < soonest:
                soonest, quick = ttft, known
            if ttft * known.margins[bucket] <= goal and known.tpot_us <= pace:
                cost = known.ready_us + work * share // 1_000
                if cost < least:
                    least, best, best_us = cost, known, ttft
        return (best, best_us) if least < 1 << 62 else (quick, soonest)

    def _in_time(
        self,
        pool: Sequence[_Known],
        request: AiRequest,
        saved: dict[int, int],
        chosen: _Known,
        ttft_us: int,
    ) -> tuple[_Known, int]:
        prompt, bucket = request.prompt_tokens, bucket_of(request.prompt_tokens)
        times = [
            (_formula_us(k, prompt - saved.get(k.bit, 0)) * k.ratios[bucket] // 1_000, k)
            for k in pool
        ]
        least_us, quick = min(times, key=lambda row: row[0])
        return (quick, least_us) if least_us < ttft_us else (chosen, ttft_us)

    def _send(
        self, known: _Known, request: AiRequest, ttft_us: int, saved: int, now_ms: int, of: int
    ) -> Placement:
        tokens = max(1, request.prompt_tokens - saved)
        bucket = bucket_of(request.prompt_tokens)
        self._tickets += 1
        expected_us = _formula_us(known, request.prompt_tokens - saved)
        learned = known.learned
        self._sent[self._tickets] = _Sent(
            *(self._tickets, known, tokens, expected_us),
            (ttft_us, ttft_us * known.margins[bucket] // 1_000),
            (learned[0][bucket], learned[1][bucket]) if learned else (0, 0),
            *((float(bucket), *known.features), now_ms),
        )
        self._order.append((now_ms, self._tickets))
        known.mine_waiting += 1
        known.mine_tokens += tokens
        self._moved[known] = None
        if request.prefix:
            self._remember(known, request.prefix)
        reason = f"shortest queue that keeps the goal, of {of}"
        if not request.goal_us or ttft_us * known.margins[bucket] > request.goal_us * 1_000:
            reason = f"least expected time to first token of {of}"
        return Placement(known.hotspot, known.path, ttft_us, reason, self._tickets)

    # --- prompts that share their beginning -----------------------------------------------------

    def _saved(self, prefix: Sequence[int]) -> dict[int, int]:
        """Tokens of the prompt that each provider (by bit) has computed before."""
        result: dict[int, int] = {}
        holders = self._holders.get(prefix[0], 0)
        for count, block in enumerate(prefix):
            now = holders & self._holders.get(block, 0) if count else holders
            _settle(result, holders & ~now, count)
            holders = now
            if not holders:
                return result
        _settle(result, holders, len(prefix))
        return result

    def _remember(self, known: _Known, prefix: Sequence[int]) -> None:
        memory, holders, bit = known.memory, self._holders, known.bit
        for block in prefix:
            if block in memory:
                memory.move_to_end(block)
            else:
                memory[block] = None
                holders[block] = holders.get(block, 0) | bit
        limit = known.state.context_tokens // BLOCK_TOKENS or self.params.memory_blocks
        while len(memory) > limit:
            block, _ = memory.popitem(last=False)
            left = holders[block] & ~bit
            if left:
                holders[block] = left
            else:
                del holders[block]

    # --- what came of it ------------------------------------------------------------------------

    def began(self, ticket: int, ttft_us: int) -> None:
        """The first token came after `ttft_us`; learn from it."""
        sent = self._sent.get(ticket)
        if sent is None or sent.has_begun:
            return
        sent.has_begun = True
        known = sent.known
        known.mine_waiting -= 1
        known.mine_running += 1
        known.mine_tokens -= sent.tokens
        self.log.add(Outcome(sent.features, sent.expected_us, sent.said_us, ttft_us))
        self._learn(known, sent, ttft_us)
        self._moved[known] = None

    def _learn(self, known: _Known, sent: _Sent, measured_us: int) -> None:
        ratio = min(8_000, 1_000 * measured_us // max(1, sent.expected_us))
        known.trials += 1
        self._trials += 1
        known.lately_us += (measured_us - known.lately_us) * (3 if known.lately_us else 10) // 10
        known.swing += (ratio - known.swing) * 3 // 10
        weight = max(16, 1_000 // (known.trials + 1))  # a mean at first, then the last sixty
        known.factor += (known.factor * ratio // 1_000 - known.factor) * weight // 1_000
        known.factor = max(200, min(20_000, known.factor))
        if sent.model[0]:
            self._judge_model(known, sent, ratio)
        step = self.params.quantile_step_permille
        known.margin += 9 * step if ratio > known.margin else -step
        known.margin = max(1_000, min(4_000, known.margin))
        self._set_ratios(known)

    def _judge_model(self, known: _Known, sent: _Sent, ratio: int) -> None:
        # In thousandths of what the formula expected, times that: us.
        step, unit = self.params.quantile_step_permille, max(1, sent.expected_us // 1_000)
        high = sent.model[1] * known.correction // 1_000
        known.correction += 9 * step if ratio > high else -step
        known.correction = max(500, min(4_000, known.correction))
        model, running = (sent.model[0] * unit, high * unit), (1_000 * unit, known.margin * unit)
        if self._judge.settle(model, running, ratio * unit):
            for one in self._known.values():
                self._set_ratios(one)

    def ended(self, ticket: int, held_us: int = 0) -> None:
        """The answer is complete, or was given up; `held_us` is how long it took in all."""
        sent = self._sent.pop(ticket, None)
        if sent is None:
            return
        known = sent.known
        if sent.has_begun:
            known.mine_running -= 1
            if held_us:
                known.answer_us += (held_us - known.answer_us) // 16
        else:
            known.mine_waiting -= 1
            known.mine_tokens -= sent.tokens
        self._moved[known] = None

    def busy(self, ticket: int, request: AiRequest) -> None:
        """The provider refused for lack of time: its queue is as long as the goal, at least."""
        sent = self._sent.get(ticket)
        if sent is None:
            return
        known = sent.known
        self.ended(ticket)
        speed = 1_000 * _US // max(1, known.token_us - known.transfer_us)
        full = request.goal_us * speed // _US - known.mine_tokens
        known.others_tokens = max(known.others_tokens, full)
        self._moved[known] = None

    def _forget(self, now_ms: int) -> None:
        while self._order and self._order[0][0] < now_ms - self.params.forget_ms:
            self.ended(self._order.popleft()[1])

    def summary(self) -> list[dict[str, int]]:
        """What is known of each provider, for people."""
        return [
            {
                "hotspot": known.hotspot,
                "queue_ms": known.queue_us // 1_000,
                "waiting": known.mine_waiting + known.others_waiting // 1_000,
                "running": known.mine_running + known.others_running // 1_000,
                "answers_begun": known.trials,
                "measured_over_expected_permille": known.factor,
                "p90_over_mean_permille": known.margin,
                "is_learned": known.learned is not None and any(self.believes),
            }
            for known in self._known.values()
        ]


def _formula_us(known: _Known, tokens: int) -> int:
    return known.ready_us + known.token_us * tokens // 1_000


def _features_of(known: _Known) -> tuple[float, ...]:
    """Return `ttft.FEATURES` but the first, of a provider whose report has just been taken."""
    state = known.state
    there = known.mine_running + known.mine_waiting
    there += (known.others_running + known.others_waiting) // 1_000
    return (
        *(log2(1 + known.queue_us), log2(1 + known.token_us), log2(1 + 2 * known.path.cost_us)),
        *(known.others_running / 1_000, known.others_waiting / 1_000),
        *(log2(1 + known.others_tokens), float(known.mine_waiting)),
        1_000.0 * there / state.slots if state.slots else 0.0,
        *(float(known.factor), float(known.margin), log2(1 + known.lately_us)),
        *(float(known.swing), state.age_ms / 1_000),
    )


def _settle(result: dict[int, int], bits: int, count: int) -> None:
    while bits:
        bit = bits & -bits
        result[bit] = count * BLOCK_TOKENS
        bits ^= bit


def _holds(state: ProviderState, request: AiRequest) -> bool:
    wanted = request.prompt_tokens + request.max_tokens
    return not state.context_tokens or wanted <= state.context_tokens


def _root(value: int) -> int:
    """Integer square root by Newton's steps, of a few thousand: enough for a width."""
    if value <= 0:
        return 0
    guess = 1 << ((value.bit_length() + 1) // 2)
    while (better := (guess + value // guess) // 2) < guess:
        guess = better
    return guess
