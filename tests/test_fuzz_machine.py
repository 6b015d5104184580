"""A state machine of everything that people can do, in any order, with epochs passing.

After every step: the supply is conserved and the sum tree says the same, nobody holds less than
nothing, relays got at most what payers burned less the fee and the share of coverage, and coverage
at most that share and what sponsors gave, payer by payer. In the end the blocks, replayed, give the
same headers and the same state; and `apply` gives it too and leaves its argument alone.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chain import keys
from chain.admission import Role
from chain.claims.builder import ClaimBook, make_leaf
from chain.ledger import Ledger, Sealed
from chain.records import (
    Bond,
    Bounty,
    Dispute,
    Finding,
    Registration,
    Retirement,
    Signed,
    SubmitResult,
    Withdrawal,
)
from chain.rules.blocks import apply
from chain.rules.burns import AI, BASIS_POINTS, RELAY
from chain.rules.payday import BOUNTY, COVERAGE, WITNESS
from chain.rules.settled import compute_balance_tree
from chain.state import State, compute_holdings, is_conserved
from chain.state_root import compute_state_root
from chain.vectors.live import appoint
from chain.vectors.scenarios_admission import cosignature
from chain.vectors.scenarios_cells import map_commit, map_report, observe
from chain.vectors.scenarios_claims import get_asked, seal_openings
from chain.vectors.suite import Draws
from chain.vectors.town import RES_8_CELL, RES_9_CELL, Town

ZEROS = bytes(32)
APPLY_EVERY = 10  # blocks: it copies the state
SOAK = bool(os.environ.get("WAVECOMB_SOAK"))
EXAMPLES, STEPS = (400, 120) if SOAK else (25, 50)
verify = lru_cache(maxsize=1 << 16)(keys.verify)
hotspots = st.integers(0, 3)
amounts = st.sampled_from((1, 999, 100_000, 3_000_000, 60_000_000))
work = st.integers(0, 3 << 20)


def supply_of(state: State) -> int:
    supply = state.supply
    return supply.deposited + supply.minted - supply.destroyed - supply.withdrawn


class Network(RuleBasedStateMachine):
    """Four hotspots, their owners, operators, mappers; every rule may be refused, none may lie."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[Sealed] = []
        self.town = Town("machine", verify=verify)
        self.town.ledger.on_block = self.seal
        self.books: dict[int, ClaimBook] = {}
        self.mapped: list[tuple[int, int, bytes]] = []
        self.relayed: Counter[bytes] = Counter()  # paid to relays and providers, by payer
        self.covered: Counter[bytes] = Counter()  # paid for coverage and witnessing, by payer
        self.sponsored: Counter[bytes] = Counter()  # locked in bounties, by sponsor
        self.receipts = 0  # that burned, or may have

    def seal(self, sealed: Sealed) -> None:
        """Keep a block and count what it paid out of whose burn."""
        self.blocks.append(sealed)
        for payment in sealed.effects.payments:
            if payment.kind in (RELAY, AI):
                self.relayed[payment.source] += payment.amount_ucr
            elif payment.kind in (COVERAGE, BOUNTY, WITNESS):
                self.covered[payment.source] += payment.amount_ucr

    @property
    def state(self) -> State:
        return self.town.ledger.state

    def submit(self, *signed: Signed) -> list[SubmitResult]:
        return self.town.submit(*signed)

    # --- time -----------------------------------------------------------------------------

    @initialize()
    def join(self) -> None:
        self.town.join()
        self.submit(appoint(self.town, Role.COSIGNER, self.town.key("cosigner", 0)))
        self.town.wait_for(2)

    @rule(deaf=st.sets(hotspots, max_size=2))
    def honest_epoch(self, deaf: set[int]) -> None:
        epoch = self.town.epoch
        if epoch > 380:
            return
        self.town.hear(epoch, lambda witness, heard: [] if witness in deaf else heard)
        for number in range(self.town.count):
            if number not in deaf:
                self.submit(self.town.message(number, epoch))
        self.town.go_to(epoch + 1)

    @rule(epochs=st.integers(1, 9))
    def pass_time(self, epochs: int) -> None:
        self.town.wait_for(self.town.epoch + epochs)

    @rule(epochs=st.integers(2, 30))
    def stand_still(self, epochs: int) -> None:
        self.town.go_to(self.town.epoch + epochs)

    # --- money ----------------------------------------------------------------------------

    @rule(number=hotspots, amount=amounts, reference=st.integers(0, 50))
    def deposit(self, number: int, amount: int, reference: int) -> None:
        self.submit(self.town.deposit(number, amount, b"ref %d" % reference))

    @rule(sender=hotspots, to=hotspots, amount=amounts)
    def transfer(self, sender: int, to: int, amount: int) -> None:
        self.submit(self.town.transfer(sender, self.town.owner(to), amount))

    @rule(number=hotspots, amount=amounts)
    def withdraw(self, number: int, amount: int) -> None:
        owner = self.town.owner(number)
        record = Withdrawal(owner, amount, self.town.nonce(owner), b"")
        self.submit(self.town.seal(record, ("owner", number)))

    @rule(number=hotspots, amount=amounts)
    def bond(self, number: int, amount: int) -> None:
        record = Bond(number, amount, self.town.nonce(self.town.owner(number)))
        self.submit(self.town.seal(record, ("owner", number)))

    @rule(number=hotspots)
    def retire(self, number: int) -> None:
        record = Retirement(number, self.town.nonce(self.town.owner(number)))
        self.submit(self.town.seal(record, ("owner", number)))

    @rule(number=hotspots, height=st.integers(1, 99))
    def register_again(self, number: int, height: int) -> None:
        self.submit(self.town.registration(number, height_m=height))

    @rule(number=hotspots, buyer=hotspots)
    def sell(self, number: int, buyer: int) -> None:
        town = self.town
        owner = self.state.hotspots[number].owner
        seller = next(n for n in range(town.count) if town.owner(n) == owner)
        values = {**_fields(town.assertion(number)), "owner": town.owner(buyer), "height_m": 7}
        signers = [("hotspot", number), ("owner", buyer), ("owner", seller)]
        self.submit(town.seal(Registration(**values), *signers[: 2 + (buyer != seller)]))

    @rule(number=hotspots, amount=amounts, until=st.integers(1, 30))
    def bounty(self, number: int, amount: int, until: int) -> None:
        sponsor = self.town.owner(number)
        terms = (amount, max(1, amount // 3), self.town.epoch + until, self.town.nonce(sponsor))
        bounty = Bounty(sponsor, (RES_8_CELL,), *terms)
        if self.submit(self.town.seal(bounty, ("owner", number)))[0].accepted:
            self.sponsored[sponsor] += amount

    # --- traffic --------------------------------------------------------------------------

    @rule(payer=hotspots, payee=hotspots, nonce=st.integers(0, 9), cap=amounts)
    def open_session(self, payer: int, payee: int, nonce: int, cap: int) -> None:
        expiry = self.town.epoch + 1 + nonce * 3
        self.submit(self.town.opening(payer, payee, nonce, cap_ucr=cap, expiry_epoch=expiry))

    @rule(which=st.integers(0, 20), relayed=work, tokens=work, packed=st.booleans())
    def claim_receipts(self, which: int, relayed: int, tokens: int, packed: bool) -> None:
        open_now = sorted(self.state.sessions)
        if not open_now:
            return
        session = self.state.sessions[open_now[which % len(open_now)]]
        receipt = self.town.receipt(
            *(session.payer, session.payee, session.index, session.sequence + 2),
            session.relayed_bytes + relayed,
            ai_tokens=session.ai_tokens + tokens,
        )
        make = self.town.receipts if packed else self.town.claim
        burned, paid = self.state.stats["burned_ucr"], self.relayed.total()
        destroyed, pooled = self.state.supply.destroyed, sum(self.state.pools.values())
        if self.submit(make(receipt))[0].reason == "ok":
            self.receipts += 1
            gone = self.state.supply.destroyed - destroyed, sum(self.state.pools.values()) - pooled
            burned = self.state.stats["burned_ucr"] - burned
            assert self.relayed.total() - paid + sum(gone) == burned
            assert gone[0] >= burned * self.town.ledger.params.fee_bp // BASIS_POINTS

    @rule(relay=hotspots, relayed=st.integers(1, 1 << 20))
    def claim_by_tree(self, relay: int, relayed: int) -> None:
        free = [s for s in self.state.sessions.values() if s.payee == relay and not s.claim]
        numbers = sorted(session.index for session in free)
        if not numbers:
            return
        leaves = []
        for number in numbers:
            session = self.state.sessions[number]
            total = session.relayed_bytes + relayed
            sequence = session.sequence + 1
            receipt = self.town.receipt(
                *(session.payer, relay, number, sequence, total),
                ai_tokens=session.ai_tokens,
                ai_requests=session.ai_requests,
            )
            leaves.append(make_leaf(session, receipt))
        book = ClaimBook(leaves)
        signed = self.town.seal(book.record(relay, self.town.epoch), ("hotspot", relay))
        result = self.submit(signed)[0]
        if result.accepted and result.index is not None:
            self.books[result.index] = book
            self.receipts += len(leaves)

    @precondition(lambda self: self.state.claims)
    @rule(which=st.integers(0, 9), how_many=st.integers(1, 9))
    def open_leaves(self, which: int, how_many: int) -> None:
        claims = sorted(self.state.claims)
        claim = claims[which % len(claims)]
        book = self.books[claim]
        asked = get_asked(self.town, claim, len(book.leaves))[:how_many]
        if asked:
            self.submit(seal_openings(self.town, book, claim, asked))

    @precondition(lambda self: self.state.claims)
    @rule(which=st.integers(0, 9), position=st.integers(0, 3))
    def dispute(self, which: int, position: int) -> None:
        claims = sorted(self.state.claims)
        claim = claims[which % len(claims)]
        leaves = self.books[claim].leaves
        session = self.state.sessions[leaves[position % len(leaves)].entry.session]
        record = Dispute(claim, position % len(leaves))
        self.submit(self.town.seal(record, ("hotspot", session.payer)))

    # --- fraud, cosigners, mappers --------------------------------------------------------

    @rule(number=hotspots, finder=hotspots)
    def prove_fork(self, number: int, finder: int) -> None:
        epoch = self.town.epoch
        if epoch > 380:
            return
        messages = self.town.message(number, epoch), self.town.message(number, epoch, commit=ZEROS)
        wires = (messages[0].wire, messages[1].wire)
        finding = Finding(1, number, epoch, wires, self.town.owner(finder))
        self.submit(self.town.seal(finding, ("owner", finder)))

    @rule()
    def cosign(self) -> None:
        if self.state.closes:
            self.submit(cosignature(self.town, max(self.state.closes), 0))

    @rule(number=st.integers(0, 6), heard=st.sets(hotspots, min_size=1))
    def map_cell(self, number: int, heard: set[int]) -> None:
        epoch = self.town.epoch
        if epoch > 380:
            return
        report = observe(self.town, epoch, tuple(sorted(heard)), RES_9_CELL)
        self.submit(map_commit(self.town, number, epoch, report, RES_9_CELL))
        self.mapped.append((number, epoch, report))

    @precondition(lambda self: self.mapped)
    @rule(which=st.integers(0, 9))
    def show_map(self, which: int) -> None:
        number, epoch, report = self.mapped[-1 - which % len(self.mapped)]  # the newest first
        self.submit(map_report(self.town, number, epoch, report, RES_9_CELL))

    # --- what always holds ----------------------------------------------------------------

    @invariant()
    def supply_is_conserved(self) -> None:
        assert is_conserved(self.state)

    @invariant()
    def nobody_holds_less_than_nothing(self) -> None:
        state = self.state
        assert all(account.spent_ucr <= account.issued_ucr for account in state.accounts.values())
        assert all(hotspot.bond_ucr >= 0 for hotspot in state.hotspots)
        assert all(0 <= s.claimed_ucr <= s.cap_ucr for s in state.sessions.values())
        assert all(held >= 0 for held in compute_holdings(state).values())

    @invariant()
    def the_sum_tree_says_the_supply(self) -> None:
        assert compute_balance_tree(self.state).balances().supply_ucr == supply_of(self.state)

    @invariant()
    def relays_get_what_payers_burned_less_the_fee_and_the_share_of_coverage(self) -> None:
        params = self.town.ledger.params
        part_bp = BASIS_POINTS - params.fee_bp - params.coverage_share_bp
        most = self.state.stats["burned_ucr"] * part_bp // BASIS_POINTS
        assert self.relayed.total() <= most + 2 * self.receipts  # two floors a receipt

    @invariant()
    def coverage_gets_its_share_of_a_payer_s_burn_and_what_it_sponsored(self) -> None:
        params = self.town.ledger.params
        part_bp = BASIS_POINTS - params.fee_bp - params.coverage_share_bp
        for payer, paid in self.covered.items():
            if payer.strip(b"\0"):  # bootstrap has no payer, nor what lapsed mappers leave
                share = self.relayed[payer] * params.coverage_share_bp // part_bp
                assert paid <= share + self.sponsored[payer]

    def teardown(self) -> None:
        """Replay: the same headers and the same state; `apply` leaves its argument alone."""
        if not self.blocks:
            return
        ledger = Ledger(self.town.genesis, verify)
        for number, sealed in enumerate(self.blocks):
            following = None
            if number % APPLY_EVERY == 0:
                before = compute_state_root(ledger.state)
                following = compute_state_root(apply(sealed.block, ledger.state, verify))
                assert compute_state_root(ledger.state) == before
            assert ledger.replay(sealed.block).header == sealed.header
            assert following in (None, compute_state_root(ledger.state))
        assert compute_state_root(ledger.state) == compute_state_root(self.state)


def _fields(record: Registration) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(Registration)}


def test_any_order_of_everything_keeps_every_promise() -> None:
    run_state_machine_as_test(
        Network,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, print_blob=True
        ),
    )


