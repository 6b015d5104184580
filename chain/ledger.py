"""The ledger engine: wires in, answers and blocks out; pure, for service and simulator alike.

Refused records leave no trace; accepted ones form a block per `submit`. A tick that ends an epoch
makes a block without records, so that every epoch's outcome is under a header.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chain.header import Header
from chain.keys import verify as verify_signature
from chain.log import CompactRange
from chain.params import Params
from chain.records import Signed, SubmitResult
from chain.rules.blocks import Block, get_first_state, process_block, process_time, process_wire
from chain.rules.outcome import ALREADY, Effects, Verify
from chain.rules.pairs import PairCache
from chain.rules.verdicts import Judgement
from chain.state import State
from chain.state_root import StateRoot

JUDGEMENTS_KEPT = 4


@dataclass(frozen=True, slots=True)
class Sealed:
    """A block with its header, the results of its records, and what it brought forth."""

    header: Header
    block: Block
    results: tuple[SubmitResult, ...]
    effects: Effects
    balances: dict[bytes, int]  # of the accounts that changed


class Ledger:
    """One network's ledger in memory.

    `verify` has the signature of chain.keys.verify; `on_block` receives every sealed block, block 0
    included, and must not raise. BlockError for a genesis that this software can't run.
    """

    def __init__(
        self,
        genesis: Signed,
        verify: Verify = verify_signature,
        on_block: Callable[[Sealed], None] | None = None,
    ) -> None:
        self.state: State = get_first_state(genesis)
        self.log = CompactRange()
        self._verify = verify
        self.on_block = on_block
        self._pairs = PairCache()
        self._root = StateRoot()
        self._judgements: deque[Judgement] = deque(maxlen=JUDGEMENTS_KEPT)
        result = SubmitResult(genesis.record_id, True, None, "ok", "")
        self.head = self._seal([(genesis.wire, result)], Effects(), None).header

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

    def mix(self, epoch: int) -> bytes | None:
        """R_epoch, if it is known already and not forgotten yet."""
        return self.state.mixes.get(epoch)

    def verdicts(self, epoch: int) -> Judgement | None:
        """The judgement on an epoch, while it is among the newest few."""
        return next((j for j in self._judgements if j.epoch == epoch), None)

    def tick(self, time_ms: int) -> None:
        """Close the epochs that ended until a time; without any, nothing happens."""
        if self.params.epoch_at(self.state.genesis.start_ms, time_ms) > self.state.epoch:
            self._seal([], process_time(self.state, time_ms, self._pairs), self.head)

    def submit(self, wires: Sequence[bytes], time_ms: int) -> list[SubmitResult]:
        """Process records at a time; the answer to each, in order."""
        before = self.state.epoch
        effects = process_time(self.state, time_ms, self._pairs)
        results = [process_wire(self.state, raw, self._verify, effects) for raw in wires]
        kept = [
            (raw, result)
            for raw, result in zip(wires, results, strict=True)
            if result.accepted and result.reason != ALREADY
        ]
        if kept or self.state.epoch != before:
            self._seal(kept, effects, self.head)
        return results

    def replay(self, block: Block) -> Sealed:
        """Apply a block that another run made; BlockError if it can't follow."""
        effects, results = process_block(self.state, block, self._verify, self._pairs)
        return self._seal(list(zip(block.wires, results, strict=True)), effects, self.head)

    def _seal(
        self, kept: list[tuple[bytes, SubmitResult]], effects: Effects, previous: Header | None
    ) -> Sealed:
        for _, result in kept:
            self.log.append(result.record_id)
        state = self.state
        changed = (key for _, key in state.touched if isinstance(key, bytes))
        balances = {account: state.accounts[account] for account in changed}
        self.head = Header(
            height=previous.height + 1 if previous else 0,
            epoch=state.epoch,
            time_ms=state.time_ms,
            record_count=self.log.size,
            log_root=self.log.root(),
            state_root=self._root.update(state),
            previous=previous.hash() if previous else bytes(32),
        )
        self._judgements.extend(effects.verdicts)
        block = Block(self.head.height, state.epoch, state.time_ms, tuple(raw for raw, _ in kept))
        sealed = Sealed(self.head, block, tuple(result for _, result in kept), effects, balances)
        if self.on_block:
            self.on_block(sealed)
        return sealed
