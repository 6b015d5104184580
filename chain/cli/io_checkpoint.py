"""`wavecomb chain checkpoint` and `wavecomb chain record`: the log itself, verified.

The same trust, the same files and the same memory as `wavecomb chain light`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain.cli.io_light import LightClient, keeping, load_seen, load_trust
from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import add_command, get_credits, print_json
from chain.proofs.checkpoint import Opened
from chain.proofs.io_fetch import Fetcher
from chain.proofs.note import MAX_NOTE_BYTES, encode_base64
from chain.proofs.record_proof import (
    RecordProof,
    encode_record_proof,
    parse_record_proof,
    verify_record_proof,
)
from chain.records import MAX_WIRE_BYTES, Refusal, Signed
from chain.wire import decode, record_id_of

EXAMPLES = """
  wavecomb chain checkpoint --dir trust --url http://127.0.0.1:8700/log
  wavecomb chain checkpoint --dir trust --url site --json
  wavecomb chain record 340 --dir trust --url http://127.0.0.1:8700/log
  wavecomb chain record 340 --dir trust --url site --save my.tlog-proof --wire my.record
  wavecomb chain record --dir trust --proof my.tlog-proof --wire my.record
"""


def add_commands(commands: Any) -> None:
    """`wavecomb chain checkpoint` and `wavecomb chain record`."""
    shown = _add(commands, "checkpoint", "verify the newest checkpoint and who signed it")
    place = "http://HOST:PORT/log, unix:/SOCKET or a folder"
    shown.add_argument("--url", required=True, help=place)
    shown.set_defaults(run=run_checkpoint)
    record = _add(commands, "record", "verify that a record is in the log")
    record.add_argument("number", nargs="?", type=int, metavar="N", help="its place, from 0")
    source = record.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help=place)
    source.add_argument("--proof", type=Path, metavar="FILE", help="a .tlog-proof; needs --wire")
    record.add_argument("--save", type=Path, metavar="FILE", help="write the proof (.tlog-proof)")
    record.add_argument(
        "--wire", type=Path, metavar="FILE", help="the record's bytes: written, or read for --proof"
    )
    record.set_defaults(run=run_record)


def _add(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = add_command(commands, name, text)
    command.add_argument(
        "--dir", type=Path, required=True, metavar="TRUST", help="folder with trust.json"
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    return command


def run_checkpoint(options: argparse.Namespace) -> int:
    """Verify, print, remember."""
    client = LightClient(load_trust(options.dir), Fetcher(options.url), load_seen(options.dir))
    try:
        _, opened = keeping(options.dir, client, client.checkpoint)
    finally:
        client.fetcher.close()
    value = checkpoint_json(opened)
    print_json(value) if options.json else print("\n".join(_lines(value)), flush=True)
    return EXIT_OK


def run_record(options: argparse.Namespace) -> int:
    """Verify that a record is in the log, from its files or from a proof on its own."""
    trust = load_trust(options.dir)
    if options.url is not None:
        proof, raw = _read_online(options)
        if options.wire is not None:
            options.wire.write_bytes(raw)
    else:
        proof, raw = _read_offline(options)
    opened = verify_record_proof(proof, record_id_of(raw), trust)
    if isinstance(opened, Refusal):
        raise UserError("record", opened.detail, "nothing is believed", exit_code=EXIT_FAILED)
    if options.save is not None:
        options.save.write_bytes(encode_record_proof(proof))
    value = {"number": proof.index, **record_json(raw), **checkpoint_json(opened)}
    print_json(value) if options.json else print("\n".join(_lines(value)), flush=True)
    return EXIT_OK


def _read_online(options: argparse.Namespace) -> tuple[RecordProof, bytes]:
    if options.number is None:
        raise UserError("N", "no number given", "say which record, from 0")
    client = LightClient(load_trust(options.dir), Fetcher(options.url), load_seen(options.dir))
    try:
        return keeping(options.dir, client, lambda: client.record(options.number))
    finally:
        client.fetcher.close()


def _read_offline(options: argparse.Namespace) -> tuple[RecordProof, bytes]:
    if options.wire is None:
        raise UserError("wire", "is missing", "give the record's bytes with --wire FILE")
    sizes = {options.proof: 2 * MAX_NOTE_BYTES, options.wire: MAX_WIRE_BYTES}
    for file, limit in sizes.items():
        if file.stat().st_size > limit:
            raise UserError("proof", f"{file} is too large", "give what `chain record` wrote")
    proof = parse_record_proof(options.proof.read_bytes())
    if isinstance(proof, Refusal):
        raise UserError("proof", proof.detail, "nothing is believed", exit_code=EXIT_FAILED)
    if options.number is not None and options.number != proof.index:
        problem = f"is about record {proof.index}"
        raise UserError("proof", problem, "ask for your own", exit_code=EXIT_FAILED)
    return proof, options.wire.read_bytes()


def record_json(raw: bytes) -> dict[str, Any]:
    """What a wire is."""
    decoded = decode(raw)
    kind = decoded.record.NAME if isinstance(decoded, Signed) else "of another version"
    return {"record_id": record_id_of(raw).hex(), "kind": kind, "bytes": len(raw)}


def checkpoint_json(opened: Opened) -> dict[str, Any]:
    """What a checkpoint says, and who stands for it."""
    head = opened.checkpoint
    balances = head.balances
    return {
        "verified": True,
        "origin": head.origin,
        "log_size": head.size,
        "log_root": encode_base64(head.root),
        "settlement": 0 if balances is None else balances.settlement,
        "supply_ucr": 0 if balances is None else balances.supply_ucr,
        "cosigners": [{"name": c.key.name, "time_s": c.time_s} for c in opened.cosignatures],
    }


def _lines(value: dict[str, Any]) -> list[str]:
    names = ", ".join(cosigner["name"] for cosigner in value["cosigners"]) or "nobody"
    lines = []
    if "number" in value:
        lines.append(f"record {value['number']}: {value['kind']}, {value['bytes']} bytes")
        lines.append(f"  {value['record_id']}")
    return [
        *lines,
        f"verified: {value['origin']} at {value['log_size']} records, cosigned by {names}",
        f"  root {value['log_root']}",
        f"  settlement {value['settlement']}, supply {get_credits(value['supply_ucr'])} credits",
    ]
