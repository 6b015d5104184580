"""On a router there is Python and PyNaCl: the daemon and the owner's verbs need nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import h3
import pytest
from doors_helpers import ROOT, ledger_service, make_ledger, wait_for
from owner_helpers import make_spot
from test_package import CORE

OURS = ("chain", "hotspot", "routing", "wavecomb.py")


class Router:
    """An environment with PyNaCl and our router core, and a hotspot in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "env" / "bin" / "python"
        venv.create(folder / "env", with_pip=False, symlinks=True)
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        for name in CORE:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None:
                origin = Path(spec.origin)
                real = origin.parent if origin.name == "__init__.py" else origin
                (site / real.name).symlink_to(real)
        for name in OURS:
            (site / name).symlink_to(ROOT / name)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def popen(self, *words: object, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                [self.python, "-m", "wavecomb", *map(str, words)],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
            )

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-m", "wavecomb", *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Router, Path]]:
    folder = tmp_path_factory.mktemp("router")
    made = Router(folder)
    place = make_ledger(folder)
    with ledger_service(place) as (url, _):
        config = make_spot(folder / "spot", url)
        log = folder / "log"
        process = made.popen("hotspot", "run", "--config", config, log=log)
        try:
            status = config.parent / "status.json"
            wait_for("registration", lambda: json.loads(status.read_text())["index"] >= 0, 60)
            yield made, config
        finally:
            process.terminate()
            process.wait(120)


def test_nothing_else_is_there(router: tuple[Router, Path]) -> None:
    code = "import sys; from importlib.util import find_spec as f; sys.exit(any(map(f, sys.argv)))"
    absent = ["numpy", "scapy", "pyroute2", "aiohttp", "h3", "cbor2", "msgspec", "lightgbm"]
    done = subprocess.run([router[0].python, "-c", code, *absent], env=router[0].environment)
    assert done.returncode == 0


def test_the_daemon_registers_and_its_process_holds_nothing_else(
    router: tuple[Router, Path],
) -> None:
    made, config = router
    status = json.loads((config.parent / "status.json").read_text())
    assert status["state"]["name"] in ("LISTEN", "BEACON")
    mapped = Path(f"/proc/{status['pid']}/maps").read_text()
    assert "nacl" in mapped
    for name in ("numpy", "_ssl", "libcrypto", "h3", "_cbor2"):
        assert f"/{name}" not in mapped
    assert made.run("--version").stdout.startswith("wavecomb ")
    assert "neighbours" in made.run("hotspot", "--help").stdout


@pytest.mark.parametrize(
    "words",
    [
        "info --json",
        "status --json",
        "top --count 1",
        "key",
        "key backup --json",
        "queue --json",
        "earnings --json",
        "metrics",
        "bundle --out b.tar.gz --json",
        "beacon --count 1 --json",
        "config check",
        "config show --json",
        "config export-uci",
    ],
)
def test_the_owners_verbs_work_there(router: tuple[Router, Path], words: str) -> None:
    made, config = router
    done = made.run("hotspot", *words.split(), "--config", config)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_doctor_says_what_it_sees_there(router: tuple[Router, Path]) -> None:
    made, config = router
    done = made.run("hotspot", "doctor", "--radio", "--json", "--config", config)
    found = {row["name"]: row["verdict"] for row in json.loads(done.stdout)["findings"]}
    assert found["ledger"] == "good"
    assert found["radio"] == "doubt", "a recording gives no echo"


def test_what_needs_more_says_which_extra(router: tuple[Router, Path]) -> None:
    made, config = router
    air = ("--radio", f"replay:{config.parent / 'air.pcap'}", "--seconds", "0.2", "--json")
    scapy = made.run("hotspot", "listen", "--codec", "scapy", *air)
    assert (scapy.returncode, "wavecomb[scapy]" in scapy.stderr) == (1, True)
    for chosen in ((), ("--codec", "fast")):
        done = made.run("hotspot", "listen", *chosen, *air)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kind"] == "proof of coverage"


def test_a_hotspot_begins_there(router: tuple[Router, Path]) -> None:
    made, _ = router
    done = made.run("hotspot", "init", "--dir", "begun", "--lat", "40.7", "--lon", "-74", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cell"] == h3.latlng_to_cell(40.7, -74, 9)
    assert made.run("hotspot", "config", "check", "--config", "begun/hotspot.toml").returncode == 0
