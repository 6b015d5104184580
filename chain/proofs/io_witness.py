"""The witness daemon: a small web server (c2sp.org/tlog-witness) that also looks by itself.

On the standard library alone, so that it runs wherever a hotspot does: a witness is worth most
where the operators of the ledger have no say.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_keys import load_or_create_seed
from chain.io_terminal import add_command, print_json
from chain.keys import public_key
from chain.proofs.checkpoint import Checkpoint, parse_checkpoint
from chain.proofs.io_fetch import Fetcher
from chain.proofs.io_witness_store import WitnessStore, read_fork
from chain.proofs.log import ProofError
from chain.proofs.note import COSIGNATURE, Note, VerifierKey, parse_note, parse_verifier_key
from chain.proofs.tiles import PlaceFinder, TileLog
from chain.proofs.witness import (
    CONFLICT,
    MAX_REQUEST_BYTES,
    OK,
    TEXT,
    UNPROVEN,
    Answer,
    Request,
    Witness,
    encode_request,
    find_prefix_fork,
    process_add_checkpoint,
    verify_fork,
)
from chain.records import Refusal

KEY_FILE = "witness.key"
DEFAULT_PORT = 8710
# A slow client holds one thread this long at most.
CLIENT_TIMEOUT_S = 10
MAX_CLIENTS = 64
POLL_S = 60


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """A key of a log that the witness signs for, and where the log can be read, if known."""

    key: VerifierKey
    url: str | None
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", self.origin or self.key.name)


def parse_log_option(text: str) -> WatchedLog:
    """`[ORIGIN=]VKEY[@URL]`, the origin being the key's name if left out; or UserError."""
    origin, equals, rest = text.partition("=")
    if not equals or "+" in origin:
        origin, rest = "", text
    vkey, _, url = rest.partition("@http")
    key = parse_verifier_key(vkey)
    if isinstance(key, Refusal):
        raise UserError("log", key.detail, "give the key that `wavecomb chain key` prints")
    return WatchedLog(key, f"http{url}" if url else None, origin)


