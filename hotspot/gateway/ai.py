"""An AI request between two hotspots: price cap, sealed messages, hash chain, token counting.

The consumer's stream carries a hello (see `seal.py`) and one sealed request: CBOR [session,
request id, max_tokens, expires_ms, cap signature, path, model, body]. The cap is signed before the
first byte: the provider works for nobody who hasn't promised to pay, and can't charge more than
it. The answer is a sequence of sealed messages: one HEAD, any number of BODY, one END with the
token count and the hash chain over all bodies; or one REFUSED. Consumer and provider chain the
bodies independently, so a disagreement shows at once.

Token counts: the provider counts with its model's tokenizer. The consumer has no tokenizer for
every model in the world, so it bounds: a token of text takes two bytes or more on average, an
event of a stream at least one token. What is signed is the smaller of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from chain import cbor
from chain.draws import digest
from chain.keys import sign, verify
from chain.records import Refusal
from hotspot.overlay.seal import Hello, Opener, Sealer, SealKeys, consumer_keys
from hotspot.overlay.sessions import fits

CAP_NAME = "request-cap"
HEAD, BODY, END, REFUSED = 1, 2, 3, 4
PATHS = ("embeddings", "chat/completions", "completions")
MAX_REQUEST = 1 << 20
BYTES_PER_TOKEN = 2
PER_MESSAGE_TOKENS = 16
USUAL_BYTES_PER_TOKEN = 4  # of English text; to plan with, never to charge by
BLOCK_BYTES = 512 * USUAL_BYTES_PER_TOKEN  # of a prompt, hashed together with all before it
MAX_BLOCKS = 256

BAD_REQUEST = Refusal("bad_request", "request: its fields are not those of an AI request")
BAD_ANSWER = Refusal("bad_answer", "answer: its fields are not those of an AI answer")
BAD_CAP = Refusal("bad_cap", "cap: not signed by the session's payer for this request")
CAP_EXPIRED = Refusal("cap_expired", "expires_ms: the price cap is no longer valid; sign a new one")
REPLAYED = Refusal("replayed", "request id: seen before; a request is answered once")
BUSY = Refusal("busy", "provider: can't begin to answer in time now; try another")
UNKNOWN_MODEL = Refusal("unknown_model", "model: not served here")
TRANSCRIPT_DIFFERS = Refusal("transcript_differs", "answer: both ends hashed different chunks")


@dataclass(frozen=True, slots=True)
class RequestCap:
    """What the payer promises for one request: at most so many tokens, until then."""

    session: int
    request_id: bytes
    max_tokens: int
    expires_ms: int

    def body(self) -> bytes:
        """Return the CBOR that is signed (docs/records.md, request cap)."""
        return cbor.encode((self.session, self.request_id, self.max_tokens, self.expires_ms))


def sign_cap(seed: bytes, network_id: bytes, cap: RequestCap) -> bytes:
    """Sign a cap as the payer."""
    return sign(seed, CAP_NAME, network_id, cap.body())


def is_cap_signed_by(
    key: bytes | None, network_id: bytes, cap: RequestCap, signature: bytes
) -> bool:
    """Tell whether the cap is this payer's."""
    return key is not None and verify(key, CAP_NAME, network_id, cap.body(), signature)


@dataclass(frozen=True, slots=True)
class AiCall:
    """What a client wants: `path` and `body` as posted, and what the gateway read in them.

    `goal_ms`: to the first token, 0 for none: whoever can't keep it is passed over, while somebody
    can. `hedge_ms`: after so long without a token another provider is asked as well; 0 for never.
    `prefix`: as of `prompt_blocks`.
    """

    path: str
    model: str
    body: bytes
    prompt_tokens: int
    max_tokens: int
    goal_ms: int = 0
    hedge_ms: int = 0
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the provider opened it; `goal_ms` is left to its first token, 0 for no goal."""

    cap: RequestCap
    signature: bytes
    path: str
    model: str
    body: bytes
    goal_ms: int = 0


def pack_request(request: Request) -> bytes:
    """Encode a request for sealing."""
    cap = request.cap
    head = (cap.session, cap.request_id, cap.max_tokens, cap.expires_ms, request.signature)
    return cbor.encode((*head, request.path, request.model, request.body, request.goal_ms))


def unpack_request(data: bytes) -> Request | Refusal:
    """Read a request. Never raises."""
    try:
        values = cbor.decode(data)
    except cbor.CborError:
        return BAD_REQUEST
    shape = (32, bytes, 32, 64, bytes, str, str, bytes, 32)
    if not (fits(values, shape) or fits(values, shape[:8])) or values[5] not in PATHS:
        return BAD_REQUEST
    session, request_id, max_tokens, expires_ms, *rest = values
    cap = RequestCap(session, request_id, max_tokens, expires_ms)
    return Request(cap, *rest)


# --- answers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """The answer begins."""

    status: int
    content_type: str


@dataclass(frozen=True, slots=True)
class End:
    """The answer is complete."""

    tokens: int
    chain: bytes


Message = Head | bytes | End | Refusal


def pack_message(message: Message) -> bytes:
    """Encode one message of an answer; bytes are a BODY, a Refusal is REFUSED."""
    if isinstance(message, Head):
        return cbor.encode((HEAD, message.status, message.content_type))
    if isinstance(message, End):
        return cbor.encode((END, message.tokens, message.chain))
    if isinstance(message, Refusal):
        return cbor.encode((REFUSED, message.reason, message.detail))
    return cbor.encode((BODY, message))


def unpack_message(data: bytes) -> tuple[bool, Message]:
    """Read a message: (was it readable, the message); unreadable is (False, BAD_ANSWER)."""
    try:
        values = cbor.decode(data)
    except cbor.CborError:
        return False, BAD_ANSWER
    if fits(values, (8, bytes)) and values[0] == BODY:
        return True, values[1]
    if fits(values, (8, 16, str)) and values[0] == HEAD:
        return True, Head(values[1], values[2][:128])
    if fits(values, (8, 32, bytes)) and values[0] == END:
        return True, End(values[1], values[2])
    if fits(values, (8, str, str)) and values[0] == REFUSED:
        return True, Refusal(values[1][:64], values[2][:300])
    return False, BAD_ANSWER


class Transcript:
    """The hash chain over an answer's bodies: h(0) = H(request id), h(n) = H(h(n-1), body n)."""

    def __init__(self, request_id: bytes) -> None:
        self.tip = digest("answer-chain", request_id)

    def add(self, body: bytes) -> None:
        """Chain one more body."""
        self.tip = digest("answer-chain", self.tip, body)


