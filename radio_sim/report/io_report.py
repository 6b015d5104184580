"""`wavecomb sim render`: a saved run's report as one HTML file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import print_json
from radio_sim.io_runs import REPORT_FILE, read_folder
from radio_sim.report.data import FORMAT
from radio_sim.report.page import make_page

PAGE_FILE = "report.html"


def render(options: argparse.Namespace) -> int:
    """Write the page."""
    folder: Path = options.folder
    plan, run = read_folder(folder)
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(str(folder), f"no {REPORT_FILE}", "name a folder of --out") from None
    except ValueError as error:
        raise UserError(REPORT_FILE, f"not JSON: {error}", "run again with --out") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise UserError(REPORT_FILE, "of another version", "run again with --out")
    page = make_page(plan.scenario, run, report)
    output: Path = options.output or folder / PAGE_FILE
    output.write_text(page, encoding="utf-8")
    if options.json:
        print_json({"output": str(output), "bytes": len(page.encode())})
    else:
        print(f"{output}: {len(page.encode()):,} bytes")
    return EXIT_OK
