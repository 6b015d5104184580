"""Keeps the store: takes observations in, shows them at once, publishes snapshots, starts again.

What arrives is laid over the current snapshot within the same call, so it is visible at once; it is
written down when the next snapshot is published. A checkpoint names the segments and a state of the
caller's own; after a crash the caller goes on from that state, and what was only in memory comes
again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chain.errors import UserError
from coverage_map.store.aggregates import Aggregates, Rows, aggregate, empty, join, levels_of
from coverage_map.store.figures import NO_FIGURES, Figures, count_cells, with_overlay
from coverage_map.store.io_build import build
from coverage_map.store.io_columns import sync_directory
from coverage_map.store.io_inbox import Inbox
from coverage_map.store.io_layers import below_of, joined, refresh, update
from coverage_map.store.io_lock import Lock
from coverage_map.store.io_observations import (
    NO_ROWS,
    Observations,
    join_rows,
    read_all,
)
from coverage_map.store.io_snapshots import Published, Snapshots
from coverage_map.store.keys import COARSEST
from coverage_map.store.privacy import PEOPLE_FINEST, release
from coverage_map.store.tables import Predicted
from coverage_map.store.view import Clock, View

PEOPLE_KINDS = (1, 2)
KIND_WITNESS, KIND_MAPPER, KIND_IMPORT = 0, 1, 2

Predictions = Mapping[int, Predicted]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A publication that can be made in a thread of its own while more is received."""

    keeper: Keeper
    taken: list[tuple[Rows, NDArray[np.uint8]]]
    pool: Rows
    predicted: Predictions | None
    time_ms: int
    state: bytes
    missing: list[str] | None
    parcels: frozenset[str]

    def make(self) -> tuple[Published, str | None]:
        """Write what is pending and publish; the snapshot, and the segment if there is one."""
        made, segment = self._publish()
        self.keeper.count(made)
        return made, segment

    def _publish(self) -> tuple[Published, str | None]:
        keeper, segment = self.keeper, None
        if self.taken:
            rows = join_rows([rows for rows, _ in self.taken])
            kinds = np.concatenate([kind for _, kind in self.taken])
            segment = keeper.observations.append(rows, kinds)
        fresh = [segment] if segment else []
        about = (self.time_ms, (keeper.clock.start_ms, keeper.clock.epoch_ms))
        where = (keeper.observations, keeper.snapshots)
        if self.missing is None:
            segments, (time_ms, clock) = [*keeper.segments, *fresh], about
            made = build(*where, segments, self.predicted or {}, time_ms, clock=clock)
        elif self.predicted is None:
            made = update(*where, keeper.base, [*self.missing, *fresh], *about)
        else:
            made = refresh(*where, keeper.base, [*self.missing, *fresh], self.predicted, *about)
        return made, segment


