"""What poor receivers cost their owners: `python -m bench.loudness --json`.

The attack laboratory's honest town, but a third of all receivers reads `--off-db` too little, a
third as much too much. The same seed is run with the rule of chain/rules/loudness.py and without
it; nobody else differs, so what a group loses the others share.

share_deaf, share_fair, share_hot              of all pay, with the rule
share_deaf_without, ...                        the same without it
deaf_loss                                      what the deaf lose by the rule, of their own pay
cut_share                                      hotspots that are cut in the last epoch

With `--dropping` nobody reads wrong; instead the tenth whose drivers drop 80 % of all frames get
good ones, and everything else stays, over several seeds:

share_dropping, share_good                     of all pay, with their drivers and with good ones
dropping_loss                                  what they lose by their drivers, of their own pay
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chain.io_terminal import Progress, print_json
from chain.rules.verdicts import Judgement
from radio_sim.attacks.figures import sum_pay_ucr
from radio_sim.attacks.presence import HONEST
from radio_sim.attacks.run import World, make_world
from radio_sim.attacks.sites import DROPPING_KEEPS, choose, uniform_column
from radio_sim.attacks.town import Town

GROUPS = ("deaf", "fair", "hot")
GOOD_KEEPS = 0.9  # as a driver that drops nothing keeps, on average (radio_sim/attacks/sites.py)


def get_world(options: argparse.Namespace) -> World:
    """An honest world whose receivers are off by so much, or by nothing."""
    world = make_world(
        HONEST, hotspots=options.hotspots, epochs=options.epochs, share=0.0, seed=options.seed
    )
    part = uniform_column(options.seed, "receiver", options.hotspots)
    off = choose(part, (-options.off_db, 0.0, options.off_db))
    sites = replace(world.sites, heard_offset_db=off)
    return replace(world, placement=replace(world.placement, sites=sites))


def measure(world: World, is_cut: bool, note: Callable[[], None]) -> tuple[list[float], float]:
    """Shares of all pay by group, and the share of hotspots that the last epoch cuts."""
    town, last = Town(world), list[Judgement]()
    if not is_cut:
        state = town.ledger.state
        state.params = replace(state.params, loud_allowed_cdb=0)
    town.on_judgement = lambda judgement: last.__setitem__(slice(None), [judgement])
    pay, off = run_town(town, note), world.sites.heard_offset_db
    shares = [float(pay[side].sum() / pay.sum()) for side in (off < 0, off == 0, off > 0)]
    return shares, len(last[-1].cuts or {}) / town.count


def measure_receivers(options: argparse.Namespace, note: Callable[[], None]) -> dict[str, float]:
    """Shares of all pay by how receivers read, with the rule and without, and what is lost."""
    world = get_world(options)
    without, _ = measure(world, False, note)
    shares, cut = measure(world, True, note)
    found = {f"share_{group}": share for group, share in zip(GROUPS, shares, strict=True)}
    for group, share in zip(GROUPS, without, strict=True):
        found[f"share_{group}_without"] = share
    return {**found, "deaf_loss": 1.0 - float(np.divide(shares[0], without[0])), "cut_share": cut}


def measure_dropping(options: argparse.Namespace, note: Callable[[], None]) -> dict[str, float]:
    """Shares of all pay of those whose drivers drop frames, and what that costs them."""
    shares = np.zeros(2)
    for seed in range(options.seed, options.seed + options.seeds):
        world = make_world(
            HONEST, hotspots=options.hotspots, epochs=options.epochs, share=0.0, seed=seed
        )
        drops = world.sites.keeps <= DROPPING_KEEPS
        good = replace(world.sites, keeps=np.where(drops, GOOD_KEEPS, world.sites.keeps))
        for number, sites in enumerate((world.sites, good)):
            town = Town(replace(world, placement=replace(world.placement, sites=sites)))
            pay = run_town(town, note)
            shares[number] += pay[drops].sum() / pay.sum() / options.seeds
    found = {"share_dropping": float(shares[0]), "share_good": float(shares[1])}
    return {**found, "dropping_loss": 1.0 - float(np.divide(*shares))}


def run_town(town: Town, note: Callable[[], None]) -> NDArray[np.int64]:
    """Pay per hotspot after all epochs of a town."""
    town.join()
    for number in range(town.world.epochs):
        town.run_epoch(number)
        note()
    town.finish()
    return sum_pay_ucr(town.payments, town.count)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=120, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=62, help="(default: %(default)s)")
    parser.add_argument("--off-db", type=float, default=6.0, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument(
        "--dropping", action="store_true", help="what drivers that drop frames cost, instead"
    )
    parser.add_argument(
        "--seeds", type=int, default=4, help="with --dropping: so many (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    if options.hotspots < 30 or options.epochs < 25:
        parser.error("--hotspots: 30 or more, --epochs: 25 or more, or nothing is paid")
    if options.seeds < 1:
        parser.error("--seeds: 1 or more")
    runs = 2 * (options.seeds if options.dropping else 1)
    progress, done = Progress("loudness", runs * options.epochs, quiet=options.json), [0]

    def note() -> None:
        done[0] += 1
        progress.update(done[0])

    found = (measure_dropping if options.dropping else measure_receivers)(options, note)
    progress.close()
    print_json({**{name: round(value, 5) for name, value in found.items()},
                "load_1m": round(os.getloadavg()[0], 2)})  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