# Hypothesis finds short stories and makes them shorter; long ones are walked here, by counter hash.
# How often each rule is tried, and its arguments.
WALK: tuple[tuple[int, str, tuple[Any, ...]], ...] = (
    (24, "honest_epoch", (({0}, {1, 2}, set(), set(), set(), set()),)),
    (2, "pass_time", (range(1, 4),)),
    (1, "stand_still", (range(2, 20),)),
    (8, "deposit", (range(4), (9_000_000, 60_000_000), range(200))),
    (4, "transfer", (range(4), range(4), (1, 999, 100_000))),
    (2, "withdraw", (range(4), (1, 999, 3_000_000))),
    (3, "bond", (range(4), (1, 100_000, 3_000_000))),
    (1, "retire", (range(4),)),
    (1, "register_again", (range(4), range(1, 99))),
    (1, "sell", (range(4), range(4))),
    (4, "bounty", (range(4), (100_000, 3_000_000), range(1, 30))),
    (10, "open_session", (range(4), range(4), range(10), (100_000, 3_000_000))),
    (10, "claim_receipts", (range(20), (0, 1, 70_000, 1 << 19, 1 << 22), (0, 900), (True, False))),
    (6, "claim_by_tree", (range(4), (1, 70_000, 1 << 19))),
    (7, "open_leaves", (range(40), (1, 2, 9, 9, 9))),
    (2, "dispute", (range(9), range(4))),
    (3, "cosign", ()),
    (6, "map_cell", (range(7), ({0, 1}, {1, 2, 3}, {2}))),
    (8, "show_map", ((0, 0, 1, 1, 2, 9),)),
)
TRIES = [entry for entry in WALK for _ in range(entry[0])]
WALKS, WALK_STEPS = (200, 600) if SOAK else (8, 160)
INVARIANTS = [
    Network.supply_is_conserved,
    Network.nobody_holds_less_than_nothing,
    Network.the_sum_tree_says_the_supply,
    Network.relays_get_what_payers_burned_less_the_fee_and_the_share_of_coverage,
    Network.coverage_gets_its_share_of_a_payer_s_burn_and_what_it_sponsored,
]


