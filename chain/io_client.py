"""A client of the ledger service, on the standard library alone: small enough for a router."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from chain.errors import UserError
from chain.proofs.promise import Promise, parse_promise
from chain.records import Asserted, Refusal, SubmitResult
from chain.wire import record_id_of

TIMEOUT_S = 10.0
TRY_LATER = (408, 429)  # too slow, too much: nothing was decided about the records


class LedgerUnavailable(OSError):
    """The ledger can't be reached or can't save now: keep what you have and try again."""


class LedgerRefused(Exception):
    """The ledger answered, and refused the question; the text is its problem detail."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """Where the ledger stands; `mix` is R of `epoch`."""

    network_id: bytes
    preset: str
    start_ms: int
    epoch_ms: int
    epoch: int
    epoch_start_ms: int
    mix: bytes
    settlement: int
    height: int
    time_ms: int
    record_count: int
    log_root: bytes
    state_root: bytes


@dataclass(frozen=True, slots=True)
class HotspotInfo(Asserted):
    """A registered hotspot and what it asserts; `cell` is the H3 integer."""

    index: int
    bind_epoch: int
    last_epoch: int | None
    trust_ppm: int
    bond_ucr: int
    earned_ucr: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """An open session and what was claimed of it."""

    index: int
    payer: int
    payee: int
    nonce: int
    relay_price_ucr: int
    ai_price_ucr: int
    cap_ucr: int
    expiry_epoch: int
    claimed_ucr: int
    sequence: int
    relayed_bytes: int
    ai_tokens: int
    ai_requests: int
    last_hash: bytes


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account and what it owns."""

    account: bytes
    balance_ucr: int
    bonds_ucr: int
    escrow_ucr: int
    hotspots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record as the log holds it; `wire` is empty if the service pruned it."""

    seq: int
    block: int
    epoch: int
    time_ms: int
    id: bytes
    wire: bytes
    reason: str
    index: int | None


_HEX = {"network_id", "mix", "log_root", "state_root", "key", "owner", "record_id"} | {
    "last_hash",
    "account",
}


def _build(cls: type[Any], value: dict[str, Any]) -> Any:
    """A typed result from JSON: hexadecimal to bytes, cells to integers, unknown members left."""
    converted: dict[str, Any] = {}
    for name in cls.__dataclass_fields__:
        item = value[name]
        if name in _HEX:
            item = bytes.fromhex(item)
        elif name == "cell":
            item = int(item, 16)
        elif isinstance(item, list):
            item = tuple(item)
        converted[name] = item
    return cls(**converted)


def _entry(item: dict[str, Any]) -> LogEntry:
    return LogEntry(
        *(item["seq"], item["block"], item["epoch"], item["time_ms"]),
        *(bytes.fromhex(item["id"]), base64.b64decode(item["wire"] or "")),
        *(item["result"]["reason"], item["result"]["index"]),
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class LedgerClient:
    """Talks to one ledger service at "http://HOST:PORT" or "unix:/PATH"; blocking, one connection.

    Methods raise LedgerUnavailable when the service is down or can't save, LedgerRefused when it
    answers with a problem. UserError for an address that is none.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = _connection(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()

    def submit(self, wires: Sequence[bytes]) -> list[SubmitResult]:
        """Submit records; answers in order. Submitting the same bytes again is harmless."""
        body = {"records": [base64.b64encode(raw).decode() for raw in wires]}
        answer = self._call("POST", "/v1/records", body)
        return [
            SubmitResult(
                *(bytes.fromhex(item["record_id"]), item["accepted"], item["index"]),
                *(item["reason"], item["detail"]),
            )
            for item in answer["results"]
        ]

    def submit_promised(self, wires: Sequence[bytes]) -> list[Promise]:
        """Submit records for signed promises, which come at once; `promise_fate` tells the rest.

        LedgerRefused if a promise isn't about its record, or not signed: it would prove nothing.
        """
        body = {"records": [base64.b64encode(raw).decode() for raw in wires]}
        answer = self._call("POST", "/v1/records?promise=1", body)
        promises = [parse_promise(item) for item in answer["promises"]]
        ids = [record_id_of(raw) for raw in wires]
        for promise in promises:
            if isinstance(promise, Refusal):
                raise LedgerRefused(200, promise.detail)
        good = [promise for promise in promises if isinstance(promise, Promise)]
        if [promise.record_id for promise in good] != ids:
            raise LedgerRefused(200, "promises: are not about these records; keep them all")
        return good

    def promise_fate(self, record_id: bytes) -> str | None:
        """The ledger's answer to a promised record, "" while it waits; None if none is known."""
        found = self.find(f"/v1/promises/{record_id.hex()}")
        return None if found is None else str(found["reason"])

    def head(self) -> Head:
        """Where the ledger stands."""
        head: Head = _build(Head, self.get("/v1/head"))
        return head

    def genesis_wire(self) -> bytes:
        """The genesis record's bytes; their record id is the network id."""
        return base64.b64decode(self.get("/v1/genesis")["wire"])

    def mix(self, epoch: int) -> bytes | None:
        """R of an epoch; None if it isn't known yet or not any more."""
        found = self.find(f"/v1/mix/{epoch}")
        return None if found is None else bytes.fromhex(found["mix"])

    def hotspots(self, start: int = 0) -> list[HotspotInfo]:
        """All registered hotspots from an index on, by index."""
        rows = self.get(f"/v1/hotspots?from={start}")["hotspots"]
        return [_build(HotspotInfo, row) for row in rows]

    def hotspots_of(self, keys: Iterable[bytes]) -> list[HotspotInfo]:
        """Those of these keys, at most 64, that are registered; by index."""
        names = ",".join(key.hex() for key in keys)
        rows = self.get(f"/v1/hotspots?keys={names}")["hotspots"]
        return [_build(HotspotInfo, row) for row in rows]

    def hotspot(self, index_or_key: int | bytes) -> HotspotInfo | None:
        """One hotspot."""
        name = index_or_key.hex() if isinstance(index_or_key, bytes) else str(index_or_key)
        found = self.find(f"/v1/hotspots/{name}")
        return None if found is None else _build(HotspotInfo, found)

    def session(self, index: int) -> SessionInfo | None:
        """One open session."""
        found = self.find(f"/v1/sessions/{index}")
        return None if found is None else _build(SessionInfo, found)

    def account(self, key: bytes) -> AccountInfo:
        """One account."""
        account: AccountInfo = _build(AccountInfo, self.get(f"/v1/accounts/{key.hex()}"))
        return account

    def records(self, start: int, limit: int = 100) -> list[LogEntry]:
        """A page of the log from a sequence number on."""
        page = self.get(f"/v1/records?from={start}&limit={limit}")["records"]
        return [_entry(item) for item in page]

    def find_record(self, record_id: bytes) -> LogEntry | None:
        """One record of the log by its id."""
        found = self.find(f"/v1/records/{record_id.hex()}")
        return None if found is None else _entry(found)

    def stats(self) -> dict[str, Any]:
        """Totals."""
        return self.get("/v1/stats")

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path, for what has no method here."""
        return self._call("GET", path, None)

    def find(self, path: str) -> dict[str, Any] | None:
        """The JSON object at a path; None where the ledger knows of nothing (any more)."""
        try:
            return self.get(path)
        except LedgerRefused as error:
            if error.status == 404:
                return None
            raise

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        status, raw = self._exchange(method, path, None if body is None else json.dumps(body))
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise LedgerUnavailable(f"{self.url}: the answer is no JSON") from error
        if status >= 500 or status in TRY_LATER:
            raise LedgerUnavailable(f"{self.url}: {answer.get('detail', status)}")
        if status not in (200, 202):
            raise LedgerRefused(status, str(answer.get("detail", status)))
        return dict(answer)

    def _exchange(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        """One request; once more if a connection that was kept open turns out to be closed."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        kept_open = self._connection.sock is not None
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if kept_open:
                return self._exchange(method, path, body)
            raise LedgerUnavailable(f"{self.url}: {error or type(error).__name__}") from error


def _connection(url: str) -> http.client.HTTPConnection:
    if url.startswith("unix:"):
        return _UnixConnection(url.removeprefix("unix:"))
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or port is None:
        raise UserError("ledger", f"{url!r} is no address", "give http://HOST:PORT or unix:/PATH")
    return http.client.HTTPConnection(parts.hostname, port, timeout=TIMEOUT_S)
