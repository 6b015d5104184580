from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from chain_helpers import OPERATOR, Town
from conftest import ROOT
from proofs_helpers import COSIGNER_KEYS, COSIGNER_NAMES, COSIGNER_SEEDS, TIME_S

import wavecomb
from chain.cli.io_export import Exported, export
from chain.cli.io_light import CONFLICT_FILE, SEEN_FILE, TRUST_FILE, LightClient, load_trust
from chain.errors import UserError
from chain.io_terminal import get_credits
from chain.keys import public_key
from chain.proofs.balances import ACCOUNTS, HOTSPOTS
from chain.proofs.checkpoint import Checkpoint, Trust, origin_of, parse_checkpoint
from chain.proofs.io_fetch import Fetcher, Unreachable
from chain.proofs.io_site import CHECKPOINT, Site
from chain.proofs.note import ED25519, Note, VerifierKey, cosign_note, parse_note, sign_note
from chain.proofs.tiles import TileLog
from chain.proofs.trust_file import parse_trust, trust_json
from chain.records import Refusal
from chain.store.io_store import Store


class Published:
    """A ledger's folder with its newest close signed and cosigned, as the service leaves it."""

    def __init__(self, folder: Path, hotspots: int = 9) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.store = Store.create(str(folder / "ledger.db"))
        self.town = Town(hotspots, on_block=lambda sealed: self.store.append([sealed]))
        self.town.join()
        origin = origin_of(self.town.network_id)
        log = VerifierKey(origin, ED25519, public_key(OPERATOR))
        self.trust = Trust(origin, (log,), COSIGNER_KEYS, 3)
        self.epoch = 1
        self.site = Site(folder)

    def run(self, last: int, cosigners: int = 3) -> Checkpoint:
        """Honest epochs until `last`, then the checkpoint of its close."""
        self.town.run(self.epoch + 1, last)
        self.epoch = last
        closes = self.town.ledger.state.closes
        note = self.sign(closes[max(closes)].text, cosigners)
        (self.folder / CHECKPOINT).write_bytes(note.encode())
        checkpoint = parse_checkpoint(note.text)
        assert isinstance(checkpoint, Checkpoint)
        return checkpoint

    def sign(self, text: str, cosigners: int = 3) -> Note:
        lines = [sign_note(text, self.trust.origin, OPERATOR)]
        for name, seed in list(zip(COSIGNER_NAMES, COSIGNER_SEEDS, strict=True))[:cosigners]:
            lines.append(cosign_note(text, name, seed, TIME_S))
        return Note(text, tuple(lines))

    def close(self) -> None:
        self.site.close()
        self.store.close()


@pytest.fixture
def ledger(tmp_path: Path):  # type: ignore[no-untyped-def]
    published = Published(tmp_path / "ledger")
    yield published
    published.close()


def light(ledger: Published, folder: Path, seen: Note | None = None) -> LightClient:
    return LightClient(ledger.trust, Fetcher(str(folder)), seen)


# --- export ---------------------------------------------------------------------------------------


def test_an_export_holds_the_whole_log_and_grows_with_it(
    ledger: Published, tmp_path: Path
) -> None:
    out = tmp_path / "site"
    with pytest.raises(UserError, match="no checkpoint"):
        export(ledger.site, out)
    first = ledger.run(8)
    done = export(ledger.site, out)
    assert (done.old_size, done.size, done.settlement) == (0, first.size, 1)
    assert export(ledger.site, out) == Exported(first.size, first.size, 1, 0, 0, 0)
    second = ledger.run(14)
    assert second.size > 96
    done = export(ledger.site, out)
    assert (done.old_size, done.size, done.settlement) == (first.size, second.size, 2)
    log = TileLog(second.size, Fetcher(str(out)).get)
    assert log.root() == second.root
    names = {path.name for path in (out / "balances").iterdir()}
    assert names == {"1", "2"}
    for file in out.rglob("*"):
        path = file.relative_to(out).as_posix()
        if file.is_file() and not path.startswith(("balances/1/", "tile/0/000.p/")):
            assert file.read_bytes() == ledger.site.read(path)


