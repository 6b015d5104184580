"""`wavecomb chain hold|holds|rule|appeal`: findings that hold pay back, and how that ends."""

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from chain.cli.io_common import add, add_ledger, get_lines, parse_hex, show
from chain.cli.io_records import sign_and_send
from chain.drafts import get_draft
from chain.errors import EXIT_OK, UserError
from chain.holds import Outcome
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.params import PRESETS
from chain.records import Hold, HoldAppeal, HoldRuling

MILLI_PER_CENTI = 10
OUTCOMES = {
    "withdraw": Outcome.WITHDRAWN,
    "overturn": Outcome.OVERTURNED,
    "confirm": Outcome.CONFIRMED,
}
EXAMPLES = """
  wavecomb chain hold found/17-slope-400-599.json --key auditor.key --expiry-epoch 2600
  wavecomb chain hold finding.json --key auditor.key --signers KEYHEX,KEYHEX --out draft.json
  wavecomb chain sign draft.json --key other-auditor.key
  wavecomb chain rule confirm --hotspot 17 --key auditor.key --evidence found/17-slope-600-799.json
  wavecomb chain rule withdraw --hotspot 17 --key auditor.key --signers KEYHEX,KEYHEX --out d.json
  wavecomb chain appeal --hotspot 17 --key owner.key
  wavecomb chain holds
"""


def add_commands(commands: Any) -> None:
    """Add the sub-commands."""
    hold = add(commands, "hold", run_hold, "hold a hotspot's presence pay, by an audit's finding")
    hold.add_argument("finding", type=Path, metavar="FILE", help="what map audit --findings wrote")
    hold.add_argument(
        "--expiry-epoch", type=int, metavar="E", help="when it lapses (default: the latest)"
    )
    _add_auditor(hold)
    rule = add(commands, "rule", run_rule, "end a hold: withdraw, overturn or confirm it")
    rule.add_argument("outcome", choices=list(OUTCOMES), help="what the re-run says")
    rule.add_argument("--hotspot", type=int, required=True, metavar="N", help="whose pay is held")
    rule.add_argument(
        *("--evidence",), type=Path, metavar="FILE", help="the re-run's document, by its digest"
    )
    _add_auditor(rule)
    appeal = add(commands, "appeal", run_appeal, "appeal against a hold, as the hotspot's owner")
    appeal.add_argument("--hotspot", type=int, required=True, metavar="N", help="whose pay is held")
    appeal.add_argument("--key", required=True, metavar="FILE", help="the owner's key file")
    appeal.add_argument("--dry-run", action="store_true", help="show the record, submit nothing")
    add_ledger(appeal)
    holds = add(commands, "holds", run_holds, "show findings that hold pay back, and past ones")
    add_ledger(holds)


def _add_auditor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--key", required=True, metavar="FILE", help="an auditor's key file")
    command.add_argument(
        "--signers", metavar="KEYHEX,...", help="keys of all who will sign (default: this alone)"
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="write a draft for the others to sign"
    )
    command.add_argument("--dry-run", action="store_true", help="show the record, submit nothing")
    add_ledger(command)


def run_hold(options: argparse.Namespace) -> int:
    """Make a hold of an audit's finding."""
    raw = options.finding.read_bytes()
    values = read_finding(str(options.finding), raw)
    with LedgerClient(options.ledger) as client:
        head = client.head()
        latest = head.epoch + PRESETS[head.preset].hold_epochs_max
        expiry = latest if options.expiry_epoch is None else options.expiry_epoch
        signers, seed = get_signers(options)
        record = Hold(
            values["subject"],
            values["test"],
            values["score_milli"] // MILLI_PER_CENTI,
            values["threshold_milli"] // MILLI_PER_CENTI,
            *(values["first_epoch"], values["last_epoch"]),
            sha256(raw).digest(),
            expiry,
            signers,
        )
        return sign_and_send(options, get_draft(record, head.network_id, signers), seed, client)


def read_finding(name: str, raw: bytes) -> dict[str, Any]:
    """The numbers of a finding's document; UserError if it is none."""
    wanted = ("subject", "score_milli", "threshold_milli", "first_epoch", "last_epoch")
    try:
        found = json.loads(raw)["finding"]
        values = {key: int(found[key]) for key in wanted}
        return {**values, "test": str(found["test"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "finding", f"{name} is no audit finding", "name one that map audit --findings wrote"
        ) from error


def run_rule(options: argparse.Namespace) -> int:
    """End a hold."""
    evidence = bytes(32)
    if options.evidence is not None:
        evidence = sha256(options.evidence.read_bytes()).digest()
    with LedgerClient(options.ledger) as client:
        signers, seed = get_signers(options)
        hold, outcome = find_hold(client, options.hotspot), int(OUTCOMES[options.outcome])
        record = HoldRuling(options.hotspot, hold, outcome, evidence, signers)
        draft = get_draft(record, client.head().network_id, signers)
        return sign_and_send(options, draft, seed, client)


def run_appeal(options: argparse.Namespace) -> int:
    """Appeal against a hold."""
    seed = load_seed(options.key)
    options.out = None
    with LedgerClient(options.ledger) as client:
        record = HoldAppeal(options.hotspot, find_hold(client, options.hotspot))
        draft = get_draft(record, client.head().network_id, (public_key(seed),))
        return sign_and_send(options, draft, seed, client)


def run_holds(options: argparse.Namespace) -> int:
    """Show all holds."""
    with LedgerClient(options.ledger) as client:
        answer = client.get("/v1/holds")
    show(options, answer, "\n".join(get_lines(answer)))
    return EXIT_OK


def find_hold(client: LedgerClient, hotspot: int) -> bytes:
    """The id of a hotspot's open hold; UserError if there is none."""
    hold = client.get(f"/v1/hotspots/{hotspot}")["hold"]
    if hold is None:
        raise UserError("hotspot", f"nothing of {hotspot} is held", "see: wavecomb chain holds")
    return bytes.fromhex(hold["id"])


def get_signers(options: argparse.Namespace) -> tuple[tuple[bytes, ...], bytes]:
    """Keys of all who will sign, ascending, and the seed of the one who does now."""
    seed = load_seed(options.key)
    own = public_key(seed)
    given = options.signers.split(",") if options.signers else []
    keys = {parse_hex(text.strip(), "signers") for text in given} | {own}
    return tuple(sorted(keys)), seed
