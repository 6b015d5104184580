"""Sub-commands that make, sign and submit records: what owners, sponsors and operators do."""

from __future__ import annotations

import argparse
import base64
import binascii
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain import drafts, wire
from chain.cli.io_common import add, add_dir, add_ledger, parse_hex, report, show
from chain.cli.io_key import get_signers, read_network
from chain.cli.io_promise import write_promises
from chain.drafts import Draft, encode_draft, get_draft, get_fields, get_signed, parse_draft
from chain.errors import EXIT_OK, UserError
from chain.io_client import LedgerClient
from chain.io_keyring import OPERATOR_KEY, Keyring
from chain.io_keys import load_seed
from chain.io_terminal import Progress
from chain.keys import public_key
from chain.records import (
    Activation,
    Appointment,
    Bond,
    Bounty,
    Deposit,
    Record,
    Refusal,
    Retirement,
    SubmitResult,
    Transfer,
    Withdrawal,
)

BATCH = 100
ROLES = {"seed": 1, "cosigner": 2, "sequencer": 3, "validator": 4, "operator": 5, "auditor": 6}

EXAMPLES = """
  wavecomb chain submit records.txt
  wavecomb chain submit records.txt --promise promises.json
  wavecomb chain deposit --dir ledger --account KEYHEX --amount-ucr 5000000
  wavecomb chain deposit --dir ledger --account KEYHEX --amount-ucr 5 --signers 0,2 --out draft.json
  wavecomb chain appoint --dir ledger --role seed --key KEYHEX --from-epoch 40 --until-epoch 900
  wavecomb chain appoint --dir ledger --role seed --key KEYHEX --from-epoch 60 --until-epoch 0
  wavecomb chain activate --dir ledger --rules 2 --from-epoch 2016
  wavecomb chain sign draft.json --key operator.key
  wavecomb chain transfer --key owner.key --to KEYHEX --amount-ucr 250000 --memo rent
  wavecomb chain withdraw --key owner.key --amount-ucr 250000 --destination 01af
  wavecomb chain bond --key owner.key --hotspot 3 --amount-ucr 10000000
  wavecomb chain retire --key owner.key --hotspot 3 --dry-run
  wavecomb chain bounty --key me.key --cell H3 --amount-ucr 9 --per-settlement-ucr 3 --until-epoch 8
"""


def add_commands(commands: Any) -> None:
    """Add the sub-commands."""
    submit = add(commands, "submit", run_submit, "submit signed records from a file")
    submit.add_argument(
        "file",
        metavar="FILE",
        help="one record in base64 per line, or one record's bytes; - reads standard input",
    )
    submit.add_argument(
        "--promise",
        type=Path,
        metavar="OUT",
        help="don't wait: write the sequencer's signed promises to a file, for promise-check",
    )
    add_ledger(submit)
    _add_operator_commands(commands)
    _add_owner_commands(commands)


def _add_operator_commands(commands: Any) -> None:
    deposit = add(commands, "deposit", run_deposit, "credit an account, signed by operators")
    add_dir(deposit, "the folder with operator.key")
    deposit.add_argument("--account", required=True, metavar="KEYHEX", help="the owner's key")
    _add_amount(deposit)
    deposit.add_argument(
        "--reference", metavar="HEX", help="at most 32 bytes; a random one if left out"
    )
    _add_signing(deposit)
    appoint = add(commands, "appoint", run_appoint, "give a key a role, signed by operators")
    add_dir(appoint, "the folder with operator.key")
    appoint.add_argument("--role", required=True, choices=list(ROLES), help="what the key may do")
    appoint.add_argument("--key", required=True, metavar="KEYHEX", help="the key appointed")
    appoint.add_argument(
        "--name", default="", help="for people; of cosigners the key name of their signed notes"
    )
    appoint.add_argument(
        "--weight", type=int, default=0, help="voting power of a validator (default: 0)"
    )
    appoint.add_argument(
        "--from-epoch", type=int, required=True, metavar="E", help="first epoch, two ahead or more"
    )
    appoint.add_argument(
        *("--until-epoch",), type=int, required=True, metavar="E", help="exclusive; 0 revokes"
    )
    _add_signing(appoint)
    activate = add(commands, "activate", run_activate, "change to newer rules from an epoch on")
    add_dir(activate, "the folder with operator.key")
    activate.add_argument("--rules", type=int, required=True, metavar="N", help="docs/records.md")
    activate.add_argument(
        "--from-epoch", type=int, required=True, metavar="E", help="first epoch, two ahead or more"
    )
    _add_signing(activate)
    sign = add(commands, "sign", run_sign, "add a signature to a draft; submit it once complete")
    sign.add_argument("draft", metavar="FILE", help="a draft that --out wrote")
    sign.add_argument("--key", required=True, metavar="FILE", help="key file of one of its signers")
    sign.add_argument("--dry-run", action="store_true", help="show the record, sign nothing")
    add_ledger(sign)


