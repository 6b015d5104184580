"""Attacks on records: real signatures, the real ledger, and the reason by which each is refused.

Every attack submits what it has and names the reasons that count as stopped. One that is taken, or
stopped by another reason, is a failure of the rules and shows as a share below one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chain import wire
from chain.drafts import encode_wire
from chain.packed import Entry, pack_receipts
from chain.records import EpochMessage, Finding, Receipt, Receipts, Reception, RelayClaim, Signed
from chain.records import SubmitResult as Result
from chain.rules.verdicts import REASONS
from chain.vectors.town import FIRST_EPOCH, FREQUENCY_MHZ, Town, make_tree
from radio_sim.attacks.outcome import Outcome
from radio_sim.draws import draw_below, draw_u64

HONEST, OTHER, THIEF = 0, 1, 2
MIB = 1 << 20
EPOCH_FORK, CLAIM_FORK = 1, 2
ORDER = (1 << 252) + 27_742_317_777_372_353_535_851_937_790_883_648_493  # of Ed25519's base point
FLOOD = 500


@dataclass(frozen=True, slots=True)
class RecordAttack:
    """One attack: what it does, the reasons that stop it, and the function that tries it."""

    name: str
    summary: str
    reasons: tuple[str, ...]
    run: Callable[[int], Tried]


@dataclass(frozen=True, slots=True)
class Tried:
    """What was answered, by reason; what the attacker got out and put in, in ucr."""

    answers: Counter[str]
    gained_ucr: int = 0
    spent_ucr: int = 0


def measure_records(attack: RecordAttack, seed: int) -> Outcome:
    """An attack's figures."""
    tried = attack.run(seed)
    total = sum(tried.answers.values())
    stopped = sum(tried.answers[reason] for reason in attack.reasons)
    net = tried.gained_ucr - tried.spent_ucr
    return Outcome(
        attack.name,
        "records",
        attack.summary,
        0.0,
        leaked_share=0.0 if stopped == total else (total - stopped) / total,
        attacker_return=net / tried.spent_ucr if tried.spent_ucr else 0.0,
        refused_share=stopped / total if total else 0.0,
        refused=dict(sorted(tried.answers.items())),
        details={"expected": list(attack.reasons), "tried": total, "net_ucr": net},
    )


def get_town(seed: int, last: int = 6) -> Town:
    """A small honest network that has run for some epochs; the last is still open."""
    town = Town(f"laboratory {seed}", preset="testbed")
    town.join()
    for epoch in range(FIRST_EPOCH, last + 1):
        town.run_epoch(epoch)
    return town


def count_reasons(results: Iterable[Result]) -> Counter[str]:
    """Answers by reason; what changed the state is `taken`."""
    return Counter(
        result.reason if not result.accepted or result.reason == "already" else "taken"
        for result in results
    )


def wealth(town: Town, number: int) -> int:
    """What a hotspot's owner has, the bond included."""
    state = town.ledger.state
    return state.balance(town.owner(number)) + state.hotspots[number].bond_ucr


def resign(signed: Signed, signature: bytes) -> bytes:
    """The same record under one other signature."""
    return encode_wire(signed.record, (signature,))


# --- records that were said before, or by somebody else -------------------------------------------


def replay_records(seed: int) -> Tried:
    """Everything accepted so far, sent again, now and epochs later; and last epoch's beacons."""
    town = get_town(seed)
    wires = [raw for step in town.steps for raw in step.wires]
    answers = count_reasons(town.ledger.submit(wires, town.ledger.state.time_ms))
    town.go_to(town.epoch + 4)
    answers += count_reasons(town.ledger.submit(wires, town.ledger.state.time_ms))
    stale = town.report(THIEF, town.epoch)

    def replay(witness: int, heard: list[Reception]) -> list[Reception]:
        nonlocal stale
        reported = stale if witness == THIEF else heard
        stale = heard if witness == THIEF else stale
        return reported

    return Tried(answers + judge_reports(town, replay))


