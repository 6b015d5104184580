"""Snapshots on disk: made aside, hashed, renamed into place; an older one is one rename away.

    snapshots/ID/manifest.json   what it was made from, and the SHA-256 of every file
    snapshots/ID/r9/value.npy    one file per column, for resolutions 3 to 11
    snapshots/CURRENT            the ID that is served

A snapshot may be a layer over an older one, `base` in its manifest: then `r9` holds only what
readers want of the rows that changed since, and `a9` the observations that were added, aggregated
per cell, so that the next delta is joined exactly. A base stays as long as a layer needs it. A
layer's row without a value means that the base's cell is no more.

An ID is a hash of the files' hashes and of the base's ID: so it names all that lies below it too. A
reader that has a snapshot open keeps it, whatever is published or removed meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from chain.errors import UserError
from coverage_map.store.changes import LAID
from coverage_map.store.io_columns import (
    ADDED,
    FULL,
    LevelWriter,
    Mapped,
    digest_of,
    sync_directory,
)
from coverage_map.store.keys import COARSEST, FINEST
from coverage_map.store.view import Clock, Levels, View

FORMAT = 1
ID_DIGITS = 16
KEPT = 16
RESOLUTIONS = range(COARSEST, FINEST + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """A snapshot that can be read: its manifest, and columns by resolution.

    `levels` are the full snapshot's; a layer over it has its rows in `layer` and what was added in
    `added`. `merged` gives the levels with the layer in them.
    """

    identity: str
    manifest: Mapping[str, Any]
    levels: Mapping[int, Mapping[str, Any]]
    layer: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    added: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    merged: Levels = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "merged", Levels(self.levels, self.layer))

    @property
    def epoch(self) -> int:
        """The newest epoch in it."""
        return int(self.manifest["epoch"])

    @property
    def time_ms(self) -> int:
        """When it was made, ms since 1970."""
        return int(self.manifest["time_ms"])

    @property
    def segments(self) -> list[str]:
        """Names of the observation files it was made from."""
        return list(self.manifest["segments"])

    @property
    def base(self) -> str:
        """ID of the full snapshot: its own, or the one that it is laid over."""
        return str(self.manifest.get("base", self.identity))

    def view(self, clock: Clock | None = None) -> View:
        """The snapshot as readers see it."""
        return View(
            *(self.identity, self.epoch, self.time_ms, self.levels),
            clock=clock or Clock(),
            layer=self.layer,
            merged=self.merged,
        )


class Snapshots:
    """A directory of snapshots."""

    def __init__(self, directory: Path) -> None:
        """Open or create it, and clear away what a crash left unfinished."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for torn in directory.glob("*.part"):
                shutil.rmtree(torn, ignore_errors=True)
        except OSError as error:
            raise UserError("--data", f"can't use {directory}: {error}", "mend its mode") from error

    def names(self) -> list[str]:
        """IDs of all snapshots, oldest first."""
        found = [path.parent for path in self.directory.glob("*/manifest.json")]
        found = [path for path in found if path.suffix != ".part"]
        made = {path.name: json.loads((path / "manifest.json").read_text()) for path in found}
        return sorted(made, key=lambda name: (made[name]["number"], name))

    def current(self) -> str | None:
        """The ID that is served, None before the first one."""
        try:
            name = (self.directory / "CURRENT").read_text().strip()
        except OSError:
            return None
        return name if (self.directory / name / "manifest.json").is_file() else None

    def open(self, name: str) -> Published:
        """A snapshot by ID; UserError when it is not there."""
        try:
            manifest = json.loads((self.directory / name / "manifest.json").read_text())
        except (OSError, ValueError) as error:
            have = ", ".join(self.names()[-3:]) or "none"
            raise UserError("snapshot", f"{name} is not kept", f"newest ones: {have}") from error
        levels = _mapped(self.directory / name, "r")
        if "base" not in manifest:
            return Published(name, manifest, levels)
        full = _mapped(self.directory / manifest["base"], "r")
        return Published(name, manifest, full, levels, _mapped(self.directory / name, "a"))

    def start(self, base: str | None = None) -> Draft:
        """A new snapshot, to be filled and published: a full one, or a layer over `base`."""
        number = 1 + max((self.open(name).manifest["number"] for name in self.names()), default=0)
        return Draft(self.directory / f"{os.getpid()}-{number}.part", number, base)

    def publish(self, draft: Draft, about: Mapping[str, Any]) -> Published:
        """Hash, write the manifest, rename into place, make it the current one."""
        manifest = draft.finish(about)
        target = self.directory / manifest["snapshot"]
        if target.exists():
            shutil.rmtree(draft.path)
        else:
            draft.path.rename(target)
        self.select(target.name)
        return self.open(target.name)

    def select(self, name: str) -> Published:
        """Make a snapshot the one that is served: this is how to roll back."""
        found = self.open(name)
        pointer = self.directory / "CURRENT.part"
        pointer.write_text(name + "\n")
        pointer.rename(self.directory / "CURRENT")
        sync_directory(self.directory)
        return found

    def prune(self, keep: int = KEPT) -> list[str]:
        """Remove the oldest beyond `keep`, never the current one or a base; what was removed."""
        names = self.names()
        kept = {*names[-keep:], self.current()}
        kept |= {self.open(name).base for name in kept if name is not None}
        old = [name for name in names if name not in kept]
        for name in old:
            shutil.rmtree(self.directory / name)
        return old

    def check(self, name: str) -> list[str]:
        """Files of a snapshot and its base that are missing or not what a manifest says."""
        manifest = self.open(name).manifest
        files, bad = manifest["files"], []
        if "base" in manifest:
            bad = [f"../{manifest['base']}/{path}" for path in self.check(manifest["base"])]
        for path, digest in sorted(files.items()):
            full = self.directory / name / path
            if not full.is_file() or digest_of(full) != digest:
                bad.append(path)
        return bad


