"""The ledger as the map reads it, over HTTP on TCP or a unix socket; asynchronous, read only."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from chain.errors import UserError
from chain.records import Genesis, Refusal, Signed
from chain.wire import decode
from coverage_map.feed import Entry

PAGE = 1_000
TIMEOUT = aiohttp.ClientTimeout(total=15, connect=3)

Reasons = dict[tuple[int, int, int], str]


class LedgerDown(OSError):
    """The ledger doesn't answer, or answers what a ledger wouldn't; try again later."""


class LedgerSource:
    """Reads one ledger service; `url` is http://HOST:PORT or unix:/PATH."""

    def __init__(self, url: str) -> None:
        """UserError for a URL of another kind."""
        self.url = url
        self._session: aiohttp.ClientSession | None = None
        if url.startswith("unix:"):
            self._socket, self._base = url.removeprefix("unix:"), "http://ledger"
        elif url.startswith(("http://", "https://")):
            self._socket, self._base = "", url.rstrip("/")
        else:
            raise UserError(
                "--ledger", f"can't read {url!r}", "write http://HOST:PORT or unix:/PATH"
            )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """JSON at a path, None for 404; LedgerDown when the ledger can't be read."""
        if self._session is None:
            connector = aiohttp.UnixConnector(self._socket) if self._socket else None
            self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        try:
            async with self._session.get(self._base + path) as answer:
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    raise LedgerDown(f"{self.url}{path} answers {answer.status}")
                return await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, json.JSONDecodeError) as error:
            raise LedgerDown(f"{self.url}: {error or type(error).__name__}") from error

    async def genesis(self) -> Signed:
        """The genesis record."""
        document = await self.get("/v1/genesis")
        return _signed(_bytes(document, "wire"), Genesis)

    async def head(self) -> Mapping[str, Any]:
        """Height, epoch, time, record count, roots."""
        return _object(await self.get("/v1/head"))

    async def stats(self) -> Mapping[str, Any]:
        """Totals that the ledger keeps."""
        return _object(await self.get("/v1/stats"))

    async def entries(self, start: int) -> list[Entry]:
        """Up to PAGE accepted records from a sequence number on."""
        document = _object(await self.get(f"/v1/records?from={start}&limit={PAGE}"))
        return [_entry(item) for item in _items(document, "records")]

    async def verdicts(self, epoch: int) -> Reasons:
        """Reason by (witness, beaconer, beacon number) of a judged epoch."""
        document = await self.get(f"/v1/verdicts?epoch={epoch}")
        found: Reasons = {}
        for item in _items(_object(document), "verdicts"):
            key = (int(item["witness"]), int(item["beaconer"]), int(item["sequence"]))
            found.setdefault(key, str(item["reason"]))
        return found

    async def bounties(self) -> Mapping[str, Any]:
        """Bounties that still hold something."""
        return _object(await self.get("/v1/bounties"))

    async def proof(self, record_id: bytes) -> Mapping[str, Any] | None:
        """A record's place in the log with its inclusion proof."""
        document = await self.get(f"/v1/records/{record_id.hex()}")
        return None if document is None else _object(document)


def _object(document: Any) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise LedgerDown("the ledger's answer is no JSON object; is this a Wavecomb ledger?")
    return document


def _items(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = document.get(name)
    if not isinstance(items, list):
        raise LedgerDown(f"the ledger's answer has no list {name!r}; is its version the map's?")
    return items


def _bytes(document: Any, name: str) -> bytes:
    try:
        return base64.b64decode(str(_object(document)[name]), validate=True)
    except (KeyError, ValueError) as error:
        raise LedgerDown(f"the ledger's answer has no base64 field {name!r}") from error


def _signed(wire: bytes, kind: type) -> Signed:
    signed = decode(wire)
    if isinstance(signed, Refusal):
        raise LedgerDown(f"the ledger sent a record that can't be read: {signed.detail}")
    if not isinstance(signed.record, kind):
        raise LedgerDown(f"the ledger sent a {signed.record.NAME} record in place of another")
    return signed


def _entry(item: Mapping[str, Any]) -> Entry:
    if item.get("wire", "") is None:
        remedy = "run it with --archive, so that a new map can read all of it"
        raise LedgerDown(f"the ledger pruned record {item.get('seq')}; {remedy}")
    result = item.get("result", item)
    index = result.get("index")
    return Entry(
        sequence=int(item["seq"]),
        signed=_signed(_bytes(item, "wire"), object),
        epoch=int(item["epoch"]),
        index=None if index is None else int(index),
        reason=str(result.get("reason", "ok")),
    )
