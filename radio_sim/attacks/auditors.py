"""Three auditors on a town's ledger: findings before every settlement, held and ruled by the rules.

Whoever scores above the threshold on everything judged so far is held (record `Hold`), by two of
the three. When the owner's time to appeal is over, the audit runs again on later epochs alone: who
is above the threshold there too is confirmed, and loses what was held to the cells it came from;
who is no longer above it on all epochs is released in full. Everybody else waits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chain.admission import Role
from chain.holds import Outcome
from chain.params import CREDIT_UCR
from chain.records import Appointment, Deposit, Hold, HoldRuling, Record
from chain.rules.holds import get_new_limit
from chain.rules.refuted import get_refuted
from coverage_map.audit.scores import Scores, compute_scores
from coverage_map.audit.table import Claims, Hearings, join_hearings
from radio_sim.attacks.figures import Audit, make_audit
from radio_sim.attacks.run import get_claims
from radio_sim.attacks.town import FIRST_EPOCH, Town

Flags = NDArray[np.bool_]

AUDITORS, SIGNERS = 3, 2
NO_EVIDENCE = bytes(32)  # the laboratory keeps no finding files
LEAST_LATER = 20  # epochs that a re-run must have
TERM = 50_000  # within the longest that operators may appoint for


class Auditors:
    """Audits of a town; `audits` in order of time."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.audits: list[Audit] = []
        self.confirmed = np.zeros(town.count, np.bool_)
        seeds = [town.secret_of(b"auditor", number) for number in range(AUDITORS)]
        self._seeds = sorted(seeds, key=town.signer.public)
        self._keys = [town.signer.public(seed) for seed in self._seeds]

    def join(self) -> None:
        """Credits for deposits, and appointments, in epoch 0."""
        operator = [self.town.secret_of(b"operator", 0)]
        records: list[tuple[Record, list[bytes]]] = []
        for number, key in enumerate(self._keys):
            amount_ucr = 10 * self.town.count * CREDIT_UCR
            records.append((Deposit(key, amount_ucr, b"auditor %d" % number, (0,)), operator))
            name = f"auditor {number}"
            appointed = Appointment(int(Role.AUDITOR), key, name, 0, FIRST_EPOCH, TERM, (0,))
            records.append((appointed, operator))
        self.town.submit(records, self.town.time_ms(0))

    def look(self, epoch: int) -> None:
        """Audit what was judged before an epoch, and act on it while the epoch before is open."""
        hearings = join_hearings(self.town.hearings)
        if not len(hearings):
            return
        scores = compute_scores(hearings, self._get_claims())
        audit = make_audit(epoch - FIRST_EPOCH, scores)
        self.audits.append(audit)
        last = int(hearings.epoch.max())
        self._sign(epoch, self._make_rulings(hearings, audit.found, last))
        # Who is confirmed is refuted by the rules. Of whom they don't say so it is held again at
        # once, by what it did since: else the pools of its cells, which the forfeited pay went
        # back to, would be shared by those who forfeited it.
        self._sign(epoch, self._make_holds(scores, last))

    def _get_claims(self) -> Claims:
        return get_claims(self.town.world, self.town.trust_ppm())

    def _make_rulings(self, hearings: Hearings, found: Flags, last: int) -> list[Record]:
        """What becomes of the holds whose time to appeal is over."""
        state, params = self.town.state, self.town.ledger.params
        due = {
            index: hold
            for index, hold in sorted(state.holds.items())
            if state.epoch >= hold.opened_epoch + params.hold_appeal_epochs
        }
        again = {
            start: self._find_later(hearings, start)
            for start in sorted({hold.last_epoch for hold in due.values()})
            if last - start >= LEAST_LATER
        }
        rulings: list[Record] = []
        for index, hold in due.items():
            outcome = None if found[index] else Outcome.WITHDRAWN
            if hold.last_epoch in again and again[hold.last_epoch][index]:
                outcome = Outcome.CONFIRMED
            if outcome is not None:
                self.confirmed[index] |= outcome == Outcome.CONFIRMED
                ruling = (index, hold.record_id, int(outcome), NO_EVIDENCE)
                rulings.append(HoldRuling(*ruling, tuple(self._keys[:SIGNERS])))
        return rulings

    def _find_later(self, hearings: Hearings, after: int) -> Flags:
        """Who is above the threshold by epochs after one."""
        row = int(np.searchsorted(hearings.epoch, after, side="right"))
        later = hearings.take(slice(row, len(hearings)))
        return make_audit(0, compute_scores(later, self._get_claims())).found

    def _make_holds(self, scores: Scores, last: int) -> list[Record]:
        """Findings against whom nothing is held yet, highest first, as many as the rules allow."""
        state = self.town.state
        refuted = get_refuted(state)
        combined = np.nan_to_num(scores.combined)
        order = np.argsort(-combined, kind="stable")
        accused = [int(i) for i in order if combined[i] > scores.threshold]
        holds: list[Record] = []
        for index in accused:
            past = state.past_holds.get(index)
            first = FIRST_EPOCH if past is None else past.last_epoch + 1
            if index in state.holds or index in refuted or not first + LEAST_LATER // 2 <= last:
                continue
            test = scores.loudest(index)
            score, threshold = round(100 * float(combined[index])), round(100 * scores.threshold)
            epochs = (first, last, NO_EVIDENCE, state.epoch + state.params.hold_epochs_max)
            signers = tuple(self._keys[:SIGNERS])
            holds.append(Hold(index, test, score, threshold, *epochs, signers))
        return holds[: get_new_limit(state)]

    def _sign(self, epoch: int, records: list[Record]) -> None:
        """Put records on the ledger while the epoch before is open."""
        signed = [(record, self._seeds[:SIGNERS]) for record in records]
        self.town.submit(signed, self.town.time_ms(epoch) - 500)