# --- counting ----------------------------------------------------------------------------------


def text_tokens(size: int) -> int:
    """Return the most tokens that we accept for this many bytes of UTF-8 text."""
    return (size + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN


def prompt_tokens(body: dict[str, Any]) -> int:
    """Return the most tokens that we accept for a request's `input`, `prompt` or `messages`."""
    pieces = list(_texts(body.get("input", body.get("prompt", []))))
    for message in body.get("messages") or []:
        pieces += _texts(message.get("content") if isinstance(message, dict) else [])
    return sum(PER_MESSAGE_TOKENS + text_tokens(len(piece.encode())) for piece in pieces)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return _texts(value.get("text"))
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def planned_tokens(body: bytes) -> int:
    """Return how long a prompt probably is: what both ends plan a machine's time with."""
    return 1 + len(body) // USUAL_BYTES_PER_TOKEN


def prompt_blocks(body: dict[str, Any]) -> tuple[int, ...]:
    """Hashes of the whole blocks of a prompt, each with all before it.

    Two prompts that begin alike have equal hashes as far as they do, and a provider that has
    computed the one need not compute that part of the other again. They stay in this gateway.
    """
    hasher, found = sha256(), []
    text = "\x00".join(_spoken(body)).encode()
    for at in range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES)[:MAX_BLOCKS]:
        hasher.update(text[at : at + BLOCK_BYTES])
        found.append(int.from_bytes(hasher.digest()[:8]))
    return tuple(found)


def _spoken(body: dict[str, Any]) -> Iterator[str]:
    yield str(body.get("model"))
    yield from _texts(body.get("prompt", []))
    for message in body.get("messages") or []:
        if isinstance(message, dict):
            yield str(message.get("role"))
            yield from _texts(message.get("content"))


class AnswerCounter:
    """Counts an answer's tokens from outside, as an upper bound; embeddings have none."""

    def __init__(self, path: str) -> None:
        self.tokens = 0
        self._counts = path != "embeddings"
        self._streams: bool | None = None
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the answer."""
        if not self._counts:
            return
        self._buffer += data
        if self._streams is None and self._buffer.strip():
            self._streams = self._buffer.lstrip().startswith((b"data:", b":", b"event:"))
        if self._streams:
            *lines, rest = bytes(self._buffer).split(b"\n")
            self._buffer = bytearray(rest)
            for line in lines:
                self._count(line.removeprefix(b"data:"))

    def close(self) -> int:
        """Return the count at the end of the answer."""
        if self._counts:
            self._count(bytes(self._buffer))
            self._buffer.clear()
        return self.tokens

    def _count(self, text: bytes) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            return
        for choice in event.get("choices") or [] if isinstance(event, dict) else []:
            part = choice.get("delta") or choice.get("message") or choice
            words = "".join(
                str(part.get(k) or "") for k in ("content", "reasoning_content", "text")
            )
            self.tokens += max(1, text_tokens(len(words.encode())))


# --- one request, seen from either end ---------------------------------------------------------


class ConsumerSeal:
    """The consumer's end of one sealed request."""

    def __init__(self, request: Request, payer: int, hello_key: bytes, keys: SealKeys) -> None:
        cap = request.cap
        hello = Hello(hello_key, cap.request_id, payer, cap.session)
        sealed = Sealer(keys.send, cap.request_id).seal(pack_request(request), final=True)
        self.opening = hello.pack() + sealed
        self.transcript = Transcript(cap.request_id)
        self._opener = Opener(keys.receive, cap.request_id)

    def feed(self, data: bytes) -> list[Message]:
        """Messages that are complete now; a Refusal among them is the last."""
        chunks = self._opener.feed(data)
        if isinstance(chunks, Refusal):
            return [chunks]
        messages: list[Message] = []
        for chunk in chunks:
            _, message = unpack_message(chunk)
            if isinstance(message, bytes):
                self.transcript.add(message)
            if isinstance(message, End) and message.chain != self.transcript.tip:
                message = TRANSCRIPT_DIFFERS
            messages.append(message)
        return messages

    def close(self) -> Refusal | None:
        """Call when the stream has ended: why the answer can't be complete, if so."""
        return self._opener.close()


def seal_for(
    request: Request, payer: int, provider_key: bytes, entropy: bytes
) -> ConsumerSeal | Refusal:
    """Seal a request to a provider's hotspot key; `entropy` is 32 bytes never used again."""
    made = consumer_keys(entropy, provider_key)
    if isinstance(made, Refusal):
        return made
    return ConsumerSeal(request, payer, *made)
