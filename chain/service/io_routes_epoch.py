"""Handlers of what an epoch brought: verdicts, beacons, payments, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from chain.io_explain import explain, payment_json
from chain.records import Signed
from chain.rules.trust import get_reached
from chain.rules.verdicts import NO_RSSI, REASONS
from chain.service.io_call import Answer, Call, Handler
from chain.store.io_archive import count_pruned, open_with_archive
from chain.wire import decode, unpack_receptions


async def get_verdicts(call: Call) -> Answer:
    """Every reception of an epoch with its verdict."""
    epoch, store = call.values["epoch"], call.store
    sql = (
        "SELECT v.*, r.seq, r.wire FROM verdicts v JOIN records r ON r.id = v.record_id"
        " WHERE epoch = ?"
    )
    steps = {
        (row["beaconer"], row["sequence"]): row["power_step_cdb"]
        for row in store.rows("SELECT * FROM beacons WHERE epoch = ?", (epoch,))
    }
    rows = []
    for row in store.rows(sql, (epoch,)):
        wire = row["wire"] or call.service.archive.find(row["seq"], row["record_id"])
        if wire is None:
            raise call.service.archive.problem()
        rows += _verdicts_of(row, wire, steps)
    return {"epoch": epoch, "verdicts": rows}


def _verdicts_of(
    row: dict[str, Any], wire: bytes, steps: dict[tuple[int, int], int | None]
) -> list[dict[str, Any]]:
    signed = decode(wire)
    assert isinstance(signed, Signed), "the ledger stores what it could decode"
    receptions = unpack_receptions(getattr(signed.record, "report", b""))
    return [
        {
            "witness": row["witness"],
            "beaconer": r.heard,
            "sequence": r.sequence,
            "reason": REASONS[code],
            "rssi_cdbm": None if r.flags & NO_RSSI else r.rssi_cdbm,
            "power_step_cdb": steps.get((r.heard, r.sequence)),
            "frequency_mhz": r.frequency_mhz,
            "record_id": row["record_id"].hex(),
        }
        for code, r in zip(row["codes"], receptions, strict=True)
    ]


async def get_beacons(call: Call) -> Answer:
    """Every beacon of an epoch with what became of it."""
    epoch = call.values["epoch"]
    sql = "SELECT beaconer, sequence, verdict, power_step_cdb, counts FROM beacons WHERE epoch = ?"
    return {"epoch": epoch, "beacons": call.store.rows(sql, (epoch,))}


async def get_payments(call: Call) -> Answer:
    """A page of payments, oldest first; `from` is the number of the first."""
    start = call.values["from"]
    sql = "SELECT * FROM paid WHERE seq >= ? ORDER BY seq LIMIT ?"
    rows = call.store.rows(sql, (start, call.values["limit"]))
    return {"payments": [payment_json(row) for row in rows], "next": start + len(rows)}


async def get_explain(call: Call) -> Answer:
    """Why something was or wasn't paid; what takes long has a thread and a connection of its own.

    That is an old beacon, which is judged again, and what hears a hotspot's coverage.
    """
    durable, identifier = call.durable, call.values["id"]
    parts = identifier.split(":")
    old = len(parts) == 3 and parts[1].isdecimal()
    recent = old and durable.ledger.verdicts(int(parts[1])) is not None
    reached = get_reached(durable.ledger.state) if call.values["coverage"] else None
    if not recent and (old or count_pruned(durable.store) or reached is not None):
        place = (durable.store.path, identifier, call.service.archive.directory, reached)
        return await asyncio.to_thread(_explain_slowly, *place)
    return explain(durable.store, identifier, durable.ledger)


def _explain_slowly(
    path: str, identifier: str, archive: Path | None, reached: int | None
) -> dict[str, Any]:
    with open_with_archive(path, archive) as store:
        return explain(store, identifier, reached=reached)


HANDLERS: dict[str, Handler] = {
    "get_verdicts": get_verdicts,
    "get_beacons": get_beacons,
    "get_payments": get_payments,
    "get_explain": get_explain,
}
