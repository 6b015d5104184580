"""How well the map predicts signal where nobody measured: `python -m bench.estimator --json`.

Every figure is of ground that the fit never saw. Data: indoor35 (3.5 GHz in three buildings, 5 m
blocks, six seeds; a building never seen; one with 20 calibration readings) where the third-party
measurements are present, six outdoor scenes made from another truth than the estimator's, and
any table of your own:

    python -m bench.estimator --dataset drive.csv --block 50 --json

Its columns: tx_lat,tx_lon,rx_lat,rx_lon,frequency_hz,rssi_dbm, or tx_x,tx_y,rx_x,rx_y in metres;
more in coverage_map/estimator/csv_links.py. `--svg FILE` draws the reliability of all intervals.
"""

from __future__ import annotations

import os

# Threads of small products wait for each other on a busy machine: one is faster, and repeatable.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import csv
import io
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.estimator_scenes import SCENES, SPARSE_SEEDS, make_drive, make_scene
from chain.errors import UserError
from chain.io_terminal import Progress, print_json, run_command
from coverage_map.estimator.csv_links import parse_table
from coverage_map.estimator.diagram import draw
from coverage_map.estimator.holdout import (
    FOLDS,
    Score,
    block_splits,
    calibrated_splits,
    pool,
    score,
    world_splits,
)
from coverage_map.estimator.links import Links, blocks_of, folds_of, make_links

GROUND_TRUTH = Path(__file__).resolve().parents[2] / "shared" / "ground-truth" / "radio"
INDOOR_BLOCK_M, INDOOR_SEEDS = 5.0, range(6)
CALIBRATION_READINGS = 20
# (column, row) of the transmitter and metres between points, by site (see READING.md there)
INDOOR_SITES = {"Comms": (5, 29, 1.0), "Library": (14, 16, 1.355), "SSE": (14, 10, 1.0)}
INDOOR_RISE_M = {1: 0.0, 2: 1.215}
INDOOR_SENT_DBM = 10.0
WALLS = ("Num_brick_wall", "Num_wood_wall", "Num_glass_wall", "Num_drywall", "Num_column",
         "Elevator")  # fmt: skip
DEFAULT_BLOCK_M = 50.0

Job = tuple[str, Callable[[], Score]]


def read_indoor(archive: Path) -> Links:
    """The 2,289 path losses of indoor35 as links."""
    rows: list[list[float]] = []
    with tarfile.open(archive) as tar:
        for number, site in enumerate(INDOOR_SITES):
            for campaign in (1, 2):
                name = f"PL_Data/PL_{site}_C{campaign}.csv"
                member = next(m for m in tar.getmembers() if m.name.endswith(name))
                content = tar.extractfile(member)
                text = content.read().decode("utf-8-sig") if content else ""
                rows += _indoor_rows(text, site, number, campaign)
    table = np.array(rows)
    return make_links(
        np.zeros(2), table[:, 2:4], 3.5e9, INDOOR_SENT_DBM - table[:, -1],
        world=table[:, 0], configuration=table[:, 1], obstacles=table[:, 4:10],
        rise_m=np.where(table[:, 1] == 1, INDOOR_RISE_M[1], INDOOR_RISE_M[2]),
    )  # fmt: skip


def _indoor_rows(text: str, site: str, number: int, campaign: int) -> list[list[float]]:
    column_0, row_0, pitch_m = INDOOR_SITES[site]
    found = []
    for row in csv.DictReader(io.StringIO(text)):
        place, loss = row["Coord."].strip(), row["PL (dB)"].strip()
        if not place or not loss or float(loss) < 0.0:
            continue
        letters, digits = place.split("-")
        column = 0
        for letter in letters:
            column = 26 * column + ord(letter) - ord("A") + 1
        x, y = (column - column_0) * pitch_m, (int(digits) - row_0) * pitch_m
        walls = [float(row.get(name) or 0.0) for name in WALLS]
        found.append([number, campaign, x, y, *walls, float(loss)])
    return found


def report(result: Score) -> dict[str, Any]:
    """What a data set's score says, rounded."""
    name = min(result.baselines_db, key=lambda k: result.baselines_db[k])
    best, rmse = result.baselines_db[name], result.rmse_db()
    return {
        "rmse_db": round(rmse, 3),
        "best_baseline_db": round(best, 3),
        "best_baseline": name,
        "improvement": round(1.0 - rmse / best, 4),
        "interval90": round(result.interval90(), 4),
        "rows": len(result.error_db),
        "baselines_db": {k: round(v, 3) for k, v in result.baselines_db.items()},
    }


def indoor_jobs(folder: Path) -> list[Job]:
    """Three questions to indoor35."""
    links = read_indoor(folder / "indoor35" / "indoor35ghz.tar.gz")
    seeds = INDOOR_SEEDS

    def blocks() -> Score:
        return pool([score(links, block_splits(links, INDOOR_BLOCK_M, s)) for s in seeds])

    def calibrated() -> Score:
        few = CALIBRATION_READINGS
        splits = (calibrated_splits(links, INDOOR_BLOCK_M, few, s) for s in seeds)
        return pool([score(links, split) for split in splits])

    return [
        ("indoor35", blocks),
        ("indoor35_unseen_site", lambda: score(links, world_splits(links))),
        ("indoor35_20_readings", calibrated),
    ]


