"""The parts of a live run: namespaces, devices, a ledger and the shipping daemons.

Nothing in a daemon knows that its radio is simulated. What it heard is read from its own durable
queue, read-only and by a process of its own (`io_looker`); what came of it, from the ledger's log.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from chain.errors import EXIT_FAILED, UserError
from chain.io_client import LedgerClient
from chain.io_terminal import Progress
from chain.params import PRESETS
from chain.records import RECEPTION_BYTES, EpochMessage, Refusal
from chain.wire import decode
from radio_sim.agents import published_place
from radio_sim.assemble import links_of, medium_of
from radio_sim.io_processes import MAX_QUICK_RESTARTS, Child, Family
from radio_sim.links import Links
from radio_sim.live import io_tap
from radio_sim.live.drivers import MIX_NAME, drivers_of
from radio_sim.live.io_air import LiveAir
from radio_sim.live.io_looker import Looker
from radio_sim.live.recorder import Recorder
from radio_sim.live.watch import Watch
from radio_sim.scenario import HotspotSite, Scenario

START_TIMEOUT_S = 120.0
CHECK_S = 0.5  # between looks whether a program has died
LONGEST_WAIT_S = 0.05
PAGE = 500  # of the ledger's log
CHAIN_LENGTH = 8640  # a day of ten-second epochs


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ between runs of a scenario. None: as the scenario says."""

    drivers: str | None = None  # a name that `drivers_of` knows
    links: Links | None = None
    capture: BinaryIO | None = None  # gets a pcapng of the run
    program: tuple[str, ...] | None = None  # instead of `wavecomb`


class Testbed:
    """Namespaces, devices, ledger and daemons of one run, made on entry and removed on exit."""

    __test__ = False  # not a pytest class

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        preset: str,
        folder: Path,
        options: Options | None = None,
    ) -> None:
        self.scenario = scenario
        self.params = PRESETS[preset]
        self.watch = Watch()
        self.restarts = 0
        self._started_s = time.monotonic()
        self.sightings: dict[int, tuple[int, int]] = {}  # node > (ledger index, bound epoch)
        self._seed = seed
        self._options = options or Options()
        self._folder = folder
        self._socket = folder / "ledger.sock"
        self._family = Family(folder, lambda _: None)
        if self._options.program is not None:
            self._family.program = self._options.program
        self._daemons: list[Child] = []
        self._taps: list[io_tap.Tap] = []
        self._stack = contextlib.ExitStack()
        # The medium gives every field; what real drivers leave out is the drivers' part here.
        radio = replace(scenario.radio, real_fields=False)
        links = self._options.links or links_of(scenario, seed)
        self._medium = medium_of(replace(scenario, radio=radio), links, seed)
        self.client = LedgerClient(f"unix:{self._socket}")

    def __enter__(self) -> Testbed:
        io_tap.check_permission()
        io_tap.cleanup()
        try:
            self._start_ledger()
            self._make_radios()
            self._open_air()
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
            self.start_ms = self.client.head().start_ms
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

    def _open_air(self) -> None:
        usual = MIX_NAME if self.scenario.radio.real_fields else "lab"
        drivers = drivers_of(self._options.drivers or usual, len(self._taps), self._seed)
        recorder = None
        if self._options.capture is not None:
            names = [site.name for site in self.scenario.hotspots]
            comment = f"live run of {self.scenario.name}, seed {self._seed}"
            recorder = Recorder(names, self._options.capture.write, comment)
        self.air = LiveAir(
            self._taps,
            self._medium,
            self.watch,
            drivers=drivers,
            recorder=recorder,
            seed=self._seed,
        )
        self._stack.callback(self.air.close)

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
        homes = [self._home(node) for node in range(len(self._daemons))]
        self._looker = Looker(homes, f"unix:{self._socket}")
        self._stack.callback(self._looker.close)
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
        """Carry frames until so long after the start, seeing to it that all programs live."""
        next_check = 0.0
        while (elapsed := time.monotonic() - self._started_s) < until_s:
            self.air.step(LONGEST_WAIT_S)
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + CHECK_S
                self._restart_dead()
                progress.update(int(elapsed), f"{len(self.watch.sent)} beacons on the air")

    def look(self) -> None:
        """Take in what the daemons have stored and who the ledger knows."""
        seen = self._looker.ask()
        self.sightings = seen.sightings
        node_of = {index: known for known, (index, _) in self.sightings.items()}
        for (node, epoch), entries in seen.receptions.items():
            self.watch.note_receptions(node, epoch, sorted(entries), node_of)

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

    def receptions_on_ledger(self) -> int:
        """Count the receptions in the reports that the ledger holds, over its whole log."""
        total, start = 0, 0
        while entries := self.client.records(start, PAGE):
            total += sum(_receptions_in(entry.wire) for entry in entries)
            start += len(entries)
        return total

    def cpu_s(self) -> list[float]:
        """Processor time that each daemon has used since its start, in seconds."""
        used = []
        for child in self._daemons:
            if child.process is not None:
                with contextlib.suppress(OSError):
                    # proc(5): after the name in brackets, fields 14 and 15 are utime and stime.
                    stat = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2]
                    user, system = stat.split()[11:13]
                    used.append((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))
        return used

    def memory_mib(self) -> list[float]:
        """Resident memory of each daemon, in MiB."""
        sizes = []
        for child in self._daemons:
            self.air.step(0.0)
            if child.process is not None:
                with contextlib.suppress(OSError):
                    # proc(5): the second figure of statm is the resident set, in pages.
                    fields = Path(f"/proc/{child.process.pid}/statm").read_text().split()
                    sizes.append(int(fields[1]) * resource.getpagesize() / 2**20)
        return sizes


def _receptions_in(wire: bytes) -> int:
    signed = decode(wire)
    if isinstance(signed, Refusal) or not isinstance(signed.record, EpochMessage):
        return 0
    return len(signed.record.report) // RECEPTION_BYTES