def judge_reports(
    town: Town, edit: Callable[[int, list[Reception]], list[Reception]], epochs: int = 4
) -> Counter[str]:
    """Verdicts on what the thief reports over some epochs, after the first."""
    first, counts = town.epoch + 1, Counter[str]()
    for epoch in range(first, first + epochs + 2):
        town.run_epoch(epoch, edit)
        judgement = town.ledger.verdicts(epoch - 2)
        if judgement is not None and first < judgement.epoch:
            counts += Counter(REASONS[code] for code in judgement.codes.get(THIEF, b""))
    return counts


def guess_tags(seed: int) -> Tried:
    """Beacons reported before they were sent: the tag must be guessed."""
    town = get_town(seed)

    def guess(witness: int, heard: list[Reception]) -> list[Reception]:
        if witness != THIEF:
            return heard
        numbers = (draw_u64(seed, "guess", r.heard, r.sequence) for r in heard)
        return [
            replace(r, tag=(number >> 32).to_bytes(4, "big"))
            for r, number in zip(heard, numbers, strict=True)
        ]

    return Tried(judge_reports(town, guess))


def copy_receipts(seed: int) -> Tried:
    """Another's report, copied after it was published: the commit was made before."""
    town, counts = get_town(seed), Counter[str]()
    for _ in range(4):
        epoch = town.epoch + 1
        town.run_epoch(epoch, lambda w, heard: [] if w == THIEF else heard)
        # A lookup of what the honest one published, as if the thief had heard it.
        town.heard[epoch][THIEF] = b"".join(
            sorted(
                wire.pack_reception(reception)
                for reception in wire.unpack_receptions(town.heard[epoch][HONEST])
                if reception.heard != THIEF
            )
        )
        town.run_epoch(epoch + 1)
        town.go_to(epoch + 2)
        judgement = town.ledger.verdicts(epoch)
        if judgement is not None:
            counts += Counter(REASONS[code] for code in judgement.codes.get(THIEF, b""))
    return Tried(counts)


def malform_evidence(seed: int) -> Tried:
    """Reports out of order, of itself, of strangers, twice, on another channel, and unaligned."""
    town = get_town(seed)

    def spoil(witness: int, heard: list[Reception]) -> list[Reception]:
        if witness != THIEF:
            return heard
        one = heard[0]
        return [
            replace(one, heard=THIEF),
            replace(one, heard=77),
            replace(one, frequency_mhz=FREQUENCY_MHZ + 25),
            replace(one, rssi_cdbm=0),
            replace(one, rssi_cdbm=-30_000),
            replace(one, sequence=200),
        ]

    return Tried(judge_reports(town, spoil))


# --- keys and signatures --------------------------------------------------------------------------


def clone_key(seed: int) -> Tried:
    """One key in two places: two messages for one epoch, and what the finding costs."""
    town = get_town(seed)
    before = wealth(town, THIEF)
    epoch = town.epoch
    twin = town.message(THIEF, epoch, commit=bytes(32))
    answers = count_reasons(town.submit(twin))
    first = town.message(THIEF, epoch)
    record = Finding(EPOCH_FORK, THIEF, epoch, (first.wire, twin.wire), town.owner(HONEST))
    found = town.submit(town.seal(record, ("owner", HONEST)))
    answers["slashed" if found[0].accepted else found[0].reason] += 1
    late = count_reasons(town.submit(town.message(THIEF, epoch, commit=b"\1" * 32)))
    gained = wealth(town, THIEF) - before
    return Tried(answers + late, gained_ucr=max(0, gained), spent_ucr=max(0, -gained))


