"""Many netds out of one process: each a fork with everything imported, in a namespace of its own.

Fifty interpreters that each import pyroute2 take half a minute of two cores; fifty forks take two
seconds, and share what they imported. What runs is the same daemon, through the same command line.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from chain.io_terminal import run_command
from hotspot.netd import io_main as io_netd  # noqa: F401 - a fork has them already
from hotspot.netd.io_cli import main
from hotspot.netd.io_nft import Batch
from hotspot.netd.nft import TABLE, chains_of
from radio_sim.io_processes import die_with_parent
from radio_sim.live.io_tap import inside
from routing.kernel.state import Marking

_FIRST_FREE = 3  # after standard input, output and error
_POLL_S = 0.01


def warm_up(devices: Sequence[str]) -> None:
    """Encode the nftables rules of plans before forking: forks find them done (netd/io_nft.py)."""
    for stamp, colours in ((0, ()), (0, (1,)), (1, (1,))):
        marking = Marking(tuple(devices), colours, stamp, (), tuple(devices))
        batch = Batch()
        for family in (4, 6):
            for name, rules in chains_of(marking, family).items():
                for rule in rules:
                    batch.rule(family, TABLE, name, rule)
        batch.encode(1)


class Forked:
    """A fork, with what is used of subprocess.Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("netd", timeout or 0.0)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def fork_netd(namespace: str, arguments: Sequence[str], log: Path) -> Forked:
    """Run netd with these arguments in a namespace; its output goes to a file."""
    with inside(namespace):
        pid = os.fork()
        if pid == 0:
            _be_netd(arguments, log)
    return Forked(pid)


def _be_netd(arguments: Sequence[str], log: Path) -> None:
    """The child's life; it never returns."""
    code = 1
    # Files that the parent left to the collector would be closed by number, and be ours by then.
    gc.freeze()
    try:
        die_with_parent()
        for interrupt in (signal.SIGINT, signal.SIGTERM):
            signal.signal(interrupt, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number in (1, 2):
            os.dup2(out, number)
        os.closerange(_FIRST_FREE, os.sysconf("SC_OPEN_MAX"))
        # Who forked may have put something else in their place.
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
        code = run_command(main, [*arguments])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
