"""`wavecomb chain explain|audit|stats`: why, whether, and how much."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain.cli.io_common import add, add_archive, add_ledger, get_lines, show
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_audit import Audit, audit
from chain.io_client import LedgerClient
from chain.io_explain import explain
from chain.io_explain_coverage import count_reached
from chain.io_ledger import DATABASE
from chain.io_terminal import Progress
from chain.store.io_archive import open_with_archive

EXAMPLES = """
  wavecomb chain explain 3                          # hotspot 3: what it earned, and why
  wavecomb chain explain 3:120:0                    # its first beacon of epoch 120
  wavecomb chain explain 3:120:0 --db ledger/ledger.db
  wavecomb chain audit ledger/ledger.db
  wavecomb chain audit ledger/ledger.db --since last-week.db
  wavecomb chain stats --json
"""


def add_commands(commands: Any) -> None:
    """Add the sub-commands."""
    why = add(commands, "explain", run_explain, "say why something was or wasn't paid")
    why.add_argument(
        "id",
        metavar="ID",
        help="hotspot index or key, beacon as HOTSPOT:EPOCH:SEQUENCE, record id, or account key",
    )
    add_ledger(why)
    why.add_argument("--db", metavar="FILE", help="ask a database file instead of a service")
    add_archive(why)
    check = add(
        commands,
        "audit",
        run_audit,
        "derive every block, verdict, payment and balance again and compare",
    )
    check.add_argument(
        "db", metavar="FILE", help="a ledger database, a copy of one, or a ledger's folder"
    )
    check.add_argument(
        "--since",
        metavar="FILE",
        help="an earlier copy that you trust: derive only what came after it",
    )
    check.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a signed checkpoint to hold it against (default: the one beside ledger.db)",
    )
    add_archive(check)
    totals = add(commands, "stats", run_stats, "show totals: supply, payments, verdicts, traffic")
    add_ledger(totals)


def run_explain(options: argparse.Namespace) -> int:
    """Explain an id from a service or a database."""
    if options.db:
        with open_with_archive(options.db, options.archive) as store:
            answer = explain(store, options.id, reached=count_reached(store))
    else:
        with LedgerClient(options.ledger) as client:
            answer = client.get(f"/v1/explain/{options.id}?coverage=1")
    show(options, answer, "\n".join(get_lines(answer)))
    return EXIT_OK


def run_audit(options: argparse.Namespace) -> int:
    """Audit a database; exit code 1 and the place of the first difference if it fails."""
    path = Path(options.db)
    path = path / DATABASE if path.is_dir() else path
    if not path.is_file():  # nothing was audited, so nothing failed
        raise UserError("FILE", f"{path}: no such file", "give a ledger.db, or its folder")
    result = audit_with_progress(
        str(path),
        quiet=options.json,
        since=options.since,
        archive=options.archive,
        checkpoint=options.checkpoint,
    )
    show(options, audit_json(result), audit_text(result))
    return EXIT_OK if result.ok else EXIT_FAILED


def audit_with_progress(
    path: str,
    *,
    quiet: bool,
    since: str | None = None,
    archive: Path | None = None,
    checkpoint: Path | None = None,
) -> Audit:
    """Audit a database behind a progress bar."""
    progress = Progress("audit", 1, quiet=quiet)

    def note(done: int, total: int) -> None:
        progress.total = max(1, total)
        progress.update(done)

    result = audit(path, note=note, since=since, archive=archive, checkpoint=checkpoint)
    if result.ok:
        progress.close()
    return result


def audit_json(result: Audit) -> dict[str, Any]:
    """An audit's result as JSON."""
    return {
        "ok": result.ok,
        "where": result.where,
        "problem": result.problem,
        "blocks": result.blocks,
        "records": result.records,
        "epoch": result.epoch,
        "log_root": result.log_root,
        "state_root": result.state_root,
    }


def audit_text(result: Audit) -> str:
    """An audit's result for people."""
    if not result.ok:
        return f"audit FAILED at {result.where}: {result.problem}"
    return (
        f"audit ok: {result.records} records in {result.blocks} blocks to epoch {result.epoch}\n"
        f"log root   {result.log_root}\nstate root {result.state_root}"
    )


def run_stats(options: argparse.Namespace) -> int:
    """Show the totals of a service."""
    with LedgerClient(options.ledger) as client:
        stats = client.stats()
    show(options, stats, "\n".join(get_lines(stats)))
    return EXIT_OK
