"""The live testbed: shipping daemons as processes, each with a namespace and radio of its own.

    wavecomb sim live --hotspots 6 --seconds 40

Frames that a daemon injects into its device come out of the TAP's descriptor; the simulator's
medium says who gets them, and they are written into the others' devices with a receive header.
Nothing in the daemon knows. The run watches that every beacon due is sent and heard, that no
daemon restarts and that memory stays flat; it ends with a summary and leaves no process, device
or namespace.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import LedgerClient
from chain.io_terminal import Progress, print_json
from chain.params import PRESETS
from chain.records import RECEPTION_BYTES, EpochMessage, Refusal
from chain.wire import decode
from radio_sim import io_tap
from radio_sim.agents import published_place
from radio_sim.assemble import links_of, medium_of
from radio_sim.io_air import LiveAir
from radio_sim.io_processes import MAX_QUICK_RESTARTS, Child, Family
from radio_sim.io_scenario import load_scenario
from radio_sim.live_watch import Watch, judge
from radio_sim.scenario import HotspotSite, Scenario

EXAMPLES = """examples:
  wavecomb sim live --hotspots 6 --seconds 40
  wavecomb sim live builtin:city:50 --seconds 300 --json
  wavecomb sim live my-town.toml --dir /var/tmp/run
"""
START_TIMEOUT_S = 120.0
ROUND_S = 6.0  # to look at every daemon's stored receptions, which are kept for three epochs
LONGEST_WAIT_S = 0.05
CHAIN_LENGTH = 8640  # a day of ten-second epochs


class Testbed:
    """Namespaces, devices, ledger and daemons of one run, made on entry and removed on exit."""

    __test__ = False  # not a pytest class

    def __init__(self, scenario: Scenario, seed: int, preset: str, folder: Path) -> None:
        self.scenario = scenario
        self.params = PRESETS[preset]
        self.watch = Watch()
        self.restarts = 0
        self._started_s = time.monotonic()
        self.sightings: dict[int, tuple[int, int]] = {}  # node > (ledger index, bound epoch)
        self._folder = folder
        self._socket = folder / "ledger.sock"
        self._family = Family(folder, lambda _: None)
        self._daemons: list[Child] = []
        self._taps: list[io_tap.Tap] = []
        self._stack = contextlib.ExitStack()
        self._medium = medium_of(scenario, links_of(scenario, seed), seed)
        self.client = LedgerClient(f"unix:{self._socket}")

    def __enter__(self) -> Testbed:
        io_tap.check_permission()
        io_tap.cleanup()
        try:
            self._start_ledger()
            self._make_radios()
            self.air = LiveAir(self._taps, self._medium, self.watch)
            self._stack.callback(self.air.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave half of it behind.
        former = {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            self._stack.close()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _start_ledger(self) -> None:
        self._stack.callback(self._family.stop)
        ledger = str(self._folder / "ledger")
        arguments = ["chain", "init", "--dir", ledger, "--preset", self.params.name]
        made = self._family.start("init", arguments)
        if made.process is None or made.process.wait(timeout=START_TIMEOUT_S) != 0:
            raise self._ended(made)
        self._family.stop(["init"])
        self._family.start("ledger", ["chain", "run", "--dir", ledger, "--unix", str(self._socket)])
        self._family.wait_for("ledger", self._ledger_answers, START_TIMEOUT_S)

    def _ledger_answers(self) -> bool:
        try:
            self.start_ms = self.client.genesis().start_ms
        except OSError:
            return False
        return True

    def _make_radios(self) -> None:
        for node in range(len(self.scenario.hotspots)):
            name = io_tap.radio_name(node)
            self._stack.callback(io_tap.remove_namespace, name)
            tap = io_tap.open_radio_tap(name)
            self._stack.callback(tap.close)
            self._taps.append(tap)

    def start_daemons(self, progress: Progress) -> None:
        """Start one shipping daemon per namespace, carrying frames meanwhile."""
        for node, site in enumerate(self.scenario.hotspots):
            home = self._home(node)
            home.mkdir()
            settings = home / "hotspot.toml"
            settings.write_text(self._settings(site, self._taps[node].interface))
            with io_tap.inside(self._taps[node].interface):
                arguments = ["hotspot", "run", "--config", str(settings)]
                self._daemons.append(self._family.start(f"hotspot-{node}", arguments))
            self.air.step(0.0)
            progress.update(node + 1)
        self._started_s = time.monotonic()

    def _home(self, node: int) -> Path:
        return self._folder / f"hotspot-{node}"

    def _settings(self, site: HotspotSite, interface: str) -> str:
        cell, latitude_udeg, longitude_udeg = published_place(site)
        frequency = site.frequency_mhz or self.scenario.radio.frequency_mhz
        return f"""\
