"""Small files from a web server, a unix socket or a folder, for light clients and witnesses."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from chain.errors import EXIT_FAILED, UserError

TIMEOUT_S = 10.0
# The largest file is an entry bundle: 256 records of 64 KiB.
MAX_FILE_BYTES = 17 << 20
PARALLEL = 8


class Unreachable(UserError):
    """The place that should have answered didn't; nothing is known about what it holds."""

    def __init__(self, url: str, problem: object) -> None:
        super().__init__("url", f"{url}: {problem}", "try again later", exit_code=EXIT_FAILED)


class Fetcher:
    """Reads files below a prefix: `http(s)://HOST[:PORT]/PREFIX`, `unix:/SOCKET` or a folder.

    Of a service behind a socket it reads what is below /log. Connections are kept and shared;
    `get_many` uses several. `requests` and `received` count. UserError for another prefix.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/") if "://" in url else url
        self.requests = 0
        self.received = 0
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._pool: ThreadPoolExecutor | None = None
        self._parts = urlsplit(self.url)
        self._prefix = "/log" if url.startswith("unix:") else self._parts.path
        try:
            bad_port = self._parts.port == 0
        except ValueError:
            bad_port = True
        if "://" in url and (self._parts.scheme not in ("http", "https") or bad_port):
            raise UserError("url", f"{url!r} is no address", "give http://HOST[:PORT] or a folder")

    def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def warm(self, count: int) -> None:
        """Begin to open connections that `get_many` will need; failures show later."""
        if not self._is_folder():
            for _ in range(count):
                self._workers().submit(self._open_one)

    def _open_one(self) -> None:
        connection = self._connect()
        try:
            connection.connect()
        except OSError:
            return
        with self._lock:
            self._idle.append(connection)

    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(PARALLEL)
        return self._pool

    def get(self, path: str) -> bytes | None:
        """A file; None where there is none. Unreachable if nothing can be known."""
        if self._is_folder():
            return self._read(path)
        status, body = self.exchange("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise Unreachable(f"{self.url}/{path}", f"HTTP {status}")
        return body

    def get_many(self, paths: Iterable[str]) -> dict[str, bytes | None]:
        """Files by path, as many at once as is polite; connections are kept for later calls."""
        wanted = list(dict.fromkeys(paths))
        if len(wanted) < 2 or self._is_folder():
            return {path: self.get(path) for path in wanted}
        return dict(zip(wanted, self._workers().map(self.get, wanted), strict=True))

    def exchange(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, bytes]:
        """One request and its answer; Unreachable if there is none."""
        with self._lock:
            connection = self._idle.pop() if self._idle else self._connect()
        kept_open = connection.sock is not None
        try:
            connection.request(method, f"{self._prefix}/{path}", body, dict(headers))
            response = connection.getresponse()
            content = response.read(MAX_FILE_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if kept_open:  # the other end may have closed it meanwhile
                return self.exchange(method, path, body, headers)
            raise Unreachable(self.url, error or type(error).__name__) from error
        if len(content) > MAX_FILE_BYTES:
            connection.close()
            raise Unreachable(f"{self.url}/{path}", f"more than {MAX_FILE_BYTES} bytes")
        with self._lock:
            self.requests += 1
            self.received += len(content)
            self._idle.append(connection)
        return response.status, content

    def _connect(self) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _Unix(self.url.removeprefix("unix:"), self._timeout_s)
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            import ssl  # slow to load, and most logs are read without it

            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, port, timeout=self._timeout_s, context=context
            )
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _is_folder(self) -> bool:
        return "://" not in self.url and not self.url.startswith("unix:")

    def _read(self, path: str) -> bytes | None:
        try:
            content = Path(self.url, path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        self.requests += 1
        self.received += len(content)
        return content


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._socket_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._socket_path)
