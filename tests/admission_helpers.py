"""A town whose treasury takes two of three operators, and the records that its people sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from chain import keys, wire
from chain.admission import Role
from chain.ledger import Ledger
from chain.records import (
    Appointment,
    Bond,
    Cosignature,
    Deposit,
    EpochMessage,
    Finding,
    Genesis,
    Record,
    Retirement,
    Signed,
    SubmitResult,
    Transfer,
    Withdrawal,
)
from chain.state import is_conserved
from chain.state_root import compute_state_root

from .chain_helpers import OPERATOR, Town, verify


def seed_of(name: str) -> bytes:
    return sha256(name.encode()).digest()


def key_of(name: str) -> bytes:
    return keys.public_key(seed_of(name))


@dataclass(repr=False)
class Republic(Town):
    """Operators 0, 1 and 2, of whom two must sign; others get the next numbers by `appoint`."""

    threshold: int = 2

    def __post_init__(self) -> None:
        wanted, self.on_block = self.on_block, None
        super().__post_init__()
        self.on_block = wanted
        self.operators = [OPERATOR, seed_of("operator 1"), seed_of("operator 2")]
        before = self.genesis.record
        assert isinstance(before, Genesis)
        operators = tuple(keys.public_key(seed) for seed in self.operators)
        record = Genesis(
            *(before.network, before.preset, before.start_ms),
            *(operators, self.threshold, before.seeds),
        )
        self.genesis = wire.seal(record, b"", [])
        self.network_id = self.genesis.record_id
        self.ledger = Ledger(self.genesis, verify, self.on_block)

    @property
    def epoch(self) -> int:
        return self.ledger.state.epoch

    def sign(self, record: Record, *seeds: bytes) -> Signed:
        return wire.seal(record, self.network_id, seeds)

    def by(self, numbers: Sequence[int]) -> list[bytes]:
        return [self.operators[n] for n in numbers]

    def deposit(
        self,
        index: int,
        amount_ucr: int = 50_000_000,
        reference: bytes = b"",
        by: Sequence[int] = (0, 1),
    ) -> Signed:
        reference = reference or b"first %d" % index
        record = Deposit(self.owner(index), amount_ucr, reference, tuple(by))
        return self.sign(record, *self.by(by))

    def appointment(
        self,
        role: int,
        key: bytes,
        start: int | None = None,
        until: int | None = None,
        by: Sequence[int] = (0, 1),
        **changes: object,
    ) -> Signed:
        start = self.epoch + self.params.bind_epochs if start is None else start
        values: dict[str, object] = {
            "role": int(role),
            "key": key,
            "name": "name.example" if role in (Role.COSIGNER, Role.SEQUENCER) else "",
            "weight": 10 if role == Role.VALIDATOR and until != 0 else 0,
            "from_epoch": start,
            "until_epoch": start + 1_000 if until is None else until,
            "operators": tuple(by),
        }
        record = Appointment(**{**values, **changes})  # type: ignore[arg-type]
        return self.sign(record, *self.by(by))

    def appoint(self, role: int, key: bytes, *args: int, by: Sequence[int] = (0, 1)) -> None:
        result = self.one(self.appointment(role, key, *args, by=by))
        assert result.reason == "ok", result

    def transfer(
        self, index: int, to: bytes, amount_ucr: int, nonce: int, seed: bytes = b""
    ) -> Signed:
        record = Transfer(self.owner(index), to, amount_ucr, nonce, "")
        return self.sign(record, seed or self.owner_seeds[index])

    def withdrawal(self, index: int, amount_ucr: int, nonce: int, seed: bytes = b"") -> Signed:
        record = Withdrawal(self.owner(index), amount_ucr, nonce, b"outside")
        return self.sign(record, seed or self.owner_seeds[index])

    def bond(self, hotspot: int, amount_ucr: int, nonce: int, seed: bytes = b"") -> Signed:
        return self.sign(Bond(hotspot, amount_ucr, nonce), seed or self.owner_seeds[hotspot])

    def retirement(self, hotspot: int, nonce: int, seed: bytes = b"") -> Signed:
        return self.sign(Retirement(hotspot, nonce), seed or self.owner_seeds[hotspot])

    def finding(
        self,
        kind: int,
        subject: int,
        epoch: int,
        evidence: Sequence[bytes],
        reporter: str = "reporter",
        seed: bytes = b"",
    ) -> Signed:
        record = Finding(kind, subject, epoch, tuple(evidence), key_of(reporter))
        return self.sign(record, seed or seed_of(reporter))

    def two_messages(self, index: int, epoch: int) -> list[bytes]:
        """Two different messages that a hotspot signed for one epoch."""
        records = [
            EpochMessage(index, epoch, bytes([n]) * 32, b"", bytes(32))
            for n in (1, 2)
        ]
        return [self.sign(record, self.keys[index]).wire for record in records]

    def fork_finding(self, index: int, epoch: int | None = None, **options: str) -> Signed:
        epoch = self.epoch if epoch is None else epoch
        return self.finding(1, index, epoch, self.two_messages(index, epoch), **options)

    def cosignature(self, epoch: int, name: str, time_s: int = 7, seed: bytes = b"") -> Signed:
        text = self.ledger.state.closes[epoch].text
        message = f"cosignature/v1\ntime {time_s}\n{text}".encode()
        signature = keys.sign_message(seed or seed_of(name), message)
        return self.sign(Cosignature(epoch, key_of(name), time_s, signature))

    def tick_to(self, epoch: int) -> None:
        self.ledger.tick(self.time_ms(epoch))

    def one(self, signed: Signed) -> SubmitResult:
        (result,) = self.submit(signed)
        assert is_conserved(self.ledger.state)
        return result

    def accept(self, *signed: Signed) -> None:
        refused = [r for r in self.submit(*signed) if r.reason != "ok"]
        assert not refused, refused
        assert is_conserved(self.ledger.state)

    def refuse(self, signed: Signed) -> str:
        """The reason of a refusal, after which nothing may have changed."""
        state = self.ledger.state
        before, size = compute_state_root(state), state.log.size
        (result,) = self.submit(signed)
        assert not result.accepted, result
        assert ": " in result.detail
        assert (compute_state_root(state), state.log.size) == (before, size)
        return result.reason


def joined(count: int = 3, preset: str = "testbed") -> Republic:
    """Everybody registered, and bound, in epoch 2."""
    town = Republic(count, preset)
    town.join()
    town.tick_to(2)
    return town
