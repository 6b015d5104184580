"""Structure-aware fuzzing of the ledger: valid records of every type, bent in a place or several.

    python -m tests.fuzz_records --cases 20000 --seed 1
    python -m tests.fuzz_records --seed 1 --case 12345      # play it again, and say what it is

Every case goes to `Ledger.submit` on a live state with sessions, claims, bounties and the rest in
it. Nothing may raise, and what is refused may change nothing: not a byte of the pickled state, not
the head, not the log. What is accepted must conserve the supply and be kept: every block's rows are
packed as for the disk. Cases come in chunks; each starts from the same live ledger, so that a case
is found again by its seed and number alone. A chunk ends with a settlement, after which the state
is packed, loaded anew and compared.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from chain import cbor, keys, wire
from chain.claims.tree import NODE_BYTES
from chain.io_terminal import Progress, print_json
from chain.ledger import Ledger
from chain.packed import PackedError, pack_receipts, receipt_body, unpack_receipts, varint
from chain.records import (
    RECEPTION_BYTES,
    LeafOpening,
    Receipt,
    Receipts,
    Refusal,
    RelayClaim,
    SessionClaim,
    Signed,
)
from chain.rules.signatures import get_signature_checks
from chain.state import State, get_genesis_state, is_conserved
from chain.state_root import compute_state_root
from chain.store.tables import TABLES, get_scalars, set_scalar
from chain.vectors.live import Live, make_live
from chain.vectors.suite import Draws
from chain.vectors.town import PLACES, RES_8_CELL, RES_9_CELL

CHUNK = 250
EPOCH_EVERY = 60
Value = Any
_U64 = (1 << 64) - 1


class Finding(Exception):
    """A case that broke a promise."""


# --- bending values -----------------------------------------------------------------------------


@dataclass
class Bender:
    """Bends values of one case; `state` tells which numbers are interesting."""

    draw: Draws
    live: Live
    state: State
    notes: list[str] = field(default_factory=list)

    def pick(self, items: Sequence[Any]) -> Any:
        return items[self.draw.between(0, len(items) - 1)]

    def chance(self, percent: int) -> bool:
        return self.draw.between(1, 100) <= percent

    def integer(self, value: int, low: int, high: int) -> int:
        epoch = self.state.epoch
        bit = 1 << self.draw.between(0, 64)
        return int(
            self.pick(
                (
                    *(low, high, low - 1, high + 1, value - 1, value + 1, 0, 1, -1),
                    *(epoch, epoch - 1, epoch + 1, epoch + 2, epoch + self.draw.between(3, 50)),
                    *(bit, bit - 1, self.draw.between(0, 12), self.draw.between(low, high)),
                    *(value * 2, value // 2, len(self.state.hotspots), self.state.next_session),
                )
            )
        )

    def octets(self, value: bytes) -> bytes:
        size = len(value)
        choice = self.draw.between(0, 8)
        if choice == 0 and size:
            at = self.draw.between(0, size - 1)
            return value[:at] + bytes([value[at] ^ 1 << self.draw.between(0, 7)]) + value[at + 1 :]
        if choice == 1:
            return value[: self.draw.between(0, max(0, size - 1))]
        if choice == 2:
            return value + self.draw.octets(self.draw.between(1, 40))
        if choice == 3:
            return bytes(size)
        if choice == 4:
            return b"\xff" * size
        if choice == 5 and size % RECEPTION_BYTES == 0:
            return self.report(value)
        if choice == 6 and size != 32:
            return self.draw.octets(size)
        if choice == 7:
            return self.draw.octets(size)
        return bytes(self.pick(self.live.known_keys))

    def report(self, value: bytes) -> bytes:
        step = RECEPTION_BYTES
        entries = [value[at : at + step] for at in range(0, len(value), step)]
        choice = self.draw.between(0, 4)
        if choice == 0:
            entries.append(self.draw.octets(step))
        elif choice == 1:
            entries += entries[:1]
        elif choice == 2:
            entries = entries[1:]
        elif choice == 3:
            return b"".join(reversed(entries))
        else:
            entries = [bytes(3) + bytes([n % 5]) + self.draw.octets(10) for n in range(3)]
        return b"".join(sorted(entries))

    def value(self, kind: wire.Field | None, value: Value) -> Value:
        """One value bent by what its field holds, or, seldom, of another type altogether."""
        if self.chance(4):
            return self.pick((0, -1, b"", "", (), ((),), _U64, "x" * 65, (0,) * 300, bytes(70_000)))
        if isinstance(kind, wire.Cell) and isinstance(value, int):
            cells = [place[0] for place in PLACES.values()]
            return self.pick((*cells, RES_8_CELL, RES_9_CELL, value ^ 1, 0, value + (1 << 52)))
        if isinstance(value, int):
            span = (kind.low, kind.high) if isinstance(kind, wire.Integer) else (0, _U64)
            return self.integer(value, *span)
        if isinstance(value, bytes):
            return self.octets(value)
        if isinstance(value, str):
            return self.pick(("", "x" * 64, "x" * 65, value + "\0", "\u6c34" * 64))
        return self.array(kind, value)

    def array(self, kind: wire.Field | None, value: tuple[Value, ...]) -> tuple[Value, ...]:
        items = list(value)
        inner = kind.of if isinstance(kind, wire.Many) else None
        choice = self.draw.between(0, 5)
        if choice == 0 or not items:
            items += [0] if not items else items[:1]
        elif choice == 1:
            items.pop(self.draw.between(0, len(items) - 1))
        elif choice == 2:
            items.reverse()
        else:
            at = self.draw.between(0, len(items) - 1)
            items[at] = self.value(self.layout_of(inner, value, at), items[at])
        return tuple(items)

    @staticmethod
    def layout_of(inner: wire.Field | None, value: tuple[Value, ...], at: int) -> wire.Field | None:
        """The field of an item: an array's own, or a place within a receipt or an opening."""
        if inner is None and len(value) == len(wire.RECEIPT):
            return wire.RECEIPT[at]
        if inner is None and len(value) == len(wire.OPENING):
            return wire.OPENING[at]
        return inner


