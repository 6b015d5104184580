"""Vectors of the encoding: canonical CBOR, envelopes, receptions, receipts, signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from chain import cbor, keys, wire
from chain.records import Genesis, Reception, Record, Refusal
from chain.vectors.suite import Cases, Draws, Json, Suite
from chain.vectors.town import Town, get_samples

_U64 = (1 << 64) - 1
VALUES: tuple[cbor.Value, ...] = (
    *(0, 1, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, _U64),
    *(-1, -24, -25, -256, -257, -(1 << 16), -(1 << 16) - 1, -(1 << 32), -(1 << 32) - 1, -(1 << 64)),
    *(b"", b"\0", bytes(23), bytes(24), bytes(255), bytes(256)),
    *("", "a", "f\u00fcnf", "\u6c34", "\U00010151", "x" * 24),
    *((), (1,), (1, (2, (3, (4,)))), tuple(range(24)), (b"k", "v", -1, ())),
)
NOT_CANONICAL: tuple[tuple[str, str], ...] = (
    ("nothing", ""),
    ("integer 0 in two bytes", "1800"),
    ("integer 23 in two bytes", "1817"),
    ("integer 255 in three bytes", "1900ff"),
    ("integer 65535 in five bytes", "1a0000ffff"),
    ("integer 2^32-1 in nine bytes", "1b00000000ffffffff"),
    ("negative in two bytes", "3800"),
    ("byte string length in two bytes", "580100"),
    ("text length in two bytes", "780161"),
    ("array length in two bytes", "980100"),
    ("indefinite byte string", "5f41ff41ffff"),
    ("indefinite array", "9f01ff"),
    ("reserved length", "1c"),
    ("map", "a10102"),
    ("tag", "c100"),
    ("false", "f4"),
    ("null", "f6"),
    ("half float", "f93c00"),
    ("double float", "fb3ff0000000000000"),
    ("break alone", "ff"),
    ("integer cut short", "19ff"),
    ("byte string cut short", "42ff"),
    ("array cut short", "8201"),
    ("array of 2^64-1 items", "9bffffffffffffffff00"),
    ("byte string of 2^64-1 bytes", "5bffffffffffffffff00"),
    ("text that is not UTF-8", "62c328"),
    ("text with a surrogate", "63eda080"),
    ("bytes after the end", "0000"),
    ("nine arrays deep", "81" * 9 + "00"),
)


def _to_json(value: cbor.Value) -> Json:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return value if isinstance(value, int | str) else [_to_json(item) for item in value]


def _from_json(value: Json) -> cbor.Value:
    if isinstance(value, dict):
        return bytes.fromhex(value["bytes"])
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def _decode(given: dict[str, Any]) -> Json:
    try:
        return {"value": _to_json(cbor.decode(bytes.fromhex(given["cbor"])))}
    except cbor.CborError:
        return {"error": True}


def _cbor_cases() -> Cases:
    for number, value in enumerate(VALUES):
        yield f"encode {number}", "encode", {"value": _to_json(value)}
        yield f"decode {number}", "decode", {"cbor": cbor.encode(value).hex()}
    yield "eight arrays deep", "decode", {"cbor": "81" * 8 + "00"}
    for name, text in NOT_CANONICAL:
        yield name, "decode", {"cbor": text}


CBOR = Suite(
    "cbor",
    "Deterministic CBOR: {bytes: hex} stands for a byte string; error: the bytes must be refused.",
    {"encode": lambda given: cbor.encode(_from_json(given["value"])).hex(), "decode": _decode},
    _cbor_cases,
)


def _show(value: Any) -> Json:
    """A field of a record as JSON: bytes as hexadecimal, nested records as objects."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _show(item) for name, item in value.items()}
    return [_show(item) for item in value] if isinstance(value, tuple) else value


def get_signed_fields(record: Record) -> dict[str, Any]:
    """The fields that a record's version has: a genesis of the first rules doesn't name them."""
    fields = asdict(record)
    if isinstance(record, Genesis) and record.rules == 1:
        del fields["rules"]
    return fields


def _decode_wire(given: dict[str, Any]) -> Json:
    raw = bytes.fromhex(given["wire"])
    signed = wire.decode(raw)
    if isinstance(signed, Refusal):
        return {"record_id": wire.record_id_of(raw).hex(), "refused": signed.reason}
    return {
        "record_id": signed.record_id.hex(),
        "type": signed.record.TYPE,
        "name": signed.record.NAME,
        "fields": _show(get_signed_fields(signed.record)),
        "body": signed.body.hex(),
        "signatures": [signature.hex() for signature in signed.signatures],
    }


def get_boundary_values(field: wire.Field) -> list[cbor.Value]:
    """Values at the edge of what a field takes, on both sides, and of other types."""
    match field:
        case wire.Integer(low, high):
            edges = (low, high, low - 1, high + 1)
            return [*(n for n in edges if -1 - _U64 <= n <= _U64), b"", "1", ()]
        case wire.Octets(low, high, unit):
            return [bytes(low), bytes(max(0, low - 1)), bytes(low + 1), bytes(low + unit), 0, ""]
        case wire.Text(high):
            return ["", "x" * high, "x" * (high + 1), b"", 0]
        case wire.Many():
            return [(), 0, (0, 0), (b"", b""), ((), ())]
    return [0, _U64, b"", ()]


