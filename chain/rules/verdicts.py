"""Which receptions count: the named rules of proof of coverage.

When epoch e+1 closes, the ledger holds for every hotspot the commit to what it heard in e, the
report itself, the secret x_e that its own beacons were made of, and R_(e+2), which nobody could
foresee when the reports were committed. Every reception passes the rules below in order; the first
that fails is its verdict, and a reception that fails none of them counts.

| group | when | rules |
|---|---|---|
| report | once per report | late, no_commit, commit_mismatch |
| pair | once per beaconer in a report | unknown_beaconer, self, no_reveal, too_close, ... |
| signal | per reception | malformed, replayed, wrong_tag, wrong_frequency, duplicate, ... |
| link | once every report is read | not_mutual, untrusted_witness, power_blind, not_drawn |

A rule is one small predicate over a `Case`. The same table decides and explains, so an explanation
can't drift from what was decided; `chain/explain.py` adds the numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, NamedTuple

from chain.computed import Computed
from chain.draws import all_power_steps_cdb, all_tags, chain_link, commit, draw_prefix, u32
from chain.geo import cell_resolution
from chain.params import Params
from chain.records import RECEPTION_BYTES, Reception, Registration
from chain.rules.heard import Pairs
from chain.rules.hearing import get_hearing
from chain.rules.lots import Lots
from chain.rules.pairs import Pair, PairCache
from chain.state import Assertion, OnTime, State
from chain.wire import iter_receptions, unpack_receptions

NO_RSSI = 1
CAN_SET_POWER = 1
# A tag is looked for among the beacons of this many epochs before: what was recorded an hour ago
# is told from what was made up.
REPLAY_EPOCHS = 6


class Beaconer(NamedTuple):
    """What a hotspot's revealed secret says that it sent in an epoch, per beacon number."""

    assertion: Assertion
    secret: bytes
    tags: tuple[bytes, ...]
    steps_cdb: tuple[int, ...]
    weight: int


class Case:
    """One reception under judgement, and all that the rules may look at."""

    __slots__ = (
        *("beaconer", "drawn", "flags", "frequency_mhz", "heard", "judgement", "last", "pair"),
        *("pair_code", "registered", "rssi_cdbm", "sequence", "tag", "witness"),
    )
    judgement: Judgement
    witness: int
    heard: int
    sequence: int
    flags: int
    rssi_cdbm: int
    frequency_mhz: int
    tag: bytes
    registered: Assertion | None  # the beaconer's assertion in the epoch
    beaconer: Beaconer | None  # None as long as it hasn't revealed
    pair: Pair
    pair_code: int  # the first pair rule that fails, or COUNTED
    last: tuple[int, int]  # the (beaconer, number) accepted before in this report
    drawn: bool

    def full_power_rssi_cdbm(self) -> int:
        """RSSI with the secret power step taken out."""
        return self.rssi_cdbm + (self.beaconer.steps_cdb[self.sequence] if self.beaconer else 0)


def is_unknown_beaconer(case: Case) -> bool:
    """Nobody with a binding registration has this index."""
    return case.registered is None


def is_self(case: Case) -> bool:
    """A hotspot can't witness itself."""
    return case.heard == case.witness


def is_unrevealed(case: Case) -> bool:
    """Without the beaconer's secret nobody can tell what it sent."""
    return case.beaconer is None


def is_malformed(case: Case) -> bool:
    """A field holds what no hotspot writes: unknown flags, a strength that isn't there, ..."""
    is_silent = case.flags == NO_RSSI and not case.rssi_cdbm
    return not (is_silent or not case.flags) or case.sequence >= case.judgement.beacons


def is_replayed(case: Case) -> bool:
    """The tag is that of another beacon of this hotspot, of this epoch or of a recent one."""
    return is_wrong_tag(case) and case.tag in get_other_tags(case.judgement, case.heard)


