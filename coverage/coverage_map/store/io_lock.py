"""One writer per store: a lock of the kernel's, which no crash leaves behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError


class InUse(UserError):
    """Another process keeps this store."""


class Lock:
    """Held from its making until `release`, or until the process ends."""

    def __init__(self, directory: Path) -> None:
        """InUse if somebody else holds it; UserError where no lock can be made."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError("--data", f"can't use {directory}: {error}", "mend its mode") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise InUse(
                *("--data", f"process {holder} serves or writes {directory} now"),
                "stop it first, or name another directory",
                exit_code=EXIT_FAILED,
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it; doing so twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
