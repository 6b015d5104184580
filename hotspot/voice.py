"""Whether this process may speak with its key: a copy of a hotspot's state must not sign twice.

Two different messages of one key for one epoch prove a cloned key, and cost the bond. A queue that
is put back from a backup, or a whole image of a router, doesn't know what was signed since; a
second machine with the same key doesn't know the first. Three things are asked, in this order:

    the queue    newest epoch that it holds a message for, and that the ledger settled
    the mark     a small file beside the key: the newest epoch that was signed here, and what the
                 beacons of the newest epoch said; it stays where only the queue is put back
    the ledger   newest epoch for which it has a message of this key, whoever signed that

Nothing is signed for an epoch up to the newest of these. Messages leave only once the ledger was
asked, after each start. If it has a message that this state can't have sent, there is a `Hold`:
beacons and messages wait until a whole epoch went by in which the ledger got none of this key.
Then the state was an old copy; as long as others come, there is a second machine, and this one
stays silent.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from chain.draws import digest, u32, u64

# The epoch in which the ledger was asked has begun already: the one after it must go by whole.
SILENT_EPOCHS = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """What is kept beside a key; `speaks` stands for what beacons of `beacon_epoch` say."""

    network: str
    key: str
    message_epoch: int = -1
    beacon_epoch: int = -1
    speaks: str = ""

    def encode(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self)) + "\n"


def parse_mark(text: str, network: bytes, key: bytes) -> Mark:
    """A mark from its file's text; an empty one where that is damaged, or of another key."""
    empty = Mark(network.hex(), key.hex())
    try:
        mark = Mark(**json.loads(text))
        numbers = mark.message_epoch, mark.beacon_epoch
    except (ValueError, TypeError):
        return empty
    is_whole = all(type(number) is int and -1 <= number < 1 << 32 for number in numbers)
    return mark if is_whole and (mark.network, mark.key) == (empty.network, empty.key) else empty


def compute_speech(first_epoch: int, length: int, cell: int) -> str:
    """What beacons of an epoch may say in one way only: answers of one chain, and one cell."""
    return digest("speech", u32(first_epoch), u32(length), u64(cell))[:8].hex()


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is said: the ledger had a message for `last_epoch` that isn't of this state.

    `since_epoch` is the ledger's when it was asked; `is_twin`: more have come since.
    """

    since_epoch: int
    last_epoch: int
    is_twin: bool = False

    @property
    def until_epoch(self) -> int:
        """The first epoch in which it may end."""
        return self.since_epoch + SILENT_EPOCHS

    @property
    def detail(self) -> str:
        """What an owner is told."""
        if self.is_twin:
            return f"another machine signs with this key, for epoch {self.last_epoch} just now"
        return (
            f"the ledger has a message of this key for epoch {self.last_epoch}, which this copy"
            f" didn't send; silent until epoch {self.until_epoch}"
        )


def follow(hold: Hold, last_epoch: int, epoch: int) -> Hold | None:
    """A hold after another look at the ledger, in one of its epochs; None: it is over."""
    if last_epoch > hold.last_epoch:
        return Hold(epoch, last_epoch, is_twin=True)
    return None if epoch >= hold.until_epoch else hold


class Whose(StrEnum):
    """Who sent the newest message that the ledger has of a key."""

    OURS = "ours"
    UNKNOWN = "unknown"  # one of ours is about that epoch: is it that one?
    ELSEWHERE = "elsewhere"


def judge(last_epoch: int, settled_epoch: int, waiting: bytes | None) -> Whose:
    """By the newest epoch that the ledger has, and the newest that it settled with this state.

    `waiting` is the id of the message for `last_epoch` that still waits here for its answer.
    """
    if last_epoch <= settled_epoch:
        return Whose.OURS
    return Whose.ELSEWHERE if waiting is None else Whose.UNKNOWN
