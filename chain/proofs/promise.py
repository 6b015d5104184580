"""Intake promises: a sequencer signs that it got a record, and by when the log will have it.

docs/records.md, Intake promise; chain/proofs/promise_ruling.py says what became of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chain import cbor
from chain.keys import public_key, sign, verify
from chain.records import Refusal

NAME = "intake-promise"


@dataclass(frozen=True, slots=True)
class Promise:
    """The sequencer's word: this record came at `received_ms`, the log has it by `deadline_epoch`.

    `key` is the sequencer's; `signature` is over the other fields and the network.
    """

    network_id: bytes
    record_id: bytes
    received_ms: int
    deadline_epoch: int
    key: bytes
    signature: bytes

    @property
    def body(self) -> bytes:
        """What is signed."""
        return get_body(self.record_id, self.received_ms, self.deadline_epoch)


def get_body(record_id: bytes, received_ms: int, deadline_epoch: int) -> bytes:
    """CBOR of a promise's three fields."""
    return cbor.encode((record_id, received_ms, deadline_epoch))


def make_promise(
    seed: bytes, network_id: bytes, record_id: bytes, received_ms: int, deadline_epoch: int
) -> Promise:
    """A promise signed by the sequencer whose seed this is."""
    signature = sign(seed, NAME, network_id, get_body(record_id, received_ms, deadline_epoch))
    return Promise(
        *(network_id, record_id, received_ms, deadline_epoch), public_key(seed), signature
    )


def is_signed(promise: Promise) -> bool:
    """Whether the signature holds under the key that the promise names."""
    return verify(promise.key, NAME, promise.network_id, promise.body, promise.signature)


def promise_json(promise: Promise) -> dict[str, Any]:
    """A promise as JSON, bytes in hexadecimal."""
    return {
        "network_id": promise.network_id.hex(),
        "record_id": promise.record_id.hex(),
        "received_ms": promise.received_ms,
        "deadline_epoch": promise.deadline_epoch,
        "key": promise.key.hex(),
        "signature": promise.signature.hex(),
    }


def parse_promise(value: Any) -> Promise | Refusal:
    """A promise from its JSON, its signature checked."""
    try:
        promise = Promise(
            bytes.fromhex(value["network_id"]),
            bytes.fromhex(value["record_id"]),
            int(value["received_ms"]),
            int(value["deadline_epoch"]),
            bytes.fromhex(value["key"]),
            bytes.fromhex(value["signature"]),
        )
        body = promise.body
    except (KeyError, TypeError, ValueError):
        return Refusal("bad_promise", "promise: no JSON of a promise; give the service's answer")
    if not body or not is_signed(promise):
        return Refusal("bad_signature", "promise: its signature does not hold; it proves nothing")
    return promise
