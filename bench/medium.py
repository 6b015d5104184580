"""The medium's speed, beside ns-3 in the same run, and its Bianchi errors: python -m bench.medium.

400 radios in a square kilometre broadcast 200 bytes ten times a second at 6 Mb/s (802.11a, 16 dBm,
log-distance loss with exponent 3), with interference, CSMA and capture, on one core; time is
processor time. ns-3 gets the same places and phases, compiled from ns3_broadcast.cc where its
headers are installed (Debian: libns3-dev); otherwise its keys are null and `ns3_reason` says why.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import bianchi
from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Progress, print_json, run_command
from radio_sim.dcf import access_of
from radio_sim.draws import draw_u64, draws_u64, uniforms
from radio_sim.links import Floats, Links
from radio_sim.medium.batch import BatchResult, broadcasts, run_batch
from radio_sim.medium.config import FrameKind, MediumConfig, kind_of
from radio_sim.medium.saturation import simulate_saturation
from radio_sim.phy.rates import ofdm_rate

SOURCE = Path(__file__).with_name("ns3_broadcast.cc")
LIBRARIES = ("wifi", "propagation", "mobility", "network", "core")
SIDE_M = 1000.0
PERIOD_S = 0.1
PAYLOAD_BYTES = 200
FRAME_BYTES = PAYLOAD_BYTES + 36  # MAC header, LLC, FCS
TX_DBM, LOSS_1M_DB, EXPONENT = 16.0206, 46.6777, 3.0
FLOOR_DBM = -104.0  # 10 dB below the noise: what several interferers may add up to
OFDM_CONFIG = MediumConfig(
    sense_dbm=-82.0, slot_us=9, sifs_us=16, cca_us=4, window=15, ack_us=44
)
SATURATED_FRAMES = 20_000


def places(radios: int, seed: int) -> tuple[Floats, Floats]:
    """Positions [n, 2] in metres, and each one's phase as a share of the period."""
    words = draws_u64(draw_u64(seed, "bench-medium"), np.arange(3 * radios, dtype=np.uint64))
    drawn = uniforms(words).reshape(3, radios)
    return np.asarray(SIDE_M * drawn[:2].T, np.float64), drawn[2]


def links_of(positions_m: Floats) -> Links:
    """Every pair above FLOOR_DBM, by log-distance loss."""
    delta = positions_m[:, None] - positions_m[None]
    distance_m = np.maximum(np.hypot(delta[..., 0], delta[..., 1]), 1.0)
    level_dbm = TX_DBM - LOSS_1M_DB - 10.0 * EXPONENT * np.log10(distance_m)
    np.fill_diagonal(level_dbm, -np.inf)
    sender, receiver = np.nonzero(level_dbm >= FLOOR_DBM)
    counts = np.bincount(sender, minlength=len(positions_m))
    return Links(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        receiver.astype(np.int64),
        level_dbm[sender, receiver],
        np.full(len(positions_m), 5180, np.int64),
    )


def run_ours(
    radios: int, seconds: float, seed: int, config: MediumConfig, kind: FrameKind
) -> tuple[BatchResult, float]:
    """One run of the compiled medium, and the processor seconds it took."""
    positions_m, phases = places(radios, seed)
    rounds = round(seconds / PERIOD_S)
    ready = (phases[:, None] + np.arange(rounds)) * PERIOD_S * 1e9
    senders = np.repeat(np.arange(radios), rounds)
    schedule = broadcasts(ready.astype(np.int64).ravel(), senders)
    links = links_of(positions_m)
    begin = time.process_time()
    result = run_batch(links, seed, config, [kind], schedule)
    return result, time.process_time() - begin


