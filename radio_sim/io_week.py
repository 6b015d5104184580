"""Weeks of a hotspot's life under faults drawn from a seed, and what its owner would have seen.

The shipping daemon runs on a `VirtualMachine`. Six kinds of trouble come and go independently:

    radio     deaf, mute (sends succeed, nothing leaves), away from the bus, or back from it under
              another name until the reset hook gives it the old one
    ledger    no answer; of three times once the clock is set back meanwhile
    disk      full; every other time in the second in which the epoch's report is due
    clock     set by seconds to hours, not synchronised until a time service sets it right
    process   killed, or the machine loses power and perhaps its clock, or an update stops and
              starts it while something else is wrong
    key       the key file is open to others: who starts now must refuse, until that is mended

Every five seconds the watch looks: is each fault named by its name, and how long did that take from
when it could be seen (process up; for a mute radio, first beacon tried)? Does the hotspot beacon
again, without faults, once nothing has been wrong for a while? At the end: what was kept and never
reported, messages signed twice, and what grew.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chain.draws import digest, u32
from chain.errors import UserError
from hotspot.health import Fault, State
from hotspot.io_daemon import Daemon
from radio_sim.io_virtual_machine import START_MS, VirtualMachine, World, settings

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
LOOK_NS = 5 * SECOND
NAMED_WITHIN_NS = 5 * MINUTE
# A jump is shown for ten minutes, a mute radio's recovery shows at the next probe (4 minutes), and
# who was restarted beacons from the next epoch on (ten minutes).
QUIET_NS = 25 * MINUTE
RESTART_NS = 10 * SECOND
GRACE_NS = 2 * HOUR  # at the end nothing new breaks, so that all can be delivered
FIELDS = {"radio.interface": "radio", "queue": "disk", "key_file": "key"}  # of failed starts
KINDS = ("radio", "ledger", "disk", "clock", "process", "key")


class Killed(Exception):
    """The process ends here, as by kill -9 or a power cut."""


@dataclass(slots=True)
class Episode:
    """One trouble: what, when (network time, ns since its start), and when it was named."""

    kind: str
    fault: Fault | str  # what never runs has no fault: the status file says what it can't use
    begin_ns: int
    end_ns: int | None = None
    seen_ns: int | None = None  # since when it could be seen
    named_ns: int | None = None
    mended_ns: int | None = None  # the daemon had repaired it by then: nothing is left to name

    @property
    def took_ns(self) -> int | None:
        """From when it could be seen to its name."""
        if self.named_ns is None or self.seen_ns is None:
            return None
        return max(0, self.named_ns - self.seen_ns)


@dataclass(slots=True)
class Outcome:
    """What came of a life."""

    days: float
    episodes: list[Episode] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    lost: int = 0
    kept: int = 0
    messages: int = 0
    messages_twice: int = 0
    beacons_twice: int = 0  # numbers of beacons under which two things were said
    kills: int = 0
    power_cuts: int = 0
    updates: int = 0
    restarts: int = 0

    def is_good(self) -> bool:
        """Nothing lost, twice, stuck, leaked, or unnamed."""
        twice = self.messages_twice + self.beacons_twice
        bad = (self.lost, twice, self.stuck, self.leaks, self.unnamed())
        return not any(bad)

    def unnamed(self) -> list[Episode]:
        """Those that lasted long enough to be named in time, and weren't."""
        return [e for e in self.episodes if not _is_named_in_time(e)]

    def slowest_s(self) -> float:
        """The longest that a name took."""
        return max((e.took_ns / 1e9 for e in self.episodes if e.took_ns is not None), default=0.0)


def _is_named_in_time(episode: Episode) -> bool:
    if episode.took_ns is not None:
        return episode.took_ns <= NAMED_WITHIN_NS
    if episode.seen_ns is None:
        return True
    ends = [at for at in (episode.end_ns, episode.mended_ns) if at is not None]
    last_ns = min(ends, default=episode.seen_ns)
    return last_ns - episode.seen_ns < NAMED_WITHIN_NS


