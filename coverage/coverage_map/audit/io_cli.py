"""`wavecomb map audit`: statistics over a ledger's receptions, and findings to re-derive."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_keys import load_seed
from chain.io_terminal import Parser, Progress, print_json, write_json
from chain.records import Refusal
from coverage_map.audit.challenges import draw_challenge
from coverage_map.audit.findings import (
    AuditFinding,
    SignedFinding,
    find,
    from_json,
    get_command,
    is_signed,
    sign_finding,
    to_json,
)
from coverage_map.audit.io_read import LedgerFolder, open_ledger
from coverage_map.audit.scores import TESTS, Scores, compute_scores
from coverage_map.audit.words import explain

EXAMPLES = """
  wavecomb map audit --ledger ledger                             # the newest 200 epochs
  wavecomb map audit --ledger ledger --epochs 400-599 --json
  wavecomb map audit --ledger ledger --subject 17 --test slope --epochs 400-599
  wavecomb map audit --ledger ledger --key auditor.key --findings found
  wavecomb map audit --ledger ledger --verify found/17-slope-400-599.json
"""
NEWEST_EPOCHS = 200  # within which issue 5 wants liars found
AFTER_FINDING = 2  # epochs until the mix that nobody could foresee when the last one ended


@dataclass(frozen=True, slots=True, eq=False)
class Audited:
    """Scores of a ledger over some epochs, with what findings say about the network."""

    scores: Scores
    epochs: tuple[int, int]
    keys: tuple[bytes, ...]
    network_id: bytes
    lasting: int
    mix: bytes | None


def add_options(command: Parser) -> None:
    """The options of `wavecomb map audit`."""
    command.add_argument(
        "--ledger", type=Path, required=True, metavar="DIR", help="the ledger's folder, or a copy"
    )
    command.add_argument(
        "--archive", type=Path, metavar="DIR", help="where pruned records went, if there are any"
    )
    command.add_argument(
        "--epochs",
        metavar="A-B",
        help=f"first and last epoch (default: the newest {NEWEST_EPOCHS} with verdicts)",
    )
    command.add_argument("--subject", type=int, metavar="N", help="one hotspot, by its index")
    command.add_argument("--test", choices=TESTS, help="with --subject: this test alone")
    command.add_argument(
        "--top", type=int, default=10, metavar="N", help="scores to print (default: %(default)s)"
    )
    command.add_argument(
        "--key", metavar="FILE", help="auditor's key file: sign a finding for every high score"
    )
    command.add_argument(
        "--findings", type=Path, metavar="DIR", help="with --key: write the findings here"
    )
    command.add_argument(
        "--verify", type=Path, metavar="FILE", help="derive a finding again and compare"
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Audit, print, and write or check findings."""
    if bool(options.key) != bool(options.findings):
        raise UserError("--key", "goes with --findings", "give both or neither")
    if options.test and options.subject is None:
        raise UserError("--test", "needs a hotspot", "add --subject N")
    signed = None if options.verify is None else _read_finding(options.verify)
    wanted = options.epochs
    if signed is not None:
        wanted = f"{signed.finding.first_epoch}-{signed.finding.last_epoch}"
    audited = audit(options.ledger, options.archive, wanted, quiet=options.json)
    if signed is not None:
        return _verify(audited, signed, options)
    if options.subject is not None:
        return _show_subject(audited, options)
    if options.key:
        _write_findings(audited, load_seed(options.key), options.findings)
    return _show_all(audited, options)


def audit(
    directory: Path, archive: Path | None, wanted: str | None, *, quiet: bool = False
) -> Audited:
    """Scores of a ledger's folder; `wanted` is A-B or None for the newest epochs.

    UserError for epochs without verdicts, a folder that is none, or a damaged database.
    """
    with open_ledger(directory, archive) as ledger:
        epochs = get_epochs(wanted, *ledger.epochs())
        progress = Progress("audit", epochs[1] - epochs[0] + 10, quiet=quiet)
        blocks = _reported(ledger, epochs, progress)
        scores = compute_scores(blocks, ledger.claims(epochs[1]))
        progress.close()
        return Audited(
            scores,
            epochs,
            tuple(hotspot.key for hotspot in ledger.state.hotspots),
            ledger.state.network_id,
            ledger.params.appeal_epochs,
            ledger.mix(epochs[1] + AFTER_FINDING),
        )


def _reported(ledger: LedgerFolder, epochs: tuple[int, int], progress: Progress) -> Any:
    for done, block in enumerate(ledger.hearings(*epochs)):
        progress.update(done)
        yield block


def get_epochs(wanted: str | None, low: int, high: int) -> tuple[int, int]:
    """First and last epoch from what was asked for and what there is; UserError if it isn't."""
    if wanted is None:
        return max(low, high - NEWEST_EPOCHS + 1), high
    match = re.fullmatch(r"(\d{1,10})-(\d{1,10})", wanted)
    if not match:
        raise UserError("--epochs", f"can't read {wanted!r}", "write A-B, as in 400-599")
    first, last = int(match[1]), int(match[2])
    if not low <= first <= last <= high:
        raise UserError("--epochs", f"{wanted} is not within {low}-{high}", "name judged epochs")
    return first, last


def _read_finding(path: Path) -> SignedFinding:
    try:
        found = from_json(json.loads(path.read_text()))
    except ValueError as error:
        raise UserError("--verify", f"{path} is no JSON", "give a finding's file") from error
    if isinstance(found, Refusal):
        raise UserError("--verify", f"{path}: {found.detail}", "ask its auditor for another")
    return found


