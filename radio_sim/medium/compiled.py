"""How the medium's kernels are compiled: IEEE arithmetic, and no reference counts.

They only read and write arrays that their callers hold, and allocate nothing, so counting
references to those arrays (a quarter of a microsecond per link) would be for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from coverage_map.propagation.compiled import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "fastmath": False,
    "error_model": "numpy",
    "_nrt": False,
}


def compiled(function: Kernel) -> Kernel:
    """Compile a function that may be called from Python."""
    return njit(**_OPTIONS)(function)


def inlined(function: Kernel) -> Kernel:
    """Compile a small part of a loop into whoever calls it."""
    return njit(forceinline=True, **_OPTIONS)(function)
