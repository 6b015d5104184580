"""Settlement: what coverage and witnessing earn; docs/rewards.md has a worked table."""

from __future__ import annotations

from dataclasses import dataclass, field

from chain.rules.burns import BASIS_POINTS, get_reward_cell
from chain.rules.outcome import Effects, Payment
from chain.rules.sessions import process_expired_sessions
from chain.rules.split import compute_split
from chain.rules.trust import compute_trust_ppm, process_trust
from chain.rules.verdicts import Judgement, get_counted
from chain.state import State

COVERAGE, BOOTSTRAP, WITNESS = "coverage", "bootstrap", "witness"
NO_PAYER = b""


def process_counted(state: State, judgement: Judgement) -> None:
    """Add an epoch's counted receptions to what the next settlement pays for.

    A beacon that is heard in a cell covers that cell. Witnesses are paid for what others
    corroborate.
    """
    counted = list(get_counted(judgement))
    hearers: dict[tuple[int, int], int] = {}
    for item in counted:
        beacon = (item.beaconer, item.sequence)
        hearers[beacon] = hearers.get(beacon, 0) + 1
    witnesses = sorted({item.witness for item in counted})
    cells = {index: get_reward_cell(state, index) for index in witnesses}
    for item in counted:
        state.add("quality", (cells[item.witness], item.beaconer), item.quality)
        if hearers[item.beaconer, item.sequence] > 1:
            state.add("measured", (cells[item.witness], item.witness), 1)


@dataclass(slots=True)
class CellWork:
    """Who covered a cell, by weight, and who measured it, by corroborated receptions."""

    coverage: dict[int, int] = field(default_factory=dict)
    witnesses: dict[int, int] = field(default_factory=dict)


def compute_overlap_weights(ranked: list[tuple[int, int]], permille: tuple[int, ...]) -> list[int]:
    """Weights of (score, hotspot) pairs, best first: the k-th best counts for permille[k]."""
    last = len(permille) - 1
    return [score * permille[min(rank, last)] for rank, (score, _) in enumerate(ranked)]


def get_cell_work(state: State) -> dict[int, CellWork]:
    """Per reward cell, the weights by which its pay is split."""
    trust = compute_trust_ppm(state)
    scores: dict[int, list[tuple[int, int]]] = {}
    for (cell, hotspot), quality in sorted(state.quality.items()):
        scores.setdefault(cell, []).append((quality * trust[hotspot], hotspot))
    work: dict[int, CellWork] = {}
    for cell, pairs in sorted(scores.items()):
        ranked = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
        weights = compute_overlap_weights(ranked, state.params.overlap_permille)
        coverage = {h: w for (_, h), w in zip(ranked, weights, strict=True) if w}
        work[cell] = CellWork(coverage)
    for (cell, hotspot), count in sorted(state.measured.items()):
        if trust[hotspot] and cell in work:
            work[cell].witnesses[hotspot] = count
    return work


def get_strangers(state: State, weights: dict[int, int], owner: bytes) -> dict[int, int]:
    """Those of other owners than the one who pays."""
    return {h: w for h, w in weights.items() if state.hotspots[h].owner != owner}


def process_cell_pay(
    state: State, cell: int, amount_ucr: int, work: CellWork, source: bytes, effects: Effects
) -> int:
    """Pay an amount to a cell's strangers; what was paid, which is all or nothing."""
    coverage = get_strangers(state, work.coverage, source)
    witnesses = get_strangers(state, work.witnesses, source)
    if not coverage:
        return 0
    measuring = amount_ucr * state.params.witness_fee_bp // BASIS_POINTS if witnesses else 0
    kind = COVERAGE if source else BOOTSTRAP
    process_shares(state, cell, amount_ucr - measuring, coverage, kind, source, effects)
    if measuring:
        process_shares(state, cell, measuring, witnesses, WITNESS, source, effects)
    return amount_ucr


def process_shares(
    state: State,
    cell: int,
    amount_ucr: int,
    weights: dict[int, int],
    kind: str,
    source: bytes,
    effects: Effects,
) -> None:
    """Split an amount over hotspots and credit their owners."""
    split = compute_split(amount_ucr, list(weights.values()))
    state.add("stats", "dust_ucr", split.dust_ucr)
    for index, share in zip(weights, split.shares, strict=True):
        if not share:
            continue
        hotspot = state.hotspots[index]
        state.credit(hotspot.owner, share)
        hotspot.earned_ucr += share
        state.touch("hotspots", index)
        state.add("stats", f"paid_{kind}_ucr", share)
        effects.payments.append(
            Payment(state.epoch, kind, hotspot.owner, index, cell, share, source)
        )


def compute_bootstrap_ucr(state: State) -> int:
    """Most that this settlement may mint: halves every `bootstrap_halving` settlements."""
    params = state.params
    return params.bootstrap_ucr >> state.settlement // params.bootstrap_halving


def process_pools(state: State, work: dict[int, CellWork], effects: Effects) -> None:
    """Pay what payers burned in each cell to whoever covers it, up to the value cap of the cell."""
    left = dict.fromkeys(work, state.params.value_cap_ucr)
    for (cell, owner), pool in sorted(state.pools.items()):
        amount = min(pool, left.get(cell, 0))
        if not amount or not (
            paid := process_cell_pay(state, cell, amount, work[cell], owner, effects)
        ):
            continue
        left[cell] -= paid
        state.pools[cell, owner] -= paid
        if not state.pools[cell, owner]:
            del state.pools[cell, owner]
        state.touch("pools", (cell, owner))


def process_bootstrap(state: State, work: dict[int, CellWork], effects: Effects) -> None:
    """Mint the bootstrap: an equal, capped share per covered cell; the rest isn't minted."""
    covered = [cell for cell, cell_work in work.items() if cell_work.coverage]
    if not covered:
        return
    cap = state.params.bootstrap_cell_cap_ucr
    share = min(cap, compute_bootstrap_ucr(state) // len(covered))
    for cell in covered:
        if share:
            state.supply.minted += process_cell_pay(
                state, cell, share, work[cell], NO_PAYER, effects
            )


def process_settlement(state: State, effects: Effects) -> None:
    """Trust, then pay by it, then return expired escrow and start counting anew."""
    process_trust(state)
    work = get_cell_work(state)
    process_pools(state, work, effects)
    process_bootstrap(state, work, effects)
    process_expired_sessions(state)
    for table in ("quality", "measured", "links"):
        state.clear(table)
    state.settlement += 1
