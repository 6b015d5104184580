"""Make the table of chain/envelope.py: how small and how large a path loss can honestly be.

`python -m coverage_map.propagation.envelope` prints it. The ledger's rules hold integers only, so
the formulas are evaluated here once and a test compares the two.

* Smallest loss: free space (ITU-R P.525-4 eq. 4) at the near edge of a distance bucket and the
  lowest frequency of the band, less 10 dB: 6 dB for two waves that add up, 4 dB for what drivers
  misreport.
* Largest loss: UMi street canyon without line of sight (3GPP TR 38.901 table 7.4.1-1) at the far
  edge and the highest frequency, plus three standard deviations of its shadowing (7.82 dB) and
  10 dB for fading and drivers. Links that lose more exist, but nobody is paid for hearing them.
"""

from __future__ import annotations

import math

from chain.envelope import BANDS_MHZ, BUCKETS, BUCKETS_PER_OCTAVE
from coverage_map.propagation.pathloss import SHADOWING_SIGMA_DB, free_space_db, umi_nlos_db

NEAR_TOLERANCE_DB = 10.0
FAR_TOLERANCE_DB = 10.0
SIGMAS = 3.0
MHZ = 1e6


def bucket_edge_m(bucket: int) -> float:
    """Distance in m at which a bucket starts: four of equal width per octave, from 1 m."""
    octave, part = divmod(bucket, BUCKETS_PER_OCTAVE)
    return math.ldexp(1.0 + part / BUCKETS_PER_OCTAVE, octave)


def smallest_loss_cdb(low_mhz: int) -> tuple[int, ...]:
    """Per bucket, the least loss in centi-dB that a band's lowest frequency can have."""
    losses = [free_space_db(bucket_edge_m(k), low_mhz * MHZ) for k in range(BUCKETS)]
    return tuple(math.floor(100.0 * (float(loss) - NEAR_TOLERANCE_DB)) for loss in losses)


def largest_loss_cdb(high_mhz: int) -> tuple[int, ...]:
    """Per bucket, the most loss in centi-dB that a band's highest frequency may have."""
    spread_db = SIGMAS * SHADOWING_SIGMA_DB["umi_nlos"] + FAR_TOLERANCE_DB
    losses = [umi_nlos_db(bucket_edge_m(k + 1), high_mhz * MHZ) for k in range(BUCKETS)]
    return tuple(math.ceil(100.0 * (float(loss) + spread_db)) for loss in losses)


def table() -> dict[str, tuple[tuple[int, ...], ...]]:
    """Both bounds for every band, as chain/envelope.py holds them."""
    return {
        "SMALLEST_LOSS_CDB": tuple(smallest_loss_cdb(low) for low, _ in BANDS_MHZ),
        "LARGEST_LOSS_CDB": tuple(largest_loss_cdb(high) for _, high in BANDS_MHZ),
    }


def render() -> str:
    """The table as Python source, ten numbers a line."""
    lines: list[str] = []
    for name, bands in table().items():
        lines.append(f"{name} = (")
        for bounds in bands:
            lines.append("    (")
            rows = (bounds[i : i + 10] for i in range(0, len(bounds), 10))
            lines += ["        *(" + ", ".join(map(str, row)) + ")," for row in rows]
            lines.append("    ),")
        lines.append(")")
    return "\n".join(lines)


if __name__ == "__main__":
    print(render())
