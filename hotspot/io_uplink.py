"""The way to the ledger: one thread that delivers records and fetches what nodes need.

The main loop never waits for the network. It hands over work, and drains events that the thread
has ready; `wake` is called when there are some. While the ledger is away the thread retries with
a growing pause, and says so once, and once more when the ledger is back. A batch that the ledger
refuses whole is delivered record by record, so that each one gets an answer and none blocks others.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from chain.io_client import LedgerClient, LedgerRefused
from chain.io_client import SessionInfo as SessionRow
from chain.records import SubmitResult
from chain.wire import record_id_of
from hotspot.io_knock import GatewayKnown, knock

if TYPE_CHECKING:  # claims bring half of the ledger's rules: hotspotd, which has none, does without
    from hotspot.overlay.claims import ClaimStanding, Held, Standing
    from hotspot.overlay.claims import Standings as StandingsOf
    from hotspot.overlay.sessions import SessionInfo

BATCH = 64
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
REFRESH_S = 5.0
OWNER_S = 60.0  # what an owner looks at changes once an epoch
GATHER_S = 0.3  # keys that are first heard within this are asked for at once
TRY_LATER = frozenset({408, 425, 429})  # refusals of the moment, not of what was asked


@dataclass(frozen=True, slots=True)
class Submitted:
    """The ledger answered these records."""

    results: tuple[SubmitResult, ...]


@dataclass(frozen=True, slots=True)
class MixKnown:
    """The public randomness of an epoch."""

    epoch: int
    mix: bytes


@dataclass(frozen=True, slots=True)
class DirectoryKnown:
    """Hotspots that are new to us: (index, key, epoch from which the registration binds)."""

    entries: tuple[tuple[int, bytes, int], ...]


@dataclass(frozen=True, slots=True)
class PeerKnown:
    """Who a key is: its index and the epoch from which it binds; None: not registered."""

    key: bytes
    index: int | None
    bind_epoch: int


@dataclass(frozen=True, slots=True)
class SessionKnown:
    """A session as the ledger has it, or None where it knows no such session."""

    session: int
    info: SessionInfo | None


@dataclass(frozen=True, slots=True)
class StandingsKnown:
    """Where sessions of a hotspot stand."""

    hotspot: int
    standings: StandingsOf


@dataclass(frozen=True, slots=True)
class ClaimKnown:
    """What became of a claim of a hotspot; None where it is open no more."""

    hotspot: int
    claim: int
    standing: ClaimStanding | None


@dataclass(frozen=True, slots=True)
class OwnerKnown:
    """What the ledger says of one hotspot and its owner; None where it knows no such hotspot.

    `epoch` is the ledger's, `why` its explanation of the newest beacons, reports and payments,
    `rotation` the hotspot's next key, where one is named, `last_epoch` that of its newest message,
    `is_former`: our key gave way to another.
    """

    epoch: int
    earned_ucr: int | None
    bond_ucr: int | None
    trust_ppm: int | None
    balance_ucr: int | None
    why: dict[str, Any] | None
    rotation: dict[str, Any] | None = None
    last_epoch: int | None = None
    is_former: bool = False


@dataclass(frozen=True, slots=True)
class RecordKnown:
    """Whether the ledger has a record."""

    record_id: bytes
    is_known: bool


@dataclass(frozen=True, slots=True)
class LedgerAway:
    """The ledger can't be reached, and why."""

    problem: str


@dataclass(frozen=True, slots=True)
class LedgerBack:
    """The ledger answers again."""


Event = (
    Submitted
    | MixKnown
    | DirectoryKnown
    | PeerKnown
    | SessionKnown
    | StandingsKnown
    | ClaimKnown
    | OwnerKnown
    | RecordKnown
    | GatewayKnown
    | LedgerAway
    | LedgerBack
)