def _finding_of(audited: Audited, subject: int, test: str) -> AuditFinding | None:
    return find(
        audited.scores, audited.keys[subject], subject, test, audited.epochs, audited.lasting
    )


def _verify(audited: Audited, signed: SignedFinding, options: argparse.Namespace) -> int:
    """Derive a finding again; EXIT_FAILED unless it comes out the same and is signed."""
    claimed, problems = signed.finding, []
    if not is_signed(signed, audited.network_id):
        problems.append("the signature is not the auditor's for this network")
    derived = None
    if claimed.subject < len(audited.keys):
        derived = _finding_of(audited, claimed.subject, claimed.test)
    if derived is None:
        problems.append("the test abstains on this hotspot")
    else:
        for name in AuditFinding.__dataclass_fields__:
            mine, theirs = getattr(derived, name), getattr(claimed, name)
            if mine != theirs:
                problems.append(f"{name} is {mine}, not {theirs}")
    if options.json:
        print_json({"confirmed": not problems, "problems": problems})
    else:
        lines = [f"not confirmed: {problem}" for problem in problems]
        print("\n".join(lines or ["confirmed"]))
    return EXIT_FAILED if problems else EXIT_OK


def _show_subject(audited: Audited, options: argparse.Namespace) -> int:
    """Everything about one hotspot."""
    subject = options.subject
    if not 0 <= subject < len(audited.keys):
        problem = f"{subject} is no hotspot of this ledger"
        raise UserError("--subject", problem, f"give 0 to {len(audited.keys) - 1}")
    tests = explain(audited.scores, subject)
    answer = _row(audited, subject)
    answer["tests"] = [t for t in tests if options.test in (None, t["test"])]
    if options.json:
        print_json(answer)
        return EXIT_OK
    first, last = audited.epochs
    print(f"hotspot {subject}, epochs {first} to {last}: {_verdict(answer)}")
    for test in answer["tests"]:
        chance = "" if test["p_value"] is None else f" [1 of {1 / test['p_value']:.0f} honest]"
        print(f"  {test['test']:<12} {test['words']}{chance}")
    return EXIT_OK


def _verdict(row: dict[str, Any]) -> str:
    if row["score"] is None:
        return "too little is known of it"
    return f"score {row['score']:.2f} of {row['threshold']:.2f} (margin {row['margin']:+.2f})"


def _row(audited: Audited, subject: int) -> dict[str, Any]:
    """One hotspot's score, and what follows from it."""
    scores = audited.scores
    score = float(scores.combined[subject])
    known = not np.isnan(score)
    row: dict[str, Any] = {
        "subject": subject,
        "key": audited.keys[subject].hex(),
        "epochs": list(audited.epochs),
        "score": round(score, 3) if known else None,
        "threshold": scores.threshold,
        "margin": round(scores.threshold - score, 3) if known else None,
        "test": scores.loudest(subject),
    }
    if known and score > scores.threshold:
        finding = _finding_of(audited, subject, row["test"])
        row["command"] = None if finding is None else get_command(finding)
        row["challenge"] = _challenge(audited, subject)
    return row


def _challenge(audited: Audited, subject: int) -> dict[str, list[int]] | None:
    """Who shall listen for it; None until the randomness after the audited epochs is known."""
    if audited.mix is None:
        return None
    drawn = draw_challenge(audited.scores.network, subject, audited.mix)
    return {"random": list(drawn.random), "far": list(drawn.far)}


def _ranked(scores: Scores) -> list[int]:
    """Hotspots by score, highest first, those of which nothing is known left out."""
    known = np.flatnonzero(~np.isnan(scores.combined))
    order = np.lexsort((known, -scores.combined[known]))
    return [int(subject) for subject in known[order]]


def _write_findings(audited: Audited, seed: bytes, folder: Path) -> None:
    """Sign the loudest test's finding against everybody above the threshold."""
    folder.mkdir(parents=True, exist_ok=True)
    for subject in _ranked(audited.scores):
        if audited.scores.combined[subject] <= audited.scores.threshold:
            break
        finding = _finding_of(audited, subject, audited.scores.loudest(subject))
        if finding is not None:
            name = f"{subject}-{finding.test}-{finding.first_epoch}-{finding.last_epoch}.json"
            document = to_json(sign_finding(finding, audited.network_id, seed))
            write_json(folder / name, document)


def _show_all(audited: Audited, options: argparse.Namespace) -> int:
    """The highest scores."""
    scores, ranked = audited.scores, _ranked(audited.scores)
    rows = [_row(audited, subject) for subject in ranked[: max(0, options.top)]]
    found = int(np.count_nonzero(scores.combined > scores.threshold))
    answer = {
        "epochs": list(audited.epochs),
        "hotspots": len(audited.keys),
        "scored": len(ranked),
        "threshold": scores.threshold,
        "above": found,
        "rows": rows,
    }
    if options.json:
        print_json(answer)
        return EXIT_OK
    print(
        f"epochs {audited.epochs[0]} to {audited.epochs[1]}: {len(ranked)} of"
        f" {len(audited.keys)} hotspots scored, {found} above {scores.threshold:.2f}"
    )
    for row in rows:
        words = next(t for t in explain(scores, row["subject"]) if t["test"] == row["test"])
        print(f"  {row['subject']:>6} {row['score']:>7.2f} {row['test']:<12} {words['words']}")
    return EXIT_OK
