"""Settle a day of a million hotspots on one core: `python -m bench.settlement --json`.

The network is drawn: res-8 cells on a plane of hexagons, most with a hotspot or two, cities with
more; hotspots within two cells hear each other; a third of the cells have payers, some a bounty,
some were mapped. What is timed is what a ledger runs: `process_settlement` (trust, then pay) and
`process_settled` (the balance tree). Nothing is written to a disk.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.io_terminal import Progress, print_json
from chain.params import CREDIT_UCR
from chain.records import Genesis, Registration
from chain.rules import rewards
from chain.rules.outcome import Effects
from chain.rules.settled import process_settled
from chain.state import (
    Assertion,
    BountyCell,
    Chain,
    Hotspot,
    Mapping,
    State,
    get_genesis_state,
    is_conserved,
)

Whole = NDArray[np.int64]
PARTS = ("trust_s", "work_s", "pay_s", "split_s", "rest_s", "tree_s")
BASE_CELL = 20
NEAR = ((0, 0), (1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))
FAR = (
    *((2, 0), (1, 1), (0, 2), (-1, 2), (-2, 2), (-2, 1)),
    *((-2, 0), (-1, -1), (0, -2), (1, -2), (2, -2), (2, -1)),
)
FAR_HEARD = 0.35  # of the hotspots two cells away


def draw(seed: int, *parts: Whole) -> NDArray[np.float64]:
    """Numbers from 0 to 1 by counters: the same on every machine (splitmix64)."""
    mixed = np.full(np.broadcast(*parts).shape, seed, np.uint64)
    for part in parts:
        mixed = mixed + part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def cell_of(number: int, resolution: int = 8) -> int:
    """The number-th H3 cell of a resolution in one base cell; places on our plane, not on earth."""
    digits = 0
    for level in range(resolution):
        digits |= number // 7**level % 7 << 3 * (15 - resolution + level)
    unused = (1 << 3 * (15 - resolution)) - 1
    return 1 << 59 | resolution << 52 | BASE_CELL << 45 | digits | unused


def place_hotspots(hotspots: int, seed: int) -> tuple[Whole, int]:
    """The place (row * side + column) of every hotspot, and the side of the plane in cells."""
    side = int((hotspots * 1.25) ** 0.5)
    numbers = np.arange(hotspots)
    place = (draw(seed, numbers, numbers * 0) * side * side).astype(np.int64)
    city = draw(seed, numbers, numbers * 0 + 1) < 0.08  # one in twelve stands in a town centre
    place[city] -= place[city] % 9
    return place, side


def find_links(place: Whole, side: int, seed: int) -> tuple[Whole, Whole]:
    """Pairs of hotspots, lower index first, that hear each other."""
    order = np.argsort(place, kind="stable")
    sorted_places = place[order]
    lows, highs = [], []
    for steps, chance in ((NEAR, 1.0), (FAR, FAR_HEARD)):
        for down, right in steps:
            wanted = place + down * side + right
            first = np.searchsorted(sorted_places, wanted, "left")
            count = np.searchsorted(sorted_places, wanted, "right") - first
            one = np.repeat(np.arange(len(place)), count)
            within = np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
            other = order[np.repeat(first, count) + within]
            kept = (one < other) & (draw(seed + 1, one, other) < chance)
            lows.append(one[kept])
            highs.append(other[kept])
    low, high = np.concatenate(lows), np.concatenate(highs)
    unique = np.unique(low << 32 | high)
    return unique >> 32, unique & 0xFFFFFFFF


def make_hotspots(state: State, cells: list[int]) -> None:
    """Registered hotspots; every tenth owner has two."""
    for index, cell in enumerate(cells):
        key = sha256(b"hotspot%d" % index).digest()
        owner = sha256(b"owner%d" % (index - (index % 10 == 9))).digest()
        registration = Registration(
            *(key, owner, cell, 45_000_000, 7_000_000, 10, 300, 2_000, 2_437, 1, 2, 1 << 20),
            key[:8],
        )
        chain = Chain(2, 1 << 20, key[:8], 2, key)
        hotspot = Hotspot(index, key, [Assertion(index, registration, 2, chain)])
        hotspot.bond_ucr = 10 * CREDIT_UCR
        state.supply.deposited += hotspot.bond_ucr
        state.hotspots.append(hotspot)
        state.index_of[key] = index
        state.account(owner)


def make_state(hotspots: int, seed: int, note: Callable[[str], None]) -> State:
    """A network of preset mainnet at the end of a day; one hotspot in a hundred is a seed."""
    seeds = tuple(sha256(b"hotspot%d" % i).digest() for i in range(0, hotspots, 100))
    genesis = Genesis("bench", "mainnet", 0, (bytes(32),), 1, seeds)
    state = get_genesis_state(genesis, bytes(32))
    state.epoch = state.params.settlement_epochs
    place, side = place_hotspots(hotspots, seed)
    low, high = find_links(place, side, seed)
    note("links")
    names = {int(p): cell_of(int(p)) for p in np.unique(place)}
    cells = [names[p] for p in place.tolist()]
    make_hotspots(state, cells)
    note("hotspots")
    epochs = (1 + draw(seed + 2, low, high) * 144).astype(np.int64)
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    state.links = dict(zip(pairs, epochs.tolist(), strict=True))
    add_work(state, cells, pairs, seed)
    note("receptions")
    add_money(state, sorted(names.values()), seed)
    return state


def add_work(state: State, cells: list[int], pairs: list[tuple[int, int]], seed: int) -> None:
    """Quality and measurements: each end of a link is heard in the cell of the other."""
    quality, measured = state.quality, state.measured
    drawn = draw(seed + 3, np.arange(len(pairs)), np.zeros(1, np.int64))
    values = 16 * (1 + drawn * 2300).astype(np.int64)
    for (low, high), value in zip(pairs, values.tolist(), strict=True):
        for witness, beaconer in ((low, high), (high, low)):
            place = (cells[witness], beaconer)
            quality[place] = quality.get(place, 0) + value
            measured[cells[witness], witness] = measured.get((cells[witness], witness), 0) + 60


def add_money(state: State, cells: list[int], seed: int) -> None:
    """Pools in a third of the cells, a bounty in one of fifty, a mapping in one of thirty."""
    amounts = (draw(seed + 4, np.arange(len(cells)), np.zeros(1, np.int64)) * 1e8).astype(np.int64)
    for number, (cell, amount) in enumerate(zip(cells, amounts.tolist(), strict=True)):
        owner = state.hotspots[number % len(state.hotspots)].owner
        if number % 3 == 0:
            state.pools[cell, owner] = amount
            state.supply.deposited += amount
        if number % 50 == 0:
            state.bounties[cell, number] = BountyCell(owner, amount + 1, amount // 9 + 1, 10_000)
            state.supply.deposited += amount + 1
        if number % 30 == 0:
            heard = sorted(h for c, h in [(cell, state.hotspots[number % 7].index)] if c)
            part = cell & ~(0xF << 52) & ~(7 << 18) | 9 << 52
            key = sha256(b"mapper%d" % number).digest()
            state.mappings[part, 1, key] = Mapping(b"".join(h.to_bytes(4, "big") for h in heard))


class Watch:
    """Seconds by part; a part ends where the next begins."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds[part] += time.process_time() - started

        return timed


