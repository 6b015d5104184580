"""The live medium under load: `python -m bench.live --daemons 50 --hz 10 --json` (root).

Radios stand in a ring in which each hears its `--degree` nearest; every one is a TAP device in a
namespace of its own. Two kinds of programs send on them:

    daemons     `wavecomb hotspot run` as shipped, with a ledger, on a network whose epochs hold
                10 x `--hz` beacons of each hotspot (a preset of this bench: `bench/live_preset.py`)
    injectors   light processes that open the hotspot's own radio door and note the kernel's stamps

Frames are accounted for: injected = refused + dropped + finished, and each that left the air has
one fate at each receiver in reach; `unaccounted` counts what is missing, anywhere between the
sender's `send` and the receiver's `receive`, and must be 0.

    medium_delay   from a frame's end on the air to its last byte in the receiver's device, by the
                   medium's own monotonic stamps
    added          (injectors) from the sender's stamp before `send` to the receiver's kernel stamp,
                   less what the physics took (driver latency, carrier sensing, airtime)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench.live_injector import HEARD, SENT
from bench.live_preset import NAME, SEQUENCES_MAX, add_preset
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, print_json, run_command
from radio_sim.city import make_city
from radio_sim.io_memory import without_collector
from radio_sim.io_processes import die_with_parent
from radio_sim.links import Links
from radio_sim.live import io_tap
from radio_sim.live.account import Delays
from radio_sim.live.drivers import driver_names, drivers_of
from radio_sim.live.io_air import LiveAir, prompt_scheduling
from radio_sim.live.io_live import interruptible, run_folder, run_live
from radio_sim.live.io_testbed import Options, Testbed
from radio_sim.medium import Medium, Transmission

NEAREST_DBM, STEP_DB = -50.0, 6.0  # level of the next radio, and what each further one loses
START_IN_S, DRAIN_S = 1.0, 3.0
LONGEST_WAIT_S = 0.05
EPOCH_S = 10  # of the preset `rapid`
IGNORED = ("too_late", "other_epoch", "unknown_key", "repeat", "bad_sequence", "bad_signature")
EXAMPLES = """
  python -m bench.live --daemons 50 --hz 10 --seconds 30 --json
  python -m bench.live --daemons 400 --hz 1 --kind injectors --json
