"""`wavecomb sim attack`: attacks on the real rules and auditors, and what came of them."""

from __future__ import annotations

import argparse
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chain.errors import EXIT_OK, UserError
from chain.io_terminal import Parser, Progress, print_json, write_json

if TYPE_CHECKING:
    from radio_sim.attacks.measure import Measured, Size

SWEEP = (0.01, 0.03, 0.1, 0.2, 0.3, 0.45)
INTERRUPTED = 130
# Honest networks whose scores are pooled by default with `all`: over 10,000 hotspots.
POOLED_HOTSPOTS = 10_000
Task = tuple[str, "Size"]


def add_attack(command: Parser) -> None:
    """Options of `wavecomb sim attack`."""
    command.add_argument("attack", metavar="NAME", help="an attack, 'honest', 'all', or 'list'")
    command.add_argument(
        "--share", type=float, default=0.1, help="of hotspots that collude (default: %(default)s)"
    )
    command.add_argument("--seed", type=int, default=1, help="same seed, same run (default: 1)")
    command.add_argument(
        "--hotspots", type=int, default=300, metavar="N", help="in the network (default: 300)"
    )
    command.add_argument(
        "--epochs", type=int, default=200, metavar="N", help="of ten minutes (default: 200)"
    )
    command.add_argument(
        "--sweep", action="store_true", help="with 1, 3, 10, 20, 30 and 45 %% of attackers"
    )
    command.add_argument(
        "--open", action="store_true", help="no ledger: who is found, not what is paid; larger runs"
    )
    command.add_argument(
        "--pool", type=int, metavar="N",
        help="honest networks for pooled false positives (default: 10,000 hotspots' for all)",
    )
    command.add_argument(
        "--processes", type=int, default=2, metavar="N", help="at a time (default: %(default)s)"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="write JSON, SVG and a page here")
    command.add_argument("--json", action="store_true", help="print one JSON document")


def attack(options: argparse.Namespace) -> int:
    """Run what was asked for."""
    from radio_sim.attacks.catalogue import BASELINE, NAMES
    from radio_sim.attacks.presence import STRATEGIES

    if options.attack == "list":
        return _list(options)
    size = _get_size(options)
    every = (BASELINE, *(STRATEGIES if options.open else NAMES))
    known = {"all": every, BASELINE: (BASELINE,)}
    names = known.get(options.attack, (options.attack,))
    if not set(names) <= {BASELINE, *NAMES}:
        raise UserError("NAME", f"{options.attack} is no attack", "see wavecomb sim attack list")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    return _run(options, _get_tasks(options, names, size), size)


def _list(options: argparse.Namespace) -> int:
    """Say what there is."""
    from radio_sim.attacks.bookkeeping import RECORDS
    from radio_sim.attacks.catalogue import CHANCE
    from radio_sim.attacks.presence import STRATEGIES

    summaries = {name: strategy.summary for name, strategy in STRATEGIES.items()}
    summaries |= {name: (run.__doc__ or "").splitlines()[0] for name, run in CHANCE.items()}
    summaries |= {record.name: record.summary for record in RECORDS}
    if options.json:
        print_json(summaries)
    else:
        print("\n".join(f"{name:<24} {text}" for name, text in summaries.items()))
    return EXIT_OK


