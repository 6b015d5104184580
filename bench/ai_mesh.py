"""A mesh of unequal AI providers in virtual time: engines, gateways, gossip. Used by bench/ai.py.

**Engine** (what vLLM or llama.cpp do, by iterations): one iteration decodes one token of every
running answer and prefills at most one chunk of the oldest prompt, so it takes

    step_us + seq_us x answers + context_ns x tokens in their KV caches + chunk / prefill speed

Prompts are admitted first come, first served, while a slot is free and the KV pool has room for
prompt and answer. Blocks of 512 tokens of prompts seen before stay cached, least recently used
first out, and are not computed again. Equal iterations are taken together, so a run costs a few
events a request. The figures of a class follow from its published memory bandwidth and compute for
an 8-billion-parameter model in 8 bit (grouped-query attention, 131 kB of KV a token): a step reads
all weights, a token of context its KV.

**Desk**: in front of an engine there may be a desk (hotspot/gateway/provider.py) that hands over
two prompts at a time in the order of routing/placement_turns.py, and sends back at once what can't
be in time.

**Mesh**: gateways and providers stand some hops apart; every provider gossips its state each few
seconds; a gateway knows besides what it sent itself and what came of it. All policies see the same.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from routing.placement_turns import Turn, is_hopeless, next_turn

BLOCK_TOKENS = 512
GATEWAYS = 4
GOSSIP_US = 5_000_000
HOP_US = 6_000
BYTES_PER_TOKEN = 5
LINK_KBPS = 20_000
MAX_TOGETHER = 64  # iterations: contexts grow meanwhile
SEQUENCE_US = 60  # of a step, per answer
PREFILLS = 2  # that a desk hands to its engine at a time, so that the rest can still change order
SPARE_US = 50_000  # of a goal that a desk leaves for the step that runs and the way back
MAX_TRIES = 3  # times that a request may be sent back; then it is served, late or not


@dataclass(frozen=True, slots=True)
class Machine:
    """A class of provider; `prefill_tps` tokens/s of prompt, `kv_tokens` the size of its pool."""

    name: str
    prefill_tps: int
    step_us: int
    context_ns: int
    kv_tokens: int
    slots: int

    @property
    def chunk(self) -> int:
        """Tokens of prompt per iteration: about 50 ms, so that answers beside it go on."""
        return max(64, min(2_048, self.prefill_tps // 20))


# Memory bandwidth GB/s / usable KV: Jetson Orin 205, M2 Max 400, RTX 4060 Ti 288, 3090 936,
# 4090 1,008, L40S 864, A100 1,555.
ORIN = Machine("jetson-orin", 900, 41_000, 640, 140_000, 16)
MAC = Machine("m2-max", 1_300, 21_000, 330, 160_000, 24)
RTX4060 = Machine("rtx-4060ti", 3_200, 29_000, 455, 50_000, 32)
RTX3090 = Machine("rtx-3090", 5_000, 9_200, 140, 100_000, 64)
RTX4090 = Machine("rtx-4090", 9_500, 8_600, 130, 100_000, 64)
L40S = Machine("l40s", 11_000, 10_000, 152, 270_000, 128)
A100 = Machine("a100", 16_000, 5_500, 85, 460_000, 256)
MESH = (ORIN,) * 5 + (MAC,) * 5 + (RTX4060,) * 4 + (RTX3090,) * 5 + (RTX4090,) * 3 + (L40S, A100)


@dataclass(slots=True)
class Ask:
    """One request on its way: times in us, `blocks` the hashes of its prompt's blocks."""

    number: int
    time_us: int
    prompt: int
    answer: int
    blocks: tuple[int, ...]
    gateway: int
    goal_us: int
    provider: int = -1
    compute: int = 0  # tokens of the prompt that were not cached
    left: int = 0
    first_us: int = 0
    done_us: int = 0
    tried: frozenset[int] = frozenset()  # providers that sent it back

    def is_good(self, tpot_us: int) -> bool:
        """Tell whether it was answered within its goals, as its client saw it."""
        is_early = self.first_us - self.time_us <= self.goal_us
        return is_early and self.done_us - self.first_us <= tpot_us * max(0, self.answer - 1)