# --- signing again ------------------------------------------------------------------------------


def resign_receipts(bender: Bender, values: tuple[Value, ...], kind: int) -> tuple[Value, ...]:
    """Receipts inside the fields of a record, signed again by the ends of their sessions."""
    try:
        if kind == SessionClaim.TYPE:
            return (tuple(resigned(bender, receipt) for receipt in values[0]),)
        if kind == LeafOpening.TYPE:
            openings = tuple((at, resigned(bender, r), path) for at, r, path in values[1])
            return (values[0], openings)
        if kind == Receipts.TYPE:
            receipts = [Receipt(*resigned(bender, _fields(r))) for r in unpack_receipts(values[0])]
            return (bend_packed(bender, receipts),)
    except (PackedError, TypeError, ValueError, OverflowError, IndexError, KeyError):
        pass  # too bent to be signed: goes as it is
    return values


def _fields(receipt: Receipt) -> tuple[Value, ...]:
    return tuple(getattr(receipt, name) for name in wire.RECEIPT_NAMES)


def bend_packed(bender: Bender, receipts: list[Receipt]) -> bytes:
    """Packed receipts, one of them bent and signed again half of the time."""
    if receipts and bender.chance(50):
        at = bender.draw.between(0, len(receipts) - 1)
        bent = list(_fields(receipts[at]))
        place = bender.draw.between(0, 4)
        bent[place] = abs(bender.integer(bent[place], 0, (1 << 32) - 1))
        receipts[at] = Receipt(*resigned(bender, tuple(bent)))
    return pack_receipts(receipts)


def resigned(bender: Bender, values: tuple[Value, ...]) -> tuple[Value, ...]:
    unsigned = Receipt(*values[:6])
    body = receipt_body(unsigned)
    session = bender.state.sessions.get(unsigned.session)
    ends = (session.payer, session.payee) if session else (0, 1)
    seeds = [bender.live.seeds[bender.state.hotspots[end].key] for end in ends]
    network = bender.state.network_id
    signatures = [keys.sign(seed, Receipt.NAME, network, body) for seed in seeds]
    return (*values[:6], *signatures)


def signatures_for(bender: Bender, base: Signed, kind: int, body: bytes) -> tuple[bytes, ...]:
    """Right signatures for a bent body, as far as the state tells whose they are."""
    blank = (bytes(64),) * max(3, len(base.signatures))
    unsigned = wire.decode(cbor.encode((kind, wire.VERSION, body, blank)))
    if isinstance(unsigned, Refusal):
        return base.signatures
    checks = get_signature_checks(bender.state, unsigned)
    signers = [key for key, name, _, _ in checks if name == unsigned.record.NAME]
    signers = signers[: len(base.signatures) or 1]
    if not base.signatures:
        return ()
    return tuple(
        keys.sign(bender.live.seeds[key], unsigned.record.NAME, bender.state.network_id, body)
        for key in signers
        if key in bender.live.seeds
    )


