"""Judging large epochs over arrays: the verdicts of chain/rules/verdicts.py, to the bit.

Used where numpy is installed and an epoch has many receptions; the rules stay what is written
there, and a test compares both. Arrays only find the reports of which every reception passes, which
is nearly all of them: any other report goes through the rules one reception at a time. Everything
is an integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, pairwise, zip_longest
from operator import eq
from typing import Any, NamedTuple

from chain.draws import (
    ANSWER_LINE,
    DRAW_LINE,
    POWER_STEPS_CDB,
    SLOT_LINE,
    STEP_BYTE,
    all_commits,
)
from chain.geo import cell_resolution
from chain.optional import get_numpy
from chain.params import Params
from chain.records import RECEPTION_BYTES
from chain.rules.burns import get_reward_cell
from chain.rules.quality import (
    QUALITY_FLOOR_CDBM,
    QUALITY_STEP_CDB,
    QUALITY_STEPS,
    WITNESS_WEIGHT,
)
from chain.rules.slopes import CDB2_PER_DB2, TELLING, process_witness_sums
from chain.rules.verdicts import (
    CAN_SET_POWER,
    CODES,
    COUNTED,
    HELD,
    NO_RSSI,
    POWER_WEIGHT,
    PRECISION_WEIGHT,
    Judgement,
    process_report,
)
from chain.state import Assertion, State

# From so many receptions on arrays win, and the time to import numpy is worth it.
ARRAYS_FROM = 4_000
# Links whose bounds are kept, about 40 bytes each: beyond that those of the newest epoch alone.
MAX_RUNS = 8_000_000
Layout = list[tuple[str, str] | tuple[str, str, int]]
# What is hashed for a beacon's answer, its slot, and a lot: rows whose bytes are the very texts of
# chain.draws.answer, slot_ms and draw. So many of them are objects at once: the same memory, still
# in the processor's cache, serves the next ones.
ANSWER: Layout = [
    *(("head", f"S{len(ANSWER_LINE)}"), ("secret", "u1", 32), ("epoch", ">u4"), ("number", ">u4")),
]
SLOT: Layout = [
    *(("head", f"S{len(SLOT_LINE)}"), ("secret", "u1", 32), ("mix", "S32"), ("number", ">u4")),
]
LOT: Layout = [
    ("head", f"S{len(DRAW_LINE) + 32}"),
    *((name, ">u4") for name in ("heard", "epoch", "sequence", "witness")),
]
TEXTS_AT_ONCE = 256
FACTS = 4  # what is kept of each assertion
RECEPTION = [
    *(("heard", ">u4"), ("sequence", "u1"), ("flags", "u1"), ("rssi", ">i2")),
    *(("frequency", ">u2"), ("tag", ">u4")),
]


def fits_arrays(judgement: Judgement) -> bool:
    """Whether an epoch is large enough for arrays, and numpy is there."""
    size = sum(len(message.report) for message in judgement.reports.values())
    return size >= ARRAYS_FROM * RECEPTION_BYTES and get_numpy() is not None


class Columns:
    """An epoch's receptions, report after report, and what is known of each hotspot by index.

    Report `k` is that of `witnesses[k]`, from row `bounds[k]` up to `bounds[k + 1]`. A run is what
    one report says of one hotspot: run `r` begins at row `starts[r]`, `run_of` numbers each row's.
    """

    def __init__(self, judgement: Judgement) -> None:
        self.np = np = get_numpy()
        self.judgement = judgement
        reports = [message.report for message in judgement.reports.values()]
        self.witnesses = np.fromiter(judgement.reports, np.int64, len(reports))
        sizes = np.array([len(report) for report in reports], np.int64) // RECEPTION_BYTES
        self.bounds = np.concatenate(([0], np.cumsum(sizes)))
        rows = np.frombuffer(b"".join(reports), RECEPTION)
        self.witness = np.repeat(self.witnesses, sizes)
        self.report = np.repeat(np.arange(len(reports)), sizes)
        self.heard, self.sequence, self.flags, self.rssi, self.frequency, self.tag = (
            rows[name].astype(np.int64) for name, _ in RECEPTION
        )
        change = np.ones(len(rows), bool)
        change[1:] = (self.report[1:] != self.report[:-1]) | (self.heard[1:] != self.heard[:-1])
        self.starts = np.flatnonzero(change)
        self.run_of = np.cumsum(change) - 1
        self.runs = self.witness[self.starts] << 32 | self.heard[self.starts]
        self.run_bounds: tuple[Any, Any] | None = None
        self.kept = np.zeros(len(rows), np.uint8)
        self.count = 1 + max([0, *judgement.reports, *judgement.assertions, *judgement.beaconers])
        self.known = np.where(self.heard < self.count, self.heard, self.count)
        self._fill()

    def _fill(self) -> None:
        """What each hotspot asserted; a last row for those that nobody knows."""
        np, judgement = self.np, self.judgement
        facts = np.full((FACTS, self.count + 1), -1, np.int64)
        if known := judgement.assertions:
            facts[:, np.fromiter(known, np.int64, len(known))] = get_facts(np, judgement)
        self.frequencies, self.bind_epochs, self.cells, self.radios = facts
        self._fill_sent()
        self.number = np.minimum(self.sequence, judgement.beacons - 1)
        self.step = self.steps[self.known, self.number]

    def _fill_sent(self) -> None:
        """What each hotspot sent: `compute_beaconer` of all who revealed their secrets."""
        np, judgement, beacons = self.np, self.judgement, self.judgement.beacons
        self.tags = np.full((self.count + 1, beacons), -1, np.int64)  # no tag is negative
        self.steps = np.zeros((self.count + 1, beacons), np.int64)
        self.weights = np.zeros(self.count + 1, np.int64)
        if not judgement.beaconers:
            return
        sent = np.fromiter(judgement.beaconers, np.int64, len(judgement.beaconers))
        sets_power = (self.radios[sent] & CAN_SET_POWER) > 0
        answers = self._hash_beacons(ANSWER, sent, head=ANSWER_LINE, epoch=judgement.epoch)
        self.tags[sent] = answers.view(">u4")[..., 0]
        able = sent[sets_power]
        slots = self._hash_beacons(SLOT, able, head=SLOT_LINE, mix=judgement.mix)
        self.steps[able] = np.array(POWER_STEPS_CDB)[slots[..., STEP_BYTE] & 3]
        precision = np.zeros(16, np.int64)
        precision[list(PRECISION_WEIGHT)] = list(PRECISION_WEIGHT.values())
        heeds = sets_power & ~self.mark(judgement.blind)[sent]
        radio = np.where(heeds, POWER_WEIGHT[True], POWER_WEIGHT[False])
        self.weights[sent] = precision[cell_resolution(self.cells[sent])] * radio

    def _hash_beacons(self, layout: Layout, sent: Any, **values: Any) -> Any:
        """Digests (hotspot, number, byte) of a text per beacon of some hotspots."""
        np, reports, beacons = self.np, self.judgement.reports, self.judgement.beacons
        secrets = b"".join([reports[index].reveal for index in sent.tolist()])
        texts = np.zeros((len(sent), beacons), layout)
        texts["secret"] = np.frombuffer(secrets, np.uint8).reshape(-1, 1, 32)
        texts["number"] = np.arange(beacons)
        for name, value in values.items():
            texts[name] = value
        return hash_texts(np, texts.reshape(-1)).reshape(-1, beacons, 32)

    def mark(self, indexes: frozenset[int]) -> Any:
        """By index, whether a hotspot is one of these."""
        marks = self.np.zeros(self.count + 1, bool)
        marks[[index for index in indexes if index < self.count]] = True
        return marks

    def codes(self) -> Any:
        """The verdict code of every row, to be changed and given back with `keep`."""
        return self.kept.copy()

    def keep(self, codes: Any) -> None:
        """Write codes back, report by report."""
        self.kept, raw, bounds = codes, codes.tobytes(), self.bounds.tolist()
        rows = [bytearray(raw[start:end]) for start, end in pairwise(bounds)]
        self.judgement.codes = dict(zip(self.judgement.reports, rows, strict=True))

    def sum_runs(self, values: Any) -> Any:
        """Sums over runs."""
        return self.np.add.reduceat(values, self.starts)


def get_columns(judgement: Judgement) -> Columns:
    """The columns of an epoch, made once."""
    if not isinstance(judgement.columns, Columns):
        judgement.columns = Columns(judgement)
    return judgement.columns


def get_facts(np: Any, judgement: Judgement) -> Any:
    """Frequency, epoch from which it binds, cell and flags of every assertion, one column each.

    Kept from one epoch to the next: only assertions that weren't there before are looked into. An
    assertion is never changed but for its key (chain/rules/rotations.py).
    """
    now, pairs = list(judgement.assertions.values()), judgement.pairs
    asserted = pairs.asserted
    if not isinstance(asserted, Asserted) or len(asserted.assertions) > len(now):
        asserted = Asserted([], np.zeros((FACTS, 0), np.int64))
    both = zip_longest(now, asserted.assertions)
    fresh = [place for place, (one, before) in enumerate(both) if one is not before]
    if not fresh:
        return asserted.facts
    facts = np.zeros((FACTS, len(now)), np.int64)
    facts[:, : len(asserted.assertions)] = asserted.facts
    told = [(now[place].registration, now[place].bind_epoch) for place in fresh]
    rows = [(of.frequency_mhz, bind_epoch, of.cell, of.flags) for of, bind_epoch in told]
    facts[:, fresh] = np.array(rows, np.int64).T
    pairs.asserted = Asserted(now, facts)
    return facts


class Asserted(NamedTuple):
    """Assertions, and what `get_facts` says of them."""

    assertions: list[Assertion]
    facts: Any


def process_signals_by_arrays(judgement: Judgement) -> None:
    """`process_signals`, all reports at once."""
    columns = get_columns(judgement)
    np, bounds, reports = columns.np, columns.bounds, judgement.reports
    bad_rows = np.concatenate(([0], np.cumsum(~find_fine(columns))))
    passes = (bad_rows[bounds[1:]] == bad_rows[bounds[:-1]]) & find_committed(columns)
    sizes = (bounds[1:] - bounds[:-1]).tolist()
    judgement.codes = dict(zip(reports, map(bytearray, sizes), strict=True))
    columns.kept = np.zeros(len(columns.heard), np.uint8)
    for number in np.flatnonzero(~passes).tolist():
        witness = int(columns.witnesses[number])
        process_report(judgement, witness)
        codes = np.frombuffer(judgement.codes[witness], np.uint8)
        columns.kept[bounds[number] : bounds[number + 1]] = codes
    judgement.plausible.add_keys(columns.runs[passes[columns.report[columns.starts]]])


def find_committed(columns: Columns) -> Any:
    """Which reports are those that were committed to."""
    judgement = columns.judgement
    messages = [(index, m.reveal, m.report) for index, m in judgement.reports.items()]
    expected = all_commits(judgement.epoch, messages)
    given = map(judgement.commits.get, judgement.reports)
    return columns.np.fromiter(map(eq, given, expected), bool, len(expected))


def get_mutual_links_by_arrays(judgement: Judgement) -> list[tuple[int, int]]:
    """`get_mutual_links`, all pairs at once."""
    np = get_columns(judgement).np
    pairs = judgement.plausible.get_keys(np)
    low, high = pairs >> 32, pairs & 0xFFFF_FFFF
    both = (low < high) & is_among(np, high << 32 | low, pairs)
    return list(zip(low[both].tolist(), high[both].tolist(), strict=True))


def is_among(np: Any, values: Any, ascending: Any) -> Any:
    """Which of some numbers are among others, that ascend."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return ascending[at] == values


