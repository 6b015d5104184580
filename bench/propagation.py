"""Links and cells per second of propagation models: `python -m bench.propagation --json`.

CPU time of one core (NUMBA_NUM_THREADS=1), the best of several rounds; compilation comes before the
clock and is given apart as `compile_s`. Peers run in the same process on the same links: ITM's is
itmlogic (`pip install itmlogic`; null without it), that of the statistical models is NumPy. Links
that both compute are compared, so that nobody is fast and wrong: `itm_peer_difference_db`.
"""

from __future__ import annotations

import os

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import importlib.util
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import propagation_terrain
from chain.io_terminal import Progress, print_json
from coverage_map.propagation import itm, pathloss, shadow_field, statistical
from coverage_map.propagation.link_budget import noise_floor_dbm

ROUNDS = 9
POINTS, SPACING_M = 100, 90.0
ITM_LINKS, ITM_PEER_LINKS = 20_000, 200
STATISTICAL_LINKS = 1 << 20
TX_M, RX_M = 15.0, 3.0
SIGMA_DB, EIRP_DBM, FREQUENCY_HZ = 7.82, 20.0, 2.4e9


def per_second(run: Callable[[], object], count: int, rounds: int = ROUNDS) -> float:
    """Items per second of CPU time, the best of some rounds: what an undisturbed core can do."""
    best = math.inf
    for _ in range(rounds):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return count / best


def first_s(run: Callable[[], object]) -> float:
    """Seconds of a first call: compilation, or loading what an earlier run compiled."""
    started = time.perf_counter()
    run()
    return round(time.perf_counter() - started, 2)


def hills(links: int, points: int) -> np.ndarray:
    """Profiles [links, points] in metres: random walks around 300 m, 5 m a step."""
    walks = np.random.default_rng(1).normal(size=(links, points)).cumsum(1)
    return np.ascontiguousarray(300.0 + 5.0 * walks)


def itmlogic_loss_db(profile: list[float], radio: itm.Settings) -> float:
    """One link by the peer: version 1.2.2 of the model in plain Python."""
    from itmlogic.preparatory_subroutines.qlrpfl import qlrpfl
    from itmlogic.preparatory_subroutines.qlrps import qlrps
    from itmlogic.statistics.avar import avar

    last = len(profile) - 1
    tenth = int(0.1 * last)
    inner = profile[tenth : last - tenth + 1]
    prop: dict[str, Any] = {"fmhz": radio.frequency_mhz, "hg": [TX_M, RX_M], "lvar": 5, "kwx": 0}
    prop |= {"klimx": radio.climate, "mdvarx": radio.mode_of_variability, "mdp": -1, "klim": 0}
    prop["pfl"] = [last, SPACING_M, *profile]
    prop["wn"], prop["gme"], prop["ens"], prop["zgnd"] = qlrps(
        radio.frequency_mhz,
        sum(inner) / len(inner),
        radio.refractivity,
        radio.polarization,
        radio.permittivity,
        radio.conductivity_s_m,
    )
    prop = qlrpfl(prop)
    extra, _ = avar(0.0, 0.0, 0.0, prop)
    km = prop["dist"] / 1000.0
    return 32.45 + 20.0 * math.log10(radio.frequency_mhz * km) + float(extra)


def measure_itm() -> dict[str, Any]:
    """Point-to-point links per second over 100-point profiles, and the peer's."""
    profiles = hills(ITM_LINKS, POINTS)
    radio = itm.Settings(868.0)

    def run(links: int = ITM_LINKS) -> itm.Predictions:
        return itm.many_point_to_point(profiles[:links], SPACING_M, TX_M, RX_M, radio)

    value: dict[str, Any] = {"itm_compile_s": first_s(lambda: run(10))}
    value["itm_links_per_s"] = round(per_second(run, ITM_LINKS))
    long = hills(ITM_LINKS // 10, 10 * POINTS)
    value["itm_links_per_s_1000_points"] = round(
        per_second(
            lambda: itm.many_point_to_point(long, SPACING_M, TX_M, RX_M, radio), len(long)
        )
    )
    value["itm_links_per_s_peer"] = value["itm_peer_difference_db"] = None
    if importlib.util.find_spec("itmlogic") is not None:
        value |= measure_itmlogic(profiles[:ITM_PEER_LINKS], run(ITM_PEER_LINKS).loss_db, radio)
    return value


def measure_itmlogic(
    profiles: np.ndarray, losses_db: np.ndarray, radio: itm.Settings
) -> dict[str, Any]:
    """The peer on the same links: speed, and the median of how far apart the losses are."""
    lists = profiles.tolist()
    theirs = [itmlogic_loss_db(profile, radio) for profile in lists]
    apart = np.abs(np.array(theirs) - losses_db)
    rate = per_second(lambda: [itmlogic_loss_db(x, radio) for x in lists], len(lists), 3)
    return {
        "itm_links_per_s_peer": round(rate),
        "itm_peer_difference_db": round(float(np.median(apart)), 4),
    }


def measure_statistical() -> dict[str, Any]:
    """Position to SNR through UMi without line of sight and a shadow field; NumPy beside it."""
    x, y = np.random.default_rng(2).uniform(-1000.0, 1000.0, (2, STATISTICAL_LINKS))
    field = shadow_field.scenario_field(7, "umi_nlos")
    law = statistical.law_of("umi_nlos", FREQUENCY_HZ)
    out = np.empty(STATISTICAL_LINKS)

    def ours() -> np.ndarray:
        return statistical.snr_db((3.0, 4.0), x, y, law, field, SIGMA_DB, EIRP_DBM, out=out)

    def numpys() -> np.ndarray:
        loss = pathloss.umi_nlos_db(np.hypot(x - 3.0, y - 4.0), FREQUENCY_HZ)
        return EIRP_DBM - loss - SIGMA_DB * field.at(x, y) - noise_floor_dbm()

    value: dict[str, Any] = {"statistical_compile_s": first_s(ours)}
    value["statistical_links_per_s"] = round(per_second(ours, STATISTICAL_LINKS))
    value["statistical_links_per_s_peer"] = round(per_second(numpys, STATISTICAL_LINKS, 3))
    value["statistical_peer_difference_db"] = float(np.abs(ours() - numpys()).max())
    return value


MEASURES: dict[str, Callable[[], dict[str, Any]]] = {
    "itm": measure_itm,
    "statistical": measure_statistical,
    "p1812": propagation_terrain.p1812_links,
    "sweep": propagation_terrain.sweep_cells,
    "area": propagation_terrain.area_cells,
    "splat": propagation_terrain.splat_peer,
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=sorted(MEASURES), action="append", help="measure only this (repeatable)"
    )
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    chosen = options.only or list(MEASURES)
    progress = Progress("propagation", len(chosen), quiet=options.json)
    value: dict[str, Any] = {"load_1m": round(os.getloadavg()[0], 2)}
    for done, name in enumerate(chosen, 1):
        value |= MEASURES[name]()
        progress.update(done)
    progress.close()
    print_json(value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
