"""Attacks on chance: being fast, choosing keys, withholding secrets, under the real draws."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from chain import draws
from chain.params import PRESETS
from radio_sim.attacks.outcome import Outcome
from radio_sim.attacks.sites import uniform_column
from radio_sim.draws import draw_below, draw_u64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWN = PRESETS["mainnet"].witnesses_drawn
WITNESSES, CANDIDATES = 10_000, 20
RACED_BEACONS = 60_000
GROUND_KEYS, GROUND_MIXES, TRIED_MIXES = 2_000, 40, 400
COSIGNERS = 7
REVEALERS, HELD_EPOCHS, BEACONS_PER_EPOCH = 30, 12, 400


def mix_of(seed: int, name: str, number: int) -> bytes:
    """A mix that nobody chose."""
    return sha256(b"mix %d %d" % (draw_u64(seed, name), number)).digest()


def count_won(mix: bytes, beacon: int, candidates: Ints) -> list[int]:
    """Who of a beacon's candidates is drawn."""
    lots = sorted(
        (draws.draw(mix, beacon, 0, 0, int(witness)), int(witness)) for witness in candidates
    )
    return [witness for _, witness in lots[:DRAWN]]


def draw_candidates(seed: int, beacon: int, count: int, witnesses: int) -> Ints:
    """Who heard a beacon: neighbours, by number, around some middle."""
    start = draw_below(witnesses, seed, "middle", beacon)
    return (start + np.arange(count)) % witnesses


def race(seed: int) -> Outcome:
    """Measure over 10,000 witnesses whether lots know how fast somebody answers or computes."""
    latency_ms = 5.0 + 900.0 * uniform_column(seed, "latency", WITNESSES) ** 3
    speed = 0.05 + uniform_column(seed, "speed", WITNESSES)  # of a processor, 20 kinds apart
    won = np.zeros(WITNESSES)
    for beacon in range(RACED_BEACONS):
        candidates = draw_candidates(seed, beacon, CANDIDATES, WITNESSES)
        won[count_won(mix_of(seed, "race", beacon), beacon, candidates)] += 1
    fast = latency_ms <= np.quantile(latency_ms, 0.1)
    share = float(won[fast].sum() / won.sum())
    return Outcome(
        *("answer-first", "chance", "a tenth of the witnesses answers before all others", 0.1),
        leaked_share=0.0,
        attacker_return=share / 0.1 - 1.0,
        details={
            "rho_latency": float(np.corrcoef(latency_ms, won)[0, 1]),
            "rho_cpu": float(np.corrcoef(speed, won)[0, 1]),
            "witnesses": WITNESSES,
            "drawn": int(won.sum()),
        },
    )


def grind(seed: int) -> Outcome:
    """Register the luckiest keys of 2,000 under all mixes so far; their luck doesn't last."""
    luck = np.zeros(GROUND_KEYS)
    keys = np.arange(GROUND_KEYS)
    for number in range(GROUND_MIXES):
        mix = mix_of(seed, "past", number)
        for first in range(0, GROUND_KEYS, CANDIDATES):
            luck[count_won(mix, first, keys[first : first + CANDIDATES])] += 1
    best = np.argsort(-luck, kind="stable")[: CANDIDATES // 2]
    rivals = GROUND_KEYS + np.arange(CANDIDATES - len(best))
    won = 0
    for number in range(TRIED_MIXES):
        drawn = count_won(mix_of(seed, "future", number), number, np.concatenate([best, rivals]))
        won += sum(witness < GROUND_KEYS for witness in drawn)
    fair = TRIED_MIXES * DRAWN * len(best) / CANDIDATES
    return Outcome(
        *("challenge-grinding", "chance", "keys chosen by their luck so far", 0.5),
        leaked_share=0.0,
        attacker_return=won / fair - 1.0,
        details={
            "won": won,
            "fair": fair,
            "deviation": float(np.sqrt(fair * (1 - len(best) / CANDIDATES))),
            "luck_before": float(luck[best].mean() / luck.mean()),
        },
    )


def revise(seed: int) -> Outcome:
    """Colluders who reveal last keep back the one secret whose absence wins them most lots.

    The return is what it brings where a majority of cosigners add their outputs afterwards, as a
    network with cosigners does; `alone`, what the mix by itself would leave to choose.
    """
    gains = [compute_revision(seed, epoch) for epoch in range(HELD_EPOCHS)]
    alone, drawn, held = (float(np.mean(column)) for column in zip(*gains, strict=True))
    # Who keeps quiet loses its own beacons and reports of that epoch.
    cost = held / REVEALERS
    return Outcome(
        *("last-revealer", "chance", "the last of 30 colluders choose which secret to keep", 0.1),
        leaked_share=0.0,
        attacker_return=drawn - cost,
        details={
            "alone": alone - cost,
            "lots_gained": drawn,
            "silent_epochs": held,
            "choices": REVEALERS + 1,
            "cosigners": COSIGNERS,
        },
    )


def compute_revision(seed: int, epoch: int) -> tuple[float, float, float]:
    """Gain in lots over an open hand by the mix alone and with outputs; if a secret was kept."""
    before = mix_of(seed, "before", epoch)
    secrets = [mix_of(seed, f"secret {epoch}", number) for number in range(10 * REVEALERS)]
    mixes = []
    for kept in (None, *range(0, 10 * REVEALERS, 10)):  # a tenth of the network
        shown = [secret for number, secret in enumerate(secrets) if number != kept]
        mixes.append(draws.mix(before, epoch, shown))
    won = [count_own_lots(seed, mix) for mix in mixes]
    best = int(np.argmax(won))
    # Silence costs a thirtieth of what the plot earns: it must win more than that.
    if won[best] * (1.0 - 1.0 / REVEALERS) <= won[0]:
        best = 0
    # The outputs are over the close of the mix: another mix is another input to each of them.
    drawn = [
        count_own_lots(seed, draws.lots(mix, (output_of(mix, n) for n in range(COSIGNERS))))
        for mix in (mixes[best], mixes[0])
    ]
    return won[best] / won[0] - 1.0, drawn[0] / drawn[1] - 1.0, float(best > 0)


def output_of(mix: bytes, cosigner: int) -> bytes:
    """A cosigner's random output over what closed with a mix; bench.randomness proves real ones."""
    return sha256(b"output %d of " % cosigner + mix).digest()


def count_own_lots(seed: int, mix: bytes) -> int:
    """Lots that fall to every tenth witness."""
    total = 0
    for beacon in range(BEACONS_PER_EPOCH):
        candidates = draw_candidates(seed, beacon, CANDIDATES // 2, 10 * REVEALERS)
        total += sum(witness % 10 == 0 for witness in count_won(mix, beacon, candidates))
    return total
