"""The same seed on every Python 3.11 to 3.13 of this machine: `python -m bench.pythons --json`.

Makes one environment per version beside `.venv` (named `.venv-3.x`), runs the world bench with the
same seed in each, and compares trace digests. Versions that the machine lacks are named and left
out. Exit code 1 when digests differ, or when there are no two to compare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
WORLD = "-m bench.world --hotspots 200 --preset testbed --minutes 5 --json".split()  # noqa: SIM905


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


def digest_of(python: Path) -> str:
    """Trace digest of the world bench under this Python."""
    done = subprocess.run(
        [str(python), *WORLD], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return str(json.loads(done.stdout.strip().splitlines()[-1])["digest"])


def main() -> int:
    """Compare digests over all Pythons found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="no progress, only the last line")
    quiet = parser.parse_args().json
    digests, missing = {}, []
    for version in VERSIONS:
        program = find_python(version)
        if program is None:
            missing.append(version)
        else:
            digests[version] = digest_of(environment(version, program))
        if not quiet:
            sys.stderr.write(f"Python {version}: {digests.get(version, 'not on this machine')}\n")
    same = len(set(digests.values())) == 1
    if len(digests) < 2:
        found = ", ".join(digests) or "none"
        sys.stderr.write(f"pythons: {found} of {', '.join(VERSIONS)} found; install another one\n")
    print(json.dumps({"digests": digests, "missing": missing, "same": same}))
    return 0 if same and len(digests) > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
