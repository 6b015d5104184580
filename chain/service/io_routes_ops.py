"""Handlers for whoever runs the service: health, metrics, and the API's own document."""

from __future__ import annotations

import asyncio

from aiohttp import web

from chain.io_metrics import Family, by_label, gauge, get_file_bytes, render
from chain.service import views
from chain.service.api import EXPOSITION, get_api_document
from chain.service.io_call import Answer, Call, Handler, Service
from chain.store.tables import TABLES


async def get_health(call: Call) -> Answer:
    """Whether the ledger saves what it is given."""
    engine = call.service.engine
    return {
        "status": "fault" if engine.fault else "ok",
        "fault": engine.fault,
        "epoch": call.state.epoch,
        "records": call.durable.ledger.head.record_count,
        "waiting": engine.waiting,
    }


async def get_metrics(call: Call) -> Answer:
    """Metrics in Prometheus' text format."""
    families = [*get_state_families(call.service), *call.service.metrics.families()]
    if call.service.promiser is not None:
        overdue = call.service.promiser.count_overdue()
        text = "Promises past their deadline without an answer."
        families.append(gauge("wavecomb_promises_overdue", text, overdue))
    families += get_checkpoint_families(call.service)
    size = await asyncio.to_thread(get_file_bytes, call.store.path)
    families.append(gauge("wavecomb_database_bytes", "Size of the database on disk.", size))
    return web.Response(body=render(families).encode(), headers={"Content-Type": EXPOSITION})


def get_checkpoint_families(service: Service) -> list[Family]:
    """The newest checkpoint and who signed it."""
    publisher = service.publisher
    if publisher is None:
        return []
    return [
        gauge("wavecomb_checkpoint_records", "Records under the checkpoint.", publisher.size),
        gauge(
            "wavecomb_checkpoint_cosignatures", "Cosignatures on it that came.", publisher.cosigned
        ),
        gauge("wavecomb_checkpoint_witnesses", "Witnesses asked.", len(publisher.witnesses)),
        gauge("wavecomb_checkpoint_age_seconds", "Since it was signed.", publisher.age_s),
    ]


def get_state_families(service: Service) -> list[Family]:
    """What the ledger is now, as gauges."""
    ledger, engine = service.durable.ledger, service.engine
    state, stats = ledger.state, views.stats_json(ledger)
    supply = {name.removesuffix("_ucr"): int(value) for name, value in stats["supply"].items()}
    return [
        gauge("wavecomb_up", "1 while the ledger saves what it is given.", int(not engine.fault)),
        gauge("wavecomb_blocks", "Blocks so far.", ledger.head.height + 1),
        gauge("wavecomb_epoch", "The current epoch.", state.epoch),
        gauge("wavecomb_settlements", "Settlements so far.", state.settlement),
        gauge("wavecomb_log_records", "Records in the log.", ledger.head.record_count),
        gauge("wavecomb_block_time_seconds", "Time of the newest block.", state.time_ms // 1000),
        gauge("wavecomb_queue_records", "Records waiting for an answer.", engine.waiting),
        gauge("wavecomb_sessions_open", "Sessions with escrow.", len(state.sessions)),
        by_label(
            *("wavecomb_supply_ucr", "gauge", "Terms of the supply, in micro-credits."),
            "term",
            supply,
        ),
        gauge("wavecomb_claims_open", "Relays' claims not settled yet.", len(state.claims)),
        gauge("wavecomb_bounties_open", "Cells with a bounty.", len(state.bounties)),
        gauge("wavecomb_hotspots", "Hotspots ever registered.", len(state.hotspots)),
        by_label(
            *("wavecomb_state_rows", "gauge", "Rows of the live state."),
            "table",
            {table.name: table.count(state) for table in TABLES.values()},
        ),
        by_label(
            *("wavecomb_state_bytes", "gauge", "Bytes of the live state, at the epoch's start."),
            "table",
            ledger.state_bytes(),
        ),
        by_label(
            *("wavecomb_paid_ucr_total", "counter", "Credits paid, in micro-credits."),
            "kind",
            stats["paid_ucr"],
        ),
        by_label(
            *("wavecomb_verdicts_total", "counter", "Verdicts on receptions."),
            "reason",
            stats["verdicts"],
        ),
    ]


async def get_openapi(_: Call) -> Answer:
    """The OpenAPI document."""
    return get_api_document()


HANDLERS: dict[str, Handler] = {
    "get_health": get_health,
    "get_metrics": get_metrics,
    "get_openapi": get_openapi,
}
