"""The memory of a long virtual run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def without_collector() -> Iterator[None]:
    """Look for no reference cycles meanwhile: a virtual run makes none, and the search costs 8 %.

    A test holds that there are none; what is not part of a cycle is freed as always.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def resident_mib() -> int:
    """Memory that the process holds now, in MiB."""
    return int(psutil.Process().memory_info().rss) >> 20
