"""The newest signed checkpoint against what an audit derived: same records, same balances.

The audit derives everything from the records in the database. That none of them is missing at the
end, and that outsiders were told the same, only something signed elsewhere can say.
"""

from __future__ import annotations

from chain.ledger import Ledger
from chain.proofs.checkpoint import Checkpoint, origin_of, parse_checkpoint
from chain.proofs.note import parse_note
from chain.records import Refusal
from chain.state import State
from chain.store.io_log import StoreLog


def get_checkpoint_problem(raw: bytes, ledger: Ledger, log: StoreLog) -> str | None:
    """Why a signed note is not of a derived ledger; None if it is. Signatures are not checked."""
    note = parse_note(raw)
    said = note if isinstance(note, Refusal) else parse_checkpoint(note.text)
    if isinstance(said, Refusal):
        return said.detail
    if said.origin != origin_of(ledger.network_id):
        return f"is of {said.origin[:80]!r}, another network"
    if said.size > len(log):
        return f"is of {said.size} records, the database holds {len(log)}: the rest is missing"
    if log.root(said.size) != said.root:
        return f"its root of {said.size} records is not the one that the records give"
    return _get_balance_problem(said, ledger.state)


def _get_balance_problem(said: Checkpoint, state: State) -> str | None:
    """Whether its balances are not those of its settlement, as far as the state remembers them."""
    if said.balances is None:
        return None
    derived = state.settled.get(said.balances.settlement)
    if derived is not None and derived != said.balances:
        return f"its balances of settlement {derived.settlement} are not those that the rules give"
    if said.balances.settlement > state.settlement:
        return f"is of settlement {said.balances.settlement}, the rules give {state.settlement}"
    return None