def tamper(seed: int) -> Tried:
    """Every byte of a message, a registration and a transfer, changed on its way."""
    town = get_town(seed)
    town.go_to(town.epoch + 1)
    town.hear(town.epoch)
    fresh = town.registration(THIEF, height_m=20)
    wires = [town.message(HONEST, town.epoch).wire, fresh.wire]
    wires.append(town.transfer(HONEST, town.owner(OTHER), 1_000).wire)
    tampered = []
    for raw in wires:
        for at in range(len(raw)):
            flip = 1 + draw_below(255, seed, "flip", at)
            tampered.append(raw[:at] + bytes((raw[at] ^ flip,)) + raw[at + 1 :])
    return Tried(count_reasons(town.submit(*tampered)))


def malleate(seed: int) -> Tried:
    """Other signatures that careless libraries take: S + L, high bits, small order, swapped."""
    town = get_town(seed)
    town.go_to(town.epoch + 1)
    town.hear(town.epoch)
    signed = town.message(HONEST, town.epoch)
    raw = signed.signatures[0]
    point, scalar = raw[:32], int.from_bytes(raw[32:], "little")
    forms = [point + (scalar + n * ORDER).to_bytes(32, "little") for n in range(1, 8)]
    forms += [point + (scalar | 1 << bit).to_bytes(32, "little") for bit in (253, 254, 255)]
    forms += [bytes((*point[:31], point[31] ^ 0x80)) + raw[32:]]
    forms += [small + raw[32:] for small in (bytes(32), b"\1" + bytes(31), b"\xee" + b"\xff" * 31)]
    forms += [small + bytes(32) for small in (bytes(32), b"\1" + bytes(31))]
    forms += [raw[32:] + point, bytes(64), b"\xff" * 64]
    wires = [resign(signed, form) for form in forms if form != raw]
    return Tried(count_reasons(town.submit(*wires)))


def flood(seed: int) -> Tried:
    """Messages in everybody's name with random signatures, then the honest ones."""
    town = get_town(seed)
    town.go_to(town.epoch + 1)
    town.hear(town.epoch)
    signed = [town.message(number, town.epoch) for number in range(town.count)]
    bad = []
    for number in range(FLOOD):
        words = (draw_u64(seed, "flood", number, part) for part in range(8))
        signature = b"".join(word.to_bytes(8, "big") for word in words)
        bad.append(resign(signed[number % town.count], signature))
    answers = count_reasons(town.submit(*bad))
    honest = town.submit(*signed)
    answers["honest_lost"] = sum(1 for result in honest if not result.accepted)
    return Tried(+answers)


def bribe_auditor(seed: int) -> Tried:
    """Findings against an honest hotspot: made up, unsigned, about others, or the same twice."""
    town = get_town(seed)
    epoch, victim = town.epoch, HONEST
    real = town.message(victim, epoch)
    record = real.record
    if not isinstance(record, EpochMessage):
        raise TypeError("not an epoch message")
    other = replace(record, commit=bytes(32))
    forged = town.seal(other, ("hotspot", THIEF))
    pairs = [
        (real.wire, forged.wire),
        (real.wire, resign(forged, bytes(64))),
        (real.wire, real.wire),
        (real.wire, town.message(THIEF, epoch).wire),
        (real.wire, town.message(victim, epoch - 1).wire),
        (real.wire, b"\x80"),
        (real.wire, town.registration(victim).wire),
    ]
    findings = [
        town.seal(Finding(EPOCH_FORK, victim, epoch, pair, town.owner(THIEF)), ("owner", THIEF))
        for pair in pairs
    ]
    before = wealth(town, victim)
    answers = count_reasons(town.submit(*findings))
    answers["victim_slashed"] = int(wealth(town, victim) < before)
    return Tried(+answers)


# --- sessions and claims --------------------------------------------------------------------------


def open_session(town: Town, payer: int = HONEST, payee: int = THIEF) -> int:
    """A session; its number."""
    result = town.submit(town.opening(payer, payee))[0]
    if result.index is None:
        raise RuntimeError(f"the laboratory's session was refused: {result.detail}")
    return result.index


