"""Planning jobs: each a folder and, while it runs, a process; both survive what kills the other.

A job's state is what its folder holds: a result, a problem, a mark that it was dismissed, or none
of these, and then it is carried out (again). So a service that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chain.errors import UserError
from chain.io_terminal import write_json
from coverage_map.planning.io_world import save_world
from coverage_map.planning.processes import check
from coverage_map.planning.world import World

WAITING_MAX = 50
KEPT_MAX = 200
ATTEMPTS_MAX = 3  # a job whose process dies so often is given up
STATES = ("accepted", "running", "successful", "failed", "dismissed")


@dataclass(frozen=True, slots=True)
class Job:
    """What a job's folder says; times in ms since 1970, 0 where it isn't so far."""

    name: str
    process: str
    state: str
    created_ms: int
    updated_ms: int
    percent: int
    note: str
    owner: str = ""  # name of the key that it was asked with


class Jobs:
    """All jobs in a folder; `running_max` of them run at once."""

    def __init__(self, folder: Path, terrain: Path | None = None, running_max: int = 1) -> None:
        self.folder = folder
        self.terrain = terrain
        self.running_max = running_max
        self._running: dict[str, asyncio.subprocess.Process | None] = {}  # None: starting
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(
        self, process: str, inputs: Mapping[str, Any], world: World, owner: str = ""
    ) -> Job:
        """Take a job over; UserError for inputs that can't be taken, or a queue that is full."""
        world = replace(world, has_terrain=self.terrain is not None)
        check(process, inputs, world)
        waiting = [job for job in self.all() if job.state in STATES[:2]]
        if len(waiting) >= WAITING_MAX:
            raise UserError("jobs", f"{len(waiting)} wait already", "come back later", status=429)
        self._forget_old()
        name = secrets.token_hex(8)
        draft = self.folder / f".{name}"
        draft.mkdir(parents=True)
        save_world(draft / "world.npz", world)
        terrain = str(self.terrain) if self.terrain else None
        now_ms = time.time_ns() // 1_000_000
        write_json(
            draft / "request.json",
            {"process": process, "inputs": dict(inputs), "terrain": terrain, "created_ms": now_ms,
             "owner": owner},
        )
        draft.replace(self.folder / name)
        self.pump()
        return self.get(name)

    def get(self, name: str) -> Job:
        """One job; UserError 404 if there is none."""
        folder = self._folder(name)
        request = json.loads((folder / "request.json").read_text())
        state, mark = self._state(name, folder)
        progress = _read(folder / "progress.json")
        problem = _read(folder / "problem.json")
        percent = 100 if state == "successful" else int(progress.get("percent", 0))
        updated = max(int(path.stat().st_mtime_ns // 1_000_000) for path in (folder, mark))
        note = str(problem.get("detail") or progress.get("note", ""))
        owner = str(request.get("owner", ""))
        when = (request["created_ms"], updated)
        return Job(name, request["process"], state, *when, percent, note, owner)

    def all(self) -> list[Job]:
        """Every job, newest first."""
        if not self.folder.is_dir():
            return []
        names = [p.name for p in self.folder.iterdir() if (p / "request.json").is_file()]
        found = [self.get(name) for name in names if not name.startswith(".")]
        return sorted(found, key=lambda job: (-job.created_ms, job.name))

    def result(self, name: str) -> dict[str, Any]:
        """What a job found; UserError if it has not (404), or failed (its own problem)."""
        job = self.get(name)
        if job.state == "failed":
            problem = _read(self._folder(name) / "problem.json")
            raise UserError(
                str(problem.get("field", "job")), str(problem.get("title", "failed")),
                "submit it again, changed",
            )  # fmt: skip
        if job.state != "successful":
            remedy = "ask again when its status is successful"
            raise UserError("job", f"is {job.state}", remedy, status=404)
        return dict(json.loads((self._folder(name) / "result.json").read_text()))

    def dismiss(self, name: str, caller: str = "") -> Job:
        """Stop a job, or remove what it found; UserError 403 for a job of another key's owner."""
        folder = self._folder(name)
        if self.get(name).owner not in ("", caller):
            remedy = "send the key that it was asked with (X-API-Key)"
            raise UserError("job", "is somebody else's", remedy, status=403)
        (folder / "dismissed").touch()
        if process := self._running.get(name):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for part in ("result.json", "problem.json", "world.npz"):
            (folder / part).unlink(missing_ok=True)
        shutil.rmtree(folder / "parts", ignore_errors=True)
        return self.get(name)

    def pump(self) -> None:
        """Start what waits, oldest first, as far as there is room."""
        waiting = [job for job in reversed(self.all()) if job.state == "accepted"]
        for job in waiting[: max(0, self.running_max - len(self._running))]:
            self._running[job.name] = None
            task = asyncio.get_running_loop().create_task(self._carry_out(job.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop the processes; their jobs go on when the service starts again."""
        self._closed = True
        for process in self._running.values():
            if process is not None and process.returncode is None:
                process.terminate()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, name: str) -> None:
        folder = self.folder / name
        try:
            for _ in range(ATTEMPTS_MAX):
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "coverage_map.planning.io_worker", str(folder),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )  # fmt: skip
                self._running[name] = process
                await process.wait()
                if process.stdin is not None:
                    process.stdin.close()
                if self._closed or self._state(name, folder)[0] != "running":
                    return
            write_json(folder / "problem.json", {"title": "Its process died", "detail": "killed"})
        finally:
            self._running.pop(name, None)
            if not self._closed:
                self.pump()

    def _state(self, name: str, folder: Path) -> tuple[str, Path]:
        """A job's state, and the file that says so."""
        for state, mark in (
            ("dismissed", "dismissed"), ("successful", "result.json"), ("failed", "problem.json"),
        ):  # fmt: skip
            if (folder / mark).exists():
                return state, folder / mark
        progress = folder / "progress.json"
        mark_file = progress if progress.exists() else folder / "request.json"
        return ("running" if name in self._running else "accepted"), mark_file

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        good = len(name) == 16 and set(name) <= set("0123456789abcdef")
        if not good or not (folder / "request.json").is_file():
            raise UserError("job", f"{name[:40]!r} is unknown", "see /jobs", status=404)
        return folder

    def _forget_old(self) -> None:
        ended = [job for job in self.all() if job.state not in STATES[:2]]
        for job in ended[KEPT_MAX:]:
            shutil.rmtree(self.folder / job.name, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
