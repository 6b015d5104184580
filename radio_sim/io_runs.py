"""Runs in virtual time with all that is kept of them: figures, packets, the report's data.

A run folder holds what the run was (`scenario.toml`, `run.json`) and what came of it
(`report.json`, `air.pcapng`). Same folder, same software: the same digest and the same bytes again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
import signal
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from chain.errors import UserError
from chain.io_terminal import Progress, write_json
from chain.params import PRESETS
from radio_sim.assemble import noise_dbm_of
from radio_sim.checkers.base import Panel
from radio_sim.checkers.every import make_panel
from radio_sim.fleet import START_MS, Fleet
from radio_sim.io_capture import open_capture
from radio_sim.io_memory import without_collector
from radio_sim.io_scenario import read_scenario
from radio_sim.links import Links
from radio_sim.live.recorder import AirRecorder, Recorder
from radio_sim.report.data import RunRecorder, add_links
from radio_sim.scenario import Scenario, format_scenario

RUN_FILE, SCENARIO_FILE, REPORT_FILE, PACKETS_FILE = (
    "run.json", "scenario.toml", "report.json", "air.pcapng"
)  # fmt: skip
PACKAGES = ("radio_sim", "hotspot", "chain", "coverage/coverage_map", "routing")
SECONDS_MAX = 31 * 86_400
DRAWN_SNR_DB = 3.0  # weaker links aren't drawn on the map


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run is: the same plan and software, the same run."""

    scenario: Scenario
    seed: int
    preset: str
    seconds: float
    beacons: int | None = None
    verify_every: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What to keep: a folder for everything, a file for packets, the findings of checkers."""

    folder: Path | None = None
    packets: Path | None = None
    checks: bool = False


class Stop(Exception):
    """Ctrl-C between two steps of a run."""


def run_plan(plan: Plan, kept: Kept, *, quiet: bool) -> dict[str, Any]:
    """Run, keep what is asked for, and return the figures.

    Ctrl-C ends the run after its current step; what was kept until then is complete.
    """
    with contextlib.ExitStack() as stack:
        if kept.folder is not None:
            _make_folder(kept.folder)
        files = _open_packets(kept, stack)
        panel = make_panel() if kept.checks else Panel(())
        recorder = RunRecorder() if kept.folder is not None else None
        watchers = [panel, *([recorder] if recorder else [])]
        fleet = Fleet(
            plan.scenario,
            plan.seed,
            plan.preset,
            watchers if kept.checks or recorder else (),
            beacons=plan.beacons,
            verify_every=plan.verify_every,
        )
        for watcher in watchers if kept.checks or recorder else ():
            watcher.attach(fleet)
        packets = record_packets(plan, fleet, files) if files else None
        result = _run(plan, fleet, panel, quiet=quiet)
        if kept.checks:
            result["problems"] = {k: v for k, v in panel.verdicts().items() if v}
    if packets is not None:
        result["packets_sha256"] = packets.digest()
    if kept.folder is not None and recorder is not None:
        _write_folder(plan, kept.folder, fleet, recorder, result)
    return result


def _run(plan: Plan, fleet: Fleet, panel: Panel, *, quiet: bool) -> dict[str, Any]:
    started = time.perf_counter()
    with without_collector():
        finished = _advance(plan, fleet, panel, quiet=quiet)
    panel.finish()
    result = {"scenario": plan.scenario.name, "seed": plan.seed, "preset": plan.preset}
    result |= dataclasses.asdict(fleet.summary())
    passed_s = fleet.world.now_ns / 1e9 - START_MS / 1e3
    factor = passed_s / max(1e-9, time.perf_counter() - started)
    result["realtime_factor"] = round(factor, 1)
    if not finished:
        result["interrupted"] = True
    return result


def _advance(plan: Plan, fleet: Fleet, panel: Panel, *, quiet: bool) -> bool:
    """Run in slices of an epoch; whether the run came to its end."""
    slice_s, done_s = PRESETS[plan.preset].epoch_ms / 1000.0, 0.0
    progress = Progress(plan.scenario.name[:24], round(plan.seconds), quiet=quiet)
    with _asking() as wanted:

        def note(second: int, text: str) -> None:
            progress.update(round(done_s) + second, text)
            if wanted:
                raise Stop

        try:
            while done_s < plan.seconds:
                fleet.run(min(slice_s, plan.seconds - done_s), note)
                done_s += slice_s
                panel.look()
        except Stop:
            return False
    progress.close()
    return True


@contextlib.contextmanager
def _asking() -> Iterator[list[int]]:
    """Turn Ctrl-C into an entry of the list: a run stops between steps, never inside one."""
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        asked.append(number)

    try:
        former = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: nobody can press Ctrl-C there
        yield asked
        return
    try:
        yield asked
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)


# --- packets --------------------------------------------------------------------------------------


class Hashed:
    """Writes to several files, perhaps to none, and hashes what passes."""

    def __init__(self, files: Sequence[BinaryIO] = ()) -> None:
        self._files = tuple(files)
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._hash.update(data)
        for file in self._files:
            file.write(data)

    def digest(self) -> str:
        """Hex digest of all bytes so far."""
        return self._hash.hexdigest()


def _open_packets(kept: Kept, stack: contextlib.ExitStack) -> list[BinaryIO]:
    """The files that packets go to, opened before the run: a wrong path then costs nothing."""
    paths = [kept.packets, kept.folder / PACKETS_FILE if kept.folder else None]
    files = [stack.enter_context(open_capture(path)) for path in paths]
    return [file for file in files if file is not None]


def record_packets(plan: Plan, fleet: Fleet, files: Sequence[BinaryIO] = ()) -> Hashed:
    """Have a fleet's air written as pcapng, or only hashed."""
    packets = Hashed(files)
    names = [site.name for site in plan.scenario.hotspots]
    comment = f"virtual run of {plan.scenario.name}, seed {plan.seed}"
    fleet.world.medium.observers.append(AirRecorder(Recorder(names, packets.write, comment)))
    return packets


