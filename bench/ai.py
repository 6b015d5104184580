"""AI requests answered in time over a mesh of unequal providers: `python -m bench.ai --json`.

Two real traces of requests (Azure 2023 conversations, Mooncake conversations with the hashes of
their prompts' blocks), played faster or slower, against `bench/ai_mesh.py`. Goodput is requests per
second whose first token and whose mean time per further token keep their goals. For every policy
the load is searched at which nine in ten requests are good; `goodput` is what it answers there, in
requests per second. Peers come in each variant that may help them (`bench/ai_peers.py`), and the
best counts. `at_peers_load` compares at the load where the best peer attains nine in ten.

The top keys are of the trace on which our lead is least. `parts` says what each part of ours is
worth, `one_gateway` compares with a single gateway, which knows all that is running.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import process_time
from typing import Any

from bench.ai_mesh import GATEWAYS, MESH, Ask, Policy, World
from bench.ai_peers import OWN, PEERS, PLAIN, WEIGHTED, AnyPeer, Ours
from bench.ai_traces import Row, load_requests
from chain.errors import UserError
from chain.io_terminal import Progress, print_json
from routing.forecast.io_datasets import TRACES
from routing.placement import PlacementParams
from routing.router import Router
from routing.types import AiRequest, LinkSample, Placement, ProviderState

TPOT_US = 100_000
ATTAIN = 0.9
SEED = 7
WARM_UP = 0.1  # share of requests that are not scored: caches and counts fill
STEPS = 6
# Anyone's trace: prompts shorter than this in the mean have the shorter goal, as Azure's have.
LONG_PROMPT = 4_000
# What asks a mesh for work, in tokens of prompt per second, one of answer counting for ten: from
# Mooncake's lowest load (blocks are found again) to Azure's highest.
DECODE_COST, LEAST_LOAD, MOST_LOAD = 10.0, 8_000.0, 290_000.0
# Goals to the first token; and between which speeds of the trace a load is searched.
GOAL_US = {"azure": 2_000_000, "mooncake": 10_000_000}
BOUNDS = {"azure": (1.0, 16.0), "mooncake": (0.15, 2.4)}
FILES = {
    "azure": "azure2023_splitwise_conv.csv.gz",
    "mooncake": "mooncake_conversation_trace.jsonl.gz",
}
Make = Callable[[int], Policy]


def load(name: str, count: int) -> list[Row]:
    """Read the first `count` requests of a trace (0: all)."""
    path = TRACES / "llm" / FILES[name]
    if not path.is_file():
        raise UserError("traces", f"{path.name} is not there", f"put it into {path.parent.name}/")
    return load_requests(path, count)


def asks_of(rows: list[Row], speed: float, goal_us: int, gateways: int) -> list[Ask]:
    """Play a trace `speed` times as fast; who talks on stays with the gateway of before."""
    asks = []
    for number, (seconds, prompt, answer, blocks) in enumerate(rows):
        who = str(blocks[1:2] or number).encode()
        gateway = sha256(who).digest()[0] % gateways
        time_us = int(seconds * 1_000_000 / speed)
        asks.append(Ask(number, time_us, prompt, answer, blocks, gateway, goal_us))
    return asks


def terms_of(name: str, rows: list[Row]) -> tuple[int, tuple[float, float]]:
    """Return the goal to the first token and the speeds of the trace between which to search.

    For anyone's trace those where the mesh is nearly idle and overrun.
    """
    if name in BOUNDS:
        return GOAL_US[name], BOUNDS[name]
    prompts = sum(row[1] for row in rows) / len(rows)
    answers = sum(row[2] for row in rows) / len(rows)
    goal = GOAL_US["azure" if prompts < LONG_PROMPT else "mooncake"]
    seconds = max(1e-3, rows[-1][0] - rows[0][0])
    load = (prompts + DECODE_COST * answers) * len(rows) / seconds
    return goal, (LEAST_LOAD / load, MOST_LOAD / load)


class Trial:
    """One policy on one trace at any load."""

    def __init__(
        self,
        name: str,
        rows: list[Row],
        make: Make,
        *,
        desks: bool = False,
        gateways: int = GATEWAYS,
    ) -> None:
        self.name, self.rows, self.make = name, rows, make
        self.desks, self.gateways = desks, gateways
        self.goal_us, self.bounds = terms_of(name, rows)

    def at(self, speed: float) -> tuple[float, float]:
        """(share that is good, good ones per second) at a speed."""
        asks = asks_of(self.rows, speed, self.goal_us, self.gateways)
        World(MESH, self.make, SEED, gateways=self.gateways, desks=self.desks).run(asks)
        scored = asks[int(WARM_UP * len(asks)) :]
        good = sum(ask.is_good(TPOT_US) for ask in scored)
        span_s = (scored[-1].time_us - scored[0].time_us) / 1e6
        return good / len(scored), good / span_s

    def most(self) -> dict[str, float]:
        """Search the highest load at which `ATTAIN` are good; none is speed 0."""
        low, high = self.bounds
        attained, goodput = self.at(low)
        if attained < ATTAIN:
            row = {"speed": 0.0, "goodput": 0.0, "attained": attained, "attained_at": low}
            return {key: round(value, 3) for key, value in row.items()}
        best = (low, goodput)
        for _ in range(STEPS + (self.name not in BOUNDS)):
            middle = (low * high) ** 0.5
            attained, goodput = self.at(middle)
            if attained >= ATTAIN:
                low, best = middle, (middle, goodput)
            else:
                high = middle
        return {"speed": round(best[0], 3), "goodput": round(best[1], 3)}


def ours(
    params: PlacementParams | None = None, *, prefix: bool = True, learns: bool = True
) -> Make:
    """Our policy as the bench builds it."""
    return lambda gateway: Ours(
        gateway, TPOT_US, params or PlacementParams(), prefix=prefix, learns=learns
    )


def peer(kind: type[AnyPeer], variant: str) -> Make:
    """A peer in a variant."""
    return lambda gateway: kind(gateway, variant)


def measure_trace(name: str, rows: list[Row], bar: Progress) -> dict[str, Any]:
    """Compare all on one trace."""
    peers: dict[str, Any] = {}
    for family, kind in PEERS.items():
        for variant in (PLAIN, WEIGHTED, OWN):
            if (family, variant) == ("round_robin", OWN):
                continue  # counts nothing
            peers[f"{family}/{variant}"] = Trial(name, rows, peer(kind, variant)).most()
            bar.update(len(peers), f"{name} {family} {variant}")
    best = max(peers, key=lambda key: peers[key]["goodput"])
    if not peers[best]["goodput"]:
        problem = f"{name}: nobody answers nine in ten in time, even of the fewest"
        raise UserError("--trace-file", problem, "give a trace of shorter prompts")
    mine = Trial(name, rows, ours(), desks=True)
    result = mine.most()
    rows_of_ours = {
        "engines_first_come": Trial(name, rows, ours()).most(),
        "no_prefix": Trial(name, rows, ours(prefix=False), desks=True).most(),
        "no_model": Trial(name, rows, ours(learns=False), desks=True).most(),
        "no_quantile": Trial(
            name, rows, ours(PlacementParams(quantile_step_permille=0), learns=False), desks=True
        ).most(),
    }
    shared = mine.at(peers[best]["speed"])
    family, variant = best.split("/")
    single = {
        "ours": Trial(name, rows, ours(), desks=True, gateways=1).most(),
        "best_peer": Trial(name, rows, peer(PEERS[family], variant), gateways=1).most(),
    }
    return {
        "ours": result,
        "best_peer": best,
        "peers": peers,
        "gain": round(result["goodput"] / peers[best]["goodput"] - 1, 4),
        "at_peers_load": {"attained": round(shared[0], 4), "goodput": round(shared[1], 3)},
        "parts": rows_of_ours,
        "one_gateway": single,
    }


# --- how fast decisions are ----------------------------------------------------------------------

CANDIDATES = 32


def decisions_per_s(count: int = 40_000) -> dict[str, int]:
    """Decisions of `Router.place` per second of one core, feedback of each included.

    Providers report every few seconds: here after every 50 decisions. `fresh`: before every one,
    so that all candidates and paths are looked up again.
    """
    rates = {}
    for name, batch in (("decisions_per_s_core", 50), ("fresh_decisions_per_s_core", 1)):
        router = _star()
        providers = [
            ProviderState(i, ("m",), i % 5, 0, 40, 0, 900, 10, 32, 100 * i, 3_000 + 100 * i, 99_999)
            for i in range(1, CANDIDATES + 1)
        ]
        total = count if batch > 1 else count // 8
        began_s = process_time()
        for number in range(total):
            if number % batch == 0:
                providers = list(providers)
            request = AiRequest(0, "m", 200 + 37 * number % 3_000, 300, 0, 2_000_000, TPOT_US)
            placed = router.place(request, providers, 1_000 + number // 1_000)
            if not isinstance(placed, Placement):
                raise RuntimeError(str(placed))
            router.placer.began(placed.ticket, placed.expected_ttft_us + number % 1_000)
            router.placer.ended(placed.ticket, 5_000_000)
        rates[name] = round(total / (process_time() - began_s))
    return rates


def _star() -> Router:
    router = Router()
    links = [(0, i) for i in range(1, CANDIDATES + 1)]
    samples = [
        LinkSample(a, b, 0, 20_000 + 100 * b, 100, 10, 0, 5, 4_000)
        for link in links
        for a, b in (link, link[::-1])
    ]
    router.observe(samples, 0)
    return router


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--trace", choices=sorted(FILES), help="one trace only")
    parser.add_argument(
        "--requests", type=int, default=8_000, metavar="N", help="of each trace; 0: all"
    )
    forms = "requests of anyone's, CSV or JSON lines, may be packed (bench/ai_traces.py)"
    parser.add_argument("--trace-file", type=Path, metavar="FILE", help=forms)
    options = parser.parse_args()
    names = [options.trace] if options.trace else list(FILES)
    try:
        if options.trace_file:
            known = {options.trace_file.name: load_requests(options.trace_file, options.requests)}
        else:
            known = {name: load(name, options.requests) for name in names}
        bars = {name: Progress(name, 11, quiet=options.json) for name in known}
        traces = {name: measure_trace(name, rows, bars[name]) for name, rows in known.items()}
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    least = min(traces, key=lambda name: traces[name]["gain"])
    rates = decisions_per_s()
    result = {
        "goodput": traces[least]["ours"]["goodput"],
        "best_peer_goodput": traces[least]["peers"][traces[least]["best_peer"]]["goodput"],
        **rates,
        "least_gain_on": least,
        "traces": traces,
    }
    if options.json:
        print_json(result)
        return 0
    for name, row in traces.items():
        print(f"\n{name}: {row['ours']['goodput']:.2f} good requests/s, {row['gain']:+.1%}")
        for peer, figures in row["peers"].items():
            print(f"  {peer:<24} {figures['goodput']:.2f}")
    print_json(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
