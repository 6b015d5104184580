"""HTTP APIs as tables: one list of routes checks requests, routes them and writes OpenAPI 3.1.

A service keeps a tuple of `Route`; its server asks `read` for the values of a request's parameters
and never sees what the table doesn't name; its document comes from `get_document`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.records import Refusal

JSON, PROBLEM, TEXT = "application/json", "application/problem+json", "text/plain"
Schema = Mapping[str, Any]
SHOWN = 40  # characters of a client's own text that an answer repeats


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: its parser (None for text it can't take), default, JSON Schema and meaning.

    It stands in the path where the route's template names it, in the query otherwise. `spans` is
    for the last part of a path that may hold slashes.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    schema: Schema
    text: str
    required: bool = False
    spans: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: method, path template, name of its handler, and all that may come and go.

    `answer` is the schema of a 200, `media` its type, `body` the schema of what is sent. `errors`
    are statuses beyond 400, which every route with a parameter or a body has, and 404, which every
    route with something in its path has.
    """

    method: str
    path: str
    handler: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    answer: Schema | None = None
    media: str = JSON
    body: Schema | None = None
    errors: tuple[int, ...] = ()
    also: Mapping[int, Schema] | None = None  # other good answers, by status

    @property
    def path_names(self) -> list[str]:
        """Names in the path template."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def statuses(self) -> list[int]:
        """Every status of a problem that it may answer with."""
        found = {*self.errors}
        if self.parameters or self.body is not None:
            found.add(400)
        if self.path_names:
            found.add(404)
        return sorted(found)


# --- schemas --------------------------------------------------------------------------------------

INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
HEX: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
BASE64: Schema = {"type": "string", "contentEncoding": "base64"}


def get_object(**properties: Schema) -> dict[str, Any]:
    """Schema of an object with exactly these members, all of them required."""
    return {
        "type": "object",
        "required": sorted(properties),
        "properties": dict(properties),
        "additionalProperties": False,
    }


def get_array(items: Schema, **limits: int) -> dict[str, Any]:
    """Schema of an array."""
    return {"type": "array", "items": items, **limits}


def get_map(values: Schema) -> dict[str, Any]:
    """Schema of an object whose members are named by data."""
    return {"type": "object", "additionalProperties": values}


def get_nullable(schema: Schema) -> dict[str, Any]:
    """Schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status"],
    "properties": {
        "type": STRING,
        "title": STRING,
        "status": INTEGER,
        "detail": {"type": "string", "description": "one line: field: problem; remedy"},
        "field": {"type": "string", "description": "what the client should mend"},
    },
}

# --- parameters -----------------------------------------------------------------------------------


def get_integer(
    name: str, text: str, low: int = 0, high: int = (1 << 62), default: int | None = None
) -> Parameter:
    """A whole-number parameter; required if it has no default."""

    def parse(said: str) -> int | None:
        fits = said.isascii() and said.isdecimal() and len(said) < 20
        return int(said) if fits and low <= int(said) <= high else None

    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    if default is not None:
        schema["default"] = default
    return Parameter(name, parse, default, schema, text, required=default is None)


def get_hash(name: str, text: str) -> Parameter:
    """A parameter of 32 bytes in hexadecimal: a key, an id, a hash."""

    def parse(said: str) -> bytes | None:
        is_hex = re.fullmatch(r"[0-9a-fA-F]{64}", said) is not None
        return bytes.fromhex(said) if is_hex else None

    return Parameter(name, parse, None, HASH, text, required=True)


def get_text(name: str, text: str, *, spans: bool = False, required: bool = True) -> Parameter:
    """A parameter of free text, which its handler judges."""
    return Parameter(name, lambda said: said, None, STRING, text, required, spans)


def read(
    query: Sequence[tuple[str, str]], parameters: Sequence[Parameter]
) -> dict[str, Any] | Refusal:
    """Values of all parameters by name; unknown, repeated or malformed ones are refused by name."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, text in query:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            return Refusal("unknown_parameter", f"{name}: unknown parameter; known here: {names}")
        if name in values:
            return Refusal("repeated_parameter", f"{name}: given more than once; give it once")
        values[name] = known[name].parse(text)
        if values[name] is None:
            problem = f"{name}: can't read {text[:SHOWN]!r}; {_remedy(known[name])}"
            return Refusal("bad_parameter", problem)
    for parameter in parameters:
        if parameter.name not in values:
            if parameter.required:
                problem = f"{parameter.name}: missing; {_remedy(parameter)}"
                return Refusal("missing_parameter", problem)
            values[parameter.name] = parameter.default
    return values


def _remedy(parameter: Parameter) -> str:
    """What to give instead."""
    low, high = parameter.schema.get("minimum"), parameter.schema.get("maximum")
    if parameter.schema.get("type") == "integer" and low is not None and high is not None:
        most = f" to {high}" if high < 1 << 62 else ""
        return f"give a whole number from {low}{most}: {parameter.text}"
    if parameter.schema.get("type") == "number" and low is not None and high is not None:
        return f"give a number from {low:g} to {high:g}: {parameter.text}"
    if "enum" in parameter.schema:
        return f"give one of {', '.join(map(str, parameter.schema['enum']))}: {parameter.text}"
    return parameter.text


# --- the document ---------------------------------------------------------------------------------


def get_document(
    routes: Sequence[Route],
    *,
    title: str,
    version: str,
    description: str,
    schemas: Mapping[str, Schema] | None = None,
) -> dict[str, Any]:
    """The whole OpenAPI 3.1 document; `schemas` are named parts that routes refer to."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": description,
        },
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM_SCHEMA, **(schemas or {})}},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler,
        "summary": route.summary,
        "parameters": [_parameter(route, parameter) for parameter in route.parameters],
        "responses": _responses(route),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": route.body}}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    answer = route.answer
    if answer is None:
        answer = STRING if route.media.startswith("text/") else {"type": "object"}
    answers: dict[str, Any] = {"200": _content(route.summary, route.media, answer)}
    for status, schema in (route.also or {}).items():
        answers[str(status)] = _content(route.summary, route.media, schema)
    problem = {"$ref": "#/components/schemas/Problem"}
    for status in route.statuses:
        answers[str(status)] = _content(MEANINGS.get(status, "Why not"), PROBLEM, problem)
    return answers


MEANINGS = {
    400: "A parameter or the body can't be taken; `field` names it",
    404: "There is no such thing here",
    408: "The body took too long; send less at once",
    410: "It was pruned, and this service has no archive; ask whoever mirrors the log",
    413: "The body is too large",
    429: "Too much that was refused came from here; wait for Retry-After seconds",
    503: "The disk refuses or the service is busy; nothing acknowledged is lost, send it again",
}


def _content(description: str, media: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _parameter(route: Route, parameter: Parameter) -> dict[str, Any]:
    in_path = parameter.name in route.path_names
    document: dict[str, Any] = {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path or parameter.required,
        "schema": dict(parameter.schema),
        "description": parameter.text,
    }
    if not in_path:
        # Said even where it is OpenAPI's default: the OGC's test suite reads it literally.
        document |= {"style": "form", "explode": False}
    return document
