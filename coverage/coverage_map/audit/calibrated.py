"""Where honest hotspots end: quantiles of every test's nats, and the threshold of their sum.

From `python -m bench.audit --calibrate`, which prints this table; networks, seeds and sizes are
in its docstring. Per test: median and 99 % quantile of the nats of honest hotspots, and the mean
by which the top hundredth exceeds the latter, at least 1.
"""

from __future__ import annotations

TAILS: dict[str, tuple[float, float, float]] = {
    "slope": (-12.0, -4.0, 2.0),
    "sent_slope": (-1.3, -0.3, 1.0),
    "reciprocity": (-16.0, -2.0, 1.5),
    "power": (-4.5, 0.0, 1.3),
    "location": (0.2, 5.0, 2.5),
    "opportunity": (0.6, 1.7, 1.0),
    "colocation": (-11.0, 0.1, 1.0),
    "copying": (-5.0, -2.4, 1.0),
    "spectrum": (-8.5, 0.4, 1.5),
    "clusters": (0.0, 0.0, 1.0),
}
# 99.9 % of honest hotspots score less.
THRESHOLD = 4.65
