"""The paying end of sessions: opens them, counts what it got, signs receipts for no more than that.

Our own count of relayed bytes is what we sent through a relay plus what came back through it. What
a relay forwarded towards us but the air lost further on is honest work that we never saw, so the
count is stretched by a quarter of what arrived and a few datagrams. A payee that keeps asking for
more than that is not paid more: its session is retired and the next one is opened only if the
router still wants that path.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.records import Receipt, Refusal, SessionOpen, SubmitResult
from chain.wire import decode as decode_record
from chain.wire import receipt_hash, seal
from hotspot.actions import DropReceipt, Emit, KeepReceipt, Log, SubmitRecord
from hotspot.overlay.sessions import (
    NO_HASH,
    Claim,
    Kept,
    SessionInfo,
    Work,
    cost_ucr,
    pack_kept,
    sign_receipt,
    work_of,
)

LOSS_SHARE = 4  # one part in so many of what arrived may have been lost on the way back
LOSS_FLOOR_BYTES = 16 * 1024
TOKEN_DISPUTE = 2_048
RETRY_NS = 5_000_000_000
SYNC_NS = 200_000_000
PATIENCE_NS = 20_000_000_000

PAYEE_SILENT = Refusal("payee_silent", "session: the payee did not answer; another path is tried")


@dataclass(slots=True)
class Terms:
    """What we accept to pay, and how much goes into escrow for one session."""

    relay_price_ucr: int
    ai_price_ucr: int
    cap_ucr: int
    expiry_epoch: int
    tokens: int = 0  # that the session must still be able to pay


@dataclass(slots=True)
class PayerSession:
    """One session that we pay."""

    info: SessionInfo
    receipt: Receipt | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    tokens: int = 0
    requests: int = 0
    reserved_tokens: int = 0  # of requests that are running
    is_ready: bool = False
    is_retired: bool = False
    asking_ns: int = 0
    synced_ns: int = 0

    def bound(self) -> Work:
        """Return the most that we acknowledge."""
        lost = self.received_bytes // LOSS_SHARE + LOSS_FLOOR_BYTES
        return Work(self.sent_bytes + self.received_bytes + lost, self.tokens, self.requests)

    def has_headroom(self, tokens: int) -> bool:
        """Tell whether a quarter of the cap is still free, and so many more tokens fit."""
        if 4 * cost_ucr(self.info, self.counted()) >= 3 * max(1, self.info.cap_ucr):
            return False
        more = Work(self.counted().relayed_bytes, self.tokens + self.reserved_tokens + tokens)
        return cost_ucr(self.info, more) <= self.info.cap_ucr

    def is_usable_at(self, terms: Terms) -> bool:
        """Tell whether new work may go under this session at these prices."""
        pays = self.info.relay_price_ucr >= terms.relay_price_ucr
        pays = pays and self.info.ai_price_ucr >= terms.ai_price_ucr
        return pays and not self.is_retired and self.has_headroom(terms.tokens)

    def counted(self) -> Work:
        """Return the exact count of this end."""
        return Work(self.sent_bytes + self.received_bytes, self.tokens, self.requests)


@dataclass(slots=True)
class _Opening:
    record: SessionOpen
    since_ns: int


class PayerBook:
    """All sessions in which this hotspot pays."""

    def __init__(self, index: int, seed: bytes, network_id: bytes, emit: Emit) -> None:
        self.sessions: dict[int, PayerSession] = {}
        self._index = index
        self._seed = seed
        self._network_id = network_id
        self._openings: dict[bytes, _Opening] = {}
        self._refused: dict[int, tuple[Refusal, int]] = {}
        self._nonce = 0
        self._emit = emit

    # --- opening --------------------------------------------------------------------------------

    def ensure(self, payee: int, terms: Terms, now_ns: int) -> PayerSession | Refusal | None:
        """Return a session with this payee (perhaps not ready yet), None while one is being opened.

        A Refusal tells why there will be none for the next few seconds.
        """
        session = self.find(payee, terms)
        if session is not None:
            return session
        refused = self._refused.get(payee)
        if refused is not None and now_ns < refused[1]:
            return refused[0]
        if not any(o.record.payee == payee for o in self._openings.values()):
            self._open(payee, terms, now_ns)
        return None

    def find(self, payee: int, terms: Terms) -> PayerSession | None:
        """Return the newest usable session with this payee."""
        for session in reversed(self.sessions.values()):
            if session.info.payee == payee and session.is_usable_at(terms):
                return session
        return None

    def _open(self, payee: int, terms: Terms, now_ns: int) -> None:
        # Milliseconds of the clock: a restart never repeats a nonce, and no state is needed for it.
        self._nonce = max(self._nonce + 1, now_ns // 1_000_000 & 0xFFFF_FFFF)
        record = SessionOpen(
            self._index,
            payee,
            self._nonce,
            terms.relay_price_ucr,
            terms.ai_price_ucr,
            terms.cap_ucr,
            terms.expiry_epoch,
        )
        signed = seal(record, self._network_id, [self._seed])
        self._openings[signed.record_id] = _Opening(record, now_ns)
        self._emit(SubmitRecord(signed.wire))

    def receive_result(self, result: SubmitResult, now_ns: int) -> bool:
        """Take the ledger's answer; return False if it is not about an opening of ours."""
        opening = self._openings.pop(result.record_id, None)
        if opening is None:
            return False
        record = opening.record
        if not result.accepted or result.index is None:
            refusal = Refusal(
                result.reason, f"session with hotspot {record.payee}: {result.detail}"
            )
            self._refused[record.payee] = (refusal, now_ns + RETRY_NS)
            self._emit(Log("warning", refusal.detail))
            return True
        prices = (record.relay_price_ucr, record.ai_price_ucr, record.cap_ucr, record.expiry_epoch)
        info = SessionInfo(result.index, record.payer, record.payee, *prices)
        session = PayerSession(info)
        self.sessions[info.session] = session
        self._keep(session)
        return True

    # --- counting -------------------------------------------------------------------------------

    def count_sent(self, session: int, size: int) -> None:
        """Count a datagram that left through this session's relay."""
        if session in self.sessions:
            self.sessions[session].sent_bytes += size

    def count_received(self, session: int, size: int) -> None:
        """Count a datagram that came through this session's relay."""
        if session in self.sessions:
            self.sessions[session].received_bytes += size

    def reserve(self, session: int, tokens: int) -> None:
        """Set tokens aside for a running request; give them back with a negative number."""
        if session in self.sessions:
            self.sessions[session].reserved_tokens += tokens

    def count_answer(self, session: int, tokens: int) -> None:
        """Count an AI answer, in tokens by our own rule."""
        if session in self.sessions:
            self.sessions[session].tokens += tokens
            self.sessions[session].requests += 1

    # --- talking --------------------------------------------------------------------------------

    def wants_sync(self, session: PayerSession, now_ns: int) -> bool:
        """Tell whether a SYNC should leave now for a session that is not ready, and note it."""
        if session.is_ready or session.is_retired or now_ns < session.synced_ns + SYNC_NS:
            return False
        if now_ns > session.synced_ns + 10 * SYNC_NS:  # nobody asked for a while: start afresh
            session.asking_ns = now_ns
        if now_ns > session.asking_ns + PATIENCE_NS:
            self.retire(session, PAYEE_SILENT, now_ns)
            return False
        session.synced_ns = now_ns
        return True

    def retire(self, session: PayerSession, refusal: Refusal, now_ns: int) -> None:
        """Use this session no more; its payee gets no new one for a few seconds."""
        session.is_retired = True
        self._refused[session.info.payee] = (refusal, now_ns + RETRY_NS)

    def receive_refuse(self, session_index: int, reason: str, now_ns: int) -> None:
        """Take a payee's refusal to work under a session."""
        session = self.sessions.get(session_index)
        if session is not None:
            detail = f"hotspot {session.info.payee} refuses session {session_index}: {reason}"
            self.retire(session, Refusal(reason, detail), now_ns)

    def receive_claim(self, claim: Claim) -> Receipt | None:
        """Take a payee's count; return the receipt to send, if there is anything to acknowledge."""
        session = self.sessions.get(claim.session)
        if session is None:
            return None
        session.is_ready = True
        last = session.receipt
        if last is not None and claim.held < last.sequence:
            return last  # it was lost on the way: the same again
        signed, bound = work_of(last), session.bound()
        self._note_dispute(session, claim.work, bound)
        work = signed.most(claim.work.least(bound))
        if work == signed or cost_ucr(session.info, work) > session.info.cap_ucr:
            return last  # nothing to add: the payee hears that we are here
        return self._sign(session, work)

    def _note_dispute(self, session: PayerSession, claimed: Work, bound: Work) -> None:
        bytes_over = claimed.relayed_bytes - bound.relayed_bytes
        if bytes_over > LOSS_FLOOR_BYTES or claimed.ai_tokens - bound.ai_tokens > TOKEN_DISPUTE:
            session.is_retired = True

    def _sign(self, session: PayerSession, work: Work) -> Receipt:
        last = session.receipt
        bare = Receipt(
            session.info.session,
            last.sequence + 1 if last else 1,
            work.relayed_bytes,
            work.ai_tokens,
            work.ai_requests,
            receipt_hash(last) if last else NO_HASH,
        )
        signature = sign_receipt(self._seed, self._network_id, bare)
        session.receipt = Receipt(*_six(bare), payer_signature=signature)
        self._keep(session)
        return session.receipt

    # --- memory ---------------------------------------------------------------------------------

    def _keep(self, session: PayerSession) -> None:
        data = pack_kept(Kept(session.info, session.receipt))
        self._emit(KeepReceipt(session.info.session, data))

    def restore(self, kept: Kept) -> None:
        """Take back a session after a restart; unsigned work of before is forgotten."""
        work = work_of(kept.receipt)
        self.sessions[kept.info.session] = PayerSession(
            kept.info,
            kept.receipt,
            sent_bytes=work.relayed_bytes,
            tokens=work.ai_tokens,
            requests=work.ai_requests,
        )

    def restore_opening(self, wire: bytes, now_ns: int) -> None:
        """Take back a session-open that was submitted but not answered before a restart."""
        signed = decode_record(wire)
        if not isinstance(signed, Refusal) and isinstance(signed.record, SessionOpen):
            self._openings[signed.record_id] = _Opening(signed.record, now_ns)

    def forget_expired(self, epoch: int) -> None:
        """Drop sessions whose escrow has gone back."""
        gone = [i for i, s in self.sessions.items() if s.info.expiry_epoch < epoch]
        for index in gone:
            del self.sessions[index]
            self._emit(DropReceipt(index))


def _six(r: Receipt) -> tuple[int, int, int, int, int, bytes]:
    return r.session, r.sequence, r.relayed_bytes, r.ai_tokens, r.ai_requests, r.previous
