"""The state transition: apply(block, state) -> state'.

A block is a time and the wires that were accepted at that time. Before its records are processed,
every epoch that ended since is closed, in order: mix, verdicts, links, and every so often a
settlement.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain import draws, wire
from chain.keys import verify as verify_signature
from chain.records import (
    Activation,
    Appointment,
    Bond,
    Bounty,
    Cosignature,
    Deposit,
    Dispute,
    EpochMessage,
    Finding,
    Genesis,
    Hold,
    HoldAppeal,
    HoldRuling,
    KeyRotation,
    KeyRotationObjection,
    LeafOpening,
    MapperCommit,
    MapperReport,
    Randomness,
    Receipts,
    Refusal,
    Registration,
    RelayClaim,
    Retirement,
    SessionClaim,
    SessionOpen,
    Signed,
    SubmitResult,
    Transfer,
    ValidatorFault,
    Withdrawal,
)
from chain.rules.activations import process_activation, process_rules
from chain.rules.admission import process_admission
from chain.rules.bonds import process_forfeits, process_releases
from chain.rules.bounties import process_bounty
from chain.rules.claims import (
    process_claims,
    process_dispute,
    process_leaf_opening,
    process_relay_claim,
    process_standstill,
)
from chain.rules.cosignatures import process_close
from chain.rules.epoch_message import process_epoch_message
from chain.rules.held import process_expired_holds
from chain.rules.holds import process_hold, process_hold_appeal, process_hold_ruling
from chain.rules.judging import get_steps
from chain.rules.mappers import (
    process_mapper_commit,
    process_mapper_inbox,
    process_mapper_report,
    process_old_commits,
)
from chain.rules.moves import process_moves
from chain.rules.mutual import process_hearing
from chain.rules.outcome import ALREADY, Effects, Verdict, Verify, result_of, result_of_refusal
from chain.rules.pairs import PairCache
from chain.rules.randomness import get_lots, get_lots_source, is_awaited, process_old_outputs
from chain.rules.receipts import process_receipts, process_session_claim
from chain.rules.registration import process_registration
from chain.rules.rewards import process_settlement
from chain.rules.rotations import process_key_rotation, process_objection, process_rotations
from chain.rules.sessions import process_session_open
from chain.rules.settled import process_settled
from chain.rules.slopes import process_old_slopes
from chain.rules.treasury import process_deposit
from chain.rules.trust import get_trusted
from chain.rules.validators import process_validator_fault
from chain.rules.verdicts import (
    get_judgement,
    get_reason_counts,
)
from chain.state import State, get_genesis_state

MIXES_KEPT = 8


@dataclass(frozen=True, slots=True)
class Block:
    """Accepted wires and when they were accepted; block 0 holds the genesis alone."""

    height: int
    epoch: int
    time_ms: int
    wires: tuple[bytes, ...]


class BlockError(ValueError):
    """The block can't follow the state: a record in it would be refused, or its time is wrong."""


def apply(block: Block, state: State | None, verify: Verify = verify_signature) -> State:
    """The state after a block; the one given stays as it is. BlockError if the block can't follow.

    `state` is None for block 0.
    """
    following = get_state_of_genesis_block(block) if state is None else state.copy()
    if state is not None:
        process_block(following, block, verify, PairCache())
    return following


def get_state_of_genesis_block(block: Block) -> State:
    """The state after block 0; BlockError if it isn't one genesis that this software can run."""
    decoded = wire.decode(block.wires[0]) if len(block.wires) == 1 else Refusal("bad_shape", "")
    if isinstance(decoded, Refusal) or not isinstance(decoded.record, Genesis):
        raise BlockError("block 0 must hold one genesis record")
    return get_first_state(decoded)


def get_first_state(signed: Signed) -> State:
    """The state after a genesis; BlockError for a preset that this software doesn't know."""
    genesis = signed.record
    if not isinstance(genesis, Genesis):
        raise BlockError(f"leaf 0 must be a genesis, not a {genesis.NAME}")
    try:
        state = get_genesis_state(genesis, signed.record_id)
    except KeyError as error:
        known = f"preset {genesis.preset} under rules {genesis.rules}"
        raise BlockError(f"preset, rules: {known} are unknown; use newer software") from error
    if not genesis.seeds and not state.params.may_lack_seeds:
        raise BlockError(f"seeds: preset {genesis.preset} needs at least one")
    state.mixes[0] = draws.genesis_mix(signed.record_id)
    state.mixes[1] = draws.mix(state.mixes[0], 1, ())
    for epoch in state.mixes:
        state.touch("mixes", epoch)
    state.log.append(signed.record_id)
    return state


