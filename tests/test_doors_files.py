"""Keys, settings, databases, ports, models and the command line: each mistake is one line."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from doors_helpers import (
    Nursery,
    busy_port,
    check_clear,
    first_json,
    ledger_service,
    make_ledger,
    run,
    started,
    wait_for,
)

import wavecomb
from chain.io_ports import free_ports
from hotspot.config import SAMPLE, HotspotSection, LedgerSection, RadioSection
from hotspot.gateway.config import SAMPLE as GATEWAY_SAMPLE

CELL = "8a1fb46622dffff"
SPOT = f'[hotspot]\ncell = "{CELL}"\n[ledger]\nurl = "unix:{{folder}}/away.sock"\n'
GATEWAY = '[ledger]\nurl = "unix:{folder}/away.sock"\n[gateway]\nlisten = "127.0.0.1:0"\n'
OWNERS = ("chain.cli.io_cli", "coverage_map.io_cli", "hotspot.io_verbs", "hotspot.gateway.io_main")
HERE = ("hotspot.io_daemon", "routing.io_cli", "radio_sim.io_demo")


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("said"), *OWNERS, *HERE)
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger's folder, not running."""
    return make_ledger(tmp_path_factory.mktemp("town"))


@pytest.fixture
def spot(tmp_path: Path) -> Path:
    """A folder with settings of a daemon and a gateway, whose ledger is away, and their keys."""
    (tmp_path / "hotspot.toml").write_text(SPOT.format(folder=tmp_path))
    (tmp_path / "gateway.toml").write_text(GATEWAY.format(folder=tmp_path))
    for name in ("hotspot.key", "owner.key", "operator.key"):
        (tmp_path / name).write_text("ab" * 32)
        (tmp_path / name).chmod(0o600)
    return tmp_path


RUN = ("hotspot", "run", "--config", "hotspot.toml")
GATE = ("hotspot", "gateway", "--config", "gateway.toml")
PAY = ("chain", "deposit", "--dir", ".", "--account", "ab" * 32, "--amount-ucr", "5")


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "key"),
    [(RUN, "hotspot.key"), (RUN, "owner.key"), (GATE, "hotspot.key"), (PAY, "operator.key")],
)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_may_read_is_not_used(
    nursery: Nursery, spot: Path, argv: tuple[str, ...], key: str, mode: int
) -> None:
    (spot / key).chmod(mode)
    check_clear(nursery.run(*argv, cwd=spot), f"mode {mode:04o}", "chmod 600", key)


@pytest.mark.parametrize(
    ("argv", "key"), [(RUN, "hotspot.key"), (GATE, "hotspot.key"), (PAY, "operator.key")]
)
@pytest.mark.parametrize("content", ["", "abc", "zz" * 32])
def test_a_file_that_holds_no_key_is_not_replaced(
    nursery: Nursery, spot: Path, argv: tuple[str, ...], key: str, content: str
) -> None:
    (spot / key).write_text(content)
    check_clear(nursery.run(*argv, cwd=spot), key, "hexadecimal")
    assert (spot / key).read_text() == content


def test_the_gateways_bearer_keys_stay_private_too(nursery: Nursery, ledger: Path) -> None:
    place = ledger.parent / "open-gateway"
    place.mkdir()
    with ledger_service(ledger) as (url, _):
        (place / "gateway.toml").write_text(
            f'[ledger]\nurl = "{url}"\n[gateway]\nlisten = "127.0.0.1:0"\n'
        )
        (place / "gateway.key").write_text("wvc-secret\n")
        (place / "gateway.key").chmod(0o644)
        check_clear(nursery.run(*GATE, cwd=place), "gateway.api_key_file", "chmod 600")


# --- settings -----------------------------------------------------------------------------------