def _add_owner_commands(commands: Any) -> None:
    transfer = _owner(commands, "transfer", run_transfer, "send credits to another account")
    transfer.add_argument("--to", required=True, metavar="KEYHEX", help="account that gets them")
    _add_amount(transfer)
    transfer.add_argument("--memo", default="", help="at most 64 characters; everyone can read it")
    withdraw = _owner(commands, "withdraw", run_withdraw, "take credits out of the network")
    _add_amount(withdraw)
    withdraw.add_argument(
        "--destination", required=True, metavar="HEX", help="where they go outside, 1 to 64 bytes"
    )
    bond = _owner(commands, "bond", run_bond, "lock more credits on a hotspot")
    bond.add_argument("--hotspot", type=int, required=True, metavar="N", help="its index")
    _add_amount(bond)
    retire = _owner(commands, "retire", run_retire, "retire a hotspot; its bond returns later")
    retire.add_argument("--hotspot", type=int, required=True, metavar="N", help="its index")
    bounty = _owner(commands, "bounty", run_bounty, "pay for coverage of cells")
    bounty.add_argument(
        *("--cell",), action="append", required=True, metavar="H3", help="resolution 8; repeatable"
    )
    _add_amount(bounty, "micro-credits for each cell, in all")
    bounty.add_argument(
        *("--per-settlement-ucr",), type=int, required=True, metavar="UCR", help="at most, per cell"
    )
    bounty.add_argument(
        *("--until-epoch",), type=int, required=True, metavar="E", help="what is left returns then"
    )


def _owner(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command = add(commands, name, run, text)
    command.add_argument(
        "--key", required=True, metavar="FILE", help="the account's key file (the owner's)"
    )
    command.add_argument(
        "--nonce", type=int, metavar="N", help="above all used before (default: the next one)"
    )
    command.add_argument("--dry-run", action="store_true", help="show the record, submit nothing")
    add_ledger(command)
    return command


def _add_amount(command: argparse.ArgumentParser, text: str = "micro-credits") -> None:
    command.add_argument("--amount-ucr", type=int, required=True, metavar="UCR", help=text)


def _add_signing(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--signers",
        metavar="N,N",
        help="numbers of the operators who will sign (default: this folder's alone)",
    )
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="write a draft for the others to sign"
    )
    command.add_argument("--dry-run", action="store_true", help="show the record, submit nothing")
    add_ledger(command)


# --- submit ---------------------------------------------------------------------------------------


def run_submit(options: argparse.Namespace) -> int:
    """Submit what a file holds."""
    wires = read_wires(options.file)
    results: list[SubmitResult] = []
    progress = Progress("submit", len(wires), quiet=options.json or len(wires) <= BATCH)
    with LedgerClient(options.ledger) as client:
        if options.promise:
            return _submit_promised(options, client, wires)
        for start in range(0, len(wires), BATCH):
            results += client.submit(wires[start : start + BATCH])
            progress.update(len(results))
    return report(options, results)


