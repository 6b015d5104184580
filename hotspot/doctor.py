"""What `wavecomb hotspot doctor` concludes from what it was shown; pure, so a test can show it.

The local view and the ledger's are compared: a hotspot that is content with itself while the
network hasn't heard of it for hours is the complaint that owners of other networks write most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hotspot.radio.probe import RadioTest

GOOD, DOUBT, BAD = "good", "doubt", "bad"
STALE_S = 15
FREE_MIB = 64
SILENT_EPOCHS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, `good`, `doubt` or `bad`, what was seen, and what to do."""

    name: str
    verdict: str
    seen: str
    remedy: str = ""


def judge_daemon(status: dict[str, Any] | None, age_s: int | None) -> list[Finding]:
    """What the daemon says of itself, and whether it still says anything."""
    if status is None or age_s is None:
        remedy = "start it: wavecomb hotspot run, or your service manager"
        return [Finding("daemon", BAD, "no status file", remedy)]
    if "stopped" in status:
        return [Finding("daemon", BAD, f"could not start: {status['stopped']}", "mend that")]
    if "ended" in status:
        return [Finding("daemon", BAD, f"{status['ended']}, {age_s} s ago", "start it again")]
    if age_s > STALE_S:
        remedy = "restart it; if it hangs again, send: wavecomb hotspot bundle"
        return [Finding("daemon", BAD, f"last said something {age_s} s ago", remedy)]
    state = status["state"]
    verdict = GOOD if state["name"] in ("BEACON", "RELAY") else DOUBT
    found = [Finding("daemon", verdict, f"{state['name']}: {state['reason']}")]
    for name, fault in status["faults"].items():
        found.append(Finding(name, BAD, fault["detail"], fault["remedy"]))
    if status["queue"].get("dropped"):
        seen = f"{status['queue']['dropped']} records were dropped from the full queue"
        found.append(Finding("queue", DOUBT, seen, "raise hotspot.queue_limit_mib"))
    return found


def judge_views(
    status: dict[str, Any] | None, epoch: int, last_epoch: int | None, why: dict[str, Any]
) -> Finding:
    """Whether the ledger's view agrees with ours. `last_epoch` is of the newest message there.

    `why` is what it says of us as a beaconer: beacons by verdict, receptions of them by verdict.
    """
    beacons, receptions = why.get("beacons", {}), why.get("receptions", {})
    heard = sum(beacons.get(verdict, 0) for verdict in ("paid", "aired"))
    if last_epoch is None:
        remedy = "wait an epoch or two after registration"
        return Finding("views", DOUBT, "the ledger has no report of this hotspot yet", remedy)
    if epoch - last_epoch > SILENT_EPOCHS:
        waiting = status["queue"].get("new", 0) if status else "unknown"
        seen = f"the ledger's newest report is {epoch - last_epoch} epochs old; {waiting} wait here"
        return Finding("views", BAD, seen, "check the connection, and the log for refusals")
    if beacons.get("unheard", 0) and not heard and any(receptions.values()):
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(receptions.items()))
        seen = f"our beacons are heard, but no reception counts: {reasons}"
        return Finding("views", DOUBT, seen, "see docs/proof-of-coverage.md for these reasons")
    if beacons.get("unheard", 0) and not heard:
        seen = f"none of our {beacons['unheard']} newest beacons was heard by anybody"
        return Finding("views", BAD, seen, "check the antenna: wavecomb hotspot doctor --radio")
    if not beacons:
        return Finding("views", GOOD, "reports arrive; the ledger has judged no beacon of ours yet")
    return Finding("views", GOOD, f"both see it: {heard} of the newest beacons were heard")


def judge_radio(test: RadioTest, known: dict[bytes, int] | None = None) -> Finding:
    """What became of test frames. That the device took them is no proof of anything.

    `known` are the neighbours' ledger indexes by key; None where the ledger was away.
    """
    if test.refused or not test.sent:
        seen = f"the device refused {test.refused} of {test.wanted} test frames"
        return Finding("radio", BAD, seen, "see docs/hardware.md")
    peers = test.peers if known is None else [key for key in test.peers if key in known]
    said = f"{test.sent} sent, {test.echoed} came back from the driver"
    if peers:
        return Finding("radio", GOOD, f"{said}, heard by {_names(test, peers, known)}")
    if test.echoed == test.wanted:
        return Finding("radio", GOOD, f"{said}; no neighbour answered")
    remedy = "ask a neighbour what it hears, or see docs/hardware.md"
    return Finding("radio", DOUBT, f"{said}: this driver may drop frames without a word", remedy)


def _names(test: RadioTest, peers: Sequence[bytes], known: dict[bytes, int] | None) -> str:
    """Neighbours with the loudest level at which each heard us."""
    words = []
    for key in peers:
        levels = [one.heard_dbm for one in test.confirmed if one.key == key]
        loudest = max((level for level in levels if level is not None), default=None)
        name = f"hotspot {known[key]}" if known else f"{key.hex()[:16]} (the ledger is away)"
        words.append(name if loudest is None else f"{name} at {loudest} dBm")
    return ", ".join(words)


def judge_queue(damaged: bool) -> list[Finding]:
    """Whether a damaged queue was put aside: the disk or its power may be failing."""
    if not damaged:
        return []
    remedy = "check the disk and the power supply, then delete the .damaged files"
    return [Finding("queue", DOUBT, "a damaged queue was put aside, and life went on", remedy)]


def judge_disk(free_mib: int) -> Finding:
    """Whether there is room for a month without the ledger."""
    if free_mib < FREE_MIB:
        return Finding("disk", BAD, f"{free_mib} MiB free", f"free {FREE_MIB} MiB or more")
    return Finding("disk", GOOD, f"{free_mib} MiB free")


def judge_clock(synchronised: bool, off_epochs: int | None) -> Finding:
    """The clock against the kernel's word and the ledger's epoch."""
    if off_epochs is not None and abs(off_epochs) > 1:
        seen = f"the ledger is {off_epochs} epochs ahead of this clock"
        return Finding("clock", BAD, seen, "start a time service (NTP)")
    if not synchronised:
        seen = "no time service holds the clock, as far as the kernel knows"
        return Finding("clock", DOUBT, seen, "start a time service (NTP)")
    return Finding("clock", GOOD, "held by a time service")
