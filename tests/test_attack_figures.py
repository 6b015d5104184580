"""Figures, tables and the command line of the attack laboratory."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import UserError
from chain.rules.payments import Payment
from radio_sim import io_attack
from radio_sim.attacks.catalogue import NAMES
from radio_sim.attacks.figures import (
    Audit,
    compute_epochs_to_detect,
    compute_roc,
    compute_tpr_at,
    sum_pay_ucr,
)
from radio_sim.attacks.measure import Measured
from radio_sim.attacks.outcome import Outcome, get_worst
from radio_sim.attacks.report import LEAST_FPR, get_curve, make_table
from radio_sim.io_cli import main

# The list, by the names of the laboratory.
WANTED = {
    "static-fake", "move-after-assertion", "gps-spoof", "witness-ring", "sybil", "wormhole",
    "replay", "precomputed-beacon", "selective-witnessing", "withheld-witnessing",
    "forge-free-space", "forge-own-model", "power-boost", "gain-height-lie", "answer-first",
    "challenge-grinding", "last-revealer", "challenge-denial", "emulator", "key-clone",
    "receipt-copy", "wash-traffic", "traffic-ring", "inflated-one-sided", "inflated-collusive",
    "double-claim", "stale-receipt", "truncated-session", "junk-relay", "tampering",
    "malleability", "flood", "bribed-auditor",
}
scores = st.lists(st.floats(0, 100), min_size=1, max_size=40).map(np.array)


def test_every_attack_of_the_list_has_its_name_once() -> None:
    assert set(NAMES) >= WANTED
    assert len(set(NAMES)) == len(NAMES)


@given(honest=scores, liars=scores)
def test_a_roc_curve_rises_from_nothing_to_all(honest: np.ndarray, liars: np.ndarray) -> None:
    points = compute_roc(honest, liars)
    assert (points[0].fpr, points[0].tpr) == (0.0, 0.0)
    assert (points[-1].fpr, points[-1].tpr) == (1.0, 1.0)
    for before, after in pairwise(points):
        assert before.fpr <= after.fpr
        assert before.tpr <= after.tpr
    curve = get_curve(honest, liars)
    assert min(x for x, _ in curve) >= LEAST_FPR
    assert curve == sorted(curve)


@given(honest=scores, liars=scores, fpr=st.floats(0, 0.5))
def test_the_share_found_respects_the_false_positives(
    honest: np.ndarray, liars: np.ndarray, fpr: float
) -> None:
    found = compute_tpr_at(honest, liars, fpr)
    allowed = [p.tpr for p in compute_roc(honest, liars) if p.fpr <= fpr]
    assert found <= max(allowed) + 1e-12


def test_detection_takes_until_half_were_accused_once() -> None:
    liars = np.array([True, True, True, False])
    nobody = np.zeros(4, np.bool_)
    audits = [
        Audit(20, np.array([9.0, 0, 0, 9]), 5.0),
        Audit(40, np.array([0.0, 9, 0, 0]), 5.0),
    ]
    assert compute_epochs_to_detect(audits, liars, nobody) == 40
    assert compute_epochs_to_detect(audits[:1], liars, nobody) is None
    assert compute_epochs_to_detect(audits, nobody, nobody) is None
    assert compute_epochs_to_detect(audits, liars, liars) == 0


def test_only_pay_for_proofs_counts() -> None:
    payments = [
        Payment(1, "coverage", b"a", 0, 5, 10, b""),
        Payment(1, "relay", b"a", 0, 5, 99, b""),
        Payment(1, "mapper", b"a", -1, 5, 99, b""),
        Payment(2, "witness", b"b", 1, 5, 7, b""),
    ]
    assert sum_pay_ucr(payments, 2).tolist() == [10, 7]


def outcome(name: str, kind: str = "presence", **figures: float | None) -> Outcome:
    return Outcome(name, kind, "", 0.1, **figures)  # type: ignore[arg-type]


def test_the_worst_is_over_presence_attacks_alone() -> None:
    worst = get_worst(
        [
            outcome("good", tpr=1.0, leaked_share=0.0, epochs_to_detect=20),
            outcome("bad", tpr=0.2, leaked_share=0.3, epochs_to_detect=40),
            outcome("other", kind="radio", tpr=0.0, leaked_share=0.9),
        ]
    )
    assert worst["tpr"] == {"value": 0.2, "attack": "bad"}
    assert worst["leaked_share"] == {"value": 0.3, "attack": "bad"}
    assert worst["epochs_to_detect"] == {"value": 40, "attack": "bad"}


def test_never_found_is_the_worst_time() -> None:
    worst = get_worst([outcome("a", epochs_to_detect=20), outcome("b", epochs_to_detect=None)])
    assert worst["epochs_to_detect"] == {"value": None, "attack": "b"}


def test_the_table_names_all_and_dashes_what_has_no_meaning() -> None:
    lines = make_table([outcome("one", tpr=0.5), outcome("two", tpr=None)]).splitlines()
    assert lines[1].startswith("one")
    assert "50.0 %" in lines[1]
    assert "-" in lines[2]


def test_the_list_names_every_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", "list", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(NAMES)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["nonsense"], "NAME"),
        (["sybil", "--share", "0.7"], "--share"),
        (["sybil", "--hotspots", "3"], "--hotspots"),
        (["sybil", "--epochs", "1"], "--epochs"),
        (["replay", "--sweep"], "--sweep"),
        (["sybil", "--processes", "0"], "--processes"),
    ],
)
def test_bad_options_name_their_field(words: list[str], field: str) -> None:
    with pytest.raises(UserError) as error:
        main(["attack", *words])
    assert error.value.field == field


def test_a_run_writes_json_svg_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--hotspots", "40", "--epochs", "22", "--pool", "1", "--processes", "1", "--json"]
    assert main(["attack", "static-fake", *words, "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "attacks.json").read_text())
    assert printed["complete"] is True
    assert printed["pooled"]["hotspots"] == 40
    figures = printed["attacks"]["static-fake"]
    assert set(figures) >= {
        "tpr", "fpr", "epochs_to_detect", "leaked_share", "honest_loss", "attacker_return",
    }
    assert printed["worst"]["tpr"]["attack"] == "static-fake"
    assert "<svg" in (tmp_path / "attacks.html").read_text()
    assert (tmp_path / "attacks.svg").read_text().startswith("<svg")


def test_ctrl_c_writes_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = np.empty(0)

    def measure(task: tuple[str, object]) -> tuple[str, Measured]:
        if task[0] == "tampering":
            raise KeyboardInterrupt
        return task[0], Measured(outcome(task[0]), nobody, nobody)

    monkeypatch.setattr(io_attack, "_measure", measure)
    words = ["all", "--processes", "1", "--pool", "0", "--json", "--out", str(tmp_path)]
    assert main(["attack", *words]) == io_attack.INTERRUPTED
    document = json.loads((tmp_path / "attacks.json").read_text())
    assert document["complete"] is False
    assert "sybil" in document["attacks"]
    assert "tampering" not in document["attacks"]
    capsys.readouterr()


def test_a_sweep_draws_figures_over_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(task: tuple[str, object]) -> tuple[str, Measured]:
        share = task[1].share  # type: ignore[attr-defined]
        found = Outcome(task[0], "presence", "", share, tpr=1 - share, leaked_share=share)
        return task[0], Measured(found, np.zeros(3), np.ones(3))

    monkeypatch.setattr(io_attack, "_measure", measure)
    words = ["sybil", "--sweep", "--processes", "1", "--out", str(tmp_path), "--json"]
    assert main(["attack", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [o["share"] for o in document["sweep"]["sybil"]] == list(io_attack.SWEEP)
    assert (tmp_path / "attacks.svg").read_text().count("<polyline") >= 2
