"""Lots drawn with the cosigners' random outputs: when they wait, what draws them."""

from __future__ import annotations

from chain import draws
from chain.ledger import Ledger
from chain.rules.randomness import get_lots, get_outputs, is_awaited
from chain.state import State
from chain.vectors.runs import play, record
from chain.vectors.scenarios_admission import _cosigner, randomness
from chain.vectors.town import Town


def make_town(cosigners: int = 3) -> Town:
    """A town with cosigners from epoch 2 on."""
    town = Town("random", preset="mainnet")
    town.join()
    town.submit(*(_cosigner(town, number) for number in range(cosigners)))
    return town


def run(town: Town, last: int, shown: dict[int, tuple[int, ...]]) -> None:
    """Epochs to the last, which stays open; `shown`: by epoch, which cosigners answer in it."""
    for epoch in range(max(2, town.epoch), last + 1):
        town.run_epoch(epoch)
        given = [randomness(town, epoch - 1, number) for number in shown.get(epoch, ())]
        assert all(result.accepted for result in town.submit(*given))


def judged(town: Town) -> list[int]:
    """Epochs whose verdicts are known."""
    return [epoch for epoch in range(town.epoch) if town.ledger.verdicts(epoch)]


def test_without_outputs_lots_fall_at_once() -> None:
    """Cosigners that show nothing change nothing."""
    town = make_town()
    run(town, 6, {})
    assert judged(town) == [1, 2, 3, 4]
    assert get_lots(town.ledger.state, 4) == town.ledger.state.mixes[6]


def test_a_majority_makes_the_lots_wait_and_draws_them() -> None:
    """Lots of e wait for the outputs over the close of e+1, and are drawn with them."""
    town = make_town()
    run(town, 5, dict.fromkeys(range(3, 6), (0, 1, 2)))
    state = town.ledger.state
    assert is_awaited(state, 4)
    assert {epoch for epoch, _ in state.waiting} == {3}
    assert judged(town) == [1, 2]
    town.run_epoch(6)
    town.go_to(6)
    outputs = get_outputs(state, 4)
    assert len(outputs) == 3
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    assert judgement.mix_after == draws.lots(state.mixes[5], outputs) != state.mixes[5]
    assert len(judgement.reports) == town.count
    assert judgement.commits.keys() == judgement.reports.keys()


def test_no_reception_is_lost_or_judged_twice() -> None:
    """Whenever cosigners come and go, every epoch is judged once, with the same verdicts."""
    ways: tuple[dict[int, tuple[int, ...]], ...] = (
        {},
        dict.fromkeys(range(3, 20), (0, 1, 2)),
        {3: (0, 1), 5: (0, 2), 6: (1,), 8: (0, 1, 2), 9: (2, 1)},
    )
    totals = []
    for shown in ways:
        town = make_town()
        found: list[int] = []
        town.ledger.on_block = lambda sealed, found=found: found.extend(  # type: ignore[misc]
            judgement.epoch for judgement in sealed.effects.verdicts
        )
        run(town, 12, shown)
        town.go_to(13)
        town.go_to(14)
        assert found == list(range(1, 12))
        assert not town.ledger.state.waiting
        totals.append(town.ledger.state.stats["verdict_counted"])
    assert len(set(totals)) == 1


def test_less_than_a_majority_falls_back_to_the_mix() -> None:
    """Two of three answered for epoch 3; over its next close only one does: the mix draws."""
    town = make_town()
    run(town, 5, {4: (0, 1), 5: (2,)})
    state = town.ledger.state
    assert get_outputs(state, 4) == []
    assert is_awaited(state, 3)
    town.go_to(6)
    judgement = town.ledger.verdicts(3)
    assert judgement is not None
    assert judgement.mix_after == state.mixes[5]


def test_more_outputs_draw_other_lots() -> None:
    """Every output that came counts, in the order of the keys and not of arrival."""
    seeds = []
    for order in ((0, 1, 2), (2, 1, 0), (0, 1)):
        town = make_town()
        run(town, 5, {4: (0, 1, 2), 5: order})
        seeds.append(get_lots(town.ledger.state, 3))
    assert seeds[0] == seeds[1] != seeds[2]


def test_outputs_are_forgotten() -> None:
    """After the epochs that may need them."""
    town = make_town()
    run(town, 16, dict.fromkeys(range(3, 7), (0, 1, 2)))
    assert all(epoch >= town.epoch - 8 for epoch, _ in town.ledger.state.outputs)
    town.wait_for(20)
    assert not town.ledger.state.outputs


def test_a_run_with_outputs_plays_again() -> None:
    """From its wires alone, on a fresh ledger, to the same end."""
    town = make_town()
    run(town, 8, dict.fromkeys(range(3, 9), (0, 1, 2)))
    again = play(record(town))
    assert again["steps"][-1]["block"]["state_root"] == town.ledger.head.state_root.hex()


def test_a_restart_in_between_changes_nothing() -> None:
    """What waits is in the state: a copy of it goes on to the same head."""
    town = make_town()
    run(town, 5, dict.fromkeys(range(3, 6), (0, 1, 2)))
    ledger = town.ledger
    copied: State = ledger.state.copy()
    other = Ledger.resume(copied, ledger.head, copied.log)
    for each in (ledger, other):
        each.tick(town.time_ms(7))
    assert ledger.state.waiting == other.state.waiting == {}
    assert ledger.state.stats == other.state.stats
