"""Whether an intake promise was kept: by the log alone, or by running the rules over it again.

A promise that was not kept is proof of censoring for anyone who has the promise, the record and the
log: the rules say whether the record could have been accepted when it came, and still when the
deadline ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from chain.admission import Role
from chain.keys import verify
from chain.proofs.promise import Promise
from chain.records import Refusal, SubmitResult
from chain.rules.appointments import get_keys
from chain.rules.blocks import Block, get_state_of_genesis_block, process_time, process_wire
from chain.rules.outcome import LATE, Effects, Verify
from chain.rules.pairs import PairCache
from chain.state import State
from chain.wire import record_id_of


class Kept(StrEnum):
    """What became of a promise."""

    KEPT = "kept"
    PENDING = "pending"
    VOID = "void"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of a promise, and one line that says why."""

    kept: Kept
    detail: str
    seq: int | None = None
    block: int | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """Where the log holds the record: number, block, epoch, and as what it was accepted."""

    seq: int
    block: int
    epoch: int
    reason: str


def get_early_ruling(promise: Promise, logged: Logged | None, epoch: int) -> Ruling | None:
    """The ruling where log and clock alone decide; None where the rules must be run again.

    `epoch` is the ledger's current one.
    """
    if logged is not None and logged.epoch <= promise.deadline_epoch and logged.reason != LATE:
        detail = f"record {logged.seq} of the log, block {logged.block}, epoch {logged.epoch}"
        return Ruling(Kept.KEPT, detail, logged.seq, logged.block)
    if logged is None and epoch <= promise.deadline_epoch:
        detail = f"epoch {epoch}; the ledger has until epoch {promise.deadline_epoch} closes"
        return Ruling(Kept.PENDING, detail)
    return None


def compute_ruling(
    promise: Promise,
    wire: bytes,
    logged: Logged | None,
    blocks: Iterable[Block],
    checked: Verify = verify,
    note: Callable[[int], None] | None = None,
) -> Ruling | Refusal:
    """Run the rules over the log to say whether a promise was broken.

    `blocks` are those of the log from the genesis on; `note` is told the height of each. Refused if
    the promise is about another record or network, or by a key that was no sequencer then.
    """
    if record_id_of(wire) != promise.record_id:
        return Refusal("other_record", "wire: is not the promised record; give the one that was")
    replay = Replay(blocks, checked, note)
    at_receipt = replay.advance(promise.received_ms)
    if at_receipt is None or at_receipt.network_id != promise.network_id:
        return Refusal("other_network", "promise: is of another network; give that network's log")
    members = get_keys(at_receipt, Role.SEQUENCER, at_receipt.epoch)
    if promise.key not in {member.key for member in members}:
        return Refusal("not_sequencer", "key: was no sequencer's when the record came")
    first = get_answer(at_receipt, wire, promise.received_ms, checked)
    if not first.accepted:
        return Ruling(Kept.VOID, f"could not be accepted when it came: {first.detail}")
    if logged is not None:
        return _rule_on_logged(promise, first, logged)
    last_ms = _last_ms(at_receipt, promise.deadline_epoch)
    at_deadline = replay.advance(last_ms)
    assert at_deadline is not None, "the log had a genesis before"
    last = get_answer(at_deadline, wire, last_ms, checked)
    if not last.accepted:
        return Ruling(Kept.VOID, f"other records came first: {last.detail}")
    detail = (
        f"could have been accepted from epoch {at_receipt.epoch} to {promise.deadline_epoch}, "
        "and the log does not have it"
    )
    return Ruling(Kept.BROKEN, detail)


def _rule_on_logged(promise: Promise, first: SubmitResult, logged: Logged) -> Ruling:
    place = (logged.seq, logged.block)
    if logged.epoch > promise.deadline_epoch:
        late = logged.epoch - promise.deadline_epoch
        return Ruling(Kept.BROKEN, f"the log has it, {late} epochs after the deadline", *place)
    if logged.reason == LATE and first.reason != LATE:
        return Ruling(Kept.BROKEN, "came in time, and the log has it as late", *place)
    return Ruling(Kept.KEPT, f"record {logged.seq} of the log, late as it came", *place)


def _last_ms(state: State, epoch: int) -> int:
    """The last millisecond of an epoch."""
    return state.genesis.start_ms + (epoch + 1) * state.params.epoch_ms - 1


class Replay:
    """The state as it went along a log."""

    def __init__(
        self, blocks: Iterable[Block], checked: Verify, note: Callable[[int], None] | None
    ) -> None:
        self._blocks = iter(blocks)
        self._checked = checked
        self._note = note
        self._pairs = PairCache()
        self._next: Block | None = next(self._blocks, None)
        self.state: State | None = None

    def advance(self, time_ms: int) -> State | None:
        """The state after every block up to a time; None for an empty log."""
        while self._next is not None and (self.state is None or self._next.time_ms <= time_ms):
            self._apply(self._next)
            self._next = next(self._blocks, None)
        return self.state

    def _apply(self, block: Block) -> None:
        if self._note:
            self._note(block.height)
        if self.state is None:
            self.state = get_state_of_genesis_block(block)
            return
        effects = process_time(self.state, block.time_ms, self._pairs)
        for raw in block.wires:
            process_wire(self.state, raw, self._checked, effects)


def get_answer(state: State, wire: bytes, time_ms: int, checked: Verify) -> SubmitResult:
    """What the rules say to a record at a time; the state stays as it is."""
    trial = state.copy()
    process_time(trial, time_ms, PairCache())
    return process_wire(trial, wire, checked, Effects())
