"""Findings: what an audit holds against a hotspot, signed, in numbers that anybody can re-derive.

A finding is no verdict. It names the test, the epochs, the measured statistic, the threshold, the
share of honest hotspots that would score as high, and the command that computes the same again. It
lapses. What follows at once is a challenge (challenges.py), not a penalty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from chain import cbor
from chain.keys import public_key, sign, verify
from chain.records import Refusal
from coverage_map.audit.scores import TESTS, Scores

NAME = "audit-finding"  # the domain tag of its signature
VERSION = 1


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One test's evidence against one hotspot; numbers in thousandths where they say milli.

    `surprise_milli`: -ln of the share of honest hotspots with as much, so p = exp(-surprise).
    `partner`: the hotspot that the evidence connects it to, 2^32 - 1 if none.
    """

    version: int
    subject: int
    key: bytes
    test: str
    first_epoch: int
    last_epoch: int
    statistic_milli: int
    nats_milli: int
    surprise_milli: int
    score_milli: int
    threshold_milli: int
    samples: int
    partner: int
    expiry_epoch: int


@dataclass(frozen=True, slots=True)
class SignedFinding:
    """A finding with who found it; the signature names the network."""

    finding: AuditFinding
    auditor: bytes
    signature: bytes


NO_PARTNER = 2**32 - 1
_INTEGERS = {f.name for f in fields(AuditFinding)} - {"key", "test"}


def find(
    scores: Scores,
    key: bytes,
    subject: int,
    test: str,
    epochs: tuple[int, int],
    lasting: int,
) -> AuditFinding | None:
    """What a test says about a hotspot; None if it abstains. `lasting`: epochs until it lapses."""
    outcome = scores.outcomes[test]
    if math.isnan(outcome.nats[subject]):
        return None
    partner = int(outcome.other[subject])
    return AuditFinding(
        version=VERSION,
        subject=subject,
        key=key,
        test=test,
        first_epoch=epochs[0],
        last_epoch=epochs[1],
        statistic_milli=_milli(outcome.statistic[subject]),
        nats_milli=_milli(outcome.nats[subject]),
        surprise_milli=_milli(scores.surprise[subject, TESTS.index(test)]),
        score_milli=_milli(scores.combined[subject]),
        threshold_milli=_milli(scores.threshold),
        samples=int(outcome.samples[subject]),
        partner=NO_PARTNER if partner < 0 else partner,
        expiry_epoch=epochs[1] + lasting,
    )


def _milli(value: float | np.floating[Any]) -> int:
    return round(1000.0 * float(value))


def sign_finding(finding: AuditFinding, network_id: bytes, seed: bytes) -> SignedFinding:
    """Sign as an auditor."""
    signature = sign(seed, NAME, network_id, _body(finding))
    return SignedFinding(finding, public_key(seed), signature)


def _body(finding: AuditFinding) -> bytes:
    return cbor.encode(list(astuple(finding)))


def is_signed(signed: SignedFinding, network_id: bytes) -> bool:
    """Whether the signature is the auditor's, for this network."""
    body = _body(signed.finding)
    return verify(signed.auditor, NAME, network_id, body, signed.signature)


def get_command(finding: AuditFinding, ledger: str = "DIR") -> str:
    """What derives the same numbers again from a copy of the ledger."""
    return (
        f"wavecomb map audit --ledger {ledger} --subject {finding.subject} --test {finding.test}"
        f" --epochs {finding.first_epoch}-{finding.last_epoch}"
    )


def to_json(signed: SignedFinding) -> dict[str, Any]:
    """The document: every field, p in words that JSON has, the command, and the signature."""
    finding = signed.finding
    values: dict[str, Any] = {f.name: getattr(finding, f.name) for f in fields(finding)}
    values["key"] = finding.key.hex()
    return {
        "finding": values,
        "p_value": math.exp(-finding.surprise_milli / 1000.0),
        "command": get_command(finding),
        "auditor": signed.auditor.hex(),
        "signature": signed.signature.hex(),
    }


def from_json(document: Any) -> SignedFinding | Refusal:
    """A document read back; what isn't signed in it is ignored."""
    if not isinstance(document, Mapping) or not isinstance(document.get("finding"), Mapping):
        return _malformed("is no audit finding")
    values = document["finding"]
    for name in _INTEGERS:
        if type(values.get(name)) is not int:
            return _malformed(f"{name} is no integer")
    if values["version"] != VERSION or values.get("test") not in TESTS:
        return _malformed("is of a version or test that this auditor doesn't know")
    try:
        key = bytes.fromhex(str(values["key"]))
        auditor = bytes.fromhex(str(document["auditor"]))
        signature = bytes.fromhex(str(document["signature"]))
    except (KeyError, ValueError):
        return _malformed("lacks a key or signature in hexadecimal")
    named = {f.name: values[f.name] for f in fields(AuditFinding) if f.name != "key"}
    return SignedFinding(AuditFinding(**named, key=key), auditor, signature)


def _malformed(problem: str) -> Refusal:
    return Refusal("malformed", f"finding: {problem}; take it as the auditor wrote it")
