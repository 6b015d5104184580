"""Findings: proof that one key said two things where it may say one, checked again from nothing.

Evidence stands for itself: two signed pieces of this network, of one key, about one thing, with
different content. Nothing else is asked of who reports it, and what isn't proof costs nothing.
Hotspots lose their bond (chain/rules/bonds.py); a sequencer loses its appointment.
"""

from __future__ import annotations

from chain import wire
from chain.admission import Found, Offence, Role
from chain.beacon_payload import NAME as BEACON
from chain.beacon_payload import BeaconPayload, parse_beacon_payload
from chain.proofs.checkpoint import Checkpoint, origin_of, parse_checkpoint
from chain.proofs.note import ED25519, Note, VerifierKey, parse_note, verify_note
from chain.proofs.witness import tells_two_balances
from chain.records import EpochMessage, Finding, Refusal, RelayClaim, Signed
from chain.rules.appointments import get_first_members, get_rows, process_revocation
from chain.rules.bonds import get_end_refusal, is_released, is_slashed, process_slash
from chain.rules.former_keys import get_key_at
from chain.rules.outcome import Accepted, Effects, Verdict, Verify
from chain.rules.treasury import get_account_refusal
from chain.state import State

MESSAGES: dict[int, type[EpochMessage] | type[RelayClaim]] = {
    Offence.EPOCH_FORK: EpochMessage,
    Offence.CLAIM_FORK: RelayClaim,
}


def process_finding(
    state: State, signed: Signed, finding: Finding, verify: Verify, effects: Effects
) -> Verdict:
    """Check a proof of fraud, and make it cost what it costs."""
    culprit = get_culprit(state, finding, verify)
    if isinstance(culprit, Refusal):
        return culprit
    if refusal := get_account_refusal(state, signed, finding.reporter, "reporter", verify):
        return refusal
    slashed = reward = 0
    if finding.kind == Offence.LOG_FORK:
        process_revocation(state, Role.SEQUENCER, culprit, signed.record_id)
    else:
        before = state.supply.destroyed
        slashed = process_slash(state, finding.subject, finding.reporter, effects)
        reward = slashed - (state.supply.destroyed - before)
    key = (int(finding.kind), culprit)
    state.findings[key] = Found(
        *(finding.subject, finding.epoch, state.epoch, finding.reporter, signed.record_id),
        *(slashed, reward),
    )
    state.touch("findings", key)
    return Accepted(detail=f"{slashed} ucr slashed, {reward} of them to the reporter")


def get_culprit(state: State, finding: Finding, verify: Verify) -> bytes | Refusal:
    """The key whose fraud a finding proves, or why it proves none that still counts."""
    if finding.kind == Offence.LOG_FORK:
        return get_forking_sequencer(state, finding)
    refusal = get_subject_refusal(state, finding)
    if refusal is not None:
        return refusal
    proves = get_beacons_refusal if finding.kind == Offence.BEACON_FORK else get_messages_refusal
    refusal = proves(state, finding, verify)
    if refusal is not None:
        return refusal
    return get_key_at(state, state.hotspots[finding.subject], finding.epoch)


def get_subject_refusal(state: State, finding: Finding) -> Refusal | None:
    """Why nothing can be held against the hotspot any more, or not yet, if so."""
    if finding.subject >= len(state.hotspots):
        return Refusal("unknown_hotspot", f"subject: {finding.subject} is unknown; correct it")
    if is_slashed(state, finding.subject):
        return Refusal("duplicate", f"subject: {finding.subject} was slashed before; all is done")
    if is_released(state, finding.subject):
        return get_end_refusal(state, finding.subject, state.epoch)
    oldest = state.epoch - state.params.appeal_epochs
    if not oldest <= finding.epoch <= state.epoch:
        return Refusal(
            "wrong_epoch", f"epoch: {finding.epoch} is not from {oldest} to {state.epoch}"
        )
    return None


def get_messages_refusal(state: State, finding: Finding, verify: Verify) -> Refusal | None:
    """Why two wires don't prove that a hotspot signed two messages for one epoch, if so."""
    bodies = []
    for number, raw in enumerate(finding.evidence):
        signed = wire.decode(raw)
        if isinstance(signed, Refusal):
            return bad_evidence(number, f"is no wire ({signed.detail})")
        record = signed.record
        if not isinstance(record, MESSAGES[finding.kind]):
            return bad_evidence(number, f"is a {record.NAME}, not what this kind is about")
        subject = record.hotspot if isinstance(record, EpochMessage) else record.relay
        if (subject, record.epoch) != (finding.subject, finding.epoch):
            return other_evidence(number, f"is of hotspot {subject}, epoch {record.epoch}")
        key = get_key_at(state, state.hotspots[finding.subject], finding.epoch)
        if len(signed.signatures) != 1 or not verify(
            key, record.NAME, state.network_id, signed.body, signed.signatures[0]
        ):
            return unsigned_evidence(number)
        bodies.append(signed.body)
    return same_evidence() if bodies[0] == bodies[1] else None