def bend_signatures(bender: Bender, signatures: tuple[bytes, ...]) -> tuple[bytes, ...]:
    choice = bender.draw.between(0, 6)
    if choice == 0:
        return signatures[:-1]
    if choice == 1:
        return signatures[::-1]
    if choice == 2:
        return (*signatures, bytes(64))
    if choice == 3:
        return (bytes(64),) * len(signatures)
    if choice == 4:
        return signatures * 2
    if choice == 5:
        return tuple(bender.octets(one) for one in signatures)
    return (bender.draw.octets(64),)


# --- kinds of cases -----------------------------------------------------------------------------


def bend_fields(bender: Bender, base: Signed) -> bytes:
    """Some fields bent; signed again, or with the old signatures, or with bent ones."""
    kind, layout = base.record.TYPE, wire.LAYOUT[base.record.TYPE][1]
    values = list(_body(base))
    for _ in range(bender.pick((1, 1, 1, 2, 3))):
        at = bender.draw.between(0, len(values) - 1)
        values[at] = bender.value(layout[at], values[at])
        bender.notes.append(wire.NAMES[kind][at])
    return finish(bender, base, tuple(values))


def finish(bender: Bender, base: Signed, values: tuple[Value, ...]) -> bytes:
    kind = base.record.TYPE
    if bender.chance(70):
        values = resign_receipts(bender, values, kind)
    body = loose(values)
    signatures = base.signatures
    if bender.chance(75):
        signatures = signatures_for(bender, base, kind, body)
    if bender.chance(15):
        signatures = bend_signatures(bender, signatures)
        bender.notes.append("signatures")
    return loose((kind, wire.VERSION, body, signatures))


def _body(base: Signed) -> tuple[Value, ...]:
    values = cbor.decode(base.body)
    if not isinstance(values, tuple):
        raise TypeError("a body is an array")
    return values


def bend_layout(bender: Bender, base: Signed) -> bytes:
    """A field too few or too many, two swapped, or the whole body somewhere else."""
    values = list(_body(base))
    choice = bender.draw.between(0, 4)
    if choice == 0:
        values.pop(bender.draw.between(0, len(values) - 1))
    elif choice == 1:
        values.insert(bender.draw.between(0, len(values)), bender.pick((0, b"", (), "")))
    elif choice == 2:
        values = [values]
    elif choice == 3:
        other: Signed = bender.pick(bender.live.records)
        return loose((other.record.TYPE, wire.VERSION, base.body, base.signatures))
    else:
        values.reverse()
    return finish(bender, base, tuple(values))


def bend_envelope(bender: Bender, base: Signed) -> bytes:
    """Unknown types and versions, other numbers of items, signatures of other networks."""
    kind = base.record.TYPE
    choice = bender.draw.between(0, 5)
    if choice == 0:
        return loose((bender.integer(kind, 0, 255), wire.VERSION, base.body, base.signatures))
    if choice == 1:
        return loose((kind, bender.integer(1, 0, 255), base.body, base.signatures))
    if choice == 2:
        return loose((kind, wire.VERSION, base.body))
    if choice == 3:
        return loose((kind, wire.VERSION, base.body, base.signatures, 0))
    if choice == 4:
        return loose((kind, wire.VERSION, base.body, bend_signatures(bender, base.signatures)))
    checks = get_signature_checks(bender.state, base)
    seeds = [bender.live.seeds.get(key, bytes(32)) for key, _, _, _ in checks][:3]
    foreign = [keys.sign(seed, base.record.NAME, bytes(32), base.body) for seed in seeds]
    return loose((kind, wire.VERSION, base.body, foreign))


