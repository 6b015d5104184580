"""Keys that were heard before the ledger told who they are, and what they said meanwhile.

A hotspot knows only whom it hears: a directory of a whole network wouldn't fit into a router. The
first beacons of a new neighbour wait here until the ledger has answered, and count from the time
at which they came. Anybody can invent keys, so all of it is bounded, and a key that the ledger
didn't know is asked for again only after a minute.
"""

from __future__ import annotations

from collections import OrderedDict

ASKED_MAX = 64  # keys that wait for an answer
FRAMES_MAX = 16  # frames kept of each
ASK_AGAIN_NS = 60 * 1_000_000_000
UNKNOWN_MAX = 1_024  # keys that the ledger didn't know, remembered


class Strangers:
    """Frames by key. Times are whatever clock the caller keeps to."""

    def __init__(self) -> None:
        self._frames: dict[bytes, list[tuple[int, bytes]]] = {}
        self._unknown: OrderedDict[bytes, int] = OrderedDict()  # key > when the ledger said so

    def keep(self, key: bytes, frame: bytes, now_ns: int) -> bool:
        """Keep a frame for later; True if the ledger should be asked who this is."""
        kept = self._frames.get(key)
        if kept is not None:
            if len(kept) < FRAMES_MAX:
                kept.append((now_ns, frame))
            return False
        asked_ns = self._unknown.get(key)
        is_tried = asked_ns is not None and 0 <= now_ns - asked_ns < ASK_AGAIN_NS
        if is_tried or len(self._frames) >= ASKED_MAX:
            return False
        self._frames[key] = [(now_ns, frame)]
        return True

    def is_waiting(self, key: bytes) -> bool:
        """Whether an answer on this key is awaited."""
        return key in self._frames

    def answer(self, key: bytes, now_ns: int, *, known: bool) -> list[tuple[int, bytes]]:
        """The ledger has answered: hand over what a known one said, (time, frame) as it came."""
        frames = self._frames.pop(key, [])
        if known:
            self._unknown.pop(key, None)
            return frames
        self._unknown[key] = now_ns
        self._unknown.move_to_end(key)
        if len(self._unknown) > UNKNOWN_MAX:
            self._unknown.popitem(last=False)
        return []
