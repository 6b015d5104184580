"""What the engine finds in its folder: keys, genesis and settings, as text. Pure.

Formats: CometBFT v0.38.25, config/config.go, types/genesis.go, privval/file.go, p2p/key.go.
Settings that are left out keep the engine's own values.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chain.abci.transactions import MAX_TX_BYTES
from chain.admission import address_of
from chain.keys import public_key
from chain.params import Params
from chain.records import Genesis, Signed

# 64 of the largest transactions: 9,000 epoch messages. A block is shown to the application whole,
# so it must stay well below MAX_FRAME_BYTES.
MAX_BLOCK_BYTES = 4 << 20
# Evidence must come while its validator can still be found: two days, the engine's own default.
EVIDENCE_BLOCKS = 100_000
EVIDENCE_NS = 48 * 3_600 * 1_000_000_000
DEFAULT_POWER = 10
# Rest after a block, in which the last votes and more transactions come in.
COMMIT_MS = 200
# Waiting transactions: 4,096 of 16 kB, a minute of the network's whole load.
MEMPOOL_TXS, MEMPOOL_BYTES = 4_096, 64 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A validator of the first block: Ed25519 key, voting power, name for people."""

    key: bytes
    power: int = DEFAULT_POWER
    name: str = ""


@dataclass(frozen=True, slots=True)
class Sync:
    """Where a new node gets a snapshot: RPC servers, and a block that its owner knows is right."""

    servers: tuple[str, ...]
    height: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How one node runs. Addresses are "tcp://HOST:PORT" or "unix:///PATH"; times in ms.

    `peers` are ID@HOST:PORT. `empty_ms`: a block comes at least this often, so that epochs close.
    `commit_ms`: rest between blocks, in which votes and transactions gather.
    """

    name: str
    abci: str
    rpc: str
    p2p: str
    peers: tuple[str, ...] = ()
    external: str = ""
    exchange_peers: bool = False
    empty_ms: int = 250
    propose_ms: int = 1_000
    vote_ms: int = 500
    commit_ms: int = COMMIT_MS
    log_level: str = "error"
    sync: Sync | None = None


def get_empty_ms(params: Params) -> int:
    """How often a block comes at least, ms.

    A block's time is that of the votes on the block before it, so the ledger learns of the end of
    an epoch two blocks late; both must fit into the lead that hotspots leave before they need the
    new mix, with half of it for their own fetching.
    """
    return max(100, params.mix_lead_ms // 4)


def node_id_of(text: str) -> str:
    """What peers call the node of a node_key.json: its address; ValueError if there is no key."""
    try:
        pair = base64.b64decode(json.loads(text)["priv_key"]["value"], validate=True)
    except (KeyError, TypeError) as error:
        raise ValueError("no node key") from error
    return address_of(pair[32:]).hex()


def key_files(validator_seed: bytes, node_seed: bytes) -> dict[str, str]:
    """The texts of priv_validator_key.json and node_key.json; keep them secret."""
    key = public_key(validator_seed)
    validator = {
        "address": address_of(key).hex().upper(),
        "pub_key": _typed("PubKeyEd25519", key),
        "priv_key": _typed("PrivKeyEd25519", validator_seed + key),
    }
    node = {"priv_key": _typed("PrivKeyEd25519", node_seed + public_key(node_seed))}
    return {"priv_validator_key.json": _text(validator), "node_key.json": _text(node)}


def signing_state_text() -> str:
    """What the engine remembers of its votes before it gave any."""
    return _text({"height": "0", "round": 0, "step": 0})


def validator_key_of(text: str) -> bytes:
    """The public key in a priv_validator_key.json; ValueError if there is none."""
    try:
        key = base64.b64decode(json.loads(text)["pub_key"]["value"], validate=True)
    except (KeyError, TypeError) as error:
        raise ValueError("no validator key") from error
    if len(key) != 32:
        raise ValueError("no Ed25519 key")
    return key


def rfc3339(time_ms: int) -> str:
    """A time as the engine's genesis writes it, exact to the millisecond."""
    moment = datetime.fromtimestamp(time_ms // 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1_000:03d}Z"


def genesis_text(genesis: Signed, members: Sequence[Member]) -> str:
    """The engine's genesis, the same file for every operator; it carries the ledger's genesis.

    The first block's time is the start of epoch 0. ValueError for a record that is no genesis.
    """
    if not isinstance(genesis.record, Genesis):
        raise ValueError(f"a genesis is needed, not a {genesis.record.NAME}")
    return _text(
        {
            "genesis_time": rfc3339(genesis.record.start_ms),
            "chain_id": chain_id(genesis.record_id),
            "initial_height": "1",
            "consensus_params": {
                "block": {"max_bytes": str(MAX_BLOCK_BYTES), "max_gas": "-1"},
                "evidence": {
                    "max_age_num_blocks": str(EVIDENCE_BLOCKS),
                    "max_age_duration": str(EVIDENCE_NS),
                    "max_bytes": str(1 << 20),
                },
                "validator": {"pub_key_types": ["ed25519"]},
                "version": {"app": "1"},
                "abci": {"vote_extensions_enable_height": "0"},
            },
            "validators": [_member(member) for member in members],
            "app_hash": "",
            "app_state": {"genesis": genesis.wire.hex()},
        }
    )


def _member(member: Member) -> dict[str, object]:
    return {
        "address": address_of(member.key).hex().upper(),
        "pub_key": _typed("PubKeyEd25519", member.key),
        "power": str(member.power),
        "name": member.name,
    }


def chain_id(network_id: bytes) -> str:
    """The engine's name of a network; at most 50 characters."""
    return f"wavecomb-{network_id.hex()[:16]}"


def genesis_wire_of(text: str) -> bytes:
    """The ledger's genesis record in an engine's genesis; ValueError if there is none."""
    try:
        return bytes.fromhex(json.loads(text)["app_state"]["genesis"])
    except (KeyError, TypeError) as error:
        raise ValueError("it carries no Wavecomb genesis") from error


def powers_of(text: str) -> dict[bytes, int]:
    """Key and power of each validator in an engine's genesis; ValueError if it names none."""
    try:
        listed = json.loads(text)["validators"]
        return {base64.b64decode(v["pub_key"]["value"]): int(v["power"]) for v in listed}
    except (KeyError, TypeError) as error:
        raise ValueError("it names no validators") from error


def config_text(settings: Settings) -> str:
    """The engine's config.toml: what differs from its own values, and why."""
    return f"""\
# Written by wavecomb at every start; change the options of `wavecomb chain run` instead.
proxy_app = {_quoted(settings.abci)}
abci = "socket"
moniker = {_quoted(settings.name)}
log_level = {_quoted(settings.log_level)}
log_format = "json"

[rpc]
laddr = {_quoted(settings.rpc)}
# A base64 transaction of 64 kB and its frame; the engine's own limit of 1 MB would do too.
max_body_bytes = {4 * MAX_TX_BYTES}

[p2p]
# The engine's own value listens on every address.
laddr = {_quoted(settings.p2p)}
external_address = {_quoted(settings.external)}
persistent_peers = {_quoted(",".join(settings.peers))}
persistent_peers_max_dial_period = "1s"
pex = {_flag(settings.exchange_peers)}
addr_book_strict = false
allow_duplicate_ip = true
# 64 kB transactions and blocks of 4 MB: the engine's own 5 MB/s would be the bottleneck.
send_rate = 51200000
recv_rate = 51200000
flush_throttle_timeout = "10ms"

[mempool]
# Records are checked again when they are executed; asking twice about each costs and saves nothing.
recheck = false
size = {MEMPOOL_TXS}
max_txs_bytes = {MEMPOOL_BYTES}
max_tx_bytes = {MAX_TX_BYTES}
cache_size = {4 * MEMPOOL_TXS}

[consensus]
timeout_propose = "{settings.propose_ms}ms"
timeout_propose_delta = "{settings.propose_ms // 2}ms"
timeout_prevote = "{settings.vote_ms}ms"
timeout_prevote_delta = "{settings.vote_ms // 2}ms"
timeout_precommit = "{settings.vote_ms}ms"
timeout_precommit_delta = "{settings.vote_ms // 2}ms"
timeout_commit = "{settings.commit_ms}ms"
create_empty_blocks = false
create_empty_blocks_interval = "{settings.empty_ms}ms"
# A wrong clock of many validators must not close epochs ahead of their time.
block_time_tolerance = "10s"

[storage]
# What became of a record is in the ledger; the engine needs the newest answers only.
discard_abci_responses = true

[tx_index]
indexer = "null"
{_sync_text(settings.sync)}"""


def _sync_text(sync: Sync | None) -> str:
    """The part about starting from a snapshot; the engine leaves it aside once it has blocks."""
    if sync is None:
        return ""
    return f"""
[statesync]
enable = true
rpc_servers = {_quoted(",".join(sync.servers))}
trust_height = {sync.height}
trust_hash = {_quoted(sync.block_hash)}
trust_period = "168h0m0s"
discovery_time = "5s"
"""


def _quoted(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _typed(kind: str, raw: bytes) -> dict[str, str]:
    return {"type": f"tendermint/{kind}", "value": base64.b64encode(raw).decode()}


def _text(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