def find_fine(columns: Columns) -> Any:
    """Rows that pass every pair and signal rule, and that nothing else is said about."""
    np = columns.np
    low, high = get_run_bounds(columns)
    full = columns.rssi + columns.step
    strong = (low[columns.run_of] <= full) & (full <= high[columns.run_of])
    paired = low[columns.run_of] <= high[columns.run_of]
    silent = (columns.flags == NO_RSSI) & (columns.rssi == 0)
    again = np.zeros(len(full), bool)
    again[1:] = (columns.run_of[1:] == columns.run_of[:-1]) & (
        columns.sequence[1:] == columns.sequence[:-1]
    )
    return (
        (paired & (silent | (strong & (columns.flags == 0))))
        & (columns.sequence < columns.judgement.beacons)
        & (columns.tags[columns.known, columns.number] == columns.tag)
        & (columns.frequencies[columns.known] == columns.frequency)
        & ~again
    )


def get_run_bounds(columns: Columns) -> tuple[Any, Any]:
    """Least and most full-power strength of every run; nothing lies between those of bad pairs."""
    np, pairs = columns.np, columns.judgement.pairs
    if columns.run_bounds is not None:
        return columns.run_bounds
    bound = columns.bind_epochs
    now = np.stack(
        (columns.runs, bound[columns.witness[columns.starts]], bound[columns.known[columns.starts]])
    )
    params, table = columns.judgement.params, pairs.runs
    if not isinstance(table, RunBounds) or table.params is not params:
        table = RunBounds(params, now[:, :0], now[:2, :0])
    found = np.zeros((2, len(columns.runs)), np.int64)
    is_old = np.zeros(len(columns.runs), bool)
    if table.ends.shape[1]:
        at = np.searchsorted(table.ends[0], columns.runs)
        at = np.minimum(at, table.ends.shape[1] - 1)
        is_old = (table.ends[:, at] == now).all(axis=0)
        found = table.bounds[:, at]
    fresh = np.flatnonzero(~is_old)
    found[:, fresh] = np.fromiter(
        chain.from_iterable(iter_run_bounds(columns, fresh)), np.int64, 2 * len(fresh)
    ).reshape(-1, 2).T
    pairs.runs = table.merge(np, params, now, found, fresh)
    columns.run_bounds = (found[0], found[1])
    return columns.run_bounds


