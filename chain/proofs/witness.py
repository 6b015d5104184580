"""A witness of logs (c2sp.org/tlog-witness): it never signs two histories of one log.

It signs a checkpoint once a proof shows that it extends the last one it signed.

It promises two things beyond that text about our own logs: the same size never had two texts, and
the same settlement never had two balance roots. Whatever breaks a promise of the log is kept as a
Fork: two signed notes, and where their sizes differ the proof that one is no prefix of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chain.proofs.checkpoint import Checkpoint, parse_checkpoint, parse_size
from chain.proofs.log import (
    EMPTY_ROOT,
    HASH_BYTES,
    LogReader,
    ProofError,
    get_shown_roots,
    verify_consistency,
)
from chain.proofs.note import (
    MAX_NOTE_BYTES,
    Note,
    VerifierKey,
    cosign_note,
    decode_base64,
    encode_base64,
    parse_note,
    randomness_line,
    verify_note,
)
from chain.records import Refusal

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * (MAX_PROOF_LINES + 1)
OK, BAD, FORBIDDEN, UNKNOWN, CONFLICT, UNPROVEN = 200, 400, 403, 404, 409, 422
TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
SAME_SIZE, PREFIX, BALANCES = "same_size", "prefix", "balances"


@dataclass(frozen=True, slots=True)
class Fork:
    """Proof that a log signed two histories; whoever has the log's key can check it again.

    `kind`: same_size (two texts of one size), balances (two roots of one settlement), or prefix:
    `proof` leads from `shown_root`, which isn't the root that the first note signs for its size, to
    the root of the second.
    """

    kind: str
    first: Note
    second: Note
    shown_root: bytes = b""
    proof: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a log sends: the size it last had a signature for, a proof from there, a checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: Note


@dataclass(frozen=True, slots=True)
class Answer:
    """What the witness says. `kept` must be on disk before anybody hears it; so must `fork`.

    `doubt` is a checkpoint that the log did sign and that is not shown to belong to its history.
    """

    status: int
    body: str
    kind: str = TEXT
    kept: Note | None = None
    fork: Fork | None = None
    doubt: Note | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """Its name and seed, the keys of the logs that it knows, and what it signed before.

    `latest(origin)` is the newest note that it signed, `at(origin, size)` the one of a size.
    """

    name: str
    seed: bytes
    logs: Mapping[str, Sequence[VerifierKey]]
    latest: Callable[[str], Note | None]
    at: Callable[[str, int], Note | None]


def encode_request(request: Request) -> bytes:
    """The body of an add-checkpoint call."""
    lines = [f"old {request.old}", *map(encode_base64, request.proof), "", ""]
    return "\n".join(lines).encode() + request.note.encode()


def parse_request(body: bytes) -> Request | Refusal:
    """An add-checkpoint call from its body."""
    head, _, rest = body.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    old = parse_size(lines[0].removeprefix("old ")) if lines[0].startswith("old ") else None
    proof = [decode_base64(line) for line in lines[1:]]
    hashes = tuple(node for node in proof if node is not None and len(node) == HASH_BYTES)
    if old is None or len(hashes) != len(proof) or len(proof) > MAX_PROOF_LINES:
        return Refusal("bad_request", "old: no size and proof lines; see c2sp.org/tlog-witness")
    note = parse_note(rest)
    return note if isinstance(note, Refusal) else Request(old, hashes, note)


def process_add_checkpoint(witness: Witness, body: bytes, time_s: int) -> Answer:
    """Answer an add-checkpoint call; nothing is signed twice for two histories."""
    request = parse_request(body)
    if isinstance(request, Refusal):
        return _refuse(BAD, request.detail)
    checkpoint = parse_checkpoint(request.note.text)
    if isinstance(checkpoint, Refusal):
        return _refuse(BAD, checkpoint.detail)
    keys = witness.logs.get(checkpoint.origin)
    if keys is None:
        return _refuse(UNKNOWN, "origin: this witness doesn't know that log")
    verified = verify_note(request.note, keys)
    if isinstance(verified, Refusal):
        return _refuse(FORBIDDEN, verified.detail)
    signed = Note(request.note.text, tuple(item.signature for item in verified))
    if request.old > checkpoint.size:
        return _refuse(BAD, f"old: {request.old} is above the checkpoint's {checkpoint.size}")
    return _answer(witness, Request(request.old, request.proof, signed), checkpoint, time_s)


def _answer(witness: Witness, request: Request, checkpoint: Checkpoint, time_s: int) -> Answer:
    """Answer a call whose checkpoint the log did sign."""
    latest = witness.latest(checkpoint.origin)
    before = None if latest is None else _checkpoint_of(latest)
    same = witness.at(checkpoint.origin, checkpoint.size)
    fork = find_fork(request, checkpoint, latest, same)
    size = 0 if before is None else before.size
    doubt = request.note if same is None and size else None
    if request.old != size:
        return Answer(CONFLICT, f"{size}\n", SIZE, fork=fork, doubt=doubt)
    if fork is not None:
        return Answer(UNPROVEN, f"fork: {fork.kind}; this log signed two histories\n", fork=fork)
    if problem := _find_problem(request, checkpoint, before):
        return Answer(UNPROVEN, f"{problem}\n", doubt=doubt)
    line = cosign_note(request.note.text, witness.name, witness.seed, time_s)
    kept = Note(request.note.text, (*request.note.signatures, line))
    output = randomness_line(request.note.text, witness.name, witness.seed)
    return Answer(OK, f"{line}{output}", kept=kept)


def _refuse(status: int, detail: str) -> Answer:
    return Answer(status, f"{detail}\n")


def _checkpoint_of(note: Note) -> Checkpoint:
    checkpoint = parse_checkpoint(note.text)
    if isinstance(checkpoint, Refusal):
        raise ValueError("only notes that hold a checkpoint are ever signed")
    return checkpoint


def _find_problem(request: Request, new: Checkpoint, old: Checkpoint | None) -> str:
    """Why a checkpoint isn't shown to extend the one before; empty if it is."""
    if new.size == 0 and new.root != EMPTY_ROOT:
        return "root: an empty log has the hash of nothing"
    if old is None or old.size == 0:
        return "proof: must be empty where nothing was signed before" if request.proof else ""
    try:
        verify_consistency(old.size, new.size, old.root, new.root, list(request.proof))
    except ProofError as error:
        return f"proof: {error}"
    if (new.balances is None) != (old.balances is None):
        return "balances: a log says them always or never"
    went_back = new.balances and old.balances and new.balances.settlement < old.balances.settlement
    return "balances: an older settlement than before" if went_back else ""


