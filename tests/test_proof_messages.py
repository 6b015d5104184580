"""A slow ledger of epoch messages, written from docs/records.md alone, answers as the quick one.

It reads every wire item by item, asks PyNaCl's own class about signatures, knows each hotspot's
whole hash chain, and remembers all that it ever took.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from chain_helpers import FIRST_EPOCH, START_MS, Town
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from chain import keys, wire
from chain.ledger import Ledger
from chain.proofs.log import MerkleLog
from chain.records import EpochMessage, Reception, Refusal, Signed
from chain.state import OnTime

COUNT, NOW = 3, 6
ENTRY = wire.pack_reception(Reception(1, 0, 0, -7_000, 2_437, b"tag0"))
Answer = tuple[bytes, bool, str]  # record id, accepted, reason


class SlowLedger:
    """What it answers to messages while epoch `NOW` is open."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.taken: dict[tuple[int, int], OnTime] = {}
        self.wires: set[bytes] = set()
        self.log = MerkleLog()

    def submit(self, raw: bytes) -> Answer:
        """The answer to one message."""
        record_id = sha256(b"\0" + raw).digest()
        if raw in self.wires:
            return record_id, True, "already"
        signed = wire._decode_any(raw)
        if isinstance(signed, Refusal) or not isinstance(message := signed.record, EpochMessage):
            return record_id, False, "bad_shape"
        if reason := self.refuse(signed, message):
            return record_id, False, reason
        self.wires.add(raw)
        self.log.append(record_id)
        self.taken[message.hotspot, message.epoch] = OnTime(
            record_id, message.commit, message.report, message.reveal
        )
        return record_id, True, "ok" if message.epoch == NOW else "late"

    def refuse(self, signed: Signed, message: EpochMessage) -> str:
        """The first rule, in the order of the document, that a message breaks; empty if none."""
        params, index, epoch = self.town.params, message.hotspot, message.epoch
        if index >= COUNT:
            return "unknown_hotspot"
        if epoch > NOW or epoch < NOW - params.map_late_epochs:
            return "wrong_epoch"
        if len(message.report) > 14 * params.max_receptions:
            return "over_cap"
        if epoch < FIRST_EPOCH:
            return "not_bound_yet"
        if not self.is_signed(signed, index):
            return "bad_signature"
        if (index, epoch) in self.taken:
            return "fork"
        return "" if message.reveal == self.town.secret(index, epoch - 1) else "bad_reveal"

    def is_signed(self, signed: Signed, index: int) -> bool:
        """Whether the hotspot's key, and no other, signed."""
        text = b"wavecomb:epoch:v1\n" + self.town.network_id + signed.body
        try:
            (signature,) = signed.signatures
            VerifyKey(keys.public_key(self.town.keys[index])).verify(text, signature)
        except (ValueError, BadSignatureError):
            return False
        return True


def make_town() -> Town:
    town = Town(COUNT)
    town.join()
    town.ledger.tick(town.time_ms(NOW))
    return town


TOWN = make_town()
BEFORE = TOWN.ledger.state.copy()

numbers = st.integers(0, COUNT - 1)
messages = st.fixed_dictionaries(
    {
        "hotspot": numbers | st.sampled_from([COUNT, 300, 1 << 20]),
        "epoch": st.integers(FIRST_EPOCH, NOW) | st.sampled_from([0, 1, NOW + 1, 1 << 31]),
        "of": st.sampled_from([0, 0, 0, 0, 1, -1]),  # epochs by which the secret is another's
        "signers": st.sampled_from([(), (0,), (1,), (0, 1)]) | st.just("own"),
        "entries": st.sampled_from([0, 1, 2, 19, 2_304, 2_305]),
        "salt": st.integers(0, 2),
    }
)
damage = st.none() | st.tuples(st.integers(0, 600), st.integers(1, 255), st.integers(0, 3))


def make_wire(fields: dict[str, Any]) -> bytes:
    """The bytes of a message, lies included."""
    index, epoch = fields["hotspot"], fields["epoch"]
    place = min(max(epoch - 1 + fields["of"], 1), 150)
    reveal = TOWN.secret(min(index, COUNT - 1), place)
    commit = bytes((fields["salt"],)) * 32
    message = EpochMessage(index, epoch, commit, ENTRY * fields["entries"], reveal)
    signers = (min(index, COUNT - 1),) if fields["signers"] == "own" else fields["signers"]
    return wire.seal(message, TOWN.network_id, [TOWN.keys[n] for n in signers]).wire


def make_ledger() -> Ledger:
    """The town's ledger as it was, with a log of its own, empty."""
    ledger = Ledger(TOWN.genesis)
    ledger._prepare(BEFORE.copy(), keys.verify, None)
    ledger.packs_rows = False
    ledger.state.log = type(ledger.state.log)()
    return ledger


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(messages, damage), min_size=1, max_size=12),
    st.lists(st.integers(0, 11), max_size=4),
)
def test_messages_are_answered_as_the_document_says(
    sent: list[tuple[dict[str, Any], tuple[int, int, int] | None]], again: list[int]
) -> None:
    """Whoever signs whatever about any epoch, damaged or sent twice."""
    raws = []
    for fields, hurt in sent:
        raw = bytearray(make_wire(fields))
        if hurt is not None:
            raw[hurt[0] % len(raw)] ^= hurt[1]
        raws.append(bytes(raw[: len(raw) - hurt[2]] if hurt else raw))
    raws += [raws[n % len(raws)] for n in again]
    slow, ledger = SlowLedger(TOWN), make_ledger()
    results = ledger.submit(raws, START_MS + NOW * TOWN.params.epoch_ms)
    assert [(r.record_id, r.accepted, r.reason) for r in results] == list(map(slow.submit, raws))
    now = {index: message for (index, epoch), message in slow.taken.items() if epoch == NOW}
    assert ledger.state.inbox == now
    assert ledger.log.root() == slow.log.root()


def test_the_slow_ledger_meets_every_answer() -> None:
    """The strategy above can reach all reasons: here one message for each."""
    usual = {"hotspot": 0, "epoch": NOW, "of": 0, "signers": "own", "entries": 1, "salt": 0}
    changes: list[tuple[dict[str, Any], str]] = [
        ({}, "ok"), ({}, "already"), ({"salt": 1}, "fork"), ({"epoch": 4}, "late"),
        ({"hotspot": 300}, "unknown_hotspot"), ({"epoch": NOW + 1}, "wrong_epoch"),
        ({"entries": 2_305}, "over_cap"), ({"epoch": 1}, "not_bound_yet"),
        ({"hotspot": 1, "of": -1}, "bad_reveal"), ({"signers": (1,)}, "bad_signature"),
    ]  # fmt: skip
    raws = [make_wire({**usual, **change}) for change, _ in changes]
    slow, ledger = SlowLedger(TOWN), make_ledger()
    expected = [reason for _, reason in changes]
    assert [slow.submit(raw)[2] for raw in raws] == expected
    results = ledger.submit(raws, START_MS + NOW * TOWN.params.epoch_ms)
    assert [result.reason for result in results] == expected
