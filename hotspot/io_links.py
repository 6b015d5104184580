"""A hotspot's chain of secrets, made once and kept beside its key, readable by its owner alone.

Making one takes 65,536 hashes, a tenth of a second on a small router at each start. What is kept is
every 64th link, sealed to the seed; a file that is missing, foreign or damaged is made again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from chain.draws import digest, u32
from hotspot.secrets import SecretChain

SEAL_BYTES = 32


def _seal(seed: bytes, first_epoch: int, length: int, links: bytes) -> bytes:
    return digest("kept-links", seed, u32(first_epoch), u32(length), links)


def load_chain(path: Path, seed: bytes, first_epoch: int, length: int) -> SecretChain:
    """The chain of a seed; kept at `path` for the next time, where that can be written."""
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        links = data[SEAL_BYTES:]
        if data[:SEAL_BYTES] == _seal(seed, first_epoch, length, links):
            return SecretChain(seed, first_epoch, length, links)
    chain = SecretChain(seed, first_epoch, length)
    links = chain.kept_links()
    with contextlib.suppress(OSError):
        _write(path, _seal(seed, first_epoch, length, links) + links)
    return chain


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, data)
    finally:
        os.close(file)
    draft.replace(path)
