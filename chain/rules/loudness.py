"""Loudness: whose beacons arrive stronger than its asserted power explains, and what that costs.

A path loses the same both ways. Of a link whose ends heard each other in one epoch let

    excess(w hears b) = mean strength at full power - the middle of the pair's bounds, so that
                        asserted power, gains and distance are taken out
    differs(b, w)     = excess(w hears b) - excess(b hears w) = (t_b - r_b) - (t_w - r_w)

t: by how much more a radio sends than it asserts, r: by how much more it reads than arrives. What
stands between cancels. The median over a beaconer's partners is its own t - r, give or take 1.5 dB,
as long as most of them say what they hear. A booster (t = +9) and a deaf receiver (r = -9) look
alike there. What tells them apart, as far as anything does, is how loud a beaconer is among what
its partners hear: the median of excess(w hears b) less the median of all that w hears. A deaf
receiver doesn't make its beacons louder; a good site does, by 5 dB (deviation).

What radios are like shows in the network itself: half of all hotspots differ by less than their
median |differs|. 1.9 times that is allowed, within 3 and 7 dB, and 7 where fewer than 20 are
known: so calibrated receivers leave a booster little room, and where every third reads 6 dB too
little or too much nobody is cut for being one of them.

So the more careful reading is paid: quality counts as if a beaconer were weaker by

    cut = min(2 (differs - allowed), differs, loud + (7 dB - allowed)), at least 0

Where 7 dB are allowed a receiver that reads 6 dB too little costs its owner next to nothing (2.6 %
where a third of all do, bench/loudness.py), and nothing where its hotspot is no louder than others.
The fewer are allowed, the less likely it is the receiver, and a good site must not be all that a
booster on a bad one needs. Asserting less antenna gain mends the rest. Below three partners,
without RSSI, and by the first rules nothing is cut. Who raises what it reports by as much as it
boosts can't be told from a good site. chain/rules/loudness_arrays.py does all this for large
epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chain.params import Params
from chain.rules.verdicts import CODES, COUNTED, HELD, Judgement
from chain.wire import iter_receptions

# What passed every rule: both ends heard each other, and whose word counts.
FAIR = frozenset({COUNTED, HELD, CODES["not_drawn"]})
Excess = dict[tuple[int, int], int]
Link = tuple[int, int, int]  # differs, excess, witness


def compute_allowed(params: Params, differs_cdb: Sequence[int]) -> int:
    """What two ends may differ by, in centi-dB, in a network of such beaconers."""
    if len(differs_cdb) < params.loud_network_min:
        return params.loud_allowed_cdb
    spread = get_median([abs(differs) for differs in differs_cdb])
    least = max(params.loud_least_cdb, spread * params.loud_spread_percent // 100)
    return min(least, params.loud_allowed_cdb)


def compute_cut(params: Params, allowed_cdb: int, differs_cdb: int, loud_cdb: int) -> int:
    """How much weaker a beaconer counts, in centi-dB, by its two medians."""
    steep = 2 * (differs_cdb - allowed_cdb)
    spare = params.loud_allowed_cdb - allowed_cdb
    return max(0, min(steep, differs_cdb, loud_cdb + spare))


def get_median(values: Sequence[int]) -> int:
    """The middle one of some numbers, the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]


def compute_excess(judgement: Judgement, witnesses: Iterable[int]) -> Excess:
    """By (witness, beaconer): mean strength above the middle of the bounds, in centi-dB."""
    found: Excess = {}
    for witness in witnesses:
        sums: dict[int, tuple[int, int]] = {}
        rows = iter_receptions(judgement.reports[witness].report)
        for code, row in zip(judgement.codes[witness], rows, strict=True):
            heard, sequence, flags, rssi_cdbm, _, _ = row
            if code in FAIR and not flags:
                full = rssi_cdbm + judgement.beaconers[heard].steps_cdb[sequence]
                total, count = sums.get(heard, (0, 0))
                sums[heard] = (total + full, count + 1)
        own = judgement.assertions.get(witness)
        for heard, (total, count) in sums.items():
            if own is not None:
                pair = judgement.pairs.get(own, judgement.assertions[heard])
                middle = (pair.rssi_low_cdbm + pair.rssi_high_cdbm) // 2
                found[witness, heard] = total // count - middle
    return found


def process_cuts(judgement: Judgement) -> None:
    """Note of every beaconer whose beacons arrive too strong how much weaker it counts."""
    judgement.cuts = {}
    if not judgement.params.loud_allowed_cdb:
        return
    excess = compute_excess(judgement, judgement.reports)
    links = get_links(excess)
    differs = get_differs(judgement.params, links)
    allowed = compute_allowed(judgement.params, list(differs.values()))
    for beaconer, by in differs.items():
        if by > allowed:  # most are no louder than that
            loud = compute_loud(excess, links[beaconer])
            if cut := compute_cut(judgement.params, allowed, by, loud):
                judgement.cuts[beaconer] = cut


def get_links(excess: Excess) -> dict[int, list[Link]]:
    """Per beaconer its links that were heard both ways: (differs, excess, witness)."""
    links: dict[int, list[Link]] = {}
    for (witness, heard), value in excess.items():
        back = excess.get((heard, witness))
        if back is not None:
            links.setdefault(heard, []).append((value - back, value, witness))
    return links


def get_differs(params: Params, links: Mapping[int, Sequence[Link]]) -> dict[int, int]:
    """Per beaconer with partners enough the median of what its links differ by, in centi-dB."""
    return {
        beaconer: get_median([difference for difference, _, _ in own])
        for beaconer, own in links.items()
        if len(own) >= params.loud_partners_min
    }


def compute_loud(excess: Excess, links: Sequence[Link]) -> int:
    """How much louder a beaconer is than what its partners hear of others, in centi-dB."""
    partners = {witness for _, _, witness in links}
    heard: dict[int, list[int]] = {witness: [] for witness in partners}
    for (witness, _), value in excess.items():
        if witness in partners:
            heard[witness].append(value)
    return get_median([value - get_median(heard[witness]) for _, value, witness in links])
