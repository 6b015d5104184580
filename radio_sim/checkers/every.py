"""The checkers of a run, by name."""

from __future__ import annotations

from radio_sim.checkers.acknowledged import AcknowledgedChecker
from radio_sim.checkers.base import Checker, Panel
from radio_sim.checkers.beacons import BeaconChecker
from radio_sim.checkers.bounded import BoundedChecker
from radio_sim.checkers.clocks import ClockChecker
from radio_sim.checkers.frames import FrameChecker
from radio_sim.checkers.honest import HonestChecker
from radio_sim.checkers.payments import PaymentChecker
from radio_sim.checkers.replay import ReplayChecker
from radio_sim.checkers.supply import SupplyChecker

CHECKERS: tuple[type[Checker], ...] = (
    SupplyChecker,
    PaymentChecker,
    AcknowledgedChecker,
    BeaconChecker,
    HonestChecker,
    ReplayChecker,
    FrameChecker,
    ClockChecker,
    BoundedChecker,
)


def make_panel() -> Panel:
    """All of them, fresh."""
    return Panel(kind() for kind in CHECKERS)
