"""The search for reference cycles, in a process that holds a large state for a long time.

The state, blocks and verdicts make no cycles, but the collector walks over all of them again and
again: a fifth of the time that checking an epoch's messages takes. Cycles come from the web server
alone, so young objects are looked through more seldom and what is there for good is left out.
"""

from __future__ import annotations

import gc

# Containers that may be made before the young ones are looked through: some 10 MB of them.
YOUNG = 50_000
# Of ten such searches one takes in the middle-aged, and of a hundred of those one everything.
MIDDLE, OLD = 10, 100


def spare_state() -> None:
    """Leave what is in memory now out of the collector's walks; look for cycles more seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