def _submit_promised(
    options: argparse.Namespace, client: LedgerClient, wires: list[bytes]
) -> int:
    promises = []
    for start in range(0, len(wires), BATCH):
        promises += client.submit_promised(wires[start : start + BATCH])
    write_promises(options.promise, promises, wires)
    last = max(promise.deadline_epoch for promise in promises)
    value = {"promises": str(options.promise), "count": len(promises), "deadline_epoch": last}
    text = f"{len(promises)} promises in {options.promise}; due when epoch {last} closes"
    show(options, value, text)
    return EXIT_OK


def read_wires(name: str) -> list[bytes]:
    """The records in a file, or on standard input; UserError if there is none."""
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    if data[:1] == b"\x84":  # a CBOR array of four: the bytes of one envelope
        return [data]
    wires = []
    for number, line in enumerate(data.split(), start=1):
        try:
            wires.append(base64.b64decode(line, validate=True))
        except binascii.Error as error:
            raise UserError(
                "file", f"{name} line {number} is no base64", "give one record per line"
            ) from error
    if not wires:
        raise UserError("file", f"{name} holds no record", "give one record per line in base64")
    return wires


# --- operators ------------------------------------------------------------------------------------


def run_deposit(options: argparse.Namespace) -> int:
    """Sign and submit a deposit."""
    keyring = _keyring(options)
    account = parse_hex(options.account, "account")
    reference = secrets.token_bytes(16)
    if options.reference is not None:
        reference = parse_hex(options.reference, "reference", 0)
    return _by_operators(
        options, keyring, lambda who: Deposit(account, options.amount_ucr, reference, who)
    )


def run_appoint(options: argparse.Namespace) -> int:
    """Sign and submit an appointment."""
    keyring = _keyring(options)
    key, role = parse_hex(options.key, "key"), ROLES[options.role]
    terms = (options.name, options.weight, options.from_epoch, options.until_epoch)
    return _by_operators(options, keyring, lambda who: Appointment(role, key, *terms, who))


def run_activate(options: argparse.Namespace) -> int:
    """Sign and submit an activation of newer rules."""
    terms = (options.rules, options.from_epoch)
    return _by_operators(options, _keyring(options), lambda who: Activation(*terms, who))


def _by_operators(
    options: argparse.Namespace, keyring: Keyring, make: Callable[[tuple[int, ...]], Record]
) -> int:
    """Sign as this folder's operator; submit, or write a draft for the others."""
    with LedgerClient(options.ledger) as client:
        network = read_network(client)
        operators = network.operators
        seed = keyring.own(list(operators.values()), "an operator")
        who = get_signers(options.signers, operators, public_key(seed))
        signers = tuple(operators[number] for number in who)
        draft = get_draft(make(who), network.head.network_id, signers)
        return sign_and_send(options, draft, seed, client)


def _keyring(options: argparse.Namespace) -> Keyring:
    """The folder's keys, of which `operator.key` is the first that it ever had."""
    load_seed(options.dir / OPERATOR_KEY)
    return Keyring(options.dir)


def sign_and_send(
    options: argparse.Namespace, draft: Draft, seed: bytes, client: LedgerClient
) -> int:
    """Sign a draft; show it, write it to `options.out` for the others, or submit it."""
    _check_shape(draft)
    if options.dry_run:
        return _show_record(options, draft.record)
    more = drafts.add_signature(draft, seed) if public_key(seed) in draft.signers else draft
    assert not isinstance(more, Refusal), "the key is among the signers"
    if options.out:
        options.out.write_text(encode_draft(more))
        missing = [key.hex() for key in more.missing]
        value = {"draft": str(options.out), "missing": missing}
        show(options, value, f"draft in {options.out}; {len(missing)} signatures missing")
        return EXIT_OK
    return _send(options, more, client)


def _send(options: argparse.Namespace, draft: Draft, client: LedgerClient) -> int:
    signed = get_signed(draft)
    if isinstance(signed, Refusal):
        field, _, rest = signed.detail.partition(": ")
        problem, _, remedy = rest.partition("; ")
        raise UserError(field, problem, f"{remedy}, or write it with --out FILE")
    return report(options, client.submit([signed.wire]))


