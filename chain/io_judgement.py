"""A judgement of long ago, from what is stored of its epoch: nothing is replayed.

The stored verdict codes tell what the rules knew then: who was trusted, whom a rule took for
registered, which receptions were plausible. Secrets, reports and commits are in the messages of the
epochs around it, places and radios in the registrations that bound then.
"""

from __future__ import annotations

import json

from chain.admission import Role
from chain.records import EpochMessage, Randomness, Refusal, Registration, Signed
from chain.rules.appointments import get_keys
from chain.rules.lots import Lots, compute_lots
from chain.rules.pairs import PairCache
from chain.rules.registration import get_bind_epoch, shorten
from chain.rules.verdicts import CODES, HELD, PLAUSIBLE, REASONS, Judgement, compute_beaconer
from chain.state import Assertion, Chain, OnTime, get_genesis_state
from chain.store.io_restore import load_genesis, load_params, load_table
from chain.store.io_schema import REGISTRATION, UNREADABLE, damaged
from chain.store.io_store import WEAKER, Store
from chain.wire import decode, iter_receptions

UNKNOWN = CODES["unknown_beaconer"]
BLIND = CODES["power_blind"]
TRUSTED_CODES = frozenset({CODES["counted"], CODES["not_drawn"], BLIND, HELD})


