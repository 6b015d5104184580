"""A light client's cold start against ten years of history: `python -m bench.light --json`.

A log with two records for each of 525,600 epochs and a balance tree of a million hotspots at its
3,650th settlement are served as files through a proxy on loopback that holds back every byte for
half a round trip, and every new connection for a whole one, as the Internet would. Measured: the
command `wavecomb chain light` as a process of its own, which knows three public keys and nothing
else; the same with the first checkpoint of ten years ago in its memory; and its request count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.proofs import DAYS, HELD, accounts, hotspots
from bench.small_log import Cosigned
from chain.cli.io_light import SEEN_FILE, TRUST_FILE, LightClient
from chain.io_terminal import Progress
from chain.proofs.balances import HOTSPOTS, BalanceTree
from chain.proofs.checkpoint import Balances
from chain.proofs.io_fetch import Fetcher
from chain.proofs.log import MerkleLog, leaf_hash
from chain.proofs.note import Note
from chain.proofs.tiles import hash_tile, parse_tile_path
from chain.proofs.trust_file import trust_json

EPOCHS = 525_600
RECORDS_PER_EPOCH = 2


class Files:
    """The files of a log and a balance tree, made when they are asked for."""

    def __init__(self, log: MerkleLog, tree: BalanceTree, note: Note) -> None:
        self._log = log
        self._balances = dict(tree.files())
        self._note = note.encode()

    def read(self, path: str) -> bytes | None:
        """A file, as a static host would have it."""
        tile = parse_tile_path(path)
        if path == "checkpoint" or tile is None:
            return self._note if path == "checkpoint" else self._balances.get(path)
        try:
            return hash_tile(tile, self._log)
        except IndexError:
            return None


def serve(files: Files) -> ThreadingHTTPServer:
    """A plain web server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def do_GET(self) -> None:
            body = files.read(self.path[1:])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class SlowProxy:
    """Hands bytes on half a round trip later; a new connection waits for a whole one first."""

    def __init__(self, target: tuple[str, int], round_trip_s: float) -> None:
        self._target = target
        self._round_trip_s = round_trip_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened = time.monotonic() + self._round_trip_s
            self._pump(near, far, opened)
            self._pump(far, near, opened)

    def _pump(self, source: socket.socket, sink: socket.socket, opened: float) -> None:
        waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def read() -> None:
            data = b"x"
            while data:
                try:
                    data = source.recv(65_536)
                except OSError:
                    data = b""
                due = max(time.monotonic(), opened) + self._round_trip_s / 2
                waiting.put((due, data))

        def write() -> None:
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):
                    sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
                if not data:
                    break

        for work in (read, write):
            threading.Thread(target=work, daemon=True).start()


def build(count: int, progress: Progress) -> tuple[Files, Cosigned, Note]:
    """Ten years of a network, and its first checkpoint."""
    log = MerkleLog()
    for number in range(EPOCHS * RECORDS_PER_EPOCH):
        log.append(leaf_hash(number.to_bytes(4, "big")))
    progress.update(1, f"{len(log)} records")
    tree = BalanceTree(DAYS, accounts(count), hotspots(count), HELD)
    progress.update(2, f"{count} hotspots")
    keys = Cosigned(5, 3)
    note = keys.sign(len(log), log.root(), tree.balances())
    first = keys.sign(RECORDS_PER_EPOCH, log.root(RECORDS_PER_EPOCH), Balances())
    return Files(log, tree, note), keys, first


def measure_command(folder: Path, url: str, hotspot: int) -> float:
    """Seconds from starting the command until it has verified."""
    words = ["chain", "light", "--dir", str(folder), "--hotspot", str(hotspot), "--url", url]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "wavecomb", *words, "--json"], capture_output=True, text=True
    )
    took = time.perf_counter() - started
    if done.returncode or not json.loads(done.stdout)["verified"]:
        raise RuntimeError(done.stderr)
    return took


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hotspots", type=int, default=1_000_000)
    parser.add_argument("--round-trip-ms", type=int, default=50)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    options = parser.parse_args()
    progress = Progress("ten years", 2 + 2 * options.runs, quiet=options.json)
    files, keys, first = build(options.hotspots, progress)
    server = serve(files)
    proxy = SlowProxy(("127.0.0.1", server.server_address[1]), options.round_trip_ms / 1_000)
    url = f"http://127.0.0.1:{proxy.port}"
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / TRUST_FILE).write_text(json.dumps(trust_json(keys.trust)))
        for number in range(options.runs):
            hotspot = (number + 1) * (options.hotspots - 1) // options.runs
            (folder / SEEN_FILE).unlink(missing_ok=True)
            cold.append(measure_command(folder, url, hotspot))
            (folder / SEEN_FILE).write_bytes(first.encode())
            warm.append(measure_command(folder, url, hotspot))
            progress.update(2 + 2 * number, f"{cold[-1]:.2f} s")
    progress.close()
    fetcher = Fetcher(url)
    started = time.perf_counter()
    LightClient(keys.trust, fetcher, first).verify(HOTSPOTS, options.hotspots // 3)
    inside = time.perf_counter() - started
    result = {
        "epochs": EPOCHS,
        "settlements": DAYS,
        "hotspots": options.hotspots,
        "round_trip_ms": options.round_trip_ms,
        "cold_start_s": round(sorted(cold)[len(cold) // 2], 3),
        "cold_start_s_max": round(max(cold), 3),
        "from_ten_years_ago_s": round(sorted(warm)[len(warm) // 2], 3),
        "without_process_start_s": round(inside, 3),
        "requests": fetcher.requests,
        "bytes": fetcher.received,
    }
    fetcher.close()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