def is_wrong_tag(case: Case) -> bool:
    """The entropy answer isn't the one that this beacon carried."""
    tags = case.beaconer.tags if case.beaconer else ()
    return case.sequence >= len(tags) or tags[case.sequence] != case.tag


def is_wrong_frequency(case: Case) -> bool:
    """It was heard on another channel than the one registered."""
    registered = case.registered
    return registered is None or registered.registration.frequency_mhz != case.frequency_mhz


def is_duplicate(case: Case) -> bool:
    """A beacon counts once per report."""
    return case.last == (case.heard, case.sequence)


def is_too_close(case: Case) -> bool:
    """Nearer than two sites can be."""
    return case.pair.distance_m < case.judgement.params.min_distance_m


def is_too_far(case: Case) -> bool:
    """Farther than any honest link."""
    return case.pair.distance_m > case.judgement.params.max_distance_m


def is_same_owner(case: Case) -> bool:
    """Only strangers witness."""
    return case.pair.same_owner


def is_foreign(case: Case) -> bool:
    """Beaconer and witness assert two regions, of which one rules where they are."""
    return case.pair.foreign


def is_too_strong(case: Case) -> bool:
    """Stronger than free space allows."""
    return not case.flags & NO_RSSI and case.full_power_rssi_cdbm() > case.pair.rssi_high_cdbm


def is_too_weak(case: Case) -> bool:
    """Weaker than the worst street allows."""
    return not case.flags & NO_RSSI and case.full_power_rssi_cdbm() < case.pair.rssi_low_cdbm


def is_heard_back(judgement: Judgement, witness: int, heard: int) -> bool:
    """Whether a beaconer plausibly heard the witness, in this epoch or lately."""
    back = (heard, witness)
    return back in judgement.plausible or back in judgement.recent


def is_not_mutual(case: Case) -> bool:
    """The beaconer reports nothing plausible back: a hint, not evidence."""
    return not is_heard_back(case.judgement, case.witness, case.heard)


def is_untrusted(case: Case) -> bool:
    """Trust has not reached the witness."""
    return case.witness not in case.judgement.trusted


def is_power_blind(case: Case) -> bool:
    """What the witness reports doesn't follow the secret power steps (chain/rules/slopes.py)."""
    return case.witness in case.judgement.blind


def is_held(case: Case) -> bool:
    """Its weight as a witness is held, with its pay, until a finding is settled."""
    return case.witness in case.judgement.held


def is_not_drawn(case: Case) -> bool:
    """Other witnesses drew the smaller lots."""
    return not case.drawn


