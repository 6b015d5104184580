"""The gateway's settings: one documented record, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chain.errors import UserError
from hotspot.config import check_ledger_url, read_section
from hotspot.gateway.kernel_settings import KernelSection, parse_kernel

SAMPLE = """\
# Wavecomb gateway settings. Every key is shown with its default.
[hotspot]
key_file = "hotspot.key"      # the hotspot's 32-byte seed, mode 0600; made at first run

[ledger]
url = "http://127.0.0.1:8700" # or unix:/path/of/socket

[gateway]
listen = "127.0.0.1:8300"     # OpenAI-compatible address for this machine's programs
api_key_file = "gateway.key"  # bearer keys, one a line, mode 0600; one is made at first run
state = "gateway.db"          # receipts, and what each key has used
budget_tokens = 0             # what each key may use in all; 0: no limit
max_tokens = 1024             # answer length that is paid for when a client names none
ttft_goal_ms = 5000           # wished time to first token; providers that can't are passed over
hedge_ms = 0                  # ask a second provider after so long without a token; 0: never
forecaster = ""               # model file of `wavecomb routing train`; empty: no forecast

[routing]
far_forecaster = ""           # model of minutes, for 15 and 60 min ahead; needs a forecaster too
telemetry = "telemetry"       # folder of link telemetry, kept 8 days; empty: none is kept
planner = true                # plan all paths at once, where wavecomb[routing] is installed

[kernel]
netd = ""                     # socket of hotspot-netd, /run/wavecomb-netd/netd.sock; empty: none
lease_ms = 30000              # without us for so long, the base mesh protocol carries on alone
plan_ms = 10000               # how often what enters the mesh here is planned anew
addresses = "fd57::/64"       # of hotspots: index 0 has the first one, 1 the second, ...
segments = "fd57:1::/64"      # their segment identifiers, likewise
devices = "fd57:2::/32"       # networks of their people's devices, a /64 each, likewise
networks = []                 # other networks behind hotspots: "10.57.3.0/24=3"
rates = []                    # devices to shape into classes, and their kbps: "mesh0=40000"
trusted = []                  # access devices whose own DSCP may choose a class: "ap0"

[provider]
backend = ""                  # "wordllama", "openai", or empty: this hotspot answers nothing
url = ""                      # of an OpenAI-compatible server, like http://127.0.0.1:8080/v1
api_key = ""                  # for that server
models = []                   # names to offer; empty: what the server lists
ai_price_ucr = 1000           # asked per 1,000 tokens
slots = 8                     # answers at a time; the rest wait, whose goal is nearest first
context_tokens = 0            # of the longest prompt with its answer; 0: not said
credit_tokens = 65536         # answered at most beyond the newest receipt

[relay]
price_ucr = 1000              # asked per MiB relayed
claim_ms = 0                  # how often receipts go to the ledger; 0: once an epoch
claim_by_tree_at = 100        # sessions from which they go under one root; 0: never
rate_kbps = 20000             # assumed of a link whose driver says nothing

[spending]
max_relay_price_ucr = 1000000
max_ai_price_ucr = 10000000
escrow_ucr = 1000000          # locked per session; what is not used comes back
session_epochs = 100

[jobs]
folder = "jobs"               # files to send, and files that arrived
accept = []                   # indexes of hotspots whose files are taken; empty: everybody's
max_file_bytes = 268435456    # of one file, sent or received
max_stored_bytes = 1073741824 # of all files that arrived and were not removed

[link]
listen = "127.0.0.1:0"        # UDP
air = ""                      # address of the medium's process; empty: neighbours as below
peers = []                    # "INDEX=HOST:PORT" of each neighbour, without a medium
neighbours = []               # indexes of neighbours behind the medium
"""


@dataclass(frozen=True, slots=True)
class SpotSection:
    """Whose key."""

    key_file: str = "hotspot.key"


@dataclass(frozen=True, slots=True)
class LedgerSection:
    """Where the ledger answers."""

    url: str = "http://127.0.0.1:8700"


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """The local address and its keys."""

    listen: str = "127.0.0.1:8300"
    api_key_file: str = "gateway.key"
    state: str = "gateway.db"
    budget_tokens: int = 0
    max_tokens: int = 1_024
    ttft_goal_ms: int = 5_000
    hedge_ms: int = 0
    forecaster: str = ""


@dataclass(frozen=True, slots=True)
class RoutingSection:
    """What the router remembers and plans with."""

    far_forecaster: str = ""
    telemetry: str = "telemetry"
    planner: bool = True


@dataclass(frozen=True, slots=True)
class ProviderSection:
    """The model that this hotspot answers with, if any."""

    backend: str = ""
    url: str = ""
    api_key: str = ""
    models: tuple[str, ...] = ()
    ai_price_ucr: int = 1_000
    slots: int = 8
    context_tokens: int = 0
    credit_tokens: int = 65_536


@dataclass(frozen=True, slots=True)
class RelaySection:
    """What relaying costs others."""

    price_ucr: int = 1_000
    claim_ms: int = 0
    claim_by_tree_at: int = 100
    rate_kbps: int = 20_000


@dataclass(frozen=True, slots=True)
class SpendingSection:
    """What this hotspot pays at most."""

    max_relay_price_ucr: int = 1_000_000
    max_ai_price_ucr: int = 10_000_000
    escrow_ucr: int = 1_000_000
    session_epochs: int = 100


@dataclass(frozen=True, slots=True)
class JobsSection:
    """Bandwidth jobs: where files are, whose are taken, and how much."""

    folder: str = "jobs"
    accept: tuple[int, ...] = ()
    max_file_bytes: int = 1 << 28
    max_stored_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class LinkSection:
    """How datagrams leave."""

    listen: str = "127.0.0.1:0"
    air: str = ""
    peers: tuple[str, ...] = ()
    neighbours: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """All settings of the gateway."""

    hotspot: SpotSection = field(default_factory=SpotSection)
    ledger: LedgerSection = field(default_factory=LedgerSection)
    gateway: GatewaySection = field(default_factory=GatewaySection)
    routing: RoutingSection = field(default_factory=RoutingSection)
    kernel: KernelSection = field(default_factory=KernelSection)
    provider: ProviderSection = field(default_factory=ProviderSection)
    relay: RelaySection = field(default_factory=RelaySection)
    spending: SpendingSection = field(default_factory=SpendingSection)
    jobs: JobsSection = field(default_factory=JobsSection)
    link: LinkSection = field(default_factory=LinkSection)


def parse_gateway_config(text: str, source: str) -> GatewayConfig:
    """Settings from TOML text. Raises UserError naming the key and what it takes."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        remedy = "see: wavecomb hotspot gateway --sample"
        raise UserError(source, f"not valid TOML: {error}", remedy) from error
    config = GatewayConfig(
        hotspot=read_section("hotspot", SpotSection, _take(table, "hotspot")),
        ledger=read_section("ledger", LedgerSection, _take(table, "ledger")),
        gateway=read_section("gateway", GatewaySection, _take(table, "gateway")),
        routing=read_section("routing", RoutingSection, _take(table, "routing")),
        kernel=read_section("kernel", KernelSection, _take(table, "kernel")),
        provider=read_section("provider", ProviderSection, _take(table, "provider")),
        relay=read_section("relay", RelaySection, _take(table, "relay")),
        spending=read_section("spending", SpendingSection, _take(table, "spending")),
        jobs=read_section("jobs", JobsSection, _take(table, "jobs")),
        link=read_section("link", LinkSection, _take(table, "link")),
    )
    for name in table:
        remedy = f"sections: {', '.join(GatewayConfig.__dataclass_fields__)}"
        raise UserError(f"[{name}]", "unknown section", remedy)
    _check(config)
    return config


