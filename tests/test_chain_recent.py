"""The ids that a ledger keeps at hand: the newest ones, whatever else came."""

from __future__ import annotations

import pytest

from chain.rules.outcome import ALREADY

from .chain_helpers import Town


def test_only_the_newest_ids_stay_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.ledger.RECENT_IDS", 3)
    town = Town(1)
    deposits = [town.deposit(0, 1, b"d%d" % i) for i in range(5)]
    for deposit in deposits:
        (result,) = town.ledger.submit([deposit.wire], town.start_ms)
        assert result.accepted
        (again,) = town.ledger.submit([deposit.wire], town.start_ms)  # moves nothing
        assert (again.accepted, again.reason) == (True, ALREADY)
    known = [town.ledger.lookup(d.record_id) is not None for d in deposits]
    assert known == [False, False, True, True, True]
