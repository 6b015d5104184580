"""Where honest hotspots end: quantiles of every test's nats, and the threshold of their sum.

From `python -m bench.audit --calibrate`, which prints this table; networks, seeds and sizes are
in its docstring. Per test: median and 99 % quantile of the nats of honest hotspots, and the mean
by which the top hundredth exceeds the latter, at least 1.
"""

from __future__ import annotations

TAILS: dict[str, tuple[float, float, float]] = {
    "slope": (-11.86, -2.51, 1.06),
    "sent_slope": (-1.2, -0.27, 1.0),
    "reciprocity": (-18.19, -2.4, 1.0),
    "power": (-4.5, -0.5, 1.0),
    "location": (0.0, 5.2, 1.99),
    "opportunity": (0.23, 1.77, 1.0),
    "colocation": (-11.14, 0.69, 1.0),
    "copying": (-5.04, -2.48, 1.0),
    "spectrum": (-8.5, -1.36, 1.59),
    "clusters": (0.0, 0.0, 1.47),
}
# 99.9 % of those 10,191 honest hotspots score less; 99 % score less than 1.3.
THRESHOLD = 2.88
