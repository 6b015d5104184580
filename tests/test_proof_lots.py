"""Every explanation says what drew the lots, and flags it where the mix had to do it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.explain import explain_beacon
from chain.io_explain import explain
from chain.io_ledger import DurableLedger
from chain.ledger import Ledger, Sealed
from chain.rules.lots import FALLBACK, MIX, OUTPUTS, Lots, compute_lots
from chain.store.io_store import Store
from chain.vectors.runs import make_town
from chain.vectors.scenarios import coverage
from chain.vectors.scenarios_admission import random_lots
from chain.vectors.town import Town


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0), (0, 0), Lots(MIX, 0, 0)),
        ((0, 3), (3, 3), Lots(FALLBACK, 0, 3)),
        ((1, 3), (3, 3), Lots(FALLBACK, 1, 3)),
        ((2, 4), (4, 4), Lots(FALLBACK, 2, 4)),
        ((2, 3), (1, 3), Lots(FALLBACK, 1, 3)),
        ((2, 3), (0, 0), Lots(MIX, 0, 0)),
        ((2, 3), (3, 3), Lots(OUTPUTS, 3, 3)),
    ],
)
def test_only_a_majority_of_both_epochs_draws(
    first: tuple[int, int], second: tuple[int, int], expected: Lots
) -> None:
    assert compute_lots(first, second) == expected
    assert str(expected.cosigners or "No") in expected.words


def test_explanations_flag_it_in_memory_and_from_the_disk(tmp_path: Path) -> None:
    """Of every epoch that is judged: as the rules drew then, whatever came later."""
    town, told = make_town("lots", "minimal", random_lots), {}

    def note(sealed: Sealed) -> None:
        for judgement in sealed.effects.verdicts:
            told[judgement.epoch] = explain_beacon(judgement, 0, 0)["lots"]
        blocks.append(sealed)

    blocks: list[Sealed] = []
    ledger = Ledger(town.genesis, on_block=note)
    store = Store.create(str(tmp_path / "ledger.db"))
    store.append(blocks)
    durable = DurableLedger(ledger, store)
    ledger.on_block = lambda sealed: (note(sealed), durable._unsaved.append(sealed))  # type: ignore[assignment]
    for step in town.steps:
        durable.submit(list(step.wires), step.time_ms)
    ways = {epoch: lots["by"] for epoch, lots in told.items()}
    assert {OUTPUTS, FALLBACK} <= set(ways.values())
    for epoch in range(2, max(ways) + 1):
        answer = explain(store, f"0:{epoch}:0")
        assert answer["lots"] == told[epoch], epoch
        drawn = [r for case in answer["receptions"] for r in case["rules"]]
        assert {r["inputs"]["drawn_by"] for r in drawn if r["rule"] == "not_drawn"} == {ways[epoch]}
    store.close()


def test_without_cosigners_it_is_the_mix() -> None:
    town: Town = make_town("lots", "minimal", coverage)
    judgement = next(j for e in range(99, 0, -1) if (j := town.ledger.verdicts(e)))
    lots = explain_beacon(judgement, 0, 0)["lots"]
    assert (lots["by"], lots["shown"], lots["cosigners"]) == (MIX, 0, 0)
