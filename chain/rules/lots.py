"""What the lots of an epoch were drawn by: said in every explanation, since it matters."""

from __future__ import annotations

from typing import NamedTuple

OUTPUTS, FALLBACK, MIX = "outputs", "fallback", "mix"


class Lots(NamedTuple):
    """`by` OUTPUTS of a majority of cosigners, or the mix alone.

    FALLBACK where cosigners were appointed and too few showed theirs, MIX where there were none.
    `shown` of `cosigners` outputs: over the close of the epoch after, or, if too few had shown
    theirs over the close of the epoch itself, over that.
    """

    by: str = MIX
    shown: int = 0
    cosigners: int = 0

    @property
    def words(self) -> str:
        """For people."""
        if self.by == OUTPUTS:
            return (
                f"Random outputs of {self.shown} of {self.cosigners} cosigners drew the lots:"
                " nobody could foresee or choose them."
            )
        if self.by == FALLBACK:
            return (
                f"Only {self.shown} of {self.cosigners} cosigners showed random outputs, no"
                " majority, so the mix of all secrets drew the lots alone: whoever showed the last"
                " secret chose between two draws."
            )
        return (
            "No cosigners are appointed, so the mix of all secrets drew the lots: whoever showed"
            " the last secret chose between two draws."
        )


def compute_lots(first: tuple[int, int], second: tuple[int, int]) -> Lots:
    """By what lots are drawn, from (outputs shown, cosigners) over two closes, one after another.

    The first is that of the epoch itself: a majority there makes its lots wait for the second.
    """
    for shown, cosigners in (first, second):
        if 2 * shown <= cosigners:
            return Lots(FALLBACK if cosigners else MIX, shown, cosigners)
    return Lots(OUTPUTS, *second)
