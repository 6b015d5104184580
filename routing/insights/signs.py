"""Signs of a failing hotspot: what its links show, against their own past and against the others.

A row per hotspot and step, from its links of both directions. "Usual" is the mean of a link's last
three days without the newest six hours. Medians stand for the hotspot, since one bad path ails one
link; the *best* link is the one that suffers least: if that one suffers too, the cause is at the
hotspot. *Apart* is the hotspot less the median hotspot: rain and updates come to all.

    sign                            unit     what
    loss_1h, _6h, _24h              share    frames lost after retries
    loss_high_24h                   share    largest hourly loss of a day
    loss_rise                       share    loss_6h less what is usual
    snr_fall_1h, _6h                dB       usual SNR less the mean of the hours
    snr_fall_best_6h                dB       the same of the best link
    snr_slope_24h                   dB/day   newest 12 hours less the 12 before, times 2
    rate_fall_6h                    log2     usual rate over the mean of 6 hours
    rtt_rise_1h, _6h                log2     round trip over what is usual
    rtt_rise_best_6h                log2     the same of the best link
    queue_6h                        ms       backlog over rate
    busy_6h                         share    airtime busy
    silent_1h                       share    of an hour's minutes not heard
    outages_6h, _24h, _72h          1        ten-minute steps in which minutes are missing
    outages_grow                    1        outages_24h less those of the 24 hours before
    quiet_h                         h        since the last outage, at most 72
    loss_apart, snr_apart, rtt_apart, outages_apart   as above   loss_6h, snr_fall_6h, rtt_rise_6h,
                                             outages_24h less the median hotspot's
    links                           1        links heard in the last hour
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from routing.insights.grid import DAY, HOUR, Array, Grid

SIGNS = (
    "loss_1h", "loss_6h", "loss_24h", "loss_high_24h", "loss_rise",
    "snr_fall_1h", "snr_fall_6h", "snr_fall_best_6h", "snr_slope_24h", "rate_fall_6h",
    "rtt_rise_1h", "rtt_rise_6h", "rtt_rise_best_6h", "queue_6h", "busy_6h",
    "silent_1h", "outages_6h", "outages_24h", "outages_72h", "outages_grow", "quiet_h",
    "loss_apart", "snr_apart", "rtt_apart", "outages_apart", "links",
)  # fmt: skip
_APART = {
    "loss_apart": "loss_6h",
    "snr_apart": "snr_fall_6h",
    "rtt_apart": "rtt_rise_6h",
    "outages_apart": "outages_24h",
}
_USUAL = 3 * DAY
_RECENT = 6 * HOUR
_MISSED = 0.95


def windowed(values: Array, steps: int, skip: int = 0) -> Array:
    """Return the mean of the last `steps` without the newest `skip`, along axis 0, NaN left out.

    Shape as the argument's; NaN where nothing was heard in the window.
    """
    known = np.isfinite(values)
    sums = _sums(np.where(known, values, 0.0), steps, skip)
    counts = _sums(known.astype(np.float64), steps, skip)
    result: Array = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return result


def _sums(values: Array, steps: int, skip: int) -> Array:
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    ends = np.maximum(0, np.arange(1, len(values) + 1) - skip)
    sums: Array = total[ends] - total[np.maximum(0, ends - (steps - skip))]
    return sums


def _over_links(values: Array, pick: Callable[..., Array]) -> Array:
    """Reduce [steps, links] to [steps], NaN where no link is known; no warning for empty steps."""
    known = np.isfinite(values).any(axis=1)
    result = np.full(len(values), np.nan)
    if known.any():
        result[known] = pick(values[known], axis=1)
    return result


def over_rows(rows: Array, pick: Callable[..., Array]) -> Array:
    """Reduce [rows, n] to [n], NaN where no row knows the column."""
    return _over_links(rows.T, pick)


class _Links:
    """Per-link series that the signs of all hotspots share."""

    def __init__(self, grid: Grid) -> None:
        self.loss = grid.values["loss_permille"] / 1_000.0
        # Gossip carries no SNR: not measured isn't a signal of 0 dB.
        has_snr = grid.measured("snr_cdb")
        self.snr = grid.values["snr_cdb"] / 100.0 if has_snr else np.full_like(self.loss, np.nan)
        self.rate = np.log2(np.maximum(1.0, grid.values["rate_kbps"]))
        rtt = grid.values["rtt_us"]
        self.rtt = np.log2(np.where(rtt > 0, rtt, np.nan))
        self.queue = 8.0 * grid.values["queue_bytes"] / np.maximum(1.0, grid.values["rate_kbps"])
        self.busy = grid.values["busy_permille"] / 1_000.0
        self.usual = {
            name: windowed(getattr(self, name), _USUAL, _RECENT)
            for name in ("loss", "snr", "rate", "rtt")
        }

    def fall(self, name: str, steps: int) -> Array:
        """Return usual less recent, [steps, links]."""
        result: Array = self.usual[name] - windowed(getattr(self, name), steps)
        return result


def signs_of(grid: Grid) -> tuple[list[int], Array]:
    """Return the hotspots and their signs [steps, hotspots, len(SIGNS)]; NaN: not known yet."""
    links = _Links(grid)
    series = {
        "loss_1h": windowed(links.loss, HOUR),
        "loss_6h": windowed(links.loss, 6 * HOUR),
        "loss_24h": windowed(links.loss, DAY),
        "loss_rise": -links.fall("loss", 6 * HOUR),
        "snr_fall_1h": links.fall("snr", HOUR),
        "snr_fall_6h": links.fall("snr", 6 * HOUR),
        "snr_slope_24h": 2.0 * (windowed(links.snr, DAY // 2) - windowed(links.snr, DAY, DAY // 2)),
        "rate_fall_6h": links.fall("rate", 6 * HOUR),
        "rtt_rise_1h": -links.fall("rtt", HOUR),
        "rtt_rise_6h": -links.fall("rtt", 6 * HOUR),
        "queue_6h": windowed(links.queue, 6 * HOUR),
        "busy_6h": windowed(links.busy, 6 * HOUR),
    }
    hotspots = grid.hotspots
    signs = np.full((grid.steps, len(hotspots), len(SIGNS)), np.nan)
    for at, hotspot in enumerate(hotspots):
        columns = grid.columns_of(hotspot)
        one = {n: _over_links(values[:, columns], np.nanmedian) for n, values in series.items()}
        one |= _best(series, columns) | _outages(grid.heard[:, columns])
        one["loss_high_24h"] = _highest(one["loss_1h"])
        for name, column in one.items():
            signs[:, at, SIGNS.index(name)] = column
    for name, base in _APART.items():
        column = signs[:, :, SIGNS.index(base)]
        signs[:, :, SIGNS.index(name)] = column - _over_links(column, np.nanmedian)[:, None]
    return hotspots, signs


def _best(series: dict[str, Array], columns: list[int]) -> dict[str, Array]:
    return {
        "snr_fall_best_6h": _over_links(series["snr_fall_6h"][:, columns], np.nanmin),
        "rtt_rise_best_6h": _over_links(series["rtt_rise_6h"][:, columns], np.nanmin),
    }


def _highest(hourly: Array) -> Array:
    """Return the largest value of each last day, [steps]."""
    known = np.where(np.isfinite(hourly), hourly, -np.inf)
    padded = np.concatenate([np.full(DAY - 1, -np.inf), known])
    top = np.lib.stride_tricks.sliding_window_view(padded, DAY).max(axis=1)
    result: Array = np.where(np.isfinite(top), top, np.nan)
    return result


def _outages(heard: Array) -> dict[str, Array]:
    """Signs from what was not heard: of the best-heard link, since a link alone may be gone."""
    best = heard.max(axis=1)
    out = (best < _MISSED).astype(np.float64)
    day, before = _sums(out, DAY, 0), _sums(out, 2 * DAY, DAY)
    since = np.arange(len(out)) - np.maximum.accumulate(
        np.where(out > 0, np.arange(len(out)), -3 * DAY)
    )
    return {
        "silent_1h": 1.0 - windowed(best, HOUR),
        "outages_6h": _sums(out, 6 * HOUR, 0),
        "outages_24h": day,
        "outages_72h": _sums(out, 3 * DAY, 0),
        "outages_grow": day - before,
        "quiet_h": np.minimum(72.0, since / HOUR),
        "links": (_sums(heard, HOUR, 0) > 0).sum(axis=1).astype(np.float64),
    }