def process_block(
    state: State, block: Block, verify: Verify, pairs: PairCache
) -> tuple[Effects, list[SubmitResult]]:
    """Apply a block in place; what it brings forth, and the answer to each of its records."""
    effects = process_block_time(state, block, pairs)
    return effects, process_block_records(state, block, verify, effects)


def process_block_time(state: State, block: Block, pairs: PairCache) -> Effects:
    """Close what a block's time closes; BlockError if its time or its epoch can't follow."""
    effects = process_time(state, block.time_ms, pairs)
    if block.epoch != state.epoch or block.time_ms != state.time_ms:
        raise BlockError(f"block {block.height}: its epoch or time can't follow")
    return effects


def process_block_records(
    state: State, block: Block, verify: Verify, effects: Effects
) -> list[SubmitResult]:
    """Apply a block's records after its time; BlockError if one would be refused."""
    results = [process_wire(state, raw, verify, effects) for raw in block.wires]
    for number, result in enumerate(results):
        if not result.accepted or result.reason == ALREADY:
            raise BlockError(f"record {number} is refused: {result.reason}: {result.detail}")
    return results


def process_time(state: State, time_ms: int, pairs: PairCache) -> Effects:
    """Move to a time, never backwards, and close every epoch that ended until then."""
    effects = Effects()
    state.time_ms = max(state.time_ms, time_ms)
    now = state.params.epoch_at(state.genesis.start_ms, state.time_ms)
    if now > state.epoch + 1:
        process_standstill(state, now - state.epoch - 1)
    while state.epoch < now:
        process_epoch_close(state, effects, pairs)
    return effects


def process_wire(state: State, raw: bytes, verify: Verify, effects: Effects) -> SubmitResult:
    """Decode and process one wire; the state is as before if it is refused.

    What is accepted is the next leaf of the log.
    """
    signed = wire.decode(raw)
    if isinstance(signed, Refusal):
        return result_of_refusal(raw, signed)
    return process_signed(state, signed, verify, effects)


def process_signed(state: State, signed: Signed, verify: Verify, effects: Effects) -> SubmitResult:
    """As `process_wire`, of a wire that was decoded before."""
    verdict = process_record(state, signed, verify, effects)
    if not isinstance(verdict, Refusal) and verdict.reason != ALREADY:
        state.log.append(signed.record_id)
    return result_of(signed, verdict)


def process_record(state: State, signed: Signed, verify: Verify, effects: Effects) -> Verdict:
    """Hand a record to the rules of its type."""
    match signed.record:
        case EpochMessage() as message:
            return process_epoch_message(state, signed, message, verify, effects)
        case Registration() as registration:
            return process_registration(state, signed, registration, verify)
        case Receipts() as receipts:
            return process_receipts(state, receipts, verify, effects)
        case SessionClaim() as claim:
            return process_session_claim(state, claim, verify, effects)
        case RelayClaim() as relay_claim:
            return process_relay_claim(state, signed, relay_claim, verify)
        case LeafOpening() as leaf_opening:
            return process_leaf_opening(state, leaf_opening, verify)
        case Dispute() as dispute:
            return process_dispute(state, signed, dispute, verify)
        case SessionOpen() as opening:
            return process_session_open(state, signed, opening, verify)
        case MapperCommit() as mapper_commit:
            return process_mapper_commit(state, signed, mapper_commit, verify)
        case MapperReport() as mapper_report:
            return process_mapper_report(state, signed, mapper_report, verify, effects)
        case Bounty() as bounty:
            return process_bounty(state, signed, bounty, verify)
        case Deposit() as deposit:
            return process_deposit(state, signed, deposit, verify)
        case Appointment() | Transfer() | Withdrawal() | Bond() | Retirement():
            return process_admission(state, signed, verify, effects)
        case Finding() | Cosignature() | Randomness():
            return process_admission(state, signed, verify, effects)
        case Activation() as activation:
            return process_activation(state, signed, activation, verify)
        case Hold() as hold:
            return process_hold(state, signed, hold, verify)
        case HoldRuling() as ruling:
            return process_hold_ruling(state, signed, ruling, verify, effects)
        case HoldAppeal() as appeal:
            return process_hold_appeal(state, signed, appeal, verify)
        case KeyRotation() as rotation:
            return process_key_rotation(state, signed, rotation, verify)
        case KeyRotationObjection() as objection:
            return process_objection(state, signed, objection, verify)
        case ValidatorFault() as fault:  # Ledger.submit takes them of an engine alone
            return process_validator_fault(state, signed, fault)
        case Genesis():
            return Refusal("duplicate", "genesis: this network has one; start another ledger")
        case _:
            return Refusal("unknown_type", f"type: no rule takes a {signed.record.NAME} here")


