"""The keys in a ledger's folder: every `*.key` file of it, found by its public key.

Rotation adds files and never overwrites one: until a new key's appointment binds, the old one
signs; afterwards old signatures still have to be checked, and an operator may want to come back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from chain.errors import UserError
from chain.io_keys import load_seed, save_seed
from chain.keys import SEED_BYTES, public_key

OPERATOR_KEY = "operator.key"


class Keyring:
    """Seeds by public key; UserError for a key file that is damaged or open to others."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[bytes, Path] = {}
        self._read: set[Path] = set()
        self._scan()

    def _scan(self) -> None:
        """Read the files that are new."""
        for path in sorted(set(self.directory.glob("*.key")) - self._read):
            self.files[public_key(load_seed(path))] = path
            self._read.add(path)

    def seed(self, key: bytes) -> bytes | None:
        """The seed of a public key, if it is here by now."""
        if key not in self.files:
            self._scan()
        path = self.files.get(key)
        return None if path is None else load_seed(path)

    def first(self, keys: Iterable[bytes]) -> bytes | None:
        """The seed of the first of these public keys that is here."""
        for key in keys:
            if (seed := self.seed(key)) is not None:
                return seed
        return None

    def own(self, keys: Sequence[bytes], what: str) -> bytes:
        """As `first`; UserError if none is here, saying what it would have been for."""
        seed = self.first(keys)
        if seed is None:
            problem = f"{self.directory} holds no key of {what} of this network"
            raise UserError("dir", problem, "take another --dir")
        return seed

    def create(self, name: str) -> bytes:
        """Make a new key in a new file `NAME.key`, mode 0600; the seed."""
        path = self.directory / f"{name}.key"
        seed = secrets.token_bytes(SEED_BYTES)
        save_seed(path, seed)
        self._scan()
        return seed
