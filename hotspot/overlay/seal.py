"""AI requests and jobs sealed end to end: relays see sizes and times, nothing else.

The consumer makes an X25519 key for one request and meets the provider's hotspot key (Ed25519,
mapped to X25519) in a key exchange; each direction gets its own key, used for one libsodium
secretstream (XChaCha20-Poly1305). The request id is authenticated with every chunk, so a chunk of
one request never opens in another. The last chunk carries the FINAL tag: a stream that ends
without it was truncated. Plaintext is padded to buckets before sealing, so that sizes tell little
about words.

On the wire a sealed chunk is `length u32, ciphertext`; a request's stream starts with a 60-byte
hello: `purpose 4, ephemeral key 32, request id 16, payer u32, session u32`. The purpose says what
follows: `WVC1` an AI request, `WVJ1` a bandwidth job.

What it does not do: the provider's half of the exchange is its long-term key, so whoever steals
that key can open requests and answers recorded earlier. Only the consumer's half is forgotten.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nacl import bindings
from nacl.exceptions import CryptoError

from chain.records import Refusal

AI_PURPOSE, JOB_PURPOSE = b"WVC1", b"WVJ1"
HELLO_BYTES = 60
MAX_CHUNK = 16_384  # plaintext bytes sealed at once
BUCKETS = (256, 1_024, 4_096, MAX_CHUNK + 4)
_LENGTH = struct.Struct(">I")
_HELLO = struct.Struct(">4s32s16sII")
_MAX_SEALED = BUCKETS[-1] + bindings.crypto_secretstream_xchacha20poly1305_ABYTES

BAD_HELLO = Refusal("bad_hello", "hello: not a Wavecomb request, or another version")
BAD_KEY = Refusal("bad_key", "key: not a usable point")
TAMPERED = Refusal("tampered", "chunk: fails authentication; it was changed, reordered or replayed")
TRUNCATED = Refusal("truncated", "stream: ended before its final chunk")
TOO_LONG = Refusal("too_long", f"chunk: longer than {_MAX_SEALED} bytes")
AFTER_FINAL = Refusal("after_final", "stream: bytes after the final chunk")
BAD_PADDING = Refusal("bad_padding", "chunk: its inner length is larger than itself")


@dataclass(frozen=True, slots=True)
class Hello:
    """What a request's stream opens with, in clear: the consumer's key for it, and who pays."""

    ephemeral: bytes
    request_id: bytes
    payer: int
    session: int
    purpose: bytes = AI_PURPOSE

    def pack(self) -> bytes:
        """The 60 bytes."""
        ids = (self.ephemeral, self.request_id, self.payer, self.session)
        return _HELLO.pack(self.purpose, *ids)


def unpack_hello(raw: bytes) -> Hello | Refusal:
    """Read a hello. Never raises."""
    if len(raw) != HELLO_BYTES or raw[:4] not in (AI_PURPOSE, JOB_PURPOSE):
        return BAD_HELLO
    purpose, ephemeral, request_id, payer, session = _HELLO.unpack(raw)
    return Hello(ephemeral, request_id, payer, session, purpose)


@dataclass(frozen=True, slots=True)
class SealKeys:
    """The two one-request keys, as seen from one end."""

    receive: bytes
    send: bytes


def consumer_keys(entropy: bytes, provider_key: bytes) -> tuple[bytes, SealKeys] | Refusal:
    """(ephemeral public key, keys) for one request; `entropy` is 32 bytes never used again."""
    try:
        public, secret = bindings.crypto_kx_seed_keypair(entropy)
        theirs = bindings.crypto_sign_ed25519_pk_to_curve25519(provider_key)
        receive, send = bindings.crypto_kx_client_session_keys(public, secret, theirs)
    except (CryptoError, ValueError, RuntimeError):
        return BAD_KEY
    return public, SealKeys(receive, send)


def provider_keys(seed: bytes, ephemeral: bytes) -> SealKeys | Refusal:
    """The same two keys at the provider, from its hotspot seed and the consumer's ephemeral key."""
    try:
        key, signing = bindings.crypto_sign_seed_keypair(seed)
        public = bindings.crypto_sign_ed25519_pk_to_curve25519(key)
        secret = bindings.crypto_sign_ed25519_sk_to_curve25519(signing)
        receive, send = bindings.crypto_kx_server_session_keys(public, secret, ephemeral)
    except (CryptoError, ValueError, RuntimeError):
        return BAD_KEY
    return SealKeys(receive, send)


def pad(data: bytes) -> bytes:
    """`length u32, data`, zero-filled to the next bucket."""
    framed = _LENGTH.pack(len(data)) + data
    return framed.ljust(next(size for size in BUCKETS if size >= len(framed)), b"\0")