# --- folders --------------------------------------------------------------------------------------


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UserError("--out", f"{folder} exists", "name a new folder") from None


def _write_folder(
    plan: Plan, folder: Path, fleet: Fleet, recorder: RunRecorder, result: dict[str, Any]
) -> None:
    (folder / SCENARIO_FILE).write_text(format_scenario(plan.scenario), encoding="utf-8")
    links = drawn_links(fleet.world.medium.links, noise_dbm_of(plan.scenario))
    write_json(folder / REPORT_FILE, add_links(recorder.as_json(), links))
    run = {
        "format": 1,
        "seed": plan.seed,
        "preset": plan.preset,
        "seconds": (fleet.world.now_ns - START_MS * 1_000_000) / 1e9,
        "beacons": plan.beacons,
        "verify_every": plan.verify_every,
        "software": software(),
        "result": result,
    }
    write_json(folder / RUN_FILE, run)


def read_folder(folder: Path) -> tuple[Plan, dict[str, Any]]:
    """The plan of a saved run, and all that `run.json` says. Raises UserError."""
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        text = (folder / SCENARIO_FILE).read_text(encoding="utf-8")
        scenario = read_scenario(text, SCENARIO_FILE)
        plan = Plan(
            scenario,
            int(run["seed"]),
            str(run["preset"]),
            float(run["seconds"]),
            run["beacons"],
            bool(run["verify_every"]),
        )
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise UserError(str(folder), f"no {name} in it", "name a folder of --out") from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"{RUN_FILE} can't be read: {error}"
        raise UserError(str(folder), what, "name a folder of --out") from None
    if plan.preset not in PRESETS:
        raise UserError(f"{RUN_FILE}.preset", f"no {plan.preset!r}", f"use {', '.join(PRESETS)}")
    return plan, run


def drawn_links(links: Links, noise_dbm: float) -> list[tuple[int, int, float]]:
    """(lower, higher, mean SNR in dB of the weaker direction) of links worth drawing."""
    senders = np.repeat(np.arange(len(links.starts) - 1), np.diff(links.starts))
    weaker: dict[tuple[int, int], float] = {}
    for a, b, rssi in zip(
        senders.tolist(), links.neighbours.tolist(), links.rssi_dbm.tolist(), strict=True
    ):
        pair = (min(a, b), max(a, b))
        weaker[pair] = min(weaker.get(pair, 1e9), rssi - noise_dbm)
    return [(a, b, snr) for (a, b), snr in sorted(weaker.items()) if snr >= DRAWN_SNR_DB]


def software() -> dict[str, str]:
    """What ran: the version, a hash of the sources, and what floats were computed by."""
    root = Path(__file__).resolve().parent.parent
    sources = hashlib.sha256()
    for package in PACKAGES:
        folder = root / package
        if not folder.is_dir():  # installed: coverage_map lies beside the others
            folder = root / Path(package).name
        for path in sorted(folder.rglob("*.py")):
            sources.update(path.relative_to(folder).as_posix().encode() + b"\0")
            sources.update(path.read_bytes())
    try:
        version = metadata.version("wavecomb")
    except metadata.PackageNotFoundError:
        version = "source"
    return {
        "wavecomb": version,
        "sources_sha256": sources.hexdigest(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