BAD_SETTINGS = {
    "no TOML": (b"[hotspot\n", "not valid TOML"),
    "unknown section": (b"[hotpsot]\n", "[hotpsot]"),
    "unknown key": (b"[hotspot]\ncolour = 3\n", "hotspot.colour"),
    "wrong type": (b"[ledger]\nurl = 3\n", "ledger.url"),
    "section as a value": (b"ledger = 3\n", "[ledger]"),
    "list of sections": (b"[[ledger]]\nurl = 'unix:x'\n", "[ledger]"),
    "binary": (b"\x00\xff\xfe" * 40, "UTF-8"),
    "address of nothing": (b"[ledger]\nurl = 'ftp://x'\n", "ledger.url"),
    "address without a port": (b"[ledger]\nurl = 'http://x'\n", "ledger"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
@pytest.mark.parametrize("argv", [RUN, GATE], ids=["run", "gateway"])
def test_bad_settings_are_named(
    nursery: Nursery, spot: Path, argv: tuple[str, ...], case: str
) -> None:
    content, words = BAD_SETTINGS[case]
    cell = f'cell = "{CELL}"\n'.encode()
    if argv == RUN and b"[hotspot]" not in content:
        content += b"\n[hotspot]\n" + cell
    (spot / argv[-1]).write_bytes(content)
    check_clear(nursery.run(*argv, cwd=spot), words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f'cell = "{CELL}"', 'cell = "xyz"', "hotspot.cell"),
        (f'cell = "{CELL}"', 'cell = "ffffffffffffffff"', "hotspot.cell"),
        (f'cell = "{CELL}"', 'cell = "85283473fffffff"', "hotspot.cell"),
        ("[ledger]", "chain_length = 0\n[ledger]", "hotspot.chain_length"),
        ("[ledger]", "latitude_udeg = 99000000\n[ledger]", "hotspot.latitude_udeg"),
        ("[ledger]", "longitude_udeg = 999000000\n[ledger]", "hotspot.longitude_udeg"),
        ("[ledger]", "height_m = -3\n[ledger]", "hotspot.height_m"),
        ("[ledger]", "gain_cdb = 99999999\n[ledger]", "hotspot.gain_cdb"),
        ("[ledger]", "eirp_cdbm = 99999\n[ledger]", "hotspot.eirp_cdbm"),
        ("[ledger]", '[radio]\nkind = "crystal"\n[ledger]', "radio.kind"),
        ("[ledger]", "[radio]\nfrequency_mhz = 0\n[ledger]", "radio.frequency_mhz"),
        ("[ledger]", "[radio]\nfrequency_mhz = 70000\n[ledger]", "radio.frequency_mhz"),
    ],
)
def test_values_that_no_hotspot_has_are_named(
    nursery: Nursery, spot: Path, old: str, new: str, words: str
) -> None:
    text = (spot / "hotspot.toml").read_text()
    (spot / "hotspot.toml").write_text(text.replace(old, new))
    check_clear(nursery.run("hotspot", "config", "check", cwd=spot), words)


@pytest.mark.parametrize("verb", ["run", "status", "key", "queue", "gateway"])
def test_settings_that_are_not_there_are_named(
    nursery: Nursery, tmp_path: Path, verb: str
) -> None:
    check_clear(
        nursery.run("hotspot", verb, "--config", "absent.toml", cwd=tmp_path),
        "absent.toml",
        "No such file",
    )
    assert list(tmp_path.iterdir()) == []


def test_samples_are_accepted(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "hotspot.toml").write_text(SAMPLE.replace('cell = ""', f'cell = "{CELL}"'))
    done = nursery.run("hotspot", "config", "check", "--json", cwd=tmp_path)
    assert json.loads(done.out)["good"] is True
    assert nursery.run("hotspot", "config", "sample", cwd=tmp_path).out == SAMPLE
    assert nursery.run("hotspot", "gateway", "--sample", cwd=tmp_path).out == GATEWAY_SAMPLE


@pytest.mark.parametrize("section", [HotspotSection, RadioSection, LedgerSection])
def test_the_sample_shows_every_key_of_the_daemon(section: type) -> None:
    name = section.__name__.removesuffix("Section").lower()
    text = SAMPLE.split(f"[{name}]\n")[1].split("\n[")[0]
    keys = [line.split(" = ")[0] for line in text.splitlines() if " = " in line]
    assert keys == list(section.__dataclass_fields__)


# --- the ledger is away, or no ledger -------------------------------------------------------------