class Uplink(threading.Thread):
    """Delivers records at least once, in order, and answers questions about the ledger.

    With `everybody` it keeps up with all hotspots of the network; a hotspot that only listens asks
    for the keys that it hears (`find_peer`).
    """

    def __init__(
        self, client: LedgerClient, wake: Callable[[], None], *, everybody: bool = True
    ) -> None:
        super().__init__(name="uplink", daemon=True)
        self._client = client
        self._wake = wake
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._lock = threading.Condition()
        self._wires: deque[bytes] = deque()
        self._mixes: set[int] = set()
        self._peers: dict[bytes, None] = {}
        self._everybody = everybody
        self._ask_at = 0.0
        self._known = 0  # hotspots that the main loop was told of
        self._sessions: set[int] = set()
        self._standings: dict[tuple[int, tuple[int, ...]], None] = {}
        self._claims: dict[tuple[int, int], None] = {}
        self._records: dict[bytes, None] = {}
        self._stopping = False
        self._called = False
        self._one_by_one = 0
        self._away = False
        self._refresh_at = 0.0
        self._watched: tuple[bytes, bytes] | None = None
        self._gateway: tuple[str, int] | None = None
        self._owner_at = self._knock_at = 0.0

    # --- from the main loop -----------------------------------------------------------------------

    def submit(self, wires: Iterable[bytes]) -> None:
        """Deliver signed records, in order, until the ledger answers."""
        with self._lock:
            self._wires.extend(wires)
            self._call()

    def fetch_mix(self, epoch: int) -> None:
        """Report the mix of this epoch once the ledger has it; an older question is dropped."""
        with self._lock:
            self._mixes = {e for e in self._mixes if e >= epoch - 1} | {epoch}
            self._call()

    def find_peer(self, key: bytes) -> None:
        """Report who a key is."""
        with self._lock:
            self._peers[key] = None
            if len(self._peers) == 1:  # others that are heard soon go along
                self._ask_at = time.monotonic() + GATHER_S
            self._call()

    def fetch_session(self, session: int) -> None:
        """Report what the ledger knows of a session."""
        with self._lock:
            self._sessions.add(session)
            self._call()

    def fetch_standings(self, hotspot: int, sessions: tuple[int, ...]) -> None:
        """Report where sessions of a hotspot stand."""
        with self._lock:
            self._standings[hotspot, sessions] = None
            self._call()

    def fetch_claim(self, hotspot: int, claim: int) -> None:
        """Report what became of a hotspot's claim."""
        with self._lock:
            self._claims[hotspot, claim] = None
            self._call()

    def find_record(self, record_id: bytes) -> None:
        """Report whether the ledger has a record."""
        with self._lock:
            self._records[record_id] = None
            self._call()

    def watch(self, key: bytes, owner: bytes, gateway: tuple[str, int] | None = None) -> None:
        """Report each minute what the ledger says of a hotspot, and if its gateway answers."""
        with self._lock:
            self._watched, self._gateway = (key, owner), gateway
            self._call()

    def _call(self) -> None:
        """Wake the thread, or keep it from resting if it is just at work."""
        self._called = True
        self._lock.notify()

    def drain(self) -> list[Event]:
        """Events that are ready."""
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def backlog(self) -> int:
        """Records that wait for an answer."""
        return len(self._wires)

    def stop(self, patience_s: float = 0.0) -> None:
        """End the thread once all is delivered, at the latest after `patience_s`.

        What is undelivered stays in the durable queue.
        """
        deadline = time.monotonic() + patience_s
        while self._wires and time.monotonic() < deadline:
            time.sleep(0.02)
        with self._lock:
            self._stopping = True
            self._call()
        self.join(timeout=5)

    # --- the thread -------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until stopped."""
        failures = 0
        while not self._stopping:
            try:
                idle = self._work()
                failures = 0
                self._note_back()
            except (OSError, LedgerRefused) as error:
                idle = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
                self._note_away(str(error))
            with self._lock:
                if not self._called:
                    self._lock.wait(timeout=idle)
                self._called = False
        self._client.close()

    def _work(self) -> float:
        """Do what is wanted now; return how long to rest, in seconds, unless woken."""
        self._knock()
        self._deliver()
        self._ask_sessions()
        self._ask_claims()
        gathering_s = self._ask_at - time.monotonic() if self._peers else 0.0
        if gathering_s <= 0:
            self._ask_peers()
        waiting = self._ask_mixes()
        if self._everybody and time.monotonic() >= self._refresh_at:
            rows = self._client.hotspots(self._known)
            self._refresh_at = time.monotonic() + REFRESH_S
            self._known += len(rows)
            self._emit(DirectoryKnown(tuple((r.index, r.key, r.bind_epoch) for r in rows)))
        self._ask_owner()
        self._ask_records()
        rest_s = 0.1 if waiting else REFRESH_S
        return min(rest_s, gathering_s) if gathering_s > 0 else rest_s

    def _deliver(self) -> None:
        while self._wires and not self._stopping:
            size = 1 if self._one_by_one else BATCH
            batch = [self._wires[i] for i in range(min(size, len(self._wires)))]
            results = self._submit(batch)
            if not results:
                self._one_by_one = len(batch)
                continue
            self._one_by_one = max(0, self._one_by_one - 1)
            # The event first: whoever sees an empty backlog finds all answers in `drain`.
            self._events.put(Submitted(tuple(results)))
            with self._lock:
                for _ in batch:
                    self._wires.popleft()
            self._wake()

    def _submit(self, batch: list[bytes]) -> list[SubmitResult]:
        """Return the answers; none where the ledger refused the batch without looking inside."""
        try:
            return self._client.submit(batch)
        except LedgerRefused as error:
            if error.status in TRY_LATER:
                raise
            if len(batch) > 1:
                return []
            reason = f"http_{error.status}"
            return [SubmitResult(record_id_of(batch[0]), False, None, reason, str(error))]

    def _knock(self) -> None:
        if self._gateway is not None and time.monotonic() >= self._knock_at:
            self._knock_at = time.monotonic() + OWNER_S
            self._emit(knock(self._gateway))

    def _ask_owner(self) -> None:
        if self._watched is None or time.monotonic() < self._owner_at:
            return
        self._owner_at = time.monotonic() + OWNER_S
        key, owner = self._watched
        spot = self._client.find(f"/v1/hotspots/{key.hex()}")
        if spot is None:
            self._owner_at = time.monotonic() + REFRESH_S
        try:
            why = self._client.find(f"/v1/explain/{spot['index']}") if spot else None
        except LedgerRefused:  # a bug over there: everything else goes on
            why = None
        known = OwnerKnown(
            epoch=self._client.head().epoch,
            earned_ucr=spot["earned_ucr"] if spot else None,
            bond_ucr=spot["bond_ucr"] if spot else None,
            trust_ppm=spot["trust_ppm"] if spot else None,
            balance_ucr=self._client.account(owner).balance_ucr,
            why=why,
            rotation=spot.get("rotation") if spot else None,
            last_epoch=spot.get("last_epoch") if spot else None,
            is_former=spot is not None and is_former(spot, key),
        )
        self._emit(known)

    def _ask_records(self) -> None:
        for record_id in list(self._records):
            is_known = self._client.find_record(record_id) is not None
            with self._lock:
                del self._records[record_id]
            self._emit(RecordKnown(record_id, is_known))

    def _ask_peers(self) -> None:
        while keys := list(self._peers)[:BATCH]:
            known = {row.key: row for row in self._client.hotspots_of(keys)}
            with self._lock:
                for key in keys:
                    del self._peers[key]
            for key in keys:
                spot = known.get(key)
                found = (None, 0) if spot is None else (spot.index, spot.bind_epoch)
                self._emit(PeerKnown(key, *found))

    def _ask_mixes(self) -> bool:
        for epoch in sorted(self._mixes):
            mix = self._client.mix(epoch)
            if mix is not None:
                with self._lock:
                    self._mixes.discard(epoch)
                self._emit(MixKnown(epoch, mix))
        return bool(self._mixes)

    def _ask_sessions(self) -> None:
        for session in sorted(self._sessions):
            found = self._client.session(session)
            with self._lock:
                self._sessions.discard(session)
            self._emit(SessionKnown(session, session_info(found) if found else None))

    def _ask_claims(self) -> None:
        if not (self._standings or self._claims):
            return
        from hotspot.overlay.claims import Standings

        for hotspot, sessions in list(self._standings):
            own = self._client.hotspot(hotspot)
            rows = {session: self._find_standing(session) for session in sessions}
            with self._lock:
                del self._standings[hotspot, sessions]
            known = Standings(own.bond_ucr if own else 0, rows)
            self._emit(StandingsKnown(hotspot, known))
        for hotspot, claim in list(self._claims):
            found = self._client.find(f"/v1/claims/{claim}")
            with self._lock:
                del self._claims[hotspot, claim]
            self._emit(ClaimKnown(hotspot, claim, claim_standing(found) if found else None))

    def _find_standing(self, session: int) -> Standing | None:
        found = self._client.find(f"/v1/sessions/{session}")
        return standing_of(found) if found else None

    def _emit(self, event: Event) -> None:
        self._events.put(event)
        self._wake()

    def _note_away(self, problem: str) -> None:
        if not self._away:
            self._away = True
            self._emit(LedgerAway(problem))

    def _note_back(self) -> None:
        if self._away:
            self._away = False
            self._emit(LedgerBack())