"""


def ring_links(count: int, degree: int, frequency_mhz: int = 2437) -> Links:
    """A ring in which each radio hears its `degree` nearest, the nearer the louder."""
    reach = min(degree // 2, (count - 1) // 2)
    rows = []
    for node in range(count):
        row = {(node + side * k) % count: NEAREST_DBM - STEP_DB * (k - 1)
               for k in range(1, reach + 1) for side in (1, -1)}  # fmt: skip
        rows.append(sorted(row.items()))
    return Links(
        starts=np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
        neighbours=np.array([node for row in rows for node, _ in row], np.int64),
        rssi_dbm=np.array([level for row in rows for _, level in row], np.float64),
        frequency_mhz=np.full(count, frequency_mhz, np.int64),
    )


class MeasuredAir(LiveAir):
    """Also keeps when each frame was read and when it ended, by sender and number."""

    def __init__(self, *arguments: Any, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.carried: dict[tuple[int, int], tuple[int, Transmission]] = {}

    def on_queued(self, sent: Transmission, now_ns: int) -> None:
        """Keep when the frame came; `end_ns` stands in it once it has been on the air."""
        node, sequence = sent.sender, int.from_bytes(sent.body[73:77], "big")
        self.carried[node, sequence] = (now_ns, sent)

    def physics_ns(self, node: int, sequence: int) -> int:
        """Time that the air took for a frame, waiting for it included."""
        came_ns, sent = self.carried[node, sequence]
        return sent.end_ns - came_ns


@contextlib.contextmanager
def radios(count: int, quiet: bool) -> Iterator[list[io_tap.Tap]]:
    """So many radio devices, each in a namespace of its own, removed at the end."""
    io_tap.check_permission()
    io_tap.cleanup()
    progress = Progress("making radios", count, quiet=quiet)
    with contextlib.ExitStack() as stack:
        taps = []
        for node in range(count):
            name = io_tap.radio_name(node)
            stack.callback(io_tap.remove_namespace, name)
            taps.append(io_tap.open_radio_tap(name))
            stack.callback(taps[-1].close)
            progress.update(node + 1)
        progress.close()
        yield taps


class Injectors:
    """Light radio processes, one in each namespace."""

    def __init__(self, taps: Sequence[io_tap.Tap], hz: float, seconds: float, folder: Path) -> None:
        self.files = [folder / f"{node}.bin" for node in range(len(taps))]
        self._processes: list[subprocess.Popen[str]] = []
        for node, tap in enumerate(taps):
            numbers = (str(node), f"{hz:g}", f"{seconds:g}", str(self.files[node]))
            command = [sys.executable, "-m", "bench.live_injector", tap.interface, *numbers]
            with io_tap.inside(tap.interface):
                pipe = subprocess.PIPE
                self._processes.append(
                    subprocess.Popen(
                        command, stdin=pipe, stdout=pipe, text=True, preexec_fn=die_with_parent
                    )
                )

    def start(self) -> None:
        """Let all begin at one time, once all have opened their radio."""
        for process in self._processes:
            if _stream(process.stdout).readline() != "ready\n":
                raise UserError("bench.live", "an injector did not start", "see its error above")
        start_ns = time.time_ns() + round(START_IN_S * 1e9)
        for process in self._processes:
            _stream(process.stdin).write(f"{start_ns}\n")
            _stream(process.stdin).flush()

    def running(self) -> bool:
        """Whether any still runs."""
        return any(process.poll() is None for process in self._processes)

    def results(self) -> list[dict[str, int]]:
        """What each one says at its end."""
        return [json.loads(_stream(process.stdout).read()) for process in self._processes]

    def stop(self) -> None:
        """End those that still run."""
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                _stream(stream).close()


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ValueError("the process has no such pipe")
    return stream


def carry(air: LiveAir, running: Any, seconds: float, quiet: bool) -> dict[str, Any]:
    """Step the air until the senders are done and the air is empty; its CPU and priority."""
    progress = Progress("on the air", round(seconds), quiet=quiet)
    started, cpu = time.monotonic(), time.process_time()
    with without_collector(), prompt_scheduling() as prompt:
        checked = 0.0
        while True:
            air.step(LONGEST_WAIT_S)
            now = time.monotonic()
            if now >= checked:
                checked = now + 0.5
                progress.update(min(round(seconds), int(now - started)))
                if not running() and not air.busy:
                    break
    progress.close()
    took = time.monotonic() - started
    share = round((time.process_time() - cpu) / took, 3)
    return {"took_s": round(took, 1), "medium_cpu_share": share, "prompt_scheduling": prompt}


def added_delays(
    air: MeasuredAir, files: Sequence[Path], said: Sequence[dict[str, int]]
) -> tuple[dict[str, Delays], Counter[str]]:
    """Delays beyond the physics by kernel and by process, and what arrived."""
    sent_ns: dict[tuple[int, int], int] = {}
    heard: list[tuple[int, int, int, int, int]] = []
    for node, (path, result) in enumerate(zip(files, said, strict=True)):
        data = path.read_bytes()
        cut = result["sent"] * SENT.size
        for sequence, at_ns in SENT.iter_unpack(data[:cut]):
            sent_ns[node, sequence] = at_ns
        heard += [(node, *row) for row in HEARD.iter_unpack(data[cut:])]
    delays = {"kernel": Delays(), "process": Delays()}
    counts = Counter(heard=len(heard), twice=len(heard) - len({row[:3] for row in heard}))
    for _, sender, sequence, kernel_ns, process_ns in heard:
        due_ns = sent_ns[sender, sequence] + air.physics_ns(sender, sequence)
        delays["kernel"].add_ns(kernel_ns - due_ns)
        delays["process"].add_ns(process_ns - due_ns)
    return delays, counts


def run_injectors(options: argparse.Namespace) -> dict[str, Any]:
    """Measure with light injectors."""
    count, quiet = options.daemons, options.json
    medium = Medium(ring_links(count, options.degree), options.seed)
    drivers = drivers_of(options.drivers, count, options.seed)
    with (
        tempfile.TemporaryDirectory(prefix="wavecomb-bench-") as folder,
        radios(count, quiet) as taps,
        contextlib.closing(MeasuredAir(taps, medium, drivers=drivers, seed=options.seed)) as air,
    ):
        senders = Injectors(taps, options.hz, options.seconds, Path(folder))
        try:
            senders.start()
            result = carry(air, senders.running, options.seconds + DRAIN_S, quiet)
            said = senders.results()
            delays, counts = added_delays(air, senders.files, said)
        finally:
            senders.stop()
        totals: Counter[str] = Counter()
        for one in said:
            totals.update(one)
        account = air.account
        refused = sum(io_tap.refused_by_device(tap.interface) for tap in taps)
        missing = totals["sent"] - totals["send_failed"] - refused - account.frames["injected"]
        lost = account.written - counts["heard"]
        return result | {
            "added": delays["kernel"].as_json(),
            "added_until_the_process_had_it": delays["process"].as_json(),
            "senders_late_max_us": max(one["late_us"] for one in said),
            "sent": totals["sent"],
            "send_failed": totals["send_failed"],
            "refused_by_device": refused,
            "heard": counts["heard"],
            "dropped_by_kernel": totals["dropped"],
            "unaccounted": abs(missing) + abs(lost) + counts["twice"] + account.device_full,
            **report_of(air),
        }


def run_daemons(options: argparse.Namespace) -> dict[str, Any]:
    """Measure with shipping daemons and a ledger; beacons due, sent, expected and heard."""
    beacons = min(SEQUENCES_MAX, round(EPOCH_S * options.hz))
    add_preset(beacons)
    links = ring_links(options.daemons, options.degree)
    program = (sys.executable, "-m", "bench.live_preset", str(beacons))
    chosen = Options(drivers=options.drivers, links=links, program=program)
    city = make_city(options.daemons, options.seed)
    with interruptible(), run_folder(None) as folder:
        with Testbed(city, options.seed, NAME, folder, chosen) as testbed:
            result: dict[str, Any] = run_live(testbed, options.seconds, quiet=options.json)
        ignored = ignored_by(folder)
    # A beacon that reaches a receiver after it has closed its report is counted there as too late:
    # of an epoch's last slot (`missing_last`) it may, of another only if the medium was late. What
    # no receiver has counted has no excuse.
    late = min(result["heard_expected"] - result["heard"], ignored["too_late"])
    lost = result["beacons_due"] - result["beacons_sent"] + result["frames_undelivered"]
    lost += result["heard_expected"] - result["heard"] - late
    result |= {"too_late": late, "ignored": dict(sorted(ignored.items()))}
    return result | {"unaccounted": lost}


def ignored_by(folder: Path) -> Counter[str]:
    """Frames that the daemons heard and didn't keep, by reason: what they wrote at their end."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("hotspot-*/status.json")):
        counts.update(json.loads(path.read_text())["counts"])
    return Counter({name: counts[name] for name in IGNORED if counts[name]})


