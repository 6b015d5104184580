"""The planner's part of the API: one table that documents it and that its routes are held to."""

from __future__ import annotations

from typing import Any

from chain.openapi import (
    INTEGER,
    STRING,
    Parameter,
    Route,
    Schema,
    get_array,
    get_document,
    get_object,
)
from coverage_map.planning.processes import PROCESSES

OGC = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
CONFORMANCE = tuple(
    f"{OGC}/{part}" for part in ("core", "json", "ogc-process-description", "job-list", "dismiss")
)
STATES = ["accepted", "running", "successful", "failed", "dismissed"]
HTML = "text/html"

_LINKS = get_array(get_object(rel=STRING, href=STRING, type=STRING))
_SUMMARY: dict[str, Schema] = {
    "id": {"type": "string", "enum": list(PROCESSES)},
    "title": STRING,
    "description": STRING,
    "version": STRING,
    "jobControlOptions": get_array(STRING),
    "outputTransmission": get_array(STRING),
    "links": _LINKS,
}
_OBJECT: Schema = {"type": "object"}
_PROCESS = get_object(**_SUMMARY, inputs=_OBJECT, outputs=_OBJECT)
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_JOB = get_object(
    jobID={"type": "string", "pattern": "^[0-9a-f]{16}$"},
    processID=STRING,
    type={"type": "string", "enum": ["process"]},
    status={"type": "string", "enum": STATES},
    progress={"type": "integer", "minimum": 0, "maximum": 100},
    message=STRING,
    created=_MOMENT,
    updated=_MOMENT,
    links=_LINKS,
)
_JOB["properties"]["finished"] = _MOMENT
_EXECUTE: Schema = {
    "type": "object",
    "properties": {"inputs": {"type": "object", "description": "by name; see the process"}},
}


def _place(name: str, schema: Schema, text: str) -> Parameter:
    return Parameter(name, str, None, schema, text)


_NAME = _place("process", {"type": "string", "enum": list(PROCESSES)}, "name of a process")
_JOB_ID = _place("job", {"type": "string", "pattern": "^[0-9a-f]{16}$"}, "id of a job")
_FORM = Parameter(
    "f", str, "json", {"type": "string", "enum": ["json", "html"]}, "html: a report's page"
)
COSTLY = (400, 401, 413, 429, 503)

ROUTES = (
    Route(
        *("GET", "/processes", "processes", "What can be asked of the planner"),
        answer=get_object(processes=get_array(get_object(**_SUMMARY)), links=_LINKS),
        errors=(400,),
    ),
    Route(
        *("GET", "/processes/{process}", "process", "One question with its inputs"),
        (_NAME,),
        answer=_PROCESS,
    ),
    Route(
        *("POST", "/processes/{process}/execution", "execute", "Ask; the answer is a job"),
        (_NAME,),
        answer=_JOB,
        body=_EXECUTE,
        errors=COSTLY,
    ),
    Route(
        *("GET", "/jobs", "jobs", "All jobs, newest first"),
        answer=get_object(jobs=get_array(_JOB), links=_LINKS),
        errors=(400,),
    ),
    Route(
        *("GET", "/jobs/{job}", "job", "How far a job is"),
        (_JOB_ID,),
        answer=_JOB,
    ),
    Route(
        *("DELETE", "/jobs/{job}", "dismiss", "Stop a job, or remove what it found"),
        (_JOB_ID,),
        answer=_JOB,
        errors=(401, 403, 429),
    ),
    Route(
        *("GET", "/jobs/{job}/results", "results", "What a job found"),
        (_JOB_ID, _FORM),
        answer=get_object(result=_OBJECT),
    ),
)
KEYS: Schema = {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def paths() -> dict[str, Any]:
    """The routes as OpenAPI paths."""
    found = get_document(ROUTES, title="", version="", description="")["paths"]
    execute = found["/processes/{process}/execution"]["post"]
    execute["responses"]["201"] = execute["responses"].pop("200")
    execute["responses"]["201"]["headers"] = {
        "Location": {"description": "of the job", "schema": STRING}
    }
    # Either with a key or without: which, only the map that is asked can say.
    for operation in (execute, found["/jobs/{job}"]["delete"]):
        operation["security"] = [{"key": []}, {}]
        operation["responses"]["429"]["headers"] = {
            "Retry-After": {"description": "seconds", "schema": INTEGER}
        }
    page = found["/jobs/{job}/results"]["get"]["responses"]["200"]["content"]
    page[HTML] = {"schema": STRING}
    return dict(found)