def test_a_daemon_that_never_saw_its_ledger_says_so(nursery: Nursery, spot: Path) -> None:
    check_clear(nursery.run(*RUN, cwd=spot), "ledger.url: no answer", "mend ledger.url")


def test_a_gateway_that_never_saw_its_ledger_says_so(nursery: Nursery, spot: Path) -> None:
    check_clear(nursery.run(*GATE, cwd=spot), "ledger.url: no answer", "mend ledger.url")


def test_status_without_a_daemon_says_how_to_start_it(nursery: Nursery, spot: Path) -> None:
    check_clear(nursery.run("hotspot", "status", cwd=spot), "status_file", "hotspot run")


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"at_ms": "x"}', "\x00"])
def test_a_status_file_of_something_else_is_named(
    nursery: Nursery, spot: Path, content: str
) -> None:
    (spot / "status.json").write_text(content)
    check_clear(nursery.run("hotspot", "status", cwd=spot), "status_file")


def test_a_queue_that_is_no_database_is_named_and_put_aside(nursery: Nursery, spot: Path) -> None:
    (spot / "queue.db").write_bytes(b"junk" * 500)
    check_clear(nursery.run("hotspot", "queue", cwd=spot), "queue.db")
    assert (spot / "queue.db").read_bytes() == b"junk" * 500
    done = nursery.run(*RUN, cwd=spot)
    assert "queue.db was damaged; kept as queue.db.damaged" in done.err
    assert (spot / "queue.db.damaged").read_bytes() == b"junk" * 500


def test_a_file_that_was_named_by_mistake_is_left_alone(nursery: Nursery, spot: Path) -> None:
    settings = (spot / "hotspot.toml").read_text()
    (spot / "hotspot.toml").write_text(settings.replace("[ledger]", 'queue = "plan.txt"\n[ledger]'))
    (spot / "plan.txt").write_text("buy milk\n" * 99)
    check_clear(nursery.run(*RUN, cwd=spot), "plan.txt")
    assert (spot / "plan.txt").read_text() == "buy milk\n" * 99


def test_asking_for_counts_makes_no_queue(nursery: Nursery, spot: Path) -> None:
    check_clear(nursery.run("hotspot", "queue", cwd=spot), "queue", "hotspot run")
    assert not (spot / "queue.db").exists()


@pytest.mark.parametrize(
    "argv",
    [("stats",), ("explain", "3"), ("submit", "records.txt"), PAY[1:]],
    ids=["stats", "explain", "submit", "deposit"],
)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "unix:away.sock", "gopher:x", "http://x"])
def test_a_ledger_that_is_away_is_named(
    nursery: Nursery, spot: Path, argv: tuple[str, ...], url: str
) -> None:
    (spot / "records.txt").write_text("aGVsbG8=\n")
    check_clear(nursery.run("chain", *argv, "--ledger", url, cwd=spot), "ledger", url)


def test_a_map_without_its_ledger_serves_and_says_so(tmp_path: Path) -> None:
    from urllib.request import urlopen

    log = tmp_path / "map.log"
    argv = ["map", "serve", "--ledger", f"unix:{tmp_path}/away.sock", "--port", 0, "--json"]
    with started(argv, log) as process:
        url = wait_for("map", lambda: first_json(log, process))["url"]

        def told() -> str:
            with urlopen(f"{url}stats", timeout=5) as answer:
                state: dict[str, str] = json.load(answer)["ledger"]
            return state["detail"] if state["state"] != "ok" else ""

        assert "away.sock" in wait_for("the map's word", told)
        assert process.poll() is None


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("serve", "--ledger", "foo"), "--ledger"),
        (("serve", "--ledger", "unix:x", "--port", "70000"), "port"),
        (("serve", "--ledger", "unix:x", "--port", "-1"), "port"),
        (("serve", "--ledger", "unix:x", "--host", "203.0.113.7", "--port", "0"), "203.0.113.7"),
        (("serve", "--ledger", "unix:x", "--data", "/dev/null/x"), "--data"),
        (("cells", "--url", "http://127.0.0.1:9"), "--url"),
        (("cells", "--url", "nowhere"), "--url"),
    ],
)
def test_a_map_asked_wrongly_says_so(
    nursery: Nursery, tmp_path: Path, argv: tuple[str, ...], words: str
) -> None:
    check_clear(nursery.run("map", *argv, cwd=tmp_path), words)