def claim_twice(seed: int) -> Tried:
    """The same receipts by two claims, and two claims of one epoch; the second proves fraud."""
    town = get_town(seed)
    session = open_session(town)
    receipt = town.receipt(HONEST, THIEF, session, 1, MIB)
    taken = town.submit(town.claim(receipt))
    if not taken[0].accepted:
        raise RuntimeError(f"the laboratory's claim was refused: {taken[0].detail}")
    paid = wealth(town, THIEF)
    answers = count_reasons(town.submit(town.claim(receipt), town.receipts(receipt)))
    newer = town.receipt(HONEST, THIEF, session, 2, 2 * MIB)
    entry = Entry(session, 2, MIB, 0, 0)
    claim = town.relay_claim(THIEF, town.epoch, [entry], make_tree([entry], [newer], [MIB]))
    record = claim.record
    if not isinstance(record, RelayClaim):
        raise TypeError("not a claim")
    first = town.seal(replace(record, total_ucr=1_000_000), ("hotspot", THIEF))
    second = town.seal(replace(record, total_ucr=1_000_000, root=bytes(32)), ("hotspot", THIEF))
    town.submit(first)
    answers += count_reasons(town.submit(second, town.receipts(newer)))
    finding = Finding(
        CLAIM_FORK, THIEF, town.epoch, (first.wire, second.wire), town.owner(HONEST)
    )
    found = town.submit(town.seal(finding, ("owner", HONEST)))
    answers["slashed" if found[0].accepted else found[0].reason] += 1
    lost = paid - wealth(town, THIEF)
    return Tried(answers, gained_ucr=max(0, -lost), spent_ucr=max(0, lost))


