"""Numba in a checkout: our folder `coverage/` is not coverage.py, whether or not that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Says of `coverage` what the import system says where only our folder has that name.
HIDE = f"""
import sys
from importlib.machinery import ModuleSpec

class OnlyOurFolder:
    def find_spec(self, name, path=None, target=None):
        if name != "coverage":
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [{str(ROOT / "coverage")!r}]
        return spec

sys.meta_path.insert(0, OnlyOurFolder())
"""
KERNEL = "from coverage_map.propagation.compiled import njit\n"
NAME = "print(njit.__name__)\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new Python, from the root of the checkout."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_kernels_compile_where_only_our_folder_is_called_coverage() -> None:
    alone = run(HIDE + "import numba")
    assert "coverage" in alone.stderr  # else the next lines show nothing
    done = run(HIDE + KERNEL + NAME)
    assert done.stdout.strip() == "njit", done.stderr


def test_coverage_stays_importable_after_kernels_were_compiled() -> None:
    done = run(KERNEL + NAME + "import coverage; print(coverage.__version__ > '7')")
    assert done.stdout.split() == ["njit", "True"], done.stderr