def test_a_mirror_that_is_no_database_is_named(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "map.sqlite").write_bytes(b"junk" * 500)
    argv = ("map", "serve", "--ledger", "unix:x", "--port", "0", "--data", ".")
    check_clear(nursery.run(*argv, cwd=tmp_path), "map.sqlite")


# --- busy ports -----------------------------------------------------------------------------------


def test_a_busy_port_is_named(nursery: Nursery, ledger: Path, tmp_path: Path) -> None:
    with busy_port() as listener:
        port = listener.getsockname()[1]
        commands = [
            ("demo", "--port", port),
            ("demo", "--gateway-port", port, "--port", free_ports(1)[0]),
            ("chain", "run", "--dir", ledger, "--port", port),
            ("map", "serve", "--ledger", "unix:x", "--port", port),
        ]
        for argv in commands:
            check_clear(nursery.run(*argv, cwd=tmp_path), str(port), "port")


def test_a_second_ledger_on_the_same_folder_is_refused(nursery: Nursery, ledger: Path) -> None:
    with ledger_service(ledger):
        argv = ("chain", "run", "--dir", ledger, "--port", "0")
        check_clear(nursery.run(*argv, cwd=ledger), "in use by another ledger process")


# --- ledger databases -----------------------------------------------------------------------------


def spoil(database: Path, how: str) -> None:
    if how == "garbage":
        database.write_bytes(os.urandom(8192))
    elif how == "empty":
        database.write_bytes(b"")
    elif how == "cut short":
        database.write_bytes(database.read_bytes()[:5000])
    elif how == "another program's":
        database.unlink()
        with sqlite3.connect(database) as other:
            other.execute("CREATE TABLE songs (title TEXT)")
        other.close()
    elif how == "gone":
        database.unlink()
    elif how == "a folder":
        database.unlink()
        database.mkdir()


DAMAGE = ["garbage", "empty", "cut short", "another program's", "gone", "a folder"]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_database_that_is_no_ledger_is_named(
    nursery: Nursery, ledger: Path, tmp_path: Path, how: str
) -> None:
    database = tmp_path / "ledger.db"
    database.write_bytes((ledger / "ledger.db").read_bytes())
    spoil(database, how)
    before = database.read_bytes() if database.is_file() else None
    for argv in (
        ("run", "--dir", ".", "--port", "0"),
        ("explain", "0", "--db", "ledger.db"),
    ):
        check_clear(nursery.run("chain", *argv, cwd=tmp_path), "ledger.db")
    done = nursery.run("chain", "audit", "ledger.db", cwd=tmp_path)
    is_there = database.is_file()
    assert done.code == (1 if is_there else 2), done  # where nothing is, no audit has failed
    assert "Traceback" not in done.err
    assert (done.err + done.out).count("\n") == 1, done
    assert "ledger.db" in done.out + done.err or "database" in done.out
    told = json.loads(nursery.run("chain", "audit", "ledger.db", "--json", cwd=tmp_path).out)
    assert told["ok"] is False if is_there else "no such file" in told["error"]["problem"]
    assert (database.read_bytes() if database.is_file() else None) == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("init", "--dir", "new", "--seed-key", "xyz"), "seed-key"),
        (("init", "--dir", "new", "--start-ms", "-5"), "start-ms"),
        (("init", "--dir", "new", "--network", "n" * 65), "network"),
        (("init", "--dir", "/dev/null/x"), "/dev/null/x"),
        (("init", "--dir", "new", "--preset", "grand"), "--preset"),
        (("run", "--dir", "absent"), "absent/ledger.db"),
        (("submit", "absent.txt"), "absent.txt"),
        (("submit", "empty.txt"), "empty.txt"),
        (("submit", "bad.txt"), "bad.txt line 2"),
        ((*PAY[1:4], "--account", "12", "--amount-ucr", "5"), "account"),
        ((*PAY[1:4], "--account", "ab" * 32, "--amount-ucr", "x"), "--amount-ucr"),
    ],
)
def test_a_ledger_asked_wrongly_says_so(
    nursery: Nursery, spot: Path, argv: tuple[str, ...], words: str
) -> None:
    (spot / "empty.txt").write_text("")
    (spot / "bad.txt").write_text("aGVsbG8=\n***\n")
    check_clear(nursery.run("chain", *argv, cwd=spot), words)


