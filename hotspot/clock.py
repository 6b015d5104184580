"""Whether the wall clock may be believed, and what time it was when nobody knew.

A router without a battery wakes in 1970, or where its last file was written, until a time service
has answered. A beacon with a wrong time is worth nothing and a message for a wrong epoch can't be
taken back, so until there is reason to believe the clock the hotspot listens, keeps what it hears
with the boot clock's time, and files it once the wall clock is known (`Backlog`).

    earlier than the network's start                      not believed
    the kernel says synchronised                          believed
    the ledger, or three neighbours, are epochs ahead     not believed
    they agree                                            believed
    they are epochs behind, since the clock was set       not believed: a ledger that stands still
                                                          didn't set it
    it was set since an earlier run of the same boot      not believed until anybody agrees
    nobody says anything, earlier than what we saw before not believed
    nobody says anything, booted less than 5 minutes ago  wait for the time service
    nobody says anything, and it has had its time         believed
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

SECOND = 1_000_000_000
JUMP_NS = SECOND  # time services slew what is less (NTP steps from 128 ms on, at start only)
SETTLE_NS = 300 * SECOND
TRUST_NS = SECOND // 2  # a clock that is believed is judged again after this, or on any news
NEIGHBOURS_NEEDED = 3  # one may lie, and two may be the same person's
BACKLOG_FRAMES = 8_192  # eleven hours of 30 neighbours on mainnet, 2 MB


class Moment(NamedTuple):
    """One look at the clocks: wall and boot clock in ns, and what the kernel says of the wall's."""

    wall_ns: int
    boot_ns: int
    is_synchronised: bool


class Timekeeper:
    """Judges the wall clock by the kernel, the ledger, the neighbours and our own past."""

    def __init__(
        self,
        moment: Moment,
        *,
        epoch_ms: int,
        start_ms: int,
        seen_ms: int = 0,
        seen_offset_ns: int | None = None,
    ) -> None:
        """`start_ms` is the network's; `seen_ms` the last believed time of an earlier run.

        `seen_offset_ns`: wall clock less boot clock then, if that was in this boot of the machine.
        """
        self._moment = moment
        self._seen_ns = seen_ms * 1_000_000
        self._epoch_ns = epoch_ms * 1_000_000
        self._start_ns = start_ms * 1_000_000
        self._ledger: tuple[int, int] | None = None  # epoch, when we were told (boot clock)
        self._neighbours: dict[int, tuple[int, int]] = {}  # index > the same
        self._set_by_ns = 0 if seen_offset_ns is None else self.offset_ns - seen_offset_ns
        self._was_set = self._must_agree = abs(self._set_by_ns) >= JUMP_NS
        self._believed_ns: int | None = None  # boot clock at the last judgement without a doubt

    @property
    def moment(self) -> Moment:
        """The last look."""
        return self._moment

    @property
    def offset_ns(self) -> int:
        """Wall clock less boot clock: changes only when somebody sets the clock."""
        return self._moment.wall_ns - self._moment.boot_ns

    def observe(self, moment: Moment) -> int:
        """Take a look at the clocks; return by how many ns the wall clock was set since, or 0."""
        before, self._moment = self._moment, moment
        if moment.is_synchronised != before.is_synchronised:
            self._believed_ns = None
        jump = (moment.wall_ns - moment.boot_ns) - (before.wall_ns - before.boot_ns)
        if abs(jump) < JUMP_NS:
            return 0
        self._was_set = True
        self._believed_ns = None
        return jump

    def note_ledger(self, epoch: int) -> None:
        """The ledger is in this epoch."""
        self._believed_ns = None
        self._ledger = epoch, self._moment.boot_ns

    def note_neighbour(self, index: int, epoch: int) -> None:
        """A signed beacon of a registered neighbour is of this epoch."""
        self._believed_ns = None
        self._neighbours[index] = epoch, self._moment.boot_ns

    def doubt(self) -> str:
        """Why the clock isn't believed; empty if it is."""
        now_ns, believed_ns = self._moment.boot_ns, self._believed_ns
        if believed_ns is not None and 0 <= now_ns - believed_ns < TRUST_NS:
            return ""
        found = self._judge()
        self._believed_ns = None if found else now_ns
        return found

    def _judge(self) -> str:
        if late_s := self._seconds_before(self._start_ns):
            return f"the clock is {late_s} s before the network's start"
        if self._moment.is_synchronised:
            self._must_agree = False
            return ""
        leads = [self._lead(told) for told in (self._ledger, self._majority()) if told]
        if any(lead > 1 for lead in leads):
            return f"others are {max(leads)} epochs ahead of this clock"
        if any(lead >= -1 for lead in leads):
            self._was_set = self._must_agree = False
            return ""
        if leads and self._was_set:
            return f"the clock was set, and is {-max(leads)} epochs ahead of others since"
        if self._must_agree:
            return f"the clock was set by {self._set_by_ns / 1e9:.0f} s while nobody looked"
        if late_s := self._seconds_before(self._seen_ns):
            return f"the clock is {late_s} s behind what it showed before the restart"
        if self._moment.boot_ns < SETTLE_NS:
            return "no time service has answered yet since the start of this machine"
        return ""

    def wall_at(self, boot_ns: int) -> int:
        """The wall clock's time, as known now, at a moment of the boot clock."""
        return self._moment.wall_ns - self._moment.boot_ns + boot_ns

    def _seconds_before(self, time_ns: int) -> int:
        return max(0, -((self._moment.wall_ns - time_ns) // SECOND))

    def _lead(self, told: tuple[int, int]) -> int:
        """By how many epochs somebody was ahead of us when they said where they are."""
        epoch, at_ns = told
        own_ns = max(0, self.wall_at(at_ns) - self._start_ns)
        return epoch - own_ns // self._epoch_ns

    def _majority(self) -> tuple[int, int] | None:
        """What at least three neighbours agree on, to an epoch: the median's saying."""
        if len(self._neighbours) < NEIGHBOURS_NEEDED:
            return None
        told = sorted(self._neighbours.values(), key=self._lead)
        middle = told[len(told) // 2]
        agreeing = [t for t in told if abs(self._lead(t) - self._lead(middle)) <= 1]
        return middle if len(agreeing) >= NEIGHBOURS_NEEDED else None


class Backlog:
    """Frames that were heard before the time was known, by the boot clock; the oldest go first."""

    def __init__(self, limit: int = BACKLOG_FRAMES) -> None:
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=limit)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def keep(self, frame: bytes, boot_ns: int) -> None:
        """Keep a frame for later."""
        self.dropped += len(self._frames) == self._frames.maxlen
        self._frames.append((boot_ns, frame))

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Hand over all (boot time, frame), oldest first."""
        while self._frames:
            yield self._frames.popleft()