def is_former(spot: dict[str, Any], key: bytes) -> bool:
    """Whether a hotspot, as the ledger tells of it, had this key before."""
    return any(row["key"] == key.hex() for row in spot.get("former_keys", ()))


def session_info(row: SessionRow) -> SessionInfo:
    """The ledger's row of a session as relays know it."""
    from hotspot.overlay.sessions import SessionInfo

    return SessionInfo(
        session=row.index,
        payer=row.payer,
        payee=row.payee,
        relay_price_ucr=row.relay_price_ucr,
        ai_price_ucr=row.ai_price_ucr,
        cap_ucr=row.cap_ucr,
        expiry_epoch=row.expiry_epoch,
    )


def standing_of(row: dict[str, Any]) -> Standing:
    """The ledger's JSON of a session as relays and payers check it."""
    from hotspot.overlay.claims import Standing

    held = row.get("claim")
    values = {field.name: row[field.name] for field in fields(Standing) if field.name != "held"}
    return Standing(**values, held=held_of(held) if held else None)


def held_of(row: dict[str, Any]) -> Held:
    """What an open claim says of a session, from the ledger's JSON."""
    from hotspot.overlay.claims import Held

    totals = (row["relayed_bytes"], row["ai_tokens"], row["ai_requests"])
    return Held(row["index"], row["position"], row["sequence"], *totals)


def claim_standing(row: dict[str, Any]) -> ClaimStanding:
    """The ledger's JSON of an open claim as its relay needs it."""
    from hotspot.overlay.claims import ClaimStanding

    asked = sorted({*row["drawn"], *row["disputed"]})
    return ClaimStanding(tuple(asked), tuple(row["opened"]))
