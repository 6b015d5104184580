"""Small made measurements for the estimator's tests."""

from __future__ import annotations

import numpy as np

from coverage_map.estimator.links import Links, make_links
from coverage_map.propagation.pathloss import log_distance_db
from coverage_map.propagation.shadow_field import make_field


def made_links(count: int = 300, seed: int = 1, masts: int = 3, shadow_db: float = 6.0) -> Links:
    """Links of a few masts over a 1 km square: log-distance, offsets, shadowing, 2 dB of noise."""
    draws = np.random.default_rng(seed)
    places = draws.uniform(-400.0, 400.0, (masts, 2))
    who = draws.integers(0, masts, count)
    rx = draws.uniform(-500.0, 500.0, (count, 2))
    field = make_field(seed, 90.0, 256)
    shadow = np.array([field.at(x, y, int(k)) for (x, y), k in zip(rx, who, strict=True)])
    metres = np.hypot(*(rx - places[who]).T)
    rssi = 20.0 - log_distance_db(metres, 868e6, 3.0) + 4.0 * who + shadow_db * shadow
    rssi = rssi + 2.0 * draws.standard_normal(count)
    return make_links(places[who], rx, 868e6, rssi)
