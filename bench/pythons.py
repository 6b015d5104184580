"""The same seed on every Python 3.11 to 3.13 of this machine: `python -m bench.pythons --json`.

Makes one environment per version beside `.venv` (named `.venv-3.x`), runs the world bench and a
stormy world whose packets are captured with the same seeds in each, with one thread for compiled
kernels and with as many as there are cores, and compares trace digests and the bytes of the pcapng
files. Versions that the machine lacks are named and left out. Exit code 1 when anything differs, or
when there are no two to compare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
WORLD = "-m bench.world --hotspots 200 --preset testbed --minutes 5 --json".split()  # noqa: SIM905
CAPTURED = "-m wavecomb sim run builtin:storm --minutes 5 --seed 7 --json --pcapng".split()  # noqa: SIM905
THREADS = ("1", "2")


def find_python(version: str) -> str | None:
    """A program that really is this version of Python, or None."""
    candidates = [shutil.which(f"python{version}")]
    candidates += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for program in candidates:
        if program is None:
            continue
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return program
    return None


def environment(version: str, program: str) -> Path:
    """An environment of this Python with what the simulator needs; made anew when that changes."""
    folder = ROOT / f".venv-{version}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = hashlib.sha256(
        b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    ).hexdigest()
    if not ready.exists() or ready.read_text() != wanted:
        subprocess.run([program, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", "constraints.txt", "-e", ".[sim]"], cwd=ROOT, check=True)
        ready.write_text(wanted)
    return python


def digests_of(python: Path) -> dict[str, str]:
    """Trace digest of the world bench, and SHA-256 of a captured run's pcapng by threads."""
    found = {"world": str(_result_of([str(python), *WORLD], "1")["digest"])}
    with tempfile.TemporaryDirectory(prefix="wavecomb-pythons-") as folder:
        for threads in THREADS:
            capture = Path(folder) / f"{threads}.pcapng"
            result = _result_of([str(python), *CAPTURED, str(capture)], threads)
            found[f"trace_{threads}"] = str(result["digest"])
            found[f"pcapng_{threads}"] = hashlib.sha256(capture.read_bytes()).hexdigest()
            found[f"pcapng_bytes_{threads}"] = str(capture.stat().st_size)
    return found


def _result_of(command: list[str], threads: str) -> dict[str, object]:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def is_same(digests: dict[str, dict[str, str]]) -> bool:
    """Whether all Pythons say the same, and any number of threads does."""
    for one in digests.values():
        kinds = {name.rsplit("_", 1)[0] for name in one if name[-1].isdigit()}
        if any(one[f"{kind}_{THREADS[0]}"] != one[f"{kind}_{THREADS[1]}"] for kind in kinds):
            return False
    return len({tuple(sorted(one.items())) for one in digests.values()}) == 1


def main() -> int:
    """Compare digests over all Pythons found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    quiet = parser.parse_args().json
    digests: dict[str, dict[str, str]] = {}
    missing = []
    for version in VERSIONS:
        program = find_python(version)
        if program is None:
            missing.append(version)
        else:
            digests[version] = digests_of(environment(version, program))
        if not quiet:
            sys.stderr.write(f"Python {version}: {digests.get(version, 'not on this machine')}\n")
    same = is_same(digests)
    if len(digests) < 2:
        found = ", ".join(digests) or "none"
        sys.stderr.write(f"pythons: {found} of {', '.join(VERSIONS)} found; install another one\n")
    print(json.dumps({"digests": digests, "missing": missing, "same": same}))
    return 0 if same and len(digests) > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
