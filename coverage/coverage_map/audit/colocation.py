"""One radio behind several keys: whoever hears the one hears the other just as well.

Shadowing belongs to the place. Two senders at places of their own differ by dBs at each witness,
and differently at each; two keys on one radio differ by one constant, whatever power each claims.
What is compared is what anchors measured, so the suspects' own reports can't hide it.

Needs: four anchors that measured both, and claims 50 m apart. Abstains otherwise. Keys of one owner
are not compared: they don't witness each other. Doesn't catch: an antenna turned for each key.
"""

from __future__ import annotations

import numpy as np

from coverage_map.audit.network import LEAST_MEASURED, Network
from coverage_map.audit.outcome import Outcome, make_outcome


def compute_colocation(network: Network) -> Outcome:
    """Evidence that a hotspot's radio is another's; statistic: rms difference in dB."""
    from coverage_map.audit.colocation_kernels import best_partners

    links, count = network.evidence.links, len(network)
    rows = np.flatnonzero((links.measured >= LEAST_MEASURED) & network.anchor[links.witness])
    sender, witness = links.beaconer[rows], links.witness[rows]
    by_witness = np.lexsort((sender, witness))
    everyone = np.arange(count + 1)
    variance = np.nan_to_num(links.full_var_db2[rows], nan=4.0) / links.measured[rows]
    out = np.full((count, 3), np.nan)
    partner = np.full(count, -1, np.int64)
    best_partners(
        np.searchsorted(sender, everyone),
        witness,
        links.full_db[rows],
        variance,
        np.searchsorted(witness[by_witness], everyone),
        sender[by_witness],
        network.positions_m,
        network.blur_m,
        network.claims.owner,
        out,
        partner,
    )
    return make_outcome(out[:, 2], out[:, 0], np.nan_to_num(out[:, 1]), partner)
