"""A small network whose every key follows from its name: what vectors and fuzzing are played on.

Its hotspots stand about 250 m apart and all hear each other. A town drives a ledger and notes every
step, so that a run can be written down as a genesis and steps and be played again by anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256

from chain import draws, keys, wire
from chain.claims.tree import ClaimTree, leaf_node
from chain.keys import verify as verify_signature
from chain.ledger import Ledger
from chain.packed import Entry, pack_entries, pack_receipts, receipt_body, receipt_hash
from chain.params import NEWEST_RULES
from chain.records import (
    Activation,
    Appointment,
    Bond,
    Bounty,
    Cosignature,
    Deposit,
    Dispute,
    EpochMessage,
    Finding,
    Genesis,
    Hold,
    HoldAppeal,
    HoldRuling,
    KeyRotation,
    KeyRotationObjection,
    LeafOpening,
    MapperCommit,
    MapperReport,
    Opening,
    Randomness,
    Receipt,
    Receipts,
    Reception,
    Record,
    Registration,
    RelayClaim,
    Retirement,
    SessionClaim,
    SessionOpen,
    Signed,
    SubmitResult,
    Transfer,
    ValidatorFault,
    Withdrawal,
)
from chain.rules.outcome import Verify
from chain.rules.pairs import compute_pair

# Resolution-10 cells with their centres in micro-degrees, as H3 gives them (a test compares), and
# two more: one cell 170 km away, and one of resolution 7 around the first.
PLACES: dict[int, tuple[int, int, int]] = {
    0: (0x8A1F9E282837FFF, 45_000_161, 7_000_306),
    1: (0x8A1F9E28280FFFF, 44_999_773, 7_003_547),
    2: (0x8A1F9E28285FFFF, 44_999_384, 7_006_787),
    3: (0x8A1F9E282907FFF, 45_002_356, 6_999_361),
    4: (0x8A1F9E282947FFF, 45_002_871, 7_003_748),
    5: (0x8A1F9E280497FFF, 45_002_482, 7_006_989),
    6: (0x8A1F9E2862F7FFF, 45_005_455, 6_999_562),
    7: (0x8A1F9E2862CFFFF, 45_005_066, 7_002_803),
    8: (0x8A1F9E28058FFFF, 45_005_580, 7_007_191),
    9: (0x8A1F9DDAD967FFF, 46_500_461, 7_999_522),
    10: (0x871F9E282FFFFFF, 44_992_284, 7_005_237),
}
RES_8_CELL, RES_9_CELL = 0x881F9E2829FFFFF, 0x891F9E28297FFFF
START_MS = 1_700_000_000_000
FIRST_EPOCH = 2
CHAIN_LENGTH = 400
FREQUENCY_MHZ = 2_437
SEED, COSIGNER, SEQUENCER, VALIDATOR, OPERATOR, AUDITOR = range(1, 7)
OPERATORS_01 = (("operator", 0), ("operator", 1))
Heard = Callable[[int, list[Reception]], list[Reception]]


@lru_cache(maxsize=1_024)
def get_chain(name: bytes, length: int = CHAIN_LENGTH) -> tuple[bytes, ...]:
    """A hash chain, the anchor first."""
    links = [sha256(b"last link of " + name).digest()]
    for _ in range(length):
        links.append(draws.chain_link(links[-1]))
    return tuple(reversed(links))


@dataclass(frozen=True, slots=True)
class Step:
    """Wires submitted together at a time; none: the ledger's clock moved.

    `faults` are validator-faults that the consensus engine itself put before them.
    """

    time_ms: int
    wires: tuple[bytes, ...]
    faults: tuple[bytes, ...] = ()


class Town:
    """Four hotspots with an owner each, of whom the first is a seed; two of three operators sign.

    The keys don't depend on the preset. Hotspots beyond `COUNT` may be made by their numbers.
    """

    COUNT, OPERATORS, THRESHOLD = 4, 3, 2

    def __init__(
        self,
        name: str,
        *,
        preset: str = "minimal",
        rules: int = NEWEST_RULES,
        verify: Verify = verify_signature,
    ) -> None:
        self.name, self.count, self.chain_length = name, self.COUNT, CHAIN_LENGTH
        signers = tuple(self.key("operator", n) for n in range(self.OPERATORS))
        seeds = (self.key("hotspot", 0),)
        record = Genesis(name, preset, START_MS, signers, self.THRESHOLD, seeds, rules)
        self.genesis = wire.seal(record, b"", [])
        self.ledger = Ledger(self.genesis, verify)
        self.steps: list[Step] = []
        self.heard: dict[int, dict[int, bytes]] = {}
        self.place_of = dict(PLACES)
        self.nonces: dict[bytes, int] = {}
        self.next_from: dict[int, int] = {}  # hotspots that take their next key, and when

    # --- keys and numbers -------------------------------------------------------------------

    def seed(self, role: str, number: int) -> bytes:
        """The secret key of somebody."""
        return sha256(f"{self.name}/{role}/{number}".encode()).digest()

    def key(self, role: str, number: int) -> bytes:
        """The public key of somebody."""
        return keys.public_key(self.seed(role, number))

    def owner(self, number: int) -> bytes:
        """The account of a hotspot's owner."""
        return self.key("owner", number)

    def nonce(self, account: bytes) -> int:
        """The next nonce of an account."""
        self.nonces[account] = self.nonces.get(account, 0) + 1
        return self.nonces[account]

    def chain(self, number: int) -> tuple[bytes, ...]:
        """The hash chain of a hotspot, the anchor first."""
        return get_chain(self.seed("chain", number), self.chain_length)

    def secret(self, number: int, epoch: int) -> bytes:
        """x_epoch of a hotspot."""
        first = self.next_from.get(number)
        if first is not None and epoch >= first:
            return self.next_chain(number)[epoch - first + 1]
        return self.chain(number)[epoch - FIRST_EPOCH + 1]

    def next_chain(self, number: int) -> tuple[bytes, ...]:
        """The hash chain that goes with a hotspot's next key, the anchor first."""
        return get_chain(self.seed("next chain", number), self.chain_length)

    @property
    def network_id(self) -> bytes:
        """The record id of the genesis."""
        return self.genesis.record_id

    @property
    def epoch(self) -> int:
        """The ledger's current epoch."""
        return self.ledger.state.epoch

    def time_ms(self, epoch: int, offset_ms: int = 0) -> int:
        """A time within an epoch."""
        return START_MS + epoch * self.ledger.params.epoch_ms + offset_ms

    # --- steps ------------------------------------------------------------------------------

    def submit(
        self, *signed: Signed | bytes, time_ms: int | None = None, faults: Sequence[Signed] = ()
    ) -> list[SubmitResult]:
        """Submit together, at the ledger's own time unless told another; noted as a step."""
        wires = tuple(item if isinstance(item, bytes) else item.wire for item in signed)
        moment = self.ledger.state.time_ms if time_ms is None else time_ms
        engine = tuple(fault.wire for fault in faults)
        self.steps.append(Step(moment, wires, engine))
        return self.ledger.submit(wires, moment, engine)

    def go_to(self, epoch: int) -> None:
        """Let time pass in one leap until an epoch begins, as if the ledger stood still."""
        moment = self.time_ms(epoch)
        self.steps.append(Step(moment, ()))
        self.ledger.tick(moment)

    def wait_for(self, epoch: int) -> None:
        """Let time pass epoch by epoch until one begins."""
        while self.epoch < epoch:
            self.go_to(self.epoch + 1)

    def join(self) -> None:
        """Everybody gets credits and registers."""
        deposits = [self.deposit(number) for number in range(self.count)]
        self.submit(*deposits, *(self.registration(number) for number in range(self.count)))

    def run_epoch(self, epoch: int, heard: Heard | None = None, absent: Sequence[int] = ()) -> None:
        """Everybody hears and sends its message within an epoch, which stays open."""
        if self.epoch < epoch:
            self.go_to(epoch)
        self.hear(epoch, heard)
        messages = [self.message(n, epoch) for n in range(self.count) if n not in absent]
        self.submit(*messages, time_ms=self.time_ms(epoch, self.ledger.params.epoch_ms // 2))

    def run(self, first: int, last: int) -> None:
        """Honest epochs, the last closed too."""
        for epoch in range(first, last + 1):
            self.run_epoch(epoch)
        self.go_to(last + 1)

    # --- the radio --------------------------------------------------------------------------

    def reception(self, witness: int, beaconer: int, epoch: int, sequence: int) -> Reception:
        """What an honest witness hears: half-way between the bounds, less the power step."""
        secret, mix = self.secret(beaconer, epoch), self.ledger.mix(epoch)
        if mix is None:
            raise ValueError(f"the mix of epoch {epoch} is not known")
        ends = [self.assertion(n) for n in (witness, beaconer)]
        pair = compute_pair(*ends)
        step_db = draws.power_step_db(secret, mix, sequence)
        rssi = (pair.rssi_low_cdbm + pair.rssi_high_cdbm) // 2 - 100 * step_db
        tag = draws.tag_of(draws.answer(secret, epoch, sequence))
        return Reception(beaconer, sequence, 0, rssi, FREQUENCY_MHZ, tag)

    def report(self, witness: int, epoch: int) -> list[Reception]:
        """Every beacon of everybody else."""
        numbers = range(self.ledger.params.beacons_per_epoch)
        others = (n for n in range(self.count) if n != witness)
        return [self.reception(witness, n, epoch, number) for n in others for number in numbers]

    def hear(self, epoch: int, heard: Heard | None = None) -> None:
        """Note what everybody hears, after an attacker's edit."""
        self.heard[epoch] = {}
        for witness in range(self.count):
            report = self.report(witness, epoch)
            edited = heard(witness, report) if heard else report
            self.heard[epoch][witness] = b"".join(sorted(map(wire.pack_reception, edited)))

    # --- records ----------------------------------------------------------------------------

    def seal(self, record: Record, *signers: tuple[str, int]) -> Signed:
        """Sign a record as these (role, number), in order."""
        return wire.seal(record, self.network_id, [self.seed(*signer) for signer in signers])

    def deposit(self, number: int, amount_ucr: int = 50_000_000, reference: bytes = b"") -> Signed:
        """Credits for the owner of a hotspot."""
        reference = reference or b"first of %d" % number
        return self.seal(Deposit(self.owner(number), amount_ucr, reference, (0, 1)), *OPERATORS_01)

    def assertion(self, number: int) -> Registration:
        """What a hotspot asserts of itself."""
        cell, latitude, longitude = self.place_of[number]
        return Registration(
            key=self.key("hotspot", number),
            owner=self.owner(number),
            cell=cell,
            latitude_udeg=latitude,
            longitude_udeg=longitude,
            height_m=10,
            gain_cdb=300,
            eirp_cdbm=2_000,
            frequency_mhz=FREQUENCY_MHZ,
            flags=1,
            first_epoch=FIRST_EPOCH,
            chain_length=self.chain_length,
            anchor=self.chain(number)[0],
        )

    def registration(self, number: int, **changes: int | bytes) -> Signed:
        """A registration, signed by hotspot and owner."""
        record = replace(self.assertion(number), **changes)  # type: ignore[arg-type]
        return self.seal(record, ("hotspot", number), ("owner", number))

    def message(self, number: int, epoch: int, **changes: int | bytes) -> Signed:
        """The message of a hotspot for an epoch."""
        report = self.heard.get(epoch, {}).get(number, b"")
        record = EpochMessage(
            number,
            epoch,
            draws.commit(number, epoch, self.secret(number, epoch), report),
            self.heard.get(epoch - 1, {}).get(number, b""),
            self.secret(number, epoch - 1),
        )
        first = self.next_from.get(number)
        signer = "hotspot" if first is None or epoch < first else "next"
        return self.seal(replace(record, **changes), (signer, number))  # type: ignore[arg-type]

    def rotation(
        self, number: int, from_epoch: int, *, lost: bool = False, **changes: int | bytes
    ) -> Signed:
        """The next key of a hotspot, signed by both and the owner, or without a lost old one."""
        anchor = self.next_chain(number)[0]
        key = self.key("next", number)
        record = KeyRotation(number, key, from_epoch, self.chain_length, anchor)
        signers = (("hotspot", number), ("next", number), ("owner", number))
        return self.seal(replace(record, **changes), *signers[lost:])  # type: ignore[arg-type]

    def opening(self, payer: int, payee: int, nonce: int = 0, **changes: int) -> Signed:
        """A session: 1 credit per MiB, 2 per 1,000 tokens, 10 in escrow."""
        expiry = self.epoch + 20
        record = SessionOpen(payer, payee, nonce, 1_000_000, 2_000_000, 10_000_000, expiry)
        return self.seal(replace(record, **changes), ("hotspot", payer))

    def receipt(
        self, payer: int, payee: int, session: int, sequence: int, relayed_bytes: int, **more: int
    ) -> Receipt:
        """A receipt that both ends signed."""
        tokens, requests = more.get("ai_tokens", 0), more.get("ai_requests", 0)
        receipt = Receipt(session, sequence, relayed_bytes, tokens, requests, bytes(32))
        body = receipt_body(receipt)
        signed = [
            keys.sign(self.seed("hotspot", end), Receipt.NAME, self.network_id, body)
            for end in (payer, payee)
        ]
        return replace(receipt, payer_signature=signed[0], payee_signature=signed[1])

    def claim(self, *receipts: Receipt) -> Signed:
        """A claim of receipts, as type 6."""
        return self.seal(SessionClaim(receipts))

    def receipts(self, *receipts: Receipt) -> Signed:
        """The same, packed, as type 15."""
        return self.seal(Receipts(pack_receipts(receipts)))

    def relay_claim(
        self, relay: int, epoch: int, entries: Sequence[Entry], tree: ClaimTree
    ) -> Signed:
        """A relay's claim of a sum tree."""
        root = tree.root()
        record = RelayClaim(relay, epoch, root.hash, root.total_ucr, pack_entries(entries))
        return self.seal(record, ("hotspot", relay))

    def transfer(self, sender: int, to: bytes, amount_ucr: int, **changes: int) -> Signed:
        """Credits from an owner to an account."""
        account = self.owner(sender)
        record = Transfer(account, to, amount_ucr, changes.get("nonce") or self.nonce(account), "")
        return self.seal(record, ("owner", sender))

    def appointment(
        self, role: int, key: bytes, from_epoch: int, until_epoch: int, weight: int = 0
    ) -> Signed:
        """A role for a key, signed by every operator of the genesis."""
        record = Appointment(role, key, "somebody", weight, from_epoch, until_epoch, (0, 1))
        return self.seal(record, *OPERATORS_01)

    def hold(self, subject: int, auditors: Sequence[int], **changes: int | bytes | str) -> Signed:
        """A finding of some auditors about the epochs so far."""
        last, most = max(0, self.epoch - 1), self.ledger.params.hold_epochs_max
        who = sorted((self.key("auditor", number), number) for number in auditors)
        record = Hold(
            *(subject, "location", 812, 288, max(0, self.epoch - 5), last, bytes(32)),
            *(self.epoch + most, tuple(key for key, _ in who)),
        )
        record = replace(record, **changes)  # type: ignore[arg-type]
        return self.seal(record, *(("auditor", number) for _, number in who))

    def ruling(self, subject: int, hold: bytes, outcome: int, auditors: Sequence[int]) -> Signed:
        """How some auditors end a hold."""
        who = sorted((self.key("auditor", number), number) for number in auditors)
        keys_of = tuple(key for key, _ in who)
        record = HoldRuling(subject, hold, outcome, bytes(32), keys_of)
        return self.seal(record, *(("auditor", number) for _, number in who))


def make_tree(
    entries: Sequence[Entry], receipts: Sequence[Receipt], dues: Sequence[int]
) -> ClaimTree:
    """The sum tree over a relay's entries."""
    return ClaimTree(
        [
            leaf_node(entry, receipt_hash(receipt), due)
            for entry, receipt, due in zip(entries, receipts, dues, strict=True)
        ]
    )


def get_samples(town: Town) -> list[Signed]:
    """One record of each type, of the right shape and signed; few of them fit the state."""
    owner, other = town.owner(0), town.owner(1)
    receipt = town.receipt(0, 1, 3, 1, 1 << 20, ai_tokens=500, ai_requests=1)
    entry = Entry(3, 1, 1 << 20, 500, 1)
    tree = make_tree([entry], [receipt], [2_000_000])
    report = wire.pack_reception(Reception(1, 0, 0, -7_000, FREQUENCY_MHZ, b"tag4"))
    message = town.message(0, 2, report=report)
    forked = town.message(0, 2, report=report, commit=bytes(32))
    return [
        town.genesis,
        town.registration(0),
        town.deposit(0),
        message,
        town.opening(0, 1),
        town.claim(receipt),
        town.appointment(COSIGNER, town.key("cosigner", 0), 3, 500),
        town.transfer(0, other, 1_000),
        town.seal(Withdrawal(owner, 1_000, 1, b"iban"), ("owner", 0)),
        town.seal(Bond(0, 1_000, 1), ("owner", 0)),
        town.seal(Retirement(0, 1), ("owner", 0)),
        town.seal(Bounty(owner, (RES_8_CELL,), 1_000, 100, 50, 1), ("owner", 0)),
        town.seal(MapperCommit(town.key("mapper", 0), 2, bytes(32)), ("mapper", 0)),
        town.seal(
            MapperReport(town.key("mapper", 0), 2, RES_9_CELL, bytes(16), report), ("mapper", 0)
        ),
        town.receipts(receipt),
        town.relay_claim(1, 2, [entry], tree),
        town.seal(LeafOpening(0, (Opening(0, receipt, tree.path(0)),))),
        town.seal(Dispute(0, 0), ("hotspot", 0)),
        town.seal(Finding(1, 0, 2, (message.wire, forked.wire), other), ("owner", 1)),
        town.seal(Cosignature(2, town.key("cosigner", 0), 1_700_000_000, bytes(64))),
        town.seal(ValidatorFault(1, bytes(20), 7, START_MS, 10)),
        town.seal(Randomness(2, town.key("cosigner", 0), bytes(80))),
        town.hold(1, (0,), first_epoch=0, last_epoch=1),
        town.ruling(1, bytes(32), 2, (0,)),
        town.seal(HoldAppeal(1, bytes(32)), ("owner", 1)),
        town.seal(Activation(2, 9, (0, 1)), *OPERATORS_01),
        town.rotation(1, 9),
        town.seal(KeyRotationObjection(1, bytes(32)), ("hotspot", 1)),
    ]