[hotspot]
cell = "{cell:x}"
latitude_udeg = {latitude_udeg}
longitude_udeg = {longitude_udeg}
height_m = {max(1, round(site.height_m))}
gain_cdb = {round(100 * site.gain_dbi)}
eirp_cdbm = {round(100 * site.eirp_dbm)}
chain_length = {CHAIN_LENGTH}
[radio]
interface = "{interface}"
frequency_mhz = {frequency}
[ledger]
url = "unix:{self._socket}"
"""

    # --- watching

    def run(self, until_s: float, progress: Progress) -> None:
        """Carry frames until so long after the start, looking at one daemon after the other."""
        looks = self._looks()
        next_look, look_s = 0.0, ROUND_S / len(self._daemons)
        while (elapsed := time.monotonic() - self._started_s) < until_s:
            self.air.step(LONGEST_WAIT_S)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + look_s
                next(looks)
                progress.update(int(elapsed), f"{len(self.watch.sent)} beacons on the air")

    def _looks(self) -> Iterator[None]:
        while True:
            if len(self.sightings) < len(self._daemons):
                self._learn_indexes()
            for node in range(len(self._daemons)):
                self._restart_dead()
                self.look_at(node)
                yield

    def _restart_dead(self) -> None:
        """Restart what died: a device is only visible inside its namespace."""
        for node, child in enumerate(self._daemons):
            if child.alive():
                continue
            self.restarts += 1
            child.restarts += 1
            if child.restarts >= MAX_QUICK_RESTARTS:
                raise self._ended(child)
            with io_tap.inside(self._taps[node].interface):
                child.start()
        if not self._family.children["ledger"].alive():
            raise self._ended(self._family.children["ledger"])

    def _ended(self, child: Child) -> UserError:
        return UserError(
            child.name,
            f"ended: {child.last_words()}",
            "run again with --dir to keep the logs",
            exit_code=EXIT_FAILED,
        )

    def look_at(self, node: int) -> None:
        """Take in what a daemon has stored: receptions, and records that the ledger accepted."""
        path = self._home(node) / "queue.db"
        node_of = {index: known for known, (index, _) in self.sightings.items()}
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_read_only(path)) as queue:
            rows = queue.execute("SELECT epoch, entry FROM receptions").fetchall()
            for epoch, entry in rows:
                self.watch.note_receptions(node, epoch, [bytes(entry)], node_of)
            for identifier, wire in queue.execute("SELECT id, wire FROM records WHERE state = 1"):
                self.watch.reported[bytes(identifier)] = _receptions_in(bytes(wire))

    def _learn_indexes(self) -> None:
        """Ask the ledger who is registered, and from which epoch on."""
        node_of = self._keys()
        with contextlib.suppress(OSError):
            for row in self.client.hotspots():
                node = node_of.get(row.key.hex())
                if node is not None:
                    self.sightings[node] = (row.index, row.bound_epoch)

    def _keys(self) -> dict[str, int]:
        """Public keys by node, from the daemons' status files."""
        keys = {}
        for node in range(len(self._daemons)):
            with contextlib.suppress(OSError, ValueError, KeyError):
                keys[json.loads((self._home(node) / "status.json").read_text())["key"]] = node
        return keys

    def memory_mib(self) -> list[float]:
        """Resident memory of each daemon, in MiB."""
        sizes = []
        for child in self._daemons:
            with contextlib.suppress(psutil.Error):
                if child.process is not None:
                    sizes.append(psutil.Process(child.process.pid).memory_info().rss / 2**20)
        return sizes


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)


