"""`wavecomb chain validator new|genesis|join`: how several operators start a network together.

Each makes keys in its own folder and tells the others two public values; one writes the genesis
that all share; each puts it into its folder and runs. No secret key ever leaves its folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from chain import wire
from chain.abci.home import DEFAULT_POWER, Member, genesis_text, genesis_wire_of
from chain.abci.validators import MAX_TOTAL_POWER
from chain.admission import address_of
from chain.cli.io_common import add, add_dir, parse_hex, show
from chain.consensus.io_cometbft import Home, create_ledger
from chain.errors import EXIT_OK, UserError
from chain.io_ledger import DATABASE
from chain.io_terminal import add_command
from chain.records import Refusal, Signed
from chain.store.io_store import Store

EXAMPLES = """
  wavecomb chain validator new --dir mine --json
  wavecomb chain validator genesis --ledger-dir ledger --validator KEYHEX:10:anna --out genesis.json
  wavecomb chain validator genesis --ledger-dir ledger --validator anna.json --out genesis.json
  wavecomb chain validator join --dir mine genesis.json
"""


def add_commands(commands: Any) -> None:
    """Add `validator` to the sub-commands of `wavecomb chain`."""
    parts = add_command(
        commands, "validator", "keys and genesis of a network that several operators run"
    ).add_commands("action")
    new = add(parts, "new", run_new, "make the keys of a validator, or show their public parts")
    add_dir(new, "folder for this validator, made if missing")
    first = add(parts, "genesis", run_genesis, "write the genesis that all validators share")
    first.add_argument(
        "--ledger-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder that `chain init` made: its genesis record names operators and rules",
    )
    first.add_argument(
        "--validator",
        action="append",
        required=True,
        metavar="KEY[:POWER[:NAME]]",
        help="a validator's key, or the file that `validator new --json` printed, its voting power"
        f" ({DEFAULT_POWER}) and a name; repeatable",
    )
    first.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where to write it"
    )
    join = add(parts, "join", run_join, "put a network's genesis into a validator's folder")
    add_dir(join, "the folder that `validator new` made")
    join.add_argument("genesis", type=Path, metavar="FILE", help="the genesis that all share")


def run_new(options: argparse.Namespace) -> int:
    """Make keys; tell what others need to know."""
    home = Home(options.dir)
    home.make_keys()
    value = {
        "dir": str(options.dir),
        "validator": home.validator_key().hex(),
        "node_id": home.node_id(),
    }
    text = (
        f"validator {value['validator']}\nnode      {value['node_id']}\n"
        "tell the others both, and the address at which your node can be reached"
    )
    show(options, value, text)
    return EXIT_OK


def run_genesis(options: argparse.Namespace) -> int:
    """Write the engine's genesis around the ledger's."""
    members = [_member(text) for text in options.validator]
    if len({member.key for member in members}) < len(members):
        raise UserError("validator", "a key comes twice", "give each validator once")
    if sum(member.power for member in members) > MAX_TOTAL_POWER:
        raise UserError("validator", "the powers are too large in all", "give smaller ones")
    store = Store.open(options.ledger_dir / DATABASE, read_only=True)
    genesis = wire.decode(next(store.blocks()).wires[0])
    store.close()
    if isinstance(genesis, Refusal):
        raise UserError("ledger-dir", genesis.detail, "take a folder that chain init made")
    if options.out.exists():
        raise UserError("out", f"{options.out} exists", "take another name; all must share one")
    options.out.write_text(genesis_text(genesis, members))
    value = {
        "out": str(options.out),
        "network_id": genesis.record_id.hex(),
        "validators": len(members),
    }
    show(options, value, f"network {value['network_id']}, {len(members)} validators")
    return EXIT_OK


def _member(text: str) -> Member:
    key, _, rest = text.partition(":")
    power, _, name = rest.partition(":")
    if power and not (power.isascii() and power.isdecimal() and 0 < len(power) < 16):
        raise UserError("validator", f"{power[:40]!r} is no power", "give a whole number above 0")
    if power and int(power) == 0:
        raise UserError("validator", "power 0 never votes", "give a whole number above 0")
    return Member(_key(key), int(power or DEFAULT_POWER), name)


def _key(text: str) -> bytes:
    """A key in hexadecimal, or in the file that `validator new --json` printed."""
    try:
        said = json.loads(Path(text).read_text())["validator"] if Path(text).is_file() else text
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{text}: not what validator new --json prints"
        raise UserError("validator", problem, "give 64 hexadecimal digits or that file") from error
    return parse_hex(str(said), "validator")


def run_join(options: argparse.Namespace) -> int:
    """Check and copy the genesis, and make the ledger that starts with it."""
    home = Home(options.dir)
    key = home.validator_key()
    text, genesis = _read_genesis(options.genesis)
    if home.genesis.exists() and home.genesis.read_text() != text:
        raise UserError(
            "dir", f"{options.dir} is of another network", "make another folder: validator new"
        )
    home.genesis.write_text(text)
    create_ledger(home)
    votes = f'"{address_of(key).hex().upper()}"' in text
    value = {"dir": str(options.dir), "network_id": genesis.record_id.hex(), "votes": votes}
    role = "a validator from the start" if votes else "no validator yet: it follows"
    show(options, value, f"network {value['network_id']}; this node is {role}")
    return EXIT_OK


def _read_genesis(path: Path) -> tuple[str, Signed]:
    """The file's text and the ledger's genesis in it; UserError if it holds none."""
    try:
        text = path.read_text()
        genesis = wire.decode(genesis_wire_of(text))
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(
            "genesis", f"{path}: {problem}", "ask for the file that validator genesis wrote"
        ) from error
    if isinstance(genesis, Refusal):
        raise UserError("genesis", f"{path}: {genesis.detail}", "ask for the network's file")
    return text, genesis
