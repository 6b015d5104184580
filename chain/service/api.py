"""The ledger's HTTP API as one table: the service routes by it, OpenAPI documents it."""

from __future__ import annotations

from typing import Any

from chain.openapi import (
    Parameter,
    Route,
    get_document,
    get_hash,
    get_integer,
    get_text,
)
from chain.service import api_schemas as schemas

VERSION = "1"
MAX_RECORDS_PER_REQUEST = 1_000
MAX_PAGE = 1_000
NOTE = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"
EXPOSITION = "text/plain; version=0.0.4"  # of Prometheus

MAX_KEYS = 64


def parse_keys(text: str) -> tuple[bytes, ...] | None:
    """Keys from hexadecimal digits with commas between; None for anything else."""
    words = text.split(",")
    if len(words) > MAX_KEYS or any(len(word) != 64 for word in words):
        return None
    try:
        return tuple(bytes.fromhex(word) for word in words)
    except ValueError:
        return None


KEYS = Parameter(
    *("keys", parse_keys, None),
    {"type": "string", "pattern": "^[0-9a-fA-F]{64}(,[0-9a-fA-F]{64}){0,63}$"},
    text=f"only these, at most {MAX_KEYS} keys with commas between",
)
FROM = get_integer("from", "number of the first one", default=0)
LIMIT = get_integer("limit", "most of them in one answer", 1, MAX_PAGE, default=100)
EPOCH = get_integer("epoch", "number of an epoch")
INDEX = get_integer("index", "dense index that the ledger gave")
KEY = get_hash("key", "an account's key, 64 hexadecimal digits")
RECORD_ID = get_hash("id", "a record's id, 64 hexadecimal digits")
HOTSPOT_ID = Parameter(
    *("id", lambda said: said, None, {"type": "string", "pattern": "^([0-9]+|[0-9a-fA-F]{64})$"}),
    text="a hotspot's index or key",
    required=True,
)
WHY_ID = get_text("id", "HOTSPOT:EPOCH:SEQUENCE, hotspot index or key, record id, or account key")
LOG_PATH = get_text("path", "as a static host of the log has it: tile/0/000, ...", spans=True)
OLD = get_integer("old", "size of the older tree, from 1")
NEW = Parameter(
    *("new", OLD.parse, None, {"type": "integer", "minimum": 1}, "size of the newer; the whole log")
)

PROMISE = Parameter(
    *("promise", {"1": True}.get, False, {"type": "integer", "enum": [1]}),
    text="1: answer 202 at once with signed promises (as Prefer: respond-async does)",
)

COVERAGE = Parameter(
    *("coverage", {"1": True}.get, False, {"type": "integer", "enum": [1]}),
    text="1: of a hotspot also its rank and share in each cell that hears it",
)

