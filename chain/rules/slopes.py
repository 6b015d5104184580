"""Power slopes: whether what a witness reports goes with the secret power of what it hears.

Every beacon is sent 0, 3, 6 or 9 dB below full power, by a secret that is shown only afterwards.
Who really hears it notes less for a lower step. Who copies, or makes strengths up, can't know the
step: over the beacons of one link and epoch its numbers don't follow. What the place, the antennas
and the weather do to a link is the same for all beacons of an epoch and cancels.

    spread = sum (p - mean p)^2        slope = sum (p - mean p)(r - mean r)

over the beacons of each (witness, beaconer, epoch), p the power sent and r the strength noted, both
in dB, summed over links and epochs per witness. slope / spread is 1 for a perfect receiver.

| a witness | when | what follows |
|---|---|---|
| proven | spread >= minimum, slope >= cut * spread | full weight |
| abstains | spread < minimum: no RSSI, weak links, new | a quarter of the weight |
| blind | spread >= minimum, slope < cut * spread | `power_blind`: nothing it hears counts |

Sums are halved at every settlement where half still tells, so that who mends a driver is believed
again, and who did nothing keeps its name, good or bad. Beacons of
hotspots without trust don't tell: friends could share secrets to make a slope look right. Trusted
friends still can; auditors look at every link by itself (docs/proof-of-coverage.md).
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

from chain.params import NO_FLOOR_CDBM
from chain.rules.verdicts import CODES, COUNTED, HELD, Judgement
from chain.state import State
from chain.wire import iter_receptions

# What passed every rule about place and trust; a blind witness may prove itself again.
TELLING = frozenset({COUNTED, HELD, CODES["not_drawn"], CODES["power_blind"]})
CDB2_PER_DB2 = 10_000
Sums = tuple[int, int]
_HEARD = itemgetter(0)


def compute_group(
    steps_cdb: list[int], rssi_cdbm: list[int], floor_cdbm: int, reach_cdbm: int = NO_FLOOR_CDBM
) -> Sums:
    """Slope and spread, in dB^2, of the beacons of one link and epoch, rounded to the nearest.

    `steps_cdb` say how far below full power each was sent. Of a link below the floor, at full
    power, and of what would be below the reach by its own power, nothing tells: (0, 0).
    """
    count, full = len(steps_cdb), sum(steps_cdb) + sum(rssi_cdbm)
    if count < 2 or full < count * floor_cdbm:
        return 0, 0
    pairs = zip(steps_cdb, rssi_cdbm, strict=True)
    told = [(step, rssi) for step, rssi in pairs if full - count * step >= count * reach_cdbm]
    count, steps = len(told), sum(step for step, _ in told)
    if count < 2:
        return 0, 0
    strengths = sum(rssi for _, rssi in told)
    products = sum(step * rssi for step, rssi in told)
    spread = count * sum(step * step for step, _ in told) - steps * steps
    slope = steps * strengths - count * products  # power falls as the step grows
    unit = count * CDB2_PER_DB2
    return (2 * slope + unit) // (2 * unit), (2 * spread + unit) // (2 * unit)


def compute_witness_sums(judgement: Judgement, witness: int) -> Sums:
    """Slope and spread of what a witness heard in an epoch, over its links, in dB^2."""
    slope = spread = 0
    rows = zip(
        iter_receptions(judgement.reports[witness].report), judgement.codes[witness], strict=True
    )
    told = (reception[:4] for reception, code in rows if code in TELLING)
    for heard, group in groupby(told, _HEARD):
        if heard not in judgement.trusted:
            continue
        steps = judgement.beaconers[heard].steps_cdb
        pairs = [(steps[number], rssi) for _, number, flags, rssi in group if not flags]
        of_link = compute_group(
            [step for step, _ in pairs],
            [rssi for _, rssi in pairs],
            judgement.params.slope_floor_cdbm,
            judgement.params.slope_reach_cdbm,
        )
        slope, spread = slope + of_link[0], spread + of_link[1]
    return slope, spread


def process_slopes(state: State, judgement: Judgement) -> None:
    """Add an epoch to every witness's sums, once its receptions are judged."""
    for witness in judgement.reports:
        process_witness_sums(state, witness, compute_witness_sums(judgement, witness))


def process_witness_sums(state: State, witness: int, sums: Sums) -> None:
    """Add slope and spread to those of a witness."""
    slope, spread = sums
    if slope or spread:
        hotspot = state.hotspots[witness]
        hotspot.slope_db2 += slope
        hotspot.spread_db2 += spread
        state.touch("hotspots", witness)


def process_old_slopes(state: State) -> None:
    """Halve sums that tell twice over: what counts is mostly this settlement and the one before."""
    enough = 2 * state.params.slope_spread_min_db2
    for hotspot in state.hotspots:
        if hotspot.spread_db2 >= enough:
            hotspot.spread_db2 //= 2
            hotspot.slope_db2 //= 2
            state.touch("hotspots", hotspot.index)
