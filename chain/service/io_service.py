"""The ledger's HTTP service, a thin skin over an engine; api.py is its table of routes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from chain.admission import Role
from chain.errors import UserError
from chain.io_http import application, json_response
from chain.io_keyring import Keyring
from chain.io_ledger import DurableLedger
from chain.openapi import Route, read
from chain.proofs.io_cosign import Cosigner
from chain.proofs.io_promises import PromiseBook, Promiser
from chain.proofs.io_publisher import Published, Publisher
from chain.proofs.io_site import Site
from chain.records import Refusal
from chain.rules.appointments import get_keys
from chain.service import (
    io_routes_epoch,
    io_routes_log,
    io_routes_ops,
    io_routes_proofs,
    io_routes_state,
)
from chain.service.api import ROUTES
from chain.service.io_call import Call, Handler, Service
from chain.service.io_sequencer import Engine, Sequencer
from chain.state import State
from chain.store.io_archive import Archive

HANDLERS: dict[str, Handler] = {
    **io_routes_log.HANDLERS,
    **io_routes_state.HANDLERS,
    **io_routes_epoch.HANDLERS,
    **io_routes_ops.HANDLERS,
    **io_routes_proofs.HANDLERS,
}
PROMISES = "promises.db"
SERVICE: web.AppKey[Service] = web.AppKey("service", Service)


def build(
    durable: DurableLedger,
    engine: Engine | None = None,
    keyring: Keyring | None = None,
    cosigners: Sequence[Cosigner] = (),
    published: Published | None = None,
    archive: Path | None = None,
) -> web.Application:
    """The application; its engine, the embedded sequencer by default, starts and stops with it.

    With the keys of the ledger's folder it makes promises and signs checkpoints, for which it asks
    `cosigners`; `published` is awaited after each. Pruned records come from `archive`.
    """
    app = application()
    engine = engine or Sequencer(durable)
    service = app[SERVICE] = Service(engine, engine.metrics)
    service.archive = Archive(archive)
    if Path(durable.store.path).is_file():
        service.site = Site(Path(durable.store.path).parent)
    if keyring is not None:
        book = PromiseBook(str(keyring.directory / PROMISES))
        signer = partial(get_sequencer_seed, keyring)
        service.promiser = Promiser(engine, engine.metrics, book, signer)
        service.publisher = Publisher(engine, engine.metrics, keyring, cosigners, published)
    for route in ROUTES:
        app.router.add_route(route.method, _pattern(route), _serve(route, service))
    app.on_startup.append(_start)
    app.on_cleanup.append(_stop)
    return app


def get_sequencer_seed(keyring: Keyring, state: State) -> bytes | None:
    """The seed that signs for the log now: of the sequencers in office, the one appointed last."""
    members = get_keys(state, Role.SEQUENCER, state.epoch)
    newest = sorted(members, key=lambda member: (-member.until_epoch, member.key))
    return keyring.first(member.key for member in newest)


async def _start(app: web.Application) -> None:
    service = app[SERVICE]
    service.engine.start()
    if service.promiser is not None:
        service.promiser.start()
    if service.publisher is not None:
        service.publisher.start()


async def _stop(app: web.Application) -> None:
    service = app[SERVICE]
    if service.publisher is not None:
        await service.publisher.stop()
    if service.promiser is not None:
        await service.promiser.stop()
    await service.engine.stop()
    if service.site is not None:
        service.site.close()


def _pattern(route: Route) -> str:
    """The route's path as the router writes it."""
    path = route.path
    for parameter in route.parameters:
        if parameter.spans:
            path = path.replace(f"{{{parameter.name}}}", f"{{{parameter.name}:.+}}")
    return path


def _serve(route: Route, service: Service) -> Any:
    """The route's handler behind its table of parameters: what isn't in there it never sees."""
    handler = HANDLERS[route.handler]

    async def handle(request: web.Request) -> web.StreamResponse:
        given = [*request.match_info.items(), *request.query.items()]
        values = read(given, route.parameters)
        if isinstance(values, Refusal):
            field, _, problem = values.detail.partition(": ")
            problem, _, remedy = problem.partition("; ")
            raise UserError(field, problem, remedy)
        answer = await handler(Call(service, request, values))
        return answer if isinstance(answer, web.StreamResponse) else json_response(answer)

    return handle
