"""Where honest hotspots end: quantiles of every test's nats, and the threshold of their sum.

From `python -m bench.audit --calibrate`, which prints this table; networks, seeds and sizes are
in its docstring. Per test: median and 99 % quantile of the nats of honest hotspots, and the mean
by which the top hundredth exceeds the latter, at least 1 (of `vouched`, a half).
"""

from __future__ import annotations

TAILS: dict[str, tuple[float, float, float]] = {
    "slope": (-11.88, -2.54, 1.18),
    "sent_slope": (-1.2, -0.24, 1.0),
    "reciprocity": (-18.38, -2.53, 1.17),
    "one_way": (-0.63, 6.72, 1.0),
    "power": (-4.5, -0.55, 1.0),
    "location": (0.0, 3.14, 1.0),
    "opportunity": (0.33, 1.76, 1.0),
    "misfit": (-0.36, 1.65, 1.51),
    "place": (0.26, 3.5, 1.13),
    "vouched": (-20.0, -0.27, 0.72),
    "carried": (-52.6, -8.58, 3.21),
    "colocation": (-2.04, 2.11, 1.0),
    "copying": (-5.04, -2.4, 1.0),
    "spectrum": (-8.5, -1.31, 1.36),
    "clusters": (0.0, 0.0, 1.0),
}
# 99.9 % of those 20,387 honest hotspots score less than 4.57, before suspects are left out. What
# other seeds show is in docs/auditors.md (`--check`).
THRESHOLD = 4.65
