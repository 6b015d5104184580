"""Runs of what makes coverage worth something: bounties, and mappers who pass by."""

from __future__ import annotations

from dataclasses import replace

from chain import draws, wire
from chain.records import Bounty, MapperCommit, MapperReport, Reception, Signed
from chain.rules.mappers import compute_mapper_pair
from chain.vectors.runs import make_runs
from chain.vectors.scenarios import resign
from chain.vectors.town import FREQUENCY_MHZ, RES_8_CELL, RES_9_CELL, Town

FAR_CELL = 0x881F9DDAD9FFFFF  # resolution 8, around place 9


def bounties(town: Town) -> None:
    """Sponsors pay for coverage of cells; what nobody earns comes back."""
    town.join()
    sponsor = town.owner(0)
    until = 2 * town.ledger.params.settlement_epochs
    good = Bounty(sponsor, (RES_8_CELL,), 6_000_000, 2_000_000, until, 1)

    def submit(**changes: object) -> None:
        record = replace(good, **changes)  # type: ignore[arg-type]
        town.submit(town.seal(record, ("owner", 0)))

    submit(amount_ucr=1, per_settlement_ucr=1)  # under_minimum
    submit(per_settlement_ucr=6_000_001)  # over_cap
    submit(until_epoch=town.epoch)  # wrong_epoch
    submit(until_epoch=town.epoch + town.ledger.params.bounty_epochs_max + 1)  # wrong_epoch
    submit(amount_ucr=10**12)  # insufficient_balance
    town.submit(town.seal(good, ("owner", 1)))  # bad_signature
    submit()
    submit()  # already
    submit(amount_ucr=7_000_000)  # stale_nonce
    submit(nonce=2, cells=tuple(sorted((RES_8_CELL, FAR_CELL))), until_epoch=until - 1)
    town.run(2, 5)
    town.go_to(until)
    town.go_to(2 * until)  # what was left returned


def observe(town: Town, epoch: int, beaconers: tuple[int, ...], cell: int) -> bytes:
    """What a phone in a cell hears, half-way between the bounds."""
    heard = []
    for number in beaconers:
        secret, mix = town.secret(number, epoch), town.ledger.mix(epoch)
        if mix is None:
            raise ValueError(f"the mix of epoch {epoch} is not known")
        pair = compute_mapper_pair(town.ledger.params, cell, town.assertion(number))
        rssi = (pair.rssi_low_cdbm + pair.rssi_high_cdbm) // 2
        rssi -= 100 * draws.power_step_db(secret, mix, 0)
        tag = draws.tag_of(draws.answer(secret, epoch, 0))
        heard.append(Reception(number, 0, 0, rssi, FREQUENCY_MHZ, tag))
    return b"".join(sorted(map(wire.pack_reception, heard)))


def map_commit(town: Town, number: int, epoch: int, report: bytes, cell: int) -> Signed:
    """A mapper's commit under its one-time key."""
    key = town.key("mapper", number)
    commit = draws.mapper_commit(key, epoch, bytes(16), cell, report)
    return town.seal(MapperCommit(key, epoch, commit), ("mapper", number))


def map_report(town: Town, number: int, epoch: int, report: bytes, cell: int) -> Signed:
    """The report that the commit binds."""
    record = MapperReport(town.key("mapper", number), epoch, cell, bytes(16), report)
    return town.seal(record, ("mapper", number))


def mappers(town: Town) -> None:
    """People who pass by commit to what they heard, show it, and are paid if others agree."""
    town.join()
    town.submit(town.opening(0, 1))
    town.run(2, 4)
    town.submit(town.claim(town.receipt(0, 1, 0, 1, 5 << 20)))
    cell = RES_9_CELL
    town.run_epoch(5)
    seen = [observe(town, 5, ids, cell) for ids in ((0, 1, 2), (1, 2), (3,))]
    good = map_commit(town, 0, 5, seen[0], cell)
    town.submit(map_commit(town, 0, 4, seen[0], cell))  # wrong_epoch
    town.submit(resign(good), resign(good, bytes(64)))  # bad_signature
    town.submit(good)
    town.submit(good)  # already
    town.submit(map_commit(town, 0, 5, seen[1], cell))  # duplicate
    town.submit(*(map_commit(town, n, 5, seen[n], cell) for n in (1, 2)))
    town.submit(map_commit(town, 3, 5, seen[0], cell))
    shown = map_report(town, 0, 5, seen[0], cell)
    town.submit(shown)  # wrong_epoch: too soon
    town.run_epoch(6)
    town.submit(map_report(town, 7, 5, seen[0], cell))  # no_commit
    town.submit(map_report(town, 0, 5, seen[1], cell))  # commit_mismatch
    town.submit(resign(shown, bytes(64)))  # bad_signature
    town.submit(shown)
    town.submit(shown)  # already
    town.submit(map_report(town, 1, 5, seen[1], cell))
    town.run(7, 8)
    town.submit(map_report(town, 2, 5, seen[2], cell))  # late: for the map only
    town.submit(map_report(town, 3, 5 + 99, seen[0], cell))  # wrong_epoch
    every = town.ledger.params.settlement_epochs
    for count in (1, 2, 8):
        town.go_to(every * count + (0 if every > 6 else 6))


def crowd(town: Town) -> None:
    """Lies of mappers, one kind each: their receptions get their verdicts."""
    town.join()
    town.run(2, 3)
    town.run_epoch(4)
    good = wire.unpack_receptions(observe(town, 4, (0, 1), RES_9_CELL))
    changes: tuple[dict[str, object], ...] = (
        {"tag": b"liar"}, {"sequence": 9}, {"frequency_mhz": 5_180}, {"rssi_cdbm": 0},
        {"rssi_cdbm": -32_000}, {"heard": 77}, {"flags": 1, "rssi_cdbm": 0},
    )  # fmt: skip
    reports = [
        b"".join(sorted(wire.pack_reception(replace(r, **change)) for r in good))  # type: ignore[arg-type]
        for change in changes
    ]
    reports.append(b"".join(sorted(wire.pack_reception(good[0]) for _ in range(2))))
    town.submit(*(map_commit(town, n, 4, r, RES_9_CELL) for n, r in enumerate(reports)))
    town.run_epoch(5)
    town.submit(*(map_report(town, n, 4, r, RES_9_CELL) for n, r in enumerate(reports)))
    town.run(6, 7)
    town.go_to(town.ledger.params.settlement_epochs * 2)


BOTH = ("minimal", "mainnet")
CELLS = make_runs(
    "cells",
    "Ledgers with bounties, and with mappers whose reports are committed, shown, judged and paid.",
    [(preset, run) for preset in BOTH for run in (bounties, mappers, crowd)],
)
