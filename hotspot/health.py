"""How a hotspot is: its state with the reason for it, named faults with remedies, and what to try.

    BOOT > KEY > RADIO > CLOCK > LISTEN > BEACON > RELAY

A state says how far the hotspot has come and why no further. A fault is something that broke on
the way; several may stand at once, and none keeps the rest from working:

    fault        raised when                                        cleared by
    RX_DEAD      the device has counted no frame at all for 4 min   a frame
    TX_DEAD      3 beacons in a row failed, came back without an    an echo, a beacon that a
                 echo though the driver gives echoes, or went       neighbour heard, a send that
                 unheard by every neighbour, says the ledger        worked
    LEDGER_DOWN  the ledger doesn't answer                          an answer
    CLOCK_JUMP   the wall clock was set by more than a second       10 minutes of quiet
    DISK_FULL    the queue can't be written                         a write
    RESTORED     the key has signed what isn't kept here            a newer message, or an epoch
                                                                    in which nobody signed
    TWIN         another machine signs with the key                 an epoch in which nobody did

Radio faults are repaired by a ladder: open the radio again, reset the interface, start the process
anew. A process that never had a working radio isn't restarted for it, or a lonely hotspot would
restart for ever. All times are of the boot clock, which nobody sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
# Named within five minutes, with one left for whoever looks at the status.
SILENCE_NS = 4 * MINUTE
UNANSWERED_MAX = 3
# A beacon without an echo is sent again after this, then after four times as long: a channel may
# be busy for seconds. After a pause of `SILENCE_NS` one is sent again to see that it still works.
PROBE_NS = 2 * SECOND
JUMP_SHOWN_NS = 10 * MINUTE
LADDER_AGAIN_NS = 60 * MINUTE


class State(StrEnum):
    """How far a hotspot has come, in this order."""

    BOOT = "BOOT"
    KEY = "KEY"
    RADIO = "RADIO"
    CLOCK = "CLOCK"
    LISTEN = "LISTEN"
    BEACON = "BEACON"
    RELAY = "RELAY"


class Fault(StrEnum):
    """What can break while it runs."""

    RX_DEAD = "RX_DEAD"
    TX_DEAD = "TX_DEAD"
    LEDGER_DOWN = "LEDGER_DOWN"
    CLOCK_JUMP = "CLOCK_JUMP"
    DISK_FULL = "DISK_FULL"
    RESTORED = "RESTORED"
    TWIN = "TWIN"


class Repair(StrEnum):
    """What the daemon tries by itself, from the mildest to the harshest."""

    REOPEN_RADIO = "reopen_radio"
    RESET_INTERFACE = "reset_interface"
    RESTART = "restart"


REMEDIES = {
    Fault.RX_DEAD: "check the antenna and the channel, then: wavecomb hotspot doctor --radio",
    Fault.TX_DEAD: "check channel and country code, then: wavecomb hotspot doctor --radio",
    Fault.LEDGER_DOWN: "check the internet connection; everything is kept in the queue until then",
    Fault.CLOCK_JUMP: "if it comes back, check that one time service (NTP) runs, and only one",
    Fault.DISK_FULL: "free some space; nothing is sent that couldn't be stored first",
    Fault.RESTORED: "nothing, if a backup was put back or the machine is new: it goes on by itself",
    Fault.TWIN: "switch off the other machine that has this key; this one speaks two epochs later",
}
# After a radio fault has stood this long, this is tried.
LADDER = (
    (0, Repair.REOPEN_RADIO),
    (2 * MINUTE, Repair.RESET_INTERFACE),
    (6 * MINUTE, Repair.RESTART),
)
RADIO_FAULTS = (Fault.RX_DEAD, Fault.TX_DEAD)


@dataclass(frozen=True, slots=True)
class Standing:
    """A state, why it is this one, and since when (boot clock)."""

    state: State
    reason: str
    since_ns: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that stands: what was seen, since when (boot clock), and what to do."""

    fault: Fault
    detail: str
    since_ns: int
    remedy: str


