"""Files of jobs on disk: what is to be sent, and what has arrived; one folder, one file a job."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError

READ_BYTES = 1 << 20
MIN_FREE_BYTES = 64 << 20  # a full disk would stop more than jobs


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file taken from a client: its name in the folder, length and SHA-256."""

    name: str
    size: int
    sha256: bytes


class JobFiles:
    """The folder; methods raise OSError when the disk fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            problem = f"{folder}: {error.strerror}"
            remedy = "name a folder that can be written"
            raise UserError("jobs.folder", problem, remedy, exit_code=EXIT_FAILED) from error

    def path(self, name: str) -> Path:
        """Where the file of this name is."""
        return self._folder / name

    def size(self, name: str) -> int:
        """Bytes of a file; 0 if there is none."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return bytes of a file; OSError if it is shorter than that."""
        with self.path(name).open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise OSError(f"{self.path(name)} was cut short")
        return data

    def keep(self, name: str, offset: int, data: bytes) -> None:
        """Write bytes at an offset, end the file there, and put all of it on the disk."""
        self.check_room(len(data))
        descriptor = os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def check_room(self, size: int) -> None:
        """Raise OSError if the disk would be nearly full."""
        if shutil.disk_usage(self._folder).free < size + MIN_FREE_BYTES:
            raise OSError(f"{self._folder}: less than {MIN_FREE_BYTES >> 20} MiB would be free")

    def has_hash(self, name: str, sha256: bytes) -> bool:
        """Tell whether a file's SHA-256 is this; also makes its folder entry durable."""
        with self.path(name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return found == sha256

    def drop(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self.path(name).unlink()

    def drop_orphans(self, known: Iterable[str]) -> None:
        """Remove files that no job knows: uploads that a kill cut short."""
        names = set(known)
        for path in self._folder.iterdir():
            if path.name.startswith(("out-", "in-")) and path.name not in names:
                path.unlink()

    async def spool(self, name: str, chunks: AsyncIterator[bytes], limit: int) -> Spooled:
        """Write what a client sends; UserError beyond the limit, and nothing stays then."""
        digest, size = hashlib.sha256(), 0
        try:
            with self.path(name).open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        problem, remedy = f"longer than {limit} bytes", "send less, or in parts"
                        raise UserError("file", problem, remedy, status=413)
                    self.check_room(len(chunk))
                    file.write(chunk)
                    digest.update(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.drop(name)
            raise
        return Spooled(name, size, digest.digest())