class RunBounds(NamedTuple):
    """Of runs, ascending: their ends with the epochs from which these bind, and their bounds.

    Kept from one epoch to the next, since nearly all links stay what they are, whether they are
    heard in every epoch or now and then.
    """

    params: Params
    ends: Any
    bounds: Any

    def merge(self, np: Any, params: Params, ends: Any, bounds: Any, fresh: Any) -> RunBounds:
        """With the fresh ones of some runs, in the place of what was said of them before."""
        if not len(fresh) or len(self.ends[0]) + len(fresh) > MAX_RUNS:
            return self if not len(fresh) else RunBounds(params, ends, bounds)
        kept = ~np.isin(self.ends[0], ends[0, fresh], assume_unique=True)
        joined = np.concatenate((self.ends[:, kept], ends[:, fresh]), axis=1)
        order = np.argsort(joined[0], kind="stable")
        said = np.concatenate((self.bounds[:, kept], bounds[:, fresh]), axis=1)
        return RunBounds(params, joined[:, order], said[:, order])


def iter_run_bounds(columns: Columns, runs: Any) -> Iterator[tuple[int, int]]:
    """The bounds of some runs, one after another."""
    judgement = columns.judgement
    assertions, pairs, params = judgement.assertions, judgement.pairs, judgement.params
    nearest_m, farthest_m = params.min_distance_m, params.max_distance_m
    starts = columns.starts[runs]
    ends = (columns.witness[starts].tolist(), columns.heard[starts].tolist())
    for witness, heard in zip(*ends, strict=True):
        own, registered = assertions.get(witness), assertions.get(heard)
        if own is None or registered is None or witness == heard:
            yield 1, 0
            continue
        pair = pairs.get(own, registered)
        is_apart = nearest_m <= pair.distance_m <= farthest_m
        is_good = is_apart and not (pair.same_owner or pair.foreign)
        yield (pair.rssi_low_cdbm, pair.rssi_high_cdbm) if is_good else (1, 0)


