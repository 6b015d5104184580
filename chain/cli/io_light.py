"""`wavecomb chain light`: one's own reward, verified with nothing but a few public keys.

It reads a checkpoint, shows that the log grew from the one it saw last, follows one path in the
tree of balances, and believes nothing that k of n cosigners and the log didn't sign.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chain.errors import EXIT_FAILED, EXIT_OK, UserError
from chain.io_terminal import add_command, get_credits, print_json
from chain.proofs.balances import (
    ACCOUNTS,
    HOTSPOTS,
    Top,
    decode_top,
    find_listed,
    keys_path,
    needed_files,
    read_leaf,
)
from chain.proofs.checkpoint import Balances, Checkpoint, Opened, Trust, open_checkpoint
from chain.proofs.io_fetch import Fetcher
from chain.proofs.log import ProofError, verify_consistency
from chain.proofs.note import Note, parse_note
from chain.proofs.record_proof import RecordProof
from chain.proofs.reward_proof import (
    MAX_PROOF_BYTES,
    Statement,
    decode_proof,
    encode_proof,
    make_proof,
    verify_proof,
)
from chain.proofs.tiles import TILE_WIDTH, PlaceFinder, Tile, TileLog, decode_bundle
from chain.proofs.trust_file import parse_trust
from chain.proofs.witness import tells_two_balances
from chain.records import Refusal

TRUST_FILE = "trust.json"
SEEN_FILE = "checkpoint"
CONFLICT_FILE = "conflict"
# Opened while the checkpoint comes: `top` or a leaf and the tiles above it are asked for at once.
CONNECTIONS = 3
Answer = TypeVar("Answer")
EXAMPLES = """
  wavecomb chain light --dir trust --hotspot 12 --url http://127.0.0.1:8700/log
  wavecomb chain light --dir trust --account KEYHEX --url https://mirror.example/wavecomb
  wavecomb chain light --dir trust --hotspot KEYHEX --url site --save my.proof
  wavecomb chain light --dir trust --hotspot 12 --proof my.proof --json
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was verified: a statement, the note that it rests on, and the proof's bytes."""

    statement: Statement
    note: Note
    proof: bytes


class Conflict(UserError):
    """The log contradicts what it signed before."""

    def __init__(self, problem: str) -> None:
        remedy = f"both checkpoints are kept, {SEEN_FILE} and {CONFLICT_FILE}: show them around"
        super().__init__("log", problem, remedy, exit_code=EXIT_FAILED)


