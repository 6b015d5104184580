"""Gossip: everybody learns everything over lossy links, and nothing its origin did not sign."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from chain import cbor
from chain.draws import digest, u32
from chain.keys import public_key
from chain.records import Refusal
from hotspot.directory import Directory
from hotspot.overlay.datagrams import MAX_DATAGRAM, pack_gossip
from hotspot.overlay.linkstate import (
    ENTRIES,
    LIFETIME_MS,
    MAX_INTERVAL_MS,
    MAX_LINKS,
    Entry,
    LinkRow,
    LinkStateTable,
    Memo,
    ProviderAdvert,
    pack_entry,
    unpack_entry,
)

NETWORK = digest("test-network")
NOW_MS = 1_700_000_000_000


def seed_of(index: int) -> bytes:
    return digest("test-gossip", u32(index))


def row(target: int, rate_kbps: int = 10_000) -> LinkRow:
    return LinkRow(target, rate_kbps, 100, 50, 0, 10, 5_000)


class Ring:
    """Tables on a ring with chords; messages are lost by a hash of their number."""

    def __init__(
        self, count: int, loss_permille: int = 0, peers: list[list[int]] | None = None
    ) -> None:
        keys = Directory((i, public_key(seed_of(i))) for i in range(count))
        memo: Memo = {}
        self.tables = [LinkStateTable(i, seed_of(i), NETWORK, keys, memo) for i in range(count)]
        ring = [sorted({(i + d) % count for d in (1, -1, 7, -7)}) for i in range(count)]
        self.peers = peers or ring
        self.loss_permille = loss_permille
        self.sent = self.sent_bytes = 0
        for table, peers in zip(self.tables, self.peers, strict=True):
            table.set_neighbours(peers)

    def originate(self, now_ms: int = NOW_MS) -> None:
        for i, table in enumerate(self.tables):
            table.originate([row(p) for p in self.peers[i]], 5, None, now_ms)

    def deliver(self, source: int, messages: list[tuple[int, bytes]], now_ms: int) -> None:
        for peer, body in messages:
            assert len(pack_gossip(body)) <= MAX_DATAGRAM
            self.sent += 1
            self.sent_bytes += len(body)
            luck = hashlib.sha256(str(self.sent).encode()).digest()
            if int.from_bytes(luck[:4], "big") % 1_000 >= self.loss_permille:
                assert self.tables[peer].receive(body, source, now_ms) is None

    def round(self, now_ms: int = NOW_MS, *, digests: bool = False) -> None:
        for i, table in enumerate(self.tables):
            if digests:
                self.deliver(i, table.digests(), now_ms)
            self.deliver(i, table.take_gossip(), now_ms)

    def is_complete(self) -> bool:
        return all(len(t.samples()) == 4 * len(self.tables) for t in self.tables)


def test_everybody_learns_every_link() -> None:
    ring = Ring(40)
    ring.originate()
    for _ in range(12):
        ring.round()
    assert ring.is_complete()
    assert not any(t.has_waiting() for t in ring.tables)


def test_digests_mend_what_a_lossy_air_dropped() -> None:
    ring = Ring(30, loss_permille=300)
    ring.originate()
    for _ in range(8):
        ring.round()
    for _ in range(40):
        ring.round(digests=True)
        if ring.is_complete():
            return
    raise AssertionError("some table still lacks entries after 40 digest rounds")


def test_equal_tables_cost_one_digest_each() -> None:
    ring = Ring(20)
    ring.originate()
    for _ in range(10):
        ring.round()
    before = ring.sent
    ring.round(digests=True)
    ring.round()
    assert ring.sent - before == 20 * 4


def test_flooding_sends_an_entry_over_a_link_at_most_twice() -> None:
    ring = Ring(40)
    ring.originate()
    for _ in range(12):
        ring.round()
    entry_bytes = len(
        pack_entry(
            Entry(1, NOW_MS, 5, tuple(row(p) for p in (0, 2, 8, 34)), None), seed_of(1), NETWORK
        )
    )
    links = 40 * 4 // 2
    assert ring.sent_bytes <= 2 * links * 40 * (entry_bytes + 8)


def test_large_networks_speak_less_often() -> None:
    ring = Ring(20)
    assert ring.tables[0].interval_ms() == 5_000
    big = Ring(600)
    keys = big.tables[0]
    for i in range(1, 600):
        wire = pack_entry(Entry(i, NOW_MS, 5, (), None), seed_of(i), NETWORK)
        keys.receive(cbor.encode((ENTRIES, [wire])), 1, NOW_MS)
    assert keys.interval_ms() == MAX_INTERVAL_MS


def table_and_entry() -> tuple[LinkStateTable, Entry]:
    ring = Ring(10)
    return ring.tables[0], Entry(1, NOW_MS, 5, (row(0), row(2)), None)


def offer(table: LinkStateTable, wire: bytes, now_ms: int = NOW_MS) -> str:
    refusal = table.receive(cbor.encode((ENTRIES, [wire])), 1, now_ms)
    return refusal.reason if isinstance(refusal, Refusal) else "taken"


def test_lies_are_refused_by_name() -> None:
    table, entry = table_and_entry()
    wire = pack_entry(entry, seed_of(1), NETWORK)
    assert offer(table, pack_entry(entry, seed_of(2), NETWORK)) == "bad_signature"
    assert offer(table, pack_entry(entry, seed_of(1), digest("other"))) == "bad_signature"
    stranger = Entry(99, NOW_MS, 5, (), None)
    assert offer(table, pack_entry(stranger, seed_of(1), NETWORK)) == "unknown_hotspot"
    assert offer(table, wire, NOW_MS - 700_000) == "from_future"
    assert offer(table, wire[:-1]) == "bad_entry"
    assert table.samples() == []
    assert offer(table, wire) == "taken"
    assert [s.target for s in table.samples()] == [0, 2]


def test_an_older_entry_changes_nothing() -> None:
    table, entry = table_and_entry()
    offer(table, pack_entry(entry, seed_of(1), NETWORK))
    older = Entry(1, NOW_MS - 1, 5, (), None)
    offer(table, pack_entry(older, seed_of(1), NETWORK))
    assert len(table.samples()) == 2


def test_entries_age_out() -> None:
    table, entry = table_and_entry()
    offer(table, pack_entry(entry, seed_of(1), NETWORK))
    table.age_out(NOW_MS + LIFETIME_MS)
    assert len(table.samples()) == 2
    table.age_out(NOW_MS + LIFETIME_MS + 1)
    assert table.samples() == []


def test_providers_are_known_with_their_age() -> None:
    table, _ = table_and_entry()
    advert = ProviderAdvert(("tiny", "big"), 1, 2, 300, 40_000, 7)
    offer(table, pack_entry(Entry(1, NOW_MS, 5, (), advert), seed_of(1), NETWORK))
    (state,) = table.providers(NOW_MS + 1_234)
    assert (state.hotspot, state.models, state.age_ms, state.ai_price_ucr) == (
        1,
        ("tiny", "big"),
        1_234,
        7,
    )


def test_the_largest_entry_fits_a_datagram() -> None:
    most = 2**32 - 1
    links = tuple(LinkRow(most - i, most, most, 65_535, most, 65_535, most) for i in range(64))
    advert = ProviderAdvert(tuple("m" * 64 for _ in range(8)), most, most, most, most, 2**64 - 1)
    wire = pack_entry(Entry(1, 2**63, 2**64 - 1, links, advert), seed_of(1), NETWORK)
    assert len(pack_gossip(cbor.encode((ENTRIES, [wire])))) <= MAX_DATAGRAM
    parsed = unpack_entry(wire)
    assert not isinstance(parsed, Refusal)
    assert parsed[0].provider == advert


@given(st.binary(max_size=300))
def test_any_bytes_are_gossip_or_a_refusal(data: bytes) -> None:
    table, _ = table_and_entry()
    table.receive(data, 1, NOW_MS)
    unpack_entry(data)


def test_a_hub_with_more_links_than_fit_is_routed_through_all_the_same() -> None:
    leaves = list(range(1, MAX_LINKS + 21))
    star = Ring(len(leaves) + 1, peers=[leaves, *([0] for _ in leaves)])
    for turn in range(3):
        star.originate(NOW_MS + 5_000 * turn)
        for _ in range(4):
            star.round(NOW_MS + 5_000 * turn)
    hub = star.tables[1].entry(0)
    assert hub is not None
    assert len(hub.links) == MAX_LINKS
    pairs = {(sample.source, sample.target) for sample in star.tables[1].samples()}
    assert pairs == {(0, leaf) for leaf in leaves} | {(leaf, 0) for leaf in leaves}
