"""Payments in the order in which they were made; those of a large settlement stay columns.

A day of a million hotspots makes eight million payments. As tuples they are a gigabyte and ten
seconds; as columns 130 MB, and each becomes a `Payment` when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

NO_HOTSPOT = -1
NOBODY = bytes(32)  # the account of lines that nobody got: kept back, or returned to a cell


class Payment(NamedTuple):
    """Credits that moved at a claim or a settlement: to whom, for what, and whose burn paid for it.

    `source` is the account whose burn or bounty it is (empty for the bootstrap); `cell` 0 where
    none is concerned, `hotspot` NO_HOTSPOT where no hotspot earned it, `account` NOBODY for what a
    hold keeps back (chain/rules/held.py).
    """

    epoch: int
    kind: str
    account: bytes
    hotspot: int
    cell: int
    amount_ucr: int
    source: bytes


class Payments(Sequence[Payment]):
    """A list of payments that takes over other sequences of them as they are.

    What `extend` was given must not change any more.
    """

    __slots__ = ("_parts", "_single")
    __hash__ = None  # type: ignore[assignment]  # it changes

    def __init__(self, payments: Iterable[Payment] = ()) -> None:
        self._single: list[Payment] = [*payments]  # the newest part, which still grows
        self._parts: list[Sequence[Payment]] = [self._single]

    def append(self, payment: Payment) -> None:
        """Add one."""
        self._single.append(payment)

    def extend(self, payments: Sequence[Payment]) -> None:
        """Add several; one of this class gives its parts."""
        parts = payments._parts if isinstance(payments, Payments) else (payments,)
        self._single = []
        self._parts += [*(part for part in parts if len(part)), self._single]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Payment]:
        for part in self._parts:
            yield from part

    @overload
    def __getitem__(self, index: int) -> Payment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Payment]: ...

    def __getitem__(self, index: int | slice) -> Payment | list[Payment]:
        if isinstance(index, slice):
            return [*self][index]
        left = index + len(self) if index < 0 else index
        for part in self._parts:
            if 0 <= left < len(part):
                return part[left]
            left -= len(part)
        raise IndexError(f"there is no payment {index} among {len(self)}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Payments | list):
            return NotImplemented
        return [*self] == [*other]

    def __repr__(self) -> str:
        return f"Payments({[*self]!r})"