class LightClient:
    """Reads one log; `seen` is the checkpoint that it verified last, which it never goes behind.

    What doesn't verify is a UserError with exit code 1; what can't be reached is Unreachable.
    """

    def __init__(self, trust: Trust, fetcher: Fetcher, seen: Note | None = None) -> None:
        self.trust = trust
        self.fetcher = fetcher
        self.seen = seen
        self.offered: Note | None = None  # the newest checkpoint that its signers stand for

    def verify(self, kind: str, wanted: int | bytes) -> Seen:
        """What a hotspot earned or an account holds, by its number or key."""
        self.fetcher.warm(CONNECTIONS)
        note, opened = self._checkpoint()
        said = opened.checkpoint.balances or Balances()
        if said.settlement == 0:
            raise _refuse("settlement", "none was made yet", "ask again after the first")
        files = self._read_growth(opened.checkpoint, f"balances/{said.settlement}/top")
        top = self._top(files, said)
        index = self._find(top, said.settlement, kind, wanted)
        if not 0 <= index < top.size(kind):
            raise _refuse(kind, f"no {index} at settlement {said.settlement}", "check the number")
        paths = needed_files(said.settlement, kind, index, top.size(kind))
        found = self.fetcher.get_many(paths)
        leaf = read_leaf(said.settlement, kind, index, top.size(kind), lambda p: found[p] or b"")
        if leaf is None:
            raise _refuse("url", f"files of settlement {said.settlement} lack", "try another host")
        proof = make_proof(kind, index, *leaf, top, opened)
        if isinstance(proof, Refusal):
            raise _refuse("url", proof.detail, "try another host")
        statement = check(encode_proof(proof), self.trust)
        self.seen = note
        return Seen(statement, note, encode_proof(proof))

    def checkpoint(self) -> tuple[Note, Opened]:
        """The newest checkpoint, once it is shown to extend the one seen last."""
        note, opened = self._checkpoint()
        self._read_growth(opened.checkpoint)
        self.seen = note
        return note, opened

    def record(self, index: int) -> tuple[RecordProof, bytes]:
        """A record of the log with the proof that it is in it: its place, its path, its wire."""
        note, opened = self.checkpoint()
        head = opened.checkpoint
        if not 0 <= index < head.size:
            raise _refuse("record", f"no {index} among {head.size}", "check the number")
        finder = PlaceFinder(head.size)
        finder.inclusion_proof(index)
        number, place = divmod(index, TILE_WIDTH)
        width = min(TILE_WIDTH, head.size - number * TILE_WIDTH)
        bundle = Tile(None, number, width)
        paths = [tile.path for tile in finder.tiles]
        files = self.fetcher.get_many([*paths, bundle.path, Tile(None, number).path])
        entries = decode_bundle(files[bundle.path] or files[Tile(None, number).path] or b"")
        if isinstance(entries, Refusal) or len(entries) <= place:
            raise _refuse("url", f"{bundle.path} is missing or torn", "ask a host that keeps it")
        try:
            log = TileLog(head.size, self._reader(files))
            proof = RecordProof(index, tuple(log.inclusion_proof(index)), note)
        except IndexError as error:
            raise _refuse("url", f"files are missing: {error}", "try another host") from error
        return proof, entries[place]

    def _checkpoint(self) -> tuple[Note, Opened]:
        raw = self.fetcher.get(SEEN_FILE)
        if raw is None:
            raise _refuse("url", f"{self.fetcher.url} holds no checkpoint", "name a log's address")
        note = parse_note(raw)
        opened = note if isinstance(note, Refusal) else open_checkpoint(note, self.trust)
        if isinstance(note, Refusal) or isinstance(opened, Refusal):
            detail = note.detail if isinstance(note, Refusal) else opened.detail  # type: ignore[union-attr]
            raise _refuse("checkpoint", detail, "nothing of it is believed")
        self.offered = note
        return note, opened

    def _read_growth(self, new: Checkpoint, *more: str) -> Mapping[str, bytes | None]:
        """Show that the log grew from what was seen; fetches other files along with the tiles."""
        old = None if self.seen is None else _checkpoint_of(self.seen, self.trust)
        if old is not None and old.size > new.size:
            problem = f"size {new.size} is behind the {old.size} that was seen before"
            raise _refuse("checkpoint", problem, "a stale mirror, or a log that lost its past")
        finder = PlaceFinder(new.size)
        if old is not None and 0 < old.size < new.size:
            finder.consistency_proof(old.size)
        files = self.fetcher.get_many([*(tile.path for tile in finder.tiles), *more])
        if old is not None and old.size:
            self._check_growth(old, new, files)
        return files

    def _check_growth(
        self, old: Checkpoint, new: Checkpoint, files: Mapping[str, bytes | None]
    ) -> None:
        problem = ""
        try:
            proof = TileLog(new.size, self._reader(files)).consistency_proof(old.size)
            verify_consistency(old.size, new.size, old.root, new.root, proof)
        except IndexError as error:
            raise _refuse("url", f"files are missing: {error}", "try another host") from error
        except ProofError as error:
            problem = f"does not extend what was seen before: {error}"
        if tells_two_balances(old, new):
            problem = "says other balances of a settlement than before"
        if problem:
            raise Conflict(problem)

    def _reader(self, files: Mapping[str, bytes | None]) -> Callable[[str], bytes | None]:
        """Reads what was fetched together, and what nobody thought of by itself."""
        return lambda path: files[path] if path in files else self.fetcher.get(path)

    def _top(self, files: Mapping[str, bytes | None], said: Balances) -> Top:
        top = decode_top(files[f"balances/{said.settlement}/top"] or b"")
        if top is None:
            problem = f"holds no balances of settlement {said.settlement}"
            raise _refuse("url", f"{self.fetcher.url} {problem}", "try another host")
        return top

    def _find(self, top: Top, settlement: int, kind: str, wanted: int | bytes) -> int:
        if isinstance(wanted, int):
            return wanted
        raw = self.fetcher.get(keys_path(top, settlement, wanted)) or b""
        index = find_listed(raw, kind, wanted)
        if index is None:
            problem = f"{wanted.hex()} is in no leaf of settlement {settlement}"
            raise _refuse(kind, problem, "check the key, or wait for the next settlement")
        return index


