"""Messages that come late: a day late in any order, a month late in the order of their epochs.

For the newest `late_epochs` a hotspot's row has a bit each (`seen`). Of what lies before it knows
only the gaps, as runs of epochs for which no message came: few and long, since who is offline is so
for hours. A message for an epoch of a run is taken for the map and cuts the run off up to its own
epoch, so runs never grow in number and nothing is taken twice. Of more than `GAPS_KEPT` runs the
shortest is forgotten. What comes in the order of its epochs is all taken.
"""

from __future__ import annotations

from chain.state import Hotspot

# Six bytes each: 48 in the worst case, none for who was never offline for more than a day.
GAPS_KEPT = 8
Run = tuple[int, int]


def get_gap(hotspot: Hotspot, epoch: int) -> Run | None:
    """The run of missed epochs that holds one, if it is of those before the bits of `seen`."""
    return next((run for run in hotspot.gaps if run[0] <= epoch <= run[1]), None)


def is_taken(hotspot: Hotspot, epoch: int, kept: int) -> bool:
    """Whether a message for an epoch came before, or its gap was forgotten."""
    if epoch >= hotspot.last_epoch - kept:
        return hotspot.has_seen(epoch)
    return get_gap(hotspot, epoch) is None


def is_whole(hotspot: Hotspot, kept: int) -> bool:
    """Whether nothing that was missed leaves the bits of `seen` with the next epoch."""
    if hotspot.last_epoch - kept < hotspot.assertions[0].bind_epoch:
        return hotspot.last_epoch >= 0
    return bool(hotspot.seen >> kept & 1)


def get_leaving(hotspot: Hotspot, newest: int, kept: int) -> list[Run]:
    """Runs of missed epochs that leave the bits of `seen` once it has a newer message."""
    last, first_bound = hotspot.last_epoch, hotspot.assertions[0].bind_epoch
    start = max(first_bound, last - kept) if last >= 0 else first_bound
    bits = range(start, min(newest - kept, last + 1))
    runs = [(epoch, epoch) for epoch in bits if not hotspot.has_seen(epoch)]
    if max(start, last + 1) < newest - kept:
        runs.append((max(start, last + 1), newest - kept - 1))
    return runs


def compute_gaps(runs: list[Run], oldest: int) -> tuple[Run, ...]:
    """Ascending runs, those that touch joined, without what is too old, the longest kept."""
    joined: list[Run] = []
    for first, last in runs:
        first = max(first, oldest)
        if last < first:
            continue
        if joined and joined[-1][1] == first - 1:
            first = joined.pop()[0]
        joined.append((first, last))
    while len(joined) > GAPS_KEPT:
        joined.remove(min(joined, key=lambda run: (run[1] - run[0], run[0])))
    return tuple(joined)


def process_seen(hotspot: Hotspot, epoch: int, kept: int, map_kept: int) -> None:
    """Note a message for an epoch: `kept` epochs by a bit each, `map_kept` by their gaps."""
    if epoch == hotspot.last_epoch + 1 and not hotspot.gaps and is_whole(hotspot, kept):
        hotspot.last_epoch, hotspot.seen = epoch, (hotspot.seen << 1 | 1) & (1 << kept + 1) - 1
        return
    if gap := get_gap(hotspot, epoch):
        runs = [(epoch + 1, run[1]) if run == gap else run for run in hotspot.gaps]
        hotspot.gaps = compute_gaps(runs, 0)
        return
    if map_kept and epoch > hotspot.last_epoch:
        runs = [*hotspot.gaps, *get_leaving(hotspot, epoch, kept)]
        hotspot.gaps = compute_gaps(runs, epoch - map_kept)
    hotspot.see(epoch, kept)
