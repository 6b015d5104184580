"""Deterministic CBOR (RFC 8949, 4.2.1), the part that records use: integers, strings, arrays.

A record has one encoding. The decoder therefore refuses every other form of the same value (longer
integers, indefinite lengths, tags, maps, floats), so that a hash of bytes is a hash of meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

Value = int | bytes | str | Sequence["Value"]

MAX_DEPTH = 8
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY = 0x00, 0x20, 0x40, 0x60, 0x80
_U64 = (1 << 64) - 1


class CborError(ValueError):
    """The bytes are not the one canonical encoding of a value that records may hold."""


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x1_0000:
        return bytes((major | 25,)) + argument.to_bytes(2, "big")
    if argument < 0x1_0000_0000:
        return bytes((major | 26,)) + argument.to_bytes(4, "big")
    if argument <= _U64:
        return bytes((major | 27,)) + argument.to_bytes(8, "big")
    raise CborError("integer wider than 64 bits")


def encode(value: Value) -> bytes:
    """The canonical bytes of a value; CborError for a type or width that records don't use."""
    parts: list[bytes] = []
    _append(value, parts)
    return b"".join(parts)


def _append(value: Value, parts: list[bytes]) -> None:
    if isinstance(value, bool):
        raise CborError("booleans are not used; write 0 or 1")
    if isinstance(value, int):
        parts.append(_head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value))
    elif isinstance(value, bytes):
        parts += (_head(_BYTES, len(value)), value)
    elif isinstance(value, str):
        text = value.encode()
        parts += (_head(_TEXT, len(text)), text)
    elif isinstance(value, (list, tuple)):
        parts.append(_head(_ARRAY, len(value)))
        for item in value:
            _append(item, parts)
    else:
        raise CborError(f"{type(value).__name__} has no encoding here")


def decode(data: bytes) -> Value:
    """The value of canonical bytes (arrays become tuples); raises CborError for anything else."""
    value, end = _item(data, 0, 0)
    if end != len(data):
        raise CborError(f"{len(data) - end} bytes after the end")
    return value


def _argument(data: bytes, at: int) -> tuple[int, int]:
    """Argument of the item head at `at`, and where the content starts."""
    low = data[at] & 0x1F
    if low < 24:
        return low, at + 1
    if low > 27:
        raise CborError(f"byte {at}: indefinite or reserved length")
    end = at + 1 + (1 << (low - 24))
    if end > len(data):
        raise CborError(f"byte {at}: truncated")
    argument = int.from_bytes(data[at + 1 : end], "big")
    if argument < (24, 0x100, 0x1_0000, 0x1_0000_0000)[low - 24]:
        raise CborError(f"byte {at}: not the shortest form")
    return argument, end


def _item(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if at >= len(data):
        raise CborError(f"byte {at}: truncated")
    if depth > MAX_DEPTH:
        raise CborError(f"byte {at}: nested deeper than {MAX_DEPTH}")
    major = data[at] & 0xE0
    argument, start = _argument(data, at)
    if major == _UNSIGNED:
        return argument, start
    if major == _NEGATIVE:
        return -1 - argument, start
    if major == _ARRAY:
        return _items(data, argument, start, depth)
    if major not in (_BYTES, _TEXT):
        raise CborError(f"byte {at}: maps, tags, floats and simple values are not used")
    return _string(data, major, start, start + argument)


def _string(data: bytes, major: int, start: int, end: int) -> tuple[Value, int]:
    if end > len(data):
        raise CborError(f"byte {start}: truncated")
    raw = data[start:end]
    if major == _BYTES:
        return raw, end
    try:
        return raw.decode(), end
    except UnicodeDecodeError as error:
        raise CborError(f"byte {start}: not UTF-8") from error


def _items(data: bytes, count: int, at: int, depth: int) -> tuple[Value, int]:
    if count > len(data) - at:  # every item takes a byte at least: refuse before allocating
        raise CborError(f"byte {at}: truncated")
    items: list[Value] = []
    for _ in range(count):
        item, at = _item(data, at, depth + 1)
        items.append(item)
    return tuple(items), at
