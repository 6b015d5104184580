"""One door to the compiler: a typed decorator for numeric kernels.

Modules that use it are imported lazily, inside the functions that call a kernel, so that neither
the daemon nor `wavecomb --help` pays for Numba. Compiled code is kept in `__pycache__`, keyed by
the time and size of the kernel's own file: who edits a kernel that another file's kernel calls
deletes the `*.nbi` there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar, cast

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class Njit(Protocol):
    """numba.njit with options."""

    def __call__(self, **options: object) -> Callable[[Kernel], Kernel]:
        """A decorator that compiles."""


def import_njit() -> Njit:
    """Import numba.njit. In a checkout without coverage.py, Numba must not take our folder for it.

    Numba measures coverage where `import coverage` succeeds, and a folder of that name on the path
    is a namespace package, which has none of what Numba then looks for.
    """
    spec = find_spec("coverage")
    is_folder = spec is not None and spec.origin is None and "coverage" not in sys.modules
    if is_folder:
        sys.modules["coverage"] = None  # type: ignore[assignment]  # "not there", to imports
    try:
        from numba import njit
    finally:
        if is_folder:
            del sys.modules["coverage"]
    return cast(Njit, njit)


njit = import_njit()


def compiled(function: Kernel) -> Kernel:
    """Compile for one core with IEEE arithmetic: no reassociation, so results repeat.

    A division by zero gives what the processor gives (error_model), not an exception: checks for
    it would keep loops from being vectorised.
    """
    return njit(cache=True, fastmath=False, error_model="numpy")(function)