class Cache:
    """Blocks of prompts, least recently used first out."""

    def __init__(self, blocks: int) -> None:
        self._size = blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def hits(self, blocks: Sequence[int]) -> int:
        """How many leading blocks are here."""
        for count, block in enumerate(blocks):
            if block not in self._blocks:
                return count
        return len(blocks)

    def add(self, blocks: Sequence[int]) -> None:
        """Keep these."""
        for block in blocks:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._size:
            self._blocks.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider gossips about itself."""

    running: int = 0
    waiting: int = 0
    queued_tokens: int = 0
    prefill_tps: int = 0
    pace_us: int = 0  # between two tokens of an answer


@dataclass
class Engine:
    """One provider's model server in virtual time."""

    index: int
    machine: Machine
    now_us: int = 0
    waiting: deque[Ask] = field(default_factory=deque)
    prefilling: deque[Ask] = field(default_factory=deque)
    decoding: list[tuple[int, int, Ask]] = field(default_factory=list)  # by the step that ends it
    events: list[tuple[int, Ask, bool]] = field(default_factory=list)  # (time, whose, is the end)
    _steps: int = 0
    _context: int = 0
    _held: int = 0
    pace_us: int = 0
    speed_tps: int = 0
    has_desk: bool = False  # else first come, first served, as engines do
    turns: int = 0

    def __post_init__(self) -> None:
        self.cache = Cache(self.machine.kv_tokens // BLOCK_TOKENS)
        self.pace_us, self.speed_tps = self.machine.step_us, self.machine.prefill_tps

    @property
    def running(self) -> int:
        """Answers that have begun."""
        return len(self.decoding)

    @property
    def queued(self) -> int:
        """Requests whose first token is not out."""
        return len(self.waiting) + len(self.prefilling)

    def queued_tokens(self) -> int:
        """Tokens of prompts still to be computed."""
        return sum(a.left for a in self.prefilling) + sum(a.prompt for a in self.waiting)

    def report(self) -> Report:
        """What gossip says."""
        return Report(
            self.running, self.queued, self.queued_tokens(), self.speed_tps, self.pace_us
        )

    def submit(self, ask: Ask, now_us: int) -> None:
        """Take a request."""
        self.advance(now_us)
        if not self.prefilling and not self.decoding:
            self.now_us = max(self.now_us, now_us)
        self.waiting.append(ask)
        self._admit()

    def _admit(self) -> None:
        machine = self.machine
        while self.waiting:
            if self.has_desk and len(self.prefilling) >= PREFILLS:
                return
            at = self._next() if self.has_desk else 0
            ask = self.waiting[at]
            is_full = len(self.prefilling) + len(self.decoding) >= machine.slots
            if is_full or self._held + ask.prompt + ask.answer > machine.kv_tokens:
                return
            del self.waiting[at]
            self._held += ask.prompt + ask.answer
            ask.compute = max(1, ask.prompt - BLOCK_TOKENS * self.cache.hits(ask.blocks))
            ask.left = ask.compute
            self.cache.add(ask.blocks)
            self.prefilling.append(ask)

    def _turn(self, ask: Ask) -> Turn:
        tokens = max(1, ask.prompt - BLOCK_TOKENS * self.cache.hits(ask.blocks))
        due_us = ask.time_us + ask.goal_us
        return Turn(ask.number, due_us, tokens * 1_000_000 // max(1, self.speed_tps))

    def _start_us(self, now_us: int) -> int:
        left = sum(ask.left for ask in self.prefilling)
        return now_us + SPARE_US + left * 1_000_000 // max(1, self.speed_tps)

    def _next(self) -> int:
        if len(self.waiting) == 1:
            return 0
        self.turns += 1
        turns = [self._turn(ask) for ask in self.waiting]
        return turns.index(next_turn(turns, self._start_us(self.now_us), self.turns))

    def refuses(self, ask: Ask, now_us: int) -> bool:
        """Tell whether the desk sends a request back: it can't be in time here."""
        turns = [self._turn(other) for other in self.waiting]
        return is_hopeless(self._turn(ask), turns, self._start_us(now_us))

    def advance(self, until_us: int) -> None:
        """Run iterations that begin before `until_us`."""
        while self.now_us < until_us and (self.prefilling or self.decoding):
            self._iterate(until_us)

    def _iterate(self, until_us: int) -> None:
        machine, answers = self.machine, len(self.decoding)
        step_us = machine.step_us + SEQUENCE_US * answers
        step_us += self._context * machine.context_ns // 1_000
        together = MAX_TOGETHER
        head = self.prefilling[0] if self.prefilling else None
        if head is not None:
            chunk = min(machine.chunk, head.left)
            step_us += chunk * 1_000_000 // machine.prefill_tps
            together = max(1, head.left // machine.chunk)
            self.speed_tps += (chunk * 1_000_000 // step_us - self.speed_tps) // 8
        if self.decoding:
            together = min(together, self.decoding[0][0] - self._steps)
        together = max(1, min(together, -(-(until_us - self.now_us) // step_us), MAX_TOGETHER))
        self.now_us += together * step_us
        self._steps += together
        self._context += together * answers
        if answers:
            self.pace_us += (step_us - self.pace_us) * min(8, together) // 16
        if head is not None:
            head.left -= together * chunk
            if head.left <= 0:
                self._begin(self.prefilling.popleft())
                self._admit()
        while self.decoding and self.decoding[0][0] <= self._steps:
            self._end(heapq.heappop(self.decoding)[2])

    def _begin(self, ask: Ask) -> None:
        self.events.append((self.now_us, ask, False))
        self._context += ask.prompt
        if ask.answer <= 1:
            self._end(ask)
        else:
            heapq.heappush(self.decoding, (self._steps + ask.answer - 1, ask.number, ask))

    def _end(self, ask: Ask) -> None:
        self.events.append((self.now_us, ask, True))
        self._context -= ask.prompt + max(0, ask.answer - 1)
        self._held -= ask.prompt + ask.answer
        self._admit()


@dataclass(slots=True)
class View:
    """What a gateway knows of one provider: its last report, and what this gateway has there."""

    machine: Machine
    delay_us: int  # one way
    report: Report
    report_us: int = 0
    mine_waiting: int = 0  # sent by us, no token yet
    mine_running: int = 0
    others: int = 0  # requests of others, by the last report

    @property
    def busy(self) -> int:
        """Requests there: ours as we know them, the others' as last reported."""
        return self.mine_waiting + self.mine_running + self.others

    def take(self, report: Report, now_us: int) -> None:
        """Take a newer report."""
        mine = self.mine_waiting + self.mine_running
        self.report, self.report_us = report, now_us
        self.others = max(0, report.running + report.waiting - mine)


class Policy(Protocol):
    """Chooses a provider; one object per gateway."""

    def place(self, ask: Ask, views: Sequence[View], now_us: int) -> int:
        """Return the index of a provider whose pool holds the request."""

    def began(self, ask: Ask, now_us: int) -> None:
        """The first token has come."""

    def ended(self, ask: Ask, now_us: int) -> None:
        """The last token has come."""

    def busy(self, ask: Ask, now_us: int) -> None:
        """The provider sent it back."""


Make = Callable[[int], Policy]


def delay_us(seed: int, gateway: int, provider: int) -> int:
    """One-way delay: one to five hops, drawn from the seed."""
    draw = sha256(f"{seed}:{gateway}:{provider}".encode()).digest()[0]
    return HOP_US * (1 + draw % 5)


class World:
    """Gateways, providers and their gossip; `run` takes requests in order of time."""

    def __init__(
        self,
        machines: Sequence[Machine],
        make: Make,
        seed: int,
        *,
        gateways: int = GATEWAYS,
        desks: bool = False,
    ) -> None:
        self.engines = [Engine(i, machine, has_desk=desks) for i, machine in enumerate(machines)]
        self.policies = [make(gateway) for gateway in range(gateways)]
        self.views = [
            [View(m, delay_us(seed, g, i), Report()) for i, m in enumerate(machines)]
            for g in range(gateways)
        ]
        self._news: list[tuple[int, int, bool, Ask]] = []  # (when a gateway hears it, …, the end?)
        self._sent: list[tuple[int, int, Ask]] = []  # (when the provider has it, number, request)
        self._gossip_us = [index * GOSSIP_US // len(machines) for index in range(len(machines))]

    def run(self, asks: Sequence[Ask]) -> None:
        """Serve all."""
        for ask in asks:
            self._until(ask.time_us)
            self._place(ask, ask.time_us)
        while self._sent or any(e.queued or e.running for e in self.engines):
            self._until(min(self._gossip_us) + 1)
        self._hear(1 << 62)

    def _until(self, now_us: int) -> None:
        while (due := min(self._gossip_us)) <= now_us:
            index = self._gossip_us.index(due)
            self._step(due)
            report = self.engines[index].report()
            for views in self.views:
                views[index].take(report, due)
            self._gossip_us[index] = due + GOSSIP_US
        self._step(now_us)

    def _step(self, now_us: int) -> None:
        while self._sent and self._sent[0][0] <= now_us:
            when, _, ask = heapq.heappop(self._sent)
            self._arrive(self.engines[ask.provider], ask, when)
        for engine in self.engines:
            if engine.now_us < now_us:
                engine.advance(now_us)
            if engine.events:
                self._tell(engine)
        self._hear(now_us)

    def _arrive(self, engine: Engine, ask: Ask, when: int) -> None:
        engine.advance(when)
        if engine.has_desk and len(ask.tried) < MAX_TRIES and engine.refuses(ask, when):
            self._send_back(ask, when)
        else:
            engine.submit(ask, when)

    def _send_back(self, ask: Ask, when: int) -> None:
        view = self.views[ask.gateway][ask.provider]
        view.mine_waiting -= 1
        self.policies[ask.gateway].busy(ask, when + view.delay_us)
        ask.tried |= {ask.provider}
        self._place(ask, when + view.delay_us)

    def _tell(self, engine: Engine) -> None:
        for when, ask, is_end in engine.events:
            heard_us = when + self.views[ask.gateway][engine.index].delay_us
            heapq.heappush(self._news, (heard_us, 2 * ask.number + is_end, is_end, ask))
        engine.events.clear()

    def _hear(self, now_us: int) -> None:
        while self._news and self._news[0][0] <= now_us:
            when, _, is_end, ask = heapq.heappop(self._news)
            view = self.views[ask.gateway][ask.provider]
            if is_end:
                ask.done_us = when
                view.mine_running -= 1
                self.policies[ask.gateway].ended(ask, when)
            else:
                ask.first_us = when
                view.mine_waiting -= 1
                view.mine_running += 1
                self.policies[ask.gateway].began(ask, when)

    def _place(self, ask: Ask, now_us: int) -> None:
        views = self.views[ask.gateway]
        ask.provider = self.policies[ask.gateway].place(ask, views, now_us)
        view = views[ask.provider]
        view.mine_waiting += 1
        there_us = now_us + view.delay_us + ask.prompt * BYTES_PER_TOKEN * 8_000 // LINK_KBPS
        heapq.heappush(self._sent, (there_us, ask.number, ask))
