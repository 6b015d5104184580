"""The ledger engine: wires in, answers and blocks out; pure, for service and simulator alike.

Refused records leave no trace; accepted ones form a block per `submit`. A tick that ends an epoch
makes a block without records, so that every epoch's outcome is under a header.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chain import wire
from chain.header import Header
from chain.keys import verify as verify_signature
from chain.params import Params
from chain.proofs.log import CompactRange
from chain.records import Refusal, Signed, SubmitResult, ValidatorFault
from chain.rules.blocks import (
    Block,
    get_first_state,
    process_block_records,
    process_block_time,
    process_signed,
    process_time,
)
from chain.rules.outcome import ALREADY, Effects, Verify, result_of_refusal
from chain.rules.pairs import PairCache
from chain.rules.verdicts import Judgement
from chain.state import State, Touched
from chain.state_root import StateRoot
from chain.store.tables import TABLES, compute_state_bytes, get_scalars

JUDGEMENTS_KEPT = 4
# How the wire of a validator-fault begins: an array of four, type 21.
FAULT = bytes((0x84, ValidatorFault.TYPE))
# Ids of accepted records that stay at hand: more than can wait between two commits to a disk.
RECENT_IDS = 1 << 16
# (table, packed key, packed row); no row: it was deleted.
StateRow = tuple[str, bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a record that was accepted before is: the index that it got, if it got one."""

    index: int | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A block with its header, the results of its records, and what it brought forth.

    `rows` are the rows of the state that it changed, as they are after it; `scalars` all single
    numbers of the state.
    """

    header: Header
    block: Block
    results: tuple[SubmitResult, ...]
    effects: Effects
    rows: tuple[StateRow, ...] = ()
    scalars: Mapping[str, int] = field(default_factory=dict)


class Ledger:
    """One network's ledger in memory.

    `verify` has the signature of chain.keys.verify; `on_block` receives every sealed block, block 0
    included, and must not raise. `find` tells of an accepted record by its id, for what is older
    than the newest RECENT_IDS; without it such a record gets the refusal of its rule.
    BlockError for a genesis that this software can't run.
    """

    find: Callable[[bytes], Found | None] | None = None
    packs_rows = True  # off where nobody saves what `on_block` gets: a simulation, say

    def __init__(
        self,
        genesis: Signed,
        verify: Verify = verify_signature,
        on_block: Callable[[Sealed], None] | None = None,
    ) -> None:
        self._prepare(get_first_state(genesis), verify, on_block)
        self._note_close()
        result = SubmitResult(genesis.record_id, True, None, "ok", "")
        self.head = self._seal([(genesis.wire, result)], Effects(), None).header

    def _prepare(
        self, state: State, verify: Verify, on_block: Callable[[Sealed], None] | None
    ) -> None:
        self.state = state
        self._verify = verify
        self.on_block = on_block
        self._pairs = PairCache()
        self._root = StateRoot()
        self._state_root = bytes(32)
        self._changed: Touched = {}  # since the newest close, for the root
        self._unsealed: Touched = {}  # since the newest block, to be saved with the next
        self._judgements: deque[Judgement] = deque(maxlen=JUDGEMENTS_KEPT)
        self._recent: dict[bytes, int | None] = {}
        # Their order: a dict of so many, always losing its first, looks 40 us for the next one.
        self._recent_order: deque[bytes] = deque()
        self._state_bytes: tuple[int, dict[str, int]] = (-1, {})

    @classmethod
    def resume(
        cls, state: State, head: Header, log: CompactRange, verify: Verify = verify_signature
    ) -> Ledger:
        """A ledger that goes on from a saved state, the head after it and the log's right edge."""
        ledger = cls.__new__(cls)
        ledger._prepare(state, verify, None)
        ledger.state.log, ledger.head, ledger._state_root = log, head, head.state_root
        return ledger

    def set_verify(self, verify: Verify) -> None:
        """Check the signatures of what comes from now on with another function."""
        self._verify = verify

    @property
    def params(self) -> Params:
        """The constants of the network."""
        return self.state.params

    @property
    def network_id(self) -> bytes:
        """The record id of the genesis."""
        return self.state.network_id

    @property
    def log(self) -> CompactRange:
        """The right edge of the log of every record so far."""
        return self.state.log

    def mix(self, epoch: int) -> bytes | None:
        """R_epoch, if it is known already and not forgotten yet."""
        return self.state.mixes.get(epoch)

    def verdicts(self, epoch: int) -> Judgement | None:
        """The judgement on an epoch, while it is among the newest few."""
        return next((j for j in self._judgements if j.epoch == epoch), None)

    def state_bytes(self) -> dict[str, int]:
        """Bytes of the state by table, packed; measured once an epoch, when somebody asks."""
        if self._state_bytes[0] != self.state.epoch:
            self._state_bytes = (self.state.epoch, compute_state_bytes(self.state))
        return self._state_bytes[1]

    def tick(self, time_ms: int) -> None:
        """Close the epochs that ended until a time; without any, nothing happens."""
        if self.params.epoch_at(self.state.genesis.start_ms, time_ms) > self.state.epoch:
            self._seal([], self._advance(time_ms), self.head)

    def submit(
        self, wires: Sequence[bytes | Signed], time_ms: int, faults: Sequence[bytes] = ()
    ) -> list[SubmitResult]:
        """Process records at a time, given as bytes or decoded; the answer to each, in order.

        `faults` are the validator-faults of a consensus engine: they come first, and only so.
        """
        before = self.state.epoch
        effects = self._advance(time_ms)
        kept: list[tuple[bytes, SubmitResult]] = []
        for raw in faults:
            self._process(raw, wire.decode(raw), effects, kept)
        results = [self._take(given, effects, kept) for given in wires]
        if kept or self.state.epoch != before:
            self._seal(kept, effects, self.head)
        return results

    def _take(
        self, given: bytes | Signed, effects: Effects, kept: list[tuple[bytes, SubmitResult]]
    ) -> SubmitResult:
        """One submitted record: of any type but the one that only the engine brings."""
        raw = given.wire if isinstance(given, Signed) else given
        if raw.startswith(FAULT):
            return _refuse_fault(raw)
        signed = given if isinstance(given, Signed) else wire.decode(raw)
        return self._process(raw, signed, effects, kept)

    def _process(
        self,
        raw: bytes,
        signed: Signed | Refusal,
        effects: Effects,
        kept: list[tuple[bytes, SubmitResult]],
    ) -> SubmitResult:
        """One record; bytes that were accepted before are `already` there, whatever the rule says.

        Only what a rule refuses is looked up: no rule takes the same bytes twice.
        """
        if isinstance(signed, Refusal):
            result = result_of_refusal(raw, signed)
        else:
            result = process_signed(self.state, signed, self._verify, effects)
        if not result.accepted and (found := self._find(result.record_id)):
            return SubmitResult(result.record_id, True, found.index, ALREADY, "")
        if result.accepted and result.reason != ALREADY:
            kept.append((raw, result))
            self._remember(result)
        return result

    def lookup(self, record_id: bytes) -> Found | None:
        """Where an accepted record is, as far as `find` and memory reach; None if unknown."""
        return self._find(record_id)

    def _find(self, record_id: bytes) -> Found | None:
        if record_id in self._recent:
            return Found(self._recent[record_id])
        return self.find(record_id) if self.find else None

    def _remember(self, result: SubmitResult) -> None:
        if result.record_id not in self._recent:
            if len(self._recent) >= RECENT_IDS:
                del self._recent[self._recent_order.popleft()]
            self._recent_order.append(result.record_id)
        self._recent[result.record_id] = result.index

    def replay(self, block: Block) -> Sealed:
        """Apply a block that another run made; BlockError if it can't follow."""
        before = self.state.epoch
        effects = process_block_time(self.state, block, self._pairs)
        if self.state.epoch != before:
            self._note_close()
        results = process_block_records(self.state, block, self._verify, effects)
        for result in results:
            self._remember(result)
        kept = list(zip(block.wires, results, strict=True))
        return self._seal(kept, effects, self.head, packs=True)

    def _advance(self, time_ms: int) -> Effects:
        """Close what ended; the state right after the newest close is what headers commit to."""
        before = self.state.epoch
        effects = process_time(self.state, time_ms, self._pairs)
        if self.state.epoch != before:
            self._note_close()
        return effects

    def _note_close(self) -> None:
        self._take_touched()
        self._state_root = self._root.update(self.state, self._changed)
        self._changed = {}

    def _take_touched(self) -> None:
        for name, keys in self.state.take_touched().items():
            self._changed.setdefault(name, set()).update(keys)
            if name in self._unsealed:
                self._unsealed[name].update(keys)
            else:
                self._unsealed[name] = keys

    def _take_rows(self, packs: bool) -> tuple[StateRow, ...]:
        """What the block changed, packed if somebody wants it."""
        self._take_touched()
        touched, self._unsealed = self._unsealed, {}
        if not packs:
            return ()
        rows: list[StateRow] = []
        for name, keys in sorted(touched.items()):
            packed = TABLES[name].pack_rows(self.state, keys)
            rows += [(name, key, row) for key, row in packed]
        return tuple(rows)

    def _seal(
        self,
        kept: list[tuple[bytes, SubmitResult]],
        effects: Effects,
        previous: Header | None,
        *,
        packs: bool = False,
    ) -> Sealed:
        state = self.state
        self.head = Header(
            height=previous.height + 1 if previous else 0,
            epoch=state.epoch,
            time_ms=state.time_ms,
            record_count=self.log.size,
            log_root=self.log.root(),
            state_root=self._state_root,
            previous=previous.hash() if previous else bytes(32),
        )
        self._judgements.extend(effects.verdicts)
        block = Block(self.head.height, state.epoch, state.time_ms, tuple(raw for raw, _ in kept))
        results = tuple(result for _, result in kept)
        rows = self._take_rows(packs or (self.packs_rows and self.on_block is not None))
        sealed = Sealed(self.head, block, results, effects, rows, get_scalars(state))
        if self.on_block:
            self.on_block(sealed)
        return sealed


def _refuse_fault(raw: bytes) -> SubmitResult:
    """A consensus engine alone may say that a validator signed two things."""
    detail = "validator-fault: only the consensus engine adds one; leave it out"
    return result_of_refusal(raw, Refusal("not_allowed", detail))
