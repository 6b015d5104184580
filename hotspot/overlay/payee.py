"""The paid end of sessions: counts work, stops when unacknowledged, keeps receipts, claims them.

A relay forwards for a session while less than its credit (one chunk, and more for a payer that has
paid much; `sessions.credit_bytes`), and less than `PATIENCE_PERIODS` receipt periods, lie between
its count and the newest receipt. It shows its count at half a chunk or after
one receipt period, so in ordinary weather the limit is never met. A receipt counts only after the
driver has stored it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chain.params import Params
from chain.records import Receipt, Refusal, SessionClaim, SubmitResult
from chain.wire import receipt_hash, seal
from hotspot.actions import DropReceipt, Emit, FetchSession, KeepReceipt, SubmitRecord
from hotspot.overlay.claims import ClaimDesk, ClaimStanding, Standings
from hotspot.overlay.sessions import (
    NO_HASH,
    Claim,
    Kept,
    KeyBook,
    SessionInfo,
    Work,
    cost_ucr,
    countersigned,
    credit_bytes,
    is_signed_by,
    pack_kept,
    sign_receipt,
    work_of,
)

PATIENCE_PERIODS = 3
CLAIM_RETRY_NS = 300_000_000
CLAIM_TRIES = 5
FETCH_RETRY_NS = 2_000_000_000
LAST_CLAIM_EPOCHS = 2  # that an expired session waits for the ledger's answer
RECEIPTS_PER_CLAIM = 200  # about 265 bytes each, below the largest wire
MAX_UNKNOWN = 1_024

UNKNOWN_SESSION = Refusal("unknown_session", "session: not on the ledger, or not between us")
UNPAID = Refusal("unpaid", "session: a whole chunk is not acknowledged; sign receipts first")
OVER_CAP = Refusal("over_cap", "session: its escrow is used up; open another")
BAD_SIGNATURE = Refusal("bad_signature", "receipt: not signed by the payer")
STALE_RECEIPT = Refusal("stale_receipt", "receipt: not newer than the one we hold")
BROKEN_CHAIN = Refusal("broken_chain", "receipt: previous is not the hash of the one we hold")
PRICE_TOO_LOW = Refusal("price_too_low", "session: below what this hotspot asks")
EXPIRED = Refusal("expired", "session: past its expiry epoch")


@dataclass(frozen=True, slots=True)
class Price:
    """What this hotspot asks: per MiB relayed, and per 1,000 tokens answered."""

    relay_ucr: int = 0
    ai_ucr: int = 0


@dataclass(slots=True)
class PayeeSession:
    """One session in which we are paid."""

    info: SessionInfo
    receipt: Receipt | None = None
    relayed_bytes: int = 0
    tokens: int = 0
    requests: int = 0
    reserved_tokens: int = 0
    route: tuple[int, ...] = ()
    unpaid_since_ns: int | None = None
    claim_at_ns: int | None = None
    tries: int = 0
    submitted: int = 0  # sequence of the newest receipt handed to the ledger
    is_suspect: bool = False  # a batch with it was refused: claim it alone
    pending: dict[bytes, int] = field(default_factory=dict)

    def counted(self) -> Work:
        """Return our own count."""
        return Work(self.relayed_bytes, self.tokens, self.requests)

    def unpaid_bytes(self) -> int:
        """Return bytes relayed beyond the newest receipt."""
        return self.relayed_bytes - work_of(self.receipt).relayed_bytes

    def unpaid_tokens(self) -> int:
        """Return tokens answered or promised beyond the newest receipt."""
        return self.tokens + self.reserved_tokens - work_of(self.receipt).ai_tokens

    @property
    def is_unclaimed(self) -> bool:
        """True while the newest receipt has not been handed to the ledger."""
        return self.receipt is not None and self.receipt.sequence > self.submitted

    def claim(self) -> Claim:
        """Return the message that shows our count."""
        held = self.receipt.sequence if self.receipt else 0
        return Claim(self.info.session, self.counted(), held)


class PayeeBook:
    """All sessions in which this hotspot is paid."""

    def __init__(
        self,
        index: int,
        seed: bytes,
        network_id: bytes,
        params: Params,
        keys: KeyBook,
        price: Price,
        credit_tokens: int,
        emit: Emit,
        desk: ClaimDesk | None = None,
    ) -> None:
        """`desk`: claims many sessions under one root; None: receipts go to the ledger as such."""
        self.sessions: dict[int, PayeeSession] = {}
        self.desk = desk
        self._unsure: set[int] = set()  # whose claim was settled: the ledger knows how
        self.price = price
        self.credit_tokens = credit_tokens
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._params = params
        self._keys = keys
        self._period_ns = params.receipt_ms * 1_000_000
        self._refused: dict[int, Refusal] = {}
        self._asked: dict[int, int] = {}
        self._emit = emit

    # --- knowing the session --------------------------------------------------------------------

    def find(self, index: int, payer: int, now_ns: int) -> PayeeSession | Refusal:
        """Return the session; asks the ledger for an unknown one and refuses meanwhile."""
        session = self.sessions.get(index)
        if session is not None:
            return session if session.info.payer == payer else UNKNOWN_SESSION
        refused = self._refused.get(index)
        if refused is None and now_ns >= self._asked.get(index, 0):
            if len(self._asked) >= MAX_UNKNOWN:
                self._asked.clear()  # a flood of invented numbers costs questions, not memory
            self._asked[index] = now_ns + FETCH_RETRY_NS
            self._emit(FetchSession(index))
        return refused or UNKNOWN_SESSION

    def receive_session(self, index: int, info: SessionInfo | None, epoch: int) -> Refusal | None:
        """Take what the ledger says about a session (None: it has no such session)."""
        self._asked.pop(index, None)
        if info is None or info.payee != self._index:
            return UNKNOWN_SESSION  # perhaps not in a block yet: it may be asked for again
        refusal = self._objection(info, epoch)
        if refusal is not None:
            self._refused[index] = refusal
        elif index not in self.sessions:
            self.sessions[index] = PayeeSession(info)
        return refusal

    def _objection(self, info: SessionInfo, epoch: int) -> Refusal | None:
        if info.expiry_epoch <= epoch:
            return EXPIRED
        if info.relay_price_ucr < self.price.relay_ucr or info.ai_price_ucr < self.price.ai_ucr:
            return PRICE_TOO_LOW
        return None

    # --- work -----------------------------------------------------------------------------------

    def relay(self, session: PayeeSession, size: int, now_ns: int) -> Refusal | None:
        """Count a datagram about to be forwarded, or say why it must not be."""
        since_ns = now_ns if session.unpaid_since_ns is None else session.unpaid_since_ns
        too_old = now_ns - since_ns > PATIENCE_PERIODS * self._period_ns
        paid = work_of(session.receipt).relayed_bytes
        credit = credit_bytes(paid, self._params.chunk_bytes)
        if too_old or session.unpaid_bytes() + size > credit:
            if session.claim_at_ns is None:  # the payer is back: ask it once more
                session.claim_at_ns, session.tries = now_ns, 0
            return UNPAID
        more = Work(session.relayed_bytes + size, session.tokens, session.requests)
        if cost_ucr(session.info, more) > session.info.cap_ucr:
            return OVER_CAP
        session.relayed_bytes += size
        self._note_unpaid(session, now_ns)
        return None

    def _note_unpaid(self, session: PayeeSession, now_ns: int) -> None:
        if session.unpaid_since_ns is None:
            session.unpaid_since_ns = now_ns
            session.claim_at_ns = now_ns + self._period_ns
            session.tries = 0
        half = self._params.chunk_bytes // 2
        if session.unpaid_bytes() >= half and session.tries == 0:
            session.claim_at_ns = now_ns

    def reserve(self, session: PayeeSession, max_tokens: int) -> Refusal | None:
        """Promise an AI answer of at most so many tokens, if what is unpaid allows it."""
        unpaid = session.unpaid_tokens()
        if unpaid > 0 and unpaid + max_tokens > self.credit_tokens:
            return UNPAID
        total = Work(
            session.relayed_bytes, session.tokens + session.reserved_tokens + max_tokens, 0
        )
        if cost_ucr(session.info, total) > session.info.cap_ucr:
            return OVER_CAP
        session.reserved_tokens += max_tokens
        return None

    def settle(self, session: PayeeSession, max_tokens: int, tokens: int, now_ns: int) -> None:
        """Replace a reservation by what was really answered; 0 tokens for a failure."""
        session.reserved_tokens -= max_tokens
        if tokens > 0:
            session.tokens += min(tokens, max_tokens)
            session.requests += 1
            self._note_unpaid(session, now_ns)

    # --- receipts -------------------------------------------------------------------------------

    def receive_receipt(self, receipt: Receipt, now_ns: int) -> Refusal | None:
        """Check, countersign and keep a receipt; None means that it counts now."""
        session = self.sessions.get(receipt.session)
        if session is None:
            return UNKNOWN_SESSION
        held = session.receipt
        if held is not None and receipt_hash(held) == receipt_hash(receipt):
            # "Nothing more from me": an answer, so the clock of what is unpaid starts afresh.
            session.unpaid_since_ns = session.claim_at_ns = None
            return None
        refusal = self._receipt_objection(session, receipt)
        if refusal is not None:
            return refusal
        mine = sign_receipt(self._seed, self._network_id, receipt)
        session.receipt = countersigned(receipt, mine)
        data = pack_kept(Kept(session.info, session.receipt))
        self._emit(KeepReceipt(receipt.session, data))
        session.claim_at_ns, session.tries = None, 0
        has_more = session.counted() != work_of(session.receipt)
        session.unpaid_since_ns = now_ns if has_more and session.unpaid_bytes() > 0 else None
        if session.unpaid_since_ns is not None:
            # What came while this receipt was on its way may be half a chunk again already.
            is_much = session.unpaid_bytes() >= self._params.chunk_bytes // 2
            session.claim_at_ns = now_ns + (0 if is_much else self._period_ns)
        return None

    def _receipt_objection(self, session: PayeeSession, receipt: Receipt) -> Refusal | None:
        held = session.receipt
        if receipt.sequence != (held.sequence + 1 if held else 1):
            return STALE_RECEIPT
        if work_of(held).most(work_of(receipt)) != work_of(receipt):
            return STALE_RECEIPT
        if receipt.previous != (receipt_hash(held) if held else NO_HASH):
            return BROKEN_CHAIN
        if cost_ucr(session.info, work_of(receipt)) > session.info.cap_ucr:
            return OVER_CAP
        key = self._keys.key_of(session.info.payer)
        if not is_signed_by(key, self._network_id, receipt, receipt.payer_signature):
            return BAD_SIGNATURE
        return None

    def next_deadline(self) -> int | None:
        """Return when `take_claims` has something."""
        times = [s.claim_at_ns for s in self.sessions.values() if s.claim_at_ns is not None]
        return min(times, default=None)

    def take_claims(self, now_ns: int) -> list[PayeeSession]:
        """Return sessions whose payer should see our count now; each is tried a few times."""
        due = [s for s in self.sessions.values() if (s.claim_at_ns or now_ns + 1) <= now_ns]
        for session in due:
            session.tries += 1
            retry_ns = CLAIM_RETRY_NS << session.tries
            session.claim_at_ns = now_ns + retry_ns if session.tries < CLAIM_TRIES else None
        return due

    # --- the ledger -----------------------------------------------------------------------------

    def harvest(self, epoch: int | None = None) -> None:
        """Submit every receipt that the ledger has not got yet.

        With an epoch, what a claim under one root may hold waits for the ledger's answer first.
        """
        busy = self._busy()
        rows = [s for i, s in self.sessions.items() if s.is_unclaimed and i not in busy]
        if self.desk is not None and epoch is not None and not self.desk.is_planning:
            tree = rows if self.desk.wants(len(rows), epoch) else []
            unsure = [self.sessions[i] for i in sorted(self._unsure)]
            receipts = [s.receipt for s in (*unsure, *tree) if s.receipt is not None]
            if receipts:
                self.desk.plan(receipts)
            rows = [] if tree else rows
        self._claim_directly(rows)

    def _busy(self) -> set[int]:
        """Sessions that a claim under one root holds, or whose standing has to be asked for."""
        return self._unsure | (self.desk.taken() if self.desk else set())

    def _claim_directly(self, rows: Sequence[PayeeSession]) -> None:
        together = [s for s in rows if not s.is_suspect]
        for at in range(0, len(together), RECEIPTS_PER_CLAIM):
            self._claim(together[at : at + RECEIPTS_PER_CLAIM])
        for session in rows:
            if session.is_suspect:
                self._claim([session])

    def _claim(self, sessions: Sequence[PayeeSession]) -> None:
        receipts = tuple(s.receipt for s in sessions if s.receipt is not None)
        signed = seal(SessionClaim(receipts), self._network_id, [])
        self._emit(SubmitRecord(signed.wire))
        for session, receipt in zip(sessions, receipts, strict=True):
            session.pending[signed.record_id] = session.submitted
            session.submitted = receipt.sequence

    def receive_standings(self, standings: Standings, epoch: int) -> None:
        """Take what the ledger says of sessions; claim under one root, or what is left as it is."""
        if self.desk is None:
            return
        claimed = self.desk.receive_standings(standings, epoch)
        self._unsure -= claimed.keys()
        rows = [self.sessions[i] for i in claimed if i in self.sessions]
        for session in rows:
            session.submitted = claimed[session.info.session]
        self._claim_directly([s for s in rows if s.is_unclaimed])

    def receive_claim(self, number: int, standing: ClaimStanding | None) -> None:
        """Take what became of a claim of ours."""
        if self.desk is not None:
            self._free(self.desk.receive_claim(number, standing))

    def _free(self, sessions: Iterable[int]) -> None:
        self._unsure |= {index for index in sessions if index in self.sessions}

    def receive_result(self, result: SubmitResult) -> bool:
        """Take the ledger's answer; return False if it is not about a claim of ours.

        A batch stands or falls as one: after a refusal its receipts are claimed one by one, and
        what is refused alone is given up.
        """
        if self.desk is not None:
            freed = self.desk.receive_result(result)
            if freed is not None:
                self._free(freed)
                return True
        batch = [s for s in self.sessions.values() if result.record_id in s.pending]
        for session in batch:
            before = session.pending.pop(result.record_id)
            if not result.accepted and not session.is_suspect:
                session.submitted, session.is_suspect = before, True
        return bool(batch)

    # --- memory ---------------------------------------------------------------------------------

    def restore(self, kept: Kept) -> None:
        """Take back a session after a restart; what was not acknowledged before is our loss."""
        work = work_of(kept.receipt)
        self.sessions[kept.info.session] = PayeeSession(
            kept.info, kept.receipt, work.relayed_bytes, work.ai_tokens, work.ai_requests
        )

    def restore_claim(self, data: bytes) -> None:
        """Take back an open claim; after the receipts of its sessions."""
        if self.desk is not None:
            self.desk.restore(data)

    def forget_expired(self, epoch: int) -> None:
        """Drop sessions whose escrow has gone back; a last receipt is claimed first."""
        over = [s for s in self.sessions.values() if s.info.expiry_epoch < epoch]
        if any(s.is_unclaimed for s in over):
            self.harvest()
        busy = self._busy()
        for session in (s for s in over if s.info.session not in busy):
            has_answer = not session.is_unclaimed and not session.pending
            if has_answer or session.info.expiry_epoch + LAST_CLAIM_EPOCHS < epoch:
                del self.sessions[session.info.session]
                self._emit(DropReceipt(session.info.session))
