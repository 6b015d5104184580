"""trust.json: whose signatures somebody believes; small enough to read, compare and hand on."""

from __future__ import annotations

from chain.proofs.checkpoint import Trust
from chain.proofs.note import COSIGNATURE, ED25519, VerifierKey, parse_verifier_key
from chain.records import Refusal

FIELDS = ("origin", "log", "cosigners", "threshold")


def trust_json(trust: Trust) -> dict[str, object]:
    """The document that `parse_trust` reads."""
    return {
        "origin": trust.origin,
        "log": [str(key) for key in trust.logs],
        "cosigners": [str(key) for key in trust.cosigners],
        "threshold": trust.threshold,
    }


def parse_trust(value: object) -> Trust | Refusal:
    """Whom to trust, from what was read of a file."""
    if not isinstance(value, dict) or set(value) != set(FIELDS):
        return Refusal("bad_trust", f"trust.json: must hold {', '.join(FIELDS)}; copy it again")
    origin, threshold = value["origin"], value["threshold"]
    logs, cosigners = (_parse_keys(value[n], n, k) for n, k in _KINDS.items())
    if isinstance(logs, Refusal):
        return logs
    if isinstance(cosigners, Refusal):
        return cosigners
    if not isinstance(origin, str) or not origin or not logs:
        return Refusal("bad_trust", "origin, log: say no log's name and key; copy it again")
    whole = isinstance(threshold, int) and not isinstance(threshold, bool)
    if not whole or not 0 <= threshold <= len(cosigners):
        detail = f"threshold: not from 0 to the {len(cosigners)} cosigners; mend it"
        return Refusal("bad_trust", detail)
    return Trust(origin, logs, cosigners, threshold)


_KINDS = {"log": ED25519, "cosigners": COSIGNATURE}


def _parse_keys(value: object, name: str, kind: int) -> tuple[VerifierKey, ...] | Refusal:
    if not isinstance(value, list):
        return Refusal("bad_trust", f"{name}: must be a list of keys; copy it again")
    keys = [parse_verifier_key(str(text)) for text in value]
    for key in keys:
        if isinstance(key, Refusal):
            return Refusal("bad_trust", f"{name}: {key.detail}")
    found = tuple(key for key in keys if isinstance(key, VerifierKey))
    if any(key.kind != kind for key in found) or len({key.key for key in found}) != len(found):
        return Refusal("bad_trust", f"{name}: a key of another type, or one twice; copy it again")
    return found