class WitnessNode:
    """A witness with its disk: decides under a lock, keeps, and only then answers."""

    def __init__(
        self,
        directory: Path,
        logs: Sequence[WatchedLog],
        name: str | None = None,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self.store = WitnessStore(directory)
        seed = load_or_create_seed(directory / KEY_FILE)
        named = self.store.name(name, f"wavecomb-witness/{public_key(seed).hex()[:8]}")
        self.key = VerifierKey(named, COSIGNATURE, public_key(seed))
        self.logs = {log.origin: log for log in logs}
        self.keys = {
            origin: tuple(log.key for log in logs if log.origin == origin) for origin in self.logs
        }
        self.counts = dict.fromkeys((OK, CONFLICT, UNPROVEN), 0)
        self._now_s = now_s
        self._doubts: dict[str, Note] = {}  # the newest per log
        self._lock = threading.Lock()
        self._witness = Witness(named, seed, self.keys, self.store.latest, self.store.at)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a log. UserError (503) if the disk refuses: then nothing was signed."""
        with self._lock:
            answer = process_add_checkpoint(self._witness, body, self._now_s())
            if answer.fork is not None:
                self.store.keep_fork(answer.fork)
            if answer.kept is not None:
                self.store.keep(answer.kept)
            self.counts[answer.status] = self.counts.get(answer.status, 0) + 1
            if answer.doubt is not None and answer.fork is None:
                self._doubts[answer.doubt.text.partition("\n")[0]] = answer.doubt
        return answer

    def note_of(self, digest: str) -> Note | None:
        """The newest note of the log whose origin has this SHA-256, in hexadecimal."""
        names = {sha256(name.encode()).hexdigest(): name for name in self.logs}
        with self._lock:
            return self.store.latest(names[digest]) if digest in names else None

    def status(self) -> dict[str, Any]:
        """What this witness is, what it signed last, and the evidence of forks that it keeps."""
        with self._lock:
            latest = {name: self.store.latest(name) for name in self.logs}
            forks = [path.name for path in self.store.forks()]
        sizes = {name: 0 if note is None else _size_of(note) for name, note in latest.items()}
        return {
            "name": self.key.name,
            "vkey": str(self.key),
            "logs": [
                {"origin": name, "size": sizes[name], "url": log.url}
                for name, log in self.logs.items()
            ],
            "forks": forks,
        }

    def poll(self, log: WatchedLog, fetcher: Fetcher) -> Answer | None:
        """Read a log's checkpoint and try to sign it, with a proof made from the log's own tiles.

        None if there is nothing to sign. Unreachable if the log doesn't answer.
        """
        raw = fetcher.get("checkpoint")
        note = Refusal("", "") if raw is None else parse_note(raw)
        new = None if isinstance(note, Refusal) else parse_checkpoint(note.text)
        if isinstance(note, Refusal) or not isinstance(new, Checkpoint):
            return None
        with self._lock:
            latest = self.store.latest(log.origin)
        if latest is not None and latest.text == note.text:
            return None
        old = 0 if latest is None else _size_of(latest)
        proof = _read_proof(fetcher, old, new.size) if 0 < old < new.size else ()
        return self.add_checkpoint(encode_request(Request(min(old, new.size), proof, note)))

    def investigate(self, log: WatchedLog, fetcher: Fetcher) -> Path | None:
        """Look in the log itself for proof that a doubtful checkpoint contradicts the last one.

        The file of evidence if there is any. Unreachable if the log doesn't answer.
        """
        with self._lock:
            doubt, latest = self._doubts.pop(log.origin, None), self.store.latest(log.origin)
        if doubt is None or latest is None:
            return None
        size = max(_size_of(doubt), _size_of(latest))
        try:
            fork = find_prefix_fork(doubt, latest, TileLog(size, fetcher.get))
        except (ProofError, IndexError):
            return None
        if fork is None or verify_fork(fork, self.keys[log.origin]) is not None:
            return None
        with self._lock:
            return self.store.keep_fork(fork)


def _size_of(note: Note) -> int:
    checkpoint = parse_checkpoint(note.text)
    return 0 if isinstance(checkpoint, Refusal) else checkpoint.size


def _read_proof(fetcher: Fetcher, old: int, new: int) -> tuple[bytes, ...]:
    """A consistency proof from tiles; empty if they don't hold one: then nothing is signed."""
    finder = PlaceFinder(new)
    finder.consistency_proof(old)
    tiles = fetcher.get_many(tile.path for tile in finder.tiles)
    try:
        return tuple(TileLog(new, lambda path: tiles.get(path)).consistency_proof(old))
    except IndexError:
        return ()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], node: WitnessNode) -> None:
        self.node = node
        self._free = threading.BoundedSemaphore(MAX_CLIENTS)
        self._clients: set[socket.socket] = set()  # kept connections outlive the accepting loop
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(timeout=CLIENT_TIMEOUT_S):
            self.shutdown_request(request)
            return
        self._clients.add(request)  # before its thread starts: closing must find it
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.discard(request)
            self._free.release()

    def server_close(self) -> None:
        super().server_close()
        for client in tuple(self._clients):  # what was asked is read and answered, no more after it
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are their own business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "wavecomb-witness"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_S
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            self._refuse(404, "path: unknown; post to /add-checkpoint")
        elif not length.isascii() or not length.isdecimal():
            self._refuse(411, "body: of unknown length; say Content-Length")
        elif len(length) > 9 or int(length) > MAX_REQUEST_BYTES:
            self._refuse(413, f"body: over {MAX_REQUEST_BYTES} bytes; send one checkpoint")
        else:
            self._add_checkpoint(self.rfile.read(int(length)))

    def _add_checkpoint(self, body: bytes) -> None:
        try:
            answer = self.server.node.add_checkpoint(body)
        except UserError as error:
            self._refuse(503, str(error))
            return
        self._send(answer.status, answer.kind, answer.body.encode())

    def do_GET(self) -> None:
        digest, _, rest = self.path[1:].partition("/")
        if self.path == "/":
            body = dumps(self.server.node.status()).encode() + b"\n"
            self._send(200, "application/json", body)
        elif digest == "forks" and (fork := self._fork(rest)) is not None:
            self._send(200, "application/json", fork)
        elif rest == "checkpoint" and (note := self.server.node.note_of(digest)) is not None:
            self._send(200, TEXT, note.encode())
        else:
            self._refuse(404, "path: nothing is there")

    def _fork(self, name: str) -> bytes | None:
        files = {path.name: path for path in self.server.node.store.forks()}
        return files[name].read_bytes() if name in files else None

    def _refuse(self, status: int, detail: str) -> None:
        self.close_connection = True
        self._send(status, TEXT, f"{detail}\n".encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests are counted, not written down."""


class WitnessServer:
    """Serves a node at an address until it is closed, and polls the logs whose place is known."""

    def __init__(
        self, node: WitnessNode, host: str = "127.0.0.1", port: int = 0, poll_s: int = POLL_S
    ) -> None:
        self.node = node
        self._poll_s = poll_s
        self._closing = threading.Event()
        try:
            self._server = _Server((host, port), node)
        except (OSError, OverflowError) as error:
            problem = f"{host}:{port}: {error}"
            raise UserError("port", problem, "choose another", exit_code=EXIT_FAILED) from error
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._threads = [threading.Thread(target=self._server.serve_forever, args=(0.1,))]
        watched = [log for log in node.logs.values() if log.url is not None]
        self._threads += [threading.Thread(target=self._watch, args=(log,)) for log in watched]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; what is being answered is answered first."""
        self._closing.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()
        self.node.store.close()

    def _watch(self, log: WatchedLog) -> None:
        fetcher = Fetcher(log.url or "")
        told = ""
        while True:
            problem = ""
            try:
                answer = self.node.poll(log, fetcher)
                if answer is not None and answer.status != OK:
                    problem = f"{log.origin}: {answer.status} {answer.body.strip()}"
                if fork := self.node.investigate(log, fetcher):
                    problem = f"{log.origin} FORKED: {fork}"
            except UserError as error:
                problem = str(error)
            if problem and problem != told:
                sys.stderr.write(f"wavecomb: {problem}\n")
            told = problem
            if self._closing.wait(self._poll_s):
                break
        fetcher.close()


EXAMPLES = """
  wavecomb chain witness --dir witness --log wavecomb/0123456789abcdef+89abcdef+AXZ...
  wavecomb chain witness --dir witness --log VKEY@http://ledger.example:8700/log --host 0.0.0.0
  wavecomb chain witness --dir witness --status
  wavecomb chain witness --dir witness --log VKEY --check witness/forks/0123456789abcdef.json
"""


# --- the command ----------------------------------------------------------------------------------


def add_commands(commands: Any) -> None:
    """`wavecomb chain witness`."""
    command = add_command(
        commands, "witness", "cosign checkpoints of logs that never change their past"
    )
    command.add_argument("--dir", type=Path, required=True, metavar="DIR", help="its own folder")
    command.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="[ORIGIN=]VKEY[@URL]",
        help="a log's key, and where it can be read (then it is also looked at); repeatable",
    )
    command.add_argument("--name", help="key name, kept from the first run on")
    command.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    command.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    command.add_argument(
        "--poll-s", type=int, default=POLL_S, metavar="S", help="default: %(default)s"
    )
    command.add_argument(
        "--status", action="store_true", help="print what it signed; exit code 1 if it saw a fork"
    )
    command.add_argument("--check", metavar="FILE", type=Path, help="verify evidence of a fork")
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run_witness)


