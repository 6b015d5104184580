"""Protocol buffers, as much of them as ABCI needs: varints, strings, bytes, nested messages.

A message is a frozen dataclass whose fields name their number and kind; absent fields hold their
default, and a default is not written (proto3). The decoder takes bytes from a socket: it skips
fields that it doesn't know, and raises ProtobufError for everything that no encoder writes.
Encoding rules: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Self

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10
MAX_FIELD_NUMBER = (1 << 29) - 1
_U64 = (1 << 64) - 1
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


class ProtobufError(ValueError):
    """The bytes are not the message that they should be."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a field stands in its message: its number, what it holds, and whether many times."""

    number: int
    kind: str | type[Message]
    many: bool


def integer(number: int) -> Any:
    """A field of type int64 or int32: negative values take ten bytes."""
    return field(default=0, metadata={"slot": Slot(number, "int", False)})


def unsigned(number: int) -> Any:
    """A field of type uint64, uint32, bool or enum."""
    return field(default=0, metadata={"slot": Slot(number, "uint", False)})


def octets(number: int) -> Any:
    """A field of type bytes."""
    return field(default=b"", metadata={"slot": Slot(number, "bytes", False)})


def text(number: int) -> Any:
    """A field of type string."""
    return field(default="", metadata={"slot": Slot(number, "text", False)})


def one(number: int, kind: type[Message]) -> Any:
    """A field that holds a message, or None."""
    return field(default=None, metadata={"slot": Slot(number, kind, False)})


def many(number: int, kind: str | type[Message]) -> Any:
    """A repeated field: "int", "uint", "bytes", "text" or a message; a tuple here."""
    return field(default=(), metadata={"slot": Slot(number, kind, True)})


@dataclass(frozen=True, slots=True)
class Message:
    """The base of all messages; `encode` and `decode` follow the slots of the fields."""

    def encode(self) -> bytes:
        """The message's bytes, fields in ascending order of their place in the class."""
        parts: list[bytes] = []
        for name, slot, default in _slots(type(self)):
            value = getattr(self, name)
            if slot.many:
                for item in value:
                    _append(parts, slot, item)
            elif value != default:
                _append(parts, slot, value)
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The message in these bytes; ProtobufError if they hold none."""
        known = {slot.number: (name, slot) for name, slot, _ in _slots(cls)}
        values: dict[str, Any] = {}
        for number, wire_type, raw in iter_fields(data):
            if number not in known:
                continue
            name, slot = known[number]
            if slot.many:
                values.setdefault(name, []).extend(_items(slot, wire_type, raw))
            elif name in values:
                raise ProtobufError(f"field {number} comes twice")
            else:
                values[name] = _value(slot, wire_type, raw)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


_SLOTS: dict[type[Message], tuple[tuple[str, Slot, object], ...]] = {}


def _slots(cls: type[Message]) -> tuple[tuple[str, Slot, object], ...]:
    if cls not in _SLOTS:
        _SLOTS[cls] = tuple((f.name, f.metadata["slot"], f.default) for f in fields(cls))
    return _SLOTS[cls]


def encode_varint(value: int) -> bytes:
    """A number from 0 to 2^64 - 1, seven bits a byte, lowest first; ValueError for another."""
    if not 0 <= value <= _U64:
        raise ValueError(f"{value} has no varint of 64 bits")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it; ProtobufError if cut off or too long."""
    value = 0
    for position in range(at, min(at + MAX_VARINT_BYTES, len(data))):
        value |= (data[position] & 0x7F) << 7 * (position - at)
        if data[position] < 0x80:
            if value > _U64:
                raise ProtobufError(f"byte {at}: a varint of more than 64 bits")
            return value, position + 1
    raise ProtobufError(f"byte {at}: a varint without end")


def iter_fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Every field as (number, wire type, value or bytes); ProtobufError for a torn message."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if not 0 < number <= MAX_FIELD_NUMBER:
            raise ProtobufError(f"byte {at}: field number {number}")
        raw: int | bytes
        if wire_type == VARINT:
            raw, at = read_varint(data, at)
        else:
            length, at = _length(data, at, wire_type)
            raw, at = data[at : at + length], at + length
        yield number, wire_type, raw


def _length(data: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """How many bytes a field that is no varint takes, and where they start."""
    if wire_type == LENGTH:
        length, at = read_varint(data, at)
    elif wire_type in _FIXED_BYTES:
        length = _FIXED_BYTES[wire_type]
    else:
        raise ProtobufError(f"byte {at}: wire type {wire_type} is not used")
    if length > len(data) - at:
        raise ProtobufError(f"byte {at}: {length} bytes announced, {len(data) - at} left")
    return length, at


def _append(parts: list[bytes], slot: Slot, value: Any) -> None:
    if slot.kind in ("int", "uint"):
        parts.append(encode_varint(slot.number << 3 | VARINT))
        parts.append(encode_varint(value & _U64 if slot.kind == "int" else value))
        return
    if isinstance(value, Message):
        raw = value.encode()
    else:
        raw = value.encode() if isinstance(value, str) else value
    parts += (encode_varint(slot.number << 3 | LENGTH), encode_varint(len(raw)), raw)


def _items(slot: Slot, wire_type: int, raw: int | bytes) -> Iterator[Any]:
    """The values of one occurrence of a repeated field: packed numbers are several."""
    if slot.kind in ("int", "uint") and isinstance(raw, bytes):
        at = 0
        while at < len(raw):
            number, at = read_varint(raw, at)
            yield _value(slot, VARINT, number)
    else:
        yield _value(slot, wire_type, raw)


def _value(slot: Slot, wire_type: int, raw: int | bytes) -> Any:
    if isinstance(raw, int):
        if slot.kind not in ("int", "uint"):
            raise ProtobufError(f"field {slot.number}: a number, not {slot.kind}")
        return raw - (1 << 64) if slot.kind == "int" and raw >> 63 else raw
    if wire_type != LENGTH or slot.kind in ("int", "uint"):
        raise ProtobufError(f"field {slot.number}: wire type {wire_type}")
    if slot.kind == "bytes":
        return raw
    if isinstance(slot.kind, type):
        return slot.kind.decode(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ProtobufError(f"field {slot.number}: not UTF-8") from error
