"""What the ledger's HTTP answers look like, as JSON Schemas; chain/service/api.py says where."""

from __future__ import annotations

from typing import Any

from chain.openapi import (
    BASE64,
    BOOLEAN,
    COUNT,
    HASH,
    HEX,
    INTEGER,
    STRING,
    Schema,
    get_array,
    get_map,
    get_nullable,
    get_object,
)

CELL: Schema = {"type": "string", "pattern": "^[0-9a-f]{15}$", "description": "H3 cell"}
UCR: Schema = {"type": "integer", "minimum": 0, "description": "micro-credits"}
PATH: Schema = get_array(HASH)


def _merge(*objects: dict[str, Any]) -> dict[str, Any]:
    """One object schema with the members of several."""
    return get_object(**{k: v for part in objects for k, v in part["properties"].items()})


HEADER = get_object(
    height=COUNT,
    time_ms=COUNT,
    record_count=COUNT,
    log_root=HASH,
    state_root=HASH,
    previous=HASH,
    hash=HASH,
)
HEAD = _merge(
    HEADER,
    get_object(
        network_id=HASH,
        preset=STRING,
        rules=COUNT,
        start_ms=COUNT,
        epoch_ms=COUNT,
        epoch=COUNT,
        epoch_start_ms=COUNT,
        mix=HASH,
        settlement=COUNT,
        fault={"type": "string", "description": "what keeps the ledger from saving, if anything"},
    ),
)
GENESIS = get_object(
    network_id=HASH,
    network=STRING,
    preset=STRING,
    start_ms=COUNT,
    operators=get_array(HASH),
    threshold=COUNT,
    seeds=get_array(HASH),
    wire=BASE64,
)
MIX = get_object(epoch=COUNT, mix=HASH)

SUBMISSION = get_object(records=get_array(BASE64, maxItems=1_000))
RESULT = get_object(
    record_id=HASH, accepted=BOOLEAN, index=get_nullable(COUNT), reason=STRING, detail=STRING
)
RESULTS = get_object(results=get_array(RESULT))
PROMISE = get_object(
    network_id=HASH,
    record_id=HASH,
    received_ms=COUNT,
    deadline_epoch=COUNT,
    key=HASH,
    signature={"type": "string", "pattern": "^[0-9a-f]{128}$"},
)
FATE = get_object(
    record_id=HASH,
    received_ms=COUNT,
    deadline_epoch=COUNT,
    reason={"type": "string", "description": "the ledger's answer; empty while it waits"},
    detail=STRING,
)
PROMISES = get_object(promises=get_array(PROMISE))

LOGGED = get_object(
    seq=COUNT,
    block=COUNT,
    epoch=COUNT,
    time_ms=COUNT,
    id=HASH,
    wire=get_nullable(BASE64),
    result=get_object(accepted=BOOLEAN, index=get_nullable(COUNT), reason=STRING),
)
RECORDS = get_object(records=get_array(LOGGED), next=COUNT)
PROOF = get_object(leaf_index=COUNT, tree_size=COUNT, root=HASH, path=PATH)
RECORD = _merge(LOGGED, get_object(proof=PROOF))
CONSISTENCY = get_object(old=COUNT, new=COUNT, old_root=HASH, new_root=HASH, path=PATH)