Rule = tuple[str, Callable[[Case], bool]]
PAIR_RULES: Final[tuple[Rule, ...]] = (
    ("unknown_beaconer", is_unknown_beaconer),
    ("self", is_self),
    ("no_reveal", is_unrevealed),
    ("too_close", is_too_close),
    ("too_far", is_too_far),
    ("same_owner", is_same_owner),
    ("foreign_region", is_foreign),
)
SIGNAL_RULES: Final[tuple[Rule, ...]] = (
    ("malformed", is_malformed),
    ("replayed", is_replayed),
    ("wrong_tag", is_wrong_tag),
    ("wrong_frequency", is_wrong_frequency),
    ("duplicate", is_duplicate),
    ("rssi_too_high", is_too_strong),
    ("rssi_too_low", is_too_weak),
)
LINK_RULES: Final[tuple[Rule, ...]] = (
    ("not_mutual", is_not_mutual),
    ("untrusted_witness", is_untrusted),
    ("power_blind", is_power_blind),
    ("not_drawn", is_not_drawn),
    ("held_witness", is_held),
)
# Mappers have no trust of their own: it is the hotspot heard that must have some.
MAPPER_REASONS: Final = ("untrusted_beaconer",)
REPORT_REASONS: Final = ("late", "no_commit", "commit_mismatch")
# By code, as databases keep them: new ones come last, wherever their rule stands above.
REASONS: Final = (
    *("counted", *REPORT_REASONS),
    *("unknown_beaconer", "self", "no_reveal", "too_close", "too_far", "same_owner"),
    *("wrong_tag", "wrong_frequency", "duplicate", "rssi_too_high", "rssi_too_low"),
    *("not_mutual", "untrusted_witness", "not_drawn", *MAPPER_REASONS),
    *("malformed", "replayed", "power_blind", "foreign_region", "held_witness"),
)
CODES: Final = {reason: code for code, reason in enumerate(REASONS)}
COUNTED: Final = CODES["counted"]
# Of a witness whose weight is held: earns its fee, which is kept back, and counts for nobody else.
HELD: Final = CODES["held_witness"]
# Receptions that were physically plausible: what an honest map may show beside the counted ones.
PLAUSIBLE: Final = frozenset({"counted", *(name for name, _ in LINK_RULES)})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one reception."""

    epoch: int
    witness: int
    reception: Reception
    reason: str
    full_power_rssi_cdbm: int | None


@dataclass(frozen=True, slots=True)
class BeaconVerdict:
    """What became of one beacon: paid, aired (heard, not counted), unheard, or unrevealed."""

    epoch: int
    beaconer: int
    sequence: int
    verdict: str
    counts: tuple[tuple[str, int], ...]
    power_step_cdb: int | None


@dataclass(slots=True)
class Judgement:
    """One epoch under judgement: what went in, and the verdict codes that came out.

    `codes[w][i]` indexes REASONS for the i-th reception of witness w's report. `blind` and `proven`
    witnesses are those whose power slope is known to be wrong or right (chain/rules/slopes.py).
    `plausible` has every (witness, beaconer) of this epoch, `recent` those of a few before whose
    other end heard the one now (chain/rules/mutual.py). `cuts` has by how much, in centi-dB,
    beaconers count weaker than they were heard (chain/rules/loudness.py); None where that wasn't
    worked out.
    """

    params: Params
    epoch: int
    mix: bytes
    mix_after: bytes
    assertions: dict[int, Assertion]
    commits: dict[int, bytes]
    reports: dict[int, OnTime]
    beaconers: MutableMapping[int, Beaconer]
    pairs: PairCache
    blind: frozenset[int] = frozenset()
    proven: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()
    lots: Lots = field(default_factory=Lots)
    trusted: frozenset[int] = frozenset()
    other_tags: dict[int, frozenset[bytes]] = field(default_factory=dict)
    plausible: Pairs = field(default_factory=Pairs)
    recent: Pairs = field(default_factory=Pairs)
    codes: dict[int, bytearray] = field(default_factory=dict)
    cuts: dict[int, int] | None = None
    columns: object = None  # of chain/rules/verdict_arrays.py, while it is being judged

    @property
    def beacons(self) -> int:
        """How many a hotspot sends in an epoch."""
        return self.params.beacons_per_epoch

    def candidates(self) -> Iterator[tuple[int, int]]:
        """(witness, reception number) of every reception that passed the signal rules."""
        for witness, codes in self.codes.items():
            yield from ((witness, i) for i, code in enumerate(codes) if code == COUNTED)


EpochVerdicts = Judgement


def get_judgement(state: State, epoch: int, pairs: PairCache) -> Judgement:
    """Lay out the epoch before the one that closes, or one that waited for its lots.

    R of it and of two later must be there. Lots fall by R alone: see chain/rules/randomness.py.
    """
    ended = {index for index in state.ended if state.is_ended(index, epoch)}
    assertions = {
        hotspot.index: assertion
        for hotspot in state.hotspots
        if (assertion := hotspot.assertion_at(epoch)) and hotspot.index not in ended
    }
    blind, proven = get_hearing(state)
    reports, commits = get_reports(state, epoch)
    judgement = Judgement(
        params=state.params,
        epoch=epoch,
        mix=state.mixes[epoch],
        mix_after=state.mixes[epoch + 2],
        assertions=assertions,
        commits=commits,
        reports=reports,
        beaconers={},
        pairs=pairs,
        blind=blind,
        proven=proven,
        held=frozenset(state.holds),
    )

    def compute(index: int) -> Beaconer:
        return compute_beaconer(judgement, assertions[index], reports[index])

    # Large epochs ask for hardly any: chain/rules/verdict_arrays.py has them as columns.
    sent = Computed((index for index in reports if index in assertions), compute)
    return replace(judgement, beaconers=sent)


def get_reports(state: State, epoch: int) -> tuple[dict[int, OnTime], dict[int, bytes]]:
    """Reports of an epoch and the commits to them, by index, ascending."""
    if epoch == state.epoch - 1:
        return {index: state.inbox[index] for index in sorted(state.inbox)}, dict(state.commits)
    waiting = {index: m for (of, index), m in sorted(state.waiting.items()) if of == epoch}
    return waiting, {index: message.commit for index, message in waiting.items() if message.commit}


def compute_beaconer(judgement: Judgement, assertion: Assertion, message: OnTime) -> Beaconer:
    """What a hotspot's beacons carried, from the secret it revealed."""
    secret, count, registration = message.reveal, judgement.beacons, assertion.registration
    steps_cdb = (0,) * count
    if registration.flags & CAN_SET_POWER:
        steps_cdb = all_power_steps_cdb(secret, judgement.mix, count)
    weight = get_weight(registration, is_blind=assertion.index in judgement.blind)
    tags = all_tags(secret, judgement.epoch, count)
    return Beaconer(assertion, secret, tags, steps_cdb, weight)