def get_beacons_refusal(state: State, finding: Finding, verify: Verify) -> Refusal | None:
    """Why two payloads don't prove that a key aired two beacons under one number, if so."""
    key, payloads = get_key_at(state, state.hotspots[finding.subject], finding.epoch), []
    for number, raw in enumerate(finding.evidence):
        payload = parse_beacon_payload(raw)
        if isinstance(payload, Refusal):
            return bad_evidence(number, payload.detail)
        if (payload.key, payload.epoch) != (key, finding.epoch):
            return other_evidence(number, f"is of epoch {payload.epoch}, key {payload.key.hex()}")
        if not verify(key, BEACON, state.network_id, payload.signed, payload.signature):
            return unsigned_evidence(number)
        payloads.append(payload)
    first, second = payloads
    if first.sequence != second.sequence:
        return other_evidence(1, f"is beacon {second.sequence}, not {first.sequence}")
    return same_evidence() if get_claim(first) == get_claim(second) else None


def get_claim(payload: BeaconPayload) -> tuple[bytes, int]:
    """What a beacon may say in one way only: who repeats a frame changes its clock at most."""
    return payload.answer, payload.cell


def get_forking_sequencer(state: State, finding: Finding) -> bytes | Refusal:
    """The sequencer's key that signed two roots of one thing, or why nothing shows that."""
    if finding.subject or finding.epoch:
        return Refusal("bad_evidence", "subject, epoch: 0 for a log; the notes tell whose it is")
    notes: list[Note] = []
    checkpoints: list[Checkpoint] = []
    for number, raw in enumerate(finding.evidence):
        note = parse_note(raw)
        checkpoint = note if isinstance(note, Refusal) else parse_checkpoint(note.text)
        if isinstance(note, Refusal) or isinstance(checkpoint, Refusal):
            return bad_evidence(number, "is no checkpoint")
        if checkpoint.origin != origin_of(state.network_id):
            return other_evidence(number, "is of another log")
        notes.append(note)
        checkpoints.append(checkpoint)
    first, second = checkpoints
    if not tells_two_balances(first, second):
        if first.size != second.size:
            return other_evidence(1, f"is of {second.size} records, not {first.size}")
        if first.root == second.root:
            return same_evidence()
    return get_signer_of_both(state, notes)


def get_signer_of_both(state: State, notes: list[Note]) -> bytes | Refusal:
    """The sequencer, of today or before, whose key signed both notes."""
    for key in get_sequencer_keys(state):
        if all(not isinstance(verify_note(note, [key]), Refusal) for note in notes):
            if (int(Offence.LOG_FORK), key.key) in state.findings:
                return Refusal("duplicate", "finding: this key was found to fork; nothing to do")
            return key.key
    return Refusal("unsigned_evidence", "evidence: no sequencer of this network signed both notes")


def get_sequencer_keys(state: State) -> list[VerifierKey]:
    """Every key that ever signed for this log, with the name that it signed under."""
    rows = get_rows(state, Role.SEQUENCER)
    said = {(row.name, key) for key, row in rows if row.until_epoch}
    first = {(m.name, m.key) for m in get_first_members(state, Role.SEQUENCER, [], 0)}
    return [VerifierKey(name, ED25519, key) for name, key in sorted(said | first)]


def bad_evidence(number: int, problem: str) -> Refusal:
    """A piece of evidence that can't be read."""
    return Refusal("bad_evidence", f"evidence {number}: {problem}; send it as it was signed")


def other_evidence(number: int, problem: str) -> Refusal:
    """A piece of evidence about somebody or something else."""
    return Refusal("other_evidence", f"evidence {number}: {problem}; both must be about one thing")


def unsigned_evidence(number: int) -> Refusal:
    """A piece of evidence that anybody could have made."""
    return Refusal(
        "unsigned_evidence",
        f"evidence {number}: the subject's key did not sign it for this network; no proof",
    )


def same_evidence() -> Refusal:
    """Two pieces that say the same."""
    return Refusal("same_evidence", "evidence: both say the same; that is allowed")
