"""Carrier B: our element in an access point's own beacons, for a short window after each send.

An access point repeats its beacon every 102.4 ms, so the element goes out about four times in a
window of 450 ms and then leaves again: for good it would cost one per cent of the channel at
1 Mb/s. `ElementWindow` says which commands to give hostapd and when, and reads its answers; it
gives back the elements that the access point has of its own. Pure; commands: hostapd's README,
"Control interface"; `vendor_elements` as in hostapd.conf.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from chain.records import Refusal
from hotspot.radio.frame import ELEMENT_TYPE, OUI, VENDOR_ELEMENT, parse_frame

MS = 1_000_000
WINDOW_MS = 450
UPDATE = "UPDATE_BEACON"
ANSWER_WITHIN_NS = 2_000 * MS


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that waits for its answer, and whether it belongs to a send."""

    command: str
    is_send: bool
    at_ns: int


def element_of(payload: bytes, oui: bytes = OUI) -> bytes:
    """The vendor element that carries a payload (docs/records.md, "The beacon on the air")."""
    return bytes((VENDOR_ELEMENT, len(payload) + 4)) + oui + bytes((ELEMENT_TYPE,)) + payload


def payload_of(frame: bytes, oui: bytes = OUI) -> bytes | None:
    """The payload of a frame of ours behind its transmit radiotap header; None for another."""
    heard = parse_frame(frame, oui=oui)
    return None if isinstance(heard, Refusal) else heard.payload


class ElementWindow:
    """What hostapd is asked, and what came of it. Times are of one clock that nobody sets."""

    def __init__(self, keep: bytes = b"", window_ms: int = WINDOW_MS) -> None:
        """`keep`: the access point's own vendor elements, which stand outside and beside ours."""
        self.failed = 0
        self.done = 0
        self._keep = keep
        self._window_ns = window_ms * MS
        self._ends_ns: int | None = None
        self._asked: deque[Asked] = deque()

    def clear(self, now_ns: int) -> list[str]:
        """Commands that leave only the access point's own elements: at the start and at the end."""
        self._ends_ns = None
        return self._ask(self._keep, now_ns, is_send=False)

    def send(self, payload: bytes, now_ns: int) -> list[str]:
        """Commands that put a payload into the beacons from now on; a newer one replaces it."""
        self._ends_ns = now_ns + self._window_ns
        return self._ask(self._keep + element_of(payload), now_ns, is_send=True)

    @property
    def ends_ns(self) -> int | None:
        """When `handle_time` has something to do."""
        return self._ends_ns

    @property
    def waits(self) -> bool:
        """Whether answers are missing."""
        return bool(self._asked)

    def handle_time(self, now_ns: int) -> list[str]:
        """Commands that are due: a window that has ended is cleared."""
        if self._ends_ns is None or now_ns < self._ends_ns:
            return []
        return self.clear(now_ns)

    def receive(self, answer: str) -> None:
        """Take the answer to the oldest command. Events, unasked for, begin with `<`."""
        if answer.startswith("<") or not self._asked:
            return
        asked = self._asked.popleft()
        self._count(asked, answer.strip() == "OK")

    def expire(self, now_ns: int) -> None:
        """Give up on answers that are overdue: hostapd was restarted, or hangs."""
        while self._asked and now_ns - self._asked[0].at_ns > ANSWER_WITHIN_NS:
            self._count(self._asked.popleft(), False)

    def _count(self, asked: Asked, is_good: bool) -> None:
        if asked.is_send and not is_good:
            self.failed += 1
        elif asked.is_send and asked.command == UPDATE:
            self.done += 1

    def _ask(self, elements: bytes, now_ns: int, *, is_send: bool) -> list[str]:
        commands = [f"SET vendor_elements {elements.hex()}", UPDATE]
        self._asked.extend(Asked(command, is_send, now_ns) for command in commands)
        return commands