HOTSPOT = get_object(
    index=COUNT,
    key=HASH,
    owner=HASH,
    cell=CELL,
    latitude_udeg=INTEGER,
    longitude_udeg=INTEGER,
    height_m=COUNT,
    gain_cdb=INTEGER,
    eirp_cdbm=INTEGER,
    frequency_mhz=COUNT,
    flags=COUNT,
    bind_epoch=COUNT,
    first_epoch=COUNT,
    chain_length=COUNT,
    last_epoch=get_nullable(COUNT),
    trust_ppm=COUNT,
    bond_ucr=UCR,
    earned_ucr=UCR,
    slashed={"type": "boolean"},
    ends_epoch=get_nullable(COUNT),
    bond_returns_epoch=get_nullable(COUNT),
    rotation=get_nullable(
        get_object(id=HASH, new_key=HASH, from_epoch=COUNT, by={"enum": ["keys", "owner"]})
    ),
    former_keys=get_array(get_object(key=HASH, until_epoch=COUNT)),
    hold=get_nullable(
        get_object(
            id=HASH, test=STRING, opened_epoch=COUNT, expiry_epoch=COUNT, pay_ucr=UCR, words=STRING
        )
    ),
    refuted=get_nullable(
        get_object(id=HASH, test=STRING, ruling=HASH, until_epoch=COUNT, words=STRING)
    ),
)
HOTSPOTS = get_object(hotspots=get_array(HOTSPOT))
ACCOUNT = get_object(
    account=HASH,
    balance_ucr=UCR,
    bonds_ucr=UCR,
    escrow_ucr=UCR,
    hotspots=get_array(COUNT),
    nonce=COUNT,
)
SESSION = get_object(
    index=COUNT,
    payer=COUNT,
    payee=COUNT,
    nonce=COUNT,
    relay_price_ucr=UCR,
    ai_price_ucr=UCR,
    cap_ucr=UCR,
    expiry_epoch=COUNT,
    claimed_ucr=UCR,
    sequence={"type": "integer", "minimum": -1},
    relayed_bytes=COUNT,
    ai_tokens=COUNT,
    ai_requests=COUNT,
    last_hash=HASH,
    claim=get_nullable(
        get_object(
            index=COUNT,
            position=COUNT,
            deadline_epoch=COUNT,
            sequence=COUNT,
            relayed_bytes=COUNT,
            ai_tokens=COUNT,
            ai_requests=COUNT,
        )
    ),
)

CLAIM = get_object(
    index=COUNT,
    relay=COUNT,
    epoch=COUNT,
    accepted_epoch=COUNT,
    deadline_epoch=COUNT,
    root=HASH,
    total_ucr=UCR,
    sessions=COUNT,
    drawn=get_array(COUNT),
    disputed=get_array(COUNT),
    opened=get_array(COUNT),
)
CLAIMS = get_object(claims=get_array(CLAIM))
BOUNTY = get_object(
    cell=CELL,
    number=COUNT,
    sponsor=HASH,
    left_ucr=UCR,
    per_settlement_ucr=UCR,
    until_epoch=COUNT,
)
BOUNTIES = get_object(bounties=get_array(BOUNTY))
MEMBER = get_object(key=HASH, name=STRING, weight=COUNT, until_epoch=COUNT)
ROLE: Schema = {"enum": ["seed", "cosigner", "sequencer", "validator", "operator", "auditor"]}
APPOINTMENTS = get_object(
    epoch=COUNT,
    threshold=COUNT,
    operators=get_array(get_object(number=COUNT, key=HASH, valid=BOOLEAN)),
    holders=get_array(_merge(MEMBER, get_object(role=ROLE))),
    appointments=get_array(
        _merge(
            MEMBER,
            get_object(
                role=ROLE,
                from_epoch=COUNT,
                state={"enum": ["pending", "valid", "revokes", "ended", "replaced"]},
                record_id=HASH,
            ),
        )
    ),
)
FINDING = get_object(
    kind={"enum": ["epoch_fork", "claim_fork", "beacon_fork", "log_fork"]},
    key=HASH,
    subject=get_nullable(COUNT),
    epoch=get_nullable(COUNT),
    found_epoch=COUNT,
    reporter=HASH,
    slashed_ucr=UCR,
    reward_ucr=UCR,
    record_id=HASH,
)
FAULT = get_object(
    validator=HEX, kind=STRING, height=COUNT, epoch=COUNT, time_ms=COUNT, power=COUNT
)
FINDINGS = get_object(findings=get_array(FINDING), faults=get_array(FAULT))
HOLD = get_object(
    id=HASH,
    subject=COUNT,
    test=STRING,
    statistic_centi=INTEGER,
    threshold_centi=INTEGER,
    first_epoch=COUNT,
    last_epoch=COUNT,
    evidence=HASH,
    command={"type": "string", "description": "derives the finding again from a copy"},
    opened_epoch=COUNT,
    appeal_until_epoch=COUNT,
    expiry_epoch=COUNT,
    appealed=BOOLEAN,
    auditors=get_array(HASH),
    confirmed_by={"type": "integer", "description": "auditors that must sign to confirm it"},
    deposit_ucr=UCR,
    pay_ucr=UCR,
    cells=get_map(UCR),
    words=STRING,
)
PAST_HOLD = get_object(
    id=HASH,
    subject=COUNT,
    test=STRING,
    last_epoch=COUNT,
    opened_epoch=COUNT,
    ended_epoch=COUNT,
    outcome={"enum": ["expired", "withdrawn", "overturned", "confirmed", "slashed"]},
    pay_ucr=UCR,
    deposit_ucr=UCR,
    ruling=get_nullable(HASH),
    words=STRING,
)
HOLDS = get_object(
    auditors=COUNT,
    needed=COUNT,
    new_at_most=COUNT,
    open_at_most=COUNT,
    holds=get_array(HOLD),
    past=get_array(PAST_HOLD),
)
CHECKPOINT = get_object(
    epoch=COUNT,
    size=COUNT,
    root=HASH,
    text={"type": "string", "description": "what is signed"},
    cosigned=get_array(MEMBER),
    missing=get_array(MEMBER),
)
CHECKPOINTS = get_object(checkpoints=get_array(CHECKPOINT))
REWARD_PROOF = get_object(
    kind={"enum": ["accounts", "hotspots"]},
    index=COUNT,
    key=HASH,
    issued_ucr=UCR,
    spent_ucr=UCR,
    settlement=COUNT,
    proof={"type": "string", "contentEncoding": "base64", "description": "docs/proofs.md"},
)

