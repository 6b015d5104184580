"""No verdict for a beacon that never flew: what counts was on the air, and was heard.

For an honest witness the medium must have delivered that very beacon to it; for a liar, who may
have it from an accomplice, it must at least have been sent.
"""

from __future__ import annotations

import numpy as np

from chain.ledger import Sealed
from chain.records import Refusal
from chain.rules.verdicts import COUNTED
from chain.wire import iter_receptions
from hotspot.radio.frame import parse_frame, unpack_beacon
from radio_sim.checkers.base import Checker
from radio_sim.fates import Fate, Hearing
from radio_sim.medium import Transmission

EPOCHS_KEPT = 64
_RADIOTAP = bytes((0, 0, 8, 0, 0, 0, 0, 0))  # a header without a field
Beacon = tuple[int, int, int]  # agent, epoch, sequence


class BeaconChecker(Checker):
    """Compares verdicts with what the medium carried."""

    name = "beacons"

    def __init__(self) -> None:
        super().__init__()
        self._flown: dict[int, dict[Beacon, set[int]]] = {}  # epoch > beacon > who got it

    def on_air(self, sent: Transmission, hearing: Hearing) -> None:
        """Note a beacon and who got it."""
        heard = parse_frame(_RADIOTAP + sent.body)
        beacon = heard if isinstance(heard, Refusal) else unpack_beacon(heard.payload)
        if isinstance(beacon, Refusal):
            return
        got = hearing.receivers[np.flatnonzero(hearing.fates == Fate.DELIVERED)].tolist()
        name = (sent.sender, beacon.epoch, beacon.sequence)
        self._flown.setdefault(beacon.epoch, {}).setdefault(name, set()).update(got)

    def on_block(self, sealed: Sealed) -> None:
        """Check what counted."""
        for judgement in sealed.effects.verdicts:
            flown = self._flown.get(judgement.epoch, {})
            for witness, codes in judgement.codes.items():
                entries = iter_receptions(judgement.reports[witness].report)
                for heard, code in zip(entries, codes, strict=True):
                    if code == COUNTED:
                        self._check(flown, witness, (heard[0], judgement.epoch, heard[1]))
            for old in [e for e in self._flown if e < judgement.epoch - EPOCHS_KEPT]:
                del self._flown[old]

    def _check(self, flown: dict[Beacon, set[int]], witness: int, beacon: Beacon) -> None:
        sender, hearer = self.fleet.agent_of(beacon[0]), self.fleet.agent_of(witness)
        got = flown.get((sender, *beacon[1:]))
        if got is None:
            self.fail(f"epoch {beacon[1]}: beacon {beacon[2]} of {sender} counted, never sent")
        elif hearer not in got and hearer not in self.fleet.dresser.behaviours:
            self.fail(f"epoch {beacon[1]}: {hearer} never got beacon {beacon[2]} of {sender}")