def process_epoch_close(state: State, effects: Effects, pairs: PairCache) -> None:
    """Close the current epoch E: R_(E+1), verdicts on E-1, claims, a settlement if one is due."""
    process_mix(state)
    if state.epoch >= 1:
        process_verdicts(state, effects, pairs)
    state.epoch += 1
    process_rules(state)
    process_moves(state)
    process_rotations(state)
    process_inbox(state)
    process_old_commits(state)
    for epoch in [epoch for epoch in state.mixes if epoch <= state.epoch - MIXES_KEPT]:
        del state.mixes[epoch]
        state.touch("mixes", epoch)
    process_claims(state, effects)
    process_old_outputs(state)
    process_expired_holds(state, effects.payments)
    if state.epoch % state.params.settlement_epochs == 0:
        process_forfeits(state)
        process_settlement(state, effects)
        process_settled(state, effects)
        process_old_slopes(state)
    process_releases(state)
    process_close(state, state.epoch - 1)


def process_mix(state: State) -> None:
    """R_(E+1) from R_E and the secrets that were revealed in E."""
    following = state.epoch + 1
    secrets = [state.inbox[index].reveal for index in sorted(state.inbox)]
    state.mixes[following] = draws.mix(state.mixes[state.epoch], following, secrets)
    state.touch("mixes", following)


def process_inbox(state: State) -> None:
    """Of the messages of the epoch that closed, its verdicts will need the commits alone."""
    state.clear("commits")
    for index, message in state.inbox.items():
        state.commits[index] = message.commit
        state.touch("commits", index)
    state.clear("inbox")


def process_verdicts(state: State, effects: Effects, pairs: PairCache) -> None:
    """Judge what waited for its lots, then E-1, whose reports came in E, or let it wait."""
    for epoch in sorted({epoch for epoch, _ in state.waiting}):
        process_judgement(state, epoch, effects, pairs)
    state.clear("waiting")
    epoch = state.epoch - 1
    if state.inbox and is_awaited(state, epoch):
        process_waiting(state, epoch)
    else:
        process_judgement(state, epoch, effects, pairs)


def process_waiting(state: State, epoch: int) -> None:
    """Keep the reports of an epoch, each with the commit to it, until its lots can be drawn."""
    for index, message in state.inbox.items():
        kept = message._replace(commit=state.commits.get(index, b""))
        state.waiting[epoch, index] = kept
        state.touch("waiting", (epoch, index))


def process_judgement(state: State, epoch: int, effects: Effects, pairs: PairCache) -> None:
    """The verdicts on an epoch, and what follows from them."""
    judgement = get_judgement(state, epoch, pairs)
    judgement.mix_after = get_lots(state, epoch)
    judgement.lots = get_lots_source(state, epoch)
    if not judgement.reports:
        process_hearing(state, judgement)
        process_mapper_inbox(state, judgement, effects)
        return
    steps = get_steps(judgement)
    steps.process_signals(judgement)
    steps.process_hearing(state, judgement)
    state.add_all("links", ((link, 1) for link in steps.get_mutual_links(judgement)))
    steps.process_links(judgement, get_trusted(state))
    process_mapper_inbox(state, judgement, effects)
    steps.process_cuts(judgement)
    steps.process_counted(state, judgement)
    steps.process_slopes(state, judgement)
    for reason, count in get_reason_counts(judgement).items():
        state.add("stats", f"verdict_{reason}", count)
    beacons = len(judgement.beaconers) * state.params.beacons_per_epoch
    state.add("stats", "beacons_judged", beacons)
    effects.verdicts.append(judgement)