def unpad(padded: bytes) -> bytes | Refusal:
    """Undo `pad`."""
    if len(padded) < 4 or _LENGTH.unpack_from(padded)[0] > len(padded) - 4:
        return BAD_PADDING
    return padded[4 : 4 + _LENGTH.unpack_from(padded)[0]]


def _open_state(key: bytes) -> bindings.crypto_secretstream_xchacha20poly1305_state:
    # libsodium draws a header so that one key may seal many streams. Our key seals one, so a
    # constant header is safe, costs no bytes, and keeps a simulated run a function of its seed.
    # Pulling with a header puts a state exactly where pushing with it would.
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    header = bytes(bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES)
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    return state


class Sealer:
    """Seals chunks in order for one direction of one request."""

    def __init__(self, key: bytes, request_id: bytes) -> None:
        self._state = _open_state(key)
        self._request_id = request_id

    def seal(self, data: bytes, *, final: bool = False) -> bytes:
        """Wire bytes of `data`, of any length; with `final` nothing may follow."""
        pieces = [data[at : at + MAX_CHUNK] for at in range(0, len(data), MAX_CHUNK)] or [b""]
        pieces_final = [False] * (len(pieces) - 1) + [final]
        return b"".join(map(self._seal_one, pieces, pieces_final))

    def _seal_one(self, piece: bytes, final: bool) -> bytes:
        tag = (
            bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
            if final
            else bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
        )
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, pad(piece), self._request_id, tag
        )
        return _LENGTH.pack(len(sealed)) + sealed


class Opener:
    """Opens what a `Sealer` sealed, from bytes in pieces of any size; once wrong it stays wrong."""

    def __init__(self, key: bytes, request_id: bytes) -> None:
        self.is_final = False
        self.failure: Refusal | None = None
        self._state = _open_state(key)
        self._request_id = request_id
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes] | Refusal:
        """Chunks that are complete now, or why the stream can't be trusted."""
        self._buffer += data
        chunks: list[bytes] = []
        while self.failure is None and (sealed := self._next_sealed()) is not None:
            chunk = self._open_one(sealed)
            if isinstance(chunk, Refusal):
                self.failure = chunk
            else:
                chunks.append(chunk)
        if self.failure is None and self.is_final and self._buffer:
            self.failure = AFTER_FINAL
        return self.failure or chunks

    def close(self) -> Refusal | None:
        """Call at the end of the stream: TRUNCATED unless the final chunk was seen."""
        return self.failure or (None if self.is_final else TRUNCATED)

    def _next_sealed(self) -> bytes | None:
        if self.is_final or len(self._buffer) < 4:
            return None
        length = _LENGTH.unpack_from(self._buffer)[0]
        if length > _MAX_SEALED:
            self.failure = TOO_LONG
            return None
        if len(self._buffer) < 4 + length:
            return None
        sealed = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return sealed

    def _open_one(self, sealed: bytes) -> bytes | Refusal:
        if len(sealed) < bindings.crypto_secretstream_xchacha20poly1305_ABYTES:
            return TAMPERED
        try:
            padded, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(
                self._state, sealed, self._request_id
            )
        except (CryptoError, ValueError, RuntimeError):
            return TAMPERED
        self.is_final = tag == bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
        return unpad(padded)


class Greeting:
    """The accepting end of a sealed stream: gathers the hello, then opens what follows."""

    def __init__(self, seed: bytes) -> None:
        self.hello: Hello | None = None
        self.opener: Opener | None = None
        self.sealer: Sealer | None = None
        self._seed = seed
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes] | Refusal:
        """Chunks that are complete now; none before the hello is."""
        if self.opener is not None:
            return self.opener.feed(data)
        self._buffer += data
        if len(self._buffer) < HELLO_BYTES:
            return []
        hello = unpack_hello(bytes(self._buffer[:HELLO_BYTES]))
        keys = (
            BAD_HELLO if isinstance(hello, Refusal) else provider_keys(self._seed, hello.ephemeral)
        )
        if isinstance(hello, Refusal) or isinstance(keys, Refusal):
            return hello if isinstance(hello, Refusal) else BAD_KEY
        self.hello = hello
        self.opener = Opener(keys.receive, hello.request_id)
        self.sealer = Sealer(keys.send, hello.request_id)
        return self.opener.feed(bytes(self._buffer[HELLO_BYTES:]))


class SeenRequests:
    """Request ids that a provider has accepted, each remembered until its cap expires."""

    def __init__(self, limit: int = 100_000) -> None:
        self._expiries: dict[bytes, int] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._expiries)

    def admit(self, request_id: bytes, expires_ms: int, now_ms: int) -> bool:
        """True the first time an id is shown; False for a replay, or when the memory is full."""
        if len(self._expiries) >= self._limit:
            self._expiries = {i: t for i, t in self._expiries.items() if t > now_ms}
        if len(self._expiries) >= self._limit or self._expiries.get(request_id, -1) > now_ms:
            return False
        self._expiries[request_id] = expires_ms
        return True