def scene_job(name: str) -> Job:
    """Spatial blocks of a block and a half of houses in a made scene."""
    return f"scene_{name}", lambda: score_scene(name, None)


def score_scene(name: str, seed: int | None) -> Score:
    """A scene, or another ground of its kind."""
    links = make_scene(name, seed)
    return score(links, block_splits(links, block_of(name), 0))


def block_of(name: str) -> float:
    """Width of the blocks of a scene that are left out, in metres."""
    return 1.5 * SCENES[name].street_m


def grounds_job(name: str, seeds: Sequence[int]) -> Job:
    """Ten other grounds of a kind together: one is a small sample."""
    return f"scene_{name}_others", lambda: pool([score_scene(name, seed) for seed in seeds])


def dense_job(name: str) -> Job:
    """The same held-out readings, predicted from every reading that the streets could have given.

    How much of what a scene's few readings miss is there to be had at all.
    """

    def run() -> Score:
        drive, kept = make_drive(name)
        blocks = blocks_of(drive, block_of(name))
        fold = folds_of(blocks, FOLDS, 0)
        splits = ((fold != k, (fold == k) & kept, blocks) for k in np.unique(fold))
        return score(drive, splits)

    return f"scene_{name}_all_readings", run


def dataset_job(path: Path, block_m: float, seeds: int) -> Job:
    """Spatial blocks of somebody's own table."""
    try:
        with path.open("rb") as file:  # some spreadsheets save text as UTF-16
            encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with path.open(newline="", encoding=encoding) as lines:
            table = parse_table(lines)
    except OSError as problem:
        raise UserError("--dataset", f"can't be read ({problem.strerror})", "give a CSV") from None
    except (UnicodeError, csv.Error) as problem:
        raise UserError("--dataset", f"is no text table ({problem})", "give a CSV") from None
    except ValueError as problem:
        field, _, rest = str(problem).partition(": ")
        raise UserError(f"{path.name} {field}", *rest.rsplit("; ", 1)) from None
    if len(np.unique(blocks_of(table.links, block_m))) < 2:
        remedy = "give a smaller --block, or readings from more places"
        raise UserError(path.name, f"all readings lie in one block of {block_m:g} m", remedy)
    if table.refused:
        print(f"{table.refused} rows left out, first {table.first_problem}", file=sys.stderr)

    def run() -> Score:
        splits = (block_splits(table.links, block_m, s) for s in range(seeds))
        return pool([score(table.links, split) for split in splits])

    return path.stem, run


def jobs_of(wanted: argparse.Namespace) -> list[Job]:
    """What was asked for."""
    if wanted.dataset:
        return [dataset_job(path, wanted.block, wanted.seeds) for path in wanted.dataset]
    found = [] if wanted.scenes or not GROUND_TRUTH.is_dir() else indoor_jobs(GROUND_TRUTH)
    found = found + ([] if wanted.indoor else scene_jobs())
    if wanted.only:
        names = [name for name, _ in found]
        for name in wanted.only:
            if name not in names:
                raise UserError("--only", f"no data set {name!r}", f"there are {', '.join(names)}")
        found = [job for job in found if job[0] in wanted.only]
    return found


def scene_jobs() -> list[Job]:
    """The scenes, and how far one that keeps few readings could get."""
    jobs = [scene_job(name) for name in SCENES]
    jobs += [dense_job(name) for name, scene in SCENES.items() if scene.kept < 1.0]
    return [*jobs, grounds_job("sparse", SPARSE_SEEDS)]


def run(wanted: argparse.Namespace) -> int:
    """Score, print, draw."""
    if not wanted.block > 0.0:
        raise UserError("--block", "not above zero", "give metres, such as 50")
    jobs = jobs_of(wanted)
    results, curves = {}, {}
    progress = Progress("data sets", len(jobs))
    for done, (name, job) in enumerate(jobs):
        progress.update(done, name)
        got = job()
        results[name], curves[name] = report(got), got.held()
    progress.close()
    if wanted.svg:
        wanted.svg.write_text(draw(curves))
    if wanted.json:
        print_json(results)
    else:
        for name, row in results.items():
            print(f"{name:24} {row['rmse_db']:6.2f} dB  {row['best_baseline']} "
                  f"{row['best_baseline_db']:.2f} dB  {row['improvement']:+.1%}  "
                  f"90 % holds {row['interval90']:.1%}")  # fmt: skip
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, action="append", metavar="CSV", help="your table")
    parser.add_argument("--block", type=float, default=DEFAULT_BLOCK_M, metavar="METRES",
                        help="width of held-out blocks of a --dataset")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, help="splits of a --dataset")
    parser.add_argument("--indoor", action="store_true", help="only indoor35")
    parser.add_argument("--scenes", action="store_true", help="only the outdoor scenes")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help="only this data set, such as scene_sparse; repeatable")  # fmt: skip
    parser.add_argument("--svg", type=Path, metavar="FILE", help="reliability diagram")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return run_command(lambda rest: run(parser.parse_args(rest)), list(argv or sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
