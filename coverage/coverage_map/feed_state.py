"""The feed as bytes, so that a restart goes on where the last snapshot was published.

MessagePack of the same dataclasses that the feed works with. The state belongs to one network and
one version of this form; what can't be read is no state, and the feed starts from the records.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np

from chain.records import EpochMessage, Genesis, MapperReport
from coverage_map.feed import Feed, Session, Waiting
from coverage_map.links import RING, Link
from coverage_map.observations import Site

FORMAT = 3


class State(msgspec.Struct, frozen=True):
    """Everything a feed knows. Samples are int16, little-endian, RING per row of a link."""

    format: int
    network_id: bytes
    next_sequence: int
    judged: int
    sites: list[Site]
    links: list[Link]
    samples: bytes
    sessions: dict[int, Session]
    totals: tuple[int, int, int, dict[str, int]]
    secrets: dict[int, tuple[int, bytes]]
    mixes: list[bytes]
    reveals: dict[int, dict[int, bytes]]
    reports: dict[int, dict[int, Waiting]]
    late: list[tuple[int, EpochMessage]]
    mapped: list[tuple[int, MapperReport]]
    mappers: dict[bytes, int]
    activations: dict[int, int]
    rotations: dict[int, tuple[int, bytes]]
    bounties: dict[int, tuple[int, int]]
    rules: int


def encode(feed: Feed) -> bytes:
    """The state of a feed that has given away all it observed."""
    links, samples = feed.links.saved()
    totals = feed.totals
    state = State(
        format=FORMAT,
        network_id=feed.network_id,
        next_sequence=feed.next_sequence,
        judged=feed.judged,
        sites=[feed.sites[index] for index in sorted(feed.sites)],
        links=links,
        samples=samples.astype("<i2").tobytes(),
        sessions=feed.sessions,
        rules=feed.rules,
        totals=(totals.records, totals.receptions, totals.late_reports, dict(totals.verdicts)),
        **feed.held(),
    )
    return msgspec.msgpack.encode(state)


def decode(content: bytes, genesis: Genesis, network_id: bytes) -> Feed | None:
    """The feed of a state, or None where the bytes hold none for this network."""
    try:
        state = msgspec.msgpack.decode(content, type=State, dec_hook=_counter)
    except msgspec.MsgspecError:
        return None
    if state.format != FORMAT or state.network_id != network_id:
        return None
    feed = Feed(genesis, network_id)
    feed.sites = {site.index: site for site in state.sites}
    samples = np.frombuffer(state.samples, "<i2").reshape(-1, RING).astype(np.int16)
    feed.links.restore(state.links, samples)
    feed.sessions = state.sessions
    feed.next_sequence, feed.judged = state.next_sequence, state.judged
    records, receptions, late, verdicts = state.totals
    feed.totals.records, feed.totals.receptions = records, receptions
    feed.totals.late_reports, feed.totals.verdicts = late, Counter(verdicts)
    feed.go_by(state.rules)
    feed.hold({name: getattr(state, name) for name in feed.held()})
    return feed


def _counter(kind: type, value: Any) -> Any:
    """Counters, the one type here that MessagePack's reader doesn't know."""
    return kind(value)
