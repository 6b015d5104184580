"""Which packages install without a compiler, by machine: python -m bench.wheels --json.

Asks the package index, through pip, for a wheel of each package for each platform and Python, and
downloads none. `core` is what a router needs: it is whole on a platform where every package of it
has a wheel. Needs the index that pip is configured for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from chain.errors import EXIT_FAILED, EXIT_OK
from chain.io_terminal import Progress, print_json, run_command

CORE = ("pynacl", "cffi", "pycparser")
REST = ("scapy", "pyroute2", "aiohttp", "h3", "numpy", "scipy", "lightgbm", "numba", "shapely")
# Newest tags first: pip takes a wheel that carries any of them.
PLATFORMS = {
    f"{cpu} {libc}": tags
    for cpu in ("x86_64", "aarch64", "armv7l", "riscv64")
    for libc, tags in (
        ("glibc", [f"manylinux_{minor}_{cpu}" for minor in ("2_39", "2_34", "2_31", "2_28", "2_17")]
         + [f"manylinux2014_{cpu}"]),
        ("musl", [f"musllinux_1_2_{cpu}", f"musllinux_1_1_{cpu}"]),
    )
}  # fmt: skip
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--quiet", "--no-deps")
SECONDS = 120

Table = dict[str, dict[str, str | None]]


def find_wheel(package: str, platform: str, python: str) -> str | None:
    """The version that pip would install from a wheel; None where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *PIP, "--report", "-", "--target", folder]
        command += ["--only-binary=:all:", "--python-version", python, package]
        command += [word for tag in PLATFORMS[platform] for word in ("--platform", tag)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    if done.returncode:
        return None
    (found,) = json.loads(done.stdout)["install"]
    return str(found["metadata"]["version"])


def find_all(packages: Sequence[str], python: str, workers: int) -> Table:
    """Versions by package and platform."""
    jobs = [(package, platform) for package in packages for platform in PLATFORMS]
    progress = Progress(f"wheels for {python}", len(jobs))
    table: Table = {package: {} for package in packages}
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda job: find_wheel(job[0], job[1], python), jobs)
        for done, ((package, platform), version) in enumerate(zip(jobs, found, strict=True)):
            table[package][platform] = version
            progress.update(done, f"{package} {platform}")
    progress.close()
    return table


def show(table: Table, python: str) -> None:
    """Print one row a package, as docs/hardware.md has it."""
    print(f"\n| Python {python} | {' | '.join(PLATFORMS)} |")
    print("|---" * (1 + len(PLATFORMS)) + "|")
    for package, row in table.items():
        print(f"| {package} | {' | '.join(row[platform] or '-' for platform in PLATFORMS)} |")


def main(argv: Sequence[str]) -> int:
    """Ask for every package; exit code 1 where the core lacks a wheel on the platforms named."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.wheels",
        description="Say on which machines which packages install without a compiler.",
        epilog="example: python -m bench.wheels --python 3.11 --core --json",
    )
    parser.add_argument("--python", action="append", metavar="V", help="3.11 and 3.13 if left out")
    parser.add_argument("--core", action="store_true", help="what a router needs, and no more")
    parser.add_argument("--workers", type=int, default=4, help="questions at a time (default: 4)")
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    options = parser.parse_args(argv)
    packages = CORE if options.core else (*CORE, *REST)
    result: dict[str, object] = {}
    whole: dict[str, list[str]] = {}
    for python in options.python or ("3.11", "3.13"):
        table = find_all(packages, python, options.workers)
        whole[python] = [p for p in PLATFORMS if all(table[package][p] for package in CORE)]
        result[python] = table
        if not options.json:
            show(table, python)
    if options.json:
        print_json({"wheels": result, "core_whole": whole})
    else:
        print("\n".join(f"core whole on {v}: {', '.join(where)}" for v, where in whole.items()))
    musl = {"aarch64 glibc", "aarch64 musl", "x86_64 glibc", "x86_64 musl"}
    return EXIT_OK if all(musl <= set(where) for where in whole.values()) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
