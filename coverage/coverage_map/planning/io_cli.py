"""`wavecomb map plan`: planning on the command line, here or as a running map's job."""

from __future__ import annotations

import argparse
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, add_command, print_json
from coverage_map.planning import io_bounty
from coverage_map.planning.io_memory import DiskMemory
from coverage_map.planning.io_options import (
    add_area,
    add_service,
    add_world,
    area_of,
    numbers,
    world_of,
)
from coverage_map.planning.io_world import get_json, rows_of_csv
from coverage_map.planning.memory import Forgetful
from coverage_map.planning.processes import execute
from coverage_map.planning.reach import MODELS
from coverage_map.planning.world import NEWEST

ASK_EVERY_S = 0.5

EXAMPLES = f"""{io_bounty.EXAMPLES}
  wavecomb map plan what-if --sites sites.csv --at 47.38,8.54 --eirp 20 --height 12
  wavecomb map plan what-if --url http://127.0.0.1:8650 --move 3,47.38,8.54 --terrain tiles/
  wavecomb map plan place --sites sites.csv --circle 47.38,8.54,4000 --count 5 --population pop.csv
  wavecomb map plan place --sites sites.csv --bbox 8.5,47.3,8.6,47.4 --count 9 --keep work/
  wavecomb map plan gaps --url http://127.0.0.1:8650 --circle 47.38,8.54,4000 --json
  wavecomb map plan compare --url http://127.0.0.1:8650 --a SNAPSHOT --b SNAPSHOT
  wavecomb map plan report --sites sites.csv --circle 47.38,8.54,4000 --count 5 --out report.html
"""
QUESTIONS = {
    "what-if": ("what-if", "what a new site, a move or a removal changes"),
    "place": ("place-sites", "where to put some sites, and how good any choice could be"),
    "gaps": ("gap-analysis", "where service is missing, most people first"),
    "best-server": ("best-server", "who serves which cell, and what hangs on one hotspot"),
    "interference": ("interference", "where hotspots are in each other's way"),
    "population": ("population-covered", "how many people are served"),
    "compare": ("compare", "what changed between two snapshots of a running map"),
    "report": ("report", "write a printable page of it all"),
}


def add_commands(commands: Any) -> None:
    """Add `plan` with its questions, `bounty` and `bounties`."""
    plan = add_command(commands, "plan", "try sites, place them, find gaps, compare, report")
    questions = plan.add_commands("question")
    for name, (_, text) in QUESTIONS.items():
        question = add_command(questions, name, text)
        add_world(question)
        add_service(question)
        _OWN.get(name, add_area)(question)
        question.add_argument("--json", action="store_true", help="print one line of JSON")
    io_bounty.add_commands(commands)


def _add_radio(parser: Parser) -> None:
    parser.add_argument("--model", choices=MODELS, help="prediction (default: statistical)")
    parser.add_argument("--radius", type=float, metavar="M", help="how far (default: 20000)")
    parser.add_argument("--eirp", type=float, metavar="DBM", help="of new sites (default: 20)")
    parser.add_argument("--height", type=int, metavar="M", help="of antennas (default: 8)")
    parser.add_argument("--gain", type=float, metavar="DBI", help="of antennas (default: 3)")
    parser.add_argument("--frequency", type=int, metavar="MHZ", help="(default: 2437)")


def _add_what_if(parser: Parser) -> None:
    parser.add_argument("--at", action="append", metavar="LAT,LON", help="a new site; repeatable")
    parser.add_argument("--remove", action="append", type=int, metavar="N", help="a hotspot")
    parser.add_argument("--move", metavar="N,LAT,LON", help="a hotspot elsewhere")
    _add_radio(parser)


def _add_place(parser: Parser) -> None:
    add_area(parser)
    parser.add_argument("--count", type=int, required=True, metavar="K", help="how many sites")
    _add_candidates(parser)


def _add_candidates(parser: Parser) -> None:
    parser.add_argument("--candidates", type=Path, metavar="CSV", help="lat,lon,... (else a grid)")
    parser.add_argument("--candidate-res", type=int, metavar="RES", help="grid (default: 9)")
    parser.add_argument("--seed", type=int, help="of the search (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="go on from here after Ctrl-C")
    _add_radio(parser)


def _add_compare(parser: Parser) -> None:
    add_area(parser)
    parser.add_argument("--a", required=True, metavar="ID", help="the earlier snapshot")
    parser.add_argument("--b", default=NEWEST, metavar="ID", help="the later one (default: newest)")


def _add_report(parser: Parser) -> None:
    add_area(parser)
    parser.add_argument("--count", type=int, metavar="K", help="propose so many sites as well")
    parser.add_argument("--title", help="heading of the page")
    out = Path("report.html")
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="(%(default)s)")
    _add_candidates(parser)


_OWN: dict[str, Callable[[Parser], None]] = {
    "what-if": _add_what_if, "place": _add_place, "compare": _add_compare, "report": _add_report,
}  # fmt: skip


# ---- running


def run_plan(options: argparse.Namespace) -> int:
    """Answer a question here, or by a running map's job where only it can."""
    process = QUESTIONS[options.question][0]
    values = inputs_of(options)
    progress = Progress(options.question, 100, quiet=options.json)
    if process == "compare":
        result = ask_map(_map_of(options), process, values, progress)
    else:
        world = world_of(options, values.get("res", 10 if process == "what-if" else 9))
        keep = getattr(options, "keep", None)
        memory = DiskMemory(keep) if keep else Forgetful()
        result = execute(
            process, values, world, lambda s, n: progress.update(int(100 * s), n), memory
        )
    progress.close()
    if process == "report":
        options.out.write_text(result.pop("html"), encoding="utf-8")
        result = {"report": str(options.out)}
    print_json(result) if options.json else print("\n".join(lines_of(process, result)))
    return EXIT_OK


