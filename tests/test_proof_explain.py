"""Explanations in words: every rule has a sentence for both outcomes, with its numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chain_helpers import Town

from chain.explain import explain_beacon, explain_receptions
from chain.explain_words import SILENT, WORDS
from chain.io_explain import explain
from chain.records import Reception
from chain.rules.verdicts import LINK_RULES, PAIR_RULES, SIGNAL_RULES
from chain.store.io_store import Store

LIES: dict[str, dict[str, object]] = {
    "wrong_tag": {"tag": b"oops"},
    "malformed": {"flags": 4},
    "wrong_frequency": {"frequency_mhz": 2_412},
    "rssi_too_high": {"rssi_cdbm": -1_000},
    "rssi_too_low": {"rssi_cdbm": -20_000},
    "unknown_beaconer": {"heard": 99},
}


def make_town(changes: dict[str, object]) -> Town:
    """A town in which hotspot 1 lies about the first reception of epoch 3."""
    town = Town(4)
    town.join()

    def edit(witness: int, heard: list[Reception]) -> list[Reception]:
        first = [replace(heard[0], **changes)] if witness == 1 else heard[:1]  # type: ignore[arg-type]
        return first + heard[1:]

    town.run_epoch(2)
    town.run_epoch(3, edit)
    town.run_epoch(4)
    town.ledger.tick(town.time_ms(5))
    return town


def test_every_rule_has_its_words() -> None:
    """Neither more nor less."""
    names = {name for name, _ in (*PAIR_RULES, *SIGNAL_RULES, *LINK_RULES)}
    assert WORDS.keys() == names | {"report"}


@pytest.mark.parametrize("reason", LIES)
def test_a_refusal_is_told_in_a_sentence(reason: str) -> None:
    """The last rule is the one that decided; all before it passed, in words of their own."""
    town = make_town(LIES[reason])
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    found = [
        item
        for item in explain_receptions(judgement, lambda case: case.witness == 1)
        if item["verdict"] == reason
    ]
    assert len(found) == 1
    *passed, failed = found[0]["rules"]
    assert failed["rule"] == reason
    assert failed["words"].endswith(".")
    assert all(rule["words"].endswith(".") and "{" not in rule["words"] for rule in passed)


def test_margins_are_in_the_words() -> None:
    """How far a reception was from being refused."""
    town = make_town({})
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    rules = {
        rule["rule"]: rule for rule in explain_beacon(judgement, 0, 0)["receptions"][0]["rules"]
    }
    assert str(rules["rssi_too_high"]["margin"]) in rules["rssi_too_high"]["words"]
    assert str(rules["too_close"]["inputs"]["distance_m"]) in rules["too_close"]["words"]


def test_a_driver_without_strengths_is_told_so() -> None:
    """The two rules of strength are left out, not passed by luck."""
    town = make_town({"flags": 1, "rssi_cdbm": 0})
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    item = next(explain_receptions(judgement, lambda case: case.witness == 1))
    words = {rule["rule"]: rule["words"] for rule in item["rules"]}
    assert words["rssi_too_high"] == words["rssi_too_low"] == SILENT


def test_a_hotspot_is_told_how_its_power_steps_stand(tmp_path: Path) -> None:
    """From the database: sums, what is needed, and what follows."""
    store = Store.create(str(tmp_path / "ledger.db"))
    town = Town(4, "testbed", on_block=lambda sealed: store.append([sealed]))
    town.join()
    town.run(2, 6)
    told = explain(store, "1")["power_steps"]
    hotspot = town.ledger.state.hotspots[1]
    store.close()
    assert hotspot.spread_db2 > 0
    assert told == {
        "slope_db2": hotspot.slope_db2,
        "spread_db2": hotspot.spread_db2,
        "needed_db2": town.params.slope_spread_min_db2,
        "as": "abstains",
    }
