"""From a real ledger's folder to scores, signed findings, and their re-derivation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from map_helpers import FIRST_EPOCH, Town

import wavecomb
from chain.draws import digest
from chain.io_ledger import DATABASE
from chain.keys import public_key
from chain.records import RECEPTION_BYTES, Reception
from chain.rules.verdicts import CODES, get_verdicts
from chain.wire import pack_reception, unpack_receptions
from coverage_map.audit.challenges import draw_challenge, find_circle
from coverage_map.audit.findings import (
    NO_PARTNER,
    AuditFinding,
    SignedFinding,
    from_json,
    get_command,
    is_signed,
    sign_finding,
    to_json,
)
from coverage_map.audit.io_cli import audit
from coverage_map.audit.io_read import open_ledger
from coverage_map.audit.scores import TESTS
from coverage_map.audit.table import NO_RSSI_CDBM, join_hearings

LIAR, SILENT, EPOCHS = 12, 7, 14
AUDITOR = b"a" * 32


class Liars(Town):
    """One hotspot makes its RSSI up, one driver gives none."""

    def report_of(self, witness: int, epoch: int) -> bytes:
        """What it says that it heard, with a street's shadowing, the same both ways."""
        changed = []
        for k, heard in enumerate(unpack_receptions(super().report_of(witness, epoch))):
            ends = sorted((witness, heard.heard))
            shadow_cdb = 100 * (digest("street", bytes(ends))[0] % 19 - 9)
            told = replace(heard, rssi_cdbm=heard.rssi_cdbm + shadow_cdb)
            if witness == LIAR:
                lot = digest("lie", b"%d:%d" % (epoch, k))[0]
                told = replace(heard, rssi_cdbm=-6_500 - 10 * lot)
            if witness == SILENT:
                told = replace(heard, rssi_cdbm=0, flags=1)
            changed.append(pack_reception(Reception(*_fields(told))))
        return b"".join(sorted(changed))


def _fields(reception: Reception) -> tuple[object, ...]:
    return tuple(getattr(reception, name) for name in Reception.__dataclass_fields__)


