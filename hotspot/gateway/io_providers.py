"""Models that answer AI requests: WordLlama in this process, or any OpenAI-compatible address.

A backend answers one request into a `Sink`: status and type first, then bytes, and returns how many
tokens it counted. What a model refuses is an ordinary answer with an HTTP error status.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from chain.errors import EXIT_FAILED, UserError

if TYPE_CHECKING:
    from wordllama.inference import WordLlamaInference

WORDLLAMA_MODEL = "wordllama-l2-supercat-256"
WORDLLAMA_WIDTH = 256
MAX_INPUTS = 2_048
TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=5, sock_read=120)


class Sink(Protocol):
    """Where an answer goes."""

    def begin(self, status: int, content_type: str) -> None:
        """Say what kind of answer this will be."""

    def chunk(self, data: bytes) -> None:
        """Hand over the next bytes."""


class Backend(Protocol):
    """A model, or a server of models."""

    models: tuple[str, ...]

    async def open(self) -> None:
        """Load or connect."""

    async def answer(self, path: str, body: dict[str, Any], sink: Sink) -> int:
        """Answer one request; return the tokens to charge."""

    async def close(self) -> None:
        """Let go of what was opened."""


def error_body(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> bytes:
    """Return an error in the shape that OpenAI's clients read."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def read_inputs(body: dict[str, Any]) -> list[str]:
    """Return the texts of an embeddings request; UserError if there are none."""
    value = body.get("input")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise UserError("input", "must be a string or a list of strings", "send text, not tokens")
    if len(texts) > MAX_INPUTS or not all(texts):
        raise UserError("input", f"needs 1 to {MAX_INPUTS} texts, none empty", "split or fill it")
    return texts


class WordLlamaBackend:
    """Embeddings by the 16 MB model that the package wordllama carries; needs no network."""

    models: tuple[str, ...] = (WORDLLAMA_MODEL,)

    def __init__(self, models: Sequence[str] = ()) -> None:
        self.models = tuple(models) or self.models
        self._model: WordLlamaInference | None = None

    async def open(self) -> None:
        """Load the model, in a thread."""
        self._model = await asyncio.to_thread(load_wordllama)

    async def close(self) -> None:
        """Nothing is held."""

    async def answer(self, path: str, body: dict[str, Any], sink: Sink) -> int:
        """Answer an embeddings request."""
        if path != "embeddings":
            sink.begin(404, "application/json")
            message = f"{path}: this provider has embeddings only"
            sink.chunk(error_body(message, "invalid_request_error", code="model_not_found"))
            return 0
        try:
            texts = read_inputs(body)
            encode = encoder_of(body)
        except UserError as error:
            sink.begin(400, "application/json")
            sink.chunk(error_body(str(error), "invalid_request_error", param=error.field))
            return 0
        vectors, tokens = await asyncio.to_thread(self._embed, texts)
        rows = [
            {"object": "embedding", "index": i, "embedding": encode(vector)}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        result = {"object": "list", "data": rows, "model": body.get("model"), "usage": usage}
        sink.begin(200, "application/json")
        sink.chunk(json.dumps(result).encode())
        return tokens

    def _embed(self, texts: list[str]) -> tuple[Any, int]:
        if self._model is None:
            raise RuntimeError("answer before open")
        tokens = sum(sum(e.attention_mask) for e in self._model.tokenize(texts))
        return self._model.embed(texts, norm=True), tokens


def encoder_of(body: dict[str, Any]) -> Any:
    """Return what turns a float32 vector into `encoding_format`; UserError for what it can't."""
    if body.get("dimensions") not in (None, WORDLLAMA_WIDTH):
        remedy = f"leave it out, or ask for {WORDLLAMA_WIDTH}"
        raise UserError("dimensions", f"this model has {WORDLLAMA_WIDTH}", remedy)
    wanted = body.get("encoding_format", "float")
    if wanted == "float":
        return lambda vector: vector.tolist()
    if wanted == "base64":
        return lambda vector: base64.b64encode(vector.astype("<f4").tobytes()).decode()
    raise UserError("encoding_format", f"{wanted!r} is unknown", "use float or base64")


def load_wordllama() -> WordLlamaInference:
    """Load the packaged model; UserError if the package is not installed."""
    try:
        import wordllama
    except ImportError as error:
        remedy = "pip install 'wavecomb[gateway]', or set another backend"
        raise UserError("provider.backend", "wordllama is not installed", remedy) from error
    folder = Path(wordllama.__file__).parent
    # The package looks for its tokenizer in a cache folder: name its own, so that it finds it.
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


class OpenAiBackend:
    """Any OpenAI-compatible address; streams pass through."""

    def __init__(self, url: str, models: Sequence[str] = (), api_key: str = "") -> None:
        self.models = tuple(models)
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Connect; ask the server for its models unless they were configured."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=TIMEOUT)
        if self.models:
            return
        try:
            async with self._session.get(f"{self._url}/models") as response:
                listed = await response.json()
            self.models = tuple(str(row["id"]) for row in listed["data"])
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            await self.close()
            problem = f"{self._url}/models: {error or type(error).__name__}"
            remedy = "start the model server, or name its models in provider.models"
            raise UserError("provider.url", problem, remedy, exit_code=EXIT_FAILED) from error

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()

    async def answer(self, path: str, body: dict[str, Any], sink: Sink) -> int:
        """Pass a request to the server and its answer back."""
        if self._session is None:
            raise RuntimeError("answer before open")
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        if body.get("stream"):
            body = body | {"stream_options": {"include_usage": True}}
        try:
            async with self._session.post(f"{self._url}/{path}", json=body) as response:
                sink.begin(response.status, response.headers.get("Content-Type", ""))
                if body.get("stream") and response.status == 200:
                    return await _pass_stream(response, sink, wants_usage=wants_usage)
                data = await response.read()
                sink.chunk(data)
                return _usage_of(data) if response.status == 200 else 0
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{self._url}: {error or type(error).__name__}"
            raise UserError("provider.url", problem, "check the model server") from error


async def _pass_stream(response: aiohttp.ClientResponse, sink: Sink, *, wants_usage: bool) -> int:
    """Pass events on, line by line; the usage event, which we asked for, only to who wants it."""
    tokens = events = 0
    gap = False
    async for line in response.content:
        if gap and not line.strip():
            gap = False
            continue
        event = _event_of(line)
        if event is not None:
            usage = event.get("usage") or {}
            tokens = int(usage.get("total_tokens") or tokens)
            events += bool(event.get("choices"))
            gap = bool(usage) and not event.get("choices") and not wants_usage
        if not gap:
            sink.chunk(line)
    return tokens or events


def _event_of(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"data:"):
        return None
    try:
        event = json.loads(line[5:])
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _usage_of(data: bytes) -> int:
    """Tokens of a whole answer; 0 if the server doesn't count: then it costs nothing."""
    try:
        return int(json.loads(data)["usage"]["total_tokens"])
    except (ValueError, KeyError, TypeError):
        return 0