class Life:
    """One hotspot, its world, its troubles."""

    def __init__(self, seed: int, folder: Path, *, faults: bool = True) -> None:
        self.world = World(seed)
        self.outcome = Outcome(0.0)
        self._seed = seed
        self._folder = folder
        self._faults = faults
        self._draws = 0
        self._open: dict[str, Episode] = {}
        self._daemon: Daemon | None = None
        self._began_ns = 0  # network time at which the process came up
        self._ended_ns = 0  # and at which the one before it ended
        self._calm_ns = 0
        self._quiet_since_ns = self._now_ns()
        self._sizes: dict[str, float] = {}
        self._update_waits = False  # for the next trouble

    def _now_ns(self) -> int:
        return self.world.true_ns() - START_MS * 1_000_000

    def _draw(self, low: int, high: int) -> int:
        """A number from `low` to `high`, the next of this life's."""
        self._draws += 1
        word = digest("week", u32(self._seed), u32(self._draws))[:8]
        return low + int.from_bytes(word, "big") % (high - low + 1)

    def run(self, days: float, tell: Callable[[float], None] = lambda _: None) -> Outcome:
        """Live so long; `tell` gets the share that is over, now and then."""
        end_ns = self._now_ns() + int(days * DAY)
        start_ns = self._now_ns()
        self.outcome.days = days
        first_sample_ns = start_ns + int(days * DAY) // 4
        for kind in KINDS if self._faults else ():
            self._plan(kind)
        self._calm_ns = end_ns - GRACE_NS
        while self._now_ns() < end_ns:
            try:
                self._start()
                self.world.at(self.world.boot_ns + LOOK_NS, lambda: self._look(first_sample_ns))
                self.world.at(self._boot_time(end_ns), self._die)
                if self._daemon is not None:
                    self._daemon.run()
                self.outcome.restarts += 1
            except Killed:
                self._close()
            self._ended_ns = self._now_ns()
            tell(min(1.0, (self._now_ns() - start_ns) / (days * DAY)))
        self._judge()
        return self.outcome

    # --- the process

    def _start(self) -> None:
        """Start it as a supervisor does: again after ten seconds, as often as it takes."""
        self._daemon = None
        gc.collect()
        while self._daemon is None:
            try:
                self._daemon = Daemon(settings(), self._folder, VirtualMachine(self.world))
            except UserError as error:
                self._note_failed_start(error)
                self.world.advance(self.world.boot_ns + RESTART_NS, lambda: False)
        self._began_ns = self._now_ns()
        for episode in self._open.values():  # nobody could name it meanwhile
            if episode.seen_ns is not None and episode.named_ns is None:
                episode.seen_ns += self._began_ns - self._ended_ns

    def _note_failed_start(self, error: UserError) -> None:
        """It ended with one line that names what is wrong; the status file says the same."""
        kind = FIELDS.get(error.field)
        told = json.loads((self._folder / "status.json").read_text())["state"]["reason"]
        episode = self._open.get(kind or "")
        if episode is not None and episode.named_ns is None and error.problem in told:
            episode.seen_ns = episode.named_ns = self._now_ns()

    def _close(self) -> None:
        """What the kernel does for a process that dies: its files are closed."""
        if self._daemon is not None:
            self._daemon._uplink.stop()
            self._daemon._queue.close()

    def _die(self) -> None:
        raise Killed

    def _boot_time(self, now_ns: int) -> int:
        return now_ns + START_MS * 1_000_000 - self.world.true_offset_ns

    # --- troubles

    def _plan(self, kind: str) -> None:
        """Draw when the next trouble of a kind begins."""
        wait_ns = self._draw(30 * 60, 16 * 3_600) * SECOND
        self.world.at(self.world.boot_ns + wait_ns, lambda: self._begin(kind))

    def _begin(self, kind: str) -> None:
        if self._now_ns() >= self._calm_ns:  # the end shows what is left of all troubles
            return
        if kind == "process":
            self._end_process()
            return
        longest_s = max(60, min(7_200, (self._calm_ns - self._now_ns()) // SECOND))
        length_ns = self._draw(min(480, longest_s), longest_s) * SECOND
        if kind == "disk" and self._draw(0, 1):
            self._await_report(lambda: self._open_episode(kind, length_ns))
        else:
            self._open_episode(kind, length_ns)

    def _await_report(self, then: Callable[[], None]) -> None:
        """Do it a moment before the report of an epoch is signed."""
        due_ns = self._daemon._node.upcoming[1] if self._daemon is not None else None
        wait_ns = 0 if due_ns is None else due_ns - self.world.true_ns() - SECOND // 2
        self.world.at(self.world.boot_ns + max(0, wait_ns), then)

    def _open_episode(self, kind: str, length_ns: int) -> None:
        fault = self._break(kind)
        episode = Episode(kind, fault, self._now_ns())
        self.outcome.episodes.append(episode)
        self._open[kind] = episode
        self.world.at(self.world.boot_ns + length_ns, lambda: self._finish(kind))
        if kind == "ledger" and not self._draw(0, 2) and "clock" not in self._open:
            middle_ns = self.world.boot_ns + length_ns // 2
            self.world.at(middle_ns, lambda: self._set_back(length_ns // 4))
        if kind == "key":  # who runs has read it already
            raise Killed

    def _set_back(self, length_ns: int) -> None:
        """Nobody is there who could say what time it is."""
        if "clock" in self._open or "ledger" not in self._open:
            return
        self.world.wall_offset_ns -= self._draw(60, 36_000) * SECOND
        self.world.switches.synchronised = False
        episode = Episode("clock", Fault.CLOCK_JUMP, self._now_ns())
        self.outcome.episodes.append(episode)
        self._open["clock"] = episode
        self.world.at(self.world.boot_ns + length_ns, lambda: self._finish("clock", again=False))

    def _break(self, kind: str) -> Fault | str:
        switches = self.world.switches
        if kind == "ledger":
            switches.ledger = False
            return Fault.LEDGER_DOWN
        if kind == "key":
            (self._folder / "hotspot.key").chmod(0o644)
            return "key_file"
        if kind == "disk":
            switches.disk = False
            return Fault.DISK_FULL
        if kind == "clock":
            ahead = self._draw(0, 1) == 1
            jump_ns = self._draw(2, 36_000) * SECOND
            self.world.wall_offset_ns += jump_ns if ahead else -jump_ns
            switches.synchronised = False
            return Fault.CLOCK_JUMP
        which = self._draw(0, 3)
        if which == 0:
            switches.speaks = False
            return Fault.TX_DEAD
        if which == 1:
            switches.hears = False
        else:
            self.world.unplug()
        if which == 3:  # the bus finds it again, and the kernel counts on
            renamed_ns = self.world.boot_ns + self._draw(5, 240) * SECOND
            self.world.at(renamed_ns, lambda: self._come_back("mon1"))
        return Fault.RX_DEAD

    def _come_back(self, name: str) -> None:
        if "radio" in self._open:
            self.world.switches.has_device, self.world.switches.device = True, name

    def _finish(self, kind: str, *, again: bool = True) -> None:
        switches, world = self.world.switches, self.world
        episode = self._open.pop(kind, None)
        if episode is not None:
            episode.end_ns = self._now_ns()
        if kind == "radio":
            switches.hears = switches.speaks = switches.has_device = True
        elif kind == "key":
            (self._folder / "hotspot.key").chmod(0o600)
        elif kind == "clock":
            world.wall_offset_ns, switches.synchronised = world.true_offset_ns, True
        else:
            setattr(switches, kind, True)
        if again:
            self._plan(kind)

    def _end_process(self) -> None:
        if not self._draw(0, 3):
            self._update_waits = True
            self._plan("process")
            return
        if self._draw(0, 2):
            self.outcome.kills += 1
            self._plan("process")
            raise Killed
        self.outcome.power_cuts += 1
        self._close()
        dark_ns = min(self._draw(20, 7_200) * SECOND, max(SECOND, self._calm_ns - self._now_ns()))
        survives = self._draw(0, 1) == 1
        for episode in self._open.values():
            episode.end_ns = self._now_ns()  # the look at it begins anew below
        kinds = list(self._open)
        self._open.clear()
        self.world.cut_power(dark_ns, clock_survives=survives)
        if not survives:
            self.world.at(self.world.boot_ns + self._draw(5, 600) * SECOND, self._set_clock)
        for kind in kinds:  # what was broken stays so for a while
            self.world.at(self.world.boot_ns + 10 * MINUTE, lambda k=kind: self._finish(k))  # type: ignore[misc]
        for kind in KINDS:
            if kind not in kinds:
                self._plan(kind)
        raise Killed

    def _set_clock(self) -> None:
        """A time service has answered after the start; not while the clock is the trouble."""
        if "clock" not in self._open:
            self.world.wall_offset_ns = self.world.true_offset_ns
            self.world.switches.synchronised = True

    # --- the watch

    def _look(self, sample_ns: int) -> None:
        self.world.at(self.world.boot_ns + LOOK_NS, lambda: self._look(sample_ns))
        daemon, now_ns = self._daemon, self._now_ns()
        if daemon is None:
            return
        if self._update_waits and self._open:
            self._update_waits = False
            self.outcome.updates += 1
            daemon._waker.stopping = True  # as by SIGTERM: it ends well, and the next one starts
        names = {trouble.fault for trouble in daemon._health.troubles()}
        for episode in self._open.values():
            self._look_at(episode, names, daemon, now_ns)
        if self._open or not self.world.switches.synchronised:
            self._quiet_since_ns = now_ns
        elif now_ns - max(self._quiet_since_ns, self._began_ns) > QUIET_NS:
            self._expect_well(daemon, names, now_ns)
        if now_ns >= sample_ns and not self._sizes:
            self._sizes = self._measure(daemon)

    def _look_at(self, episode: Episode, names: set[Fault], daemon: Daemon, now_ns: int) -> None:
        if episode.seen_ns is None and self._can_be_seen(episode, daemon):
            episode.seen_ns = max(episode.begin_ns, self._began_ns)
            if episode.fault is Fault.TX_DEAD:
                episode.seen_ns = now_ns
        if episode.named_ns is None and episode.mended_ns is None and self._is_mended(episode):
            episode.mended_ns = now_ns
        # Who starts with a wrong clock saw no jump: its state says that it doesn't believe it.
        doubt = daemon._clock.doubt()
        doubts = episode.kind == "clock" and doubt and doubt in daemon._health.standing.reason
        if episode.named_ns is None and (episode.fault in names or doubts):
            episode.named_ns = now_ns
            if episode.seen_ns is None:
                episode.seen_ns = now_ns

    def _is_mended(self, episode: Episode) -> bool:
        """A radio that came back under another name hears again once the hook gave it its own."""
        hears = self.world.radio is not None and self.world.switches.hears
        return episode.kind == "radio" and episode.fault is Fault.RX_DEAD and hears

    def _can_be_seen(self, episode: Episode, daemon: Daemon) -> bool:
        """A mute radio shows when a beacon was tried; all else at once."""
        tried_ns = daemon._health._sent_ns
        if episode.fault is not Fault.TX_DEAD:
            return True
        begin_ns = max(episode.begin_ns, self._began_ns)
        return tried_ns is not None and tried_ns >= self._boot_time(begin_ns)

    def _expect_well(self, daemon: Daemon, names: set[Fault], now_ns: int) -> None:
        state = daemon._health.standing.state
        if names or state is not State.BEACON:
            told = ", ".join(sorted(names)) or daemon._health.standing.reason
            self.outcome.stuck.append(f"{now_ns / HOUR:.2f} h: {state}: {told}")
            self._quiet_since_ns = now_ns  # told once in a while

    def _measure(self, daemon: Daemon) -> dict[str, float]:
        node, counts = daemon._node, daemon._queue.counts()
        return {
            "receptions in memory": sum(map(len, node._memory.receptions.values())),
            "seen in the epoch": len(node._seen),
            "mixes": len(node._mixes),
            "last heard": len(node.last_heard),
            "readings": len(daemon._readings.indexes()),
            "unstored batches": len(daemon._unstored),
            "backlog": len(daemon._backlog),
            "undelivered records": counts.new,
            "receptions on disk": counts.receptions,
            "queue bytes": counts.bytes,
            "open files": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "memory MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    def _judge(self) -> None:
        world, outcome = self.world, self.outcome
        last = world.true_epoch() - 2
        outcome.kept = len(world.kept)
        outcome.lost = len({row for row in world.kept - world.reported if row[0] < last})
        outcome.messages = len(world.messages)
        outcome.messages_twice = sum(count > 1 for count in world.messages.values())
        outcome.beacons_twice = sum(len(said) > 1 for said in world.said.values())
        queue = VirtualMachine(world).open_queue(self._folder / "queue.db", 40 << 20)
        counts = queue.counts()
        queue.close()
        after = {
            "receptions on disk": counts.receptions,
            "queue bytes": counts.bytes,
            "open files": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
        }
        for name, value in after.items():
            before = self._sizes.get(name, 0.0)
            if value > 1.5 * before + (8_192 if name == "queue bytes" else 64):
                outcome.leaks.append(f"{name}: {before:.0f}, at the end {value:.0f}")
