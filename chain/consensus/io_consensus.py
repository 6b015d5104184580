"""The engine that several operators share, as the ledger's HTTP service sees it.

A record is screened here, packed with others into a transaction, given to the local consensus node
and answered once the block that holds it is durable. Hotspots don't notice which engine runs.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from chain import wire
from chain.abci.application import Application, Executed
from chain.abci.transactions import Batch, decode_transaction, pack_transactions
from chain.errors import UserError
from chain.io_abci import DurableBooks
from chain.io_ledger import DurableLedger, now_ms
from chain.io_metrics import Metrics
from chain.records import Refusal, Signed, SubmitResult
from chain.rules.outcome import ALREADY
from chain.service.io_sequencer import MAX_WAITING
from chain.service.io_verify import VerifyPool
from chain.standing import FIRST_CREDIT, Door, get_claimed_key

# Records of so long go into transactions together: far below a block's time.
GATHER_S = 0.02
# Shorter than a client waits for an answer (chain.io_client.TIMEOUT_S): it hears why.
ANSWER_S = 8.0
RPC_TIMEOUT_S = 5.0


class RpcError(Exception):
    """The consensus node can't be reached, or refused a call."""


class NodeRpc:
    """JSON-RPC of the local consensus node, at "unix:///PATH" or "tcp://HOST:PORT"."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._path = parts.path if parts.scheme == "unix" else None
        self._url = "http://localhost/" if self._path else f"http://{parts.netloc}/"
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, **parameters: object) -> dict[str, object]:
        """The result of a method; RpcError if there is none."""
        if self._session is None:
            connector = aiohttp.UnixConnector(self._path) if self._path else None
            timeout = aiohttp.ClientTimeout(total=RPC_TIMEOUT_S)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        try:
            async with self._session.post(self._url, json=question) as response:
                answer = json.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise RpcError(f"{method}: {error or type(error).__name__}") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
            problem = answer.get("error") if isinstance(answer, dict) else answer
            raise RpcError(f"{method}: {_problem(problem)}")
        return dict(answer["result"])

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _problem(error: object) -> str:
    if isinstance(error, dict):
        return str(error.get("data") or error.get("message") or error)
    return str(error)


@dataclass(slots=True)
class Waiting:
    """A record on its way, and who waits for its answer."""

    signed: Signed
    answer: asyncio.Future[SubmitResult]


class ConsensusEngine:
    """Orders records through a consensus node; the counterpart of `io_sequencer.Sequencer`.

    `application` is the machine that the node executes; give it `on_commit=engine.note_commit`.
    """

    def __init__(
        self, books: DurableBooks, rpc: NodeRpc, pool: VerifyPool, metrics: Metrics | None = None
    ) -> None:
        self.durable: DurableLedger = books.durable
        self.metrics = metrics or Metrics()
        self.metrics.signatures = pool.tally
        self.door = Door()
        self.fault = ""
        self.height = 0
        self.application: Application | None = None
        self._rpc = rpc
        self._pool = pool
        self._gathered: list[Waiting] = []
        self._on_the_way: dict[bytes, Waiting] = {}
        self._arrived = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Records that came and were not answered yet."""
        return len(self._on_the_way)

    def start(self) -> None:
        """Start sending; needs a running loop."""
        self._sender = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Stop; what was not answered comes again from whoever sent it."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        await self._rpc.close()

    async def submit(self, wires: list[bytes], source: Hashable = None) -> list[SubmitResult]:
        """Answer records once a block that holds them is durable.

        UserError 503 if none does in time or too many wait, 429 if the source brought too much bad.
        """
        if self._on_the_way and len(self._on_the_way) + len(wires) > MAX_WAITING:
            raise UserError("records", "too many are waiting", "send them again soon", status=503)
        size = len(wires) if source is None or self.door.is_known(source) else FIRST_CREDIT
        answers: list[SubmitResult | asyncio.Future[SubmitResult]] = []
        for start in range(0, len(wires), max(1, size)):
            self.check_door(source)
            answers += self._take_all(wires[start : start + size], source)
        futures = [answer for answer in answers if not isinstance(answer, SubmitResult)]
        if futures:
            await asyncio.wait(futures, timeout=ANSWER_S)
        self._forget_late(wires)
        results = [a if isinstance(a, SubmitResult) else _answer_of(a) for a in answers]
        waited = [n for n, answer in enumerate(answers) if not isinstance(answer, SubmitResult)]
        self.note(source, [wires[n] for n in waited], [results[n] for n in waited])
        self.metrics.count_results(wires, results)
        return results

    def check_door(self, source: Hashable) -> None:
        """UserError 429 for a source that must wait, before anything of its request is read."""
        wait_ms = 0 if source is None else self.door.get_wait_ms(source, now_ms())
        if wait_ms > 0:
            self.metrics.refused_at_door["source"] += 1
            problem = "too many records of this source had bad signatures or shapes"
            raise UserError("source", problem, f"wait {wait_ms} ms and mend them", status=429)

    def note(
        self, source: Hashable, wires: Sequence[bytes], results: Sequence[SubmitResult]
    ) -> None:
        """Remember what a source brought; None, this process itself, has no standing."""
        if source is None:
            return
        epoch, now = self.durable.ledger.state.epoch, now_ms()
        known = self.door.is_known(source)
        for raw, result in zip(wires, results, strict=True):
            key = None if known or result.accepted else get_claimed_key(wire.decode(raw))
            self.door.note(source, result.reason, key, epoch, now)

    def _take_all(
        self, wires: Sequence[bytes], source: Hashable
    ) -> list[SubmitResult | asyncio.Future[SubmitResult]]:
        """Screen records, on all cores, and send on what can't be answered at once."""
        decoded = [wire.decode(raw) for raw in wires]
        good = [signed for signed in decoded if isinstance(signed, Signed)]
        self._pool.prefetch(self.durable.ledger.state, good)
        answers = [self._take(raw, signed) for raw, signed in zip(wires, decoded, strict=True)]
        done = [
            (raw, answer)
            for raw, answer in zip(wires, answers, strict=True)
            if isinstance(answer, SubmitResult)
        ]
        self.note(source, [raw for raw, _ in done], [answer for _, answer in done])
        return answers

    def _forget_late(self, wires: Iterable[bytes]) -> None:
        """What got no answer in time is sent anew when it comes again."""
        for raw in wires:
            self._on_the_way.pop(wire.record_id_of(raw), None)

    def _take(
        self, raw: bytes, signed: Signed | Refusal
    ) -> SubmitResult | asyncio.Future[SubmitResult]:
        """The answer to a record if it can be given at once, else what to wait for."""
        if isinstance(signed, Refusal):
            return _refused(wire.record_id_of(raw), signed)
        if signed.record_id in self._on_the_way:
            return self._on_the_way[signed.record_id].answer
        if (found := self.durable.ledger.lookup(signed.record_id)) is not None:
            return SubmitResult(signed.record_id, True, found.index, ALREADY, "")
        if self.application is None:
            raise _unavailable("the consensus node is not there yet")
        if refusal := self.application.screen_record(signed):
            return _refused(signed.record_id, refusal)
        waiting = Waiting(signed, asyncio.get_running_loop().create_future())
        self._on_the_way[signed.record_id] = waiting
        self._gathered.append(waiting)
        self._arrived.set()
        return waiting.answer

    def note_commit(self, height: int, executed: Sequence[Executed]) -> None:
        """Answer whoever waits for the records of a block that is durable now."""
        self.height = height
        for transaction in executed:
            for result in transaction.results:
                self._finish(result)

    def _finish(self, result: SubmitResult) -> None:
        waiting = self._on_the_way.pop(result.record_id, None)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(result)

    async def _send(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            gathered, self._gathered = self._gathered, []
            by_wire = {waiting.signed.wire: waiting for waiting in gathered}
            for tx in pack_transactions(by_wire):
                await self._broadcast(tx, by_wire)

    async def _broadcast(self, tx: bytes, by_wire: dict[bytes, Waiting]) -> None:
        """Hand a transaction to the node; its records are answered by their block, or here."""
        batch = decode_transaction(tx)
        records = batch.records if isinstance(batch, Batch) else ()
        try:
            result = await self._rpc.call(
                "broadcast_tx_sync", tx=base64.b64encode(tx).decode()
            )
        except RpcError as error:
            if "already exists in cache" in str(error):
                return
            self.fault = f"consensus node: {error}"
            self._give_up((by_wire[s.wire] for s in records), self.fault)
            return
        self.fault = ""
        if result.get("code"):
            refusal = Refusal(str(result.get("codespace")), str(result.get("log")))
            for signed in records:
                self._finish(_refused(signed.record_id, refusal))

    def _give_up(self, lost: Iterable[Waiting], problem: str) -> None:
        for waiting in lost:
            self._on_the_way.pop(waiting.signed.record_id, None)
            if not waiting.answer.done():
                waiting.answer.set_exception(_unavailable(problem))


def _answer_of(answer: asyncio.Future[SubmitResult]) -> SubmitResult:
    if not answer.done():
        raise _unavailable("no block took the record in time; too few validators may be up")
    return answer.result()


def _refused(record_id: bytes, refusal: Refusal) -> SubmitResult:
    return SubmitResult(record_id, False, None, refusal.reason, refusal.detail)


def _unavailable(problem: str) -> UserError:
    return UserError("ledger", problem, "keep the record and send it again", status=503)
