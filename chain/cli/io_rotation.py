"""`wavecomb chain object`: a hotspot's key says that it isn't lost (chain/rules/rotations.py).

Rotating itself takes the secrets of the new key's chain: `wavecomb hotspot key rotate`.
"""

from __future__ import annotations

import argparse
from typing import Any

from chain.cli.io_common import add, add_ledger
from chain.cli.io_records import sign_and_send
from chain.drafts import get_draft
from chain.errors import UserError
from chain.io_client import LedgerClient
from chain.io_keys import load_seed
from chain.keys import public_key
from chain.records import KeyRotationObjection

EXAMPLES = """
  wavecomb chain object --hotspot 17 --key hotspot.key
"""


def add_commands(commands: Any) -> None:
    """Add the sub-command."""
    text = "keep a hotspot's key, which its owner asked to replace as lost"
    command = add(commands, "object", run_object, text)
    command.add_argument("--hotspot", type=int, required=True, metavar="N", help="its index")
    command.add_argument("--key", required=True, metavar="FILE", help="the hotspot's key file")
    command.add_argument("--dry-run", action="store_true", help="show the record, submit nothing")
    add_ledger(command)


def run_object(options: argparse.Namespace) -> int:
    """Object to the pending rotation of a hotspot."""
    seed = load_seed(options.key)
    options.out = None
    with LedgerClient(options.ledger) as client:
        rotation = client.get(f"/v1/hotspots/{options.hotspot}")["rotation"]
        if rotation is None:
            problem = f"{options.hotspot} is to take no other key"
            raise UserError("hotspot", problem, "nothing needs to be done")
        record = KeyRotationObjection(options.hotspot, bytes.fromhex(rotation["id"]))
        draft = get_draft(record, client.head().network_id, (public_key(seed),))
        return sign_and_send(options, draft, seed, client)