def get_other_tags(judgement: Judgement, heard: int) -> frozenset[bytes]:
    """Tags of a revealed hotspot's beacons of this epoch and of REPLAY_EPOCHS before.

    Each secret leads to those before it; worked out once per hotspot, and only if one is wrong.
    """
    tags = judgement.other_tags.get(heard)
    if tags is None:
        found: set[bytes] = set()
        secret = judgement.beaconers[heard].secret
        for epoch in range(judgement.epoch, max(-1, judgement.epoch - REPLAY_EPOCHS - 1), -1):
            found.update(all_tags(secret, epoch, judgement.beacons))
            secret = chain_link(secret)
        tags = judgement.other_tags[heard] = frozenset(found)
    return tags


def get_report_reason(judgement: Judgement, witness: int) -> str:
    """Why a whole report can't count, or nothing."""
    committed = judgement.commits.get(witness)
    if committed is None:
        return "no_commit"
    message = judgement.reports[witness]
    expected = commit(witness, judgement.epoch, message.reveal, message.report)
    return "" if committed == expected else "commit_mismatch"


def iter_cases(judgement: Judgement, witness: int) -> Iterator[Case]:
    """The receptions of a witness's report, one after another in the same reused Case."""
    case = Case()
    case.judgement, case.witness, case.last, case.drawn = judgement, witness, (-1, -1), False
    own = judgement.assertions.get(witness)
    heard_before = -1
    for values in iter_receptions(judgement.reports[witness].report):
        case.heard, case.sequence, case.flags, case.rssi_cdbm, case.frequency_mhz, case.tag = values
        if case.heard != heard_before:  # reports are sorted: one look-up per beaconer
            heard_before = case.heard
            case.registered = judgement.assertions.get(case.heard) if own else None
            case.beaconer = judgement.beaconers.get(case.heard)
            if own and case.registered:
                case.pair = judgement.pairs.get(own, case.registered)
            case.pair_code = judge_pair(case)
        yield case


def get_first_failing(rules: tuple[Rule, ...], case: Case) -> int:
    """The first of some rules that a reception fails, as a code; COUNTED if it passes them all."""
    for name, fails in rules:
        if fails(case):
            return CODES[name]
    return COUNTED


def judge_pair(case: Case) -> int:
    """The first pair rule that fails; what passes them all, nearly everything, takes one look."""
    if case.registered and case.beaconer and case.heard != case.witness:
        pair, params = case.pair, case.judgement.params
        is_near = params.min_distance_m <= pair.distance_m <= params.max_distance_m
        if is_near and not (pair.same_owner or pair.foreign):
            return COUNTED
    return get_first_failing(PAIR_RULES, case)