ROUTES: tuple[Route, ...] = (
    Route(
        *("POST", "/v1/records", "post_records", "Submit records; answered when they are durable"),
        (PROMISE,),
        schemas.RESULTS,
        also={202: schemas.PROMISES},
        body=schemas.SUBMISSION,
        errors=(408, 413, 429, 503),
    ),
    Route(
        *("GET", "/v1/records", "get_records", "A page of the log"),
        (FROM, LIMIT),
        schemas.RECORDS,
    ),
    Route(
        *("GET", "/v1/records/{id}", "get_record", "One record with its inclusion proof"),
        (RECORD_ID,),
        schemas.RECORD,
    ),
    Route(
        *("GET", "/v1/promises/{id}", "get_promise", "What became of a promised record"),
        (RECORD_ID,),
        schemas.FATE,
    ),
    Route(
        *("GET", "/v1/consistency", "get_consistency", "Proof that one tree extends another"),
        (OLD, NEW),
        schemas.CONSISTENCY,
    ),
    Route("GET", "/v1/head", "get_head", "Where the ledger stands", (), schemas.HEAD),
    Route("GET", "/v1/genesis", "get_genesis", "The genesis record", (), schemas.GENESIS),
    Route("GET", "/v1/mix/{epoch}", "get_mix", "R of an epoch", (EPOCH,), schemas.MIX),
    Route(
        *("GET", "/v1/hotspots", "get_hotspots", "Hotspots by index, from one on, or by keys"),
        (FROM, KEYS),
        schemas.HOTSPOTS,
    ),
    Route(
        *("GET", "/v1/hotspots/{id}", "get_hotspot", "One hotspot by index or key"),
        (HOTSPOT_ID,),
        schemas.HOTSPOT,
    ),
    Route(
        *("GET", "/v1/accounts/{key}", "get_account", "What an owner holds; zeros if unknown"),
        (KEY,),
        schemas.ACCOUNT,
    ),
    Route(
        *("GET", "/v1/sessions/{index}", "get_session", "An open session and what was claimed"),
        (INDEX,),
        schemas.SESSION,
    ),
    Route(
        *("GET", "/v1/verdicts", "get_verdicts", "Every reception of an epoch, judged"),
        (EPOCH,),
        schemas.VERDICTS,
        errors=(410,),
    ),
    Route(
        *("GET", "/v1/beacons", "get_beacons", "Every beacon of an epoch, judged"),
        (EPOCH,),
        schemas.BEACONS,
    ),
    Route(
        *("GET", "/v1/payments", "get_payments", "Payments, oldest first"),
        (FROM, LIMIT),
        schemas.PAYMENTS,
    ),
    Route(
        *("GET", "/v1/explain/{id}", "get_explain", "Why something was or wasn't paid"),
        (WHY_ID, COVERAGE),
        schemas.EXPLANATION,
        errors=(410,),
    ),
    Route(
        *("GET", "/v1/claims", "get_claims", "Relays' claims that are still open"),
        answer=schemas.CLAIMS,
    ),
    Route("GET", "/v1/claims/{index}", "get_claim", "One open claim", (INDEX,), schemas.CLAIM),
    Route(
        *("GET", "/v1/bounties", "get_bounties", "Bounties that still hold something"),
        answer=schemas.BOUNTIES,
    ),
    Route(
        *("GET", "/v1/appointments", "get_appointments", "Who holds which role, and why"),
        answer=schemas.APPOINTMENTS,
    ),
    Route(
        *("GET", "/v1/findings", "get_findings", "Frauds that were proven, faults of validators"),
        answer=schemas.FINDINGS,
    ),
    Route(
        *("GET", "/v1/holds", "get_holds", "Findings that hold pay back, and how others ended"),
        answer=schemas.HOLDS,
    ),
    Route(
        *("GET", "/v1/checkpoint", "get_checkpoint", "The newest signed checkpoint, a C2SP note"),
        answer={"type": "string"},
        media=NOTE,
        errors=(404,),
    ),
    Route(
        *("GET", "/v1/checkpoints", "get_checkpoints", "The newest closes, and who cosigned them"),
        answer=schemas.CHECKPOINTS,
    ),
    Route(
        *("GET", "/v1/proof/hotspot/{id}", "get_hotspot_proof", "Proof of a hotspot's reward"),
        (HOTSPOT_ID,),
        schemas.REWARD_PROOF,
        errors=(503,),
    ),
    Route(
        *("GET", "/v1/proof/account/{key}", "get_account_proof", "Proof of an account's balance"),
        (KEY,),
        schemas.REWARD_PROOF,
        errors=(503,),
    ),
    Route(
        *("GET", "/log/{path}", "get_log", "The log's files: checkpoint, tiles, records, balances"),
        (LOG_PATH,),
        {"type": "string", "format": "binary"},
        media=OCTETS,
    ),
    Route("GET", "/v1/stats", "get_stats", "Totals since the start", (), schemas.STATS),
    Route("GET", "/v1/health", "get_health", "Whether the ledger saves", (), schemas.HEALTH),
    Route("GET", "/metrics", "get_metrics", "Metrics for Prometheus", media=EXPOSITION),
    Route("GET", "/openapi.json", "get_openapi", "This document"),
)


def get_api_document() -> dict[str, Any]:
    """The OpenAPI document of the ledger's service."""
    return get_document(
        ROUTES,
        title="Wavecomb ledger",
        version=VERSION,
        description="Signed records in, answers and proofs out. Keys, ids and hashes are "
        "hexadecimal, money is micro-credits, positions are micro-degrees.",
    )