@pytest.fixture(scope="module")
def town() -> Iterator[Liars]:
    made = Liars(25, 1_790_000_000_000, preset="testbed")
    made.run_to(FIRST_EPOCH + EPOCHS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(town: Liars, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ledger")
    town.durable.store.connection.execute("VACUUM INTO ?", (str(directory / DATABASE),))
    return directory


def run(*words: object) -> int:
    return wavecomb.main(["map", "audit", *map(str, words)])


def test_hearings_are_what_the_rules_judged(town: Liars, folder: Path) -> None:
    with open_ledger(folder) as ledger:
        first, last = ledger.epochs()
        table = join_hearings(ledger.hearings(first, last))
        claims = ledger.claims(last)
    judged = 0
    for epoch in range(first, last + 1):
        judgement = town.ledger.verdicts(epoch)
        if judgement is None:
            continue  # older than what the ledger keeps at hand
        rows = np.flatnonzero(table.epoch == epoch)
        verdicts = list(get_verdicts(judgement))
        assert len(rows) == len(verdicts)
        order = np.lexsort((np.arange(len(rows)), table.witness[rows]))
        verdicts.sort(key=lambda verdict: verdict.witness)
        for row, verdict in zip(rows[order], verdicts, strict=True):
            judged += 1
            assert int(table.witness[row]) == verdict.witness
            assert int(table.beaconer[row]) == verdict.reception.heard
            assert int(table.code[row]) == CODES[verdict.reason]
            if verdict.full_power_rssi_cdbm is None:
                assert int(table.rssi_cdbm[row]) == NO_RSSI_CDBM
            else:
                full = int(table.rssi_cdbm[row]) + int(table.step_cdb[row])
                assert full == verdict.full_power_rssi_cdbm
    assert judged > 1_000
    assert [key.hex() for key in claims.keys] == [site.key.hex() for site in town.sites]
    assert claims.seed.sum() == 4
    assert set(claims.eirp_cdbm.tolist()) == {1_400, 1_700, 2_000}
    assert len(set(claims.owner.tolist())) == 25
    assert claims.first_epoch.tolist() == [2] * 25


def test_the_liar_comes_first_and_its_neighbours_are_spared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--ledger", folder, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["hotspots"] == 25
    assert answer["above"] == 1
    row = answer["rows"][0]
    # Levels that ignore the steps of power show in both: no slope, and no way back that fits.
    assert row["subject"] == LIAR
    assert row["test"] in ("slope", "reciprocity")
    assert row["margin"] < 0 < answer["rows"][1]["margin"]
    start = f"wavecomb map audit --ledger DIR --subject 12 --test {row['test']}"
    assert row["command"].startswith(start)


def test_one_subject_in_words_and_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--ledger", folder, "--subject", LIAR, "--test", "slope", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [test["test"] for test in answer["tests"]] == ["slope"]
    assert answer["tests"][0]["p_value"] < 1e-3
    assert run("--ledger", folder, "--subject", SILENT) == 0
    words = capsys.readouterr().out
    assert "abstains: it needs links with RSSI" in words
    assert len(words.splitlines()) == 1 + len(TESTS)


def write_finding(folder: Path, out: Path) -> Path:
    key = out / "auditor.key"
    key.write_bytes(AUDITOR)
    key.chmod(0o600)
    assert run("--ledger", folder, "--key", key, "--findings", out / "found", "--json") == 0
    (path,) = (out / "found").glob("*.json")
    return path


def test_findings_are_signed_and_derived_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_finding(folder, tmp_path)
    document = json.loads(path.read_text())
    finding = document["finding"]
    assert document["auditor"] == public_key(AUDITOR).hex()
    assert finding["score_milli"] > finding["threshold_milli"]
    assert finding["expiry_epoch"] > finding["last_epoch"]
    capsys.readouterr()
    assert run("--ledger", folder, "--verify", path) == 0
    assert capsys.readouterr().out == "confirmed\n"
    finding["nats_milli"] += 1
    path.write_text(json.dumps(document))
    assert run("--ledger", folder, "--verify", path) == 1
    said = capsys.readouterr().out
    assert "signature" in said
    assert "nats_milli" in said


def test_findings_come_out_the_same_when_the_ledger_went_on(
    town: Liars, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_finding(folder, tmp_path)
    for epoch in (FIRST_EPOCH + EPOCHS + 1, FIRST_EPOCH + EPOCHS + 2):
        town.run_epoch(epoch)
    later = tmp_path / "later"
    later.mkdir()
    town.durable.store.connection.execute("VACUUM INTO ?", (str(later / DATABASE),))
    capsys.readouterr()
    assert run("--ledger", later, "--verify", path) == 0
    assert capsys.readouterr().out == "confirmed\n"


def test_findings_read_back_or_are_refused(folder: Path, tmp_path: Path) -> None:
    document = json.loads(write_finding(folder, tmp_path).read_text())
    signed = from_json(document)
    assert isinstance(signed, SignedFinding)
    assert to_json(signed) == document
    with open_ledger(folder) as ledger:
        network_id = ledger.state.network_id
    assert is_signed(signed, network_id)
    assert not is_signed(signed, bytes(32))
    other = sign_finding(signed.finding, network_id, b"b" * 32)
    assert not is_signed(replace(other, auditor=signed.auditor), network_id)
    for name in AuditFinding.__dataclass_fields__:
        broken = {**document, "finding": {**document["finding"], name: None}}
        assert not isinstance(from_json(broken), SignedFinding), name
    assert get_command(signed.finding) == document["command"]
    assert signed.finding.partner == NO_PARTNER


def test_challenges_are_drawn_by_public_randomness(folder: Path) -> None:
    network = audit(folder, None, None, quiet=True).scores.network
    one = draw_challenge(network, LIAR, b"R" * 32)
    assert one == draw_challenge(network, LIAR, b"R" * 32)
    chosen = {draw_challenge(network, LIAR, bytes([k]) * 32) for k in range(12)}
    assert len(chosen) > 6
    for challenge in chosen:
        asked = [*challenge.random, *challenge.far]
        assert len(set(asked)) == len(asked) <= 8
        assert LIAR not in asked
        assert not set(challenge.far) & set(find_circle(network, LIAR).tolist())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--epochs", "5"], "--epochs"),
        (["--epochs", "1-99999"], "--epochs"),
        (["--subject", "25"], "--subject"),
        (["--test", "slope"], "--test"),
        (["--key", "x"], "--key"),
    ],
)
def test_bad_input_is_one_clear_line(
    folder: Path, words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--ledger", folder, *words, "--json") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert named in said


def test_no_ledger_and_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--ledger", tmp_path) == 2
    assert "chain init" in capsys.readouterr().err
    (tmp_path / "x.json").write_text("{}")
    assert run("--ledger", tmp_path, "--verify", tmp_path / "x.json") == 2
    assert "is no audit finding" in capsys.readouterr().err


def test_reports_have_the_size_that_the_reader_expects() -> None:
    from coverage_map.audit.io_read import RECEPTION

    assert RECEPTION.itemsize == RECEPTION_BYTES