def bend_bytes(bender: Bender, base: Signed) -> bytes:
    """Flipped, cut, doubled, padded; heads that promise too much; deep nesting."""
    raw = base.wire
    at = bender.draw.between(0, len(raw) - 1)
    return bytes(
        bender.pick(
            (
                raw[:at] + bytes([raw[at] ^ 1 << bender.draw.between(0, 7)]) + raw[at + 1 :],
                *(raw[:at], raw + b"\0", raw + raw, b"", raw[at:], raw[:at] + raw[at + 1 :]),
                raw[:at] + bender.draw.octets(bender.draw.between(1, 9)) + raw[at:],
                raw[:at] + b"\x9b" + b"\xff" * 8 + raw[at:],
                raw[:at] + b"\x5b" + b"\x7f" * 8 + raw[at:],
                raw[:at] + b"\x81" * 40 + raw[at:],
                *(b"\x81" * 5_000, b"\x9f" * 5_000, b"\x5f" * 100, b"\xff" * 70_000),
            )
        )
    )


def bend_encoding(bender: Bender, base: Signed) -> bytes:
    """The same values in a longer form of CBOR."""
    values = (base.record.TYPE, wire.VERSION, base.body, base.signatures)
    if bender.chance(50):
        return loose(values, bender.draw.between(1, 8))
    return loose((*values[:2], loose(_body(base), bender.draw.between(1, 8)), values[3]))


def replay(_: Bender, base: Signed) -> bytes:
    """The record as it is: fresh, known, or stale by now."""
    return base.wire


def bend_packed_bytes(bender: Bender, base: Signed) -> bytes:
    """Varints and paths: endless, cut, shuffled."""
    if not isinstance(base.record, Receipts | RelayClaim | LeafOpening):
        return bend_fields(bender, base)
    values = list(_body(base))
    at = -1 if not isinstance(base.record, LeafOpening) else 1
    if isinstance(values[at], bytes):
        bent: bytes = bender.octets(values[at])
        values[at] = bender.pick(
            (
                *(bent, b"\x80" * 3_000, b"\xff" * 60_000, values[at] * 2, varint(_U64) * 5),
                bytes(5) * 3_000,
                b"\x01" + bytes(4) + values[at],
            )
        )
    else:
        position, receipt, path = values[at][0]
        paths = (path + bytes(NODE_BYTES), path[:-NODE_BYTES], bytes(40 * 24), bender.octets(path))
        opening = (bender.integer(position, 0, 8), receipt, bender.pick(paths))
        values[at] = (opening, *values[at][1:])
    return finish(bender, base, tuple(values))


# How often in 50 cases.
KINDS: tuple[Callable[[Bender, Signed], bytes], ...] = (
    *(bend_fields,) * 26,
    *(bend_layout,) * 4,
    *(bend_envelope,) * 3,
    *(bend_bytes,) * 4,
    *(bend_encoding,) * 3,
    *(replay,) * 5,
    *(bend_packed_bytes,) * 5,
)


def loose(value: Value, longer: int = 0) -> bytes:
    """CBOR of anything, in a needlessly long form at the `longer`-th head (1 is the first)."""
    count = 0

    def head(major: int, number: int) -> bytes:
        nonlocal count
        count += 1
        number = max(0, min(number, _U64))
        if count == longer:
            width = 8 if number > 0xFFFF_FFFF else (4, 8)[number & 1]
            return bytes((major | {4: 26, 8: 27}[width],)) + number.to_bytes(width, "big")
        return cbor._head(major, number)

    def item(value: Value) -> bytes:
        if isinstance(value, int):
            return head(0x00, value) if value >= 0 else head(0x20, -1 - value)
        if isinstance(value, bytes):
            return head(0x40, len(value)) + value
        if isinstance(value, str):
            return head(0x60, len(value.encode())) + value.encode()
        return head(0x80, len(value)) + b"".join(map(item, value))

    return item(value)


# --- running ------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a run of cases met, by record type and reason."""

    cases: int = 0
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)


def fingerprint(ledger: Ledger) -> tuple[Any, ...]:
    """Everything that a refused record must leave as it was."""
    log = ledger.log
    return pickle.dumps(ledger.state, 5), ledger.head, log.size, log.root()


def make_case(live: Live, ledger: Ledger, seed: int, number: int) -> tuple[Signed, bytes, str]:
    """The record that a case bends, the wire, and how it was bent."""
    bender = Bender(Draws(f"fuzz/{seed}/{number}"), live, ledger.state)
    base: Signed = bender.pick(bender.pick(live.by_type()))
    bend: Callable[[Bender, Signed], bytes] = bender.pick(KINDS)
    raw = bend(bender, base)
    return base, raw, " ".join([base.record.NAME, bend.__name__, *bender.notes])