def check(proof: bytes, trust: Trust) -> Statement:
    """What a proof's bytes show; UserError with exit code 1 if they show nothing."""
    decoded = decode_proof(proof)
    shown = decoded if isinstance(decoded, Refusal) else verify_proof(decoded, trust)
    if isinstance(shown, Refusal):
        raise _refuse("proof", shown.detail, "nothing of it is believed")
    return shown


def _refuse(field: str, problem: str, remedy: str) -> UserError:
    return UserError(field, problem, remedy, exit_code=EXIT_FAILED)


def _checkpoint_of(note: Note, trust: Trust) -> Checkpoint:
    """The checkpoint that was seen; it needs no cosigners again, their list may have changed."""
    opened = open_checkpoint(note, Trust(trust.origin, trust.logs))
    if isinstance(opened, Refusal):
        remedy = f"the trusted keys changed: remove {SEEN_FILE} if you are sure of them"
        raise _refuse("dir", f"{SEEN_FILE}: {opened.detail}", remedy)
    return opened.checkpoint


# --- the command ----------------------------------------------------------------------------------


def add_commands(commands: Any) -> None:
    """`wavecomb chain light`."""
    command = add_command(
        commands, "light", "verify what a hotspot earned or an account holds, from a proof alone"
    )
    command.add_argument(
        "--dir",
        type=Path,
        required=True,
        metavar="TRUST",
        help=f"folder with {TRUST_FILE}; the checkpoint seen last is kept beside it",
    )
    whose = command.add_mutually_exclusive_group(required=True)
    whose.add_argument("--hotspot", metavar="N|KEYHEX", help="a hotspot's index or key")
    whose.add_argument("--account", metavar="KEYHEX", help="an owner's key")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="the log: http://HOST:PORT/log, unix:/SOCKET or a folder")
    source.add_argument("--proof", type=Path, metavar="FILE", help="a proof that somebody gave you")
    command.add_argument("--save", type=Path, metavar="FILE", help="write the proof to a file")
    command.add_argument("--json", action="store_true", help="print one line of JSON")
    command.set_defaults(run=run_light)


def load_trust(directory: Path) -> Trust:
    """The keys in a folder; UserError if there are none."""
    file = directory / TRUST_FILE
    try:
        value = json.loads(file.read_text())
    except FileNotFoundError as error:
        remedy = "copy trust.json from the network's operators, by a way that you trust"
        raise UserError("dir", f"{file} is missing", remedy) from error
    except (ValueError, RecursionError) as error:
        raise UserError("dir", f"{file} is no JSON", "copy it again") from error
    trust = parse_trust(value)
    if isinstance(trust, Refusal):
        raise UserError("dir", f"{file}: {trust.detail}", "see docs/proofs.md")
    return trust


def load_seen(directory: Path) -> Note | None:
    """The checkpoint that was verified last; UserError if the file is damaged."""
    file = directory / SEEN_FILE
    note = parse_note(file.read_bytes()) if file.is_file() else None
    if isinstance(note, Refusal):
        raise UserError("dir", f"{file}: {note.detail}", "restore it, or remove it to start anew")
    return note


def run_light(options: argparse.Namespace) -> int:
    """Verify, print, and remember the checkpoint."""
    trust, seen = load_trust(options.dir), load_seen(options.dir)
    kind = ACCOUNTS if options.account is not None else HOTSPOTS
    wanted = _parse_wanted(options.account or options.hotspot, kind)
    if options.url is not None:
        found = _verify_online(options, trust, seen, kind, wanted)
        statement, proof = found.statement, found.proof
    else:
        proof = _read_proof(options.proof)
        statement = check(proof, trust)
        _check_seen(statement, seen, trust)
    _check_wanted(statement, kind, wanted)
    if options.save is not None:
        options.save.write_bytes(proof)
    value = statement_json(statement, len(proof))
    print_json(value) if options.json else print("\n".join(_lines(value, trust)), flush=True)
    return EXIT_OK


