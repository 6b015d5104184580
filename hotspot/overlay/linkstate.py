"""Link-state gossip: how every hotspot learns the links and the AI providers of its network.

Each hotspot writes one signed entry about itself: its links as it measured them, what it asks for
relaying, and, if it runs a model, a provider advert. Entries flood: a newer one is handed on to
every neighbour that is not known to have it, batched into datagrams. Losses are mended by a digest
(8 bytes over all (origin, sequence) pairs) that neighbours compare: where it differs they exchange
the list of pairs and send what is missing.

An entry is checked before it is stored or handed on: shape, origin's key, sequence, signature. A
signature is checked once per hash. Entries age out by the receiver's clock, so an origin with a
wrong clock still counts.

Cost: an origin speaks every 5 to 30 s, slower the larger the network (60 ms per known hotspot) and
at once when a link appears or goes. 500 hotspots with 2,000 directed links at 30 s are about 17
new entries a second and 70 kbit/s through each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from chain import cbor
from chain.draws import u32, u64
from chain.keys import sign, verify
from chain.records import Refusal
from hotspot.overlay.datagrams import MAX_DATAGRAM
from hotspot.overlay.sessions import KeyBook, fits
from routing.types import LinkSample, ProviderState

NAME = "link-state"
ENTRIES, DIGEST, SUMMARY = 1, 2, 3
MAX_LINKS = 32
MAX_MODELS = 8
MAX_MODEL_NAME = 64
MIN_INTERVAL_MS, MAX_INTERVAL_MS, MS_PER_HOTSPOT = 5_000, 30_000, 60
LIFETIME_MS = 100_000
FUTURE_MS = 600_000
MAX_MEMO = 16_384
_BODY = MAX_DATAGRAM - 16
_PAIRS_PER_SUMMARY = 90
SUMMARY_PARTS = 16

BAD_GOSSIP = Refusal("bad_gossip", "gossip: not a list of entries, a digest or a summary")
BAD_ENTRY = Refusal("bad_entry", "entry: its fields are not those of a link-state entry")
UNKNOWN_ORIGIN = Refusal("unknown_hotspot", "origin: not on the ledger")
BAD_SIGNATURE = Refusal("bad_signature", "entry: not signed by its origin")
FROM_FUTURE = Refusal("from_future", "sequence: more than ten minutes ahead of our clock")


@dataclass(frozen=True, slots=True)
class LinkReport:
    """A link to a neighbour as its driver or our probes see it now."""

    peer: int
    rate_kbps: int
    busy_permille: int
    queue_bytes: int
    loss_permille: int
    rtt_us: int


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One directed link of an entry."""

    target: int
    rate_kbps: int
    load_kbps: int
    busy_permille: int
    queue_bytes: int
    loss_permille: int
    rtt_us: int


