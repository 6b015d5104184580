"""An insight: what is wrong or about to be, where, what to do about it, and what that gains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from routing.types import Link

URGENT, IMPORTANT, ADVICE = "urgent", "important", "advice"
_ORDER = {URGENT: 0, IMPORTANT: 1, ADVICE: 2}


@dataclass(frozen=True, slots=True)
class Insight:
    """One finding; `numbers` hold what the words say, units in the names.

    `weight` orders those of one urgency: the share of a radio's time, or probability, at stake.
    """

    kind: str
    urgency: str
    hotspot: int
    link: Link | None
    what: str
    remedy: str
    gain: str
    weight: float
    numbers: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        row = asdict(self)
        row["link"] = list(self.link) if self.link else None
        row["weight"] = round(self.weight, 4)
        row["numbers"] = {name: round(value, 4) for name, value in self.numbers.items()}
        return row


def ranked(insights: Iterable[Insight]) -> list[Insight]:
    """Return the most urgent first, and the weightiest of them."""
    return sorted(insights, key=lambda i: (_ORDER[i.urgency], -i.weight, i.kind, i.hotspot))


def text_of(insights: Iterable[Insight]) -> str:
    """Lay insights out for people."""
    lines = []
    for number, one in enumerate(insights, 1):
        where = f"link {one.link[0]} > {one.link[1]}" if one.link else f"hotspot {one.hotspot}"
        lines += [
            f"{number}. {one.urgency}: {one.kind}, {where}",
            f"   what    {one.what}",
            f"   do      {one.remedy}",
            f"   gain    {one.gain}",
        ]
    return "\n".join(lines)
