"""Running the product's commands as processes, many of them quickly, and what a clear error is."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.io_client import LedgerClient

ROOT = Path(__file__).resolve().parent.parent
PATIENCE, LONGEST_S = 4, 200.0  # of `wait_for`; a test is given up after 300 s
WAVECOMB = (sys.executable, "-m", "wavecomb")

# A process that has imported what commands import, and forks one child per command line: each runs
# in a process of its own, without two seconds of imports.
NURSERY = """
import importlib, json, os, signal, sys, traceback
import wavecomb
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    argv, folder, out, err = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        os.chdir(folder)
        for fd, path in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(path, os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT), fd)
        code = 70
        try:
            code = wavecomb.main(argv)
        except SystemExit as left:
            code = left.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


class Nursery:
    """Runs command lines, each in a child process of its own."""

    def __init__(self, folder: Path, *modules: str) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, *argv: object, cwd: Path) -> Done:
        self._count += 1
        files = [self._folder / f"{self._count}.{kind}" for kind in ("out", "err")]
        line = json.dumps([[str(a) for a in argv], str(cwd), *map(str, files)])
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = (path.read_text(errors="replace") for path in files)
        return Done(code, out, err)

    def close(self) -> None:
        self._process.communicate(timeout=120)


def run(
    *argv: object, cwd: Path | None = None, preexec: Callable[[], None] | None = None, **rest: Any
) -> Done:
    """Run `wavecomb ARGV` the way a person does."""
    done = subprocess.run(
        [*WAVECOMB, *map(str, argv)],
        cwd=cwd or ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        preexec_fn=preexec,
        **rest,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def environment() -> dict[str, str]:
    """Ours, with the sources importable from any folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "coverage")))}


def check_clear(done: Done, *words: str) -> None:
    """One line on stderr that names what is wrong and what to do, and a code that says failed."""
    assert done.code in (1, 2), done
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("wavecomb"), lines
    assert "; " in lines[0], f"no remedy: {lines[0]}"
    assert "Traceback" not in done.err
    for word in words:
        assert word in lines[0], lines[0]


def no_space(left_bytes: int = 0) -> Callable[[], None]:
    """For `preexec`: files of this process can't grow beyond so many bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (left_bytes, resource.RLIM_INFINITY))

    return limit


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Poll until `ready` returns something true; OSError counts as not yet.

    `seconds` are those of a quiet machine: on a busy one everything takes several times as long.
    """
    deadline = time.monotonic() + min(PATIENCE * seconds, LONGEST_S)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            value = ready()
            if value:
                return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE} times {seconds} s")


def busy_port() -> socket.socket:
    """A loopback port that another program, this one, listens on."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def make_ledger(folder: Path, start_ms: int | None = None) -> Path:
    """A new ledger in `folder/ledger`; its operator key is inside."""
    place = folder / "ledger"
    start = ("--start-ms", start_ms) if start_ms is not None else ()
    done = run("chain", "init", "--dir", place, "--preset", "minimal", *start)
    assert done.code == 0, done
    return place


@contextlib.contextmanager
def started(
    argv: Sequence[object], log: Path, prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A running `wavecomb ARGV`, killed at the end; its output goes to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*prefix, *WAVECOMB, *map(str, argv)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=120)


@contextlib.contextmanager
def ledger_service(place: Path, prefix: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """(address, process id) of `wavecomb chain run` over a ledger's folder."""
    log = place.parent / "ledger.log"
    log.unlink(missing_ok=True)
    with started(["chain", "run", "--dir", place, "--port", 0, "--json"], log, prefix) as process:
        url = wait_for("ledger", lambda: first_json(log, process))["urls"][0]
        with LedgerClient(url) as client:
            wait_for("ledger's answer", client.head)
        yield url, process.pid


def first_json(log: Path, process: subprocess.Popen[bytes]) -> Any:
    """The first JSON object in a log, once it is there; AssertionError if its process ended."""
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            return json.loads(line)
    assert process.poll() is None, log.read_text(errors="replace")
    return None