@dataclass(frozen=True, slots=True)
class ProviderAdvert:
    """What a hotspot that runs AI models says about itself; price per 1,000 tokens.

    `slots`: answers at a time, `queued_tokens`: of prompts of which no answer has begun,
    `prefill_tokens_per_s`: of prompts computed, `context_tokens`: of the longest prompt with its
    answer; 0 for what isn't known.
    """

    models: tuple[str, ...]
    requests_running: int
    requests_waiting: int
    tokens_per_s: int
    ttft_us: int
    ai_price_ucr: int
    slots: int = 0
    queued_tokens: int = 0
    prefill_tokens_per_s: int = 0
    context_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What one hotspot says about itself; `sequence` is its clock in ms when it said so."""

    origin: int
    sequence: int
    relay_price_ucr: int
    links: tuple[LinkRow, ...]
    provider: ProviderAdvert | None


_ENTRY_SHAPE = (32, 64, 64, bytes, tuple)
_LINK = struct.Struct(">IIIHIHI")
_PROVIDER_SHAPE = (tuple, 32, 32, 32, 32, 64, 32, 32, 32, 32)
_OLDER_PROVIDER_SHAPE = _PROVIDER_SHAPE[:6]


def pack_entry(entry: Entry, seed: bytes, network_id: bytes) -> bytes:
    """Sign an entry and encode it: CBOR [body, signature]; the last links go if it is too long."""
    for count in range(min(len(entry.links), MAX_LINKS), -1, -1):
        body = _body_of(entry, count)
        if len(body) <= _BODY - 80:
            break
    return cbor.encode((body, sign(seed, NAME, network_id, body)))


def _body_of(entry: Entry, count: int) -> bytes:
    links = b"".join(_LINK.pack(*_widths(row)) for row in entry.links[:count])
    advert = _advert(entry.provider)
    return cbor.encode((entry.origin, entry.sequence, entry.relay_price_ucr, links, advert))


def _widths(row: LinkRow) -> tuple[int, ...]:
    # Drivers report what they like: a figure too large for its field is the field's largest.
    u32_values = (row.rate_kbps, row.load_kbps, row.queue_bytes, row.rtt_us)
    rate, load, queue, rtt = (max(0, min(0xFFFF_FFFF, value)) for value in u32_values)
    busy, loss = (max(0, min(1_000, value)) for value in (row.busy_permille, row.loss_permille))
    return row.target, rate, load, busy, queue, loss, rtt


def _advert(p: ProviderAdvert | None) -> cbor.Value:
    if p is None:
        return ()
    models = [name[:MAX_MODEL_NAME] for name in p.models[:MAX_MODELS]]
    counts = (p.requests_running, p.requests_waiting, p.tokens_per_s, p.ttft_us, p.ai_price_ucr)
    return (models, *counts, p.slots, p.queued_tokens, p.prefill_tokens_per_s, p.context_tokens)


def unpack_entry(wire: bytes) -> tuple[Entry, bytes, bytes] | Refusal:
    """Read an entry: (entry, signed body, signature). Never raises; checks no signature."""
    try:
        outer = cbor.decode(wire)
        if not fits(outer, (bytes, bytes)):
            return BAD_ENTRY
        body, signature = outer
        values = cbor.decode(body)
    except cbor.CborError:
        return BAD_ENTRY
    if not fits(values, _ENTRY_SHAPE):
        return BAD_ENTRY
    origin, sequence, price, links, provider = values
    if len(links) > MAX_LINKS * _LINK.size or len(links) % _LINK.size:
        return BAD_ENTRY
    advert = _read_advert(provider)
    if isinstance(advert, Refusal):
        return BAD_ENTRY
    rows = tuple(LinkRow(*link) for link in _LINK.iter_unpack(links))
    return Entry(origin, sequence, price, rows, advert), body, signature


def _read_advert(values: tuple[object, ...]) -> ProviderAdvert | Refusal | None:
    if not values:
        return None
    is_known = fits(values, _PROVIDER_SHAPE) or fits(values, _OLDER_PROVIDER_SHAPE)
    if not is_known or not isinstance(values[0], tuple) or len(values[0]) > MAX_MODELS:
        return BAD_ENTRY
    if not all(isinstance(name, str) and len(name) <= MAX_MODEL_NAME for name in values[0]):
        return BAD_ENTRY
    return ProviderAdvert(*values)  # type: ignore[arg-type]  # as `fits` has found


@dataclass(slots=True)
class _Stored:
    entry: Entry
    wire: bytes
    heard_ms: int


@dataclass(slots=True)
class _Neighbour:
    knows: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Checked:
    """An entry's bytes, parsed once; `key` is whose signature `is_signed` speaks of."""

    entry: Entry
    body: bytes
    signature: bytes
    key: bytes = b""
    is_signed: bool = False


Memo = dict[bytes, _Checked]


