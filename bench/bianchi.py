"""Saturation throughput against Bianchi's published figures: python -m bench.bianchi [CSV] --json.

Rows of the CSV: table (…Eifs or …Difs: how long all wait after a collision), rate, stations, Mb/s.
Each is compared with the closed form (`radio_sim.dcf`) and, for stations 5, 20 and 50 or with
`--all` for all, with stations simulated frame by frame (`radio_sim.slots`); 80 and 160 MHz, which
the CSV lacks, with the closed form. Errors are the largest relative ones. In the rows of HE nobody
sends twice in a row at once: `bianchi_medium_he_error` is that of 802.11's own rule against them,
`bianchi_medium_he_same_rule_error` that of theirs. Without the CSV the errors are null.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Progress, print_json, run_command
from radio_sim import slots
from radio_sim.dcf import Exchange, access_of, compute_saturation, exchange_of
from radio_sim.phy.rates import HE_TRAINING_NS, Rate, dsss_rate, mcs_rate, ofdm_rate

DEFAULT = (
    Path(__file__).parents[1] / "../shared/ground-truth/radio/wifi_per/bianchi_mbps.csv"
)
PAYLOAD_BYTES = 1500
# What the published frames carry besides: MAC header, FCS, LLC.
OVERHEAD_BYTES = {"dsss": 36, "cck": 36, "ofdm": 34, "erp": 34, "he": 38}
CHOSEN_STATIONS = (5, 20, 50)
SIMULATED_KEYS = (
    "medium_ofdm",
    "medium_he",
    "medium_he_same_rule",
    "medium_he_wide",
    "medium_he_wide_same_rule",
)
FRAMES = 60_000  # a run lasts as long as so many
BARS = {"analytic": 0.015, "medium_ofdm": 0.015, "medium_he": 0.035}
_RATE = re.compile(
    r"(?P<dsss>Dsss)Rate(?P<d>[0-9_]+)Mbps|(?P<erp>Erp)?OfdmRate(?P<o>[0-9]+)Mbps"
    r"|HeMcs(?P<mcs>[0-9]+)_(?P<width>[0-9]+)MHz"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One published figure, or one of the closed form's where nothing is published."""

    rate: Rate
    extended: bool
    stations: int
    throughput_bps: float


def rate_of(name: str) -> Rate:
    """Return the rate of a name like OfdmRate6Mbps or HeMcs3_40MHz."""
    found = _RATE.fullmatch(name)
    if found is None:
        raise UserError("rate", f"{name!r} is none", "write it like OfdmRate6Mbps, HeMcs3_40MHz")
    if found["dsss"]:
        return dsss_rate(round(float(found["d"].replace("_", ".")) * 1000))
    if found["mcs"]:
        return he_rate(int(found["mcs"]), int(found["width"]))
    return ofdm_rate(int(found["o"]) * 1000, erp=bool(found["erp"]))


def he_rate(mcs: int, bandwidth_mhz: int) -> Rate:
    """Return an HE rate as published: training of 8 us, no symbol that LDPC may add."""
    training_ns = HE_TRAINING_NS[1600]
    return mcs_rate("he", mcs, bandwidth_mhz, coding="bcc", training_ns=training_ns)


def read_rows(path: Path) -> list[Row]:
    """Read the published figures. UserError for a line that isn't one."""
    try:
        return [
            Row(
                rate_of(line["phyRate_or_key"].strip('"')),
                line["table"].endswith("Eifs"),
                int(line["n_stations"]),
                float(line["throughput_mbps"]) * 1e6,
            )
            for line in csv.DictReader(path.read_text().splitlines())
        ]
    except (KeyError, TypeError, ValueError) as error:
        remedy = "give table, phyRate_or_key, n_stations, throughput_mbps"
        raise UserError("CSV", f"{path} has other columns ({error})", remedy) from error


def exchange(rate: Rate) -> Exchange:
    """Return the published exchange of a rate."""
    return exchange_of(rate, PAYLOAD_BYTES, OVERHEAD_BYTES[rate.family])


@lru_cache(maxsize=4096)
def closed_form_bps(rate: Rate, extended: bool, stations: int) -> float:
    """Throughput by `dcf`; HE without immediate access, as published."""
    return compute_saturation(
        stations,
        access_of(rate),
        exchange(rate),
        extended=extended,
        immediate_access=rate.family != "he",
    ).throughput_bps