def _receptions_in(wire: bytes) -> int:
    signed = decode(wire)
    if isinstance(signed, Refusal) or not isinstance(signed.record, EpochMessage):
        return 0
    return len(signed.record.report) // RECEPTION_BYTES


def run_live(testbed: Testbed, seconds: float, *, quiet: bool) -> dict[str, object]:
    """Run a testbed for so long and say what came of it."""
    count = len(testbed.scenario.hotspots)
    starting = Progress("starting hotspots", count, quiet=quiet)
    testbed.start_daemons(starting)
    starting.close()
    running = Progress("running", int(seconds), quiet=quiet)
    testbed.run(seconds / 3, running)
    memory_before = testbed.memory_mib()
    testbed.run(seconds, running)
    memory_after = testbed.memory_mib()
    running.close()
    for node in range(count):
        testbed.look_at(node)
    bound = {node: first for node, (_, first) in testbed.sightings.items()}
    epoch = testbed.params.epoch_at(testbed.start_ms, time.time_ns() // 1_000_000)
    outcome = judge(testbed.watch, bound, epoch - 1, testbed.params.beacons_per_epoch)
    return {
        "hotspots": count,
        "registered": len(bound),
        "seconds": round(seconds),
        "restarts": testbed.restarts,
        "rss_start_mib": round(sum(memory_before) / max(1, len(memory_before)), 2),
        "rss_end_mib": round(sum(memory_after) / max(1, len(memory_after)), 2),
        "frames_undelivered": testbed.air.undelivered,
        **asdict(outcome),
    }


def is_good(result: dict[str, object]) -> bool:
    """Tell whether every hotspot came up, nothing restarted, and all that was due happened."""
    return (
        result["registered"] == result["hotspots"]
        and result["restarts"] == 0
        and result["beacons_due"] == result["beacons_sent"] != 0
        and result["heard"] == result["heard_expected"]
    )


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextlib.contextmanager
def run_folder(chosen: Path | None) -> Iterator[Path]:
    """Use the folder that was asked for, which stays, or a temporary one, which goes."""
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="wavecomb-live-") as name:
            yield Path(name)
        return
    try:
        chosen.mkdir(parents=True)
    except FileExistsError:
        raise UserError("--dir", f"{chosen} exists", "name a new folder") from None
    yield chosen.resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wavecomb sim live",
        description="Run shipping daemons on simulated radios in network namespaces (root).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="?", help="scenario file, or builtin:city:HOTSPOTS:SEED")
    parser.add_argument("--hotspots", type=int, help="size of the built-in city (default: 6)")
    parser.add_argument("--seconds", type=float, default=60.0, help="wall-clock time to watch")
    parser.add_argument("--seed", type=int, default=1, help="seed of the radio world")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="minimal")
    parser.add_argument("--dir", type=Path, help="new folder to keep databases and logs in")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the live testbed; exit code 1 if a beacon was lost or a daemon restarted."""
    options = _parser().parse_args(argv)
    if options.scenario and options.hotspots:
        raise UserError("--hotspots", "a scenario is named too", "give one of both")
    if not 1 <= options.seconds <= 86_400:
        raise UserError("--seconds", f"{options.seconds:g} is out of range", "use 1 to 86400")
    scenario = load_scenario(options.scenario or f"builtin:city:{options.hotspots or 6}:1")
    with (
        interruptible(),
        run_folder(options.dir) as folder,
        Testbed(scenario, options.seed, options.preset, folder) as testbed,
    ):
        result = run_live(testbed, options.seconds, quiet=options.json)
    if options.json:
        print_json(result)
    else:
        print("\n".join(f"{name:<20} {value}" for name, value in result.items()))
    return EXIT_OK if is_good(result) else EXIT_FAILED