def run_ns3(radios: int, seconds: float, seed: int) -> dict[str, float] | str:
    """The same in ns-3: its figures, or why there are none."""
    compiler = shutil.which("g++")
    if compiler is None:
        return "no g++"
    positions_m, phases = places(radios, seed)
    lines = [
        f"{x:.6f} {y:.6f} {phase * PERIOD_S:.9f}"
        for (x, y), phase in zip(positions_m.tolist(), phases.tolist(), strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ns3_broadcast"
        flags = [f"-lns3-{name}" for name in LIBRARIES]
        build = [compiler, "-O2", "-std=c++17", str(SOURCE), "-o", str(program), *flags]
        built = subprocess.run(build, capture_output=True, text=True)
        if built.returncode:
            return "ns-3 doesn't compile: " + built.stderr.strip().splitlines()[0]
        run = [str(program), str(PERIOD_S), str(seconds), str(PAYLOAD_BYTES)]
        done = subprocess.run(run, input="\n".join(lines), capture_output=True, text=True)
    if done.returncode:
        return f"ns-3 ended with {done.returncode}"
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def speed(radios: int, seconds: float, seed: int, repeats: int) -> dict[str, object]:
    """Best of several runs, and ns-3's once; then both with the same receivers, for the counts."""
    kind = kind_of(ofdm_rate(6_000), FRAME_BYTES)
    run_ours(radios, 0.2, seed, OFDM_CONFIG, kind)  # compiles
    runs = [run_ours(radios, seconds, seed, OFDM_CONFIG, kind) for _ in range(repeats)]
    result = runs[0][0]
    found = run_ns3(radios, 2.0, seed)
    peer = found if isinstance(found, dict) else {}
    # ns-3's receivers: a preamble at 4 dB, no capture.
    alike = replace(OFDM_CONFIG, preamble_capture_db=np.inf, late_capture_db=np.inf)
    same, _ = run_ours(radios, 2.0, seed, alike, replace(kind, least_snr_db=4.0))
    return {
        f"broadcasts_per_s_{radios}": round(result.sent / min(took for _, took in runs)),
        f"ns3_broadcasts_per_s_{radios}": _ratio(peer.get("sent"), peer.get("cpu_s")),
        "ns3_reason": None if peer else found,
        "links_per_radio": round(len(links_of(places(radios, seed)[0]).neighbours) / radios, 1),
        "heard_per_broadcast": round(result.heard / result.sent, 3),
        "heard_per_broadcast_like_ns3": round(same.heard / same.sent, 3),
        "ns3_heard_per_broadcast": _ratio(peer.get("received"), peer.get("sent"), 3),
    }


def _ratio(above: float | None, below: float | None, digits: int = 0) -> float | None:
    return round(above / below, digits) if above is not None and below else None


def saturation(path: Path, quiet: bool) -> dict[str, object]:
    """Errors of this medium, saturated, against the published rows of up to 30 stations."""
    rows = bianchi.read_rows(path) if path.exists() else []
    chosen = [row for row in rows if row.stations in (5, 15, 30)]
    worst: dict[str, float] = {}
    progress = Progress("saturating the medium", len(chosen), quiet=quiet)
    for done, row in enumerate(chosen, 1):
        exchange = bianchi.exchange(row.rate)
        seconds = SATURATED_FRAMES * exchange.data_ns * 1e-9
        access = access_of(row.rate)
        found = simulate_saturation(
            row.rate, access, exchange, row.stations, seconds, extended=row.extended
        )
        key = "he" if row.rate.family == "he" else "ofdm"
        worst[key] = max(worst.get(key, 0.0), bianchi.error_of(found, row))
        progress.update(done)
    progress.close()
    errors = [
        bianchi.error_of(bianchi.closed_form_bps(row.rate, row.extended, row.stations), row)
        for row in rows
    ]
    return {
        "bianchi_analytic_error": max(errors, default=None),
        "bianchi_medium_ofdm_error": worst.get("ofdm"),
        "bianchi_medium_he_error": worst.get("he"),
    }


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.medium",
        description=__doc__,
        epilog="example: python -m bench.medium --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--radios", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated, of our runs")
    parser.add_argument("--repeats", type=int, default=3, help="our best of so many counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--csv", type=Path, default=bianchi.DEFAULT, help="Bianchi's figures")
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    options = parser.parse_args(argv)
    if options.radios < 2 or options.repeats < 1 or options.seconds <= 0:
        raise UserError("--radios", "too few to measure", "use 2 radios, 1 repeat, 1 s or more")
    result = speed(options.radios, options.seconds, options.seed, options.repeats)
    result |= saturation(options.csv, options.json)
    if options.json:
        print_json(result)
    else:
        for name, value in result.items():
            print(f"{name:<32} {value}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
