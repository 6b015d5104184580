"""Runs of what newer sets of rules changed, and of how a network comes by them."""

from __future__ import annotations

from dataclasses import replace

from chain.records import Activation, Reception, Signed
from chain.vectors.runs import make_runs
from chain.vectors.scenarios import resign
from chain.vectors.town import OPERATORS_01, PLACES, Town


def deaf_to(witness: int, beaconer: int, heard: list[Reception]) -> list[Reception]:
    """What hotspot 2 reports if it hears nothing of hotspot 0."""
    return [r for r in heard if (witness, r.heard) != (2, beaconer)]


def run_one_way(town: Town, first: int, last: int) -> None:
    """Epochs in which 0 hears 2, but 2 doesn't hear 0."""
    for epoch in range(first, last + 1):
        town.run_epoch(epoch, lambda witness, heard: deaf_to(witness, 0, heard))
    town.run(last + 1, last + 1)


def activation(town: Town, rules: int, from_epoch: int) -> Signed:
    """A newer set of rules, signed by two operators."""
    return town.seal(Activation(rules, from_epoch, (0, 1)), *OPERATORS_01)


def activations(town: Town) -> None:
    """By the first rules both ways must be heard in one epoch; then operators name an epoch."""
    town.join()
    town.run(2, 3)
    run_one_way(town, 4, 5)
    town.submit(town.message(3, 3, commit=bytes(32)))  # fork
    first = town.epoch + 2
    town.submit(activation(town, 1, first))  # unknown_rules: they bind already
    town.submit(activation(town, 9, first))  # unknown_rules: of the future
    town.submit(activation(town, 2, first - 1))  # wrong_epoch: too soon
    span = town.ledger.params.appointment_epochs_max
    town.submit(activation(town, 2, town.epoch + span + 1))  # wrong_epoch: too far ahead
    good = activation(town, 2, first)
    town.submit(resign(good, *good.signatures[::-1]))  # bad_signature
    town.submit(good)
    town.submit(good)  # already
    town.run(town.epoch, first)
    run_one_way(town, first + 1, first + 3)  # counts: it heard back lately
    town.go_to(town.epoch + 1)


def one_way(town: Town) -> None:
    """Who was heard lately counts as heard back for so many epochs, and no longer."""
    town.join()
    town.run(2, 3)
    run_one_way(town, 4, 4 + town.ledger.params.mutual_epochs)
    town.submit(town.registration(2, height_m=11))  # what was heard of the one before is void
    bound = town.epoch + 2
    town.run(town.epoch, bound - 1)
    run_one_way(town, bound, bound + 1)


def moves(town: Town) -> None:
    """A hotspot asserts another cell: its trust stays behind until its new neighbours hear it."""
    town.join()
    every = town.ledger.params.settlement_epochs
    town.run(2, 4)
    town.go_to(every)
    town.run(every, every + 1)
    cell, latitude, longitude = PLACES[5]
    place = {"latitude_udeg": latitude, "longitude_udeg": longitude}
    town.submit(town.registration(1, cell=cell, **place))
    town.submit(town.registration(2, height_m=12))  # no move
    bound = town.epoch + 2
    town.run(town.epoch, bound - 1)
    town.place_of[1] = PLACES[5]
    town.run(bound, bound + 1)
    town.go_to((town.epoch // every + 1) * every)
    town.run(town.epoch, town.epoch + 1)


def loud(town: Town) -> None:
    """Hotspot 1 is heard 15 dB better than it hears: it counts as weak as it says it is."""

    def boosted(_: int, heard: list[Reception]) -> list[Reception]:
        return [replace(r, rssi_cdbm=r.rssi_cdbm + 1_500 * (r.heard == 1)) for r in heard]

    town.join()
    first = town.ledger.params.settlement_epochs
    town.run(2, 4)
    town.go_to(first)
    for epoch in range(first, first + 3):
        town.run_epoch(epoch, boosted)
    town.go_to(2 * first)


def offline(town: Town) -> None:
    """A hotspot is back after more than a day: it delivers in order, for the map."""
    town.join()
    town.run(2, 3)
    back = 3 + town.ledger.params.late_epochs + 20
    town.go_to(back)
    town.hear(back)
    town.submit(town.message(1, back))
    town.submit(town.message(1, 10))  # late
    town.submit(town.message(1, 10))  # already
    town.submit(town.message(1, 10, commit=bytes(32)))  # too_late: one came
    town.submit(town.message(1, 9))  # too_late: a later one came
    town.submit(town.message(1, 3, commit=bytes(32)))  # too_late: one came in time
    town.submit(town.message(1, 12), town.message(1, back - 2), town.message(2, 4))  # late
    town.go_to(back + 1)


def unforgotten(town: Town) -> None:
    """By the first rules nothing is taken that is more than `late_epochs` old."""
    town.join()
    town.run(2, 3)
    back = 3 + town.ledger.params.late_epochs + 20
    town.go_to(back)
    town.submit(town.message(1, back), town.message(1, 10))  # wrong_epoch
    town.go_to(back + 1)


NEW = ("minimal", "mainnet")
RULES = make_runs(
    "rules",
    "Ledgers under older and newer sets of rules, and from one to the other.",
    [
        *(("minimal:1", activations), ("mainnet:1", activations), ("mainnet:1", unforgotten)),
        *((preset, run) for preset in NEW for run in (one_way, moves, offline, loud)),
        ("minimal:1", loud),
        ("minimal:1", moves),
    ],
)
