"""A small fluid world for experiments: congestion that comes and goes, and flows that must choose.

Every second, background traffic (a triangle wave and surges drawn by counter hash) and the flows'
own traffic share each link; what exceeds the rate queues, up to half a second. Delays follow
cost.py. The same seed gives the same run to the byte. With weightless flows the background is a
replay: what a plan would have cost doesn't depend on the plan, so experts compare exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from chain.records import Refusal
from routing.cost import LinkEstimate, loaded_us
from routing.forecast.features import Series, series_of
from routing.graph import links_of
from routing.router import Router
from routing.telemetry.history import History
from routing.types import FlowClass, Link, LinkSample

_SIDE = 4
_RATES_KBPS = (10_000, 20_000, 40_000)
_SLOT_S = 20
_QUEUE_MS = 500
_PATH_LOST_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Flow:
    """Traffic of `rate_kbps` from source to target; 0 observes without disturbing."""

    source: int
    target: int
    rate_kbps: int


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Mean delay (us per 1,500 bytes and flow), path changes, and how often each expert chose."""

    mean_delay_us: int
    changes: int
    experts: dict[str, int]


def draw(*key: int) -> int:
    """Return 32 hashed bits: the world's only randomness."""
    return int.from_bytes(sha256(repr(key).encode()).digest()[:4])


def _triangle_permille(second: int, period_s: int) -> int:
    phase = second % period_s
    half = period_s // 2
    return 1_000 * (phase if phase < half else period_s - phase) // half


class World:
    """A grid of _SIDE x _SIDE hotspots with one background pattern per directed link.

    A link carries 10 % of its rate plus waves of `wave_permille` and surges of `surge_permille`.
    """

    def __init__(self, seed: int = 1, wave_permille: int = 500, surge_permille: int = 600) -> None:
        self.seed = seed
        self.wave_permille = wave_permille
        self.surge_permille = surge_permille
        self.rates: dict[Link, int] = {}
        for node in range(_SIDE * _SIDE):
            row, column = divmod(node, _SIDE)
            if column + 1 < _SIDE:
                self._connect(node, node + 1)
            if row + 1 < _SIDE:
                self._connect(node, node + _SIDE)

    def _connect(self, one: int, other: int) -> None:
        rate = _RATES_KBPS[draw(7, one, other) % len(_RATES_KBPS)]
        self.rates[one, other] = self.rates[other, one] = rate

    def background_kbps(self, link: Link, second: int) -> int:
        """Return the traffic that is there anyway, waves and surges together."""
        character = draw(11, *link)
        period_s = 80 + character % 7 * 20
        triangle = _triangle_permille(second + character % period_s, period_s)
        surges = draw(self.seed, *link, second // _SLOT_S) % 8 == 0
        share = 100 + self.wave_permille * triangle // 1_000 + self.surge_permille * surges
        return self.rates[link] * share // 1_000


class FluidLinks:
    """The queues of a world; one step is a second."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue_bytes = dict.fromkeys(world.rates, 0)

    def step(self, second: int, own_kbps: dict[Link, int]) -> list[LinkSample]:
        """Carry a second of traffic; return what every link's sender measured, links ascending."""
        links = sorted(self.world.rates)
        return [self._sample(link, second, own_kbps.get(link, 0)) for link in links]

    def _sample(self, link: Link, second: int, own_kbps: int) -> LinkSample:
        rate = self.world.rates[link]
        offered = self.world.background_kbps(link, second) + own_kbps
        before = self.queue_bytes[link]
        after = max(0, before + (offered - rate) * 125)
        queue = min(after, rate * _QUEUE_MS // 8)
        load = min(rate, offered + before // 125)
        self.queue_bytes[link] = queue
        busy = 1_000 * load // rate
        rtt_us = 2 * loaded_us(LinkEstimate(rate, load, busy, queue, 0))
        return LinkSample(*link, second * 1_000, rate, load, busy, queue, 0, rtt_us)


def delays(samples: Sequence[LinkSample]) -> dict[Link, int]:
    """Return what 1,500 bytes paid on each link in this second, us."""
    return {
        (s.source, s.target): loaded_us(
            LinkEstimate(s.rate_kbps, s.load_kbps, s.busy_permille, s.queue_bytes, s.loss_permille)
        )
        for s in samples
    }


DEFAULT_FLOWS = (
    Flow(0, 15, 1_500),
    Flow(3, 12, 1_500),
    Flow(12, 3, 1_000),
    Flow(1, 14, 1_000),
    Flow(8, 7, 500),
)


def run(
    world: World, router: Router, seconds: int, flows: Sequence[Flow] = DEFAULT_FLOWS
) -> ReplayResult:
    """Let a router choose every flow's path every second, and measure the delays that follow."""
    links = FluidLinks(world)
    router.observe(links.step(0, {}), 0)
    total_us, changes = 0, 0
    held: dict[Flow, tuple[int, ...]] = {}
    experts: dict[str, int] = {}
    for second in range(1, seconds + 1):
        own: dict[Link, int] = {}
        chosen: dict[Flow, tuple[int, ...]] = {}
        for key, flow in enumerate(flows):
            ends = (flow.source, flow.target)
            path = router.path(*ends, FlowClass.BEST_EFFORT, second * 1_000, key)
            if isinstance(path, Refusal):
                continue
            chosen[flow] = path.hops
            router.carried(path.hops, 125 * flow.rate_kbps)
            experts[path.expert] = experts.get(path.expert, 0) + 1
            for link in links_of(path.hops):
                own[link] = own.get(link, 0) + flow.rate_kbps
        samples = links.step(second, own)
        paid = delays(samples)
        for flow in flows:
            hops = chosen.get(flow)
            total_us += sum(paid[link] for link in links_of(hops)) if hops else _PATH_LOST_US
            changes += flow in held and held[flow] != hops
        held = chosen
        router.observe(samples, second * 1_000)
    return ReplayResult(total_us // (seconds * len(flows)), changes, experts)


def replay_series(seed: int = 1, seconds: int = 2_400) -> list[Series]:
    """Return the telemetry of an undisturbed world: data to train on where no trace is at hand."""
    links = FluidLinks(World(seed))
    history = History(keep=seconds)
    for second in range(seconds):
        history.extend(links.step(second, {}))
    return [one for link in history.links() for one in series_of(history.of(link), 1_000)]
