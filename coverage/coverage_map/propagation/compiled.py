"""One door to the compiler: a typed decorator for numeric kernels.

Modules that use it are imported lazily, inside the functions that call a kernel, so that neither
the daemon nor `wavecomb --help` pays for Numba. The compiled code is kept beside the source, keyed
by the source file alone: a kernel and the functions it calls belong into one file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """Compile for one core with IEEE arithmetic: no reassociation, so results repeat.

    A division by zero gives what the processor gives (error_model), not an exception: checks for
    it would keep loops from being vectorised.
    """
    return cast(Kernel, njit(cache=True, fastmath=False, error_model="numpy")(function))