def report_of(air: LiveAir) -> dict[str, Any]:
    """The account of a run and the medium's own delays."""
    return {
        "account": air.account.as_json(),
        "imbalances": air.imbalances(),
        "medium_delay": air.delays.as_json(),
        "loop_lateness": air.lateness.as_json(),
    }


def main(argv: Sequence[str]) -> int:
    """Measure and print; exit code 1 where a frame is unaccounted for."""
    parser = Parser(prog="python -m bench.live", description=__doc__, examples=EXAMPLES)
    parser.add_argument("--daemons", type=int, default=50, help="radios (default: 50)")
    parser.add_argument(
        "--kind", choices=("daemons", "injectors"), default="daemons", help="programs (daemons)"
    )
    parser.add_argument("--hz", type=float, default=10.0, help="frames of each a second (10)")
    parser.add_argument("--degree", type=int, default=10, help="radios that hear each (10)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length (default: 30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drivers", default="lab", choices=driver_names())
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    if not 2 <= options.daemons <= 2000 or not 0.1 <= options.hz <= 100:
        raise UserError("--daemons, --hz", "out of range", "use 2 to 2000, and 0.1 to 100")
    head = {name: getattr(options, name) for name in ("kind", "daemons", "hz", "degree", "seed")}
    result = head | (run_daemons if options.kind == "daemons" else run_injectors)(options)
    if options.json:
        print_json(result)
    else:
        print(json.dumps(result, indent=2))
    return EXIT_OK if not result["unaccounted"] and not result["imbalances"] else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
