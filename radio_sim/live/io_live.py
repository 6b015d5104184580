"""The live testbed: shipping daemons as processes, each with a namespace and radio of its own.

    wavecomb sim live --hotspots 6 --seconds 40

Frames that a daemon injects into its device come out of the TAP's descriptor; the simulator's
medium says who gets them, and they are written into the others' devices with a receive header.
Nothing in the daemon knows. The run watches that every beacon due is sent and heard, that no
daemon restarts and that memory stays flat; it ends with a summary and leaves no process, device
or namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, print_json
from chain.params import PRESETS
from radio_sim.io_capture import open_capture
from radio_sim.io_memory import without_collector
from radio_sim.io_scenario import load_scenario, note_unused_faults
from radio_sim.live.drivers import driver_names
from radio_sim.live.io_air import prompt_scheduling
from radio_sim.live.io_testbed import Options, Testbed
from radio_sim.live.watch import judge

SOCKET_PATH_MAX_BYTES = 90  # of a Unix socket's 107, leaving room for its name
FOLDER_PREFIX = "wavecomb-live-"
EXAMPLES = """
  wavecomb sim live --hotspots 6 --seconds 40
  wavecomb sim live builtin:city:50 --seconds 300 --json
  wavecomb sim live my-town.toml --dir /var/tmp/run
  wavecomb sim live --drivers mix --pcapng run.pcapng
"""


def run_live(testbed: Testbed, seconds: float, *, quiet: bool) -> dict[str, object]:
    """Run a testbed for so long and say what came of it."""
    count = len(testbed.scenario.hotspots)
    starting = Progress("starting hotspots", count, quiet=quiet)
    with prompt_scheduling():  # those that are up beacon already
        testbed.start_daemons(starting)
    starting.close()
    running = Progress("running", int(seconds), quiet=quiet)
    with without_collector(), prompt_scheduling() as prompt:
        testbed.run(min(1.0, seconds / 3), running)
        testbed.air.measure_from_now()
        testbed.run(seconds / 3, running)
        memory_before, cpu_before = testbed.memory_mib(), testbed.cpu_s()
        measured_s = time.monotonic()
        testbed.run(seconds, running)
        cpu_after, measured_s = testbed.cpu_s(), time.monotonic() - measured_s
    memory_after = testbed.memory_mib()
    running.close()
    # What was over by now is in the stores; looking into them all takes a while.
    epoch = testbed.params.epoch_at(testbed.start_ms, time.time_ns() // 1_000_000)
    testbed.look()
    bound = {node: first for node, (_, first) in testbed.sightings.items()}
    outcome = judge(testbed.watch, bound, epoch - 1, testbed.params.beacons_per_epoch)
    return {
        "hotspots": count,
        "registered": len(bound),
        "seconds": round(seconds),
        "restarts": testbed.restarts,
        "rss_start_mib": round(sum(memory_before) / max(1, len(memory_before)), 2),
        "rss_end_mib": round(sum(memory_after) / max(1, len(memory_after)), 2),
        "daemon_cpu_share": mean_share(cpu_before, cpu_after, measured_s),
        "frames_undelivered": testbed.air.undelivered,
        "receipts_on_ledger": testbed.receptions_on_ledger(),
        "prompt_scheduling": prompt,
        "account": testbed.air.account.as_json(),
        "imbalances": testbed.air.imbalances(),
        "medium_delay": testbed.air.delays.as_json(),
        **asdict(outcome),
    }


def mean_share(before: Sequence[float], after: Sequence[float], seconds: float) -> float:
    """Mean share of a core that the programs used meanwhile, by their processor times."""
    return round((sum(after) - sum(before)) / max(1, len(after)) / max(seconds, 1e-9), 5)


def is_good(result: dict[str, object]) -> bool:
    """Tell whether all came up and stayed, all that was due happened, and no frame is missing."""
    return (
        result["registered"] == result["hotspots"]
        and result["restarts"] == 0
        and result["beacons_due"] == result["beacons_sent"] != 0
        and result["heard"] == result["heard_expected"]
        and not result["imbalances"]
    )


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def remove_stale_folders() -> None:
    """Remove the temporary folders of our own runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        maker = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        with contextlib.suppress(ValueError, OSError):
            gone = not Path(f"/proc/{int(maker, 16)}").exists()
            if gone and folder.lstat().st_uid == os.geteuid():
                shutil.rmtree(folder)


@contextlib.contextmanager
def run_folder(chosen: Path | None) -> Iterator[Path]:
    """Use the folder that was asked for, which stays, or a temporary one, which goes."""
    if chosen is None:
        remove_stale_folders()
        with tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{os.getpid():x}-") as name:
            yield Path(name)
        return
    if len(os.fsencode(chosen.absolute())) > SOCKET_PATH_MAX_BYTES:
        raise UserError("--dir", f"{chosen} is too long a path for a socket", "name a shorter one")
    try:
        chosen.mkdir(parents=True)
    except FileExistsError:
        raise UserError("--dir", f"{chosen} exists", "name a new folder") from None
    yield chosen.resolve()


def _parser() -> Parser:
    parser = Parser(
        prog="wavecomb sim live",
        description="Run shipping daemons on simulated radios in network namespaces (root).",
        examples=EXAMPLES,
    )
    parser.add_argument(
        "scenario",
        nargs="?",
        metavar="SCENARIO",
        help="builtin:city[:HOTSPOTS[:SEED]] or a TOML file",
    )
    parser.add_argument(
        "--hotspots", type=int, metavar="N", help="size of the built-in city (default: 6)"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="wall-clock time to watch (default: 60)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the radio world (default: 1)")
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="minimal",
        help="rules of the ledger (default: %(default)s)",
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="new folder to keep databases and logs in"
    )
    parser.add_argument(
        "--drivers",
        choices=driver_names(),
        help="what the radios' drivers give (default: lab; mix where the scenario has real_fields)",
    )
    parser.add_argument(
        "--pcapng", type=Path, metavar="FILE", help="write all that the radios hear, for Wireshark"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the live testbed; exit code 1 if a beacon was lost or a daemon restarted."""
    options = _parser().parse_args(argv)
    if options.scenario and options.hotspots is not None:
        raise UserError("--hotspots", "a scenario is named too", "give one of both")
    if not 1 <= options.seconds <= 86_400:
        raise UserError("--seconds", f"{options.seconds:g} is out of range", "use 1 to 86400")
    if not 0 <= options.seed < 1 << 64:
        raise UserError("--seed", f"{options.seed} is out of range", "use 0 to 2^64 - 1")
    count = 6 if options.hotspots is None else options.hotspots
    scenario = load_scenario(options.scenario or f"builtin:city:{count}:1")
    note_unused_faults(scenario, "sim live")
    with (
        interruptible(),
        open_capture(options.pcapng) as capture,
        run_folder(options.dir) as folder,
        Testbed(
            scenario, options.seed, options.preset, folder, Options(options.drivers, None, capture)
        ) as testbed,
    ):
        result = run_live(testbed, options.seconds, quiet=options.json)
    if result["beacons_due"] == 0:
        sys.stderr.write("sim live: too short: secrets bind two epochs after registration\n")
    if options.json:
        print_json(result)
    else:
        print("\n".join(f"{name:<20} {value}" for name, value in result.items()))
    return EXIT_OK if is_good(result) else EXIT_FAILED