POWER = get_nullable(INTEGER)
VERDICT = get_object(
    witness=COUNT,
    beaconer=COUNT,
    sequence=COUNT,
    reason=STRING,
    rssi_cdbm=POWER,
    power_step_cdb=POWER,
    frequency_mhz=COUNT,
    record_id=HASH,
)
VERDICTS = get_object(epoch=COUNT, verdicts=get_array(VERDICT))
BEACON = get_object(
    beaconer=COUNT,
    sequence=COUNT,
    verdict={"enum": ["paid", "aired", "unheard", "unrevealed"]},
    power_step_cdb=POWER,
    counts={"type": "string", "description": "JSON object: verdicts on its receptions; weaker_cdb"},
)
BEACONS = get_object(epoch=COUNT, beacons=get_array(BEACON))
PAYMENT = get_object(
    epoch=COUNT,
    kind=STRING,
    account=HASH,
    hotspot=INTEGER,
    cell={"type": "string", "pattern": "^(0|[0-9a-f]{15})$", "description": "0: of no cell"},
    amount_ucr=UCR,
    source=HEX,
)
PAYMENTS = get_object(payments=get_array(PAYMENT), next=COUNT)
EXPLANATION: Schema = {"type": "object", "required": ["kind"], "properties": {"kind": STRING}}

STATS: Schema = {
    "type": "object",
    "required": ["epoch", "hotspots", "records", "sessions_open", "supply", "verdicts", "paid_ucr"],
    "properties": {
        "epoch": COUNT,
        "hotspots": COUNT,
        "records": COUNT,
        "sessions_open": COUNT,
        "verdicts": get_map(COUNT),
        "paid_ucr": get_map(COUNT),
        "supply": {
            "type": "object",
            "required": ["deposited_ucr", "minted_ucr", "destroyed_ucr", "held_ucr", "conserved"],
            "properties": {"conserved": BOOLEAN},
            "additionalProperties": {"anyOf": [UCR, BOOLEAN]},
        },
    },
}
HEALTH = get_object(
    status={"enum": ["ok", "fault"]},
    fault=STRING,
    epoch=COUNT,
    records=COUNT,
    waiting=COUNT,
)
