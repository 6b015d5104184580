"""`wavecomb chain vectors`: write the test vectors, or run a directory of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Progress, add_command, print_json

EXAMPLES = """
  wavecomb chain vectors --out vectors
  wavecomb chain vectors --check vectors
  wavecomb chain vectors --check vectors --json
"""


def add_commands(commands: Any) -> None:
    """Add `vectors` to the sub-commands of `wavecomb chain`."""
    command = add_command(
        commands, "vectors", "write the test vectors that another implementation can run"
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="write them there, made if missing")
    what.add_argument(
        "--check", type=Path, metavar="DIR", help="run the vectors there; exit code 1 at a mismatch"
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run_vectors)


def run_vectors(options: argparse.Namespace) -> int:
    """Write or check."""
    return _write(options) if options.out else _check(options)


def _write(options: argparse.Namespace) -> int:
    from chain.vectors.suite import make_suite  # here: other sub-commands need none of it
    from chain.vectors.suites import INDEX, SUITES, make_index

    directory: Path = options.out
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{INDEX}.json").unlink(missing_ok=True)  # half a directory has no index
    progress = Progress("vectors", len(SUITES), quiet=options.json)
    cases: dict[str, int] = {}
    size = 0
    for number, suite in enumerate(SUITES, start=1):
        content = make_suite(suite)
        size += _write_file(directory, suite.name, content)
        cases[suite.name] = len(content["cases"])
        progress.update(number)
    size += _write_file(directory, INDEX, make_index(cases))
    progress.close()
    total = sum(cases.values())
    if options.json:
        print_json({"dir": str(directory), "files": len(cases), "cases": total, "bytes": size})
    else:
        print(f"{total} cases in {len(cases)} files, {size:,} bytes, in {directory}")
    return EXIT_OK


def _write_file(directory: Path, name: str, content: Any) -> int:
    """One file, the same bytes every time; its size."""
    text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
    draft = directory / f"{name}.draft"
    draft.write_text(text, encoding="ascii")
    draft.replace(directory / f"{name}.json")
    return len(text)


def _check(options: argparse.Namespace) -> int:
    from chain.vectors.suites import check_files

    directory: Path = options.check
    progress = Progress("vectors", 1, quiet=options.json)

    def note(done: int, total: int) -> None:
        progress.total = max(1, total)
        progress.update(done)

    result = check_files(lambda name: _read(directory, name), note)
    if options.json:
        ok = not result.problem
        print_json(
            {"ok": ok, "problem": result.problem, "files": result.files, "cases": result.cases}
        )
    elif result.problem:
        print(f"vectors FAILED at {result.problem}")
    else:
        print(f"vectors ok: {result.cases} cases in {result.files} files")
    return EXIT_FAILED if result.problem else EXIT_OK


def _read(directory: Path, name: str) -> Any:
    path = directory / f"{name}.json"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            "check", f"{path} is missing", "write it with: wavecomb chain vectors --out DIR"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError("check", f"{path} is no JSON ({error})", "write it anew") from error