class LinkStateTable:
    """All entries that a hotspot knows, and what each neighbour is known to know."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        keys: KeyBook,
        verified: Memo | None = None,
    ) -> None:
        """`verified` may be shared by hotspots of one process: each hash is then checked once."""
        self.refused = 0
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._keys = keys
        self._verified: Memo = {} if verified is None else verified
        self._entries: dict[int, _Stored] = {}
        self._neighbours: dict[int, _Neighbour] = {}
        self._fresh: dict[int, None] = {}
        self._digest = 0

    # --- own entry and neighbours ---------------------------------------------------------------

    def set_neighbours(self, peers: Iterable[int]) -> None:
        """Say who our neighbours are now; a new one is given everything we know."""
        wanted = sorted(set(peers))
        for peer in [p for p in self._neighbours if p not in wanted]:
            del self._neighbours[peer]
        for peer in wanted:
            if peer not in self._neighbours:
                self._neighbours[peer] = _Neighbour(waiting=dict.fromkeys(sorted(self._entries)))

    def originate(
        self,
        links: Sequence[LinkRow],
        relay_price_ucr: int,
        provider: ProviderAdvert | None,
        now_ms: int,
    ) -> None:
        """Write our own entry anew; links that their other end can't announce come first."""
        stored = self._entries.get(self._index)
        sequence = max(now_ms, stored.entry.sequence + 1 if stored else 0)
        rows = sorted(links, key=lambda row: self._announces(row.target, self._index))
        entry = Entry(self._index, sequence, relay_price_ucr, tuple(rows), provider)
        self._store(entry, pack_entry(entry, self._seed, self._network_id), now_ms, None)

    def interval_ms(self) -> int:
        """How long to wait before the next own entry if nothing changes."""
        return min(MAX_INTERVAL_MS, max(MIN_INTERVAL_MS, MS_PER_HOTSPOT * len(self._entries)))

    # --- what comes in --------------------------------------------------------------------------

    def receive(self, body: bytes, peer: int, now_ms: int) -> Refusal | None:
        """Take gossip from a neighbour. Never raises."""
        try:
            values = cbor.decode(body)
        except cbor.CborError:
            return BAD_GOSSIP
        if fits(values, (8, tuple)) and values[0] == ENTRIES:
            return self._receive_entries(values[1], peer, now_ms)
        if fits(values, (8, 64)) and values[0] == DIGEST:
            return self._receive_digest(values[1], peer)
        if fits(values, (8, 8, tuple)) and values[0] == SUMMARY:
            return self._receive_summary(values[1], values[2], peer)
        return BAD_GOSSIP

    def _receive_entries(self, wires: tuple[object, ...], peer: int, now_ms: int) -> Refusal | None:
        worst: Refusal | None = None
        for wire in wires:
            refusal = (
                self._receive_entry(wire, peer, now_ms) if isinstance(wire, bytes) else BAD_ENTRY
            )
            if refusal is not None:
                self.refused += 1
                worst = refusal
        return worst

    def _receive_entry(self, wire: bytes, peer: int, now_ms: int) -> Refusal | None:
        checked = self._parse(wire)
        if isinstance(checked, Refusal):
            return checked
        entry = checked.entry
        self._note_known(peer, entry.origin, entry.sequence)
        stored = self._entries.get(entry.origin)
        if entry.origin == self._index or (stored and stored.entry.sequence >= entry.sequence):
            return None
        if entry.sequence > now_ms + FUTURE_MS:
            return FROM_FUTURE
        refusal = self._check_signature(checked)
        if refusal is None:
            self._store(entry, wire, now_ms, peer)
        return refusal

    def _parse(self, wire: bytes) -> _Checked | Refusal:
        name = sha256(wire).digest()
        known = self._verified.get(name)
        if known is None:
            parsed = unpack_entry(wire)
            if isinstance(parsed, Refusal):
                return parsed
            if len(self._verified) >= MAX_MEMO:
                self._verified.clear()
            known = self._verified[name] = _Checked(*parsed)
        return known

    def _check_signature(self, checked: _Checked) -> Refusal | None:
        key = self._keys.key_of(checked.entry.origin)
        if key is None:
            return UNKNOWN_ORIGIN
        if checked.key != key:
            network = self._network_id
            checked.key = key
            checked.is_signed = verify(key, NAME, network, checked.body, checked.signature)
        return None if checked.is_signed else BAD_SIGNATURE

    def _store(self, entry: Entry, wire: bytes, now_ms: int, source: int | None) -> None:
        old = self._entries.get(entry.origin)
        if old is not None:
            self._digest ^= _pair_hash(entry.origin, old.entry.sequence)
        self._digest ^= _pair_hash(entry.origin, entry.sequence)
        self._entries[entry.origin] = _Stored(entry, wire, now_ms)
        self._fresh[entry.origin] = None
        for peer, neighbour in self._neighbours.items():
            if peer != source and neighbour.knows.get(entry.origin, -1) < entry.sequence:
                neighbour.waiting[entry.origin] = None

    def _note_known(self, peer: int, origin: int, sequence: int) -> None:
        neighbour = self._neighbours.get(peer)
        if neighbour is not None and neighbour.knows.get(origin, -1) < sequence:
            neighbour.knows[origin] = sequence
            stored = self._entries.get(origin)
            if stored is None or stored.entry.sequence <= sequence:
                neighbour.waiting.pop(origin, None)

    def _receive_digest(self, digest: int, peer: int) -> Refusal | None:
        neighbour = self._neighbours.get(peer)
        if neighbour is not None and digest != self._digest:
            neighbour.knows.clear()
            neighbour.waiting[-1] = None  # -1 stands for "the summary of what we have"
        return None

    def _receive_summary(self, part: int, pairs: tuple[object, ...], peer: int) -> Refusal | None:
        neighbour = self._neighbours.get(peer)
        has: dict[int, int] = {}
        for pair in pairs:
            if not fits(pair, (32, 64)):
                return BAD_GOSSIP
            has[pair[0]] = pair[1]
        if neighbour is None or part >= SUMMARY_PARTS:
            return None
        for origin, stored in self._entries.items():
            if origin % SUMMARY_PARTS == part and has.get(origin, -1) < stored.entry.sequence:
                neighbour.waiting[origin] = None
        return None

    # --- what goes out --------------------------------------------------------------------------

    def has_waiting(self) -> bool:
        """Tell whether `take_gossip` would send something."""
        return any(n.waiting for n in self._neighbours.values())

    def digests(self) -> list[tuple[int, bytes]]:
        """Return the digest for every neighbour: (peer, body)."""
        body = cbor.encode((DIGEST, self._digest))
        return [(peer, body) for peer in self._neighbours]

    def take_gossip(self) -> list[tuple[int, bytes]]:
        """Return what neighbours lack, batched into bodies: (peer, body)."""
        bodies: list[tuple[int, bytes]] = []
        for peer, neighbour in self._neighbours.items():
            if not neighbour.waiting:
                continue
            waiting, neighbour.waiting = neighbour.waiting, {}
            if -1 in waiting:
                bodies += [(peer, body) for body in self._summaries()]
            wires = []
            for origin in waiting:
                stored = self._entries.get(origin)
                if stored is not None:
                    neighbour.knows[origin] = stored.entry.sequence
                    wires.append(stored.wire)
            bodies += [(peer, body) for body in _batches(wires)]
        return bodies

    def _summaries(self) -> list[bytes]:
        parts: list[list[tuple[int, int]]] = [[] for _ in range(SUMMARY_PARTS)]
        for origin in sorted(self._entries):
            parts[origin % SUMMARY_PARTS].append((origin, self._entries[origin].entry.sequence))
        return [
            cbor.encode((SUMMARY, part, pairs[:_PAIRS_PER_SUMMARY]))
            for part, pairs in enumerate(parts)
        ]

    # --- what is known --------------------------------------------------------------------------

    def age_out(self, now_ms: int) -> None:
        """Forget entries that have not been renewed."""
        for origin, stored in list(self._entries.items()):
            if now_ms - stored.heard_ms > LIFETIME_MS and origin != self._index:
                self._digest ^= _pair_hash(origin, stored.entry.sequence)
                del self._entries[origin]

    def entry(self, origin: int) -> Entry | None:
        """Return the newest entry of a hotspot."""
        stored = self._entries.get(origin)
        return stored.entry if stored else None

    def ages_ms(self, now_ms: int) -> dict[int, int]:
        """Return how long ago each origin was last heard."""
        return {origin: now_ms - s.heard_ms for origin, s in sorted(self._entries.items())}

    def take_fresh_samples(self) -> list[LinkSample]:
        """Return links of entries that came in since the last call, as routing wants them."""
        fresh, self._fresh = self._fresh, {}
        stored = [self._entries[origin] for origin in sorted(fresh) if origin in self._entries]
        return [sample for item in stored for sample in self._both_ways(item)]

    def samples(self) -> list[LinkSample]:
        """Return all links, as routing wants them."""
        return [s for o in sorted(self._entries) for s in self._both_ways(self._entries[o])]

    def _announces(self, origin: int, target: int) -> bool:
        """Whether a hotspot's newest entry has a link to another."""
        stored = self._entries.get(origin)
        return stored is not None and any(row.target == target for row in stored.entry.links)

    def _both_ways(self, stored: _Stored) -> list[LinkSample]:
        """The links of an entry, and their way back from hubs whose entry had no room for it."""
        samples = _samples(stored)
        origin = stored.entry.origin
        for sample in list(samples):
            hub = self._entries.get(sample.target)
            is_full = hub is not None and len(hub.entry.links) >= MAX_LINKS
            if is_full and not self._announces(sample.target, origin):
                samples.append(replace(sample, source=sample.target, target=origin))
        return samples

    def providers(self, now_ms: int) -> list[ProviderState]:
        """Return AI providers as routing wants them, ascending by hotspot."""
        return [
            ProviderState(
                origin,
                advert.models,
                advert.requests_running,
                advert.requests_waiting,
                advert.tokens_per_s,
                advert.ttft_us,
                now_ms - stored.heard_ms,
                advert.ai_price_ucr,
                advert.slots,
                advert.queued_tokens,
                advert.prefill_tokens_per_s,
                advert.context_tokens,
            )
            for origin, stored in sorted(self._entries.items())
            if (advert := stored.entry.provider) is not None
        ]


def _samples(stored: _Stored) -> list[LinkSample]:
    return [
        LinkSample(
            *(stored.entry.origin, row.target, stored.heard_ms, row.rate_kbps, row.load_kbps),
            *(row.busy_permille, row.queue_bytes, row.loss_permille, row.rtt_us),
        )
        for row in stored.entry.links
    ]


def _pair_hash(origin: int, sequence: int) -> int:
    return int.from_bytes(sha256(u32(origin) + u64(sequence)).digest()[:8], "big")


def _batches(wires: Iterable[bytes]) -> list[bytes]:
    batches: list[list[bytes]] = []
    size = _BODY + 1
    for wire in wires:
        size += len(wire) + 3
        if size > _BODY:
            batches.append([])
            size = 8 + len(wire)
        batches[-1].append(wire)
    return [cbor.encode((ENTRIES, batch)) for batch in batches]
