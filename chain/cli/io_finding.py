"""`wavecomb chain finding`: report two things that a key signed where it may sign one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain import wire
from chain.cli.io_common import add, add_ledger, report, show
from chain.drafts import get_fields
from chain.errors import UserError
from chain.evidence import Charge, get_common_charge, read_piece
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.records import Finding, Refusal

EXAMPLES = """
  wavecomb chain finding --key me.key message1.bin message2.bin
  wavecomb chain finding --key me.key checkpoint.a checkpoint.b --dry-run
"""


def add_commands(commands: Any) -> None:
    """Add the sub-command."""
    finding = add(commands, "finding", run_finding, "report a fork: two things that one key signed")
    for name in ("first", "second"):
        finding.add_argument(
            name,
            type=Path,
            metavar=name.upper(),
            help="a record, beacon payload or signed note: bytes, hexadecimal or base64",
        )
    finding.add_argument(
        "--key", required=True, metavar="FILE", help="key file of the account that is rewarded"
    )
    finding.add_argument("--dry-run", action="store_true", help="show the record, submit nothing")
    add_ledger(finding)


def run_finding(options: argparse.Namespace) -> int:
    """Make a finding of two files and submit it."""
    pieces = (read_piece(options.first.read_bytes()), read_piece(options.second.read_bytes()))
    charge = get_common_charge(pieces)
    if isinstance(charge, Refusal):
        field, _, rest = charge.detail.partition(": ")
        problem, _, remedy = rest.partition("; ")
        raise UserError(field, problem, remedy)
    seed = load_seed(options.key)
    with LedgerClient(options.ledger) as client:
        subject = _find_subject(client, charge)
        record = Finding(int(charge.kind), subject, charge.epoch, pieces, public_key(seed))
        if options.dry_run:
            fields = get_fields(record)
            text = "\n".join(f"  {name}: {value}" for name, value in fields.items())
            answer = {"record": record.NAME, "fields": fields}
            show(options, answer, f"{charge.kind.name.lower()} (not submitted)\n{text}")
            return 0
        signed = wire.seal(record, client.head().network_id, [seed])
        return report(options, client.submit([signed.wire]))


def _find_subject(client: LedgerClient, charge: Charge) -> int:
    """The index of the hotspot in question; UserError (from the service) for an unknown key."""
    if charge.subject is not None:
        return charge.subject
    key = charge.key or b""
    return int(client.get(f"/v1/hotspots/{key.hex()}")["index"])