def _check_shape(draft: Draft) -> None:
    """UserError for a record that no ledger takes."""
    try:
        shaped = wire.decode(drafts.encode_wire(draft.record, ()))
    except (ValueError, OverflowError) as error:
        raise UserError(draft.record.NAME, str(error), "see --help") from error
    if isinstance(shaped, Refusal):
        field, _, problem = shaped.detail.removeprefix(f"{draft.record.NAME} ").partition(": ")
        raise UserError(field.replace("_", "-"), problem, "see --help")


def _show_record(options: argparse.Namespace, record: Record) -> int:
    fields = get_fields(record)
    lines = [f"{record.NAME} (not submitted)", *(f"  {k}: {v}" for k, v in fields.items())]
    show(options, {"record": record.NAME, "fields": fields}, "\n".join(lines))
    return EXIT_OK


def run_sign(options: argparse.Namespace) -> int:
    """Add a signature to a draft; when it was the last one, submit."""
    path = Path(options.draft)
    draft = parse_draft(path.read_text())
    if isinstance(draft, Refusal):
        raise UserError("draft", f"{path}: {draft.detail}", "nothing was signed")
    if options.dry_run:
        return _show_record(options, draft.record)
    more = drafts.add_signature(draft, load_seed(options.key))
    if isinstance(more, Refusal):
        raise UserError("key", more.detail.removeprefix("key: "), "nothing was signed")
    path.write_text(encode_draft(more))
    if more.missing:
        missing = [key.hex() for key in more.missing]
        text = f"signed; {len(missing)} signatures missing: {', '.join(missing)}"
        show(options, {"draft": str(path), "missing": missing}, text)
        return EXIT_OK
    with LedgerClient(options.ledger) as client:
        return _send(options, more, client)


# --- owners ---------------------------------------------------------------------------------------


def _by_account(options: argparse.Namespace, make: Callable[[bytes, int], Record]) -> int:
    """Sign with an account's key and submit; the next nonce unless one is given."""
    seed = load_seed(options.key)
    account = public_key(seed)
    with LedgerClient(options.ledger) as client:
        nonce = options.nonce
        if nonce is None:
            nonce = int(client.get(f"/v1/accounts/{account.hex()}")["nonce"]) + 1
        draft = get_draft(make(account, nonce), client.head().network_id, (account,))
        options.out = None
        return sign_and_send(options, draft, seed, client)


def run_transfer(options: argparse.Namespace) -> int:
    """Send credits to another account."""
    to = parse_hex(options.to, "to")
    return _by_account(
        options, lambda key, nonce: Transfer(key, to, options.amount_ucr, nonce, options.memo)
    )


def run_withdraw(options: argparse.Namespace) -> int:
    """Take credits out of the network."""
    destination = parse_hex(options.destination, "destination", 1, 64)
    return _by_account(
        options, lambda key, nonce: Withdrawal(key, options.amount_ucr, nonce, destination)
    )


def run_bond(options: argparse.Namespace) -> int:
    """Lock more on a hotspot."""
    return _by_account(options, lambda _, nonce: Bond(options.hotspot, options.amount_ucr, nonce))


def run_retire(options: argparse.Namespace) -> int:
    """Retire a hotspot."""
    return _by_account(options, lambda _, nonce: Retirement(options.hotspot, nonce))


def run_bounty(options: argparse.Namespace) -> int:
    """Offer a bounty for coverage of cells."""
    cells = tuple(sorted({_cell(text) for text in options.cell}))
    limits = (options.amount_ucr, options.per_settlement_ucr, options.until_epoch)
    return _by_account(options, lambda key, nonce: Bounty(key, cells, *limits, nonce))


def _cell(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise UserError("cell", f"{text!r} is no H3 cell", "give 15 hexadecimal digits") from error
