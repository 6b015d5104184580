"""Policies that bench/ai.py compares: the peers, each in every variant that helps it, and ours.

- plain: counts of requests, its own, and the others' by the last report.
- weighted: the same over the provider's prompt speed, as an operator sets weights.
- own: weighted, its own requests only, as routers do that don't share state. A report that is
  seconds old, read by all at once, sends all to the same provider; this avoids that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256

from bench.ai_mesh import BLOCK_TOKENS, Ask, View
from chain.records import Refusal
from routing.forecast.ttft import LEARN_EVERY
from routing.forecast.ttft_training import train_ttft
from routing.placement import PlacementParams, Placer
from routing.types import AiRequest, Path, ProviderState

PLAIN, WEIGHTED, OWN = "plain", "weighted", "own"


class Peer:
    """What all peers share: who can take a request, how busy a provider seems."""

    def __init__(self, gateway: int, variant: str) -> None:
        self.gateway, self.variant = gateway, variant
        self.placed = 0

    def able(self, ask: Ask, views: Sequence[View]) -> list[int]:
        """Providers whose pool holds prompt and answer."""
        self.placed += 1
        wanted = ask.prompt + ask.answer
        return [i for i, view in enumerate(views) if view.machine.kv_tokens >= wanted]

    def load(self, view: View) -> float:
        """How busy, by the variant."""
        if self.variant == PLAIN:
            return view.busy
        count = view.mine_waiting + view.mine_running if self.variant == OWN else view.busy
        return (count + 1) / view.machine.prefill_tps

    def least(self, able: Sequence[int], views: Sequence[View]) -> int:
        """The least busy; among equals each in its turn."""
        turn = 7 * self.placed
        return min(able, key=lambda i: (self.load(views[i]), (i + turn) % len(views)))

    def began(self, ask: Ask, _now_us: int) -> None:
        """Nothing is learned."""

    def ended(self, ask: Ask, _now_us: int) -> None:
        """Nothing is learned."""

    def busy(self, ask: Ask, _now_us: int) -> None:
        """Nothing is learned."""


class RoundRobin(Peer):
    """Each in turn; weighted: smoothly by speed, as nginx does."""

    def __init__(self, gateway: int, variant: str) -> None:
        super().__init__(gateway, variant)
        self.credit: dict[int, int] = defaultdict(int)

    def place(self, ask: Ask, views: Sequence[View], _now_us: int) -> int:
        """Whose turn it is."""
        able = self.able(ask, views)
        if self.variant == PLAIN:
            return able[self.placed % len(able)]
        for i in able:
            self.credit[i] += views[i].machine.prefill_tps
        best = max(able, key=lambda i: self.credit[i])
        self.credit[best] -= sum(views[i].machine.prefill_tps for i in able)
        return best


class LeastBusy(Peer):
    """The fewest requests."""

    def place(self, ask: Ask, views: Sequence[View], _now_us: int) -> int:
        """Who has the fewest."""
        return self.least(self.able(ask, views), views)


class PowerOfTwo(Peer):
    """The less busy of two drawn."""

    def place(self, ask: Ask, views: Sequence[View], _now_us: int) -> int:
        """Draw two."""
        able = self.able(ask, views)
        coin = sha256(f"{self.gateway}:{ask.number}".encode()).digest()
        drawn = [able[int.from_bytes(coin[at : at + 4]) % len(able)] for at in (0, 4)]
        return min(drawn, key=lambda i: self.load(views[i]))


class PrefixAware(Peer):
    """The longest shared prefix if it is 0.3 of the prompt; else the least busy.

    So too while loads are 64 apart and half as much again: thresholds that SGLang documents.
    """

    def __init__(self, gateway: int, variant: str) -> None:
        super().__init__(gateway, variant)
        self.memory: dict[int, dict[int, None]] = defaultdict(dict)

    def place(self, ask: Ask, views: Sequence[View], _now_us: int) -> int:
        """Who has most of the prompt."""
        able = self.able(ask, views)
        best = self._best(ask, able, views)
        memory = self.memory[best]
        for block in ask.blocks:
            memory.pop(block, None)
            memory[block] = None
        while len(memory) > views[best].machine.kv_tokens // BLOCK_TOKENS:
            del memory[next(iter(memory))]
        return best

    def _best(self, ask: Ask, able: Sequence[int], views: Sequence[View]) -> int:
        counts = [views[i].busy for i in able]
        if max(counts) - min(counts) > 64 and max(counts) > 1.5 * min(counts):
            return self.least(able, views)
        shared = {i: self._shared(ask, i) for i in able}
        most = max(shared.values())
        if not ask.blocks or most <= 0.3 * len(ask.blocks):
            return self.least(able, views)
        return self.least([i for i in able if shared[i] == most], views)

    def _shared(self, ask: Ask, provider: int) -> int:
        memory = self.memory[provider]
        for count, block in enumerate(ask.blocks):
            if block not in memory:
                return count
        return len(ask.blocks)


AnyPeer = RoundRobin | LeastBusy | PowerOfTwo | PrefixAware
PEERS: dict[str, type[AnyPeer]] = {
    "round_robin": RoundRobin,
    "least_busy": LeastBusy,
    "power_of_two": PowerOfTwo,
    "prefix_aware": PrefixAware,
}


class Ours:
    """routing.placement.Placer, told what a gateway tells it."""

    def __init__(
        self,
        gateway: int,
        tpot_us: int,
        params: PlacementParams,
        *,
        prefix: bool = True,
        learns: bool = True,
    ) -> None:
        self.placer = Placer(params)
        self._learns, self._trained = learns, 0
        self._source, self._tpot_us, self._prefix = 1_000 + gateway, tpot_us, prefix
        self._seen: tuple[int, ...] = ()
        self._sent: dict[int, tuple[int, int, AiRequest]] = {}

    def place(self, ask: Ask, views: Sequence[View], now_us: int) -> int:
        """Ask the placer; it hears of new reports first."""
        seen = tuple(view.report_us for view in views)
        if seen != self._seen:
            self._seen = seen
            options = [self._option(i, view, now_us) for i, view in enumerate(views)]
            self.placer.refresh(options, now_us // 1_000)
        left_us = max(1, ask.time_us + ask.goal_us - now_us)
        blocks = ask.blocks if self._prefix else ()
        request = AiRequest(
            self._source, "m", ask.prompt, ask.answer, 0, left_us, self._tpot_us, blocks
        )
        placed = self.placer.place(request, now_us // 1_000, ask.tried)
        if isinstance(placed, Refusal):
            raise RuntimeError(f"request {ask.number}: {placed}")
        self._sent[ask.number] = (placed.ticket, now_us, request)
        return placed.provider

    def _option(self, index: int, view: View, now_us: int) -> tuple[ProviderState, Path]:
        report, machine = view.report, view.machine
        state = ProviderState(
            *(index, ("m",), report.running, report.waiting),
            *(1_000_000 // max(1, report.pace_us or machine.step_us), 0),
            *((now_us - view.report_us) // 1_000, 0, machine.slots, report.queued_tokens),
            *(report.prefill_tps or machine.prefill_tps, machine.kv_tokens),
        )
        return state, Path((self._source, index), view.delay_us, "", "")

    def began(self, ask: Ask, now_us: int) -> None:
        """Pass on."""
        ticket, sent_us, _ = self._sent[ask.number]
        self.placer.began(ticket, now_us - sent_us)
        total = self.placer.log.total
        if self._learns and total >= self._trained + LEARN_EVERY:
            # As a gateway does (routing/io_service.py), on nothing but its own requests until now.
            self._trained = total
            model = train_ttft(self.placer.log.rows())
            self.placer.use_model(None if isinstance(model, Refusal) else model)

    def ended(self, ask: Ask, now_us: int) -> None:
        """Pass on."""
        ticket, sent_us, _ = self._sent.pop(ask.number)
        self.placer.ended(ticket, now_us - sent_us)

    def busy(self, ask: Ask, _now_us: int) -> None:
        """Pass on."""
        ticket, _, request = self._sent.pop(ask.number)
        self.placer.busy(ticket, request)