def test_an_interrupted_export_goes_on(ledger: Published, tmp_path: Path) -> None:
    ledger.run(8)
    whole, out = tmp_path / "whole", tmp_path / "site"
    export(ledger.site, whole)

    class Killed(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == total // 2:
            raise Killed

    with pytest.raises(Killed):
        export(ledger.site, out, stop)
    assert not (out / CHECKPOINT).exists()
    assert export(ledger.site, out).kept > 0
    files = [sorted(p.relative_to(f) for p in f.rglob("*")) for f in (whole, out)]
    assert files[0] == files[1]


def test_an_export_refuses_what_is_not_its_own(ledger: Published, tmp_path: Path) -> None:
    ledger.run(8)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    with pytest.raises(UserError, match="something else"):
        export(ledger.site, tmp_path / "full")
    export(ledger.site, tmp_path / "site")
    text = (tmp_path / "site" / CHECKPOINT).read_text()
    lines = text.split("\n")
    lines[2] = "A" * 43 + "="
    (tmp_path / "site" / CHECKPOINT).write_text("\n".join(lines))
    with pytest.raises(UserError, match="not those of this ledger"):
        export(ledger.site, tmp_path / "site")
    (tmp_path / "site" / CHECKPOINT).write_text(text.replace(lines[0], "other.example"))
    with pytest.raises(UserError, match="other"):
        export(ledger.site, tmp_path / "site")


@pytest.mark.parametrize(
    "path",
    [
        *("", "tile", "tile/0/001", "tile/1/000.p/1", "tile/0/000.p/255", "../ledger.db"),
        *("balances/1/keys/0", "balances/9/top", "balances/x/keys/0", "balances/1/keys/../top"),
        *("balances/1/keys/g", "balances/1/keys/", "balances//top", "tile/entries/000.p/0"),
    ],
)
def test_a_site_has_no_other_paths(ledger: Published, path: str) -> None:
    ledger.run(8)
    assert ledger.site.read(path) is None or path == "balances/1/keys/0"


# --- the light client -----------------------------------------------------------------------------


def test_everybody_verifies_their_own_reward(ledger: Published, tmp_path: Path) -> None:
    ledger.run(14)
    export(ledger.site, tmp_path / "site")
    state = ledger.town.ledger.state
    client = light(ledger, tmp_path / "site")
    earned = []
    for hotspot in state.hotspots:
        for wanted in (hotspot.index, hotspot.key):
            shown = client.verify(HOTSPOTS, wanted).statement
            assert (shown.index, shown.entry.key) == (hotspot.index, hotspot.key)
        earned.append(shown.entry.issued_ucr)
        account = client.verify(ACCOUNTS, hotspot.owner).statement
        assert account.balance_ucr == state.balance(hotspot.owner)
    assert earned == [hotspot.earned_ucr for hotspot in state.hotspots]
    assert max(earned) > 0
    supply = state.supply
    left = supply.destroyed + supply.withdrawn
    assert account.balances.supply_ucr == supply.deposited + supply.minted - left


def test_strangers_and_first_days_are_told_so(ledger: Published, tmp_path: Path) -> None:
    ledger.run(3)
    export(ledger.site, tmp_path / "site")
    with pytest.raises(UserError, match="settlement: none"):
        light(ledger, tmp_path / "site").verify(HOTSPOTS, 0)
    ledger.run(8)
    export(ledger.site, tmp_path / "site")
    for wanted in (9, bytes(32)):
        with pytest.raises(UserError, match="hotspots"):
            light(ledger, tmp_path / "site").verify(HOTSPOTS, wanted)
    with pytest.raises(UserError, match="no checkpoint"):
        light(ledger, tmp_path / "nowhere").verify(HOTSPOTS, 0)
    with pytest.raises(Unreachable):
        LightClient(ledger.trust, Fetcher("http://127.0.0.1:9")).verify(HOTSPOTS, 0)


def test_it_never_goes_behind_what_it_saw(ledger: Published, tmp_path: Path) -> None:
    ledger.run(8)
    export(ledger.site, tmp_path / "old")
    seen = light(ledger, tmp_path / "old").verify(HOTSPOTS, 1).note
    ledger.run(14)
    export(ledger.site, tmp_path / "new")
    client = light(ledger, tmp_path / "new", seen)
    newer = client.verify(HOTSPOTS, 1).note
    assert client.seen == newer
    assert client.verify(HOTSPOTS, 1).note == newer
    with pytest.raises(UserError, match="behind"):
        light(ledger, tmp_path / "old", newer).verify(HOTSPOTS, 1)


def test_another_history_by_the_same_keys_is_a_conflict(tmp_path: Path) -> None:
    notes = {}
    for name in ("one", "two"):
        ledger = Published(tmp_path / name)
        if name == "two":
            ledger.town.submit(ledger.town.deposit(1, 77, b"forked"))
        ledger.run(8)
        export(ledger.site, tmp_path / f"site-{name}")
        notes[name] = light(ledger, tmp_path / f"site-{name}").verify(HOTSPOTS, 1).note
        ledger.run(14)
        export(ledger.site, tmp_path / f"site-{name}")
        ledger.close()
    for seen, site in (("one", "two"), ("two", "one")):
        with pytest.raises(UserError, match="does not extend"):
            light(ledger, tmp_path / f"site-{site}", notes[seen]).verify(HOTSPOTS, 1)
        light(ledger, tmp_path / f"site-{seen}", notes[seen]).verify(HOTSPOTS, 1)


def test_no_spoilt_file_of_a_host_shows_anything_wrong(ledger: Published, tmp_path: Path) -> None:
    ledger.run(8)
    site = tmp_path / "site"
    export(ledger.site, site)
    client = light(ledger, site)
    shown = client.verify(HOTSPOTS, 3)
    seen = shown.note
    ledger.run(14)
    export(ledger.site, site)
    for path in ("checkpoint", "balances/2/top", "balances/2/hotspots/0/000"):
        good = (site / path).read_bytes()
        for at in range(0, len(good), 7):
            bad = bytearray(good)
            bad[at] ^= 1
            (site / path).write_bytes(bad)
            try:
                found = light(ledger, site, seen).verify(HOTSPOTS, 3).statement
            except UserError:
                continue
            assert found.entry.key == shown.statement.entry.key
            assert found.entry.issued_ucr == ledger.town.ledger.state.hotspots[3].earned_ucr
        (site / path).write_bytes(good)


# --- the command ----------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        code = wavecomb.main(["chain", *map(str, words)])
    except SystemExit as left:
        code = int(left.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def trusting(ledger: Published, tmp_path: Path) -> Path:
    folder = tmp_path / "trust"
    folder.mkdir()
    (folder / TRUST_FILE).write_text(json.dumps(trust_json(ledger.trust)))
    assert load_trust(folder) == ledger.trust
    return folder


def test_the_command_verifies_saves_and_verifies_offline(
    ledger: Published, trusting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.run(8)
    site, file = tmp_path / "site", tmp_path / "my.proof"
    assert run(capsys, "export", "--dir", ledger.folder, site)[0] == 0
    hotspot = ledger.town.ledger.state.hotspots[4]
    words = ("light", "--dir", trusting, "--hotspot", 4)
    code, out, _ = run(capsys, *words, "--url", site, "--save", file, "--json")
    value = json.loads(out)
    assert code == 0
    assert (value["key"], value["earned_ucr"]) == (hotspot.key.hex(), hotspot.earned_ucr)
    assert value["proof_bytes"] == file.stat().st_size < 1_100
    assert [c["name"] for c in value["cosigners"]] == list(COSIGNER_NAMES[:3])
    assert isinstance(parse_note((trusting / SEEN_FILE).read_bytes()), Note)
    code, out, _ = run(capsys, *words, "--proof", file, "--json")
    assert (code, json.loads(out)) == (0, value)
    code, out, _ = run(capsys, *words, "--proof", file)
    assert f"earned {get_credits(hotspot.earned_ucr)} credits" in out
    code, out, _ = run(capsys, "light", "--dir", trusting, "--account", hotspot.owner.hex(),
                       "--url", site)  # fmt: skip
    assert (code, "holds" in out) == (0, True)
    code, _, err = run(capsys, "light", "--dir", trusting, "--hotspot", 5, "--proof", file)
    assert (code, err.count("\n"), "is about hotspot 4" in err) == (1, 1, True)


def test_the_command_says_in_one_line_what_it_does_not_believe(
    ledger: Published, trusting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.run(8)
    site, file = tmp_path / "site", tmp_path / "my.proof"
    export(ledger.site, site)
    words = ("light", "--dir", trusting, "--hotspot", 4)
    assert run(capsys, *words, "--url", site, "--save", file)[0] == 0
    file.write_bytes(file.read_bytes()[:-1])
    for code, line in (
        (1, run(capsys, *words, "--proof", file)),
        (2, run(capsys, "light", "--dir", tmp_path, "--hotspot", 4, "--url", site)),
        (2, run(capsys, "light", "--dir", trusting, "--hotspot", "x", "--url", site)),
        (2, run(capsys, *words, "--url", "ftp://x")),
        (2, run(capsys, *words)),
    ):
        assert (line[0], line[1], line[2].count("\n")) == (code, "", 1), line
    few = replace(ledger.trust, threshold=4)
    (trusting / TRUST_FILE).write_text(json.dumps(trust_json(few)))
    code, _, err = run(capsys, *words, "--url", site)
    assert (code, "3 of 4" in err) == (1, True)


def test_the_command_keeps_what_contradicts_the_log(
    ledger: Published, trusting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    first = ledger.run(8)
    export(ledger.site, site)
    words = ("light", "--dir", trusting, "--hotspot", 4, "--url", site)
    assert run(capsys, *words)[0] == 0
    assert first.balances is not None
    lie = replace(first, balances=replace(first.balances, issued_ucr=first.balances.issued_ucr + 1))
    (site / CHECKPOINT).write_bytes(ledger.sign(lie.text).encode())
    code, _, err = run(capsys, *words)
    assert (code, "other balances" in err) == (1, True)
    assert (trusting / CONFLICT_FILE).read_bytes() == (site / CHECKPOINT).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 6},
        {"threshold": True},
        {"threshold": -1},
        {"log": []},
        {"log": "x"},
        {"cosigners": ["x"]},
        {"origin": 3},
        {"extra": 1},
        {"cosigners": [str(COSIGNER_KEYS[0])] * 2},
        {"log": [str(COSIGNER_KEYS[0])]},
    ],
)
def test_trust_of_another_form_is_refused(ledger: Published, change: dict[str, object]) -> None:
    good = trust_json(ledger.trust)
    assert parse_trust(good) == ledger.trust
    assert isinstance(parse_trust({**good, **change}), Refusal)


ONLY_CORE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
sys.meta_path.insert(0, Blocker())
ALLOWED = {"chain", "nacl", "cffi", "_cffi_backend", "pycparser"}
from chain.cli.io_cli import main
from chain.io_terminal import get_credits
for command in ("light", "export", "witness"):
    try:
        main([command, "--help"])
    except SystemExit as left:
        assert left.code == 0
"""


def test_light_export_and_witness_need_pynacl_alone() -> None:
    done = subprocess.run([sys.executable, "-c", ONLY_CORE], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"examples:") == 3


def test_the_commands_verify_checkpoints_and_records(
    ledger: Published, trusting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = ledger.run(8)
    site, proof, wire = tmp_path / "site", tmp_path / "p.tlog-proof", tmp_path / "record"
    export(ledger.site, site)
    code, out, _ = run(capsys, "checkpoint", "--dir", trusting, "--url", site, "--json")
    assert code == 0
    assert json.loads(out)["log_size"] == head.size
    assert (trusting / SEEN_FILE).read_bytes() == (site / CHECKPOINT).read_bytes()
    assert "verified" in run(capsys, "checkpoint", "--dir", trusting, "--url", site)[1]
    words = ("record", "--dir", trusting)
    for number, kind in ((0, "genesis"), (1, "deposit"), (10, "registration"), (19, "epoch")):
        keep = ("--save", proof, "--wire", wire, "--json")
        found = run(capsys, *words, number, "--url", site, *keep)
        value = json.loads(found[1])
        assert (found[0], value["kind"]) == (0, kind)
        again = run(capsys, *words, "--proof", proof, "--wire", wire, "--json")
        assert json.loads(again[1]) == value
    code, _, err = run(capsys, *words, 18, "--proof", proof, "--wire", wire)
    assert (code, "is about record 19" in err) == (1, True)
    wire.write_bytes(wire.read_bytes()[:-1] + b"x")
    assert run(capsys, *words, "--proof", proof, "--wire", wire)[0] == 1
    for refused in (
        run(capsys, *words, head.size, "--url", site),
        run(capsys, *words, "--url", site),
        run(capsys, *words, "--proof", proof),
    ):
        assert (refused[0] > 0, refused[2].count("\n")) == (True, 1)