def measure(state: State) -> dict[str, Any]:
    """Settle, by parts in CPU seconds, and check that no credit came or went."""
    watch, effects = Watch(), Effects()
    for name, part in (
        ("process_trust", "trust_s"),
        ("get_payday", "work_s"),
        ("process_pools", "pay_s"),
        ("process_bounties", "pay_s"),
        ("process_bootstrap", "pay_s"),
        ("process_payday", "split_s"),
    ):
        setattr(rewards, name, watch.wrap(part, getattr(rewards, name)))
    wall, cpu = time.perf_counter(), time.process_time()
    rewards.process_settlement(state, effects)
    settled = time.process_time() - cpu
    watch.seconds["rest_s"] = settled - sum(watch.seconds.values())
    watch.wrap("tree_s", process_settled)(state, effects)
    total, wall = time.process_time() - cpu, time.perf_counter() - wall
    if not is_conserved(state):
        raise RuntimeError("the settlement made or lost credits")
    parts = {name: round(seconds, 2) for name, seconds in watch.seconds.items()}
    rewards_s = sum(watch.seconds[part] for part in ("work_s", "pay_s", "split_s", "rest_s"))
    return {
        "epoch_close_1m_s": round(total, 2),
        "wall_s": round(wall, 2),
        **parts,
        "rewards_s": round(rewards_s, 2),
        "payments": len(effects.payments),
        "paid_credits": sum(p.amount_ucr for p in effects.payments) // CREDIT_UCR,
    }


def resident_mib() -> int:
    """Memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def main() -> int:
    """Draw, settle and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=1_000_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    progress, steps = Progress("settlement", 5, quiet=options.json), iter(range(1, 5))
    gc.disable()  # millions of rows, no cycles among them
    state = make_state(
        options.hotspots, options.seed, lambda text: progress.update(next(steps), text)
    )
    rows = {
        "hotspots": len(state.hotspots),
        "links": len(state.links),
        "cells": len({cell for cell, _ in state.quality}),
        "quality_rows": len(state.quality),
        "pools": len(state.pools),
    }
    before = resident_mib()
    result = measure(state)
    progress.close()
    memory = {"rss_before_mib": before, "rss_mib": resident_mib()}
    print_json({**result, **rows, **memory, "load_1m": round(os.getloadavg()[0], 2)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
