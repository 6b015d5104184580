"""The owner's verbs beside a hotspot that runs: text, JSON, exit codes, bundles without secrets."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors_helpers import Done, check_clear, run
from hypothesis import given
from hypothesis import strategies as st
from owner_helpers import Running, running_hotspot
from test_owner_page import sample_status

from chain.errors import UserError
from hotspot.config import HotspotConfig, HotspotSection, LedgerSection, RadioSection, parse_config
from hotspot.doctor import (
    BAD,
    DOUBT,
    GOOD,
    judge_clock,
    judge_daemon,
    judge_disk,
    judge_radio,
    judge_views,
)
from hotspot.radio.probe import RadioTest
from hotspot.uci import format_uci, uci_to_toml

CELL = "891e35a3393ffff"


@pytest.fixture(scope="module")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_hotspot(tmp_path_factory.mktemp("owner")) as running:
        yield running


def ask(spot: Running, verb: str, *rest: object) -> Done:
    return run("hotspot", verb, "--config", spot.config, *rest, cwd=spot.folder)


def test_info_names_the_public_keys_and_never_a_seed(spot: Running) -> None:
    done = ask(spot, "info", "--json")
    said = json.loads(done.out)
    assert done.code == 0
    assert said["key"] == spot.status()["key"]
    assert (spot.folder / "hotspot.key").read_text().strip() not in done.out
    assert "frequency_mhz" in ask(spot, "info").out


def test_a_second_daemon_with_the_same_key_is_refused(spot: Running) -> None:
    done = ask(spot, "run")
    assert done.code == 1
    assert "another daemon" in done.err
    assert ask(spot, "status").code == 0, "the first goes on"


def test_top_prints_as_often_as_it_is_told(spot: Running) -> None:
    done = ask(spot, "top", "--json", "--count", 2, "--every", 0.05)
    documents = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, len(documents)) == (0, 2)
    assert all(document["age_s"] <= 15 for document in documents)
    assert "neighbour" in ask(spot, "top", "--count", 1).out


def test_status_neighbours_and_metrics(spot: Running) -> None:
    status = ask(spot, "status", "--json")
    assert status.code == 0, status
    assert json.loads(status.out)["state"]["name"] in ("LISTEN", "BEACON")
    alone = ask(spot, "neighbours", "--json")
    assert (alone.code, json.loads(alone.out)["neighbours"]) == (1, [])
    numbers = json.loads(ask(spot, "metrics", "--json").out)
    assert numbers["wavecomb_hotspot_status_age_seconds"] <= 15
    assert "# TYPE wavecomb_hotspot_epoch gauge" in ask(spot, "metrics").out


def test_earnings_come_from_the_ledger_with_their_age(spot: Running) -> None:
    said = json.loads(ask(spot, "earnings", "--json").out)
    assert said["age_s"] == 0
    assert said["why"]["kind"] == "hotspot"
    assert "credits" in ask(spot, "earnings").out


def test_the_doctor_compares_both_views(spot: Running) -> None:
    done = ask(spot, "doctor", "--json", "--radio")
    found = {row["name"]: row for row in json.loads(done.out)["findings"]}
    assert found["ledger"]["verdict"] == "good"
    assert {"daemon", "disk", "clock", "views", "radio"} <= set(found)
    assert found["radio"]["verdict"] == "doubt", "a replay gives no echo"
    assert done.code == (1 if any(row["verdict"] == "bad" for row in found.values()) else 0)


def test_beacon_says_what_came_back(spot: Running) -> None:
    done = ask(spot, "beacon", "--json", "--count", 2)
    nothing = {"echoed": 0, "confirmed": 0, "peers": []}
    assert json.loads(done.out) == {"sent": 2, "refused": 0, **nothing}


def test_a_bundle_holds_no_secret(spot: Running, tmp_path: Path) -> None:
    out = tmp_path / "b.tar.gz"
    assert ask(spot, "bundle", "--out", out).code == 0
    seeds = [(spot.folder / name).read_text().strip() for name in ("hotspot.key", "owner.key")]
    with tarfile.open(out) as archive:
        names = archive.getnames()
        text = "".join(archive.extractfile(name).read().decode() for name in names)  # type: ignore[union-attr]
    assert len(names) == 6
    assert not any(seed in text for seed in seeds)
    assert '"frequency_mhz": 2437' in text


def test_verbs_without_a_daemon_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "hotspot.toml").write_text(f'[hotspot]\ncell = "{CELL}"\n')
    for verb in ("top", "neighbours", "metrics"):
        check_clear(run("hotspot", verb, cwd=tmp_path), "status_file", "hotspot run")


# --- the doctor's judgement -----------------------------------------------------------------------


def test_daemons_that_are_away_stale_stopped_or_faulty_are_bad() -> None:
    status = sample_status()
    assert judge_daemon(None, None)[0].verdict == BAD
    assert judge_daemon(status, 60)[0].verdict == BAD
    assert judge_daemon({**status, "stopped": "radio: gone"}, 1)[0].verdict == BAD
    fresh = {finding.name: finding.verdict for finding in judge_daemon(status, 1)}
    assert fresh == {"daemon": GOOD, "LEDGER_DOWN": BAD, "queue": DOUBT}


def test_content_here_but_unknown_there_is_bad() -> None:
    assert judge_views(None, 100, 99, {"beacons": {"paid": 2}}).verdict == GOOD
    assert judge_views(sample_status(), 100, 90, {}).verdict == BAD
    unheard = {"beacons": {"unheard": 4}}
    assert judge_views(None, 100, 99, unheard).verdict == BAD
    close = judge_views(None, 100, 99, {**unheard, "receptions": {"too_close": 12}})
    assert (close.verdict, "12 too_close" in close.seen) == (DOUBT, True)
    assert judge_views(None, 100, None, {}).verdict == DOUBT


def test_radio_disk_and_clock() -> None:
    tests = [RadioTest(3, *row) for row in ((3, 0, 3), (3, 0, 1), (1, 2, 1))]
    verdicts = [judge_radio(test).verdict for test in tests]
    assert verdicts == [GOOD, DOUBT, BAD]
    assert [judge_disk(mib).verdict for mib in (10, 1_000)] == [BAD, GOOD]
    clocks = [judge_clock(*row).verdict for row in ((True, 0), (False, 1), (True, 40))]
    assert clocks == [GOOD, DOUBT, BAD]


# --- OpenWrt and systemd --------------------------------------------------------------------------

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20)


@given(TEXT, TEXT, st.integers(-90_000_000, 90_000_000), st.booleans())
def test_settings_survive_uci_and_back(
    interface: str, file: str, latitude_udeg: int, power: bool
) -> None:
    config = HotspotConfig(
        HotspotSection(cell=CELL, latitude_udeg=latitude_udeg, status_file=file),
        RadioSection(interface=interface, can_set_power=power),
        LedgerSection(),
    )
    assert parse_config(uci_to_toml(format_uci(config), "uci"), "uci") == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config hotspot\n\toption cell 'x", "uci:2"),
        ("option cell x", "uci:1"),
        ("config camera", "no section"),
        ("config radio\noption colour red", "no option"),
        ("config radio\noption frequency_mhz many", "whole number"),
        ("config radio\noption can_set_power perhaps", "neither true nor false"),
        ("config radio\nlist interface a", "no option of a section"),
    ],
)
def test_uci_files_that_say_something_else_are_named_by_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        uci_to_toml(text, "uci")


def test_uci_is_imported_as_openwrt_writes_it(tmp_path: Path) -> None:
    uci = tmp_path / "wavecomb"
    uci.write_text(
        f"package wavecomb\n\nconfig hotspot 'main'\n\toption enabled '1'\n\toption cell {CELL}\n"
        "config radio\n\toption interface \"phy0-mon0\" # a comment\n\toption can_set_power 'on'\n"
    )
    config = tmp_path / "hotspot.toml"
    argv = ("hotspot", "config", "import-uci", "--uci", uci, "--config", config)
    assert run(*argv).code == 0
    check_clear(run(*argv), "--force")
    assert run(*argv, "--force", "--json").code == 0
    shown = json.loads(run("hotspot", "config", "show", "--config", config, "--json").out)
    assert shown["radio"]["interface"] == "phy0-mon0"
    assert shown["radio"]["can_set_power"] is True
    back = run("hotspot", "config", "export-uci", "--config", config).out
    assert "option interface 'phy0-mon0'" in back