def _take(table: dict[str, Any], name: str) -> Any:
    section = table.pop(name, {})
    if not isinstance(section, Mapping):
        return section
    return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


def _check(config: GatewayConfig) -> None:
    check_ledger_url(config.ledger.url)
    provider, link = config.provider, config.link
    if config.routing.far_forecaster and not config.gateway.forecaster:
        remedy = "name a model of seconds in gateway.forecaster"
        raise UserError("routing.far_forecaster", "stands alone", remedy)
    if provider.backend not in ("", "wordllama", "openai"):
        problem = f"{provider.backend!r} is unknown"
        raise UserError("provider.backend", problem, 'use "wordllama", "openai" or ""')
    if provider.backend == "openai" and not provider.url.startswith(("http://", "https://")):
        problem = f"{provider.url!r} is no address"
        raise UserError("provider.url", problem, "write it like http://127.0.0.1:8080/v1")
    if not all(isinstance(name, str) and name for name in provider.models):
        raise UserError("provider.models", "must be a list of names", 'like ["my-model"]')
    for name, indexes in (
        ("link.neighbours", link.neighbours),
        ("jobs.accept", config.jobs.accept),
    ):
        if not all(type(index) is int and index >= 0 for index in indexes):
            raise UserError(name, "must be a list of indexes", "like [3, 7]")
    for peer in link.peers:
        if not isinstance(peer, str) or not peer.partition("=")[0].isdecimal():
            raise UserError("link.peers", f"{peer!r} is no peer", 'like "3=127.0.0.1:9003"')
    parse_kernel(config.kernel)
    _check_numbers(config)


_SHORT = frozenset(
    {"gateway.ttft_goal_ms", "gateway.hedge_ms", "provider.slots", "provider.context_tokens"}
)


def _check_numbers(config: GatewayConfig) -> None:
    rows = (
        ("gateway.budget_tokens", config.gateway.budget_tokens, 0),
        ("gateway.max_tokens", config.gateway.max_tokens, 1),
        ("gateway.ttft_goal_ms", config.gateway.ttft_goal_ms, 0),
        ("gateway.hedge_ms", config.gateway.hedge_ms, 0),
        ("provider.ai_price_ucr", config.provider.ai_price_ucr, 0),
        ("provider.slots", config.provider.slots, 1),
        ("provider.context_tokens", config.provider.context_tokens, 0),
        ("provider.credit_tokens", config.provider.credit_tokens, 1),
        ("relay.price_ucr", config.relay.price_ucr, 0),
        ("relay.claim_ms", config.relay.claim_ms, 0),
        ("relay.claim_by_tree_at", config.relay.claim_by_tree_at, 0),
        ("relay.rate_kbps", config.relay.rate_kbps, 1),
        ("spending.max_relay_price_ucr", config.spending.max_relay_price_ucr, 0),
        ("spending.max_ai_price_ucr", config.spending.max_ai_price_ucr, 0),
        ("spending.escrow_ucr", config.spending.escrow_ucr, 1),
        ("spending.session_epochs", config.spending.session_epochs, 1),
        ("jobs.max_file_bytes", config.jobs.max_file_bytes, 1),
        ("jobs.max_stored_bytes", config.jobs.max_stored_bytes, 0),
    )
    for name, value, least in rows:
        most = 1 << 31 if name in _SHORT else 1 << 48  # what gossip and requests have room for
        if not least <= value < most:
            raise UserError(name, f"{value} is out of range", f"use {least} to {most - 1}")
