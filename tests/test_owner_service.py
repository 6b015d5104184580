"""Started at boot: systemd accepts the unit, procd's script is a shell script, notify arrives."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from doors_helpers import ledger_service, make_ledger, run, started, wait_for
from owner_helpers import make_spot

from chain.errors import UserError
from hotspot.io_system import (
    Supervisor,
    boot_id,
    boot_ns,
    device_frames,
    hook_result,
    look_at_clocks,
    start_hook,
)
from hotspot.services import procd_script, systemd_unit


def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    unit = tmp_path / "wavecomb.service"
    unit.write_text(systemd_unit("/bin/true", user="daemon"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if "wavecomb" in line]
    assert complaints == []
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True
    )
    exposure = next(line for line in judged.stdout.splitlines() if "exposure level" in line)
    assert float(exposure.split(":")[1].split()[0]) <= 2.5, exposure


def test_the_unit_grants_one_capability_and_leaves_homes_alone() -> None:
    unit = systemd_unit("/usr/bin/wavecomb")
    assert "CapabilityBoundingSet=CAP_NET_RAW\n" in unit
    assert "ProtectHome=yes" in unit
    assert "ProtectHome=read-only" in systemd_unit("/home/ann/.local/bin/wavecomb")


def test_releases_are_started_by_what_adopted_them() -> None:
    start = "/var/lib/wavecomb/app/start"
    unit = systemd_unit("/usr/bin/wavecomb", start=start)
    assert f"ExecStart={start}\n" in unit
    with pytest.raises(UserError, match="absolute path"):
        systemd_unit("/usr/bin/wavecomb", start="app/start")


def test_paths_that_would_mean_something_else_are_refused() -> None:
    for path in ("wavecomb", "/opt/my programs/w", "/opt/%h/w", "/opt/$(id)"):
        with pytest.raises(UserError, match="absolute path"):
            systemd_unit(path)
        with pytest.raises(UserError, match="absolute path"):
            procd_script("/usr/bin/wavecomb", path)


def test_procds_script_parses_and_starts_what_exists(tmp_path: Path) -> None:
    script = tmp_path / "wavecomb"
    script.write_text(procd_script("/usr/bin/wavecomb"))
    assert subprocess.run(["sh", "-n", script]).returncode == 0
    said = run("hotspot", "service", "openwrt", "--command", "/usr/bin/wavecomb")
    assert said.out == script.read_text()
    lines = run("hotspot", "config", "--help").out
    assert all(option in lines for option in ("import-uci", "--uci", "--force", "--config"))


def test_a_supervisor_hears_ready_watchdog_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(address))
        ear.settimeout(120)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        place = make_ledger(tmp_path)
        with ledger_service(place) as (url, _):
            config = make_spot(tmp_path / "spot", url)
            with started(["hotspot", "run", "--config", config], tmp_path / "log") as process:
                assert ear.recv(4096) == b"READY=1"
                first = ear.recv(4096).decode().splitlines()
                assert first[0] == "WATCHDOG=1"
                assert first[1].startswith("STATUS=")
                process.send_signal(signal.SIGTERM)
                last = b""
                while last != b"STOPPING=1":
                    last = ear.recv(4096)
                assert process.wait(120) == 0


def test_a_supervisor_that_is_away_or_absent_stops_nobody(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "nobody"), "@wavecomb-nobody"):
        supervisor = Supervisor(address)
        supervisor.say("READY=1")
        supervisor.close()


def test_device_counters_are_read_from_the_namespaces_own_table(tmp_path: Path) -> None:
    table = tmp_path / "dev"
    table.write_text(
        "Inter-|   Receive\n face |bytes    packets errs\n"
        "    lo: 100 7 0 0 0 0 0 0 100 7 0 0 0 0 0 0\n  mon0:9 12345 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    assert device_frames("mon0", table) == 12_345
    assert device_frames("mon", table) is None
    assert device_frames("mon0", tmp_path / "absent") is None


def test_clocks_and_hooks(tmp_path: Path) -> None:
    moment = look_at_clocks(True)
    assert 0 < moment.boot_ns <= boot_ns()
    assert len(boot_id()) == 36
    assert start_hook(str(tmp_path / "absent"), "mon0") is None
    pid = start_hook("sh -c 'test \"$1\" = mon0 && exit 7' hook", "mon0")
    assert pid is not None
    assert wait_for("the hook", lambda: ended(pid)) == [7]


def ended(pid: int) -> list[int]:
    code = hook_result(pid)
    return [] if code is None else [code]


def test_a_start_that_fails_leaves_word_of_how_far_it_came(tmp_path: Path) -> None:
    place = make_ledger(tmp_path)
    with ledger_service(place) as (url, _):
        config = make_spot(tmp_path / "spot", url)
        os.unlink(config.parent / "air.pcap")
        assert run("hotspot", "run", "--config", config).code != 0
        said = run("hotspot", "status", "--config", config)
    assert said.code == 1
    assert "RADIO" in said.out
    assert "air.pcap" in said.out
