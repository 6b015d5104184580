"""API keys: made and revoked on the command line, kept as hashes, asked for by nobody else.

Reading the map needs no key. Questions that cost (gaps, outlines, areas, archives, planning jobs)
are limited per caller; a key makes the limit ten times wider. As soon as a map has keys, planning
jobs are for those who have one. A key is shown once; the file holds its SHA-256 only, and only its
owner may read it.
"""

from __future__ import annotations

import argparse
import hmac
import json
import math
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web

from chain.errors import UserError
from chain.io_terminal import Parser, print_json
from coverage_map.service.io_reply import CALLER, problem
from coverage_map.service.limits import ANYBODY, COSTS, WITH_KEY, Buckets

PREFIX = "wcm_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PATHS = (
    (re.compile(r"/collections/(gaps|outline)/items(/.*)?"), ""),
    (re.compile(r"/(area)"), ""),
    (re.compile(r"/exports/.*\.(pmtiles)"), ""),
    (re.compile(r"/processes/[^/]+/execution"), "job"),
    (re.compile(r"/jobs/[^/]+"), "dismissal"),
)
GUARDED = ("job", "dismissal")
EXAMPLES = """
  wavecomb map key create planning-office --data /var/lib/wavecomb/map
  wavecomb map key list --data /var/lib/wavecomb/map --json
  wavecomb map key revoke planning-office --data /var/lib/wavecomb/map"""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Keys:
    """The keys of one map, in one file; changes of the file are seen at the next question."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "keys.json"
        self._seen: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Hash by name. UserError where the file can't be read."""
        try:
            about = self.path.stat()
            if (about.st_mtime_ns, about.st_size) != self._seen:
                found = json.loads(self.path.read_text())
                self._hashes = {str(name): str(value) for name, value in found.items()}
                self._seen = (about.st_mtime_ns, about.st_size)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            remedy = "mend it, or remove it and make new keys"
            raise UserError("keys", f"can't read {self.path}: {error}", remedy) from error
        return self._hashes

    def create(self, name: str) -> str:
        """Make a key; it can't be shown again. UserError for a name that is taken or odd."""
        if not NAME.fullmatch(name):
            raise UserError("name", f"{name!r} is no name", "use letters, digits, . _ -")
        known = dict(self.read())
        if name in known:
            raise UserError("name", f"{name} has a key", "revoke it first, or take another name")
        key = PREFIX + secrets.token_urlsafe(24)
        self._write({**known, name: _hash(key)})
        return key

    def revoke(self, name: str) -> None:
        """Forget a key. UserError when there is none of that name."""
        known = dict(self.read())
        if known.pop(name, None) is None:
            names = ", ".join(sorted(known)) or "none"
            raise UserError("name", f"{name} has no key", f"there are: {names}")
        self._write(known)

    def owner_of(self, key: str) -> str | None:
        """The name that a key was made for, None for a key that isn't known."""
        own = _hash(key)
        found = None
        for name, known in self.read().items():
            if hmac.compare_digest(own, known):
                found = name
        return found

    def _write(self, hashes: dict[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(hashes, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.path)


def _hash(key: str) -> str:
    return sha256(b"wavecomb:map-key:v1\n" + key.encode()).hexdigest()


def kind_of(method: str, path: str) -> str:
    """Which of COSTS a question is; nothing for most."""
    for pattern, kind in PATHS:
        match = pattern.fullmatch(path)
        if match and (kind not in GUARDED or method in ("POST", "DELETE")):
            return kind or str(match.group(1))
    return ""


def limiter(keys: Keys | None) -> Any:
    """Middleware that refuses what is too much with 429, and a key that isn't known with 401.

    Where there are keys, what makes others' machines work needs one: 401 without.
    """
    buckets = Buckets()

    @web.middleware
    async def limited(request: web.Request, handler: _Handler) -> web.StreamResponse:
        kind = kind_of(request.method, request.path)
        if not kind:
            return await handler(request)
        caller, rate, key = f"at {request.remote}", ANYBODY, _key_of(request)
        if key:
            name = keys.owner_of(key) if keys is not None else None
            if name is None:
                return _unauthorised("not known here; leave it out, or ask for one")
            caller, rate = f"key {name}", WITH_KEY
            request[CALLER] = name
        elif kind in GUARDED and keys is not None and keys.read():
            return _unauthorised("missing; planning jobs need a key of this map's operator")
        wait_s = buckets.take(caller, rate, COSTS[kind], time.monotonic_ns())
        if not wait_s:
            return await handler(request)
        later = math.ceil(wait_s)
        refused = problem(429, "Too much", f"ask again in {later} s, or with a key (X-API-Key)")
        refused.headers["Retry-After"] = str(later)
        return refused

    return limited


def _unauthorised(detail: str) -> web.Response:
    refused = problem(401, "No key", f"X-API-Key: {detail}")
    refused.headers["WWW-Authenticate"] = 'Bearer realm="wavecomb map"'
    return refused


def _key_of(request: web.Request) -> str:
    bearer = request.headers.get("Authorization", "")
    own = bearer.removeprefix("Bearer ") if bearer.startswith("Bearer " + PREFIX) else ""
    return request.headers.get("X-API-Key", own)


# --- command line ---------------------------------------------------------------------------------


def add_options(parser: Parser) -> None:
    """Options of `wavecomb map key`."""
    parser.add_argument("action", choices=("create", "list", "revoke"), help="what to do")
    parser.add_argument("name", nargs="?", help="whom the key is for")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the map's data directory"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """`wavecomb map key`."""
    keys = Keys(options.data)
    if options.action == "list":
        names = sorted(keys.read())
        print_json({"keys": names}) if options.json else print("\n".join(names) or "no keys")
        return 0
    if options.name is None:
        raise UserError("name", "missing", f"wavecomb map key {options.action} NAME")
    if options.action == "revoke":
        keys.revoke(options.name)
        found: dict[str, str] = {"revoked": options.name}
    else:
        found = {"name": options.name, "key": keys.create(options.name)}
    print_json(found) if options.json else print(" ".join(found.values()))
    return 0
