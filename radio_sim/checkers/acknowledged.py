"""No acknowledged record lost, and no reception that a hotspot had stored.

A record that the ledger accepted must stand in a block, once, and its log must hold exactly those.
A reception that was on flash before the hotspot signed its report must stand in that report, over
every crash and power cut; one that was never stored must not.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.ledger import Sealed
from chain.records import RECEPTION_BYTES, EpochMessage, Signed, SubmitResult
from chain.rules.outcome import ALREADY
from chain.wire import decode
from radio_sim.checkers.base import Checker

EPOCHS_KEPT = 64  # as long as the longest preset but mainnet takes late messages


class AcknowledgedChecker(Checker):
    """Compares answers with blocks, and reports with what was stored."""

    name = "acknowledged"

    def __init__(self) -> None:
        super().__init__()
        self._unanswered: set[bytes] = set()
        self._records = 0
        self._kept: dict[tuple[int, int], set[bytes]] = {}
        self._newest = 0

    def on_answers(self, wires: Sequence[bytes], results: Sequence[SubmitResult]) -> None:
        """Note what was promised: the block with it comes before its answer."""
        del wires
        for result in results:
            if result.accepted and result.reason != ALREADY:
                if result.record_id not in self._unanswered:
                    self.fail(f"record {result.record_id.hex()[:12]} was accepted into no block")
                self._unanswered.discard(result.record_id)

    def on_block(self, sealed: Sealed) -> None:
        """Note what the log got."""
        if len(sealed.results) != len(sealed.block.wires):
            self.fail(f"block {sealed.header.height}: records and results differ in number")
        self._records += len(sealed.block.wires)
        if sealed.header.record_count != self._records:
            held, said = self._records, sealed.header.record_count
            self.fail(f"block {sealed.header.height}: {held} records so far, the log holds {said}")
        for wire, result in zip(sealed.block.wires, sealed.results, strict=False):
            if result.record_id in self._unanswered:
                self.fail(f"record {result.record_id.hex()[:12]} stands twice in a block")
            self._unanswered.add(result.record_id)
            self._compare(wire)
        if sealed.header.height == 0:
            self._unanswered.clear()  # nobody submits the genesis

    def on_kept(self, agent: int, epoch: int, rows: Sequence[bytes]) -> None:
        """Note what is on flash."""
        self._kept.setdefault((agent, epoch), set()).update(rows)
        if epoch > self._newest:
            self._newest = epoch
            old = [key for key in self._kept if key[1] < epoch - EPOCHS_KEPT]
            for key in old:
                del self._kept[key]

    def _compare(self, wire: bytes) -> None:
        """A message reports the epoch before its own."""
        signed = decode(wire)
        if not isinstance(signed, Signed) or not isinstance(signed.record, EpochMessage):
            return
        message = signed.record
        agent = self.fleet.agent_of(message.hotspot)
        kept = self._kept.pop((agent, message.epoch - 1), set())
        body = message.report
        told = [body[at : at + RECEPTION_BYTES] for at in range(0, len(body), RECEPTION_BYTES)]
        wanted = sorted(kept)[: self.fleet.params.max_receptions]
        if told != wanted:
            self.fail(
                f"hotspot {agent}, epoch {message.epoch - 1}: stored {len(wanted)} receptions,"
                f" reported {len(told)}"
            )

    def finish(self) -> None:
        """No block may hold what nobody was told of."""
        if self._unanswered:
            self.fail(f"{len(self._unanswered)} records stand in blocks without an answer")
