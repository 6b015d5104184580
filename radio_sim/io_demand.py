"""AI demand for the demo: requests at the times of a published trace, by the ordinary OpenAI API.

Each consumer gateway gets its share of the arrivals. A request asks for the embedding of a text as
long as the trace's prompt (bounded). What happened is written to a file each second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import aiohttp

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, write_json
from radio_sim.draws import draw_u64
from radio_sim.io_scenario import load_scenario
from radio_sim.io_traces import FORMATS, TraceOptions, chosen_arrivals
from radio_sim.traces import Arrival

WORDS = (
    *("hotspot", "beacon", "witness", "epoch", "antenna", "roof", "street", "relay", "hexagon"),
    *("signal", "noise", "shadow", "secret", "ledger", "credit", "receipt", "cell", "gateway"),
    *("neighbour", "channel", "frame", "slot", "power", "path", "queue", "token", "model"),
)
MAX_WORDS = 200
TIMEOUT_S = 30
LAST_ANSWERS_S = 6


def text_of(words: int, seed: int, number: int) -> str:
    """A text of that many words; the same for the same seed and number."""
    count = max(1, min(MAX_WORDS, words))
    picks = (draw_u64(seed, "word", number, place) % len(WORDS) for place in range(count))
    return " ".join(WORDS[pick] for pick in picks)


class Demand:
    """Sends requests and counts what came of them."""

    def __init__(self, gateways: Sequence[tuple[str, str]], model: str, status: Path) -> None:
        self._gateways = gateways
        self._model = model
        self._status = status
        self.counts: Counter[str] = Counter()
        self._latencies_ms: list[int] = []
        self._last_error = ""
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, session: aiohttp.ClientSession, number: int, text: str) -> None:
        """Send one request and note its fate."""
        url, key = self._gateways[number % len(self._gateways)]
        started = time.monotonic()
        self.counts["sent"] += 1
        try:
            async with session.post(
                f"{url}/v1/embeddings",
                json={"model": self._model, "input": text},
                headers={"Authorization": f"Bearer {key}"},
            ) as answer:
                body = await answer.json()
                if answer.status == 200 and body["data"][0]["embedding"]:
                    self.counts["ok"] += 1
                    self._latencies_ms.append(round(1000 * (time.monotonic() - started)))
                else:
                    self.counts[f"status_{answer.status}"] += 1
                    self._last_error = str(body.get("error", body))
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            self.counts["failed"] += 1
            self._last_error = f"{type(error).__name__}: {error}"

    async def run(self, arrivals: Iterable[Arrival], seed: int) -> None:
        """Send each arrival at its time, until the trace or SIGTERM ends; await the answers."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        writer = asyncio.create_task(self._write_often())
        async with aiohttp.ClientSession(timeout=timeout) as session:
            started = time.monotonic()
            for number, arrival in enumerate(arrivals):
                due = started + arrival.offset_ms / 1000
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), max(0.001, due - time.monotonic()))
                if stopped.is_set():
                    break
                text = text_of(arrival.prompt_tokens, seed, number)
                task = asyncio.create_task(self.ask(session, number, text))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if self._running:
                await asyncio.wait(self._running, timeout=LAST_ANSWERS_S)
        writer.cancel()
        self.write()

    async def _write_often(self) -> None:
        while True:
            self.write()
            await asyncio.sleep(1)

    def write(self) -> None:
        """Write the counts to the status file."""
        ordered = sorted(self._latencies_ms)
        status = {
            **dict(sorted(self.counts.items())),
            "latency_p50_ms": ordered[len(ordered) // 2] if ordered else None,
            "last_error": self._last_error,
        }
        write_json(self._status, status)


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb sim demand",
        description="Send AI requests to gateways at a trace's pace (the demo does).",
        examples="wavecomb sim demand builtin:city"
        " --gateway http://127.0.0.1:8300=gateway.key --status demand.json",
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="its [traffic] says which trace")
    parser.add_argument(
        "--gateway",
        action="append",
        required=True,
        metavar="URL=KEYFILE",
        help="address of a gateway and the file with its bearer key; repeatable",
    )
    parser.add_argument(
        "--model", default="wordllama", help="embedding model to ask (default: %(default)s)"
    )
    parser.add_argument(
        "--status", type=Path, required=True, metavar="FILE", help="counts are written there"
    )
    add_trace_options(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the texts (default: 1)")
    return parser


def add_trace_options(parser: Parser) -> None:
    """Which requests are sent: shared with the demo; read by `trace_options`."""
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="LLM trace instead of the scenario's traffic"
    )
    parser.add_argument(
        "--trace-format",
        choices=FORMATS,
        default="azure",
        help="what the trace is (default: %(default)s)",
    )
    parser.add_argument(
        "--speedup", type=float, default=1.0, help="run the trace so much faster (default: 1)"
    )
    parser.add_argument("--rate", type=float, help="synthetic requests per hour instead")


def trace_options(options: argparse.Namespace) -> TraceOptions:
    """What `add_trace_options` read."""
    return TraceOptions(options.trace, options.trace_format, options.speedup, options.rate)


def _gateway(text: str) -> tuple[str, str]:
    """Address and bearer key of `URL=KEYFILE`."""
    url, _, key_file = text.rpartition("=")
    if not url.startswith("http://"):
        raise UserError("--gateway", f"{text!r} is not URL=KEYFILE", "see --help for an example")
    try:
        return url, Path(key_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("--gateway", f"{key_file}: {error}", "name its gateway.key") from error


def main(argv: Sequence[str]) -> int:
    """`wavecomb sim demand`: used by the demo."""
    options = _parser().parse_args(argv)
    gateways = [_gateway(text) for text in options.gateway]
    traffic, folder = load_scenario(options.scenario).traffic, Path(options.scenario).parent
    arrivals = chosen_arrivals(traffic, folder, trace_options(options), options.seed)
    demand = Demand(gateways, options.model, options.status)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(demand.run(arrivals, options.seed))
    return EXIT_OK