class Health:
    """The machine. Tell it what happens; ask for state, faults, and the repairs that are due."""

    def __init__(self, now_ns: int, *, echoes: bool = False) -> None:
        """`echoes`: this driver is known to hand back what it sent."""
        self.standing = Standing(State.BOOT, "starting", now_ns)
        self.echoes = echoes
        self._troubles: dict[Fault, Trouble] = {}
        self._steps: dict[Fault, int] = {}
        self._repairs: list[Repair] = []
        self._device_frames: int | None = None
        self._echoes_counted = 0
        self._received_ns = now_ns
        self._unanswered = 0
        self._sent_ns: int | None = None  # when a beacon was last tried
        self._failed = 0
        self._has_received = False
        self._has_sent = False
        self._jumped_ns = now_ns

    # --- what happens -------------------------------------------------------------------------

    def enter(self, state: State, reason: str, now_ns: int) -> None:
        """Be in a state; the time since when it holds starts anew only if the state changes."""
        since_ns = self.standing.since_ns if self.standing.state is state else now_ns
        self.standing = Standing(state, reason, since_ns)

    def note_received(self, now_ns: int) -> None:
        """A frame came from the radio."""
        self._received_ns = now_ns
        self._has_received = True
        self._clear(Fault.RX_DEAD)

    def note_device(self, frames: int, now_ns: int, echoes: int = 0) -> None:
        """The device's own count of frames, and how many echoes we had: others are a sign of life.

        Some devices count their echoes among the frames they received.
        """
        if self._device_frames is not None:
            more = frames - self._device_frames
            if more < 0 or more > echoes - self._echoes_counted:
                self.note_received(now_ns)
        self._device_frames, self._echoes_counted = frames, echoes

    def note_sent(self, now_ns: int) -> None:
        """A beacon was handed to the device, which took it."""
        self._failed = 0
        self._sent_ns = now_ns
        self._unanswered += 1
        if self.echoes and self._unanswered >= UNANSWERED_MAX:
            detail = f"{self._unanswered} beacons were sent and none came back as an echo"
            self._raise(Fault.TX_DEAD, detail, now_ns)
        elif not self.echoes and self._has_detail("the device refused"):
            self._clear(Fault.TX_DEAD)

    def note_send_failed(self, now_ns: int) -> None:
        """The device refused a beacon."""
        self._failed += 1
        self._sent_ns = now_ns
        if self._failed >= UNANSWERED_MAX:
            self._raise(Fault.TX_DEAD, f"the device refused {self._failed} beacons", now_ns)

    def note_echo(self, now_ns: int) -> None:
        """A beacon of ours came back: from the driver once it had left, or from a peer."""
        del now_ns
        self.echoes = self._has_sent = True
        self._unanswered = 0
        if not self._has_detail("no neighbour"):
            self._clear(Fault.TX_DEAD)

    def note_verdicts(self, heard: int, unheard: int, neighbours: int, now_ns: int) -> None:
        """What the ledger says of our newest beacons, while we hear so many neighbours."""
        if heard:
            self._has_sent = True
            if self._has_detail("no neighbour"):
                self._clear(Fault.TX_DEAD)
        elif unheard >= UNANSWERED_MAX and neighbours:
            detail = f"no neighbour heard our last {unheard} beacons, and we hear {neighbours}"
            self._raise(Fault.TX_DEAD, detail, now_ns)

    def note_explained(self, why: dict[str, Any], neighbours: int, now_ns: int) -> None:
        """What the ledger explains of us as a beaconer: beacons and receptions by verdict."""
        beacons = why.get("beacons", {})
        heard = sum(beacons.get(verdict, 0) for verdict in ("paid", "aired"))
        heard += sum(why.get("receptions", {}).values())  # such as too_close: it left the antenna
        self.note_verdicts(heard, beacons.get("unheard", 0), neighbours, now_ns)

    def note_ledger(self, problem: str | None, now_ns: int) -> None:
        """The ledger can't be reached, or (None) answers."""
        self._set(Fault.LEDGER_DOWN, problem, now_ns)

    def note_disk(self, problem: str | None, now_ns: int) -> None:
        """The queue can't be written, or (None) was."""
        self._set(Fault.DISK_FULL, problem, now_ns)

    def note_copies(self, restored: str | None, twin: str | None, now_ns: int) -> None:
        """What is kept here is older than what the key signed; another machine signs with it."""
        self._set(Fault.RESTORED, restored, now_ns)
        self._set(Fault.TWIN, twin, now_ns)

    def note_jump(self, jump_ns: int, now_ns: int) -> None:
        """The wall clock was set; positive: ahead."""
        self._jumped_ns = now_ns
        way = "ahead" if jump_ns > 0 else "back"
        self._raise(Fault.CLOCK_JUMP, f"was set {way} by {abs(jump_ns) / 1e9:.1f} s", now_ns)

    # --- time ---------------------------------------------------------------------------------

    def handle_time(self, now_ns: int) -> None:
        """Raise, clear and repair what is due by now; call it every few seconds."""
        silent_ns = now_ns - self._received_ns
        if silent_ns >= SILENCE_NS:
            self._raise(Fault.RX_DEAD, f"no frame for {silent_ns // MINUTE} minutes", now_ns)
        if now_ns - self._jumped_ns >= JUMP_SHOWN_NS:
            self._clear(Fault.CLOCK_JUMP)
        for fault in RADIO_FAULTS:
            if trouble := self._troubles.get(fault):
                self._climb(trouble, now_ns)

    def take_repairs(self) -> list[Repair]:
        """Hand over the repairs that became due since the last call, each once."""
        repairs, self._repairs = list(dict.fromkeys(self._repairs)), []
        return repairs

    def is_probe_due(self, now_ns: int) -> bool:
        """Whether the last beacon should be sent once more, to learn if it still gets out.

        Only where the driver gives echoes. Whoever heard it before takes it for a repetition.
        """
        if not self.echoes or self._sent_ns is None:
            return False
        wait_ns = SILENCE_NS
        if 0 < self._unanswered < UNANSWERED_MAX:
            wait_ns = PROBE_NS * 4 ** (self._unanswered - 1)
        return now_ns - self._sent_ns >= wait_ns

    # --- views --------------------------------------------------------------------------------

    def troubles(self) -> list[Trouble]:
        """The faults that stand, longest first."""
        return sorted(self._troubles.values(), key=lambda t: (t.since_ns, t.fault))

    # --- inside -------------------------------------------------------------------------------

    def _has_detail(self, start: str) -> bool:
        trouble = self._troubles.get(Fault.TX_DEAD)
        return trouble is not None and trouble.detail.startswith(start)

    def _set(self, fault: Fault, problem: str | None, now_ns: int) -> None:
        if problem is None:
            self._clear(fault)
        else:
            self._raise(fault, problem, now_ns)

    def _raise(self, fault: Fault, detail: str, now_ns: int) -> None:
        known = self._troubles.get(fault)
        since_ns = known.since_ns if known else now_ns
        self._troubles[fault] = Trouble(fault, detail, since_ns, REMEDIES[fault])

    def _clear(self, fault: Fault) -> None:
        self._troubles.pop(fault, None)
        self._steps.pop(fault, None)

    def _climb(self, trouble: Trouble, now_ns: int) -> None:
        """Take the next step of the ladder when its time has come; from its top, begin again."""
        step = self._steps.get(trouble.fault, 0)
        turn, rung = divmod(step, len(LADDER))
        after_ns, repair = LADDER[rung]
        if now_ns - trouble.since_ns < turn * LADDER_AGAIN_NS + after_ns:
            return
        self._steps[trouble.fault] = step + 1
        if repair is not Repair.RESTART or self._has_worked(trouble.fault):
            self._repairs.append(repair)

    def _has_worked(self, fault: Fault) -> bool:
        return self._has_received if fault is Fault.RX_DEAD else self._has_sent
