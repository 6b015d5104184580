"""What came of one attack, in the form in which it is printed and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one attack. None where a figure has no meaning for it.

    `tpr`, `fpr`: share of liars and of honest hotspots that are accused by auditors at the end, or
    that the rules never paid anything. `leaked_share`: of proof-of-coverage pay, what went to liars
    where settlements leave out whom auditors accuse; `leaked_share_rules`: by consensus rules
    alone, which know no auditors. `honest_loss`: what honest hotspots got less than with the rules
    off and without attackers. Where nobody pretends to be elsewhere, all three compare with the
    same hotspots being honest. `attacker_return`: gain on what was bonded or spent. `refused`:
    records or receptions of the attack by reason; `refused_share` of all that it tried.
    """

    name: str
    kind: str
    summary: str
    share: float
    tpr: float | None = None
    fpr: float | None = None
    epochs_to_detect: int | None = None
    leaked_share: float | None = None
    leaked_share_rules: float | None = None
    honest_loss: float | None = None
    attacker_return: float | None = None
    refused_share: float | None = None
    refused: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


# The figures of which a worst is taken, and whether larger is worse.
WORST = {
    "tpr": False, "fpr": True, "epochs_to_detect": True, "leaked_share": True,
    "leaked_share_rules": True, "honest_loss": True, "attacker_return": True,
}


def get_worst(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Over the presence attacks, each figure's worst and whose it is; None was never found."""
    presence = [outcome for outcome in outcomes if outcome.kind == "presence"]
    worst: dict[str, Any] = {}
    for figure, larger in WORST.items():
        known = [(getattr(o, figure), o.name) for o in presence]
        missing = [name for value, name in known if value is None]
        if figure == "epochs_to_detect" and missing:
            worst[figure] = {"value": None, "attack": missing[0]}
            continue
        values = [(value, name) for value, name in known if value is not None]
        if values:
            value, name = max(values) if larger else min(values)
            worst[figure] = {"value": value, "attack": name}
    return worst
