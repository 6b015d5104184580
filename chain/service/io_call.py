"""One HTTP call on the ledger's service, as its handlers see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from chain.errors import UserError
from chain.io_ledger import DurableLedger
from chain.io_metrics import Metrics
from chain.proofs.io_promises import Promiser
from chain.proofs.io_publisher import Publisher
from chain.proofs.io_site import Site
from chain.service.io_sequencer import Engine
from chain.state import State
from chain.store.io_archive import Archive
from chain.store.io_store import Store


@dataclass(slots=True)
class Service:
    """What every handler may use."""

    engine: Engine
    metrics: Metrics
    promiser: Promiser | None = None
    publisher: Publisher | None = None
    site: Site | None = None
    archive: Archive = field(default_factory=lambda: Archive(None))

    @property
    def durable(self) -> DurableLedger:
        """The ledger and its database."""
        return self.engine.durable


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose parameters were read by the table: `values` holds nothing else."""

    service: Service
    request: web.Request
    values: dict[str, Any]

    @property
    def durable(self) -> DurableLedger:
        """The ledger and its database."""
        return self.service.engine.durable

    @property
    def store(self) -> Store:
        """The database."""
        return self.service.engine.durable.store

    @property
    def state(self) -> State:
        """The live state."""
        return self.service.engine.durable.ledger.state


    @property
    def source(self) -> Hashable:
        """Who calls: an address, or a connection where all addresses are alike.

        Behind a proxy on this machine every connection of the proxy is a source of its own.
        """
        remote = self.request.remote
        if remote and not remote.startswith(("127.", "::1")):
            return remote
        return id(self.request.transport)


Answer = dict[str, Any] | web.StreamResponse
Handler = Callable[[Call], Awaitable[Answer]]


def missing(name: str, value: object) -> UserError:
    """There is no such thing here: 404."""
    return UserError(name, f"{value} is unknown here", "check it against the lists", status=404)