def _verify_online(
    options: argparse.Namespace, trust: Trust, seen: Note | None, kind: str, wanted: int | bytes
) -> Seen:
    """Verify against a log, and keep its checkpoint, or what contradicts the one kept."""
    client = LightClient(trust, Fetcher(options.url), seen)
    try:
        return keeping(options.dir, client, lambda: client.verify(kind, wanted))
    finally:
        client.fetcher.close()


def keeping(directory: Path, client: LightClient, ask: Callable[[], Answer]) -> Answer:
    """Ask something; keep the checkpoint behind the answer, or what contradicts the one kept."""
    try:
        answer = ask()
    except Conflict:
        if client.offered is not None:
            write_whole(directory / CONFLICT_FILE, client.offered.encode())
        raise
    if client.seen is not None:
        write_whole(directory / SEEN_FILE, client.seen.encode())
    return answer


def write_whole(file: Path, data: bytes) -> None:
    """Replace a file: a reader sees the old one or the new one, whole."""
    draft = file.with_name(f".{file.name}.draft")
    draft.write_bytes(data)
    draft.replace(file)


def _read_proof(file: Path) -> bytes:
    if file.stat().st_size > MAX_PROOF_BYTES:
        raise UserError("proof", f"{file} is no proof", "give a file that --save wrote")
    return file.read_bytes()


def _check_seen(statement: Statement, seen: Note | None, trust: Trust) -> None:
    """A proof on its own can only be compared with a checkpoint of its own size."""
    if seen is None:
        return
    old, new = _checkpoint_of(seen, trust), statement.opened.checkpoint
    if old.size == new.size and (old.root, old.balances) != (new.root, new.balances):
        problem = f"its checkpoint of size {new.size} contradicts the one seen before"
        raise _refuse("proof", problem, "keep both: the log has forked")


def _parse_wanted(text: str, kind: str) -> int | bytes:
    if kind == HOTSPOTS and text.isascii() and text.isdecimal() and len(text) < 11:
        return int(text)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        field = kind.removesuffix("s")
        raise UserError(field, f"{text!r} is no key", "give 64 hexadecimal digits")
    return key


def _check_wanted(statement: Statement, kind: str, wanted: int | bytes) -> None:
    own = statement.index if isinstance(wanted, int) else statement.entry.key
    if statement.kind != kind or own != wanted:
        shown = f"{statement.kind.removesuffix('s')} {statement.index} {statement.entry.key.hex()}"
        raise _refuse("proof", f"is about {shown}", "ask for your own")


def statement_json(statement: Statement, proof_bytes: int) -> dict[str, Any]:
    """What a proof showed, for people and programs."""
    entry, head, balances = statement.entry, statement.opened.checkpoint, statement.balances
    is_hotspot = statement.kind == HOTSPOTS
    amounts = (
        {"earned_ucr": entry.issued_ucr}
        if is_hotspot
        else {
            "issued_ucr": entry.issued_ucr,
            "spent_ucr": entry.spent_ucr,
            "balance_ucr": statement.balance_ucr,
        }
    )
    return {
        "verified": True,
        "kind": statement.kind.removesuffix("s"),
        "index": statement.index,
        "key": entry.key.hex(),
        **amounts,
        "settlement": balances.settlement,
        "supply_ucr": balances.supply_ucr,
        "origin": head.origin,
        "log_size": head.size,
        "cosigners": [
            {"name": c.key.name, "time_s": c.time_s} for c in statement.opened.cosignatures
        ],
        "proof_bytes": proof_bytes,
    }


def _lines(value: dict[str, Any], trust: Trust) -> list[str]:
    names = ", ".join(cosigner["name"] for cosigner in value["cosigners"]) or "nobody"
    if value["kind"] == "hotspot":
        amounts = f"earned {get_credits(value['earned_ucr'])} credits"
    else:
        told = (value["issued_ucr"], value["spent_ucr"], value["balance_ucr"])
        issued, spent, balance = map(get_credits, told)
        amounts = f"received {issued}, spent {spent}, holds {balance} credits"
    return [
        f"{value['kind']} {value['index']} {value['key']}",
        f"  {amounts} until settlement {value['settlement']}",
        f"  of a supply of {get_credits(value['supply_ucr'])} credits",
        f"verified: {value['origin']} at {value['log_size']} records, cosigned by {names} "
        f"({trust.threshold} of {len(trust.cosigners)} needed), {value['proof_bytes']} bytes",
    ]
