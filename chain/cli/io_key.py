"""`wavecomb chain key|rotate`: which keys a ledger's folder holds, and changing them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain import drafts
from chain.admission import Role
from chain.cli.io_common import add, add_dir, add_ledger, report, show
from chain.drafts import Draft, encode_draft, get_draft, get_signed
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_client import Head, LedgerClient, LedgerUnavailable
from chain.io_keyring import Keyring
from chain.io_ledger import DATABASE
from chain.keys import public_key
from chain.params import PRESETS
from chain.proofs.checkpoint import origin_of
from chain.proofs.note import COSIGNATURE, ED25519, VerifierKey
from chain.records import Appointment, Refusal
from chain.store.io_restore import load_genesis
from chain.store.io_store import Store

EXAMPLES = """
  wavecomb chain key --dir ledger
  wavecomb chain rotate --dir ledger --role sequencer
  wavecomb chain rotate --dir ledger --role operator --signers 0,2 --out rotation
"""


def add_commands(commands: Any) -> None:
    """Add the sub-commands."""
    key = add(commands, "key", run_key, "show the public keys of a folder, as others need them")
    add_dir(key)
    rotate = add(commands, "rotate", run_rotate, "make a new key and have it replace an old one")
    add_dir(rotate)
    rotate.add_argument(
        "--role", required=True, choices=("operator", "sequencer"), help="what the key is for"
    )
    rotate.add_argument(
        "--signers",
        metavar="N,N",
        help="numbers of the operators who will sign (default: this folder's alone)",
    )
    rotate.add_argument(
        "--out", type=Path, metavar="DIR", help="write drafts for the others to sign to a folder"
    )
    add_ledger(rotate)


def run_key(options: argparse.Namespace) -> int:
    """Show the keys of a folder: raw, and as verifier keys of notes."""
    keyring = Keyring(options.dir)
    if not keyring.files:
        raise UserError("dir", f"{options.dir} holds no *.key file", "take the folder of a ledger")
    origin = _origin(options.dir)
    rows = [
        {
            "file": path.name,
            "key": key.hex(),
            "log_vkey": str(VerifierKey(origin, ED25519, key)) if origin else None,
            "cosigner_vkey": str(VerifierKey(options.dir.resolve().name, COSIGNATURE, key)),
        }
        for key, path in sorted(keyring.files.items(), key=lambda item: item[1])
    ]
    lines = []
    for row in rows:
        lines += [f"{row['file']}: {row['key']}"]
        lines += [f"  as the log's key:   {row['log_vkey']}"] if origin else []
        lines += [f"  as a cosigner's key: {row['cosigner_vkey']}"] if not origin else []
    show(options, {"origin": origin, "keys": rows}, "\n".join(lines))
    return EXIT_OK


def _origin(directory: Path) -> str | None:
    """The log's name, where the folder holds a ledger."""
    if not (directory / DATABASE).is_file():
        return None
    store = Store.open(directory / DATABASE, read_only=True)
    try:
        return origin_of(load_genesis(store)[1])
    finally:
        store.close()


@dataclass(frozen=True, slots=True)
class Network:
    """What rotation needs to know of a running network."""

    head: Head
    operators: dict[int, bytes]  # valid ones by number
    holders: list[dict[str, Any]]

    @property
    def bind_epoch(self) -> int:
        """The first epoch that an appointment may begin in, should this one end meanwhile."""
        return self.head.epoch + PRESETS[self.head.preset].bind_epochs + 1


def read_network(client: LedgerClient) -> Network:
    """Ask a service."""
    said = client.get("/v1/appointments")
    operators = {
        row["number"]: bytes.fromhex(row["key"]) for row in said["operators"] if row["valid"]
    }
    return Network(client.head(), operators, said["holders"])


def run_rotate(options: argparse.Namespace) -> int:
    """Make a key, appoint it, and end the old one's role when it binds."""
    keyring = Keyring(options.dir)
    with LedgerClient(options.ledger) as client:
        network = read_network(client)
        old = _find_old(keyring, network, options.role)
        seed = keyring.own(list(network.operators.values()), "an operator")
        who = get_signers(options.signers, network.operators, public_key(seed))
        new = public_key(keyring.create(f"{options.role}-{network.bind_epoch}"))
        made = [
            get_draft(record, network.head.network_id, tuple(network.operators[n] for n in who))
            for record in get_records(options.role, old, new, network, who)
        ]
        path = keyring.files[new]
        text = f"{path} binds in epoch {network.bind_epoch}; until then {old.hex()[:16]} signs"
        return _finish(options, client, [_sign(draft, seed) for draft in made], text)


def _find_old(keyring: Keyring, network: Network, role: str) -> bytes:
    """The key of this folder that holds the role now."""
    held = [bytes.fromhex(row["key"]) for row in network.holders if row["role"] == role]
    return public_key(keyring.own(held, f"a {role}"))


def get_records(
    role: str, old: bytes, new: bytes, network: Network, who: tuple[int, ...]
) -> list[Appointment]:
    """The new key's appointment, then the end of the old one's role at the same epoch."""
    start = network.bind_epoch
    end = start + PRESETS[network.head.preset].appointment_epochs_max
    number = Role[role.upper()]
    name = origin_of(network.head.network_id) if number == Role.SEQUENCER else ""
    return [
        Appointment(number, new, name, 0, start, end, who),
        Appointment(number, old, name, 0, start, 0, who),
    ]


def get_signers(text: str | None, operators: dict[int, bytes], own: bytes) -> tuple[int, ...]:
    """Numbers of the operators who are to sign; UserError for others than there are."""
    if text is None:
        return (next(number for number, key in operators.items() if key == own),)
    numbers = sorted({int(part) if part.isdecimal() else -1 for part in text.split(",")})
    if not set(numbers) <= set(operators):
        known = ", ".join(map(str, sorted(operators)))
        raise UserError("signers", f"{text!r} names no operators", f"known numbers: {known}")
    return tuple(numbers)


def _sign(draft: Draft, seed: bytes) -> Draft:
    signed = drafts.add_signature(draft, seed) if public_key(seed) in draft.signers else draft
    assert not isinstance(signed, Refusal), "the key is among the signers"
    return signed


def _finish(
    options: argparse.Namespace, client: LedgerClient, made: list[Draft], text: str
) -> int:
    """Submit both records, or write them for the others to sign."""
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, draft in zip(("appoint", "revoke"), made, strict=True):
            (options.out / f"{name}.json").write_text(encode_draft(draft))
        missing = [key.hex() for key in made[0].missing]
        value = {"drafts": str(options.out), "missing": missing}
        show(options, value, f"{text}\ndrafts in {options.out}: have appoint.json signed first")
        return EXIT_OK
    signed = [get_signed(draft) for draft in made]
    wires = [item.wire for item in signed if not isinstance(item, Refusal)]
    if len(wires) != len(made):
        raise UserError("signers", "others must sign, too", "write drafts with --out DIR")
    try:
        code = report(options, client.submit(wires))
    except LedgerUnavailable as error:
        remedy = "the new key is in the folder: run rotate again once the ledger answers"
        raise UserError("ledger", str(error), remedy, exit_code=EXIT_FAILED) from error
    if code == EXIT_OK and not options.json:
        print(text)
    return code