def find_fork(
    request: Request, new: Checkpoint, latest: Note | None, same: Note | None
) -> Fork | None:
    """Proof in this call that the log signed two histories, if there is one.

    `same` is what was signed before for the size of the new checkpoint.
    """
    if same is not None and _differ(_checkpoint_of(same), new):
        return Fork(SAME_SIZE, same, request.note)
    if latest is None:
        return None
    old = _checkpoint_of(latest)
    if tells_two_balances(old, new):
        return Fork(BALANCES, latest, request.note)
    if not 0 < old.size < new.size or request.old != old.size:
        return None
    try:
        shown = get_shown_roots(old.size, new.size, old.root, request.proof)
    except ProofError:
        return None
    if shown[1] != new.root or shown[0] == old.root:
        return None
    return Fork(PREFIX, latest, request.note, shown[0], request.proof)


def _differ(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints of one size can't both be true; other extension lines may vary."""
    return (one.root, one.balances) != (other.root, other.balances)


def tells_two_balances(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints say different balances of one settlement."""
    if one.balances is None or other.balances is None:
        return False
    same = one.balances.settlement == other.balances.settlement
    return same and one.balances != other.balances


def find_prefix_fork(one: Note, other: Note, log: LogReader) -> Fork | None:
    """Proof that the smaller of two checkpoints is no prefix of the larger, from the log itself.

    `log` need not be trusted: its root must be that of the larger. ProofError or IndexError where
    it can't show that, which proves nothing.
    """
    first, second = sorted((one, other), key=lambda note: _checkpoint_of(note).size)
    small, large = _checkpoint_of(first), _checkpoint_of(second)
    if not 0 < small.size < large.size:
        return None
    shown, proof = log.root(small.size), tuple(log.consistency_proof(small.size, large.size))
    verify_consistency(small.size, large.size, shown, large.root, list(proof))
    return None if shown == small.root else Fork(PREFIX, first, second, shown, proof)


def verify_fork(fork: Fork, keys: Sequence[VerifierKey]) -> Refusal | None:
    """None if a fork is proved under the log's keys; otherwise why it isn't."""
    for note in (fork.first, fork.second):
        verified = verify_note(note, keys)
        if isinstance(verified, Refusal):
            return verified
    one, other = parse_checkpoint(fork.first.text), parse_checkpoint(fork.second.text)
    if isinstance(one, Refusal):
        return one
    if isinstance(other, Refusal):
        return other
    if one.origin == other.origin and _is_shown(fork, one, other):
        return None
    return Refusal("no_fork", "fork: these checkpoints may belong to one history")


def _is_shown(fork: Fork, one: Checkpoint, other: Checkpoint) -> bool:
    if fork.kind == SAME_SIZE:
        return one.size == other.size and _differ(one, other)
    if fork.kind == BALANCES:
        return tells_two_balances(one, other)
    if not 0 < one.size < other.size or fork.shown_root == one.root:
        return False
    try:
        shown = get_shown_roots(one.size, other.size, fork.shown_root, fork.proof)
    except ProofError:
        return False
    return shown == (fork.shown_root, other.root)


def fork_json(fork: Fork) -> dict[str, object]:
    """A fork as it is written to a file."""
    return {
        "kind": fork.kind,
        "first": fork.first.encode().decode(),
        "second": fork.second.encode().decode(),
        "shown_root": fork.shown_root.hex(),
        "proof": [node.hex() for node in fork.proof],
    }


def parse_fork(value: object) -> Fork | Refusal:
    """A fork from what was read of a file."""
    bad = Refusal("bad_fork", "file: holds no evidence of a fork; give one that a witness wrote")
    if not isinstance(value, dict):
        return bad
    try:
        notes = [parse_note(str(value[name]).encode()) for name in ("first", "second")]
        proof = tuple(bytes.fromhex(node) for node in value["proof"])
        kind, root = str(value["kind"]), bytes.fromhex(value["shown_root"])
    except (KeyError, TypeError, ValueError):
        return bad
    first, second = notes
    if isinstance(first, Refusal) or isinstance(second, Refusal):
        return bad
    return Fork(kind, first, second, root, proof)