def run_witness(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, or answer a question about what was seen."""
    logs = [parse_log_option(text) for text in options.log]
    if options.check is not None:
        return _check(options, logs)
    if not logs and not options.status:
        raise UserError("log", "none given", "give --log VKEY, as `wavecomb chain key` prints it")
    node = WitnessNode(options.dir, logs, options.name)
    if options.status:
        return _show_status(options, node)
    server = WitnessServer(node, options.host, options.port, max(1, options.poll_s))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    value = {"url": server.url, "vkey": str(node.key), "logs": sorted(node.logs)}
    text = f"witness {node.key} at {server.url}"
    print_json(value) if options.json else print(text, flush=True)
    while not stop.wait(1.0):
        pass
    server.close()
    return EXIT_OK


def _show_status(options: argparse.Namespace, node: WitnessNode) -> int:
    status = node.status()
    node.store.close()
    lines = [f"witness {status['vkey']}"]
    lines += [f"{log['origin']}: signed to size {log['size']}" for log in status["logs"]]
    lines += [f"FORK: {options.dir}/forks/{name}" for name in status["forks"]]
    print_json(status) if options.json else print("\n".join(lines), flush=True)
    return EXIT_FAILED if status["forks"] else EXIT_OK


def _check(options: argparse.Namespace, logs: Sequence[WatchedLog]) -> int:
    if not logs:
        raise UserError("log", "none given", "give --log VKEY of the log that is accused")
    fork = read_fork(options.check)
    if isinstance(fork, Refusal):
        raise UserError("check", f"{options.check} {fork.detail}", "see docs/proofs.md")
    refusal = verify_fork(fork, [log.key for log in logs])
    detail = f"{fork.kind}; the log signed two histories" if refusal is None else refusal.detail
    value = {"proved": refusal is None, "kind": fork.kind, "detail": detail}
    text = f"proved: {detail}" if refusal is None else f"not proved: {detail}"
    print_json(value) if options.json else print(text, flush=True)
    return EXIT_OK if refusal is None else EXIT_FAILED