def test_init_never_replaces_a_ledger(nursery: Nursery, ledger: Path) -> None:
    before = (ledger / "ledger.db").read_bytes()
    check_clear(nursery.run("chain", "init", "--dir", ledger, cwd=ledger), "never replaced")
    assert (ledger / "ledger.db").read_bytes() == before


# --- forecast models ------------------------------------------------------------------------------

BAD_MODELS = {
    "empty": b"",
    "binary": b"\x00\xff" * 500,
    "other JSON": b"{}",
    "a list": b"[1, 2]",
    "a number": b"7",
    "right name, nothing else": b'{"format": "wavecomb-forecast"}',
    "another schema": b'{"format": "wavecomb-forecast", "schema": 99, "features": []}',
    "a deep nest": b"[" * 100_000,
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_file_that_is_no_model_is_named(nursery: Nursery, tmp_path: Path, case: str) -> None:
    (tmp_path / "model.json").write_bytes(BAD_MODELS[case])
    check_clear(nursery.run("routing", "explain", "--model", "model.json", cwd=tmp_path), "model")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("explain", "--model", "absent.json"), "absent.json"),
        (("train", "--data", "absent.csv", "-o", "m.json"), "absent.csv"),
        (("train", "--data", "replay", "-o", "no/such/m.json"), "--output"),
        (("train", "--data", "replay", "-o", "m.json", "--rounds", "0"), "--rounds"),
        (("train", "--data", "replay", "-o", "m.json", "--horizons", "9,1"), "--horizons"),
        (("train", "--data", "ucc5g", "-o", "m.json", "--traces", "absent"), "--traces"),
        (("train", "--data", "empty.csv", "-o", "m.json"), "empty.csv"),
        (("train", "--data", "head.csv", "-o", "m.json"), "data: "),
        (("train", "--data", "bad.csv", "-o", "m.json"), "bad.csv"),
        (("train", "--data", "binary.csv", "-o", "m.json"), "binary.csv"),
    ],
)
def test_training_on_what_is_not_there_is_named(
    nursery: Nursery, tmp_path: Path, argv: tuple[str, ...], words: str
) -> None:
    head = "source,target,time_ms,rate_kbps,load_kbps"
    head += ",busy_permille,queue_bytes,loss_permille,rtt_us"
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "head.csv").write_text(head + "\n")
    (tmp_path / "bad.csv").write_text(head + "\n1,2,0,5,5,x,0,0,0\n")
    (tmp_path / "binary.csv").write_bytes(b"\x00\xff" * 50)
    check_clear(nursery.run("routing", *argv, cwd=tmp_path), words)
    assert not (tmp_path / "m.json").exists()


# --- the command line itself ----------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(wavecomb.COMMANDS))
def test_an_unknown_option_is_one_line(nursery: Nursery, tmp_path: Path, command: str) -> None:
    check_clear(nursery.run(command, "--nonsense", cwd=tmp_path), f"wavecomb {command} --help")


@pytest.mark.parametrize("command", sorted(set(wavecomb.COMMANDS) - {"demo"}))
def test_an_unknown_verb_is_one_line(nursery: Nursery, tmp_path: Path, command: str) -> None:
    check_clear(nursery.run(command, "nonsense", cwd=tmp_path), f"wavecomb {command} --help")


def test_an_unknown_command_is_one_line() -> None:
    check_clear(run("nonsense"), "nonsense", "wavecomb --help")


def test_output_that_nobody_can_take_is_one_line(tmp_path: Path) -> None:
    import subprocess

    from doors_helpers import WAVECOMB, environment

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*WAVECOMB, "hotspot", "config", "sample"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "space" in done.stderr
