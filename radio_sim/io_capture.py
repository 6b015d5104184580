"""Capture files of runs: opened before the run, which a wrong path then costs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from chain.errors import UserError
from radio_sim.live.recorder import AirRecorder, Recorder
from radio_sim.medium import Medium


@contextlib.contextmanager
def open_capture(path: Path | None) -> Iterator[BinaryIO | None]:
    """Open the pcapng file that was asked for, if any. Raises UserError where it can't be."""
    if path is None:
        yield None
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise UserError(
            "--pcapng", f"{path}: {error.strerror}", "name a file in a folder that you may write"
        ) from error
    with file:
        yield file


def record_air(
    medium: Medium, names: Sequence[str], file: BinaryIO | None, comment: str
) -> Recorder | None:
    """Write all that is heard over a virtual medium from now on to a file, if there is one."""
    if file is None:
        return None
    recorder = Recorder(names, file.write, comment)
    medium.observers.append(AirRecorder(recorder))
    return recorder