def simulated_bps(row: Row, seed: int, frames: int, immediate_access: bool = True) -> float:
    """Throughput of stations that contend, for a time of `frames` frames."""
    found = exchange(row.rate)
    rules = slots.Rules(
        access_of(row.rate), found, row.extended, immediate_access=immediate_access
    )
    seconds = frames * found.data_ns * 1e-9
    return slots.simulate_ring(rules, row.stations, seed, seconds).throughput_bps


def wide_rows() -> list[Row]:
    """HE in 80 and 160 MHz, every MCS, by the closed form."""
    return [
        Row(rate, extended, stations, closed_form_bps(rate, extended, stations))
        for width in (80, 160)
        for rate in (he_rate(mcs, width) for mcs in range(12))
        for extended in (False, True)
        for stations in CHOSEN_STATIONS
    ]


def error_of(found_bps: float, row: Row) -> float:
    """Relative error against a row, without its sign."""
    return abs(found_bps / row.throughput_bps - 1.0)


def simulate_rows(rows: Sequence[Row], seed: int, frames: int, quiet: bool) -> dict[str, float]:
    """Largest errors of the simulated stations, by key."""
    worst: dict[str, float] = {}
    progress = Progress("saturating stations", len(rows), quiet=quiet)
    for done, row in enumerate(rows, 1):
        is_he = row.rate.family == "he"
        wide = "_wide" if row.rate.bandwidth_mhz > 40 else ""
        runs = {f"medium_{'he' if is_he else 'ofdm'}{wide}": True}
        if is_he:
            runs[f"medium_he{wide}_same_rule"] = False
        for key, immediate in runs.items():
            error = error_of(simulated_bps(row, seed, frames, immediate), row)
            worst[key] = max(worst.get(key, 0.0), error)
        progress.update(done)
    progress.close()
    return worst


def compare(path: Path, seed: int, frames: int, every: bool, quiet: bool) -> dict[str, object]:
    """Run the comparison; keys as printed."""
    started = time.perf_counter()
    rows = read_rows(path) if path.exists() else []
    errors = [
        error_of(closed_form_bps(row.rate, row.extended, row.stations), row) for row in rows
    ]
    chosen = [row for row in rows if every or row.stations in CHOSEN_STATIONS]
    worst = simulate_rows([*chosen, *wide_rows()], seed, frames, quiet)
    return {
        "bianchi_rows": len(rows),
        "bianchi_rows_simulated": len(chosen),
        "bianchi_analytic_error": max(errors, default=None),
        **{f"bianchi_{key}_error": worst.get(key) for key in SIMULATED_KEYS},
        "seconds": round(time.perf_counter() - started, 2),
    }


def is_within(result: dict[str, object]) -> bool:
    """Say whether every error that could be measured is within its bar."""
    found = ((result[f"bianchi_{key}_error"], bar) for key, bar in BARS.items())
    return all(not isinstance(error, float) or error <= bar for error, bar in found)


def main(argv: Sequence[str]) -> int:
    """Run the comparison; exit code 1 if an error is above its bar."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bianchi",
        description="Compare saturation throughput with Bianchi's published figures.",
        epilog="example: python -m bench.bianchi --json",
    )
    parser.add_argument("csv", type=Path, nargs="?", default=DEFAULT, help="published figures")
    parser.add_argument("--all", action="store_true", help="simulate all rows, not 5, 20, 50")
    parser.add_argument("--seed", type=int, default=1, help="of the stations' draws")
    parser.add_argument("--frames", type=int, default=FRAMES, help="length of a run, in frames")
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    options = parser.parse_args(argv)
    if options.frames < 1:
        raise UserError("--frames", f"{options.frames} frames measure nothing", "use 1000 or more")
    result = compare(options.csv, options.seed, options.frames, options.all, options.json)
    if options.json:
        print_json(result)
    else:
        for name, value in result.items():
            is_error = isinstance(value, float) and name.endswith("error")
            print(f"{name:<40} {f'{value:.2%}' if is_error else value!s:>10}")
    return EXIT_OK if is_within(result) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
