"""`wavecomb demo`: a whole network on this machine, its page, and AI requests crossing it.

The supervisor starts ordinary programs and tends them: the ledger, a world of simulated routers,
the map, one AI gateway per consumer and provider, and a source of AI requests. Any may be killed;
it is restarted and goes on where its durable state stands. All end when the supervisor does.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.draws import digest, u32
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient
from chain.io_keys import load_or_create_seed, load_seed, save_seed
from chain.io_ports import free_ports
from chain.io_terminal import Parser, Progress, print_json
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Deposit
from chain.wire import seal
from radio_sim.agents import keys_of, world_seed
from radio_sim.assemble import backhaul_of, links_of
from radio_sim.casting import Cast, cast
from radio_sim.fleet import trust_seeds
from radio_sim.io_demand import add_trace_options, trace_options
from radio_sim.io_processes import Family, die_with_parent
from radio_sim.io_scenario import load_scenario
from radio_sim.io_traces import TraceOptions, chosen_arrivals
from radio_sim.scenario import Scenario

EXAMPLES = """
  wavecomb demo                                  # the built-in city, page on port 8080
  wavecomb demo --scenario freifunk.toml         # a published network (see: wavecomb sim import)
  wavecomb demo --headless --seconds 120 --json  # figures instead of a page
"""
STEPS = 8
MAX_SECONDS = 31 * 86_400
READY_S = 90.0
DEPOSIT_UCR = 50_000_000
JOB_BYTES, JOB_DEADLINE = 256 * 1024, "3m"
TRAINING_STEP_S, TRAINING_ROUNDS = 10, 60  # links gossip about this often
TRAINING_ROWS, TRAINING_S = 60_000, (900, 3600)  # seconds on two cores, not minutes
CLAIM_S = 3.0
BUSY_RATE = 3600.0  # AI requests per hour, so that there is something to see
LEDGER_FILE, OPERATOR_FILE = "ledger.db", "operator.key"
WAVECOMB = (sys.executable, "-m", "wavecomb")
GATEWAY_CONFIG = """\
[hotspot]
key_file = "hotspot.key"
[ledger]
url = "{ledger}"
[gateway]
listen = "{listen}"
api_key_file = "gateway.key"
forecaster = "{model}"
[link]
air = "{air}"
neighbours = {neighbours}
{provider}"""
PROVIDER_CONFIG = """\
[provider]
backend = "wordllama"
models = ["wordllama"]
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    scenario: str
    folder: Path
    port: int
    gateway_port: int
    preset: str
    headless: bool
    seconds: float | None
    json: bool
    ai: bool
    trace: TraceOptions
    keep: bool


