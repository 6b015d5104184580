"""Gathers cosignatures: sends a checkpoint to every witness and takes what comes in time.

Nothing waits for it but the checkpoint itself: records are accepted and answered meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from chain.ecvrf import PROOF_BYTES
from chain.errors import UserError
from chain.proofs.checkpoint import Checkpoint, parse_checkpoint, parse_size
from chain.proofs.io_fetch import Fetcher
from chain.proofs.log import LogReader
from chain.proofs.note import (
    Note,
    Signature,
    VerifierKey,
    is_signature_of,
    parse_signature,
    randomness_key_id,
)
from chain.proofs.witness import CONFLICT, OK, Request, encode_request
from chain.records import Refusal

TIMEOUT_S = 3.0
Answer = Signature | str | None


@dataclass(slots=True)
class Cosigner:
    """One witness: its key, its address, and the size that it signed last, as far as is known."""

    key: VerifierKey
    url: str
    size: int = 0
    proof: bytes = b""  # of its random output over what it signed last
    fetcher: Fetcher = field(init=False)

    def __post_init__(self) -> None:
        self.fetcher = Fetcher(self.url, TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Cosignatures that hold, in the order of the witnesses, and what the others said instead.

    `proofs` are those of the random outputs that came with them, by name, not checked yet.
    """

    signatures: tuple[Signature, ...]
    problems: tuple[str, ...]
    proofs: dict[str, bytes] = field(default_factory=dict)


class Gatherer:
    """Asks witnesses in parallel, each on a kept connection. Use it from one thread at a time."""

    def __init__(self, cosigners: Sequence[Cosigner]) -> None:
        self.cosigners = tuple(cosigners)
        self._pool = ThreadPoolExecutor(max(1, len(self.cosigners)))

    def close(self) -> None:
        """Let go of all connections; answers that are still out are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for cosigner in self.cosigners:
            cosigner.fetcher.close()

    def gather(self, note: Note, log: LogReader, timeout_s: float = TIMEOUT_S) -> Gathered:
        """Cosignatures of a checkpoint that the log signed, as far as they come in time.

        `log` makes the consistency proofs, in the calling thread. A witness that signed another
        size than expected says so, and is asked once more. ValueError for a note that holds no
        checkpoint (a bug).
        """
        checkpoint = parse_checkpoint(note.text)
        if isinstance(checkpoint, Refusal):
            raise ValueError(checkpoint.detail)
        deadline = time.monotonic() + timeout_s
        answers: dict[str, Answer] = {}
        asked = list(self.cosigners)
        for _ in range(2):
            answers |= self._ask_all(asked, note, checkpoint, log, deadline)
            asked = [c for c in asked if answers[c.key.name] is None]
        found = [answers[cosigner.key.name] for cosigner in self.cosigners]
        problems = [answer for answer in found if isinstance(answer, str)]
        problems += [f"{c.key.name}: signs for somebody else at the same time" for c in asked]
        signatures = tuple(a for a in found if isinstance(a, Signature))
        named = {signature.name for signature in signatures}
        proofs = {c.key.name: c.proof for c in self.cosigners if c.proof and c.key.name in named}
        return Gathered(signatures, tuple(problems), proofs)

    def _ask_all(
        self,
        asked: Sequence[Cosigner],
        note: Note,
        checkpoint: Checkpoint,
        log: LogReader,
        deadline: float,
    ) -> dict[str, Answer]:
        """The answer of each witness by name; None from one that signed another size before."""
        answers: dict[str, Answer] = {
            c.key.name: f"{c.key.name}: signed size {c.size}, more than this ledger has: another "
            "ledger runs from this key, or this one lost records"
            for c in asked
            if c.size > checkpoint.size
        }
        waiting: dict[Future[Answer], Cosigner] = {}
        for cosigner in asked:
            if cosigner.key.name not in answers:
                body = encode_request(_request(cosigner.size, note, checkpoint, log))
                waiting[self._pool.submit(_ask, cosigner, body, note, checkpoint)] = cosigner
        done, _ = wait(waiting, max(0.0, deadline - time.monotonic()))
        for future, cosigner in waiting.items():
            name = cosigner.key.name
            answers[name] = future.result() if future in done else f"{name}: no answer in time"
        return answers


def _request(old: int, note: Note, checkpoint: Checkpoint, log: LogReader) -> Request:
    between = 0 < old < checkpoint.size
    return Request(old, tuple(log.consistency_proof(old, checkpoint.size)) if between else (), note)


def _ask(cosigner: Cosigner, body: bytes, note: Note, checkpoint: Checkpoint) -> Answer:
    """One witness's cosignature, why there is none, or None if it told another size."""
    try:
        status, answer = cosigner.fetcher.exchange("POST", "add-checkpoint", body)
    except UserError as error:
        return f"{cosigner.key.name}: {error.problem}"
    if status != CONFLICT:
        return _read_answer(cosigner, checkpoint, note, status, answer)
    cosigner.size = parse_size(answer.decode("ascii", "replace").strip()) or 0
    return None


def _read_answer(
    cosigner: Cosigner, checkpoint: Checkpoint, note: Note, status: int, answer: bytes
) -> Signature | str:
    text = answer.decode("utf-8", "replace").strip()
    if status != OK:
        return f"{cosigner.key.name}: HTTP {status}: {text[:200]}"
    for line in text.split("\n"):
        signature = parse_signature(line)
        own = signature is not None and signature.key_id == cosigner.key.key_id
        if signature is None or not own or signature.name != cosigner.key.name:
            continue
        if is_signature_of(cosigner.key, note.text, signature.blob):
            cosigner.size, cosigner.proof = checkpoint.size, _read_proof(cosigner.key, text)
            return signature
    return f"{cosigner.key.name}: its answer holds no signature of its key"


def _read_proof(key: VerifierKey, text: str) -> bytes:
    """The random output's proof in a witness's answer; empty if it gives none."""
    wanted = randomness_key_id(key.name, key.key)
    for line in text.split("\n"):
        signature = parse_signature(line)
        if signature and (signature.name, signature.key_id) == (key.name, wanted):
            return signature.blob if len(signature.blob) == PROOF_BYTES else b""
    return b""
