"""The machine beneath a daemon: its clocks, radio, ledger and way of waiting, behind one door.

The daemon on a roof gets this one. A test, or a bench that lets weeks go by in minutes, gives it a
machine of its own whose clocks it turns itself; the daemon is the same object.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.io_client import LedgerClient
from hotspot.carriers.io_open import open_carrier
from hotspot.clock import Moment
from hotspot.config import HotspotConfig
from hotspot.io_queue import DurableQueue, open_whole
from hotspot.io_system import boot_id, boot_ns, hook_result, is_synchronised, start_hook
from hotspot.io_uplink import Uplink
from hotspot.io_wake import Loop, Waker
from hotspot.radio.io_radio import Radio


class Machine:
    """What a daemon asks of the machine that it runs on."""

    def wall_ns(self) -> int:
        """The wall clock, which people and time services set."""
        return time.time_ns()

    def boot_ns(self) -> int:
        """Nanoseconds since the machine started; nobody sets this clock."""
        return boot_ns()

    def look_at_clocks(self, synchronised: bool) -> Moment:
        """Both clocks now, and what the kernel said of the wall clock when it was asked last."""
        return Moment(self.wall_ns(), self.boot_ns(), synchronised)

    def is_synchronised(self) -> bool:
        """Whether a time service holds the wall clock."""
        return is_synchronised()

    def boot_id(self) -> str:
        """Which start of the machine this is."""
        return boot_id()

    def hold(self, key_file: Path) -> None:
        """Be the only daemon with this key until the process ends: two would sign twice.

        Raises UserError where another has it; a file system without locks is taken as it is.
        """
        held = os.open(key_file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(held)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                problem = f"another daemon runs with {key_file}"
                remedy = "stop that one first: two would sign twice, and lose the bond"
                raise UserError("daemon", problem, remedy, exit_code=EXIT_FAILED) from error
            return
        self._held = held

    def open_radio(self, config: HotspotConfig) -> Radio:
        """The radio that the settings name. Raises UserError with the remedy."""
        return open_carrier(config)

    def open_queue(self, path: Path, limit_bytes: int) -> DurableQueue:
        """What must not be lost. Raises UserError with the remedy.

        A damaged file is put aside, what can be read of it is kept, and life goes on.
        """
        return open_whole(path, limit_bytes)

    def connect(self, url: str) -> LedgerClient:
        """A ledger, for what must be known before the start."""
        return LedgerClient(url)

    def make_uplink(self, url: str, wake: Callable[[], None]) -> Uplink:
        """The way to the ledger for all that comes after."""
        return Uplink(LedgerClient(url), wake, everybody=False)

    def make_loop(self) -> Loop:
        """What to wait with."""
        return Loop()

    def make_waker(self) -> Waker:
        """What ends a wait."""
        return Waker()

    def start_hook(self, command: str, interface: str) -> int | None:
        """Start the owner's command; its process id, or None."""
        return start_hook(command, interface)

    def hook_result(self, pid: int) -> int | None:
        """Exit code of a hook that has ended, None while it runs."""
        return hook_result(pid)

    def begin_anew(self) -> None:
        """Replace this process by a new one of the same command. All was stored before."""
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
