"""Vectors of whole ledgers: a genesis and steps in; answers, headers and balances out.

A step is a time and the wires that arrive together at that time. First every epoch that ended until
then is closed; then the wires are processed in order. A block follows if a wire was accepted for
the first time or an epoch was closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from chain import wire
from chain.header import Header
from chain.ledger import Ledger
from chain.params import NEWEST_RULES
from chain.proofs.balances import SPARSE_NAMES
from chain.records import Refusal, SubmitResult
from chain.state import State, compute_holdings
from chain.vectors.suite import Cases, Json, Suite
from chain.vectors.town import Town

Scenario = Callable[[Town], None]


def show_result(result: SubmitResult) -> Json:
    """The answer to a wire; its words for people are not part of the rules."""
    return {
        "record_id": result.record_id.hex(),
        "accepted": result.accepted,
        "reason": result.reason,
        "index": result.index,
    }


def show_header(header: Header) -> Json:
    """A header's fields and its hash."""
    return {
        "height": header.height,
        "epoch": header.epoch,
        "time_ms": header.time_ms,
        "record_count": header.record_count,
        "log_root": header.log_root.hex(),
        "state_root": header.state_root.hex(),
        "hash": header.hash().hex(),
    }


def show_end(state: State) -> Json:
    """What everybody has in the end."""
    supply = state.supply
    return {
        "epoch": state.epoch,
        "settlement": state.settlement,
        "supply": {
            "deposited_ucr": supply.deposited,
            "minted_ucr": supply.minted,
            "destroyed_ucr": supply.destroyed,
            "withdrawn_ucr": supply.withdrawn,
        },
        "held": {k: v for k, v in compute_holdings(state).items() if v or k not in SPARSE_NAMES},
        "balances": show_balances(state),
        "accounts": {
            key.hex(): {"issued_ucr": account.issued_ucr, "spent_ucr": account.spent_ucr}
            for key, account in sorted(state.accounts.items())
        },
        "hotspots": [
            {"key": h.key.hex(), "earned_ucr": h.earned_ucr, "bond_ucr": h.bond_ucr,
             "trust": h.trust}
            for h in state.hotspots
        ],
    }  # fmt: skip


def show_balances(state: State) -> Json:
    """The root of all balances at the newest settlement; null before the first."""
    balances = state.settled.get(state.settlement)
    if balances is None:
        return None
    return {
        "settlement": balances.settlement,
        "root": balances.root.hex(),
        "issued_ucr": balances.issued_ucr,
        "spent_ucr": balances.spent_ucr,
    }


def play(given: dict[str, Any]) -> Json:
    """Run the steps on a fresh ledger."""
    genesis = wire.decode(bytes.fromhex(given["genesis"]))
    if isinstance(genesis, Refusal):
        raise ValueError(genesis.detail)
    ledger = Ledger(genesis)
    first = show_header(ledger.head)
    steps = []
    for step in given["steps"]:
        height = ledger.head.height
        wires, faults = (
            [bytes.fromhex(raw) for raw in step.get(name, ())] for name in ("wires", "faults")
        )
        results = ledger.submit(wires, step["time_ms"], faults)
        block = show_header(ledger.head) if ledger.head.height > height else None
        steps.append({"results": [show_result(result) for result in results], "block": block})
    return {"block_0": first, "steps": steps, "end": show_end(ledger.state)}


def record(town: Town) -> dict[str, Any]:
    """The genesis and steps of a town that was played on."""
    steps = []
    for step in town.steps:
        shown: dict[str, Any] = {"time_ms": step.time_ms, "wires": [w.hex() for w in step.wires]}
        if step.faults:
            shown["faults"] = [fault.hex() for fault in step.faults]
        steps.append(shown)
    return {"genesis": town.genesis.wire.hex(), "steps": steps}


@lru_cache(maxsize=256)
def make_town(name: str, preset: str, scenario: Scenario) -> Town:
    """A town after a scenario was played on it; look at it only.

    `preset` may name a set of rules, as in `mainnet:1`; the newest otherwise.
    """
    preset, _, rules = preset.partition(":")
    title = f"{name}/{scenario.__name__}"
    town = Town(title, preset=preset, rules=int(rules) if rules else NEWEST_RULES)
    scenario(town)
    return town


def make_runs(name: str, about: str, scenarios: Sequence[tuple[str, Scenario]]) -> Suite:
    """A suite of ledger runs: each scenario acts on a town of a preset."""

    def generate() -> Cases:
        for preset, scenario in scenarios:
            title = f"{preset}/{scenario.__name__}"
            yield title, "run", record(make_town(name, preset, scenario))

    return Suite(name, about, {"run": play}, generate)