@cache
def walk(seed: int, steps: int) -> Counter[str]:
    """A long random life; the ledger's counts at its end. The test's name tells the seed."""
    network, draw = Network(), Draws(f"walk/{seed}")
    network.join()
    for _ in range(steps):
        _, name, choices = TRIES[draw.between(0, len(TRIES) - 1)]
        arguments = [choice[draw.between(0, len(choice) - 1)] for choice in choices]
        needs = {"open_leaves": network.state.claims, "dispute": network.state.claims}
        if not needs.get(name, True) or (name == "show_map" and not network.mapped):
            continue
        getattr(network, name)(*arguments)
        for holds in INVARIANTS:
            holds(network)
    if draw.between(0, 3) == 0:
        network.prove_fork(draw.between(0, 3), draw.between(0, 3))
        network.pass_time(8)
    network.teardown()
    return Counter(network.state.stats)


@pytest.mark.parametrize("seed", range(WALKS))
def test_a_long_life_keeps_every_promise(seed: int) -> None:
    walk(seed, WALK_STEPS)


def test_long_lives_reach_what_is_rare() -> None:
    stats: Counter[str] = Counter()
    for seed in range(WALKS if not SOAK else 8):
        stats.update({name: 1 for name, n in walk(seed, WALK_STEPS).items() if n})
    kinds = ("relay", "ai", "coverage", "bounty", "witness", "mapper", "bootstrap")
    assert {"claims_paid", "claims_void", *(f"paid_{kind}_ucr" for kind in kinds)} <= stats.keys()