def _map_of(options: argparse.Namespace) -> str:
    if not options.url:
        raise UserError("--url", "is missing", "name a running map: it keeps the snapshots")
    return str(options.url)


def inputs_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options as a process's inputs."""
    given = vars(options)
    names = {"res": "res", "threshold": "threshold_dbm", "probability": "probability",
             "model": "model", "radius": "radius_m", "count": "count", "seed": "seed",
             "candidate_res": "candidate_res", "a": "a", "b": "b", "title": "title",
             "remove": "remove"}  # fmt: skip
    values = {to: given[of] for of, to in names.items() if given.get(of) is not None}
    radio = {"eirp": "eirp_dbm", "height": "height_m", "gain": "gain_dbi",
             "frequency": "frequency_mhz"}  # fmt: skip
    if chosen := {to: given[of] for of, to in radio.items() if given.get(of) is not None}:
        values["radio"] = chosen
    if given.get("at"):
        values["sites"] = [_pair("--at", text) for text in options.at]
    if given.get("move"):
        index, *place = numbers("--move", options.move, 3)
        values["move"] = {"hotspot": int(index), "lat": place[0], "lon": place[1]}
    if given.get("candidates"):
        values["candidates"] = list(rows_of_csv(options.candidates, ("lat", "lon")))
    return values | area_of(options)


def _pair(field: str, text: str) -> dict[str, float]:
    latitude, longitude = numbers(field, text, 2)
    return {"lat": latitude, "lon": longitude}


def ask_map(base: str, process: str, values: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Have a running map carry a process out; Ctrl-C leaves the job there."""
    root = base.rstrip("/")
    job = send(f"{root}/processes/{process}/execution", {"inputs": values})["jobID"]
    while (status := get_json(f"{root}/jobs/{job}"))["status"] in ("accepted", "running"):
        progress.update(int(status["progress"]), f"job {job}")
        time.sleep(ASK_EVERY_S)
    if status["status"] != "successful":
        raise UserError("job", status["message"], "mend it and try again", exit_code=EXIT_FAILED)
    return dict(get_json(f"{root}/jobs/{job}/results")["result"])


def send(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST JSON; UserError with the map's own words where it refuses."""
    import json

    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    try:
        with urllib.request.urlopen(request, timeout=60.0) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        try:
            said = str(json.load(error)["detail"])
        except (ValueError, KeyError):
            said = error.reason
        raise UserError("map", said, "mend it and try again") from error
    except (urllib.error.URLError, ValueError) as error:
        where = url.split("/processes")[0]
        raise UserError(
            "--url", f"no map answers at {where}: {error}", "start it", exit_code=EXIT_FAILED
        ) from error


# ---- answers as text


def lines_of(process: str, result: dict[str, Any]) -> list[str]:
    """An answer for people."""
    makers = {"what-if": _what_if_lines, "place-sites": _place_lines, "gap-analysis": _gap_lines}
    if process in makers:
        return makers[process](result)
    return [f"{name:24}{_short(value)}" for name, value in result.items() if name != "cells"]


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items() if not isinstance(v, list))
    return str(value)


def _what_if_lines(result: dict[str, Any]) -> list[str]:
    rows = [f"{'':16}{'cells':>9}{'km2':>11}{'people':>12}"]
    for name in ("gained", "lost", "other_server", "served_before", "served_after"):
        part = result[name]
        rows.append(f"{name:16}{part['cells']:9}{part['area_km2']:11.3f}{part['people']:12.0f}")
    for when in ("before", "after"):
        noise = result["interference"][when]
        rows.append(f"{when:16}{noise['cells_below']:9} cells below "
                    f"{result['interference']['good_sinr_db']:g} dB over interference")  # fmt: skip
    return rows + [_site_line(row) for row in result["sites"]]


def _site_line(row: dict[str, Any]) -> str:
    reward = row["reward"]
    return (
        f"{row['lat']:.6f},{row['lon']:.6f}  {reward['per_settlement_ucr'] / 1e6:.6f} credits "
        f"a settlement expected ({reward['preset']}), {reward['links']} links"
    )


def _place_lines(result: dict[str, Any]) -> list[str]:
    rows = [f"{k + 1:3}  {_site_line(row)}, adds {row['adds']:g} {result['unit']}"
            for k, row in enumerate(result["sites"])]  # fmt: skip
    return [*rows, f"in all {result['covered']:g} of {result['coverable_unserved']:g} "
            f"{result['unit']}: at least {result['share_of_bound']:.1%} of what any "
            f"{len(rows)} of {result['candidates']} candidates could reach"]  # fmt: skip


def _gap_lines(result: dict[str, Any]) -> list[str]:
    rows = [f"{'lat,lon':24}{'people':>10}{'km2':>9}{'measured':>9}{'predicted':>10}{'unknown':>8}"]
    rows += [f"{g['lat']:.6f},{g['lon']:<12.6f}{g['people']:12.0f}{g['area_km2']:9.2f}"
             f"{g['measured_below']:9}{g['predicted_below']:10}{g['unknown']:8}"
             for g in result["gaps"]]  # fmt: skip
    return [*rows, f"{result['gaps_in_all']} gaps, {result['cells']} cells"]