def claim_stale(seed: int) -> Tried:
    """Older receipts after newer ones, and totals that fall."""
    town = get_town(seed)
    session = open_session(town)
    receipts = [town.receipt(HONEST, THIEF, session, n, n * MIB // 4) for n in range(1, 6)]
    town.submit(town.claim(receipts[-1]))
    falling = town.receipt(HONEST, THIEF, session, 9, MIB // 4)
    stale = [town.claim(receipt) for receipt in [*receipts[:-1], falling]]
    stale += [town.seal(Receipts(pack_receipts([receipt]))) for receipt in receipts[:-1]]
    return Tried(count_reasons(town.submit(*stale)))


def truncate_session(seed: int) -> Tried:
    """A payer claims an early receipt and hopes that the later one is forgotten.

    What it can really save is what was relayed beyond the newest receipt: one chunk, once.
    """
    town = get_town(seed)
    session = open_session(town, THIEF, OTHER)
    before = wealth(town, THIEF) + town.ledger.state.sessions[session].escrow_ucr
    early, late = (town.receipt(THIEF, OTHER, session, n, n * MIB) for n in (1, 4))
    town.submit(town.claim(early))
    town.submit(town.claim(late))
    answers = count_reasons(town.submit(town.claim(replace(early, sequence=1))))
    escrow = town.ledger.state.sessions[session].escrow_ucr
    paid = before - wealth(town, THIEF) - escrow
    due = 4 * 1_000_000  # at the session's price of one credit per MiB
    answers["underpaid"] = int(paid < due)
    chunk = town.ledger.params.chunk_bytes * 1_000_000 // MIB
    return Tried(+answers, gained_ucr=chunk, spent_ucr=due + chunk)


def inflate_alone(seed: int) -> Tried:
    """A relay writes more bytes into what its payer signed, or claims them under a root."""
    town = get_town(seed)
    session = open_session(town)
    receipt = town.receipt(HONEST, THIEF, session, 1, MIB)
    grown = [replace(receipt, relayed_bytes=n * MIB) for n in range(2, 10)]
    own = [town.receipt(THIEF, THIEF, session, 1, n * MIB) for n in range(2, 6)]
    answers = count_reasons(town.submit(*(town.claim(item) for item in [*grown, *own])))
    return Tried(answers + claim_unopened(town, session, receipt), spent_ucr=get_bond(town))


def claim_unopened(town: Town, session: int, receipt: Receipt) -> Counter[str]:
    """A claim whose leaf nobody can open, until its deadline: the bond goes, nothing burns."""
    entry = Entry(session, 1, 5 * MIB, 0, 0)
    grown = replace(receipt, relayed_bytes=5 * MIB)
    tree = make_tree([entry], [grown], [5_000_000])
    taken = town.submit(town.relay_claim(THIEF, town.epoch, [entry], tree))
    if not taken[0].accepted:
        return count_reasons(taken)
    town.wait_for(town.epoch + town.ledger.params.opening_epochs + 2)
    bond = town.ledger.state.hotspots[THIEF].bond_ucr
    return Counter({"taken" if bond or town.ledger.state.sessions[session].claimed_ucr
                    else "slashed": 1})


def get_bond(town: Town) -> int:
    """What a hotspot has locked."""
    return town.ledger.params.bond_ucr


def relay_junk(seed: int) -> Tried:
    """Bytes that nobody asked for: the payer signs no receipt, whoever else signs."""
    town = get_town(seed)
    session = open_session(town)
    forged = [town.receipt(OTHER, THIEF, session, n, n * MIB) for n in range(1, 6)]
    blank = [replace(item, payer_signature=bytes(64)) for item in forged]
    unknown = [town.receipt(HONEST, THIEF, 99, 1, MIB)]
    claims: Sequence[Signed] = [town.claim(item) for item in [*forged, *blank, *unknown]]
    return Tried(count_reasons(town.submit(*claims)))


RECORDS = (
    RecordAttack(
        "replay", "everything accepted once more, and last epoch's beacons",
        ("already", "duplicate", "wrong_epoch", "fork", "wrong_tag", "replayed"), replay_records,
    ),
    RecordAttack(
        "guessed-beacon", "beacons reported before they were sent", ("wrong_tag",), guess_tags
    ),
    RecordAttack(
        "receipt-copy", "another's report copied once it is public",
        ("commit_mismatch",), copy_receipts,
    ),
    RecordAttack(
        "malformed-evidence", "itself, strangers, other channels, impossible strengths",
        ("self", "unknown_beaconer", "wrong_frequency", "foreign_region", "rssi_too_high",
         "rssi_too_low", "malformed"),
        malform_evidence,
    ),
    RecordAttack("key-clone", "one key says two things", ("fork", "slashed"), clone_key),
    RecordAttack(
        "double-claim", "one receipt claimed twice, two claims of one epoch",
        ("already", "fork", "claim_pending", "slashed"), claim_twice,
    ),
    RecordAttack(
        "stale-receipt", "older receipts after newer ones", ("stale_receipt",), claim_stale
    ),
    RecordAttack(
        "truncated-session", "an early receipt instead of the newest",
        ("stale_receipt", "already"), truncate_session,
    ),
    RecordAttack(
        "inflated-one-sided", "more bytes than the payer signed",
        ("bad_signature", "slashed", "stale_receipt"), inflate_alone,
    ),
    RecordAttack(
        "junk-relay", "bytes that nobody asked for", ("bad_signature", "unknown_session"),
        relay_junk,
    ),
    RecordAttack(
        "tampering", "every byte of three records changed",
        ("bad_signature", "bad_shape", "unknown_hotspot", "wrong_epoch", "fork", "wrong_place",
         "not_allowed", "unknown_type", "bad_reveal"),
        tamper,
    ),
    RecordAttack(
        "malleability", "other signatures that careless libraries take",
        ("bad_signature",), malleate,
    ),
    RecordAttack(
        "flood", "500 bad signatures in front of honest messages", ("bad_signature",), flood
    ),
    RecordAttack(
        "bribed-auditor", "findings without proof against an honest hotspot",
        ("unsigned_evidence", "same_evidence", "other_evidence", "bad_evidence"), bribe_auditor,
    ),
)