def load_judgement(store: Store, epoch: int, beaconer: int) -> Judgement | None:
    """The judgement on an epoch as far as it concerns one beaconer; None if there was none.

    Reads what was reported in that epoch, however long the log is. UserError if it is damaged.
    """
    try:
        return _load(store, epoch, beaconer)
    except (*UNREADABLE, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise damaged(store.path, error) from error


def _load(store: Store, epoch: int, beaconer: int) -> Judgement | None:
    if not _has_verdicts(store, epoch):
        return None
    judgement = Judgement(
        params=load_params(store, epoch + 1),  # of the epoch that judges it
        epoch=epoch,
        mix=_load_mix(store, epoch),
        mix_after=_load_mix(store, epoch + 2),
        assertions={},
        commits={},
        reports={},
        beaconers={},
        pairs=PairCache(),
    )
    judgement.lots = _load_lots(store, epoch)
    judgement.cuts = _load_cuts(store, epoch, beaconer)
    _load_reports(store, judgement, beaconer)
    _load_assertions(store, judgement, beaconer)
    _load_knowledge(judgement)
    for index, message in judgement.reports.items():
        if index in judgement.assertions:
            assertion = judgement.assertions[index]
            judgement.beaconers[index] = compute_beaconer(judgement, assertion, message)
    return judgement


def _has_verdicts(store: Store, epoch: int) -> bool:
    sql = (
        "SELECT 1 FROM verdicts v JOIN records r ON r.id = v.record_id"
        " WHERE v.epoch = ? AND r.reason = 'ok' LIMIT 1"
    )
    return bool(store.rows(sql, (epoch,)))


def _load_mix(store: Store, epoch: int) -> bytes:
    rows = store.rows("SELECT mix FROM mixes WHERE epoch = ?", (epoch,))
    if not rows:
        raise ValueError(f"mixes epoch {epoch} is missing")
    return bytes(rows[0]["mix"])


def _load_lots(store: Store, epoch: int) -> Lots:
    """By what the lots of an epoch were drawn: from appointments, and the outputs in the log."""
    state = get_genesis_state(*load_genesis(store))
    load_table(store, state, "appointments")
    counts = []
    for close in (epoch, epoch + 1):
        cosigners = get_keys(state, Role.COSIGNER, close)
        sql = (
            "SELECT count(*) AS n FROM records r JOIN blocks b ON b.height = r.height"
            f" WHERE r.kind = {Randomness.TYPE} AND b.epoch = ?"
        )
        shown = store.rows(sql, (close + 1,))[0]["n"] if cosigners else 0
        counts.append((shown, len(cosigners)))
    return compute_lots(*counts)


def _load_cuts(store: Store, epoch: int, beaconer: int) -> dict[int, int]:
    """How much weaker a beaconer counted than it was heard, if it did."""
    sql = "SELECT counts FROM beacons WHERE epoch = ? AND beaconer = ? LIMIT 1"
    rows = store.rows(sql, (epoch, beaconer))
    cut_cdb = json.loads(rows[0]["counts"]).get(WEAKER, 0) if rows else 0
    return {beaconer: int(cut_cdb)} if cut_cdb else {}


def _load_reports(store: Store, judgement: Judgement, beaconer: int) -> None:
    """The reports that may name the beaconer, and its own; with their codes and commits."""
    sql = (
        "SELECT v.witness, v.codes, r.wire FROM verdicts v JOIN records r ON r.id = v.record_id"
        " WHERE v.epoch = ? AND r.reason = 'ok' AND (v.witness = ? OR instr(r.wire, ?) > 0)"
        " ORDER BY v.witness"
    )
    parameters = (judgement.epoch, beaconer, beaconer.to_bytes(4, "big"))
    for row in store.rows(sql, parameters):
        witness, message = row["witness"], _message_of(row["wire"])
        judgement.reports[witness] = message
        judgement.codes[witness] = bytearray(row["codes"])
        if (commit := _load_commit(store, judgement.epoch, witness)) is not None:
            judgement.commits[witness] = commit


def _message_of(raw: bytes) -> OnTime:
    signed = decode(raw)
    if isinstance(signed, Refusal) or not isinstance(signed.record, EpochMessage):
        raise ValueError("a verdict names a record that is no epoch message")
    message = signed.record
    return OnTime(signed.record_id, message.commit, message.report, message.reveal)


def _load_commit(store: Store, epoch: int, witness: int) -> bytes | None:
    """What a witness committed to in an epoch: its message of then carried the report before."""
    sql = (
        "SELECT r.wire FROM verdicts v JOIN records r ON r.id = v.record_id"
        " WHERE v.epoch = ? AND v.witness = ? AND r.reason = 'ok'"
    )
    rows = store.rows(sql, (epoch - 1, witness))
    return _message_of(rows[0]["wire"]).commit if rows else None


def _load_assertions(store: Store, judgement: Judgement, beaconer: int) -> None:
    """What bound then, for the beaconer and the witnesses whom the rules took for registered."""
    known = {w for w, codes in judgement.codes.items() if set(codes) - {UNKNOWN}}
    if _was_registered(store, judgement, beaconer):
        known.add(beaconer)
    else:
        known.discard(beaconer)
    for index in sorted(known):
        assertion = load_assertion(store, index, judgement.epoch)
        if assertion is not None:
            judgement.assertions[index] = assertion


def _was_registered(store: Store, judgement: Judgement, beaconer: int) -> bool:
    """Whether the rules knew the beaconer: its secret was used, or a verdict on it says so."""
    sql = "SELECT 1 FROM beacons WHERE epoch = ? AND beaconer = ? AND verdict != 'unrevealed'"
    if store.rows(sql, (judgement.epoch, beaconer)):
        return True
    for witness, message in judgement.reports.items():
        pairs = zip(iter_receptions(message.report), judgement.codes[witness], strict=True)
        if any(r[0] == beaconer and REASONS[code] == "no_reveal" for r, code in pairs):
            return True
    return False


def load_assertion(store: Store, hotspot: int, epoch: int) -> Assertion | None:
    """The assertion of a hotspot that bound in an epoch, from its registrations in order."""
    sql = (
        "SELECT r.wire, b.epoch FROM records r JOIN blocks b ON b.height = r.height"
        f" WHERE r.kind = {REGISTRATION} AND r.result_index = ? ORDER BY r.seq"
    )
    params = load_params(store, epoch)
    found: Assertion | None = None
    for row in store.rows(sql, (hotspot,)):
        signed = decode(row["wire"])
        if not isinstance(signed, Signed) or not isinstance(signed.record, Registration):
            raise ValueError(f"a registration of hotspot {hotspot} is none")
        bind_epoch = get_bind_epoch(params, row["epoch"], signed.record)
        if bind_epoch <= epoch:
            found = _build_assertion(hotspot, signed.record, bind_epoch)
    return found


def _build_assertion(hotspot: int, registration: Registration, bind_epoch: int) -> Assertion:
    kept = shorten(registration)
    first = kept.first_epoch
    chain = Chain(first, kept.chain_length, kept.anchor, first - 1, registration.anchor)
    return Assertion(hotspot, kept, bind_epoch, chain)


def _load_knowledge(judgement: Judgement) -> None:
    """Who plausibly heard whom, and whom the rules trusted, as far as the codes tell."""
    trusted: set[int] = set()
    blind: set[int] = set()
    held: set[int] = set()
    for witness, message in judgement.reports.items():
        codes = judgement.codes[witness]
        if TRUSTED_CODES & set(codes):
            trusted.add(witness)
        if BLIND in codes:
            blind.add(witness)
        if HELD in codes:
            held.add(witness)
        for reception, code in zip(iter_receptions(message.report), codes, strict=True):
            if REASONS[code] in PLAUSIBLE:
                judgement.plausible.add((witness, reception[0]))
                if REASONS[code] != "not_mutual":  # so it was heard back, now or lately
                    judgement.recent.add((reception[0], witness))
    judgement.trusted, judgement.blind = frozenset(trusted), frozenset(blind)
    judgement.held = frozenset(held)
