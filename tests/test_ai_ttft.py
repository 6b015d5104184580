"""The time to first token, learned: by trees where they are worth it, by running quantiles else."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.draws import digest, u32
from chain.records import Refusal
from routing.forecast.table import Tree, TreeTable
from routing.forecast.ttft import (
    BUCKETS,
    EVIDENCE,
    FEATURES,
    KEEP_ROWS,
    LEARN_EVERY,
    LEAST_ROWS,
    Judge,
    Outcome,
    TtftLog,
    TtftModel,
    bucket_of,
)
from routing.forecast.ttft_training import TOO_FEW, train_ttft
from routing.io_service import RoutingService, RoutingSettings
from routing.placement import Placer
from routing.router import Router
from routing.types import AiRequest, Path, Placement, ProviderState

KNOWN = len(FEATURES) - 1


def uniform(*what: int) -> float:
    return int.from_bytes(digest("ttft-test", *(u32(n) for n in what))[:8]) / 2**64


def outcome(number: int) -> Outcome:
    """A machine whose first token takes four times what is expected when its batch is large."""
    batch, bucket = uniform(number, 1) * 40, int(uniform(number, 2) * BUCKETS)
    features = [float(bucket)] + [uniform(number, 10 + n) for n in range(KNOWN)]
    features[FEATURES.index("running")] = batch
    expected = 200_000 + round(800_000 * uniform(number, 3))
    ratio = (4.0 if batch > 20 else 1.0) * (0.8 + 0.4 * uniform(number, 4))
    return Outcome(tuple(features), expected, (expected, expected), round(expected * ratio))


def constant(value: float) -> TreeTable:
    return TreeTable([Tree((), (value,))], len(FEATURES))


def flat_model(median: float, high: float) -> TtftModel:
    return TtftModel(constant(math.log2(median)), constant(math.log2(high)))


# --- models --------------------------------------------------------------------------------------


def test_trees_learn_what_the_formula_cannot_know_and_cover_nine_in_ten() -> None:
    model = train_ttft([outcome(n) for n in range(1_500)])
    assert isinstance(model, TtftModel)
    errors, plain, below = 0.0, 0.0, 0
    fresh = [outcome(n) for n in range(2_000, 2_600)]
    for row in fresh:
        said = model.ratios(row.features[1:])
        assert said is not None
        median, high = (row.expected_us * part[int(row.features[0])] // 1_000 for part in said)
        errors += abs(row.measured_us - median)
        plain += abs(row.measured_us - row.expected_us)
        below += row.measured_us <= high
    assert errors < plain / 4
    assert 0.84 < below / len(fresh) < 0.96


def test_the_same_outcomes_give_the_same_trees() -> None:
    rows = [outcome(n) for n in range(LEAST_ROWS)]
    one, two = train_ttft(rows), train_ttft(rows)
    assert isinstance(one, TtftModel)
    assert isinstance(two, TtftModel)
    assert one.high.to_bytes() == two.high.to_bytes()
    assert train_ttft(rows[1:]) == TOO_FEW


def test_a_broken_model_says_nothing_rather_than_nonsense() -> None:
    for odd in (math.nan, math.inf):
        assert TtftModel(constant(0.0), constant(odd)).ratios([0.0] * KNOWN) is None
    low, high = flat_model(1e-9, 1e9).ratios([0.0] * KNOWN) or ((), ())
    assert set(low) == {62}
    assert set(high) == {16_000}


@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30))
def test_longer_prompts_are_in_no_smaller_bucket(one: int, two: int) -> None:
    low, high = sorted((one, two))
    assert 0 <= bucket_of(low) <= bucket_of(high) < BUCKETS


def test_the_log_keeps_the_newest() -> None:
    log = TtftLog(3)
    rows = [outcome(n) for n in range(5)]
    for row in rows:
        log.add(row)
    assert (log.rows(), log.total) == (rows[2:], 5)
    assert KEEP_ROWS >= LEARN_EVERY


# --- who is believed -----------------------------------------------------------------------------


def test_a_model_is_scored_before_it_is_believed_and_loses_belief_when_it_goes_bad() -> None:
    judge = Judge()
    for number in range(EVIDENCE):
        assert judge.believes == (False, False)
        judge.settle((1_000, 1_200), (500, 600), 1_000 + number % 7)
    assert judge.believes == (True, True)
    bad = 0
    while any(judge.believes):
        judge.settle((100, 100), (1_000, 1_100), 1_000)
        bad += 1
    assert bad < 60


@dataclass
class Shop:
    """One gateway before two machines; what a first token really takes is `truth` of expected."""

    placer: Placer
    truth: Sequence[float]
    now_ms: int = 0

    def refresh(self) -> None:
        self.now_ms += 1_000
        states = [
            ProviderState(i, ("m",), 0, 0, 40, 0, 0, 10, 32, 0, 2_000, 99_999) for i in (1, 2)
        ]
        self.placer.refresh([(s, Path((0, s.hotspot), 5_000, "", "")) for s in states], self.now_ms)

    def ask(self, number: int, goal_us: int = 0) -> Placement:
        self.refresh()
        request = AiRequest(0, "m", 1_000 + number % 50, 100, 0, goal_us)
        placed = self.placer.place(request, self.now_ms)
        assert isinstance(placed, Placement)
        truth = self.truth[placed.provider - 1] * (0.9 + 0.2 * uniform(number))
        expected = self.placer._sent[placed.ticket].expected_us
        self.placer.began(placed.ticket, round(expected * truth))
        self.placer.ended(placed.ticket, 2_000_000)
        return placed


def test_what_a_model_says_is_used_once_it_proved_right_and_undone_without_it() -> None:
    shop = Shop(Placer(), (1.0, 1.0))
    before = shop.ask(0).expected_ttft_us
    shop.placer.use_model(flat_model(1.0, 1.1))
    assert shop.placer.believes == (False, False)
    for number in range(3 * EVIDENCE):
        shop.ask(number)
    assert any(shop.placer.believes)
    shop.placer.use_model(None)
    assert shop.placer.believes == (False, False)
    assert shop.ask(0).expected_ttft_us == pytest.approx(before, rel=0.5)


@pytest.mark.parametrize("model", [flat_model(16.0, 16.0), flat_model(0.07, 0.07), None])
def test_a_bad_model_changes_no_choice(model: TtftModel | None) -> None:
    nan = TtftModel(constant(math.nan), constant(math.nan))
    plain, poisoned = Shop(Placer(), (1.0, 2.0)), Shop(Placer(), (1.0, 2.0))
    poisoned.placer.use_model(model or nan)
    chosen = [
        [shop.ask(number, 2_000_000).provider for number in range(150)]
        for shop in (plain, poisoned)
    ]
    assert chosen[0] == chosen[1]
    assert poisoned.placer.believes == (False, False)


def test_placements_say_what_they_expected_so_that_it_can_be_scored() -> None:
    shop = Shop(Placer(), (1.0, 1.0))
    placed = shop.ask(1)
    row = shop.placer.log.rows()[-1]
    assert row.said_us[0] == placed.expected_ttft_us <= row.said_us[1]
    assert len(row.features) == len(FEATURES)
    assert row.features[0] == bucket_of(1_001)


# --- in a gateway --------------------------------------------------------------------------------


def test_a_gateway_learns_beside_its_work_and_says_so(tmp_path) -> None:
    said: list[str] = []
    service = RoutingService(RoutingSettings(), tmp_path, said.append)
    router: Router = service.router
    for number in range(LEAST_ROWS + LEARN_EVERY):
        router.placer.log.add(outcome(number))
    status = service.status(0)["ttft"]
    assert isinstance(status, dict)
    assert status["learned_of"] == 0
    for second in range(6_000):
        service.tick(1_000 * second, ())
        if service.status(0)["ttft"]["learned_of"]:
            break
        time.sleep(0.02)
    status = service.status(0)["ttft"]
    assert status == {
        "can_learn": True,
        "requests": LEAST_ROWS + LEARN_EVERY,
        "learned_of": LEAST_ROWS + LEARN_EVERY,
        "median_by_model": False,  # it has yet to prove itself
        "p90_by_model": False,
    }
    service.close(0)
    assert said == []


def test_training_that_fails_is_said_once_and_costs_nothing(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import routing.io_service as module

    def broken(_rows: Sequence[Outcome]) -> TtftModel | Refusal:
        raise RuntimeError("no memory")

    monkeypatch.setattr(module, "_learn_ttft", broken)
    said: list[str] = []
    service = RoutingService(RoutingSettings(), tmp_path, said.append)
    for number in range(LEAST_ROWS + LEARN_EVERY):
        service.router.placer.log.add(outcome(number))
    for second in range(3_000):
        service.tick(1_000 * second, ())
        time.sleep(0.001 if said else 0.01)
        if second > 250 and said:
            break
    assert len(said) == 1
    assert "no memory" in said[0]
    assert service.status(0)["ttft"]["can_learn"] is False
    service.close(0)
