"""The state root: a Merkle tree per large table with a slot per entry, a digest per small table.

Slots are handed out in order of first appearance and never reused, so a changed entry costs one
leaf and log2(n) nodes. Hashing is that of RFC 6962; missing leaves of the padded tree are 32 zero
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from struct import Struct

from chain import cbor
from chain.draws import digest
from chain.state import Assertion, Session, State, Touched

_EMPTY = bytes(32)
_LINK, _WORK, _OPENING, _POOL = Struct(">III"), Struct(">QIQ"), Struct(">IIII"), Struct(">Q32sQ")


class SlotTree:
    """A padded Merkle tree over numbered slots that can change one at a time."""

    def __init__(self) -> None:
        self.levels: list[list[bytes]] = [[]]

    def set(self, slot: int, leaf: bytes) -> None:
        """Put an entry into a slot, the next free one at most, and hash the path above it."""
        node = sha256(b"\x00" + leaf).digest()
        for level, nodes in enumerate(self.levels):
            nodes[slot : slot + 1] = [node]  # replaces, or appends at the end
            if len(nodes) == 1:
                return
            slot //= 2
            node = _node(nodes, slot)
            if level + 1 == len(self.levels):
                self.levels.append([])

    def root(self) -> bytes:
        """The root over all slots; zeros for none."""
        return self.levels[-1][0] if self.levels[0] else _EMPTY

    def __len__(self) -> int:
        return len(self.levels[0])


def _node(nodes: list[bytes], parent: int) -> bytes:
    left = nodes[2 * parent]
    right = nodes[2 * parent + 1] if 2 * parent + 1 < len(nodes) else _EMPTY
    return sha256(b"\x01" + left + right).digest()


def _assertion_leaf(assertion: Assertion) -> cbor.Value:
    chain = assertion.chain
    return (assertion.record_id, assertion.bind_epoch, chain.tip_epoch + 1, chain.tip)


def _hotspot_leaf(state: State, index: int | bytes) -> bytes:
    hotspot = state.hotspots[int(index)]
    assertions = tuple(_assertion_leaf(assertion) for assertion in hotspot.assertions)
    retired = digest("retired", *hotspot.retired)
    return cbor.encode(
        (
            *(hotspot.index, hotspot.key, hotspot.owner, assertions, retired, hotspot.history),
            *(hotspot.bond_ucr, hotspot.trust, hotspot.earned_ucr),
        )
    )


def _account_leaf(state: State, account: int | bytes) -> bytes:
    return cbor.encode((bytes(account), state.accounts[bytes(account)]))


def _session_leaf(state: State, index: int | bytes) -> bytes:
    session = state.sessions.get(int(index))
    return b"" if session is None else _encode_session(session)


def _encode_session(session: Session) -> bytes:
    return cbor.encode(
        (
            *(session.index, session.record_id, session.account, session.claimed_ucr),
            *(session.sequence, session.relayed_bytes, session.ai_tokens, session.ai_requests),
            session.last_hash,
        )
    )


TREES: dict[str, Callable[[State, int | bytes], bytes]] = {
    "account": _account_leaf,
    "hotspot": _hotspot_leaf,
    "session": _session_leaf,
}
SMALL: dict[str, Callable[[State], Iterator[bytes]]] = {
    "links": lambda state: (_LINK.pack(*key, n) for key, n in sorted(state.links.items())),
    "measured": lambda state: (_WORK.pack(*key, n) for key, n in sorted(state.measured.items())),
    "openings": lambda state: (_OPENING.pack(*k, n) for k, n in sorted(state.openings.items())),
    "pools": lambda state: (_POOL.pack(*key, n) for key, n in sorted(state.pools.items())),
    "quality": lambda state: (_WORK.pack(*key, n) for key, n in sorted(state.quality.items())),
    "references": lambda state: (cbor.encode(pair) for pair in sorted(state.references.items())),
}


class StateRoot:
    """Keeps the root of one state up to date."""

    def __init__(self) -> None:
        self._trees = {name: SlotTree() for name in TREES}
        self._small = dict.fromkeys(SMALL, sha256().digest())

    def update(self, state: State) -> bytes:
        """Hash what was touched since the last call; the new root."""
        for table, key in sorted(
            state.touched, key=lambda entry: (entry[0], _slot(state, entry[1]))
        ):
            if table in TREES:
                self._trees[table].set(_slot(state, key), TREES[table](state, key))
            else:
                self._small[table] = sha256(b"".join(SMALL[table](state))).digest()
        state.touched.clear()
        return self._root(state)

    def _root(self, state: State) -> bytes:
        supply = state.supply
        scalars = (
            *(state.epoch, state.settlement, state.next_session),
            *(supply.deposited, supply.minted, supply.destroyed),
            [(epoch, mix) for epoch, mix in sorted(state.mixes.items())],
        )
        trees = [(name, len(tree), tree.root()) for name, tree in sorted(self._trees.items())]
        return digest("state", cbor.encode((scalars, trees, sorted(self._small.items()))))


def _slot(state: State, key: int | bytes) -> int:
    return state.account_slots[key] if isinstance(key, bytes) else key


def compute_state_root(state: State) -> bytes:
    """The root of a whole state, from nothing; `StateRoot` gives the same, faster."""
    fresh = StateRoot()
    every: set[Touched] = {("account", account) for account in state.accounts}
    every |= {("hotspot", hotspot.index) for hotspot in state.hotspots}
    every |= {("session", index) for index in range(state.next_session)}
    kept, state.touched = state.touched, {*every, *((name, 0) for name in SMALL)}
    root = fresh.update(state)
    state.touched = kept
    return root
