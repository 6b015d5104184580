"""Key files: 32 bytes, raw or as 64 hexadecimal digits, that nobody but their owner may read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from chain.errors import UserError
from chain.keys import SEED_BYTES


def load_seed(path: str | os.PathLike[str]) -> bytes:
    """The seed in a key file; UserError if it is missing, open to others, or not 32 bytes."""
    file = Path(path)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            "key_file", f"{file}: {error.strerror}", "give the path of a readable key file"
        ) from error
    if mode & 0o077:
        raise UserError(
            "key_file", f"mode {mode:04o} lets others read it", f"run: chmod 600 {file}"
        )
    return _parse(file, data)


def _parse(file: Path, data: bytes) -> bytes:
    if len(data) == SEED_BYTES:
        return data
    try:
        seed = bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise UserError(
            "key_file",
            f"{file} holds {len(data)} bytes that are no key",
            "it must be 32 raw bytes or 64 hexadecimal digits",
        )
    return seed


def load_or_create_seed(path: str | os.PathLike[str]) -> bytes:
    """The seed in a key file, which is made with mode 0600 if it doesn't exist."""
    file = Path(path)
    if not file.exists():
        _create(file, secrets.token_bytes(SEED_BYTES))
    return load_seed(file)


def save_seed(path: str | os.PathLike[str], seed: bytes) -> None:
    """Write a seed to a new key file, mode 0600; UserError where another key stands."""
    file = Path(path)
    _create(file, seed)
    if load_seed(file) != seed:
        raise UserError("key_file", f"{file} holds another key", "name a file that doesn't exist")


def _create(file: Path, seed: bytes) -> None:
    """Write a key file whole or not at all: a link never replaces a key that appeared meanwhile."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(seed.hex().encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)
    except FileExistsError:
        return
    except OSError as error:
        raise UserError(
            "key_file", f"{file}: {error.strerror}", "give a path that can be written"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