class Keeper:
    """One store in one directory, or in a temporary one that goes with it."""

    def __init__(self, directory: Path | None) -> None:
        """Open or create it; UserError when the directory can't be used, InUse when it is."""
        self._temporary = directory is None
        made = directory or Path(tempfile.mkdtemp(prefix="wavecomb-map-"))
        self.directory = made
        self._lock = Lock(made)
        try:
            self._open(made)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, made: Path) -> None:
        self.observations = Observations(made / "observations")
        self.snapshots = Snapshots(made / "snapshots")
        self.clock = Clock()
        self._pending: list[tuple[Rows, NDArray[np.uint8]]] = []
        self._fresh: Aggregates = empty()
        self._revision = 0
        self.pool = NO_ROWS
        self._pool_name: str | None = None
        self._state_name = ""
        self._snapshot_name: str | None = None
        self._merged: dict[str, list[str]] = {}
        self._counted = ("", NO_FIGURES)
        self._counted_full = ("", NO_FIGURES)
        self.inbox = Inbox(made)
        self._taken: set[str] = set()  # parcels that the checkpoint holds
        self._parcels: set[str] = set()  # parcels that only memory holds so far
        self.state = b""
        self.segments = self._checkpoint()
        self._saved_pool = self.pool
        self._base = self._open_base()
        self.view = self._plain_view()

    def close(self) -> None:
        """Let others have the directory; remove it if it is a temporary one."""
        self._lock.release()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def is_kept(self) -> bool:
        """Whether anything outlives this process."""
        return not self._temporary

    @property
    def base(self) -> Published:
        """The snapshot that is served."""
        return self._base

    def count(self, made: Published) -> Figures:
        """Figures of a snapshot, counted once."""
        if self._counted[0] != made.identity:
            self._counted = (made.identity, self._count_laid(made))
        return self._counted[1]

    def _count_laid(self, made: Published) -> Figures:
        """Of a layer only its own rows are gone through, if something of the finest level stays."""
        if self._counted_full[0] != made.base:
            full = View(made.base, made.epoch, made.time_ms, made.levels)
            self._counted_full = (made.base, count_cells(full))
        figures = self._counted_full[1]
        if not made.manifest["rows"][str(figures.resolution)]:
            return count_cells(made.view())
        return with_overlay(made.levels, figures, made.layer)

    def figures(self) -> Figures:
        """Figures of the view that is served."""
        base = self.count(self._base)
        return with_overlay(self._base.merged, base, self.view.overlay) if self._pending else base

    @property
    def pending(self) -> int:
        """Rows that are shown but not yet in a snapshot."""
        return sum(len(rows) for rows, _ in self._pending)

    # ---- intake ----

    def receive(self, rows: Rows, kind: NDArray[np.uint8], epoch: int) -> list[int]:
        """Take observations in; which cells of the map changed. People's may have to wait.

        People's cells finer than resolution 9 are refused with ValueError: the client coarsens
        before it sends, and nothing here should ever hold a finer place.
        """
        people = np.isin(kind, PEOPLE_KINDS)
        if np.any((rows.cell[people] >> np.uint64(52) & np.uint64(15)) > PEOPLE_FINEST):
            raise ValueError("a person's observation is finer than resolution 9")
        self.pool = join_rows([self.pool, _where(rows, people)])
        found = release(self.pool, epoch)
        self.pool = found.waiting
        open_rows = join_rows([_where(rows, ~people), found.rows])
        kinds = np.concatenate(
            (kind[~people], np.full(len(found.rows), KIND_MAPPER, np.uint8))
        )
        if not len(open_rows):
            return []
        self._pending.append((open_rows, kinds))
        self._fresh = join([self._fresh, aggregate(open_rows)])
        self._lay_over(epoch)
        return [int(cell) for cell in np.unique(open_rows.cell)]

    def take_inbox(self, epoch: int) -> tuple[int, list[int]]:
        """Take in what others have handed over; how many parcels, and which cells changed."""
        count, changed = 0, set[int]()
        for name in self.inbox.names():
            if name in self._parcels:
                continue
            parcel = None if name in self._taken else self.inbox.read(name)
            if parcel is None:
                self.inbox.remove(name)
                continue
            try:
                changed.update(self.receive(parcel.rows, parcel.kind, epoch))
            except ValueError:  # a person's place that is too fine
                self.inbox.put_aside(name)
                continue
            self._parcels.add(name)
            count += 1
        return count, sorted(changed)

    def has_taken(self, name: str) -> bool:
        """Whether a parcel of this name was ever taken in."""
        return name in self._taken or name in self._parcels

    def _lay_over(self, epoch: int) -> None:
        self._revision += 1
        fresh = levels_of(self._fresh, COARSEST) if len(self._fresh) else {}
        overlay = {r: joined(below_of(self._base, r), level) for r, level in fresh.items()}
        self.view = replace(
            self._plain_view(),
            epoch=max(epoch, self._base.epoch),
            overlay=overlay,
            revision=self._revision,
        )

    # ---- publication ----

    def plan(self, predicted: Predictions | None, time_ms: int, state: bytes = b"") -> Plan:
        """What the next snapshot is made of: all that was received up to now.

        `predicted` takes the place of older predictions, None keeps them; `state` is what the
        caller needs to go on after a restart from all that it has given up to now.
        """
        taken = list(self._pending)
        missing, parcels = self._missing(), frozenset(self._parcels)
        return Plan(self, taken, self.pool, predicted, time_ms, state, missing, parcels)

    def adopt(self, plan: Plan, made: Published, segment: str | None) -> None:
        """Serve what a plan has made; what came meanwhile stays laid over it."""
        self.segments = [*self.segments, segment] if segment else self.segments
        self.state, self._saved_pool = plan.state, plan.pool
        self._taken |= plan.parcels
        self._base = made
        del self._pending[: len(plan.taken)]
        late = [aggregate(rows) for rows, _ in self._pending]
        self._fresh = join(late) if late else empty()
        self.view = self._plain_view()
        if late:
            self._lay_over(self._base.epoch)
        self._save()
        for name in plan.parcels:
            self.inbox.remove(name)
        self._parcels -= plan.parcels
        self._prune()

    def _prune(self) -> None:
        self.snapshots.prune()
        for export in (self.directory / "exports").glob("*.pmtiles"):
            if export.stem not in self.snapshots.names():
                export.unlink()

    def publish(
        self, predicted: Predictions | None, time_ms: int, state: bytes = b""
    ) -> Published:
        """Plan, make and adopt the next snapshot in one go."""
        plan = self.plan(predicted, time_ms, state)
        made, segment = plan.make()
        self.adopt(plan, made, segment)
        return made

    def _missing(self) -> list[str] | None:
        """Segments that the served snapshot lacks after a roll-back; None where that is unclear."""
        have = set(self._base.segments)
        missing = []
        for name in self.segments:
            parts = set(self._merged.get(name, ()))
            if name in have or (parts and parts <= have):
                continue
            if parts & have:
                return None
            missing.append(name)
        return missing

    def rebuild(self, time_ms: int) -> Published:
        """Make a snapshot from the observations alone, without predictions."""
        clock = (self.clock.start_ms, self.clock.epoch_ms)
        made = build(self.observations, self.snapshots, self.segments, {}, time_ms, clock=clock)
        self._base = made
        self.view = self._plain_view()
        self._save()
        return made

    def roll_back(self, name: str) -> Published:
        """Serve an older snapshot; observations stay, the next publication holds them again."""
        self._base = self.snapshots.select(name)
        self.view = self._plain_view()
        if len(self._fresh):
            self._lay_over(self._base.epoch)
        self._save()
        return self._base

    # ---- upkeep, see io_upkeep.py ----

    def replace_base(self, old: Published, new: Published) -> None:
        """Serve a snapshot that says the same as the one that is served, if it still is."""
        if self._base is not old:
            self.snapshots.select(self._base.identity)
            return
        self._base = new
        self.view = self._plain_view()
        if len(self._fresh):
            self._lay_over(new.epoch)
        self._save()
        self._prune()

    def replace_segments(self, old: list[str], new: str) -> None:
        """Name one file of observations in place of several; UserError if those are not here."""
        if not set(old) <= set(self.segments):
            raise UserError("--data", "files changed while they were merged", "compact again")
        self._merged[new] = [x for n in old for x in (n, *self._merged.pop(n, ()))]
        self.segments = [new, *(name for name in self.segments if name not in old)]
        self._save()

    def clear_away(self) -> None:
        """Remove files of observations that nobody names any more."""
        for name in set(self.observations.names()) - {*self.segments, self._pool_name}:
            (self.observations.directory / name).unlink()

    # ---- starting again ----

    def _checkpoint(self) -> list[str]:
        path = self.directory / "checkpoint.json"
        try:
            found = json.loads(path.read_text())
            self.clock = Clock(*found["clock"])
            if found["pool"]:
                self.pool = read_all(self.observations.open(found["pool"]))
            self._pool_name = found["pool"]
            self._merged = {str(new): list(old) for new, old in found["merged"].items()}
            self._taken = set(found.get("taken", ()))
            segments = [str(name) for name in found["segments"]]
            self._snapshot_name = str(found["snapshot"])
            if found["state"]:
                self._state_name = str(found["state"])
                self.state = (self.directory / self._state_name).read_bytes()
        except FileNotFoundError:
            segments = []
        except (OSError, ValueError, KeyError, TypeError) as error:
            remedy = "remove the data directory: the map follows from the ledger"
            raise UserError("--data", f"can't read {path}: {error}", remedy) from error
        named = {*segments, self._pool_name}
        for name in self.observations.names():
            if name not in named:  # written by a publication that a crash broke off
                (self.observations.directory / name).unlink()
        return segments

    def _save(self) -> None:
        if self._temporary:
            return
        old, self._pool_name = self._pool_name, None
        if len(self._saved_pool):
            kinds = np.full(len(self._saved_pool), KIND_MAPPER, np.uint8)
            self._pool_name = self.observations.append(self._saved_pool, kinds)
        stale, self._state_name = self._state_name, ""
        if self.state:
            self._state_name = f"state-{sha256(self.state).hexdigest()[:16]}"
            (self.directory / self._state_name).write_bytes(self.state)
        about = {
            "snapshot": self._base.identity,
            "segments": self.segments,
            "state": self._state_name,
            "clock": [self.clock.start_ms, self.clock.epoch_ms],
            "pool": self._pool_name,
            "merged": self._merged,
            "taken": sorted(self._taken),
        }
        part = self.directory / "checkpoint.json.part"
        with part.open("w") as file:
            json.dump(about, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.directory / "checkpoint.json")
        sync_directory(self.directory)
        if stale not in ("", self._state_name):
            (self.directory / stale).unlink(missing_ok=True)
        if old is not None:
            (self.observations.directory / old).unlink(missing_ok=True)

    def _open_base(self) -> Published:
        # Not the one that was published last: a crash may have come before its checkpoint.
        name = self._snapshot_name
        if name in self.snapshots.names():
            return self.snapshots.select(str(name))
        return build(self.observations, self.snapshots, self.segments, {}, 0)

    def _plain_view(self) -> View:
        return replace(
            self._base.view(self.clock), revision=self._revision if self._pending else 0
        )

    def view_of(self, name: str) -> View | None:
        """A view of a kept snapshot; `live` is the present with all that just arrived."""
        if name == "live":
            return self.view
        if name == self._base.identity:
            found = self._base
        elif name in self.snapshots.names():
            found = self.snapshots.open(name)
        else:
            return None
        return found.view(self.clock)


def _where(rows: Rows, which: NDArray[np.bool_]) -> Rows:
    return Rows(*(getattr(rows, name)[which] for name in Rows.__slots__))

