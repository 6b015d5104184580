"""A job's memory on disk: parts as files that are there whole or not at all."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DiskMemory:
    """Arrays by name in a folder, which is made at the first `put`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Arrays kept under a name; a damaged file counts as none."""
        try:
            with np.load(self.folder / f"{name}.npz") as kept:
                return {key: kept[key] for key in kept.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{name}.part"
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        temporary.replace(self.folder / f"{name}.npz")
