"""The application's side of the engine's socket: four connections, answered in order.

The engine opens one connection each for consensus, mempool, queries and snapshots. Frames of one
connection are answered in the order in which they came; the application is asked by one at a time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from chain.abci.application import Application
from chain.abci.messages import (
    Deframer,
    ExceptionResponse,
    Snapshot,
    decode_request,
    encode_frame,
)
from chain.abci.snapshots import Restoring
from chain.abci.validators import Standing
from chain.errors import EXIT_FAILED, UserError
from chain.io_ledger import DurableLedger
from chain.ledger import Ledger
from chain.records import Refusal, Signed
from chain.state import State
from chain.store.io_snapshots import SnapshotShelf, put_snapshot

READ_BYTES = 1 << 18
STANDING = "engine"  # name in the store's table of single values


class DurableBooks:
    """The application's books on a durable ledger: the engine's height is saved with its blocks."""

    def __init__(self, durable: DurableLedger, genesis: Signed) -> None:
        self.durable = durable
        self.genesis = genesis
        self._snapshots = SnapshotShelf(Path(durable.store.path))

    @property
    def ledger(self) -> Ledger:
        """The rules and their state."""
        return self.durable.ledger

    def save(self, standing: Standing) -> None:
        """Write blocks and standing in one transaction; UserError (503) if the disk refuses."""
        self.durable.save({STANDING: standing.encode()})

    def is_known(self, record_id: bytes) -> bool:
        """Whether the log holds a record."""
        return self.durable.is_known(record_id)

    def load_standing(self) -> Standing:
        """What was saved last; a new one for a ledger that never ran under an engine."""
        data = self.durable.store.meta().get(STANDING)
        return Standing.decode(data) if data is not None else Standing()

    def take_snapshot(self, height: int) -> None:
        """Begin to keep the state as it is on the disk now, for others."""
        ledger = self.durable.ledger
        self._snapshots.take(height, ledger.head, tuple(ledger.log.peaks))

    def list_snapshots(self) -> Sequence[Snapshot]:
        """The snapshots that are whole."""
        return self._snapshots.list()

    def load_chunk(self, height: int, number: int) -> bytes:
        """A chunk of one of them; empty if there is none."""
        return self._snapshots.load(height, number)

    def restore(self, restoring: Restoring, state: State, standing: Standing) -> None:
        """Make a snapshot the ledger, durably; UserError if the disk refuses."""
        manifest = restoring.manifest
        put_snapshot(self.durable.store, manifest, state, {STANDING: standing.encode()})
        ledger = Ledger.resume(state, manifest.header, manifest.edge())
        self.durable.adopt(ledger)

    def close(self) -> None:
        """Wait for a snapshot that is being written."""
        self._snapshots.close()


class AbciServer:
    """Serves one application at "unix:///PATH" or "tcp://HOST:PORT".

    `failed` holds what stopped it; the engine is told before its connections are closed.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.failed: UserError | None = None
        self.stopped = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, address: str) -> str:
        """Listen; the address with the port that was really taken. UserError if it can't be."""
        parts = urlsplit(address)
        try:
            if parts.scheme == "unix":
                _remove(parts.path)
                self._server = await asyncio.start_unix_server(self._serve, parts.path)
                os.chmod(parts.path, 0o600)
                return address
            if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
                self._server = await asyncio.start_server(
                    self._serve, parts.hostname, parts.port
                )
                host, port = self._server.sockets[0].getsockname()[:2]
                return f"tcp://{host}:{port}"
        except (OSError, ValueError) as error:
            raise UserError(
                "abci", f"{address}: {error}", "choose another address", exit_code=EXIT_FAILED
            ) from error
        raise UserError("abci", f"{address!r} is no address", "give unix:///PATH or tcp://HOST:PORT")

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        deframer = Deframer()
        try:
            while data := await reader.read(READ_BYTES):
                frames = deframer.feed(data)
                if isinstance(frames, Refusal) or not self._answer(frames, writer):
                    break
                await writer.drain()
        except ConnectionError:
            pass  # the engine went away; it comes back on a new connection
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, frames: list[bytes], writer: asyncio.StreamWriter) -> bool:
        """Answer frames in order; whether the connection may stay."""
        for frame in frames:
            request = decode_request(frame)
            if isinstance(request, Refusal):
                writer.write(encode_frame(ExceptionResponse(request.detail)))
                return False
            try:
                response = self.application.handle(request)
            except UserError as error:
                self._fail(error)
                response = ExceptionResponse(str(error))
            writer.write(encode_frame(response))
            if isinstance(response, ExceptionResponse):
                if self.failed is None:
                    self._fail(_stopped(response.error))
                return False
        return True

    def _fail(self, error: UserError) -> None:
        self.failed = error
        self.stopped.set()


def _remove(path: str) -> None:
    """Remove the socket of a process that is gone: the ledger's lock keeps a second one out."""
    Path(path).unlink(missing_ok=True)


def _stopped(problem: str) -> UserError:
    return UserError("engine", "stopped", problem, exit_code=EXIT_FAILED)