def _with_field(kind: int, body: bytes, number: int, value: cbor.Value) -> bytes:
    values = cbor.decode(body)
    if not isinstance(values, tuple):
        raise ValueError("a body is an array")
    changed = (*values[:number], value, *values[number + 1 :])
    return cbor.encode((kind, wire.VERSION, cbor.encode(changed), ()))


def _wire_cases() -> Cases:
    town = Town("wires")
    for signed in get_samples(town):
        record, name = signed.record, signed.record.NAME
        yield f"{name} valid", "decode", {"wire": signed.wire.hex()}
        layout = wire.LAYOUT[record.TYPE][1]
        for number, (field, label) in enumerate(zip(layout, wire.NAMES[record.TYPE], strict=True)):
            for edge, value in enumerate(get_boundary_values(field)):
                raw = _with_field(record.TYPE, signed.body, number, value)
                yield f"{name} {label} {edge}", "decode", {"wire": raw.hex()}
        values = cbor.decode(signed.body)
        if isinstance(values, tuple):
            for label, changed in (("short", values[:-1]), ("long", (*values, 0))):
                raw = cbor.encode((record.TYPE, wire.VERSION, cbor.encode(changed), ()))
                yield f"{name} {label} of a field", "decode", {"wire": raw.hex()}
    yield from _envelope_cases(town)


def _envelope_cases(town: Town) -> Cases:
    signed = town.deposit(0)
    body, signatures = signed.body, signed.signatures
    kind = signed.record.TYPE
    envelopes: Sequence[tuple[str, cbor.Value]] = (
        ("unknown type", (0, 1, body, signatures)),
        ("type beyond the last", (max(wire.LAYOUT) + 1, 1, body, signatures)),
        ("type wider than u8", (256 + kind, 1, body, signatures)),
        ("negative type", (-1, 1, body, signatures)),
        ("version 0", (kind, 0, body, signatures)),
        ("version 2", (kind, 2, body, signatures)),
        ("no signatures", (kind, 1, body)),
        ("five items", (kind, 1, body, signatures, 0)),
        ("body as array", (kind, 1, cbor.decode(body), signatures)),
        ("body with bytes after its end", (kind, 1, body + b"\0", signatures)),
        ("empty body", (kind, 1, b"", signatures)),
        ("short signature", (kind, 1, body, (bytes(63),))),
        ("long signature", (kind, 1, body, (bytes(65),))),
        ("65 signatures", (kind, 1, body, (bytes(64),) * 65)),
        ("signature as integer", (kind, 1, body, (0,))),
        ("no array", 0),
    )
    for name, envelope in envelopes:
        yield f"envelope: {name}", "decode", {"wire": cbor.encode(envelope).hex()}
    yield "envelope: nothing", "decode", {"wire": ""}
    yield "envelope: cut short", "decode", {"wire": signed.wire[:-1].hex()}
    yield "envelope: a byte too many", "decode", {"wire": (signed.wire + b"\0").hex()}


WIRE = Suite(
    "wire",
    "Envelopes decoded field by field, or refused; record_id is that of the bytes in any case.",
    {"decode": _decode_wire},
    _wire_cases,
)


def _reception(given: dict[str, Any]) -> Json:
    return wire.pack_reception(Reception(**{**given, "tag": bytes.fromhex(given["tag"])})).hex()


def _signed_by(given: dict[str, Any]) -> Json:
    seed, network_id, body = (bytes.fromhex(given[n]) for n in ("seed", "network_id", "body"))
    return {
        "key": keys.public_key(seed).hex(),
        "message": keys.signed_message(given["name"], network_id, body).hex(),
        "signature": keys.sign(seed, given["name"], network_id, body).hex(),
    }


def _verified(given: dict[str, Any]) -> Json:
    key, network_id, body, signature = (
        bytes.fromhex(given[name]) for name in ("key", "network_id", "body", "signature")
    )
    return keys.verify(key, given["name"], network_id, body, signature)


def _signing_cases() -> Cases:
    draw = Draws("signing")
    for number in range(8):
        yield f"reception {number}", "pack_reception", {
            "heard": draw.between(0, (1 << 32) - 1),
            "sequence": draw.between(0, 255),
            "flags": draw.between(0, 1),
            "rssi_cdbm": draw.between(-(1 << 15), (1 << 15) - 1),
            "frequency_mhz": draw.between(0, (1 << 16) - 1),
            "tag": draw.octets(4).hex(),
        }
    for name in ("registration", "epoch", "receipt", "beacon", "request-cap", "intake-promise"):
        seed, network_id, body = draw.octets(32), draw.octets(32), draw.octets(50)
        signing = {"network_id": network_id.hex(), "body": body.hex(), "name": name}
        yield f"sign {name}", "sign", {"seed": seed.hex(), **signing}
        key, good = keys.public_key(seed), keys.sign(seed, name, network_id, body)
        broken = bytes([good[0] ^ 1]) + good[1:]
        yield f"verify {name}", "verify", {"key": key.hex(), "signature": good.hex(), **signing}
        yield f"refuse {name}", "verify", {"key": key.hex(), "signature": broken.hex(), **signing}


SIGNING = Suite(
    "signing",
    "Receptions packed; signatures made and verified over domain-tagged messages.",
    {"pack_reception": _reception, "sign": _signed_by, "verify": _verified},
    _signing_cases,
)
