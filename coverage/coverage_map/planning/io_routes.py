"""Planning over HTTP, as OGC API Processes, Part 1 (18-062r2): describe, execute, watch, dismiss.

    add_routes(app, Jobs(folder), world_of)

Jobs are asynchronous. `world_of(snapshots, resolution)` gives what a job is asked of: the scenes of
these snapshots (NEWEST for the map as it is) at one resolution, and everything else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from chain.errors import UserError
from chain.io_http import json_response
from coverage_map.planning.inputs import Values, read_resolution
from coverage_map.planning.io_jobs import Job, Jobs
from coverage_map.planning.openapi import ROUTES
from coverage_map.planning.processes import PROCESSES, Process, process_of, snapshot_of
from coverage_map.planning.report import POLICY
from coverage_map.planning.world import World
from coverage_map.service.io_reply import CALLER

WorldOf = Callable[[Sequence[str], int], Awaitable[World]]

VERSION = "1.0.0"
BODY_MAX = 8 << 20


def add_routes(app: web.Application, jobs: Jobs, world_of: WorldOf) -> None:
    """Register the routes; jobs that a former run left behind go on when the app starts."""
    api = Planning(jobs, world_of)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, getattr(api, route.handler))

    async def running(_: web.Application) -> AsyncIterator[None]:
        jobs.pump()
        yield
        await jobs.close()

    app.cleanup_ctx.append(running)


class Planning:
    """The handlers."""

    def __init__(self, jobs: Jobs, world_of: WorldOf) -> None:
        self.queue = jobs
        self.world_of = world_of

    async def processes(self, request: web.Request) -> web.Response:
        """What can be asked."""
        refuse_parameters(request)
        found = [summary(process) for process in PROCESSES.values()]
        return json_response({"processes": found, "links": [link("self", "/processes")]})

    async def process(self, request: web.Request) -> web.Response:
        """One question with its inputs."""
        refuse_parameters(request)
        process = process_of(request.match_info["process"])
        inputs = {
            name: {"title": name, "description": schema.get("description", name),
                   "minOccurs": int(name in ("count", "area") and process.name == "place-sites"),
                   "schema": dict(schema)}
            for name, schema in process.inputs.items()
        }  # fmt: skip
        outputs = {"result": {"title": process.title, "schema": {"type": "object"}}}
        return json_response(summary(process) | {"inputs": inputs, "outputs": outputs})

    async def execute(self, request: web.Request) -> web.Response:
        """Take a job over."""
        refuse_parameters(request)
        process = process_of(request.match_info["process"])
        values = await read_inputs(request)
        names = ("a", "b") if process.name == "compare" else ("snapshot",)
        snapshots = sorted({snapshot_of(values, name) for name in names})
        default = 10 if process.name == "what-if" else 9
        world = await self.world_of(snapshots, read_resolution(values, default))
        job = self.queue.submit(process.name, values, world, caller_of(request))
        where = {"Location": f"/jobs/{job.name}"}
        return json_response(status(job), status=201, headers=where)

    async def jobs(self, request: web.Request) -> web.Response:
        """Every job, newest first."""
        refuse_parameters(request)
        found = [status(job) for job in self.queue.all()]
        return json_response({"jobs": found, "links": [link("self", "/jobs")]})

    async def job(self, request: web.Request) -> web.Response:
        """How far a job is."""
        refuse_parameters(request)
        return json_response(status(self.queue.get(request.match_info["job"])))

    async def dismiss(self, request: web.Request) -> web.Response:
        """Stop a job, or remove what it found."""
        refuse_parameters(request)
        job = self.queue.dismiss(request.match_info["job"], caller_of(request))
        return json_response(status(job))

    async def results(self, request: web.Request) -> web.Response:
        """What a job found; `f=html` gives a report's page."""
        kind = request.query.get("f", "json")
        if set(request.query) - {"f"} or kind not in ("json", "html"):
            raise UserError("f", "json and html are known here", "leave other parameters out")
        result = self.queue.result(request.match_info["job"])
        if kind == "html":
            if "html" not in result:
                raise UserError("f", "this job made no page", "use f=json")
            policy = {"Content-Security-Policy": POLICY}
            return web.Response(text=result["html"], content_type="text/html", headers=policy)
        return json_response({"result": result})


def caller_of(request: web.Request) -> str:
    """Whose key the question came with; nothing without one."""
    return str(request.get(CALLER, ""))


def refuse_parameters(request: web.Request) -> None:
    """No parameter is known here."""
    for name in request.query:
        raise UserError(name, "unknown parameter", "leave it out")


async def read_inputs(request: web.Request) -> Values:
    """The `inputs` of an execute request; UserError for any other body."""
    if (request.content_length or 0) > BODY_MAX:
        raise UserError("body", f"over {BODY_MAX} bytes", "ask in parts", status=413)
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise UserError("body", "is no JSON", 'send {"inputs": {...}}') from None
    values = body.get("inputs", {}) if isinstance(body, dict) else None
    if not isinstance(values, dict):
        raise UserError("inputs", "is no object", 'send {"inputs": {...}}')
    return values


def summary(process: Process) -> dict[str, Any]:
    """A process in the list."""
    where = f"/processes/{process.name}"
    return {
        "id": process.name,
        "title": process.title,
        "description": process.description,
        "version": VERSION,
        "jobControlOptions": ["async-execute", "dismiss"],
        "outputTransmission": ["value"],
        "links": [
            link("self", where),
            link("http://www.opengis.net/def/rel/ogc/1.0/execute", f"{where}/execution"),
        ],
    }


def link(rel: str, href: str) -> dict[str, str]:
    """A link to JSON."""
    return {"rel": rel, "href": href, "type": "application/json"}


def status(job: Job) -> dict[str, Any]:
    """A job as statusInfo."""
    where = f"/jobs/{job.name}"
    links = [link("self", where)]
    if job.state == "successful":
        links.append(link("http://www.opengis.net/def/rel/ogc/1.0/results", f"{where}/results"))
    found = {
        "jobID": job.name,
        "processID": job.process,
        "type": "process",
        "status": job.state,
        "progress": job.percent,
        "message": job.note,
        "created": moment(job.created_ms),
        "updated": moment(job.updated_ms),
        "links": links,
    }
    if job.state in ("successful", "failed", "dismissed"):
        found["finished"] = moment(job.updated_ms)
    return found


def moment(time_ms: int) -> str:
    """RFC 3339, UTC."""
    text = datetime.fromtimestamp(time_ms / 1e3, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