def judge_signal(case: Case) -> int:
    """The first signal rule that fails; what passes them all takes one look."""
    beaconer, registered, sequence = case.beaconer, case.registered, case.sequence
    if (
        beaconer
        and registered
        and sequence < len(beaconer.tags)
        and beaconer.tags[sequence] == case.tag
        and registered.registration.frequency_mhz == case.frequency_mhz
        and case.last != (case.heard, sequence)
    ):
        full_power_cdbm, pair = case.rssi_cdbm + beaconer.steps_cdb[sequence], case.pair
        is_silent = case.flags == NO_RSSI and not case.rssi_cdbm
        is_fair = pair.rssi_low_cdbm <= full_power_cdbm <= pair.rssi_high_cdbm
        if is_silent or (is_fair and not case.flags):
            return COUNTED
    return get_first_failing(SIGNAL_RULES, case)


def process_signals(judgement: Judgement) -> None:
    """Judge every report by itself, and note who plausibly heard whom."""
    for witness in judgement.reports:
        process_report(judgement, witness)


def process_report(judgement: Judgement, witness: int) -> None:
    """Judge one report by itself."""
    if reason := get_report_reason(judgement, witness):
        entries = len(judgement.reports[witness].report) // RECEPTION_BYTES
        judgement.codes[witness] = bytearray([CODES[reason]]) * entries
        return
    codes = bytearray()
    for case in iter_cases(judgement, witness):
        code = case.pair_code or judge_signal(case)
        if code == COUNTED:
            case.last = (case.heard, case.sequence)
            judgement.plausible.add((witness, case.heard))
        codes.append(code)
    judgement.codes[witness] = codes


def get_mutual_links(judgement: Judgement) -> list[tuple[int, int]]:
    """Pairs, lower index first, that plausibly heard each other."""
    plausible = judgement.plausible.get_all()
    return sorted((a, b) for a, b in plausible if a < b and (b, a) in plausible)


def get_link_code(judgement: Judgement, witness: int, heard: int) -> int:
    """The verdict on all plausible receptions of a pair, as far as the draw doesn't change it."""
    is_mutual = is_heard_back(judgement, witness, heard)
    if is_mutual and witness in judgement.trusted and witness not in judgement.blind:
        return HELD if witness in judgement.held else COUNTED
    case = Case()
    case.judgement, case.witness, case.heard, case.drawn = judgement, witness, heard, True
    return get_first_failing(LINK_RULES, case)


def process_links(judgement: Judgement, trusted: frozenset[int]) -> None:
    """Judge what only shows once every report is read: mutual hearing, trust, the draw."""
    judgement.trusted = trusted
    lots: dict[int, list[tuple[int, int]]] = {}  # beacon (heard << 8 | number) -> (witness, entry)
    for witness, message in judgement.reports.items():
        codes = judgement.codes[witness]
        link_codes: dict[int, int] = {}
        for entry, (heard, sequence, _, _, _, _) in enumerate(iter_receptions(message.report)):
            if codes[entry] != COUNTED:
                continue
            if (code := link_codes.get(heard)) is None:
                code = link_codes[heard] = get_link_code(judgement, witness, heard)
            codes[entry] = code
            if code in (COUNTED, HELD):
                lots.setdefault(heard << 8 | sequence, []).append((witness, entry))
    for beacon, candidates in lots.items():
        process_draw(judgement, beacon, candidates)


