"""Mutual hearing of large epochs over arrays: what chain/rules/mutual.py says, to the byte.

A link is a number here, lower index << 32 | higher, and has two stamps. In a packed row a stamp's
byte and the last byte of a varint are below 128 and alternate, all others are above: that is how
all rows are taken apart at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chain.optional import get_numpy
from chain.rules.mutual import CYCLE, STAMPS, get_stamp
from chain.rules.verdicts import Judgement
from chain.state import State

VARINT_BYTES = 5  # of 32 bits


class Links(NamedTuple):
    """Links, ascending, and when the lower end heard the higher and the other way round."""

    keys: Any
    lower: Any
    higher: Any


def unpack_links(np: Any, hearing: dict[int, bytes]) -> Links:
    """All rows of the table at once."""
    lows = np.array(sorted(hearing), np.int64)
    rows = [hearing[low] for low in lows.tolist()]
    raw = np.frombuffer(b"".join(rows), np.uint8)
    ends = np.cumsum(np.array([len(row) for row in rows], np.int64))
    plain = np.flatnonzero(raw < 0x80)
    at, last = plain[0::2], plain[1::2]
    gap = np.zeros(len(at), np.int64)
    for k in range(VARINT_BYTES):
        inside = at + 1 + k <= last
        gap[inside] |= (raw[at[inside] + 1 + k].astype(np.int64) & 0x7F) << 7 * k
    row = np.searchsorted(ends, at, side="right")
    first = np.searchsorted(row, np.arange(len(lows)))
    total = np.cumsum(gap)
    low = lows[row]
    high = low + total - (total - gap)[first][row] if len(at) else low
    return Links(low << 32 | high, raw[at].astype(np.int64) // STAMPS, raw[at] % STAMPS)


def pack_links(np: Any, links: Links) -> dict[int, bytes]:
    """The rows of the table."""
    low, high = links.keys >> 32, links.keys & 0xFFFF_FFFF
    starts_row = np.ones(len(low), bool)
    starts_row[1:] = low[1:] != low[:-1]
    before = np.concatenate(([0], high[:-1]))
    gap = high - np.where(starts_row, low, before)
    size = 1 + sum((gap >= 1 << 7 * k).astype(np.int64) for k in range(1, VARINT_BYTES))
    at = np.cumsum(size + 1) - size - 1
    raw = np.zeros(int((size + 1).sum()), np.uint8)
    raw[at] = links.lower * STAMPS + links.higher
    for k in range(VARINT_BYTES):
        has = size > k
        more = np.where(size[has] > k + 1, 0x80, 0)
        raw[at[has] + 1 + k] = gap[has] >> 7 * k & 0x7F | more
    bounds = [*at[starts_row].tolist(), len(raw)]
    packed = raw.tobytes()
    lows = low[starts_row].tolist()
    return {n: packed[bounds[k] : bounds[k + 1]] for k, n in enumerate(lows)}


def process_hearing_by_arrays(state: State, judgement: Judgement) -> None:
    """`process_hearing`, all links at once."""
    span = judgement.params.mutual_epochs
    if span <= 1:
        return
    np = get_numpy()
    pairs = judgement.plausible.get_keys(np)
    witness, heard = pairs >> 32, pairs & 0xFFFF_FFFF
    is_lower = witness < heard
    told = np.where(is_lower, pairs, heard << 32 | witness)
    before = unpack_links(np, state.hearing)
    keys = np.sort(np.concatenate((before.keys, told)), kind="stable")
    keys = keys[np.concatenate((keys[:-1] != keys[1:], [True]))] if len(keys) else keys
    old = np.searchsorted(keys, before.keys)
    stale = get_stamp(judgement.epoch - span)
    stamps, fresh = [], []
    for known, now in ((before.lower, told[is_lower]), (before.higher, told[~is_lower])):
        column, mark = np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        column[old] = np.where(known == stale, 0, known)
        mark[np.searchsorted(keys, now)] = True
        stamps.append(column)
        fresh.append(mark)
    low, high = keys >> 32, keys & 0xFFFF_FFFF
    for one, other, back in ((0, 1, high << 32 | low), (1, 0, keys)):
        one_way = np.flatnonzero(fresh[one] & ~fresh[other] & (stamps[other] > 0))
        if len(one_way):
            good = find_recent(np, judgement, keys[one_way], stamps[other][one_way])
            judgement.recent.add_keys(back[one_way[good]])
    now_stamp = get_stamp(judgement.epoch)
    lower, higher = (np.where(m, now_stamp, s) for m, s in zip(fresh, stamps, strict=True))
    kept = (lower > 0) | (higher > 0)
    rows = pack_links(np, Links(keys[kept], lower[kept], higher[kept]))
    old_rows = state.hearing
    every = old_rows.keys() | rows.keys()
    state.touch_all("hearing", (low for low in every if old_rows.get(low) != rows.get(low)))
    state.hearing = rows


def find_recent(np: Any, judgement: Judgement, keys: Any, stamps: Any) -> Any:
    """Of links that heard one way, where the other way was heard since both asserted this."""
    assertions, epoch = judgement.assertions, judgement.epoch
    heard = epoch - (epoch + 1 - stamps) % CYCLE
    ends = zip((keys >> 32).tolist(), (keys & 0xFFFF_FFFF).tolist(), strict=True)
    bound = [max(assertions[low].bind_epoch, assertions[high].bind_epoch) for low, high in ends]
    return heard >= np.array(bound, np.int64)