def process_links_by_arrays(judgement: Judgement, trusted: frozenset[int]) -> None:
    """`process_links`, all reports at once."""
    judgement.trusted = trusted
    columns = get_columns(judgement)
    np, codes = columns.np, columns.codes()
    run = columns.starts
    witness, heard = columns.witness[run], columns.heard[run]
    mutual = np.zeros(len(run), bool)
    for pairs in (judgement.plausible, judgement.recent):
        mutual |= is_among(np, heard << 32 | witness, pairs.get_keys(np))
    link = np.where(columns.mark(judgement.held)[witness], HELD, COUNTED).astype(np.uint8)
    link[columns.mark(judgement.blind)[witness]] = CODES["power_blind"]
    link[~columns.mark(trusted)[witness]] = CODES["untrusted_witness"]
    link[~mutual] = CODES["not_mutual"]
    codes = np.where(codes == COUNTED, link[columns.run_of], codes).astype(np.uint8)
    codes[find_undrawn(columns, codes)] = CODES["not_drawn"]
    columns.keep(codes)


def find_undrawn(columns: Columns, codes: Any) -> Any:
    """Rows of candidates whose lots are not among the smallest of their beacon."""
    np, judgement = columns.np, columns.judgement
    limit = judgement.params.witnesses_drawn
    rows = np.flatnonzero((codes == COUNTED) | (codes == HELD))
    beacons = columns.heard[rows] << 8 | columns.sequence[rows]
    order = np.argsort(beacons, kind="stable")  # they ascend report by report: far faster
    rows, beacons = rows[order], beacons[order]
    change = np.ones(len(rows), bool)
    change[1:] = beacons[1:] != beacons[:-1]
    sizes = np.diff(np.flatnonzero(change), append=len(rows))
    crowded = sizes > limit
    rows, sizes = rows[np.repeat(crowded, sizes)], sizes[crowded]
    order = sort_lots(np, draw_lots(columns, rows), np.repeat(np.arange(len(sizes)), sizes))
    rows, counted = rows[order], codes[rows[order]] == COUNTED
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    before = np.cumsum(counted) - counted
    # Who is held takes nobody's place: it is drawn as long as fewer than all lots are taken.
    return rows[before - before[starts] >= limit]


