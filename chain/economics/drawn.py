"""Drawn networks: states with hotspots, hearing and money, on which the real rules can run.

For simulations of money and for benches: nothing here has a signature, everything else is what a
ledger would hold at the end of a settlement window. Places are cells of a plane of hexagons,
(row, column) with six neighbours; every place has an H3 number of its own, which need not lie where
the place does: settlements only compare cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from chain.draws import u32
from chain.params import Params
from chain.records import Genesis, Registration
from chain.rules.burns import process_burns
from chain.rules.outcome import Effects
from chain.state import Assertion, BountyCell, Chain, Hotspot, Session, State

BASE_CELL = 20  # a base cell without a pentagon: all its 7^8 cells exist
START_EPOCH = 144
CHAIN_LENGTH = 1 << 20
# Quality units of a reception (chain/rules/verdicts.py): precise cell times settable power ...
UNITS_PER_STEP = 16
# ... times steps of 5 dB, for a hotspot in the same cell, in the next, and two cells away.
STEPS_BY_RING = (7, 5, 3)

Place = tuple[int, int]


def draw_below(limit: int, *numbers: int) -> int:
    """A number from 0 to limit - 1 by a counter hash."""
    raw = sha256(b"drawn" + b"".join(u32(number) for number in numbers)).digest()[:8]
    return int.from_bytes(raw, "big") * limit >> 64


def cell_of(number: int, resolution: int = 8) -> int:
    """The number-th H3 cell of a resolution within one base cell."""
    digits = 0
    for level in range(resolution):
        digits |= number // 7**level % 7 << 3 * (15 - resolution + level)
    unused = (1 << 3 * (15 - resolution)) - 1
    return 1 << 59 | resolution << 52 | BASE_CELL << 45 | digits | unused


def key_of(kind: str, number: int) -> bytes:
    """A key that nobody holds."""
    return sha256(kind.encode() + b" %d" % number).digest()


def get_drawn_state(params: Params, seeds: Iterable[int]) -> State:
    """A network without hotspots; those with these indexes will be its seeds."""
    keys = tuple(key_of("hotspot", index) for index in seeds)
    genesis = Genesis("drawn", params.name, 0, (bytes(32),), 1, keys)
    return State(bytes(32), genesis, params, 0, epoch=START_EPOCH)


def process_drawn_hotspot(state: State, cell: int, owner: bytes) -> int:
    """Register a hotspot; its index."""
    index = len(state.hotspots)
    key, anchor = key_of("hotspot", index), u32(index) * 2
    registration = Registration(
        *(key, owner, cell, 45_000_000, 7_000_000, 10, 300, 2_000, 2_437, 1, 2, CHAIN_LENGTH),
        anchor,
    )
    chain = Chain(2, CHAIN_LENGTH, anchor, START_EPOCH - 1, key)
    hotspot = Hotspot(index, key, [Assertion(index, registration, 2, chain)])
    hotspot.bond_ucr = state.params.bond_ucr
    state.supply.deposited += hotspot.bond_ucr
    state.hotspots.append(hotspot)
    state.index_of[key] = index
    state.account(owner)
    return index


def process_drawn_deposit(state: State, account: bytes, ucr: int) -> None:
    """Credits from outside."""
    state.credit(account, ucr)
    state.supply.deposited += ucr


def process_drawn_traffic(
    state: State, payer: int, payee: int, ucr: int, effects: Effects
) -> None:
    """Somebody outside pays the payer, who burns the amount for traffic that the payee relayed."""
    owner = state.hotspots[payer].owner
    process_drawn_deposit(state, owner, ucr)
    session = Session(
        *(state.next_session, bytes(32), payer, payee, 0, 1 << 20, 0, ucr, state.epoch + 1, owner)
    )
    state.debit(owner, ucr)
    state.sessions[session.index] = session
    state.next_session += 1
    process_burns(state, [(session, ucr, 0, 0)], effects)
    del state.sessions[session.index]


def process_drawn_bounty(state: State, cell: int, sponsor: bytes, ucr: int) -> None:
    """Somebody outside offers an amount for one settlement of a cell."""
    process_drawn_deposit(state, sponsor, ucr)
    state.debit(sponsor, ucr)
    state.bounties[cell, state.next_bounty] = BountyCell(sponsor, ucr, ucr, state.epoch + 1)
    state.next_bounty += 1


@dataclass(slots=True)
class Drawn:
    """A network on the plane: who stands where, and who hears whom how well, both ways."""

    state: State
    places: dict[Place, list[int]] = field(default_factory=dict)
    at: dict[int, Place] = field(default_factory=dict)
    site: dict[int, int] = field(default_factory=dict)  # who shares one hears and is heard alike
    heard: dict[int, dict[int, int]] = field(default_factory=dict)  # steps by pair

    def cell(self, place: Place) -> int:
        """The H3 cell of a place; rows and columns up to 1,024."""
        return cell_of(place[0] << 10 | place[1])

    def add(self, place: Place, owner: bytes, site: int | None = None) -> int:
        """Put a hotspot somewhere, by default at a site of its own."""
        index = process_drawn_hotspot(self.state, self.cell(place), owner)
        self.places.setdefault(place, []).append(index)
        self.at[index] = place
        self.site[index] = index if site is None else site
        return index

    def hear(self, one: int, other: int, steps: int) -> None:
        """Let two hotspots hear each other."""
        self.heard.setdefault(one, {})[other] = steps
        self.heard.setdefault(other, {})[one] = steps

    def hear_around(self, indexes: Iterable[int]) -> None:
        """Let hotspots hear everybody up to two cells away."""
        for index in indexes:
            row, column = self.at[index]
            for down in range(-2, 3):
                for right in range(-2, 3):
                    ring = max(abs(down), abs(right), abs(down + right))
                    if ring > 2:
                        continue
                    for other in self.places.get((row + down, column + right), ()):
                        if self.site[other] != self.site[index]:
                            self.hear(index, other, self.steps(index, other, ring))

    def steps(self, one: int, other: int, ring: int) -> int:
        """How well two hotspots hear each other: 5 dB better or worse than others so far apart."""
        low, high = sorted((self.site[one], self.site[other]))
        return STEPS_BY_RING[ring] - 1 + draw_below(3, low, high)


def process_drawn_day(drawn: Drawn) -> None:
    """Fill a settlement window: every beacon is heard by all who can, `witnesses_drawn` count."""
    state, params = drawn.state, drawn.state.params
    beacons = params.beacons_per_epoch * params.settlement_epochs
    cells = {index: drawn.cell(place) for index, place in drawn.at.items()}
    for beaconer, hearers in drawn.heard.items():
        counted = beacons * min(len(hearers), params.witnesses_drawn) // len(hearers)
        for witness, steps in hearers.items():
            state.add("quality", (cells[witness], beaconer), counted * steps * UNITS_PER_STEP)
            if len(hearers) > 1:
                state.add("measured", (cells[witness], witness), counted)
            if witness < beaconer:
                state.add("links", (witness, beaconer), params.settlement_epochs)
    state.epoch += params.settlement_epochs