def _get_size(options: argparse.Namespace) -> Size:
    """The size of a run; UserError for one that shows nothing."""
    from radio_sim.attacks.measure import Size

    limits: tuple[tuple[str, float, float, float], ...] = (
        ("--share", options.share, 0.001, 0.45),
        ("--hotspots", options.hotspots, 30, 100_000),
        ("--epochs", options.epochs, 20, 10_000),
        ("--processes", options.processes, 1, 256),
        ("--pool", options.pool or 0, 0, 10_000),
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            raise UserError(name, f"{value:g} is out of range", f"use {low:g} to {high:g}")
    return Size(*(options.hotspots, options.epochs, options.share, options.seed), options.open)


def _get_tasks(options: argparse.Namespace, names: Iterable[str], size: Size) -> list[Task]:
    """What to run: with `--sweep` every attack of the radio's side with every share."""
    from radio_sim.attacks.presence import STRATEGIES

    tasks = [(name, size) for name in names]
    if options.sweep:
        swept = [name for name in names if name in STRATEGIES]
        if not swept:
            raise UserError("--sweep", f"{options.attack} has no share", "name a presence attack")
        tasks = [(name, replace(size, share=share)) for name in swept for share in SWEEP]
    return tasks


def _run(options: argparse.Namespace, tasks: list[Task], size: Size) -> int:
    """All tasks, and then the report of what is done, interrupted or not."""
    pool = _get_pool(options)
    done: list[Measured] = []
    pooled: list[Any] = []
    code = EXIT_OK
    progress = Progress("attacks", len(tasks) + pool, quiet=options.json)
    # Ended by a service manager: write as after Ctrl-C, and leave no worker behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        honest = [("", replace(size, seed=size.seed * 1_000 + n, share=0.0)) for n in range(pool)]
        for number, found in enumerate(_map(_measure, [*honest, *tasks], options.processes)):
            is_attack = isinstance(found, tuple)
            (done if is_attack else pooled).append(found[1] if is_attack else found)
            progress.update(number + 1, found[0] if is_attack else "honest networks")
            if options.out and is_attack:  # a power cut loses one attack at most
                _write(options, size, done, pooled, is_whole=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    progress.close("interrupted" if code else "")
    order = {name: number for number, (name, _) in reversed(list(enumerate(tasks)))}
    done.sort(key=lambda m: (order[m.outcome.name], m.outcome.share))
    _print(options, done, _write(options, size, done, pooled, is_whole=not code))
    return code


def _get_pool(options: argparse.Namespace) -> int:
    """How many honest networks are pooled."""
    if options.pool is not None:
        return int(options.pool)
    wanted = options.attack == "all" and not options.sweep
    return -(-POOLED_HOTSPOTS // options.hotspots) if wanted else 0


def _measure(task: Task) -> Any:
    """One task in whatever process: (name, measured), or scores of an honest network."""
    from radio_sim.attacks.catalogue import measure
    from radio_sim.attacks.measure import pool_network

    name, size = task
    return (name, measure(name, size)) if name else pool_network(size)


def _map(run: Callable[[Task], Any], tasks: Sequence[Task], processes: int) -> Iterator[Any]:
    """Results as they come; with several processes those are ended if anything is raised here."""
    if processes == 1 or len(tasks) == 1:
        yield from map(run, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(processes, len(tasks)), _ignore_interrupt) as workers:
        yield from workers.imap_unordered(run, tasks)


def _ignore_interrupt() -> None:
    """Ctrl-C is for the process that the terminal sees."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write(
    options: argparse.Namespace,
    size: Size,
    done: list[Measured],
    pooled: list[Any],
    *,
    is_whole: bool,
) -> dict[str, Any]:
    """The document, written where asked for with its plots."""
    from radio_sim.attacks.document import make_document
    from radio_sim.attacks.report import make_page

    document, svg = make_document(size, done, pooled, is_sweep=options.sweep, is_whole=is_whole)
    if options.out:
        outcomes = [measured.outcome for measured in done]
        write_json(options.out / "attacks.json", document)
        (options.out / "attacks.svg").write_text(svg)
        (options.out / "attacks.html").write_text(make_page("Attack laboratory", outcomes, svg))
    return document


def _print(options: argparse.Namespace, done: list[Measured], document: dict[str, Any]) -> None:
    """The document, or the table."""
    from radio_sim.attacks.report import make_table

    if options.json:
        print_json(document)
        return
    print(make_table([measured.outcome for measured in done]))
    for name, value in document["pooled"].items():
        print(f"pooled {name}: {value:g}")
    for name, value in document.get("opportunity", {}).items():
        print(f"opportunity {name}: {value:g}")
    for figure, worst in document["worst"].items():
        value = "never" if worst["value"] is None else f"{worst['value']:.4g}"
        print(f"worst {figure}: {value} ({worst['attack']})")
