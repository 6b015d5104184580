"""Fetch, check and unpack releases; every file is whole on the disk before anything names it."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath

from chain.errors import EXIT_FAILED, UserError
from chain.records import Refusal
from hotspot.update import (
    LAUNCHER,
    MANIFEST_MAX_BYTES,
    PROGRAM,
    Release,
    ReleaseFile,
    ReleaseKeys,
    Slot,
    format_keys,
    parse_keys,
    parse_slot,
    read_manifest,
)

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30
UNPACKED_MAX_BYTES = 256 << 20
MANIFEST, SIGNATURES = "release.json", "release.sig"


class Root:
    """The folder that holds a hotspot's releases (see `hotspot/update.py`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.releases = self.folder / "releases"

    def program(self, version: str) -> Path:
        """The command of a release."""
        return self.releases / version / "bin" / "wavecomb"

    def slot(self) -> Slot:
        """Which release starts. UserError where there is none."""
        slot = parse_slot(self._read("slot"))
        if isinstance(slot, Refusal):
            raise _refused(slot)
        return slot

    def set_slot(self, slot: Slot) -> None:
        """Replace the line, durably."""
        write_durably(self.folder / "slot", slot.line.encode())

    def keys(self) -> ReleaseKeys:
        """Whose releases are taken."""
        keys = parse_keys(self._read("keys"))
        if isinstance(keys, Refusal):
            raise _refused(keys)
        return keys

    def config(self) -> Path:
        """The settings of the hotspot that these releases run."""
        return Path(self._read("config").strip())

    def rejected(self) -> list[str]:
        """Versions whose trial failed, oldest first."""
        path = self.folder / "rejected"
        return path.read_text().split() if path.exists() else []

    def reject(self, version: str) -> None:
        """Remember that a version's trial failed."""
        known = [name for name in self.rejected() if name != version]
        write_durably(self.folder / "rejected", "\n".join([*known, version, ""]).encode())

    def prepare(self, keys: ReleaseKeys, config: Path) -> None:
        """Write what doesn't change with releases."""
        self.releases.mkdir(parents=True, exist_ok=True)
        write_durably(self.folder / "keys", format_keys(keys).encode())
        write_durably(self.folder / "config", f"{config.resolve()}\n".encode())
        write_durably(self.folder / "start", LAUNCHER.encode(), 0o755)

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except OSError as error:
            said = f"{self.folder} holds no releases ({name}: {error.strerror})"
            raise UserError("--root", said, "run: wavecomb hotspot update adopt") from error

    def forget(self, keep: tuple[str, ...]) -> None:
        """Remove releases that nobody falls back on, and what a cut left half unpacked."""
        for path in sorted(self.releases.iterdir()):
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)


def _refused(refusal: Refusal) -> UserError:
    field, _, rest = refusal.detail.partition(": ")
    problem, _, remedy = rest.partition("; ")
    return UserError(field, problem, remedy or "see docs/owner.md", exit_code=EXIT_FAILED)


def refuse(refusal: Refusal | None) -> None:
    """Raise a refusal as UserError; None is fine."""
    if refusal is not None:
        raise _refused(refusal)


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file: the old or the new content stands there after a power cut, never a part."""
    draft = path.with_name(f"{path.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.chmod(mode)
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- from where releases come ---------------------------------------------------------------------


def fetch(source: str, name: str, limit: int) -> Iterator[bytes]:
    """The bytes of a file of a release, from a folder, file:// or http(s)://. UserError if away."""
    try:
        if "://" not in source:
            with open(Path(source) / name, "rb") as local:
                yield from _chunks(local, limit)
        else:
            with urllib.request.urlopen(f"{source.rstrip('/')}/{name}", timeout=TIMEOUT_S) as far:
                yield from _chunks(far, limit)
    except (OSError, ValueError, urllib.error.URLError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        said = f"{source}/{name}: {getattr(error, 'reason', None) or error}"
        remedy = "check the address and the connection, then run it again"
        raise UserError("--from", said, remedy, exit_code=EXIT_FAILED) from error


def _chunks(stream: object, limit: int) -> Iterator[bytes]:
    read = 0
    while chunk := stream.read(min(CHUNK_BYTES, limit + 1 - read)):  # type: ignore[attr-defined]
        read += len(chunk)
        if read > limit:
            raise ValueError(f"is longer than {limit} bytes")
        yield chunk


def fetch_release(source: str, keys: ReleaseKeys) -> Release:
    """The release that a source offers. UserError unless enough known keys signed it."""
    manifest = b"".join(fetch(source, MANIFEST, MANIFEST_MAX_BYTES))
    signatures = b"".join(fetch(source, SIGNATURES, MANIFEST_MAX_BYTES))
    release = read_manifest(manifest, signatures, keys)
    if isinstance(release, Refusal):
        raise _refused(release)
    return release


def install(root: Root, source: str, release: Release, python: str = sys.executable) -> Path:
    """Fetch and unpack a release beside the others; one that stands there whole is left as it is.

    The folder gets its name only once every file in it is on the disk.
    """
    place = root.releases / release.version
    if root.program(release.version).exists():
        return place
    part = root.releases / f".{release.version}.part"
    shutil.rmtree(part, ignore_errors=True)
    (part / "bin").mkdir(parents=True)
    for file in release.files:
        wheel = part / file.name
        _save(wheel, fetch(source, file.name, file.size), file)
        _unpack(wheel, part / "site")
        wheel.unlink()
    script = PROGRAM.format(python=shlex.quote(python)).encode()
    write_durably(part / "bin" / "wavecomb", script, 0o755)
    for folder, _, _ in os.walk(part):
        sync_folder(Path(folder))
    part.rename(place)
    sync_folder(root.releases)
    return place


def _save(path: Path, chunks: Iterator[bytes], file: ReleaseFile) -> None:
    """Write a file and check it. UserError where it isn't what the manifest says."""
    seen, size = sha256(), 0
    with path.open("wb") as out:
        for chunk in chunks:
            seen.update(chunk)
            size += len(chunk)
            out.write(chunk)
    if size != file.size or seen.digest() != file.sha256:
        said = f"{file.name} isn't the file that was signed ({size} of {file.size} bytes)"
        remedy = "run it again, or use another source"
        raise UserError("--from", said, remedy, exit_code=EXIT_FAILED)


def _unpack(wheel: Path, site: Path) -> None:
    """Unpack a wheel. It is signed; still nothing leaves the folder or grows without bound."""
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > UNPACKED_MAX_BYTES:
            raise UserError("--from", f"{wheel.name} is too large unpacked", "ask whoever releases")
        for member in members:
            name = PurePosixPath(member.filename)
            if name.is_absolute() or ".." in name.parts:
                raise UserError("--from", f"{wheel.name}: {name}", "ask whoever releases")
            target = site.joinpath(*name.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out)
                out.flush()
                os.fsync(out.fileno())