def process_draw(judgement: Judgement, beacon: int, candidates: list[tuple[int, int]]) -> None:
    """Strike out a beacon's candidates, (witness, entry) pairs, that were not drawn.

    Who is held draws a lot like others, but takes nobody's place.
    """
    limit = judgement.params.witnesses_drawn
    if len(candidates) <= limit:
        return
    prefix = draw_prefix(judgement.mix_after, beacon >> 8, judgement.epoch, beacon & 0xFF)
    lots = sorted((sha256(prefix + u32(pair[0])).digest(), pair) for pair in candidates)
    drawn = 0
    for _, (witness, entry) in lots:
        codes = judgement.codes[witness]
        if drawn == limit:
            codes[entry] = CODES["not_drawn"]
        drawn += codes[entry] == COUNTED


def get_reason_counts(judgement: Judgement) -> Counter[str]:
    """How many receptions got each verdict."""
    codes = b"".join(judgement.codes.values())
    totals = {reason: codes.count(code) for code, reason in enumerate(REASONS)}
    return Counter({reason: n for reason, n in totals.items() if n})


def get_verdicts(judgement: Judgement) -> Iterator[Verdict]:
    """Every reception with its verdict, by witness and in the order of its report."""
    for witness, message in judgement.reports.items():
        codes = judgement.codes[witness]
        for number, reception in enumerate(unpack_receptions(message.report)):
            yield Verdict(
                judgement.epoch,
                witness,
                reception,
                REASONS[codes[number]],
                get_full_power_rssi(judgement, reception),
            )


def get_full_power_rssi(judgement: Judgement, reception: Reception) -> int | None:
    """RSSI in centi-dBm with the power step taken out; None where either isn't known."""
    if reception.flags & NO_RSSI:
        return None
    step_cdb = get_power_step(judgement, reception.heard, reception.sequence)
    return None if step_cdb is None else reception.rssi_cdbm + step_cdb


def get_power_step(judgement: Judgement, heard: int, sequence: int) -> int | None:
    """How far below full power a beacon was sent, in centi-dB, once its secret is known."""
    steps = beaconer.steps_cdb if (beaconer := judgement.beaconers.get(heard)) else ()
    return steps[sequence] if sequence < len(steps) else None


def get_beacon_verdicts(judgement: Judgement) -> list[BeaconVerdict]:
    """Every beacon that was due from a revealed secret, or that somebody claims to have heard."""
    counts: dict[tuple[int, int], dict[int, int]] = {
        (index, n): {}
        for index in judgement.beaconers
        for n in range(judgement.params.beacons_per_epoch)
    }
    for witness, message in judgement.reports.items():
        receptions = iter_receptions(message.report)
        for code, (heard, sequence, *_) in zip(judgement.codes[witness], receptions, strict=True):
            of_beacon = counts.setdefault((heard, sequence), {})
            of_beacon[code] = of_beacon.get(code, 0) + 1
    return [
        BeaconVerdict(
            judgement.epoch,
            *beacon,
            get_beacon_verdict(judgement, beacon, codes),
            tuple(sorted((REASONS[code], count) for code, count in codes.items())),
            get_power_step(judgement, *beacon),
        )
        for beacon, codes in sorted(counts.items())
    ]


def get_beacon_verdict(
    judgement: Judgement, beacon: tuple[int, int], codes: Collection[int]
) -> str:
    """One word for a beacon, from the codes that its receptions got."""
    if beacon[0] not in judgement.beaconers:
        return "unrevealed"
    if COUNTED in codes:
        return "paid"
    return "aired" if any(REASONS[code] in PLAUSIBLE for code in codes) else "unheard"


# Location precision that the owner chose: coarser than a res-9 cell weighs less.
PRECISION_WEIGHT = {7: 1, 8: 2, 9: 4, 10: 4}
# A radio that can't set its power can't answer for free riders: a quarter of the weight. The same
# for one whose own reports don't follow the power of others.
POWER_WEIGHT = {True: 4, False: 1}


def get_weight(registration: Registration, *, is_blind: bool = False) -> int:
    """What a beaconer's location precision and its radio make its receptions worth."""
    sets_power = bool(registration.flags & CAN_SET_POWER) and not is_blind
    return PRECISION_WEIGHT[cell_resolution(registration.cell)] * POWER_WEIGHT[sets_power]
