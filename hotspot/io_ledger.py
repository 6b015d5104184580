"""The gateway's way to the ledger: a thread that asks, so that the event loop never waits.

Each question is retried until the ledger answers; records stay in the durable outbox meanwhile.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chain.io_client import LedgerClient, LedgerRefused
from chain.records import SubmitResult
from hotspot.sessions import SessionInfo

REFRESH_S = 3.0
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The ledger's answer to a record."""

    result: SubmitResult


@dataclass(frozen=True, slots=True)
class SessionKnown:
    """What the ledger says about a session; None: it has none of that number."""

    session: int
    info: SessionInfo | None


@dataclass(frozen=True, slots=True)
class HotspotsKnown:
    """Hotspots of the network: (index, key)."""

    entries: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Whether the ledger answers, and if not, why."""

    problem: str


Event = Submitted | SessionKnown | HotspotsKnown | LedgerState
Question = Callable[[LedgerClient], Event]


class LedgerThread(threading.Thread):
    """Asks the ledger; `on_event` is called in this thread with each answer."""

    def __init__(self, url: str, on_event: Callable[[Event], None]) -> None:
        super().__init__(name="ledger", daemon=True)
        self._client = LedgerClient(url)
        self._on_event = on_event
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._problem = ""

    def submit(self, wire: bytes) -> None:
        """Deliver a record until it is answered."""
        self._questions.put(lambda client: Submitted(client.submit([wire])[0]))

    def fetch_session(self, session: int) -> None:
        """Ask for a session."""
        self._questions.put(lambda client: _session(client, session))

    def stop(self, patience_s: float = 3.0) -> None:
        """Answer what was asked, if the ledger is there, and end."""
        self._questions.put(None)
        self.join(timeout=patience_s)
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        refresh_at = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= refresh_at:
                self._ask(_hotspots)
                refresh_at = time.monotonic() + REFRESH_S
            try:
                question = self._questions.get(timeout=max(0.01, refresh_at - time.monotonic()))
            except queue.Empty:
                continue
            if question is None:
                break
            self._ask(question)
        self._client.close()

    def _ask(self, question: Question) -> None:
        for attempt in range(1_000_000):
            try:
                self._on_event(question(self._client))
                self._note("")
                return
            except LedgerRefused as error:
                self._note(f"refused: {error}")
                return
            except OSError as error:
                self._note(str(error))
            if self._stopping.wait(RETRY_S[min(attempt, len(RETRY_S) - 1)]):
                return

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._on_event(LedgerState(problem))


def _hotspots(client: LedgerClient) -> Event:
    return HotspotsKnown(tuple((row.index, row.key) for row in client.hotspots()))


def _session(client: LedgerClient, session: int) -> Event:
    row = client.session(session)
    if row is None:
        return SessionKnown(session, None)
    prices = (row.relay_price_ucr, row.ai_price_ucr, row.cap_ucr, row.expiry_epoch)
    return SessionKnown(session, SessionInfo(row.index, row.payer, row.payee, *prices))
