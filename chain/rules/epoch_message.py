"""The one signed message per hotspot and epoch: commit of e, report of e-1, reveal of x_(e-1)."""

from __future__ import annotations

from chain.draws import chain_link
from chain.records import RECEPTION_BYTES, EpochMessage, Refusal, Signed
from chain.rules.bonds import get_end_refusal
from chain.rules.former_keys import get_key_at
from chain.rules.late import is_taken, process_seen
from chain.rules.outcome import ACCEPTED, LATE, Accepted, Effects, LateReport, Verdict, Verify
from chain.state import Chain, Hotspot, OnTime, State


def process_epoch_message(
    state: State, signed: Signed, message: EpochMessage, verify: Verify, effects: Effects
) -> Verdict:
    """Take a hotspot's message for an epoch; one that comes after its epoch is only for the map."""
    if message.hotspot >= len(state.hotspots):
        return Refusal("unknown_hotspot", f"hotspot: {message.hotspot} is not registered; register")
    hotspot, epoch = state.hotspots[message.hotspot], message.epoch
    refusal = get_message_refusal(state, signed, message, hotspot, verify)
    if refusal is not None:
        return refusal
    chain = get_revealed_chain(hotspot, epoch)
    refusal = get_reveal_refusal(state, message, chain)
    if refusal is not None:
        return refusal
    process_reveal(chain, message)
    process_seen(hotspot, epoch, state.params.late_epochs, state.params.map_late_epochs)
    state.touch("hotspots", hotspot.index)
    if epoch < state.epoch:
        effects.late.append(LateReport(epoch - 1, hotspot.index, signed.record_id, message.report))
        return Accepted(reason=LATE, detail=f"epoch: {epoch} is closed; used for the map")
    state.inbox[hotspot.index] = OnTime(
        signed.record_id, message.commit, message.report, message.reveal
    )
    state.touch("inbox", hotspot.index)
    return ACCEPTED


def get_message_refusal(
    state: State, signed: Signed, message: EpochMessage, hotspot: Hotspot, verify: Verify
) -> Refusal | None:
    """Why a message can't be taken, if so, whatever it reveals; cheap checks first."""
    params, epoch = state.params, message.epoch
    if epoch != state.epoch:
        oldest = state.epoch - max(params.late_epochs, params.map_late_epochs)
        if not oldest <= epoch <= state.epoch:
            return Refusal(
                "wrong_epoch",
                f"epoch: {epoch} is not from {oldest} to {state.epoch}; check the clock",
            )
    if len(message.report) > params.max_receptions * RECEPTION_BYTES:
        return Refusal("over_cap", f"report: at most {params.max_receptions} receptions; drop some")
    if hotspot.index in state.ended and (
        refusal := get_end_refusal(state, hotspot.index, epoch)
    ):
        return refusal
    if hotspot.assertion_at(epoch) is None:
        binds = hotspot.assertions[0].bind_epoch
        return Refusal("not_bound_yet", f"epoch: registration binds in {binds}; wait until then")
    if not is_signed_by(state, signed, get_key_at(state, hotspot, epoch), verify):
        return Refusal("bad_signature", "signatures: the hotspot's key must sign, once")
    if epoch <= hotspot.last_epoch and is_taken(hotspot, epoch, params.late_epochs):
        if epoch < state.epoch - params.late_epochs:
            return Refusal("too_late", f"epoch: nothing of {epoch} is missing; drop it")
        first = state.inbox.get(hotspot.index) if epoch == state.epoch else None
        named = f", record {first.record_id.hex()}" if first else ""
        problem = f"epoch: {epoch} has another message{named}; never sign two"
        return Refusal("fork", f"{problem}: both together prove a fork, file them as a finding")
    return None


def is_signed_by(state: State, signed: Signed, key: bytes, verify: Verify) -> bool:
    """Whether the one signature is this key's."""
    return len(signed.signatures) == 1 and verify(
        key, signed.record.NAME, state.network_id, signed.body, signed.signatures[0]
    )


def get_revealed_chain(hotspot: Hotspot, epoch: int) -> Chain:
    """The chain that holds x_(epoch-1): of the assertion that bound then, or of the first one."""
    assertion = hotspot.assertion_at(epoch - 1) or hotspot.assertions[0]
    return assertion.chain


def get_reveal_refusal(state: State, message: EpochMessage, chain: Chain) -> Refusal | None:
    """Why the revealed link doesn't belong to the hotspot's chain, if so."""
    epoch = message.epoch - 1
    last = chain.first_epoch + chain.length - 1
    if epoch > last:
        return Refusal(
            "bad_reveal", f"reveal: the chain ended in epoch {last}; register a new anchor"
        )
    gap = epoch - chain.tip_epoch
    if gap > state.params.chain_gap_max:
        return Refusal(
            "bad_reveal",
            f"reveal: {gap} epochs after the last link, at most {state.params.chain_gap_max};"
            " register a new anchor",
        )
    if gap == 1 and chain_link(message.reveal) == chain.tip:  # nearly always
        return None
    newer, older = (message.reveal, chain.tip) if gap >= 0 else (chain.tip, message.reveal)
    if compute_link_back(newer, abs(gap)) != older:
        return Refusal(
            "bad_reveal", f"reveal: does not lead to the link of epoch {chain.tip_epoch}"
        )
    return None


def compute_link_back(link: bytes, epochs: int) -> bytes:
    """The link this many epochs earlier."""
    for _ in range(epochs):
        link = chain_link(link)
    return link


def process_reveal(chain: Chain, message: EpochMessage) -> None:
    """Move the tip forwards; an older link proves nothing new."""
    if message.epoch - 1 > chain.tip_epoch:
        chain.tip_epoch = message.epoch - 1
        chain.tip = message.reveal