class Demo:
    """One run of the demo."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._folder = options.folder
        self._scenario: Scenario = load_scenario(options.scenario)
        self._started_s = time.monotonic()
        self._quiet = options.json
        self._bar = Progress("starting the network", STEPS, quiet=options.json)
        self._step = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._family = Family(self._folder, self._say, keeps_logs=options.keep)
        self._ledger_url = f"unix:{self._folder / 'ledger.sock'}"
        self._master = load_or_create_seed(self._folder / "master.key")
        self._cast = self._choose_cast()
        self._gateways: list[tuple[str, Path]] = []
        self._first_page_s: float | None = None
        self._first_picture_s: float | None = None

    def check(self) -> None:
        """Find what can be known to be wrong before anything is started; UserError."""
        options, ports = self._options, [("--port", self._options.port)]
        if options.ai:
            folder = Path(options.scenario).parent
            next(chosen_arrivals(self._scenario.traffic, folder, options.trace, seed=1), None)
            consumers = range(len(self._cast.consumers))
            ports += [("--gateway-port", options.gateway_port + place) for place in consumers]
        for option, port in ports:  # last: what is wrong with the scenario is so on any machine
            check_port(option, port)

    # --- starting ----------------------------------------------------------------------------

    def start(self) -> None:
        """Bring everything up, in the order in which one needs the other."""
        self._advance(f"{len(self._scenario.hotspots)} hotspots of {self._scenario.name}")
        (air_port,) = free_ports(1, socket.SOCK_DGRAM)
        self._start_ledger()
        self._fund()
        self._advance("ledger")
        self._start_world(air_port)
        self._advance("routers on the air")
        self._start_map()
        self._advance("map")
        if self._options.ai:
            self._train()
            self._advance("congestion forecast")
            self._start_gateways(air_port)
            self._advance("AI gateways")
            self._start_demand()
        self._wait_for_picture()
        self._bar.close("first picture")
        self._start_job()

    def _advance(self, note: str) -> None:
        self._step += 1
        self._bar.update(self._step, note)

    def _choose_cast(self) -> Cast:
        seed = world_seed(self._master)
        backhaul = backhaul_of(self._scenario, links_of(self._scenario, seed), seed)
        self._peers = [backhaul.peers(i) for i in range(len(self._scenario.hotspots))]
        return cast(self._scenario, self._peers)

    def _start_ledger(self) -> None:
        ledger = self._folder / "ledger"
        if not (ledger / LEDGER_FILE).exists():
            arguments = ["--dir", str(ledger), "--preset", self._options.preset]
            for key in self._trust_seeds():
                arguments += ["--seed-key", key]
            self._once("chain", "init", *arguments, "--network", self._scenario.name[:64])
        socket_path = self._ledger_url.removeprefix("unix:")
        self._family.start("ledger", ["chain", "run", "--dir", str(ledger), "--unix", socket_path])
        client = LedgerClient(self._ledger_url)
        self._family.wait_for("ledger", lambda: answers(client), READY_S)

    def _trust_seeds(self) -> list[str]:
        names = [self._scenario.hotspots[i].name for i in trust_seeds(len(self._scenario.hotspots))]
        return [public_key(keys_of(self._master, name).hotspot).hex() for name in names]

    def _fund(self) -> None:
        """Give every owner its bond, and those who ask for AI something to pay with."""
        client = LedgerClient(self._ledger_url)
        operator = load_seed(self._folder / "ledger" / OPERATOR_FILE)
        network_id = client.head().network_id
        payers = {self._scenario.hotspots[i].name for i in self._cast.consumers}
        bond = PRESETS[self._options.preset].bond_ucr
        wires = []
        for site in self._scenario.hotspots:
            amount = bond + (DEPOSIT_UCR if site.name in payers else 0)
            if amount:
                owner = public_key(keys_of(self._master, site.name).owner)
                deposit = Deposit(owner, amount, digest("demo-deposit", owner), (0,))
                wires.append(seal(deposit, network_id, [operator]).wire)
        for result in client.submit(wires):
            if not result.accepted:
                raise UserError("deposit", result.detail, "use a new --dir", exit_code=EXIT_FAILED)

    def _start_world(self, air_port: int) -> None:
        names = [self._scenario.hotspots[i].name for i in self._external()]
        arguments = ["sim", "world", self._options.scenario, "--dir", str(self._folder / "world")]
        arguments += ["--ledger", self._ledger_url, "--air-port", str(air_port)]
        arguments += ["--master", str(self._folder / "master.key")]
        self._family.start("world", [*arguments, "--external", ",".join(names)])
        ready = self._folder / "world" / "hotspots.json"
        self._family.wait_for("world", ready.exists, READY_S)

    def _external(self) -> tuple[int, ...]:
        return (*self._cast.consumers, *self._cast.providers) if self._options.ai else ()

    def _start_map(self) -> None:
        arguments = [
            "map",
            "serve",
            "--ledger",
            self._ledger_url,
            "--port",
            str(self._options.port),
        ]
        self._family.start("map", [*arguments, "--data", str(self._folder / "map")])
        self._family.wait_for("map", lambda: self._map("/stats") is not None, READY_S)
        self._first_page_s = time.monotonic() - self._started_s

    def _map(self, path: str) -> Any:
        """A JSON document of the map, or None while it has none."""
        return fetch(f"http://127.0.0.1:{self._options.port}{path}")

    def _train(self) -> None:
        """Train the congestion forecast on this network's own simulated telemetry."""
        telemetry, model = self._folder / "telemetry.csv", self._folder / "forecast.json"
        if model.exists():
            return
        links = max(1, sum(len(peers) for peers in self._peers))
        least, most = TRAINING_S
        seconds = min(most, max(least, TRAINING_ROWS * TRAINING_STEP_S // links))
        arguments = ["--seconds", str(seconds), "--step", str(TRAINING_STEP_S)]
        self._once("sim", "telemetry", self._options.scenario, *arguments, "-o", str(telemetry))
        arguments = ["--rounds", str(TRAINING_ROUNDS), "-o", str(model)]
        self._once("routing", "train", "--data", str(telemetry), *arguments)

    def _start_gateways(self, air_port: int) -> None:
        for place, index in enumerate((*self._cast.providers, *self._cast.consumers)):
            provides = place < len(self._cast.providers)
            name = f"gateway-{index}"
            folder = self._folder / name
            folder.mkdir(exist_ok=True)
            seed = keys_of(self._master, self._scenario.hotspots[index].name).hotspot
            save_seed(folder / "hotspot.key", seed)
            port = 0 if provides else self._options.gateway_port + len(self._gateways)
            config = folder / "gateway.toml"
            config.write_text(self._gateway_config(index, port, air_port, provides))
            self._family.start(name, ["hotspot", "gateway", "--config", str(config)])
            if not provides:
                self._gateways.append((f"http://127.0.0.1:{port}", folder / "gateway.key"))
        self._family.wait_for("gateways", self._gateways_answer, READY_S)

    def _gateway_config(self, index: int, port: int, air_port: int, provides: bool) -> str:
        return GATEWAY_CONFIG.format(
            ledger=self._ledger_url,
            listen=f"127.0.0.1:{port}",
            air=f"127.0.0.1:{air_port}",
            neighbours=list(self._peers[index]),
            provider=PROVIDER_CONFIG if provides else "",
            model=self._folder / "forecast.json",
        )

    def _gateways_answer(self) -> bool:
        """Whether every consumer's gateway has heard of a provider over the overlay."""
        for url, key in self._gateways:
            state = fetch(f"{url}/json") if key.exists() else None
            if not state or not state.get("providers"):
                return False
        return True

    def _start_demand(self) -> None:
        arguments = ["sim", "demand", self._options.scenario, *self._demand()]
        for url, key in self._gateways:
            arguments += ["--gateway", f"{url}={key}"]
        self._family.start("demand", [*arguments, "--status", str(self._folder / "demand.json")])

    def _demand(self) -> list[str]:
        """Options of `wavecomb sim demand`: ours, else the scenario's trace, else a busy hour."""
        asked = self._options.trace
        if asked.trace is not None:
            trace = ["--trace", str(asked.trace), "--trace-format", asked.format]
            return [*trace, "--speedup", str(asked.speedup)]
        if asked.rate is None and self._scenario.traffic.format != "synthetic":
            return []
        return ["--rate", str(BUSY_RATE if asked.rate is None else asked.rate)]

    def _start_job(self) -> None:
        """Have the first consumer send a file to the last: a bandwidth job with a deadline."""
        if len(self._gateways) < 2:
            return
        file = self._folder / "job.bin"
        file.write_bytes(b"".join(digest("demo-job", u32(i)) for i in range(JOB_BYTES // 32)))
        target = str(self._cast.consumers[-1])
        self._job("submit", str(file), "--to", target, "--deadline", JOB_DEADLINE)

    def _job(self, verb: str, *arguments: str) -> Any:
        """Ask the first gateway about jobs; None where it refuses."""
        url, key = self._gateways[0]
        command = ["job", verb, *arguments, "--gateway", url, "--key-file", str(key), "--json"]
        done = subprocess.run([*WAVECOMB, *command], capture_output=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def _wait_for_picture(self) -> None:
        """Wait until a cell is shown that was measured over the air."""
        self._family.wait_for("measured cells", lambda: self._measured_cells() > 0, READY_S)
        self._first_picture_s = time.monotonic() - self._started_s

    def _measured_cells(self) -> int:
        stats = self._map("/stats") or {}
        return int(stats.get("cells", {}).get("measured", 0))

    # --- running -----------------------------------------------------------------------------

    def announce(self) -> None:
        """Tell the person where to look."""
        page = f"http://127.0.0.1:{self._options.port}/"
        print(f"page      {page}", flush=True)
        for url, key in self._gateways:
            print(f"OpenAI    base_url={url}/v1   key in {key}", flush=True)
        print(f"ledger    {self._ledger_url}", flush=True)
        print(f"data      {self._folder}\nCtrl-C ends it.", flush=True)

    def tend(self) -> None:
        """Keep everything running until the time is up or Ctrl-C."""
        seconds = self._options.seconds
        end = None if seconds is None else time.monotonic() + seconds
        bar = Progress("running", round(seconds or 1), quiet=self._quiet or seconds is None)
        began = time.monotonic()
        while end is None or time.monotonic() < end:
            self._family.tend()
            bar.update(round(time.monotonic() - began))
            time.sleep(0.25)

    def finish(self) -> dict[str, Any]:
        """Stop in order, so that receipts reach the ledger; then audit a copy and sum up."""
        self._family.stop(["demand"])
        time.sleep(CLAIM_S)
        stats = self._map("/stats") or {}
        jobs = (self._job("status") if self._gateways else None) or {"jobs": []}
        self._family.stop([name for name in self._family.children if name.startswith("gateway")])
        self._family.stop(["world"])
        time.sleep(1.0)
        ledger = LedgerClient(self._ledger_url).stats()
        self._family.stop(["map", "ledger"])
        figures = self._summary(stats, ledger, self._audit())
        figures["jobs"] = [
            {name: job[name] for name in ("state", "delivered_bytes", "size_bytes", "spent_ucr")}
            for job in jobs["jobs"]
        ]
        return figures

    def stop(self) -> None:
        """End whatever still runs."""
        self._family.stop()

    def _audit(self) -> bool:
        copy = self._folder / "audit-copy"
        shutil.copytree(self._folder / "ledger", copy, dirs_exist_ok=True)
        done = subprocess.run(
            [*WAVECOMB, "chain", "audit", str(copy / LEDGER_FILE), "--json"],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def _summary(self, stats: Any, ledger: Any, audit_ok: bool) -> dict[str, Any]:
        world = read_json(self._folder / "world" / "world.json")
        demand = read_json(self._folder / "demand.json") if self._options.ai else {}
        nodes = world.get("nodes", {})
        return {
            "scenario": self._scenario.name,
            "hotspots": len(self._scenario.hotspots),
            "first_page_s": round(self._first_page_s or 0, 1),
            "first_picture_s": round(self._first_picture_s or 0, 1),
            "beacons_sent": nodes.get("beacons", 0),
            "witness_receipts": nodes.get("heard", 0),
            "cells_covered": stats.get("cells", {}).get("measured", 0),
            "cells_predicted": stats.get("cells", {}).get("predicted", 0),
            "ai_requests_sent": demand.get("sent", 0),
            "ai_requests_ok": demand.get("ok", 0),
            "ai_latency_p50_ms": demand.get("latency_p50_ms"),
            "ai_hops": list(self._cast.hops),
            "credits_paid": ledger["credits_paid_ucr"] / 1e6,
            "paid_ucr": ledger["paid_ucr"],
            "verdicts": ledger["verdicts"],
            "ai_requests_settled": ledger["ai_requests"],
            "relayed_bytes": ledger["relayed_bytes"],
            "supply_conserved": ledger["supply"]["conserved"],
            "restarts": {c.name: c.restarts for c in self._family.past if c.restarts},
            "audit_ok": audit_ok,
        }

    # --- helpers -----------------------------------------------------------------------------

    def _once(self, *arguments: str) -> None:
        """Run a command to its end; its last line becomes our error if it fails."""
        done = subprocess.run(
            [*WAVECOMB, *arguments], capture_output=True, text=True, check=False,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise UserError(" ".join(arguments[:2]), words, "run it by hand to see more")

    def _say(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"\r\x1b[K{text}\n" if sys.stderr.isatty() else f"{text}\n")


def check_port(option: str, port: int) -> None:
    """Raise UserError if there is no such port, or another program listens on it."""
    if not 1 <= port <= 65_535:
        raise UserError(option, f"{port} is no TCP port", "use 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            remedy = f"name another, such as {option} {port + 10 if port < 65_000 else 8080}"
            raise UserError(
                option, f"port {port}: {error.strerror}", remedy, exit_code=EXIT_FAILED
            ) from error


def answers(client: LedgerClient) -> bool:
    """Whether the ledger service answers."""
    try:
        client.head()
    except OSError:
        return False
    return True


def fetch(url: str) -> Any:
    """A JSON document, or None where there is none yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def read_json(path: Path) -> dict[str, Any]:
    """A status file, or an empty object."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb demo",
        description="Bring up a whole network on simulated radios and open its page.",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--scenario",
        default="builtin:city",
        help="builtin:city[:HOTSPOTS[:SEED]] or a TOML file (default: %(default)s)",
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="keep its data here (default: nothing is kept)"
    )
    parser.add_argument("--port", type=int, default=8080, help="of the page (default: %(default)s)")
    parser.add_argument(
        "--gateway-port",
        type=int,
        default=8181,
        metavar="PORT",
        help="of the first AI gateway; others follow (default: %(default)s)",
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="minimal",
        help="rules of the ledger (default: %(default)s)",
    )
    parser.add_argument("--headless", action="store_true", help="end after --seconds with figures")
    parser.add_argument(
        "--seconds", type=float, help="run this long after the first picture (headless: 90)"
    )
    add_trace_options(parser)
    parser.add_argument("--no-ai", action="store_true", help="leave the AI gateways out")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return parser


def parse(argv: Sequence[str]) -> Options:
    """Options of the command line."""
    given = _parser().parse_args(argv)
    seconds = given.seconds
    if given.headless and seconds is None:
        seconds = 90.0
    if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
        raise UserError("--seconds", f"{seconds:g} is out of range", f"use 0 to {MAX_SECONDS}")
    folder = given.dir or Path(tempfile.mkdtemp(prefix="wavecomb-"))
    return Options(
        given.scenario, folder.resolve(), given.port, given.gateway_port, given.preset,
        given.headless, seconds, given.json, not given.no_ai, trace_options(given),
        keep=given.dir is not None,
    )  # fmt: skip


def _end(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Run the demo; leave no process behind, and no file unless --dir was given."""
    options = parse(argv)
    for number in (signal.SIGTERM, signal.SIGINT):  # also where a shell started us deaf to SIGINT
        signal.signal(number, _end)
    demo = None
    try:
        demo = Demo(options)
        demo.check()
        demo.start()
        if not options.json:
            demo.announce()
        with contextlib.suppress(KeyboardInterrupt):
            demo.tend()
        return _sum_up(demo, options) if options.headless else EXIT_OK
    finally:
        if demo is not None:
            demo.stop()
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)


def _sum_up(demo: Demo, options: Options) -> int:
    figures = demo.finish()
    if options.json:
        print_json(figures)
    else:
        for name, value in figures.items():
            print(f"{name:<20} {value}")
    return EXIT_OK if figures["audit_ok"] else EXIT_FAILED