def run_chunk(live: Live, seed: int, first: int, last: int, outcome: Outcome) -> str:
    """Cases first to last of one chunk; how the last one was bent and answered."""
    ledger, said, number = deepcopy(live.ledger), "", first
    ledger.on_block = lambda sealed: None  # with somebody listening, rows are packed
    before = fingerprint(ledger)
    try:
        for number in range(first, last + 1):
            if number % EPOCH_EVERY == EPOCH_EVERY - 1:
                said = "the end of an epoch"
                close_epoch(ledger)
                before = fingerprint(ledger)
            base, raw, said = make_case(live, ledger, seed, number)
            result = ledger.submit([raw], ledger.state.time_ms)[0]
            after = fingerprint(ledger)
            check(ledger, result.accepted and result.reason != "already", before, after)
            before = after
            outcome.cases += 1
            outcome.reasons[base.record.NAME, result.reason] += 1
            outcome.accepted[base.record.NAME] += result.accepted
            said += f" -> {result.reason} {result.detail}"
        if (last + 1) % CHUNK == 0:
            answer, said = said, "the end of the chunk"
            check_end(ledger)
            said = answer
    except Exception as error:
        trace = traceback.format_exc(limit=-4)
        again = f"python -m tests.fuzz_records --seed {seed} --case {number}"
        raise Finding(f"{said}: {error!r}\nplay it again: {again}\n{trace}") from error
    return said


def close_epoch(ledger: Ledger) -> None:
    """Let the epoch end; the root that headers carry must be that of the whole state."""
    params, start_ms = ledger.params, ledger.state.genesis.start_ms
    ledger.tick(start_ms + (ledger.state.epoch + 1) * params.epoch_ms)
    if not is_conserved(ledger.state):
        raise Finding("the supply is not conserved")
    if ledger.head.state_root != compute_state_root(ledger.state):
        raise Finding("the state root is not that of the state")


def check_end(ledger: Ledger) -> None:
    """Settle what the chunk left, and keep it: what is packed and loaded is the same state."""
    for _ in range(ledger.params.settlement_epochs):
        close_epoch(ledger)
    state = ledger.state
    loaded = get_genesis_state(state.genesis, state.network_id)
    for table in TABLES.values():
        table.load(loaded, table.pack_all(state))
    for name, value in get_scalars(state).items():
        set_scalar(loaded, name, value)
    if compute_state_root(loaded) != compute_state_root(state):
        raise Finding("a loaded state is another one")


def check(
    ledger: Ledger, accepted: bool, before: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    """The promises."""
    if not accepted and before != after:
        # Equal states may pickle differently where they share an object; equal values decide.
        states = (pickle.loads(state) for state, *_ in (before, after))
        if before[1:] != after[1:] or next(states) != next(states):
            raise Finding("a refused record changed something")
    if accepted and not is_conserved(ledger.state):
        raise Finding("the supply is not conserved")
    if accepted and any(a.spent_ucr > a.issued_ucr for a in ledger.state.accounts.values()):
        raise Finding("an account spent more than it got")


def run(seed: int, cases: int, progress: Progress | None = None) -> Outcome:
    """So many cases of a seed; Finding for the first that breaks a promise."""
    live, outcome = make_live(), Outcome()
    for first in range(0, cases, CHUNK):
        run_chunk(live, seed, first, min(first + CHUNK, cases) - 1, outcome)
        if progress:
            progress.update(outcome.cases, f"{outcome.cases} cases, seed {seed}")
    return outcome


def main() -> int:
    """Fuzz, or play one case again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="names the run (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=20_000, help="how many (default: %(default)s)")
    parser.add_argument("--case", type=int, help="play this one again")
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    try:
        if options.case is not None:
            first = options.case // CHUNK * CHUNK
            print(run_chunk(make_live(), options.seed, first, options.case, Outcome()))
            return 0
        progress = Progress("fuzz", options.cases, quiet=options.json)
        outcome = run(options.seed, options.cases, progress)
        progress.close()
    except Finding as found:
        sys.stderr.write(f"{found}\n")
        return 1
    reasons = {f"{name} {reason}": n for (name, reason), n in sorted(outcome.reasons.items())}
    print_json({"seed": options.seed, "cases": outcome.cases, "reasons": reasons})
    return 0


if __name__ == "__main__":
    sys.exit(main())
