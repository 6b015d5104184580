"""A key on paper: 32 bytes as four rows of sixteen characters that catch, and mend, a slip. Pure.

    row = 8 bytes of the seed ‖ 1 byte of its own check ‖ 1 byte of the whole seed's check

The alphabet has no I, L, O and U, so that what is written by hand reads in one way; capitals don't
matter, O reads as 0, I and L as 1. A row's own check covers which key it is (hotspot or owner), the
row's number and the row: it names the rows that were misread. The four bytes of the whole seed's
check vouch for the rest: where one character is wrong, or two neighbours are swapped, a mended
phrase has to satisfy both, and a wrong key comes out less than once in a hundred million slips.

BIP 39 words were weighed: they'd put a list of 2,048 words on every router, and they say that
something is wrong, not where.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from chain.records import Refusal

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
SEED_BYTES, ROWS, ROW_CHARACTERS, GROUP = 32, 4, 16, 4
_ROW_BYTES, _CHECK_BYTES = SEED_BYTES // ROWS, 2
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1"})
_IGNORED = set(" \t\r\n-.,:;|")


def make_phrase(seed: bytes, kind: str) -> list[str]:
    """Four rows for a seed of 32 bytes; `kind` is `hotspot` or `owner`. ValueError otherwise."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"seed: {len(seed)} bytes instead of {SEED_BYTES}")
    whole = _whole_check(seed, kind)
    rows = []
    for number in range(ROWS):
        part = seed[number * _ROW_BYTES : (number + 1) * _ROW_BYTES]
        text = _encode(part + _row_check(part, kind, number) + whole[number : number + 1])
        rows.append(_grouped(text))
    return rows


def read_phrase(text: str, kind: str) -> tuple[bytes, str] | Refusal:
    """(seed, what was mended: empty if nothing) from what somebody typed; a refusal names why."""
    letters = "".join(c for c in text.upper() if c not in _IGNORED).translate(_READ_AS)
    strange = sorted({c for c in letters if c not in ALPHABET})
    if strange:
        names = " ".join(strange)
        return Refusal("bad_letter", f"phrase: {names} never stands in one; read it again")
    if len(letters) != ROWS * ROW_CHARACTERS:
        wanted = f"{ROWS} rows of {ROW_CHARACTERS} characters"
        return Refusal("bad_length", f"phrase: {len(letters)} characters; it has {wanted}")
    seed = _seed_of(letters, kind)
    if seed is not None:
        return seed, ""
    return _mend(letters, kind)


def _mend(letters: str, kind: str) -> tuple[bytes, str] | Refusal:
    other = "owner" if kind == "hotspot" else "hotspot"
    if _seed_of(letters, other) is not None:
        return Refusal("other_key", f"phrase: this is the {other}'s key; restore it as that")
    bad = _bad_rows(letters, kind)
    if len(bad) > 1:
        names = " and ".join(str(row + 1) for row in bad)
        return Refusal("bad_row", f"phrase: rows {names} were misread; read them again")
    for row in bad or range(ROWS):
        start = row * ROW_CHARACTERS
        old = letters[start : start + ROW_CHARACTERS]
        for changed in _slips(old):
            meant = letters[:start] + changed + letters[start + ROW_CHARACTERS :]
            if (seed := _seed_of(meant, kind)) is not None:
                return seed, f"row {row + 1}: read {_grouped(old)} as {_grouped(changed)}"
    said = f"row {bad[0] + 1}" if bad else "the phrase"
    return Refusal("bad_row", f"phrase: {said} has more than one slip; read it again")


def _slips(row: str) -> Iterator[str]:
    """Every row that one wrong character, or two swapped neighbours, would turn into this one."""
    for at in range(ROW_CHARACTERS):
        for letter in ALPHABET:
            if letter != row[at]:
                yield row[:at] + letter + row[at + 1 :]
    for at in range(ROW_CHARACTERS - 1):
        if row[at] != row[at + 1]:
            yield row[:at] + row[at + 1] + row[at] + row[at + 2 :]


def _grouped(row: str) -> str:
    return " ".join(row[i : i + GROUP] for i in range(0, ROW_CHARACTERS, GROUP))


def _bad_rows(letters: str, kind: str) -> list[int]:
    """Rows that their own check contradicts."""
    bad = []
    for number in range(ROWS):
        data = _decode(letters[number * ROW_CHARACTERS : (number + 1) * ROW_CHARACTERS])
        if data[_ROW_BYTES : _ROW_BYTES + 1] != _row_check(data[:_ROW_BYTES], kind, number):
            bad.append(number)
    return bad


def _seed_of(letters: str, kind: str) -> bytes | None:
    """The seed, if every check holds."""
    starts = range(0, ROWS * ROW_CHARACTERS, ROW_CHARACTERS)
    rows = [_decode(letters[i : i + ROW_CHARACTERS]) for i in starts]
    seed = b"".join(row[:_ROW_BYTES] for row in rows)
    if b"".join(row[-1:] for row in rows) != _whole_check(seed, kind):
        return None
    return None if _bad_rows(letters, kind) else seed


def _row_check(row: bytes, kind: str, number: int) -> bytes:
    return sha256(_tag(kind) + bytes((number,)) + row).digest()[:1]


def _whole_check(seed: bytes, kind: str) -> bytes:
    return sha256(_tag(kind) + seed).digest()[:ROWS]


def _tag(kind: str) -> bytes:
    return f"wavecomb:phrase:v1:{kind}\n".encode()


def _encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    places = range(ROW_CHARACTERS - 1, -1, -1)
    return "".join(ALPHABET[number >> 5 * place & 31] for place in places)


def _decode(row: str) -> bytes:
    number = 0
    for letter in row:
        number = number << 5 | ALPHABET.index(letter)
    return number.to_bytes(_ROW_BYTES + _CHECK_BYTES, "big")