class Draft:
    """A snapshot in the making, in a directory that no reader looks at."""

    def __init__(self, path: Path, number: int, base: str | None = None) -> None:
        self.path, self.number, self.base = path, number, base
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        names = LAID if base else FULL
        self.levels = {r: LevelWriter(path / f"r{r}", names) for r in RESOLUTIONS}
        laid = RESOLUTIONS if base else ()
        self.added = {r: LevelWriter(path / f"a{r}", ADDED) for r in laid}

    def append(self, tables: Mapping[int, Mapping[str, Any]]) -> None:
        """Add rows to levels, in the order of cells."""
        for resolution, table in tables.items():
            self.levels[resolution].append(table)

    def finish(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Close all columns and write the manifest; a layer's `rows` stand in `about`."""
        rows = {str(r): level.close() for r, level in self.levels.items()}
        for added in self.added.values():
            added.close()
        paths = sorted(self.path.glob("*/*.npy"))
        with ThreadPoolExecutor(2) as pool:
            digests = list(pool.map(digest_of, paths))
        names = [str(path.relative_to(self.path)) for path in paths]
        files = dict(zip(names, digests, strict=True))
        about = {**about, "base": self.base} if self.base else about
        below = [self.base] if self.base else []
        seed = json.dumps([files, about["epoch"], *below], sort_keys=True)
        identity = sha256(seed.encode()).hexdigest()[:ID_DIGITS]
        manifest = {
            "format": FORMAT,
            "snapshot": identity,
            "number": self.number,
            "rows": rows,
            **about,
            "files": files,
        }
        with (self.path / "manifest.json").open("w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        return manifest

    def discard(self) -> None:
        """Remove it."""
        for level in (*self.levels.values(), *self.added.values()):
            level.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _mapped(directory: Path, kind: str) -> dict[int, Mapped]:
    return {r: Mapped(directory / f"{kind}{r}") for r in RESOLUTIONS}
