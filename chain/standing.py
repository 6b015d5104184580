"""Who may put records in when somebody floods the door: cheap checks before signatures.

Checking a signature costs 50 µs and making up a bad one costs nothing, so checks are rationed by
what a source brought before. A source whose records were accepted is known: its records go first,
and every newly accepted one earns it credit. A record with a bad signature or shape costs credit; a
source without any waits outside until time restores some. A source that is not known yet may start
over under another name (a new connection), so its bad records also cost the key that they claim to
be from: when that key's budget for the epoch is spent, only known sources may bring records of it.
The owner of a key that a flood abuses is served if its source is known; the cost of a flood is
bounded by keys times budget per epoch, however many sources it has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from chain.records import Refusal, Signed

# A client that follows docs/records.md sends none of these; a flood sends nothing else.
ABUSE = frozenset({"bad_signature", "bad_shape"})
ACCEPTED = frozenset({"ok", "late"})
# 32 checks are 2 ms: less than one commit to the disk.
FIRST_CREDIT = 32
# What a long honest past is worth: a second of checks would be 19,000.
MOST_CREDIT = 1_024
EARNED = 4
# One check per second and source costs nothing, and lets a mended client in again soon.
RESTORE_MS = 1_000
# A hotspot signs once per epoch; its owner's mistakes rarely come in more than a few.
KEY_BUDGET = 8
# Records that name no registered signer (registrations, deposits, receipts) share one budget.
OTHER_BUDGET = 4_096
# 100 bytes each: some MB, and more sources than a ledger has neighbours.
MAX_SOURCES = 65_536


@dataclass(slots=True)
class Source:
    """What one source has left, and since when."""

    credit: int = FIRST_CREDIT
    since_ms: int = 0
    known: bool = False


class Door:
    """The standing of every source, and of every key in the current epoch."""

    def __init__(self) -> None:
        self._sources: OrderedDict[Hashable, Source] = OrderedDict()
        self._abused: dict[Hashable, int] = {}
        self._epoch = -1

    def get_wait_ms(self, name: Hashable, now_ms: int) -> int:
        """How long a source must stay outside; 0 if it may come in."""
        source = self._source(name, now_ms)
        return 0 if source.credit > 0 else RESTORE_MS - (now_ms - source.since_ms)

    def is_known(self, name: Hashable) -> bool:
        """Whether records of this source were accepted before."""
        source = self._sources.get(name)
        return source is not None and source.known

    def is_key_abused(self, key: Hashable, epoch: int) -> bool:
        """Whether unknown sources brought too much under this claimed key in this epoch."""
        self._enter(epoch)
        budget = OTHER_BUDGET if key is None else KEY_BUDGET
        return self._abused.get(key, 0) >= budget

    def note(self, name: Hashable, reason: str, key: Hashable, epoch: int, now_ms: int) -> None:
        """Remember what became of a record that a source brought under a claimed key."""
        source = self._source(name, now_ms)
        if reason in ABUSE:
            source.credit -= 1
            source.since_ms = now_ms
            if not source.known:
                self._enter(epoch)
                self._abused[key] = self._abused.get(key, 0) + 1
        elif reason in ACCEPTED:
            source.known = True
            source.credit = min(MOST_CREDIT, source.credit + EARNED)

    def _source(self, name: Hashable, now_ms: int) -> Source:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = Source(since_ms=now_ms)
            if len(self._sources) > MAX_SOURCES:
                self._sources.popitem(last=False)
        restored = max(0, now_ms - source.since_ms) // RESTORE_MS
        if restored and source.credit < FIRST_CREDIT:
            source.credit = min(FIRST_CREDIT, max(0, source.credit) + restored)
            source.since_ms = now_ms
        self._sources.move_to_end(name)
        return source

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._abused.clear()


def get_claimed_key(signed: Signed | Refusal) -> Hashable:
    """Whom a record claims to be from: a hotspot's index or an account; None for the rest."""
    if isinstance(signed, Refusal):
        return None
    for name in ("hotspot", "payer", "relay", "account", "sponsor"):
        claimed: Hashable = getattr(signed.record, name, None)
        if claimed is not None and signed.record.NAME != "deposit":
            return claimed
    return None