def sort_lots(np: Any, lots: Any, group: Any) -> Any:
    """Groups, that ascend from 0, with their lots in order.

    A group's number and as much of a lot as has room beside it are one key: that tells nearly all
    lots apart.
    """
    if not len(lots):
        return np.zeros(0, np.int64)
    bits = np.uint64(int(group[-1]).bit_length() or 1)
    keys = group.astype(np.uint64) << np.uint64(64) - bits | lots[:, 0] >> bits
    order = np.argsort(keys, kind="stable")
    found = keys[order]
    return np.lexsort((*lots.T[::-1], group)) if (found[1:] == found[:-1]).any() else order


def draw_lots(columns: Columns, rows: Any) -> Any:
    """The lots of some rows, four numbers each."""
    judgement, np = columns.judgement, columns.np
    texts = np.zeros(len(rows), LOT)
    texts["head"], texts["epoch"] = DRAW_LINE + judgement.mix_after, judgement.epoch
    for name in ("heard", "sequence", "witness"):
        texts[name] = getattr(columns, name)[rows]
    return hash_texts(np, texts).view(">u8").astype(np.uint64)


def hash_texts(np: Any, texts: Any) -> Any:
    """The 32 bytes of SHA-256 of every row."""
    plain = texts.view(f"V{texts.itemsize}")
    digests = [
        b"".join([sha256(text).digest() for text in plain[at : at + TEXTS_AT_ONCE].tolist()])
        for at in range(0, len(texts), TEXTS_AT_ONCE)
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def process_counted_by_arrays(state: State, judgement: Judgement) -> None:
    """`process_counted`, all reports at once."""
    columns = get_columns(judgement)
    np, codes = columns.np, columns.codes()
    counts, held = codes == COUNTED, codes == HELD
    witness_weight = np.where(
        columns.mark(judgement.proven), WITNESS_WEIGHT[True], WITNESS_WEIGHT[False]
    )[columns.witness]
    cut = np.zeros(columns.count + 1, np.int64)
    if judgement.cuts:
        cut[list(judgement.cuts)] = list(judgement.cuts.values())
    full = columns.rssi + columns.step - cut[columns.known]
    above = (full - QUALITY_FLOOR_CDBM) // QUALITY_STEP_CDB + 1
    steps = np.where(columns.flags & NO_RSSI, 1, np.clip(above, 1, QUALITY_STEPS))
    units = columns.sum_runs(steps * columns.weights[columns.known] * witness_weight * counts)
    beacons = columns.heard << 8 | columns.sequence
    _, number, hearers = np.unique(beacons[counts], return_inverse=True, return_counts=True)
    measured = np.zeros(len(counts), np.int64)
    measured[counts] = np.where(hearers[number] > 1, witness_weight[counts], 0)
    corroborates = held & np.isin(beacons, beacons[counts])
    measured[corroborates] = witness_weight[corroborates]
    corroborated = columns.sum_runs(measured)
    told = np.flatnonzero(units + corroborated)
    run = columns.starts[told]
    cells = {w: get_reward_cell(state, w) for w in set(columns.witness[run].tolist())}
    witnesses = columns.witness[run].tolist()
    standing = [cells[witness] for witness in witnesses]
    places = zip(standing, columns.heard[run].tolist(), strict=True)
    worth = zip(places, units[told].tolist(), strict=True)
    state.add_all("quality", (item for item in worth if item[1]))
    every = zip(zip(standing, witnesses, strict=True), corroborated[told].tolist(), strict=True)
    state.add_all("measured", (item for item in every if item[1]))


def process_slopes_by_arrays(state: State, judgement: Judgement) -> None:
    """`process_slopes`, all reports at once."""
    columns = get_columns(judgement)
    np = columns.np
    tells = np.isin(columns.codes(), list(TELLING)) & (columns.flags == 0)
    tells &= columns.mark(judgement.trusted)[columns.known]
    params = judgement.params
    count, full = (columns.sum_runs(v) for v in (tells * 1, (columns.step + columns.rssi) * tells))
    strong = (count > 1) & (full >= count * params.slope_floor_cdbm)
    left = (full - count * params.slope_reach_cdbm)[columns.run_of]
    tells &= left >= count[columns.run_of] * columns.step
    step, rssi = columns.step * tells, columns.rssi * tells
    count, steps, strengths, products, squares = (
        columns.sum_runs(values)
        for values in (tells.astype(np.int64), step, rssi, step * rssi, step * step)
    )
    kept = strong & (count > 1)
    unit = np.maximum(1, count) * CDB2_PER_DB2
    slope = (2 * (steps * strengths - count * products) + unit) // (2 * unit) * kept
    spread = (2 * (count * squares - steps * steps) + unit) // (2 * unit) * kept
    sums: dict[int, tuple[int, int]] = {}
    witnesses = columns.witness[columns.starts].tolist()
    for witness, a, b in zip(witnesses, slope.tolist(), spread.tolist(), strict=True):
        before = sums.get(witness, (0, 0))
        sums[witness] = (before[0] + a, before[1] + b)
    for witness, of_witness in sums.items():
        process_witness_sums(state, witness, of_witness)
    judgement.columns = None  # judgements stay at hand for a while, their columns needn't
