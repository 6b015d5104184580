"""`wavecomb` with one more preset: short epochs in which every hotspot beacons at a high pace.

    python -m bench.live_preset BEACONS COMMAND [OPTIONS]

The programs are those that ship; the genesis of `bench.live` names the preset `rapid`, which no
network uses: epochs of ten seconds with so many beacons of each hotspot.
"""

from __future__ import annotations

import dataclasses
import sys

from chain.params import PRESETS

NAME = "rapid"
SEQUENCES_MAX = 255  # a reception holds the beacon's number in one byte


def add_preset(beacons: int) -> None:
    """Add the preset to this process."""
    # Nothing settles within a measurement: what is measured is the air, not the ledger's closes.
    PRESETS[NAME] = dataclasses.replace(
        PRESETS["minimal"], name=NAME, beacons_per_epoch=beacons, settlement_epochs=60
    )


def main() -> int:
    """Run `wavecomb` with the preset."""
    import wavecomb

    add_preset(int(sys.argv[1]))
    return wavecomb.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
