"""Child processes that never outlive their parent, restarted when they die."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError

PR_SET_PDEATHSIG = 1
RESTART_PAUSE_S = 0.5
STEADY_S = 10.0
MAX_QUICK_RESTARTS = 5


INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, however that happens."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclass(slots=True)
class Child:
    """One program of a running demo: how it is started, and what became of it."""

    name: str
    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restarts: int = 0
    quick: int = 0

    def start(self) -> None:
        """Start the program; its output goes to its log file."""
        # An interrupt between fork and assignment would leave a process that nobody stops.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
        try:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with_parent,
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        self.started_s = time.monotonic()

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        """Last line of its log."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1] if lines else "no output"


@dataclass(slots=True)
class Family:
    """All children of a demo."""

    folder: Path
    say: Callable[[str], None]
    keeps_logs: bool = True
    program: tuple[str, ...] = (sys.executable, "-m", "wavecomb")
    children: dict[str, Child] = field(default_factory=dict)
    past: list[Child] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str]) -> Child:
        """Start `wavecomb ARGUMENTS` as a child under this name."""
        command = (*self.program, *arguments)
        child = Child(name, command, self.folder / f"{name}.log")
        self.children[name] = child
        child.start()
        return child

    def tend(self) -> None:
        """Restart what died. Raises UserError when one keeps dying at once."""
        for child in self.children.values():
            if child.alive():
                continue
            lived_s = time.monotonic() - child.started_s
            child.quick = child.quick + 1 if lived_s < STEADY_S else 0
            if child.quick >= MAX_QUICK_RESTARTS:
                raise UserError(
                    child.name,
                    f"keeps ending: {child.last_words()}",
                    self._advice(child.log.name),
                    exit_code=EXIT_FAILED,
                )
            code = child.process.returncode if child.process else "?"
            self.say(f"{child.name} ended ({code}); restarting")
            time.sleep(RESTART_PAUSE_S)
            child.restarts += 1
            child.start()

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready`; a child that dies meanwhile or too long a wait is a UserError."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            for child in self.children.values():
                if not child.alive():
                    raise UserError(
                        child.name,
                        f"ended: {child.last_words()}",
                        self._advice(child.log.name),
                        exit_code=EXIT_FAILED,
                    )
            if time.monotonic() > deadline:
                raise UserError(
                    what,
                    f"not ready after {timeout_s:.0f} s",
                    self._advice("the logs"),
                    exit_code=EXIT_FAILED,
                )
            time.sleep(0.05)

    def _advice(self, log: str) -> str:
        kept = f"see {log} in {self.folder}"
        return kept if self.keeps_logs else f"see {log} after another run with --dir DIR"

    def stop(self, names: Sequence[str] | None = None, grace_s: float = 8.0) -> None:
        """Stop children (all by default), newest first: a polite signal, then a final one."""
        chosen = [c for c in reversed(self.children.values()) if names is None or c.name in names]
        for child in chosen:
            if child.alive() and child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + grace_s
        for child in chosen:
            if child.process is None:
                continue
            try:
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
            self.past.append(self.children.pop(child.name))
