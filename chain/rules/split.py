"""Sharing an amount exactly: largest remainders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Split(NamedTuple):
    """Shares that add up to the amount; `dust_ucr` of them went to the largest remainders."""

    shares: tuple[int, ...]
    dust_ucr: int


def compute_split(amount: int, weights: Sequence[int]) -> Split:
    """Split an amount by weights; ties of remainders go to the earlier. ValueError for no weight.

    Everybody gets the floor of its exact share; the units left over, fewer than there are weights,
    go one each to the largest remainders.
    """
    total = sum(weights)
    if amount < 0 or total <= 0 or min(weights) < 0:
        raise ValueError(
            "a split needs an amount and weights that are not negative, and one above 0"
        )
    shares = [amount * weight // total for weight in weights]
    dust = amount - sum(shares)
    if dust:
        remainders = [amount * weight % total for weight in weights]
        largest = sorted(range(len(shares)), key=remainders.__getitem__, reverse=True)
        for position in largest[:dust]:
            shares[position] += 1
    return Split(tuple(shares), dust)
